"""Places of buffers: nothing still needed is overwritten; memory is shared where it can be."""

from __future__ import annotations

import random

import pytest

from tilelang.errors import ResourceError
from tilelang.ir.annotation import ARENA_BYTES, ARENA_OFFSET, LAYOUT, SHARES_ARENA
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Call, Var, as_expr, call
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import (
    Allocate,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    annotation,
)
from tilelang.ir.visitor import walk
from tilelang.layout import make_padded_layout
from tilelang.target.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.plan_memory import (
    ALIGNMENT,
    STACK_BUFFER_BYTES,
    buffer_bytes,
    plan_launch,
    plan_memory,
)

ONE = as_expr(1)
ZERO = as_expr(0)


def launch(*body: Stmt) -> Launch:
    threads = tuple(Var(n) for n in ("tx", "ty", "tz"))
    return Launch((Var("bx"),), (ONE,), threads, (ONE, ONE, ONE), Seq(tuple(body)))


def big(name: str, elements: int = 4096) -> Buffer:
    return Buffer(name, (elements,), "float32", "shared")


def write(buffer: Buffer) -> Stmt:
    return BufferStore(buffer, as_expr(1.0), (ZERO,))


def read(buffer: Buffer) -> Stmt:
    return Evaluate(Call("use", (buffer.load(0),), buffer.dtype))


def loop(*body: Stmt) -> Stmt:
    return For(Var("i"), ZERO, as_expr(2), LoopKind.SERIAL, Seq(tuple(body)))


def offsets(node: Launch) -> dict[str, int]:
    return {p.buffer.name: p.offset for p in plan_launch(node).buffers if p.place == "arena"}


# -- a machine that notices overwritten values -----------------------------------------------------


