"""`T.im2col`: a convolution's input as the matrix of a product."""

from __future__ import annotations

from typing import Any

from tilelang.errors import ArgumentError, DTypeError, ShapeError
from tilelang.ir.expr import as_expr
from tilelang.language.location import argument_span
from tilelang.language.operand import attributes, emit_tile_op, tile, user_annotations


def im2col(
    img: Any,
    col: Any,
    nhw_step: Any,
    c_step: Any,
    kernel: int,
    stride: int,
    dilation: int,
    pad: int,
    eviction_policy: str | None = None,
    annotations: dict[str, Any] | None = None,
) -> None:
    """Gather a `[pixels, taps * channels]` tile of an NHWC image.

    Row p of `col` is output pixel `nhw_step * rows + p`, column c is number `c_step * columns + c`
    of the flattened (kernel row, kernel column, channel). Taps outside the image read 0.

    Raises:
        ShapeError: unless `img` has rank 4 and `col` rank 2.
        DTypeError: where the element types differ.
        ArgumentError: for sizes that are no integers of the right sign.
    """
    image, matrix = tile("im2col", 0, img), tile("im2col", 1, col)
    if not image.is_whole or len(image.starts) != 4:
        raise ShapeError(
            f"im2col: `{image.name}` must be a whole NHWC buffer of rank 4", argument_span(0),
            notes=image.notes(),
        )  # fmt: skip
    if len(matrix.starts) != 2 or matrix.is_element:
        raise ShapeError(
            f"im2col: `{matrix.name}` must be a tile of rank 2", argument_span(1),
            notes=matrix.notes(),
        )  # fmt: skip
    if image.dtype != matrix.dtype:
        raise DTypeError(
            f"im2col: `{image.name}` is {image.dtype} but `{matrix.name}` is {matrix.dtype}",
            argument_span(1),
            notes=[*image.notes(), *matrix.notes()],
        )
    sizes = {
        "kernel": (kernel, 1),
        "stride": (stride, 1),
        "dilation": (dilation, 1),
        "pad": (pad, 0),
    }
    for name, (value, least) in sizes.items():
        if not isinstance(value, int) or value < least:
            raise ArgumentError(
                f"im2col: {name} is {value!r}, expected an integer from {least} on",
                argument_span(name),
            )
    notes = attributes(
        kernel=kernel, stride=stride, dilation=dilation, pad=pad, eviction_policy=eviction_policy
    )
    values = [("nhw_step", as_expr(nhw_step)), ("c_step", as_expr(c_step))]
    operands = [image.operand("img", "r"), matrix.operand("col", "w")]
    emit_tile_op("im2col", operands, notes + user_annotations(annotations), values)


c2d_im2col = im2col
