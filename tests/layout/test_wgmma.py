"""Fragments and layouts of warp-group products against the formulas of the instruction."""

from __future__ import annotations

import numpy as np
import pytest

from tilelang.layout.layout import Layout
from tilelang.layout.mma import bank_swizzle
from tilelang.layout.swizzle import make_full_bank_swizzled_layout
from tilelang.layout.wgmma import (
    GroupTiles,
    group_accumulator,
    group_operand_A,
    panel_layout,
    span_for,
    span_of,
)


@pytest.mark.parametrize(
    "M,N,m,n", [(64, 8, 1, 1), (128, 64, 1, 1), (128, 48, 2, 1), (64, 64, 1, 2), (256, 32, 2, 2)]
)
def test_accumulator(M, N, m, n):
    fragment = group_accumulator(GroupTiles(M, N, m, n))
    row, column = np.indices((M, N))
    part_m, part_n = row // (M // m), column // (N // n)
    i, j = row % (M // m), column % (N // n)
    warp, lane = i % 64 // 16, i % 8 * 4 + j % 8 // 2
    thread = ((part_n * m + part_m) * 4 + warp) * 32 + lane
    register = (i // 64 * (N // n // 8) + j // 8) * 4 + i % 16 // 8 * 2 + j % 2
    np.testing.assert_array_equal(fragment.thread_table.reshape(M, N), thread)
    np.testing.assert_array_equal(fragment.offsets, register)


@pytest.mark.parametrize("M,K,m", [(64, 16, 1), (128, 64, 1), (128, 32, 2)])
def test_an_accumulator_is_the_next_operand(M, K, m):
    tiles = GroupTiles(M, K, m, 1)
    assert group_operand_A(tiles, K).is_equal(group_accumulator(tiles))


def test_an_operand_is_held_by_each_column_part():
    fragment = group_operand_A(GroupTiles(64, 64, 1, 2), 32)
    assert fragment.num_replicas == 2
    owners = fragment.thread_table.reshape(64, 32, 2)
    np.testing.assert_array_equal(owners[..., 1] - owners[..., 0], 128)


@pytest.mark.parametrize("span", [32, 64, 128])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_panels_are_what_a_descriptor_describes(span, lead):
    rows, columns = 24, 128
    layout = panel_layout((*lead, rows, columns), 16, span)
    row, column = np.indices((rows, columns))
    place = column // (span // 2) * rows * span + row * span + column % (span // 2) * 2
    place ^= (place >> 7 & (span // 16 - 1)) << 4
    found = layout.offsets.reshape(-1, rows, columns)
    for slot, table in enumerate(found):
        np.testing.assert_array_equal(table * 2, place + slot * rows * columns * 2)
    assert span_of(layout, (*lead, rows, columns), 16) == span


def test_other_layouts_have_no_span():
    shape = (32, 128)
    swizzled = bank_swizzle(shape, 16)
    assert isinstance(swizzled, Layout) and span_of(swizzled, shape, 16) is None
    narrow = bank_swizzle((32, 64), 16)  # rows of one panel: both are the same
    assert narrow is not None and span_of(narrow, (32, 64), 16) == 128
    assert span_of(make_full_bank_swizzled_layout(32, 128, 16), shape, 16) == 128


def test_spans_divide_rows_and_what_is_read_of_them():
    spans = {64: 128, 96: 64, 48: 32, 24: None}
    assert {w: span_for(w, w, 16) for w in spans} == spans
    assert span_for(192, 96, 16) == 64
