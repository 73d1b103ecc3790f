"""wrap_negative_indices: an index that is certainly negative counts from the end."""

from __future__ import annotations

import numpy as np

import tilelang.language as T
from tests.interpreter import Interpreter
from tilelang.ir.expr import Select
from tilelang.ir.verify import verify
from tilelang.ir.visitor import walk
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.wrap_negative_indices import wrap_negative_indices

CONTEXT = PassContext(Target("c"))
F = "float32"


def wrapped(func: T.PrimFunc) -> T.PrimFunc:
    made = wrap_negative_indices(func, CONTEXT)
    verify(made, "tile")
    return made


def strictly(func: T.PrimFunc, **arrays: np.ndarray) -> None:
    interpreter = Interpreter(func)
    interpreter.must_be_in_range = True
    interpreter.run(arrays)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_loads_and_stores_in_every_scope() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def k(A: T.Tensor((n, 8), F), C: T.Tensor((n,), F)):
        with T.Kernel(1):
            S = T.alloc_shared((8,), F)
            for i in T.serial(8):
                S[-1 - i] = A[-1, i - 8]
            for i in T.serial(n):
                C[-i - 1] = A[i - n, 3] + S[0 - 8]

    A, C = floats(9, 8), floats(9)
    strictly(wrapped(k), A=A, C=C)
    np.testing.assert_array_equal(C[::-1], A[:, 3] + A[-1, 7])


def test_starts_of_regions() -> None:
    @T.prim_func
    def k(A: T.Tensor((24,), F), C: T.Tensor((8,), F)):
        with T.Kernel(1):
            S = T.alloc_shared((8,), F)
            for i in T.serial(3):
                T.copy(A[i * 8 - 24 : i * 8 - 16], S)
            T.copy(S, C)

    A, C = floats(24), floats(8)
    strictly(wrapped(k), A=A, C=C)
    np.testing.assert_array_equal(C, A[16:])


def test_conditions_decide_the_sign() -> None:
    @T.prim_func
    def k(A: T.Tensor((8,), F), C: T.Tensor((8,), F)):
        with T.Kernel(1):
            for i in T.serial(8):
                if i < 3:
                    C[i] = A[i - 3]
                else:
                    C[i] = A[i - 3] * 2.0

    A, C = floats(8), floats(8)
    strictly(wrapped(k), A=A, C=C)
    np.testing.assert_array_equal(C, np.concatenate([A[5:], A[:5] * np.float32(2)]))


def test_what_cannot_be_decided_stays() -> None:
    @T.prim_func
    def k(A: T.Tensor((8,), F), C: T.Tensor((8,), F), s: T.int32):
        with T.Kernel(1):
            for i in T.serial(8):
                C[i] = A[i - 3] + A[s]

    assert wrap_negative_indices(k, CONTEXT) is k


def test_a_stored_value_is_no_condition_any_more() -> None:
    @T.prim_func
    def k(A: T.Tensor((8,), F), C: T.Tensor((8,), F)):
        with T.Kernel(1):
            x = T.alloc_var("int32", -1)
            if x < 0:
                x = 4
                C[0] = A[x]

    A, C = floats(8), floats(8)
    strictly(wrapped(k), A=A, C=C)
    assert C[0] == A[4]


def test_lanes_of_a_vector_wrap_one_by_one() -> None:
    @T.prim_func
    def k(A: T.Tensor((8,), F), C: T.Tensor((3, 4), F), s: T.int32):
        with T.Kernel(1):
            C[0, 0:4] = A[T.Ramp(s, 1, 4)]
            for i in T.serial(2):
                C[1, 0:4] = A[i * 4 - 8 : i * 4 - 4]
                C[2, 0:4] = A[i * 4 : i * 4 + 4]

    for start in (-2, 0, 3):
        A, C = floats(8), floats(3, 4)
        strictly(wrapped(k), A=A, C=C, s=start)
        np.testing.assert_array_equal(C, [A[np.arange(start, start + 4)], A[4:], A[4:]])
    choices = [n for n in walk(wrapped(k)) if isinstance(n, Select)]
    assert len(choices) == 1, "signs that are known are decided at once"
