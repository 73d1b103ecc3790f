"""What one thread does: vectors, predicates, asynchronous copies, one writer per element.

Random programs through all passes are in test_tile_programs.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang.codegen.cuda import print_cuda
from tilelang.layout.swizzle import make_full_bank_swizzled_layout
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.pipeline import run
from tilelang.transform.thread_accesses import moves_in_groups

torch = pytest.importorskip("torch")

TARGET = "cuda -arch=sm_80"


def text_of(func):
    return print_cuda(run(func, PassContext(Target(TARGET))), Target(TARGET))


def emulated(func, *tensors):
    with tilelang.env.scope(TILELANG_EMULATE=True, TILELANG_DISABLE_CACHE=True):
        tilelang.compile(func, target=TARGET)(*tensors)


def _shifted(rows, columns, block, threads):
    @T.prim_func
    def kernel(A: T.Tensor((rows, columns), "float32"), B: T.Tensor((rows, columns), "float32")):
        with T.Kernel(T.ceildiv(rows, block), T.ceildiv(columns, block), threads=threads) as (y, x):
            for i, j in T.Parallel(block, block):
                B[y * block + i, x * block + j] = A[y * block + i, x * block + j] * 2.0

    return kernel


@pytest.mark.parametrize("threads", [32, 96, 100, 128])
@pytest.mark.parametrize(
    "rows, columns, block", [(64, 64, 32), (37, 41, 16), (33, 64, 32), (7, 5, 8)]
)
def test_edges_are_guarded(rows, columns, block, threads):
    a = torch.arange(rows * columns, dtype=torch.float32).reshape(rows, columns)
    b = torch.zeros(rows, columns)
    emulated(_shifted(rows, columns, block, threads), a, b)
    assert torch.equal(b, a * 2)


def test_whole_tiles_have_no_predicate():
    assert "if (" not in text_of(_shifted(64, 64, 32, 128))
    assert "if (" in text_of(_shifted(63, 64, 32, 128))


def _copied(columns):
    @T.prim_func
    def kernel(A: T.Tensor((64, columns), "float16"), B: T.Tensor((64, 32), "float32")):
        with T.Kernel(1, threads=64):
            s = T.alloc_shared((64, 32), "float16")
            for k in T.Pipelined(4, num_stages=2):
                T.copy(A[0, k * 32], s)
                for i, j in T.Parallel(64, 32):
                    B[i, j] = B[i, j] + T.cast(s[i, j], "float32")

    return kernel


@pytest.mark.parametrize(
    "columns, function",
    [(128, "tl_cp_async_cg_16"), (120, "tl_cp_async_cg_16_zfill"), (100, "tl_cp_async_ca_8_zfill"),
     (98, "tl_cp_async_ca_4_zfill"), (97, None)],
)  # fmt: skip
def test_asynchronous_copies_are_as_wide_as_the_rows_allow(columns, function):
    func = _copied(columns)
    calls = set(re.findall(r"tl_cp_async_c[ag]_\w+", text_of(func)))
    inside = {function.removesuffix("_zfill")} if function else set()  # tiles that are whole
    assert calls == (inside | {function} if function else set())
    rng = np.random.default_rng(columns)
    a = torch.from_numpy(rng.integers(-4, 5, (64, columns)).astype(np.float16))
    b = torch.zeros(64, 32)
    emulated(func, a, b)
    whole = torch.nn.functional.pad(a.float(), (0, 128 - columns))
    assert torch.equal(b, whole.reshape(64, 4, 32).sum(1))


def test_what_many_threads_hold_is_written_once():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float16"), N: T.Tensor((64,), "int32")):
        with T.Kernel(1, threads=128):
            a = T.alloc_shared((64, 64), "float16")
            c = T.alloc_fragment((64, 64), "float32")
            r = T.alloc_fragment((64,), "float32")
            T.copy(A, a)
            T.clear(c)
            T.gemm(a, a, c)
            T.reduce_max(c, r, dim=1)
            for i in T.Parallel(64):
                T.atomic_add(N[i], T.cast(r[i], "int32") + 1)

    count = torch.zeros(64, dtype=torch.int32)
    emulated(kernel, torch.zeros(64, 64).half(), count)
    assert torch.equal(count, torch.ones(64, dtype=torch.int32))


def test_groups_of_a_swizzle_stay_together():
    layout = make_full_bank_swizzled_layout(64, 64, 16)
    assert moves_in_groups(layout, 8) and moves_in_groups(layout, 2)
    assert not moves_in_groups(layout, 16)
