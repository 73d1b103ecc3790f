"""The kernels that bench/cpu.py times: plain tile programs, tile sizes chosen by the caller.

Those that bench/gpu.py times too are the same programs. Attention is not: on a GPU its scores are
masked on the diagonal alone, and the longest rows start first.
"""

import gpu_kernels

import tilelang
import tilelang.language as T

gemm = tilelang.jit(gpu_kernels.gemm.__wrapped__)
softmax = tilelang.jit(gpu_kernels.softmax.__wrapped__)
rms_norm = tilelang.jit(gpu_kernels.rms_norm.__wrapped__)


@tilelang.jit
def plain_copy(M, N, block_M=4):
    @T.prim_func
    def kernel(X: T.Tensor((M, N), "float32"), Y: T.Tensor((M, N), "float32")):
        with T.Kernel(T.ceildiv(M, block_M), threads=128) as bx:
            for i, j in T.Parallel(block_M, N):
                Y[bx * block_M + i, j] = X[bx * block_M + i, j]

    return kernel


@tilelang.jit
def flash_attention(batch, heads, seq_len, dim, causal, block_M, block_N, dtype="float32"):
    scale = (1.0 / dim) ** 0.5 * 1.44269504  # log2(e)
    shape = (batch, heads, seq_len, dim)

    @T.prim_func
    def kernel(
        Q: T.Tensor(shape, dtype),
        K: T.Tensor(shape, dtype),
        V: T.Tensor(shape, dtype),
        Out: T.Tensor(shape, dtype),
    ):
        with T.Kernel(T.ceildiv(seq_len, block_M), heads, batch, threads=128) as (bx, by, bz):
            Q_shared = T.alloc_shared((block_M, dim), dtype)
            K_shared = T.alloc_shared((block_N, dim), dtype)
            V_shared = T.alloc_shared((block_N, dim), dtype)
            S = T.alloc_fragment((block_M, block_N), "float32")
            acc = T.alloc_fragment((block_M, dim), "float32")
            row_max = T.alloc_fragment((block_M,), "float32")
            row_max_old = T.alloc_fragment((block_M,), "float32")
            rescale = T.alloc_fragment((block_M,), "float32")
            row_sum = T.alloc_fragment((block_M,), "float32")
            total = T.alloc_fragment((block_M,), "float32")
            T.copy(Q[bz, by, bx * block_M : (bx + 1) * block_M, :], Q_shared)
            T.clear(acc)
            T.clear(total)
            T.fill(row_max, -T.infinity("float32"))
            steps = (
                T.ceildiv((bx + 1) * block_M, block_N) if causal else T.ceildiv(seq_len, block_N)
            )
            for k in T.Pipelined(steps, num_stages=2):
                T.copy(K[bz, by, k * block_N : (k + 1) * block_N, :], K_shared)
                if causal:
                    for i, j in T.Parallel(block_M, block_N):
                        visible = k * block_N + j <= bx * block_M + i
                        S[i, j] = T.if_then_else(visible, 0, -T.infinity("float32"))
                else:
                    T.clear(S)
                T.gemm(Q_shared, K_shared, S, transpose_B=True)
                T.copy(row_max, row_max_old)
                T.reduce_max(S, row_max, dim=1, clear=False)
                for i in T.Parallel(block_M):
                    rescale[i] = T.exp2(row_max_old[i] * scale - row_max[i] * scale)
                for i, j in T.Parallel(block_M, block_N):
                    S[i, j] = T.exp2(S[i, j] * scale - row_max[i] * scale)
                T.reduce_sum(S, row_sum, dim=1)
                for i in T.Parallel(block_M):
                    total[i] = total[i] * rescale[i] + row_sum[i]
                for i, j in T.Parallel(block_M, dim):
                    acc[i, j] *= rescale[i]
                T.copy(V[bz, by, k * block_N : (k + 1) * block_N, :], V_shared)
                T.gemm(S, V_shared, acc)
            for i, j in T.Parallel(block_M, dim):
                acc[i, j] /= total[i]
            T.copy(acc, Out[bz, by, bx * block_M : (bx + 1) * block_M, :])

    return kernel


@tilelang.jit
def do_nothing(n):
    @T.prim_func
    def kernel(
        A: T.Tensor((n,), "float32"), B: T.Tensor((n,), "float32"), C: T.Tensor((n,), "float32")
    ):
        with T.Kernel(1, threads=32):
            pass

    return kernel
