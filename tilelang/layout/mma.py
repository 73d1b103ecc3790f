"""Fragments of the matrix instructions of a warp, and of the tiles that a block builds of them.

One formula gives every shape of `mma.sync`. With P elements per register word, lane = 4g + t and
element j of word r, an atom of m by n by k holds

    A, m = 16:  row g + 8 (r & 1),   k = P t + j + 4P (r >> 1)
    A, m = 8:   row g,               k = P t + j + 4P r
    B:          column g,            k = P t + j + 4P r
    C:          row g + 8 (i >> 1),  column 2t + (i & 1)              element i

In: atoms and tile sizes, from the `gemm` instructions of `tileop.cuda`. Out: `Fragment`s of the
accumulator and of operands that stand in registers, and the shared-memory layout in which their
8 by 16-byte blocks are read without bank conflicts. It knows no operation and emits nothing.

The tile of a block is cut into equal parts of consecutive rows and columns, one per warp; warp
number = column part * warps_m + row part. Registers: the atoms of a warp in row-major order, each
atom's words in order. So an atom's words are neighbours, and the registers of an accumulator
[M, N] are those of the A operand [M, K = N] in 16-bit elements: a cast between them moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tilelang.errors import ArgumentError, LayoutError
from tilelang.ir.expr import Expr, as_expr
from tilelang.ir.record import record
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout, static_shape
from tilelang.layout.quad_swizzle import quad_swizzle
from tilelang.layout.warp_policy import GemmWarpPolicy

LANES = 32
CHUNK_BYTES = 16  # what one lane's address covers in `ldmatrix`, and one asynchronous copy
_SINGLE_BITS = 64  # of elements that lanes fetch one at a time, as `ldmatrix` cannot
_BANK_CHUNKS = 8  # chunks in the 128 bytes that all banks deliver at once


@record
class MmaAtom:
    """One instruction: `m` by `n` by `k`.

    Attributes:
        per_word: operand elements in one register word (P).
        element_bits: width of an operand element.
    """

    m: int
    n: int
    k: int
    per_word: int
    element_bits: int

    @property
    def shape(self) -> str:
        """As PTX writes it: `m16n8k16`."""
        return f"m{self.m}n{self.n}k{self.k}"

    @property
    def a_elements(self) -> int:
        """Elements of A that one lane holds."""
        return self.m * self.k // LANES

    @property
    def b_elements(self) -> int:
        """Elements of B that one lane holds."""
        return self.n * self.k // LANES

    @property
    def c_elements(self) -> int:
        """Elements of C that one lane holds."""
        return self.m * self.n // LANES

    @property
    def chunk(self) -> int:
        """Elements along k that the four lanes of a quad hold in one word (4P)."""
        return 4 * self.per_word

    def place_a(self, row: Expr, k: Expr) -> tuple[Expr, Expr]:
        """Lane and register of element `(row, k)` of A."""
        word = k // self.chunk
        if self.m == 16:
            word = row // 8 + 2 * word
        return self._lane(row, k), word * self.per_word + k % self.per_word

    def place_b(self, k: Expr, column: Expr) -> tuple[Expr, Expr]:
        """Lane and register of element `(k, column)` of B."""
        return self._lane(column, k), k // self.chunk * self.per_word + k % self.per_word

    def place_c(self, row: Expr, column: Expr) -> tuple[Expr, Expr]:
        """Lane and register of element `(row, column)` of C."""
        pair = column % 2 if self.m == 8 else row // 8 * 2 + column % 2
        return row % 8 * 4 + column // 2, pair

    def _lane(self, row: Expr, k: Expr) -> Expr:
        return row % 8 * 4 + k % self.chunk // self.per_word


@record
class WarpTiles:
    """A block tile of `M` by `N`, cut for `warps_m` by `warps_n` warps.

    Raises:
        LayoutError: when a warp's part is not made of whole atoms.
    """

    M: int
    N: int
    warps_m: int
    warps_n: int
    atom: MmaAtom

    def __post_init__(self) -> None:
        m, n = self.warps_m * self.atom.m, self.warps_n * self.atom.n
        if self.M % m or self.N % n:
            raise LayoutError(
                f"{self.warps_m} x {self.warps_n} warps with {self.atom.shape} need a multiple of "
                f"{m} rows and {n} columns, got {self.M} x {self.N}"
            )

    @property
    def warps(self) -> int:
        """Warps that take part."""
        return self.warps_m * self.warps_n

    @property
    def rows(self) -> int:
        """Rows of one warp."""
        return self.M // self.warps_m

    @property
    def columns(self) -> int:
        """Columns of one warp."""
        return self.N // self.warps_n

    @property
    def atoms_m(self) -> int:
        """Atoms of one warp along M."""
        return self.rows // self.atom.m

    @property
    def atoms_n(self) -> int:
        """Atoms of one warp along N."""
        return self.columns // self.atom.n

    def warp_row(self, warp: Expr) -> Expr:
        """Which part of the rows a warp has."""
        return warp % self.warps_m

    def warp_column(self, warp: Expr) -> Expr:
        """Which part of the columns a warp has."""
        return warp // self.warps_m % self.warps_n

    def thread(self, row_part: Expr, column_part: Expr, lane: Expr) -> Expr:
        """Number of a thread in the block."""
        return (column_part * self.warps_m + row_part) * LANES + lane


def accumulator_fragment(tiles: WarpTiles) -> Fragment:
    """C `[M, N]`: every element in one thread."""
    atom, across = tiles.atom, tiles.atoms_n

    def place(row: Expr, column: Expr) -> tuple[Expr, Expr]:
        i, j = row % tiles.rows, column % tiles.columns
        lane, slot = atom.place_c(i % atom.m, j % atom.n)
        number = i // atom.m * across + j // atom.n
        thread = tiles.thread(row // tiles.rows, column // tiles.columns, lane)
        return thread, number * atom.c_elements + slot

    return Fragment([tiles.M, tiles.N], place)


def operand_fragment_A(tiles: WarpTiles, K: int, is_transposed: bool = False) -> Fragment:
    """A `[M, K]` (`[K, M]` when transposed): each element in one thread of every column part."""
    atom, along = tiles.atom, K // tiles.atom.k
    _require_depth(atom, K)

    def place(row: Expr, k: Expr, part: Expr) -> tuple[Expr, Expr]:
        i = row % tiles.rows
        lane, slot = atom.place_a(i % atom.m, k % atom.k)
        number = i // atom.m * along + k // atom.k
        return tiles.thread(row // tiles.rows, part, lane), number * atom.a_elements + slot

    return _replicated(place, (tiles.M, K), tiles.warps_n, is_transposed)


def operand_fragment_B(tiles: WarpTiles, K: int, is_transposed: bool = False) -> Fragment:
    """B `[K, N]` (`[N, K]` when transposed): each element in one thread of every row part."""
    atom, across = tiles.atom, tiles.atoms_n
    _require_depth(atom, K)

    def place(k: Expr, column: Expr, part: Expr) -> tuple[Expr, Expr]:
        j = column % tiles.columns
        lane, slot = atom.place_b(k % atom.k, j % atom.n)
        number = k // atom.k * across + j // atom.n
        return tiles.thread(part, column // tiles.columns, lane), number * atom.b_elements + slot

    return _replicated(place, (K, tiles.N), tiles.warps_m, is_transposed)


def _require_depth(atom: MmaAtom, K: int) -> None:
    if K % atom.k:
        raise LayoutError(f"{atom.shape} needs a multiple of {atom.k} along K, got {K}")


def _replicated(
    place: Callable[[Expr, Expr, Expr], tuple[Expr, Expr]],
    shape: tuple[int, int],
    replicas: int,
    is_transposed: bool,
) -> Fragment:
    def forward(first: Expr, second: Expr, *rep: Expr) -> tuple[Expr, Expr]:
        part = rep[0] if rep else as_expr(0)
        return place(second, first, part) if is_transposed else place(first, second, part)

    extents = shape[::-1] if is_transposed else shape
    return Fragment(extents, forward, replicate=replicas)


def widened(fragment: Fragment, shape: Sequence[int]) -> Fragment:
    """`fragment` repeated over a buffer of which its tile is one of several equal parts.

    Further parts, along any axis and along leading axes that the tile does not have, go to further
    registers of the same threads.

    Raises:
        LayoutError: when `shape` is not made of whole tiles.
    """
    sizes = static_shape(shape)
    tile = (1,) * (len(sizes) - len(fragment.shape)) + fragment.shape
    if len(tile) != len(sizes) or any(s % t for s, t in zip(sizes, tile)):
        raise LayoutError(f"a buffer of shape {list(sizes)} is not made of tiles {list(tile)}")
    if sizes == fragment.shape:
        return fragment
    lead, slots = len(sizes) - len(fragment.shape), math.prod(fragment.get_output_shape())

    def forward(*args: Expr) -> tuple[Expr, Expr]:
        indices, replica = args[: len(sizes)], args[len(sizes) :]
        number = tile_number(indices, sizes, tile)
        inner = [i % t for i, t in zip(indices, tile)][lead:]
        thread = fragment.map_forward_thread(inner, replica[0] if replica else None)
        return thread, number * slots + fragment.map_forward_index(inner)[0]

    return Fragment(sizes, forward, replicate=fragment.num_replicas)


def tile_number(indices: Sequence[Expr], shape: Sequence[int], tile: Sequence[int]) -> Expr:
    """Row-major number of the tile in which the element at `indices` lies."""
    number: Expr = as_expr(0)
    for index, extent, size in zip(indices, shape, tile):
        number = number * (extent // size) + index // size
    return number


def warp_partition(
    M: int, N: int, warps: int, policy: GemmWarpPolicy, atom: MmaAtom
) -> tuple[int, int] | None:
    """Warps along M and N, at most `warps` in all; `None` when no atom fits.

    The policy's own answer where it cuts the tile into whole atoms and uses all warps. Otherwise
    the cut that uses the most warps; among equals the one that the policy leans to, then the one
    whose parts are closest to squares. Warps that get no part are idle.
    """
    m_atoms, n_atoms = M // atom.m, N // atom.n
    if M % atom.m or N % atom.n:
        return None
    cuts = [
        (m, n)
        for m in range(1, min(warps, m_atoms) + 1)
        for n in range(1, min(warps // m, n_atoms) + 1)
        if m_atoms % m == 0 and n_atoms % n == 0
    ]
    wanted = _policy_partition(M, N, warps, policy)
    if wanted in cuts:
        return wanted

    def merit(cut: tuple[int, int]) -> tuple[int, int, int]:
        m, n = cut
        lean = m if policy.is_full_row() else n if policy.is_full_col() else 0
        return m * n, lean, -(M // m + N // n)

    return max(cuts, key=merit)


def _policy_partition(M: int, N: int, warps: int, policy: GemmWarpPolicy) -> tuple[int, int] | None:
    """The policy's partition into all warps; `None` when it has none for this tile."""
    try:
        found = policy.compute_warp_partition(M, N, warps)
    except ArgumentError:  # the language asks the warps to divide the tile; we leave some idle
        return None
    return found if math.prod(found) == warps else None


