"""Source text to binary.

In: C text from `codegen` and the user's compile flags, from `engine.lower`. Out: a shared object on
disk, for `engine.runtime`; the compiler's identity, for the cache key; what the processor can do
(`CpuFeatures`), for `target`. A target names its toolchain; the C one is here, and another (NVRTC,
hipcc) is one more class with the three members of `Toolchain`.

It keeps nothing but what a compiler says of itself: one small file per compiler and processor in
the cache directory. It loads no library and decides nothing about programs.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol

from tilelang.env import env
from tilelang.errors import Error, ToolchainError
from tilelang.ir.record import record

C_HEADERS = Path(__file__).resolve().parent.parent / "device" / "c"
SCALAR_HEADERS = C_HEADERS.parent / "scalar"  # included by those of `c`, `cuda` and `emulator`
_BASE_FLAGS = (
    "-O3", "-std=gnu11", "-w", "-fPIC", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math",
    "-ffp-contract=fast", "-fno-strict-aliasing",
)  # fmt: skip
# Tried in this order: GCC and Clang on x86, Clang on AArch64, compilers that know neither.
_NATIVE_FLAGS: tuple[tuple[str, ...], ...] = (("-march=native",), ("-mcpu=native",), ())
# Functions of a library call each other, whatever else the process has of that name; symbols of
# the FFI library are found in the process when the object is loaded.
_LINK_FLAGS = {"darwin": ("-Wl,-undefined,dynamic_lookup",), "win32": ()}.get(
    sys.platform, ("-Wl,-Bsymbolic",)
)
_PROBE_FORMAT = 2  # raise when the content of a probe file changes


class Toolchain(Protocol):
    """Text to binary for one target."""

    suffix: str  # of the binary's file name

    def identity(self) -> str:
        """Compiler, version, processor, default flags: what besides the text decides the binary."""
        ...

    def build(self, sources: Sequence[str], output: Path, flags: Sequence[str] = ()) -> None:
        """Compile `sources` together into `output`, which appears whole or not at all."""
        ...


@record
class CpuFeatures:
    """What the compiler may use on this processor, read from its predefined macros."""

    isa: str  # "avx512", "avx2", "neon" or "portable"
    vector_bytes: int  # of the widest register
    has_fma: bool
    avx512_bf16: bool
    avx512_vnni: bool
    avx512_fp16: bool
    f16c: bool  # conversions between float16 and float32
    neon: bool
    neon_dotprod: bool
    neon_bf16: bool
    float16_type: bool  # the compiler has `_Float16`

    @classmethod
    def from_macros(cls, macros: Iterable[str]) -> CpuFeatures:
        """From the names that `-dM -E` lists."""
        m = frozenset(macros)
        avx512 = m >= {"__AVX512F__", "__AVX512BW__", "__AVX512DQ__", "__AVX512VL__"}
        avx2 = m >= {"__AVX2__", "__FMA__"}
        neon = "__ARM_NEON" in m and "__aarch64__" in m
        isa = "avx512" if avx512 else "avx2" if avx2 else "neon" if neon else "portable"
        return cls(
            isa=isa,
            vector_bytes=64 if avx512 else 32 if m & {"__AVX2__", "__AVX__"} else 16,
            has_fma="__FMA__" in m or "__ARM_FEATURE_FMA" in m,
            avx512_bf16=avx512 and "__AVX512BF16__" in m,
            avx512_vnni=avx512 and "__AVX512VNNI__" in m,
            avx512_fp16=avx512 and "__AVX512FP16__" in m,
            f16c="__F16C__" in m,
            neon=neon,
            neon_dotprod=neon and "__ARM_FEATURE_DOTPROD" in m,
            neon_bf16=neon and "__ARM_FEATURE_BF16" in m,
            float16_type="__FLT16_MANT_DIG__" in m,
        )


@record
class Compiler:
    """A C compiler of this machine, and what it said when asked."""

    command: tuple[str, ...]
    version: str  # first line of `--version`
    native_flags: tuple[str, ...]  # tune for this processor, if the compiler knows how
    features: CpuFeatures
    fingerprint: str  # of the executable file and the processor


def named_compiler(variable: str, language: str) -> tuple[str, ...] | None:
    """The command that an environment variable names; `None` where it is not set.

    Raises:
        ToolchainError: when there is no such program.
    """
    chosen = shlex.split(os.environ.get(variable, ""))
    if not chosen:
        return None
    path = shutil.which(chosen[0])
    if path is None:
        raise ToolchainError(
            f"the {language} compiler named by ${variable}, `{chosen[0]}`, was not found",
            hint=f"unset {variable} or correct it",
        )
    return (path, *chosen[1:])


def find_compiler_command() -> tuple[str, ...]:
    """The C compiler to use: `$CC`, else cc, gcc or clang on the path, else the `ziglang` wheel's.

    Raises:
        ToolchainError: when there is none, saying what to install.
    """
    chosen = named_compiler("CC", "C")
    if chosen is not None:
        return chosen
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is not None:
            return (path,)
    zig = _zig_executable()
    if zig is not None:
        return (zig, "cc")
    raise ToolchainError(
        "no C compiler found: install gcc or clang, or `pip install ziglang`, or set $CC to one"
    )


def _zig_executable() -> str | None:
    spec = importlib.util.find_spec("ziglang")
    folder = spec.submodule_search_locations if spec is not None else None
    name = "zig.exe" if sys.platform == "win32" else "zig"
    path = os.path.join(folder[0], name) if folder else ""
    return path if os.access(path, os.X_OK) else None


def _processor_name() -> str:
    """Model and feature flags of the processor: `native` means something else on another."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read(8192).split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part", "CPU implementer")
    return platform.machine() + "".join(line for line in lines if line.startswith(wanted))


