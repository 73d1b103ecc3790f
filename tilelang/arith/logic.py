"""Comparisons of integers, and conditions made of them.

A comparison is decided, or brought to one form: common factors cancelled, the term with the
latest variable positive and on the left (a loop variable before the extent), constants on the
right, `<` unless `<=` saves a constant. Negations go inward; members of a conjunction that others
imply are dropped. Comparisons of floats keep their form, as `not (a < b)` is not `a >= b` for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tilelang.arith import bounds, canonical
from tilelang.arith.linear import Linear, add, divide_exactly, scale, shift
from tilelang.arith.terms import key_of
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BOOL,
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    And,
    Expr,
    IntImm,
    Not,
    Or,
)

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer

TRUE = IntImm(1, BOOL)
FALSE = IntImm(0, BOOL)
ORDERS: dict[type, type] = {LT: GE, GE: LT, LE: GT, GT: LE}  # comparison -> its negation
EQUALITIES: dict[type, type] = {EQ: NE, NE: EQ}
_MAX_PAIRED = 8  # members of a condition that are compared with each other


def truth(value: bool) -> IntImm:
    """The constant `value`."""
    return TRUE if value else FALSE


# -- comparisons -----------------------------------------------------------------------------------


def compare(an: Analyzer, expr: Any) -> Expr:
    """The comparison `expr` of two scalar integers."""
    kind, typ = type(expr), expr.a.dtype
    x = canonical.difference(an, expr.a, expr.b)
    found = decide(an, kind, x)
    if found is not None:
        return truth(found)
    if typ in canonical.SIGNED:
        return canonical_form(an, kind, x, typ)
    build = an.terms.build  # terms of unsigned sums stay on their side, where they do not wrap
    return kind(build(an.linear(expr.a), typ), build(an.linear(expr.b), typ))


def decide(an: Analyzer, kind: type, x: Linear) -> bool | None:
    """Whether `x kind 0` always or never holds; `None` where neither is found."""
    if kind in (EQ, NE):
        is_equal = _is_zero(an, x)
        return is_equal if kind is EQ or is_equal is None else not is_equal
    if kind is LT or kind is GE:  # x < 0, or not
        negative, otherwise = shift(x, 1), scale(x, -1)
    else:  # x <= 0, or not
        negative, otherwise = x, shift(scale(x, -1), 1)
    if an.is_nonpositive(negative):
        return kind in (LT, LE)
    return kind in (GT, GE) if an.is_nonpositive(otherwise) else None


def _is_zero(an: Analyzer, x: Linear) -> bool | None:
    if not x.terms:
        return x.const == 0
    factor = x.coefficient_gcd()
    if x.const % factor:
        return False
    step, rest = an.congruence_of(x)
    if (rest % step if step else rest) != 0:
        return False
    values = bounds.of_linear(an, x)
    if (values.lo is not None and values.lo > 0) or (values.hi is not None and values.hi < 0):
        return False
    negated = scale(x, -1)
    below, above = an.is_nonpositive(x), an.is_nonpositive(negated)
    if below and above:
        return True
    is_below = below and an.is_nonpositive(shift(x, 1))
    is_above = above and an.is_nonpositive(shift(negated, 1))
    return False if is_below or is_above else None


def strict(kind: type, x: Linear) -> Linear:
    """`y` such that `y < 0` says the same as `x kind 0`, for an order `kind`."""
    if kind is LT:
        return x
    if kind is LE:
        return shift(x, -1)
    return scale(x, -1) if kind is GT else shift(scale(x, -1), -1)


def canonical_form(an: Analyzer, kind: type, x: Linear, typ: dtype) -> Expr:
    """`x kind 0`, written with the term of the latest variable positive on the left.

    Raises:
        Unrepresentable: when a constant does not fit `typ`.
    """
    if kind in EQUALITIES:
        factor = x.coefficient_gcd()
        x = divide_exactly(x, factor if _leading(an, x) > 0 else -factor)
        left, right = _sides(x)
        return kind(an.terms.build(left, typ), an.terms.build(right, typ))
    y = strict(kind, x)
    factor = y.coefficient_gcd()
    y = divide_exactly(Linear(y.terms, y.const // factor * factor), factor)
    if _leading(an, y) > 0:
        left, right = _sides(y)
        made: Any = LE if right.const == 1 else LT
        right = shift(right, -1) if made is LE else right
    else:
        left, right = _sides(scale(y, -1))
        made = GE if right.const == -1 else GT
        right = shift(right, 1) if made is GE else right
    return made(an.terms.build(left, typ), an.terms.build(right, typ))


def _leading(an: Analyzer, x: Linear) -> int:
    """The coefficient of the term with the latest variable; of the first such term."""
    return max(x.terms, key=lambda term: an.terms.rank_of(term[0]))[1]


def _sides(x: Linear) -> tuple[Linear, Linear]:
    """`x` as a difference: the positive terms, and what is taken off."""
    left = Linear(tuple([t for t in x.terms if t[1] > 0]), 0)
    right = Linear(tuple([(m, -c) for m, c in x.terms if c < 0]), -x.const)
    return left, right


# -- conditions ------------------------------------------------------------------------------------


def is_order_of_ints(expr: Any) -> bool:
    """Whether `expr` is `<`, `<=`, `>` or `>=` of scalar integers."""
    return type(expr) in ORDERS and expr.a.dtype in canonical.INTEGERS


def negation(an: Analyzer, expr: Expr) -> Expr:
    """`not expr`, simplified, for a simplified scalar condition."""
    made: Any = expr
    kind = type(made)
    if isinstance(expr, IntImm):
        return truth(not expr.value)
    if kind is Not:
        return made.a
    if kind in EQUALITIES:
        return EQUALITIES[kind](made.a, made.b)
    if is_order_of_ints(expr):
        return an.simplify_inner(ORDERS[kind](made.a, made.b))
    if kind is And or kind is Or:
        other = Or if kind is And else And
        return combine(an, other, [negation(an, member) for member in members(expr, kind)])
    return Not(expr)


def members(expr: Any, kind: type) -> list[Expr]:
    """The operands of nested `And` (or `Or`) in order."""
    found: list[Expr] = []
    stack = [expr]
    while stack:
        node = stack.pop()
        if type(node) is kind:
            stack += (node.b, node.a)
        else:
            found.append(node)
    return found


def combine(an: Analyzer, kind: Any, parts: list[Expr]) -> Expr:
    """The conjunction (`kind` is `And`) or disjunction of simplified conditions."""
    absorbing = kind is Or  # the constant that decides all
    kept: dict[Any, Expr] = {}
    for part in parts:
        for member in members(part, kind):
            if not isinstance(member, IntImm):
                kept.setdefault(key_of(member), member)
            elif bool(member.value) == absorbing:
                return truth(absorbing)
    left = list(kept.values())
    if any(key_of(negation(an, member)) in kept for member in left if not is_order_of_ints(member)):
        return truth(absorbing)
    if 1 < len(left) <= _MAX_PAIRED:
        if _is_decided(an, kind, left):
            return truth(absorbing)
        left = _irredundant(an, kind, left)
    if not left:
        return truth(not absorbing)
    made = left[0]
    for member in left[1:]:
        made = kind(made, member)
    return made


def _strict_forms(an: Analyzer, expr: Any) -> list[Linear]:
    """Sums that are all negative exactly when `expr`, a comparison of integers, holds; or empty."""
    kind = type(expr)
    if (kind not in ORDERS and kind is not EQ) or expr.a.dtype not in canonical.INTEGERS:
        return []
    x = canonical.difference(an, expr.a, expr.b)
    return [shift(x, -1), shift(scale(x, -1), -1)] if kind is EQ else [strict(kind, x)]


def _implies(an: Analyzer, xs: list[Linear], ys: list[Linear]) -> bool:
    """Whether all `xs` negative make all `ys` negative."""
    if not xs or not ys:
        return False
    return all(any(_related(x, y) and an.is_nonpositive(add(y, x, -1)) for x in xs) for y in ys)


def _excludes(an: Analyzer, xs: list[Linear], ys: list[Linear]) -> bool:
    """Whether no values make all of `xs` and `ys` negative: two of them would sum up to -2."""
    pairs = [(x, y) for x in xs for y in ys if _related(x, y)]
    return any(an.is_nonpositive(shift(scale(add(x, y), -1), -1)) for x, y in pairs)


def _related(x: Linear, y: Linear) -> bool:
    mine = {m for m, _ in x.terms}
    return any(m in mine for m, _ in y.terms)


def _is_decided(an: Analyzer, kind: type, parts: list[Expr]) -> bool:
    """Whether two parts exclude each other (`and`), or leave nothing out (`or`)."""
    forms = [_strict_forms(an, p) for p in parts]
    if kind is Or:  # their negations exclude each other
        forms = [[shift(scale(f[0], -1), -1)] if len(f) == 1 else [] for f in forms]
    return any(
        _excludes(an, forms[i], forms[j]) for i in range(len(forms)) for j in range(i) if forms[i]
    )


def _irredundant(an: Analyzer, kind: type, parts: list[Expr]) -> list[Expr]:
    """`parts` without those that follow from one another."""
    forms = [_strict_forms(an, p) for p in parts]
    kept = list(range(len(parts)))
    for i in range(len(parts)):
        for j in kept:
            if i != j and i in kept:
                stronger, weaker = (j, i) if kind is And else (i, j)
                if _implies(an, forms[stronger], forms[weaker]):
                    kept.remove(i)
                    break
    return [parts[i] for i in kept]


def conjunction(an: Analyzer, expr: Expr) -> Expr:
    """An `And`, simplified."""
    return combine(an, And, [an.simplify_inner(m) for m in members(expr, And)])


def disjunction(an: Analyzer, expr: Expr) -> Expr:
    """An `Or`, simplified."""
    return combine(an, Or, [an.simplify_inner(m) for m in members(expr, Or)])


def inversion(an: Analyzer, expr: Any) -> Expr:
    """A `Not`, simplified."""
    return negation(an, an.simplify_inner(expr.a))


CONDITIONS: dict[type, Callable[[Analyzer, Any], Expr]] = {
    And: conjunction,
    Or: disjunction,
    Not: inversion,
}
