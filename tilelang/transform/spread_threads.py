"""On a CPU one thread runs a whole block: code with thread indices becomes loops over them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from tilelang.errors import TargetError
from tilelang.ir.annotation import COLLECTIVE, INIT, ITERATION, REDUCTION, WARP_GROUPS
from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    Var,
    as_condition,
    as_expr,
    cast,
    const_value,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node, replace
from tilelang.ir.ops import has_side_effect
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    annotation,
    seq,
)
from tilelang.ir.visitor import Mutator, substitute, used_buffers, used_vars, walk
from tilelang.transform.context import PassContext
from tilelang.transform.thread_exit import with_exit_flag
from tilelang.transform.thread_grid import ThreadGrid, bind_threads, each, thread_grid
from tilelang.transform.thread_random import with_random_state
from tilelang.transform.thread_regions import Region, RegionCutter
from tilelang.transform.varying import HINTS, find_varying, uses_threads
from tilelang.transform.warp_exchange import element, per_thread, store


def spread_threads(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Run the threads of a block one after the other, between one meeting of theirs and the next.

    Needs: thread form, after `legalize_memory`. Leaves: thread form in which no thread index
    occurs; a launch that uses none stays the same object. Private storage and values that live
    from one region to another become arrays with one entry per thread.

        x[0] = A[tx]; sync_threads(); S[tx] = x[0]      (each in its own region)
    --> for tx: x[tx, 0] = A[tx];  for tx: S[tx] = x[tx, 0]

    Raises:
        DivergenceError: for a barrier that only some threads reach.
        TargetError: for a number of threads that is not a constant.
    """
    del ctx  # runs for target `c` alone
    return _Spread().mutate(bind_threads(func))


class _Spread(Mutator):
    def mutate_Launch(self, node: Launch) -> Stmt:
        if not uses_threads(node):
            return _Unmarked().mutate_children(node)
        grid = thread_grid(node)
        body = with_exit_flag(with_random_state(_Unhinted().mutate(node.body), grid))
        varying = find_varying(body, grid.running())
        cut = RegionCutter(varying, grid).cut(body)
        made = _Unmarked().mutate(_Storage(grid, cut).mutate(cut))
        still = {v: as_expr(0) for v in grid.vars if v not in grid.running()}
        made = substitute(made, {v: cast(zero, v.dtype) for v, zero in still.items()})
        return replace(node, body=made)


class _Unhinted(Mutator):
    """Drops statements that change no value."""

    def mutate_Evaluate(self, node: Evaluate) -> Stmt | None:
        return None if isinstance(node.value, Call) and node.value.op in HINTS else node


class _Unmarked(Mutator):
    """Takes the attributes away that speak of threads."""

    def mutate_Attr(self, node: Attr) -> Any:
        if node.key in (COLLECTIVE, ITERATION, WARP_GROUPS):
            return self.mutate(node.body)
        return self.mutate_children(node)


# -- regions to loops ------------------------------------------------------------------------------


def _top(region: Region) -> tuple[Stmt, ...]:
    return region.body.stmts if isinstance(region.body, Seq) else (region.body,)