def _fingerprint(command: tuple[str, ...]) -> str:
    """Changes with the compiler's file and arguments and the processor; starts no process."""
    real = os.path.realpath(command[0])
    stat = os.stat(real)
    parts = [real, stat.st_size, stat.st_mtime_ns, command[1:], _processor_name(), _PROBE_FORMAT]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def find_compiler() -> Compiler:
    """The C compiler, probed; kept per process, and on disk beside the compiler's fingerprint.

    Raises:
        ToolchainError: when there is none, or it does not run.
    """
    return _probed(os.environ.get("CC", ""), os.environ.get("PATH", ""), str(env.cache_dir))


@functools.lru_cache(maxsize=16)
def _probed(_cc: str, _path: str, cache_dir: str) -> Compiler:
    command = find_compiler_command()
    fingerprint = _fingerprint(command)
    file = Path(cache_dir) / "toolchain" / f"{fingerprint}.json"
    known = _read_probe(file, command, fingerprint)
    if known is not None:
        return known
    compiler = _probe(command, fingerprint)
    _write_probe(file, compiler)
    return compiler


def clear() -> None:
    """Forget what is known of compilers in this process (for tests)."""
    _probed.cache_clear()
    headers_digest.cache_clear()


def _probe(command: tuple[str, ...], fingerprint: str) -> Compiler:
    version = _run([*command, "--version"])
    if version.returncode != 0:
        raise ToolchainError(
            f"the C compiler `{shlex.join(command)}` does not run: {_output(version)}"
        )
    probe = version
    for native in _NATIVE_FLAGS:
        probe = _run([*command, *native, "-dM", "-E", "-x", "c", os.devnull])
        if probe.returncode == 0:
            lines = (line.split(" ") for line in probe.stdout.splitlines())
            features = CpuFeatures.from_macros(words[1] for words in lines if len(words) > 1)
            first_line = version.stdout.partition("\n")[0].strip()
            return Compiler(command, first_line, native, features, fingerprint)
    raise ToolchainError(
        f"the C compiler `{shlex.join(command)}` does not list its macros: {_output(probe)}"
    )


def _read_probe(file: Path, command: tuple[str, ...], fingerprint: str) -> Compiler | None:
    """What an earlier process wrote; `None` when there is nothing that can be trusted."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        features = found["features"]
        if set(features) != {f.name for f in fields(CpuFeatures)}:
            return None
        return Compiler(
            command,
            str(found["version"]),
            tuple(found["native_flags"]),
            CpuFeatures(**features),
            fingerprint,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_probe(file: Path, compiler: Compiler) -> None:
    """Remember for the next process; where the directory cannot be written, it will ask again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=file.parent, prefix=file.stem)
        with os.fdopen(fd, "w", encoding="utf-8") as out:
            json.dump(asdict(compiler), out)
        os.replace(temporary, file)
    except OSError:
        return


