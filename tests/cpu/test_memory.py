"""Buffers on the CPU: fills, allocations in every scope, views, pointers, packed types, hints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tilelang
import tilelang.language as T
from tests.cpu.arrays import random, run, storage

PLAIN = ["float32", "float64", "float16", "bfloat16", "int8", "uint16", "int64", "bool",
         "float8_e5m2"]  # fmt: skip


@pytest.mark.parametrize("dtype", PLAIN)
def test_fill_and_clear_in_every_scope(dtype):
    @T.prim_func
    def kernel(Z: T.Tensor((9, 6), dtype)):
        work = T.alloc_global((6,), dtype)
        with T.Kernel(1):
            T.fill(Z, 1)
            s, f = T.alloc_shared((6,), dtype), T.alloc_fragment((6,), dtype)
            l = T.alloc_local((6,), dtype)
            for row, buffer in enumerate((s, f, l, work)):
                T.fill(buffer, 1)
                T.fill(buffer[2:4], 0)
                T.clear(buffer[5])
                T.copy(buffer, Z[row, 0:6])
                T.clear(buffer)
                T.copy(buffer, Z[row + 4, 0:6])
            T.clear(Z[8, 1:3])

    z = np.zeros((9, 6), storage(dtype))
    run(kernel, z)
    expected = np.array([[1, 1, 0, 0, 1, 0]] * 4 + [[0] * 6] * 4 + [[1, 0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(z.astype(int), expected)


def test_fill_of_regions_with_bounds_known_at_run_time():
    n = T.dynamic("n")

    @T.prim_func
    def kernel(a: T.int32, b: T.int32, Z: T.Tensor((n, 10), "float32")):
        with T.Kernel(1):
            T.fill(Z, -1.5)
            s = T.alloc_shared((8, 10), "float32")
            T.fill(s, 2)
            T.fill(s[a:b, 3:7], a + b)
            for row in T.serial(a):
                T.clear(s[row : row + 1, 0:row])
            T.copy(s, Z[0, 0])
            T.fill(Z[n - 1, a:b], T.infinity("float32"))

    for a, b in ((0, 8), (2, 5), (4, 4), (7, 8)):
        z = np.zeros((11, 10), np.float32)
        run(kernel, a, b, z)
        expected = np.full((11, 10), -1.5, np.float32)
        expected[:8] = 2
        expected[a:b, 3:7] = a + b
        for row in range(a):
            expected[row, :row] = 0
        expected[-1, a:b] = np.inf
        np.testing.assert_array_equal(z, expected, err_msg=f"{a}:{b}")


def test_variables():
    """Start values, conversions, scopes, arithmetic in the variable's own type."""

    @T.prim_func
    def kernel(
        A: T.Tensor((2,), "float32"), Z: T.Tensor((8,), "float64"), W: T.Tensor((1,), "uint8")
    ):
        with T.Kernel(1):
            zero = T.alloc_var("int32")
            half = T.alloc_var("float16", 0.1)
            computed = T.alloc_var("float32", A[0] * 2.0)
            named = T.alloc_var("int64", 2**40, "local.var")
            keyword = T.alloc_var("int32", init=-7)
            small = T.alloc_var("uint8", 250)
            flag = T.alloc_var("bool", A[0] > A[1])
            small += 10
            keyword = A[1]
            Z[0] = zero
            Z[1] = half
            Z[2] = computed
            Z[3] = named
            Z[4] = keyword
            Z[5] = small
            Z[6] = T.if_then_else(flag, 1.0, 2.0)
            zero[0] = 5
            copied = zero
            zero = 6
            Z[7] = copied * 10 + zero
            W[0] = small

    z, w = np.zeros(8), np.zeros(1, np.uint8)
    run(kernel, np.array([1.25, -3.75], np.float32), z, w)
    assert list(z) == [0, float(np.float16(0.1)), 2.5, 2.0**40, -3, 4, 1, 56]
    assert w[0] == 4


def test_private_arrays_and_static_shared_memory():
    @T.prim_func
    def kernel(A: T.Tensor((32, 4), "float32"), Z: T.Tensor((32,), "float32")):
        with T.Kernel(1, threads=32):
            tx = T.get_thread_binding()
            mine = T.alloc_local((2, 2), "float32")
            s = T.alloc_shared((32,), "float32", scope="shared")
            for i, j in T.grid(2, 2):
                mine[i, j] = A[tx, i * 2 + j]
            s[tx] = mine[0, 0] * mine[1, 1] - mine[0, 1] * mine[1, 0]
            T.sync_threads()
            Z[tx] = s[31 - tx]

    a, z = random((32, 4)), np.zeros(32, np.float32)
    run(kernel, a, z)
    det = a[:, 0] * a[:, 3] - a[:, 1] * a[:, 2]
    np.testing.assert_allclose(z, det[::-1], rtol=1e-5, atol=1e-6)


