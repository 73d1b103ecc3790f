"""Distinct values of integer tables.

Used by whoever asks tables questions: layouts, fragments, hazards. `numpy.unique` would do, but
its first call imports masked arrays, 10 ms of a cold compilation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.int64]


def distinct(values: Table) -> tuple[Table, Table]:
    """The values that occur, ascending, and where in flat order each one occurs first."""
    flat = values.reshape(-1)
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first], order[is_first]
