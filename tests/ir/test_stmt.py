"""Statements: sequences, annotations, loop kinds."""

from __future__ import annotations

from tilelang.ir.expr import Var, as_expr
from tilelang.ir.stmt import Break, Continue, Evaluate, For, LoopKind, Seq, annotation, seq

a, b, c = Evaluate(Var("a")), Break(), Continue()


def test_seq_opens_nested_sequences() -> None:
    made = seq([a, Seq((b, Seq((c,)).stmts[0])), Seq(())])
    assert isinstance(made, Seq) and made.stmts == (a, b, c)


def test_a_single_statement_stands_alone() -> None:
    assert seq([a]) is a
    assert seq([Seq((a,))]) is a
    empty = seq([])
    assert isinstance(empty, Seq) and empty.stmts == ()


def test_annotations_are_looked_up_by_key() -> None:
    loop = For(Var("i"), as_expr(0), as_expr(4), LoopKind.SERIAL, a, (("order", (1, 2)),))
    assert annotation(loop.annotations, "order") == (1, 2)
    assert annotation(loop.annotations, "stage") is None
    assert annotation(loop.annotations, "stage", 3) == 3


def test_loop_kinds_are_their_names() -> None:
    assert LoopKind("Parallel") is LoopKind.PARALLEL
    assert LoopKind("parallel") is LoopKind.CPU_PARALLEL
    assert len({k.value for k in LoopKind}) == len(LoopKind)
