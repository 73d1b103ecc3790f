"""A loop body cut into pieces that may move apart, and put together again.

`pieces_of` is asked by `pipeline_loops`, `weave` by `pipeline_emit`. A piece knows what stands
around it, so that it can be written anywhere: names that can be computed again are computed again,
branches whose condition can move are repeated.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tilelang.ir import annotation as keys
from tilelang.ir.expr import BufferLoad, Call, Expr, Let, Var, as_expr, constant, logical_not
from tilelang.ir.node import replace
from tilelang.ir.ops import Effect, effect_of, is_pure
from tilelang.ir.record import record
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    Seq,
    Stmt,
    annotation,
    seq,
)
from tilelang.ir.visitor import Mutator, used_vars, walk
from tilelang.transform.pipeline_effects import Effects, Storage, effects_of
from tilelang.transform.scoped import written_storage

Around: TypeAlias = "tuple[Stmt, ...]"


@record(eq=False)
class Piece:
    """A statement that moves as one.

    Attributes:
        around: what stands around it in the body, outermost first: names that can be computed
            again (`Bind`, `T.assume`), branches and attributes with empty bodies.
        numbers: its top-level statement's number, without and with bindings of loaded values.
    """

    stmt: Stmt
    around: Around
    numbers: tuple[int, int]
    effects: Effects

    @property
    def conditions(self) -> set[int]:
        return {id(s) for s in self.around if isinstance(s, If)}

    def uses(self, names: Set[Var]) -> bool:
        """Whether the piece, or what stands around it, uses one of `names`."""
        return any(v in names for s in (*self.around, self.stmt) for v in used_vars(s))


@dataclass
class Body:
    """A loop body taken apart."""

    pieces: list[Piece] = field(default_factory=list)
    allocations: list[Allocate] = field(default_factory=list)
    fixed_names: set[Var] = field(default_factory=set)  # bound to values that must not move
    has_variables: bool = False  # allocates a `local.var`
    counts: list[int] = field(default_factory=lambda: [0, 0])


# -- taking a body apart --------------------------------------------------------------------------


def pieces_of(loop: For, storage: Storage) -> Body:
    """The pieces of a loop's body. Branches are distributed where their condition can move."""
    body = Body()
    written = storage.overlapping(written_storage(loop.body))
    _take(loop.body, (), body, written, is_top=True)
    return body


def _take(stmt: Stmt, around: Around, body: Body, written: Set[Var], is_top: bool) -> Around:
    """Add the pieces of `stmt`; returns what stands around the statements after it."""
    match stmt:
        case Seq():
            for child in stmt.stmts:
                around = _take(child, around, body, written, is_top)
            return around
        case Attr():
            _take(stmt.body, (*around, replace(stmt, body=Seq(()))), body, written, is_top)
            return around
        case Bind() if can_move(stmt.value, written) and not _names(stmt.value) & body.fixed_names:
            body.counts[1] += is_top and not is_pure(stmt.value)
            return (*around, stmt)
        case Evaluate(value=Call(op="assume")):
            fits = can_move(stmt.value, written, ("assume",))
            return (*around, stmt) if fits and not _names(stmt.value) & body.fixed_names else around
        case Allocate():
            _allocate(stmt, around, body)
            return around
        case If() if can_move(stmt.condition, written):
            if not _names(stmt.condition) & body.fixed_names:
                _branch(stmt, around, body, written)
                _count(body, is_top)
                return around
        case Bind():
            body.fixed_names.add(stmt.var)
        case _:
            pass
    body.pieces.append(Piece(stmt, around, (body.counts[0], body.counts[1]), effects_of(stmt)))
    if isinstance(stmt, Bind):
        body.counts[1] += is_top and not is_pure(stmt.value)
    else:
        _count(body, is_top)
    return around


def _count(body: Body, is_top: bool) -> None:
    if is_top:
        body.counts[0] += 1
        body.counts[1] += 1


