"""Expressions: operators, types, folding against Python's and NumPy's arithmetic, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArithmeticFault,
    DTypeError,
    LanguageError,
)
from tilelang.ir import expr as ir
from tilelang.ir.dtype import dtype
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    Broadcast,
    Call,
    Cast,
    Expr,
    FloatImm,
    IntImm,
    Var,
    as_expr,
    const_value,
)
from tilelang.ir.number import promote
from tilelang.ir.visitor import substitute

x, y = Var("x"), Var("y")
f, h = Var("f", "float32"), Var("h", "float16")
w = Var("w", "int64")
flag = Var("flag", "bool")


# -- conversion and types -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, "int32"), (-(1 << 31), "int32"), (1 << 31, "int64"), (1.5, "float32"), (True, "bool"),
     ("s", "void"), (np.float32(2.0), "float32"), (np.int64(3), "int32")],
)  # fmt: skip
def test_numbers_become_constants(value: Any, kind: str) -> None:
    assert as_expr(value).dtype == kind


def test_other_objects_are_no_expressions() -> None:
    for value in (None, [1], object(), np.zeros(2)):
        with pytest.raises(ArgumentTypeError, match="expected a number or an expression"):
            as_expr(value)


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [("int32", "int64", "int64"), ("int32", "float16", "float16"), ("int32", "uint32", "uint32"),
     ("float16", "float32", "float32"), ("int8", "uint16", "uint16"), ("bool", "int8", "int8"),
     ("float16", "bfloat16", "float32"), ("bool", "float16", "float16"),
     ("float32x4", "float32", "float32x4")],
)  # fmt: skip
def test_promotion_is_symmetric(a: str, b: str, kind: str) -> None:
    assert promote(dtype(a), dtype(b)) == kind
    assert promote(dtype(b), dtype(a)) == kind
    made = ir.add(Var("a", a), Var("b", b))
    assert made.dtype == kind and isinstance(made, ir.Add)


def test_vectors_of_different_lengths_do_not_combine() -> None:
    with pytest.raises(DTypeError, match="4 and 2 lanes"):
        ir.add(Var("a", "int32x4"), Var("b", "int32x2"))


def test_literals_take_the_type_of_the_other_side() -> None:
    assert (h * 2).dtype == (2 * h).dtype == (h * 0.5).dtype == "float16"
    assert (w + 1).dtype == "int64"
    assert (x + 0.5).dtype == "float32"
    assert isinstance((x + 0.5).a, Cast)
    assert (Var("v", "float16x4") * 2).dtype == "float16x4"


def test_every_operator_builds_its_node() -> None:
    made = [
        x + y, x - y, x * y, f / 2.0, x // y, x % y, x << y, x >> y, x & y, x | y, x ^ y,
        x < y, x <= y, x > y, x >= y, x == y, x != y, ~x,
    ]  # fmt: skip
    assert [type(e).__name__ for e in made] == [
        "Add", "Sub", "Mul", "Div", "FloorDiv", "FloorMod", "ShiftLeft", "ShiftRight", "BitAnd",
        "BitOr", "BitXor", "LT", "LE", "GT", "GE", "EQ", "NE", "BitNot",
    ]  # fmt: skip
    reflected = [1 + x, 1 - x, 2 * x, 2.0 / f, 7 // x, 7 % x, 1 << x, 8 >> x, 3 & x, 3 | x, 3 ^ x]
    assert all(isinstance(e.a, (IntImm, FloatImm)) for e in reflected)  # type: ignore[attr-defined]
    assert all(e.dtype == "bool" for e in made[11:17])
    assert str(abs(x)) == "abs(x)" and +x is x


def test_derived_types() -> None:
    assert ir.Ramp(w, as_expr(1), 4).dtype == "int64x4"
    assert Broadcast(h, 8).dtype == "float16x8"
    assert (Var("v", "float32x4") < 1.0).dtype == "boolx4"
    assert ir.Let(x, y, h).dtype == ir.select(flag, h, 0).dtype == "float16"
    assert Var("v", "int32x4")[1].dtype == "int32"


# -- folding --------------------------------------------------------------------------------------


def test_identities_keep_the_operand() -> None:
    for made in (x + 0, 0 + x, x - 0, x * 1, 1 * x, x // 1, x << 0, x >> 0):
        assert made is x
    assert const_value(x * 0) == 0 and const_value(x % 1) == 0
    assert isinstance(f * 0, ir.Mul), "0 times infinity is not 0"
    assert ir.logical_and(True, flag) is flag
    assert const_value(ir.logical_or(True, flag)) is True
    assert ir.logical_not(ir.logical_not(flag)) is flag
    assert ir.cast(x, "int32") is x


def test_casts_of_constants() -> None:
    assert structural_equal(ir.cast(3, "float16"), FloatImm(3.0, dtype("float16")))
    assert const_value(ir.cast(300, "uint8")) == 44
    assert const_value(ir.cast(200, "int8")) == -56
    assert const_value(ir.cast(0.1, "float16")) == float(np.float16(0.1))
    assert const_value(ir.cast(5, "bool")) is True
    assert isinstance(ir.cast(1.7, "int32"), Cast), "left to the target"
    assert isinstance(ir.cast(x, "float32x4"), Broadcast)


def test_folding_rounds_to_the_type() -> None:
    third = ir.div(ir.constant(1.0, "float16"), ir.constant(3.0, "float16"))
    assert const_value(third) == float(np.float16(1) / np.float16(3))
    big = ir.constant(60000.0, "float16") * ir.constant(2.0, "float16")
    assert const_value(big) == math.inf
    assert const_value(ir.constant(1e30, "float64") * ir.constant(10.0, "float64")) == 1e31


def test_shifts_by_impossible_counts_stay() -> None:
    for count in (-1, 32, 1000):
        assert isinstance(ir.shift_left(as_expr(1), as_expr(count)), ir.ShiftLeft)
        assert isinstance(ir.shift_right(as_expr(1), as_expr(count)), ir.ShiftRight)


def test_float_floor_division() -> None:
    made = f // 2.0
    assert isinstance(made, Call) and made.op == "floor" and made.dtype == "float32"


def test_constants_that_do_not_fit() -> None:
    with pytest.raises(ArgumentError, match=r"300 does not fit uint8 \(0 to 255\)"):
        ir.constant(300, "uint8")
    with pytest.raises(ArgumentError, match="inf cannot become"):
        ir.constant(math.inf, "int32")
    assert ir.constant(7.9, "int32").value == 7  # type: ignore[attr-defined]
    vector = ir.constant(1, "int8x4")
    assert isinstance(vector, Broadcast) and vector.dtype == "int8x4"


_INT = {
    ir.Add: lambda a, b: a + b, ir.Sub: lambda a, b: a - b, ir.Mul: lambda a, b: a * b,
    ir.FloorDiv: lambda a, b: a // b, ir.FloorMod: lambda a, b: a % b,
    ir.TruncDiv: lambda a, b: int(math.copysign(1, a) * math.copysign(1, b)) * (abs(a) // abs(b)),
    ir.TruncMod: lambda a, b: a - b * int(a / b),
    ir.Min: min, ir.Max: max, ir.BitAnd: lambda a, b: a & b, ir.BitOr: lambda a, b: a | b,
    ir.BitXor: lambda a, b: a ^ b, ir.ShiftLeft: lambda a, b: a << b,
    ir.ShiftRight: lambda a, b: a >> b,
}  # fmt: skip
_COMPARE = {
    ir.EQ: lambda a, b: a == b, ir.NE: lambda a, b: a != b, ir.LT: lambda a, b: a < b,
    ir.LE: lambda a, b: a <= b, ir.GT: lambda a, b: a > b, ir.GE: lambda a, b: a >= b,
}  # fmt: skip
_LOGIC = {ir.And: lambda a, b: a and b, ir.Or: lambda a, b: a or b}


LEAVES = [Var(name) for name in "abcdef"]


@st.composite
def trees(draw: st.DrawFn, kind: str = "int", depth: int = 4) -> Expr:
    """Unfolded expressions over `LEAVES`."""
    if kind == "bool":
        if depth > 1 and draw(st.booleans()):
            operator = draw(st.sampled_from([*_LOGIC, ir.Not]))
            parts = [draw(trees("bool", depth - 1)) for _ in range(1 if operator is ir.Not else 2)]
            return operator(*parts)
        operator = draw(st.sampled_from(list(_COMPARE)))
        return operator(draw(trees("int", depth - 1)), draw(trees("int", depth - 1)))
    if depth <= 0 or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(LEAVES))
    match draw(st.integers(0, 8)):
        case 0:
            parts = [draw(trees("bool", depth - 1)), draw(trees("int", depth - 1))]
            other = draw(trees("int", depth - 1))
            if draw(st.booleans()):
                return ir.Select(*parts, other)
            return Call("if_then_else", (*parts, other), dtype("int32"))
        case 1:
            return ir.BitNot(draw(trees("int", depth - 1)))
        case 2:
            narrow = dtype(draw(st.sampled_from(["int8", "uint16"])))
            return Cast(Cast(draw(trees("int", depth - 1)), narrow), dtype("int32"))
        case _:
            operator = draw(st.sampled_from(list(_INT)))
            return operator(draw(trees("int", depth - 1)), draw(trees("int", depth - 1)))


def evaluate(tree: Expr, values: dict[Var, int]) -> int:
    """What the unfolded `tree` means, by Python's integers."""
    match tree:
        case Var():
            return values[tree]
        case IntImm():
            return tree.value
        case ir.Not(a):
            return int(not evaluate(a, values))
        case ir.BitNot(a):
            return ~evaluate(a, values)
        case Cast(a, kind):
            bits = evaluate(a, values) & ((1 << kind.bits) - 1)
            is_negative = kind.kind == "int" and bits >> (kind.bits - 1)
            return bits - (1 << kind.bits) if is_negative else bits
        case ir.Select(c, a, b) | Call("if_then_else", (c, a, b)):
            return evaluate(a if evaluate(c, values) else b, values)
        case ir.BinaryOp(a, b):
            table = {**_INT, **_COMPARE, **_LOGIC}
            left, right = evaluate(a, values), evaluate(b, values)
            if isinstance(tree, (ir.ShiftLeft, ir.ShiftRight)):
                assume(0 <= right < 32)
            result = int(table[type(tree)](left, right))
            assume(-(1 << 31) <= result < 1 << 31)  # overflow has no meaning
            return result
        case _:
            raise AssertionError(type(tree))


