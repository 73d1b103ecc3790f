"""Distinct values against `numpy.unique`."""

import numpy as np
import pytest

from tilelang.layout.distinct import distinct

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (64, 33), (3, 4, 5)])
@pytest.mark.parametrize("extent", [1, 2, 50, 10**12])
def test_values_and_places(shape, extent):
    values = RNG.integers(-extent, extent, shape)
    expected = np.unique(values, return_index=True)
    for got, want in zip(distinct(values), expected):
        np.testing.assert_array_equal(got, want)
