"""Tile loops to loops of one thread: order, vectorisation, attributes, quantifiers."""

import numpy as np
import pytest

import tilelang.language as T
from tests.lowering import check, lower, random_array
from tilelang.ir import annotation as keys
from tilelang.ir.stmt import Allocate, Attr, For, LoopKind
from tilelang.ir.visitor import walk

RNG = np.random.default_rng(5)


def loops(func):
    return [(n.var.name, n.kind) for n in walk(lower(func)) if isinstance(n, For)]


def arrays(**shapes):
    return {n: random_array(RNG, s, "float32") for n, s in shapes.items()}


def test_the_last_loop_is_vectorised():
    @T.prim_func
    def kernel(A: T.Tensor((8, 16), "float32"), B: T.Tensor((8, 16), "float32")):
        with T.Kernel(1):
            for i, j in T.Parallel(8, 16):
                B[i, j] = A[i, j] * 2.0

    assert loops(kernel) == [("i", LoopKind.SERIAL), ("j", LoopKind.VECTORIZED)]
    got = check(kernel, arrays(A=(8, 16), B=(8, 16)))
    np.testing.assert_array_equal(got["B"], got["A"] * 2)


def test_the_loop_along_rows_goes_inside():
    @T.prim_func
    def kernel(A: T.Tensor((16, 8), "float32"), B: T.Tensor((16, 8), "float32")):
        with T.Kernel(1):
            for i, j in T.Parallel(8, 16):
                B[j, i] = A[j, i] + 1.0

    assert loops(kernel) == [("j", LoopKind.SERIAL), ("i", LoopKind.VECTORIZED)]
    got = check(kernel, arrays(A=(16, 8), B=(16, 8)))
    np.testing.assert_array_equal(got["B"], got["A"] + 1)


def test_nested_statement_form_is_one_nest():
    @T.prim_func
    def kernel(B: T.Tensor((8, 16), "float32")):
        with T.Kernel(1):
            for i in T.Parallel(8):
                for j in T.Parallel(16):
                    B[i, j] = T.cast(i * 16 + j, "float32")

    assert loops(kernel) == [("i", LoopKind.SERIAL), ("j", LoopKind.VECTORIZED)]
    got = check(kernel, arrays(B=(8, 16)))["B"]
    np.testing.assert_array_equal(got, np.arange(128).reshape(8, 16))


