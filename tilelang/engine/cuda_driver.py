"""The CUDA driver, as little of it as a kernel needs: devices, cubins, launches, memory.

In: a cubin from `engine.nvrtc`; launch dimensions and arguments from an adapter. Out: properties of
devices, for `target`; loaded kernels, for adapters. Opened on first use through `cuda-bindings`;
without a driver everything here raises `TargetError`. It uses each device's primary context, which
PyTorch uses too, and makes it current only where the thread has none. Keeps open what it opened;
chooses no stream and no device by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from tilelang.errors import ResourceError, TargetError

_DRIVER_HINT = "install NVIDIA's driver, or compile for target='c'"
_OUT_OF_MEMORY, _NO_BINARY, _INVALID_IMAGE, _TOO_NEW = 2, 209, 200, 222
_ARCH_SPECIFIC = (90, 100, 103, 110, 120, 121)  # have instructions under the suffix `a` alone


@dataclass(frozen=True, slots=True)
class DeviceProperties:
    """What a device can do."""

    ordinal: int
    name: str
    compute_capability: tuple[int, int]
    num_multiprocessors: int
    warp_size: int
    max_threads_per_block: int
    max_shared_bytes_per_block: int  # the most that can be asked for
    shared_bytes_per_multiprocessor: int
    registers_per_multiprocessor: int
    max_threads_per_multiprocessor: int
    l2_bytes: int
    memory_bytes: int

    @property
    def arch(self) -> str:
        """The architecture to compile for: `sm_90a`, with the suffix where there is one."""
        number = 10 * self.compute_capability[0] + self.compute_capability[1]
        return f"sm_{number}{'a' if number in _ARCH_SPECIFIC else ''}"


# -- the driver and its devices -------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def driver() -> Any:
    """The bindings, initialised.

    Raises:
        TargetError: without bindings, driver or device.
    """
    try:
        bindings: Any = importlib.import_module("cuda.bindings.driver")  # optional, slow to import
    except ImportError as error:
        raise TargetError(
            f"running on CUDA needs the driver's Python bindings: {error}",
            hint="pip install cuda-bindings (or: pip install 'tilelang[cuda]')",
        ) from None
    try:
        (code,) = bindings.cuInit(0)
    except (RuntimeError, OSError) as error:  # the library is opened by the first call
        raise TargetError(f"this machine has no CUDA driver: {error}", hint=_DRIVER_HINT) from None
    if int(code) != 0:
        raise TargetError(f"the CUDA driver does not start: {_name(code)}", hint=_DRIVER_HINT)
    return bindings


@functools.lru_cache(maxsize=1)
def launch_function() -> Any:
    """`cuLaunchKernelEx(configuration, function, list of parameters, None) -> result`.

    Called without the bindings, whose checks of eleven arguments cost more than the launch itself.

    Raises:
        TargetError: for a driver older than CUDA 11.8.
    """
    driver()  # opens the library
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        found = ctypes.CDLL(name).cuLaunchKernelEx
    except (OSError, AttributeError) as error:
        raise TargetError(
            f"the CUDA driver cannot be called: {error}", hint="update NVIDIA's driver"
        ) from None
    found.restype = ctypes.c_int  # arguments are pointers, given as `c_void_p`
    return found


def is_available() -> bool:
    """Whether there is a driver and a device."""
    try:
        return device_count() > 0
    except TargetError:
        return False


def driver_version() -> tuple[int, int]:
    """Newest CUDA version that the driver knows, such as (13, 0)."""
    (number,) = _call("cuDriverGetVersion")
    return int(number) // 1000, int(number) % 1000 // 10


def device_count() -> int:
    """Number of devices."""
    return int(_call("cuDeviceGetCount")[0])


@functools.lru_cache(maxsize=64)
def device_properties(ordinal: int = 0) -> DeviceProperties:
    """What device `ordinal` is.

    Raises:
        TargetError: without a driver, or when there is no such device.
    """
    device = _device(ordinal)
    kind = driver().CUdevice_attribute

    def attribute(name: str) -> int:
        key = getattr(kind, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(_call("cuDeviceGetAttribute", key, device)[0])

    (name,) = _call("cuDeviceGetName", 256, device)
    (memory,) = _call("cuDeviceTotalMem", device)
    return DeviceProperties(
        ordinal=ordinal,
        name=bytes(name).split(b"\0")[0].decode(errors="replace"),
        compute_capability=(
            attribute("COMPUTE_CAPABILITY_MAJOR"),
            attribute("COMPUTE_CAPABILITY_MINOR"),
        ),
        num_multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
        warp_size=attribute("WARP_SIZE"),
        max_threads_per_block=attribute("MAX_THREADS_PER_BLOCK"),
        max_shared_bytes_per_block=attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        shared_bytes_per_multiprocessor=attribute("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
        registers_per_multiprocessor=attribute("MAX_REGISTERS_PER_MULTIPROCESSOR"),
        max_threads_per_multiprocessor=attribute("MAX_THREADS_PER_MULTIPROCESSOR"),
        l2_bytes=attribute("L2_CACHE_SIZE"),
        memory_bytes=int(memory),
    )


def clear() -> None:
    """Forget the driver and its devices (for tests)."""
    driver.cache_clear()
    launch_function.cache_clear()
    device_properties.cache_clear()
    _primary_context.cache_clear()


def _device(ordinal: int) -> Any:
    count = device_count()
    if not 0 <= ordinal < count:
        raise TargetError(f"there is no CUDA device {ordinal}: this machine has {count}")
    return _call("cuDeviceGet", ordinal)[0]


@functools.lru_cache(maxsize=64)
def _primary_context(ordinal: int) -> Any:
    """Retained for the life of the process, as every other user of it does."""
    return _call("cuDevicePrimaryCtxRetain", _device(ordinal))[0]


def use_device(ordinal: int = 0) -> None:
    """Make the device's primary context current in this thread."""
    _call("cuCtxSetCurrent", _primary_context(ordinal))


