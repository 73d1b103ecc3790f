"""Expressions, regions and annotation values as Python text that rebuilds them exactly.

Used by `script`. Each node is first written as a user would; the printer then builds the node that
this text would build (the operators fold) and, where that is not the same node, writes the explicit
form from `tilelang.language.generic` (called `G` in scripts). Which names are in scope is the
caller's matter: it declares variables and buffers before it prints their uses.
"""

from __future__ import annotations

import base64
import keyword
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

from tilelang.errors import Error
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    FOLDING,
    And,
    BinaryOp,
    BitNot,
    Broadcast,
    BufferLoad,
    BufferRegion,
    Call,
    Cast,
    Comparison,
    Expr,
    FloatImm,
    IntImm,
    Let,
    Not,
    Or,
    Ramp,
    Range,
    Select,
    StringImm,
    Sub,
    Var,
    add,
    as_expr,
    bitwise_not,
    cast,
    constant,
    if_then_else,
    is_const,
    logical_not,
    negate,
    select,
)
from tilelang.ir.node import Node
from tilelang.ir.printer import (
    ATOM,
    NOT,
    UNARY,
    ExprPrinter,
    Text,
    is_whole,
    precedence_of,
    within,
)

RESERVED = frozenset(("T", "G", "float", "range", "module", *keyword.kwlist, *keyword.softkwlist))
# Kinds that every reader knows by their name in the language; others are spelled T.dtype("...").
_NAMED_KINDS = frozenset(
    ("bool", "bfloat16")
    + tuple(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
    + tuple(f"float{bits}" for bits in (16, 32, 64))
)


class Names:
    """Which Python name stands for which variable or buffer. No name is given twice."""

    def __init__(self) -> None:
        self.taken: set[str] = set(RESERVED)
        self.given: dict[Var | Buffer, str] = {}
        self.owners: dict[Var, Buffer] = {}  # storage pointer -> the buffer that brings it

    def fresh(self, wanted: str) -> str:
        """An unused identifier, `wanted` itself where possible."""
        base = re.sub(r"\W", "_", wanted, flags=re.ASCII) or "x"
        base = f"x{base}" if base[0].isdigit() or base.startswith("__") else base
        name, count = base, 0
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name

    def declare(self, what: Var | Buffer, wanted: str | None = None) -> str:
        """Give `what` a new name; from now on it is meant by that."""
        name = self.given[what] = self.fresh(what.name if wanted is None else wanted)
        if isinstance(what, Buffer):
            self.owners.setdefault(what.data, what)
        return name

    def has(self, what: Var | Buffer) -> bool:
        return what in self.given or (isinstance(what, Var) and what in self.owners)

    def of(self, what: Var | Buffer) -> str:
        """The name of something declared; the storage of a buffer is `A.data`."""
        if what in self.given:
            return self.given[what]
        assert isinstance(what, Var) and what in self.owners, f"`{what.name}` is not in scope"
        return f"{self.given[self.owners[what]]}.data"


class ScriptExprs(ExprPrinter):
    """Exact text of expressions, regions and annotation values."""

    prefix = "T."

    def __init__(self, names: Names) -> None:
        self.names = names

    def name(self, what: Var | Buffer) -> str:
        return self.names.of(what)

    def node(self, node: Node, *fields: str) -> Text:
        """The explicit form of any expression."""
        return f"G.node({', '.join((repr(type(node).__name__), *fields))})", ATOM

    # -- constants --------------------------------------------------------------------------------

    def constant(self, node: IntImm | FloatImm) -> Text:
        """A constant with its dtype."""
        kind = node.dtype
        made = _attempt(lambda: constant(_python_value(node), kind))
        if kind.kind in ("handle", "void") or made is None or not structural_equal(made, node):
            return self.node(node, _number(node.value), repr(str(kind)))
        return f"{self.dtype(kind)}({_number(_python_value(node))})", ATOM

    def dtype(self, kind: dtype) -> str:
        """The callable that names a dtype."""
        return f"T.{kind}" if str(kind) in _NAMED_KINDS else f'T.dtype("{kind}")'

    def plain(self, node: Expr) -> str:
        """`node` where a Python number means an int32, float32 or bool constant."""
        if isinstance(node, (IntImm, FloatImm)):
            literal = self.literal(node, as_expr)
            return self.expr(node) if literal is None else literal[0]
        return self.expr(node)

    def literal(self, node: Expr, build: Callable[[Any], Expr]) -> Text | None:
        """`node` as a bare Python number, if `build` makes that very constant of it."""
        if not isinstance(node, (IntImm, FloatImm)):
            return None
        value = _python_value(node)
        if isinstance(value, float) and not math.isfinite(value):
            return None
        made = _attempt(lambda: build(value))
        if made is None or not structural_equal(made, node):
            return None
        text = _number(value)
        return text, UNARY if text.startswith("-") else ATOM

    # -- operators --------------------------------------------------------------------------------

    def is_operator(self, node: BinaryOp) -> bool:
        return precedence_of(node) < ATOM and self.refolds(node)

    def refolds(self, node: BinaryOp) -> bool:
        """Whether the building function of the operator makes this very node of its operands."""
        made = _attempt(lambda: FOLDING[type(node)](node.a, node.b))
        return (
            made is not None
            and type(made) is type(node)
            and isinstance(made, BinaryOp)
            and made.a is node.a
            and made.b is node.b
        )

    def operator(self, node: BinaryOp, left: Text) -> Text:
        own = precedence_of(node)
        if isinstance(node, Sub) and is_const(node.a, 0) and self.same(negate(node.b), node):
            return f"-{self.expr(node.b, UNARY)}", UNARY
        # `a < b < c` chains; `a and b and c` groups to the right
        groups_left = not isinstance(node, (Comparison, And, Or))
        first = left
        if not isinstance(node, Comparison):  # `5 < x` would become `x > 5`
            first = self.operand(node, "a") or left
        second = self.operand(node, "b") or self.text(node.b)
        before = within(first, own if groups_left else own + 1)
        return f"{before} {node.symbol} {within(second, own + 1)}", own

    def operand(self, node: BinaryOp, side: str) -> Text | None:
        """A constant operand as a bare number, if the other operand gives it its dtype."""

        def build(value: Any) -> Expr:
            a, b = (value, node.b) if side == "a" else (node.a, value)
            made = FOLDING[type(node)](a, b)
            assert isinstance(made, type(node)), "the same operator on the same operands"
            return getattr(made, side)

        other = node.b if side == "a" else node.a
        if isinstance(other, (IntImm, FloatImm)) or isinstance(node, (And, Or)):
            return None
        return self.literal(getattr(node, side), build)

    def function_form(self, node: BinaryOp) -> Text:
        if precedence_of(node) == ATOM and self.refolds(node):
            first, second = (self.operand(node, s) or self.text(getattr(node, s)) for s in "ab")
            return self.function(node.symbol, first[0], second[0])
        return self.node(node, self.expr(node.a), self.expr(node.b))

    def same(self, made: Expr | None, node: Expr) -> bool:
        """Whether building again gave `node`: the same class over the same operands."""
        if made is None or type(made) is not type(node) or made.dtype != node.dtype:
            return False
        return all(_is_same_field(getattr(made, f), getattr(node, f)) for f in node.fields)

    # -- the other expressions --------------------------------------------------------------------

    def unit(self, node: Expr) -> Text:
        match node:
            case StringImm():
                extra = () if node.dtype == "void" else (repr(str(node.dtype)),)
                return self.node(node, repr(node.value), *extra)
            case Not():
                if not is_const(node.a) and self.same(_attempt(lambda: logical_not(node.a)), node):
                    return f"not {self.expr(node.a, NOT)}", NOT
                return self.node(node, self.expr(node.a))
            case BitNot():
                if self.same(_attempt(lambda: bitwise_not(node.a)), node):
                    return f"~{self.expr(node.a, UNARY)}", UNARY
                return self.node(node, self.expr(node.a))
            case Cast():
                if self.same(_attempt(lambda: cast(node.value, node.dtype)), node):
                    return f"{self.dtype(node.dtype)}({self.expr(node.value)})", ATOM
                return self.node(node, self.expr(node.value), repr(str(node.dtype)))
            case Select():
                values = (node.condition, node.then_value, node.else_value)
                if self.same(_attempt(lambda: select(*values)), node):
                    return self.function("Select", *self.choice(select, *values))
                return self.node(node, *map(self.expr, values))
            case Ramp() | Broadcast():
                parts = (node.base, node.stride) if isinstance(node, Ramp) else (node.value,)
                return self.node(node, *map(self.expr, parts), str(node.lanes))
            case Let():
                value = self.expr(node.value)
                var = self.names.declare(node.var)
                body = self.expr(node.body)
                kind = "" if node.var.dtype == node.value.dtype else f', "{node.var.dtype}"'
                return f"G.let({value}, lambda {var}: {body}{kind})", ATOM
            case _:
                return super().unit(node)

    def choice(self, build: Callable[..., Expr], c: Expr, a: Expr, b: Expr) -> tuple[str, ...]:
        """Arguments of a conditional expression, one constant of which may stand bare."""
        first, second = self.expr(a), self.expr(b)
        if not is_const(a):
            literal = self.literal(b, lambda v: _else_value(build(c, a, v)))
            second = literal[0] if literal else second
        return self.expr(c), first, second

    def load(self, node: BufferLoad) -> Text:
        name, indices = self.name(node.buffer), [self.plain(i) for i in node.indices]
        made = _attempt(lambda: node.buffer[tuple(node.indices)]) if node.indices else None
        if isinstance(made, BufferLoad) and structural_equal(made, node):
            return f"{name}[{', '.join(indices)}]", ATOM
        return f"{name}.load({', '.join(indices)})", ATOM

    def call(self, node: Call) -> Text:
        args = node.args
        is_negation = node.op == "neg" and len(args) == 1
        if is_negation and self.same(_attempt(lambda: negate(args[0])), node):
            return f"-{self.expr(args[0], UNARY)}", UNARY
        is_choice = node.op == "if_then_else" and len(args) == 3
        if is_choice and self.same(_attempt(lambda: if_then_else(*args)), node):
            return self.function("if_then_else", *self.choice(if_then_else, *args))
        texts = [_text_of(a) or self.plain(a) for a in args]
        return f"G.call({', '.join((repr(node.op), *texts))}, dtype={str(node.dtype)!r})", ATOM

    # -- regions and annotation values ------------------------------------------------------------

    def region(self, node: BufferRegion) -> str:
        name = self.name(node.buffer)
        if is_whole(node) and structural_equal(node.buffer.region(), node):
            return name
        items = [_slice_of(r) for r in node.ranges]
        made = _attempt(lambda: node.buffer[tuple(items)])
        if not isinstance(made, BufferRegion) or not structural_equal(made, node):
            return self.generic_region(node)
        texts = (
            self.plain(i) if isinstance(i, Expr) else f"{self.plain(i.start)}:{self.plain(i.stop)}"
            for i in items
        )
        return f"{name}[{', '.join(texts)}]"

    def generic_region(self, node: BufferRegion) -> str:
        return f"G.region({', '.join((self.name(node.buffer), *map(self.pair, node.ranges)))})"

    def pair(self, node: Range) -> str:
        return f"({self.plain(node.start)}, {self.plain(node.extent)})"

    def value(self, value: Any) -> str:
        """An annotation value, or anything else that is not run-time code."""
        match value:
            case Buffer():
                return self.name(value)
            case BufferRegion():
                return self.generic_region(value)
            case Range():
                return f"G.node('Range', {self.expr(value.start)}, {self.expr(value.extent)})"
            case Expr():
                return self.expr(value)
            case tuple() if type(value) is tuple:
                items = ", ".join(map(self.value, value))
                return f"({items},)" if len(value) == 1 else f"({items})"
            case _:
                return self.constant_value(value)

    def constant_value(self, value: Any) -> str:
        if isinstance(value, dtype):
            return f"T.dtype({str(value)!r})"
        if value is None or type(value) in (bool, int, float, str):
            return _number(value) if type(value) is float else repr(value)
        if type(value).__name__ in ("Layout", "Fragment") and hasattr(value, "get_forward_vars"):
            return self.layout(value)
        packed = base64.b64encode(pickle.dumps(value, protocol=4)).decode()
        return f"G.unpacked({packed!r})"

    def layout(self, layout: Any) -> str:
        """A layout as the function that makes it."""
        names = [self.names.declare(v) for v in layout.variables]
        place = f"[{', '.join(self.expr(e) for e in layout.forward)}]"
        kind, body, extra = "T.Layout", place, ""
        if type(layout).__name__ == "Fragment":
            kind = "T.Fragment"
            if layout.num_replicas > 1:
                names.append(self.names.declare(layout.rep))
                extra = f", replicate={layout.num_replicas}"
            body = f"({self.expr(layout.thread)}, {place})"
        self.names.taken.difference_update(names)  # known inside the lambda only
        return f"{kind}({list(layout.shape)}, lambda {', '.join(names)}: {body}{extra})"


def _attempt(build: Callable[[], Any]) -> Any:
    """What `build` makes, or `None` where the operands allow no such thing."""
    try:
        return build()
    except (Error, OverflowError):
        return None


def _is_same_field(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_is_same_field(x, y) for x, y in zip(a, b))
    return a is b or (not isinstance(a, Node) and a == b) or _is_same_constant(a, b)


def _is_same_constant(a: Any, b: Any) -> bool:
    return isinstance(a, (IntImm, FloatImm)) and structural_equal(a, b)


def _else_value(node: Expr) -> Expr:
    assert isinstance(node, (Select, Call)), "a conditional expression"
    return node.else_value if isinstance(node, Select) else node.args[2]


def _text_of(node: Expr) -> str | None:
    return repr(node.value) if isinstance(node, StringImm) and node.dtype == "void" else None


def _python_value(node: IntImm | FloatImm) -> bool | int | float:
    if isinstance(node, FloatImm):
        return float(node.value)
    return bool(node.value) if node.dtype.is_bool and node.value in (0, 1) else int(node.value)


def _number(value: bool | int | float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _slice_of(node: Range) -> Any:
    if is_const(node.extent, 1):
        return node.start
    return slice(node.start, add(node.start, node.extent))
