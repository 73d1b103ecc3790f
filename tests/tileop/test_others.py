"""T.fill, T.transpose, T.im2col, tiles of atomics, reducers, views: against NumPy."""

import numpy as np
import pytest

import tilelang.language as T
from tests.lowering import check, random_array
from tilelang.errors import (
    ArgumentTypeError,
    DTypeError,
    IndexRangeError,
    ScopeError,
    ShapeError,
    TargetError,
)

RNG = np.random.default_rng(4)


def arrays(**specs):
    return {n: random_array(RNG, s, k) for n, (s, k) in specs.items()}


@pytest.mark.parametrize("n", [0, 3, 8, 20])
def test_fill_of_buffers_slices_and_elements(n):
    @T.prim_func
    def kernel(B: T.Tensor((5, 8), "float16"), n: T.int32):
        with T.Kernel(1):
            s = T.alloc_shared((5, 8), "float16")
            f = T.alloc_fragment((5, 8), "float16")
            T.clear(s)
            T.fill(s[1, 2:6], 2.5)
            T.fill(s[0, 0], 7)
            T.copy(s, f)
            T.fill(f[3:5, 0:2], 1)
            T.copy(f, B)
            T.fill(B[2, 0:n], -1)

    got = check(kernel, {**arrays(B=((5, 8), "float16")), "n": n})["B"].astype(float)
    want = np.zeros((5, 8))
    want[1, 2:6], want[0, 0], want[3:5, 0:2], want[2, :n] = 2.5, 7, 1, -1
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("m,n", [(8, 8), (11, 5), (1, 9)])
def test_transpose_of_edge_tiles(m, n):
    @T.prim_func
    def kernel(A: T.Tensor((m, n), "float32"), B: T.Tensor((n, m), "float16")):
        with T.Kernel(T.ceildiv(n, 8), T.ceildiv(m, 4)) as (bx, by):
            s = T.alloc_shared((8, 4), "float32")
            T.transpose(A[by * 4 : by * 4 + 4, bx * 8 : bx * 8 + 8], s)
            T.copy(s, B[bx * 8, by * 4])

    got = check(kernel, arrays(A=((m, n), "float32"), B=((n, m), "float16")))
    np.testing.assert_array_equal(got["B"], got["A"].T.astype(np.float16))


def test_transpose_inside_shared_memory():
    @T.prim_func
    def kernel(A: T.Tensor((2, 3, 4), "float32"), B: T.Tensor((2, 4, 3), "float32")):
        with T.Kernel(1):
            s = T.alloc_shared((2, 3, 4), "float32")
            d = T.alloc_shared((2, 4, 3), "float32")
            T.copy(A, s)
            T.transpose(s, d)
            T.copy(d, B)

    got = check(kernel, arrays(A=((2, 3, 4), "float32"), B=((2, 4, 3), "float32")))
    np.testing.assert_array_equal(got["B"], np.swapaxes(got["A"], 1, 2))


