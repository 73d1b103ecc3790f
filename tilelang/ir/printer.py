"""IR to text. `to_text`: one node, for people and messages. `to_script`: a function, as Python."""

from __future__ import annotations

from tilelang.ir.expr import (
    BinaryOp, BitNot, Broadcast, BufferLoad, BufferRegion, Call, Cast, FloatImm, IntImm, Let, Not, Ramp,
    Range, Select, StringImm, Var,
)
from tilelang.ir.node import Node


def to_text(node: Node) -> str:
    """One line for an expression."""
    match node:
        case Var():
            return node.name
        case IntImm() | FloatImm():
            return str(bool(node.value)) if node.dtype.is_bool else str(node.value)
        case StringImm():
            return repr(node.value)
        case BinaryOp():
            return f"({to_text(node.a)} {node.symbol} {to_text(node.b)})"
        case Not():
            return f"not {to_text(node.a)}"
        case BitNot():
            return f"~{to_text(node.a)}"
        case Select():
            return f"Select({to_text(node.condition)}, {to_text(node.then_value)}, {to_text(node.else_value)})"
        case Cast():
            return f"{node.dtype}({to_text(node.value)})"
        case BufferLoad():
            return f"{node.buffer.name}[{', '.join(map(to_text, node.indices))}]"
        case BufferRegion():
            return f"{node.buffer.name}[{', '.join(map(to_text, node.ranges))}]"
        case Range():
            return f"{to_text(node.start)}:{to_text(node.start + node.extent)}"
        case Ramp():
            return f"Ramp({to_text(node.base)}, {to_text(node.stride)}, {node.lanes})"
        case Broadcast():
            return f"Broadcast({to_text(node.value)}, {node.lanes})"
        case Let():
            return f"Let({node.var.name} = {to_text(node.value)}, {to_text(node.body)})"
        case Call():
            return f"{node.op}({', '.join(map(to_text, node.args))})"
        case _:
            return f"<{type(node).__name__}>"
