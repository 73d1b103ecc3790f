"""`T.thread_return` in thread code: a flag of the thread, and conditions around what it skips.

Runs before threads become loops, where leaving the function would leave all threads at once.
"""

from __future__ import annotations

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
    Seq,
    Stmt,
    While,
    seq,
)
from tilelang.ir.visitor import walk

_NAME = "returned"
_HERE = (as_expr(0),)


def with_exit_flag(body: Stmt) -> Stmt:
    """`body` in which a thread that returns skips everything that follows.

        if tx > 5: thread_return();  B[tx] = 0
    --> returned = False;  if tx > 5: returned = True;  if not returned: B[tx] = 0
    """
    if not _returns(body):
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


def _returns(node: Node) -> bool:
    return any(_is_return(n) for n in walk(node))


def _stays(flag: Buffer) -> Expr:
    return logical_not(BufferLoad(flag, _HERE))


def _flagged(stmt: Stmt, flag: Buffer) -> Stmt:
    """`stmt`, which sets `flag` where it returned, and then does nothing more."""
    if not _returns(stmt):
        return stmt
    match stmt:
        case Evaluate():
            return BufferStore(flag, as_expr(True), _HERE, span=stmt.span)
        case Seq(stmts=stmts):
            first = next(k for k, s in enumerate(stmts) if _returns(s))
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
