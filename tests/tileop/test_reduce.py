"""T.reduce_*, T.cumsum, T.cummax, T.any_of, T.all_of against NumPy."""

import numpy as np
import pytest

import tilelang.language as T
from tests.lowering import check, lower, random_array
from tilelang.errors import ArgumentError, DTypeError, ShapeError
from tilelang.ir.annotation import REDUCTION
from tilelang.ir.stmt import For, LoopKind
from tilelang.ir.visitor import walk

RNG = np.random.default_rng(3)
NUMPY = {
    "sum": np.sum, "max": np.max, "min": np.min,
    "abssum": lambda x, axis: np.sum(np.abs(x), axis=axis),
    "absmax": lambda x, axis: np.max(np.abs(x), axis=axis),
    "bitand": np.bitwise_and.reduce, "bitor": np.bitwise_or.reduce, "bitxor": np.bitwise_xor.reduce,
}  # fmt: skip


def reduction(kind, shape, dim, src="float32", dst=None, clear=True, keep=False, nan=False):
    dst = dst or src
    axis = dim % len(shape)
    kept = tuple(1 if a == axis else n for a, n in enumerate(shape))
    out = kept if keep else tuple(n for a, n in enumerate(shape) if a != axis) or (1,)

    @T.prim_func
    def kernel(A: T.Tensor(shape, src), B: T.Tensor(out, dst)):
        with T.Kernel(1):
            x = T.alloc_fragment(shape, src)
            y = T.alloc_fragment(out, dst)
            T.copy(A, x)
            T.copy(B, y)
            T.reduce(x, y, kind, dim, clear, nan_propagate=nan)
            T.copy(y, B)

    return kernel, {"A": random_array(RNG, shape, src), "B": random_array(RNG, out, dst)}


@pytest.mark.parametrize("kind", ["sum", "max", "min", "abssum", "absmax"])
@pytest.mark.parametrize(
    "shape,dim", [((4, 9), 1), ((4, 9), 0), ((3, 4, 5), 1), ((7,), 0), ((3, 1), -1)]
)
def test_floats_along_every_axis(kind, shape, dim):
    kernel, arrays = reduction(kind, shape, dim)
    got = check(kernel, arrays, 1e-6)["B"]
    want = np.asarray(NUMPY[kind](arrays["A"], axis=dim)).reshape(got.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", list(NUMPY))
@pytest.mark.parametrize("element", ["int8", "int32", "uint8", "int64", "uint64"])
@pytest.mark.parametrize("dim", [0, 1])
def test_integers(kind, element, dim):
    kernel, arrays = reduction(kind, (5, 6), dim, element)
    got = check(kernel, arrays)["B"]
    want = NUMPY[kind](arrays["A"], axis=dim).astype(arrays["A"].dtype)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["bitand", "bitor", "bitxor"])
@pytest.mark.parametrize("dim", [0, 1])
def test_bool(kind, dim):
    kernel, arrays = reduction(kind, (5, 6), dim, "bool")
    np.testing.assert_array_equal(check(kernel, arrays)["B"], NUMPY[kind](arrays["A"], axis=dim))


@pytest.mark.parametrize("kind", ["sum", "max", "min", "absmax"])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("keep", [False, True])
def test_combining_with_the_old_output(kind, dim, keep):
    kernel, arrays = reduction(kind, (4, 5), dim, clear=False, keep=keep)
    got = check(kernel, arrays, 1e-6)["B"]
    old = np.abs(arrays["B"]) if kind == "absmax" else arrays["B"]
    new = NUMPY[kind](arrays["A"], axis=dim).reshape(old.shape)
    join = {"sum": np.add, "min": np.minimum}.get(kind, np.maximum)
    np.testing.assert_allclose(got, join(old, new), rtol=1e-5)


@pytest.mark.parametrize("kind", ["max", "min", "absmax"])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("clear", [True, False])
def test_nan_loses_or_wins(kind, dim, clear):
    for nan in (False, True):
        kernel, arrays = reduction(kind, (4, 4), dim, clear=clear, nan=nan)
        arrays["A"][1, 2] = np.nan
        arrays["B"][0] = np.nan
        got = check(kernel, arrays)["B"]
        touched = 2 if dim == 0 else 1
        assert np.isnan(got[touched]) == nan
        assert np.isnan(got[0]) == (nan and not clear)


@pytest.mark.parametrize(
    "src,dst",
    [
        ("float16", "float32"),
        ("float32", "float16"),
        ("bfloat16", "bfloat16"),
        ("int8", "int32"),
        ("int32", "float32"),
        ("bool", "int32"),
    ],
)
@pytest.mark.parametrize("dim", [0, 1])
def test_elements_take_the_output_type_first(src, dst, dim):
    kernel, arrays = reduction("sum", (6, 7), dim, src, dst)
    check(kernel, arrays, 1e-2 if dst in ("float16", "bfloat16") else 1e-6)


