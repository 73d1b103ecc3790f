"""Models of the C device functions that lowered programs call, from the comments of their headers.

Panels are the same elements in the same places; the model of a product reads them back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.interpreter import InterpreterError, Pointer

GROUP = {"f32": 1, "bf16": 2, "f64": 1, "i16": 2, "i32": 1}
BYTES = {"f32": 4, "bf16": 4, "f64": 8, "i16": 4, "i32": 4}  # of an accumulator
VECTOR_BYTES = 64  # tests lower for avx512


def _width(form: str) -> int:
    return 2 * VECTOR_BYTES // BYTES[form]


def _matrix(
    src: Pointer, rows: int, columns: int, strides: tuple[int, ...], valid: tuple[int, int]
) -> np.ndarray:
    """`rows` by `columns` elements; those beyond `valid` are zero and not read."""
    out = np.zeros((rows, columns), src.kind.as_numpy())
    r, c = (min(max(v, 0), n) for v, n in zip(valid, (rows, columns)))
    data = src.memory.view(src.kind)
    for i in range(r):
        for j in range(c):
            at = src.offset + i * strides[0] + j * strides[1]
            if not 0 <= at < len(data):
                raise InterpreterError(f"a pack function reads element {at} of {len(data)}")
            out[i, j] = data[at]
    return out


def _pack_b(form: str, order: str, to: Pointer, src: Pointer, *args: int) -> None:
    *steps, K, N, valid_k, valid_n = args
    known = {"rows": (steps[0], 1), "transposed": (1, steps[0]), "strided": tuple(steps)}
    values = _matrix(src, K, N, known[order], (valid_k, valid_n))
    group, width = GROUP[form], _width(form)
    k_pad, n_pad = -(-K // group) * group, -(-N // width) * width
    full = np.zeros((k_pad, n_pad), to.kind.as_numpy())
    full[:K, :N] = values.astype(full.dtype)
    panels = full.reshape(k_pad // group, group, n_pad // width, width).transpose(2, 0, 3, 1)
    to.view()[: panels.size] = panels.reshape(-1)


def _pack_a(form: str, order: str, to: Pointer, src: Pointer, *args: int) -> None:
    *steps, M, K, valid_m, valid_k = args
    known = {"rows": (steps[0], 1), "columns": (1, steps[0]), "strided": tuple(steps)}
    values = _matrix(src, M, K, known[order], (valid_m, valid_k))
    group = GROUP[form]
    k_pad = -(-K // group) * group
    full = np.zeros((M, k_pad), to.kind.as_numpy())
    full[:, :K] = values.astype(full.dtype)
    if order != "rows":
        full = full.reshape(M, k_pad // group, group).transpose(1, 0, 2)
    to.view()[: full.size] = full.reshape(-1)


def _gemm(
    form: str,
    c: Pointer,
    ldc: int,
    a: Pointer,
    stride_m: int,
    stride_kp: int,
    panels: Pointer,
    M: int,
    N: int,
    K: int,
    clear: int,
) -> None:
    group, width = GROUP[form], _width(form)
    k_pad, n_pad = -(-K // group) * group, -(-N // width) * width
    flat = panels.view()[: k_pad * n_pad].reshape(n_pad // width, k_pad // group, width, group)
    B = flat.transpose(1, 3, 0, 2).reshape(k_pad, n_pad)[:K, :N]
    m, k = np.meshgrid(np.arange(M), np.arange(K), indexing="ij")
    A = a.view()[m * stride_m + k // group * stride_kp + k % group]
    wide = np.int64 if form.startswith("i") else np.float64
    # ml_dtypes convert through float32
    narrow = [x.astype(np.float32) if form in ("f32", "bf16") else x for x in (A, B)]
    product = narrow[0].astype(wide) @ narrow[1].astype(wide)
    out = c.view()
    rows = np.arange(M)[:, None] * ldc + np.arange(N)[None, :]
    old = 0 if clear else out[rows].astype(wide)
    out[rows] = (product + old).astype(out.dtype)


def _accumulate(c: Pointer, ldc: int, x: Pointer, M: int, N: int, clear: int) -> None:
    rows = np.arange(M)[:, None] * ldc + np.arange(N)[None, :]
    sums = x.view()[: M * N].reshape(M, N).astype(np.float32)
    out = c.view()
    out[rows] = (sums if clear else sums + out[rows].astype(np.float32)).astype(out.dtype)


def device_function(name: str) -> Callable[..., Any]:
    """The model of `tl_<...>`."""
    words = name.split("_")
    if name.startswith("tl_pack_b_"):
        return partial(_pack_b, words[4], words[3])
    if name.startswith("tl_pack_a_"):
        return partial(_pack_a, words[4], words[3])
    if name.startswith("tl_gemm_"):
        return partial(_gemm, words[2])
    if name.startswith("tl_accumulate_"):
        return _accumulate
    raise InterpreterError(f"the interpreter has no model of `{name}`")
