"""legalize_memory: no access leaves its buffer, results stay, and tests stand outside loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tilelang.language as T
from tests.interpreter import Interpreter, run
from tilelang.ir.annotation import IN_RANGE, SAFE_VALUE
from tilelang.ir.expr import Call
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Attr, For, If, LoopKind
from tilelang.ir.verify import verify
from tilelang.ir.visitor import walk
from tilelang.target import Target
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.legalize_memory import legalize_memory
from tilelang.transform.lower_tile_ops import lower_tile_ops

CONTEXT = PassContext(Target("c"))
F = "float32"


def legal(func: PrimFunc) -> PrimFunc:
    made = legalize_memory(lower_tile_ops(func, CONTEXT), CONTEXT)
    verify(made, "thread")
    assert not any(isinstance(n, Attr) and n.key in (IN_RANGE, SAFE_VALUE) for n in walk(made))
    return made


def strictly(func: PrimFunc, arrays: dict[str, Any]) -> None:
    """Run with every access to global memory checked."""
    interpreter = Interpreter(func)
    interpreter.must_be_in_range = True
    interpreter.run(arrays)


def check(func: PrimFunc, **arrays: Any) -> PrimFunc:
    """The legalized program stays in its buffers and computes what the tile program computes."""
    made = legal(func)
    copies = [
        {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in arrays.items()} for _ in "ab"
    ]
    run(func, copies[0])
    strictly(made, copies[1])
    for name, value in copies[0].items():
        np.testing.assert_array_equal(copies[1][name], value, err_msg=name)
    return made


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def conditions_in(func: PrimFunc) -> int:
    """Conditions that are evaluated somewhere."""
    return sum(
        isinstance(n, If) or (isinstance(n, Call) and n.op == "if_then_else") for n in walk(func)
    )


@pytest.mark.parametrize("n", [1, 7, 128, 129, 300])
def test_the_tail_of_a_parallel_loop_is_a_shorter_loop(n: int) -> None:
    m = T.dynamic("m")

    @T.prim_func
    def k(A: T.Tensor((m,), F), B: T.Tensor((m,), F), C: T.Tensor((m,), F)):
        with T.Kernel(T.ceildiv(m, 128)) as b:
            for i in T.Parallel(128):
                C[b * 128 + i] = A[b * 128 + i] + B[b * 128 + i]

    made = check(k, A=floats(n), B=floats(n, seed=1), C=zeros(n))
    assert conditions_in(made) == 0
    assert [p.kind for p in walk(made) if isinstance(p, For)] == [LoopKind.VECTORIZED]


def test_what_is_proved_is_not_tested() -> None:
    @T.prim_func
    def k(A: T.Tensor((256,), F), C: T.Tensor((256,), F)):
        with T.Kernel(2) as b:
            for i in T.Parallel(128):
                C[b * 128 + i] = A[b * 128 + i]

    lowered = lower_tile_ops(k, CONTEXT)
    assert legalize_memory(lowered, CONTEXT) is lowered


@pytest.mark.parametrize(("rows", "columns"), [(16, 32), (17, 33), (5, 70), (40, 1)])
def test_both_axes_of_a_tile(rows: int, columns: int) -> None:
    @T.prim_func
    def k(A: T.Tensor((rows, columns), F), C: T.Tensor((rows, columns), F)):
        with T.Kernel(T.ceildiv(columns, 32), T.ceildiv(rows, 16)) as (bx, by):
            for i, j in T.Parallel(16, 32):
                C[by * 16 + i, bx * 32 + j] = A[by * 16 + i, bx * 32 + j] * 2.0

    made = check(k, A=floats(rows, columns), C=zeros(rows, columns))
    assert conditions_in(made) == 0  # both conditions became loop bounds


@pytest.mark.parametrize("columns", [32, 33, 63, 70])
def test_a_load_at_an_edge_gives_the_safe_value(columns: int) -> None:
    @T.prim_func
    def k(A: T.Tensor((8, columns), F), C: T.Tensor((8, 96), F)):
        with T.Kernel(3) as bx:
            T.annotate_safe_value({A: -3.0})
            S = T.alloc_shared((8, 32), F)
            for i, j in T.Parallel(8, 32):
                S[i, j] = A[i, bx * 32 + j]
            for i, j in T.Parallel(8, 32):
                C[i, bx * 32 + j] = S[i, j]

    A = floats(8, columns)
    C = zeros(8, 96)
    made = legal(k)
    strictly(made, {"A": A, "C": C})
    expected = np.full((8, 96), -3.0, np.float32)
    expected[:, :columns] = A
    np.testing.assert_array_equal(C, expected)
    loads = [n for n in walk(made) if isinstance(n, Call) and n.op == "if_then_else"]
    assert not loads  # the loop is cut in two instead


def test_safe_values_are_lexical() -> None:
    @T.prim_func
    def k(A: T.Tensor((4,), F), C: T.Tensor((8,), F)):
        with T.Kernel(1):
            x = T.alloc_var("int32", 5)
            T.annotate_safe_value({A: 1.0})
            if x > 3:
                T.annotate_safe_value({A: 2.0})
                C[0] = A[x]
            C[1] = A[x]
            C[2] = A[x - 4]

    A, C = floats(4), zeros(8)
    strictly(legal(k), {"A": A, "C": C})
    np.testing.assert_array_equal(C[:3], np.array([2.0, 1.0, A[1]], np.float32))


def test_conditions_of_the_program_are_used() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def k(A: T.Tensor((n,), F), C: T.Tensor((n,), F)):
        with T.Kernel(T.ceildiv(n, 32)) as b:
            for i in T.Parallel(32):
                if b * 32 + i < n:
                    C[b * 32 + i] = A[b * 32 + i]

    made = check(k, A=floats(45), C=zeros(45))
    assert conditions_in(made) == 1


def test_assumptions_hold_for_the_rest_of_their_block() -> None:
    n, m = T.dynamic("n, m")

    @T.prim_func
    def k(A: T.Tensor((n,), F), C: T.Tensor((m,), F)):
        with T.Kernel(1):
            T.assume(m <= n)
            for i in T.serial(m):
                C[i] = A[i]

    assert conditions_in(legal(k)) == 0


@pytest.mark.parametrize("limit", [4, 9])
def test_indirect_accesses_are_tested(limit: int) -> None:
    @T.prim_func
    def k(
        P: T.Tensor((16,), "int32"),
        A: T.Tensor((limit,), F),
        C: T.Tensor((limit,), F),
        D: T.Tensor((16,), F),
    ):
        with T.Kernel(1):
            for i in T.serial(16):
                C[P[i]] = A[P[15 - i]]
                D[i] = A[P[i]]

    index = np.random.default_rng(2).integers(-3, 12, 16).astype(np.int32)
    check(k, P=index, A=floats(limit), C=zeros(limit), D=zeros(16))


def test_a_condition_that_reads_memory_is_not_moved() -> None:
    @T.prim_func
    def k(P: T.Tensor((1,), "int32"), C: T.Tensor((8,), F)):
        with T.Kernel(1):
            for i in T.serial(12):
                C[P[0] + i % 2] = 1.0
                P[0] = P[0] + 1

    check(k, P=np.array([-2], np.int32), C=zeros(8))


def test_statements_that_share_a_condition_share_its_test() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def k(A: T.Tensor((n, 8), F), C: T.Tensor((n, 8), F), D: T.Tensor((n, 8), F)):
        with T.Kernel(T.ceildiv(n, 4)) as b:
            for r in T.unroll(4):
                for j in T.serial(8):
                    v = A[b * 4 + r, j]
                    C[b * 4 + r, j] = v + 1.0
                    D[b * 4 + r, 7 - j] = v

    made = check(k, A=floats(6, 8), C=zeros(6, 8), D=zeros(6, 8))
    assert conditions_in(made) == 1
    test = next(n for n in walk(made) if isinstance(n, If))
    assert any(isinstance(n, For) for n in walk(test.then_body))


@pytest.mark.parametrize(("start", "step"), [(-5, 1), (3, 2), (14, -1), (20, -3)])
def test_bounds_of_every_direction(start: int, step: int) -> None:
    n = T.dynamic("n")

    @T.prim_func
    def k(C: T.Tensor((n,), F), s: T.int32):
        with T.Kernel(1):
            for i in T.serial(12):
                C[s + i * step] = C[s + i * step] + 1.0

    check(k, C=floats(10), s=start)


def test_atomics_are_tested_like_stores() -> None:
    @T.prim_func
    def k(P: T.Tensor((32,), "int32"), C: T.Tensor((8,), "int32"), D: T.Tensor((32,), "int32")):
        with T.Kernel(1):
            for i in T.serial(32):
                T.atomic_add(C[P[i]], 1)
                D[i] = T.atomic_max(C[P[i] + 1], 4, return_prev=True)

    index = np.random.default_rng(3).integers(-4, 12, 32).astype(np.int32)
    check(k, P=index, C=np.zeros(8, np.int32), D=np.ones(32, np.int32))


@pytest.mark.parametrize("n", [4, 7, 8, 10])
def test_vectors_at_an_edge(n: int) -> None:
    m = T.dynamic("m")

    @T.prim_func
    def k(A: T.Tensor((m,), F), C: T.Tensor((m,), F), D: T.Tensor((12,), F)):
        with T.Kernel(3) as b:
            C[b * 4 : b * 4 + 4] = A[b * 4 : b * 4 + 4]
            D[b * 4 : b * 4 + 4] = A[b * 4 : b * 4 + 4]

    check(k, A=floats(n), C=zeros(n), D=zeros(12))


def test_it_can_be_switched_off() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def k(A: T.Tensor((n,), F), C: T.Tensor((n,), F)):
        with T.Kernel(T.ceildiv(n, 32)) as b:
            for i in T.Parallel(32):
                C[b * 32 + i] = A[b * 32 + i]

    off = PassContext(Target("c"), {PassConfigKey.TL_DISABLE_SAFE_MEMORY_ACCESS: True})
    lowered = lower_tile_ops(k, CONTEXT)
    assert legalize_memory(lowered, off) is lowered


def test_tile_operations_stay_as_they_clipped_themselves() -> None:
    @T.prim_func
    def k(A: T.Tensor((20, 30), F), C: T.Tensor((20, 30), F)):
        with T.Kernel(2, 2) as (bx, by):
            S = T.alloc_shared((16, 16), F)
            T.copy(A[by * 16, bx * 16], S)
            T.copy(S, C[by * 16, bx * 16])

    check(k, A=floats(20, 30), C=zeros(20, 30))
