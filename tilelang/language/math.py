"""Scalar functions: elementary mathematics, integers and bits, casts, choices, constants.

Each takes numbers or expressions and gives an expression (a number where all arguments are Python
numbers and the result is an integer size, as in `ceildiv`). Floating functions keep their operand's
dtype; integer operands must be cast first.
"""

from __future__ import annotations

import math as _math
from collections.abc import Callable
from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, DTypeError
from tilelang.ir import expr as _expr
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import (
    BOOL,
    Call,
    Expr,
    FloatImm,
    Operand,
    StringImm,
    as_expr,
    call,
    const_value,
    constant,
    floordiv,
    floormod,
    maximum,
    minimum,
    select,
)
from tilelang.ir.expr import (
    cast as _cast,
)
from tilelang.language.location import argument_span

bitwise_and, bitwise_or, bitwise_xor = _expr.bitwise_and, _expr.bitwise_or, _expr.bitwise_xor
bitwise_not, shift_left, shift_right = _expr.bitwise_not, _expr.shift_left, _expr.shift_right
ceildiv = _expr.ceildiv
if_then_else, truncdiv, truncmod = _expr.if_then_else, _expr.truncdiv, _expr.truncmod
cdiv = _expr.ceildiv


def _floating(function: str, value: Any, position: int = 0) -> Expr:
    x = as_expr(value)
    if not x.dtype.is_float:
        raise DTypeError(
            f"{function}: `{x}` is {x.dtype}, expected a float type",
            argument_span(position),
            hint=f"cast it first: T.{function}(T.Cast('float32', {x}))",
        )
    return x


