"""Whether different threads may touch the same bytes in two accesses: by tables over all threads.

Comes in: two accesses and how many iterations of the loops around both lie between them. Goes out:
`NONE` (proven apart), `POSSIBLE` (not decided) or `CERTAIN` (two threads and one element were
found). Indices are evaluated for every thread and every iteration of inner loops; what both
accesses have in common (block indices, parameters, loops around both) is enumerated, reduced to one
period where it occurs under a remainder only, or left out where it cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from tilelang.ir.annotation import ARENA_OFFSET, LAYOUT
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr, IntImm, Ramp, Var, const_value, logical_not
from tilelang.ir.stmt import Allocate, For, annotation
from tilelang.ir.visitor import used_vars
from tilelang.layout.distinct import distinct
from tilelang.layout.evaluate import evaluate
from tilelang.transform.affine import split_linear
from tilelang.transform.hazards import Access, inlined
from tilelang.transform.hazards_indices import is_index_arithmetic, period
from tilelang.transform.hazards_tables import LIMIT, Points, along, meetings, numbered, spread
from tilelang.transform.plan_memory import buffer_bytes
from tilelang.transform.thread_grid import WARP, ThreadGrid

MANY = -1  # a distance of at least `hazards_flow.MAX_DISTANCE` iterations
Distances = Mapping[int, int]  # id of a loop around both -> iterations between the accesses


class Overlap(IntEnum):
    """What is known of two accesses."""

    NONE = 0
    POSSIBLE = 1
    CERTAIN = 2


class _Undecided(Exception):
    """An index that is not a function of threads and loop variables alone."""


@dataclass(slots=True)
class Storage:
    """Facts of one launch that overlaps depend on."""

    grid: ThreadGrid
    names: dict[Var, Expr] = field(default_factory=dict)  # Bind values that are pure integers
    common: set[Var] = field(default_factory=set)  # the same in all threads, always
    arena: dict[Var, tuple[int, int]] = field(default_factory=dict)  # [start, end) in bytes
    layouts: set[Var] = field(default_factory=set)  # storage with a physical layout
    known: dict[Any, Overlap] = field(default_factory=dict)

    def add(self, allocate: Allocate) -> None:
        """Note where an allocation stands in the arena, and whether it has a layout."""
        layout: Any = annotation(allocate.annotations, LAYOUT)
        buffer = allocate.buffer
        if layout is not None:
            self.layouts.add(buffer.data)
        offset: Any = annotation(allocate.annotations, ARENA_OFFSET)
        if offset is not None:
            self.arena[buffer.data] = (offset, offset + buffer_bytes(buffer, layout))

    def meet_in_arena(self, a: Buffer, b: Buffer) -> bool:
        """Whether two storages have bytes of the arena in common."""
        first, second = self.arena.get(a.data), self.arena.get(b.data)
        if first is None or second is None:
            return False
        return first[0] < second[1] and second[0] < first[1]

    def overlap(
        self, a: Access, b: Access, distances: Distances, per_warp: bool, any_thread: bool = False
    ) -> Overlap:
        """Whether threads may touch one byte in `a` and, `distances` iterations later, in `b`.

        Args:
            per_warp: accesses of threads of one warp are in order already.
            any_thread: one thread that touches it in both counts too.
        """
        key = (id(a), id(b), tuple(sorted(distances.items())), per_warp, any_thread)
        if key not in self.known:
            self.known[key] = self._overlap(a, b, distances, per_warp, any_thread)
        return self.known[key]

    def _overlap(
        self, a: Access, b: Access, distances: Distances, per_warp: bool, any_thread: bool
    ) -> Overlap:
        if a.buffer.data is not b.buffer.data:
            meet = self.meet_in_arena(a.buffer, b.buffer)
            return Overlap.POSSIBLE if meet else Overlap.NONE
        try:
            return _Comparison(self, a, b, distances).result(per_warp, any_thread)
        except _Undecided:
            return Overlap.POSSIBLE


@dataclass(slots=True)
class _Side:
    """One of the two accesses: its index per axis, and the variables with their values."""

    access: Access
    starts: list[Expr]
    widths: int  # units of the last axis from the start on
    private: dict[Var, np.ndarray[Any, Any]] = field(default_factory=dict)
    shifts: dict[Var, int] = field(default_factory=dict)  # loop variable -> iterations earlier
    exact: bool = True
    guards: list[Expr] = field(default_factory=list)


class _Comparison:
    def __init__(self, storage: Storage, a: Access, b: Access, distances: Distances) -> None:
        if a.indices is None or b.indices is None:
            raise _Undecided
        self.storage = storage
        self.distances = distances
        self.shared: dict[Var, np.ndarray[Any, Any] | None] = {}  # None: not yet decided
        self.ranges: dict[Var, tuple[int, int] | None] = {}
        self.is_apart = False  # for a reason that needs no table
        same = a.buffer is b.buffer
        if not same and a.buffer.data in storage.layouts:
            raise _Undecided
        unit = _unit(a, b)
        self.a = self._side(a, unit, same, earlier=True)
        self.b = self._side(b, unit, same, earlier=False)
        self._decide_shared()
        self.is_apart = self.is_apart or self._is_too_far()

    def _is_too_far(self) -> bool:
        """Whether a loop around both ends before that many iterations have passed."""
        for loop in self.a.access.place.loops:
            extent = const_value(loop.extent) if isinstance(loop, For) else None
            if extent is not None and extent <= self.distances.get(id(loop), 0):
                return True
        return False

    # -- the variables ---------------------------------------------------------------------------

    def _side(self, access: Access, unit: int, same: bool, earlier: bool) -> _Side:
        """Indices in units of `unit` bytes along the last (or the only) axis."""
        assert access.indices is not None
        indices = [inlined(i, self.storage.names) for i in access.indices]
        lanes = 1
        if isinstance(indices[-1], Ramp):
            ramp = indices[-1]
            if const_value(ramp.stride) != 1:
                raise _Undecided
            indices[-1], lanes = ramp.base, ramp.lanes
        if any(i.dtype.lanes != 1 for i in indices):
            raise _Undecided
        item = _element_bits(access.buffer)
        width = access.width * 8 if access.width else lanes * item
        if width % unit or item % unit:
            raise _Undecided
        if not same:
            flat: Expr | int = access.buffer.elem_offset
            for index, stride in zip(indices, access.buffer.strides):
                flat = index * stride + flat
            if not isinstance(flat, Expr):
                flat = IntImm(int(flat))
            indices = [flat]
        indices[-1] = indices[-1] * (item // unit)
        side = _Side(access, indices, width // unit)
        self._bind(side, earlier)
        return side

    def _bind(self, side: _Side, earlier: bool) -> None:
        loops = {s.var: s for s in side.access.place.loops if isinstance(s, For)}
        todo = [v for e in side.starts for v in used_vars(e)]
        for condition, holds in side.access.place.guards:
            guard = inlined(condition, self.storage.names)
            if not is_index_arithmetic(guard) or not self._are_known(used_vars(guard), loops):
                side.exact = False
                continue
            side.guards.append(guard if holds else logical_not(guard))
            todo += used_vars(guard)
        for var in dict.fromkeys(todo):
            if var in self.storage.grid.vars:
                continue
            if var in loops:
                self._bind_loop(side, loops[var], earlier)
            elif var in self.storage.common:
                self.shared.setdefault(var, None)
                self.ranges.setdefault(var, None)
            else:
                raise _Undecided

    def _are_known(self, names: Sequence[Var], loops: Mapping[Var, For]) -> bool:
        """Whether conditions on `names` can be evaluated."""
        for var in names:
            loop = loops.get(var)
            if loop is None:
                if var not in self.storage.common and var not in self.storage.grid.vars:
                    return False
            elif self.distances.get(id(loop), MANY) == MANY and (
                const_value(loop.start) is None or const_value(loop.extent) is None
            ):
                return False
        return True

    def _bind_loop(self, side: _Side, loop: For, earlier: bool) -> None:
        start, extent = const_value(loop.start), const_value(loop.extent)
        bounds = None if start is None or extent is None else (int(start), int(start + extent))
        distance = self.distances.get(id(loop))
        if distance is not None and distance != MANY:
            self.shared.setdefault(loop.var, None)
            if bounds is not None:
                self.ranges[loop.var] = (bounds[0] + distance, bounds[1])
            else:
                self.ranges.setdefault(loop.var, None)
            side.shifts[loop.var] = distance if earlier else 0
            return
        if distance == MANY:
            side.exact = False
        if bounds is None:
            raise _Undecided
        side.private[loop.var] = np.arange(*bounds, dtype=np.int64)

    def _decide_shared(self) -> None:
        """Values to try for what both accesses have in common."""
        for var in self.shared:
            self.shared[var] = self._common_values(var)
        for side in (self.a, self.b):
            for var, values in side.private.items():
                side.private[var] = self._distinct(var, values, (side,))
        self._drop_unequal()

    def _common_values(self, var: Var) -> np.ndarray[Any, Any]:
        bounds = self.ranges[var]
        if bounds is not None and bounds[1] - bounds[0] <= LIMIT:
            values = self._distinct(var, np.arange(*bounds, dtype=np.int64), (self.a, self.b))
        else:
            sides = (self.a, self.b)
            repeat = period([e for s in sides for e in (*s.starts, *s.guards)], var)
            if repeat is None and self._cancels(var):
                return np.zeros(1, np.int64)
            if repeat is None:  # the slots of a pipeline, under a condition on the iteration
                repeat = period([e for s in sides for e in s.starts], var)
                self._drop_conditions_on(var)
            if repeat is None:
                raise _Undecided
            first = bounds[0] if bounds is not None else 0
            values = np.arange(first, first + repeat, dtype=np.int64)
        return values[:1] if values.size > 64 and self._cancels(var) else values

    def _distinct(
        self, var: Var, values: np.ndarray[Any, Any], sides: Sequence[_Side]
    ) -> np.ndarray[Any, Any]:
        """Of `values`, those that conditions on `var` alone allow, one of each that do the same."""
        exprs: list[Expr] = []
        for side in sides:
            exprs += side.starts
            for guard in side.guards:
                if any(v is not var for v in used_vars(guard)):
                    exprs.append(guard)
                elif values.size:
                    holds = evaluate(guard, {var: values - side.shifts.get(var, 0)})
                    values = values[np.broadcast_to(holds, values.shape).astype(bool)]
        repeat = period(exprs, var)
        if repeat is None or values.size <= repeat:
            return values
        return values[distinct(values % repeat)[1]]

    def _drop_unequal(self) -> None:
        """Leave out values of a common variable where one index alone tells the places apart.

        Mostly the slots of a pipeline: `k % 4` and `(k + 3) % 4` never meet.
        """
        for x, y in zip(self.a.starts[:-1], self.b.starts[:-1]):
            names = list(dict.fromkeys((*used_vars(x), *used_vars(y))))
            if len(names) > 1 or any(v not in self.shared for v in names):
                continue
            here: dict[Var, Any] = {v: self.shared[v] for v in names}
            left = evaluate(x, {v: t - self.a.shifts.get(v, 0) for v, t in here.items()})
            right = evaluate(y, {v: t - self.b.shifts.get(v, 0) for v, t in here.items()})
            if not names:
                self.is_apart = self.is_apart or bool(left != right)
            for var in names:
                same = np.broadcast_to(np.equal(left, right), here[var].shape)
                self.shared[var] = here[var][same]

    def _cancels(self, var: Var) -> bool:
        """Whether `var` moves both accesses by the same amount, and no condition looks at it."""
        for x, y in zip(self.a.starts, self.b.starts):
            first, second = split_linear(x, var), split_linear(y, var)
            if first is None or second is None or first[0] != second[0]:
                return False
        self._drop_conditions_on(var)
        return True

    def _drop_conditions_on(self, var: Var) -> None:
        """Both accesses then happen more often than they do: they are told apart for certain, and
        meet perhaps."""
        for side in (self.a, self.b):
            kept = [g for g in side.guards if not any(v is var for v in used_vars(g))]
            if len(kept) != len(side.guards):
                side.guards, side.exact = kept, False

    # -- the tables ------------------------------------------------------------------------------

    def result(self, per_warp: bool, any_thread: bool) -> Overlap:
        if self.is_apart or any(v is not None and v.size == 0 for v in self.shared.values()):
            return Overlap.NONE
        first, second = self._points(self.a), self._points(self.b)
        if not first.keys or not second.keys:
            return Overlap.NONE
        width = self.a.widths
        if width == self.b.widths and first.is_aligned(width) and second.is_aligned(width):
            width_a = width_b = 1  # whole pieces meet or do not
        else:
            width_a, width_b = self.a.widths, self.b.widths
        first, second = first.expanded(width_a), second.expanded(width_b)
        owners = [p.threads // WARP if per_warp else p.threads for p in (first, second)]
        places, others = numbered(first.keys, second.keys)
        is_met, is_own = meetings(places, others, *owners)
        if not is_met:
            return Overlap.NONE
        collective = self.a.access.is_collective or self.b.access.is_collective
        if collective and self._is_one_access() and len(np.unique(places)) == len(places):
            return Overlap.NONE  # each meets itself alone
        if not any_thread and not (collective and not per_warp) and is_own:
            return Overlap.NONE
        return Overlap.CERTAIN if self.a.exact and self.b.exact else Overlap.POSSIBLE

    def _is_one_access(self) -> bool:
        """Whether both are one instruction in the same iterations of the loops around it."""
        return self.a.access is self.b.access and self.a.shifts == self.b.shifts

    def _points(self, side: _Side) -> Points:
        """Every place that some thread touches, with the thread."""
        axes = [(v, values) for v, values in self.shared.items() if values is not None]
        count = len(axes)
        grid = self.storage.grid
        axes += [(v, np.arange(n, dtype=np.int64)) for v, n in zip(grid.vars, grid.extents)]
        axes += list(side.private.items())
        shape = tuple(len(values) for _, values in axes)
        if math.prod(shape) * side.widths > LIMIT:
            raise _Undecided
        env: dict[Var, Any] = {}
        plain: dict[Var, Any] = {}
        for number, (var, values) in enumerate(axes):
            plain[var] = column = values.reshape(along(number, len(axes)))
            env[var] = column - side.shifts.get(var, 0)
        try:
            columns = [spread(evaluate(e, env), shape) for e in side.starts]
            mask = np.ones(shape, bool)
            for guard in side.guards:
                mask &= np.broadcast_to(evaluate(guard, env), shape).astype(bool)
        except (TypeError, KeyError) as error:
            raise _Undecided from error
        x, y, z = (plain[v] for v in grid.vars)
        thread = spread(x + grid.extents[0] * (y + grid.extents[1] * z), shape)
        shared = [spread(np.arange(n).reshape(along(d, len(axes))), shape)
                  for d, n in enumerate(shape[:count])]  # fmt: skip
        keep = mask.reshape(-1)
        flat = [c.reshape(-1)[keep] for c in (*shared, *columns)]
        owners = thread.reshape(-1)[keep]
        if not flat[0].size:
            return Points([], owners)
        return Points(flat, owners)


def _element_bits(buffer: Buffer) -> int:
    return buffer.dtype.bits * buffer.dtype.lanes


def _unit(a: Access, b: Access) -> int:
    """Bits of the largest piece of which all widths are multiples; at least a byte.

    Two elements in one byte are no two places, as a store rewrites the byte: left undecided.
    """
    if any(x.buffer.dtype.elements_per_byte > 1 for x in (a, b)):
        raise _Undecided
    widths = [8 * x.width for x in (a, b) if x.width]
    return math.gcd(_element_bits(a.buffer), _element_bits(b.buffer), *widths)


def values_over_threads(
    condition: Expr, storage: Storage, loops: Sequence[For], choose: Callable[[Any], bool]
) -> bool | None:
    """Whether `choose` holds for the table of `condition`, one row per value of what is common.

    `None` where the condition depends on more than threads, parameters and constant loops.
    """
    guard = inlined(condition, storage.names)
    if not is_index_arithmetic(guard):
        return None
    grid = storage.grid
    constant = {loop.var: loop for loop in loops}
    env: dict[Var, Any] = {}
    others = [v for v in used_vars(guard) if v not in grid.vars]
    rank = len(others) + 3
    for number, var in enumerate(others):
        loop = constant.get(var)
        start, extent = (const_value(loop.start), const_value(loop.extent)) if loop else (0, None)
        if start is None or extent is None or not 0 < extent <= 4096:
            return None
        values = np.arange(int(start), int(start + extent), dtype=np.int64)
        env[var] = values.reshape(along(number, rank))
    for number, (var, extent) in enumerate(zip(grid.vars, grid.extents)):
        env[var] = np.arange(extent, dtype=np.int64).reshape(along(len(others) + number, rank))
    shape = tuple(len(np.ravel(env[v])) for v in (*others, *grid.vars))
    if math.prod(shape) > LIMIT:
        return None
    table = np.broadcast_to(evaluate(guard, env), shape).reshape(-1, grid.count)
    return choose(table)
