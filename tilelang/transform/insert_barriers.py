"""Barriers where threads of a block must wait for each other, and nowhere else.

In: thread IR with logical indices, from `plan_shared_memory`. Out: the same function with
`sync_threads` (`sync_warp` in a block of one warp) where an access of one thread must come after
that of another. What the user wrote is respected: a barrier that is there already is not doubled.
`hazards_flow` says what needs one and where; each one is noted in the context with its reason.
"""

from __future__ import annotations

from tilelang.errors import Span
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import HANDLE, Call, Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.record import record
from tilelang.ir.stmt import BufferStore, Evaluate, For, If, Launch, Stmt, While, seq
from tilelang.ir.visitor import Mutator, used_vars, walk
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.hazards_flow import Flow, Hazard, Spot
from tilelang.transform.hazards_program import BLOCK_BARRIERS, WAIT_ALL, Program
from tilelang.transform.thread_grid import WARP, thread_grid

_READS_BY_PROXY = "tl_wgmma_descriptor"
_PUBLISHES = BLOCK_BARRIERS | {"named_barrier_arrive", "tl_bar_arrive"}


@record
class BarrierNote:
    """Why a barrier stands where it stands."""

    operation: str
    buffers: tuple[str, str]  # of the access before and after; two names where memory is shared
    dependence: str
    before: Span | None
    after: Span | None
    launch: int = 0  # of the function, counted from 0

    def __str__(self) -> str:
        first, second = self.buffers
        which = f"`{first}`" if first == second else f"`{second}` in the memory of `{first}`"
        lines = [str(s.line) if s else "?" for s in (self.before, self.after)]
        return (
            f"{self.operation} between line {lines[0]} and line {lines[1]}: "
            f"{self.dependence} of {which}"
        )


