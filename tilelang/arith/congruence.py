"""Divisibility: for each linear form and atom, a coefficient and a remainder.

`Congruence(c, r)` says that a value is `c*k + r`. The lattice runs from constants (c = 0) to "any
integer" (c = 1); every function below returns something that holds for all values.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from tilelang.arith.knowledge import Congruence
from tilelang.arith.linear import Linear, Monomial
from tilelang.arith.terms import Atom
from tilelang.ir.expr import (
    BitAnd,
    BitNot,
    Call,
    Cast,
    FloorDiv,
    FloorMod,
    Max,
    Min,
    Mul,
    Select,
    ShiftLeft,
    TruncMod,
)

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer

ANY = Congruence(1, 0)


def make(coefficient: int, remainder: int) -> Congruence:
    """With the remainder reduced."""
    coefficient = abs(coefficient)
    return Congruence(coefficient, remainder % coefficient if coefficient else remainder)


def join(a: Congruence, b: Congruence) -> Congruence:
    """What holds for a value that is one or the other."""
    return make(gcd(a.coefficient, b.coefficient, a.remainder - b.remainder), a.remainder)


def meet(a: Congruence, b: Congruence) -> Congruence:
    """What holds for a value that is both; one of them where the two cannot be merged."""
    if a.coefficient == 0 or b.coefficient == 0:
        return a if a.coefficient == 0 else b
    if a.coefficient % b.coefficient == 0:
        return a
    if b.coefficient % a.coefficient == 0:
        return b
    step = a.coefficient * b.coefficient // gcd(a.coefficient, b.coefficient)
    if step <= 1 << 16:
        for value in range(a.remainder, step, a.coefficient):
            if value % b.coefficient == b.remainder:
                return Congruence(step, value)
    return max(a, b)


def product(a: Congruence, b: Congruence) -> Congruence:
    (c, r), (d, s) = a, b
    return make(gcd(c * d, c * s, d * r), r * s)


def of_linear(an: Analyzer, linear: Linear) -> Congruence:
    """Of a sum."""
    step, rest = 0, linear.const
    for monomial, factor in linear.terms:
        c, r = of_monomial(an, monomial)
        step = gcd(step, c * factor)
        rest += r * factor
        if step == 1:
            return ANY
    return make(step, rest)


def of_monomial(an: Analyzer, monomial: Monomial) -> Congruence:
    """Of a product of atoms."""
    made = of_atom(an, monomial[0])
    for index in monomial[1:]:
        made = product(made, of_atom(an, index))
    return made


def of_atom(an: Analyzer, index: int) -> Congruence:
    memo = an.knowledge.memo.congruences
    found = memo.get(index)
    if found is None:
        found = _derive(an, an.terms.atoms[index])
        known = an.knowledge.congruences.get(index)
        if known is not None:
            found = meet(found, known)
        memo[index] = found
    return found


def _derive(an: Analyzer, atom: Atom) -> Congruence:
    args = atom.args
    if not args or atom.expr.dtype.kind == "uint":  # unsigned arithmetic may have wrapped
        return ANY
    kind = atom.kind
    if kind in (FloorDiv, FloorMod, TruncMod, BitAnd, ShiftLeft) and args[1].is_const:
        return _by_constant(kind, of_linear(an, args[0]), args[1].const)
    if kind is Mul:
        return product(of_linear(an, args[0]), of_linear(an, args[1]))
    is_guarded = isinstance(atom.expr, Call) and atom.expr.op == "if_then_else"
    if kind in (Min, Max, Select) or is_guarded:
        made = of_linear(an, args[0])
        for other in args[1:]:
            made = join(made, of_linear(an, other))
        return made
    if kind is BitNot:
        c, r = of_linear(an, args[0])
        return make(c, -1 - r)
    if kind is Cast and an.cast_is_exact(atom):
        return of_linear(an, args[0])
    return ANY


def _by_constant(kind: type, x: Congruence, c: int) -> Congruence:
    """Of `x // c`, `x % c`, `x & c` or `x << c`."""
    step, rest = x
    if kind is ShiftLeft:
        return make(step << c, rest << c) if 0 <= c < 128 else ANY
    if kind is BitAnd:
        return make(c & -c, 0) if c else Congruence(0, 0)
    if c == 0:
        return ANY
    if kind is FloorDiv:
        return make(step // c, rest // c) if step % c == 0 else ANY
    return make(gcd(step, c), rest)  # a remainder differs from x by a multiple of c
