"""Fused matrix product + ReLU, and a FlashAttention forward, checked against PyTorch.

Run with `make quickstart`. Takes a CUDA device when there is one and this build has that target.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from check import fitting, is_emulated, pick_device

import tilelang
import tilelang.language as T
from tilelang.target import determine_target


@tilelang.jit(out_idx=[-1])
def matmul_relu(M, N, K, block_M, block_N, block_K, dtype="float32"):
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
            for i, j in T.Parallel(block_M, block_N):
                C_local[i, j] = T.max(C_local[i, j], 0)
            T.copy(C_local, C[by * block_M, bx * block_N])

    return kernel


@tilelang.jit(out_idx=[-1])
def flash_attention(batch, heads, seq_len, dim, causal, block_M, block_N, dtype="float32"):
    scale = (1.0 / dim) ** 0.5 * 1.44269504  # log2(e): softmax is computed with exp2
    shape = (batch, heads, seq_len, dim)

    @T.prim_func
    def kernel(
        Q: T.Tensor(shape, dtype),
        K: T.Tensor(shape, dtype),
        V: T.Tensor(shape, dtype),
        O: T.Tensor(shape, dtype),
    ):
        with T.Kernel(T.ceildiv(seq_len, block_M), heads, batch, threads=128) as (bx, by, bz):
            Q_shared = T.alloc_shared((block_M, dim), dtype)
            K_shared = T.alloc_shared((block_N, dim), dtype)
            V_shared = T.alloc_shared((block_N, dim), dtype)
            S = T.alloc_fragment((block_M, block_N), "float32")
            P = T.alloc_fragment((block_M, block_N), dtype)
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
            last = T.ceildiv((bx + 1) * block_M, block_N)
            steps = (
                T.min(last, T.ceildiv(seq_len, block_N)) if causal else T.ceildiv(seq_len, block_N)
            )
            for k in T.Pipelined(steps, num_stages=2):
                T.copy(K[bz, by, k * block_N : (k + 1) * block_N, :], K_shared)
                for i, j in T.Parallel(block_M, block_N):
                    if causal:
                        visible = k * block_N + j <= bx * block_M + i
                    else:
                        visible = k * block_N + j < seq_len
                    S[i, j] = T.if_then_else(visible, 0, -T.infinity("float32"))
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
                T.copy(S, P)
                for i, j in T.Parallel(block_M, dim):
                    acc[i, j] *= rescale[i]
                T.copy(V[bz, by, k * block_N : (k + 1) * block_N, :], V_shared)
                T.gemm(P, V_shared, acc)
            for i, j in T.Parallel(block_M, dim):
                acc[i, j] /= total[i]
            T.copy(acc, O[bz, by, bx * block_M : (bx + 1) * block_M, :])

    return kernel


def median_seconds(functions, repeats=15):
    """Median seconds of each function, measured alternately."""
    times = [[] for _ in functions]
    for _ in range(1 if is_emulated() else repeats):
        for function, record in zip(functions, times):
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in times]


def report(name, ours, reference, kernel, run, run_reference, flops, tolerance):
    error = ((ours - reference).norm() / reference.norm()).item()
    seconds, reference_seconds = median_seconds([run, run_reference])
    suffix = "c" if kernel.target.kind == "c" else "cu"
    source = Path(tempfile.gettempdir()) / f"tilelang_quickstart_{name}.{suffix}"
    kernel.export_sources(kernel_path=str(source))
    print(f"{name}: relative error {error:.1e} ({'ok' if error < tolerance else 'WRONG'})")
    print(
        f"  {flops / seconds * 1e-9:8.1f} GFLOP/s; PyTorch {flops / reference_seconds * 1e-9:.1f}"
    )
    print(f"  generated source: {source}")
    return error < tolerance


def main():
    device = pick_device()
    torch.manual_seed(0)
    print(f"tilelang {tilelang.__version__}, PyTorch {torch.__version__}, on {device}")

    M = N = K = fitting(1024)
    A, B = torch.randn(M, K, device=device), torch.randn(K, N, device=device)
    is_cpu = determine_target("auto").kind == "c"
    tolerance = 1e-5 if is_cpu else 1e-3
    tile = (128, 256, 256) if is_cpu else (128, 128, 32)
    kernel = matmul_relu(M, N, K, *tile)
    reference = torch.relu(A.double() @ B.double()).float()
    ok = report(
        "matmul_relu", kernel(A, B), reference, kernel,
        lambda: kernel(A, B), lambda: torch.relu(A @ B), 2 * M * N * K, tolerance,
    )  # fmt: skip

    batch, heads, seq_len, dim = fitting((1, 8, 1024, 64))
    Q, K_, V = (torch.randn(batch, heads, seq_len, dim, device=device) for _ in range(3))
    attention = torch.nn.functional.scaled_dot_product_attention
    for causal in (False, True):
        kernel = flash_attention(batch, heads, seq_len, dim, causal, 64, 64)
        reference = attention(Q.double(), K_.double(), V.double(), is_causal=causal).float()
        flops = 4 * batch * heads * seq_len * seq_len * dim * (0.5 if causal else 1)
        ok &= report(
            "flash_attention_causal" if causal else "flash_attention",
            kernel(Q, K_, V), reference, kernel,
            lambda kernel=kernel: kernel(Q, K_, V),
            lambda causal=causal: attention(Q, K_, V, is_causal=causal), flops, tolerance,
        )  # fmt: skip
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
