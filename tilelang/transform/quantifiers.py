"""`T.any_of` and `T.all_of` inside expressions, turned into loops before the statement.

if any_of(flags[0:64]): ...   -->   found = 0; for k (vectorised): found |= flags[k] != 0
                                    if found != 0: ...
"""

from __future__ import annotations

from tilelang.ir.annotation import REDUCTION
from tilelang.ir.buffer import VAR, Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, Var, as_expr, cast, equal, not_equal
from tilelang.ir.stmt import Allocate, BufferStore, For, LoopKind, Stmt
from tilelang.ir.visitor import Mutator, walk

_HERE = (as_expr(0),)


def hoist_quantifiers(value: Expr) -> tuple[list[Stmt], Expr]:
    """Statements that compute each quantifier in `value`, and `value` in terms of their results.

    A quantifier is `Call("any_of" | "all_of", (first element, extent))`.
    """
    if not any(isinstance(n, Call) and n.op in ("any_of", "all_of") for n in walk(value)):
        return [], value
    hoisting = _Hoist()
    made = hoisting.mutate(value)
    return hoisting.stmts, made


class _Hoist(Mutator):
    def __init__(self) -> None:
        self.stmts: list[Stmt] = []

    def mutate_Call(self, node: Call) -> Expr:
        if node.op not in ("any_of", "all_of"):
            return self.mutate_children(node)
        first, extent = node.args
        assert isinstance(first, BufferLoad), "the language passes the first element"
        is_any = node.op == "any_of"
        result = Buffer("found" if is_any else "missing", (1,), "int32", VAR, span=node.span)
        var = Var("k", extent.dtype)
        element = BufferLoad(first.buffer, (*first.indices[:-1], first.indices[-1] + var))
        test = not_equal if is_any else equal
        hit = cast(test(element, cast(0, element.dtype)), "int32")
        update = BufferStore(result, BufferLoad(result, _HERE) | hit, _HERE)
        notes = ((REDUCTION, (("|", result),)),)
        self.stmts += [
            Allocate(result, span=node.span),
            BufferStore(result, as_expr(0), _HERE, span=node.span),
            For(
                var, cast(0, var.dtype), extent, LoopKind.VECTORIZED, update, notes, span=node.span
            ),
        ]
        return test(BufferLoad(result, _HERE), 0)
