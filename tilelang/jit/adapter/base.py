"""What all adapters share: which parameters are outputs, texts, PyTorch's stream and device."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tilelang.cache.entry import EXECUTABLE
from tilelang.engine.builder import DeviceCode
from tilelang.engine.param import KernelParam
from tilelang.engine.toolchain import find_compiler_command
from tilelang.errors import ArgumentError, ArgumentTypeError, ToolchainError
from tilelang.ir.func import IRModule, PrimFunc


def legalize_result_idx(result_idx: Any, num_params: int) -> list[int]:
    """Output positions as a fresh list of non-negative integers.

    Raises:
        ArgumentError: for a position outside the parameters, or given twice.
        ArgumentTypeError: for anything but `None`, an int or a list of ints.
    """
    if result_idx is None:
        return []
    given = [result_idx] if isinstance(result_idx, int) else result_idx
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise _ResultIndexError(f"out_idx is {result_idx!r}, expected an int or a list of ints")
    out: list[int] = []
    for position in given:
        if not isinstance(position, int) or isinstance(position, bool):
            raise _ResultIndexError(f"out_idx contains {position!r}, expected ints")
        if not -num_params <= position < num_params:
            raise ArgumentError(
                f"out_idx {position} is outside the {num_params} parameters of the kernel"
            )
        out.append(position % num_params)
    if len(set(out)) != len(out):
        raise ArgumentError(f"out_idx {result_idx!r} names a parameter twice")
    return out


class _ResultIndexError(ArgumentTypeError, ValueError):
    """An out_idx of the wrong type."""


class BaseKernelAdapter:
    """Makes a compiled kernel callable.

    Attributes:
        func: what users call.
        ir_module: the traced function as a module.
        host_kernel_source, device_kernel_source: text that calls the kernel, and of the kernel.
    """

    library_file: ClassVar[str] = EXECUTABLE  # what `from_database` opens, in a cache entry
    host_suffix: ClassVar[str] = ".c"  # of the file with the host text
    needs_host_compiler: ClassVar[bool] = True
    takes_module: ClassVar[bool] = False  # is given the library, rather than making one

    func: Callable[..., Any]
    ir_module: IRModule | None = None
    host_kernel_source: str | None = None
    device_kernel_source: str | None = None

    def __init__(self, mod: Any, params: list[KernelParam], result_idx: Any) -> None:
        self.mod = mod
        self.params = params
        self.result_idx: list[int] = legalize_result_idx(result_idx, len(params))

    @classmethod
    def is_usable(cls) -> bool:
        """Whether this machine has what the adapter needs: a C compiler, where it compiles."""
        if not cls.needs_host_compiler:
            return True
        try:
            find_compiler_command()
        except ToolchainError:
            return False
        return True

    def binaries(self) -> dict[str, Path | bytes]:
        """File name -> content of the binaries that `from_database` needs again."""
        raise NotImplementedError

    def device_code(self) -> DeviceCode | None:
        """What the device compiler made; `None` for a target without one."""
        return None

    @staticmethod
    def get_current_stream_functor() -> Callable[[], int]:
        """A function that gives PyTorch's current CUDA stream handle; 0 without CUDA."""

        def current_stream() -> int:
            torch = sys.modules.get("torch")
            if torch is None or not torch.cuda.is_available():
                return 0
            return int(torch.cuda.current_stream().cuda_stream)

        return current_stream

    @staticmethod
    def get_current_device_functor() -> Callable[[], str]:
        """A function that gives PyTorch's current device: `cuda:<n>`, or `cpu` without CUDA."""

        def current_device() -> str:
            torch = sys.modules.get("torch")
            if torch is None or not torch.cuda.is_available():
                return "cpu"
            return f"cuda:{torch.cuda.current_device()}"

        return current_device

    @property
    def prim_func(self) -> PrimFunc:
        """The traced function."""
        assert self.ir_module is not None, "adapters keep the module they are made for"
        return next(iter(self.ir_module.functions.values()))

    def get_host_source(self) -> str:
        """Text that calls the kernel."""
        return self.host_kernel_source or ""

    def get_device_source(self) -> str:
        """Text of the kernel."""
        return self.device_kernel_source or ""

    def get_kernel_source(self, kernel_only: bool = False) -> str:
        """Text of the kernel, followed by a blank line and the host text unless `kernel_only`."""
        if kernel_only:
            return self.get_device_source()
        return f"{self.get_device_source()}\n\n{self.get_host_source()}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)
