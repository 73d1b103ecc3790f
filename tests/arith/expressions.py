"""Random integer expressions and conditions over a few variables with small ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tilelang.arith import Analyzer, evaluate
from tilelang.errors import ArithmeticFault
from tilelang.ir import expr as ir
from tilelang.ir.expr import IntImm, Var

VARS = [Var(name) for name in "xyzw"]
RANGES = {
    VARS[0]: (0, 6),
    VARS[1]: (-3, 4),
    VARS[2]: (2, 9),
    VARS[3]: (-7, -2),
}  # start, inclusive end
NUMBERS = st.integers(-9, 9)
POSITIVE = st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16])
SUMS = (ir.Add, ir.Sub, ir.Mul, ir.Min, ir.Max)
DIVISIONS = (ir.FloorDiv, ir.FloorMod, ir.TruncDiv, ir.TruncMod)
BITS = (ir.BitAnd, ir.BitOr, ir.BitXor)
COMPARISONS = (ir.EQ, ir.NE, ir.LT, ir.LE, ir.GT, ir.GE)


def leaves() -> st.SearchStrategy[Any]:
    return st.sampled_from(VARS) | st.builds(IntImm, NUMBERS)


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One operation more; node classes are used directly, so nothing is folded on the way."""
    positive = st.builds(IntImm, POSITIVE)
    shift = st.builds(IntImm, st.integers(0, 4))
    condition = conditions(inner)
    return st.one_of(
        st.builds(lambda kind, a, b: kind(a, b), st.sampled_from(SUMS), inner, inner),
        st.builds(lambda kind, a, b: kind(a, b), st.sampled_from(SUMS), inner, inner),
        st.builds(lambda kind, a, b: kind(a, b), st.sampled_from(DIVISIONS), inner, positive),
        st.builds(lambda kind, a, b: kind(a, b), st.sampled_from(DIVISIONS), inner, inner),
        st.builds(lambda kind, a, b: kind(a, b), st.sampled_from(BITS), inner, inner),
        st.builds(ir.ShiftLeft, inner, shift),
        st.builds(ir.ShiftRight, inner, shift),
        st.builds(ir.BitNot, inner),
        st.builds(ir.Select, condition, inner, inner),
        st.builds(
            lambda c, a, b: ir.Call("if_then_else", (c, a, b), ir.INT32), condition, inner, inner
        ),
        st.builds(
            lambda a, t: ir.Cast(ir.Cast(a, t), ir.INT32), inner, st.sampled_from(CAST_TYPES)
        ),
        st.builds(lambda a: ir.Call("abs", (a,), ir.INT32), inner),
    )


CAST_TYPES = [ir.dtype(name) for name in ("int64", "int8", "uint8", "int16")]


def conditions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Comparisons, and one level of logic over them."""
    comparison = st.builds(
        lambda kind, a, b: kind(a, b), st.sampled_from(COMPARISONS), inner, inner
    )
    return st.one_of(
        comparison,
        st.builds(ir.And, comparison, comparison),
        st.builds(ir.Or, comparison, comparison),
        st.builds(ir.Not, comparison),
    )


def integers(max_leaves: int = 12) -> st.SearchStrategy[Any]:
    return st.recursive(leaves(), _grown, max_leaves=max_leaves)


def analyzer() -> Analyzer:
    """One that knows `RANGES`."""
    made = Analyzer()
    for var, (lo, hi) in RANGES.items():
        made.bind(var, lo, hi)
    return made


def environments(count: int = 24) -> Iterator[dict[Var, int]]:
    """The corners of `RANGES` and points between, the same ones each time."""
    for number in range(count):
        yield {
            var: (lo, hi)[number >> i & 1]
            if number < 16
            else lo + (number * (3 + 2 * i)) % (hi - lo + 1)
            for i, (var, (lo, hi)) in enumerate(RANGES.items())
        }


def value(expr: Any, env: dict[Var, int]) -> Any:
    """What `expr` evaluates to; `None` where it divides by zero."""
    try:
        return evaluate(expr, env)
    except ArithmeticFault:
        return None
