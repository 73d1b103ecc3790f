"""The pass that turns `T.Pipelined` loops into software pipelines of asynchronous copies.

Tile form in (from `simplify`), tile form out (to `expand_tile_ops`, which makes `cp.async` of the
copies marked `is_async` and of nests with `prefer_async` where the hardware has it for them, and
plain copies elsewhere). `pipeline_schedule` decides what runs when, `pipeline_emit` writes it.

What is left to `insert_barriers`, which sees all of it in the program:

* after `ptx_wait_group` the copies of *this* thread have landed; a barrier makes those of all
  threads visible before the first read (asynchronous write -> wait -> read);
* a copy into a slot comes after the same barrier, and the slot's last reader before it: with
  `wait; barrier; copies; commit; compute` one barrier per iteration orders both;
* where the pipeline runs again inside another loop, the first copies of the new run wait for the
  last readers of the old one (a barrier in front of the pipeline).

An asynchronous write needs no barrier towards a read that no wait separates from it: they are in
different slots. No warp specialisation, no bulk copies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tilelang.ir import annotation as keys
from tilelang.ir.buffer import Buffer
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, Attr, For, LoopKind, Stmt, seq
from tilelang.ir.visitor import Mutator, walk
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.pipeline_effects import Storage, effects_of
from tilelang.transform.pipeline_emit import Pipeline
from tilelang.transform.pipeline_pieces import Body, pieces_of
from tilelang.transform.pipeline_schedule import Plan, plan_loop


def pipeline_loops(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Let the copies of `T.Pipelined` loops run ahead, each iteration's into a slot of its own.

    Needs: tile form, simplified. Leaves: tile form without PIPELINED loops; the buffers that copies
    fill have their slots along a new first axis.

        for k in Pipelined(n, num_stages=3): copy(A[k], S); gemm(S, ...)
    --> for p in unroll(2): if p < n: copy(A[p], S[p % 3], is_async); commit
        for k in serial(n): wait(1); if k + 2 < n: copy(A[k + 2], S[(k + 2) % 3], is_async)
                            commit; gemm(S[k % 3], ...)
    """
    loops = [n for n in walk(func) if isinstance(n, For) and n.kind is LoopKind.PIPELINED]
    if not loops:
        return func
    rewrite = _Rewrite(_plan_all(func, loops), ctx.option(PassConfigKey.TL_ENABLE_ASYNC_COPY))
    made = rewrite.mutate(func)
    return _DropUnused(rewrite.versions, made).mutate(made)


Planned = dict[int, tuple[Body, Plan]]  # by id of the loop


def _plan_all(func: PrimFunc, loops: list[For]) -> Planned:
    """A plan for each loop that gets one.

    A buffer may have slots only if nothing outside the planned loops reads it: they would look for
    the values in the buffer without slots.
    """
    storage = Storage(func)
    allocated = {n.buffer for n in walk(func) if isinstance(n, Allocate) and not _is_special(n)}
    refused: set[Buffer] = {b for found in storage.views.values() for b in found} - allocated
    bodies = {id(loop): pieces_of(loop, storage) for loop in loops}
    while True:
        plans: Planned = {}
        for loop in loops:
            plan = plan_loop(loop, bodies[id(loop)], storage, refused)
            if plan is not None and not _holds_another(loop):
                plans[id(loop)] = (bodies[id(loop)], plan)
        exposed = _read_elsewhere(func, plans) - refused
        if not exposed:
            return plans
        refused |= exposed


def _is_special(node: Allocate) -> bool:
    return any(key != keys.LAYOUT for key, _ in node.annotations)


def _holds_another(loop: For) -> bool:
    """Whether a pipelined loop stands inside; then the inner one is worth more."""
    inside = (n for n in walk(loop.body) if isinstance(n, For))
    return any(n.kind is LoopKind.PIPELINED for n in inside)


def _read_elsewhere(func: PrimFunc, plans: Planned) -> set[Buffer]:
    """Buffers with slots that are read where they have none."""
    wanted = {b for _, plan in plans.values() for b in plan.slots}
    total = _reads(effects_of(func.body).reads, wanted)
    inside: dict[Buffer, int] = {}
    for body, plan in plans.values():
        for piece in body.pieces:
            for buffer, count in _reads(piece.effects.reads, set(plan.slots)).items():
                inside[buffer] = inside.get(buffer, 0) + count
    return {b for b in wanted if total.get(b, 0) != inside.get(b, 0)}


def _reads(accesses: Iterable[Any], wanted: set[Buffer]) -> dict[Buffer, int]:
    found: dict[Buffer, int] = {}
    for access in accesses:
        if access.buffer in wanted:
            found[access.buffer] = found.get(access.buffer, 0) + 1
    return found


class _Rewrite(Mutator):
    """Planned loops become pipelines, other pipelined loops serial ones."""

    def __init__(self, plans: Planned, is_async: bool) -> None:
        self.plans, self.is_async = plans, is_async
        slots: dict[Buffer, int] = {}
        for _, plan in plans.values():
            for buffer, count in plan.slots.items():
                slots[buffer] = max(slots.get(buffer, 0), count)
        self.versions = {buffer: _with_slots(buffer, n) for buffer, n in slots.items()}

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        version = self.versions.get(node.buffer)
        if version is None:
            return node
        annotations = (*node.annotations, (keys.VERSIONS, version.shape[0]))
        return seq([node, replace(node, buffer=version, annotations=annotations)])

    def mutate_Attr(self, node: Attr) -> Any:
        node = self.mutate_children(node)
        if node.key != keys.LAYOUTS:
            return node
        entries: list[tuple[Buffer, Any]] = list(node.value)  # type: ignore[call-overload]
        versions = [(self.versions[b], x) for b, x in entries if b in self.versions]
        added = [(version, layout.expand(version.shape[0])) for version, layout in versions]
        return replace(node, value=(*entries, *added)) if added else node

    def mutate_For(self, node: For) -> Any:
        if id(node) not in self.plans:
            made = self.mutate_children(node)
            if node.kind is not LoopKind.PIPELINED:
                return made
            return replace(made, kind=LoopKind.SERIAL, annotations=())
        body, plan = self.plans[id(node)]
        allocations = (self.mutate_Allocate(a) for a in body.allocations)
        return seq([*allocations, Pipeline(node, plan, self.versions, self.is_async).stmt()])


def _with_slots(buffer: Buffer, slots: int) -> Buffer:
    shape = (slots, *buffer.shape)
    return Buffer(buffer.name, shape, buffer.dtype, buffer.scope(), span=buffer.span)


class _DropUnused(Mutator):
    """Without the buffers that slots have replaced everywhere."""

    def __init__(self, replaced: Iterable[Buffer], func: PrimFunc) -> None:
        effects = effects_of(func.body)
        self.unused = set(replaced) - {a.buffer for a in effects.accesses}

    def mutate_Allocate(self, node: Allocate) -> Stmt | None:
        return None if node.buffer in self.unused else node

    def mutate_Attr(self, node: Attr) -> Any:
        node = self.mutate_children(node)
        if node.key != keys.LAYOUTS:
            return node
        entries: list[tuple[Buffer, Any]] = list(node.value)  # type: ignore[call-overload]
        kept = tuple(entry for entry in entries if entry[0] not in self.unused)
        return node if len(kept) == len(entries) else replace(node, value=kept)
