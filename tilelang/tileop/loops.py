"""Loops, built: what operators use to write their lowering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tilelang.ir.annotation import IN_RANGE
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    BOOL,
    BufferLoad,
    BufferRegion,
    Call,
    Expr,
    StringImm,
    Var,
    as_expr,
    cast,
    is_const,
)
from tilelang.ir.stmt import (
    Annotations,
    Attr,
    BufferStore,
    Evaluate,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
    seq,
)

_NAMES = "ijklmnpqr"
NOTHING = Seq(())


def loop(
    name: str,
    extent: Any,
    body: Callable[[Expr], Stmt],
    kind: LoopKind = LoopKind.SERIAL,
    start: Any = 0,
    annotations: Annotations = (),
) -> Stmt:
    """`for name in start .. start + extent`; a single iteration needs no loop."""
    count, first = as_expr(extent), as_expr(start)
    if is_const(count, 1):
        return body(first)
    if is_const(count, 0):
        return NOTHING
    var = Var(name, count.dtype)
    return For(var, cast(first, count.dtype), count, kind, body(var), annotations)


def nest(
    extents: Sequence[Any],
    body: Callable[[tuple[Expr, ...]], Stmt],
    innermost: LoopKind = LoopKind.VECTORIZED,
    starts: Sequence[Any] | None = None,
) -> Stmt:
    """Nested loops, serial but for the innermost one that really loops."""
    first = starts if starts is not None else [0] * len(extents)
    looping = [axis for axis, extent in enumerate(extents) if not is_const(as_expr(extent), 1)]
    last = looping[-1] if looping else -1

    def level(axis: int, indices: tuple[Expr, ...]) -> Stmt:
        if axis == len(extents):
            return body(indices)
        kind = innermost if axis == last else LoopKind.SERIAL
        name = _NAMES[axis] if axis < len(_NAMES) else f"i{axis}"
        return loop(
            name, extents[axis], lambda i: level(axis + 1, (*indices, i)), kind, first[axis]
        )

    return level(0, ())


def vector_kind(*buffers: Buffer) -> LoopKind:
    """VECTORIZED, unless a written buffer packs several elements into one byte."""
    is_packed = any(b.dtype.elements_per_byte > 1 for b in buffers)
    return LoopKind.SERIAL if is_packed else LoopKind.VECTORIZED


def element(region: BufferRegion, offsets: Sequence[Expr]) -> Expr:
    """The element of `region` at `offsets`, one per axis."""
    return BufferLoad(region.buffer, shifted(region, offsets))


def shifted(region: BufferRegion, offsets: Sequence[Expr]) -> tuple[Expr, ...]:
    """Indices in the buffer of the element of `region` at `offsets`."""
    return tuple(r.start + o for r, o in zip(region.ranges, offsets))


def store(region: BufferRegion, offsets: Sequence[Expr], value: Expr) -> Stmt:
    """`region[offsets] = value`, converted to the element type."""
    buffer = region.buffer
    return BufferStore(buffer, cast(value, buffer.dtype), shifted(region, offsets))


def spread(region: BufferRegion, axes: Sequence[int], values: Sequence[Expr]) -> tuple[Expr, ...]:
    """Offsets in `region` with `values` on `axes` and 0 elsewhere."""
    offsets: list[Expr] = [as_expr(0)] * len(region.ranges)
    for axis, value in zip(axes, values):
        offsets[axis] = value
    return tuple(offsets)


def address(region: BufferRegion, offsets: Sequence[Expr] | None = None) -> Expr:
    """Pointer to the first element of `region`, or to the one at `offsets`."""
    zero = [as_expr(0)] * len(region.ranges)
    from tilelang.ir.expr import HANDLE

    return Call("address_of", (element(region, zero if offsets is None else offsets),), HANDLE)


def symbol(name: str) -> Expr:
    """A bare identifier of the target language as an argument."""
    from tilelang.ir.expr import HANDLE

    return Call("symbol", (StringImm(name),), HANDLE)


def run(function: str, *args: Any) -> Stmt:
    """A call of the device function `function` for its effect."""
    return Evaluate(Call(function, tuple(as_expr(a) for a in args), BOOL))


def in_range(body: Stmt) -> Stmt:
    """`body`, whose accesses have been clipped to their buffers: no guard is needed later."""
    return Attr(IN_RANGE, True, body)


def when(condition: Any, then_body: Stmt, else_body: Stmt | None = None) -> Stmt:
    """`If`, decided now where the condition is a constant."""
    test = as_expr(condition)
    if is_const(test):
        return then_body if bool(test) else (else_body or NOTHING)
    return If(test, then_body, else_body)


def together(*stmts: Stmt | None) -> Stmt:
    """The statements that are there, in order."""
    return seq(s for s in stmts if s is not None)
