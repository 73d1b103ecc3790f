"""Reductions, scans and reducers from the user's kernel to CUDA text, run with all checks."""

from __future__ import annotations

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


@T.prim_func
def product_lines(
    A: T.Tensor((64, 32), "float16"), B: T.Tensor((48, 32), "float16"),
    R: T.Tensor((64,), "float32"), C: T.Tensor((48,), "float32"),
):  # fmt: skip
    with T.Kernel(1, threads=128):
        a = T.alloc_shared((64, 32), "float16")
        b = T.alloc_shared((48, 32), "float16")
        acc = T.alloc_fragment((64, 48), "float32")
        rows = T.alloc_fragment((64,), "float32")
        columns = T.alloc_fragment((48,), "float32")
        T.copy(A, a)
        T.copy(B, b)
        T.clear(acc)
        T.gemm(a, b, acc, transpose_B=True)
        T.reduce_max(acc, rows, dim=1)
        T.reduce_sum(acc, columns, dim=0)
        T.copy(rows, R)
        T.copy(columns, C)


@T.prim_func
def scans(
    A: T.Tensor((40, 96), "float32"), B: T.Tensor((40, 96), "float32"),
    C: T.Tensor((96,), "float32"), D: T.Tensor((8,), "float32"),
):  # fmt: skip
    with T.Kernel(1, threads=128):
        s = T.alloc_shared((40, 96), "float32")
        f = T.alloc_fragment((40, 96), "float32")
        c = T.alloc_shared((96,), "float32")
        r = T.alloc_reducer((8,), "float32", op="sum")
        o = T.alloc_fragment((8,), "float32")
        T.copy(A, s)
        T.cumsum(s, dim=1)
        T.copy(s, f)
        T.cumsum(f, dim=0, reverse=True)
        T.copy(f, B)
        T.reduce_sum(s, c, dim=0)
        T.copy(c, C)
        T.reducer_init(r, 100.0)
        for i, j in T.Parallel(8, 96):
            T.reducer_update(r[i], A[i, j])
        T.finalize_reducer(r, o)
        T.copy(o, D)


def _run(func: PrimFunc, seed: int, threads: int, **arrays: Any) -> None:
    text = print_cuda(run(func, PassContext(TARGET)), TARGET)
    call = KernelCall(f"{func.name}_kernel", (1,), (threads,), tuple(arrays), ARENA)
    emulate(text, [call], arrays, seed=seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_and_columns_of_a_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-3, 4, (n, 32)).astype(np.float16) for n in (64, 48))
    rows, columns = np.zeros(64, np.float32), np.zeros(48, np.float32)
    _run(product_lines, seed, 128, A=a, B=b, R=rows, C=columns)
    want = a.astype(np.float32) @ b.astype(np.float32).T
    assert np.array_equal(rows, want.max(1)) and np.array_equal(columns, want.sum(0))


@pytest.mark.parametrize("seed", [0, 1])
def test_scans_and_a_reducer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(-9, 9, (40, 96)).astype(np.float32)
    b, c, d = np.zeros_like(a), np.zeros(96, np.float32), np.zeros(8, np.float32)
    _run(scans, seed, 128, A=a, B=b, C=c, D=d)
    s = a.cumsum(1)
    assert np.array_equal(b, s[::-1].cumsum(0)[::-1])
    assert np.array_equal(c, s.sum(0)) and np.array_equal(d, 100 + a[:8].sum(1))
