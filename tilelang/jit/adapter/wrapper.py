"""Source text -> text of a library with a plain C interface: one wrapper class per target.

In: what a target's printer made, and the modules of that compilation. Out: `lib_code`, for
`library.py` (or the nvrtc adapter) to compile:

    int init()                            0, or -1 with a message
    const char* get_last_error()          why the last call failed; empty if it did not
    int call(arguments, symbols, stream)  runs all kernels in program order; 0 on success

The CPU's and Metal's wrappers are here; those of CUDA in `wrapper_cuda.py`, of HIP in
`wrapper_hip.py`, of nvrtc in `wrapper_nvrtc.py`. `TLWrapper` chooses by target. Nothing here
compiles or loads a library.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from tilelang.codegen.c import CALLEE_SUFFIX, scalar_type
from tilelang.codegen.c_names import Names
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.errors import TargetError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.jit.adapter.wrapper_cuda import TLCUDASourceWrapper
from tilelang.jit.adapter.wrapper_facts import kernel_parameter_names
from tilelang.jit.adapter.wrapper_hip import TLHIPSourceWrapper
from tilelang.jit.adapter.wrapper_nvrtc import TLNVRTCSourceWrapper
from tilelang.jit.adapter.wrapper_source import SourceWrapper
from tilelang.jit.adapter.wrapper_templates import (
    KERNEL_LAUNCH_FUNC_PY,
    L2_PERSISTENT_MAP_CREATE_HANDLE,
    L2_PERSISTENT_MAP_INIT_FUNC,
    L2_PERSISTENT_MAP_RESET_HANDLE,
    PREDEF_ATTRIBUTE_SET_DYNAMIC_MEMORY,
    PREDEF_ATTRIBUTE_SET_DYNAMIC_MEMORY_HIP,
    PREDEF_HOST_FUNC,
    PREDEF_HOST_FUNC_PY,
    PREDEF_INIT_FUNC,
    TMA_DESC_INIT_FUNC,
    TMA_DESC_INIT_FUNC_PY,
    TMA_IM2COL_DESC_INIT_FUNC,
)

logger = logging.getLogger(__name__)


class BaseWrapper(abc.ABC):
    """Turns source text into what the adapter of a backend needs."""

    @abc.abstractmethod
    def wrap(self, *args: Any, **kwargs: Any) -> Any:
        """The wrapped text."""
        raise NotImplementedError


class TLCPUSourceWrapper(SourceWrapper):
    """Makes the library text of a CPU kernel; `lib_code` is it.

    `call` takes the arguments in order, then the symbols of shapes and strides, each in its own C
    type (`codegen.c.scalar_type`); there is no stream. Its result is the host function's: 0, 1 when
    memory ran out, 2 when a check of the kernel failed.

    Raises:
        AssertionError: when the source does not declare a function of the module, or declares it
            with another number of parameters.
    """

    # Elements that C has no type for are named by our headers; 4-bit ones lie in bytes.
    TYPE_MAP: ClassVar[dict[str, str]] = {
        "float64": "double", "float32": "float", "tfloat32": "float", "bool": "_Bool",
        **dict.fromkeys(("int4", "uint4", "float4_e2m1_unpacked"), "uint8_t"),
        **{f"{u}int{n}": f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)},
        "handle": "void *",
    }  # fmt: skip
    HEADERS: ClassVar[tuple[str, ...]] = ("runtime.h", "fault.h", "types.h")
    INIT_FUNC: ClassVar[str] = """
static _Thread_local int32_t tl_last_code; /* of `call`, in this thread */

TL_API int32_t init(void) {
  tl_last_code = 0;
  return 0;
}

TL_API const char *get_last_error(void) {
  if (tl_last_code == 0) return "";
  if (tl_last_code == 1) return "out of memory for the buffers of its blocks";
  return tl_last_code == TL_CODE_FAULT ? tl_fault_message() : "the kernel failed";
}
"""
    CALL_PREFIX: ClassVar[str] = """
