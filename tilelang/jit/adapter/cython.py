"""The `cython` backend: kernels called through a library with a plain C interface, by ctypes.

In: what `base` takes. Out: for `base`, a function that checks and converts every argument
(`cython_arguments.py`), and calls. It needs neither apache-tvm-ffi nor an extension module; the
text of the library comes from `wrapper.py`, the library itself from `library.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tilelang.engine.runtime import Module
from tilelang.errors import ArgumentError
from tilelang.ir.func import PrimFunc
from tilelang.jit.adapter.base import BaseKernelAdapter
from tilelang.jit.adapter.cython_arguments import Arguments
from tilelang.jit.adapter.library import LibraryGenerator, last_error
from tilelang.jit.adapter.outputs import dynamic_symbol_map
from tilelang.jit.adapter.wrapper import TLWrapper
from tilelang.target.target import Target

_SCALAR = 2  # kind of a symbol that is a scalar parameter


class CythonKernelAdapter(BaseKernelAdapter):
    """Runs a compiled kernel on PyTorch tensors and NumPy arrays.

    Attributes:
        host_kernel_source, device_kernel_source: the library's C interface, and the kernel.
        lib_code: both, as compiled.
        lib: the open library.
        dynamic_symbolic_map: symbol -> (0 shape or 1 stride; parameter; axis); without scalars.
        func: what users call; also takes `stream` and `skip_tensor_validation` by name.
    """

    target: str | Target = "c"

    def _open(
        self, func: PrimFunc, target: Target, module: Module | None, library: Path | None
    ) -> Callable[..., Any]:
        del module  # of the default backend: it is not called from here
        if self.host_kernel_source is None:
            self.host_kernel_source = self._host_text()
        self.lib_code = f"{self.device_kernel_source or ''}{self.host_kernel_source}"
        self._generator = LibraryGenerator(target, func.name)
        if library is None:
            self._generator.assign_compile_flags(self._flags(func, target))
            self._generator.update_lib_code(self.lib_code)
            self._generator.compile_lib()
        self.lib = self._generator.load_lib(library)
        self.dynamic_symbolic_map = {
            var: place for var, place in dynamic_symbol_map(func).items() if place[0] != _SCALAR
        }
        return self._entry(func)

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

    def _entry(self, func: PrimFunc) -> Callable[..., Any]:
        """The library's `call` on arguments as users pass them."""
        arguments = Arguments(func)
        library, name = self.lib, func.name
        entry = library.call
        entry.argtypes = arguments.argtypes
        entry.restype = ctypes.c_int32

        def run(*every: Any, stream: int = -1, skip_tensor_validation: bool = False) -> None:
            del stream  # the CPU has none
            if entry(*arguments.convert(every, skip_tensor_validation)) != 0:
                raise RuntimeError(f"{name}(): {last_error(library)}")

        return run

    def binaries(self) -> dict[str, Path | bytes]:
        """The library."""
        return {self.library_file: self.library_path}

    @property
    def library_path(self) -> Path:
        """The shared object."""
        assert self._generator.libpath is not None, "the library is opened with the adapter"
        return self._generator.libpath
