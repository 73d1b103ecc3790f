"""Scalar and vector-value functions that `tests/language/test_math.py` leaves, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.cpu.arrays import random, run, storage


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_operations_on_pairs(dtype):
    names = ["add2", "sub2", "mul2", "max2", "min2", "abs2", "fma2"]
    n = 12

    @T.prim_func
    def kernel(A: T.Tensor((3, n), dtype), Z: T.Tensor((len(names), n), dtype)):
        with T.Kernel(n // 2) as bx:
            x, y, z = (A[k, bx * 2 : bx * 2 + 2] for k in range(3))
            for row, name in enumerate(names):
                inputs = (x,) if name == "abs2" else (x, y, z) if name == "fma2" else (x, y)
                Z[row, bx * 2 : bx * 2 + 2] = getattr(T, name)(*inputs)

    a = random((3, n), dtype)
    z = np.zeros((len(names), n), storage(dtype))
    run(kernel, a, z)
    p, q, r = a.astype(np.float64)
    exact = [p + q, p - q, p * q, np.maximum(p, q), np.minimum(p, q), np.abs(p), p * q + r]
    for name, got, expected in zip(names, z, exact):
        rounded = expected.astype(np.float32).astype(storage(dtype))
        np.testing.assert_array_equal(got, rounded, err_msg=name)


def test_lanes_of_vectors():
    @T.prim_func
    def kernel(
        A: T.Tensor((8,), "float32"),
        Z: T.Tensor((4, 4), "float32"),
        N: T.Tensor((8,), "int32"),
    ):
        with T.Kernel(1):
            low, high = A[0:4], A[4:8]
            Z[0, 0:4] = T.Shuffle([low, high], [7, 0, 5, 2])
            for k in range(4):
                Z[1, k] = T.extract_lane(low * 2.0, 3)
            Z[2, 0:4] = T.Broadcast(A[1], 4) + high
            Z[3, 0] = T.Shuffle([low], [2])
            N[0:8] = T.Ramp(5, -2, 8)

    a, z, n = random((8,)), np.zeros((4, 4), np.float32), np.zeros(8, np.int32)
    run(kernel, a, z, n)
    np.testing.assert_array_equal(z[0], a[[7, 0, 5, 2]])
    np.testing.assert_array_equal(z[1], [a[3] * 2] * 4)
    np.testing.assert_array_equal(z[2], a[1] + a[4:])
    assert z[3, 0] == a[2]
    np.testing.assert_array_equal(n, 5 - 2 * np.arange(8))


def test_fast_math_keeps_infinities_and_accuracy():
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32"), Z: T.Tensor((4, 64), "float32")):
        with T.Kernel(1, threads=64):
            for i in T.Parallel(64):
                Z[0, i] = T.exp2(A[i])
                Z[1, i] = T.exp(A[i])
                Z[2, i] = T.if_then_else(A[i] > -T.infinity("float32"), 1.0, 0.0)
                Z[3, i] = T.max(A[i], -1e30)

    a, z = random((64,)) * 8, np.zeros((4, 64), np.float32)
    a[::7] = -np.inf
    run(kernel, a, z, pass_configs={"tl.enable_fast_math": True})
    exact = a.astype(np.float64)
    np.testing.assert_allclose(z[0], np.exp2(exact), rtol=1e-5)
    np.testing.assert_allclose(z[1], np.exp(exact), rtol=1e-5)
    np.testing.assert_array_equal(z[2], np.isfinite(a))
    np.testing.assert_array_equal(z[3], np.maximum(a, np.float32(-1e30)))


def test_float8_e4m3_is_the_kind_that_reaches_448():
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32"), Z: T.Tensor((64,), "float8_e4m3")):
        with T.Kernel(1, threads=32):
            for i in T.Parallel(64):
                Z[i] = A[i]

    a, z = np.linspace(-600, 600, 64).astype(np.float32), np.zeros(64, storage("float8_e4m3"))
    run(kernel, a, z)
    assert T.dtype("float8_e4m3").max_value() == 448
    limited = np.clip(a, -448, 448).astype(storage("float8_e4m3fn"))
    np.testing.assert_array_equal(z.astype(np.float32), limited.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_directed_rounding_of_roots_reciprocals_and_fused_sums(dtype):
    """Neighbours bracket the exact value, shown with exact products of integers."""
    from fractions import Fraction

    size, modes = 41, ("rd", "ru", "rz", "rn")

    @T.prim_func
    def kernel(
        A: T.Tensor((3, size), dtype),
        Z: T.Tensor((3, 4, size), dtype),
        R: T.Tensor((size,), dtype),
    ):
        with T.Kernel(1):
            for m, mode in enumerate(modes):
                for i in T.Parallel(size):
                    Z[0, m, i] = T.ieee_fmaf(A[0, i], A[1, i], A[2, i], mode)
                    Z[1, m, i] = T.ieee_frcp(A[0, i], mode)
                    Z[2, m, i] = T.ieee_fsqrt(A[0, i], mode)
            for i in T.Parallel(size):
                R[i] = T.ieee_frsqrt(A[0, i])

    a = np.abs(random((3, size), dtype)) + storage(dtype).type(0.125)
    z, r = np.zeros((3, 4, size), storage(dtype)), np.zeros(size, storage(dtype))
    run(kernel, a, z, r)
    for i in range(size):
        x, y, c = (Fraction(float(v)) for v in a[:, i])
        for kind, power, exact in ((0, 1, x * y + c), (1, 1, 1 / x), (2, 2, x)):
            down, up, zero, near = (Fraction(float(v)) for v in z[kind, :, i])
            assert down**power <= exact <= up**power and zero == down and near in (down, up)
            assert float(up) <= np.nextafter(storage(dtype).type(down), np.inf)
    expected = 1 / np.sqrt(a[0].astype(np.float64))
    np.testing.assert_allclose(r, expected, rtol=2e-7 if dtype == "float32" else 4e-16)


def test_integers_and_conditions():
    @T.prim_func
    def kernel(
        A: T.Tensor((40,), "int32"),
        X: T.Tensor((40,), "float32"),
        Z: T.Tensor((9, 40), "int32"),
        Y: T.Tensor((2, 40), "float32"),
    ):
        with T.Kernel(1):
            for i in T.Parallel(40):
                Z[0, i] = T.truncmod(A[i], 7)
                Z[1, i] = T.align_up(A[i], 16)
                Z[2, i] = T.Cast("int32", T.And(A[i] > 0, T.likely(A[i] % 2 == 0)))
                Z[3, i] = T.Cast("int32", T.Or(A[i] > 5, A[i] < -5))
                Z[4, i] = T.Cast("int32", T.Not(A[i] > 0))
                Z[5, i] = T.call_intrin("int32", "tir.popcount", A[i])
                Z[6, i] = T.__ffs(A[i])
                Z[7, i] = T.truncdiv(A[i], -3)
                Z[8, i] = T.if_then_else(i < 40, A[i], T.undef("int32"))
                Y[0, i] = T.ldexp(X[i], A[i])
                Y[1, i] = T.power(X[i], 3)

    a, x = np.arange(-20, 20, dtype=np.int32), random((40,))
    z, y = np.zeros((9, 40), np.int32), np.zeros((2, 40), np.float32)
    run(kernel, a, x, z, y)
    np.testing.assert_array_equal(z[0], np.fmod(a, 7))
    np.testing.assert_array_equal(z[1], -(-a // 16) * 16)
    np.testing.assert_array_equal(z[2], (a > 0) & (a % 2 == 0))
    np.testing.assert_array_equal(z[3], np.abs(a) > 5)
    np.testing.assert_array_equal(z[4], a <= 0)
    np.testing.assert_array_equal(z[5], [bin(int(v) & 0xFFFFFFFF).count("1") for v in a])
    np.testing.assert_array_equal(z[6], [(int(v) & -int(v)).bit_length() for v in a])
    np.testing.assert_array_equal(z[7], np.trunc(a / -3))
    np.testing.assert_array_equal(z[8], a)
    np.testing.assert_array_equal(y[0], np.ldexp(x, a))
    np.testing.assert_allclose(y[1], x.astype(np.float64) ** 3, rtol=1e-6)


def test_low_level_frames():
    @T.prim_func
    def kernel(A: T.Tensor((32,), "int32"), Z: T.Tensor((2, 32), "int32")):
        with T.Kernel(1, threads=32):
            tx = T.get_thread_binding()
            Z[1, tx] = T.tvm_warp_shuffle(0xFFFFFFFF, A[tx], 31 - tx, 32, 32)
            with T.If(A[tx] > 0):
                with T.Then():
                    Z[0, tx] = 100
                with T.Else():
                    doubled = T.bind(A[tx] * 2)
                    Z[0, tx] = doubled - T.get_block_binding(0) + T.get_thread_extent(0)
            T.tvm_storage_sync("shared")
            with T.LetStmt(Z[1, 31 - tx] + 1) as other:
                A[tx] = other

    a, z = random((32,), "int32"), np.zeros((2, 32), np.int32)
    before = a.copy()
    run(kernel, a, z)
    np.testing.assert_array_equal(z[0], np.where(before > 0, 100, before * 2 + 32))
    np.testing.assert_array_equal(z[1], before[::-1])
    np.testing.assert_array_equal(a, before + 1)
