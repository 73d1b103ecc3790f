"""Layouts of sm_70: permutations, free of conflicts where `mma.m8n8k4` reads and tiles fill."""

from __future__ import annotations

import numpy as np
import pytest

from tilelang.errors import LayoutError
from tilelang.ir.buffer import Buffer
from tilelang.layout import make_swizzled_layout, make_volta_swizzled_layout
from tilelang.layout.quad_swizzle import quad_swizzle

LANE = np.arange(32)
QUAD_PAIR = LANE // 4 % 4
HIGH = LANE // 16


def shared(*shape: int, dtype: str = "float16") -> Buffer:
    return Buffer("tile", shape, dtype, "shared.dyn")


def outer_of_lane(is_a: bool) -> np.ndarray:
    """Row of A, or column of B, with which a lane's part of the 16 by 16 product starts."""
    return 8 * (QUAD_PAIR % 2 if is_a else QUAD_PAIR // 2)


def is_permutation(layout) -> bool:
    inverse = layout.inverse()
    back = [t[tuple(layout.table)] for t in inverse.table]
    return all(np.array_equal(b, g) for b, g in zip(back, np.indices(layout.shape)))


@pytest.mark.parametrize("is_a", [True, False])
@pytest.mark.parametrize("rows", [16, 48, 128])
@pytest.mark.parametrize("columns", [8, 16, 24, 32, 40, 64, 96, 128])
def test_rows_of_k(rows, columns, is_a):
    layout = make_volta_swizzled_layout(shared(rows, columns), is_a)
    assert is_permutation(layout)
    first = outer_of_lane(is_a) + LANE % 4 + 4 * HIGH
    for row in range(0, rows, 16):
        for k in range(0, columns, 4):
            assert layout.bank_conflicts((row + first, k), 16, 4) == 1
        for k in range(0, columns, 8):
            assert layout.bank_conflicts((row + first, k), 16, 8) == 1


@pytest.mark.parametrize("is_a", [True, False])
@pytest.mark.parametrize("rows", [4, 12, 32])
@pytest.mark.parametrize("columns", [16, 32, 48, 64, 80, 96, 128, 256])
def test_rows_of_one_k(rows, columns, is_a):
    layout = make_volta_swizzled_layout(shared(rows, columns), is_a, k_inner=False)
    assert is_permutation(layout)
    first = outer_of_lane(is_a) + 4 * HIGH
    for k in range(0, rows, 4):
        for column in range(0, columns, 16):
            assert layout.bank_conflicts((k + LANE % 4, column + first), 16, 4) == 1


@pytest.mark.parametrize("k_inner", [True, False])
@pytest.mark.parametrize("columns", [16, 32, 64, 128])
def test_tiles_fill_without_conflicts(columns, k_inner):
    layout = make_volta_swizzled_layout(shared(64, columns), k_inner=k_inner)
    chunk = columns // 8
    for start in range(0, 64 * chunk, 32):
        number = start + LANE
        assert layout.bank_conflicts((number // chunk, number % chunk * 8), 16, 8) == 1
    assert layout.vector_width() == 8


def test_the_usual_swizzle_is_not_enough():
    layout = make_swizzled_layout(shared(16, 64))
    rows = outer_of_lane(True) + LANE % 4 + 4 * HIGH
    assert layout.bank_conflicts((rows, 0), 16, 4) == 2


def test_slots_keep_their_axis():
    layout = make_volta_swizzled_layout(shared(3, 32, 64))
    plane = make_volta_swizzled_layout(shared(32, 64))
    assert np.array_equal(layout.offsets[2], plane.offsets + 2 * 32 * 64)


@pytest.mark.parametrize(
    "shape, k_inner, dimension, extents",
    [
        ((24, 64), True, "dimension 0 counts rows of A", "16 or 32"),
        ((32, 12), True, "dimension 1 counts the depth", "8 or 16"),
        ((2, 6, 32), False, "dimension 1 counts the depth", "4 or 8"),
        ((8, 40), False, "dimension 1 counts rows of A", "32 or 48"),
        ((8, 8), False, "dimension 1 counts rows of A", "make it 16"),
    ],
)
def test_shapes_that_do_not_fit(shape, k_inner, dimension, extents):
    with pytest.raises(LayoutError, match=dimension) as caught:
        make_volta_swizzled_layout(shared(*shape), k_inner=k_inner)
    assert extents in str(caught.value) and "test_volta.py" in str(caught.value)


def test_other_elements_are_refused():
    with pytest.raises(LayoutError, match="16-bit elements, got float32"):
        make_volta_swizzled_layout(shared(32, 64, dtype="float32"))


@pytest.mark.parametrize("columns", [4, 8, 12, 16, 32, 48, 64])
def test_64_bit_elements_have_their_own_map(columns):
    layout = make_swizzled_layout(shared(24, columns, dtype="float64"))
    assert is_permutation(layout)
    for row in range(0, 24, 8):
        for column in range(0, columns - 3, 4):
            by_rows = (row + LANE // 4, column + LANE % 4)  # a lane: row g, k = t
            assert layout.bank_conflicts(by_rows, 64, 1) == 1
    for row in range(0, 24, 4):
        for column in range(0, columns - 7, 8):
            by_columns = (row + LANE % 4, column + LANE // 4)  # a lane: k = t, column g
            assert layout.bank_conflicts(by_columns, 64, 1) == 1


def test_quad_swizzle_serves_whole_columns_of_chunks_too():
    for columns in (16, 32, 64, 96):
        layout = quad_swizzle((32, columns), 16)
        assert layout is not None
        for row in range(0, 32, 8):
            rows = row + np.arange(8)
            for column in range(0, columns, 8):
                assert layout.bank_conflicts((rows, column), 16, 8) == 1
    assert quad_swizzle((32, 24), 16) is None and quad_swizzle((6, 64), 16) is None
