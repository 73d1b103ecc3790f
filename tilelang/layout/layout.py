"""Layout: logical index -> physical index, as expressions and as a table.

Users and operators create layouts; passes substitute them into accesses (`map_forward_index`) and
ask questions of the table. A layout is immutable. It knows nothing of threads: see `fragment`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tilelang.errors import LayoutError, ShapeError
from tilelang.ir.expr import Expr, Var, as_expr, const_value
from tilelang.ir.visitor import substitute

if TYPE_CHECKING:
    from types import ModuleType

    from tilelang.layout.table import Table

_NAMES = "ijklmnpqr"


def tables() -> ModuleType:
    """The NumPy side of layouts; loaded on first use, as NumPy's import is slow."""
    from tilelang.layout import table

    return table


def static_shape(shape: Sequence[Any] | int) -> tuple[int, ...]:
    """`shape` as integers.

    Raises:
        LayoutError: for an extent that is not a positive constant.
    """
    extents = shape if isinstance(shape, (tuple, list)) else (shape,)
    numbers = [const_value(e) for e in extents]
    if any(not isinstance(n, int) or n <= 0 for n in numbers):
        raise LayoutError(f"a layout needs positive constant extents, got {list(extents)}")
    return tuple(int(n) for n in numbers if n is not None)


def placeholders(count: int, names: str = _NAMES) -> tuple[Var, ...]:
    """Fresh int32 variables, named by axis."""
    return tuple(Var(names[d] if d < len(names) else f"i{d}") for d in range(count))


def as_exprs(value: Any) -> tuple[Expr, ...]:
    """One expression or a sequence of them, as a tuple."""
    return tuple(as_expr(v) for v in (value if isinstance(value, (tuple, list)) else (value,)))