def test_views_of_another_shape_or_type():
    @T.prim_func
    def kernel(
        A: T.Tensor((4, 6), "float32"), Z: T.Tensor((24,), "float32"),
        U: T.Tensor((4, 6), "uint32"), H: T.Tensor((4, 12), "uint16"), Q: T.Tensor((3,), "float64"),
    ):  # fmt: skip
        with T.Kernel(1):
            s, f = T.alloc_shared((4, 6), "float32"), T.alloc_fragment((4, 6), "float32")
            T.copy(A, s)
            T.copy(A, f)
            T.copy(T.reshape(s, (24,)), Z)
            T.copy(T.view(s, dtype="uint32"), U)
            halves = T.view(f, (4, 12), dtype="uint16")
            T.copy(halves, H)
            flat = T.reshape(s, (2, 12))
            for i in T.Parallel(12):
                flat[1, i] = flat[0, i]  # seen through every name of the storage
            T.copy(T.reshape(s, 24)[12:24], Z[0:12])
            wide = T.view(s, (3, 4), dtype="float64")
            for i in T.serial(3):
                Q[i] = wide[i, 1]
            T.copy(T.view(A, (24,)), Z[0:24])

    a, z, u = random((4, 6)), np.zeros(24, np.float32), np.zeros((4, 6), np.uint32)
    h, q = np.zeros((4, 12), np.uint16), np.zeros(3)
    run(kernel, a, z, u, h, q)
    np.testing.assert_array_equal(z, a.ravel())
    np.testing.assert_array_equal(u, a.view(np.uint32))
    np.testing.assert_array_equal(h, a.view(np.uint16))
    s = a.ravel().copy()
    s[12:] = s[:12]
    np.testing.assert_array_equal(q.view(np.uint64), s.view(np.uint64).reshape(3, 4)[:, 1])


