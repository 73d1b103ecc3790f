"""Device source and lowered modules -> a Python launcher over `cuda.bindings` (nvrtc backend).

As `wrapper_cuda.py`, with Python for the host side: `call(kernels, <arguments>, stream=0)`, where
`kernels` maps names to loaded kernels. The CUDA text itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.stmt import Launch
from tilelang.jit.adapter import wrapper_templates as templates
from tilelang.jit.adapter.wrapper_cuda import TLCUDASourceWrapper
from tilelang.jit.adapter.wrapper_facts import KernelFacts, buffer_bytes
from tilelang.jit.adapter.wrapper_launch import PYTHON, HostLanguage, HostPrinter, constant_or_text
from tilelang.jit.adapter.wrapper_tma import parse_tensor_map, records_of

# Behind `call`: driver functions return (status, value...).
_CHECK_FUNC_PY = """

def _check(returned):
    status, *values = returned
    if status != cuda.bindings.driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"CUDA driver call failed: {status}")
    return values[0] if values else None
"""
_L2_CREATE_PY = """
	driver = cuda.bindings.driver
	l2_maximum = _check(driver.cuDeviceGetAttribute(
		driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE, device))
	l2_before = _check(driver.cuCtxGetLimit(driver.CUlimit.CU_LIMIT_PERSISTING_L2_CACHE_SIZE))
	l2_window = driver.CUstreamAttrValue()
"""
# {0} buffer, {1} hit ratio, {2} bytes
_L2_INIT_PY = """
	l2_limit = driver.CUlimit.CU_LIMIT_PERSISTING_L2_CACHE_SIZE
	_check(driver.cuCtxSetLimit(l2_limit, min({2}, l2_maximum)))
	l2_window.accessPolicyWindow.base_ptr = {0}.data_ptr()
	l2_window.accessPolicyWindow.num_bytes = min({2}, l2_maximum)
	l2_window.accessPolicyWindow.hitRatio = {1}
	l2_window.accessPolicyWindow.hitProp = driver.CUaccessProperty.CU_ACCESS_PROPERTY_PERSISTING
	l2_window.accessPolicyWindow.missProp = driver.CUaccessProperty.CU_ACCESS_PROPERTY_STREAMING
	_check(driver.cuStreamSetAttribute(
		stream, driver.CUstreamAttrID.CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW, l2_window))
"""
_L2_CLOSE_PY = """
	l2_window.accessPolicyWindow.num_bytes = 0
	_check(driver.cuStreamSetAttribute(
		stream, driver.CUstreamAttrID.CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW, l2_window))
"""
_L2_RESET_PY = """
	_check(driver.cuCtxResetPersistingL2Cache())
	_check(driver.cuCtxSetLimit(driver.CUlimit.CU_LIMIT_PERSISTING_L2_CACHE_SIZE, l2_before))
