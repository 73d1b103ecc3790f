"""`dtype`: one object for every spelling, and the same type in NumPy, PyTorch and the FFI."""

from __future__ import annotations

import copy
import math
import pickle
import random
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import tvm_ffi

from tilelang.errors import ArgumentError, DTypeError
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Broadcast, Call, Cast, FloatImm, IntImm, Var

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (4, 8, 16, 32, 64)]
FLOATS = [
    "float16", "float32", "float64", "bfloat16", "tfloat32", "float8_e3m4", "float8_e4m3",
    "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
    "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn", "float4_e2m1_unpacked",
]  # fmt: skip
NAMES = ["bool", *INTEGERS, *FLOATS]
# Kinds that only this package has, or that mean another one: what stores them elsewhere.
STORED = {
    "tfloat32": "float32", "float8_e4m3": "float8_e4m3fn", "float4_e2m1_unpacked": "uint8",
}  # fmt: skip
TORCH_STORED = {**STORED, "int4": "int8", "uint4": "uint8"}
NOT_IN_TORCH = {"float8_e3m4", "float8_e4m3b11fnuz", "float6_e2m3fn", "float6_e3m2fn"}


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("name", NAMES)
def test_is_its_name_and_one_object(name: str, lanes: int) -> None:
    text = name if lanes == 1 else f"{name}x{lanes}"
    kind = dtype(text)
    assert kind == text and str(kind) == text and hash(kind) == hash(text)
    assert kind is dtype(text) is dtype(kind) is dtype(name).with_lanes(lanes)
    assert kind.lanes == lanes and kind.element is dtype(name)
    assert pickle.loads(pickle.dumps(kind)) is kind and copy.deepcopy(kind) is kind
    assert repr(kind) == f"dtype({text!r})"


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("half", "float16"), ("float", "float32"), ("double", "float64"), ("short", "int16"),
        ("int", "int32"), ("uint", "uint32"), ("long", "int64"), ("halfx4", "float16x4"),
        (bool, "bool"), (int, "int32"), (float, "float32"),
    ],
)  # fmt: skip
def test_short_names_and_python_types(alias: Any, name: str) -> None:
    assert dtype(alias) is dtype(name)


@pytest.mark.parametrize(
    "value", ["float17", "int8x0", "x4", "", "quint8", None, 5, 1.0, [], object(), complex, str]
)
def test_anything_else_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        dtype(value)


@pytest.mark.parametrize("name", NAMES)
def test_numpy_round_trip(name: str) -> None:
    foreign = dtype(name).as_numpy()
    assert dtype(foreign) == STORED.get(name, name)
    assert dtype(foreign.type) == STORED.get(name, name)
    if name not in STORED and dtype(name).bits >= 8:
        assert foreign.itemsize == dtype(name).itemsize


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NOT_IN_TORCH])
def test_torch_round_trip(name: str) -> None:
    foreign = dtype(name).as_torch()
    assert isinstance(foreign, torch.dtype)
    assert dtype(foreign) == TORCH_STORED.get(name, name)
    assert foreign.itemsize == dtype(name).with_lanes(dtype(name).elements_per_byte).itemsize


@pytest.mark.parametrize("name", sorted(NOT_IN_TORCH) + ["handle", "void"])
def test_types_that_torch_has_not(name: str) -> None:
    with pytest.raises(TypeError, match=f"PyTorch has no type for {name}"):
        dtype(name).as_torch()


@pytest.mark.parametrize("name", ["handle", "void"])
def test_types_that_numpy_has_not(name: str) -> None:
    with pytest.raises(TypeError, match=f"NumPy has no type for {name}"):
        dtype(name).as_numpy()


