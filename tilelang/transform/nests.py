"""`T.Parallel` nests, seen as boxes of iterations: what they access, and who runs them.

In: a nest of the tile form and the fragments known so far. Out: `Nest`, its facts, and
`Partition`, the assignment of iterations to (thread, step, lane), derived from the fragment that
leads the nest: the thread that holds an element runs the iteration that touches it, in the step of
its register. `infer_fragments` asks which fragments fit, `lower_threads` emits what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from tilelang.ir.annotation import COALESCED_WIDTH, LOOP_LAYOUT
from tilelang.ir.buffer import FRAGMENT, GLOBAL, SHARED_SCOPES, Buffer
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    BufferLoad,
    Expr,
    Var,
    as_expr,
    cast,
    const_value,
    equal,
    is_const,
)
from tilelang.ir.ops import is_pure
from tilelang.ir.record import record
from tilelang.ir.stmt import Bind, BufferStore, For, Stmt, annotation
from tilelang.ir.visitor import Mutator, substitute, used_vars, walk
from tilelang.layout.blocked import BlockedFragment, widest_vector
from tilelang.layout.fragment import Fragment
from tilelang.layout.holding import both, fitted, holding_of
from tilelang.transform.affine import affine, split_linear
from tilelang.transform.parallel_loops import collect_nest, innermost_choice

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Table = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

VECTOR_BYTES = 16  # what one thread moves at once
_MOST_COMBINATIONS = 256  # of outer loop variables, when registers are looked up
Ranges = Mapping[Var, tuple[int, int]]  # first value and count


@record
class Access:
    """One element that an iteration reads or writes."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    is_store: bool
    node: BufferLoad | BufferStore


@record
class AxisUse:
    """One index of an access: `sign * loop variable + rest`, or `rest` alone (`loop` is `None`)."""

    loop: int | None
    sign: int
    rest: Expr


class Nest:
    """Facts of one nest.

    Attributes:
        loops: outermost first, as far as none depends on another; body: what the innermost does,
            where further Parallel loops are serial.
        vector_loop: the loop whose neighbours should be moved together.
    """

    def __init__(self, node: For) -> None:
        self.node = node
        loops, _ = collect_nest(node)
        self.loops = loops[: _independent(loops)]
        self.body = with_places_spelled_out(self.loops[-1].body)
        self.variables: list[Var] = [loop.var for loop in self.loops]
        self.vector_loop = innermost_choice(self.variables, self.body)

    @cached_property
    def extents(self) -> list[int] | None:
        """Iterations of each loop; `None` when some are known only at run time."""
        numbers = [const_value(loop.extent) for loop in self.loops]
        return [int(n) for n in numbers if n is not None] if None not in numbers else None

    @cached_property
    def inner_variables(self) -> set[Var]:
        """Variables that the body itself defines."""
        return {n.var for n in walk(self.body) if isinstance(n, (For, Bind))}

    @cached_property
    def accesses(self) -> list[Access]:
        """All accesses of the body, in program order."""
        return list(accesses_of(self.body))

    @property
    def fragments(self) -> list[Buffer]:
        """Fragment buffers that the body accesses, each once, stores first."""
        return fragments_of(self.accesses)

    def uses(self, access: Access) -> list[AxisUse] | None:
        """How each index depends on the loops; `None` unless every index is as `AxisUse` says."""
        found: list[AxisUse] = []
        for index in access.indices:
            inside = [v for v in used_vars(index) if v in self.variables]
            if not inside:
                found.append(AxisUse(None, 1, index))
                continue
            parts = split_linear(index, inside[0])
            if len(inside) > 1 or parts is None or abs(parts[0]) != 1:
                return None
            found.append(AxisUse(self.variables.index(inside[0]), parts[0], parts[1]))
        return found

    def is_led_by(self, access: Access) -> bool:
        """Whether the element that an iteration accesses tells which iteration it is."""
        uses = self.uses(access)
        if uses is None or any(v in self.inner_variables for u in uses for v in used_vars(u.rest)):
            return False
        loops = [u.loop for u in uses if u.loop is not None]
        return len(set(loops)) == len(loops) and all(
            number in loops or is_const(loop.extent, 1) for number, loop in enumerate(self.loops)
        )

    def covers(self, access: Access) -> bool:
        """Whether the nest touches every element of the buffer of an access that leads it."""
        uses = self.uses(access)
        if uses is None:
            return False
        for use, size in zip(uses, access.buffer.shape):
            if use.loop is None:
                if not is_const(as_expr(size), 1):
                    return False
                continue
            loop = self.loops[use.loop]
            first = use.rest + loop.start * use.sign
            last = first if use.sign == 1 else first - (loop.extent - 1)
            if not (is_const(last, 0) and const_value(loop.extent) == size):
                return False
        return True

    @property
    def vector_limit(self) -> int:
        """Most elements that a memory access of the body could move at once; 0: it has none."""
        wanted = annotation(self.node.annotations, COALESCED_WIDTH)
        if isinstance(wanted, int):
            return wanted
        widths = [self.vector_of(a) for a in self.accesses if _is_memory(a.buffer)]
        in_global = [self.vector_of(a) for a in self.accesses if a.buffer.scope() == GLOBAL]
        return max(in_global or widths, default=0)

    def vector_of(self, access: Access) -> int:
        """Elements of neighbouring iterations that one access to memory could move, by the index
        arithmetic alone: 1 where neighbours are apart, or nothing is known of the address."""
        buffer, var = access.buffer, self.variables[self.vector_loop]
        if not access.indices or buffer.dtype.elements_per_byte > 1:
            return 1
        parts = split_linear(access.indices[-1], var)
        if parts is None or parts[0] != 1 or self._varies(access.indices[:-1], var):
            return 1
        if const_value(buffer.strides[-1]) != 1:
            return 1
        width = VECTOR_BYTES * 8 // buffer.dtype.bits
        offset = affine(parts[1])
        if offset is None:
            return 1
        steps = [*offset.terms.values(), offset.constant, const_value(buffer.elem_offset)]
        for index, stride in zip(access.indices[:-1], buffer.strides[:-1]):
            if not is_const(index, 0):
                steps.append(const_value(stride))
        for step in steps:
            if not isinstance(step, int):
                return 1
            width = math.gcd(width, step)
        return width

    def _varies(self, indices: Sequence[Expr], var: Var) -> bool:
        return any(v is var for i in indices for v in used_vars(i))

    @property
    def loop_layout(self) -> Fragment | None:
        """The user's own assignment of iterations to threads."""
        found = annotation(self.node.annotations, LOOP_LAYOUT)
        return found if isinstance(found, Fragment) else None


