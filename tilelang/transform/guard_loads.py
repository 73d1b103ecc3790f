"""Conditions around loads: what lies outside its buffer reads as the safe value.

Second half of `legalize_memory`; the conditions that `guard_stores` has put around statements are
facts here, so a load that its store's test covers gets none of its own. A vectorised loop whose
loads leave their buffer at one end is cut in two there: loads alone, then safe values alone.
"""

from __future__ import annotations

from typing import Any

from tilelang.ir.annotation import IN_RANGE, SAFE_VALUE
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import (
    BOOL,
    BufferLoad,
    Call,
    Expr,
    IntImm,
    Let,
    Var,
    as_expr,
    call,
    cast,
    if_then_else,
    maximum,
)
from tilelang.ir.node import replace
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    For,
    LoopKind,
    Seq,
    Stmt,
    seq,
)
from tilelang.ir.visitor import Mutator, substitute, walk
from tilelang.transform.access_bounds import (
    all_of,
    clipped,
    distinct,
    is_atomic,
    is_movable,
    lane_indices,
    loop_bound,
    missing_conditions,
    uses,
    vector_ends,
    without,
)
from tilelang.transform.affine import in_common_type
from tilelang.transform.scoped import ScopedMutator

_POINTERS = ("address_of", "access_ptr")


