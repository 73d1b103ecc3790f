"""Elementwise kernels: sizes that no tile divides, float16 storage, a two-dimensional grid.

`T.Parallel` names a tile of independent elements; the compiler spreads it over threads and vectors
and guards the elements that fall outside a tensor, so the kernels do not.
"""

import math
import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit(out_idx=[-1])
def add(n, block=1024, dtype="float32"):
    @T.prim_func
    def kernel(X: T.Tensor((n,), dtype), Y: T.Tensor((n,), dtype), Z: T.Tensor((n,), dtype)):
        with T.Kernel(T.ceildiv(n, block), threads=256) as bx:
            for i in T.Parallel(block):
                Z[bx * block + i] = X[bx * block + i] + Y[bx * block + i]

    return kernel


@tilelang.jit(out_idx=[-1])
def gelu(n, block=1024, dtype="float32"):
    """x/2 (1 + erf(x/sqrt 2)), computed in float32 whatever the storage."""

    @T.prim_func
    def kernel(X: T.Tensor((n,), dtype), Y: T.Tensor((n,), dtype)):
        with T.Kernel(T.ceildiv(n, block), threads=256) as bx:
            for i in T.Parallel(block):
                x = T.cast(X[bx * block + i], "float32")
                Y[bx * block + i] = 0.5 * x * (1.0 + T.erf(x * math.sqrt(0.5)))

    return kernel


@tilelang.jit(out_idx=[-1])
def silu_and_mul(M, N, block_M=4, block_N=256, dtype="float32"):
    """silu(X[:, :N]) * X[:, N:], the gate of a gated MLP; the tile goes through a fragment."""

    @T.prim_func
    def kernel(X: T.Tensor((M, 2 * N), dtype), Y: T.Tensor((M, N), dtype)):
        with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=128) as (bx, by):
            result = T.alloc_fragment((block_M, block_N), "float32")
            for i, j in T.Parallel(block_M, block_N):
                row, column = by * block_M + i, bx * block_N + j
                gate = T.cast(X[row, column], "float32")
                result[i, j] = gate * T.sigmoid(gate) * X[row, N + column]
            T.copy(result, Y[by * block_M, bx * block_N])

    return kernel


def main():
    cases = Cases(__doc__)
    sizes = cases.size((1, 1000, 4097), (1 << 24, (1 << 24) + 3))
    for n in sizes:
        X, Y = cases.randn(n), cases.randn(n)
        cases.check("add", add(n)(X, Y), X.double() + Y.double(), 1e-6)
        cases.check("gelu", gelu(n)(X), torch.nn.functional.gelu(X.double()), 1e-6)

    n = sizes[-1]
    X, Y = cases.randn(n, dtype=torch.float16), cases.randn(n, dtype=torch.float16)
    cases.check("add_float16", add(n, dtype="float16")(X, Y), X.double() + Y.double(), 1e-3)
    result = gelu(n, dtype="float16")(X)
    cases.check("gelu_float16", result, torch.nn.functional.gelu(X.double()), 1e-3)

    M, N = cases.size((37, 1000), (4096, 11008))
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        X = cases.randn(M, 2 * N, dtype=dtype)
        gate, value = X.double().split(N, dim=1)
        result = silu_and_mul(M, N, dtype=str(dtype).removeprefix("torch."))(X)
        cases.check("silu_and_mul", result, torch.nn.functional.silu(gate) * value, tolerance)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
