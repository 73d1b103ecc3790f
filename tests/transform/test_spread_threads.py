"""spread_threads: thread code as loops gives what threads in lockstep give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tilelang.language as T
from tests.interpreter import run
from tilelang.ir.expr import Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import For, Launch
from tilelang.ir.verify import verify
from tilelang.ir.visitor import used_vars, walk
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.lower_tile_ops import lower_tile_ops
from tilelang.transform.spread_threads import spread_threads
from tilelang.transform.thread_regions import DivergenceError

CONTEXT = PassContext(Target("c"))


def spread(func: PrimFunc) -> PrimFunc:
    made = spread_threads(lower_tile_ops(func, CONTEXT), CONTEXT)
    verify(made, "thread")
    for launch in (n for n in walk(made) if isinstance(n, Launch)):
        assert not set(used_vars(launch.body)) & set(launch.thread_vars)
    return made


def result(func: PrimFunc, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    copies = {k: v.copy() for k, v in arrays.items()}
    run(func, copies)
    return copies


def check(func: PrimFunc, **arrays: np.ndarray) -> PrimFunc:
    """Running `func` before and after the pass changes the arrays in the same way."""
    made = spread(func)
    before, after = result(func, **arrays), result(made, **arrays)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert any(not np.array_equal(before[n], arrays[n], equal_nan=True) for n in arrays), (
        "no effect"
    )
    return made


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def empty(*shape: int) -> np.ndarray:
    """An output that no kernel leaves as it is."""
    return np.full(shape, -77, np.float32)


def ints(*shape: int, seed: int = 0, high: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.int32)


N = 48
F, I32 = "float32", "int32"


def test_no_thread_index_changes_nothing() -> None:
    @T.prim_func
    def k(A: T.Tensor((N,), F), B: T.Tensor((N,), F)):
        with T.Kernel(1, threads=N):
            for i in T.Parallel(N):
                B[i] = A[i] + 1.0

    lowered = lower_tile_ops(k, CONTEXT)
    assert spread_threads(lowered, CONTEXT) is lowered


def test_elementwise_in_two_dimensions() -> None:
    @T.prim_func
    def k(A: T.Tensor((2, 4, 8), F), B: T.Tensor((2, 4, 8), F)):
        with T.Kernel(2, threads=(8, 4)) as bx:
            tx, ty = T.get_thread_binding(0), T.get_thread_binding(1)
            B[bx, ty, tx] = A[bx, ty, tx] * 2.0 + tx

    check(k, A=floats(2, 4, 8), B=empty(2, 4, 8))


def test_private_values_live_across_a_barrier() -> None:
    @T.prim_func
    def k(A: T.Tensor((N,), F), B: T.Tensor((N,), F)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            S = T.alloc_shared((N,), F)
            x = T.alloc_local((2,), F)
            count = T.alloc_var(I32, 3)
            other = (tx + 7) % N
            loaded = A[tx]
            x[0] = loaded * 2.0
            x[1] = A[other]
            if tx % 3 == 0:
                count = tx
            S[tx] = loaded
            T.sync_threads()
            B[tx] = S[other] + x[0] * x[1] + loaded + count

    check(k, A=floats(N), B=empty(N))


def test_a_barrier_is_put_where_threads_share_memory() -> None:
    @T.prim_func
    def k(A: T.Tensor((N,), F), B: T.Tensor((N,), F)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            S = T.alloc_shared((N,), F)
            S[tx] = A[tx]
            v = S[N - 1 - tx]
            S[tx] = v * 2.0
            B[tx] = S[(tx + 1) % N]

    check(k, A=floats(N), B=empty(N))


def test_private_elements_of_shared_memory_need_no_barrier() -> None:
    @T.prim_func
    def k(A: T.Tensor((N, 4), F), B: T.Tensor((N,), F)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            S = T.alloc_shared((4 * N,), F)
            for j in T.serial(4):
                S[tx * 4 + j] = A[tx, j]
            total = T.alloc_var(F)
            for j in T.serial(4):
                total += S[tx * 4 + j]
            B[tx] = total

    made = check(k, A=floats(N, 4), B=empty(N))
    assert sum(isinstance(n, For) and n.var.name == "tx" for n in walk(made)) == 1


def test_tree_reduction_in_a_loop() -> None:
    @T.prim_func
    def k(A: T.Tensor((3, 64), I32), B: T.Tensor((3,), I32)):
        with T.Kernel(3, threads=64) as bx:
            tx = T.get_thread_binding()
            S = T.alloc_shared((64,), I32)
            S[tx] = A[bx, tx]
            T.sync_threads()
            for step in T.serial(6):
                if tx < (32 >> step):
                    S[tx] = S[tx] + S[tx + (32 >> step)]
                T.sync_threads()
            if tx == 0:
                B[bx] = S[0]

    made = check(k, A=ints(3, 64), B=ints(3))
    out = result(made, A=ints(3, 64), B=ints(3))
    np.testing.assert_array_equal(out["B"], ints(3, 64).sum(1))


def test_accumulator_over_a_loop_with_tile_statements() -> None:
    @T.prim_func
    def k(A: T.Tensor((4, N), F), B: T.Tensor((N,), F)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            S = T.alloc_shared((N,), F)
            total = T.alloc_local((1,), F)
            total[0] = 0.0
            for r in T.serial(4):
                T.copy(A[r, 0:N], S)
                total[0] += S[N - 1 - tx]
            B[tx] = total[0]

    check(k, A=floats(4, N), B=empty(N))


def test_break_and_continue_belong_to_the_thread() -> None:
    @T.prim_func
    def k(A: T.Tensor((N, 16), I32), B: T.Tensor((N,), I32)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            n = T.alloc_var(I32)
            for j in T.serial(16):
                if A[tx, j] % 2 == 0:
                    continue
                if A[tx, j] > 800:
                    break
                n += j
            left = T.alloc_var(I32, init=tx)
            while left > 3:
                left = left // 2
                n += left
            B[tx] = n

    check(k, A=ints(N, 16), B=ints(N))


def test_uniform_while_with_barriers() -> None:
    @T.prim_func
    def k(A: T.Tensor((64,), I32), B: T.Tensor((64,), I32)):
        with T.Kernel(1, threads=64):
            tx = T.get_thread_binding()
            S = T.alloc_shared((64,), I32)
            width = T.alloc_var(I32, 1)
            S[tx] = A[tx]
            while width < 64:
                T.sync_threads()
                v = S[(tx + width) % 64]
                T.sync_threads()
                S[tx] = S[tx] + v
                width = width * 2
            B[tx] = S[tx]

    check(k, A=ints(64), B=ints(64))


def test_shared_atomics_and_their_readers() -> None:
    @T.prim_func
    def k(A: T.Tensor((96,), I32), B: T.Tensor((8,), I32), C: T.Tensor((96,), I32)):
        with T.Kernel(1, threads=96):
            tx = T.get_thread_binding()
            H = T.alloc_shared((8,), I32)
            if tx < 8:
                H[tx] = 0
            T.atomic_add(H[A[tx] % 8], 1)
            if tx < 8:
                B[tx] = H[tx]
            C[tx] = H[A[tx] % 8]

    check(k, A=ints(96), B=ints(8), C=ints(96))


def test_tile_operation_under_a_condition_on_the_thread() -> None:
    @T.prim_func
    def k(A: T.Tensor((2, N), F), B: T.Tensor((N,), F)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            S = T.alloc_shared((N,), F)
            x = T.alloc_var(F)
            if tx < 32:
                T.copy(A[0, 0:N], S)
                x = S[tx] + 1.0
            else:
                x = 5.0
                T.copy(A[1, 0:N], S)
            B[tx] = S[(tx + 1) % N] + x

    check(k, A=floats(2, N), B=empty(N))


def test_warp_groups() -> None:
    @T.prim_func
    def k(A: T.Tensor((256,), F), B: T.Tensor((256,), F)):
        with T.Kernel(1, threads=256):
            tx = T.get_thread_binding()
            S = T.alloc_shared((256,), F)
            x = T.alloc_var(F, 2.0)
            B[tx] = 0.0
            with T.ws(0):
                x = 3.0
                S[tx] = A[tx]
                T.sync_threads()
                B[tx] = S[127 - tx]
            with T.ws(1):
                B[tx] = A[tx] * x
            B[tx] = B[tx] + x

    made = spread(k)
    A = floats(256)
    out = result(made, A=A, B=empty(256))["B"]
    np.testing.assert_array_equal(out[:128], A[127::-1] + np.float32(3))
    np.testing.assert_array_equal(out[128:], A[128:] * np.float32(2) + np.float32(2))


def _shuffled(kind: str, values: np.ndarray, delta: int, width: int) -> np.ndarray:
    """What the shuffle gives, lane by lane."""
    out = values.copy()
    for t in range(len(values)):
        lane = t % 32
        low, high = lane // width * width, lane // width * width + width
        other = {
            "up": lane - delta,
            "down": lane + delta,
            "xor": lane ^ delta,
            "sync": low + delta % width,
        }[kind]
        source = t - lane + other
        is_there = low <= other if kind == "up" else other < high  # earlier groups can be read
        if is_there and source < len(values):
            out[t] = values[source]
    return out


@pytest.mark.parametrize("kind", ["up", "down", "xor", "sync"])
@pytest.mark.parametrize(
    ("delta", "width", "threads"), [(1, 32, 64), (3, 8, 32), (5, 16, 40), (2, 2, 24)]
)
def test_shuffles(kind: str, delta: int, width: int, threads: int) -> None:
    move: Any = getattr(T, f"shfl_{kind}")

    @T.prim_func
    def k(A: T.Tensor((threads,), I32), B: T.Tensor((threads,), I32)):
        with T.Kernel(1, threads=threads):
            tx = T.get_thread_binding()
            v = A[tx]
            B[tx] = move(v, delta, width) + move(v * 2, delta, width)

    A = ints(threads)
    out = result(spread(k), A=A, B=ints(threads))["B"]
    expected = _shuffled(kind, A, delta, width)
    doubled = _shuffled(kind, A * 2, delta, width)
    np.testing.assert_array_equal(out, expected + doubled)


@pytest.mark.parametrize("threads", [32, 64, 80])
def test_warp_reductions_under_a_condition(threads: int) -> None:
    @T.prim_func
    def k(A: T.Tensor((threads,), I32), B: T.Tensor((threads,), I32)):
        with T.Kernel(1, threads=threads):
            tx = T.get_thread_binding()
            B[tx] = T.warp_reduce_max(A[tx])
            if tx % 2 == 0:
                total = T.warp_reduce_sum(A[tx])
                B[tx] = total + T.warp_reduce_min(A[tx])

    A = ints(threads)
    out = result(spread(k), A=A, B=ints(threads))["B"]
    for first in range(0, threads, 32):
        warp = A[first : first + 32]
        np.testing.assert_array_equal(out[first + 1 : first + 32 : 2], warp.max())
        np.testing.assert_array_equal(
            out[first : first + 32 : 2], warp[::2].sum() + warp[::2].min()
        )


@pytest.mark.parametrize("threads", [32, 72])
def test_votes(threads: int) -> None:
    @T.prim_func
    def k(
        A: T.Tensor((threads,), I32), B: T.Tensor((6, threads), "uint32"), C: T.Tensor((3,), I32)
    ):
        with T.Kernel(1, threads=threads):
            tx = T.get_thread_binding()
            big = A[tx] > 500
            B[0, tx] = T.ballot(big)
            B[1, tx] = T.any_sync(A[tx] > 980)
            B[2, tx] = T.all_sync(A[tx] > 20)
            B[3, tx] = T.match_any_sync(A[tx] % 4)
            B[4, tx] = T.match_all_sync(A[tx] // 100000)
            if A[tx] > 300:
                B[5, tx] = T.activemask()
            C[0] = T.syncthreads_count(big)
            C[1] = T.syncthreads_and(A[tx] >= 0)
            C[2] = T.syncthreads_or(A[tx] > 5000)

    A = ints(threads)
    out = result(spread(k), A=A, B=np.zeros((6, threads), np.uint32), C=ints(3))
    for t in range(threads):
        warp = A[t // 32 * 32 : t // 32 * 32 + 32]
        bits = lambda test: sum(1 << k for k, yes in enumerate(test) if yes)  # noqa: E731
        full = (1 << 32) - 1
        assert out["B"][0, t] == bits(warp > 500)
        assert out["B"][1, t] == (warp > 980).any()
        assert out["B"][2, t] == (warp > 20).all()
        assert out["B"][3, t] == bits(warp % 4 == A[t] % 4)
        assert out["B"][4, t] == full
        assert out["B"][5, t] == (bits(warp > 300) if A[t] > 300 else 0)
    np.testing.assert_array_equal(out["C"], [(A > 500).sum(), 1, 0])


def test_allreduce_over_one_axis() -> None:
    @T.prim_func
    def k(A: T.Tensor((4, 8), F), B: T.Tensor((4, 8), F)):
        with T.Kernel(1, threads=(4, 8)):
            tx, ty = T.get_thread_binding(0), T.get_thread_binding(1)
            mine = T.alloc_local((1,), F)
            total = T.alloc_local((1,), F)
            mine[0] = A[tx, ty]
            with T.attr(
                T.comm_reducer(lambda x, y: x + y, [T.float32(0)]),
                "reduce_scope",
                T.reinterpret(T.uint64(0), "handle"),
            ):
                T.evaluate(
                    T.tvm_thread_allreduce(T.uint32(1), mine[0], True, total[0], ty, dtype="handle")
                )
            B[tx, ty] = total[0]

    A = ints(4, 8).astype(np.float32)
    out = result(spread(k), A=A, B=A.copy())["B"]
    np.testing.assert_array_equal(out, np.repeat(A.sum(1, keepdims=True), 8, 1))


def test_thread_binding_loops_make_a_launch() -> None:
    @T.prim_func
    def k(A: T.Tensor((4, 16), F), B: T.Tensor((4, 16), F)):
        with T.Kernel(1, threads=16):
            for b in T.thread_binding(4, "blockIdx.x"):
                for t in T.thread_binding(16, "threadIdx.x"):
                    B[b, t] = A[b, 15 - t]

    A = floats(4, 16)
    out = result(spread(k), A=A, B=empty(4, 16))["B"]
    np.testing.assert_array_equal(out, A[:, ::-1])


@pytest.mark.parametrize("where", ["if", "for"])
def test_a_barrier_that_not_all_reach_is_an_error(where: str) -> None:
    if where == "if":

        @T.prim_func
        def k(B: T.Tensor((N,), F)):
            with T.Kernel(1, threads=N):
                tx = T.get_thread_binding()
                if tx < 5:
                    T.sync_threads()
                B[tx] = 0.0
    else:

        @T.prim_func
        def k(B: T.Tensor((N,), F)):
            with T.Kernel(1, threads=N):
                tx = T.get_thread_binding()
                for _i in T.serial(tx):
                    T.sync_threads()
                B[tx] = 0.0

    with pytest.raises(DivergenceError) as caught:
        spread(k)
    assert "sync_threads" in str(caught.value)
    assert caught.value.span is not None and caught.value.span.file == __file__


def test_random_numbers_have_a_state_per_thread() -> None:
    @T.prim_func
    def k(B: T.Tensor((N,), "uint32")):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            T.rng_init(42)
            T.sync_threads()
            B[tx] = T.rng_rand()

    text = spread(k).script()
    assert "rng_state" in text
    assert str(N) in text


def test_names_stay_unique() -> None:
    @T.prim_func
    def k(A: T.Tensor((N,), F), B: T.Tensor((N,), F)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            S = T.alloc_shared((N,), F)
            lane = tx % 8
            row = (tx - lane) // 8
            S[tx] = A[row * 8 + 7 - lane]
            T.sync_threads()
            B[row * 8 + lane] = S[row * 8 + 7 - lane]

    made = check(k, A=floats(N), B=empty(N))
    bound = [n.var for n in walk(made) if hasattr(n, "var") and isinstance(n.var, Var)]
    assert len(bound) == len(set(bound))


@pytest.mark.parametrize("limit", [48, 20])
def test_each_parallel_iteration_belongs_to_one_thread(limit: int) -> None:
    """An iteration that looks at its thread's private state runs in that thread, and once."""

    @T.prim_func
    def k(B: T.Tensor((96, 2), I32), C: T.Tensor((1,), I32)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            mine = T.alloc_var(I32, init=tx * 10)
            if tx < limit:
                for i, j in T.Parallel(limit, 2):
                    B[i, j] = mine
                    T.atomic_add(C[0], 1)
                    mine = mine + 1

    made = spread(k)
    out = result(made, B=np.full((96, 2), -1, np.int32), C=np.zeros(1, np.int32))
    np.testing.assert_array_equal(out["C"], [limit * 2])
    expected = np.arange(limit)[:, None] * 10 + np.arange(2)[None, :]
    np.testing.assert_array_equal(out["B"][:limit], expected)
    assert (out["B"][limit:] == -1).all()


@pytest.mark.parametrize("limit", [5, N])
def test_a_thread_may_return(limit: int) -> None:
    @T.prim_func
    def k(A: T.Tensor((N,), I32), B: T.Tensor((N,), I32)):
        with T.Kernel(1, threads=N):
            tx = T.get_thread_binding()
            S = T.alloc_shared((N,), I32)
            S[tx] = A[tx]
            B[tx] = 1
            if tx >= limit:
                T.thread_return()
            T.sync_threads()
            B[tx] = 2 + S[N - 1 - tx]
            for i in T.serial(10):
                if i * 100 > A[tx]:
                    B[tx] = B[tx] + i
                    T.thread_return()
            B[tx] = 3

    A = ints(N)
    out = result(spread(k), A=A, B=np.zeros(N, np.int32))["B"]
    steps = A // 100 + 1
    expected = np.where(steps < 10, 2 + A[::-1] + steps, 3)
    np.testing.assert_array_equal(out, np.where(np.arange(N) < limit, expected, 1))
