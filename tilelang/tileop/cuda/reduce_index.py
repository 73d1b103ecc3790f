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
    law = _periodic(column, here, thread)
    if law is not None:
        return law
    for low in dict.fromkeys((start, int(here[0]))):
        span = slice(low, int(here[-1]) + 1)
        fitted = fit(_filled(column[span], valid[span]), (thread - low,))
        if fitted is not None:
            return fitted
    middle = (start + stop) // 2
    low, high = (_number(column, valid, a, b, thread) for a, b in ((start, middle), (middle, stop)))
    return select(less(thread, middle), low, high)


def _periodic(column: Table, here: Table, thread: Expr) -> Expr | None:
    """`first + thread % period * a + thread // period * b` that is `column` at `here`."""
    period = 2
    while period <= int(here[-1]):
        lanes, blocks = here % period, here // period
        step = _slope(column[here], lanes, blocks)
        jump = _slope(column[here] - lanes * step, blocks, np.zeros_like(blocks))
        first = int(column[here[0]] - lanes[0] * step - blocks[0] * jump)
        if np.array_equal(first + lanes * step + blocks * jump, column[here]):
            made: Expr = as_expr(first)
            for part, factor in ((thread % period, step), (thread // period, jump)):
                made = made + part * factor if factor else made
            return made
        period *= 2
    return None


def _slope(values: Table, places: Table, groups: Table) -> int:
    """How much `values` grow per place, by the first two places of one group; 0: there are none."""
    apart = np.flatnonzero((np.diff(groups) == 0) & (np.diff(places) != 0))
    if not len(apart):
        return 0
    at = int(apart[0])
    return int(values[at + 1] - values[at]) // int(places[at + 1] - places[at])


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
    """`thread % period` in one of some ranges, of all threads or of the first ones."""
    stop = int(np.flatnonzero(wanted)[-1]) + 1
    is_run = wanted[:stop].all()
    if not is_run and _period(wanted) == len(wanted) and _period(wanted[:stop]) < stop:
        return logical_and(_range_test(wanted[:stop], thread), less(thread, stop))
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
    stmts: list[Stmt] = []
    for start, stop in _runs_alike(valid, doing):
        if stop > start + 1:
            some = [t[:, start:stop] for t in tables]
            held, does = valid[:, start:stop], doing[:, start:stop]
            looped = _as_loop(name, some, held, thread, body, does, start)
            if looped is not None:
                stmts.append(looped)
                continue
        stmts += [
            body(
                as_expr(n),
                [number_of(table[:, n], valid[:, n], thread) for table in tables],
                condition_of(doing[:, n], thread),
            )
            for n in range(start, stop)
            if doing[:, n].any()
        ]
    return together(*stmts)


def _runs_alike(valid: Mask, doing: Mask) -> list[tuple[int, int]]:
    """Runs of columns `[start, stop)` that the same threads have and do."""
    both = np.concatenate((valid, doing))
    edges = np.flatnonzero((both[:, 1:] != both[:, :-1]).any(axis=0)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), both.shape[1]]))


def _as_loop(
    name: str,
    tables: Sequence[Table],
    valid: Mask,
    thread: Expr,
    body: Callable[[Expr, list[Expr], Expr], Stmt],
    doing: Mask,
    start: int,
) -> Stmt | None:
    """The columns from `start` on, which the same threads have and do, as one loop."""
    var = Var(name)
    numbers: list[Expr] = []
    for table in tables:
        fitted = _number_in_loop(table, valid[:, 0], thread, var - start if start else var)
        if fitted is None:
            return None
        numbers.append(fitted)
    inner = body(var, numbers, condition_of(doing[:, 0], thread))
    return For(var, as_expr(start), as_expr(valid.shape[1]), LoopKind.UNROLLED, inner)


def _number_in_loop(table: Table, valid: Mask, thread: Expr, column: Expr) -> Expr | None:
    """An expression that is `table[thread, column]` wherever `valid[thread]`, if there is a law."""
    rows = int(np.count_nonzero(valid))
    if rows and valid[:rows].all():
        fitted = fit(table[:rows], (thread, column))
        if fitted is not None:
            return fitted
    held = table[valid]
    steps = held[:1] - held[:1, :1]
    if not len(held) or np.any(held - held[:, :1] != steps):
        return None
    along = fit(steps[0], (column,))
    return None if along is None else number_of(table[:, 0], valid, thread) + along


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
