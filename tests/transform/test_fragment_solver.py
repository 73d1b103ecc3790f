"""Fragments that follow from others: held by those who run, and met by memory in vectors."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilelang.language as T
from tests.transform.random_nests import case, runs_of
from tests.transform.test_infer_fragments import inferred, layout_named, layouts_of, nests_of
from tests.transform.test_nests import owners_of
from tilelang.codegen.cuda import print_cuda
from tilelang.ir.buffer import FRAGMENT
from tilelang.layout.evaluate import evaluate
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.fragment_solver import carried_fragment
from tilelang.transform.nests import partition_of
from tilelang.transform.pipeline import run

TARGET = Target("cuda -arch=sm_80")


def test_carried_fragments_are_held_by_those_who_run():
    """The owners of an element are exactly the threads that access it, each in one register."""
    carried = 0
    for seed in range(400):
        made = case(seed)
        partition = partition_of(made.nest, made.layouts, made.threads)
        for access in made.nest.accesses:
            if access.is_store or access.buffer is made.stored:
                continue
            fragment = carried_fragment(partition, access)
            if fragment is None:
                continue
            carried += 1
            runs = runs_of(partition, 1, {})
            owners, _ = owners_of(access, fragment, runs)
            threads = np.broadcast_to(np.arange(made.threads)[:, None, None], runs.active.shape)
            assert (owners == threads[..., None]).any(-1)[runs.active].all(), seed
            index = [np.broadcast_to(i, runs.active.shape)[runs.active]
                     for i in (run_index(access, runs))]  # fmt: skip
            number = np.ravel_multi_index(index, fragment.shape)
            running = set(zip(number.tolist(), threads[runs.active].tolist()))
            table = fragment.thread_table.reshape(-1, fragment.num_replicas)
            assert running == {(n, int(t)) for n, row in enumerate(table) for t in row}, seed
    assert carried > 8


def run_index(access, runs):
    return [evaluate(i, runs.env) for i in access.indices]


def test_rows_of_an_accumulator_stay_with_their_threads():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float16"), C: T.Tensor((64, 64), "float32")):
        with T.Kernel(1, threads=128):
            a = T.alloc_shared((64, 64), "float16")
            c = T.alloc_fragment((64, 64), "float32")
            r = T.alloc_fragment((64,), "float32")
            T.copy(A, a)
            T.gemm(a, a, c, policy=T.GemmWarpPolicy.FullRow)
            T.reduce_max(c, r, dim=1)
            for i, j in T.Parallel(64, 64):
                c[i, j] = c[i, j] - r[i]
            T.copy(c, C)

    func = inferred(kernel)
    assert not [b.name for b, _ in layouts_of(func) if b.name.endswith("_exchange")]
    rows, whole = layout_named(func, "r"), layout_named(func, "c")
    for row in range(64):
        wanted = set(whole.thread_table.reshape(64, -1)[row].tolist())
        assert set(rows.thread_table.reshape(64, -1)[row].tolist()) == wanted


def test_a_free_fragment_moves_in_the_widest_vectors():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float16"), B: T.Tensor((64, 64), "float32")):
        with T.Kernel(1, threads=128):
            a = T.alloc_fragment((64, 64), "float16")
            b = T.alloc_fragment((64, 64), "float32")
            T.copy(A, a)
            T.copy(b, B)

    func = inferred(kernel)
    assert layout_named(func, "a").vector == 8
    assert layout_named(func, "b").vector == 4


def _transpose(rows, columns, kind="float32"):
    @T.prim_func
    def transpose(A: T.Tensor((rows, columns), kind), B: T.Tensor((columns, rows), kind)):
        with T.Kernel(1, threads=128):
            a = T.alloc_fragment((rows, columns), kind)
            b = T.alloc_fragment((columns, rows), kind)
            T.copy(A, a)
            for i, j in T.Parallel(rows, columns):
                b[j, i] = a[i, j]
            T.copy(b, B)

    return transpose


@pytest.mark.parametrize("kind, vector", [("float32", 4), ("float16", 8)])
@pytest.mark.parametrize("rows, columns", [(64, 64), (32, 96)])
def test_a_transposed_fragment_meets_global_memory_in_vectors(rows, columns, kind, vector):
    ctx = PassContext(Target("cuda -arch=sm_80"))
    func = inferred(_transpose(rows, columns, kind), ctx=ctx)
    layouts = {b: f for b, f in layouts_of(func) if b.scope() == FRAGMENT}
    for nest in nests_of(func):
        if any(a.buffer.scope() == "global" for a in nest.accesses):
            assert partition_of(nest, layouts, 128).vector(nest.vector_limit) == vector
    (note,) = (n for n in ctx.notes if getattr(n, "moves", None))
    assert note.buffer == "a"
    if rows == columns:  # otherwise the fragment that follows has no closed form
        assert "meets global memory by 16 bytes" in note.reason
    assert [b.name for b, _ in layouts_of(func)] == ["a", "b", "a_exchange"]


def test_a_transposed_fragment_follows_where_there_is_little_shared_memory():
    func = inferred(_transpose(128, 128))
    assert [b.name for b, _ in layouts_of(func)] == ["a", "b"]


def test_a_transposed_fragment_that_stays_on_chip_follows():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float32"), R: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=128):
            a = T.alloc_fragment((64, 64), "float32")
            b = T.alloc_fragment((64, 64), "float32")
            r = T.alloc_fragment((64,), "float32")
            T.copy(A, a)
            for i, j in T.Parallel(64, 64):
                b[j, i] = a[i, j]
            T.reduce_sum(b, r, dim=1)
            T.copy(r, R)

    assert [b.name for b, _ in layouts_of(inferred(kernel))] == ["a", "b", "r"]


def test_the_text_of_a_transpose_moves_16_bytes_on_both_sides():
    text = print_cuda(run(_transpose(64, 64), PassContext(TARGET)), TARGET)
    assert re.search(r"tl_ld_b128\(&a\[.*\], &A\[", text)
    assert re.search(r"tl_st_b128\(&B\[.*\], &b\[", text)
