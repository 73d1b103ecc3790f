"""IR to text for languages with C's expressions and statements.

Comes in: thread IR after the last pass, as a subclass hands it over. Goes out: lines of text that
are meant to be read: names from the user's program, made unique; only the parentheses that are
needed; the user's source line above each statement. A subclass adds functions, memory and the
operations of its target: it overrides class attributes and methods. Nothing is decided here that a
pass could have decided.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from tilelang.codegen.c_expr import ORDER, CExpressions
from tilelang.errors import Span
from tilelang.ir import stmt as S
from tilelang.ir.annotation import UNROLL_FACTOR
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    BinaryOp,
    BufferLoad,
    Call,
    Expr,
    FloorDiv,
    FloorMod,
    Max,
    Min,
    Select,
    const_value,
)
from tilelang.ir.node import Node
from tilelang.ir.ops import is_pure
from tilelang.ir.visitor import walk

MAX_LINE = 100
_EXPENSIVE = (Call, Min, Max, Select, FloorDiv, FloorMod)  # computed once, in front of a loop


class CFamilyPrinter(CExpressions):
    """Statements; `lines` is the text so far."""

    indent_text: ClassVar[str] = "  "
    max_unroll: ClassVar[int] = 64

    def __init__(self) -> None:
        CExpressions.__init__(self)
        self.lines: list[str] = []
        self.depth = 0
        self.last_line: tuple[str, int] | None = None
        self._stmt_methods: dict[type, Callable[[Any], None]] = {}

    # -- text -------------------------------------------------------------------------------------

    def line(self, text: str = "") -> None:
        """One line at the current depth."""
        self.lines.append(self.indent_text * self.depth + text if text else "")

    @contextmanager
    def block(self, head: str, tail: str = "}") -> Generator[None, None, None]:
        """`head {` ... `}`; names made inside are free again after it."""
        self.line(f"{head} {{" if head else "{")
        self.depth += 1
        with self.names.scope():
            yield
        self.depth -= 1
        self.line(tail)

    def wrapped(self, head: str, items: Sequence[str], tail: str) -> None:
        """`head item, item, ... tail`, broken after commas where the line gets long."""
        room = MAX_LINE - len(self.indent_text) * self.depth
        current = head
        for i, item in enumerate(items):
            piece = item + ("," if i + 1 < len(items) else tail)
            if len(current) + len(piece) + 1 > room and current.strip():
                self.line(current.rstrip())
                current = self.indent_text * 2 + piece
            else:
                space = "" if current.endswith(("(", "{")) or not current else " "
                current += space + piece
        self.line(current if items else head + tail)

    def source_comment(self, span: Span | None) -> None:
        """The user's line as a comment, where it is another one than before."""
        if span is None or (span.file, span.line) == self.last_line:
            return
        self.last_line = (span.file, span.line)
        text = span.source_line().strip().rstrip("\\ ")  # a backslash would continue the comment
        self.line(f"// {os.path.basename(span.file)}:{span.line}: {text}".rstrip(": "))

    # -- statements -------------------------------------------------------------------------------

    def stmt(self, node: S.Stmt) -> None:
        """Print a statement."""
        method = self._stmt_methods.get(type(node))
        if method is None:
            method = self._stmt_methods[type(node)] = self._find("stmt_", type(node))
        if node.span is not None:
            self.span = node.span
        if isinstance(node, (S.Seq, S.Attr)):
            method(node)
            return
        start, before = len(self.lines), self.last_line
        self.source_comment(node.span)
        is_new = len(self.lines) > start
        method(node)
        if is_new and len(self.lines) == start + 1:  # the statement needs no text
            self.lines.pop()
            self.last_line = before

    def stmt_Seq(self, node: S.Seq) -> None:
        skip = False
        for stmt, following in zip(node.stmts, (*node.stmts[1:], None)):
            if skip:
                skip = False
            elif self._is_initialised_by(stmt, following):
                assert isinstance(stmt, S.Allocate) and isinstance(following, S.BufferStore)
                self.span = stmt.span or self.span
                self.source_comment(stmt.span)
                self.declare_variable(stmt, following.value)
                skip = True
            else:
                self.stmt(stmt)

    def _is_initialised_by(self, stmt: S.Stmt, following: S.Stmt | None) -> bool:
        return (
            isinstance(stmt, S.Allocate)
            and stmt.buffer.is_var
            and isinstance(following, S.BufferStore)
            and following.buffer is stmt.buffer
            and is_pure(following.value)
        )

    def declare_variable(self, node: S.Allocate, value: Expr | None) -> None:
        """A mutable scalar."""
        text = None if value is None else self.rounded(value)
        kind = self.value_type(node.buffer.dtype)
        name = self.declaration(kind, self.names.define(node.buffer.data))
        self.line(f"{name};" if text is None else f"{name} = {text};")

    def stmt_Bind(self, node: S.Bind) -> None:
        text = self.rounded(node.value)
        kind = self.value_type(node.var.dtype)
        const = "" if kind.endswith("*") else "const "
        name = self.names.define(node.var)
        self.signs.define(node.var, node.value)
        self.line(f"{const}{self.declaration(kind, name)} = {text};")

    def stmt_For(self, node: S.For) -> None:
        start = const_value(node.start)
        stop = self._loop_end(node)
        kind = self.value_type(node.var.dtype)
        first = self.expr(node.start)
        for pragma in self.loop_pragmas(node):
            self.line(pragma)
        with self.names.scope():
            name = self.names.define(node.var)
            self.signs.define(node.var, node.start)
            one_line = f"for ({kind} {name} = {start if start is not None else first}"
            with self.block(f"{one_line}; {name} < {stop}; ++{name})"):
                self.stmt(node.body)

    def _loop_end(self, node: S.For) -> str:
        """The value after the last: text that means the same on every iteration."""
        start = const_value(node.start)
        end = node.extent if start == 0 else node.start + node.extent
        number = const_value(end)
        if number is not None:
            return str(number)
        if is_pure(end) and not any(isinstance(n, _EXPENSIVE) for n in walk(end)):
            return self.expr(end, ORDER + 1)
        name = self.names.fresh("end")
        self.line(f"const {self.value_type(node.var.dtype)} {name} = {self.expr(end)};")
        return name

    def loop_pragmas(self, node: S.For) -> list[str]:
        """Lines in front of a loop."""
        if node.kind is not S.LoopKind.UNROLLED:
            return []
        factor = S.annotation(node.annotations, UNROLL_FACTOR)
        number = const_value(node.extent)
        count = factor if isinstance(factor, int) else number
        if not isinstance(count, int) or count < 2:
            return []
        return [f"#pragma GCC unroll {min(count, self.max_unroll)}"]

    def stmt_While(self, node: S.While) -> None:
        with self.block(f"while ({self.expr(node.condition)})"):
            self.stmt(node.body)

    def stmt_If(self, node: S.If) -> None:
        head = f"if ({self.expr(node.condition)})"
        while True:
            other = node.else_body
            with self.block(head, "}" if other is None else "} else {"):
                self.stmt(node.then_body)
            if other is None:
                return
            if isinstance(other, S.If) and not self._needs_comment(other):
                self.lines.pop()
                node, head = other, f"}} else if ({self.expr(other.condition)})"
                continue
            self.depth += 1
            with self.names.scope():
                self.stmt(other)
            self.depth -= 1
            self.line("}")
            return

    def _needs_comment(self, node: Node) -> bool:
        return node.span is not None and (node.span.file, node.span.line) != self.last_line

    def stmt_Break(self, node: S.Break) -> None:
        self.line("break;")

    def stmt_Continue(self, node: S.Continue) -> None:
        self.line("continue;")

    def stmt_BufferStore(self, node: S.BufferStore) -> None:
        if node.buffer.is_var:
            place = self.names.of(node.buffer.data)
            self.line(self.assignment(place, node, self.rounded))
        else:
            self.store(node)

    def store(self, node: S.BufferStore) -> None:
        """Write an element."""
        self.line(self.assignment(self.element(node.buffer, node.indices[0]), node, self.expr))

    def assignment(self, place: str, node: S.BufferStore, text: Callable[[Expr], str]) -> str:
        """`place = value;`, or `place += part;` where the value starts from the place."""
        value, kind = node.value, node.buffer.dtype
        whole = kind.bits >= 32 and kind not in self.carried_types
        if whole and isinstance(value, BinaryOp) and type(value).__name__ in ("Add", "Sub", "Mul"):
            old = value.a
            if isinstance(old, BufferLoad) and old.buffer.data is node.buffer.data:
                same = old.dtype == kind and structural_equal(old.indices, node.indices)
                if same:
                    return f"{place} {value.symbol}= {text(value.b)};"
        return f"{place} = {text(value)};"

    def stmt_Evaluate(self, node: S.Evaluate) -> None:
        text = self.expr(node.value)
        if text:
            self.line(f"{text};")

    def stmt_Attr(self, node: S.Attr) -> None:
        self.stmt(node.body)
