"""The panel form of a matrix product's B operand, and the operations that write it.

The micro-kernel (`device/c/gemm.h`) reads B from panels: `[ceil(N/NR)][ceil(K/KP)][NR][KP]`
elements of the form's type. A shared buffer that only feeds such products is kept in that form from
the start (`BPanels`, decided by `infer_layouts`): its T.copy packs, the product reads it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import BufferRegion, Expr, as_expr, ceildiv, constant, is_const
from tilelang.ir.stmt import Allocate, BufferStore, Stmt
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.tileop.base import Instruction
from tilelang.tileop.clip import Interval, Names
from tilelang.tileop.context import LowerContext
from tilelang.tileop.copy import Copy
from tilelang.tileop.fill import Fill
from tilelang.tileop.loops import address, in_range, nest, run, together

# Kinds that bfloat16 holds exactly.
_BF16_KINDS = frozenset(
    [
        "bfloat16",
        "float8_e3m4",
        "float8_e4m3",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e4m3b11fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float6_e2m3fn",
        "float6_e3m2fn",
        "float4_e2m1fn",
        "float4_e2m1_unpacked",
    ]
)


@dataclass(frozen=True)
class PanelForm:
    """Element type, grouping and width of panels: one row of the table in gemm_panel.h.

    Attributes:
        name: the suffix of the device functions.
        element: dtype of a panel element.
        accumulator: dtype of the products' sums.
        group: `KP`, neighbouring k that lie side by side.
        width: `NR`, columns of a panel.
    """

    name: str
    element: str
    accumulator: str
    group: int
    width: int


@dataclass(frozen=True)
class BPanels:
    """B of `K` by `N` in panels; `is_transposed` tells that the program stores it as `[N, K]`."""

    form: PanelForm
    is_transposed: bool
    K: int
    N: int

    @property
    def num_elements(self) -> int:
        """Panel elements, padding included."""
        return panel_elements(self.form, self.N, self.K)


def panel_elements(form: PanelForm, N: int, K: int) -> int:
    """Elements of the panels of a `K` by `N` operand."""
    return ceildiv(N, form.width) * form.width * ceildiv(K, form.group) * form.group


def choose_form(a: dtype, b: dtype, c: dtype, target: Any) -> PanelForm | None:
    """The form in which a product of `a` and `b` into `c` runs; `None` when there is none."""

    def form(name: str, element: str, accumulator: str, group: int) -> PanelForm:
        width = 2 * target.vector_bytes // dtype(accumulator).itemsize
        return PanelForm(name, element, accumulator, group, width)

    if a.is_float and b.is_float:
        if c == "float64":
            return form("f64", "float64", "float64", 1)
        if c not in ("float32", "float16", "bfloat16") or "float64" in (a, b):
            return None
        if a in _BF16_KINDS and b in _BF16_KINDS and target.has("avx512_bf16"):
            return form("bf16", "bfloat16", "float32", 2)
        return form("f32", "float32", "float32", 1)
    if a.is_int and b.is_int and c in ("int32", "uint32") and max(a.bits, b.bits) <= 32:
        if max(a.bits, b.bits) <= 8 and target.has("avx512_vnni"):
            return form("i16", "int16", "int32", 2)
        return form("i32", "int32", "int32", 1)
    return None


def kind_name(kind: dtype) -> str:
    """The name of an element kind in the device headers."""
    return "float32" if kind == "tfloat32" else str(kind)


def is_packable(region: BufferRegion) -> str | None:
    """`None` when the pack functions can read `region`, otherwise the reason why not."""
    if region.buffer.dtype.elements_per_byte > 1:
        rows = region.buffer.strides[-2] if region.buffer.ndim > 1 else 0
        even = isinstance(rows, int) and rows % 2 == 0
        if not even or not all(is_const(s, 0) for s in region.starts):
            return f"{region.buffer.dtype} elements do not start at a byte"
    return None


def pack_b(
    panels: Buffer, form: PanelForm, source: BufferRegion, k_axis: int, n_axis: int,
    K: int, N: int, valid: tuple[Expr, Expr] | None = None,
) -> Stmt:  # fmt: skip
    """Panels of the matrix `source`, whose axes `k_axis` and `n_axis` are K and N.

    Args:
        valid: how many k and n exist; what lies beyond becomes zero.
    """
    strides = source.buffer.strides
    stride_k, stride_n = strides[k_axis], strides[n_axis]
    present = valid if valid is not None else (as_expr(K), as_expr(N))
    name = f"{form.name}_{kind_name(source.buffer.dtype)}"
    to, at = address(panels.region()), address(source)
    if stride_n == 1:
        return run(f"tl_pack_b_rows_{name}", to, at, stride_k, K, N, *present)
    if stride_k == 1:
        return run(f"tl_pack_b_transposed_{name}", to, at, stride_n, K, N, *present)
    return run(f"tl_pack_b_strided_{name}", to, at, stride_k, stride_n, K, N, *present)


def _starts_inside(interval: Interval) -> bool:
    return is_const(interval.low, 0)


class PanelPack(Instruction):
    """A copy into a buffer that is kept in panel form: packs straight from the source."""

    name = "panel_pack"

    def applies(self, op: Copy, ctx: LowerContext) -> str | None:
        return None if op.dst.buffer in ctx.forms else "the destination is not in panel form"

    def lower(self, op: Copy, ctx: LowerContext) -> Stmt:
        panels: BPanels = ctx.forms[op.dst.buffer]
        intervals = op.source_intervals(ctx)
        pads_with_zero = is_const(ctx.safe_value(op.src.buffer, op.dst.buffer.dtype), 0)
        direct = (
            all(_starts_inside(i) for i in intervals)
            and (pads_with_zero or all(i.is_whole for i in intervals))
            and is_const(op.source_is_there(ctx), True)
            and is_packable(op.src) is None
        )
        return in_range(self._direct(op, ctx, panels) if direct else self._staged(op, ctx, panels))

    def _direct(self, op: Copy, ctx: LowerContext, panels: BPanels) -> Stmt:
        names = Names()
        counts = [names.bind("valid", i.count) for i in op.source_intervals(ctx)]
        k, n = (1, 0) if panels.is_transposed else (0, 1)
        pack = pack_b(
            ctx.physical[op.dst.buffer], panels.form, op.src, op.src_axes[k], op.src_axes[n],
            panels.K, panels.N, (counts[k], counts[n]),
        )  # fmt: skip
        return together(*names.stmts, pack)

    def _staged(self, op: Copy, ctx: LowerContext, panels: BPanels) -> Stmt:
        """Through a plain tile: what pads with something else, or starts before its source."""
        dst = op.dst.buffer
        tile = Buffer(f"{dst.name}_tile", dst.shape, dst.dtype, dst.scope(), span=dst.span)
        operands = (TileOperand("src", op.src, "r"), TileOperand("dst", tile.region(), "w"))
        fill = ctx.lower(TileOp("copy", operands, span=op.node.span))
        k, n = (1, 0) if panels.is_transposed else (0, 1)
        pack = pack_b(
            ctx.physical[dst], panels.form, tile.region(), op.dst_axes[k], op.dst_axes[n],
            panels.K, panels.N,
        )  # fmt: skip
        return together(Allocate(tile), fill, pack)


class PanelClear(Instruction):
    """Zero in every element of a buffer that is kept in panel form."""

    name = "panel_clear"

    def applies(self, op: Fill, ctx: LowerContext) -> str | None:
        return None if op.dst.buffer in ctx.forms else "the buffer is not in panel form"

    def lower(self, op: Fill, ctx: LowerContext) -> Stmt:
        physical = ctx.physical[op.dst.buffer]
        zero = constant(0, physical.dtype)
        return nest([physical.shape[0]], lambda i: BufferStore(physical, zero, i))
