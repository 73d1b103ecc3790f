"""Thread code run thread by thread, keeping every access between barriers: the meaning of a race.

A model of its own: it shares nothing with the analysis but the IR. Programs have constant loops,
barriers that all threads reach, and integer indices.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tilelang.arith.evaluate import evaluate
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import (
    Allocate,
    Bind,
    Break,
    BufferStore,
    Continue,
    Evaluate,
    For,
    If,
    Launch,
    Seq,
    Stmt,
)
from tilelang.ir.visitor import walk

BARRIERS = ("sync_threads", "sync_warp")


@dataclass(frozen=True)
class Event:
    """One access; it may take effect in any of the epochs `first .. last`."""

    thread: int
    step: tuple[object, ...]  # the statement and the iterations around it
    place: tuple[int, int]  # storage, element
    writes: bool
    is_atomic: bool
    first: int
    last: int


@dataclass
class Trace:
    """What one thread does."""

    thread: int
    env: dict[Var, int]
    epoch: int = 0
    events: list[Event] = field(default_factory=list)
    iterations: tuple[int, ...] = ()
    flying: list[list[tuple[tuple[object, ...], tuple[int, int], int]]] = field(
        default_factory=lambda: [[]]
    )

    def run(self, stmt: Stmt) -> str | None:
        match stmt:
            case Seq(stmts=stmts):
                for child in stmts:
                    left = self.run(child)
                    if left is not None:
                        return left
            case For():
                self._loop(stmt)
            case If():
                self._reads(stmt.condition, stmt)
                if evaluate(stmt.condition, self.env):
                    return self.run(stmt.then_body)
                if stmt.else_body is not None:
                    return self.run(stmt.else_body)
            case Bind():
                self.env[stmt.var] = evaluate(stmt.value, self.env)
            case BufferStore():
                self._reads(stmt.value, stmt)
                self._access(stmt.buffer, stmt.indices, stmt, writes=True)
            case Evaluate(value=Call() as call):
                self._call(call, stmt)
            case Break() | Continue():
                return type(stmt).__name__
            case Allocate():
                pass
            case _:
                raise AssertionError(f"the model does not know {type(stmt).__name__}")
        return None

    def _loop(self, loop: For) -> None:
        start, extent = evaluate(loop.start, self.env), evaluate(loop.extent, self.env)
        outer = self.iterations
        for value in range(start, start + extent):
            self.env[loop.var], self.iterations = value, (*outer, value)
            if self.run(loop.body) == "Break":
                break
        self.iterations = outer

    def _call(self, call: Call, stmt: Stmt) -> None:
        if call.op in BARRIERS:
            self.epoch += 1
        elif call.op == "tl_cp_async_commit_group":
            self.flying.append([])
        elif call.op == "tl_cp_async_wait_group":
            self._land(int(evaluate(call.args[0])))
        elif call.op == "tl_cp_async_wait_all":
            self.flying.append([])
            self._land(0)
        elif call.op.startswith("tl_cp_async_c"):
            self._issue(call, stmt)
        elif call.op.startswith("atomic_"):
            target = call.args[0]
            assert isinstance(target, BufferLoad)
            self._access(target.buffer, target.indices, stmt, writes=True, is_atomic=True)
        else:
            raise AssertionError(f"the model does not know {call.op}")

    def _issue(self, call: Call, stmt: Stmt) -> None:
        pointer = call.args[0]
        assert isinstance(pointer, Call) and isinstance(pointer.args[0], BufferLoad)
        element = pointer.args[0]
        first = self._flat(element.buffer, element.indices)
        for number in range(int(call.op.rsplit("_", 1)[1]) // element.buffer.dtype.itemsize):
            place = (id(element.buffer.data), first + number)
            self.flying[-1].append(((id(stmt), *self.iterations), place, self.epoch))

    def _land(self, newest: int) -> None:
        """All committed groups but the `newest` ones are done; the last list is still open."""
        while len(self.flying) - 1 > newest:
            for step, place, epoch in self.flying.pop(0):
                self.events.append(Event(self.thread, step, place, True, False, epoch, self.epoch))

    def _reads(self, value: Expr, stmt: Stmt) -> None:
        for node in walk(value):
            if isinstance(node, BufferLoad):
                self._access(node.buffer, node.indices, stmt, writes=False)

    def _access(
        self, buffer: Buffer, indices: tuple[Expr, ...], stmt: Stmt, writes: bool,
        is_atomic: bool = False,
    ) -> None:  # fmt: skip
        if buffer.scope().startswith("local"):
            return
        place = (id(buffer.data), self._flat(buffer, indices))
        step = (id(stmt), *self.iterations)
        self.events.append(
            Event(self.thread, step, place, writes, is_atomic, self.epoch, self.epoch)
        )

    def _flat(self, buffer: Buffer, indices: tuple[Expr, ...]) -> int:
        flat = 0
        for index, extent in zip(indices, buffer.shape):
            assert isinstance(extent, int)
            value = int(evaluate(index, self.env))
            assert 0 <= value < extent, "programs stay in their buffers"
            flat = flat * extent + value
        return flat


def traces(func: PrimFunc, block: int = 0) -> list[Trace]:
    """One trace per thread of block `block`."""
    launch = next(n for n in walk(func) if isinstance(n, Launch))
    x, y, z = (int(evaluate(e)) for e in launch.thread_extents)
    found: list[Trace] = []
    for number in range(x * y * z):
        index = (number % x, number // x % y, number // (x * y))
        env = {**dict.fromkeys(launch.grid_vars, block), **dict(zip(launch.thread_vars, index))}
        trace = Trace(number, env)
        trace.run(launch.body)
        found.append(trace)
    return found


def races(func: PrimFunc, block: int = 0) -> list[tuple[Event, Event]]:
    """Pairs of accesses of different threads to one element that no barrier orders.

    What two threads do in one execution of one statement is left out: no barrier could order it.
    """
    ran = traces(func, block)
    assert len({t.epoch for t in ran}) == 1, "all threads meet at the same barriers"
    by_place: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for trace in ran:
        for event in trace.events:
            by_place[event.place].append(event)
    found: list[tuple[Event, Event]] = []
    for events in by_place.values():
        if len({e.thread for e in events}) < 2 or not any(e.writes for e in events):
            continue
        for i, a in enumerate(events):
            found += [(a, b) for b in events[i + 1 :] if _race(a, b)]
    return found


def _race(a: Event, b: Event) -> bool:
    return (
        a.thread != b.thread
        and (a.writes or b.writes)
        and not (a.is_atomic and b.is_atomic)
        and a.step != b.step
        and a.first <= b.last
        and b.first <= a.last
    )
