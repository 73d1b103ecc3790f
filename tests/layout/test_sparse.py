"""Sparsity metadata: a lane's word holds what the instruction reads from that lane."""

from __future__ import annotations

import numpy as np
import pytest

from tilelang.errors import ArgumentError, ArgumentTypeError, DTypeError, LayoutError
from tilelang.ir.buffer import Buffer
from tilelang.layout import make_cutlass_metadata_layout


def metadata(rows: int, columns: int, dtype: str) -> Buffer:
    return Buffer("E", (rows, columns), dtype, "shared.dyn")


def inverted(layout) -> np.ndarray:
    """Storage order -> (row, column) of the metadata."""
    assert layout.is_injective and layout.inverse().inverse().is_equal(layout)
    order = np.empty((layout.offsets.size, 2), np.int64)
    order[layout.offsets.ravel()] = np.argwhere(np.ones(layout.shape))
    return order


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "tfloat32"])
@pytest.mark.parametrize("rows, columns", [(32, 2), (64, 6), (96, 8)])
def test_words_of_lanes_16_bit(kind, rows, columns):
    layout = make_cutlass_metadata_layout(metadata(rows, columns, "int16"), kind, "8.0")
    order = inverted(layout).reshape(columns // 2, rows // 32, 32, 2, 2)
    for pair, block, lane, half in np.ndindex(order.shape[:-1]):
        g, t = lane // 4, lane % 4
        selector, step = t // 2, t % 2
        row = block * 32 + selector * 16 + half * 8 + g
        assert tuple(order[pair, block, lane, half]) == (row, pair * 2 + step)


@pytest.mark.parametrize("kind", ["int8", "uint8", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("rows, columns", [(16, 2), (48, 4), (128, 6)])
def test_words_of_lanes_32_bit(kind, rows, columns):
    layout = make_cutlass_metadata_layout(metadata(rows, columns, "int32"), kind, "8.9")
    order = inverted(layout).reshape(columns // 2, rows // 16, 32, 2)
    for pair, block, lane in np.ndindex(order.shape[:-1]):
        g, p, q = lane // 4, lane % 2, lane % 4 // 2
        assert tuple(order[pair, block, lane]) == (block * 16 + g + 8 * p, pair * 2 + q)


@pytest.mark.parametrize("kind, bits", [("float16", 16), ("bfloat16", 16), ("float32", 32)])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
@pytest.mark.parametrize("tiles_m, tiles_k", [(1, 1), (2, 3)])
def test_bytes_of_lanes_of_warp_groups(kind, bits, blocks, tiles_m, tiles_k):
    per_byte, deep = (4 if bits == 32 else 8), 512 // bits * blocks
    width = deep // per_byte
    buffer = metadata(64 * tiles_m, width * tiles_k, "uint8")
    layout = make_cutlass_metadata_layout(buffer, kind, "9.0", block_k=deep)
    order = inverted(layout).reshape(tiles_k, tiles_m, 4, 2, 8, blocks, 2, 2, 2)
    for place in np.ndindex(order.shape[:-1]):
        tile_k, tile_m, warp, p, g, block, half, byte = place
        row = tile_m * 64 + warp * 16 + half * 8 + g
        column = tile_k * width + block * 4 + p * 2 + byte
        assert tuple(order[place]) == (row, column)


@pytest.mark.parametrize("block_k, width", [(64, 8), (128, 16), (256, 16)])
def test_8_bit_elements_of_warp_groups_stay_in_rows(block_k, width):
    buffer = metadata(128, 32, "uint8")
    layout = make_cutlass_metadata_layout(buffer, "int8", "9.0", block_k=block_k)
    order = inverted(layout).reshape(32 // width, 2, 64, width, 2)
    for tile_k, tile_m, i, j in np.ndindex(order.shape[:-1]):
        assert tuple(order[tile_k, tile_m, i, j]) == (tile_m * 64 + i, tile_k * width + j)


def test_a_tile_of_a_matrix_is_a_matrix_of_its_own():
    """What a kernel copies from the whole into shared memory is one piece of storage."""
    whole = make_cutlass_metadata_layout(metadata(256, 32, "uint8"), "float16", block_k=64)
    part = make_cutlass_metadata_layout(metadata(128, 8, "uint8"), "float16", block_k=64)
    piece = whole.offsets[128:, 8:16]
    assert np.array_equal(piece - piece.min(), part.offsets)
    # sm_8x: pairs of columns are whole only together, but each block of 32 rows is one piece
    whole = make_cutlass_metadata_layout(metadata(128, 8, "int16"))
    part = make_cutlass_metadata_layout(metadata(32, 2, "int16"))
    piece = whole.offsets[64:96, 4:6]
    assert np.array_equal(piece - piece.min(), part.offsets)


def test_the_width_of_the_metadata_tells_the_architecture():
    wide = metadata(64, 8, "uint8")
    explicit = make_cutlass_metadata_layout(wide, "float16", "sm_90a", block_k=64)
    assert make_cutlass_metadata_layout(wide, block_k=64).is_equal(explicit)
    words = metadata(64, 8, "uint16")
    assert make_cutlass_metadata_layout(words, block_k=64).is_equal(
        make_cutlass_metadata_layout(words, "float16", "8.6")
    )


@pytest.mark.parametrize(
    "buffer, arguments, error, says",
    [
        (metadata(48, 8, "int16"), {}, LayoutError, "dimension 0 counts rows of A .* 32, got 48"),
        (metadata(64, 3, "int16"), {}, LayoutError, "dimension 1 counts 16-bit words"),
        (metadata(24, 2, "int32"), {"mma_dtype": "int8"}, LayoutError, "multiple of 16, got 24"),
        (metadata(64, 2, "int32"), {}, DTypeError, "16-bit integers, got int32"),
        (metadata(64, 2, "int16"), {"mma_dtype": "int8"}, DTypeError, "32-bit integers"),
        (metadata(64, 2, "float16"), {}, DTypeError, "16-bit integers"),
        (metadata(64, 2, "int16"), {"arch": "9.0"}, DTypeError, "8-bit integers"),
        (metadata(64, 8, "uint8"), {}, ArgumentError, "pass block_k"),
        (metadata(64, 8, "uint8"), {"block_k": 48}, ArgumentError, "multiple of 32"),
        (metadata(64, 8, "uint8"), {"block_k": 0}, ArgumentError, "multiple of 32"),
        (metadata(96, 8, "uint8"), {"block_k": 64}, LayoutError, "multiple of 64, got 96"),
        (metadata(64, 12, "uint8"), {"block_k": 64}, LayoutError, "multiple of 8, got 12"),
        (metadata(64, 8, "int16"), {"arch": "7.5"}, ArgumentError, "not for 7.5"),
        (metadata(64, 8, "int16"), {"arch": "10.0"}, ArgumentError, "not for 10.0"),
        (metadata(64, 8, "int16"), {"mma_dtype": "float64"}, DTypeError, "no sparse product"),
        (metadata(64, 8, "int16"), {"block_m": 64}, ArgumentTypeError, "not block_m"),
        (Buffer("E", (2, 64, 8), "int16", "shared"), {}, LayoutError, "got 3 dimensions"),
    ],
)
def test_mistakes(buffer, arguments, error, says):
    with pytest.raises(error, match=says) as caught:
        make_cutlass_metadata_layout(buffer, **arguments)
    assert "test_sparse.py" in str(caught.value)
