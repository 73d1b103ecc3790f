"""The library of a CUDA function that runs on the emulator, on CPU tensors.

In: a `BuildRequest`. Out: an `EmulatedModule`: compiled host code as for the device, whose launches
come back to this process and run the kernels' text on the CPU. Each call is a session of its own
(`emulator_session`). `emulate`, for text without a PrimFunc, is there too.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilelang.codegen.c import scalar_type
from tilelang.codegen.host_c import HOST, emit_entry
from tilelang.codegen.host_cuda import FAILURE_REASON, RUN_SUFFIX, print_host
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.engine.builder import BuildRequest, PlainLibrary
from tilelang.engine.emulator_build import (
    EMULATOR_HEADERS,
    EmulatedLibrary,
    build_library,
    emulator_identity,
)
from tilelang.engine.emulator_session import KernelCall, Memory, Session, emulate
from tilelang.engine.runtime import Executable, Module, build_module
from tilelang.engine.toolchain import CToolchain
from tilelang.env import env
from tilelang.errors import ArgumentError
from tilelang.ir.buffer import Buffer
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Assert, Launch, Stmt
from tilelang.ir.visitor import walk
from tilelang.target.target import Target

__all__ = ["EmulatedModule", "EmulatorBuilder", "KernelCall", "emulate"]

_CALLEE_SUFFIX = "_on_emulator"
_HOST_FLAGS = ("-Og",)
_FILE_COMMENT = re.compile(r"^// emulated source file: (.+)$", re.M)
_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p
)
_MEMORY = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p)


def host_text(func: PrimFunc, lowered: PrimFunc) -> str:
    """C text of the host code: launch table, host function, FFI entry point on CPU tensors."""
    files = sorted({n.span.file for n in walk(func.body) if isinstance(n, Stmt) and n.span})
    comments = "".join(f"// emulated source file: {file}\n" for file in files)
    header = (EMULATOR_HEADERS / "host.h").read_text(encoding="utf-8")
    callee = func.name + _CALLEE_SUFFIX
    params = [
        ("void *" if isinstance(p, Buffer) else f"{scalar_type(p.dtype)} ", f"arg{i}")
        for i, p in enumerate(func.params)
    ]
    params += [
        (f"{scalar_type(v.dtype)} ", f"symbol{i}") for i, v in enumerate(dynamic_symbols(func))
    ]
    declared = ", ".join(kind + name for kind, name in params) or "void"
    passed = ", ".join(["0", "NULL", *(name for _, name in params)])
    glue = (
        f"static int32_t {callee}({declared}) {{\n  return {func.name}{RUN_SUFFIX}({passed});\n}}\n"
    )
    entry = emit_entry(func, callee, residence=HOST, failure_reason=FAILURE_REASON)
    return "\n".join((comments, print_host(lowered, header), glue, entry))


class EmulatorBuilder:
    """CUDA text to a library that runs it on the CPU."""

    place = "cpu"
    fast_math: tuple[str, ...] = ()
    line_info: tuple[str, ...] = ()
    hosted_only = True
    located: tuple[type[Stmt], ...] = (Assert, Launch)

    def identity(self, target: Target, hosted: bool = True) -> str:
        """C++ compiler, headers; with host code the C compiler too."""
        del target
        own = emulator_identity()
        return f"{own} || {CToolchain().identity()}" if hosted else own

    def prepare(self, target: Target) -> None:
        """Nothing: what every program needs is built with the first."""
        del target

    def build(self, request: BuildRequest) -> EmulatedModule:
        """Compile kernels and host code; the user's flags are for NVRTC and change nothing here.

        Raises:
            ToolchainError: when a compiler is missing, or fails.
        """
        text = host_text(request.func, request.lowered)
        host = build_module(text, request.func.name, compile_flags=_HOST_FLAGS, has_blocks=False)
        module = EmulatedModule(host.library, request.source, text)
        module.kernels()
        return module

    def plain_library(self, request: BuildRequest) -> PlainLibrary:
        """Not possible: the kernels run in this process alone."""
        del request
        raise ArgumentError("a kernel on the emulator cannot be exported: TILELANG_EMULATE is set")

    def device_code(self, request: BuildRequest, module: Module) -> None:
        """There is no device."""
        del request, module

    def load(
        self, library: Path, device_source: str, host_source: str, target: Target
    ) -> EmulatedModule:
        """Host code that was built before; the kernels are in the cache, or compiled again."""
        del target
        return EmulatedModule(library, device_source, host_source)


def _source_files(text: str) -> dict[str, str]:
    return {os.path.basename(file): file for file in _FILE_COMMENT.findall(text)}


class EmulatedModule(Module):
    """Host code whose launches run on the emulator."""

    def __init__(self, library: Path, device_source: str, host_source: str) -> None:
        super().__init__(library, host_source)
        self.host_source = host_source
        self.device_source = device_source
        self.files = _source_files(host_source)
        self.calls: list[_Call] = []  # innermost last; the hooks serve that one
        self._kernels: EmulatedLibrary | None = None
        self._hooks = (_LAUNCH(self._on_launch), _MEMORY(self._on_memory))

    def kernels(self) -> EmulatedLibrary:
        """The kernels, compiled when they are first asked for."""
        if self._kernels is None:
            self._kernels = build_library(self.device_source, source_files=self.files)
        return self._kernels

    def _connect(self, library: ctypes.CDLL) -> None:
        library.tl_set_emulator(*self._hooks)

    def _find(self, name: str) -> Executable:
        return EmulatedExecutable(super()._find(name), self)

    def _on_launch(self, kernel: bytes, dims: int, shared_bytes: int, args: int) -> int:
        call = self.calls[-1]
        try:
            call.launch(
                kernel.decode(), (ctypes.c_uint32 * 6).from_address(dims), shared_bytes, args
            )
        except BaseException as error:  # travels through C code; raised again by the executable
            call.error = error
            return 0
        return 1

    def _on_memory(self, nbytes: int, name: bytes) -> int | None:
        call = self.calls[-1]
        try:
            return call.session.add(Memory(name.decode(), 0, nbytes, 1, initialised=False))
        except BaseException as error:
            call.error = error
            return None

    def export_library(self, path: str | os.PathLike[str]) -> None:
        """Not possible: the kernels run in this process alone."""
        raise ArgumentError("a kernel on the emulator cannot be exported: TILELANG_EMULATE is set")


class _Call:
    """One call of a function: its session, and what went wrong."""

    def __init__(self, session: Session, memories: Sequence[Memory]) -> None:
        self.session = session
        self.error: BaseException | None = None
        self._memories = memories

    def launch(self, kernel: str, dims: Any, shared_bytes: int, args: int) -> None:
        pointers = (ctypes.c_void_p * 64).from_address(args) if args else ()
        values: list[Any] = []
        for i, kind in enumerate(self.session.kinds(kernel)):
            address = pointers[i]
            assert address is not None, "host code passes the address of each argument"
            values.append(
                ctypes.c_void_p(self._inside(ctypes.c_void_p.from_address(address).value))
                if kind == "p"
                else (ctypes.c_char * 8).from_address(address)
            )
        self.session.launch(kernel, dims[:3], dims[3:], shared_bytes, values)

    def _inside(self, address: int | None) -> int | None:
        """Where the emulator has what the caller has at `address`."""
        for memory in self._memories:
            if address is not None and memory.address <= address < memory.address + memory.nbytes:
                return self.session.addresses[memory.name] + address - memory.address
        return address


class EmulatedExecutable(Executable):
    """A function whose kernels run on the emulator.

    Raises (on call):
        EmulatorError: at the first fault of a kernel. Arguments keep what they had.
        ValueError, TypeError: as `Executable`.
    """

    __slots__ = ("_inner", "_owner")

    def __init__(self, inner: Executable, owner: EmulatedModule) -> None:
        super().__init__(inner.name, inner, owner)
        self._inner = inner
        self._owner = owner

    def __call__(self, *args: Any) -> Any:
        self._inner.parameters = self.parameters
        memories = [m for i, a in enumerate(args) if (m := self._memory(i, a)) is not None]
        owner = self._owner
        seed = env.TILELANG_EMULATE_SEED
        with Session(owner.kernels(), memories, owner.files, seed) as session:
            call = _Call(session, memories)
            owner.calls.append(call)
            try:
                result = self._inner(*args)
            except RuntimeError:
                if call.error is not None:
                    raise call.error from None
                raise
            finally:
                owner.calls.pop()
            session.collect()
        return result

    def _memory(self, index: int, value: Any) -> Memory | None:
        """The memory of a tensor; its checks are those of the host code."""
        name = (
            self.parameters[index][0] if index < len(self.parameters) else f"argument {index + 1}"
        )
        if hasattr(value, "data_ptr"):
            if value.device.type != "cpu" or value.numel() == 0:
                return None
            span = sum((n - 1) * s for n, s in zip(value.shape, value.stride())) + 1
            size = value.element_size()
            return Memory(name, value.data_ptr(), span * size, size)
        if hasattr(value, "ctypes") and hasattr(value, "strides") and value.size:
            span = sum((n - 1) * s for n, s in zip(value.shape, value.strides)) + value.itemsize
            return Memory(name, value.ctypes.data, span, value.itemsize)
        return None
