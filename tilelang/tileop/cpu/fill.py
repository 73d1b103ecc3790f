"""Filling on a CPU: vectorised stores, clipped to the buffer."""

from __future__ import annotations

from tilelang.ir.expr import Expr
from tilelang.ir.stmt import Stmt
from tilelang.tileop.base import Instruction
from tilelang.tileop.clip import Names, fixed_axes_inside, region_intervals
from tilelang.tileop.context import LowerContext
from tilelang.tileop.fill import Fill
from tilelang.tileop.loops import in_range, nest, spread, store, together, vector_kind, when


class LoopFill(Instruction):
    """Nested loops, the innermost vectorised."""

    name = "loop"

    def applies(self, op: Fill, ctx: LowerContext) -> str | None:
        return "the buffer is in panel form" if op.dst.buffer in ctx.forms else None

    def lower(self, op: Fill, ctx: LowerContext) -> Stmt:
        extents = [op.dst.extents[a] for a in op.axes]
        names = Names()
        bounds = [
            names.bind_interval("dst", i) for i in region_intervals(ctx, op.dst, op.axes, extents)
        ]
        value = names.bind("value", op.value)

        def body(indices: tuple[Expr, ...]) -> Stmt:
            return store(op.dst, spread(op.dst, op.axes, indices), value)

        counts, starts = [b.count for b in bounds], [b.low for b in bounds]
        loops = nest(counts, body, vector_kind(op.dst.buffer), starts)
        return in_range(
            together(*names.stmts, when(fixed_axes_inside(ctx, op.dst, op.axes), loops))
        )
