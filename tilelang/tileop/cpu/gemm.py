"""Matrix products on a CPU: the micro-kernel of `device/c/gemm.h`, or plain loops.

`MicroKernel` packs what is not yet in the form the kernel reads, calls it, and brings the sums into
C where C does not hold sums itself. It emits calls only; what they do stands in the header.
"""

from __future__ import annotations

from tilelang.ir.buffer import VAR, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Expr,
    as_expr,
    cast,
    ceildiv,
    constant,
    if_then_else,
    is_const,
)
from tilelang.ir.stmt import Allocate, BufferStore, LoopKind, Stmt
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.tileop.base import Instruction
from tilelang.tileop.clip import region_intervals
from tilelang.tileop.context import LowerContext
from tilelang.tileop.cpu.panels import (
    BPanels,
    PanelForm,
    choose_form,
    is_packable,
    kind_name,
    pack_b,
    panel_elements,
)
from tilelang.tileop.gemm import Gemm, Matrix, matrix
from tilelang.tileop.loops import (
    address,
    element,
    in_range,
    loop,
    nest,
    run,
    store,
    together,
    vector_kind,
    when,
)

_ROUNDED = ("float16", "bfloat16")  # types of C that are summed in float32 and rounded once


def gemm_form(op: Gemm, target: object) -> PanelForm | None:
    """The panel form of the product's types."""
    return choose_form(op.A.buffer.dtype, op.B.buffer.dtype, op.C.buffer.dtype, target)


def wanted_panels(op: Gemm, target: object) -> BPanels | None:
    """The form in which the B tile should be kept, when it can be kept in panels at all."""
    form = gemm_form(op, target)
    if form is None or not op.B.buffer.is_shared or not op.B.is_whole_buffer:
        return None
    if op.B.buffer.dtype.elements_per_byte > 1:
        return None
    return BPanels(form, op.transpose_B, op.K, op.N)


def _is_inside(ctx: LowerContext, operand: Matrix) -> bool:
    region = operand.region
    axes = list(range(operand.buffer.ndim))
    return all(i.is_whole for i in region_intervals(ctx, region, axes, region.extents))


class _Staging:
    """Statements around the product: scratch buffers, and copies into and out of them."""

    def __init__(self, op: Gemm, ctx: LowerContext) -> None:
        self.op = op
        self.ctx = ctx
        self.before: list[Stmt] = []
        self.after: list[Stmt] = []

    def scratch(self, name: str, shape: tuple[int, ...], kind: str) -> Buffer:
        """A fresh block-local buffer."""
        buffer = Buffer(name, shape, kind, "shared", span=self.op.node.span)
        self.before.append(Allocate(buffer))
        return buffer

    def copied(self, src: BufferRegion, dst: BufferRegion) -> Stmt:
        """A T.copy between the two."""
        operands = (TileOperand("src", src, "r"), TileOperand("dst", dst, "w"))
        return self.ctx.lower(TileOp("copy", operands, span=self.op.node.span))

    def present(self, operand: Matrix, is_transposed: bool) -> Matrix:
        """`operand`, through a zero-padded tile when part of it may lie outside its buffer."""
        if _is_inside(self.ctx, operand):
            return operand
        shape = (
            (operand.columns, operand.rows) if is_transposed else (operand.rows, operand.columns)
        )
        tile = self.scratch(f"{operand.buffer.name}_tile", shape, operand.buffer.dtype)
        self.before.append(self.copied(operand.region, tile.region()))
        return matrix(tile.region(), is_transposed)

    def written(self, C: Matrix) -> Matrix:
        """C itself, or a tile that is read before and written back after the product."""
        if _is_inside(self.ctx, C):
            return C
        tile = self.scratch(f"{C.buffer.name}_tile", (C.rows, C.columns), C.buffer.dtype)
        self.before.append(self.copied(C.region, tile.region()))
        self.after.append(self.copied(tile.region(), C.region))
        return matrix(tile.region(), False)

    def panels(self, form: PanelForm) -> Buffer:
        """B in panels: as it is kept, or packed here."""
        op = self.op
        kept = self.ctx.physical.get(op.B.buffer)
        if kept is not None:
            return kept
        B = self.present(op.B, op.transpose_B)
        packed = self.scratch(
            f"{op.B.buffer.name}_panels", (panel_elements(form, op.N, op.K),), form.element
        )
        self.before.append(pack_b(packed, form, B.region, B.row_axis, B.column_axis, op.K, op.N))
        return packed

    def rows_of_a(self, form: PanelForm) -> tuple[Expr, Expr | int, Expr | int, int]:
        """A as the kernel reads it: address, stride of m, stride of a group of k, K."""
        op = self.op
        A = self.present(op.A, op.transpose_A)
        kind = dtype("float32") if A.buffer.dtype == "tfloat32" else A.buffer.dtype
        is_element = kind == form.element or (form.name == "i32" and kind == "uint32")
        if is_element and (form.group == 1 or A.column_stride == 1):
            stride_k = A.column_stride if form.group == 1 else as_expr(form.group)
            return address(A.region), A.row_stride, stride_k, op.K
        padded = ceildiv(op.K, form.group) * form.group
        packed = self.scratch(f"{op.A.buffer.name}_rows", (op.M * padded,), form.element)
        self.before.append(_pack_a(packed, form, A, op.M, op.K))
        if A.column_stride == 1:
            return address(packed.region()), padded, form.group, padded
        return address(packed.region()), form.group, op.M * form.group, padded


