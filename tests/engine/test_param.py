from __future__ import annotations

import pickle

import cloudpickle
import pytest
import torch

from tilelang.engine.param import CompiledArtifact, KernelParam
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import IntImm, Var
from tilelang.ir.func import IRModule


def test_from_buffer_keeps_symbols_and_unwraps_constants() -> None:
    n = Var("n")
    param = KernelParam.from_buffer(Buffer("A", (IntImm(4), n, n * 2, 7), "float16"))
    assert param.shape[0] == 4 and type(param.shape[0]) is int and param.shape[3] == 7
    assert param.shape[1] is n
    assert str(param.shape[2]) == "n * 2"
    assert param.dtype == "float16" and not param.is_scalar()


def test_unsupported_dimension() -> None:
    buffer = Buffer("A", (4,), "float16")
    buffer.shape = ("four",)  # type: ignore[assignment]  # what no constructor lets through
    with pytest.raises(ValueError, match="unsupported dimension of `A`"):
        KernelParam.from_buffer(buffer)


@pytest.mark.parametrize("name", ["int32", "float32", "handle"])
def test_from_var_is_a_scalar(name: str) -> None:
    param = KernelParam.from_var(Var("x", name))
    assert param.is_scalar() and param.shape == [] and param.dtype == name


@pytest.mark.parametrize(
    ("name", "unsigned", "float8", "float4", "boolean"),
    [
        ("uint8", True, False, False, False),
        ("uint32x4", True, False, False, False),
        ("int8", False, False, False, False),
        ("float8_e4m3fn", False, True, False, False),
        ("float8_e5m2x16", False, True, False, False),
        ("float4_e2m1fn", False, False, True, False),
        ("bool", False, False, False, True),
        ("float16", False, False, False, False),
    ],
)
def test_kinds(name: str, unsigned: bool, float8: bool, float4: bool, boolean: bool) -> None:
    param = KernelParam(dtype(name), [4])
    got = (param.is_unsigned(), param.is_float8(), param.is_float4(), param.is_boolean())
    assert got == (unsigned, float8, float4, boolean)


def test_kinds_of_a_pytorch_type() -> None:
    param = KernelParam(torch.uint8, [4])  # type: ignore[arg-type]  # as programs for PyTorch write it
    assert param.is_unsigned() and param.torch_dtype() is torch.uint8
    assert param.tilelang_dtype() == "uint8"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("float16", torch.float16), ("bfloat16", torch.bfloat16), ("bool", torch.bool),
     ("float8_e5m2", torch.float8_e5m2), ("int4", torch.int8), ("uint64", torch.uint64)],
)  # fmt: skip
def test_torch_dtype(name: str, expected: torch.dtype) -> None:
    assert KernelParam(dtype(name), []).torch_dtype() is expected


def test_torch_dtype_without_equivalent() -> None:
    with pytest.raises(TypeError, match="float6_e2m3fn"):
        KernelParam(dtype("float6_e2m3fn"), []).torch_dtype()


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_pickled_symbols_stay_shared(pickler: object) -> None:
    n = Var("n")
    params = [KernelParam.from_buffer(Buffer(c, (n, 3), "float32")) for c in "AB"]
    first, second = pickle.loads(pickler.dumps(params))  # type: ignore[attr-defined]
    assert first.shape[0] is second.shape[0] and first.shape[0].name == "n"
    assert first.dtype == "float32" and isinstance(first.dtype, dtype)
    assert first.shape[1] == 3


def test_equality() -> None:
    n = Var("n")
    a, b = (KernelParam.from_buffer(Buffer("A", (n, 3), "float32")) for _ in range(2))
    assert a == b
    assert a != KernelParam(dtype("float16"), [n, 3])
    assert a != KernelParam(dtype("float32"), [Var("n"), 3])


def test_artifact_defaults() -> None:
    artifact = CompiledArtifact(IRModule(), IRModule(), [], "source")
    assert artifact.rt_mod is None and artifact.kernel_source == "source"
