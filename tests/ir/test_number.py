"""Numbers as the values of a dtype: as NumPy and ml_dtypes hold them."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from tilelang.errors import DTypeError
from tilelang.ir.dtype import dtype
from tilelang.ir.number import promote, round_float, trunc_div, wrap

INTEGERS = [f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("name", INTEGERS)
def test_wrapping_keeps_the_low_bits(name: str) -> None:
    kind, rng = dtype(name), random.Random(name)
    for _ in range(200):
        value = rng.randrange(-(1 << 70), 1 << 70)
        found = wrap(value, kind)
        assert kind.min_value() <= found <= kind.max_value()
        assert (found - value) % (1 << kind.bits) == 0
    for value in (kind.min_value(), 0, kind.max_value()):
        assert wrap(value, kind) == value


@pytest.mark.parametrize("name", FLOATS)
def test_rounding_gives_what_the_type_can_hold(name: str) -> None:
    kind, rng = dtype(name), random.Random(name)
    stored = kind.as_numpy()
    for _ in range(200):
        value = rng.uniform(-1, 1) * 2.0 ** rng.randint(-30, 8)
        found = round_float(value, kind)
        assert float(np.array(found).astype(stored)) == found
        assert found == float(np.array(value).astype(stored))
    for value in (math.inf, -math.inf):
        assert round_float(value, kind) == value
    assert math.isnan(round_float(math.nan, kind))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1_unpacked"])
def test_short_floats_saturate(name: str) -> None:
    kind = dtype(name)
    assert round_float(1e9, kind) == kind.max_value()
    assert round_float(-1e9, kind) == kind.min_value()


def test_truncating_division_rounds_towards_zero() -> None:
    for x, y in itertools.product(range(-9, 10), range(-4, 5)):
        if y:
            assert trunc_div(x, y) == math.trunc(x / y)


@pytest.mark.parametrize("a, b", list(itertools.product([*INTEGERS, *FLOATS, "bool"], repeat=2)))
def test_the_type_where_two_meet(a: str, b: str) -> None:
    x, y = dtype(a), dtype(b)
    found = promote(x, y)
    assert found == promote(y, x)
    assert found.is_float == (x.is_float or y.is_float)
    assert promote(found, x) == promote(found, y) == found
    assert promote(x.with_lanes(4), y) == promote(x, y.with_lanes(4)) == found.with_lanes(4)


def test_vectors_of_different_lengths_do_not_meet() -> None:
    with pytest.raises(DTypeError, match="4 and 2 lanes"):
        promote(dtype("float32x4"), dtype("float32x2"))
