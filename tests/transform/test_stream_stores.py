"""Large outputs are written past the caches: same values, only where size and loop allow it."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang.transform.stream_stores import STREAMED_BYTES


def scaled(rows, columns, block, dtype):
    @T.prim_func
    def kernel(X: T.Tensor((rows, columns), dtype), Y: T.Tensor((rows, columns), dtype)):
        with T.Kernel(T.ceildiv(columns, block), rows) as (bx, by):
            for j in T.Parallel(block):
                Y[by, bx * block + j] = X[by, bx * block + j] * 2

    return tilelang.compile(kernel, target="c")


@pytest.mark.parametrize(
    ("columns", "dtype"), [(4096, "float32"), (4001, "float32"), (8192, "float16")]
)
def test_large_outputs_are_streamed_and_right(columns, dtype):
    rows = STREAMED_BYTES // (columns * T.dtype(dtype).itemsize) + 3
    kernel = scaled(rows, columns, 1000, dtype)
    assert "tl_stream_store" in kernel.get_kernel_source()
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32).astype(dtype)
    y = np.full_like(x, np.nan)
    kernel(x, y)
    np.testing.assert_array_equal(y, x * np.array(2, dtype))


def test_outputs_at_any_element_alignment():
    columns = 4096
    rows = STREAMED_BYTES // (columns * 4) + 1
    kernel = scaled(rows, columns, 1024, "float32")
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    storage = np.full(rows * columns + 3, np.nan, np.float32)
    y = storage[3:].reshape(rows, columns)
    kernel(x, y)
    np.testing.assert_array_equal(y, x * 2)
    assert np.isnan(storage[:3]).all()


def test_small_outputs_and_outputs_that_are_read_stay_in_the_caches():
    assert "tl_stream_store" not in scaled(64, 4096, 1024, "float32").get_kernel_source()
    rows = STREAMED_BYTES // (4096 * 4) + 1

    @T.prim_func
    def in_place(Y: T.Tensor((rows, 4096), "float32")):
        with T.Kernel(rows) as bx:
            for j in T.Parallel(4096):
                Y[bx, j] = Y[bx, j] + 1.0

    assert "tl_stream_store" not in tilelang.compile(in_place, target="c").get_kernel_source()


def test_strided_stores_are_not_streamed():
    rows = STREAMED_BYTES // (4096 * 4) + 1

    @T.prim_func
    def transposed(X: T.Tensor((4096, rows), "float32"), Y: T.Tensor((rows, 4096), "float32")):
        with T.Kernel(4096) as bx:
            for i in T.Parallel(rows):
                Y[i, bx] = X[bx, i]

    assert "tl_stream_store" not in tilelang.compile(transposed, target="c").get_kernel_source()


def test_tensors_with_gaps_between_elements_are_not_streamed():
    rows, columns = STREAMED_BYTES // (4096 * 4) + 1, 4096

    @T.prim_func
    def spread(
        X: T.Tensor((rows, columns), "float32"),
        Y: T.StridedTensor((rows, columns), (2 * columns, 2), "float32"),
    ):
        with T.Kernel(rows) as bx:
            for j in T.Parallel(columns):
                Y[bx, j] = X[bx, j] * 2

    kernel = tilelang.compile(spread, target="c")
    assert "tl_stream_store" not in kernel.get_kernel_source()
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    storage = np.zeros((rows, 2 * columns), np.float32)
    kernel(x, storage[:, ::2])
    np.testing.assert_array_equal(storage[:, ::2], x * 2)
    assert not storage[:, 1::2].any()


@pytest.mark.parametrize("moving", [False, True])
def test_the_row_may_be_a_name_bound_in_the_loop(moving):
    rows, columns = STREAMED_BYTES // (4096 * 4) + 1, 4096
    half = columns // 2 if moving else columns

    @T.prim_func
    def named_row(X: T.Tensor((rows, columns), "float32"), Y: T.Tensor((rows, columns), "float32")):
        with T.Kernel(rows) as bx:
            for j in T.Parallel(columns):
                row = (bx + 5 + j // half) % rows
                Y[row, j] = X[bx, j]

    kernel = tilelang.compile(named_row, target="c")
    assert ("tl_stream_store" in kernel.get_kernel_source()) is not moving
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    y = np.full_like(x, np.nan)
    kernel(x, y)
    expected = np.roll(x, 5, axis=0)
    expected[:, half:] = np.roll(x, 6, axis=0)[:, half:]
    np.testing.assert_array_equal(y, expected)
