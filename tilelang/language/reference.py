"""`T.Ref` parameters of macros: a place in a buffer that the macro may read and assign."""

from __future__ import annotations

from typing import Any

from tilelang.errors import ArgumentError, LanguageError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, BufferRegion, Expr, Operand, add, as_expr, is_const


class Ref:
    """Annotation of a macro parameter that is passed by reference."""


class Reference(Operand):
    """One element (`buf[i, j]`, indices evaluated once) or a window of a buffer (`buf[a:b]`)."""

    __slots__ = ("buffer", "starts", "windows")

    def __init__(self, buffer: Buffer, starts: tuple[Expr, ...], windows: tuple[bool, ...]) -> None:
        self.buffer = buffer
        self.starts = starts
        self.windows = windows  # which axes the user may still index

    @property
    def dtype(self) -> Any:
        return self.buffer.dtype

    def as_load(self) -> Expr:
        if any(self.windows):
            raise LanguageError(
                f"a reference to a slice of `{self.buffer.name}` is no value", hint="index it"
            )
        return BufferLoad(self.buffer, self.starts)

    def _indices(self, index: Any) -> tuple[Expr, ...]:
        given = list(index if isinstance(index, tuple) else (index,))
        if not any(self.windows):
            if len(given) == 1 and is_const(as_expr(given[0]), 0):
                return self.starts
            raise ArgumentError(
                f"a reference to one element of `{self.buffer.name}` is indexed with {index!r}"
            )
        if len(given) != sum(self.windows):
            raise ArgumentError(
                f"a window of `{self.buffer.name}` has {sum(self.windows)} axes, "
                f"indexed with {len(given)}"
            )
        return tuple(add(s, given.pop(0)) if w else s for s, w in zip(self.starts, self.windows))

    def __getitem__(self, index: Any) -> Expr:
        return BufferLoad(self.buffer, self._indices(index))

    def store(self, value: Any) -> None:
        """Assign the element."""
        from tilelang.language.builder import current  # the builder knows this class

        if any(self.windows):
            raise LanguageError(
                f"a reference to a slice of `{self.buffer.name}` is assigned as a whole",
                hint="index it",
            )
        current().emit_store(self.buffer, self.starts, as_expr(value))

    def store_at(self, index: Any, value: Any) -> None:
        """Assign one element of the window."""
        from tilelang.language.builder import current  # the builder knows this class

        current().emit_store(self.buffer, self._indices(index), as_expr(value))


def make_reference(value: Any, parameter: str) -> Any:
    """What a `T.Ref` parameter receives for the argument `value`.

    Raises:
        ArgumentError: unless `value` is a T.alloc_var name, an element or a slice.
    """
    from tilelang.language.builder import current  # the builder knows this class

    builder = current()
    if isinstance(value, Reference) or (isinstance(value, Buffer) and value.is_var):
        return value
    if isinstance(value, BufferLoad):
        return Reference(
            value.buffer,
            tuple(as_expr(builder.once(i)) for i in value.indices),
            (False,) * len(value.indices),
        )
    if isinstance(value, BufferRegion):
        starts = tuple(as_expr(builder.once(r.start)) for r in value.ranges)
        return Reference(
            value.buffer, starts, tuple(not is_const(r.extent, 1) for r in value.ranges)
        )
    raise ArgumentError(
        f"parameter `{parameter}` is a T.Ref: "
        f"expected a T.alloc_var name, an element `buf[i]` or a slice, got {value!r}"
    )
