"""Every environment switch: name, type, default, one sentence.

Switches are read live, so a change takes effect on the next use. `env.NAME = value` overrides,
`with env.scope(NAME=value):` overrides for a while (tests). Imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KINDS = {int: "an integer", float: "a number"}
_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class Switch:
    """One environment variable."""

    kind: type
    default: Any
    meaning: str
    variable: str | None = None  # environment name, when it differs from the attribute

    def parse(self, text: str) -> Any:
        if self.kind is bool:
            return text.strip().lower() in _TRUE
        try:
            return self.kind(text)
        except ValueError:
            raise ValueError(f"{text!r}, expected {_KINDS[self.kind]}") from None


SWITCHES: dict[str, Switch] = {
    "TILELANG_CACHE_DIR": Switch(str, "~/.tilelang/cache", "root of the kernel cache"),
    "TILELANG_TMP_DIR": Switch(str, "", "staging of cache files; empty: `tmp` in the cache root"),
    "TILELANG_DISABLE_CACHE": Switch(bool, False, "compile every time, keep nothing on disk"),
    "TILELANG_NO_CACHE": Switch(bool, False, "the same as TILELANG_DISABLE_CACHE"),
    "TILELANG_PRINT_ON_COMPILATION": Switch(bool, False, "log one line per compilation"),
    "TILELANG_TARGET": Switch(str, "auto", "default target"),
    "TILELANG_DEFAULT_TARGET": Switch(str, "", "default target; wins over TILELANG_TARGET"),
    "TILELANG_EXECUTION_BACKEND": Switch(str, "auto", "default execution backend"),
    "TILELANG_VERBOSE": Switch(bool, False, "default verbosity"),
    "TILELANG_NUM_THREADS": Switch(int, 0, "CPU threads of a kernel; 0: one per core"),
    "TILELANG_DEBUG": Switch(bool, False, "full tracebacks, compiler commands, kept build folders"),
    "TILELANG_DUMP_IR": Switch(str, "", "folder that receives the IR after every pass"),
    "TILELANG_VERIFY": Switch(bool, False, "run the IR verifier between all passes"),
    "TILELANG_TRACE_RULES": Switch(bool, False, "print each expression rewrite and its rule"),
    "TILELANG_SANITIZE": Switch(
        bool, False, "CPU kernels check bounds and uninitialised reads while they run"
    ),
    "TILELANG_EMULATE": Switch(
        bool, False, "kernels for `cuda` run on the emulator, on CPU tensors, without a GPU"
    ),
    "TILELANG_EMULATE_SEED": Switch(int, 0, "seed of the emulator's order of threads and copies"),
    "TILELANG_WARM_UP": Switch(
        bool, True, "where kernels are declared, get ready to compile for the GPU in the background"
    ),
    "TILELANG_COMPILE_TIMEOUT_SECONDS": Switch(int, 600, "limit of one device compiler run"),
    "TL_PERF_REGRESSION_FORMAT": Switch(str, "text", "performance tests print text or json"),
    "TL_PERF_REGRESSION_ONLY": Switch(str, "all", "performance tests to run: names, with commas"),
}


class Environment:
    """Reads the switches as attributes."""

    def __init__(self) -> None:
        object.__setattr__(self, "_overrides", {})

    def __getattr__(self, name: str) -> Any:
        switch = SWITCHES.get(name)
        if switch is None:
            raise AttributeError(f"no environment switch called {name}")
        overrides: dict[str, Any] = object.__getattribute__(self, "_overrides")
        if name in overrides:
            return overrides[name]
        text = os.environ.get(switch.variable or name)
        if text is None or text == "":
            return switch.default
        try:
            return switch.parse(text)
        except ValueError as error:
            raise ValueError(f"the environment variable {name} is {error}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in SWITCHES:
            raise AttributeError(f"no environment switch called {name}")
        self._overrides[name] = value

    @contextlib.contextmanager
    def scope(self, **values: Any) -> Generator[None, None, None]:
        """Override switches inside the `with` block."""
        before = dict(self._overrides)
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield
        finally:
            self._overrides.clear()
            self._overrides.update(before)

    @property
    def cache_dir(self) -> Path:
        """Root of the kernel cache."""
        return Path(self.TILELANG_CACHE_DIR).expanduser()

    @property
    def cache_enabled(self) -> bool:
        return not (self.TILELANG_DISABLE_CACHE or self.TILELANG_NO_CACHE)

    @property
    def target(self) -> str:
        return self.TILELANG_DEFAULT_TARGET or self.TILELANG_TARGET


env = Environment()
