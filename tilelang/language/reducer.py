"""Reducers: values that a block's threads contribute to, combined once at the end.

    r = T.alloc_reducer((M,), "float32", op="sum")      # a fragment in disguise
    T.reducer_init(r)                                   # or T.clear(r) / T.fill(r, identity)
    for i, j in T.Parallel(M, N): T.reducer_update(r[i], x[i, j])     # or r[i] += x[i, j]
    T.finalize_reducer(r, out)                          # or T.finalize_reducer(r), then read r

The pass `check_tile_program` looks at the order of these statements.
"""

from __future__ import annotations

from typing import Any

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    Note,
    ScopeError,
    caller_span,
)
from tilelang.ir.annotation import REDUCER
from tilelang.ir.buffer import FRAGMENT, Buffer
from tilelang.ir.expr import HANDLE, BufferLoad, Call, StringImm, as_expr, cast
from tilelang.ir.reduction import identity
from tilelang.ir.stmt import Allocate, Evaluate, annotation
from tilelang.language.allocate import _allocate, dtype_of
from tilelang.language.builder import current, emit
from tilelang.language.copy import matched
from tilelang.language.location import argument_span
from tilelang.language.operand import attributes, emit_tile_op, tile, user_annotations

FIRST_OPERATIONS = ("sum", "max", "min")
OPERATIONS = (*FIRST_OPERATIONS, "bitand", "bitor", "bitxor")
REPLICATIONS = ("none", "all")


def alloc_reducer(
    shape: Any, dtype: Any, op: str = "sum", replication: str | None = None
) -> Buffer:
    """A reducer of `shape`.

    Args:
        op: sum, max, min, bitand, bitor or bitxor.
        replication: "none" or "all": how its partial values are spread; never changes the result.

    Raises:
        ArgumentError: for an unknown operation or replication.
        DTypeError: for bit operations on anything but integers and bool.
    """
    if op not in OPERATIONS:
        raise ArgumentError(
            f"alloc_reducer: op is {op!r}, expected one of {', '.join(OPERATIONS)}",
            argument_span("op"),
        )
    kind = dtype_of(dtype, "alloc_reducer")
    if op.startswith("bit") and not (kind.is_int or kind.is_bool):
        raise DTypeError(
            f"alloc_reducer: op {op!r} is given {kind}, expected integers or bool",
            argument_span("dtype"),
        )
    spread = "none" if replication is None else replication
    if spread not in REPLICATIONS:
        raise ReplicationError(
            f"alloc_reducer: replication is {replication!r}, expected 'none' or 'all'",
            argument_span("replication"),
        )
    return _allocate("alloc_reducer", shape, dtype, FRAGMENT, ((REDUCER, (op, spread)),))


class ReplicationError(ArgumentError, AssertionError):
    """An unknown replication of a reducer."""


def _operation(function: str, reducer: Buffer, argument: int) -> str:
    """The operation of a reducer: it is allocated in a block that is still open."""
    for scope in reversed(current().scopes):
        for stmt in scope.stmts:
            if isinstance(stmt, Allocate) and stmt.buffer is reducer:
                noted = annotation(stmt.annotations, REDUCER)
                if isinstance(noted, tuple):
                    return noted[0]
    raise ArgumentTypeError(
        f"{function}: `{reducer.name}` is no reducer",
        argument_span(argument),
        notes=[Note(reducer.span, "allocated here")] if reducer.span else (),
        hint="allocate it with T.alloc_reducer",
    )


def reducer_init(r: Any, init: Any = None) -> None:
    """Start a reduction: `r` holds `init`, or the identity of its operation."""
    target = tile("reducer_init", 0, r)
    op = _operation("reducer_init", target.buffer, 0)
    value = identity(op, target.dtype) if init is None else cast(as_expr(init), target.dtype)
    operands = [target.operand("dst", "w")]
    emit_tile_op("reducer_init", operands, attributes(reducer=op), [("value", value)])


def reducer_update(r: Any, value: Any) -> None:
    """Contribute `value` to element `r` of a reducer, once per iteration of a T.Parallel loop."""
    if isinstance(r, Buffer) and r.num_elements == 1:
        r = r.load(*[0] * r.ndim)
    if not isinstance(r, BufferLoad):
        raise ArgumentTypeError(
            f"reducer_update: argument 1 is {_shown(r)}, expected an element such as `r[i]`",
            argument_span(0),
        )
    op = _operation("reducer_update", r.buffer, 0)
    args = (r, cast(as_expr(value), r.buffer.dtype), StringImm(op))
    emit(Evaluate(Call("reducer_update", args, HANDLE), span=caller_span()))


def _shown(value: Any) -> str:
    return f"the whole of `{value.name}`" if isinstance(value, Buffer) else repr(value)


def finalize_reducer(
    r: Any, dst: Any = None, batch: int = 1, annotations: dict[str, Any] | None = None
) -> None:
    """End a reduction: `r`, or the fragment `dst`, holds the combined values.

    Raises:
        ScopeError: for a `dst` that is no fragment.
        ShapeError: for a `dst` of another shape.
    """
    source = tile("finalize_reducer", 0, r)
    op = _operation("finalize_reducer", source.buffer, 0)
    operands = [source.operand("src", "rw")]
    if dst is not None:
        target = tile("finalize_reducer", 1, dst)
        if target.buffer.scope() != FRAGMENT:
            raise ScopeError(
                f"finalize_reducer: `{target.name}` is in {target.buffer.scope()} memory, "
                "expected a fragment",
                argument_span(1),
                notes=target.allocated(),
            )
        operands.append(matched("finalize_reducer", source, target)[1])
    notes = attributes(reducer=op, batch=batch if batch > 1 else None)
    emit_tile_op("finalize_reducer", operands, notes + user_annotations(annotations))
