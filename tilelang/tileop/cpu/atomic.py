"""Tiles of atomic updates on a CPU: one atomic operation per element that exists."""

from __future__ import annotations

from tilelang.ir.stmt import LoopKind, Stmt
from tilelang.tileop.atomic import Atomic
from tilelang.tileop.base import Instruction
from tilelang.tileop.clip import Names, fixed_axes_inside, meet, region_intervals
from tilelang.tileop.context import LowerContext
from tilelang.tileop.loops import in_range, nest, together, when


class AtomicLoops(Instruction):
    """Serial loops, clipped to both buffers."""

    name = "loops"

    def applies(self, op: Atomic, ctx: LowerContext) -> str | None:
        return None

    def lower(self, op: Atomic, ctx: LowerContext) -> Stmt:
        names = Names()
        bounds = region_intervals(ctx, op.dst, op.dst_axes, op.extents)
        exists = fixed_axes_inside(ctx, op.dst, op.dst_axes)
        if op.src is not None:
            sources = region_intervals(ctx, op.src, op.src_axes, op.extents)
            bounds = [meet(a, b) for a, b in zip(bounds, sources)]
        bounds = [names.bind_interval("at", b) for b in bounds]
        counts, starts = [b.count for b in bounds], [b.low for b in bounds]
        loops = nest(counts, op.update, LoopKind.SERIAL, starts)
        return in_range(together(*names.stmts, when(exists, loops)))
