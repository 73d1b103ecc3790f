"""T.copy: what moves where, for every scope pair, at edges, with conversion."""

import numpy as np
import pytest

import tilelang.language as T
from tests.lowering import check, lower, random_array
from tilelang.errors import ArgumentError, ArgumentTypeError, ShapeError
from tilelang.ir.stmt import For, LoopKind
from tilelang.ir.visitor import walk

RNG = np.random.default_rng(1)


def arrays(**shapes):
    kinds = {}
    for name, value in shapes.items():
        shape, kind = value if isinstance(value[-1], str) else (value, "float32")
        kinds[name] = random_array(RNG, shape, kind)
    return kinds


@pytest.mark.parametrize("scope", ["shared", "shared.dyn", "local.fragment", "local"])
@pytest.mark.parametrize("m,n", [(32, 32), (37, 29), (1, 65), (64, 1)])
def test_partial_tiles_go_in_and_out(scope, m, n):
    @T.prim_func
    def roundtrip(A: T.Tensor((m, n), "float32"), B: T.Tensor((m, n), "float32")):
        with T.Kernel(T.ceildiv(n, 16), T.ceildiv(m, 8)) as (bx, by):
            tile = T.alloc_local((8, 16), "float32", scope=scope)
            T.copy(A[by * 8, bx * 16], tile)
            T.copy(tile, B[by * 8, bx * 16])

    out = check(roundtrip, arrays(A=(m, n), B=(m, n)))
    np.testing.assert_array_equal(out["A"], out["B"])


def test_outside_reads_give_zero_on_both_ends():
    @T.prim_func
    def halo(A: T.Tensor((10,), "float32"), B: T.Tensor((3, 8), "float32")):
        with T.Kernel(3) as bx:
            s = T.alloc_shared((8,), "float32")
            T.copy(A[bx * 4 - 2 : bx * 4 + 6], s)
            T.copy(s, B[bx, 0:8])

    inputs = arrays(A=(10,), B=(3, 8))
    out = check(halo, inputs)
    padded = np.pad(inputs["A"], (2, 20))
    for b in range(3):
        np.testing.assert_array_equal(out["B"][b], padded[b * 4 : b * 4 + 8])


def test_safe_value_fills_and_shadows_lexically():
    @T.prim_func
    def pad(
        A: T.Tensor((5, 6), "float32"),
        B: T.Tensor((8, 8), "float32"),
        C: T.Tensor((8, 8), "float32"),
    ):
        with T.Kernel(1):
            s = T.alloc_shared((8, 8), "float32")
            T.annotate_safe_value({A: 7.0})
            T.copy(A[0:8, 0:8], s)
            T.copy(s, B)
            if B[0, 0] == B[0, 0]:
                T.annotate_safe_value({A: -1.0})
                T.copy(A[0:8, 0:8], s)
                T.copy(s, C)

    inputs = arrays(A=(5, 6), B=(8, 8), C=(8, 8))
    out = check(pad, inputs)
    for name, value in (("B", 7.0), ("C", -1.0)):
        want = np.full((8, 8), value, np.float32)
        want[:5, :6] = inputs["A"]
        np.testing.assert_array_equal(out[name], want)


@pytest.mark.parametrize(
    "src,dst",
    [("float32", "float16"), ("float16", "float32"), ("float32", "bfloat16"), ("int8", "int32"),
     ("float32", "int32"), ("int32", "float32"), ("uint8", "float16"), ("float32", "float8_e4m3fn"),
     ("bool", "int32"), ("float64", "float32")],
)  # fmt: skip
def test_elements_are_converted(src, dst):
    @T.prim_func
    def convert(A: T.Tensor((9, 7), src), B: T.Tensor((9, 7), dst)):
        with T.Kernel(1):
            f = T.alloc_fragment((9, 7), dst)
            T.copy(A, f)
            T.copy(f, B)

    inputs = {"A": random_array(RNG, (9, 7), src), "B": random_array(RNG, (9, 7), dst)}
    out = check(convert, inputs)
    assert not np.array_equal(out["B"], inputs["B"])


def test_axes_of_extent_one_are_passed_over():
    @T.prim_func
    def pick(A: T.Tensor((3, 12, 2, 10), "float32"), B: T.Tensor((12, 10), "float32")):
        with T.Kernel(3) as b:
            s = T.alloc_shared((12, 10), "float32")
            T.copy(A[b, 0:12, 1, 0:10], s)
            if b == 2:
                T.copy(s, B)

    inputs = arrays(A=(3, 12, 2, 10), B=(12, 10))
    np.testing.assert_array_equal(check(pick, inputs)["B"], inputs["A"][2, :, 1, :])


