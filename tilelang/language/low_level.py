"""Storage and pointers below the kernel language: hand-written IR, one node at a time.

Everyday kernels do not need these. They are the names under which low-level programs state buffers,
allocations, stores and pointers; each makes the node that the kernel language would make. Blocks,
bindings, branches and launches of that kind are in `frames.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, ShapeError, caller_span
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
    call,
    const_value,
    is_const,
)
from tilelang.ir.stmt import Allocate, If
from tilelang.language.allocate import alloc_global, alloc_local, alloc_shared
from tilelang.language.builder import current
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
        raise ArgumentTypeError(
            f"match_buffer: {param!r} is no pointer, buffer or region", argument_span(0)
        )
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
        raise ArgumentError(
            "alloc_buffer: an allocation is dense", hint="T.decl_buffer(..., data=...) makes views"
        )
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
        raise ArgumentError(
            "allocate: memory under a condition is not possible", argument_span("condition")
        )
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


# -- pointers and regions ------------------------------------------------------------------------

_ACCESS = {1: "r", 2: "w", 3: "rw"}


def type_annotation(dtype: Any) -> Expr:
    """A dtype as an argument of a call (`tvm_access_ptr`)."""
    return Call("type_annotation", (), DType(dtype))


def tvm_access_ptr(ptype: Any, data: Any, offset: Any, extent: Any, rw_mask: int) -> Expr:
    """Pointer to `extent` elements of type `ptype` behind `data`: read (1), written (2), both (3).

    Raises:
        ArgumentError: for another mask.
        ArgumentTypeError: for `data` that is no pointer.
    """
    access = _ACCESS.get(rw_mask)
    if access is None:
        raise ArgumentError(
            f"tvm_access_ptr: rw_mask is {rw_mask!r}, expected 1, 2 or 3", argument_span(4)
        )
    pointer = _pointer("tvm_access_ptr", data)
    kind = ptype.dtype if isinstance(ptype, Expr) else DType(ptype)
    owner = data if isinstance(data, Buffer) else _owner_of(pointer)
    scope = owner.scope() if owner is not None else GLOBAL
    start = as_expr(offset)
    view = Buffer(pointer.name, (start + extent,), kind, scope, data=pointer, span=caller_span())
    return Call("access_ptr", (BufferLoad(view, (start,)), StringImm(access)), HANDLE)


def tvm_storage_sync(scope: str, *_: Any) -> Expr:
    """Wait for the threads that share memory of this scope: `shared`, `warp` or `global`.

    Raises:
        ArgumentError: for another scope.
    """
    op = {
        "shared": "sync_threads",
        "shared.dyn": "sync_threads",
        "warp": "sync_warp",
        "global": "sync_grid",
    }.get(scope)
    if op is None:
        raise ArgumentError(f"tvm_storage_sync: unknown scope {scope!r}", argument_span(0))
    return call(op, dtype="handle")


def handle_add_byte_offset(handle: Any, offset: Any) -> Expr:
    """The pointer `offset` bytes behind `handle`."""
    pointer = handle if isinstance(handle, Expr) else _pointer("handle_add_byte_offset", handle)
    if pointer.dtype != HANDLE:
        raise ArgumentTypeError(
            f"handle_add_byte_offset: {handle!r} is no pointer", argument_span(0)
        )
    return call("handle_add_byte_offset", pointer, offset, dtype=HANDLE)


def region(buffer: Any, access_type: Any, *extents: Any) -> BufferRegion:
    """The box of `extents` that starts at an element; axes without an extent come first and have 1.

    Raises:
        ArgumentTypeError: for anything but an element, a region or a buffer.
        ArgumentError: for an access other than `r`, `w`, `rw` (or 1, 2, 3).
        ShapeError: for more extents than axes.
    """
    if access_type not in (*_ACCESS, *_ACCESS.values()):
        raise ArgumentError(
            f"region: access_type is {access_type!r}, expected 'r', 'w' or 'rw'", argument_span(1)
        )
    if isinstance(buffer, Buffer):
        buffer = buffer.load(*[0] * buffer.ndim)
    if isinstance(buffer, BufferLoad):
        owner, starts = buffer.buffer, buffer.indices
    elif isinstance(buffer, BufferRegion):
        owner, starts = buffer.buffer, buffer.starts
        extents = extents or tuple(buffer.extents)
    else:
        raise ArgumentTypeError(
            f"region: expected an element such as `A[i, j]`, got {buffer!r}", argument_span(0)
        )
    if len(extents) > owner.ndim:
        raise ShapeError(f"region: {len(extents)} extents for `{owner.name}` of rank {owner.ndim}")
    sizes = [as_expr(1)] * (owner.ndim - len(extents)) + [as_expr(e) for e in extents]
    return BufferRegion(owner, tuple(Range(s, e) for s, e in zip(starts, sizes)))
