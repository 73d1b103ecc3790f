"""Shared-memory layouts for the matrix instruction of sm_70, `mma.m8n8k4`.

There is no `ldmatrix` on sm_70: each lane fetches its own four elements, 8 bytes, and half a warp
is served at once. A warp multiplies 16 by 16 by 4, quad-pair q (lanes 4q..4q+3 and 16+4q..) having
rows 8 (q % 2) of A and columns 8 (q // 2) of B. Lanes 0..15 want together

    k_inner (a row of storage holds the k of one row of A, or column of B)
        rows 0..3 and 8..11, the same 8 bytes of each;  lanes 16..31: rows 4..7 and 12..15
    otherwise (a row of storage holds one k)
        rows k = 0..3, the first 8 bytes of two neighbouring 16-byte chunks;  lanes 16..31 the last

The usual swizzle turns rows 0 and 8 alike. So for k_inner bit 3 of the row is XORed into bit 2
first: rows 0..7 and rows 0..3, 8..11 are then both eight rows that differ in their last three bits.

In: buffers, from users. Out: layouts, to `T.annotate_layout`. It emits nothing.
"""

from __future__ import annotations

import math
from typing import Any

from tilelang.errors import LayoutError
from tilelang.ir.expr import Expr
from tilelang.layout.layout import Layout, static_shape
from tilelang.layout.quad_swizzle import quad_swizzle
from tilelang.layout.swizzle import buffer_of, matrix_shape, require_multiple

_BITS = 16  # of an element
_VECTOR = 8  # elements of a 16-byte chunk
_TILE = 16  # rows of A, columns of B, that a warp reads together
_DEPTH = 4  # of one instruction
_BANK_CHUNKS = 8


def make_volta_swizzled_layout(buffer: Any, is_a: bool = True, k_inner: bool = True) -> Layout:
    """The layout from which `mma.m8n8k4` operands are read without bank conflicts.

    Args:
        buffer: 16-bit elements; the last two axes are the matrix, those before are slots.
        is_a: the left operand. Lanes share rows of A otherwise than columns of B, but what half a
            warp wants together is the same, so that the layout is, too.
        k_inner: the contraction axis is the last one.

    Raises:
        LayoutError: for other elements, and for tiles that 16 by 16 by 4 products do not cover.
    """
    _, _, bits = matrix_shape(buffer)
    found = buffer_of(buffer)
    if bits != _BITS:
        raise LayoutError(
            f"`{found.name}`: mma.m8n8k4 multiplies 16-bit elements, got {found.dtype}",
            hint="make_swizzled_layout takes any element type",
        )
    outer = "rows of A (M)" if is_a else "columns of B (N)"
    if not k_inner:
        require_multiple(found, -2, _DEPTH, "the depth (K)")
        require_multiple(found, -1, _TILE, outer)
        layout = quad_swizzle(found.shape, bits)
        assert layout is not None, "rows of whole tiles are made of pairs of chunks"
        return layout
    require_multiple(found, -2, _TILE, outer)
    require_multiple(found, -1, _VECTOR, "the depth (K)")
    return _rows_of_k(static_shape(found.shape))


def _rows_of_k(shape: tuple[int, ...]) -> Layout:
    """Rows 8 apart in different banks, as well as neighbouring ones."""
    period = math.gcd(shape[-1] // _VECTOR, _BANK_CHUNKS)

    def forward(*indices: Expr) -> list[Expr]:
        *lead, row, column = indices
        seat = row ^ (row // 8 % 2 * 4)
        chunk = column // _VECTOR
        if period > 1:
            chunk = chunk ^ (seat // (_BANK_CHUNKS // period) % period)
        return [*lead, seat, chunk * _VECTOR + column % _VECTOR]

    return Layout(shape, forward)
