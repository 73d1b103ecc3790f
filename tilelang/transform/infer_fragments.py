"""Who holds which element: a fragment for every fragment buffer, a layout for shared buffers.

In: tile form after `expand_tile_ops`. Out: the same in which each `Allocate` of a fragment, and of
a shared buffer that is not row-major, has its `LAYOUT`, and with exchanges where one nest would
need two layouts of a buffer: the buffer goes through shared memory there. Nothing is searched or
proved: instructions and the user fix fragments, nests and reductions carry them on in program
order, and what is then still free (the largest buffer first) is dealt out so that memory is
accessed in the widest vectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Any

from tilelang.errors import LayoutError, Note, ResourceError
from tilelang.ir.annotation import LAYOUT, LAYOUTS, REDUCER
from tilelang.ir.buffer import FRAGMENT, GLOBAL, SHARED_DYN, Buffer
from tilelang.ir.expr import Var, as_expr, const_value, constant
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, Attr, For, Launch, LoopKind, Stmt, seq
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import Mutator, substitute, used_buffers, walk
from tilelang.layout.blocked import BlockedFragment, widest_vector
from tilelang.layout.fragment import Fragment, make_fully_replicated_layout_fragment
from tilelang.layout.holding import Holding, fragment_of_tables
from tilelang.layout.layout import Layout, static_shape
from tilelang.tileop.context import BlockThreads, LowerContext
from tilelang.tileop.reduce import Reduce
from tilelang.tileop.registry import operator_for
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.expand_tile_ops import copy_nest, fill_nest
from tilelang.transform.fragment_names import fragment_names, viewed
from tilelang.transform.nests import (
    Access,
    Nest,
    Partition,
    Ranges,
    leading_access,
    partition_of,
)
from tilelang.transform.notes import ExchangeNote
from tilelang.transform.shared_layouts import conflict_free_layouts
from tilelang.transform.user_layouts import check_buffer_layout, check_loop_layout

_SMALL_SHARED = 48 * 1024  # bytes that every device gives a block


def infer_fragments(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Give every fragment buffer its fragment.

    Needs: tile form after `expand_tile_ops`. Leaves: tile form in which each nest can run where
    the elements of its fragments are.

    Raises:
        ResourceError: for a number of threads that is not a positive constant.
        LayoutError: for a user's layout that does not fit its buffer or the block.
    """
    return _Infer(ctx).mutate(func)


def block_threads(launch: Launch) -> BlockThreads:
    """The threads of one block of `launch`, counted with the x axis fastest.

    Raises:
        ResourceError: when their number is not a positive constant.
    """
    extents = [const_value(e) for e in launch.thread_extents]
    if any(not isinstance(e, int) or e < 1 for e in extents):
        shown = ", ".join(map(str, launch.thread_extents))
        raise ResourceError(
            f"Kernel: the number of threads of a block must be a positive constant, got ({shown})",
            launch.span,
            hint="give `threads` as an integer",
        )
    sizes = [int(e) for e in extents if e is not None]
    index = as_expr(0)
    for var, size in reversed(list(zip(launch.thread_vars, sizes))):
        index = index * size + (var if size > 1 else 0)
    return BlockThreads(math.prod(sizes), index)


class _Infer(Mutator):
    def __init__(self, ctx: PassContext) -> None:
        self.ctx = ctx
        self.launch = -1

    def mutate_Launch(self, node: Launch) -> Launch:
        self.launch += 1
        threads = block_threads(node)
        without = bool(self.ctx.option(PassConfigKey.TL_DISABLE_WGMMA))
        context = LowerContext(self.ctx.target, threads=threads, disables_wgmma=without)
        fixing = _Fix(context)
        body: Stmt = fixing.mutate(node.body)
        solver = Solver(body, threads.count, fixing.fragments)
        for nest in solver.nests:
            check_loop_layout(nest, threads.count)
        layouts: dict[Buffer, Any] = dict(solver.solve())
        exchange = _Exchange(layouts, threads.count, solver, self.launch)
        body = exchange.mutate(body)
        if exchange.read_whole:
            body = _Filled({solver.views.get(b, b) for b in exchange.read_whole}).mutate(body)
        self.ctx.notes.extend(exchange.notes)
        alone = _unshared(body)
        shared = {b: form for b, form in fixing.shared.items() if b in alone}
        free = alone - fixing.shared.keys()
        shared.update(conflict_free_layouts(body, layouts, threads.count, free))
        body = _Annotate({**layouts, **shared}).mutate(body)
        return node if body is node.body else replace(node, body=body)


