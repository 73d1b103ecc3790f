"""Reductions of tiles that are no powers of two: short code without tables, and right values.

Programs run on the emulator, with its checks for races and for registers that nothing wrote.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tilelang.language as T
from tilelang.codegen.cuda import print_cuda
from tilelang.engine.emulator import KernelCall, emulate
from tilelang.ir.func import PrimFunc
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.pipeline import run

TARGET = Target("cuda -arch=sm_80")
ARENA = 128 * 1024


def text_of(func: PrimFunc) -> str:
    return print_cuda(run(func, PassContext(TARGET)), TARGET)


def emulated(func: PrimFunc, threads: int, **arrays: Any) -> None:
    call = KernelCall(f"{func.name}_kernel", (1,), (threads,), tuple(arrays), ARENA)
    emulate(text_of(func), [call], arrays, seed=0)


def lines(
    shape: tuple[int, ...], dim: int, threads: int, kind: str = "sum", dtype: str = "float32"
):
    """One tile reduced along `dim` and combined with what was there."""
    out = shape[:dim] + shape[dim + 1 :]

    @T.prim_func
    def main(A: T.Tensor(shape, dtype), B: T.Tensor(out, dtype)):
        with T.Kernel(1, threads=threads):
            a = T.alloc_fragment(shape, dtype)
            b = T.alloc_fragment(out, dtype)
            T.copy(A, a)
            T.copy(B, b)
            getattr(T, f"reduce_{kind}")(a, b, dim=dim, clear=False)
            T.copy(b, B)

    return main


def normalized(rows: int, columns: int, threads: int):
    """Softmax of rows, less the mean of each column: both projections, in one tile."""

    @T.prim_func
    def main(X: T.Tensor((rows, columns), "float16"), Y: T.Tensor((rows, columns), "float32")):
        with T.Kernel(1, threads=threads):
            x = T.alloc_fragment((rows, columns), "float16")
            p = T.alloc_fragment((rows, columns), "float32")
            most = T.alloc_fragment((rows, 1), "float32")
            total = T.alloc_fragment((rows,), "float32")
            mean = T.alloc_fragment((columns,), "float32")
            T.copy(X, x)
            for i, j in T.Parallel(rows, columns):
                p[i, j] = x[i, j]
            T.reduce_max(p, most, dim=1)
            for i, j in T.Parallel(rows, columns):
                p[i, j] = T.exp(p[i, j] - most[i, 0])
            T.reduce_sum(p, total, dim=1)
            for i, j in T.Parallel(rows, columns):
                p[i, j] = p[i, j] / total[i]
            T.reduce_sum(p, mean, dim=0)
            for i, j in T.Parallel(rows, columns):
                p[i, j] = p[i, j] - mean[j] / rows
            T.copy(p, Y)

    return main


def viewed(rows: int, columns: int):
    """A tile with a second name, results in shared memory, and a part of a tile reduced."""

    @T.prim_func
    def main(
        A: T.Tensor((rows, columns), "float32"), B: T.Tensor((rows,), "float32"),
        C: T.Tensor((rows,), "float32"),
    ):  # fmt: skip
        with T.Kernel(1, threads=128):
            a = T.alloc_fragment((rows, columns), "float32")
            again = T.reshape(a, (rows * columns,))
            b = T.alloc_shared((rows,), "float32")
            half = T.alloc_fragment((rows, columns), "float32")
            c = T.alloc_fragment((rows,), "float32")
            T.copy(A, a)
            for i in T.Parallel(rows * columns):
                again[i] = again[i] * 2.0
            T.reduce_sum(a, b, dim=1)
            T.copy(b, B)
            T.copy(A, half)
            T.reduce_sum(half[:, 0 : columns // 2], c, dim=1)
            T.copy(c, C)

    return main


@pytest.mark.parametrize(
    "shape, dim, threads, kind, dtype",
    [
        ((24, 40), 1, 128, "sum", "float32"),
        ((24, 40), 0, 128, "max", "float16"),
        ((100, 77), 1, 128, "sum", "int32"),
        ((100, 77), 0, 128, "sum", "float32"),
        ((128, 96), 0, 128, "sum", "float32"),
        ((3, 1000), 1, 256, "max", "float32"),
        ((1000, 3), 0, 96, "sum", "int32"),
        ((33, 20), 1, 100, "min", "bfloat16"),
        ((5, 7, 9), 2, 128, "bitxor", "int32"),
        ((5, 7, 9), 1, 128, "sum", "int32"),
        ((7, 3), 0, 64, "sum", "float32"),
    ],
)
def test_lines_of_a_tile(shape, dim, threads, kind, dtype):
    rng = np.random.default_rng(len(shape) * 7 + dim)
    storage = T.dtype(dtype).as_numpy()
    a = rng.integers(-9, 10, shape).astype(storage)
    b = rng.integers(-9, 10, shape[:dim] + shape[dim + 1 :]).astype(storage)
    combine = {"sum": np.add, "max": np.maximum, "min": np.minimum, "bitxor": np.bitwise_xor}[kind]
    wide = np.int64 if dtype.startswith("int") else np.float64
    want = combine(b.astype(wide), combine.reduce(a.astype(wide), axis=dim))
    emulated(lines(shape, dim, threads, kind, dtype), threads, A=a, B=b)
    np.testing.assert_array_equal(b.astype(wide), want)


@pytest.mark.parametrize("rows, columns, threads", [(24, 40, 128), (50, 77, 128), (10, 200, 96)])
def test_rows_and_columns_of_one_tile(rows, columns, threads):
    x = np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float16)
    y = np.zeros((rows, columns), np.float32)
    emulated(normalized(rows, columns, threads), threads, X=x, Y=y)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    np.testing.assert_allclose(y, p - p.mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rows, columns", [(24, 40), (30, 14)])
def test_views_shared_results_and_parts(rows, columns):
    a = np.random.default_rng(5).integers(-9, 10, (rows, columns)).astype(np.float32)
    b, c = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    emulated(viewed(rows, columns), 128, A=a, B=b, C=c)
    np.testing.assert_array_equal(b, 2 * a.sum(1))
    np.testing.assert_array_equal(c, a[:, : columns // 2].sum(1))


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("shape", [(24, 40), (100, 77), (128, 96), (3, 1000), (60, 130), (17, 48)])
@pytest.mark.parametrize("threads", [128, 256])
def test_the_code_is_short(shape, dim, threads):
    text = text_of(lines(shape, dim, threads))
    assert "?" not in text  # no selects: which thread holds what needs no table
    assert text.count("\n") < 110 and max(map(len, text.splitlines())) < 200
    assert len(re.findall("tl_sync_threads", text)) <= 3


@pytest.mark.parametrize("shape", [(24, 40), (50, 77), (96, 48)])
def test_rows_of_a_tile_stay_in_registers(shape):
    @T.prim_func
    def main(X: T.Tensor(shape, "float32"), Y: T.Tensor(shape, "float32")):
        with T.Kernel(1, threads=128):
            x = T.alloc_fragment(shape, "float32")
            s = T.alloc_fragment(shape[:1], "float32")
            T.copy(X, x)
            T.reduce_sum(x, s, dim=1)
            for i, j in T.Parallel(*shape):
                x[i, j] = x[i, j] / s[i]
            T.copy(x, Y)

    text = text_of(main)
    assert "tl_arena" not in text and "tl_sync_threads" not in text
