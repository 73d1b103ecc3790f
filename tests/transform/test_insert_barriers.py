"""Barriers: none is missing (threads run one by one as a model), none superfluous where known."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.transform.thread_traces import races
from tilelang.errors import Error, Span
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import HANDLE, Call, Expr, Var, as_expr, cast
from tilelang.ir.func import Parameter, PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import (
    Allocate,
    Bind,
    BufferStore,
    Continue,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
)
from tilelang.ir.visitor import Mutator, walk
from tilelang.target.target import Target
from tilelang.transform.check_barriers import RaceError, check_barriers
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.hazards_flow import Flow
from tilelang.transform.insert_barriers import BarrierNote, insert_barriers

TX = Var("tx")
BX = Var("bx")
SYNC = ("sync_threads", "sync_warp")


def kernel(
    *body: Stmt, threads: Sequence[int] = (64, 1, 1), params: Sequence[Parameter] = ()
) -> PrimFunc:
    extents = tuple(as_expr(e) for e in threads)
    launch = Launch((BX,), (as_expr(2),), (TX, Var("ty"), Var("tz")), extents, Seq(body))
    return PrimFunc("kernel", tuple(params), launch)


def shared(name: str, *shape: int, dtype: str = "float32") -> Buffer:
    return Buffer(name, shape, dtype, "shared")


R = Buffer("R", (1,), "float32", "local")


def put(buffer: Buffer, *indices: object) -> Stmt:
    return BufferStore(buffer, cast(R.load(0), buffer.dtype), tuple(as_expr(i) for i in indices))


def get(buffer: Buffer, *indices: object) -> Stmt:
    return BufferStore(R, cast(buffer.load(*indices), "float32"), (as_expr(0),))


def do(op: str, *args: object) -> Stmt:
    return Evaluate(Call(op, tuple(as_expr(a) for a in args), HANDLE))


def at(buffer: Buffer, *indices: object) -> Expr:
    return Call("address_of", (buffer.load(*indices),), HANDLE)


def loop(var: Var, extent: object, *body: Stmt, kind: LoopKind = LoopKind.SERIAL) -> Stmt:
    return For(var, as_expr(0), as_expr(extent), kind, Seq(body))


def context(disabled: bool = False) -> PassContext:
    config = {PassConfigKey.TL_DISABLE_THREAD_STORAGE_SYNC: True} if disabled else {}
    return PassContext(Target("c"), config)


def synced(func: PrimFunc) -> PrimFunc:
    made = insert_barriers(func, context())
    check_barriers(made, context())
    return made


def barriers(func: PrimFunc) -> list[Stmt]:
    return [
        n for n in walk(func)
        if isinstance(n, Evaluate) and isinstance(n.value, Call) and n.value.op in SYNC
    ]  # fmt: skip


def order(func: PrimFunc) -> list[str]:
    """Statements as short words, with loops and branches in brackets."""
    launch = next(n for n in walk(func) if isinstance(n, Launch))
    return _words(launch.body)


def _words(stmt: Stmt) -> list[str]:
    match stmt:
        case Seq(stmts=stmts):
            return [w for s in stmts for w in _words(s)]
        case For(body=body) | While(body=body):
            return ["for(", *_words(body), ")"]
        case If(then_body=then_body):
            return ["if(", *_words(then_body), ")"]
        case BufferStore(buffer=buffer):
            return ["get" if buffer is R else f"put {buffer.name}"]
        case Evaluate(value=Call(op=op)):
            return [{"sync_threads": "SYNC", "sync_warp": "SYNC"}.get(op, op)]
        case _:
            return []


# -- where barriers stand --------------------------------------------------------------------------

S = shared("S", 64)
K = Var("k")


def test_an_exchange_between_threads_needs_one() -> None:
    made = synced(kernel(Allocate(S), put(S, TX), get(S, 63 - TX)))
    assert order(made) == ["put S", "SYNC", "get"]


@pytest.mark.parametrize("index", [TX, TX + 0, (TX * 5) % 64, TX // 8 * 8 + 7 - TX % 8], ids=str)
def test_own_elements_need_none(index: Expr) -> None:
    made = synced(kernel(Allocate(S), put(S, index), get(S, index), put(S, index)))
    assert not barriers(made)


def test_a_loop_that_reuses_a_buffer_needs_two() -> None:
    made = synced(kernel(Allocate(S), loop(K, 4, put(S, TX), get(S, 63 - TX))))
    assert order(made) == ["for(", "SYNC", "put S", "SYNC", "get", ")"]


def test_two_halves_of_a_buffer_need_one_per_iteration() -> None:
    double = shared("D", 2, 64)
    body = (put(double, K % 2, TX), get(double, K % 2, 63 - TX))
    made = synced(kernel(Allocate(double), loop(K, 9, *body)))
    assert order(made) == ["for(", "put D", "SYNC", "get", ")"]


def test_the_barrier_stands_outside_an_inner_loop() -> None:
    i = Var("i")
    made = synced(kernel(Allocate(S), put(S, TX), loop(i, 8, get(S, (TX + i) % 64))))
    assert order(made) == ["put S", "SYNC", "for(", "get", ")"]


def test_the_barrier_stands_outside_a_condition_on_the_thread() -> None:
    made = synced(kernel(Allocate(S), put(S, TX), If(TX < 5, get(S, 63 - TX))))
    assert order(made) == ["put S", "SYNC", "if(", "get", ")"]


def test_a_condition_that_is_the_same_in_all_threads_may_hold_one() -> None:
    body = Seq((put(S, TX), get(S, 63 - TX)))
    made = synced(kernel(Allocate(S), If(BX < 1, body)))
    assert order(made) == ["if(", "put S", "SYNC", "get", ")"]


def test_a_condition_on_the_thread_that_holds_for_all_may_hold_one() -> None:
    body = Seq((put(S, TX), get(S, 63 - TX)))
    made = synced(kernel(Allocate(S), If(TX < 64, body)))
    assert order(made) == ["if(", "put S", "SYNC", "get", ")"]


def test_what_the_user_wrote_is_not_doubled() -> None:
    func = kernel(Allocate(S), put(S, TX), do("sync_threads"), get(S, 63 - TX))
    assert synced(func).body is not None
    assert len(barriers(synced(func))) == 1


def test_one_warp_needs_less() -> None:
    small = shared("S", 32)
    func = kernel(Allocate(small), put(small, TX), get(small, 31 - TX), threads=(32, 1, 1))
    assert [b.value.op for b in barriers(synced(func)) if isinstance(b, Evaluate)
            and isinstance(b.value, Call)] == ["sync_warp"]  # fmt: skip


def test_a_warp_barrier_of_the_user_serves_threads_of_one_warp() -> None:
    inside = (put(S, TX), do("sync_warp"), get(S, TX // 32 * 32 + 31 - TX % 32))
    assert len(barriers(synced(kernel(Allocate(S), *inside)))) == 1
    across = (put(S, TX), do("sync_warp"), get(S, 63 - TX))
    assert len(barriers(synced(kernel(Allocate(S), *across)))) == 2


def test_atomics_have_no_order_among_each_other() -> None:
    add = Evaluate(Call("atomic_add", (S.load(TX // 2), as_expr(1.0), as_expr(0)), S.dtype))
    made = synced(kernel(Allocate(S), put(S, TX), add, add, get(S, 0)))
    assert order(made) == ["put S", "SYNC", "atomic_add", "atomic_add", "SYNC", "get"]


def test_global_memory_that_is_read_back() -> None:
    out = Buffer("Out", (256,), "float32")
    other = kernel(put(out, BX * 64 + TX), get(out, BX * 64 + 63 - TX), params=(out,))
    assert order(synced(other)) == ["put Out", "SYNC", "get"]
    own = kernel(put(out, BX * 64 + TX), get(out, BX * 64 + TX), params=(out,))
    assert not barriers(synced(own))


def test_memory_of_another_buffer_is_handed_over() -> None:
    from tilelang.transform.plan_shared_memory import plan_shared_memory

    first, other = shared("First", 2048), shared("Other", 2048)
    uses = (put(first, TX), get(first, TX), put(other, TX), get(other, TX))
    func = kernel(Allocate(first), Allocate(other), *uses)
    planned = plan_shared_memory(func, PassContext(Target("cuda -arch=sm_80")))
    assert order(synced(planned)) == ["put First", "get", "SYNC", "put Other", "get"]


def test_unknown_operations_may_do_anything() -> None:
    func = kernel(Allocate(S), put(S, TX), do("call_extern", at(S, 0)), get(S, TX))
    assert order(synced(func)) == ["put S", "SYNC", "call_extern", "SYNC", "get"]


def test_a_name_between_index_and_thread() -> None:
    name = Var("i")
    func = kernel(Allocate(S), Bind(name, TX + 0), put(S, name), get(S, TX))
    assert not barriers(synced(func))


def test_every_barrier_has_its_reason() -> None:
    ctx = context()
    insert_barriers(kernel(Allocate(S), put(S, TX), get(S, 63 - TX)), ctx)
    (reason,) = ctx.notes
    assert isinstance(reason, BarrierNote)
    assert "read after write of `S`" in str(reason)


def test_switched_off_for_what_the_user_allocated() -> None:
    users = Buffer("S", (64,), "float32", "shared", span=Span("kernel.py", 3))
    func = kernel(Allocate(users), put(users, TX), get(users, 63 - TX))
    assert not barriers(insert_barriers(func, context(disabled=True)))


def test_switched_off_scratch_memory_of_operations_is_still_ordered() -> None:
    scratch = shared("parts", 64)
    users = Buffer("S", (64,), "float32", "shared", span=Span("kernel.py", 3))
    work = (put(users, TX), put(scratch, TX), get(scratch, 63 - TX), get(users, 63 - TX))
    func = kernel(Allocate(users), Allocate(scratch), *work)
    made = insert_barriers(func, context(disabled=True))
    assert order(made) == ["put S", "put parts", "SYNC", "get", "get"]


# -- pipelines -------------------------------------------------------------------------------------


def pipeline(
    stages: int,
    extent: Expr | int,
    issue_first: bool = True,
    read: Callable[..., Stmt] | None = None,
) -> PrimFunc:
    """Copies `stages - 1` iterations ahead; every thread reads what its neighbour copied."""
    slots = shared("W", stages, 64, 4)
    source = Buffer("A", (64, 64, 4), "float32")
    slot = Var("slot")

    def issue(k: Expr, where: Expr) -> Stmt:
        return do("tl_cp_async_cg_16", at(slots, where, TX, 0), at(source, k, TX, 0))

    prologue: list[Stmt] = []
    for k in range(stages - 1):
        prologue += [issue(as_expr(k), as_expr(k)), do("tl_cp_async_commit_group")]
    ahead = K + (stages - 1)
    copy = [
        If(ahead < extent, Seq((Bind(slot, ahead % stages), issue(ahead, slot)))),
        do("tl_cp_async_commit_group"),
    ]
    use = [read(slots) if read else get(slots, K % stages, (TX + 1) % 64, 0)]
    body = [*copy, *use] if issue_first else [*use, *copy]
    steady = loop(K, extent, do("tl_cp_async_wait_group", stages - 2), *body)
    return kernel(Allocate(slots), *prologue, steady, params=(source,))


@pytest.mark.parametrize("issue_first", [True, False])
@pytest.mark.parametrize("stages", [2, 3, 4, 5])
def test_a_pipeline_needs_one_barrier_per_iteration(stages: int, issue_first: bool) -> None:
    func = pipeline(stages, 11, issue_first)
    made = synced(func)
    assert len(barriers(made)) == 1
    words = order(made)
    start = words.index("for(")
    assert words[start + 1 : start + 3] == ["tl_cp_async_wait_group", "SYNC"]
    assert races(func)
    assert not races(made)


@pytest.mark.parametrize("extent", [1, 2, 3, 6])
def test_no_iteration_is_looked_at_that_does_not_run(
    extent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies in flight are told apart by how many groups came after them: without an end to the
    loop that would go on for a while."""
    visits: list[Stmt] = []
    visit = Flow._visit

    def counted(self: Flow, stmt: Stmt, state: Any) -> Any:
        visits.append(stmt)
        return visit(self, stmt, state)

    monkeypatch.setattr(Flow, "_visit", counted)
    slots, source = shared("W", 8, 64, 4), Buffer("A", (8, 64, 4), "float32")
    copy = do("tl_cp_async_cg_16", at(slots, K, TX, 0), at(source, K, TX, 0))
    func = kernel(Allocate(slots), loop(K, extent, copy, do("tl_cp_async_commit_group")))
    check_barriers(func, context())
    assert 1 <= sum(s is copy for s in visits) <= extent


