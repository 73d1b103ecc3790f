"""Every kind of loop on the CPU: what runs, in which order where order is promised."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.cpu.arrays import random, run


def test_counts_of_serial_and_unrolled_loops():
    ranges = [(5,), (2, 9), (0, 10, 3), (9, -1, -2), (4, 4), (3, 1), (-4, 3, 2), (7, 0, -7)]

    @T.prim_func
    def kernel(Z: T.Tensor((4, len(ranges), 16), "int32")):
        with T.Kernel(1):
            for row, bounds in enumerate(ranges):
                for i in T.serial(*bounds):
                    Z[0, row, i + 4] += 1
                for i in T.unroll(*bounds):
                    Z[1, row, i + 4] += 1
                for i in T.unroll(*bounds, explicit=True):
                    Z[2, row, i + 4] += 1
                for i in T.Unroll(*bounds, unroll_factor=2):
                    Z[3, row, i + 4] += 1

    z = np.zeros((4, len(ranges), 16), np.int32)
    run(kernel, z)
    expected = np.zeros((len(ranges), 16), np.int32)
    for row, bounds in enumerate(ranges):
        for i in range(*bounds):
            expected[row, i + 4] += 1
    for kind in z:
        np.testing.assert_array_equal(kind, expected)


def test_grid_vectorized_and_parallel_loops():
    @T.prim_func
    def kernel(A: T.Tensor((6, 5, 8), "float32"), Z: T.Tensor((5, 6, 5, 8), "float32")):
        with T.Kernel(1):
            for i, j, k in T.grid(6, 5, 8):
                Z[0, i, j, k] = A[i, j, k] + i
            for i, j in T.grid(6, 5):
                for k in T.vectorized(8):
                    Z[1, i, j, k] = A[i, j, k] * 2.0
            for i in T.parallel(6):
                for j in T.Serial(5):
                    for k in T.Vectorized(4, stop=8):
                        Z[2, i, j, k] = A[i, j, k] - 1.0
            for i in T.Parallel(6):
                for j, k in T.Parallel(5, 8, coalesced_width=4):
                    Z[3, i, j, k] = A[i, j, k] * A[i, j, 7 - k]
            for i, j, k in T.Parallel(6, 5, 8, prefer_async=True, annotations={"note": 1}):
                if (i + j + k) % 3 == 0:
                    Z[4, i, j, k] = A[i, j, k]
                elif k > 5:
                    Z[4, i, j, k] = -1.0

    a, z = random((6, 5, 8)), np.zeros((5, 6, 5, 8), np.float32)
    run(kernel, a, z)
    i, j, k = np.indices(a.shape)
    np.testing.assert_array_equal(z[0], (a + i).astype(np.float32))
    np.testing.assert_array_equal(z[1], a * 2)
    np.testing.assert_array_equal(z[2], np.where(k >= 4, a - 1, 0))
    np.testing.assert_array_equal(z[3], a * a[:, :, ::-1])
    np.testing.assert_array_equal(z[4], np.where((i + j + k) % 3 == 0, a, np.where(k > 5, -1, 0)))


@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (128, 1), (17, 19)])
def test_parallel_loops_of_dynamic_extents(shape):
    m, n = T.dynamic("m, n")

    @T.prim_func
    def kernel(
        A: T.Tensor((m, n), "float32"),
        Z: T.Tensor((m, n), "float32"),
        Y: T.Tensor((m, n), "float32"),
    ):
        with T.Kernel(T.ceildiv(m, 4), threads=32) as bx:
            for i, j in T.Parallel(4, n):
                if bx * 4 + i < m:
                    Z[bx * 4 + i, j] = A[bx * 4 + i, j] * 2.0
            for i, j in T.Parallel(4, n):  # what lies outside is masked without being asked
                Y[bx * 4 + i, j] = A[bx * 4 + i, j] + 1.0

    a, z, y = random(shape), np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    run(kernel, a, z, y)
    np.testing.assert_array_equal(z, a * 2)
    np.testing.assert_array_equal(y, a + 1)


PLANS = [
    {"num_stages": 0}, {"num_stages": 1}, {"num_stages": 2}, {"num_stages": 9},
    {"num_stages": 2, "order": [0, 1, 2], "stage": [0, 0, 1]},
    {"order": [2, 0, 1], "stage": [1, 0, 0], "num_stages": 1},
    {"order": [-1, -1, 0], "stage": [-1, -1, 0], "group": [[0], [1], [2]], "num_stages": 2},
    {"num_stages": 2, "sync": [[0, 1], [1, 2]]},
]  # fmt: skip


def test_pipelines_give_what_the_serial_loop_gives():
    """Every plan on the same recurrence, with 0, 1 and more iterations."""
    counts, size = (0, 1, 5), 12

    @T.prim_func
    def kernel(
        A: T.Tensor((5, size), "float32"),
        B: T.Tensor((5, size), "float32"),
        Z: T.Tensor((len(PLANS), len(counts), size), "float32"),
    ):
        with T.Kernel(1):
            for p, plan in enumerate(PLANS):
                for c, count in enumerate(counts):
                    a, b = T.alloc_shared((size,), "float32"), T.alloc_shared((size,), "float32")
                    acc = T.alloc_fragment((size,), "float32")
                    T.fill(acc, 1)
                    for k in T.Pipelined(count, **plan):
                        T.copy(A[k, 0], a)
                        T.copy(B[k, 0], b)
                        for i in T.Parallel(size):
                            acc[i] = acc[i] * a[i] + b[i]
                    T.copy(acc, Z[p, c, 0:size])

    a, b = random((5, size)), random((5, size), seed=1)
    z = np.zeros((len(PLANS), len(counts), size), np.float32)
    run(kernel, a, b, z)
    for c, count in enumerate(counts):
        acc = np.ones(size)
        for k in range(count):
            acc = acc * a[k] + b[k]
        for p in range(len(PLANS)):
            np.testing.assert_allclose(z[p, c], acc, rtol=1e-4, atol=1e-5, err_msg=str(PLANS[p]))


def test_pipelines_with_indirection_conditions_and_no_consumer():
    n, size = 9, 8

    @T.prim_func
    def kernel(
        A: T.Tensor((20, size), "float32"), ids: T.Tensor((n,), "int32"),
        again: T.Tensor((20,), "int64"), count: T.int32, Z: T.Tensor((3, size), "float32"),
    ):  # fmt: skip
        with T.Kernel(1):
            x, y = T.alloc_shared((size,), "float32"), T.alloc_shared((size,), "float32")
            acc, odd = T.alloc_fragment((size,), "float32"), T.alloc_fragment((size,), "float32")
            T.clear(acc)
            T.clear(odd)
            T.clear(y)
            for k in T.Pipelined(1, count, num_stages=3):
                T.copy(A[ids[k], 0], x)
                if k % 2 == 1:
                    T.copy(A[again[ids[k]], 0], y)
                for i in T.Parallel(size):
                    acc[i] += x[i]
                    odd[i] += y[i]
            for k in T.Pipelined(count, num_stages=2):
                T.copy(A[k, 0], x)
            T.copy(acc, Z[0, 0:size])
            T.copy(odd, Z[1, 0:size])
            T.copy(x, Z[2, 0:size])

    rng = np.random.default_rng(0)
    a, ids, again = (
        random((20, size)),
        rng.integers(0, 20, n, dtype=np.int32),
        rng.integers(0, 20, 20),
    )
    for count in (1, 2, 9):
        z = np.zeros((3, size), np.float32)
        run(kernel, a, ids, again, count, z)
        acc, odd, y = np.zeros(size), np.zeros(size), np.zeros(size)
        for k in range(1, count):
            acc += a[ids[k]]
            y = a[again[ids[k]]] if k % 2 == 1 else y
            odd += y
        np.testing.assert_allclose(z, [acc, odd, a[count - 1]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("group", [1, 3, 8])
def test_persistent_with_more_and_fewer_blocks_than_tiles(group):
    m, n = T.dynamic("m, n")

    @T.prim_func
    def kernel(Z: T.Tensor((m, n), "int32"), Y: T.Tensor((7,), "int32")):
        with T.Kernel(4) as bx:
            for i, j in T.Persistent([m, n], 4, bx, group):
                T.atomic_add(Z[i, j], 1)
            for i in T.Persistent([7], 4, bx, group_size=group):
                T.atomic_add(Y[i], bx + 1)

    for shape in ((1, 1), (1, 2), (5, 7), (8, 16)):
        z, y = np.zeros(shape, np.int32), np.zeros(7, np.int32)
        run(kernel, z, y)
        assert (z == 1).all()
        assert (y > 0).all() and (y <= 4).all()


def test_while_and_leaving_loops():
    @T.prim_func
    def kernel(A: T.Tensor((40,), "int32"), Z: T.Tensor((40, 4), "int32")):
        with T.Kernel(40) as bx:
            low, high = T.alloc_var("int32", 0), T.alloc_var("int32", 1000)
            while low + 1 < high:  # integer square root by bisection
                middle = (low + high) // 2
                if middle * middle <= A[bx]:
                    low = middle
                else:
                    high = middle
            Z[bx, 0] = low
            with T.While(low > 3):
                low -= 3
            Z[bx, 1] = low
            total = T.alloc_var("int32")
            for i in T.serial(100):
                for j in T.serial(10):
                    if j == 2:
                        continue
                    if j > bx % 7:
                        break
                    total += 1
                if i == bx:
                    T.loop_break()
            Z[bx, 2] = total
            steps = T.alloc_var("int32")
            for k in range(bx, -1, -3):
                steps += k
            Z[bx, 3] = steps

    a, z = np.arange(40, dtype=np.int32) * 977, np.zeros((40, 4), np.int32)
    run(kernel, a, z)
    for b in range(40):
        root = int(np.sqrt(a[b]))
        inner = sum(1 for j in range(b % 7 + 1) if j != 2)
        rest = root if root <= 3 else (root - 1) % 3 + 1
        assert list(z[b]) == [root, rest, inner * (b + 1), sum(range(b, -1, -3))]
