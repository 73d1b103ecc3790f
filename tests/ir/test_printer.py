"""One line of text for a node: precedence, regions, heads of statements."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ir.strategies import Scope, exprs, functions
from tilelang.ir import expr as ir
from tilelang.ir.buffer import SHARED_DYN, VAR, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.printer import to_text
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
)
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.ir.visitor import walk

x, y, z = Var("x"), Var("y"), Var("z")
b, c = ir.less(x, y), ir.less(y, z)
n = Var("n")
A = Buffer("A", (64, n), "float16")
S = Buffer("S", (64, 32), "float16", SHARED_DYN)
count = Buffer("count", (1,), "int32", VAR)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (x + y * z, "x + y * z"),
        ((x + y) * z, "(x + y) * z"),
        (x - (y - z), "x - (y - z)"),
        (x - y - z, "x - y - z"),
        (x // y * z, "x // y * z"),
        (x // (y * z), "x // (y * z)"),
        (x % 8 + 1, "x % 8 + 1"),
        (-x, "-x"),
        (-(x + y), "-(x + y)"),
        (x - 3, "x - 3"),
        (ir.Add(x, as_expr(-3)), "x + -3"),
        ((x << 2) & 7, "x << 2 & 7"),
        (x << (y & 7), "x << (y & 7)"),
        (x | y ^ z & 1, "x | y ^ z & 1"),
        ((x | y) ^ z, "(x | y) ^ z"),
        (~x + 1, "~x + 1"),
        (~(x + 1), "~(x + 1)"),
        (ir.logical_and(b, c), "x < y and y < z"),
        (ir.logical_or(ir.logical_and(b, c), b), "x < y and y < z or x < y"),
        (ir.logical_and(b, ir.logical_or(b, c)), "x < y and (x < y or y < z)"),
        (ir.logical_not(ir.logical_and(b, c)), "not (x < y and y < z)"),
        (ir.equal(b, c), "(x < y) == (y < z)"),
        (ir.less(x + 1, y), "x + 1 < y"),
        (ir.minimum(x, y) * 2, "min(x, y) * 2"),
        (ir.truncdiv(x, y) + 1, "truncdiv(x, y) + 1"),
        (ir.cast(x, "float16") * 0.5, "float16(x) * 0.5"),
        (-ir.cast(x, "float32"), "-float32(x)"),
        (ir.select(b, x, 0), "Select(x < y, x, 0)"),
        (ir.if_then_else(b, x, 0), "if_then_else(x < y, x, 0)"),
        (ir.as_expr(True), "True"),
        (ir.Ramp(x, as_expr(1), 4), "Ramp(x, 1, 4)"),
        (ir.Broadcast(x, 4), "Broadcast(x, 4)"),
        (ir.Let(z, x + 1, z * z), "let(z = x + 1, z * z)"),
        (ir.call("exp", ir.as_expr(1.5), "s", dtype="float32"), "exp(1.5, 's')"),
        (A[x, y + 1], "A[x, y + 1]"),
        (count.as_load() + 1, "count + 1"),
        (S.region(), "S"),
        (A[0:64, 0:n], "A"),
        (A[x, y * 8 : y * 8 + 8], "A[x, y * 8:y * 8 + 8]"),
        (S[2:4, :], "S[2:4, 0:32]"),
        (ir.Range(x, as_expr(4)), "x:x + 4"),
    ],
)
def test_expressions(value: Expr, text: str) -> None:
    assert to_text(value) == text
    assert repr(value) == text


def _copy() -> TileOp:
    operands = (TileOperand("src", A[0:64, x : x + 32], "r"), TileOperand("dst", S.region(), "w"))
    return TileOp("copy", operands, (("clear", b),), (("policy", 0), ("order", (1,))))


@pytest.mark.parametrize(
    ("stmt", "text"),
    [
        (Bind(x, y + 1), "x = y + 1"),
        (BufferStore(S, as_expr(1.0), (x, y)), "S[x, y] = 1.0"),
        (BufferStore(count, as_expr(1), (as_expr(0),)), "count = 1"),
        (Evaluate(ir.call("sync", dtype="handle")), "sync()"),
        (Allocate(S), "allocate S: [64, 32] float16, shared.dyn"),
        (For(x, as_expr(0), n, LoopKind.SERIAL, Break()), "for x in serial(n)"),
        (
            For(x, as_expr(1), n, LoopKind.PIPELINED, Break(), (("num_stages", 2),)),
            "for x in Pipelined(1, 1 + n, num_stages=2)",
        ),
        (While(b, Break()), "while x < y"),
        (If(b, Break(), Continue()), "if x < y"),
        (Assert(b, "no"), "assert x < y, 'no'"),
        (Attr("use_swizzle", (8, "row"), Break()), "attr use_swizzle=(8, 'row')"),
        (Attr("layouts", ((S, x),), Break()), "attr layouts=((S, x),)"),
        (
            Launch((x,), (n,), (y, z, y), (as_expr(128), as_expr(1), as_expr(1)), Break()),
            "with Kernel(n, threads=(128, 1, 1)) as (x)",
        ),
        (_copy(), "copy(A[0:64, x:x + 32], S, clear=x < y, policy=0, order=(1,))"),
        (TileOp("wait", (), (("count", as_expr(1)),)), "wait(count=1)"),
        (TileOperand("src", S.region(), "r"), "src=S [r]"),
        (Seq((Break(),) * 5), "{break; break; break; and 2 more}"),
        (Seq(()), "{}"),
        (
            PrimFunc("f", (A, x), Seq(())),
            "prim_func f(A: [64, n] float16, global, x: int32)",
        ),
    ],
)
def test_statements(stmt: Stmt, text: str) -> None:
    assert to_text(stmt) == text
    assert repr(stmt) == text


def test_long_sums_need_no_stack() -> None:
    total: Expr = x
    for _ in range(5000):
        total = ir.Add(total, y)
    assert to_text(total) == "x" + " + y" * 5000


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_text_groups_as_the_tree_does(data: st.DataObject) -> None:
    """Python's own parser, reading the text over plain integers, gives the value of the tree."""
    scope = Scope(vars=[x, y])
    tree = data.draw(_arithmetic())
    assert scope.vars == [x, y]
    values = {"x": data.draw(st.integers(0, 50)), "y": data.draw(st.integers(0, 50))}
    assert eval(to_text(tree), dict(values)) == _value(tree, values)


