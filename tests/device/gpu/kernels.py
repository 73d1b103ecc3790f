"""Kernels of these tests: small, with dynamic and static shapes, workspaces and scalars."""

from __future__ import annotations

from typing import Any

import tilelang.language as T


def axpy(dtype: str = "float32", block: int = 256) -> Any:
    """Y = a * X + Y over a symbolic length."""
    n = T.dynamic("n")

    @T.prim_func
    def axpy(X: T.Tensor((n,), dtype), Y: T.Tensor((n,), dtype), a: T.float32):
        with T.Kernel(T.ceildiv(n, block), threads=128) as b:
            for i in T.Parallel(block):
                Y[b * block + i] = a * X[b * block + i] + Y[b * block + i]

    return axpy


def doubled(n: int = 4096) -> Any:
    """Y = 2 * X, with Y the output."""

    @T.prim_func
    def doubled(X: T.Tensor((n,), "float32"), Y: T.Tensor((n,), "float32")):
        with T.Kernel(T.ceildiv(n, 256), threads=128) as b:
            for i in T.Parallel(256):
                Y[b * 256 + i] = X[b * 256 + i] * 2.0

    return doubled


def matmul(m: int, n: int, k: int, dtype: str = "float16", stages: int = 3) -> Any:
    """C = A @ B, 128x128 tiles."""

    @T.prim_func
    def matmul(A: T.Tensor((m, k), dtype), B: T.Tensor((k, n), dtype), C: T.Tensor((m, n), dtype)):
        with T.Kernel(T.ceildiv(n, 128), T.ceildiv(m, 128), threads=128) as (bx, by):
            As = T.alloc_shared((128, 64), dtype)
            Bs = T.alloc_shared((64, 128), dtype)
            Cl = T.alloc_fragment((128, 128), "float32")
            T.clear(Cl)
            for ko in T.Pipelined(T.ceildiv(k, 64), num_stages=stages):
                T.copy(A[by * 128, ko * 64], As)
                T.copy(B[ko * 64, bx * 128], Bs)
                T.gemm(As, Bs, Cl)
            T.copy(Cl, C[by * 128, bx * 128])

    return matmul
