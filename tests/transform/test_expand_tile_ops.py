"""Element-wise tile operations as nests: the same program, and nothing else changed."""

from __future__ import annotations

import numpy as np
import pytest

import tests.interpreter as interpreter
import tilelang.language as T
from tests.transform.tile_programs import program
from tilelang.ir.annotation import TILE_OP
from tilelang.ir.stmt import For, LoopKind, annotation
from tilelang.ir.tile import TileOp
from tilelang.ir.verify import verify
from tilelang.ir.visitor import walk
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.expand_tile_ops import expand_tile_ops

CHUNKS, CHUNK = 4, 10


def expanded(func):
    made = expand_tile_ops(func, PassContext(Target("cuda -arch=sm_80")))
    verify(made, form="tile")
    return made


def same_results(func, inputs):
    found = []
    for version in (func, expanded(func)):
        arrays = {n: x.copy() for n, x in inputs.items()}
        interpreter.run(version, arrays)
        found.append(arrays)
    for name, want in found[0].items():
        np.testing.assert_array_equal(found[1][name], want)
    return found[0]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_programs_mean_the_same(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        made = program(seed)
        same_results(made.traced(), made.inputs)
        left = {n.op for n in walk(expanded(made.traced())) if isinstance(n, TileOp)}
        assert left <= {"gemm", "reduce"}


@pytest.mark.parametrize("corner", [(0, 0), (3, 5), (60, 60), (-2, -3)])
def test_a_copy_that_sticks_out_is_cut_off(corner):
    y, x = corner

    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "int32"), B: T.Tensor((64, 64), "int32")):
        with T.Kernel(1, threads=32):
            a = T.alloc_fragment((8, 12), "int32")
            T.copy(A[60, 58], a)
            for i, j in T.Parallel(8, 12):
                B[i + y, j + x] = a[i, j] + 1

    rng = np.random.default_rng(0)
    inputs = {
        "A": rng.integers(0, 99, (64, 64)).astype(np.int32),
        "B": np.zeros((64, 64), np.int32),
    }
    same_results(kernel, inputs)


def test_atomics_and_transpositions():
    @T.prim_func
    def kernel(A: T.Tensor((8, 12), "float32"), B: T.Tensor((12, 8), "float32")):
        with T.Kernel(2, threads=32):
            a = T.alloc_shared((8, 12), "float32")
            b = T.alloc_shared((12, 8), "float32")
            T.copy(A, a)
            T.transpose(a, b)
            T.atomic_add(B, b)

    a = np.arange(96, dtype=np.float32).reshape(8, 12)
    got = same_results(kernel, {"A": a, "B": np.ones((12, 8), np.float32)})
    np.testing.assert_array_equal(got["B"], 1 + 2 * a.T)


def test_the_nest_remembers_its_operation_and_its_line():
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=32):
            a = T.alloc_fragment((64,), "float32")
            T.copy(A, a)

    (nest,) = (n for n in walk(expanded(kernel)) if isinstance(n, For))
    (op,) = (n for n in walk(kernel) if isinstance(n, TileOp))
    assert nest.kind is LoopKind.PARALLEL and nest.span == op.span
    assert annotation(nest.annotations, TILE_OP) == "copy"


def test_nothing_to_expand_is_left_alone():
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=32):
            for i in T.Parallel(64):
                A[i] = A[i] + 1.0

    assert expand_tile_ops(kernel, PassContext(Target("cuda"))) is kernel
