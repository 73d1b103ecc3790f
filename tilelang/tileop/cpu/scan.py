"""Scans on a CPU: along the axis one element after the other, across it vectorised."""

from __future__ import annotations

from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.expr import BufferLoad, Expr, as_expr, cast
from tilelang.ir.reduction import combine_any, identity
from tilelang.ir.stmt import Allocate, BufferStore, LoopKind, Stmt
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import LowerContext
from tilelang.tileop.loops import element, loop, nest, store, together, vector_kind
from tilelang.tileop.scan import Scan


class SerialScan(Instruction):
    """`r[:] = identity; for k: r[:] = combine(r[:], src[k, :]); dst[k, :] = r[:]`.

    Each element is read before it is written, so that working in place is safe.
    """

    name = "serial"

    def applies(self, op: Scan, ctx: LowerContext) -> str | None:
        return None

    def lower(self, op: Scan, ctx: LowerContext) -> Stmt:
        kind = op.accumulator
        extents = op.src.extents
        outer, inner = list(extents[: op.dim]), list(extents[op.dim + 1 :]) or [as_expr(1)]
        has_inner = op.dim + 1 < len(extents)
        running = Buffer("running", tuple(inner), kind, LOCAL, span=op.node.span)
        length = extents[op.dim]

        def step(before: tuple[Expr, ...], k: Expr, j: tuple[Expr, ...]) -> Stmt:
            at = (*before, (length - 1) - k if op.is_reversed else k, *(j if has_inner else ()))
            x = cast(cast(element(op.src, at), op.dst.buffer.dtype), kind)
            value = combine_any(op.kind, BufferLoad(running, j), x)
            update = BufferStore(running, value, j)
            return together(update, store(op.dst, at, BufferLoad(running, j)))

        def lines(before: tuple[Expr, ...]) -> Stmt:
            start = nest(inner, lambda j: BufferStore(running, identity(op.kind, kind), j))
            across = vector_kind(op.dst.buffer)
            rows = loop("k", length, lambda k: nest(inner, lambda j: step(before, k, j), across))
            return together(start, rows)

        return together(Allocate(running), nest(outer, lines, LoopKind.SERIAL))
