"""Behaviours that kernels of the reference implementation rely on, run on the CPU.

Each of the 22 has its test; those that are not here:
     1, 2, 5, 8, 10, 11, 12, 14, 22   tests/language/test_statements.py
     3   test_memory.py (fills), test_copy.py (run-time lengths)
     6   test_loops.py (indirection, conditions, no consumer), test_gemm.py (K = 0, tail of one)
     9   test_reduce.py (absolute values of unsigned integers)
    13   test_loops.py, tests/language/test_statements.py (extent 0)
    15   test_copy.py (strides, one element, conversions)
    18   tests/language/test_math.py (rounding modes)
    19   tests/transform/test_check_tile_program.py
    20   test_styles.py (computed extents)
    21   test_loops.py, tests/language/test_statements.py
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tilelang
import tilelang.language as T
from tests.cpu.arrays import random, run
from tilelang.errors import DTypeError, LayoutError
from tilelang.layout.warp_policy import GemmWarpPolicy


def test_4_readers_of_a_shared_atomic_see_all_of_it():
    @T.prim_func
    def kernel(A: T.Tensor((128,), "int32"), Z: T.Tensor((2, 128), "int32")):
        with T.Kernel(1, threads=128):
            tx = T.get_thread_binding()
            s = T.alloc_shared((4,), "int32")
            if tx < 4:
                s[tx] = 0
            if A[tx] > 0:  # divergent: no barrier can be inside
                T.atomic_add(s[tx % 4], A[tx])
            Z[0, tx] = s[(tx + 1) % 4]
            Z[1, tx] = s[0] + s[1] + s[2] + s[3]

    a, z = random((128,), "int32"), np.zeros((2, 128), np.int32)
    run(kernel, a, z)
    sums = np.where(a > 0, a, 0).reshape(-1, 4).sum(0)
    np.testing.assert_array_equal(z[0], sums[(np.arange(128) + 1) % 4])
    assert (z[1] == sums.sum()).all()


def test_7_fragments_indexed_by_quotients():
    """Scales for groups of 32 columns."""
    m, n = 6, 96

    @T.prim_func
    def kernel(
        A: T.Tensor((m, n), "int8"), S: T.Tensor((m, 3), "float32"), Z: T.Tensor((m, n), "float32")
    ):
        with T.Kernel(1, threads=128):
            a, s = T.alloc_fragment((m, n), "int8"), T.alloc_fragment((m, 3), "float32")
            z = T.alloc_fragment((m, n), "float32")
            T.copy(A, a)
            T.copy(S, s)
            for i, j in T.Parallel(m, n):
                z[i, j] = a[i, j] * s[i, j // 32]
            T.copy(z, Z)

    a, s, z = random((m, n), "int8", high=127), random((m, 3)), np.zeros((m, n), np.float32)
    run(kernel, a, s, z)
    np.testing.assert_array_equal(z, a * np.repeat(s, 32, 1))


def test_9_reduce_then_write_to_what_was_reduced():
    m, n, k = 3, 5, 200

    @T.prim_func
    def kernel(
        A: T.Tensor((m, n, k), "float32"),
        B: T.Tensor((m, k), "float32"),
        Z: T.Tensor((3, m, k), "float32"),
        R: T.Tensor((m, n), "float32"),
    ):
        with T.Kernel(1, threads=256):  # far more threads than rows
            a, b = T.alloc_fragment((m, n, k), "float32"), T.alloc_fragment((m, k), "float32")
            middle, last = T.alloc_fragment((m, k), "float32"), T.alloc_fragment((m, n), "float32")
            T.copy(A, a)
            T.copy(B, b)
            T.reduce_sum(a, middle, dim=1)
            for i, j in T.Parallel(m, k):
                b[i, j] = b[i, j] * middle[i, j]
            T.copy(b, Z[0, 0:m, 0:k])
            T.reduce_max(a, last, dim=2)
            for i, j, p in T.Parallel(m, n, k):
                a[i, j, p] = a[i, j, p] - last[i, j]
            T.reduce_max(a, last, dim=2)
            T.copy(last, R)
            T.copy(a[:, 2, :], Z[1, 0:m, 0:k])
            T.reduce_min(a, middle, dim=1, clear=False)
            T.copy(middle, Z[2, 0:m, 0:k])

    a, b = random((m, n, k)), random((m, k), seed=1)
    z, r = np.zeros((3, m, k), np.float32), np.ones((m, n), np.float32)
    run(kernel, a, b, z, r)
    shifted = a - a.max(2, keepdims=True)
    total = a.astype(np.float64).sum(1)
    np.testing.assert_allclose(z[0], b * total, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(r, 0)
    np.testing.assert_array_equal(z[1], shifted[:, 2])
    np.testing.assert_allclose(z[2], np.minimum(shifted.min(1), total), rtol=1e-4, atol=1e-5)


def test_14_vector_indices_of_unknown_sign_wrap_in_each_lane():
    @T.prim_func
    def kernel(A: T.Tensor((16,), "float32"), start: T.int32, Z: T.Tensor((2, 4), "float32")):
        with T.Kernel(1):
            Z[0, 0:4] = A[T.Ramp(start, 1, 4)]
            Z[1, 0:4] = A[T.Ramp(start, -2, 4)]

    a = random((16,))
    for start in (-2, 3, 6, -16):
        z = np.zeros((2, 4), np.float32)
        run(kernel, a, start, z)
        np.testing.assert_array_equal(z[0], a[np.arange(start, start + 4)])
        if start > -10:
            np.testing.assert_array_equal(z[1], a[start - 2 * np.arange(4)])


def test_15_copies_by_some_of_the_threads():
    @T.prim_func
    def kernel(A: T.Tensor((32, 8), "float16"), Z: T.Tensor((32, 8), "float32"), n: T.int32):
        with T.Kernel(1, threads=256):
            tx = T.get_thread_binding()
            s = T.alloc_shared((32, 8), "float32")
            if tx < 128:
                T.copy(A, s)
            else:
                T.clear(s[0:0, 0:0])
            if tx >= 128:
                T.copy(s, Z)
            if n > 3:
                T.copy(A[0, 0], Z[31, 7])

    a = random((32, 8), "float16")
    for n in (3, 4):
        z = np.zeros((32, 8), np.float32)
        run(kernel, a, z, n)
        expected = a.astype(np.float32)
        if n > 3:
            expected[31, 7] = a[0, 0]
        np.testing.assert_array_equal(z, expected)


@pytest.mark.parametrize("policy", list(GemmWarpPolicy))
def test_16_every_policy_covers_the_whole_tile(policy):
    """With any number of threads, also where tiles and warps do not divide each other."""
    m, n, k = 48, 40, 16

    @T.prim_func
    def kernel(
        A: T.Tensor((m, k), "float32"),
        B: T.Tensor((k, n), "float32"),
        Z: T.Tensor((3, m, n), "float32"),
    ):
        for row, threads in enumerate((32, 128, 384)):
            with T.Kernel(1, threads=threads):
                c = T.alloc_fragment((m, n), "float32")
                T.gemm(A, B, c, policy=policy, clear_accum=True)
                T.copy(c, Z[row, 0:m, 0:n])

    a, b, z = random((m, k)), random((k, n), seed=1), np.full((3, m, n), np.nan, np.float32)
    run(kernel, a, b, z)
    expected = a.astype(np.float64) @ b
    np.testing.assert_allclose(z, np.stack([expected] * 3), rtol=1e-4, atol=1e-4)


def test_17_layouts_that_put_two_elements_in_one_place_are_refused():
    with pytest.raises(LayoutError, match="`s`") as caught:

        @T.prim_func
        def kernel(A: T.Tensor((8, 8), "float32")):
            with T.Kernel(1):
                s = T.alloc_shared((8, 8), "float32")
                T.annotate_layout({s: T.Layout((8, 8), lambda i, j: [i, j // 2])})
                T.copy(A, s)

    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "types", [("int16", "int8", "int32"), ("int8", "float32", "int32"), ("int8", "int8", "int16")]
)
def test_18_wrong_types_of_dp4a(types):
    with pytest.raises(DTypeError, match="dp4a") as caught:

        @T.prim_func
        def kernel(Z: T.Tensor((4,), "int32")):
            with T.Kernel(1):
                a, b = T.alloc_local((4,), types[0]), T.alloc_local((4,), types[1])
                c = T.alloc_local((1,), types[2])
                T.dp4a(a, b, c)

    assert isinstance(caught.value, ValueError)


def test_18_vectors_of_choices_and_of_one_byte_many_times():
    @T.prim_func
    def kernel(
        A: T.Tensor((64,), "int8"), Z: T.Tensor((3, 64), "int8"), F: T.Tensor((64,), "float32")
    ):
        with T.Kernel(1):
            Z[0, 0:32] = T.Broadcast(T.int8(-7), 32)
            Z[0, 32:64] = T.Broadcast(A[5], 32)
            for i in T.vectorized(64):
                Z[1, i] = T.Select(A[i] > T.int8(0), A[i], T.int8(1))
                F[i] = T.Select(A[i] > T.int8(0), T.float32(0.5), T.float32(2))
            for i in T.Parallel(64):
                Z[2, i] = T.Select(T.any(A[i] == T.int8(3), i < 5), T.int8(9), A[i])

    a = random((64,), "int8", high=6)
    z, f = np.zeros((3, 64), np.int8), np.zeros(64, np.float32)
    run(kernel, a, z, f)
    np.testing.assert_array_equal(z[0], [-7] * 32 + [a[5]] * 32)
    np.testing.assert_array_equal(z[1], np.where(a > 0, a, 1))
    np.testing.assert_array_equal(z[2], np.where((a == 3) | (np.arange(64) < 5), 9, a))
    np.testing.assert_array_equal(f, np.where(a > 0, 0.5, 2))


@pytest.mark.parametrize("dtype", ["int4", "float4_e2m1fn"])
def test_20_packed_outputs(dtype):
    @tilelang.jit
    def kernel(A):
        m, n = T.const("m, n")
        A: T.Tensor((m, n), "float32")
        Z = T.empty((m, n), dtype)
        with T.Kernel(m) as bx:
            for j in T.Parallel(n):
                Z[bx, j] = A[bx, j]
        return Z

    a = torch.tensor([[1.0, -2, 3, 4], [0, 2, -1, -4]])
    z = kernel(a)
    packed = torch.int8 if dtype == "int4" else getattr(torch, "float4_e2m1fn_x2", torch.int8)
    assert z.dtype == packed and z.shape == (2, 2)
    code = {1: 2, -2: 12, 3: 5, 4: 6, 0: 0, 2: 4, -1: 10, -4: 14}
    bits = [[int(v) & 15 if dtype == "int4" else code[int(v)] for v in row] for row in a]
    expected = [[row[0] | row[1] << 4, row[2] | row[3] << 4] for row in bits]
    assert z.view(torch.uint8).tolist() == expected
