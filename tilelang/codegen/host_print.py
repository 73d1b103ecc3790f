"""How things of the host side are written: integer expressions and scalar types in C, and the words
of messages.

Called by `codegen.host_c`. Integer expressions are the extents and strides of parameters; the
functions they call are in `device/c/ffi_args.h`. Expressions of kernels are not printed here.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilelang.codegen.host_symbols import storage_of
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    Add,
    BinaryOp,
    Cast,
    Expr,
    FloorDiv,
    FloorMod,
    IntImm,
    Max,
    Min,
    Mul,
    Not,
    Select,
    Sub,
    TruncDiv,
    TruncMod,
    Var,
    as_expr,
    const_value,
)


def print_integer(value: Expr, names: Mapping[Var, str]) -> str:
    """An integer expression as C over `int64_t` variables of the given names."""
    match value:
        case Var():
            return names[value]
        case IntImm():
            return str(value.value) if abs(value.value) < 1 << 31 else f"{value.value}LL"
        case Cast():
            return print_integer(value.value, names)
        case Select():
            parts = (value.condition, value.then_value, value.else_value)
            return "({} ? {} : {})".format(*(print_integer(p, names) for p in parts))
        case Not():
            return f"!{print_integer(value.a, names)}"
        case BinaryOp():
            return _print_binary(
                value, print_integer(value.a, names), print_integer(value.b, names)
            )
        case _:
            raise AssertionError(f"an extent of a parameter contains a {type(value).__name__}")


def _print_binary(value: BinaryOp, a: str, b: str) -> str:
    match value:
        case FloorDiv():
            return f"tl_ffi_floordiv({a}, {b})"
        case FloorMod():
            return f"tl_ffi_floormod({a}, {b})"
        case Min():
            return f"({a} < {b} ? {a} : {b})"
        case Max():
            return f"({a} > {b} ? {a} : {b})"
        case Add() | Sub() | Mul():
            return f"({a} {value.symbol} {b})"
        case TruncDiv() | TruncMod():
            return f"({b} == 0 ? 0 : {a} {'/' if isinstance(value, TruncDiv) else '%'} {b})"
        case _:
            symbol = {"and": "&&", "or": "||"}.get(value.symbol, value.symbol)
            return f"({a} {symbol} {b})"


def scalar_c_type(kind: dtype) -> str:
    """C type in which a scalar is passed; floats of 16 bits and fewer arrive as `float`."""
    if kind.is_bool:
        return "_Bool"
    if kind.is_int:
        bits = max(kind.bits, 8)
        return f"{'u' if kind.kind == 'uint' else ''}int{bits}_t"
    if kind.is_float:
        return "double" if kind.bits == 64 else "float"
    return "void *"


def expected_text(param: Buffer | Var, place: str = "cpu") -> str:
    """What messages say is expected: `float16[m, 64] on cpu`, `int32`."""
    if isinstance(param, Var):
        if param.dtype.kind != "handle":
            return str(param.dtype)
        return f"a tensor{'' if place == 'cpu' else f' on {place}'} or an address"
    shape = [str(e) for e in param.shape]
    text = f"{param.dtype}[{', '.join(shape)}] on {place}"
    storage = storage_of(param.dtype)
    if storage.numerator == storage.denominator or not shape:
        return text
    last, number = param.shape[-1], const_value(param.shape[-1])
    if number is not None:
        stored = str(-(-int(number) * storage.numerator // storage.denominator))
    else:
        stored = str(as_expr(last) * storage.numerator // storage.denominator)
    lanes = "" if storage.itemsize == 1 else f" as {param.dtype.element}"
    return f"{text}, stored{lanes} with shape [{', '.join([*shape[:-1], stored])}]"


def quote(text: str) -> str:
    """A C string literal of the UTF-8 bytes of `text`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    # The empty literal ends the escape, which would swallow a hexadecimal digit after it.
    return (
        '"'
        + "".join(
            c if c.isascii() else "".join(f'\\x{b:02x}""' for b in c.encode()) for c in escaped
        )
        + '"'
    )
