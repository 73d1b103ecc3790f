"""The `nvrtc` backend: CUDA kernels called from Python alone, through `cuda-bindings`.

In: what `base` takes. Out: for `base`, a function that checks every argument and launches on
PyTorch's current stream. No host compiler is needed, nor apache-tvm-ffi. The Python that runs at a
call is printed once per kernel (`nvrtc_launch.py`); where it says that arguments are not the usual
ones, `cython_arguments` looks again and names the fault.
"""

from __future__ import annotations

import ctypes
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tilelang.codegen.host_c import CUDA
from tilelang.engine import cuda_driver
from tilelang.engine.builder import DeviceCode
from tilelang.engine.cuda_build import CUBIN_FILE, CudaCode, compile_cubin
from tilelang.engine.lower import as_prim_func, lower
from tilelang.engine.nvrtc import CompiledCubin
from tilelang.engine.runtime import Module
from tilelang.errors import ResourceError
from tilelang.ir.buffer import Buffer
from tilelang.ir.func import PrimFunc
from tilelang.jit.adapter.base import BaseKernelAdapter
from tilelang.jit.adapter.cython_arguments import Arguments
from tilelang.jit.adapter.nvrtc_launch import KernelRow, LauncherPrinter
from tilelang.target.registry import determine_target
from tilelang.target.target import Target
from tilelang.transform.plan_shared_memory import MAX_BLOCKS

_OUT_OF_MEMORY = 2
_COOPERATIVE = 2  # CUlaunchAttributeID: of the attribute whose value is whether a launch is so
_ATTRIBUTE_WORDS = 18  # its number, 4 bytes, then 64 for the value


class NVRTCKernelAdapter(BaseKernelAdapter):
    """Runs a compiled kernel on PyTorch tensors.

    Attributes:
        host_kernel_source, device_kernel_source: Python text that launches, and the kernel's text.
        cubin: the kernels, as loaded.
        compiled: what NVRTC said; `None` for a kernel found in the cache.
        func: what users call; also takes `stream`, a raw handle, by name.

    Raises:
        ToolchainError: when NVRTC is missing, or fails.
    """

    library_file: ClassVar[str] = CUBIN_FILE
    host_suffix: ClassVar[str] = ".py"
    needs_host_compiler: ClassVar[bool] = False

    outputs_place: str | None = CUDA.name

    def _open(
        self, func: PrimFunc, target: Target, module: Module | None, library: Path | None
    ) -> Callable[..., None]:
        del module  # of the default backend: it is not called from here
        source, host = self.device_kernel_source, self.host_kernel_source
        if source is None or (host is None and self.device_mod is None):
            artifact = lower(func, target, pass_configs=self.pass_configs)
            self.device_kernel_source = self.kernel_global_source = source or artifact.kernel_source
            self.host_mod, self.device_mod = artifact.host_mod, artifact.device_mod
        if host is None:
            assert self.device_mod is not None
            host = LauncherPrinter(func, as_prim_func(self.device_mod)).text()
            self.host_kernel_source = host
        self.compiled: CompiledCubin | None = None
        self.cubin = self._compile(func, target) if library is None else library.read_bytes()
        self._launcher = Launcher(func, host, self.cubin)
        return self._launcher.call

    def _compile(self, func: PrimFunc, target: Target) -> bytes:
        source = self.device_kernel_source or ""
        self.compiled = compile_cubin(func, source, target, self._flags(func, target))
        return self.compiled.cubin

    def device_code(self) -> DeviceCode:
        """What NVRTC made."""
        target: Target = determine_target(self.target)
        source, flags = self.device_kernel_source or "", self._flags(self.prim_func, target)
        return CudaCode(self.prim_func, source, target, flags, self.cubin, self.compiled)

    def binaries(self) -> dict[str, Path | bytes]:
        """The kernels."""
        return {CUBIN_FILE: self.cubin}


