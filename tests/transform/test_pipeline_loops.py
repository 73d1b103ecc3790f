"""Pipelined loops against the serial loops they come from, copies landing as late as they may."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang.language as T
from tests.interpreter_async import run_async
from tests.lowering import PLAIN, random_array, results, same
from tilelang.ir import annotation as keys
from tilelang.ir.expr import Call, IntImm
from tilelang.ir.node import replace
from tilelang.ir.stmt import Evaluate, For, LoopKind, annotation
from tilelang.ir.tile import TileOp
from tilelang.ir.verify import verify
from tilelang.ir.visitor import Mutator, walk
from tilelang.target.target import Target
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.pipeline import passes_for
from tilelang.transform.pipeline_loops import pipeline_loops
from tilelang.transform.simplify import simplify

RNG = np.random.default_rng(11)
STAGES = (0, 1, 2, 3, 4, 5)
TILE = 4


def pipelined(func):
    made = pipeline_loops(simplify(func, PLAIN), PLAIN)
    verify(made)
    assert not [n for n in walk(made) if isinstance(n, For) and n.kind is LoopKind.PIPELINED]
    return made


def check(func, inputs, tolerance=1e-6):
    """Require the result of the serial loop; gives the pipelined function."""
    made = pipelined(func)
    expected, got = results(func, inputs), run_async(made, inputs)
    for name, want in expected.items():
        same(got[name], want, tolerance, name)
    return made


def slots_of(func):
    """First extents of the buffers that asynchronous copies fill."""
    ops = [n for n in walk(func) if isinstance(n, TileOp) and n.attribute("is_async")]
    return {op.region("dst").buffer.name: op.region("dst").buffer.shape[0] for op in ops}


def waits_of(func):
    calls = [n.value for n in walk(func) if isinstance(n, Evaluate) and isinstance(n.value, Call)]
    return [c.args[0].value for c in calls if c.op == "ptx_wait_group"]


def gemm(stages, K, **plan):
    M, N = 2 * TILE, TILE

    @T.prim_func
    def kernel(
        A: T.Tensor((M, K), "float32"),
        B: T.Tensor((K, N), "float32"),
        C: T.Tensor((M, N), "float32"),
    ):
        with T.Kernel(T.ceildiv(N, TILE), T.ceildiv(M, TILE), threads=32) as (bx, by):
            A_shared = T.alloc_shared((TILE, TILE), "float32")
            B_shared = T.alloc_shared((TILE, TILE), "float32")
            C_local = T.alloc_fragment((TILE, TILE), "float32")
            T.clear(C_local)
            for k in T.Pipelined(T.ceildiv(K, TILE), num_stages=stages, **plan):
                T.copy(A[by * TILE, k * TILE], A_shared)
                T.copy(B[k * TILE, bx * TILE], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.copy(C_local, C[by * TILE, bx * TILE])

    return kernel


def gemm_inputs(K):
    M, N = 2 * TILE, TILE
    return {
        "A": random_array(RNG, (M, K), "float32"),
        "B": random_array(RNG, (K, N), "float32"),
        "C": random_array(RNG, (M, N), "float32"),
    }


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("K", [0, 1, 4, 5, 8, 11, 16, 27])
def test_gemm_of_constant_and_dynamic_depth(stages, K):
    if K:
        check(gemm(stages, K), gemm_inputs(K))
    made = check(gemm(stages, T.dynamic("K")), gemm_inputs(K))
    if stages >= 2:
        assert slots_of(made) == {"A_shared": stages, "B_shared": stages}
        assert waits_of(made) == [stages - 2]
    else:
        assert not slots_of(made) and not waits_of(made)


class _Break(Mutator):
    """Plants one fault."""

    def __init__(self, fault):
        self.fault = fault

    def mutate_Evaluate(self, node):
        op = getattr(node.value, "op", None)
        if op == "ptx_wait_group" and self.fault == "no wait":
            return None
        if op == "ptx_wait_group" and self.fault == "short wait":
            count = IntImm(node.value.args[0].value + 1)
            return replace(node, value=replace(node.value, args=(count,)))
        if op == "ptx_commit_group" and self.fault == "no commit":
            return None
        return node

    def mutate_FloorMod(self, node):
        if self.fault == "few slots" and isinstance(node.b, IntImm):
            return node.a % (node.b.value - 1)
        return node


@pytest.mark.parametrize("fault", ["no wait", "short wait", "no commit", "few slots"])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_faults_show(fault, stages):
    inputs = gemm_inputs(24)
    broken = _Break(fault).mutate(pipelined(gemm(stages, 24)))
    got, want = run_async(broken, inputs)["C"], results(gemm(stages, 24), inputs)["C"]
    assert not np.allclose(got, want, rtol=1e-5)


def test_gemm_text(golden):
    golden(pipelined(gemm(3, T.dynamic("K"))).script())


# -- attention: schedules given by hand ------------------------------------------------------------

BY_HAND = {
    "order": [-1, 0, 3, 1, -1, 2],
    "stage": [-1, 0, 0, 1, -1, 1],
    "group": [[0], [1, 2], [3, 4, 5, 6, 7, 8, 9], [10], [11], [12]],
}


def attention(stages, length, dim=4, causal=False, **plan):
    block = 4

    @T.prim_func
    def kernel(
        Q: T.Tensor((length, dim), "float32"),
        K: T.Tensor((length, dim), "float32"),
        V: T.Tensor((length, dim), "float32"),
        O: T.Tensor((length, dim), "float32"),
    ):
        with T.Kernel(T.ceildiv(length, block), threads=32) as bx:
            Q_shared = T.alloc_shared((block, dim), "float32")
            K_shared = T.alloc_shared((block, dim), "float32")
            V_shared = T.alloc_shared((block, dim), "float32")
            acc_s = T.alloc_fragment((block, block), "float32")
            acc_s_cast = T.alloc_fragment((block, block), "float32")
            acc_o = T.alloc_fragment((block, dim), "float32")
            scores_max = T.alloc_fragment((block,), "float32")
            scores_max_prev = T.alloc_fragment((block,), "float32")
            scores_scale = T.alloc_fragment((block,), "float32")
            scores_sum = T.alloc_fragment((block,), "float32")
            logsum = T.alloc_fragment((block,), "float32")
            T.copy(Q[bx * block, 0], Q_shared)
            T.fill(acc_o, 0)
            T.fill(logsum, 0)
            T.fill(scores_max, -1e30)
            trips = bx + 1 if causal else T.ceildiv(length, block)
            for k in T.Pipelined(trips, num_stages=stages, **plan):
                T.copy(K[k * block, 0], K_shared)
                for i, j in T.Parallel(block, block):
                    acc_s[i, j] = T.if_then_else(
                        (k * block + j < length)
                        and (not causal or bx * block + i >= k * block + j),
                        0.0,
                        -1e30,
                    )
                T.gemm(Q_shared, K_shared, acc_s, transpose_B=True)
                T.copy(scores_max, scores_max_prev)
                T.reduce_max(acc_s, scores_max, dim=1, clear=False)
                for i in T.Parallel(block):
                    scores_scale[i] = T.exp(scores_max_prev[i] - scores_max[i])
                for i, j in T.Parallel(block, block):
                    acc_s[i, j] = T.exp(acc_s[i, j] - scores_max[i])
                T.reduce_sum(acc_s, scores_sum, dim=1)
                for i in T.Parallel(block):
                    logsum[i] = logsum[i] * scores_scale[i] + scores_sum[i]
                T.copy(acc_s, acc_s_cast)
                for i, j in T.Parallel(block, dim):
                    acc_o[i, j] *= scores_scale[i]
                T.copy(V[k * block, 0], V_shared)
                T.gemm(acc_s_cast, V_shared, acc_o)
            for i, j in T.Parallel(block, dim):
                acc_o[i, j] /= logsum[i]
            T.copy(acc_o, O[bx * block, 0])

    return kernel


def attention_inputs(length, dim=4):
    return {name: random_array(RNG, (length, dim), "float32") for name in "QKVO"}


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("length", [3, 4, 9, 12])
@pytest.mark.parametrize("plan", [{}, BY_HAND], ids=["auto", "by hand"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(stages, length, plan, causal):
    inputs = attention_inputs(length)
    check(attention(stages, length, causal=causal, **plan), inputs, 1e-5)
    made = check(attention(stages, T.dynamic("n"), causal=causal, **plan), inputs, 1e-5)
    if plan:
        deep = max(stages, 2)
        assert slots_of(made) == {"K_shared": deep, "V_shared": deep}
        assert waits_of(made) == [deep - 2] * 3  # before, in and after the steady state
    elif stages > 1:
        assert slots_of(made) == {"K_shared": stages, "V_shared": stages}


def test_attention_text(golden):
    golden(pipelined(attention(2, T.dynamic("n"), **BY_HAND)).script())


@pytest.mark.parametrize("K", [1, 4, 9, 16, 24])
@pytest.mark.parametrize(
    ("plan", "slots"),
    [
        ({"order": [0, 1, 2], "stage": [0, 0, 1]}, 2),
        ({"order": [0, 1, 2], "stage": [0, 0, 3]}, 4),
        ({"order": [1, 2, 0], "stage": [0, 0, 2]}, 3),
        ({"order": [-1, -1, 0], "stage": [-1, -1, 0]}, 3),
        ({"order": [0, 1], "stage": [0, 2], "group": [[0, 1], [2]]}, 3),
        ({"order": [2, 1, 0]}, 3),
    ],
)
def test_stages_given_by_hand(K, plan, slots):
    made = check(gemm(3, T.dynamic("K"), **plan), gemm_inputs(K))
    assert slots_of(made) == {"A_shared": slots, "B_shared": slots}
    check(gemm(3, K, **plan), gemm_inputs(K))


@pytest.mark.parametrize(
    "plan",
    [
        {"order": [-1, 0, 1, 2, -1, 3], "stage": [-1, 1, 0, 0, -1, 0]},
        {"order": [-1, 3, 2, 1, -1, 0], "stage": [-1, 0, 0, 0, -1, 0]},
        {"order": [-1, -1, 2, 1, -1, 0], "stage": [-1, -1, 0, 0, -1, 0]},
    ],
)
def test_a_schedule_that_would_change_the_result_is_not_followed(plan):
    inputs = attention_inputs(12)
    made = check(attention(2, 12, group=BY_HAND["group"], **plan), inputs, 1e-5)
    assert slots_of(made) == {"K_shared": 2, "V_shared": 2}


# -- bodies of all kinds ---------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("density", [0.0, 0.4, 1.0])
def test_branches_around_copies_and_their_use(stages, density):
    @T.prim_func
    def kernel(
        A: T.Tensor((28, 4), "float32"),
        mask: T.Tensor((7,), "int32"),
        B: T.Tensor((4, 4), "float32"),
    ):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((4, 4), "float32")
            total = T.alloc_fragment((4, 4), "float32")
            T.clear(total)
            for k in T.Pipelined(7, num_stages=stages):
                if mask[k] != 0:
                    T.copy(A[k * 4, 0], S)
                    for i, j in T.Parallel(4, 4):
                        total[i, j] += S[i, j]
                else:
                    for i, j in T.Parallel(4, 4):
                        total[i, j] -= 1.0
            T.copy(total, B)

    inputs = {
        "A": random_array(RNG, (28, 4), "float32"),
        "mask": (RNG.random(7) < density).astype(np.int32),
        "B": random_array(RNG, (4, 4), "float32"),
    }
    assert slots_of(check(kernel, inputs)) == {"S": stages}


def test_a_tile_that_some_iterations_keep_from_before():
    @T.prim_func
    def kernel(A: T.Tensor((28, 4), "float32"), B: T.Tensor((4, 4), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((4, 4), "float32")
            total = T.alloc_fragment((4, 4), "float32")
            T.clear(total)
            for k in T.Pipelined(7, num_stages=3):
                if k % 3 == 0:
                    T.copy(A[k * 4, 0], S)
                for i, j in T.Parallel(4, 4):
                    total[i, j] += S[i, j]
            T.copy(total, B)

    inputs = {n: random_array(RNG, s, "float32") for n, s in {"A": (28, 4), "B": (4, 4)}.items()}
    assert not slots_of(check(kernel, inputs))


@pytest.mark.parametrize("stages", [2, 3])
def test_indices_from_memory_and_nests_that_copy(stages):
    @T.prim_func
    def kernel(
        A: T.Tensor((20, 8), "float32"),
        ids: T.Tensor((6,), "int32"),
        where: T.Tensor((10,), "int64"),
        B: T.Tensor((6, 8), "float32"),
    ):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((2, 8), "float32")
            R = T.alloc_shared((8,), "float32")
            for k in T.Pipelined(6, num_stages=stages):
                row = where[ids[k]]
                T.copy(A[row : row + 2, 0:8], S)
                for j in T.Parallel(8):
                    R[j] = T.if_then_else(j < 5, A[ids[k], j], 0.0)
                for j in T.Parallel(8):
                    B[k, j] = S[0, j] + S[1, j] * R[j]

    inputs = {
        "A": random_array(RNG, (20, 8), "float32"),
        "ids": RNG.integers(0, 10, 6).astype(np.int32),
        "where": RNG.integers(0, 18, 10),
        "B": random_array(RNG, (6, 8), "float32"),
    }
    made = check(kernel, inputs)
    assert slots_of(made) == {"S": stages}
    marked = [
        n for n in walk(made) if isinstance(n, For) and annotation(n.annotations, keys.PREFER_ASYNC)
    ]
    assert len(marked) == 2  # before the loop and in it


@pytest.mark.parametrize("stages", [2, 3])
@pytest.mark.parametrize("gathered", [3, 4])
def test_rows_gathered_one_by_one(stages, gathered):
    @T.prim_func
    def kernel(
        A: T.Tensor((20, 8), "float32"),
        ids: T.Tensor((24,), "int32"),
        B: T.Tensor((6, 8), "float32"),
    ):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((4, 8), "float32")
            T.clear(S)
            for k in T.Pipelined(6, num_stages=stages):
                for i in T.serial(gathered):
                    row = ids[k * 4 + i]
                    T.copy(A[row, 0:8], S[i, 0:8])
                for j in T.Parallel(8):
                    B[k, j] = S[0, j] * S[1, j] - S[2, j] + S[3, j]

    inputs = {
        "A": random_array(RNG, (20, 8), "float32"),
        "ids": RNG.integers(0, 20, 24).astype(np.int32),
        "B": random_array(RNG, (6, 8), "float32"),
    }
    assert slots_of(check(kernel, inputs)) == ({"S": stages} if gathered == 4 else {})


def test_indices_that_the_loop_computes_hold_the_copy_back():
    @T.prim_func
    def kernel(A: T.Tensor((64, 8), "float32"), B: T.Tensor((6, 8), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((8,), "float32")
            at = T.alloc_var("int32", init=1)
            for k in T.Pipelined(6, num_stages=3):
                row = at + k
                T.copy(A[row, 0:8], S)
                T.copy(S, B[k, 0:8])
                at = at * 2

    shapes = {"A": (64, 8), "B": (6, 8)}
    inputs = {n: random_array(RNG, s, "float32") for n, s in shapes.items()}
    assert not slots_of(check(kernel, inputs))


def test_a_source_that_the_loop_writes_holds_the_copy_back():
    @T.prim_func
    def kernel(A: T.Tensor((8, 8), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((8,), "float32")
            for k in T.Pipelined(7, num_stages=3):
                T.copy(A[k, 0:8], S)
                for j in T.Parallel(8):
                    A[k + 1, j] = S[j] * 0.5 + 1.0

    assert not slots_of(check(kernel, {"A": random_array(RNG, (8, 8), "float32")}))


@pytest.mark.parametrize("overlap", [False, True])
def test_tensors_that_may_overlap(overlap):
    @T.prim_func
    def kernel(A: T.Tensor((8, 8), "float32"), B: T.Tensor((8, 8), "float32")):
        if overlap:
            T.annotate_restrict_buffers(A, B)
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((8,), "float32")
            for k in T.Pipelined(8, num_stages=3):
                T.copy(A[k, 0:8], S)
                T.copy(S, B[k, 0:8])

    inputs = {n: random_array(RNG, (8, 8), "float32") for n in "AB"}
    assert slots_of(check(kernel, inputs)) == ({} if overlap else {"S": 3})


def test_indices_that_an_overlapping_tensor_may_change():
    @T.prim_func
    def kernel(
        A: T.Tensor((8, 8), "int32"), ids: T.Tensor((8,), "int32"), B: T.Tensor((8, 8), "int32")
    ):
        T.annotate_restrict_buffers(ids, B)
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((8,), "int32")
            for k in T.Pipelined(8, num_stages=3):
                T.copy(A[ids[k], 0:8], S)
                T.copy(S, B[k, 0:8])

    inputs = {n: random_array(RNG, (8, 8), "int32") for n in "AB"}
    inputs["ids"] = RNG.integers(0, 8, 8).astype(np.int32)
    assert not slots_of(check(kernel, inputs))


@pytest.mark.parametrize("stages", [2, 3])
def test_what_is_read_after_the_loop_is_the_last_tile(stages):
    @T.prim_func
    def kernel(A: T.Tensor((20, 4), "float32"), B: T.Tensor((8, 4), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((4, 4), "float32")
            R = T.alloc_shared((4, 4), "float32")
            total = T.alloc_fragment((4, 4), "float32")
            T.clear(total)
            for k in T.Pipelined(5, num_stages=stages):
                T.copy(A[k * 4, 0], S)
                T.copy(A[16 - k * 4, 0], R)
                for i, j in T.Parallel(4, 4):
                    total[i, j] += S[i, j] * R[i, j]
            T.copy(total, B[0:4, 0:4])
            T.copy(S, B[4:8, 0:4])

    shapes = {"A": (20, 4), "B": (8, 4)}
    inputs = {n: random_array(RNG, s, "float32") for n, s in shapes.items()}
    assert slots_of(check(kernel, inputs)) == {"R": stages}


@pytest.mark.parametrize("group", [1, 3])
def test_two_pipelines_in_a_persistent_loop(group):
    @T.prim_func
    def kernel(
        A: T.Tensor((12, 20), "float32"),
        B: T.Tensor((20, 8), "float32"),
        C: T.Tensor((12, 8), "float32"),
    ):
        with T.Kernel(2, threads=32) as block:
            A_shared = T.alloc_shared((4, 4), "float32")
            B_shared = T.alloc_shared((4, 4), "float32")
            C_local = T.alloc_fragment((4, 4), "float32")
            for by, bx in T.Persistent([3, 2], 2, block, group_size=group):
                T.clear(C_local)
                for k in T.Pipelined(3, num_stages=3):
                    T.copy(A[by * 4, k * 4], A_shared)
                    T.copy(B[k * 4, bx * 4], B_shared)
                    T.gemm(A_shared, B_shared, C_local)
                for k in T.Pipelined(3, 5, num_stages=2):
                    T.copy(A[by * 4, k * 4], A_shared)
                    T.copy(B[k * 4, bx * 4], B_shared)
                    T.gemm(A_shared, B_shared, C_local)
                T.copy(C_local, C[by * 4, bx * 4])

    shapes = {"A": (12, 20), "B": (20, 8), "C": (12, 8)}
    inputs = {n: random_array(RNG, s, "float32") for n, s in shapes.items()}
    assert slots_of(check(kernel, inputs)) == {"A_shared": 3, "B_shared": 3}


@pytest.mark.parametrize("first", [-2, 0, 3])
@pytest.mark.parametrize("stages", [2, 3])
def test_memory_of_the_body_halves_and_variables(first, stages):
    @T.prim_func
    def kernel(A: T.Tensor((16, 8), "float32"), B: T.Tensor((8,), "float32")):
        with T.Kernel(1, threads=32):
            total = T.alloc_fragment((8,), "float32")
            T.clear(total)
            for k in T.Pipelined(first, 5, num_stages=stages):
                S = T.alloc_shared((4, 8), "float32")
                scale = T.alloc_var("float32", init=2.0)
                T.copy(A[k + 2 : k + 4, 0:8], S[0:2, 0:8])
                T.copy(A[k + 6 : k + 8, 0:8], S[2:4, 0:8])
                for i, j in T.Parallel(4, 8):
                    S[i, j] = S[i, j] * scale
                scale = scale + 1.0
                for j in T.Parallel(8):
                    total[j] += S[0, j] * S[3, j] + scale
            T.copy(total, B)

    inputs = {n: random_array(RNG, s, "float32") for n, s in {"A": (16, 8), "B": (8,)}.items()}
    assert slots_of(check(kernel, inputs)) == {"S": stages}


def test_half_a_tile_from_before_holds_the_copy_back():
    @T.prim_func
    def kernel(A: T.Tensor((16, 8), "float32"), B: T.Tensor((8, 8), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((2, 8), "float32")
            T.clear(S)
            for k in T.Pipelined(8, num_stages=3):
                T.copy(A[k, 0:8], S[k % 2, 0:8])
                for j in T.Parallel(8):
                    B[k, j] = S[0, j] - S[1, j]

    inputs = {n: random_array(RNG, s, "float32") for n, s in {"A": (16, 8), "B": (8, 8)}.items()}
    assert not slots_of(check(kernel, inputs))


def test_layouts_and_safe_values_stay():
    from tilelang.layout import Layout

    @T.prim_func
    def kernel(A: T.Tensor((7, 8), "float32"), B: T.Tensor((4, 8), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((4, 8), "float32")
            total = T.alloc_fragment((4, 8), "float32")
            T.annotate_layout({S: Layout([4, 8], lambda i, j: [i, (j + i) % 8])})
            T.annotate_safe_value({A: 2.5})
            T.clear(total)
            for k in T.Pipelined(3, num_stages=2):
                T.copy(A[k * 4, 0], S)
                for i, j in T.Parallel(4, 8):
                    total[i, j] += S[i, j]
            T.copy(total, B)

    inputs = {n: random_array(RNG, s, "float32") for n, s in {"A": (7, 8), "B": (4, 8)}.items()}
    made = check(kernel, inputs)
    fixed = [n.value for n in walk(made) if getattr(n, "key", "") == keys.LAYOUTS]
    ((buffer, layout),) = fixed[0]
    assert buffer.shape == (2, 4, 8)
    assert layout.get_input_shape() == [2, 4, 8]
    assert slots_of(made) == {"S": 2}


def test_a_loop_with_its_own_copies_is_left_alone():
    @T.prim_func
    def kernel(A: T.Tensor((8, 8), "float32"), B: T.Tensor((8, 8), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((8,), "float32")
            for k in T.Pipelined(8, num_stages=3):
                T.async_copy(A[k, 0:8], S)
                T.ptx_commit_group()
                T.ptx_wait_group(0)
                T.copy(S, B[k, 0:8])

    assert not slots_of(pipelined(kernel))


def test_a_copy_that_nobody_reads():
    @T.prim_func
    def kernel(A: T.Tensor((8, 8), "float32"), B: T.Tensor((8,), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((8,), "float32")
            for k in T.Pipelined(8, num_stages=3):
                T.copy(A[k, 0:8], S)
            T.fill(B, 1)

    inputs = {n: random_array(RNG, s, "float32") for n, s in {"A": (8, 8), "B": (8,)}.items()}
    check(kernel, inputs)


def test_without_pipelined_loops_nothing_changes():
    @T.prim_func
    def kernel(A: T.Tensor((8,), "float32")):
        with T.Kernel(1, threads=32):
            T.fill(A, 1)

    assert pipeline_loops(kernel, PLAIN) is kernel


@pytest.mark.parametrize("trips", [0, 1, 2, 3, 7])
def test_consumers_of_several_stages(trips):
    """A tile that is first used several stages later than others is brought later."""

    def kernel_of(n):
        @T.prim_func
        def kernel(
            A: T.Tensor((8, 8), "float32"),
            n_rows: T.Tensor((n,), "float32"),
            B: T.Tensor((8, 8), "float32"),
            C: T.Tensor((8, 8), "float32"),
        ):
            with T.Kernel(1, threads=32):
                S = T.alloc_shared((8,), "float32")
                R = T.alloc_shared((8,), "float32")
                for k in T.Pipelined(n, order=[0, 1, 3, 2], stage=[0, 0, 1, 3]):
                    T.copy(A[k, 0:8], S)
                    T.copy(A[7 - k, 0:8], R)
                    for j in T.Parallel(8):
                        B[k, j] = S[j] * 2.0
                    for j in T.Parallel(8):
                        C[k, j] = R[j] - 1.0

        return kernel

    inputs = {n: random_array(RNG, (8, 8), "float32") for n in "ABC"}
    inputs["n_rows"] = random_array(RNG, (trips,), "float32")
    if trips:
        check(kernel_of(trips), inputs)
    made = check(kernel_of(T.dynamic("n")), inputs)
    assert slots_of(made) == {"S": 2, "R": 2}


def test_copies_may_be_kept_synchronous():
    config = {PassConfigKey.TL_ENABLE_ASYNC_COPY: False}
    made = pipeline_loops(gemm(3, 20), PassContext(PLAIN.target, config))
    verify(made)
    inputs = gemm_inputs(20)
    same(run_async(made, inputs)["C"], results(gemm(3, 20), inputs)["C"], 1e-6)
    assert not slots_of(made) and not waits_of(made)
    assert max(len(n.region("dst").buffer.shape) for n in walk(made) if isinstance(n, TileOp)
               and n.op == "copy") == 3  # fmt: skip


def test_a_tile_written_again_after_its_use_holds_the_copies_back():
    @T.prim_func
    def kernel(A: T.Tensor((20, 8), "float32"), B: T.Tensor((8, 8), "float32")):
        with T.Kernel(1, threads=32):
            S = T.alloc_shared((8,), "float32")
            for k in T.Pipelined(8, num_stages=3):
                T.copy(A[k, 0:8], S)
                for j in T.Parallel(8):
                    B[k, j] = S[j]
                T.copy(A[k + 10, 0:8], S)
                for j in T.Parallel(8):
                    B[k, j] -= S[j]

    inputs = {n: random_array(RNG, s, "float32") for n, s in {"A": (20, 8), "B": (8, 8)}.items()}
    assert not slots_of(check(kernel, inputs))


# -- barriers --------------------------------------------------------------------------------------


def barriers_per_iteration(func):
    """`sync_threads` in each serial loop of the lowered function that waits for copies."""
    ctx = PassContext(Target("cuda -arch=sm_80"))
    for entry in passes_for(ctx):
        func = entry.load()(func, ctx)
    loops = [n for n in walk(func) if isinstance(n, For) and n.kind is LoopKind.SERIAL]
    counted = []
    for loop in loops:
        calls = [n.value for n in walk(loop) if isinstance(n, Evaluate)]
        names = [c.op for c in calls if isinstance(c, Call)]
        if any("wait_group" in name for name in names):
            counted.append(sum("sync_threads" in name for name in names))
    return counted


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_one_barrier_per_iteration(stages):
    @T.prim_func
    def kernel(
        A: T.Tensor((128, 256), "float16"),
        B: T.Tensor((256, 128), "float16"),
        C: T.Tensor((128, 128), "float16"),
    ):
        with T.Kernel(2, 2, threads=128) as (bx, by):
            A_shared = T.alloc_shared((64, 32), "float16")
            B_shared = T.alloc_shared((32, 64), "float16")
            C_local = T.alloc_fragment((64, 64), "float32")
            T.clear(C_local)
            for k in T.Pipelined(8, num_stages=stages):
                T.copy(A[by * 64, k * 32], A_shared)
                T.copy(B[k * 32, bx * 64], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.copy(C_local, C[by * 64, bx * 64])

    assert barriers_per_iteration(kernel) == [1]
