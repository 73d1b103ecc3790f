"""gemm.h, gemm_pack.h: every form, odd sizes, every packing, three instruction sets."""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

CompileC = Callable[..., ctypes.CDLL]

SIZES = [(13, 17, 7), (29, 67, 71), (1, 1, 1), (14, 32, 16), (31, 48, 130), (31, 100, 1)]
FEW = 2  # of them, for kinds that differ from another only in how an element is loaded
FLOAT_KINDS = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
    "float6_e2m3fn": ml_dtypes.float6_e2m3fn,
    "float4_e2m1_unpacked": ml_dtypes.float4_e2m1fn,
}
INT_KINDS = {"int8": np.int8, "uint8": np.uint8, "int16": np.int16, "int32": np.int32}
PANEL_KINDS = {
    "f32": ["float32"],
    "bf16": ["bfloat16"],
    "f64": ["float64"],
    "i16": ["int16"],
    "i32": ["int32"],
}
FLAGS = {"native": (), "avx2": ("-march=haswell",), "portable": ("-march=x86-64",)}
NEEDS = {"bf16": "avx512_bf16", "i16": "avx512_vnni"}


def cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split()) if path.exists() else set()


def cases() -> list[tuple[str, str, str]]:
    """(isa, form, kind) that this machine can run."""
    forms = [("f32", k) for k in FLOAT_KINDS] + [("f64", "float64"), ("f64", "float32")]
    forms += [("i32", k) for k in INT_KINDS]
    small = [k for k in FLOAT_KINDS if k not in ("float32", "float16", "float8_e8m0fnu")]
    forms += [("bf16", k) for k in small] + [("i16", k) for k in ("int8", "uint8", "int16")]
    native = [("native", *f) for f in forms if NEEDS.get(f[0], "") in cpu_flags() | {""}]
    if platform.machine() != "x86_64":
        return native
    kept = [("f32", "float32"), ("f32", "float16"), ("f64", "float64"), ("i32", "int8")]
    isas = ["portable"] + (["avx2"] if {"avx2", "fma", "f16c"} <= cpu_flags() else [])
    return native + [(isa, *f) for isa in isas for f in kept]


def sizes_of(form: str, kind: str) -> list[tuple[int, int, int]]:
    return SIZES if kind in (*PANEL_KINDS[form], "float16") else SIZES[:FEW]


def source(form: str, kind: str) -> str:
    """run_<s>(c, a, b, panels, scratch, how, vm, vn, vk, clear): `how` picks the packings."""
    bodies = []
    for s, (m, n, k) in enumerate(sizes_of(form, kind)):
        panel_k = f"TL_PANEL_K({form}, {k})"
        in_place = f"tl_gemm_{form}(c, {n}, a, {k}, TL_KP_{form}, panels, {m}, {n}, {k}, clear)"
        bodies.append(
            f"""
void run_{s}(void *c, const void *a, const void *b, void *panels, void *scratch, int how,
             int64_t vm, int64_t vn, int64_t vk, int clear) {{
  const int kp = TL_KP_{form};
  switch (how & 3) {{
  case 0: tl_pack_b_rows_{form}_{kind}(panels, b, {n}, {k}, {n}, vk, vn); break;
  case 1: tl_pack_b_transposed_{form}_{kind}(panels, b, {k}, {k}, {n}, vk, vn); break;
  case 2: tl_pack_b_strided_{form}_{kind}(panels, b, {n}, 1, {k}, {n}, vk, vn); break;
  }}
  switch (how >> 2) {{
  case 0:
    tl_pack_a_rows_{form}_{kind}(scratch, a, {k}, {m}, {k}, vm, vk);
    tl_gemm_{form}(c, {n}, scratch, {panel_k}, kp, panels, {m}, {n}, {panel_k}, clear);
    break;
  case 1:
    tl_pack_a_columns_{form}_{kind}(scratch, a, {m}, {m}, {k}, vm, vk);
    tl_gemm_{form}(c, {n}, scratch, kp, kp * {m}, panels, {m}, {n}, {panel_k}, clear);
    break;
  case 2:
    tl_pack_a_strided_{form}_{kind}(scratch, a, {k}, 1, {m}, {k}, vm, vk);
    tl_gemm_{form}(c, {n}, scratch, kp, kp * {m}, panels, {m}, {n}, {panel_k}, clear);
    break;
  case 3: {in_place if kind in PANEL_KINDS[form] else ""}; break;
  }}
}}
int64_t panel_bytes_{s}(void) {{ return TL_PANEL_B_BYTES({form}, {n}, {k}); }}
int64_t scratch_bytes_{s}(void) {{ return TL_PANEL_A_BYTES({form}, {m}, {k}); }}"""
        )
    head = f"#define TL_FORM {form}\n"
    packs = f'{head}#define TL_KIND {kind}\n#include "gemm_pack.h"\n'
    return f'{head}#include "gemm.h"\n{packs}' + "\n".join(bodies)


