"""Statements and bindings of the language, run on the CPU.

What a kernel computes is what Python would compute.
"""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T


def run(kernel, *arrays):
    """Compile `kernel` for the CPU and call it on `arrays`."""
    tilelang.compile(kernel, target="c")(*arrays)


def random(*shape, seed=0, dtype="float32"):
    values = np.random.default_rng(seed).standard_normal(shape) * 4
    return values.astype(dtype)


def test_let_keeps_its_value_when_the_buffer_changes():
    @T.prim_func
    def kernel(A: T.Tensor((37,), "float32"), B: T.Tensor((37,), "float32")):
        with T.Kernel(1):
            for i in T.serial(37):
                t = T.max(A[i], 1)
                B[i] = t / 2
                A[i] = t * 2

    a, b = random(37), np.full(37, np.nan, np.float32)
    expected = np.maximum(a, 1)
    run(kernel, a, b)
    np.testing.assert_array_equal(b, expected / 2)
    np.testing.assert_array_equal(a, expected * 2)


def test_chained_assignment_and_swaps():
    @T.prim_func
    def kernel(A: T.Tensor((8,), "int32"), B: T.Tensor((8,), "int32")):
        with T.Kernel(1):
            v = T.alloc_var("int32", 3)
            w = T.alloc_var("int32", 5)
            v, w = w, v
            A[0], A[1] = A[1], A[0]
            B[0] = v
            B[1] = w
            B[2] = B[3] = A[2] + 1
            x = y = A[4]
            A[4] = 100
            B[4] = x
            B[5] = y

    a, b = np.arange(8, dtype=np.int32) * 10, np.full(8, -1, np.int32)
    run(kernel, a, b)
    assert list(b[:6]) == [5, 3, 21, 21, 40, 40]
    assert list(a[:5]) == [10, 0, 20, 30, 100]


def test_augmented_assignment_of_variables_and_elements():
    @T.prim_func
    def kernel(A: T.Tensor((10,), "float32")):
        with T.Kernel(1):
            total = T.alloc_var("float32")
            for i in range(10):
                total += A[i]
                A[i] *= 2
                A[i] -= 1
            A[0] = total

    a = random(10)
    before = a.copy()
    run(kernel, a)
    np.testing.assert_allclose(a[0], before.sum(), rtol=1e-5)
    np.testing.assert_array_equal(a[1:], before[1:] * 2 - 1)


@pytest.mark.parametrize("flag", [True, False])
def test_conditions_known_while_tracing_select_a_branch(flag):
    @T.prim_func
    def kernel(B: T.Tensor((2,), "float32")):
        with T.Kernel(1):
            if flag:
                x = 3.0
            else:
                x = 4.0
            B[0] = x
            B[1] = 1.0 if flag and x > 2 else 2.0

    b = np.zeros(2, np.float32)
    run(kernel, b)
    assert list(b) == ([3.0, 1.0] if flag else [4.0, 2.0])


def test_symbolic_branches_loops_break_and_continue():
    @T.prim_func
    def kernel(A: T.Tensor((50,), "int32"), B: T.Tensor((50,), "int32")):
        with T.Kernel(50) as bx:
            count = T.alloc_var("int32")
            x = T.alloc_var("int32", A[bx])
            while x != 1:
                count += 1
                if x % 2 == 0:
                    x = x // 2
                elif x > 10000:
                    break
                else:
                    x = 3 * x + 1
            for i in T.serial(20):
                if i < 5:
                    continue
                if i > 7:
                    break
                count += 1000
            B[bx] = count

    def collatz(x):
        count = 0
        while x != 1:
            count += 1
            if x % 2 == 0:
                x //= 2
            elif x > 10000:
                break
            else:
                x = 3 * x + 1
        return count + 3000

    a, b = np.arange(1, 51, dtype=np.int32), np.zeros(50, np.int32)
    run(kernel, a, b)
    assert list(b) == [collatz(int(x)) for x in a]


def test_comparisons_chain_and_evaluate_the_middle_once():
    @T.prim_func
    def kernel(
        A: T.Tensor((20,), "int32"), B: T.Tensor((20,), "int32"), N: T.Tensor((1,), "int32")
    ):
        with T.Kernel(1):
            for i in T.serial(20):
                B[i] = T.if_then_else(3 < A[i] <= 11 != 7, 1, 0)
            N[0] = T.if_then_else(0 <= T.atomic_add(N[0], 1, return_prev=True) < 5, 50, 60)

    a, b, n = np.arange(20, dtype=np.int32), np.full(20, -1, np.int32), np.array([4], np.int32)
    run(kernel, a, b, n)
    assert list(b) == [int(3 < x <= 11) for x in range(20)]
    assert n[0] == 50


