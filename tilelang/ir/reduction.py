"""The algebra of reductions: identity, preparation of an element, combination of two values.

    kind      identity        element  combine     NaN operands (floats)
    sum       0               x        a + b       give NaN
    abssum    0               |x|      a + b       give NaN
    max       lowest          x        max         lose, or win with nan_propagate
    min       highest         x        min         lose, or win with nan_propagate
    absmax    0               |x|      max         lose, or win with nan_propagate
    bitand    all ones        x        a & b
    bitor     0               x        a | b
    bitxor    0               x        a ^ b

Scans and reducers use the same rows. Sums of floats below 32 bits are formed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    Expr,
    FloatImm,
    IntImm,
    add,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    call,
    constant,
    greater,
    less,
    logical_and,
    logical_or,
    not_equal,
    select,
)

BIT_KINDS = ("bitand", "bitor", "bitxor")
KINDS = ("sum", "abssum", "max", "min", "absmax", *BIT_KINDS)
NAN_KINDS = ("max", "min", "absmax")  # those that `nan_propagate` speaks of
# What a vectorised loop declares for its accumulator.
LOOP_OPERATORS = {
    "sum": "+", "abssum": "+", "max": "max", "absmax": "max", "min": "min",
    "bitand": "&", "bitor": "|", "bitxor": "^",
}  # fmt: skip


def accumulator(kind: dtype) -> dtype:
    """The type in which values of `kind` are combined."""
    return dtype("float32") if kind.is_float and kind.bits < 32 else kind


def identity(op: str, kind: dtype) -> Expr:
    """The value that changes nothing when combined."""
    if op == "max":
        return FloatImm(-math.inf, kind) if kind.is_float else constant(kind.min_value(), kind)
    if op == "min":
        return FloatImm(math.inf, kind) if kind.is_float else constant(kind.max_value(), kind)
    if op == "bitand":
        if kind.is_bool:
            return constant(True, kind)
        return IntImm(-1 if kind.kind == "int" else int(kind.max_value()), kind)
    return constant(0, kind)


def prepare(op: str, value: Expr) -> Expr:
    """What of an element enters the combination."""
    if op not in ("absmax", "abssum"):
        return value
    is_unsigned = value.dtype.kind in ("uint", "bool")
    return value if is_unsigned else call("abs", value, dtype=value.dtype)


def combine(op: str, a: Expr, b: Expr, nan_propagate: bool = False) -> Expr:
    """`a` and `b` combined; both already prepared, of one type."""
    match op:
        case "sum" | "abssum":
            return logical_or(a, b) if a.dtype.is_bool else add(a, b)
        case "max" | "absmax":
            return _choose(greater, "max_nan" if nan_propagate else None, a, b)
        case "min":
            return _choose(less, "min_nan" if nan_propagate else None, a, b)
        case "bitand":
            return logical_and(a, b) if a.dtype.is_bool else bitwise_and(a, b)
        case "bitor":
            return logical_or(a, b) if a.dtype.is_bool else bitwise_or(a, b)
        case "bitxor":
            return not_equal(a, b) if a.dtype.is_bool else bitwise_xor(a, b)
        case _:
            raise AssertionError(f"no reduction is called {op}")


def _choose(
    better: Callable[[Expr, Expr], Expr], propagating: str | None, a: Expr, b: Expr
) -> Expr:
    """The better of two. `b` replaces `a` only when it is better, so that a NaN in `b` loses; where
    `a` may be NaN as well, callers use `combine_any`."""
    if propagating is not None and a.dtype.is_float:
        return call(propagating, a, b, dtype=a.dtype)
    return select(better(b, a), b, a)


def combine_any(op: str, a: Expr, b: Expr, nan_propagate: bool = False) -> Expr:
    """As `combine`, for an `a` that may be NaN although NaN is to lose."""
    chosen = combine(op, a, b, nan_propagate)
    if op in NAN_KINDS and a.dtype.is_float and not nan_propagate:
        return select(not_equal(a, a), b, chosen)
    return chosen
