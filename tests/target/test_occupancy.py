"""Occupancy: small cases by hand."""

from __future__ import annotations

import pytest

from tilelang.target.cuda import MAX_SHARED_BYTES
from tilelang.target.occupancy import LIMITS, occupancy


@pytest.mark.parametrize(
    "case, blocks, reason",
    [
        ((90, 128, 255, 0), 2, "registers"),  # 256 a thread: 32768 a block
        ((90, 128, 32, 0), 16, "warps"),
        ((90, 32, 16, 0), 32, "blocks"),
        ((90, 128, 32, 100 << 10), 2, "shared memory"),
        ((90, 128, 32, 232448), 1, "shared memory"),
        ((80, 256, 65, 0), 3, "registers"),  # 72 a thread: 18432 a block
        ((75, 1024, 64, 0), 1, "warps"),
        ((89, 128, 32, 101376), 1, "shared memory"),
    ],
)
def test_blocks(case, blocks, reason):
    found = occupancy(*case)
    assert found is not None
    assert (found.blocks, found.limited_by) == (blocks, reason)
    assert found.warps == blocks * (case[1] // 32)
    assert str(blocks) in str(found) and reason in str(found)


def test_the_largest_block_fits_everywhere():
    for number in LIMITS:
        found = occupancy(number, 128, 64, MAX_SHARED_BYTES[number])
        assert found is not None and found.blocks == 1


def test_a_device_without_known_limits():
    assert occupancy(88, 128, 32, 0) is None
