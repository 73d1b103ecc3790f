"""Layouts of `tcgen05.mma`: what a matrix descriptor can say, element by element."""

from __future__ import annotations

import numpy as np
import pytest

from tilelang.errors import LayoutError
from tilelang.ir.buffer import Buffer
from tilelang.layout import (
    SwizzleMode,
    make_full_bank_swizzled_layout,
    make_half_bank_swizzled_layout,
    make_quarter_bank_swizzled_layout,
    make_tcgen05mma_swizzled_layout,
)
from tilelang.layout.banks import matrix_conflicts

LANE = np.arange(32)
DTYPES = {8: "float8_e4m3fn", 16: "bfloat16", 32: "float32"}


def shared(*shape: int, bits: int = 16) -> Buffer:
    return Buffer("tile", shape, DTYPES[bits], "shared.dyn")


def described(rows: int, columns: int, bits: int, span: int, unit: int = 16) -> np.ndarray:
    """Byte address by the descriptor's rule: rows of `span` bytes, the address bits above the unit
    XORed with the number of the 128 bytes; panels of `span` bytes of all rows one after another."""
    i, byte = np.indices((rows, columns))
    byte = byte * bits // 8
    address = byte // span * rows * span + i * span + byte % span
    return address ^ (address // 128 % (span // unit) * unit)


@pytest.mark.parametrize("k_major", [True, False])
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("rows", [8, 24, 128])
@pytest.mark.parametrize("spans", [1, 2, 3])
@pytest.mark.parametrize("span", [32, 64, 128])
def test_swizzled_rows(span, spans, rows, bits, k_major):
    columns = span * 8 // bits * spans
    wide_chunks = bits == 32 and not k_major
    if wide_chunks and span * spans % 128:
        with pytest.raises(LayoutError, match="dimension 1 counts columns of 32-bit"):
            make_tcgen05mma_swizzled_layout(shared(rows, columns, bits=bits), k_major=k_major)
        return
    layout = make_tcgen05mma_swizzled_layout(shared(rows, columns, bits=bits), k_major=k_major)
    used = next(s for s in (128, 64, 32) if span * spans % s == 0)
    expected = described(rows, columns, bits, used, 32 if wide_chunks else 16)
    assert np.array_equal(layout.offsets * bits // 8, expected)
    assert layout.inverse().inverse().is_equal(layout)
    if not wide_chunks:
        assert matrix_conflicts(layout, bits) == 1


def test_swizzles_are_those_of_the_bulk_copies():
    for make, columns in (
        (make_full_bank_swizzled_layout, 128),
        (make_half_bank_swizzled_layout, 32),
        (make_quarter_bank_swizzled_layout, 16),
    ):
        tile = shared(64, columns)
        assert make_tcgen05mma_swizzled_layout(tile).is_equal(make(tile))
        assert make_tcgen05mma_swizzled_layout(tile, k_major=False).is_equal(make(tile))


@pytest.mark.parametrize("bits, columns", [(8, 16), (8, 48), (16, 8), (16, 24), (32, 4), (32, 12)])
def test_core_matrices(bits, columns):
    layout = make_tcgen05mma_swizzled_layout(shared(24, columns, bits=bits))
    vector = 128 // bits
    for (i, j), offset in np.ndenumerate(layout.offsets):
        group, column = 24 * vector, j // vector
        assert offset == column * group + i // 8 * 8 * vector + i % 8 * vector + j % vector
    if columns * bits % 256:  # an odd number of chunks: no swizzle fits
        assert matrix_conflicts(layout, bits) == 1
    assert layout.inverse().inverse().is_equal(layout)


def test_continuity_bounds_the_rows():
    tile = shared(64, 128)
    assert make_tcgen05mma_swizzled_layout(tile, 32).is_equal(make_half_bank_swizzled_layout(tile))
    quarter = make_quarter_bank_swizzled_layout(tile)
    assert make_tcgen05mma_swizzled_layout(tile, 16).is_equal(quarter)
    assert make_tcgen05mma_swizzled_layout(tile, 8).get_output_shape() == [16, 8, 64]
    with pytest.raises(LayoutError, match="continuity of 16"):
        make_tcgen05mma_swizzled_layout(shared(64, 128, bits=32), 16, k_major=False)


def test_slots_are_rows_of_one_matrix():
    layout = make_tcgen05mma_swizzled_layout(shared(2, 16, 12, bits=32))
    plane = make_tcgen05mma_swizzled_layout(shared(32, 12, bits=32))
    assert layout.get_input_shape() == [2, 16, 12]
    assert np.array_equal(layout.offsets.reshape(32, 12), plane.offsets)


def test_shapes_that_do_not_fit():
    with pytest.raises(LayoutError, match=r"dimension 0 counts rows .* multiple of 8, got 12"):
        make_tcgen05mma_swizzled_layout(shared(12, 64))
    with pytest.raises(LayoutError, match=r"dimension 1 counts columns .* multiple of 8") as caught:
        make_tcgen05mma_swizzled_layout(shared(16, 20))
    assert "16 or 24" in str(caught.value) and "test_tcgen05.py" in str(caught.value)
    with pytest.raises(LayoutError, match="no 64-bit operands"):
        make_tcgen05mma_swizzled_layout(Buffer("tile", (16, 64), "float64", "shared"))
    with pytest.raises(LayoutError, match="rank 1"):
        make_tcgen05mma_swizzled_layout(shared(64))


def test_modes_count_chunks():
    assert [m.bytes for m in SwizzleMode] == [16, 32, 64, 128]