class RandomProgram:
    """Nested loops and branches that write buffers and read some of those that were written."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.count = 0

    def body(self, visible: list[Buffer], depth: int) -> list[Stmt]:
        visible = list(visible)
        out: list[Stmt] = []
        for _ in range(self.rng.randint(2, 6)):
            choice = self.rng.random()
            if choice < 0.3:
                size = self.rng.choice([1100, 2000, 4096, 9999])
                buffer = big(f"b{self.count}", size)
                self.count += 1
                visible.append(buffer)
                out.append(Allocate(buffer))
            elif choice < 0.5 and depth:
                out.append(loop(*self.body(visible, depth - 1)))
            elif choice < 0.6 and depth:
                sides = [Seq(tuple(self.body(visible, depth - 1))) for _ in range(2)]
                out.append(If(as_expr(True), *sides))
            elif visible:
                buffer = self.rng.choice(visible)
                out.append(write(buffer) if self.rng.random() < 0.5 else read(buffer))
        return out


class Machine:
    """Runs a program on byte ranges; every byte remembers who wrote it last."""

    def __init__(self, node: Launch, branch: int) -> None:
        self.ranges = {
            p.buffer: (p.offset, p.offset + p.bytes)
            for p in plan_launch(node).buffers
            if p.place == "arena"
        }
        self.owner: dict[int, Buffer] = {}  # by 64-byte line
        self.written: set[Buffer] = set()
        self.branch = branch

    def run(self, stmt: Stmt) -> None:
        if isinstance(stmt, Seq):
            for item in stmt.stmts:
                self.run(item)
        elif isinstance(stmt, For):
            for _ in range(2):
                self.run(stmt.body)
        elif isinstance(stmt, If):
            taken = stmt.then_body if self.branch else stmt.else_body
            assert taken is not None
            self.branch ^= 1
            self.run(taken)
        elif isinstance(stmt, Allocate):
            self.written.discard(stmt.buffer)
        elif isinstance(stmt, BufferStore):
            self.written.add(stmt.buffer)
            for line in self.lines(stmt.buffer):
                self.owner[line] = stmt.buffer
        elif isinstance(stmt, Evaluate):
            buffer = next(n.buffer for n in walk(stmt) if hasattr(n, "buffer"))
            if buffer in self.written:
                assert all(self.owner[line] is buffer for line in self.lines(buffer)), buffer.name

    def lines(self, buffer: Buffer) -> range:
        start, end = self.ranges[buffer]
        return range(start // ALIGNMENT, -(-end // ALIGNMENT))


@pytest.mark.parametrize("seed", range(150))
def test_no_value_is_overwritten_while_it_is_needed(seed: int) -> None:
    program = RandomProgram(seed)
    node = launch(*program.body([], 3))
    for branch in (0, 1):
        Machine(node, branch).run(node.body)


@pytest.mark.parametrize("seed", range(50))
def test_live_buffers_have_disjoint_aligned_places(seed: int) -> None:
    plan = plan_launch(launch(*RandomProgram(seed).body([], 3)))
    for i, a in enumerate(plan.buffers):
        assert a.offset % ALIGNMENT == 0 and a.offset + a.bytes <= plan.arena_bytes
        for b in plan.buffers[i + 1 :]:
            assert not (a.lives_with(b) and a.overlaps(b))


# -- particular programs ---------------------------------------------------------------------------


def test_buffers_used_one_after_the_other_share_memory() -> None:
    a, b, c = big("a"), big("b"), big("c")
    node = launch(
        Allocate(a), Allocate(b), Allocate(c), write(a), read(a), write(b), read(b), write(c)
    )
    assert offsets(node) == {"a": 0, "b": 0, "c": 0}
    assert plan_launch(node).arena_bytes == 4096 * 4


def test_a_buffer_that_carries_values_between_iterations_keeps_its_memory() -> None:
    a, b = big("a"), big("b")
    node = launch(Allocate(a), Allocate(b), loop(read(a), write(b), read(b), write(a)))
    places = offsets(node)
    assert places["a"] != places["b"]


def test_a_buffer_allocated_inside_a_loop_lives_for_an_iteration() -> None:
    a, b = big("a"), big("b")
    node = launch(loop(Allocate(a), write(a), read(a), Allocate(b), write(b), read(b)))
    assert offsets(node) == {"a": 0, "b": 0}


def test_views_keep_their_storage_alive() -> None:
    a, b = big("a"), big("b")
    view = Buffer("view", (4096,), "int32", "shared", data=a.data)
    node = launch(Allocate(a), Allocate(b), write(a), write(b), read(b), read(view))
    places = offsets(node)
    assert places["a"] != places["b"]


def test_a_pointer_that_is_kept_keeps_its_storage_alive() -> None:
    a, b = big("a"), big("b")
    pointer = Var("p", "handle")
    node = launch(
        Allocate(a), Allocate(b), Bind(pointer, call("address_of", a.load(0), dtype="handle")),
        write(b), read(b), Evaluate(call("use", pointer, dtype="int32")),
    )  # fmt: skip
    places = offsets(node)
    assert places["a"] != places["b"]


def test_small_buffers_are_on_the_stack_and_scalars_are_scalars() -> None:
    small = Buffer("small", (STACK_BUFFER_BYTES // 4,), "float32", "local")
    var = Buffer("var", (1,), "float32", "local.var")
    plan = plan_launch(launch(Allocate(small), Allocate(var), write(small), write(var)))
    assert [p.place for p in plan.buffers] == ["stack", "scalar"]
    assert plan.arena_bytes == 0


def test_bytes_count_layouts_strides_and_packing() -> None:
    assert buffer_bytes(Buffer("a", (3, 5), "int4", "shared")) == 8
    assert buffer_bytes(Buffer("a", (4, 8), "float16", "shared", strides=(16, 1))) == 56 * 2
    assert buffer_bytes(Buffer("a", (4,), "float32", "shared", elem_offset=3)) == 28
    padded = Buffer("a", (8, 32), "float16", "shared")
    layout = make_padded_layout(padded)
    assert buffer_bytes(padded, layout) > 8 * 32 * 2
    allocate = Allocate(padded, ((LAYOUT, layout),))
    plan = plan_launch(launch(allocate, write(padded)))
    assert plan.buffers[0].bytes == buffer_bytes(padded, layout)


def test_an_extent_known_only_at_run_time_is_an_error() -> None:
    n = Var("n")
    buffer = Buffer("a", (n,), "float32", "shared")
    with pytest.raises(ResourceError, match="`a` is on-chip memory"):
        plan_launch(launch(Allocate(buffer), write(buffer)))


def test_the_pass_annotates_and_moves_workspaces_out() -> None:
    a, b = big("a"), big("b")
    workspace = Buffer("ws", (Var("n"),), "float32")
    used = (write(a), Allocate(b), write(b), write(workspace))
    node = launch(Allocate(workspace), Allocate(a), *used)
    func = plan_memory(PrimFunc("f", (), node), PassContext(Target("c")))
    assert isinstance(func.body, Seq)
    first, planned = func.body.stmts
    assert isinstance(first, Allocate) and first.buffer is workspace
    assert isinstance(planned, Launch)
    assert annotation(planned.annotations, ARENA_BYTES) == 16384
    found = {n.buffer: n.annotations for n in walk(planned.body) if isinstance(n, Allocate)}
    assert set(found) == {a, b}
    for notes in found.values():
        assert annotation(notes, ARENA_OFFSET) == 0
        assert annotation(notes, SHARES_ARENA) is True
    again = plan_memory(func, PassContext(Target("c")))
    assert annotation(again.body.stmts[1].annotations, ARENA_BYTES) == 16384  # type: ignore[union-attr]


def test_the_plan_can_be_printed() -> None:
    a = big("tile")
    text = str(plan_launch(launch(Allocate(a), write(a))))
    assert "tile" in text and "16384" in text and "arena: 16384 bytes per thread" in text
