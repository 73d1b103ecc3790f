"""Expressions as Python numbers."""

from __future__ import annotations

import math
import random

import numpy
import pytest

from tilelang.arith import evaluate
from tilelang.errors import ArgumentError, ArithmeticFault
from tilelang.ir import expr as ir
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Call, Cast, FloatImm, IntImm, Let, Var, ceildiv, if_then_else, select

n, m = Var("n"), Var("m")


def test_shapes():
    env = {n: 100, m: 7}
    assert evaluate(ceildiv(n, 32) * 32 + m % 4, env) == 131
    assert evaluate(5) == 5 and evaluate(2.5) == 2.5
    assert evaluate(select(n > m, n, m), env) == 100
    assert evaluate(Let(m, n + 1, m * m), env) == 101 * 101
    assert evaluate(ir.And(n < 3, IntImm(1) // m > 0), {n: 5, m: 0}) is False


@pytest.mark.parametrize("kind", [ir.FloorDiv, ir.FloorMod, ir.TruncDiv, ir.TruncMod])
def test_division_rounds_as_it_says(kind):
    for a in range(-9, 10):
        for b in (-4, -3, -1, 1, 3, 4):
            made = evaluate(kind(n, m), {n: a, m: b})
            exact = {
                ir.FloorDiv: math.floor(a / b), ir.TruncDiv: math.trunc(a / b),
                ir.FloorMod: a - b * math.floor(a / b), ir.TruncMod: int(math.fmod(a, b)),
            }[kind]  # fmt: skip
            assert made == exact
    with pytest.raises(ArithmeticFault, match="divides by zero"):
        evaluate(kind(n, m), {n: 1, m: 0})


def test_only_the_chosen_side_of_if_then_else_is_evaluated():
    assert evaluate(if_then_else(m > 0, n // m, -1), {n: 4, m: 0}) == -1


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "float8_e4m3fn"])
def test_floats_are_rounded_to_their_type(name):
    kind, rng = dtype(name), random.Random(name)
    x, y = Var("x", kind), Var("y", kind)
    for _ in range(50):
        a, b = (float(numpy.float64(rng.uniform(0.5, 8)).astype(kind.as_numpy())) for _ in "ab")
        for node, exact in ((ir.Add(x, y), a + b), (ir.Mul(x, y), a * b), (ir.Div(x, y), a / b)):
            assert evaluate(node, {x: a, y: b}) == float(
                numpy.float64(exact).astype(kind.as_numpy())
            )


def test_special_floats():
    x = Var("x", ir.FLOAT32)
    assert evaluate(ir.Div(x, FloatImm(0.0)), {x: -1.0}) == -math.inf
    assert math.isnan(evaluate(ir.Div(x, x), {x: 0.0}))
    assert math.isnan(evaluate(Call("sqrt", (x,), ir.FLOAT32), {x: -1.0}))
    assert evaluate(Call("exp", (x,), ir.FLOAT32), {x: 1e6}) == math.inf
    assert evaluate(Call("log", (x,), ir.FLOAT32), {x: 0.0}) == -math.inf
    assert evaluate(Call("round", (x,), ir.FLOAT32), {x: 2.5}) == 2.0
    assert evaluate(Call("round_away", (x,), ir.FLOAT32), {x: -2.5}) == -3.0
    assert evaluate(Call("isnan", (x,), ir.BOOL), {x: math.nan}) is True


def test_casts_wrap_and_truncate():
    x = Var("x", ir.FLOAT32)
    assert evaluate(Cast(n, dtype("int8")), {n: 200}) == -56
    assert evaluate(Cast(n, dtype("uint8")), {n: -1}) == 255
    assert evaluate(Cast(x, ir.INT32), {x: -2.7}) == -2
    assert evaluate(Cast(n, ir.BOOL), {n: 3}) is True
    u = Var("u", dtype("uint32"))
    assert evaluate(ir.Sub(u, IntImm(1, u.dtype)), {u: 0}) == 2**32 - 1


def test_bit_counts():
    assert evaluate(Call("popcount", (n,), ir.INT32), {n: -1}) == 32
    assert evaluate(Call("clz", (n,), ir.INT32), {n: 1}) == 31
    assert [evaluate(Call("ffs", (n,), ir.INT32), {n: v}) for v in (0, 1, 8)] == [0, 1, 4]


@pytest.mark.parametrize(
    "expr",
    [
        ir.BufferLoad(Buffer("A", (4,)), (IntImm(0),)),
        Call("lane_id", (), ir.INT32),
        ir.Ramp(n, IntImm(1), 4),
        ir.StringImm("x"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_has_no_value_outside_a_kernel_is_said(expr):
    with pytest.raises(ArgumentError, match="no value outside a kernel"):
        evaluate(expr, {n: 1})


def test_a_missing_variable_is_named():
    with pytest.raises(ArgumentError, match="`m` is not known"):
        evaluate(n + m, {n: 1})
