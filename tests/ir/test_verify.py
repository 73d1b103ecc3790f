"""Each check of the verifier catches the fault planted for it, and nothing else is reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ir.strategies import functions
from tilelang.errors import Span
from tilelang.ir import expr as ir
from tilelang.ir.buffer import SHARED, Buffer
from tilelang.ir.expr import Var, as_expr
from tilelang.ir.func import PrimFunc
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
    LoopKind,
    Seq,
    Stmt,
    While,
    seq,
)
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.ir.verify import CHECKS, VerificationError, problems, verify

ZERO, ONE = as_expr(0), as_expr(1)
A = Buffer("A", (16, 8), "float32")
X = Var("x")
N = Var("n")


def program(*stmts: Stmt, params: tuple[Any, ...] = (A, X)) -> PrimFunc:
    return PrimFunc("f", params, seq(stmts))


def loop(
    body: Stmt, kind: LoopKind = LoopKind.SERIAL, var: Var | None = None, **changes: Any
) -> For:
    made = Var("i") if var is None else var
    return For(made, changes.pop("start", ZERO), as_expr(4), kind, body, **changes)


def launch(body: Stmt, grid: int = 1, threads: int = 3, annotations: Any = ()) -> Launch:
    return Launch(
        tuple(Var("bx") for _ in range(grid)),
        (ONE,) * grid,
        tuple(Var("tx") for _ in range(threads)),
        (ONE,) * threads,
        body,
        annotations,
    )


def store(value: Any = 0.0, *indices: Any) -> BufferStore:
    return BufferStore(A, as_expr(value), tuple(map(as_expr, indices or (0, 0))))


def copy() -> TileOp:
    return TileOp("copy", (TileOperand("src", A.region(), "r"),))


def out_of_scope() -> PrimFunc:
    i = Var("i")
    return program(loop(Evaluate(i), var=i), Evaluate(i))


def view(n: Var) -> Stmt:
    return Evaluate(Buffer("V", (n,), data=A.data).load(0))


LOCAL = Buffer("L", (4,), scope=SHARED)
FAULTS: list[tuple[str, str, str, Callable[[], PrimFunc]]] = [
    # check, part of the message, form, program
    ("variables", "never bound", "tile", lambda: program(Evaluate(Var("y") + 1))),
    ("variables", "outside its scope", "tile", out_of_scope),
    ("variables", "outside its scope", "tile", lambda: program(
        loop(Bind(Y := Var("y"), ONE)), Evaluate(Y))),
    ("variables", "never bound", "tile", lambda: program(Bind(Y := Var("y"), Y + 1))),
    ("variables", "bound a second time", "tile", lambda: program(
        Bind(Y := Var("y"), ONE), Bind(Y, ONE))),
    ("variables", "bound a second time", "thread", lambda: program(
        loop(Seq(()), var=(i := Var("i"))), loop(Seq(()), var=i))),
    ("variables", "never bound", "tile", lambda: program(
        Evaluate(ir.Let(Y := Var("y"), ONE, Y + 1) + Var("z")))),
    ("buffers", "never allocated", "tile", lambda: program(Evaluate(LOCAL.load(0)))),
    ("buffers", "never allocated", "tile", lambda: program(
        BufferStore(LOCAL, as_expr(0.0), (ZERO,)), Allocate(LOCAL))),
    ("buffers", "outside its scope", "thread", lambda: program(
        loop(Allocate(LOCAL)), Evaluate(LOCAL.load(0)))),
    ("buffers", "never allocated", "tile", lambda: program(
        TileOp("fill", (TileOperand("dst", LOCAL.region(), "w"),)))),
    ("buffers", "needs `n`", "tile", lambda: program(view(N))),
    ("index count", "1 indices for `A`", "tile", lambda: program(Evaluate(A.load(0)))),
    ("index count", "3 indices for `A`", "tile", lambda: program(store(0.0, 0, 0, 0))),
    ("index dtype", "is float32", "tile", lambda: program(store(0.0, 0, 1.5))),
    ("index dtype", "is bool", "tile", lambda: program(Evaluate(A.load(True, 0)))),
    ("index dtype", "has 4 lanes", "tile", lambda: program(
        Evaluate(A.load(ir.Ramp(ZERO, ONE, 4), 0)))),
    ("index dtype", "is float32", "tile", lambda: program(TileOp("fill", (TileOperand(
        "dst", ir.BufferRegion(A, (ir.Range(ZERO, as_expr(1.0)), ir.Range(ZERO, ONE))), "w"),)))),
    ("store dtype", "expected float32", "tile", lambda: program(store(1))),
    ("store dtype", "expected float32x4", "tile", lambda: program(
        store(0.0, 0, ir.Ramp(ZERO, ONE, 4)))),
    ("condition", "is int32", "tile", lambda: program(If(X, Seq(())))),
    ("condition", "is int32", "thread", lambda: program(While(X, Seq(())))),
    ("condition", "is float32", "tile", lambda: program(Assert(as_expr(1.0), ""))),
    ("condition", "is int32", "tile", lambda: program(Evaluate(ir.Select(X, ONE, ZERO)))),
    ("condition", "is int32", "tile", lambda: program(Evaluate(ir.And(X, X)))),
    ("condition", "is int32", "tile", lambda: program(Evaluate(ir.Not(X)))),
    ("condition", "is boolx4", "tile", lambda: program(
        If(ir.Broadcast(ir.less(X, 1), 4), Seq(())))),
    ("loop bounds", "is float32", "tile", lambda: program(loop(Seq(()), start=as_expr(1.0)))),
    ("loop bounds", "is bool", "tile", lambda: program(loop(Seq(()), var=Var("i", "bool")))),
    ("loop kind", "Parallel loop", "thread", lambda: program(loop(Seq(()), LoopKind.PARALLEL))),
    ("loop kind", "Pipelined loop", "thread", lambda: program(loop(Seq(()), LoopKind.PIPELINED))),
    ("tile operation", "in the thread form", "thread", lambda: program(copy())),
    ("tile operation", "inside the Parallel", "tile", lambda: program(
        loop(If(ir.less(X, 1), copy()), LoopKind.PARALLEL))),
    ("jump", "outside a loop", "tile", lambda: program(Break())),
    ("jump", "inside a Parallel loop", "tile", lambda: program(
        loop(Continue(), LoopKind.PARALLEL))),
    ("jump", "inside a vectorized loop", "thread", lambda: program(
        loop(loop(If(ir.less(X, 1), Break()), LoopKind.VECTORIZED)))),
    ("launch", "inside a launch", "tile", lambda: program(launch(loop(launch(Seq(())))))),
    ("launch", "4 grid variables", "tile", lambda: program(launch(Seq(()), grid=4))),
    ("launch", "0 grid variables", "tile", lambda: program(launch(Seq(()), grid=0))),
    ("launch", "1 thread variables", "tile", lambda: program(launch(Seq(()), threads=1))),
    ("launch", "is float32", "tile", lambda: program(Launch(
        (Var("b"),), (as_expr(1.0),), (Var("x"), Var("y"), Var("z")), (ONE,) * 3, Seq(())))),
    ("allocation", "is not a constant", "tile", lambda: program(
        Allocate(Buffer("S", (X, 4), scope=SHARED)))),
    ("allocation", "extent of 0", "tile", lambda: program(
        Allocate(Buffer("S", (0,), scope=SHARED)))),
    ("annotation", "'num_stage'", "tile", lambda: program(
        loop(Seq(()), annotations=(("num_stage", 2),)))),
    ("annotation", "'nonsense'", "tile", lambda: program(Attr("nonsense", 1, Seq(())))),
    ("annotation", "'nonsense'", "tile", lambda: program(
        launch(Seq(()), annotations=(("nonsense", 1),)))),
    ("annotation", "'nonsense'", "tile", lambda: program(Allocate(LOCAL, (("nonsense", 1),)))),
    ("annotation", "'nonsense'", "tile", lambda: program().with_attribute("nonsense", 1)),
    ("annotation", "given twice", "tile", lambda: program(
        loop(Seq(()), annotations=(("order", ()), ("order", ()))))),
]  # fmt: skip


@pytest.mark.parametrize(("check", "message", "form", "make"), FAULTS)
def test_a_planted_fault_is_found(
    check: str, message: str, form: Any, make: Callable[[], PrimFunc]
) -> None:
    found = problems(make(), form)
    assert [(p.check, message in p.message) for p in found] == [(check, True)] * len(found)
    assert found, "the fault must be found"
    assert len({(p.check, p.message) for p in found}) == 1 or check in ("launch", "index dtype")


def test_every_check_has_a_planted_fault() -> None:
    assert {row[0] for row in CHECKS} == {row[0] for row in FAULTS}


def test_tile_loops_and_operations_belong_to_the_tile_form() -> None:
    function = program(loop(copy(), LoopKind.PIPELINED))
    assert not problems(function, "tile")
    assert {p.check for p in problems(function, "thread")} == {"loop kind", "tile operation"}


def test_names_of_others_may_be_annotations() -> None:
    assert not problems(program(Attr("pragma.anything", 1, Seq(()))))


def test_what_binds_is_known_where_it_holds() -> None:
    i, y, n = Var("i"), Var("y"), Var("n")
    dynamic = Buffer("D", (n, 4))
    body = seq(
        [
            Bind(y, n * 2),
            Allocate(LOCAL),
            loop(BufferStore(LOCAL, dynamic.load(i, 0), (y,)), var=i),
            view(n),
            While(ir.less(LOCAL.load(0), as_expr(1.0)), If(ir.less(y, 1), Break())),
        ]
    )
    assert [str(p) for p in problems(program(launch(body), params=(A, X, dynamic)))] == []


def test_one_error_names_all_problems_with_their_lines() -> None:
    first, second = Span("user.py", 3), Span("user.py", 5)
    function = program(
        store(1), loop(Evaluate(Var("y")), span=first), Evaluate(Var("z"), span=second)
    )
    with pytest.raises(VerificationError) as caught:
        verify(function, "tile")
    error = caught.value
    assert error.message == "`f` is not a program of the tile form: 3 problems"
    assert [n.span for n in error.notes] == [None, first, second]
    assert error.span == first, "the first line that is known"
    text = str(error)
    assert "store dtype: a int32 value is stored, expected float32: `A[0, 0] = 1`" in text
    assert "user.py:5" in text
    assert "internal" not in text


def test_after_a_pass_it_is_the_compilers_fault() -> None:
    with pytest.raises(VerificationError, match="internal compiler error: after the pass `unroll`"):
        verify(program(Break()), "thread", after_pass="unroll")


def test_deep_expressions_need_no_stack() -> None:
    total: ir.Expr = X
    for _ in range(20000):
        total = ir.Add(total, X)
    assert not problems(program(Evaluate(total)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_right_programs_pass(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["tile", "thread"]))
    function = data.draw(functions(form))
    assert [str(p) for p in problems(function, form)] == []
