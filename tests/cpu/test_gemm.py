"""T.gemm on the CPU: transposes, types, odd tiles, clearing, chains, pipelines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tilelang.language as T
from tests.cpu.arrays import assert_near, product_type, random, run, storage, wide

TRANSPOSES = list(itertools.product((False, True), repeat=2))
FLOATS = [  # operands, sum
    ("float32", "float32"), ("float64", "float64"), ("float16", "float32"),
    ("bfloat16", "float32"), ("float16", "float16"), ("bfloat16", "bfloat16"),
    ("float8_e4m3fn", "float32"), ("float8_e5m2", "float32"), ("float8_e4m3fnuz", "float16"),
]  # fmt: skip
INTEGERS = [("int8", "int32"), ("uint8", "int32"), ("int32", "int32"), ("int8", "int64")]


def assert_product(actual, a, b, dtype, start=0.0):
    if actual.dtype.kind in "iu":
        np.testing.assert_array_equal(actual, a @ b + np.int64(start))
    else:
        magnitude = (np.abs(a) @ np.abs(b) + abs(start)) * max(1, np.log2(a.shape[1]))
        if dtype in ("float16", "bfloat16"):
            magnitude = magnitude * 2
        assert_near(actual, a @ b + start, dtype, magnitude)


@pytest.mark.parametrize(("dtype", "total"), FLOATS + INTEGERS)
def test_types_and_transposes(dtype, total):
    """All four transposes of one odd tile, added to what the accumulator holds."""
    m, n, k = 17, 19, 23

    @T.prim_func
    def kernel(
        A: T.Tensor((m, k), dtype), At: T.Tensor((k, m), dtype),
        B: T.Tensor((k, n), dtype), Bt: T.Tensor((n, k), dtype),
        C: T.Tensor((4, m, n), total),
    ):  # fmt: skip
        for row, (ta, tb) in enumerate(TRANSPOSES):
            with T.Kernel(1):
                a = T.alloc_shared((k, m) if ta else (m, k), dtype)
                b = T.alloc_shared((n, k) if tb else (k, n), dtype)
                c = T.alloc_fragment((m, n), total)
                T.copy(At if ta else A, a)
                T.copy(Bt if tb else B, b)
                T.fill(c, 3)
                T.gemm(a, b, c, transpose_A=ta, transpose_B=tb)
                T.copy(c, C[row, 0:m, 0:n])

    a, b = random((m, k), dtype, 1), random((k, n), dtype, 2)
    c = np.zeros((4, m, n), storage(total))
    run(kernel, a, np.ascontiguousarray(a.T), b, np.ascontiguousarray(b.T), c)
    for got in c:
        assert_product(got, wide(a), wide(b), total, 3)


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [("float8_e4m3fn", "float8_e5m2", "float32"), ("uint8", "int8", "int32"),
     ("int8", "uint8", "int32")],
)  # fmt: skip
def test_operands_of_two_types(left, right, total):
    m, n, k = 16, 32, 40

    @T.prim_func
    def kernel(A: T.Tensor((m, k), left), B: T.Tensor((n, k), right), C: T.Tensor((m, n), total)):
        with T.Kernel(1):
            a, b = T.alloc_shared((m, k), left), T.alloc_shared((n, k), right)
            c = T.alloc_fragment((m, n), total)
            T.copy(A, a)
            T.copy(B, b)
            T.gemm(a, b, c, transpose_B=True, clear_accum=True)
            T.copy(c, C)

    a, b = random((m, k), left, high=127), random((n, k), right, 1, high=127)
    c = np.zeros((m, n), storage(total))
    run(kernel, a, b, c)
    assert_product(c, wide(a), wide(b).T, total)


def test_whole_range_of_bytes():
    """The extreme bytes: no intermediate sum of pairs saturates."""
    m, n, k = 8, 32, 64

    @T.prim_func
    def kernel(
        A: T.Tensor((m, k), "uint8"), S: T.Tensor((m, k), "int8"), B: T.Tensor((k, n), "int8"),
        C: T.Tensor((2, m, n), "int32"),
    ):  # fmt: skip
        with T.Kernel(1):
            a, s = T.alloc_shared((m, k), "uint8"), T.alloc_shared((m, k), "int8")
            b = T.alloc_shared((k, n), "int8")
            c = T.alloc_fragment((m, n), "int32")
            T.copy(A, a)
            T.copy(S, s)
            T.copy(B, b)
            T.gemm(a, b, c, clear_accum=True)
            T.copy(c, C[0, 0:m, 0:n])
            T.gemm(s, b, c, clear_accum=True)
            T.copy(c, C[1, 0:m, 0:n])

    for x, y, z in ((255, -128, 127), (255, 127, -128), (0, 0, 0)):
        a, s = np.full((m, k), x, np.uint8), np.full((m, k), y, np.int8)
        b, c = np.full((k, n), z, np.int8), np.zeros((2, m, n), np.int32)
        run(kernel, a, s, b, c)
        assert (c[0] == x * z * k).all() and (c[1] == y * z * k).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_odd_tiles(dtype):
    """Sizes around the micro-kernel's own, one launch each."""
    sizes = [(1, 1, 1), (1, 16, 3), (5, 1, 7), (13, 31, 2), (6, 33, 64), (64, 65, 1), (31, 48, 129)]
    total = "int32" if dtype == "int8" else "float32"
    area = 64 * 65

    @T.prim_func
    def kernel(
        A: T.Tensor((64, 129), dtype), B: T.Tensor((129, 65), dtype),
        C: T.Tensor((len(sizes), area), total),
    ):  # fmt: skip
        for row, (m, n, k) in enumerate(sizes):
            with T.Kernel(1):
                a, b = T.alloc_shared((m, k), dtype), T.alloc_shared((k, n), dtype)
                c = T.alloc_fragment((m, n), total)
                T.copy(A[0:m, 0:k], a)
                T.copy(B[0:k, 0:n], b)
                T.gemm(a, b, c, clear_accum=True)
                for i, j in T.Parallel(m, n):
                    C[row, i * n + j] = c[i, j]

    a, b = random((64, 129), dtype, 1), random((129, 65), dtype, 2)
    c = np.zeros((len(sizes), area), storage(total))
    run(kernel, a, b, c)
    for (m, n, k), got in zip(sizes, c):
        assert_product(got[: m * n].reshape(m, n), wide(a)[:m, :k], wide(b)[:k, :n], total)


