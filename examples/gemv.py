"""Matrix times vector, three ways: y = A x with A of N rows and K columns.

`gemv` keeps a tile of products and sums it once, at the end; `split_k_gemv` shares a row among
blocks, for matrices with few rows; `gemv_by_threads` is written for single threads, which combine
their sums with an allreduce.
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit(out_idx=[-1])
def gemv(N, K, block_N=8, block_K=256, dtype="float32"):
    @T.prim_func
    def kernel(A: T.Tensor((N, K), dtype), x: T.Tensor((K,), dtype), y: T.Tensor((N,), dtype)):
        with T.Kernel(T.ceildiv(N, block_N), threads=128) as bx:
            A_local = T.alloc_fragment((block_N, block_K), "float32")
            x_shared = T.alloc_shared((block_K,), "float32")
            products = T.alloc_fragment((block_N, block_K), "float32")
            sums = T.alloc_fragment((block_N,), "float32")
            T.clear(products)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=2):
                T.copy(A[bx * block_N, k * block_K], A_local)
                T.copy(x[k * block_K], x_shared)
                for i, j in T.Parallel(block_N, block_K):
                    products[i, j] += A_local[i, j] * x_shared[j]
            T.reduce_sum(products, sums, dim=1)
            T.copy(sums, y[bx * block_N])

    return kernel


@tilelang.jit
def split_k_gemv(N, K, splits, block_N=8, block_K=256, dtype="float32"):
    """Adds to y, which the caller has zeroed."""
    steps = T.ceildiv(T.ceildiv(K, block_K), splits)

    @T.prim_func
    def kernel(A: T.Tensor((N, K), dtype), x: T.Tensor((K,), dtype), y: T.Tensor((N,), "float32")):
        with T.Kernel(T.ceildiv(N, block_N), splits, threads=128) as (bx, by):
            A_local = T.alloc_fragment((block_N, block_K), "float32")
            x_shared = T.alloc_shared((block_K,), "float32")
            products = T.alloc_fragment((block_N, block_K), "float32")
            sums = T.alloc_fragment((block_N,), "float32")
            T.clear(products)
            for k in T.Pipelined(steps, num_stages=2):
                T.copy(A[bx * block_N, (by * steps + k) * block_K], A_local)
                T.copy(x[(by * steps + k) * block_K], x_shared)
                for i, j in T.Parallel(block_N, block_K):
                    products[i, j] += A_local[i, j] * x_shared[j]
            T.reduce_sum(products, sums, dim=1)
            T.atomic_add(y[bx * block_N], sums)

    return kernel


@tilelang.jit(out_idx=[-1])
def gemv_by_threads(N, K, rows=4, lanes=32, vector=4, dtype="float32"):
    """A row per group of `lanes` threads; each loads `vector` neighbours at a time."""
    block_K = lanes * vector

    @T.prim_func
    def kernel(A: T.Tensor((N, K), dtype), x: T.Tensor((K,), dtype), y: T.Tensor((N,), dtype)):
        with T.Kernel(T.ceildiv(N, rows), threads=(lanes, rows)) as bx:
            lane = T.get_thread_binding(0)
            row = bx * rows + T.get_thread_binding(1)
            A_local = T.alloc_local((vector,), dtype)
            x_local = T.alloc_local((vector,), dtype)
            partial = T.alloc_local((1,), "float32")
            total = T.alloc_local((1,), "float32")
            T.clear(partial)
            for k in T.serial(T.ceildiv(K, block_K)):
                for v in T.vectorized(vector):
                    A_local[v] = A[row, k * block_K + lane * vector + v]
                    x_local[v] = x[k * block_K + lane * vector + v]
                for v in T.serial(vector):
                    partial[0] += A_local[v].astype("float32") * x_local[v].astype("float32")
            add = T.comm_reducer(lambda a, b: a + b, [T.float32(0)])
            nothing = T.reinterpret(T.uint64(0), dtype="handle")
            with T.attr(add, "reduce_scope", nothing):
                T.evaluate(
                    T.tvm_thread_allreduce(
                        T.uint32(1), partial[0], True, total[0], lane, dtype="handle"
                    )
                )
            if lane == 0:
                y[row] = total[0]

    return kernel


def main():
    cases = Cases(__doc__)
    for N, K in cases.size([(128, 1024), (37, 1000)], [(4096, 4096), (1001, 14336)]):
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 1e-3)):
            name = str(dtype).removeprefix("torch.")
            A, x = cases.randn(N, K, dtype=dtype), cases.randn(K, dtype=dtype)
            expected = A.double() @ x.double()
            cases.check(f"gemv_{name}", gemv(N, K, dtype=name)(A, x), expected, tolerance)
            y = torch.zeros(N, device=cases.device)
            split_k_gemv(N, K, splits=4, dtype=name)(A, x, y)
            cases.check(f"split_k_gemv_{name}", y, expected, 1e-5)
            result = gemv_by_threads(N, K, dtype=name)(A, x)
            cases.check(f"gemv_by_threads_{name}", result, expected, tolerance)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
