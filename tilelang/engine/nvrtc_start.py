"""NVRTC's start, beside what the caller does next.

Opening the library takes ten milliseconds; the first compilation of a process also reads NVRTC's
own functions and sets up the assembler. No program decides any of it, so `begin` has it done in a
thread while Python traces and lowers, without the interpreter lock. Nothing depends on the outcome:
who compiles sees what is wrong.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
import threading
from pathlib import Path

from tilelang.errors import Error

_EMPTY = 'extern "C" __global__ void tl_nothing() {}'
_guard = threading.Lock()
_threads: list[threading.Thread] = []  # one at most


def begin(arch: str) -> None:
    """Start NVRTC for `arch` (`sm_90a`), once per process, in the background."""
    with _guard:
        if _threads:
            return
        # No daemon: at exit the interpreter waits for it, rather than unload NVRTC under it.
        thread = threading.Thread(target=_start, args=(arch,), name="tilelang-nvrtc")
        _threads.append(thread)
        with contextlib.suppress(RuntimeError):  # no more threads: it starts when it is needed
            thread.start()


def finish() -> None:
    """Wait until what `begin` began is over."""
    for thread in _threads:
        if thread.ident is not None and thread is not threading.current_thread():
            thread.join()


def clear() -> None:
    """Forget that it has begun (for tests)."""
    finish()
    _threads.clear()


def _start(arch: str) -> None:
    with contextlib.suppress(Error, ImportError, OSError, RuntimeError):
        _open_library()
        from tilelang.engine.nvrtc import NvrtcToolchain  # the caller may be importing it now

        NvrtcToolchain(arch).compile(_EMPTY, name="nothing")


def _open_library() -> None:
    """Open the wheel's library where it is found at once; the bindings then find it open.

    They would keep the interpreter lock meanwhile, as `ctypes.CDLL` does; a foreign call does not.
    """
    path = _wheel_library()
    if path is None:
        return
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    # NVRTC asks for its builtins by name alone: they have to be there, by whoever opens it first.
    for file in (*path.parent.glob("libnvrtc-builtins.so.*"), path):
        dlopen(os.fsencode(file), os.RTLD_NOW | os.RTLD_LOCAL)


def _wheel_library() -> Path | None:
    """The library in NVIDIA's wheels, of the CUDA version that the bindings are for."""
    if not sys.platform.startswith("linux"):
        return None
    from cuda.bindings import __version__  # optional

    name = f"libnvrtc.so.{__version__.partition('.')[0]}"
    spec = importlib.util.find_spec("nvidia")
    folders = map(Path, (spec.submodule_search_locations or ()) if spec else ())
    return next((file for folder in folders for file in folder.glob(f"*/lib/{name}")), None)


if hasattr(os, "register_at_fork"):  # a child must not inherit NVRTC's locks as they were held
    os.register_at_fork(before=finish)
