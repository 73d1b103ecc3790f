"""types.h: every code of every format, rounding of random and edge floats, packed nibbles."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

CompileC = Callable[..., ctypes.CDLL]

FORMATS = {
    "float16": np.float16,
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
BITS = {"float16": 16, "bfloat16": 16, "float6_e2m3fn": 6, "float6_e3m2fn": 6, "float4_e2m1fn": 4}
KEEPS_INFINITY = ("float16", "bfloat16")
HAS_NO_NAN = ("float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn")


def converters() -> str:
    lines = ['#include "types.h"']
    for name in FORMATS:
        lines.append(
            f"""
void decode_{name}(float *restrict out, const tl_{name} *restrict in, int64_t n) {{
  #pragma omp simd
  for (int64_t i = 0; i < n; i++) out[i] = tl_{name}_to_float32(in[i]);
}}
void encode_{name}(tl_{name} *restrict out, const float *restrict in, int64_t n) {{
  #pragma omp simd
  for (int64_t i = 0; i < n; i++) out[i] = tl_float32_to_{name}(in[i]);
}}"""
        )
    return "\n".join(lines)


@pytest.fixture(scope="module")
def library(compile_c: CompileC) -> ctypes.CDLL:
    return compile_c(converters())


def storage(name: str) -> type:
    return np.uint16 if BITS.get(name) == 16 else np.uint8


def all_codes(name: str) -> np.ndarray:
    return np.arange(2 ** BITS.get(name, 8)).astype(storage(name))


def run(function: Callable[..., None], out: np.ndarray, values: np.ndarray) -> np.ndarray:
    pointer = ctypes.c_void_p
    function(pointer(out.ctypes.data), pointer(values.ctypes.data), ctypes.c_int64(values.size))
    return out


def decode(library: ctypes.CDLL, name: str, codes: np.ndarray) -> np.ndarray:
    return run(library[f"decode_{name}"], np.empty(codes.size, np.float32), codes)


def encode(library: ctypes.CDLL, name: str, values: np.ndarray) -> np.ndarray:
    return run(library[f"encode_{name}"], np.empty(values.size, storage(name)), values)


def finite_values(library: ctypes.CDLL, name: str) -> np.ndarray:
    values = decode(library, name, all_codes(name))
    return np.unique(values[np.isfinite(values)].astype(np.float64))


@pytest.mark.parametrize("name", FORMATS)
def test_every_code_decodes_as_in_ml_dtypes(library: ctypes.CDLL, name: str) -> None:
    codes = all_codes(name)
    expected = codes.view(FORMATS[name]).astype(np.float32)
    got = decode(library, name, codes)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    same = ~np.isnan(expected)
    np.testing.assert_array_equal(got[same].view(np.uint32), expected[same].view(np.uint32))


@pytest.mark.parametrize("name", FORMATS)
def test_every_number_encodes_to_itself(library: ctypes.CDLL, name: str) -> None:
    codes = all_codes(name)
    values = decode(library, name, codes)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(encode(library, name, values[finite]), codes[finite])


@pytest.mark.parametrize("name", FORMATS)
def test_rounds_to_nearest_as_ml_dtypes(library: ctypes.CDLL, name: str) -> None:
    numbers = finite_values(library, name)
    rng = np.random.default_rng(0)
    middles = ((numbers[1:] + numbers[:-1]) / 2).astype(np.float32)
    beside = [np.nextafter(middles, np.float32(s)) for s in (-np.inf, np.inf)]
    spread = rng.uniform(numbers[0], numbers[-1], 20000).astype(np.float32)
    scales = np.exp2(rng.uniform(-30, 0, 20000)).astype(np.float32)
    values = np.concatenate([middles, *beside, spread, spread * scales])
    values = values[(values >= numbers[0]) & (values <= numbers[-1])]
    if name == "float8_e8m0fnu":  # ml_dtypes rounds 2^-127 < x < 2^-126 up, nearest or not
        values = values[(values <= 2.0**-127) | (values >= 2.0**-126)]
    expected = values.astype(FORMATS[name]).view(storage(name))
    np.testing.assert_array_equal(encode(library, name, values), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_overflow_and_nan(library: ctypes.CDLL, name: str) -> None:
    largest = np.float32(finite_values(library, name)[-1])
    step_over = np.float32(largest * 1.5) if name != "bfloat16" else np.float32(np.inf)
    over = np.array([step_over, np.inf], np.float32)
    expected = np.inf if name in KEEPS_INFINITY else largest
    assert (decode(library, name, encode(library, name, over)) == expected).all()
    if name != "float8_e8m0fnu":
        assert (decode(library, name, encode(library, name, -over)) == -expected).all()
    nan = decode(library, name, encode(library, name, np.array([np.nan, -np.nan], np.float32)))
    assert (nan == largest).all() if name in HAS_NO_NAN else np.isnan(nan).all()


def test_e8m0_has_neither_sign_nor_zero(library: ctypes.CDLL) -> None:
    values = np.array([0.0, -0.0, 1e-45, -1.0, -1e-45, -np.inf], np.float32)
    codes = encode(library, "float8_e8m0fnu", values)
    assert codes.tolist() == [0, 0, 0, 255, 255, 255]
    middle = np.float32(1.5 * 2.0**-127)
    values = np.array([np.nextafter(middle, np.float32(0)), middle], np.float32)
    assert encode(library, "float8_e8m0fnu", values).tolist() == [0, 1]


def test_nibbles_are_packed_low_half_first(compile_c: CompileC) -> None:
    library = compile_c(
        """
#include "types.h"
void pack(uint8_t *out, const int32_t *in, int64_t n) {
  for (int64_t i = 0; i < n; i++) tl_int4_set(out, i, in[i]);
}
void unpack(int32_t *s, int32_t *u, const uint8_t *in, int64_t n) {
  for (int64_t i = 0; i < n; i++) { s[i] = tl_int4_get(in, i); u[i] = tl_uint4_get(in, i); }
}"""
    )
    values = np.random.default_rng(1).integers(-8, 8, 101).astype(np.int32)
    packed = np.full(51, 0xAB, np.uint8)
    signed, unsigned = np.empty(101, np.int32), np.empty(101, np.int32)
    pointer = ctypes.c_void_p
    library.pack(pointer(packed.ctypes.data), pointer(values.ctypes.data), ctypes.c_int64(101))
    library.unpack(
        pointer(signed.ctypes.data),
        pointer(unsigned.ctypes.data),
        pointer(packed.ctypes.data),
        ctypes.c_int64(101),
    )
    np.testing.assert_array_equal(signed, values)
    np.testing.assert_array_equal(unsigned, values & 15)
    assert packed[0] == (values[0] & 15) | (values[1] & 15) << 4
    assert packed[50] >> 4 == 0xA