class Fenced:
    """Arrays that end where an inaccessible page begins: one byte read past the end is a fault."""

    def __init__(self) -> None:
        self.maps: list[mmap.mmap] = []
        self.libc = ctypes.CDLL(None, use_errno=True)

    def copy(self, values: np.ndarray) -> np.ndarray:
        size = max(values.nbytes, 1)
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
        self.maps.append(memory)
        whole = np.frombuffer(memory, np.uint8)
        fence = ctypes.c_void_p(whole.ctypes.data + pages)
        assert self.libc.mprotect(fence, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
        view = whole[pages - values.nbytes : pages].view(values.dtype).reshape(values.shape)
        view[...] = values
        return view


def address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def random_tile(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> np.ndarray:
    if kind in INT_KINDS:
        info = np.iinfo(INT_KINDS[kind])
        return rng.integers(info.min, int(info.max) + 1, shape).astype(INT_KINDS[kind])
    if kind == "float8_e8m0fnu":
        return np.exp2(rng.integers(-3, 4, shape)).astype(ml_dtypes.float8_e8m0fnu)
    return rng.uniform(-2, 2, shape).astype(FLOAT_KINDS.get(kind, np.float64))


def accumulator(form: str) -> type:
    return {"f64": np.float64, "i16": np.int32, "i32": np.int32}.get(form, np.float32)


def exact(values: np.ndarray, kind: str) -> np.ndarray:
    return values.astype(np.int64 if kind in INT_KINDS else np.float64)


def check(got: np.ndarray, old: np.ndarray, a: np.ndarray, b: np.ndarray, form: str) -> None:
    expected = old + a @ b
    if form in ("i16", "i32"):
        np.testing.assert_array_equal(got, expected.astype(np.int64).astype(np.int32))
        return
    unit = np.finfo(accumulator(form)).eps / 2
    bound = (a.shape[1] + 2) * unit * (np.abs(a) @ np.abs(b) + np.abs(old)) + 1e-30
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa,form,kind", cases())
def test_every_packing_of_every_size(compile_c: CompileC, isa: str, form: str, kind: str) -> None:
    library = compile_c(source(form, kind), *FLAGS[isa])
    rng = np.random.default_rng(0)
    fenced = Fenced()
    ways_of_a = (0, 1, 2, 3) if kind in PANEL_KINDS[form] else (0, 1, 2)
    for s, (m, n, k) in enumerate(sizes_of(form, kind)):
        sizes = [int(library[f"{what}_bytes_{s}"]()) for what in ("panel", "scratch")]
        panels, scratch = (fenced.copy(np.full(size, 0xFF, np.uint8)) for size in sizes)
        a, b = random_tile(rng, kind, (m, k)), random_tile(rng, kind, (k, n))
        for how_a in ways_of_a:
            for how_b in (0, 1, 2):
                partial = how_a != 3 and bool(rng.integers(2))
                vm, vn, vk = (int(rng.integers(0, x + 1)) if partial else x for x in (m, n, k))
                clear = int(rng.integers(2))
                a_mem = fenced.copy(a.T.copy() if how_a == 1 else a)
                b_mem = fenced.copy(b.T.copy() if how_b == 1 else b)
                old = rng.integers(-9, 9, (m, n)).astype(accumulator(form))
                c = fenced.copy(old)
                library[f"run_{s}"](
                    *map(address, (c, a_mem, b_mem, panels, scratch)),
                    how_b | how_a << 2,
                    *map(ctypes.c_int64, (vm, vn, vk)),
                    clear,
                )
                va, vb = exact(a, kind).copy(), exact(b, kind).copy()
                va[vm:], va[:, vk:], vb[vk:], vb[:, vn:] = 0, 0, 0, 0
                check(c, old * (1 - clear), va, vb, form)


@pytest.mark.parametrize("kind", ["int4", "uint4", "float4_e2m1fn"])
def test_two_elements_per_byte(compile_c: CompileC, kind: str) -> None:
    form = "f32" if kind == "float4_e2m1fn" else "i32"
    m, n, k = 9, 34, 20
    library = compile_c(
        f"""
#define TL_FORM {form}
#include "gemm.h"
#define TL_FORM {form}
#define TL_KIND {kind}
#include "gemm_pack.h"
void run(void *c, const void *a, const void *b, const void *bt, void *panels, void *scratch) {{
  tl_pack_a_rows_{form}_{kind}(scratch, a, {k}, {m}, {k}, {m}, {k});
  tl_pack_b_rows_{form}_{kind}(panels, b, {n}, {k}, {n}, {k}, {n});
  tl_gemm_{form}(c, {n}, scratch, {k}, 1, panels, {m}, {n}, {k}, 1);
  tl_pack_b_transposed_{form}_{kind}(panels, bt, {k}, {k}, {n}, {k}, {n});
  tl_gemm_{form}((float *)c, {n}, scratch, {k}, 1, panels, {m}, {n}, {k}, 0);
}}"""
    )
    rng = np.random.default_rng(3)
    codes = {"a": rng.integers(0, 16, (m, k)), "b": rng.integers(0, 16, (k, n))}

    def pack(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(-1)
        return (flat[0::2] | flat[1::2] << 4).astype(np.uint8)

    def value(x: np.ndarray) -> np.ndarray:
        if kind == "float4_e2m1fn":
            return x.astype(np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float64)
        return x if kind == "uint4" else (x ^ 8) - 8

    buffers = [pack(codes["a"]), pack(codes["b"]), pack(codes["b"].T.copy())]
    c = np.empty((m, n), accumulator(form))
    panels, scratch = np.empty(64 * 32 * 4 * 2, np.uint8), np.empty(m * k * 4, np.uint8)
    library.run(*map(address, (c, *buffers, panels, scratch)))
    np.testing.assert_array_equal(c, 2 * (value(codes["a"]) @ value(codes["b"])))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_accumulating_into_16_bits_rounds_once(compile_c: CompileC, kind: str) -> None:
    library = compile_c(
        f"""
#define TL_FORM f32
#include "gemm.h"
void run(tl_{kind} *c, const float *x, int clear) {{
  tl_accumulate_{kind}(c, 37, x, 11, 35, clear);
}}"""
    )
    rng = np.random.default_rng(4)
    dtype = FLOAT_KINDS[kind]
    old, x = rng.normal(size=(11, 37)).astype(dtype), rng.normal(size=(11, 35)).astype(np.float32)
    for clear in (0, 1):
        c = old.copy()
        library.run(address(c), address(x), clear)
        expected = old.copy()
        expected[:, :35] = (x + (0 if clear else old[:, :35].astype(np.float32))).astype(dtype)
        np.testing.assert_array_equal(c.view(np.uint16), expected.view(np.uint16))


def test_headers_compile_alone(compile_c: CompileC) -> None:
    for header in (
        "gemm_panel.h",
        "gemm_pack.h",
        "gemm.h",
        "types.h",
        "tl_math.h",
        "tl_arith.h",
        "runtime.h",
    ):
        compile_c(f'#include "{header}"\nint x;\n', "-std=c11")
