"""Rewrite rules: a row `rule(pattern, replacement, when)`, and tables of rows.

`when` is a function whose parameters are named like pattern variables: it gets a number for a
constant, the `Interval` of an integer, the expression otherwise. A rule knows the file and line
where it stands. `rules` holds the tables, `simplifier` applies them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from tilelang.arith.interval import Interval
from tilelang.arith.pattern import Bindings, Form, Literal, Pattern
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, FloatImm, IntImm, constant

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer


class Rule:
    """`pattern -> replacement` where `when` holds.

    Attributes:
        needs: names of the pattern variables that `when` asks about.
        where: file and line of the row.
    """

    def __init__(
        self, pattern: Form, replacement: Pattern, when: Callable[..., bool] | None, where: str
    ) -> None:
        self.pattern = pattern
        self.replacement = replacement
        self.when = when
        self.needs: tuple[str, ...] = tuple(signature(when).parameters) if when else ()
        self.where = where
        self._variants = pattern.variants()

    def __repr__(self) -> str:
        return f"{self.pattern} -> {self.replacement}"

    def apply(self, an: Analyzer, expr: Expr) -> Expr | None:
        """What `expr` becomes, or `None`."""
        for variant in self._variants:
            found: Bindings = {}
            if variant.match(expr, found) and self._holds(an, found):
                made = self.replacement.make(found)
                return made if isinstance(made, Expr) else constant(made, expr.dtype)
        return None

    def _holds(self, an: Analyzer, found: Bindings) -> bool:
        return self.when is None or self.when(*[_fact(an, found[name]) for name in self.needs])


def _fact(an: Analyzer, value: Expr) -> int | float | Interval | Expr:
    if isinstance(value, (IntImm, FloatImm)):
        return value.value
    return an.bounds(value) if value.dtype.is_int else value


class Table:
    """Rules, found by the class of the expression and of its first operands.

    `domain` says for which operands the rows hold: "int", "float", "bool" or "any".
    """

    def __init__(self, domain: str, *rules: Rule) -> None:
        self.domain = domain
        self.rules = rules

    def for_class(self, kind: type) -> list[Rule]:
        """The rows whose pattern is a `kind`."""
        return [rule for rule in self.rules if rule.pattern.kind is kind]

    def covers(self, kind: dtype) -> bool:
        """Whether the rows speak of operands of type `kind`."""
        if self.domain == "any":
            return True
        return {"int": kind.is_int, "float": kind.is_float, "bool": kind.is_bool}[self.domain]


def rule(
    pattern: Pattern, replacement: Pattern | int | float, when: Callable[..., bool] | None = None
) -> Rule:
    """One row."""
    frame = sys._getframe(1)
    where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    made = replacement if isinstance(replacement, Pattern) else Literal(replacement)
    assert isinstance(pattern, Form), "a rule is found by the class of its pattern"
    return Rule(pattern, made, when, where)
