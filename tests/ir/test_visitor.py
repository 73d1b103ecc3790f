"""Walking and rewriting: what is visited, in which order, and that nothing changes by itself."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ir.strategies import functions
from tilelang.errors import Span
from tilelang.ir import expr as ir
from tilelang.ir.buffer import Buffer
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import Expr, IntImm, Var, as_expr
from tilelang.ir.node import Node
from tilelang.ir.stmt import (
    Attr,
    BufferStore,
    Evaluate,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
)
from tilelang.ir.visitor import (
    Mutator,
    Visitor,
    children,
    substitute,
    transform_exprs,
    used_buffers,
    used_vars,
    walk,
)

x, y = Var("x"), Var("y")
A, B = Buffer("A", (8,)), Buffer("B", (8,))
COPY = BufferStore(A, B[x], (y,))
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def test_children_are_found_in_fields_and_tuples() -> None:
    load = B[x]
    assert list(children(BufferStore(A, load, (y,)))) == [load, y]
    assert list(children(Attr("safe_value", ((A, x), ("k", (y,))), Seq(()))))[:2] == [x, y]
    assert list(children(x)) == []


def test_walk_goes_down_in_program_order() -> None:
    program = Seq((If(ir.less(x, y), COPY), Evaluate(x)))
    kinds = [type(n).__name__ for n in walk(program)]
    assert kinds == [
        "Seq", "If", "LT", "Var", "Var", "BufferStore", "BufferLoad", "Var", "Var", "Evaluate",
        "Var",
    ]  # fmt: skip


def test_walk_passes_buffers_by() -> None:
    body = Evaluate(x)
    node = Attr("safe_value", A, body)
    assert list(walk(node)) == [node, body, x]
    assert list(walk(Attr("safe_value", (A, (B, y)), body)))[1:] == [y, body, x]


def test_walk_needs_no_stack() -> None:
    total: Expr = x
    for _ in range(20000):
        total = ir.Add(total, y)
    assert sum(1 for _ in walk(total)) == 40001


def test_used_vars_and_buffers_come_once_in_order() -> None:
    program = Seq((COPY, Evaluate(x + y), BufferStore(B, A[x], (x,))))
    assert used_vars(program) == [x, y]
    assert [b.name for b in used_buffers(program)] == ["A", "B"]


class Counting(Visitor):
    def __init__(self) -> None:
        self.vars: list[Var] = []
        self.loads = 0

    def visit_Var(self, node: Var) -> None:
        self.vars.append(node)

    def visit_BufferLoad(self, node: ir.BufferLoad) -> None:
        self.loads += 1
        self.visit_children(node)


def test_visitor_dispatches_by_class() -> None:
    visitor = Counting()
    visitor.visit(Seq((COPY, Evaluate(x))))
    assert visitor.vars == [x, y, x]
    assert visitor.loads == 1


@SLOW
@given(functions())
def test_a_mutator_that_changes_nothing_returns_the_same_object(function: Any) -> None:
    assert Mutator().mutate(function) is function
    assert substitute(function, {Var("elsewhere"): 1}) is function


def test_only_the_changed_path_is_rebuilt() -> None:
    kept, changed = Evaluate(y + 1), Evaluate(x + 1)
    program = Seq((kept, changed))
    made = substitute(program, {x: y})
    assert made is not program
    assert made.stmts[0] is kept
    assert structural_equal(made.stmts[1], kept)


def test_substitution_folds_and_keeps_spans() -> None:
    span = Span("a.py", 3)
    value = ir.Add(ir.Mul(x, as_expr(4)), y, span=span)
    made = substitute(value, {x: 2})
    assert str(made) == "8 + y"
    assert made.span == span
    assert structural_equal(substitute(value, {x: 2, y: 1}), as_expr(9))
    load = B[x + 1]
    assert structural_equal(substitute(load, {x: 3}), B[4])


def test_substitution_of_buffers_reaches_every_place() -> None:
    program = Seq((COPY, Attr("safe_value", ((B, as_expr(0.0)),), Evaluate(B[0]))))
    made = substitute(program, buffers={B: A})
    assert used_buffers(made) == [A]
    assert made.stmts[1].value[0][0] is A  # type: ignore[attr-defined]


def test_conditions_decided_by_substitution_pick_a_side() -> None:
    lazily = ir.if_then_else(ir.less(x, 4), B[x], 0.0)
    assert structural_equal(substitute(lazily, {x: 2}), B[2])
    assert structural_equal(substitute(lazily, {x: 5}), as_expr(0.0))
    assert structural_equal(substitute(ir.select(ir.less(x, 4), x, y), {x: 1}), as_expr(1))
    assert structural_equal(substitute(~x, {x: 5}), as_expr(-6))


class Dropping(Mutator):
    def mutate_Evaluate(self, node: Evaluate) -> Any:
        return None

    def mutate_BufferStore(self, node: BufferStore) -> Any:
        return Seq((node, node))


def test_statements_may_be_dropped_or_spliced() -> None:
    program = Seq((Evaluate(x), COPY, Evaluate(y)))
    assert Dropping().mutate(program).stmts == (COPY, COPY)
    loop = For(x, as_expr(0), as_expr(4), LoopKind.SERIAL, Evaluate(x))
    body = Dropping().mutate(loop).body
    assert isinstance(body, Seq) and body.stmts == ()


def test_transform_goes_from_the_inside_out() -> None:
    order: list[str] = []

    def note(value: Expr) -> Expr:
        order.append(str(value))
        return as_expr(7) if value is x else value

    made = transform_exprs(Evaluate(x * y + 1), note)
    assert order == ["x", "y", "7 * y", "1", "7 * y + 1"]
    assert str(made) == "7 * y + 1"


@SLOW
@given(functions(), st.randoms())
def test_walk_and_visitor_see_the_same_nodes(function: Any, _: Any) -> None:
    seen: list[Node] = []

    class Noting(Visitor):
        def visit(self, node: Node) -> None:
            seen.append(node)
            self.visit_children(node)

    Noting().visit(function)
    walked = list(walk(function))
    assert len(seen) == len(walked) and all(a is b for a, b in zip(seen, walked))
    assert all(isinstance(n, Node) for n in walked)
    assert not any(isinstance(n, IntImm) and list(children(n)) for n in walked)
    assert isinstance(function.body, Stmt)
