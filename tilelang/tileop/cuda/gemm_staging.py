"""Fragments of a product through shared memory, where registers stand in other threads.

In: a region of a fragment and who holds it, from `LowerContext`. Out: a shared tile with the same
elements and the statements that fill it, or that bring it back. Barriers between the two come from
the pass that looks for hazards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tilelang.errors import LayoutError
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Expr,
    Range,
    as_expr,
    equal,
    if_then_else,
    less,
    logical_and,
)
from tilelang.ir.stmt import BufferStore, LoopKind, Stmt
from tilelang.layout.fragment import Fragment
from tilelang.layout.holding import Holding, both
from tilelang.layout.mma import CHUNK_BYTES
from tilelang.tileop.context import LowerContext
from tilelang.tileop.gemm import static_extent
from tilelang.tileop.loops import element, loop, nest, together, when

Body: TypeAlias = "Callable[[Sequence[Expr], Expr], Stmt]"


def shared_tile(region: BufferRegion, ctx: LowerContext) -> BufferRegion:
    """A shared buffer for the last two axes of `region`.

    Its rows are longer by 16 bytes, so that eight of them start in different banks.
    """
    buffer, (rows, columns) = region.buffer, map(static_extent, region.extents[-2:])
    pad = max(1, CHUNK_BYTES * 8 // buffer.dtype.bits)
    tile = ctx.new_scratch(f"{buffer.name}_shared", (rows, columns + pad), buffer.dtype)
    return BufferRegion(tile, tuple(Range(as_expr(0), as_expr(e)) for e in (rows, columns)))


def spill(region: BufferRegion, tile: BufferRegion, ctx: LowerContext) -> Stmt:
    """Each thread writes the elements of `region` of which it is the first holder to `tile`."""
    registers = ctx.registers[region.buffer]

    def move(at: Sequence[Expr], register: Expr) -> Stmt:
        place = _in_tile(region, at)
        return BufferStore(tile.buffer, BufferLoad(registers, (register,)), place)

    return each_register(region, ctx.fragments[region.buffer], ctx, move, is_first=True)


def refill(region: BufferRegion, tile: BufferRegion, ctx: LowerContext) -> Stmt:
    """Each thread reads the elements of `region` that it holds from `tile`."""
    registers = ctx.registers[region.buffer]

    def move(at: Sequence[Expr], register: Expr) -> Stmt:
        value = BufferLoad(tile.buffer, _in_tile(region, at))
        return BufferStore(registers, value, (register,))

    return each_register(region, ctx.fragments[region.buffer], ctx, move, is_first=False)


def present(region: BufferRegion, tile: BufferRegion, ctx: LowerContext) -> Stmt:
    """The threads copy `region` to `tile`; what lies outside its buffer is the safe value."""
    threads = ctx.threads
    assert threads is not None, "a block's threads copy together"
    rows, columns = map(static_extent, tile.extents)

    def move(step: Expr) -> Stmt:
        number = step * threads.count + threads.index
        offsets = [as_expr(0)] * (len(region.ranges) - 2) + [number // columns, number % columns]
        value = guarded_load(region, offsets, ctx)
        stmt = BufferStore(tile.buffer, value, (number // columns, number % columns))
        if rows * columns % threads.count == 0:
            return stmt
        return when(less(number, rows * columns), stmt)

    return loop("e", -(-rows * columns // threads.count), move)


def guarded_load(region: BufferRegion, offsets: Sequence[Expr], ctx: LowerContext) -> Expr:
    """The element of `region` at `offsets`; the safe value where it lies outside the buffer."""
    value = element(region, offsets)
    condition = inside_buffer(region, offsets, ctx)
    if condition is None:
        return value
    return if_then_else(condition, value, ctx.safe_value(region.buffer, region.buffer.dtype))


def inside_buffer(region: BufferRegion, offsets: Sequence[Expr], ctx: LowerContext) -> Expr | None:
    """Condition: the element at `offsets` lies in the buffer; `None`: known to."""
    condition: Expr | None = None
    for axis, offset in enumerate(offsets):
        bounds, size = region.ranges[axis], as_expr(region.buffer.shape[axis])
        place = bounds.start + offset
        if not ctx.proves(bounds.start >= 0):
            condition = both(condition, place >= 0)
        if not ctx.proves(bounds.start + bounds.extent <= size):
            condition = both(condition, less(place, size))
    return condition


def is_inside(region: BufferRegion, ctx: LowerContext) -> bool:
    """Whether all of `region` is known to lie in its buffer."""
    return inside_buffer(region, [as_expr(0)] * len(region.ranges), ctx) is None


def _in_tile(region: BufferRegion, at: Sequence[Expr]) -> tuple[Expr, ...]:
    return tuple(i - s for i, s in zip(at[-2:], region.starts[-2:]))


def each_register(
    region: BufferRegion,
    fragment: Fragment,
    ctx: LowerContext,
    body: Body,
    is_first: bool,
) -> Stmt:
    """`body(index in the buffer, register)` for each element of `region` that a thread holds.

    Args:
        is_first: only in the first thread that holds the element.
    """
    threads = ctx.threads
    assert threads is not None, "fragments are held by threads"
    try:
        held = Holding(fragment, threads.count)
        held.element(1, threads.index, as_expr(0), as_expr(0))  # raises where it has no form
    except LayoutError:
        return _each_element(region, fragment, ctx, body, is_first)

    def one(register: Expr) -> Stmt:
        place = (1, threads.index, register, as_expr(0))
        at = held.element(*place)
        condition = both(held.active(*place), inside(region, at))
        if is_first:
            condition = both(condition, held.first(*place))
        stmt = body(at, register)
        return stmt if condition is None else when(condition, stmt)

    return loop("e", held.registers, one, LoopKind.UNROLLED)


def _each_element(
    region: BufferRegion, fragment: Fragment, ctx: LowerContext, body: Body, is_first: bool
) -> Stmt:
    """The same for a fragment whose inverse has no closed form: every thread looks at every
    element and takes its own."""
    threads = ctx.threads
    assert threads is not None, "fragments are held by threads"
    replicas = 1 if is_first else fragment.num_replicas

    def one(at: tuple[Expr, ...]) -> Stmt:
        index = [s + i for s, i in zip(region.starts, at)]
        register = _linear(fragment, index)
        owners = (
            fragment.map_forward_thread(index, as_expr(r) if fragment.num_replicas > 1 else None)
            for r in range(replicas)
        )
        return together(*(when(equal(o, threads.index), body(index, register)) for o in owners))

    return nest(region.extents, one, LoopKind.SERIAL)


def _linear(fragment: Fragment, index: Sequence[Expr]) -> Expr:
    offset: Expr = as_expr(0)
    for extent, value in zip(fragment.get_output_shape(), fragment.map_forward_index(index)):
        offset = offset * extent + value
    return offset


def inside(region: BufferRegion, at: Sequence[Expr]) -> Expr | None:
    """Condition: the element at `at` of the buffer lies in `region`; `None`: always."""
    condition: Expr | None = None
    for index, bounds, size in zip(at, region.ranges, region.buffer.shape):
        if static_extent(bounds.extent) == size:
            continue
        low, high = bounds.start <= index, less(index, bounds.start + bounds.extent)
        condition = both(condition, logical_and(low, high))
    return condition
