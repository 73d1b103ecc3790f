"""`T.reduce_*`: one axis of a tile combined away.

Operands `src` (read) and `dst` (written; also read when `clear` is false); attributes `kind` (a row
of `reduction`), `dim`, `clear`, `nan_propagate`, `batch`. `dst` has the shape of `src` without axis
`dim`, or with that axis 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, as_expr
from tilelang.ir.reduction import accumulator
from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator


class Reduce(TileOperator):
    """Facts of one reduction."""

    instructions = {
        "c": (
            "tilelang.tileop.cpu.reduce:AlongRows",
            "tilelang.tileop.cpu.reduce:AcrossRows",
        ),
        "cuda": (
            "tilelang.tileop.cuda.reduce:FragmentReduce",
            "tilelang.tileop.cuda.reduce_memory:MemoryReduce",
        ),
    }

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.src = node.region("src")
        self.dst = node.region("dst")
        self.kind: str = node.attribute("kind")
        self.dim: int = node.attribute("dim")
        self.clear: bool = node.attribute("clear", True)
        self.nan_propagate: bool = node.attribute("nan_propagate", False)

    @property
    def kept_axes(self) -> list[int]:
        """Axes of `src` that remain, outermost first."""
        return [axis for axis in range(len(self.src.ranges)) if axis != self.dim]

    @property
    def accumulator(self) -> dtype:
        """Type in which elements are combined: they become the output's type first."""
        return accumulator(self.dst.buffer.dtype)

    def src_offsets(self, kept: Sequence[Expr], k: Expr) -> list[Expr]:
        """Offsets in `src` of element `k` of the line at `kept`."""
        offsets = list(kept)
        offsets.insert(self.dim, k)
        return offsets

    def dst_offsets(self, kept: Sequence[Expr]) -> list[Expr]:
        """Offsets in `dst` of the result of the line at `kept`."""
        rank = len(self.dst.ranges)
        if rank == len(self.src.ranges):
            return self.src_offsets(kept, as_expr(0))
        return list(kept)
