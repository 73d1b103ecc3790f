"""Scans on a device with warps.

Lines whose elements are neighbours are scanned by the lanes of a warp, 32 elements at a time: each
lane joins what the lanes 1, 2, 4, ... below have so far, then the carry of the elements before.
Other lines are scanned by one thread each. A fragment goes through shared memory: its elements are
left there in their logical order, scanned in place, and fetched back.
"""

from __future__ import annotations

from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Expr,
    as_expr,
    const_value,
    greater_equal,
    less,
    logical_and,
    select,
)
from tilelang.ir.stmt import Allocate, BufferStore, Stmt
from tilelang.layout.reduced import NOBODY, WARP, first_holders
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import LowerContext
from tilelang.tileop.cuda.reduce import spread
from tilelang.tileop.cuda.reduce_index import TRUE, for_each
from tilelang.tileop.cuda.reduce_places import (
    constant_extents,
    destination,
    held_region,
    offsets_of,
    product,
    reason_against,
    register,
)
from tilelang.tileop.cuda.reduce_values import Combiner, combiner_for, shuffle
from tilelang.tileop.loops import element, loop, store, together, when
from tilelang.tileop.scan import Scan

_HERE = (as_expr(0),)
_SPARE = 8  # threads per line from which on a line is worth a warp wherever its elements lie


class LineScan(Instruction):
    """Any operands: fragments, shared and global memory."""

    name = "line_scan"

    def applies(self, op: Scan, ctx: LowerContext) -> str | None:
        if ctx.threads is None:
            return "the threads are not known"
        for name, region in (("src", op.src), ("dst", op.dst)):
            buffer = region.buffer
            if buffer.is_fragment:
                reason = reason_against(name, region, ctx)
                if reason is not None:
                    return reason
            elif buffer.scope().startswith("local"):
                return f"{name} `{buffer.name}` is private to each thread"
        return None

    def details(self, op: Scan, ctx: LowerContext) -> tuple[str, ...]:
        del ctx
        moved = [r.buffer.name for r in (op.src, op.dst) if r.buffer.is_fragment]
        names = " and ".join(f"`{name}`" for name in dict.fromkeys(moved))
        return (f"lines pass through shared memory: {names} in registers",) if moved else ()

    def lower(self, op: Scan, ctx: LowerContext) -> Stmt:
        combiner = combiner_for(op.kind, op.dst.buffer.dtype, op.accumulator)
        source, target = op.src, op.dst
        before = after = None
        if op.src.buffer.is_fragment:
            source = _ordered(op.src, combiner, ctx)
            before = _leave(op.src, source, combiner, ctx)
        if op.dst.buffer.is_fragment:
            target = source if op.src.buffer.is_fragment else _ordered(op.dst, combiner, ctx)
            after = _fetch(op.dst, target, combiner, ctx)
        return together(before, _Lines(op, source, target, combiner, ctx).scan(), after)


def _ordered(region: BufferRegion, combiner: Combiner, ctx: LowerContext) -> BufferRegion:
    """Shared memory for the elements of a fragment region, row-major."""
    shape = constant_extents(region)
    assert shape is not None, "asked by applies"
    name = f"{region.buffer.name}_lines"
    return ctx.new_scratch(name, tuple(shape), combiner.carried).region()


def _leave(
    region: BufferRegion, memory: BufferRegion, combiner: Combiner, ctx: LowerContext
) -> Stmt:
    """The first holder of each element writes it."""
    assert ctx.threads is not None, "asked by applies"
    held, source = held_region(region, ctx), ctx.registers[region.buffer]

    def put(r: Expr, at: list[Expr], cond: Expr) -> Stmt:
        value = combiner.enter(register(source, r))
        return when(cond, store(memory, offsets_of(at[0], memory.extents), value))

    return for_each("r", [held], held != NOBODY, ctx.threads.index, put, first_holders(held))


def _fetch(
    region: BufferRegion, memory: BufferRegion, combiner: Combiner, ctx: LowerContext
) -> Stmt:
    """Every holder of an element reads it."""
    assert ctx.threads is not None, "asked by applies"
    to = destination(region, combiner, True, ctx)
    assert to.held is not None, "a fragment is held by threads"

    def get(r: Expr, at: list[Expr], cond: Expr) -> Stmt:
        return when(cond, to.fill(r, element(memory, offsets_of(at[0], memory.extents))))

    return for_each("r", [to.held], to.held != NOBODY, ctx.threads.index, get)


