"""Which integer expressions are never negative: there C's `/` and `%` round as the IR's do.

Knows what a variable starts from (a loop's start, a bound value, a grid index) and a few rules;
what it does not know counts as possibly negative.
"""

from __future__ import annotations

from tilelang.ir.expr import (
    Add,
    BitAnd,
    BufferLoad,
    Call,
    Cast,
    Expr,
    FloorDiv,
    FloorMod,
    IntImm,
    Max,
    Min,
    Mul,
    Select,
    ShiftRight,
    TruncDiv,
    TruncMod,
    Var,
    const_value,
)


class Signs:
    """Variables known not to be negative."""

    def __init__(self) -> None:
        self._nonnegative: set[Var] = set()

    def define(self, var: Var, lowest: Expr) -> None:
        """`var` is at least `lowest`."""
        if var.dtype.is_int and self.is_nonnegative(lowest):
            self._nonnegative.add(var)

    def add(self, var: Var) -> None:
        """`var` is a size or an index."""
        self._nonnegative.add(var)

    def is_nonnegative(self, value: Expr) -> bool:
        """Whether `value >= 0` is certain (no overflow, as the IR promises)."""
        if value.dtype.kind in ("uint", "bool"):
            return True
        match value:
            case IntImm():
                return value.value >= 0
            case Var():
                return value in self._nonnegative
            case Add() | Mul() | Min():
                return self.is_nonnegative(value.a) and self.is_nonnegative(value.b)
            case Max():
                return self.is_nonnegative(value.a) or self.is_nonnegative(value.b)
            case FloorDiv() | TruncDiv() | ShiftRight():
                return self.is_nonnegative(value.a) and self.is_nonnegative(value.b)
            case FloorMod():
                return is_positive(value.b)
            case TruncMod():
                return self.is_nonnegative(value.a)
            case BitAnd():
                return self.is_nonnegative(value.a) or self.is_nonnegative(value.b)
            case Cast():
                inner = value.value.dtype
                keeps = inner.is_bool or (inner.is_int and inner.bits <= value.dtype.bits)
                fits = inner.kind == value.dtype.kind or inner.bits < value.dtype.bits
                return keeps and (inner.is_bool or fits) and self.is_nonnegative(value.value)
            case Select():
                sides = (value.then_value, value.else_value)
                return all(self.is_nonnegative(side) for side in sides)
            case Call(op="if_then_else"):
                return all(self.is_nonnegative(side) for side in value.args[1:])
            case Call(op="popcount" | "clz" | "ffs"):
                return True
            case BufferLoad():
                return False
            case _:
                return False


def is_positive(value: Expr) -> bool:
    """Whether `value` is a constant above 0."""
    number = const_value(value)
    return number is not None and number > 0


def power_of_two(value: Expr) -> int | None:
    """`n` where `value` is the constant `2**n`."""
    number = const_value(value)
    if not isinstance(number, int) or number <= 0 or number & (number - 1):
        return None
    return number.bit_length() - 1