def with_places_spelled_out(body: Stmt) -> Stmt:
    """`body` with integer names replaced by what they stand for, so that indices show how they
    depend on the loops: `row = by * 64 + i; A[row, j]` is `A[by * 64 + i, j]`."""
    values: dict[Var, Expr] = {}
    for node in walk(body):
        if isinstance(node, Bind) and node.var.dtype.is_int and node.var.dtype.lanes == 1:
            value = substitute(node.value, values)
            if is_pure(value):
                values[node.var] = value
    return _Inline(values).mutate(body) if values else body


class _Inline(Mutator):
    def __init__(self, values: Mapping[Var, Expr]) -> None:
        self.values = values

    def mutate_Var(self, node: Var) -> Expr:
        return self.values.get(node, node)

    def mutate_Bind(self, node: Bind) -> Stmt | None:
        return None if node.var in self.values else self.mutate_children(node)


def _independent(loops: Sequence[For]) -> int:
    """How many loops, outermost first, have bounds that depend on none of the others."""
    for number, loop in enumerate(loops):
        before = [other.var for other in loops[:number]]
        if any(v in before for e in (loop.start, loop.extent) for v in used_vars(e)):
            return number
    return len(loops)


def _is_memory(buffer: Buffer) -> bool:
    return buffer.scope() in (GLOBAL, *SHARED_SCOPES)


def accesses_of(body: Stmt) -> Iterator[Access]:
    """Every element that `body` loads or stores."""
    for node in walk(body):
        if isinstance(node, BufferLoad):
            yield Access(node.buffer, node.indices, False, node)
        elif isinstance(node, BufferStore):
            yield Access(node.buffer, node.indices, True, node)


def fragments_of(accesses: Sequence[Access]) -> list[Buffer]:
    """Their fragment buffers, each once, stores first."""
    order = sorted(accesses, key=lambda a: not a.is_store)
    return list(dict.fromkeys(a.buffer for a in order if a.buffer.scope() == FRAGMENT))


