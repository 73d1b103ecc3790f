"""The atoms of linear forms: what they are, and how a linear form becomes an expression again.

An atom is what a sum of products is made of and cannot be looked into by adding: a variable, a
quotient or remainder, a minimum, a load, a call. `Terms` gives equal atoms one number, in order of
first sight, and builds each linear form once, so that within one analyzer equal integers of one
type are the same object. Knows no facts: an atom means the same in every scope.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from tilelang.arith.linear import Linear, Monomial
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    Add,
    BufferLoad,
    Call,
    Cast,
    Expr,
    FloatImm,
    IntImm,
    Let,
    Mul,
    Sub,
    Var,
)
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.record import record


class Unrepresentable(Exception):
    """The wanted form cannot be written: a constant left its type, or a call has effects.

    Never leaves this folder: the simplifier then keeps the shape of the expression it was given.
    """


@record
class Atom:
    """One atom.

    Attributes:
        expr: the expression, its parts simplified.
        kind: class of the expression.
        args: linear forms of the integer operands that bounds are computed from.
        is_cheap: made of variables and arithmetic alone, so it may be written twice.
        unit: the linear form that is just this atom.
        rank: of a compound atom, the highest rank of a variable in it (see `Terms.rank`).
    """

    index: int
    expr: Expr
    kind: type
    args: tuple[Linear, ...]
    is_cheap: bool
    unit: Linear
    rank: int


class Terms:
    """Atoms by number, and the expressions built from them."""

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self._index: dict[Hashable, int] = {}
        self._vars: dict[Var, Linear] = {}
        self._ranks: dict[int, int] = {}
        self._built: dict[tuple[Linear, dtype], Expr] = {}

    def var(self, var: Var) -> Linear:
        """The variable as a linear form."""
        found = self._vars.get(var)
        if found is None:
            found = self._vars[var] = self._new(var, Var, (), True).unit
        return found

    def atom(
        self, kind: type, key: Hashable, args: tuple[Linear, ...], make: Callable[[], Expr]
    ) -> Linear:
        """The atom of class `kind` with identity `key` over `args`, made when first seen."""
        identity = (kind, key, args)
        index = self._index.get(identity)
        if index is None:
            is_cheap = kind not in (BufferLoad, Call) and all(map(self.is_cheap, args))
            index = self._index[identity] = self._new(make(), kind, args, is_cheap).index
        return self.atoms[index].unit

    def find(self, kind: type, key: Hashable, args: tuple[Linear, ...]) -> int | None:
        """The number of an atom, if it has been seen."""
        return self._index.get((kind, key, args))

    def _new(self, expr: Expr, kind: type, args: tuple[Linear, ...], is_cheap: bool) -> Atom:
        index = len(self.atoms)
        rank = max([self.rank_of(m) for x in args for m, _ in x.terms], default=-1)
        atom = Atom(index, expr, kind, args, is_cheap, Linear((((index,), 1),), 0), rank)
        self.atoms.append(atom)
        return atom

    def is_cheap(self, linear: Linear) -> bool:
        """Whether every atom of `linear` may be written twice."""
        return all(self.atoms[i].is_cheap for monomial, _ in linear.terms for i in monomial)

    def rank(self, index: int) -> None:
        """Rank the variable `index` after those ranked before: sums are written in this order."""
        self._ranks.setdefault(index, len(self._ranks))

    def rank_of(self, monomial: Monomial) -> int:
        """The highest rank of a variable in a product; -1 where none has one."""
        ranks, atoms = self._ranks, self.atoms
        return max([ranks.get(i, atoms[i].rank) for i in monomial])

    # -- back to expressions -----------------------------------------------------------------------

    def build(self, linear: Linear, kind: dtype) -> Expr:
        """The expression of `linear`, computed in type `kind`.

        Raises:
            Unrepresentable: when a coefficient or the constant does not fit `kind`.
        """
        key = (linear, kind)
        found = self._built.get(key)
        if found is None:
            found = self._built[key] = self._build(linear, kind)
        return found

    def _build(self, linear: Linear, kind: dtype) -> Expr:
        terms = sorted(linear.terms, key=lambda term: self.rank_of(term[0]))
        positive = [t for t in terms if t[1] > 0]
        negative = [t for t in terms if t[1] < 0]
        const = linear.const
        if positive:
            made = self._term(positive[0], kind)
        elif const > 0 or not negative:
            made, const = _literal(const, kind), 0
        else:
            made = _literal(0, kind)
        for term in positive[1:]:
            made = Add(made, self._term(term, kind))
        for monomial, coefficient in negative:
            made = Sub(made, self._term((monomial, -coefficient), kind))
        if const > 0:
            return Add(made, _literal(const, kind))
        return Sub(made, _literal(-const, kind)) if const < 0 else made

    def _term(self, term: tuple[Monomial, int], kind: dtype) -> Expr:
        monomial, coefficient = term
        # The latest variable comes first: `i * n` rather than `n * i`.
        first, *others = sorted(monomial, key=lambda i: -self.rank_of((i,)))
        made = self._typed(first, kind)
        for index in others:
            made = Mul(made, self._typed(index, kind))
        return made if coefficient == 1 else Mul(made, _literal(coefficient, kind))

    def _typed(self, index: int, kind: dtype) -> Expr:
        expr = self.atoms[index].expr
        return expr if expr.dtype == kind else Cast(expr, kind)


def _literal(value: int, kind: dtype) -> IntImm:
    if not kind.min_value() <= value <= kind.max_value():
        raise Unrepresentable(f"{value} does not fit {kind}")
    return IntImm(value, kind)


def key_of(value: Any) -> Hashable:
    """What equal expressions share; two reads of state (`clock()`) never share it.

    Valid while the expressions live: variables, buffers and such reads stand for themselves.
    """
    if isinstance(value, (IntImm, FloatImm)):
        exact = value.value if isinstance(value, IntImm) else float(value.value).hex()
        return (type(value), value.dtype, exact)
    if isinstance(value, (Var, Let)):
        return value  # hashed by identity; a `Let` is rare enough to equal only itself
    if isinstance(value, Call) and effect_of(value.op) is not Effect.PURE:
        return value
    if isinstance(value, Expr):
        return (type(value), value.dtype, *[key_of(getattr(value, f)) for f in value.fields])
    return tuple(map(key_of, value)) if isinstance(value, tuple) else (type(value), value)


def same(a: Expr, b: Expr) -> bool:
    """Whether two simplified expressions are certainly equal in value."""
    if a is b:
        return True
    if type(a) is not type(b) or a.dtype != b.dtype:
        return False
    x, y = key_of(a), key_of(b)
    return hash(x) == hash(y) and x == y  # `==` of variables is slow, so hashes first
