"""CUDA text to cubin, by NVRTC from its wheel: no CUDA toolkit, no GPU, no process started.

In: one translation unit from `codegen`, which includes headers of `device/cuda`; an architecture;
the user's flags. Out: a cubin with its PTX, the compiler's log and what each kernel uses
(`KernelUsage`), for `engine.runtime` and for explanations; the compiler's identity, for the cache
key. The wheels are opened on first use. Keeps nothing but the version it found; decides nothing
about programs.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tilelang.engine.toolchain import headers_digest
from tilelang.env import env
from tilelang.errors import Error, Span, TargetError, ToolchainError
from tilelang.ir.record import record

CUDA_HEADERS = Path(__file__).resolve().parent.parent / "device" / "cuda"
INSTALL_HINT = "pip install cuda-bindings nvidia-cuda-nvrtc (or: pip install 'tilelang[cuda]')"
_BASE_FLAGS = ("-std=c++17", "-default-device", "-minimal", "-no-cache", "-Xptxas=-v")
_LEVEL = re.compile(r"-O[0-3]")
_OF_NVCC_ALONE = ("--expt-relaxed-constexpr", "--expt-extended-lambda")
_ARCH = re.compile(r"sm_(\d+)([af]?)")
# Texts, compiled when first used: most processes read no log.
_LOG_PLACE = r"(?m)^(?P<file>[^\s(]+)\((?P<line>\d+)\): (?:catastrophic )?error"
_PTX_PLACE = r"ptx input, line (\d+); (?:error|fatal)"
_SOURCE_COMMENT = r"^\s*// ([^\s:]+\.pyw?):(\d+)(?::|$)"
# Printed in front of text that the user wrote: `ir.func.imported_text`.
_IMPORTED_COMMENT = r"^// imported at ([^\s:]+\.pyw?):(\d+)$"
_KERNEL_HEAD = 'extern "C" __global__ void __launch_bounds__('
_FIRST_ERROR = r"(?m)(?:error|fatal)\s*:\s*(.+)$"
_UNDEFINED = r"identifier \"(\w+)\" is undefined|[\"'‘](\w+)[\"'’] was not declared"
_MAX_LOG_LINES = 60


@record
class KernelUsage:
    """What the assembler says of one kernel."""

    registers: int  # per thread
    spill_store_bytes: int  # per thread
    spill_load_bytes: int
    stack_bytes: int  # per thread; not only spills: arrays that are not in registers too
    shared_bytes: int  # static, per block
    barriers: int


@record
class CompiledCubin:
    """One compilation."""

    cubin: bytes
    ptx: str
    log: str  # warnings, and the assembler's report
    options: tuple[str, ...]
    seconds: float

    def usage(self) -> dict[str, KernelUsage]:
        """Kernel name -> what it uses."""
        return parse_usage(self.log)


class NvrtcToolchain:
    """CUDA text to a cubin for one architecture, such as `sm_90a`."""

    suffix = ".cubin"

    def __init__(self, arch: str = "sm_90a") -> None:
        """Names the architecture; NVRTC is asked when something is compiled.

        Raises:
            TargetError: for a word that is no architecture.
        """
        if _ARCH.fullmatch(arch) is None:
            raise TargetError(
                f"{arch!r} is no CUDA architecture", hint="write it as sm_80 or sm_90a"
            )
        self.arch = arch

    def identity(self) -> str:
        """NVRTC's version, architecture, default flags and device headers.

        Raises:
            ToolchainError: when NVRTC cannot be opened.
        """
        major, minor = nvrtc_version()
        flags = " ".join(_BASE_FLAGS)
        return f"nvrtc {major}.{minor} | {self.arch} | {flags} | {headers_digest(CUDA_HEADERS)}"

    def options(self, flags: Sequence[str] = ()) -> tuple[str, ...]:
        """All options; the user's come last, so they win."""
        own = (f"-arch={self.arch}", *_BASE_FLAGS, f"-I{CUDA_HEADERS}")
        return (*own, *from_nvcc(flags))

    def compile(
        self,
        source: str,
        flags: Sequence[str] = (),
        *,
        name: str = "kernel",
        source_files: Mapping[str, str] | None = None,
    ) -> CompiledCubin:
        """Compile one translation unit.

        Args:
            flags: appended to the compiler's options.
            name: of the text in the log, without `.cu`.
            source_files: base name -> path of the user's files, to show the line at fault.

        Raises:
            TargetError: when this NVRTC does not know the architecture.
            ToolchainError: when NVRTC is missing, or fails: with its log, the place in the text,
                the user's line that the text came from, and where the text is kept.
        """
        check_arch(self.arch)
        options = self.options(flags)
        if env.TILELANG_DEBUG:
            print(f"nvrtc {' '.join(options)} {name}.cu", file=sys.stderr)
        started = time.perf_counter()
        run = _run(source, f"{name}.cu", options)
        if run.failed:
            raise _failure(run, source, name, options, flags, source_files or {})
        seconds = time.perf_counter() - started
        return CompiledCubin(run.cubin, run.ptx, run.log, options, seconds)

    def build(self, sources: Sequence[str], output: Path, flags: Sequence[str] = ()) -> None:
        """Compile one text into the file `output`, which appears whole or not at all.

        Raises: as `compile`.
        """
        assert len(sources) == 1, "NVRTC compiles one translation unit at a time"
        made = self.compile(sources[0], flags, name=output.stem)
        output.parent.mkdir(parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=output.parent, prefix=f".{output.stem}-")
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(made.cubin)
            os.replace(temporary, output)
        except BaseException:
            os.unlink(temporary)
            raise


