"""The default adapter: kernels called through apache-tvm-ffi.

In: what `base` takes. Out: the library's entry point, for `base`. Argument checks are in the entry
point itself (`codegen.host_c`); streams and devices are read at call time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from tilelang.codegen.host_print import expected_text
from tilelang.engine.builder import BuildRequest, DeviceCode, builder_of
from tilelang.engine.lower import as_prim_func
from tilelang.engine.runtime import Executable, Module
from tilelang.errors import ArgumentError
from tilelang.ir.func import PrimFunc
from tilelang.jit.adapter.base import BaseKernelAdapter
from tilelang.target.registry import determine_target
from tilelang.target.target import Target

COMPILE_ARGS: dict[str, Any] = {}
"""Extra options of the step that makes an executable of a runtime module; none are needed."""


class TVMFFIKernelAdapter(BaseKernelAdapter):
    """Runs a compiled kernel on PyTorch tensors and NumPy arrays.

    Attributes:
        host_kernel_source: text of the entry point: argument checks and the call of the kernel.
        executable: the callable entry point.
    """

    takes_module: ClassVar[bool] = True

    executable: Executable | None = None

    def _open(
        self, func: PrimFunc, target: Target, module: Module | None, library: Path | None
    ) -> Executable:
        """The entry point itself, so that a call without outputs adds nothing."""
        if library is not None:
            device, host = self.device_kernel_source or "", self.host_kernel_source or ""
            module = builder_of(target).load(library, device, host, target)
        self.rt_mod = module = module if module is not None else self._build(func, target)
        if self.host_kernel_source is None:
            self.host_kernel_source = module.host_source
        self.outputs_place = None if module.place == "cpu" else module.place
        self.executable = module[func.name]
        self.executable.parameters = [(p.name, expected_text(p, module.place)) for p in func.params]
        return self.executable

    def _build(self, func: PrimFunc, target: Target) -> Module:
        if self.device_kernel_source is None:
            raise ArgumentError("TVMFFIKernelAdapter needs a library or the kernel's source")
        flags = self._flags(func, target)
        lowered = func if self.device_mod is None else as_prim_func(self.device_mod)
        return builder_of(target).build(
            BuildRequest(func, lowered, self.device_kernel_source, target, flags)
        )

    def device_code(self) -> DeviceCode | None:
        """What the device compiler made, where there is one."""
        target: Target = determine_target(self.target)
        func = self.prim_func
        assert self.rt_mod is not None
        source, flags = self.device_kernel_source or "", self._flags(func, target)
        request = BuildRequest(func, func, source, target, flags)
        return builder_of(target).device_code(request, self.rt_mod)

    def binaries(self) -> dict[str, Path | bytes]:
        """The library, and what it needs beside it."""
        assert self.rt_mod is not None
        return {self.library_file: self.library_path, **self.rt_mod.companions()}

    @property
    def library_path(self) -> Path:
        """The shared object."""
        assert self.rt_mod is not None
        return self.rt_mod.library
