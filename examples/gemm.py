"""Matrix products: plain, transposed, batched, split along K, dynamic, with a fused epilogue.

C = op(A) op(B), accumulated in a fragment. float32, float16 and bfloat16 accumulate in float32,
int8 in int32. The sizes need not be multiples of the tile: a copy reads zeros outside a tensor and
writes nothing there.
"""

import math
import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit(out_idx=[-1])
def matmul(
    M, N, K, block_M=64, block_N=64, block_K=32,
    dtype="float32", accum_dtype="float32", transpose_A=False, transpose_B=False,
):  # fmt: skip
    A_shape, A_tile = ((K, M), (block_K, block_M)) if transpose_A else ((M, K), (block_M, block_K))
    B_shape, B_tile = ((N, K), (block_N, block_K)) if transpose_B else ((K, N), (block_K, block_N))

    @T.prim_func
    def kernel(
        A: T.Tensor(A_shape, dtype), B: T.Tensor(B_shape, dtype), C: T.Tensor((M, N), accum_dtype)
    ):
        with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=128) as (bx, by):
            A_shared = T.alloc_shared(A_tile, dtype)
            B_shared = T.alloc_shared(B_tile, dtype)
            C_local = T.alloc_fragment((block_M, block_N), accum_dtype)
            T.clear(C_local)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=3):
                if transpose_A:
                    T.copy(A[k * block_K, by * block_M], A_shared)
                else:
                    T.copy(A[by * block_M, k * block_K], A_shared)
                if transpose_B:
                    T.copy(B[bx * block_N, k * block_K], B_shared)
                else:
                    T.copy(B[k * block_K, bx * block_N], B_shared)
                T.gemm(A_shared, B_shared, C_local, transpose_A, transpose_B)
            T.copy(C_local, C[by * block_M, bx * block_N])

    return kernel