def from_nvcc(flags: Sequence[str]) -> tuple[str, ...]:
    """Flags as NVRTC spells them, where users write nvcc's: the assembler optimises, and what nvcc
    has to be allowed in host functions is always allowed."""
    spelled = (f"-Xptxas={flag}" if _LEVEL.fullmatch(flag) else flag for flag in flags)
    return tuple(flag for flag in spelled if flag not in _OF_NVCC_ALONE)


# -- what this NVRTC is ---------------------------------------------------------------------------


def _nvrtc() -> Any:
    """The bindings. Imported here because they are optional and take tens of milliseconds."""
    try:
        return importlib.import_module("cuda.bindings.nvrtc")
    except ImportError as error:
        raise ToolchainError(
            f"compiling for CUDA needs NVRTC, and its Python bindings are not installed: {error}",
            hint=INSTALL_HINT,
        ) from None


@functools.lru_cache(maxsize=1)
def nvrtc_version() -> tuple[int, int]:
    """Major and minor version of the NVRTC library.

    Raises:
        ToolchainError: when the bindings or the library are missing.
    """
    nvrtc = _nvrtc()
    try:
        major, minor = _checked(nvrtc.nvrtcVersion())
    except (RuntimeError, OSError) as error:  # the library is opened by the first call
        raise ToolchainError(
            f"compiling for CUDA needs the NVRTC library, which was not found: {error}",
            hint=INSTALL_HINT,
        ) from None
    return int(major), int(minor)


@functools.lru_cache(maxsize=1)
def supported_archs() -> tuple[int, ...]:
    """Compute capabilities that NVRTC compiles for, as 75, 80, ... in ascending order."""
    nvrtc_version()
    return tuple(sorted(int(a) for a in _checked(_nvrtc().nvrtcGetSupportedArchs())[0]))


def clear() -> None:
    """Forget what is known of NVRTC in this process (for tests)."""
    nvrtc_version.cache_clear()
    supported_archs.cache_clear()


def check_arch(arch: str) -> None:
    """That this NVRTC compiles for `arch`.

    Raises:
        TargetError: when it does not, with what it knows.
    """
    match = _ARCH.fullmatch(arch)
    known = supported_archs()
    if match is None or int(match[1]) not in known:
        version = ".".join(map(str, nvrtc_version()))
        older = match is not None and int(match[1]) < known[0]
        other = "an older" if older else "a newer"
        listed = ", ".join(f"sm_{a}" for a in known)
        raise TargetError(
            f"NVRTC {version} does not compile for {arch}; it knows {listed}",
            hint=f"install {other} nvidia-cuda-nvrtc",
        )
    first = {"": 0, "a": 90, "f": 100}[match[2]]
    if int(match[1]) < first:
        raise TargetError(
            f"{arch} does not exist: the suffix `{match[2]}` begins with sm_{first}",
            hint=f"sm_{match[1]}",
        )


