"""T.gemm: every transposition, type pair, scope and region, by panels and by plain loops."""

import numpy as np
import pytest

import tilelang.language as T
from tests.lowering import PLAIN, WITH_UNITS, check, lower, random_array
from tilelang.errors import DTypeError, ShapeError
from tilelang.ir.annotation import LAYOUTS
from tilelang.ir.expr import Call
from tilelang.ir.stmt import Allocate, Attr
from tilelang.ir.visitor import walk
from tilelang.transform.infer_layouts import infer_layouts

RNG = np.random.default_rng(2)


def product(
    M,
    N,
    K,
    a="float32",
    b=None,
    c="float32",
    tA=False,
    tB=False,
    clear=False,
    scopes=("shared",) * 2,
):
    """A kernel that multiplies one tile into what C holds."""
    b = b or a
    a_shape = (K, M) if tA else (M, K)
    b_shape = (N, K) if tB else (K, N)

    @T.prim_func
    def kernel(A: T.Tensor(a_shape, a), B: T.Tensor(b_shape, b), C: T.Tensor((M, N), c)):
        with T.Kernel(1):
            A_tile = T.alloc_local(a_shape, a, scope=scopes[0])
            B_tile = T.alloc_local(b_shape, b, scope=scopes[1])
            C_tile = T.alloc_fragment((M, N), c)
            T.copy(A, A_tile)
            T.copy(B, B_tile)
            T.copy(C, C_tile)
            T.gemm(A_tile, B_tile, C_tile, transpose_A=tA, transpose_B=tB, clear_accum=clear)
            T.copy(C_tile, C)

    arrays = {"A": (a_shape, a), "B": (b_shape, b), "C": ((M, N), c)}
    return kernel, {n: random_array(RNG, *v) for n, v in arrays.items()}


@pytest.mark.parametrize("tA", [False, True])
@pytest.mark.parametrize("tB", [False, True])
@pytest.mark.parametrize("M,N,K", [(16, 32, 8), (7, 33, 5), (1, 1, 1), (15, 40, 17)])
def test_transposes_and_odd_sizes(M, N, K, tA, tB):
    kernel, arrays = product(M, N, K, tA=tA, tB=tB)
    got = check(kernel, arrays, 1e-5)["C"]
    A = arrays["A"].T if tA else arrays["A"]
    B = arrays["B"].T if tB else arrays["B"]
    np.testing.assert_allclose(got, arrays["C"] + A @ B, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "a,b,c,tolerance",
    [("float32", None, "float32", 1e-5), ("float16", None, "float32", 1e-5),
     ("float16", None, "float16", 2e-3), ("bfloat16", None, "float32", 1e-5),
     ("bfloat16", None, "bfloat16", 1e-2), ("float64", None, "float64", 1e-12),
     ("int8", None, "int32", 0), ("uint8", "int8", "int32", 0), ("int32", None, "int32", 0),
     ("float8_e4m3fn", "float8_e5m2", "float32", 1e-5), ("float32", None, "float16", 2e-3),
     ("int16", None, "int64", 0), ("float8_e4m3fn", None, "float16", 2e-3)],
)  # fmt: skip
@pytest.mark.parametrize("tA,tB", [(False, False), (True, True)])
def test_type_pairs(a, b, c, tolerance, tA, tB):
    kernel, arrays = product(9, 35, 11, a, b, c, tA, tB)
    check(kernel, arrays, tolerance)


