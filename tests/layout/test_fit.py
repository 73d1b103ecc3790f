"""Tables fitted back to digits: what is found reproduces the table, and inverses undo layouts."""

from __future__ import annotations

import numpy as np
import pytest

from tilelang.layout import Layout
from tilelang.layout.evaluate import evaluate
from tilelang.layout.fit import fit
from tilelang.layout.layout import placeholders


def mixed_radix(rng: np.random.Generator) -> Layout:
    """A random permutation of the digits of an index, one XORed with another of its length."""
    digits = [int(d) for d in rng.choice([2, 2, 4, 4, 8, 3], int(rng.integers(2, 5)))]
    cut = int(rng.integers(1, len(digits)))
    shape = [int(np.prod(digits[:cut])), int(np.prod(digits[cut:]))]
    order = rng.permutation(len(digits))
    pairs = [
        (a, b)
        for a in range(len(digits))
        for b in range(len(digits))
        if a < b and digits[a] == digits[b] and digits[a] in (2, 4, 8)
    ]
    pair = pairs[int(rng.integers(len(pairs)))] if pairs and rng.random() < 0.5 else None

    def forward(i, j):
        values = []
        for index, sizes in ((i, digits[:cut]), (j, digits[cut:])):
            stride = int(np.prod(sizes))
            for size in sizes:
                stride //= size
                values.append(index // stride % size)
        if pair is not None:
            values[pair[0]] = values[pair[0]] ^ values[pair[1]]
        place = 0
        for number in order:
            place = place * digits[number] + values[number]
        return place

    return Layout(shape, forward)


def table_of(value, variables, shape):
    env = dict(zip(variables, np.indices(shape)))
    return np.broadcast_to(evaluate(value, env), shape)


@pytest.mark.parametrize("seed", range(40))
def test_fits_reproduce_tables(seed):
    layout = mixed_radix(np.random.default_rng(seed))
    assert layout.is_injective
    variables = placeholders(2)
    found = fit(layout.offsets, variables)
    if found is None:  # a mixture of XOR and digits that are no powers of two
        assert any(e & (e - 1) for e in layout.shape)
        return
    assert np.array_equal(table_of(found, variables, layout.shape), layout.offsets)


@pytest.mark.parametrize("seed", range(40))
def test_inverses_undo_layouts(seed):
    layout = mixed_radix(np.random.default_rng(seed))
    try:
        inverse = layout.inverse()
    except ValueError:
        assert any(e & (e - 1) for e in layout.shape)
        return
    flat = layout.offsets.ravel()
    back = [axis[flat] for axis in inverse.table]
    assert np.array_equal(np.ravel_multi_index(back, layout.shape), np.arange(flat.size))


def test_random_tables_are_refused_or_reproduced():
    rng = np.random.default_rng(5)
    variables = placeholders(2)
    for _ in range(50):
        table = rng.permutation(32).reshape(4, 8).astype(np.int64)
        found = fit(table, variables)
        assert found is None or np.array_equal(table_of(found, variables, (4, 8)), table)