def test_lines_are_vectorised_with_a_reduction_clause():
    kernel, _ = reduction("max", (4, 64), 1)
    loops = [n for n in walk(lower(kernel)) if isinstance(n, For) and n.annotations]
    assert len(loops) == 1 and loops[0].kind is LoopKind.VECTORIZED
    (note,) = loops[0].annotations
    assert note[0] == REDUCTION and note[1][0][0] == "max"


def test_shared_and_slices():
    @T.prim_func
    def kernel(A: T.Tensor((4, 6), "float32"), B: T.Tensor((4,), "float32")):
        with T.Kernel(1):
            s = T.alloc_shared((2, 4, 6), "float32")
            o = T.alloc_shared((4,), "float32")
            T.fill(s, 9.0)
            T.copy(A, s[1, 0:4, 0:6])
            T.copy(A, T.view(s, (8, 6))[0:4, 0:6])
            T.reduce_sum(T.view(s, (8, 6))[0:4, 0:6], o, dim=1)
            T.copy(o, B)

    arrays = {"A": random_array(RNG, (4, 6), "float32"), "B": np.zeros(4, np.float32)}
    np.testing.assert_allclose(
        check(kernel, arrays, 1e-6)["B"], arrays["A"].sum(1), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "shape,dim", [((9,), 0), ((4, 7), 0), ((4, 7), 1), ((4, 7), -1), ((1, 5), 1)]
)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("element", ["float32", "int32", "float16"])
def test_scans(shape, dim, reverse, element):
    @T.prim_func
    def kernel(
        A: T.Tensor(shape, element), B: T.Tensor(shape, element), C: T.Tensor(shape, element)
    ):
        with T.Kernel(1):
            s = T.alloc_shared(shape, element)
            f = T.alloc_fragment(shape, element)
            T.copy(A, s)
            T.cummax(s, f, dim=dim, reverse=reverse)
            T.copy(f, C)
            T.cumsum(s, dim=dim, reverse=reverse)
            T.copy(s, B)

    arrays = {n: random_array(RNG, shape, element) for n in "ABC"}
    got = check(kernel, arrays, 1e-3 if element == "float16" else 1e-6)
    flip = (lambda x: np.flip(x, dim)) if reverse else (lambda x: x)
    wide = arrays["A"].astype(np.float64)
    np.testing.assert_allclose(
        got["B"].astype(float), flip(np.cumsum(flip(wide), dim)), rtol=1e-2, atol=1e-2
    )
    np.testing.assert_array_equal(got["C"], flip(np.maximum.accumulate(flip(arrays["A"]), dim)))


@pytest.mark.parametrize("pattern", [[0, 0, 0, 0], [0, 2, 0, 0], [1, 1, 1, 1]])
def test_quantifiers(pattern):
    @T.prim_func
    def kernel(A: T.Tensor((2, 4), "int32"), B: T.Tensor((4,), "int32"), n: T.int32):
        with T.Kernel(1):
            s = T.alloc_shared((2, 4), "int32")
            count = T.alloc_var("int32")
            T.copy(A, s)
            if T.any_of(s[1, 0:4]):
                B[0] = 1
            B[1] = T.if_then_else(T.all_of(s[1, 0:4]), 1, 0)
            if T.any_of(s[1, 0:n]):
                B[2] = 1
            while T.all_of(s[1, 0:4]):
                s[1, 2] = s[1, 2] - 1
                count += 1
            B[3] = count

    A = np.array([[5, 0, 0, 0], pattern], np.int32)
    for n in (0, 1, 2):
        got = check(kernel, {"A": A, "B": np.zeros(4, np.int32), "n": n})["B"]
        every = all(pattern)
        assert list(got) == [any(pattern), every, any(pattern[:n]), pattern[2] if every else 0]


def _fails(error, body):
    with pytest.raises(error) as caught:

        @T.prim_func
        def failing():
            with T.Kernel(1):
                x = T.alloc_fragment((4, 8), "float32")
                y = T.alloc_fragment((8,), "float32")
                body(x, y)

    return caught.value


def test_errors_name_both_sides():
    message = str(_fails(ShapeError, lambda x, y: T.reduce_sum(x, y, dim=1)))
    assert "`x` [4, 8] reduced along axis 1 gives [4] or [4, 1], but `y` is [8]" in message
    assert "rank 2" in _fails(ArgumentError, lambda x, y: T.reduce_sum(x, y, dim=2)).message
    assert (
        "expected integers" in _fails(DTypeError, lambda x, y: T.reduce_bitor(x, y, dim=0)).message
    )
    assert "one of sum" in _fails(ArgumentError, lambda x, y: T.reduce(x, y, "mean", 0)).message
    assert "`y` is [8]" in _fails(ShapeError, lambda x, y: T.cumsum(x, y)).message
    assert (
        "not contiguous"
        in _fails(ArgumentError, lambda x, y: T.any_of(T.view(x, dtype="int32"))).message
    )
