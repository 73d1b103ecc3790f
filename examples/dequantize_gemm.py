"""Matrix product with four-bit weights: C = A W^T, W unpacked and scaled on the way.

W has N rows of K integers in [-8, 7], stored as value + 8, two to a byte with the even column in
the low half. Every `group` neighbours of a row share one scale.
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit(out_idx=[-1])
def dequantize_matmul(
    M, N, K, group=32, block_M=64, block_N=64, block_K=64, dtype="float16", out_dtype="float32"
):
    @T.prim_func
    def kernel(
        A: T.Tensor((M, K), dtype),
        packed: T.Tensor((N, K // 2), "uint8"),
        scales: T.Tensor((N, T.ceildiv(K, group)), dtype),
        C: T.Tensor((M, N), out_dtype),
    ):
        with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=128) as (bx, by):
            A_shared = T.alloc_shared((block_M, block_K), dtype)
            packed_shared = T.alloc_shared((block_N, block_K // 2), "uint8")
            scales_shared = T.alloc_shared((block_N, block_K // group), dtype)
            W_shared = T.alloc_shared((block_N, block_K), dtype)
            C_local = T.alloc_fragment((block_M, block_N), "float32")
            T.clear(C_local)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=2):
                T.copy(A[by * block_M, k * block_K], A_shared)
                T.copy(packed[bx * block_N, k * (block_K // 2)], packed_shared)
                T.copy(scales[bx * block_N, k * (block_K // group)], scales_shared)
                for i, j in T.Parallel(block_N, block_K):
                    nibble = (packed_shared[i, j // 2] >> ((j % 2) * 4)) & 15
                    W_shared[i, j] = (T.cast(nibble, dtype) - 8) * scales_shared[i, j // group]
                T.gemm(A_shared, W_shared, C_local, transpose_B=True)
            T.copy(C_local, C[by * block_M, bx * block_N])

    return kernel


def pack(weights):
    """Integers in [-8, 7] as bytes of two, even columns low."""
    stored = (weights + 8).to(torch.uint8)
    return stored[:, 0::2] | (stored[:, 1::2] << 4)


def main():
    cases = Cases(__doc__)
    group = 32
    shapes = cases.size([(128, 128, 256), (33, 70, 96)], [(2048, 2048, 2048), (16, 4096, 4064)])
    for M, N, K in shapes:
        weights = torch.randint(-8, 8, (N, K), device=cases.device)
        for dtype in (torch.float16, torch.float32):
            name = str(dtype).removeprefix("torch.")
            A = cases.randn(M, K, dtype=dtype)
            scales = cases.randn(N, K // group).abs().to(dtype) * 0.1
            # the kernel rounds a scaled weight to the element type, so does the reference
            W = (weights.to(dtype) * scales.repeat_interleave(group, dim=1)).double()
            result = dequantize_matmul(M, N, K, group, dtype=name)(A, pack(weights), scales)
            label = f"dequantize_matmul_{name}"
            cases.check(label, result, A.double() @ W.T, cases.matmul_tolerance)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
