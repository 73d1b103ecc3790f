"""Input tensors for a kernel, made from the description of its parameters.

In: `KernelParam`s, from `Profiler` and the autotuner. Out: PyTorch tensors on the current device,
random from PyTorch's generator, so `torch.manual_seed` repeats them. No value is NaN or infinite.
It knows nothing of kernels; a size that is known only at a call has to be filled in before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from tilelang.engine.param import KernelParam
from tilelang.errors import ArgumentError
from tilelang.ir.dtype import dtype

if TYPE_CHECKING:
    import torch


class TensorSupplyType(Enum):
    """What the generated inputs look like.

    Integer: 0..2 for unsigned, -2..2 for signed and floating kinds, -128..127 for float8, every
    value for 4-bit kinds. Uniform: between -1 and 1. Normal: mean -1, deviation 1. Randn: mean 0,
    deviation 1. Auto: Uniform for float16, bfloat16 and float32, otherwise Integer.
    """

    Integer = 1
    Uniform = 2
    Normal = 3
    Randn = 4
    Zero = 5
    One = 6
    Auto = 7


def get_tensor_supply(
    supply_type: TensorSupplyType = TensorSupplyType.Integer, device: Any = None
) -> Callable[[KernelParam], torch.Tensor]:
    """A function from a parameter to a tensor of its type and shape.

    Args:
        supply_type: what the values are.
        device: where; by default PyTorch's current CUDA device, or the CPU where there is none.

    The function raises `ArgumentError` (a `ValueError`) for a scalar and for a symbolic shape.
    """
    if not isinstance(supply_type, TensorSupplyType):
        raise ArgumentError(f"expected a TensorSupplyType, got {supply_type!r}")

    def supply(param: KernelParam) -> torch.Tensor:
        kind = param.tilelang_dtype()
        shape = _storage_shape(param, kind)
        return _MAKERS[_effective(supply_type, kind)](kind, shape, device or current_device())

    return supply


def current_device() -> torch.device:
    """PyTorch's current CUDA device; the CPU where there is none."""
    import torch  # deferred: only a caller that handles tensors pays for it

    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _effective(supply_type: TensorSupplyType, kind: dtype) -> TensorSupplyType:
    if supply_type is TensorSupplyType.Auto:
        plain = kind in ("float16", "bfloat16", "float32")
        return TensorSupplyType.Uniform if plain else TensorSupplyType.Integer
    real = (TensorSupplyType.Uniform, TensorSupplyType.Normal, TensorSupplyType.Randn)
    if supply_type not in real or (
        kind.is_float and kind.bits >= 8 and not _is_packed_or_raw(kind)
    ):
        return supply_type
    # Integers cannot hold these values; 8-bit ones are ones, and the others small integers.
    return TensorSupplyType.One if kind == "int8" else TensorSupplyType.Integer


def _is_packed_or_raw(kind: dtype) -> bool:
    """Whether storage is bytes of 4-bit values: two a byte, or one in the low half."""
    return kind.bits == 4 or kind == "float4_e2m1_unpacked"


