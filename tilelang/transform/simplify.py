"""The `simplify` pass: every expression in simplest form, dead code dropped."""

from __future__ import annotations

from tilelang.arith import Analyzer, simplify_stmt
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext


def simplify(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Simplify expressions under loop ranges, bindings, conditions and assumptions.

    Needs: nothing; runs on the tile form and on the thread form. `tl.Simplify` switches it off.
    Leaves: the same form; the same object when nothing changes.

        for i in range(0, 4):           -->   for i in range(0, 4):
            if i < 8: A[i*2 % 2 + i] = 0          A[i] = 0
    """
    if ctx.option(PassConfigKey.TL_SIMPLIFY) is False:  # a dictionary of sub-options means yes
        return func
    analyzer = Analyzer()
    for var in shape_vars(func):
        analyzer.bind(var, 0, None)
    body = simplify_stmt(func.body, analyzer)
    return func if body is func.body else replace(func, body=body)


def shape_vars(func: PrimFunc) -> list[Var]:
    """Variables that are extents of buffer parameters, and so never negative."""
    found: dict[Var, None] = {}
    for param in func.params:
        if isinstance(param, Buffer):
            for extent in param.shape:
                if isinstance(extent, Var):
                    found.setdefault(extent)
    return list(found)
