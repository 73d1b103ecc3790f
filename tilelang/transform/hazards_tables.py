"""Tables of which thread touches which place, as the hazard analysis compares them.

`hazards_overlap` fills in the places of two accesses; here is told whether they have some in common
and whether different threads touch those. Knows nothing of programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilelang.layout.distinct import distinct

LIMIT = 1 << 21  # elements of a table


@dataclass(slots=True)
class Points:
    """Places that threads touch, one per row."""

    keys: list[np.ndarray[Any, Any]]  # the place, as several columns
    threads: np.ndarray[Any, Any]

    def is_aligned(self, width: int) -> bool:
        """Whether all places are multiples of `width` along the last axis."""
        return width == 1 or not bool((self.keys[-1] % width).any())

    def expanded(self, width: int) -> Points:
        """`width` neighbours along the last axis in place of each."""
        if width == 1:
            return self
        keys = [np.repeat(k, width) for k in self.keys]
        keys[-1] = keys[-1] + np.tile(np.arange(width, dtype=np.int64), len(self.threads))
        return Points(keys, np.repeat(self.threads, width))


def meetings(
    first: np.ndarray[Any, Any], second: np.ndarray[Any, Any],
    first_owners: np.ndarray[Any, Any], second_owners: np.ndarray[Any, Any],
) -> tuple[bool, bool]:  # fmt: skip
    """Whether two lists of places (small numbers) have one in common, and whether each of those has
    one owner only, the same in both."""
    count = max(int(first.max()), int(second.max())) + 1
    owner = np.full(count, -1, np.int64)
    owner[first] = first_owners  # one of them, where there are several
    found = owner[second]
    met = found >= 0
    if not bool(met.any()):
        return False, True
    if bool((found != second_owners)[met].any()):
        return True, False
    taken = np.zeros(count, bool)
    taken[second] = True
    return True, not bool((owner[first] != first_owners)[taken[first]].any())


def numbered(
    first: list[np.ndarray[Any, Any]], second: list[np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """One number per distinct row of columns, the same on both sides, none of them large."""
    a, b = np.zeros(len(first[0]), np.int64), np.zeros(len(second[0]), np.int64)
    range_of_all = 1
    for x, y in zip(first, second):
        low = min(int(x.min()), int(y.min()))
        extent = max(int(x.max()), int(y.max())) - low + 1
        a, b = a * extent + (x - low), b * extent + (y - low)
        range_of_all *= extent
    if range_of_all <= LIMIT:
        return a, b
    numbers, _ = distinct(np.concatenate([a, b]))
    return np.searchsorted(numbers, a), np.searchsorted(numbers, b)


def spread(values: Any, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """`values` repeated to `shape`."""
    return np.broadcast_to(np.asarray(values, np.int64), tuple(shape))


def along(axis: int, rank: int) -> list[int]:
    """The shape of a vector along one of `rank` axes."""
    return [-1 if d == axis else 1 for d in range(rank)]
