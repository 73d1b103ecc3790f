"""`T.PersistentTileScheduler`: which tile of a grid a worker takes next.

A kernel with fewer blocks than tiles lets each block (worker) walk over tiles `w, w + W, w + 2 W,
...` of a linear order. The order runs over groups of `swizzle_size` columns (or rows), so that
tiles worked on at the same time share operands in the cache:

    column_major, 4 x 5 tiles, swizzle_size 2        P = 4 rows, S = 5 columns
        0  1 |  8  9 | 16
        2  3 | 10 11 | 17
        4  5 | 12 13 | 18
        6  7 | 14 15 | 19

It makes expressions and stores; how many workers there are is the launch's matter.
"""

from __future__ import annotations

from typing import Any

from tilelang.errors import ArgumentError, LanguageError, caller_span
from tilelang.ir.buffer import VAR, Buffer
from tilelang.ir.expr import (
    Expr,
    Operand,
    as_expr,
    ceildiv,
    const_value,
    maximum,
    minimum,
    promote,
)
from tilelang.ir.stmt import Allocate
from tilelang.language.builder import current, is_tracing
from tilelang.language.kernel import KernelLaunchFrame
from tilelang.language.location import argument_span


class PersistentTileScheduler:
    """Hands out the tiles of a `num_m_tiles` x `num_n_tiles` grid, each to one worker.

        tiles = T.PersistentTileScheduler(ceildiv(M, bm), ceildiv(N, bn), num_workers=132)
        tiles.init(block)
        while tiles.valid():
            ... tiles.m_idx, tiles.n_idx ...
            tiles.next_tile()

    Args:
        num_m_tiles, num_n_tiles: integers or expressions.
        num_workers: default: blocks of the launch along x, divided by `cluster_size`.
        swizzle_size: tiles of the slow axis that a group holds.
        column_major: within a group, rows (m) are the axis that advances slowest per worker step.
        cluster_size: blocks that share one tile position along m; m then counts clusters.
        stateful: keep the position in variables; otherwise only `coord` can be asked.
        name: prefix of the variables' names.

    Raises:
        ArgumentError: for sizes that are not positive, or without `num_workers` outside a launch.
    """

    def __init__(
        self,
        num_m_tiles: Any,
        num_n_tiles: Any,
        num_workers: Any = None,
        swizzle_size: int = 1,
        column_major: bool = True,
        cluster_size: int = 1,
        stateful: bool = True,
        name: str | None = None,
    ) -> None:
        sizes = {
            "num_m_tiles": num_m_tiles, "num_n_tiles": num_n_tiles, "num_workers": num_workers,
            "swizzle_size": swizzle_size, "cluster_size": cluster_size,
        }  # fmt: skip
        for what, value in sizes.items():
            number = None if value is None else const_value(value)
            is_constant = what in ("swizzle_size", "cluster_size")
            if (number is not None and number < 1) or (is_constant and number is None):
                raise ArgumentError(
                    f"PersistentTileScheduler: {what} is {value}, expected a positive integer",
                    argument_span(what),
                )
        self.num_m_tiles, self.num_n_tiles = num_m_tiles, num_n_tiles
        self.swizzle_size, self.cluster_size = int(swizzle_size), int(cluster_size)
        self.column_major = column_major
        self.stateful = stateful
        self.name = name
        self.rows = ceildiv(num_m_tiles, cluster_size) if cluster_size > 1 else num_m_tiles
        self.total = self.rows * num_n_tiles
        self.num_workers = num_workers
        if stateful:
            self.num_workers = self._workers() if num_workers is None else num_workers
            self._position = self._variable("linear_idx")
            self._m = self._variable("m_idx")
            self._n = self._variable("n_idx")
            self._iteration = self._variable("current_iter")

    def _workers(self) -> Any:
        frame = KernelLaunchFrame.Current() if is_tracing() else None
        if frame is None:
            raise ArgumentError(
                "PersistentTileScheduler: outside a launch, num_workers has to be given"
            )
        return frame.get_block_extent(0) // self.cluster_size

    def _variable(self, what: str) -> Buffer:
        builder = current()
        label = builder.fresh_name(f"{self.name}_{what}" if self.name else what)
        kind = promote(as_expr(self.total).dtype, as_expr(self.num_workers).dtype)
        made = Buffer(label, (1,), kind, VAR, span=caller_span())
        builder.emit(Allocate(made))
        builder.emit_store(made, (as_expr(0),), as_expr(0))
        return made

    # -- the order --------------------------------------------------------------------------------

    def coord(self, linear: Any) -> tuple[Any, Any]:
        """(m, n) of the tile at position `linear` of the order; integers for an integer."""
        fast_extent, slow_extent = self.rows, self.num_n_tiles
        if not self.column_major:
            fast_extent, slow_extent = slow_extent, fast_extent
        position = linear.as_load() if isinstance(linear, Buffer) else linear
        size = self.swizzle_size
        group = position // (fast_extent * size)
        width = _at_least(_at_most(slow_extent - group * size, size), 1)
        within = position - group * fast_extent * size
        fast, slow = within // width, group * size + within % width
        return (fast, slow) if self.column_major else (slow, fast)

    # -- the worker's position --------------------------------------------------------------------

    def init(self, worker: Any) -> None:
        """Start at the first tile of `worker`, 0 to num_workers - 1."""
        self._require_state("init")
        self._set(self._iteration, 0)
        self._move_to(as_expr(worker))

    def valid(self) -> Expr:
        """Whether there is a tile at the position."""
        self._require_state("valid")
        return as_expr(self._position.as_load() < self.total)

    def next_tile(self) -> None:
        """Move to the worker's next tile."""
        self._require_state("next_tile")
        self._set(self._iteration, self._iteration.as_load() + 1)
        self._move_to(self._position.as_load() + self.num_workers)

    def _move_to(self, position: Expr) -> None:
        self._set(self._position, position)
        m, n = self.coord(self._position.as_load())
        self._set(self._m, m)
        self._set(self._n, n)

    def _set(self, variable: Buffer, value: Any) -> None:
        current().emit_store(variable, (as_expr(0),), as_expr(value))

    @property
    def m_idx(self) -> Expr:
        """Tile (or cluster) index along m."""
        return self._read("m_idx", "_m")

    @property
    def n_idx(self) -> Expr:
        """Tile index along n."""
        return self._read("n_idx", "_n")

    @property
    def linear_idx(self) -> Expr:
        """Position in the order."""
        return self._read("linear_idx", "_position")

    @property
    def current_iter(self) -> Expr:
        """Tiles that this worker has left behind."""
        return self._read("current_iter", "_iteration")

    def _read(self, what: str, variable: str) -> Expr:
        self._require_state(what)
        return getattr(self, variable).as_load()

    def _require_state(self, what: str) -> None:
        if not self.stateful:
            raise LanguageError(
                f"PersistentTileScheduler: `{what}` of a scheduler without state",
                hint="make it with stateful=True, or ask coord(linear)",
            )


def _at_most(a: Any, b: int) -> Any:
    return minimum(a, b) if isinstance(a, Operand) else min(a, b)


def _at_least(a: Any, b: int) -> Any:
    return maximum(a, b) if isinstance(a, Operand) else max(a, b)
