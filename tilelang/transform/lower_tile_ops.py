"""The pass from tile operations to what one thread does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from tilelang.errors import Span
from tilelang.ir import annotation as keys
from tilelang.ir.annotation import REDUCER, SAFE_VALUE
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Call,
    Expr,
    Range,
    StringImm,
    Var,
    as_expr,
    cast,
    const_value,
    logical_not,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.reduction import combine_any
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Attr,
    Bind,
    Break,
    BufferStore,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
    seq,
)
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.ir.visitor import Mutator, used_vars, walk
from tilelang.tileop.context import LowerContext
from tilelang.tileop.registry import operator_for
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.facts import Facts
from tilelang.transform.notes import InstructionNote, LaunchNote
from tilelang.transform.parallel_loops import collect_nest, innermost_choice, why_not_vectorised
from tilelang.transform.quantifiers import hoist_quantifiers
from tilelang.transform.varying import is_private, uses_threads

# Attributes that say nothing to a CPU, where results never depend on them.
_WITHOUT_MEANING = {
    "c": (
        keys.SWIZZLE,
        keys.LAYOUTS,
        keys.L2_HIT_RATIO,
        keys.MIN_BLOCKS_PER_SM,
        keys.REGISTER_HINT,
        keys.WS_SCHEDULE,
        keys.WS_ID,
    )
}


def lower_tile_ops(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Replace tile operations and tile loops by loops, stores and calls.

    Needs: tile form, after `infer_layouts`. Leaves: thread form without layouts; accesses that an
    operation has clipped itself stand under `Attr(IN_RANGE)`.

        copy(A[by * 64, 0], A_shared); for i, j in Parallel(64, 32): A_shared[i, j] = ...
    --> for i: for j (vectorised): A_shared[i, j] = A[...];  for i: for j (vectorised): ...
    """
    return TileLowering(ctx).mutate(func)


