"""From facts as programs state them to facts as `knowledge` keeps them.

A range gives a variable constant and symbolic ends; a comparison becomes an inequality of linear
forms, and, where one atom is all there is in it, bounds or divisibility of that atom. Facts that
depend on memory are left out: a later store would make them wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilelang.arith import bounds, canonical, logic
from tilelang.arith.congruence import make, meet
from tilelang.arith.interval import Interval, point
from tilelang.arith.linear import Linear, add, number, scale, shift
from tilelang.arith.terms import Unrepresentable, key_of
from tilelang.ir.expr import (
    EQ,
    NE,
    And,
    Call,
    Comparison,
    Expr,
    FloorDiv,
    FloorMod,
    IntImm,
    Max,
    Min,
    Var,
    as_condition,
)
from tilelang.ir.ops import is_pure

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer


def told(an: Analyzer, var: Var) -> int:
    """The atom of a variable of which something is told, ranked by when that happens."""
    index = an.terms.var(var).single()
    assert index is not None, "a variable is one atom"
    an.terms.rank(index)
    return index


def range_of_var(an: Analyzer, var: Var, start: Expr, extent: Expr) -> None:
    """`start <= var < start + extent`."""
    index = told(an, var)
    try:
        low, count = an.linear(start), an.linear(extent)
    except (Unrepresentable, RecursionError):
        return
    high = shift(add(low, count), -1)
    ends = Interval(bounds.of_linear(an, low).lo, bounds.of_linear(an, high).hi)
    an.knowledge.narrow(index, ends)
    if is_pure(start):
        _symbolic_end(an, an.knowledge.lower, index, low)
    if is_pure(start) and is_pure(extent):
        _symbolic_end(an, an.knowledge.upper, index, high)
    if is_pure(extent):
        nonpositive(an, shift(scale(count, -1), 1))


def _symbolic_end(
    an: Analyzer, table: dict[int, tuple[Linear, ...]], index: int, end: Linear
) -> None:
    if end.terms:
        an.knowledge.extend(table, index, end)


def value_of_var(an: Analyzer, var: Var, value: Expr) -> None:
    """`var == value`; nothing is learnt of values that are no scalar integers."""
    if value.dtype == "bool" and var.dtype == "bool":
        _bool_value(an, var, value)
    if value.dtype not in canonical.INTEGERS:
        return
    index = told(an, var)
    try:
        linear = an.linear(value)
    except (Unrepresentable, RecursionError):
        return
    an.knowledge.narrow(index, bounds.of_linear(an, linear))
    an.knowledge.set(an.knowledge.congruences, index, an.congruence_of(linear))
    if is_pure(value) and linear.terms:
        an.knowledge.extend(an.knowledge.lower, index, linear)
        an.knowledge.extend(an.knowledge.upper, index, linear)


def _bool_value(an: Analyzer, var: Var, value: Expr) -> None:
    made = an.simplify(value)
    if isinstance(made, IntImm):
        an.knowledge.set(an.knowledge.truths, key_of(var), bool(made.value))


def condition(an: Analyzer, expr: Expr, holds: bool = True) -> None:
    """`expr` is true (or false) here."""
    stripped = expr
    while isinstance(stripped, Call) and stripped.op == "likely":
        stripped = stripped.args[0]
    try:
        made = an.simplify_inner(as_condition(stripped))
        if not holds:
            made = logic.negation(an, made)
    except (Unrepresentable, RecursionError):
        return
    for member in logic.members(made, And):
        if not isinstance(member, IntImm) and is_pure(member):
            _member(an, member)


def _member(an: Analyzer, expr: Any) -> None:
    knowledge = an.knowledge
    knowledge.set(knowledge.truths, key_of(expr), True)
    negated = logic.negation(an, expr)
    if not isinstance(negated, IntImm):
        knowledge.set(knowledge.truths, key_of(negated), False)
    if not isinstance(expr, Comparison) or expr.a.dtype not in canonical.INTEGERS:
        return
    x = canonical.difference(an, expr.a, expr.b)
    kind = type(expr)
    if kind in logic.ORDERS:
        nonpositive(an, shift(logic.strict(kind, x), 1))
    elif kind is EQ:
        _zero(an, x)
    elif kind is NE:
        _nonzero(an, x)


def nonpositive(an: Analyzer, x: Linear) -> None:
    """`x <= 0`."""
    if not x.terms:
        return
    if len(x.terms) == 1 and len(x.terms[0][0]) == 1:
        (index,), factor = x.terms[0]
        if factor > 0:  # factor * atom <= -const
            _at_most(an, index, -x.const // factor)
        else:  # const <= -factor * atom
            _at_least(an, index, -(x.const // factor))
        return
    an.knowledge.set(an.knowledge.inequalities, x, None)
    _open_extrema(an, x)


def _at_most(an: Analyzer, index: int, end: int) -> None:
    an.knowledge.narrow(index, Interval(None, end))
    atom = an.terms.atoms[index]
    if atom.kind is FloorDiv and atom.args[1].is_const and atom.args[1].const > 0:
        nonpositive(an, shift(atom.args[0], -(atom.args[1].const * (end + 1) - 1)))
    elif atom.kind is Max:
        for operand in atom.args:
            nonpositive(an, shift(operand, -end))


def _at_least(an: Analyzer, index: int, end: int) -> None:
    an.knowledge.narrow(index, Interval(end, None))
    atom = an.terms.atoms[index]
    if atom.kind is FloorDiv and atom.args[1].is_const and atom.args[1].const > 0:
        nonpositive(an, shift(scale(atom.args[0], -1), atom.args[1].const * end))
    elif atom.kind is Min:
        for operand in atom.args:
            nonpositive(an, shift(scale(operand, -1), end))


def _open_extrema(an: Analyzer, x: Linear) -> None:
    """`max(a, b) + rest <= 0` says it of `a` and of `b`; a minimum with a minus likewise."""
    for monomial, factor in x.terms:
        atom = an.terms.atoms[monomial[0]]
        if len(monomial) == 1 and atom.kind is (Max if factor > 0 else Min):
            rest = add(x, Linear(((monomial, factor),), 0), -1)
            for operand in atom.args:
                nonpositive(an, add(rest, operand, factor))
            return


def _zero(an: Analyzer, x: Linear) -> None:
    """`x == 0`."""
    nonpositive(an, x)
    nonpositive(an, scale(x, -1))
    if len(x.terms) != 1 or len(x.terms[0][0]) != 1:
        return
    (index,), factor = x.terms[0]
    if x.const % factor:
        return
    value = -x.const // factor
    an.knowledge.narrow(index, point(value))
    atom = an.terms.atoms[index]
    if atom.kind is FloorMod and atom.args[1].is_const and atom.args[1].const > 0:
        _residue(an, atom.args[0], atom.args[1].const, value)


def _residue(an: Analyzer, x: Linear, c: int, remainder: int) -> None:
    """`x` is `remainder` modulo `c`; kept where `x` is an atom and a constant."""
    index = add(x, number(x.const), -1).single()
    if index is not None:
        before = an.knowledge.congruences.get(index)
        made = make(c, remainder - x.const)
        if before is not None:
            made = meet(before, made)
        an.knowledge.set(an.knowledge.congruences, index, made)


def _nonzero(an: Analyzer, x: Linear) -> None:
    """`x != 0`: an end of a range that is excluded moves."""
    if len(x.terms) != 1 or len(x.terms[0][0]) != 1 or x.const % x.terms[0][1]:
        return
    (index,), factor = x.terms[0]
    value = -x.const // factor
    values = bounds.of_atom(an, index)
    if values.lo == value:
        an.knowledge.narrow(index, Interval(value + 1, None))
    elif values.hi == value:
        an.knowledge.narrow(index, Interval(None, value - 1))
