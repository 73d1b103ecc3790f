"""Layouts enumerated: NumPy tables and the questions asked of them.

`layout` and `fragment` load this module when a table is first asked for, so that programs that
never do (most CPU kernels) do not pay for importing NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tilelang.ir.expr import Expr, Var
from tilelang.layout.banks import conflict_degree
from tilelang.layout.distinct import distinct
from tilelang.layout.evaluate import evaluate
from tilelang.layout.fit import fit

Table = npt.NDArray[np.int64]


def tabulate(value: Expr, variables: Sequence[Var], shape: Sequence[int]) -> Table:
    """`value` at every point of `shape`, one variable per axis."""
    # Open grids: what depends on few of the variables is computed for those alone.
    env = dict(zip(variables, np.indices(tuple(shape), dtype=np.int64, sparse=True)))
    return np.broadcast_to(evaluate(value, env), tuple(shape)).astype(np.int64)


def linearize(axes: Sequence[Table], shape: Sequence[int]) -> Table:
    """Row-major offset in the bounding box of `axes`."""
    offset = np.zeros(tuple(shape), np.int64)
    for axis in axes:
        offset = offset * (int(axis.max()) + 1) + axis
    return offset


def is_one_to_one(offsets: Table) -> bool:
    """Whether no value occurs twice."""
    return len(distinct(offsets)[0]) == offsets.size


def collision(offsets: Table) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Indices of two equal entries, or `None`."""
    flat = offsets.ravel()
    order = np.argsort(flat, kind="stable")
    same = np.nonzero(flat[order][1:] == flat[order][:-1])[0]
    if not len(same):
        return None
    pair = (order[same[0]], order[same[0] + 1])
    first, second = (tuple(int(x) for x in np.unravel_index(p, offsets.shape)) for p in pair)
    return first, second


def number_in_group(groups: Table, variables: Sequence[Expr]) -> Expr | None:
    """Of each element, how many before it, in row-major order, are of its group.

    `None` where that is no expression of `variables`, one per axis.
    """
    flat = groups.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], flat[order], side="left")
    numbers = np.empty(flat.size, np.int64)
    numbers[order] = np.arange(flat.size) - starts
    return fit(numbers.reshape(groups.shape), variables)


def places_are_unique(threads: Table, offsets: Table) -> bool:
    """Whether no two elements share a register of a thread (last axis of `threads`: replica)."""
    places = threads * (int(offsets.max()) + 1) + offsets[..., None]
    numbers = np.arange(offsets.size).reshape(offsets.shape)[..., None]
    owners = np.broadcast_to(numbers, places.shape)
    pairs, _ = distinct(places * offsets.size + owners)
    return len(distinct(pairs // offsets.size)[0]) == len(pairs)


def same(a: Sequence[Table], b: Sequence[Table]) -> bool:
    """Whether two lists of tables agree."""
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b))


def invert(offsets: Table, box: Sequence[int], variables: Sequence[Var]) -> list[Expr] | None:
    """Expressions over `box` of the index that has each offset; `None`: no closed form."""
    order = np.empty(offsets.size, np.int64)
    order[offsets.ravel()] = np.arange(offsets.size)
    # Flat, as NumPy (2.4) unravels large arrays with a last axis of 1 wrongly.
    tables = np.unravel_index(order, offsets.shape)
    fitted = [fit(t.astype(np.int64).reshape(tuple(box)), variables) for t in tables]
    exprs = [e for e in fitted if e is not None]
    return exprs if len(exprs) == len(fitted) else None


def distinct_replicas(threads: Table) -> list[int]:
    """Replicas (last axis) whose threads differ from those of every earlier one."""
    table = threads.reshape(-1, threads.shape[-1])
    used: list[int] = []
    for r in range(table.shape[1]):
        if not any(np.array_equal(table[:, r], table[:, u]) for u in used):
            used.append(r)
    return used


def vector_width(offsets: Table, limit: int) -> int:
    """The longest power of two, up to `limit`, of aligned neighbours that stay aligned ones."""
    width = 1
    while width * 2 <= limit and offsets.shape[-1] % (width * 2) == 0:
        groups = offsets.reshape(-1, width * 2)
        if not (groups == groups[:, :1] + np.arange(width * 2)).all():
            break
        if (groups[:, 0] % (width * 2)).any():
            break
        width *= 2
    return width


def conflicts(offsets: Table, indices: Sequence[Any], bits: int, vector: int) -> int:
    """Degree of the bank conflicts of threads that access `vector` elements from `indices` on."""
    numbers = np.broadcast_arrays(*(np.asarray(i, np.int64) for i in indices))
    return conflict_degree(np.atleast_1d(offsets[tuple(numbers)]) * bits // 8, vector * bits // 8)
