"""Loops of warp-group products wait for a product only when the next one is under way.

In: thread form after `lower_threads`, in which `tileop.cuda.wgmma` has put a wait behind each
product. Out: the same, where a pipelined loop with one product has it in flight across iterations:

    for k:                                   for k:
        wait(k); copies(k + 2)                   wait(k)
        issue(k); drain                  -->     issue(k); all but the newest product have ended
                                                 copies(k + 2)
                                             drain

The tensor cores then work on product k - 1 while threads meet at the barrier in front of product k.
The copies go to the slot that product k - 1 read, so they come after the wait for it; that wait
names what the products read, so that `insert_barriers` puts a barrier between the two. As many copy
groups are committed before `wait(k)` as were, so its count stays.
"""

from __future__ import annotations

from tilelang.ir.annotation import IN_RANGE
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, as_expr, is_const
from tilelang.ir.node import Node, replace
from tilelang.ir.ops import is_pure
from tilelang.ir.record import record
from tilelang.ir.stmt import Attr, Bind, BufferStore, Evaluate, For, LoopKind, Seq, Stmt, seq
from tilelang.ir.visitor import Mutator, used_buffers, walk

_FENCE, _WAIT, _PIN = "tl_wgmma_fence", "tl_wgmma_wait", "tl_wgmma_pin"
_COPY_WAITS = ("ptx_wait_group", "sync_threads")
_UNMOVED = (*_COPY_WAITS, "call_extern", _FENCE, _WAIT)


class DeferProducts(Mutator):
    """Rewrites the loops in which a product may be in flight across iterations."""

    def mutate_For(self, node: For) -> Stmt:
        made: For = self.mutate_children(node)
        if made.kind is not LoopKind.SERIAL:
            return made
        parts = find_parts(made)
        return made if parts is None else deferred(made, parts)


@record
class Parts:
    """A loop body, cut: `waits, binds and others, issue, wait, pin`."""

    waits: list[Stmt]
    binds: list[Stmt]
    others: list[Stmt]
    issue: list[Stmt]
    wait: Evaluate
    pin: Stmt


def find_parts(loop: For) -> Parts | None:
    """The parts of a body whose product may stay in flight; `None` where it may not."""
    stmts = _opened(loop.body)
    fences = [i for i, s in enumerate(stmts) if _calls(s, _FENCE)]
    if len(fences) != 1 or len(stmts) < 4 or not _is(stmts[fences[0] - 1], _PIN):
        return None
    start, wait, pin = fences[0] - 1, stmts[-2], stmts[-1]
    if not (_is(wait, _WAIT) and _is(pin, _PIN)) or not isinstance(wait, Evaluate):
        return None
    issue = stmts[start:-2]
    count = next((i for i, s in enumerate(stmts) if not _is(s, *_COPY_WAITS)), 0)
    before = stmts[count:start]
    registers = {b for s in issue for b in used_buffers(s) if not b.is_shared}
    if not count or not all(_may_follow(s, registers) for s in before):
        return None
    binds: list[Stmt] = [s for s in before if isinstance(s, Bind) and is_pure(s.value)]
    others = [s for s in before if s not in binds]
    return Parts(stmts[:count], binds, others, issue, wait, pin)


def _opened(body: Stmt) -> list[Stmt]:
    """The statements of a body in order, those of the product among them."""
    if isinstance(body, Attr) and body.key == IN_RANGE and _calls(body, _FENCE):
        return _opened(body.body)
    if isinstance(body, Seq):
        return [s for stmt in body.stmts for s in _opened(stmt)]
    return [body]


def _calls(node: Node, op: str) -> bool:
    return any(isinstance(n, Call) and n.op == op for n in walk(node))


def _is(stmt: Stmt, *ops: str) -> bool:
    return isinstance(stmt, Evaluate) and isinstance(stmt.value, Call) and stmt.value.op in ops


def _may_follow(stmt: Stmt, registers: set[Buffer]) -> bool:
    """Whether a statement in front of the product may run after it has been issued: copies into
    slots of later iterations, and what a thread does for itself in other registers."""
    for node in walk(stmt):
        if isinstance(node, BufferStore) and not node.buffer.scope().startswith("local"):
            return False
        if isinstance(node, Call) and node.op in _UNMOVED:
            return False
    return not any(b in registers for b in used_buffers(stmt))


def deferred(loop: For, parts: Parts) -> Stmt:
    """The loop with the wait one product late, and the wait for the last behind it."""
    body = [
        *parts.waits,
        *parts.binds,
        _in_range(parts.issue),
        _wait(parts.wait, 1),
        *parts.others,
    ]
    after = _in_range([_wait(parts.wait, 0), parts.pin])
    return seq([replace(loop, body=seq(body)), after])


def _in_range(stmts: list[Stmt]) -> Stmt:
    return Attr(IN_RANGE, True, seq(stmts))


def _wait(wait: Evaluate, groups: int) -> Stmt:
    """Until so many products are left; it stands for all of what they read, in any iteration."""
    call = wait.value
    assert isinstance(call, Call)
    places = [_first(p) for p in call.args[1:]]
    return replace(wait, value=replace(call, args=(as_expr(groups), *places)))


def _first(pointer: Expr) -> Expr:
    """Pointer to the first element of the buffer that `pointer` points into."""
    assert isinstance(pointer, Call) and isinstance(pointer.args[0], BufferLoad)
    place = pointer.args[0]
    if all(is_const(i, 0) for i in place.indices):
        return pointer
    zeros = tuple(as_expr(0) for _ in place.indices)
    return replace(pointer, args=(BufferLoad(place.buffer, zeros),))
