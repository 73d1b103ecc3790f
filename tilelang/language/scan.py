"""`T.cumsum` and `T.cummax`: inclusive scans."""

from __future__ import annotations

from typing import Any

from tilelang.errors import ShapeError
from tilelang.ir.buffer import format_shape
from tilelang.ir.region import are_equal
from tilelang.language.location import argument_span
from tilelang.language.operand import attributes, emit_tile_op, tile
from tilelang.language.reduce import axis_of


def _scan(function: str, kind: str, src: Any, dst: Any, dim: int, reverse: bool) -> None:
    source = tile(function, 0, src)
    target = source if dst is None else tile(function, 1, dst)
    if source.is_element or len(source.box) not in (1, 2):
        raise ShapeError(
            f"{function}: `{source.name}` has rank {len(source.box)}, expected rank 1 or 2",
            argument_span(0),
            notes=source.notes(),
        )
    axis = axis_of(function, source, dim)
    same_rank = len(source.box) == len(target.box)
    if not same_rank or not all(are_equal(x, y) for x, y in zip(source.box, target.box)):
        raise ShapeError(
            f"{function}: `{source.name}` is {format_shape(source.region().shape)} but "
            f"`{target.name}` is {format_shape(target.region().shape)}",
            argument_span(1),
            notes=[*source.notes(), *target.notes()],
        )
    notes = attributes(kind=kind, dim=axis, reverse=bool(reverse))
    emit_tile_op("scan", [source.operand("src", "r"), target.operand("dst", "w")], notes)


def cumsum(src: Any, dst: Any = None, dim: int = 0, reverse: bool = False) -> None:
    """Running sums along axis `dim`, from the end when `reverse`; in place without `dst`.

    Raises:
        ShapeError: for a rank other than 1 and 2, or a `dst` of another shape.
        ArgumentError: when there is no axis `dim`.
    """
    _scan("cumsum", "sum", src, dst, dim, reverse)


def cummax(src: Any, dst: Any = None, dim: int = 0, reverse: bool = False) -> None:
    """Running maxima along axis `dim`; arguments and errors as `cumsum`."""
    _scan("cummax", "max", src, dst, dim, reverse)
