"""`mma.sync` products: every type, major, scope and odd size, run by NumPy and compiled by NVRTC."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tileop.cuda.block_product import Product, check, context
from tilelang.ir.expr import Var
from tilelang.tileop.cuda.mma import MmaSync

MMA = MmaSync()
FRAGMENT = "local.fragment"


@pytest.mark.parametrize("tA", [False, True])
@pytest.mark.parametrize("tB", [False, True])
@pytest.mark.parametrize(
    "a,c,K,tolerance",
    [
        ("float16", "float32", 48, 1e-5), ("float16", "float16", 32, 1e-2),
        ("bfloat16", "float32", 32, 1e-5), ("float32", "float32", 24, 1e-2),
        ("float32", "float32", 12, 1e-2), ("float64", "float64", 32, 1e-12),
        ("float64", "float64", 20, 1e-12), ("int8", "int32", 64, 0), ("uint8", "int32", 48, 0),
        ("float8_e4m3fn", "float32", 64, 1e-5), ("float8_e5m2", "float16", 32, 1e-2),
        ("float16", "float32", 24, 1e-5), ("bfloat16", "float32", 8, 1e-5),
    ],
)  # fmt: skip
def test_types_and_majors(a, c, K, tolerance, tA, tB):
    block = check(Product(64, 48, K, a, c, tA=tA, tB=tB), MMA, tolerance=tolerance)
    rows = [op for op in block.calls if op.startswith("tl_ldmatrix_x")]
    assert bool(rows) == (a != "float64" and (not tA or tB or a.endswith("16")))
