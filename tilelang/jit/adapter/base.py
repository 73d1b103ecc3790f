"""What all adapters share: what they are made of, the call that allocates outputs, the texts.

In: an artifact's functions, sources and library, from `jit.kernel`, or those of a cache entry. Out:
`func`, what users call. An adapter adds how its library comes to be and is entered (`_open`); what
the arguments are is checked there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tilelang.cache.entry import EXECUTABLE
from tilelang.engine.builder import DeviceCode
from tilelang.engine.lower import as_prim_func, compile_flags, merged_configs
from tilelang.engine.param import KernelParam
from tilelang.engine.runtime import Module
from tilelang.engine.toolchain import find_compiler_command
from tilelang.errors import ArgumentError, ArgumentTypeError, ToolchainError
from tilelang.ir.expr import Var
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.jit.adapter.outputs import OutputPlan, dynamic_symbol_map
from tilelang.target.registry import determine_target
from tilelang.target.target import Target

AnyAdapter = TypeVar("AnyAdapter", bound="BaseKernelAdapter")


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


def wrong_count(func: PrimFunc, expected: Sequence[int], got: int) -> ArgumentError:
    """What a call with `got` arguments raises, where it takes the parameters at `expected`."""
    names = ", ".join(func.params[k].name for k in expected)
    return ArgumentError(f"{func.name}(): expected {len(expected)} arguments ({names}), got {got}")


class BaseKernelAdapter:
    """Makes a compiled kernel callable.

    Args:
        rt_mod: the library, where the adapter takes one (`takes_module`).
        library: path of what was compiled before; without it, and without `rt_mod`, the sources
            are compiled.

    Attributes:
        func: what users call: takes the inputs, returns the outputs.
        target: what the kernel was compiled for.
        ir_module: the traced function as a module.
        host_kernel_source, device_kernel_source: text that calls the kernel, and of the kernel.
        dynamic_symbolic_map: symbol -> (0 shape, 1 stride or 2 scalar; parameter; axis).

    Raises:
        ArgumentError: for an out_idx outside the parameters.
        ToolchainError: when the library has to be built and that fails.
    """

    library_file: ClassVar[str] = EXECUTABLE  # what `from_database` opens, in a cache entry
    host_suffix: ClassVar[str] = ".c"  # of the file with the host text
    needs_host_compiler: ClassVar[bool] = True
    takes_module: ClassVar[bool] = False  # is given the library, rather than making one

    func: Callable[..., Any]
    target: str | Target = "cuda"
    ir_module: IRModule | None = None
    host_mod: IRModule | None = None
    device_mod: IRModule | None = None
    rt_mod: Module | None = None
    host_kernel_source: str | None = None
    device_kernel_source: str | None = None
    kernel_global_source: str | None = None
    pass_configs: dict[str, Any] | None = None
    dynamic_symbolic_map: dict[Var, tuple[int, int, int]] | None = None
    outputs_place: str | None = None  # of outputs where no tensor is given; `None`: PyTorch's own

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
        *,
        library: str | Path | None = None,
    ) -> None:
        self.params = params
        self.result_idx: list[int] = legalize_result_idx(result_idx, len(params))
        func = as_prim_func(func_or_mod)
        self.ir_module = (
            func_or_mod if isinstance(func_or_mod, IRModule) else IRModule({func.name: func})
        )
        chosen: Target = determine_target(target)
        self.target = chosen
        self.host_mod, self.device_mod = host_mod, device_mod
        self.host_kernel_source = host_kernel_source
        self.device_kernel_source = self.kernel_global_source = device_kernel_source
        self.verbose = verbose
        self.pass_configs = None if pass_configs is None else dict(pass_configs)
        self.compile_flags = compile_flags
        self.dynamic_symbolic_map = dynamic_symbol_map(func)
        run = self._open(func, chosen, rt_mod, None if library is None else Path(library))
        self.func = self._allocating(func, run) if self.result_idx else run

    @classmethod
    def from_database(
        cls: type[AnyAdapter],
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
    ) -> AnyAdapter:
        """An adapter around what was compiled before (`library_file`); nothing is compiled."""
        return cls(
            params, result_idx, target, func_or_mod, None, None, None, host_kernel_source,
            device_kernel_source, verbose, pass_configs, compile_flags, library=kernel_lib_path,
        )  # fmt: skip

    def _open(
        self, func: PrimFunc, target: Target, module: Module | None, library: Path | None
    ) -> Callable[..., Any]:
        """The function that takes every argument, outputs included: of `module` or `library`, or
        of what is compiled now. Sets the sources that were not given."""
        raise NotImplementedError

    def _allocating(self, func: PrimFunc, run: Callable[..., Any]) -> Callable[..., Any]:
        """`run` as a function of the inputs that allocates and returns the outputs."""
        plan = OutputPlan(func, self.result_idx, self.outputs_place)
        positions, inputs = plan.positions, plan.input_positions
        count, total, has_one = len(inputs), len(func.params), len(positions) == 1
        are_last = positions == list(range(count, total))

        def call(*args: Any, **options: Any) -> Any:
            if len(args) != count:
                raise wrong_count(func, inputs, len(args))
            outputs = plan.allocate(args)
            if are_last:
                run(*args, *outputs, **options)
                return outputs[0] if has_one else outputs
            every: list[Any] = [None] * total
            for position, value in zip(inputs, args):
                every[position] = value
            for position, value in zip(positions, outputs):
                every[position] = value
            run(*every, **options)
            return outputs[0] if has_one else outputs

        return call

    def _flags(self, func: PrimFunc, target: Target) -> tuple[str, ...]:
        """Flags of the compiler: the function's, the configuration's and the caller's."""
        configs = merged_configs(func, self.pass_configs)
        return compile_flags(func, configs, self.compile_flags, target)

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
