"""What is known at one place of a program, in nested scopes: the `Prover` that operators ask.

The passes' view of `arith.Analyzer`; walkers add what they pass, operators ask.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from tilelang.arith.analyzer import Analyzer
from tilelang.arith.interval import Interval
from tilelang.ir.expr import Expr, Var, logical_not


class Facts:
    """Ranges of loop variables, values of names, conditions that hold."""

    def __init__(self) -> None:
        self.analyzer = Analyzer()

    @contextmanager
    def scope(self) -> Generator[None, None, None]:
        """What is added inside is forgotten afterwards."""
        with self.analyzer.scope():
            yield

    def add_range(self, var: Var, start: Expr, extent: Expr) -> None:
        """`start <= var < start + extent`."""
        self.analyzer.bind_range(var, start, extent)

    def add_value(self, var: Var, value: Expr) -> None:
        """`var == value`."""
        if var.dtype.is_int and var.dtype.lanes == 1:
            self.analyzer.bind_value(var, value)

    def add_condition(self, condition: Expr, holds: bool) -> None:
        """`condition` is true (or false) here."""
        self.analyzer.assume(condition if holds else logical_not(condition))

    def can_prove(self, condition: Expr) -> bool:
        """Whether `condition` follows."""
        return self.analyzer.can_prove(condition)

    def simplify(self, value: Expr) -> Expr:
        """An equal, simpler expression."""
        return self.analyzer.simplify(value)

    def bounds(self, value: Expr) -> Interval:
        """The values that `value` may take."""
        return self.analyzer.bounds(value)
