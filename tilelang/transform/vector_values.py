"""Vectors that a program has already: moves stay, all else becomes loops over lanes.

In: thread IR with logical indices, from `vectorize_accesses`. Out: the same where every vector is a
move of neighbouring elements that is one legal access at both ends. Bits that pass through another
type on the way (`T.ldg128`, `T.stg128`) are moved as what they are; a name of such a value becomes
a local array. Everything else is left to `split_lanes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    Ramp,
    Var,
    as_expr,
    const_value,
    floordiv,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, Bind, BufferStore, If, Seq, Stmt
from tilelang.transform.scoped import ScopedMutator
from tilelang.transform.split_lanes import split_lanes
from tilelang.transform.vector_moves import VectorMoves

if TYPE_CHECKING:
    from tilelang.transform.context import PassContext


def keep_moves(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Rewrite vector values, but for legal moves.

    Raises:
        TargetError: for an operation that takes vectors as a whole.
    """
    finder = _Moves(func)
    return split_lanes(finder.mutate(func), ctx, finder.is_kept)


class _Moves(ScopedMutator):
    def __init__(self, func: PrimFunc) -> None:
        ScopedMutator.__init__(self)
        self.moves = VectorMoves(func, self.facts)
        self.kept: dict[int, BufferStore] = {}  # by identity
        self.arrays: dict[Var, Buffer] = {}

    def is_kept(self, node: BufferStore) -> bool:
        return id(node) in self.kept

    def mutate_Var(self, node: Var) -> Expr:
        array = self.arrays.get(node)
        return node if array is None else _whole(array)

    def mutate_Bind(self, node: Bind) -> Stmt:
        value = self.mutate(node.value)
        if node.var.dtype.lanes == 1:
            return self.rebuilt(node, value=value)
        array = Buffer(
            node.var.name, (node.var.dtype.lanes,), node.var.dtype.element, LOCAL, span=node.span
        )
        self.moves.aligned.add(array.data)
        place = _whole(array).indices
        stored = self._filled(BufferStore(array, value, place, span=node.span))
        if stored is None:
            return self.rebuilt(node, value=value)
        self.arrays[node.var] = array
        return Seq((Allocate(array, span=node.span), stored))

    def _filled(self, node: BufferStore) -> Stmt | None:
        """The store as a move, under the condition that its value has."""
        value = _peeled(node.value)
        if not isinstance(value, Call) or value.op != "if_then_else":
            return self._move(node)
        condition, inside, outside = value.args
        with self.holding(condition, True, [node]):
            then_body = self._move(replace(node, value=inside))
        if then_body is None:
            return None
        other = replace(node, value=_with_type(outside, node.value.dtype))
        return If(condition, then_body, other, span=node.span)

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        new = ScopedMutator.mutate_children(self, node)
        return new if new.indices[-1].dtype.lanes == 1 else self._filled(new) or new

    def _move(self, node: BufferStore) -> Stmt | None:
        """The store as a legal move, or `None`."""
        value = _peeled(node.value)
        if not isinstance(value, BufferLoad) or not isinstance(node.indices[-1], Ramp):
            return None
        if not all(self.moves.is_legal(a.buffer, a.indices) for a in (node, value)):
            return None
        kind = node.buffer.dtype
        target, source = (node.buffer, node.indices), (value.buffer, value.indices)
        if kind != value.buffer.dtype:
            if _can_be_seen_as(node.buffer, value.buffer.dtype):
                target = self._seen_as(*target, value.buffer.dtype)
            elif _can_be_seen_as(value.buffer, kind):
                source = self._seen_as(*source, kind)
            else:
                return None
        moved = replace(node, buffer=target[0], value=BufferLoad(*source), indices=target[1])
        self.kept[id(moved)] = moved
        return moved

    def _seen_as(
        self, buffer: Buffer, indices: tuple[Expr, ...], kind: dtype
    ) -> tuple[Buffer, tuple[Expr, ...]]:
        """A place in a local array, in elements of another type."""
        size, ramp = const_value(buffer.shape[0]), indices[0]
        assert isinstance(size, int) and isinstance(ramp, Ramp)
        count = size * buffer.dtype.bits // kind.bits
        view = Buffer(f"{buffer.name}_{kind}", (count,), kind, LOCAL, data=buffer.data)
        base = floordiv(ramp.base * buffer.dtype.bits, kind.bits)
        return view, (Ramp(base, as_expr(1), ramp.lanes * buffer.dtype.bits // kind.bits),)


def _peeled(value: Expr) -> Expr:
    """What `value` is a reinterpretation of."""
    while isinstance(value, Call) and value.op == "reinterpret":
        value = value.args[0]
    return value


def _with_type(value: Expr, kind: dtype) -> Expr:
    return value if value.dtype == kind else Call("reinterpret", (value,), kind)


def _whole(array: Buffer) -> BufferLoad:
    size = const_value(array.shape[0])
    assert isinstance(size, int)
    return BufferLoad(array, (Ramp(as_expr(0), as_expr(1), size),))


def _can_be_seen_as(buffer: Buffer, kind: dtype) -> bool:
    """Whether an array of one thread may be read in elements of `kind`."""
    size = const_value(buffer.shape[0])
    is_array = buffer.scope() == LOCAL and buffer.ndim == 1 and isinstance(size, int)
    return is_array and int(size or 0) * buffer.dtype.bits % kind.bits == 0