@settings(max_examples=400, deadline=None)
@given(trees() | trees("bool"), st.lists(st.integers(-20, 20), min_size=6, max_size=6))
def test_folding_agrees_with_python(tree: Expr, numbers: list[int]) -> None:
    values = dict(zip(LEAVES, numbers))
    try:
        expected = evaluate(tree, values)
        folded = substitute(tree, values)
    except (ZeroDivisionError, ArithmeticFault):
        assume(False)
    assert isinstance(folded, IntImm), f"{tree} folds to {folded}"
    assert folded.value == expected, f"{tree} with {numbers}"
    assert folded.dtype == tree.dtype


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["float16", "float32", "float64"]),
    st.sampled_from([ir.Add, ir.Sub, ir.Mul, ir.Div, ir.Min, ir.Max, ir.LT, ir.EQ]),
    st.floats(-1e4, 1e4, width=16),
    st.floats(-1e4, 1e4, width=16),
)
def test_float_folding_agrees_with_numpy(kind: str, operator: Any, a: float, b: float) -> None:
    assume(operator is not ir.Div or b != 0)
    made = ir.FOLDING[operator](ir.constant(a, kind), ir.constant(b, kind))
    p, q = np.dtype(kind).type(a), np.dtype(kind).type(b)
    table: dict[Any, Any] = {
        ir.Add: np.add, ir.Sub: np.subtract, ir.Mul: np.multiply, ir.Div: np.divide,
        ir.Min: np.minimum, ir.Max: np.maximum, ir.LT: np.less, ir.EQ: np.equal,
    }  # fmt: skip
    with np.errstate(all="ignore"):
        expected = table[operator](p, q)
    assert const_value(made) == expected.item()


