"""`T.fill` and `T.clear`: one value into every element of a region."""

from __future__ import annotations

from tilelang.ir.expr import Expr, as_expr, is_const
from tilelang.ir.region import are_equal, non_unit_axes
from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator
from tilelang.tileop.context import LayoutContext


class Fill(TileOperator):
    """Operand `dst` (written), value `value` of the buffer's dtype."""

    instructions = {
        "c": ("tilelang.tileop.cpu.panels:PanelClear", "tilelang.tileop.cpu.fill:LoopFill")
    }

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.dst = node.region("dst")
        self.value: Expr = node.value("value")
        self.axes = non_unit_axes(self.dst.extents)

    @property
    def covers_buffer(self) -> bool:
        """Whether every element of the buffer is written."""
        shape = zip(self.dst.extents, self.dst.buffer.shape)
        return all(is_const(s, 0) for s in self.dst.starts) and all(
            are_equal(e, as_expr(n)) for e, n in shape
        )

    @property
    def is_clear(self) -> bool:
        """Whether all bits of the stored values are zero."""
        return is_const(self.value, 0)

    def infer(self, ctx: LayoutContext) -> None:
        if self.covers_buffer and self.is_clear:
            ctx.accepts(self.dst.buffer)
        else:
            ctx.needs_plain(self.dst.buffer)