def ensure_context(ordinal: int = 0) -> None:
    """As `use_device(ordinal)`, where this thread has no context yet."""
    (current,) = _call("cuCtxGetCurrent")
    if int(current) == 0:
        use_device(ordinal)


@contextlib.contextmanager
def device_scope(ordinal: int) -> Generator[None, None, None]:
    """Inside, the device's primary context is current in this thread."""
    _call("cuCtxPushCurrent", _primary_context(ordinal))
    try:
        yield
    finally:
        _call("cuCtxPopCurrent")


@contextlib.contextmanager
def outside_capture() -> Generator[None, None, None]:
    """Inside, this thread may allocate and load though one of its streams is being captured."""
    relaxed = driver().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    (before,) = _call("cuThreadExchangeStreamCaptureMode", relaxed)
    try:
        yield
    finally:
        _call("cuThreadExchangeStreamCaptureMode", before)


def error_text(code: Any) -> str:
    """Name and sentence of a driver's result code, given as one or as its number."""
    bindings = driver()
    with contextlib.suppress(ValueError):  # a number that these bindings do not know
        code = bindings.CUresult(code)
    (status, sentence) = bindings.cuGetErrorString(code)
    words = sentence.decode() if int(status) == 0 and sentence else "unknown error"
    return f"{_name(code)}: {words}"


def _name(code: Any) -> str:
    return str(getattr(code, "name", code))


def _call(function: str, *args: Any) -> tuple[Any, ...]:
    """The values of a driver call.

    Raises:
        ResourceError: out of device memory.
        TargetError: for every other failure, naming call and error.
    """
    code, *values = getattr(driver(), function)(*args)
    if int(code) == 0:
        return tuple(values)
    message = f"{function}: {error_text(code)}"
    if int(code) == _OUT_OF_MEMORY:
        raise ResourceError(message, hint="free tensors, or use smaller ones")
    raise TargetError(message)


# -- kernels --------------------------------------------------------------------------------------


class Library:
    """A loaded cubin; it serves every device whose architecture it was compiled for."""

    def __init__(self, cubin: bytes) -> None:
        """Load.

        Raises:
            TargetError: when the driver refuses it.
        """
        ensure_context()
        self._cubin = cubin  # the driver may read it later: kernels are loaded lazily
        code, handle = driver().cuLibraryLoadData(cubin, [], [], 0, [], [], 0)
        if int(code) != 0:
            raise _load_error(code)
        self._handle = handle

    def kernel(self, name: str) -> Kernel:
        """The kernel `name`, declared `extern "C"`.

        Raises:
            TargetError: when there is none, or it does not suit the device.
        """
        code, handle = driver().cuLibraryGetKernel(self._handle, name.encode())
        if int(code) != 0:
            raise TargetError(f"kernel {name}: {error_text(code)}")
        return Kernel(self, name, handle)

    def unload(self) -> None:
        """Free it; its kernels must not be launched any more."""
        _call("cuLibraryUnload", self._handle)


