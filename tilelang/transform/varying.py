"""Which values differ between the threads of a block.

`find_varying` looks at the body of one launch in thread form. A name varies when it is computed
from a thread index, private storage when some thread may hold another value than its neighbour.
What does not vary is the same in all threads, so one evaluation serves the block. An analysis:
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from tilelang.ir.annotation import WARP_GROUPS
from tilelang.ir.buffer import LOCAL, VAR, Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, Var
from tilelang.ir.node import Node
from tilelang.ir.ops import Effect, effect_of, has_side_effect
from tilelang.ir.stmt import (
    Attr,
    Bind,
    Break,
    BufferStore,
    Continue,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
)
from tilelang.ir.visitor import children, walk

SHUFFLES = ("shfl", "shfl_xor", "shfl_up", "shfl_down")
VOTES = ("any_sync", "all_sync", "ballot_sync", "activemask", "match_any_sync", "match_all_sync")
WARP_REDUCTIONS = tuple(f"warp_reduce_{op}" for op in ("sum", "max", "min", "bitand", "bitor"))
WARP_OPS = frozenset((*SHUFFLES, *VOTES, *WARP_REDUCTIONS))
BLOCK_VOTES = frozenset(("syncthreads_count", "syncthreads_and", "syncthreads_or"))
ALLREDUCE = "thread_allreduce"
EXCHANGES = WARP_OPS | BLOCK_VOTES | {ALLREDUCE}
# Statements that order memory: all threads of a block reach one before any goes on.
BARRIERS = frozenset(
    (
        "sync_threads",
        "sync_warp",
        "named_barrier_arrive",
        "fence_proxy_async",
        "ptx_commit_group",
        "ptx_wait_group",
    )
)
# Statements that change no value.
HINTS = frozenset(("assume", "register_hint", "set_max_nreg", "pdl_trigger", "pdl_sync"))
_INDICES = frozenset(("lane_id", "warp_id"))
_PRIVATE = (LOCAL, VAR)


def is_private(buffer: Buffer) -> bool:
    """Whether each thread has a copy of its own."""
    return buffer.scope() in _PRIVATE


Write: TypeAlias = "tuple[Call, frozenset[Var]]"


@dataclass
class Varying:
    """Names, and pointers of private storage, whose values differ between threads."""

    names: set[Var] = field(default_factory=set)
    storage: set[Var] = field(default_factory=set)
    _writes: dict[int, list[Write]] = field(default_factory=dict, repr=False, compare=False)

    def writes_in(self, value: Expr) -> list[Write]:
        """Calls in `value` that write private storage, with its pointers; `value` stays alive."""
        if id(value) not in self._writes:
            self._writes[id(value)] = _writes_in(value)
        return self._writes[id(value)]

    def __call__(self, node: Node) -> bool:
        """Whether anything in `node` differs between threads."""
        if isinstance(node, Var):
            return node in self.names
        if isinstance(node, Call):
            if node.op in BLOCK_VOTES:
                return False  # every thread receives the same
            if node.op in WARP_OPS or node.op in _INDICES:
                return True
        buffer = getattr(node, "buffer", None)
        if isinstance(buffer, Buffer) and buffer.data in self.storage:
            return True
        return any(self(child) for child in children(node))

    def any_of(self, nodes: Iterable[Node]) -> bool:
        return any(self(n) for n in nodes)


def uses_threads(launch: Launch) -> bool:
    """Whether anything in `launch` depends on which thread runs it."""
    threads = set(launch.thread_vars)
    for node in walk(launch.body):
        if isinstance(node, Var) and node in threads:
            return True
        if isinstance(node, Call) and (node.op in EXCHANGES or node.op in _INDICES):
            return True
        if isinstance(node, For) and node.kind is LoopKind.THREAD_BINDING:
            return True
    return False


def find_varying(body: Stmt, thread_vars: Iterable[Var]) -> Varying:
    """What varies in `body` if `thread_vars` do."""
    found = Varying(set(thread_vars))
    while True:
        before = len(found.names) + len(found.storage)
        _spread(body, found, under=False)
        if len(found.names) + len(found.storage) == before:
            return found


def leaves_differently(body: Stmt, varying: Varying) -> bool:
    """Whether threads may leave an iteration of a loop with this body at different places."""
    return _leaves(body, varying, under=False)


def _leaves(stmt: Stmt, varying: Varying, under: bool) -> bool:
    if isinstance(stmt, (Break, Continue)):
        return under
    if isinstance(stmt, (For, While)):
        return False  # what is inside leaves the inner loop
    if isinstance(stmt, If):
        under = under or varying(stmt.condition)
    return any(_leaves(s, varying, under) for s in children(stmt) if isinstance(s, Stmt))


def loop_differs(loop: For | While, varying: Varying) -> bool:
    """Whether threads may run different iterations of `loop`."""
    if isinstance(loop, For):
        control = varying(loop.start) or varying(loop.extent)
    else:
        control = varying(loop.condition)
    return control or leaves_differently(loop.body, varying)


def _spread(stmt: Stmt, found: Varying, under: bool) -> None:
    """One pass over `stmt`; `under` a condition that varies, private stores make storage vary."""
    match stmt:
        case Seq(stmts=stmts):
            for child in stmts:
                _spread(child, found, under)
        case Bind(var=var, value=value):
            if found(value) or (under and has_side_effect(value)):
                found.names.add(var)
            _spread_effects(value, found, under)
        case BufferStore(buffer=buffer, value=value, indices=indices):
            if is_private(buffer) and (under or found(value) or found.any_of(indices)):
                found.storage.add(buffer.data)
            _spread_effects(value, found, under)
        case Evaluate(value=value):
            _spread_effects(value, found, under)
        case For() | While():
            if isinstance(stmt, For) and (found(stmt.start) or found(stmt.extent)):
                found.names.add(stmt.var)
            _spread(stmt.body, found, under or loop_differs(stmt, found))
        case If(condition=condition, then_body=then_body, else_body=else_body):
            under = under or found(condition)
            for body in (then_body, else_body):
                if body is not None:
                    _spread(body, found, under)
        case Attr(key=key, body=body):
            _spread(body, found, under or key == WARP_GROUPS)
        case _:
            pass


def _spread_effects(value: Expr, found: Varying, under: bool) -> None:
    """Private storage that calls in `value` write."""
    for call, targets in found.writes_in(value):
        if targets <= found.storage:
            continue
        if call.op == ALLREDUCE or under or found.any_of(call.args):
            found.storage |= targets


def _writes_in(value: Expr) -> list[Write]:
    writes: list[Write] = []
    for call in walk(value):
        if not isinstance(call, Call) or effect_of(call.op) is not Effect.WRITE:
            continue
        if call.op == ALLREDUCE:
            target = call.args[3]
            assert isinstance(target, BufferLoad), "the language passes the destination element"
            writes.append((call, frozenset((target.buffer.data,))))
            continue
        buffers = (n.buffer for n in walk(call) if isinstance(n, BufferLoad))
        places = frozenset(b.data for b in buffers if is_private(b) and _may_write(call, b))
        if places:
            writes.append((call, places))
    return writes


def _may_write(call: Call, buffer: Buffer) -> bool:
    """Whether `call` gets the address of `buffer`, rather than the value of an element."""
    for argument in call.args:
        if not (isinstance(argument, Call) and argument.op in ("address_of", "access_ptr")):
            continue
        if any(isinstance(n, BufferLoad) and n.buffer is buffer for n in argument.args):
            return True
    return False
