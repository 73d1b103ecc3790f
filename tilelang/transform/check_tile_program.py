"""Mistakes that only the whole program shows, reported at the user's lines, all at once.

Comes in: tile IR as it was traced. A walk with the facts of each place asks the rules of
`tile_rules` about each statement and expression; the first problem becomes the error, the others
its notes. Goes out: the same function. What one call can see by itself has been checked when it was
traced.
"""

from __future__ import annotations

import warnings
from typing import Any

from tilelang.errors import Error, Note, Span
from tilelang.ir.annotation import WARP_GROUPS
from tilelang.ir.expr import (
    BinaryOp,
    BufferLoad,
    Call,
    Expr,
    FloorDiv,
    FloorMod,
    Select,
    TruncDiv,
    TruncMod,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    Break,
    BufferStore,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Stmt,
    While,
)
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import walk
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.scoped import ScopedMutator
from tilelang.transform.tile_rules import (
    Place,
    Problem,
    fragment_inside_parallel,
    fragment_outside_parallel,
    index_by_parallel_variable,
    loop_nesting,
    out_of_range,
    pipeline_plan,
    region_out_of_range,
    tile_operation_in_parallel,
    unbound_symbols,
    unwritten_buffers,
    zero_divisor,
)


class ProgramError(Error, ValueError):
    """A tile program whose parts do not fit together; further problems stand in the notes."""


class ProgramWarning(UserWarning):
    """Something in a tile program that is legal and probably not meant."""


def check_tile_program(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Raise for what cannot work, warn of what probably does not; change nothing.

    Needs: tile form. Leaves: the same object.

    Raises:
        ProgramError: with every problem found.
    """
    if not ctx.option(PassConfigKey.TL_DISABLE_BUFFER_INIT_CHECK):
        for problem in unwritten_buffers(func):
            warnings.warn(f"{problem.span}: {problem.message}", ProgramWarning, stacklevel=2)
    walker = _Walk(ctx)
    walker.mutate(func)
    problems = [*unbound_symbols(func), *walker.problems]
    if problems:
        first, *others = problems
        notes = [n for p in (first,) for n in p.notes]
        notes += [Note(p.span, p.message) for p in others]
        raise ProgramError(first.message, first.span or func.span, notes=notes, hint=first.hint)
    return func


_DIVISIONS = (FloorDiv, FloorMod, TruncDiv, TruncMod)


class _Walk(ScopedMutator):
    """Visits every node once; `place` says what is around it."""

    def __init__(self, ctx: PassContext) -> None:
        ScopedMutator.__init__(self)
        self.place = Place()
        self.problems: list[Problem] = []
        self.seen: set[tuple[Span | None, str]] = set()
        self.has_fragment_rule = ctx.target.kind != "c"
        self.checks_nesting = not ctx.option(PassConfigKey.TL_DISABLE_PRELOWER_SEMANTIC_CHECK)

    def report(self, problem: Problem | None) -> None:
        """Keep `problem`, once per line and message."""
        if problem is None:
            return
        problem = problem.at(self.place.span)
        key = (problem.span, problem.message)
        if key not in self.seen:
            self.seen.add(key)
            self.problems.append(problem)

    def mutate(self, node: Any) -> Any:
        if not isinstance(node, Stmt):
            if isinstance(node, BinaryOp):
                self._division(node)
            return ScopedMutator.mutate(self, node)
        before = self.place.span
        self.place.span = node.span or before
        made = ScopedMutator.mutate(self, node)
        self.place.span = before
        return made

    # -- statements ------------------------------------------------------------------------------

    def mutate_Launch(self, node: Launch) -> Stmt:
        pairs = [*zip(node.grid_vars, node.grid_extents)]
        pairs += zip(node.thread_vars, node.thread_extents)
        with self.place.inside(ranges=pairs):
            return ScopedMutator.mutate_Launch(self, node)

    def mutate_For(self, node: For) -> Any:
        if self.checks_nesting:
            self.report(loop_nesting(node, self.place))
        if node.kind is LoopKind.PIPELINED:
            self.report(pipeline_plan(node))
        leaves = any(isinstance(n, Break) for n in walk(node.body))
        with self.place.inside(loop=node, is_conditional=leaves):
            return ScopedMutator.mutate_For(self, node)

    def mutate_While(self, node: While) -> Any:
        with self.place.inside(is_conditional=True):
            return self.mutate_children(node)

    def mutate_If(self, node: If) -> Any:
        with self.place.inside(is_conditional=True):
            return ScopedMutator.mutate_If(self, node)

    def mutate_Attr(self, node: Attr) -> Any:
        with self.place.inside(is_conditional=node.key == WARP_GROUPS):
            return self.mutate_children(node)

    def mutate_Bind(self, node: Bind) -> Stmt:
        self.place.add_name(node.var, node.value)
        return self.mutate_children(node)

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        if self.has_fragment_rule:
            self.report(fragment_inside_parallel(node, self.place))
        return self.mutate_children(node)

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        self._access(node)
        return self.mutate_children(node)

    def mutate_TileOp(self, node: TileOp) -> Stmt:
        if self.checks_nesting:
            self.report(tile_operation_in_parallel(node, self.place))
        for operand in node.operands:
            self.report(region_out_of_range(node, operand, self.place))
        return self.mutate_children(node)

    def mutate_Evaluate(self, node: Evaluate) -> Stmt:
        before = self.has_fragment_rule
        is_print = isinstance(node.value, Call) and node.value.op == "print_buffer"
        self.has_fragment_rule = before and not is_print  # all of it is printed, whoever holds it
        made = self.mutate_children(node)
        self.has_fragment_rule = before
        return made

    # -- expressions -----------------------------------------------------------------------------

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        self._access(node)
        return self.mutate_children(node)

    def _access(self, node: BufferLoad | BufferStore) -> None:
        self.report(out_of_range(node, self.place))
        self.report(index_by_parallel_variable(node, self.place))
        if self.has_fragment_rule:
            self.report(fragment_outside_parallel(node, self.place))

    def mutate_choice(self, node: Call) -> Expr:
        with self.place.inside(is_conditional=True):
            return ScopedMutator.mutate_choice(self, node)

    def mutate_Select(self, node: Select) -> Expr:
        return self.mutate_children(node)  # both sides are evaluated

    def _division(self, node: BinaryOp) -> None:
        if isinstance(node, _DIVISIONS) and not self.place.is_conditional:
            self.report(zero_divisor(node, self.facts))
