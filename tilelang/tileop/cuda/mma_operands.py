"""How one warp brings operand words from shared memory into registers, one step of k at a time.

In: an operand of a product and the cut into warps, from `tileop.cuda.mma`. Out: statements that
fill a `local` array with the words of all atoms of a step, in the order that the instruction reads:
by `ldmatrix` where rows of 16 bytes can be addressed, element by element otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import HANDLE, BufferLoad, Call, Expr, as_expr, cast, const_value
from tilelang.ir.record import record
from tilelang.ir.stmt import BufferStore, LoopKind, Stmt
from tilelang.layout.layout import Layout
from tilelang.layout.mma import CHUNK_BYTES, WarpTiles
from tilelang.tileop.context import BlockThreads, LowerContext
from tilelang.tileop.cuda.mma_forms import MmaForm
from tilelang.tileop.gemm import Matrix
from tilelang.tileop.loops import element, loop, run, shifted, together

_ROWS = 8  # of a block that `ldmatrix` moves


@record
class Side:
    """One operand as the warps see it.

    Attributes:
        is_a: A, whose outer axis is M; otherwise B, whose outer axis is N.
        matrix: where it stands.
        tiles: the cut into warps.
        form: the instruction.
        skip, limit: the atoms of a warp that are meant: `limit` from number `skip` on; 0: all.
    """

    is_a: bool
    matrix: Matrix
    tiles: WarpTiles
    form: MmaForm
    skip: int = 0
    limit: int = 0

    @property
    def buffer(self) -> Buffer:
        return self.matrix.buffer

    @property
    def is_k_contiguous(self) -> bool:
        """Whether neighbours along k are neighbours in memory."""
        k_axis = self.matrix.column_axis if self.is_a else self.matrix.row_axis
        return k_axis == self.buffer.ndim - 1

    @property
    def depth(self) -> int:
        """Steps of k."""
        K = self.matrix.columns if self.is_a else self.matrix.rows
        return K // self.form.atom.k

    @property
    def all_atoms(self) -> int:
        """Atoms of one warp along the outer axis."""
        return self.tiles.atoms_m if self.is_a else self.tiles.atoms_n

    @property
    def atoms(self) -> int:
        """Those of them that are meant."""
        return self.limit or self.all_atoms

    def part(self, number: int, parts: int) -> Side:
        """One of `parts` equal parts of a warp's atoms."""
        size = self.all_atoms // parts
        return replace(self, skip=number * size, limit=size)

    @property
    def extent(self) -> int:
        """Rows (columns of B) of one atom."""
        return self.form.atom.m if self.is_a else self.form.atom.n

    @property
    def elements(self) -> int:
        """Elements of one atom in one lane."""
        return self.form.atom.a_elements if self.is_a else self.form.atom.b_elements

    @property
    def words(self) -> int:
        """Register words of one atom in one lane."""
        return self.elements // self.form.atom.per_word

    @property
    def step_elements(self) -> int:
        """Elements of one step of k in one lane."""
        return self.atoms * self.elements

    @property
    def register_dtype(self) -> dtype:
        """Element type of the array of words."""
        kind = self.buffer.dtype
        return dtype("float32") if kind == "tfloat32" else kind

    @property
    def rounds(self) -> bool:
        """Whether elements are rounded on their way to the instruction."""
        return self.form.rounds_operands and self.buffer.dtype == "float32"

    def first_outer(self, warp: Expr) -> Expr:
        """Row of A (column of B) at which a warp's atoms start."""
        tiles, skipped = self.tiles, self.skip * self.extent
        if self.is_a:
            return tiles.warp_row(warp) * tiles.rows + skipped
        return tiles.warp_column(warp) * tiles.columns + skipped

    def offsets(self, outer: Expr, k: Expr) -> list[Expr]:
        """Offsets in the region of an element."""
        return self.matrix.offsets(outer, k) if self.is_a else self.matrix.offsets(k, outer)


def reads_rows(side: Side, ctx: LowerContext) -> str | None:
    """`None` where `ldmatrix` can load the operand, otherwise the reason why not."""
    buffer = side.buffer
    bits = side.form.atom.element_bits
    if bits == 64:
        return "ldmatrix moves words of 32 bits"
    if not side.is_k_contiguous and bits != 16:
        return f"ldmatrix transposes 16-bit elements, not {bits}-bit ones"
    vector = CHUNK_BYTES * 8 // bits
    starts = side.matrix.region.starts
    if not ctx.proves(starts[-1] % vector == 0):
        return f"the region starts at a column that may not be a multiple of {vector}"
    if not _keeps_chunks(buffer, _layout_of(buffer, ctx), vector):
        return f"rows of `{buffer.name}` are not made of aligned groups of {CHUNK_BYTES} bytes"
    return None


def _layout_of(buffer: Buffer, ctx: LowerContext) -> Layout | bool | None:
    """Its physical layout; `False` for a view of a buffer that has one."""
    for owner, layout in ctx.layouts.items():
        if owner is buffer:
            return layout
        if owner.data is buffer.data:
            return False
    return None


def _keeps_chunks(buffer: Buffer, layout: Layout | bool | None, vector: int) -> bool:
    """Whether aligned groups of `vector` columns stay together and aligned."""
    if isinstance(layout, bool) or int(buffer.shape[-1]) % vector:  # type: ignore[arg-type]
        return False
    if layout is not None:
        groups = layout.offsets.reshape(-1, vector)
        return bool(
            (groups[:, 0] % vector == 0).all()
            and (groups == groups[:, :1] + np.arange(vector)).all()
        )
    numbers = [const_value(as_expr(s)) for s in (*buffer.strides[:-1], buffer.elem_offset)]
    return const_value(as_expr(buffer.strides[-1])) == 1 and all(
        isinstance(n, int) and n % vector == 0 for n in numbers
    )