class _Filled(Mutator):
    """Gives fragments a value where they begin.

    An exchange reads all elements, also those that nothing wrote. What the program writes first
    makes the value dead, and the device compiler drops it.
    """

    def __init__(self, buffers: Set[Buffer]) -> None:
        self.buffers = buffers

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        buffer = node.buffer
        if buffer not in self.buffers:
            return node
        return seq([node, fill_nest(buffer, constant(0, buffer.dtype), node)])


class _Annotate(Mutator):
    """Notes each buffer's layout where it is allocated."""

    def __init__(self, layouts: Mapping[Buffer, Any]) -> None:
        self.layouts = layouts

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        layout = self.layouts.get(node.buffer)
        if layout is None:
            return node
        return replace(node, annotations=(*node.annotations, (LAYOUT, layout)))


def _unshared(body: Stmt) -> set[Buffer]:
    """Buffers whose storage no other buffer uses."""
    owners: dict[Any, set[Buffer]] = {}
    for buffer in used_buffers(body):
        owners.setdefault(buffer.data, set()).add(buffer)
    return {b for group in owners.values() if len(group) == 1 for b in group}


# -- what instructions and the user fix ------------------------------------------------------------


class _Fix(Mutator):
    """Collects fixed layouts; an operation that needs another one works on a copy of its operand.

    gemm(P, V, O), where P is fixed as the accumulator of another product
    --> P_operand = P (a nest);  gemm(P_operand, V, O)
    """

    def __init__(self, context: LowerContext) -> None:
        self.context = context
        self.fragments: dict[Buffer, Fragment] = {}
        self.shared: dict[Buffer, Layout] = {}

    def mutate_Attr(self, node: Attr) -> Any:
        if node.key != LAYOUTS:
            return self.mutate_children(node)
        assert isinstance(node.value, tuple), "pairs of a buffer and its layout"
        for buffer, layout in node.value:
            if buffer.scope() == FRAGMENT:
                self._fix_by_user(buffer, layout, node)
            elif buffer.is_shared:
                self.shared[buffer] = layout
        return self.mutate(node.body)

    def _fix_by_user(self, buffer: Buffer, layout: Any, node: Attr) -> None:
        assert isinstance(layout, Fragment), "annotate_layout takes nothing else for a fragment"
        assert self.context.threads is not None, "set by the launch"
        check_buffer_layout(buffer, layout, self.context.threads.count, node.span)
        self.fragments[buffer] = layout

    def mutate_TileOp(self, node: TileOp) -> Stmt:
        needs = operator_for(node).needs(self.context)
        for buffer, layout in needs.shared.items():
            self.shared.setdefault(buffer, layout)
        copies: dict[Buffer, Buffer] = {}
        for buffer, fragment in needs.fragments.items():
            held = self.fragments.setdefault(buffer, fragment)
            if not held.is_equal(fragment):
                name = f"{buffer.name}_operand"
                copies[buffer] = Buffer(name, buffer.shape, buffer.dtype, FRAGMENT)
                self.fragments[copies[buffer]] = fragment
        return _on_copies(node, copies) if copies else node


def _on_copies(node: TileOp, copies: Mapping[Buffer, Buffer]) -> Stmt:
    """`node` on other buffers, filled before and read back after it."""
    before: list[Stmt] = [Allocate(b, span=node.span) for b in copies.values()]
    after: list[Stmt] = []
    for operand in node.operands:
        copied = copies.get(operand.region.buffer)
        if copied is None:
            continue
        if operand.is_read:
            before.append(copy_nest(operand.region.buffer, copied, node))
        if operand.is_written:
            after.append(copy_nest(copied, operand.region.buffer, node))
    return seq([*before, substitute(node, buffers=copies), *after])


# -- what follows from it --------------------------------------------------------------------------


