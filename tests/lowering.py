"""A tile program against its own lowering: both interpreted on the same random inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.interpreter import run
from tilelang.ir.dtype import dtype
from tilelang.ir.func import PrimFunc
from tilelang.target.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.infer_layouts import infer_layouts
from tilelang.transform.lower_tile_ops import lower_tile_ops

PLAIN = PassContext(Target("c -isa=avx512"))
WITH_UNITS = PassContext(Target("c -isa=avx512 -features=avx512_bf16,avx512_vnni"))
CHECKED = PassContext(Target("c -isa=avx512"), sanitize=True)
CONTEXTS = (PLAIN, WITH_UNITS, CHECKED)


def lower(func: PrimFunc, ctx: PassContext = PLAIN) -> PrimFunc:
    """`func` after `infer_layouts` and `lower_tile_ops`."""
    return lower_tile_ops(infer_layouts(func, ctx), ctx)


def random_array(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Small values, so that sums in any type stay exact or nearly so."""
    element = dtype(kind)
    if element.is_bool:
        return rng.integers(0, 2, shape).astype(bool)
    if element.is_int:
        low = -4 if element.kind == "int" else 0
        return rng.integers(low, 5, shape).astype(element.as_numpy())
    return rng.standard_normal(shape).astype(np.float32).astype(element.as_numpy())


def results(func: PrimFunc, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays after running `func` on copies of `inputs`."""
    copies = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in inputs.items()}
    run(func, copies)
    return {n: v for n, v in copies.items() if isinstance(v, np.ndarray)}


def check(
    func: PrimFunc, inputs: Mapping[str, Any], tolerance: float = 0.0
) -> dict[str, np.ndarray]:
    """Require that every lowering computes what the tile program means; gives the arrays."""
    expected = results(func, inputs)
    for ctx in CONTEXTS:
        got = results(lower(func, ctx), inputs)
        for name, want in expected.items():
            same(got[name], want, tolerance, f"{name} under {ctx.target}, checked={ctx.sanitize}")
    return expected


def same(got: np.ndarray, want: np.ndarray, tolerance: float, what: str = "") -> None:
    """Require equal arrays: exactly, or within `tolerance` relative to the largest value."""
    if want.dtype.kind not in "biu" and want.dtype.name not in ("int4", "uint4"):
        got, want = got.astype(np.float64), want.astype(np.float64)
        finite = np.isfinite(want)
        scale = np.abs(want[finite]).max(initial=1.0)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale, err_msg=what)
    else:
        np.testing.assert_array_equal(got, want, err_msg=what)
