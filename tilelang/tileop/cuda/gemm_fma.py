"""Matrix products without tensor cores: any types, shapes and scopes, in multiplications and sums.

In: a `Gemm` that no matrix instruction takes. Out: each thread forms the sums of the elements of C
that it holds. Where C is a fragment it stands in a grid of threads, each with elements from a few
rows and columns, so that one load feeds several sums; elsewhere the elements are dealt out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tilelang.errors import LayoutError
from tilelang.ir.buffer import LOCAL, VAR, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Expr,
    as_expr,
    cast,
    constant,
    if_then_else,
    is_const,
    less,
)
from tilelang.ir.stmt import Allocate, BufferStore, LoopKind, Stmt
from tilelang.layout.blocked import BlockedFragment
from tilelang.layout.fragment import Fragment
from tilelang.layout.holding import Holding
from tilelang.layout.layout import static_shape
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import LayoutNeeds, LowerContext
from tilelang.tileop.cuda.gemm_staging import (
    each_register,
    guarded_load,
    inside_buffer,
    shared_tile,
    spill,
)
from tilelang.tileop.gemm import Gemm, Matrix
from tilelang.tileop.loops import in_range, loop, nest, store, together, when

_MAX_SUMS = 256  # registers of sums in straight-line code


def sum_dtype(kind: dtype) -> dtype:
    """The type in which sums of `kind` are formed: float32 for the floats below it."""
    return dtype("float32") if kind.is_float and kind.bits < 32 else kind


def grid_fragment(shape: Sequence[int], threads: int) -> Fragment:
    """The last two axes over a grid of threads, further elements in further registers:

        2 x 4 threads    row 0   0 1 2 3 0 1 2 3 ...     neighbours in a row in neighbour threads,
                         row 1   4 5 6 7 4 5 6 7         so that their loads do not conflict
                         row 2   0 1 2 3 0 1 2 3

    The grid that divides the tile with the fewest loads per sum; the general blocked fragment for a
    tile that no grid of all threads divides.
    """
    *lead, M, N = static_shape(shape)
    grids = [
        (tm, threads // tm)
        for tm in range(1, threads + 1)
        if threads % tm == 0 and M % tm == 0 and N % (threads // tm) == 0
    ]
    if not grids:
        return BlockedFragment(tuple(static_shape(shape)), threads)
    rows, columns = min(grids, key=lambda g: (M // g[0] + N // g[1], -g[1]))

    def place(*indices: Expr) -> tuple[Expr, Expr]:
        *outer, i, j = indices
        register: Expr = as_expr(0)
        for extent, index in zip(lead, outer):
            register = register * extent + index
        register = (register * (M // rows) + i // rows) * (N // columns) + j // columns
        return i % rows * columns + j % columns, register

    return Fragment(list(static_shape(shape)), place)


class FmaLoops(Instruction):
    """Loops over logical elements, spread over the threads by where C is."""

    name = "fma"

    def applies(self, op: Gemm, ctx: LowerContext) -> str | None:
        del op, ctx
        return None

    def needs(self, op: Gemm, ctx: LowerContext) -> LayoutNeeds:
        assert ctx.threads is not None, "a product on a GPU is run by the threads of a block"
        C = op.C.buffer
        if not C.is_fragment:
            return LayoutNeeds()
        return LayoutNeeds({C: grid_fragment(static_shape(C.shape), ctx.threads.count)})

    def lower(self, op: Gemm, ctx: LowerContext) -> Stmt:
        return in_range(_Loops(op, ctx).stmts())


class _Loops:
    def __init__(self, op: Gemm, ctx: LowerContext) -> None:
        self.op, self.ctx = op, ctx
        assert ctx.threads is not None, "asked by `needs`"
        self.threads = ctx.threads
        self.before: list[Stmt] = []
        self.A, self.B = self._readable(op.A), self._readable(op.B)
        self.kind = sum_dtype(op.C.buffer.dtype)

    def _readable(self, matrix: Matrix) -> Matrix:
        """A fragment's elements are read from shared memory: every thread needs many of them."""
        if not matrix.buffer.is_fragment:
            return matrix
        tile = shared_tile(matrix.region, self.ctx)
        self.before.append(spill(matrix.region, tile, self.ctx))
        rows = matrix.row_axis - (matrix.buffer.ndim - 2)
        return Matrix(tile, rows, 1 - rows)

    def stmts(self) -> Stmt:
        C = self.op.C.buffer
        if C.is_fragment:
            product = self._in_registers()
        elif C.scope() in (LOCAL, VAR):
            product = nest([self.op.M, self.op.N], lambda i: self._cell(*i), LoopKind.SERIAL)
        else:
            product = self._in_memory()
        return together(*self.before, product)

    # -- one product, one sum ---------------------------------------------------------------------

    def _term(self, i: Expr, j: Expr, k: Expr) -> Expr:
        a = guarded_load(self.A.region, self.A.offsets(i, k), self.ctx)
        b = guarded_load(self.B.region, self.B.offsets(k, j), self.ctx)
        return cast(a, self.kind) * cast(b, self.kind)

    def _start(self, old: Expr) -> Expr:
        """The sum before the first product."""
        zero, clear = constant(0, self.kind), self.op.clear_accum
        if is_const(clear):
            return zero if bool(clear) else cast(old, self.kind)
        return if_then_else(clear, zero, cast(old, self.kind))

    def _dot(self, i: Expr, j: Expr, old: Expr, done: Callable[[Expr], Stmt]) -> Stmt:
        """Element `(i, j)` of C from `old`; `done` stores it."""
        total = Buffer("total", (1,), self.kind, VAR, span=self.op.node.span)
        at = (as_expr(0),)
        value = BufferLoad(total, at)
        return together(
            Allocate(total),
            BufferStore(total, self._start(old), at),
            loop("k", self.op.K, lambda k: BufferStore(total, value + self._term(i, j, k), at)),
            done(value),
        )

    # -- C in memory ------------------------------------------------------------------------------

    def _in_memory(self) -> Stmt:
        """Elements of C dealt out to the threads."""
        count, N = self.op.M * self.op.N, self.op.N

        def one(step: Expr) -> Stmt:
            number = step * self.threads.count + self.threads.index
            stmt = self._cell(number // N, number % N)
            return stmt if count % self.threads.count == 0 else when(less(number, count), stmt)

        return loop("e", -(-count // self.threads.count), one)

    def _cell(self, i: Expr, j: Expr) -> Stmt:
        C = self.op.C
        at = C.offsets(i, j)
        condition = inside_buffer(C.region, at, self.ctx)
        old = BufferLoad(C.buffer, tuple(r.start + o for r, o in zip(C.region.ranges, at)))
        stmt = self._dot(i, j, old, lambda total: store(C.region, at, total))
        return stmt if condition is None else when(condition, stmt)

    # -- C in registers ---------------------------------------------------------------------------

    def _in_registers(self) -> Stmt:
        region = self.op.C.region
        fragment = self.ctx.fragments[region.buffer]
        registers = self.ctx.registers[region.buffer]
        held = self._whole(region, fragment)
        if held is not None:
            return self._outer_products(region, held, registers)

        def one(at: Sequence[Expr], register: Expr) -> Stmt:
            i, j = (index - start for index, start in zip(at[-2:], region.starts[-2:]))
            old = BufferLoad(registers, (register,))
            return self._dot(
                i, j, old,
                lambda total: BufferStore(registers, cast(total, registers.dtype), (register,)),
            )  # fmt: skip

        return each_register(region, fragment, self.ctx, one, is_first=False)

    def _whole(self, region: BufferRegion, fragment: Fragment) -> Holding | None:
        """Every register of every thread holds an element of `region`, and they are few."""
        sizes = static_shape(region.buffer.shape)
        if static_shape(list(region.extents)) != sizes:
            return None
        try:
            held = Holding(fragment, self.threads.count)
            held.element(1, self.threads.index, as_expr(0), as_expr(0))
        except LayoutError:
            return None
        return held if held.is_held.all() and held.registers <= _MAX_SUMS else None

    def _outer_products(self, region: BufferRegion, held: Holding, registers: Buffer) -> Stmt:
        """For each k, all of a thread's sums: the compiler loads each factor once."""
        is_sum = registers.dtype == self.kind
        sums = registers if is_sum else Buffer("sums", (held.registers,), self.kind, LOCAL)

        def each(body: Callable[[Expr], Stmt]) -> Stmt:
            return loop("e", held.registers, body, LoopKind.UNROLLED)

        def start(e: Expr) -> Stmt:
            return BufferStore(sums, self._start(BufferLoad(registers, (e,))), (e,))

        def add(k: Expr, e: Expr) -> Stmt:
            i, j = held.element(1, self.threads.index, e, as_expr(0))[-2:]
            return BufferStore(sums, BufferLoad(sums, (e,)) + self._term(i, j, k), (e,))

        def finish(e: Expr) -> Stmt:
            return BufferStore(registers, cast(BufferLoad(sums, (e,)), registers.dtype), (e,))

        clear = self.op.clear_accum
        keeps = is_sum and is_const(clear) and not bool(clear)
        return together(
            None if is_sum else Allocate(sums),
            None if keeps else each(start),
            loop("k", self.op.K, lambda k: each(lambda e: add(k, e))),
            None if is_sum else each(finish),
        )