class Partition:
    """Who runs which iteration: by the fragment `leader` over the index `uses` of the loops."""

    def __init__(
        self,
        nest: Nest,
        threads: int,
        leader: Fragment,
        uses: Sequence[AxisUse],
        buffer: Buffer | None = None,
    ) -> None:
        assert nest.extents is not None, "loops of unknown extent have no table"
        self.nest, self.threads, self.leader, self.uses = nest, threads, leader, list(uses)
        self.buffer = buffer  # whose fragment leads; `None`: nobody's
        self.extents = nest.extents
        self.holding = holding_of(leader, threads)
        self.axis_of = {u.loop: axis for axis, u in enumerate(uses) if u.loop is not None}

    def vector(self, limit: int) -> int:
        """Steps that hold neighbours along the vector loop, at most `limit`."""
        loop = self.nest.vector_loop
        axis = self.axis_of.get(loop)
        if axis is None or self.uses[axis].sign != 1:
            return 1
        width = self.holding.vector(axis, limit)
        start = const_value(self.nest.loops[loop].start)
        offset = const_value(self.uses[axis].rest)
        size = self.extents[loop]
        while width > 1 and (
            offset is None or start is None or offset % width or start % width or size % width
        ):
            width //= 2
        return width

    # -- expressions ------------------------------------------------------------------------------

    def values(self, vector: int, thread: Expr, step: Expr, lane: Expr) -> dict[Var, Expr]:
        """The loop variables of the iteration that `thread` runs in that step and lane."""
        element = self.holding.element(vector, thread, step, lane)
        made: dict[Var, Expr] = {}
        for number, loop in enumerate(self.nest.loops):
            if number not in self.axis_of:
                made[loop.var] = loop.start
                continue
            use = self.uses[self.axis_of[number]]
            index = element[self.axis_of[number]]
            value = index if is_const(use.rest, 0) else index - use.rest
            value = value if use.sign == 1 else use.rest - index
            made[loop.var] = cast(value, loop.var.dtype)
        return made

    def condition(self, vector: int, thread: Expr, step: Expr, lane: Expr) -> Expr | None:
        """When there is such an iteration; `None`: always."""
        made = self.holding.active(vector, thread, step, lane)
        for axis, use in enumerate(self.uses):
            size = self.leader.shape[axis]
            if use.loop is None:
                if size > 1:
                    element = self.holding.element(vector, thread, step, lane)
                    made = both(made, equal(element[axis], use.rest))
                continue
            loop = self.nest.loops[use.loop]
            if self._runs_over(use, loop, size):
                continue
            value = self.values(vector, thread, step, lane)[loop.var]
            made = both(both(made, value >= loop.start), value < loop.start + loop.extent)
        return made

    def _runs_over(self, use: AxisUse, loop: For, size: int) -> bool:
        """Whether every index of the leader's axis belongs to an iteration."""
        first = use.rest + loop.start * use.sign
        low = first if use.sign == 1 else first - (loop.extent - 1)
        return is_const(low, 0) and const_value(loop.extent) == size

    def first(self, vector: int, thread: Expr, step: Expr, lane: Expr) -> Expr | None:
        """When `thread` is the first of those that run the iteration; `None`: the only one."""
        return self.holding.first(vector, thread, step, lane)

    # -- other fragments ---------------------------------------------------------------------------

    def iterations(self, outer: Mapping[Var, int]) -> tuple[dict[Var, Table], Mask]:
        """Loop variables by `[thread, register]`, and which of these places run an iteration."""
        import numpy as np

        from tilelang.layout.evaluate import evaluate

        elements = self.holding.elements
        axes = np.unravel_index(np.maximum(elements, 0), self.leader.shape)
        runs = elements >= 0
        env: dict[Var, Table] = {v: np.int64(n) for v, n in outer.items()}  # type: ignore[misc]
        for number, loop in enumerate(self.nest.loops):
            start = int(evaluate(loop.start, env))
            if number not in self.axis_of:
                env[loop.var] = np.full(elements.shape, start)
                continue
            use = self.uses[self.axis_of[number]]
            value = (axes[self.axis_of[number]] - evaluate(use.rest, env)) * use.sign
            runs = runs & (value >= start) & (value < start + self.extents[number])
            env[loop.var] = value.astype(np.int64)
        for axis, use in enumerate(self.uses):
            if use.loop is None and self.leader.shape[axis] > 1:
                runs = runs & (axes[axis] == evaluate(use.rest, env))
        return env, runs

    def outer_variables(self, access: Access) -> list[Var]:
        """Variables of enclosing loops on which the place of an access may depend."""
        exprs = [*access.indices, *(u.rest for u in self.uses)]
        exprs += [loop.start for loop in self.nest.loops]
        inside = self.nest.variables
        return list(dict.fromkeys(v for e in exprs for v in used_vars(e) if v not in inside))

    @property
    def is_decided_at_run_time(self) -> bool:
        """Whether memory says which iterations there are, so that no table can."""
        exprs = [*(u.rest for u in self.uses), *(loop.start for loop in self.nest.loops)]
        return any(isinstance(n, BufferLoad) for e in exprs for n in walk(e))

    def register(self, access: Access, fragment: Fragment, outer: Ranges) -> RegisterTable | str:
        """Registers of `access` by step, or why the running threads do not hold its elements."""
        import numpy as np

        from tilelang.layout.evaluate import evaluate

        if access.buffer is self.buffer and fragment is self.leader:
            uses = self.nest.uses(access)
            if uses is not None and _same_uses(uses, self.uses):
                return RegisterTable(None, (), ())
        if self.is_decided_at_run_time:
            return "which iterations a thread runs is computed at run time"
        variables = self.outer_variables(access)
        if any(v not in outer for v in variables):
            return "it depends on a loop whose length is not a constant"
        counts = [outer[v][1] for v in variables]
        if math.prod(counts) > _MOST_COMBINATIONS:
            return "it depends on too many enclosing iterations"
        owners = fragment.thread_table.reshape(-1, fragment.num_replicas)
        places = fragment.offsets.reshape(-1)
        threads = np.arange(self.threads)[:, None]
        rows: list[Table] = []
        for numbers in product(*(range(n) for n in counts)):
            values = {v: outer[v][0] + n for v, n in zip(variables, numbers)}
            env, runs = self.iterations(values)
            number = np.zeros(runs.shape, np.int64)
            for index, size in zip(access.indices, fragment.shape):
                try:
                    value = np.broadcast_to(evaluate(index, env), runs.shape)
                except (KeyError, TypeError):
                    return "its index is computed at run time"
                number = number * size + np.clip(value, 0, size - 1)
            if not ((owners[number] == threads[..., None]).any(-1) | ~runs).all():
                return "other threads hold its elements"
            table = places[number]
            first = np.argmax(runs, axis=0)
            row = table[first, np.arange(runs.shape[1])]
            if not ((table == row) | ~runs).all():
                return "its register differs from thread to thread"
            rows.append(row)
        registers = np.stack(rows).reshape((*counts, -1))
        return RegisterTable(registers, tuple(variables), tuple(outer[v][0] for v in variables))


