"""Thread code cut into regions: stretches that one thread after the other can run as a whole.

Comes in: the body of a launch in thread form, with what varies between threads. Goes out: the same
statements, where `Region` nodes hold what each thread runs for itself; between regions stands what
the block does once. Cuts are made at barriers, at operations in which threads see each other's
values, at block-level statements, and where `thread_hazards` asks for a barrier. `spread_threads`
turns regions into loops.
"""

from __future__ import annotations

from typing import Any, NoReturn

from tilelang.errors import Error, Note
from tilelang.ir.annotation import COLLECTIVE, ITERATION, WARP_GROUPS
from tilelang.ir.buffer import VAR, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    INT32,
    Call,
    Expr,
    as_condition,
    as_expr,
    equal,
    floordiv,
    logical_not,
    logical_or,
    maximum,
)
from tilelang.ir.node import Node, node, replace
from tilelang.ir.ops import has_side_effect
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Attr,
    Bind,
    Break,
    BufferStore,
    Continue,
    Evaluate,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
    While,
    seq,
)
from tilelang.ir.visitor import Mutator, nodes_in, walk
from tilelang.transform.thread_exit import is_exit_test
from tilelang.transform.thread_grid import WARP_GROUP, ThreadGrid, each
from tilelang.transform.thread_hazards import Access, Ranges, conflict, shared_accesses
from tilelang.transform.varying import (
    BARRIERS,
    EXCHANGES,
    Varying,
    is_private,
    leaves_differently,
    loop_differs,
)
from tilelang.transform.warp_exchange import Exchanger, element, per_thread, store


class DivergenceError(Error, ValueError):
    """A barrier, or another meeting of threads, that not all threads of the block reach."""


@node
class Region(Stmt):
    """What each thread (for which `active` holds, when given) runs; lives only inside this pass."""

    body: Stmt
    active: Buffer | None = None


