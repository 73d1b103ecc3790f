"""Which accesses of different threads are not yet ordered, at every statement of a launch.

Comes in: a launch in thread form, and barriers that a caller thinks of adding. Goes out: the
hazards that are left, each with the place where a barrier would order it. The walk keeps the
accesses since the last barrier; loops are walked until nothing new is carried into them. A cp.async
write is in flight until a wait, and seen by other threads after a barrier behind that wait.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tilelang.errors import Span
from tilelang.ir.annotation import WARP_GROUPS
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import Call, Expr, Var, const_value
from tilelang.ir.node import Node
from tilelang.ir.ops import is_pure
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    Break,
    Continue,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
)
from tilelang.ir.visitor import walk
from tilelang.transform.hazards import Access, Place, accesses_of, inlined
from tilelang.transform.hazards_overlap import MANY, Overlap, Storage, values_over_threads
from tilelang.transform.thread_exit import is_exit_test
from tilelang.transform.thread_grid import WARP, ThreadGrid
from tilelang.transform.varying import Varying, find_varying, leaves_differently

MAX_DISTANCE = 8  # iterations that are told apart; longer ago is "some iteration"
_MAX_GROUPS = 16  # groups of copies that are counted
BLOCK_BARRIERS = frozenset(
    (
        "sync_threads", "sync_grid", "syncthreads_count", "syncthreads_and", "syncthreads_or",
        "barrier_wait", "mbarrier_wait_parity", "cluster_wait", "cluster_sync", "tl_sync_threads",
        "tl_bar_sync",
    )
)  # fmt: skip
COMMITS = frozenset(("ptx_commit_group", "tl_cp_async_commit_group"))
WAITS = frozenset(("ptx_wait_group", "tl_cp_async_wait_group"))
WAIT_ALL = "tl_cp_async_wait_all"
SYNCS = BLOCK_BARRIERS | COMMITS | WAITS | {WAIT_ALL, "sync_warp", "tl_sync_warp"}

Phase = Literal["done", "issued", "committed"]
Dependence = Literal["read after write", "write after read", "write after write", "missing wait"]
Spot = tuple[Literal["before", "end"], int]  # before a statement, or at the end of a loop body


@dataclass(frozen=True, eq=False, slots=True)
class Pending:
    """An access that is not ordered with those of other threads yet."""

    access: Access
    distances: tuple[tuple[int, int], ...]  # open loop -> iterations since
    phase: Phase = "done"
    newer: int = 0  # groups of copies committed after its own
    certain: bool = True  # `newer` is the same on every way here
    per_warp: bool = False  # ordered within each warp
    sure: bool = True  # on every way here; otherwise conditions elsewhere decide
    origin: tuple[Stmt, ...] = ()  # the barrier comes after this statement
    since: tuple[tuple[int, int], ...] = ()  # open loop -> iterations since `origin`

    @property
    def key(self) -> tuple[object, ...]:
        return (
            id(self.access), self.distances, self.phase, self.newer, self.per_warp, self.certain,
            self.sure, id(self.origin[-1]), self.since,
        )  # fmt: skip


State = dict[tuple[object, ...], Pending]


@dataclass(frozen=True, slots=True)
class Hazard:
    """Two accesses whose order is not decided.

    Attributes:
        spot: where a barrier orders them; `None` where only some threads would reach it.
        is_certain: two threads and an element are known.
        drains: copies may be in flight to memory that another buffer takes over.
    """

    before: Access
    after: Access
    dependence: Dependence
    spot: Spot | None
    is_certain: bool
    drains: bool = False  # the barrier comes after a wait for all copies

    @property
    def spans(self) -> tuple[Span | None, Span | None]:
        return self.before.span, self.after.span


@dataclass(slots=True)
class _Loop:
    breaks: list[State] = field(default_factory=list)
    continues: list[State] = field(default_factory=list)


class _Found(Exception):
    def __init__(self, hazard: Hazard) -> None:
        super().__init__()
        self.hazard = hazard


class Flow:
    """The analysis of one launch; `first` and `every` may be asked again with other barriers."""

    def __init__(self, launch: Launch, grid: ThreadGrid, parameters: Iterable[Var] = ()) -> None:
        self.launch = launch
        self.grid = grid
        self.varying = find_varying(launch.body, launch.thread_vars)
        common = {*launch.grid_vars, *parameters}
        self.storage = Storage(grid, common=common)
        self.pointers: dict[Var, Buffer] = {}
        self.accesses: dict[int, list[Access]] = {}  # of a statement's own expressions
        self.places: dict[int, Place] = {}
        self.divergent: dict[int, bool] = {}
        self._prepare(launch.body, (), ())
        self._drop_unshared()
        self.barriers: Mapping[Spot, Hazard] = {}
        self.hazards: dict[tuple[int, int, bool], Hazard] | None = None
        self.loops: list[_Loop] = []
        self.open_loops: set[int] = set()
        self.inside: list[Stmt] = []  # divergent statements around
        self.whole: dict[int, list[Access] | None] = {}  # loops that are one step
        self.uneven: dict[int, bool] = {}
        self.left: dict[int, bool] = {}  # loops that a break or continue is in
        self.inner: dict[int, set[int]] = {}  # statements inside those

    # -- asking ----------------------------------------------------------------------------------

    def first(self, barriers: Mapping[Spot, Hazard]) -> Hazard | None:
        """The first hazard that a barrier can order, with `barriers` in place."""
        self.barriers, self.hazards = barriers, None
        try:
            self._visit(self.launch.body, {})
        except _Found as found:
            return found.hazard
        finally:
            self.loops, self.inside, self.open_loops = [], [], set()
        return None

    def every(self, barriers: Mapping[Spot, Hazard] | None = None) -> list[Hazard]:
        """All hazards that are left, each pair of accesses once."""
        self.barriers, self.hazards = barriers or {}, {}
        self._visit(self.launch.body, {})
        return list(self.hazards.values())

    # -- preparing: places, accesses, divergence --------------------------------------------------

    def _prepare(
        self, stmt: Stmt, path: tuple[Stmt, ...], guards: tuple[tuple[Expr, bool], ...]
    ) -> None:
        if isinstance(stmt, Seq):
            for child in stmt.stmts:
                self._prepare(child, path, guards)
            return
        here = (*path, stmt)
        place = self.places[id(stmt)] = Place(here, guards)
        if isinstance(stmt, Allocate):
            self.storage.add(stmt)
            self.pointers[stmt.buffer.data] = stmt.buffer
            return
        if isinstance(stmt, Bind) and stmt.value.dtype.is_int and is_pure(stmt.value):
            self.storage.names[stmt.var] = inlined(stmt.value, self.storage.names)
        found: list[Access] = []
        for child in own_expressions(stmt):
            found += accesses_of(child, place, self.pointers)
        self.accesses[id(stmt)] = found
        self.divergent[id(stmt)] = self._diverges(stmt, place)
        for body, guard in bodies_of(stmt):
            self._prepare(body, here, (*guards, *guard))

    def _diverges(self, stmt: Stmt, place: Place) -> bool:
        """Whether threads may run different parts of `stmt`, or not the same number of times."""
        if not diverges(stmt, self.varying):
            return False
        return not isinstance(stmt, If) or self._same_in_all(stmt.condition, place) is not True

    def _same_in_all(self, condition: Expr, place: Place) -> bool | None:
        """Whether all threads see the same truth; `None` where that cannot be computed."""
        loops = [s for s in place.loops if isinstance(s, For)]
        return values_over_threads(
            condition, self.storage, loops, lambda t: bool((t.all(axis=1) | ~t.any(axis=1)).all())
        )

    def differs(self, stmt: Stmt) -> bool:
        """Whether some threads certainly skip what others run in the `If` `stmt`."""
        if not isinstance(stmt, If):
            return False
        return self._same_in_all(stmt.condition, self.places[id(stmt)]) is False

    def _drop_unshared(self) -> None:
        """Forget accesses to storage that nobody writes, and to global memory that is written
        by one statement alone."""
        written: dict[Var, set[int]] = {}
        touched: dict[Var, set[int]] = {}
        for key, found in self.accesses.items():
            for access in found:
                touched.setdefault(access.buffer.data, set()).add(key)
                if access.writes:
                    written.setdefault(access.buffer.data, set()).add(key)
        for key, found in self.accesses.items():
            self.accesses[key] = [
                a for a in found
                if self.storage.arena.get(a.buffer.data) is not None
                or (a.buffer.data in written
                    and (a.buffer.scope() != GLOBAL or len(touched[a.buffer.data]) > 1))
            ]  # fmt: skip

    # -- the walk --------------------------------------------------------------------------------

    def _visit(self, stmt: Stmt, state: State | None) -> State | None:
        if state is None:
            return None
        if isinstance(stmt, Seq):
            for child in stmt.stmts:
                state = self._visit(child, state)
            return state
        state = self._added(("before", id(stmt)), state)
        if isinstance(stmt, Allocate):
            return state
        if isinstance(stmt, Break):
            self.loops[-1].breaks.append(state)
            return None
        if isinstance(stmt, Continue):
            self.loops[-1].continues.append(state)
            return None
        if not self.divergent[id(stmt)]:
            return self._parts(stmt, state)
        self.inside.append(stmt)
        after = self._parts(stmt, state)
        self.inside.pop()
        return after

    def _parts(self, stmt: Stmt, state: State) -> State | None:
        if isinstance(stmt, (For, While)):
            return self._loop(stmt, state)
        if isinstance(stmt, If):
            state = self._own(stmt, state)
            taken = self._visit(stmt.then_body, state)
            other: State | None = state
            if stmt.else_body is not None:
                start = _joined(state, taken) if self.divergent[id(stmt)] else state
                other = self._visit(stmt.else_body, start)
            return _joined(taken, other, around=stmt)
        if isinstance(stmt, Attr):
            return self._visit(stmt.body, self._own(stmt, state))
        return self._own(stmt, state)

    def _own(self, stmt: Stmt, state: State) -> State:
        """The accesses of the statement's own expressions, and the barriers in them."""
        syncs = [n for e in own_expressions(stmt) for n in walk(e)
                 if isinstance(n, Call) and n.op in SYNCS]  # fmt: skip
        found = self.accesses[id(stmt)]
        reads = [a for a in found if not syncs or not a.writes]
        state = self._touch(state, reads)
        for call in syncs:
            state = self._synchronise(call, stmt, state)
        return self._touch(state, [a for a in found if a not in reads]) if syncs else state

    def _touch(self, state: State, accesses: list[Access]) -> State:
        if not accesses:
            return state
        for access in accesses:
            for pending in state.values():
                self._check(pending, access)
        made = dict(state)
        for access in accesses:
            loops = tuple((id(s), 0) for s in access.place.loops if id(s) in self.open_loops)
            phase: Phase = "issued" if access.is_async else "done"
            item = Pending(access, loops, phase, origin=access.place.path, since=loops)
            made[item.key] = item
        return made

    # -- hazards ---------------------------------------------------------------------------------

    def _check(self, pending: Pending, access: Access) -> None:
        before = pending.access
        if not may_conflict(before, access):
            return
        in_flight = pending.phase != "done"
        drains = in_flight and before.buffer.data is not access.buffer.data
        if in_flight and not drains and (self.hazards is None or not pending.certain):
            return
        known = self.storage.overlap(
            before, access, dict(pending.distances), pending.per_warp, any_thread=in_flight
        )
        if known is Overlap.NONE or (in_flight and not drains and known is not Overlap.CERTAIN):
            return
        dependence = _dependence(before, access)
        is_global = before.buffer.scope() == GLOBAL
        if is_global and dependence == "write after write" and known is not Overlap.CERTAIN:
            return
        spot = None if in_flight and not drains else self._spot(pending, access)
        hazard = Hazard(
            before, access, "missing wait" if in_flight else dependence, spot,
            known is Overlap.CERTAIN and self._is_certain(pending, access), drains,
        )  # fmt: skip
        if self.hazards is None:
            if spot is not None:
                raise _Found(hazard)
            return
        key = (id(before), id(access), spot is None)
        if key not in self.hazards or hazard.is_certain:
            self.hazards[key] = hazard

    def _spot(self, pending: Pending, access: Access) -> Spot | None:
        """As far outside as every way from one to the other passes, and there as late as can be."""
        target, origin = access.place.path, pending.origin
        crossed = {loop for loop, distance in pending.since if distance != 0}
        split = next((i + 1 for i, s in enumerate(target) if id(s) in crossed), None)
        if split is None:
            same = [a is b for a, b in zip(target, origin)]
            split = same.index(False) if False in same else len(same)
        if any(self.divergent.get(id(s), False) for s in target[:split]):
            return None
        if split >= len(target):
            last = target[-1]
            at_end = isinstance(last, While) and id(last) in crossed
            return ("end", id(last)) if at_end else None
        return ("before", id(target[split]))

    # -- barriers and waits ----------------------------------------------------------------------

    def _synchronise(self, call: Call, stmt: Stmt, state: State) -> State:
        if call.op in BLOCK_BARRIERS:
            return self._block_barrier(state)
        if call.op in ("sync_warp", "tl_sync_warp"):
            if self.grid.count <= WARP and not call.args:
                return self._block_barrier(state)
            return _mapped(state, lambda p: p if p.phase != "done" else _in_warp(p))
        if call.op in COMMITS:
            return _mapped(state, _commit)
        kept = 0 if call.op == WAIT_ALL else const_value(call.args[0]) if call.args else 0
        everything = call.op == WAIT_ALL
        count = int(kept) if isinstance(kept, int) else 0
        return _mapped(state, lambda p: self._landed(p, count, everything, stmt))

    def _landed(self, pending: Pending, kept: int, everything: bool, stmt: Stmt) -> Pending:
        waits = pending.phase == "committed" and pending.newer >= kept
        if not waits and not (everything and pending.phase == "issued"):
            return pending
        path = self.places[id(stmt)].path
        here = tuple((id(s), 0) for s in path if id(s) in self.open_loops)
        return dataclasses.replace(pending, phase="done", newer=0, origin=path, since=here)

    def _added(self, spot: Spot, state: State) -> State:
        """The effect of the barrier that is thought of at `spot`, if there is one."""
        hazard = self.barriers.get(spot)
        if hazard is None:
            return state
        if hazard.drains:
            state = {k: p for k, p in state.items() if p.phase == "done"}
        return self._block_barrier(state)

    def _block_barrier(self, state: State) -> State:
        """Among divergent statements only what was done inside the outermost is ordered."""
        if not self.inside:
            return {k: p for k, p in state.items() if p.phase != "done"}
        around = self.inside[0]
        return {
            k: p for k, p in state.items()
            if p.phase != "done" or not any(s is around for s in p.access.place.path)
        }  # fmt: skip

    # -- loops -----------------------------------------------------------------------------------

    def _loop(self, loop: For | While, state: State) -> State | None:
        block = self._as_one(loop, state)
        if block is not None:
            return self._touch(state, block)
        if isinstance(loop, For):
            state = self._own(loop, state)
        self.open_loops.add(id(loop))
        self.loops.append(_Loop())
        # Iterations are not told apart, so neither is how far copies from before have got.
        entry = _mapped(state, lambda p: p if p.phase == "done" else _vague(p))
        is_uneven = self._is_uneven(loop)  # not all iterations leave the same behind
        if is_uneven:
            entry = _mapped(entry, _unsure)
        head, leaving = entry, None
        while True:
            start = self._own(loop, head) if isinstance(loop, While) else head
            end = _joined(self._visit(loop.body, start), *self.loops[-1].continues)
            if end is not None:
                end = self._added(("end", id(loop)), end)
            leaving = start if isinstance(loop, While) else end
            grown = _joined(head, _mapped(end or {}, lambda p: _one_later(p, id(loop))))
            assert grown is not None, "the head is reachable"
            if grown.keys() == head.keys():
                break
            head = grown
        frame = self.loops.pop()
        self.open_loops.discard(id(loop))
        never = None if isinstance(loop, For) and (const_value(loop.extent) or 0) > 0 else entry
        left = _joined(leaving, never, *frame.breaks)
        if left is not None and is_uneven:
            left = _mapped(left, _unsure)
        return None if left is None else _mapped(left, lambda p: _closed(p, id(loop)))

    def _is_uneven(self, loop: For | While) -> bool:
        if id(loop) not in self.uneven:
            self.uneven[id(loop)] = any(
                isinstance(n, (Break, Continue)) or (isinstance(n, Call) and n.op in SYNCS)
                for n in walk(loop)
            )
        return self.uneven[id(loop)]

    def _leaves(self, loop: For | While) -> bool:
        if id(loop) not in self.left:
            self.left[id(loop)] = any(isinstance(n, (Break, Continue)) for n in walk(loop))
        return self.left[id(loop)]

    def _is_certain(self, pending: Pending, access: Access) -> bool:
        """Whether both happen, one after the other, wherever their conditions allow it."""
        distances = dict(pending.distances)
        for place in (pending.access.place, access.place):
            for loop in place.loops:
                distance = distances.get(id(loop), 0)
                if self._leaves(loop):
                    return False
                if not isinstance(loop, For):
                    if distance:
                        return False
                    continue
                extent = const_value(loop.extent)
                if distance == MANY or (extent is not None and extent <= distance):
                    return False
        return pending.sure

    def _as_one(self, loop: For | While, state: State) -> list[Access] | None:
        """The accesses of a loop in which threads need not wait for each other; else `None`."""
        del state
        if not isinstance(loop, For):
            return None
        if id(loop) not in self.whole:
            self.whole[id(loop)] = self._whole(loop)
        found = self.whole[id(loop)]
        if found is None or loop.kind is LoopKind.VECTORIZED:
            return found
        inside = self.inner[id(loop)]
        return None if any(key in inside for _, key in self.barriers) else found

    def _whole(self, loop: For) -> list[Access] | None:
        inner = [s for s in walk(loop) if isinstance(s, Stmt)]
        self.inner[id(loop)] = {id(s) for s in inner}
        found = [a for s in inner for a in self.accesses.get(id(s), ())]
        if loop.kind is LoopKind.VECTORIZED:
            return found
        if any(isinstance(n, Call) and n.op in SYNCS for n in walk(loop)):
            return None
        around = {id(s): 0 for s in self.places[id(loop)].loops if s is not loop}
        for a in found:
            for b in found:
                if may_conflict(a, b) and self.storage.overlap(a, b, around, False, a.is_async):
                    return None
        return found


