"""The rules of `check_tile_program`: pure questions about one node and where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tilelang.errors import Note, Span
from tilelang.ir import annotation as keys
from tilelang.ir.buffer import FRAGMENT, GLOBAL, LOCAL, SHARED_SCOPES, Buffer, describe
from tilelang.ir.equality import BINDERS, shape_symbols
from tilelang.ir.expr import (
    BinaryOp,
    BufferLoad,
    Expr,
    IntImm,
    Ramp,
    Var,
    cast,
    const_value,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node
from tilelang.ir.ops import is_pure
from tilelang.ir.record import record
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    LoopKind,
    Seq,
    Stmt,
    annotation,
)
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.ir.visitor import used_vars, walk
from tilelang.transform.affine import Affine, affine
from tilelang.transform.facts import Facts
from tilelang.transform.scoped import written_storage


@record
class Problem:
    """Something wrong, and where."""

    message: str
    span: Span | None = None
    notes: tuple[Note, ...] = ()
    hint: str | None = None

    def at(self, span: Span | None) -> Problem:
        """The problem with a place, if it has none."""
        return self if self.span is not None else replace(self, span=span)


@dataclass
class Place:
    """What is around the node being checked.

    Attributes:
        loops: enclosing loops, outermost first.
        ranges: smallest and largest value of each loop and launch variable with constant bounds.
        is_conditional: the node need not run for all values of those variables.
        symbolic: variables of Parallel loops of symbolic extent, and names computed from them.
        parallel_names: variables of Parallel loops, and names computed from them.
        span: of the innermost statement that has one.
    """

    loops: list[For] = field(default_factory=list)
    ranges: dict[Var, tuple[int, int]] = field(default_factory=dict)
    is_conditional: bool = False
    symbolic: set[Var] = field(default_factory=set)
    parallel_names: set[Var] = field(default_factory=set)
    span: Span | None = None

    @property
    def parallel(self) -> For | None:
        """The innermost enclosing Parallel loop."""
        return next((p for p in reversed(self.loops) if p.kind is LoopKind.PARALLEL), None)

    @contextmanager
    def inside(
        self,
        *,
        loop: For | None = None,
        ranges: Iterable[tuple[Var, Expr]] = (),
        is_conditional: bool = False,
    ) -> Iterator[None]:
        """The place one level further in."""
        before = self.is_conditional
        self.is_conditional |= is_conditional
        for var, extent in ranges:
            self._add_range(var, 0, const_value(extent))
        if loop is not None:
            self._enter(loop)
        yield
        if loop is not None:
            self.loops.pop()
        self.is_conditional = before

    def _enter(self, loop: For) -> None:
        self.loops.append(loop)
        start, extent = const_value(loop.start), const_value(loop.extent)
        if start is not None:
            self._add_range(loop.var, int(start), extent)
        if extent is not None and extent <= 0:
            self.is_conditional = True  # the body never runs
        if loop.kind is LoopKind.PARALLEL:
            self.parallel_names.add(loop.var)
            if extent is None:
                self.symbolic.add(loop.var)

    def _add_range(self, var: Var, start: int, extent: int | float | None) -> None:
        if extent is not None and extent > 0:
            self.ranges[var] = (start, start + int(extent) - 1)

    def add_name(self, var: Var, value: Expr) -> None:
        """`var` is computed from the variables of `value`."""
        used = set(used_vars(value))
        for group in (self.symbolic, self.parallel_names):
            if used & group:
                group.add(var)


# -- loops -----------------------------------------------------------------------------------------


def loop_nesting(loop: For, place: Place) -> Problem | None:
    """T.Parallel directly in T.Parallel as its sole statement, and T.Pipelined in none."""
    outer = place.parallel
    if outer is None:
        return None
    note = (Note(outer.span, "the T.Parallel loop around it"),)
    if loop.kind is LoopKind.PIPELINED:
        hint = "put the T.Parallel loops inside the T.Pipelined loop"
        return Problem("T.Pipelined stands inside T.Parallel", loop.span, note, hint)
    if loop.kind is LoopKind.PARALLEL and outer.body is not loop:
        message = (
            "T.Parallel loops nest only when the inner loop is the sole statement of the outer"
        )
        return Problem(message, loop.span, note, "write one T.Parallel over all extents")
    return None


def fragment_inside_parallel(node: Allocate, place: Place) -> Problem | None:
    """A fragment is spread over all threads, which one iteration does not have."""
    outer, buffer = place.parallel, node.buffer
    if outer is None or buffer.scope() != FRAGMENT:
        return None
    return Problem(
        f"the fragment `{buffer.name}` is allocated inside T.Parallel",
        node.span or buffer.span,
        (Note(outer.span, "one iteration of this loop runs in one thread"),),
        "use T.alloc_local or T.alloc_var, or allocate it before the loop",
    )


def pipeline_plan(loop: For) -> Problem | None:
    """`order` and `stage` have one entry per statement (or per group) of the body."""
    groups = annotation(loop.annotations, keys.PIPELINE_GROUP)
    least, most = _scheduled_statements(loop.body)
    if isinstance(groups, tuple):
        least = most = len(groups)
    for key in (keys.PIPELINE_ORDER, keys.PIPELINE_STAGE):
        given = annotation(loop.annotations, key)
        if isinstance(given, tuple) and not least <= len(given) <= most:
            what = "groups" if isinstance(groups, tuple) else "statements"
            number = f"{least}" if least == most else f"{least} (or {most} with its bindings)"
            message = f"Pipelined: `{key}` has {len(given)} entries for {number} {what}"
            return Problem(message, loop.span)
    return None


def _scheduled_statements(body: Stmt) -> tuple[int, int]:
    """Number of statements of a loop body without and with bindings of loaded values."""
    stmts = list(_flat(body))
    certain = [s for s in stmts if not isinstance(s, (Bind, Allocate)) and not _is_hint(s)]
    loaded = [s for s in stmts if isinstance(s, Bind) and not is_pure(s.value)]
    return len(certain), len(certain) + len(loaded)


def _flat(body: Stmt) -> Iterator[Stmt]:
    """The statements of a block; an attribute of its rest is none."""
    if isinstance(body, Attr):
        yield from _flat(body.body)
    elif isinstance(body, Seq):
        for stmt in body.stmts:
            yield from _flat(stmt)
    else:
        yield body


def _is_hint(stmt: Stmt) -> bool:
    return isinstance(stmt, Evaluate) and getattr(stmt.value, "op", None) == "assume"


_BY_KIND = {"reduce": "reduce_", "scan": "cum", "atomic": "atomic_"}


def tile_operation_in_parallel(node: TileOp, place: Place) -> Problem | None:
    """A tile operation is work of the whole block, not of one iteration."""
    loop = place.parallel
    if loop is None:
        return None
    kind = annotation(node.attributes, "kind")
    name = f"{_BY_KIND[node.op]}{kind}" if node.op in _BY_KIND and kind else node.op
    message = f"`T.{name}` works on a whole tile and cannot stand inside T.Parallel"
    hint = "move it out of the loop, or write the element-wise operation"
    return Problem(message, node.span, (Note(loop.span, "the T.Parallel loop around it"),), hint)


# -- accesses --------------------------------------------------------------------------------------


def index_by_parallel_variable(node: BufferLoad | BufferStore, place: Place) -> Problem | None:
    """No symbolic Parallel variable indexes a fragment, none at all a private array."""
    buffer = node.buffer
    if buffer.scope() not in (FRAGMENT, LOCAL) or not place.parallel_names:
        return None
    found = [v for index in node.indices for v in used_vars(index)]
    if buffer.scope() == FRAGMENT:
        bad = next((v for v in found if v in place.symbolic), None)
        if bad is None:
            return None
        message = (
            f"the fragment `{buffer.name}` is indexed by `{bad.name}`, whose extent is symbolic"
        )
        hint = "loop over a constant extent and guard with `if`, or use a shared buffer"
        return Problem(message, node.span, _allocated(buffer), hint)
    bad = next((v for v in found if v in place.parallel_names), None)
    if bad is None:
        return None
    message = (
        f"`{buffer.name}` is private to each thread, "
        f"but is indexed by the T.Parallel variable `{bad.name}`"
    )
    hint = "use T.alloc_fragment, whose elements are spread over the threads"
    return Problem(message, node.span, _allocated(buffer), hint)


def fragment_outside_parallel(node: BufferLoad | BufferStore, place: Place) -> Problem | None:
    """Elements of fragments have owners; only T.Parallel runs where the owner is."""
    buffer = node.buffer
    if buffer.scope() != FRAGMENT or place.parallel is not None or buffer.num_elements == 1:
        return None
    message = f"an element of the fragment `{buffer.name}` is used outside T.Parallel"
    hint = "combine elements with T.reduce_sum (or another T.reduce_*), or loop with T.Parallel"
    return Problem(message, node.span, _allocated(buffer), hint)


def out_of_range(node: BufferLoad | BufferStore, place: Place) -> Problem | None:
    """An index of an on-chip buffer that some iteration certainly puts outside."""
    buffer = node.buffer
    if buffer.scope() == GLOBAL or place.is_conditional:
        return None
    for axis, index in enumerate(node.indices):
        first, last = index, index
        if isinstance(index, Ramp):
            first = index.base
            last = index.base + cast(index.stride, index.base.dtype) * (index.lanes - 1)
        elif index.dtype.lanes > 1:
            continue
        problem = _outside(buffer, axis, first, last, f"`{index}`", node.span, place)
        if problem is not None:
            return problem
    return None


def region_out_of_range(node: TileOp, operand: TileOperand, place: Place) -> Problem | None:
    """A tile of an on-chip buffer that some iteration certainly puts partly outside."""
    buffer = operand.region.buffer
    if buffer.scope() == GLOBAL or place.is_conditional:
        return None
    for axis, bounds in enumerate(operand.region.ranges):
        if not isinstance(bounds.extent, IntImm) or bounds.extent.value <= 0:
            continue
        last = bounds.start + (bounds.extent.value - 1)
        problem = _outside(buffer, axis, bounds.start, last, "the tile", node.span, place)
        if problem is not None:
            return problem
    return None


def _outside(
    buffer: Buffer, axis: int, first: Expr, last: Expr, shown: str, span: Span | None, place: Place
) -> Problem | None:
    size = const_value(buffer.shape[axis])
    low, high = _ends(first, place), _ends(last, place)
    if size is None or low is None or high is None:
        return None
    if low[0] >= -size and high[1] < 0:
        return None  # counts from the end
    if low[0] >= 0 and high[1] < size:
        return None
    what = f"axis {axis} of `{buffer.name}`, which has {size} elements"
    message = f"{shown} runs from {low[0]} to {high[1]}, outside {what}"
    if low[0] == high[1]:
        message = f"index {low[0]} is outside {what}"
    loops = [p for p in place.loops if any(v is p.var for v in used_vars(first))]
    notes = [Note(p.span, _loop_range(p, place)) for p in loops]
    return Problem(message, span, (*notes, *_allocated(buffer)))


def _loop_range(loop: For, place: Place) -> str:
    low, high = place.ranges[loop.var]
    return f"`{loop.var.name}` runs from {low} to {high}"


def _ends(value: Expr, place: Place) -> tuple[int, int] | None:
    """Exact smallest and largest value of a sum of independent variables of known ranges."""
    form = affine(value)
    if not isinstance(form, Affine) or any(v not in place.ranges for v in form.terms):
        return None
    low = high = form.constant
    for var, factor in form.terms.items():
        ends = sorted(factor * end for end in place.ranges[var])
        low, high = low + ends[0], high + ends[1]
    return low, high


def _allocated(buffer: Buffer) -> tuple[Note, ...]:
    return (Note(buffer.span, f"{describe(buffer)}, allocated here"),) if buffer.span else ()


# -- values ----------------------------------------------------------------------------------------


def zero_divisor(node: BinaryOp, facts: Facts) -> Problem | None:
    """A division by what is certainly zero."""
    divisor = node.b
    if not divisor.dtype.is_int or divisor.dtype.lanes > 1:
        return None
    if isinstance(divisor, IntImm):
        is_zero = divisor.value == 0
    else:
        is_zero = facts.can_prove(divisor.__eq__(0))
    if not is_zero:
        return None
    return Problem(f"`{node.a}` is divided by `{divisor}`, which is always zero", node.span)


# -- the whole function ----------------------------------------------------------------------------


def unwritten_buffers(func: PrimFunc) -> list[Problem]:
    """On-chip buffers that are read although nothing ever writes them."""
    written = written_storage(func)
    found: dict[Var, Problem] = {}
    for stmt, buffer in _reads(func):
        on_chip = buffer.scope() in (*SHARED_SCOPES, FRAGMENT, LOCAL)
        if on_chip and buffer.data not in written and buffer.data not in found:
            message = f"`{buffer.name}` is read, but nothing writes it: its contents are undefined"
            found[buffer.data] = Problem(message, stmt.span)
    return list(found.values())


def _reads(func: PrimFunc) -> Iterator[tuple[Node, Buffer]]:
    around: Node = func
    for node in walk(func):
        if isinstance(node, Stmt) and node.span is not None:
            around = node
        if isinstance(node, BufferLoad):
            yield node if node.span else around, node.buffer
        elif isinstance(node, TileOp):
            for region in node.reads:
                yield around, region.buffer


def unbound_symbols(func: PrimFunc) -> list[Problem]:
    """Sizes that are used but that no argument has."""
    bound = _bound(func)
    found: dict[Var, Problem] = {}
    around: Node = func
    for node in walk(func):
        if isinstance(node, Stmt) and node.span is not None:
            around = node
        for var in _symbols_of(node):
            if var not in bound and var not in found and var.dtype.is_int:
                hint = f"use `{var.name}` in the shape of a tensor argument, or pass it as a scalar"
                message = f"no argument determines the size `{var.name}`"
                place = getattr(around, "span", None)
                notes = (Note(place, f"`{var.name}` is used here"),) if var.span and place else ()
                found[var] = Problem(message, var.span or place, notes, hint)
    return list(found.values())


def _symbols_of(node: Node) -> Sequence[Var]:
    if isinstance(node, Var):
        return [node]
    buffer = getattr(node, "buffer", None)
    return shape_symbols(buffer) if isinstance(buffer, Buffer) else ()


def _bound(func: PrimFunc) -> set[Var]:
    """Every variable that something in `func` binds."""
    found: set[Var] = set()
    for param in func.params:
        if isinstance(param, Buffer):
            found.update(shape_symbols(param))
        else:
            found.add(param)
    for node in walk(func.body):
        for name in BINDERS.get(type(node), ((), (), ()))[1]:
            value = getattr(node, name)
            for target in value if isinstance(value, tuple) else (value,):
                if isinstance(target, Var):
                    found.add(target)
    return found
