"""Buffers a kernel makes for itself, outputs it asks for, and views on pointers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, ScopeError, ShapeError, caller_span
from tilelang.ir.annotation import ARRIVE_COUNTS
from tilelang.ir.buffer import (
    FRAGMENT,
    GLOBAL,
    LOCAL,
    SCOPES,
    SHARED,
    SHARED_DYN,
    VAR,
    Buffer,
    format_shape,
)
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import HANDLE, Expr, Operand, Var, as_expr, const_value
from tilelang.ir.stmt import Allocate, Annotations
from tilelang.language.builder import current
from tilelang.language.location import argument_span


def _shape(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)


def dtype_of(value: Any, function: str, argument: int | str = 1) -> DType:
    """The element type that argument `argument` of `T.<function>` names.

    Raises:
        ArgumentTypeError: for an unknown one.
    """
    try:
        return DType(value)
    except TypeError as error:
        raise ArgumentTypeError(f"{function}: {error}", argument_span(argument)) from None


def _allocate(
    function: str, shape: Any, dtype: Any, scope: str, annotations: Annotations = ()
) -> Buffer:
    builder = current()
    if scope not in SCOPES:
        raise ScopeError(
            f"{function}: unknown memory scope {scope!r}", hint=f"one of {', '.join(SCOPES)}"
        )
    extents = _shape(shape)
    for extent in extents:
        number = const_value(extent)
        if number is None and scope != GLOBAL:
            raise ShapeError(
                f"{function}: extent `{extent}` is known only at run time; "
                f"{scope} memory needs constant extents",
                argument_span(0),
            )
        if number is not None and number <= 0:
            raise ShapeError(
                f"{function}: shape {format_shape(extents)} has a non-positive extent",
                argument_span(0),
            )
    buffer = Buffer("buffer", extents, dtype_of(dtype, function), scope, span=caller_span())
    builder.name_later(buffer)
    builder.emit(Allocate(buffer, annotations))
    return buffer


def alloc_shared(shape: Any, dtype: Any, scope: str = SHARED_DYN) -> Buffer:
    """A buffer that all threads of the block see, at first undefined. bool lives in `shared`."""
    return _allocate("alloc_shared", shape, dtype, SHARED if str(dtype) == "bool" else scope)


def alloc_fragment(shape: Any, dtype: Any, scope: str = FRAGMENT) -> Buffer:
    """A tile whose elements live in registers of the block's threads; the layout is inferred."""
    return _allocate("alloc_fragment", shape, dtype, scope)


def alloc_local(shape: Any, dtype: Any, scope: str = LOCAL) -> Buffer:
    """A private array of each thread."""
    return _allocate("alloc_local", shape, dtype, scope)


def alloc_var(dtype: Any, *args: Any, scope: str | None = None, init: Any = None) -> Buffer:
    """A mutable scalar of each thread: `alloc_var(dtype, [init], [scope])`; starts at `init` or 0.

    Raises:
        ArgumentTypeError: for more than two positional arguments, `init` given twice, or a scope
            that is no string.
        ArgumentError: for a constant that the dtype cannot hold.
    """
    if len(args) > 2:
        raise ArgumentTypeError(
            f"alloc_var: {len(args) + 1} positional arguments, expected dtype, init, scope"
        )
    if len(args) == 2 and not isinstance(args[1], str):
        raise ArgumentTypeError(
            f"alloc_var: scope is {args[1]!r}, expected a string", argument_span(2)
        )
    for value in args:
        if isinstance(value, str):
            if scope is not None:
                raise ArgumentTypeError("alloc_var: scope is given twice")
            scope = value
        else:
            if init is not None:
                raise ArgumentTypeError("alloc_var: init is given twice")
            init = value
    kind = dtype_of(dtype, "alloc_var")
    builder = current()
    buffer = Buffer("var", (1,), kind, scope or VAR, span=caller_span())
    initial = _initial_value(kind, init)
    builder.name_later(buffer)
    builder.emit(Allocate(buffer))
    builder.emit_store(buffer, (as_expr(0),), initial)
    return buffer


def _initial_value(kind: DType, init: Any) -> Expr:
    from tilelang.ir.expr import cast, constant

    if init is None:
        return constant(0, kind)
    number = const_value(init)
    if number is None:
        return cast(init, kind)
    if kind.is_int and not kind.min_value() <= number <= kind.max_value():
        raise ArgumentError(f"alloc_var: {kind} cannot hold {number}")
    return constant(number, kind)


def alloc_global(shape: Any, dtype: Any, scope: str = GLOBAL) -> Buffer:
    """An uninitialised device workspace that exists for one call; extents may be symbolic."""
    return _allocate("alloc_global", shape, dtype, scope)


def alloc_barrier(arrive_count: Any) -> Buffer:
    """One mbarrier per entry of `arrive_count` (an int or a list of ints), each with that count."""
    return _barriers("alloc_barrier", arrive_count, "shared.barrier")


