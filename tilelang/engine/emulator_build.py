"""Generated CUDA text to a library that runs on the CPU, by the host's C++ compiler.

In: the text as NVRTC would get it. Out: a shared object with an entry point per kernel and the
emulator's runtime inside, in the cache directory under a hash of all that decides it. The text is
compiled against `device/emulator` instead of `device/cuda`. With checks it is compiled without
optimisation and instrumented (-fsanitize=thread; the runtime defines what the instrumentation
calls), so that each access in the text is one call, at its own line. Runs nothing.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tilelang.engine.nvrtc import CUDA_HEADERS, compiler_error
from tilelang.engine.toolchain import find_compiler_command, headers_digest, named_compiler
from tilelang.env import env
from tilelang.errors import Error, ToolchainError

EMULATOR_HEADERS = CUDA_HEADERS.parent / "emulator"
TEXT_FILE = "kernel.cu"  # name of the text in debug information and messages
_COMMON_FLAGS = ("-std=c++17", "-fPIC", "-w", "-fno-exceptions", "-fno-strict-aliasing", "-pthread")
_RUNTIME_FLAGS = ("-O2", "-frounding-math", "-fvisibility=hidden")
_CHECKED_FLAGS = ("-O0", "-g1", "-gdwarf-4", "-fsanitize=thread")
# Makes reads of uninitialised local arrays visible; GCC knows it from version 12 on.
_PATTERN_FLAG = "-ftrivial-auto-var-init=pattern"
_PLAIN_FLAGS = ("-O1",)
_PATTERNS = {"gcc": 0xFE, "clang": 0xAA}  # what uninitialised locals are filled with
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(")
_ARENA = re.compile(r"extern\s+__shared__\s+[^;\[]*?(\w+)\s*\[\s*\]\s*;")
_STATIC_SHARED = re.compile(r"(?<!extern )__shared__")
_IN_FOLDER = re.compile(rf"/[^\s:]*/{re.escape(TEXT_FILE)}")  # a folder that is gone by then
_ERROR_PLACE = re.compile(rf"{re.escape(TEXT_FILE)}:(\d+):\d+: error")
_CXX_NAMES = {"cc": "c++", "gcc": "g++", "clang": "clang++"}
_MAX_LOG_LINES = 60


@dataclass(frozen=True, slots=True)
class EmulatedLibrary:
    """A compiled text.

    Attributes:
        path: of the shared object.
        source: the text.
        kernels: names of its kernels.
        checks: whether accesses are checked.
    """

    path: Path
    source: str
    kernels: tuple[str, ...]
    checks: bool


@functools.lru_cache(maxsize=4)
def find_cxx_command(_cxx: str = "", _cc: str = "", _path: str = "") -> tuple[str, ...]:
    """The C++ compiler to use: `$CXX`, else the one beside the C compiler, else g++ or clang++.

    Raises:
        ToolchainError: when there is none, saying what to install.
    """
    chosen = named_compiler("CXX", "C++")
    if chosen is not None:
        return chosen
    c_command = find_compiler_command()
    folder, name = os.path.split(c_command[0])
    beside = re.sub(r"^(cc|gcc|clang)", lambda m: _CXX_NAMES[m[1]], name)
    for candidate in (os.path.join(folder, beside), "g++", "clang++", "c++"):
        path = shutil.which(candidate)
        if path is not None and os.path.basename(path) != name:
            return (path,)
    raise ToolchainError("the emulator needs a C++ compiler", hint="install g++ or clang++")


@functools.lru_cache(maxsize=4)
def _identity_of(command: tuple[str, ...]) -> tuple[str, str]:
    """First line of `--version`, and the family."""
    text = _run([*command, "--version"]).stdout
    first = text.partition("\n")[0].strip()
    return first, "clang" if "clang" in text.lower() else "gcc"


@functools.lru_cache(maxsize=4)
def checked_flags(command: tuple[str, ...]) -> tuple[str, ...]:
    """Flags of text whose accesses are checked, as far as the compiler knows them."""
    probe = _run([*command, _PATTERN_FLAG, "-E", "-x", "c++", os.devnull])
    return (*_CHECKED_FLAGS, _PATTERN_FLAG) if probe.returncode == 0 else _CHECKED_FLAGS


def compiler_command() -> tuple[str, ...]:
    """As `find_cxx_command`, for the environment as it is now."""
    environment = (os.environ.get(name, "") for name in ("CXX", "CC", "PATH"))
    return find_cxx_command(*environment)


def emulator_identity() -> str:
    """Compiler, flags and headers: what besides the text decides the library."""
    command = compiler_command()
    version, _ = _identity_of(command)
    digests = f"{headers_digest(EMULATOR_HEADERS)} {headers_digest(CUDA_HEADERS)}"
    flags = " ".join((*_COMMON_FLAGS, *_RUNTIME_FLAGS, *_CHECKED_FLAGS, *_PLAIN_FLAGS))
    return f"emulator | {shlex.join(command)} | {version} | {flags} | {digests}"


def build_library(
    source: str, *, checks: bool = True, source_files: dict[str, str] | None = None
) -> EmulatedLibrary:
    """Compile CUDA text for the CPU, or find what was compiled before.

    Args:
        checks: whether accesses are to be checked.
        source_files: base name -> path of the user's files, to show the line at fault.

    Raises:
        ToolchainError: when there is no C++ compiler, or it fails.
    """
    kernels = tuple(dict.fromkeys(_KERNEL.findall(source)))
    if not kernels:
        raise ToolchainError("the text has no `__global__` function to emulate")
    parts = (emulator_identity(), str(checks), source)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    path = env.cache_dir / "emulator" / f"{key}.so"
    if not path.exists() or not env.cache_enabled:
        _build(source, kernels, checks, path, source_files or {})
    return EmulatedLibrary(path, source, kernels, checks)


def _build(
    source: str, kernels: Sequence[str], checks: bool, path: Path, source_files: dict[str, str]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    runtime = _runtime_object()
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".build-"))
    try:
        (folder / TEXT_FILE).write_text(source, encoding="utf-8")
        entries = "".join(f"TL_EMU_ENTRY({name})\n" for name in kernels)
        unit = folder / "unit.cpp"
        unit.write_text(
            f'#include "builtins.h"\n#include "{TEXT_FILE}"\n#include "driver.h"\n{entries}'
        )
        flags = checked_flags(compiler_command()) if checks else _PLAIN_FLAGS
        _compile(unit, folder / "unit.o", flags, source, source_files)
        arena = folder / "arena.cpp"
        arena.write_text(_arena_text(source))
        _compile(arena, folder / "arena.o", ("-O1",), source, source_files)
        made = folder / path.name
        objects = map(str, (folder / "unit.o", folder / "arena.o", runtime))
        link = [*compiler_command(), "-shared", "-pthread", "-o", str(made), *objects, "-lm"]
        link += [] if sys.platform == "darwin" else ["-Wl,-Bsymbolic", "-ldl"]
        _check(_run(link), link, source, source_files)
        os.replace(made, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _arena_text(source: str) -> str:
    """Defines the dynamic shared array under each name that the text gives it."""
    names = list(dict.fromkeys(_ARENA.findall(source))) or ["tl_arena"]
    others = "".join(
        f'__asm__(".globl {name}\\n.set {name}, {names[0]}\\n.type {name}, @tls_object");\n'
        for name in names[1:]
    )
    is_mixed = int(_STATIC_SHARED.search(source) is not None)
    return (
        f'#define TL_EMU_ARENA "{names[0]}"\n#define TL_EMU_STATIC_SHARED {is_mixed}\n'
        f'#include "arena.h"\n{others}'
    )


def _runtime_object() -> Path:
    """The runtime, compiled; kept beside the libraries."""
    command = compiler_command()
    key = hashlib.sha256(f"{emulator_identity()} runtime".encode()).hexdigest()[:32]
    path = env.cache_dir / "emulator" / f"{key}.o"
    if not path.exists():
        pattern = _PATTERNS[_identity_of(command)[1]]
        fd, temporary = tempfile.mkstemp(dir=path.parent, suffix=".o")
        os.close(fd)
        flags = (*_RUNTIME_FLAGS, f"-DTL_EMU_PATTERN={pattern}")
        try:
            _compile(EMULATOR_HEADERS / "runtime" / "runtime.h", Path(temporary), flags, "", {})
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    return path


def _compile(
    unit: Path, output: Path, flags: Sequence[str], source: str, source_files: dict[str, str]
) -> None:
    command = [
        *compiler_command(), *_COMMON_FLAGS, *flags, f"-I{EMULATOR_HEADERS}",
        "-x", "c++", "-c", str(unit), "-o", str(output),
    ]  # fmt: skip
    _check(_run(command), command, source, source_files)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    if env.TILELANG_DEBUG:
        print(shlex.join(command), file=sys.stderr)
    limit = env.TILELANG_COMPILE_TIMEOUT_SECONDS
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False,
            stdin=subprocess.DEVNULL, timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ToolchainError(
            f"the C++ compiler `{command[0]}` took more than {limit} seconds"
        ) from None
    except OSError as error:
        raise ToolchainError(
            f"the C++ compiler `{command[0]}` cannot be started: {error.strerror}"
        ) from None


def _check(
    result: subprocess.CompletedProcess[str],
    command: Sequence[str],
    source: str,
    source_files: dict[str, str],
) -> None:
    if result.returncode != 0:
        raise _failure(result, command, source, source_files)


def _failure(
    result: subprocess.CompletedProcess[str],
    command: Sequence[str],
    source: str,
    source_files: dict[str, str],
) -> Error:
    """The error for text that the C++ compiler does not take, at the user's line if it is known."""
    text = result.stderr.strip() or result.stdout.strip()
    text = text.replace(f"{EMULATOR_HEADERS}{os.sep}", "")
    lines = [
        line
        for line in _IN_FOLDER.sub(TEXT_FILE, text).splitlines()
        if not line.startswith("In file included from")
    ]
    log = "\n".join(lines[:_MAX_LOG_LINES])
    match = _ERROR_PLACE.search(log)
    kept = Path(tempfile.mkdtemp(prefix="tilelang-failed-")) / TEXT_FILE
    kept.write_text(source, encoding="utf-8")
    if not match:  # not in the text: the whole command tells more
        log += f"\n  command: {shlex.join(command)}"
    line = int(match[1]) if match else None
    details = f"{log}\n  the text is kept in {kept}"
    return compiler_error("C++", log, details, source, line, source_files)
