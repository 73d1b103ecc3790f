"""Statements: what their surroundings say, what is dropped, what stays the same object."""

from __future__ import annotations

import itertools

from tilelang.arith import Analyzer, evaluate, simplify_stmt
from tilelang.ir import expr as ir
from tilelang.ir.annotation import NUM_STAGES
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Call, IntImm, Var, as_expr, ceildiv, logical_and, maximum, minimum
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    While,
)

A = Buffer("A", (1024,), "int32")
n, i, j, bx, t = Var("n"), Var("i"), Var("j"), Var("bx"), Var("t")
SERIAL = LoopKind.SERIAL


def store(index, value=1):
    return BufferStore(A, as_expr(value), (as_expr(index),))


def loop(var, extent, body, start=0):
    return For(var, as_expr(start), as_expr(extent), SERIAL, body)


def evaluate_call(op, *args):
    return Evaluate(Call(op, args, ir.HANDLE))


def run(stmt, env, out):
    """The stores that `stmt` makes, in order, as (index, value)."""
    if isinstance(stmt, Seq):
        env = dict(env)
        for item in stmt.stmts:
            run(item, env, out)
    elif isinstance(stmt, For):
        start = evaluate(stmt.start, env)
        for number in range(start, start + evaluate(stmt.extent, env)):
            run(stmt.body, {**env, stmt.var: number}, out)
    elif isinstance(stmt, If):
        chosen = stmt.then_body if evaluate(stmt.condition, env) else stmt.else_body
        if chosen is not None:
            run(chosen, env, out)
    elif isinstance(stmt, Bind):
        env[stmt.var] = evaluate(stmt.value, env)
    else:
        assert isinstance(stmt, BufferStore), stmt
        out.append((evaluate(stmt.indices[0], env), evaluate(stmt.value, env)))


def test_guards_that_ranges_make_true_go():
    body = If(logical_and(i < 16, j < n), store(i * 8 + j))
    made = simplify_stmt(loop(i, 16, loop(j, n, body)))
    assert made.body.body is body.then_body


def test_dead_branches_and_empty_loops_go():
    assert simplify_stmt(loop(i, 8, If(i > 8, store(i), store(0)))).body.indices[0].value == 0
    assert simplify_stmt(loop(i, 8, If(i > 8, store(i)))).stmts == ()
    assert simplify_stmt(loop(i, 0, store(i))).stmts == ()
    assert simplify_stmt(loop(i, minimum(n, 0), store(i))).stmts == ()
    kept = simplify_stmt(Seq((loop(i, 0, store(i)), store(3))))
    assert isinstance(kept, BufferStore)
    assert simplify_stmt(While(ir.LT(n, n), store(0))).stmts == ()


def test_the_other_branch_knows_the_condition_failed():
    stmt = If(i < n, store(maximum(n - i, 1)), store(maximum(i - n, 0)))
    made = simplify_stmt(stmt)
    assert str(made.then_body.indices[0]) == "n - i" and str(made.else_body.indices[0]) == "i - n"


def test_bindings_hold_to_the_end_of_their_sequence():
    inner = Seq((Bind(j, i * 4), store(j // 4), If(j > 28, store(1))))
    made = simplify_stmt(loop(i, 8, inner))
    assert [type(s) for s in made.body.stmts] == [Bind, BufferStore]
    an = Analyzer()
    simplify_stmt(Seq((Bind(j, IntImm(3)), store(j))), an)
    assert an.bounds(j) == (None, None)


def test_assumptions_hold_for_what_follows_and_stay():
    fact = evaluate_call("assume", n % 8 == 0)
    made = simplify_stmt(Seq((fact, store(n % 8), store(n // 8 * 8))))
    assert made.stmts[0] is fact
    assert str(made.stmts[1].indices[0]) == "0" and made.stmts[2].indices[0] is n
    twice = simplify_stmt(Seq((fact, fact, store(n))))
    assert len(twice.stmts) == 2
    unknown = Seq((Seq((fact, store(0))), store(n % 8)))
    assert str(simplify_stmt(unknown).stmts[-1].indices[0]) == "n % 8"


def test_asserted_conditions_hold_afterwards():
    made = simplify_stmt(Seq((Assert(n > 4, "n"), If(n > 2, store(0)), Assert(n > 3, "n"))))
    assert [type(s) for s in made.stmts] == [Assert, BufferStore]


def test_launch_gives_ranges():
    threads = (t, Var("ty"), Var("tz"))
    one = as_expr(1)
    body = If(bx * 128 + t < ceildiv(n, 128) * 128, store((bx * 128 + t) // 128))
    made = simplify_stmt(Launch((bx,), (ceildiv(n, 128),), threads, (as_expr(128), one, one), body))
    assert made.body.indices[0] is bx


def test_annotations_and_attributes_are_simplified_too():
    annotated = For(i, as_expr(0), n, SERIAL, store(i), ((NUM_STAGES, ir.Add(n, IntImm(0))),))
    assert simplify_stmt(annotated).annotations == ((NUM_STAGES, n),)
    assert simplify_stmt(Attr("key", ir.Sub(n, n), store(0))).value.value == 0


def test_calls_with_effects_are_kept():
    call = evaluate_call("f", ir.Add(n, IntImm(0)))
    made = simplify_stmt(call)
    assert isinstance(made, Evaluate) and made.value.op == "f" and made.value.args[0] is n


def test_nothing_changes_means_the_same_object():
    buffer = Buffer("s", (4,), "float32", "shared")
    stmt = Seq(
        (
            Allocate(buffer),
            loop(i, n, Seq((Bind(j, i * n), If(j < 100, store(i + j), store(i)), store(j, i)))),
            While(n > 3, evaluate_call("f", i)),
            Attr("key", (1, "x"), store(n)),
        )
    )
    assert simplify_stmt(stmt) is stmt


def test_programs_store_the_same():
    """A nest with guards, tails and bindings, run before and after for many extents."""
    index = bx * 8 + j
    body = Seq(
        (
            Bind(t, index // 4),
            If(index < n, store(t * 4 + index % 4, i + minimum(n - bx * 8, 8)), store(0, j // 8)),
            If(logical_and(j >= 4, j < 4), store(99)),
            If(i + j < 20, store(maximum(j, 0), i * 3 - i)),
        )
    )
    nest = loop(bx, ceildiv(n, 8), loop(i, minimum(n, 2), loop(j, 8, body)))
    made = simplify_stmt(nest)
    for extent in itertools.chain(range(20), (63, 64)):
        before, after = [], []
        run(nest, {n: extent}, before)
        run(made, {n: extent}, after)
        assert before == after
    assert "99" not in str(made) and "i + j" not in str(made)
