"""What a program is: types, expressions, buffers, statements, tile operations, functions.

The public names of the IR. Names that are also modules stay modules: `ir.dtype.dtype`,
`ir.verify.verify`. Printing whole functions (`ir.script`) loads on first use, through
`PrimFunc.script()`; so do equality, the printer and the verifier.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    And,
    BinaryOp,
    BitAnd,
    BitNot,
    BitOr,
    BitXor,
    Broadcast,
    BufferLoad,
    BufferRegion,
    Call,
    Cast,
    Div,
    Expr,
    FloatImm,
    FloorDiv,
    FloorMod,
    IntImm,
    Let,
    Max,
    Min,
    Mul,
    Not,
    Or,
    Ramp,
    Range,
    Select,
    ShiftLeft,
    ShiftRight,
    StringImm,
    Sub,
    TruncDiv,
    TruncMod,
    Var,
)
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.node import Node, replace
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Attr,
    Bind,
    Break,
    BufferStore,
    Continue,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
    seq,
)
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.ir.visitor import Mutator, Visitor, substitute, walk

if TYPE_CHECKING:
    from tilelang.ir.equality import structural_equal, structural_hash
    from tilelang.ir.printer import to_text
    from tilelang.ir.verify import VerificationError

# Not needed to trace a kernel, so loaded on first use.
_LATER = {
    "structural_equal": "tilelang.ir.equality",
    "structural_hash": "tilelang.ir.equality",
    "to_text": "tilelang.ir.printer",
    "VerificationError": "tilelang.ir.verify",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'tilelang.ir' has no attribute {name!r}")


__all__ = [
    "EQ", "GE", "GT", "LE", "LT", "NE", "Add", "Allocate", "And", "Assert", "Attr", "BinaryOp",
    "Bind", "BitAnd", "BitNot", "BitOr", "BitXor", "Break", "Broadcast", "Buffer", "BufferLoad",
    "BufferRegion", "BufferStore", "Call", "Cast", "Continue", "Div", "Evaluate", "Expr",
    "FloatImm", "FloorDiv", "FloorMod", "For", "IRModule", "If", "IntImm", "Launch", "Let",
    "LoopKind", "Max", "Min", "Mul", "Mutator", "Node", "Not", "Or", "PrimFunc", "Ramp", "Range",
    "Select", "Seq", "ShiftLeft", "ShiftRight", "Stmt", "StringImm", "Sub", "TileOp",
    "TileOperand", "TruncDiv", "TruncMod", "Var", "VerificationError", "Visitor", "While",
    "replace", "seq", "structural_equal", "structural_hash", "substitute", "to_text", "walk",
]  # fmt: skip