def diverges(stmt: Stmt, varying: Varying) -> bool:
    """Whether threads may run different parts of `stmt`, or a different number of times."""
    match stmt:
        case Attr(key=key):
            return key == WARP_GROUPS
        case If(condition=condition):
            return varying(condition) and not is_exit_test(condition)
        case For(start=start, extent=extent, body=body):
            return varying(start) or varying(extent) or leaves_differently(body, varying)
        case While(condition=condition, body=body):
            return varying(condition) or leaves_differently(body, varying)
        case _:
            return False


def _joined(*states: State | None, around: Stmt | None = None) -> State | None:
    """What may be pending where several ways meet; `None` where no way leads here.

    What came from outside `around` and is ordered on one of the ways is not sure afterwards.
    """
    there = [s for s in states if s is not None]
    if len(there) < 2:
        return there[0] if there else None
    forms: dict[tuple[object, ...], set[tuple[object, ...]]] = {}
    ways: dict[tuple[object, ...], int] = {}
    unsure: set[tuple[object, ...]] = set()
    for state in there:
        names = {(id(p.access), p.distances) for p in state.values()}
        for name in names:
            ways[name] = ways.get(name, 0) + 1
        for p in state.values():
            name = (id(p.access), p.distances)
            forms.setdefault(name, set()).add((p.phase, p.newer, p.certain))
            if not p.sure:
                unsure.add(name)

    def settle(p: Pending) -> Pending:
        name = (id(p.access), p.distances)
        is_inside = around is None or any(s is around for s in p.access.place.path)
        if p.sure and (name in unsure or (ways[name] < len(there) and not is_inside)):
            p = dataclasses.replace(p, sure=False)
        return _vague(p) if len(forms[name]) > 1 and p.phase != "done" else p

    made: State = {}
    for state in there:
        made.update(_mapped(state, settle))
    return made


