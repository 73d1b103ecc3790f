"""Statements simplified under what their surroundings say.

Loops give their variables ranges, `Bind` gives values, `If`, `assert` and `assume` conditions; with
those every expression is simplified, dead branches and loops without iterations are dropped. Where
nothing changes the same object comes back.
"""

from __future__ import annotations

from typing import Any, TypeVar

from tilelang.arith.analyzer import Analyzer
from tilelang.ir.expr import Call, Expr, IntImm, is_const
from tilelang.ir.node import replace
from tilelang.ir.ops import has_side_effect
from tilelang.ir.stmt import (
    Assert,
    Attr,
    Bind,
    Evaluate,
    For,
    If,
    Launch,
    Seq,
    Stmt,
    While,
)
from tilelang.ir.visitor import Mutator

S = TypeVar("S", bound=Stmt)


def simplify_stmt(stmt: Stmt, analyzer: Analyzer | None = None) -> Stmt:
    """`stmt` with every expression simplified and dead parts dropped.

    Args:
        stmt: tile or thread form.
        analyzer: what is known outside; unchanged afterwards.
    """
    an = analyzer or Analyzer()
    with an.scope():
        made = _StmtSimplifier(an).mutate(stmt)
    return Seq(()) if made is None else made


def is_empty(stmt: Stmt | None) -> bool:
    """Whether `stmt` does nothing."""
    return stmt is None or (isinstance(stmt, Seq) and not stmt.stmts)


class _StmtSimplifier(Mutator):
    def __init__(self, analyzer: Analyzer) -> None:
        self.an = analyzer

    def mutate(self, node: Any) -> Any:
        return self.an.simplify(node) if isinstance(node, Expr) else Mutator.mutate(self, node)

    def _changed(self, node: S, **values: Any) -> S:
        """`node` with those of `values` that are new objects."""
        changes = {name: new for name, new in values.items() if new is not getattr(node, name)}
        return replace(node, **changes) if changes else node

    def _body(self, stmt: Stmt) -> Stmt:
        """A statement in its own scope."""
        with self.an.scope():
            made = self.mutate(stmt)
        return Seq(()) if made is None else made

    def mutate_Seq(self, node: Seq) -> Any:
        with self.an.scope():
            return self.mutate_children(node)

    def mutate_Bind(self, node: Bind) -> Stmt:
        value = self.an.simplify(node.value)
        self.an.bind_value(node.var, value)
        return self._changed(node, value=value)

    def mutate_For(self, node: For) -> Any:
        start, extent = self.an.simplify(node.start), self.an.simplify(node.extent)
        count = self.an.bounds(extent).hi
        if count is not None and count <= 0:
            return None
        with self.an.scope():
            self.an.bind_range(node.var, start, extent)
            body = self.mutate(node.body)
        if is_empty(body) and not (has_side_effect(start) or has_side_effect(extent)):
            return None
        annotations = self._mutate_value(node.annotations)
        return self._changed(
            node, start=start, extent=extent, body=body or Seq(()), annotations=annotations
        )

    def mutate_Launch(self, node: Launch) -> Stmt:
        grid = self._mutate_value(node.grid_extents)
        threads = self._mutate_value(node.thread_extents)
        with self.an.scope():
            for var, extent in (*zip(node.grid_vars, grid), *zip(node.thread_vars, threads)):
                self.an.bind_range(var, 0, extent)
            body = self._body(node.body)
        return self._changed(node, grid_extents=grid, thread_extents=threads, body=body)

    def mutate_If(self, node: If) -> Any:
        condition = self.an.simplify(node.condition)
        if isinstance(condition, IntImm):
            taken = node.then_body if condition.value else node.else_body
            return None if taken is None else self._body(taken)
        with self.an.constraint(condition):
            then_body = self.mutate(node.then_body) or Seq(())
        else_body = node.else_body
        if else_body is not None:
            with self.an.constraint(condition, holds=False):
                else_body = self.mutate(else_body)
            else_body = None if is_empty(else_body) else else_body
        if is_empty(then_body) and else_body is None and not has_side_effect(condition):
            return None
        return self._changed(node, condition=condition, then_body=then_body, else_body=else_body)

    def mutate_While(self, node: While) -> Any:
        condition = self.an.simplify(node.condition)
        if is_const(condition, 0):
            return None
        with self.an.constraint(condition):
            body = self.mutate(node.body)
        return self._changed(node, condition=condition, body=body or Seq(()))

    def mutate_Attr(self, node: Attr) -> Any:
        value = self._mutate_value(node.value)
        return self._changed(node, value=value, body=self._body(node.body))

    def mutate_Evaluate(self, node: Evaluate) -> Any:
        call = node.value
        if isinstance(call, Call) and call.op == "assume":
            return self._assume(node, call)
        return self._changed(node, value=self.an.simplify(call))

    def _assume(self, node: Evaluate, call: Call) -> Any:
        condition = self.an.simplify(call.args[0])
        self.an.assume(condition)
        if is_const(condition, 1):
            return None
        changed = condition is not call.args[0]
        return replace(node, value=replace(call, args=(condition,))) if changed else node

    def mutate_Assert(self, node: Assert) -> Any:
        condition = self.an.simplify(node.condition)
        if is_const(condition, 1):
            return None
        self.an.assume(condition)  # what follows runs only where it holds
        return self._changed(node, condition=condition)