def bank_swizzle(shape: Sequence[int], bits: int) -> Layout | None:
    """Rows in order, the 16-byte chunks of each row exchanged so that any 8 rows of one chunk
    column, and any 8 chunks that follow one another, lie in different banks.

        128-byte rows   chunk c of row r stands at c ^ (r % 8)
         64-byte rows                              c ^ (r // 2 % 4)
         32-byte rows                              c ^ (r // 4 % 2)

    Wider rows count by the largest of these that divides them: 192-byte rows as 64-byte ones. Rows
    of an odd number of chunks start in different banks by themselves. 64-bit elements are read one
    by one, 4 rows of 4 at a time, for which `quad_swizzle` turns rows otherwise.

    Args:
        shape: of the buffer; the last axis is the row, those before the last two are slots.
        bits: width of an element.

    Returns:
        `None` where row-major storage is already free of conflicts, or rows are not made of chunks.
    """
    sizes = static_shape(shape)
    vector = CHUNK_BYTES * 8 // bits
    chunks = sizes[-1] // vector
    period = math.gcd(chunks, _BANK_CHUNKS)
    if len(sizes) < 2 or sizes[-1] % vector or period == 1:
        return None
    turned = quad_swizzle(sizes, bits) if bits == _SINGLE_BITS else None
    if turned is not None:
        return turned

    def forward(*indices: Expr) -> list[Expr]:
        *lead, row, column = indices
        turn = row // (_BANK_CHUNKS // period) % period
        return [*lead, row, ((column // vector) ^ turn) * vector + column % vector]

    return Layout(sizes, forward)
