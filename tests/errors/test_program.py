"""Mistakes that the whole program shows, and operations that the target has no unit for."""

from __future__ import annotations

import pytest

import tilelang
import tilelang.language as T
from tests.errors.location import assert_located, lowering_fails, tracing_fails
from tilelang.engine.lower import lower
from tilelang.errors import (
    ArgumentTypeError,
    ArithmeticFault,
    Error,
    IndexRangeError,
    TargetError,
)
from tilelang.transform.check_tile_program import ProgramError

F = "float32"


def note_texts(error: Error) -> list[str]:
    """The source that each note points at."""
    return [note.span.text() for note in error.notes if note.span]


class TestIndices:
    def test_of_a_serial_loop(self):
        @T.prim_func
        def k(B: T.Tensor((8,), F)):
            with T.Kernel(1):
                S = T.alloc_shared((8,), F)
                for i in T.serial(9):
                    S[i] = 0.0

        error = lowering_fails(
            k, ProgramError, "S[i] = 0.0", "S[i]", "`i` runs from 0 to 8", "axis 0 of `S`",
            "8 elements",
        )  # fmt: skip
        assert note_texts(error) == ["T.serial(9)", "T.alloc_shared((8,), F)"]

    def test_of_several_loops(self):
        @T.prim_func
        def k(B: T.Tensor((8,), F)):
            with T.Kernel(1):
                S = T.alloc_fragment((8,), F)
                for i, j in T.Parallel(4, 4):
                    S[i * 4 + j] = 0.0

        lowering_fails(
            k, ProgramError, "S[i * 4 + j] = 0.0", "S[i * 4", "`i * 4 + j` runs from 0 to 15",
            "`i` runs from 0 to 3", "`j` runs from 0 to 3",
        )  # fmt: skip

    def test_a_constant_inside_a_loop(self):
        @T.prim_func
        def good(B: T.Tensor((8,), F)):
            with T.Kernel(1):
                B[7] = 0.0

        def bad(V):
            with T.Kernel(1):
                for _ in T.serial(4):
                    V[64] = 0.0

        lower(good, "c")
        tracing_fails(bad, IndexRangeError, "V[64] = 0.0", "V[64]", "index 64", "axis 0 of `V`")

    def test_of_tiles(self):
        @T.prim_func
        def moving(B: T.Tensor((8,), F)):
            with T.Kernel(1):
                S = T.alloc_shared((8,), F)
                T.clear(S)
                for i in T.serial(4):
                    T.copy(S[i * 4 : i * 4 + 4], B[0:4])

        @T.prim_func
        def corner(B: T.Tensor((8,), F)):
            with T.Kernel(1):
                S = T.alloc_shared((8,), F)
                T.clear(S)
                T.copy(S[4], B)

        def constant(V):
            with T.Kernel(1):
                S = T.alloc_shared((8,), F)
                T.copy(S[4:12], V[0:8])

        line = "T.copy(S[i * 4 : i * 4 + 4], B[0:4])"
        lowering_fails(
            moving, ProgramError, line, "T.copy", "tile runs from 0 to 15", "`i` runs from 0 to 3"
        )
        lowering_fails(corner, ProgramError, "T.copy(S[4], B)", "T.copy", "from 4 to 11", "`S`")
        tracing_fails(constant, IndexRangeError, "T.copy(S[4:12]", "S[4:12]", "4:12", "8 elements")


class TestParallel:
    def test_nesting(self):
        @T.prim_func
        def k(B: T.Tensor((8, 8), F)):
            with T.Kernel(1):
                for i in T.Parallel(8):
                    B[i, 0] = 0.0
                    for j in T.Parallel(4):
                        B[i, j] = 1.0

        error = lowering_fails(
            k, ProgramError, "for j in T.Parallel(4):", "T.Parallel(4)", "sole statement",
            "one T.Parallel over all extents",
        )  # fmt: skip
        assert note_texts(error) == ["T.Parallel(8)"]

    def test_pipelines(self):
        @T.prim_func
        def k(B: T.Tensor((8, 8), F)):
            with T.Kernel(1):
                for i in T.Parallel(8):
                    for j in T.Pipelined(4):
                        B[i, j] = 1.0

        lowering_fails(
            k, ProgramError, "for j in T.Pipelined(4):", "T.Pipelined(4)", "inside T.Parallel"
        )

    def test_tile_operations(self):
        @T.prim_func
        def copy(B: T.Tensor((8, 8), F)):
            with T.Kernel(1):
                S = T.alloc_shared((8,), F)
                for i in T.Parallel(8):
                    T.copy(B[i, 0:8], S)

        @T.prim_func
        def reduce(B: T.Tensor((8, 8), F)):
            with T.Kernel(1):
                S = T.alloc_shared((1,), F)
                for i in T.Parallel(8):
                    T.reduce_max(B[i, 0:8], S)

        @T.prim_func
        def scan(B: T.Tensor((8, 8), F)):
            with T.Kernel(1):
                for _ in T.Parallel(8):
                    T.cumsum(B, dim=1)

        for func, line, name in (
            (copy, "T.copy(B[i, 0:8], S)", "`T.copy`"),
            (reduce, "T.reduce_max(B[i, 0:8], S)", "`T.reduce_max`"),
            (scan, "T.cumsum(B, dim=1)", "`T.cumsum`"),
        ):
            error = lowering_fails(func, ProgramError, line, "T.", name, "whole tile", "move it")
            assert note_texts(error) == ["T.Parallel(8)"]

    def test_a_symbolic_extent_and_a_fragment(self):
        n = T.dynamic("n")

        @T.prim_func
        def k(B: T.Tensor((n,), F)):
            with T.Kernel(1):
                L = T.alloc_fragment((64,), F)
                T.clear(L)
                for i in T.Parallel(n):
                    B[i] = L[i]

        error = lowering_fails(
            k, ProgramError, "B[i] = L[i]", None, "the fragment `L`", "`i`", "symbolic"
        )
        assert note_texts(error) == ["T.alloc_fragment((64,), F)"]

    def test_a_private_array(self):
        @T.prim_func
        def k(B: T.Tensor((8,), F)):
            with T.Kernel(1):
                L = T.alloc_local((8,), F)
                for i in T.Parallel(8):
                    L[i] = B[i]

        lowering_fails(
            k, ProgramError, "L[i] = B[i]", "L[i]", "`L` is private", "`i`", "T.alloc_fragment"
        )


