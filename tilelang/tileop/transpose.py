"""`T.transpose`: the last two axes of a tile exchanged.

Operands `src` (read) and `dst` (written) of equal rank; `dst[..., j, i] = src[..., i, j]`. Reads
outside the source buffer deliver its safe value, writes outside the destination do not happen.
"""

from __future__ import annotations

from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator


class Transpose(TileOperator):
    """Facts of one transposition."""

    instructions = {"c": ("tilelang.tileop.cpu.elementwise:TransposeLoops",)}

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.src = node.region("src")
        self.dst = node.region("dst")
