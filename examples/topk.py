"""The k largest of each row, as in the router of a mixture of experts.

k times: find the maximum of the row, the first column that has it, and strike that column out.
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit(out_idx=[-2, -1])
def topk(M, N, k, block_M=8, dtype="float32"):
    @T.prim_func
    def kernel(
        X: T.Tensor((M, N), dtype),
        values: T.Tensor((M, k), dtype),
        columns: T.Tensor((M, k), "int32"),
    ):
        with T.Kernel(T.ceildiv(M, block_M), threads=128) as bx:
            x = T.alloc_fragment((block_M, N), dtype)
            candidates = T.alloc_fragment((block_M, N), "int32")
            best = T.alloc_fragment((block_M,), dtype)
            column = T.alloc_fragment((block_M,), "int32")
            T.copy(X[bx * block_M, 0], x)
            for rank in T.serial(k):
                T.reduce_max(x, best, dim=1)
                for i, j in T.Parallel(block_M, N):
                    candidates[i, j] = T.if_then_else(x[i, j] == best[i], j, N)
                T.reduce_min(candidates, column, dim=1)
                for i, j in T.Parallel(block_M, N):
                    if j == column[i]:
                        x[i, j] = -T.infinity(dtype)
                for i in T.Parallel(block_M):
                    values[bx * block_M + i, rank] = best[i]
                    columns[bx * block_M + i, rank] = column[i]

    return kernel


def main():
    cases = Cases(__doc__)
    small, large = [(64, 128, 8), (37, 100, 5), (3, 7, 7)], [(4096, 256, 8), (8191, 1000, 6)]
    for M, N, k in cases.size(small, large):
        X = cases.randn(M, N)
        values, columns = topk(M, N, k)(X)
        expected, _ = torch.topk(X, k, dim=1)
        cases.check("topk_values", values, expected, 0)
        cases.check("topk_columns", X.gather(1, columns.long()), expected, 0)

        X = X.round()  # many equal values: of those the first column comes first
        values, columns = topk(M, N, k)(X)
        expected = torch.argsort(X, dim=1, descending=True, stable=True)[:, :k]
        cases.check("topk_of_equal_values", columns, expected, 0)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
