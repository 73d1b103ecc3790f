"""The pass that runs loops over the same elements as one loop, while those are in registers."""

from __future__ import annotations

from dataclasses import dataclass

from tilelang.errors import Span
from tilelang.ir.annotation import REDUCTION
from tilelang.ir.buffer import GLOBAL
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import BufferLoad, Call, Expr, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.ops import Effect, effect_of, is_pure
from tilelang.ir.stmt import (
    Allocate,
    Annotations,
    Bind,
    BufferStore,
    For,
    LoopKind,
    Seq,
    Stmt,
    annotation,
    seq,
)
from tilelang.ir.visitor import Mutator, substitute, walk
from tilelang.transform.context import PassContext
from tilelang.transform.loop_accesses import (
    LARGEST_BODY,
    Storages,
    Touched,
    has_lanes,
    meet_in_step,
    touched_by,
    would_contract,
)

FEW_LANES = 8  # iterations; a vectorised loop of so few may as well be serial


def fuse_loops(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Make neighbouring loops over one range one loop, outer ones first.

    Needs: thread form on a CPU, guards in place. Leaves: thread form; every element is computed by
    the same operations as before. Two loops become one where they have the same bounds and kind,
    share a buffer, and touch the same element (one of them storing) only in iterations of the same
    number. Between them may stand what can as well come before both: allocations, names, and first
    values of scalars.

        for j in vectorized(n): x[j] = X[j]
        total = 0                                       total = 0
        for k in vectorized(n): total += x[k]     -->   for j in vectorized(n): x[j] = X[j]
                                                                                total += x[j]
    """
    if ctx.sanitize:  # every access is a call then
        return func
    return _Fuse(Storages(func)).mutate(func)


@dataclass(slots=True)
class _Loop:
    """A loop that has been passed, and what it touches."""

    at: int  # position among the statements passed
    node: For
    touched: Touched


class _Fuse(Mutator):
    def __init__(self, storages: Storages) -> None:
        self.storages = storages

    def mutate_Seq(self, node: Seq) -> Stmt:
        done: list[Stmt] = []
        last: _Loop | None = None  # what the next loop may join
        for stmt in node.stmts:
            if not isinstance(stmt, For):
                if last is not None and not _may_come_first(stmt, last.touched):
                    last = None
                done.append(stmt)
                continue
            touched = touched_by(stmt)
            if touched is None:
                last = None
                done.append(stmt)
                continue
            joined = None if last is None else self._join(last, stmt, touched)
            if last is not None and joined is not None:
                del done[last.at]
                stmt, touched = joined
            last = _Loop(len(done), stmt, touched)
            done.append(stmt)
        return self.mutate_children(node if len(done) == len(node.stmts) else seq(done))

    def _join(self, first: _Loop, node: For, touched: Touched) -> tuple[For, Touched] | None:
        """One loop that does what `first` does and then what `node` does, if there may be one."""
        a, mine = first.node, first.touched
        kind = _common_kind(a, mine, node, touched)
        if (
            kind is None
            or not _has_range_of(a, node)
            or mine.count + touched.count > LARGEST_BODY
            or not mine.by_storage.keys() & touched.by_storage.keys()  # nothing to be gained
            or mine.names & touched.names
            or would_contract(mine, touched, self.storages)
            or not meet_in_step(mine, touched, a.var, node.var, self.storages)
        ):
            return None
        following = substitute(node.body, {node.var: a.var})
        body = seq([*_located(a.body, a.span), *_located(following, node.span)])
        made = replace(a, kind=kind, body=body, annotations=_merged(a, node))
        both = touched_by(made)
        return None if both is None else (made, both)


def _common_kind(a: For, a_touched: Touched, b: For, b_touched: Touched) -> LoopKind | None:
    """How one loop in place of both runs; `None` where there should be none."""
    kinds = {a.kind, b.kind}
    if any(name != REDUCTION for loop in (a, b) for name, _ in loop.annotations):
        return None
    if kinds == {LoopKind.VECTORIZED}:
        return a.kind if has_lanes(a, a_touched) and has_lanes(b, b_touched) else None
    if kinds == {LoopKind.SERIAL, LoopKind.VECTORIZED}:
        count = const_value(a.extent)
        is_short = count is not None and count <= FEW_LANES
        return LoopKind.SERIAL if is_short and not (a.annotations or b.annotations) else None
    return a.kind if kinds == {LoopKind.SERIAL} else None


def _has_range_of(a: For, b: For) -> bool:
    return (
        a.var.dtype == b.var.dtype
        and is_pure(a.start)
        and is_pure(a.extent)
        and structural_equal(a.start, b.start)
        and structural_equal(a.extent, b.extent)
    )


def _merged(a: For, b: For) -> Annotations:
    """The scalars that both loops sum up."""
    clauses: list[object] = []
    for loop in (a, b):
        reductions = annotation(loop.annotations, REDUCTION, ())
        assert isinstance(reductions, tuple)
        clauses += reductions
    return ((REDUCTION, tuple(clauses)),) if clauses else ()


def _may_come_first(stmt: Stmt, passed: Touched) -> bool:
    """Whether `stmt` does the same before a loop that touches `passed` as after it."""
    match stmt:
        case Allocate():
            return all(not isinstance(v, Expr) or is_pure(v) for _, v in stmt.annotations)
        case Bind():
            return _is_unchanged(stmt.value, passed)
        case BufferStore(buffer=buffer):
            is_apart = buffer.data not in passed.by_storage
            return buffer.is_var and is_apart and _is_unchanged(stmt.value, passed)
        case _:
            return False


def _is_unchanged(value: Expr, passed: Touched) -> bool:
    """Whether nothing that `passed` speaks of can change `value`."""
    for node in walk(value):
        if isinstance(node, Call) and effect_of(node.op) is not Effect.PURE:
            return False
        if isinstance(node, BufferLoad):
            data, is_global = node.buffer.data, node.buffer.scope() == GLOBAL
            if is_global or data in passed.by_storage:
                return False
    return True


def _located(body: Stmt, span: Span | None) -> list[Stmt]:
    """The statements of a loop's body; those without a line of their own get the loop's."""
    stmts = body.stmts if isinstance(body, Seq) else (body,)
    return [s if s.span is not None else replace(s, span=span) for s in stmts]
