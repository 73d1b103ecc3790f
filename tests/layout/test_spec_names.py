"""The layout names of the language: each exists, takes what it should, and does what it says.

One row per entry of the language reference's chapter on layouts. `SIGNATURES` compares parameters
and defaults as text; the tests below it go through the behaviour line by line.
"""

from __future__ import annotations

import inspect
from enum import IntEnum

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang import layout as L
from tilelang.errors import LayoutError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, BufferRegion, Expr, Range, as_expr

SIGNATURES = [
    (L.Layout, "shape, forward_fn"),
    (L.Layout.get_input_shape, "self"),
    (L.Layout.get_output_shape, "self"),
    (L.Layout.get_forward_vars, "self"),
    (L.Layout.get_forward_index, "self"),
    (L.Layout.map_forward_index, "self, indices"),
    (L.Layout.inverse, "self"),
    (L.Layout.is_equal, "self, other"),
    (L.Layout.__call__, "self, *indices"),
    (L.Layout.get_linearized_forward_index, "self"),
    (L.Layout.repeat, "self, dim, factor"),
    (L.Layout.expand, "self, leading_shape"),
    (L.Layout.reshape, "self, shape, rescale_num=1, rescale_den=1"),
    (
        L.Fragment,
        "shape, forward_fn=None, forward_thread_fn=None, replicate=1, forward_index_fn=None",
    ),
    (L.Fragment.get_thread_size, "self"),
    (L.Fragment.map_forward_thread, "self, indices, rep=None"),
    (L.Fragment.repeat, "self, repeats, repeat_on_thread=False, lower_dim_first=True"),
    (L.Fragment.replicate, "self, replicate"),
    (L.Fragment.condense_rep_var, "self"),
    (L.make_swizzled_layout, "buffer, k_major=True, allow_pad=True"),
    (L.make_full_bank_swizzled_layout, "*operand"),
    (L.make_half_bank_swizzled_layout, "*operand"),
    (L.make_quarter_bank_swizzled_layout, "*operand"),
    (L.make_linear_layout, "buffer"),
    (L.make_wgmma_swizzled_layout, "buffer, continuity=None, k_major=True"),
    (L.make_tcgen05mma_swizzled_layout, "buffer, continuity=None, k_major=True"),
    (L.make_volta_swizzled_layout, "buffer, is_a=True, k_inner=True"),
    (L.make_cutlass_metadata_layout, "buffer, mma_dtype='float16', arch=None, **extra"),
    (L.make_gemm_fragment_8x8, ""),
    (L.make_gemm_fragment_8x8_transposed, ""),
    (L.make_fully_replicated_layout_fragment, "buffer, threads"),
    (L.GemmWarpPolicy.is_square, "self"),
    (L.GemmWarpPolicy.is_full_row, "self"),
    (L.GemmWarpPolicy.is_full_col, "self"),
    (L.GemmWarpPolicy.to_prime_factors, "num"),
    (L.GemmWarpPolicy.compute_warp_partition, "self, M, N, num_warps"),
    (L.GemmWarpPolicy.from_warp_partition, "m, n"),
    (T.annotate_layout, "layouts"),
]
PROPERTIES = [(L.Layout, "index"), (L.Fragment, "replicate_size")]
FACTORIES = [name for name in L.__all__ if name.startswith("make_") and "fragment" not in name]


@pytest.mark.parametrize(
    "function, expected", SIGNATURES, ids=[f.__qualname__ for f, _ in SIGNATURES]
)
def test_signatures(function, expected):
    parameters = inspect.signature(function).parameters.values()
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    assert ", ".join(map(str, bare)) == expected


@pytest.mark.parametrize("owner, name", PROPERTIES)
def test_properties(owner, name):
    assert isinstance(getattr(owner, name), property)


def test_one_object_under_all_its_names():
    assert T.Layout is L.Layout is tilelang.Layout
    assert T.Fragment is L.Fragment is tilelang.Fragment
    assert T.GemmWarpPolicy is L.GemmWarpPolicy
    assert issubclass(L.Fragment, L.Layout) and tilelang.layout is L
    assert all(hasattr(L, name) for name in L.__all__)


# -- Layout ----------------------------------------------------------------------------------------


