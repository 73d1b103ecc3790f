"""`T.im2col`: a tile of the matrix in which a convolution is a matrix product.

Operands `img` (NHWC, read) and `col` (`[pixels, taps * channels]`, written); values `nhw_step`,
`c_step`; attributes `kernel`, `stride`, `dilation`, `pad`. Row p of the tile is output pixel
`nhw_step * rows + p` of the flattened (N, OH, OW), column c is `c_step * cols + c` of the flattened
(kernel row, kernel column, C). Taps outside the image read 0.
"""

from __future__ import annotations

from collections.abc import Callable

from tilelang.ir.expr import BufferLoad, Expr, as_expr, cast, constant, if_then_else, logical_and
from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator


class Im2Col(TileOperator):
    """Facts of one gathering."""

    instructions = {"c": ("tilelang.tileop.cpu.elementwise:Im2ColLoops",)}

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.img = node.region("img")
        self.col = node.region("col")
        self.nhw_step: Expr = node.value("nhw_step")
        self.c_step: Expr = node.value("c_step")
        self.kernel: int = node.attribute("kernel")
        self.stride: int = node.attribute("stride")
        self.dilation: int = node.attribute("dilation")
        self.pad: int = node.attribute("pad")

    def output_extent(self, axis: int) -> Expr:
        """Output height (axis 1) or width (axis 2)."""
        size = as_expr(self.img.buffer.shape[axis])
        span = self.dilation * (self.kernel - 1) + 1
        return (size + 2 * self.pad - span) // self.stride + 1

    def value_at(self, p: Expr, c: Expr, bind: Callable[[str, Expr], Expr]) -> Expr:
        """The element of tile row `p`, tile column `c`."""
        image = self.img.buffer
        batches, height, width, channels = (as_expr(n) for n in image.shape)
        rows, columns = self.col.extents[-2], self.col.extents[-1]
        pixel = bind("pixel", self.nhw_step * rows + p)
        tap = bind("tap", self.c_step * columns + c)
        out_h, out_w = self.output_extent(1), self.output_extent(2)
        n = bind("n", pixel // (out_h * out_w))
        kernel_row = tap // (channels * self.kernel)
        kernel_column = tap // channels % self.kernel
        offset_h = kernel_row * self.dilation - self.pad
        offset_w = kernel_column * self.dilation - self.pad
        h = bind("h", pixel // out_w % out_h * self.stride + offset_h)
        w = bind("w", pixel % out_w * self.stride + offset_w)
        exists = logical_and(n < batches, kernel_row < self.kernel)
        for index, size in ((h, height), (w, width)):
            exists = logical_and(exists, logical_and(index >= 0, index < size))
        kind = self.col.buffer.dtype
        load = BufferLoad(image, (n, h, w, tap % channels))
        return if_then_else(exists, cast(load, kind), constant(0, kind))
