"""What is known of atoms, in nested scopes.

Filled by `learn` (ranges, values, conditions), read by bounds, divisibility and proofs. All is
undone at the end of its scope through one trail; `memo` holds results that depend on what is known,
and is replaced whenever that grows. Concludes nothing itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tilelang.arith.interval import Interval
from tilelang.arith.linear import Linear

_ABSENT = object()


class Congruence(NamedTuple):
    """`value == coefficient * k + remainder` for some integer k.

    `coefficient` 0 means the constant `remainder`; 1 means nothing is known. Otherwise
    `0 <= remainder < coefficient`.
    """

    coefficient: int
    remainder: int


class Memo:
    """Results that hold as long as the knowledge does not change."""

    __slots__ = ("bounds", "congruences", "linear", "proofs", "simplified")

    def __init__(self) -> None:
        self.simplified: dict[int, tuple[Any, Any]] = {}  # id -> (expression kept alive, result)
        self.linear: dict[int, tuple[Any, Linear]] = {}
        self.bounds: dict[int, Interval] = {}  # by atom
        self.congruences: dict[int, Congruence] = {}  # by atom
        self.proofs: dict[Linear, bool] = {}  # is this sum never positive?


class Knowledge:
    """Facts, each kept until the scope ends in which it was learnt.

    Attributes:
        intervals: atom -> constant bounds.
        congruences: atom -> divisibility.
        lower, upper: atom -> sums that it is never below, never above.
        inequalities: sums that are never positive.
        truths: key of a condition -> whether it holds.
    """

    def __init__(self) -> None:
        self.intervals: dict[int, Interval] = {}
        self.congruences: dict[int, Congruence] = {}
        self.lower: dict[int, tuple[Linear, ...]] = {}
        self.upper: dict[int, tuple[Linear, ...]] = {}
        self.inequalities: dict[Linear, None] = {}
        self.truths: dict[Hashable, bool] = {}
        self.memo = Memo()
        self._trail: list[tuple[dict[Any, Any], Any, Any]] = []

    def set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """`table[key] = value` until the scope ends; `table` is one of the attributes above."""
        before = table.get(key, _ABSENT)
        if before is not _ABSENT and before == value:
            return
        self._trail.append((table, key, before))
        table[key] = value
        self.memo = Memo()

    def narrow(self, atom: int, values: Interval) -> None:
        """`atom` lies in `values`, besides what is known already."""
        before = self.intervals.get(atom)
        self.set(self.intervals, atom, values if before is None else before.meet(values))

    def extend(self, table: dict[int, tuple[Linear, ...]], atom: int, bound: Linear) -> None:
        """One more entry of `lower` or `upper`."""
        before = table.get(atom, ())
        if bound not in before:
            self.set(table, atom, (*before, bound))

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is learnt inside is forgotten afterwards."""
        memo, length = self.memo, len(self._trail)
        try:
            yield
        finally:
            while len(self._trail) > length:
                table, key, before = self._trail.pop()
                if before is _ABSENT:
                    del table[key]
                else:
                    table[key] = before
            self.memo = memo
