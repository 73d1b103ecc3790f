"""Fragments and shared-memory layouts of the matrix instruction of a warp group (`wgmma`).

A warp group is four warps; an instruction multiplies 64 rows, 16 for each warp, laid out within the
warp as for `mma.sync` (`layout.mma`). In: tile sizes, from `tileop.cuda.wgmma`. Out: `Fragment`s of
the accumulator and of an A operand in registers; the layout in which the instruction finds an
operand in shared memory. The newest are kept, with their tables: one compilation asks for each
several times. It knows no operation and emits nothing.

The tile of a block is cut into equal parts of consecutive rows and columns, one per warp group; the
group's number = column part * groups_m + row part. Registers: the atoms (m64n8 of C, m64k16 of A)
in row-major order, so those of an accumulator [M, N] are those of the A operand [M, K = N].
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from tilelang.ir.expr import Expr, as_expr
from tilelang.ir.record import record
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout, static_shape
from tilelang.layout.mma import LANES, MmaAtom
from tilelang.layout.swizzle import (
    make_full_bank_swizzled_layout,
    make_half_bank_swizzled_layout,
    make_quarter_bank_swizzled_layout,
)

GROUP = 128  # threads of a warp group
ROWS = 64  # of one instruction
DEPTH = 16  # of one instruction, in 16-bit elements
_WARP_ROWS = 16
_SWIZZLES = {
    128: make_full_bank_swizzled_layout,
    64: make_half_bank_swizzled_layout,
    32: make_quarter_bank_swizzled_layout,
}
_ATOM = MmaAtom(16, 8, DEPTH, 2, 16)


@record
class GroupTiles:
    """A block tile of `M` by `N`, cut for `groups_m` by `groups_n` warp groups."""

    M: int
    N: int
    groups_m: int
    groups_n: int

    @property
    def rows(self) -> int:
        """Rows of one group, a multiple of 64."""
        return self.M // self.groups_m

    @property
    def columns(self) -> int:
        """Columns of one group, a multiple of 8."""
        return self.N // self.groups_n

    @property
    def registers(self) -> int:
        """Sums of one thread."""
        return self.rows * self.columns // GROUP

    def thread(self, row: Expr, column_part: Expr, lane: Expr) -> Expr:
        """Number in the block of the thread with `lane` that has `row` of the tile."""
        group = column_part * self.groups_m + row // self.rows
        warp = group * 4 + row % self.rows % ROWS // _WARP_ROWS
        return warp * LANES + lane


@functools.lru_cache(maxsize=16)
def group_accumulator(tiles: GroupTiles) -> Fragment:
    """C `[M, N]`: every element in one thread."""
    across = tiles.columns // 8

    def place(row: Expr, column: Expr) -> tuple[Expr, Expr]:
        i, j = row % tiles.rows, column % tiles.columns
        lane, slot = _ATOM.place_c(i % _WARP_ROWS, j % 8)
        number = i // ROWS * across + j // 8
        thread = tiles.thread(row, column // tiles.columns, lane)
        return thread, number * _ATOM.c_elements + slot

    return Fragment([tiles.M, tiles.N], place)


@functools.lru_cache(maxsize=16)
def group_operand_A(tiles: GroupTiles, K: int) -> Fragment:
    """A `[M, K]`: each element in one thread of every column part."""
    along = K // DEPTH

    def place(row: Expr, k: Expr, *rep: Expr) -> tuple[Expr, Expr]:
        i = row % tiles.rows
        lane, slot = _ATOM.place_a(i % _WARP_ROWS, k % DEPTH)
        number = i // ROWS * along + k // DEPTH
        thread = tiles.thread(row, rep[0] if rep else as_expr(0), lane)
        return thread, number * _ATOM.a_elements + slot

    return Fragment([tiles.M, K], place, replicate=tiles.groups_n)


def span_for(width: int, part: int, bits: int) -> int | None:
    """Bytes of the widest swizzle whose panels divide rows of `width` elements, and `part` of them
    that one instruction reads; `None` when there is none."""
    size = math.gcd(width, part) * bits // 8
    return next((span for span in _SWIZZLES if size % span == 0), None)


def panel_layout(shape: Sequence[int], bits: int, span: int) -> Layout:
    """Panels of `span` bytes of all rows, one after the other, each swizzled over its span.

    Args:
        shape: of the buffer; rows are the axis before the last, axes before it are slots.
    """
    return _panel_layout(static_shape(shape), bits, span)


@functools.lru_cache(maxsize=16)
def _panel_layout(shape: tuple[int, ...], bits: int, span: int) -> Layout:
    *lead, rows, columns = shape
    layout = _SWIZZLES[span](rows, columns, bits)
    return layout.expand(lead) if lead else layout


def span_of(layout: Layout, shape: Sequence[int], bits: int) -> int | None:
    """The span for which `layout` is the `panel_layout`; `None` when there is none."""
    sizes = static_shape(shape)
    for span in _SWIZZLES:
        if sizes[-2] % 8 or sizes[-1] * bits // 8 % span:
            continue
        if _is_same(layout, panel_layout(sizes, bits, span)):
            return span
    return None


def _is_same(a: Layout, b: Layout) -> bool:
    return a is b or (a.shape == b.shape and bool((a.offsets == b.offsets).all()))
