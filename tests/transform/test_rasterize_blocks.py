"""Block orders: every tile once, panels as drawn, ranges known, results the same."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.interpreter_async import run_async
from tests.lowering import PLAIN, random_array, results
from tilelang.ir import annotation as keys
from tilelang.ir.expr import BufferLoad
from tilelang.ir.stmt import Attr
from tilelang.ir.verify import verify
from tilelang.ir.visitor import walk
from tilelang.transform.rasterize_blocks import rasterize_blocks
from tilelang.transform.scoped import ScopedMutator

RNG = np.random.default_rng(3)


def numbered(gx, gy, panel, order, depth=1):
    """Each tile gets the linear index of its hardware block."""

    @T.prim_func
    def kernel(Out: T.Tensor((depth, gy, gx), "int32")):
        with T.Kernel(gx, gy, depth, threads=32) as (bx, by, bz):
            early = bx * 1000 + by
            T.use_swizzle(panel, order=order)
            Out[bz, by, bx] = Out[bz, by, bx] + 1 + early - bx * 1000 - by

    return kernel


def order_of(gx, gy, panel, order):
    """Tiles (y, x) in the order of the hardware's blocks."""

    @T.prim_func
    def kernel(Out: T.Tensor((gx * gy, 2), "int32"), Count: T.Tensor((1,), "int32")):
        with T.Kernel(gx, gy, threads=32) as (bx, by):
            T.use_swizzle(panel, order=order)
            Out[Count[0], 0] = by
            Out[Count[0], 1] = bx
            Count[0] = Count[0] + 1

    made = rasterize_blocks(kernel, PLAIN)
    verify(made)
    inputs = {"Out": np.full((gx * gy, 2), -1, np.int32), "Count": np.zeros(1, np.int32)}
    return [tuple(int(v) for v in row) for row in run_async(made, inputs)["Out"]]


def test_the_picture():
    got = order_of(4, 3, 2, "row")
    grid = np.zeros((3, 4), int)
    for position, place in enumerate(got):
        grid[place] = position
    assert grid.tolist() == [[0, 2, 4, 6], [1, 3, 5, 7], [11, 10, 9, 8]]
    assert order_of(3, 4, 2, "column") == [(x, y) for y, x in got]
    assert order_of(4, 3, 2, "mlx") == got


@pytest.mark.parametrize("order", ["row", "column"])
@pytest.mark.parametrize("panel", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (5, 1), (4, 4), (7, 5), (3, 8)])
def test_every_tile_once(grid, panel, order):
    gx, gy = grid
    got = order_of(gx, gy, panel, order)
    assert sorted(got) == [(y, x) for y in range(gy) for x in range(gx)]
    wide = gy if order == "row" else gx
    for start in range(0, wide, panel):  # a panel's tiles are neighbours in time
        lane = [i for i, t in enumerate(got) if start <= t[order == "column"] < start + panel]
        assert lane == list(range(lane[0], lane[0] + len(lane)))


@pytest.mark.parametrize("order", ["row", "column"])
@pytest.mark.parametrize("grid", [(1, 1), (7, 5), (3, 8)])
@pytest.mark.parametrize("is_dynamic", [False, True])
def test_all_of_the_body_sees_the_new_indices(grid, order, is_dynamic):
    gx, gy = grid
    sizes = (T.dynamic("gx"), T.dynamic("gy")) if is_dynamic else grid
    kernel = numbered(*sizes, 3, order, depth=2)
    made = rasterize_blocks(kernel, PLAIN)
    verify(made)
    assert not [n for n in walk(made) if isinstance(n, Attr) and n.key == keys.SWIZZLE]
    inputs = {"Out": np.zeros((2, gy, gx), np.int32)}
    np.testing.assert_array_equal(run_async(made, inputs)["Out"], np.ones((2, gy, gx)))


class _Ranges(ScopedMutator):
    """Whether every tile read lies inside its buffer, as far as can be proven."""

    def __init__(self):
        super().__init__()
        self.proven = []

    def mutate_BufferLoad(self, node: BufferLoad):
        for index, extent in zip(node.indices, node.buffer.shape):
            self.proven.append(self.facts.can_prove(index < extent))
            self.proven.append(self.facts.can_prove(index >= 0))
        return self.mutate_children(node)


@pytest.mark.parametrize("order", ["row", "column"])
@pytest.mark.parametrize("panel", [3, 4])
@pytest.mark.parametrize("is_dynamic", [False, True])
def test_ranges_are_known(order, panel, is_dynamic):
    gx, gy = (T.dynamic("gx"), T.dynamic("gy")) if is_dynamic else (16, 12)

    @T.prim_func
    def kernel(A: T.Tensor((gy * 8, gx * 4), "float32"), B: T.Tensor((gy * 8, gx * 4), "float32")):
        with T.Kernel(gx, gy, threads=32) as (bx, by):
            T.use_swizzle(panel, order=order)
            for i, j in T.Parallel(8, 4):
                B[by * 8 + i, bx * 4 + j] = A[by * 8 + i, bx * 4 + j]

    ranges = _Ranges()
    ranges.mutate(rasterize_blocks(kernel, PLAIN))
    assert ranges.proven == [True] * 4


def test_a_line_of_blocks_stays():
    @T.prim_func
    def kernel(A: T.Tensor((8,), "float32")):
        with T.Kernel(8, threads=32) as bx:
            T.use_swizzle(4)
            A[bx] = A[bx] + 1.0

    made = rasterize_blocks(kernel, PLAIN)
    inputs = {"A": random_array(RNG, (8,), "float32")}
    np.testing.assert_array_equal(run_async(made, inputs)["A"], results(kernel, inputs)["A"])
    assert not [n for n in walk(made) if isinstance(n, Attr)]
