"""Matrix products by `mma.sync`: each warp multiplies its part of the tile in registers.

In: a `Gemm` whose C is a fragment and whose A and B stand in shared memory or in fragments. Out:
per step of k the loads of all operand words, then the instructions; the words of the next step are
loaded before the instructions of this one. Sums stay in C's registers.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

from tilelang.arith import Analyzer
from tilelang.ir.annotation import PRODUCT_HEAD, PRODUCT_LAST
from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    Expr,
    as_expr,
    cast,
    const_value,
    constant,
    equal,
    is_const,
    logical_not,
)
from tilelang.ir.stmt import Allocate, Attr, BufferStore, LoopKind, Stmt
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout, static_shape
from tilelang.layout.mma import (
    LANES,
    WarpTiles,
    accumulator_fragment,
    bank_swizzle,
    operand_fragment_A,
    operand_fragment_B,
    tile_number,
    warp_partition,
    widened,
)
from tilelang.layout.warp_policy import GemmWarpPolicy
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import BlockThreads, LayoutNeeds, LowerContext
from tilelang.tileop.cuda.gemm_staging import is_inside, present, refill, shared_tile, spill
from tilelang.tileop.cuda.mma_forms import MmaForm, architecture, choose_form, sum_dtype
from tilelang.tileop.cuda.mma_operands import (
    Side,
    copy_step,
    load_step,
    pointer,
    reads_rows,
    unrolled,
)
from tilelang.tileop.gemm import Gemm, Matrix, static_extent
from tilelang.tileop.loops import in_range, loop, run, together, when

# Registers for the words of B that are loaded at a time, and as many for the next ones: 8 and 16
# spill more in attention kernels and are no faster (H200, 2026-11-21).
_PART_WORDS = 4
_UNROLLED_STEPS = 16  # steps of k in straight-line code; beyond that, a loop over half as many


@dataclass(frozen=True)
class MmaPlan:
    """How one product is cut: facts, no statements."""

    op: Gemm
    form: MmaForm
    tiles: WarpTiles
    sum_kind: dtype

    @property
    def steps(self) -> int:
        """Steps of k."""
        return self.op.K // self.form.atom.k

    @property
    def A(self) -> Side:
        return Side(True, self.op.A, self.tiles, self.form)

    @property
    def B(self) -> Side:
        return Side(False, self.op.B, self.tiles, self.form)

    def fragment_C(self) -> Fragment:
        """Where the accumulator's buffer has its elements."""
        return widened(accumulator_fragment(self.tiles), _shape(self.op.C))

    def fragment_A(self) -> Fragment:
        """Where A has to have its elements when it is a fragment."""
        tile = operand_fragment_A(self.tiles, self.op.K, self.op.transpose_A)
        return widened(tile, _shape(self.op.A))

    def fragment_B(self) -> Fragment:
        """Where B has to have its elements when it is a fragment."""
        tile = operand_fragment_B(self.tiles, self.op.K, self.op.transpose_B)
        return widened(tile, _shape(self.op.B))


def _shape(matrix: Matrix) -> tuple[int, ...]:
    return tuple(int(e) for e in matrix.buffer.shape)  # type: ignore[arg-type]


