"""Fragments from the thread's side: which element stands in which register of which thread.

In: a `Fragment` and the number of threads of the block. Out: `Holding`, the inverse as tables and,
fitted, as expressions of (thread, step, lane), where register = step * vector + lane. The passes
that spread loops over threads ask it; it changes nothing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from tilelang.errors import LayoutError
from tilelang.ir.expr import Expr, Var, as_expr, equal, less, logical_and
from tilelang.ir.record import record
from tilelang.ir.visitor import substitute
from tilelang.layout.blocked import BlockedFragment
from tilelang.layout.dealt import DealtFragment
from tilelang.layout.fragment import Fragment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Table = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


class Holding:
    """What every register of every thread holds.

    Attributes:
        fragment: the layout.
        threads: threads of the block; some may hold nothing.
        elements: `[threads, registers]`: row-major number of the element, -1 where there is none.
        is_first: `[threads, registers]`: this thread is the first of those that hold the element.
    """

    def __init__(self, fragment: Fragment, threads: int) -> None:
        import numpy as np  # layouts are tables; loaded when the first one is asked for

        self.fragment, self.threads = fragment, threads
        owners = fragment.thread_table.reshape(-1, fragment.num_replicas)
        places = fragment.offsets.reshape(-1)
        if int(owners.max()) >= threads:
            raise LayoutError(
                f"{fragment} names thread {int(owners.max())}, but the block has {threads} threads"
            )
        shape = (threads, int(places.max()) + 1)
        self.elements = np.full(shape, -1, np.int64)
        self.is_first = np.zeros(shape, np.bool_)
        numbers = np.arange(len(places))
        for replica in range(fragment.num_replicas - 1, -1, -1):
            self.elements[owners[:, replica], places] = numbers
        self.is_first[owners[:, 0], places] = True
        self._forms: dict[tuple[object, ...], tuple[Form, ...]] = {}  # of `_fitted_element`

    @property
    def registers(self) -> int:
        """Registers of a thread."""
        return int(self.elements.shape[1])

    @cached_property
    def is_held(self) -> Mask:
        """`[threads, registers]`: whether the register holds an element."""
        return self.elements >= 0

    @cached_property
    def is_full(self) -> bool:
        """Whether every register of every thread holds an element."""
        return bool(self.is_held.all())

    @cached_property
    def has_replicas(self) -> bool:
        """Whether some element is held by two threads."""
        return bool((self.is_held & ~self.is_first).any())

    def vector(self, axis: int, limit: int) -> int:
        """The largest power of two up to `limit` such that registers, in aligned groups of so many,
        hold neighbours along `axis`, and are all held or all empty."""
        import numpy as np

        shape = self.fragment.shape
        stride = math.prod(shape[axis + 1 :])
        best = width = 1
        while width * 2 <= limit and self.registers % (width * 2) == 0:
            width *= 2
            groups = self.elements.reshape(self.threads, -1, width)
            along = groups // stride % shape[axis]
            expected = groups[..., :1] + np.arange(width) * stride
            held = groups[..., :1] >= 0
            fits = np.where(held, groups == expected, groups < 0).all()
            aligned = np.where(held, along[..., :1] % width == 0, True).all()
            if not (fits and aligned):
                break
            best = width
        return best

    # -- expressions ------------------------------------------------------------------------------

    def element(self, vector: int, thread: Expr, step: Expr, lane: Expr) -> list[Expr]:
        """Index of the element in register `step * vector + lane` of `thread`.

        Raises:
            LayoutError: when the table has no closed form.
        """
        dealt = self.fragment
        if not isinstance(dealt, DealtFragment):
            return self._fitted_element(vector, thread, step, lane)
        if self.is_full and isinstance(dealt, BlockedFragment):
            with contextlib.suppress(LayoutError):  # digits are simpler than divisions
                return self._fitted_element(vector, thread, step, lane)
        return dealt.element(thread, *_in_groups(dealt, vector, step, lane))

    def _fitted_element(self, vector: int, thread: Expr, step: Expr, lane: Expr) -> list[Expr]:
        import numpy as np

        values = (thread, step, lane)
        key = (vector, *(v.dtype for v in values))
        if key not in self._forms:
            elements, _ = self._dense()
            axes = np.unravel_index(elements, self.fragment.shape)
            tables = (a.reshape(len(elements), -1, vector) for a in axes)
            self._forms[key] = tuple(fitted_form(t, values, self.fragment) for t in tables)
        return [form.at(values) for form in self._forms[key]]

    def active(self, vector: int, thread: Expr, step: Expr, lane: Expr) -> Expr | None:
        """Condition: that register holds an element; `None`: all registers do."""
        if self.is_full:
            return None
        dealt = self.fragment
        if isinstance(dealt, DealtFragment):
            return dealt.active(thread, *_in_groups(dealt, vector, step, lane))
        _, used = self._dense()
        return less(thread, used)

    def first(self, vector: int, thread: Expr, step: Expr, lane: Expr) -> Expr | None:
        """Condition: `thread` is the first that holds the element; `None`: the only one."""
        if not self.has_replicas:
            return None
        if isinstance(self.fragment, DealtFragment):
            return self.fragment.first(thread)
        elements, used = self._dense()
        owners = self.fragment.thread_table.reshape(-1, self.fragment.num_replicas)[:, 0]
        del used
        return equal(self._fitted(owners[elements], vector, thread, step, lane), thread)

    def _dense(self) -> tuple[Table, int]:
        """The part of `elements` of the threads that hold something, all of whose registers do."""
        used = int(self.is_held.any(axis=1).sum())
        part = self.elements[:used]
        if (part < 0).any():
            raise LayoutError(f"{self.fragment}: some registers of some threads hold nothing")
        return part, used

    def _fitted(self, table: Table, vector: int, thread: Expr, step: Expr, lane: Expr) -> Expr:
        table = table.reshape(table.shape[0], -1, vector)
        return fitted(table, (thread, step, lane), self.fragment)


def _in_groups(dealt: DealtFragment, vector: int, step: Expr, lane: Expr) -> tuple[Expr, Expr]:
    """Register `step * vector + lane` as (group, place) in groups of the fragment's own width."""
    if vector == dealt.vector:
        return step, lane
    if dealt.vector % vector == 0:
        parts = dealt.vector // vector
        return step // parts, step % parts * vector + lane
    register = step * vector + lane
    return register // dealt.vector, register % dealt.vector


