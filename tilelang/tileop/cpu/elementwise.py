"""Transposition and im2col on a CPU: one loop nest, each element computed by itself."""

from __future__ import annotations

from tilelang.ir.expr import Expr, as_expr, if_then_else, is_const, logical_and
from tilelang.ir.stmt import LoopKind, Stmt
from tilelang.tileop.base import Instruction
from tilelang.tileop.clip import Names, fixed_axes_inside, region_intervals
from tilelang.tileop.context import LowerContext
from tilelang.tileop.im2col import Im2Col
from tilelang.tileop.loops import (
    element,
    in_range,
    nest,
    shifted,
    spread,
    store,
    together,
    vector_kind,
)
from tilelang.tileop.transpose import Transpose


class TransposeLoops(Instruction):
    """Loops in the order of the destination; an edge tile tests each source element."""

    name = "loops"

    def applies(self, op: Transpose, ctx: LowerContext) -> str | None:
        return None

    def lower(self, op: Transpose, ctx: LowerContext) -> Stmt:
        rank = len(op.dst.ranges)
        swapped = [*range(rank - 2), rank - 1, rank - 2]
        extents = op.dst.extents
        names = Names()
        bounds = [
            names.bind_interval("dst", i)
            for i in region_intervals(ctx, op.dst, range(rank), extents)
        ]
        safe = ctx.safe_value(op.src.buffer, op.dst.buffer.dtype)

        def body(indices: tuple[Expr, ...]) -> Stmt:
            offsets = spread(op.src, swapped, indices)
            exists = _exists(ctx, op, offsets)
            value = element(op.src, offsets).astype(op.dst.buffer.dtype)
            return store(op.dst, indices, if_then_else(exists, value, safe))

        counts, starts = [b.count for b in bounds], [b.low for b in bounds]
        kind = vector_kind(op.dst.buffer) if _is_whole(ctx, op) else LoopKind.SERIAL
        return in_range(together(*names.stmts, nest(counts, body, kind, starts)))


def _is_whole(ctx: LowerContext, op: Transpose) -> bool:
    axes = range(len(op.src.ranges))
    intervals = region_intervals(ctx, op.src, axes, op.src.extents)
    return all(i.is_whole for i in intervals) and is_const(
        fixed_axes_inside(ctx, op.src, axes), True
    )


def _exists(ctx: LowerContext, op: Transpose, offsets: tuple[Expr, ...]) -> Expr:
    """Condition: the source element at `offsets` is in its buffer."""
    if _is_whole(ctx, op):
        return as_expr(True)
    condition: Expr = as_expr(True)
    for index, size in zip(shifted(op.src, offsets), op.src.buffer.shape):
        condition = logical_and(condition, logical_and(index >= 0, index < as_expr(size)))
    return condition


class Im2ColLoops(Instruction):
    """Rows outside, columns inside; pixel coordinates once per element."""

    name = "loops"

    def applies(self, op: Im2Col, ctx: LowerContext) -> str | None:
        return None

    def lower(self, op: Im2Col, ctx: LowerContext) -> Stmt:
        axes = [len(op.col.ranges) - 2, len(op.col.ranges) - 1]
        extents = [op.col.extents[a] for a in axes]

        def body(indices: tuple[Expr, ...]) -> Stmt:
            names = Names()
            value = op.value_at(*indices, bind=names.bind)
            return together(*names.stmts, store(op.col, spread(op.col, axes, indices), value))

        return in_range(nest(extents, body, LoopKind.SERIAL))
