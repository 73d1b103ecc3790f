"""`T.reshape` and `T.view`: other names for the same storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilelang.errors import ArgumentTypeError, Note, ShapeError, caller_span
from tilelang.ir.buffer import Buffer, Extent, describe, format_shape
from tilelang.ir.expr import as_expr, mul
from tilelang.ir.region import may_be_equal
from tilelang.language.allocate import dtype_of
from tilelang.language.builder import current
from tilelang.language.location import argument_span


def _source(function: str, src: Any) -> Buffer:
    if not isinstance(src, Buffer):
        raise ArgumentTypeError(
            f"{function}: argument 1 is {src!r}, expected a whole buffer", argument_span(0)
        )
    return src


def _aliased(
    function: str, src: Buffer, shape: Sequence[Extent], kind: Any, offset_scale: tuple[int, int]
) -> Buffer:
    """A buffer of `shape` and `kind` on the storage of `src`."""
    if src.declared_strides is not None:
        raise ShapeError(
            f"{function}: `{src.name}` has strides {format_shape(src.declared_strides)}; only "
            "contiguous buffers can be seen in another shape",
            argument_span(0),
        )
    offset: Any = src.elem_offset
    if not (isinstance(offset, int) and offset == 0):
        offset = as_expr(offset) * offset_scale[0] // offset_scale[1]
    made = Buffer(
        src.name, tuple(shape), kind, src.scope(), data=src.data, elem_offset=offset,
        span=caller_span(),
    )  # fmt: skip
    current().name_later(made)
    return made


def reshape(src: Any, shape: Any) -> Buffer:
    """`src` with another shape of as many elements; shares its storage.

    Raises:
        ShapeError: where the numbers of elements differ.
    """
    return _view("reshape", _source("reshape", src), shape, None)


def view(src: Any, shape: Any = None, dtype: Any = None) -> Buffer:
    """`src` with another shape, another element type, or both; shares its storage.

    With a new type alone, the last extent changes so that the bits agree.

    Raises:
        ShapeError: where the numbers of bits differ.
    """
    return _view("view", _source("view", src), shape, dtype)


def _view(function: str, src: Buffer, shape: Any, dtype: Any) -> Buffer:
    kind = src.dtype if dtype is None else dtype_of(dtype, function, "dtype")
    if shape is None:
        last = as_expr(src.shape[-1]) * src.dtype.bits
        if not may_be_equal(last, last // kind.bits * kind.bits):
            raise ShapeError(
                f"{function}: the last axis of `{src.name}` ({describe(src)}) has {last} bits, "
                f"which is no whole number of {kind}",
                argument_span("dtype"),
                notes=[Note(src.span, f"`{src.name}` comes from here")] if src.span else (),
            )
        shape = (*src.shape[:-1], last // kind.bits)
    extents = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    total: Any = 1
    for extent in extents:
        total = mul(total, as_expr(extent))
    old = as_expr(src.num_elements) * src.dtype.bits
    _check_bits(function, src, old, as_expr(total) * kind.bits, extents, kind)
    return _aliased(function, src, extents, kind, (src.dtype.bits, kind.bits))


def _check_bits(
    function: str, src: Buffer, old: Any, new: Any, shape: Sequence[Any], kind: Any
) -> None:
    if not may_be_equal(as_expr(old), as_expr(new)):
        raise ShapeError(
            f"{function}: `{src.name}` ({describe(src)}) cannot be seen as "
            f"{format_shape(shape)} {kind}: {old} bits are not {new}",
            argument_span("shape"),
            notes=[Note(src.span, f"`{src.name}` comes from here")] if src.span else (),
        )
