"""What a compiled kernel offers besides being called: checks, timings, its source, a library file.

A library written by `export_library` needs neither this package nor a compiler; `tvm_ffi` loads it.
"""

import sys
import tempfile
from pathlib import Path

import torch
import tvm_ffi
from check import Cases, is_emulated

import tilelang
import tilelang.language as T
from tilelang.profiler import do_bench


@tilelang.jit(out_idx=[-1])
def matmul(M, N, K, block_M=64, block_N=64, block_K=32, dtype="float32"):
    @T.prim_func
    def main(A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), C: T.Tensor((M, N), dtype)):
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

    return main


def show_times(kernel, A, B, flops):
    """The profiler makes inputs by itself; `do_bench` times any call."""
    profiler = kernel.get_profiler(tilelang.TensorSupplyType.Normal)
    profiler.assert_allclose(torch.matmul, rtol=1e-2, atol=1e-2)
    generated = profiler.do_bench(warmup=5, rep=30)
    given = do_bench(lambda: kernel(A, B), warmup=5, rep=30)
    reference = do_bench(lambda: A @ B, warmup=5, rep=30)
    for label, milliseconds in (
        ("generated inputs", generated),
        ("our inputs", given),
        ("PyTorch", reference),
    ):
        print(f"{label}: {milliseconds:.3f} ms, {flops / milliseconds * 1e-6:.1f} GFLOP/s")


def show_source(kernel):
    source = kernel.get_kernel_source()
    lines = [line.strip() for line in source.splitlines()]
    at = next(i for i, line in enumerate(lines) if "T.gemm(" in line)
    print(f"kernel source: {len(lines)} lines, among them", *lines[at : at + 2], sep="\n    ")


def check_library(cases, A, B, kernel):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "matmul.so"
        kernel.export_library(str(path))
        library = tvm_ffi.load_module(str(path))
        C = torch.full((A.shape[0], B.shape[1]), float("nan"), device=A.device)
        library["main"](A, B, C)
        print(f"library: {path.stat().st_size} bytes")
    cases.check("exported matmul", C, A.double() @ B.double(), cases.matmul_tolerance)


def main():
    cases = Cases(__doc__)
    M, N, K = cases.size((256, 256, 256), (2048, 2048, 2048))
    A, B = cases.randn(M, K), cases.randn(K, N)
    kernel = matmul(M, N, K)
    cases.check("matmul", kernel(A, B), A.double() @ B.double(), cases.matmul_tolerance)
    show_times(kernel, A, B, 2 * M * N * K)
    show_source(kernel)
    if is_emulated():
        print("no library: what the emulator runs is no program of its own")
    else:
        check_library(cases, A, B, kernel)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
