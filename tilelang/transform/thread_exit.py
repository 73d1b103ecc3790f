"""`T.thread_return` in thread code: a flag of the thread, and conditions around what it skips.

Runs before threads become loops, where leaving the function would leave all threads at once. The
questions about returns serve threads of a GPU too.
"""

from __future__ import annotations

from collections.abc import Callable

from tilelang.ir.buffer import VAR, Buffer
from tilelang.ir.expr import BOOL, BufferLoad, Call, Expr, Not, as_expr, logical_not
from tilelang.ir.node import Node, replace
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Break,
    BufferStore,
    Evaluate,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
    While,
    seq,
)
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import walk

_NAME = "returned"
_HERE = (as_expr(0),)


def with_exit_flag(body: Stmt) -> Stmt:
    """`body` in which a thread that returns skips everything that follows.

        if tx > 5: thread_return();  B[tx] = 0
    --> returned = False;  if tx > 5: returned = True;  if not returned: B[tx] = 0
    """
    if not returns(body):
        return body
    flag = Buffer(_NAME, (1,), BOOL, VAR, span=body.span)
    start = BufferStore(flag, as_expr(False), _HERE, span=body.span)
    return seq([Allocate(flag, span=body.span), start, _flagged(body, flag)])


def is_exit_test(condition: Expr) -> bool:
    """Whether `condition` is one that this module made: the thread has not returned."""
    if not (isinstance(condition, Not) and isinstance(condition.a, BufferLoad)):
        return False
    return condition.a.buffer.is_var and condition.a.buffer.name == _NAME


def _is_return(node: Node) -> bool:
    return isinstance(node, Call) and node.op == "thread_return"


def returns(node: Node) -> bool:
    """Whether a thread may return in `node`."""
    return any(_is_return(n) for n in walk(node))


def with_rest_in_branches(body: Stmt, differs: Callable[[Expr], bool]) -> Stmt:
    """`body` where work of the block after a return of some threads is a branch of the others.

        if tx > 63: thread_return();  copy(A, B)
    --> if tx > 63: thread_return()  else: copy(A, B)

    Args:
        differs: whether a condition differs between the threads of a block; the others all return
            together, or none does.
    """
    match body:
        case Seq(stmts=stmts):
            for k, stmt in enumerate(stmts[:-1]):
                if isinstance(stmt, If) and differs(stmt.condition) and _returns_at_end(stmt):
                    rest = with_rest_in_branches(seq(stmts[k + 1 :]), differs)
                    if any(_is_of_the_block(n) for n in walk(rest)):
                        return seq([*stmts[:k], _with_rest(stmt, rest)])
            return body
        case Attr(body=inner):
            return replace(body, body=with_rest_in_branches(inner, differs))
        case _:
            return body


def _is_of_the_block(node: Node) -> bool:
    """Whether the threads share the work of `node`."""
    return isinstance(node, TileOp) or (isinstance(node, For) and node.kind is LoopKind.PARALLEL)


def _returns_at_end(node: If) -> bool:
    """Whether the threads of one branch all return at its end, and none does elsewhere."""
    ends = [b is not None and _is_ended(b) for b in (node.then_body, node.else_body)]
    other = node.else_body if ends[0] else node.then_body
    return any(ends) and (other is None or not returns(other))


def _is_ended(body: Stmt) -> bool:
    match body:
        case Evaluate(value=value):
            return _is_return(value)
        case Seq(stmts=(*before, last)):
            return _is_ended(last) and not any(returns(s) for s in before)
        case _:
            return False


def _with_rest(node: If, rest: Stmt) -> If:
    if not _is_ended(node.then_body):
        return replace(node, then_body=seq([node.then_body, rest]))
    return replace(node, else_body=rest if node.else_body is None else seq([node.else_body, rest]))


def _stays(flag: Buffer) -> Expr:
    return logical_not(BufferLoad(flag, _HERE))


def _flagged(stmt: Stmt, flag: Buffer) -> Stmt:
    """`stmt`, which sets `flag` where it returned, and then does nothing more."""
    if not returns(stmt):
        return stmt
    match stmt:
        case Evaluate():
            return BufferStore(flag, as_expr(True), _HERE, span=stmt.span)
        case Seq(stmts=stmts):
            first = next(k for k, s in enumerate(stmts) if returns(s))
            head = [*stmts[:first], _flagged(stmts[first], flag)]
            rest = stmts[first + 1 :]
            if not rest or isinstance(stmts[first], Evaluate):
                return seq(head)
            after = _flagged(seq(rest), flag)
            return seq([*head, If(_stays(flag), after, None, span=after.span)])
        case For() | While():
            leave = If(BufferLoad(flag, _HERE), Break(span=stmt.span), None, span=stmt.span)
            return replace(stmt, body=seq([_flagged(stmt.body, flag), leave]))
        case If(then_body=then_body, else_body=else_body):
            made = None if else_body is None else _flagged(else_body, flag)
            return replace(stmt, then_body=_flagged(then_body, flag), else_body=made)
        case Attr(body=body):
            return replace(stmt, body=_flagged(body, flag))
        case _:
            return stmt
