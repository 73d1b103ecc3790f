"""Index expressions on NumPy arrays: how a symbolic layout becomes a table.

`evaluate` takes an integer or boolean expression and an array per variable; arrays broadcast. It
knows index arithmetic only: no buffers, no calls besides `if_then_else`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

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
    Expr,
    FloorDiv,
    FloorMod,
    IntImm,
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
)  # fmt: skip

Value = Any  # an integer array, or a Python or NumPy integer


def _trunc_div(a: Value, b: Value) -> Value:
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


_BINARY: dict[type[BinaryOp], Callable[[Value, Value], Value]] = {
    Add: np.add,
    Sub: np.subtract,
    Mul: np.multiply,
    FloorDiv: np.floor_divide,
    FloorMod: np.mod,
    TruncDiv: _trunc_div,
    TruncMod: lambda a, b: a - b * _trunc_div(a, b),
    Min: np.minimum,
    Max: np.maximum,
    EQ: np.equal,
    NE: np.not_equal,
    LT: np.less,
    LE: np.less_equal,
    GT: np.greater,
    GE: np.greater_equal,
    And: np.logical_and,
    Or: np.logical_or,
    ShiftLeft: np.left_shift,
    ShiftRight: np.right_shift,
    BitAnd: np.bitwise_and,
    BitOr: np.bitwise_or,
    BitXor: np.bitwise_xor,
}


def evaluate(value: Expr, env: Mapping[Var, Value]) -> Value:
    """`value` as int64 (or bool), with `env` giving each variable.

    Raises:
        KeyError: for a variable that `env` does not hold.
        TypeError: for an expression that is not index arithmetic.
    """
    match value:
        case Var():
            return env[value]
        case IntImm(value=number):
            return np.bool_(number) if value.dtype.is_bool else np.int64(number)
        case BinaryOp(a, b):
            operation = _BINARY.get(type(value))
            if operation is not None:
                return operation(evaluate(a, env), evaluate(b, env))
        case Not(a):
            return np.logical_not(evaluate(a, env))
        case BitNot(a):
            return np.invert(evaluate(a, env))
        case Select(condition, x, y):
            return np.where(evaluate(condition, env), evaluate(x, env), evaluate(y, env))
        case Call(op="if_then_else", args=(condition, x, y)):
            return np.where(evaluate(condition, env), evaluate(x, env), evaluate(y, env))
        case Cast(value=inner, dtype=kind) if kind.is_int and inner.dtype.is_int:
            return evaluate(inner, env)
        case Cast(value=inner, dtype=kind) if kind.is_int and inner.dtype.is_bool:
            return np.asarray(evaluate(inner, env)).astype(np.int64)
        case _:
            pass
    raise TypeError(f"`{value}` is not index arithmetic")
