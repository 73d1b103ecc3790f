"""Where a nest would need two layouts of one buffer: the buffer goes through shared memory.

In: the body of one launch and the fragments of its buffers, from `infer_fragments`. Out: the body
with the exchanges, and a note of each; what an exchange reads has a value. The shared layout of the
exchange buffers is chosen after it (`shared_layouts`), their place in memory much later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from tilelang.errors import LayoutError
from tilelang.ir.buffer import FRAGMENT, SHARED_DYN, Buffer
from tilelang.ir.expr import Var, const_value, constant
from tilelang.ir.stmt import Allocate, For, LoopKind, Stmt, seq
from tilelang.ir.visitor import Mutator, substitute, walk
from tilelang.layout.fragment import Fragment
from tilelang.transform.expand_tile_ops import copy_nest, fill_nest
from tilelang.transform.fragment_solver import Solver, bytes_of
from tilelang.transform.nests import Nest, Ranges, partition_of
from tilelang.transform.notes import ExchangeNote


def insert_exchanges(
    body: Stmt, layouts: Mapping[Buffer, Fragment], solver: Solver, launch: int
) -> tuple[Stmt, list[ExchangeNote]]:
    """`body`, where every nest can run with these layouts, and what was exchanged.

    Args:
        layouts: of every fragment, as `solver` found them.
        launch: number of the launch in its function, for the notes.

    for i, j in Parallel: c[i, j] = d[i, j], where no thread holds both
    --> d_exchange = d (a nest);  for i, j in Parallel: c[i, j] = d_exchange[i, j]
    """
    exchange = _Exchange(layouts, solver, launch)
    body = exchange.mutate(body)
    if exchange.read_whole:
        body = _Filled({solver.views.get(b, b) for b in exchange.read_whole}).mutate(body)
    return body, exchange.notes


class _Exchange(Mutator):
    """Nests whose fragments do not meet in their threads get some of them through shared memory."""

    def __init__(self, layouts: Mapping[Buffer, Fragment], solver: Solver, launch: int) -> None:
        self.layouts, self.threads = layouts, solver.threads
        self.reducers, self.freed = solver.reducers, solver.freed
        self.launch, self.notes = launch, list[ExchangeNote]()
        self.outer: dict[Var, tuple[int, int]] = {}
        self.read_whole: set[Buffer] = set()

    def mutate_For(self, node: For) -> Any:
        if node.kind is LoopKind.PARALLEL:
            return self._nest(Nest(node))
        self.outer.update(_constant_ranges([node]))
        made = self.mutate_children(node)
        self.outer.pop(node.var, None)
        return made

    def _nest(self, nest: Nest) -> Stmt:
        if nest.extents is None or not nest.fragments:
            return nest.node
        inner = (n for n in walk(nest.body) if isinstance(n, For))
        ranges = {**self.outer, **_constant_ranges(inner)}
        strangers = strangers_of(nest, self.layouts, self.threads, ranges)
        strangers = {b: why for b, why in strangers.items() if b not in self.reducers}
        if not strangers:
            return nest.node
        before: list[Stmt] = []
        after: list[Stmt] = []
        passed: dict[Buffer, Buffer] = {}
        for buffer in strangers:
            name = f"{buffer.name}_exchange"
            made = passed[buffer] = Buffer(name, buffer.shape, buffer.dtype, SHARED_DYN)
            before.append(Allocate(made, span=nest.node.span))
            accesses = [a for a in nest.accesses if a.buffer is buffer]
            stored = [a for a in accesses if a.is_store]
            is_read = len(stored) < len(accesses) or not any(nest.covers(a) for a in stored)
            own = (self.freed[b] for b in nest.fragments if b in self.freed)
            reason = ", ".join((strangers[buffer], *own))
            self._note(nest, made, buffer, reason, 2 * is_read + 2 * bool(stored))
            if is_read:
                self.read_whole.add(buffer)
                before.append(copy_nest(buffer, made, nest.node))
            if stored:
                after.append(copy_nest(made, buffer, nest.node))
        return seq([*before, substitute(nest.node, buffers=passed), *after])

    def _note(self, nest: Nest, made: Buffer, of: Buffer, reason: str, moves: int) -> None:
        spans = (nest.node.span, of.span)
        note = ExchangeNote(self.launch, *spans, of.name, reason, bytes_of(made), moves)
        self.notes.append(note)


def _constant_ranges(loops: Iterable[For]) -> dict[Var, tuple[int, int]]:
    """Start and extent of the loops where both are known and there is an iteration."""
    found: dict[Var, tuple[int, int]] = {}
    for loop in loops:
        start, extent = const_value(loop.start), const_value(loop.extent)
        if isinstance(start, int) and isinstance(extent, int) and extent > 0:
            found[loop.var] = (start, extent)
    return found


def strangers_of(
    nest: Nest, layouts: Mapping[Buffer, Fragment], threads: int, ranges: Ranges
) -> dict[Buffer, str]:
    """Fragments whose elements the running threads do not hold, each with the reason."""
    partition = partition_of(nest, layouts, threads)
    step, lane = Var("s"), Var("l")
    found: dict[Buffer, str] = {}
    for access in nest.accesses:
        buffer = access.buffer
        if buffer.scope() != FRAGMENT or buffer in found:
            continue
        table = partition.register(access, layouts[buffer], ranges)
        if isinstance(table, str):
            found[buffer] = table
            continue
        try:
            table.expr(1, step, lane)
        except LayoutError as error:
            found[buffer] = str(error)
    return found


class _Filled(Mutator):
    """Gives fragments a value where they begin.

    An exchange reads all elements, also those that nothing wrote. What the program writes first
    makes the value dead, and the device compiler drops it.
    """

    def __init__(self, buffers: Set[Buffer]) -> None:
        self.buffers = buffers

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        buffer = node.buffer
        if buffer not in self.buffers:
            return node
        return seq([node, fill_nest(buffer, constant(0, buffer.dtype), node)])
