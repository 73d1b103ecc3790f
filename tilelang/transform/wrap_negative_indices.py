"""Indices that are certainly negative count from the end of their axis."""

from __future__ import annotations

from typing import Any

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, BufferRegion, Expr, IntImm, Range, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import BufferStore
from tilelang.transform.context import PassContext
from tilelang.transform.scoped import ScopedMutator


def wrap_negative_indices(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Add the extent to every scalar index, and start of a region, that is proved negative.

    Needs: tile form. Leaves: the same; an index whose sign cannot be decided stays as it is.

        for i in serial(4): B[i] = A[-1 - i]   -->   for i in serial(4): B[i] = A[-1 - i + n]
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
        if index.dtype.lanes > 1 or index.dtype.kind != "int":
            return index
        if isinstance(index, IntImm):
            is_negative = index.value < 0
        else:
            is_negative = self.facts.can_prove(index < 0)
        return index + as_expr(buffer.shape[axis]) if is_negative else index
