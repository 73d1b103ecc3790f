"""The library of a CUDA function: a cubin, and C code that loads and launches it.

In: a `BuildRequest`, from `engine.lower`. Out: a `CudaModule`. Host code that only checks arguments
and launches is a table for the one library of `engine.launcher`; other host code is compiled, by
the C compiler while NVRTC makes the cubin, and they meet when the library is opened. An exported
library carries the cubin inside. `cuda_builder` is where the choice between a device and the
emulator is made.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tilelang.codegen.host_cuda import embed, library_text, plain_interface
from tilelang.codegen.host_table import launch_table
from tilelang.engine import nvrtc_start
from tilelang.engine.builder import Builder, BuildRequest, PlainLibrary
from tilelang.engine.launcher import (
    make_function,
    open_launcher,
    prepare_in_background,
    table_name,
)
from tilelang.engine.nvrtc import CompiledCubin, NvrtcToolchain
from tilelang.engine.runtime import Executable, Module, build_module
from tilelang.engine.toolchain import CToolchain
from tilelang.env import env
from tilelang.errors import ArgumentError, ToolchainError
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Assert, Launch, Stmt
from tilelang.ir.visitor import walk
from tilelang.target.cuda import compile_arch
from tilelang.target.target import Target, load

CUBIN_FILE = "kernel.cubin"  # beside the library
TABLE_FILE = "kernel.launch"  # likewise, where the library is the one of all kernels
# The host code runs once per call and has no loops: it shall compile fast.
_HOST_FLAGS = ("-Og",)
PLACES = {
    "device": "tilelang.engine.cuda_build:DeviceBuilder",
    "emulator": "tilelang.engine.emulator:EmulatorBuilder",
}


def execution_place() -> str:
    """Where kernels for `cuda` run: `"device"`, or under TILELANG_EMULATE=1 `"emulator"`."""
    return "emulator" if env.TILELANG_EMULATE else "device"


def cuda_builder() -> Builder:
    """The builder of the target `cuda`."""
    found: Builder = load(PLACES[execution_place()])()
    return found


def compile_cubin(
    func: PrimFunc, source: str, target: Target, flags: Sequence[str] = ()
) -> CompiledCubin:
    """The cubin of `source`, the text printed for `func`.

    Raises:
        ToolchainError: when NVRTC is missing, or fails: at the user's line, with its log.
    """
    return NvrtcToolchain(compile_arch(target)).compile(
        source, flags, name=func.name, source_files=source_files(func)
    )


def source_files(func: PrimFunc) -> dict[str, str]:
    """Base name -> path of the files that a function's statements come from."""
    files = {n.span.file for n in walk(func.body) if isinstance(n, Stmt) and n.span is not None}
    return {os.path.basename(file): file for file in sorted(files)}


class CudaCode:
    """A cubin, and the text that it was made from, for people."""

    def __init__(
        self,
        func: PrimFunc,
        source: str,
        target: Target,
        flags: Sequence[str],
        cubin: bytes | None,
        compiled: CompiledCubin | None,
    ) -> None:
        self._compile = lambda: compile_cubin(func, source, target, flags)
        self._compiled = compiled
        self._cubin = cubin

    def compiled(self) -> CompiledCubin:
        """What NVRTC says; for a kernel found in the cache it is asked again."""
        if self._compiled is None:
            self._compiled = self._compile()
        return self._compiled

    def ptx(self) -> str:
        """Portable assembly."""
        return self.compiled().ptx

    def sass(self) -> str:
        """Machine code, disassembled.

        Raises:
            ToolchainError: without NVIDIA's disassembler.
        """
        return disassemble(self._cubin if self._cubin is not None else self.compiled().cubin)


class CudaModule(Module):
    """A library whose kernels are in a cubin.

    Attributes:
        cubin: the kernels.
        compiled: what NVRTC said of them; `None` when they were loaded from a file.
        table: the host side, where it is not compiled: the library then is `engine.launcher`'s.
    """

    def __init__(
        self,
        library: Path,
        host_source: str,
        cubin: bytes | None,
        compiled: CompiledCubin | None = None,
        table: bytes | None = None,
    ) -> None:
        super().__init__(library, host_source)
        self.place = "cuda"
        self.host_source = host_source
        self.cubin = cubin
        self.compiled = compiled
        self.table = table

    def _find(self, name: str) -> Executable:
        if self.table is None:
            return super()._find(name)
        if name != table_name(self.table):
            raise KeyError(f"{self.library} has no kernel called {name!r}")
        if self.cubin is None:
            raise self._no_kernels()
        return Executable(name, make_function(self.library, self.table, self.cubin), self)

    def _no_kernels(self) -> ToolchainError:
        return ToolchainError(
            f"{self.library} needs its kernels: there is no {CUBIN_FILE} beside it"
        )

    def _connect(self, library: ctypes.CDLL) -> None:
        """Hand the library its kernels; one that was exported has them."""
        set_image: Any = getattr(library, "tl_set_image", None)
        if set_image is None:
            return
        if self.cubin is None:
            raise self._no_kernels()
        set_image.argtypes, set_image.restype = [ctypes.c_char_p], None
        set_image(self.cubin)  # this module keeps it alive, and every executable this module

    def companions(self) -> dict[str, bytes]:
        """The kernels, and the table of the host side."""
        files = {CUBIN_FILE: self.cubin, TABLE_FILE: self.table}
        return {name: content for name, content in files.items() if content is not None}

    def export_library(self, path: str | os.PathLike[str]) -> None:
        """Write a shared object that works without this package: `tvm_ffi.load_module(path)`.

        Raises:
            ArgumentError: when the kernels or the text of this module are not known.
            ToolchainError: when the C compiler fails.
        """
        if self.cubin is None or not self.host_source:
            raise ArgumentError(
                f"{self.library} was loaded without its source and cannot be exported"
            )
        text = embed(self.host_source, self.cubin)
        CToolchain(tuned=False).build([text], Path(path), _HOST_FLAGS)


