"""Where each buffer of a block lives: C scalars, the stack, or offsets in the block's arena.

In: thread IR whose `Launch` bodies hold `Allocate`s, from the passes before. Out: the same
function; `Allocate`s of large buffers carry `arena_offset`, each `Launch` its `arena_bytes`, and
workspaces in global memory stand before the launch that allocated them. Buffers that are never
needed at the same time share bytes. `plan_launch` gives the same facts as a value that can be
printed. It does not look inside a buffer: the whole of it is live or not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Literal

from tilelang.errors import ResourceError, Span
from tilelang.ir.annotation import ARENA_BYTES, ARENA_OFFSET, LAYOUT, SHARES_ARENA
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import Var, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.record import record
from tilelang.ir.stmt import (
    Allocate,
    Annotations,
    Launch,
    Seq,
    Stmt,
    annotation,
    seq,
)
from tilelang.ir.visitor import Mutator
from tilelang.layout.layout import Layout
from tilelang.transform.liveness import Liveness, period_of

if TYPE_CHECKING:
    from tilelang.transform.context import PassContext

ALIGNMENT = 64  # bytes; a cache line, and the widest vector
STACK_BUFFER_BYTES = 4096  # a larger buffer goes to the arena
STACK_TOTAL_BYTES = 32768  # of one launch; threads of some systems have 512 KiB of stack

Place = Literal["scalar", "stack", "arena"]


@record(eq=False)
class PlannedBuffer:
    """One allocated buffer, its place, and the statements (by number) between which it is live."""

    buffer: Buffer
    bytes: int
    first: int
    last: int
    first_span: Span | None
    last_span: Span | None
    place: Place = "arena"
    offset: int = 0  # bytes from the start of the arena
    shares: bool = False  # another buffer overlaps in memory, at another time
    alignment: int = ALIGNMENT  # of the offset

    def lives_with(self, other: PlannedBuffer) -> bool:
        """Whether there is a statement at which both are needed."""
        return self.first <= other.last and other.first <= self.last

    def overlaps(self, other: PlannedBuffer) -> bool:
        """Whether both have bytes of the arena in common."""
        in_arena = self.place == other.place == "arena"
        return (
            in_arena
            and self.offset < other.offset + other.bytes
            and other.offset < self.offset + self.bytes
        )


@record
class MemoryPlan:
    """Memory of one launch."""

    buffers: tuple[PlannedBuffer, ...]  # in program order
    arena_bytes: int
    owner: str = "thread"  # who has an arena of its own

    def __str__(self) -> str:
        head = ("buffer", "bytes", "place", "first use", "last use")
        rows: list[tuple[str, ...]] = [head]
        for b in self.buffers:
            place = f"arena + {b.offset}" if b.place == "arena" else b.place
            lines = (str(s.line) if s else "-" for s in (b.first_span, b.last_span))
            rows.append((b.buffer.name, str(b.bytes), place, *lines))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        text = ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*text, f"arena: {self.arena_bytes} bytes per {self.owner}"])


def buffer_bytes(buffer: Buffer, layout: Layout | None = None) -> int:
    """Bytes from `data` to the end of the last element, in the physical layout.

    Raises:
        ResourceError: when an extent or stride is not a constant.
    """
    if layout is not None:
        return storage_bytes(buffer, prod(layout.get_output_shape()))
    sizes = [*buffer.shape, *buffer.strides, buffer.elem_offset]
    numbers = [const_value(s) for s in sizes]
    if any(n is None for n in numbers):
        raise ResourceError(
            f"`{buffer.name}` is on-chip memory, so its extents must be constants",
            buffer.span,
            hint="use T.alloc_global for a workspace whose size is known only at run time",
        )
    extents = [int(n) for n in numbers if n is not None]
    rank = buffer.ndim
    reach = sum((e - 1) * s for e, s in zip(extents[:rank], extents[rank : 2 * rank]))
    empty = any(e == 0 for e in extents[:rank])
    return storage_bytes(buffer, 0 if empty else extents[-1] + reach + 1)


def storage_bytes(buffer: Buffer, elements: int) -> int:
    """Bytes of that many elements of the buffer's type."""
    kind = buffer.dtype
    if kind.bits == 4:
        return -(-elements * kind.lanes // 2)
    return elements * kind.itemsize


# -- placement -----------------------------------------------------------------------------------


def plan_launch(launch: Launch) -> MemoryPlan:
    """Places for everything that `launch` allocates on chip.

    Raises:
        ResourceError: when the size of a buffer is not a constant.
    """
    liveness = Liveness()
    liveness.visit(launch.body)
    planned: list[PlannedBuffer] = []
    stack = 0
    for storage in liveness.storages.values():
        buffer, period = storage.allocate.buffer, period_of(storage, liveness.position)
        layout = annotation(storage.allocate.annotations, LAYOUT)
        size = buffer_bytes(buffer, layout if isinstance(layout, Layout) else None)
        place: Place = "scalar" if buffer.is_var else "arena"
        if not buffer.is_var and size <= STACK_BUFFER_BYTES and stack + size <= STACK_TOTAL_BYTES:
            place, stack = "stack", stack + size
        when = (period.first, period.last, period.first_span, period.last_span)
        planned.append(PlannedBuffer(buffer, size, *when, place))
    return place_in_arena(planned)


def place_in_arena(buffers: Sequence[PlannedBuffer]) -> MemoryPlan:
    """Offsets for the buffers whose place is the arena: first fit, large buffers first."""
    placed: list[PlannedBuffer] = []
    for index in sorted(range(len(buffers)), key=lambda i: -buffers[i].bytes):
        buffer = buffers[index]
        if buffer.place != "arena":
            continue
        neighbours = sorted((p for p in placed if p.lives_with(buffer)), key=lambda p: p.offset)
        offset = 0
        for other in neighbours:
            if offset + buffer.bytes <= other.offset:
                break
            offset = max(offset, _aligned(other.offset + other.bytes, buffer.alignment))
        placed.append(dataclasses.replace(buffer, offset=offset))
    total = _aligned(max((p.offset + p.bytes for p in placed), default=0))
    by_data = {p.buffer.data: p for p in placed}
    done = [by_data.get(b.buffer.data, b) for b in buffers]
    sharing = {b.buffer.data for b in done if any(b is not o and b.overlaps(o) for o in done)}
    marked = (dataclasses.replace(b, shares=b.buffer.data in sharing) for b in done)
    return MemoryPlan(tuple(marked), total)


def _aligned(size: int, alignment: int = ALIGNMENT) -> int:
    return -(-size // alignment) * alignment


# -- the pass ------------------------------------------------------------------------------------


def plan_memory(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Annotate allocations and launches with their places.

    Raises:
        ResourceError: when the size of an on-chip buffer is not a constant.
    """
    return replace(func, body=_Planner(ctx).mutate(func.body))


class ArenaPlanner(Mutator):
    """Writes the plan of each launch into it: offsets at allocations, the arena's bytes, and
    workspaces in front. `plan` decides, and is the target's."""

    def __init__(self, ctx: PassContext) -> None:
        self.ctx = ctx  # takes the plans
        self.places: dict[Var, PlannedBuffer] = {}
        self.workspaces: list[Stmt] = []
        self.in_launch = False

    def plan(self, launch: Launch) -> MemoryPlan:
        """The places of the buffers of `launch` that have one."""
        raise NotImplementedError

    def mutate_Launch(self, node: Launch) -> Stmt:
        plan = self.plan(node)
        self.ctx.notes.append(plan)
        self.places = {p.buffer.data: p for p in plan.buffers}
        self.workspaces, self.in_launch = [], True
        body = self.mutate(node.body)
        self.in_launch = False
        kept = tuple((k, v) for k, v in node.annotations if k != ARENA_BYTES)
        made = replace(
            node,
            body=Seq(()) if body is None else body,
            annotations=(*kept, (ARENA_BYTES, plan.arena_bytes)),
        )
        return seq([*self.workspaces, made])

    def mutate_Allocate(self, node: Allocate) -> Stmt | None:
        if not self.in_launch:
            return node
        if node.buffer.scope() == GLOBAL:  # one for all blocks, so the host makes it
            self.workspaces.append(node)
            return None
        place = self.places.get(node.buffer.data)
        if place is None:
            return node
        return replace(node, annotations=_with_place(node.annotations, place))


class _Planner(ArenaPlanner):
    def plan(self, launch: Launch) -> MemoryPlan:
        return plan_launch(launch)  # a CPU has no limit to check against


def _with_place(annotations: Annotations, place: PlannedBuffer) -> Annotations:
    kept = tuple((k, v) for k, v in annotations if k not in (ARENA_OFFSET, SHARES_ARENA))
    if place.place != "arena":
        return kept
    shares = ((SHARES_ARENA, True),) if place.shares else ()
    return (*kept, (ARENA_OFFSET, place.offset), *shares)