def insert_barriers(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Add the barriers that shared and global memory need.

    Needs: thread form, logical indices. Leaves: the same with barriers; one `BarrierNote` per
    barrier in `ctx.notes`. With `TL_DISABLE_THREAD_STORAGE_SYNC`, barriers between accesses of a
    buffer of the user's are left to the user.

    Raises:
        TargetError: when the number of threads is no constant.
    """
    ordered = _Insert(ctx, parameters_of(func)).mutate(distinct(func))
    fenced: PrimFunc = _FenceProxies().mutate(ordered)  # type: ignore[assignment]
    return fenced


def is_own(before: Buffer, after: Buffer) -> bool:
    """Whether it is the compiler that lets two accesses meet, so that no user can order them.

    That is in scratch memory of an operation, and where two buffers were given the same memory.
    """
    return before.data is not after.data or before.span is None


def parameters_of(func: PrimFunc) -> set[Var]:
    """Values that are the same in all threads of all blocks: scalars and dynamic extents."""
    found = {p for p in func.params if isinstance(p, Var)}
    for buffer in func.buffer_params:
        for extent in (*buffer.shape, *buffer.strides, buffer.elem_offset):
            if not isinstance(extent, int):
                found.update(used_vars(extent))
    return found


def distinct(func: PrimFunc) -> PrimFunc:
    """`func` in which no statement object stands in two places."""
    return replace(func, body=_Distinct().mutate(func.body))


class _Distinct(Mutator):
    def __init__(self) -> None:
        self.seen: dict[int, Stmt] = {}  # keeps them alive, so that ids stay unique

    def mutate(self, node: object) -> object:
        made = super().mutate(node)
        if isinstance(made, Stmt):
            if id(made) in self.seen:
                made = replace(made)
            self.seen[id(made)] = made
        return made


class _Insert(Mutator):
    def __init__(self, ctx: PassContext, parameters: set[Var]) -> None:
        self.ctx = ctx
        self.parameters = parameters
        self.launch = -1
        is_left = ctx.option(PassConfigKey.TL_DISABLE_THREAD_STORAGE_SYNC)
        self.wanted = is_own if is_left else None

    def mutate_Launch(self, node: Launch) -> Launch:
        self.launch += 1
        grid = thread_grid(node)
        if grid.count == 1:
            return node
        chosen = choose_barriers(Flow(Program(node, grid, self.parameters), self.wanted))
        if not chosen:
            return node
        operation = "sync_warp" if grid.count <= WARP else "sync_threads"
        for hazard in chosen.values():
            self.ctx.notes.append(note(hazard, operation, self.launch))
        return replace(node, body=_Place(chosen, operation).mutate(node.body))


def note(hazard: Hazard, operation: str, launch: int = 0) -> BarrierNote:
    """The reason of a barrier, as it is shown."""
    names = (hazard.before.buffer.name, hazard.after.buffer.name)
    return BarrierNote(operation, names, hazard.dependence, *hazard.spans, launch)


def choose_barriers(flow: Flow) -> dict[Spot, Hazard]:
    """Places of barriers that leave no hazard a barrier can order, none of them superfluous."""
    chosen: dict[Spot, Hazard] = {}
    while (hazard := flow.first(chosen)) is not None:
        assert hazard.spot is not None, "`first` gives hazards with a place"
        there = chosen.get(hazard.spot)
        assert there is None or (hazard.drains and not there.drains), (
            "a barrier orders its accesses"
        )
        chosen[hazard.spot] = hazard
    for spot in list(chosen):
        rest = {s: h for s, h in chosen.items() if s != spot}
        if flow.first(rest) is None:
            chosen = rest
    return chosen


class _Place(Mutator):
    """Puts the barriers where they were chosen."""

    def __init__(self, chosen: dict[Spot, Hazard], operation: str) -> None:
        self.chosen = chosen
        self.operation = operation

    def mutate(self, node: object) -> object:
        made = super().mutate(node)
        if not isinstance(node, Stmt):
            return made
        if isinstance(made, While) and ("end", id(node)) in self.chosen:
            barrier = self._barrier(self.chosen["end", id(node)])
            made = replace(made, body=seq([made.body, barrier]))
        if ("before", id(node)) in self.chosen:
            assert isinstance(made, Stmt), "statements stay"
            return seq([self._barrier(self.chosen["before", id(node)]), made])
        return made

    def _barrier(self, hazard: Hazard) -> Stmt:
        span = hazard.after.span
        barrier = Evaluate(Call(self.operation, (), HANDLE), span=span)
        if not hazard.drains:
            return barrier
        return seq([Evaluate(Call(WAIT_ALL, (), HANDLE), span=span), barrier])


class _FenceProxies(Mutator):
    """In launches whose matrix instructions read shared memory by the asynchronous proxy, what a
    thread wrote becomes visible to it by a fence in front of the barrier that publishes it."""

    def __init__(self) -> None:
        self.is_needed = False
        self.is_fenced = False  # nothing can have been written to shared memory since a fence

    def mutate_Launch(self, node: Launch) -> Launch:
        self.is_needed = any(isinstance(n, Call) and n.op == _READS_BY_PROXY for n in walk(node))
        self.is_fenced = False
        return self.mutate_children(node) if self.is_needed else node

    def mutate(self, node: object) -> object:
        if isinstance(node, (For, While, If)):
            self.is_fenced = False
            made = super().mutate(node)
            self.is_fenced = False
            return made
        return super().mutate(node)

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        self.is_fenced = self.is_fenced and not node.buffer.is_shared
        return node

    def mutate_Evaluate(self, node: Evaluate) -> Stmt:
        op = node.value.op if isinstance(node.value, Call) else ""
        was_fenced, self.is_fenced = self.is_fenced, op in _PUBLISHES
        if op.startswith("tl_wgmma_"):
            self.is_fenced = was_fenced
        if op not in _PUBLISHES or was_fenced:
            return node
        return seq([Evaluate(Call("tl_fence_proxy_async", (), HANDLE), span=node.span), node])
