"""T.print, T.device_assert and assert on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.cpu.arrays import run


def printed(capfd, kernel, *arguments):
    capfd.readouterr()
    run(kernel, *arguments)
    return capfd.readouterr().out.splitlines()


def test_scalars_messages_and_buffers(capfd):
    @T.prim_func
    def kernel(A: T.Tensor((2, 3), "float32"), n: T.int64):
        with T.Kernel(1, threads=32):
            s, f = T.alloc_shared((2, 3), "float32"), T.alloc_fragment((3,), "int32")
            v = T.alloc_var("int32", 17)
            T.copy(A, s)
            T.fill(f, 9)
            T.print(v, msg="variable")
            T.print(n * 2, msg="parameter")
            T.print(A[1, 2])
            T.print(A[0, 0] > 0.0, msg="truth")
            T.print(msg="only this")
            T.print(s, msg="tile")
            T.print(f, msg="pieces", warp_group_id=0, warp_id=0)

    a = np.array([[1.5, -2, 3], [4, 5, 6.25]], np.float32)
    lines = printed(capfd, kernel, a, 2**40)

    def line(*parts):
        found = [x for x in lines if all(p in x for p in parts)]
        assert len(found) == 1, (parts, lines)
        return found[0]

    line("variable", "17")
    line("parameter", str(2**41))
    line("6.25", "A[1, 2]")
    line("truth", "1")
    line("only this")
    tile = "\n".join(x for x in lines if "tile" in x)
    assert all(text in tile for text in ("1.5", "-2", "6.25")) and tile.count("\n") == 5
    pieces = [x for x in lines if "pieces" in x]
    assert len(pieces) == 3 and all("9" in x for x in pieces)


def test_every_block_and_thread_that_comes_there_prints(capfd):
    @T.prim_func
    def kernel(A: T.Tensor((4,), "int32")):
        with T.Kernel(4, threads=8) as bx:
            tx = T.get_thread_binding()
            if tx < 2:
                T.print(A[bx] + tx, msg="here")

    lines = printed(capfd, kernel, np.array([100, 200, 300, 400], np.int32))
    values = sorted(int(x.split()[-1].split("=")[-1].rstrip(")")) for x in lines if "here" in x)
    assert values == [100, 101, 200, 201, 300, 301, 400, 401], lines


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "int8", "uint64", "bool", "float8_e4m3fn"]
)
def test_every_type_prints_its_value(capfd, dtype):
    @T.prim_func
    def kernel(A: T.Tensor((2,), dtype)):
        with T.Kernel(1):
            T.print(A[0], msg="first")
            s = T.alloc_shared((2,), dtype)
            T.copy(A, s)
            T.print(s, msg="both")

    largest = np.array([1, 0], T.dtype(dtype).as_numpy())
    text = "18446744073709551615" if dtype == "uint64" else "-128" if dtype == "int8" else "1"
    if dtype == "uint64":
        largest = np.array([2**64 - 1, 0], np.uint64)
    elif dtype == "int8":
        largest = np.array([-128, 0], np.int8)
    lines = printed(capfd, kernel, largest)
    assert any("first" in x and text in x for x in lines), lines
    assert sum("both" in x for x in lines) == 2 and any("both" in x and text in x for x in lines)


def asserting(kind):
    if kind == "device_assert":

        @T.prim_func
        def kernel(A: T.Tensor((8,), "int32"), Z: T.Tensor((8,), "int32")):
            with T.Kernel(8) as bx:
                T.device_assert(A[bx] < 100, "too large")
                Z[bx] = A[bx]
    elif kind == "Assert":

        @T.prim_func
        def kernel(A: T.Tensor((8,), "int32"), Z: T.Tensor((8,), "int32")):
            with T.Kernel(8) as bx:
                T.Assert(A[bx] < 100, "too large")
                Z[bx] = A[bx]
    else:

        @T.prim_func
        def kernel(A: T.Tensor((8,), "int32"), Z: T.Tensor((8,), "int32")):
            with T.Kernel(8) as bx:
                assert A[bx] < 100, "too large"
                Z[bx] = A[bx]

    return kernel


@pytest.mark.parametrize("kind", ["device_assert", "Assert", "assert"])
def test_a_false_assertion_stops_the_call_with_its_place(kind):
    kernel = asserting(kind)
    good, z = np.arange(8, dtype=np.int32), np.zeros(8, np.int32)
    run(kernel, good, z)
    np.testing.assert_array_equal(z, good)
    bad = good.copy()
    bad[5] = 100
    with pytest.raises(RuntimeError, match=r"test_print\.py:\d+.*too large"):
        run(kernel, bad, z)
    z[:] = 0
    run(kernel, good, z)  # the next call is fine
    np.testing.assert_array_equal(z, good)


def test_assertions_on_the_host_and_while_tracing():
    n = T.dynamic("n")

    @T.prim_func
    def kernel(A: T.Tensor((n,), "float32")):
        assert n % 4 == 0, "n is a multiple of four"
        with T.Kernel(1):
            A[0] = 1.0

    run(kernel, np.zeros(8, np.float32))
    with pytest.raises(RuntimeError, match="multiple of four"):
        run(kernel, np.zeros(7, np.float32))

    with pytest.raises(AssertionError, match="known now"):

        @T.prim_func
        def other(A: T.Tensor((4,), "float32")):
            with T.Kernel(1):
                assert 1 > 2, "known now"
