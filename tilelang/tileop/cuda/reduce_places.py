"""Where a reduction's results go: registers of a fragment, or memory.

`Results` says how many lines there are and how a line's number becomes an index; `Registers` is a
destination of which every thread fills what it holds, `Memory` one of which each line has one
writer. `clear=False` combines with what the destination holds: once, as each holder does it once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Expr,
    as_expr,
    cast,
    const_value,
    is_const,
)
from tilelang.ir.record import record
from tilelang.ir.stmt import BufferStore, Stmt
from tilelang.layout.reduced import NOBODY, Table, held_elements
from tilelang.tileop.context import LowerContext
from tilelang.tileop.cuda.reduce_values import Combiner
from tilelang.tileop.loops import element, store

Box = list[tuple[int, int]]


def constant_box(region: BufferRegion) -> Box | None:
    """Start and extent per axis, when all are constants."""
    numbers = [(const_value(r.start), const_value(r.extent)) for r in region.ranges]
    box = [(s, n) for s, n in numbers if isinstance(s, int) and isinstance(n, int)]
    return box if len(box) == len(numbers) else None


def reason_against(name: str, region: BufferRegion, ctx: LowerContext) -> str | None:
    """Why the elements of a fragment region cannot be told apart when compiling."""
    buffer = region.buffer
    if buffer not in ctx.fragments or buffer not in ctx.registers:
        return f"{name} `{buffer.name}` has no fragment"
    box = constant_box(region)
    if box is None:
        return f"the region of {name} `{buffer.name}` is not constant"
    assert ctx.threads is not None, "a fragment is spread over threads"
    if held_elements(ctx.fragments[buffer], ctx.threads.count, box) is None:
        return f"the fragment of {name} `{buffer.name}` does not fit the threads, or overlaps"
    return None


def held_region(region: BufferRegion, ctx: LowerContext) -> Table:
    """`[threads, registers]` number, in the region, of the element each register holds."""
    box = constant_box(region)
    assert box is not None and ctx.threads is not None, "asked by reason_against"
    held = held_elements(ctx.fragments[region.buffer], ctx.threads.count, box)
    assert held is not None, "asked by reason_against"
    return held


def register(buffer: Buffer, number: Expr) -> BufferLoad:
    """Register `number` of a thread."""
    return BufferLoad(buffer, (number,))


def constant_extents(region: BufferRegion) -> list[int] | None:
    """The extents of a region, when all are constants."""
    numbers = [const_value(n) for n in region.extents]
    extents = [n for n in numbers if isinstance(n, int)]
    return extents if len(extents) == len(numbers) else None


@record
class Destination:
    """Where results go.

    Attributes:
        region: one element per line, in the order of the lines.
        held: `[threads, registers]` the line in each register, for a fragment; of a `local` buffer,
            all lines in every thread; `None` for memory.
        registers: the array of a fragment.
        combiner: what happens to the old value, unless `clear`.
        clear: the old value does not count.
    """

    region: BufferRegion
    held: Table | None
    registers: Buffer | None
    combiner: Combiner
    clear: bool

    @property
    def lines(self) -> Expr | int:
        """Number of results."""
        return product(self.region.extents)

    def _finish(self, old: Expr, result: Expr) -> Expr:
        if self.clear:
            return result
        return self.combiner.join(self.combiner.enter(old), result)

    def fill(self, number: Expr, result: Expr) -> Stmt:
        """`register number = result` (of a fragment or a `local` buffer)."""
        if self.registers is None:
            return self.write(number, result)
        value = self._finish(register(self.registers, number), result)
        return BufferStore(self.registers, cast(value, self.registers.dtype), (number,))

    def write(self, line: Expr, result: Expr) -> Stmt:
        """`memory of line = result`."""
        at = offsets_of(line, self.region.extents)
        return store(self.region, at, self._finish(element(self.region, at), result))


def destination(
    region: BufferRegion, combiner: Combiner, clear: bool, ctx: LowerContext
) -> Destination:
    """The destination that `region` is."""
    buffer = region.buffer
    assert ctx.threads is not None, "cuda instructions are told the threads"
    if buffer.is_fragment:
        held = held_region(region, ctx)
        return Destination(region, held, ctx.registers[buffer], combiner, clear)
    held = None
    if is_private(buffer):
        lines = product(region.extents)
        assert isinstance(lines, int), "asked by reason_against_destination"
        held = np.tile(np.arange(lines), (ctx.threads.count, 1))
    return Destination(region, held, None, combiner, clear)


def is_private(buffer: Buffer) -> bool:
    """Whether each thread has its own."""
    return buffer.scope() in ("local", "local.var")


def direct_slots(lines: Table, held: Table) -> list[int] | None:
    """The slot that each register of the destination takes, the same in every thread.

    Args:
        lines: `[threads, slots]` the line of each slot.
        held: `[threads, registers]` the line that each register is to hold.
    """
    chosen: list[int] = []
    for number in range(held.shape[1]):
        wanted = held[:, number]
        asks = wanted != NOBODY
        fits = [s for s in range(lines.shape[1]) if np.array_equal(lines[asks, s], wanted[asks])]
        if not fits:
            return None
        chosen.append(fits[0])
    return chosen


def product(extents: Sequence[Expr]) -> Expr | int:
    """Number of elements; an `int` when constant."""
    total: Expr = as_expr(1)
    for extent in extents:
        total = total * extent
    number = const_value(total)
    return number if isinstance(number, int) else total


def offsets_of(number: Expr, extents: Sequence[Expr]) -> list[Expr]:
    """Row-major index, in a box, of its element `number`."""
    offsets: list[Expr] = []
    outermost = next((a for a, n in enumerate(extents) if not is_const(n, 1)), 0)
    for axis in reversed(range(len(extents))):
        if is_const(extents[axis], 1):
            offsets.append(as_expr(0))
        elif axis == outermost:
            offsets.append(number)
        else:
            offsets.append(number % extents[axis])
            number = number // extents[axis]
    return offsets[::-1]
