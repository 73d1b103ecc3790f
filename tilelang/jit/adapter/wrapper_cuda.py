"""Device source and lowered modules -> library text for CUDA.

In: device text that declares the kernels, and the function whose launches they are. Out:
`lib_code`, text of a library with `init`, `get_last_error` and `call` (a plain C interface), for a
compiler that knows both host and device code. The texts that the reference fixes stand in
`wrapper_templates.py`; what the module says is read in `wrapper_facts.py`. HIP's differences are in
`wrapper_hip.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr, Var, const_value
from tilelang.ir.func import RESTRICT_DROPPED, PrimFunc
from tilelang.ir.stmt import Launch
from tilelang.jit.adapter import wrapper_templates as templates
from tilelang.jit.adapter.wrapper_facts import (
    KernelFacts,
    TensorMapRecord,
    buffer_bytes,
    kernel_parameter_names,
    kernels_of,
    main_function,
    tensor_maps_of,
)
from tilelang.jit.adapter.wrapper_launch import (
    CPP,
    HostExpressions,
    HostLanguage,
    HostPrinter,
    constant_or_text,
)
from tilelang.jit.adapter.wrapper_source import SourceWrapper
from tilelang.jit.adapter.wrapper_tma import buffer_of_handle, parse_tensor_map, records_of

_INDENT = "\t"
# In front of `init`; sources that bring a driver wrapper of their own keep it.
_HOST_PRELUDE = """
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <{header}>
#ifndef CUTLASS_CUDA_DRIVER_WRAPPER_CALL
#define CUTLASS_CUDA_DRIVER_WRAPPER_CALL(function) function
#endif
#define TL_HOST_CHECK(expression) do {{ \\
    {runtime}Error_t result = (expression); \\
    if (result != {runtime}Success) {{ \\
      const char* why = {runtime}GetErrorString(result); \\
      snprintf(error_buf, ERROR_BUF_SIZE, "%s: %s", #expression, why); \\
      return -1; \\
    }} \\
  }} while (0)
"""
_LAUNCH_CHECK = """\
	{runtime}Error_t result_{name} = {runtime}GetLastError();
	if (result_{name} != {runtime}Success) {{
		snprintf(error_buf, ERROR_BUF_SIZE, "{name}: %s", {runtime}GetErrorString(result_{name}));
		return -1;
	}}
"""
_L2_LIMIT = """\
	int l2_device = 0, l2_maximum = 0;
	cudaGetDevice(&l2_device);
	cudaDeviceGetAttribute(&l2_maximum, cudaDevAttrMaxPersistingL2CacheSize, l2_device);
