"""Statements and frames below the kernel language: hand-written IR, one node at a time.

Everyday kernels do not need these. They are the names under which programs written for the script form
of other compilers state allocations, bindings, blocks and launches; each makes the node that the
kernel language would make. Frames are for `with`; those that only name something (`allocate`) may
also stand alone, for the rest of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, LanguageError, ShapeError, caller_span
from tilelang.ir.buffer import GLOBAL, Buffer, Extent
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import (
    HANDLE,
    BufferLoad,
    BufferRegion,
    Call,
    Expr,
    Range,
    StringImm,
    Var,
    as_condition,
    as_expr,
    cast,
    const_value,
    is_const,
)
from tilelang.ir.stmt import Allocate, Bind, Evaluate, If, Seq, While
from tilelang.language.allocate import alloc_global, alloc_local, alloc_shared
from tilelang.language.builder import Block, Builder, Scope, current, emit
from tilelang.language.location import argument_span

# -- stores --------------------------------------------------------------------------------------


def buffer_store(buffer: Buffer, value: Any, indices: Any, predicate: Any = None) -> None:
    """`buffer[indices] = value`, where `predicate` holds."""
    if not isinstance(buffer, Buffer):
        raise ArgumentTypeError(f"buffer_store: {buffer!r} is no buffer", argument_span(0))
    builder = current()
    index = tuple(indices) if isinstance(indices, (list, tuple)) else indices
    if predicate is None:
        builder.store(buffer, index, value)
        return
    with builder.block("if") as scope:
        builder.store(buffer, index, value)
    builder.emit(If(as_condition(predicate), scope.body(), span=scope.span))


# -- buffers -------------------------------------------------------------------------------------


def decl_buffer(
    shape: Any,
    dtype: Any = "float32",
    data: Any = None,
    strides: Sequence[Any] | None = None,
    elem_offset: Any = None,
    scope: str = GLOBAL,
    align: int = 0,
    offset_factor: int = 0,
    buffer_type: str = "",
    axis_separators: Any = None,
) -> Buffer:
    """A buffer over the memory of `data` (a pointer, an allocation or a buffer), or of its own.

    Raises:
        ArgumentTypeError: for `data` that is none of these.
    """
    del align, offset_factor, buffer_type, axis_separators  # the compiler decides
    if data is None:
        return alloc_buffer(shape, dtype, scope=scope)
    owner = data if isinstance(data, Buffer) else _owner_of(_pointer("decl_buffer", data))
    made = Buffer(
        "buffer", _listed(shape), dtype, owner.scope() if owner is not None else scope or GLOBAL,
        strides=strides or None, data=_pointer("decl_buffer", data),
        elem_offset=0 if elem_offset is None else elem_offset, span=caller_span(),
    )  # fmt: skip
    current().name_later(made)
    return made


def match_buffer(
    param: Any,
    shape: Any = None,
    dtype: Any = "float32",
    data: Any = None,
    strides: Sequence[Any] | None = None,
    elem_offset: Any = None,
    scope: str = GLOBAL,
    align: int = -1,
    offset_factor: int = 0,
    buffer_type: str = "default",
    axis_separators: Any = None,
) -> Buffer:
    """A parameter `T.handle` described as a tensor, or a region seen as a buffer of its own.

    A described parameter is from then on a tensor argument: its shape and dtype are checked at the
    call, and symbols of the shape are found there. For a region `shape` may be left out.

    Raises:
        ArgumentTypeError: for anything but a pointer, a buffer or a region.
        ShapeError: for a shape that is not the region's.
    """
    del data, align, offset_factor, buffer_type, axis_separators
    if isinstance(param, (BufferRegion, Buffer, BufferLoad)):
        return _match_region(param, shape)
    if not isinstance(param, Var) or param.dtype != HANDLE:
        raise ArgumentTypeError(f"match_buffer: {param!r} is no pointer, buffer or region", argument_span(0))
    made = Buffer(
        param.name, _listed(shape), dtype, scope, strides=strides or None, data=param,
        elem_offset=0 if elem_offset is None else elem_offset, span=caller_span(),
    )  # fmt: skip
    params = current().params
    for position, known in enumerate(params):
        if known is param:
            params[position] = made
    return made


def _match_region(source: BufferRegion | Buffer | BufferLoad, shape: Any) -> Buffer:
    region = source.region() if isinstance(source, Buffer) else source
    if isinstance(region, BufferLoad):
        region = BufferRegion(region.buffer, tuple(Range(i, as_expr(1)) for i in region.indices))
    buffer = region.buffer
    extents = list(region.extents)
    wanted = extents if shape is None else [as_expr(e) for e in _listed(shape)]
    kept = list(range(buffer.ndim))
    while len(kept) > len(wanted) and is_const(extents[kept[0]], 1):
        kept.pop(0)
    same = len(kept) == len(wanted) and all(
        const_value(extents[a]) in (None, const_value(w)) or const_value(w) is None
        for a, w in zip(kept, wanted)
    )
    if not same:
        raise ShapeError(f"match_buffer: `{region}` is {extents}, not {wanted}", argument_span(1))
    offset: Any = buffer.elem_offset
    for start, stride in zip(region.starts, buffer.strides):
        offset = offset + start * stride
    strides: list[Extent] = [buffer.strides[a] for a in kept]
    made = Buffer(
        "buffer", wanted, buffer.dtype, buffer.scope(), strides=strides, data=buffer.data,
        elem_offset=offset, span=caller_span(),
    )  # fmt: skip
    current().name_later(made)
    return made


def alloc_buffer(
    shape: Any,
    dtype: Any = "float32",
    data: Any = None,
    strides: Sequence[Any] | None = None,
    elem_offset: Any = None,
    scope: str = GLOBAL,
    align: int = -1,
    offset_factor: int = 0,
    buffer_type: str = "default",
    axis_separators: Any = None,
) -> Buffer:
    """A buffer of the rest of the block, in the memory scope named.

    Raises:
        ScopeError: for an unknown scope.
        ShapeError: for extents that this scope cannot have.
        ArgumentError: for strides or an offset, which only views have.
    """
    del align, offset_factor, buffer_type, axis_separators
    if data is not None:
        return decl_buffer(shape, dtype, data, strides, elem_offset, scope)
    if strides or (elem_offset is not None and const_value(elem_offset) != 0):
        raise ArgumentError("alloc_buffer: an allocation is dense", hint="T.decl_buffer(..., data=...) makes views")
    make = {"shared": alloc_shared, "local": alloc_local}.get(scope.partition(".")[0], alloc_global)
    return make(shape, dtype, scope or GLOBAL)


sblock_alloc_buffer = alloc_buffer


class AllocateFrame:
    """Memory for the rest of the block, or for the body of a `with`; `data` is its pointer."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.data = buffer.data

    def __enter__(self) -> Var:
        return self.data

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        return None  # the memory may outlive the body: the enclosing block owns it


