"""`T.gemm`: `C += op(A) op(B)` on tiles.

Operands `A`, `B` (read) and `C` (read and written), value `clear_accum`; attributes `transpose_A`,
`transpose_B`, `policy`. The language has checked shapes and types. The last two axes of each region
are the matrix, those before have extent 1.
"""

from __future__ import annotations

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferRegion, Expr, as_expr, const_value, is_const
from tilelang.ir.record import record
from tilelang.ir.region import are_equal
from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator
from tilelang.tileop.context import LayoutContext


@record
class Matrix:
    """A region seen as `rows` by `columns`; axis numbers are the buffer's."""

    region: BufferRegion
    row_axis: int
    column_axis: int

    @property
    def buffer(self) -> Buffer:
        return self.region.buffer

    @property
    def rows(self) -> int:
        return static_extent(self.region.extents[self.row_axis])

    @property
    def columns(self) -> int:
        return static_extent(self.region.extents[self.column_axis])

    @property
    def row_stride(self) -> Expr | int:
        """Elements between rows."""
        return self.buffer.strides[self.row_axis]

    @property
    def column_stride(self) -> Expr | int:
        """Elements between columns."""
        return self.buffer.strides[self.column_axis]

    def offsets(self, row: Expr, column: Expr) -> list[Expr]:
        """Offsets in the region of element `(row, column)`."""
        made: list[Expr] = [as_expr(0)] * self.buffer.ndim
        made[self.row_axis], made[self.column_axis] = row, column
        return made

    @property
    def is_whole_buffer(self) -> bool:
        """Whether the region is a rank-2 buffer from end to end."""
        extents = zip(self.region.extents, self.buffer.shape)
        return (
            self.buffer.ndim == 2
            and all(is_const(s, 0) for s in self.region.starts)
            and all(are_equal(e, as_expr(n)) for e, n in extents)
        )


def static_extent(extent: Expr) -> int:
    """A constant extent as an integer; the language admits no other for a matrix."""
    number = const_value(extent)
    assert isinstance(number, int), f"gemm over the run-time extent {extent}"
    return number


def matrix(region: BufferRegion, is_transposed: bool) -> Matrix:
    """The last two axes of `region`, exchanged when `is_transposed`."""
    rows, columns = region.buffer.ndim - 2, region.buffer.ndim - 1
    return Matrix(region, columns, rows) if is_transposed else Matrix(region, rows, columns)


class Gemm(TileOperator):
    """Facts of one product: `A` is M by K, `B` is K by N, `C` is M by N."""

    instructions = {
        "c": (
            "tilelang.tileop.cpu.gemm:MicroKernel",
            "tilelang.tileop.cpu.gemm:ScalarLoops",
        ),
        "cuda": (
            "tilelang.tileop.cuda.wgmma:Wgmma",
            "tilelang.tileop.cuda.mma:MmaSync",
            "tilelang.tileop.cuda.gemm_fma:FmaLoops",
        ),
    }

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.transpose_A = bool(node.attribute("transpose_A", False))
        self.transpose_B = bool(node.attribute("transpose_B", False))
        self.A = matrix(node.region("A"), self.transpose_A)
        self.B = matrix(node.region("B"), self.transpose_B)
        self.C = matrix(node.region("C"), False)
        self.clear_accum: Expr = node.value("clear_accum")
        self.M, self.N, self.K = self.C.rows, self.C.columns, self.A.columns

    def infer(self, ctx: LayoutContext) -> None:
        """On a CPU, a whole B tile wants to be kept in panels."""
        ctx.needs_plain(self.A.buffer)
        ctx.needs_plain(self.C.buffer)
        form = None
        if ctx.target.kind == "c":
            from tilelang.tileop.cpu.gemm import wanted_panels  # a target's own file

            form = wanted_panels(self, ctx.target)
        if form is None:
            ctx.needs_plain(self.B.buffer)
        else:
            ctx.prefers(self.B.buffer, form)