def test_pointers_tables_of_pointers_and_addresses():
    rows = 5

    @T.prim_func
    def kernel(
        P: T.ptr, table: T.Tensor((rows,), T.ptr), sizes: T.Tensor((rows,), "int32"),
        address: T.int64, Z: T.Tensor((3, rows), "float32"),
    ):  # fmt: skip
        with T.Kernel(rows) as bx:
            A = T.make_tensor(P, (rows, 3), "float32", strides=(1, rows))
            B = T.make_tensor(table[bx], (sizes[bx],), "float32")
            C = T.make_tensor_from_addr(address, (rows,), "float16")
            total = T.alloc_var("float32")
            for i in T.serial(sizes[bx]):
                total += B[i]
            Z[0, bx] = A[bx, 2]
            Z[1, bx] = total
            Z[2, bx] = C[bx]

    p, c = random((3, rows)), random((rows,), "float16")
    arrays = [random((k + 1,), seed=k) for k in range(rows)]
    table = np.array([x.ctypes.data for x in arrays], np.int64)
    z = np.zeros((3, rows), np.float32)
    run(kernel, p, table, np.arange(1, rows + 1, dtype=np.int32), c.ctypes.data, z)
    np.testing.assert_array_equal(z[0], p[2])
    np.testing.assert_allclose(z[1], [x.sum() for x in arrays], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(z[2], c.astype(np.float32))


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_packed_integers(dtype):
    """Reads, writes of either half of a byte, tiles, through shared memory."""
    n = 26

    @T.prim_func
    def kernel(
        A: T.Tensor((3, n), dtype), Z: T.Tensor((3, n), "int32"), B: T.Tensor((3, n), dtype)
    ):
        with T.Kernel(3) as bx:
            s = T.alloc_shared((n,), dtype)
            f = T.alloc_fragment((n,), "int32")
            T.copy(A[bx, 0], s)
            T.copy(s, f)
            T.copy(f, Z[bx, 0:n])
            for i in T.Parallel(n):
                B[bx, i] = s[n - 1 - i]
            B[bx, 3] = 5

    low, high = (-8, 8) if dtype == "int4" else (0, 16)
    values = np.random.default_rng(0).integers(low, high, (3, n))

    def packed(x):
        return ((x[:, ::2] & 15) | ((x[:, 1::2] & 15) << 4)).astype(np.uint8)

    kind = np.int8 if dtype == "int4" else np.uint8
    a, z, b = packed(values).view(kind), np.zeros((3, n), np.int32), np.zeros((3, n // 2), kind)
    run(kernel, a, z, b)
    np.testing.assert_array_equal(z, values)
    expected = values[:, ::-1].copy()
    expected[:, 3] = 5
    np.testing.assert_array_equal(b.view(np.uint8), packed(expected))


@pytest.mark.parametrize("threads", [32, 100])
def test_neighbouring_threads_write_the_halves_of_a_byte(threads):
    """An odd number of elements; the unused half of the last byte keeps what it had."""
    n = 37

    @T.prim_func
    def kernel(A: T.Tensor((n,), "int32"), B: T.Tensor((n,), "int4")):
        with T.Kernel(1, threads=threads):
            s = T.alloc_shared((n,), "int4")
            f = T.alloc_fragment((n,), "int4")
            T.copy(A, s)
            T.copy(s, f)
            T.copy(f, B)

    a = np.random.default_rng(0).integers(-8, 8, n).astype(np.int32)
    b = np.full(n // 2 + 1, 0x5A, np.uint8)
    run(kernel, a, b.view(np.int8))
    halves = np.stack([b & 15, b >> 4], 1).reshape(-1)
    np.testing.assert_array_equal(halves[:n], a & 15)
    assert halves[n] == 5


FLOAT4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


def test_packed_float4():
    """Decoding all values; encoding rounds to the nearest and saturates."""

    @T.prim_func
    def kernel(
        A: T.Tensor((16,), "float4_e2m1fn"), Z: T.Tensor((16,), "float32"),
        X: T.Tensor((40,), "float32"), B: T.Tensor((40,), "float4_e2m1fn"),
    ):  # fmt: skip
        with T.Kernel(1):
            for i in T.Parallel(16):
                Z[i] = A[i]
            T.copy(X, B)

    a = np.array([(2 * k) | ((2 * k + 1) << 4) for k in range(8)], np.uint8).view(np.int8)
    x = np.linspace(-8, 8, 40).astype(np.float32)
    z, b = np.zeros(16, np.float32), np.zeros(20, np.int8)
    run(kernel, a, z, x, b)
    np.testing.assert_array_equal(z, FLOAT4)
    bits = b.view(np.uint8)
    decoded = FLOAT4[np.stack([bits & 15, bits >> 4], 1).ravel()]
    nearest = np.abs(FLOAT4[None] - np.clip(x, -6, 6)[:, None]).min(1)
    np.testing.assert_allclose(np.abs(decoded - np.clip(x, -6, 6)), nearest, atol=1e-6)


def test_workspace_between_launches():
    """Written by one launch and read by the next; a new one for each call; dynamic extents."""
    m, n = T.dynamic("m, n")

    @T.prim_func
    def kernel(A: T.Tensor((m, n), "float32"), Z: T.Tensor((n,), "float32")):
        partial = T.alloc_global((T.ceildiv(m, 4), n), "float32")
        count = T.alloc_global((1,), "int32")
        with T.Kernel(1):
            count[0] = 0
        with T.Kernel(T.ceildiv(m, 4)) as bx:
            for j in T.Parallel(n):
                partial[bx, j] = 0.0
            for i in T.serial(4):
                if bx * 4 + i < m:
                    for j in T.Parallel(n):
                        partial[bx, j] += A[bx * 4 + i, j]
            T.atomic_add(count[0], 1)
        with T.Kernel(T.ceildiv(n, 16)) as bx:
            for j in T.Parallel(16):
                if bx * 16 + j < n:
                    total = T.alloc_var("float32")
                    total = 0.0
                    for i in T.serial(count[0]):
                        total += partial[i, bx * 16 + j]
                    Z[bx * 16 + j] = total

    for shape in ((1, 1), (4, 16), (13, 37)):
        a, z = random(shape), np.zeros(shape[1], np.float32)
        run(kernel, a, z)
        np.testing.assert_allclose(z, a.astype(np.float64).sum(0), rtol=1e-5, atol=1e-5)


def test_hints_are_accepted_and_change_nothing():
    m, n = 32, 48

    @T.prim_func
    def kernel(
        A: T.Tensor((m, n), "float16"),
        B: T.Tensor((n, m), "float16"),
        C: T.Tensor((m, m), "float32"),
    ):
        with T.Kernel(2, 2, threads=128) as (bx, by):
            T.use_swizzle(panel_size=4, order="column")
            T.annotate_l2_hit_ratio({A: 0.5})
            T.annotate_restrict_buffers(A)
            T.annotate_min_blocks_per_sm(2)
            T.func_attr({"note": 1})
            T.block_attr({"more": 2})
            T.disable_warp_group_reg_alloc()
            T.no_set_max_nreg()
            T.set_max_nreg(240, 1)
            T.inc_max_nreg(240)
            T.dec_max_nreg(24)
            T.annotate_producer_reg_dealloc()
            T.annotate_consumer_reg_alloc()
            T.fence_proxy_async()
            T.assume(bx < 2)
            a, b = T.alloc_shared((16, n), "float16"), T.alloc_shared((n, 16), "float16")
            c = T.alloc_fragment((16, 16), "float32")
            T.annotate_layout({
                a: T.Layout((16, n), lambda i, j: i * n + ((j // 8) ^ (i % 2)) * 8 + j % 8),
                b: lambda i, j: (j, i),
            })  # fmt: skip
            T.copy(A[by * 16, 0], a)
            T.copy(B[0, bx * 16], b)
            with T.attr(c, "custom", 1):
                T.gemm(a, b, c, clear_accum=True)
            T.copy(c, C[by * 16, bx * 16])

    a, b, c = random((m, n), "float16"), random((n, m), "float16", 1), np.zeros((m, m), np.float32)
    run(kernel, a, b, c)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-3)


def test_a_fragment_annotated_to_memory_of_one_thread_changes_nothing():
    @T.prim_func
    def kernel(A: T.Tensor((4, 8), "float32"), Z: T.Tensor((4,), "float32")):
        with T.Kernel(4, threads=32) as bx:
            total = T.alloc_local((1,), "float32")
            T.annotate_layout({total: T.Fragment(total.shape, forward_thread_fn=lambda i: i)})
            total[0] = 0.0
            for k in T.serial(8):
                total[0] += A[bx, k]
            if T.get_thread_binding() == 31:
                Z[bx] = total[0]

    a, z = random((4, 8)), np.zeros(4, np.float32)
    run(kernel, a, z)
    np.testing.assert_allclose(z, a.sum(axis=1), rtol=1e-5)


def test_annotated_layouts_put_elements_where_they_say_and_views_see_the_bytes():
    """A view of a swizzled buffer names elements as the buffer does."""

    @T.prim_func
    def kernel(
        A: T.Tensor((8, 64), "float16"),
        Z: T.Tensor((8, 64), "uint16"),
        B: T.Tensor((8, 64), "float16"),
    ):
        with T.Kernel(1):
            s = T.alloc_shared((8, 64), "float16")
            T.annotate_layout({s: T.Layout((8, 64), lambda i, j: [i, ((j // 8) ^ i) * 8 + j % 8])})
            T.copy(A, s)
            bits = T.view(s, dtype="uint16")
            for i, j in T.Parallel(8, 64):
                Z[i, j] = bits[i, j]
            for i, j in T.Parallel(8, 64):
                B[i, j] = s[i, 63 - j]

    a = random((8, 64), "float16")
    z, b = np.zeros((8, 64), np.uint16), np.zeros((8, 64), np.float16)
    run(kernel, a, z, b)
    np.testing.assert_array_equal(z, a.view(np.uint16))
    np.testing.assert_array_equal(b, a[:, ::-1])


def test_overlapping_arguments_without_restrict():
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32"), B: T.Tensor((64,), "float32")):
        with T.Kernel(1):
            T.annotate_restrict_buffers(A, B)
            for i in T.serial(1, 64):
                B[i] = A[i - 1] + 1.0

    a = np.zeros(64, np.float32)
    run(kernel, a, a)
    assert list(a) == list(range(64))


def test_torch_tensors_of_every_type():
    types = ["bool", "int8", "uint8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
             "float64", "float8_e4m3fn", "float8_e5m2"]  # fmt: skip

    for dtype in types:

        @T.prim_func
        def kernel(A: T.Tensor((5, 7), dtype), Z: T.Tensor((7, 5), dtype)):
            with T.Kernel(1):
                for i, j in T.Parallel(5, 7):
                    Z[j, i] = A[i, j]

        a = torch.from_numpy(random((5, 7), "float32")).to(T.dtype(dtype).as_torch())
        z = tilelang.compile(kernel, out_idx=-1)(a)
        assert z.dtype == a.dtype and z.shape == (7, 5)
        assert torch.equal(z.float(), a.float().T)
