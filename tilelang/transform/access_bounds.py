"""Which conditions put an access inside its buffer, and how they are put into words of the IR.

Pure functions between `legalize_memory` and the expressions; decides nothing about where a
condition is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tilelang.ir.buffer import Buffer
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    FloorDiv,
    FloorMod,
    IntImm,
    Ramp,
    TruncDiv,
    TruncMod,
    Var,
    as_expr,
    call,
    cast,
    floordiv,
    is_const,
    logical_and,
    maximum,
    minimum,
)
from tilelang.ir.ops import is_pure
from tilelang.ir.stmt import If, Stmt
from tilelang.ir.visitor import used_vars, walk
from tilelang.transform.affine import in_common_type, split_linear
from tilelang.transform.facts import Facts

_DIVISIONS = (FloorDiv, FloorMod, TruncDiv, TruncMod)


def missing_conditions(facts: Facts, buffer: Buffer, indices: Sequence[Expr]) -> list[Expr]:
    """Conditions, none of which `facts` prove, that together put the scalar `indices` in range."""
    missing: list[Expr] = []
    for index, size in zip(indices, buffer.shape):
        position, extent = in_common_type(index, as_expr(size))
        for condition in (position >= 0, position < extent):
            if not facts.can_prove(condition):
                missing.append(condition)
    return missing


def vector_ends(indices: Sequence[Expr]) -> list[tuple[Expr, ...]] | None:
    """Scalar indices of the first and last lane of a vector access; `None` when it is no ramp."""
    *outer, last = indices
    if not isinstance(last, Ramp) or any(i.dtype.lanes > 1 for i in outer):
        return None
    step = cast(last.stride, last.base.dtype)
    return [(*outer, last.base), (*outer, last.base + step * (last.lanes - 1))]


def lane_indices(indices: Sequence[Expr], lane: int) -> tuple[Expr, ...]:
    """Scalar indices of one lane of a vector access."""
    return tuple(lane_of(index, lane) for index in indices)


def lane_of(value: Expr, lane: int) -> Expr:
    """One lane of a vector value; a scalar is the same in every lane."""
    if value.dtype.lanes == 1:
        return value
    if isinstance(value, Ramp):
        return value.base + cast(value.stride, value.base.dtype) * lane
    return call("extract_lane", value, lane, dtype=value.dtype.element)


def all_of(conditions: Iterable[Expr]) -> Expr:
    """Their conjunction; of none, true."""
    result: Expr = as_expr(True)
    for condition in conditions:
        result = logical_and(result, condition)
    return result


def guarded(conditions: Sequence[Expr], body: Stmt) -> Stmt:
    """`body` where all `conditions` hold."""
    return If(all_of(conditions), body, None, span=body.span) if conditions else body


def contains(conditions: Iterable[Expr], wanted: Expr) -> bool:
    """Whether `wanted` is one of `conditions`."""
    return any(structural_equal(c, wanted) for c in conditions)


def without(conditions: Iterable[Expr], known: Sequence[Expr]) -> tuple[Expr, ...]:
    """Those of `conditions` that are not among `known`."""
    return tuple(c for c in conditions if not contains(known, c))


def distinct(conditions: Iterable[Expr]) -> tuple[Expr, ...]:
    """`conditions`, each once."""
    found: list[Expr] = []
    for condition in conditions:
        if not contains(found, condition):
            found.append(condition)
    return tuple(found)


def is_movable(condition: Expr) -> bool:
    """Whether `condition` means the same, and cannot fault, wherever its variables are known."""
    for item in walk(condition):
        if isinstance(item, _DIVISIONS) and (not is_const(item.b) or is_const(item.b, 0)):
            return False
    return is_pure(condition)


def uses(value: Expr, variables: Iterable[Var]) -> bool:
    """Whether one of `variables` occurs in `value`."""
    wanted = set(variables)
    return any(v in wanted for v in used_vars(value))


def loop_bound(condition: Expr, var: Var) -> tuple[str, Expr] | None:
    """The values of `var` for which a range condition holds.

    `("<", b)`: exactly those below `b`. `(">=", b)`: exactly those from `b` on. `None`: not of that
    form. Conditions are those of `missing_conditions`: `index >= 0` and `index < extent`.
    """
    if type(condition).__name__ not in ("GE", "LT") or not is_movable(condition):
        return None
    left, limit = condition.a, condition.b  # type: ignore[attr-defined]
    parts = split_linear(left, var)
    if parts is None or parts[0] == 0 or uses(limit, [var]):
        return None
    factor, rest = parts
    is_upper = type(condition).__name__ == "LT"
    if factor < 0:  # -f * var + rest < limit  <=>  var > (rest - limit) / f; >= turns the other way
        above, factor = rest - limit, -factor
        if is_upper:
            return ">=", floordiv(above, factor) + 1
        return "<", floordiv(above, factor) + 1
    distance = limit - rest  # factor * var < distance, or >= distance
    bound = distance if factor == 1 else floordiv(distance + (factor - 1), factor)
    return ("<" if is_upper else ">="), bound


def clipped(start: Expr, extent: Expr, bounds: Iterable[tuple[str, Expr]]) -> tuple[Expr, Expr]:
    """Start and end of a loop that runs only the iterations inside all `bounds`, in a wide type."""
    low, high = start, start + extent
    for side, bound in bounds:
        if side == "<":
            high = minimum(*in_common_type(high, bound))
        else:
            low = maximum(*in_common_type(low, bound))
    return low, high


def is_atomic(value: Expr) -> bool:
    """Whether `value` is an atomic operation on the element it names first."""
    return (
        isinstance(value, Call)
        and value.op.startswith("atomic_")
        and isinstance(value.args[0], BufferLoad)
    )


def is_empty_loop(extent: Expr) -> bool:
    """Whether a loop certainly has no iterations."""
    return isinstance(extent, IntImm) and extent.value <= 0
