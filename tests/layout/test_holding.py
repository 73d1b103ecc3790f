"""Expressions of `Holding` against its tables, on all threads, steps and lanes."""

import numpy as np
import pytest

from tilelang.errors import LayoutError
from tilelang.ir.expr import Var
from tilelang.layout.blocked import BlockedFragment, widest_vector
from tilelang.layout.evaluate import evaluate
from tilelang.layout.fragment import Fragment, make_fully_replicated_layout_fragment
from tilelang.layout.holding import Holding, fragment_of_tables

THREAD, STEP, LANE = Var("t"), Var("s"), Var("v")


def accumulator(rows, columns):
    """Fragments of warps below each other, as matrix instructions leave them."""
    atom = Fragment([16, 8], lambda i, j: ((i % 8) * 4 + j // 2, (i // 8) * 2 + j % 2))
    return atom.repeat([rows, 1], True).repeat([1, columns])


def check(fragment, threads, vector):
    held = Holding(fragment, threads)
    steps = held.registers // vector
    t, s, v = np.indices((threads, steps, vector))
    env = {THREAD: t, STEP: s, LANE: v}
    elements = held.elements.reshape(threads, steps, vector)
    active = held.active(vector, THREAD, STEP, LANE)
    runs = np.ones(t.shape, bool) if active is None else evaluate(active, env)
    np.testing.assert_array_equal(runs, elements >= 0)
    index = [np.broadcast_to(evaluate(e, env), t.shape)[runs]
             for e in held.element(vector, THREAD, STEP, LANE)]  # fmt: skip
    number = np.ravel_multi_index(index, fragment.shape)
    np.testing.assert_array_equal(number, elements[runs])
    first = held.first(vector, THREAD, STEP, LANE)
    is_first = runs if first is None else np.broadcast_to(evaluate(first, env), t.shape) & runs
    np.testing.assert_array_equal(is_first, held.is_first.reshape(t.shape))
    assert len(set(elements[is_first])) == is_first.sum() == np.prod(fragment.shape)


@pytest.mark.parametrize("threads", [32, 96, 128, 100])
@pytest.mark.parametrize("shape", [(64, 64), (100, 13), (7,), (1, 1000), (3, 5, 8), (1, 1)])
def test_blocked(shape, threads):
    for limit in (1, 4, 8):
        vector = widest_vector(shape, threads, limit)
        assert shape[-1] % vector == 0
        check(BlockedFragment(shape, threads, vector), threads, vector)
        check(BlockedFragment(shape, threads, vector), threads, 1)


@pytest.mark.parametrize("rows, columns", [(4, 8), (1, 3), (3, 10)])
def test_accumulator(rows, columns):
    fragment = accumulator(rows, columns)
    check(fragment, 32 * rows, 1)
    check(fragment, 32 * rows, 2)
    check(fragment, 32 * rows + 32, 2)  # a warp without elements
    assert Holding(fragment, 32 * rows).vector(1, 8) == 2
    assert Holding(fragment, 32 * rows).vector(0, 8) == 1


def test_replicas():
    check(make_fully_replicated_layout_fragment([6], 32), 32, 1)
    rows = Fragment([64], lambda i, r: ((i % 8) * 4 + i // 16 * 32 + r, i // 8 % 2), replicate=4)
    check(rows, 128, 1)


def test_a_thread_outside_the_block_is_named():
    with pytest.raises(LayoutError, match="thread 127, but the block has 64"):
        Holding(BlockedFragment((128,), 128), 64)


def test_fragment_of_tables_gives_the_tables_back():
    for fragment in (accumulator(2, 4), make_fully_replicated_layout_fragment([4, 3], 64)):
        made = fragment_of_tables(fragment.shape, fragment.thread_table, fragment.offsets)
        assert made is not None and made.is_equal(fragment)
    rng = np.random.default_rng(0)
    assert fragment_of_tables((37,), rng.permutation(37)[:, None], np.zeros(37, int)) is None


def test_a_large_block_one_register_at_a_time():
    fragment = Fragment([128, 128], lambda i, j: (i, j))
    held = Holding(fragment, 128)
    t, s = np.indices((128, 128))
    for axis, index in enumerate(held.element(1, THREAD, STEP, LANE)):
        got = np.broadcast_to(evaluate(index, {THREAD: t, STEP: s, LANE: 0}), t.shape)
        np.testing.assert_array_equal(got, (t, s)[axis])
    with_two = held.element(2, THREAD, STEP, LANE)  # not the forms found before
    at = {THREAD: 3, STEP: 5, LANE: 1}
    assert [int(evaluate(index, at)) for index in with_two] == [3, 11]
