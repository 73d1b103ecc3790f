"""Branches that only some threads of a block take.

In: a condition on thread indices and constants. Out: which threads it holds for, and these as
threads of their own, among which a nest's iterations are dealt out. What depends on anything else
is not decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilelang.ir.expr import And, BinaryOp, BitAnd, Expr, const_value
from tilelang.ir.stmt import Launch
from tilelang.ir.visitor import used_vars
from tilelang.tileop.context import BlockThreads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]


def threads_where(condition: Expr, launch: Launch) -> Mask | None:
    """By number of the thread, whether `condition` holds for it; `None` where it depends on more.

    The launch's threads are constant in number, and numbered with the x axis fastest. Parts of a
    conjunction that are the same for all threads are left out: where the branch runs, they hold.
    """
    parts = [p for p in conjuncts(condition) if any(v in launch.thread_vars for v in used_vars(p))]
    masks = [_holds(p, launch) for p in parts]
    chosen = masks[0] if masks else None
    for mask in masks:
        chosen = None if chosen is None or mask is None else chosen & mask
    return chosen


def conjuncts(condition: Expr) -> list[Expr]:
    """The parts that all have to hold."""
    is_bitwise = isinstance(condition, BitAnd) and condition.dtype.is_bool
    if isinstance(condition, And) or is_bitwise:
        assert isinstance(condition, BinaryOp), "both have two operands"
        return [*conjuncts(condition.a), *conjuncts(condition.b)]
    return [condition]


def _holds(condition: Expr, launch: Launch) -> Mask | None:
    if not set(launch.thread_vars).issuperset(used_vars(condition)):
        return None
    import numpy as np

    from tilelang.layout.evaluate import evaluate

    extents = [int(const_value(e) or 1) for e in launch.thread_extents]
    numbers = np.indices(extents[::-1])[::-1]
    env = {v: n.reshape(-1) for v, n in zip(launch.thread_vars, numbers)}
    try:
        holds = evaluate(condition, env)
    except (KeyError, TypeError):
        return None
    return np.asarray(holds).astype(bool)


def only(threads: BlockThreads, chosen: Mask) -> BlockThreads | None:
    """The chosen threads, numbered from 0; `None` when there are none, or others between them."""
    import numpy as np

    numbers = np.nonzero(chosen)[0]
    if not len(numbers) or numbers[-1] - numbers[0] + 1 != len(numbers):
        return None
    return BlockThreads(len(numbers), threads.index - int(numbers[0]), threads.warp_size)
