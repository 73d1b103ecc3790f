"""`T.fill` and `T.clear`."""

from __future__ import annotations

from typing import Any

from tilelang.errors import IndexRangeError
from tilelang.ir.buffer import describe
from tilelang.ir.expr import const_value
from tilelang.language.location import argument_span
from tilelang.language.operand import Tile, emit_tile_op, scalar_of, tile, user_annotations


def _check_range(function: str, target: Tile) -> None:
    """A region that is known to leave its buffer is a mistake."""
    for axis, (start, extent) in enumerate(zip(target.starts, target.box)):
        first, count = const_value(start), const_value(extent)
        size = const_value(target.buffer.shape[axis])
        if first is None or size is None:
            continue
        if first < 0 or (first + count if count is not None else first) > size:
            end = f"{first} + {extent}" if count is None else first + count
            raise IndexRangeError(
                f"{function}: {first}:{end} is outside axis {axis} of `{target.name}` "
                f"({describe(target.buffer)})",
                argument_span(0),
                notes=target.allocated(),
            )


def _fill(function: str, destination: Any, value: Any, annotations: dict[str, Any] | None) -> None:
    target = tile(function, 0, destination)
    _check_range(function, target)
    operand = target.operand("dst", "w")
    values = [("value", scalar_of(function, value, target.dtype, 1, target.notes()))]
    emit_tile_op("fill", [operand], user_annotations(annotations), values)


def fill(buffer: Any, value: Any, annotations: dict[str, Any] | None = None) -> None:
    """Store `value`, converted, in every element of a buffer, a slice or one element.

    Raises:
        IndexRangeError: for a slice that is known to leave its buffer.
        ArgumentError: for a constant that the element type cannot hold.
        ArgumentTypeError: for anything but one number.
    """
    _fill("fill", buffer, value, annotations)


def clear(buffer: Any) -> None:
    """Store 0 in every element of a buffer, a slice or one element."""
    _fill("clear", buffer, 0, None)