@pytest.mark.parametrize("clear", [True, False])
def test_constant_clear(clear):
    kernel, arrays = product(5, 6, 7, clear=clear)
    want = arrays["A"] @ arrays["B"] + (0 if clear else arrays["C"])
    np.testing.assert_allclose(check(kernel, arrays, 1e-5)["C"], want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("first", [0, 1])
def test_clear_is_decided_at_run_time(kind, first):
    @T.prim_func
    def kernel(A: T.Tensor((4, 4), kind), C: T.Tensor((4, 4), kind), first: T.int32):
        with T.Kernel(1):
            s = T.alloc_shared((4, 4), kind)
            f = T.alloc_fragment((4, 4), kind)
            T.copy(A, s)
            T.copy(C, f)
            T.gemm(s, s, f, clear_accum=first == 0)
            T.copy(f, C)

    arrays = {n: random_array(RNG, (4, 4), kind) for n in "AC"}
    check(kernel, {**arrays, "first": first}, 2e-3)


@pytest.mark.parametrize(
    "scopes",
    [
        ("local.fragment", "shared"),
        ("shared", "local.fragment"),
        ("local", "local"),
        ("local.fragment", "local.fragment"),
    ],
)
def test_operands_in_any_memory(scopes):
    kernel, arrays = product(8, 34, 6, scopes=scopes)
    check(kernel, arrays, 1e-5)


def test_operands_in_global_memory_may_be_edge_tiles():
    @T.prim_func
    def kernel(
        A: T.Tensor((13, 9), "float32"),
        B: T.Tensor((9, 37), "float32"),
        C: T.Tensor((13, 37), "float32"),
    ):
        with T.Kernel(2, 2) as (bx, by):
            T.gemm(
                A[by * 8 : by * 8 + 8, 0:16],
                B[0:16, bx * 32 : bx * 32 + 32],
                C[by * 8 : by * 8 + 8, bx * 32 : bx * 32 + 32],
            )

    arrays = {
        n: random_array(RNG, s, "float32")
        for n, s in {"A": (13, 9), "B": (9, 37), "C": (13, 37)}.items()
    }
    got = check(kernel, arrays, 1e-5)["C"]
    np.testing.assert_allclose(got, arrays["C"] + arrays["A"] @ arrays["B"], rtol=1e-4, atol=1e-4)


def test_stages_and_chained_products():
    @T.prim_func
    def kernel(
        A: T.Tensor((2, 8, 6), "float32"),
        B: T.Tensor((2, 6, 8), "float32"),
        C: T.Tensor((8, 8), "float32"),
    ):
        with T.Kernel(1):
            A_s = T.alloc_shared((2, 8, 6), "float32")
            B_s = T.alloc_shared((2, 6, 8), "float32")
            P = T.alloc_fragment((8, 8), "float32")
            Q = T.alloc_fragment((8, 8), "float32")
            T.copy(A, A_s)
            T.copy(B, B_s)
            T.clear(P)
            for s in T.serial(2):
                T.gemm(A_s[s, :, :], B_s[s, :, :], P)
            T.gemm(P, P, Q, transpose_B=True, clear_accum=True)
            T.copy(Q, C)

    arrays = {
        "A": random_array(RNG, (2, 8, 6), "float32"),
        "B": random_array(RNG, (2, 6, 8), "float32"),
        "C": np.zeros((8, 8), np.float32),
    }
    P = sum(arrays["A"][s] @ arrays["B"][s] for s in range(2))
    np.testing.assert_allclose(check(kernel, arrays, 1e-5)["C"], P @ P.T, rtol=1e-3, atol=1e-3)


def _forms(func, ctx=PLAIN):
    noted = [n for n in walk(infer_layouts(func, ctx)) if isinstance(n, Attr) and n.key == LAYOUTS]
    return {b.name: form for n in noted for b, form in n.value}


def test_b_is_kept_in_panels_when_only_products_read_it():
    kernel, arrays = product(8, 32, 16)
    assert list(_forms(kernel)) == ["B_tile"]
    lowered = lower(kernel)
    names = {n.buffer.name for n in walk(lowered) if isinstance(n, Allocate)}
    assert "B_tile_panels" in names and "B_tile" not in names
    calls = [n.op for n in walk(lowered) if isinstance(n, Call) and n.op.startswith("tl_")]
    assert calls == ["tl_pack_b_rows_f32_float32", "tl_gemm_f32"]
    kernel, _ = product(8, 32, 16, "bfloat16", tB=True)
    calls = [
        n.op
        for n in walk(lower(kernel, WITH_UNITS))
        if isinstance(n, Call) and n.op.startswith("tl_")
    ]
    assert calls == ["tl_pack_b_transposed_bf16_bfloat16", "tl_gemm_bf16"]


def test_b_stays_plain_when_someone_reads_its_elements():
    @T.prim_func
    def kernel(A: T.Tensor((8, 8), "float32"), C: T.Tensor((8, 8), "float32")):
        with T.Kernel(1):
            s = T.alloc_shared((8, 8), "float32")
            f = T.alloc_fragment((8, 8), "float32")
            T.copy(A, s)
            T.clear(f)
            T.gemm(s, s, f)
            for i, j in T.Parallel(8, 8):
                f[i, j] += s[j, i]
            T.copy(f, C)

    assert not _forms(kernel)
    arrays = {n: random_array(RNG, (8, 8), "float32") for n in "AC"}
    check(kernel, arrays, 1e-5)


def test_run_time_start_before_the_buffer_goes_through_a_tile():
    @T.prim_func
    def kernel(
        A: T.Tensor((6, 5), "float32"), C: T.Tensor((8, 40), "float32"), r: T.int32, c: T.int32
    ):
        with T.Kernel(1):
            T.annotate_safe_value({A: 0.5})
            eye = T.alloc_shared((8, 8), "float32")
            s = T.alloc_shared((8, 40), "float32")
            f = T.alloc_fragment((8, 40), "float32")
            for i, j in T.Parallel(8, 8):
                eye[i, j] = T.if_then_else(i == j, 1.0, 0.0)
            T.copy(A[r, c], s)
            T.gemm(eye, s, f, clear_accum=True)
            T.copy(f, C)

    arrays = {
        "A": random_array(RNG, (6, 5), "float32"),
        "C": np.zeros((8, 40), np.float32),
        "r": -1,
        "c": -2,
    }
    want = np.full((8, 40), 0.5, np.float32)
    want[1:7, 2:7] = arrays["A"]
    np.testing.assert_array_equal(check(kernel, arrays)["C"], want)


def _fails(
    error, a=(128, 32), b=(64, 128), c=(128, 128), kinds=("float16", "float16", "float32"), **flags
):
    with pytest.raises(error) as caught:

        @T.prim_func
        def failing():
            with T.Kernel(1):
                A_shared = T.alloc_shared(a, kinds[0])
                B_shared = T.alloc_shared(b, kinds[1])
                C_local = T.alloc_fragment(c, kinds[2])
                T.gemm(A_shared, B_shared, C_local, **flags)

    return caught.value


def test_k_mismatch_shows_both_operands_and_where_they_come_from():
    error = _fails(ShapeError)
    text = str(error)
    assert "gemm: K of A_shared is 32 but K of B_shared is 64" in text
    assert "[128, 32] float16, shared.dyn, K is axis 1" in text
    assert "[64, 128] float16, shared.dyn, K is axis 0" in text
    assert "T.gemm(A_shared, B_shared, C_local, **flags)" in text
    assert "B_shared = T.alloc_shared(b, kinds[1])" in text
    assert "tilelang/language" not in text


def test_other_mismatches():
    assert "M of A_shared is 64" in _fails(ShapeError, a=(64, 32), b=(32, 128)).message
    assert "N of B_shared is 64" in _fails(ShapeError, b=(32, 64)).message
    error = _fails(ShapeError, b=(128, 32))
    assert "transpose_B=True" in (error.hint or "")
    assert (
        "is float16 but B_shared is float32"
        in _fails(DTypeError, b=(32, 128), kinds=("float16", "float32", "float32")).message
    )
    assert "allocate C_local as int32" in (
        _fails(DTypeError, b=(32, 128), kinds=("int8", "int8", "float32")).hint or ""
    )
    assert "rank 1" in _fails(ShapeError, a=(128,)).message
