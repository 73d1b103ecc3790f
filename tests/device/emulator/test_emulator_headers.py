"""The emulator has every function of the CUDA headers, with the same meaning."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from tilelang.engine.emulator import KernelCall, emulate
from tilelang.engine.emulator_build import EMULATOR_HEADERS, compiler_command
from tilelang.engine.nvrtc import CUDA_HEADERS

HEADERS = tuple(sorted(file.name for file in CUDA_HEADERS.glob("*.h")))
_CUDA = re.compile(r"__device__ __forceinline__\s[^;{}()]*?\b(tl_\w+)\s*\(")
_TEMPLATE = re.compile(r"template <[^>]*>\s*__device__ __forceinline__\s[^;{}()]*?\b(tl_\w+)\s*\(")
_NAME = re.compile(r"\b(tl_\w+)\s*\(")


def _preprocessed(folder: object, header: str, *defines: str) -> str:
    command = [*compiler_command(), "-E", "-P", "-x", "c++", *defines, f"-I{folder}"]
    return subprocess.run(
        [*command, f"{folder}/{header}"], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("header", HEADERS)
def test_every_function_of_the_cuda_header_is_there(header: str) -> None:
    wanted: set[str] = set()
    for arch in ("750", "800", "890", "900"):
        wanted |= set(_CUDA.findall(_preprocessed(CUDA_HEADERS, header, f"-D__CUDA_ARCH__={arch}")))
    assert wanted
    found = set(_NAME.findall(_preprocessed(EMULATOR_HEADERS, header)))
    assert not wanted - found


def _function_types(header: str) -> dict[str, int]:
    """Function of a CUDA header -> number of its parameters."""
    text = _preprocessed(CUDA_HEADERS, header, "-D__CUDA_ARCH__=900")
    templates = set(_TEMPLATE.findall(text))
    pattern = re.compile(r"__device__ __forceinline__\s[^;{}()]*?\b(tl_\w+)\s*\(([^)]*)\)")
    return {
        name: len(params.split(",")) if params.strip() else 0
        for name, params in pattern.findall(text)
        if name not in templates
    }


@pytest.mark.parametrize("header", HEADERS)
def test_every_function_is_defined_and_takes_as_many_arguments(header: str) -> None:
    """A call of each in a branch that is never taken: it must compile and link."""
    calls = [
        f"  {name}({', '.join(['zero'] * count)});"
        for name, count in _function_types(header).items()
    ]
    source = (
        f'#include "{header}"\n'
        "struct Anything {\n  template <class T> operator T *() const { return nullptr; }\n"
        "  template <class T> operator T() const { return T(1); }\n};\n"
        'extern "C" __global__ void all_kernel(float *out) {\n'
        "  const Anything zero;\n  out[0] = 1.0f;\n  if (out[0] == 1.0f) return;\n"
        + "\n".join(calls)
        + "\n}\n"
    )
    out = np.zeros(1, np.float32)
    emulate(source, [KernelCall("all_kernel", (1,), (32,), ("out",))], {"out": out}, checks=False)
    assert out[0] == 1


def _apply(
    header: str, expression: str, kind: str, inputs: NDArray[Any], result: type
) -> NDArray[Any]:
    """`expression` of x for each input, computed by one thread each."""
    source = (
        f'#include "{header}"\n'
        f'extern "C" __global__ void map_kernel(const {kind} *X, {_C_NAMES[result]} *Y,\n'
        "    int32_t n) {\n"
        "  const int32_t i = (int32_t)(blockIdx.x * 64 + threadIdx.x);\n"
        f"  if (i < n) {{\n    const {kind} x = X[i];\n    Y[i] = {expression};\n  }}\n}}\n"
    )
    out = np.zeros(len(inputs), result)
    call = KernelCall(
        "map_kernel", (-(-len(inputs) // 64),), (64,), ("X", "Y", np.int32(len(inputs)))
    )
    emulate(source, [call], {"X": inputs, "Y": out}, checks=False)
    return out


_C_NAMES: dict[type, str] = {
    np.float32: "float", np.float64: "double", np.uint8: "uint8_t", np.uint16: "uint16_t",
    np.uint32: "uint32_t", np.int32: "int32_t", np.int64: "int64_t",
}  # fmt: skip
FORMATS = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
           "float8_e5m2fnuz", "float8_e4m3b11fnuz", "float8_e3m4", "float8_e4m3")  # fmt: skip


def _format(name: str) -> np.dtype[Any]:
    name = "float8_e4m3fn" if name == "float8_e4m3" else name
    return np.dtype(np.float16 if name == "float16" else getattr(ml_dtypes, name))


@pytest.mark.parametrize("name", FORMATS)
def test_small_formats_decode_as_numpy_does(name: str) -> None:
    kind = _format(name)
    codes = np.arange(1 << 8 * kind.itemsize, dtype=f"u{kind.itemsize}")
    c_kind = f"uint{8 * kind.itemsize}_t"
    found = _apply("types.h", f"tl_{name}_to_float32(x)", c_kind, codes, np.float32)
    np.testing.assert_array_equal(found, codes.view(kind).astype(np.float32))


@pytest.mark.parametrize("name", FORMATS)
def test_small_formats_round_as_numpy_does(name: str) -> None:
    kind = _format(name)
    rng = np.random.default_rng(7)
    x = (rng.standard_normal(4000) * np.exp2(rng.integers(-30, 9, 4000))).astype(np.float32)
    limit = float(ml_dtypes.finfo(kind).max)
    x = x[np.abs(x) <= limit]
    result = np.uint16 if kind.itemsize == 2 else np.uint8
    found = _apply("types.h", f"tl_float32_to_{name}(x)", "float", x, result)
    np.testing.assert_array_equal(
        found.view(kind).astype(np.float32), x.astype(kind).astype(np.float32)
    )


MATH = {
    "exp": np.exp, "exp2": np.exp2, "log": np.log, "log2": np.log2, "log1p": np.log1p,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh, "sqrt": np.sqrt,
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "cbrt": np.cbrt,
    "rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MATH))
def test_elementary_functions_agree_with_numpy(name: str) -> None:
    x = np.random.default_rng(1).uniform(0.01, 20, 500)
    found = _apply("tl_math.h", f"tl_{name}_float64(x)", "double", x, np.float64)
    np.testing.assert_allclose(np.asarray(found, float), MATH[name](x), rtol=1e-13, atol=1e-13)
    narrow = x.astype(np.float32)
    found = _apply("tl_math.h", f"tl_{name}_float32(x)", "float", narrow, np.float32)
    wanted = MATH[name](narrow.astype(np.float64))
    np.testing.assert_allclose(np.asarray(found, float), wanted, rtol=4e-7, atol=1e-7)


def test_packed_arithmetic_rounds_once() -> None:
    rng = np.random.default_rng(2)
    pairs = rng.standard_normal((600, 2)).astype(np.float16)
    x = pairs.view(np.uint32).reshape(-1)
    c = int(np.float16(0.1).view(np.uint16)) * 0x10001
    wide = pairs.astype(np.float64)
    cases = {
        f"tl_add2_float16(x, {c}u)": (pairs + np.float16(0.1)),
        f"tl_mul2_float16(x, {c}u)": (pairs * np.float16(0.1)),
        f"tl_fma2_float16(x, x, {c}u)": (wide * wide + float(np.float16(0.1))).astype(np.float16),
        "tl_max2_float16(x, 0)": np.maximum(pairs, np.float16(0)),
        "tl_neg2_float16(x)": -pairs,
    }
    for expression, wanted in cases.items():
        found = _apply("packed.h", expression, "uint32_t", x, np.uint32)
        np.testing.assert_array_equal(found.view(np.float16).reshape(-1, 2), wanted, expression)


def test_bytes_and_bits_are_selected_as_the_instructions_do() -> None:
    x = np.random.default_rng(3).integers(0, 1 << 32, 300, dtype=np.uint32)
    y = np.uint32(0xDEADBEEF)
    both = np.stack([x.view(np.uint8).reshape(-1, 4), np.full((300, 4), 0)], 1).reshape(300, 8)
    both[:, 4:] = np.array([y]).view(np.uint8)
    found = _apply("packed.h", "tl_prmt(x, 0xdeadbeefu, 0x7215)", "uint32_t", x, np.uint32)
    wanted = both[:, [5, 1, 2, 7]].astype(np.uint8).copy().view(np.uint32).reshape(-1)
    np.testing.assert_array_equal(found, wanted)
    found = _apply(
        "packed.h", "tl_lop3<0xea>(x, 0x0f0f0f0fu, 0xdeadbeefu)", "uint32_t", x, np.uint32
    )
    np.testing.assert_array_equal(found, x & np.uint32(0x0F0F0F0F) | y)
    found = _apply("packed.h", "tl_float16_to_float32((uint16_t)tl_int4x8_to_float16x2(x, 2))",
                   "uint32_t", x, np.float32)  # fmt: skip
    nibble = (x >> np.uint32(8) & np.uint32(15)).astype(np.int64)
    np.testing.assert_array_equal(found, np.where(nibble > 7, nibble - 16, nibble))


def test_directed_rounding_brackets_the_exact_sum() -> None:
    x = np.random.default_rng(4).standard_normal(500).astype(np.float32)
    results = [
        _apply("tl_ieee.h", f"tl_ieee_add_float32(x, 0.1f, {way})", "float", x, np.float32)
        for way in ("FE_DOWNWARD", "FE_UPWARD")
    ]
    exact = x.astype(np.float64) + float(np.float32(0.1))
    low, high = (np.asarray(r, np.float64) for r in results)
    assert (low <= exact).all() and (exact <= high).all() and (low < high).any()
    assert (np.nextafter(low.astype(np.float32), np.float32(np.inf)) >= high).all()
