"""Branches that only some threads of a block take.

In: a condition on thread indices and constants. Out: which threads it holds for, and these as
threads of their own, among which a nest's iterations are dealt out. What depends on anything else
is not decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilelang.ir.expr import Expr, const_value
from tilelang.ir.stmt import Launch
from tilelang.ir.visitor import used_vars
from tilelang.tileop.context import BlockThreads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]


def threads_where(condition: Expr, launch: Launch) -> Mask | None:
    """By number of the thread, whether `condition` holds for it; `None` where it depends on more.

    The launch's threads are constant in number, and numbered with the x axis fastest.
    """
    names = used_vars(condition)
    if not names or not set(launch.thread_vars).issuperset(names):
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
