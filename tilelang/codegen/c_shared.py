"""One compiled copy of a micro-kernel for all calls that differ in addresses and run-time sizes.

In: a function body, whose calls of device functions carry constants that fold when inlined. Out:
for each combination of constants that occurs more than once, a name, and the text of a function
that is compiled once. A second inlined copy of a product costs 75 ms of compile time at -O3; a call
per tile costs nothing that can be measured (GCC 12, 2026-11).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from tilelang.ir.expr import Call, Expr, FloatImm, IntImm, StringImm
from tilelang.ir.node import Node
from tilelang.ir.visitor import walk

Pattern: TypeAlias = "tuple[str, tuple[str | None, ...]]"

_LARGE = ("tl_gemm_", "tl_pack_", "tl_copy_")


def pattern_of(value: Call) -> Pattern:
    """The function, and the text of each argument that is a constant."""
    return value.op, tuple(_constant_text(a) for a in value.args)


def _constant_text(value: Expr) -> str | None:
    if isinstance(value, (IntImm, FloatImm, StringImm)):
        return f"{value.value}:{value.dtype}"
    if isinstance(value, Call) and value.op == "symbol":
        return f"{_constant_text(value.args[0])}:symbol"
    return None


class SharedFunctions:
    """Names and texts of the shared copies of one unit."""

    def __init__(self, body: Node) -> None:
        calls = (n for n in walk(body) if isinstance(n, Call) and n.op.startswith(_LARGE))
        counts = Counter(map(pattern_of, calls))
        repeated = [pattern for pattern, count in counts.items() if count > 1]
        self.names: dict[Pattern, str] = {}
        for pattern in repeated:
            base = pattern[0].removeprefix("tl_")
            taken = sum(other[0] == pattern[0] for other in self.names)
            self.names[pattern] = f"{base}_shared" + (f"_{taken}" if taken else "")
        self.texts: dict[str, str] = {}

    def call(self, value: Call, text: Callable[[Expr], str], kind: Callable[[Expr], str]) -> str:
        """A call of the shared copy; empty where the call has none.

        Args:
            value: the call.
            text: prints an argument.
            kind: the C type in which an argument is passed.
        """
        pattern = pattern_of(value)
        name = self.names.get(pattern)
        if name is None:
            return ""
        varying = [i for i, constant in enumerate(pattern[1]) if constant is None]
        if name not in self.texts:
            params = ", ".join(f"{kind(value.args[i])}a{i}" for i in varying)
            inner = (f"a{i}" if i in varying else text(a) for i, a in enumerate(value.args))
            head = f"static __attribute__((noinline)) void {name}({params})"
            self.texts[name] = f"{head} {{\n  {value.op}({', '.join(inner)});\n}}"
        return f"{name}({', '.join(text(value.args[i]) for i in varying)})"
