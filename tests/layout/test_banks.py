"""Bank conflicts: counted as the hardware serves a warp, and absent where layouts claim it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from tilelang.layout import Layout, SwizzleMode
from tilelang.layout.banks import conflict_degree, matrix_conflicts
from tilelang.layout.mma import bank_swizzle
from tilelang.layout.swizzle import (
    make_full_bank_swizzled_layout,
    make_half_bank_swizzled_layout,
    make_quarter_bank_swizzled_layout,
)


def row_major(rows: int, columns: int) -> Layout:
    return Layout([rows, columns], lambda i, j: i * columns + j)


def served(addresses: list[int], size: int) -> int:
    """By the definition: words of each bank that each group of threads wants."""
    group = 32 * 4 // max(size, 4)
    worst = 0
    for start in range(0, len(addresses), group):
        words: dict[int, set[int]] = defaultdict(set)
        for address in addresses[start : start + group]:
            for byte in range(address, address + size) if address >= 0 else ():
                words[byte // 4 % 32].add(byte // 4)
        worst = max([worst, *map(len, words.values())])
    return worst


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("threads", [32, 96, 40, 7])
def test_random_addresses(size, threads):
    rng = np.random.default_rng(size * 1000 + threads)
    for _ in range(20):
        addresses = rng.integers(0, 512, threads) * size
        addresses[rng.random(threads) < 0.2] = -1
        assert conflict_degree(addresses, size) == served(addresses.tolist(), size)


def test_rows_of_instructions_are_counted_apart():
    lanes = np.arange(32)
    assert conflict_degree([lanes * 4, lanes * 8], 4) == 2
    assert conflict_degree([lanes * 4, lanes * 4 + 4], 4) == 1
    assert conflict_degree(np.zeros(32), 4) == 1  # one word for all
    assert conflict_degree(np.full(32, -1), 4) == 0


def test_columns_of_row_major_storage_conflict():
    layout = row_major(32, 32)
    lanes = np.arange(32)
    assert layout.bank_conflicts((lanes, 0), 32) == 32
    assert layout.bank_conflicts((0, lanes), 32) == 1
    assert row_major(32, 33).bank_conflicts((lanes, 0), 32) == 1
    assert layout.bank_conflicts((lanes, 0), 16) == 16


@pytest.mark.parametrize(
    "make, mode",
    [
        (make_full_bank_swizzled_layout, SwizzleMode.SWIZZLE_128B),
        (make_half_bank_swizzled_layout, SwizzleMode.SWIZZLE_64B),
        (make_quarter_bank_swizzled_layout, SwizzleMode.SWIZZLE_32B),
    ],
)
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_swizzles_as_wide_as_rows_read_matrices_without_conflicts(make, mode, bits):
    columns = mode.bytes * 8 // bits
    assert matrix_conflicts(make(32, columns, bits), bits) == 1
    assert matrix_conflicts(row_major(32, columns), bits) == mode.value


@pytest.mark.parametrize("columns", [16, 32, 64, 96, 128, 256])
def test_the_operand_layout_is_free_of_conflicts(columns):
    layout = bank_swizzle((64, columns), 16)
    assert layout is not None
    assert matrix_conflicts(layout, 16) == 1
    lane = np.arange(32)
    chunk = columns // 8  # rows filled by 16-byte stores, in order
    rows, places = lane // chunk, lane % chunk * 8
    assert layout.bank_conflicts((rows, places), 16, 8) == 1


@pytest.mark.parametrize("columns", [4, 8, 12, 16, 64])
def test_64_bit_operands_are_read_without_conflicts(columns):
    layout = bank_swizzle((64, columns), 64)
    assert layout is not None
    lane = np.arange(32)
    assert layout.bank_conflicts((lane // 4, lane % 4), 64) == 1  # rows of one k after the other
    if columns >= 8:
        assert layout.bank_conflicts((lane % 4, lane // 4), 64) == 1  # a row per k


def test_vector_width():
    assert row_major(8, 64).vector_width() == 16
    assert row_major(8, 64).vector_width(4) == 4
    assert row_major(8, 36).vector_width() == 4
    assert row_major(8, 33).vector_width() == 1
    assert make_full_bank_swizzled_layout(32, 64, 16).vector_width() == 8
    assert Layout([8, 64], lambda i, j: i * 64 + (63 - j)).vector_width() == 1
    assert Layout([8, 64], lambda i, j: i * 64 + (j + 2) % 64).vector_width() == 2
