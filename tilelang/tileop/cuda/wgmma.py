"""Matrix products by `wgmma`: four warps together multiply straight from shared memory.

In: a `Gemm` of 16-bit floats whose C is a float32 fragment, B in shared memory, A in shared memory
or in a fragment. Out: a fence, all instructions, the wait for them. The instruction reads shared
memory by another path than loads do; the pass `insert_barriers` fences what was written before.
"""

from __future__ import annotations

from tilelang.arith import Analyzer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Call, Expr, as_expr, constant, equal, is_const
from tilelang.ir.record import record
from tilelang.ir.stmt import BufferStore, LoopKind, Stmt
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout
from tilelang.layout.mma import tile_number, widened
from tilelang.layout.warp_policy import GemmWarpPolicy
from tilelang.layout.wgmma import (
    DEPTH,
    GROUP,
    ROWS,
    GroupTiles,
    group_accumulator,
    group_operand_A,
    panel_layout,
    span_for,
    span_of,
)
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import BlockThreads, LayoutNeeds, LowerContext
from tilelang.tileop.cuda.gemm_staging import is_inside
from tilelang.tileop.cuda.mma_operands import pointer
from tilelang.tileop.gemm import Gemm, Matrix, static_extent
from tilelang.tileop.loops import address, in_range, loop, run, together, when

_TYPES = {"float16": "f16", "bfloat16": "bf16"}
_MAX_COLUMNS = 256  # of one instruction
_REGISTERS = 65536  # of a multiprocessor; a block has to have room for all its threads
_OTHER_REGISTERS = 26  # what the instruction needs beside its sums
_MODES = {128: 1, 64: 2, 32: 3}  # span -> the descriptor's swizzle


@record
class WgmmaPlan:
    """How one product is cut: facts, no statements."""

    op: Gemm
    tiles: GroupTiles

    @property
    def steps(self) -> int:
        """Steps of k."""
        return self.op.K // DEPTH

    @property
    def width(self) -> int:
        """Columns of one instruction."""
        columns = self.tiles.columns
        return next(n for n in range(_MAX_COLUMNS, 0, -8) if columns % n == 0)

    @property
    def is_b_turned(self) -> bool:
        """Whether B's columns, not k, are contiguous."""
        return not self.op.transpose_B

    @property
    def is_a_turned(self) -> bool:
        """Whether A's rows, not k, are contiguous."""
        return self.op.transpose_A

    def span_A(self) -> int | None:
        """Bytes of the swizzle in which A is best kept."""
        return _span(self.op.A, ROWS if self.is_a_turned else DEPTH)

    def span_B(self) -> int | None:
        """Bytes of the swizzle in which B is best kept."""
        return _span(self.op.B, self.width if self.is_b_turned else DEPTH)

    def fragment_C(self) -> Fragment:
        """Where the accumulator's buffer has its elements."""
        return widened(group_accumulator(self.tiles), _shape(self.op.C))

    def fragment_A(self) -> Fragment:
        """Where A has to have its elements when it is a fragment."""
        return widened(group_operand_A(self.tiles, self.op.K), _shape(self.op.A))


def _shape(matrix: Matrix) -> tuple[int, ...]:
    return tuple(int(e) for e in matrix.buffer.shape)  # type: ignore[arg-type]


def _span(matrix: Matrix, part: int) -> int | None:
    """A step of k may stand anywhere in a panel; a part of rows or columns fills panels."""
    width = _shape(matrix)[-1]
    return span_for(width, width if part == DEPTH else part, matrix.buffer.dtype.bits)


