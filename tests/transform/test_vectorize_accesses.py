"""Vectorised loops: which accesses become wide, and that the rest stays what it was."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import tilelang.language as T
from tests import interpreter, interpreter_device
from tests.codegen.run_cuda import TARGET, compile_everywhere, cuda_text
from tilelang.ir.annotation import LAYOUT
from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import BufferLoad, Call, Ramp, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, BufferStore, For, If, LoopKind
from tilelang.ir.verify import verify
from tilelang.ir.visitor import Mutator, walk
from tilelang.layout.layout import Layout
from tilelang.transform.context import PassContext
from tilelang.transform.simplify import simplify
from tilelang.transform.vector_moves import keeps_pieces, widths
from tilelang.transform.vectorize_accesses import vectorize_accesses

CONTEXT = PassContext(TARGET)


def vectorized(func: PrimFunc) -> PrimFunc:
    out = vectorize_accesses(simplify(func, CONTEXT), CONTEXT)
    verify(out, form="thread")
    assert not any(isinstance(n, For) and n.kind is LoopKind.VECTORIZED for n in walk(out.body))
    return out


def moves(func: PrimFunc) -> Iterator[tuple[str, str, int]]:
    """(destination, source, elements) of each wide access."""
    for node in walk(func.body):
        if isinstance(node, BufferStore) and isinstance(node.indices[-1], Ramp):
            assert isinstance(node.value, BufferLoad)
            yield node.buffer.name, node.value.buffer.name, node.indices[-1].lanes


def copying(
    kind: str, count: int, row: int = 64, step: int | None = None, first: int = 0
) -> PrimFunc:
    """Each thread moves `count` elements from `step * tx + first` on."""
    each = count if step is None else step

    @T.prim_func
    def copy(A: T.Tensor((32, row), kind), B: T.Tensor((32, row), kind)):
        with T.Kernel(32, threads=4) as i:
            tx = T.get_thread_binding()
            for v in T.vectorized(count):
                B[i, tx * each + v] = A[i, tx * each + v + first]

    return copy


@pytest.mark.parametrize(
    ("kind", "count", "width"),
    [
        ("float16", 8, 8), ("float16", 16, 8), ("float16", 4, 4), ("float16", 2, 2),
        ("float16", 6, 2), ("float16", 12, 4), ("float32", 4, 4), ("float32", 8, 4),
        ("float64", 2, 2), ("int8", 16, 16), ("int8", 3, 1), ("int4", 16, 16), ("int4", 2, 2),
        ("float8_e4m3fn", 8, 8), ("bool", 4, 4), ("float64", 1, 1),
    ],
)  # fmt: skip
def test_pieces_are_as_wide_as_the_count_allows(kind: str, count: int, width: int) -> None:
    found = list(moves(vectorized(copying(kind, count))))
    expected = count // width if width > 1 else 0
    assert [w for _, _, w in found] == [width] * expected


@pytest.mark.parametrize(
    ("row", "step", "first", "width"),
    [(64, 8, 0, 8), (60, 8, 0, 4), (63, 8, 0, 1), (64, 12, 0, 4), (64, 8, 2, 2), (64, 8, 1, 1)],
)
def test_alignment_limits_the_width(row: int, step: int, first: int, width: int) -> None:
    found = {w for _, src, w in moves(vectorized(copying("float16", 8, row, step, first)))
             if src == "A"}  # fmt: skip
    assert found == ({width} if width > 1 else set())


def test_a_row_length_that_is_unknown_allows_nothing() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def copy(A: T.Tensor((8, n), "float16"), B: T.Tensor((8, n), "float16")):
        with T.Kernel(8, threads=1) as i:
            for v in T.vectorized(8):
                B[i, v] = A[i, v]

    assert not list(moves(vectorized(copy)))


def test_an_assumption_about_the_row_length_counts() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def copy(A: T.Tensor((8, n), "float16"), B: T.Tensor((8, n), "float16")):
        with T.Kernel(8, threads=1) as i:
            T.assume(n % 8 == 0)
            for v in T.vectorized(8):
                B[i, v] = A[i, v]

    assert list(moves(vectorized(copy))) == [("B", "A", 8)]


def test_a_bare_pointer_is_not_trusted() -> None:
    @T.prim_func
    def fill(A: T.Tensor((8,), "float32"), p: T.ptr):
        with T.Kernel(1, threads=1):
            P = T.Tensor((8,), "float32", p)
            for v in T.vectorized(4):
                P[v] = A[v]

    assert [m[:2] for m in moves(vectorized(fill))] == [("A_lanes", "A")]


def test_indices_through_division_are_seen_through() -> None:
    @T.prim_func
    def copy(A: T.Tensor((16, 64), "float16"), B: T.Tensor((16, 64), "float16")):
        with T.Kernel(1, threads=128):
            tx = T.get_thread_binding()
            for v in T.vectorized(8):
                B[(tx * 8 + v) // 64, (tx * 8 + v) % 64] = A[(tx * 8 + v) // 64, (tx * 8 + v) % 64]

    assert list(moves(vectorized(copy))) == [("B", "A", 8)]


def test_a_guard_of_the_whole_loop_becomes_one_branch() -> None:
    @T.prim_func
    def copy(A: T.Tensor((100, 64), "float16"), B: T.Tensor((128, 64), "float16")):
        with T.Kernel(16, threads=64) as b:
            tx = T.get_thread_binding()
            row = b * 8 + tx // 8
            for v in T.vectorized(8):
                B[row, tx % 8 * 8 + v] = T.if_then_else(
                    row < 100, A[row, tx % 8 * 8 + v], T.Cast("float16", -1)
                )

    out = vectorized(copy)
    branches = [n for n in walk(out.body) if isinstance(n, If)]
    assert len(branches) == 1 and branches[0].else_body is not None
    assert list(moves(replace(out, body=branches[0].then_body))) == [("A_lanes", "A", 8)]
    assert ("B", "A_lanes", 8) in list(moves(out))
    compile_everywhere(cuda_text(copy))


def test_a_guard_per_element_keeps_its_load() -> None:
    @T.prim_func
    def copy(A: T.Tensor((100,), "float16"), B: T.Tensor((128,), "float16")):
        with T.Kernel(1, threads=16):
            tx = T.get_thread_binding()
            for v in T.vectorized(8):
                i = tx * 8 + v
                B[i] = T.if_then_else(i < 100, A[i], T.Cast("float16", 0))

    found = list(moves(vectorized(copy)))
    assert found == [("B", "B_lanes", 8)]


def test_a_load_after_a_store_to_the_same_memory_stays_in_order() -> None:
    @T.prim_func
    def twice(A: T.Tensor((64,), "float32"), B: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=16):
            tx = T.get_thread_binding()
            for v in T.vectorized(4):
                A[tx * 4 + v] = 2.0
                B[tx * 4 + v] = A[tx * 4 + v] + 1.0

    assert list(moves(vectorized(twice))) == [("B", "B_lanes", 4)]


def test_a_scalar_that_an_iteration_leaves_keeps_the_iterations_whole() -> None:
    @T.prim_func
    def scan(A: T.Tensor((64,), "float32"), B: T.Tensor((64,), "float32"), n: T.int32):
        with T.Kernel(1, threads=16):
            tx = T.get_thread_binding()
            t = T.alloc_var("float32")
            for v in T.vectorized(4):
                t = A[tx * 4 + v]
                if n > 3:
                    t = t + 1.0
                B[tx * 4 + v] = t

    loops = [n for n in walk(vectorized(scan).body) if isinstance(n, For)]
    assert [loop.kind for loop in loops] == [LoopKind.UNROLLED]
    assert any(isinstance(n, If) for n in walk(loops[0].body))


def test_a_name_that_reads_memory_is_read_once() -> None:
    @T.prim_func
    def squares(A: T.Tensor((64,), "float32"), B: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=16):
            tx = T.get_thread_binding()
            for v in T.vectorized(4):
                x = A[tx * 4 + v]
                B[tx * 4 + v] = x * x

    out = vectorized(squares)
    assert sum(src == "A" for _, src, _ in moves(out)) == 1
    compile_everywhere(cuda_text(squares))


def test_conversions_are_made_in_pairs() -> None:
    @T.prim_func
    def convert(A: T.Tensor((64,), "float32"), B: T.Tensor((64,), "bfloat16")):
        with T.Kernel(1, threads=16):
            tx = T.get_thread_binding()
            R = T.alloc_local((4,), "bfloat16")
            for v in T.unroll(4):
                R[v] = A[tx * 4 + v]
            for v in T.vectorized(4):
                B[tx * 4 + v] = R[v]

    out = vectorized(convert)
    calls = [n for n in walk(out.body) if isinstance(n, Call)]
    assert [c.op for c in calls] == ["tl_float32x2_to_bfloat16x2"]
    assert list(moves(out)) == [("B", "R", 4)]
    compile_everywhere(cuda_text(convert))


def test_an_odd_place_has_no_pairs() -> None:
    @T.prim_func
    def convert(A: T.Tensor((64,), "float32"), B: T.Tensor((64,), "float16")):
        with T.Kernel(1, threads=8):
            tx = T.get_thread_binding()
            R = T.alloc_local((6,), "float16")
            for v in T.unroll(4):
                R[v + 1] = A[tx * 4 + v]
            B[tx] = R[1] + R[4]

    assert not [n for n in walk(vectorized(convert).body) if isinstance(n, Call)]


# -- shared memory with a physical layout ----------------------------------------------------------


class _WithLayout(Mutator):
    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def mutate_Allocate(self, node: Allocate) -> Any:
        if not node.buffer.is_shared:
            return node
        return replace(node, annotations=(*node.annotations, (LAYOUT, self.layout)))


def swizzle(piece: int) -> Layout:
    """Rows of 64 whose pieces of `piece` elements change places with the row."""
    return Layout((8, 64), lambda i, j: [i, (j // piece) ^ (i % 8), j % piece])


@T.prim_func
def through_shared(A: T.Tensor((8, 64), "float16"), B: T.Tensor((8, 64), "float16")):
    with T.Kernel(1, threads=64):
        tx = T.get_thread_binding()
        S = T.alloc_shared((8, 64), "float16")
        for v in T.vectorized(8):
            S[tx // 8, tx % 8 * 8 + v] = A[tx // 8, tx % 8 * 8 + v]
        T.sync_threads()
        for v in T.vectorized(8):
            B[tx // 8, tx % 8 * 8 + v] = S[tx // 8, tx % 8 * 8 + v]


@pytest.mark.parametrize("piece", [8, 4, 2, 1])
def test_a_swizzle_limits_the_width_to_its_pieces(piece: int) -> None:
    func = _WithLayout(swizzle(piece)).mutate(through_shared)
    found = {w for dst, src, w in moves(vectorized(func)) if "S" in (dst, src)}
    assert found == ({piece} if piece > 1 else set())
    compile_everywhere(cuda_text(func), ("sm_80",))


def test_moves_of_a_swizzled_buffer_name_the_first_place() -> None:
    func = _WithLayout(swizzle(8)).mutate(through_shared)
    text = cuda_text(func)
    assert text.count("tl_st_b128(") + text.count("tl_ld_b128(") == 2 and "^" in text


@pytest.mark.parametrize("width", [2, 4, 8])
def test_pieces_of_a_layout_are_judged_by_its_table(width: int) -> None:
    layout = swizzle(4)
    flat = layout.offsets.reshape(-1)
    together = all(
        flat[i + k] == flat[i] + k and flat[i] % width == 0
        for i in range(0, flat.size, width)
        for k in range(width)
    )
    assert keeps_pieces(layout, width) == together


def test_widths_fill_whole_bytes() -> None:
    assert widths(Buffer("a", (64,), "int4", LOCAL), 64) == [32, 16, 8, 4, 2]
    assert widths(Buffer("a", (64,), "float64", LOCAL), 4) == [2]
    assert widths(Buffer("a", (64,), "float32", LOCAL), 7) == []


# -- vectors in the program ------------------------------------------------------------------------


def test_aligned_slices_stay_moves_and_others_become_loops() -> None:
    @T.prim_func
    def slices(A: T.Tensor((64, 64), "float16"), B: T.Tensor((64, 64), "float16")):
        with T.Kernel(1, threads=64):
            tx = T.get_thread_binding()
            B[tx, 8:16] = A[tx, 0:8]
            B[tx, 19:23] = A[tx, 3:7]

    out = vectorized(slices)
    assert list(moves(out)) == [("B", "A", 8)]
    loops = [n for n in walk(out.body) if isinstance(n, For)]
    assert [const_value(n.extent) for n in loops] == [4]
    compile_everywhere(cuda_text(slices))


# -- the same results ------------------------------------------------------------------------------


def packed_conversion(lo: float, hi: float, kind: str) -> int:
    """What `tl_float32x2_to_<kind>x2` gives."""
    narrow = np.array([lo, hi], np.float32).astype(dtype(kind).as_numpy())
    return int(narrow.view(f"uint{16 * narrow.itemsize}")[0])


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's device functions, and the packed conversions."""
    known = interpreter_device.device_function

    def found(name: str) -> Callable[..., Any]:
        match = re.fullmatch("tl_float32x2_to_(.*)x2", name)
        return partial(packed_conversion, kind=match[1]) if match else known(name)

    monkeypatch.setattr(interpreter_device, "device_function", found)


