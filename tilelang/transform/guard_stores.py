"""Conditions in front of stores, as far out as they mean the same.

First half of `legalize_memory`. Every statement is given back with the conditions under which it
does anything at all; whoever holds the statement tests them, or hands them on. So a test is made
outside the loops it does not depend on, once for statements that share it, and a condition on the
variable of a loop becomes a bound of that loop.
"""

from __future__ import annotations

from typing import NamedTuple

from tilelang.ir.annotation import IN_RANGE
from tilelang.ir.buffer import GLOBAL
from tilelang.ir.expr import BufferLoad, Call, Expr, Var, cast, is_const
from tilelang.ir.node import replace
from tilelang.ir.ops import has_side_effect
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
    seq,
)
from tilelang.transform.access_bounds import (
    all_of,
    clipped,
    contains,
    distinct,
    guarded,
    is_atomic,
    is_movable,
    lane_indices,
    lane_of,
    loop_bound,
    missing_conditions,
    uses,
    vector_ends,
    without,
)
from tilelang.transform.scoped import ScopedMutator

_CLIPPED_LOOPS = (LoopKind.SERIAL, LoopKind.VECTORIZED)


class Guarded(NamedTuple):
    """A statement that does nothing unless all `conditions` hold; a neutral one never does."""

    stmt: Stmt
    conditions: tuple[Expr, ...] = ()
    is_neutral: bool = False

    def whole(self) -> Stmt:
        """The statement with its conditions tested."""
        return guarded(self.conditions, self.stmt)


class StoreGuards(ScopedMutator):
    """Puts conditions in front of stores and atomics; leaves loads alone."""

    def place(self, stmt: Stmt) -> Stmt:
        """`stmt` with all conditions tested inside it."""
        return self.visit(stmt).whole()

    def visit(self, stmt: Stmt) -> Guarded:
        """`stmt` without the conditions that all of it shares, and those conditions."""
        method = getattr(self, f"_visit_{type(stmt).__name__}", None)
        return method(stmt) if method is not None else Guarded(stmt)

    # -- leaves ----------------------------------------------------------------------------------

    def _visit_BufferStore(self, stmt: BufferStore) -> Guarded:
        if stmt.buffer.scope() != GLOBAL:
            return Guarded(stmt)
        if any(i.dtype.lanes > 1 for i in stmt.indices):
            return Guarded(self._vector_store(stmt))
        return Guarded(stmt, distinct(missing_conditions(self.facts, stmt.buffer, stmt.indices)))

    def _vector_store(self, stmt: BufferStore) -> Stmt:
        """One test for the whole vector; where it fails, lane by lane."""
        ends = vector_ends(stmt.indices)
        lanes = max(i.dtype.lanes for i in stmt.indices)
        missing: list[Expr] = []
        if ends is not None:
            missing = [c for e in ends for c in missing_conditions(self.facts, stmt.buffer, e)]
            if not missing:
                return stmt
        before: list[Stmt] = []
        value = stmt.value
        if not isinstance(value, Var) and has_side_effect(value):
            value = Var("value", stmt.value.dtype)
            before.append(Bind(value, stmt.value, span=stmt.span))
        single: list[Stmt] = []
        for lane in range(lanes):
            indices = lane_indices(stmt.indices, lane)
            store = BufferStore(stmt.buffer, lane_of(value, lane), indices, span=stmt.span)
            single.append(guarded(missing_conditions(self.facts, stmt.buffer, indices), store))
        if ends is None:
            return seq([*before, *single])
        whole = replace(stmt, value=value)
        return seq([*before, If(all_of(distinct(missing)), whole, seq(single), span=stmt.span)])

    def _visit_Evaluate(self, stmt: Evaluate) -> Guarded:
        value = stmt.value
        if isinstance(value, Call) and value.op == "assume":
            return Guarded(stmt, is_neutral=True)
        if not is_atomic(value):
            return Guarded(stmt)
        assert isinstance(value, Call)
        place = value.args[0]
        assert isinstance(place, BufferLoad)
        if place.buffer.scope() != GLOBAL or any(i.dtype.lanes > 1 for i in place.indices):
            return Guarded(stmt)
        return Guarded(stmt, distinct(missing_conditions(self.facts, place.buffer, place.indices)))

    def _visit_Bind(self, stmt: Bind) -> Guarded:
        return Guarded(stmt, is_neutral=not has_side_effect(stmt.value))

    def _visit_Allocate(self, stmt: Allocate) -> Guarded:
        return Guarded(stmt, is_neutral=True)

    # -- what holds statements -------------------------------------------------------------------

    def _visit_Seq(self, stmt: Seq) -> Guarded:
        parts: list[Guarded] = []
        with self.facts.scope():
            for position, child in enumerate(stmt.stmts):
                parts.append(self.visit(child))
                self.learn(child, stmt.stmts[position + 1 :])
        bound = [s.var for s in stmt.stmts if isinstance(s, Bind)]
        effects = [p for p in parts if not p.is_neutral]
        shared = _shared(effects, bound)
        made = [p._replace(conditions=without(p.conditions, shared)) for p in parts]
        stmts = _tested_together(made)
        unchanged = len(stmts) == len(stmt.stmts) and all(a is b for a, b in zip(stmts, stmt.stmts))
        return Guarded(stmt if unchanged else seq(stmts), shared, is_neutral=not effects)

    def _visit_For(self, stmt: For) -> Guarded:
        with self.facts.scope():
            self.facts.add_range(stmt.var, stmt.start, stmt.extent)
            body = self.visit(stmt.body)
        outside = [c for c in body.conditions if is_movable(c) and not uses(c, [stmt.var])]
        inside = without(body.conditions, outside)
        made = self._loop(stmt, body.stmt, inside)
        return Guarded(made, tuple(outside), body.is_neutral)

    def _loop(self, stmt: For, body: Stmt, conditions: tuple[Expr, ...]) -> Stmt:
        """`for ...: if conditions: body`, with conditions on the variable as bounds of the loop."""
        solved: list[tuple[str, Expr]] = []
        rest: list[Expr] = []
        for condition in conditions:
            bound = loop_bound(condition, stmt.var) if stmt.kind in _CLIPPED_LOOPS else None
            if bound is None:
                rest.append(condition)
            else:
                solved.append(bound)
        body = guarded(rest, body)
        if not solved:
            return stmt if body is stmt.body else replace(stmt, body=body)
        return _clipped_loop(stmt, body, solved)

    def _visit_If(self, stmt: If) -> Guarded:
        with self.holding(stmt.condition, True, [stmt.then_body]):
            then = self.visit(stmt.then_body)
        branches = [then]
        if stmt.else_body is not None:
            with self.holding(stmt.condition, False, [stmt.else_body]):
                branches.append(self.visit(stmt.else_body))
        shared = () if has_side_effect(stmt.condition) else _shared(branches, [])
        bodies = [p._replace(conditions=without(p.conditions, shared)).whole() for p in branches]
        made = self.rebuilt(
            stmt, then_body=bodies[0], else_body=bodies[1] if len(bodies) > 1 else None
        )
        return Guarded(made, shared)

    def _visit_Attr(self, stmt: Attr) -> Guarded:
        if stmt.key == IN_RANGE:
            return Guarded(stmt)
        body = self.visit(stmt.body)
        return Guarded(self.rebuilt(stmt, body=body.stmt), body.conditions, body.is_neutral)

    def _visit_While(self, stmt: While) -> Guarded:
        return Guarded(self.rebuilt(stmt, body=self.place(stmt.body)))

    def _visit_Launch(self, stmt: Launch) -> Guarded:
        with self.facts.scope():
            self.add_launch(stmt)
            return Guarded(self.rebuilt(stmt, body=self.place(stmt.body)))


