"""The analyzer: what is known at one place of a program, and what follows from it.

Passes make one, tell it the ranges of loop variables, the values of names and the conditions that
hold (in scopes that mirror the program's), and ask it to simplify, bound and prove. It holds the
state that the other modules of this folder work on; the work itself is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tilelang.arith import bounds, canonical, congruence, learn, logic, prove, simplifier
from tilelang.arith.interval import Interval
from tilelang.arith.knowledge import Congruence, Knowledge
from tilelang.arith.linear import Linear, add, number, scale, shift
from tilelang.arith.terms import Atom, Terms, Unrepresentable
from tilelang.env import env
from tilelang.ir.expr import (
    EQ,
    And,
    Comparison,
    Expr,
    FloorDiv,
    FloorMod,
    IntImm,
    Let,
    Or,
    Var,
    as_expr,
    equal,
)


class Analyzer:
    """Simplifies, bounds and proves under facts.

    Signed integer arithmetic does not overflow by contract, and a divisor is not zero. Answers hold
    for every value of the variables that the facts allow; `can_prove` and `bounds` may fail to find
    what holds, never claim what does not.
    """

    def __init__(self) -> None:
        self.terms = Terms()
        self.knowledge = Knowledge()
        self.digits: set[int] = set()  # atoms that are quotients or remainders by constants
        self._upper_digits: dict[int, dict[int, int]] = {}  # quotient q -> {d: atom of q % d}
        self.traces_rules: bool = env.TILELANG_TRACE_RULES

    # -- telling -----------------------------------------------------------------------------------

    def bind(self, var: Var, lo: int | None, hi: int | None) -> None:
        """`lo <= var <= hi`; `None` leaves an end open."""
        self.knowledge.narrow(learn.told(self, var), Interval(lo, hi))

    def bind_range(self, var: Var, start: Any, extent: Any) -> None:
        """`start <= var < start + extent`, and so `extent >= 1`: `var` has a value here."""
        learn.range_of_var(self, var, as_expr(start), as_expr(extent))

    def bind_value(self, var: Var, value: Any) -> None:
        """`var == value`. `simplify` puts constants in its place and keeps the name otherwise."""
        learn.value_of_var(self, var, as_expr(value))

    def assume(self, condition: Any) -> None:
        """`condition` holds for the rest of the scope. Conditions that read memory say nothing."""
        learn.condition(self, as_expr(condition))

    @contextmanager
    def scope(self) -> Iterator[Analyzer]:
        """What is told inside is forgotten afterwards."""
        with self.knowledge.scope():
            yield self

    @contextmanager
    def constraint(self, condition: Any, holds: bool = True) -> Iterator[Analyzer]:
        """A scope in which `condition` holds (or does not)."""
        with self.knowledge.scope():
            learn.condition(self, as_expr(condition), holds)
            yield self

    # -- asking ------------------------------------------------------------------------------------

    def simplify(self, expr: Any) -> Expr:
        """An equal expression in simplest form; the same object when it is that already.

        Calls with effects stay as often and in the order they are.
        """
        value = as_expr(expr)
        try:
            return self.simplify_inner(value)
        except Unrepresentable:
            return simplifier.structural(self, value)
        except RecursionError:  # nested deeper than Python's stack; it is correct as it is
            return value

    def bounds(self, expr: Any) -> Interval:
        """Smallest and largest value, `None` where unknown; of any lane, for a vector."""
        try:
            return bounds.of_expr(self, as_expr(expr))
        except (Unrepresentable, RecursionError):
            return bounds.EVERYTHING

    def modular(self, expr: Any) -> Congruence:
        """`(c, r)` such that the scalar integer `expr` is `c*k + r` for some integer k.

        c is 0 for a constant and 1 where nothing is known.
        """
        value = as_expr(expr)
        if value.dtype not in canonical.INTEGERS:
            return congruence.ANY
        try:
            return self.congruence_of(self.linear(value))
        except (Unrepresentable, RecursionError):
            return congruence.ANY

    def can_prove(self, condition: Any) -> bool:
        """Whether the scalar `condition` is found to hold always."""
        try:
            made = self.simplify_inner(as_expr(condition))
            return self._proves(made)
        except (Unrepresentable, RecursionError):
            return False

    def can_prove_equal(self, a: Any, b: Any) -> bool:
        """Whether two scalars are found to be equal always."""
        x, y = as_expr(a), as_expr(b)
        if x.dtype.is_float or y.dtype.is_float:
            return False  # NaN equals nothing
        return self.can_prove(equal(x, y))

    def _proves(self, condition: Any) -> bool:
        if isinstance(condition, IntImm):
            return bool(condition.value)
        if isinstance(condition, And):
            return self._proves(condition.a) and self._proves(condition.b)
        if isinstance(condition, Or):
            if self._proves(condition.a) or self._proves(condition.b):
                return True
            with self.constraint(condition.a, holds=False):
                return self._proves(self.simplify_inner(condition.b))
        if not isinstance(condition, Comparison) or condition.a.dtype not in canonical.INTEGERS:
            return False
        x, kind = canonical.difference(self, condition.a, condition.b), type(condition)
        if kind in logic.ORDERS:
            return self.is_nonpositive(shift(logic.strict(kind, x), 1), prove.THOROUGH)
        above, below = x, scale(x, -1)
        if kind is EQ:
            return all(self.is_nonpositive(s, prove.THOROUGH) for s in (above, below))
        return any(self.is_nonpositive(shift(s, 1), prove.THOROUGH) for s in (above, below))

    # -- for the modules of this folder ------------------------------------------------------------

    def simplify_inner(self, expr: Expr) -> Expr:
        """`simplify`, but raises `Unrepresentable`."""
        return simplifier.simplify_inner(self, expr)

    def map_children(self, expr: Expr) -> Expr:
        return simplifier.map_children(self, expr)

    def simplify_let(self, expr: Let) -> Expr:
        return simplifier.let(self, expr)

    def apply_rules(self, expr: Expr) -> Expr | None:
        return simplifier.apply_rules(self, expr)

    def linear(self, expr: Expr) -> Linear:
        """The linear form of a scalar integer."""
        memo = self.knowledge.memo.linear
        hit = memo.get(id(expr))
        if hit is not None:
            return hit[1]
        made = canonical.convert(self, expr)
        self.knowledge.memo.linear[id(expr)] = (expr, made)
        return made

    def variable(self, var: Var) -> Linear:
        """The linear form of a variable: a number where its value is known."""
        return self.fixed(self.terms.var(var))

    def fixed(self, linear: Linear) -> Linear:
        """`linear`, which is an atom or not; a number where the atom has only one value."""
        index = linear.single()
        if index is None:
            return linear
        values = bounds.of_atom(self, index)
        return number(values.lo) if values.is_point and values.lo is not None else linear

    def is_nonpositive(self, x: Linear, effort: int = prove.QUICK) -> bool:
        return prove.is_nonpositive(self, x, effort)

    def are_equal(self, a: Linear, b: Linear) -> bool:
        """Whether two sums are found to be equal."""
        x = add(a, b, -1)
        return self.is_nonpositive(x) and self.is_nonpositive(scale(x, -1))

    def congruence_of(self, linear: Linear) -> Congruence:
        return congruence.of_linear(self, linear)

    def cast_is_exact(self, atom: Atom) -> bool:
        """Whether the conversion `atom` changes no value."""
        return bounds.interval.holds(atom.expr.dtype, bounds.of_linear(self, atom.args[0]))

    def note_digit(self, linear: Linear) -> None:
        """Remember the atom of a quotient or remainder by a constant, for recombination."""
        index = linear.single()
        if index is None or index in self.digits:
            return
        atom = self.terms.atoms[index]
        if atom.kind not in (FloorDiv, FloorMod) or atom.args[1].const <= 0:
            return
        self.digits.add(index)
        below = atom.args[0].single()
        if atom.kind is FloorMod and below in self.digits and below is not None:
            self._upper_digits.setdefault(below, {})[atom.args[1].const] = index

    def upper_digits(self, quotient: int) -> list[tuple[int, int]]:
        """`(d, number of the atom quotient % d)` for those that have been seen."""
        return list(self._upper_digits.get(quotient, {}).items())


def simplify(expr: Any, ranges: dict[Var, tuple[Any, Any]] | None = None) -> Expr:
    """`expr` in simplest form, for variables with a `(start, extent)` each."""
    analyzer = Analyzer()
    for var, (start, extent) in (ranges or {}).items():
        analyzer.bind_range(var, start, extent)
    return analyzer.simplify(expr)
