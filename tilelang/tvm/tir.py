"""Expressions, statements, buffers and functions, under the reference's names.

Functions of expressions are those of `tilelang.language`.
"""

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
    Broadcast,
    BufferLoad,
    BufferRegion,
    Call,
    Cast,
    Div,
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
    Select,
    StringImm,
    Sub,
    Var,
    ceildiv,
    floordiv,
    floormod,
    if_then_else,
    truncdiv,
    truncmod,
)
from tilelang.ir.expr import Expr as PrimExpr
from tilelang.ir.expr import constant as const
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Allocate, BufferStore, Evaluate, For, Stmt, While
from tilelang.ir.stmt import Assert as AssertStmt
from tilelang.ir.stmt import Attr as AttrStmt
from tilelang.ir.stmt import Bind as LetStmt
from tilelang.ir.stmt import If as IfThenElse
from tilelang.ir.stmt import LoopKind as ForKind
from tilelang.ir.stmt import Seq as SeqStmt
from tilelang.language import (
    abs,
    address_of,
    all,
    any,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    call_extern,
    call_pure_extern,
    ceil,
    cos,
    erf,
    exp,
    exp2,
    floor,
    infinity,
    isinf,
    isnan,
    likely,
    log,
    log2,
    max,
    max_value,
    min,
    min_value,
    nearbyint,
    pow,
    reinterpret,
    round,
    rsqrt,
    shift_left,
    shift_right,
    sigmoid,
    sin,
    sqrt,
    tan,
    tanh,
    trunc,
)

__all__ = [
    "Add", "Allocate", "And", "AssertStmt", "AttrStmt", "Broadcast", "Buffer", "BufferLoad",
    "BufferRegion", "BufferStore", "Call", "Cast", "Div", "EQ", "Evaluate", "FloatImm", "FloorDiv",
    "FloorMod", "For", "ForKind", "GE", "GT", "IfThenElse", "IntImm", "LE", "LT", "Let", "LetStmt",
    "Max", "Min", "Mul", "NE", "Not", "Or", "PrimExpr", "PrimFunc", "Ramp", "Select", "SeqStmt",
    "Stmt", "StringImm", "Sub", "Var", "While", "abs", "address_of", "all", "any", "bitwise_and",
    "bitwise_or", "bitwise_xor", "call_extern", "call_pure_extern", "ceil", "ceildiv", "const",
    "cos", "erf", "exp", "exp2", "floor", "floordiv", "floormod", "if_then_else", "infinity",
    "isinf", "isnan", "likely", "log", "log2", "max", "max_value", "min", "min_value", "nearbyint",
    "pow", "reinterpret", "round", "rsqrt", "shift_left", "shift_right", "sigmoid", "sin", "sqrt",
    "tan", "tanh", "trunc", "truncdiv", "truncmod",
]  # fmt: skip