class Solver:
    """Fragments of all fragment buffers of one launch.

    Args:
        body: the launch's body.
        threads: threads of the block.
        fixed: fragments that stand.
    """

    def __init__(self, body: Stmt, threads: int, fixed: Mapping[Buffer, Fragment]) -> None:
        self.threads = threads
        self.layouts: dict[Buffer, Fragment] = dict(fixed)
        self.nests: list[Nest] = []
        self.reductions: list[Reduce] = []
        self.sites: list[Nest | Reduce] = []
        self.buffers: dict[Buffer, None] = {}
        self.reducers: set[Buffer] = set()
        self.freed: dict[Buffer, str] = {}  # not carried on, and why
        self.shared_bytes = 0
        self._collect(body)
        self.views = fragment_names(body, self.buffers)

    def _collect(self, body: Stmt) -> None:
        inner: set[For] = set()
        for node in walk(body):
            if isinstance(node, Allocate):
                if node.buffer.scope() == FRAGMENT:
                    self._found(node)
                elif node.buffer.is_shared:
                    sizes = map(const_value, node.buffer.shape)
                    is_known = all(isinstance(n, int) and n > 0 for n in sizes)
                    self.shared_bytes += bytes_of(node.buffer) if is_known else _SMALL_SHARED
            elif isinstance(node, For) and node.kind is LoopKind.PARALLEL and node not in inner:
                nest = Nest(node)
                inner.update(n for n in walk(node.body) if isinstance(n, For))
                self.nests.append(nest)
                self.sites.append(nest)
            elif isinstance(node, TileOp) and node.op == "reduce":
                self.sites.append(Reduce(node))

    def _found(self, node: Allocate) -> None:
        buffer = node.buffer
        self.buffers[buffer] = None
        if any(key == REDUCER for key, _ in node.annotations):
            self.reducers.add(buffer)  # each thread accumulates all of it, for itself
        alone = buffer in self.reducers or buffer.num_elements == 1
        if buffer not in self.layouts and alone:
            self.layouts[buffer] = make_fully_replicated_layout_fragment(buffer, self.threads)

    def solve(self) -> dict[Buffer, Fragment]:
        """All fragments, in the order of allocation."""
        self._propagate()
        sizes = {b: math.prod(static_shape(b.shape)) for b in self.buffers}
        for buffer in sorted(self.buffers, key=lambda b: -sizes[b]):
            if buffer not in self.layouts:
                self.layouts[buffer] = self._free(buffer)
                self._propagate()
        return {b: self.layouts[b] for b in self.layouts}

    def _propagate(self) -> None:
        """Carry known fragments on until nothing new follows."""
        before = -1
        while before != len(self.layouts):
            before = len(self.layouts)
            self._through_views()
            for site in self.sites:
                if isinstance(site, Nest):
                    self._through_nest(site)
                else:
                    self._through_reduction(site)
                self._through_views()

    def _through_views(self) -> None:
        """Names of one fragment share its layout."""
        for view, owner in self.views.items():
            if view in self.layouts and owner not in self.layouts:
                self.layouts[owner] = viewed(self.layouts[view], view, owner)
        for view, owner in self.views.items():
            if owner not in self.layouts:
                continue
            expected = viewed(self.layouts[owner], owner, view)
            if not self.layouts.setdefault(view, expected).is_equal(expected):
                raise LayoutError(
                    f"view: `{view.name}` and `{owner.name}` name the same elements but need two "
                    "register layouts",
                    view.span,
                    notes=[Note(owner.span, f"`{owner.name}` comes from here")],
                    hint=f"T.copy `{owner.name}` into a fragment of its own",
                )

    def _through_nest(self, nest: Nest) -> None:
        unknown = [b for b in nest.fragments if b not in self.layouts]
        if not unknown or nest.extents is None or leading_access(nest, self.layouts) is None:
            return
        partition = partition_of(nest, self.layouts, self.threads)
        for buffer in unknown:
            access = next(a for a in nest.accesses if a.buffer is buffer)
            derived = carried_fragment(partition, access)
            if derived is None:
                continue
            own = self._better_alone(buffer, derived, partition)
            self.layouts[buffer] = derived if own is None else own

    def _better_alone(
        self, buffer: Buffer, derived: Fragment, partition: Partition
    ) -> Fragment | None:
        """The layout of its own for a buffer that `derived` would take apart.

        A nest that transposes gives its result the neighbours of the other axis: each thread would
        then move single elements to or from global memory. Where all nests that do so could move
        vectors, one exchange through shared memory costs less.
        """
        nests = [n for n in self.nests if self._moves_vectors(n, buffer)]
        leader, size = partition.holding, math.prod(static_shape(buffer.shape))
        if not nests or size != math.prod(partition.leader.shape):
            return None
        if leader.vector(len(partition.leader.shape) - 1, 2) == 1:
            return None  # nothing is lost
        alone = {buffer: derived}
        if any(partition_of(n, alone, self.threads).vector(n.vector_limit) > 1 for n in nests):
            return None
        own = self._free(buffer)
        needed = self.shared_bytes + bytes_of(buffer)
        if own.vector == 1 or size < self.threads * own.vector or needed > _SMALL_SHARED:
            return None
        self.shared_bytes = needed
        width = own.vector * buffer.dtype.bits // 8
        self.freed[buffer] = f"so that `{buffer.name}` meets global memory by {width} bytes"
        return own

    def _moves_vectors(self, nest: Nest, buffer: Buffer) -> bool:
        """Whether the nest could move neighbours of `buffer` to or from global memory."""
        if nest.extents is None or nest.loop_layout is not None or nest.vector_limit < 2:
            return False
        leads = any(a.buffer is buffer and nest.is_led_by(a) for a in nest.accesses)
        return leads and any(a.buffer.scope() == GLOBAL for a in nest.accesses)

    def _through_reduction(self, op: Reduce) -> None:
        src, dst = op.src.buffer, op.dst.buffer
        if src not in self.layouts or dst in self.layouts or dst.scope() != FRAGMENT:
            return
        from tilelang.layout.reduced import derive_reduced_fragment  # NumPy, only where needed

        shape = static_shape(dst.shape)
        whole = [const_value(e) for e in op.src.extents] == list(src.shape)
        if whole and math.prod(shape) * int(src.shape[op.dim]) == math.prod(src.shape):  # type: ignore[arg-type,call-overload]
            found = derive_reduced_fragment(self.layouts[src], op.dim, shape)
            if found is not None and _is_usable(found, self.threads):
                self.layouts[dst] = found

    def _free(self, buffer: Buffer) -> BlockedFragment:
        """Elements dealt out in the widest vectors that a nest can move to or from memory."""
        shape = static_shape(buffer.shape)
        limit = 0
        for nest in self.nests:
            if any(a.buffer is buffer and nest.is_led_by(a) for a in nest.accesses):
                limit = max(limit, nest.vector_limit)
        limit = limit or 4
        return BlockedFragment(shape, self.threads, widest_vector(shape, self.threads, limit))