def _checked(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a call that may not fail."""
    code, *values = result
    if int(code) != 0:
        raise ToolchainError(f"NVRTC reports {getattr(code, 'name', code)}")
    return tuple(values)


# -- one compilation ------------------------------------------------------------------------------


@record
class _Run:
    failed: bool
    status: str  # NVRTC's word for the outcome
    log: str
    ptx: str  # present after a failure of the assembler, too
    cubin: bytes


def _run(source: str, file_name: str, options: Sequence[str]) -> _Run:
    nvrtc = _nvrtc()
    (program,) = _checked(
        nvrtc.nvrtcCreateProgram(source.encode(), file_name.encode(), 0, None, None)
    )
    try:
        encoded = [option.encode() for option in options]
        (code,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
        failed = int(code) != 0
        log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        ptx = _text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
        cubin = b"" if failed else _bytes(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return _Run(failed, str(getattr(code, "name", code)), log, ptx, cubin)


def _bytes(size_of: Any, read: Any, program: Any) -> bytes:
    code, size = size_of(program)
    if int(code) != 0 or not size:  # there is none: the step before failed
        return b""
    buffer = bytearray(size)
    _checked(read(program, buffer))
    return bytes(buffer)


def _text(size_of: Any, read: Any, program: Any) -> str:
    return _bytes(size_of, read, program).rstrip(b"\0 \n").decode(errors="replace")


# -- what went wrong ------------------------------------------------------------------------------


def _failure(
    run: _Run,
    source: str,
    name: str,
    options: Sequence[str],
    flags: Sequence[str],
    source_files: Mapping[str, str],
) -> Error:
    """The error for a compilation that failed."""
    kept = Path(tempfile.mkdtemp(prefix="tilelang-failed-")) / f"{name}.cu"
    kept.write_text(source, encoding="utf-8")
    details = _shortened(run.log) or run.status
    line = failing_line(run.log, f"{name}.cu")
    ptx_line = re.search(_PTX_PLACE, run.log)
    if ptx_line is not None:
        details += f"\n  the assembler's line: {_line_of(run.ptx, int(ptx_line[1])).strip()}"
        line = _line_of_ptx(source, name, options)
    where = f"{kept}:{line}" if line is not None else str(kept)
    if line is not None:
        details += f"\n  {name}.cu:{line}: {_line_of(source, line).strip()}"
    shown = " ".join(o for o in options if o != f"-I{CUDA_HEADERS}")
    return compiler_error(
        "CUDA", run.log or run.status, f"{details}\n  options: {shown}\n  failed on {where}",
        source, line, source_files, flags,
    )  # fmt: skip


def compiler_error(
    compiler: str,
    log: str,
    details: str,
    source: str,
    line: int | None,
    source_files: Mapping[str, str],
    flags: Sequence[str] = (),
) -> ToolchainError:
    """The error for generated text that a compiler does not take.

    Args:
        compiler: its language.
        log: what it wrote; `details`: what is shown of that.
        line: of `source` at fault, if known.
        source_files: base name -> path of the user's files.
        flags: the user's.
    """
    first = re.search(_FIRST_ERROR, log)
    missing = re.search(_UNDEFINED, log)
    name = next(filter(None, missing.groups()), None) if missing else None
    if line is not None:
        origin = source_place(source, line)
    else:
        origin = _directed_place(log, source_files)
    span = source_span(origin, source_files, name)
    lead = f"{origin[0]}:{origin[1]}: " if origin and span is None else ""
    reason = first[1].strip() if first else log.partition("\n")[0]
    if line is not None and is_imported(source, line):
        hint = "correct the source text that is imported here"
    elif name is not None and span is not None and name in span.source_line():
        hint = f"define `{name}` in the text of a T.import_source"
    else:
        hint = f"remove compile_flags {list(flags)}" if flags else "report this source as a bug"
    return ToolchainError(
        f"{lead}the {compiler} compiler failed: {reason}\n{details}", span, hint=hint
    )


def _directed_place(log: str, source_files: Mapping[str, str]) -> tuple[str, int] | None:
    """The first error's place, where line directives made it one in a user's file."""
    for match in re.finditer(_LOG_PLACE, log):
        name = os.path.basename(match["file"])
        if name in source_files:
            return name, int(match["line"])
    return None


def source_span(
    place: tuple[str, int] | None, source_files: Mapping[str, str], part: str | None = None
) -> Span | None:
    """A place of `source_place` as a span: the word `part` of the line, or all of it."""
    path = source_files.get(place[0]) if place else None
    if place is None or path is None:
        return None
    text = Span(path, place[1]).source_line()
    found = re.search(rf"\b{re.escape(part)}\b", text) if part else None
    if found is not None:
        return Span(path, place[1], found.start() + 1, place[1], found.end() + 1)
    return Span(path, place[1], len(text) - len(text.lstrip()) + 1)


def failing_line(log: str, file_name: str) -> int | None:
    """Line of the text at which the first error stands; `None` where it is in no line of it."""
    for match in re.finditer(_LOG_PLACE, log):
        if os.path.basename(match["file"]) == file_name:
            return int(match["line"])
    return None


def source_place(source: str, line: int) -> tuple[str, int] | None:
    """Base name and line of the user's file that line `line` of generated text came from.

    Printers write the user's line above each statement, as `// file.py:22: text`, and above text
    that the user wrote where it was given.
    """
    is_inside = True  # the same function as that line's
    for text in reversed(source.splitlines()[:line]):
        imported = re.match(_IMPORTED_COMMENT, text)
        match = imported or (re.match(_SOURCE_COMMENT, text) if is_inside else None)
        if match is not None:
            return match[1], int(match[2])
        if text.startswith(_KERNEL_HEAD):
            return None
        is_inside = is_inside and not text.startswith("}")  # the end of the function before
    return None


def is_imported(source: str, line: int) -> bool:
    """Whether line `line` of generated text was written by the user."""
    for text in reversed(source.splitlines()[:line]):
        if re.match(_IMPORTED_COMMENT, text):
            return True
        if text.startswith(_KERNEL_HEAD) or re.match(_SOURCE_COMMENT, text):
            return False
    return False


def _line_of_ptx(source: str, name: str, options: Sequence[str]) -> int | None:
    """Line of `source` that the PTX line at fault came from: compiled again, with line numbers."""
    run = _run(source, f"{name}.cu", [*options, "-lineinfo"])
    match = re.search(_PTX_PLACE, run.log)
    if match is None:
        return None
    lines = run.ptx.splitlines()
    files = dict(re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', run.ptx, re.M))
    for text in reversed(lines[: int(match[1])]):
        place = re.match(r"\s*\.loc\s+(\d+)\s+(\d+)", text)
        if place is None:
            continue
        inlined = re.search(r"inlined_at\s+(\d+)\s+(\d+)", text)
        for file, line in filter(None, (place.groups(), inlined and inlined.groups())):
            if os.path.basename(files.get(file, "")) == f"{name}.cu":
                return int(line)
    return None


def _line_of(text: str, line: int) -> str:
    lines = text.splitlines()
    return lines[line - 1] if 0 < line <= len(lines) else ""


def _shortened(log: str) -> str:
    lines = log.splitlines()
    dropped = len(lines) - _MAX_LOG_LINES
    more = [f"... {dropped} more lines"] if dropped > 0 else []
    return "\n".join([*lines[:_MAX_LOG_LINES], *more])


# -- what the assembler reports -------------------------------------------------------------------

_ENTRY = r"Compiling entry function '([^']+)'"
_STACK = r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
_USED = r"Used (\d+) registers(?:, used (\d+) barriers)?(?:.*?(\d+) bytes smem)?"


def parse_usage(log: str) -> dict[str, KernelUsage]:
    """Kernel name -> what it uses, from a log written with `-Xptxas=-v`."""
    found: dict[str, KernelUsage] = {}
    name, stack = "", (0, 0, 0)
    for text in log.splitlines():
        if match := re.search(_ENTRY, text):
            name, stack = match[1], (0, 0, 0)
        elif match := re.search(_STACK, text):
            stack = (int(match[1]), int(match[2]), int(match[3]))
        elif name and (match := re.search(_USED, text)):
            registers, barriers, shared = (int(part or 0) for part in match.groups())
            found[name] = KernelUsage(registers, stack[1], stack[2], stack[0], shared, barriers)
            name = ""
    return found
