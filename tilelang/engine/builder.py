"""What turns printed text into a library that can be called, per target.

In: a `BuildRequest`, from `engine.lower` or an adapter. Out: the `Module` that the target's builder
makes of it. Builders are named by the target's row; this file names none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tilelang.engine.runtime import Module
from tilelang.ir.func import PrimFunc
from tilelang.ir.record import record
from tilelang.ir.stmt import Stmt
from tilelang.target.target import Target, load


@record
class BuildRequest:
    """One library to be built.

    Attributes:
        func: as traced; its parameters are the arguments of a call.
        lowered: after the last pass.
        source: what the target's printer made of it.
        target: what is compiled for.
        flags: the user's, for the device compiler.
    """

    func: PrimFunc
    lowered: PrimFunc
    source: str
    target: Target
    flags: tuple[str, ...] = ()


@record
class PlainLibrary:
    """A library that C programs call, as text.

    Attributes:
        sources: C translation units.
        header: declares `init`, `call` and `get_last_error`.
        flags: for the C compiler.
    """

    sources: tuple[str, ...]
    header: str
    flags: tuple[str, ...] = ()


class DeviceCode(Protocol):
    """What a device compiler made of a kernel, for people."""

    def ptx(self) -> str:
        """Portable assembly."""
        ...

    def sass(self) -> str:
        """Machine code, disassembled."""
        ...


class Builder(Protocol):
    """Text to library for one target."""

    place: str  # where tensors of a call have to be, as messages name it
    fast_math: tuple[str, ...]  # what tells the device compiler that speed matters more
    line_info: tuple[str, ...]  # what makes it keep the lines that `#line` names
    hosted_only: bool  # its kernels are called by compiled host code alone
    located: tuple[type[Stmt], ...]  # statements whose lines are in the binary, for messages

    def identity(self, target: Target, hosted: bool = True) -> str:
        """What besides text and flags decides the binary; `hosted`: with compiled host code."""
        ...

    def prepare(self, target: Target) -> None:
        """Begin, in the background, what a kernel needs whatever the program is. Called as soon as
        one is asked for, and again before it is built; nothing depends on the outcome."""
        ...

    def build(self, request: BuildRequest) -> Module:
        """Compile.

        Raises:
            ToolchainError: when a compiler is missing, or fails.
        """
        ...

    def plain_library(self, request: BuildRequest) -> PlainLibrary:
        """The request's function for callers in C, who need nothing of Python.

        Raises:
            ToolchainError: when the device compiler is missing, or fails.
        """
        ...

    def device_code(self, request: BuildRequest, module: Module) -> DeviceCode | None:
        """What the device compiler made of the request's text; `None` without one."""
        ...

    def load(self, library: Path, device_source: str, host_source: str, target: Target) -> Module:
        """A library that was built before; nothing is compiled."""
        ...


def builder_of(target: Target) -> Builder:
    """The builder that the target's row names."""
    path = target.row.builder
    assert path is not None, f"target {target.kind} has no builder"
    found: Builder = load(path)()
    return found
