"""Reductions on a device with warps.

    each thread       part[s] = its registers (or elements in memory) of one line, combined
    lanes of a warp   part[s] = part[s] joined with that of lane ^ bit, per bit that varies along
                      the reduced axis: afterwards all lanes of the group have the same value
    warps             meeting[p, line] = part p of the line, in shared memory; everyone who needs a
                      line reads all its parts
    destination       each thread fills its registers, or one thread per line writes memory

The third step is left out where nothing remains to be combined and the results already are where
the destination wants them. What goes where is read off tables (`layout/reduced.py`).
`FragmentReduce` reduces fragments, `MemoryReduce` what lies in shared, global or private memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.expr import BufferLoad, Expr, as_expr, const_value
from tilelang.ir.stmt import Allocate, BufferStore, LoopKind, Stmt
from tilelang.layout.reduced import NOBODY, Partials, Table, find_partials, line_numbers
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import LowerContext
from tilelang.tileop.cuda.reduce_index import (
    TRUE,
    Mask,
    for_each,
    unrolled,
)
from tilelang.tileop.cuda.reduce_places import (
    Destination,
    constant_extents,
    destination,
    direct_slots,
    held_region,
    is_private,
    reason_against,
    register,
)
from tilelang.tileop.cuda.reduce_registers import combine_registers
from tilelang.tileop.cuda.reduce_values import Combiner, combiner_for, shuffle
from tilelang.tileop.loops import loop, together, when
from tilelang.tileop.reduce import Reduce

_MAX_UNROLLED_PARTS = 32


def combiner_of(op: Reduce) -> Combiner:
    """What `op` does to values."""
    return combiner_for(op.kind, op.dst.buffer.dtype, op.accumulator, op.nan_propagate)


@dataclass
class Exchange:
    """Partial results of threads on their way to a destination.

    Attributes:
        plan: who holds what.
        part: per thread, one partial result per slot.
        combiner: how values combine.
        ctx: where the operation stands; gives shared memory.
        name: of the result, for names of buffers.
    """

    plan: Partials
    part: Buffer
    combiner: Combiner
    ctx: LowerContext
    name: str

    @property
    def thread(self) -> Expr:
        assert self.ctx.threads is not None, "cuda instructions are told the threads"
        return self.ctx.threads.index

    @property
    def slots(self) -> int:
        return len(self.plan.slots.registers)

    def own(self, slot: Expr) -> BufferLoad:
        return register(self.part, slot)

    # -- lanes -----------------------------------------------------------------------------------

    def between_lanes(self) -> Stmt:
        """Every lane of a group gets the group's values."""
        bits = self.plan.lane_bits
        assert self.ctx.threads is not None, "cuda instructions are told the threads"
        is_whole = len(bits) == 5 and self.ctx.threads.count % 32 == 0
        if is_whole and self.combiner.has_warp_operation:
            return self._per_slot(self.combiner.across_warp)
        return together(*(self._butterfly(bit) for bit in bits))

    def _butterfly(self, bit: int) -> Stmt:
        return self._per_slot(lambda x: self.combiner.join(x, shuffle("shfl_xor", x, bit)))

    def _per_slot(self, change: Callable[[Expr], Expr]) -> Stmt:
        def step(s: Expr) -> Stmt:
            return BufferStore(self.part, change(self.own(s)), (s,))

        return loop("s", self.slots, step, LoopKind.UNROLLED)

    # -- destination -----------------------------------------------------------------------------

    def deliver(self, to: Destination) -> Stmt:
        """Each result where it belongs."""
        plan = self.plan
        if plan.parts == 1 and to.held is None:
            return for_each(
                "s", [plan.lines], plan.lines != NOBODY, self.thread,
                lambda s, at, cond: when(cond, to.write(at[0], self.own(s))), plan.writer,
            )  # fmt: skip
        if plan.parts == 1 and to.held is not None:
            slots = direct_slots(plan.lines, to.held)
            if slots is not None:
                return self._in_place(np.asarray(slots), to, to.held != NOBODY)
        return self._through_memory(to)

    def _in_place(self, slots: Table, to: Destination, valid: Mask) -> Stmt:
        """Register `d` from slot `slots[d]`; what a thread does not hold it does not read."""
        if to.clear or valid.all():
            return unrolled("d", [slots], lambda d, at: to.fill(d, self.own(at[0])))
        return for_each(
            "d", [np.tile(slots, (len(valid), 1))], valid, self.thread,
            lambda d, at, cond: when(cond, to.fill(d, self.own(at[0]))),
        )  # fmt: skip

    def _through_memory(self, to: Destination) -> Stmt:
        plan, kind, lines = self.plan, self.combiner.carried, to.lines
        assert isinstance(lines, int), "asked by reason_against_destination"
        meeting = self.ctx.new_scratch(f"{self.name}_parts", (plan.parts, lines), kind)

        def put(s: Expr, at: list[Expr], cond: Expr) -> Stmt:
            return when(cond, BufferStore(meeting, self.own(s), (at[0], at[1])))

        clear = self._clear(meeting) if plan.is_ragged else None
        puts = for_each(
            "s", [plan.part, plan.lines], plan.lines != NOBODY, self.thread, put, plan.writer
        )
        return together(clear, puts, collect(meeting, self.combiner, to, self.ctx))

    def _clear(self, meeting: Buffer) -> Stmt:
        parts, lines = (int(n) for n in meeting.shape if isinstance(n, int))
        return spread(
            parts * lines,
            self.ctx,
            lambda n: BufferStore(meeting, self.combiner.identity, (n // lines, n % lines)),
        )


def spread(count: Expr | int, ctx: LowerContext, body: Callable[[Expr], Stmt]) -> Stmt:
    """`body(n)` for each `n < count`, one after the other over the threads."""
    assert ctx.threads is not None, "cuda instructions are told the threads"
    threads, index = ctx.threads.count, ctx.threads.index
    is_even = isinstance(count, int) and count % threads == 0

    def step(i: Expr) -> Stmt:
        n = i * threads + index
        return when(TRUE if is_even else n < count, body(n))

    return loop("i", (count + (threads - 1)) // threads, step)


def collect(meeting: Buffer, combiner: Combiner, to: Destination, ctx: LowerContext) -> Stmt:
    """The parts `meeting[p, line]` of each line combined, and delivered."""
    assert ctx.threads is not None, "cuda instructions are told the threads"
    parts = int(const_value(meeting.shape[0]) or 0)
    at = (as_expr(0),)

    def combined(line: Expr, finish: Callable[[Expr], Stmt]) -> Stmt:
        first = BufferLoad(meeting, (as_expr(0), line))
        if parts == 1:
            return finish(first)
        total = Buffer("total", (1,), combiner.carried, LOCAL)

        def add(p: Expr) -> Stmt:
            value = combiner.join(BufferLoad(total, at), BufferLoad(meeting, (p, line)))
            return BufferStore(total, value, at)

        kind = LoopKind.UNROLLED if parts <= _MAX_UNROLLED_PARTS else LoopKind.SERIAL
        more = loop("p", parts - 1, add, kind, 1)
        start = BufferStore(total, first, at)
        return together(Allocate(total), start, more, finish(BufferLoad(total, at)))

    if to.held is None:
        return spread(to.lines, ctx, lambda n: combined(n, lambda value: to.write(n, value)))
    return for_each(
        "d", [to.held], to.held != NOBODY, ctx.threads.index,
        lambda d, at, cond: when(cond, combined(at[0], lambda value: to.fill(d, value))),
    )  # fmt: skip


def reduce_held(
    held: Table, line_of: Table, source: Buffer, to: Destination, ctx: LowerContext, name: str
) -> Stmt:
    """Elements in registers `held` combined per line and delivered."""
    assert ctx.threads is not None, "cuda instructions are told the threads"
    plan = find_partials(held, line_of)
    combiner = to.combiner
    part = Buffer(f"{name}_part", (len(plan.slots.registers),), combiner.carried, LOCAL)
    exchange = Exchange(plan, part, combiner, ctx, name)
    return together(
        Allocate(part),
        combine_registers(source, plan, part, combiner, ctx.threads.index),
        exchange.between_lanes(),
        exchange.deliver(to),
    )


def reason_against_destination(op: Reduce, ctx: LowerContext) -> str | None:
    """Why results cannot be delivered to `op.dst`."""
    if op.dst.buffer.is_fragment:
        return reason_against("dst", op.dst, ctx)
    needs_constants = is_private(op.dst.buffer) or op.src.buffer.is_fragment
    if needs_constants and constant_extents(op.dst) is None:
        return f"the extents of dst `{op.dst.buffer.name}` are not constant"
    return None


class FragmentReduce(Instruction):
    """`src` is a fragment; `dst` may be any fragment or memory."""

    name = "fragment_reduce"

    def applies(self, op: Reduce, ctx: LowerContext) -> str | None:
        if ctx.threads is None:
            return "the threads are not known"
        if not op.src.buffer.is_fragment:
            return f"src `{op.src.buffer.name}` is no fragment"
        return reason_against("src", op.src, ctx) or reason_against_destination(op, ctx)

    def details(self, op: Reduce, ctx: LowerContext) -> tuple[str, ...]:
        shape = constant_extents(op.src)
        assert shape is not None, "a fragment's region is constant: asked by applies"
        plan = find_partials(held_region(op.src, ctx), line_numbers(shape, op.dim))
        own = max(map(len, plan.slots.registers), default=0)
        groups = len(plan.slots.registers)
        return (
            f"each thread combines up to {own} elements for each of {groups} results",
            f"lanes: {len(plan.lane_bits)} exchanges of each result",
            _meeting(op, plan, ctx),
        )

    def lower(self, op: Reduce, ctx: LowerContext) -> Stmt:
        combiner = combiner_of(op)
        shape = constant_extents(op.src)
        assert shape is not None, "a fragment's region is constant: asked by applies"
        held = held_region(op.src, ctx)
        to = destination(op.dst, combiner, op.clear, ctx)
        source = ctx.registers[op.src.buffer]
        return reduce_held(held, line_numbers(shape, op.dim), source, to, ctx, op.dst.buffer.name)


def _meeting(op: Reduce, plan: Partials, ctx: LowerContext) -> str:
    """Whether the results pass through shared memory, in words."""
    if plan.parts > 1:
        return f"{plan.parts} parts of each result meet in shared memory"
    if not op.dst.buffer.is_fragment:
        return f"one thread writes each result to `{op.dst.buffer.name}`"
    if direct_slots(plan.lines, held_region(op.dst, ctx)) is not None:
        return "the results are where they are needed, without shared memory"
    return "results pass through shared memory to the threads that need them"