def plan_of(op: Gemm, ctx: LowerContext) -> MmaPlan | str:
    """The cut of a product, or why `mma.sync` cannot run it."""
    threads = ctx.threads
    assert threads is not None, "a product on a GPU is run by the threads of a block"
    if threads.count % LANES:
        return f"{threads.count} threads are not whole warps of {LANES}"
    a, b, c = op.A.buffer.dtype, op.B.buffer.dtype, op.C.buffer.dtype
    c = sum_dtype(a, b, c)
    form = choose_form(a, b, c, op.M, op.N, op.K, architecture(ctx))
    if isinstance(form, str):
        return form
    policy = GemmWarpPolicy(op.node.attribute("policy", 0))
    cut = warp_partition(op.M, op.N, threads.count // LANES, policy, form.atom)
    assert cut is not None, "the form was chosen to divide the tile"
    plan = MmaPlan(op, form, WarpTiles(op.M, op.N, *cut, form.atom), c)
    held = ctx.fragments.get(op.C.buffer)
    is_there = held is None or held.is_equal(plan.fragment_C())
    return plan if is_there else _summing_in_place(plan, threads.count // LANES, ctx)


def _summing_in_place(plan: MmaPlan, warps: int, ctx: LowerContext) -> MmaPlan:
    """Another cut, whose sums are where C has its elements; `plan` where there is none.

    C may be where another product needs it: then moving the operands is cheaper than moving C.
    """
    op, atom = plan.op, plan.form.atom
    for m in (m for m in range(1, warps + 1) if warps % m == 0):
        n = warps // m
        if op.M % (m * atom.m) or op.N % (n * atom.n):
            continue
        other = replace(plan, tiles=WarpTiles(op.M, op.N, m, n, atom))
        if ctx.fragments[op.C.buffer].is_equal(other.fragment_C()):
            return other
    return plan


def _why_not_registers(name: str, matrix: Matrix) -> str | None:
    """Why a fragment operand's registers cannot be named; `None` when they can.

    Asked before and after layouts are known, so it may use nothing but the region itself.
    """
    analyzer = Analyzer()
    for axis, (bounds, size) in enumerate(zip(matrix.region.ranges, _shape(matrix))):
        extent, start = static_extent(bounds.extent), const_value(bounds.start)
        if size % extent:
            return f"{name}: axis {axis} of `{matrix.buffer.name}` is {size}, not whole tiles"
        if not analyzer.can_prove(equal(bounds.start % extent, 0)):
            return f"{name}: the region of `{matrix.buffer.name}` does not start at a whole tile"
        if isinstance(start, int) and not 0 <= start <= size - extent:
            return f"{name}: the region lies outside `{matrix.buffer.name}`"
    return None


class MmaSync(Instruction):
    """`mma.sync` of sm_75 and later."""

    name = "mma_sync"

    def applies(self, op: Gemm, ctx: LowerContext) -> str | None:
        if not op.C.buffer.is_fragment:
            return f"C is `{op.C.buffer.name}` in {op.C.buffer.scope()}, not a fragment"
        for name, matrix in (("A", op.A), ("B", op.B)):
            if not (matrix.buffer.is_shared or matrix.buffer.is_fragment):
                return f"{name} is `{matrix.buffer.name}` in {matrix.buffer.scope()}"
        plan = plan_of(op, ctx)
        if isinstance(plan, str):
            return plan
        for name, matrix in (("A", op.A), ("B", op.B), ("C", op.C)):
            reason = _why_not_registers(name, matrix) if matrix.buffer.is_fragment else None
            if reason is not None:
                return reason
        return None

    def needs(self, op: Gemm, ctx: LowerContext) -> LayoutNeeds:
        plan = plan_of(op, ctx)
        assert isinstance(plan, MmaPlan), "only asked where `applies` gave None"
        needs = LayoutNeeds({op.C.buffer: plan.fragment_C()})
        for matrix, fragment in ((op.A, plan.fragment_A), (op.B, plan.fragment_B)):
            buffer = matrix.buffer
            if buffer.is_fragment:
                needs.fragments.setdefault(buffer, fragment())
                continue
            layout = bank_swizzle(_shape(matrix), buffer.dtype.bits)
            if layout is not None:
                needs.shared[buffer] = layout
        return needs

    def details(self, op: Gemm, ctx: LowerContext) -> tuple[str, ...]:
        plan = plan_of(op, ctx)
        assert isinstance(plan, MmaPlan), "only asked where `applies` gave None"
        tiles = plan.tiles
        cut = (
            f"{plan.form.atom.shape}, {tiles.warps_m} by {tiles.warps_n} warps of "
            f"{tiles.rows} by {tiles.columns}"
        )
        operands = ((plan.A, plan.fragment_A), (plan.B, plan.fragment_B))
        return (cut, *(operand_source(side, wanted, ctx) for side, wanted in operands))

    def lower(self, op: Gemm, ctx: LowerContext) -> Stmt:
        plan = plan_of(op, ctx)
        assert isinstance(plan, MmaPlan) and ctx.threads is not None, "asked by `applies`"
        staging = _Staging(plan, ctx)
        body = _Product(staging.plan, staging.ctx, ctx.threads).stmts()
        if plan.tiles.warps * LANES != ctx.threads.count:
            body = when(ctx.threads.warp < plan.tiles.warps, body)
        return in_range(together(*staging.before, body, *staging.after))


def operand_source(side: Side, wanted: Callable[[], Fragment], ctx: LowerContext) -> str:
    """How the words of an operand get into registers, in words."""
    buffer, name = side.buffer, "A" if side.is_a else "B"
    where = f"{name} `{buffer.name}`"
    if buffer.is_fragment:
        if ctx.fragments[buffer].is_equal(wanted()):
            return f"{where}: in registers already"
        return f"{where}: through shared memory, as other threads hold its elements"
    if not is_inside(side.matrix.region, ctx):
        return f"{where}: through another tile, as its region may leave the buffer"
    reason = reads_rows(side, ctx)
    if reason is not None:
        return f"{where}: element by element, not by ldmatrix: {reason}"
    layout = ctx.layouts.get(buffer)
    if layout is None:
        layout = Layout(static_shape(buffer.shape), lambda *i: list(i))
    from tilelang.layout.banks import matrix_conflicts  # NumPy, only for explanations

    degree = matrix_conflicts(layout, buffer.dtype.bits)
    how = "no" if degree <= 1 else f"{degree}-way"
    return f"{where}: ldmatrix, {how} bank conflicts"


class _Staging:
    """Operands brought to where the instruction reads them, when they are not there already."""

    def __init__(self, plan: MmaPlan, ctx: LowerContext) -> None:
        self.ctx = replace(ctx, fragments=dict(ctx.fragments), registers=dict(ctx.registers))
        self.ctx.scratch = ctx.scratch
        self.before: list[Stmt] = []
        self.after: list[Stmt] = []
        op = copy(plan.op)
        op.A = self._operand(op.A, plan.fragment_A)
        op.B = self._operand(op.B, plan.fragment_B)
        self._sums(op, plan.fragment_C())
        self._wide_sums(plan)
        self.plan = replace(plan, op=op)

    def _operand(self, matrix: Matrix, wanted: Callable[[], Fragment]) -> Matrix:
        """`matrix`, or a shared tile with its elements."""
        region, move = matrix.region, present
        if matrix.buffer.is_fragment:
            if self.ctx.fragments[matrix.buffer].is_equal(wanted()):
                return matrix
            move = spill
        elif is_inside(region, self.ctx):
            return matrix
        tile = shared_tile(region, self.ctx)
        self.before.append(move(region, tile, self.ctx))
        rows = matrix.row_axis - (matrix.buffer.ndim - 2)
        return Matrix(tile, rows, 1 - rows)

    def _sums(self, op: Gemm, wanted: Fragment) -> None:
        """Registers in which the instruction can sum; C's own where they are held as it needs."""
        buffer, region = op.C.buffer, op.C.region
        if self.ctx.fragments[buffer].is_equal(wanted):
            return
        tile = shared_tile(region, self.ctx)
        size = wanted.get_output_shape()[0]
        sums = Buffer(f"{buffer.name}_sums", (size,), buffer.dtype, LOCAL, span=buffer.span)
        there = replace(self.ctx, fragments={buffer: wanted}, registers={buffer: sums})
        self.before.append(Allocate(sums))
        if not is_const(op.clear_accum, True):
            self.before += [spill(region, tile, self.ctx), refill(region, tile, there)]
        self.after += [spill(region, tile, there), refill(region, tile, self.ctx)]
        self.ctx.fragments, self.ctx.registers = (
            {**self.ctx.fragments, **there.fragments}, {**self.ctx.registers, **there.registers}
        )  # fmt: skip

    def _wide_sums(self, plan: MmaPlan) -> None:
        """Sums in a wider type than C's, rounded once."""
        C = plan.op.C
        held = self.ctx.registers[C.buffer]
        if held.dtype == plan.sum_kind:
            return
        tiles = plan.tiles
        size = tiles.atoms_m * tiles.atoms_n * plan.form.atom.c_elements
        first = region_number(C) * size
        sums = Buffer(f"{held.name}_sums", held.shape, plan.sum_kind, LOCAL, span=held.span)

        def move(src: Buffer, dst: Buffer) -> Stmt:
            def one(e: Expr) -> Stmt:
                value = cast(BufferLoad(src, (first + e,)), dst.dtype)
                return BufferStore(dst, value, (first + e,))

            return loop("e", size, one, LoopKind.UNROLLED)

        self.before += [Allocate(sums), when(logical_not(plan.op.clear_accum), move(held, sums))]
        self.after.insert(0, move(sums, held))
        self.ctx.registers = {**self.ctx.registers, C.buffer: sums}


class _Words:
    """The words of one operand: its own registers, or an array filled part by part.

    A part is one step of k of some of a warp's atoms; the array has room for `slots` of them.
    """

    def __init__(
        self, side: Side, ctx: LowerContext, threads: BlockThreads, slots: int, max_words: int
    ) -> None:
        self.side, self.ctx, self.threads = side, ctx, threads
        buffer = side.buffer
        self.held = ctx.registers[buffer] if buffer.is_fragment else None
        self.has_array = self.held is None or side.rounds
        self.parts = _parts(side.all_atoms, side.words, max_words) if self.has_array else 1
        self.part_atoms = side.all_atoms // self.parts
        size = slots * self.part_atoms * side.elements
        self.array = Buffer(
            f"{buffer.name}_words", (size,), side.register_dtype, LOCAL, span=buffer.span
        )

    def allocate(self) -> Stmt | None:
        return Allocate(self.array) if self.has_array else None

    def load(self, k: Expr, part: int, slot: int) -> Stmt | None:
        """Bring the words of step `k` to `slot`."""
        if not self.has_array:
            return None
        side, held = self.side.part(part, self.parts), self.held
        if held is None:
            return load_step(side, self.array, slot, k, self.threads, self.ctx)
        return copy_step(
            side,
            self.array,
            slot,
            lambda i, e: BufferLoad(held, (self._held(i + side.skip, k) + e,)),
        )

    def at(self, atom: Expr, k: Expr, part: int, slot: int) -> Expr:
        """Address of the words of an atom of the part."""
        if self.has_array:
            return pointer(self.array, (atom + slot * self.part_atoms) * self.side.elements)
        assert self.held is not None, "without an array the words are the operand's registers"
        return pointer(self.held, self._held(atom + part * self.part_atoms, k))

    def _held(self, atom: Expr | int, k: Expr) -> Expr:
        """First register of one atom in the operand's fragment."""
        side = self.side
        number = as_expr(atom) * side.depth + k if side.is_a else k * side.all_atoms + atom
        first = region_number(side.matrix) * (side.depth * side.all_atoms * side.elements)
        return first + number * side.elements


def _parts(atoms: int, words: int, max_words: int) -> int:
    """Into how many equal parts, of an even number of atoms, to cut a step so that a part has at
    most `max_words` words; as many as there can be when none is that small."""
    cuts = [p for p in range(1, atoms + 1) if atoms % p == 0 and (p == 1 or atoms // p % 2 == 0)]
    return next((p for p in cuts if atoms // p * words <= max_words), cuts[-1])


def region_number(matrix: Matrix) -> Expr:
    """Number of the tile in its buffer that a region of a fragment is."""
    extents = [static_extent(e) for e in matrix.region.extents]
    return tile_number(matrix.region.starts, _shape(matrix), extents)


class _Product:
    """The statements of one product."""

    def __init__(self, plan: MmaPlan, ctx: LowerContext, threads: BlockThreads) -> None:
        self.plan = plan
        slots = 2 if plan.steps > 1 else 1
        self.A = _Words(plan.A, ctx, threads, slots, plan.A.all_atoms * plan.A.words)
        self.B = _Words(plan.B, ctx, threads, 2, _PART_WORDS)
        self.sums = ctx.registers[plan.op.C.buffer]
        tiles, atom = plan.tiles, plan.form.atom
        self.size = tiles.atoms_m * tiles.atoms_n * atom.c_elements
        self.first = region_number(plan.op.C) * self.size

    def stmts(self) -> Stmt:
        steps, block = self.plan.steps, self.plan.steps
        names = (self.A.held, self.B.held)
        if steps > _UNROLLED_STEPS and names == (None, None):
            block = max(d for d in range(1, _UNROLLED_STEPS // 2 + 1) if steps % d == 0)
        return together(
            self._clear(),
            self.A.allocate(),
            self.B.allocate(),
            loop("ko", steps // block, lambda ko: self._steps(ko * block, block)),
        )

    def _clear(self) -> Stmt | None:
        clear = self.plan.op.clear_accum
        zero = constant(0, self.sums.dtype)
        if is_const(clear) and not bool(clear):
            return None

        def store(e: Expr) -> Stmt:
            return BufferStore(self.sums, zero, (self.first + e,))

        return when(clear, loop("e", self.size, store, LoopKind.UNROLLED))

    def _steps(self, first: Expr, count: int) -> Stmt:
        """Steps `first ... first + count`, part by part; each part's words are loaded before the
        instructions of the part before it."""
        units = [(k, part) for k in range(count) for part in range(self.B.parts)]
        head = self._load(first, 0, 0, 0)
        made: list[Stmt | None] = [Attr(PRODUCT_HEAD, self._slots(0, 0), head)]
        for number, (k, part) in enumerate(units):
            if number + 1 < len(units):
                following, next_part = units[number + 1]
                made.append(self._load(first, following, next_part, (number + 1) % 2))
            multiply = self._multiply(first + k, k % 2, part, number % 2)
            if number + 1 == len(units):
                multiply = Attr(PRODUCT_LAST, self._slots(k % 2, number % 2), multiply)
            made.append(multiply)
        return together(*made)

    def _slots(self, a_slot: int, b_slot: int) -> tuple[tuple[Buffer, int], ...]:
        """The parts of the arrays that a step uses, for the pass `rotate_products`."""
        used = ((self.A, a_slot), (self.B, b_slot))
        return tuple((words.array, slot) for words, slot in used if words.has_array)

    def _load(self, first: Expr, k: int, part: int, slot: int) -> Stmt:
        a = self.A.load(first + k, 0, k % 2) if part == 0 else None
        return together(a, self.B.load(first + k, part, slot))

    def _multiply(self, k: Expr, a_slot: int, part: int, b_slot: int) -> Stmt:
        tiles, form, atoms = self.plan.tiles, self.plan.form, self.B.part_atoms

        def one(i: Expr, j: Expr) -> Stmt:
            number = i * tiles.atoms_n + j + part * atoms
            sums = pointer(self.sums, self.first + number * form.atom.c_elements)
            a, b = self.A.at(i, k, 0, a_slot), self.B.at(j, k, part, b_slot)
            return run(form.function, sums, a, b, sums)

        return unrolled((tiles.atoms_m, atoms), one)
