"""Forms that kernels need: must-simplify cases, one form for equal values, types, calls, speed."""

from __future__ import annotations

import random
import time

import pytest

from tests.arith.expressions import value
from tilelang.arith import Analyzer, simplify
from tilelang.ir import expr as ir
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    Broadcast,
    Call,
    Cast,
    FloatImm,
    IntImm,
    Let,
    Ramp,
    Var,
    as_expr,
    cast,
    ceildiv,
    if_then_else,
    maximum,
    minimum,
    select,
)
from tilelang.ir.visitor import walk

n, m, k = Var("n"), Var("m"), Var("k")
bx, tx, i, j, u = Var("bx"), Var("tx"), Var("i"), Var("j"), Var("u")
VARIABLES = {var.name: var for var in (n, m, k, bx, tx, i, j, u)}


@pytest.fixture
def an() -> Analyzer:
    made = Analyzer()
    made.bind(n, 0, None)
    made.bind(m, 1, None)
    made.bind_range(bx, 0, ceildiv(n, 128))
    made.bind_range(tx, 0, 128)
    made.bind_range(i, 0, 16)
    made.bind_range(j, 0, 8)
    return made


MUST = [  # text of both sides as Python, over the variables above
    ("tx // 32 * 32 + tx % 32", "tx"),
    ("(tx // 32) * 64 + tx % 32 * 2", "tx * 2"),
    ("tx - tx // 4 * 4", "tx % 4"),
    ("tx // 4 % 8 * 4 + tx % 4", "tx % 32"),
    ("(bx * 128 + tx) // 128", "bx"),
    ("(bx * 128 + tx) % 128", "tx"),
    ("(bx * 128 + tx) // 64", "bx * 2 + tx // 64"),
    ("(bx * 128 + tx) % 256", "bx % 2 * 128 + tx"),
    ("(i * 8 + j) // 8", "i"),
    ("(i * 8 + j) % 8", "j"),
    ("(i * 8 + j) // 16", "i // 2"),
    ("(i * 8 + j) // 8 // 2", "i // 2"),
    ("(i * 8 + j) // 8 % 4 * 8 + (i * 8 + j) % 8", "i % 4 * 8 + j"),
    ("u // 4 // 8", "u // 32"),
    ("u % 32 % 8", "u % 8"),
    ("u % 32 // 8", "u // 8 % 4"),
    ("u * 6 % 24", "u % 4 * 6"),
    ("(u * 6 + 3) // 3", "u * 2 + 1"),
    ("(u + 256) // 128", "u // 128 + 2"),
    ("(u * 32 + 7) % 8", "7"),
    ("u // 1 + u % 1", "u"),
    ("(k * m + u % m) // m", "k"),
    ("k * m // m", "k"),
    ("k * m % m", "0"),
    ("m // m", "1"),
    ("(u + 1) * (u - 1) - u * u", "-1"),
    ("(i + j) - (j + i)", "0"),
    ("2 * (i + 3) - 6", "i * 2"),
    ("minimum(i, 16)", "i"),
    ("maximum(minimum(i, 15), 0)", "i"),
    ("minimum(minimum(u, 5), 3)", "minimum(u, 3)"),
    ("maximum(u, minimum(u, k))", "u"),
    ("minimum(u, maximum(u, k))", "u"),
    ("minimum(u + 1, u)", "u"),
    ("minimum(n - bx * 128, 128)", "minimum(n - bx * 128, 128)"),
    ("truncdiv(tx, 8)", "tx // 8"),
    ("truncmod(tx, 8)", "tx % 8"),
    ("truncdiv(u, 8) + 0", "truncdiv(u, 8)"),
    ("tx & 127", "tx"),
    ("(tx & 127) ^ 0", "tx"),
    ("(u >> 2) >> 3", "u >> 5"),
    ("select(i < 16, u, k)", "u"),
    ("select(u < k, m, m)", "m"),
    ("if_then_else(u < 4, maximum(u, 4), k)", "if_then_else(u < 4, 4, k)"),
    ("if_then_else(u >= 4, maximum(u, 4), k)", "if_then_else(u > 3, u, k)"),
    ("ceildiv(n * 128, 128)", "n"),
    ("abs(i) + abs(u - u)", "i"),
]
TRUE = [
    "i < 16", "i * 8 + j < 128", "0 <= tx", "i + 1 <= 16", "bx * 128 < n",
    "bx * 128 + tx < ceildiv(n, 128) * 128", "logical_or(i < 8, i >= 8)", "tx // 32 < 4",
    "logical_and(i >= 0, logical_not(i > 15))", "u * 2 != 7", "u == u", "minimum(u, 3) <= u",
    "n >= 1", "bx < ceildiv(n, 128)", "u % 8 < 8", "u - u % 8 <= u", "u // 4 * 4 <= u",
]  # fmt: skip
FALSE = [
    "i >= 16",
    "u * 2 == 7",
    "logical_and(u < 3, u > 5)",
    "tx < 0",
    "u < u",
    "i * 8 + j == 128",
]


