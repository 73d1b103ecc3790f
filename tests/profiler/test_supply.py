"""Generated inputs: types, shapes and ranges of values."""

from __future__ import annotations

import pytest
import torch

from tilelang.engine.param import KernelParam
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Var
from tilelang.profiler import (
    TensorSupplyType,
    fp8_remove_negative_zeros_,
    get_tensor_supply,
    is_float8_dtype,
    map_torch_type,
)

INTS = ["int8", "int16", "int32", "int64"]
UINTS = ["uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
FLOAT8 = [
    "float8_e4m3", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
    "float8_e8m0fnu",
]  # fmt: skip
BYTES = ["int4", "uint4", "float4_e2m1fn", "float4_e2m1_unpacked"]
ALL = [*INTS, *UINTS, *FLOATS, "tfloat32", *FLOAT8, *BYTES, "bool"]
SHAPE = [37, 64]


def supply(
    kind: str, supply_type: TensorSupplyType, shape: list[int] | None = None
) -> torch.Tensor:
    torch.manual_seed(7)
    return get_tensor_supply(supply_type, "cpu")(KernelParam(dtype(kind), shape or SHAPE))


def values(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float32).to(torch.float64)


@pytest.mark.parametrize("supply_type", TensorSupplyType)
@pytest.mark.parametrize("kind", ALL)
def test_every_type_of_every_kind(kind: str, supply_type: TensorSupplyType) -> None:
    tensor = supply(kind, supply_type)
    assert tensor.dtype == dtype(kind).as_torch()
    assert list(tensor.shape) == [37, 32 if dtype(kind).bits == 4 else 64]
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    if kind not in BYTES:
        assert values(tensor).isfinite().all()


@pytest.mark.parametrize("kind", [*INTS, *FLOATS])
def test_integer_of_signed_kinds(kind: str) -> None:
    assert set(values(supply(kind, TensorSupplyType.Integer)).unique().tolist()) == {
        -2,
        -1,
        0,
        1,
        2,
    }


@pytest.mark.parametrize("kind", UINTS)
def test_integer_of_unsigned_kinds(kind: str) -> None:
    found = supply(kind, TensorSupplyType.Integer).to(torch.int64)
    assert set(found.unique().tolist()) == {0, 1, 2}


def test_integer_of_other_kinds() -> None:
    assert set(supply("bool", TensorSupplyType.Integer).unique().tolist()) == {False, True}
    e4m3 = values(supply("float8_e4m3fn", TensorSupplyType.Integer))
    assert e4m3.min() < -100 and e4m3.max() > 100 and e4m3.abs().max() <= 128
    e8m0 = values(supply("float8_e8m0fnu", TensorSupplyType.Integer))
    assert set(e8m0.unique().tolist()) == {0.25, 0.5, 1, 2, 4}
    nibbles = supply("float4_e2m1_unpacked", TensorSupplyType.Integer)
    assert set(nibbles.unique().tolist()) == set(range(16))
    packed = supply("int4", TensorSupplyType.Integer, [64, 64]).view(torch.uint8)
    assert len(packed.unique()) == 256


@pytest.mark.parametrize("kind", [*FLOATS, "tfloat32", "float8_e4m3fn", "float8_e5m2"])
def test_real_distributions(kind: str) -> None:
    uniform, normal, randn = (
        values(supply(kind, t, [100, 100]))
        for t in (TensorSupplyType.Uniform, TensorSupplyType.Normal, TensorSupplyType.Randn)
    )
    assert uniform.abs().max() <= 1 and abs(uniform.mean()) < 0.05
    assert abs(uniform.std() - 3**-0.5) < 0.03
    assert abs(normal.mean() + 1) < 0.05 and abs(normal.std() - 1) < 0.05
    assert abs(randn.mean()) < 0.05 and abs(randn.std() - 1) < 0.05


def test_float64_is_not_rounded_to_float32() -> None:
    tensor = supply("float64", TensorSupplyType.Uniform)
    assert (tensor != tensor.float().double()).any()


@pytest.mark.parametrize("supply_type", [TensorSupplyType.Uniform, TensorSupplyType.Normal])
def test_int8_has_ones_for_reals(supply_type: TensorSupplyType) -> None:
    assert (supply("int8", supply_type) == 1).all()


@pytest.mark.parametrize("kind", [k for k in ALL if k not in BYTES])
def test_zero_and_one(kind: str) -> None:
    smallest = 2.0**-127 if kind == "float8_e8m0fnu" else 0.0  # which has no zero
    zeros = supply(kind, TensorSupplyType.Zero)
    assert (values(zeros) == smallest).all()
    assert (values(supply(kind, TensorSupplyType.One)) == 1).all()


def test_one_of_four_bit_kinds() -> None:
    bytes_of = {"int4": 0x11, "float4_e2m1fn": 0x22, "float4_e2m1_unpacked": 0x02}
    for kind, byte in bytes_of.items():
        assert (supply(kind, TensorSupplyType.One).view(torch.uint8) == byte).all()


def test_auto() -> None:
    for kind in ("float16", "bfloat16", "float32"):
        assert len(values(supply(kind, TensorSupplyType.Auto)).unique()) > 100
    for kind in ("float64", "int32"):
        assert len(values(supply(kind, TensorSupplyType.Auto)).unique()) == 5


def test_seeds_repeat_the_values() -> None:
    a, b = (supply("float32", TensorSupplyType.Randn) for _ in range(2))
    assert torch.equal(a, b)


def test_default_is_integer_on_the_current_device() -> None:
    tensor = get_tensor_supply()(KernelParam(dtype("float32"), [3]))
    assert tensor.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (tensor == tensor.round()).all()


def test_scalars_and_symbols_have_no_tensor() -> None:
    make = get_tensor_supply(TensorSupplyType.Auto, "cpu")
    with pytest.raises(ValueError, match="scalar parameter"):
        make(KernelParam(dtype("float32"), []))
    rows = Var("rows", dtype("int32"))
    with pytest.raises(ValueError, match=r"only a call determines rows of the shape \(rows, 4\)"):
        make(KernelParam(dtype("float32"), [rows, 4]))
    with pytest.raises(ValueError, match="vector type float32x4"):
        make(KernelParam(dtype("float32x4"), [4]))


def test_supply_type_is_checked() -> None:
    with pytest.raises(ValueError, match="expected a TensorSupplyType, got 7"):
        get_tensor_supply(7)  # type: ignore[arg-type]
    assert [t.value for t in TensorSupplyType] == [1, 2, 3, 4, 5, 6, 7]


def test_names_of_types() -> None:
    assert map_torch_type("float16") is torch.float16
    assert map_torch_type("e4m3_float8") is torch.float8_e4m3fn
    with pytest.raises(TypeError, match="unknown dtype 'float17'"):
        map_torch_type("float17")
    assert is_float8_dtype(torch.float8_e5m2) and is_float8_dtype("float8_e4m3")
    assert not is_float8_dtype(torch.float16) and not is_float8_dtype("int8")


def test_negative_zeros_go() -> None:
    tensor = torch.tensor([0x80, 0x00, 0x81], dtype=torch.uint8).view(torch.float8_e4m3fn)
    fp8_remove_negative_zeros_(tensor)
    assert tensor.view(torch.uint8).tolist() == [0x00, 0x00, 0x81]
    with pytest.raises(ValueError, match="expected a float8 tensor"):
        fp8_remove_negative_zeros_(torch.zeros(1))
