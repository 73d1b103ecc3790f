"""The host side of a plain CUDA function as a table, for the library that serves all of them.

In: a function as traced, and after the last pass; from `engine.cuda_build`. Out: bytes that
`device/c/launcher.c` turns into a function: which arguments there have to be, which extents give
the symbols, and the kernels with their grids. The function behaves as the text of `host_c` and
`host_cuda` would, messages included, but no C compiler runs for it. Functions whose host side does
more (workspaces, branches, declared strides, packed elements, optional tensors) have no table.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

from tilelang.codegen.c import scalar_type
from tilelang.codegen.host_c import CUDA
from tilelang.codegen.host_cuda import where
from tilelang.codegen.host_print import expected_text
from tilelang.codegen.host_symbols import Binding, SymbolPlan, plan_symbols, storage_of, symbols_in
from tilelang.codegen.kernel_launch import KernelLaunch, kernel_launches
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    Add,
    BinaryOp,
    Cast,
    Expr,
    FloorDiv,
    FloorMod,
    Max,
    Min,
    Mul,
    Sub,
    Var,
    const_value,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Launch, Seq

# As in launcher.c.
_VERSION, _MAX_VALUES, _MAX_RANK, _MAX_DTYPES, _MAX_FOREIGN, _MAX_STACK = 1, 64, 8, 4, 4, 16
_TENSOR, _INT, _FLOAT = range(3)
_FORMS = {"_Bool": 1, "float": 2, "double": 3}  # C type of a value; every other one is 0, a word
_CONST, _VALUE = range(2)
_OPERATIONS: dict[type[BinaryOp], int] = {
    Add: 2, Sub: 3, Mul: 4, FloorDiv: 5, FloorMod: 6, Min: 7, Max: 8
}  # fmt: skip
_ANY = -2  # of an extent: it gives a value
_INT64_MAX = (1 << 63) - 1


class _NotPlainError(Exception):
    """The function needs compiled host code."""


def launch_table(func: PrimFunc, lowered: PrimFunc, arch: str) -> bytes | None:
    """The table of a function; `None` where its host side does more than check and launch.

    Args:
        func: as traced; its parameters are the arguments.
        lowered: after the last pass.
        arch: what the kernels are compiled for, for messages.
    """
    if sys.byteorder != "little":
        return None
    try:
        return _Table(func, lowered, arch).bytes()
    except _NotPlainError:
        return None


def _require(condition: bool) -> None:
    if not condition:
        raise _NotPlainError


class _Table:
    """Words and texts, in the order in which launcher.c reads them."""

    def __init__(self, func: PrimFunc, lowered: PrimFunc, arch: str) -> None:
        self.func, self.lowered, self.arch = func, lowered, arch
        body = lowered.body
        stmts = body.stmts if isinstance(body, Seq) else (body,)
        _require(all(isinstance(s, Launch) for s in stmts))
        self.plan: SymbolPlan = plan_symbols(func)
        self.values: dict[Var, int] = {}
        for param in func.params:
            self.values[param.data if isinstance(param, Buffer) else param] = len(self.values)
        for symbol in self.plan.symbols:
            self.values[symbol] = len(self.values)
        _require(not self.plan.optional and len(self.values) <= _MAX_VALUES)
        _require(len(self.values) == len(func.params) + len(self.plan.symbols))
        self.words: list[int] = []
        self.texts = bytearray()
        self.places: dict[str, int] = {}

    def bytes(self) -> bytes:
        func, kernels = self.func, kernel_launches(self.lowered)
        self.text(func.name)
        self.text(", ".join(p.name for p in func.params))
        self.text(self.arch)
        self.words += [len(func.params), len(self.plan.bindings), len(kernels)]
        for param in func.params:
            if isinstance(param, Buffer):
                self.tensor(param)
            else:
                self.scalar(param)
        for binding in self.plan.bindings:
            self.binding(binding)
        for kernel in kernels:
            self.kernel(kernel)
        head = [_VERSION, 8 * (2 + len(self.words))]
        return struct.pack(f"={len(self.words) + 2}q", *head, *self.words) + bytes(self.texts)

    def text(self, text: str) -> None:
        """A word for a text."""
        if text not in self.places:
            self.places[text] = len(self.texts)
            self.texts += text.encode() + b"\0"
        self.words.append(self.places[text])

    def value(self, var: Var) -> int:
        """The index of a value that a call has."""
        _require(var in self.values)
        return self.values[var]

    # -- parameters -------------------------------------------------------------------------------

    def head(self, kind: int, form: int, param: Buffer | Var) -> None:
        self.words += [kind, form]
        self.text(param.name)
        self.text(expected_text(param, CUDA.name))

    def tensor(self, buffer: Buffer) -> None:
        storage = storage_of(buffer.dtype)
        _require(buffer.declared_strides is None and storage.numerator == storage.denominator)
        _require(buffer.ndim <= _MAX_RANK and len(storage.dtypes) <= _MAX_DTYPES)
        self.head(_TENSOR, 0, buffer)
        self.words += [max(storage.itemsize, CUDA.alignment), len(storage.dtypes)]
        self.words += [c | bits << 8 | lanes << 16 for c, bits, lanes in storage.dtypes]
        own = {b.site.axis for b in self.plan.bindings if b.site.buffer is buffer}
        self.words.append(buffer.ndim)
        for axis, extent in enumerate(buffer.shape):
            number = const_value(extent)
            if axis in own:
                self.words += [_ANY, 0]
            elif number is not None:
                self.words += [-1, int(number)]
            else:
                _require(isinstance(extent, Var))
                assert isinstance(extent, Var)
                self.words += [self.value(extent), 0]
        self.foreign(buffer)

    def foreign(self, buffer: Buffer) -> None:
        """`, where m = 128 (argument 1 `A`)`: what other arguments decided."""
        parts: list[str] = []
        values: list[int] = []
        for var in symbols_in(buffer.shape):
            bound = self.plan.binding_of(var)
            source: Buffer | Var = var if bound is None else bound.site.buffer
            if source is not buffer:
                index = next(i for i, p in enumerate(self.func.params) if p is source)
                parts.append(f"{var.name} = %lld (argument {index + 1} `{source.name}`)")
                values.append(self.value(var))
        _require(len(values) <= _MAX_FOREIGN)
        self.text(", where " + ", ".join(parts) if parts else "")
        self.words += [len(values), *values]

    def scalar(self, var: Var) -> None:
        kind = var.dtype
        _require(kind.is_float or kind.is_int or kind.is_bool)
        _require(kind.kind != "handle" and kind != "uint64")
        form = _FORMS.get(scalar_type(kind), 0)
        self.head(_FLOAT if kind.is_float else _INT, form, var)
        if kind.is_float:
            _require(form in (_FORMS["float"], _FORMS["double"]))
        elif kind.is_int and kind.bits < 64:
            low, high = kind.min_value(), kind.max_value()
            self.words += [int(low), int(high)]
            self.text(f"{low} to {high}")
        else:
            self.words += [0, 0]
            self.text("")

    def binding(self, binding: Binding) -> None:
        site, var = binding.site, binding.var
        _require(not site.is_stride and binding.factor == 1 and binding.offset == 0)
        most = int(var.dtype.max_value()) if var.dtype.bits < 64 else _INT64_MAX
        reason = f" with axis {site.axis} = {site.value} for some {var.dtype} {var.name} >= 0"
        param = self.value(site.buffer.data)
        self.words += [self.value(var), param, site.axis, most]
        self.text(reason.replace("%", "%%"))

    # -- kernels ----------------------------------------------------------------------------------

    def kernel(self, kernel: KernelLaunch) -> None:
        self.text(kernel.name)
        self.text(where(kernel.span))
        self.words += [*kernel.block, kernel.shared_bytes, int(kernel.cooperative)]
        for extent in kernel.grid:
            code = self.expression(extent)
            self.words += [len(code), *code]
        self.words += [len(kernel.params), *(self.value(p.var) for p in kernel.params)]

    def expression(self, value: Expr, depth: int = 1) -> Sequence[int]:
        """In postfix order: operation and operand of each step."""
        _require(depth <= _MAX_STACK)
        number = const_value(value)
        if number is not None:
            return (_CONST, int(number))
        match value:
            case Var():
                _require(value.dtype.is_int)
                return (_VALUE, self.value(value))
            case Cast():
                _require(value.dtype.is_int and value.dtype.bits >= 32 and value.value.dtype.is_int)
                return self.expression(value.value, depth)
            case BinaryOp():
                _require(type(value) in _OPERATIONS)
                a, b = self.expression(value.a, depth), self.expression(value.b, depth + 1)
                return (*a, *b, _OPERATIONS[type(value)], 0)
            case _:
                raise _NotPlainError