class LoadGuards(ScopedMutator):
    """Guards loads; drops the attributes that only these two passes read."""

    def __init__(self) -> None:
        ScopedMutator.__init__(self)
        self.safe_values: dict[Buffer, Expr] = {}
        self.guards: list[tuple[Expr, ...]] = []  # the conditions around each load, by identity

    # -- statements ------------------------------------------------------------------------------

    def mutate_Attr(self, node: Attr) -> Any:
        if node.key == IN_RANGE:
            return node.body
        if node.key != SAFE_VALUE:
            return self.mutate_children(node)
        before = self.safe_values
        self.safe_values = {**before, **dict(node.value)}  # type: ignore[call-overload]
        body = self.mutate(node.body)
        self.safe_values = before
        return body

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        indices = tuple(self.mutate(i) for i in node.indices)
        same = all(a is b for a, b in zip(indices, node.indices))
        value = self.mutate(node.value)
        return self.rebuilt(node, value=value, indices=node.indices if same else indices)

    def mutate_For(self, node: For) -> Any:
        known = len(self.guards)
        made = ScopedMutator.mutate_For(self, node)
        if made is node or node.kind is not LoopKind.VECTORIZED or not isinstance(made, For):
            return made
        return _cut(made, self.guards[known:]) or made

    # -- expressions -----------------------------------------------------------------------------

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        bare = self._with_indices(node)
        if node.buffer.scope() != GLOBAL:
            return bare
        safe = self.safe_value(node.buffer)
        if any(i.dtype.lanes > 1 for i in node.indices):
            return self._vector_load(node, bare, safe)
        return self._guarded(self._missing(node.buffer, bare.indices), bare, safe)

    def safe_value(self, buffer: Buffer) -> Expr:
        """What a read outside `buffer` delivers here."""
        return cast(self.safe_values.get(buffer, as_expr(0)), buffer.dtype)

    def mutate_Call(self, node: Call) -> Expr:
        if node.op in _POINTERS and isinstance(node.args[0], BufferLoad):
            args = (self._with_indices(node.args[0]), *(self.mutate(a) for a in node.args[1:]))
            return self.rebuilt(node, args=args)
        if is_atomic(node):
            return self._atomic(node)
        return ScopedMutator.mutate_Call(self, node)

    def _atomic(self, node: Call) -> Expr:
        place = node.args[0]
        assert isinstance(place, BufferLoad), "an atomic names its element first"
        bare = self._with_indices(place)
        args = (bare, *(self.mutate(a) for a in node.args[1:]))
        same = all(a is b for a, b in zip(args, node.args))
        made = node if same else replace(node, args=args)
        is_scalar = all(i.dtype.lanes == 1 for i in place.indices)
        if place.buffer.scope() != GLOBAL or not is_scalar or node.dtype != place.dtype:
            return made
        return self._guarded(
            self._missing(place.buffer, bare.indices), made, self.safe_value(place.buffer)
        )

    def _with_indices(self, node: BufferLoad) -> BufferLoad:
        indices = tuple(self.mutate(i) for i in node.indices)
        same = all(a is b for a, b in zip(indices, node.indices))
        return node if same else replace(node, indices=indices)

    def _missing(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        conditions = distinct(missing_conditions(self.facts, buffer, indices))
        if conditions:
            self.guards.append(conditions)
        return conditions

    def _guarded(self, conditions: tuple[Expr, ...], value: Expr, safe: Expr) -> Expr:
        if not conditions:
            return value
        made = if_then_else(all_of(conditions), value, safe)
        if made.span is None:
            made.span = value.span
        return made

    def _vector_load(self, node: BufferLoad, bare: BufferLoad, safe: Expr) -> Expr:
        """One test for the whole vector; where it fails, lane by lane."""
        ends = vector_ends(bare.indices)
        missing: list[Expr] = []
        if ends is not None:
            missing = [c for e in ends for c in missing_conditions(self.facts, node.buffer, e)]
            if not missing:
                return bare
        lanes: list[Expr] = []
        for lane in range(node.dtype.lanes):
            indices = lane_indices(bare.indices, lane)
            conditions = missing_conditions(self.facts, node.buffer, indices)
            lanes.append(self._guarded(tuple(conditions), BufferLoad(node.buffer, indices), safe))
        apart = call("make_vector", *lanes, dtype=node.dtype)
        if ends is None:
            return apart
        return if_then_else(all_of(distinct(missing)), bare, apart)


def _cut(loop: For, guards: list[tuple[Expr, ...]]) -> Stmt | None:
    """`loop` in two where its loads leave their buffers, or `None` where it cannot be cut.

    For a body of plain stores whose loads all have the same guard: an upper bound of the variable,
    conditions that do not depend on it, or both. Anything else stays as it is.

        for j in vectorized(64): S[j] = A[i, x + j] if i < m and x + j < n else 0
    --> end = max(min(64, n - x), 0) if i < m else 0
        for j in vectorized(end): S[j] = A[i, x + j]
        for j in vectorized(end, 64): S[j] = 0
    """
    if not guards or loop.annotations or not _is_plain(loop.body):
        return None
    if any(without(other, guards[0]) or without(guards[0], other) for other in guards[1:]):
        return None
    fixed = [c for c in guards[0] if not uses(c, [loop.var])]
    bounds = [loop_bound(c, loop.var) for c in guards[0] if uses(c, [loop.var])]
    if any(b is None or b[0] != "<" for b in bounds) or not all(is_movable(c) for c in fixed):
        return None
    kind = loop.var.dtype
    cut, rest = Var(f"{loop.var.name}_end", kind), Var(loop.var.name, kind)
    low, high = clipped(loop.start, loop.extent, [b for b in bounds if b is not None])
    end = cast(maximum(*in_common_type(high, low)), kind) if bounds else loop.start + loop.extent
    end = if_then_else(all_of(fixed), end, loop.start)
    tests = [c for guard in guards for c in guard]
    inside = replace(loop, extent=cut - loop.start, body=_Decided(tests, True).mutate(loop.body))
    outside = substitute(_Decided(tests, False).mutate(loop.body), {loop.var: rest})
    total = loop.start + loop.extent
    after = replace(loop, var=rest, start=cut, extent=total - cut, body=outside)
    return seq([Bind(cut, end, span=loop.span), inside, after])


def _is_plain(body: Stmt) -> bool:
    """Whether `body` is stores that may be written twice: nothing bound, nothing allocated."""
    stmts = body.stmts if isinstance(body, Seq) else (body,)
    return all(isinstance(s, BufferStore) for s in stmts) and not any(
        isinstance(n, (Allocate, Bind, Let)) for n in walk(body)
    )


class _Decided(Mutator):
    """Puts a constant in place of each of some conditions (by identity)."""

    def __init__(self, conditions: list[Expr], holds: bool) -> None:
        self.found = {id(c) for c in conditions}
        self.holds = holds

    def mutate(self, node: Any) -> Any:
        return (
            IntImm(int(self.holds), BOOL) if id(node) in self.found else Mutator.mutate(self, node)
        )
