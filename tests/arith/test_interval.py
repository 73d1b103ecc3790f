"""Interval arithmetic against enumeration."""

from __future__ import annotations

import itertools

import pytest

from tilelang.arith.evaluate import BINARY
from tilelang.arith.interval import OPERATIONS, Interval, range_of
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import FloorDiv, FloorMod, ShiftLeft, ShiftRight, TruncDiv, TruncMod

ENDS = [None, -5, -2, 0, 1, 3, 6]
DIVISIONS = (FloorDiv, FloorMod, TruncDiv, TruncMod)
SPAN = range(-9, 10)
ALL = [Interval(a, b) for a in ENDS for b in ENDS if a is None or b is None or a <= b]


def values(x: Interval) -> list[int]:
    return [v for v in SPAN if (x.lo is None or x.lo <= v) and (x.hi is None or v <= x.hi)]


def holds(x: Interval, value: int) -> bool:
    return (x.lo is None or x.lo <= value) and (x.hi is None or value <= x.hi)


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_no_value_is_left_out(kind):
    operation, exact = OPERATIONS[kind], BINARY[kind]
    table = {(p, q): exact(p, q) for p in SPAN for q in SPAN if is_defined(kind, q)}
    for a, b in itertools.product(ALL, ALL):
        made = operation(a, b)
        for p, q in itertools.product(values(a), values(b)):
            if (p, q) in table:
                assert holds(made, table[p, q]), (a, b, made, p, q)


def is_defined(kind: type, right: int) -> bool:
    if kind in DIVISIONS:
        return right != 0
    return right >= 0 or kind not in (ShiftLeft, ShiftRight)


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_ends_are_reached_for_two_points(kind):
    for p, q in itertools.product(range(9), range(1, 9)):
        lo, hi = OPERATIONS[kind](Interval(p, p), Interval(q, q))
        exact = BINARY[kind](p, q)
        if kind.__name__.startswith("Bit"):
            assert lo is not None and hi is not None and lo <= exact <= hi
        else:
            assert (lo, hi) == (exact, exact) or kind is TruncMod, (kind, p, q, lo, hi)


def test_join_meet_and_order():
    a, b = Interval(0, 4), Interval(3, None)
    assert a.join(b) == (0, None) and a.meet(b) == (3, 4)
    assert Interval(0, 3).below(b) and not a.below(b)
    assert a.inside(0, 4) and not b.inside(0, 10) and not a.inside(1, 9)
    assert a.scaled(-2) == (-8, 0) and b.scaled(0) == (0, 0)


def test_types_have_ranges():
    assert range_of(dtype("uint8")) == (0, 255) and range_of(dtype("int8")) == (-128, 127)
    assert range_of(dtype("bool")) == (0, 1) and range_of(dtype("uint32")) == (0, None)
    assert range_of(dtype("int32")) == (None, None) and range_of(dtype("float32")) == (None, None)
