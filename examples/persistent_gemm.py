"""Matrix product with as many blocks as the device holds at once, each of which makes many tiles.

`T.Persistent` deals the tiles out, neighbours close in time so that they find each other's data in
cache. Compared with a block per tile it saves launches of blocks and shares what is set up once.
"""

import os
import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit(out_idx=[-1])
def persistent_matmul(
    M, N, K, blocks, block_M=64, block_N=64, block_K=32, group_size=8, dtype="float32"
):
    @T.prim_func
    def kernel(A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), C: T.Tensor((M, N), dtype)):
        with T.Kernel(blocks, threads=128) as block:
            A_shared = T.alloc_shared((block_M, block_K), dtype)
            B_shared = T.alloc_shared((block_K, block_N), dtype)
            C_local = T.alloc_fragment((block_M, block_N), "float32")
            tiles = [T.ceildiv(M, block_M), T.ceildiv(N, block_N)]
            for by, bx in T.Persistent(tiles, blocks, block, group_size):
                T.clear(C_local)
                for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=3):
                    T.copy(A[by * block_M, k * block_K], A_shared)
                    T.copy(B[k * block_K, bx * block_N], B_shared)
                    T.gemm(A_shared, B_shared, C_local)
                T.copy(C_local, C[by * block_M, bx * block_N])

    return kernel


def blocks_at_once(device):
    """One block per multiprocessor, or per core."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).multi_processor_count
    return os.cpu_count() or 1


def main():
    cases = Cases(__doc__)
    blocks = blocks_at_once(cases.device)
    M, N, K = cases.size((300, 700, 100), (2048, 2048, 2048))
    A, B = cases.randn(M, K), cases.randn(K, N)
    for count, group_size in ((blocks, 1), (blocks, 8), (7, 3), (1000, 8)):  # 1000: too many
        result = persistent_matmul(M, N, K, count, group_size=group_size)(A, B)
        name = f"persistent_matmul {count} blocks, groups of {group_size},"
        cases.check(name, result, A.double() @ B.double(), cases.matmul_tolerance)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