def test_loops_with_steps_of_both_signs_and_symbolic_bounds():
    @T.prim_func
    def kernel(A: T.Tensor((40,), "int32"), S: T.Tensor((4,), "int32")):
        with T.Kernel(1):
            for i in range(1, 10, 3):
                A[i] += 1
            for i in T.serial(19, 10, -4):
                A[i] += 1
            first = S[0]
            for i in T.serial(first, first + 2):
                A[i] += 1
            for i in T.serial(S[1], S[2], S[3]):
                A[i] += 1

    expected = np.zeros(40, np.int32)
    for i in [*range(1, 10, 3), *range(19, 10, -4), *range(20, 22), *range(38, 30, -3)]:
        expected[i] += 1
    a = np.zeros(40, np.int32)
    run(kernel, a, np.array([20, 38, 30, -3], np.int32))
    np.testing.assert_array_equal(a, expected)


def test_python_sequences_unroll():
    @T.prim_func
    def kernel(A: T.Tensor((6,), "int32")):
        with T.Kernel(1):
            for i, value in enumerate([5, 6, 7]):
                A[i] = value
            for i, value in zip((3, 4), [8, 9]):
                if value == 9:
                    break
                A[i] = value

    a = np.zeros(6, np.int32)
    run(kernel, a)
    assert list(a) == [5, 6, 7, 8, 0, 0]


def test_negative_indices_wrap():
    @T.prim_func
    def kernel(A: T.Tensor((16,), "int32"), B: T.Tensor((16,), "int32")):
        with T.Kernel(1):
            B[-1] = A[-3]
            for i in T.serial(4):
                B[i] = A[i - 4]
                B[i - 12] = A[i]

    a, b = np.arange(16, dtype=np.int32), np.full(16, -1, np.int32)
    run(kernel, a, b)
    assert b[15] == 13
    assert list(b[0:4]) == [12, 13, 14, 15]
    assert list(b[4:8]) == [0, 1, 2, 3]


