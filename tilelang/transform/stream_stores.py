"""The pass that sends large outputs past the caches."""

from __future__ import annotations

from collections.abc import Collection

from tilelang.ir.buffer import GLOBAL, LOCAL, Buffer, extent_of, row_major_strides
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    Var,
    as_expr,
    call,
    const_value,
    floordiv,
    sub,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import (
    Allocate,
    Bind,
    BufferStore,
    Evaluate,
    For,
    LoopKind,
    Seq,
    Stmt,
    seq,
)
from tilelang.ir.visitor import Mutator, substitute, used_vars, walk
from tilelang.transform.context import PassContext
from tilelang.transform.facts import Facts

# An output of this size leaves the last-level cache of common machines (8 to 32 MiB) before anyone
# reads it; a smaller one may still be there for the next kernel.
STREAMED_BYTES = 48 << 20
CHUNK_BYTES = 256  # staged at a time: a few vector registers


def stream_stores(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Write whole lines of large outputs with streaming stores.

    Needs: thread form, guards in place. Leaves: thread form; the vectorised loops that fill a
    parameter of at least `STREAMED_BYTES`, which the function only writes, go chunk by chunk
    through a register-sized buffer and `tl_stream_store`.

        for j in vectorized(4096): Y[i, j] = x[j] * s
    --> for c in serial(64): for j in vectorized(64): line[j] = x[c * 64 + j] * s
                             tl_stream_store(&Y[i, c * 64], line, 256)
    """
    if ctx.sanitize:
        return func
    outputs = _streamed_outputs(func)
    return _Stream(outputs).mutate(func) if outputs else func


def _streamed_outputs(func: PrimFunc) -> set[Buffer]:
    """Large dense parameters whose storage the function stores to and never reads or points at."""
    touched = {n.buffer.data for n in walk(func.body) if isinstance(n, BufferLoad)}
    stored = {n.buffer for n in walk(func.body) if isinstance(n, BufferStore)}
    names: dict[Var, int] = {}
    for buffer in stored:
        names[buffer.data] = names.get(buffer.data, 0) + 1
    return {
        b for b in func.buffer_params
        if b in stored and b.data not in touched and names[b.data] == 1 and _is_large(b)
    }  # fmt: skip


def _is_large(buffer: Buffer) -> bool:
    count = buffer.num_elements
    return (
        buffer.scope() == GLOBAL
        and _is_row_major(buffer)
        and buffer.dtype.elements_per_byte == 1
        and isinstance(count, int)
        and count * buffer.dtype.itemsize >= STREAMED_BYTES
    )


def _is_row_major(buffer: Buffer) -> bool:
    """Whether neighbours along the last axis are neighbours in memory, and rows follow rows."""
    strides = buffer.declared_strides
    if strides is None:
        return True
    constant = all(isinstance(s, int) for s in (*strides, *buffer.shape))
    return constant and strides == row_major_strides(buffer.shape)


class _Stream(Mutator):
    def __init__(self, outputs: Collection[Buffer]) -> None:
        self.outputs = outputs

    def mutate_For(self, node: For) -> Stmt:
        if node.kind is LoopKind.VECTORIZED and not node.annotations:
            binds, store = _single_store(node.body)
            if store is not None and store.buffer in self.outputs:
                place = _place(binds, store)
                if _is_dense(place, node.var):
                    return _streamed(node, binds, store, place)
        return self.mutate_children(node)


def _single_store(body: Stmt) -> tuple[list[Bind], BufferStore | None]:
    """The one store of a loop body, and the names bound before it."""
    stmts = list(body.stmts) if isinstance(body, Seq) else [body]
    *before, last = stmts or [body]
    binds = [s for s in before if isinstance(s, Bind)]
    if len(binds) != len(before) or not isinstance(last, BufferStore) or last.value.dtype.lanes > 1:
        return [], None
    return binds, last


def _place(binds: list[Bind], store: BufferStore) -> BufferLoad:
    """The element stored to, said without the names bound in the loop body."""
    values: dict[Var, Expr] = {}
    for bind in binds:
        values[bind.var] = substitute(bind.value, values)
    return BufferLoad(store.buffer, tuple(substitute(index, values) for index in store.indices))


def _is_dense(place: BufferLoad, var: Var) -> bool:
    """Whether iterations over `var` reach neighbours, in order."""
    *outer, last = place.indices
    if any(var in used_vars(index) for index in outer):
        return False
    step = sub(substitute(last, {var: var + 1}), last)
    return const_value(Facts().simplify(step)) == 1


def _streamed(node: For, binds: list[Bind], store: BufferStore, place: BufferLoad) -> Stmt:
    """The loop cut into chunks of constant length, and a plain loop over what is left."""
    kind = store.buffer.dtype
    length = CHUNK_BYTES // kind.itemsize
    line = Buffer("line", (length,), kind, LOCAL, span=node.span)
    chunk, lane = Var("chunk", node.var.dtype), Var(node.var.name, node.var.dtype)
    first = node.start + chunk * length
    staged = replace(store, buffer=line, indices=(lane,))
    body = _at(binds, staged, node.var, first + lane)
    fill = For(
        lane, as_expr(0), as_expr(length), LoopKind.VECTORIZED, seq(body), span=node.span
    )  # fmt: skip
    target, source = _address(substitute(place, {node.var: first})), _address(line.load(0))
    move = Evaluate(
        call("tl_stream_store", target, source, CHUNK_BYTES, dtype="handle"), span=store.span
    )
    count = floordiv(node.extent, length)
    steps = seq([Allocate(line, span=node.span), fill, move])
    chunks = For(chunk, as_expr(0), count, LoopKind.SERIAL, steps, span=node.span)
    rest = node.start + count * length
    left = extent_of(Facts().simplify(node.extent - count * length))
    if left == 0:
        return chunks
    return seq([chunks, replace(node, start=rest, extent=as_expr(left))])


def _at(binds: list[Bind], store: BufferStore, var: Var, position: Expr) -> list[Stmt]:
    """A loop body's bindings, renamed, and its store, with the values they have at `position`."""
    fresh = {b.var: Var(b.var.name, b.var.dtype) for b in binds}
    values = {var: position, **fresh}
    return [
        *(replace(b, var=fresh[b.var], value=substitute(b.value, values)) for b in binds),
        replace(store, value=substitute(store.value, values)),
    ]


def _address(place: Expr) -> Call:
    return call("address_of", place, dtype="handle")
