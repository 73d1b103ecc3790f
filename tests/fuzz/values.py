"""What is known of a generated value before any program runs: range, exactness, error.

A float is *exact* while it is a multiple of 2**-grid that its type can hold, so that any order of
evaluation gives the same bits. Once it is not, `error` bounds how far a run may be from the true
value. Comparisons, conversions to integers and sums in any order are generated for exact values
alone; the tolerance of an output is the error that is left in it. Uses nothing of the compiler.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PRECISION = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}  # bits of the significand
LARGEST = {"float64": 1e9, "float32": 1e7, "float16": 8000.0, "bfloat16": 1e7}
SMALLEST_STEP = {"float64": 30, "float32": 30, "float16": 12, "bfloat16": 30}  # finest grid allowed
INTEGERS = {
    "int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1), "int64": (-(2**63), 2**63 - 1),
}  # fmt: skip
MAY_WRAP = ("int8", "uint8", "int16", "uint32")


class Rejected(Exception):
    """The value would leave what its type can hold: generate something else."""


@dataclass(frozen=True)
class Value:
    """Bounds of a value of type `kind`; `grid` is `None` for a float that is not exact."""

    kind: str
    low: float
    high: float
    grid: int | None = 0
    error: float = 0.0

    @property
    def is_exact(self) -> bool:
        return self.grid is not None

    @property
    def magnitude(self) -> float:
        return max(abs(self.low), abs(self.high))

    @property
    def is_float(self) -> bool:
        return self.kind in PRECISION


def fitted(value: Value, roundings: int = 1) -> Value:
    """`value` as its type holds it after `roundings` roundings on the way.

    Raises:
        Rejected: for a number that is too large.
    """
    kind = value.kind
    if kind == "bool":
        return Value(kind, 0, 1)
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        if low <= value.low and value.high <= high:
            return value
        if kind in MAY_WRAP:
            return Value(kind, low, high)
        raise Rejected(f"{value} does not fit")
    if value.magnitude > LARGEST[kind]:
        raise Rejected(f"{value} is too large")
    grid = value.grid
    fine_enough = grid is not None and grid <= SMALLEST_STEP[kind]
    if fine_enough and value.magnitude * 2.0**grid <= 2.0 ** PRECISION[kind]:
        return value
    slack = roundings * 1.01 * value.magnitude * 2.0 ** -PRECISION[kind] + 1e-7 * roundings
    return Value(kind, value.low - slack, value.high + slack, None, value.error + slack)


def _grids(a: Value, b: Value) -> int | None:
    return None if a.grid is None or b.grid is None else max(a.grid, b.grid)


def add(a: Value, b: Value) -> Value:
    return fitted(Value(a.kind, a.low + b.low, a.high + b.high, _grids(a, b), a.error + b.error))


def negate(a: Value) -> Value:
    return fitted(replace(a, low=-a.high, high=-a.low))


def multiply(a: Value, b: Value) -> Value:
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    grid = None if a.grid is None or b.grid is None else a.grid + b.grid
    error = a.magnitude * b.error + b.magnitude * a.error + a.error * b.error
    return fitted(Value(a.kind, min(corners), max(corners), grid, error))


def join(a: Value, b: Value) -> Value:
    """Either of the two; of `a`'s type."""
    error = max(a.error, b.error)
    return Value(a.kind, min(a.low, b.low), max(a.high, b.high), _grids(a, b), error)


def maximum(a: Value, b: Value) -> Value:
    both = join(a, b)
    return replace(both, low=max(a.low, b.low), high=max(a.high, b.high))


def minimum(a: Value, b: Value) -> Value:
    both = join(a, b)
    return replace(both, low=min(a.low, b.low), high=min(a.high, b.high))


def absolute(a: Value) -> Value:
    low = 0.0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    return fitted(replace(a, low=low, high=a.magnitude))


def repeated(start: Value, step: Value, times: int) -> Value:
    """`start` plus up to `times` steps, in any order, rounded after each."""
    low = start.low + times * min(step.low, 0)
    high = start.high + times * max(step.high, 0)
    error = start.error + times * step.error
    made = Value(start.kind, low, high, _grids(start, step), error)
    return fitted(made, times + 1)


def converted(a: Value, kind: str) -> Value:
    """`a` cast to `kind`.

    Raises:
        Rejected: where rounding could decide the result, or the number does not fit.
    """
    to_whole = kind == "bool" or kind in INTEGERS
    if to_whole and not a.is_exact:
        raise Rejected("an inexact value decides an integer")
    if kind in INTEGERS and a.is_float:
        low, high = INTEGERS[kind]
        if a.low < low or a.high > high:
            raise Rejected("the conversion saturates")
        return Value(kind, int(a.low), int(a.high))
    if to_whole:
        return fitted(Value(kind, a.low, a.high))
    return fitted(replace(a, kind=kind))


def smooth(a: Value, low: float, high: float, slope: float) -> Value:
    """The result of a function of that range and steepness, computed to a few units."""
    return fitted(Value(a.kind, low, high, None, slope * a.error), 8)
