"""A static check of finished thread code: threads that race, barriers that never complete.

In: thread IR after `insert_barriers`, or with the user's own barriers alone. Out: the same
function, or an error at the user's line. With automatic barriers every hazard that a barrier could
order is an error; otherwise only those for which two threads and an element are known, so that what
the analysis cannot see through raises no alarm.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilelang.errors import Error, Note
from tilelang.ir.expr import Call
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import If, Launch, Seq, Stmt
from tilelang.ir.visitor import walk
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.hazards_flow import Flow, Hazard
from tilelang.transform.hazards_program import Program, bodies_of, own_expressions
from tilelang.transform.insert_barriers import distinct, parameters_of
from tilelang.transform.thread_grid import thread_grid
from tilelang.transform.thread_regions import DivergenceError

_ALL_MEET = frozenset(
    ("sync_threads", "tl_sync_threads", "syncthreads_count", "syncthreads_and", "syncthreads_or")
)
_WHAT = {
    "read after write": ("written here", "read by another thread here"),
    "write after read": ("read here", "overwritten by another thread here"),
    "write after write": ("written here", "written by another thread here"),
    "missing wait": ("copied to asynchronously here", "used here before the copy has landed"),
}


class RaceError(Error, ValueError):
    """Accesses of different threads to one element without an order."""


def check_barriers(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Leaves the function as it is.

    Raises:
        RaceError: for two accesses of different threads that no barrier orders, and for data that
            is used before an asynchronous copy has been waited for.
        DivergenceError: for a barrier of all threads where only some of them run.
    """
    automatic = not ctx.option(PassConfigKey.TL_DISABLE_THREAD_STORAGE_SYNC)
    parameters = parameters_of(func)
    for launch in walk(distinct(func)):
        if not isinstance(launch, Launch):
            continue
        grid = thread_grid(launch)
        program = Program(launch, grid, parameters)
        for condition, barrier in _unreachable(launch.body, program, ()):
            raise _divergence(condition, barrier)
        if grid.count == 1:
            continue
        wrong = [h for h in Flow(program).every() if is_wrong(h, automatic)]
        if wrong:
            raise _race(wrong, automatic)
    return func


def is_wrong(hazard: Hazard, automatic: bool) -> bool:
    """Whether a hazard that is left is a mistake for certain."""
    if hazard.spot is not None and automatic:
        return True
    if hazard.spot is None and hazard.dependence == "write after write":
        return False  # the threads may well write one value
    return hazard.is_certain


def _race(wrong: list[Hazard], automatic: bool) -> RaceError:
    hazard = wrong[0]
    first, second = _WHAT[hazard.dependence]
    name, other = hazard.before.buffer.name, hazard.after.buffer.name
    what = f"`{name}`" if name == other else f"`{other}` in the memory of `{name}`"
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    if hazard.dependence == "missing wait":
        message, hint = f"race: {what} is {second}{more}", "T.ptx_wait_group(0), T.sync_threads()"
    else:
        message = f"race: {what} is {second}, without a barrier since it was {first[:-5]}{more}"
        hint = "T.sync_threads() between the two"
    if hazard.spot is None and hazard.dependence != "missing wait":
        hint = "move one of the two out of the condition: not all threads reach this place"
    elif not automatic and hazard.dependence != "missing wait":
        hint += f", or leave {PassConfigKey.TL_DISABLE_THREAD_STORAGE_SYNC.value} off"
    notes = [Note(hazard.before.span, first)] if hazard.before.span else []
    return RaceError(message, hazard.after.span, notes=notes, hint=hint)


def _unreachable(node: Stmt, program: Program, around: tuple[If, ...]) -> Iterator[tuple[If, Stmt]]:
    """Barriers of all threads inside a condition that some threads certainly do not take."""
    if isinstance(node, Seq):
        for child in node.stmts:
            yield from _unreachable(child, program, around)
        return
    if around and any(
        isinstance(n, Call) and n.op in _ALL_MEET and not (n.op == "sync_threads" and n.args)
        for e in own_expressions(node) for n in walk(e)
    ):  # fmt: skip
        yield around[-1], node
    inside = (*around, node) if isinstance(node, If) and program.differs(node) else around
    for body, _ in bodies_of(node):
        yield from _unreachable(body, program, inside)


def _divergence(condition: If, barrier: Stmt) -> DivergenceError:
    notes = [Note(condition.span, f"`{condition.condition}` differs between threads")]
    return DivergenceError(
        "T.sync_threads waits for all threads, but stands where only some of them run",
        barrier.span,
        notes=notes if condition.span else [],
        hint="move the barrier out of the condition, or use T.sync_threads(id, count)",
    )
