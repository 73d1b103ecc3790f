"""The pass that reorders the blocks of a grid so that neighbours in time share cached operands.

`T.use_swizzle(panel_size, order)` arrives as `Attr(SWIZZLE)` somewhere in a launch. Hardware starts
blocks in the order of their linear index; here that index is read as a position in panels:

    order "row", panel_size 2, grid x = 4, y = 3        order "column": the transposed picture
        0  2  4  6         y = 0, 1: first panel, columns from left to right
        1  3  5  7
       11 10  9  8         the next panel goes back, so that its first tiles meet cached columns

Tile form in, tile form out; `mlx` names an order of another grid shape and runs as `row`. Results
do not depend on it: the map is a bijection of the grid, whatever divides what.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tilelang.ir import annotation as keys
from tilelang.ir.expr import (
    Expr,
    Var,
    as_expr,
    call,
    cast,
    const_value,
    equal,
    if_then_else,
    less,
    less_equal,
    minimum,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node, replace
from tilelang.ir.stmt import Attr, Bind, Evaluate, Launch, Stmt, seq
from tilelang.ir.visitor import Mutator, walk
from tilelang.transform.context import PassContext


def rasterize_blocks(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Compute the block indices of launches with `T.use_swizzle` from the linear block index.

    Needs: tile form. Leaves: tile form without `Attr(SWIZZLE)`; the ranges of the block indices are
    stated by `assume`. Grids of one dimension stay as they are, a third one is not touched.

        launch (bx, by) in (4, 3): Attr(use_swizzle, (2, "row")): body(bx, by)
    --> launch (block_x, block_y) in (4, 3): bx = ...; by = ...; assume(...); body(bx, by)
    """
    del ctx  # the same on every device
    return _Rasterize().mutate(func)


class _Rasterize(Mutator):
    def mutate_Launch(self, node: Launch) -> Launch:
        plan = next(_swizzles(node), None)
        if plan is None:
            return node
        body = _WithoutSwizzle().mutate(node.body)
        if len(node.grid_vars) < 2:
            return replace(node, body=body)
        panel_size, order = plan
        bx, by = node.grid_vars[:2]
        hardware = (Var("block_x", bx.dtype), Var("block_y", by.dtype))
        places = place_of_block(hardware, node.grid_extents[:2], panel_size, order)
        before = _named((bx, by), places, node)
        return replace(node, grid_vars=(*hardware, *node.grid_vars[2:]), body=seq([*before, body]))


def _swizzles(node: Node) -> Iterator[tuple[int, str]]:
    for inner in walk(node):
        if isinstance(inner, Attr) and inner.key == keys.SWIZZLE:
            panel_size, order = inner.value  # type: ignore[misc]
            yield panel_size, order


class _WithoutSwizzle(Mutator):
    def mutate_Attr(self, node: Attr) -> Any:
        return self.mutate(node.body) if node.key == keys.SWIZZLE else self.mutate_children(node)


def place_of_block(
    block: tuple[Expr, Expr], grid: tuple[Expr, ...], panel_size: int, order: str
) -> tuple[Expr, Expr]:
    """Tile (x, y) of the hardware block (x, y) of a grid.

    Args:
        panel_size: rows (order "row") or columns ("column") that a panel holds.
    """
    linear = block[0] + cast(grid[0], block[0].dtype) * cast(block[1], block[0].dtype)
    if order == "column":
        y, x = _in_panels(linear, grid[1], grid[0], panel_size)
    else:
        x, y = _in_panels(linear, grid[0], grid[1], panel_size)
    return x, y


def _in_panels(linear: Expr, length: Expr, breadth: Expr, panel_size: int) -> tuple[Expr, Expr]:
    """(along, across) of position `linear` in panels `length` long that lie side by side.

    `breadth` is what all panels together measure across; the last one may be narrower.
    """
    known = const_value(breadth)
    size = panel_size if known is None else max(1, min(panel_size, int(known)))
    panel = linear // (length * size)
    within = linear % (length * size)
    is_even = known is not None and known % size == 0
    width = as_expr(size) if is_even else minimum(breadth - panel * size, size)
    forth = within // width
    along = if_then_else(equal(panel % 2, 0), forth, length - 1 - forth)
    return along, panel * size + within % width


def _named(names: tuple[Var, Var], places: tuple[Expr, Expr], node: Launch) -> list[Stmt]:
    """Bindings of the block indices, and what is known of them."""
    out: list[Stmt] = []
    for name, place in zip(names, places):
        out.append(Bind(name, cast(place, name.dtype), span=node.span))
    for name, extent in zip(names, node.grid_extents):
        out += [_assume(less_equal(0, name), node), _assume(less(name, extent), node)]
    return out


def _assume(condition: Expr, node: Launch) -> Stmt:
    return Evaluate(call("assume", condition, dtype="handle"), span=node.span)