def plan_of(op: Gemm, ctx: LowerContext) -> WgmmaPlan | str:
    """The cut of a product, or why `wgmma` cannot run it."""
    threads = ctx.threads
    assert threads is not None, "a product on a GPU is run by the threads of a block"
    if ctx.target.option("arch") != "sm_90a":
        return "wgmma exists on sm_90a alone"
    if ctx.disables_wgmma:
        return "switched off by tl.disable_wgmma"
    a, b, c = op.A.buffer.dtype, op.B.buffer.dtype, op.C.buffer.dtype
    if a != b or str(a) not in _TYPES or c != "float32":
        return f"wgmma is made for float16 and bfloat16 into float32, not {a} x {b} into {c}"
    if threads.count % GROUP:
        return f"{threads.count} threads are not whole warp groups of {GROUP}"
    wrong = [
        f"{name} is {size}, not a multiple of {step}"
        for name, size, step in (("M", op.M, ROWS), ("N", op.N, 8), ("K", op.K, DEPTH))
        if size % step
    ]
    if wrong:
        return "; ".join(wrong)
    policy = GemmWarpPolicy(op.node.attribute("policy", 0))
    tiles = group_tiles(op.M, op.N, threads.count // GROUP, policy)
    if tiles is None:
        groups = threads.count // GROUP
        return f"{op.M} x {op.N} cannot be cut for {groups} warp groups into parts of 64 x 8"
    room = min(255, _REGISTERS // threads.count) - _OTHER_REGISTERS
    if tiles.registers > room:
        return f"{tiles.registers} sums per thread do not fit into {room} registers"
    return WgmmaPlan(op, tiles)


def group_tiles(M: int, N: int, groups: int, policy: GemmWarpPolicy) -> GroupTiles | None:
    """The cut that uses all groups: along M as far as it goes, for wide instructions, or along N
    where the policy asks for it."""
    cuts = [
        GroupTiles(M, N, m, groups // m)
        for m in range(1, groups + 1)
        if groups % m == 0 and M % (m * ROWS) == 0 and N % (groups // m * 8) == 0
    ]
    if not cuts:
        return None
    return cuts[0] if policy.is_full_col() else cuts[-1]


class Wgmma(Instruction):
    """`wgmma` of sm_90a."""

    name = "wgmma"

    def applies(self, op: Gemm, ctx: LowerContext) -> str | None:
        if not op.C.buffer.is_fragment:
            return f"C is `{op.C.buffer.name}` in {op.C.buffer.scope()}, not a fragment"
        if not op.B.buffer.is_shared:
            return f"B is `{op.B.buffer.name}` in {op.B.buffer.scope()}, not in shared memory"
        if not (op.A.buffer.is_shared or op.A.buffer.is_fragment):
            return f"A is `{op.A.buffer.name}` in {op.A.buffer.scope()}"
        if op.A.buffer.is_fragment and op.transpose_A:
            return "A in registers cannot be transposed"
        plan = plan_of(op, ctx)
        if isinstance(plan, str):
            return plan
        return _why_not_fragments(plan, ctx) or _why_not_shared(plan, ctx)

    def needs(self, op: Gemm, ctx: LowerContext) -> LayoutNeeds:
        plan = plan_of(op, ctx)
        assert isinstance(plan, WgmmaPlan), "only asked where `applies` gave None"
        needs = LayoutNeeds({op.C.buffer: plan.fragment_C()})
        for matrix, span in ((op.A, plan.span_A()), (op.B, plan.span_B())):
            buffer = matrix.buffer
            if buffer.is_fragment:
                needs.fragments.setdefault(buffer, plan.fragment_A())
                continue
            assert span is not None, "asked by `applies`"
            needs.shared[buffer] = panel_layout(_shape(matrix), buffer.dtype.bits, span)
        return needs

    def details(self, op: Gemm, ctx: LowerContext) -> tuple[str, ...]:
        plan = plan_of(op, ctx)
        assert isinstance(plan, WgmmaPlan), "only asked where `applies` gave None"
        tiles = plan.tiles
        cut = (
            f"m64n{plan.width}k{DEPTH}, {tiles.groups_m} by {tiles.groups_n} warp groups of "
            f"{tiles.rows} by {tiles.columns}"
        )
        return (cut, *(_source(m, n, ctx) for m, n in ((op.A, "A"), (op.B, "B"))))

    def lower(self, op: Gemm, ctx: LowerContext) -> Stmt:
        plan = plan_of(op, ctx)
        assert isinstance(plan, WgmmaPlan) and ctx.threads is not None, "asked by `applies`"
        return in_range(_Product(plan, ctx, ctx.threads).stmts())


def _source(matrix: Matrix, name: str, ctx: LowerContext) -> str:
    buffer = matrix.buffer
    if buffer.is_fragment:
        return f"{name} `{buffer.name}`: in registers"
    span = span_of(ctx.layouts[buffer], _shape(matrix), buffer.dtype.bits)
    return f"{name} `{buffer.name}`: read in panels of {span} bytes"


def _why_not_fragments(plan: WgmmaPlan, ctx: LowerContext) -> str | None:
    """Why registers cannot be named, or are not those that the instruction needs."""
    analyzer = Analyzer()
    for name, matrix, wanted in (
        ("A", plan.op.A, plan.fragment_A), ("C", plan.op.C, plan.fragment_C),
    ):  # fmt: skip
        buffer = matrix.buffer
        if not buffer.is_fragment:
            continue
        for bounds, size in zip(matrix.region.ranges, _shape(matrix)):
            extent = static_extent(bounds.extent)
            if size % extent or not analyzer.can_prove(equal(bounds.start % extent, 0)):
                return f"{name}: the region of `{buffer.name}` is not one of its whole tiles"
        held = ctx.fragments.get(buffer)
        if held is not None and not held.is_equal(wanted()):
            return f"{name}: other threads hold the elements of `{buffer.name}`"
    return None


def _why_not_shared(plan: WgmmaPlan, ctx: LowerContext) -> str | None:
    """Why the instruction cannot read an operand where it stands in shared memory."""
    is_decided = plan.op.C.buffer in ctx.fragments  # layouts are known
    for name, matrix, wanted in (
        ("A", plan.op.A, plan.span_A()), ("B", plan.op.B, plan.span_B()),
    ):  # fmt: skip
        buffer = matrix.buffer
        if buffer.is_fragment:
            continue
        shape = _shape(matrix)
        if wanted is None or shape[-2] % 8:
            return f"{name}: `{buffer.name}` of {shape[-2]} x {shape[-1]} has no swizzled form"
        analyzer = Analyzer()
        *_, row, column = matrix.region.starts
        steps = ((row, 8), (column, wanted * 8 // buffer.dtype.bits))
        if any(not analyzer.can_prove(equal(start % step, 0)) for start, step in steps):
            return f"{name}: the region of `{buffer.name}` starts within a swizzled block"
        if not is_decided:
            continue
        if not is_inside(matrix.region, ctx):
            return f"{name}: the region may leave `{buffer.name}`"
        layout = ctx.layouts.get(buffer)
        span = None if layout is None else span_of(layout, shape, buffer.dtype.bits)
        if span is None or span > wanted:
            return f"{name}: `{buffer.name}` has a layout that the instruction does not read"
    return None


@record
class _Shared:
    """An operand in shared memory, as its descriptors see it."""

    matrix: Matrix
    is_turned: bool  # k is the row axis of the buffer
    span: int

    @property
    def panel_stride(self) -> int:
        """Bytes from one panel to the next."""
        return _shape(self.matrix)[-2] * self.span

    def descriptor(self, first: Expr, k: Expr) -> Expr:
        """Of the block that begins at row (of A; column of B) `first` and at `k`."""
        region = self.matrix.region
        lead = [as_expr(0)] * (self.matrix.buffer.ndim - 2)
        at = (k, first) if self.is_turned else (first, k)
        place = address(region, [*lead, *at])
        mode = as_expr(_MODES[self.span])
        strides = (as_expr(self.panel_stride), as_expr(8 * self.span))
        return Call("tl_wgmma_descriptor", (mode, place, *strides), dtype("uint64"))


def _group(threads: BlockThreads, groups_m: int) -> tuple[Expr, Expr]:
    """Which warp group the thread is of, along M and N."""
    groups, zero = threads.count // GROUP, as_expr(0)
    if groups == 1:
        return zero, zero
    number: Expr = threads.index // GROUP
    number = Call("tl_warp_uniform", (number,), number.dtype)
    if groups_m == groups:
        return number, zero
    return (zero, number) if groups_m == 1 else (number % groups_m, number // groups_m)


class _Product:
    """The statements of one product."""

    def __init__(self, plan: WgmmaPlan, ctx: LowerContext, threads: BlockThreads) -> None:
        op = plan.op
        self.plan, self.ctx = plan, ctx
        self.sums = ctx.registers[op.C.buffer]
        self.size = plan.tiles.registers
        self.first = _region_number(op.C) * self.size
        self.is_new = is_const(op.clear_accum) and not is_const(op.clear_accum, 0)
        group_m, group_n = _group(threads, plan.tiles.groups_m)
        self.row = group_m * plan.tiles.rows
        self.column = group_n * plan.tiles.columns
        self.B = self._shared(op.B, plan.is_b_turned)
        self.A = None if op.A.buffer.is_fragment else self._shared(op.A, plan.is_a_turned)

    def _shared(self, matrix: Matrix, is_turned: bool) -> _Shared:
        buffer = matrix.buffer
        layout: Layout = self.ctx.layouts[buffer]
        span = span_of(layout, _shape(matrix), buffer.dtype.bits)
        assert span is not None, "asked by `applies`"
        return _Shared(matrix, is_turned, span)

    def stmts(self) -> Stmt:
        plan = self.plan
        pin = run("tl_wgmma_pin", self.size, pointer(self.sums, self.first))
        return together(
            self._clear(),
            None if self.is_new else pin,
            self._pin_A(),
            run("tl_wgmma_fence", *self._read()),
            *(self._step(as_expr(k)) for k in range(plan.steps)),
            run("tl_wgmma_commit"),
            run("tl_wgmma_wait", 0, *self._read()),
            pin,
        )

    def _read(self) -> list[Expr]:
        """Pointers to what the instructions read: until the wait nobody may overwrite it."""
        operands = [o for o in (self.A, self.B) if o is not None]
        return [address(o.matrix.region) for o in operands]

    def _pin_A(self) -> Stmt | None:
        """A's registers are there before the instructions begin."""
        if self.A is not None:
            return None
        count = self.plan.tiles.rows // ROWS * self.plan.steps * (ROWS * DEPTH // GROUP) // 2
        return run("tl_wgmma_pin_words", count, self._held(0, as_expr(0)))

    def _clear(self) -> Stmt | None:
        clear = self.plan.op.clear_accum
        if is_const(clear):
            return None
        zero = constant(0, self.sums.dtype)

        def store(e: Expr) -> Stmt:
            return BufferStore(self.sums, zero, (self.first + e,))

        return when(clear, loop("e", self.size, store, LoopKind.UNROLLED))

    def _step(self, k: Expr) -> Stmt:
        """All instructions of one step of k."""
        tiles, width = self.plan.tiles, self.plan.width
        made: list[Stmt] = []
        for i in range(tiles.rows // ROWS):
            for j in range(tiles.columns // width):
                place = (i * tiles.columns // 8 + j * width // 8) * 4
                sums = pointer(self.sums, self.first + place)
                b = self.B.descriptor(self.column + j * width, k * DEPTH)
                made.append(self._instruction(sums, i, k, b))
        return together(*made)

    def _instruction(self, sums: Expr, i: int, k: Expr, b: Expr) -> Stmt:
        op = self.plan.op
        name = f"tl_wgmma_m64n{self.plan.width}k{DEPTH}_f32_{_TYPES[str(dtype(op.A.buffer.dtype))]}"
        turned_b = int(self.plan.is_b_turned)
        new = "_new" if self.is_new and is_const(k, 0) else ""
        if self.A is None:
            return run(f"{name}_rs{new}", turned_b, sums, self._held(i, k), b)
        a = self.A.descriptor(self.row + i * ROWS, k * DEPTH)
        return run(f"{name}_ss{new}", int(self.plan.is_a_turned), turned_b, sums, a, b)

    def _held(self, i: int, k: Expr) -> Expr:
        """A's registers of rows `64 i ...` and step `k`."""
        matrix, steps = self.plan.op.A, self.plan.steps
        elements = ROWS * DEPTH // GROUP
        first = _region_number(matrix) * (self.plan.tiles.rows // ROWS * steps * elements)
        return pointer(self.ctx.registers[matrix.buffer], first + (i * steps + k) * elements)


def _region_number(matrix: Matrix) -> Expr:
    extents = [static_extent(e) for e in matrix.region.extents]
    return tile_number(matrix.region.starts, _shape(matrix), extents)
