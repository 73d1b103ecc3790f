"""Negative indices count from the end of their axis: decided here, or per lane of a vector."""

from __future__ import annotations

from typing import Any

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Expr,
    IntImm,
    Ramp,
    Range,
    as_expr,
    select,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import BufferStore
from tilelang.transform.context import PassContext
from tilelang.transform.scoped import ScopedMutator


def wrap_negative_indices(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Add the extent to every scalar index, and start of a region, that is proved negative.

    Needs: tile form. Leaves: the same; a scalar index whose sign cannot be decided stays as it is,
    lanes of a vector index are looked at when they run.

        for i in serial(4): B[i] = A[-1 - i]   -->   for i in serial(4): B[i] = A[-1 - i + n]
        A[Ramp(s, 1, 4)]   -->   A[Select(Ramp(s, 1, 4) < 0, Ramp(s, 1, 4) + n, Ramp(s, 1, 4))]
    """
    del ctx  # the same on every target
    return _Wrap().mutate(func)


class _Wrap(ScopedMutator):
    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        indices = self._wrapped(node.buffer, node.indices)
        return node if indices is node.indices else replace(node, indices=indices)

    def mutate_BufferStore(self, node: BufferStore) -> Any:
        indices = self._wrapped(node.buffer, node.indices)
        return self.rebuilt(node, value=self.mutate(node.value), indices=indices)

    def mutate_BufferRegion(self, node: BufferRegion) -> BufferRegion:
        ranges = tuple(self._range(r, node.buffer, axis) for axis, r in enumerate(node.ranges))
        unchanged = all(a is b for a, b in zip(ranges, node.ranges))
        return node if unchanged else replace(node, ranges=ranges)

    def _range(self, node: Range, buffer: Buffer, axis: int) -> Range:
        start = self._index(self.mutate(node.start), buffer, axis)
        return self.rebuilt(node, start=start, extent=self.mutate(node.extent))

    def _wrapped(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        made = tuple(self._index(self.mutate(i), buffer, d) for d, i in enumerate(indices))
        return indices if all(a is b for a, b in zip(made, indices)) else made

    def _index(self, index: Expr, buffer: Buffer, axis: int) -> Expr:
        if index.dtype.kind != "int":
            return index
        if index.dtype.lanes > 1:
            return self._vector(index, as_expr(buffer.shape[axis]))
        if isinstance(index, IntImm):
            is_negative = index.value < 0
        else:
            is_negative = self.facts.can_prove(index < 0)
        return index + as_expr(buffer.shape[axis]) if is_negative else index

    def _vector(self, index: Expr, extent: Expr) -> Expr:
        """Ends of a ramp decide for all its lanes; other vectors are decided lane by lane."""
        if isinstance(index, Ramp):
            ends = (index.base, index.base + index.stride * (index.dtype.lanes - 1))
            if all(self.facts.can_prove(end >= 0) for end in ends):
                return index
            if all(self.facts.can_prove(end < 0) for end in ends):
                return Ramp(ends[0] + extent, index.stride, index.lanes)
        return select(index < 0, index + extent, index)
