"""Shared-memory layouts that `tcgen05.mma` (sm_100) reads through its matrix descriptors.

A descriptor describes rows of 128, 64 or 32 bytes swizzled in groups of eight, or no swizzle: then
the operand is made of *core matrices*, 8 rows of 16 bytes one after the other, which stand in
memory column of core matrices by column. Rows run along K, or along M and N; the forms are the
same, except that 32-bit elements along M and N have one form only, rows of 128 bytes in which
chunks of 32 bytes are exchanged:

    row 0   0 1 2 3      chunk c of 32 bytes of row r stands at c ^ (r % 4)
    row 1   1 0 3 2
    row 2   2 3 0 1
    row 3   3 2 1 0

In: buffers, from users. Out: layouts, to `T.annotate_layout`. It emits nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tilelang.errors import LayoutError
from tilelang.ir.expr import Expr
from tilelang.layout.layout import Layout, static_shape
from tilelang.layout.swizzle import (
    SwizzleMode,
    buffer_of,
    make_full_bank_swizzled_layout,
    make_half_bank_swizzled_layout,
    make_quarter_bank_swizzled_layout,
    matrix_shape,
    require_multiple,
)

_ROWS = 8  # of a core matrix, and of a swizzled group
_CORE_BITS = 128  # of one row of a core matrix
_SPAN_BITS = 1024  # of a row of 128 bytes
_WIDE_CHUNK_BITS = 256
_WIDEST_BITS = 32
_SWIZZLES: dict[SwizzleMode, Callable[..., Layout]] = {  # widest first
    SwizzleMode.SWIZZLE_128B: make_full_bank_swizzled_layout,
    SwizzleMode.SWIZZLE_64B: make_half_bank_swizzled_layout,
    SwizzleMode.SWIZZLE_32B: make_quarter_bank_swizzled_layout,
}


def make_tcgen05mma_swizzled_layout(
    buffer: Any, continuity: int | None = None, k_major: bool = True
) -> Layout:
    """The layout that `tcgen05.mma` reads: the widest swizzle that fits, or core matrices.

    Args:
        continuity: columns that one instruction reads next to each other, by default all: rows of
            the form are at most as wide.
        k_major: the contraction axis is the last one.

    Raises:
        LayoutError: for a shape that no form covers.
    """
    _, columns, bits = matrix_shape(buffer)
    found = buffer_of(buffer)
    if bits > _WIDEST_BITS:
        raise LayoutError(f"`{found.name}`: tcgen05.mma has no {bits}-bit operands")
    require_multiple(found, -2, _ROWS, "rows")
    within = math.gcd(columns, columns if continuity is None else continuity)
    if bits == _WIDEST_BITS and not k_major:
        span = _SPAN_BITS // bits
        require_multiple(found, -1, span, "columns of 32-bit elements along M or N")
        if within % span:
            raise LayoutError(
                f"`{found.name}`: 32-bit elements along M or N are read {span} at a time, "
                f"got a continuity of {continuity}",
                hint=f"make it a multiple of {span}",
            )
        return _reshaped(found, _wide_chunks)
    for mode, make in _SWIZZLES.items():
        if within * bits % (mode.bytes * 8) == 0:
            return make(found)
    require_multiple(found, -1, _CORE_BITS // bits, f"columns of {bits}-bit elements")
    return _reshaped(found, _core_matrices)


def _reshaped(buffer: Any, make: Callable[[int, int, int], Layout]) -> Layout:
    """`make(rows, columns, bits)` of all leading extents together, as a layout of `buffer`."""
    layout = make(*matrix_shape(buffer))
    shape = static_shape(buffer.shape)
    return layout if len(shape) == 2 else layout.reshape(shape)


def _core_matrices(rows: int, columns: int, bits: int) -> Layout:
    vector = _CORE_BITS // bits

    def forward(i: Expr, j: Expr) -> list[Expr]:
        return [j // vector, i // _ROWS, i % _ROWS * vector + j % vector]

    return Layout([rows, columns], forward)


def _wide_chunks(rows: int, columns: int, bits: int) -> Layout:
    span, chunk = _SPAN_BITS // bits, _WIDE_CHUNK_BITS // bits

    def forward(i: Expr, j: Expr) -> list[Expr]:
        place = (j % span // chunk) ^ (i % 4)
        return [j // span, i // _ROWS, i % _ROWS * span + place * chunk + j % chunk]

    return Layout([rows, columns], forward)
