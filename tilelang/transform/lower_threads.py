"""Tile form to what one thread of a GPU's block does.

In: tile form with the layouts of `infer_fragments`. Out: thread form: a fragment buffer is the
array of one thread's elements, a nest is a loop over its steps, an operation is the instructions it
chose. Every access of a nest to global memory that cannot be shown to be in range has its
predicate. Barriers and the places of shared buffers come later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tilelang.errors import Note
from tilelang.ir import annotation as keys
from tilelang.ir.buffer import FRAGMENT, LOCAL, SHARED_DYN, Buffer
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    Var,
    as_expr,
    cast,
    ceildiv,
    const_value,
    equal,
    logical_not,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.ops import Effect, effect_of, is_pure
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Attr,
    Bind,
    BufferStore,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
    annotation,
    seq,
)
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import substitute, used_vars, walk
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout, unflatten
from tilelang.tileop.context import BlockThreads
from tilelang.tileop.cuda.mma_forms import architecture
from tilelang.tileop.loops import in_range
from tilelang.transform.context import PassContext
from tilelang.transform.fragment_names import fragment_names, viewed
from tilelang.transform.infer_fragments import block_threads
from tilelang.transform.matrix_copies import MatrixCopy, matrix_copy
from tilelang.transform.nest_notes import Way, layout_notes, nest_note, run_time_note
from tilelang.transform.nests import Access, Nest, Partition, RegisterTable, partition_of
from tilelang.transform.thread_accesses import NestState, ThreadAccesses, row_major
from tilelang.transform.thread_exit import returns, with_rest_in_branches
from tilelang.transform.thread_regions import DivergenceError
from tilelang.transform.thread_subset import only, threads_where
from tilelang.transform.varying import Varying, find_varying, uses_threads

if TYPE_CHECKING:
    from tilelang.transform.thread_subset import Mask

_UNROLL_LIMIT = 64  # iterations of a user's loop that is unrolled because it indexes registers
_STEPS_AT_ONCE = 16  # steps of a nest without registers that are unrolled together
_FIRST_WITH_COPIES = 80  # compute capability
_WITHOUT_MEANING = (keys.L2_HIT_RATIO, keys.WS_SCHEDULE, keys.WS_ID, keys.SWIZZLE)


def lower_threads(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Replace tile operations and nests by what one thread does.

    Needs: tile form, after `infer_fragments`. Leaves: thread form.

        for i, j in Parallel(64, 64): C_shared[i, j] = C_local[i, j]        (128 threads)
    --> for s in unroll(16): for v in vectorized(2):
            C_shared[rows(tx, s), columns(tx, s) + v] = C_local[s * 2 + v]
    """
    return _LowerThreads(ctx).mutate(func)


