"""The pass that asks for the next block's input while this block's output is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tilelang.ir.buffer import GLOBAL
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    Var,
    call,
    cast,
    const_value,
    is_const,
    minimum,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.record import record
from tilelang.ir.stmt import Bind, Evaluate, For, Launch, Seq, Stmt, seq
from tilelang.ir.visitor import Mutator, children, substitute, walk
from tilelang.transform.affine import affine
from tilelang.transform.context import PassContext

LINE_BYTES = 64
MOST_BYTES = 1024  # asked for at a time, for each chunk that is written
_STREAM, _PREFETCH = "tl_stream_store", "tl_stream_prefetch"


def prefetch_blocks(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Spread prefetches of the next block's rows over the loops that stream this block's.

    Needs: thread form, `stream_stores` done. Leaves: thread form, which computes the same. A block
    that loads, then computes, then stores leaves the memory idle while it computes, and the
    processor's own prefetching stops at the end of a row. In a loop over chunks that are streamed,
    each chunk also asks for a share of what another loop under the same loops reads in the next
    block: rows of a global buffer at places linear in the block's index.

        next = min(bx + 1, last)
        for c in serial(64): tl_stream_prefetch(&X[next * 2 + i, c * 64], 256)
                             ... tl_stream_store(&Y[bx * 2 + i, c * 64], line, 256)
    """
    del ctx
    streams = any(isinstance(n, Call) and n.op == _STREAM for n in walk(func.body))
    return _Launches().mutate(func) if streams else func


class _Launches(Mutator):
    def mutate_Launch(self, node: Launch) -> Stmt:
        axes = zip(node.grid_vars, node.grid_extents)
        var, count = next((a for a in axes if not is_const(a[1], 1)), (None, None))
        if var is None or count is None:
            return node
        rows = [row for row in _rows(node.body, ()) if _moves(row, var)]
        following = Var(f"next_{var.name}", var.dtype)
        body = _Chunks(rows, {var: following}).mutate(node.body)
        if body is node.body:
            return node
        ahead = minimum(var + 1, cast(count, var.dtype) - 1)
        return replace(node, body=seq([Bind(following, ahead, span=node.span), body]))


@record(eq=False)
class _Row:
    """A loop over neighbours in a parameter, and the loops around it."""

    outer: tuple[For, ...]
    loop: For
    place: BufferLoad


def _rows(stmt: Stmt, outer: tuple[For, ...]) -> Iterator[_Row]:
    if isinstance(stmt, For):
        inner = list(_rows(stmt.body, (*outer, stmt)))
        if inner:
            yield from inner
        elif not any(isinstance(n, For) for n in walk(stmt.body)):
            for node in walk(stmt.body):
                if isinstance(node, BufferLoad) and node.buffer.scope() == GLOBAL:
                    yield _Row(outer, stmt, node)
        return
    for child in children(stmt):
        if isinstance(child, Stmt):
            yield from _rows(child, outer)


def _moves(row: _Row, block: Var) -> bool:
    """Whether the next block's row stands elsewhere, at a constant distance."""
    forms = [affine(index) for index in row.place.indices if index.dtype.lanes == 1]
    *before, last = [form.terms if form is not None else {} for form in forms] or [{}]
    return (
        None not in forms
        and any(block in terms for terms in (*before, last))
        and last.get(row.loop.var) == 1
        and not any(row.loop.var in terms for terms in before)
        and row.place.buffer.dtype.elements_per_byte == 1
    )


class _Chunks(Mutator):
    """Puts the prefetch of each row into the first loop over chunks that it fits."""

    def __init__(self, rows: list[_Row], following: dict[Var, Expr]) -> None:
        self.rows = rows
        self.following = following
        self.outer: tuple[For, ...] = ()

    def mutate_For(self, node: For) -> Stmt:
        if not _streams(node):
            around, self.outer = self.outer, (*self.outer, node)
            made = self.mutate_children(node)
            self.outer = around
            return made
        asked: dict[_Row, Stmt] = {}
        for row in self.rows:
            stmt = self._prefetch(row, node)
            if stmt is not None:
                asked[row] = stmt
        self.rows = [row for row in self.rows if row not in asked]
        different: list[Stmt] = []
        for stmt in asked.values():
            if not any(structural_equal(stmt, other) for other in different):
                different.append(stmt)
        return replace(node, body=seq([*different, node.body])) if different else node

    def _prefetch(self, row: _Row, chunks: For) -> Stmt | None:
        steps, length = const_value(chunks.extent), const_value(row.loop.extent)
        if not isinstance(steps, int) or not isinstance(length, int) or steps == 0:
            return None
        share = -(-length // steps)
        size = share * row.place.buffer.dtype.itemsize
        mine, theirs = _looping(row.outer), _looping(self.outer)
        if not LINE_BYTES <= size <= MOST_BYTES or not _correspond(mine, theirs):
            return None
        values: dict[Var, Expr] = {loop.var: loop.start for loop in row.outer}
        values.update((a.var, b.var) for a, b in zip(mine, theirs))
        values[row.loop.var] = row.loop.start + (chunks.var - chunks.start) * share
        first = call("address_of", substitute(row.place, {**values, **self.following}),
                     dtype="handle")  # fmt: skip
        return Evaluate(call(_PREFETCH, first, size, dtype="handle"), span=chunks.span)


def _streams(loop: For) -> bool:
    """Whether each iteration of `loop` itself ends in a streaming store."""
    stmts = loop.body.stmts if isinstance(loop.body, Seq) else (loop.body,)
    calls = (s.value for s in stmts if isinstance(s, Evaluate))
    return any(isinstance(c, Call) and c.op == _STREAM for c in calls)


def _looping(loops: tuple[For, ...]) -> list[For]:
    return [loop for loop in loops if not is_const(loop.extent, 1)]


def _correspond(mine: Sequence[For], theirs: Sequence[For]) -> bool:
    """Whether the loops around two loops have the same ranges, where these are constant."""
    return len(mine) == len(theirs) and all(
        a is b
        or (structural_equal(a.start, b.start) and const_value(b.extent) is None)
        or (structural_equal(a.start, b.start) and structural_equal(a.extent, b.extent))
        for a, b in zip(mine, theirs)
    )
