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
from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.expr import BufferLoad, Expr, as_expr, const_value, constant, equal, is_const
from tilelang.ir.stmt import Allocate, BufferStore, LoopKind, Stmt
from tilelang.layout.fragment import Fragment
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
from tilelang.tileop.cuda.mma_forms import MmaForm, architecture, choose_form
from tilelang.tileop.cuda.mma_operands import Side, copy_step, load_step, pointer, unrolled
from tilelang.tileop.gemm import Gemm, Matrix, static_extent
from tilelang.tileop.loops import in_range, loop, run, together, when

_UNROLLED_STEPS = 16  # steps of k in straight-line code; beyond that, a loop over half as many


@dataclass(frozen=True)
class MmaPlan:
    """How one product is cut: facts, no statements."""

    op: Gemm
    form: MmaForm
    tiles: WarpTiles

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
    kinds = (op.A.buffer.dtype, op.B.buffer.dtype, op.C.buffer.dtype)
    form = choose_form(*kinds, op.M, op.N, op.K, architecture(ctx))
    if isinstance(form, str):
        return form
    policy = GemmWarpPolicy(op.node.attribute("policy", 0))
    cut = warp_partition(op.M, op.N, threads.count // LANES, policy, form.atom)
    assert cut is not None, "the form was chosen to divide the tile"
    return MmaPlan(op, form, WarpTiles(op.M, op.N, *cut, form.atom))


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

    def lower(self, op: Gemm, ctx: LowerContext) -> Stmt:
        plan = plan_of(op, ctx)
        assert isinstance(plan, MmaPlan) and ctx.threads is not None, "asked by `applies`"
        staging = _Staging(plan, ctx)
        body = _Product(staging.plan, staging.ctx, ctx.threads).stmts()
        if plan.tiles.warps * LANES != ctx.threads.count:
            body = when(ctx.threads.warp < plan.tiles.warps, body)
        return in_range(together(*staging.before, body, *staging.after))


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
        self.before += [Allocate(sums), spill(region, tile, self.ctx), refill(region, tile, there)]
        self.after += [spill(region, tile, there), refill(region, tile, self.ctx)]
        self.ctx.fragments, self.ctx.registers = (
            {**self.ctx.fragments, **there.fragments}, {**self.ctx.registers, **there.registers}
        )  # fmt: skip


class _Words:
    """The words of one operand, step by step: its own registers, or an array filled per step."""

    def __init__(self, side: Side, ctx: LowerContext, threads: BlockThreads, slots: int) -> None:
        self.side, self.ctx, self.threads = side, ctx, threads
        buffer = side.buffer
        self.held = ctx.registers[buffer] if buffer.is_fragment else None
        self.array: Buffer | None = None
        if self.held is None or side.rounds:
            name, size = f"{buffer.name}_words", slots * side.step_elements
            self.array = Buffer(name, (size,), side.register_dtype, LOCAL, span=buffer.span)

    def allocate(self) -> Stmt | None:
        return None if self.array is None else Allocate(self.array)

    def load(self, k: Expr, slot: int) -> Stmt | None:
        """Bring the words of step `k` to `slot`."""
        if self.array is None:
            return None
        if self.held is None:
            return load_step(self.side, self.array, slot, k, self.threads, self.ctx)
        held = self.held
        return copy_step(
            self.side, self.array, slot, lambda i, e: BufferLoad(held, (self._held(i, k) + e,))
        )

    def at(self, atom: Expr, k: Expr, slot: int) -> Expr:
        """Address of the words of one atom."""
        if self.array is None:
            assert self.held is not None, "without an array the words are the operand's registers"
            return pointer(self.held, self._held(atom, k))
        return pointer(self.array, atom * self.side.elements + slot * self.side.step_elements)

    def _held(self, atom: Expr | int, k: Expr) -> Expr:
        """First register of one atom in the operand's fragment."""
        side = self.side
        number = as_expr(atom) * side.depth + k if side.is_a else k * side.atoms + atom
        first = region_number(side.matrix) * (side.depth * side.step_elements)
        return first + number * side.elements


def region_number(matrix: Matrix) -> Expr:
    """Number of the tile in its buffer that a region of a fragment is."""
    extents = [static_extent(e) for e in matrix.region.extents]
    return tile_number(matrix.region.starts, _shape(matrix), extents)


class _Product:
    """The statements of one product."""

    def __init__(self, plan: MmaPlan, ctx: LowerContext, threads: BlockThreads) -> None:
        self.plan = plan
        slots = 2 if plan.steps > 1 else 1
        self.A = _Words(plan.A, ctx, threads, slots)
        self.B = _Words(plan.B, ctx, threads, slots)
        self.slots = slots
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
        return when(
            clear,
            loop(
                "e",
                self.size,
                lambda e: BufferStore(self.sums, zero, (self.first + e,)),
                LoopKind.UNROLLED,
            ),
        )

    def _steps(self, first: Expr, count: int) -> Stmt:
        """Steps `first ... first + count`, each loading the next one's words."""
        made: list[Stmt | None] = [self._load(first, 0)]
        for k in range(count):
            if k + 1 < count:
                made.append(self._load(first + (k + 1), (k + 1) % self.slots))
            made.append(self._multiply(first + k, k % self.slots))
        return together(*made)

    def _load(self, k: Expr, slot: int) -> Stmt:
        return together(self.A.load(k, slot), self.B.load(k, slot))

    def _multiply(self, k: Expr, slot: int) -> Stmt:
        tiles, form = self.plan.tiles, self.plan.form

        def one(i: Expr, j: Expr) -> Stmt:
            number = i * tiles.atoms_n + j
            sums = pointer(self.sums, self.first + number * form.atom.c_elements)
            return run(form.function, sums, self.A.at(i, k, slot), self.B.at(j, k, slot), sums)

        return unrolled((tiles.atoms_m, tiles.atoms_n), one)
