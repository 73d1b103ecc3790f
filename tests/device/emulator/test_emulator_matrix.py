"""Matrix products of a warp agree with NumPy in every form, by the fragment layout of `mma.h`."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from tilelang.engine.emulator import KernelCall, emulate
from tilelang.engine.emulator_build import EMULATOR_HEADERS

_TYPES: dict[str, np.dtype[Any]] = {
    "Float16": np.dtype(np.float16), "Bfloat16": np.dtype(ml_dtypes.bfloat16),
    "Tfloat32": np.dtype(np.float32), "Float32": np.dtype(np.float32),
    "Float64": np.dtype(np.float64), "Int8": np.dtype(np.int8), "Uint8": np.dtype(np.uint8),
    "E4m3": np.dtype(ml_dtypes.float8_e4m3fn), "E5m2": np.dtype(ml_dtypes.float8_e5m2),
    "WrapInt": np.dtype(np.int32), "ClampInt": np.dtype(np.int32),
}  # fmt: skip


def _forms() -> list[tuple[str, int, int, str, str, str]]:
    text = (EMULATOR_HEADERS / "mma_forms.h").read_text(encoding="utf-8")
    plain = re.findall(r"^TL_EMU_MMA\((\w+), (\d+), (\d+), (\w+), (\w+), (\w+)\)", text, re.M)
    suffixes = re.findall(r"TL_EMU_MMA\(shape##(\w+), M, K, (\w+), (\w+), (\w+)\)", text)
    shapes = re.findall(r"^TL_EMU_MMA_BYTES\((\w+), (\d+), (\d+)\)", text, re.M)
    forms = [(n, int(m), int(k), a, b, c) for n, m, k, a, b, c in plain]
    forms += [(s + n, int(m), int(k), a, b, c) for s, m, k in shapes for n, a, b, c in suffixes]
    return forms


def _values(rng: np.random.Generator, kind: np.dtype[Any], *shape: int) -> NDArray[Any]:
    low = 0 if kind == np.uint8 else -5
    return rng.integers(low, 6, shape).astype(kind)


def _fragment(matrix: NDArray[Any], tall: bool) -> NDArray[Any]:
    """[32 lanes, elements] of an operand [rows, K], as the head of `cuda/mma.h` places them."""
    rows, depth = matrix.shape
    per_word = max(4 // matrix.itemsize, 1)
    out = np.empty((32, rows * depth // 32), matrix.dtype)
    for lane in range(32):
        g, t = divmod(lane, 4)
        for e in range(out.shape[1]):
            r, j = divmod(e, per_word)
            row = g + 8 * (r & 1) if tall else g
            out[lane, e] = matrix[row, per_word * t + j + 4 * per_word * (r >> 1 if tall else r)]
    return out


def _place(m: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    lane, i = np.meshgrid(np.arange(32), np.arange(m // 4), indexing="ij")
    return lane // 4 + 8 * (i >> 1), 2 * (lane % 4) + (i & 1)


@pytest.mark.parametrize("form", _forms(), ids=lambda f: f[0])
def test_product(form: tuple[str, int, int, str, str, str]) -> None:
    name, m, k, a_kind, b_kind, c_kind = form
    rng = np.random.default_rng(sum(map(ord, name)))
    a = _values(rng, _TYPES[a_kind], m, k)
    b = _values(rng, _TYPES[b_kind], 8, k)
    c = _values(rng, _TYPES[c_kind], m, 8)
    rows, columns = _place(m)
    arrays = {
        "A": _fragment(a, m == 16), "B": _fragment(b, False),
        "C": np.ascontiguousarray(c[rows, columns]),
    }  # fmt: skip
    arrays = {key: x.view(f"u{x.itemsize}") for key, x in arrays.items()}
    sizes = {key: x.nbytes // 32 for key, x in arrays.items()}
    load = "".join(
        f"  alignas(16) uint8_t {key.lower()}[{size}];\n"
        f"  for (int32_t i = 0; i < {size}; ++i)\n"
        f"    {key.lower()}[i] = {key}[threadIdx.x * {size} + i];\n"
        for key, size in sizes.items()
    )
    source = (
        '#include "mma.h"\nextern "C" __global__ void mma_kernel(const uint8_t *A, '
        f"const uint8_t *B, uint8_t *C) {{\n{load}  tl_mma_{name}(c, a, b, c);\n"
        f"  for (int32_t i = 0; i < {sizes['C']}; ++i)\n"
        f"    C[threadIdx.x * {sizes['C']} + i] = c[i];\n}}\n"
    )
    emulate(source, [KernelCall("mma_kernel", (1,), (32,), ("A", "B", "C"))], arrays, checks=False)
    wanted = c.astype(np.float64) + a.astype(np.float64) @ b.astype(np.float64).T
    found = np.empty((m, 8))
    found[rows, columns] = arrays["C"].view(_TYPES[c_kind]).astype(np.float64)
    np.testing.assert_array_equal(found, wanted)