_OPERATORS = {
    ir.Add: lambda a, b: a + b,
    ir.Sub: lambda a, b: a - b,
    ir.Mul: lambda a, b: a * b,
    ir.BitAnd: lambda a, b: a & b,
    ir.BitOr: lambda a, b: a | b,
    ir.BitXor: lambda a, b: a ^ b,
    ir.LT: lambda a, b: a < b,
    ir.EQ: lambda a, b: a == b,
    ir.And: lambda a, b: a and b,
    ir.Or: lambda a, b: a or b,
    ir.Min: min,
}


@st.composite
def _arithmetic(draw: st.DrawFn, depth: int = 4, is_bool: bool = False) -> Expr:
    if is_bool:
        kind = draw(st.sampled_from([ir.LT, ir.EQ, ir.And, ir.Or]))
        inner = kind in (ir.And, ir.Or) and depth > 0
        kind = kind if inner or kind in (ir.LT, ir.EQ) else ir.LT
        return kind(*(draw(_arithmetic(max(depth - 1, 0), inner)) for _ in range(2)))
    if depth == 0:
        return draw(st.sampled_from([x, y, as_expr(3), as_expr(-2)]))
    kind = draw(st.sampled_from([ir.Add, ir.Sub, ir.Mul, ir.BitAnd, ir.BitOr, ir.BitXor, ir.Min]))
    return kind(*(draw(_arithmetic(depth - 1)) for _ in range(2)))


def _value(tree: Expr, values: dict[str, int]) -> int:
    if isinstance(tree, Var):
        return values[tree.name]
    if isinstance(tree, ir.IntImm):
        return tree.value
    assert isinstance(tree, ir.BinaryOp)
    return _OPERATORS[type(tree)](_value(tree.a, values), _value(tree.b, values))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_node_has_one_line(data: st.DataObject) -> None:
    function = data.draw(functions())
    for item in walk(function):
        text = to_text(item)
        assert "\n" not in text
        assert not text.startswith("<"), "every class has a text"
    extra = data.draw(exprs(Scope(vars=[x]), dtype("float32")))
    assert to_text(extra)
