"""Writes the pipelined loop that `pipeline_schedule` planned.

`Pipeline(loop, plan, ...).stmt()` is called by `pipeline_loops` with the versioned buffers; the
result is tile form. Time runs over `t = -distance ... trips + last_stage - 1`; at time t a piece of
stage s is in iteration t - s, a producer that runs `ahead` in iteration t + ahead:

    t < 0                  copies, commit                              (unrolled)
    0 <= t < last_stage    wait, copies, commit, early stages          (only with several stages)
    steady state           wait, copies, commit, all stages            (the one loop)
    t >= trips             wait, commit, late stages                   (only with several stages)

Each time commits one group of copies, an empty one where there is nothing left to copy; what time t
needs was committed at t - distance, so `distance - 1` younger groups may still be on their way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from tilelang.ir import annotation as keys
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    Add,
    BufferLoad,
    BufferRegion,
    Expr,
    IntImm,
    Range,
    Sub,
    Var,
    as_expr,
    call,
    cast,
    const_value,
    less,
    logical_and,
    maximum,
)
from tilelang.ir.node import replace
from tilelang.ir.stmt import (
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
    seq,
)
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import Mutator
from tilelang.transform.pipeline_pieces import Piece, Renewed, weave
from tilelang.transform.pipeline_schedule import Plan

# First and last value of a time; `None`: not a constant.
Span: TypeAlias = "tuple[int, int | None]"

IS_ASYNC = "is_async"  # attribute of a copy: it may be on its way until `ptx_wait_group`


def mark_async(stmt: Stmt) -> Stmt:
    """The copy `stmt` as one that may complete later."""
    if isinstance(stmt, TileOp):
        kept = tuple((k, v) for k, v in stmt.attributes if k != IS_ASYNC)
        return replace(stmt, attributes=(*kept, (IS_ASYNC, True)))
    if isinstance(stmt, Seq):
        return replace(stmt, stmts=(*stmt.stmts[:-1], mark_async(stmt.stmts[-1])))
    assert isinstance(stmt, For), "a producer is a copy, a nest, or a loop over them"
    if stmt.kind is not LoopKind.PARALLEL:
        return replace(stmt, body=mark_async(stmt.body))
    kept = tuple((k, v) for k, v in stmt.annotations if k != keys.PREFER_ASYNC)
    return replace(stmt, annotations=(*kept, (keys.PREFER_ASYNC, True)))


class Pipeline:
    """One loop being written.

    Args:
        loop: the loop in tile form.
        plan: its schedule.
        versions: buffers with slots in place of the planned ones, slots along the first axis.
        is_async: copies may be on their way while the program goes on.
    """

    def __init__(
        self, loop: For, plan: Plan, versions: Mapping[Buffer, Buffer], is_async: bool = True
    ) -> None:
        self.is_async = is_async
        self.loop, self.plan = loop, plan
        self.versions = {b: versions[b] for b in plan.slots}
        self.trips: Expr = loop.extent
        self.known_trips = const_value(loop.extent)

    def stmt(self) -> Stmt:
        """The whole pipeline."""
        depth, kind = self.plan.last_stage, self.loop.extent.dtype
        out: list[Stmt] = []
        if self.known_trips is None and not isinstance(self.trips, Var):
            name = Var(f"{self.loop.var.name}_trips", kind)
            out.append(Bind(name, self.trips))
            self.trips = name
        out += [self._before(), *(self._early(t) for t in range(depth)), self._steady()]
        out += [self._late(p) for p in range(depth)]
        return located(seq(out), self.loop)

    # -- the four spans of time ------------------------------------------------------------------

    def _before(self) -> Stmt:
        """Fill the first slots."""
        distance = self.plan.distance
        if distance == 1:
            return Renewed().mutate(seq([*self._copies(as_expr(-1), (-1, -1)), *self._commit()]))
        var = Var(f"{self.loop.var.name}_ahead", self.loop.var.dtype)
        time = _plus(var, -distance)
        body = seq([*self._copies(time, (-distance, -1)), *self._commit()])
        loop = For(var, _like(0, var), _like(distance, var), LoopKind.UNROLLED, body)
        return Renewed().mutate(loop)

    def _early(self, time: int) -> Stmt:
        """Time `time` before all stages have begun."""
        return Renewed().mutate(seq(self._moment(as_expr(time), (time, time))))

    def _steady(self) -> Stmt:
        depth, loop = self.plan.last_stage, self.loop
        extent = maximum(self.trips - depth, 0) if depth else self.trips
        body = seq(self._moment(loop.var, (depth, None)))
        return For(loop.var, _like(depth, loop.var), extent, LoopKind.SERIAL, body, span=loop.span)

    def _late(self, step: int) -> Stmt:
        """Time `step` after the last iteration has begun (and every stage could have)."""
        depth = self.plan.last_stage
        known = self.known_trips
        if known is None:
            body = self._moment(maximum(self.trips, depth) + step, (depth + step, None), step)
        else:
            time = int(max(known, depth)) + step
            body = self._moment(as_expr(time), (time, time), step)
        return Renewed().mutate(seq(body))

    def _moment(self, time: Expr, span: Span, late: int | None = None) -> list[Stmt]:
        """Everything that happens at one time."""
        out = [*self._wait(), *self._copies(time, span, late), *self._commit()]
        begun = [c for c in self.plan.consumers if span[1] is None or c[1] <= span[1]]
        for stage, group in groupby(begun, key=lambda item: item[1]):
            pieces = [piece for piece, _ in group]
            out += self._run(pieces, time, -stage, span, late)
        return out

    def _copies(self, time: Expr, span: Span, late: int | None = None) -> list[Stmt]:
        out: list[Stmt] = []
        for ahead, group in groupby(self.plan.producers, key=lambda item: item[1]):
            pieces = [piece for piece, _ in group]
            if self.is_async:
                pieces = [replace_stmt(p, mark_async(p.stmt)) for p in pieces]
            out += self._run(pieces, time, ahead, span, late)
        return out

    def _commit(self) -> list[Stmt]:
        """The copies since the last one are a group."""
        return [Evaluate(call("ptx_commit_group", dtype="handle"))] if self.is_async else []

    def _wait(self) -> list[Stmt]:
        """Until what is needed now has landed."""
        pending = self.plan.distance - 1
        return [Evaluate(call("ptx_wait_group", pending, dtype="handle"))] if self.is_async else []

    # -- pieces at a time ------------------------------------------------------------------------

    def _run(
        self,
        pieces: Sequence[Piece],
        time: Expr,
        ahead: int,
        span: Span,
        late: int | None,
    ) -> list[Stmt]:
        """`pieces` in iteration `time + ahead`, if there is such an iteration.

        Args:
            span: first and last value of `time`; `None`: the last before `trips`, or, with `late`,
                `late` steps after `max(trips, last_stage)`.
        """
        guards = self._guards(time, ahead, span, late)
        if guards is None:
            return []
        number = _plus(time, ahead)
        value = _like(number, self.loop.var)
        if const_value(self.loop.start) != 0:
            value = value + self.loop.start
        rewrite = _InIteration(self.loop.var, value, self.versions, _like(number, self.loop.var))
        woven = weave([(p.around, p.stmt) for p in pieces])
        body = [rewrite.mutate(stmt) for stmt in woven]
        body = [*rewrite.bindings, *body]
        return [If(guards, seq(body))] if not is_true(guards) else body

    def _guards(self, time: Expr, ahead: int, span: Span, late: int | None) -> Expr | None:
        """The condition under which iteration `time + ahead` exists; `None` if it never does."""
        first, last = span
        known = self.known_trips
        guard: Expr = as_expr(True)
        if last is not None and last + ahead < 0:
            return None
        if first + ahead < 0:
            guard = less(-1, _plus(time, ahead))
        if known is not None:
            final = last if last is not None else int(known) - 1
            if first + ahead >= known:
                return None
            needs_end = final + ahead >= known
        else:
            if late is not None and late + ahead >= 0:
                return None
            needs_end = late is not None or last is not None or ahead > 0
        if needs_end:
            end = less(_plus(time, ahead), self.trips)
            guard = end if is_true(guard) else logical_and(guard, end)
        return guard


def replace_stmt(piece: Piece, stmt: Stmt) -> Piece:
    """`piece` with another statement of the same effects."""
    return Piece(stmt, piece.around, piece.numbers, piece.effects)


def is_true(value: Expr) -> bool:
    return const_value(value) == 1


def _plus(value: Expr, count: int) -> Expr:
    """`value + count`, with constants at its end folded."""
    match value:
        case Add(inner, IntImm(value=number)):
            return _plus(inner, number + count)
        case Sub(inner, IntImm(value=number)):
            return _plus(inner, count - number)
        case _:
            return value + count if count >= 0 else value - -count


def _like(value: Any, var: Expr) -> Expr:
    return cast(as_expr(value), var.dtype)


def located(stmt: Stmt, loop: For) -> Stmt:
    """`stmt` with the loop's line wherever a statement has none."""
    return _Located(loop).mutate(stmt)


