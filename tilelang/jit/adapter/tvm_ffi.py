"""The default adapter: kernels called through apache-tvm-ffi.

In: an artifact's function, sources and library, from `jit.kernel`. Out: `func`, which takes the
arguments that the caller passes, allocates outputs, and calls the library's entry point. Argument
checks are in the entry point itself (`codegen.host_c`); streams and devices are read at call time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tilelang.codegen.host_print import expected_text
from tilelang.engine.builder import BuildRequest, DeviceCode, builder_of
from tilelang.engine.lower import as_prim_func, compile_flags, merged_configs
from tilelang.engine.param import KernelParam
from tilelang.engine.runtime import Executable, Module
from tilelang.errors import ArgumentError
from tilelang.ir.expr import Var
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.jit.adapter.base import BaseKernelAdapter
from tilelang.jit.adapter.outputs import OutputPlan, dynamic_symbol_map
from tilelang.target.registry import determine_target
from tilelang.target.target import Target

COMPILE_ARGS: dict[str, Any] = {}
"""Extra options of the step that makes an executable of a runtime module; none are needed."""


class TVMFFIKernelAdapter(BaseKernelAdapter):
    """Runs a compiled kernel on PyTorch tensors and NumPy arrays.

    Attributes:
        target: what the kernel was compiled for.
        host_kernel_source: text of the entry point: argument checks and the call of the kernel.
        executable: the callable entry point.
        dynamic_symbolic_map: symbol -> (0 shape, 1 stride or 2 scalar; parameter; axis).
        func: what users call.

    Raises:
        ArgumentError: for an out_idx outside the parameters.
        ToolchainError: when the library has to be built and that fails.
    """

    takes_module: ClassVar[bool] = True

    target: str | Target = "cuda"
    executable: Executable | None = None
    pass_configs: dict[str, Any] | None = None
    host_mod: IRModule | None = None
    device_mod: IRModule | None = None
    rt_mod: Module | None = None
    dynamic_symbolic_map: dict[Var, tuple[int, int, int]] | None = None
    kernel_global_source: str | None = None

    def __init__(
        self,
        params: list[KernelParam],
        result_idx: list[int] | int | None,
        target: str | Target,
        func_or_mod: PrimFunc | IRModule,
        host_mod: IRModule | None = None,
        device_mod: IRModule | None = None,
        rt_mod: Module | None = None,
        host_kernel_source: str | None = None,
        device_kernel_source: str | None = None,
        verbose: bool = False,
        pass_configs: Mapping[Any, Any] | None = None,
        compile_flags: Sequence[str] | str | None = None,
    ) -> None:
        super().__init__(func_or_mod, params, result_idx)
        func = as_prim_func(func_or_mod)
        self.ir_module = (
            func_or_mod if isinstance(func_or_mod, IRModule) else IRModule({func.name: func})
        )
        chosen: Target = determine_target(target)
        self.target = chosen
        self.host_mod = host_mod
        self.device_mod = device_mod
        self.host_kernel_source = host_kernel_source
        self.device_kernel_source = device_kernel_source
        self.kernel_global_source = device_kernel_source
        self.verbose = verbose
        self.pass_configs = None if pass_configs is None else dict(pass_configs)
        self.compile_flags = compile_flags
        self.rt_mod = rt_mod if rt_mod is not None else self._build(func, chosen)
        if self.host_kernel_source is None:
            self.host_kernel_source = self.rt_mod.host_source
        self.dynamic_symbolic_map = dynamic_symbol_map(func)
        self.executable = self.rt_mod[func.name]
        self.executable.parameters = [
            (p.name, expected_text(p, self.rt_mod.place)) for p in func.params
        ]
        self.func = self._convert_torch_func(func, self.executable)

    def _build(self, func: PrimFunc, target: Target) -> Module:
        if self.device_kernel_source is None:
            raise ArgumentError("TVMFFIKernelAdapter needs a library or the kernel's source")
        configs = merged_configs(func, self.pass_configs)
        flags = compile_flags(func, configs, self.compile_flags, target)
        lowered = func if self.device_mod is None else as_prim_func(self.device_mod)
        return builder_of(target).build(
            BuildRequest(func, lowered, self.device_kernel_source, target, flags)
        )

    def _convert_torch_func(self, func: PrimFunc, executable: Executable) -> Callable[..., Any]:
        """What users call; without outputs the entry point itself, so that calling adds nothing."""
        if not self.result_idx:
            return executable
        assert self.rt_mod is not None
        place = self.rt_mod.place
        plan = OutputPlan(func, self.result_idx, None if place == "cpu" else place)
        positions, inputs = plan.positions, plan.input_positions
        count = len(inputs)
        only = positions[0] if len(positions) == 1 else None
        outputs_last = inputs == list(range(count))
        name, parameters = func.name, len(func.params)

        def call(*args: Any) -> Any:
            if len(args) != count:
                raise ArgumentError(f"{name}(): expected {count} arguments, got {len(args)}")
            outputs = plan.allocate(args)
            if only is not None and outputs_last:
                executable(*args, outputs[0])
                return outputs[0]
            every: list[Any] = [None] * parameters
            for position, value in zip(inputs, args):
                every[position] = value
            for position, value in zip(positions, outputs):
                every[position] = value
            executable(*every)
            return outputs[0] if only is not None else outputs

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
    ) -> TVMFFIKernelAdapter:
        """An adapter around an exported library; nothing is compiled."""
        chosen: Target = determine_target(target)
        module = builder_of(chosen).load(
            Path(kernel_lib_path), device_kernel_source, host_kernel_source, chosen
        )
        return cls(
            params, result_idx, chosen, func_or_mod, None, None, module,
            host_kernel_source, device_kernel_source, verbose, pass_configs, compile_flags,
        )  # fmt: skip

    def device_code(self) -> DeviceCode | None:
        """What the device compiler made, where there is one."""
        target: Target = determine_target(self.target)
        func = self.prim_func
        assert self.rt_mod is not None
        flags = compile_flags(
            func, merged_configs(func, self.pass_configs), self.compile_flags, target
        )
        request = BuildRequest(func, func, self.device_kernel_source or "", target, flags)
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
