"""Floor division and remainder of linear forms.

Everything here is `(a*c + b) // c -> a + b // c` in some form: parts of a sum that the divisor
divides leave the division, common factors are cancelled, parts too small to carry are dropped.
What remains becomes one atom, whose constant part lies in `0 .. divisor - 1`.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Any

from tilelang.arith import bounds
from tilelang.arith.interval import Interval
from tilelang.arith.linear import (
    ZERO,
    Linear,
    Monomial,
    add,
    divide_exactly,
    number,
    quotient,
    scale,
    shift,
)
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import FloorDiv, FloorMod

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer


def divide(an: Analyzer, x: Linear, y: Linear, typ: dtype) -> Linear:
    """`x // y`."""
    if y.is_const and y.const:
        c = y.const
        return floordiv(an, x, c, typ) if c > 0 else floordiv(an, scale(x, -1), -c, typ)
    whole, rest = _split_by(x, y)
    if whole is None:
        return _atom(an, FloorDiv, x, y, typ)
    if rest == ZERO or _is_digit(an, rest, y):
        return whole
    return add(whole, _atom(an, FloorDiv, rest, y, typ))


def remainder(an: Analyzer, x: Linear, y: Linear, typ: dtype) -> Linear:
    """`x % y`."""
    if y.is_const and y.const > 0:
        return floormod(an, x, y.const, typ)
    _, rest = _split_by(x, y)
    if rest == ZERO or _is_digit(an, rest, y):
        return rest
    return _atom(an, FloorMod, rest, y, typ)


def _split_by(x: Linear, y: Linear) -> tuple[Linear | None, Linear]:
    """`x` as `whole * y + rest`; `whole` is `None` where nothing of `x` is divisible by `y`."""
    if x == y:
        return number(1), ZERO
    if len(y.terms) != 1 or y.const:
        return None, x
    divisor, factor = y.terms[0]
    whole: list[tuple[Monomial, int]] = []
    rest: list[tuple[Monomial, int]] = []
    const = 0
    for monomial, coefficient in x.terms:
        left = quotient(monomial, divisor)
        if left is None or coefficient % factor:
            rest.append((monomial, coefficient))
        elif left:
            whole.append((left, coefficient // factor))
        else:
            const = coefficient // factor
    if not whole and not const:
        return None, x
    return Linear(tuple(sorted(whole)), const), Linear(tuple(rest), x.const)


def _is_digit(an: Analyzer, x: Linear, y: Linear) -> bool:
    """Whether `0 <= x < y` is provable."""
    return an.is_nonpositive(scale(x, -1)) and an.is_nonpositive(shift(add(x, y, -1), 1))


def floordiv(an: Analyzer, x: Linear, c: int, typ: dtype) -> Linear:
    """`x // c` for a constant `c > 0`."""
    whole: list[tuple[Monomial, int]] = []
    rest: list[tuple[Monomial, int]] = []
    for monomial, coefficient in x.terms:
        if coefficient % c:
            rest.append((monomial, coefficient))
        else:
            whole.append((monomial, coefficient // c))
    outside = Linear(tuple(whole), x.const // c)
    inside = Linear(tuple(rest), x.const % c)
    if not rest:
        return outside
    return add(outside, _quotient(an, inside, c, typ))


def _quotient(an: Analyzer, x: Linear, c: int, typ: dtype) -> Linear:
    """`x // c` where no part of `x` is divisible by `c`."""
    value = _constant_quotient(bounds.of_linear(an, x), c)
    if value is not None:
        return number(value)
    step, upper, _ = _cancel(an, x, c)
    if step > 1:  # (upper*step + lower) // (step*d) -> upper // d   for 0 <= lower < step
        return floordiv(an, upper, c // step, typ)
    if len(x.terms) == 1:
        (monomial, coefficient), *_ = x.terms
        if coefficient == 1 and len(monomial) == 1:
            made = _quotient_of_atom(an, monomial[0], x.const, c)
            if made is not None:
                return made
    return an.fixed(_atom(an, FloorDiv, x, number(c), typ))


def _constant_quotient(values: Interval, c: int) -> int | None:
    if values.lo is None or values.hi is None or values.lo // c != values.hi // c:
        return None
    return values.lo // c


def _cancel(an: Analyzer, x: Linear, c: int) -> tuple[int, Linear, Linear]:
    """The largest `step` dividing `c` with `x == upper*step + lower` and `0 <= lower < step`."""
    for step in sorted({gcd(k, c) for _, k in x.terms}, reverse=True):
        if step == 1:
            break
        rest = tuple([t for t in x.terms if t[1] % step])
        lower = Linear(rest, x.const % step)
        if not rest or bounds.of_linear(an, lower).inside(0, step - 1):
            return step, divide_exactly(add(x, lower, -1), step), lower
    return 1, x, ZERO


def _quotient_of_atom(an: Analyzer, index: int, const: int, c: int) -> Linear | None:
    """The quotient by `c` of a quotient or remainder, plus `const`.

    (x//a + k) // c  ->  (x + k*a) // (a*c)
    x%a // c         ->  x//c % (a//c)          where c divides a
    """
    atom = an.terms.atoms[index]
    if atom.kind not in (FloorDiv, FloorMod) or not atom.args[1].is_const:
        return None
    x, a = atom.args[0], atom.args[1].const
    typ = atom.expr.dtype
    if a <= 0:
        return None
    if atom.kind is FloorDiv:
        return floordiv(an, shift(x, const * a), a * c, typ)
    if const == 0 and a % c == 0:
        return floormod(an, floordiv(an, x, c, typ), a // c, typ)
    return None


def floormod(an: Analyzer, x: Linear, c: int, typ: dtype) -> Linear:
    """`x % c` for a constant `c > 0`."""
    if c == 1:
        return ZERO
    kept: list[tuple[Monomial, int]] = []
    for monomial, coefficient in x.terms:
        small = coefficient % c if coefficient >= 0 else -(-coefficient % c)
        if small:
            kept.append((monomial, small))
    x = _without_remainders(an, Linear(tuple(kept), x.const % c), c)
    if not x.terms:
        return number(x.const % c)
    value = _constant_quotient(bounds.of_linear(an, x), c)
    if value is not None:
        return shift(x, -value * c)
    coefficient, rest = an.congruence_of(x)
    if coefficient % c == 0:
        return number(rest % c)
    step, upper, lower = _cancel(an, x, c)
    if step > 1:  # (upper*step + lower) % (step*d) -> upper % d * step + lower
        return add(scale(floormod(an, upper, c // step, typ), step), lower)
    return an.fixed(_atom(an, FloorMod, x, number(c), typ))


def _without_remainders(an: Analyzer, x: Linear, c: int) -> Linear:
    """`x` with `y % a` replaced by `y` where that changes nothing modulo `c`."""
    for monomial, coefficient in x.terms:
        if len(monomial) == 1:
            atom = an.terms.atoms[monomial[0]]
            is_remainder = atom.kind is FloorMod and atom.args[1].is_const
            if is_remainder and coefficient * atom.args[1].const % c == 0:
                without = add(x, Linear(((monomial, coefficient),), 0), -1)
                made = add(without, atom.args[0], coefficient)
                kept = tuple([t for t in made.terms if t[1] % c])
                return _without_remainders(an, Linear(kept, made.const % c), c)
    return x


def find_quotient(an: Analyzer, x: Linear, c: int, typ: dtype) -> int | None:
    """The number of the atom that is `x // c`, if it is one and has been seen.

    Looks where `floordiv` would have put it: `(y//a) // c` is `y // (a*c)`.
    """
    index = x.single()
    if index is not None:
        atom = an.terms.atoms[index]
        if atom.kind is FloorDiv and atom.args[1].is_const and atom.args[1].const > 0:
            return find_quotient(an, atom.args[0], atom.args[1].const * c, typ)
    return an.terms.find(FloorDiv, typ, (x, number(c)))


def _atom(an: Analyzer, kind: Any, x: Linear, y: Linear, typ: dtype) -> Linear:
    build = an.terms.build
    made = an.terms.atom(kind, typ, (x, y), lambda: kind(build(x, typ), build(y, typ)))
    if y.is_const:
        an.note_digit(made)
    return made