class Layout:
    """Where each element of an array lies.

    Args:
        shape: extents of the logical index.
        forward_fn: takes one variable per axis, returns the physical index (one or a list).
    """

    def __init__(self, shape: Sequence[Any] | int, forward_fn: Callable[..., Any]) -> None:
        self.shape = static_shape(shape)
        self.variables = placeholders(len(self.shape))
        self.forward = as_exprs(forward_fn(*self.variables))

    @classmethod
    def of(cls, shape: Sequence[int], variables: Sequence[Var], forward: Sequence[Expr]) -> Layout:
        """The layout that maps `variables` to `forward`."""
        values = dict(zip(variables, range(len(variables))))
        assert len(values) == len(shape), "one variable per axis"
        return Layout(
            shape, lambda *fresh: [substitute(e, dict(zip(variables, fresh))) for e in forward]
        )

    # -- what it says ----------------------------------------------------------------------------

    @property
    def index(self) -> tuple[Expr, ...]:
        """The physical index, in terms of `get_forward_vars()`."""
        return self.forward

    def get_input_shape(self) -> list[int]:
        """Extents of the logical index."""
        return list(self.shape)

    def get_output_shape(self) -> list[int]:
        """Bounding box of the physical index."""
        return list(self._output_shape)

    def get_forward_vars(self) -> list[Var]:
        """Placeholders of the logical index."""
        return list(self.variables)

    def get_forward_index(self) -> list[Expr]:
        """The physical index as a list."""
        return list(self.forward)

    def map_forward_index(self, indices: Sequence[Any]) -> list[Expr]:
        """The physical index of the element at `indices`."""
        if len(indices) != len(self.shape):
            raise ShapeError(
                f"a layout of rank {len(self.shape)} is applied to {len(indices)} indices"
            )
        values = dict(zip(self.variables, indices))
        return [substitute(e, values) for e in self.forward]

    def __call__(self, *indices: Any) -> list[Expr]:
        return self.map_forward_index(indices)

    def get_linearized_forward_index(self) -> Expr:
        """The physical index as one offset, row-major in `get_output_shape()`."""
        offset: Expr = as_expr(0)
        for extent, value in zip(self.get_output_shape(), self.forward):
            offset = offset * extent + value
        return offset

    # -- the table -------------------------------------------------------------------------------

    @cached_property
    def table(self) -> tuple[Table, ...]:
        """Per physical axis, an int64 array of shape `get_input_shape()`."""
        return tuple(tables().tabulate(e, self.variables, self.shape) for e in self.forward)

    @cached_property
    def _output_shape(self) -> tuple[int, ...]:
        return tuple(int(axis.max()) + 1 for axis in self.table)

    @cached_property
    def offsets(self) -> Table:
        """Linearised physical index of every element, of shape `get_input_shape()`."""
        return tables().linearize(self.table, self.shape)

    @cached_property
    def is_injective(self) -> bool:
        """Whether no two elements share a place."""
        return tables().is_one_to_one(self.offsets)

    def collision(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Two logical indices with one place, or `None`."""
        return tables().collision(self.offsets)

    def is_equal(self, other: object) -> bool:
        """Whether both map the same indices to the same places."""
        return self is other or (
            isinstance(other, Layout)
            and self.shape == other.shape
            and tables().same(self.table, other.table)
        )

    def vector_width(self, limit: int = 16) -> int:
        """Elements that can move at once: aligned neighbours along the last axis that are aligned
        neighbours in storage too, a power of two up to `limit`."""
        return tables().vector_width(self.offsets, limit)

    def bank_conflicts(self, indices: Sequence[Any], bits: int, vector: int = 1) -> int:
        """How many times as long as without conflicts a warp's access to shared memory takes.

        Args:
            indices: per axis, an int array `[..., threads]` of the elements at which the threads'
                accesses start; or a number, for all of them.
            bits: width of an element.
            vector: elements that each thread accesses at once.
        """
        return tables().conflicts(self.offsets, indices, bits, vector)

    # -- new layouts -----------------------------------------------------------------------------

    def inverse(self) -> Layout:
        """Physical index -> logical index.

        Raises:
            LayoutError: when the layout does not fill its output box one-to-one, or when the
                inverse has no closed form.
        """
        box = self.get_output_shape()
        if not self.is_injective or math.prod(box) != self.offsets.size:
            raise LayoutError(
                f"{self}: has no inverse: {self.offsets.size} elements do not fill {box}"
            )
        variables = placeholders(len(box))
        exprs = tables().invert(self.offsets, box, variables)
        if exprs is None:
            raise LayoutError(f"{self}: its inverse is not made of digits, strides and XOR")
        return Layout.of(box, variables, exprs)

    def repeat(self, dim: int, factor: int) -> Layout:
        """`factor` copies along axis `dim`, one after the other in storage."""
        axis = dim % len(self.shape)
        shape = [e * factor if a == axis else e for a, e in enumerate(self.shape)]
        extent = self.shape[axis]
        step = self.get_output_shape()[0]

        def forward(*indices: Expr) -> list[Expr]:
            inner = [i % extent if a == axis else i for a, i in enumerate(indices)]
            place = self.map_forward_index(inner)
            return [place[0] + (indices[axis] // extent) * step, *place[1:]]

        return Layout(shape, forward)

    def expand(self, leading_shape: Sequence[int] | int) -> Layout:
        """Identity axes in front: `(lead..., i...) -> (lead..., place(i)...)`."""
        lead = static_shape(leading_shape)

        def forward(*indices: Expr) -> list[Expr]:
            return [*indices[: len(lead)], *self.map_forward_index(indices[len(lead) :])]

        return Layout([*lead, *self.shape], forward)

    def reshape(
        self, shape: Sequence[int] | int, rescale_num: int = 1, rescale_den: int = 1
    ) -> Layout:
        """The same storage seen with another shape.

        Args:
            shape: new logical extents.
            rescale_num, rescale_den: the new element is `rescale_num / rescale_den` times as wide
                as the old one (a view with another dtype), so that there are as many times fewer.

        Raises:
            LayoutError: when the sizes disagree.
        """
        new = static_shape(shape)
        if math.prod(new) * rescale_num != math.prod(self.shape) * rescale_den:
            raise LayoutError(f"{self}: cannot be seen as {list(new)}: the sizes differ")

        def forward(*indices: Expr) -> list[Expr]:
            flat: Expr = as_expr(0)
            for extent, index in zip(new, indices):
                flat = flat * extent + index
            scaled = flat * rescale_num
            place = self.map_forward_index(unflatten(scaled // rescale_den, self.shape))
            if rescale_num == rescale_den:
                return place
            last = (place[-1] * rescale_den + scaled % rescale_den) // rescale_num
            return [*place[:-1], last]

        return Layout(new, forward)

    def __getstate__(self) -> dict[str, Any]:
        """Without the tables, which are made again on demand."""
        derived = ("table", "offsets", "thread_table", "is_injective")
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __repr__(self) -> str:
        names = ", ".join(v.name for v in self.variables)
        return f"Layout({list(self.shape)}: ({names}) -> ({', '.join(map(str, self.forward))}))"


def unflatten(flat: Expr, shape: Sequence[int]) -> list[Expr]:
    """Row-major index in `shape` of the element with number `flat`."""
    indices: list[Expr] = []
    for axis, extent in reversed(list(enumerate(shape))):
        indices.append(flat % extent if axis else flat)
        flat = flat // extent
    return indices[::-1]
