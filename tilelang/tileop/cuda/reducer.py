"""Reducers on a device with threads: every thread has one of its own until the end.

A reducer's fragment is fully replicated, and each thread contributes to its replica alone; so the
replicas differ until `finalize_reducer` combines them over the block. The initial value counts
once: thread 0 starts from it, the others from what changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import BufferRegion, Expr, cast, const_value, equal, select
from tilelang.ir.reduction import accumulator, identity
from tilelang.ir.stmt import BufferStore, LoopKind, Stmt
from tilelang.layout.fragment import Fragment, make_fully_replicated_layout_fragment
from tilelang.layout.reduced import Table
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import LayoutNeeds, LowerContext
from tilelang.tileop.cuda.reduce import reduce_held
from tilelang.tileop.cuda.reduce_places import destination, held_region, product, reason_against
from tilelang.tileop.cuda.reduce_values import combiner_for
from tilelang.tileop.loops import loop
from tilelang.tileop.reducer import FinalizeReducer, ReducerInit


def reducer_fragment(buffer: Buffer, threads: int) -> Fragment:
    """The fragment of a reducer: every thread has all of it, row-major."""
    return make_fully_replicated_layout_fragment(buffer, threads)


def _needs(region: BufferRegion, ctx: LowerContext) -> LayoutNeeds:
    if ctx.threads is None:
        return LayoutNeeds()
    buffer = region.buffer
    return LayoutNeeds(fragments={buffer: reducer_fragment(buffer, ctx.threads.count)})


def _reason_against(region: BufferRegion, ctx: LowerContext) -> str | None:
    if ctx.threads is None:
        return "the threads are not known"
    reason = reason_against("reducer", region, ctx)
    if reason is None and not _is_replicated(held_region(region, ctx), region.extents):
        return f"`{region.buffer.name}` is not replicated over the threads"
    return reason


def _is_replicated(held: Table, extents: Sequence[Expr]) -> bool:
    count = product(extents)
    return count == held.shape[1] and bool(np.all(held == np.arange(held.shape[1])))


class InitReplicas(Instruction):
    """Thread 0 starts from the initial value, the others from the identity."""

    name = "init_replicas"

    def applies(self, op: ReducerInit, ctx: LowerContext) -> str | None:
        return _reason_against(op.node.region("dst"), ctx)

    def needs(self, op: ReducerInit, ctx: LowerContext) -> LayoutNeeds:
        return _needs(op.node.region("dst"), ctx)

    def lower(self, op: ReducerInit, ctx: LowerContext) -> Stmt:
        assert ctx.threads is not None, "asked by applies"
        region = op.node.region("dst")
        registers, kind = ctx.registers[region.buffer], region.buffer.dtype
        first, others = op.node.value("value"), identity(op.operation, kind)
        value = _start(first, others, kind, ctx.threads.index)
        count = product(region.extents)
        return loop("r", count, lambda r: BufferStore(registers, value, (r,)), LoopKind.UNROLLED)


def _start(first: Expr, others: Expr, kind: dtype, thread: Expr) -> Expr:
    if const_value(first) is not None and const_value(first) == const_value(others):
        return cast(first, kind)
    return select(equal(thread, 0), cast(first, kind), others)


class CombineReplicas(Instruction):
    """All threads' values combined; every holder of the result gets it."""

    name = "combine_replicas"

    def applies(self, op: FinalizeReducer, ctx: LowerContext) -> str | None:
        reason = _reason_against(op.src, ctx)
        if reason is None and op.dst is not None:
            return reason_against("dst", op.dst, ctx)
        return reason

    def needs(self, op: FinalizeReducer, ctx: LowerContext) -> LayoutNeeds:
        return _needs(op.src, ctx)

    def lower(self, op: FinalizeReducer, ctx: LowerContext) -> Stmt:
        assert ctx.threads is not None, "asked by applies"
        kind = op.src.buffer.dtype
        count = product(op.src.extents)
        assert isinstance(count, int), "a fragment's region is constant: asked by applies"
        combiner = combiner_for(op.operation, kind, accumulator(kind))
        to = destination(op.dst or op.src, combiner, True, ctx)
        # Value n of thread t is element t * count + n; the lines are the n.
        held = np.arange(ctx.threads.count * count).reshape(-1, count)
        lines = np.tile(np.arange(count), ctx.threads.count)
        source = ctx.registers[op.src.buffer]
        return reduce_held(held, lines, source, to, ctx, op.src.buffer.name)