@record
class RegisterTable:
    """The register of an access: by outer variables and step; `None`: the leader's own."""

    table: Table | None
    variables: tuple[Var, ...]
    starts: tuple[int, ...]

    def expr(self, vector: int, step: Expr, lane: Expr) -> Expr:
        """The register in that step and lane.

        Raises:
            LayoutError: when the table has no closed form.
        """
        if self.table is None:
            return step * vector + lane
        shape = (*self.table.shape[:-1], -1, vector)
        outer = [v - s if s else v for v, s in zip(self.variables, self.starts)]
        return fitted(self.table.reshape(shape), (*outer, step, lane), "the registers of a loop")


def _same_uses(a: Sequence[AxisUse], b: Sequence[AxisUse]) -> bool:
    return all(
        x.loop == y.loop and x.sign == y.sign and structural_equal(x.rest, y.rest)
        for x, y in zip(a, b)
    )


# -- choosing --------------------------------------------------------------------------------------


def leading_access(nest: Nest, layouts: Mapping[Buffer, Fragment]) -> Access | None:
    """The access whose fragment decides who runs which iteration: a store before a load."""
    order = sorted(nest.accesses, key=lambda a: not a.is_store)
    known = (a for a in order if a.buffer in layouts and nest.is_led_by(a))
    return next(known, None)


def partition_of(nest: Nest, layouts: Mapping[Buffer, Fragment], threads: int) -> Partition:
    """Who runs the iterations of a nest of constant extents."""
    assert nest.extents is not None, "the caller spreads run-time extents by itself"
    own = [AxisUse(k, 1, as_expr(0)) for k in range(len(nest.loops))]
    if nest.loop_layout is not None:
        return Partition(nest, threads, nest.loop_layout, _started(nest, own))
    lead = leading_access(nest, layouts)
    if lead is not None:
        uses = nest.uses(lead)
        assert uses is not None, "a leading access has a use per axis"
        return Partition(nest, threads, layouts[lead.buffer], uses, lead.buffer)
    order = [k for k in range(len(nest.loops)) if k != nest.vector_loop] + [nest.vector_loop]
    shape = [nest.extents[k] for k in order]
    vector = widest_vector(shape, threads, max(1, nest.vector_limit))
    uses = _started(nest, [own[k] for k in order])
    return Partition(nest, threads, BlockedFragment(shape, threads, vector), uses)


def _started(nest: Nest, uses: Sequence[AxisUse]) -> list[AxisUse]:
    """The same with each loop counted from its start."""
    return [
        AxisUse(u.loop, 1, as_expr(0) - nest.loops[u.loop].start if u.loop is not None else u.rest)
        for u in uses
    ]