def _storage_shape(param: KernelParam, kind: dtype) -> list[int]:
    if param.is_scalar():
        raise ArgumentError("a scalar parameter has no tensor; pass its value in input_tensors")
    if kind.lanes > 1:
        raise ArgumentError(f"no tensors of vector type {kind} are generated; pass input_tensors")
    symbolic = [str(extent) for extent in param.shape if not isinstance(extent, int)]
    if symbolic:
        raise ArgumentError(
            f"only a call determines {', '.join(symbolic)} "
            f"of the shape ({', '.join(map(str, param.shape))})",
            hint="pass input_tensors, or dynamic_symbolic_constraints={name: size}",
        )
    shape = [extent for extent in param.shape if isinstance(extent, int)]
    return [*shape[:-1], -(-shape[-1] // kind.elements_per_byte)]


def _from_values(values: torch.Tensor, kind: dtype) -> torch.Tensor:
    """Rounded into the kind's storage type."""
    return values.to(kind.as_torch())


def _from_bytes(values: torch.Tensor, kind: dtype) -> torch.Tensor:
    """uint8 values taken as the bits of a one-byte storage type."""
    return values.view(kind.as_torch())


def _integers(low: int, high: int, shape: Sequence[int], device: Any) -> torch.Tensor:
    import torch

    return torch.randint(low, high + 1, tuple(shape), device=device)


def _make_integer(kind: dtype, shape: Sequence[int], device: Any) -> torch.Tensor:
    import torch

    if _is_packed_or_raw(kind):
        top = 255 if kind.bits == 4 else 15
        return _from_bytes(_integers(0, top, shape, device).to(torch.uint8), kind)
    if kind == "float8_e8m0fnu":  # powers of two, without sign and without zero
        return _from_values(torch.exp2(_integers(-2, 2, shape, device).float()), kind)
    if kind.is_float8:
        # Clamped for the kinds that do not reach 128; converted values are never NaN.
        values = _integers(-128, 127, shape, device).float()
        return _from_values(values.clamp(kind.min_value(), kind.max_value()), kind)
    low, high = (0, 1) if kind.is_bool else (0, 2) if kind.kind == "uint" else (-2, 2)
    return _from_values(_integers(low, high, shape, device), kind)


def _make_real(kind: dtype, values: torch.Tensor) -> torch.Tensor:
    # e8m0 holds powers of two alone: no sign, no zero.
    return _from_values(
        values.abs().clamp_min(2.0**-20) if kind == "float8_e8m0fnu" else values, kind
    )


def _make_uniform(kind: dtype, shape: Sequence[int], device: Any) -> torch.Tensor:
    import torch

    wide = torch.float64 if kind == "float64" else torch.float32
    return _make_real(kind, torch.rand(tuple(shape), dtype=wide, device=device) * 2 - 1)


def _make_randn(kind: dtype, shape: Sequence[int], device: Any, mean: float = 0.0) -> torch.Tensor:
    import torch

    wide = torch.float64 if kind == "float64" else torch.float32
    return _make_real(kind, torch.randn(tuple(shape), dtype=wide, device=device) + mean)


def _make_normal(kind: dtype, shape: Sequence[int], device: Any) -> torch.Tensor:
    return _make_randn(kind, shape, device, mean=-1.0)


def _make_zero(kind: dtype, shape: Sequence[int], device: Any) -> torch.Tensor:
    import torch

    if (
        kind.itemsize == 1 and not kind.is_bool
    ):  # the storage types of small floats cannot be filled
        return _from_bytes(torch.zeros(tuple(shape), dtype=torch.uint8, device=device), kind)
    return torch.zeros(tuple(shape), dtype=kind.as_torch(), device=device)


def _make_one(kind: dtype, shape: Sequence[int], device: Any) -> torch.Tensor:
    import torch

    if _is_packed_or_raw(kind):
        one = 0x2 if kind.is_float else 0x1  # e2m1 writes 1.0 as 0010
        byte = one if kind.bits == 8 else one * 0x11
        full = torch.full(tuple(shape), byte, dtype=torch.uint8, device=device)
        return _from_bytes(full, kind)
    return _from_values(torch.ones(tuple(shape), device=device), kind)


_MAKERS: dict[TensorSupplyType, Callable[[dtype, Sequence[int], Any], torch.Tensor]] = {
    TensorSupplyType.Integer: _make_integer,
    TensorSupplyType.Uniform: _make_uniform,
    TensorSupplyType.Normal: _make_normal,
    TensorSupplyType.Randn: _make_randn,
    TensorSupplyType.Zero: _make_zero,
    TensorSupplyType.One: _make_one,
}


def map_torch_type(name: str) -> torch.dtype:
    """The PyTorch type that stores elements of the type called `name`.

    Raises:
        TypeError: for an unknown name, or a type that PyTorch does not have.
    """
    return dtype(name).as_torch()


def is_float8_dtype(kind: Any) -> bool:
    """Whether `kind` (a name, a dtype or a PyTorch type) is an 8-bit floating type."""
    return str(kind).removeprefix("torch.").startswith(("float8", "e4m3_float8", "e5m2_float8"))


def fp8_remove_negative_zeros_(tensor: torch.Tensor) -> None:
    """Replace -0 by +0 in place, in an 8-bit floating tensor: the `fnuz` kinds read it as NaN.

    Raises:
        ArgumentError: for a tensor of another type.
    """
    import torch

    if not is_float8_dtype(tensor.dtype):
        raise ArgumentError(f"expected a float8 tensor, got {tensor.dtype}")
    bits = tensor.view(torch.uint8)
    bits.masked_fill_(bits == 0x80, 0)
