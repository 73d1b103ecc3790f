"""Which statement of a pipelined loop runs in which iteration of the transformed loop.

`plan_loop` gives each piece of a body (`pipeline_pieces`) a stage:

* producers (copies global -> shared whose source nothing in the loop writes) run `distance`
  iterations ahead of their first consumer, each into a slot of its own;
* consumers run in their own iteration, or, where the user's `stage` says so, `stage` later.

Reads IR and changes none; `pipeline_emit` writes what is planned here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from tilelang.ir import annotation as keys
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.record import record
from tilelang.ir.stmt import (
    For,
    annotation,
)
from tilelang.transform.pipeline_effects import (
    Access,
    Storage,
    are_disjoint,
    is_covered,
    is_global_to_shared,
)
from tilelang.transform.pipeline_pieces import Body, Piece

# Operations that take a tile as the last axes of a region, so that a slot index may go in front.
_KNOW_SLOTS = frozenset((None, "copy", "fill", "gemm", "atomic"))


@record
class Plan:
    """The schedule of one loop.

    Attributes:
        producers: (piece, iterations that it runs ahead of the loop), in program order.
        consumers: (piece, stage), in the order in which an iteration runs them.
        distance: iterations between the issue of a copy and its first use.
        slots: versions needed of each buffer that producers write.
    """

    producers: tuple[tuple[Piece, int], ...]
    consumers: tuple[tuple[Piece, int], ...]
    distance: int
    slots: dict[Buffer, int]

    @property
    def last_stage(self) -> int:
        return max((stage for _, stage in self.consumers), default=0)


# -- producers ------------------------------------------------------------------------------------


def plan_loop(
    loop: For, body: Body, storage: Storage, refused: Set[Buffer] = frozenset()
) -> Plan | None:
    """The schedule of `loop`, or `None` when it runs best as it stands.

    The user's `order` and `stage` are followed when they keep every dependence; otherwise, and
    without them, all consumers stay together in program order.
    """
    if any(p.effects.is_by_hand for p in body.pieces):
        return None
    producers = find_producers(body, storage, refused)
    if not producers:
        return None
    manual = _manual_plan(loop, body, producers, storage)
    if manual is not None:
        return manual
    num_stages = annotation(loop.annotations, keys.NUM_STAGES, 0)
    assert isinstance(num_stages, int), "T.Pipelined gives an integer"
    if num_stages < 2:
        return None
    stages = [(p, 0) for p in body.pieces if p not in producers]
    return _plan(producers, stages, num_stages - 1)


def find_producers(body: Body, storage: Storage, refused: Set[Buffer]) -> list[Piece]:
    """Copies that may run ahead, in program order."""
    written = {storage.key(a.buffer) for p in body.pieces for a in p.effects.writes}
    candidates = [p for p in body.pieces if _is_candidate(p, body, storage, written)]
    targets = {_target(p) for p in candidates} - set(refused)
    chosen = {t for t in targets if _can_have_slots(t, candidates, body, storage)}
    return [p for p in candidates if _target(p) in chosen]


def _target(piece: Piece) -> Buffer:
    return piece.effects.writes[0].buffer


def _is_candidate(piece: Piece, body: Body, storage: Storage, written: Set[Var]) -> bool:
    if not is_global_to_shared(piece.stmt) or piece.uses(body.fixed_names):
        return False
    return not any(storage.key(read.buffer) in written for read in piece.effects.reads)


def _can_have_slots(
    buffer: Buffer, candidates: Sequence[Piece], body: Body, storage: Storage
) -> bool:
    """Whether each iteration sees only what its own producers have written into `buffer`.

    The producers come first in the iteration, each to a part of its own: their copies are under way
    together, in no order.
    """
    if storage.has_views(buffer):
        return False
    copies: list[tuple[Piece, Access]] = []
    is_used = False
    for piece in body.pieces:
        accesses = [a for a in piece.effects.accesses if a.buffer is buffer]
        if piece in candidates and accesses:
            if is_used or not all(are_disjoint(a, b) for a in accesses for _, b in copies):
                return False
            copies += [(piece, access) for access in accesses]
            continue
        is_used |= bool(accesses)
        known = [access for copy, access in copies if copy.conditions <= piece.conditions]
        for access in accesses:
            if access.op not in _KNOW_SLOTS or not (access.is_write or is_covered(access, known)):
                return False
    return True


# -- schedules ------------------------------------------------------------------------------------


def _plan(
    producers: Sequence[Piece], consumers: Sequence[tuple[Piece, int]], distance: int
) -> Plan:
    """Producers `distance` iterations ahead of the first consumer of what they write."""
    ahead: list[tuple[Piece, int]] = []
    slots: dict[Buffer, int] = {}
    for producer in producers:
        target = _target(producer)
        users = [s for p, s in consumers if any(a.buffer is target for a in p.effects.accesses)]
        first, last = (min(users), max(users)) if users else (0, 0)
        ahead.append((producer, distance - first))
        slots[target] = distance + 1 + last - first
    return Plan(tuple(ahead), tuple(consumers), distance, slots)


def _manual_plan(
    loop: For, body: Body, producers: Sequence[Piece], storage: Storage
) -> Plan | None:
    """The user's schedule; `None` without one, or with one that would change the result.

    Two forms: stages of -1 mark producers, which run `num_stages - 1` iterations ahead; or copies
    have stages below those of their consumers, and the difference is how far ahead they run.
    """
    places = _places(loop, body)
    if places is None or body.fixed_names or body.has_variables:
        return None
    marked = {p for p, (stage, _) in places.items() if stage < 0}
    if marked:
        if not marked <= set(producers):
            return None
        ahead = [p for p in producers if p in marked]
    else:
        ahead = list(producers)
    consumers = [p for p in body.pieces if p not in ahead]
    base = min((places[p][0] for p in consumers), default=0)
    if marked:
        num_stages = annotation(loop.annotations, keys.NUM_STAGES, 0)
        assert isinstance(num_stages, int), "T.Pipelined gives an integer"
        distance = max(num_stages, *(s + 1 for s, _ in places.values())) - 1
    else:
        distance = base - min(places[p][0] for p in ahead)
    if distance < 1 or {_target(p) for p in ahead} & {
        a.buffer for p in producers if p not in ahead for a in p.effects.writes
    }:
        return None
    ordered = sorted(consumers, key=lambda p: places[p][1])  # stable: program order within a group
    timed = [(p, places[p][0] - base) for p in ordered]
    private = {_target(p) for p in ahead}
    if not keeps_dependences(consumers, timed, private, storage):
        return None
    return _plan(ahead, timed, distance)


def _places(loop: For, body: Body) -> dict[Piece, tuple[int, int]] | None:
    """(stage, order) of each piece as the user gave them."""
    order = annotation(loop.annotations, keys.PIPELINE_ORDER)
    stage = annotation(loop.annotations, keys.PIPELINE_STAGE)
    groups = annotation(loop.annotations, keys.PIPELINE_GROUP)
    if not isinstance(stage, tuple):
        return None
    entry = {n: g for g, members in enumerate(groups) for n in members} if isinstance(
        groups, tuple
    ) else {n: n for n in range(len(stage))}  # fmt: skip
    column = next((c for c in (0, 1) if body.counts[c] == len(entry)), None)
    positions = order if isinstance(order, tuple) else tuple(range(len(stage)))
    if column is None or len(positions) != len(stage):
        return None
    numbered = [(p, entry.get(p.numbers[column])) for p in body.pieces]
    if any(g is None or not 0 <= g < len(stage) for _, g in numbered):
        return None
    return {p: (stage[g], positions[g]) for p, g in numbered if g is not None}


def keeps_dependences(
    program: Sequence[Piece],
    schedule: Sequence[tuple[Piece, int]],
    private: Set[Buffer],
    storage: Storage,
) -> bool:
    """Whether running `schedule` gives what the statements of `program`, in order, give.

    An access of iteration k at (stage s, position p) happens at time (k + s, p). Two accesses that
    conflict keep their order within an iteration, and, unless each iteration has the buffer for
    itself (`private`), from each iteration to the next; later ones follow.
    """
    time = {piece: (stage, at) for at, (piece, stage) in enumerate(schedule)}
    for i, first in enumerate(program):
        for j, second in enumerate(program):
            if i < j and _conflict(first, second, storage) and not time[first] < time[second]:
                return False
            stage, at = time[second]
            carried = _conflict(first, second, storage, private)
            if carried and not time[first] < (stage + 1, at):
                return False
    return True


def _conflict(
    first: Piece, second: Piece, storage: Storage, private: Set[Buffer] = frozenset()
) -> bool:
    if first.effects.is_opaque or second.effects.is_opaque:
        return True
    pairs = _pairs(first.effects.accesses, second.effects.accesses)
    return any(
        (a.is_write or b.is_write)
        and a.buffer not in private
        and storage.key(a.buffer) is storage.key(b.buffer)
        for a, b in pairs
    )


def _pairs(first: Iterable[Access], second: Sequence[Access]) -> Iterator[tuple[Access, Access]]:
    return ((a, b) for a in first for b in second)