def bytes_of(buffer: Buffer) -> int:
    """Size of a buffer of constant extents."""
    return math.prod(static_shape(buffer.shape)) * buffer.dtype.bits // 8


def _is_usable(fragment: Fragment, threads: int) -> bool:
    """Whether code can be made of the fragment's inverse."""
    t, s, lane = Var("t"), Var("s"), Var("l")
    try:
        held = Holding(fragment, threads)
        held.element(1, t, s, lane)
        held.first(1, t, s, lane)
        held.active(1, t, s, lane)
    except LayoutError:
        return False
    return True


def carried_fragment(partition: Partition, access: Access) -> Fragment | None:
    """The fragment in which the running threads hold what they access; replicas where several do.

    `None` when the nest does not touch every element, when the access depends on enclosing loops,
    or when the threads would not agree on a register.
    """
    import numpy as np

    from tilelang.layout.distinct import distinct
    from tilelang.layout.evaluate import evaluate

    shape = static_shape(access.buffer.shape)
    if partition.outer_variables(access) or partition.is_decided_at_run_time:
        return None
    env, runs = partition.iterations({})
    number = np.zeros(runs.shape, np.int64)
    for index, size in zip(access.indices, shape):
        try:
            value = np.broadcast_to(evaluate(index, env), runs.shape)
        except (KeyError, TypeError):
            return None
        if ((value < 0) | (value >= size))[runs].any():
            return None
        number = number * size + value
    thread, register = np.nonzero(runs)
    count = math.prod(shape)
    key = thread * count + number[runs]
    _, first = distinct(key)  # (thread, element), with its first register
    order = np.lexsort((register[first], thread[first]))
    thread, register, held = (a[first][order] for a in (thread, register, number[runs]))
    starts = np.searchsorted(thread, thread)
    rank = np.arange(len(thread)) - starts
    by_element = np.lexsort((thread, held))
    thread, rank, held = thread[by_element], rank[by_element], held[by_element]
    elements, begin = distinct(held)
    copies = np.diff(np.append(begin, len(held)))
    if len(elements) != count or (rank != np.repeat(rank[begin], copies)).any():
        return None
    replica = np.minimum(np.arange(int(copies.max())), copies[:, None] - 1)
    owners = thread[begin[:, None] + replica].reshape((*shape, -1))
    made = fragment_of_tables(shape, owners, rank[begin].reshape(shape))
    return made if made is not None and _is_usable(made, partition.threads) else None


