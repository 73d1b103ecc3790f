"""Bank conflicts of nests in shared memory, and layouts of shared buffers that avoid them.

In: the nests of a launch with all fragments known. Out: for each shared buffer that nests alone
access, and whose row-major storage makes the threads of some access wait for each other more than
twice, the layout that ends it, where there is one: 16-byte chunks of a row exchanged by the number
of the row, or rows that are one chunk longer. Other buffers stay row-major. It emits nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, Var, const_value
from tilelang.ir.stmt import For, LoopKind, Stmt
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import used_vars, walk
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout, static_shape
from tilelang.layout.swizzle import make_padded_layout
from tilelang.transform.nests import Access, Nest, Partition, partition_of

_MOST_STEPS = 32  # whose bank conflicts are counted: later ones repeat the pattern
_HARMLESS = 2  # threads that wait for each other cost less than a layout
_CHUNK_BITS = 128
_BANK_CHUNKS = 8  # in the 128 bytes that all banks deliver at once
_TURNS = (1, 2, 4, 8)  # rows that are exchanged alike
Use = tuple[Nest, Partition, Access]


def conflict_free_layouts(
    body: Stmt, layouts: Mapping[Buffer, Fragment], threads: int, free: set[Buffer]
) -> dict[Buffer, Layout]:
    """Layouts of those buffers of `free` that need one, in the order in which they are used."""
    found: dict[Buffer, Layout] = {}
    for buffer, uses in _uses(body, layouts, threads, free).items():
        before = [_degree(use, None) for use in uses]
        if max((d for d, _ in before), default=0) <= _HARMLESS:
            continue
        best = sum(cost for _, cost in before)
        for layout in _candidates(buffer):
            after = [_degree(use, layout) for use in uses]
            cost = sum(c for _, c in after)
            if max(d for d, _ in after) <= _HARMLESS and cost < best:
                found[buffer], best = layout, cost
    return found


def _uses(
    body: Stmt, layouts: Mapping[Buffer, Fragment], threads: int, free: set[Buffer]
) -> dict[Buffer, list[Use]]:
    """Accesses to the shared buffers that nothing but nests of constant extents sees."""
    barred = _barred(body)
    counts: dict[Buffer, int] = {}
    inner: set[For] = set()
    uses: dict[Buffer, list[Use]] = {}
    for node in walk(body):
        if isinstance(node, For) and node.kind is LoopKind.PARALLEL and node not in inner:
            nest = Nest(node)
            inner.update(nest.loops)
            shared = [a for a in nest.accesses if a.buffer.is_shared and a.buffer in free]
            if nest.extents is None or 0 in nest.extents:
                barred |= {a.buffer for a in shared}
            elif shared:
                partition = partition_of(nest, layouts, threads)
                for access in shared:
                    uses.setdefault(access.buffer, []).append((nest, partition, access))
    for node in walk(body):
        buffer = getattr(node, "buffer", None)
        if isinstance(buffer, Buffer) and buffer in uses and _is_access(node):
            counts[buffer] = counts.get(buffer, 0) + 1
    return {
        b: found for b, found in uses.items()
        if b not in barred and b.ndim > 1 and counts.get(b, 0) <= len(found) and _is_plain(b)
    }  # fmt: skip


def _is_access(node: object) -> bool:
    return hasattr(node, "indices")


def _is_plain(buffer: Buffer) -> bool:
    sizes = [const_value(s) for s in (*buffer.shape, *buffer.strides)]
    return buffer.dtype.elements_per_byte == 1 and all(isinstance(n, int) for n in sizes)


def _barred(body: Stmt) -> set[Buffer]:
    """Buffers whose addresses somebody uses, or that operations access in their own way."""
    found: set[Buffer] = set()
    pointers: set[Var] = set()
    for node in walk(body):
        if isinstance(node, TileOp):
            found |= {o.region.buffer for o in node.operands}
        elif isinstance(node, Call) and node.op != "if_then_else":
            if node.op in ("address_of", "access_ptr") or node.op.startswith("atomic_"):
                found |= {a.buffer for a in node.args if isinstance(a, BufferLoad)}
            pointers |= {a for a in node.args if isinstance(a, Var)}
    shared = {n.buffer for n in walk(body) if isinstance(n, BufferLoad)}
    return found | {b for b in shared if b.data in pointers}


def _candidates(buffer: Buffer) -> Iterator[Layout]:
    """Layouts that keep 16-byte chunks together, the smallest first."""
    shape = static_shape(buffer.shape)
    vector = _CHUNK_BITS // buffer.dtype.bits
    if shape[-1] % vector:
        return
    period = math.gcd(shape[-1] // vector, _BANK_CHUNKS)
    if period > 1:
        for turn in _TURNS:
            yield turned_chunks(shape, vector, period, turn)
    yield make_padded_layout(buffer)


def turned_chunks(shape: Sequence[int], vector: int, period: int, turn: int) -> Layout:
    """Chunk `c` of row `r` stands at `c ^ (r // turn % period)`."""

    def forward(*indices: Expr) -> list[Expr]:
        *lead, row, column = indices
        chunk = (column // vector) ^ (row // turn % period)
        return [*lead, row, chunk * vector + column % vector]

    return Layout(shape, forward)


def _degree(use: Use, layout: Layout | None) -> tuple[int, int]:
    """Degree of an access, and the transactions of all its steps together."""
    nest, partition, access = use
    width = min(partition.vector(nest.vector_limit or 8), nest.vector_of(access))
    if layout is not None:
        width = min(width, layout.vector_width(width))
    layouts = {} if layout is None else {access.buffer: layout}
    degree = bank_conflicts(access, partition, width, layout, layouts) or 0
    return degree, degree * (partition.holding.registers // width)


def bank_conflicts(
    access: Access,
    partition: Partition,
    width: int,
    layout: Layout | None,
    layouts: Mapping[Buffer, Layout],
) -> int | None:
    """Degree of an access by `width` elements over the first steps; `None` where it is unknown.

    All enclosing variables are 0: they move all threads alike.
    """
    import numpy as np

    from tilelang.layout.banks import conflict_degree
    from tilelang.layout.evaluate import evaluate

    buffer = access.buffer
    is_view = layout is None and any(b.data is buffer.data for b in layouts)
    sizes = [const_value(s) for s in (*buffer.shape, *buffer.strides)]
    if is_view or any(not isinstance(n, int) for n in sizes):
        return None
    outer = dict.fromkeys(partition.outer_variables(access), 0)
    inside = {v: 0 for i in access.indices for v in used_vars(i)}
    try:
        env, runs = partition.iterations(outer)
        values = [
            np.broadcast_to(evaluate(i, {**inside, **env}), runs.shape)  # type: ignore[arg-type]
            for i in access.indices
        ]
    except (KeyError, TypeError, ZeroDivisionError):
        return None
    shape = [int(n) for n in sizes[: buffer.ndim] if n is not None]
    places = [np.clip(v, 0, n - 1) for v, n in zip(values, shape)]
    if layout is not None:
        offsets = layout.offsets[tuple(places)]
    else:
        strides = [int(n) for n in sizes[buffer.ndim :] if n is not None]
        offsets = sum((p * s for p, s in zip(places, strides)), np.zeros(runs.shape, np.int64))
    addresses = np.where(runs, offsets * buffer.dtype.bits // 8, -1)[:, ::width]
    size = max(1, width * buffer.dtype.bits // 8)
    return conflict_degree(addresses.T[:_MOST_STEPS], size)