@functools.lru_cache(maxsize=8)
def headers_digest(folder: Path = C_HEADERS) -> str:
    """Hash of the device headers that generated text includes, with those that all targets share;
    part of the cache key."""
    digest = hashlib.sha256()
    for root in (folder, SCALAR_HEADERS):
        for file in sorted(root.rglob("*")):
            if file.is_file():
                digest.update(f"{file.relative_to(root)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:24]


class CToolchain:
    """C text to a shared object for this machine."""

    suffix = ".dll" if sys.platform == "win32" else ".dylib" if sys.platform == "darwin" else ".so"

    def __init__(self, tuned: bool = True) -> None:
        """`tuned`: for this processor, rather than for any of its kind; only then is the compiler
        asked what it knows of it."""
        self.tuned = tuned

    def identity(self) -> str:
        if not self.tuned:
            plain = find_compiler_command()
            return f"{shlex.join(plain)} | {_fingerprint(plain)} | {' '.join(_BASE_FLAGS)}"
        compiler = find_compiler()
        command = shlex.join(compiler.command)
        flags = " ".join((*_BASE_FLAGS, *compiler.native_flags))
        return f"{command} | {compiler.version} | {compiler.fingerprint} | {flags}"

    def features(self) -> CpuFeatures:
        """What generated text may use."""
        return find_compiler().features

    def command(self, inputs: Sequence[Path], output: Path, flags: Sequence[str] = ()) -> list[str]:
        """The command line that makes `output`; the user's flags come last, so they win."""
        if self.tuned:
            compiler = find_compiler()
            leading = [*compiler.command, *_BASE_FLAGS, *compiler.native_flags]
        else:
            leading = [*find_compiler_command(), *_BASE_FLAGS]
        return [
            *leading, f"-I{C_HEADERS}",
            *flags, "-shared", "-pthread", "-o", str(output), "-x", "c", *map(str, inputs),
            "-x", "none", "-lm", *_LINK_FLAGS,
        ]  # fmt: skip

    def build(self, sources: Sequence[str], output: Path, flags: Sequence[str] = ()) -> None:
        """Compile C `sources` together into the shared object `output`.

        Raises:
            ToolchainError: when the compiler fails, with its output, the command and the source.
        """
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.stem}-"))
        try:
            inputs = _write_sources(sources, folder, output.stem)
            made = folder / output.name
            result = _run(self.command(inputs, made, flags))
            if result.returncode != 0:
                raise self._failure(result, sources, output.stem, flags)
            os.replace(made, output)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _failure(
        self,
        result: subprocess.CompletedProcess[str],
        sources: Sequence[str],
        stem: str,
        flags: Sequence[str],
    ) -> Error:
        kept = Path(tempfile.mkdtemp(prefix="tilelang-failed-"))
        inputs = _write_sources(sources, kept, stem)
        command = shlex.join(self.command(inputs, kept / (stem + self.suffix), flags))
        where = ", ".join(map(str, inputs))
        return ToolchainError(
            f"the C compiler failed (exit status {result.returncode}) on {where}\n"
            f"{_output(result)}\n  command: {command}",
            hint=f"remove compile_flags {list(flags)}" if flags else "report this source as a bug",
        )


def _write_sources(sources: Sequence[str], folder: Path, stem: str) -> list[Path]:
    inputs: list[Path] = []
    for i, text in enumerate(sources):
        inputs.append(folder / (f"{stem}.c" if i == 0 else f"{stem}_{i}.c"))
        inputs[-1].write_text(text, encoding="utf-8")
    return inputs


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    if env.TILELANG_DEBUG:
        print(shlex.join(command), file=sys.stderr)
    limit = env.TILELANG_COMPILE_TIMEOUT_SECONDS
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        raise ToolchainError(
            f"the C compiler `{command[0]}` took more than {limit} seconds"
        ) from None
    except OSError as error:
        raise ToolchainError(
            f"the C compiler `{command[0]}` cannot be started: {error.strerror}"
        ) from None


def _output(result: subprocess.CompletedProcess[str]) -> str:
    text = (result.stderr.strip() or result.stdout.strip()).splitlines()
    dropped = len(text) - 60
    return "\n".join([*text[:60], f"... {dropped} more lines"] if dropped > 0 else text)


def cpu_target_options() -> dict[str, str] | None:
    """Options that describe this machine's CPU to the target `c`: `isa` and `features`.

    `None` without a C compiler; the compilation itself then says what to install.
    """
    try:
        features = CToolchain().features()
    except ToolchainError:
        return None
    present = {
        "fma": features.has_fma,
        "avx512_bf16": features.avx512_bf16,
        "avx512_vnni": features.avx512_vnni,
    }
    return {"isa": features.isa, "features": ",".join(name for name in present if present[name])}
