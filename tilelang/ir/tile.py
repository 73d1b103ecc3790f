"""Tile operations as nodes: what a block's threads do together, before anyone decides how.

    TileOp(op, operands, values, attributes)
    Operand := TileOperand(name, region, access)

One node class for all operations: the language makes it by name, `tileop` finds the class of that
name and asks it for layouts and for its lowering. The node says by itself which regions are read
and written, so dependence analysis needs no registry.
"""

from __future__ import annotations

from typing import Any, Literal

from tilelang.ir.expr import BufferRegion, Expr
from tilelang.ir.node import Node, node
from tilelang.ir.stmt import Annotations, Stmt, annotation

Access = Literal["r", "w", "rw"]


@node
class TileOperand(Node):
    """A region and what the operation does with it."""

    name: str
    region: BufferRegion
    access: Access

    @property
    def is_read(self) -> bool:
        return "r" in self.access

    @property
    def is_written(self) -> bool:
        return "w" in self.access


@node
class TileOp(Stmt):
    """`op` is a key of the tile-operator registry; `values` are named run-time scalars."""

    op: str
    operands: tuple[TileOperand, ...]
    values: tuple[tuple[str, Expr], ...] = ()
    attributes: Annotations = ()

    def region(self, name: str) -> BufferRegion:
        """The region of the operand called `name`."""
        return next(o.region for o in self.operands if o.name == name)

    def value(self, name: str) -> Expr:
        """The run-time scalar called `name`."""
        return next(v for n, v in self.values if n == name)

    def attribute(self, name: str, default: Any = None) -> Any:
        """The compile-time attribute called `name`."""
        return annotation(self.attributes, name, default)

    @property
    def reads(self) -> tuple[BufferRegion, ...]:
        return tuple(o.region for o in self.operands if o.is_read)

    @property
    def writes(self) -> tuple[BufferRegion, ...]:
        return tuple(o.region for o in self.operands if o.is_written)