class Launcher:
    """Calls the kernels of one function; loads them once per device.

    Args:
        func: as traced.
        text: of `LauncherPrinter`.
        cubin: the kernels.
    """

    def __init__(self, func: PrimFunc, text: str, cubin: bytes) -> None:
        self.func = func
        self.arguments = Arguments(func, CUDA)
        self._cubin = cubin
        self._library: cuda_driver.Library | None = None
        self._functions: dict[int, list[ctypes.c_void_p]] = {}
        self._lock = threading.Lock()
        self._kinds: dict[int, set[Any]] = {
            k: set() for k, p in enumerate(func.params) if isinstance(p, Buffer)
        }
        names = self._globals = self._names()
        exec(compile(text, f"<launcher of {func.name}>", "exec"), names)
        self.kernels = [KernelRow(*row) for row in names["tl_kernels"]]
        self.memory = names["tl_memory"] = _ThreadMemory(self.kernels)
        for k, row in enumerate(self.kernels):
            names[f"tl_pack_{k}"] = struct.Struct(row.format).pack_into
        self._launch: Callable[..., None] = names["launch"]
        # Run on these arguments, outputs included; `stream` by name. Returns before the kernels
        # have run. Raises ArgumentError (a wrong count, shape, dtype, stride, device or alignment)
        # or RuntimeError (the driver refuses: with kernel, line and CUDA's error).
        self.call: Callable[..., None] = names["call"]

    def _names(self) -> dict[str, Any]:
        """What the text calls; the driver's functions join them when kernels are loaded."""
        return {
            "tl_functions_on": self.functions_on,
            "tl_loaded": self._functions,
            "tl_current_device": current_device,
            "tl_current_stream": current_stream,
            "tl_look_again": self.look_again,
            "tl_launch_on": self.launch_on,
            "tl_failed": self.fail,
            "tl_allocate": self.allocate,
            "tl_free": _free,
            **{f"tl_kinds_{k}": kinds for k, kinds in self._kinds.items()},
        }

    # -- what the text calls ----------------------------------------------------------------------

    def look_again(self, args: Sequence[Any], stream: int | None) -> None:
        """Run on arguments of any accepted kind; what is wrong with them is said here."""
        device, *values = self._values(args)
        self.launch_on(device, current_stream(device) if stream is None else stream, *values)

    def launch_on(self, device: int, stream: int, *values: Any) -> None:
        """Launch where the device may not be the current one, or this thread has no context."""
        if device == current_device():  # PyTorch makes its context current when it must
            if not self.memory.has_context:
                cuda_driver.ensure_context(device)
                self.memory.has_context = True
            self._launch(device, stream, *values)
            return
        with cuda_driver.device_scope(device):
            self._launch(device, stream, *values)

    def _values(self, args: Sequence[Any]) -> list[Any]:
        """Device and values, from arguments of any accepted kind."""
        values = self.arguments.convert(args)
        devices = [args[k].device.index for k in self._kinds if args[k] is not None]
        for k, kinds in self._kinds.items():
            if args[k] is not None:
                kinds.add(args[k].dtype)  # from now on known to be right
        return [devices[0] if devices else current_device(), *values]

    def functions_on(self, device: int) -> list[ctypes.c_void_p]:
        """The kernels on one device; loads them."""
        with self._lock, cuda_driver.device_scope(device), cuda_driver.outside_capture():
            if self._library is None:
                self._library = cuda_driver.Library(self._cubin)
                self._globals["tl_launch"] = cuda_driver.launch_function()
                self._globals.update(_direct_queries())
            made: list[ctypes.c_void_p] = []
            for k in self.kernels:
                kernel = self._library.kernel(k.name)
                if k.shared_bytes:
                    kernel.set_dynamic_shared_bytes(k.shared_bytes)
                made.append(ctypes.c_void_p(int(kernel.function())))
            self._functions[device] = made
        return made

    def fail(self, index: int, code: Any, device: int, grid: tuple[int, int, int]) -> None:
        """Raise what a launch that the driver refused is."""
        k = self.kernels[index]
        if any(n > most for n, most in zip(grid, MAX_BLOCKS)):
            raise ResourceError(
                f"{self.func.name}(): kernel {k.name} ({k.place}): a grid of {grid} blocks; "
                f"at most {MAX_BLOCKS}"
            )
        raise _error(
            code,
            f"{self.func.name}(): kernel {k.name} ({k.place}) on cuda:{device}, grid {grid}, "
            f"block {k.block}, {k.shared_bytes} bytes of dynamic shared memory",
        )

    def allocate(self, num_bytes: int, stream: int, device: int) -> int:
        """Memory for a workspace, in stream order."""
        code, address = cuda_driver.driver().cuMemAllocAsync(max(num_bytes, 1), stream)
        if int(code) != 0:
            raise _error(
                code, f"{self.func.name}(): workspace of {num_bytes} bytes on cuda:{device}"
            )
        return int(address)


class KernelMemory(NamedTuple):
    """Launch configuration and parameters of one kernel, where one thread writes them.

    Attributes:
        bytes: what `KernelRow.format` packs into.
        config: its address.
        parameters: address of the list of the parameters' addresses.
        attributes: address of the launch attributes, for cooperative kernels.
    """

    bytes: ctypes.Array[ctypes.c_char]
    config: ctypes.c_void_p
    parameters: ctypes.c_void_p
    attributes: int


class _ThreadMemory(threading.local):
    """What each thread has of its own: made in it when it first asks."""

    has_context = False  # a context was current in this thread

    def __init__(self, rows: Sequence[KernelRow]) -> None:
        self._kept = [_kernel_memory(row) for row in rows]
        self.kernels = [memory for memory, _ in self._kept]


def _kernel_memory(row: KernelRow) -> tuple[KernelMemory, tuple[Any, ...]]:
    """Memory for a kernel, and what has to live as long."""
    memory = ctypes.create_string_buffer(struct.calcsize(row.format))
    start, offsets = ctypes.addressof(memory), row.offsets
    listed = (ctypes.c_void_p * max(len(offsets), 1))(*(start + o for o in offsets))
    attribute = (ctypes.c_uint32 * _ATTRIBUTE_WORDS)(_COOPERATIVE, 0, int(row.cooperative))
    made = KernelMemory(
        memory,
        ctypes.c_void_p(start),
        ctypes.c_void_p(ctypes.addressof(listed)),
        ctypes.addressof(attribute),
    )
    return made, (listed, attribute)


def _error(code: Any, what: str) -> Exception:
    kind = MemoryError if int(code) == _OUT_OF_MEMORY else RuntimeError
    return kind(f"{what}: {cuda_driver.error_text(code)}")


def _free(address: int, stream: int) -> None:
    cuda_driver.driver().cuMemFreeAsync(address, stream)


def _direct_queries() -> dict[str, Callable[..., int]]:
    """PyTorch's own functions for its current device and stream, where it has them."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch._C, "_cuda_getCurrentRawStream"):
        return {}
    return {
        "tl_current_device": torch._C._cuda_getDevice,
        "tl_current_stream": torch._C._cuda_getCurrentRawStream,
    }


def current_device() -> int:
    """PyTorch's current device, or the first."""
    torch = sys.modules.get("torch")
    if torch is None:
        return 0
    return int(torch._C._cuda_getDevice()) if hasattr(torch._C, "_cuda_getDevice") else 0


def current_stream(device: int) -> int:
    """Handle of PyTorch's current stream on `device`; 0, the default stream, without PyTorch."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch._C, "_cuda_getCurrentRawStream"):
        return 0
    return int(torch._C._cuda_getCurrentRawStream(device))