class TestSymbols:
    def test_no_argument_has_it(self):
        n = T.dynamic("n")

        @T.prim_func
        def k(B: T.Tensor((8,), F)):
            with T.Kernel(n) as bx:
                B[bx] = 1.0

        error = lowering_fails(
            k, ProgramError, 'n = T.dynamic("n")', 'T.dynamic("n")', "no argument", "size `n`",
            "pass it as a scalar",
        )  # fmt: skip
        assert note_texts(error) == ["T.Kernel(n)"]

    def test_only_in_forms_that_cannot_be_solved(self):
        m, n = T.dynamic("m, n")

        @T.prim_func
        def product(B: T.Tensor((m * n,), F)):
            with T.Kernel(1):
                B[0] = 1.0

        with pytest.raises(ValueError) as caught:
            tilelang.compile(product, target="c")
        assert_located(
            caught.value, 'm, n = T.dynamic("m, n")', 'T.dynamic("m, n")', "determines `m`",
            "`m * n` of `B`", "add a parameter `m: T.int32`",
        )  # fmt: skip

        @T.prim_func
        def half(B: T.Tensor((n // 2,), F)):
            with T.Kernel(1):
                B[0] = 1.0

        with pytest.raises(ValueError) as caught:
            tilelang.compile(half, target="c", execution_backend="cython")
        assert_located(caught.value, "T.dynamic", "T.dynamic", "determines `n`", "`n // 2` of `B`")

    @pytest.mark.parametrize("backend", ["tvm_ffi", "cython"])
    def test_two_values_at_a_call(self, backend):
        import numpy as np

        n = T.dynamic("n")

        @T.prim_func
        def twice(A: T.Tensor((n,), F), B: T.Tensor((2, n), F)):
            with T.Kernel(n) as bx:
                B[0, bx] = A[bx]

        kernel = tilelang.compile(twice, target="c", execution_backend=backend)
        kernel(np.ones(3, np.float32), np.ones((2, 3), np.float32))
        with pytest.raises(ValueError) as caught:
            kernel(np.ones(3, np.float32), np.ones((2, 4), np.float32))
        text = str(caught.value)
        assert "twice(): argument 2 `B`: expected float32[2, n] on cpu" in text
        assert "n = 3" in text and "float32[2, 4]" in text


class TestDivision:
    def test_by_the_constant_zero(self):
        def remainder(N):
            with T.Kernel(8) as bx:
                N[bx, 0] = bx % 0

        def truncated(N):
            with T.Kernel(8) as bx:
                N[bx, 0] = T.truncdiv(bx, 0)

        def blocks(N):
            with T.Kernel(T.ceildiv(8, 0)):
                N[0, 0] = 1

        tracing_fails(remainder, ArithmeticFault, "bx % 0", "bx % 0", "`bx`", "zero")
        tracing_fails(truncated, ArithmeticFault, "T.truncdiv(bx, 0)", "T.truncdiv", "`bx`", "zero")
        tracing_fails(blocks, ArithmeticFault, "T.ceildiv(8, 0)", "T.ceildiv(8, 0)", "zero")

    def test_in_python_itself(self):
        def body(N):
            with T.Kernel(1):
                N[0, 0] = 1 // 0

        error = tracing_fails(body, ArithmeticFault, "N[0, 0] = 1 // 0", "1 // 0", "zero")
        assert isinstance(error, ZeroDivisionError)

    def test_by_what_is_always_zero(self):
        @T.prim_func
        def loop(B: T.Tensor((8,), "int32")):
            with T.Kernel(8) as bx:
                for i in T.serial(1):
                    B[bx] = bx // i

        @T.prim_func
        def difference(B: T.Tensor((8,), "int32")):
            with T.Kernel(8) as bx:
                B[bx] = T.truncmod(bx, bx - bx)

        lowering_fails(loop, ProgramError, "B[bx] = bx // i", None, "`bx`", "`i`", "always zero")
        lowering_fails(
            difference, ProgramError, "T.truncmod(bx, bx - bx)", None, "`bx - bx`", "always zero"
        )


def test_python_types_that_do_not_go_together():
    def body(A):
        with T.Kernel(1):
            A[0, 0] = "1" + 1

    tracing_fails(body, ArgumentTypeError, 'A[0, 0] = "1" + 1', '"1" + 1', "str")


def test_a_store_in_a_function_that_is_not_traced():
    def body(A):
        with T.Kernel(1):
            _store(A)

    tracing_fails(body, ArgumentTypeError, "A[0, 0] = 1.0", "A[0, 0]", "assignment", "@T.macro")


def _store(A):
    A[0, 0] = 1.0


def test_all_problems_are_reported_at_once():
    @T.prim_func
    def k(B: T.Tensor((8,), F)):
        with T.Kernel(1):
            S = T.alloc_shared((8,), F)
            for i in T.serial(9):
                S[i] = 0.0
            for _ in T.Parallel(8):
                T.copy(S, B)

    error = lowering_fails(k, ProgramError, "S[i] = 0.0", "S[i]", "`T.copy` works on a whole tile")
    assert "T.copy(S, B)" in note_texts(error)


# -- operations of other targets -----------------------------------------------------------------


def _tma_copy(A, S, L):
    T.tma_copy(S, A)


def _copy_cluster(A, S, L):
    T.copy_cluster(S, S, dst_block=1)


def _tcgen05_gemm(A, S, L):
    T.tcgen05_gemm(S, S, L, transpose_B=True)


def _barrier_wait(A, S, L):
    T.barrier_wait(S, 0)


def _mbarrier_arrive(A, S, L):
    T.mbarrier_arrive(S)


def _cluster_sync(A, S, L):
    T.cluster_sync()


def _block_rank(A, S, L):
    T.evaluate(T.block_rank_in_cluster())


def _wait_wgmma(A, S, L):
    T.wait_wgmma(0)


def _ldmatrix(A, S, L):
    T.ptx_ldmatrix(S)


def _mma(A, S, L):
    T.ptx_mma(1)


def _mfma(A, S, L):
    T.mfma(1)


def _alloc_tmem(A, S, L):
    T.alloc_tmem((64, 64), F)


def _alloc_barrier(A, S, L):
    T.alloc_barrier(128)


def _sync_grid(A, S, L):
    T.sync_grid()


@pytest.mark.parametrize(
    ("operation", "line", "message"),
    [
        (_tma_copy, "T.tma_copy(", "tma_copy: the target `c` has no tensor memory accelerator"),
        (_copy_cluster, "T.copy_cluster(", "copy_cluster: the target `c` has no block clusters"),
        (_tcgen05_gemm, "T.tcgen05_gemm(", "tcgen05_gemm: the target `c` has no tensor memory"),
        (_barrier_wait, "T.barrier_wait(", "the target `c` has no memory barriers"),
        (_mbarrier_arrive, "T.mbarrier_arrive(S)", "the target `c` has no memory barriers"),
        (_cluster_sync, "T.cluster_sync()", "cluster_sync: the target `c` has no block clusters"),
        (_block_rank, "T.evaluate(T.block_", "the target `c` has no block clusters"),
        (_wait_wgmma, "T.wait_wgmma(0)", "the target `c` has no warp-group matrix unit"),
        (_ldmatrix, "T.ptx_ldmatrix(S)", "ptx_ldmatrix: the target `c` has no warp matrix unit"),
        (_mma, "T.ptx_mma(1)", "ptx_mma: the target `c` has no warp matrix unit"),
        (_mfma, "T.mfma(1)", "mfma: the target `c` has no matrix core"),
        (_alloc_tmem, "T.alloc_tmem(", "the target `c` has no shared.tmem memory"),
        (_alloc_barrier, "T.alloc_barrier(128)", "the target `c` has no shared.barrier memory"),
        (_sync_grid, "T.sync_grid()", "sync_grid: the target `c` has no such operation"),
    ],
)  # fmt: skip
def test_operations_of_other_targets(operation, line, message):
    @T.prim_func
    def k(A: T.Tensor((64, 64), F)):
        with T.Kernel(1, threads=128):
            S = T.alloc_shared((64, 64), F)
            L = T.alloc_fragment((64, 64), F)
            T.clear(S)
            T.clear(L)
            operation(A, S, L)

    lowering_fails(k, TargetError, line, line, message)


def test_hints_of_other_targets_are_passed_over():
    @T.prim_func
    def k(A: T.Tensor((64,), F)):
        with T.Kernel(1, threads=128):
            T.set_max_nreg(24, 0)
            T.annotate_producer_reg_dealloc()
            T.disable_warp_group_reg_alloc()
            T.no_set_max_nreg()
            T.fence_proxy_async()
            T.pdl_sync()
            for i in T.Parallel(64):
                A[i] = 1.0

    assert "1.0" in lower(k, "c").kernel_source