def test_a_pipeline_of_unknown_length() -> None:
    length = Var("n")
    func = pipeline(3, length)
    made = synced(replace(func, params=(*func.params, length)))
    assert len(barriers(made)) == 1


def test_ldmatrix_reads_for_the_whole_warp() -> None:
    registers = Buffer("F", (4,), "uint32", "local")

    def read(slots: Buffer) -> Stmt:
        return do("tl_ldmatrix_x4", at(registers, 0), at(slots, K % 3, TX, 0))

    assert len(barriers(synced(pipeline(3, 16, read=read)))) == 1


# -- random programs -------------------------------------------------------------------------------


class RandomKernel:
    """Loops, branches and accesses of threads to a few small buffers."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.threads = self.rng.choice([(8, 1, 1), (40, 1, 1), (6, 7, 1), (4, 5, 2)])
        self.count = self.threads[0] * self.threads[1] * self.threads[2]
        self.indices = (TX, Var("ty"), Var("tz"))
        x, y = self.threads[:2]
        self.thread = self.indices[0] + self.indices[1] * x + self.indices[2] * (x * y)
        self.buffers = [shared(n, 3, self.count) for n in "ABC"[: self.rng.randint(1, 3)]]
        self.names = 0

    def func(self) -> PrimFunc:
        body = [*map(Allocate, self.buffers), *self.block([], 3)]
        extents = tuple(as_expr(e) for e in self.threads)
        launch = Launch((BX,), (as_expr(2),), self.indices, extents, Seq(tuple(body)))
        return PrimFunc("random", (), launch)

    def block(self, loops: list[Var], depth: int) -> list[Stmt]:
        return [self.stmt(loops, depth) for _ in range(self.rng.randint(1, 4))]

    def stmt(self, loops: list[Var], depth: int) -> Stmt:
        rng, choice = self.rng, self.rng.random()
        if depth and choice < 0.25:
            self.names += 1
            var = Var(f"i{self.names}")
            return For(
                var, as_expr(rng.choice([0, 0, 2])), as_expr(rng.randint(0, 4)), LoopKind.SERIAL,
                Seq(tuple(self.block([*loops, var], depth - 1))),
            )  # fmt: skip
        if depth and choice < 0.35:
            other = Seq(tuple(self.block(loops, depth - 1))) if rng.random() < 0.4 else None
            return If(self.uniform(loops), Seq(tuple(self.block(loops, depth - 1))), other)
        if loops and choice < 0.38:
            return If(self.uniform(loops), Continue())
        if choice < 0.5:
            return If(self.thread < rng.randint(1, self.count), self.access(loops))
        return do("sync_threads") if choice < 0.55 else self.access(loops)

    def uniform(self, loops: list[Var]) -> Expr:
        value = self.rng.choice([*loops, BX])
        return value % 2 < 1 if self.rng.random() < 0.5 else value < self.rng.randint(0, 3)

    def access(self, loops: list[Var]) -> Stmt:
        buffer, kind = self.rng.choice(self.buffers), self.rng.random()
        indices = (self.slot(loops), self.column(loops))
        if kind < 0.1:
            element = buffer.load(*indices)
            return Evaluate(Call("atomic_add", (element, as_expr(1.0), as_expr(0)), buffer.dtype))
        return put(buffer, *indices) if kind < 0.5 else get(buffer, *indices)

    def slot(self, loops: list[Var]) -> Expr:
        value: Expr = as_expr(self.rng.randint(0, 2))
        if loops and self.rng.random() < 0.6:
            value = (self.rng.choice(loops) + value) % self.rng.choice([2, 3])
        return value

    def column(self, loops: list[Var]) -> Expr:
        choice, n = self.rng.random(), self.count
        if choice < 0.5:
            return self.thread
        if choice < 0.6:
            return n - 1 - self.thread
        if choice < 0.7:
            return self.thread // 2
        if choice < 0.8 and loops:
            return (self.thread + self.rng.choice(loops)) % n
        return (self.thread + self.rng.randint(0, 3)) % n


@pytest.mark.parametrize("chunk", range(6))
def test_random_kernels_have_no_races_left(chunk: int) -> None:
    raced = 0
    for seed in range(chunk * 25, chunk * 25 + 25):
        func = RandomKernel(seed).func()
        made = insert_barriers(func, context())
        check_barriers(made, context())
        raced += any(races(func, block) for block in (0, 1))
        for block in (0, 1):
            left = races(made, block)
            assert not left, f"seed {seed}: {left[0]}\n{made.script()}"
    assert raced > 2, "many programs need barriers"


class _Without(Mutator):
    def __init__(self, barrier: Stmt) -> None:
        self.barrier = barrier

    def mutate_Evaluate(self, node: Evaluate) -> Stmt | None:
        return None if node is self.barrier else node


@pytest.mark.parametrize("seed", range(12))
def test_every_inserted_barrier_is_missed(seed: int) -> None:
    func = RandomKernel(1000 + seed).func()
    own = {id(b) for b in barriers(func)}
    made = insert_barriers(func, context())
    for barrier in barriers(made):
        if id(barrier) not in own:
            with pytest.raises(RaceError):
                check_barriers(_Without(barrier).mutate(made), context())


def test_a_race_that_is_found_is_one() -> None:
    """Without automatic barriers an alarm means that the model finds a race too."""
    alarms = 0
    for seed in range(60):
        func = RandomKernel(5000 + seed).func()
        try:
            check_barriers(func, context(disabled=True))
        except Error:
            alarms += 1
            assert any(races(func, block) for block in (0, 1)), f"seed {seed}\n{func.script()}"
    assert alarms > 10