def load_step(
    side: Side, to: Buffer, slot: int, k: Expr, threads: BlockThreads, ctx: LowerContext
) -> Stmt:
    """Fill `to[slot * step_elements ...]` with the words of step `k`."""
    base = slot * side.step_elements
    if reads_rows(side, ctx) is None:
        return together(_load_rows(side, to, base, k, threads), _round(side, to, base))
    return _load_elements(side, to, base, k, threads)


def copy_step(side: Side, to: Buffer, slot: int, source: Callable[[int, int], Expr]) -> Stmt:
    """The same from registers: element `e` of atom `i` is `source(i, e)`."""
    base = slot * side.step_elements
    moves: list[Stmt] = []
    for i in range(side.atoms):
        for e in range(side.elements):
            at = (as_expr(base + i * side.elements + e),)
            moves.append(BufferStore(to, _rounded(side, source(i, e)), at))
    return together(*moves)


def _load_rows(side: Side, to: Buffer, base: int, k: Expr, threads: BlockThreads) -> Stmt:
    """`ldmatrix` over all 8-row blocks of the step: four at a time, then two, then one."""
    blocks = side.atoms * side.words
    wide = loop(
        "u", blocks // 4, lambda u: _load_blocks(side, to, base, k, threads, u * 4, 4),
        LoopKind.UNROLLED,
    )  # fmt: skip
    rest, done = list[Stmt](), blocks // 4 * 4
    for count in (2, 1):
        if (blocks - done) & count:
            rest.append(_load_blocks(side, to, base, k, threads, as_expr(done), count))
            done += count
    return together(wide, *rest)


def _load_blocks(
    side: Side, to: Buffer, base: int, k: Expr, threads: BlockThreads, first: Expr, count: int
) -> Stmt:
    """Blocks `first ... first + count`: lane 8s + i addresses row i of block `first + s`.

    Block `q` holds word `q % words` of atom `q // words`. `first` is a multiple of `count`.
    """
    lane, atom = threads.lane, side.form.atom
    part = lane // _ROWS if count == 4 else lane // _ROWS % count
    if side.words >= count:
        number, word = first // side.words, first % side.words + part
    else:
        number, word = first // side.words + part // side.words, part % side.words
    half = word % 2 if side.is_a and atom.m == 16 else as_expr(0)
    chunk = word // 2 if side.is_a and atom.m == 16 else word
    row = lane % _ROWS
    outer = side.first_outer(threads.warp) + number * side.extent + half * _ROWS
    depth = k * atom.k + chunk * atom.chunk
    if side.is_k_contiguous:
        outer, suffix = outer + row, ""
    else:
        depth, suffix = depth + row, "_trans"
    source = element(side.matrix.region, side.offsets(outer, depth))
    target = first * atom.per_word + base
    return run(
        f"tl_ldmatrix_x{count}{suffix}",
        pointer(to, target),
        Call("address_of", (source,), HANDLE),
    )


def _load_elements(side: Side, to: Buffer, base: int, k: Expr, threads: BlockThreads) -> Stmt:
    """Each lane reads its own elements, one at a time."""
    lane, atom = threads.lane, side.form.atom
    start = side.first_outer(threads.warp) + lane // 4
    along = k * atom.k + lane % 4 * atom.per_word

    def move(i: Expr, word: Expr, j: Expr) -> Stmt:
        half = word % 2 if side.is_a and atom.m == 16 else as_expr(0)
        chunk = word // 2 if side.is_a and atom.m == 16 else word
        outer = start + i * side.extent + half * _ROWS
        at = shifted(side.matrix.region, side.offsets(outer, along + chunk * atom.chunk + j))
        value = _rounded(side, BufferLoad(side.buffer, at))
        place = (i * side.words + word) * atom.per_word + j + base
        return BufferStore(to, value, (place,))

    return unrolled((side.atoms, side.words, atom.per_word), move)


def _round(side: Side, to: Buffer, base: int) -> Stmt | None:
    if not side.rounds:
        return None
    return loop(
        "e",
        side.step_elements,
        lambda e: BufferStore(to, _rounded(side, BufferLoad(to, (e + base,))), (e + base,)),
        LoopKind.UNROLLED,
    )


def _rounded(side: Side, value: Expr) -> Expr:
    value = cast(value, side.register_dtype)
    if not side.rounds:
        return value
    return Call("tl_float32_to_tfloat32", (value,), value.dtype)


def pointer(buffer: Buffer, index: Expr | int) -> Expr:
    """Address of a register."""
    return Call("address_of", (BufferLoad(buffer, (as_expr(index),)),), HANDLE)


def unrolled(extents: tuple[int, ...], body: Callable[..., Stmt]) -> Stmt:
    """Nested loops that are expanded before the program runs: their indices name registers."""

    def level(axis: int, indices: tuple[Expr, ...]) -> Stmt:
        if axis == len(extents):
            return body(*indices)
        return loop(
            "ijkl"[axis], extents[axis], lambda v: level(axis + 1, (*indices, v)), LoopKind.UNROLLED
        )

    return level(0, ())
