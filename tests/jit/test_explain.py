"""`kernel.explain()`: what it says is what the kernel does."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

import tilelang
import tilelang.language as T
from tilelang.engine.lower import lower
from tilelang.jit.explain import Explanation, LaunchExplanation, explain
from tilelang.layout.banks import matrix_conflicts
from tilelang.layout.layout import Layout
from tilelang.layout.mma import bank_swizzle
from tilelang.target.target import Target
from tilelang.transform.notes import InstructionNote, NestNote

SM_75, SM_80, SM_90 = (Target(f"cuda -arch={a}") for a in ("sm_75", "sm_80", "sm_90a"))


def matmul(dtype: str = "float16", block_k: int = 32, stages: int = 3) -> Any:
    M, N, K, block = 256, 256, 256, 64

    @T.prim_func
    def matmul(A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), C: T.Tensor((M, N), dtype)):
        with T.Kernel(N // block, M // block, threads=128) as (bx, by):
            A_shared = T.alloc_shared((block, block_k), dtype)
            B_shared = T.alloc_shared((block_k, block), dtype)
            C_local = T.alloc_fragment((block, block), "float32")
            T.clear(C_local)
            for k in T.Pipelined(K // block_k, num_stages=stages):
                T.copy(A[by * block, k * block_k], A_shared)
                T.copy(B[k * block_k, bx * block], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.copy(C_local, C[by * block, bx * block])

    return matmul


def two_launches() -> Any:
    n = T.dynamic("n")

    @T.prim_func
    def two(X: T.Tensor((n, 64), "float32"), Y: T.Tensor((n, 64), "float32")):
        with T.Kernel(T.ceildiv(n, 64), threads=128) as b:
            S = T.alloc_shared((64, 64), "float32")
            T.copy(X[b * 64, 0], S)
            for i, j in T.Parallel(64, 64):
                Y[b * 64 + i, j] = S[j, i]
        with T.Kernel(T.ceildiv(n, 32), threads=32) as b:
            for i in T.Parallel(n):
                Y[i, 1] = 0.0

    return two


def transposed_sum() -> Any:
    @T.prim_func
    def both(A: T.Tensor((64, 64), "float16"), C: T.Tensor((64, 64), "float32")):
        with T.Kernel(1, threads=128):
            S = T.alloc_shared((64, 64), "float16")
            P = T.alloc_fragment((64, 64), "float32")
            Q = T.alloc_fragment((64, 64), "float32")
            T.copy(A, S)
            T.gemm(S, S, P, clear_accum=True)
            T.gemm(S, S, Q, transpose_B=True, clear_accum=True)
            for i, j in T.Parallel(64, 64):
                P[i, j] += Q[j, i]
            T.copy(P, C)

    return both


def only(launch: LaunchExplanation, text: str) -> Any:
    """The note of the one operation whose line holds `text`."""
    (found,) = [o for o in launch.operations if text in o.source]
    return found.how


def explained(func: Any, target: Target = SM_80) -> LaunchExplanation:
    (launch,) = explain(func, target).launches
    return launch


def test_copies_of_a_pipeline_are_asynchronous() -> None:
    launch = explained(matmul())
    note = only(launch, "T.copy(A[")
    assert isinstance(note, NestNote)
    assert note.chosen == "cp.async of 16 bytes"
    assert note.elements * note.steps * 128 == 64 * 32
    assert [a.bytes for a in note.accesses] == [16, 16]
    assert [a.conflicts for a in note.accesses if a.buffer == "A_shared"] == [1]
    assert launch.threads == 128 and launch.grid == ("4", "4")


def test_why_a_copy_is_not_asynchronous() -> None:
    before_ampere = only(explained(matmul(), SM_75), "T.copy(A[")
    assert before_ampere.chosen == "vectors of 8"
    assert before_ampere.why_not == ("cp.async: it exists from sm_80 on",)
    alone = only(explain(two_launches(), SM_80).launches[0], "T.copy(X[")
    assert any("cp.async" in reason for reason in alone.why_not)
    assert alone.chosen == "vectors of 4" and alone.is_guarded


def test_products_name_their_instruction_and_loads() -> None:
    note = only(explained(matmul()), "T.gemm(")
    assert isinstance(note, InstructionNote) and note.chosen == "mma_sync"
    assert any("m16n8k16" in d for d in note.details)
    assert sum("ldmatrix, no bank conflicts" in d for d in note.details) == 2
    single = only(explained(matmul("float32")), "T.gemm(")
    assert any(d.startswith("B") and "element by element" in d for d in single.details)
    older = only(explained(matmul("float32"), SM_75), "T.gemm(")
    assert older.chosen != "mma_sync" and "sm_80" in dict(older.rejected)["mma_sync"]


def test_reductions_tell_how_results_meet() -> None:
    @T.prim_func
    def rows(A: T.Tensor((64, 64), "float32"), M: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=128):
            F = T.alloc_fragment((64, 64), "float32")
            m = T.alloc_fragment((64,), "float32")
            T.copy(A, F)
            T.reduce_max(F, m, dim=1)
            T.copy(m, M)

    note = only(explained(rows), "T.reduce_max(")
    assert note.chosen == "fragment_reduce"
    # 16 threads of 4 neighbours hold a row: 4 bits of the lane differ, no other warp has any of it
    assert "up to 4 elements for each of 8 results" in note.details[0]
    assert "4 exchanges" in note.details[1] and "without shared memory" in note.details[2]


def test_conflicts_are_those_of_the_layout() -> None:
    note = only(explain(two_launches(), SM_80).launches[0], "for i, j")
    (read,) = [a for a in note.accesses if a.buffer == "S"]
    assert read.conflicts is not None and read.conflicts > 1  # a column of row-major storage
    swizzled = bank_swizzle((64, 32), 16)
    assert swizzled is not None and matrix_conflicts(swizzled, 16) == 1
    assert matrix_conflicts(Layout((64, 32), lambda i, j: i * 32 + j), 16) > 1


def test_launches_are_told_apart() -> None:
    first, second = explain(two_launches(), SM_90).launches
    assert (first.threads, second.threads) == (128, 32)
    assert first.barriers and not second.barriers
    assert first.memory.arena_bytes == 64 * 64 * 4 and second.memory.arena_bytes == 0
    note = only(second, "for i in")
    assert note.steps is None and any("run time" in reason for reason in note.why_not)


@pytest.mark.parametrize("make", [matmul, two_launches, transposed_sum])
def test_barriers_are_those_of_the_text(make: Any) -> None:
    text = lower(make(), SM_80).kernel_source
    told = [b for launch in explain(make(), SM_80).launches for b in launch.barriers]
    assert text.count(" tl_sync_threads();") == sum(b.operation == "sync_threads" for b in told)


def test_exchanges_have_a_price() -> None:
    launch = explained(transposed_sum())
    (exchange,) = launch.exchanges
    assert exchange.buffer == "Q"
    assert exchange.bytes == 64 * 64 * 4 and exchange.moves == 2
    source, start = inspect.getsourcelines(transposed_sum)
    line = start + next(k for k, text in enumerate(source) if "for i, j" in text)
    made = start + next(k for k, text in enumerate(source) if "Q = " in text)
    assert exchange.span is not None and exchange.span.line == line
    assert exchange.made is not None and exchange.made.line == made
    assert {"Q_exchange"} & {b.buffer.name for b in launch.memory.buffers}
    assert "price" in str(exchange)


def test_the_compiler_is_asked() -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    launch = explained(matmul(), SM_90)
    assert launch.device is not None and launch.device.usage.registers > 32
    assert launch.device.dynamic_shared_bytes == launch.memory.arena_bytes
    assert launch.device.occupancy is not None and launch.device.occupancy.blocks >= 1
    assert "no spills" in str(launch.device)


def test_text_and_plain_values() -> None:
    found = explain(matmul(), SM_80)
    again = explain(matmul(), SM_80)
    assert isinstance(found, Explanation)
    assert str(found) == str(again)  # nothing in it depends on the run
    read = json.loads(json.dumps(found.to_dict()))
    (launch,) = read["launches"]
    assert launch["name"] == "matmul_kernel"
    assert {o["line"] for o in launch["operations"]} == {
        o.line for o in found.launches[0].operations
    }
    for word in ("T.gemm(A_shared, B_shared, C_local)", "mma_sync", "arena", "sync_threads"):
        assert word in str(found)


def test_a_cpu_kernel() -> None:
    kernel = tilelang.compile(matmul("float32"), target="c")
    (launch,) = kernel.explain().launches
    assert only(launch, "T.gemm(").chosen in ("micro_kernel", "scalar_loops")
    assert launch.device is None and launch.memory.buffers
    assert {"A_shared", "C_local"} <= {b.buffer.name for b in launch.memory.buffers}
    (parallel, *_) = [
        o.how for o in explain(two_launches(), kernel.target).launches[0].operations
        if o.source.startswith("for")
    ]  # fmt: skip
    assert parallel.operation == "parallel" and "j" in parallel.chosen