def _pack_a(packed: Buffer, form: PanelForm, A: Matrix, M: int, K: int) -> Stmt:
    name = f"{form.name}_{kind_name(A.buffer.dtype)}"
    to, at = address(packed.region()), address(A.region)
    if A.column_stride == 1:
        return run(f"tl_pack_a_rows_{name}", to, at, A.row_stride, M, K, M, K)
    if A.row_stride == 1:
        return run(f"tl_pack_a_columns_{name}", to, at, A.column_stride, M, K, M, K)
    return run(f"tl_pack_a_strided_{name}", to, at, A.row_stride, A.column_stride, M, K, M, K)


class MicroKernel(Instruction):
    """Panels of B, A in place or packed, `tl_gemm_<form>`."""

    name = "micro_kernel"

    def applies(self, op: Gemm, ctx: LowerContext) -> str | None:
        if ctx.sanitize:
            return "a checked build uses plain loops"
        if gemm_form(op, ctx.target) is None:
            kinds = f"{op.A.buffer.dtype} x {op.B.buffer.dtype} into {op.C.buffer.dtype}"
            return f"the kernel has no form for {kinds}"
        if op.C.column_stride != 1:
            return "the columns of C are not neighbours in memory"
        return is_packable(op.A.region) or is_packable(op.B.region)

    def lower(self, op: Gemm, ctx: LowerContext) -> Stmt:
        form = gemm_form(op, ctx.target)
        assert form is not None, "`applies` has asked for it"
        staging = _Staging(op, ctx)
        panels = staging.panels(form)
        a, stride_m, stride_k, K = staging.rows_of_a(form)
        C = staging.written(op.C)
        product = self._product(op, form, C, staging, (a, stride_m, stride_k, panels, K))
        return in_range(together(*staging.before, product, *staging.after))

    def _product(
        self, op: Gemm, form: PanelForm, C: Matrix, staging: _Staging,
        operands: tuple[Expr, Expr | int, Expr | int, Buffer, int],
    ) -> Stmt:  # fmt: skip
        a, stride_m, stride_k, panels, K = operands
        function = f"tl_gemm_{form.name}"
        shared = (a, stride_m, stride_k, address(panels.region()), op.M, op.N, K)
        if C.buffer.dtype in _ROUNDED:
            sums = staging.scratch("sums", (op.M, op.N), form.accumulator)
            gemm = run(function, address(sums.region()), op.N, *shared, 1)
            clear = cast(op.clear_accum, "int32")
            add = run(
                f"tl_accumulate_{C.buffer.dtype}", address(C.region), C.row_stride,
                address(sums.region()), op.M, op.N, clear,
            )  # fmt: skip
            return together(gemm, add)
        to = (address(C.region), C.row_stride)
        if is_const(op.clear_accum):
            return run(function, *to, *shared, int(bool(op.clear_accum)))
        return together(when(op.clear_accum, clear_matrix(C)), run(function, *to, *shared, 0))


