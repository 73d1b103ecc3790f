"""Atomic updates of a whole tile: `dst[...] = op(dst[...], value)`, element by element.

Operand `dst` (read and written); either an operand `src` (a tile of values) or a value `value` (one
for all); attributes `kind` ("add", "max", "min") and `memory_order` (a number). Elements of the
tile that lie outside `dst` are not updated.
"""

from __future__ import annotations

from tilelang.errors import Span
from tilelang.ir.expr import BufferLoad, BufferRegion, Call, Expr, as_expr, cast
from tilelang.ir.region import AxisPair, non_unit_axes, pair_axes
from tilelang.ir.stmt import Evaluate, Stmt
from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator
from tilelang.tileop.loops import element, shifted, spread


class Atomic(TileOperator):
    """Facts of one tile of atomic updates."""

    instructions = {"c": ("tilelang.tileop.cpu.atomic:AtomicLoops",)}

    def __init__(self, node: TileOp) -> None:
        super().__init__(node)
        self.dst = node.region("dst")
        self.kind: str = node.attribute("kind")
        self.memory_order: int = node.attribute("memory_order", 0)
        self.src: BufferRegion | None = None
        self.value: Expr | None = None
        if any(o.name == "src" for o in node.operands):
            self.src = node.region("src")
            self.pairs = pair_axes(self.src.extents, self.dst.extents)
        else:
            self.value = node.value("value")
            self.pairs = tuple(AxisPair(None, a) for a in non_unit_axes(self.dst.extents))

    @property
    def dst_axes(self) -> list[int]:
        """Axis of `dst` under each loop."""
        return [p.second for p in self.pairs if p.second is not None]

    @property
    def src_axes(self) -> list[int]:
        """Axis of `src` under each loop."""
        return [p.first for p in self.pairs if p.first is not None]

    @property
    def extents(self) -> list[Expr]:
        """Iterations of each loop: the values' side decides where there is one."""
        if self.src is None:
            return [self.dst.extents[a] for a in self.dst_axes]
        return [self.src.extents[a] for a in self.src_axes]

    def update(self, indices: tuple[Expr, ...], span: Span | None = None) -> Stmt:
        """The update of one element, at `indices` of the loops."""
        buffer = self.dst.buffer
        target = BufferLoad(buffer, shifted(self.dst, spread(self.dst, self.dst_axes, indices)))
        if self.src is not None:
            value = element(self.src, spread(self.src, self.src_axes, indices))
        else:
            assert self.value is not None, "a tile of atomics has values or one value"
            value = self.value
        args = (target, cast(value, buffer.dtype), as_expr(self.memory_order))
        return Evaluate(Call(f"atomic_{self.kind}", args, buffer.dtype), span=span)