class _LowerThreads(ThreadAccesses):
    def __init__(self, ctx: PassContext) -> None:
        super().__init__(ctx)
        self.block: Launch | None = None
        self.running: Mask | None = None  # threads that come here, by number; `None`: all
        self.branch: If | None = None  # what keeps the others away
        self.is_known = True  # whether `running` says who they are
        self.varying = Varying()
        self.values: dict[Var, Expr] = {}  # of integer names
        self.outer: dict[Var, tuple[int, int]] = {}
        self.reducer_buffers: set[Buffer] = set()

    # -- launches, attributes, allocations ---------------------------------------------------------

    def mutate_Launch(self, node: Launch) -> Launch:
        self._note_launch(node)
        self.running, self.branch, self.is_known = None, None, True
        self.has_thread_code = uses_threads(node)
        self.block = node
        self.varying = find_varying(node.body, node.thread_vars)
        node = replace(node, body=with_rest_in_branches(node.body, self.varying))
        physical = self._physical(node.body)
        if self.pass_context.explains:
            self.pass_context.notes.extend(layout_notes(node.body, self.launch))
        with self._with(threads=block_threads(node), **physical), self.facts.scope():
            for var, extent in zip(node.grid_vars, node.grid_extents):
                self.facts.add_range(var, as_expr(0), extent)
            for var, extent in zip(node.thread_vars, node.thread_extents):
                self.facts.add_range(var, as_expr(0), extent)
            return self.mutate_children(node)

    def mutate_Attr(self, node: Attr) -> Any:
        if node.key in _WITHOUT_MEANING:
            return self.mutate(node.body)
        return super().mutate_Attr(node)

    def _physical(self, body: Stmt) -> dict[str, Any]:
        """The context's fields for the layouts that the allocations in `body` name."""
        fragments: dict[Buffer, Fragment] = {}
        layouts: dict[Buffer, Layout] = {}
        registers: dict[Buffer, Buffer] = {}
        for node in walk(body):
            if not isinstance(node, Allocate):
                continue
            layout = annotation(node.annotations, keys.LAYOUT)
            if not isinstance(layout, Layout):
                continue
            buffer = node.buffer
            if not isinstance(layout, Fragment):
                layouts[buffer] = layout
                continue
            fragments[buffer] = layout
            count = int(layout.offsets.max()) + 1
            registers[buffer] = Buffer(buffer.name, (count,), buffer.dtype, LOCAL, span=buffer.span)
            if any(key == keys.REDUCER for key, _ in node.annotations):
                self.reducer_buffers.add(buffer)
        for view, owner in fragment_names(body, tuple(registers)).items():
            fragments[view] = viewed(fragments[owner], owner, view)
            same = registers[owner]
            registers[view] = Buffer(
                view.name, same.shape, view.dtype, LOCAL, data=same.data, span=view.span
            )
        return {"fragments": fragments, "layouts": layouts, "registers": registers}

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        registers = self.context.registers.get(node.buffer)
        return node if registers is None else Allocate(registers, span=node.span)

    # -- scalars and conditions --------------------------------------------------------------------

    def mutate_Bind(self, node: Bind) -> Stmt:
        if node.var.dtype.is_int and is_pure(node.value):
            self.values[node.var] = substitute(node.value, self.values)
        *before, last = _statements(super().mutate_Bind(node))
        assert isinstance(last, Bind), "what is hoisted goes in front"
        value = self.mutate(last.value)
        made = last if value is last.value else replace(last, value=value)
        if self._is_once(value):
            return seq([*before, *self._shared_result(made)])
        return seq([*before, made])

    def _is_once(self, value: Expr) -> bool:
        """Whether one thread computes `value` for all: memory changes by it once per block."""
        if self.nest is not None or self.has_thread_code:
            return False
        return any(isinstance(n, Call) and effect_of(n.op) is Effect.WRITE for n in walk(value))

    def _shared_result(self, node: Bind) -> list[Stmt]:
        """One thread evaluates the value, all take it from shared memory."""
        place = Buffer(f"{node.var.name}_shared", (1,), node.var.dtype, SHARED_DYN, span=node.span)
        at = (as_expr(0),)
        store = BufferStore(place, node.value, at, span=node.span)
        return [
            Allocate(place, span=node.span),
            If(equal(self.threads.index, 0), store, span=node.span),
            replace(node, value=BufferLoad(place, at)),
        ]

    def mutate_If(self, node: If) -> Any:
        branches = self._by_threads(node)
        made = super().mutate_If(node) if branches is None else branches
        if not isinstance(made, Stmt):
            return made
        *before, last = _statements(made)
        if not isinstance(last, If):
            return made
        condition = self.mutate(last.condition)
        if self._is_once(condition):
            var = Var("condition", condition.dtype)
            before += self._shared_result(Bind(var, condition, span=node.span))
            condition = var
        if condition is last.condition and not before:
            return made
        return seq([*before, replace(last, condition=condition)])

    def _by_threads(self, node: If) -> If | None:
        """Branches that some of the threads run: nests in them are spread over these alone."""
        if self.nest is not None or self.block is None or not self.varying(node.condition):
            return None
        condition = substitute(node.condition, self.values)
        then_body = self._branch(node, condition, node.then_body) or Seq(())
        else_body = self._branch(node, logical_not(condition), node.else_body)
        if returns(node):  # what is left of the block, work further out does not know
            self.branch, self.is_known = node, False
        return replace(node, then_body=then_body, else_body=else_body)

    def _branch(self, node: If, condition: Expr, body: Stmt | None) -> Stmt | None:
        """`body`, which the threads run for which `condition` holds."""
        if body is None:
            return None
        assert self.block is not None, "a branch of thread code stands in a launch"
        before = self.running, self.branch, self.is_known
        chosen = threads_where(condition, self.block)
        if chosen is None:
            self.branch, self.is_known = node, False
        elif not chosen.all():
            self.running = chosen if self.running is None else chosen & self.running
            self.branch = node
        with self.facts.scope():
            self.facts.add_condition(condition, holds=True)
            made = self.mutate(body)
        self.running, self.branch, self.is_known = before
        return made

    def _expect_leaving(self, loop: For | While) -> None:
        """In a loop that some threads leave, no later iteration knows who is there."""
        leaving = (n for n in walk(loop.body) if isinstance(n, If) and returns(n))
        some = next((n for n in leaving if self.varying(n.condition)), None)
        if some is not None:
            self.branch, self.is_known = some, False

    def _threads_of(self, nest: Nest) -> BlockThreads:
        """Who shares the iterations of `nest`; elements of fragments belong to all of the block."""
        if not self.is_known:
            raise self._diverges(nest.node, "which they are is known only at run time")
        if self.running is None or nest.fragments or not self.running.any():
            return self.threads
        found = only(self.threads, self.running)
        if found is None:
            raise self._diverges(nest.node, "they are not neighbours")
        return found

    def _diverges(self, work: Stmt, why: str) -> DivergenceError:
        assert self.branch is not None, "some threads stay away"
        condition = self.branch.condition
        notes = [Note(self.branch.span, f"`{condition}` differs between threads")]
        return DivergenceError(
            f"only some threads run this work of the block, and {why}",
            work.span,
            notes=notes if self.branch.span else [],
            hint="move it out of the condition, or give it to threads in a row: `if tx < 64:`",
        )

    def mutate_While(self, node: While) -> Stmt:
        self._expect_leaving(node)
        made = super().mutate_While(node)
        if not isinstance(made, While):
            return made
        condition = self.mutate(made.condition)
        return made if condition is made.condition else replace(made, condition=condition)

    def mutate_Assert(self, node: Assert) -> Stmt:
        *before, last = _statements(super().mutate_Assert(node))
        assert isinstance(last, Assert), "what is hoisted goes in front"
        condition = self.mutate(last.condition)
        made = last if condition is last.condition else replace(last, condition=condition)
        return seq([*before, made])

    # -- operations --------------------------------------------------------------------------------

    def mutate_TileOp(self, node: TileOp) -> Stmt:
        if not self.is_known or (self.running is not None and self.running.any()):
            raise self._diverges(node, f"`{node.op}` needs all threads")
        with self._with(scratch=[]):
            made = super().mutate_TileOp(node)
            scratch = [Allocate(b, span=node.span) for b in self.context.scratch]
        return seq([*scratch, _without_collective(made)]) if scratch else _without_collective(made)

    # -- loops -------------------------------------------------------------------------------------

    def mutate_For(self, node: For) -> Any:
        if node.kind is LoopKind.PARALLEL:
            if self.nest is None:
                return self._lower_parallel(node)
            node = replace(node, kind=LoopKind.SERIAL, annotations=())  # of one iteration around
        self._expect_leaving(node)
        start, extent = const_value(node.start), const_value(node.extent)
        is_constant = isinstance(start, int) and isinstance(extent, int) and extent > 0
        if is_constant:
            self.outer[node.var] = (start, extent)  # type: ignore[assignment]
        made = super().mutate_For(node)
        self.outer.pop(node.var, None)
        if not isinstance(made, For):
            return made
        bounds = {"start": self.mutate(made.start), "extent": self.mutate(made.extent)}
        if any(bounds[name] is not getattr(made, name) for name in bounds):
            made = replace(made, **bounds)
        if annotation(made.annotations, keys.REDUCTION) is not None:
            made = replace(made, kind=LoopKind.SERIAL, annotations=())
        if is_constant and made.kind is LoopKind.SERIAL and self._indexes_registers(made):
            return replace(made, kind=LoopKind.UNROLLED)
        return made

    def _indexes_registers(self, loop: For) -> bool:
        """Whether register arrays would be indexed by the loop's variable."""
        extent = const_value(loop.extent)
        if not isinstance(extent, int) or extent > _UNROLL_LIMIT:
            return False
        arrays = set(self.context.registers.values())
        for node in walk(loop.body):
            if not isinstance(node, (BufferLoad, BufferStore)) or node.buffer not in arrays:
                continue
            if any(v is loop.var for i in node.indices for v in used_vars(i)):
                return True
        return False

    def _lower_parallel(self, node: For) -> Stmt:
        nest = Nest(node)
        with self._with(threads=self._threads_of(nest)):
            return self._lower_nest(nest)

    def _lower_nest(self, nest: Nest) -> Stmt:
        if nest.extents is None:
            return self._spread_evenly(nest)
        if 0 in nest.extents:
            return Seq(())
        partition = partition_of(nest, self.context.fragments, self.threads.count)
        if self.running is not None and nest.fragments:
            self._require_holders(nest, partition)
        state = NestState(nest)
        with self.facts.scope():
            for loop in nest.loops:
                self.facts.add_range(loop.var, loop.start, loop.extent)
            vector = self._vector_width(nest, partition)
            matrix = self._as_matrix_copy(nest, partition)
            if isinstance(matrix, MatrixCopy):
                made = matrix.lower(self.context)
            else:
                made = self._steps(state, partition, vector)
            if self.pass_context.explains:
                no_copy = self._why_not_async(nest, vector)
                has_async = architecture(self.context) >= _FIRST_WITH_COPIES
                way = Way(self.launch, vector, no_copy, state.is_guarded, has_async, matrix)
                note = nest_note(nest, partition, way, self.context.layouts)
                self.pass_context.notes.append(note)
        return in_range(made)

    def _require_holders(self, nest: Nest, partition: Partition) -> None:
        """No thread that stays away may hold what the nest works on."""
        assert self.running is not None, "there are such threads"
        if self.running.any() and partition.holding.is_held[~self.running].any():
            names = ", ".join(f"`{b.name}`" for b in nest.fragments)
            raise self._diverges(nest.node, f"others hold elements of {names}")

    def _as_matrix_copy(self, nest: Nest, partition: Partition) -> MatrixCopy | str | None:
        """As `matrix_copy`, which needs whole warps."""
        if self.running is not None or self.has_thread_code:
            return None
        return matrix_copy(nest, partition, self.context)

    def _steps(self, state: NestState, partition: Partition, vector: int) -> Stmt:
        """The loop over steps, and inside it the one over lanes."""
        nest, span = state.nest, state.nest.node.span
        kind = nest.loops[0].var.dtype
        step, lane, zero = Var("s", kind), Var("v", kind), cast(as_expr(0), kind)
        thread = cast(self.threads.index, kind)
        count = partition.holding.registers // vector
        at = step if count > 1 else zero
        inside = lane if vector > 1 else zero
        values = partition.values(vector, thread, at, inside)
        state.first = partition.first(vector, thread, at, inside)
        state.lane_zero = partition.values(vector, thread, at, zero)
        for access, table in self._register_tables(partition):
            place = access.indices if table is None else None
            state.registers[id(access.node)] = (
                row_major(access.buffer, place)
                if place is not None
                else table.expr(vector, at, inside)  # type: ignore[union-attr]
            )
        whole = self._as_async_copy(state, vector, state.lane_zero)
        if whole is not None:
            body, lanes = whole, 1
        else:
            body, lanes = self._body(state, values), vector
        condition = partition.condition(vector, thread, at, zero)
        if lanes > 1:
            body = For(lane, zero, cast(as_expr(lanes), kind), LoopKind.VECTORIZED, body, span=span)
        if condition is not None:
            body = If(condition, body, span=span)
        if count == 1:
            return body
        is_partial = not nest.fragments and count > _STEPS_AT_ONCE
        notes = ((keys.UNROLL_FACTOR, _STEPS_AT_ONCE),) if is_partial else ()
        extent = cast(as_expr(count), kind)
        return For(step, zero, extent, LoopKind.UNROLLED, body, notes, span=span)

    def _body(self, state: NestState, values: Mapping[Var, Expr]) -> Stmt:
        before, self.nest = self.nest, state
        made: Stmt = self.mutate(state.nest.body) or Seq(())
        self.nest = before
        return substitute(made, values)

    def _register_tables(self, partition: Partition) -> list[tuple[Access, RegisterTable | None]]:
        """Registers of the accesses to fragments; `None`: a reducer, indexed as it is written."""
        inner = {n.var: n for n in walk(partition.nest.body) if isinstance(n, For)}
        ranges = dict(self.outer)
        for var, loop in inner.items():
            start, extent = const_value(loop.start), const_value(loop.extent)
            if isinstance(start, int) and isinstance(extent, int) and extent > 0:
                ranges[var] = (start, extent)
        found: list[tuple[Access, RegisterTable | None]] = []
        for access in partition.nest.accesses:
            if access.buffer.scope() != FRAGMENT:
                continue
            if access.buffer in self.reducer_buffers:
                found.append((access, None))
                continue
            table = partition.register(access, self.context.fragments[access.buffer], ranges)
            assert isinstance(table, RegisterTable), f"{access.buffer.name}: {table}"
            found.append((access, table))
        return found

    def _spread_evenly(self, nest: Nest) -> Stmt:
        """Iterations dealt out one by one, for extents known only at run time."""
        if self.pass_context.explains:
            self.pass_context.notes.append(run_time_note(nest, self.launch))
        span = nest.node.span
        total: Expr = as_expr(1)
        for loop in nest.loops:
            total = total * loop.extent
        step = Var("s", total.dtype)
        number = Var("number", total.dtype)
        thread = cast(self.threads.index, total.dtype)
        extents = [loop.extent for loop in nest.loops]
        with self.facts.scope():
            for loop in nest.loops:
                self.facts.add_range(loop.var, loop.start, loop.extent)
            before, self.nest = self.nest, NestState(nest)
            for access in nest.accesses:
                if access.buffer.scope() == FRAGMENT:
                    self.nest.registers[id(access.node)] = row_major(access.buffer, access.indices)
            body: Stmt = self.mutate(nest.body) or Seq(())
            self.nest = before
        indices = unflatten(number, extents)  # type: ignore[arg-type]
        binds = [
            Bind(loop.var, cast(loop.start + i, loop.var.dtype), span=span)
            for loop, i in zip(nest.loops, indices)
        ]
        inner = seq([Bind(number, step * self.threads.count + thread), *binds, body])
        reach = step * self.threads.count + thread < total
        zero = cast(as_expr(0), total.dtype)
        steps = cast(ceildiv(total, self.threads.count), total.dtype)
        loop = For(step, zero, steps, LoopKind.SERIAL, If(reach, inner, span=span), (), span=span)
        return in_range(loop)


def _statements(stmt: Stmt) -> tuple[Stmt, ...]:
    return stmt.stmts if isinstance(stmt, Seq) and stmt.stmts else (stmt,)


def _without_collective(stmt: Stmt) -> Stmt:
    while isinstance(stmt, Attr) and stmt.key == keys.COLLECTIVE:
        stmt = stmt.body
    return stmt
