"""Layouts: tables, inverses, derived layouts."""

import numpy as np
import pytest

from tilelang.errors import LayoutError, ShapeError
from tilelang.ir.buffer import Buffer
from tilelang.layout import (
    Fragment,
    GemmWarpPolicy,
    Layout,
    make_full_bank_swizzled_layout,
    make_fully_replicated_layout_fragment,
    make_gemm_fragment_8x8,
    make_half_bank_swizzled_layout,
    make_linear_layout,
    make_quarter_bank_swizzled_layout,
    make_swizzled_layout,
    make_wgmma_swizzled_layout,
)

LAYOUTS = {
    "row_major": Layout([6, 10], lambda i, j: i * 10 + j),
    "column_major": Layout([6, 10], lambda i, j: j * 6 + i),
    "tiled": Layout([6, 10], lambda i, j: [i // 3, j // 5, i % 3, j % 5]),
    "large_with_a_last_axis_of_one": Layout([128, 130], lambda i, j: [i * 130 + j, 0]),
    "permuted": Layout([4, 3, 5], lambda i, j, k: [k, i, j]),
    "full": make_full_bank_swizzled_layout(16, 128, 16),
    "half": make_half_bank_swizzled_layout(16, 32, 16),
    "quarter": make_quarter_bank_swizzled_layout(24, 32, 8),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_inverse_undoes_the_layout(name):
    layout = LAYOUTS[name]
    inverse = layout.inverse()
    assert inverse.get_input_shape() == layout.get_output_shape()
    back = [t[tuple(layout.table)] for t in inverse.table]
    for axis, grid in enumerate(np.indices(layout.shape)):
        assert np.array_equal(back[axis], grid)
    assert inverse.inverse().is_equal(layout)


@pytest.mark.parametrize("bits,mode", [(8, 8), (16, 8), (32, 8), (16, 4), (16, 2)])
def test_swizzle_formula(bits, mode):
    make = {8: make_full_bank_swizzled_layout, 4: make_half_bank_swizzled_layout}.get(
        mode, make_quarter_bank_swizzled_layout
    )
    vector = 128 // bits
    rows, columns = 16, 2 * vector * mode
    layout = make(rows, columns, bits)
    for i in range(rows):
        for j in range(columns):
            s, c = i % 8, (j // vector) % mode
            expected = [
                j // (vector * mode),
                i // 8,
                (j % vector) + ((c ^ (s // (8 // mode))) + s * mode) * vector,
            ]
            assert [int(t[i, j]) for t in layout.table] == expected
    assert layout.is_injective


def test_non_injective_layout_names_the_collision():
    layout = Layout([4, 4], lambda i, j: i + j)
    assert not layout.is_injective
    assert layout.collision() == ((0, 1), (1, 0))
    with pytest.raises(LayoutError, match="no inverse"):
        layout.inverse()


def test_map_forward_index_on_constants_and_wrong_rank():
    layout = LAYOUTS["tiled"]
    assert [e.value for e in layout.map_forward_index([4, 7])] == [1, 1, 1, 2]
    with pytest.raises(ShapeError):
        layout.map_forward_index([1])


def test_repeat_expand_reshape():
    base = Layout([4, 8], lambda i, j: [i, j ^ (i * 2)])
    twice = base.repeat(1, 2)
    assert twice.shape == (4, 16) and twice.is_injective
    assert int(twice.table[0][1, 9]) == int(base.table[0][1, 1]) + 4
    lead = base.expand([3])
    assert lead.get_input_shape() == [3, 4, 8] and lead.get_output_shape() == [3, 4, 8]
    flat = base.reshape([32])
    assert np.array_equal(flat.offsets.reshape(4, 8), base.offsets)
    with pytest.raises(LayoutError):
        base.reshape([31])


def test_reshape_to_another_width_keeps_bytes():
    words = Layout([4, 8], lambda i, j: [i, j ^ ((i % 2) * 4)])  # 2-byte elements
    wide = words.reshape([4, 4], rescale_num=2, rescale_den=1)  # the same bytes, 4-byte elements
    narrow = words.reshape([4, 16], rescale_num=1, rescale_den=2)  # 1-byte elements
    for i in range(4):
        for j in range(8):
            place = int(words.offsets[i, j])
            assert int(wide.offsets[i, j // 2]) == place // 2
            assert int(narrow.offsets[i, 2 * j]) == 2 * place


def test_swizzled_layout_choice():
    def shape(columns, dtype="float16"):
        return make_swizzled_layout(Buffer("s", (32, columns), dtype, "shared.dyn"))

    assert shape(64).is_equal(make_full_bank_swizzled_layout(32, 64, 16))
    assert shape(32).is_equal(make_half_bank_swizzled_layout(32, 32, 16))
    assert shape(24).get_output_shape() == [31 * 32 + 24]
    linear = make_linear_layout(Buffer("s", (3, 5), "int8", "shared"))
    assert np.array_equal(linear.offsets, np.arange(15).reshape(3, 5))


def test_warp_group_layout_is_the_widest_swizzle_within_the_continuity():
    def shape(columns, continuity=None):
        buffer = Buffer("s", (32, columns), "float16", "shared.dyn")
        return make_wgmma_swizzled_layout(buffer, continuity)

    assert shape(128).is_equal(make_full_bank_swizzled_layout(32, 128, 16))
    assert shape(128, 32).is_equal(make_half_bank_swizzled_layout(32, 128, 16))
    assert shape(48).is_equal(make_quarter_bank_swizzled_layout(32, 48, 16))
    assert np.array_equal(shape(24).offsets, np.arange(32 * 24).reshape(32, 24))


def test_fragment_of_a_matrix_instruction():
    block = make_gemm_fragment_8x8()
    assert block.get_thread_size() == 32 and block.get_output_shape() == [2]
    tile = block.repeat([2, 1])
    assert tile.get_input_shape() == [16, 8] and tile.get_output_shape() == [4]
    warps = tile.repeat([2, 2], repeat_on_thread=True)
    assert warps.get_thread_size() == 128 and warps.is_injective
    assert int(warps.thread_table[17, 9, 0]) == 3 * 32 + 4


def test_fragment_replication():
    base = Fragment([8], lambda i: (i, 0))
    held = base.replicate(4)
    assert held.replicate_size == 4 and held.get_thread_size() == 32
    assert sorted(held.thread_table[3]) == [3, 11, 19, 27]
    same = Fragment([8], lambda i, r: (i, 0), replicate=3)
    assert same.condense_rep_var().is_equal(base)
    everyone = make_fully_replicated_layout_fragment([2, 3], 4)
    assert everyone.replicate_size == 4 and everyone.get_output_shape() == [6]
    with pytest.raises(LayoutError):
        Fragment([8], lambda i, r: (i, r), replicate=2)


@pytest.mark.parametrize("policy", GemmWarpPolicy)
@pytest.mark.parametrize("m,n,warps", [(128, 128, 4), (64, 256, 8), (128, 64, 4), (16, 128, 4)])
def test_warp_partition_uses_every_warp(policy, m, n, warps):
    if policy is GemmWarpPolicy.FullRow and m % (16 * warps):
        rows, columns = policy.compute_warp_partition(m, n, warps)
        assert rows == m // 16
    else:
        rows, columns = policy.compute_warp_partition(m, n, warps)
    assert rows * columns == warps
    assert GemmWarpPolicy.from_warp_partition(warps, 1) is GemmWarpPolicy.FullRow


def test_prime_factors():
    assert GemmWarpPolicy.to_prime_factors(60) == [2, 2, 3, 5]
