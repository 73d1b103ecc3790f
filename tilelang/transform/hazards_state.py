"""What is pending at one place of a launch: accesses that no barrier has ordered yet.

`hazards_flow` moves states over statements with the functions here; each of them gives a new state.
A cp.async write is issued, committed with its group, and done after a wait; a barrier before that
does nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from tilelang.ir.stmt import Stmt
from tilelang.transform.hazards import Access
from tilelang.transform.hazards_overlap import MANY

MAX_DISTANCE = 8  # iterations that are told apart; longer ago is "some iteration"
_MAX_GROUPS = 16  # groups of copies that are counted

Phase = Literal["done", "issued", "committed"]


class Pending(NamedTuple):
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


def joined(*states: State | None, around: Stmt | None = None) -> State | None:
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
            p = p._replace(sure=False)
        return vague(p) if len(forms[name]) > 1 and p.phase != "done" else p

    made: State = {}
    for state in there:
        made.update(mapped(state, settle))
    return made


def mapped(state: State, change: Callable[[Pending], Pending]) -> State:
    """`change` of everything that is pending."""
    made: State = {}
    for key, pending in state.items():
        new = change(pending)
        made[key if new is pending else new.key] = new
    return made


def vague(pending: Pending) -> Pending:
    """How many groups of copies are newer is not known any more."""
    return pending._replace(certain=False) if pending.certain else pending


def unsure(pending: Pending) -> Pending:
    """It may have been ordered on some way."""
    return pending._replace(sure=False) if pending.sure else pending


def in_warp(pending: Pending) -> Pending:
    """After a barrier of the warp."""
    return pending if pending.per_warp else pending._replace(per_warp=True)


def commit(pending: Pending) -> Pending:
    """A group of copies ends here."""
    if pending.phase == "issued":
        return pending._replace(phase="committed", newer=0)
    if pending.phase == "committed":
        return pending._replace(newer=min(pending.newer + 1, _MAX_GROUPS))
    return pending


def _later(distances: tuple[tuple[int, int], ...], loop: int) -> tuple[tuple[int, int], ...]:
    return tuple(
        [
            (key, (MANY if d in (MANY, MAX_DISTANCE) else d + 1) if key == loop else d)
            for key, d in distances
        ]
    )


def one_later(pending: Pending, loop: int) -> Pending:
    """In the next iteration."""
    distances = since = _later(pending.distances, loop)
    if pending.since != pending.distances:
        since = _later(pending.since, loop)
    return pending._replace(distances=distances, since=since)


def closed(pending: Pending, loop: int) -> Pending:
    """After the loop: it may have been any of its iterations."""
    distances = tuple((k, d) for k, d in pending.distances if k != loop)
    since = tuple((k, d) for k, d in pending.since if k != loop)
    return pending._replace(distances=distances, since=since)
