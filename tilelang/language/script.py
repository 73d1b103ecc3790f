"""Printed programs back to functions: the inverse of `PrimFunc.script()`.

Comes in: text that `ir.script.to_script` wrote, perhaps edited since. Goes out: the function or
module that executing it defines. The text is executed as Python: pass only text you trust.
"""

from __future__ import annotations

import hashlib
import linecache
from typing import Any

from tilelang.errors import ArgumentError
from tilelang.ir.func import IRModule, PrimFunc


def from_script(text: str, name: str | None = None) -> PrimFunc | IRModule:
    """The program that `text` defines: its module if it makes one, otherwise its only function.

    Args:
        name: file name that error messages show; made up from the text when not given.

    Raises:
        ArgumentError: for a text that defines no function, or several and no module.
        Error: whatever tracing the functions raises, located in `text`.
    """
    file = name or f"<tilelang-script-{hashlib.sha256(text.encode()).hexdigest()[:12]}>"
    # The tracer reads the source of what it traces; no modification time keeps the entry for good.
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"__name__": "tilelang_script"}
    exec(compile(text, file, "exec"), scope)
    modules = [v for v in scope.values() if isinstance(v, IRModule)]
    if modules:
        return modules[-1]
    functions = [v for v in scope.values() if isinstance(v, PrimFunc)]
    if len(functions) != 1:
        found = ", ".join(f.name for f in functions) or "none"
        raise ArgumentError(f"expected a text that defines one function, found {found}")
    return functions[0]