class RegionCutter:
    """Cuts the body of one launch."""

    def __init__(self, varying: Varying, grid: ThreadGrid) -> None:
        self.varying = varying
        self.grid = grid
        self.ranges = Ranges()
        self.out: list[Stmt] = []  # finished statements of the block being built
        self.open: list[Stmt] = []  # statements of the open region
        self.accesses: list[Access] = []  # of the open region
        self.active: Buffer | None = None  # which threads are running
        self.under: If | None = None  # the innermost condition on the thread around

    def cut(self, body: Stmt) -> Stmt:
        """`body` with regions."""
        self.ranges.add(body)
        return self._block(body)

    def _block(self, body: Stmt) -> Stmt:
        assert not self.open, "a region is closed before a block opens"
        before, self.out = self.out, []
        self._stmt(body)
        self._close()
        made, self.out = seq(self.out), before
        return made

    def _close(self) -> None:
        """The open region is complete: a barrier stands here."""
        if self.open:
            self.out.append(Region(seq(self.open), self.active, span=self.open[0].span))
        self.open, self.accesses = [], []

    def _add(self, stmt: Stmt) -> None:
        """`stmt` is run by each thread for itself."""
        accesses = shared_accesses(stmt)
        if conflict(self.accesses, accesses, self.grid, self.ranges):
            self._close()
        self.open.append(stmt)
        self.accesses += accesses

    def _once(self, stmt: Stmt) -> None:
        """`stmt` is run once for the block, after everything so far."""
        self._close()
        self.out.append(stmt)

    # -- what kind of statement is it --------------------------------------------------------------

    def _stmt(self, stmt: Stmt) -> None:
        if isinstance(stmt, Seq):
            for child in stmt.stmts:
                self._stmt(child)
        elif isinstance(stmt, Allocate):
            self._allocate(stmt)
        elif _is_barrier(stmt):
            self._barrier(stmt)
        elif any(True for _ in _own_exchanges(stmt)):
            self._exchange(stmt)
        elif isinstance(stmt, Bind) and not self.varying(stmt.value) and not self._is_effect(stmt):
            self._bind_once(stmt)
        elif self.under is None and self._is_uniform(stmt):
            self._once(stmt)
        elif self._is_private_work(stmt, self.under is not None):
            self._add(stmt)
        else:
            self._split(stmt)

    def _is_effect(self, stmt: Bind) -> bool:
        return self.under is not None and has_side_effect(stmt.value)

    def _is_uniform(self, stmt: Stmt) -> bool:
        """Whether one run of `stmt` serves all threads."""
        if self.varying(stmt):
            return False
        return not any(
            (isinstance(n, Attr) and n.key in (COLLECTIVE, WARP_GROUPS))
            or (isinstance(n, Call) and n.op in EXCHANGES)
            for n in walk(stmt)
        )

    def _is_private_work(self, stmt: Stmt, under: bool, in_loop: bool = False) -> bool:
        """Whether a thread may run `stmt` from start to end before the next thread starts.

        `under`: a condition on the thread stands around, so that effects are the thread's own.
        `in_loop`: inside a loop that the thread runs by itself, and so may leave.
        """
        if _is_barrier(stmt) or any(True for _ in _own_exchanges(stmt)):
            return False
        match stmt:
            case BufferStore() | Evaluate() | Assert():
                return under or self.varying(stmt)
            case Bind():
                return under or self.varying(stmt.value) or not has_side_effect(stmt.value)
            case Allocate():
                return is_private(stmt.buffer)
            case Seq():
                return all(self._is_private_work(s, under, in_loop) for s in stmt.stmts)
            case For() | While():
                under = under or loop_differs(stmt, self.varying)
                return self._is_private_work(stmt.body, under, True) and (
                    under or not self._repeats_hazard(stmt)
                )
            case If():
                under = under or self.varying(stmt.condition)
                bodies = [b for b in (stmt.then_body, stmt.else_body) if b is not None]
                return all(self._is_private_work(b, under, in_loop) for b in bodies)
            case Attr():
                if stmt.key == WARP_GROUPS or (
                    stmt.key == COLLECTIVE and self._is_for_all(stmt.body)
                ):
                    return False
                return self._is_private_work(stmt.body, under, in_loop)
            case _:
                return in_loop and isinstance(stmt, (Break, Continue))

    def _repeats_hazard(self, loop: For | While) -> bool:
        """Whether threads must wait for each other within or between iterations of `loop`."""
        accesses = shared_accesses(loop.body)
        return conflict(accesses, accesses, self.grid, self.ranges)

    # -- simple statements -------------------------------------------------------------------------

    def _allocate(self, stmt: Allocate) -> None:
        if is_private(stmt.buffer) and stmt.buffer.data in self.varying.storage:
            self.open.append(stmt)
        else:
            self.out.append(stmt)  # storage that exists earlier does no harm

    def _bind_once(self, stmt: Bind) -> None:
        """A value that is the same in all threads: before the open region, if that is the same."""
        if conflict(self.accesses, shared_accesses(stmt), self.grid, self.ranges) or (
            self.open and has_side_effect(stmt.value)
        ):
            self._close()
        self.out.append(stmt)

    def _barrier(self, stmt: Stmt) -> None:
        call = stmt.value if isinstance(stmt, Evaluate) else None
        is_for_all = isinstance(call, Call) and call.op == "sync_threads" and not call.args
        if self.under is not None and is_for_all:
            raise DivergenceError(
                "T.sync_threads waits for all threads, but stands where only some of them run",
                stmt.span,
                notes=[Note(self.under.span, f"`{self.under.condition}` differs between threads")],
                hint="move the barrier out of the condition, or use T.sync_threads(id, count)",
            )
        self._close()

    def _exchange(self, stmt: Stmt) -> None:
        """Threads leave operands, the block combines them, threads go on with the results."""
        if isinstance(stmt, (For, While)):
            raise DivergenceError(
                "the bounds of a loop cannot wait for other threads; T.alloc_var a value for them",
                stmt.span,
                hint="compute the value before the loop (and at the end of its body)",
            )
        lifted = _Lift(self).mutate(stmt)
        assert isinstance(lifted, Stmt)
        if not isinstance(lifted, Evaluate) or has_side_effect(lifted.value):
            self._stmt(lifted)

    def lift(self, call: Call) -> Expr | None:
        """Take one exchange apart; gives the value that the running thread receives."""
        parts = Exchanger(self.grid, self.active, self.varying).exchange(call)
        self.out.extend(parts.before)
        here = self.grid.linear()
        for (array, value), neutral in zip(parts.operands, parts.neutral):
            if self.active is not None:
                fill = each("thread", self.grid.count, lambda t, a=array, n=neutral: store(a, t, n))
                self.out.append(fill)
            self._add(store(array, here, value))
        self._once(seq(parts.steps))
        for stmt in parts.after:
            self._add(stmt)
        return parts.result

    # -- statements around barriers ----------------------------------------------------------------

    def _split(self, stmt: Stmt) -> None:
        """`stmt` holds statements of both kinds: its parts are cut one by one."""
        match stmt:
            case For():
                self._require_same_iterations(stmt)
                self._close()
                kind = LoopKind.SERIAL if stmt.kind is LoopKind.VECTORIZED else stmt.kind
                self.out.append(replace(stmt, kind=kind, body=self._block(stmt.body)))
            case While():
                self._require_same_iterations(stmt)
                self._once(replace(stmt, body=self._block_after_close(stmt.body)))
            case If():
                self._split_if(stmt)
            case Attr(key=key) if key == WARP_GROUPS:
                self._warp_groups(stmt)
            case Attr(key=key) if key == COLLECTIVE:
                self._collective(stmt)
            case Attr():
                self._once(replace(stmt, body=self._block_after_close(stmt.body)))
            case _:
                self._once(stmt)  # an effect of the block that mentions no thread

    def _block_after_close(self, body: Stmt) -> Stmt:
        self._close()
        return self._block(body)

    def _require_same_iterations(self, loop: For | While) -> None:
        if not loop_differs(loop, self.varying):
            return
        if leaves_differently(loop.body, self.varying):
            why = "threads leave this loop at different times"
        else:
            why = "threads run this loop a different number of times"
        self._diverges(loop, why)

    def _diverges(self, around: Stmt, why: str) -> NoReturn:
        inner = next((n for n in walk(around) if isinstance(n, Stmt) and _meets_here(n)), around)
        raise DivergenceError(
            f"{why}, so they cannot all meet at the statement inside it",
            around.span,
            notes=[Note(inner.span, "threads meet here")],
        )

    def _collective(self, stmt: Attr) -> None:
        if not self.varying(stmt.body):
            self._once(stmt.body)
        elif self._is_for_all(stmt.body):
            first, count = self._running()
            self._stmt(_Deal(self.grid, first, count).mutate(stmt.body))
        else:
            self._stmt(stmt.body)

    def _is_for_all(self, body: Stmt) -> bool:
        """Whether the threads share the work of a collective statement, or each does it all."""
        has_owners = any(isinstance(n, Attr) and n.key == ITERATION for n in walk(body))
        return has_owners or not self.varying(body)

    def _running(self) -> tuple[Expr, Expr]:
        """The first of the threads that run here, and how many they are (neighbours)."""
        if self.active is None:
            return as_expr(0), as_expr(self.grid.count)
        active, zero = self.active, as_expr(0)
        first = Buffer("first", (1,), INT32, VAR)
        count = Buffer("count", (1,), INT32, VAR)

        def see(thread: Expr) -> Stmt:
            start = If(equal(element(count, zero), 0), store(first, zero, thread))
            add = store(count, zero, element(count, zero) + 1)
            return If(as_condition(element(active, thread)), seq([start, add]))

        self.out += [Allocate(first), Allocate(count), store(first, zero, zero)]
        self.out += [store(count, zero, zero), each("thread", self.grid.count, see)]
        return element(first, zero), element(count, zero)

    def _split_if(self, stmt: If) -> None:
        if self.varying(stmt.condition):
            # A thread that has returned does not keep the others waiting.
            under = self.under if is_exit_test(stmt.condition) else stmt
            self._masked(stmt, stmt.condition, stmt.then_body, stmt.else_body, under)
            return
        self._close()
        then_body = self._block(stmt.then_body)
        else_body = None if stmt.else_body is None else self._block(stmt.else_body)
        self.out.append(replace(stmt, then_body=then_body, else_body=else_body))

    def _warp_groups(self, stmt: Attr) -> None:
        """`with T.ws(ids)`: block-level statements once, thread code in the groups' threads."""
        ids: Any = stmt.value
        group = self.grid.linear() // WARP_GROUP
        condition: Expr = as_expr(False)
        for number in ids:
            condition = logical_or(condition, equal(group, number))
        if self._is_uniform(stmt.body):
            exists = any(number * WARP_GROUP < self.grid.count for number in ids)
            if exists:
                self._once(stmt.body)
            return
        self._masked(stmt, condition, stmt.body, None, self.under)

    def _masked(
        self, stmt: Stmt, condition: Expr, then_body: Stmt, else_body: Stmt | None, under: If | None
    ) -> None:
        """Both bodies, each for the threads that take it, and only if there is one."""
        outer_active, outer_under = self.active, self.under
        taken = [(then_body, as_condition(condition))]
        if else_body is not None:
            taken.append((else_body, logical_not(condition)))
        masks = [self._mask(test) for _, test in taken]
        self._close()
        for (body, _), mask in zip(taken, masks):
            some = Buffer("some", (1,), dtype("bool"), VAR)
            self.active, self.under = mask, under
            inner = self._block(body)
            self.active, self.under = outer_active, outer_under
            found = each("thread", self.grid.count, lambda t, m=mask, s=some: _note(m, s, t))
            start = store(some, as_expr(0), as_expr(False))
            test = If(element(some, as_expr(0)), inner, None, span=stmt.span)
            self.out += [Allocate(some), start, found, test]

    def _mask(self, condition: Expr) -> Buffer:
        """An array that says for which running threads `condition` holds."""
        mask = per_thread("active", dtype("bool"), self.grid)
        self.out.append(Allocate(mask))
        if self.active is not None:
            clear = each("thread", self.grid.count, lambda t: store(mask, t, as_expr(False)))
            self.out.append(clear)
        self._add(store(mask, self.grid.linear(), condition))
        return mask


