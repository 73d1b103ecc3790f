"""`T.transpose`."""

from __future__ import annotations

from typing import Any

from tilelang.errors import ShapeError
from tilelang.ir.buffer import format_shape
from tilelang.ir.region import may_be_equal
from tilelang.language.location import argument_span
from tilelang.language.operand import emit_tile_op, tile, user_annotations


def transpose(src: Any, dst: Any, annotations: dict[str, Any] | None = None) -> None:
    """`dst[..., j, i] = src[..., i, j]`: the last two axes exchanged.

    Raises:
        ShapeError: unless the shapes are each other's transposed.
    """
    source, target = tile("transpose", 0, src), tile("transpose", 1, dst)
    a, b = list(source.box), list(target.box)
    fits = len(a) == len(b) and len(a) >= 2
    if fits:
        swapped = [*a[:-2], a[-1], a[-2]]
        fits = all(may_be_equal(x, y) for x, y in zip(swapped, b))
    if not fits:
        raise ShapeError(
            f"transpose: `{source.name}` {format_shape(source.region().shape)} transposed is not "
            f"`{target.name}` {format_shape(target.region().shape)}",
            argument_span(1),
            notes=[*source.notes(), *target.notes()],
        )
    operands = [source.operand("src", "r"), target.operand("dst", "w")]
    emit_tile_op("transpose", operands, user_annotations(annotations))
