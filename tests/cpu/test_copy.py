"""T.copy and T.transpose on the CPU: every pair of scopes, edges, offsets, types, strides."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.cpu.arrays import random, run, storage
from tilelang.language.script import from_script

SCOPES = ["shared", "fragment", "local", "workspace"]
ALL_TYPES = [
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16",
    "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
    "float8_e5m2fnuz",
]  # fmt: skip


def allocate(scope, shape, dtype):
    return {
        "shared": T.alloc_shared,
        "fragment": T.alloc_fragment,
        "local": T.alloc_local,
        "workspace": T.alloc_global,
    }[scope](shape, dtype)


PAIRS = [(a, b) for a in SCOPES for b in SCOPES]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "bool", "float8_e4m3fn"])
@pytest.mark.parametrize("shape", [(7, 13), (1, 1), (16, 32)])
def test_every_pair_of_scopes(shape, dtype):
    """Global memory to the first, to the second, and back to global memory."""

    @T.prim_func
    def kernel(A: T.Tensor(shape, dtype), B: T.Tensor((len(PAIRS), *shape), dtype)):
        for row, (first, second) in enumerate(PAIRS):
            with T.Kernel(1):
                x = allocate(first, shape, dtype)
                y = allocate(second, shape, dtype)
                T.copy(A, x)
                T.copy(x, y)
                T.copy(y, B[row, 0 : shape[0], 0 : shape[1]])

    a = random(shape, dtype)
    b = np.zeros((len(PAIRS), *shape), storage(dtype))
    run(kernel, a, b)
    for pair, got in zip(PAIRS, b):
        np.testing.assert_array_equal(got, a, err_msg=str(pair))


@pytest.mark.parametrize("scope", ["shared", "fragment", "local"])
def test_partial_tiles_of_a_grid(scope):
    m, n, bm, bn = 37, 53, 16, 24

    @T.prim_func
    def kernel(
        A: T.Tensor((m, n), "float32"),
        B: T.Tensor((m, n), "float32"),
        C: T.Tensor((48, 72), "float32"),
    ):
        with T.Kernel(T.ceildiv(n, bn), T.ceildiv(m, bm), threads=128) as (bx, by):
            x = allocate(scope, (bm, bn), "float32")
            T.fill(x, 7.0)
            T.copy(A[by * bm, bx * bn], x)
            T.copy(x, B[by * bm, bx * bn])
            T.copy(x, C[by * bm : (by + 1) * bm, bx * bn : (bx + 1) * bn])

    a, b, c = random((m, n)), np.full((m, n), np.nan, np.float32), np.ones((48, 72), np.float32)
    run(kernel, a, b, c)
    padded = np.zeros((48, 72), np.float32)
    padded[:m, :n] = a
    np.testing.assert_array_equal(b, a)
    np.testing.assert_array_equal(c, padded)


def test_offsets_on_both_sides_and_run_time_starts():
    @T.prim_func
    def kernel(A: T.Tensor((20, 30), "int32"), start: T.int32, B: T.Tensor((6, 20, 30), "int32")):
        with T.Kernel(1):
            s = T.alloc_shared((8, 10), "int32")
            T.clear(s)
            T.copy(A[3:6, 5:12], s[2:5, 1:8])  # a window into a window
            T.copy(s[1:6, 0:9], B[0, 0:5, 0:9])
            T.copy(A[start, start + 1], s)  # a corner known at run time
            T.copy(s, B[1, start, start])
            T.copy(A[start - 6 : start + 2, 0:10], s)  # may begin before the buffer
            T.copy(s, B[2, 0:8, 0:10])
            T.copy(A[15, 25], s)  # and end behind it
            T.copy(s, B[3, 15, 25])
            T.copy(s, B[4, 0:8, 0:10])
            B[5, 0, 0] = A[start, 0]

    a, b = np.arange(600, dtype=np.int32).reshape(20, 30), np.full((6, 20, 30), -1, np.int32)
    run(kernel, a, 4, b)
    expected = np.full((6, 20, 30), -1, np.int32)
    s = np.zeros((8, 10), np.int32)
    s[2:5, 1:8] = a[3:6, 5:12]
    expected[0, 0:5, 0:9] = s[1:6, 0:9]
    expected[1, 4:12, 4:14] = a[4:12, 5:15]
    expected[2, 0:8, 0:10] = np.concatenate([np.zeros((2, 10)), a[0:6, 0:10]])
    expected[3, 15:, 25:] = a[15:, 25:]
    s[:] = 0
    s[:5, :5] = a[15:, 25:]
    expected[4, :8, :10] = s
    expected[5, 0, 0] = a[4, 0]
    np.testing.assert_array_equal(b, expected)


def test_regions_of_different_ranks():
    @T.prim_func
    def kernel(
        A: T.Tensor((3, 5, 4, 7), "float32"),
        B: T.Tensor((5, 7), "float32"),
        C: T.Tensor((3, 5, 4, 7), "float32"),
        D: T.Tensor((4, 7), "float32"),
    ):
        with T.Kernel(1):
            s = T.alloc_shared((5, 7), "float32")
            f = T.alloc_fragment((1, 1, 5, 7), "float32")
            T.copy(A[2, 0:5, 3, 0:7], s)
            T.copy(s, f)
            T.copy(f[0, 0, :, :], B)
            T.copy(f, C[1, 0:5, 0, 0:7])
            row = T.alloc_fragment((7,), "float32")
            T.copy(A[0, 1, 2, :], row)
            T.copy(row, D[3, :])
            T.copy(A[0, 0, 0:3, 0], D[0:3, 1])  # columns
            T.copy(A[1, 1, 1, 1], D[3, 6])  # one element

    a = random((3, 5, 4, 7))
    b, c = np.zeros((5, 7), np.float32), np.zeros_like(a)
    d = np.zeros((4, 7), np.float32)
    run(kernel, a, b, c, d)
    np.testing.assert_array_equal(b, a[2, :, 3])
    expected = np.zeros_like(a)
    expected[1, :, 0] = a[2, :, 3]
    np.testing.assert_array_equal(c, expected)
    expected = np.zeros((4, 7), np.float32)
    expected[3], expected[:3, 1], expected[3, 6] = a[0, 1, 2], a[0, 0, :3, 0], a[1, 1, 1, 1]
    np.testing.assert_array_equal(d, expected)


def every_value(dtype, size):
    """Values that every type of ALL_TYPES can be made of: small, of both signs where there are."""
    kind = T.dtype(dtype)
    if kind.is_bool or kind.is_int:
        return random(size, dtype, high=120)
    x = np.random.default_rng(1).uniform(-110, 110, size).astype(np.float32)
    x[:4] = [0.0, -0.5, 0.9999, -1.5]
    return x.astype(storage(dtype))


def converted(x, to):
    """`x` as type `to`: integers from floats by truncation, small floats saturating."""
    kind = T.dtype(to)
    if kind.is_bool:
        return x.astype(np.float64) != 0
    if kind.is_int:
        whole = x.astype(np.int64) if x.dtype.kind in "biu" else np.trunc(x.astype(np.float64))
        return whole.astype(np.int64).astype(storage(to))
    exact = x.astype(np.float64) if x.dtype.kind not in "biu" else x.astype(np.int64)
    if kind.bits <= 8:
        largest = float(kind.max_value())
        exact = np.clip(exact.astype(np.float32), -largest, largest)
    return np.asarray(exact, np.float32 if kind.bits <= 16 else None).astype(storage(to))


@pytest.mark.parametrize("source", ALL_TYPES)
def test_conversion_to_every_type(source):
    """One launch per destination type."""
    size = 61
    outputs = ", ".join(f"Z{k}: T.Tensor(({size},), '{to}')" for k, to in enumerate(ALL_TYPES))
    launches = "".join(
        f"""
    with T.Kernel(1):
        s = T.alloc_shared(({size},), '{source}')
        f = T.alloc_fragment(({size},), '{to}')
        T.copy(A, s)
        T.copy(s, f)
        T.copy(f, Z{k})
