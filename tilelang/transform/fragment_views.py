"""Views of fragments with elements of another size.

In: tile form for a GPU whose statements may name views of fragments. Out: the same where such a
statement works on a view of a copy in shared memory, made before and, if it writes, read back after
it: a thread holds whole elements, not their parts. Views of the same size stay (`fragment_names`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tilelang.ir.buffer import SHARED_DYN, Buffer
from tilelang.ir.expr import Var
from tilelang.ir.stmt import Allocate, BufferStore, Stmt, seq
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.ir.visitor import substitute, used_buffers, walk

Owners = Mapping[Var, Buffer]


def owners_in(body: Stmt) -> dict[Var, Buffer]:
    """The fragment that each storage was allocated as."""
    return {
        n.buffer.data: n.buffer
        for n in walk(body)
        if isinstance(n, Allocate) and n.buffer.is_fragment
    }


def through_shared(stmt: Stmt, owners: Owners) -> Stmt:
    """`stmt`, a nest or a tile operation, without such views of fragments.

    copy(view(f), Z)  -->  f_shared = f;  copy(view(f_shared), Z)
    """
    viewed = {
        b.data: owners[b.data]
        for b in used_buffers(stmt)
        if b.data in owners and owners[b.data].dtype.bits != b.dtype.bits
    }
    if not viewed:
        return stmt
    before: list[Stmt] = []
    after: list[Stmt] = []
    passed: dict[Buffer, Buffer] = {}
    written = {b.data for b in _written(stmt)}
    for data, owner in viewed.items():
        made = Buffer(f"{owner.name}_shared", owner.shape, owner.dtype, SHARED_DYN, span=owner.span)
        before += [Allocate(made, span=stmt.span), _copy(owner, made, stmt)]
        if data in written:
            after.append(_copy(made, owner, stmt))
        for buffer in used_buffers(stmt):
            if buffer.data is data:
                passed[buffer] = made if buffer is owner else _seen_as(buffer, made)
    return seq([*before, substitute(stmt, buffers=passed), *after])


def _seen_as(view: Buffer, of: Buffer) -> Buffer:
    return Buffer(
        view.name, view.shape, view.dtype, SHARED_DYN, strides=view.declared_strides,
        data=of.data, elem_offset=view.elem_offset, span=view.span,
    )  # fmt: skip


def _copy(src: Buffer, dst: Buffer, place: Stmt) -> TileOp:
    operands = (TileOperand("src", src.region(), "r"), TileOperand("dst", dst.region(), "w"))
    return TileOp("copy", operands, span=place.span)


def _written(stmt: Stmt) -> list[Buffer]:
    found: list[Buffer] = []
    for node in walk(stmt):
        if isinstance(node, BufferStore):
            found.append(node.buffer)
        elif isinstance(node, TileOp):
            found += [o.region.buffer for o in node.operands if o.is_written]
    return found
