"""Tiles of atomic updates on a CPU: one atomic operation per element that exists."""

from __future__ import annotations

from tilelang.ir.expr import BufferLoad, Call, Expr, as_expr, cast
from tilelang.ir.stmt import Evaluate, LoopKind, Stmt
from tilelang.tileop.atomic import Atomic
from tilelang.tileop.base import Instruction
from tilelang.tileop.clip import Names, fixed_axes_inside, meet, region_intervals
from tilelang.tileop.context import LowerContext
from tilelang.tileop.loops import element, in_range, nest, shifted, spread, together, when


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
        loops = nest(counts, lambda i: self._update(op, i), LoopKind.SERIAL, starts)
        return in_range(together(*names.stmts, when(exists, loops)))

    def _update(self, op: Atomic, indices: tuple[Expr, ...]) -> Stmt:
        buffer = op.dst.buffer
        target = BufferLoad(buffer, shifted(op.dst, spread(op.dst, op.dst_axes, indices)))
        if op.src is not None:
            value = element(op.src, spread(op.src, op.src_axes, indices))
        else:
            assert op.value is not None, "a tile of atomics has values or one value"
            value = op.value
        args = (target, cast(value, buffer.dtype), as_expr(op.memory_order))
        return Evaluate(Call(f"atomic_{op.kind}", args, buffer.dtype))
