"""Intervals of integers, and what each operation makes of them.

`Interval` is what the rest of `arith` means by bounds: inclusive ends, `None` where there is none.
`OPERATIONS` gives the interval of a binary operation from the intervals of its operands; each is
sound (no value is left out), and tight where operands are independent and a divisor is constant.
Knows no expressions and no facts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    Add,
    BinaryOp,
    BitAnd,
    BitOr,
    BitXor,
    FloorDiv,
    FloorMod,
    Max,
    Min,
    Mul,
    ShiftLeft,
    ShiftRight,
    Sub,
    TruncDiv,
    TruncMod,
)

End = int | None
_MAX_SHIFT = 128  # wider shifts are not worth a number


class Interval(NamedTuple):
    """All integers from `lo` to `hi`, both included; `None` is an unknown end."""

    lo: End
    hi: End

    @property
    def is_point(self) -> bool:
        return self.lo is not None and self.lo == self.hi

    @property
    def is_nonneg(self) -> bool:
        return self.lo is not None and self.lo >= 0

    @property
    def is_positive(self) -> bool:
        return self.lo is not None and self.lo > 0

    @property
    def is_finite(self) -> bool:
        return self.lo is not None and self.hi is not None

    def inside(self, lo: int, hi: int) -> bool:
        """Whether every value lies in `lo .. hi`."""
        return self.lo is not None and self.hi is not None and lo <= self.lo and self.hi <= hi

    def below(self, other: Interval) -> bool:
        """Whether every value is at most every value of `other`."""
        return self.hi is not None and other.lo is not None and self.hi <= other.lo

    def join(self, other: Interval) -> Interval:
        """The smallest interval with both in it."""
        lo = None if self.lo is None or other.lo is None else min(self.lo, other.lo)
        hi = None if self.hi is None or other.hi is None else max(self.hi, other.hi)
        return Interval(lo, hi)

    def meet(self, other: Interval) -> Interval:
        """What both allow (an empty interval, `lo > hi`, where they contradict each other)."""
        lo, hi = self.lo, self.hi
        if lo is None or (other.lo is not None and other.lo > lo):
            lo = other.lo
        if hi is None or (other.hi is not None and other.hi < hi):
            hi = other.hi
        return Interval(lo, hi)

    def scaled(self, factor: int) -> Interval:
        """Every value times `factor`."""
        lo = None if self.lo is None else self.lo * factor
        hi = None if self.hi is None else self.hi * factor
        if factor == 0:
            return point(0)
        return Interval(lo, hi) if factor > 0 else Interval(hi, lo)


EVERYTHING = Interval(None, None)


def point(value: int) -> Interval:
    """The interval of one value."""
    return Interval(value, value)


def range_of(kind: dtype) -> Interval:
    """What a value of type `kind` can be.

    Signed types of 32 bits and more count as unbounded: their arithmetic does not overflow by
    contract, so their ends are never reached and would only make numbers long.
    """
    found = _RANGES.get(kind)
    if found is None:
        element = kind.element
        if element.is_bool:
            found = Interval(0, 1)
        elif element.is_int and (element.kind == "uint" or element.bits < 32):
            hi = int(element.max_value()) if element.bits < 32 else None
            found = Interval(int(element.min_value()), hi)
        else:
            found = EVERYTHING
        _RANGES[kind] = found
    return found


_RANGES: dict[dtype, Interval] = {}


def holds(kind: dtype, values: Interval) -> bool:
    """Whether the integer type `kind` can represent every one of `values`."""
    return values.inside(int(kind.min_value()), int(kind.max_value()))


def add(a: Interval, b: Interval) -> Interval:
    lo = None if a.lo is None or b.lo is None else a.lo + b.lo
    return Interval(lo, None if a.hi is None or b.hi is None else a.hi + b.hi)


def sub(a: Interval, b: Interval) -> Interval:
    return add(a, b.scaled(-1))


def mul(a: Interval, b: Interval) -> Interval:
    if b.lo is not None and b.lo == b.hi:
        return a.scaled(b.lo)
    if a.lo is not None and a.lo == a.hi:
        return b.scaled(a.lo)
    if a.is_finite and b.is_finite:
        corners = [x * y for x in a for y in b if x is not None and y is not None]
        return Interval(min(corners), max(corners))
    if a.hi is not None and a.hi <= 0:
        return mul(a.scaled(-1), b).scaled(-1)
    if b.hi is not None and b.hi <= 0:
        return mul(a, b.scaled(-1)).scaled(-1)
    if a.is_nonneg:
        return _times_nonneg(b, a)
    return _times_nonneg(a, b) if b.is_nonneg else EVERYTHING


def _times_nonneg(a: Interval, b: Interval) -> Interval:
    """`a * b` for `b >= 0`."""
    assert b.lo is not None
    lo = hi = None
    if a.lo is not None:
        far = b.lo if a.lo >= 0 else b.hi
        lo = None if far is None else a.lo * far
    if a.hi is not None:
        far = b.hi if a.hi >= 0 else b.lo
        hi = None if far is None else a.hi * far
    return Interval(lo, hi)


def floordiv(a: Interval, b: Interval) -> Interval:
    if b.hi is not None and b.hi < 0:
        return floordiv(a.scaled(-1), b.scaled(-1))
    if b.lo is None or b.lo <= 0:
        return _within_magnitude(a)
    lo = hi = None
    if a.lo is not None:
        far = b.lo if a.lo < 0 else b.hi
        lo = 0 if far is None else a.lo // far
    if a.hi is not None:
        far = b.hi if a.hi < 0 else b.lo
        hi = -1 if far is None else a.hi // far
    return Interval(lo, hi)


def _within_magnitude(a: Interval) -> Interval:
    """Bounds of `a` divided by anything but zero."""
    if a.lo is None or a.hi is None:
        return EVERYTHING
    size = max(abs(a.lo), abs(a.hi))
    return Interval(-size, size)


def floormod(a: Interval, b: Interval) -> Interval:
    if b.lo is not None and b.lo == b.hi and b.lo > 0:
        quotient = floordiv(a, b)
        if quotient.is_point and quotient.lo is not None:
            return add(a, point(-quotient.lo * b.lo))
    if b.lo is not None and b.lo > 0:
        hi = None if b.hi is None else b.hi - 1
        if a.is_nonneg and a.hi is not None:
            hi = a.hi if hi is None else min(hi, a.hi)
        return Interval(0, hi)
    if b.hi is not None and b.hi < 0:
        return Interval(None if b.lo is None else b.lo + 1, 0)
    if b.lo is None or b.hi is None:
        return EVERYTHING
    size = max(abs(b.lo), abs(b.hi)) - 1
    return Interval(-size, size)


def truncdiv(a: Interval, b: Interval) -> Interval:
    if b.hi is not None and b.hi < 0:
        return truncdiv(a, b.scaled(-1)).scaled(-1)
    if b.lo is None or b.lo <= 0:
        return _within_magnitude(a)
    lo = hi = None
    if a.lo is not None:
        far = b.hi if a.lo >= 0 else b.lo
        lo = 0 if far is None else (a.lo // far if a.lo >= 0 else -(-a.lo // far))
    if a.hi is not None:
        far = b.lo if a.hi >= 0 else b.hi
        hi = 0 if far is None else (a.hi // far if a.hi >= 0 else -(-a.hi // far))
    return Interval(lo, hi)


def truncmod(a: Interval, b: Interval) -> Interval:
    size = None if b.lo is None or b.hi is None else max(abs(b.lo), abs(b.hi)) - 1
    below = a.join(point(0))  # the sign is that of `a`
    return below if size is None else below.meet(Interval(-size, size))


def minimum(a: Interval, b: Interval) -> Interval:
    lo = None if a.lo is None or b.lo is None else min(a.lo, b.lo)
    hi = b.hi if a.hi is None else a.hi if b.hi is None else min(a.hi, b.hi)
    return Interval(lo, hi)


def maximum(a: Interval, b: Interval) -> Interval:
    return minimum(a.scaled(-1), b.scaled(-1)).scaled(-1)


def shift_left(a: Interval, b: Interval) -> Interval:
    if not b.is_nonneg or b.hi is None or b.hi > _MAX_SHIFT or b.lo is None:
        return Interval(0, None) if a.is_nonneg else EVERYTHING
    return mul(a, Interval(1 << b.lo, 1 << b.hi))


def shift_right(a: Interval, b: Interval) -> Interval:
    if not b.is_nonneg or b.hi is None or b.hi > _MAX_SHIFT or b.lo is None:
        return Interval(0, a.hi) if a.is_nonneg else EVERYTHING
    return floordiv(a, Interval(1 << b.lo, 1 << b.hi))


def bit_and(a: Interval, b: Interval) -> Interval:
    if a.is_nonneg or b.is_nonneg:
        ends = [x.hi for x in (a, b) if x.is_nonneg and x.hi is not None]
        return Interval(0, min(ends, default=None))
    return Interval(None, None if a.hi is None or b.hi is None else max(a.hi, b.hi))


def bit_or(a: Interval, b: Interval) -> Interval:
    if a.lo is None or b.lo is None or a.lo < 0 or b.lo < 0:
        return EVERYTHING
    return Interval(max(a.lo, b.lo), _all_ones(a.hi, b.hi))


def bit_xor(a: Interval, b: Interval) -> Interval:
    if not (a.is_nonneg and b.is_nonneg):
        return EVERYTHING
    return Interval(0, _all_ones(a.hi, b.hi))


def _all_ones(a: End, b: End) -> End:
    """The largest number of as many bits as the larger of two has."""
    return None if a is None or b is None else (1 << max(a, b).bit_length()) - 1


OPERATIONS: dict[type[BinaryOp], Callable[[Interval, Interval], Interval]] = {
    Add: add,
    Sub: sub,
    Mul: mul,
    FloorDiv: floordiv,
    FloorMod: floormod,
    TruncDiv: truncdiv,
    TruncMod: truncmod,
    Min: minimum,
    Max: maximum,
    ShiftLeft: shift_left,
    ShiftRight: shift_right,
    BitAnd: bit_and,
    BitOr: bit_or,
    BitXor: bit_xor,
}
