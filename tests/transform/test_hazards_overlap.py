"""Overlaps of accesses in pipelined loops against all threads and iterations, one by one."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr, Var, as_expr
from tilelang.ir.stmt import Evaluate, For, LoopKind
from tilelang.layout.evaluate import evaluate
from tilelang.transform.hazards import Access, Place
from tilelang.transform.hazards_overlap import MANY, Overlap, Storage
from tilelang.transform.thread_grid import ThreadGrid

THREADS = 48
TX, TY, TZ = Var("tx"), Var("ty"), Var("tz")
K, U = Var("k"), Var("u")


def serial(var: Var, extent: int) -> For:
    nothing = Evaluate(as_expr(0))
    return For(var, as_expr(0), as_expr(extent), LoopKind.SERIAL, nothing)


class Case:
    """Two accesses to one buffer, in one loop over `K` each with a loop over `U` of its own."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        self.extent = rng.choice([3, 17, 300])
        self.outer = serial(K, self.extent)
        self.slots = rng.choice([1, 2, 3, 4])
        self.buffer = Buffer("S", (self.slots, 8, 64), "float16", "shared.dyn")
        self.distance = rng.choice([0, 1, 2, self.slots, 5])
        self.any_thread = rng.random() < 0.3
        self.accesses = [self.access(rng), self.access(rng)]

    def access(self, rng: Random) -> Access:
        inner = serial(U, rng.choice([1, 2]))
        slot = (K + rng.randrange(4)) % self.slots if rng.random() < 0.8 else as_expr(0)
        row: Expr = TX // 8 % 4 + U * 4 if rng.random() < 0.6 else TX % 8
        column = TX % 8 * 8 if rng.random() < 0.6 else TX // 8 * 8
        guards: list[tuple[Expr, bool]] = []
        if rng.random() < 0.5:
            guards.append((K + rng.randrange(4) < self.extent, rng.random() < 0.8))
        if rng.random() < 0.3:
            guards.append((rng.choice([8, 32]) > TX, rng.random() < 0.5))
        if rng.random() < 0.2:
            guards.append((K % 3 < TX // 16, True))
        place = Place((self.outer, inner), tuple(guards))
        return Access(self.buffer, (slot, row, column), "write", place, rng.choice([2, 16]))

    def touched(self, access: Access, k: int) -> dict[tuple[int, ...], set[int]]:
        """Element -> threads that touch it in iteration `k`."""
        found: dict[tuple[int, ...], set[int]] = {}
        inner = access.place.path[-1]
        assert isinstance(inner, For) and access.indices is not None
        for u, t in product(range(int(evaluate(inner.extent, {}))), range(THREADS)):
            env = {K: k, U: u, TX: t}
            if all(bool(evaluate(c, env)) == holds for c, holds in access.place.guards):
                *place, column = (int(evaluate(i, env)) for i in access.indices)
                for element in range(access.width // 2):
                    found.setdefault((*place, column + element), set()).add(t)
        return found

    def expected(self, distance: int) -> bool:
        """Whether two threads (or any, where one counts too) meet `distance` iterations apart."""
        for k in range(self.extent - distance):
            if 8 * self.slots < k < self.extent - 8 * self.slots:
                continue  # as before: conditions are near the ends, all else has a short period
            first = self.touched(self.accesses[0], k)
            second = self.touched(self.accesses[1], k + distance)
            for place in first.keys() & second.keys():
                if self.any_thread or len(first[place] | second[place]) > 1:
                    return True
        return False

    def found(self, distance: int) -> Overlap:
        storage = Storage(ThreadGrid((TX, TY, TZ), (THREADS, 1, 1)))
        distances = {id(self.outer): distance}
        first, second = self.accesses
        return storage.overlap(first, second, distances, False, self.any_thread)


@pytest.mark.parametrize("seed", range(60))
def test_overlaps_of_slots_conditions_and_threads(seed: int) -> None:
    case = Case(seed)
    expected = Overlap.CERTAIN if case.expected(case.distance) else Overlap.NONE
    assert case.found(case.distance) is expected


@pytest.mark.parametrize("seed", range(60, 80))
def test_nothing_is_excluded_at_an_unknown_distance(seed: int) -> None:
    case = Case(seed)
    if any(case.expected(d) for d in range(9, min(case.extent, 13))):
        assert case.found(MANY) is not Overlap.NONE


def test_slots_that_differ_by_a_constant_never_meet() -> None:
    loop = serial(K, 1 << 20)
    buffer = Buffer("S", (4, 64), "float16", "shared.dyn")
    place = Place((loop,), ((K + 3 < (1 << 20), True),))
    first = Access(buffer, (K % 4, TX), "write", place)
    for ahead, distance in product(range(4), range(9)):
        storage = Storage(ThreadGrid((TX, TY, TZ), (THREADS, 1, 1)))
        second = Access(buffer, ((K + ahead) % 4, THREADS - 1 - TX), "read", place)
        same = (ahead + distance) % 4 == 0
        expected = Overlap.CERTAIN if same else Overlap.NONE
        assert storage.overlap(first, second, {id(loop): distance}, False) is expected


def test_slots_under_a_condition_on_a_loop_of_unknown_length() -> None:
    """The condition only makes accesses rarer: other slots stay apart, equal ones may meet."""
    steps = Var("steps")
    loop = For(K, as_expr(0), steps, LoopKind.SERIAL, Evaluate(as_expr(0)))
    buffer = Buffer("S", (2, 64), "float16", "shared.dyn")
    place = Place((loop,), ((steps - 1 > K, True),))
    copy = Access(buffer, ((K + 1) % 2, TX), "write", place)
    turned = Access(buffer, ((K + 1) % 2, THREADS - 1 - TX), "write", place)
    for distance in range(5):
        storage = Storage(ThreadGrid((TX, TY, TZ), (THREADS, 1, 1)), common={steps})
        apart = {id(loop): distance}
        assert storage.overlap(copy, copy, apart, False) is Overlap.NONE
        expected = Overlap.NONE if distance % 2 else Overlap.POSSIBLE
        assert storage.overlap(copy, turned, apart, False) is expected