def clear_matrix(C: Matrix) -> Stmt:
    """Zero in every element of a matrix."""
    zero = constant(0, C.buffer.dtype)
    return nest(
        [C.rows, C.columns],
        lambda i: store(C.region, C.offsets(*i), zero),
        vector_kind(C.buffer),
    )


class ScalarLoops(Instruction):
    """Three loops over logical elements: any types, any strides, every access visible to checks."""

    name = "loops"

    def applies(self, op: Gemm, ctx: LowerContext) -> str | None:
        return "B is in panel form" if op.B.buffer in ctx.forms else None

    def lower(self, op: Gemm, ctx: LowerContext) -> Stmt:
        staging = _Staging(op, ctx)
        A, B = staging.present(op.A, op.transpose_A), staging.present(op.B, op.transpose_B)
        C = staging.written(op.C)
        kind = accumulator_dtype(C.buffer.dtype)
        product = (
            self._dot_products(op, A, B, C, kind)
            if kind != C.buffer.dtype or C.buffer.dtype.elements_per_byte > 1
            else self._row_updates(op, A, B, C)
        )
        return in_range(together(*staging.before, product, *staging.after))

    def _row_updates(self, op: Gemm, A: Matrix, B: Matrix, C: Matrix) -> Stmt:
        """`for i, k, j: C[i, j] += A[i, k] * B[k, j]`."""
        kind = C.buffer.dtype

        def update(i: Expr, k: Expr, j: Expr) -> Stmt:
            a = cast(element(A.region, A.offsets(i, k)), kind)
            b = cast(element(B.region, B.offsets(k, j)), kind)
            at = C.offsets(i, j)
            return store(C.region, at, element(C.region, at) + a * b)

        loops = nest([op.M, op.K, op.N], lambda i: update(*i))
        return together(when(op.clear_accum, clear_matrix(C)), loops)

    def _dot_products(self, op: Gemm, A: Matrix, B: Matrix, C: Matrix, kind: dtype) -> Stmt:
        """`for i, j: C[i, j] += sum_k A[i, k] * B[k, j]`, the sum in a wider type."""
        total = Buffer("total", (1,), kind, VAR, span=op.node.span)
        here = (as_expr(0),)
        value = BufferLoad(total, here)

        def add(i: Expr, j: Expr, k: Expr) -> Stmt:
            a = cast(element(A.region, A.offsets(i, k)), kind)
            b = cast(element(B.region, B.offsets(k, j)), kind)
            return BufferStore(total, value + a * b, here)

        def cell(i: Expr, j: Expr) -> Stmt:
            at = C.offsets(i, j)
            old = cast(element(C.region, at), kind)
            start = if_then_else(op.clear_accum, constant(0, kind), old)
            return together(
                BufferStore(total, start, here),
                loop("k", op.K, lambda k: add(i, j, k)),
                store(C.region, at, value),
            )

        loops = nest([op.M, op.N], lambda i: cell(*i), LoopKind.SERIAL)
        return together(Allocate(total), loops)


def accumulator_dtype(kind: dtype) -> dtype:
    """The type in which sums of `kind` are formed: float32 for the floats below it."""
    return dtype("float32") if kind.is_float and kind.bits < 32 else kind