def _body(kind):
    @T.prim_func
    def variable(A: T.Tensor((16,), "float32"), B: T.Tensor((16,), "float32")):
        with T.Kernel(1):
            best = T.alloc_var("float32", init=-100.0)
            for i in T.Parallel(16):
                best = T.max(best, A[i])
            B[0] = best

    @T.prim_func
    def serial_inside(A: T.Tensor((16,), "float32"), B: T.Tensor((16,), "float32")):
        with T.Kernel(1):
            for i in T.Parallel(16):
                B[i] = 0.0
                for k in T.serial(4):
                    B[i] += A[(i + k) % 16]

    @T.prim_func
    def atomic(A: T.Tensor((16,), "float32"), B: T.Tensor((16,), "float32")):
        with T.Kernel(1):
            for i in T.Parallel(16):
                T.atomic_add(B[i // 4], A[i])

    @T.prim_func
    def scratch(A: T.Tensor((16,), "float32"), B: T.Tensor((16,), "float32")):
        with T.Kernel(1):
            for i in T.Parallel(16):
                x = T.alloc_local((2,), "float32")
                x[0] = A[i]
                x[1] = x[0] * 2.0
                B[i] = x[1]

    @T.prim_func
    def loop_break(A: T.Tensor((16,), "float32"), B: T.Tensor((16,), "float32")):
        with T.Kernel(1):
            for i in T.Parallel(16):
                n = T.alloc_var("int32")
                while n < i:
                    n += 3
                B[i] = A[i] + T.cast(n, "float32")

    return locals()[kind]


@pytest.mark.parametrize("kind", ["variable", "serial_inside", "atomic", "scratch", "loop_break"])
def test_what_must_not_be_vectorised(kind):
    kernel = _body(kind)
    assert all(k is not LoopKind.VECTORIZED for _, k in loops(kernel))
    check(kernel, arrays(A=(16,), B=(16,)), 1e-6)


def test_variables_and_branches_inside_do_not_stop_vectors():
    @T.prim_func
    def kernel(A: T.Tensor((32,), "float32"), B: T.Tensor((32,), "float32")):
        with T.Kernel(1):
            for i in T.Parallel(32):
                x = T.alloc_var("float32")
                x = A[i] * 2.0
                if x > 0.0:
                    B[i] = x
                else:
                    B[i] = -x

    assert loops(kernel) == [("i", LoopKind.VECTORIZED)]
    got = check(kernel, arrays(A=(32,), B=(32,)))
    np.testing.assert_array_equal(got["B"], np.abs(got["A"] * 2))


@pytest.mark.parametrize("n", [0, 1, 13])
def test_run_time_extents(n):
    @T.prim_func
    def kernel(A: T.Tensor((13,), "float32"), B: T.Tensor((13,), "float32"), n: T.int32):
        with T.Kernel(1):
            for i in T.Parallel(n):
                B[i] = A[i] * 3.0

    inputs = arrays(A=(13,), B=(13,))
    got = check(kernel, {**inputs, "n": n})["B"]
    np.testing.assert_array_equal(got[:n], inputs["A"][:n] * 3)
    np.testing.assert_array_equal(got[n:], inputs["B"][n:])


def test_threads_run_in_lockstep_and_share_tiles():
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32"), B: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=64):
            tx = T.get_thread_binding()
            s = T.alloc_shared((64,), "float32")
            s[tx] = A[tx]
            T.sync_threads()
            if tx < 32:
                T.copy(s[0:32], B[32:64])
            B[tx % 32] = s[63 - tx % 32]

    inputs = arrays(A=(64,), B=(64,))
    got = check(kernel, inputs)["B"]
    np.testing.assert_array_equal(got, np.concatenate([inputs["A"][:31:-1], inputs["A"][:32]]))


def test_hints_without_meaning_disappear():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float16"), B: T.Tensor((64, 64), "float16")):
        with T.Kernel(1):
            s = T.alloc_shared((64, 64), "float16")
            T.annotate_layout({s: T.Layout((64, 64), lambda i, j: [j, i])})
            T.use_swizzle(4)
            for k in T.Pipelined(2, num_stages=3):
                T.copy(A[k * 32 : k * 32 + 32, 0:64], s[k * 32 : k * 32 + 32, 0:64])
            T.copy(s, B)

    lowered = lower(kernel)
    found = {n.key for n in walk(lowered) if isinstance(n, Attr)}
    assert not found & {keys.LAYOUTS, keys.SWIZZLE}
    assert all(n.kind is not LoopKind.PIPELINED for n in walk(lowered) if isinstance(n, For))
    given = {n: random_array(RNG, (64, 64), "float16") for n in "AB"}
    got = check(kernel, given)
    np.testing.assert_array_equal(got["A"], got["B"])


def test_every_statement_keeps_a_place_in_the_source():
    @T.prim_func
    def kernel(A: T.Tensor((10, 10), "float32"), B: T.Tensor((10, 10), "float32")):
        with T.Kernel(1):
            s = T.alloc_shared((16, 16), "float32")
            f = T.alloc_fragment((16, 16), "float32")
            T.copy(A[0, 0], s)
            T.gemm(s, s, f, clear_accum=True)
            T.reduce_sum(s, f[0, 0:16], dim=0)
            T.copy(f, B[0, 0])

    from tilelang.ir.stmt import Seq, Stmt

    for node in walk(lower(kernel).body):
        if isinstance(node, Stmt) and not isinstance(node, Seq):
            assert node.span is not None, node
            assert node.span.file == __file__


def test_quantifiers_become_loops_before_the_statement():
    @T.prim_func
    def kernel(F: T.Tensor((40,), "int32"), B: T.Tensor((2,), "int32")):
        with T.Kernel(1):
            s = T.alloc_shared((40,), "int32")
            T.copy(F, s)
            if T.any_of(s[4:20]) and B[0] == 0:
                B[1] = 1

    lowered = lower(kernel)
    assert any(n.buffer.name == "found" for n in walk(lowered) if isinstance(n, Allocate))
    flags = np.zeros(40, np.int32)
    for at, want in ((3, 0), (4, 1), (19, 1), (20, 0)):
        given = {"F": flags.copy(), "B": np.zeros(2, np.int32)}
        given["F"][at] = 7
        assert check(kernel, given)["B"][1] == want
