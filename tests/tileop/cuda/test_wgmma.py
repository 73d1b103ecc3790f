"""`wgmma` products: from the user's program to results on the emulator, and through NVRTC."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.tileop.cuda.block_product import Product, context
from tilelang.engine.emulator import KernelCall, emulate
from tilelang.engine.lower import lower
from tilelang.engine.nvrtc import NvrtcToolchain, nvrtc_version
from tilelang.errors import Error, ToolchainError
from tilelang.tileop.cuda.wgmma import Wgmma
from tilelang.transform.config import PassConfigKey

WGMMA = Wgmma()
TARGET = "cuda -arch=sm_90a"
OFF = {PassConfigKey.TL_DISABLE_WGMMA: True}
KINDS = {"float16": np.float16, "float32": np.float32}
PRODUCT = re.compile(r"tl_wgmma_m64n(\d+)k16_f32_(\w+?)_(ss|rs)(_new)?<")


def tiled(size, tile, threads, kind="float16", tA=False, tB=False, stages=2, policy=0):
    M, N, K = size
    block_M, block_N, block_K = tile

    @T.prim_func
    def main(
        A: T.Tensor((K, M) if tA else (M, K), kind),
        B: T.Tensor((N, K) if tB else (K, N), kind),
        C: T.Tensor((M, N), "float32"),
    ):
        with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=threads) as (bx, by):
            A_s = T.alloc_shared((block_K, block_M) if tA else (block_M, block_K), kind)
            B_s = T.alloc_shared((block_N, block_K) if tB else (block_K, block_N), kind)
            C_f = T.alloc_fragment((block_M, block_N), "float32")
            T.clear(C_f)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=stages):
                if tA:
                    T.copy(A[k * block_K, by * block_M], A_s)
                else:
                    T.copy(A[by * block_M, k * block_K], A_s)
                if tB:
                    T.copy(B[bx * block_N, k * block_K], B_s)
                else:
                    T.copy(B[k * block_K, bx * block_N], B_s)
                T.gemm(
                    A_s, B_s, C_f, transpose_A=tA, transpose_B=tB, policy=T.GemmWarpPolicy(policy)
                )
            T.copy(C_f, C[by * block_M, bx * block_N])

    return main


def cuda_text(func, configs=None):
    return lower(func, target=TARGET, pass_configs=configs).kernel_source


def products(text):
    """(columns, type, form) of the products in a text."""
    return {found[:3] for found in PRODUCT.findall(text)}


def halves(shape, seed, kind="float16"):
    """Small integers, so that sums are exact, as the bits of `kind`."""
    numbers = np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)
    if kind == "bfloat16":
        return (numbers.view(np.uint32) >> 16).astype(np.uint16), numbers
    return numbers.astype(np.float16), numbers


def run(text, size, tile, threads, kind="float16", tA=False, tB=False, seed=0):
    """What the text makes of random operands, and what it should."""
    M, N, K = size
    A, a = halves((K, M) if tA else (M, K), 1, kind)
    B, b = halves((N, K) if tB else (K, N), 2, kind)
    C = np.zeros((M, N), np.float32)
    grid = (-(-N // tile[1]), -(-M // tile[0]))
    call = KernelCall("main_kernel", grid, (threads,), ("A", "B", "C"), 232448)
    arrays = {"A": A, "B": B, "C": C}
    emulate(text, [call], arrays, uninitialised=("C",), seed=seed)
    return arrays["C"], (a.T if tA else a) @ (b.T if tB else b)


def check(size, tile, threads, **how):
    text = cuda_text(tiled(size, tile, threads, **how))
    how.pop("stages", None), how.pop("policy", None)
    for seed in (0, 1):
        found, wanted = run(text, size, tile, threads, seed=seed, **how)
        np.testing.assert_array_equal(found, wanted)
    return text


@pytest.mark.parametrize("tA", [False, True])
@pytest.mark.parametrize("tB", [False, True])
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_majors_and_types(tA, tB, kind):
    text = check((64, 64, 128), (64, 64, 64), 128, kind=kind, tA=tA, tB=tB)
    short = {"float16": "f16", "bfloat16": "bf16"}[kind]
    assert products(text) == {("64", short, "ss")}
    assert f"<{int(tA)}, {int(not tB)}>" in text


@pytest.mark.parametrize(
    "size,tile,threads,columns",
    [
        ((64, 8, 32), (64, 8, 16), 128, "8"),
        ((64, 16, 32), (64, 16, 32), 128, "16"),
        ((128, 96, 96), (128, 96, 48), 128, "96"),
        ((128, 72, 64), (64, 72, 32), 128, "72"),
        ((192, 32, 32), (192, 32, 16), 384, "32"),
        ((128, 176, 32), (128, 176, 32), 256, "176"),
        ((64, 128, 32), (64, 128, 32), 256, "64"),
        ((64, 256, 32), (64, 256, 32), 128, "256"),
        ((64, 320, 16), (64, 320, 16), 128, "160"),
        ((100, 50, 72), (64, 64, 32), 128, "64"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_sizes(size, tile, threads, columns, turned):
    if turned and tile[1] == 8:
        turned = False  # rows of 16 elements of B, which has 8 of them, are what it is turned to
    text = cuda_text(tiled(size, tile, threads, tB=turned))
    if not products(text):
        # Rows of 8 or 24 elements have no swizzle; the other instruction takes the product.
        assert tile[1] * 2 % 32 and not turned
    else:
        assert {n for n, _, _ in products(text)} == {columns}
    found, wanted = run(text, size, tile, threads, tB=turned)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("stages", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_stages(stages, steps):
    size, tile = (64, 64, 32 * steps), (64, 64, 32)
    text = check(size, tile, 128, stages=stages)
    assert ("tl_wgmma_wait<1>" in text) == (stages > 1)


def test_without_barriers_of_the_compiler_each_product_is_waited_for():
    func = tiled((64, 64, 64), (64, 64, 32), 128)
    text = cuda_text(func, {PassConfigKey.TL_DISABLE_THREAD_STORAGE_SYNC: True})
    assert "tl_wgmma_wait<0>" in text and "tl_wgmma_wait<1>" not in text


@pytest.mark.parametrize("policy", [0, 1, 2])
def test_policies(policy):
    text = check((128, 64, 32), (128, 64, 32), 256, policy=policy)
    assert {n for n, _, _ in products(text)} == {"32" if policy == 2 else "64"}


def test_what_was_written_is_fenced_before_the_barrier():
    lines = cuda_text(tiled((64, 64, 128), (64, 64, 32), 128, stages=3)).splitlines()
    words = [w for line in lines for w in re.findall(r"tl_\w+", line)]
    first = words.index("tl_wgmma_fence")
    assert words[first - 2 : first] == ["tl_fence_proxy_async", "tl_sync_threads"]
    loop = words[words.index("tl_cp_async_wait_group") :]
    assert loop.count("tl_sync_threads") == 2  # before the product, and before the next copies


@pytest.mark.parametrize(
    "wrong",
    [
        ("tl_wgmma_descriptor<1>", "tl_wgmma_descriptor<2>"),
        (", 1024)", ", 512)"),
        ("tl_wgmma_wait<1>", "tl_wgmma_wait<2>"),
        ("tl_wgmma_wait<0>", "tl_wgmma_wait<1>"),
        ("_ss<0, 1>", "_ss<0, 0>"),
    ],
)
def test_planted_faults_are_found(wrong):
    size, tile = (64, 64, 256), (64, 64, 64)
    right = cuda_text(tiled(size, tile, 128, stages=2))
    text = right.replace(*wrong)
    assert text != right

    def is_right(seed):
        try:
            found, wanted = run(text, size, tile, 128, seed=seed)
        except Error:
            return False
        return bool((found == wanted).all())

    assert not all(is_right(seed) for seed in range(4))


# -- A in registers --------------------------------------------------------------------------------


@pytest.mark.parametrize("rows,threads", [(64, 128), (128, 128), (128, 256)])
def test_a_product_is_operand_of_the_next(rows, threads):
    @T.prim_func
    def main(
        A: T.Tensor((rows, 32), "float16"),
        B: T.Tensor((64, 32), "float16"),
        V: T.Tensor((64, 48), "float16"),
        O: T.Tensor((rows, 48), "float32"),
    ):
        with T.Kernel(1, threads=threads):
            A_s = T.alloc_shared((rows, 32), "float16")
            B_s = T.alloc_shared((64, 32), "float16")
            V_s = T.alloc_shared((64, 48), "float16")
            S = T.alloc_fragment((rows, 64), "float32")
            P = T.alloc_fragment((rows, 64), "float16")
            R = T.alloc_fragment((rows, 48), "float32")
            T.copy(A, A_s)
            T.copy(B, B_s)
            T.copy(V, V_s)
            policy = T.GemmWarpPolicy.FullRow
            T.gemm(A_s, B_s, S, transpose_B=True, policy=policy, clear_accum=True)
            T.copy(S, P)
            T.gemm(P, V_s, R, policy=policy, clear_accum=True)
            T.copy(R, O)

    text = cuda_text(main)
    assert products(text) == {("64", "f16", "ss"), ("48", "f16", "rs")}
    assert text.count("_new<") == 2 * (rows * 128 // threads // 64)
    arrays, values = {}, {}
    for seed, (name, shape) in enumerate({"A": (rows, 32), "B": (64, 32), "V": (64, 48)}.items()):
        arrays[name], values[name] = halves(shape, seed)
    arrays["O"] = np.zeros((rows, 48), np.float32)
    call = KernelCall("main_kernel", (1,), (threads,), ("A", "B", "V", "O"), 65536)
    emulate(text, [call], arrays, uninitialised=("O",))
    wanted = (values["A"] @ values["B"].T).astype(np.float16).astype(np.float64) @ values["V"]
    np.testing.assert_array_equal(arrays["O"], wanted.astype(np.float32))


def bench_kernels() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "bench" / "gpu_kernels.py"
    spec = importlib.util.spec_from_file_location("gpu_kernels", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("causal,rows,threads", [(True, 64, 128), (False, 128, 256)])
def test_attention(monkeypatch, causal, rows, threads):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("TILELANG_EMULATE", "1")
    func = bench_kernels().attention.get_tir(1, 1, 128, 64, causal, rows, 32, 2, threads, "float16")
    kernel = tilelang.compile(func, target=TARGET)
    assert {form for _, _, form in products(kernel.get_kernel_source())} == {"ss", "rs"}
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn((1, 1, 128, 64), generator=generator).half() for _ in range(3))
    found = torch.zeros_like(q)
    kernel(q, k, v, found)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), is_causal=causal
    )
    np.testing.assert_allclose(
        found.double(), wanted, rtol=0, atol=2e-3 * float(wanted.abs().max())
    )


# -- which instruction runs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "product,threads,arch,why",
    [
        (Product(64, 64, 32), 128, "sm_80", "sm_90a alone"),
        (Product(64, 64, 32), 128, "sm_90", "sm_90a alone"),
        (Product(64, 64, 32), 96, "sm_90a", "not whole warp groups"),
        (Product(32, 64, 32), 128, "sm_90a", "M is 32"),
        (Product(64, 60, 32), 128, "sm_90a", "N is 60"),
        (Product(64, 64, 24), 128, "sm_90a", "K is 24"),
        (Product(64, 8, 32), 256, "sm_90a", "cannot be cut for 2 warp groups"),
        (Product(256, 256, 32), 128, "sm_90a", "512 sums per thread do not fit"),
        (Product(64, 64, 32, "float32"), 128, "sm_90a", "float32 x float32"),
        (Product(64, 64, 32, "float16", "float16"), 128, "sm_90a", "into float16"),
        (Product(64, 24, 32), 128, "sm_90a", "no swizzled form"),
    ],
)  # fmt: skip
def test_reasons(product, threads, arch, why):
    assert why in str(WGMMA.applies(product.op(), context(threads, arch)))


def test_scopes_that_it_does_not_read():
    ctx, in_registers = context(128), "local.fragment"
    b = Product(64, 64, 32, scopes=("shared.dyn", in_registers, in_registers)).op()
    assert "B is `B`" in str(WGMMA.applies(b, ctx))
    a = Product(64, 64, 32, tA=True, scopes=(in_registers, "shared.dyn", in_registers)).op()
    assert "transposed" in str(WGMMA.applies(a, ctx))


def test_the_switch_gives_the_other_instruction():
    func = tiled((64, 64, 64), (64, 64, 32), 128)
    assert products(cuda_text(func))
    text = cuda_text(func, OFF)
    assert not products(text) and "tl_mma_m16n8k16_f32_f16" in text
    assert "tl_fence_proxy_async" not in text


def test_a_layout_of_the_users_own_is_respected():
    @T.prim_func
    def main(
        A: T.Tensor((64, 64), "float16"),
        B: T.Tensor((64, 64), "float16"),
        C: T.Tensor((64, 64), "float32"),
    ):
        with T.Kernel(1, threads=128):
            A_s = T.alloc_shared((64, 64), "float16")
            B_s = T.alloc_shared((64, 64), "float16")
            C_f = T.alloc_fragment((64, 64), "float32")
            T.annotate_layout({A_s: tilelang.layout.make_padded_layout(A_s)})
            T.copy(A, A_s)
            T.copy(B, B_s)
            T.gemm(A_s, B_s, C_f, clear_accum=True)
            T.copy(C_f, C)

    text = cuda_text(main)
    assert not products(text)
    found, wanted = run(text, (64, 64, 64), (64, 64, 64), 128)
    np.testing.assert_array_equal(found, wanted)


# -- the assembler ---------------------------------------------------------------------------------


def assembled(text):
    """Registers and log of the only kernel; skips where there is no NVRTC."""
    try:
        nvrtc_version()
    except ToolchainError as problem:
        pytest.skip(str(problem))
    made = NvrtcToolchain("sm_90a").compile(text)
    (usage,) = made.usage().values()
    return usage, made.log


@pytest.mark.parametrize(
    "tile,threads,stages,tA,tB",
    [
        ((128, 256, 64), 256, 4, False, False),
        ((256, 128, 64), 256, 3, False, True),
        ((128, 128, 32), 128, 3, True, True),
        ((64, 96, 48), 128, 1, True, False),
    ],
)
def test_products_are_not_serialised(tile, threads, stages, tA, tB):
    func = tiled((1024, 1536, 960), tile, threads, tA=tA, tB=tB, stages=stages)
    usage, log = assembled(cuda_text(func))
    assert "wgmma" not in log.lower() and "C75" not in log
    assert usage.spill_store_bytes == usage.stack_bytes == 0


@pytest.mark.parametrize("dim,rows,threads", [(128, 128, 256), (64, 128, 128)])
def test_attention_is_not_serialised(dim, rows, threads):
    func = bench_kernels().attention.get_tir(
        4, 32, 4096, dim, True, rows, 128 if threads == 256 else 64, 2, threads, "float16"
    )
    usage, log = assembled(cuda_text(func))
    assert "wgmma" not in log.lower() and "C75" not in log
    assert usage.spill_store_bytes == usage.stack_bytes == 0


def test_every_size_assembles():
    calls = "".join(
        f"  tl_wgmma_m64n{n}k16_f32_{kind}_ss<1, 0>(d, m, m);\n"
        f"  tl_wgmma_m64n{n}k16_f32_{kind}_rs_new<1>(d, a, m);\n"
        for n in (8, 16, 56, 104, 248, 256)
        for kind in ("f16", "bf16")
    )
    sizes = "".join(f"TL_DEFINE_WGMMA({n})\n" for n in range(8, 257, 8))
    text = f"""#include "wgmma.h"
{sizes}
extern "C" __global__ void __launch_bounds__(128) sizes_kernel(float *C, const uint32_t *A) {{
  extern __shared__ __align__(1024) unsigned char tl_arena[];
  alignas(16) float d[128];
  alignas(16) uint32_t a[4];
  #pragma unroll
  for (int i = 0; i < 4; i++) a[i] = A[threadIdx.x * 4 + i];
  #pragma unroll
  for (int i = 0; i < 128; i++) d[i] = C[threadIdx.x * 128 + i];
  const uint64_t m = tl_wgmma_descriptor<1>(tl_arena, 8192, 1024);
  tl_wgmma_pin<128>(d);
  tl_wgmma_fence();
{calls}  tl_wgmma_commit();
  tl_wgmma_wait<0>();
  tl_wgmma_pin<128>(d);
  #pragma unroll
  for (int i = 0; i < 128; i++) C[threadIdx.x * 128 + i] = d[i];
}}
"""
    usage, _ = assembled(text)
    assert usage.spill_store_bytes == 0


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_the_header_is_harmless_elsewhere(arch):
    try:
        nvrtc_version()
    except ToolchainError as problem:
        pytest.skip(str(problem))
    text = '#include "wgmma.h"\nextern "C" __global__ void none_kernel(int *C) { *C = 1; }\n'
    assert NvrtcToolchain(arch).compile(text).cubin
