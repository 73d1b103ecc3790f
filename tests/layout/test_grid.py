"""Grids of threads: tables against the closed inverse, projections, and the choice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.layout.test_holding import check
from tilelang.layout.blocked import BlockedFragment, widest_vector
from tilelang.layout.grid import Grid, GridFragment, Part, cost, grid_for, is_even
from tilelang.layout.reduced import NOBODY, find_partials, held_elements, line_numbers

SHAPES = [
    (24, 40),
    (100, 77),
    (128, 96),
    (3, 6),
    (1, 1000),
    (1000, 3),
    (7, 5),
    (33, 130),
    (5, 7, 9),
]


@pytest.mark.parametrize("threads", [32, 96, 128, 100, 256])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_inverse_is_that_of_the_table(shape, threads):
    for limit in (1, 4, 8):
        for dim in (len(shape) - 1, 0):
            tile = grid_for(shape, dim, threads, limit, 32)
            if tile is None:
                continue
            grid = tile.grid
            assert tile.is_injective and grid.threads <= threads
            assert grid.vector <= limit and shape[-1] % grid.vector == 0
            check(tile, threads, grid.vector)
            check(tile, threads, 1)
            rows = tile.projection(range(len(shape) - 1), shape[:-1])
            columns = tile.projection([len(shape) - 1], shape[-1:])
            assert rows is not None and columns is not None
            check(rows, threads, 1)
            check(columns, threads, grid.vector)


@pytest.mark.parametrize("rows, lanes, vector", [(2, 4, 1), (4, 2, 2), (1, 8, 4), (8, 1, 1)])
def test_any_grid(rows, lanes, vector):
    for height, width in [(9, 40), (8, 32), (13, 8 * vector + 4)]:
        if width // vector < lanes:
            continue
        tile = GridFragment((height, width), Grid(height, width, rows, lanes, vector))
        check(tile, 32, vector)
        check(tile, 10, 1) if rows * lanes <= 10 else None
        assert tile.get_thread_size() == rows * lanes


@pytest.mark.parametrize("shape", SHAPES)
def test_projections_hold_what_the_tile_s_threads_need(shape):
    tile = grid_for(shape, len(shape) - 1, 128, 4, 32)
    if tile is None:
        return
    holders = tile.thread_table[..., 0]
    height = math.prod(shape[:-1])
    for kept, part, axis in [
        (range(len(shape) - 1), Part.ROW, 1),
        ([len(shape) - 1], Part.COLUMN, 0),
    ]:
        size = height if part is Part.ROW else shape[-1]
        made = tile.projection(kept, (size,))
        assert made is not None and made.part is part
        flat = np.moveaxis(holders.reshape(height, shape[-1]), 1 - axis, 0)
        for line, owners in zip(flat, made.thread_table):
            assert set(line.tolist()) == set(owners.tolist())
    assert tile.projection(range(len(shape)), shape) is tile
    assert tile.projection([], ()) is None


@pytest.mark.parametrize("threads", [64, 128, 256])
@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) == 2])
@pytest.mark.parametrize("dim", [0, 1])
def test_lines_stay_together(shape, dim, threads):
    """A line along rows has one slot and, within a warp, one part; a column a part per warp."""
    tile = grid_for(shape, dim, threads, 4, 32)
    if tile is None:
        return
    held = held_elements(tile, threads)
    assert held is not None and (held != NOBODY).sum() == math.prod(shape)
    plan = find_partials(held, line_numbers(shape, dim))
    grid = tile.grid
    assert len(plan.slots.registers) == (
        grid.row_blocks if dim else grid.chunk_blocks * grid.vector
    )
    if dim and grid.lanes <= 32:
        assert plan.parts == 1 and len(plan.lane_bits) == math.log2(grid.lanes)
    else:
        warps = -(-grid.threads // 32)
        whole_warps = dim == 1 or grid.lanes >= 32 or grid.threads % 32 == 0
        assert plan.parts <= (max(warps, 1) if whole_warps else grid.rows)


def test_the_choice():
    def chosen(shape, dim=1, threads=128, limit=4):
        tile = grid_for(shape, dim, threads, limit, 32)
        assert tile is not None
        return tile.grid

    assert chosen((24, 40)).threads >= 96  # most of the block works
    assert chosen((100, 77)).vector == 1
    assert chosen((1, 1000)).lanes >= 64  # one line: several warps share it
    for shape in SHAPES[:7]:
        for dim in (0, 1):
            grid = chosen(shape, dim)
            padded = grid.row_blocks * grid.chunk_blocks * grid.vector
            assert padded <= 2 * -(-math.prod(shape) // min(128, math.prod(shape))) + 4
            assert cost(grid, dim == 1, 128, 32) < math.inf


@pytest.mark.parametrize("shape", [(64, 64), (128, 32), (4, 64), (16, 512), (128, 4)])
def test_powers_of_two_are_dealt_row_major(shape):
    assert is_even(shape, 128, 4) and grid_for(shape, 1, 128, 4, 32) is None
    vector = widest_vector(shape, 128, 4)
    assert BlockedFragment(shape, 128, vector).is_injective


def test_axes_that_a_grid_does_not_keep_together():
    assert grid_for((5, 7, 9), 1, 128, 4, 32) is None
    assert grid_for((100,), 0, 128, 4, 32) is None
