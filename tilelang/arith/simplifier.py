"""One expression, simplified: which part of `arith` is asked for which class of node.

Integers go through linear forms, conditions through `logic`, everything else is rebuilt from
simplified operands and the rule tables. Where nothing changes the same object comes back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tilelang.arith import logic
from tilelang.arith.canonical import INTEGERS
from tilelang.arith.rules import rules_for
from tilelang.arith.terms import Unrepresentable, key_of
from tilelang.errors import ArithmeticFault
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BinaryOp,
    Call,
    Comparison,
    Expr,
    FloatImm,
    IntImm,
    Let,
    Select,
    StringImm,
    Var,
    rebuild,
)
from tilelang.ir.node import Node, replace
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.visitor import used_vars

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer

_LEAVES = (IntImm, FloatImm, StringImm)


def simplify_inner(an: Analyzer, expr: Expr) -> Expr:
    """`expr` simplified; the same object when nothing changes.

    Raises:
        Unrepresentable: when the form found cannot be written, or must not be (calls with effects).
    """
    if isinstance(expr, _LEAVES):
        return expr
    memo = an.knowledge.memo.simplified
    hit = memo.get(id(expr))
    if hit is not None:
        return hit[1]
    if expr.dtype in INTEGERS:
        made = an.terms.build(an.linear(expr), expr.dtype)
    elif expr.dtype == "bool":
        made = _condition(an, expr)
    else:
        made = _other(an, expr)
    if unchanged(made, expr):
        made = expr
    memo[id(expr)] = (expr, made)
    return made


def structural(an: Analyzer, expr: Expr) -> Expr:
    """`expr` with each operand simplified by itself, its own shape kept."""
    changes: dict[str, Any] = {}
    for name in expr.fields:
        old = getattr(expr, name)
        new = old if isinstance(expr, Let) and name == "var" else _mapped(old, an.simplify)
        if new is not old:
            changes[name] = new
    return replace(expr, **changes) if changes else expr


# -- conditions ------------------------------------------------------------------------------------


def _condition(an: Analyzer, expr: Any) -> Expr:
    made = _plain_condition(an, expr)
    truths = an.knowledge.truths
    if truths and not isinstance(made, IntImm):
        known = truths.get(key_of(made))
        if known is not None:
            return logic.truth(known)
    return made


def _plain_condition(an: Analyzer, expr: Any) -> Expr:
    method = logic.CONDITIONS.get(type(expr))
    if method is not None:
        return method(an, expr)
    if isinstance(expr, Comparison) and expr.a.dtype in INTEGERS:
        return logic.compare(an, expr)
    return _other(an, expr)


# -- everything else -------------------------------------------------------------------------------


def _other(an: Analyzer, expr: Expr) -> Expr:
    if isinstance(expr, Call):
        if effect_of(expr.op) is Effect.WRITE:
            raise Unrepresentable(f"`{expr.op}` has effects")
        if expr.op == "if_then_else":
            return _guarded(an, expr)
    if isinstance(expr, Let):
        return let(an, expr)
    made = map_children(an, expr)
    if isinstance(made, (Var, *_LEAVES)):
        return made
    rewritten = apply_rules(an, made)
    return made if rewritten is None else an.simplify_inner(rewritten)


def _guarded(an: Analyzer, expr: Call) -> Expr:
    """Each side of `if_then_else` is evaluated only where its condition says so."""
    condition = an.simplify_inner(expr.args[0])
    if isinstance(condition, IntImm):
        return an.simplify_inner(expr.args[1] if condition.value else expr.args[2])
    with an.constraint(condition):
        then_value = an.simplify_inner(expr.args[1])
    with an.constraint(condition, holds=False):
        else_value = an.simplify_inner(expr.args[2])
    args = (condition, then_value, else_value)
    made = expr if _all_same(args, expr.args) else replace(expr, args=args)
    rewritten = apply_rules(an, made)
    return made if rewritten is None else rewritten


def let(an: Analyzer, expr: Let) -> Expr:
    """A `Let`; its name goes where it is a constant or no longer used."""
    value = an.simplify_inner(expr.value)
    with an.scope():
        an.bind_value(expr.var, value)
        body = an.simplify_inner(expr.body)
    if not any(var is expr.var for var in used_vars(body)):
        return body
    is_same = value is expr.value and body is expr.body
    return expr if is_same else replace(expr, value=value, body=body)


def map_children(an: Analyzer, expr: Expr) -> Expr:
    """`expr` over simplified operands, constants folded."""
    changes: dict[str, Any] = {}
    for name in expr.fields:
        old = getattr(expr, name)
        new = _mapped(old, an.simplify_inner)
        if new is not old:
            changes[name] = new
    if not changes:
        return expr
    try:
        return rebuild(expr, changes)
    except ArithmeticFault:  # a division by zero that may never run
        return replace(expr, **changes)


def _mapped(value: Any, function: Callable[[Expr], Expr]) -> Any:
    if isinstance(value, Expr):
        return function(value)
    if isinstance(value, tuple):
        new = tuple(_mapped(item, function) for item in value)
        return value if _all_same(new, value) else new
    if isinstance(value, Node):  # a region or range
        parts = {name: _mapped(getattr(value, name), function) for name in value.fields}
        changes = {name: new for name, new in parts.items() if new is not getattr(value, name)}
        return replace(value, **changes) if changes else value
    return value


def _all_same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return all(x is y for x, y in zip(a, b))


# -- rules -----------------------------------------------------------------------------------------


def operand_type(expr: Any) -> dtype:
    """The type that decides which rules speak of `expr`."""
    if isinstance(expr, BinaryOp):
        return expr.a.dtype
    if isinstance(expr, Select):
        return expr.then_value.dtype
    if isinstance(expr, Call):
        return expr.args[-1].dtype if expr.args else expr.dtype
    value = getattr(expr, "value", None) if not hasattr(expr, "a") else expr.a
    return value.dtype if isinstance(value, Expr) else expr.dtype


def apply_rules(an: Analyzer, expr: Expr) -> Expr | None:
    """What the first row that fits makes of `expr`; `None` where no row does."""
    kind = operand_type(expr)
    if kind.lanes > 1:
        return None
    for rule in rules_for(type(expr), kind):
        made = rule.apply(an, expr)
        if made is not None:
            if an.traces_rules:
                print(f"{rule.where}: {rule}: {expr} -> {made}", file=sys.stderr)
            return made
    return None


# -- identity --------------------------------------------------------------------------------------


def unchanged(a: Any, b: Any) -> bool:
    """Whether two expressions are written the same, variable by variable."""
    stack = [(a, b)]
    while stack:
        x, y = stack.pop()
        if x is y:
            continue
        if type(x) is not type(y):
            return False
        if isinstance(x, BinaryOp):
            if x.a.dtype != y.a.dtype:
                return False
            stack += ((x.a, y.a), (x.b, y.b))
        elif isinstance(x, (IntImm, FloatImm)):
            if x.dtype != y.dtype or key_of(x) != key_of(y):
                return False
        elif isinstance(x, (Var, Let)):
            return False
        elif isinstance(x, Node):
            stack += ((getattr(x, name), getattr(y, name)) for name in x.fields)
        elif isinstance(x, tuple):
            if len(x) != len(y):
                return False
            stack += zip(x, y)
        elif not isinstance(x, (str, int)) or x != y:
            return False  # two buffers are the same only if they are one object
    return True
