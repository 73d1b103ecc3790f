"""What one statement of a loop body reads and writes, as boxes of buffers.

Asked by `pipeline_schedule` about tile-form statements; decides nothing and changes nothing. Tile
operations say themselves which regions they touch; everything else is walked for loads and stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import BufferLoad, BufferRegion, Call, Expr, IntImm, Let, Var, const_value
from tilelang.ir.func import RESTRICT_DROPPED, PrimFunc
from tilelang.ir.node import Node
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.record import record
from tilelang.ir.stmt import Allocate, Bind, BufferStore, For, If, LoopKind, Seq, Stmt, While
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import children, used_vars, walk

# (start, extent) per axis; `None`: some part of the buffer, nobody knows which.
Box = tuple[tuple[Expr, Expr], ...]

# Operations with which a program runs its own pipeline or leaves the usual order of statements.
_BY_HAND = (
    "ptx_", "tma", "mbarrier", "barrier_", "wgmma", "warpgroup", "cp_async", "async_", "tcgen05",
    "cluster", "copy_cluster", "pdl_", "fence", "named_barrier", "thread_return", "cooperative",
)  # fmt: skip


@record
class Access:
    """One place of a statement where a buffer is read or written."""

    buffer: Buffer
    box: Box | None
    is_write: bool
    op: str | None = None  # the tile operation that does it


@record
class Effects:
    """All accesses of a statement, and whether it does something besides memory."""

    accesses: tuple[Access, ...]
    is_by_hand: bool  # has synchronisation or asynchronous operations of its own
    is_opaque: bool  # calls whose effect is not only on the buffers they name

    @property
    def reads(self) -> list[Access]:
        return [a for a in self.accesses if not a.is_write]

    @property
    def writes(self) -> list[Access]:
        return [a for a in self.accesses if a.is_write]


def effects_of(stmt: Stmt) -> Effects:
    """The effects of one statement."""
    collector = _Collector()
    collector.visit(stmt, False)
    return Effects(tuple(collector.accesses), collector.is_by_hand, collector.is_opaque)


@dataclass
class _Collector:
    """Walks a statement with the loops around the current place."""

    accesses: list[Access] = field(default_factory=list)
    loops: dict[Var, For] = field(default_factory=dict)
    inner: set[Var] = field(default_factory=set)  # variables that the statement itself binds
    is_by_hand: bool = False
    is_opaque: bool = False

    def visit(self, node: Node, is_conditional: bool) -> None:
        match node:
            case For():
                self.loops[node.var] = node
                self.inner.add(node.var)
            case Bind() | Let():
                self.inner.add(node.var)
            case BufferStore():
                box = None if is_conditional else self._points(node.indices)
                self.accesses.append(Access(node.buffer, box, True))
            case BufferLoad():
                self.accesses.append(Access(node.buffer, self._points(node.indices), False))
            case TileOp():
                self._tile_op(node, is_conditional)
            case Call():
                self._call(node)
            case _:
                pass
        inside = is_conditional or isinstance(node, (If, While))
        for child in children(node):
            self.visit(child, inside)

    def _tile_op(self, node: TileOp, is_conditional: bool) -> None:
        self.is_by_hand |= node.op.startswith(_BY_HAND)
        for operand in node.operands:
            box = self._region(operand.region)
            if operand.is_read:
                self.accesses.append(Access(operand.region.buffer, box, False, node.op))
            if operand.is_written:
                shown = None if is_conditional else box
                self.accesses.append(Access(operand.region.buffer, shown, True, node.op))

    def _call(self, node: Call) -> None:
        self.is_by_hand |= node.op.startswith(_BY_HAND)
        writes = effect_of(node.op) is Effect.WRITE
        self.is_opaque |= writes and not node.op.startswith(("atomic_", "assume", "reducer_"))
        if not writes and node.op not in ("address_of", "access_ptr"):
            return
        for load in walk(node):
            if isinstance(load, BufferLoad):
                self.accesses.append(Access(load.buffer, None, True))
                self.accesses.append(Access(load.buffer, None, False))

    def _region(self, region: BufferRegion) -> Box | None:
        points = self._points([r.start for r in region.ranges])
        if points is None or any(set(used_vars(r.extent)) & self.inner for r in region.ranges):
            return None
        box: list[tuple[Expr, Expr]] = []
        for (start, count), r in zip(points, region.ranges):
            if const_value(count) != 1 and const_value(r.extent) != 1:
                return None  # tiles side by side or one over the other: nobody needs to know
            box.append((start, r.extent if const_value(count) == 1 else count))
        return tuple(box)

    def _points(self, indices: Sequence[Expr]) -> Box | None:
        """The box that an element runs over in the loops around it."""
        box: list[tuple[Expr, Expr]] = []
        seen: set[Var] = set()
        for index in indices:
            if isinstance(index, Var) and index in self.loops and index not in seen:
                seen.add(index)
                box.append((self.loops[index].start, self.loops[index].extent))
            elif index.dtype.lanes == 1 and not set(used_vars(index)) & self.inner:
                box.append((index, IntImm(1)))
            else:
                return None
        return tuple(box)


# -- boxes ----------------------------------------------------------------------------------------


def is_covered(read: Access, writes: Sequence[Access]) -> bool:
    """Whether every element that `read` may see has been written by one of `writes`."""
    boxes = [w.box for w in writes if w.box is not None]
    shape = read.buffer.shape
    if any(_same_box(box, read.box) for box in boxes):
        return True
    return any(_covers_axis(axis, boxes, shape) for axis in range(len(shape)))


def are_disjoint(a: Access, b: Access) -> bool:
    """Whether two accesses of one buffer certainly touch different elements."""
    if a.box is None or b.box is None:
        return False
    for (x, n), (y, m) in zip(a.box, b.box):
        ends = [const_value(e) for e in (x, n, y, m)]
        if any(e is None for e in ends):
            continue
        first, count, second, other = (int(e) for e in ends if e is not None)
        if first + count <= second or second + other <= first:
            return True
    return False


def _same_box(a: Box, b: Box | None) -> bool:
    if b is None:
        return False
    return all(structural_equal(x, y) for p, q in zip(a, b) for x, y in zip(p, q))


def _is_whole(bounds: tuple[Expr, Expr], size: object) -> bool:
    return const_value(bounds[0]) == 0 and const_value(bounds[1]) == size


def _covers_axis(axis: int, boxes: Sequence[Box], shape: Sequence[object]) -> bool:
    """Whether boxes that are whole along the other axes lie side by side over all of `axis`."""
    parts: list[tuple[int, int]] = []
    for box in boxes:
        if all(_is_whole(b, s) for d, (b, s) in enumerate(zip(box, shape)) if d != axis):
            start, extent = const_value(box[axis][0]), const_value(box[axis][1])
            if start is not None and extent is not None:
                parts.append((int(start), int(start + extent)))
    reached = 0
    for start, stop in sorted(parts):
        if start > reached:
            return False
        reached = max(reached, stop)
    return isinstance(shape[axis], int) and reached >= shape[axis]  # type: ignore[operator]


# -- storage --------------------------------------------------------------------------------------


class Storage:
    """Which buffers of a function may be the same memory."""

    def __init__(self, func: PrimFunc) -> None:
        dropped = func.attribute(RESTRICT_DROPPED, ())
        distinct = {b.data for b in func.buffer_params if b.name not in dropped}
        buffers: dict[Var, set[Buffer]] = {}
        for node in walk(func):
            buffer = getattr(node, "buffer", None)
            if isinstance(buffer, Buffer):
                buffers.setdefault(buffer.data, set()).add(buffer)
            if isinstance(node, Allocate):
                distinct.add(node.buffer.data)
        self.views: Mapping[Var, set[Buffer]] = buffers
        near = [d for d, found in buffers.items() if any(b.scope() == GLOBAL for b in found)]
        self.globals_are_distinct = all(data in distinct for data in near)
        self._any = Var("any_global_memory")

    def key(self, buffer: Buffer) -> Var:
        """Two accesses whose keys differ never touch the same memory."""
        is_hidden = buffer.scope() == GLOBAL and not self.globals_are_distinct
        return self._any if is_hidden else buffer.data

    def overlapping(self, written: Set[Var]) -> Set[Var]:
        """The storage that may change when `written` does."""
        near = {d for d, found in self.views.items() if any(b.scope() == GLOBAL for b in found)}
        is_wider = not self.globals_are_distinct and written & near
        return written | near if is_wider else written

    def has_views(self, buffer: Buffer) -> bool:
        """Whether the memory of `buffer` is also used under another shape or type."""
        return len(self.views.get(buffer.data, ())) > 1


def is_global_to_shared(stmt: Stmt) -> bool:
    """Whether the statement moves elements from global to shared memory, unchanged.

    A copy, a Parallel nest that copies, or a loop over one of them.
    """
    if isinstance(stmt, TileOp):
        if stmt.op != "copy":
            return False
        src, dst = stmt.region("src").buffer, stmt.region("dst").buffer
        return src.scope() == GLOBAL and dst.is_shared and src.dtype == dst.dtype
    if not isinstance(stmt, For):
        return False
    if stmt.kind is not LoopKind.PARALLEL:
        return is_global_to_shared(sole_statement(stmt.body))
    body: Stmt = stmt
    while isinstance(body, For) and body.kind is LoopKind.PARALLEL:
        body = body.body
    if not isinstance(body, BufferStore) or not body.buffer.is_shared:
        return False
    return _moves_global(body.value, body.buffer)


def sole_statement(body: Stmt) -> Stmt:
    """The statement of a body that has no other besides names in front of it."""
    if not isinstance(body, Seq) or not body.stmts:
        return body
    *names, last = body.stmts
    return last if all(isinstance(s, Bind) for s in names) else body


def _moves_global(value: Expr, target: Buffer) -> bool:
    """A global element of the target's type, or one chosen by a condition against a constant."""
    if isinstance(value, BufferLoad):
        return value.buffer.scope() == GLOBAL and value.dtype == target.dtype
    if isinstance(value, Call) and value.op == "if_then_else":
        return _moves_global(value.args[1], target) and const_value(value.args[2]) is not None
    return False
