"""The rewrite rules, by what they speak of.

Read a row as `pattern -> replacement where`. Sums, products, quotients and remainders are the
business of linear forms (`canonical`, `division`), comparisons of integers that of `logic`; the
rows here are for the rest. Integer rows hold for exact integers; float rows for every value, NaN,
infinities and -0.0 included, so `x + 0.0` stays (it turns -0.0 into 0.0).
"""

from __future__ import annotations

from functools import cache

from tilelang.arith.interval import Interval
from tilelang.arith.pattern import (
    Anything,
    Const,
    both,
    called,
    chosen,
    compare,
    converted,
    either,
    flipped,
    maximum,
    minimum,
    negated,
    truncdiv,
    truncmod,
    typed,
)
from tilelang.arith.rule import Rule, Table, rule
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import EQ, NE

x, y, z = Anything("x"), Anything("y"), Anything("z")
p, q = Anything("p"), Anything("q")  # conditions
c, d = Const("c"), Const("d")


def _is_mask(value: int) -> bool:
    """Whether `value` is 0b0..01..1."""
    return value >= 0 and value & (value + 1) == 0


def _within(values: Interval, mask: int) -> bool:
    return _is_mask(mask) and values.inside(0, mask)


TRUNCATION = Table(
    "int",
    rule(truncdiv(x, y), x // y, when=lambda x, y: _signs(x) and _signs(y, above=1)),
    rule(truncmod(x, y), x % y, when=lambda x, y: _signs(x) and _signs(y, above=1)),
    rule(truncdiv(x, 1), x),
    rule(truncdiv(x, -1), x * -1),
    rule(truncmod(x, 1), 0),
    rule(truncmod(x, -1), 0),
    rule(truncdiv(truncdiv(x, c), d), truncdiv(x, c * d), when=lambda c, d: c * d != 0),
    rule(truncmod(truncmod(x, c), d), truncmod(x, d), when=lambda c, d: d != 0 and c % d == 0),
)


def _signs(value: Interval | int, above: int = 0) -> bool:
    """Whether all of `value` is at least `above`."""
    if isinstance(value, Interval):
        return value.lo is not None and value.lo >= above
    return value >= above


BITS = Table(
    "int",
    rule(x & 0, 0),
    rule(x & x, x),
    rule(x & -1, x),
    rule((x & c) & d, x & (c & d)),
    rule(x & c, x, when=lambda x, c: isinstance(x, Interval) and _within(x, c)),
    rule(x & (x | y), x),
    rule(x | 0, x),
    rule(x | x, x),
    rule(x | -1, -1),
    rule((x | c) | d, x | (c | d)),
    rule(x | (x & y), x),
    rule(x ^ 0, x),
    rule(x ^ x, 0),
    rule((x ^ c) ^ d, x ^ (c ^ d)),
    rule((x ^ y) ^ x, y),
    rule(flipped(flipped(x)), x),
    rule(x << 0, x),
    rule(x >> 0, x),
    rule((x >> c) >> d, x >> (c + d), when=lambda c, d: c >= 0 and d >= 0 and c + d < 32),
    rule((x & d) >> c, 0, when=lambda c, d: 0 <= c < 64 and 0 <= d < 1 << c),
)

CONDITIONS = Table(
    "bool",
    rule(both(p, p), p),
    rule(both(p, 1), p),
    rule(both(p, 0), 0),
    rule(both(p, either(p, q)), p),
    rule(both(p, either(negated(p), q)), both(p, q)),
    rule(either(p, p), p),
    rule(either(p, 0), p),
    rule(either(p, 1), 1),
    rule(either(p, both(p, q)), p),
    rule(either(p, both(negated(p), q)), either(p, q)),
    rule(negated(negated(p)), p),
    rule(compare(EQ, p, 1), p),
    rule(compare(EQ, p, 0), negated(p)),
    rule(compare(NE, p, 0), p),
    rule(compare(NE, p, 1), negated(p)),
    rule(compare(EQ, p, p), 1),
    rule(compare(NE, p, p), 0),
    rule(chosen(p, 1, 0), p),
    rule(chosen(p, 0, 1), negated(p)),
)

CHOICE = Table(
    "any",
    rule(chosen(p, x, x), x),
    rule(chosen(negated(p), x, y), chosen(p, y, x)),
    rule(chosen(p, chosen(p, x, y), z), chosen(p, x, z)),
    rule(chosen(p, x, chosen(p, y, z)), chosen(p, x, z)),
    rule(called("if_then_else", p, x, x), x),
    rule(called("likely", 0), 0),
    rule(called("likely", 1), 1),
)


FLOATS = Table(
    "float",
    rule(x * 1.0, x),
    rule(x / 1.0, x),
    rule(x - 0.0, x),
    rule(x + -0.0, x),
    rule(minimum(x, x), x),
    rule(maximum(x, x), x),
    rule(x * -1.0, called("neg", x)),
    rule(x / -1.0, called("neg", x)),
    rule(called("neg", called("neg", x)), x),
    rule(called("abs", called("neg", x)), called("abs", x)),
    rule(called("abs", called("abs", x)), called("abs", x)),
)

# Every value of the first type is one of the second.
_WIDENED = (
    ("float16", "float32"), ("bfloat16", "float32"), ("float32", "float64"), ("float16", "float64"),
    ("bfloat16", "float64"), ("float8_e4m3fn", "float16"), ("float8_e5m2", "float16"),
    ("float8_e4m3fn", "float32"), ("float8_e5m2", "float32"), ("float8_e4m3fn", "bfloat16"),
    ("float8_e5m2", "bfloat16"), ("float8_e4m3", "float16"), ("float8_e4m3", "float32"),
    ("float8_e4m3", "bfloat16"),
)  # fmt: skip


CASTS = Table(
    "any",
    *(
        rule(converted(converted(typed("x", narrow), wide), narrow), typed("x", narrow))
        for narrow, wide in _WIDENED
    ),
    *(
        rule(converted(converted(h, wide), wider), converted(h, wider))
        for narrow, wide in _WIDENED
        for h in [typed("x", narrow)]
        for wide_again, wider in _WIDENED
        if wide == wide_again
    ),
)
TO_BOOL = Table("int", rule(converted(x, "bool"), compare(NE, x, 0)))

TABLES = (TRUNCATION, BITS, CONDITIONS, CHOICE, FLOATS, CASTS, TO_BOOL)


@cache
def rules_for(kind: type, operands: dtype) -> tuple[Rule, ...]:
    """The rows for expressions of class `kind` over operands of type `operands`, in table order."""
    return tuple(r for table in TABLES if table.covers(operands) for r in table.for_class(kind))
