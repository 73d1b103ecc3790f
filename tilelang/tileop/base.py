"""The class behind every tile operation, and the choice among its instructions.

`registry.operator_for` makes a `TileOperator` of a `TileOp` node; the pass `infer_layouts` calls
`infer`, the pass `lower_tile_ops` calls `lower`. How an operation runs on a target is an
`Instruction`; each operator lists its own per target kind, best first.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

from tilelang.errors import TargetError
from tilelang.ir.expr import BufferRegion, Expr
from tilelang.ir.record import record
from tilelang.ir.stmt import Stmt
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.tileop.context import LayoutContext, LayoutNeeds, LowerContext


class Instruction:
    """One way to run an operation on one kind of target. Stateless."""

    name: ClassVar[str]

    def applies(self, op: Any, ctx: LowerContext) -> str | None:
        """`None` when this instruction can run `op`, otherwise the reason why not."""
        raise NotImplementedError

    def details(self, op: Any, ctx: LowerContext) -> tuple[str, ...]:
        """What is worth telling people of how `op` runs; only asked where `applies` gave `None`."""
        del op, ctx
        return ()

    def needs(self, op: Any, ctx: LowerContext) -> LayoutNeeds:
        """Layouts that running `op` so needs; asked before any layout is known."""
        del op, ctx
        return LayoutNeeds()

    def lower(self, op: Any, ctx: LowerContext) -> Stmt:
        """The statements that run `op`; only called where `applies` gave `None`."""
        raise NotImplementedError


@record
class Decision:
    """Which instruction a tile operation got, and why not the ones before it."""

    node: TileOp
    chosen: str
    rejected: tuple[tuple[str, str], ...]  # (instruction, reason)
    details: tuple[str, ...] = ()  # of how it runs, where somebody asked


class TileOperator:
    """One tile operation of a program.

    Attributes:
        instructions: per target kind, `"module:attr"` of each instruction, best first.
    """

    instructions: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, node: TileOp) -> None:
        self.node = node

    def region(self, name: str) -> BufferRegion:
        """The region of operand `name`."""
        return self.node.region(name)

    def regions(self) -> tuple[TileOperand, ...]:
        """What the operation reads and writes."""
        return self.node.operands

    def infer(self, ctx: LayoutContext) -> None:
        """State which layouts the operands need. By default: row-major, as written."""
        for operand in self.regions():
            ctx.needs_plain(operand.region.buffer)

    def lower(self, ctx: LowerContext) -> Stmt:
        """What each thread does.

        Raises:
            TargetError: when no instruction of the target can run the operation.
        """
        return self.choose(ctx).lower(self, ctx)

    def needs(self, ctx: LowerContext) -> LayoutNeeds:
        """Layouts that the operation asks for: those of the first instruction that applies while
        none is known. An operation that takes its operands as they are asks for nothing."""
        for path in self.instructions.get(ctx.target.kind, ()):
            instruction = load_instruction(path)
            if instruction.applies(self, ctx) is None:
                return instruction.needs(self, ctx)
        return LayoutNeeds()

    def choose(self, ctx: LowerContext) -> Instruction:
        """The first instruction that applies; the decision is kept in `ctx.decisions`."""
        rejected: list[tuple[str, str]] = []
        for path in self.instructions.get(ctx.target.kind, ()):
            instruction = load_instruction(path)
            reason = instruction.applies(self, ctx)
            if reason is None:
                details = instruction.details(self, ctx) if ctx.explains else ()
                decision = Decision(self.node, instruction.name, tuple(rejected), details)
                ctx.decisions.append(decision)
                return instruction
            rejected.append((instruction.name, reason))
        raise TargetError(
            f"{self.node.op}: the target `{ctx.target.kind}` cannot run it"
            + "".join(f"\n  {name}: {reason}" for name, reason in rejected),
            self.node.span,
            hint=None if rejected else "this operation exists on other targets only",
        )


_loaded: dict[str, Instruction] = {}


def load_instruction(path: str) -> Instruction:
    """The instruction object named by `"module:attr"`."""
    found = _loaded.get(path)
    if found is None:
        module, _, attr = path.partition(":")
        found = _loaded[path] = getattr(importlib.import_module(module), attr)()
    return found


def box_shape(region: BufferRegion) -> tuple[Expr, ...]:
    """The extents of a region that are not the constant 1."""
    from tilelang.ir.expr import is_const

    return tuple(e for e in region.extents if not is_const(e, 1))
