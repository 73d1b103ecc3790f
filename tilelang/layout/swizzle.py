"""Shared-memory layouts that spread rows over banks.

A swizzle XORs the 16-byte chunk number with the row number, inside an atom of 8 rows:

    row 0   0 1 2 3 4 5 6 7      chunk c of row s stands at place c ^ s
    row 1   1 0 3 2 5 4 7 6      (128-byte swizzle; the 64-byte one uses c ^ (s // 2) with 4 chunks,
    row 2   2 3 0 1 6 7 4 5       the 32-byte one c ^ (s // 4) with 2)
    ...

Buffers come from users and operators; layouts go to `T.annotate_layout` and to the passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from tilelang.errors import LayoutError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, BufferRegion, Expr
from tilelang.layout.layout import Layout, static_shape
from tilelang.layout.quad_swizzle import quad_swizzle

_ROWS = 8  # of an atom: the XOR repeats after 8 rows
_VECTOR_BITS = 128  # a chunk: what one thread moves at once


class SwizzleMode(IntEnum):
    """Width of the swizzle atom; the value counts the 16-byte chunks in one of its rows."""

    NONE = 1
    SWIZZLE_32B = 2
    SWIZZLE_64B = 4
    SWIZZLE_128B = 8

    @property
    def bytes(self) -> int:
        """Bytes of one row of an atom."""
        return self.value * _VECTOR_BITS // 8


def buffer_of(operand: Any) -> Buffer:
    """The buffer that `operand` is, or is a part of."""
    if isinstance(operand, (BufferLoad, BufferRegion)):
        return operand.buffer
    if isinstance(operand, Buffer):
        return operand
    raise LayoutError(f"expected a buffer, a region or an element, got {operand!r}")


def matrix_shape(operand: Any) -> tuple[int, int, int]:
    """Rows (all leading extents), columns (the last one) and bits per element of a buffer."""
    buffer = buffer_of(operand)
    shape = static_shape(buffer.shape)
    if len(shape) < 2:
        raise LayoutError(
            f"a swizzle needs rows and columns; `{buffer.name}` has rank {len(shape)}"
        )
    return math.prod(shape[:-1]), shape[-1], buffer.dtype.bits


def require_multiple(buffer: Buffer, axis: int, step: int, what: str) -> None:
    """Extent `axis` (from the end) of `buffer`, which counts `what`, is a multiple of `step`.

    Raises:
        LayoutError: otherwise; it says which extents would do.
    """
    extent = static_shape(buffer.shape)[axis]
    if extent % step:
        near = [n for n in (extent // step * step, -(-extent // step) * step) if n]
        raise LayoutError(
            f"`{buffer.name}`: its dimension {len(buffer.shape) + axis} counts {what} and must be "
            f"a multiple of {step}, got {extent}",
            hint=f"make it {' or '.join(map(str, near))}",
        )


def _swizzled(rows: int, columns: int, bits: int, mode: SwizzleMode) -> Layout:
    """`(i, j) -> [column block, row block, offset in the atom]`."""
    vector, chunks = _VECTOR_BITS // bits, mode.value
    if rows % _ROWS or columns % (vector * chunks):
        raise LayoutError(
            f"a {mode.bytes}-byte swizzle needs a multiple of {_ROWS} rows and {vector * chunks} "
            f"columns of {bits}-bit elements, got {rows} x {columns}"
        )

    def forward(i: Expr, j: Expr) -> list[Expr]:
        row = i % _ROWS
        chunk = (j // vector) % chunks
        place = (chunk ^ (row // (_ROWS // chunks))) + row * chunks
        return [j // (vector * chunks), i // _ROWS, j % vector + place * vector]

    return Layout([rows, columns], forward)


def _make(operands: Sequence[Any], mode: SwizzleMode) -> Layout:
    if len(operands) == 3:
        rows, columns, bits = (int(v) for v in operands)
        return _swizzled(rows, columns, bits, mode)
    shape = static_shape(buffer_of(operands[0]).shape)
    layout = _swizzled(*matrix_shape(operands[0]), mode)
    return layout if len(shape) == 2 else layout.reshape(shape)


def make_full_bank_swizzled_layout(*operand: Any) -> Layout:
    """128-byte swizzle of a buffer, or of `(rows, columns, bits)`."""
    return _make(operand, SwizzleMode.SWIZZLE_128B)


def make_half_bank_swizzled_layout(*operand: Any) -> Layout:
    """64-byte swizzle of a buffer, or of `(rows, columns, bits)`."""
    return _make(operand, SwizzleMode.SWIZZLE_64B)


def make_quarter_bank_swizzled_layout(*operand: Any) -> Layout:
    """32-byte swizzle of a buffer, or of `(rows, columns, bits)`."""
    return _make(operand, SwizzleMode.SWIZZLE_32B)


def make_linear_layout(buffer: Any) -> Layout:
    """Row-major."""
    shape = static_shape(buffer_of(buffer).shape)

    def forward(*indices: Expr) -> Expr:
        flat = indices[0]
        for extent, index in zip(shape[1:], indices[1:]):
            flat = flat * extent + index
        return flat

    return Layout(shape, forward)


def make_padded_layout(buffer: Any, padding_bits: int = _VECTOR_BITS) -> Layout:
    """Row-major with each row `padding_bits` longer, so that rows start in different banks."""
    _, columns, bits = matrix_shape(buffer)
    shape = static_shape(buffer_of(buffer).shape)
    stride = columns + padding_bits // bits

    def forward(*indices: Expr) -> Expr:
        row = indices[0]
        for extent, index in zip(shape[1:-1], indices[1:-1]):
            row = row * extent + index
        return row * stride + indices[-1]

    return Layout(shape, forward)


def widest_swizzle(buffer: Any) -> SwizzleMode:
    """The widest swizzle whose atoms tile `buffer`; NONE when none does."""
    rows, columns, bits = matrix_shape(buffer)
    for mode in (SwizzleMode.SWIZZLE_128B, SwizzleMode.SWIZZLE_64B, SwizzleMode.SWIZZLE_32B):
        if rows % _ROWS == 0 and (columns * bits) % (mode.bytes * 8) == 0:
            return mode
    return SwizzleMode.NONE


def make_wgmma_swizzled_layout(
    buffer: Any, continuity: int | None = None, k_major: bool = True
) -> Layout:
    """The layout that a warp group's matrix instruction reads: the widest swizzle that fits.

    Args:
        continuity: columns that one instruction reads next to each other, by default all: the
            atom is at most as wide.
        k_major: the contraction axis is the last one. Atoms are the same either way.
    """
    del k_major
    rows, columns, bits = matrix_shape(buffer)
    within = columns if continuity is None else continuity
    for mode in (SwizzleMode.SWIZZLE_128B, SwizzleMode.SWIZZLE_64B, SwizzleMode.SWIZZLE_32B):
        if rows % _ROWS == 0 and math.gcd(columns, within) * bits % (mode.bytes * 8) == 0:
            return _make((buffer,), mode)
    return make_linear_layout(buffer)


def make_swizzled_layout(buffer: Any, k_major: bool = True, allow_pad: bool = True) -> Layout:
    """The layout with the fewest bank conflicts for a matrix operand.

    Args:
        k_major: the contraction axis is the last one.
        allow_pad: longer rows may be used where no swizzle of at least 64 bytes fits.

    64-bit elements have a swizzle of their own: a thread reads one of them at a time, and half a
    warp reads 4 rows of 4 neighbours.
    """
    mode = widest_swizzle(buffer)
    _, _, bits = matrix_shape(buffer)
    if bits == 64:
        turned = quad_swizzle(buffer_of(buffer).shape, bits)
        if turned is not None:
            return turned
    if allow_pad and (mode < SwizzleMode.SWIZZLE_64B or (bits == 8 and not k_major)):
        return make_padded_layout(buffer)
    return make_linear_layout(buffer) if mode is SwizzleMode.NONE else _make((buffer,), mode)
