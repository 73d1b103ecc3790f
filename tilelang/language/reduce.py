"""`T.reduce_*`, `T.any_of` and `T.all_of`."""

from __future__ import annotations

from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from tilelang.ir.buffer import format_shape
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import BOOL, BufferLoad, Call, Expr, as_expr, is_const
from tilelang.ir.region import are_equal
from tilelang.ir.stmt import Annotations
from tilelang.language.location import argument_span
from tilelang.language.operand import Tile, attributes, emit_tile_op, tile, user_annotations

KINDS = ("sum", "max", "min", "abssum", "absmax", "bitand", "bitor", "bitxor")
_NAN_KINDS = ("max", "min", "absmax")


def reduced_shapes(shape: tuple[Expr, ...], dim: int) -> list[tuple[Expr, ...]]:
    """The shapes an output may have: without axis `dim`, or with it 1."""
    kept = (*shape[:dim], as_expr(1), *shape[dim + 1 :])
    without = (*shape[:dim], *shape[dim + 1 :])
    return [without or (as_expr(1),), kept]


def axis_of(function: str, operand: Tile, dim: Any) -> int:
    """`dim` as a non-negative axis of `operand`.

    Raises:
        ArgumentError: when there is no such axis.
    """
    rank = len(operand.box)
    if not isinstance(dim, int) or not -rank <= dim < rank:
        raise ArgumentError(
            f"{function}: dim is {dim!r}, but `{operand.name}` has rank {rank}",
            argument_span("dim"),
            notes=operand.notes(),
        )
    return dim % rank


def _check(function: str, kind: str, src: Tile, dst: Tile, dim: int) -> None:
    allowed = reduced_shapes(src.box, dim)
    box = dst.box

    def fits(shape: tuple[Expr, ...]) -> bool:
        return len(shape) == len(box) and all(are_equal(x, y) for x, y in zip(shape, box))

    if not any(fits(shape) for shape in allowed):
        wanted = " or ".join(format_shape(shape) for shape in allowed)
        raise ShapeError(
            f"{function}: `{src.name}` {format_shape(src.region().shape)} reduced along axis {dim} "
            f"gives {wanted}, but `{dst.name}` is {format_shape(dst.region().shape)}",
            argument_span(dst.argument),
            notes=[*src.notes(), *dst.notes()],
        )
    if kind.startswith("bit"):
        for operand in (src, dst):
            if not (operand.dtype.is_int or operand.dtype.is_bool):
                raise DTypeError(
                    f"{function}: `{operand.name}` is {operand.dtype}, expected integers or bool",
                    argument_span(operand.argument),
                    notes=operand.notes(),
                )


def _reduce(
    function: str, kind: str, buffer: Any, out: Any, dim: int, clear: bool, batch: int,
    nan_propagate: bool, annotations: dict[str, Any] | None,
) -> None:  # fmt: skip
    src, dst = tile(function, 0, buffer), tile(function, 1, out)
    axis = axis_of(function, src, dim)
    _check(function, kind, src, dst, axis)
    if not isinstance(batch, int) or batch < 1:
        raise ArgumentError(
            f"{function}: batch is {batch!r}, expected 1 or more", argument_span("batch")
        )
    notes: Annotations = attributes(
        kind=kind, dim=axis, clear=bool(clear), nan_propagate=nan_propagate or None,
        batch=batch if batch > 1 else None,
    )  # fmt: skip
    operands = [src.operand("src", "r"), dst.operand("dst", "w" if clear else "rw")]
    emit_tile_op("reduce", operands, notes + user_annotations(annotations))


def reduce(
    buffer: Any,
    out: Any,
    reduce_type: str,
    dim: int,
    clear: bool = True,
    batch: int = 1,
    nan_propagate: bool = False,
    annotations: dict[str, Any] | None = None,
) -> None:
    """Combine axis `dim` of `buffer` into `out`.

    Args:
        reduce_type: one of sum, max, min, abssum, absmax, bitand, bitor, bitxor.
        clear: `out` is the reduction; otherwise it is combined with what `out` holds.
        batch: a hint on how to group exchanges between threads.
        nan_propagate: max, min and absmax give NaN where any operand is; otherwise NaN loses.

    Raises:
        ShapeError: unless `out` has the shape of `buffer` without axis `dim`, or with it 1.
        DTypeError: for bit operations on anything but integers and bool.
    """
    if reduce_type not in KINDS:
        raise ArgumentError(
            f"reduce: reduce_type is {reduce_type!r}, expected one of {', '.join(KINDS)}",
            argument_span("reduce_type"),
        )
    _reduce(
        "reduce", reduce_type, buffer, out, dim, clear, batch,
        nan_propagate and reduce_type in _NAN_KINDS, annotations,
    )  # fmt: skip