def allocate(
    extents: Any, dtype: Any, scope: str = GLOBAL, condition: Any = None, annotations: Any = None
) -> AllocateFrame:
    """Untyped memory of so many elements: its pointer is for `decl_buffer(..., data=...)`."""
    if condition is not None and const_value(as_condition(condition)) != 1:
        raise ArgumentError("allocate: memory under a condition is not possible", argument_span("condition"))
    del annotations
    return AllocateFrame(alloc_buffer(extents, dtype, scope=scope))


def _listed(shape: Any) -> list[Any]:
    return list(shape) if isinstance(shape, (list, tuple)) else [shape]


def _pointer(function: str, value: Any) -> Var:
    if isinstance(value, (AllocateFrame, Buffer)):
        return value.data
    if isinstance(value, Var) and value.dtype == HANDLE:
        return value
    raise ArgumentTypeError(f"{function}: {value!r} is no pointer")


def _owner_of(pointer: Var) -> Buffer | None:
    """The buffer that brought `pointer` into being, as far as the open blocks know."""
    builder = current()
    known = [p for p in builder.params if isinstance(p, Buffer)]
    for scope in builder.scopes:
        known += [s.buffer for s in scope.stmts if isinstance(s, Allocate)]
    return next((b for b in known if b.data is pointer), None)


# -- bindings ------------------------------------------------------------------------------------


def bind(value: Any, type_annotation: Any = None, *, var: Var | None = None) -> Var:
    """A name for `value` in the rest of the block; evaluated once, here."""
    converted = as_expr(value)
    if type_annotation is not None:
        converted = cast(converted, _dtype_of(type_annotation))
    made = var if var is not None else Var("x", converted.dtype)
    if var is None:
        current().name_later(made)
    emit(Bind(made, cast(converted, made.dtype), span=caller_span()))
    return made


class LetFrame:
    """`with T.LetStmt(value) as x:` the name holds in the body."""

    def __init__(self, value: Any, type_annotation: Any, var: Var | None) -> None:
        self.value, self.type_annotation, self.var = value, type_annotation, var
        self.builder = current()
        self._block: Block | None = None
        self._scope: Scope | None = None

    def __enter__(self) -> Var:
        self._block = self.builder.block("with")
        self._scope = self._block.__enter__()
        return bind(self.value, self.type_annotation, var=self.var)

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        assert self._block is not None and self._scope is not None
        self._block.__exit__(kind, value, traceback)
        if kind is None:
            self.builder.emit(self._scope.body())

    def enter_for_rest_of_block(self) -> Var:
        return bind(self.value, self.type_annotation, var=self.var)