class _Deal(Mutator):
    """Gives each iteration of a T.Parallel nest to one thread, neighbours to the same."""

    def __init__(self, grid: ThreadGrid, first: Expr, count: Expr) -> None:
        self.grid, self.first, self.count = grid, first, count

    def mutate_Attr(self, node: Attr) -> Stmt:
        if node.key != ITERATION:
            return self.mutate_children(node)
        number, total = node.value  # type: ignore[misc]
        share = maximum(floordiv(total + (self.count - 1), self.count), 1)
        owner = self.first + floordiv(number, share)
        return If(equal(owner, self.grid.linear()), node.body, None, span=node.span)


def _note(mask: Buffer, some: Buffer, thread: Expr) -> Stmt:
    first = as_expr(0)
    either = logical_or(element(some, first), element(mask, thread))
    return store(some, first, either)


def _is_barrier(stmt: Node) -> bool:
    call = stmt.value if isinstance(stmt, Evaluate) else None
    return isinstance(call, Call) and call.op in BARRIERS


def _meets_here(stmt: Stmt) -> bool:
    if _is_barrier(stmt) or any(True for _ in _own_exchanges(stmt)):
        return True
    return isinstance(stmt, Attr) and stmt.key in (COLLECTIVE, WARP_GROUPS)


def _own_exchanges(stmt: Stmt) -> Any:
    """Exchanges in the expressions of `stmt` itself, not of statements inside it."""
    for name in stmt.fields:
        for child in nodes_in(getattr(stmt, name)):
            if isinstance(child, Expr):
                yield from (n for n in walk(child) if isinstance(n, Call) and n.op in EXCHANGES)


class _Lift(Mutator):
    """Replaces the exchanges in the expressions of one statement, innermost first."""

    def __init__(self, cutter: RegionCutter) -> None:
        self.cutter = cutter
        self.is_inside = False

    def mutate(self, node: Any) -> Any:
        if isinstance(node, Stmt) and self.is_inside:
            return node  # statements inside have their own turn
        self.is_inside = True
        return Mutator.mutate(self, node)

    def mutate_Call(self, node: Call) -> Expr:
        made = self.mutate_children(node)
        if not isinstance(made, Call) or made.op not in EXCHANGES:
            return made
        if made.op == "thread_allreduce":  # its operands are expressions, its target is a place
            made = replace(made, args=(*made.args[:3], node.args[3], *made.args[4:]))
        result = self.cutter.lift(made)
        return as_expr(0) if result is None else result
