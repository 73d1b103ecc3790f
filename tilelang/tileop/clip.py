"""Which part of a tile lies inside its buffer, decided once and outside the loops.

An axis of a tile runs over `start, ..., start + extent - 1`; its `Interval` holds the iterations
that fall inside the buffer. Operators bind the bounds to names, run interior tiles through loops of
constant extents, and give edge tiles loops over what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilelang.ir.expr import (
    BufferRegion,
    Expr,
    Var,
    as_expr,
    cast,
    equal,
    is_const,
    logical_and,
    maximum,
    minimum,
)
from tilelang.ir.number import promote
from tilelang.ir.record import record
from tilelang.ir.stmt import Bind, Stmt
from tilelang.tileop.context import LowerContext


@record
class Interval:
    """Iterations `low <= i < high` of a loop of `extent` iterations.

    `end` is where the buffer ends; it may lie before `low` until the interval is bound to names.
    """

    low: Expr
    end: Expr
    extent: Expr
    is_whole: bool  # known to be all of them
    is_bound: bool = False  # `end` is not before `low`

    @property
    def high(self) -> Expr:
        """End of the iterations; never before `low`."""
        if self.is_bound or self.is_whole or self.end is self.extent:
            return self.end
        return maximum(self.low, self.end)

    @property
    def count(self) -> Expr:
        """How many there are; never negative."""
        return self.extent if self.is_whole else self.high - self.low

    @property
    def is_full(self) -> Expr:
        """Condition: nothing is cut off."""
        if self.is_whole:
            return as_expr(True)
        start = as_expr(True) if is_const(self.low, 0) else equal(self.low, 0)
        end = as_expr(True) if self.end is self.extent else equal(self.high, self.extent)
        return logical_and(start, end)


def whole(extent: Expr) -> Interval:
    """All iterations."""
    return Interval(as_expr(0), extent, extent, True)


def inside(ctx: LowerContext, start: Expr, extent: Expr, limit: Expr) -> Interval:
    """The iterations `i < extent` with `0 <= start + i < limit`."""
    kind = promote(promote(start.dtype, extent.dtype), limit.dtype)
    start, extent, limit = cast(start, kind), cast(extent, kind), cast(limit, kind)
    starts_inside = ctx.proves(start >= 0)
    ends_inside = ctx.proves(start + extent <= limit)
    low = as_expr(0) if starts_inside else ctx.simplify(minimum(maximum(0, -start), extent))
    end = extent if ends_inside else ctx.simplify(minimum(extent, limit - start))
    return Interval(low, end, extent, starts_inside and ends_inside)


def region_intervals(
    ctx: LowerContext, region: BufferRegion, axes: Sequence[int], extents: Sequence[Expr]
) -> list[Interval]:
    """Per loop over axis `axes[k]` of `region` with `extents[k]` iterations: which are inside."""
    made: list[Interval] = []
    for axis, extent in zip(axes, extents):
        limit = as_expr(region.buffer.shape[axis])
        made.append(inside(ctx, region.ranges[axis].start, extent, limit))
    return made


def fixed_axes_inside(ctx: LowerContext, region: BufferRegion, axes: Sequence[int]) -> Expr:
    """Condition: the region lies inside its buffer on the axes that no loop runs over."""
    condition: Expr = as_expr(True)
    for axis, bounds in enumerate(region.ranges):
        if axis in axes:
            continue
        for part in (bounds.start >= 0, bounds.start < as_expr(region.buffer.shape[axis])):
            if not ctx.proves(part):
                condition = logical_and(condition, part)
    return condition


class Names:
    """Binds bounds to variables, so that they are computed once."""

    def __init__(self) -> None:
        self.stmts: list[Stmt] = []

    def bind(self, name: str, value: Expr) -> Expr:
        """`value` itself when it is a constant or a name, otherwise a fresh name for it."""
        if is_const(value) or isinstance(value, Var):
            return value
        var = Var(name, value.dtype)
        self.stmts.append(Bind(var, value))
        return var

    def bind_interval(self, name: str, interval: Interval) -> Interval:
        """The same interval with its bounds as names."""
        if interval.is_whole or interval.is_bound:
            return interval
        low = self.bind(f"{name}_low", interval.low)
        if interval.end is interval.extent:
            return Interval(low, interval.end, interval.extent, False, True)
        high = Interval(low, interval.end, interval.extent, False).high
        return Interval(low, self.bind(f"{name}_high", high), interval.extent, False, True)


def all_full(intervals: Sequence[Interval]) -> Expr:
    """Condition: no interval is cut."""
    condition: Expr = as_expr(True)
    for interval in intervals:
        condition = logical_and(condition, interval.is_full)
    return condition


def meet(a: Interval, b: Interval) -> Interval:
    """Iterations that are in both."""
    if a.is_whole or b.is_whole:
        return b if a.is_whole else a
    low = a.low if is_const(b.low, 0) else b.low if is_const(a.low, 0) else maximum(a.low, b.low)
    end = a.end if b.end is b.extent else b.end if a.end is a.extent else minimum(a.end, b.end)
    return Interval(low, end, a.extent, False)
