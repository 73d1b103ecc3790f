"""Fragments whose inverse is known in closed form, also where registers of some threads are empty.

A fragment says which thread and register hold an element. Loops ask the other way round, and that a
table can answer only where it has no holes (`layout/holding.py`). The fragments that are made here,
by `layout/blocked.py` and `layout/grid.py`, know the answer.
"""

from __future__ import annotations

from tilelang.ir.expr import Expr
from tilelang.layout.fragment import Fragment


class DealtFragment(Fragment):
    """Elements dealt out by a rule; registers come in groups of `vector` neighbours.

    The methods are about register `group * vector + place` of `thread`.
    """

    vector: int

    def element(self, thread: Expr, group: Expr, place: Expr) -> list[Expr]:
        """Index of the element there; meaningful where `active`."""
        raise NotImplementedError

    def active(self, thread: Expr, group: Expr, place: Expr) -> Expr | None:
        """Condition: the register holds an element; `None`: it always does."""
        raise NotImplementedError

    def first(self, thread: Expr) -> Expr | None:
        """Condition: no earlier thread holds the same elements; `None`: nobody else does."""
        raise NotImplementedError
