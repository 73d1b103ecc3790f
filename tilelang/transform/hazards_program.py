"""A launch as the hazard analysis sees it: places, accesses, and where threads part ways.

Comes in: a launch in thread form. Goes out: a `Program`, which answers for each statement what it
accesses, under which conditions and in which loops it stands, and whether all threads reach it.
Found once; `hazards_flow` walks over it as often as barriers are tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tilelang.ir.annotation import WARP_GROUPS
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import Call, Expr, Var
from tilelang.ir.node import Node
from tilelang.ir.ops import is_pure
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    Break,
    Continue,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
)
from tilelang.ir.visitor import walk
from tilelang.transform.hazards import Access, Place, accesses_of, inlined
from tilelang.transform.hazards_overlap import Storage, values_over_threads
from tilelang.transform.thread_exit import is_exit_test
from tilelang.transform.thread_grid import ThreadGrid
from tilelang.transform.varying import Varying, find_varying, leaves_differently

BLOCK_BARRIERS = frozenset(
    (
        "sync_threads", "sync_grid", "syncthreads_count", "syncthreads_and", "syncthreads_or",
        "barrier_wait", "mbarrier_wait_parity", "cluster_wait", "cluster_sync", "tl_sync_threads",
        "tl_bar_sync",
    )
)  # fmt: skip
COMMITS = frozenset(("ptx_commit_group", "tl_cp_async_commit_group"))
WAITS = frozenset(("ptx_wait_group", "tl_cp_async_wait_group"))
WAIT_ALL = "tl_cp_async_wait_all"
SYNCS = BLOCK_BARRIERS | COMMITS | WAITS | {WAIT_ALL, "sync_warp", "tl_sync_warp"}


class Program:
    """One launch; statements are known by their `id`, so none may stand in two places."""

    def __init__(self, launch: Launch, grid: ThreadGrid, parameters: Iterable[Var] = ()) -> None:
        self.launch = launch
        self.grid = grid
        self.varying = find_varying(launch.body, launch.thread_vars)
        self.storage = Storage(grid, common={*launch.grid_vars, *parameters})
        self.pointers: dict[Var, Buffer] = {}
        self.accesses: dict[int, list[Access]] = {}  # of a statement's own expressions
        self.places: dict[int, Place] = {}
        self.syncs: dict[int, list[Call]] = {}  # barriers and waits in those expressions
        self.divergent: dict[int, bool] = {}
        self.inner: dict[int, set[int]] = {}  # loop -> statements inside
        self._whole: dict[int, list[Access] | None] = {}
        self._uneven: dict[int, bool] = {}
        self._left: dict[int, bool] = {}
        self._prepare(launch.body, (), ())
        self._drop_unshared()

    def _prepare(
        self, stmt: Stmt, path: tuple[Stmt, ...], guards: tuple[tuple[Expr, bool], ...]
    ) -> None:
        if isinstance(stmt, Seq):
            for child in stmt.stmts:
                self._prepare(child, path, guards)
            return
        here = (*path, stmt)
        place = self.places[id(stmt)] = Place(here, guards)
        if isinstance(stmt, Allocate):
            self.storage.add(stmt)
            self.pointers[stmt.buffer.data] = stmt.buffer
            return
        if isinstance(stmt, Bind) and stmt.value.dtype.is_int and is_pure(stmt.value):
            self.storage.names[stmt.var] = inlined(stmt.value, self.storage.names)
        found: list[Access] = []
        for child in own_expressions(stmt):
            found += accesses_of(child, place, self.pointers)
        self.accesses[id(stmt)] = found
        self.syncs[id(stmt)] = [
            n
            for e in own_expressions(stmt)
            for n in walk(e)
            if isinstance(n, Call) and n.op in SYNCS
        ]
        self.divergent[id(stmt)] = self._diverges(stmt, place)
        for body, guard in bodies_of(stmt):
            self._prepare(body, here, (*guards, *guard))

    def _diverges(self, stmt: Stmt, place: Place) -> bool:
        """Whether threads may run different parts of `stmt`, or not the same number of times."""
        if not diverges(stmt, self.varying):
            return False
        return not isinstance(stmt, If) or self._same_in_all(stmt.condition, place) is not True

    def _same_in_all(self, condition: Expr, place: Place) -> bool | None:
        """Whether all threads see the same truth; `None` where that cannot be computed."""
        loops = [s for s in place.loops if isinstance(s, For)]
        return values_over_threads(
            condition, self.storage, loops, lambda t: bool((t.all(axis=1) | ~t.any(axis=1)).all())
        )

    def differs(self, stmt: Stmt) -> bool:
        """Whether some threads certainly skip what others run in the `If` `stmt`."""
        if not isinstance(stmt, If):
            return False
        return self._same_in_all(stmt.condition, self.places[id(stmt)]) is False

    def _drop_unshared(self) -> None:
        """Forget accesses to storage that nobody writes, and to global memory that is written
        by one statement alone."""
        written: dict[Var, set[int]] = {}
        touched: dict[Var, set[int]] = {}
        for key, found in self.accesses.items():
            for access in found:
                touched.setdefault(access.buffer.data, set()).add(key)
                if access.writes:
                    written.setdefault(access.buffer.data, set()).add(key)
        for key, found in self.accesses.items():
            self.accesses[key] = [
                a for a in found
                if self.storage.arena.get(a.buffer.data) is not None
                or (a.buffer.data in written
                    and (a.buffer.scope() != GLOBAL or len(touched[a.buffer.data]) > 1))
            ]  # fmt: skip

    # -- loops -----------------------------------------------------------------------------------

    def is_uneven(self, loop: For | While) -> bool:
        """Whether iterations may leave different things behind: some of it ordered or skipped."""
        if id(loop) not in self._uneven:
            self._uneven[id(loop)] = any(
                isinstance(s, (Break, Continue)) or self.syncs.get(id(s)) for s in statements(loop)
            )
        return self._uneven[id(loop)]

    def leaves(self, loop: For | While) -> bool:
        """Whether there is a `break` or `continue` in `loop`."""
        if id(loop) not in self._left:
            self._left[id(loop)] = any(isinstance(s, (Break, Continue)) for s in statements(loop))
        return self._left[id(loop)]

    def as_one(self, loop: For | While) -> list[Access] | None:
        """The accesses of a loop in which threads need not wait for each other; else `None`."""
        if not isinstance(loop, For):
            return None
        if id(loop) not in self._whole:
            self._whole[id(loop)] = self._find_whole(loop)
        return self._whole[id(loop)]

    def _find_whole(self, loop: For) -> list[Access] | None:
        inner = list(statements(loop))
        self.inner[id(loop)] = {id(s) for s in inner}
        found = [a for s in inner for a in self.accesses.get(id(s), ())]
        if loop.kind is LoopKind.VECTORIZED:
            return found
        if any(self.syncs.get(id(s)) for s in inner):
            return None
        around = {id(s): 0 for s in self.places[id(loop)].loops if s is not loop}
        for a in found:
            for b in found:
                if may_conflict(a, b) and self.storage.overlap(
                    a, b, around, False, a.is_async and a is not b
                ):
                    return None
        return found


def diverges(stmt: Stmt, varying: Varying) -> bool:
    """Whether threads may run different parts of `stmt`, or a different number of times."""
    match stmt:
        case Attr(key=key):
            return key == WARP_GROUPS
        case If(condition=condition):
            return varying(condition) and not is_exit_test(condition)
        case For(start=start, extent=extent, body=body):
            return varying(start) or varying(extent) or leaves_differently(body, varying)
        case While(condition=condition, body=body):
            return varying(condition) or leaves_differently(body, varying)
        case _:
            return False


def may_conflict(a: Access, b: Access) -> bool:
    """Whether the order of two accesses of one place matters."""
    return (a.writes or b.writes) and not a.kind == b.kind == "atomic"


def own_expressions(stmt: Stmt) -> list[Node]:
    """The expressions that `stmt` evaluates itself; a statement without bodies stands for them."""
    match stmt:
        case For(start=start, extent=extent):
            return [start, extent]
        case While(condition=condition) | If(condition=condition):
            return [condition]
        case Bind(value=value):
            return [value]
        case Attr() | Allocate():
            return []
        case _:
            return [stmt]


def statements(stmt: Stmt) -> Iterator[Stmt]:
    """`stmt` and the statements inside, without their expressions; a `Seq` stands for its own."""
    if isinstance(stmt, Seq):
        for child in stmt.stmts:
            yield from statements(child)
        return
    yield stmt
    for body, _ in bodies_of(stmt):
        yield from statements(body)


def bodies_of(stmt: Stmt) -> Iterator[tuple[Stmt, tuple[tuple[Expr, bool], ...]]]:
    """The statements inside `stmt`, each with the condition under which it runs."""
    match stmt:
        case If(condition=condition, then_body=then_body, else_body=else_body):
            yield then_body, ((condition, True),)
            if else_body is not None:
                yield else_body, ((condition, False),)
        case For(body=body) | While(body=body) | Attr(body=body):
            yield body, ()
        case _:
            return
