"""What all nodes share, under the reference's names."""

from tilelang.errors import Span
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import Expr as PrimExpr
from tilelang.ir.expr import Range
from tilelang.ir.func import IRModule
from tilelang.ir.node import Node

__all__ = ["IRModule", "Node", "PrimExpr", "Range", "Span", "structural_equal"]
