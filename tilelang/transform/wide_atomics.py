"""Additions in one step to two or four neighbouring elements.

In: what `vectorize_accesses` has found out about a vectorised loop. Out: calls of the functions of
`device/cuda/atomic.h` that add without a result. It decides nothing about alignment.
"""

from __future__ import annotations

from tilelang.errors import Span
from tilelang.ir.buffer import GLOBAL, LOCAL, Buffer
from tilelang.ir.expr import (
    BOOL,
    HANDLE,
    BufferLoad,
    Call,
    Expr,
    as_expr,
    const_value,
)
from tilelang.ir.stmt import Evaluate

_RELAXED = 0
_PAIRS = ("float16", "bfloat16")


def relaxed_addition(node: Evaluate) -> tuple[BufferLoad, Expr] | None:
    """Place and addend of an `atomic_add` whose result and order nobody asks for."""
    value = node.value
    if not isinstance(value, Call) or value.op != "atomic_add":
        return None
    place, added, order = value.args
    if not isinstance(place, BufferLoad) or const_value(order) != _RELAXED:
        return None
    return place, added


def together_at_once(buffer: Buffer) -> tuple[int, ...]:
    """How many neighbours of `buffer` one instruction can change, most first."""
    if buffer.dtype in _PAIRS:
        return (2,)
    return (4, 2) if buffer.dtype == "float32" and buffer.scope() == GLOBAL else ()


def addition(
    place: BufferLoad, addends: Buffer, start: int, width: int, span: Span | None
) -> Evaluate:
    """Add `width` elements of the local array `addends`, from `start` on, at `place`."""
    address = Call("address_of", (place,), HANDLE)
    kind = place.buffer.dtype
    if kind in _PAIRS:
        size = const_value(addends.shape[0])
        assert isinstance(size, int)
        words = Buffer(f"{addends.name}_words", (size // 2,), "uint32", LOCAL, data=addends.data)
        values: Expr = BufferLoad(words, (as_expr(start // 2),))
    else:
        values = Call("address_of", (BufferLoad(addends, (as_expr(start),)),), HANDLE)
    return Evaluate(Call(f"tl_red_add_{kind}x{width}", (address, values), BOOL), span=span)