def _load_error(code: Any) -> TargetError:
    text = error_text(code)
    if int(code) not in (_NO_BINARY, _INVALID_IMAGE, _TOO_NEW):
        return TargetError(f"the driver does not load the kernel: {text}")
    version = ".".join(map(str, driver_version()))
    arch = device_properties(0).arch
    return TargetError(
        f"the driver does not load the kernel: {text} (the device is {arch}, the driver knows CUDA "
        f"{version})",
        hint=f"compile for {arch} with an NVRTC of CUDA {version} or older, or update the driver",
    )


class Kernel:
    """One kernel; every device it is used on has a function of its own."""

    def __init__(self, library: Library, name: str, handle: Any) -> None:
        self.library = library  # keeps the code loaded
        self.name = name
        self._handle = handle

    def function(self) -> Any:
        """The driver's handle of the kernel on the current device."""
        code, function = driver().cuKernelGetFunction(self._handle)
        if int(code) != 0:
            raise _load_error(code)
        return function

    def attribute(self, name: str) -> int:
        """A function attribute, such as `NUM_REGS`, `LOCAL_SIZE_BYTES`, `SHARED_SIZE_BYTES`."""
        key = getattr(driver().CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
        return int(_call("cuFuncGetAttribute", key, self.function())[0])

    def set_dynamic_shared_bytes(self, shared_bytes: int) -> None:
        """Allow launches with so much dynamic shared memory on the current device.

        Raises:
            ResourceError: when the device has less.
        """
        (device,) = _call("cuCtxGetDevice")
        limit = device_properties(int(device)).max_shared_bytes_per_block
        static = self.attribute("SHARED_SIZE_BYTES")
        if shared_bytes + static > limit:
            raise ResourceError(
                f"kernel {self.name}: {shared_bytes} bytes of dynamic and {static} of static "
                f"shared memory, the device allows {limit} per block"
            )
        key = driver().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _call("cuFuncSetAttribute", self.function(), key, shared_bytes)

    def launch(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Any],
        *,
        shared_bytes: int = 0,
        stream: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Start the kernel on the current device; returns before it has run.

        Args:
            grid, block: one to three extents.
            args: `ctypes` values, one per parameter: `c_void_p` of a device address, `c_int32`, ...
            stream: handle of the stream; 0 is the default stream.
            cooperative: all blocks must be resident at once (grid-wide barriers).

        Raises:
            TargetError: when the driver refuses the launch, with what was asked for.
        """
        pointers = (ctypes.c_void_p * max(len(args), 1))(*map(ctypes.addressof, args))
        start = driver().cuLaunchCooperativeKernel if cooperative else driver().cuLaunchKernel
        extra = () if cooperative else (0,)
        (code,) = start(
            self.function(), *_three(grid), *_three(block), shared_bytes, stream,
            ctypes.addressof(pointers), *extra,
        )  # fmt: skip
        if int(code) != 0:
            raise TargetError(
                f"kernel {self.name}: {error_text(code)} (grid {tuple(grid)}, block {tuple(block)}"
                f", {shared_bytes} bytes of dynamic shared memory)"
            )


def _three(extents: Sequence[int]) -> tuple[int, int, int]:
    assert 1 <= len(extents) <= 3, "a grid or block has one to three extents"
    x, y, z = (*map(int, extents), 1, 1)[:3]
    return x, y, z


# -- memory ---------------------------------------------------------------------------------------


class DeviceBytes:
    """Memory of the current device; `address` is what a kernel takes. Freed by `free`."""

    def __init__(self, num_bytes: int) -> None:
        """Allocate, at least one byte.

        Raises:
            ResourceError: when there is not enough.
        """
        ensure_context()
        self.num_bytes = num_bytes
        self._pointer: Any = _call("cuMemAlloc", max(num_bytes, 1))[0]

    @property
    def address(self) -> int:
        """The device address."""
        return int(self._pointer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Copy `data` to its start."""
        raw = bytes(data)
        assert len(raw) <= self.num_bytes, "more bytes than were allocated"
        _call("cuMemcpyHtoD", self._pointer, raw, len(raw))

    def read(self) -> bytearray:
        """All bytes, after everything that runs on the default stream."""
        out = bytearray(self.num_bytes)
        if out:
            target = (ctypes.c_char * self.num_bytes).from_buffer(out)
            _call("cuMemcpyDtoH", ctypes.addressof(target), self._pointer, self.num_bytes)
        return out

    def free(self) -> None:
        """Give it back."""
        _call("cuMemFree", self._pointer)


def synchronize() -> None:
    """Wait for the device.

    Raises:
        TargetError: when a kernel that ran before has failed.
    """
    _call("cuCtxSynchronize")
