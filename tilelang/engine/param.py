"""What a compiled kernel's parameters are, and what one compilation leaves behind.

In: IR buffers and variables, from `engine.lower`. Out: `KernelParam`s, which adapters, the profiler
and the cache read (and pickle); `CompiledArtifact`, the result of `lower`. It compiles nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype as element_type
from tilelang.ir.expr import Expr, IntImm, Var
from tilelang.ir.func import IRModule

if TYPE_CHECKING:
    import torch

    from tilelang.engine.runtime import Module


@dataclass
class KernelParam:
    """One parameter of a kernel, a tensor or a scalar; outputs have one too.

    Attributes:
        dtype: element type; kinds that PyTorch does not have are kept.
        shape: a Python int per constant dimension, otherwise a variable or expression; empty for a
            scalar or a raw pointer.
    """

    dtype: element_type
    shape: list[int | Var | Expr]

    @classmethod
    def from_buffer(cls, buffer: Buffer) -> KernelParam:
        """The parameter that `buffer` describes.

        Raises:
            ValueError: for a dimension that is neither an integer nor an expression.
        """
        shape: list[int | Var | Expr] = []
        for extent in buffer.shape:
            if isinstance(extent, IntImm):
                shape.append(extent.value)
            elif isinstance(extent, (int, Expr)):
                shape.append(extent)
            else:
                raise ValueError(f"unsupported dimension of `{buffer.name}`: {extent!r}")
        return cls(buffer.dtype, shape)

    @classmethod
    def from_var(cls, var: Var) -> KernelParam:
        """The scalar (or pointer) parameter `var`."""
        return cls(var.dtype, [])

    def is_scalar(self) -> bool:
        """Whether there are no dimensions."""
        return len(self.shape) == 0

    def is_unsigned(self) -> bool:
        """Whether the elements are unsigned integers."""
        return self._dtype_name().startswith("uint")

    def is_float8(self) -> bool:
        """Whether the elements are of an 8-bit floating type."""
        return self._dtype_name().startswith("float8")

    def is_float4(self) -> bool:
        """Whether the elements are of a 4-bit floating type."""
        return self._dtype_name().startswith("float4")

    def is_boolean(self) -> bool:
        """Whether the elements are booleans."""
        return self._dtype_name().startswith("bool")

    def torch_dtype(self) -> torch.dtype:
        """The PyTorch type that stores the elements (packed types: their storage type).

        Raises:
            TypeError: when PyTorch has none.
        """
        return element_type(self.dtype).as_torch()

    def tilelang_dtype(self) -> element_type:
        """The element type as `T.dtype`."""
        return element_type(self.dtype)

    def _dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


@dataclass
class CompiledArtifact:
    """What one compilation produced.

    Attributes:
        host_mod, device_mod: the IR after the split into host and device functions.
        params: the kernel's parameters in order, outputs included.
        kernel_source: text of the device code.
        rt_mod: the loaded result; `None` when only text was asked for.
        target, target_host: what was compiled for.
    """

    host_mod: IRModule
    device_mod: IRModule
    params: list[KernelParam]
    kernel_source: str
    rt_mod: Module | None = None
    target: Any = None  # target.Target; kept opaque here, as a row of the target table
    target_host: Any = None