@pytest.mark.parametrize("lanes", [1, 2, 4, 16])
@pytest.mark.parametrize("name", [*NAMES, "handle"])
def test_ffi_round_trip(name: str, lanes: int) -> None:
    kind = dtype(name).with_lanes(lanes)
    foreign = kind.as_ffi()
    assert isinstance(foreign, tvm_ffi.dtype)
    assert dtype(foreign) == dtype(STORED.get(name, name)).with_lanes(lanes)
    assert (foreign.bits, foreign.lanes) == (kind.bits, kind.lanes)
    if name not in STORED:
        assert foreign.type_code == kind.type_code


def test_other_byte_order_is_refused() -> None:
    with pytest.raises(TypeError, match="byte order"):
        dtype(np.dtype(np.float32).newbyteorder())


@pytest.mark.parametrize("name", [n for n in INTEGERS if n != "bool"])
def test_integer_constants_over_the_whole_range(name: str) -> None:
    kind = dtype(name)
    low, high = int(kind.min_value()), int(kind.max_value())
    rng = random.Random(0)
    for value in (low, high, 0, *(rng.randint(low, high) for _ in range(20))):
        made = kind(value)
        assert isinstance(made, IntImm) and made.value == value and made.dtype is kind
    for value in (low - 1, high + 1, math.inf):
        with pytest.raises(ArgumentError, match=f"does not fit {name}"):
            kind(value)


@pytest.mark.parametrize("name", FLOATS)
def test_float_constants_over_the_whole_range(name: str) -> None:
    kind = dtype(name)
    for value in (kind.min_value(), kind.max_value(), 1.0, math.inf):
        made = kind(value)
        assert isinstance(made, FloatImm) and made.value == value and made.dtype is kind
    if name != "float64":
        with pytest.raises(ArgumentError, match=f"does not fit {name}"):
            kind(float(kind.max_value()) * 1.5)


@pytest.mark.parametrize("name", [n for n in FLOATS if n not in STORED])
def test_limits_are_those_of_ml_dtypes(name: str) -> None:
    info = ml_dtypes.finfo(dtype(name).as_numpy())
    assert dtype(name).max_value() == float(info.max)
    assert dtype(name).mantissa_bits == info.nmant
    if name != "float8_e8m0fnu":
        assert dtype(name).min_value() == float(info.min)


def test_decimal_that_rounds_to_the_largest_float_is_in_range() -> None:
    assert dtype("float32")(3.4028235e38).dtype == "float32"
    assert dtype("float32").holds(float("nan")) and not dtype("int8").holds(float("nan"))


def test_numpy_scalars_are_numbers() -> None:
    assert dtype("int8")(np.int64(-5)).value == -5
    with pytest.raises(ArgumentError):
        dtype("int8")(np.int64(300))


def test_calls_make_variables_casts_and_vectors() -> None:
    x = dtype("int32")()
    assert isinstance(x, Var) and x.dtype == "int32" and dtype("int32")() is not x
    assert isinstance(dtype("float16")(x), Cast) and dtype("int32")(x) is x
    vector = dtype("float32")(x, 1, 2.5, 0)
    assert isinstance(vector, Call) and vector.dtype == "float32x4" and len(vector.args) == 4
    assert all(arg.dtype == "float32" for arg in vector.args)
    assert dtype("float32x4")(1, 2, 3, 4).dtype == "float32x4"
    assert isinstance(dtype("float32x4")(0.0), Broadcast)
    with pytest.raises(DTypeError, match="4 lanes, got 3"):
        dtype("float32x4")(1, 2, 3)


def test_handles_make_pointer_variables() -> None:
    assert dtype("handle")().dtype == "handle"
    assert dtype("handle")("float16", "shared").dtype == "handle"


def test_packing_and_sizes() -> None:
    assert [dtype(n).elements_per_byte for n in ("int4", "float4_e2m1fn", "int8")] == [2, 2, 1]
    assert dtype("float4_e2m1fnx2").itemsize == 1 and dtype("float4_e2m1_unpacked").itemsize == 1
    assert dtype("float16x8").bytes == 16 and dtype("float6_e2m3fn").itemsize == 1
