"""What each thread combines by itself: the registers of each of its slots.

In: who holds what (`layout/reduced.py`) and the registers of a fragment, from `reduce`. Out: code
that leaves one partial result per slot. A register that holds no element is not read: nothing ever
wrote it. Registers that the same threads hold are combined together, under one condition:

    part[0] = part[1] = identity
    if (tx < 96)                  registers 0..7 of slot 0, 16..23 of slot 1
    if (tx % 4 < 2 && tx < 96)    registers 8..11 of slot 0, 24..27 of slot 1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, Expr, Var
from tilelang.ir.record import record
from tilelang.ir.stmt import BufferStore, LoopKind, Stmt
from tilelang.ir.visitor import substitute
from tilelang.layout.fit import fit
from tilelang.layout.reduced import NOBODY, Partials, Table
from tilelang.tileop.cuda.reduce_index import Mask, condition_of, unrolled
from tilelang.tileop.cuda.reduce_places import register
from tilelang.tileop.cuda.reduce_values import Combiner
from tilelang.tileop.loops import loop, together, when


@record
class Batch:
    """Registers that the same threads hold, as many of each slot.

    Attributes:
        holders: `[threads]` who holds them.
        slots: to which slots they belong.
        registers: `[slots, count]`.
        is_first: nothing was combined in these slots before.
    """

    holders: Mask
    slots: tuple[int, ...]
    registers: Table
    is_first: bool


def combine_registers(
    source: Buffer, plan: Partials, part: Buffer, combiner: Combiner, thread: Expr
) -> Stmt:
    """`part[s]` = the registers of slot `s`, combined; the identity where there are none."""
    valid = plan.held != NOBODY
    batches = list(batches_of(plan.slots.registers, valid))
    only = batches[0]
    if len(batches) == 1:
        neutral = _cleared(part, only.slots, combiner)
        body = _combined(source, only, part, combiner, begin=True)
        return when(condition_of(only.holders, thread), body, neutral)
    stmts: list[Stmt] = []
    for batch in batches:
        begin = batch.is_first and bool(batch.holders.all())
        if batch.is_first and not begin:
            stmts.append(_cleared(part, batch.slots, combiner))
        body = _combined(source, batch, part, combiner, begin)
        stmts.append(when(condition_of(batch.holders, thread), body))
    return together(*stmts)


def batches_of(groups: Sequence[Sequence[int]], valid: Mask) -> Iterator[Batch]:
    """The registers of all slots, in the order in which code combines them.

    Args:
        groups: per slot, its registers.
        valid: `[threads, registers]` who holds which.
    """
    kinds: dict[bytes, dict[int, list[int]]] = {}
    for slot, registers in enumerate(groups):
        for number in registers:
            of_kind = kinds.setdefault(valid[:, number].tobytes(), {})
            of_kind.setdefault(slot, []).append(number)
    begun: set[int] = set()
    everyone = np.ones(len(valid), bool).tobytes()
    for kind in sorted(kinds, key=lambda k: k != everyone):  # those that need no condition first
        alike: dict[tuple[int, bool], list[int]] = {}
        for slot, registers in kinds[kind].items():
            alike.setdefault((len(registers), slot not in begun), []).append(slot)
        for (_, is_first), slots in alike.items():
            table = np.asarray([kinds[kind][s] for s in slots])
            yield Batch(np.frombuffer(kind, bool), tuple(slots), table, is_first)
        begun.update(kinds[kind])


def _cleared(part: Buffer, slots: Sequence[int], combiner: Combiner) -> Stmt:
    return unrolled(
        "s", [np.asarray(slots)], lambda _, at: BufferStore(part, combiner.identity, (at[0],))
    )


def _combined(source: Buffer, batch: Batch, part: Buffer, combiner: Combiner, begin: bool) -> Stmt:
    """The registers of a batch; `begin`: the first of each slot starts it.

    Slots vary fastest, so that consecutive operations do not wait for each other.
    """
    slots, table = np.asarray(batch.slots), batch.registers

    def entered(number: Expr) -> Expr:
        return combiner.enter(register(source, number))

    def start(slot: Expr, number: Expr) -> Stmt:
        return BufferStore(part, combiner.begin(entered(number)), (slot,))

    def further(slot: Expr, number: Expr) -> Stmt:
        own = BufferLoad(part, (slot,))
        return BufferStore(part, combiner.join(own, entered(number)), (slot,))

    done = int(begin)
    first = [unrolled("s", [slots, table[:, 0]], lambda _, at: start(at[0], at[1]))] * done
    j, s = Var("j"), Var("s")
    law, place = fit(table, (s, j)), fit(slots, (s,))
    if law is None or place is None:
        columns = range(done, table.shape[1])
        rest = [
            unrolled("s", [slots, table[:, c]], lambda _, at: further(at[0], at[1]))
            for c in columns
        ]
        return together(*first, *rest)

    def column(j_value: Expr) -> Stmt:
        def one(s_value: Expr) -> Stmt:
            values = {s: s_value, j: j_value}
            return further(substitute(place, values), substitute(law, values))

        return loop("s", len(slots), one, LoopKind.UNROLLED)

    return together(*first, loop("j", table.shape[1] - done, column, LoopKind.UNROLLED, done))
