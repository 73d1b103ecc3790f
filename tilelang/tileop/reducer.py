"""`T.reducer_init` and `T.finalize_reducer`: the ends of a deferred reduction.

Between them `T.Parallel` loops contribute to the reducer. Where one thread runs a whole block the
reducer holds the combined value at any time, so the ends only set and copy it.
"""

from __future__ import annotations

from tilelang.ir.annotation import REDUCER
from tilelang.ir.stmt import Stmt
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.tileop.base import TileOperator
from tilelang.tileop.context import LowerContext
from tilelang.tileop.loops import NOTHING


class ReducerInit(TileOperator):
    """Operand `dst`: the reducer; value `value`: its start; attribute `reducer`: its operation."""

    instructions = {"cuda": ("tilelang.tileop.cuda.reducer:InitReplicas",)}

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.operation: str = node.attribute(REDUCER, "sum")

    def lower(self, ctx: LowerContext) -> Stmt:
        if ctx.target.kind in self.instructions:
            return super().lower(ctx)
        fill = TileOp("fill", self.node.operands, self.node.values, span=self.node.span)
        return ctx.lower(fill)


class FinalizeReducer(TileOperator):
    """Operand `src`: the reducer; operand `dst`, if any: where its value goes."""

    instructions = {"cuda": ("tilelang.tileop.cuda.reducer:CombineReplicas",)}

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.operation: str = node.attribute(REDUCER, "sum")
        self.src = node.region("src")
        has_dst = any(o.name == "dst" for o in node.operands)
        self.dst = node.region("dst") if has_dst else None

    def lower(self, ctx: LowerContext) -> Stmt:
        if ctx.target.kind in self.instructions:
            return super().lower(ctx)
        if self.dst is None:
            return NOTHING
        operands = tuple(
            TileOperand(o.name, o.region, "r" if o.name == "src" else "w")
            for o in self.node.operands
        )
        return ctx.lower(TileOp("copy", operands, span=self.node.span))
