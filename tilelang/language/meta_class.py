"""`@T.meta_class`: objects that live while a kernel is traced, with methods that emit code.

A method that stores into elements (`self.buffer[i] = value`) is traced into the kernel that calls
it; all other methods stay plain Python. An `__init__` parameter called `name` prefixes the names of
the buffers that the object makes.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from types import FunctionType
from typing import Any, TypeVar

from tilelang.errors import ArgumentTypeError
from tilelang.ir.buffer import Buffer
from tilelang.language.builder import current, is_tracing
from tilelang.language.prim_func import macro

C = TypeVar("C", bound=type)


def meta_class(cls: C) -> C:
    """Make methods that store into buffers part of the kernels that call them.

    Raises:
        ArgumentTypeError: for anything but a class.
    """
    if not isinstance(cls, type):
        raise ArgumentTypeError(f"meta_class needs a class, got {cls!r}")
    for name, member in list(vars(cls).items()):
        if name == "__init__" and isinstance(member, FunctionType):
            setattr(cls, name, _naming(member))
        elif isinstance(member, FunctionType) and _stores_elements(member):
            setattr(cls, name, _traced(member))
    return cls


def _stores_elements(function: FunctionType) -> bool:
    """Whether the body assigns to something indexed."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source: nothing to trace
        return False
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        if any(isinstance(t, ast.Subscript) for target in targets for t in ast.walk(target)):
            return True
    return False


def _traced(function: FunctionType) -> Any:
    """`function` as a macro while a kernel is traced, and as it is otherwise."""
    inlined = macro(function)

    @functools.wraps(function)
    def method(*args: Any, **keywords: Any) -> Any:
        return (inlined if is_tracing() else function)(*args, **keywords)

    return method


def _naming(function: FunctionType) -> Any:
    """`__init__` that gives the object's new buffers names: `<name>_<attribute>`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def method(self: Any, *args: Any, **keywords: Any) -> None:
        function(self, *args, **keywords)
        bound = signature.bind(self, *args, **keywords)
        bound.apply_defaults()
        prefix = bound.arguments.get("name")
        if is_tracing():
            _name_buffers(self, f"{prefix}_" if isinstance(prefix, str) and prefix else "")

    return method


def _name_buffers(instance: Any, prefix: str) -> None:
    builder = current()
    for attribute, value in getattr(instance, "__dict__", {}).items():
        if isinstance(value, Buffer) and id(value) in builder.unnamed:
            name = builder.fresh_name(f"{prefix}{attribute.lstrip('_')}")
            del builder.unnamed[id(value)]
            if value.data.name == value.name:
                value.data.name = name
            value.name = name