def test_operands_in_every_memory_and_regions():
    m, n, k = 12, 20, 16

    @T.prim_func
    def kernel(
        A: T.Tensor((3, m, k), "float32"), B: T.Tensor((k, n), "float32"),
        C: T.Tensor((6, m, n), "float32"),
    ):  # fmt: skip
        with T.Kernel(1):
            a_shared = T.alloc_shared((2, m, k), "float32")
            b_shared = T.alloc_shared((k + 3, n + 5), "float32")
            a_fragment = T.alloc_fragment((m, k), "float32")
            b_fragment = T.alloc_fragment((k, n), "float32")
            c = T.alloc_fragment((m, n), "float32")
            c_shared = T.alloc_shared((1, m + 2, n), "float32")
            T.copy(A[0:2, 0:m, 0:k], a_shared)
            T.copy(A[2, 0:m, 0:k], a_fragment)
            T.copy(B, b_shared[3 : k + 3, 5 : n + 5])
            T.copy(B, b_fragment)
            T.gemm(a_shared[1, :, :], b_shared[3 : k + 3, 5 : n + 5], c, clear_accum=True)
            T.copy(c, C[0, 0:m, 0:n])
            T.gemm(a_fragment, b_fragment, c, clear_accum=True)
            T.copy(c, C[1, 0:m, 0:n])
            T.gemm(A[0, 0:m, 0:k], B, c, clear_accum=True)
            T.copy(c, C[2, 0:m, 0:n])
            T.fill(c_shared, 1.0)
            T.gemm(a_shared[0, :, :], b_fragment, c_shared[0, 2 : m + 2, :])
            T.copy(c_shared[0, 2 : m + 2, :], C[3, 0:m, 0:n])
            T.copy(c_shared[0, 0:2, :], C[4, 0:2, 0:n])  # rows the product left alone
            T.gemm(A[1, 0:m, 0:k], b_fragment, C[5, 0:m, 0:n])

    a, b, c = random((3, m, k)), random((k, n), seed=1), np.zeros((6, m, n), np.float32)
    run(kernel, a, b, c)
    for row, (left, start) in {0: (1, 0), 1: (2, 0), 2: (0, 0), 3: (0, 1), 5: (1, 0)}.items():
        assert_product(c[row], wide(a[left]), wide(b), "float32", start)
    assert (c[4, :2] == 1).all() and (c[4, 2:] == 0).all()