def read(text: str):
    made = eval(text, {**vars(ir), **VARIABLES, "abs": abs})
    return as_expr(made)


@pytest.mark.parametrize("before,after", MUST)
def test_index_forms(an, before, after):
    made = an.simplify(read(before))
    assert made is an.simplify(made)
    assert str(made) == str(an.simplify(read(after))) == str(read(after))


@pytest.mark.parametrize("text", TRUE)
def test_true_conditions(an, text):
    assert str(an.simplify(read(text))) == "True"
    assert an.can_prove(read(text))


@pytest.mark.parametrize("text", FALSE)
def test_false_conditions(an, text):
    assert str(an.simplify(read(text))) == "False"
    assert not an.can_prove(read(text))


@pytest.mark.parametrize(
    "forms",
    [
        ("i + j", "j + i", "2 * i + j - i"),
        ("i * j * m", "m * (j * i)", "(m * j) * i"),
        ("(u + 3) * 4", "u * 4 + 12", "4 * (u + 4) - 4"),
        ("minimum(u, minimum(k, 7))", "minimum(7, minimum(k, u))"),
        ("u < k", "k > u", "u + 1 <= k", "k - u >= 1", "logical_not(k <= u)", "2 * u < 2 * k"),
        ("u <= k", "u < k + 1", "k >= u"),
        ("u >= 0", "u > -1", "0 <= u", "logical_not(u < 0)"),
        ("u * 4 < 10", "u < 3", "u <= 2"),
        ("u == k + 1", "u - 1 == k", "3 * u - 3 == 3 * k"),
        ("logical_and(u < k, m < 4)", "logical_not(logical_or(u >= k, m >= 4))"),
        ("logical_and(u < 4, u < 9)", "logical_and(u < 9, u < 4)", "u < 4"),
        ("logical_or(u < 4, u < 9)", "u < 9"),
        ("ceildiv(u, 4) - 1", "(u - 1) // 4"),
    ],
    ids=lambda forms: forms[0],
)
def test_equal_values_print_the_same(forms):
    an = Analyzer()
    assert len({str(an.simplify(read(text))) for text in forms}) == 1


