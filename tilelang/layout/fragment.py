"""Fragment: logical index -> (thread, register), with replicas.

Element `i` of a fragment lives in local slot `index(i)` of every thread `thread(i, r)`,
`0 <= r < replicate`. Operators state fragments, `T.Parallel` loops follow them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tilelang.errors import LayoutError
from tilelang.ir.expr import Expr, Var, as_expr
from tilelang.ir.visitor import substitute, used_vars
from tilelang.layout.layout import Layout, tables

if TYPE_CHECKING:
    from tilelang.layout.table import Table


class Fragment(Layout):
    """A layout over threads.

    Args:
        shape: extents of the logical index.
        forward_fn: `(i..., [rep]) -> (thread, index)`; or
        forward_thread_fn: `(i..., [rep]) -> thread`, with
        forward_index_fn: `(i...) -> index`; when not given, a thread's elements are numbered in
            row-major order.
        replicate: number of threads that hold each element; `rep` is passed only above 1.
    """

    def __init__(
        self,
        shape: Sequence[Any] | int,
        forward_fn: Callable[..., Any] | None = None,
        forward_thread_fn: Callable[..., Any] | None = None,
        replicate: int = 1,
        forward_index_fn: Callable[..., Any] | None = None,
    ) -> None:
        if (forward_fn is None) == (forward_thread_fn is None):
            raise LayoutError("a Fragment takes either forward_fn or forward_thread_fn")
        if replicate < 1:
            raise LayoutError(f"replicate must be at least 1, got {replicate}")
        self.rep = Var("rep")
        self.num_replicas = replicate

        def forward(*indices: Expr) -> Any:
            extra = (self.rep,) if replicate > 1 else ()
            if forward_fn is not None:
                self.thread, place = forward_fn(*indices, *extra)
            else:
                assert forward_thread_fn is not None, "checked above"
                self.thread = forward_thread_fn(*indices, *extra)
                place = forward_index_fn(*indices) if forward_index_fn is not None else None
            self.thread = as_expr(self.thread)
            return self._number_in_thread() if place is None else place

        self.thread: Expr = as_expr(0)
        super().__init__(shape, forward)
        if self.rep in {v for e in self.forward for v in used_vars(e)}:
            raise LayoutError("a register index of a Fragment may not depend on the replica")

    def _number_in_thread(self) -> Expr:
        variables = (*self.variables, self.rep)
        threads = tables().tabulate(self.thread, variables, (*self.shape, 1))[..., 0]
        found = tables().number_in_group(threads, self.variables)
        if found is None:
            raise LayoutError("the elements of a thread are in no order: give forward_index_fn")
        return found

    # -- what it says ----------------------------------------------------------------------------

    @property
    def replicate_size(self) -> int:
        """Number of threads that hold each element."""
        return self.num_replicas

    def get_thread_size(self) -> int:
        """Number of threads: the largest thread index plus one."""
        return int(self.thread_table.max()) + 1

    @cached_property
    def thread_table(self) -> Table:
        """Thread of each element and replica: int64 `[*shape, replicate]`."""
        shape = (*self.shape, self.num_replicas)
        return tables().tabulate(self.thread, (*self.variables, self.rep), shape)

    @cached_property
    def is_injective(self) -> bool:
        """Whether no two elements share a register of a thread."""
        return tables().places_are_unique(self.thread_table, self.offsets)

    def collision(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Two logical indices that share a register of a thread, or `None`.

        Only the first thread of each element is looked at; `is_injective` asks for all.
        """
        first = self.thread_table[..., 0]
        return tables().collision(first * (int(self.offsets.max()) + 1) + self.offsets)

    def map_forward_thread(self, indices: Sequence[Any], rep: Any = None) -> Expr:
        """The thread that holds the element at `indices` (in replica `rep`)."""
        values: dict[Var, Any] = dict(zip(self.variables, indices))
        if rep is not None:
            values[self.rep] = rep
        return substitute(self.thread, values)

    def is_equal(self, other: object) -> bool:
        """Whether both hold the same elements in the same registers of the same threads."""
        return self is other or (
            isinstance(other, Fragment)
            and self.num_replicas == other.num_replicas
            and super().is_equal(other)
            and tables().same([self.thread_table], [other.thread_table])
        )

    # -- new fragments ---------------------------------------------------------------------------

    def _with(
        self, shape: Sequence[int], replicate: int, place: Callable[[tuple[Expr, ...], Expr], Any]
    ) -> Fragment:
        """`place(indices, rep) -> (thread, index)` as a fragment."""

        def forward(*args: Expr) -> Any:
            rep = args[len(shape)] if replicate > 1 else as_expr(0)
            return place(args[: len(shape)], rep)

        return Fragment(shape, forward, replicate=replicate)

    def repeat(  # type: ignore[override]
        self, repeats: Sequence[int], repeat_on_thread: bool = False, lower_dim_first: bool = True
    ) -> Fragment:
        """A tile `repeats[d]` times as long along each axis `d`.

        Args:
            repeat_on_thread: the repeats go to further threads, otherwise to further registers.
            lower_dim_first: axis 0 of the repeats varies slowest (true) or fastest.
        """
        if len(repeats) != len(self.shape):
            raise LayoutError(f"repeat takes {len(self.shape)} factors, got {list(repeats)}")
        order = list(range(len(repeats)))
        order = order if lower_dim_first else order[::-1]
        shape = [e * r for e, r in zip(self.shape, repeats)]
        threads, slots = self.get_thread_size(), self.get_output_shape()[0]

        def place(indices: tuple[Expr, ...], rep: Expr) -> Any:
            inner = [i % e for i, e in zip(indices, self.shape)]
            number: Expr = as_expr(0)
            for axis in order:
                number = number * repeats[axis] + indices[axis] // self.shape[axis]
            thread, index = self.map_forward_thread(inner, rep), self.map_forward_index(inner)
            if repeat_on_thread:
                return thread + number * threads, index
            return thread, [index[0] + number * slots, *index[1:]]

        return self._with(shape, self.num_replicas, place)

    def replicate(self, replicate: int) -> Fragment:
        """Each element held by `replicate` times as many threads: further groups of threads."""
        threads, old = self.get_thread_size(), self.num_replicas

        def place(indices: tuple[Expr, ...], rep: Expr) -> Any:
            thread = self.map_forward_thread(indices, rep % old) + (rep // old) * threads
            return thread, self.map_forward_index(indices)

        return self._with(self.shape, old * replicate, place)

    def condense_rep_var(self) -> Fragment:
        """The same fragment without replicas that name a thread twice."""
        used = tables().distinct_replicas(self.thread_table)
        if len(used) == self.num_replicas:
            return self
        step = used[1] - used[0] if len(used) > 1 else 1
        if used != [k * step for k in range(len(used))]:
            raise LayoutError(f"{self}: its distinct replicas {used} are not evenly spaced")
        return self._with(
            self.shape,
            len(used),
            lambda indices, rep: (
                self.map_forward_thread(indices, rep * step),
                self.map_forward_index(indices),
            ),
        )

    def __repr__(self) -> str:
        names = ", ".join(v.name for v in self.variables)
        rep = f", rep < {self.num_replicas}" if self.num_replicas > 1 else ""
        place = ", ".join(map(str, self.forward))
        target = f"thread {self.thread}, register ({place})"
        return f"Fragment({list(self.shape)}: ({names}{rep}) -> {target})"


def make_fully_replicated_layout_fragment(buffer: Any, threads: int) -> Fragment:
    """Every thread holds all of `buffer`, row-major."""
    shape = list(getattr(buffer, "shape", buffer))
    sizes = Layout(shape, lambda *i: list(i)).shape

    def index(*indices: Expr) -> Expr:
        flat: Expr = as_expr(0)
        for extent, i in zip(sizes, indices):
            flat = flat * extent + i
        return flat

    if threads == 1:
        return Fragment(sizes, forward_thread_fn=lambda *_: 0, forward_index_fn=index)
    return Fragment(
        sizes, forward_thread_fn=lambda *args: args[-1], replicate=threads, forward_index_fn=index
    )


def make_gemm_fragment_8x8() -> Fragment:
    """An 8 by 8 accumulator block: thread `4i + j // 2`, register `j % 2`."""
    return Fragment([8, 8], lambda i, j: (i * 4 + j // 2, j % 2))


def make_gemm_fragment_8x8_transposed() -> Fragment:
    """The same with rows and columns exchanged."""
    return Fragment([8, 8], lambda i, j: (j * 4 + i // 2, i % 2))
