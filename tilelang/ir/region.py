"""Boxes of two buffers held against each other: which axis runs with which.

Tile operands come from the language as regions; `reconcile` gives them equal shapes (or says that
there is none), `pair_axes` tells `tileop` which axes of two reconciled regions are one loop.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import Expr, IntImm, as_expr, is_const
from tilelang.ir.record import record

Extents = Sequence[Expr]


@record
class AxisPair:
    """One loop of a tile operation over two regions; `None` where a region has no such axis."""

    first: int | None
    second: int | None


def non_unit_axes(extents: Extents) -> list[int]:
    """Axes whose extent is not the constant 1."""
    return [axis for axis, extent in enumerate(extents) if not is_const(extent, 1)]


def may_be_equal(a: Expr, b: Expr) -> bool:
    """Whether two extents can be the same: false only for two different constants."""
    return not (isinstance(a, IntImm) and isinstance(b, IntImm) and a.value != b.value)


def are_equal(a: Expr, b: Expr) -> bool:
    """Whether two extents are the same constant or the same expression."""
    if isinstance(a, IntImm) and isinstance(b, IntImm):
        return a.value == b.value
    return structural_equal(a, b)


def reconcile(first: Extents, second: Extents) -> tuple[tuple[Expr, ...], tuple[Expr, ...]] | None:
    """Extents with which two regions run together, or `None` when they cannot.

    Axes of extent 1 are passed over. Where that leaves different numbers of axes, the lists are
    aligned at their ends, and an extent of 1 takes the extent of the other side.
    """
    a, b = list(first), list(second)
    if len(non_unit_axes(a)) != len(non_unit_axes(b)):
        for back in range(1, min(len(a), len(b)) + 1):
            if is_const(a[-back], 1):
                a[-back] = b[-back]
            elif is_const(b[-back], 1):
                b[-back] = a[-back]
    left, right = non_unit_axes(a), non_unit_axes(b)
    if len(left) != len(right):
        return None
    if not all(may_be_equal(a[i], b[j]) for i, j in zip(left, right)):
        return None
    return tuple(a), tuple(b)


def take_extents(rank: int, other: Extents) -> tuple[Expr, ...] | None:
    """Extents of a region given by its origin: those of the other side, aligned at the end."""
    kept = list(other)
    while len(kept) > rank and is_const(kept[0], 1):
        kept.pop(0)
    if len(kept) > rank:
        return None
    return tuple([as_expr(1)] * (rank - len(kept)) + kept)


def pair_axes(first: Extents, second: Extents) -> tuple[AxisPair, ...]:
    """The loops over two reconciled regions, outermost first."""
    left, right = non_unit_axes(first), non_unit_axes(second)
    assert len(left) == len(right), "the language reconciles the regions of a tile operation"
    return tuple(AxisPair(i, j) for i, j in zip(left, right))
