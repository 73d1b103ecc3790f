"""Compiled libraries in this process.

In: a shared object, or C text that `engine.toolchain` makes into one. Out: `Module`, the library,
and `Executable`, one kernel of it, to `jit.adapter`. Libraries are opened through apache-tvm-ffi,
on first use: importing it also imports PyTorch where that is installed.

All kernels of a process share one thread pool, built from `device/c/runtime.c` into a library of
its own and handed to each kernel library when that is loaded. It checks no arguments (the
library's entry points do) and keeps no cache of kernels.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilelang.engine.toolchain import C_HEADERS, CToolchain, Toolchain
from tilelang.env import env
from tilelang.errors import ArgumentError, ToolchainError
from tilelang.ir.dtype import dtype

if TYPE_CHECKING:
    import ctypes

    import numpy

_RUNTIME_SOURCE = C_HEADERS / "runtime.c"
# Makes an exported library independent of this package: it brings the thread pool along.
_SELF_CONTAINED = """
extern void tl_set_runtime(void *parallel_for);
__attribute__((constructor)) static void use_own_thread_pool(void) {
  tl_set_runtime((void *)tl_parallel_for);
}
"""


class Executable:
    """One kernel function of a loaded library.

    Calling it takes PyTorch tensors, NumPy arrays (both without a copy), Python numbers and None,
    in parameter order. The library checks them.

    Raises (on call):
        ValueError: a wrong count, shape, dtype, stride, device or alignment.
        TypeError: an argument of the wrong kind.
    """

    __slots__ = ("_call", "_module", "name", "parameters")

    def __init__(self, name: str, call: Callable[..., Any], module: Module) -> None:
        self.name = name
        self.parameters: Sequence[tuple[str, str]] = ()  # name, and what is expected, for messages
        self._call = call
        self._module = module  # keeps the library loaded

    def __call__(self, *args: Any) -> Any:
        try:
            return self._call(*args)
        # An array that NumPy's DLPack export does not describe, or an integer beyond int64 for
        # which the installed tvm-ffi has no form. The kernel has not begun.
        except (BufferError, OverflowError):
            converted = [_ffi_argument(self._place(i), a) for i, a in enumerate(args)]
        except RuntimeError:  # the kernel failed, or PyTorch does not export a tensor
            for i, value in enumerate(args):
                _require_memory(self._place(i), value)
            raise
        return self._call(*converted)

    def _place(self, index: int) -> str:
        """How a message about an argument begins."""
        where = f"{self.name}(): argument {index + 1}"
        if index >= len(self.parameters):
            return f"{where}: "
        name, expected = self.parameters[index]
        return f"{where} `{name}`: expected {expected}, got "

    def __repr__(self) -> str:
        return f"Executable({self.name!r})"


class Module:
    """A library of kernels.

    Attributes:
        library: path of the shared object; it must stay readable until the first call.
        source: C text it was made from, if known.
        compile_flags: the user's flags it was made with.
        host_source: the part of the text that calls the kernels, if known.
        place: where tensors of a call have to be, as messages name it.
    """

    def __init__(
        self,
        library: str | os.PathLike[str],
        source: str | None = None,
        compile_flags: Sequence[str] = (),
    ) -> None:
        self.library = Path(library)
        self.source = source
        self.compile_flags = tuple(compile_flags)
        self.host_source: str | None = None
        self.place = "cpu"
        self._lock = threading.Lock()
        self._loaded: Any = None
        self._functions: dict[str, Executable] = {}

    def __getitem__(self, name: str) -> Executable:
        """The kernel called `name`; loads the library.

        Raises:
            KeyError: when the library has no such kernel.
        """
        found = self._functions.get(name)
        if found is None:
            with self._lock:
                found = self._functions.setdefault(name, self._find(name))
        return found

    def __contains__(self, name: str) -> bool:
        try:
            self[name]
        except KeyError:
            return False
        return True

    def _find(self, name: str) -> Executable:
        if self._loaded is None:
            self._loaded = _load_library(self.library, self._connect)
        try:
            return Executable(name, self._loaded.get_function(name), self)
        except AttributeError:
            raise KeyError(f"{self.library} has no kernel called {name!r}") from None

    def _connect(self, library: ctypes.CDLL) -> None:
        """Give the open library what it needs of this process."""
        connect_thread_pool(library)

    def companions(self) -> dict[str, bytes]:
        """Files that have to lie beside the library."""
        return {}

    def get_source(self) -> str:
        """C text the library was made from; empty when unknown."""
        return self.source or ""

    inspect_source = get_source

    def export_library(self, path: str | os.PathLike[str]) -> None:
        """Write a shared object that works without this package: `tvm_ffi.load_module(path)`.

        Raises:
            ArgumentError: when the source of this module is not known.
            ToolchainError: when the C compiler fails.
        """
        if self.source is None:
            raise ArgumentError(
                f"{self.library} was loaded without its source and cannot be exported"
            )
        sources = [self.source, self_contained_runtime()]
        CToolchain().build(sources, Path(path), self.compile_flags)

    def __repr__(self) -> str:
        return f"Module({str(self.library)!r})"


def build_module(
    source: str,
    name: str,
    *,
    directory: str | os.PathLike[str] | None = None,
    compile_flags: Sequence[str] = (),
    toolchain: Toolchain | None = None,
    has_blocks: bool = True,
) -> Module:
    """Compile C text into `directory`/`name`.so (a folder of this process when not given).

    Args:
        has_blocks: whether it runs blocks of kernels itself, and so needs the thread pool.

    Raises:
        ToolchainError: when there is no C compiler, or it fails.
    """
    tool = toolchain if toolchain is not None else CToolchain()
    folder = Path(tempfile.mkdtemp(dir=private_folder())) if directory is None else Path(directory)
    output = folder / (name + tool.suffix)
    if isinstance(tool, CToolchain) and has_blocks:
        prepare_thread_pool()
    tool.build([source], output, compile_flags)
    return Module(output, source, compile_flags)


def self_contained_runtime() -> str:
    """C text of the thread pool, for a library that brings its own along."""
    return _RUNTIME_SOURCE.read_text(encoding="utf-8") + _SELF_CONTAINED


def load_module(path: str | os.PathLike[str], source: str | None = None) -> Module:
    """A library that was built or exported before; it is opened on first use."""
    return Module(path, source)


def set_num_threads(count: int | None) -> None:
    """Threads that kernels use from the next call on; `None` or 0: one per usable core.

    Raises:
        ArgumentError: for a negative count or something that is no integer.
    """
    wanted = 0 if count is None else count
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
        raise ArgumentError(f"the number of threads must be a positive integer, got {count!r}")
    _thread_pool().tl_set_num_threads(wanted)


def get_num_threads() -> int:
    """Threads that kernels use now."""
    return int(_thread_pool().tl_get_num_threads())


# -- loading -------------------------------------------------------------------------------------


def open_library(path: Path) -> Any:
    """Open a library of functions with FFI signature.

    Raises:
        ToolchainError: when it cannot be loaded.
    """
    import tvm_ffi  # what a process pays for its first kernel and not for the import

    tvm_ffi.register_error("MemoryError", MemoryError)  # versions before 0.1.9 do not know it
    try:
        return tvm_ffi.load_module(str(path))
    except (OSError, RuntimeError) as error:
        raise _cannot_load(path, error) from None


def _load_library(path: Path, connect: Callable[[ctypes.CDLL], None]) -> Any:
    """Open a kernel library, and have `connect` give it what it needs of this process."""
    import ctypes

    module = open_library(path)
    try:
        library = ctypes.CDLL(str(path))  # again, for a function without FFI signature
    except OSError as error:
        raise _cannot_load(path, error) from None
    connect(library)
    return module


def _cannot_load(path: Path, error: Exception) -> ToolchainError:
    return ToolchainError(f"the compiled library {path} cannot be loaded: {error}")


def connect_thread_pool(library: ctypes.CDLL) -> None:
    """Give a kernel library the process's thread pool; one that runs no blocks needs none."""
    import ctypes

    set_runtime = getattr(library, "tl_set_runtime", None)
    if set_runtime is not None:
        set_runtime.argtypes = [ctypes.c_void_p]
        set_runtime.restype = None
        set_runtime(ctypes.cast(_thread_pool().tl_parallel_for, ctypes.c_void_p))


