"""Second names of fragments, and nests whose inner loops depend on the outer, run as emulated."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang import cache
from tilelang.env import env
from tilelang.layout import Fragment

F16, F32 = "float16", "float32"


@pytest.fixture(autouse=True)
def on_emulator(tmp_path: Path) -> Iterator[None]:
    with env.scope(TILELANG_EMULATE=True, TILELANG_CACHE_DIR=str(tmp_path / "cache")):
        cache.clear_cache()
        yield
        cache.clear_cache()


def run(body: Any, threads: int = 128, seed: int = 0) -> tuple[Any, Any]:
    """A random A [64, 64], and what the macro `body(A, B)` makes of B, zero before."""

    @T.prim_func
    def main(A: T.Tensor((64, 64), F32), B: T.Tensor((64, 64), F32)):
        with T.Kernel(1, threads=threads):
            body(A, B)

    a = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)
    b = np.zeros((64, 64), np.float32)
    tilelang.compile(main, target="cuda -arch=sm_80")(a, b)
    return a, b


@pytest.mark.parametrize("threads", [32, 96, 128])
def test_a_fragment_under_another_shape(threads: int) -> None:
    @T.macro
    def body(A, B):
        tile = T.alloc_fragment((64, 64), F32)
        T.copy(A, tile)
        flat = T.reshape(tile, (4096,))
        for i in T.Parallel(4096):
            flat[i] = flat[i] + i
        T.copy(tile, B)

    a, b = run(body, threads)
    np.testing.assert_array_equal(b, a + np.arange(4096, dtype=np.float32).reshape(64, 64))


def test_a_fragment_under_another_type() -> None:
    @T.macro
    def body(A, B):
        tile = T.alloc_fragment((64, 64), F32)
        T.copy(A, tile)
        bits = T.view(tile, (64, 64), "int32")
        for i, j in T.Parallel(64, 64):
            bits[i, j] = bits[i, j] & 0x7FFFFFFF
        T.copy(tile, B)

    a, b = run(body)
    np.testing.assert_array_equal(b, np.abs(a))


def test_an_accumulator_under_three_shapes() -> None:
    @T.macro
    def body(A, B):
        shared = T.alloc_shared((64, 64), F16)
        flat = T.alloc_fragment((4096,), F32)
        total = T.reshape(flat, (64, 64))
        T.copy(A, shared)
        T.clear(flat)
        T.gemm(shared, shared, total)
        for i in T.Parallel(4096):
            flat[i] = flat[i] * 2
        halves = T.reshape(flat, (2, 32, 64))
        for h, i, j in T.Parallel(2, 32, 64):
            B[h * 32 + i, j] = halves[h, i, j] + 1

    a, b = run(body)
    rounded = a.astype(np.float16).astype(np.float64)
    # 64 products of float32 precision: each sum is off by at most 64 units of the largest partial.
    np.testing.assert_allclose(b, rounded @ rounded * 2 + 1, rtol=0, atol=2 * 64 * 64 * 2.0**-20)


def test_a_reduction_of_a_view() -> None:
    @T.macro
    def body(A, B):
        tile = T.alloc_fragment((64, 64), F32)
        most = T.alloc_fragment((64, 2), F32)
        T.copy(A, tile)
        halves = T.reshape(tile, (64, 2, 32))
        T.reduce_max(halves, most, dim=2)
        for i, j in T.Parallel(64, 64):
            B[i, j] = most[i, j // 32]

    a, b = run(body)
    np.testing.assert_array_equal(b, a.reshape(64, 2, 32).max(2).repeat(32, 1))


def test_parallel_loops_whose_length_depends_on_the_outer_one() -> None:
    @T.macro
    def body(A, B):
        for i in T.Parallel(64):
            for j in T.Parallel(i):
                B[i, j] = A[i, j]

    a, b = run(body)
    np.testing.assert_array_equal(b, np.tril(a, -1))


def by_row(i: Any, j: Any) -> Any:
    return i, j


@pytest.mark.parametrize("layout", [None, by_row])
@pytest.mark.parametrize("is_constant", [True, False])
def test_serial_loops_over_a_fragment_inside_a_nest(
    layout: Callable[..., Any] | None, is_constant: bool
) -> None:
    @T.macro
    def body(A, B):
        tile = T.alloc_fragment((64, 64), F32)
        if layout is not None:
            T.annotate_layout({tile: Fragment([64, 64], forward_fn=layout)})
        T.clear(tile)
        for i in T.Parallel(64):
            for j in T.serial(64 if is_constant else i):
                if j < i:
                    tile[i, j] = tile[i, j] + A[i, j]
        T.copy(tile, B)

    a, b = run(body, threads=64)
    np.testing.assert_array_equal(b, np.tril(a, -1))