@given(st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_ceildiv_rounds_up(a: int, b: int) -> None:
    assume(b != 0)
    assert ir.ceildiv(a, b) == math.ceil(a / b)
    assert isinstance(ir.ceildiv(a, b), int)
    if b > 0:
        assert const_value(substitute(ir.ceildiv(x, b), {x: a})) == math.ceil(a / b)


# -- mistakes -------------------------------------------------------------------------------------


def test_division_by_constant_zero() -> None:
    for operator in (ir.floordiv, ir.floormod, ir.truncdiv, ir.truncmod):
        with pytest.raises(ArithmeticFault, match="divided by constant zero"):
            operator(x, 0)
    with pytest.raises(ArithmeticFault, match="constant zero"):
        ir.div(as_expr(1.0), as_expr(0.0))
    with pytest.raises(ArithmeticFault, match=r"ceildiv\(5, 0\)"):
        ir.ceildiv(5, 0)


def test_integer_true_division_is_ambiguous() -> None:
    with pytest.raises(DTypeError, match="ambiguous") as caught:
        x / y
    assert caught.value.hint is not None and "//" in caught.value.hint


def test_power_is_for_python_numbers() -> None:
    with pytest.raises(LanguageError, match=r"\*\*"):
        x**2
    with pytest.raises(LanguageError, match=r"\*\*"):
        2**x


def test_bits_need_integers() -> None:
    for make in (lambda: f & 1, lambda: f << 1, lambda: ~f, lambda: 1 | f):
        with pytest.raises(DTypeError, match="bit operations need integers"):
            make()


def test_values_are_not_known_to_python() -> None:
    with pytest.raises(LanguageError, match="known only when the kernel runs"):
        bool(x < y)
    with pytest.raises(ArgumentTypeError, match="not a constant"):
        int(x)
    with pytest.raises(ArgumentTypeError, match="not a constant"):
        range(x)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="cannot be unpacked"):
        list(x)
    with pytest.raises(ArgumentTypeError, match="cannot be indexed"):
        x[0]


def test_equality_compares_structure_where_python_needs_a_bool() -> None:
    assert [x + 1, y] == [x + 1, y]
    assert x + 1 != y + 1
    assert (x + 1) in [y, x + 1]
    assert int(as_expr(4)) == 4 and float(as_expr(0.5)) == 0.5 and bool(as_expr(0)) is False


def test_pointers_and_texts_take_no_part_in_arithmetic() -> None:
    pointer = Var("p", "handle")
    for make in (lambda: pointer + 1, lambda: pointer + x, lambda: ir.as_condition(pointer)):
        with pytest.raises(DTypeError, match="handle"):
            make()
    with pytest.raises(DTypeError):
        ir.cast(as_expr("s"), "int32")
