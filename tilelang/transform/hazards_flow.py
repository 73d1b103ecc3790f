"""Which accesses of different threads are not yet ordered, at every statement of a launch.

Comes in: a launch in thread form, and barriers that a caller thinks of adding. Goes out: the
hazards that are left, each with the place where a barrier would order it. The walk keeps the
accesses since the last barrier; loops are walked until nothing new is carried into them. A cp.async
write is in flight until a wait, and seen by other threads after a barrier behind that wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tilelang.errors import Span
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import Call, const_value
from tilelang.ir.record import record
from tilelang.ir.stmt import Allocate, Attr, Break, Continue, For, If, LoopKind, Seq, Stmt, While
from tilelang.transform.hazards import Access
from tilelang.transform.hazards_overlap import MANY, Overlap
from tilelang.transform.hazards_program import (
    BLOCK_BARRIERS,
    COMMITS,
    WAIT_ALL,
    Program,
    may_conflict,
)
from tilelang.transform.hazards_state import (
    Pending,
    Phase,
    State,
    closed,
    commit,
    in_warp,
    joined,
    mapped,
    one_later,
    unsure,
    vague,
)
from tilelang.transform.thread_grid import WARP

Dependence = Literal["read after write", "write after read", "write after write", "missing wait"]
Spot = tuple[Literal["before", "end"], int]  # before a statement, or at the end of a loop body


@record
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
    """The analysis of one launch; `first` and `every` may be asked again with other barriers.

    Args:
        wanted: which hazards `first` looks for, by their buffers: before, after. All without it.
    """

    def __init__(
        self, program: Program, wanted: Callable[[Buffer, Buffer], bool] | None = None
    ) -> None:
        self.program = program
        self.wanted = wanted
        self.barriers: Mapping[Spot, Hazard] = {}
        self.hazards: dict[tuple[int, int, bool], Hazard] | None = None
        self.loops: list[_Loop] = []
        self.open_loops: set[int] = set()
        self.inside: list[Stmt] = []  # divergent statements around

    # -- asking ----------------------------------------------------------------------------------

    def first(self, barriers: Mapping[Spot, Hazard]) -> Hazard | None:
        """The first hazard that a barrier can order, with `barriers` in place."""
        self.barriers, self.hazards = barriers, None
        try:
            self._visit(self.program.launch.body, {})
        except _Found as found:
            return found.hazard
        finally:
            self.loops, self.inside, self.open_loops = [], [], set()
        return None

    def every(self, barriers: Mapping[Spot, Hazard] | None = None) -> list[Hazard]:
        """All hazards that are left, each pair of accesses once."""
        self.barriers, self.hazards = barriers or {}, {}
        self._visit(self.program.launch.body, {})
        return list(self.hazards.values())

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
        if not self.program.divergent[id(stmt)]:
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
                start = joined(state, taken) if self.program.divergent[id(stmt)] else state
                other = self._visit(stmt.else_body, start)
            return joined(taken, other, around=stmt)
        if isinstance(stmt, Attr):
            return self._visit(stmt.body, self._own(stmt, state))
        return self._own(stmt, state)

    def _own(self, stmt: Stmt, state: State) -> State:
        """The accesses of the statement's own expressions, and the barriers in them."""
        syncs = self.program.syncs[id(stmt)]
        found = self.program.accesses[id(stmt)]
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
        is_wanted = self.wanted is None or self.wanted(before.buffer, access.buffer)
        if self.hazards is None and not is_wanted:
            return
        in_flight = pending.phase != "done"
        drains = in_flight and before.buffer.data is not access.buffer.data
        if in_flight and not drains and (self.hazards is None or not pending.certain):
            return
        known = self.program.storage.overlap(
            before, access, dict(pending.distances), pending.per_warp, any_thread=in_flight
        )
        if known is Overlap.NONE or (in_flight and not drains and known is not Overlap.CERTAIN):
            return
        dependence = _dependence(before, access)
        is_same = before.place is access.place and before.buffer.scope() == GLOBAL
        if is_same and dependence == "write after write" and known is not Overlap.CERTAIN:
            return  # a store of results, whose blocks of a loop's iterations lie apart
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
        if any(self.program.divergent.get(id(s), False) for s in target[:split]):
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
            if self.program.grid.count <= WARP and not call.args:
                return self._block_barrier(state)
            return mapped(state, lambda p: p if p.phase != "done" else in_warp(p))
        if call.op in COMMITS:
            return mapped(state, commit)
        kept = 0 if call.op == WAIT_ALL else const_value(call.args[0]) if call.args else 0
        everything = call.op == WAIT_ALL
        count = int(kept) if isinstance(kept, int) else 0
        return mapped(state, lambda p: self._landed(p, count, everything, stmt))

    def _landed(self, pending: Pending, kept: int, everything: bool, stmt: Stmt) -> Pending:
        waits = pending.phase == "committed" and pending.newer >= kept
        if not waits and not (everything and pending.phase == "issued"):
            return pending
        path = self.program.places[id(stmt)].path
        here = tuple((id(s), 0) for s in path if id(s) in self.open_loops)
        return pending._replace(phase="done", newer=0, origin=path, since=here)

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
        block = self._one_step(loop)
        if block is not None:
            return self._touch(state, block)
        if isinstance(loop, For):
            state = self._own(loop, state)
        self.open_loops.add(id(loop))
        self.loops.append(_Loop())
        # Iterations are not told apart, so neither is how far copies from before have got.
        entry = mapped(state, lambda p: p if p.phase == "done" else vague(p))
        is_uneven = self.program.is_uneven(loop)  # not all iterations leave the same behind
        if is_uneven:
            entry = mapped(entry, unsure)
        head, leaving = entry, None
        to_come = const_value(loop.extent) if isinstance(loop, For) else None  # iterations
        while True:
            start = self._own(loop, head) if isinstance(loop, While) else head
            end = joined(self._visit(loop.body, start), *self.loops[-1].continues)
            if end is not None:
                end = self._added(("end", id(loop)), end)
            leaving = start if isinstance(loop, While) else end
            to_come = None if to_come is None else to_come - 1
            if to_come is not None and to_come <= 0:
                break
            grown = joined(head, mapped(end or {}, lambda p: one_later(p, id(loop))))
            assert grown is not None, "the head is reachable"
            if grown.keys() == head.keys():
                break
            head = grown
        frame = self.loops.pop()
        self.open_loops.discard(id(loop))
        never = None if isinstance(loop, For) and (const_value(loop.extent) or 0) > 0 else entry
        left = joined(leaving, never, *frame.breaks)
        if left is not None and is_uneven:
            left = mapped(left, unsure)
        return None if left is None else mapped(left, lambda p: closed(p, id(loop)))

    def _one_step(self, loop: For | While) -> list[Access] | None:
        """The accesses of a loop that can be taken as one step; no barrier may be tried inside."""
        found = self.program.as_one(loop)
        if found is None or (isinstance(loop, For) and loop.kind is LoopKind.VECTORIZED):
            return found
        inside = self.program.inner[id(loop)]
        return None if any(key in inside for _, key in self.barriers) else found

    def _is_certain(self, pending: Pending, access: Access) -> bool:
        """Whether both happen, one after the other, wherever their conditions allow it."""
        distances = dict(pending.distances)
        for place in (pending.access.place, access.place):
            for loop in place.loops:
                distance = distances.get(id(loop), 0)
                if self.program.leaves(loop):
                    return False
                if not isinstance(loop, For):
                    if distance:
                        return False
                    continue
                extent = const_value(loop.extent)
                if distance == MANY or (extent is not None and extent <= distance):
                    return False
        return pending.sure


def _dependence(before: Access, after: Access) -> Dependence:
    if before.kind == "read":
        return "write after read"
    return "read after write" if after.kind == "read" else "write after write"
