"""Shared memory of a block: who shares bytes, alignment, and what happens when it is too much."""

from __future__ import annotations

import pytest

from tests.transform.test_insert_barriers import TX, R, S, do, get, kernel, loop, put, shared
from tilelang.errors import ResourceError, TargetError
from tilelang.ir.annotation import ARENA_BYTES, ARENA_OFFSET, LAYOUT, VERSIONS
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, If, Launch, Seq, annotation
from tilelang.ir.visitor import walk
from tilelang.layout import make_swizzled_layout
from tilelang.target.target import Target
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.plan_shared_memory import plan_shared_memory


def planned(func: PrimFunc, arch: str = "sm_80", **config: bool) -> PrimFunc:
    keys = {getattr(PassConfigKey, k): v for k, v in config.items()}
    return plan_shared_memory(func, PassContext(Target(f"cuda -arch={arch}"), keys))


def offsets(func: PrimFunc) -> dict[str, object]:
    return {
        n.buffer.name: annotation(n.annotations, ARENA_OFFSET)
        for n in walk(func) if isinstance(n, Allocate)
    }  # fmt: skip


def arena(func: PrimFunc) -> object:
    launch = next(n for n in walk(func) if isinstance(n, Launch))
    return annotation(launch.annotations, ARENA_BYTES)


def two(*, elements: int = 4096, inside: bool = False) -> PrimFunc:
    """One float32 buffer after the other."""
    a, b = shared("A", elements), shared("B", elements)
    body = (put(a, TX), get(a, TX), put(b, TX), get(b, TX))
    work = [If(TX < 5, Seq(body))] if inside else body
    return kernel(Allocate(a), Allocate(b), Allocate(R), *work)


def test_buffers_one_after_the_other_share_bytes() -> None:
    assert offsets(planned(two())) == {"A": 0, "B": 0, "R": None}
    assert arena(planned(two())) == 16384


@pytest.mark.parametrize(("elements", "second"), [(64, 256), (1000, 4096), (1024, 0)])
def test_small_buffers_keep_their_own_bytes(elements: int, second: int) -> None:
    assert offsets(planned(two(elements=elements)))["B"] == second


def test_small_buffers_share_when_they_are_many() -> None:
    def work(count: int) -> PrimFunc:
        buffers = [shared(f"B{n}", 512) for n in range(count)]
        uses = [step for b in buffers for step in (put(b, TX), get(b, TX))]
        return kernel(*map(Allocate, buffers), *uses)

    assert arena(planned(work(8))) == 8 * 2048
    assert arena(planned(work(9))) == 2048


def test_a_small_buffer_shares_with_a_large_one() -> None:
    large, small = shared("Large", 8192), shared("Small", 64)
    body = (put(large, TX), get(large, TX), put(small, TX), get(small, TX))
    assert offsets(planned(kernel(Allocate(large), Allocate(small), *body)))["Small"] == 0


def test_sharing_can_be_switched_off() -> None:
    made = planned(two(), TL_DISABLE_SHARED_MEMORY_REUSE=True)
    assert offsets(made) == {"A": 0, "B": 16384, "R": None}


def test_no_sharing_where_no_barrier_can_stand() -> None:
    assert offsets(planned(two(inside=True))) == {"A": 0, "B": 16384, "R": None}


def test_buffers_of_one_loop_do_not_share() -> None:
    a, b = shared("A", 64), shared("B", 64)
    func = kernel(Allocate(a), Allocate(b), loop(Var("k"), 4, put(a, TX), get(a, TX), put(b, TX)))
    assert offsets(planned(func)) == {"A": 0, "B": 256}


def test_alignment() -> None:
    odd, even = shared("Odd", 3), shared("Even", 64, 64, dtype="float16")
    swizzled = Allocate(even, ((LAYOUT, make_swizzled_layout(even)),))
    body = (put(odd, 0), put(even, TX, 0), get(odd, 1), get(even, TX, 0))
    found = offsets(planned(kernel(Allocate(odd), swizzled, *body)))
    assert found == {"Odd": 8192, "Even": 0}
    small = shared("Small", 128, 64, dtype="float16")
    func = kernel(Allocate(small), swizzled, put(small, 0, 0), put(even, 0, 0), get(small, 0, 0))
    assert offsets(planned(func)) == {"Small": 0, "Even": 16384}