def test_floor_division_and_modulo_of_negative_numbers():
    @T.prim_func
    def kernel(
        A: T.Tensor((30,), "int32"), B: T.Tensor((30, 4), "int32"), D: T.Tensor((1,), "int32")
    ):
        with T.Kernel(1):
            for i in T.Parallel(30):
                B[i, 0] = A[i] // 7
                B[i, 1] = A[i] % 7
                B[i, 2] = T.truncdiv(A[i], D[0])
                B[i, 3] = A[i] // D[0]

    a = np.arange(-15, 15, dtype=np.int32)
    b = np.zeros((30, 4), np.int32)
    run(kernel, a, b, np.array([-4], np.int32))
    np.testing.assert_array_equal(b[:, 0], a // 7)
    np.testing.assert_array_equal(b[:, 1], a % 7)
    np.testing.assert_array_equal(b[:, 2], np.trunc(a / -4).astype(np.int32))
    np.testing.assert_array_equal(b[:, 3], a // -4)


def test_mixed_integer_widths():
    @T.prim_func
    def kernel(
        index: T.Tensor((10,), "int64"),
        A: T.Tensor((100,), "float32"),
        B: T.Tensor((10,), "float32"),
    ):
        with T.Kernel(1):
            for i in T.serial(10):
                B[i] = A[index[i] + i]

    index = np.random.default_rng(0).integers(0, 90, 10)
    a, b = random(100), np.zeros(10, np.float32)
    run(kernel, index, a, b)
    np.testing.assert_array_equal(b, a[index + np.arange(10)])


def test_vector_slices():
    @T.prim_func
    def kernel(A: T.Tensor((4, 16), "float32"), B: T.Tensor((4, 16), "float32")):
        with T.Kernel(4) as bx:
            B[bx, 0:4] = A[bx, 4:8]
            B[bx, 4:12] = A[bx, 0:8] * 2.0
            B[bx, 12:16] = 1.0

    a, b = random(4, 16), np.zeros((4, 16), np.float32)
    run(kernel, a, b)
    np.testing.assert_array_equal(b, np.concatenate([a[:, 4:8], a[:, :8] * 2, np.ones((4, 4))], 1))


def test_guarded_loads_are_not_executed():
    @T.prim_func
    def kernel(A: T.Tensor((8,), "float32"), B: T.Tensor((8,), "float32")):
        with T.Kernel(1):
            for i in T.serial(8):
                B[i] = A[i * 1000000] if i < 1 else 5.0

    a, b = random(8), np.zeros(8, np.float32)
    run(kernel, a, b)
    np.testing.assert_array_equal(b, [a[0]] + [5.0] * 7)


def test_macros_by_value_by_reference_and_with_results():
    @T.macro
    def accumulate(total: T.Ref, value):
        doubled = value * 2
        total = total + doubled
        return doubled + 1

    @T.macro
    def clear_window(window: T.Ref, n):
        for i in T.serial(n):
            window[i] = 0.0

    @T.prim_func
    def kernel(A: T.Tensor((8,), "float32"), B: T.Tensor((8,), "float32")):
        with T.Kernel(1):
            doubled = T.alloc_var("float32", 100.0)
            total = T.alloc_var("float32")
            for i in T.serial(8):
                accumulate(total, A[i])
            B[0] = total
            B[1] = accumulate(B[2], A[0])
            B[3] = doubled
            clear_window(B[4:8], 3)

    a, b = random(8), np.full(8, 7, np.float32)
    run(kernel, a, b)
    np.testing.assert_allclose(b[0], 2 * a.sum(), rtol=1e-5)
    np.testing.assert_allclose(b[1:4], [2 * a[0] + 1, 7 + 2 * a[0], 100], rtol=1e-6)
    assert list(b[4:]) == [0, 0, 0, 7]


@pytest.mark.parametrize("group_size", [1, 2, 3, 8])
@pytest.mark.parametrize("domain", [(5, 7), (3, 4, 5), (1, 1), (2, 9)])
def test_persistent_visits_each_tile_once(domain, group_size):
    blocks = 3

    if len(domain) == 2:

        @T.prim_func
        def kernel(C: T.Tensor(domain, "int32")):
            with T.Kernel(blocks) as bx:
                for i, j in T.Persistent(list(domain), blocks, bx, group_size):
                    T.atomic_add(C[i, j], 1)
    else:

        @T.prim_func
        def kernel(C: T.Tensor(domain, "int32")):
            with T.Kernel(blocks) as bx:
                for i, j, k in T.Persistent(list(domain), blocks, bx, group_size):
                    T.atomic_add(C[i, j, k], 1)

    c = np.zeros(domain, np.int32)
    run(kernel, c)
    assert (c == 1).all()


def test_no_parameters_empty_bodies_and_one_tuples():
    @T.prim_func
    def empty():
        with T.Kernel(4) as (bx,):
            pass

    @T.prim_func
    def dead_load(A: T.Tensor((4,), "float32")):
        with T.Kernel(4) as bx:
            x = A[bx]

    assert tilelang.compile(empty, target="c")() is None
    a = random(4)
    kept = a.copy()
    run(dead_load, a)
    np.testing.assert_array_equal(a, kept)


@pytest.mark.parametrize("n", [0, 1, 7, 128, 1000])
def test_parallel_of_dynamic_extent(n):
    size = T.dynamic("n")

    @T.prim_func
    def kernel(A: T.Tensor((size,), "float32"), B: T.Tensor((size,), "float32")):
        with T.Kernel(1, threads=128):
            for i in T.Parallel(size):
                B[i] = A[i] * 2.0

    a, b = random(max(n, 1))[:n], np.full(n, np.nan, np.float32)
    run(kernel, a, b)
    np.testing.assert_array_equal(b, a * 2)


def test_variable_written_in_a_parallel_loop():
    @T.prim_func
    def kernel(A: T.Tensor((100,), "float32"), B: T.Tensor((100,), "float32")):
        with T.Kernel(1):
            t = T.alloc_var("float32")
            for i in T.Parallel(100):
                t = A[i]
                if t < 0:
                    t = -t
                B[i] = t

    a, b = random(100), np.zeros(100, np.float32)
    run(kernel, a, b)
    np.testing.assert_array_equal(b, np.abs(a))


def test_several_launches_run_in_order():
    @T.prim_func
    def kernel(A: T.Tensor((100,), "float32"), B: T.Tensor((1,), "float32")):
        work = T.alloc_global((10,), "float32")
        with T.Kernel(10) as bx:
            total = T.alloc_var("float32")
            for i in T.serial(10):
                total += A[bx * 10 + i]
            work[bx] = total
        with T.Kernel(1):
            total = T.alloc_var("float32")
            for i in T.serial(10):
                total += work[i]
            B[0] = total

    a, b = random(100), np.zeros(1, np.float32)
    run(kernel, a, b)
    np.testing.assert_allclose(b[0], a.sum(), rtol=1e-4)


def test_grid_of_zero_runs_nothing():
    n = T.dynamic("n")

    @T.prim_func
    def kernel(A: T.Tensor((n,), "float32"), B: T.Tensor((1,), "float32")):
        with T.Kernel(n) as bx:
            B[0] = 1.0

    b = np.zeros(1, np.float32)
    run(kernel, np.zeros(0, np.float32), b)
    assert b[0] == 0


def test_scalars_and_pointers():
    @T.prim_func
    def kernel(P: T.ptr, n: T.int32, scale: T.float32, B: T.Tensor((8,), "float32")):
        with T.Kernel(1):
            A = T.make_tensor(P, (n,), "float32")
            for i in T.Parallel(8):
                B[i] = A[i] * scale

    a, b = random(8), np.zeros(8, np.float32)
    run(kernel, a, 8, 2.5, b)
    np.testing.assert_allclose(b, a * 2.5, rtol=1e-6)


def test_strided_tensors():
    s, t = T.dynamic("s, t")

    @T.prim_func
    def kernel(A: T.StridedTensor((6, 5), (s, t), "float32"), B: T.Tensor((6, 5), "float32")):
        with T.Kernel(1):
            for i, j in T.Parallel(6, 5):
                B[i, j] = A[i, j]

    a = random(12, 20)
    for view in (a[:6, :5], a[::2, ::4], a.T[:6, :5]):
        b = np.zeros((6, 5), np.float32)
        run(kernel, view, b)
        np.testing.assert_array_equal(b, view)


def test_a_statement_repeated_by_a_python_loop_is_no_rebinding(recwarn):
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=32):
            for i in T.serial(4):
                for _, factor in enumerate((3, 4)):
                    value = A[i] * factor
                    A[i] = value + 1

    assert not recwarn.list
