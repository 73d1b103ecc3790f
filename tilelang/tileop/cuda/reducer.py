"""Reducers on a device with threads: every thread has one of its own until the end.

What a thread holds of a reducer is its own contribution, so the replicas of an element differ until
`finalize_reducer` combines them over the block. By default every thread holds all elements; a
fragment in which fewer do is as good, as long as contributions are made by holders. The initial
value counts once: the first holder starts from it, the others from what changes nothing.
"""

from __future__ import annotations

import numpy as np

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferRegion, Expr, cast, const_value, select
from tilelang.ir.reduction import accumulator, identity
from tilelang.ir.stmt import BufferStore, LoopKind, Stmt
from tilelang.layout.fragment import Fragment, make_fully_replicated_layout_fragment
from tilelang.layout.reduced import NOBODY, first_holders
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import LayoutNeeds, LowerContext
from tilelang.tileop.cuda.reduce import reduce_held
from tilelang.tileop.cuda.reduce_index import for_each
from tilelang.tileop.cuda.reduce_places import destination, held_region, reason_against
from tilelang.tileop.cuda.reduce_values import combiner_for
from tilelang.tileop.loops import loop
from tilelang.tileop.reducer import FinalizeReducer, ReducerInit

_UNROLLED = LoopKind.UNROLLED


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
    return reason_against("reducer", region, ctx)


class InitReplicas(Instruction):
    """The first holder starts from the initial value, the others from the identity."""

    name = "init_replicas"

    def applies(self, op: ReducerInit, ctx: LowerContext) -> str | None:
        return _reason_against(op.node.region("dst"), ctx)

    def needs(self, op: ReducerInit, ctx: LowerContext) -> LayoutNeeds:
        return _needs(op.node.region("dst"), ctx)

    def lower(self, op: ReducerInit, ctx: LowerContext) -> Stmt:
        assert ctx.threads is not None, "asked by applies"
        region = op.node.region("dst")
        registers, kind = ctx.registers[region.buffer], region.buffer.dtype
        value, others = cast(op.node.value("value"), kind), identity(op.operation, kind)
        held = held_region(region, ctx)
        if const_value(value) is not None and const_value(value) == const_value(others):
            count = held.shape[1]
            return loop("r", count, lambda r: BufferStore(registers, value, (r,)), _UNROLLED)

        def start(r: Expr, _: list[Expr], is_first: Expr) -> Stmt:
            return BufferStore(registers, select(is_first, value, others), (r,))

        holds = held != NOBODY
        return for_each("r", [held], holds, ctx.threads.index, start, first_holders(held))


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
        combiner = combiner_for(op.operation, kind, accumulator(kind))
        to = destination(op.dst or op.src, combiner, True, ctx)
        held = held_region(op.src, ctx)
        holds = held != NOBODY
        # Each contribution is an element of its own; those to one reducer element are a line.
        contributions = np.full(held.shape, NOBODY, np.int64)
        contributions[holds] = np.arange(np.count_nonzero(holds))
        source = ctx.registers[op.src.buffer]
        return reduce_held(contributions, held[holds], source, to, ctx, op.src.buffer.name)