def random_kernel(rng: random.Random) -> PrimFunc:
    """Two buffers, a shared tile and a local array; some places aligned, some not."""
    kind, other = (rng.choice(["float16", "bfloat16", "float32", "int8"]) for _ in range(2))
    count = rng.choice([2, 3, 4, 6, 8, 12, 16])
    row = rng.choice([64, 60, 63, 72])
    first, step = rng.choice([0, 0, 1, 2, 4, 8]), rng.choice([count, count, count + 2])
    limit = rng.randrange(0, 9)
    guard = rng.choice(["rows", "elements", "none"])
    is_in_place = rng.random() < 0.3
    uses_array = rng.random() < 0.5

    @T.prim_func
    def main(A: T.Tensor((8, row), kind), B: T.Tensor((8, row), other)):
        with T.Kernel(8, threads=3) as i:
            tx = T.get_thread_binding()
            S = T.alloc_shared((3, 24), kind)
            R = T.alloc_local((16,), other)
            for v in T.vectorized(count):
                if guard == "rows":
                    S[tx, v] = T.if_then_else(
                        i < limit, A[i, tx * step + v + first], T.Cast(kind, 1)
                    )
                elif guard == "elements":
                    S[tx, v] = T.if_then_else(
                        tx * step + v < 4 * limit, A[i, tx * step + v], T.Cast(kind, 1)
                    )
                else:
                    S[tx, v] = A[i, tx * step + v + first] + A[i, tx * step + v]
            T.sync_threads()
            for v in T.vectorized(count):
                x = S[(tx + 1) % 3, v]
                if uses_array:
                    R[v] = x * x
                else:
                    B[i, tx * step + v] = T.Cast(other, x * x)
            if uses_array:
                for v in T.vectorized(count):
                    B[i, tx * step + v] = R[v]
            if is_in_place:
                T.sync_threads()
                for v in T.vectorized(count):
                    B[i, tx * count + v] = B[i, tx * count + v] + T.Cast(other, 1)

    return main


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.usefixtures("conversions")
def test_results_stay_what_they_were(seed: int) -> None:
    func = random_kernel(random.Random(seed))
    data = np.random.default_rng(seed)
    A, B = (data.integers(-9, 9, (8, b.shape[1])).astype(b.dtype.as_numpy())
            for b in func.buffer_params)  # fmt: skip
    expected = {"A": A.copy(), "B": B.copy()}
    given = {"A": A.copy(), "B": B.copy()}
    interpreter.run(func, expected)
    interpreter.run(vectorized(func), given)
    for name in "AB":
        assert (given[name].view(np.uint8) == expected[name].view(np.uint8)).all()


