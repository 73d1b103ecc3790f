"""Programs that random programs found to go wrong, made small. Each once failed."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T


def run(kernel, *arrays):
    tilelang.compile(kernel, target="c")(*arrays)


def test_a_loaded_fill_value_is_guarded_against_indices_outside():
    @T.prim_func
    def kernel(
        A: T.Tensor((8,), "int32"), index: T.Tensor((4,), "int32"), B: T.Tensor((4, 5), "int32")
    ):
        with T.Kernel(4) as bx:
            tile = T.alloc_shared((5,), "int32")
            T.fill(tile, A[index[bx]])
            T.copy(tile, B[bx, 0])

    a, b = np.arange(1, 9, dtype=np.int32), np.full((4, 5), -1, np.int32)
    run(kernel, a, np.array([2, 8, -1, 10_000_000], np.int32), b)
    np.testing.assert_array_equal(b, np.array([[3], [0], [0], [0]]).repeat(5, 1))


def test_a_loaded_start_of_a_copy_is_guarded_against_indices_outside():
    @T.prim_func
    def kernel(
        A: T.Tensor((8,), "int32"), index: T.Tensor((4,), "int32"), B: T.Tensor((9, 3), "int32")
    ):
        with T.Kernel(9) as bx:
            tile = T.alloc_shared((3,), "int32")
            T.copy(A[index[bx * 1_000_000]], tile)
            T.copy(tile, B[bx, 0])

    a, b = np.arange(1, 9, dtype=np.int32), np.full((9, 3), -1, np.int32)
    run(kernel, a, np.array([6, 0, 0, 0], np.int32), b)
    np.testing.assert_array_equal(b, [[7, 8, 0]] + [[1, 2, 3]] * 8)


def test_a_row_that_is_surely_outside_its_buffer_reads_as_zero():
    @T.prim_func
    def kernel(A: T.Tensor((3, 8), "float32"), B: T.Tensor((4, 1, 4), "float32")):
        with T.Kernel(4) as bx:
            tile = T.alloc_fragment((1, 4), "float32")
            if bx == 3:
                T.copy(A[bx * 5, 2], tile)
                T.copy(tile, B[bx, 0, 0])

    b = np.full((4, 1, 4), np.nan, np.float32)
    run(kernel, np.ones((3, 8), np.float32), b)
    assert (b[3] == 0).all()
    assert np.isnan(b[:3]).all()


@pytest.mark.parametrize("target", ["c", "cuda -arch=sm_80"])
def test_where_a_copy_begins_is_read_before_it_overwrites_that(target):
    @T.prim_func
    def kernel(A: T.Tensor((64, 48), "int32"), Z: T.Tensor((48,), "int32")):
        with T.Kernel(1, threads=64):
            tile = T.alloc_shared((48,), "int32")
            T.fill(tile, 3)
            T.copy(A[tile[5], 0:48], tile)
            T.copy(A[tile[0] + tile[47], 0:48], tile)
            T.copy(tile, Z)

    a = np.random.default_rng(0).integers(5, 30, (64, 48)).astype(np.int32)
    z = np.zeros(48, np.int32)
    with tilelang.env.scope(TILELANG_EMULATE=True):
        tilelang.compile(kernel, target=target)(a, z)
    np.testing.assert_array_equal(z, a[a[3, 0] + a[3, 47]])