def _shared(parts: list[Guarded], bound: list[Var]) -> tuple[Expr, ...]:
    """The conditions that all `parts` have, that can be tested before them all."""
    if not parts:
        return ()
    first, *others = parts
    return tuple(
        c
        for c in first.conditions
        if all(contains(p.conditions, c) for p in others) and is_movable(c) and not uses(c, bound)
    )


def _tested_together(parts: list[Guarded]) -> list[Stmt]:
    """The statements of `parts`; neighbours with the same conditions share one test."""
    out: list[Stmt] = []
    run: list[Guarded] = []

    def close() -> None:
        if run:
            out.append(guarded(run[0].conditions, seq(p.stmt for p in run)))
            run.clear()

    for part in parts:
        if run and not (part.conditions and _same(run[0].conditions, part.conditions)):
            close()
        if part.conditions and all(is_movable(c) for c in part.conditions):
            run.append(part)
        else:
            close()
            out.append(part.whole())
    close()
    return out


def _same(a: tuple[Expr, ...], b: tuple[Expr, ...]) -> bool:
    return len(a) == len(b) and all(contains(b, c) for c in a)


def _clipped_loop(stmt: For, body: Stmt, bounds: list[tuple[str, Expr]]) -> Stmt:
    low, high = clipped(stmt.start, stmt.extent, bounds)
    kind = stmt.var.dtype
    if all(side == "<" for side, _ in bounds):
        extent = cast(
            high if is_const(stmt.start, 0) else high - cast(stmt.start, high.dtype), kind
        )
        return replace(stmt, extent=extent, body=body)
    first = Var(f"{stmt.var.name}_first", kind)
    extent = cast(high - cast(first, high.dtype), kind)
    loop = replace(stmt, start=first, extent=extent, body=body)
    return seq([Bind(first, cast(low, kind), span=stmt.span), loop])