class TileLowering(Mutator):
    """Walks down with the facts that hold at each place."""

    def __init__(self, ctx: PassContext) -> None:
        self.facts = Facts()
        self.dropped = _WITHOUT_MEANING.get(ctx.target.kind, ())
        self.thread_vars: set[Var] = set()  # thread indices, and names computed from them
        self.has_thread_code = False  # the launch has statements that depend on the thread
        self.context = LowerContext(
            ctx.target,
            self.facts,
            sanitize=ctx.sanitize,
            explains=ctx.explains,
            disables_wgmma=bool(ctx.option(PassConfigKey.TL_DISABLE_WGMMA)),
        )
        self.pass_context = ctx
        self.launch = -1  # number of the launch around
        self.reducers: list[Buffer] = []

    @contextmanager
    def _with(self, **changes: Any) -> Iterator[None]:
        """Fields of the context changed for a while."""
        before = {name: getattr(self.context, name) for name in changes}
        for name, value in changes.items():
            setattr(self.context, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self.context, name, value)

    # -- what holds where ------------------------------------------------------------------------

    def mutate_Launch(self, node: Launch) -> Launch:
        self._note_launch(node)
        self.thread_vars |= set(node.thread_vars)
        self.has_thread_code = uses_threads(node)
        with self.facts.scope():
            for var, extent in zip(node.grid_vars, node.grid_extents):
                self.facts.add_range(var, as_expr(0), extent)
            for var, extent in zip(node.thread_vars, node.thread_extents):
                self.facts.add_range(var, as_expr(0), extent)
            return self.mutate_children(node)

    def _note_launch(self, node: Launch) -> None:
        self.launch += 1
        if self.pass_context.explains:
            numbers = [const_value(e) for e in node.thread_extents]
            threads = prod(int(n) for n in numbers if n is not None)
            grid = tuple(str(e) for e in node.grid_extents)
            count = None if None in numbers else threads
            self.pass_context.notes.append(LaunchNote(self.launch, node.span, grid, count))

    def mutate_Seq(self, node: Seq) -> Any:
        with self.facts.scope():  # bindings hold to the end of their sequence
            return self.mutate_children(node)

    def mutate_Bind(self, node: Bind) -> Stmt:
        if any(v in self.thread_vars for v in used_vars(node.value)):
            self.thread_vars.add(node.var)
        before, value = hoist_quantifiers(node.value)
        self.facts.add_value(node.var, value)
        return seq([*before, node if value is node.value else replace(node, value=value)])

    def mutate_For(self, node: For) -> Any:
        if node.kind is LoopKind.PARALLEL:
            return self._lower_parallel(node)
        before, extent = hoist_quantifiers(node.extent)
        if before:
            return seq([*before, self.mutate_For(replace(node, extent=extent))])
        with self.facts.scope():
            self.facts.add_range(node.var, node.start, node.extent)
            body = self.mutate(node.body)
        kind, notes = node.kind, node.annotations
        if kind is LoopKind.PIPELINED:
            kind, notes = LoopKind.SERIAL, ()
        body = Seq(()) if body is None else body
        if body is node.body and kind is node.kind:
            return node
        return replace(node, kind=kind, body=body, annotations=notes)

    def mutate_If(self, node: If) -> Any:
        before, condition = hoist_quantifiers(node.condition)
        with self.facts.scope():
            self.facts.add_condition(condition, holds=True)
            then_body = self.mutate(node.then_body)
        else_body = node.else_body
        if else_body is not None:
            with self.facts.scope():
                self.facts.add_condition(condition, holds=False)
                else_body = self.mutate(else_body)
        made = replace(
            node, condition=condition, then_body=then_body or Seq(()), else_body=else_body
        )
        same = (made.condition, made.then_body, made.else_body)
        if all(a is b for a, b in zip(same, (node.condition, node.then_body, node.else_body))):
            return node
        return seq([*before, made])

    def mutate_While(self, node: While) -> Stmt:
        before, condition = hoist_quantifiers(node.condition)
        with self.facts.scope():
            body: Stmt = self.mutate(node.body) or Seq(())
        if not before:
            return node if body is node.body else replace(node, body=body)
        leave = If(logical_not(condition), Break(span=node.span), span=node.span)
        return While(as_expr(True), seq([*before, leave, body]), span=node.span)

    def mutate_Assert(self, node: Assert) -> Stmt:
        before, condition = hoist_quantifiers(node.condition)
        return seq([*before, replace(node, condition=condition)]) if before else node

    # -- attributes and allocations --------------------------------------------------------------

    def mutate_Attr(self, node: Attr) -> Any:
        if node.key == SAFE_VALUE:
            values = {**self.context.safe_values, **dict(node.value)}  # type: ignore[call-overload]
            with self._with(safe_values=values):
                return self.mutate_children(node)
        if node.key == keys.LAYOUTS and node.key in self.dropped:
            with self._with(**self._forms_of(node.value)):
                return self.mutate(node.body)
        return self.mutate(node.body) if node.key in self.dropped else self.mutate_children(node)

    def _forms_of(self, layouts: Any) -> dict[str, Any]:
        """The context's fields with the forms of `layouts` that are not plain index maps."""
        forms, physical = dict(self.context.forms), dict(self.context.physical)
        for buffer, form in layouts:
            count = getattr(form, "num_elements", None)
            if count is None:
                continue  # a user's layout: where elements lie in memory changes no result here
            kind, name = form.form.element, f"{buffer.name}_panels"
            forms[buffer] = form
            physical[buffer] = Buffer(name, (count,), kind, buffer.scope(), span=buffer.span)
        return {"forms": forms, "physical": physical}

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        if any(key == REDUCER for key, _ in node.annotations):
            self.reducers.append(node.buffer)
        physical = self.context.physical.get(node.buffer)
        return node if physical is None else replace(node, buffer=physical)

    # -- operations ------------------------------------------------------------------------------

    def mutate_TileOp(self, node: TileOp) -> Stmt:
        with self.facts.scope():
            before, node = self._evaluated_first(node)
            known = len(self.context.decisions)
            lowered = seq([*before, operator_for(node).lower(self.context)])
            self._note_decisions(known)
        if self.has_thread_code:
            lowered = Attr(keys.COLLECTIVE, True, lowered)
        return located(lowered, node.span)

    def _note_decisions(self, known: int) -> None:
        if not self.pass_context.explains:
            return
        for made in self.context.decisions[known:]:
            what = (made.node.span, made.node.op, made.chosen, made.rejected, made.details)
            self.pass_context.notes.append(InstructionNote(self.launch, *what))

    def _evaluated_first(self, node: TileOp) -> tuple[list[Stmt], TileOp]:
        """Names for what the user's scalar arguments load, and the operation that uses them.

        The operation clips its own accesses, but knows nothing of the user's: outside
        `Attr(IN_RANGE)` they get their guards. They are evaluated before it writes anything.
        """
        before: list[Stmt] = []

        def named(name: str, value: Expr) -> Expr:
            stmts, value = hoist_quantifiers(value)
            before.extend(stmts)
            if not any(isinstance(n, BufferLoad) for n in walk(value)):
                return value
            var = Var(name, value.dtype)
            before.append(Bind(var, value))
            self.facts.add_value(var, value)
            return var

        def bounds(name: str, r: Range) -> Range:
            return Range(named(f"{name}_start", r.start), named(f"{name}_extent", r.extent))

        def operand(o: TileOperand) -> TileOperand:
            ranges = tuple(bounds(o.region.buffer.name, r) for r in o.region.ranges)
            return replace(o, region=BufferRegion(o.region.buffer, ranges))

        loads = [n for n in walk(node) if isinstance(n, (Call, BufferLoad))]
        if not loads:
            return before, node
        operands = tuple(operand(o) for o in node.operands)
        values = tuple((name, named(name, value)) for name, value in node.values)
        return before, replace(node, operands=operands, values=values)

    def _lower_parallel(self, node: For) -> Stmt:
        loops, body = collect_nest(node)
        chosen = innermost_choice([loop.var for loop in loops], body)
        reason = why_not_vectorised(loops[chosen].var, body, self.reducers)
        if self.pass_context.explains:
            var = loops[chosen].var.name
            how = (f"a loop over `{var}`", (("vectors", reason),)) if reason else (
                f"vectors along `{var}`", ())  # fmt: skip
            self.pass_context.notes.append(
                InstructionNote(self.launch, node.span, "parallel", *how)
            )
        with self.facts.scope():
            for loop in loops:
                self.facts.add_range(loop.var, loop.start, loop.extent)
            made: Stmt = self.mutate(body) or Seq(())
        order = [loop for loop in loops if loop is not loops[chosen]]
        innermost = LoopKind.SERIAL if reason else LoopKind.VECTORIZED
        if self.has_thread_code and self._depends_on_thread(body):
            made = Attr(keys.ITERATION, _iteration(loops), made, span=node.span)
        for loop, kind in [
            (loops[chosen], innermost),
            *((p, LoopKind.SERIAL) for p in order[::-1]),
        ]:
            made = replace(loop, kind=kind, body=made, annotations=())
        if not self.has_thread_code:
            return made
        return Attr(keys.COLLECTIVE, True, made, span=node.span)

    def _depends_on_thread(self, body: Stmt) -> bool:
        """Whether it may matter which thread runs an iteration with this body."""
        inside = {n.buffer.data for n in walk(body) if isinstance(n, Allocate)}
        for node in walk(body):
            if isinstance(node, Var) and node in self.thread_vars:
                return True
            if isinstance(node, Call) and node.op.startswith("rng_"):
                return True
            buffer = getattr(node, "buffer", None)
            if isinstance(buffer, Buffer) and is_private(buffer) and buffer.data not in inside:
                return True
        return False

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        before, value = hoist_quantifiers(node.value)
        return node if value is node.value else seq([*before, replace(node, value=value)])

    def mutate_Evaluate(self, node: Evaluate) -> Stmt:
        call = node.value
        if isinstance(call, Call) and call.op == "reducer_update":
            return self._update_reducer(call, node.span)
        before, value = hoist_quantifiers(call)
        return node if value is call else seq([*before, replace(node, value=value)])

    def _update_reducer(self, call: Call, span: Span | None) -> Stmt:
        target, value, operation = call.args
        assert isinstance(target, BufferLoad), "the language passes the element to update"
        assert isinstance(operation, StringImm), "the language passes the reducer's operation"
        combined = combine_any(operation.value, target, cast(value, target.dtype))
        return BufferStore(target.buffer, combined, target.indices, span=span)


def _iteration(loops: Sequence[For]) -> tuple[Expr, Expr]:
    """Number of the iteration of a nest, the last loop counting fastest, and how many there are."""
    number: Expr = as_expr(0)
    total: Expr = as_expr(1)
    for loop in loops:
        number = number * loop.extent + (loop.var - loop.start)
        total = total * loop.extent
    return number, total


def located(stmt: Stmt, span: Span | None) -> Stmt:
    """`stmt`, just made by an operator, with `span` wherever it has none."""
    for node in walk(stmt):
        if isinstance(node, Stmt) and node.span is None:
            node.span = span  # fresh nodes: nobody else holds them yet
    return stmt
