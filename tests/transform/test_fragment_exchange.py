"""Exchanges through shared memory: where owners differ, and of what nothing wrote."""

from __future__ import annotations

import numpy as np

import tilelang
import tilelang.language as T
from tests.transform.test_infer_fragments import inferred, layouts_of
from tilelang.target import Target
from tilelang.transform.context import PassContext


def test_an_exchange_stands_where_owners_differ():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float16"), C: T.Tensor((64, 64), "float32")):
        with T.Kernel(1, threads=128):
            a = T.alloc_shared((64, 64), "float16")
            c = T.alloc_fragment((64, 64), "float32")
            d = T.alloc_fragment((64, 64), "float32")
            T.copy(A, a)
            T.gemm(a, a, c)
            T.gemm(a, a, d, policy=T.GemmWarpPolicy.FullRow)
            for i, j in T.Parallel(64, 64):
                c[i, j] = c[i, j] + d[i, j]
            for i, j in T.Parallel(64, 64):
                c[i, j] = c[i, j] * 2.0
            T.copy(c, C)

    ctx = PassContext(Target("cuda -arch=sm_80"))
    func = inferred(kernel, ctx=ctx)
    names = [b.name for b, _ in layouts_of(func)]
    assert names.count("d_exchange") == 1 and "c_exchange" not in names
    (note,) = (n for n in ctx.notes if getattr(n, "moves", None))
    assert (note.buffer, note.bytes, note.moves) == ("d", 64 * 64 * 4, 2)


def test_what_nothing_wrote_passes_through_an_exchange():
    """Row 0 alone is written before all of `f` is exchanged: the emulator would see a read of
    registers without a value."""

    @T.prim_func
    def kernel(A: T.Tensor((8, 64), "float32"), B: T.Tensor((64,), "float32"), n: T.int32):
        with T.Kernel(1, threads=128):
            f = T.alloc_fragment((8, 64), "float32")
            row = T.alloc_var("int32", n)
            for k in T.serial(2):
                for j in T.Parallel(64):
                    f[row, 63 - j] = A[row, j] + k
            for j in T.Parallel(64):
                B[j] = f[row, j]

    a, b = np.random.default_rng(0).random((8, 64), np.float32), np.zeros(64, np.float32)
    with tilelang.env.scope(TILELANG_EMULATE=True):
        tilelang.compile(kernel, target="cuda -arch=sm_80")(a, b, 5)
    np.testing.assert_array_equal(b, a[5, ::-1] + 1)
