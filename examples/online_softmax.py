"""Row softmax in one pass over columns that do not fit on chip.

A block walks its rows in tiles. It keeps the largest value seen so far and the sum of exponentials
relative to it; when a tile brings a larger maximum the old sum is rescaled. A second walk writes
the result.
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T

LOG2_E = 1.4426950408889634  # exp(x) = exp2(x * LOG2_E), and exp2 is the cheaper of the two


@tilelang.jit(out_idx=[-1])
def softmax(M, N, block_M=4, block_N=512, dtype="float32"):
    @T.prim_func
    def kernel(X: T.Tensor((M, N), dtype), Y: T.Tensor((M, N), dtype)):
        with T.Kernel(T.ceildiv(M, block_M), threads=128) as bx:
            x = T.alloc_fragment((block_M, block_N), "float32")
            tile_max = T.alloc_fragment((block_M,), "float32")
            tile_sum = T.alloc_fragment((block_M,), "float32")
            row_max = T.alloc_fragment((block_M,), "float32")
            row_sum = T.alloc_fragment((block_M,), "float32")
            T.annotate_safe_value({X: -T.infinity(dtype)})
            T.fill(row_max, -T.infinity("float32"))
            T.clear(row_sum)

            for k in T.Pipelined(T.ceildiv(N, block_N), num_stages=2):
                T.copy(X[bx * block_M, k * block_N], x)
                T.reduce_max(x, tile_max, dim=1)
                for i in T.Parallel(block_M):
                    tile_max[i] = T.max(tile_max[i], row_max[i])
                    row_sum[i] *= T.exp2((row_max[i] - tile_max[i]) * LOG2_E)
                    row_max[i] = tile_max[i]
                for i, j in T.Parallel(block_M, block_N):
                    x[i, j] = T.exp2((x[i, j] - row_max[i]) * LOG2_E)
                T.reduce_sum(x, tile_sum, dim=1)
                for i in T.Parallel(block_M):
                    row_sum[i] += tile_sum[i]

            for k in T.Pipelined(T.ceildiv(N, block_N), num_stages=2):
                T.copy(X[bx * block_M, k * block_N], x)
                for i, j in T.Parallel(block_M, block_N):
                    x[i, j] = T.exp2((x[i, j] - row_max[i]) * LOG2_E) / row_sum[i]
                T.copy(x, Y[bx * block_M, k * block_N])

    return kernel


def main():
    cases = Cases(__doc__)
    for M, N in cases.size([(8, 2048), (13, 1000), (3, 100)], [(8192, 8192), (1000, 50257)]):
        X = cases.randn(M, N) * 5
        cases.check("softmax", softmax(M, N)(X), torch.softmax(X.double(), dim=1), 1e-5)
    X = cases.randn(M, N, dtype=torch.float16)
    result = softmax(M, N, dtype="float16")(X)
    cases.check("softmax_float16", result, torch.softmax(X.double(), dim=1), 1e-3)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
