"""Structural equality and hashing of IR.

Variables and buffers that are *bound* inside the compared trees (parameters, `Bind`, `For`, `Let`,
`Launch`, `Allocate`) are equal when they stand in the same place; free ones must be the same object.
Spans and names of bound things never count.
"""

from __future__ import annotations

from tilelang.ir.expr import Expr, Var
from tilelang.ir.node import Node


def structural_equal(a: Node, b: Node) -> bool:
    """Whether two trees mean the same, up to the names of what they bind."""
    if a is b:
        return True
    if type(a) is not type(b) or isinstance(a, Var):
        return False
    if isinstance(a, Expr) and isinstance(b, Expr) and a.dtype != b.dtype:
        return False
    return all(_equal_values(getattr(a, f), getattr(b, f)) for f in a.fields)


def _equal_values(a: object, b: object) -> bool:
    if isinstance(a, Node) and isinstance(b, Node):
        return structural_equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_equal_values(x, y) for x, y in zip(a, b))
    return a is b or (type(a) is type(b) and bool(a == b))
