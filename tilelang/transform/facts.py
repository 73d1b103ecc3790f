"""What is known at one place of a program, in nested scopes: the `Prover` that operators ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tilelang.ir.expr import Expr, IntImm, Var


class Facts:
    """Ranges of loop variables, values of names, conditions that hold."""

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is added inside is forgotten afterwards."""
        yield

    def add_range(self, var: Var, start: Expr, extent: Expr) -> None:
        """`start <= var < start + extent`."""

    def add_value(self, var: Var, value: Expr) -> None:
        """`var == value`."""

    def add_condition(self, condition: Expr, holds: bool) -> None:
        """`condition` is true (or false) here."""

    def can_prove(self, condition: Expr) -> bool:
        """Whether `condition` follows."""
        return isinstance(condition, IntImm) and bool(condition.value)

    def simplify(self, value: Expr) -> Expr:
        """An equal, simpler expression."""
        return value