class _Located(Mutator):
    def __init__(self, loop: For) -> None:
        self.span = loop.span

    def mutate(self, node: Any) -> Any:
        if isinstance(node, (Evaluate, If, For, Bind)) and node.span is None:
            node = replace(node, span=self.span)
        return self.mutate_children(node) if isinstance(node, Stmt) else node


# -- rewriting ------------------------------------------------------------------------------------


class _InIteration(Mutator):
    """Pieces as they run in iteration `number`, whose loop variable is `value`."""

    def __init__(
        self, var: Var, value: Expr, versions: Mapping[Buffer, Buffer], number: Expr
    ) -> None:
        self.var, self.value, self.number = var, value, number
        self.versions = versions
        self.slots: dict[int, Expr] = {}
        self.bindings: list[Stmt] = []

    def mutate_Var(self, node: Var) -> Expr:
        return self.value if node is self.var else node

    def _slot(self, version: Buffer) -> Expr:
        count = version.shape[0]
        assert isinstance(count, int), "slots are counted"
        if count not in self.slots:
            value = self.number % count
            if const_value(value) is None:
                name = Var("slot", value.dtype)
                self.bindings.append(Bind(name, value))
                value = name
            self.slots[count] = value
        return self.slots[count]

    def _indexed(self, node: Any) -> Any:
        node = self.mutate_children(node)
        version = self.versions.get(node.buffer)
        if version is None:
            return node
        return replace(node, buffer=version, indices=(self._slot(version), *node.indices))

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        return self._indexed(node)

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        return self._indexed(node)

    def mutate_BufferRegion(self, node: BufferRegion) -> BufferRegion:
        node = self.mutate_children(node)
        version = self.versions.get(node.buffer)
        if version is None:
            return node
        first = Range(self._slot(version), as_expr(1))
        return BufferRegion(version, (first, *node.ranges), span=node.span)
