"""copy.h: clipped copies of tiles in and out, every element width, both strides."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

CompileC = Callable[..., ctypes.CDLL]
ROWS, COLS = 7, 19
FILL = 0x5A


@pytest.fixture(scope="module")
def library(compile_c: CompileC) -> ctypes.CDLL:
    text = ['#include "copy.h"']
    for bits in (8, 16, 32, 64):
        for col in (1, 3):
            text.append(
                f"""
void in_{bits}_{col}(void *dst, const void *src, int64_t vm, int64_t vn) {{
  tl_copy_in_{bits}(dst, {COLS + 2}, src, {COLS * col + 1}, {col}, {ROWS}, {COLS}, vm, vn, {FILL});
}}
void out_{bits}_{col}(void *dst, const void *src, int64_t vm, int64_t vn) {{
  tl_copy_out_{bits}(dst, {COLS * col + 1}, {col}, src, {COLS + 2}, {ROWS}, {COLS}, vm, vn);
}}"""
            )
    return compile_c("\n".join(text))


def call(function: Callable[..., None], dst: np.ndarray, src: np.ndarray, vm: int, vn: int) -> None:
    addresses = (ctypes.c_void_p(x.ctypes.data) for x in (dst, src))
    function(*addresses, ctypes.c_int64(vm), ctypes.c_int64(vn))


@pytest.mark.parametrize("col", [1, 3])
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("vm,vn", [(ROWS, COLS), (99, 99), (4, COLS), (ROWS, 5), (0, 3), (-2, -1)])
def test_clipped_copies(library: ctypes.CDLL, bits: int, col: int, vm: int, vn: int) -> None:
    rng = np.random.default_rng(bits + col)
    dtype = np.dtype(f"uint{bits}")
    m, n = min(max(vm, 0), ROWS), min(max(vn, 0), COLS)
    wide = rng.integers(0, 200, (ROWS, COLS * col + 1)).astype(dtype)
    tile = rng.integers(0, 200, (ROWS, COLS + 2)).astype(dtype)

    expected = tile.copy()
    expected[:, :COLS] = FILL
    expected[:m, :n] = wide[:m, : COLS * col : col][:, :n]
    got = tile.copy()
    call(library[f"in_{bits}_{col}"], got, wide, vm, vn)
    np.testing.assert_array_equal(got, expected)

    expected = wide.copy()
    expected[:m, : n * col : col] = tile[:m, :n]
    got = wide.copy()
    call(library[f"out_{bits}_{col}"], got, tile, vm, vn)
    np.testing.assert_array_equal(got, expected)
