"""Extents of two regions held against each other."""

import pytest

from tilelang.ir.expr import Var, as_expr, const_value
from tilelang.ir.region import AxisPair, pair_axes, reconcile, take_extents

N = Var("n")


def exprs(values):
    return tuple(as_expr(v) for v in values)


def numbers(extents):
    return [e if isinstance(e, Var) else const_value(e) for e in extents]


@pytest.mark.parametrize(
    "first,second,expected",
    [
        ([64, 32], [64, 32], ([64, 32], [64, 32])),
        ([1, 64, 1, 32], [64, 32], ([1, 64, 1, 32], [64, 32])),
        ([1, 64], [32, 64], ([32, 64], [32, 64])),
        ([64], [1, 64], ([64], [1, 64])),
        ([1, 1], [8, 1], ([8, 1], [8, 1])),
        ([64], [2, 64], None),
        ([64, 32], [64, 16], None),
        ([64, 32], [32, 64], None),
        ([N, 32], [64, 32], ([N, 32], [64, 32])),
        ([1], [1], ([1], [1])),
    ],
)
def test_reconcile(first, second, expected):
    for a, b, swap in ((first, second, False), (second, first, True)):
        got = reconcile(exprs(a), exprs(b))
        if expected is None:
            assert got is None
            continue
        assert got is not None
        want = expected[::-1] if swap else expected
        for side, extents in zip(got, want):
            assert all(x is y or x == y for x, y in zip(numbers(side), extents))
            assert len(side) == len(extents)


def test_extents_of_an_origin():
    assert numbers(take_extents(3, exprs([8, 4]))) == [1, 8, 4]
    assert numbers(take_extents(1, exprs([1, 1, 4]))) == [4]
    assert take_extents(1, exprs([2, 4])) is None


def test_pairs_pass_over_units():
    assert pair_axes(exprs([1, 64, 1, 32]), exprs([64, 32])) == (AxisPair(1, 0), AxisPair(3, 1))
    assert pair_axes(exprs([1]), exprs([1, 1])) == ()
