"""Every row of the rule tables: both sides have one value, and the row fires."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from tilelang.arith import Analyzer, Interval, evaluate, simplify
from tilelang.arith.interval import point
from tilelang.arith.pattern import Const, Form, Literal, Pattern, Typed
from tilelang.arith.rule import Rule
from tilelang.arith.rules import TABLES
from tilelang.env import env
from tilelang.errors import ArithmeticFault
from tilelang.ir import expr as ir
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Cast, Expr, Select, Var, constant

INTEGERS = [-9, -4, -3, -1, 0, 1, 2, 3, 4, 7, 8, 15]
FLOATS = [0.0, -0.0, 1.0, -1.5, 3.0, math.inf, -math.inf, math.nan]
ROWS = [(table.domain, rule) for table in TABLES for rule in table.rules]


def leaves_of(pattern: Pattern) -> dict[str, Pattern]:
    """Pattern variables by name."""
    if isinstance(pattern, Form):
        return {name: leaf for part in pattern.operands for name, leaf in leaves_of(part).items()}
    return {} if isinstance(pattern, Literal) else {pattern.name: pattern}  # type: ignore[attr-defined]


def kind_of(name: str, leaf: Pattern, domain: str) -> dtype:
    if isinstance(leaf, Typed):
        return leaf.kind
    if name in ("p", "q"):
        return ir.BOOL
    return dtype({"int": "int32", "any": "int32", "float": "float32", "bool": "bool"}[domain])


def samples(name: str, leaf: Pattern, domain: str) -> list[Any]:
    kind = kind_of(name, leaf, domain)
    if kind.is_bool:
        return [False, True]
    return FLOATS if kind.is_float else INTEGERS


def written(pattern: Pattern, leaves: dict[str, Expr], like: dtype) -> Expr:
    """The expression that `pattern` describes, unfolded; literals are of type `like`."""
    if isinstance(pattern, Literal):
        return constant(pattern.value, like)
    if not isinstance(pattern, Form):
        return leaves[pattern.name]  # type: ignore[attr-defined]
    known = [o for o in pattern.operands if not isinstance(o, Literal)]
    if pattern.kind is Select:
        known = known[1:] or known
    inner = written(known[-1], leaves, like).dtype if known else like
    parts = [written(o, leaves, inner) for o in pattern.operands]
    if pattern.kind is Cast:
        return Cast(parts[0], pattern.detail)
    if pattern.kind is ir.Call:
        return ir.Call(pattern.detail, tuple(parts), parts[-1].dtype)
    return pattern.kind(*parts)


def fact(value: Any, leaf: Pattern) -> Any:
    is_symbolic_int = isinstance(value, int) and not isinstance(leaf, Const)
    return point(value) if is_symbolic_int else value


def cases(domain: str, rule: Rule) -> list[dict[str, Any]]:
    """Values of the pattern variables for which the row holds."""
    leaves = leaves_of(rule.pattern)
    grids = [samples(name, leaf, domain) for name, leaf in leaves.items()]
    found = [dict(zip(leaves, values)) for values in itertools.product(*grids)]
    if rule.when is None:
        return found
    holds = rule.when
    return [c for c in found if holds(*[fact(c[name], leaves[name]) for name in rule.needs])]


def same_number(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (a != a and b != b) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


@pytest.mark.parametrize("domain,rule", ROWS, ids=[f"{rule}" for _, rule in ROWS])
def test_both_sides_have_the_same_value(domain, rule):
    checked = 0
    for values in cases(domain, rule):
        leaves = {
            name: constant(values[name], kind_of(name, leaf, domain))
            for name, leaf in leaves_of(rule.pattern).items()
        }
        before = written(rule.pattern, leaves, dtype("int32"))
        after = written(rule.replacement, leaves, before.dtype)
        try:
            expected = evaluate(before)
        except (ArithmeticFault, ValueError):  # no value: a division by zero, a negative shift
            continue
        checked += 1
        assert same_number(evaluate(after), expected), (rule, values)
    assert checked, "the row never applies"


@pytest.mark.parametrize("domain,rule", ROWS, ids=[f"{rule}" for _, rule in ROWS])
def test_the_row_fires_and_gives_its_replacement(domain, rule):
    an, leaves = Analyzer(), {}
    values = cases(domain, rule)[-1]
    for name, leaf in leaves_of(rule.pattern).items():
        kind = kind_of(name, leaf, domain)
        if isinstance(leaf, Const):
            leaves[name] = constant(values[name], kind)
            continue
        leaves[name] = Var(name, kind)
        if kind.is_int:
            an.bind(leaves[name], values[name], values[name])
    pattern = written(rule.pattern, leaves, dtype("int32"))
    made = rule.apply(an, pattern)
    assert made is not None and made.dtype == pattern.dtype
    assert made.dtype.is_bool or not isinstance(made, type(pattern)) or repr(made) != repr(pattern)


def test_a_row_says_where_it_stands():
    assert all(rule.where.startswith("rules.py:") for _, rule in ROWS)
    assert len({rule.where for _, rule in ROWS}) > 50


def test_when_sees_intervals_not_single_values():
    x = Var("x")
    an = Analyzer()
    an.bind(x, 0, 200)
    assert an.simplify(x & 127) is not x
    an.bind(x, 0, 127)
    assert an.simplify(x & 127) is x
    assert an.bounds(x) == Interval(0, 127)


def test_rewrites_are_traced_with_rule_before_and_after(capsys):
    x = Var("x")
    with env.scope(TILELANG_TRACE_RULES=True):
        simplify(ir.BitOr(x, x))
    said = capsys.readouterr().err
    assert "rules.py:" in said and "(x | x) -> x" in said and said.rstrip().endswith("x | x -> x")
