"""Expressions evaluated to Python numbers.

Used for shapes and other values that the host computes, and by tests as the meaning that rewriting
must keep. Integers are exact: signed ones never overflow, unsigned ones and casts wrap. Floats are
rounded to their type after every operation. Memory, threads and vectors have no value here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tilelang.errors import ArgumentError, ArithmeticFault
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    And,
    BinaryOp,
    BitAnd,
    BitNot,
    BitOr,
    BitXor,
    Call,
    Cast,
    Div,
    Expr,
    FloatImm,
    FloorDiv,
    FloorMod,
    IntImm,
    Let,
    Max,
    Min,
    Mul,
    Not,
    Or,
    Select,
    ShiftLeft,
    ShiftRight,
    Sub,
    TruncDiv,
    TruncMod,
    Var,
)

Number = Any  # bool, int or float
Environment = Mapping[Var, Number]


def evaluate(expr: Any, env: Environment | None = None) -> Number:
    """The value of a scalar expression, for variables with the values in `env`.

    Returns:
        an int, float or bool, as the type of the expression says; a number given is returned.

    Raises:
        ArgumentError: for a variable without a value, and for what has no value outside a kernel.
        ArithmeticFault: for an integer division by zero.
    """
    if isinstance(expr, (bool, int, float)):
        return expr
    method = _METHODS.get(type(expr))
    if method is None:
        if isinstance(expr, BinaryOp):
            method = _binary
        else:
            raise _no_value(expr)
    return method(expr, env or {})


def _no_value(expr: Any) -> ArgumentError:
    span = getattr(expr, "span", None)
    return ArgumentError(f"`{expr}` has no value outside a kernel", span)


def fit(value: Number, kind: dtype) -> Number:
    """`value` as a result of type `kind`: wrapped, rounded or made a bool."""
    if kind.is_bool:
        return bool(value)
    if kind.kind == "uint":
        return int(value) & ((1 << kind.bits) - 1)
    return _rounded(float(value), kind) if kind.is_float else int(value)


def _rounded(value: float, kind: dtype) -> float:
    if kind == "float64" or value != value or math.isinf(value):
        return value
    import numpy  # loaded for floats alone

    with numpy.errstate(over="ignore"):
        return float(numpy.float64(value).astype(kind.as_numpy()))


# -- nodes -----------------------------------------------------------------------------------------


def _variable(expr: Var, env: Environment) -> Number:
    if expr not in env:
        raise ArgumentError(f"the value of `{expr.name}` is not known", expr.span)
    return env[expr]


def _binary(expr: Any, env: Environment) -> Number:
    kind = type(expr)
    if kind is And or kind is Or:
        first = bool(evaluate(expr.a, env))
        return first if first == (kind is Or) else bool(evaluate(expr.b, env))
    a, b = evaluate(expr.a, env), evaluate(expr.b, env)
    if kind in _DIVISIONS and b == 0:
        raise ArithmeticFault(f"`{expr}` divides by zero", expr.span)
    return fit(BINARY[kind](a, b), expr.dtype)


def _cast(expr: Cast, env: Environment) -> Number:
    value, kind = evaluate(expr.value, env), expr.dtype
    if kind.is_bool or kind.is_float:
        return bool(value) if kind.is_bool else fit(value, kind)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArgumentError(f"{value} has no value as {kind}", expr.span)
        value = math.trunc(value)
    return wrapped(int(value), kind)


def wrapped(value: int, kind: dtype) -> int:
    """`value` reduced to the range of an integer type, as two's complement does."""
    half = 0 if kind.kind == "uint" else 1 << (kind.bits - 1)
    return (value + half) % (1 << kind.bits) - half


def _select(expr: Select, env: Environment) -> Number:
    return evaluate(expr.then_value if evaluate(expr.condition, env) else expr.else_value, env)


def _let(expr: Let, env: Environment) -> Number:
    return evaluate(expr.body, {**env, expr.var: evaluate(expr.value, env)})


def _call(expr: Call, env: Environment) -> Number:
    if expr.op == "if_then_else":
        condition, then_value, else_value = expr.args
        return evaluate(then_value if evaluate(condition, env) else else_value, env)
    if expr.op in _BIT_COUNTS:
        bits = wrapped(evaluate(expr.args[0], env), _unsigned(expr.args[0]))
        return _BIT_COUNTS[expr.op](bits, expr)
    function = CALLS.get(expr.op)
    if function is None:
        raise _no_value(expr)
    return fit(function(*[evaluate(argument, env) for argument in expr.args]), expr.dtype)


def _unsigned(value: Expr) -> dtype:
    return dtype(f"uint{value.dtype.bits}")


# -- operations ------------------------------------------------------------------------------------


def _truncdiv(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a >= 0) == (b >= 0) else -quotient


