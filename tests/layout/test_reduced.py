"""Fragments of reduction results, and the plan of who combines what."""

from __future__ import annotations

import numpy as np
import pytest

from tilelang.layout import Fragment, make_fully_replicated_layout_fragment
from tilelang.layout.reduced import (
    NOBODY,
    derive_reduced_fragment,
    find_partials,
    held_elements,
    line_numbers,
)


def _accumulator() -> Fragment:
    """64 by 24, four warps of 16 rows: the accumulator of 16 by 8 matrix instructions."""
    return Fragment(
        [64, 24],
        lambda i, j: (i // 16 * 32 + i % 8 * 4 + j % 8 // 2, j // 8 * 4 + i % 16 // 8 * 2 + j % 2),
    )


FRAGMENTS = [
    _accumulator(),
    Fragment([4, 256], lambda i, j: (j // 8, i * 8 + j % 8)),
    Fragment([12, 20], lambda i, j: (j, i)),
    Fragment([8, 6], lambda i, j, r: (i + 8 * r, j), replicate=3),
    make_fully_replicated_layout_fragment([5, 7], 32),
]


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("fragment", FRAGMENTS, ids=str)
def test_results_are_where_the_elements_of_their_line_are(fragment: Fragment, dim: int) -> None:
    lines = fragment.shape[1 - dim]
    derived = derive_reduced_fragment(fragment, dim, [lines])
    assert derived is not None
    for line in range(lines):
        holders = np.unique(np.take(fragment.thread_table, line, axis=1 - dim))
        assert set(derived.thread_table[line].tolist()) == set(holders.tolist())
    assert derived.is_injective
    registers = np.unique(derived.offsets)
    assert np.array_equal(registers, np.arange(len(registers))), "numbered densely"


def test_registers_follow_those_of_the_source() -> None:
    derived = derive_reduced_fragment(_accumulator(), 1, [64, 1])
    assert derived is not None and derived.shape == (64, 1) and derived.replicate_size == 4
    rows = np.arange(64)[:, None]
    assert np.array_equal(derived.offsets, rows % 16 // 8)
    assert np.array_equal(derived.thread_table[..., 0], rows // 16 * 32 + rows % 8 * 4)


def test_none_where_threads_would_disagree() -> None:
    # Row 1 is in the first register of some threads and in the second of others.
    fragment = Fragment([3, 8], lambda i, j: ((i * 8 + j) % 12, (i * 8 + j) // 12))
    assert derive_reduced_fragment(fragment, 1, [3]) is None


def _combined(fragment: Fragment, dim: int, threads: int) -> None:
    """Follows the plan with sets of elements: every line has to come out once and whole."""
    held = held_elements(fragment, threads)
    assert held is not None
    line_of = line_numbers(fragment.shape, dim)
    plan = find_partials(held, line_of)
    own = [
        [
            [x for r in g for x in [int(plan.held[t, r])] if x != NOBODY]
            for g in plan.slots.registers
        ]
        for t in range(threads)
    ]
    for bit in plan.lane_bits:
        own = [
            [a + b for a, b in zip(own[t], own[min(t ^ bit, threads - 1)])] for t in range(threads)
        ]
    found: dict[int, dict[int, list[int]]] = {}
    for t, s in np.argwhere(plan.writer).tolist():
        line, part = int(plan.lines[t, s]), int(plan.part[t, s])
        assert part not in found.setdefault(line, {}), "one writer per part"
        found[line][part] = own[t][s]
    for line in range(int(line_of.max()) + 1):
        elements = sorted(x for part in found[line].values() for x in part)
        assert elements == np.flatnonzero(line_of == line).tolist()
        assert plan.is_ragged or sorted(found[line]) == list(range(plan.parts))


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("fragment", FRAGMENTS, ids=str)
def test_every_element_counts_once(fragment: Fragment, dim: int) -> None:
    for extra in (0, 1, 32):
        _combined(fragment, dim, fragment.get_thread_size() + extra)


def test_random_fragments() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows, columns, threads = (int(x) for x in rng.integers(1, 12, 3))
        a, b, width = (int(x) for x in rng.integers(1, 5, 3))

        def place(i, j, a=a, b=b, width=width, threads=threads, columns=columns):  # type: ignore[no-untyped-def]
            flat = (i * columns + j) * 1
            return (flat // width * a + b) % threads, flat

        fragment = Fragment([rows, columns], place)
        for dim in (0, 1):
            _combined(fragment, dim, threads)


def test_lanes_are_used_where_they_hold_pieces_of_one_line() -> None:
    fragment = _accumulator()
    held = held_elements(fragment, 128)
    assert held is not None
    along = find_partials(held, line_numbers(fragment.shape, 1))
    across = find_partials(held, line_numbers(fragment.shape, 0))
    assert (along.lane_bits, along.parts) == ((1, 2), 1)
    assert (across.lane_bits, across.parts) == ((4, 8, 16), 4)


def test_an_element_of_a_thread_that_the_block_lacks_is_refused() -> None:
    fragment = Fragment([4, 4], lambda i, j: (i * 4 + j, 0))
    assert held_elements(fragment, 8) is None
    assert held_elements(Fragment([4], lambda i: (0, i // 2)), 4) is None  # shared registers
