"""Running sums along rows of any length, forwards and backwards.

`T.cumsum` scans a tile on chip; the last element of each tile's scan is carried into the next tile.
"""

import sys

from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit(out_idx=[-1])
def cumsum(M, N, reverse=False, block_M=4, block_N=256, dtype="float32"):
    tiles = T.ceildiv(N, block_N)
    end = 0 if reverse else block_N - 1  # column of a scanned tile that holds the tile's whole sum

    @T.prim_func
    def kernel(X: T.Tensor((M, N), dtype), Y: T.Tensor((M, N), dtype)):
        with T.Kernel(T.ceildiv(M, block_M), threads=128) as bx:
            x = T.alloc_shared((block_M, block_N), dtype)
            carry = T.alloc_fragment((block_M,), dtype)
            T.clear(carry)
            for step in T.serial(tiles):
                tile = tiles - 1 - step if reverse else step
                T.copy(X[bx * block_M, tile * block_N], x)
                T.cumsum(x, dim=1, reverse=reverse)
                for i, j in T.Parallel(block_M, block_N):
                    x[i, j] += carry[i]
                T.copy(x, Y[bx * block_M, tile * block_N])
                for i in T.Parallel(block_M):
                    carry[i] = x[i, end]

    return kernel


def main():
    cases = Cases(__doc__)
    for M, N in cases.size([(16, 1024), (7, 1000), (3, 1)], [(4096, 8192), (1001, 50000)]):
        X = cases.randn(M, N)
        cases.check("cumsum", cumsum(M, N)(X), X.double().cumsum(1), 1e-5)
        expected = X.double().flip(1).cumsum(1).flip(1)
        cases.check("cumsum_reverse", cumsum(M, N, reverse=True)(X), expected, 1e-5)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
