"""What the first kernel for a GPU needs whatever it is, made ready before it is asked for.

A program declares its kernels, then reads data and moves it to the device, then calls the first.
`begin`, called by the first declaration of a process, uses the time between: in a thread it imports
the parts of the compiler that load on first use, has the library built that starts kernels, and
starts NVRTC. Nothing depends on the outcome; what is missing or wrong is found, and said, by the
first compilation. It does not touch the driver, which must not be initialised before a program
forks, and it imports no PyTorch.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from tilelang.env import env
from tilelang.target.registry import TARGETS
from tilelang.target.target import Target

_ARCH = "sm_80"  # what NVRTC starts with: the driver, which knows the device, is not asked
_STARTING_THREADS = ("tilelang.engine.launcher", "tilelang.engine.nvrtc_start")
_guard = threading.Lock()
_threads: list[threading.Thread] = []  # one at most


def begin(target: Any) -> None:
    """Make ready for kernels of `target`, as it was given to `jit`; once per process.

    Does nothing on a machine without an NVIDIA driver, for other targets and the emulator, and
    with `TILELANG_WARM_UP=0`.
    """
    if _threads or not env.TILELANG_WARM_UP or env.TILELANG_EMULATE or not _may_be_cuda(target):
        return
    with _guard:
        if _threads:
            return
        thread = threading.Thread(target=_make_ready, name="tilelang-warm-up", daemon=True)
        _threads.append(thread)
        with contextlib.suppress(RuntimeError):  # no more threads: all is loaded on first use
            thread.start()


def finish() -> None:
    """Wait until what `begin` began is over, and the threads that it started in turn."""
    for thread in _threads:
        if thread.ident is not None and thread is not threading.current_thread():
            thread.join()
    for name in _STARTING_THREADS:
        if name in sys.modules:
            sys.modules[name].finish()


def modules() -> Iterator[str]:
    """Modules that a compilation for `cuda` loads when it first needs them."""
    from tilelang.jit.kernel import ADAPTERS
    from tilelang.tileop.registry import OPERATORS
    from tilelang.transform.pipeline import PIPELINE

    row = TARGETS["cuda"]
    yield from (p.path for p in PIPELINE if p.targets is None or "cuda" in p.targets)
    yield from (path for path in (row.printer, row.builder) if path)
    yield ADAPTERS[row.backends[0]]
    for path in dict.fromkeys(OPERATORS.values()):
        yield path
        yield from _loaded(path).instructions.get("cuda", ())


def _may_be_cuda(target: Any) -> bool:
    wanted = env.target if target is None or target == "auto" else target
    return str(wanted).split()[0:1] in (["auto"], ["cuda"])


def _make_ready() -> None:
    from tilelang.target.cuda import has_driver_library

    with contextlib.suppress(Exception):  # the first compilation meets it again, and says it
        if not has_driver_library():
            return
        from tilelang.engine.cuda_build import cuda_builder

        cuda_builder().prepare(Target(f"cuda -arch={_ARCH}"))
        if "torch" in sys.modules:  # which this imports, if it is installed
            import_module("tvm_ffi")
        for path in modules():
            import_module(path.partition(":")[0])


def _loaded(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


if hasattr(os, "register_at_fork"):  # a child must not inherit locks of imports under way
    os.register_at_fork(before=finish)