@lru_cache(maxsize=256)
def holding_of(fragment: Fragment, threads: int) -> Holding:
    """`Holding(fragment, threads)`, made once per fragment object."""
    return Holding(fragment, threads)


@record
class Form:
    """A table as an expression of variables that stand for its indices."""

    value: Expr
    names: tuple[Var, ...]

    def at(self, values: Sequence[Expr]) -> Expr:
        """The element at the indices `values`."""
        return substitute(self.value, dict(zip(self.names, values)))


def fitted_form(table: Table, values: Sequence[Expr], what: object) -> Form:
    """`table` as an expression of indices with the dtypes of `values`.

    Raises:
        LayoutError: when the table has no closed form; it names `what`.
    """
    from tilelang.layout.fit import fit

    names = tuple(Var(f"x{i}", v.dtype) for i, v in enumerate(values))
    found = fit(table, names)
    if found is None:
        raise LayoutError(f"{what}: its inverse is not made of digits, strides and XOR")
    return Form(found, names)


def fitted(table: Table, values: Sequence[Expr], what: object) -> Expr:
    """`table[values]` as an expression.

    Raises: as `fitted_form`.
    """
    return fitted_form(table, values, what).at(values)


def fragment_of_tables(shape: Sequence[int], threads: Table, registers: Table) -> Fragment | None:
    """The fragment with these tables: threads `[*shape, replicas]`, registers `[*shape]`.

    `None` when a table has no closed form.
    """
    from tilelang.layout.fit import fit

    replicas = int(threads.shape[-1])
    names = tuple(Var(f"i{d}") for d in range(len(shape)))
    rep = Var("rep")
    table = threads if replicas > 1 else threads[..., 0]
    thread = fit(table, (*names, rep) if replicas > 1 else names)
    register = fit(registers, names)
    if thread is None or register is None:
        return None

    def forward(*args: Expr) -> tuple[Expr, Expr]:
        values = dict(zip((*names, rep), args))
        return substitute(as_expr(thread), values), substitute(as_expr(register), values)

    return Fragment(shape, forward, replicate=replicas)


def both(a: Expr | None, b: Expr | None) -> Expr | None:
    """The conjunction of two conditions, where `None` is true."""
    if a is None or b is None:
        return b if a is None else a
    return logical_and(a, b)