@pytest.mark.parametrize(
    "kernel_size,stride,dilation,pad", [(3, 1, 1, 1), (1, 1, 1, 0), (3, 2, 2, 2), (2, 1, 1, 0)]
)
def test_im2col_makes_a_convolution(kernel_size, stride, dilation, pad):
    N, H, W, C, F = 2, 6, 5, 3, 4
    out = [(n + 2 * pad - dilation * (kernel_size - 1) - 1) // stride + 1 for n in (H, W)]
    pixels, taps = N * out[0] * out[1], kernel_size * kernel_size * C

    @T.prim_func
    def conv(
        X: T.Tensor((N, H, W, C), "float32"),
        K: T.Tensor((taps, F), "float32"),
        Y: T.Tensor((pixels, F), "float32"),
    ):
        with T.Kernel(T.ceildiv(pixels, 8)) as by:
            x = T.alloc_shared((8, 8), "float32")
            k = T.alloc_shared((8, F), "float32")
            y = T.alloc_fragment((8, F), "float32")
            T.clear(y)
            for step in T.Pipelined(T.ceildiv(taps, 8), num_stages=2):
                T.im2col(X, x, by, step, kernel_size, stride, dilation, pad)
                T.copy(K[step * 8, 0], k)
                T.gemm(x, k, y)
            T.copy(y, Y[by * 8, 0])

    import torch

    given = arrays(
        X=((N, H, W, C), "float32"), K=((taps, F), "float32"), Y=((pixels, F), "float32")
    )
    got = check(conv, given, 1e-5)["Y"]
    weights = torch.tensor(given["K"]).reshape(kernel_size, kernel_size, C, F).permute(3, 2, 0, 1)
    want = torch.nn.functional.conv2d(
        torch.tensor(given["X"]).permute(0, 3, 1, 2),
        weights,
        stride=stride,
        padding=pad,
        dilation=dilation,
    )
    np.testing.assert_allclose(
        got, want.permute(0, 2, 3, 1).reshape(pixels, F).numpy(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["add", "max", "min"])
@pytest.mark.parametrize("element", ["float32", "int32", "float16"])
def test_tiles_of_atomics_are_clipped(kind, element):
    @T.prim_func
    def kernel(
        A: T.Tensor((10, 6), element), C: T.Tensor((5, 6), element), D: T.Tensor((4,), element)
    ):
        with T.Kernel(2) as bx:
            f = T.alloc_fragment((8, 8), element)
            T.fill(f, 1)
            T.copy(A[bx * 5 : bx * 5 + 5, 0:6], f[0:5, 0:6])
            getattr(T, f"atomic_{kind}")(C[0, 0], f)
            getattr(T, f"atomic_{kind}")(D[1:3], 2)

    given = arrays(A=((10, 6), element), C=((5, 6), element), D=((4,), element))
    got = check(kernel, given, 1e-2 if element == "float16" else 1e-6)
    join = {"add": np.add, "max": np.maximum, "min": np.minimum}[kind]
    wide = {n: v.astype(float) for n, v in given.items()}
    want = join(join(wide["C"], wide["A"][:5]), wide["A"][5:])
    np.testing.assert_allclose(got["C"].astype(float), want, rtol=1e-2, atol=1e-2)
    part = join(join(wide["D"][1:3], 2), 2)
    np.testing.assert_allclose(got["D"][1:3].astype(float), part, rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(got["D"][[0, 3]], given["D"][[0, 3]])


@pytest.mark.parametrize("op", ["sum", "max", "min"])
def test_first_generation_reducers(op):
    @T.prim_func
    def kernel(A: T.Tensor((6, 8), "float32"), B: T.Tensor((6,), "float32")):
        with T.Kernel(1):
            r = T.alloc_reducer((6,), "float32", op=op, replication="all")
            T.fill(r, {"sum": 0, "max": -T.infinity("float32"), "min": T.infinity("float32")}[op])
            for i, j in T.Parallel(6, 8):
                if op == "sum":
                    r[i] += A[i, j]
                elif op == "max":
                    r[i] = T.max(r[i], A[i, j])
                else:
                    r[i] = T.min(r[i], A[i, j])
            T.finalize_reducer(r)
            T.copy(r, B)

    got = check(kernel, arrays(A=((6, 8), "float32"), B=((6,), "float32")), 1e-6)
    np.testing.assert_allclose(got["B"], getattr(np, op)(got["A"], axis=1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", ["sum", "max", "min", "bitand", "bitor", "bitxor"])
@pytest.mark.parametrize("init", [None, 3])
def test_second_generation_reducers(op, init):
    @T.prim_func
    def kernel(A: T.Tensor((6, 8), "int32"), B: T.Tensor((8,), "int32")):
        with T.Kernel(1):
            r = T.alloc_reducer((8,), "int32", op=op)
            out = T.alloc_fragment((8,), "int32")
            T.reducer_init(r, init)
            for i, j in T.Parallel(6, 8):
                T.reducer_update(r[j], A[i, j])
            T.finalize_reducer(r, out)
            T.copy(out, B)

    functions = {"sum": np.add, "max": np.maximum, "min": np.minimum, "bitand": np.bitwise_and,
                 "bitor": np.bitwise_or, "bitxor": np.bitwise_xor}  # fmt: skip
    got = check(kernel, arrays(A=((6, 8), "int32"), B=((8,), "int32")))
    want = functions[op].reduce(got["A"], axis=0)
    np.testing.assert_array_equal(got["B"], want if init is None else functions[op](want, init))


def test_views_share_storage():
    @T.prim_func
    def kernel(
        A: T.Tensor((4, 6), "float32"), B: T.Tensor((24,), "float32"), C: T.Tensor((4, 6), "int32")
    ):
        with T.Kernel(1):
            s = T.alloc_shared((4, 6), "float32")
            flat = T.reshape(s, (24,))
            bits = T.view(s, dtype="int32")
            T.copy(A, s)
            for i in T.Parallel(24):
                flat[i] = flat[i] + 1.0
            T.copy(T.view(s, (24,)), B)
            T.copy(bits, C)

    got = check(kernel, arrays(A=((4, 6), "float32"), B=((24,), "float32"), C=((4, 6), "int32")))
    np.testing.assert_array_equal(got["B"].reshape(4, 6), got["A"] + 1)
    np.testing.assert_array_equal(got["C"], (got["A"] + 1).view(np.int32))


def test_view_changes_the_last_extent_with_the_type():
    @T.prim_func
    def kernel(A: T.Tensor((4, 6), "float32")):
        with T.Kernel(1):
            s = T.alloc_shared((4, 6), "float32")
            assert T.view(s, dtype="float16").shape == (4, 12)
            assert T.view(s, dtype="float64").shape == (4, 3)
            assert T.view(s, (2, 24), "float16").shape == (2, 24)

    assert kernel.name == "kernel"


def _fails(error, body):
    with pytest.raises(error) as caught:

        @T.prim_func
        def failing(A: T.Tensor((2, 4, 4, 3), "float32")):
            with T.Kernel(1):
                s = T.alloc_shared((4, 8), "float32")
                f = T.alloc_fragment((4, 8), "float32")
                body(A, s, f)

    return caught.value


def test_errors():
    assert (
        "0:9 is outside axis 1 of `s`"
        in _fails(IndexRangeError, lambda A, s, f: T.fill(s[0, 0:9], 1)).message
    )
    assert "transposed is not" in _fails(ShapeError, lambda A, s, f: T.transpose(s, f)).message
    assert "bits are not" in _fails(ShapeError, lambda A, s, f: T.view(s, (5, 5))).message
    assert "bits are not" in _fails(ShapeError, lambda A, s, f: T.reshape(s, (31,))).message
    assert (
        "whole buffer"
        in _fails(ArgumentTypeError, lambda A, s, f: T.reshape(s[0:2, 0:8], (16,))).message
    )
    assert "rank 4" in _fails(ShapeError, lambda A, s, f: T.im2col(s, f, 0, 0, 3, 1, 1, 1)).message
    half = lambda A, s, f: T.im2col(A, T.view(s, dtype="float16"), 0, 0, 3, 1, 1, 1)  # noqa: E731
    assert "is float16" in _fails(DTypeError, half).message
    assert "atomics work on" in _fails(ScopeError, lambda A, s, f: T.atomic_add(f, s)).message
    assert (
        "one element"
        in _fails(NotImplementedError, lambda A, s, f: T.atomic_add(s, f, return_prev=True)).message
    )
    assert "is no reducer" in _fails(ArgumentTypeError, lambda A, s, f: T.reducer_init(f)).message
    assert (
        "none"
        in _fails(
            AssertionError, lambda A, s, f: T.alloc_reducer((4,), "float32", replication="some")
        ).message
    )


def test_operations_of_other_devices_say_so():
    @T.prim_func
    def kernel(A: T.Tensor((8, 8), "float32")):
        with T.Kernel(1):
            s = T.alloc_shared((8, 8), "float32")
            bar = T.alloc_barrier(1)
            T.tma_copy(A, s, barrier=bar)

    from tests.lowering import lower

    with pytest.raises(TargetError) as caught:
        lower(kernel)
    assert "tma_copy: the target `c` has no tensor memory accelerator" in caught.value.message
    assert caught.value.span is not None and "T.tma_copy(A, s, barrier=bar)" in str(caught.value)
