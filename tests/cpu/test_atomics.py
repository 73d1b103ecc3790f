"""Atomics on the CPU: many blocks on one place, tiles, previous values, vectors, loads, stores."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.cpu.arrays import random, run, storage, wide

TYPES = ["float32", "float64", "float16", "bfloat16", "int32", "int64", "uint32"]
BLOCKS = 61


@pytest.mark.parametrize("dtype", TYPES)
def test_elements_from_many_blocks(dtype):
    """Small integers: every sum is exact in every type."""

    @T.prim_func
    def kernel(A: T.Tensor((BLOCKS, 16), dtype), Z: T.Tensor((3, 4), dtype)):
        with T.Kernel(BLOCKS, threads=32) as bx:
            for i in T.serial(16):
                T.atomic_add(Z[0, i % 4], A[bx, i], memory_order="relaxed")
                T.atomic_max(Z[1, i % 4], A[bx, i], memory_order="acq_rel")
                T.atomic_min(Z[2, i % 4], A[bx, i])

    a = np.random.default_rng(0).integers(0, 2, (BLOCKS, 16)).astype(storage(dtype))
    a[5, 2], a[9, 7] = 90, 1
    if not dtype.startswith("u"):
        a[7, 3], a[2, 0] = -80, -90
    z = np.ones((3, 4), storage(dtype))
    for _ in range(1 if dtype in ("float16", "bfloat16") else 3):
        run(kernel, a, z)
    times = 1 if dtype in ("float16", "bfloat16") else 3
    columns = wide(a).reshape(-1, 4)
    np.testing.assert_array_equal(wide(z[0]), 1 + times * columns.sum(0))
    np.testing.assert_array_equal(wide(z[1]), np.maximum(columns.max(0), 1))
    np.testing.assert_array_equal(wide(z[2]), np.minimum(columns.min(0), 1))


@pytest.mark.parametrize("dtype", ["float32", "int32", "float16", "int64"])
def test_previous_values_are_handed_out_once(dtype):
    @T.prim_func
    def kernel(count: T.Tensor((2,), dtype), Z: T.Tensor((BLOCKS * 4,), dtype)):
        with T.Kernel(BLOCKS) as bx:
            for i in T.serial(4):
                Z[bx * 4 + i] = T.atomic_add(count[0], 1, return_prev=True)
            last = T.atomic_max(count[1], bx, return_prev=True)
            if last < 0:
                count[1] = -5

    count, z = np.zeros(2, storage(dtype)), np.full(BLOCKS * 4, -1, storage(dtype))
    run(kernel, count, z)
    assert sorted(z.astype(int)) == list(range(BLOCKS * 4))
    assert count[0] == BLOCKS * 4 and count[1] == BLOCKS - 1


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
def test_or(dtype):
    @T.prim_func
    def kernel(Z: T.Tensor((2,), dtype)):
        with T.Kernel(31) as bx:
            T.atomic_or(Z[bx % 2], T.shift_left(T.Cast(dtype, 1), T.Cast(dtype, bx)))

    z = np.zeros(2, dtype)
    run(kernel, z)
    assert [int(v) for v in z] == [sum(1 << k for k in range(p, 31, 2)) for p in (0, 1)]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize("scope", ["shared", "fragment"])
def test_tiles_with_edges(scope, dtype):
    """Split-K in small: every block adds, and bounds, its tile of one output."""
    m, n, bm, bn, parts = 19, 27, 8, 16, 5

    @T.prim_func
    def kernel(A: T.Tensor((parts, m, n), dtype), Z: T.Tensor((4, m, n), dtype)):
        with T.Kernel(T.ceildiv(n, bn), T.ceildiv(m, bm), parts) as (bx, by, bz):
            allocate = T.alloc_shared if scope == "shared" else T.alloc_fragment
            x = allocate((bm, bn), dtype)
            T.copy(A[bz, by * bm, bx * bn], x)
            T.atomic_add(Z[0, by * bm, bx * bn], x)
            T.atomic_max(Z[1, by * bm : (by + 1) * bm, bx * bn : (bx + 1) * bn], x)
            T.atomic_min(Z[2, by * bm, bx * bn], x)
            T.atomic_add(Z[3, by * bm : by * bm + 2, bx * bn : bx * bn + 3], 1)

    a = np.random.default_rng(0).integers(-9, 9, (parts, m, n)).astype(storage(dtype))
    z = np.zeros((4, m, n), storage(dtype))
    run(kernel, a, z)
    np.testing.assert_array_equal(wide(z[0]), wide(a).sum(0))
    np.testing.assert_array_equal(wide(z[1]), np.maximum(wide(a).max(0), 0))
    np.testing.assert_array_equal(wide(z[2]), np.minimum(wide(a).min(0), 0))
    expected = np.zeros((m, n))
    for i in range(0, m, bm):
        for j in range(0, n, bn):
            expected[i : i + 2, j : j + 3] = parts
    np.testing.assert_array_equal(wide(z[3]), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_pairs_and_quadruples(dtype):
    @T.prim_func
    def kernel(A: T.Tensor((BLOCKS, 8), dtype), Z: T.Tensor((8,), dtype)):
        with T.Kernel(BLOCKS) as bx:
            T.atomic_addx2(Z[0], A[bx, 0])
            T.atomic_addx2(Z[2], A[bx, 2])
            T.atomic_addx4(Z[4], A[bx, 4])

    a = np.random.default_rng(0).integers(0, 4, (BLOCKS, 8)).astype(storage(dtype))
    z = np.zeros(8, storage(dtype))
    run(kernel, a, z)
    np.testing.assert_array_equal(wide(z), wide(a).sum(0))


def test_previous_values_of_pairs():
    @T.prim_func
    def kernel(
        A: T.Tensor((4,), "float32"), Z: T.Tensor((4,), "float32"), old: T.Tensor((6,), "float32")
    ):
        with T.Kernel(1):
            old[0:2] = T.atomic_addx2(Z[0], A[0], return_prev=True)
            old[2:6] = T.atomic_addx4(Z[0], A[0], return_prev=True)

    a, z, o = random((4,)), np.arange(4, dtype=np.float32), np.zeros(6, np.float32)
    run(kernel, a, z, o)
    first = np.arange(4, dtype=np.float32)
    first[:2] += a[:2]
    np.testing.assert_array_equal(o, [0, 1, *first])
    np.testing.assert_array_equal(z, first + a)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_loads_and_stores(dtype):
    """Each block publishes data behind a flag; the last to arrive reads all of it."""

    @T.prim_func
    def kernel(
        data: T.Tensor((BLOCKS,), dtype), arrived: T.Tensor((1,), "int32"), Z: T.Tensor((2,), dtype)
    ):
        with T.Kernel(BLOCKS) as bx:
            T.atomic_store(data[bx], bx + 1, memory_order="release")
            before = T.atomic_add(arrived[0], 1, memory_order="acq_rel", return_prev=True)
            if before == BLOCKS - 1:
                total = T.alloc_var(dtype)
                for i in T.serial(BLOCKS):
                    total += T.atomic_load(data[i], memory_order="acquire")
                Z[0] = total
                T.atomic_store(Z[1], T.atomic_load(arrived[0]))

    for _ in range(5):
        data, arrived, z = (np.zeros(s, d) for s, d in ((BLOCKS, dtype), (1, "int32"), (2, dtype)))
        run(kernel, data, arrived, z)
        assert list(z) == [BLOCKS * (BLOCKS + 1) // 2, BLOCKS]


def test_shared_memory_and_threads():
    """A histogram: threads add to shared bins, blocks add their bins to the global ones."""
    n, bins = 1000, 13

    @T.prim_func
    def kernel(A: T.Tensor((n,), "int32"), Z: T.Tensor((bins,), "int32")):
        with T.Kernel(T.ceildiv(n, 128), threads=64) as bx:
            s = T.alloc_shared((bins,), "int32")
            T.clear(s)
            for i in T.Parallel(128):
                if bx * 128 + i < n:
                    T.atomic_add(s[A[bx * 128 + i]], 1)
            for i in T.Parallel(bins):
                T.atomic_add(Z[i], s[i])

    a, z = random((n,), "uint32", high=bins).astype(np.int32), np.zeros(bins, np.int32)
    run(kernel, a, z)
    np.testing.assert_array_equal(z, np.bincount(a, minlength=bins))
