"""Functions and modules of the IR."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from tilelang.errors import Span
from tilelang.ir.annotation import constants
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.node import Node, node, replace
from tilelang.ir.stmt import Annotations, Stmt, annotation

Parameter: TypeAlias = "Buffer | Var"

# Function attributes: name, value type, meaning.
OUT_IDX = "tilelang_out_idx"  # tuple[int, ...]: parameters that the caller does not pass, negative
PASS_CONFIGS = "tilelang_pass_configs"  # tuple[tuple[str, value], ...]
COMPILE_FLAGS = "tilelang_compile_flags"  # tuple[str, ...]
RESTRICT_DROPPED = "tilelang_may_alias"  # tuple[str, ...]: parameters that may overlap others
SOURCE_PRELUDE = "tilelang_prelude"  # tuple[str, ...]: device text placed before the kernels
TARGET = "target"  # Target: set when compilation begins
GLOBAL_SYMBOL = "global_symbol"  # str: exported name
FUNCTION_KEYS = constants(dict(globals()))


def imported_text(text: str, span: Span | None) -> str:
    """Device text of a user, under a comment that says where it was given."""
    if span is None:
        return text
    return f"// imported at {os.path.basename(span.file)}:{span.line}\n{text}"


@node
class PrimFunc(Node):
    """A kernel function: parameters in call order (buffers, scalars, pointers) and a body."""

    name: str
    params: tuple[Parameter, ...]
    body: Stmt
    attributes: Annotations = ()

    def attribute(self, key: str, default: Any = None) -> Any:
        """The function attribute `key`."""
        return annotation(self.attributes, key, default)

    def with_attribute(self, key: str, value: Any) -> PrimFunc:
        """A copy with `key` set."""
        rest = tuple((k, v) for k, v in self.attributes if k != key)
        return replace(self, attributes=(*rest, (key, value)))

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes as a dictionary."""
        return {GLOBAL_SYMBOL: self.name, **dict(self.attributes)}

    @property
    def buffer_params(self) -> tuple[Buffer, ...]:
        return tuple(p for p in self.params if isinstance(p, Buffer))

    @property
    def buffer_map(self) -> dict[Var, Buffer]:
        """Pointer variable of each buffer parameter -> buffer."""
        return {b.data: b for b in self.buffer_params}

    def script(self) -> str:
        """Python text that, executed, rebuilds an equal function."""
        from tilelang.ir.script import to_script  # the printer is built on this module

        return to_script(self)


class IRModule:
    """Named functions. Iteration order is insertion order."""

    __slots__ = ("attributes", "functions")

    def __init__(
        self,
        functions: Mapping[Any, PrimFunc] | PrimFunc | None = None,
        attributes: Annotations = (),
    ) -> None:
        if isinstance(functions, PrimFunc):
            functions = {functions.name: functions}
        self.functions: dict[str, PrimFunc] = {str(k): v for k, v in (functions or {}).items()}
        self.attributes = attributes

    def __getitem__(self, name: str) -> PrimFunc:
        return self.functions[str(name)]

    def __contains__(self, name: str) -> bool:
        return str(name) in self.functions

    def __len__(self) -> int:
        return len(self.functions)

    def items(self) -> Any:
        return self.functions.items()

    def script(self) -> str:
        """Python text that, executed, rebuilds an equal module."""
        from tilelang.ir.script import to_script  # the printer is built on this module

        return to_script(self)
