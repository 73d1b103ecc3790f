"""T.gemm for the target `cuda`, from the user's program to results, on the emulator."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T

torch = pytest.importorskip("torch")


def tiled(M, N, K, tile, threads, kinds, tA, tB):
    a, c = kinds
    block_M, block_N, block_K = tile

    @T.prim_func
    def main(
        A: T.Tensor((K, M) if tA else (M, K), a),
        B: T.Tensor((N, K) if tB else (K, N), a),
        C: T.Tensor((M, N), c),
    ):
        with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=threads) as (bx, by):
            A_s = T.alloc_shared((block_K, block_M) if tA else (block_M, block_K), a)
            B_s = T.alloc_shared((block_N, block_K) if tB else (block_K, block_N), a)
            C_f = T.alloc_fragment((block_M, block_N), c)
            T.clear(C_f)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=2):
                if tA:
                    T.copy(A[k * block_K, by * block_M], A_s)
                else:
                    T.copy(A[by * block_M, k * block_K], A_s)
                if tB:
                    T.copy(B[bx * block_N, k * block_K], B_s)
                else:
                    T.copy(B[k * block_K, bx * block_N], B_s)
                T.gemm(A_s, B_s, C_f, transpose_A=tA, transpose_B=tB)
            T.copy(C_f, C[by * block_M, bx * block_N])

    return main


def values(shape, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    if not kind.is_floating_point:
        return torch.randint(-3, 4, shape, generator=generator).to(kind)
    return torch.randn(shape, generator=generator).to(kind)


def emulated(func, arch="sm_90a"):
    return tilelang.compile(func, target=f"cuda -arch={arch}")


@pytest.fixture(autouse=True)
def emulator(monkeypatch):
    monkeypatch.setenv("TILELANG_EMULATE", "1")


@pytest.mark.parametrize(
    "size,tile,threads,kinds,arch,tolerance",
    [
        ((64, 96, 64), (64, 48, 32), 128, ("float16", "float32"), "sm_90a", 1e-5),
        ((64, 32, 64), (32, 32, 32), 64, ("float16", "float32"), "sm_75", 1e-5),
        ((64, 64, 32), (64, 64, 16), 128, ("float32", "float32"), "sm_80", 1e-2),
        ((32, 64, 64), (32, 64, 32), 64, ("int8", "int32"), "sm_80", 0.0),
        ((64, 64, 32), (64, 64, 16), 128, ("bfloat16", "bfloat16"), "sm_80", 1e-2),
        ((50, 40, 30), (40, 36, 20), 96, ("float16", "float32"), "sm_90a", 1e-5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_products(size, tile, threads, kinds, arch, tolerance, turned):
    M, N, K = size
    a, c = (getattr(torch, kind) for kind in kinds)
    kernel = emulated(tiled(*size, tile, threads, kinds, turned, turned), arch)
    A, B = values((K, M) if turned else (M, K), a, 0), values((N, K) if turned else (K, N), a, 1)
    C = torch.zeros((M, N), dtype=c)
    kernel(A, B, C)
    A, B = A.double(), B.double()
    want = (A.T if turned else A) @ (B.T if turned else B)
    scale = float(want.abs().max())
    np.testing.assert_allclose(C.double(), want, rtol=0, atol=tolerance * scale)


def test_a_product_is_operand_of_the_next():
    @T.prim_func
    def main(
        A: T.Tensor((64, 32), "float16"),
        B: T.Tensor((64, 32), "float16"),
        V: T.Tensor((64, 48), "float16"),
        O: T.Tensor((64, 48), "float32"),
    ):
        with T.Kernel(1, threads=128):
            A_s = T.alloc_shared((64, 32), "float16")
            B_s = T.alloc_shared((64, 32), "float16")
            V_s = T.alloc_shared((64, 48), "float16")
            S = T.alloc_fragment((64, 64), "float32")
            P = T.alloc_fragment((64, 64), "float16")
            R = T.alloc_fragment((64, 48), "float32")
            T.copy(A, A_s)
            T.copy(B, B_s)
            T.copy(V, V_s)
            policy = T.GemmWarpPolicy.FullRow
            T.gemm(A_s, B_s, S, transpose_B=True, policy=policy, clear_accum=True)
            T.copy(S, P)
            T.gemm(P, V_s, R, policy=policy, clear_accum=True)
            T.copy(R, O)

    kernel = emulated(main)
    assert "P_shared" not in kernel.get_kernel_source()
    A, B, V = (values(s, torch.float16, n) for n, s in enumerate([(64, 32), (64, 32), (64, 48)]))
    got = torch.zeros((64, 48))
    kernel(A, B, V, got)
    want = (A.double() @ B.double().T).half().double() @ V.double()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3 * float(want.abs().max()))