def test_layout_members():
    layout = T.Layout([4, 6], lambda i, j: [j // 2, i * 2 + j % 2])
    assert layout.get_input_shape() == [4, 6] and layout.get_output_shape() == [3, 8]
    assert isinstance(layout.index, tuple) and layout.get_forward_index() == list(layout.index)
    assert [v.name for v in layout.get_forward_vars()] == ["i", "j"]
    assert [int(e.value) for e in layout.map_forward_index([3, 5])] == [2, 7]
    assert [int(e.value) for e in layout(3, 5)] == [2, 7]
    flat = T.Layout([4, 6], lambda i, j: layout.get_linearized_forward_index())
    assert isinstance(flat.index[0], Expr)
    assert layout.inverse().inverse().is_equal(layout)
    assert layout.is_equal(T.Layout([4, 6], lambda i, j: [j // 2, i * 2 + j % 2]))
    assert not layout.is_equal(T.Layout([4, 6], lambda i, j: [i, j]))
    assert T.Layout([5], lambda i: i * 2).get_output_shape() == [9]  # the bounding box
    assert repr(T.Layout([2, 3], lambda i, j: i * 3 + j)) == "Layout([2, 3]: (i, j) -> (i * 3 + j))"


def test_an_inverse_needs_a_bijection():
    for forward in (lambda i: i // 2, lambda i: i * 2):
        with pytest.raises(LayoutError, match="no inverse"):
            T.Layout([8], forward).inverse()


def test_derived_layouts():
    base = T.Layout([2, 4], lambda i, j: [i, j ^ i])
    wide = base.repeat(1, 3)
    assert wide.get_input_shape() == [2, 12] and wide.is_injective
    assert base.repeat(0, 2).get_input_shape() == [4, 4]
    lead = base.expand([3])
    assert lead.get_input_shape() == [3, 2, 4]
    assert [int(e.value) for e in lead(2, 1, 3)] == [2, 1, 2]
    assert base.reshape([8]).get_input_shape() == [8]
    assert base.reshape([2, 2], 2, 1).get_input_shape() == [2, 2]  # elements twice as wide


# -- Fragment --------------------------------------------------------------------------------------


def test_fragment_forms_agree():
    both = T.Fragment([8, 4], lambda i, j: (i, j))
    apart = T.Fragment([8, 4], forward_thread_fn=lambda i, j: i, forward_index_fn=lambda i, j: j)
    assert both.is_equal(apart) and both.get_thread_size() == 8 and both.replicate_size == 1
    assert isinstance(both.thread, Expr)
    one_each = T.Fragment([8], forward_thread_fn=lambda i: i)
    assert one_each.get_output_shape() == [1]
    assert "thread i" in repr(both) and "Fragment([8, 4]" in repr(both)
    with pytest.raises(LayoutError, match="either"):
        T.Fragment([8])


@pytest.mark.parametrize(
    "thread",
    [
        lambda i, j: i // 2 * 8 + j % 8,
        lambda i, j: j // 4,
        lambda i, j: i * 4 + j // 2 % 4,
        lambda i, j: (i % 4) * 8 + (j % 8 ^ i % 8),
    ],
)
def test_registers_are_numbered_when_the_thread_alone_is_given(thread):
    fragment = T.Fragment([8, 16], forward_thread_fn=thread)
    assert fragment.is_injective
    threads, registers = fragment.thread_table[..., 0], fragment.offsets
    for holder in range(fragment.get_thread_size()):
        mine = registers[threads == holder]
        np.testing.assert_array_equal(mine, np.arange(len(mine)))


def test_the_replica_is_passed_only_above_one():
    held = T.Fragment([8], lambda i, r: (i + r * 8, 0), replicate=4)
    assert held.replicate_size == 4 and held.get_thread_size() == 32
    assert int(held.map_forward_thread([3], 2).value) == 19
    index_alone = T.Fragment(
        [8], forward_thread_fn=lambda i, r: r, replicate=2, forward_index_fn=lambda i: i
    )
    assert index_alone.get_output_shape() == [8]


@pytest.mark.parametrize("on_thread", [False, True])
@pytest.mark.parametrize("lower_first", [False, True])
def test_repeats_of_a_fragment(on_thread, lower_first):
    tile = T.Fragment([2, 4], lambda i, j: (i * 2 + j // 2, j % 2))
    large = tile.repeat([3, 2], on_thread, lower_first)
    assert large.get_input_shape() == [6, 8] and large.is_injective
    assert large.get_thread_size() == (24 if on_thread else 4)
    assert large.get_output_shape() == [2 if on_thread else 12]
    step = (large.thread_table[..., 0] // 4) if on_thread else (large.offsets // 2)
    assert step[0, 4] == (1 if lower_first else 3)  # the last axis varies fastest, or slowest
    assert step[2, 0] == (2 if lower_first else 1)


def test_the_accumulator_map_of_the_hardware():
    block = L.make_gemm_fragment_8x8()
    turned = L.make_gemm_fragment_8x8_transposed()
    for i, j in np.ndindex(8, 8):
        assert (block.thread_table[i, j, 0], block.offsets[i, j]) == (i * 4 + j // 2, j % 2)
        assert (turned.thread_table[j, i, 0], turned.offsets[j, i]) == (i * 4 + j // 2, j % 2)
    stacked = block.repeat([2, 1])
    assert stacked.get_thread_size() == 32
    assert stacked.offsets[8:].min() == 2 and stacked.offsets[:8].max() == 1


def test_full_replication():
    everyone = L.make_fully_replicated_layout_fragment(Buffer("x", (3, 5), "float32", "shared"), 64)
    assert everyone.replicate_size == 64 and everyone.get_output_shape() == [15]
    assert (np.sort(everyone.thread_table[1, 2]) == np.arange(64)).all()


# -- factories -------------------------------------------------------------------------------------


def shared(*shape: int, dtype: str = "float16") -> Buffer:
    return Buffer("tile", shape, dtype, "shared.dyn")


def arguments_for(name: str) -> tuple[Buffer, dict[str, object]]:
    return shared(64, 64, dtype="int16" if "metadata" in name else "float16"), {}


@pytest.mark.parametrize("name", FACTORIES)
def test_operands_are_buffers_regions_and_elements(name):
    make = getattr(L, name)
    buffer, extra = arguments_for(name)
    zero, whole = as_expr(0), Range(as_expr(0), as_expr(64))
    expected = make(buffer, **extra)
    assert expected.get_input_shape() == [64, 64] and expected.is_injective
    assert make(BufferLoad(buffer, (zero, zero)), **extra).is_equal(expected)
    assert make(BufferRegion(buffer, (whole, whole)), **extra).is_equal(expected)
    with pytest.raises(LayoutError, match="expected a buffer"):
        make("tile", **extra)


@pytest.mark.parametrize("name, chunks", [("full", 8), ("half", 4), ("quarter", 2)])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_swizzles_take_integers_and_check_multiples(name, chunks, bits):
    make = getattr(L, f"make_{name}_bank_swizzled_layout")
    unit = 128 // bits * chunks
    assert make(24, unit * 3, bits).get_output_shape() == [3, 3, 8 * unit]
    for rows, columns in [(12, unit), (8, unit + unit // 2)]:
        with pytest.raises(LayoutError, match=f"multiple of 8 rows and {unit} columns"):
            make(rows, columns, bits)
    slots = make(shared(3, 16, unit, dtype={8: "int8", 16: "float16", 32: "float32"}[bits]))
    assert slots.get_input_shape() == [3, 16, unit]


def test_the_choice_of_a_swizzle():
    def chosen(columns, dtype="float16", **options):
        return L.make_swizzled_layout(shared(32, columns, dtype=dtype), **options)

    assert chosen(64).is_equal(L.make_full_bank_swizzled_layout(32, 64, 16))
    assert chosen(96).is_equal(L.make_half_bank_swizzled_layout(32, 96, 16))
    assert chosen(48).get_output_shape() == [31 * 56 + 48]  # rows 16 bytes longer
    assert chosen(128, "int8").is_equal(L.make_full_bank_swizzled_layout(32, 128, 8))
    assert chosen(128, "int8", k_major=False).get_output_shape() == [31 * 144 + 128]
    hopper = chosen(48, allow_pad=False)
    assert hopper.is_equal(L.make_quarter_bank_swizzled_layout(32, 48, 16))
    assert chosen(24, allow_pad=False).get_output_shape() == [32 * 24]
    assert chosen(16, "float64").is_injective
    assert not chosen(16, "float64").is_equal(L.make_full_bank_swizzled_layout(32, 16, 64))


def test_modes():
    assert issubclass(L.SwizzleMode, IntEnum)
    names = {"NONE": 16, "SWIZZLE_32B": 32, "SWIZZLE_64B": 64, "SWIZZLE_128B": 128}
    assert {m.name: m.bytes for m in L.SwizzleMode} == names


# -- warp policies ---------------------------------------------------------------------------------


def test_policies():
    policy = T.GemmWarpPolicy
    assert [int(p) for p in (policy.Square, policy.FullRow, policy.FullCol)] == [0, 1, 2]
    assert policy.Square.is_square() and policy.FullRow.is_full_row()
    assert policy.FullCol.is_full_col() and not policy.FullCol.is_square()
    assert policy.to_prime_factors(84) == [2, 2, 3, 7]
    assert policy.from_warp_partition(4, 1) is policy.FullRow
    assert policy.from_warp_partition(1, 4) is policy.FullCol
    assert policy.from_warp_partition(2, 2) is policy.Square


@pytest.mark.parametrize(
    "policy, m, n, warps, expected",
    [
        ("FullRow", 128, 128, 4, (4, 1)),
        ("FullRow", 32, 128, 4, (2, 2)),
        ("FullCol", 128, 128, 4, (1, 4)),
        ("FullCol", 128, 16, 4, (2, 2)),
        ("Square", 128, 128, 4, (2, 2)),
        ("Square", 64, 256, 8, (2, 4)),
        ("Square", 8, 8, 1, (1, 1)),
    ],
)
def test_partitions(policy, m, n, warps, expected):
    found = T.GemmWarpPolicy[policy].compute_warp_partition(m, n, warps)
    if policy != "Square":
        assert found == expected
        return
    pairs = [(a, warps // a) for a in range(1, warps + 1) if warps % a == 0]
    feasible = [(a, b) for a, b in pairs if a <= m // 16 and b <= n // 8]
    merit = [abs((m / (16 * a)) / (n / (8 * b)) - m / n) for a, b in feasible]
    assert found == (feasible[int(np.argmin(merit))] if feasible else (1, 1))
