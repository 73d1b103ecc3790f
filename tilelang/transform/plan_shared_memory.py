"""Offsets of shared buffers in the one arena of each launch of a GPU kernel.

In: thread IR with logical indices; shared `Allocate`s may carry a physical layout. Out: each shared
`Allocate` has `arena_offset`, each `Launch` `arena_bytes`, and workspaces in global memory stand
before the launch that allocated them. Buffers that are not needed at the same time share bytes;
`insert_barriers`, which runs next, puts a barrier where the bytes change hands; for a few small
buffers that is not worth it. Where only some threads run, no barrier can stand, so what is used
there keeps its own bytes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

from tilelang.errors import Note, ResourceError, Span, TargetError
from tilelang.ir.annotation import LAYOUT, VERSIONS
from tilelang.ir.buffer import Buffer, format_shape
from tilelang.ir.expr import const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, Attr, For, If, Launch, Stmt, While, annotation
from tilelang.ir.visitor import walk
from tilelang.layout.layout import Layout
from tilelang.target.cuda import DEFAULT_ARCH, max_shared_bytes
from tilelang.target.target import Target
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.hazards_program import diverges
from tilelang.transform.liveness import Liveness, Period, period_of
from tilelang.transform.plan_memory import (
    ArenaPlanner,
    MemoryPlan,
    PlannedBuffer,
    buffer_bytes,
    place_in_arena,
)
from tilelang.transform.varying import Varying, find_varying

ALIGNMENT = 128  # bytes; all banks once
SWIZZLED_ALIGNMENT = 1024  # bytes after which the widest swizzle repeats
MAX_THREADS = 1024  # of a block
MAX_THREADS_Z = 64  # along its axis z
MAX_BLOCKS = (2**31 - 1, 65535, 65535)  # of a grid, along x, y, z
# Sharing costs a barrier. Buffers below SMALL_BYTES have their own bytes while the arena stays
# within ROOMY_BYTES, with which a multiprocessor (100 to 228 KiB) still holds several blocks.
SMALL_BYTES = 4096
ROOMY_BYTES = 16384
_NUM_STAGES = re.compile(r"\bPipelined\(.*\bnum_stages\s*=\s*(\w+)")


def plan_shared_memory(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Give every shared buffer its place.

    Raises:
        ResourceError: when a block would need more shared memory or threads than the device has,
            or the size of an on-chip buffer is not a constant.
        TargetError: when the number of threads is no constant.
    """
    return replace(func, body=_Planner(ctx).mutate(func.body))


class _Planner(ArenaPlanner):
    def plan(self, launch: Launch) -> MemoryPlan:
        check_threads(launch)
        check_grid(launch)
        reuse = not self.ctx.option(PassConfigKey.TL_DISABLE_SHARED_MEMORY_REUSE)
        plan, allocations = plan_shared(launch, reuse)
        _check_limit(launch, plan, allocations, self.ctx.target)
        return plan


# -- places --------------------------------------------------------------------------------------


def plan_shared(launch: Launch, reuse: bool = True) -> tuple[MemoryPlan, list[Allocate]]:
    """Places of the shared buffers of `launch`, and their allocations in program order.

    Args:
        reuse: buffers that are not needed at the same time may share bytes.

    Raises:
        ResourceError: when the size of a buffer is not a constant.
    """
    liveness = SharedLiveness(find_varying(launch.body, launch.thread_vars))
    liveness.visit(launch.body)
    planned: list[PlannedBuffer] = []
    allocations: list[Allocate] = []
    for storage in liveness.storages.values():
        buffer, layout = storage.allocate.buffer, _layout(storage.allocate)
        if not buffer.is_shared:
            continue
        period = liveness.whole_blocks(period_of(storage, liveness.position))
        if not reuse:
            period = dataclasses.replace(period, first=0, last=liveness.position)
        when = (period.first, period.last, period.first_span, period.last_span)
        alignment = SWIZZLED_ALIGNMENT if layout is not None else ALIGNMENT
        size = buffer_bytes(buffer, layout)
        planned.append(PlannedBuffer(buffer, size, *when, alignment=alignment))
        allocations.append(storage.allocate)
    plan = dataclasses.replace(_placed(planned, liveness.position), owner="block")
    return plan, allocations


def _placed(planned: list[PlannedBuffer], end: int) -> MemoryPlan:
    """Offsets; small buffers, needed from 0 to `end` as it were, share bytes only for want."""
    apart = [
        dataclasses.replace(p, first=0, last=end) if p.bytes < SMALL_BYTES else p for p in planned
    ]
    roomy = place_in_arena(apart)
    return roomy if roomy.arena_bytes <= ROOMY_BYTES else place_in_arena(planned)


def _layout(allocate: Allocate) -> Layout | None:
    layout = annotation(allocate.annotations, LAYOUT)
    return layout if isinstance(layout, Layout) else None


class SharedLiveness(Liveness):
    """Liveness that also notes the stretches in which only some threads run."""

    def __init__(self, varying: Varying) -> None:
        super().__init__()
        self.varying = varying
        self.blocks: list[Period] = []
        self.is_inside = False

    def visit(self, stmt: Stmt) -> None:
        if self.is_inside or not self._is_partial(stmt):
            super().visit(stmt)
            return
        block = Period(self.position, 0)
        self.is_inside = True
        super().visit(stmt)
        self.is_inside = False
        block.last = self.position
        self.position += 1
        self.blocks.append(block)

    def _is_partial(self, stmt: Stmt) -> bool:
        return isinstance(stmt, (If, For, While, Attr)) and diverges(stmt, self.varying)

    def whole_blocks(self, period: Period) -> Period:
        """`period`, reaching to the ends of the stretches it touches."""
        met = [b for b in self.blocks if b.first <= period.last and period.first <= b.last]
        if not met or period.last < period.first:
            return period
        first = min(period.first, *(b.first for b in met))
        last = max(period.last, *(b.last for b in met))
        return dataclasses.replace(period, first=first, last=last)


