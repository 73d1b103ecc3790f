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


MIXED = [Var(f"{kind}_var", kind) for kind in ("uint8", "uint32", "int8", "int64")]
MIXED_RANGES = dict(zip(MIXED, [(0, 255), (0, 2**32 - 1), (-128, 127), (-(2**40), 2**40)]))


def mixed_types(max_leaves: int = 10) -> st.SearchStrategy[Any]:
    """Expressions of several integer types; unsigned arithmetic wraps, casts go everywhere.

    Signed arithmetic must not overflow, so sums and products are made of unsigned values alone.
    """
    kinds = st.sampled_from([var.dtype for var in MIXED])
    leaf = st.sampled_from(MIXED) | st.builds(ir.constant, st.integers(0, 100), kinds)
    return st.recursive(leaf, _grown_mixed, max_leaves=max_leaves)


def _grown_mixed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    kinds = st.sampled_from([var.dtype for var in MIXED])
    any_sign = st.sampled_from([ir.Min, ir.Max, ir.BitAnd, ir.BitOr, ir.BitXor, *DIVISIONS])
    unsigned = st.sampled_from([ir.Add, ir.Sub, ir.Mul])

    def operation(kind: Any, a: Any, b: Any) -> Any:
        may_overflow = kind in (ir.Add, ir.Sub, ir.Mul, *DIVISIONS)  # -128 // -1 does, too
        typ = ir.dtype("uint32") if may_overflow else a.dtype
        return kind(_as_type(a, typ), _as_type(b, typ))

    return st.one_of(
        st.builds(operation, unsigned, inner, inner),
        st.builds(operation, any_sign, inner, inner),
        st.builds(_as_type, inner, kinds),
        st.builds(lambda c, a, b: ir.Select(c, a, _as_type(b, a.dtype)),
                  st.builds(operation, st.sampled_from(COMPARISONS), inner, inner), inner, inner),
    )  # fmt: skip


def _as_type(value: Any, kind: Any) -> Any:
    return value if value.dtype == kind else ir.Cast(value, kind)


DIGIT_SIZES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]


def digit_sums(vars: list[Var]) -> st.SearchStrategy[Any]:
    """Index arithmetic: sums of `(sum // a % b) * c`, so that digits of one number meet."""
    size = st.sampled_from(DIGIT_SIZES)
    factor = size | st.integers(-8, 8)

    def digit(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.builds(lambda x, a, b, c: x // a % b * c, inner, size, size, factor)

    def total(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        plain = st.builds(lambda x, a, c: x // a * c, inner, size, factor)
        terms = st.lists(digit(inner) | plain, min_size=1, max_size=4)
        return st.builds(lambda xs, c: sum(xs, start=ir.as_expr(c)), terms, st.integers(-40, 40))

    return total(st.sampled_from(vars) | total(st.sampled_from(vars)))


def mixed_environments(count: int = 24) -> Iterator[dict[Var, int]]:
    """Corners of `MIXED_RANGES`, and values next to powers of two."""
    for number in range(count):
        near = [(1 << number * 3 % 41) - number % 2, -(1 << number * 2 % 40)]
        env = {var: ends[number >> i & 1] for i, (var, ends) in enumerate(MIXED_RANGES.items())}
        if number >= 16:
            env = {
                var: near[number % 2] % (hi - lo + 1) + lo for var, (lo, hi) in MIXED_RANGES.items()
            }
        yield env


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
            var: ends[number >> i & 1] if number < 16 else _between(ends, number * (3 + 2 * i))
            for i, (var, ends) in enumerate(RANGES.items())
        }


def _between(ends: tuple[int, int], step: int) -> int:
    return ends[0] + step % (ends[1] - ends[0] + 1)


def value(expr: Any, env: dict[Var, int]) -> Any:
    """What `expr` evaluates to; `None` where it divides by zero."""
    try:
        return evaluate(expr, env)
    except ArithmeticFault:
        return None
