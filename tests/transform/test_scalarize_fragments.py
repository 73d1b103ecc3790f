"""Fragments of one iteration become names: nothing else changes."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilelang
import tilelang.language as T

N = 700  # more than the C compiler unrolls


def run(kernel, *inputs, dtype="float32"):
    made = tilelang.compile(kernel, target="c")
    out = np.zeros(N, dtype)
    made(*inputs, out)
    return out, re.sub(r"//.*", "", made.get_kernel_source())


def values(count, dtype="float32"):
    drawn = np.random.default_rng(0).standard_normal((count, N)).astype(np.float32)
    return [v.astype(dtype) for v in drawn]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int8"])
def test_a_fragment_between_two_loops_becomes_a_name(dtype):
    @T.prim_func
    def kernel(A: T.Tensor((N,), dtype), B: T.Tensor((N,), dtype), C: T.Tensor((N,), dtype)):
        with T.Kernel(1):
            inner = T.alloc_fragment((N,), dtype)
            for i in T.Parallel(N):
                inner[i] = A[i] + B[i]
            for i in T.Parallel(N):
                C[i] = inner[i] * inner[i]

    a, b = (v * 9 for v in values(2)) if dtype != "int8" else (v * 60 for v in values(2))
    a, b = a.astype(dtype), b.astype(dtype)
    c, source = run(kernel, a, b, dtype=dtype)
    assert "inner =" in source
    assert "inner[" not in source
    assert "*restrict inner" not in source
    inner = a + b  # rounded or wrapped to its type
    if dtype == "float16":
        expected = (inner.astype(np.float32) ** 2).astype(dtype)
        np.testing.assert_allclose(c.astype(np.float32), expected.astype(np.float32), rtol=1e-3)
    else:
        np.testing.assert_array_equal(c, inner * inner)


def test_a_product_keeps_its_rounding_but_in_a_reduction():
    @T.prim_func
    def kernel(A: T.Tensor((N,), "float32"), B: T.Tensor((N,), "float32"),
               C: T.Tensor((N,), "float32")):  # fmt: skip
        with T.Kernel(1):
            product = T.alloc_fragment((N,), "float32")
            square = T.alloc_fragment((N,), "float32")
            total = T.alloc_fragment((1,), "float32")
            for i in T.Parallel(N):
                product[i] = A[i] * B[i]
            for i in T.Parallel(N):
                C[i] = product[i] - 1.0
            for i in T.Parallel(N):
                square[i] = A[i] * A[i]
            T.reduce_sum(square, total)
            for i in T.Parallel(N):
                C[i] = C[i] + total[0] * 0.0

    a, b = (1 + 0.001 * v for v in values(2))
    a, b = a.astype(np.float32), b.astype(np.float32)
    c, source = run(kernel, a, b)
    assert "product[" in source
    assert "square[" not in source
    np.testing.assert_array_equal(c, a * b - np.float32(1))


def test_who_is_loaded_elsewhere_or_stored_twice_stays():
    @T.prim_func
    def kernel(A: T.Tensor((N,), "float32"), B: T.Tensor((N,), "float32"),
               C: T.Tensor((N,), "float32")):  # fmt: skip
        with T.Kernel(1):
            again = T.alloc_fragment((N,), "float32")
            twice = T.alloc_fragment((N,), "float32")
            seen = T.alloc_shared((N,), "float32")
            for i in T.Parallel(N):
                again[i] = A[i] + B[i]
                twice[i] = again[i] + 1.0
                twice[i] = twice[i] / 3.0
                C[i] = again[i] + twice[i]
                seen[i] = A[i] + 2.0
            for i in T.Parallel(N):
                C[i] = C[i] + again[N - 1 - i] + seen[(i + 1) % N]

    a, b = values(2)
    c, source = run(kernel, a, b)
    for name in ("again", "twice", "seen"):
        assert f"{name}[" in source
    again = a + b
    one, three = np.float32(1), np.float32(3)
    expected = again + (again + one) / three + again[::-1] + np.roll(a + np.float32(2), -1)
    np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-5)


def test_the_value_before_the_store_is_not_the_one_stored():
    @T.prim_func
    def kernel(A: T.Tensor((N,), "float32"), B: T.Tensor((N,), "float32"),
               C: T.Tensor((N,), "float32")):  # fmt: skip
        with T.Kernel(1):
            state = T.alloc_fragment((N,), "float32")
            T.clear(state)
            for k in T.serial(3):
                for i in T.Parallel(N):
                    C[i] = state[i] + B[i]
                    state[i] = A[i] + k

    a, b = values(2)
    c, source = run(kernel, a, b)
    assert "state[" in source
    np.testing.assert_array_equal(c, (a + np.float32(1)) + b)
