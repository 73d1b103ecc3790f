"""The next block's rows are asked for while this block's are streamed: same results, no more."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang.transform.stream_stores import STREAMED_BYTES

COLUMNS = 4096
ROWS = STREAMED_BYTES // (COLUMNS * 4) + 6


def normalised(rows, columns, block, dtype="float32"):
    @T.prim_func
    def kernel(X: T.Tensor((rows, columns), dtype), Y: T.Tensor((rows, columns), dtype)):
        with T.Kernel(T.ceildiv(rows, block)) as bx:
            x = T.alloc_fragment((block, columns), "float32")
            largest = T.alloc_fragment((block,), "float32")
            T.copy(X[bx * block, 0], x)
            T.reduce_absmax(x, largest, dim=1)
            for i, j in T.Parallel(block, columns):
                Y[bx * block + i, j] = x[i, j] / largest[i]

    return tilelang.compile(kernel, target="c")


def prefetches(kernel) -> list[tuple[str, int]]:
    """Address and bytes of each."""
    found = re.findall(r"tl_stream_prefetch\(&(.*), (\d+)\);", kernel.get_kernel_source())
    return [(address, int(size)) for address, size in found]


@pytest.mark.parametrize(
    ("rows", "columns", "block", "dtype"),
    [
        (ROWS, COLUMNS, 1, "float32"), (ROWS, COLUMNS, 2, "float32"),
        (ROWS + 1, COLUMNS - 5, 4, "float32"), (ROWS, 2 * COLUMNS, 2, "float16"),
    ],
)  # fmt: skip
def test_every_byte_of_the_next_block_once(rows, columns, block, dtype):
    kernel = normalised(rows, columns, block, dtype)
    ((address, size),) = prefetches(kernel)
    assert f"next_bx = tl_min_int32(bx + 1, {-(-rows // block) - 1})" in kernel.get_kernel_source()
    row = columns * T.dtype(dtype).itemsize
    chunks = row // 256
    assert chunks * size >= row > chunks * (size - 2 * T.dtype(dtype).itemsize)
    offset = eval(address[2:-1], {"next_bx": 3, "i": block - 1, "chunk": 5})
    assert offset == (3 * block + block - 1) * columns + 5 * size // T.dtype(dtype).itemsize
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32).astype(dtype)
    y = np.full_like(x, np.nan)
    kernel(x, y)
    wide = x.astype(np.float32)
    expected = (wide / np.abs(wide).max(axis=1, keepdims=True)).astype(dtype)
    np.testing.assert_allclose(y.astype(np.float32), expected.astype(np.float32), rtol=2e-3)


def test_two_inputs_each_once_and_what_all_blocks_read_never():
    @T.prim_func
    def kernel(
        X: T.Tensor((ROWS, COLUMNS), "float32"), R: T.Tensor((ROWS, COLUMNS), "float32"),
        W: T.Tensor((COLUMNS,), "float32"), Y: T.Tensor((ROWS, COLUMNS), "float32"),
    ):  # fmt: skip
        with T.Kernel(ROWS) as bx:
            x = T.alloc_fragment((COLUMNS,), "float32")
            total = T.alloc_fragment((1,), "float32")
            for j in T.Parallel(COLUMNS):
                x[j] = X[bx, j] + R[bx, j] + X[bx, j] * W[j]
            T.reduce_sum(x, total)
            for j in T.Parallel(COLUMNS):
                Y[bx, j] = x[j] * total[0]

    addresses = [address for address, _ in prefetches(tilelang.compile(kernel, target="c"))]
    assert sorted(address[0] for address in addresses) == ["R", "X"]


def test_nothing_where_input_and_output_are_one_loop_or_the_output_is_small():
    @T.prim_func
    def plain(X: T.Tensor((ROWS, COLUMNS), "float32"), Y: T.Tensor((ROWS, COLUMNS), "float32")):
        with T.Kernel(ROWS) as bx:
            for j in T.Parallel(COLUMNS):
                Y[bx, j] = X[bx, j] * 2.0

    kernel = tilelang.compile(plain, target="c")
    assert "tl_stream_store" in kernel.get_kernel_source()
    assert prefetches(kernel) == []
    assert prefetches(normalised(64, COLUMNS, 2)) == []


def test_nothing_for_rows_chosen_by_a_table():
    @T.prim_func
    def gathered(
        X: T.Tensor((ROWS, COLUMNS), "float32"), index: T.Tensor((ROWS,), "int32"),
        Y: T.Tensor((ROWS, COLUMNS), "float32"),
    ):  # fmt: skip
        with T.Kernel(ROWS) as bx:
            x = T.alloc_fragment((COLUMNS,), "float32")
            for j in T.Parallel(COLUMNS):
                x[j] = X[index[bx], j]
            total = T.alloc_fragment((1,), "float32")
            T.reduce_sum(x, total)
            for j in T.Parallel(COLUMNS):
                Y[bx, j] = x[j] * total[0]

    assert prefetches(tilelang.compile(gathered, target="c")) == []
