"""Reductions of what lies in shared or global memory, or in each thread's own.

Along the last axis, neighbouring lanes read neighbouring elements of a line and combine by
shuffles; a block with more warps than lines puts several warps on each, whose results meet in
shared memory. Along any other axis, neighbouring threads take neighbouring lines, and threads that
are left over share the lines' elements.
"""

from __future__ import annotations

from collections.abc import Callable

from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.expr import BufferLoad, Expr, as_expr, const_value, equal, less, logical_and
from tilelang.ir.stmt import Allocate, BufferStore, LoopKind, Stmt
from tilelang.layout.reduced import NOBODY, WARP
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import BlockThreads, LowerContext
from tilelang.tileop.cuda.reduce import (
    collect,
    combiner_of,
    reason_against_destination,
    spread,
)
from tilelang.tileop.cuda.reduce_index import TRUE, for_each
from tilelang.tileop.cuda.reduce_places import (
    Destination,
    destination,
    is_private,
    offsets_of,
    product,
)
from tilelang.tileop.cuda.reduce_values import shuffle
from tilelang.tileop.loops import element, loop, together, when
from tilelang.tileop.reduce import Reduce

_HERE = (as_expr(0),)


class MemoryReduce(Instruction):
    """`src` is in shared, global or private memory; `dst` may be a fragment or memory."""

    name = "memory_reduce"

    def applies(self, op: Reduce, ctx: LowerContext) -> str | None:
        if ctx.threads is None:
            return "the threads are not known"
        if op.src.buffer.is_fragment:
            return f"src `{op.src.buffer.name}` is a fragment"
        return reason_against_destination(op, ctx)

    def lower(self, op: Reduce, ctx: LowerContext) -> Stmt:
        return _Lowering(op, ctx).lower()