def _real_division(a: float, b: float) -> float:
    if b == 0:
        if a == 0 or a != a:
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b


def _minimum(a: Number, b: Number) -> Number:
    """NaN when either is; floats only otherwise differ from Python in nothing."""
    return a if a != a else b if b != b else min(a, b)


def _maximum(a: Number, b: Number) -> Number:
    return a if a != a else b if b != b else max(a, b)


BINARY: dict[type[BinaryOp], Callable[[Number, Number], Number]] = {
    Add: lambda a, b: a + b,
    Sub: lambda a, b: a - b,
    Mul: lambda a, b: a * b,
    Div: _real_division,
    FloorDiv: lambda a, b: a // b,
    FloorMod: lambda a, b: a % b,
    TruncDiv: _truncdiv,
    TruncMod: lambda a, b: a - b * _truncdiv(a, b),
    Min: _minimum,
    Max: _maximum,
    EQ: lambda a, b: a == b,
    NE: lambda a, b: a != b,
    LT: lambda a, b: a < b,
    LE: lambda a, b: a <= b,
    GT: lambda a, b: a > b,
    GE: lambda a, b: a >= b,
    ShiftLeft: lambda a, b: a << b,
    ShiftRight: lambda a, b: a >> b,
    BitAnd: lambda a, b: a & b,
    BitOr: lambda a, b: a | b,
    BitXor: lambda a, b: a ^ b,
}
_DIVISIONS = (FloorDiv, FloorMod, TruncDiv, TruncMod)


def _real(function: Callable[..., float]) -> Callable[..., float]:
    """`function` of Python's `math`, with IEEE results where that raises."""

    def safe(*values: float) -> float:
        try:
            return function(*values)
        except OverflowError:
            return math.inf
        except ValueError:
            return math.nan

    return safe


def _log(function: Callable[[float], float]) -> Callable[[float], float]:
    safe = _real(function)
    return lambda x: -math.inf if x == 0 else safe(x)


def _whole(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: x if not math.isfinite(x) else math.copysign(float(function(x)), x)


def _round_away(x: float) -> float:
    return math.floor(abs(x) + 0.5) if abs(x) < 2.0**52 else abs(x)


def _power(x: Number, y: Number) -> Number:
    return x**y if isinstance(x, int) and isinstance(y, int) and y >= 0 else _real(math.pow)(x, y)


_REAL_FUNCTIONS: tuple[Callable[..., float], ...] = (
    math.acos, math.acosh, math.asin, math.asinh, math.atan, math.atanh, math.cos, math.cosh,
    math.erf, math.exp, math.sin, math.sinh, math.sqrt, math.tan, math.tanh,
    math.atan2, math.copysign, math.fmod, math.hypot, math.ldexp,
)  # fmt: skip
CALLS: dict[str, Callable[..., Number]] = {
    **{function.__name__: _real(function) for function in _REAL_FUNCTIONS},
    "exp2": _real(lambda x: 2.0**x),
    "exp10": _real(lambda x: 10.0**x),
    "log": _log(math.log),
    "log2": _log(math.log2),
    "log10": _log(math.log10),
    "log1p": lambda x: -math.inf if x == -1 else _real(math.log1p)(x),
    "rsqrt": lambda x: _real_division(1.0, _real(math.sqrt)(x)),
    "sigmoid": lambda x: 1.0 / (1.0 + _real(math.exp)(-x)),
    "ceil": _whole(math.ceil),
    "floor": _whole(math.floor),
    "trunc": _whole(math.trunc),
    "round": _whole(round),
    "nearbyint": _whole(round),
    "round_away": _whole(_round_away),
    "fma": lambda a, b, c: a * b + c,
    "pow": _power,
    "abs": abs,
    "neg": lambda x: -x,
    "isnan": lambda x: x != x,
    "isinf": math.isinf,
    "isfinite": math.isfinite,
    "max_nan": _maximum,
    "min_nan": _minimum,
    "likely": lambda x: x,
}
_BIT_COUNTS: dict[str, Callable[[int, Call], int]] = {  # of the bits of the argument
    "popcount": lambda bits, expr: bin(bits).count("1"),
    "clz": lambda bits, expr: expr.args[0].dtype.bits - bits.bit_length(),
    "ffs": lambda bits, expr: (bits & -bits).bit_length(),
}
_METHODS: dict[type, Callable[[Any, Environment], Number]] = {
    IntImm: lambda expr, env: bool(expr.value) if expr.dtype.is_bool else expr.value,
    FloatImm: lambda expr, env: expr.value,
    Var: _variable,
    Not: lambda expr, env: not evaluate(expr.a, env),
    BitNot: lambda expr, env: fit(~evaluate(expr.a, env), expr.dtype),
    Cast: _cast,
    Select: _select,
    Let: _let,
    Call: _call,
}