"""
        for k, to in enumerate(ALL_TYPES)
    )
    kernel = from_script(f"""
import tilelang.language as T
@T.prim_func
def kernel(A: T.Tensor(({size},), '{source}'), {outputs}):{launches}""")
    a = every_value(source, size)
    results = [np.zeros(size, storage(to)) for to in ALL_TYPES]
    run(kernel, a, *results)
    for to, z in zip(ALL_TYPES, results):
        x = a
        if to.startswith("u") and a.dtype.kind not in "biu":
            keep = a.astype(np.float64) > -1  # a negative float has no unsigned value
            x, z = a[keep], z[keep]
        if to == "int8":
            keep = np.abs(x.astype(np.float64)) < 128
            x, z = x[keep], z[keep]
        np.testing.assert_array_equal(z, converted(x, to), err_msg=f"{source} to {to}")


def test_safe_values():
    @T.prim_func
    def kernel(
        A: T.Tensor((5, 6), "float32"),
        H: T.Tensor((9,), "float16"),
        B: T.Tensor((4, 8, 8), "float32"),
    ):
        with T.Kernel(1):
            s = T.alloc_shared((8, 8), "float32")
            T.copy(A[0:8, 0:8], s)
            T.copy(s, B[0, 0:8, 0:8])
            T.annotate_safe_value({A: -3.5, H: 2})
            T.copy(A[0:8, 0:8], s)
            T.copy(s, B[1, 0:8, 0:8])
            f = T.alloc_fragment((8, 8), "float32")
            for i, j in T.Parallel(8, 8):
                f[i, j] = A[i, j]
            T.copy(f, B[2, 0:8, 0:8])
            T.copy(H[4:12], s[0, 0:8])  # the value is of the source, converted like an element
            T.copy(s[0:1, 0:8], B[3, 0:1, 0:8])

    a, h, b = random((5, 6)), random((9,), "float16"), np.zeros((4, 8, 8), np.float32)
    run(kernel, a, h, b)
    for row, outside in ((0, 0.0), (1, -3.5), (2, -3.5)):
        expected = np.full((8, 8), outside, np.float32)
        expected[:5, :6] = a
        np.testing.assert_array_equal(b[row], expected)
    np.testing.assert_array_equal(b[3, 0], [*h[4:9].astype(np.float32), 2, 2, 2])


def test_strided_sources_and_destinations():
    s, t, u, v = T.dynamic("s, t, u, v")

    @T.prim_func
    def kernel(
        A: T.StridedTensor((9, 11), (s, t), "float32"),
        B: T.Tensor((9, 11), "float32"),
        C: T.StridedTensor((9, 11), (u, v), "float32"),
    ):
        with T.Kernel(2, 2) as (bx, by):
            x = T.alloc_shared((5, 6), "float32")
            T.copy(A[by * 5, bx * 6], x)
            T.copy(x, B[by * 5, bx * 6])
            T.copy(x, C[by * 5, bx * 6])

    def windows(base):
        return base[:9, :11], base[::4, ::3][:9, :11], base.T[:9, :11]

    sources, targets = random((40, 40)), np.zeros((40, 40), np.float32)
    for a, c in zip(windows(sources), reversed(windows(targets))):
        b = np.zeros((9, 11), np.float32)
        targets[:] = 0
        run(kernel, a, b, c)
        np.testing.assert_array_equal(b, a)
        np.testing.assert_array_equal(c, a)
        c[:] = 0
        assert not targets.any()


@pytest.mark.parametrize("shape", [(1, 1), (17, 1), (1, 19), (31, 37), (64, 64)])
def test_dynamic_shapes(shape):
    m, n = T.dynamic("m, n")

    @T.prim_func
    def kernel(A: T.Tensor((m, n), "bfloat16"), B: T.Tensor((n, m), "float32")):
        with T.Kernel(T.ceildiv(n, 16), T.ceildiv(m, 8)) as (bx, by):
            x = T.alloc_shared((8, 16), "bfloat16")
            y = T.alloc_shared((16, 8), "float32")
            T.copy(A[by * 8, bx * 16], x)
            T.transpose(x, y)
            T.copy(y, B[bx * 16, by * 8])

    a = random(shape, "bfloat16")
    b = np.full(shape[::-1], np.nan, np.float32)
    run(kernel, a, b)
    np.testing.assert_array_equal(b, a.T.astype(np.float32))


def test_run_time_lengths_into_larger_tiles():
    n = T.dynamic("n")

    @T.prim_func
    def kernel(A: T.Tensor((n,), "float32"), length: T.int32, B: T.Tensor((3, 40), "float32")):
        with T.Kernel(1):
            x = T.alloc_shared((41,), "float32")
            T.fill(x, 9.0)
            T.copy(A[0:length], x[0:length])
            T.copy(x[0:40], B[0, 0:40])
            T.copy(x[1 : length + 1], B[1, 0:length])
            T.copy(A[0:n], B[2, 0:n])

    for size, length in ((40, 40), (40, 0), (23, 17), (1, 1)):
        a, b = random((size,)), np.zeros((3, 40), np.float32)
        run(kernel, a, length, b)
        x = np.full(41, 9, np.float32)
        x[:length] = a[:length]
        np.testing.assert_array_equal(b[0], x[:40])
        expected = np.zeros(40, np.float32)
        expected[: min(length, 39)] = x[1 : length + 1][: min(length, 39)]
        np.testing.assert_array_equal(b[1][: min(length, 39)], expected[: min(length, 39)])
        np.testing.assert_array_equal(b[2][:size], a)


def test_hints_and_asynchronous_copies():
    @T.prim_func
    def kernel(A: T.Tensor((32, 32), "float16"), B: T.Tensor((3, 32, 32), "float16")):
        with T.Kernel(1):
            x = T.alloc_shared((32, 32), "float16")
            T.copy(A, x, coalesced_width=4, disable_tma=True, eviction_policy="evict_first")
            T.copy(x, B[0, 0:32, 0:32], prefer_instruction="sync", annotations={"note": 1})
            T.clear(x)
            T.async_copy(A, x, coalesced_width=8)
            T.ptx_wait_group(0)
            T.sync_threads()
            T.copy(x, B[1, 0:32, 0:32])
            T.transpose(A, x)
            T.copy(x, B[2, 0:32, 0:32])

    a, b = random((32, 32), "float16"), np.zeros((3, 32, 32), np.float16)
    run(kernel, a, b)
    np.testing.assert_array_equal(b, np.stack([a, a, a.T]))


def test_a_copy_onto_itself_keeps_the_values():
    """Source and destination overlap: the whole source is read before anything is written."""

    @T.prim_func
    def kernel(A: T.Tensor((4, 9), "float32")):
        with T.Kernel(1):
            x = T.alloc_shared((4, 9), "float32")
            T.copy(A, x)
            T.copy(x, x)
            T.copy(x, A)

    a = random((4, 9))
    before = a.copy()
    run(kernel, a)
    np.testing.assert_array_equal(a, before)


def test_im2col():
    """A 3 x 3 convolution with padding and stride, against a direct sum."""
    h, w, c, f = 9, 7, 5, 6
    oh, ow = (h + 2 - 3) // 2 + 1, (w + 2 - 3) // 2 + 1
    rows = 8

    @T.prim_func
    def kernel(
        img: T.Tensor((2, h, w, c), "float32"),
        K: T.Tensor((9 * c, f), "float32"),
        Z: T.Tensor((2 * oh * ow, f), "float32"),
    ):
        with T.Kernel(T.ceildiv(2 * oh * ow, rows)) as bx:
            cols = T.alloc_shared((rows, 9 * c), "float32")
            weights = T.alloc_shared((9 * c, f), "float32")
            acc = T.alloc_fragment((rows, f), "float32")
            T.im2col(img, cols, bx, 0, 3, 2, 1, 1)
            T.copy(K, weights)
            T.gemm(cols, weights, acc, clear_accum=True)
            T.copy(acc, Z[bx * rows, 0])

    img, k = random((2, h, w, c)), random((9 * c, f), seed=1)
    z = np.zeros((2 * oh * ow, f), np.float32)
    run(kernel, img, k, z)
    padded = np.pad(img.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.stack([
        padded[b, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3].ravel()
        for b in range(2) for y in range(oh) for x in range(ow)
    ])  # fmt: skip
    np.testing.assert_allclose(z, patches @ k.astype(np.float64), rtol=1e-4, atol=1e-4)
