"""The names of the element types."""

from __future__ import annotations

import builtins
import subprocess
import sys

import pytest

from tilelang.ir.dtype import dtype
from tilelang.language.v2 import dtypes

SCALARS = [
    "bool", "int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16", "uint32",
    "uint64", "float16", "float32", "float64", "bfloat16", "tfloat32", "float8_e3m4",
    "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn",
    "float4_e2m1_unpacked",
]  # fmt: skip


@pytest.mark.parametrize("name", SCALARS)
def test_each_name_with_and_without_lanes_is_an_attribute(name: str) -> None:
    assert getattr(dtypes, name) is dtype(name)
    for lanes in (2, 4, 8, 16, 32, 64):
        assert getattr(dtypes, f"{name}x{lanes}") is dtype(name).with_lanes(lanes)


def test_short_names() -> None:
    expected = {
        "bool": "bool", "short": "int16", "int": "int32", "uint": "uint32", "long": "int64",
        "half": "float16", "float": "float32", "double": "float64",
    }  # fmt: skip
    assert {name: getattr(dtypes, name) for name in expected} == expected
    assert {name: dtypes.NAMED[name] for name in expected} == expected


def test_a_star_import_keeps_the_builtins() -> None:
    shadowed = {name for name in dtypes.__all__ if hasattr(builtins, name)}
    assert shadowed == set()
    assert all(hasattr(dtypes, name) for name in dtypes.__all__)


def test_import_loads_no_array_library() -> None:
    code = (
        "import sys, tilelang.language.v2, tilelang.language.fp8\n"
        "print([m for m in ('torch', 'ml_dtypes', 'tvm_ffi') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
