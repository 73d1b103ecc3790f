"""`T.copy`: a tile from one buffer to another.

Operands `src` (read) and `dst` (written), reconciled by the language. Reads outside the source
buffer deliver its safe value, writes outside the destination buffer do not happen. How it runs
stands in the instruction rows.
"""

from __future__ import annotations

from tilelang.ir.buffer import FRAGMENT, GLOBAL, LOCAL, VAR, Buffer
from tilelang.ir.expr import BufferRegion, Expr, as_expr, is_const
from tilelang.ir.region import AxisPair, are_equal, pair_axes
from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator
from tilelang.tileop.clip import Interval, fixed_axes_inside, region_intervals
from tilelang.tileop.context import LayoutContext, LowerContext

_DISTANCE = {LOCAL: 0, VAR: 0, FRAGMENT: 0, GLOBAL: 2}  # from the registers; shared memory is 1


def distance(buffer: Buffer) -> int:
    """How far a scope lies from the registers."""
    return _DISTANCE.get(buffer.scope(), 1)


class Copy(TileOperator):
    """Facts of one copy.

    Attributes:
        src, dst: the regions.
        pairs: the loops, outermost first, as axes of `src` and `dst`.
        extents: iterations of each loop: those of the side nearer to the registers.
    """

    instructions = {
        "c": (
            "tilelang.tileop.cpu.panels:PanelPack",
            "tilelang.tileop.cpu.copy:LoopCopy",
        )
    }

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.src: BufferRegion = node.region("src")
        self.dst: BufferRegion = node.region("dst")
        self.pairs: tuple[AxisPair, ...] = pair_axes(self.src.extents, self.dst.extents)
        leader, of = self.src.extents, [p.first for p in self.pairs]
        if distance(self.dst.buffer) < distance(self.src.buffer):
            leader, of = self.dst.extents, [p.second for p in self.pairs]
        self.extents: list[Expr] = [leader[axis] for axis in of if axis is not None]

    @property
    def src_axes(self) -> list[int]:
        """Axis of `src` under each loop."""
        return [p.first for p in self.pairs if p.first is not None]

    @property
    def dst_axes(self) -> list[int]:
        """Axis of `dst` under each loop."""
        return [p.second for p in self.pairs if p.second is not None]

    @property
    def covers_destination(self) -> bool:
        """Whether every element of the destination buffer is written."""
        starts = all(is_const(s, 0) for s in self.dst.starts)
        whole = all(
            are_equal(e, as_expr(n)) for e, n in zip(self.dst.extents, self.dst.buffer.shape)
        )
        loops = all(are_equal(e, self.dst.extents[a]) for e, a in zip(self.extents, self.dst_axes))
        return starts and whole and loops

    def infer(self, ctx: LayoutContext) -> None:
        """A whole tile that keeps its type can be written in any form."""
        ctx.needs_plain(self.src.buffer)
        same_type = self.src.buffer.dtype == self.dst.buffer.dtype
        if same_type and self.covers_destination and len(self.pairs) == 2:
            ctx.accepts(self.dst.buffer)
        else:
            ctx.needs_plain(self.dst.buffer)

    def source_intervals(self, ctx: LowerContext) -> list[Interval]:
        """Per loop, the iterations that read inside the source buffer."""
        return region_intervals(ctx, self.src, self.src_axes, self.extents)

    def destination_intervals(self, ctx: LowerContext) -> list[Interval]:
        """Per loop, the iterations that write inside the destination buffer."""
        return region_intervals(ctx, self.dst, self.dst_axes, self.extents)

    def source_is_there(self, ctx: LowerContext) -> Expr:
        """Condition: the axes of `src` under no loop are in range."""
        return fixed_axes_inside(ctx, self.src, self.src_axes)

    def destination_is_there(self, ctx: LowerContext) -> Expr:
        """Condition: the axes of `dst` under no loop are in range."""
        return fixed_axes_inside(ctx, self.dst, self.dst_axes)