def reduce_sum(
    buffer: Any, out: Any, dim: int = -1, clear: bool = True, batch: int = 1,
    annotations: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Sum along axis `dim`."""
    _reduce("reduce_sum", "sum", buffer, out, dim, clear, batch, False, annotations)


def reduce_abssum(
    buffer: Any, out: Any, dim: int = -1, batch: int = 1, annotations: dict[str, Any] | None = None
) -> None:
    """Sum of absolute values along axis `dim`."""
    _reduce("reduce_abssum", "abssum", buffer, out, dim, True, batch, False, annotations)


def reduce_max(
    buffer: Any, out: Any, dim: int = -1, clear: bool = True, batch: int = 1,
    nan_propagate: bool = False, annotations: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Largest value along axis `dim`."""
    _reduce("reduce_max", "max", buffer, out, dim, clear, batch, nan_propagate, annotations)


def reduce_min(
    buffer: Any, out: Any, dim: int = -1, clear: bool = True, batch: int = 1,
    nan_propagate: bool = False, annotations: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Smallest value along axis `dim`."""
    _reduce("reduce_min", "min", buffer, out, dim, clear, batch, nan_propagate, annotations)


def reduce_absmax(
    buffer: Any, out: Any, dim: int = -1, clear: bool = True, batch: int = 1,
    nan_propagate: bool = False, annotations: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Largest absolute value along axis `dim`."""
    _reduce("reduce_absmax", "absmax", buffer, out, dim, clear, batch, nan_propagate, annotations)


def reduce_bitand(
    buffer: Any, out: Any, dim: int = -1, clear: bool = True, batch: int = 1,
    annotations: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Bitwise and along axis `dim`."""
    _reduce("reduce_bitand", "bitand", buffer, out, dim, clear, batch, False, annotations)


def reduce_bitor(
    buffer: Any, out: Any, dim: int = -1, clear: bool = True, batch: int = 1,
    annotations: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Bitwise or along axis `dim`."""
    _reduce("reduce_bitor", "bitor", buffer, out, dim, clear, batch, False, annotations)


def reduce_bitxor(
    buffer: Any, out: Any, dim: int = -1, clear: bool = True, batch: int = 1,
    annotations: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Bitwise exclusive or along axis `dim`."""
    _reduce("reduce_bitxor", "bitxor", buffer, out, dim, clear, batch, False, annotations)


def _quantifier(function: str, x: Any) -> Expr:
    try:
        operand = tile(function, 0, x)
    except ArgumentTypeError as error:
        raise ArgumentError(error.message, error.span) from None
    if not (_is_testable(operand.dtype)):
        raise ArgumentError(
            f"{function}: `{operand.name}` is {operand.dtype}, expected integers or bool",
            argument_span(0),
        )
    if not all(is_const(e, 1) for e in operand.box[:-1]):
        raise ArgumentError(
            f"{function}: {format_shape(operand.region().shape)} of `{operand.name}` is not "
            "contiguous: only the last extent may differ from 1",
            argument_span(0),
            notes=operand.notes(),
        )
    first = BufferLoad(operand.buffer, operand.starts)
    return Call(function, (first, operand.box[-1]), BOOL)


def _is_testable(kind: dtype) -> bool:
    return kind.is_bool or kind.is_int


def any_of(x: Any) -> Expr:
    """Whether any element of a buffer or slice is not 0.

    Raises:
        ArgumentError: unless only the last extent differs from 1.
    """
    return _quantifier("any_of", x)


def all_of(x: Any) -> Expr:
    """Whether no element of a buffer or slice is 0.

    Raises:
        ArgumentError: unless only the last extent differs from 1.
    """
    return _quantifier("all_of", x)
