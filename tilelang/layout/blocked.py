"""The fragment of a tile that no instruction asks for: elements dealt out in row-major order.

`vector` neighbours go to one thread, the next `vector` to the next thread, and so on; after the
last thread the first one gets its next `vector` registers:

    vector 2, 4 threads    element   0 1 2 3 4 5 6 7 8 9 ...
                           thread    0 0 1 1 2 2 3 3 0 0
                           register  0 1 0 1 0 1 0 1 2 3

It holds for any shape and any number of threads, and its inverse is known in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tilelang.ir.expr import Expr, as_expr, less
from tilelang.layout.dealt import DealtFragment


class BlockedFragment(DealtFragment):
    """`shape` dealt out to `threads` threads, `vector` neighbours along the last axis at a time."""

    def __init__(self, shape: Sequence[int], threads: int, vector: int = 1) -> None:
        self.threads, self.vector = threads, vector
        self.extents = tuple(shape)

        def forward(*indices: Expr) -> tuple[Expr, Expr]:
            number: Expr = as_expr(0)
            for extent, index in zip(shape, indices):
                number = number * extent + index
            register = number // (vector * threads) * vector + number % vector
            return number // vector % threads, register

        super().__init__(shape, forward)

    @property
    def registers(self) -> int:
        """Registers of a thread; the last ones of some threads may hold nothing."""
        return -(-math.prod(self.extents) // (self.threads * self.vector)) * self.vector

    def number(self, thread: Expr, group: Expr, place: Expr) -> Expr:
        """Row-major number of the element in register `group * vector + place` of `thread`."""
        return (group * self.threads + thread) * self.vector + place

    def active(self, thread: Expr, group: Expr, place: Expr) -> Expr | None:
        return less(self.number(thread, group, place), math.prod(self.extents))

    def first(self, thread: Expr) -> Expr | None:
        return None

    def element(self, thread: Expr, group: Expr, place: Expr) -> list[Expr]:
        *outer, row = self.extents
        is_whole = row % self.vector == 0  # groups of neighbours never cross a row
        number = group * self.threads + thread if is_whole else self.number(thread, group, place)
        indices: list[Expr] = []
        stride = 1
        inner = row // self.vector if is_whole else row
        for axis, extent in reversed(list(enumerate((*outer, inner)))):
            index = number // stride
            is_outermost = all(e == 1 for e in self.extents[:axis])
            indices.append(as_expr(0) if extent == 1 else index if is_outermost else index % extent)
            stride *= extent
        last, *rest = indices
        last = last * self.vector + place if is_whole else last
        return [*rest[::-1], last]


def widest_vector(shape: Sequence[int], threads: int, limit: int) -> int:
    """The largest power of two up to `limit` that divides rows and leaves no thread idle.

    Tiles that are too small to occupy all threads keep the widest vectors: they move in one step.
    """
    vector = 1
    while vector * 2 <= limit and shape and shape[-1] % (vector * 2) == 0:
        vector *= 2
    return vector