@tilelang.jit(out_idx=[-1])
def batched_matmul(batch, M, N, K, block_M=64, block_N=64, block_K=32, dtype="float32"):
    @T.prim_func
    def kernel(
        A: T.Tensor((batch, M, K), dtype),
        B: T.Tensor((batch, K, N), dtype),
        C: T.Tensor((batch, M, N), dtype),
    ):
        blocks = (T.ceildiv(N, block_N), T.ceildiv(M, block_M), batch)
        with T.Kernel(*blocks, threads=128) as (bx, by, bz):
            A_shared = T.alloc_shared((block_M, block_K), dtype)
            B_shared = T.alloc_shared((block_K, block_N), dtype)
            C_local = T.alloc_fragment((block_M, block_N), "float32")
            T.clear(C_local)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=3):
                T.copy(A[bz, by * block_M, k * block_K], A_shared)
                T.copy(B[bz, k * block_K, bx * block_N], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.copy(C_local, C[bz, by * block_M, bx * block_N])

    return kernel


@tilelang.jit
def split_k_matmul(M, N, K, splits, block_M=64, block_N=64, block_K=32, dtype="float32"):
    """Each of `splits` blocks adds its part of the sum over K to C, which the caller has zeroed."""
    steps = T.ceildiv(T.ceildiv(K, block_K), splits)

    @T.prim_func
    def kernel(
        A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), C: T.Tensor((M, N), "float32")
    ):
        blocks = (T.ceildiv(N, block_N), T.ceildiv(M, block_M), splits)
        with T.Kernel(*blocks, threads=128) as (bx, by, bz):
            A_shared = T.alloc_shared((block_M, block_K), dtype)
            B_shared = T.alloc_shared((block_K, block_N), dtype)
            C_local = T.alloc_fragment((block_M, block_N), "float32")
            T.clear(C_local)
            for k in T.Pipelined(steps, num_stages=3):
                T.copy(A[by * block_M, (bz * steps + k) * block_K], A_shared)
                T.copy(B[(bz * steps + k) * block_K, bx * block_N], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.atomic_add(C[by * block_M, bx * block_N], C_local)

    return kernel


@tilelang.jit(out_idx=[-1])
def dynamic_matmul(block_M=64, block_N=64, block_K=32, dtype="float32"):
    """One compiled kernel for every M, N and K."""
    M, N, K = T.dynamic("M, N, K")

    @T.prim_func
    def kernel(A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), C: T.Tensor((M, N), dtype)):
        with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=128) as (bx, by):
            A_shared = T.alloc_shared((block_M, block_K), dtype)
            B_shared = T.alloc_shared((block_K, block_N), dtype)
            C_local = T.alloc_fragment((block_M, block_N), "float32")
            T.clear(C_local)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=3):
                T.copy(A[by * block_M, k * block_K], A_shared)
                T.copy(B[k * block_K, bx * block_N], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.copy(C_local, C[by * block_M, bx * block_N])

    return kernel


@T.macro
def relu(x):
    return T.max(x, 0)


@T.macro
def gelu(x):
    return 0.5 * x * (1.0 + T.erf(x * math.sqrt(0.5)))


@tilelang.jit(out_idx=[-1])
def fused_matmul(M, N, K, activation, block_M=64, block_N=64, block_K=32, dtype="float32"):
    """activation(A B + bias); `activation` is a macro, applied while the sums are still on chip."""

    @T.prim_func
    def kernel(
        A: T.Tensor((M, K), dtype),
        B: T.Tensor((K, N), dtype),
        bias: T.Tensor((N,), dtype),
        C: T.Tensor((M, N), dtype),
    ):
        with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=128) as (bx, by):
            A_shared = T.alloc_shared((block_M, block_K), dtype)
            B_shared = T.alloc_shared((block_K, block_N), dtype)
            bias_shared = T.alloc_shared((block_N,), dtype)
            C_local = T.alloc_fragment((block_M, block_N), "float32")
            T.clear(C_local)
            T.copy(bias[bx * block_N], bias_shared)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=3):
                T.copy(A[by * block_M, k * block_K], A_shared)
                T.copy(B[k * block_K, bx * block_N], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            for i, j in T.Parallel(block_M, block_N):
                C_local[i, j] = activation(C_local[i, j] + bias_shared[j])
            T.copy(C_local, C[by * block_M, bx * block_N])

    return kernel


def check_transposes(cases, M, N, K):
    for transpose_A in (False, True):
        for transpose_B in (False, True):
            A = cases.randn(*((K, M) if transpose_A else (M, K)))
            B = cases.randn(*((N, K) if transpose_B else (K, N)))
            kernel = matmul(M, N, K, transpose_A=transpose_A, transpose_B=transpose_B)
            expected = (A.T if transpose_A else A).double() @ (B.T if transpose_B else B).double()
            name = f"matmul_{'t' if transpose_A else 'n'}{'t' if transpose_B else 'n'}"
            cases.check(name, kernel(A, B), expected, cases.matmul_tolerance)


def check_dtypes(cases, M, N, K):
    for dtype in (torch.float16, torch.bfloat16):
        A, B = cases.randn(M, K, dtype=dtype), cases.randn(K, N, dtype=dtype)
        name = str(dtype).removeprefix("torch.")
        result = matmul(M, N, K, dtype=name)(A, B)
        cases.check(f"matmul_{name}", result, A.double() @ B.double(), 1e-5)
    A = torch.randint(-128, 128, (M, K), dtype=torch.int8, device=cases.device)
    B = torch.randint(-128, 128, (N, K), dtype=torch.int8, device=cases.device)
    result = matmul(M, N, K, dtype="int8", accum_dtype="int32", transpose_B=True)(A, B)
    cases.check("matmul_int8", result, A.double() @ B.T.double(), 0)


def check_forms(cases, M, N, K):
    tolerance = cases.matmul_tolerance
    A, B = cases.randn(3, M, K), cases.randn(3, K, N)
    result = batched_matmul(3, M, N, K)(A, B)
    cases.check("batched_matmul", result, A.double() @ B.double(), tolerance)

    A, B = cases.randn(M, 4 * K), cases.randn(4 * K, N)
    C = torch.zeros(M, N, device=cases.device)
    split_k_matmul(M, N, 4 * K, splits=4)(A, B, C)
    cases.check("split_k_matmul", C, A.double() @ B.double(), tolerance)

    kernel = dynamic_matmul()
    for m, n, k in ((M, N, K), (1, 65, 33), (M + 1, 3, 2 * K)):
        A, B = cases.randn(m, k), cases.randn(k, n)
        cases.check("dynamic_matmul", kernel(A, B), A.double() @ B.double(), tolerance)

    A, B, bias = cases.randn(M, K), cases.randn(K, N), cases.randn(N)
    functions = torch.nn.functional
    for activation, reference in ((relu, functions.relu), (gelu, functions.gelu)):
        expected = reference(A.double() @ B.double() + bias.double())
        result = fused_matmul(M, N, K, activation)(A, B, bias)
        cases.check(f"matmul_bias_{reference.__name__}", result, expected, tolerance)


def main():
    cases = Cases(__doc__)
    M, N, K = cases.size((200, 130, 100), (2048, 2048, 2048))
    check_transposes(cases, M, N, K)
    check_dtypes(cases, M, N, K)
    check_forms(cases, M, N, K)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