def test_workspaces_move_before_the_launch() -> None:
    workspace = Buffer("Work", (64,), "float32", "global")
    made = planned(kernel(Allocate(workspace), put(workspace, TX)))
    assert isinstance(made.body, Seq)
    first, launch = made.body.stmts
    assert isinstance(first, Allocate) and first.buffer is workspace
    assert isinstance(launch, Launch) and arena(made) == 0


# -- limits ----------------------------------------------------------------------------------------


def large(slots: int) -> PrimFunc:
    a = shared("A_shared", slots, 128, 64, dtype="float16")
    b = shared("B_shared", slots, 64, 256, dtype="float16")
    versions = ((VERSIONS, slots),)
    body = (put(a, 0, TX, 0), put(b, 0, TX, 0), get(a, 0, TX, 0), get(b, 0, TX, 0))
    return kernel(Allocate(a, versions), Allocate(b, versions), *body)


def test_too_much_shared_memory_lists_every_buffer() -> None:
    with pytest.raises(ResourceError) as caught:
        planned(large(5), "sm_90")
    text = str(caught.value)
    assert "shared memory: 245760 bytes needed, sm_90 allows 232448 per block" in text
    assert "A_shared [128, 64] float16  16384 x 5 =  81920" in text
    assert "B_shared [64, 256] float16  32768 x 5 = 163840" in text
    assert "try: num_stages=4 (196608 bytes)" in text
    planned(large(4), "sm_90")


def test_the_slots_of_a_pipelined_loop_are_named() -> None:
    import tilelang.language as T
    from tilelang.transform.pipeline import run

    @T.prim_func
    def deep(
        A: T.Tensor((512, 512), "float16"),
        B: T.Tensor((512, 512), "float16"),
        C: T.Tensor((512, 512), "float32"),
    ):
        with T.Kernel(2, 4, threads=256) as (bx, by):
            A_shared = T.alloc_shared((128, 64), "float16")
            B_shared = T.alloc_shared((64, 256), "float16")
            C_local = T.alloc_fragment((128, 256), "float32")
            T.clear(C_local)
            for k in T.Pipelined(8, num_stages=5):
                T.copy(A[by * 128, k * 64], A_shared)
                T.copy(B[k * 64, bx * 256], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.copy(C_local, C[by * 128, bx * 256])

    with pytest.raises(ResourceError) as caught:
        run(deep, PassContext(Target("cuda -arch=sm_90a")))
    text = str(caught.value)
    assert "A_shared [128, 64] float16  16384 x 5 =  81920" in text
    assert "try: num_stages=4 (196608 bytes)" in text


@pytest.mark.parametrize(
    ("arch", "limit"), [("sm_75", 65536), ("sm_80", 166912), ("sm_89", 101376), ("sm_90a", 232448)]
)
def test_the_limit_is_the_architectures(arch: str, limit: int) -> None:
    def func(size: int) -> PrimFunc:
        buffer = shared("Big", size, dtype="uint8")
        return kernel(Allocate(buffer), put(buffer, TX))

    assert arena(planned(func(limit), arch)) == limit
    with pytest.raises(ResourceError, match=f"{limit + 128} bytes|allows {limit}"):
        planned(func(limit + 128), arch)


def test_thread_counts() -> None:
    work = (Allocate(S), put(S, TX))
    planned(kernel(*work, threads=(1024, 1, 1)))
    with pytest.raises(ResourceError, match="1056 threads per block"):
        planned(kernel(*work, threads=(33, 32, 1)))
    with pytest.raises(ResourceError, match="expected a positive number"):
        planned(kernel(*work, threads=(0, 1, 1)))
    func = kernel(*work)
    assert isinstance(func.body, Launch)
    n = Var("n")
    launch = replace(func.body, thread_extents=(n, *func.body.thread_extents[1:]))
    with pytest.raises(TargetError, match="`n` of axis x is no constant"):
        planned(replace(func, params=(n,), body=launch))


def test_copies_in_flight_are_waited_for_before_their_memory_is_reused() -> None:
    from tests.transform.test_insert_barriers import at, order, synced

    a, b = shared("A", 1024, 4), shared("B", 1024, 4)
    source = Buffer("Source", (64, 4), "float32")
    copy = do("tl_cp_async_cg_16", at(a, TX, 0), at(source, TX, 0))
    group, use = do("tl_cp_async_commit_group"), (put(b, TX, 0), get(b, TX, 0))
    func = kernel(Allocate(a), Allocate(b), copy, group, *use, params=(source,))
    made = planned(func)
    assert offsets(made) == {"A": 0, "B": 0}
    words = order(synced(made))
    assert words[2:5] == ["tl_cp_async_wait_all", "SYNC", "put B"]