class _Storage(Mutator):
    """Makes each region a loop, and gives what lives across regions a place per thread."""

    def __init__(self, grid: ThreadGrid, body: Stmt) -> None:
        self.grid = grid
        self.cheap: dict[Var, Bind] = {}  # computed again wherever needed
        self.saved: dict[Var, Buffer] = {}  # value of each thread, from where it is bound on
        self.arrays: dict[Var, Var] = {}  # private pointer -> pointer of all threads' storage
        self.sizes: dict[Var, int] = {}  # bits of one thread's storage
        self.views: dict[Buffer, Buffer] = {}
        self._plan([n for n in walk(body) if isinstance(n, Region)])

    # -- deciding --------------------------------------------------------------------------------

    def _plan(self, regions: list[Region]) -> None:
        names: dict[Var, set[int]] = {}
        storage: dict[Var, set[int]] = {}
        for number, region in enumerate(regions):
            for var in used_vars(region.body):
                names.setdefault(var, set()).add(number)
            for buffer in used_buffers(region.body):
                storage.setdefault(buffer.data, set()).add(number)
        for region in regions:
            for stmt in _top(region):
                if isinstance(stmt, Bind) and len(names.get(stmt.var, ())) > 1:
                    self._keep_name(stmt)
                elif isinstance(stmt, Allocate) and len(storage.get(stmt.buffer.data, ())) > 1:
                    self._keep_storage(stmt.buffer)
        self._spread_use(regions)

    def _keep_name(self, stmt: Bind) -> None:
        if _is_cheap(stmt.value):
            self.cheap[stmt.var] = stmt
        elif stmt.var.dtype.lanes > 1 or stmt.var.dtype.kind == "handle":
            raise TargetError(
                f"`{stmt.var.name}` is a {stmt.var.dtype} value that lives across a barrier",
                stmt.span,
                hint="keep it in a T.alloc_local buffer",
            )
        else:
            self.saved[stmt.var] = per_thread(stmt.var.name, stmt.var.dtype, self.grid)

    def _spread_use(self, regions: list[Region]) -> None:
        """What a cheap value is computed from must be there in every region that computes it."""
        defined = {s.var: s for r in regions for s in _top(r) if isinstance(s, Bind)}
        pending = list(self.cheap.values())
        while pending:
            for var in used_vars(pending.pop().value):
                stmt = defined.get(var)
                if stmt is not None and var not in self.cheap and var not in self.saved:
                    self._keep_name(stmt)
                    if var in self.cheap:
                        pending.append(stmt)

    def _keep_storage(self, buffer: Buffer) -> None:
        name = Var(buffer.data.name, buffer.data.dtype)
        self.arrays[buffer.data] = name
        self.sizes[buffer.data] = prod(_numbers(buffer)) * buffer.dtype.bits

    # -- rewriting -------------------------------------------------------------------------------

    def mutate_Region(self, node: Region) -> Stmt:
        before: list[Stmt] = []
        inside: list[Stmt] = []
        thread = self.grid.linear()
        for stmt in _top(node):
            if isinstance(stmt, Allocate) and stmt.buffer.data in self.arrays:
                before += self._allocations(stmt)
                continue
            inside.append(stmt)
            if isinstance(stmt, Bind) and stmt.var in self.saved:
                array = self.saved[stmt.var]
                before.append(Allocate(array, span=stmt.span))
                inside.append(replace(store(array, thread, stmt.var), span=stmt.span))
        bound = {s.var for s in inside if isinstance(s, Bind)}
        body = _PerThread(self, thread, bound).mutate(
            seq([*self._recomputed(inside, bound), *inside])
        )
        if isinstance(body, Seq) and not body.stmts:
            return seq(before)
        if node.active is not None:
            body = If(as_condition(element(node.active, thread)), body, None, span=node.span)
        return seq([*before, self.grid.loops(lambda at: _at(self.grid, body, at))])

    def _allocations(self, stmt: Allocate) -> Iterator[Stmt]:
        array = self.view(stmt.buffer)
        initial = annotation(stmt.annotations, INIT)
        yield replace(stmt, buffer=array, annotations=())
        if isinstance(initial, Expr):
            yield each(
                "thread",
                self.grid.count,
                lambda t: BufferStore(array, cast(initial, array.dtype), (t, as_expr(0))),
            )

    def _recomputed(self, stmts: list[Stmt], bound: set[Var]) -> list[Stmt]:
        """Fresh bindings of the cheap values that `stmts` use and do not bind."""
        wanted: dict[Var, None] = {}

        def want(node: Node) -> None:
            for var in used_vars(node):
                if var in self.cheap and var not in bound and var not in wanted:
                    want(self.cheap[var].value)
                    wanted[var] = None

        for stmt in stmts:
            want(stmt)
        return [self.cheap[var] for var in wanted]

    def view(self, buffer: Buffer) -> Buffer:
        """`buffer` with the thread as its first axis."""
        found = self.views.get(buffer)
        if found is None:
            per = self.sizes[buffer.data] // buffer.dtype.bits
            given = buffer.declared_strides
            found = self.views[buffer] = Buffer(
                buffer.name,
                (self.grid.count, *buffer.shape),
                buffer.dtype,
                LOCAL,
                strides=None
                if per == prod(_numbers(buffer)) and given is None
                else (per, *buffer.strides),
                data=self.arrays[buffer.data],
                elem_offset=buffer.elem_offset,
                span=buffer.span,
            )
        return found


class _PerThread(Mutator):
    """Statements of one region in terms of the storage of all threads, with names of their own."""

    def __init__(self, storage: _Storage, thread: Expr, bound: set[Var]) -> None:
        self.storage = storage
        self.thread = thread
        self.bound = bound  # here, so usable without a look at the array
        self.fresh: dict[Var, Var] = {}

    def mutate_Bind(self, node: Bind) -> Stmt:
        value = self.mutate(node.value)
        if node.var in self.bound or node.var not in self.storage.cheap:
            return node if value is node.value else replace(node, value=value)
        name = self.fresh[node.var] = Var(node.var.name, node.var.dtype)
        return replace(node, var=name, value=value)

    def mutate_Var(self, node: Var) -> Expr:
        if node in self.fresh:
            return self.fresh[node]
        if node in self.storage.saved and node not in self.bound:
            return element(self.storage.saved[node], self.thread)
        return node

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        made = self.mutate_children(node)
        if not isinstance(made, BufferLoad) or node.buffer.data not in self.storage.arrays:
            return made
        buffer = self.storage.view(node.buffer)
        return replace(made, buffer=buffer, indices=(self.thread, *made.indices))

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        made = self.mutate_children(node)
        if node.buffer.data not in self.storage.arrays:
            return made
        buffer = self.storage.view(node.buffer)
        return replace(made, buffer=buffer, indices=(self.thread, *made.indices))

    def mutate_For(self, node: For) -> Stmt:
        made = self.mutate_children(node)
        combined: Any = annotation(node.annotations, REDUCTION, ())
        if not any(buffer.data in self.storage.arrays for _, buffer in combined):
            return made
        rest = tuple((k, v) for k, v in node.annotations if k != REDUCTION)
        return replace(made, kind=LoopKind.SERIAL, annotations=rest)  # no longer a scalar


def _at(grid: ThreadGrid, body: Stmt, indices: tuple[Expr, ...]) -> Stmt:
    """`body` for the thread at `indices`."""
    return substitute(body, dict(zip(grid.vars, indices)))


def _is_cheap(value: Expr) -> bool:
    """Whether `value` is the same whenever it is computed again, and cheap to compute."""
    if has_side_effect(value):
        return False
    for node in walk(value):
        if isinstance(node, BufferLoad) and not _is_place(value, node):
            return False
        if isinstance(node, Call) and node.op not in ("address_of", "access_ptr", "reinterpret"):
            return False
    return True


def _is_place(value: Expr, load: BufferLoad) -> bool:
    """Whether `load` stands for an address inside `value`."""
    return any(
        isinstance(n, Call) and n.op in ("address_of", "access_ptr") and n.args[0] is load
        for n in walk(value)
    )


def _numbers(buffer: Buffer) -> list[int]:
    numbers = [const_value(e) for e in buffer.shape]
    assert all(n is not None for n in numbers), "private storage has constant extents"
    return [int(n) for n in numbers if n is not None]
