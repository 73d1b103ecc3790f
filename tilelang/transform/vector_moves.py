"""How many neighbouring elements one access may move.

In: a buffer, its logical indices as functions of a loop variable, and the facts that hold. Out: a
width in elements. An access may be wide where neighbours of the loop are neighbours in memory and
every piece starts at a multiple of its size: base addresses of parameters, workspaces and arrays on
the chip are multiples of 16 bytes, and so is what is proven of the rest. Shared buffers with a
physical layout are looked up in the layout's table. It rewrites nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilelang.ir.annotation import LAYOUT
from tilelang.ir.buffer import GLOBAL, LOCAL, SHARED_SCOPES, Buffer
from tilelang.ir.expr import Expr, Ramp, Var, as_expr, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Allocate, annotation
from tilelang.ir.visitor import substitute, used_vars, walk
from tilelang.layout.layout import Layout
from tilelang.transform.affine import split_linear
from tilelang.transform.facts import Facts
from tilelang.transform.flatten_buffers import flat_index, seen_through

MAX_BITS = 128


class VectorMoves:
    """Widths of accesses of one function."""

    def __init__(self, func: PrimFunc, facts: Facts) -> None:
        self.facts = facts
        self.aligned: set[Var] = {b.data for b in func.buffer_params}
        self.layouts: dict[Var, tuple[Buffer, Layout]] = {}
        for node in walk(func.body):
            if isinstance(node, Allocate):
                self.aligned.add(node.buffer.data)
                layout = annotation(node.annotations, LAYOUT)
                if isinstance(layout, Layout):
                    self.layouts[node.buffer.data] = (node.buffer, layout)

    def width(self, buffer: Buffer, indices: Sequence[Expr], var: Var, count: int) -> int:
        """Most elements per access for `var` in `0 .. count - 1`; 1 where nothing wider is legal.

        The result divides `count`; `var` is known to lie in its range.
        """
        is_array = buffer.scope() in (GLOBAL, LOCAL, *SHARED_SCOPES)
        if not is_array or buffer.dtype.lanes > 1 or buffer.data not in self.aligned:
            return 1
        places = [self.facts.simplify(i) for i in indices]
        *outer, last = places
        if last.dtype.lanes > 1 or any(v is var for i in outer for v in used_vars(i)):
            return 1
        parts = split_linear(last, var)
        if parts is None or parts[0] != 1:
            return 1
        layout = self._layout_of(buffer)
        if layout is None and const_value(buffer.strides[-1]) != 1:
            return 1
        first = [*outer, parts[1]]
        for width in widths(buffer, count):
            if self._may_be(buffer, first, layout, width):
                return width
        return 1

    def is_legal(self, buffer: Buffer, indices: Sequence[Expr]) -> bool:
        """Whether the access, whose last index is a `Ramp`, is one wide access."""
        ramp = indices[-1]
        if not isinstance(ramp, Ramp) or const_value(ramp.stride) != 1:
            return False
        var = Var("lane", ramp.base.dtype)
        with self.facts.scope():
            self.facts.add_range(var, as_expr(0), as_expr(ramp.lanes))
            wanted = (*indices[:-1], ramp.base + var)
            return self.width(buffer, wanted, var, ramp.lanes) == ramp.lanes

    def _may_be(
        self, buffer: Buffer, first: Sequence[Expr], layout: Layout | None, width: int
    ) -> bool:
        """Whether pieces of `width` elements that begin at `first` are aligned and contiguous."""
        if layout is None:
            return self._divides(width, flat_index(buffer, first))
        return self._divides(width, first[-1]) and keeps_pieces(layout, width)

    def _divides(self, width: int, value: Expr) -> bool:
        return self.facts.can_prove((self.facts.simplify(value) % width).__eq__(0))

    def _layout_of(self, buffer: Buffer) -> Layout | None:
        if buffer.data not in self.layouts:
            return None
        owner, layout = self.layouts[buffer.data]
        return layout if buffer is owner else seen_through(buffer, owner, layout)


def widths(buffer: Buffer, count: int) -> list[int]:
    """Elements per access that fill 1, 2, 4, 8 or 16 bytes and divide `count`, widest first."""
    bits = buffer.dtype.bits
    found = [w for w in (32, 16, 8, 4, 2) if count % w == 0 and w * bits <= MAX_BITS]
    return [w for w in found if w * bits % 8 == 0]


def keeps_pieces(layout: Layout, width: int) -> bool:
    """Whether `width` neighbours along the last axis, from a multiple of `width` on, are neighbours
    in memory and begin at a multiple of `width`."""
    offsets = layout.offsets
    if offsets.shape[-1] % width:
        return False
    pieces = offsets.reshape(-1, width)
    steps = pieces[:, 1:] - pieces[:, :-1]
    return bool((steps == 1).all() and (pieces[:, 0] % width == 0).all())


def piece(indices: Sequence[Expr], var: Var, start: int, width: int) -> tuple[Expr, ...]:
    """The indices of `width` elements from iteration `start` of `var` on, as one vector."""
    *outer, last = (substitute(i, {var: as_expr(start)}) for i in indices)
    return (*outer, last if width == 1 else Ramp(last, as_expr(1), width))
