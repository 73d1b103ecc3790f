"""Operations in which threads see each other's values, as loops over per-thread arrays.

`spread_threads` has every thread leave its operand in an array, calls `exchange` for the loops that
stand between, and has every thread fetch its result from another array. A warp is 32 consecutive
threads; a lane that does not take part (an incomplete warp, a condition) counts as inactive: votes
pass over it, reductions use the identity, shuffles from it give the asking lane's own value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilelang.errors import TargetError
from tilelang.ir.buffer import LOCAL, VAR, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    IntImm,
    StringImm,
    Var,
    as_condition,
    as_expr,
    cast,
    constant,
    equal,
    if_then_else,
    logical_and,
    logical_or,
    maximum,
    minimum,
    not_equal,
    select,
)
from tilelang.ir.stmt import Allocate, BufferStore, If, Stmt, seq
from tilelang.transform.thread_grid import WARP, ThreadGrid, each
from tilelang.transform.varying import ALLREDUCE, BLOCK_VOTES, SHUFFLES, VOTES, Varying

_ZERO = (as_expr(0),)
_FULL = 0xFFFFFFFF
_COMBINE: dict[str, Callable[[Expr, Expr], Expr]] = {
    "sum": lambda a, b: a + b,
    "max": maximum,
    "min": minimum,
    "bitand": lambda a, b: a & b,
    "bitor": lambda a, b: a | b,
    "bitxor": lambda a, b: a ^ b,
}


def per_thread(name: str, kind: dtype, grid: ThreadGrid) -> Buffer:
    """An array with one element per thread."""
    return Buffer(name, (grid.count,), kind, LOCAL)


def element(buffer: Buffer, index: Expr) -> Expr:
    """One element of an array."""
    return BufferLoad(buffer, (index,))


def store(buffer: Buffer, index: Expr, value: Expr) -> Stmt:
    """`buffer[index] = value`, converted."""
    return BufferStore(buffer, cast(value, buffer.dtype), (index,))


@dataclass
class Exchange:
    """One operation while it is taken apart.

    Attributes:
        operands: per argument that threads contribute: array, and the value of the running thread.
        neutral: what threads that do not take part contribute.
        before: allocations, to stand before everything else.
        steps: what happens between contributing and fetching.
        result: value of the operation for the running thread; `None` for one without a value.
        after: what the running thread does with the result by itself.
    """

    operands: list[tuple[Buffer, Expr]]
    neutral: list[Expr]
    before: list[Stmt]
    steps: list[Stmt]
    result: Expr | None
    after: list[Stmt]


class Exchanger:
    """Takes operations of one launch apart.

    `active` is the array of threads that take part, or `None` for all of them.
    """

    def __init__(self, grid: ThreadGrid, active: Buffer | None, varying: Varying) -> None:
        self.grid = grid
        self.active = active
        self.varying = varying
        self.operands: list[tuple[Buffer, Expr]] = []
        self.neutral: list[Expr] = []
        self.before: list[Stmt] = []

    def exchange(self, call: Call) -> Exchange:
        """The parts of `call`."""
        if call.op in SHUFFLES:
            steps, result = self._shuffle(call)
        elif call.op in VOTES:
            steps, result = self._vote(call)
        elif call.op in BLOCK_VOTES:
            steps, result = self._block_vote(call)
        elif call.op == ALLREDUCE:
            return self._allreduce(call)
        else:
            steps, result = self._warp_reduce(call)
        return Exchange(self.operands, self.neutral, self.before, steps, result, [])

    # -- arrays ----------------------------------------------------------------------------------

    def _array(self, name: str, kind: dtype) -> Buffer:
        buffer = per_thread(name, kind, self.grid)
        self.before.append(Allocate(buffer))
        return buffer

    def _scalar(self, name: str, kind: dtype) -> Buffer:
        buffer = Buffer(name, (1,), kind, VAR)
        self.before.append(Allocate(buffer))
        return buffer

    def _contribute(self, name: str, value: Expr, neutral: Expr) -> Callable[[Expr], Expr]:
        """What each thread contributes, by the number of the thread."""
        if isinstance(value, IntImm):
            return lambda _: value
        array = self._array(name, value.dtype)
        self.operands.append((array, value))
        self.neutral.append(cast(neutral, value.dtype))
        return lambda thread: element(array, thread)

    def _setting(self, name: str, value: Expr) -> Callable[[Expr], Expr]:
        """As `_contribute`, for what only threads that take part are asked for."""
        if not self.varying(value):
            return lambda _: value
        return self._contribute(name, value, constant(0, value.dtype))

    def _fetch(self, array: Buffer) -> Expr:
        return element(array, self.grid.linear())

    def _is_active(self, thread: Expr) -> Expr:
        return as_expr(True) if self.active is None else as_condition(element(self.active, thread))

    def _lanes(self, first: Expr, body: Callable[[Expr], Stmt]) -> Stmt:
        """`body(lane)` for the lanes of the warp that starts at thread `first`."""
        count: Expr = as_expr(min(WARP, self.grid.count))
        if self.grid.count > WARP and self.grid.count % WARP:
            count = minimum(WARP, as_expr(self.grid.count) - first)
        return each("lane", count, body)

    def _warps(self, body: Callable[[Expr], Stmt]) -> Stmt:
        """`body(first thread)` for every warp."""
        count = -(-self.grid.count // WARP)
        return each("warp", count, lambda warp: body(warp * WARP))

    # -- operations ------------------------------------------------------------------------------

    def _shuffle(self, call: Call) -> tuple[list[Stmt], Expr]:
        _, value, lane, width = call.args
        if not isinstance(width, IntImm) or width.value not in (1, 2, 4, 8, 16, 32):
            raise TargetError(
                f"{call.op}: width is `{width}`, expected a power of two up to 32", call.span
            )
        source = self._contribute("sent", value, constant(0, value.dtype))
        offset = self._setting("from_lane", lane)
        received = self._array("received", value.dtype)

        def step(thread: Var) -> Stmt:
            here = thread % WARP
            segment = here // width * width
            last = segment + (width.value - 1)
            there, exists = _partner(call.op, here, offset(thread), segment, last, width.value)
            other = thread - here + there
            exists = logical_and(exists, other < self.grid.count)
            if self.active is not None:
                exists = logical_and(exists, self._is_active(other))
            return store(received, thread, if_then_else(exists, source(other), source(thread)))

        return [each("thread", self.grid.count, step)], self._fetch(received)

    def _warp_reduce(self, call: Call) -> tuple[list[Stmt], Expr]:
        name = call.op.removeprefix("warp_reduce_")
        value = call.args[0]
        start = _identity(name, value.dtype)
        source = self._contribute("sent", value, start)
        received = self._array("received", value.dtype)
        total = self._scalar("total", value.dtype)
        combine = _COMBINE[name]

        def warp(first: Expr) -> Stmt:
            added = self._lanes(
                first,
                lambda k: store(
                    total, _ZERO[0], combine(element(total, _ZERO[0]), source(first + k))
                ),
            )
            handed = self._lanes(
                first, lambda k: store(received, first + k, element(total, _ZERO[0]))
            )
            return seq([store(total, _ZERO[0], start), added, handed])

        return [self._warps(warp)], self._fetch(received)

    def _vote(self, call: Call) -> tuple[list[Stmt], Expr]:
        if call.op.startswith("match"):
            return self._match(call)
        mask, predicate = call.args if call.args else (constant(_FULL, "uint32"), as_expr(True))
        source = self._contribute("vote", predicate, as_expr(False))
        wanted = self._setting("mask", mask)
        received = self._array("received", call.dtype)
        yes, here = self._scalar("yes", dtype("uint32")), self._scalar("present", dtype("uint32"))

        def count(first: Expr, k: Expr) -> Stmt:
            bit = constant(1, "uint32") << cast(k, "uint32")
            voted = store(yes, _ZERO[0], element(yes, _ZERO[0]) | bit)
            present = store(here, _ZERO[0], element(here, _ZERO[0]) | bit)
            body = seq([present, If(as_condition(source(first + k)), voted)])
            return body if self.active is None else If(self._is_active(first + k), body)

        def answer(first: Expr, k: Expr) -> Stmt:
            votes, present = element(yes, _ZERO[0]), element(here, _ZERO[0])
            asked = wanted(first + k) & present
            if call.op == "all_sync":
                value = equal(votes & asked, asked)
            elif call.op == "any_sync":
                value = not_equal(votes & asked, 0)
            else:
                value = votes & asked
            return store(received, first + k, value)

        def warp(first: Expr) -> Stmt:
            zero = [store(b, _ZERO[0], as_expr(0)) for b in (yes, here)]
            counted = self._lanes(first, lambda k: count(first, k))
            return seq([*zero, counted, self._lanes(first, lambda k: answer(first, k))])

        return [self._warps(warp)], self._fetch(received)

    def _match(self, call: Call) -> tuple[list[Stmt], Expr]:
        mask, value = call.args
        source = self._contribute("sent", value, constant(0, value.dtype))
        wanted = self._setting("mask", mask)
        received = self._array("received", call.dtype)
        same = self._scalar("same", dtype("uint32"))
        others = self._scalar("others", dtype("uint32"))

        def compare(mine: Expr, other: Expr, k: Expr) -> Stmt:
            bit = constant(1, "uint32") << cast(k, "uint32")
            is_same = equal(source(other), source(mine))
            body = If(
                is_same,
                store(same, _ZERO[0], element(same, _ZERO[0]) | bit),
                store(others, _ZERO[0], element(others, _ZERO[0]) | bit),
            )
            return body if self.active is None else If(self._is_active(other), body)

        def lane(first: Expr, k: Expr) -> Stmt:
            mine = first + k
            zero = [store(b, _ZERO[0], as_expr(0)) for b in (same, others)]
            seen = self._lanes(first, lambda j: compare(mine, first + j, j))
            found = element(same, _ZERO[0]) & wanted(mine)
            if call.op == "match_all_sync":
                differ = not_equal(element(others, _ZERO[0]) & wanted(mine), 0)
                found = select(differ, constant(0, "uint32"), wanted(mine))
            return seq([*zero, seen, store(received, mine, found)])

        warp = self._warps(lambda first: self._lanes(first, lambda k: lane(first, k)))
        return [warp], self._fetch(received)

    def _block_vote(self, call: Call) -> tuple[list[Stmt], Expr]:
        is_and = call.op == "syncthreads_and"
        source = self._contribute("vote", call.args[0], as_expr(is_and))
        total = self._scalar("votes", dtype("int32"))
        so_far = element(total, _ZERO[0])

        def add(thread: Var) -> Stmt:
            vote = as_condition(source(thread))
            if call.op == "syncthreads_count":
                return store(total, _ZERO[0], so_far + cast(vote, "int32"))
            join = logical_and if is_and else logical_or
            return store(total, _ZERO[0], join(not_equal(so_far, 0), vote))

        start = store(total, _ZERO[0], as_expr(int(is_and)))
        counted = each("thread", self.grid.count, add)
        return [start, counted], cast(so_far, call.dtype)

    def _allreduce(self, call: Call) -> Exchange:
        op, value, predicate, place, identity, *threads = call.args
        assert isinstance(op, StringImm), "the language passes the operation's name"
        assert isinstance(place, BufferLoad), "the language passes the destination element"
        unknown = [v for v in threads if v not in set(self.grid.vars)]
        if unknown:
            raise TargetError(
                f"tvm_thread_allreduce: `{unknown[0]}` is no thread index of this launch", call.span
            )
        reduced = {v for v in threads if isinstance(v, Var)}
        source = self._contribute("sent", if_then_else(predicate, value, identity), identity)
        totals = self._array("totals", place.dtype)
        combine = _COMBINE[op.value]

        def group(indices: tuple[Expr, ...]) -> Expr:
            kept = [as_expr(0) if v in reduced else i for v, i in zip(self.grid.vars, indices)]
            return self.grid.linear(kept)

        def add(indices: tuple[Expr, ...]) -> Stmt:
            at = group(indices)
            return store(
                totals, at, combine(element(totals, at), source(self.grid.linear(indices)))
            )

        start = each("thread", self.grid.count, lambda t: store(totals, t, identity))
        mine = element(totals, group(self.grid.vars))
        after = BufferStore(place.buffer, cast(mine, place.dtype), place.indices, span=call.span)
        steps = [start, self.grid.loops(add)]
        return Exchange(self.operands, self.neutral, self.before, steps, None, [after])


def _partner(
    op: str, here: Expr, offset: Expr, segment: Expr, last: Expr, width: int
) -> tuple[Expr, Expr]:
    """The lane that is asked, and whether it exists; otherwise a lane keeps its own value."""
    if op == "shfl_up":
        there = here - offset
        return there, there >= segment
    if op == "shfl_down":
        there = here + offset
        return there, there <= last
    if op == "shfl_xor":
        there = here ^ offset
        return there, there <= last
    return segment + (offset & (width - 1)), as_expr(True)


def _identity(name: str, kind: dtype) -> Expr:
    if name in ("sum", "bitor", "bitxor"):
        return constant(0, kind)
    if name == "bitand":
        return constant(-1 if kind.kind == "int" else kind.max_value(), kind)
    if kind.is_float and kind.bits >= 16:
        return constant(float("-inf") if name == "max" else float("inf"), kind)
    return constant(kind.min_value() if name == "max" else kind.max_value(), kind)
