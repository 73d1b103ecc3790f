"""Tables over threads as expressions of the thread's number.

Instructions read from NumPy tables what each thread has to do (`layout/reduced.py`); here columns
`[threads]` become expressions, and tables `[threads, count]` become unrolled loops where the
numbers follow a law, or straight-line code where they do not. Always gives an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tilelang.ir.expr import (
    Expr,
    Var,
    as_expr,
    equal,
    greater_equal,
    less,
    logical_and,
    logical_or,
    select,
)
from tilelang.ir.stmt import For, LoopKind, Stmt
from tilelang.layout.fit import fit
from tilelang.tileop.loops import NOTHING, loop, together

Table = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
TRUE = as_expr(True)


def number_of(column: Table, valid: Mask, thread: Expr) -> Expr:
    """An expression that is `column[thread]` wherever `valid[thread]`."""
    here = np.nonzero(valid)[0]
    if not len(here):
        return as_expr(0)
    return _number(column, valid, int(here[0]), int(here[-1]) + 1, thread)


def _number(column: Table, valid: Mask, start: int, stop: int, thread: Expr) -> Expr:
    here = start + np.nonzero(valid[start:stop])[0]
    if not len(here):
        return as_expr(0)
    if np.all(column[here] == column[here[0]]):
        return as_expr(int(column[here[0]]))
    for low in dict.fromkeys((start, int(here[0]))):
        span = slice(low, int(here[-1]) + 1)
        fitted = fit(_filled(column[span], valid[span]), (thread - low,))
        if fitted is not None:
            return fitted
    middle = (start + stop) // 2
    low, high = (_number(column, valid, a, b, thread) for a, b in ((start, middle), (middle, stop)))
    return select(less(thread, middle), low, high)


def _filled(column: Table, valid: Mask) -> Table:
    """`column` with gaps taking the number before them; any will do there."""
    last = np.maximum.accumulate(np.where(valid, np.arange(len(column)), -1))
    first = int(np.argmax(valid))
    return column[np.where(last < 0, first, last)]


def condition_of(wanted: Mask, thread: Expr, matters: Mask | None = None) -> Expr:
    """A condition that is `wanted[thread]`, at least wherever `matters[thread]`."""
    if matters is not None and np.array_equal(wanted & matters, matters):
        return TRUE
    if wanted.all():
        return TRUE
    numbers = np.nonzero(wanted)[0]
    if not len(numbers):
        return as_expr(False)
    by_bits = _bit_test(wanted, numbers, thread)
    return _range_test(wanted, thread) if by_bits is None else by_bits


def _bit_test(wanted: Mask, numbers: Table, thread: Expr) -> Expr | None:
    """`thread & mask == value`, when just the wanted threads have these bits."""
    full = (1 << int(len(wanted) - 1).bit_length()) - 1
    ones = int(np.bitwise_and.reduce(numbers))
    same = ones | (full & ~int(np.bitwise_or.reduce(numbers)))
    if not np.array_equal((np.arange(len(wanted)) & same) == ones, wanted):
        return None
    if same == full:
        return equal(thread, ones)
    low = same & ~(same + 1)  # the run of ones at the bottom
    if low == same:
        return equal(thread % (same + 1), ones)
    high = full & ~same
    if not ones and high & (high + 1) == 0:  # the top bits are 0
        return less(thread, high + 1)
    return equal(thread & same, ones)


def _range_test(wanted: Mask, thread: Expr) -> Expr:
    """`thread % period` in one of some ranges."""
    period = _period(wanted)
    place = thread if period == len(wanted) else thread % period
    edges = np.flatnonzero(np.diff(np.concatenate(([0], wanted[:period].astype(np.int8), [0]))))
    test: Expr = as_expr(False)
    for low, high in zip(edges[::2].tolist(), edges[1::2].tolist()):
        above = TRUE if low == 0 else greater_equal(place, low)
        below = TRUE if high == period else less(place, high)
        inside = equal(place, low) if high == low + 1 else logical_and(above, below)
        test = logical_or(test, inside)
    return test


def _period(wanted: Mask) -> int:
    count = len(wanted)
    for period in range(1, count // 2 + 1):
        if np.array_equal(wanted[period:], wanted[:-period]):
            return period
    return count


def for_each(
    name: str,
    tables: Sequence[Table],
    valid: Mask,
    thread: Expr,
    body: Callable[[Expr, list[Expr], Expr], Stmt],
    wanted: Mask | None = None,
) -> Stmt:
    """`body(n, numbers, condition)` for each column `n` of tables `[threads, count]`.

    Args:
        valid: `[threads, count]` where the numbers of the tables mean something.
        wanted: `[threads, count]` which threads do it; those of `valid` when not given.
    """
    doing = valid if wanted is None else wanted
    count = valid.shape[1]
    if count == 0:
        return NOTHING
    looped = _as_loop(name, tables, valid, thread, body, doing) if count > 1 else None
    if looped is not None:
        return looped
    return together(
        *(
            body(
                as_expr(n),
                [number_of(table[:, n], valid[:, n], thread) for table in tables],
                condition_of(doing[:, n], thread),
            )
            for n in range(count)
            if doing[:, n].any()
        )
    )


def _as_loop(
    name: str,
    tables: Sequence[Table],
    valid: Mask,
    thread: Expr,
    body: Callable[[Expr, list[Expr], Expr], Stmt],
    doing: Mask,
) -> Stmt | None:
    if np.any(doing != doing[:, :1]) or np.any(valid != valid[:, :1]):
        return None
    rows = int(np.count_nonzero(valid[:, 0]))
    if not valid[:rows, 0].all() or rows == 0:
        return None
    var = Var(name)
    numbers: list[Expr] = []
    for table in tables:
        fitted = fit(table[:rows], (thread, var))
        if fitted is None:
            return None
        numbers.append(fitted)
    inner = body(var, numbers, condition_of(doing[:, 0], thread))
    return For(var, as_expr(0), as_expr(valid.shape[1]), LoopKind.UNROLLED, inner)


def unrolled(
    name: str, numbers: Sequence[Table], body: Callable[[Expr, list[Expr]], Stmt], start: int = 0
) -> Stmt:
    """`body(n, [row[n] for row in numbers])` for each `n` from `start` on."""
    count = len(numbers[0]) - start
    var = Var(name)
    fitted = [fit(np.asarray(row)[start:], (var,)) for row in numbers] if count > 1 else []
    laws = [f for f in fitted if f is not None]
    if count > 1 and len(laws) == len(numbers):
        from tilelang.ir.visitor import substitute

        def step(n: Expr) -> Stmt:
            return body(n, [substitute(law, {var: n - start}) for law in laws])

        return loop(name, count, step, LoopKind.UNROLLED, start)
    return together(
        *(
            body(as_expr(n), [as_expr(int(row[n])) for row in numbers])
            for n in range(start, start + count)
        )
    )
