"""The pass that decides in which physical form each buffer of a launch is kept."""

from __future__ import annotations

from tilelang.ir.annotation import LAYOUTS
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, BufferRegion
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node, replace
from tilelang.ir.stmt import Allocate, Attr, BufferStore, Launch
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import Mutator, Visitor
from tilelang.tileop.context import LayoutContext
from tilelang.tileop.registry import operator_for
from tilelang.transform.context import PassContext


def infer_layouts(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Ask every tile operation which form it wants, and note the forms that all users agree on.

    Needs: tile form. Leaves: tile form, with `Attr(LAYOUTS, ...)` around the body of a launch in
    which some buffer is not row-major. Checked builds keep everything row-major.

        launch { copy(B, B_shared); gemm(A_shared, B_shared, C) }
    --> launch { layouts(B_shared: panels of 32 columns) { copy(B, B_shared); gemm(...) } }
    """
    if ctx.sanitize:
        return func
    return _NoteForms(ctx).mutate(func)


class _NoteForms(Mutator):
    def __init__(self, ctx: PassContext) -> None:
        self.ctx = ctx

    def mutate_Launch(self, node: Launch) -> Launch:
        uses = _Uses(LayoutContext(self.ctx.target))
        uses.visit(node.body)
        chosen = uses.layouts.decide(uses.eligible())
        if not chosen:
            return node
        return replace(node, body=Attr(LAYOUTS, tuple(chosen.items()), node.body, span=node.span))


class _Uses(Visitor):
    """Collects who touches which buffer, and how."""

    def __init__(self, layouts: LayoutContext) -> None:
        self.layouts = layouts
        self.allocated: list[Buffer] = []
        self.seen: dict[Buffer, None] = {}

    def eligible(self) -> set[Buffer]:
        """Buffers allocated here that no other buffer shares its storage with."""
        owners: dict[object, int] = {}
        for buffer in {**self.seen, **dict.fromkeys(self.allocated)}:
            owners[buffer.data] = owners.get(buffer.data, 0) + 1
        return {b for b in self.allocated if owners[b.data] == 1}

    def visit_Allocate(self, node: Allocate) -> None:
        self.allocated.append(node.buffer)
        self.visit_children(node)

    def visit_TileOp(self, node: TileOp) -> None:
        operator = operator_for(node)
        operator.infer(self.layouts)
        for operand in node.operands:
            self.seen[operand.region.buffer] = None
            for bounds in operand.region.ranges:
                self.visit(bounds)
        for _, value in node.values:
            self.visit(value)

    def visit_BufferLoad(self, node: BufferLoad) -> None:
        self._plain(node, node.buffer)

    def visit_BufferStore(self, node: BufferStore) -> None:
        self._plain(node, node.buffer)

    def visit_BufferRegion(self, node: BufferRegion) -> None:
        self._plain(node, node.buffer)

    def _plain(self, node: Node, buffer: Buffer) -> None:
        self.seen[buffer] = None
        self.layouts.needs_plain(buffer)
        self.visit_children(node)