def test_the_same_object_comes_back_when_nothing_changes(an):
    data = Buffer("A", (128, 128), "float16")
    for expr in (
        bx * 128 + tx,
        ir.BufferLoad(data, (i * 8 + j, tx)) * FloatImm(2.0, ir.dtype("float16")),
        bx * 128 + tx < n,
        select(u < k, u, k),
        minimum(u * 4 + k // 2, 7),
        IntImm(3),
    ):
        assert an.simplify(expr) is expr


# -- types -----------------------------------------------------------------------------------------


def test_widening_casts_reach_the_variables_and_chains_collapse():
    wide = cast(u * 4 + 2, "int64")
    assert str(simplify(wide - 2)) == "int64(u) * 4"
    assert simplify(Cast(Cast(u, ir.INT64), ir.INT32)) is u
    narrowing = Cast(Cast(u, ir.dtype("int8")), ir.INT32)
    assert simplify(narrowing) is narrowing
    assert simplify(narrowing, {u: (0, 100)}) is not u  # the cast stays, its bounds are those of u
    an = Analyzer()
    an.bind(u, 0, 100)
    assert an.bounds(narrowing) == (0, 100) and an.can_prove_equal(narrowing, narrowing)


def test_unsigned_sums_are_opened_only_where_they_do_not_wrap():
    a, b = Var("a", ir.dtype("uint32")), Var("b", ir.dtype("uint32"))
    wraps = ir.LT(ir.Sub(a, b), a)
    assert not isinstance(simplify(wraps), IntImm)
    assert simplify(ir.Add(ir.Sub(a, b), b)) is not a
    an = Analyzer()
    an.bind(a, 10, 20)
    an.bind(b, 0, 10)
    assert an.simplify(ir.Add(ir.Sub(a, b), b)) is a
    assert an.bounds(Var("c", ir.dtype("uint8"))) == (0, 255)


def test_constants_that_leave_their_type_stop_the_rewriting():
    big = ir.Mul(ir.Sub(u, IntImm(70000)), IntImm(70000))
    made = simplify(big)
    assert all(abs(c.value) < 1 << 31 for c in walk(made) if isinstance(c, IntImm))
    assert value(made, {u: 70001}) == 70000


def test_floats_keep_their_meaning():
    x = Var("x", ir.FLOAT32)
    for expr in (ir.Add(x, FloatImm(0.0)), ir.Mul(x, FloatImm(0.0)), ir.Sub(x, x), ir.Div(x, x)):
        assert simplify(expr) is expr
    for expr in (ir.EQ(x, x), ir.Not(ir.LT(x, FloatImm(1.0)))):
        assert simplify(expr) is expr
    assert simplify(ir.Mul(x, FloatImm(1.0))) is x
    assert simplify(ir.Sub(x, FloatImm(0.0))) is x
    h = Var("h", ir.dtype("float16"))
    assert simplify(Cast(Cast(h, ir.FLOAT32), h.dtype)) is h
    loses = Cast(Cast(x, h.dtype), ir.FLOAT32)
    assert simplify(loses) is loses
    assert str(simplify(x + cast(i * 0 + 2, "float32"))) == str(x + 2.0)


def test_vectors_are_simplified_inside():
    made = simplify(Ramp(u * 4 - u * 3, IntImm(1), 4))
    assert isinstance(made, Ramp) and made.base is u
    an = Analyzer()
    an.bind(u, 0, 3)
    assert an.bounds(ir.Add(Ramp(u, IntImm(2), 4), Broadcast(IntImm(5), 4))) == (5, 14)


# -- loads, calls, bindings ------------------------------------------------------------------------


def test_equal_loads_cancel_but_are_not_written_twice():
    data = Buffer("A", (64,), "int32")
    a, b = ir.BufferLoad(data, (i + j,)), ir.BufferLoad(data, (j + i,))
    assert str(simplify(a - b)) == "0"
    product = ir.Mul(a, ir.Add(u, IntImm(3)))
    assert str(simplify(product)).count("A[") == 1


def test_calls_with_effects_stay_as_often_and_in_order():
    first, second = Call("f", (u + 0,), ir.INT32), Call("g", (ir.Sub(k, k),), ir.INT32)
    kept = simplify(ir.Sub(ir.Add(second, first), second))
    calls = [node.op for node in walk(kept) if isinstance(node, Call)]
    assert calls == ["g", "f", "g"]
    assert "g(0)" in str(kept)
    dropped = simplify(ir.Mul(first, IntImm(0)))
    assert any(isinstance(node, Call) for node in walk(dropped))
    guarded = ir.LT(first, first)
    assert simplify(guarded) is guarded


def test_two_reads_of_state_are_two_values():
    a, b = Call("clock", (), ir.INT32), Call("clock", (), ir.INT32)
    assert str(simplify(a - b)) != "0"


def test_let_names_a_constant_or_stays():
    v = Var("v")
    assert str(simplify(Let(v, IntImm(3), v + u))) == str(u + 3)
    assert str(simplify(Let(v, u, as_expr(IntImm(7))))) == "7"
    kept = Let(v, u * u, v * v)
    assert simplify(kept) is kept


def test_a_guarded_side_knows_its_condition_and_a_select_does_not():
    data = Buffer("A", (64,), "float32")
    index = maximum(u, 1)
    guarded = if_then_else(u > 0, ir.BufferLoad(data, (index,)), 0.0)
    assert "max" not in str(simplify(guarded))
    evaluated = select(u > 0, ir.BufferLoad(data, (index,)), FloatImm(0.0))
    assert "max" in str(simplify(evaluated))


# -- size and speed --------------------------------------------------------------------------------


def seconds(function) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def long_sum(count: int):
    rng = random.Random(count)
    total = as_expr(u)
    for number in range(count):
        total = total + Var(f"v{number}") * rng.randrange(1, 9)
    return total


def test_long_sums_take_linear_time():
    short, long = long_sum(1000), long_sum(8000)
    assert seconds(lambda: simplify(long)) < 40 * seconds(lambda: simplify(short))
    assert seconds(lambda: simplify(ir.LT(long, long + 1))) < 2


def test_deep_nests_do_not_fail():
    deep, chain = u, u
    for number in range(3000):
        deep = ir.BitXor(deep, ir.ShiftRight(deep, IntImm(3)))
        chain = ir.Min(chain, IntImm(number))
    assert simplify(deep) is deep
    assert str(simplify(chain)) == "min(u, 0)"


def test_an_index_takes_microseconds(an):
    def once():
        an.simplify(bx * 128 + (tx // 32) * 16 + i % 8 + (tx % 32 // 4) * n)

    once()
    assert seconds(lambda: [once() for _ in range(100)]) < 0.2  # loose: 2 ms each


def test_ranges_of_the_convenience_function():
    assert simplify(u // 8 + u % 8, {u: (0, 8)}) is u
    assert str(simplify(u < n, {u: (0, n)})) == "True"