"""


class TLNVRTCSourceWrapper(TLCUDASourceWrapper):
    """A wrapper class for the TileLang NVRTC backend.

    Attributes:
        lib_code: the CUDA text, unchanged.
        host_func: the Python text.
    """

    # Floats of 16 and 8 bits are passed as their bits.
    TYPE_MAP: ClassVar[dict[str, str]] = {
        "float64": "ctypes.c_double", "float32": "ctypes.c_float",
        "float16": "ctypes.c_uint16", "bfloat16": "ctypes.c_uint16",
        **dict.fromkeys(
            ("float8_e4m3", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"), "ctypes.c_uint8"
        ),
        "bool": "ctypes.c_bool", "handle": "ctypes.c_void_p",
        **{f"{u}int{n}": f"ctypes.c_{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)},
    }  # fmt: skip
    LANGUAGE: ClassVar[HostLanguage] = PYTHON
    _text = ""

    @property
    def host_func(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The Python text of `call`."""
        return self._text

    def get_stream_type(self) -> dict[str, str]:
        """Name (with its default) and type of the stream parameter."""
        return {"name": "stream=0", "type": "int"}

    def update_lib_code(self, code: str) -> str:
        """The CUDA text; the Python text becomes `host_func`.

        Raises:
            AssertionError: when a kernel's declaration does not fit its launch.
        """
        self.lib_code = code
        self._text = self.create_dispatch_func(code, self.informations())
        return self.lib_code

    def create_dispatch_func(
        self, code: str, function_informations: Mapping[str, dict[str, Any]]
    ) -> str:
        """Python text of `call`; arguments as in `TLCUDASourceWrapper.create_dispatch_func`."""
        arguments = {
            name: self._call_arguments(code, info) for name, info in function_informations.items()
        }
        descriptors = [n for names in arguments.values() for n in names if self._is_handle(n)]
        head = f"\n\tdevice = {self._device_text()}\n"
        head += self.generate_tma_descriptor_args({name: name for name in descriptors})
        if self.l2_persistent_map:
            head += _L2_CREATE_PY
        of_launch = {id(k.launch): k for k in self._kernels.values()}

        def launch_text(node: Launch) -> str:
            kernel = of_launch[id(node)]
            return self._python_launch(
                function_informations[kernel.name], arguments[kernel.name], kernel
            )

        body = HostPrinter(PYTHON, self._expressions, launch_text).body(self._host().body)
        tail = _L2_RESET_PY if self.l2_persistent_map else ""
        names = [p["name"] for p in self.parameters()]
        parameters = ", ".join(["kernels", *names, self.get_stream_type()["name"]])
        text = templates.PREDEF_HOST_FUNC_PY.format(
            repr(list(function_informations)), parameters, head + body + tail
        )
        return text + _CHECK_FUNC_PY

    def _device_text(self) -> str:
        names = [b.data.name for b in self.prim_func.buffer_params]
        found = " or ".join(f"getattr({n}, 'device', None)" for n in names)
        return f"getattr({found}, 'index', None) or 0" if found else "0"

    def _python_launch(
        self, info: Mapping[str, Any], arguments: Mapping[str, Var], kernel: KernelFacts
    ) -> str:
        name = info["function_name"]
        extents = [
            constant_or_text(e, self._expressions)
            for k in ("grid_info", "block_info")
            for e in info[k]
        ]
        values, kinds = [], []
        for argument, var in arguments.items():
            value, kind = self._value_and_type(argument, var)
            values.append(value)
            kinds.append(kind)
        text = templates.KERNEL_LAUNCH_FUNC_PY.format(
            name, *extents, info["dynamic_smem_buf"] or 0, _tuple(values), _tuple(kinds), "device"
        )
        window = self.generate_l2_persistent_map(name)
        cooperative = _cooperative(text) if kernel.is_cooperative else text
        return window + cooperative + (_L2_CLOSE_PY if window else "")

    def _value_and_type(self, name: str, var: Var) -> tuple[str, str]:
        if self._is_handle(name):
            return name, "None"  # the driver package knows how to pass its own objects
        if var.dtype.kind != "handle":
            return name, self._type(var.dtype)
        if any(name == p.name for p in self.prim_func.params if not isinstance(p, Buffer)):
            return (
                f"{name}.data_ptr() if hasattr({name}, 'data_ptr') else {name}",
                "ctypes.c_void_p",
            )
        if self.is_tma_descriptor_arg(name):
            return f"{name}.data_ptr() if {name} is not None else 0", "ctypes.c_void_p"
        return name, "ctypes.c_void_p"  # a workspace

    def _pointer_type(self, buffer: Buffer, may_alias: bool) -> str:
        del buffer, may_alias  # Python passes tensors
        return "ctypes.c_void_p"

    def generate_l2_persistent_map(self, function_name: str) -> str:
        """Python text of the windows of one kernel; empty without any."""
        kernel = self._kernels.get(function_name)
        windows = kernel.l2_windows if kernel is not None else ()
        return "".join(
            _L2_INIT_PY.format(
                buffer.data.name, ratio, self._expressions.text(buffer_bytes(buffer))
            )
            for buffer, ratio in windows
        )

    def generate_tma_descriptor_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, desc_name_map: Mapping[str, str], desc_name_var_map: Mapping[str, Var] | None = None
    ) -> str:
        """Python text that makes the descriptors named in `desc_name_map`, each once.

        Raises:
            ValueError: for a record with too few values or without a positive rank.
        """
        del desc_name_var_map
        text = ""
        for record in records_of(self._tensor_maps, desc_name_map):
            parsed = parse_tensor_map(record, self._expressions.text)
            if parsed.is_im2col:
                text += parsed.fill(parsed.handle, _IM2COL_PY)
            else:
                text += parsed.fill(parsed.handle, templates.TMA_DESC_INIT_FUNC_PY)
        return text


def _tuple(values: list[str]) -> str:
    return f"({', '.join(values)},)" if values else "()"


def _cooperative(text: str) -> str:
    """The launch with the attribute that makes all blocks run at once."""
    return text.replace(
        "\tconfig.hStream = stream\n",
        "\tconfig.hStream = stream\n"
        "\tattribute = cuda.bindings.driver.CUlaunchAttribute()\n"
        "\tattribute_ids = cuda.bindings.driver.CUlaunchAttributeID\n"
        "\tattribute.id = attribute_ids.CU_LAUNCH_ATTRIBUTE_COOPERATIVE\n"
        "\tattribute.value.cooperative = 1\n"
        "\tconfig.attrs = [attribute]\n"
        "\tconfig.numAttrs = 1\n",
    )


# Slots of TMA_IM2COL_DESC_INIT_FUNC.
_IM2COL_PY = """
	res, {0} = cuda.bindings.driver.cuTensorMapEncodeIm2col(
		cuda.bindings.driver.CUtensorMapDataType({1}),
		{2},
		{3}.data_ptr(),
		[{4}],
		[{5}][1:],
		[{7}],
		[{8}],
		{9},
		{10},
		[{6}],
		cuda.bindings.driver.CUtensorMapInterleave({11}),
		cuda.bindings.driver.CUtensorMapSwizzle({12}),
		cuda.bindings.driver.CUtensorMapL2promotion({13}),
		cuda.bindings.driver.CUtensorMapFloatOOBfill({14}),
	)

	if res != cuda.bindings.driver.CUresult.CUDA_SUCCESS:
		raise RuntimeError(f"Failed to initialize the TMA descriptor {0}: {{res}}")
"""
