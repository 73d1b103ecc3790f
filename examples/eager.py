"""Eager kernels: called with tensors, compiled at the first call for each set of constants.

Sizes of `T.const` are read off the tensors and compiled in; sizes of `T.dynamic` stay variables, so
one kernel serves all of them. `T.empty` makes the outputs. Macros are inlined at their calls.
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit
def axpy(x, a: T.float32, y, block: int = 1024):
    """a x + y for vectors of any length; `a` is a number of each call."""
    n = T.dynamic("n")
    x: T.Tensor((n,), T.float32)
    y: T.Tensor((n,), T.float32)
    z = T.empty((n,), T.float32)
    with T.Kernel(T.ceildiv(n, block), threads=256) as bx:
        for i in T.Parallel(block):
            z[bx * block + i] = a * x[bx * block + i] + y[bx * block + i]
    return z


@T.macro
def multiply_tiles(A, B, C_local, row, column, K, block_M, block_N, block_K, dtype):
    """C_local = the tile of A B at (row, column)."""
    A_shared = T.alloc_shared((block_M, block_K), dtype)
    B_shared = T.alloc_shared((block_K, block_N), dtype)
    T.clear(C_local)
    for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=3):
        T.copy(A[row, k * block_K], A_shared)
        T.copy(B[k * block_K, column], B_shared)
        T.gemm(A_shared, B_shared, C_local)


@tilelang.jit
def matmul(A, B, dtype: T.dtype = "float32", block_M=64, block_N=64, block_K=32):
    """A B: a kernel for each N and K, of the layer, that serves every M, the number of tokens."""
    M = T.dynamic("M")
    N, K = T.const("N, K")
    A: T.Tensor((M, K), dtype)
    B: T.Tensor((K, N), dtype)
    C = T.empty((M, N), dtype)
    with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=128) as (bx, by):
        C_local = T.alloc_fragment((block_M, block_N), "float32")
        row, column = by * block_M, bx * block_N
        multiply_tiles(A, B, C_local, row, column, K, block_M, block_N, block_K, dtype)
        T.copy(C_local, C[row, column])
    return C


@T.macro
def spread(low: T.Ref, high: T.Ref, value):
    """Widen [low, high] to hold `value`; both are variables of the caller."""
    low = T.min(low, value)
    high = T.max(high, value)


@tilelang.jit
def row_ranges(X):
    """Smallest and largest of each row: two outputs."""
    M = T.dynamic("M")
    N = T.const("N")
    X: T.Tensor((M, N), T.float32)
    lows = T.empty((M,), T.float32)
    highs = T.empty((M,), T.float32)
    with T.Kernel(M, threads=32) as bx:
        low = T.alloc_var("float32", init=T.infinity("float32"))
        high = T.alloc_var("float32", init=-T.infinity("float32"))
        for j in T.serial(N):
            spread(low, high, X[bx, j])
        lows[bx] = low
        highs[bx] = high
    return lows, highs


def main():
    cases = Cases(__doc__)
    for n in cases.size((1, 1000, 4097), (1 << 20, 1 << 24)):
        x, y = cases.randn(n), cases.randn(n)
        cases.check("axpy", axpy(x, 2.5, y), 2.5 * x.double() + y.double(), 1e-6)
    result = axpy(x, -1.0, y, block=256)
    cases.check("axpy with blocks of 256", result, y.double() - x.double(), 1e-6)

    N, K = cases.size((130, 100), (2048, 2048))
    for M in (1, 64, 200):
        for dtype, tolerance in ((torch.float32, cases.matmul_tolerance), (torch.float16, 1e-3)):
            A, B = cases.randn(M, K, dtype=dtype), cases.randn(K, N, dtype=dtype)
            result = matmul(A, B, dtype=str(dtype).removeprefix("torch."))
            cases.check("matmul", result, A.double() @ B.double(), tolerance)
    ahead_of_time = matmul.compile(N=N, K=K)  # no tensors needed; takes the tensors only
    A, B = cases.randn(33, K), cases.randn(K, N)
    expected = A.double() @ B.double()
    cases.check("compiled matmul", ahead_of_time(A, B), expected, cases.matmul_tolerance)

    X = cases.randn(37, 100)
    lows, highs = row_ranges(X)
    cases.check("row_ranges low", lows, X.amin(1), 0)
    cases.check("row_ranges high", highs, X.amax(1), 0)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