def _mapped(state: State, change: Callable[[Pending], Pending]) -> State:
    made: State = {}
    for pending in state.values():
        new = change(pending)
        made[new.key] = new
    return made


def _vague(pending: Pending) -> Pending:
    return dataclasses.replace(pending, certain=False) if pending.certain else pending


def _unsure(pending: Pending) -> Pending:
    return dataclasses.replace(pending, sure=False) if pending.sure else pending


def _in_warp(pending: Pending) -> Pending:
    return dataclasses.replace(pending, per_warp=True)


def _commit(pending: Pending) -> Pending:
    if pending.phase == "issued":
        return dataclasses.replace(pending, phase="committed", newer=0)
    if pending.phase == "committed":
        return dataclasses.replace(pending, newer=min(pending.newer + 1, _MAX_GROUPS))
    return pending


def _later(distances: tuple[tuple[int, int], ...], loop: int) -> tuple[tuple[int, int], ...]:
    return tuple(
        (key, (MANY if d in (MANY, MAX_DISTANCE) else d + 1) if key == loop else d)
        for key, d in distances
    )


def _one_later(pending: Pending, loop: int) -> Pending:
    distances, since = _later(pending.distances, loop), _later(pending.since, loop)
    return dataclasses.replace(pending, distances=distances, since=since)


