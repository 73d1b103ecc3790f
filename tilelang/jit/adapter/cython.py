"""The `cython` backend: kernels called through a library with a plain C interface, by ctypes.

In: an artifact's function and source, from `jit.kernel`. Out: `func`, which takes the arguments
that the caller passes, allocates outputs, checks and converts (`cython_arguments.py`), and calls.
It needs neither apache-tvm-ffi nor an extension module; the text of the library comes from
`wrapper.py`, the library itself from `library.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tilelang.engine.lower import as_prim_func, compile_flags, merged_configs
from tilelang.engine.param import KernelParam
from tilelang.errors import ArgumentError
from tilelang.ir.expr import Var
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.jit.adapter.base import BaseKernelAdapter
from tilelang.jit.adapter.cython_arguments import Arguments
from tilelang.jit.adapter.library import LibraryGenerator, last_error
from tilelang.jit.adapter.outputs import OutputPlan, dynamic_symbol_map
from tilelang.jit.adapter.wrapper import TLWrapper
from tilelang.target.registry import determine_target
from tilelang.target.target import Target

_SCALAR = 2  # kind of a symbol that is a scalar parameter


class CythonKernelAdapter(BaseKernelAdapter):
    """Runs a compiled kernel on PyTorch tensors and NumPy arrays.

    Attributes:
        target: what the kernel was compiled for.
        ir_module: the traced function as a module.
        host_kernel_source, device_kernel_source: the library's C interface, and the kernel.
        lib_code: both, as compiled.
        lib: the open library.
        dynamic_symbolic_map: symbol -> (0 shape or 1 stride; parameter; axis); without scalars.
        func: what users call; also takes `stream` and `skip_tensor_validation` by name.

    Raises:
        ArgumentError: for an out_idx outside the parameters.
        ToolchainError: when the library has to be built and that fails.
    """

    target: str | Target = "c"
    ir_module: IRModule | None = None
    host_kernel_source: str | None = None
    device_kernel_source: str | None = None
    pass_configs: dict[str, Any] | None = None
    host_mod: IRModule | None = None
    device_mod: IRModule | None = None
    rt_mod: None = None  # its libraries need the thread pool of this process
    dynamic_symbolic_map: dict[Var, tuple[int, int, int]] | None = None

    def __init__(
        self,
        params: list[KernelParam],
        result_idx: list[int] | int | None,
        target: str | Target,
        func_or_mod: PrimFunc | IRModule,
        host_mod: IRModule | None = None,
        device_mod: IRModule | None = None,
        rt_mod: Any = None,
        host_kernel_source: str | None = None,
        device_kernel_source: str | None = None,
        verbose: bool = False,
        pass_configs: Mapping[Any, Any] | None = None,
        compile_flags: Sequence[str] | str | None = None,
        *,
        library: str | Path | None = None,
    ) -> None:
        del rt_mod  # a runtime module of the default backend is not called from here
        super().__init__(func_or_mod, params, result_idx)
        func = as_prim_func(func_or_mod)
        self.ir_module = (
            func_or_mod if isinstance(func_or_mod, IRModule) else IRModule({func.name: func})
        )
        chosen: Target = determine_target(target)
        self.target = chosen
        self.host_mod, self.device_mod = host_mod, device_mod
        self.device_kernel_source = device_kernel_source
        self.kernel_global_source = device_kernel_source
        self.verbose = verbose
        self.pass_configs = None if pass_configs is None else dict(pass_configs)
        self.compile_flags = compile_flags
        self.host_kernel_source = host_kernel_source
        if host_kernel_source is None:
            self.host_kernel_source = self._host_text()
        self.lib_code = f"{device_kernel_source or ''}{self.host_kernel_source}"
        self._generator = LibraryGenerator(chosen, func.name)
        self.lib = self._open(func, library)
        self.dynamic_symbolic_map = {
            var: place for var, place in dynamic_symbol_map(func).items() if place[0] != _SCALAR
        }
        self.func = self._convert_torch_func(func)

    def _host_text(self) -> str:
        """The C interface that goes with the kernel's source."""
        if self.device_kernel_source is None:
            raise ArgumentError("CythonKernelAdapter needs a library or the kernel's source")
        assert self.ir_module is not None
        wrapper = TLWrapper(self.target)
        wrapper.assign_optimized_module(self.ir_module)
        wrapper.assign_pass_configs(self.pass_configs)
        wrapper.assign_host_module(self.host_mod)
        wrapper.assign_device_module(self.device_mod)
        return wrapper.wrap(self.device_kernel_source).removeprefix(self.device_kernel_source)

    def _open(self, func: PrimFunc, library: str | Path | None) -> ctypes.CDLL:
        if library is None:
            configs = merged_configs(func, self.pass_configs)
            flags = compile_flags(func, configs, self.compile_flags, self._generator.target)
            self._generator.assign_compile_flags(flags)
            self._generator.update_lib_code(self.lib_code)
            self._generator.compile_lib()
        return self._generator.load_lib(library)

    def _convert_torch_func(self, func: PrimFunc) -> Callable[..., Any]:
        """What users call."""
        plan = OutputPlan(func, self.result_idx)
        arguments = Arguments(func)
        library, name, total = self.lib, func.name, len(func.params)
        entry = library.call
        entry.argtypes = arguments.argtypes
        entry.restype = ctypes.c_int32

        def call(*args: Any, stream: int = -1, skip_tensor_validation: bool = False) -> Any:
            del stream  # the CPU has none
            if len(args) != len(plan.input_positions):
                raise ArgumentError(
                    f"{name}(): expected {len(plan.input_positions)} arguments, got {len(args)}"
                )
            every: list[Any] = [None] * total
            for position, value in zip(plan.input_positions, args):
                every[position] = value
            outputs = plan.allocate(args) if plan.positions else []
            for position, value in zip(plan.positions, outputs):
                every[position] = value
            if entry(*arguments.convert(every, skip_tensor_validation)) != 0:
                raise RuntimeError(f"{name}(): {last_error(library)}")
            return outputs[0] if len(outputs) == 1 else outputs or None

        return call

    @classmethod
    def from_database(
        cls,
        params: list[KernelParam],
        result_idx: list[int] | int | None,
        target: str | Target,
        func_or_mod: PrimFunc | IRModule,
        host_kernel_source: str,
        device_kernel_source: str,
        kernel_lib_path: str,
        verbose: bool = False,
        pass_configs: Mapping[Any, Any] | None = None,
        compile_flags: Sequence[str] | str | None = None,
    ) -> CythonKernelAdapter:
        """An adapter around a library that was compiled before; nothing is compiled."""
        return cls(
            params, result_idx, target, func_or_mod, None, None, None, host_kernel_source,
            device_kernel_source, verbose, pass_configs, compile_flags, library=kernel_lib_path,
        )  # fmt: skip

    def get_host_source(self) -> str:
        """Text of the library's C interface."""
        return self.host_kernel_source or ""

    def get_device_source(self) -> str:
        """Text of the kernel."""
        return self.device_kernel_source or ""

    def get_kernel_source(self, kernel_only: bool = False) -> str:
        """Text of the kernel, followed by a blank line and the host text unless `kernel_only`."""
        if kernel_only:
            return self.get_device_source()
        return f"{self.get_device_source()}\n\n{self.get_host_source()}"

    def binaries(self) -> dict[str, Path | bytes]:
        """The library."""
        return {self.library_file: self.library_path}

    @property
    def library_path(self) -> Path:
        """The shared object."""
        assert self._generator.libpath is not None, "the library is opened with the adapter"
        return self._generator.libpath

    @property
    def prim_func(self) -> PrimFunc:
        """The traced function."""
        assert self.ir_module is not None
        return next(iter(self.ir_module.functions.values()))