class _Lines:
    """The scan of memory `source` into memory `target`, which may be the same."""

    def __init__(
        self,
        op: Scan,
        source: BufferRegion,
        target: BufferRegion,
        combiner: Combiner,
        ctx: LowerContext,
    ) -> None:
        assert ctx.threads is not None, "asked by applies"
        self.op, self.source, self.target = op, source, target
        self.combiner, self.ctx, self.threads = combiner, ctx, ctx.threads
        self.length = source.extents[op.dim]
        self.kept = [n for axis, n in enumerate(source.extents) if axis != op.dim]
        self.lines = product(self.kept)
        self.running = self._scalar("running")
        self.here = self._scalar("here")
        self.below = self._scalar("below")

    def _scalar(self, name: str) -> Buffer:
        return Buffer(name, (1,), self.combiner.carried, LOCAL)

    def scan(self) -> Stmt:
        """All lines."""
        is_last = all(const_value(n) == 1 for n in self.source.extents[self.op.dim + 1 :])
        few = isinstance(self.lines, int) and self.lines * _SPARE <= self.threads.count
        lanes = self._lanes()
        if lanes == 1 or not (is_last or few):
            return together(
                Allocate(self.running), spread(self.lines, self.ctx, self._by_one_thread)
            )
        return self._by_lanes(lanes)

    def _lanes(self) -> int:
        """Lanes per line: no more than a line has elements."""
        lanes = min(WARP, self.threads.count & -self.threads.count)
        length = const_value(self.length)
        while isinstance(length, int) and lanes // 2 >= length:
            lanes //= 2
        return lanes

    # -- one line --------------------------------------------------------------------------------

    def _offsets(self, line: Expr, place: Expr) -> list[Expr]:
        """Offsets of the element that comes at `place` in the scan of a line."""
        k = (self.length - 1) - place if self.op.is_reversed else place
        offsets = offsets_of(line, self.kept)
        offsets.insert(self.op.dim, k)
        return offsets

    def _load(self, line: Expr, place: Expr) -> Expr:
        return self.combiner.enter(element(self.source, self._offsets(line, place)))

    def _by_one_thread(self, line: Expr) -> Stmt:
        running = BufferLoad(self.running, _HERE)

        def step(k: Expr) -> Stmt:
            value = self.combiner.join(running, self._load(line, k))
            return together(
                BufferStore(self.running, value, _HERE),
                store(self.target, self._offsets(line, k), running),
            )

        start = BufferStore(self.running, self.combiner.identity, _HERE)
        return together(start, loop("k", self.length, step))

    # -- lanes -----------------------------------------------------------------------------------

    def _by_lanes(self, lanes: int) -> Stmt:
        at_once = self.threads.count // lanes
        lane = self.threads.index % lanes
        is_even = isinstance(self.lines, int) and self.lines % at_once == 0

        def some(q: Expr) -> Stmt:
            line = q * at_once + self.threads.index // lanes
            inside = TRUE if is_even else less(line, self.lines)
            return together(
                BufferStore(self.running, self.combiner.identity, _HERE),
                loop("c", chunks, lambda c: self._chunk(line, c * lanes + lane, lanes, inside)),
            )

        chunks = (self.length + (lanes - 1)) // lanes
        rounds = loop("q", (self.lines + (at_once - 1)) // at_once, some)
        return together(Allocate(self.running), Allocate(self.here), Allocate(self.below), rounds)

    def _chunk(self, line: Expr, place: Expr, lanes: int, inside: Expr) -> Stmt:
        """One element per lane; every lane takes part in the shuffles."""
        number = const_value(self.length)
        is_even = isinstance(number, int) and number % lanes == 0
        there = inside if is_even else logical_and(inside, less(place, self.length))
        here, running = BufferLoad(self.here, _HERE), BufferLoad(self.running, _HERE)
        steps = [1 << bit for bit in range(lanes.bit_length() - 1)]
        return together(
            BufferStore(self.here, self.combiner.identity, _HERE),
            when(there, BufferStore(self.here, self._load(line, place), _HERE)),
            *(self._join_below(step, lanes) for step in steps),
            BufferStore(self.here, self.combiner.join(running, here), _HERE),
            when(there, store(self.target, self._offsets(line, place), here)),
            BufferStore(self.running, shuffle("shfl", here, lanes - 1, lanes), _HERE),
        )

    def _join_below(self, step: int, lanes: int) -> Stmt:
        here, below = BufferLoad(self.here, _HERE), BufferLoad(self.below, _HERE)
        has = greater_equal(self.threads.index % lanes, step)
        return together(
            BufferStore(self.below, shuffle("shfl_up", here, step, lanes), _HERE),
            BufferStore(self.here, select(has, self.combiner.join(below, here), here), _HERE),
        )
