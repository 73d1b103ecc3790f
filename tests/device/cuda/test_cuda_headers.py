"""Every header alone, every function of every header, and what instruction a few become."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from tests.device.cuda.conftest import ARCHS, HEADERS, functions_of
from tilelang.engine.nvrtc import CUDA_HEADERS, CompiledCubin
from tilelang.engine.toolchain import C_HEADERS, SCALAR_HEADERS

CompileCuda = Callable[..., CompiledCubin]
SHARED_HEADERS = (
    "types.h", "tl_math.h", "tl_arith.h", "tl_ieee.h", "integer.h", "atomic.h", "rng.h",
)  # fmt: skip
OVERLOADED = {"tl_bar_sync"}  # has no single address
_PUBLIC = re.compile(  # what generated text may call, not what a header needs for itself
    r"tl_(\w+_(float32|float64|u?int\d+)|(float32_to|rng|wrap|nibble|u?int4|bits_to)_\w+|\w+_to_bits"
    r"|fns|nan_above|round_random|\w+_float16|\w+_bfloat16)"
)
_INTERNAL = {"tl_clamp_float32", "tl_atomic_bits_to_float64", "tl_atomic_float64_to_bits"}


def kernel(header: str, body: str) -> str:
    return (
        f'#include "{header}"\n'
        f'extern "C" __global__ void k(float *f, double *d, uint32_t *u, const void *p) {{\n'
        f"  __shared__ uint4 s[64];\n  {body}\n}}\n"
    )


@pytest.mark.parametrize("arch", ARCHS)
def test_each_header_compiles_alone_without_a_warning(compile_cuda: CompileCuda, arch: str) -> None:
    assert len(HEADERS) >= 15
    for header in HEADERS:
        made = compile_cuda(f'#include "{header}"\nextern "C" __global__ void k() {{}}', arch)
        assert "k" in made.usage(), header
        assert "warning" not in made.log, header


@pytest.mark.parametrize("arch", ARCHS)
def test_all_functions_assemble_without_a_warning(compile_cuda: CompileCuda, arch: str) -> None:
    names = {n for header in HEADERS for n in functions_of(header, arch)} - OVERLOADED
    assert len(names) > 500
    includes = "".join(f'#include "{h}"\n' for h in HEADERS)
    pointers = "\n".join(f"__device__ auto pointer_{n} = &{n};" for n in sorted(names))
    made = compile_cuda(f'{includes}{pointers}\nextern "C" __global__ void k() {{}}', arch)
    assert "warning" not in made.log, made.log
    for name in names:  # an address makes the compiler keep the function
        assert f"_Z{len(name)}{name}" in made.ptx, name


@pytest.mark.parametrize("header", SHARED_HEADERS)
def test_the_cpu_targets_functions_exist_under_the_same_names(header: str) -> None:
    command = ["cc", "-E", "-P", f"-I{C_HEADERS}", str(C_HEADERS / header)]
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("no C preprocessor")
    defined = set(re.findall(r"\b(tl_\w+)\s*\([^;{}]*\)\s*\{", text))
    expected = {n for n in defined if _PUBLIC.fullmatch(n)} - _INTERNAL
    assert len(expected) > 4
    assert expected - set(functions_of(header, "sm_90a")) == set()


_FRAGMENTS = "uint32_t a[4] = {u[0], u[1], u[2], u[3]}, b[2] = {u[4], u[5]}; float c[4] = {};"
_INSTRUCTIONS = [  # header, body, arch, text in the PTX
    ("mma.h", _FRAGMENTS + "tl_mma_m16n8k8_f32_f16(c, a, b, c); f[0] = c[0];", "sm_75",
     "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32"),
    ("mma.h", _FRAGMENTS + "tl_mma_m16n8k16_f32_bf16(c, a, b, c); f[0] = c[3];", "sm_80",
     "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"),
    ("mma.h", _FRAGMENTS + "tl_mma_m16n8k32_s32_s8_u8_satfinite(c, a, b, c); f[0] = c[3];", "sm_80",
     "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.u8.s32"),
    ("mma.h", _FRAGMENTS + "tl_mma_m16n8k32_f32_e4m3_e5m2(c, a, b, c); f[0] = c[3];", "sm_89",
     "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32"),
    ("cp_async.h", "tl_cp_async_cg_16_zfill(s, p, u[0]); tl_cp_async_commit_group();"
     " tl_cp_async_wait_group<2>(); f[0] = s[1].x;", "sm_80", "cp.async.wait_group 2"),
    ("cp_async.h", "tl_cp_async_cg_16(s, p); tl_cp_async_wait_all(); f[0] = s[0].x;", "sm_80",
     "cp.async.cg.shared.global"),
    ("cp_async.h", "tl_cp_async_ca_8(s, p); tl_cp_async_wait_group<0>(); f[0] = s[0].x;", "sm_75",
     "st.shared"),
    ("ldmatrix.h", "uint32_t r[4]; tl_ldmatrix_x4_trans(r, s + threadIdx.x); u[0] = r[3];", "sm_75",
     "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"),
    ("ldmatrix.h", "uint32_t r[2] = {u[0], u[1]}; tl_stmatrix_x2(s + threadIdx.x, r);", "sm_90a",
     "stmatrix.sync.aligned.m8n8.x2.shared.b16"),
    ("memory.h", "uint4 r; tl_ld_global_nc_b128(&r, p); tl_st_b128(u, &r);", "sm_75",
     "ld.global.nc.v4.u32"),
    ("memory.h", "uint2 r; tl_ld_b64(&r, u); tl_st_global_cs_b64(u + 2, &r);", "sm_75",
     "st.global.cs.v2"),
    ("sync.h", "tl_bar_sync(1); tl_bar_sync(3, 64); tl_bar_arrive(2, 128);", "sm_75", "bar.arrive"),
    ("atomic.h", "tl_atomic_add_float32(f, 1.0f, __ATOMIC_RELAXED);", "sm_75",
     "atom.relaxed.gpu.add.f32"),
    ("atomic.h", "u[1] = tl_atomic_or_uint32(u, 1, __ATOMIC_SEQ_CST);", "sm_75", "fence.sc.gpu"),
    ("atomic.h", "tl_atomic_add_bfloat16(u, 1.0f, 0);", "sm_80", "atom.relaxed.gpu.cas.b16"),
    ("atomic.h", "tl_atomic_add_bfloat16(u, 1.0f, 0);", "sm_90a",
     "atom.relaxed.gpu.add.noftz.bf16"),
    ("atomic.h", "float x[4] = {1, 2, 3, 4}; tl_red_add_float32x4(f, x);", "sm_90a",
     "red.relaxed.gpu.global.add.v4.f32"),
    ("warp.h", "u[0] = tl_warp_reduce_sum_int32(u[0]);", "sm_80", "redux.sync.add.s32"),
    ("warp.h", "u[0] = tl_warp_reduce_sum_int32(u[0]);", "sm_75", "shfl.sync.bfly"),
    ("warp.h", "u[0] = tl_elect_sync(0xffffffffu);", "sm_90a", "elect.sync"),
    ("tl_ieee.h", "f[0] = tl_ieee_add_float32(f[0], f[1], FE_UPWARD);", "sm_75", "add.rp.f32"),
    ("tl_ieee.h", "d[0] = tl_ieee_fdiv_float64(d[0], d[1], FE_TOWARDZERO);", "sm_75", "div.rz.f64"),
    ("tl_arith.h", "f[0] = tl_max_nan_float32(f[0], f[1]);", "sm_80", "max.NaN.f32"),
    ("packed.h", "u[0] = tl_uint4x8_to_float16x2(u[0], 1);", "sm_75", "lop3.b32"),
    ("packed.h", "u[0] = tl_float32x2_to_float8_e4m3fnx2(f[0], f[1]);", "sm_89",
     "cvt.rn.satfinite.e4m3x2.f32"),
    ("types.h", "u[0] = tl_float32_to_bfloat16(f[0]);", "sm_80", "cvt.rn.bf16.f32"),
    ("approx.h", "f[0] = tl_fast_exp_float32(f[0]);", "sm_75", "ex2.approx.f32"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "body", "arch", "expected"), _INSTRUCTIONS)
def test_function_becomes_its_instruction(
    compile_cuda: CompileCuda, header: str, body: str, arch: str, expected: str
) -> None:
    made = compile_cuda(kernel(header, body), arch)
    assert expected in made.ptx
    usage = made.usage()["k"]
    assert usage.stack_bytes == 0, "register arrays went to memory"


def test_one_order_leaves_one_instruction(compile_cuda: CompileCuda) -> None:
    made = compile_cuda(kernel("atomic.h", "tl_atomic_add_int32(u, 1, __ATOMIC_ACQ_REL);"), "sm_80")
    assert made.ptx.count("atom.") == 1
    assert "atom.acq_rel.gpu.add.s32" in made.ptx


def test_headers_include_only_each_other_and_what_all_targets_share() -> None:
    shared = sorted(SCALAR_HEADERS.glob("*.h"))
    own = {f'"{h}"' for h in HEADERS}
    allowed = own | {f'"../scalar/{file.name}"' for file in shared}
    for file in (*(CUDA_HEADERS / h for h in HEADERS), *shared):
        assert set(re.findall(r"#include (\S+)", file.read_text())) <= allowed, file.name
