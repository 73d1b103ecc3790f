"""tl_arith.h: floor division, minimum and maximum, saturating casts, bit counts."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

CompileC = Callable[..., ctypes.CDLL]

INTS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = {"float32": "float", "float64": "double"}


def address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def binary(name: str, ctype: str) -> str:
    return f"""
void {name}({ctype} *out, const {ctype} *a, const {ctype} *b, int64_t n) {{
  for (int64_t i = 0; i < n; i++) out[i] = tl_{name}(a[i], b[i]);
}}"""


@pytest.fixture(scope="module")
def library(compile_c: CompileC) -> ctypes.CDLL:
    text = ['#include "tl_arith.h"']
    for kind in INTS:
        text += [binary(f"{op}_{kind}", f"{kind}_t") for op in ("floordiv", "floormod")]
    for kind, ctype in FLOATS.items():
        names = ("floordiv", "floormod", "max_num", "min_num", "max_nan", "min_nan")
        text += [binary(f"{op}_{kind}", ctype) for op in names]
        for to in INTS:
            text.append(
                f"""
void {kind}_to_{to}({to}_t *restrict out, const {ctype} *restrict in, int64_t n) {{
  #pragma omp simd
  for (int64_t i = 0; i < n; i++) out[i] = tl_{kind}_to_{to}(in[i]);
}}"""
            )
    for kind in ("uint32", "uint64"):
        text.append(
            f"""
void bits_{kind}(int32_t *clz, int32_t *ones, const {kind}_t *in, int64_t n) {{
  for (int64_t i = 0; i < n; i++) {{
    clz[i] = tl_clz_{kind}(in[i]);
    ones[i] = tl_popcount_{kind}(in[i]);
  }}
}}"""
        )
    return compile_c("\n".join(text))


def call(library: ctypes.CDLL, name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.empty_like(a)
    library[name](address(out), address(a), address(b), ctypes.c_int64(a.size))
    return out


@pytest.mark.parametrize("kind", INTS)
def test_integer_division_rounds_down(library: ctypes.CDLL, kind: str) -> None:
    rng = np.random.default_rng(0)
    info = np.iinfo(kind)
    low, high = max(info.min, -20), 21
    a, b = rng.integers(low, high, 500).astype(kind), rng.integers(low, high, 500).astype(kind)
    wide = rng.integers(info.min, info.max, 500, dtype=kind, endpoint=True)
    a, b = np.concatenate([a, wide]), np.concatenate([b, wide[::-1]])
    b[b == 0] = 7
    b[(a == info.min) & (b.astype(np.float64) == -1)] = 3
    expected = [(int(x) // int(y), int(x) % int(y)) for x, y in zip(a, b, strict=True)]
    assert call(library, f"floordiv_{kind}", a, b).tolist() == [q for q, _ in expected]
    assert call(library, f"floormod_{kind}", a, b).tolist() == [r for _, r in expected]


@pytest.mark.parametrize("kind", FLOATS)
def test_float_division_rounds_down(library: ctypes.CDLL, kind: str) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-40, 40, 500).astype(kind) / 4 for _ in range(2))
    b[b == 0] = 1
    np.testing.assert_array_equal(call(library, f"floordiv_{kind}", a, b), np.floor(a / b))
    np.testing.assert_array_equal(call(library, f"floormod_{kind}", a, b), np.mod(a, b))


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("op", ["max", "min"])
def test_nan_loses_or_wins(library: ctypes.CDLL, kind: str, op: str) -> None:
    some = np.array([1.5, -2, np.nan, np.inf, -np.inf, 0], kind)
    a, b = (x.reshape(-1).copy() for x in np.meshgrid(some, some))
    number, propagating = {"max": (np.fmax, np.maximum), "min": (np.fmin, np.minimum)}[op]
    np.testing.assert_array_equal(call(library, f"{op}_num_{kind}", a, b), number(a, b))
    np.testing.assert_array_equal(call(library, f"{op}_nan_{kind}", a, b), propagating(a, b))


@pytest.mark.parametrize("to", INTS)
@pytest.mark.parametrize("kind", FLOATS)
def test_casts_truncate_and_saturate(library: ctypes.CDLL, kind: str, to: str) -> None:
    info = np.iinfo(to)
    powers = 2.0 ** np.arange(0, 70)
    rng = np.random.default_rng(2)
    values = np.concatenate([powers, powers - 1, powers * 1.75, [0.0, 0.99, 1e30, np.inf]])
    values = np.concatenate([values, -values, rng.uniform(-300, 300, 500)]).astype(kind)
    out = np.empty(values.size, to)
    library[f"{kind}_to_{to}"](address(out), address(values), ctypes.c_int64(values.size))
    limited = [
        (info.max if v > 0 else info.min)
        if np.isinf(v)
        else min(max(int(v), int(info.min)), int(info.max))
        for v in values
    ]
    assert out.tolist() == limited
    nan, zero = np.array([np.nan], kind), np.ones(1, to)
    library[f"{kind}_to_{to}"](address(zero), address(nan), ctypes.c_int64(1))
    assert zero[0] == 0


@pytest.mark.parametrize("kind", ["uint32", "uint64"])
def test_bit_counts(library: ctypes.CDLL, kind: str) -> None:
    width = np.iinfo(kind).bits
    values = np.array([0, 1, 2, 3, 2 ** (width - 1), 2**width - 1, 12345], kind)
    clz, ones = np.empty(values.size, np.int32), np.empty(values.size, np.int32)
    library[f"bits_{kind}"](*map(address, (clz, ones, values)), ctypes.c_int64(values.size))
    assert clz.tolist() == [width - int(v).bit_length() for v in values]
    assert ones.tolist() == [int(v).bit_count() for v in values]
