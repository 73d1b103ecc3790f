"""The parts of the CUDA headers that are plain arithmetic, run on the host.

The host compiler reads the header itself, with the handful of built-ins it uses defined in front;
`__CUDA_ARCH__` chooses the forms without conversion instructions.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tilelang.engine.nvrtc import CUDA_HEADERS
from tilelang.engine.toolchain import C_HEADERS

BUILT_INS = """
#define __CUDA_ARCH__ 750
#define __device__
#define __forceinline__ inline
#define fmaf __builtin_fmaf
#define fabsf __builtin_fabsf
#define sqrt __builtin_sqrt
#define log __builtin_log
#define sin __builtin_sin
#define cos __builtin_cos
template <class To, class From> static To bit_copy(From x) {
  static_assert(sizeof(To) == sizeof(From), "sizes");
  To y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}
static float __uint_as_float(unsigned x) { return bit_copy<float>(x); }
static unsigned __float_as_uint(float x) { return bit_copy<unsigned>(x); }
static double __longlong_as_double(long long x) { return bit_copy<double>(x); }
static long long __double_as_longlong(double x) { return bit_copy<long long>(x); }
static float __fadd_rn(float a, float b) { volatile float c = a + b; return c; }
static float __fsub_rn(float a, float b) { volatile float c = a - b; return c; }
static float __fmul_rn(float a, float b) { volatile float c = a * b; return c; }
static float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static int __ffs(int x) { return __builtin_ffs(x); }
static int __ffsll(long long x) { return __builtin_ffsll(x); }
static int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c += (signed char)(a >> i) * (signed char)(b >> i);
  return c;
}
static unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
  return c;
}
"""
FORMATS = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e3m4": ml_dtypes.float8_e3m4,
    "float8_e4m3": ml_dtypes.float8_e4m3fn,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e4m3b11fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
    "float6_e2m3fn": ml_dtypes.float6_e2m3fn,
    "float6_e3m2fn": ml_dtypes.float6_e3m2fn,
    "float4_e2m1fn": ml_dtypes.float4_e2m1fn,
}
CODES = {"bfloat16": 2**16, "float6_e2m3fn": 64, "float6_e3m2fn": 64, "float4_e2m1fn": 16}


def _build(folder: Path, source: str, *command: str) -> ctypes.CDLL:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    file = folder / ("host.c" if "c" in command else "host.cpp")
    file.write_text(source)
    library = folder / f"{file.suffix[1:]}.so"
    made = subprocess.run(
        ["g++", "-w", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-x", *command, str(file),
         "-o", str(library), "-lm"], capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    parts = [BUILT_INS, *(f'#include "{h}"' for h in ("types.h", "integer.h", "rng.h", "approx.h"))]
    parts.append('extern "C" {')
    for name in FORMATS:
        parts.append(f"""
void decode_{name}(float *out, const tl_{name} *in, long n) {{
  for (long i = 0; i < n; i++) out[i] = tl_{name}_to_float32(in[i]);
}}
void encode_{name}(tl_{name} *out, const float *in, long n) {{
  for (long i = 0; i < n; i++) out[i] = tl_float32_to_{name}(in[i]);
}}""")
    parts.append("""
