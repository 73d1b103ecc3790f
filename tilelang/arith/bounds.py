"""Constant bounds of linear forms, atoms and whole expressions.

Each atom's interval follows from the intervals of its operands, met with what is known of it.
That of a sum adds up those of its terms as if they were independent; `prove` knows more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilelang.arith import interval
from tilelang.arith.interval import EVERYTHING, OPERATIONS, Interval, point, range_of
from tilelang.arith.linear import Linear, Monomial
from tilelang.arith.terms import Atom
from tilelang.ir.expr import (
    BinaryOp,
    BitNot,
    Broadcast,
    Call,
    Cast,
    Expr,
    IntImm,
    Ramp,
    Select,
)

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer


def of_linear(an: Analyzer, linear: Linear) -> Interval:
    """Bounds of a sum."""
    lo: int | None = linear.const
    hi: int | None = linear.const
    for monomial, coefficient in linear.terms:
        values = of_monomial(an, monomial)
        below, above = values if coefficient > 0 else (values.hi, values.lo)
        lo = None if lo is None or below is None else lo + coefficient * below
        hi = None if hi is None or above is None else hi + coefficient * above
        if lo is None and hi is None:
            return EVERYTHING
    return Interval(lo, hi)


def of_monomial(an: Analyzer, monomial: Monomial) -> Interval:
    """Bounds of a product of atoms; equal factors in pairs make it non-negative."""
    if len(monomial) == 1:
        return of_atom(an, monomial[0])
    values = point(1)
    for index in monomial:
        values = interval.mul(values, of_atom(an, index))
    is_square = all(monomial.count(index) % 2 == 0 for index in monomial)
    return values.meet(Interval(0, None)) if is_square else values


def of_atom(an: Analyzer, index: int) -> Interval:
    """Bounds of one atom."""
    memo = an.knowledge.memo.bounds
    found = memo.get(index)
    if found is None:
        found = _derive(an, an.terms.atoms[index])
        known = an.knowledge.intervals.get(index)
        if known is not None:
            found = found.meet(known)
        memo[index] = found
    return found


def _derive(an: Analyzer, atom: Atom) -> Interval:
    limits = range_of(atom.expr.dtype)
    if not atom.args:
        return _of_call(atom.expr.op, limits) if isinstance(atom.expr, Call) else limits
    values = [of_linear(an, a) for a in atom.args]
    operation = OPERATIONS.get(atom.kind)
    if operation is not None:
        made = values[0]
        for other in values[1:]:  # a minimum may have many operands
            made = operation(made, other)
        return _within(made, limits, atom)
    if atom.kind is Select or atom.kind is Call:
        return _of_choice(atom, values, limits)
    if atom.kind is BitNot and atom.expr.dtype.kind == "int":
        return interval.sub(point(-1), values[0])
    if atom.kind is Cast:
        return _within(values[0], limits, atom)
    return limits


def _within(values: Interval, limits: Interval, atom: Atom) -> Interval:
    """The exact result, unless the type may have wrapped it."""
    kind = atom.expr.dtype
    if interval.holds(kind, values):
        return values
    wraps = kind.kind == "uint" or atom.kind is Cast
    return limits if wraps else values.meet(limits)


def _of_choice(atom: Atom, values: list[Interval], limits: Interval) -> Interval:
    if isinstance(atom.expr, Call) and atom.expr.op == "abs":
        (x,) = values
        return interval.maximum(x, x.scaled(-1)).meet(Interval(0, None))
    made = values[0]
    for other in values[1:]:
        made = made.join(other)
    return made.meet(limits)


# Calls without integer operands that bounds follow from, and the ends of their values.
_CALLS = {
    "popcount": Interval(0, 64),
    "clz": Interval(0, 64),
    "ffs": Interval(0, 64),
    "lane_id": Interval(0, 63),
    "warp_id": Interval(0, None),
}


def _of_call(op: str, limits: Interval) -> Interval:
    return limits.meet(_CALLS.get(op, EVERYTHING))


def of_expr(an: Analyzer, expr: Expr) -> Interval:
    """Bounds of an expression; of every lane, for a vector."""
    kind = expr.dtype
    if isinstance(expr, IntImm):
        return point(int(expr.value))
    if kind.is_int and kind.lanes == 1:
        return of_linear(an, an.linear(expr))
    if kind.is_bool and kind.lanes == 1:
        made = an.simplify(expr)
        return point(int(made.value)) if isinstance(made, IntImm) else Interval(0, 1)
    if not (kind.is_int or kind.is_bool):
        return EVERYTHING
    return _of_vector(an, expr)


def _of_vector(an: Analyzer, expr: Expr) -> Interval:
    if isinstance(expr, Broadcast):
        return of_expr(an, expr.value)
    if isinstance(expr, Ramp):
        steps = interval.mul(of_expr(an, expr.stride), Interval(0, expr.lanes - 1))
        return interval.add(of_expr(an, expr.base), steps)
    if isinstance(expr, Select):
        return of_expr(an, expr.then_value).join(of_expr(an, expr.else_value))
    limits = range_of(expr.dtype)
    operation = OPERATIONS.get(type(expr)) if isinstance(expr, BinaryOp) else None
    if operation is None or not isinstance(expr, BinaryOp):
        return limits
    made = operation(of_expr(an, expr.a), of_expr(an, expr.b))
    if expr.dtype.kind == "uint" and not interval.holds(expr.dtype, made):
        return limits
    return made