_pool_lock = threading.Lock()


def prepare_thread_pool() -> None:
    """Open the thread pool in the background: where it must be built first, that runs beside the
    compilation of the kernel that will need it. Whoever asks for the pool next waits, and sees
    what went wrong."""

    def open_quietly() -> None:
        with contextlib.suppress(ToolchainError, OSError):
            _thread_pool()

    if _open_thread_pool.cache_info().currsize == 0:
        threading.Thread(target=open_quietly, name="tilelang-thread-pool", daemon=True).start()


def _thread_pool() -> ctypes.CDLL:
    with _pool_lock:  # without it, two first calls would open two pools
        return _open_thread_pool()


@functools.lru_cache(maxsize=1)
def _open_thread_pool() -> ctypes.CDLL:
    import ctypes

    tool = CToolchain()
    header = _RUNTIME_SOURCE.with_suffix(".h")
    parts = [tool.identity().encode(), _RUNTIME_SOURCE.read_bytes(), header.read_bytes()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
    path = env.cache_dir / "runtime" / f"{key}{tool.suffix}"
    try:
        pool = ctypes.CDLL(str(path))
    except OSError:  # not there yet, or damaged
        pool = ctypes.CDLL(str(_build_thread_pool(tool, path)))
    pool.tl_set_num_threads.argtypes = [ctypes.c_int]
    pool.tl_set_num_threads.restype = None
    pool.tl_get_num_threads.restype = ctypes.c_int
    if env.TILELANG_NUM_THREADS > 0:
        pool.tl_set_num_threads(env.TILELANG_NUM_THREADS)
    return pool


def _build_thread_pool(tool: CToolchain, path: Path) -> Path:
    source = _RUNTIME_SOURCE.read_text(encoding="utf-8")
    try:
        tool.build([source], path)
    except OSError:  # a cache directory that cannot be written: build for this process alone
        path = private_folder() / path.name
        tool.build([source], path)
    return path


@functools.lru_cache(maxsize=1)
def private_folder() -> Path:
    """For libraries that no cache keeps; removed when the process ends."""
    folder, owner = tempfile.mkdtemp(prefix="tilelang-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not in a forked child, whose parent still needs it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return Path(folder)


# -- arguments that the FFI does not take as they are --------------------------------------------


def _require_memory(place: str, value: Any) -> None:
    """Reject a PyTorch tensor without elements in dense memory of the host.

    Raises:
        ValueError: saying what it is instead.
    """
    if type(value).__module__.partition(".")[0] != "torch" or not hasattr(value, "layout"):
        return
    kind = f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if str(value.layout) != "torch.strided":
        raise ValueError(f"{place}{kind} of layout {value.layout}")
    if value.device.type == "meta":
        raise ValueError(f"{place}{kind} on {value.device}")


def _ffi_argument(place: str, value: Any) -> Any:
    """`value`; for a NumPy array of an ml_dtypes type a view of it that the FFI takes; for an
    integer that only fits uint64 a pointer of that value, which entry points read as one.
    """
    _require_memory(place, value)
    if isinstance(value, int):
        return _wide_integer(value, place)
    if type(value).__module__.partition(".")[0] != "numpy" or not hasattr(value, "__dlpack__"):
        return value
    if not value.flags.writeable:
        raise ValueError(f"{place}a read-only NumPy array; pass a copy of it")
    if not value.dtype.isnative:
        raise ValueError(f"{place}a NumPy array of foreign byte order ({value.dtype.str})")
    try:
        kind = dtype(value.dtype)
    except TypeError:
        raise TypeError(f"{place}a NumPy array of {value.dtype}") from None
    if kind.bits < 8 and kind.bits != 6:
        raise TypeError(
            f"{place}a NumPy array of {kind}, one value per byte; pack two per byte, as uint8"
        )
    return _relabelled(value, kind)


def _wide_integer(value: int, place: str) -> Any:
    if -(1 << 63) <= value < 1 << 63:
        return value
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{place}int {value}, which does not fit 64 bits")
    import ctypes

    return ctypes.c_void_p(value)


def _relabelled(array: numpy.ndarray[Any, Any], kind: dtype) -> Any:
    """An FFI tensor on the memory of `array`: exported as unsigned integers, then renamed."""
    import ctypes

    import tvm_ffi

    capsule = array.view(f"u{array.dtype.itemsize}").__dlpack__()
    if kind.bits != 6:  # those travel as bytes
        get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
        get_pointer.argtypes, get_pointer.restype = (
            [ctypes.py_object, ctypes.c_char_p],
            ctypes.c_void_p,
        )
        address = get_pointer(capsule, b"dltensor")
        # The type code follows data (8 bytes), device (8) and rank (4) in a DLTensor.
        ctypes.c_uint8.from_address(address + 20).value = kind.type_code
    return tvm_ffi.from_dlpack(capsule)
