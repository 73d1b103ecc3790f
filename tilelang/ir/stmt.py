"""Statements of the IR, for both forms.

    Stmt := Seq(stmts) | Bind(var, value) | Allocate(buffer, annotations)
          | For(var, start, extent, kind, body, annotations) | While(condition, body)
          | If(condition, then_body, else_body) | Break() | Continue()
          | BufferStore(buffer, value, indices) | Evaluate(value)
          | Assert(condition, message) | Attr(key, value, body)
          | Launch(grid_vars, grid_extents, thread_vars, thread_extents, body, annotations)
          | TileOp(op, operands, values, attributes)                   [tile form only; ir/tile.py]

`Bind` and `Allocate` hold for the rest of the `Seq` in which they stand. A `For` runs `var` over
`start, start + 1, ..., start + extent - 1`. A launch over one or more axes is one device kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TypeAlias

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr, Var
from tilelang.ir.node import Node, node

# What an annotation may hold: a constant, an expression, a dtype or layout object, tuples of such.
AnnotationValue: TypeAlias = object
Annotations: TypeAlias = "tuple[tuple[str, AnnotationValue], ...]"


class LoopKind(str, Enum):
    """How the iterations of a `For` run."""

    SERIAL = "serial"
    UNROLLED = "unroll"
    VECTORIZED = "vectorized"  # constant extent, one vector operation per statement
    PARALLEL = "Parallel"  # independent iterations spread over a block's threads (tile form)
    PIPELINED = "Pipelined"  # serial meaning; copies may run ahead (tile form)
    CPU_PARALLEL = "parallel"  # independent iterations, each as serial code
    THREAD_BINDING = "thread_binding"  # the variable is a hardware index


@node
class Stmt(Node):
    """Something done."""


@node
class Seq(Stmt):
    stmts: tuple[Stmt, ...]


@node
class Bind(Stmt):
    """`var` names `value`, evaluated once here, for the rest of the enclosing `Seq`."""

    var: Var
    value: Expr


@node
class Allocate(Stmt):
    """`buffer` exists for the rest of the enclosing `Seq`; its contents start undefined."""

    buffer: Buffer
    annotations: Annotations = ()


@node
class For(Stmt):
    var: Var
    start: Expr
    extent: Expr
    kind: LoopKind
    body: Stmt
    annotations: Annotations = ()


@node
class While(Stmt):
    condition: Expr
    body: Stmt


@node
class If(Stmt):
    condition: Expr
    then_body: Stmt
    else_body: Stmt | None = None


@node
class Break(Stmt):
    """Leave the innermost serial or while loop."""


@node
class Continue(Stmt):
    """Next iteration of the innermost serial or while loop."""


@node
class BufferStore(Stmt):
    """`value.dtype` is the buffer's, with as many lanes as the last index."""

    buffer: Buffer
    value: Expr
    indices: tuple[Expr, ...]


@node
class Evaluate(Stmt):
    value: Expr


@node
class Assert(Stmt):
    condition: Expr
    message: str


@node
class Attr(Stmt):
    """`key` says something of `body`; keys stand in ir/annotation.py."""

    key: str
    value: AnnotationValue
    body: Stmt


@node
class Launch(Stmt):
    """One device kernel: `body` runs for every point of the grid, by `thread_extents` threads each.

    `grid_vars` has 1 to 3 entries (x, y, z); `thread_vars` always 3.
    """

    grid_vars: tuple[Var, ...]
    grid_extents: tuple[Expr, ...]
    thread_vars: tuple[Var, ...]
    thread_extents: tuple[Expr, ...]
    body: Stmt
    annotations: Annotations = ()


def seq(stmts: Iterable[Stmt]) -> Stmt:
    """A `Seq` with nested sequences opened; a single statement stands alone."""
    flat: list[Stmt] = []
    for stmt in stmts:
        flat.extend(stmt.stmts if isinstance(stmt, Seq) else (stmt,))
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def annotation(
    annotations: Annotations, key: str, default: AnnotationValue = None
) -> AnnotationValue:
    """The value under `key`, or `default`."""
    return next((value for name, value in annotations if name == key), default)
