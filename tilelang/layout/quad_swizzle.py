"""A swizzle for reads of 4 rows by 2 chunks.

`ldmatrix` reads 8 rows of one 16-byte chunk, and the swizzles of `layout.swizzle` serve that. Some
fragments are read otherwise: half a warp, 8 bytes per lane, wants 4 neighbouring rows of two
neighbouring chunks (the matrix instruction of 64-bit numbers, and that of sm_70 where the rows of
storage run along K). A chunk `c` of row `r` then stands at `c ^ turn(r)`, where `turn` XORs one
constant per bit of the row. In rows of 128 bytes, which meet all banks:

    bit of the row    0    1    2        rows 0..3 turn by 000, 101, 110, 011: pairs of chunks that
    turns by        101  110  111        differ in one bit, whichever, never meet in these rows;
                                         and the turns of rows 0..7 are all different

Shorter rows follow each other within 128 bytes, which does a part of the same.

In: shapes, from the layout factories. Out: layouts. It knows no instruction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilelang.ir.expr import Expr, as_expr
from tilelang.layout.layout import Layout, static_shape

_CHUNK_BITS = 128
_BANK_CHUNKS = 8  # chunks in the 128 bytes that all banks deliver at once
_TURNS = {  # chunks per period -> what bits 0, 1, 2 of the row turn by
    8: (0b101, 0b110, 0b111),
    4: (0b00, 0b11, 0b01),  # bit 0 of the row moves to the other half of 128 bytes by itself
    2: (0b0, 0b0, 0b1),
}


def quad_swizzle(shape: Sequence[Any], bits: int) -> Layout | None:
    """Rows in order, their chunks exchanged so that 4 rows by 2 chunks lie in different banks.

    Args:
        shape: of the buffer; the last axis is the row, those before the last two are slots.
        bits: width of an element.

    Returns:
        `None` unless the rows are made of pairs of chunks, and their number is a multiple of 4.
    """
    sizes = static_shape(list(shape))
    vector = _CHUNK_BITS // bits
    turns = _TURNS.get(math.gcd(sizes[-1] // vector, _BANK_CHUNKS))
    if len(sizes) < 2 or sizes[-1] % vector or sizes[-2] % 4 or turns is None:
        return None
    used = turns if sizes[-2] % 8 == 0 else turns[:2]

    def forward(*indices: Expr) -> list[Expr]:
        *lead, row, column = indices
        chunk = column // vector
        for bit, turn in enumerate(used):
            if turn:
                chunk = chunk ^ (row // (1 << bit) % 2 * as_expr(turn))
        return [*lead, row, chunk * vector + column % vector]

    return Layout(sizes, forward)
