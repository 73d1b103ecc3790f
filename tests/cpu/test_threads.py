"""Kernels written thread by thread, on the CPU: barriers, shuffles, votes, warp groups, rng."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.cpu.arrays import random, run
from tilelang.errors import ArgumentError, TargetError

N = 96  # three warps


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64"])
def test_elementwise_and_a_tree_in_shared_memory(dtype):
    @T.prim_func
    def kernel(A: T.Tensor((5, 64), dtype), Z: T.Tensor((5,), dtype), R: T.Tensor((5, 64), dtype)):
        with T.Kernel(5, threads=64) as bx:
            tx = T.get_thread_binding()
            s = T.alloc_shared((64,), dtype)
            s[tx] = A[bx, tx]
            T.sync_threads()
            R[bx, tx] = s[63 - tx]
            T.sync_threads()
            for step in T.serial(6):
                if tx < T.shift_right(32, step):
                    s[tx] += s[tx + T.shift_right(32, step)]
                T.sync_threads()
            if tx == 0:
                Z[bx] = s[0]

    a = np.random.default_rng(0).integers(-9, 9, (5, 64)).astype(dtype)
    z, r = np.zeros(5, dtype), np.zeros_like(a)
    run(kernel, a, z, r)
    np.testing.assert_array_equal(z, a.sum(1))
    np.testing.assert_array_equal(r, a[:, ::-1])


def test_bindings_and_extents_in_three_dimensions():
    @T.prim_func
    def kernel(Z: T.Tensor((2, 3, 2, 4, 3, 2), "int32"), E: T.Tensor((6,), "int32")):
        with T.Kernel(2, 3, 2, threads=(2, 3, 4)) as (bx, by, bz):
            tx, ty, tz = T.get_thread_bindings()
            cx, cy, cz = T.get_block_bindings()
            Z[cz, by, cx, tz, ty, tx] = (
                100000 * bx
                + 10000 * cy
                + 1000 * bz
                + 100 * T.get_thread_binding(0)
                + 10 * ty
                + T.get_thread_binding(2)
            )
            if tx + ty + tz + bx + by + bz == 0:
                for k, extent in enumerate((*T.get_thread_extents(), *T.get_block_extents())):
                    E[k] = extent

    z, e = np.zeros((2, 3, 2, 4, 3, 2), np.int32), np.zeros(6, np.int32)
    run(kernel, z, e)
    bz, by, bx, tz, ty, tx = np.indices(z.shape)
    expected = 100000 * bx + 10000 * by + 1000 * bz + 100 * tx + 10 * ty + tz
    np.testing.assert_array_equal(z, expected)
    assert list(e) == [2, 3, 4, 2, 3, 2]


def test_indices_within_warps_and_groups():
    rows = 7

    @T.prim_func
    def kernel(Z: T.Tensor((rows, 256), "int32")):
        with T.Kernel(1, threads=256):
            tx = T.get_thread_binding()
            Z[0, tx] = T.get_lane_idx()
            Z[1, tx] = T.get_warp_idx()
            Z[2, tx] = T.get_warp_idx_sync(64)
            Z[3, tx] = T.get_warp_group_idx()
            Z[4, tx] = T.get_warp_group_idx(16, 2)
            Z[5, tx] = T.if_then_else(T.shuffle_elect(64), 1, 0)
            Z[6, tx] = T.if_then_else(T.shuffle_elect(0), 1, 0)

    z = np.full((rows, 256), -1, np.int32)
    run(kernel, z)
    t = np.arange(256)
    np.testing.assert_array_equal(z[:5], [t % 32, t // 32, t // 64, t // 128, t // 32])
    assert z[5].reshape(-1, 64).sum(1).tolist() == [1] * 4 and z[6].sum() == 1


@pytest.mark.parametrize("dtype", ["float32", "int32", "float16", "int64"])
def test_shuffles_and_warp_reductions(dtype):
    is_int = dtype.startswith("int")

    @T.prim_func
    def kernel(A: T.Tensor((N,), dtype), Z: T.Tensor((11, N), dtype)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            v = A[tx]
            Z[0, tx] = T.shfl_xor(v, 5)
            Z[1, tx] = T.shfl_up(v, 3)
            Z[2, tx] = T.shfl_down(v, 7)
            Z[3, tx] = T.shfl_sync(v, 9)
            Z[4, tx] = T.shfl_sync(v, tx % 8, width=8)
            Z[5, tx] = T.shfl_down(v, 1, 16)
            Z[6, tx] = T.warp_reduce_sum(v)
            Z[7, tx] = T.warp_reduce_max(v)
            Z[8, tx] = T.warp_reduce_min(v)
            if is_int:
                Z[9, tx] = T.warp_reduce_bitand(v)
                Z[10, tx] = T.warp_reduce_bitor(v)

    a = np.random.default_rng(1).integers(-20, 20, N).astype(dtype)
    z = np.zeros((11, N), dtype)
    run(kernel, a, z)
    t = np.arange(N)
    lane, base = t % 32, t - t % 32
    expected = [
        a[t ^ 5], a[np.where(lane >= 3, t - 3, t)], a[np.where(lane + 7 < 32, t + 7, t)],
        a[base + 9], a[t - t % 8 + t % 8], a[np.where(t % 16 + 1 < 16, t + 1, t)],
    ]  # fmt: skip
    np.testing.assert_array_equal(z[:6], expected)
    warps = a.reshape(-1, 32)
    for row, op in ((6, np.add), (7, np.maximum), (8, np.minimum)):
        np.testing.assert_array_equal(z[row], np.repeat(op.reduce(warps, 1), 32))
    if is_int:
        np.testing.assert_array_equal(z[9], np.repeat(np.bitwise_and.reduce(warps, 1), 32))
        np.testing.assert_array_equal(z[10], np.repeat(np.bitwise_or.reduce(warps, 1), 32))


def test_votes():
    @T.prim_func
    def kernel(
        A: T.Tensor((N,), "int32"), Z: T.Tensor((8, N), "int32"), M: T.Tensor((4, N), "uint32")
    ):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            p = A[tx] > 0
            Z[0, tx] = T.any_sync(p)
            Z[1, tx] = T.all_sync(p)
            Z[2, tx] = T.syncthreads_count(p)
            Z[3, tx] = T.syncthreads_and(p)
            Z[4, tx] = T.syncthreads_or(A[tx] > 100)
            Z[5, tx] = T.all_sync(A[tx] > -10)
            M[0, tx] = T.ballot(p)
            M[1, tx] = T.ballot_sync(p)
            M[2, tx] = T.match_any_sync(A[tx])
            M[3, tx] = T.activemask()
            T.sync_warp()
            Z[6, tx] = T.if_then_else(T.match_all_sync(A[tx]) != 0, 1, 0)

    a = np.random.default_rng(2).integers(-2, 3, N).astype(np.int32)
    a[32:64] = 2
    z, m = np.zeros((8, N), np.int32), np.zeros((4, N), np.uint32)
    run(kernel, a, z, m)
    w = a.reshape(-1, 32)

    def spread(x):
        return np.repeat(x, 32)

    bits = 1 << np.arange(32, dtype=np.uint64)
    np.testing.assert_array_equal(z[0] != 0, spread((w > 0).any(1)))
    np.testing.assert_array_equal(z[1] != 0, spread((w > 0).all(1)))
    assert (z[2] == (a > 0).sum()).all() and (z[3] == 0).all() and (z[4] == 0).all()
    assert (z[5] != 0).all()
    for row in (0, 1):
        np.testing.assert_array_equal(m[row], spread(((w > 0) * bits).sum(1)))
    same = [((w[t // 32] == a[t]) * bits).sum() for t in range(N)]
    np.testing.assert_array_equal(m[2], same)
    assert (m[3] == 0xFFFFFFFF).all()
    np.testing.assert_array_equal(z[6], spread((w == w[:, :1]).all(1)))


@pytest.mark.parametrize("op", ["sum", "max"])
def test_allreduce_over_threads(op):
    """A matrix times a vector: threads along x share a row."""
    rows, k = 6, 32

    @T.prim_func
    def kernel(
        A: T.Tensor((rows, 4 * k), "float32"),
        X: T.Tensor((4 * k,), "float32"),
        Z: T.Tensor((rows,), "float32"),
    ):
        with T.Kernel(T.ceildiv(rows, 2), threads=(k, 2)) as bx:
            tx, ty = T.get_thread_binding(0), T.get_thread_binding(1)
            acc, out = T.alloc_local((1,), "float32"), T.alloc_local((1,), "float32")
            acc[0] = 0.0 if op == "sum" else -1e30
            for i in T.serial(4):
                term = A[bx * 2 + ty, i * k + tx] * X[i * k + tx]
                acc[0] = acc[0] + term if op == "sum" else T.max(acc[0], term)
            combine = (lambda x, y: x + y) if op == "sum" else (lambda x, y: T.max(x, y))
            with T.attr(
                T.comm_reducer(combine, [T.float32(0 if op == "sum" else -1e30)]),
                "reduce_scope",
                T.reinterpret(T.uint64(0), dtype="handle"),
            ):
                T.evaluate(T.tvm_thread_allreduce(
                    T.uint32(1), acc[0], True, out[0], tx, dtype="handle"))  # fmt: skip
            if tx == 0:
                Z[bx * 2 + ty] = out[0]

    a, x, z = random((rows, 4 * k)), random((4 * k,), seed=1), np.zeros(rows, np.float32)
    run(kernel, a, x, z)
    terms = a.astype(np.float64) * x
    np.testing.assert_allclose(
        z, terms.sum(1) if op == "sum" else terms.max(1), rtol=1e-4, atol=1e-5
    )


def test_thread_binding_loops():
    @T.prim_func
    def kernel(A: T.Tensor((3, 32), "float32"), Z: T.Tensor((3, 32), "float32")):
        for b in T.thread_binding(3, thread="blockIdx.x"):
            for t in T.thread_binding(0, 32, thread="threadIdx.x"):
                Z[b, t] = A[b, 31 - t]

    a, z = random((3, 32)), np.zeros((3, 32), np.float32)
    run(kernel, a, z)
    np.testing.assert_array_equal(z, a[:, ::-1])


def test_a_thread_binding_without_a_loop_is_the_index():
    @T.prim_func
    def kernel(Z: T.Tensor((2, 4, 8), "int32")):
        with T.Kernel(2, threads=(8, 4)) as bx:
            x = T.thread_binding(0, 8, thread="threadIdx.x")
            y = T.thread_binding(4, "threadIdx.y")
            Z[bx, y, x] = bx * 100 + y * 10 + x

    z = np.zeros((2, 4, 8), np.int32)
    run(kernel, z)
    b, y, x = np.indices(z.shape)
    np.testing.assert_array_equal(z, b * 100 + y * 10 + x)


@pytest.mark.parametrize("count,tag", [(16, "threadIdx.x"), (8, "threadIdx.w"), (3, "blockIdx.x")])
def test_a_thread_binding_of_another_number(count, tag):
    with pytest.raises(ArgumentError, match="thread_binding"):

        @T.prim_func
        def kernel(Z: T.Tensor((8,), "int32")):
            with T.Kernel(2, threads=8):
                x = T.thread_binding(0, count, thread=tag)
                Z[x] = x


def test_warp_groups_work_apart():
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32"), Z: T.Tensor((3, 64), "float32")):
        with T.Kernel(1, threads=256):
            s = T.alloc_shared((64,), "float32")
            with T.ws(0):
                T.copy(A, s)
            T.sync_threads()
            with T.ws(1):
                for i in T.Parallel(64):
                    Z[0, i] = s[i] * 2.0
            tx = T.get_thread_binding()
            if tx < 128:
                T.copy(s, Z[1, 0:64])
            with T.ws(0, 1):
                T.copy(s, Z[2, 0:64])

    a, z = random((64,)), np.zeros((3, 64), np.float32)
    run(kernel, a, z)
    np.testing.assert_array_equal(z, [a * 2, a, a])


def test_a_thread_may_leave_early():
    @T.prim_func
    def kernel(n: T.int32, Z: T.Tensor((64,), "int32")):
        with T.Kernel(1, threads=64):
            tx = T.get_thread_binding()
            if tx >= n:
                T.thread_return()
            Z[tx] = tx + 1

    z = np.zeros(64, np.int32)
    run(kernel, 41, z)
    np.testing.assert_array_equal(z, [*range(1, 42)] + [0] * 23)


def test_random_numbers():
    """Uniform bits and floats, normal floats; the same for one seed, others for another."""
    per_thread = 64

    @T.prim_func
    def kernel(
        seed: T.int32, U: T.Tensor((8, 32, per_thread), "uint32"),
        F: T.Tensor((8, 32, per_thread), "float32"), G: T.Tensor((8, 32, per_thread), "float64"),
    ):  # fmt: skip
        with T.Kernel(8, threads=32) as bx:
            tx = T.get_thread_binding()
            T.rng_init(seed)
            for i in T.serial(per_thread):
                U[bx, tx, i] = T.rng_rand()
                F[bx, tx, i] = T.rng_rand_float()
                G[bx, tx, i] = T.rng_rand_float(bit=64, dist="normal")

    def draw(seed):
        u, f = np.zeros((8, 32, per_thread), np.uint32), np.zeros((8, 32, per_thread), np.float32)
        g = np.zeros((8, 32, per_thread))
        run(kernel, seed, u, f, g)
        return u, f, g

    u, f, g = draw(7)
    for again, once in zip(draw(7), (u, f, g)):
        np.testing.assert_array_equal(again, once)
    assert (draw(8)[0] != u).mean() > 0.999
    count = u.size
    assert len(np.unique(u)) > count - 10  # no two threads share a sequence
    bits = np.unpackbits(u.view(np.uint8)).reshape(-1, 32)
    assert (np.abs(bits.mean(0) - 0.5) < 5 * 0.5 / np.sqrt(count)).all()
    assert (f > 0).all() and (f <= 1).all()
    assert abs(f.mean() - 0.5) < 5 * np.sqrt(1 / 12 / count)
    assert abs(f.var() - 1 / 12) < 0.005
    assert abs(g.mean()) < 5 / np.sqrt(count) and abs(g.std() - 1) < 0.03
    assert abs((g**4).mean() - 3) < 0.3
    flat = f.reshape(256, -1)
    assert abs(np.corrcoef(flat[:-1].ravel(), flat[1:].ravel())[0, 1]) < 5 / np.sqrt(count)
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 5 / np.sqrt(count)


def test_sequences_and_offsets_of_random_numbers():
    @T.prim_func
    def kernel(Z: T.Tensor((3, 8), "uint32")):
        with T.Kernel(1, threads=1):
            T.rng_init(5, seq=3)
            for i in T.serial(8):
                Z[0, i] = T.rng_rand()
            T.rng_init(5, 3, 2)
            for i in T.serial(8):
                Z[1, i] = T.rng_rand()
            T.rng_init(5, seq=4)
            for i in T.serial(8):
                Z[2, i] = T.rng_rand()

    z = np.zeros((3, 8), np.uint32)
    run(kernel, z)
    np.testing.assert_array_equal(z[1, :6], z[0, 2:])
    assert (z[2] != z[0]).all()


def test_generators_that_the_target_does_not_have():
    @T.prim_func
    def kernel(Z: T.Tensor((1,), "uint32")):
        with T.Kernel(1, threads=1):
            T.rng_init(1, generator="curandStateXORWOW_t")
            Z[0] = T.rng_rand()

    with pytest.raises(TargetError, match=r"rng_init.*curandStateXORWOW_t"):
        run(kernel, np.zeros(1, np.uint32))


def test_dp4a():
    @T.prim_func
    def kernel(
        A: T.Tensor((16, 8), "int8"), B: T.Tensor((16, 8), "int8"), C: T.Tensor((16, 2), "int32")
    ):
        with T.Kernel(16) as bx:
            a, b = T.alloc_local((8,), "int8"), T.alloc_local((8,), "int8")
            c = T.alloc_local((1,), "int32")
            for i in T.serial(8):
                a[i] = A[bx, i]
                b[i] = B[bx, i]
            c[0] = 10
            T.dp4a(a, b, c)
            C[bx, 0] = c[0]
            T.dp4a(A[bx, 4], B[bx, 4], C[bx, 1])

    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, (16, 8)).astype(np.int8) for _ in range(2))
    c = np.zeros((16, 2), np.int32)
    run(kernel, a, b, c)
    products = a.astype(np.int32) * b
    np.testing.assert_array_equal(c[:, 0], 10 + products[:, :4].sum(1))
    np.testing.assert_array_equal(c[:, 1], products[:, 4:].sum(1))
