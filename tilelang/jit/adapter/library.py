"""Library text -> a library in this process, for backends that call through ctypes.

In: text of `wrapper.py` and the user's compile flags. Out: a `ctypes` handle whose `init` has run.
The target's toolchain compiles; nothing is kept on disk beyond this process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilelang.engine.runtime import build_module, connect_thread_pool
from tilelang.errors import ArgumentError, ToolchainError
from tilelang.target.target import Target, load


class LibraryGenerator:
    """Compiles and opens one library.

    Attributes:
        target: what is compiled for.
        name: of the file.
        lib_code: text to compile; `None` until `update_lib_code`.
        libpath: the shared object; `None` until there is one.
    """

    def __init__(self, target: Target, name: str = "kernel_lib") -> None:
        self.target = target
        self.name = name
        self.compile_flags: tuple[str, ...] = ()
        self.lib_code: str | None = None
        self.libpath: Path | None = None
        self.lib: ctypes.CDLL | None = None

    def assign_compile_flags(self, compile_flags: Sequence[str]) -> None:
        """Flags that are appended to the compiler's command."""
        self.compile_flags = tuple(compile_flags)

    def update_lib_code(self, lib_code: str) -> None:
        """The text to compile."""
        self.lib_code = lib_code

    def compile_lib(self) -> Path:
        """Compile the text into a file of this process.

        Raises:
            ArgumentError: when there is no text.
            ToolchainError: when the compiler fails, with its output and the command.
        """
        if self.lib_code is None:
            raise ArgumentError("compile_lib: there is no text; call update_lib_code first")
        assert self.target.row.toolchain is not None, f"target {self.target.kind} has a toolchain"
        toolchain: Any = load(self.target.row.toolchain)()
        module = build_module(
            self.lib_code, self.name, compile_flags=self.compile_flags, toolchain=toolchain
        )
        self.libpath = module.library
        return self.libpath

    def load_lib(self, path: str | Path | None = None) -> ctypes.CDLL:
        """Open the library at `path`, or the compiled one, and run its `init`.

        Raises:
            ArgumentError: when there is none.
            ToolchainError: when it cannot be opened, lacks a function, or its `init` fails.
        """
        if path is not None:
            self.libpath = Path(path)
        if self.libpath is None:
            raise ArgumentError(
                "load_lib: there is no library; give a path or call compile_lib first"
            )
        try:
            library = ctypes.CDLL(str(self.libpath))
            library.get_last_error.restype = ctypes.c_char_p
            library.init.restype = library.call.restype = ctypes.c_int32
        except (OSError, AttributeError) as error:
            raise ToolchainError(f"the library {self.libpath} cannot be loaded: {error}") from None
        connect_thread_pool(library)
        if library.init() != 0:
            raise ToolchainError(f"{self.libpath}: {last_error(library)}")
        self.lib = library
        return library

    def remove_lib(self) -> None:
        """Delete the file; a library that is open stays usable where the system allows that."""
        if self.libpath is not None:
            self.libpath.unlink(missing_ok=True)
        self.libpath = None


def last_error(library: ctypes.CDLL) -> str:
    """Why the library's last call in this thread failed; empty if it did not."""
    return (library.get_last_error() or b"").decode("utf-8", "replace")
