"""Integer expressions as sums: what an index is in terms of loop variables.

Pure functions; `check_tile_program` asks for exact ranges, `legalize_memory` solves conditions for
a loop variable. Integer arithmetic does not overflow by contract, so conversions between integer
types that hold all values are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilelang.ir.expr import Add, Cast, Expr, IntImm, Mul, Sub, Var, as_expr, cast
from tilelang.ir.number import promote
from tilelang.ir.record import record
from tilelang.ir.visitor import used_vars


@record
class Affine:
    """`constant + sum(coefficient * variable)`; no coefficient is 0."""

    constant: int
    terms: Mapping[Var, int]

    def __add__(self, other: Affine) -> Affine:
        terms = dict(self.terms)
        for var, coefficient in other.terms.items():
            terms[var] = terms.get(var, 0) + coefficient
        return Affine(self.constant + other.constant, {v: c for v, c in terms.items() if c})

    def times(self, factor: int) -> Affine:
        terms = {v: c * factor for v, c in self.terms.items()} if factor else {}
        return Affine(self.constant * factor, terms)


def affine(value: Expr) -> Affine | None:
    """`value` as a sum of variables with constant coefficients, or `None` when it is none."""
    match value:
        case IntImm(value=number):
            return Affine(number, {})
        case Var() if value.dtype.is_int:
            return Affine(0, {value: 1})
        case Cast(value=inner) if _keeps_values(inner, value):
            return affine(inner)
        case Add(a, b) | Sub(a, b) if value.dtype.is_int:
            left, right = affine(a), affine(b)
            if left is None or right is None:
                return None
            return left + (right if isinstance(value, Add) else right.times(-1))
        case Mul(a, b) if value.dtype.is_int:
            left, right = affine(a), affine(b)
            if left is None or right is None or (left.terms and right.terms):
                return None
            return left.times(right.constant) if not right.terms else right.times(left.constant)
        case _:
            return None


def _keeps_values(inner: Expr, outer: Expr) -> bool:
    a, b = inner.dtype, outer.dtype
    return a.is_int and b.is_int and a.lanes == b.lanes and b.bits >= a.bits


def split_linear(value: Expr, var: Var) -> tuple[int, Expr] | None:
    """`(c, rest)`: `value == c * var + rest`, `rest` free of `var`; `None` if it is no such sum."""
    if not any(v is var for v in used_vars(value)):
        return 0, value
    match value:
        case Var():
            return 1, cast(as_expr(0), value.dtype)
        case Cast(value=inner) if _keeps_values(inner, value):
            parts = split_linear(inner, var)
            return None if parts is None else (parts[0], cast(parts[1], value.dtype))
        case Add(a, b) | Sub(a, b):
            left, right = split_linear(a, var), split_linear(b, var)
            if left is None or right is None:
                return None
            if isinstance(value, Add):
                return left[0] + right[0], left[1] + right[1]
            return left[0] - right[0], left[1] - right[1]
        case Mul(a, IntImm(value=factor)) | Mul(IntImm(value=factor), a):
            parts = split_linear(a, var)
            return None if parts is None else (parts[0] * factor, parts[1] * factor)
        case _:
            return None


def in_common_type(*values: Expr) -> tuple[Expr, ...]:
    """The integer values in one type that holds all of them."""
    kind = values[0].dtype
    for value in values[1:]:
        kind = promote(kind, value.dtype)
    return tuple(cast(value, kind) for value in values)