class DeviceBuilder:
    """CUDA text to a library that launches on NVIDIA GPUs."""

    place = "cuda"
    fast_math = ("--use_fast_math",)
    line_info = ("-lineinfo",)
    hosted_only = False
    located: tuple[type[Stmt], ...] = (Assert, Launch)

    def identity(self, target: Target, hosted: bool = True) -> str:
        """NVRTC, its flags and headers; with compiled host code the C compiler's too."""
        nvrtc = NvrtcToolchain(compile_arch(target)).identity()
        return f"{nvrtc} || {CToolchain(tuned=False).identity()}" if hosted else nvrtc

    def prepare(self, target: Target) -> None:
        """The library that starts kernels, where this machine does not have it yet; NVRTC."""
        prepare_in_background(_HOST_FLAGS)
        nvrtc_start.begin(compile_arch(target))

    def build(self, request: BuildRequest) -> CudaModule:
        """Compile kernels and host code at the same time.

        Raises:
            ToolchainError: when a compiler is missing, or fails.
        """
        func, lowered, arch = request.func, request.lowered, compile_arch(request.target)
        text, table = library_text(func, lowered, arch), launch_table(func, lowered, arch)
        with ThreadPoolExecutor(1) as other:
            if table is None:
                host = other.submit(build_host, text, func.name)
            else:
                host = other.submit(open_launcher, _HOST_FLAGS)
            made = compile_cubin(func, request.source, request.target, request.flags)
            library = host.result()
        return CudaModule(library, text, made.cubin, made, table)

    def plain_library(self, request: BuildRequest) -> PlainLibrary:
        """One text with the kernels inside, and its header."""
        text, header = plain_interface(request.func, request.lowered, compile_arch(request.target))
        made = compile_cubin(request.func, request.source, request.target, request.flags)
        return PlainLibrary((embed(text, made.cubin),), header, _HOST_FLAGS)

    def device_code(self, request: BuildRequest, module: Module) -> CudaCode:
        """PTX and machine code."""
        cubin, compiled = None, None
        if isinstance(module, CudaModule):
            cubin, compiled = module.cubin, module.compiled
        return CudaCode(
            request.func, request.source, request.target, request.flags, cubin, compiled
        )

    def load(
        self, library: Path, device_source: str, host_source: str, target: Target
    ) -> CudaModule:
        """A library that was built before, with the cubin beside it, or exported."""
        del device_source, target
        cubin, table = (
            file.read_bytes() if file.is_file() else None
            for file in map(library.with_name, (CUBIN_FILE, TABLE_FILE))
        )
        return CudaModule(library, host_source, cubin, None, table)


def build_host(text: str, name: str) -> Path:
    """The host code as a library without kernels."""
    tool = CToolchain(tuned=False)
    made = build_module(text, name, compile_flags=_HOST_FLAGS, toolchain=tool, has_blocks=False)
    return made.library


def disassemble(cubin: bytes) -> str:
    """Machine code of a cubin, as text.

    Raises:
        ToolchainError: when neither `nvdisasm` nor `cuobjdump` is installed, or it fails.
    """
    for name, option in (("nvdisasm", "-c"), ("cuobjdump", "-sass")):
        tool = shutil.which(name)
        if tool is None:
            continue
        with tempfile.TemporaryDirectory(prefix="tilelang-sass-") as folder:
            file = Path(folder) / CUBIN_FILE
            file.write_bytes(cubin)
            run = subprocess.run(
                [tool, option, str(file)], capture_output=True, text=True, check=False
            )
        if run.returncode != 0:
            raise ToolchainError(f"{name} failed: {run.stderr.strip()}")
        return run.stdout
    raise ToolchainError(
        "reading machine code needs nvdisasm or cuobjdump on the path",
        hint="pip install nvidia-cuda-nvdisasm, or install the CUDA toolkit",
    )
