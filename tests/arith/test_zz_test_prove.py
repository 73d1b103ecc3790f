"""Proofs with symbolic extents and assumptions: what must be found, and that nothing false is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.arith.expressions import COMPARISONS, value
from tilelang.arith import Analyzer
from tilelang.ir import expr as ir
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    IntImm,
    Var,
    ceildiv,
    floordiv,
    floormod,
    logical_and,
    logical_or,
    maximum,
    minimum,
)

n, m, b = Var("n"), Var("m"), Var("b")
bx, by, i, j = Var("bx"), Var("by"), Var("i"), Var("j")
EXAMPLES = settings(max_examples=4000, deadline=None)


def kernel() -> Analyzer:
    """`n, m >= 0; bx < ceildiv(n, 4); by < ceildiv(m, b); i < n; j < 4; b >= 1`."""
    an = Analyzer()
    an.bind(n, 0, None)
    an.bind(m, 0, None)
    an.bind(b, 1, None)
    an.bind_range(bx, 0, ceildiv(n, 4))
    an.bind_range(by, 0, ceildiv(m, b))
    an.bind_range(i, 0, n)
    an.bind_range(j, 0, 4)
    return an


def points():
    """All values that `kernel` allows, for small extents."""
    for n_, m_, b_ in itertools.product(range(8), range(5), range(1, 4)):
        for bx_, by_ in itertools.product(range(-(-n_ // 4)), range(-(-m_ // b_))):
            for i_, j_ in itertools.product(range(n_), range(4)):
                yield {n: n_, m: m_, b: b_, bx: bx_, by: by_, i: i_, j: j_}


POINTS = list(points())[::7]


@pytest.mark.parametrize(
    "condition",
    [
        i < n,
        i + 1 <= n,
        bx * 4 + j < ceildiv(n, 4) * 4,
        bx * 4 < n,
        by * b < m,
        by * b + b <= ceildiv(m, b) * b,
        by * b + minimum(j, b - 1) < ceildiv(m, b) * b,
        i * 4 + j < n * 4,
        i * m + minimum(m, 3) <= n * m + 3,
        i * b + floormod(m, b) < n * b,
        minimum(bx * 4 + 4, n) - bx * 4 <= 4,
        minimum(bx * 4 + 4, n) > bx * 4,
        n >= 1,
        maximum(i, 0) < n,
        floordiv(i, 2) < n,
        floormod(i, 4) <= i,
        floordiv(m, b) * b <= m,
        (n - 1 - i) >= 0,
        logical_and(i < n, i >= 0),
        logical_or(bx * 4 + j < n, bx * 4 + j >= n),
    ],
    ids=str,
)
def test_found(condition):
    assert kernel().can_prove(condition)
    assert all(value(condition, env) for env in POINTS)


@pytest.mark.parametrize(
    "condition", [bx * 4 + j < n, by * b + j < m, i + 1 < n, i > 0, m >= 1 + by * b + j], ids=str
)
def test_not_true_and_not_found(condition):
    assert not kernel().can_prove(condition)
    assert not all(value(condition, env) for env in POINTS)


def atoms() -> st.SearchStrategy:
    numbers = st.builds(IntImm, st.integers(-5, 5))
    simple = st.sampled_from([n, m, b, bx, by, i, j]) | numbers
    return simple | st.sampled_from(
        [ceildiv(n, 4), ceildiv(m, b), i // 2, i % 4, bx * b, by * b, n * b, minimum(i, m), j % 2]
    )


@EXAMPLES
@given(
    st.sampled_from(COMPARISONS),
    st.lists(st.tuples(st.integers(-4, 4), atoms()), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(-4, 4), atoms()), min_size=1, max_size=3),
)
def test_nothing_false_is_found(kind, left, right):
    condition = kind(*[sum((k * a for k, a in side), start=IntImm(0)) for side in (left, right)])
    an = kernel()
    made, proved = an.simplify(condition), an.can_prove(condition)
    for env in POINTS:
        expected = value(condition, env)
        assert not proved or expected, (condition, env)
        assert bool(value(made, env)) == expected, (condition, made, env)


@EXAMPLES
@given(
    st.lists(st.tuples(st.sampled_from(COMPARISONS), atoms(), atoms()), min_size=1, max_size=3),
    st.tuples(st.sampled_from(COMPARISONS), atoms(), atoms()),
)
def test_nothing_false_follows_from_assumptions(facts, goal):
    an = kernel()
    conditions = [kind(a, c) for kind, a, c in facts]
    for condition in conditions:
        an.assume(condition)
    wanted = goal[0](goal[1], goal[2])
    proved, made = an.can_prove(wanted), an.simplify(wanted)
    for env in POINTS:
        if all(value(c, env) for c in conditions):
            expected = value(wanted, env)
            assert not proved or expected, (conditions, wanted, env)
            assert bool(value(made, env)) == expected, (conditions, wanted, made, env)


# -- assumptions -----------------------------------------------------------------------------------


def test_divisibility_assumed_of_an_extent():
    an = Analyzer()
    an.assume(n % 8 == 0)
    assert an.modular(n) == (8, 0) and an.modular(n * 3 + 4) == (24, 4)
    assert str(an.simplify(n % 4)) == "0"
    assert an.simplify(n // 8 * 8) is n and an.simplify(ceildiv(n, 8) * 8) is n
    assert an.can_prove_equal((n + 4) % 8, 4)
    assert not an.can_prove(n % 16 == 0)


def test_conditions_of_a_branch_end_with_it():
    an = Analyzer()
    with an.constraint(i < n):
        assert an.can_prove(i + 1 <= n) and not an.can_prove(i + 1 < n)
        with an.constraint(logical_and(i >= 4, i < 8)):
            assert an.bounds(i) == (4, 7) and str(an.simplify(i // 4)) == "1"
        assert an.bounds(i) == (None, None)
    assert not an.can_prove(i < n)
    with an.constraint(i < n, holds=False):
        assert an.can_prove(i >= n)


def test_chains_of_assumptions():
    an = Analyzer()
    an.assume(i < j)
    an.assume(j <= m)
    an.assume(m * 2 < n)
    an.assume(m >= 0)
    assert an.can_prove(i < m) and an.can_prove(i < n) and not an.can_prove(n < i)


def test_opaque_conditions_are_remembered():
    flag = Var("flag", ir.BOOL)
    an = Analyzer()
    with an.constraint(flag):
        assert an.can_prove(flag) and str(an.simplify(ir.Not(flag))) == "False"
    with an.constraint(ir.Not(flag)):
        assert str(an.simplify(logical_or(flag, i < 3))) == str(i < 3)
    assert not an.can_prove(flag)


def test_what_memory_holds_is_not_assumed():
    data = Buffer("A", (8,), "int32")
    load = ir.BufferLoad(data, (i,))
    an = Analyzer()
    an.assume(load < 4)
    an.assume(logical_and(load > 0, i < 3))
    assert not an.can_prove(load < 4) and an.can_prove(i < 3)
    an.bind_range(j, 0, load)
    assert an.can_prove(j >= 0) and not an.can_prove(j < load)


def test_values_of_names():
    an = Analyzer()
    an.bind_range(i, 0, 8)
    an.bind_value(j, i * 4 + 1)
    assert an.bounds(j) == (1, 29) and an.modular(j) == (4, 1)
    assert an.simplify(j) is j and an.can_prove(j > i) and an.can_prove_equal(j - 1, i * 4)
    an.bind_value(m, IntImm(3))
    assert str(an.simplify(m + 1)) == "4"


def test_quotients_that_are_bounded_bound_what_they_divide():
    an = Analyzer()
    an.assume(i // 4 < 3)
    an.assume(i // 4 >= 1)
    assert an.bounds(i) == (4, 11)
    an.assume(minimum(j, m) >= 2)
    assert an.bounds(j).lo == 2 and an.bounds(m).lo == 2


def test_excluded_ends():
    an = Analyzer()
    an.bind(i, 0, 5)
    an.assume(ir.NE(i, IntImm(0)))
    an.assume(ir.NE(i, IntImm(5)))
    assert an.bounds(i) == (1, 4)


def test_a_failed_proof_is_bounded():
    an = kernel()
    for number in range(40):
        an.assume(Var(f"v{number}") + i < n + Var(f"v{number + 1}"))
    assert not an.can_prove(i * 2 + by < n - bx)
