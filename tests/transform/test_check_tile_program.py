"""check_tile_program: mistakes of the whole program, at the user's lines, all at once."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import tilelang.language as T
from tilelang.ir.func import PrimFunc
from tilelang.target import Target
from tilelang.transform.check_tile_program import (
    ProgramError,
    ProgramWarning,
    check_tile_program,
)
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext

CONTEXT = PassContext(Target("c"))
F = "float32"


def line_of(function: Callable[..., Any], text: str) -> int:
    """Line of this file on which `text` first stands, within the source of `function`."""
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


def failure(func: PrimFunc, context: PassContext = CONTEXT) -> ProgramError:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ProgramError) as caught:
            check_tile_program(func, context)
    assert isinstance(caught.value, ValueError)
    return caught.value


def passes(func: PrimFunc, context: PassContext = CONTEXT) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_tile_program(func, context) is func


def test_a_good_program_is_returned_as_it_is() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def k(A: T.Tensor((n, 64), F), B: T.Tensor((n, 64), F)):
        with T.Kernel(T.ceildiv(n, 32), threads=64) as b:
            S = T.alloc_shared((32, 64), F)
            L = T.alloc_fragment((32, 64), F)
            for k in T.Pipelined(4, num_stages=2, order=[0, 1], stage=[0, 1]):
                T.copy(A[b * 32, 0], S)
                for i, j in T.Parallel(32, 64):
                    L[i, j] = S[i, 63 - j] / (k + 1.0)
            for i, j in T.Parallel(n, 64):
                if i < 32:
                    B[b * 32 + i, j] = S[i, j]
            T.copy(L, B[b * 32, 0])

    passes(k)


def test_nesting_of_parallel_loops() -> None:
    @T.prim_func
    def k(B: T.Tensor((8, 8), F)):
        with T.Kernel(1):
            for i in T.Parallel(8):
                B[i, 0] = 0.0
                for j in T.Parallel(8):  # bad
                    B[i, j] = 1.0

    error = failure(k)
    assert "sole statement" in error.message
    assert error.span is not None
    assert error.span.line == line_of(test_nesting_of_parallel_loops, "# bad")


def test_direct_nesting_is_fine() -> None:
    @T.prim_func
    def k(B: T.Tensor((8, 8), F)):
        with T.Kernel(1):
            for i in T.Parallel(8):
                for j in T.Parallel(8):
                    B[i, j] = 1.0

    passes(k)


def test_tile_operations_and_pipelines_inside_parallel() -> None:
    @T.prim_func
    def k(A: T.Tensor((8, 8), F), B: T.Tensor((8, 8), F)):
        with T.Kernel(1):
            S = T.alloc_shared((8,), F)
            for i in T.Parallel(8):
                T.copy(A[i, 0:8], S)  # copy
                for j in T.Pipelined(8):  # pipeline
                    B[i, j] = S[j]

    error = failure(k)
    place = test_tile_operations_and_pipelines_inside_parallel
    assert "T.copy" in error.message
    assert error.span is not None and error.span.line == line_of(place, "# copy")
    assert any(
        "T.Pipelined" in n.message and n.span.line == line_of(place, "# pipeline")
        for n in error.notes
        if n.span
    )
    off = replace(CONTEXT, config={PassConfigKey.TL_DISABLE_PRELOWER_SEMANTIC_CHECK: True})
    passes(k, off)


def test_fragments_and_symbolic_extents() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def k(B: T.Tensor((n,), F)):
        with T.Kernel(1):
            L = T.alloc_fragment((64,), F)
            T.clear(L)
            for i in T.Parallel(n):
                shifted = i // 2
                B[i] = L[shifted]

    assert "whose extent is symbolic" in failure(k).message


def test_private_arrays_and_parallel_variables() -> None:
    @T.prim_func
    def k(B: T.Tensor((8,), F)):
        with T.Kernel(1):
            x = T.alloc_local((8,), F)
            for i in T.Parallel(8):
                x[i] = B[i]

    error = failure(k)
    assert "private to each thread" in error.message and "alloc_fragment" in str(error)


@pytest.mark.parametrize(("order", "stage"), [([0], [0]), ([0, 1, 2], [0, 0, 1])])
def test_pipeline_plans_have_an_entry_per_statement(order: list[int], stage: list[int]) -> None:
    @T.prim_func
    def k(A: T.Tensor((64,), F), B: T.Tensor((64,), F)):
        with T.Kernel(1):
            S = T.alloc_shared((16,), F)
            for k in T.Pipelined(4, num_stages=2, order=order, stage=stage):
                start = k * 16
                T.copy(A[start], S)
                T.copy(S, B[start])

    assert "`order` has" in failure(k).message


def test_a_group_counts_once() -> None:
    @T.prim_func
    def k(A: T.Tensor((64,), F), B: T.Tensor((64,), F)):
        with T.Kernel(1):
            S = T.alloc_shared((16,), F)
            for k in T.Pipelined(4, num_stages=2, order=[0], stage=[0], group=[[0, 1]]):
                T.copy(A[k * 16], S)
                T.copy(S, B[k * 16])

    passes(k)


def test_never_written_buffers_are_a_warning() -> None:
    @T.prim_func
    def k(B: T.Tensor((8,), F)):
        with T.Kernel(1):
            S = T.alloc_shared((8,), F)
            T.copy(S, B)

    with pytest.warns(ProgramWarning, match="nothing writes it"):
        check_tile_program(k, CONTEXT)
    passes(k, replace(CONTEXT, config={PassConfigKey.TL_DISABLE_BUFFER_INIT_CHECK: True}))


def test_indices_that_leave_their_buffer_in_some_iteration() -> None:
    @T.prim_func
    def k(B: T.Tensor((8,), F)):
        with T.Kernel(1):
            S = T.alloc_shared((8, 4), F)
            for i in T.serial(2, 8):
                S[i + 1, 0] = 0.0  # store
            for j in T.serial(3):
                T.fill(S[j * 4 : j * 4 + 4, 0:4], 0.0)  # region
            for i in T.serial(4):
                B[i] = S[-i - 6, 0]  # load

    error = failure(k)
    place = test_indices_that_leave_their_buffer_in_some_iteration
    assert error.span is not None and error.span.line == line_of(place, "# store")
    assert "3 to 8" in error.message and "8 elements" in error.message
    assert any("2 to 7" in n.message for n in error.notes)
    lines = [n.span.line for n in error.notes if n.span]
    assert line_of(place, "# region") in lines and line_of(place, "# load") in lines


def test_indices_that_a_condition_guards_are_fine() -> None:
    @T.prim_func
    def k(B: T.Tensor((8,), F)):
        with T.Kernel(1, threads=32):
            tx = T.get_thread_binding()
            S = T.alloc_shared((8,), F)
            for i in T.serial(12):
                if i < 8:
                    S[i] = 1.0
            if tx < 8:
                B[tx] = S[tx] + T.if_then_else(tx > 0, S[tx - 1], 0.0)
            for i in T.serial(12):
                if i == 8:
                    break
                S[i] = 2.0
            for i in T.serial(8):
                S[-1 - i] = 0.0

    passes(k)


def test_sizes_that_no_argument_has() -> None:
    m = T.dynamic("m")  # made

    @T.prim_func
    def k(B: T.Tensor((8,), F)):
        with T.Kernel(T.ceildiv(m, 8)):  # used
            for i in T.Parallel(8):
                B[i] = 0.0

    error = failure(k)
    assert "`m`" in error.message
    place = test_sizes_that_no_argument_has
    assert error.span is not None and error.span.line == line_of(place, "# made")
    (used,) = error.notes
    assert used.span is not None and used.span.line == line_of(place, "# used")


def test_division_by_what_is_always_zero() -> None:
    @T.prim_func
    def k(B: T.Tensor((8,), "int32")):
        with T.Kernel(1):
            for i in T.serial(1):
                B[0] = 5 // i + 7 % (i * 3)

    assert "always zero" in failure(k).message


class _Gpu:
    kind = "gpu"


def test_elements_of_fragments_have_owners_on_other_targets() -> None:
    @T.prim_func
    def k(B: T.Tensor((8,), F)):
        with T.Kernel(1):
            L = T.alloc_fragment((8,), F)
            T.clear(L)
            for i in T.serial(8):
                B[i] = L[i]

    passes(k)
    gpu: Any = PassContext(_Gpu())  # type: ignore[arg-type]
    assert "T.reduce_sum" in str(failure(k, gpu))
