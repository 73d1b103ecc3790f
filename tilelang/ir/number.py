"""Python numbers as the values of a dtype: rounded, wrapped, and the dtype in which two meet.

What constants are folded by, in `expr`; it knows dtypes, and nothing of expressions.
"""

from __future__ import annotations

import math

from tilelang.errors import DTypeError
from tilelang.ir.dtype import dtype

_FLOAT32 = dtype("float32")


def promote(a: dtype, b: dtype) -> dtype:
    """The type in which operands of types `a` and `b` meet: float over int, then the wider one."""
    lanes = max(a.lanes, b.lanes)
    if a.lanes != b.lanes and min(a.lanes, b.lanes) != 1:
        raise DTypeError(f"vectors of {a.lanes} and {b.lanes} lanes do not combine")
    x, y = a.element, b.element
    if x != y:
        if x.is_bool or y.is_bool:
            x = y if x.is_bool else x
        elif x.is_float != y.is_float:
            x = x if x.is_float else y
        elif x.bits != y.bits:
            x = x if x.bits > y.bits else y
        elif x.kind == "int" or y.kind == "int":  # same width, mixed sign: as C does
            x = x if x.kind == "uint" else y
        else:  # two floating kinds of one width, such as float16 and bfloat16
            x = _FLOAT32
    return x.with_lanes(lanes)


def wrap(value: int, kind: dtype) -> int:
    """`value` reduced to the range of an integer type, as two's complement does."""
    if kind.kind == "uint":
        return value & ((1 << kind.bits) - 1)
    half = 1 << (kind.bits - 1)
    return (value + half) % (1 << kind.bits) - half


def round_float(value: float, kind: dtype) -> float:
    """`value` as a variable of the floating-point type `kind` would hold it."""
    if kind == "float64" or not math.isfinite(value):
        return value
    import numpy  # folding of float constants is rare enough not to load NumPy for it up front

    if kind in ("float32", "float16"):
        with numpy.errstate(over="ignore"):
            return float(numpy.dtype(str(kind)).type(value))
    low, high = float(kind.min_value()), float(kind.max_value())
    if kind.bits <= 8 and not low < value < high:  # conversions to these saturate
        return low if value <= low else high
    # The unpacked form has the values of the packed one, but NumPy sees its bytes.
    name = "float4_e2m1fn" if kind == "float4_e2m1_unpacked" else kind
    return float(numpy.array(value).astype(dtype(name).as_numpy()).astype(numpy.float64))


def trunc_div(x: int, y: int) -> int:
    """`x / y` rounded towards zero."""
    quotient = abs(x) // abs(y)
    return quotient if (x >= 0) == (y >= 0) else -quotient