"""


# What `call` names a type, and what device code that includes `device/cuda/types.h` does.
_DEVICE_TYPES = {
    "half_t": "tl_float16", "bfloat16_t": "tl_bfloat16", "fp8_e4_t": "tl_float8_e4m3fn",
    "fp8_e5_t": "tl_float8_e5m2",
}  # fmt: skip


def _aliases(code: str, call: str) -> str:
    """Definitions of the types that `call` uses and `code` has under another name."""
    if '#include "types.h"' not in code:
        return ""

    def has(word: str, text: str) -> bool:
        return re.search(rf"\b{word}\b", text) is not None

    wanted = [n for n in _DEVICE_TYPES if has(n, call) and not has(n, code)]
    return "".join(f"\nusing {n} = {_DEVICE_TYPES[n]};" for n in wanted) + "\n" * bool(wanted)


class TLCUDASourceWrapper(SourceWrapper):
    """Makes the library text of a CUDA kernel; `lib_code` is it.

    Attributes:
        function_names: kernels in the order in which they are launched.
        block_info, grid_info: extents by kernel; `dynamic_smem_buf`: bytes or `None` by kernel.
        use_cooperative_groups: whether all blocks of a kernel have to run at once, by kernel.
        tma_descriptor_args: handle name -> (creator, handle, values), as the host makes it.
        l2_persistent_map: kernel -> {buffer name: (hit ratio, size in bytes or `None`)}.

    Raises:
        AssertionError: when there is no kernel, or not exactly one host function, or a kernel's
            declaration does not fit its launch.
    """

    TYPE_MAP: ClassVar[dict[str, str]] = {
        "float32": "float", "float16": "half_t", "bfloat16": "bfloat16_t", "float64": "double",
        "float8_e4m3": "fp8_e4_t", "float8_e4m3fn": "fp8_e4_t", "float8_e5m2": "fp8_e5_t",
        "float8_e8m0fnu": "uint8_t", "float4_e2m1fn": "uint8_t",
        "int64": "int64_t", "int32": "int", "int16": "int16_t", "int8": "int8_t", "bool": "int8_t",
        "uint64": "uint64_t", "uint32": "unsigned int", "uint16": "uint16_t", "uint8": "uint8_t",
        "uchar": "uint8_t", "int4": "uint8_t", "uint4": "uint8_t", "handle": "void*",
    }  # fmt: skip
    RUNTIME: ClassVar[str] = "cuda"  # prefix of the run-time API
    HEADER: ClassVar[str] = "cuda.h>\n#include <cuda_runtime.h"
    LANGUAGE: ClassVar[HostLanguage] = CPP

    dynamic_smem_buf: dict[str, int | None] | None = None
    block_info: list[int] | dict[str, Any] = [1, 1, 1]
    grid_info: list[int] | dict[str, Any] = [1, 1, 1]
    tma_descriptor_args: dict[str, list[Any]] | None = None
    l2_persistent_map: dict[str, dict[str, tuple[float, int | None]]] | None = None

    # -- what the module says ---------------------------------------------------------------------

    def parse_source_information(self) -> None:
        """Read launches, tensor maps and L2 windows; lowers the module when that was not done yet.

        Raises:
            AssertionError: without a kernel, or with more or fewer than one host function.
        """
        self._expressions = HostExpressions(self.LANGUAGE)
        if self.device_mod is None or self.host_mod is None:
            from tilelang.engine.lower import lower  # only this case compiles

            artifact = lower(self.prim_func, self.target, pass_configs=self.pass_configs)
            self.device_mod, self.host_mod = artifact.device_mod, artifact.host_mod
        assert len(self.device_mod) >= 1, "the device module has no function"
        assert len(self.host_mod) == 1, (
            f"the host module has {len(self.host_mod)} functions, expected one"
        )
        kernels = kernels_of(self._host())
        assert kernels, f"`{self._host().name}` launches no kernel"
        self._kernels: dict[str, KernelFacts] = {k.name: k for k in kernels}
        self.function_names = [k.name for k in kernels]
        self.block_info = {k.name: list(k.block) for k in kernels}
        self.grid_info = {k.name: list(k.grid) for k in kernels}
        self.dynamic_smem_buf = {k.name: k.dynamic_shared_bytes for k in kernels}
        self.use_cooperative_groups = {k.name: k.is_cooperative for k in kernels}
        self._tensor_maps: list[TensorMapRecord] = tensor_maps_of(self._host())
        self.tma_descriptor_args = {
            r.handle.name: [r.creator, r.handle, *r.arguments] for r in self._tensor_maps
        }
        self.l2_persistent_map = {
            k.name: {b.data.name: (ratio, _constant_bytes(b)) for b, ratio in k.l2_windows}
            for k in kernels
            if k.l2_windows
        }

    def is_tma_descriptor_arg(self, arg_name: str) -> bool:
        """Whether a tensor parameter has this name, so that descriptors can be made of it."""
        return any(arg_name == b.data.name for b in self.prim_func.buffer_params)

    def get_stream_type(self) -> dict[str, str]:
        """Name (with its default) and type of the stream parameter."""
        return {"name": "stream=cudaStreamDefault", "type": "cudaStream_t"}

    # -- init -------------------------------------------------------------------------------------

    def get_init_func(self) -> str:
        """Text of `init` and `get_last_error`."""
        assert self.dynamic_smem_buf is not None
        body = "".join(
            self._shared_memory_text(name, size)
            for name, size in self.dynamic_smem_buf.items()
            if size is not None
        )
        return templates.PREDEF_INIT_FUNC.format(body)

    def _shared_memory_text(self, kernel: str, size: int) -> str:
        return templates.PREDEF_ATTRIBUTE_SET_DYNAMIC_MEMORY.format(kernel, size)

    # -- call -------------------------------------------------------------------------------------

    def parameters(self) -> list[dict[str, str]]:
        """Name and type of each parameter of `call` but the stream: arguments, then symbols."""
        dropped = frozenset(self.prim_func.attribute(RESTRICT_DROPPED, ()))
        found: list[dict[str, str]] = []
        for param in self.prim_func.params:
            if isinstance(param, Buffer):
                found.append(
                    {
                        "name": param.data.name,
                        "type": self._pointer_type(param, param.name in dropped),
                    }
                )
            else:
                found.append({"name": param.name, "type": self._type(param.dtype)})
        symbols = self.get_dynamic_symbolic_set(self.prim_func)
        return [*found, *({"name": name, "type": self._type(kind)} for name, kind in symbols)]

    def _pointer_type(self, buffer: Buffer, may_alias: bool) -> str:
        restrict = "" if may_alias else " __restrict__"
        return f"{self._type(buffer.dtype.element)}*{restrict}"

    def _type(self, kind: str) -> str:
        found = self.TYPE_MAP.get(str(kind))
        assert found is not None, f"{type(self).__name__} has no type for {kind}"
        return found

    def create_dispatch_func(
        self, code: str, function_informations: Mapping[str, dict[str, Any]]
    ) -> str:
        """Text of `call`: descriptors, then the host statements with their launches.

        Args:
            code: source in which the kernels are declared.
            function_informations: kernel -> `function_name`, `block_info`, `grid_info`,
                `dynamic_smem_buf`, `function_params`.

        Raises:
            AssertionError: when a kernel is not declared, or with other parameters.
        """
        arguments = {
            name: self._call_arguments(code, info) for name, info in function_informations.items()
        }
        descriptors = {
            n: v for names in arguments.values() for n, v in names.items() if self._is_handle(n)
        }
        owners = {name: buffer_of_handle(name) for name in descriptors}
        head = self.generate_tma_descriptor_args(owners, descriptors)
        if self.l2_persistent_map:
            head += templates.L2_PERSISTENT_MAP_CREATE_HANDLE + _L2_LIMIT
        of_launch = {id(k.launch): name for name, k in self._kernels.items()}

        def launch_text(node: Launch) -> str:
            name = of_launch[id(node)]
            return self._launch_text(function_informations[name], list(arguments[name]))

        body = HostPrinter(self.LANGUAGE, self._expressions, launch_text).body(self._host().body)
        stream = self.get_stream_type()
        parameters = [*self.parameters(), stream]
        text = ", ".join(f"{p['type']} {p['name']}" for p in parameters)
        return templates.PREDEF_HOST_FUNC.format(text, head + body)

    def _is_handle(self, name: str) -> bool:
        return any(r.handle.name == name for r in self._tensor_maps)

    def _call_arguments(self, code: str, info: Mapping[str, Any]) -> dict[str, Var]:
        """Argument name -> variable of the host, in the order in which the kernel declares them."""
        kernel, params = info["function_name"], info["function_params"]
        known = {var.name: var for var in (*self._host_variables(), *params)}
        declared = kernel_parameter_names(code, kernel)
        missing = [var.name for var in params if var.name not in declared]
        unknown = [name for name in declared if name not in known]
        assert not missing and not unknown and len(set(declared)) == len(declared), (
            f"the kernel `{kernel}` is declared with {declared}: "
            f"{missing or 'nothing'} is missing, {unknown or 'nothing'} is unknown to the host"
        )
        return {name: known[name] for name in declared}

    def _host_variables(self) -> list[Var]:
        """What `call` is given; a kernel may take more of it than its body needs."""
        params = [p.data if isinstance(p, Buffer) else p for p in self.prim_func.params]
        return [*params, *dynamic_symbols(self.prim_func)]

    def _launch_text(self, info: Mapping[str, Any], arguments: list[str]) -> str:
        name = info["function_name"]
        grid, block = (self._dim3(info[k]) for k in ("grid_info", "block_info"))
        shared = info["dynamic_smem_buf"] or 0
        text = self.generate_l2_persistent_map(name)
        if self.use_cooperative_groups.get(name):
            addresses = ", ".join(f"(void*)&{a}" for a in arguments) or "0"
            text += f"{_INDENT}void* {name}_args[] = {{{addresses}}};\n"
            text += (
                f"{_INDENT}TL_HOST_CHECK({self.RUNTIME}LaunchCooperativeKernel("
                f"(void*){name}, {grid}, {block}, {name}_args, {shared}, stream));\n"
            )
        else:
            text += (
                f"{_INDENT}{name}<<<{grid}, {block}, {shared}, stream>>>({', '.join(arguments)});\n"
            )
            text += _LAUNCH_CHECK.format(name=name, runtime=self.RUNTIME)
        if self.l2_persistent_map and name in self.l2_persistent_map:
            text += templates.L2_PERSISTENT_MAP_RESET_HANDLE
        return f"{_INDENT}{{\n{text}{_INDENT}}}"

    def _dim3(self, extents: Any) -> str:
        return f"dim3({', '.join(constant_or_text(e, self._expressions) for e in extents)})"

    def generate_l2_persistent_map(self, function_name: str) -> str:
        """Text that gives the buffers of one kernel their windows in the L2 cache, if any.

        A window is as large as its buffer, at most what the device allows.
        """
        kernel = self._kernels.get(function_name)
        if kernel is None:
            return ""
        text = ""
        for buffer, ratio in kernel.l2_windows:
            size = f"(size_t)({self._expressions.text(buffer_bytes(buffer))})"
            limited = f"({size} < (size_t)l2_maximum ? {size} : (size_t)l2_maximum)"
            text += templates.L2_PERSISTENT_MAP_INIT_FUNC.format(buffer.data.name, ratio, limited)
        return text

    def generate_tma_descriptor_args(
        self, desc_name_map: Mapping[str, str], desc_name_var_map: Mapping[str, Var]
    ) -> str:
        """Text that makes the descriptors.

        Args:
            desc_name_map: descriptor -> the buffer it describes.
            desc_name_var_map: descriptor -> handle variable.

        Raises:
            ValueError: for a record with too few values or without a positive rank.
        """
        handles = [desc_name_var_map[name].name for name in desc_name_map]
        text = ""
        for record in records_of(self._tensor_maps, handles):
            parsed = parse_tensor_map(record, self._expressions.text)
            text += parsed.fill(parsed.handle, parsed.c_template)
        return text

    def update_lib_code(self, code: str) -> str:
        """Source, init and call together.

        Raises:
            AssertionError: when a kernel's declaration does not fit its launch.
        """
        call = self.create_dispatch_func(code, self.informations())
        parts = (code, _aliases(code, call), self._prelude(), self.get_init_func(), call)
        self.lib_code = "".join(parts)
        return self.lib_code

    def _prelude(self) -> str:
        return _HOST_PRELUDE.format(header=self.HEADER, runtime=self.RUNTIME)

    def informations(self) -> dict[str, dict[str, Any]]:
        """What `create_dispatch_func` is given: kernel -> facts of its launch."""
        return {
            k.name: {
                "function_name": k.name,
                "block_info": list(k.block),
                "grid_info": list(k.grid),
                "dynamic_smem_buf": k.dynamic_shared_bytes,
                "function_params": list(k.params),
            }
            for k in self._kernels.values()
        }

    # -- the functions ----------------------------------------------------------------------------

    @property
    def device_func(self) -> PrimFunc:
        """The function that the device module holds."""
        assert self.device_mod is not None, "the device module comes with parse_source_information"
        return main_function(self.device_mod, "device module")

    @property
    def host_func(self) -> PrimFunc:
        """The function that launches."""
        return self._host()

    def _host(self) -> PrimFunc:
        assert self.host_mod is not None, "the host module comes with parse_source_information"
        return main_function(self.host_mod, "host module")


def _constant_bytes(buffer: Buffer) -> int | None:
    size: Expr = buffer_bytes(buffer)
    number = const_value(size)
    return None if number is None else int(number)
