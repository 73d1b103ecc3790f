"""Layouts of 2:4 sparsity metadata: a matrix of words `[M, K / k per word]`, reordered so that a
lane finds what the sparse matrix instruction wants of it in one aligned word.

Every four elements along K (two of 32 bits) keep half, and 4 bits say which. Lane 4g + t of a warp
needs, for rows g and g + 8 of its tile, h = 0, 1:

    sm_8x, 16-bit words (a word: 16 elements of 16 bits, 8 of 32)
        32 rows by 2 words fill the lanes' registers: lane 4g + t has, of the tile of 16 rows
        s = t // 2, word t % 2 of row g (low half) and of row g + 8 (high half)
    sm_8x, 32-bit words (a word: 32 elements of 8 bits)
        16 rows by 2 words: lane 4g + t has word t // 2 of row g + 8 (t % 2)
    sm_90, bytes, for warp groups: tiles of 64 rows by `block_k` elements
        16-bit and 32-bit elements: as in the first form, lane by lane, and the words of one lane
        for all instructions of a tile follow each other, so that it loads them at once
        8-bit elements: row by row

Tiles follow each other down the rows first. These are the orders in which CUTLASS writes compressed
matrices, so that its metadata can be used as they are.

In: metadata buffers, from users. Out: layouts, to `T.annotate_layout`. It compresses nothing.
"""

from __future__ import annotations

import re
from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, DTypeError, LayoutError
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import Expr
from tilelang.layout.layout import Layout, static_shape
from tilelang.layout.swizzle import buffer_of, require_multiple

_WORD_BITS = {16: 16, 32: 16, 8: 32}  # sm_8x: element bits -> bits of a metadata word
_OPERANDS = {
    "float16", "bfloat16", "float32", "tfloat32", "int8", "uint8",
    "float8_e4m3", "float8_e4m3fn", "float8_e5m2",
}  # fmt: skip
_GROUP_ROWS = 64  # of a warp group's instruction
_DEEPEST = 128  # elements along K in one tile of the sm_90 form
_INSTRUCTION_BITS = 512  # elements along K of one block of metadata, in bits of A


def make_cutlass_metadata_layout(
    buffer: Any, mma_dtype: Any = "float16", arch: str | None = None, **extra: Any
) -> Layout:
    """Where the metadata word of each row and group of columns stands.

    Args:
        buffer: metadata `[M, words]`; sm_90: bytes; sm_8x: 16-bit words, 32-bit ones for 8-bit
            elements.
        mma_dtype: element type of the sparse matrix.
        arch: `"8.0"`, `"8.6"`, `"8.9"` or `"9.0"`, also as `sm_80`; by default the one that the
            width of `buffer`'s elements tells.
        extra: `block_k`, elements along K (before compression) of the tile that a block multiplies;
            sm_90 needs it, sm_8x does not look at it.

    Raises:
        ArgumentError: for another architecture, and without `block_k` where it is needed.
        ArgumentTypeError: for another argument.
        DTypeError: for an element type without sparse instructions, or metadata of another width.
        LayoutError: for a shape that is not made of whole tiles.
    """
    unknown = sorted(set(extra) - {"block_k"})
    if unknown:
        raise ArgumentTypeError(f"make_cutlass_metadata_layout takes block_k, not {unknown[0]}")
    found = buffer_of(buffer)
    if len(found.shape) != 2:
        raise LayoutError(
            f"`{found.name}`: metadata is a matrix, got {len(found.shape)} dimensions"
        )
    kind = DType(mma_dtype)
    if kind not in _OPERANDS:
        raise DTypeError(f"there is no sparse product of {kind}; there is of float16 and int8")
    generation = _generation(arch) if arch is not None else 9 if found.dtype.bits == 8 else 8
    if generation == 9:
        return _of_warp_groups(found, kind, extra.get("block_k"))
    _require_words(found, kind, _WORD_BITS[kind.bits], "sm_8x")
    return _of_warps(found)


def _generation(arch: str) -> int:
    """8 or 9."""
    number = re.fullmatch(r"(?:sm_?)?(\d)\.?\d[af]?", str(arch))
    if number is None or number[1] not in "89":
        raise ArgumentError(
            f"sparsity metadata has a layout for 8.0, 8.6, 8.9 and 9.0, not for {arch}"
        )
    return int(number[1])


def _require_words(buffer: Buffer, kind: DType, bits: int, where: str) -> None:
    if not buffer.dtype.is_int or buffer.dtype.bits != bits:
        raise DTypeError(
            f"`{buffer.name}`: metadata of {kind} on {where} are {bits}-bit integers, "
            f"got {buffer.dtype}",
            hint=f"make it {'u' if bits == 8 else ''}int{bits}",
        )


def _of_warps(buffer: Buffer) -> Layout:
    """Registers of `mma.sp`: lane by lane, blocks of 32 (16-bit words) or 16 rows."""
    is_half = buffer.dtype.bits == 16
    rows = 32 if is_half else 16
    require_multiple(buffer, -2, rows, "rows of A (M)")
    require_multiple(buffer, -1, 2, f"{buffer.dtype.bits}-bit words along K")

    def forward(i: Expr, j: Expr) -> list[Expr]:
        row, upper = i % 8, i // 8 % 2
        if is_half:
            lane = row * 4 + i // 16 % 2 * 2 + j % 2
            return [j // 2, i // rows, lane * 2 + upper]
        return [j // 2, i // rows, row * 4 + j % 2 * 2 + upper]

    return Layout(static_shape(buffer.shape), forward)


def _of_warp_groups(buffer: Buffer, kind: DType, block_k: Any) -> Layout:
    """Registers of sparse `wgmma`: tiles of 64 rows by `block_k` elements."""
    _require_words(buffer, kind, 8, "sm_90")
    deep = _depth(buffer, kind, block_k)
    width = deep // (4 if kind.bits == 32 else 8)  # bytes: 4 bits for every 4 (2) elements
    require_multiple(buffer, -2, _GROUP_ROWS, "rows of A (M)")
    require_multiple(buffer, -1, width, f"bytes along K, {width} for {deep} elements of {kind},")

    def by_rows(i: Expr, j: Expr) -> list[Expr]:
        return [j // width, i // _GROUP_ROWS, i % _GROUP_ROWS * width + j % width]

    def by_lanes(i: Expr, j: Expr) -> list[Expr]:
        instructions = width // 4  # of a tile; each wants 4 bytes of a row, 2 of one lane
        upper, warp = i // 8 % 2, i // 16 % 4
        lane = warp * 16 + j // 2 % 2 * 8 + i % 8
        word = lane * instructions + j // 4 % instructions
        return [j // width, i // _GROUP_ROWS, word * 4 + upper * 2 + j % 2]

    return Layout(static_shape(buffer.shape), by_rows if kind.bits == 8 else by_lanes)


def _depth(buffer: Buffer, kind: DType, block_k: Any) -> int:
    """Elements along K of a tile: `block_k`, 128 at most."""
    if block_k is None:
        raise ArgumentError(
            f"`{buffer.name}`: metadata on sm_90 is laid out in tiles", hint="pass block_k"
        )
    step = _INSTRUCTION_BITS // kind.bits
    if int(block_k) < step or int(block_k) % step:
        raise ArgumentError(f"block_k must be a multiple of {step} for {kind}, got {block_k}")
    return min(int(block_k), _DEEPEST)