def _unary(name: str, op: str | None = None, meaning: str = "") -> Callable[[Any], Expr]:
    def function(x: Any) -> Expr:
        value = _floating(name, x)
        return Call(op or name, (value,), value.dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = meaning or f"{name} of a float, element by element; the dtype is kept."
    return function


acos, acosh, asin, asinh = _unary("acos"), _unary("acosh"), _unary("asin"), _unary("asinh")
atan, atanh, cos, cosh = _unary("atan"), _unary("atanh"), _unary("cos"), _unary("cosh")
erf, exp, exp2, exp10 = _unary("erf"), _unary("exp"), _unary("exp2"), _unary("exp10")
log, log1p, log2, log10 = _unary("log"), _unary("log1p"), _unary("log2"), _unary("log10")
rsqrt = _unary("rsqrt", meaning="1 / sqrt(x); the dtype is kept.")
sigmoid = _unary("sigmoid", meaning="1 / (1 + exp(-x)); the dtype is kept.")
sin, sinh, sqrt, tan, tanh = (
    _unary("sin"),
    _unary("sinh"),
    _unary("sqrt"),
    _unary("tan"),
    _unary("tanh"),
)
nearbyint = _unary("nearbyint", meaning="Nearest integer, ties to even; the dtype is kept.")
__exp = _unary("__exp", "fast_exp", "Fast hardware approximation of exp.")
__exp10 = _unary("__exp10", "fast_exp10", "Fast hardware approximation of 10**x.")
__log = _unary("__log", "fast_log", "Fast hardware approximation of the natural logarithm.")
__log2 = _unary("__log2", "fast_log2", "Fast hardware approximation of the binary logarithm.")
__log10 = _unary("__log10", "fast_log10", "Fast hardware approximation of the decimal logarithm.")
__sin = _unary("__sin", "fast_sin", "Fast hardware approximation of sin.")
__cos = _unary("__cos", "fast_cos", "Fast hardware approximation of cos.")
__tan = _unary("__tan", "fast_tan", "Fast hardware approximation of tan.")
fast_rcp = _unary("fast_rcp", meaning="Approximate 1 / x.")


def _rounding(name: str) -> Callable[[Any], Expr]:
    def function(x: Any) -> Expr:
        value = as_expr(x)
        return value if value.dtype.is_int else Call(name, (_floating(name, value),), value.dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name} of a float as a float; integers are returned as they are."
    return function


ceil, floor, trunc = _rounding("ceil"), _rounding("floor"), _rounding("trunc")


def round(x: Any, rounding_mode: str = "ties-to-even") -> Expr:
    """Nearest integer, as a float; `rounding_mode` is `ties-to-even` or `ties-away-from-zero`.

    Raises:
        ArgumentError: for another mode.
    """
    ops = {"ties-to-even": "round", "ties-away-from-zero": "round_away"}
    if rounding_mode not in ops:
        raise ArgumentError(
            f"round: rounding_mode is {rounding_mode!r}, expected {' or '.join(map(repr, ops))}",
            argument_span("rounding_mode"),
        )
    value = as_expr(x)
    return (
        value
        if value.dtype.is_int
        else Call(ops[rounding_mode], (_floating("round", value),), value.dtype)
    )


def abs(x: Any) -> Any:
    """Absolute value, for integers and floats."""
    if isinstance(x, (int, float)):
        return x if x >= 0 else -x
    value = as_expr(x)
    return value if value.dtype.kind in ("uint", "bool") else call("abs", value, dtype=value.dtype)


def _binary_float(name: str) -> Callable[[Any, Any], Expr]:
    def function(x: Any, y: Any) -> Expr:
        a, b = _expr._common(x, y)
        return Call(name, (_floating(name, a), b), a.dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name} of two floats of one dtype."
    return function


atan2, copysign, fmod = _binary_float("atan2"), _binary_float("copysign"), _binary_float("fmod")
hypot, nextafter = _binary_float("hypot"), _binary_float("nextafter")


def ldexp(x: Any, exponent: Any) -> Expr:
    """x * 2**exponent."""
    value = _floating("ldexp", x)
    return Call(
        "ldexp", (value, _cast(exponent, DType("int32").with_lanes(value.dtype.lanes))), value.dtype
    )


def pow(x: Any, n: Any) -> Any:
    """x to the power n; a constant integer n is repeated multiplication (n < 0: of 1 / x)."""
    if isinstance(x, (int, float)) and isinstance(n, (int, float)):
        return x**n
    number = const_value(n)
    base = as_expr(x)
    if isinstance(number, int) and (number >= 0 or base.dtype.is_float):
        result = _int_power(base, number if number >= 0 else -number)
        return result if number >= 0 else 1.0 / result
    a, b = _expr._common(x, n)
    return Call("pow", (_floating("pow", a), b), a.dtype)


def _int_power(base: Expr, n: int) -> Expr:
    if n == 0:
        return constant(1, base.dtype)
    half = _int_power(base, n // 2) if n > 1 else None
    if half is None:
        return base
    return half * half * base if n % 2 else half * half


power = pow


def max(a: Any, b: Any) -> Any:
    """The larger of two values; where one is NaN, the other."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a if a >= b else b
    return maximum(a, b)


def min(a: Any, b: Any) -> Any:
    """The smaller of two values; where one is NaN, the other."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a if a <= b else b
    return minimum(a, b)


def clamp(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high)."""
    return min(max(x, low), high)


def align_up(x: Any, y: Any) -> Any:
    """The smallest multiple of `y` that is not below `x`."""
    return ceildiv(x, y) * y


def Select(condition: Any, true_value: Any, false_value: Any) -> Expr:
    """The value that the condition chooses; both are evaluated."""
    return select(condition, true_value, false_value)


def _predicate(name: str) -> Callable[[Any], Expr]:
    def function(x: Any) -> Expr:
        value = as_expr(x)
        if not value.dtype.is_float:
            return constant(name == "isfinite", BOOL.with_lanes(value.dtype.lanes))
        return Call(name, (value,), BOOL.with_lanes(value.dtype.lanes))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name}, as a bool; integers are always finite."
    return function


isnan, isinf, isfinite = _predicate("isnan"), _predicate("isinf"), _predicate("isfinite")


def _integer(name: str, x: Any) -> Expr:
    value = as_expr(x)
    if not value.dtype.is_int:
        raise DTypeError(
            f"{name}: `{value}` is {value.dtype}, expected an integer type", argument_span(0)
        )
    return value


def popcount(x: Any) -> Expr:
    """Number of one bits."""
    value = _integer("popcount", x)
    return Call("popcount", (value,), DType("int32").with_lanes(value.dtype.lanes))


def clz(x: Any) -> Expr:
    """Number of leading zero bits; the width of the type for 0."""
    value = _integer("clz", x)
    return Call("clz", (value,), DType("int32").with_lanes(value.dtype.lanes))


def __ffs(x: Any) -> Expr:  # pyright: ignore[reportUnusedFunction]
    """Position of the lowest one bit, counted from 1; 0 for 0."""
    value = _integer("__ffs", x)
    return Call("ffs", (value,), DType("int32").with_lanes(value.dtype.lanes))


def __fns(mask: Any, base: Any, offset: Any) -> Expr:  # pyright: ignore[reportUnusedFunction]
    """Position of the `offset`-th one bit of a 32-bit mask from bit `base` on; 0xffffffff: none."""
    return call(
        "fns", _cast(mask, "uint32"), _cast(base, "uint32"), _cast(offset, "int32"), dtype="uint32"
    )


def infinity(dtype: Any) -> Expr:
    """Positive infinity.

    Raises:
        DTypeError: for types without one.
    """
    kind = DType(dtype)
    if not kind.is_float or kind.bits < 16:
        raise DTypeError(
            f"infinity: {kind} has no infinity", argument_span(0), hint="use T.max_value(dtype)"
        )
    return FloatImm(_math.inf, kind)


def max_value(dtype: Any) -> Expr:
    """Largest finite value of the dtype."""
    return constant(DType(dtype).max_value(), dtype)


def min_value(dtype: Any) -> Expr:
    """Smallest finite value of the dtype."""
    return constant(DType(dtype).min_value(), dtype)


def Cast(dtype: Any, value: Any) -> Expr:
    """`value` converted to `dtype`."""
    return _cast(value, DType(dtype))


def cast(value: Any, dtype: Any, round: str = "", sat: bool = True, rbits: Any = None) -> Expr:
    """`value` converted to `dtype`; the two may come in either order.

    Args:
        round: `"rs"` rounds stochastically with the random bits `rbits`; empty: to nearest even.
        sat: values beyond the range of an 8-, 6- or 4-bit float become the largest finite one.
    """
    swapped = isinstance(value, (str, DType)) and not isinstance(dtype, (str, DType))
    value, kind = (dtype, DType(value)) if swapped else (value, DType(dtype))
    if round == "rs":
        if rbits is None:
            raise ArgumentError("cast: round='rs' needs random bits", hint="rbits=T.rng_rand()")
        return call("cast_stochastic", value, _cast(rbits, "uint32"), dtype=kind)
    if round != "":
        raise ArgumentError(
            f"cast: round is {round!r}, expected '' or 'rs'", argument_span("round")
        )
    if not sat and kind.is_float and kind.bits <= 8:
        return call("cast_no_saturation", value, dtype=kind)
    return _cast(value, kind)


def reinterpret(value: Any, dtype: Any = None) -> Expr:
    """The bits of `value` as another dtype of the same total width; both argument orders work.

    Raises:
        DTypeError: when the widths differ.
    """
    if isinstance(value, (str, DType)) and not isinstance(dtype, (str, DType)):
        value, dtype = dtype, value
    kind = DType(dtype)
    x = as_expr(value)
    if x.dtype.bits * x.dtype.lanes != kind.bits * kind.lanes:
        raise DTypeError(
            f"reinterpret: {x.dtype} has {x.dtype.bits * x.dtype.lanes} bits, "
            f"{kind} has {kind.bits * kind.lanes}"
        )
    return x if x.dtype == kind else Call("reinterpret", (x,), kind)


_DIRECTIONS = ("rn", "rz", "ru", "rd")


def _ieee(name: str, *values: Any, mode: str) -> Expr:
    if mode not in _DIRECTIONS:
        raise ArgumentError(
            f"{name}: rounding_mode is {mode!r}, expected one of {', '.join(_DIRECTIONS)}",
            argument_span("rounding_mode"),
        )
    first = _floating(name, values[0])
    if first.dtype.element not in ("float32", "float64"):
        raise DTypeError(f"{name}: {first.dtype} operands, expected float32 or float64")
    rest = [_cast(v, first.dtype) for v in values[1:]]
    return Call(name, (first, *rest, StringImm(mode)), first.dtype)


def ieee_add(x: Any, y: Any, rounding_mode: str = "rn") -> Expr:
    """x + y rounded as told: `rn` nearest, `rz` to zero, `ru` up, `rd` down."""
    return _ieee("ieee_add", x, y, mode=rounding_mode)


def ieee_sub(x: Any, y: Any, rounding_mode: str = "rn") -> Expr:
    """x - y rounded as told."""
    return _ieee("ieee_sub", x, y, mode=rounding_mode)


def ieee_mul(x: Any, y: Any, rounding_mode: str = "rn") -> Expr:
    """x * y rounded as told."""
    return _ieee("ieee_mul", x, y, mode=rounding_mode)


def ieee_fdiv(x: Any, y: Any, rounding_mode: str = "rn") -> Expr:
    """x / y rounded as told."""
    return _ieee("ieee_fdiv", x, y, mode=rounding_mode)


def ieee_fmaf(x: Any, y: Any, z: Any, rounding_mode: str = "rn") -> Expr:
    """x * y + z with one rounding, as told."""
    return _ieee("ieee_fmaf", x, y, z, mode=rounding_mode)


def ieee_frcp(x: Any, rounding_mode: str = "rn") -> Expr:
    """1 / x rounded as told."""
    return _ieee("ieee_frcp", x, mode=rounding_mode)


def ieee_fsqrt(x: Any, rounding_mode: str = "rn") -> Expr:
    """sqrt(x) rounded as told."""
    return _ieee("ieee_fsqrt", x, mode=rounding_mode)


def ieee_frsqrt(x: Any) -> Expr:
    """1 / sqrt(x), rounded to nearest."""
    return _ieee("ieee_frsqrt", x, mode="rn")


def add2(x: Any, y: Any) -> Expr:
    """x + y of two-lane vectors."""
    return as_expr(x) + as_expr(y)


def sub2(x: Any, y: Any) -> Expr:
    """x - y of two-lane vectors."""
    return as_expr(x) - as_expr(y)


def mul2(x: Any, y: Any) -> Expr:
    """x * y of two-lane vectors."""
    return as_expr(x) * as_expr(y)


def fma2(x: Any, y: Any, z: Any) -> Expr:
    """x * y + z of two-lane vectors, one rounding."""
    a = as_expr(x)
    return call("fma", a, _cast(y, a.dtype), _cast(z, a.dtype), dtype=a.dtype)


def max2(x: Any, y: Any) -> Expr:
    """The larger, lane by lane."""
    return maximum(x, y)


def min2(x: Any, y: Any) -> Expr:
    """The smaller, lane by lane."""
    return minimum(x, y)


def abs2(x: Any) -> Expr:
    """Absolute values, lane by lane."""
    return abs(as_expr(x))


def likely(condition: Any) -> Expr:
    """The condition, hinted to be mostly true."""
    return call("likely", _expr.as_condition(condition), dtype=BOOL)


def any(*conditions: Any) -> Expr:
    """Whether at least one condition holds."""
    result: Expr = as_expr(False)
    for condition in conditions:
        result = _expr.logical_or(result, condition)
    return result


def all(*conditions: Any) -> Expr:
    """Whether every condition holds."""
    result: Expr = as_expr(True)
    for condition in conditions:
        result = _expr.logical_and(result, condition)
    return result


def And(*conditions: Any) -> Expr:
    """Whether every condition holds."""
    return all(*conditions)


def Or(*conditions: Any) -> Expr:
    """Whether at least one condition holds."""
    return any(*conditions)


def Not(condition: Any) -> Expr:
    """Whether the condition does not hold."""
    return _expr.logical_not(condition)


def extract_lane(vector: Any, lane: int) -> Expr:
    """One lane of a vector value."""
    value = as_expr(vector)
    if not 0 <= lane < value.dtype.lanes:
        raise ArgumentError(f"extract_lane: lane {lane} of a {value.dtype} value")
    return (
        value
        if value.dtype.lanes == 1
        else call("extract_lane", value, lane, dtype=value.dtype.element)
    )


def Shuffle(vectors: Any, indices: Any) -> Expr:
    """Lanes of the concatenated `vectors`, chosen by constant `indices`."""
    parts = [as_expr(v) for v in vectors]
    lanes = [extract_lane(v, k) for v in parts for k in range(v.dtype.lanes)]
    chosen = [lanes[int(as_expr(i))] for i in indices]
    if len(chosen) == 1:
        return chosen[0]
    return call("make_vector", *chosen, dtype=chosen[0].dtype.with_lanes(len(chosen)))


def index_to_coordinates(index: Any, shape: Any) -> list[Any]:
    """Row-major decode of a linear index into one coordinate per axis."""
    coordinates = []
    for extent in reversed(list(shape)):
        coordinates.append(
            floormod(index, extent) if isinstance(index, Operand) else index % extent
        )
        index = floordiv(index, extent) if isinstance(index, Operand) else index // extent
    return coordinates[::-1]


def Ramp(base: Any, stride: Any, lanes: int) -> Expr:
    """`lanes` values from `base` in steps of `stride`."""
    x, y = _expr._common(as_expr(base), stride)
    if not isinstance(lanes, int) or lanes < 1:
        raise ArgumentTypeError(f"Ramp: lanes is {lanes!r}, expected a positive integer")
    return x if lanes == 1 else _expr.Ramp(x, y, lanes)


def Broadcast(value: Any, lanes: int) -> Expr:
    """`value` in every one of `lanes` lanes."""
    if not isinstance(lanes, int) or lanes < 1:
        raise ArgumentTypeError(f"Broadcast: lanes is {lanes!r}, expected a positive integer")
    return as_expr(value) if lanes == 1 else _expr.Broadcast(as_expr(value), lanes)


def undef(dtype: Any = "float32") -> Expr:
    """A value that nobody may rely on."""
    return call("undef", dtype=dtype)