@pytest.mark.parametrize(
    ("kind", "scope", "names"),
    [
        ("float16", "global", ["tl_red_add_float16x2"] * 4),
        ("bfloat16", "shared", ["tl_red_add_bfloat16x2"] * 4),
        ("float32", "global", ["tl_red_add_float32x4"] * 2),
        ("float32", "shared", []), ("int32", "global", []),
    ],
)  # fmt: skip
def test_neighbouring_additions_are_made_together(kind: str, scope: str, names: list[str]) -> None:
    @T.prim_func
    def main(A: T.Tensor((64,), "float32"), B: T.Tensor((64,), kind)):
        with T.Kernel(1, threads=8):
            tx = T.get_thread_binding()
            S = T.alloc_shared((64,), kind)
            for v in T.vectorized(8):
                if scope == "global":
                    T.atomic_add(B[tx * 8 + v], T.Cast(kind, A[tx * 8 + v]))
                else:
                    T.atomic_add(S[tx * 8 + v], T.Cast(kind, A[tx * 8 + v]))

    out = vectorized(main)
    calls = [n.op for n in walk(out.body) if isinstance(n, Call)]
    assert [c for c in calls if c.startswith("tl_red")] == names
    assert [m for m in moves(out) if m[1] == "A"] == [("A_lanes", "A", 4)] * 2
    assert ("atomic_add" in calls) == (not names)
    compile_everywhere(cuda_text(main))


