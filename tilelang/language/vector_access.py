"""Loads and stores of an exact width: 32 to 256 bits at one place of global or shared memory.

The element named is the first of as many consecutive ones as fill the width; their bits travel as
uint32 lanes. They are ordinary vector loads and stores of the buffer with a `reinterpret`, so every
target has them, and those with wide instructions see one access.
"""

from __future__ import annotations

from typing import Any

from tilelang.errors import (
    ArgumentTypeError,
    DTypeError,
    ScopeError,
    ShapeError,
    caller_span,
)
from tilelang.ir.buffer import GLOBAL, SHARED_SCOPES, Buffer
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Call,
    Expr,
    Ramp,
    as_condition,
    as_expr,
    const_value,
    constant,
    if_then_else,
)
from tilelang.ir.stmt import If
from tilelang.language.builder import current
from tilelang.language.location import argument_span

_WORD = "uint32"


def ldg32(src: Any, pred: Any = None) -> Expr:
    """32 bits of global memory as uint32; zero, and no access, where `pred` is false.

    Raises:
        ArgumentTypeError: when `src` is no element or region of a buffer.
        ScopeError: when the buffer is not global.
        DTypeError: when the width is no whole number of elements.
        ShapeError: for a region of another size.
    """
    return _load("ldg32", 1, src, pred)


def ldg64(src: Any, pred: Any = None) -> Expr:
    """64 bits of global memory as uint32x2; see `ldg32`."""
    return _load("ldg64", 2, src, pred)


def ldg128(src: Any, pred: Any = None) -> Expr:
    """128 bits of global memory as uint32x4; see `ldg32`."""
    return _load("ldg128", 4, src, pred)


def ldg256(src: Any, pred: Any = None) -> Expr:
    """256 bits of global memory as uint32x8; see `ldg32`."""
    return _load("ldg256", 8, src, pred)


def lds32(src: Any) -> Expr:
    """32 bits of shared memory as uint32; see `ldg32`."""
    return _load("lds32", 1, src)


def lds64(src: Any) -> Expr:
    """64 bits of shared memory as uint32x2; see `ldg32`."""
    return _load("lds64", 2, src)


def lds128(src: Any) -> Expr:
    """128 bits of shared memory as uint32x4; see `ldg32`."""
    return _load("lds128", 4, src)


def stg32(dst: Any, value: Any, pred: Any = None) -> None:
    """Store 32 bits in global memory, unless `pred` is false.

    Raises:
        ArgumentTypeError, ScopeError, ShapeError: as `ldg32`.
        DTypeError: when `value` has another width, or the width is no whole number of elements.
    """
    _store("stg32", 1, dst, value, pred)


def stg64(dst: Any, value: Any, pred: Any = None) -> None:
    """Store 64 bits in global memory; see `stg32`."""
    _store("stg64", 2, dst, value, pred)


def stg128(dst: Any, value: Any, pred: Any = None) -> None:
    """Store 128 bits in global memory; see `stg32`."""
    _store("stg128", 4, dst, value, pred)


def stg256(dst: Any, value: Any, pred: Any = None) -> None:
    """Store 256 bits in global memory; see `stg32`."""
    _store("stg256", 8, dst, value, pred)


def sts32(dst: Any, value: Any) -> None:
    """Store 32 bits in shared memory; see `stg32`."""
    _store("sts32", 1, dst, value)


def sts64(dst: Any, value: Any) -> None:
    """Store 64 bits in shared memory; see `stg32`."""
    _store("sts64", 2, dst, value)


def sts128(dst: Any, value: Any) -> None:
    """Store 128 bits in shared memory; see `stg32`."""
    _store("sts128", 4, dst, value)


def _load(function: str, words: int, src: Any, pred: Any = None) -> Expr:
    buffer, indices = _place(function, words, src)
    kind = DType(_WORD).with_lanes(words)
    value = _reinterpret(BufferLoad(buffer, indices, span=caller_span()), kind)
    if pred is None:
        return value
    condition = as_condition(pred)
    zero = constant(0, _WORD) if words == 1 else _zeros(words)
    known = const_value(condition)
    if known is not None:
        return value if known else zero
    return if_then_else(condition, value, zero)


def _store(function: str, words: int, dst: Any, value: Any, pred: Any = None) -> None:
    buffer, indices = _place(function, words, dst)
    lanes = indices[-1].dtype.lanes
    given = as_expr(value)
    bits = given.dtype.bits * given.dtype.lanes
    if bits != 32 * words:
        raise DTypeError(
            f"{function}: `{given}` is {given.dtype}, {bits} bits; expected {32 * words}",
            argument_span(1),
        )
    builder = current()
    if pred is None or const_value(as_condition(pred)):
        builder.emit_store(buffer, indices, _reinterpret(given, buffer.dtype.with_lanes(lanes)))
        return
    condition = as_condition(pred)
    if const_value(condition) is not None:
        return
    with builder.block("if") as scope:
        builder.emit_store(buffer, indices, _reinterpret(given, buffer.dtype.with_lanes(lanes)))
    builder.emit(If(condition, scope.body(), span=scope.span))


def _zeros(words: int) -> Expr:
    zero = constant(0, _WORD)
    return Call("make_vector", (zero,) * words, DType(_WORD).with_lanes(words))


def _reinterpret(value: Expr, kind: DType) -> Expr:
    return value if value.dtype == kind else Call("reinterpret", (value,), kind)


def _place(function: str, words: int, place: Any) -> tuple[Buffer, tuple[Expr, ...]]:
    """The buffer, and the index of the elements that fill the width."""
    if isinstance(place, Buffer):
        place = place.load(*[0] * place.ndim)
    if isinstance(place, BufferLoad):
        buffer, starts = place.buffer, place.indices
    elif isinstance(place, BufferRegion):
        buffer, starts = place.buffer, place.starts
    else:
        raise ArgumentTypeError(
            f"{function}: expected an element or region such as `A[i, j]`, got {place!r}",
            argument_span(0),
        )
    _check_scope(function, buffer)
    if buffer.dtype.lanes != 1 or (32 * words) % buffer.dtype.bits:
        raise DTypeError(
            f"{function}: {32 * words} bits are no whole number of elements of `{buffer.name}`, "
            f"which holds {buffer.dtype}",
            argument_span(0),
        )
    count = 32 * words // buffer.dtype.bits
    if isinstance(place, BufferRegion):
        _check_size(function, place, count)
    *outer, last = starts
    if last.dtype.lanes != 1:
        raise ShapeError(f"{function}: `{place}` has a vector index", argument_span(0))
    return buffer, (*outer, last if count == 1 else Ramp(last, as_expr(1), count))


def _check_scope(function: str, buffer: Buffer) -> None:
    wanted = (GLOBAL,) if function[2] == "g" else SHARED_SCOPES
    if buffer.scope() not in wanted:
        raise ScopeError(
            f"{function}: `{buffer.name}` is {buffer.scope()}, expected {' or '.join(wanted)}",
            argument_span(0),
        )


def _check_size(function: str, region: BufferRegion, count: int) -> None:
    extents = [const_value(e) for e in region.extents]
    *outer, last = extents
    is_row = all(e == 1 for e in outer)
    if None not in extents and not (is_row and last == count):
        raise ShapeError(
            f"{function}: moves {count} elements of {region.buffer.dtype}, `{region}` is {extents}",
            argument_span(0),
        )
