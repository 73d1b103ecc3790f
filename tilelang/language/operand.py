"""Tile operands: what `T.copy`, `T.gemm` and kin accept where they work on a tile.

A user passes a buffer, a slice of one, or an element that names where a tile starts; `tile` makes
one kind of description of them. Errors name the operation, the buffer and the argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, Error, Note, ScopeError
from tilelang.ir.buffer import Buffer, describe, format_shape
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Expr,
    Ramp,
    Range,
    as_expr,
    cast,
    const_value,
    constant,
    is_const,
)
from tilelang.ir.record import record
from tilelang.ir.stmt import Annotations
from tilelang.ir.tile import Access, TileOp, TileOperand
from tilelang.language.builder import emit
from tilelang.language.location import argument_span
from tilelang.language.reference import Reference


@record
class Tile:
    """One operand.

    Attributes:
        extents: of each axis of the buffer, or `None` when only the origin was given.
        is_whole: the user passed the buffer itself.
        argument: position of the argument in the user's call.
    """

    buffer: Buffer
    starts: tuple[Expr, ...]
    extents: tuple[Expr, ...] | None
    is_whole: bool
    argument: int

    @property
    def name(self) -> str:
        return self.buffer.name

    @property
    def dtype(self) -> dtype:
        return self.buffer.dtype

    @property
    def is_element(self) -> bool:
        """Whether the user named one element."""
        return self.extents is None

    @property
    def box(self) -> tuple[Expr, ...]:
        """The extents; an element is a box of ones."""
        return self.extents if self.extents is not None else (as_expr(1),) * len(self.starts)

    def region(self, extents: Sequence[Expr] | None = None) -> BufferRegion:
        """The region, with other extents where given."""
        sizes = self.box if extents is None else tuple(extents)
        return BufferRegion(self.buffer, tuple(Range(s, e) for s, e in zip(self.starts, sizes)))

    def operand(
        self, name: str, access: Access, extents: Sequence[Expr] | None = None
    ) -> TileOperand:
        """The operand of a tile operation."""
        return TileOperand(name, self.region(extents), access)

    def note(self, extra: str = "") -> Note:
        """Its place in the user's call, with shape, dtype and scope."""
        shape = "" if self.is_whole else f"{format_shape(self.region().shape)} of "
        return Note(argument_span(self.argument), f"{shape}{describe(self.buffer)}{extra}")

    def notes(self, extra: str = "") -> list[Note]:
        """`note`, and where the buffer was allocated."""
        return [self.note(extra), *self.allocated()]

    def allocated(self) -> list[Note]:
        """Where the buffer was allocated, if known."""
        if self.buffer.span is None:
            return []
        return [Note(self.buffer.span, f"`{self.name}` comes from here")]


def tile(function: str, argument: int, value: Any) -> Tile:
    """The operand that argument number `argument` of `T.<function>` gives.

    Raises:
        ArgumentTypeError: for anything but a buffer, a slice or an element.
    """
    if isinstance(value, Reference):
        value = _referenced(value)
    if isinstance(value, Buffer):
        starts = (as_expr(0),) * value.ndim
        return Tile(value, starts, tuple(as_expr(e) for e in value.shape), True, argument)
    if isinstance(value, BufferRegion):
        return Tile(value.buffer, value.starts, value.extents, False, argument)
    if isinstance(value, BufferLoad):
        *outer, last = value.indices
        if isinstance(last, Ramp) and is_const(last.stride, 1):
            extents = (*(as_expr(1) for _ in outer), as_expr(last.lanes))
            return Tile(value.buffer, (*outer, last.base), extents, False, argument)
        if last.dtype.lanes == 1:
            return Tile(value.buffer, value.indices, None, False, argument)
    raise ArgumentTypeError(
        f"{function}: argument {argument + 1} is {_what(value)}, expected a buffer, a slice such "
        "as `A[0:64, 0:32]` or an element such as `A[i, j]`",
        argument_span(argument),
    )


def _referenced(value: Reference) -> Any:
    """The part of its buffer that a `T.Ref` stands for."""
    if not any(value.windows):
        return BufferLoad(value.buffer, value.starts)
    sizes = zip(value.windows, value.buffer.shape, value.starts)
    ranges = [as_expr(n) - s if w else as_expr(1) for w, n, s in sizes]
    return BufferRegion(value.buffer, tuple(Range(s, e) for s, e in zip(value.starts, ranges)))


def _what(value: Any) -> str:
    if isinstance(value, Expr):
        return f"the {value.dtype} value `{value}`"
    if isinstance(value, Buffer):
        return f"the buffer `{value.name}` ({describe(value)})"
    return f"{type(value).__name__} {value!r}"


def scalar_of(
    function: str, value: Any, kind: dtype, argument: int | str, notes: Iterable[Note] = ()
) -> Expr:
    """One value of dtype `kind`, from argument `argument` of `T.<function>`.

    Raises:
        ArgumentError: for a constant that `kind` cannot hold.
        ArgumentTypeError: for anything but one number.
    """
    number = const_value(value)
    try:
        made = as_expr(value) if number is None else constant(number, kind)
        if made.dtype.lanes == 1 and made.dtype.kind not in ("handle", "void"):
            return cast(made, kind)
    except ArgumentError as error:
        raise ArgumentError(
            f"{function}: {error.message}", argument_span(argument), notes=notes
        ) from None
    except Error:  # a buffer, or no value at all
        pass
    raise ArgumentTypeError(
        f"{function}: expected one {kind} value, got {_what(value)}",
        argument_span(argument),
        notes=notes,
    )


def require_scope(function: str, operand: Tile, scopes: Iterable[str]) -> None:
    """Reject an operand outside `scopes`.

    Raises:
        ScopeError: naming the buffer, its scope and what is allowed.
    """
    allowed = tuple(scopes)
    if operand.buffer.scope() not in allowed:
        names = ", ".join(s.removeprefix("local.") for s in allowed)
        scope = operand.buffer.scope().removeprefix("local.")
        raise ScopeError(
            f"{function}: `{operand.name}` is in {scope} memory, expected one of {names}",
            argument_span(operand.argument),
            notes=operand.allocated(),
        )


def attributes(**values: Any) -> Annotations:
    """Those of `values` that say something, as attributes of a tile operation."""
    return tuple((name, value) for name, value in values.items() if value is not None)


def user_annotations(annotations: dict[str, Any] | None) -> Annotations:
    """The user's own annotations of an operation."""
    return tuple((str(key), value) for key, value in (annotations or {}).items())


def emit_tile_op(
    op: str,
    operands: Sequence[TileOperand],
    notes: Annotations = (),
    values: Sequence[tuple[str, Expr]] = (),
) -> None:
    """Append the tile operation `op` to the kernel being traced."""
    emit(TileOp(op, tuple(operands), tuple(values), notes))