def _closed(pending: Pending, loop: int) -> Pending:
    """After the loop: it may have been any of its iterations."""
    distances = tuple((k, d) for k, d in pending.distances if k != loop)
    since = tuple((k, d) for k, d in pending.since if k != loop)
    return dataclasses.replace(pending, distances=distances, since=since)


def may_conflict(a: Access, b: Access) -> bool:
    """Whether the order of two accesses of one place matters."""
    return (a.writes or b.writes) and not a.kind == b.kind == "atomic"


def _dependence(before: Access, after: Access) -> Dependence:
    if before.kind == "read":
        return "write after read"
    return "read after write" if after.kind == "read" else "write after write"


def own_expressions(stmt: Stmt) -> list[Node]:
    """The expressions that `stmt` evaluates itself; a statement without bodies stands for them."""
    match stmt:
        case For(start=start, extent=extent):
            return [start, extent]
        case While(condition=condition) | If(condition=condition):
            return [condition]
        case Bind(value=value):
            return [value]
        case Attr() | Allocate():
            return []
        case _:
            return [stmt]


def bodies_of(stmt: Stmt) -> Iterator[tuple[Stmt, tuple[tuple[Expr, bool], ...]]]:
    """The statements inside `stmt`, each with the condition under which it runs."""
    match stmt:
        case If(condition=condition, then_body=then_body, else_body=else_body):
            yield then_body, ((condition, True),)
            if else_body is not None:
                yield else_body, ((condition, False),)
        case For(body=body) | While(body=body) | Attr(body=body):
            yield body, ()
        case _:
            return
