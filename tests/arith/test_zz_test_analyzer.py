"""Whatever is simplified, bounded or proved is true of every value: random expressions."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.arith.expressions import (
    MIXED_RANGES,
    VARS,
    analyzer,
    conditions,
    digit_sums,
    environments,
    integers,
    leaves,
    mixed_environments,
    mixed_types,
    value,
)
from tilelang.arith import Analyzer
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import IntImm

EXAMPLES = settings(max_examples=4000, deadline=None)


@EXAMPLES
@given(integers())
def test_simplified_integers_keep_their_value(expr):
    an = analyzer()
    made = an.simplify(expr)
    assert made.dtype == expr.dtype
    for env in environments():
        expected = value(expr, env)
        assert expected is None or value(made, env) == expected, (expr, made, env)


@EXAMPLES
@given(conditions(integers(5)))
def test_simplified_conditions_keep_their_value(expr):
    made = analyzer().simplify(expr)
    for env in environments():
        expected = value(expr, env)
        assert expected is None or bool(value(made, env)) == expected, (expr, made, env)


@EXAMPLES
@given(integers())
def test_simplifying_twice_changes_nothing_more(expr):
    an = analyzer()
    once = an.simplify(expr)
    assert an.simplify(once) is once
    assert analyzer().simplify(once) is once


@EXAMPLES
@given(digit_sums(VARS[:2]), st.sampled_from([(0, 127), (-50, 77), (0, 23), (5, 5)]))
def test_digits_put_together_keep_their_value(expr, ends):
    x, y = VARS[:2]
    an = Analyzer()
    an.bind(x, *ends)
    made = an.simplify(expr)
    (lo, hi), (step, rest) = an.bounds(expr), an.modular(expr)
    for number in range(ends[0], ends[1] + 1, 3):
        env = {x: number, y: number * 7 - 200}
        expected = value(expr, env)
        assert value(made, env) == expected, (expr, made, env)
        assert (lo is None or lo <= expected) and (hi is None or expected <= hi), (expr, lo, hi)
        assert expected == rest if step == 0 else expected % step == rest, (expr, step, rest)


@EXAMPLES
@given(mixed_types(), st.booleans())
def test_types_that_wrap_keep_their_value(expr, is_bounded):
    an = Analyzer()
    for var, (lo, hi) in MIXED_RANGES.items():
        if is_bounded:
            an.bind(var, lo, hi)
    made, (lo, hi), (step, rest) = an.simplify(expr), an.bounds(expr), an.modular(expr)
    for env in mixed_environments():
        number = value(expr, env)
        if number is not None:
            assert value(made, env) == number, (expr, made, env)
            assert (lo is None or lo <= number) and (hi is None or number <= hi), (expr, lo, hi)
            assert number == rest if step == 0 else number % step == rest, (expr, step, rest)


@EXAMPLES
@given(integers())
def test_bounds_hold_every_value(expr):
    lo, hi = analyzer().bounds(expr)
    for env in environments():
        number = value(expr, env)
        assert number is None or lo is None or lo <= number, (expr, lo, env)
        assert number is None or hi is None or number <= hi, (expr, hi, env)


@EXAMPLES
@given(integers())
def test_divisibility_holds_for_every_value(expr):
    step, rest = analyzer().modular(expr)
    for env in environments():
        number = value(expr, env)
        if number is not None:
            assert number == rest if step == 0 else number % step == rest, (expr, step, rest, env)


@EXAMPLES
@given(conditions(integers(6)))
def test_nothing_false_is_proved(expr):
    if analyzer().can_prove(expr):
        for env in environments():
            assert value(expr, env) in (True, None), (expr, env)


@EXAMPLES
@given(st.lists(conditions(leaves()), max_size=3), integers(8), conditions(integers(6)))
def test_answers_under_assumptions_hold_where_the_assumptions_do(facts, expr, condition):
    an = analyzer()
    for fact in facts:
        an.assume(fact)
    made, (lo, hi), proved = an.simplify(expr), an.bounds(expr), an.can_prove(condition)
    step, rest = an.modular(expr)
    for env in environments():
        if not all(value(fact, env) for fact in facts):
            continue
        number = value(expr, env)
        if number is not None:
            assert value(made, env) == number, (facts, expr, made, env)
            assert (lo is None or lo <= number) and (hi is None or number <= hi), (facts, expr, env)
            assert number == rest if step == 0 else number % step == rest, (facts, expr, env)
        assert not proved or value(condition, env) in (True, None), (facts, condition, env)


@EXAMPLES
@given(conditions(integers(4)), integers(6))
def test_a_scope_leaves_nothing_behind(fact, expr):
    an, untouched = analyzer(), analyzer()
    before = an.bounds(expr)
    with an.constraint(fact):
        an.simplify(expr)
        an.bounds(expr)
    assert an.bounds(expr) == before
    assert structural_equal(an.simplify(expr), untouched.simplify(expr)) or isinstance(fact, IntImm)