TL_API int32_t call({}) {{
  return tl_last_code = {};
}}
"""

    dynamic_smem_buf: int | None = None

    def parse_source_information(self) -> None:
        """Find the host functions that `call` has to run, in the order of the module.

        Raises:
            AssertionError: when the module has no function.
        """
        functions = (self.host_mod or self.mod).functions
        assert functions, "the module has no function"
        self.function_names = list(functions)

    def get_cpu_init_func(self) -> str:
        """Text of `init` and `get_last_error`."""
        includes = "".join(f'\n#include "{header}"' for header in self.HEADERS)
        return f"{includes}\n{self.INIT_FUNC}"

    def create_call_func(
        self, code: str, function_informations: Mapping[str, dict[str, Any]]
    ) -> str:
        """Text of `call`, which runs the functions one after the other until one fails.

        Args:
            code: source in which they are declared.
            function_informations: function -> `function_name` (in the source), `function_params`.

        Raises:
            AssertionError: when one is not declared, or with another number of parameters.
        """
        names = Names(["call", "init", "get_last_error", "tl_last_code"])
        names.reserve(*(info["function_name"] for info in function_informations.values()))
        parameters = (
            ", ".join(self._parameter(p, names) for p in _parameters(self.prim_func)) or "void"
        )
        calls: list[str] = []
        for info in function_informations.values():
            name, params = info["function_name"], info["function_params"]
            declared = kernel_parameter_names(code, name)
            assert len(declared) == len(params), (
                f"`{name}` is declared with {len(declared)} parameters, expected {len(params)}"
            )
            calls.append(f"{name}({', '.join(self._argument(p, names) for p in params)})")
        return self.CALL_PREFIX.format(parameters, _first_failure(calls))

    def _parameter(self, param: Buffer | Var, names: Names) -> str:
        if isinstance(param, Buffer):
            return f"{self._element_type(param)} *{names.define(param.data)}"
        kind, name = scalar_type(param.dtype), names.define(param)
        return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}"

    def _element_type(self, buffer: Buffer) -> str:
        element = buffer.dtype.element
        found = self.TYPE_MAP.get(element, f"tl_{element}" if element.is_float else None)
        assert found is not None, f"`{buffer.name}`: C has no type for {element}"
        return found

    def _argument(self, param: Buffer | Var, names: Names) -> str:
        """What `call` passes for a parameter of a function: its own one of the same name."""
        var = param.data if isinstance(param, Buffer) else param
        if names.knows(var):
            return names.of(var)
        for own in _parameters(self.prim_func):
            mine = own.data if isinstance(own, Buffer) else own
            if mine.name == var.name:
                return names.of(mine)
        raise AssertionError(f"`{self.prim_func.name}` has no parameter `{var.name}`")

    def update_lib_code(self, code: str) -> str:
        """Source, init and call together."""
        functions = (self.host_mod or self.mod).functions
        informations = {
            name: {"function_name": _callee(code, func), "function_params": _parameters(func)}
            for name, func in functions.items()
        }
        self.lib_code = code + self.get_cpu_init_func() + self.create_call_func(code, informations)
        return self.lib_code


def _parameters(func: PrimFunc) -> list[Buffer | Var]:
    """Parameters of the host function of `func`: its own, then the symbols."""
    return [*func.params, *dynamic_symbols(func)]


def _callee(code: str, func: PrimFunc) -> str:
    """The name under which the source has the host function."""
    wanted = func.name + CALLEE_SUFFIX
    return wanted if f"{wanted}(" in code else func.name


def _first_failure(calls: list[str]) -> str:
    """An expression that runs `calls` in order and is the first result that is not 0."""
    *firsts, last = calls
    return "".join(f"(tl_last_code = {c}) != 0 ? tl_last_code : " for c in firsts) + last


class TLMetalSourceWrapper(SourceWrapper):
    """The library text of a Metal kernel is its source: PyTorch compiles and launches it."""

    def update_lib_code(self, code: str) -> str:
        """`code`, unchanged."""
        self.lib_code = code
        return self.lib_code


_WRAPPERS: dict[str, type[Any]] = {
    "cuda": TLCUDASourceWrapper,
    "hip": TLHIPSourceWrapper,
    "c": TLCPUSourceWrapper,
    "metal": TLMetalSourceWrapper,
}


def _kind(target: Any) -> str:
    """The kind of a target, or of its spelling."""
    return (
        target.split()[0]
        if isinstance(target, str) and target
        else str(getattr(target, "kind", target))
    )


class TLWrapper(BaseWrapper):
    """A wrapper class for the TileLang backend.

    Give it the modules of a compilation, then `wrap` the source.
    """

    device_mod: IRModule | None = None
    host_mod: IRModule | None = None
    pass_configs: dict[str, Any] | None = None
    target: Any = None
    lib: Any = None
    scheduled_ir_module: IRModule | None = None

    def __init__(self, target: Any) -> None:
        super().__init__()
        self.scheduled_ir_module = None
        self.pass_configs = None
        self.host_mod = None
        self.device_mod = None
        self.target = target
        self.lib = None

    def assign_optimized_module(self, scheduled_ir_module: IRModule) -> None:
        """The module with the function that is to be called."""
        self.scheduled_ir_module = scheduled_ir_module

    def assign_pass_configs(self, pass_configs: Mapping[str, Any] | None) -> None:
        """The pass configuration of the compilation."""
        self.pass_configs = None if pass_configs is None else dict(pass_configs)

    def assign_host_module(self, host_mod: IRModule | None) -> None:
        """The lowered module, for its host part."""
        self.host_mod = host_mod

    def assign_device_module(self, device_mod: IRModule | None) -> None:
        """The lowered module, for its device part."""
        self.device_mod = device_mod

    def wrap(self, c_source: str) -> str:
        """`lib_code` for `c_source` and the assigned modules.

        Raises:
            AssertionError: without a module.
            ValueError: for a target without a wrapper.
        """
        wrapper = _WRAPPERS.get(_kind(self.target))
        if wrapper is None:
            raise TargetError(
                f"no library can be made for the target {self.target!s}",
                hint=f"targets with one: {', '.join(_WRAPPERS)}",
            )
        return self._source_wrapper(wrapper, c_source).lib_code

    def _source_wrapper(self, wrapper: type[Any], source: str) -> Any:
        assert self.scheduled_ir_module is not None, "assign_optimized_module comes before wrap"
        return wrapper(
            scheduled_ir_module=self.scheduled_ir_module,
            source=source,
            target=self.target,
            device_mod=self.device_mod,
            host_mod=self.host_mod,
            pass_configs=self.pass_configs,
        )


class TLPyWrapper(TLWrapper):
    """A wrapper class for the TileLang backend.

    Its launchers are Python text, for runtime compilation.
    """

    def wrap(self, c_source: str) -> tuple[str, list[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(text of the launcher, names of the kernels) for the CUDA text `c_source`.

        Raises:
            AssertionError: without a module.
            ValueError: for a target other than CUDA.
        """
        if _kind(self.target) != "cuda":
            raise TargetError(
                f"launchers in Python are made for the target `cuda`, not for {self.target!s}"
            )
        made: TLNVRTCSourceWrapper = self._source_wrapper(TLNVRTCSourceWrapper, c_source)
        assert made.function_names is not None
        return made.host_func, made.function_names


__all__ = [
    "KERNEL_LAUNCH_FUNC_PY", "L2_PERSISTENT_MAP_CREATE_HANDLE", "L2_PERSISTENT_MAP_INIT_FUNC",
    "L2_PERSISTENT_MAP_RESET_HANDLE", "PREDEF_ATTRIBUTE_SET_DYNAMIC_MEMORY",
    "PREDEF_ATTRIBUTE_SET_DYNAMIC_MEMORY_HIP", "PREDEF_HOST_FUNC", "PREDEF_HOST_FUNC_PY",
    "PREDEF_INIT_FUNC", "TMA_DESC_INIT_FUNC", "TMA_DESC_INIT_FUNC_PY", "TMA_IM2COL_DESC_INIT_FUNC",
    "BaseWrapper", "TLCPUSourceWrapper", "TLCUDASourceWrapper", "TLHIPSourceWrapper",
    "TLMetalSourceWrapper", "TLNVRTCSourceWrapper", "TLPyWrapper", "TLWrapper", "logger",
]  # fmt: skip