void tf32(float *out, const float *in, long n) {
  for (long i = 0; i < n; i++) out[i] = tl_float32_to_tfloat32(in[i]);
}
void polynomial(float *out, const float *in, long n) {
  for (long i = 0; i < n; i++) out[i] = tl_exp2_polynomial_f32(in[i]);
}
int dot(int a, int b, int c) { return tl_dp4a_int32(a, b, c); }
""")
    parts.append(_RANDOM + "}")
    folder = tmp_path_factory.mktemp("host")
    return _build(folder, "\n".join(parts), "c++", f"-I{CUDA_HEADERS}", "-std=c++17")


_RANDOM = """
void draw(unsigned *words, float *uniform, double *wide, double *normal, unsigned long long seed,
          unsigned long long sequence, unsigned long long offset, int n) {
  tl_rng rng;
  tl_rng_init(&rng, seed, sequence, offset);
  for (int i = 0; i < n; i++) {
    words[i] = tl_rng_rand(&rng);
    uniform[i] = tl_rng_uniform_float32(&rng);
    wide[i] = tl_rng_uniform_float64(&rng);
    normal[i] = tl_rng_normal_float64(&rng);
  }
}
"""


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("cpu")
    return _build(folder, f'#include "rng.h"\n{_RANDOM}', "c", f"-I{C_HEADERS}", "-std=gnu11")


def _run(function: Callable[..., None], out: np.ndarray, values: np.ndarray) -> np.ndarray:
    pointer = ctypes.c_void_p
    function(pointer(out.ctypes.data), pointer(values.ctypes.data), ctypes.c_long(values.size))
    return out


def _decoded(host: ctypes.CDLL, name: str, codes: np.ndarray) -> np.ndarray:
    return _run(host[f"decode_{name}"], np.empty(codes.size, np.float32), codes)


def _codes(name: str) -> np.ndarray:
    return np.arange(CODES.get(name, 256)).astype(np.uint16 if name == "bfloat16" else np.uint8)


@pytest.mark.parametrize("name", FORMATS)
def test_every_code_decodes_as_in_ml_dtypes_and_comes_back(host: ctypes.CDLL, name: str) -> None:
    codes = _codes(name)
    expected = codes.view(FORMATS[name]).astype(np.float32)
    got = _decoded(host, name, codes)
    same = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), ~same)
    np.testing.assert_array_equal(got[same].view(np.uint32), expected[same].view(np.uint32))
    finite = np.isfinite(got)
    back = _run(host[f"encode_{name}"], np.empty_like(codes[finite]), got[finite])
    np.testing.assert_array_equal(back, codes[finite])


@pytest.mark.parametrize("name", FORMATS)
def test_rounds_to_nearest_and_saturates(host: ctypes.CDLL, name: str) -> None:
    numbers = _decoded(host, name, _codes(name))
    numbers = np.unique(numbers[np.isfinite(numbers)].astype(np.float64))
    rng = np.random.default_rng(3)
    middles = ((numbers[1:] + numbers[:-1]) / 2).astype(np.float32)
    beside = [np.nextafter(middles, np.float32(s)) for s in (-np.inf, np.inf)]
    values = np.concatenate([middles, *beside, rng.uniform(-4, 4, 5000).astype(np.float32)])
    values = values[(values >= numbers[0]) & (values <= numbers[-1])]
    if name == "float8_e8m0fnu":  # ml_dtypes rounds 2^-127 < x < 2^-126 up, nearest or not
        values = values[(values <= 2.0**-127) | (values >= 2.0**-126)]
    expected = values.astype(FORMATS[name]).view(_codes(name).dtype)
    encode = host[f"encode_{name}"]
    np.testing.assert_array_equal(_run(encode, np.empty_like(expected), values), expected)
    over = np.array([np.inf], np.float32)
    limit = _decoded(host, name, _run(encode, np.empty(1, expected.dtype), over))[0]
    assert limit == (np.inf if name == "bfloat16" else numbers[-1])


def test_tf32_rounds_ties_away_from_zero(host: ctypes.CDLL) -> None:
    rng = np.random.default_rng(4)
    values = rng.standard_normal(4000).astype(np.float32)
    values[:2] = np.float32(1 + 2**-11), np.float32(-1 - 2**-11)
    got = _run(host.tf32, np.empty_like(values), values)
    assert got[0] == np.float32(1 + 2**-10)
    assert got[1] == np.float32(-1 - 2**-10)
    assert not (got.view(np.uint32) & 0x1FFF).any()
    exponent = np.exp2(np.floor(np.log2(np.abs(values))))
    assert (np.abs(got - values) <= exponent * 2**-11).all()


def test_polynomial_exp2_has_13_bits(host: ctypes.CDLL) -> None:
    values = np.random.default_rng(5).uniform(-126, 127, 20000).astype(np.float32)
    got = _run(host.polynomial, np.empty_like(values), values).astype(np.float64)
    assert np.max(np.abs(got / np.exp2(values.astype(np.float64)) - 1)) < 2**-13.5


@pytest.mark.parametrize(
    ("seed", "sequence", "offset"),
    [(0, 0, 0), (7, 3, 5), (2**63 + 1, 2**64 - 1, 4 * (2**32 - 1) + 2), (1, 2, 2**64 - 1)],
)
def test_random_numbers_are_the_cpu_targets(
    host: ctypes.CDLL, cpu: ctypes.CDLL, seed: int, sequence: int, offset: int
) -> None:
    drawn = []
    for library in (host, cpu):
        out = [np.empty(97, t) for t in (np.uint32, np.float32, np.float64, np.float64)]
        pointers = [ctypes.c_void_p(o.ctypes.data) for o in out]
        library.draw(*pointers, *map(ctypes.c_uint64, (seed, sequence, offset)), 97)
        drawn.append(out)
    for ours, theirs in zip(*drawn):
        np.testing.assert_array_equal(ours, theirs)


def test_dot_product_of_bytes(host: ctypes.CDLL) -> None:
    assert host.dot(0x01FF02FE, 0x03040506, 10) == 10 + 3 - 4 + 10 - 12
