"""How a `T.Parallel` nest becomes loops of one thread: their order, and which one is vectorised.

Pure functions on the nest; `lower_tile_ops` applies what they decide.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilelang.ir.buffer import VAR, Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, Var
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Break,
    BufferStore,
    Continue,
    For,
    LoopKind,
    Stmt,
    While,
)
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import used_vars, walk

_ORDERED = (Assert, Break, Continue, While, TileOp)


def collect_nest(node: For) -> tuple[list[For], Stmt]:
    """The directly nested Parallel loops from `node` down, and the body of the innermost one."""
    loops, body = [node], node.body
    while isinstance(body, For) and body.kind is LoopKind.PARALLEL:
        loops.append(body)
        body = body.body
    return loops, body


def innermost_choice(variables: Sequence[Var], body: Stmt) -> int:
    """Which loop should be innermost: the one that most accesses have in their last index.

    Iterations are independent, so any order is right; the last loop wins a tie.
    """
    votes = [0] * len(variables)
    for node in walk(body):
        if isinstance(node, (BufferLoad, BufferStore)) and node.indices:
            last = used_vars(node.indices[-1])
            for number, var in enumerate(variables):
                weight = 2 if isinstance(node, BufferStore) else 1
                votes[number] += weight * sum(v is var for v in last)
    best = len(variables) - 1
    for number, count in enumerate(votes):
        if count > votes[best]:
            best = number
    return best


def why_not_vectorised(var: Var, body: Stmt, reducers: Sequence[Buffer]) -> str | None:
    """`None` when iterations over `var` may run as vector lanes, otherwise the reason why not."""
    inside = {n.buffer for n in walk(body) if isinstance(n, Allocate)}
    if any(buffer.scope() != VAR for buffer in inside):
        return "the body has an array of its own"
    for node in walk(body):
        reason = _obstacle(node, var, inside, reducers)
        if reason is not None:
            return reason
    return None


def _obstacle(
    node: object, var: Var, inside: set[Buffer], reducers: Sequence[Buffer]
) -> str | None:
    if isinstance(node, _ORDERED):
        return f"the body has a {type(node).__name__} statement"
    if isinstance(node, For):
        return f"the body loops over `{node.var.name}`"
    if isinstance(node, Call) and effect_of(node.op) is Effect.WRITE:
        return f"`{node.op}` has effects"
    if isinstance(node, Call) and node.op in ("any_of", "all_of"):
        return f"`{node.op}` is a loop"
    if isinstance(node, BufferStore) and node.buffer not in inside:
        return _store_obstacle(node, var, reducers)
    return None


def _store_obstacle(node: BufferStore, var: Var, reducers: Sequence[Buffer]) -> str | None:
    name = node.buffer.name
    if node.buffer.dtype.elements_per_byte > 1:
        return f"neighbours in `{name}` share a byte"
    if not any(_uses(index, var) for index in node.indices):
        return f"all iterations write the same element of `{name}`"
    if node.buffer in reducers and not any(index is var for index in node.indices):
        return f"iterations may meet in an element of the reducer `{name}`"
    if node.value.dtype.lanes > 1:
        return "the body already stores vectors"
    return None


def _uses(index: Expr, var: Var) -> bool:
    return any(v is var for v in used_vars(index))