def LetStmt(value: Any, type_annotation: Any = None, *, var: Var | None = None) -> LetFrame:
    """`with T.LetStmt(value) as x:` a name for `value`, evaluated once, in the body."""
    return LetFrame(value, type_annotation, var)


def let(var: Any, value: Any = None) -> LetFrame:
    """`with T.let(value) as x:`, or `with T.let(x, value):` for a variable that exists."""
    if value is None:
        return LetFrame(var, None, None)
    if not isinstance(var, Var):
        raise ArgumentTypeError(f"let: {var!r} is no variable", argument_span(0))
    return LetFrame(value, None, var)


def _dtype_of(value: Any) -> DType:
    return value.dtype if isinstance(value, Expr) else DType(value)


# -- blocks and control flow ---------------------------------------------------------------------


class BlockFrame:
    """`with T.block("name"):` a nested block: names and attributes in it end with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.builder = current()
        self._block: Block | None = None
        self._scope: Scope | None = None

    def __enter__(self) -> None:
        self._block = self.builder.block("with")
        self._scope = self._block.__enter__()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        assert self._block is not None and self._scope is not None
        self._block.__exit__(kind, value, traceback)
        if kind is None:
            self.builder.emit(self._scope.body())


def block(name: str = "", no_realize: bool = False, exec_scope: str = "") -> BlockFrame:
    """A nested block of statements; its name is for readers."""
    del no_realize, exec_scope
    return BlockFrame(name)


sblock = block


def reads(*regions: Any) -> None:
    """What the block reads. The compiler finds that out by itself; the regions are only looked at."""
    _require_regions("reads", regions)


def writes(*regions: Any) -> None:
    """What the block writes; as `reads`."""
    _require_regions("writes", regions)


def _require_regions(function: str, regions: Sequence[Any]) -> None:
    for position, given in enumerate(regions):
        for item in given if isinstance(given, (list, tuple)) else [given]:
            if not isinstance(item, (Buffer, BufferRegion, BufferLoad)):
                raise ArgumentTypeError(f"{function}: {item!r} is no region", argument_span(position))


class WhileFrame:
    """`with T.While(condition):` the body runs as long as the condition holds."""

    def __init__(self, condition: Any) -> None:
        self.condition = as_condition(condition)
        self.builder = current()
        self._block: Block | None = None
        self._scope: Scope | None = None

    def __enter__(self) -> None:
        self._block = self.builder.block("while")
        self._scope = self._block.__enter__()
        self.builder.loops.append("ir")

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        assert self._block is not None and self._scope is not None
        self.builder.loops.pop()
        self._block.__exit__(kind, value, traceback)
        if kind is None:
            self.builder.emit(While(self.condition, self._scope.body(), span=self._scope.span))


def While(condition: Any) -> WhileFrame:
    """A loop on a condition, which is evaluated anew before each iteration."""
    return WhileFrame(condition)


class _IfScope(Scope):
    """The block between `with T.If(...)` and its sides, which holds nothing else."""

    __slots__ = ("sides",)

    def __init__(self) -> None:
        super().__init__("if", caller_span())
        self.sides: dict[str, Scope] = {}


class IfFrame:
    """`with T.If(condition):` around `with T.Then():` and `with T.Else():`."""

    def __init__(self, condition: Any) -> None:
        self.condition = as_condition(condition)
        self.builder = current()
        self._scope = _IfScope()
        self._block = Block(self.builder, self._scope)

    def __enter__(self) -> None:
        self._block.__enter__()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self._block.__exit__(kind, value, traceback)
        if kind is not None:
            return
        sides = self._scope.sides
        if "Then" not in sides or self._scope.stmts:
            raise LanguageError("If: the body is `with T.Then():`, and `with T.Else():` if needed", self._scope.span)
        other = sides["Else"].body() if "Else" in sides else None
        empty = isinstance(other, Seq) and not other.stmts
        self.builder.emit(
            If(self.condition, sides["Then"].body(), None if empty else other, span=self._scope.span)
        )


class SideFrame:
    """One side of `T.If`."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.builder: Builder = current()
        self._block = self.builder.block("if" if side == "Then" else "else")

    def __enter__(self) -> None:
        around = self.builder.scopes[-1]
        if not isinstance(around, _IfScope) or self.side in around.sides:
            raise LanguageError(f"{self.side}: stands once, directly in `with T.If(condition):`")
        around.sides[self.side] = self._block.__enter__()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self._block.__exit__(kind, value, traceback)


def If(condition: Any) -> IfFrame:  # noqa: F811 - the language's name for the frame of that node
    """A branch, see `IfFrame`."""
    return IfFrame(condition)
