"""The fragment of a tile that is reduced, where its shape is no power of two.

Threads form a grid of `rows` by `lanes`; a thread has every `rows`-th row and in it every
`lanes`-th chunk of `vector` neighbours. Each line of the tile is then held by the same few lanes of
one warp, or each column by the same lane of every row of threads, whatever the extents are; what
does not divide leaves the last rows, or chunks, of some threads empty.

    rows 2, lanes 4, vector 1        thread    0 1 2 3 0 1         registers 0 0 0 0 1 1
    a tile of 3 by 6                           4 5 6 7 4 5                   0 0 0 0 1 1
                                               0 1 2 3 0 1                   2 2 2 2 3 3

What has one element per row, or per column, is held by all threads that hold a part of it: the
`projection`. In: shapes, from layout inference. Out: `GridFragment`s. It knows no loops.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import Enum

from tilelang.ir.expr import Expr, as_expr, equal, less, logical_and
from tilelang.ir.record import record
from tilelang.layout.blocked import widest_vector
from tilelang.layout.dealt import DealtFragment
from tilelang.layout.layout import unflatten

_WARP = 32
# Bytes that lanes should read together, in tiles whose rows or columns are summed up; measured on
# an H200 over tiles of 24 to 128 rows: shorter runs lose up to a third of the bandwidth.
_ROW_SEGMENT, _COLUMN_SEGMENT = 128, 64
_LOAD, _SHUFFLE, _STORE, _TAIL, _BARRIER = 3, 3, 2, 5, 20  # costs, in additions


@record
class Grid:
    """How a tile of `height` rows of `width` elements is dealt out.

    Attributes:
        rows, lanes: of the grid of threads; each has something of every row and column it meets.
        vector: neighbours that go to one thread; divides `width`.
    """

    height: int
    width: int
    rows: int
    lanes: int
    vector: int

    @property
    def chunks(self) -> int:
        """Of one row."""
        return self.width // self.vector

    @property
    def row_blocks(self) -> int:
        """Rows of one thread, empty ones included."""
        return -(-self.height // self.rows)

    @property
    def chunk_blocks(self) -> int:
        """Chunks of one thread in a row, empty ones included."""
        return -(-self.chunks // self.lanes)

    @property
    def threads(self) -> int:
        """Threads that hold something."""
        return self.rows * self.lanes


class Part(Enum):
    """Of what there is one element per place."""

    TILE = "tile"
    ROW = "row"
    COLUMN = "column"


class GridFragment(DealtFragment):
    """`shape` dealt out as `grid` says.

    Args:
        shape: of a tile: the last axis is the row. Of one element per row or per column: any shape
            with as many elements.
        part: which of the two.
    """

    def __init__(self, shape: Sequence[int], grid: Grid, part: Part = Part.TILE) -> None:
        sizes = {
            Part.TILE: grid.height * grid.width, Part.ROW: grid.height, Part.COLUMN: grid.width,
        }  # fmt: skip
        assert math.prod(shape) == sizes[part], "one element per place"
        self.grid, self.part = grid, part
        self.vector = 1 if part is Part.ROW else grid.vector
        copies = {Part.TILE: 1, Part.ROW: grid.lanes, Part.COLUMN: grid.rows}[part]

        def forward(*args: Expr) -> tuple[Expr, Expr]:
            indices, rep = args[: len(shape)], args[len(shape) :]
            replica = rep[0] if rep else as_expr(0)
            row, column = self._place(shape, indices)
            chunk = column // grid.vector
            thread_row = replica if part is Part.COLUMN else row % grid.rows
            lane = replica if part is Part.ROW else chunk % grid.lanes
            group = self._group(row // grid.rows, chunk // grid.lanes)
            place = column % grid.vector if self.vector > 1 else as_expr(0)
            return thread_row * grid.lanes + lane, group * self.vector + place

        super().__init__(shape, forward, replicate=copies)

    def _place(self, shape: Sequence[int], indices: Sequence[Expr]) -> tuple[Expr, Expr]:
        flat: Expr = as_expr(0)
        counted = list(zip(shape, indices))
        for extent, index in counted[:-1] if self.part is Part.TILE else counted:
            flat = flat * extent + index
        if self.part is Part.TILE:
            return flat, indices[-1]
        return (flat, as_expr(0)) if self.part is Part.ROW else (as_expr(0), flat)

    def _group(self, row_block: Expr, chunk_block: Expr) -> Expr:
        if self.part is Part.ROW:
            return row_block
        if self.part is Part.COLUMN:
            return chunk_block
        return row_block * self.grid.chunk_blocks + chunk_block

    # -- the inverse -----------------------------------------------------------------------------

    def _row(self, thread: Expr, group: Expr) -> Expr:
        blocks = self.grid.chunk_blocks if self.part is Part.TILE else 1
        return group // blocks * self.grid.rows + thread // self.grid.lanes

    def _chunk(self, thread: Expr, group: Expr) -> Expr:
        block = group % self.grid.chunk_blocks if self.part is Part.TILE else group
        return block * self.grid.lanes + thread % self.grid.lanes

    def element(self, thread: Expr, group: Expr, place: Expr) -> list[Expr]:
        row, column = self._row(thread, group), self._chunk(thread, group) * self.vector + place
        if self.part is Part.TILE:
            return [*unflatten(row, self.shape[:-1]), column]
        return unflatten(row if self.part is Part.ROW else column, self.shape)

    def active(self, thread: Expr, group: Expr, place: Expr) -> Expr | None:
        grid = self.grid
        tests = [less(thread, grid.threads)]
        if self.part is not Part.COLUMN and grid.height % grid.rows:
            tests.append(less(self._row(thread, group), grid.height))
        if self.part is not Part.ROW and grid.chunks % grid.lanes:
            tests.append(less(self._chunk(thread, group), grid.chunks))
        made = tests[0]
        for test in tests[1:]:
            made = logical_and(made, test)
        return made

    def first(self, thread: Expr) -> Expr | None:
        if self.part is Part.ROW:
            return equal(thread % self.grid.lanes, 0)
        return less(thread, self.grid.lanes) if self.part is Part.COLUMN else None

    # -- others ----------------------------------------------------------------------------------

    def projection(self, kept: Sequence[int], shape: Sequence[int]) -> GridFragment | None:
        """The fragment of what has one element per index of the axes `kept`, held where they are.

        `None` when that is neither the tile, nor its rows, nor its columns.
        """
        last = len(self.shape) - 1
        parts = {
            tuple(range(last + 1)): Part.TILE, tuple(range(last)): Part.ROW, (last,): Part.COLUMN,
        }  # fmt: skip
        part = parts.get(tuple(kept))
        if self.part is not Part.TILE or part is None or not last:
            return None
        if part is Part.TILE:
            return self
        return GridFragment(shape, self.grid, part)


# -- choosing --------------------------------------------------------------------------------------


def grid_for(
    shape: Sequence[int], dim: int, threads: int, limit: int, bits: int
) -> GridFragment | None:
    """The fragment with which reducing axis `dim` of `shape` is cheapest.

    Args:
        limit: neighbours that can move at once.
        bits: width of an element.

    Returns:
        `None` where row-major dealing (`layout/blocked.py`) keeps lines together by itself, and for
        axes that are neither the last one nor the first of two.
    """
    last = len(shape) - 1
    if last < 1 or (dim != last and last > 1) or is_even(shape, threads, limit):
        return None
    height, width = math.prod(shape[:-1]), shape[-1]
    grids = _grids(height, width, threads, limit)
    best = min(grids, key=lambda grid: cost(grid, dim == last, threads, bits))
    return GridFragment(shape, best)


def is_even(shape: Sequence[int], threads: int, limit: int) -> bool:
    """Whether chunks dealt out in row-major order fall on the same lanes in every row."""
    vector = widest_vector(shape, threads, limit)
    chunks = shape[-1] // vector
    total = math.prod(shape) // vector
    is_power = chunks & (chunks - 1) == 0
    fits = threads % chunks == 0 or chunks % threads == 0
    return is_power and fits and (total % threads == 0 or threads % total == 0)


def _grids(height: int, width: int, threads: int, limit: int) -> Iterator[Grid]:
    vector = 1
    while vector <= max(1, limit) and width % vector == 0:
        lanes = 1
        while lanes <= min(threads, width // vector):
            yield Grid(height, width, min(height, threads // lanes), lanes, vector)
            lanes *= 2
        vector *= 2


def cost(grid: Grid, along_rows: bool, threads: int, bits: int) -> float:
    """What loading and reducing a tile costs a thread, in additions; an estimate.

    Args:
        along_rows: rows are summed up; otherwise columns.
    """
    loads = grid.row_blocks * grid.chunk_blocks
    together = grid.lanes * grid.vector * bits / 8
    segment = _ROW_SEGMENT if along_rows else _COLUMN_SEGMENT
    if along_rows:
        results, lines = grid.row_blocks, grid.height
        meeting, parts = min(grid.lanes, _WARP), -(-grid.lanes // _WARP)
    else:
        results, lines = grid.chunk_blocks * grid.vector, grid.width
        meeting = max(1, min(grid.rows, _WARP // grid.lanes))
        parts = -(-grid.rows // meeting)
    total = loads * grid.vector + _LOAD * loads * max(1.0, segment / together)
    total += _SHUFFLE * results * math.log2(meeting)
    if parts > 1:
        total += _BARRIER + _STORE * results + parts * -(-lines // threads)
    tails = (grid.height % grid.rows != 0) + (grid.chunks % grid.lanes != 0)
    return total + _TAIL * tails
