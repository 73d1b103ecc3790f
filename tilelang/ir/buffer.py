"""Buffers: named, typed storage with a shape and a scope.

The language creates them, tile operations and loads refer to them; they are identity objects, not
nodes: two buffers are the same only if they are one object. Buffers that share `data` share storage
(views, and typed windows on a pointer argument).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilelang.errors import (
    ArgumentTypeError,
    IndexRangeError,
    LanguageError,
    Note,
    ShapeError,
    Span,
)
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    HANDLE,
    BufferLoad,
    BufferRegion,
    Expr,
    IntImm,
    Operand,
    Range,
    Var,
    add,
    as_expr,
    const_value,
    less,
    mul,
    select,
    sub,
)

GLOBAL = "global"
SHARED = "shared"
SHARED_DYN = "shared.dyn"
FRAGMENT = "local.fragment"
LOCAL = "local"
VAR = "local.var"
SHARED_SCOPES = (SHARED, SHARED_DYN)
SCOPES = {  # scope -> who sees it
    GLOBAL: "the whole device",
    SHARED: "the threads of a block",
    SHARED_DYN: "the threads of a block",
    FRAGMENT: "spread over the registers of a block's threads",
    LOCAL: "one thread",
    VAR: "one thread, one element",
    "shared.barrier": "the threads of a block",
    "shared.cluster_barrier": "the blocks of a cluster",
    "shared.tmem": "tensor memory of a block",
    "local.descriptor.wgmma": "one thread",
    "local.descriptor.tcgen05_smem": "one thread",
    "local.descriptor.tcgen05_instr": "one thread",
}

Extent = int | Expr


class Buffer(Operand):
    """Storage of `shape` elements of `dtype` in a memory scope.

    Attributes:
        name: as the user wrote it.
        dtype: element type (one lane).
        shape: a Python int per constant extent, an expression otherwise.
        strides: in elements, one per axis; row-major when not given.
        declared_strides: what the user gave, or `None`.
        elem_offset: distance of element 0 from `data`, in elements.
        data: the pointer variable; buffers with one `data` share storage.
        span: where the user allocated or declared it.
    """

    __slots__ = (
        "_scope",
        "data",
        "declared_strides",
        "dtype",
        "elem_offset",
        "name",
        "shape",
        "span",
    )

    def __init__(
        self,
        name: str,
        shape: Sequence[Extent] | Extent,
        dtype: Any = "float32",
        scope: str = GLOBAL,
        *,
        strides: Sequence[Extent] | None = None,
        data: Var | None = None,
        elem_offset: Extent = 0,
        span: Span | None = None,
    ) -> None:
        extents = shape if isinstance(shape, (tuple, list)) else (shape,)
        self.name = name
        self.shape: tuple[Extent, ...] = tuple(_extent(e, name) for e in extents)
        self.dtype = _dtype(dtype)
        self._scope = scope
        self.declared_strides = (
            None if strides is None else tuple(_extent(s, name) for s in strides)
        )
        if self.declared_strides is not None and len(self.declared_strides) != len(self.shape):
            raise ShapeError(
                f"{name}: {len(self.declared_strides)} strides for a shape "
                f"of rank {len(self.shape)}",
                span,
            )
        self.elem_offset: Extent = _extent(elem_offset, name)
        self.data = data if data is not None else Var(name, HANDLE)
        self.span = span

    def scope(self) -> str:
        """The memory scope: a key of `SCOPES`."""
        return self._scope

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def strides(self) -> tuple[Extent, ...]:
        """Elements between neighbours along each axis."""
        return (
            self.declared_strides
            if self.declared_strides is not None
            else row_major_strides(self.shape)
        )

    @property
    def is_shared(self) -> bool:
        return self._scope in SHARED_SCOPES

    @property
    def is_fragment(self) -> bool:
        return self._scope == FRAGMENT

    @property
    def is_var(self) -> bool:
        """A mutable scalar of `T.alloc_var`: its name alone is a value."""
        return self._scope == VAR

    @property
    def num_elements(self) -> Extent:
        """Product of the extents."""
        total: Extent = 1
        for extent in self.shape:
            total = (
                extent_of(mul(total, extent))
                if isinstance(total, Expr) or isinstance(extent, Expr)
                else total * extent
            )
        return total

    def as_load(self) -> Expr:
        if self.is_var:
            return BufferLoad(self, (as_expr(0),))
        raise LanguageError(
            f"`{self.name}` is a whole buffer ({describe(self)}), not a value",
            notes=[Note(self.span, "allocated here")] if self.span else (),
            hint=f"index it: {self.name}[{', '.join('ijkl'[d % 4] for d in range(self.ndim))}]",
        )

    def __getitem__(self, index: Any) -> Expr | BufferRegion:
        """`A[i, j]` an element, with any slice a region; constant negatives count from the end.

        Raises:
            ShapeError: for a wrong number of indices.
            IndexRangeError: for a constant outside the extent.
        """
        items = index if isinstance(index, tuple) else (index,)
        items = _expand_ellipsis(items, self.ndim)
        is_region = any(isinstance(i, slice) for i in items)
        if len(items) > self.ndim or (len(items) < self.ndim and not is_region):
            raise ShapeError(
                f"`{self.name}` has rank {self.ndim} (shape {format_shape(self.shape)}) "
                f"but is indexed with {len(items)} {'index' if len(items) == 1 else 'indices'}",
                notes=[Note(self.span, "allocated here")] if self.span else (),
            )
        if not is_region:
            return BufferLoad(self, tuple(normalize_index(self, d, i) for d, i in enumerate(items)))
        items = items + (slice(None),) * (self.ndim - len(items))
        return BufferRegion(self, tuple(_range(self, d, i) for d, i in enumerate(items)))

    def __iter__(self) -> Any:
        raise LanguageError(
            f"`{self.name}` is a buffer; iterate with T.Parallel or T.serial over its extents"
        )

    def __repr__(self) -> str:
        return f"{self.name}: {describe(self)}"

    def __bool__(self) -> bool:
        if self.is_var:
            return bool(self.as_load())
        raise ArgumentTypeError(
            f"`{self.name}` is a buffer and cannot be a condition",
            hint=f"test an element: {self.name}[...] != 0",
        )

    def region(self) -> BufferRegion:
        """The whole buffer as a region."""
        return BufferRegion(self, tuple(Range(as_expr(0), as_expr(e)) for e in self.shape))

    def load(self, *indices: Any) -> Expr:
        """The element at `indices`, which are taken as they are: no wrapping, no checks."""
        return BufferLoad(self, tuple(as_expr(i) for i in indices))

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        if self.is_var and not isinstance(other, Buffer):
            return Operand.__eq__(self, other)
        if isinstance(other, Buffer) and self.is_var and other.is_var and self is not other:
            return Operand.__eq__(self, other)
        return self is other

    def __ne__(self, other: object) -> Any:
        result = self.__eq__(other)
        return not result if isinstance(result, bool) else Operand.__ne__(self, other)


_dtype = dtype  # the parameter of `Buffer.__init__` hides the name


def _extent(value: Any, name: str) -> Extent:
    number = const_value(value)
    if number is not None and not isinstance(number, float):
        return int(number)
    if isinstance(value, Operand):
        return extent_of(value.as_load())
    if hasattr(value, "__index__"):
        return int(value.__index__())
    raise ArgumentTypeError(f"{name}: an extent must be an integer or an expression, got {value!r}")


def extent_of(value: Extent) -> Extent:
    """`value` with constants as Python integers."""
    return value.value if isinstance(value, IntImm) else value


def row_major_strides(shape: Sequence[Extent]) -> tuple[Extent, ...]:
    """Strides, in elements, of a dense array whose last axis is contiguous."""
    strides: list[Extent] = []
    step: Extent = 1
    for extent in reversed(shape):
        strides.append(step)
        both = isinstance(step, int) and isinstance(extent, int)
        step = step * extent if both else extent_of(mul(step, extent))  # type: ignore[assignment,operator]
    return tuple(reversed(strides))


def format_shape(shape: Sequence[Any]) -> str:
    """`[64, n]`."""
    return "[" + ", ".join(str(e) for e in shape) + "]"


def describe(buffer: Buffer) -> str:
    """`[64, 32] float16, shared`: what error messages say of a buffer."""
    return f"{format_shape(buffer.shape)} {buffer.dtype}, {buffer.scope().removeprefix('local.')}"


def _expand_ellipsis(items: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    if not any(i is Ellipsis for i in items):
        return items
    at = next(k for k, i in enumerate(items) if i is Ellipsis)
    fill = (slice(None),) * (ndim - len(items) + 1)
    return items[:at] + fill + items[at + 1 :]


def normalize_index(buffer: Buffer, axis: int, index: Any) -> Expr:
    """One scalar or vector index as an expression; constants are checked and wrapped."""
    if isinstance(index, float) or not (
        isinstance(index, (int, Operand)) or hasattr(index, "__index__")
    ):
        raise ArgumentTypeError(f"`{buffer.name}` is indexed with {index!r}, expected an integer")
    value = as_expr(index if isinstance(index, (int, Operand)) else int(index))
    if not (value.dtype.is_int or value.dtype.is_bool):
        raise ArgumentTypeError(
            f"`{buffer.name}` is indexed with `{value}`, a {value.dtype}, expected an integer"
        )
    extent = buffer.shape[axis]
    is_known = isinstance(value, IntImm) and isinstance(extent, int)
    if is_known and not -extent <= const_value(value) < extent:  # type: ignore[operator]
        raise IndexRangeError(
            f"index {value} is outside axis {axis} of `{buffer.name}`, which has {extent} elements",
            notes=[Note(buffer.span, "allocated here")] if buffer.span else (),
        )
    if isinstance(value, IntImm) and value.value < 0:
        return add(value, as_expr(extent))
    if value.dtype.lanes > 1 and not _is_nonnegative_ramp(value):
        return select(less(value, 0), add(value, as_expr(extent)), value)
    return value


def _is_nonnegative_ramp(value: Expr) -> bool:
    from tilelang.ir.expr import Ramp

    return isinstance(value, Ramp)


def _range(buffer: Buffer, axis: int, item: Any) -> Range:
    if not isinstance(item, slice):
        return Range(normalize_index(buffer, axis, item), as_expr(1))
    if item.step not in (None, 1):
        raise LanguageError(
            f"`{buffer.name}` is sliced with step {item.step}; slices have no step here",
            hint="loop over T.Parallel and index with i * step",
        )
    extent = buffer.shape[axis]
    start = as_expr(0 if item.start is None else item.start)
    stop = as_expr(extent if item.stop is None else item.stop)
    if isinstance(start, IntImm) and start.value < 0:
        start = add(start, as_expr(extent))
    if isinstance(stop, IntImm) and stop.value < 0:
        stop = add(stop, as_expr(extent))
    length = slice_length(start, stop)
    if isinstance(length, IntImm) and length.value < 0:
        raise IndexRangeError(f"the slice {start}:{stop} of `{buffer.name}` has a negative length")
    if isinstance(start, IntImm) and isinstance(extent, int) and buffer.scope() != GLOBAL:
        end = const_value(stop)
        if start.value > extent or (end is not None and end > extent):
            raise IndexRangeError(
                f"the slice {start}:{stop} is outside axis {axis} of `{buffer.name}`, "
                f"which has {extent} elements",
                notes=[Note(buffer.span, "allocated here")] if buffer.span else (),
            )
    return Range(start, length)


def slice_length(start: Expr, stop: Expr) -> Expr:
    """`stop - start`, where a common symbolic part cancels (`i * 8 : i * 8 + 8` has length 8)."""
    symbolic: dict[int, list[Any]] = {}
    offset = 0
    for value, sign in ((stop, 1), (start, -1)):
        for term, coefficient in _linear_terms(value, sign):
            if term is None:
                offset += coefficient
                continue
            key = next(
                (k for k, (t, _) in symbolic.items() if _equal_terms(t, term)), len(symbolic)
            )
            entry = symbolic.setdefault(key, [term, 0])
            entry[1] += coefficient
    if all(coefficient == 0 for _, coefficient in symbolic.values()):
        return as_expr(offset)
    return sub(stop, start)


def _equal_terms(a: Expr, b: Expr) -> bool:
    from tilelang.ir.equality import structural_equal  # equality is built on buffers

    return structural_equal(a, b)


def _linear_terms(value: Expr, sign: int) -> list[tuple[Expr | None, int]]:
    from tilelang.ir.expr import Add, Mul, Sub

    match value:
        case IntImm(value=number):
            return [(None, sign * number)]
        case Add(a, b):
            return _linear_terms(a, sign) + _linear_terms(b, sign)
        case Sub(a, b):
            return _linear_terms(a, sign) + _linear_terms(b, -sign)
        case Mul(a, IntImm(value=factor)) | Mul(IntImm(value=factor), a):
            return [(t, c * factor) for t, c in _linear_terms(a, sign)]
        case _:
            return [(value, sign)]
