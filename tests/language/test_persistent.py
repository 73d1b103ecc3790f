"""Every tile of a grid is visited exactly once, whatever the sizes."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.interpreter import run
from tilelang.errors import ArgumentError, LanguageError
from tilelang.ir.verify import verify
from tilelang.language.persistent import PersistentTileScheduler


def tiles_of(m: int, n: int, **options: Any) -> list[tuple[int, int]]:
    scheduler = PersistentTileScheduler(m, n, stateful=False, **options)
    return [scheduler.coord(i) for i in range(m * n)]


SIZES = [1, 2, 3, 4, 7, 8, 13]


@pytest.mark.parametrize("column_major", [True, False])
@pytest.mark.parametrize("swizzle_size", [1, 2, 3, 4, 8, 20])
def test_the_order_is_a_permutation(swizzle_size: int, column_major: bool) -> None:
    for m, n in itertools.product(SIZES, SIZES):
        order = tiles_of(m, n, swizzle_size=swizzle_size, column_major=column_major)
        assert sorted(order) == [(i, j) for i in range(m) for j in range(n)]


def test_the_order_of_the_picture() -> None:
    order = tiles_of(4, 5, swizzle_size=2)
    picture = [[0, 1, 8, 9, 16], [2, 3, 10, 11, 17], [4, 5, 12, 13, 18], [6, 7, 14, 15, 19]]
    assert [[order.index((i, j)) for j in range(5)] for i in range(4)] == picture


def test_the_other_order_is_the_transpose() -> None:
    for m, n, size in ((4, 5, 2), (7, 3, 3), (1, 9, 4)):
        mirrored = [(i, j) for j, i in tiles_of(n, m, swizzle_size=size, column_major=False)]
        assert tiles_of(m, n, swizzle_size=size) == mirrored


def test_clusters_share_a_row_index() -> None:
    scheduler = PersistentTileScheduler(7, 3, cluster_size=2, stateful=False)
    assert sorted(scheduler.coord(i) for i in range(12)) == [
        (i, j) for i in range(4) for j in range(3)
    ]


def visiting(m: int, n: int, blocks: int, **options: Any) -> Any:
    """A kernel that counts visits, and writes down worker and iteration of each tile."""

    @T.prim_func
    def kernel(
        count: T.Tensor((m, n), "int32"),
        who: T.Tensor((m, n), "int32"),
        when: T.Tensor((m, n), "int32"),
    ):  # type: ignore[valid-type]
        with T.Kernel(blocks, threads=1) as b:
            tiles = PersistentTileScheduler(m, n, **options)
            tiles.init(b)
            while tiles.valid():
                count[tiles.m_idx, tiles.n_idx] += 1
                who[tiles.m_idx, tiles.n_idx] = tiles.linear_idx
                when[tiles.m_idx, tiles.n_idx] = tiles.current_iter
                tiles.next_tile()

    return kernel


def test_kernels_visit_each_tile_once() -> None:
    chooser = random.Random(3)
    for _ in range(12):
        m, n, blocks = (chooser.randint(1, 9) for _ in range(3))
        options = {"swizzle_size": chooser.randint(1, 5), "column_major": chooser.random() < 0.5}
        arrays = {name: np.zeros((m, n), np.int32) for name in ("count", "who", "when")}
        kernel = visiting(m, n, blocks, **options)
        verify(kernel)
        run(kernel, arrays)
        assert (arrays["count"] == 1).all()
        assert sorted(arrays["who"].flat) == list(range(m * n))
        assert (arrays["when"] == arrays["who"] // blocks).all()


def test_dynamic_sizes_compiled() -> None:
    @T.prim_func
    def kernel(rows: T.int32, order: T.Tensor((T.dynamic("size"),), "int32")):  # type: ignore[valid-type]
        with T.Kernel(3, threads=1) as b:
            tiles = PersistentTileScheduler(rows, 5, num_workers=3, swizzle_size=2, name="walk")
            tiles.init(b)
            while tiles.valid():
                order[tiles.m_idx * 5 + tiles.n_idx] = tiles.linear_idx
                tiles.next_tile()

    compiled = tilelang.compile(kernel, target="c")
    assert "walk_linear_idx" in compiled.get_kernel_source()
    for rows in (1, 4, 6):
        order = np.full(rows * 5, -1, np.int32)
        compiled(rows, order)
        assert [
            tuple(divmod(int(np.flatnonzero(order == i)[0]), 5)) for i in range(rows * 5)
        ] == tiles_of(rows, 5, swizzle_size=2)


def test_clusters_divide_the_default_number_of_workers() -> None:
    @T.prim_func
    def kernel(seen: T.Tensor((8,), "int32")):  # type: ignore[valid-type]
        with T.Kernel(6, threads=1) as b:
            tiles = PersistentTileScheduler(4, 4, cluster_size=2)
            seen[b] = tiles.num_workers

    arrays = {"seen": np.zeros(8, np.int32)}
    run(kernel, arrays)
    assert arrays["seen"].tolist() == [3] * 6 + [0, 0]


def test_without_state_there_is_only_the_order() -> None:
    scheduler = PersistentTileScheduler(4, 4, stateful=False)
    assert scheduler.coord(5) == (1, 1)
    for use in (
        lambda: scheduler.init(0),
        scheduler.valid,
        scheduler.next_tile,
        lambda: scheduler.m_idx,
    ):
        with pytest.raises(LanguageError, match="without state"):
            use()


@pytest.mark.parametrize("options", [{"swizzle_size": 0}, {"cluster_size": -1}, {"num_workers": 0}])
def test_sizes_are_positive(options: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match=f"{next(iter(options))} is"):
        PersistentTileScheduler(4, 4, stateful=False, **options)


def test_outside_a_launch_the_number_of_workers_is_needed() -> None:
    with pytest.raises(ArgumentError, match="num_workers has to be given"):
        PersistentTileScheduler(4, 4)