def test_clearing_decided_at_run_time():
    m, n, k, steps = 8, 24, 4, 5

    @T.prim_func
    def kernel(
        A: T.Tensor((steps, m, k), "float32"), B: T.Tensor((steps, k, n), "float32"),
        flags: T.Tensor((steps,), "int32"), C: T.Tensor((m, n), "float32"),
    ):  # fmt: skip
        with T.Kernel(1):
            a, b = T.alloc_shared((m, k), "float32"), T.alloc_shared((k, n), "float32")
            c = T.alloc_fragment((m, n), "float32")
            T.fill(c, 100.0)
            for step in T.serial(steps):
                T.copy(A[step, 0, 0], a)
                T.copy(B[step, 0, 0], b)
                T.gemm(a, b, c, clear_accum=flags[step] != 0)
            T.copy(c, C)

    a, b = random((steps, m, k)), random((steps, k, n), seed=1)
    for flags in ([0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1]):
        c = np.zeros((m, n), np.float32)
        run(kernel, a, b, np.array(flags, np.int32), c)
        expected = np.full((m, n), 100.0)
        for flag, x, y in zip(flags, wide(a), wide(b)):
            expected = expected * (not flag) + x @ y
        np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("num_stages", [0, 3])
def test_tiled_product_of_dynamic_shape(dtype, num_stages):
    """Edge tiles on all sides, K = 0, a K tail of one, more stages than steps."""
    M, N, K = T.dynamic("M, N, K")
    bm, bn, bk = 32, 48, 16

    @T.prim_func
    def kernel(
        A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), C: T.Tensor((M, N), "float32")
    ):
        with T.Kernel(T.ceildiv(N, bn), T.ceildiv(M, bm), threads=128) as (bx, by):
            a, b = T.alloc_shared((bm, bk), dtype), T.alloc_shared((bk, bn), dtype)
            c = T.alloc_fragment((bm, bn), "float32")
            T.clear(c)
            for ko in T.Pipelined(T.ceildiv(K, bk), num_stages=num_stages):
                T.copy(A[by * bm, ko * bk], a)
                T.copy(B[ko * bk, bx * bn], b)
                T.gemm(a, b, c)
            T.copy(c, C[by * bm, bx * bn])

    for m, n, k in ((1, 1, 1), (33, 47, 17), (64, 96, 32), (5, 100, 0), (67, 13, 101)):
        a, b = random((m, k), dtype), random((k, n), dtype, 1)
        c = np.full((m, n), np.nan, np.float32)
        run(kernel, a, b, c)
        near = product_type(dtype)
        assert_near(c, wide(a) @ wide(b), near, np.abs(wide(a)) @ np.abs(wide(b)) * 8)


def test_policies_and_the_other_hints_change_nothing():
    m, n, k = 32, 32, 16
    policies = [*T.GemmWarpPolicy]

    @T.prim_func
    def kernel(
        A: T.Tensor((m, k), "float16"), B: T.Tensor((k, n), "float16"),
        C: T.Tensor((len(policies) + 2, m, n), "float32"),
    ):  # fmt: skip
        with T.Kernel(1, threads=128):
            a, b = T.alloc_shared((m, k), "float16"), T.alloc_shared((k, n), "float16")
            c = T.alloc_fragment((m, n), "float32")
            T.copy(A, a)
            T.copy(B, b)
            for row, policy in enumerate(policies):
                T.gemm(a, b, c, policy=policy, clear_accum=True)
                T.copy(c, C[row, 0:m, 0:n])
            T.gemm_v1(a, b, c, clear_accum=True, k_pack=2)
            T.copy(c, C[len(policies), 0:m, 0:n])
            T.gemm_v2(a, b, c, clear_accum=True, wg_wait=-1)
            T.copy(c, C[len(policies) + 1, 0:m, 0:n])

    a, b = random((m, k), "float16"), random((k, n), "float16", 1)
    c = np.zeros((len(policies) + 2, m, n), np.float32)
    run(kernel, a, b, c)
    assert (c == c[0]).all()
    assert_product(c[0], wide(a), wide(b), "float32")


