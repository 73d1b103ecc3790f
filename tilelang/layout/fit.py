"""A table of integers back to an index expression.

`fit` looks for two forms of `f(i0, i1, ...)`:

* *additive*: a constant plus, per axis, mixed-radix digits with strides,
  `sum_d ((i // L_d) % R_d) * s_d`; radices need not be powers of two;
* *linear over bits*: all extents powers of two and `f(i ^ j) == f(i) ^ f(j) ^ f(0)`: XOR of shifted
  bit fields, which is what swizzles are.

What fits neither gives `None`; the caller names the layouts in its error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tilelang.ir.expr import Expr, as_expr, is_const
from tilelang.ir.record import record

Table = npt.NDArray[np.int64]


@record
class Digit:
    """The part `((i // period) % radix) * stride` of one axis."""

    axis: int
    period: int
    radix: int
    stride: int

    def expr(self, var: Expr, extent: int) -> Expr:
        value = var // self.period
        if self.period * self.radix < extent:
            value = value % self.radix
        return value * self.stride


def fit(table: Table, variables: Sequence[Expr]) -> Expr | None:
    """An expression of `variables` (one per axis of `table`) with the values of `table`."""
    origin = int(table.flat[0]) if table.size else 0
    digits = additive_digits(table)
    if digits is not None:
        return _sum(as_expr(origin), digits, variables, table)
    return _fit_swizzle(*_split_axes(table, variables))


def _split_axes(table: Table, variables: Sequence[Expr]) -> tuple[Table, list[Expr]]:
    """Each axis of extent `odd * 2**k` as two: the XOR works on the power of two alone."""
    shape: list[int] = []
    parts: list[Expr] = []
    for extent, var in zip(table.shape, variables):
        power = extent & -extent
        if power in (1, extent):
            shape.append(extent)
            parts.append(var)
        else:
            shape += [extent // power, power]
            parts += [var // power, var % power]
    return table.reshape(shape), parts


def _fit_swizzle(table: Table, variables: Sequence[Expr]) -> Expr | None:
    """XOR over the axes of power-of-two extent, plus digits of the others."""
    total: Expr = as_expr(0)
    for axis, extent in enumerate(table.shape):
        if extent & (extent - 1):
            values = _axis_values(table, axis)
            digits = _radix_digits(values, axis)
            shape = [-1 if a == axis else 1 for a in range(table.ndim)]
            rest = table - values.reshape(shape)
            if digits is None or np.any(rest != rest.take([0], axis)):
                return None
            total = _sum(total, digits, variables, table)
            table = rest.take([0], axis)
    digits = xor_digits(table)
    if digits is None:
        return None
    mixed: Expr = as_expr(int(table.flat[0]))
    for digit in digits:
        part = digit.expr(variables[digit.axis], table.shape[digit.axis])
        mixed = part if is_const(mixed, 0) else mixed ^ part
    return total + mixed


def _sum(total: Expr, digits: list[Digit], variables: Sequence[Expr], table: Table) -> Expr:
    for digit in digits:
        total = total + digit.expr(variables[digit.axis], table.shape[digit.axis])
    return total


def _axis_values(table: Table, axis: int) -> Table:
    """`f` along one axis with the other indices 0, less `f(0)`."""
    index = tuple(slice(None) if a == axis else 0 for a in range(table.ndim))
    return table[index] - table.flat[0]


def additive_digits(table: Table) -> list[Digit] | None:
    """Digits whose sum (plus the value at the origin) is `table`."""
    digits: list[Digit] = []
    rebuilt = np.full(table.shape, table.flat[0] if table.size else 0)
    for axis in range(table.ndim):
        values = _axis_values(table, axis)
        found = _radix_digits(values, axis)
        if found is None:
            return None
        digits += found
        rebuilt = rebuilt + values.reshape([-1 if a == axis else 1 for a in range(table.ndim)])
    return digits if np.array_equal(rebuilt, table) else None


def _radix_digits(values: Table, axis: int) -> list[Digit] | None:
    extent, period, digits = len(values), 1, list[Digit]()
    while period < extent:
        stride = int(values[period])
        radix = 1
        while radix * period < extent and values[radix * period] == radix * stride:
            radix += 1
        if extent % period:
            return None
        if radix * period < extent:  # a longer run may hide a shorter radix: it has to divide
            while radix > 1 and (extent // period) % radix:
                radix -= 1
            if radix == 1:
                return None
        if stride:
            digits.append(Digit(axis, period, radix, stride))
        period *= radix
    index = np.arange(extent)
    rebuilt = sum((index // d.period % d.radix * d.stride for d in digits), np.zeros_like(index))
    return digits if np.array_equal(rebuilt, values) else None


def xor_digits(table: Table) -> list[Digit] | None:
    """Bit fields whose XOR (with the value at the origin) is `table`."""
    if any(n & (n - 1) for n in table.shape) or table.size == 0 or int(table.min()) < 0:
        return None
    grids = np.indices(table.shape)
    rebuilt = np.full(table.shape, table.flat[0])
    digits: list[Digit] = []
    for axis, extent in enumerate(table.shape):
        for bit in range(extent.bit_length() - 1):
            index = tuple(1 << bit if a == axis else 0 for a in range(table.ndim))
            column = int(table[index]) ^ int(table.flat[0])
            rebuilt = rebuilt ^ ((grids[axis] >> bit & 1) * column)
            digits.append(Digit(axis, 1 << bit, 2, column))
    return _merge_bits(digits) if np.array_equal(rebuilt, table) else None


def _merge_bits(digits: list[Digit]) -> list[Digit]:
    """Neighbouring bits that move together become one field; bits that go nowhere vanish."""
    fields: list[Digit] = []
    for digit in digits:
        last = fields[-1] if fields else None
        if last is not None and _continues(last, digit):
            fields[-1] = Digit(last.axis, last.period, last.radix * 2, last.stride)
            continue
        fields.append(digit)
    return [f for f in fields if f.stride]


def _continues(low: Digit, high: Digit) -> bool:
    """Whether bit `high` is the next one of field `low`, moved by the same shift."""
    return (
        (low.axis, low.period * low.radix) == (high.axis, high.period)
        and high.stride == low.stride * low.radix
        and low.stride & (low.stride - 1) == 0  # a shift, so that fields never overlap
        and high.stride != 0
    )
