"""`T.atomic_add`, `T.atomic_max`, `T.atomic_min`: on one element, or on every element of a tile."""

from __future__ import annotations

from typing import Any

from tilelang.errors import ArgumentError, NotCompilableError, ScopeError
from tilelang.ir.buffer import FRAGMENT, Buffer
from tilelang.ir.expr import BufferRegion, Expr, as_expr, cast, const_value
from tilelang.ir.region import non_unit_axes
from tilelang.language.copy import matched
from tilelang.language.location import argument_span
from tilelang.language.operand import Tile, attributes, emit_tile_op, tile
from tilelang.language.reference import Reference
from tilelang.language.threads import atomic_element
from tilelang.language.threads import memory_order as _order_number


def _is_tile(value: Any) -> bool:
    """Whether `value` has extents."""
    if isinstance(value, Buffer):
        return not value.is_var
    if isinstance(value, Reference):
        return any(value.windows)
    return isinstance(value, BufferRegion)


def _has_one_element(value: Any) -> bool:
    if isinstance(value, Buffer):
        return value.num_elements == 1
    return isinstance(value, BufferRegion) and not non_unit_axes(value.extents)


def _check_target(function: str, target: Tile) -> None:
    if target.buffer.scope() == FRAGMENT or target.buffer.is_var:
        scope = target.buffer.scope().removeprefix("local.")
        raise ScopeError(
            f"{function}: `{target.name}` is a {scope}; atomics work on global and shared memory",
            argument_span(0),
            notes=target.allocated(),
        )


def _atomic(
    kind: str, dst: Any, value: Any, memory_order: str | None, return_prev: bool, use_tma: bool
) -> Expr | None:
    function = f"atomic_{kind}"
    broadcasts = _is_tile(dst) and not _is_tile(value)
    if not _is_tile(value) and not (broadcasts and not _has_one_element(dst)):
        return atomic_element(kind, dst, value, memory_order, return_prev)
    if return_prev:
        raise NotCompilableError(
            f"{function}: return_prev works on one element, not on a tile",
            argument_span("return_prev"),
        )
    target = tile(function, 0, dst)
    _check_target(function, target)
    order = const_value(_order_number(memory_order))
    notes = attributes(kind=kind, memory_order=order, use_tma=use_tma or None)
    if broadcasts:
        made = cast(as_expr(value), target.dtype)
        emit_tile_op("atomic", [target.operand("dst", "rw")], notes, [("value", made)])
        return None
    src, to = matched(function, tile(function, 1, value), target)
    emit_tile_op("atomic", [src, target.operand("dst", "rw", to.region.extents)], notes)
    return None


def atomic_add(
    dst: Any,
    value: Any,
    memory_order: str | None = None,
    return_prev: bool = False,
    use_tma: bool = False,
) -> Expr | None:
    """`dst += value` in one step per element; gives the value before when asked (one element only).

    `dst` is an element, or a tile when `value` is one: an element then names the tile's corner, and
    what lies outside the buffer is skipped. A scalar is added to every element of a slice.

    Raises:
        NotCompilableError: for `return_prev` on a tile.
        ScopeError: for a fragment or a variable as `dst`.
    """
    if use_tma and not _is_tile(value):
        raise ArgumentError("atomic_add: use_tma works on tiles only", argument_span("use_tma"))
    return _atomic("add", dst, value, memory_order, return_prev, use_tma)


def atomic_max(
    dst: Any, value: Any, memory_order: str | None = None, return_prev: bool = False
) -> Expr | None:
    """`dst = max(dst, value)` in one step per element; arguments as `atomic_add`."""
    return _atomic("max", dst, value, memory_order, return_prev, False)


def atomic_min(
    dst: Any, value: Any, memory_order: str | None = None, return_prev: bool = False
) -> Expr | None:
    """`dst = min(dst, value)` in one step per element; arguments as `atomic_add`."""
    return _atomic("min", dst, value, memory_order, return_prev, False)
