"""`JITKernel`: one compiled kernel, callable, with its sources and tools."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilelang.engine.builder import BuildRequest, DeviceCode, builder_of
from tilelang.engine.lower import as_prim_func, compile_flags, lower, merged_configs, params_of
from tilelang.engine.param import CompiledArtifact, KernelParam
from tilelang.engine.toolchain import CToolchain
from tilelang.errors import ArgumentError, TargetError
from tilelang.ir.func import OUT_IDX, PrimFunc
from tilelang.profiler import Profiler, TensorSupplyType
from tilelang.target.registry import determine_target
from tilelang.target.target import Target, load
from tilelang.tracebacks import entry, for_the_user

if TYPE_CHECKING:
    from tilelang.jit.explain import Explanation

# execution backend -> adapter class
ADAPTERS: dict[str, str] = {
    "tvm_ffi": "tilelang.jit.adapter.tvm_ffi:TVMFFIKernelAdapter",
    "cython": "tilelang.jit.adapter.cython:CythonKernelAdapter",
    "nvrtc": "tilelang.jit.adapter.nvrtc:NVRTCKernelAdapter",
}


def resolve_backend(backend: str | None, target: Target) -> str:
    """The execution backend that `backend` means for `target`.

    Raises:
        TargetError: for one that the target does not have.
    """
    from tilelang.env import env

    wanted = backend or env.TILELANG_EXECUTION_BACKEND
    wanted = {"dlpack": "tvm_ffi"}.get(wanted, wanted)
    allowed = target.row.backends
    if builder_of(target).hosted_only:
        allowed = tuple(b for b in allowed if load(ADAPTERS[b]).takes_module)
    if wanted == "auto":
        return next((b for b in allowed if load(ADAPTERS[b]).is_usable()), allowed[0])
    if wanted not in allowed:
        near = difflib.get_close_matches(str(wanted), allowed, n=1)
        raise TargetError(
            f"execution backend {wanted!r} does not run target `{target.kind}`",
            hint=f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(allowed)}",
        )
    return wanted


def resolve_out_idx(func: PrimFunc, out_idx: Any) -> Any:
    """Output positions: the kernel's own (T.empty), or the caller's.

    Raises:
        ArgumentError: when both are given.
    """
    own = func.attribute(OUT_IDX)
    if own is None:
        return out_idx
    if out_idx is not None:
        raise ArgumentError(
            f"`{func.name}` makes its outputs with T.empty, so out_idx cannot be given as well"
        )
    return list(own)


class JITKernel:
    """A compiled kernel; call it with tensors and numbers.

    Attributes:
        prim_func: the traced function.
        params: a KernelParam per parameter, outputs included.
        out_idx: positions of the parameters that a call allocates and returns.
        target, execution_backend: what it was compiled for, and how it is called.
        artifact: what compilation left, or `None` for a kernel found in the cache.
        adapter: makes the calls.
        latency, config, ref_latency: filled in by the autotuner.
    """

    def __init__(
        self,
        func: PrimFunc | None = None,
        out_idx: list[int] | int | None = None,
        execution_backend: str = "tvm_ffi",
        target: str | Target = "auto",
        target_host: Any = None,
        verbose: bool = False,
        pass_configs: Mapping[Any, Any] | None = None,
        from_database: bool = False,
        compile_flags: Sequence[str] | str | None = None,
    ) -> None:
        self.target: Target = determine_target(target)
        self.execution_backend = resolve_backend(execution_backend, self.target)
        self.target_host = target_host
        self.verbose = verbose
        self.pass_configs = dict(pass_configs or {})
        self.compile_flags = [compile_flags] if isinstance(compile_flags, str) else compile_flags
        self.latency: float | None = None
        self.config: dict[str, Any] | None = None
        self.ref_latency: float | None = None
        self.artifact: CompiledArtifact | None = None
        self.timings: dict[str, float] = {}
        if from_database:
            return
        assert func is not None, "a kernel is made of a PrimFunc"
        self.prim_func: PrimFunc = func
        self.out_idx = resolve_out_idx(func, out_idx)
        self.params: list[KernelParam] = params_of(func)
        self._use(self._compile(func))

    def _compile(self, func: PrimFunc) -> Any:
        adapter = load(ADAPTERS[self.execution_backend])
        self.artifact = lower(
            func, self.target, self.target_host,
            enable_device_compile=adapter.takes_module,
            pass_configs=self.pass_configs, flags=self.compile_flags, timings=self.timings,
        )  # fmt: skip
        artifact = self.artifact
        return adapter(
            self.params, self.out_idx, self.target, func, artifact.host_mod, artifact.device_mod,
            artifact.rt_mod, None, artifact.kernel_source,
            self.verbose, self.pass_configs, self.compile_flags,
        )  # fmt: skip

    def _use(self, adapter: Any) -> None:
        self.adapter = adapter
        self.torch_function = adapter.func
        self._names = [
            p.name for k, p in enumerate(self.prim_func.params) if k not in adapter.result_idx
        ]

    @classmethod
    def from_database(
        cls,
        func: PrimFunc,
        host_kernel_source: str,
        device_kernel_source: str,
        kernel_lib_path: str,
        params: list[KernelParam],
        target: str | Target,
        target_host: Any,
        out_idx: list[int] | int | None,
        execution_backend: str,
        pass_configs: Mapping[Any, Any] | None = None,
        compile_flags: Sequence[str] | str | None = None,
    ) -> JITKernel:
        """A kernel around a library that was compiled before."""
        self = cls(
            None,
            out_idx,
            execution_backend,
            target,
            target_host,
            False,
            pass_configs,
            True,
            compile_flags,
        )
        self.prim_func, self.params = func, params
        self.out_idx = resolve_out_idx(func, out_idx)
        adapter = load(ADAPTERS[self.execution_backend])
        self._use(adapter.from_database(
            params, self.out_idx, self.target, func, host_kernel_source, device_kernel_source,
            kernel_lib_path, False, pass_configs, compile_flags,
        ))  # fmt: skip
        return self

    @classmethod
    def from_tilelang_function(cls, tilelang_func: PrimFunc, **kwargs: Any) -> JITKernel:
        """Compile a PrimFunc; keywords as in the constructor."""
        return cls(tilelang_func, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run: arguments in parameter order without the outputs, or by name."""
        try:
            if kwargs:
                args = self._positional(args, kwargs)
            return self.torch_function(*args)
        except Exception as error:  # as `entry` does, without a call more
            __tracebackhide__ = True
            for_the_user(error)
            raise error

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        rest = self._names[len(args) :]
        unknown = [k for k in kwargs if k not in rest]
        if unknown:
            known = unknown[0] in self._names
            reason = (
                "is given twice" if known else f"is no argument; they are {', '.join(self._names)}"
            )
            raise ArgumentError(f"{self.prim_func.name}(): `{unknown[0]}` {reason}")
        missing = [n for n in rest if n not in kwargs]
        if missing:
            raise ArgumentError(
                f"{self.prim_func.name}(): no value for {', '.join(f'`{n}`' for n in missing)}"
            )
        return (*args, *(kwargs[n] for n in rest))

    # -- sources ----------------------------------------------------------------------------------

    def get_kernel_source(self, kernel_only: bool = True) -> str:
        """Text of the kernel; with `kernel_only=False` the host text follows."""
        return self.adapter.get_kernel_source(kernel_only)

    def get_host_source(self) -> str:
        """Text of the launch code."""
        return self.adapter.get_host_source()

    @property
    def kernel_source(self) -> str:
        return self.get_kernel_source()

    @property
    def host_source(self) -> str:
        return self.get_host_source()

    def _source(self, which: str) -> str:
        if which not in ("kernel", "host", "both"):
            raise ArgumentError(f"which is {which!r}, expected 'kernel', 'host' or 'both'")
        if which == "both":
            return self.get_kernel_source(kernel_only=False)
        return self.get_kernel_source() if which == "kernel" else self.get_host_source()

    def show_source(self, which: str = "kernel") -> None:
        """Print the kernel's, the host's, or both texts."""
        print(self._source(which))

    def print_source_code(self, which: str = "kernel", file: str | None = None) -> None:
        """Print a text, or write it to `file`."""
        if file is None:
            self.show_source(which)
        else:
            Path(file).write_text(self._source(which), encoding="utf-8")

    def export_sources(self, kernel_path: str | None = None, host_path: str | None = None) -> None:
        """Write the texts to files.

        Raises:
            ArgumentError: when no path is given.
        """
        if kernel_path is None and host_path is None:
            raise ArgumentError("export_sources: give kernel_path, host_path, or both")
        for path, text in (
            (kernel_path, self.get_kernel_source),
            (host_path, self.get_host_source),
        ):
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_text(text(), encoding="utf-8")

    @entry
    def export_library(self, kernel_file: str) -> None:
        """Write a shared library that runs without this package: `tvm_ffi.load_module(path)["f"]`.

        Raises:
            AttributeError: for a backend whose libraries cannot stand alone.
        """
        module = getattr(self.adapter, "rt_mod", None)
        if module is None:
            raise AttributeError(
                "export_library needs the tvm_ffi backend, "
                f"this kernel uses {self.execution_backend}"
            )
        Path(kernel_file).parent.mkdir(parents=True, exist_ok=True)
        module.export_library(kernel_file)

    @entry
    def export_c_library(self, library: str, header: str) -> None:
        """Write a shared library for C programs, and its header.

        It has `int init(void)`, `const char *get_last_error(void)` and `int call(...)`, whose
        parameters are those of the kernel, the symbols of its shapes and strides, and for CUDA the
        stream; tensors are addresses of dense memory, and nothing of them is checked. Neither this
        package nor Python is needed to run it.

        Raises:
            ToolchainError: when a compiler is missing, or fails.
        """
        made = self.artifact
        if made is None:  # found in the cache, where there is only the result
            made = lower(self.prim_func, self.target, pass_configs=self.pass_configs)
        configs = merged_configs(self.prim_func, self.pass_configs)
        flags = compile_flags(self.prim_func, configs, self.compile_flags, self.target)
        request = BuildRequest(
            self.prim_func, as_prim_func(made.device_mod), made.kernel_source, self.target, flags
        )
        plain = builder_of(self.target).plain_library(request)
        for path in (library, header):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(header).write_text(plain.header, encoding="utf-8")
        CToolchain(tuned=False).build(plain.sources, Path(library), plain.flags)

    def _device_code(self, what: str) -> DeviceCode:
        code = self.adapter.device_code()
        if code is None:
            raise AttributeError(f"{what}: target `{self.target.kind}` has none")
        return code

    def show_ptx(self) -> None:
        """Print the PTX text (CUDA targets)."""
        print(self._device_code("show_ptx").ptx())

    def export_ptx(self, path: str) -> None:
        """Write the PTX text (CUDA targets)."""
        Path(path).write_text(self._device_code("export_ptx").ptx(), encoding="utf-8")

    def show_sass(self) -> None:
        """Print the machine code (CUDA targets).

        Raises:
            ToolchainError: without NVIDIA's disassembler.
        """
        print(self._device_code("show_sass").sass())

    def export_sass(self, path: str) -> None:
        """Write the machine code (CUDA targets).

        Raises:
            ToolchainError: without NVIDIA's disassembler.
        """
        Path(path).write_text(self._device_code("export_sass").sass(), encoding="utf-8")

    @entry
    def explain(self) -> Explanation:
        """What became of the kernel and why, by launch and source line: instructions, layouts,
        vector widths, bank conflicts, exchanges, barriers, the memory map, registers, occupancy.

        `print` it, or take `.to_dict()` for JSON. The function is compiled once more for this.
        """
        from tilelang.jit.explain import explain  # a tool for people, not loaded otherwise

        return explain(self.prim_func, self.target, self.pass_configs, self.compile_flags)

    # -- measuring --------------------------------------------------------------------------------

    @entry
    def get_profiler(
        self, tensor_supply_type: TensorSupplyType = TensorSupplyType.Auto
    ) -> Profiler:
        """A profiler bound to this kernel."""
        return Profiler(
            self.params, self.adapter.result_idx, tensor_supply_type
        ).with_default_adapter(self.adapter)

    def run_once(self, func: Any = None) -> None:
        """One run on generated inputs."""
        self.get_profiler().run_once(func)

    def update_tuner_result(
        self, latency: float, config: dict[str, Any], ref_latency: float | None
    ) -> JITKernel:
        """Remember what tuning found."""
        self.latency, self.config, self.ref_latency = latency, config, ref_latency
        return self

    def get_tuner_result(self) -> dict[str, Any]:
        """What tuning found.

        Raises:
            ArgumentError: when this kernel was never tuned.
        """
        if self.latency is None:
            raise ArgumentError(f"`{self.prim_func.name}` was not tuned")
        return {"latency": self.latency, "config": self.config, "ref_latency": self.ref_latency}

    def __repr__(self) -> str:
        return f"JITKernel({self.prim_func.name!r}, target={str(self.target)!r})"


def log_compilation(message: str) -> None:
    """One line about a compilation, where the environment asks for it."""
    from tilelang.env import env

    if env.TILELANG_PRINT_ON_COMPILATION:
        print(message, file=sys.stderr)
