"""Layouts of shared buffers that nests alone access: fewer bank conflicts, the same results."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.transform.test_infer_fragments import inferred, layouts_of
from tilelang.layout.banks import conflict_degree
from tilelang.transform.shared_layouts import turned_chunks

torch = pytest.importorskip("torch")


def _through_shared(rows, columns, kind, threads=128):
    """The transpose in which shared memory is written by rows and read by columns."""

    @T.prim_func
    def kernel(A: T.Tensor((rows, columns), kind), B: T.Tensor((columns, rows), kind)):
        with T.Kernel(1, threads=threads):
            s = T.alloc_shared((rows, columns), kind)
            T.copy(A, s)
            for j, i in T.Parallel(columns, rows):
                B[j, i] = s[i, j]

    return kernel


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("rows, columns", [(64, 64), (32, 96), (128, 32), (17, 64), (64, 36)])
def test_a_layout_changes_no_result(kind, rows, columns):
    with tilelang.env.scope(TILELANG_EMULATE=True, TILELANG_DISABLE_CACHE=True):
        kernel = tilelang.compile(_through_shared(rows, columns, kind), target="cuda -arch=sm_80")
        a = torch.arange(rows * columns).reshape(rows, columns) % 101
        a = a.to(getattr(torch, kind))
        b = torch.zeros(columns, rows, dtype=a.dtype)
        kernel(a, b)
    assert torch.equal(b, a.T)


def test_a_column_of_a_square_is_read_without_waiting():
    (found,) = [
        f for b, f in layouts_of(inferred(_through_shared(64, 64, "float32"))) if b.name == "s"
    ]
    assert found is not None
    words = found.offsets.reshape(64, 64) * 4
    lanes = np.arange(32)
    row_major = (lanes % 16 * 4 * 64 + lanes // 16) * 4
    assert conflict_degree(row_major, 4) > 2
    assert conflict_degree(words[lanes % 16 * 4, lanes // 16], 4) <= 2
    assert conflict_degree(words[lanes // 16, lanes % 16 * 4], 16) == 1


def test_rows_stay_row_major():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float32"), B: T.Tensor((64, 64), "float32")):
        with T.Kernel(1, threads=128):
            s = T.alloc_shared((64, 64), "float32")
            T.copy(A, s)
            T.copy(s, B)

    assert [f for b, f in layouts_of(inferred(kernel)) if b.name == "s"] == [None]


def test_an_accumulator_is_staged_without_conflicts():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float16"), C: T.Tensor((64, 64), "float16")):
        with T.Kernel(1, threads=128):
            a = T.alloc_shared((64, 64), "float16")
            c = T.alloc_fragment((64, 64), "float32")
            out = T.alloc_shared((64, 64), "float16")
            T.copy(A, a)
            T.gemm(a, a, c)
            T.copy(c, out)
            T.copy(out, C)

    found = {b.name: f for b, f in layouts_of(inferred(kernel))}
    assert found["out"] is not None
    words = found["out"].offsets.reshape(64, 64) * 2
    lanes = np.arange(32)
    assert conflict_degree(words[lanes // 4, lanes % 4 * 2], 4) <= 2


def test_a_buffer_whose_address_is_used_stays_row_major():
    @T.prim_func
    def kernel(A: T.Tensor((64, 64), "float32"), B: T.Tensor((64, 64), "float32")):
        with T.Kernel(1, threads=128):
            s = T.alloc_shared((64, 64), "float32")
            T.copy(A, s)
            for j, i in T.Parallel(64, 64):
                B[j, i] = s[i, j]
            T.call_extern("handle", "look", T.address_of(s[0, 0]))

    assert [f for b, f in layouts_of(inferred(kernel)) if b.name == "s"] == [None]


@pytest.mark.parametrize("turn", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "shape, vector, period", [((16, 64), 8, 8), ((2, 32, 32), 4, 8), ((5, 48), 8, 2)]
)
def test_turned_chunks_is_a_permutation_that_keeps_chunks(shape, vector, period, turn):
    layout = turned_chunks(shape, vector, period, turn)
    places = layout.offsets.reshape(-1)
    assert sorted(places.tolist()) == list(range(len(places)))
    groups = places.reshape(-1, vector)
    assert (groups == groups[:, :1] + np.arange(vector)).all() and (
        groups[:, 0] % vector == 0
    ).all()
