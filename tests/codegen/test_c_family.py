"""Expressions as C text: what they evaluate to, and how they look."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tests.codegen.run_c import CompiledC, launch
from tilelang.arith import evaluate
from tilelang.codegen.c_expr import quote
from tilelang.codegen.c_family import CFamilyPrinter
from tilelang.codegen.c_names import Names, identifier
from tilelang.errors import ArgumentError, ArithmeticFault, Span
from tilelang.ir import expr as ir
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import BufferStore, Evaluate, Seq
from tilelang.ir.visitor import walk

KINDS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
OPERATORS = (
    ir.add, ir.sub, ir.mul, ir.floordiv, ir.floormod, ir.truncdiv, ir.truncmod, ir.minimum,
    ir.maximum, ir.bitwise_and, ir.bitwise_or, ir.bitwise_xor, ir.shift_left, ir.shift_right,
)  # fmt: skip
COMPARISONS = (ir.less, ir.less_equal, ir.greater, ir.equal, ir.not_equal)


class Generator:
    """Random integer expressions over scalar parameters, without overflow or division by zero."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.values: dict[Var, int] = {}
        for kind in KINDS:
            for i in range(2):
                low, high = dtype(kind).min_value(), dtype(kind).max_value()
                value = self.rng.randint(max(int(low), -100), min(int(high), 100))
                self.values[Var(f"{kind}_{i}", kind)] = value

    def leaf(self, kind: str) -> Expr:
        if self.rng.random() < 0.3:
            low = -9 if kind.startswith("int") else 0
            return ir.constant(self.rng.randint(low, 9), kind)
        return self.rng.choice([v for v in self.values if v.dtype == kind])

    def expr(self, kind: str, depth: int) -> Expr:
        if depth == 0:
            return self.leaf(kind)
        choice = self.rng.random()
        if choice < 0.15:
            return ir.cast(self.expr(self.rng.choice(KINDS), depth - 1), kind)
        if choice < 0.3:
            make = self.rng.choice((ir.select, ir.if_then_else))
            return make(self.condition(depth - 1), *(self.expr(kind, depth - 1) for _ in "ab"))
        if choice < 0.36:
            return ir.bitwise_not(self.expr(kind, depth - 1))
        operator = self.rng.choice(OPERATORS)
        a, b = self.expr(kind, depth - 1), self.expr(kind, depth - 1)
        if operator in (ir.shift_left, ir.shift_right):
            b = ir.constant(self.rng.randint(0, 5), kind)
        try:
            return operator(a, b)
        except ArithmeticFault:  # a constant zero divides
            return a

    def condition(self, depth: int) -> Expr:
        kind = self.rng.choice(KINDS)
        test = self.rng.choice(COMPARISONS)(self.leaf(kind), self.expr(kind, depth))
        if self.rng.random() < 0.3:
            join = self.rng.choice((ir.logical_and, ir.logical_or))
            return join(test, ir.logical_not(self.condition(0)))
        return test

    def valid(self, value: Expr) -> bool:
        """Whether no part of it leaves the range of its type."""
        for node in walk(value):
            try:
                number = evaluate(node, self.values)
            except (ArgumentError, ArithmeticFault):
                return False
            kind = node.dtype
            if kind.is_int and not kind.min_value() <= number <= kind.max_value():
                return False
        return True


@pytest.mark.parametrize("seed", range(2))
def test_printed_expressions_have_the_values_of_the_ir(seed: int, tmp_path: Path) -> None:
    source = Generator(seed)
    exprs: list[Expr] = []
    while len(exprs) < 250:
        made = source.expr(source.rng.choice(KINDS), source.rng.randint(1, 4))
        if source.valid(made):
            exprs.append(made)
    out = Buffer("out", (len(exprs),), "int64")
    stores = [BufferStore(out, ir.cast(e, "int64"), (ir.as_expr(i),)) for i, e in enumerate(exprs)]
    func = PrimFunc("values", (*source.values, out), launch(stores))
    unit = CompiledC(func, tmp_path)
    result = np.zeros(len(exprs), np.int64)
    unit(*source.values.values(), result)
    for got, value in zip(result, exprs):
        wanted = np.uint64(evaluate(value, source.values) % (1 << 64)).astype(np.int64)
        assert got == wanted, f"{value} with {source.values}"


