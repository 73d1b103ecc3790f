"""Loops of matrix products start the next iteration's loads before this one's last instructions.

In: thread form after `lower_threads`. Out: the same in which a pipelined loop that multiplies from
shared memory waits for its next tiles, and loads the first operand words, while the last
instructions of the iteration are under way:

    for k:                                      wait(0); head(0)
        wait(k); copies(k + 2)                  for k:
        head(k); tail(k); last(k)          -->      copies(k + 2); tail(k)
                                                    wait(k + 1); head(k + 1); last(k)

`head` are the first loads of the only product of the body, `last` its last instructions; the
instruction marks both (`PRODUCT_HEAD`, `PRODUCT_LAST`). As many copy groups are
committed before `wait(k + 1)` at its new place as were at its old one, so its count stays. Nothing
after `wait` reads shared memory in this iteration, so the barrier that `insert_barriers` puts there
also frees the slot that the next copies overwrite.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilelang.ir.annotation import IN_RANGE, PRODUCT_HEAD, PRODUCT_LAST
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, Var, is_const
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node, replace
from tilelang.ir.ops import is_pure
from tilelang.ir.record import record
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
    seq,
)
from tilelang.ir.visitor import Mutator, substitute, used_buffers, used_vars, walk
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.defer_products import DeferProducts

_WAITS = ("ptx_wait_group", "sync_threads")


def rotate_products(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Move the first loads of an iteration into the one before it.

    Needs: thread form before `insert_barriers`. Leaves: thread form without `PRODUCT_HEAD` and
    `PRODUCT_LAST`.
    """
    if not ctx.option(PassConfigKey.TL_DISABLE_THREAD_STORAGE_SYNC):
        func = DeferProducts().mutate(func)  # it takes one barrier more
    return _Unmark().mutate(_Rotate().mutate(func))


class _Rotate(Mutator):
    def mutate_For(self, node: For) -> Stmt:
        made: For = self.mutate_children(node)
        if made.kind is not LoopKind.SERIAL:
            return made
        parts = find_parts(made)
        return made if parts is None else rotated(made, parts)


class _Unmark(Mutator):
    def mutate_Attr(self, node: Attr) -> Stmt:
        if node.key in (PRODUCT_HEAD, PRODUCT_LAST):
            return self.mutate(node.body) or Seq(())
        return self.mutate_children(node)


@record
class Parts:
    """A loop body, cut: `waits, before, head, after, last`, with the arrays that `head` fills."""

    waits: list[Stmt]
    before: list[Stmt]
    head: Attr
    after: list[Stmt]
    last: Attr
    arrays: list[Allocate]


def find_parts(loop: For) -> Parts | None:
    """The parts of a body that can be rotated; `None` where it cannot."""
    stmts = _opened(loop.body)
    heads = [s for s in stmts if isinstance(s, Attr) and s.key == PRODUCT_HEAD]
    if len(heads) != 1 or not isinstance(stmts[-1], Attr) or stmts[-1].key != PRODUCT_LAST:
        return None  # with a second product, the words in flight cost more registers than they win
    head, last = heads[0], stmts[-1]
    at = stmts.index(head)
    count = next((i for i, s in enumerate(stmts) if not _is_wait(s)), 0)
    waits, before, after = stmts[:count], stmts[count:at], stmts[at + 1 : -1]
    filled = {n.buffer for n in walk(head) if isinstance(n, BufferStore)} | _written(head)
    arrays = [s for s in before if isinstance(s, Allocate) and s.buffer in filled]
    if not waits or {s.buffer for s in arrays} != filled or not all(map(_may_stay, before)):
        return None
    if any(_touches(s, filled) for s in before if not isinstance(s, Allocate)):
        return None
    if any(_is_wait(s) for s in after) or _shares_words(head, last):
        return None
    before = [s for s in before if s not in arrays]
    return Parts(waits, before, head, after, last, arrays)


def _opened(body: Stmt) -> list[Stmt]:
    """The statements of a body in order, those of products among them."""
    if isinstance(body, Attr) and body.key == IN_RANGE:
        return _opened(body.body)
    if isinstance(body, Seq):
        return [s for stmt in body.stmts for s in _opened(stmt)]
    return [body]