def test_shared_and_fragment_in_every_direction():
    @T.prim_func
    def chain(A: T.Tensor((6, 5), "float32"), B: T.Tensor((6, 5), "float32")):
        with T.Kernel(1):
            s0 = T.alloc_shared((6, 5), "float32")
            s1 = T.alloc_shared((6, 5), "float32")
            f0 = T.alloc_fragment((6, 5), "float32")
            f1 = T.alloc_fragment((6, 5), "float32")
            T.copy(A, s0)
            T.copy(s0, s1)
            T.copy(s1, f0)
            T.copy(f0, f1)
            T.copy(f1[0:6, 0:5], s0)
            T.copy(s0, B)

    out = check(chain, arrays(A=(6, 5), B=(6, 5)))
    np.testing.assert_array_equal(out["A"], out["B"])


def test_one_element_and_global_to_global():
    @T.prim_func
    def elements(A: T.Tensor((4, 4), "float32"), B: T.Tensor((4, 4), "float32")):
        with T.Kernel(1):
            T.copy(A[1:3, 0:4], B[2:4, 0:4])
            T.copy(A[3, 1], B[0, 2])

    inputs = arrays(A=(4, 4), B=(4, 4))
    out = check(elements, inputs)["B"]
    np.testing.assert_array_equal(out[2:4], inputs["A"][1:3])
    assert out[0, 2] == inputs["A"][3, 1]


@pytest.mark.parametrize("length", [0, 1, 7, 16])
def test_run_time_lengths(length):
    @T.prim_func
    def prefix(A: T.Tensor((16,), "float32"), B: T.Tensor((16,), "float32"), n: T.int32):
        with T.Kernel(1):
            s = T.alloc_shared((16,), "float32")
            T.fill(s, 3.0)
            T.copy(A[0:n], s[0:n])
            T.copy(s, B)

    inputs = {**arrays(A=(16,), B=(16,)), "n": length}
    out = check(prefix, inputs)["B"]
    np.testing.assert_array_equal(out[:length], inputs["A"][:length])
    assert (out[length:] == 3.0).all()


def test_dynamic_shape_and_start():
    n = T.dynamic("n")

    @T.prim_func
    def shift(A: T.Tensor((n,), "float32"), B: T.Tensor((n,), "float32"), by: T.int32):
        with T.Kernel(T.ceildiv(n, 8)) as bx:
            s = T.alloc_shared((8,), "float32")
            T.copy(A[bx * 8 + by], s)
            T.copy(s, B[bx * 8])

    for size, by in ((21, 3), (8, -5), (1, 0), (24, 40)):
        inputs = {**arrays(A=(size,), B=(size,)), "by": by}
        out = check(shift, inputs)["B"]
        want = [inputs["A"][i + by] if 0 <= i + by < size else 0.0 for i in range(size)]
        np.testing.assert_array_equal(out, np.array(want, np.float32))


def test_interior_loops_are_vectorised():
    @T.prim_func
    def plain(A: T.Tensor((64, 64), "float32")):
        with T.Kernel(1):
            s = T.alloc_shared((64, 64), "float32")
            T.copy(A, s)

    loops = [n for n in walk(lower(plain)) if isinstance(n, For)]
    assert [f.kind for f in loops] == [LoopKind.SERIAL, LoopKind.VECTORIZED]


def test_hints_are_recorded_and_change_nothing():
    @T.prim_func
    def hinted(A: T.Tensor((16, 16), "float16"), B: T.Tensor((16, 16), "float16")):
        with T.Kernel(1):
            s = T.alloc_shared((16, 16), "float16")
            T.copy(A, s, coalesced_width=4, disable_tma=True, eviction_policy="evict_first")
            T.copy(s, B, prefer_instruction="sync", annotations={"mine": 1})

    out = check(hinted, {n: random_array(RNG, (16, 16), "float16") for n in "AB"})
    np.testing.assert_array_equal(out["A"], out["B"])


def _fails(body, error):
    with pytest.raises(error) as caught:

        @T.prim_func
        def failing(A: T.Tensor((64, 32), "float32")):
            with T.Kernel(1):
                s = T.alloc_shared((64, 16), "float32")
                body(A, s)

    return caught.value


def test_unequal_extents_are_rejected_with_both_sides():
    error = _fails(lambda A, s: T.copy(A, s), ShapeError)
    assert "[64, 32] of `A`" in str(error) and "[64, 16] of `s`" in str(error)
    error = _fails(lambda A, s: T.copy(A[0:32, 0:16], s), ShapeError)
    assert "[32, 16] of `A`" in error.message


def test_wrong_arguments():
    assert "argument 2" in _fails(lambda A, s: T.copy(A, 3), ArgumentTypeError).message
    error = _fails(lambda A, s: T.copy(A[0, 0], s, eviction_policy="evict_never"), ArgumentError)
    assert "evict_last" in error.message
