"""Fragments of matrix instructions against the hardware's formulas, element by element."""

from __future__ import annotations

import numpy as np
import pytest

from tilelang.errors import LayoutError
from tilelang.layout import GemmWarpPolicy
from tilelang.layout.holding import Holding
from tilelang.layout.mma import (
    MmaAtom,
    WarpTiles,
    accumulator_fragment,
    bank_swizzle,
    operand_fragment_A,
    operand_fragment_B,
    warp_partition,
    widened,
)

ATOMS = [
    MmaAtom(16, 8, 16, 2, 16), MmaAtom(16, 8, 8, 2, 16), MmaAtom(16, 8, 8, 1, 32),
    MmaAtom(16, 8, 4, 1, 32), MmaAtom(8, 8, 4, 1, 64), MmaAtom(16, 8, 16, 1, 64),
    MmaAtom(16, 8, 32, 4, 8), MmaAtom(16, 8, 16, 4, 8), MmaAtom(8, 8, 16, 4, 8),
]  # fmt: skip
F16 = ATOMS[0]


def lanes_and_words(words, per_word):
    lane, r, j = np.meshgrid(np.arange(32), np.arange(words), np.arange(per_word), indexing="ij")
    return lane, lane >> 2, lane & 3, r, j


@pytest.mark.parametrize("atom", ATOMS, ids=lambda a: f"{a.shape}-{a.per_word}")
def test_one_atom_is_the_formula(atom):
    one, P = WarpTiles(atom.m, atom.n, 1, 1, atom), atom.per_word
    A = operand_fragment_A(one, atom.k)
    lane, g, t, r, j = lanes_and_words(atom.a_elements // P, P)
    high = r >> 1 if atom.m == 16 else r
    row, k = g + (8 * (r & 1) if atom.m == 16 else 0), P * t + j + 4 * P * high
    np.testing.assert_array_equal(A.thread_table[row, k, 0], lane)
    np.testing.assert_array_equal(A.offsets[row, k], r * P + j)
    B = operand_fragment_B(one, atom.k)
    lane, g, t, r, j = lanes_and_words(atom.b_elements // P, P)
    k = P * t + j + 4 * P * r
    np.testing.assert_array_equal(B.thread_table[k, g, 0], lane)
    np.testing.assert_array_equal(B.offsets[k, g], r * P + j)
    C = accumulator_fragment(one)
    lane, g, t, i, _ = lanes_and_words(atom.c_elements, 1)
    row, column = g + 8 * (i >> 1), 2 * t + (i & 1)
    np.testing.assert_array_equal(C.thread_table[row, column, 0], lane)
    np.testing.assert_array_equal(C.offsets[row, column], i)


TILES = [
    (128, 256, 64, 2, 4), (48, 80, 48, 3, 2), (48, 80, 48, 1, 5), (16, 8, 16, 1, 1),
    (64, 64, 32, 4, 1), (96, 24, 16, 2, 3),
]  # fmt: skip


@pytest.mark.parametrize("M,N,K,warps_m,warps_n", TILES)
def test_every_thread_holds_what_its_instructions_read(M, N, K, warps_m, warps_n):
    tiles = WarpTiles(M, N, warps_m, warps_n, F16)
    C, A, B = (
        accumulator_fragment(tiles),
        operand_fragment_A(tiles, K),
        operand_fragment_B(tiles, K),
    )
    threads = 32 * warps_m * warps_n
    held_C, held_A, held_B = (Holding(f, threads) for f in (C, A, B))
    for held in (held_C, held_A, held_B):
        assert held.is_held.all()
    one = WarpTiles(16, 8, 1, 1, F16)
    atom_A, atom_B = operand_fragment_A(one, 16), operand_fragment_B(one, 16)
    for i in range(tiles.atoms_m):
        for n in range(tiles.atoms_n):
            base = (i * tiles.atoms_n + n) * 4
            rows, columns = np.divmod(held_C.elements[:, base : base + 4], N)
            row0, column0 = rows.reshape(-1, 128).min(1), columns.reshape(-1, 128).min(1)
            for k in range(K // 16):
                at = (i * (K // 16) + k) * 8
                got = held_A.elements[:, at : at + 8].reshape(-1, 32, 8)
                want = Holding(atom_A, 32).elements
                want = (row0[:, None, None] + want // 16) * K + k * 16 + want % 16
                np.testing.assert_array_equal(got, want)
                at = (k * tiles.atoms_n + n) * 4
                got = held_B.elements[:, at : at + 4].reshape(-1, 32, 4)
                want = Holding(atom_B, 32).elements
                want = (k * 16 + want // 8) * N + column0[:, None, None] + want % 8
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("M,N,K,warps_m,warps_n", TILES)
def test_the_inverse_has_a_closed_form(M, N, K, warps_m, warps_n):
    from tilelang.ir.expr import Var
    from tilelang.layout.evaluate import evaluate

    tiles = WarpTiles(M, N, warps_m, warps_n, F16)
    threads = 32 * warps_m * warps_n + 32  # one idle warp
    A, B = operand_fragment_A(tiles, K), operand_fragment_B(tiles, K, True)
    for fragment in (accumulator_fragment(tiles), A, B):
        held = Holding(fragment, threads)
        names = [Var(n) for n in ("thread", "step", "lane")]
        exprs = held.element(2, *names)
        grids = np.indices((threads - 32, held.registers // 2, 2))
        numbers = np.zeros(grids.shape[1:], np.int64)
        for extent, e in zip(fragment.shape, exprs):
            numbers = numbers * extent + evaluate(e, dict(zip(names, grids)))
        want = held.elements[:-32].reshape(numbers.shape)
        np.testing.assert_array_equal(numbers, want)


@pytest.mark.parametrize("M,K,warps", [(64, 64, 4), (128, 128, 8), (48, 32, 3)])
def test_an_accumulator_is_an_operand_of_the_next_product(M, K, warps):
    C = accumulator_fragment(WarpTiles(M, K, warps, 1, F16))
    A = operand_fragment_A(WarpTiles(M, 128, warps, 1, F16), K)
    np.testing.assert_array_equal(C.thread_table, A.thread_table)
    np.testing.assert_array_equal(C.offsets, A.offsets)


def test_transposed_operands_exchange_their_axes():
    tiles = WarpTiles(48, 80, 3, 2, F16)
    for make in (operand_fragment_A, operand_fragment_B):
        plain, turned = make(tiles, 32), make(tiles, 32, True)
        np.testing.assert_array_equal(plain.offsets.T, turned.offsets)
        np.testing.assert_array_equal(plain.thread_table.swapaxes(0, 1), turned.thread_table)


def test_operands_are_held_once_per_part_of_the_other_axis():
    tiles = WarpTiles(64, 64, 2, 2, F16)
    A, B = operand_fragment_A(tiles, 32), operand_fragment_B(tiles, 32)
    assert A.replicate_size == B.replicate_size == 2
    assert (np.sort(np.diff(A.thread_table, axis=-1).ravel()) == 64).all()
    assert (np.diff(B.thread_table, axis=-1) == 32).all()


def test_a_wider_buffer_takes_further_registers():
    tiles = WarpTiles(32, 16, 2, 1, F16)
    tile = accumulator_fragment(tiles)
    wide = widened(tile, (3, 64, 48))
    assert wide.is_injective and wide.get_output_shape() == [3 * 2 * 3 * 8]
    np.testing.assert_array_equal(wide.thread_table[1, 32:, 16:32], tile.thread_table)
    first = ((1 * 2 + 1) * 3 + 1) * 8
    np.testing.assert_array_equal(wide.offsets[1, 32:, 16:32], tile.offsets + first)
    assert widened(tile, (32, 16)) is tile
    operand = operand_fragment_A(WarpTiles(32, 16, 1, 2, F16), 16)
    assert widened(operand, (2, 32, 16)).thread_table.shape == (2, 32, 16, 2)
    with pytest.raises(LayoutError, match="not made of tiles"):
        widened(tile, (40, 16))


def test_tiles_that_atoms_do_not_fill_are_refused():
    with pytest.raises(LayoutError, match="multiple of 32 rows and 8 columns"):
        WarpTiles(48, 8, 2, 1, F16)
    with pytest.raises(LayoutError, match="multiple of 16 along K"):
        operand_fragment_A(WarpTiles(16, 8, 1, 1, F16), 24)


@pytest.mark.parametrize("policy", list(GemmWarpPolicy))
@pytest.mark.parametrize("warps", [1, 2, 3, 4, 6, 8, 12, 16])
def test_partitions_cut_into_whole_atoms(policy, warps):
    rng = np.random.default_rng(warps)
    for M, N in zip(rng.integers(1, 17, 40) * 16, rng.integers(1, 33, 40) * 8):
        cut = warp_partition(int(M), int(N), warps, policy, F16)
        assert cut is not None and cut[0] * cut[1] <= warps
        WarpTiles(int(M), int(N), *cut, F16)


def test_partitions_follow_the_policy():
    square, row, column = GemmWarpPolicy.Square, GemmWarpPolicy.FullRow, GemmWarpPolicy.FullCol
    assert warp_partition(128, 256, 8, square, F16) == (2, 4)
    assert warp_partition(128, 128, 4, square, F16) == (2, 2)
    assert warp_partition(64, 128, 4, row, F16) == (4, 1)
    assert warp_partition(64, 128, 4, column, F16) == (1, 4)
    assert warp_partition(48, 80, 4, square, F16) == (3, 1)  # one warp is idle
    assert warp_partition(40, 80, 4, square, F16) is None


def degree(layout, shape, groups):
    """Most chunks that one group of eight simultaneous accesses finds in one bank group."""
    rows, chunks = shape
    place = layout.offsets[:, ::8] // 8 if layout else np.arange(rows * chunks).reshape(shape)
    banks = place % 8
    return max(np.bincount(banks.ravel()[g], minlength=8).max() for g in groups)


@pytest.mark.parametrize("columns", [8, 16, 24, 32, 48, 64, 80, 96, 128, 256, 320])
def test_swizzled_rows_are_free_of_bank_conflicts(columns):
    rows, chunks = 64, columns // 8
    layout = bank_swizzle((rows, columns), 16)
    numbers = np.arange(rows * chunks).reshape(rows, chunks)
    matrices = [numbers[r : r + 8, c] for r in range(0, rows, 8) for c in range(chunks)]
    stores = numbers.reshape(-1, 8)  # eight threads copy eight chunks that follow one another
    assert degree(layout, (rows, chunks), matrices) == 1
    assert degree(layout, (rows, chunks), stores) == 1
    if layout is not None:
        assert layout.is_injective and layout.get_output_shape() == [rows, columns]
        whole = bank_swizzle((3, rows, columns), 16)
        np.testing.assert_array_equal(whole.offsets[2], layout.offsets + 2 * rows * columns)


def test_only_rows_of_chunks_are_swizzled():
    assert bank_swizzle((64, 20), 16) is None
    assert bank_swizzle((64, 24), 16) is None  # 48 bytes: three chunks
    assert bank_swizzle((64, 64), 8) is not None