def alloc_cluster_barrier(arrive_count: Any) -> Buffer:
    """As `alloc_barrier`, visible to the whole cluster."""
    return _barriers("alloc_cluster_barrier", arrive_count, "shared.cluster_barrier")


def _barriers(function: str, arrive_count: Any, scope: str) -> Buffer:
    counts = tuple(arrive_count) if isinstance(arrive_count, (list, tuple)) else (arrive_count,)
    if not counts or any(not isinstance(c, int) or c <= 0 for c in counts):
        raise ArgumentError(
            f"{function}: arrive_count is {arrive_count!r}, expected positive integers"
        )
    return _allocate(function, (len(counts),), "uint64", scope, ((ARRIVE_COUNTS, counts),))


def alloc_tmem(shape: Any, dtype: Any) -> Buffer:
    """Tensor memory of Blackwell devices: 128 lanes by up to 512 32-bit columns."""
    extents = _shape(shape)
    if len(extents) < 2:
        raise ShapeError(
            f"alloc_tmem: shape {format_shape(extents)} has rank {len(extents)}, expected 2"
        )
    return _allocate("alloc_tmem", shape, dtype, "shared.tmem")


def alloc_descriptor(kind: str = "wgmma", dtype: Any = "uint64") -> Buffer:
    """A one-element descriptor variable: kind `wgmma`, `tcgen05_smem` or `tcgen05_instr`."""
    return _allocate("alloc_descriptor", (1,), dtype, f"local.descriptor.{kind}")


def alloc_wgmma_desc(dtype: Any = "uint64") -> Buffer:
    return alloc_descriptor("wgmma", dtype)


def alloc_tcgen05_smem_desc(dtype: Any = "uint64") -> Buffer:
    return alloc_descriptor("tcgen05_smem", dtype)


def alloc_tcgen05_instr_desc(dtype: Any = "uint32") -> Buffer:
    return alloc_descriptor("tcgen05_instr", dtype)


def empty(*shape: Any, dtype: Any = None) -> Buffer:
    """An output tensor for the caller: `empty((m, n), "float32")` or `empty(m, n, dtype=...)`.

    Raises:
        ArgumentTypeError: for dimensions that are no integers or expressions.
    """
    builder = current()
    dims: tuple[Any, ...] = shape
    if len(shape) == 2 and (
        isinstance(shape[0], (tuple, list)) or isinstance(shape[1], str) or _is_dtype(shape[1])
    ):
        if dtype is not None:
            raise ArgumentTypeError("empty: dtype is given twice")
        dims, dtype = _shape(shape[0]), shape[1]
    elif len(shape) == 1:
        dims = _shape(shape[0])
    for extent in dims:
        if isinstance(extent, (str, float)) or not (
            isinstance(extent, (int, Operand)) or hasattr(extent, "__index__")
        ):
            raise ArgumentTypeError(
                f"empty: {extent!r} is no dimension, expected an integer or an expression"
            )
    buffer = Buffer(
        "output", dims, dtype_of(dtype or "float32", "empty"), GLOBAL, span=caller_span()
    )
    builder.name_later(buffer)
    builder.outputs.append(buffer)
    return buffer


def _is_dtype(value: Any) -> bool:
    if isinstance(value, (int, Operand, tuple, list)):
        return False
    try:
        DType(value)
    except TypeError:
        return False
    return True


def make_tensor(
    ptr: Any, shape: Any, dtype: Any = "float32", strides: Sequence[Any] | None = None
) -> Buffer:
    """A typed view of the memory at `ptr`; row-major unless `strides` (elements) are given."""
    return make_tensor_from_addr(ptr, shape, dtype, strides)


def make_tensor_from_addr(
    addr: Any,
    shape: Any,
    dtype: Any = "float32",
    strides: Sequence[Any] | None = None,
    storage_scope: str = GLOBAL,
) -> Buffer:
    """As `make_tensor`, from a pointer or an integer address."""
    builder = current()
    value = as_expr(addr)
    if value.dtype != HANDLE and not value.dtype.is_int:
        raise ArgumentTypeError(
            f"make_tensor: `{value}` is {value.dtype}, expected a pointer or an address",
            argument_span(0),
        )
    if not isinstance(value, Var) or value.dtype != HANDLE:
        from tilelang.ir.expr import call
        from tilelang.ir.stmt import Bind

        var = Var("pointer", HANDLE)
        pointer = value if value.dtype == HANDLE else call("reinterpret", value, dtype=HANDLE)
        builder.emit(Bind(var, pointer))
        value = var
    buffer = Buffer(
        "tensor", _shape(shape), dtype_of(dtype, "make_tensor"), storage_scope,
        strides=strides, data=value, span=caller_span(),
    )  # fmt: skip
    builder.name_later(buffer)
    return buffer
