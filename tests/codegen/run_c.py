"""Runs functions on this machine: all passes, print, compile, call."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tilelang.codegen.c import CALLEE_SUFFIX, print_c, scalar_type
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.engine.toolchain import C_HEADERS, CToolchain
from tilelang.env import env
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Launch, Seq, Stmt
from tilelang.target.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.pipeline import run

_TYPES = {
    "int8_t": ctypes.c_int8, "int16_t": ctypes.c_int16, "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64, "uint8_t": ctypes.c_uint8, "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64, "float": ctypes.c_float,
    "double": ctypes.c_double, "_Bool": ctypes.c_bool, "void *": ctypes.c_void_p,
}  # fmt: skip
_numbers = itertools.count()
# What the host side does when it loads a kernel; and a way to read the reason of a failure.
_GLUE = """
__attribute__((constructor)) static void glue(void) { tl_set_runtime((void *)tl_parallel_for); }
__attribute__((visibility("default"))) const char *reason(void) { return tl_fault_message(); }
"""


def lowered(func: PrimFunc, *, checked: bool = False, **config: Any) -> PrimFunc:
    """`func` as the printer takes it."""
    with env.scope(TILELANG_VERIFY=True):
        return run(func, PassContext(Target("c"), config, sanitize=checked))


def launch(body: Sequence[Stmt]) -> Launch:
    """A launch of one block of one thread."""
    one = as_expr(1)
    block, *threads = (Var(n) for n in ("bx", "tx", "ty", "tz"))
    return Launch((block,), (one,), tuple(threads), (one, one, one), Seq(tuple(body)))


class CompiledC:
    """A function of a compiled unit; arrays and numbers in parameter order, then the symbols."""

    def __init__(self, func: PrimFunc, folder: Path, *, checked: bool = False) -> None:
        self.func = lowered(func, checked=checked)
        self.source = print_c(self.func)
        path = folder / f"unit{next(_numbers)}.so"
        runtime = (C_HEADERS / "runtime.c").read_text(encoding="utf-8")
        CToolchain().build([self.source + _GLUE, runtime], path)
        self.library = ctypes.CDLL(str(path))
        self.call = getattr(self.library, func.name + CALLEE_SUFFIX)
        symbols = dynamic_symbols(func)
        self.call.argtypes = [
            ctypes.c_void_p if isinstance(p, Buffer) else _TYPES[scalar_type(p.dtype)]
            for p in (*func.params, *symbols)
        ]
        self.library.reason.restype = ctypes.c_char_p

    def __call__(self, *args: Any) -> None:
        values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in args]
        code = self.call(*values)
        if code == 2:
            raise RuntimeError(self.library.reason().decode())
        assert code == 0, f"host function returned {code}"