def test_chained_products_with_a_fragment_as_left_operand():
    """softmax(Q K^T) V without the scaling: scores go from one accumulator to the next product."""
    m, n, d = 24, 40, 16

    @T.prim_func
    def kernel(
        Q: T.Tensor((m, d), "float16"), K: T.Tensor((n, d), "float16"),
        V: T.Tensor((n, d), "float16"), Z: T.Tensor((m, d), "float32"),
    ):  # fmt: skip
        with T.Kernel(1):
            q, k = T.alloc_shared((m, d), "float16"), T.alloc_shared((n, d), "float16")
            v = T.alloc_shared((n, d), "float16")
            s = T.alloc_fragment((m, n), "float32")
            p = T.alloc_fragment((m, n), "float16")
            z = T.alloc_fragment((m, d), "float32")
            largest, total = T.alloc_fragment((m,), "float32"), T.alloc_fragment((m,), "float32")
            T.copy(Q, q)
            T.copy(K, k)
            T.copy(V, v)
            T.gemm(q, k, s, transpose_B=True, clear_accum=True)
            T.reduce_max(s, largest, dim=1)
            for i, j in T.Parallel(m, n):
                s[i, j] = T.exp(s[i, j] - largest[i])
            T.reduce_sum(s, total, dim=1)
            T.copy(s, p)
            T.gemm(p, v, z, clear_accum=True)
            for i, j in T.Parallel(m, d):
                z[i, j] /= total[i]
            T.copy(z, Z)

    q, k, v = (random(s, "float16", i) for i, s in enumerate([(m, d), (n, d), (n, d)]))
    z = np.zeros((m, d), np.float32)
    run(kernel, q, k, v, z)
    scores = wide(q) @ wide(k).T
    p = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(z, p @ wide(v) / p.sum(1, keepdims=True), atol=2e-3)


def test_a_chain_of_sums_in_one_accumulator():
    m, n, k = 16, 16, 8

    @T.prim_func
    def kernel(A: T.Tensor((m, 3 * k), "float64"), B: T.Tensor((3 * k, n), "float64"),
               C: T.Tensor((m, n), "float64")):  # fmt: skip
        with T.Kernel(1):
            c = T.alloc_fragment((m, n), "float64")
            T.clear(c)
            for step in T.unroll(3):
                T.gemm(A[0:m, step * k : (step + 1) * k], B[step * k : (step + 1) * k, 0:n], c)
            T.copy(c, C)

    a, b, c = random((m, 3 * k), "float64"), random((3 * k, n), "float64", 1), np.zeros((m, n))
    run(kernel, a, b, c)
    assert_product(c, a, b, "float64")


def test_packed_int4_operands():
    m, n, k = 16, 32, 64

    @T.prim_func
    def kernel(
        A: T.Tensor((m, k), "int4"), B: T.Tensor((n, k), "int4"), C: T.Tensor((m, n), "int32")
    ):
        with T.Kernel(1):
            a, b = T.alloc_shared((m, k), "int4"), T.alloc_shared((n, k), "int4")
            c = T.alloc_fragment((m, n), "int32")
            T.copy(A, a)
            T.copy(B, b)
            T.gemm(a, b, c, transpose_B=True, clear_accum=True)
            T.copy(c, C)

    rng = np.random.default_rng(0)
    a, b = rng.integers(-8, 8, (m, k)), rng.integers(-8, 8, (n, k))

    def packed(x):
        return ((x[:, ::2] & 15) | ((x[:, 1::2] & 15) << 4)).astype(np.uint8).view(np.int8)

    c = np.zeros((m, n), np.int32)
    run(kernel, packed(a), packed(b), c)
    np.testing.assert_array_equal(c, a @ b.T)
