"""Two neighbouring conversions from float32 to a narrow float become one.

In: an unrolled loop of one thread. Out: the loop over pairs, in which a store of a converted value
to a local array is a store of both halves of a word,

    for v in unroll(8): D[v] = float16(f(v))
    -->  for v in unroll(4): D_words[v] = tl_float32x2_to_float16x2(f(2 * v), f(2 * v + 1))

where neighbours of the loop are neighbours in the array; else the loop as it was.
"""

from __future__ import annotations

from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Cast,
    Expr,
    FloatImm,
    Var,
    as_expr,
    cast,
    const_value,
    floordiv,
)
from tilelang.ir.node import replace
from tilelang.ir.ops import has_side_effect
from tilelang.ir.stmt import BufferStore, For, LoopKind, Seq, Stmt, seq
from tilelang.ir.visitor import substitute, walk
from tilelang.transform.affine import split_linear
from tilelang.transform.facts import Facts

# Conversions of packed.h: type -> type of a pair.
PAIRS = {
    "float16": "uint32", "bfloat16": "uint32", "float8_e4m3": "uint16", "float8_e4m3fn": "uint16",
    "float8_e5m2": "uint16",
}  # fmt: skip


def in_pairs(loop: For, facts: Facts, *, is_parallel: bool = False) -> Stmt:
    """`loop` with its conversions in pairs.

    Args:
        facts: what holds where the loop stands.
        is_parallel: the order of the iterations does not matter.
    """
    count = const_value(loop.extent)
    is_even = isinstance(count, int) and count % 2 == 0 and count > 0
    if loop.kind is not LoopKind.UNROLLED or not is_even or const_value(loop.start) != 0:
        return loop
    assert isinstance(count, int)
    body = loop.body.stmts if isinstance(loop.body, Seq) else (loop.body,)
    stores = [s for s in body if isinstance(s, BufferStore)]
    if len(stores) != len(body) or (len(body) > 1 and not is_parallel):
        return loop
    words = [_word_index(s, loop.var, facts) for s in stores]
    if all(w is None for w in words):
        return loop
    half: Expr = as_expr(0) if count == 2 else Var(loop.var.name, loop.var.dtype)
    out: list[Stmt] = []
    for store, word in zip(stores, words):
        low, high = (substitute(store, {loop.var: half * 2 + k}) for k in range(2))
        if word is None:
            out += [low, high]
        else:
            out.append(_pair(low, high, substitute(word, {loop.var: half * 2})))
    if not isinstance(half, Var):
        return seq(out)
    return replace(loop, var=half, extent=as_expr(count // 2), body=seq(out))


def _word_index(node: BufferStore, var: Var, facts: Facts) -> Expr | None:
    """First element of the pair that `node` stores; `None` where it stores no half of a word."""
    buffer, value = node.buffer, node.value
    if buffer.dtype not in PAIRS or buffer.scope() != LOCAL or buffer.ndim != 1:
        return None
    is_ready = isinstance(value, (BufferLoad, FloatImm))
    if is_ready or has_side_effect(value):
        return None
    if any(isinstance(n, BufferLoad) and n.buffer.data is buffer.data for n in walk(value)):
        return None
    size = const_value(buffer.shape[0])
    parts = split_linear(facts.simplify(node.indices[0]), var)
    if not isinstance(size, int) or size % 2 or parts is None or parts[0] != 1:
        return None
    return node.indices[0] if facts.can_prove((parts[1] % 2).__eq__(0)) else None


def _pair(low: BufferStore, high: BufferStore, index: Expr) -> Stmt:
    buffer = low.buffer
    kind = dtype(PAIRS[buffer.dtype])
    size = const_value(buffer.shape[0])
    assert isinstance(size, int)
    words = Buffer(f"{buffer.name}_words", (size // 2,), kind, LOCAL, data=buffer.data)
    args = (_wide(low.value), _wide(high.value))
    value = Call(f"tl_float32x2_to_{buffer.dtype}x2", args, kind)
    return BufferStore(words, value, (floordiv(index, 2),), span=low.span)


def _wide(value: Expr) -> Expr:
    """`value` before it is rounded."""
    inner = value.value if isinstance(value, Cast) else value
    return cast(inner, dtype("float32"))
