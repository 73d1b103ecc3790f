"""Sums of products: the form in which `arith` compares and adds integer expressions.

    Linear(terms, const)    terms = ((monomial, coefficient), ...), sorted, no zero coefficient
    monomial = (i, j, ...)  atoms by their number in `terms.Terms`, sorted

Two expressions with equal `Linear` have equal values. Atoms are numbered in order of first
sight, so sorting gives the order of first occurrence. Pure arithmetic; knows no expressions.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple, TypeAlias

Monomial: TypeAlias = "tuple[int, ...]"
MAX_PRODUCT_TERMS = 64  # longer products stay products


class Linear(NamedTuple):
    """`sum(coefficient * product of atoms) + const`."""

    terms: tuple[tuple[Monomial, int], ...]
    const: int

    @property
    def is_const(self) -> bool:
        return not self.terms

    @property
    def length(self) -> int:
        """Number of summands."""
        return len(self.terms) + (self.const != 0)

    def coefficient_gcd(self, start: int = 0) -> int:
        """Greatest common divisor of the coefficients (without the constant) and `start`."""
        for _, coefficient in self.terms:
            start = gcd(start, coefficient)
        return start

    def single(self) -> int | None:
        """The atom, when this is one atom and nothing else."""
        if self.const == 0 and len(self.terms) == 1:
            monomial, coefficient = self.terms[0]
            if coefficient == 1 and len(monomial) == 1:
                return monomial[0]
        return None


ZERO = Linear((), 0)


def number(value: int) -> Linear:
    """A constant."""
    return Linear((), value)


def freeze(terms: dict[Monomial, int], const: int) -> Linear:
    """The sum collected in `terms` and `const`."""
    kept = [item for item in terms.items() if item[1]]
    kept.sort()
    return Linear(tuple(kept), const)


def add(a: Linear, b: Linear, factor: int = 1) -> Linear:
    """`a + factor * b`."""
    if not b.terms:
        return Linear(a.terms, a.const + factor * b.const)
    terms = dict(a.terms)
    for monomial, coefficient in b.terms:
        terms[monomial] = terms.get(monomial, 0) + factor * coefficient
    return freeze(terms, a.const + factor * b.const)


def shift(a: Linear, value: int) -> Linear:
    """`a + value`."""
    return Linear(a.terms, a.const + value) if value else a


def scale(a: Linear, factor: int) -> Linear:
    """`a * factor`."""
    if factor == 1:
        return a
    if factor == 0:
        return ZERO
    return Linear(tuple([(m, c * factor) for m, c in a.terms]), a.const * factor)


def divide_exactly(a: Linear, divisor: int) -> Linear:
    """`a / divisor`, which must divide every coefficient and the constant."""
    return Linear(tuple([(m, c // divisor) for m, c in a.terms]), a.const // divisor)


def multiply(a: Linear, b: Linear) -> Linear:
    """`a * b`, multiplied out."""
    if not a.terms:
        return scale(b, a.const)
    if not b.terms:
        return scale(a, b.const)
    terms: dict[Monomial, int] = {}
    left = (*a.terms, ((), a.const)) if a.const else a.terms
    right = (*b.terms, ((), b.const)) if b.const else b.terms
    for m, c in left:
        for n, d in right:
            key = tuple(sorted(m + n)) if m and n else m or n
            terms[key] = terms.get(key, 0) + c * d
    const = terms.pop((), 0)
    return freeze(terms, const)


def times_monomial(a: Linear, monomial: Monomial, factor: int) -> Linear:
    """`a * factor * monomial`."""
    if not monomial:
        return scale(a, factor)
    return multiply(a, Linear(((monomial, factor),), 0))


def without(monomial: Monomial, atom: int) -> Monomial:
    """`monomial / atom`."""
    at = monomial.index(atom)
    return monomial[:at] + monomial[at + 1 :]


def quotient(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    """`monomial / divisor`, or `None` where it does not divide."""
    for atom in divisor:
        if atom not in monomial:
            return None
        monomial = without(monomial, atom)
    return monomial
