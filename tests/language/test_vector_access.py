"""Accesses of an exact width against NumPy's view of the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes  # noqa: F401 - registers the small types with NumPy
import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang.errors import ArgumentTypeError, DTypeError, ScopeError, ShapeError
from tilelang.ir.dtype import dtype
from tilelang.ir.func import PrimFunc
from tilelang.ir.verify import verify
from tilelang.language import vector_access as V

LOADS: dict[int, Callable[..., Any]] = {1: V.ldg32, 2: V.ldg64, 4: V.ldg128, 8: V.ldg256}
STORES: dict[int, Callable[..., Any]] = {1: V.stg32, 2: V.stg64, 4: V.stg128, 8: V.stg256}
SHARED_LOADS: dict[int, Callable[..., Any]] = {1: V.lds32, 2: V.lds64, 4: V.lds128}
SHARED_STORES: dict[int, Callable[..., Any]] = {1: V.sts32, 2: V.sts64, 4: V.sts128}


def words_out(words: int, kind: str, count: int) -> PrimFunc:
    """Reads `count` places of A through `words` words each, and writes the words as they are."""
    load, step = LOADS[words], 32 * words // dtype(kind).bits

    @T.prim_func
    def kernel(A: T.Tensor((count * step,), kind), out: T.Tensor((count, words), "uint32")):  # type: ignore[valid-type]
        with T.Kernel(1, threads=1):
            for i in T.serial(count):
                out[i, 0:words] = load(A[i * step])

    return kernel


@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "float64", "uint16"])
@pytest.mark.parametrize("words", [1, 2, 4, 8])
def test_loads_are_the_bytes_of_consecutive_elements(words: int, kind: str) -> None:
    if dtype(kind).bits > 32 * words:
        return
    rng = np.random.default_rng(words)
    step = 32 * words // dtype(kind).bits
    raw = rng.integers(0, 256, 3 * words * 4, dtype=np.uint8)
    array, out = raw.view(dtype(kind).as_numpy()), np.zeros((3, words), np.uint32)
    assert array.size == 3 * step
    func = words_out(words, kind, 3)
    verify(func)
    tilelang.compile(func, target="c")(array, out)
    assert np.array_equal(out, raw.view(np.uint32).reshape(3, words))


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "uint8", "int64"])
@pytest.mark.parametrize("words", [2, 4, 8])
def test_copies_through_words_keep_every_bit(words: int, kind: str) -> None:
    load, store, step = LOADS[words], STORES[words], 32 * words // dtype(kind).bits

    @T.prim_func
    def kernel(A: T.Tensor((4, 2 * step), kind), B: T.Tensor((4, 2 * step), kind)):  # type: ignore[valid-type]
        with T.Kernel(4, threads=1) as b:
            for i in T.serial(2):
                store(B[b, i * step], load(A[b, i * step]), pred=(b + i) % 2 == 0)

    raw = np.random.default_rng(1).integers(0, 256, 4 * 2 * words * 4, dtype=np.uint8)
    given = raw.view(dtype(kind).as_numpy()).reshape(4, 2 * step)
    result = np.zeros_like(given)
    verify(kernel)
    tilelang.compile(kernel, target="c")(given, result)
    for b in range(4):
        for i in range(2):
            part = slice(i * step, (i + 1) * step)
            wanted = given[b, part] if (b + i) % 2 == 0 else np.zeros_like(given[b, part])
            assert result[b, part].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("words", [1, 2, 4])
def test_shared_memory(words: int) -> None:
    load, store = SHARED_LOADS[words], SHARED_STORES[words]

    @T.prim_func
    def kernel(A: T.Tensor((8 * words,), "float32"), B: T.Tensor((8 * words,), "float32")):  # type: ignore[valid-type]
        with T.Kernel(1, threads=1):
            S = T.alloc_shared((8 * words,), "float32")
            for i in T.serial(8):
                store(S[i * words], LOADS[words](A[i * words : (i + 1) * words]))
            for i in T.serial(8):
                STORES[words](B[i * words], load(S[(7 - i) * words]))

    given = np.random.default_rng(2).standard_normal(8 * words).astype(np.float32)
    result = np.zeros_like(given)
    tilelang.compile(kernel, target="c")(given, result)
    assert np.array_equal(result.reshape(8, words), given.reshape(8, words)[::-1])


def test_a_false_predicate_touches_nothing() -> None:
    @T.prim_func
    def kernel(A: T.Tensor((6,), "float32"), out: T.Tensor((3, 4), "uint32")):  # type: ignore[valid-type]
        with T.Kernel(1, threads=1):
            for i in T.serial(3):
                out[i, 0:4] = V.ldg128(A[i * 4], pred=i * 4 + 4 <= 6)

    given, out = np.ones(6, np.float32), np.full((3, 4), 7, np.uint32)
    tilelang.compile(kernel, target="c")(given, out)
    assert out[0].view(np.float32).tolist() == [1, 1, 1, 1]
    assert not out[1:].any()


def test_constant_predicates_leave_no_condition() -> None:
    @T.prim_func
    def kernel(A: T.Tensor((8,), "int32")):  # type: ignore[valid-type]
        with T.Kernel(1, threads=1):
            V.stg64(A[0], V.ldg64(A[2], pred=True), pred=True)
            V.stg64(A[4], V.ldg64(A[2], pred=False))
            V.stg64(A[6], V.ldg64(A[2]), pred=False)

    assert "if" not in kernel.script().replace("prim_func", "")
    given = np.arange(8, dtype=np.int32)
    tilelang.compile(kernel, target="c")(given)
    assert given.tolist() == [2, 3, 2, 3, 0, 0, 6, 7]


def test_values_of_other_types_with_the_same_bits() -> None:
    @T.prim_func
    def kernel(A: T.Tensor((4,), "float32"), B: T.Tensor((8,), "float16")):  # type: ignore[valid-type]
        with T.Kernel(1, threads=1):
            V.stg128(B[0:8], A[0:4])
            V.stg32(A[0], 5)

    given, result = np.arange(4, dtype=np.float32), np.zeros(8, np.float16)
    wanted = given.tobytes()
    tilelang.compile(kernel, target="c")(given, result)
    assert result.tobytes() == wanted
    assert given.view(np.int32)[0] == 5


def fails(kind: type[Exception], body: Callable[[Any, Any], Any]) -> str:
    with pytest.raises(kind) as caught:

        @T.prim_func
        def kernel(A: T.Tensor((8, 8), "float32"), D: T.Tensor((8,), "float64")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                body(A, D)

    return str(caught.value)


def test_what_is_refused() -> None:
    assert "ldg32: expected an element or region" in fails(TypeError, lambda A, D: V.ldg32(3))
    assert "expected an element" in fails(ArgumentTypeError, lambda A, D: V.stg32("A", 3))
    assert "no whole number of elements of `D`" in fails(DTypeError, lambda A, D: V.ldg32(D[0]))
    assert "moves 4 elements" in fails(ShapeError, lambda A, D: V.ldg128(A[0, 0:8]))
    assert "moves 4 elements" in fails(ShapeError, lambda A, D: V.ldg128(A[0:4, 0]))
    assert "expected shared" in fails(ScopeError, lambda A, D: V.lds32(A[0, 0]))
    shared = lambda A, D: V.ldg32(T.alloc_shared((4,), "float32")[0])  # noqa: E731
    assert "expected global" in fails(ScopeError, shared)
    text = fails(DTypeError, lambda A, D: V.stg128(A[0, 0], V.ldg64(A[0, 0])))
    assert "64 bits; expected 128" in text
