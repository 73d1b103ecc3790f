"""Digits of one number, put together again: `x//c*c + x%c -> x`.

Works on the terms of a sum while `canonical` collects them; `division` made the quotients and
remainders, and the analyzer remembers which atoms they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilelang.arith import division
from tilelang.arith.linear import (
    Linear,
    Monomial,
    add,
    freeze,
    number,
    scale,
    times_monomial,
    without,
)
from tilelang.ir.expr import FloorDiv

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer

_MAX_DIGITS = 16  # sums with more quotients and remainders are left as they are


def recombine(an: Analyzer, terms: dict[Monomial, int], const: int) -> Linear:
    """The collected sum, with digits of one number put together again."""
    digits = an.digits
    if digits:
        found = [m for m in terms if terms[m] and any(i in digits for i in m)]
        if found and len(found) <= _MAX_DIGITS:
            while any(_join_digit(an, terms, m, i) for m in found for i in m if i in digits):
                found = [m for m in terms if terms[m] and any(i in digits for i in m)]
            const += terms.pop((), 0)
    return freeze(terms, const)


def _join_digit(an: Analyzer, terms: dict[Monomial, int], monomial: Monomial, index: int) -> bool:
    """Rewrite `terms` around the quotient or remainder `index` in `monomial`, if possible.

    x%c*k + x//c*(c*k)     -> x*k
    x%c*k + x//c%d*(c*k)   -> x%(c*d)*k
    x*k   - x//c*(c*k)     -> x%c*k
    x//c*(c*k)             -> (x - r)*k      where x is known to be r modulo c
    """
    factor = terms.get(monomial, 0)
    if factor == 0:
        return False
    atom = an.terms.atoms[index]
    x, c = atom.args[0], atom.args[1].const
    rest = without(monomial, index)
    if atom.kind is FloorDiv:
        return factor % c == 0 and _from_quotient(an, terms, monomial, index, factor // c)
    high = division.find_quotient(an, x, c, atom.expr.dtype)
    if high is None:
        return False
    partner = tuple(sorted((*rest, high)))
    made: Linear | None = None
    if terms.get(partner, 0) == factor * c:
        made = x
    else:
        for d, upper in an.upper_digits(high):
            partner = tuple(sorted((*rest, upper)))
            if terms.get(partner, 0) == factor * c:
                made = division.floormod(an, x, c * d, atom.expr.dtype)
                break
    if made is None:
        return False
    terms[monomial] = terms[partner] = 0
    _merge(terms, times_monomial(made, rest, factor))
    return True


def _from_quotient(
    an: Analyzer, terms: dict[Monomial, int], monomial: Monomial, index: int, k: int
) -> bool:
    atom = an.terms.atoms[index]
    x, c = atom.args[0], atom.args[1].const
    rest = without(monomial, index)
    whole = times_monomial(x, rest, -k)
    made: Linear | None = None
    if whole.terms and all(terms.get(m, 0) == f for m, f in whole.terms):
        made = times_monomial(division.floormod(an, x, c, atom.expr.dtype), rest, -k)
        _merge(terms, scale(whole, -1))
    else:
        step, remainder = an.congruence_of(x)
        if step % c == 0 and an.terms.is_cheap(x):
            made = times_monomial(add(x, number(remainder % c), -1), rest, k)
    if made is None:
        return False
    terms[monomial] = 0
    _merge(terms, made)
    return True


def _merge(terms: dict[Monomial, int], addend: Linear) -> None:
    for monomial, factor in addend.terms:
        terms[monomial] = terms.get(monomial, 0) + factor
    if addend.const:
        terms[()] = terms.get((), 0) + addend.const
