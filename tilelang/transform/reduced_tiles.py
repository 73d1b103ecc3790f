"""Tiles that are reduced and whose extents are no powers of two, held as grids (`layout/grid.py`).

In: free fragment buffers, reductions and nests, from `fragment_solver`. Out: the fragment of such a
tile, and of the vectors that are computed from one or combined with one; or `None`, and the solver
goes on by its general rules. Decides nothing for other fragments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import const_value, is_const
from tilelang.layout.fragment import Fragment
from tilelang.layout.grid import GridFragment, grid_for
from tilelang.layout.layout import static_shape
from tilelang.tileop.reduce import Reduce
from tilelang.transform.nests import Access, AxisUse, Nest, Partition


def reduced_tile(
    buffer: Buffer, reductions: Iterable[Reduce], threads: int, limit: int
) -> GridFragment | None:
    """The grid for `buffer`, when it or a tile of its shape is reduced.

    Args:
        limit: elements that one access to memory could move.
    """
    shape = static_shape(buffer.shape)
    for op in reductions:
        if [const_value(e) for e in op.src.extents] == list(shape):
            return grid_for(shape, op.dim, threads, limit, buffer.dtype.bits)
    return None


def reduced_vector(tile: Fragment, op: Reduce) -> GridFragment | None:
    """The fragment in which the results of reducing a whole `tile` are where they are computed."""
    if not isinstance(tile, GridFragment):
        return None
    kept = [axis for axis in range(len(tile.shape)) if axis != op.dim]
    return tile.projection(kept, static_shape(op.dst.buffer.shape))


def carried_along(partition: Partition, access: Access) -> GridFragment | None:
    """The fragment of what a nest over a whole grid accesses by some of its indices, unchanged."""
    leader, nest = partition.leader, partition.nest
    lead = next((a for a in nest.accesses if a.buffer is partition.buffer), None)
    if not isinstance(leader, GridFragment) or lead is None:
        return None
    uses = nest.uses(access)
    if uses is None or not (nest.covers(lead) and nest.covers(access)):
        return None
    kept = _axes(nest, partition, uses)
    return None if kept is None else leader.projection(kept, static_shape(access.buffer.shape))


def _axes(nest: Nest, partition: Partition, uses: Sequence[AxisUse]) -> list[int] | None:
    """Axes of the leader that the indices are, in order; `None` when they are something else."""
    if not all(_is_plain(nest, use) for use in partition.uses):
        return None
    loops = [use.loop for use in uses if use.loop is not None]
    if not all(_is_plain(nest, use) for use in uses if use.loop is not None):
        return None
    kept = [partition.axis_of[loop] for loop in loops if loop in partition.axis_of]
    return kept if len(kept) == len(loops) and kept == sorted(set(kept)) else None


def _is_plain(nest: Nest, use: AxisUse) -> bool:
    """Whether the index is a loop variable that counts from 0."""
    if use.loop is None:
        return False
    return use.sign == 1 and is_const(use.rest, 0) and is_const(nest.loops[use.loop].start, 0)
