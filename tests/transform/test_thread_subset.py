"""Work of the block where only some threads run: all of it is done, or it is an error."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.pipeline import run
from tilelang.transform.thread_regions import DivergenceError

TARGET = "cuda -arch=sm_80"
N = 61


def copying(condition):
    @T.prim_func
    def kernel(A: T.Tensor((N,), "float32"), Z: T.Tensor((N,), "float32"), n: T.int32):
        with T.Kernel(1, threads=128) as bx:
            tx = T.get_thread_binding()
            if condition(tx, bx, n):
                T.copy(A, Z)

    return kernel


def lowered(func):
    return run(func, PassContext(Target(TARGET)))


IN_A_ROW = {
    "first": lambda tx, bx, n: tx < 40,
    "one": lambda tx, bx, n: tx == 77,
    "a warp": lambda tx, bx, n: tx // 32 == 2,
    "and the block": lambda tx, bx, n: (tx >= 100) & (bx < n),
}


@pytest.mark.parametrize("name", IN_A_ROW)
def test_threads_in_a_row_share_the_work(name):
    a, z = np.random.default_rng(0).standard_normal(N).astype(np.float32), np.zeros(N, np.float32)
    with tilelang.env.scope(TILELANG_EMULATE=True):
        tilelang.compile(copying(IN_A_ROW[name]), target=TARGET)(a, z, 3)
    np.testing.assert_array_equal(z, a)


@pytest.mark.parametrize(
    "condition, why",
    [
        (lambda tx, bx, n: tx % 2 == 0, "they are not neighbours"),
        (lambda tx, bx, n: (tx < 3) | (tx > 90), "they are not neighbours"),
        (lambda tx, bx, n: tx < n, "known only at run time"),
    ],
)
def test_other_threads_are_an_error_at_the_work(condition, why):
    with pytest.raises(DivergenceError, match=why) as caught:
        lowered(copying(condition))
    assert "T.copy(A, Z)" in str(caught.value)
    assert "differs between threads" in str(caught.value)


def test_the_other_branch_of_a_condition_on_the_block_is_not_guessed():
    @T.prim_func
    def kernel(A: T.Tensor((N,), "float32"), Z: T.Tensor((N,), "float32")):
        with T.Kernel(2, threads=128) as bx:
            if T.And(T.get_thread_binding() < 64, bx == 0):
                T.copy(A, Z)
            else:
                T.clear(Z)

    with pytest.raises(DivergenceError, match="known only at run time"):
        lowered(kernel)


def test_threads_that_stay_away_hold_nothing_of_the_work():
    @T.prim_func
    def kernel(A: T.Tensor((1024,), "float32"), Z: T.Tensor((1024,), "float32")):
        with T.Kernel(1, threads=128):
            f = T.alloc_fragment((1024,), "float32")
            T.copy(A, f)
            if T.get_thread_binding() < 64:
                T.copy(f, Z)

    with pytest.raises(DivergenceError, match="others hold elements of `f`"):
        lowered(kernel)


def test_operations_of_all_threads_are_an_error():
    @T.prim_func
    def kernel(A: T.Tensor((64, 32), "float32"), Z: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=128):
            f, z = T.alloc_fragment((64, 32), "float32"), T.alloc_fragment((64,), "float32")
            T.copy(A, f)
            if T.get_thread_binding() < 64:
                T.reduce_sum(f, z, dim=1)
            T.copy(z, Z)

    with pytest.raises(DivergenceError, match="`reduce` needs all threads"):
        lowered(kernel)


def leaving(condition, *, otherwise=False):
    """As `copying`, where the other threads return first."""

    @T.prim_func
    def kernel(A: T.Tensor((N,), "float32"), Z: T.Tensor((N,), "float32"), n: T.int32):
        with T.Kernel(1, threads=128) as bx:
            tx = T.get_thread_binding()
            if otherwise:
                if condition(tx, bx, n):
                    Z[0] = 7
                else:
                    T.thread_return()
            else:
                if T.Not(condition(tx, bx, n)):
                    T.thread_return()
            T.copy(A, Z)

    return kernel


@pytest.mark.parametrize("otherwise", [False, True])
@pytest.mark.parametrize("name", ["first", "one", "a warp"])
def test_the_threads_that_do_not_return_share_the_work(name, otherwise):
    if otherwise and name != "one":
        pytest.skip("several threads would store Z[0]")
    a, z = np.random.default_rng(0).standard_normal(N).astype(np.float32), np.zeros(N, np.float32)
    with tilelang.env.scope(TILELANG_EMULATE=True):
        tilelang.compile(leaving(IN_A_ROW[name], otherwise=otherwise), target=TARGET)(a, z, 3)
    np.testing.assert_array_equal(z, a)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_return_of_whole_blocks_leaves_the_work_to_all_threads(blocks):
    @T.prim_func
    def kernel(A: T.Tensor((2, N), "float32"), Z: T.Tensor((2, N), "float32"), n: T.int32):
        with T.Kernel(2, threads=128) as bx:
            if bx >= n:
                T.thread_return()
            T.copy(A[bx, 0:N], Z[bx, 0:N])

    rng = np.random.default_rng(0)
    a, z = rng.standard_normal((2, N)).astype(np.float32), np.zeros((2, N), np.float32)
    with tilelang.env.scope(TILELANG_EMULATE=True):
        tilelang.compile(kernel, target=TARGET)(a, z, blocks)
    np.testing.assert_array_equal(z, np.where(np.arange(2)[:, None] < blocks, a, 0))


@pytest.mark.parametrize(
    "condition, why",
    [
        (lambda tx, bx, n: tx % 2 == 0, "they are not neighbours"),
        (lambda tx, bx, n: tx < n, "known only at run time"),
    ],
)
def test_work_that_only_unknown_threads_are_left_to_is_an_error(condition, why):
    with pytest.raises(DivergenceError, match=why) as caught:
        lowered(leaving(condition))
    assert "T.copy(A, Z)" in str(caught.value)


@pytest.mark.parametrize("where", ["loop", "while", "nested"])
def test_work_after_a_return_further_in_is_an_error(where):
    @T.prim_func
    def kernel(A: T.Tensor((N,), "float32"), Z: T.Tensor((N,), "float32"), n: T.int32):
        with T.Kernel(1, threads=128):
            tx = T.get_thread_binding()
            if where == "loop":
                for _ in T.serial(4):
                    T.copy(A, Z)
                    if tx >= 64:
                        T.thread_return()
            elif where == "while":
                i = T.alloc_var("int32", init=0)
                while i < n:
                    T.copy(A, Z)
                    i += 1
                    if tx >= 64:
                        T.thread_return()
            else:
                if n > 3:  # noqa: SIM102
                    if tx >= 64:
                        T.thread_return()
                T.copy(A, Z)

    with pytest.raises(DivergenceError, match="known only at run time"):
        lowered(kernel)


def test_products_after_some_threads_returned_are_an_error():
    @T.prim_func
    def kernel(C: T.Tensor((32, 32), "float32")):
        with T.Kernel(1, threads=128):
            a = T.alloc_shared((32, 32), "float16")
            c = T.alloc_fragment((32, 32), "float32")
            T.clear(a)
            T.clear(c)
            if T.get_thread_binding() >= 64:
                T.thread_return()
            T.gemm(a, a, c)
            T.copy(c, C)

    with pytest.raises(DivergenceError, match="`gemm` needs all threads"):
        lowered(kernel)