class _Lowering:
    """One reduction: facts that its statements share."""

    def __init__(self, op: Reduce, ctx: LowerContext) -> None:
        assert ctx.threads is not None, "asked by applies"
        self.op, self.ctx = op, ctx
        self.threads: BlockThreads = ctx.threads
        self.combiner = combiner_of(op)
        self.to: Destination = destination(op.dst, self.combiner, op.clear, ctx)
        self.total = Buffer(f"{op.dst.buffer.name}_part", (1,), self.combiner.carried, LOCAL)
        self.length = op.src.extents[op.dim]
        kept = [op.src.extents[a] for a in op.kept_axes]
        self.kept = kept
        self.lines = product(kept)

    def lower(self) -> Stmt:
        if is_private(self.op.src.buffer):
            return self._private()
        last = max((a for a, n in enumerate(self.op.src.extents) if const_value(n) != 1), default=0)
        return self._along() if self.op.dim >= last else self._across()

    # -- one line --------------------------------------------------------------------------------

    def value(self) -> BufferLoad:
        return BufferLoad(self.total, _HERE)

    def start(self) -> Stmt:
        return together(
            Allocate(self.total), BufferStore(self.total, self.combiner.identity, _HERE)
        )

    def gather(self, line: Expr, first: Expr | int, step: int, inside: Expr) -> Stmt:
        """Elements `first`, `first + step`, ... of a line joined to the total."""
        length = self.length
        number = const_value(length)
        is_even = isinstance(number, int) and number % step == 0

        def add(j: Expr) -> Stmt:
            k = j * step + first
            at = self.op.src_offsets(offsets_of(line, self.kept), k)
            x = self.combiner.enter(element(self.op.src, at))
            update = BufferStore(self.total, self.combiner.join(self.value(), x), _HERE)
            return when(TRUE if is_even else less(k, length), update)

        return when(inside, loop("j", (length + (step - 1)) // step, add))

    def _private(self) -> Stmt:
        """Every thread by itself, for what it has to deliver."""

        def line(number: Expr, finish: Callable[[Expr, Expr], Stmt]) -> Stmt:
            return together(
                self.start(), self.gather(number, 0, 1, TRUE), finish(number, self.value())
            )

        to = self.to
        if to.registers is None and to.held is not None:
            return loop("n", self.lines, lambda n: line(n, to.write))
        if to.held is None:
            return spread(self.lines, self.ctx, lambda n: line(n, to.write))
        return for_each(
            "d", [to.held], to.held != NOBODY, self.threads.index,
            lambda d, at, cond: when(cond, line(at[0], lambda _, value: to.fill(d, value))),
        )  # fmt: skip

    # -- many lines ------------------------------------------------------------------------------

    def _along(self) -> Stmt:
        lanes, warps = self._threads_per_line()
        team = lanes * warps
        at_once = self.threads.count // team
        place = self.threads.index % team
        meeting = self._meeting(warps)

        def some(q: Expr) -> Stmt:
            line = q * at_once + self.threads.index // team
            inside = self._is_line(line, at_once)
            speaks = logical_and(inside, equal(self.threads.index % lanes, 0))
            bits = [bit for bit in (16, 8, 4, 2, 1) if bit < lanes]
            return together(
                self.start(),
                self.gather(line, place, team, inside),
                *(self._butterfly(bit) for bit in bits),
                when(speaks, self._put(meeting, place // lanes, line)),
            )

        return self._rounds(at_once, some, meeting)

    def _threads_per_line(self) -> tuple[int, int]:
        """Lanes, and warps of as many lanes, that share a line."""
        count = self.threads.count
        lanes = min(WARP, count & -count)
        length = const_value(self.length)
        if not isinstance(length, int):
            return lanes, 1
        while lanes // 2 >= length:
            lanes //= 2
        groups = count // lanes
        if not isinstance(self.lines, int) or lanes < WARP:
            return lanes, 1
        most = min(groups // self.lines, -(-length // lanes))
        return lanes, max((d for d in range(1, most + 1) if groups % d == 0), default=1)

    def _across(self) -> Stmt:
        count, length = self.threads.count, const_value(self.length)
        at_once, parts = count, 1
        if isinstance(self.lines, int) and isinstance(length, int):
            at_once = min(self.lines, count)
            parts = max(1, min(count // at_once, length))
        part = self.threads.index // at_once
        meeting = self._meeting(parts)

        def some(q: Expr) -> Stmt:
            line = q * at_once + self.threads.index % at_once
            inside = self._is_line(line, at_once)
            if parts * at_once < count:
                inside = logical_and(inside, less(part, parts))
            first = part if parts > 1 else 0
            return together(
                self.start(),
                self.gather(line, first, parts, inside),
                when(inside, self._put(meeting, as_expr(first), line)),
            )

        return self._rounds(at_once, some, meeting)

    def _rounds(self, at_once: int, some: Callable[[Expr], Stmt], meeting: Buffer | None) -> Stmt:
        rounds = loop("q", (self.lines + (at_once - 1)) // at_once, some, LoopKind.SERIAL)
        if meeting is None:
            return rounds
        return together(rounds, collect(meeting, self.combiner, self.to, self.ctx))

    def _is_line(self, line: Expr, at_once: int) -> Expr:
        is_even = isinstance(self.lines, int) and self.lines % at_once == 0
        return TRUE if is_even else less(line, self.lines)

    def _butterfly(self, bit: int) -> Stmt:
        other = shuffle("shfl_xor", self.value(), bit)
        return BufferStore(self.total, self.combiner.join(self.value(), other), _HERE)

    def _meeting(self, parts: int) -> Buffer | None:
        """Where results meet, when they cannot go straight to the destination."""
        if parts == 1 and self.to.held is None:
            return None
        assert isinstance(self.lines, int), "asked by reason_against_destination"
        name = f"{self.op.dst.buffer.name}_parts"
        return self.ctx.new_scratch(name, (parts, self.lines), self.combiner.carried)

    def _put(self, meeting: Buffer | None, part: Expr, line: Expr) -> Stmt:
        if meeting is None:
            return self.to.write(line, self.value())
        return BufferStore(meeting, self.value(), (part, line))
