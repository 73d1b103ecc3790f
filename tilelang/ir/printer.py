"""Nodes to one line of text, for error messages and `repr`.

`to_text` writes what a user would write: operators by Python's precedence without needless
parentheses, whole regions as the buffer's name, statements by their heads. `ExprPrinter` is the
machinery, shared with `ir.script`, which writes whole functions exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilelang.ir.buffer import Buffer, describe
from tilelang.ir.expr import (
    Add,
    And,
    BinaryOp,
    BitAnd,
    BitNot,
    BitOr,
    BitXor,
    Broadcast,
    BufferLoad,
    BufferRegion,
    Call,
    Cast,
    Comparison,
    Div,
    Expr,
    FloatImm,
    FloorDiv,
    FloorMod,
    IntImm,
    Let,
    Mul,
    Not,
    Or,
    Ramp,
    Range,
    Select,
    ShiftLeft,
    ShiftRight,
    StringImm,
    Sub,
    Var,
    add,
    is_const,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Attr,
    Bind,
    Break,
    BufferStore,
    Continue,
    Evaluate,
    For,
    If,
    Launch,
    Seq,
    While,
)
from tilelang.ir.tile import TileOp, TileOperand

# How tightly Python binds; a higher number binds tighter.
OR, AND, NOT, COMPARE, BIT_OR, BIT_XOR, BIT_AND, SHIFT, SUM, PRODUCT, UNARY, ATOM = range(12)
PRECEDENCE: dict[type[BinaryOp], int] = {
    Or: OR, And: AND, BitOr: BIT_OR, BitXor: BIT_XOR, BitAnd: BIT_AND, ShiftLeft: SHIFT,
    ShiftRight: SHIFT, Add: SUM, Sub: SUM, Mul: PRODUCT, Div: PRODUCT, FloorDiv: PRODUCT,
    FloorMod: PRODUCT,
}  # fmt: skip

Text = tuple[str, int]  # the characters, and how tightly their outermost operator binds


def within(text: Text, precedence: int) -> str:
    """`text` as an operand that must bind at least as tightly as `precedence`."""
    return text[0] if text[1] >= precedence else f"({text[0]})"


def precedence_of(node: BinaryOp) -> int:
    """Precedence of the operator; `ATOM` for those that are written as calls (`min(a, b)`)."""
    return COMPARE if isinstance(node, Comparison) else PRECEDENCE.get(type(node), ATOM)


class ExprPrinter:
    """Expressions as text. Subclasses say how names and single kinds are written."""

    prefix = ""  # stands before each function name

    def expr(self, node: Expr, precedence: int = OR) -> str:
        """`node`, in parentheses where its operator binds looser than `precedence`."""
        return within(self.text(node), precedence)

    def text(self, node: Expr) -> Text:
        """`node` without parentheses around it, and its precedence."""
        return self.binary(node) if isinstance(node, BinaryOp) else self.unit(node)

    def name(self, what: Var | Buffer) -> str:
        return what.name

    def function(self, name: str, *args: str) -> Text:
        return f"{self.prefix}{name}({', '.join(args)})", ATOM

    def binary(self, node: BinaryOp) -> Text:
        # Long sums lean to the left: walk down the left spine instead of recursing.
        spine: list[BinaryOp] = []
        left: Expr = node
        while isinstance(left, BinaryOp) and self.is_operator(left):
            spine.append(left)
            left = left.a
        text = self.function_form(left) if isinstance(left, BinaryOp) else self.unit(left)
        for item in reversed(spine):
            text = self.operator(item, text)
        return text

    def is_operator(self, node: BinaryOp) -> bool:
        """Whether `node` is written with an operator between its operands."""
        return precedence_of(node) < ATOM

    def operator(self, node: BinaryOp, left: Text) -> Text:
        own = precedence_of(node)
        if isinstance(node, Sub) and isinstance(node.a, IntImm) and node.a.value == 0:
            return f"-{self.expr(node.b, UNARY)}", UNARY
        chains = not isinstance(node, Comparison)  # `a < b < c` means something else
        first = within(left, own if chains else own + 1)
        return f"{first} {node.symbol} {self.expr(node.b, own + 1)}", own

    def function_form(self, node: BinaryOp) -> Text:
        return self.function(node.symbol, self.expr(node.a), self.expr(node.b))

    def unit(self, node: Expr) -> Text:
        """Everything but the binary operators."""
        match node:
            case Var():
                return self.name(node), ATOM
            case IntImm() | FloatImm():
                return self.constant(node)
            case StringImm():
                return repr(node.value), ATOM
            case Not():
                return f"not {self.expr(node.a, NOT)}", NOT
            case BitNot():
                return f"~{self.expr(node.a, UNARY)}", UNARY
            case Cast():
                return self.function(str(node.dtype), self.expr(node.value))
            case Select():
                values = (node.condition, node.then_value, node.else_value)
                return self.function("Select", *map(self.expr, values))
            case BufferLoad():
                return self.load(node)
            case Ramp():
                base, stride = self.expr(node.base), self.expr(node.stride)
                return self.function("Ramp", base, stride, str(node.lanes))
            case Broadcast():
                return self.function("Broadcast", self.expr(node.value), str(node.lanes))
            case Let():
                binding = f"{self.name(node.var)} = {self.expr(node.value)}"
                return self.function("let", binding, self.expr(node.body))
            case Call():
                return self.call(node)
            case _:
                raise AssertionError(f"{type(node).__name__} is not an expression class")

    def constant(self, node: IntImm | FloatImm) -> Text:
        value = bool(node.value) if node.dtype.is_bool else node.value
        text = str(value)
        return text, UNARY if text.startswith("-") else ATOM

    def load(self, node: BufferLoad) -> Text:
        if node.buffer.is_var:
            return self.name(node.buffer), ATOM
        return f"{self.name(node.buffer)}[{', '.join(map(self.expr, node.indices))}]", ATOM

    def call(self, node: Call) -> Text:
        if node.op == "neg" and len(node.args) == 1:
            return f"-{self.expr(node.args[0], UNARY)}", UNARY
        return self.function(node.op, *map(self.expr, node.args))

    def region(self, node: BufferRegion) -> str:
        """`A[i, 0:64]`; the whole buffer by its name."""
        if is_whole(node):
            return self.name(node.buffer)
        return f"{self.name(node.buffer)}[{', '.join(map(self.range, node.ranges))}]"

    def range(self, node: Range) -> str:
        if is_const(node.extent, 1):
            return self.expr(node.start)
        return f"{self.expr(node.start)}:{self.expr(add(node.start, node.extent))}"


def is_whole(region: BufferRegion) -> bool:
    """Whether `region` is visibly all of its buffer."""
    return all(
        is_const(r.start, 0) and (r.extent is e or (isinstance(e, int) and is_const(r.extent, e)))
        for r, e in zip(region.ranges, region.buffer.shape)
    )


_TEXT = ExprPrinter()


def to_text(node: Node) -> str:
    """`node` on one line: an expression or region whole, a statement by its head."""
    if isinstance(node, Expr):
        return _TEXT.expr(node)
    writer = _HEADS.get(type(node))
    return writer(node) if writer is not None else f"<{type(node).__name__}>"


def _value_text(value: Any) -> str:
    if isinstance(value, Buffer):
        return value.name
    if isinstance(value, tuple):
        items = ", ".join(map(_value_text, value))
        return f"({items},)" if len(value) == 1 else f"({items})"
    if isinstance(value, Node):
        return to_text(value)
    return repr(value) if type(value) is str else str(value)


def _pairs(prefix: str, pairs: tuple[tuple[str, Any], ...]) -> str:
    return "".join(f"{prefix}{name}={_value_text(value)}" for name, value in pairs)


def _for(node: For) -> str:
    start = "" if is_const(node.start, 0) else f"{to_text(node.start)}, "
    stop = to_text(add(node.start, node.extent))
    extra = _pairs(", ", node.annotations)
    return f"for {node.var.name} in {node.kind.value}({start}{stop}{extra})"


def _launch(node: Launch) -> str:
    grid = ", ".join(map(to_text, node.grid_extents))
    threads = ", ".join(map(to_text, node.thread_extents))
    names = ", ".join(v.name for v in node.grid_vars)
    return f"with Kernel({grid}, threads=({threads})) as ({names})"


def _tile_op(node: TileOp) -> str:
    operands = ", ".join(to_text(o.region) for o in node.operands)
    separator = ", " if operands else ""
    rest = _pairs(", ", node.values) + _pairs(", ", node.attributes)
    return f"{node.op}({operands}{rest if separator else rest.removeprefix(', ')})"


def _seq(node: Seq) -> str:
    shown = "; ".join(to_text(s) for s in node.stmts[:3])
    left = len(node.stmts) - 3
    return f"{{{shown}{f'; and {left} more' if left > 0 else ''}}}"


def _prim_func(node: PrimFunc) -> str:
    params = (describe(p) if isinstance(p, Buffer) else str(p.dtype) for p in node.params)
    named = ", ".join(f"{p.name}: {text}" for p, text in zip(node.params, params))
    return f"prim_func {node.name}({named})"


def _store(node: BufferStore) -> str:
    place = _TEXT.load(BufferLoad(node.buffer, node.indices))[0]
    return f"{place} = {to_text(node.value)}"


_HEADS: dict[type[Node], Callable[[Any], str]] = {
    Range: _TEXT.range,
    BufferRegion: _TEXT.region,
    TileOperand: lambda n: f"{n.name}={to_text(n.region)} [{n.access}]",
    Seq: _seq,
    Bind: lambda n: f"{n.var.name} = {to_text(n.value)}",
    Allocate: lambda n: f"allocate {n.buffer!r}{_pairs(', ', n.annotations)}",
    For: _for,
    While: lambda n: f"while {to_text(n.condition)}",
    If: lambda n: f"if {to_text(n.condition)}",
    Break: lambda n: "break",
    Continue: lambda n: "continue",
    BufferStore: _store,
    Evaluate: lambda n: to_text(n.value),
    Assert: lambda n: f"assert {to_text(n.condition)}, {n.message!r}",
    Attr: lambda n: f"attr {n.key}={_value_text(n.value)}",
    Launch: _launch,
    TileOp: _tile_op,
    PrimFunc: _prim_func,
}