# -- limits --------------------------------------------------------------------------------------


def check_threads(launch: Launch) -> None:
    """Whether a device can run blocks of so many threads.

    Raises:
        TargetError: when their number is not a constant.
        ResourceError: when it is not positive, or too large.
    """
    count = 1
    for name, extent in zip("xyz", launch.thread_extents):
        number = const_value(extent)
        if number is None:
            raise TargetError(
                f"threads: the extent `{extent}` of axis {name} is no constant",
                extent.span or launch.span,
                hint="give `threads` as an integer",
            )
        if number <= 0:
            raise ResourceError(
                f"threads: the extent of axis {name} is {number}, expected a positive number",
                launch.span,
            )
        count *= int(number)
        if name == "z" and number > MAX_THREADS_Z:
            raise ResourceError(
                f"threads: {number} threads along axis z, at most {MAX_THREADS_Z} are possible",
                launch.span,
                hint=f"threads=({number}, 1, 1)",
            )
    if count > MAX_THREADS:
        shape = " x ".join(str(e) for e in launch.thread_extents)
        raise ResourceError(
            f"threads: {count} threads per block ({shape}), at most {MAX_THREADS} are possible",
            launch.span,
            hint=f"threads={MAX_THREADS} or fewer, each with more elements",
        )


def check_grid(launch: Launch) -> None:
    """Whether a device can start so many blocks; extents known at run time are checked there.

    Raises:
        ResourceError: when an extent is too large.
    """
    for name, extent, most in zip("xyz", launch.grid_extents, MAX_BLOCKS):
        number = const_value(extent)
        if number is not None and number > most:
            raise ResourceError(
                f"Kernel: {number} blocks along axis {name}, at most {most} are possible",
                launch.span,
                hint="give the longest axis first: axis x may have 2147483647 blocks",
            )


def _check_limit(
    launch: Launch, plan: MemoryPlan, allocations: Sequence[Allocate], target: Target
) -> None:
    limit, arch = max_shared_bytes(target), target.arch or DEFAULT_ARCH
    if plan.arena_bytes <= limit:
        return
    versions = {a.buffer: _versions(a) for a in allocations}
    rows = [Note(None, row) for row in _rows(plan, versions)]
    largest = max(plan.buffers, key=lambda p: p.bytes)
    slots, place = versions[largest.buffer], largest.buffer.span or launch.span
    stages = _stages(launch) if slots > 1 else None
    if stages is not None:
        place = stages
        rows.insert(0, Note(stages, f"keeps {slots} slots of each buffer"))
    raise ResourceError(
        f"shared memory: {plan.arena_bytes} bytes needed, {arch} allows {limit} per block",
        place,
        notes=rows,
        hint=_hint(plan, versions, limit),
    )


def _versions(allocate: Allocate) -> int:
    slots: Any = annotation(allocate.annotations, VERSIONS, 1)
    return int(slots)


def _stages(launch: Launch) -> Span | None:
    """The number of stages in the user's `T.Pipelined(...)`, where a loop of it is left."""
    for node in walk(launch.body):
        span = node.span if isinstance(node, For) else None
        match = _NUM_STAGES.search(span.text()) if span is not None else None
        if span is not None and match is not None:
            first = span.column + match.start(1)
            return Span(span.file, span.line, first, span.line, first + len(match[1]))
    return None


def _rows(plan: MemoryPlan, versions: dict[Buffer, int]) -> list[str]:
    """One line per buffer: name, shape, type, bytes of one version x versions = bytes."""
    cells: list[tuple[str, str, str]] = []
    for p in plan.buffers:
        slots = versions[p.buffer]
        shape = p.buffer.shape[1:] if slots > 1 else p.buffer.shape
        text = f"{p.buffer.name} {format_shape(shape)} {p.buffer.dtype}"
        times = f"{p.bytes // slots} x {slots} =" if slots > 1 else ""
        shared = ", shares memory" if p.shares else ""
        cells.append((text, times, f"{p.bytes}{shared}"))
    widths = [max(len(c[0]) for c in cells), max(len(c[1]) for c in cells)]
    digits = max(len(str(p.bytes)) for p in plan.buffers)
    return [
        f"{text:<{widths[0]}}  {times:>{widths[1]}} {size:>{digits}}".rstrip()
        for text, times, size in cells
    ]


def _hint(plan: MemoryPlan, versions: dict[Buffer, int], limit: int) -> str:
    most = max(versions.values())
    for slots in range(most - 1, 0, -1):
        size = _with(plan, lambda p, n=slots: p.bytes // versions[p.buffer] * min(
            versions[p.buffer], n))  # fmt: skip
        if size <= limit:
            return f"num_stages={slots} ({size} bytes)"
    largest = max(plan.buffers, key=lambda p: p.bytes)
    half = _with(plan, lambda p: p.bytes // 2 if p is largest else p.bytes)
    name = largest.buffer.name
    if half <= limit:
        return f"half the extent of {name} ({half} bytes)"
    return f"smaller tiles: {name} alone takes {largest.bytes} bytes"


def _with(plan: MemoryPlan, size: Callable[[PlannedBuffer], int]) -> int:
    """Bytes of the arena if buffers had other sizes."""
    other = [dataclasses.replace(p, bytes=size(p), offset=0) for p in plan.buffers]
    return place_in_arena(other).arena_bytes