def test_loads_and_stores_of_an_exact_width_are_single_accesses() -> None:
    @T.prim_func
    def main(A: T.Tensor((64, 64), "float16"), B: T.Tensor((64, 64), "float16"), n: T.int32):
        with T.Kernel(1, threads=64):
            tx = T.get_thread_binding()
            S = T.alloc_shared((64, 8), "float16")
            R = T.alloc_local((4,), "uint32")
            words = T.ldg128(A[tx, 8])
            T.stg128(B[tx, 16], words)
            T.sts64(S[tx, 4], T.ldg64(A[tx, 4]))
            T.stg32(B[tx, 2], T.ldg32(A[tx, 0], pred=tx < n))
            guarded = T.ldg128(A[tx, 24], pred=tx < n)
            R[0:4] = guarded
            R[1] = words[3] + guarded[2]
            T.stg128(B[tx, 32], R[0:4])

    out = vectorized(main)
    assert sorted(w for _, _, w in moves(out)) == [2, 4, 4, 8, 8, 8, 8]
    compile_everywhere(cuda_text(main))


@pytest.mark.usefixtures("conversions")
def test_bits_that_pass_through_words_stay_the_same() -> None:
    @T.prim_func
    def main(A: T.Tensor((4, 16), "float16"), B: T.Tensor((4, 16), "float16"), n: T.int32):
        with T.Kernel(1, threads=4):
            tx = T.get_thread_binding()
            words = T.ldg128(A[tx, 8])
            T.stg128(B[tx, 0], words)
            T.stg64(B[tx, 8], T.ldg64(A[tx, 4]))
            guarded = T.ldg64(A[tx, 0], pred=tx < n)
            T.stg64(B[tx, 12], guarded)

    A = np.random.default_rng(3).standard_normal((4, 16)).astype(np.float16)
    B = np.zeros((4, 16), np.float16)
    interpreter.run(vectorized(main), {"A": A, "B": B, "n": 2})
    assert (B[:, :8] == A[:, 8:]).all() and (B[:, 8:12] == A[:, 4:8]).all()
    assert (B[:2, 12:] == A[:2, :4]).all() and (B[2:, 12:] == 0).all()
