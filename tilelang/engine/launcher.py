"""The library that serves every plain CUDA function: built once per machine, opened once.

In: tables of `codegen.host_table` and cubins, from `engine.cuda_build`. Out: functions of
apache-tvm-ffi. The library is `device/c/launcher.c`, kept in the cache directory beside the CPU's
thread pool. It decides nothing about programs.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilelang.engine.runtime import open_library, private_folder
from tilelang.engine.toolchain import C_HEADERS, CToolchain, headers_digest
from tilelang.env import env
from tilelang.errors import ToolchainError

_SOURCE = C_HEADERS / "launcher.c"
_building = threading.Lock()
_begun: set[tuple[str, ...]] = set()  # what was built in the background, or found
_threads: list[threading.Thread] = []  # that did so


def prepare_launcher(flags: Sequence[str] = ()) -> Path:
    """The library's file; it is built where this machine does not have it yet.

    Raises:
        ToolchainError: when it has to be built, and there is no C compiler, or it fails.
    """
    with _building:  # who asks while another thread builds it waits, and finds it
        return _prepared(flags)


def prepare_in_background(flags: Sequence[str] = ()) -> None:
    """Build the library, where it has to be, beside what the caller does next; who asks for it then
    waits, and sees what went wrong. Begun once per cache directory."""
    wanted = (str(env.cache_dir), *flags)
    if wanted in _begun:
        return
    _begun.add(wanted)

    def build_quietly() -> None:
        with contextlib.suppress(ToolchainError, OSError):
            prepare_launcher(flags)

    thread = threading.Thread(target=build_quietly, name="tilelang-launcher", daemon=True)
    _threads.append(thread)
    with contextlib.suppress(RuntimeError):  # no more threads: it is built when it is needed
        thread.start()


def finish() -> None:
    """Wait until what was begun in the background is over."""
    while _threads:
        thread = _threads.pop()
        if thread.ident is not None:
            thread.join()


def open_launcher(flags: Sequence[str] = ()) -> Path:
    """The library's file, opened: its first function is made at once.

    Raises:
        ToolchainError: as `prepare_launcher`, or when it cannot be loaded.
    """
    path = prepare_launcher(flags)
    _opened(str(path))
    return path


def _prepared(flags: Sequence[str]) -> Path:
    tool = CToolchain(tuned=False)
    text = "\0".join([tool.identity(), headers_digest(C_HEADERS), *flags])
    name = f"launcher-{hashlib.sha256(text.encode()).hexdigest()[:24]}{tool.suffix}"
    path = env.cache_dir / "runtime" / name
    if path.is_file():
        return path
    source = _SOURCE.read_text(encoding="utf-8")
    try:
        tool.build([source], path, flags)
    except OSError:  # a cache directory that cannot be written: build for this process alone
        path = private_folder() / name
        if not path.is_file():
            tool.build([source], path, flags)
    return path


def make_function(library: Path, table: bytes, cubin: bytes) -> Any:
    """The function that `table` describes; `cubin` has to live as long as it does.

    Raises:
        ToolchainError: when the library cannot be loaded.
    """
    make = _opened(str(library)).get_function("tl_make")
    addresses = (_address(table), len(table), _address(cubin))
    return make(*addresses)


@functools.lru_cache(maxsize=64)
def _opened(library: str) -> Any:
    return open_library(Path(library))


def _address(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def table_name(table: bytes) -> str:
    """Name of the function that a table describes."""
    texts = int.from_bytes(table[8:16], "little")
    start = texts + int.from_bytes(table[16:24], "little")
    return table[start : table.index(b"\0", start)].decode()


if hasattr(os, "register_at_fork"):  # a child must not inherit the lock of a thread it has not
    os.register_at_fork(before=finish)
