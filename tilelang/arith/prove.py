"""Is this sum never positive? The one question that every proof of an order comes down to.

First constant bounds; then a small search that replaces one atom after another by something larger:
a variable by the end of its range, a quotient by what it was divided from, a minimum by an operand,
and that adds known inequalities. Each step only enlarges the sum (or multiplies it by a positive
number), so a sum that ends up at or below zero was so from the start. The search is bounded: a
"no" means "not found".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tilelang.arith import bounds
from tilelang.arith.linear import (
    Linear,
    Monomial,
    add,
    number,
    scale,
    shift,
    times_monomial,
    without,
)
from tilelang.arith.terms import Atom
from tilelang.ir.expr import Call, FloorDiv, FloorMod, Max, Min, Select

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer

QUICK = 24  # steps of the search while simplifying
THOROUGH = 200  # steps when asked for a proof
_MAX_DEPTH = 12


def is_nonpositive(an: Analyzer, x: Linear, effort: int = QUICK) -> bool:
    """Whether `x <= 0` is found to hold."""
    if not x.terms:
        return x.const <= 0
    values = bounds.of_linear(an, x)
    if values.hi is not None and values.hi <= 0:
        return True
    if values.lo is not None and values.lo > 0:
        return False
    memo = an.knowledge.memo.proofs
    known = memo.get(x)
    if known is None or (not known and effort > QUICK):
        known = memo[x] = _Search(an, effort).prove(x, _MAX_DEPTH)
    return known


class _Search:
    def __init__(self, an: Analyzer, effort: int) -> None:
        self.an = an
        self.steps_left = effort
        self.is_thorough = effort > QUICK
        self.found: dict[Linear, bool] = {}  # False while a proof is under way

    def prove(self, x: Linear, depth: int) -> bool:
        """Whether `x <= 0`."""
        hi = bounds.of_linear(self.an, x).hi
        if hi is not None and hi <= 0:
            return True
        known = self.found.get(x)
        if known is not None or depth == 0 or self.steps_left <= 0 or not x.terms:
            return known or False
        self.steps_left -= 1
        self.found[x] = False
        self.found[x] = made = self._enlarge(x, depth)
        return made

    def _enlarge(self, x: Linear, depth: int) -> bool:
        """Whether `x <= 0` follows from the same of something larger."""
        if any(self.prove(larger, depth - 1) for larger in self._by_facts(x)):
            return True
        steps = list(self._steps(x))
        for step in steps:  # variables go first: what stands in their place may cancel the rest
            ends = list(step.ends())
            if any(self.prove(larger, depth - 1) for larger in ends):
                return True
            if ends and not self.is_thorough:
                return False
        for step in steps:
            operands, cases = list(step.operands()), step.cases()
            if any(self.prove(larger, depth - 1) for larger in operands):
                return True
            if cases and all(self.prove(case, depth - 1) for case in cases):
                return True
            if (operands or cases) and not self.is_thorough:
                return False
        return False

    def _steps(self, x: Linear) -> Iterator[_Step]:
        """Each atom of each term of `x`, the latest first, where the other factors have a sign."""
        for monomial, factor in reversed(x.terms):
            for index in reversed(monomial):
                sign = self._sign(without(monomial, index)) * factor
                if sign:
                    yield _Step(self.an, x, monomial, factor, index, grows=sign > 0)

    def _by_facts(self, x: Linear) -> Iterator[Linear]:
        """`x` with a known inequality taken off, so that one of their common terms vanishes."""
        terms = dict(x.terms)
        for fact in self.an.knowledge.inequalities:
            for monomial, factor in fact.terms:
                ours = terms.get(monomial, 0)
                if ours * factor > 0:
                    yield add(scale(x, abs(factor)), fact, -abs(ours))
                    break

    def _sign(self, rest: Monomial) -> int:
        """Sign of the other factors of a monomial; 0 where unknown."""
        if not rest:
            return 1
        values = bounds.of_monomial(self.an, rest)
        if values.is_nonneg:
            return 1
        return -1 if values.hi is not None and values.hi <= 0 else 0


class _Step:
    """Ways to enlarge `x` by replacing the atom `index` in its term `factor * monomial`.

    `grows` says whether the term grows with the atom, so that an upper bound of it is wanted.
    """

    def __init__(
        self, an: Analyzer, x: Linear, monomial: Monomial, factor: int, index: int, grows: bool
    ) -> None:
        self.an = an
        self.index = index
        self.atom: Atom = an.terms.atoms[index]
        self.grows = grows
        self.factor = factor
        self.rest = without(monomial, index)
        self.others = add(x, Linear(((monomial, factor),), 0), -1)

    def with_atom(self, value: Linear) -> Linear:
        """`x` with `value` in the atom's place."""
        return add(self.others, times_monomial(value, self.rest, self.factor))

    def ends(self) -> Iterator[Linear]:
        """Larger sums, with an end of its known range in the atom's place; one is enough."""
        knowledge = self.an.knowledge
        for bound in (knowledge.upper if self.grows else knowledge.lower).get(self.index, ()):
            yield self.with_atom(bound)

    def operands(self) -> Iterator[Linear]:
        """Larger sums, from what the atom is made of; one at or below zero is enough."""
        kind = self.atom.kind
        if kind is FloorDiv:
            yield from self._from_quotient()
        elif kind is FloorMod:
            yield from self._from_remainder()
        elif kind is (Min if self.grows else Max):
            for operand in self.atom.args:
                yield self.with_atom(operand)
        if self.rest:
            values = bounds.of_atom(self.an, self.index)
            end = values.hi if self.grows else values.lo
            if end is not None:
                yield self.with_atom(number(end))

    def cases(self) -> list[Linear]:
        """Sums, one of which is `x`."""
        kind = self.atom.kind
        is_choice = kind is Select or (kind is Call and len(self.atom.args) == 2)
        if is_choice or kind in (Min, Max):
            return [self.with_atom(operand) for operand in self.atom.args]
        return []

    def _from_quotient(self) -> Iterator[Linear]:
        """With q = a // b and b > 0: `a - b + 1 <= q*b <= a`."""
        a, b = self.atom.args
        end = a if self.grows else shift(add(a, b, -1), 1)
        if b.is_const:
            if b.const > 0:
                yield add(scale(self.others, b.const), times_monomial(end, self.rest, self.factor))
            return
        divisor = b.single()
        if divisor is None or divisor not in self.rest:
            return
        if bounds.of_linear(self.an, b).is_positive:
            rest = without(self.rest, divisor)
            if self._is_nonneg(rest):
                yield add(self.others, times_monomial(end, rest, self.factor))

    def _is_nonneg(self, rest: Monomial) -> bool:
        return not rest or bounds.of_monomial(self.an, rest).is_nonneg

    def _from_remainder(self) -> Iterator[Linear]:
        """With b > 0: `0 <= a % b <= b - 1`, and `a % b <= a` for a >= 0."""
        a, b = self.atom.args
        if not bounds.of_linear(self.an, b).is_positive:
            return
        if not self.grows:
            yield self.with_atom(number(0))
            return
        if not b.is_const:
            yield self.with_atom(shift(b, -1))
        if bounds.of_linear(self.an, a).is_nonneg:
            yield self.with_atom(a)
