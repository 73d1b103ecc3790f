"""When each storage of a launch is needed: from which statement to which.

In: a launch body in thread form. Out: per allocated storage the statements (by number, in program
order) that touch it, and the period in which it must keep its bytes. Buffers over one `data` are
one storage. What is allocated outside a loop is needed in the whole of a loop that touches it, as
values may pass from one iteration to the next. It assigns no places: `plan_memory` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tilelang.errors import Span
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import Call, Expr, Let, Var
from tilelang.ir.node import Node
from tilelang.ir.stmt import Allocate, Bind, BufferStore, For, If, Seq, Stmt, While
from tilelang.ir.visitor import children, walk

POINTER_OPS = frozenset(("address_of", "access_ptr", "tvm_access_ptr"))


@dataclass(slots=True)
class Period:
    """Statements [first, last] of a loop, or of the uses of a storage; empty where last < first."""

    first: int
    last: int
    first_span: Span | None = None
    last_span: Span | None = None


@dataclass(slots=True)
class Storage:
    """One allocation and its uses: statement, loops around it, line."""

    allocate: Allocate
    depth: int  # loops around the Allocate
    uses: list[tuple[int, tuple[Period, ...], Span | None]] = field(default_factory=list)
    escapes: bool = False


class Liveness:
    """`visit` numbers the statements of a launch and records which storage each one touches."""

    def __init__(self) -> None:
        self.position = 0
        self.loops: list[Period] = []
        self.storages: dict[Var, Storage] = {}

    def visit(self, stmt: Stmt) -> None:
        """Number `stmt` and what is inside it."""
        match stmt:
            case Seq(stmts=stmts):
                for item in stmts:
                    self.visit(item)
            case Allocate(buffer=buffer) if buffer.scope() != GLOBAL:
                self.storages[buffer.data] = Storage(stmt, len(self.loops))
            case For() | While():
                self._visit_loop(stmt)
            case If():
                self._use(stmt.condition, stmt.span)
                self.visit(stmt.then_body)
                if stmt.else_body is not None:
                    self.visit(stmt.else_body)
            case _:
                for child in children(stmt):
                    if not isinstance(child, Stmt):
                        self._use(child, stmt.span)
                self._use_direct(stmt)
                for child in children(stmt):
                    if isinstance(child, Stmt):
                        self.visit(child)

    def _visit_loop(self, stmt: For | While) -> None:
        if isinstance(stmt, For):
            self._use(stmt.start, stmt.span)
            self._use(stmt.extent, stmt.span)
        loop = Period(self.position, 0)
        self.loops.append(loop)
        if isinstance(stmt, While):
            self._use(stmt.condition, stmt.span)
        else:
            for _, value in stmt.annotations:
                self._use_value(value, stmt.span)
        self.visit(stmt.body)
        self.loops.pop()
        loop.last = self.position
        self.position += 1

    def _use_direct(self, stmt: Stmt) -> None:
        """A store's own buffer; pointers that outlive the statement."""
        if isinstance(stmt, BufferStore):
            self._record(stmt.buffer.data, stmt.span)
        if isinstance(stmt, (Bind, BufferStore)):
            for var in escaping_storage(stmt.value):
                if var in self.storages:
                    self.storages[var].escapes = True
        self.position += 1

    def _use_value(self, value: object, span: Span | None) -> None:
        if isinstance(value, tuple):
            for item in value:
                self._use_value(item, span)
        elif isinstance(value, Buffer):
            self._record(value.data, span)
        elif isinstance(value, Node):
            self._use(value, span)

    def _use(self, node: Node, span: Span | None) -> None:
        for var in storage_in(node):
            self._record(var, span)
        for item in walk(node):
            if isinstance(item, Let):
                for var in escaping_storage(item.value):
                    if var in self.storages:
                        self.storages[var].escapes = True

    def _record(self, data: Var, span: Span | None) -> None:
        storage = self.storages.get(data)
        if storage is not None:
            storage.uses.append((self.position, tuple(self.loops), span))


def storage_in(node: Node) -> Iterator[Var]:
    """Storage that `node` refers to, by a buffer or by a pointer variable."""
    for item in walk(node):
        buffer = getattr(item, "buffer", None)
        if isinstance(buffer, Buffer):
            yield buffer.data
        elif isinstance(item, Var) and item.dtype.kind == "handle":
            yield item


def escaping_storage(value: Expr) -> Iterator[Var]:
    """Storage whose address becomes part of a value that is kept."""
    for item in walk(value):
        if isinstance(item, Call) and item.op in POINTER_OPS:
            yield from storage_in(item)
        elif isinstance(item, Var) and item.dtype.kind == "handle":
            yield item


def period_of(storage: Storage, end: int) -> Period:
    """From first to last use. What is allocated outside a loop may carry values from one iteration
    to the next, so a use inside makes it live in the whole loop."""
    if not storage.uses:
        return Period(0, -1)
    firsts: list[int] = []
    lasts: list[int] = []
    for position, loops, _ in storage.uses:
        around = loops[storage.depth] if len(loops) > storage.depth else None
        firsts.append(min(position, around.first) if around else position)
        lasts.append(max(position, around.last) if around else position)
    spans = [span for _, _, span in storage.uses if span is not None]
    last = end if storage.escapes else max(lasts)
    ends = (spans[0], spans[-1]) if spans else (None, None)
    return Period(min(firsts), last, *ends)
