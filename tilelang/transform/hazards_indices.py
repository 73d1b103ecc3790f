"""Index expressions as the hazard analysis needs them: can they be tabulated, when do they repeat.

Pure functions over integer expressions; `hazards_overlap` makes tables of what they allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilelang.ir.expr import (
    BinaryOp,
    BitNot,
    Call,
    Cast,
    Expr,
    FloorMod,
    IntImm,
    Not,
    Select,
    Var,
    const_value,
)
from tilelang.ir.visitor import used_vars, walk
from tilelang.transform.affine import split_linear


def is_index_arithmetic(value: Expr) -> bool:
    """Whether `layout.evaluate` can give the value of the scalar `value`."""
    simple = (IntImm, Var, BinaryOp, Select, Cast, Not, BitNot)
    for item in walk(value):
        if isinstance(item, Call) and item.op == "if_then_else":
            continue
        if not isinstance(item, Expr) or item.dtype.lanes != 1 or item.dtype.is_float:
            return False
        if not isinstance(item, simple):
            return False
    return True


def period(exprs: Sequence[Expr], var: Var) -> int | None:
    """The number after which all `exprs` repeat in `var`; `None` where one does not."""
    common = 1
    for value in exprs:
        found = _period_of(value, var)
        if found is None:
            return None
        common = math.lcm(common, found)
    return common if common <= 4096 else None


def _period_of(value: Expr, var: Var) -> int | None:
    if not any(v is var for v in used_vars(value)):
        return 1
    if isinstance(value, FloorMod):
        modulus = const_value(value.b)
        if isinstance(modulus, int) and modulus > 0 and split_linear(value.a, var) is not None:
            return modulus
    if isinstance(value, Var):
        return None
    parts = [c for name in value.fields for c in _exprs(getattr(value, name))]
    found = [_period_of(p, var) for p in parts]
    if any(p is None for p in found):
        return None
    return math.lcm(1, *(p for p in found if p is not None))


def _exprs(value: Any) -> list[Expr]:
    if isinstance(value, Expr):
        return [value]
    return [v for v in value if isinstance(v, Expr)] if isinstance(value, tuple) else []