def _is_wait(stmt: Stmt) -> bool:
    return isinstance(stmt, Evaluate) and isinstance(stmt.value, Call) and stmt.value.op in _WAITS


def _may_stay(stmt: Stmt) -> bool:
    """Whether `head` may run before a statement that stood in front of it: copies into slots of
    later iterations, and what a thread does for itself."""
    for node in walk(stmt):
        if isinstance(node, BufferStore) and not _is_private(node.buffer):
            return False
        if isinstance(node, Call) and node.op in (*_WAITS, "call_extern"):
            return False
    return True


def _is_private(buffer: Buffer) -> bool:
    return buffer.scope().startswith("local")


def _written(stmt: Stmt) -> set[Buffer]:
    """Private arrays whose address a call in `stmt` gets."""
    places = (n.args[0] for n in walk(stmt) if isinstance(n, Call) and n.op == "address_of")
    buffers = {p.buffer for p in places if isinstance(p, BufferLoad)}
    return {b for b in buffers if _is_private(b)}


def _touches(node: Node, buffers: set[Buffer]) -> bool:
    return any(b in buffers for b in used_buffers(node))


def _shares_words(head: Stmt, last: Stmt) -> bool:
    """Whether `last` may read words that `head` overwrites: the same array, unless the places are
    known to be apart."""
    filled, read = _places(head), _places(last)
    return any(read[b] & filled[b] for b in filled if b in read)


def _places(stmt: Stmt) -> dict[Buffer, int]:
    """Per private array, the slots that the mark `stmt` names, a bit each."""
    found: dict[Buffer, int] = {}
    slots = stmt.value if isinstance(stmt, Attr) else ()
    assert isinstance(slots, tuple), "a mark names the slots of the arrays that its body uses"
    for buffer, slot in slots:
        found[buffer] = found.get(buffer, 0) | 1 << slot
    return found


def rotated(loop: For, parts: Parts) -> Stmt:
    """The loop with the head and its waits moved."""
    head = _with_binds(parts.before, parts.head)
    first = substitute(_renamed(seq([*parts.waits, *head])), {loop.var: loop.start})
    following = substitute(_renamed(seq(head)), {loop.var: loop.var + 1})
    end = loop.start + loop.extent
    ahead = If(loop.var + 1 < end, following, span=parts.head.span)
    body = [*parts.before, *parts.after, *parts.waits, ahead, parts.last]
    runs = loop.extent > 0
    if not is_const(runs, 1):
        first = If(runs, first, span=loop.span)
    made = replace(loop, body=Attr(IN_RANGE, True, seq(body)))
    return seq([*parts.arrays, Attr(IN_RANGE, True, first), made])


def _with_binds(before: Sequence[Stmt], head: Stmt) -> list[Stmt]:
    """`head` after the names that it uses."""
    wanted = set(used_vars(head))
    found: list[Stmt] = []
    for stmt in reversed(before):
        if isinstance(stmt, Bind) and stmt.var in wanted and is_pure(stmt.value):
            wanted |= set(used_vars(stmt.value))
            found.append(stmt)
    return [*found[::-1], head]


def _renamed(stmt: Stmt) -> Stmt:
    """A copy that binds names of its own."""
    fresh: dict[Var, Expr] = {}
    for node in walk(stmt):
        if isinstance(node, (Bind, For)):
            fresh[node.var] = Var(node.var.name, node.var.dtype)
    return _Rename(fresh).mutate(stmt)


class _Rename(Mutator):
    def __init__(self, names: dict[Var, Expr]) -> None:
        self.names = names

    def mutate_Var(self, node: Var) -> Expr:
        return self.names.get(node, node)

    def mutate_Bind(self, node: Bind) -> Stmt:
        return replace(node, var=self.names[node.var], value=self.mutate(node.value))

    def mutate_For(self, node: For) -> Stmt:
        made: For = self.mutate_children(node)
        return replace(made, var=self.names[node.var])
