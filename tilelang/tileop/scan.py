"""`T.cumsum`, `T.cummax`: inclusive scans along one axis.

Operands `src` (read) and `dst` (written; the same region when in place); attributes `kind` ("sum"
or "max"), `dim`, `reverse`. Both regions have one shape.
"""

from __future__ import annotations

from tilelang.ir.dtype import dtype
from tilelang.ir.reduction import accumulator
from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator


class Scan(TileOperator):
    """Facts of one scan."""

    instructions = {
        "c": ("tilelang.tileop.cpu.scan:SerialScan",),
        "cuda": ("tilelang.tileop.cuda.scan:LineScan",),
    }

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.src = node.region("src")
        self.dst = node.region("dst")
        self.kind: str = node.attribute("kind")
        self.dim: int = node.attribute("dim")
        self.is_reversed: bool = node.attribute("reverse", False)

    @property
    def accumulator(self) -> dtype:
        """Type in which the running value is kept."""
        return accumulator(self.dst.buffer.dtype)
