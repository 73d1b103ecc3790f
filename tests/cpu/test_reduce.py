"""Reductions, scans, quantifiers and reducers on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.cpu.arrays import EPSILON, random, run, storage, wide

SHAPE = (7, 5, 11)
FLOATS = ["float32", "float64", "float16", "bfloat16"]
INTEGERS = ["int8", "uint8", "int32", "uint32", "int64"]

REFERENCES = {
    "sum": lambda x, axis: x.sum(axis),
    "abssum": lambda x, axis: np.abs(x).sum(axis),
    "max": lambda x, axis: x.max(axis),
    "min": lambda x, axis: x.min(axis),
    "absmax": lambda x, axis: np.abs(x).max(axis),
    "bitand": lambda x, axis: np.bitwise_and.reduce(x, axis),
    "bitor": lambda x, axis: np.bitwise_or.reduce(x, axis),
    "bitxor": lambda x, axis: np.bitwise_xor.reduce(x, axis),
}
COMBINE = {
    "sum": np.add, "abssum": lambda old, new: new, "max": np.maximum, "min": np.minimum,
    "absmax": lambda old, new: np.maximum(np.abs(old), new), "bitand": np.bitwise_and,
    "bitor": np.bitwise_or, "bitxor": np.bitwise_xor,
}  # fmt: skip


def reduce_into(kind, source, out, dim, clear):
    if kind == "abssum":
        T.reduce_abssum(source, out, dim=dim)
    else:
        getattr(T, f"reduce_{kind}")(source, out, dim=dim, clear=clear)


def check_all(dtype, kinds, scope):
    """Each kind along each axis, started afresh and combined with 3: one kernel for all."""
    cases = [(kind, axis, clear) for kind in kinds for axis in range(3) for clear in (True, False)]
    outputs = [SHAPE[:axis] + SHAPE[axis + 1 :] for axis in range(3)]
    most = max(int(np.prod(s)) for s in outputs)

    @T.prim_func
    def kernel(A: T.Tensor(SHAPE, dtype), Z: T.Tensor((len(cases), most), dtype)):
        with T.Kernel(1):
            allocate = T.alloc_fragment if scope == "fragment" else T.alloc_shared
            x = allocate(SHAPE, dtype)
            T.copy(A, x)
            for row, (kind, axis, clear) in enumerate(cases):
                shape = outputs[axis]
                out = allocate(shape, dtype)
                T.fill(out, 3)
                reduce_into(kind, x, out, axis - 3 if clear else axis, clear)
                for i, j in T.Parallel(*shape):
                    Z[row, i * shape[1] + j] = out[i, j]

    a = random(SHAPE, dtype, high=100)
    z = np.zeros((len(cases), most), storage(dtype))
    run(kernel, a, z)
    for (kind, axis, clear), row in zip(cases, z):
        x = a if kind.startswith("bit") else wide(a)
        expected = REFERENCES[kind](x, axis)
        if not clear:
            expected = COMBINE[kind](np.asarray(3, x.dtype), expected)
        got = row[: expected.size].reshape(expected.shape)
        name = f"{kind} axis={axis} clear={clear}"
        if dtype in FLOATS:
            limit = 12 * EPSILON[dtype] * (np.abs(wide(a)).sum(axis) + 3)
            assert (np.abs(wide(got) - expected) <= limit).all(), name
            if "sum" not in kind:
                np.testing.assert_array_equal(wide(got), expected, err_msg=name)
        else:
            np.testing.assert_array_equal(got, expected.astype(storage(dtype)), err_msg=name)


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_along_every_axis(dtype):
    check_all(dtype, ["sum", "abssum", "max", "min", "absmax"], "fragment")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_along_every_axis(dtype):
    check_all(dtype, list(REFERENCES), "fragment")


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_shared_memory(dtype):
    check_all(dtype, ["sum", "abssum", "max", "min", "absmax"], "shared")


def test_bool():
    @T.prim_func
    def kernel(A: T.Tensor((6, 9), "bool"), Z: T.Tensor((3, 6), "bool")):
        with T.Kernel(1):
            x, out = T.alloc_fragment((6, 9), "bool"), T.alloc_fragment((6,), "bool")
            T.copy(A, x)
            for row, op in enumerate((T.reduce_bitand, T.reduce_bitor, T.reduce_bitxor)):
                op(x, out, dim=1)
                T.copy(out, Z[row, 0:6])

    a = random((6, 9), "bool")
    a[0], a[1] = True, False
    z = np.zeros((3, 6), bool)
    run(kernel, a, z)
    np.testing.assert_array_equal(z, [a.all(1), a.any(1), a.sum(1) % 2 == 1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (37, 1), (64, 3), (3, 64)])
def test_kept_axes_axes_of_one_and_vectors(shape):
    m, n = shape

    @T.prim_func
    def kernel(
        A: T.Tensor(shape, "float32"), R: T.Tensor((m, 1), "float32"),
        C: T.Tensor((1, n), "float32"), S: T.Tensor((1,), "float32"),
    ):  # fmt: skip
        with T.Kernel(1, threads=128):
            x = T.alloc_fragment(shape, "float32")
            r, c = T.alloc_fragment((m, 1), "float32"), T.alloc_fragment((1, n), "float32")
            line, s = T.alloc_fragment((m,), "float32"), T.alloc_fragment((1,), "float32")
            T.copy(A, x)
            T.reduce_max(x, r, dim=1)
            T.reduce(x, c, "sum", 0)
            T.reduce_min(x, line, dim=-1)
            T.reduce_sum(line, s)
            T.copy(r, R)
            T.copy(c, C)
            T.copy(s, S)

    a = random(shape)
    r, c, s = np.zeros((m, 1), np.float32), np.zeros((1, n), np.float32), np.zeros(1, np.float32)
    run(kernel, a, r, c, s)
    np.testing.assert_array_equal(r, a.max(1, keepdims=True))
    np.testing.assert_allclose(c, wide(a).sum(0, keepdims=True), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(s[0], wide(a).min(1).sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_nan_loses_or_wins(dtype):
    names = ["max", "min", "absmax"]

    @T.prim_func
    def kernel(A: T.Tensor((8, 33), dtype), Z: T.Tensor((6, 8), dtype)):
        with T.Kernel(1):
            x, out = T.alloc_fragment((8, 33), dtype), T.alloc_fragment((8,), dtype)
            T.copy(A, x)
            for row, name in enumerate(names):
                for wins in (False, True):
                    getattr(T, f"reduce_{name}")(x, out, dim=1, nan_propagate=wins)
                    T.copy(out, Z[row * 2 + wins, 0:8])

    a = random((8, 33), dtype)
    a[0, 0] = a[1, 32] = a[2, 16] = a[3, ::2] = np.nan
    a[4, 3], a[5, 5] = np.inf, -np.inf
    z = np.zeros((6, 8), storage(dtype))
    run(kernel, a, z)
    x = a.astype(np.float64)
    for row, (name, values) in enumerate({"max": x, "min": x, "absmax": np.abs(x)}.items()):
        loses, wins = (np.fmin, np.minimum) if name == "min" else (np.fmax, np.maximum)
        np.testing.assert_array_equal(wide(z[2 * row]), loses.reduce(values, 1), err_msg=name)
        np.testing.assert_array_equal(wide(z[2 * row + 1]), wins.reduce(values, 1), err_msg=name)


def test_empty_identities_of_extreme_values():
    """Maxima of the lowest values and minima of the highest are found."""
    types = ["int8", "uint8", "int32", "uint32", "int64", "uint64"]

    @T.prim_func
    def kernel(low: T.Tensor((6,), T.ptr), out: T.Tensor((6,), T.ptr)):
        for k, dtype in enumerate(types):
            with T.Kernel(1):
                A, Z = T.make_tensor(low[k], (2, 9), dtype), T.make_tensor(out[k], (2,), dtype)
                x = T.alloc_fragment((2, 9), dtype)
                highest, lowest = T.alloc_fragment((2,), dtype), T.alloc_fragment((2,), dtype)
                T.copy(A, x)
                T.reduce_max(x, highest)
                T.reduce_min(x, lowest)
                Z[0] = highest[0]
                Z[1] = lowest[1]

    limits = [np.array([np.iinfo(d).min, np.iinfo(d).max], d) for d in types]
    inputs = [np.repeat(x[:, None], 9, axis=1) for x in limits]
    results = [np.full(2, 5, d) for d in types]
    run(kernel, *(np.array([x.ctypes.data for x in xs], np.int64) for xs in (inputs, results)))
    for dtype, z in zip(types, results):
        assert list(z) == [np.iinfo(dtype).min, np.iinfo(dtype).max], dtype


def test_the_output_type_is_taken_first_and_may_be_wider():
    @T.prim_func
    def kernel(A: T.Tensor((4, 100), "int8"), H: T.Tensor((4, 100), "float16"),
               Z: T.Tensor((4,), "int32"), F: T.Tensor((4,), "float32")):  # fmt: skip
        with T.Kernel(1):
            x, h = T.alloc_fragment((4, 100), "int8"), T.alloc_shared((4, 100), "float16")
            z, f = T.alloc_fragment((4,), "int32"), T.alloc_fragment((4,), "float32")
            T.copy(A, x)
            T.copy(H, h)
            T.reduce_sum(x, z, dim=1)
            T.reduce_sum(h, f, dim=1)
            T.copy(z, Z)
            T.copy(f, F)

    a, h = np.full((4, 100), 127, np.int8), np.full((4, 100), 2000, np.float16)
    z, f = np.zeros(4, np.int32), np.zeros(4, np.float32)
    run(kernel, a, h, z, f)
    assert (z == 12700).all() and (f == 200000).all()


def test_slices_and_global_operands():
    @T.prim_func
    def kernel(A: T.Tensor((4, 6, 8), "float32"), Z: T.Tensor((3, 8), "float32")):
        with T.Kernel(1):
            s = T.alloc_shared((6, 8), "float32")
            out = T.alloc_fragment((1, 8), "float32")
            T.copy(A[1, 0:6, 0:8], s)
            T.reduce_sum(s[1:5, :], out, dim=0)
            T.copy(out, Z[0:1, 0:8])
            columns = T.alloc_shared((6, 2), "float32")
            T.reduce_max(s[:, 2:5], columns[:, 1:2], dim=1)
            for i in T.Parallel(6):
                Z[1, i] = columns[i, 1]
            T.reduce_min(A[2, 0:6, 0:8], Z[2:3, 0:8], dim=1)

    a, z = random((4, 6, 8)), np.zeros((3, 8), np.float32)
    run(kernel, a, z)
    np.testing.assert_allclose(z[0], a[1, 1:5].sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(z[1], [*a[1, :, 2:5].max(1), 0, 0])
    np.testing.assert_array_equal(z[2], a[2].min(0))


SCANS = [
    (name, dim, reverse)
    for name in ("cumsum", "cummax") for dim in (0, 1, -1) for reverse in (False, True)
]  # fmt: skip


def scanned(x, name, dim, reverse):
    flipped = np.flip(x, dim) if reverse else x
    made = np.cumsum(flipped, dim) if name == "cumsum" else np.maximum.accumulate(flipped, dim)
    return np.flip(made, dim) if reverse else made


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64"])
@pytest.mark.parametrize("shape", [(9, 13), (1, 31), (31, 1)])
def test_scans(shape, dtype):
    """Into another buffer and in place, in shared memory and fragments."""

    @T.prim_func
    def kernel(A: T.Tensor(shape, dtype), Z: T.Tensor((2 * len(SCANS), *shape), dtype)):
        with T.Kernel(1):
            x, y = T.alloc_shared(shape, dtype), T.alloc_fragment(shape, dtype)
            for row, (name, dim, reverse) in enumerate(SCANS):
                T.copy(A, x)
                getattr(T, name)(x, y, dim=dim, reverse=reverse)
                T.copy(y, Z[2 * row, 0 : shape[0], 0 : shape[1]])
                T.copy(A, y)
                getattr(T, name)(y, dim=dim, reverse=reverse)
                T.copy(y, Z[2 * row + 1, 0 : shape[0], 0 : shape[1]])

    a = random(shape, dtype)
    z = np.zeros((2 * len(SCANS), *shape), storage(dtype))
    run(kernel, a, z)
    tolerance = 0.03 if dtype == "float16" else 1e-5
    for row, case in enumerate(SCANS):
        for got in z[2 * row : 2 * row + 2]:
            expected = scanned(wide(a), *case)
            np.testing.assert_allclose(wide(got), expected, tolerance, tolerance, err_msg=str(case))


def test_scans_of_vectors_slices_and_views():
    @T.prim_func
    def kernel(A: T.Tensor((24,), "float32"), Z: T.Tensor((3, 24), "float32")):
        with T.Kernel(1):
            x = T.alloc_shared((24,), "float32")
            T.copy(A, x)
            T.cumsum(x)
            T.copy(x, Z[0, 0:24])
            T.copy(A, x)
            T.cummax(x[4:20], reverse=True)
            T.copy(x, Z[1, 0:24])
            T.copy(A, x)
            T.cumsum(T.view(x, (4, 6)), dim=1)
            T.copy(x, Z[2, 0:24])

    a, z = random((24,)), np.zeros((3, 24), np.float32)
    run(kernel, a, z)
    np.testing.assert_allclose(z[0], np.cumsum(wide(a)), rtol=1e-5, atol=1e-5)
    expected = a.copy()
    expected[4:20] = np.maximum.accumulate(a[4:20][::-1])[::-1]
    np.testing.assert_array_equal(z[1], expected)
    by_row = np.cumsum(wide(a).reshape(4, 6), 1).ravel()
    np.testing.assert_allclose(z[2], by_row, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "uint8"])
def test_any_of_and_all_of(dtype):
    @T.prim_func
    def kernel(A: T.Tensor((6, 11), dtype), Z: T.Tensor((6, 4), "int32")):
        with T.Kernel(6) as bx:
            s = T.alloc_shared((11,), dtype)
            l = T.alloc_local((11,), dtype)
            T.copy(A[bx, 0], s)
            for i in T.serial(11):
                l[i] = A[bx, i]
            Z[bx, 0] = T.if_then_else(T.any_of(s), 1, 0)
            Z[bx, 1] = T.if_then_else(T.all_of(l), 1, 0)
            if T.any_of(A[bx, 2:9]):
                Z[bx, 2] = 1
            if T.all_of(s[3:10]):
                Z[bx, 3] = 1

    a = np.ones((6, 11), storage(dtype))
    a[0] = 0
    a[1, 5] = 0
    a[2, 1:] = 0
    a[3, 10] = 0
    a[4, :3] = 0
    z = np.zeros((6, 4), np.int32)
    run(kernel, a, z)
    b = a.astype(bool)
    expected = np.stack([b.any(1), b.all(1), b[:, 2:9].any(1), b[:, 3:10].all(1)], 1)
    np.testing.assert_array_equal(z.astype(bool), expected)


@pytest.mark.parametrize("replication", ["none", "all"])
def test_reducers_of_the_first_kind(replication):
    m, n = 13, 29

    @T.prim_func
    def kernel(A: T.Tensor((m, n), "float32"), Z: T.Tensor((4, m), "float32")):
        with T.Kernel(1, threads=128):
            x = T.alloc_fragment((m, n), "float32")
            total = T.alloc_reducer((m,), "float32", op="sum", replication=replication)
            high = T.alloc_reducer(m, "float32", op="max", replication=replication)
            low = T.alloc_reducer(m, "float32", op="min")
            T.copy(A, x)
            T.clear(total)
            T.fill(high, -T.infinity("float32"))
            T.fill(low, T.infinity("float32"))
            for i, j in T.Parallel(m, n):
                total[i] += x[i, j]
                high[i] = T.max(high[i], x[i, j])
                low[i] = T.min(x[i, j], low[i])
            T.finalize_reducer(total)
            T.finalize_reducer(high)
            T.finalize_reducer(low)
            T.copy(total, Z[0, 0:m])
            T.copy(high, Z[1, 0:m])
            for i in T.Parallel(m):
                Z[2, i] = low[i]
                Z[3, i] = total[i] * 2.0

    a, z = random((m, n)), np.zeros((4, m), np.float32)
    run(kernel, a, z)
    np.testing.assert_allclose(z[0], wide(a).sum(1), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(z[1], a.max(1))
    np.testing.assert_array_equal(z[2], a.min(1))
    np.testing.assert_array_equal(z[3], z[0] * 2)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32"])
def test_reducers_of_the_second_kind(dtype):
    ops = ["sum", "max", "min"] + ([] if dtype == "float32" else ["bitand", "bitor", "bitxor"])
    m, n = 7, 33

    @T.prim_func
    def kernel(A: T.Tensor((m, n), dtype), Z: T.Tensor((len(ops) + 1, m), dtype)):
        with T.Kernel(1, threads=64):
            for row, op in enumerate(ops):
                r = T.alloc_reducer(m, dtype, op=op)
                out = T.alloc_fragment((m,), dtype)
                T.reducer_init(r)
                for i, j in T.Parallel(m, n):
                    T.reducer_update(r[i], A[i, j])
                for i, j in T.Parallel(m, 2):  # a second loop goes on
                    T.reducer_update(r[i], A[i, n - 1 - j])
                T.finalize_reducer(r, out, batch=2)
                T.copy(out, Z[row, 0:m])
            started = T.alloc_reducer(m, dtype, op="sum")
            T.reducer_init(started, 10)
            for i, j in T.Parallel(m, n):
                T.reducer_update(started[i], A[i, j])
            T.finalize_reducer(started)
            T.copy(started, Z[len(ops), 0:m])

    a = random((m, n), dtype, high=9)
    z = np.zeros((len(ops) + 1, m), storage(dtype))
    run(kernel, a, z)
    twice = np.concatenate([a, a[:, -2:]], 1)
    for op, got in zip(ops, z):
        x = twice if op.startswith("bit") else wide(twice)
        expected = REFERENCES[op](x, 1)
        if dtype == "float32":
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=op)
        else:
            np.testing.assert_array_equal(got, expected.astype(dtype), err_msg=op)
    np.testing.assert_allclose(
        z[-1].astype(np.float64),
        (wide(a).sum(1) + 10).astype(storage(dtype)), rtol=1e-5,
    )  # fmt: skip


def test_a_dynamic_number_of_rows():
    m = T.dynamic("m")

    @T.prim_func
    def kernel(A: T.Tensor((m, 50), "float32"), Z: T.Tensor((m,), "float32")):
        with T.Kernel(T.ceildiv(m, 8)) as bx:
            x, out = T.alloc_fragment((8, 50), "float32"), T.alloc_fragment((8,), "float32")
            T.copy(A[bx * 8, 0], x)
            T.reduce_absmax(x, out, dim=1)
            T.copy(out, Z[bx * 8])

    for rows in (1, 8, 29):
        a, z = random((rows, 50)), np.zeros(rows, np.float32)
        run(kernel, a, z)
        np.testing.assert_array_equal(z, np.abs(a).max(1))
