"""RMSNorm and LayerNorm over rows.

A block holds whole rows in a fragment, so each element is read once. Statistics are in float32; the
row length need not be a power of two.
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit(out_idx=[-1])
def rms_norm(M, N, epsilon=1e-6, block_M=2, dtype="float32"):
    """Y = X / sqrt(mean(X^2) + epsilon) * W."""

    @T.prim_func
    def kernel(X: T.Tensor((M, N), dtype), W: T.Tensor((N,), dtype), Y: T.Tensor((M, N), dtype)):
        with T.Kernel(T.ceildiv(M, block_M), threads=128) as bx:
            x = T.alloc_fragment((block_M, N), "float32")
            square = T.alloc_fragment((block_M, N), "float32")
            scale = T.alloc_fragment((block_M,), "float32")
            T.copy(X[bx * block_M, 0], x)
            for i, j in T.Parallel(block_M, N):
                square[i, j] = x[i, j] * x[i, j]
            T.reduce_sum(square, scale, dim=1)
            for i in T.Parallel(block_M):
                scale[i] = T.rsqrt(scale[i] / N + epsilon)
            for i, j in T.Parallel(block_M, N):
                x[i, j] *= scale[i] * W[j]
            T.copy(x, Y[bx * block_M, 0])

    return kernel


@tilelang.jit(out_idx=[-1])
def layer_norm(M, N, epsilon=1e-5, block_M=2, dtype="float32"):
    """Y = (X - mean(X)) / sqrt(var(X) + epsilon) * W + B; the variance is of centred values."""

    @T.prim_func
    def kernel(
        X: T.Tensor((M, N), dtype),
        W: T.Tensor((N,), dtype),
        B: T.Tensor((N,), dtype),
        Y: T.Tensor((M, N), dtype),
    ):
        with T.Kernel(T.ceildiv(M, block_M), threads=128) as bx:
            x = T.alloc_fragment((block_M, N), "float32")
            square = T.alloc_fragment((block_M, N), "float32")
            mean = T.alloc_fragment((block_M,), "float32")
            scale = T.alloc_fragment((block_M,), "float32")
            T.copy(X[bx * block_M, 0], x)
            T.reduce_sum(x, mean, dim=1)
            for i, j in T.Parallel(block_M, N):
                x[i, j] -= mean[i] / N
            for i, j in T.Parallel(block_M, N):
                square[i, j] = x[i, j] * x[i, j]
            T.reduce_sum(square, scale, dim=1)
            for i in T.Parallel(block_M):
                scale[i] = T.rsqrt(scale[i] / N + epsilon)
            for i, j in T.Parallel(block_M, N):
                x[i, j] = x[i, j] * scale[i] * W[j] + B[j]
            T.copy(x, Y[bx * block_M, 0])

    return kernel


def main():
    cases = Cases(__doc__)
    functions = torch.nn.functional
    for M, N in cases.size([(64, 1024), (37, 1000)], [(8192, 4096), (1001, 5000)]):
        for dtype, tolerance in ((torch.float32, 1e-6), (torch.float16, 1e-3)):
            name = str(dtype).removeprefix("torch.")
            X = cases.randn(M, N, dtype=dtype) + 3
            W, B = cases.randn(N, dtype=dtype), cases.randn(N, dtype=dtype)
            expected = functions.rms_norm(X.double(), (N,), W.double(), 1e-6)
            result = rms_norm(M, N, dtype=name)(X, W)
            cases.check(f"rms_norm_{name}", result, expected, tolerance)
            expected = functions.layer_norm(X.double(), (N,), W.double(), B.double(), 1e-5)
            result = layer_norm(M, N, dtype=name)(X, W, B)
            cases.check(f"layer_norm_{name}", result, expected, tolerance)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
