"""One operation in every style of writing a kernel: all give the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tilelang
import tilelang.language as T
from tests.cpu.arrays import product_type

BM, BN, BK = 16, 32, 8


@T.macro
def body(A, B, C, scale, M, N, K, dtype):
    """What all styles share: C = scale * A @ B."""
    with T.Kernel(T.ceildiv(N, BN), T.ceildiv(M, BM), threads=64) as (bx, by):
        a, b = T.alloc_shared((BM, BK), dtype), T.alloc_shared((BK, BN), dtype)
        c = T.alloc_fragment((BM, BN), "float32")
        T.clear(c)
        for k in T.Pipelined(T.ceildiv(K, BK), num_stages=2):
            T.copy(A[by * BM, k * BK], a)
            T.copy(B[k * BK, bx * BN], b)
            T.gemm(a, b, c)
        for i, j in T.Parallel(BM, BN):
            c[i, j] *= scale
        T.copy(c, C[by * BM, bx * BN])


@tilelang.jit(out_idx=[-1])
def factory(M, N, K, dtype="float32"):
    @T.prim_func
    def product(
        A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), scale: T.float32,
        C: T.Tensor((M, N), "float32"),
    ):  # fmt: skip
        body(A, B, C, scale, M, N, K, dtype)

    return product


@tilelang.jit
def factory_with_empty(M, N, K, dtype="float32"):
    @T.prim_func
    def product(A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), scale: T.float32):
        C = T.empty((M, N), "float32")
        body(A, B, C, scale, M, N, K, dtype)
        return C

    return product


@tilelang.jit
def eager(A, B, scale: T.float32, dtype="float32"):
    M, N, K = T.const("M, N, K")
    A: T.Tensor((M, K), dtype)
    B: T.Tensor((K, N), dtype)
    C = T.empty((M, N), T.float32)
    body(A, B, C, scale, M, N, K, dtype)
    return C


@tilelang.jit
def eager_dynamic(A, B, scale: T.float32, dtype="float32"):
    M, N, K = T.dynamic("M, N, K")
    A: T.Tensor((M, K), dtype)
    B: T.Tensor((K, N), dtype)
    C = T.empty((M, N), T.float32)
    body(A, B, C, scale, M, N, K, dtype)
    return C


@tilelang.lazy_jit
def lazy(
    A: T.Tensor,
    B: T.Tensor,
    scale: T.float32,
    dtype: str = "float32",
):
    M, K = A.shape
    N = B.shape[1]
    C = T.empty((M, N), T.float32)
    body(A, B, C, scale, M, N, K, dtype)
    return C


def by_hand(a, b, scale, dtype):
    @T.prim_func(generator=True)
    def product(A: T.Tensor[[int, int], dtype], B: T.Tensor[[int, int], dtype], scale: T.float32):
        (M, K), N = A.shape, B.shape[1]
        C = T.empty((M, N), "float32")
        body(A, B, C, scale, M, N, K, dtype)
        return C

    made = product(T.Tensor(tuple(a.shape), dtype), T.Tensor(tuple(b.shape), dtype))
    return tilelang.compile(made)(a, b, scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 33, 9), (32, 64, 24)])
def test_every_style_gives_the_same(shape, dtype):
    limit = 1e-4 if product_type("float32") == "float32" else 2e-2
    m, n, k = shape
    generator = torch.Generator().manual_seed(0)
    kind = getattr(torch, dtype)
    a = torch.randn(m, k, generator=generator).to(kind)
    b = torch.randn(k, n, generator=generator).to(kind)
    expected = 1.5 * (a.double() @ b.double())
    results = {
        "factory": factory(m, n, k, dtype)(a, b, 1.5),
        "factory with T.empty": factory_with_empty(m, n, k, dtype)(a, b, 1.5),
        "eager": eager(a, b, 1.5, dtype=dtype),
        "eager, compiled first": eager.compile(M=m, N=n, K=k, dtype=dtype)(a, b, 1.5),
        "eager, dynamic": eager_dynamic(a, b, 1.5, dtype),
        "lazy": lazy(a, b, 1.5, dtype=dtype),
        "generator": by_hand(a, b, 1.5, dtype),
    }
    for style, got in results.items():
        assert got.shape == (m, n) and got.dtype == torch.float32, style
        torch.testing.assert_close(got.double(), expected, rtol=limit, atol=limit, msg=style)


def test_dynamic_sizes_share_one_kernel():
    limit = 1e-4 if product_type("float32") == "float32" else 2e-2
    for m in (3, 20, 41):
        a, b = torch.randn(m, 5), torch.randn(5, 7)
        torch.testing.assert_close(eager_dynamic(a, b, 1.0), a @ b, rtol=limit, atol=limit)
    keys = {
        eager_dynamic.parse_cache_key(torch.randn(m, 5), torch.randn(5, 7), 1.0) for m in (3, 20)
    }
    assert len(keys) == 1


def test_outputs_from_macros_and_of_computed_sizes():
    @T.macro
    def doubled(A, n):
        Z = T.empty((n * 2 + 1,), "float32")
        return Z  # noqa: RET504  the output takes this name

    @tilelang.jit
    def kernel(A, extra: T.int32):
        n = T.dynamic("n")
        A: T.Tensor((n,), "float32")
        Z = doubled(A, n)
        Y = T.empty((extra + n,), "int32")
        with T.Kernel(1):
            for i in T.Parallel(n * 2 + 1):
                Z[i] = i
            for i in T.Parallel(extra + n):
                Y[i] = extra
        return Z, Y

    for n, extra in ((1, 0), (5, 3)):
        z, y = kernel(torch.zeros(n), extra)
        np.testing.assert_array_equal(z.numpy(), np.arange(2 * n + 1))
        np.testing.assert_array_equal(y.numpy(), np.full(n + extra, extra))


def test_what_a_macro_says_of_its_parameter_declares_nothing():
    @T.macro
    def turn(part, n):
        part: T.SharedBuffer([n], "float32")
        for i in T.Parallel(n // 2):
            kept = part[i]
            part[i] = part[n - 1 - i]
            part[n - 1 - i] = kept

    @tilelang.jit(target="c")
    def kernel(A):
        n = T.const("n")
        A: T.Tensor((n,), "float32")
        Z = T.empty((n,), "float32")
        with T.Kernel(1, threads=32):
            part = T.alloc_shared((n,), "float32")
            T.copy(A, part)
            turn(part, n)
            T.copy(part, Z)
        return Z

    a = torch.arange(12, dtype=torch.float32)
    assert torch.equal(kernel(a), a.flip(0))


def test_without_tensors_and_positional_styles():
    @tilelang.jit
    def ramp(n: int, *, start: int = 0):
        Z = T.empty((n,), "int32")
        with T.Kernel(1):
            for i in T.Parallel(n):
                Z[i] = i + start
        return Z

    assert ramp(4).tolist() == [0, 1, 2, 3]
    assert ramp(n=3, start=5).tolist() == [5, 6, 7]
    assert ramp.compile(2)().tolist() == [0, 1]