def _branch(stmt: If, around: Around, body: Body, written: Set[Var]) -> None:
    empty = If(stmt.condition, Seq(()), span=stmt.span)
    _take(stmt.then_body, (*around, empty), body, written, is_top=False)
    if stmt.else_body is not None:
        empty = If(logical_not(stmt.condition), Seq(()), span=stmt.span)
        _take(stmt.else_body, (*around, empty), body, written, is_top=False)


def _allocate(stmt: Allocate, around: Around, body: Body) -> None:
    """Memory is allocated before the loop; a variable is set where it was allocated."""
    if not stmt.buffer.is_var:
        body.allocations.append(stmt)
        return
    body.has_variables = True
    kept = tuple((k, v) for k, v in stmt.annotations if k != keys.INIT)
    body.allocations.append(replace(stmt, annotations=kept))
    start = annotation(stmt.annotations, keys.INIT, constant(0, stmt.buffer.dtype))
    assert isinstance(start, Expr), "the language gives an expression"
    store = BufferStore(stmt.buffer, start, (as_expr(0),), span=stmt.span)
    body.pieces.append(Piece(store, around, (body.counts[0], body.counts[1]), effects_of(store)))


def _names(value: Expr) -> set[Var]:
    return set(used_vars(value))


def can_move(value: Expr, written: Set[Var], allowed: Sequence[str] = ()) -> bool:
    """Whether `value` can be computed in any iteration: it reads nothing that the loop writes."""
    for node in walk(value):
        if isinstance(node, BufferLoad) and node.buffer.data in written:
            return False
        is_free = isinstance(node, Call) and node.op in (*allowed, "any_of", "all_of", "ldg")
        if isinstance(node, Call) and not is_free and effect_of(node.op) is not Effect.PURE:
            return False
    return True


# -- putting it together again ---------------------------------------------------------------------


def weave(items: Sequence[tuple[Around, Stmt]], depth: int = 0) -> list[Stmt]:
    """Statements back inside what stood around them; neighbours under one branch share it.

    Names that stand around are computed again for each run of neighbours, and only where used.
    """
    out: list[Stmt] = []
    at = 0
    while at < len(items):
        around, stmt = items[at]
        if len(around) == depth:
            out.append(stmt)
            at += 1
            continue
        head = around[depth]
        end = at
        while end < len(items) and len(items[end][0]) > depth and items[end][0][depth] is head:
            end += 1
        out += _inside(head, weave(items[at:end], depth + 1))
        at = end
    return out


def _inside(head: Stmt, inner: list[Stmt]) -> list[Stmt]:
    match head:
        case If():
            return [replace(head, then_body=seq(inner))]
        case Attr():
            return [replace(head, body=seq(inner))]
        case Bind():
            used = {v for stmt in inner for v in used_vars(stmt)}
            if head.var not in used:
                return inner
            name = Var(head.var.name, head.var.dtype)
            renaming = Renewed({head.var: name})
            return [replace(head, var=name), *(renaming.mutate(stmt) for stmt in inner)]
        case _:
            return [head, *inner]


class Renewed(Mutator):
    """A copy of a statement in which everything that it binds is a new variable."""

    def __init__(self, names: dict[Var, Var] | None = None) -> None:
        self.names: dict[Var, Var] = {} if names is None else names
        self.renews = names is None

    def _bound(self, node: For | Bind | Let) -> Any:
        if self.renews:
            name = self.names[node.var] = Var(node.var.name, node.var.dtype)
            node = replace(node, var=name)
        return self.mutate_children(node)

    def mutate_For(self, node: For) -> Any:
        return self._bound(node)

    def mutate_Bind(self, node: Bind) -> Any:
        return self._bound(node)

    def mutate_Let(self, node: Let) -> Any:
        return self._bound(node)

    def mutate_Allocate(self, node: Allocate) -> Any:
        assert not self.renews, "the body's allocations stand before the loop"
        return self.mutate_children(node)

    def mutate_Var(self, node: Var) -> Expr:
        return self.names.get(node, node)
