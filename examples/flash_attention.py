"""FlashAttention forward: softmax(Q K^T / sqrt(dim)) V without the score matrix in memory.

Each block owns `block_M` queries and walks the keys in tiles with the online softmax. Grouped
queries (`heads` a multiple of `kv_heads`), causal masks, and lengths that no tile divides. Written
twice: as a factory that returns a kernel, tensors being (batch, heads, length, dim), and as an
eager function that is called with tensors, (batch, length, heads, dim).
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T

LOG2_E = 1.4426950408889634


@T.macro
def online_softmax(S, row_max, old_max, rescale, row_sum, total, scale):
    """Scores become exponentials; `rescale` is the factor of the sums and results so far."""
    T.copy(row_max, old_max)
    T.reduce_max(S, row_max, dim=1, clear=False)
    block_M, block_N = S.shape
    for i in T.Parallel(block_M):
        rescale[i] = T.exp2(old_max[i] * scale - row_max[i] * scale)
    for i, j in T.Parallel(block_M, block_N):
        S[i, j] = T.exp2(S[i, j] * scale - row_max[i] * scale)
    T.reduce_sum(S, row_sum, dim=1)
    for i in T.Parallel(block_M):
        total[i] = total[i] * rescale[i] + row_sum[i]


@tilelang.jit(out_idx=[-1])
def attention(
    batch, heads, kv_heads, length, dim, causal, block_M=64, block_N=64, dtype="float32"
):  # fmt: skip
    group = heads // kv_heads
    scale = dim**-0.5 * LOG2_E

    @T.prim_func
    def kernel(
        Q: T.Tensor((batch, heads, length, dim), dtype),
        K: T.Tensor((batch, kv_heads, length, dim), dtype),
        V: T.Tensor((batch, kv_heads, length, dim), dtype),
        out: T.Tensor((batch, heads, length, dim), dtype),
    ):
        with T.Kernel(T.ceildiv(length, block_M), heads, batch, threads=128) as (bx, by, bz):
            Q_shared = T.alloc_shared((block_M, dim), dtype)
            K_shared = T.alloc_shared((block_N, dim), dtype)
            V_shared = T.alloc_shared((block_N, dim), dtype)
            S = T.alloc_fragment((block_M, block_N), "float32")
            P = T.alloc_fragment((block_M, block_N), dtype)
            acc = T.alloc_fragment((block_M, dim), "float32")
            row_max = T.alloc_fragment((block_M,), "float32")
            old_max = T.alloc_fragment((block_M,), "float32")
            rescale = T.alloc_fragment((block_M,), "float32")
            row_sum = T.alloc_fragment((block_M,), "float32")
            total = T.alloc_fragment((block_M,), "float32")

            T.copy(Q[bz, by, bx * block_M, 0], Q_shared)
            T.clear(acc)
            T.clear(total)
            T.fill(row_max, -T.infinity("float32"))
            visible = T.min(length, (bx + 1) * block_M) if causal else length
            for k in T.Pipelined(T.ceildiv(visible, block_N), num_stages=2):
                T.copy(K[bz, by // group, k * block_N, 0], K_shared)
                for i, j in T.Parallel(block_M, block_N):
                    if causal:
                        seen = k * block_N + j <= bx * block_M + i
                    else:
                        seen = k * block_N + j < length
                    S[i, j] = T.if_then_else(seen, 0, -T.infinity("float32"))
                T.gemm(Q_shared, K_shared, S, transpose_B=True)
                online_softmax(S, row_max, old_max, rescale, row_sum, total, scale)
                T.copy(S, P)
                for i, j in T.Parallel(block_M, dim):
                    acc[i, j] *= rescale[i]
                T.copy(V[bz, by // group, k * block_N, 0], V_shared)
                T.gemm(P, V_shared, acc)
            for i, j in T.Parallel(block_M, dim):
                acc[i, j] /= total[i]
            T.copy(acc, out[bz, by, bx * block_M, 0])

    return kernel


@tilelang.jit
def eager_attention(Q, K, V, causal: bool, block_M: int = 64, block_N: int = 64):
    """Lengths of queries and keys are read at each call; the last query sees the last key."""
    batch, q_length, kv_length = T.dynamic("batch, q_length, kv_length")
    heads, kv_heads, dim = T.const("heads, kv_heads, dim")
    Q: T.Tensor((batch, q_length, heads, dim), "float32")
    K: T.Tensor((batch, kv_length, kv_heads, dim), "float32")
    V: T.Tensor((batch, kv_length, kv_heads, dim), "float32")
    out = T.empty((batch, q_length, heads, dim), "float32")
    group = heads // kv_heads
    with T.Kernel(T.ceildiv(q_length, block_M), heads, batch, threads=128) as (bx, by, bz):
        Q_shared = T.alloc_shared((block_M, dim), "float32")
        K_shared = T.alloc_shared((block_N, dim), "float32")
        V_shared = T.alloc_shared((block_N, dim), "float32")
        S = T.alloc_fragment((block_M, block_N), "float32")
        acc = T.alloc_fragment((block_M, dim), "float32")
        row_max = T.alloc_fragment((block_M,), "float32")
        old_max = T.alloc_fragment((block_M,), "float32")
        rescale = T.alloc_fragment((block_M,), "float32")
        row_sum = T.alloc_fragment((block_M,), "float32")
        total = T.alloc_fragment((block_M,), "float32")

        T.copy(Q[bz, bx * block_M : (bx + 1) * block_M, by, :], Q_shared)
        T.clear(acc)
        T.clear(total)
        T.fill(row_max, -T.infinity("float32"))
        past = kv_length - q_length
        visible = T.min(kv_length, past + (bx + 1) * block_M) if causal else kv_length
        for k in T.Pipelined(T.ceildiv(visible, block_N), num_stages=2):
            T.copy(K[bz, k * block_N : (k + 1) * block_N, by // group, :], K_shared)
            for i, j in T.Parallel(block_M, block_N):
                last = T.min(kv_length - 1, past + bx * block_M + i) if causal else kv_length - 1
                S[i, j] = T.if_then_else(k * block_N + j <= last, 0, -T.infinity("float32"))
            T.gemm(Q_shared, K_shared, S, transpose_B=True)
            scale = dim**-0.5 * LOG2_E
            online_softmax(S, row_max, old_max, rescale, row_sum, total, scale)
            for i, j in T.Parallel(block_M, dim):
                acc[i, j] *= rescale[i]
            T.copy(V[bz, k * block_N : (k + 1) * block_N, by // group, :], V_shared)
            T.gemm(S, V_shared, acc)
        for i, j in T.Parallel(block_M, dim):
            acc[i, j] /= total[i]
        T.copy(acc, out[bz, bx * block_M : (bx + 1) * block_M, by, :])
    return out


def reference_attention(Q, K, V, causal):
    """In float64; (batch, heads, length, dim)."""
    group = Q.shape[1] // K.shape[1]
    Q, K, V = Q.double(), K.double(), V.double()
    scores = Q @ K.repeat_interleave(group, 1).transpose(2, 3) * Q.shape[-1] ** -0.5
    if causal:
        queries, keys = scores.shape[2:]
        seen = torch.ones(queries, keys, dtype=torch.bool, device=Q.device).tril(keys - queries)
        scores = scores.masked_fill(~seen, float("-inf"))
    return scores.softmax(-1) @ V.repeat_interleave(group, 1)


def check_factory(cases, batch, heads, kv_heads, length, dim, causal, dtype):
    Q = cases.randn(batch, heads, length, dim, dtype=dtype)
    K, V = (cases.randn(batch, kv_heads, length, dim, dtype=dtype) for _ in range(2))
    name = str(dtype).removeprefix("torch.")
    block_N = 64 if dim <= 64 else 32  # two slots of K and V beside Q, in shared memory
    kernel = attention(batch, heads, kv_heads, length, dim, causal, block_N=block_N, dtype=name)
    result = kernel(Q, K, V)
    tolerance = cases.matmul_tolerance if dtype is torch.float32 else 2e-3
    label = f"attention_{name}{'_causal' * causal}"
    cases.check(label, result, reference_attention(Q, K, V, causal), tolerance)


def check_eager(cases, batch, heads, kv_heads, lengths, dim, causal):
    q_length, kv_length = lengths
    Q = cases.randn(batch, q_length, heads, dim)
    K, V = (cases.randn(batch, kv_length, kv_heads, dim) for _ in range(2))
    result = eager_attention(Q, K, V, causal)
    expected = reference_attention(*(x.transpose(1, 2) for x in (Q, K, V)), causal).transpose(1, 2)
    label = f"eager_attention{'_causal' * causal}"
    cases.check(label, result, expected, cases.matmul_tolerance)


def main():
    cases = Cases(__doc__)
    batch, heads, kv_heads = cases.size((1, 4, 2), (4, 16, 4))
    length, odd = cases.size((256, 257), (2048, 2049))
    check_factory(cases, batch, heads, heads, length, 64, False, torch.float32)
    check_factory(cases, batch, heads, heads, length, 64, True, torch.float32)
    check_factory(cases, batch, heads, kv_heads, odd, 128, False, torch.float32)
    check_factory(cases, batch, heads, kv_heads, odd, 64, True, torch.float16)
    for causal in (False, True):
        for lengths in ((odd, odd), (65, length), (1, odd)):
            check_eager(cases, 2 * batch, heads, kv_heads, lengths, 64, causal)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