# -- where two layouts must meet -------------------------------------------------------------------


class _Exchange(Mutator):
    """Nests whose fragments do not meet in their threads get some of them through shared memory."""

    def __init__(
        self,
        layouts: Mapping[Buffer, Fragment],
        threads: int,
        solver: Solver,
        launch: int = 0,
    ) -> None:
        self.layouts, self.threads = layouts, threads
        self.reducers, self.freed = solver.reducers, solver.freed
        self.launch, self.notes = launch, list[ExchangeNote]()
        self.outer: dict[Var, tuple[int, int]] = {}
        self.read_whole: set[Buffer] = set()

    def mutate_For(self, node: For) -> Any:
        if node.kind is LoopKind.PARALLEL:
            return self._nest(Nest(node))
        start, extent = const_value(node.start), const_value(node.extent)
        if isinstance(start, int) and isinstance(extent, int) and extent > 0:
            self.outer[node.var] = (start, extent)
        made = self.mutate_children(node)
        self.outer.pop(node.var, None)
        return made

    def _nest(self, nest: Nest) -> Stmt:
        if nest.extents is None or not nest.fragments:
            return nest.node
        inner = {n.var: n for n in walk(nest.body) if isinstance(n, For)}
        ranges = {**self.outer, **_constant_ranges(inner)}
        strangers = strangers_of(nest, self.layouts, self.threads, ranges)
        strangers = {b: why for b, why in strangers.items() if b not in self.reducers}
        if not strangers:
            return nest.node
        before: list[Stmt] = []
        after: list[Stmt] = []
        passed: dict[Buffer, Buffer] = {}
        for buffer in strangers:
            name = f"{buffer.name}_exchange"
            made = passed[buffer] = Buffer(name, buffer.shape, buffer.dtype, SHARED_DYN)
            before.append(Allocate(made, span=nest.node.span))
            accesses = [a for a in nest.accesses if a.buffer is buffer]
            stored = [a for a in accesses if a.is_store]
            is_read = len(stored) < len(accesses) or not any(nest.covers(a) for a in stored)
            own = (self.freed[b] for b in nest.fragments if b in self.freed)
            reason = ", ".join((strangers[buffer], *own))
            self._note(nest, made, buffer, reason, 2 * is_read + 2 * bool(stored))
            if is_read:
                self.read_whole.add(buffer)
                before.append(copy_nest(buffer, made, nest.node))
            if stored:
                after.append(copy_nest(made, buffer, nest.node))
        return seq([*before, substitute(nest.node, buffers=passed), *after])

    def _note(self, nest: Nest, made: Buffer, of: Buffer, reason: str, moves: int) -> None:
        spans = (nest.node.span, of.span)
        note = ExchangeNote(self.launch, *spans, of.name, reason, bytes_of(made), moves)
        self.notes.append(note)


def _constant_ranges(loops: Mapping[Var, For]) -> dict[Var, tuple[int, int]]:
    found: dict[Var, tuple[int, int]] = {}
    for var, loop in loops.items():
        start, extent = const_value(loop.start), const_value(loop.extent)
        if isinstance(start, int) and isinstance(extent, int) and extent > 0:
            found[var] = (start, extent)
    return found


def strangers_of(
    nest: Nest, layouts: Mapping[Buffer, Fragment], threads: int, ranges: Ranges
) -> dict[Buffer, str]:
    """Fragments whose elements the running threads do not hold, each with the reason."""
    partition = partition_of(nest, layouts, threads)
    step, lane = Var("s"), Var("l")
    found: dict[Buffer, str] = {}
    for access in nest.accesses:
        buffer = access.buffer
        if buffer.scope() != FRAGMENT or buffer in found:
            continue
        table = partition.register(access, layouts[buffer], ranges)
        if isinstance(table, str):
            found[buffer] = table
            continue
        try:
            table.expr(1, step, lane)
        except LayoutError as error:
            found[buffer] = str(error)
    return found