def printed(value: Expr, *variables: Var) -> str:
    printer = CFamilyPrinter()
    for var in variables:
        printer.names.define(var)
        printer.signs.add(var)
    return printer.expr(value)


def test_only_needed_parentheses_are_printed() -> None:
    a, b, c = Var("a"), Var("b"), Var("c")
    assert printed((a + b) * c, a, b, c) == "(a + b) * c"
    assert printed(a + b * c, a, b, c) == "a + b * c"
    assert printed(a - (b - c), a, b, c) == "a - (b - c)"
    assert printed(a - b - c, a, b, c) == "a - b - c"
    assert printed(ir.logical_or(ir.logical_and(a < b, b < c), ir.equal(a, c)), a, b, c) == (
        "a < b && b < c || a == c"
    )
    assert printed(ir.bitwise_and(a, b) << 2, a, b) == "(a & b) << 2"
    assert printed(a + -3, a) == "a - 3"
    assert printed(ir.equal(ir.bitwise_and(a, 1), 0), a) == "(a & 1) == 0"


def test_floor_division_is_plain_where_the_sign_is_known() -> None:
    a, b = Var("a"), Var("b")
    assert printed(a // 3, a) == "a / 3"
    assert printed(a % 8, a) == "a % 8"
    printer = CFamilyPrinter()
    printer.names.define(b)
    assert printer.expr(b // 3) == "tl_floordiv_int32(b, 3)"
    assert printer.expr(b // 8) == "b >> 3"
    assert printer.expr(b % 8) == "b & 7"


def test_float_constants_are_shortest_and_exact() -> None:
    assert printed(ir.constant(0.1, "float32")) == "0.1f"
    assert printed(ir.constant(1.0, "float64")) == "1.0"
    assert printed(ir.constant(float("-inf"), "float32")) == "-__builtin_inff()"
    assert printed(ir.constant(-1e30, "float32")) == "-1e+30f"
    assert printed(ir.IntImm(-(1 << 31))) == "(-2147483647 - 1)"


def test_names_avoid_c_and_each_other() -> None:
    names = Names(["helper"])
    first, second, third = Var("x"), Var("x"), Var("for")
    assert names.define(first) == "x"
    with names.scope():
        assert names.define(second) == "x_1"
    assert names.define(Var("x")) == "x_1"
    assert names.define(third) == "for_1"
    assert names.define(Var("helper")) == "helper_1"
    assert identifier("tl_exp") == "v_tl_exp"
    assert identifier("3d") == "v_3d"
    assert identifier("größe").isascii()


def test_strings_survive_quoting() -> None:
    assert quote('a"b\\n\n') == '"a\\"b\\\\n\\n"'
    assert quote("é1") == '"\\303\\2511"'


def test_comments_name_the_line_once_and_cannot_swallow_code(tmp_path: Path) -> None:
    file = tmp_path / "user.py"
    file.write_text("x = 1 \\\n    + 2\n")
    printer = CFamilyPrinter()
    span = Span(str(file), 1)
    printer.stmt(Seq((Evaluate(ir.as_expr(1), span=span), Evaluate(ir.as_expr(2), span=span))))
    assert printer.lines == ["// user.py:1: x = 1", "1;", "2;"]


def test_long_parameter_lists_are_broken_after_commas() -> None:
    printer = CFamilyPrinter()
    printer.wrapped("void f(", [f"const float *restrict argument_{i}" for i in range(5)], ") {")
    assert len(printer.lines) > 1
    assert all(len(line) <= 100 for line in printer.lines)
    assert "".join(line.strip() for line in printer.lines).count("argument_") == 5
