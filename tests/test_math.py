"""Sizes, rounded up; the level of what is logged."""

from __future__ import annotations

import logging

import pytest

import tilelang


@pytest.mark.parametrize("divisor", [1, 3, 16])
def test_cdiv_is_the_least_number_of_parts(divisor):
    for size in range(100):
        parts = tilelang.cdiv(size, divisor)
        assert parts * divisor >= size > (parts - 1) * divisor


def test_next_power_of_2():
    for size in range(1, 300):
        power = tilelang.next_power_of_2(size)
        assert power & (power - 1) == 0 and power >= size > power // 2
    assert tilelang.math.next_power_of_2(0) == 1


@pytest.mark.parametrize("level", ["warning", "WARNING", logging.WARNING])
def test_log_level(level):
    logger = logging.getLogger("tilelang")
    before = logger.level
    try:
        tilelang.set_log_level(level)
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(before)
