"""Copies on a CPU: vectorised loops over the part of the tile that exists."""

from __future__ import annotations

from collections.abc import Sequence

from tilelang.ir.expr import Expr, is_const, logical_and
from tilelang.ir.stmt import Stmt
from tilelang.tileop.base import Instruction
from tilelang.tileop.clip import Interval, Names, all_full, meet
from tilelang.tileop.context import LowerContext
from tilelang.tileop.copy import Copy
from tilelang.tileop.loops import (
    element,
    in_range,
    nest,
    spread,
    store,
    together,
    vector_kind,
    when,
)


class LoopCopy(Instruction):
    """Interior tiles: loops of constant extents. Edge tiles: fill with the safe value, then copy.

    if (rows == 64 && cols == 32) for i, j: dst[i, j] = src[...]
    else { for i, j: dst[i, j] = safe;  for i < rows, j < cols: dst[i, j] = src[...] }
    """

    name = "loop"

    def applies(self, op: Copy, ctx: LowerContext) -> str | None:
        if op.dst.buffer in ctx.forms or op.src.buffer in ctx.forms:
            return "a side is in panel form"
        return None

    def lower(self, op: Copy, ctx: LowerContext) -> Stmt:
        names = Names()
        src = [names.bind_interval("src", i) for i in op.source_intervals(ctx)]
        dst = [names.bind_interval("dst", i) for i in op.destination_intervals(ctx)]
        existing = [meet(s, d) for s, d in zip(src, dst)]
        is_there = op.source_is_there(ctx)
        surely_there = is_const(is_there, True)
        fast = _move(op, [(i.low if i.is_whole else 0, i.extent) for i in existing])
        if surely_there and all(i.is_whole for i in existing):
            body = fast
        else:
            inner = [names.bind_interval("at", i) for i in existing]
            edge = _move(op, [(i.low, i.count) for i in inner])
            reads_everything = surely_there and all(i.is_whole for i in src)
            fill = None if reads_everything else _fill(op, ctx, dst)
            slow = together(fill, when(is_there, edge))
            complete = all_full([*src, *dst])
            body = when(logical_and(complete, is_there), fast, slow)
        body = when(op.destination_is_there(ctx), body)
        return in_range(together(*names.stmts, body))


def _move(op: Copy, bounds: Sequence[tuple[Expr | int, Expr]]) -> Stmt:
    """`dst = src` for the iterations `(first, count)` of each loop."""

    def body(indices: tuple[Expr, ...]) -> Stmt:
        value = element(op.src, spread(op.src, op.src_axes, indices))
        return store(op.dst, spread(op.dst, op.dst_axes, indices), value)

    starts, counts = [b[0] for b in bounds], [b[1] for b in bounds]
    return nest(counts, body, vector_kind(op.dst.buffer), starts)


def _fill(op: Copy, ctx: LowerContext, bounds: Sequence[Interval]) -> Stmt:
    """`dst = safe value` wherever the tile meets the destination."""
    value = ctx.safe_value(op.src.buffer, op.dst.buffer.dtype)

    def body(indices: tuple[Expr, ...]) -> Stmt:
        return store(op.dst, spread(op.dst, op.dst_axes, indices), value)

    starts, counts = [b.low for b in bounds], [b.count for b in bounds]
    return nest(counts, body, vector_kind(op.dst.buffer), starts)
