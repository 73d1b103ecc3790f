"""Reductions on a CPU.

`AlongRows` reduces the last axis: one vectorised loop with a reduction clause per line.
`AcrossRows` reduces any other axis: whole rows are combined into a row of sums, vectorised.
"""

from __future__ import annotations

from tilelang.ir.annotation import REDUCTION
from tilelang.ir.buffer import LOCAL, VAR, Buffer
from tilelang.ir.expr import BufferLoad, Expr, as_expr, call, cast, constant, select
from tilelang.ir.reduction import (
    LOOP_OPERATORS,
    NAN_KINDS,
    combine,
    combine_any,
    identity,
    prepare,
)
from tilelang.ir.stmt import Allocate, BufferStore, LoopKind, Stmt
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import LowerContext
from tilelang.tileop.loops import element, loop, nest, store, together
from tilelang.tileop.reduce import Reduce

_HERE = (as_expr(0),)


def _converted(op: Reduce, offsets: list[Expr]) -> Expr:
    """An element as it enters the combination: in the output's type, then widened."""
    value = cast(element(op.src, offsets), op.dst.buffer.dtype)
    return cast(prepare(op.kind, value), op.accumulator)


def _finish(op: Reduce, kept: tuple[Expr, ...], result: Expr) -> Stmt:
    """`dst = result`, or combined with what `dst` holds."""
    at = op.dst_offsets(kept)
    if not op.clear:
        old = cast(prepare(op.kind, element(op.dst, at)), op.accumulator)
        result = combine_any(op.kind, old, result, op.nan_propagate)
    return store(op.dst, at, result)


class AlongRows(Instruction):
    """`for line: s = identity; for k (vectorised): s = combine(s, src[line, k]); dst[line] = s`."""

    name = "along_rows"

    def applies(self, op: Reduce, ctx: LowerContext) -> str | None:
        last = len(op.src.ranges) - 1
        return None if op.dim == last else f"axis {op.dim} is not the last one of {last + 1}"

    def lower(self, op: Reduce, ctx: LowerContext) -> Stmt:
        kind = op.accumulator
        total = Buffer("total", (1,), kind, VAR, span=op.node.span)
        value = BufferLoad(total, _HERE)
        tracks_nan = op.nan_propagate and op.kind in NAN_KINDS and kind.is_float
        seen = Buffer("nan_seen", (1,), "int32", VAR, span=op.node.span)
        extent = op.src.extents[op.dim]

        def add(kept: tuple[Expr, ...], k: Expr) -> Stmt:
            x = _converted(op, op.src_offsets(kept, k))
            update = BufferStore(total, combine(op.kind, value, x), _HERE)
            if not tracks_nan:
                return update
            is_nan = cast(call("isnan", x, dtype="bool"), "int32")
            return together(update, BufferStore(seen, BufferLoad(seen, _HERE) | is_nan, _HERE))

        def line(kept: tuple[Expr, ...]) -> Stmt:
            clauses = ((LOOP_OPERATORS[op.kind], total),) + ((("|", seen),) if tracks_nan else ())
            vectorised = LoopKind.SERIAL if kind.is_bool else LoopKind.VECTORIZED
            notes = () if kind.is_bool else ((REDUCTION, clauses),)
            body = loop("k", extent, lambda k: add(kept, k), vectorised, annotations=notes)
            start = BufferStore(total, identity(op.kind, kind), _HERE)
            clear = BufferStore(seen, as_expr(0), _HERE) if tracks_nan else None
            result: Expr = value
            if tracks_nan:
                nan = constant(float("nan"), kind)
                result = select(BufferLoad(seen, _HERE) != 0, nan, value)
            return together(start, clear, body, _finish(op, kept, result))

        extents = [op.src.extents[a] for a in op.kept_axes]
        flag = Allocate(seen) if tracks_nan else None
        return together(Allocate(total), flag, nest(extents, line, LoopKind.SERIAL))


class AcrossRows(Instruction):
    """`s[:] = identity; for k: s[:] = combine(s[:], src[k, :]) (vectorised); dst[:] = s[:]`."""

    name = "across_rows"

    def applies(self, op: Reduce, ctx: LowerContext) -> str | None:
        return None

    def lower(self, op: Reduce, ctx: LowerContext) -> Stmt:
        kind = op.accumulator
        outer = [op.src.extents[a] for a in op.kept_axes if a < op.dim]
        inner = [op.src.extents[a] for a in op.kept_axes if a > op.dim]
        sums = Buffer("sums", tuple(inner), kind, LOCAL, span=op.node.span)

        def start(j: tuple[Expr, ...]) -> Stmt:
            return BufferStore(sums, identity(op.kind, kind), j)

        def add(before: tuple[Expr, ...], k: Expr, j: tuple[Expr, ...]) -> Stmt:
            x = _converted(op, op.src_offsets((*before, *j), k))
            return BufferStore(sums, combine(op.kind, BufferLoad(sums, j), x, op.nan_propagate), j)

        def block(before: tuple[Expr, ...]) -> Stmt:
            rows = loop(
                "k", op.src.extents[op.dim], lambda k: nest(inner, lambda j: add(before, k, j))
            )
            end = nest(inner, lambda j: _finish(op, (*before, *j), BufferLoad(sums, j)))
            return together(nest(inner, start), rows, end)

        return together(Allocate(sums), nest(outer, block, LoopKind.SERIAL))
