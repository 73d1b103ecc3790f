"""Fragments that follow from those that are fixed: the solver of `infer_fragments`.

In: the body of one launch and the fragments that instructions and the user fix in it. Out: a
fragment for every fragment buffer, and which of them were taken out of the chain, and why
(`freed`). Nests and reductions carry fragments on in program order; what is then still free, the
largest buffer first, is dealt out so that memory is accessed in the widest vectors. Where a nest
then has two layouts of one buffer, `fragment_exchange` makes them meet; nothing is rewritten here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tilelang.errors import LayoutError, Note
from tilelang.ir.annotation import REDUCER
from tilelang.ir.buffer import FRAGMENT, GLOBAL, Buffer
from tilelang.ir.expr import Var, const_value
from tilelang.ir.stmt import Allocate, For, LoopKind, Stmt
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import walk
from tilelang.layout.blocked import BlockedFragment, widest_vector
from tilelang.layout.dealt import DealtFragment
from tilelang.layout.fragment import Fragment, make_fully_replicated_layout_fragment
from tilelang.layout.holding import Holding, fragment_of_tables
from tilelang.layout.layout import static_shape
from tilelang.tileop.reduce import Reduce
from tilelang.transform.fragment_names import fragment_names, viewed
from tilelang.transform.nests import Access, Nest, Partition, leading_access, partition_of
from tilelang.transform.reduced_tiles import carried_along, reduced_tile, reduced_vector

_SMALL_SHARED = 48 * 1024  # bytes that every device gives a block


class Solver:
    """Fragments of all fragment buffers of one launch.

    Args:
        body: the launch's body.
        threads: threads of the block.
        fixed: fragments that stand.
    """

    def __init__(self, body: Stmt, threads: int, fixed: Mapping[Buffer, Fragment]) -> None:
        self.threads = threads
        self.layouts: dict[Buffer, Fragment] = dict(fixed)
        self.nests: list[Nest] = []
        self.reductions: list[Reduce] = []
        self.sites: list[Nest | Reduce] = []
        self.buffers: dict[Buffer, None] = {}
        self.reducers: set[Buffer] = set()
        self.freed: dict[Buffer, str] = {}  # not carried on, and why
        self.shared_bytes = 0
        self._collect(body)
        self.views = fragment_names(body, self.buffers)

    def _collect(self, body: Stmt) -> None:
        inner: set[For] = set()
        for node in walk(body):
            if isinstance(node, Allocate):
                if node.buffer.scope() == FRAGMENT:
                    self._found(node)
                elif node.buffer.is_shared:
                    sizes = map(const_value, node.buffer.shape)
                    is_known = all(isinstance(n, int) and n > 0 for n in sizes)
                    self.shared_bytes += bytes_of(node.buffer) if is_known else _SMALL_SHARED
            elif isinstance(node, For) and node.kind is LoopKind.PARALLEL and node not in inner:
                nest = Nest(node)
                inner.update(n for n in walk(node.body) if isinstance(n, For))
                self.nests.append(nest)
                self.sites.append(nest)
            elif isinstance(node, TileOp) and node.op == "reduce":
                self.sites.append(Reduce(node))

    def _found(self, node: Allocate) -> None:
        buffer = node.buffer
        self.buffers[buffer] = None
        if any(key == REDUCER for key, _ in node.annotations):
            self.reducers.add(buffer)  # each thread accumulates all of it, for itself
        alone = buffer in self.reducers or buffer.num_elements == 1
        if buffer not in self.layouts and alone:
            self.layouts[buffer] = make_fully_replicated_layout_fragment(buffer, self.threads)

    def solve(self) -> dict[Buffer, Fragment]:
        """All fragments, in the order of allocation."""
        self._propagate()
        sizes = {b: math.prod(static_shape(b.shape)) for b in self.buffers}
        for buffer in sorted(self.buffers, key=lambda b: -sizes[b]):
            if buffer not in self.layouts:
                self.layouts[buffer] = self._free(buffer)
                self._propagate()
        return {b: self.layouts[b] for b in self.layouts}

    def _propagate(self) -> None:
        """Carry known fragments on until nothing new follows."""
        before = -1
        while before != len(self.layouts):
            before = len(self.layouts)
            self._through_views()
            for site in self.sites:
                if isinstance(site, Nest):
                    self._through_nest(site)
                else:
                    self._through_reduction(site)
                self._through_views()

    def _through_views(self) -> None:
        """Names of one fragment share its layout."""
        for view, owner in self.views.items():
            if view in self.layouts and owner not in self.layouts:
                self.layouts[owner] = viewed(self.layouts[view], view, owner)
        for view, owner in self.views.items():
            if owner not in self.layouts:
                continue
            expected = viewed(self.layouts[owner], owner, view)
            if not self.layouts.setdefault(view, expected).is_equal(expected):
                raise LayoutError(
                    f"view: `{view.name}` and `{owner.name}` name the same elements but need two "
                    "register layouts",
                    view.span,
                    notes=[Note(owner.span, f"`{owner.name}` comes from here")],
                    hint=f"T.copy `{owner.name}` into a fragment of its own",
                )

    def _through_nest(self, nest: Nest) -> None:
        unknown = [b for b in nest.fragments if b not in self.layouts]
        if not unknown or nest.extents is None or leading_access(nest, self.layouts) is None:
            return
        partition = partition_of(nest, self.layouts, self.threads)
        for buffer in unknown:
            access = next(a for a in nest.accesses if a.buffer is buffer)
            derived = self._along(partition, access) or carried_fragment(partition, access)
            if derived is None:
                continue
            own = self._better_alone(buffer, derived, partition)
            self.layouts[buffer] = derived if own is None else own

    def _along(self, partition: Partition, access: Access) -> Fragment | None:
        """What `carried_along` says, but for buffers with two names: these need tables."""
        return None if self._has_views(access.buffer) else carried_along(partition, access)

    def _has_views(self, buffer: Buffer) -> bool:
        return buffer in self.views or buffer in self.views.values()

    def _better_alone(
        self, buffer: Buffer, derived: Fragment, partition: Partition
    ) -> Fragment | None:
        """The layout of its own for a buffer that `derived` would take apart.

        A nest that transposes gives its result the neighbours of the other axis: each thread would
        then move single elements to or from global memory. Where all nests that do so could move
        vectors, one exchange through shared memory costs less.
        """
        nests = [n for n in self.nests if self._moves_vectors(n, buffer)]
        leader, size = partition.holding, math.prod(static_shape(buffer.shape))
        if not nests or size != math.prod(partition.leader.shape):
            return None
        if leader.vector(len(partition.leader.shape) - 1, 2) == 1:
            return None  # nothing is lost
        alone = {buffer: derived}
        if any(partition_of(n, alone, self.threads).vector(n.vector_limit) > 1 for n in nests):
            return None
        own = self._free(buffer)
        needed = self.shared_bytes + bytes_of(buffer)
        if own.vector == 1 or size < self.threads * own.vector or needed > _SMALL_SHARED:
            return None
        self.shared_bytes = needed
        width = own.vector * buffer.dtype.bits // 8
        self.freed[buffer] = f"so that `{buffer.name}` meets global memory by {width} bytes"
        return own

    def _moves_vectors(self, nest: Nest, buffer: Buffer) -> bool:
        """Whether the nest could move neighbours of `buffer` to or from global memory."""
        if nest.extents is None or nest.loop_layout is not None or nest.vector_limit < 2:
            return False
        leads = any(a.buffer is buffer and nest.is_led_by(a) for a in nest.accesses)
        return leads and any(a.buffer.scope() == GLOBAL for a in nest.accesses)

    def _through_reduction(self, op: Reduce) -> None:
        src, dst = op.src.buffer, op.dst.buffer
        if src not in self.layouts or dst in self.layouts or dst.scope() != FRAGMENT:
            return
        from tilelang.layout.reduced import derive_reduced_fragment  # NumPy, only where needed

        shape = static_shape(dst.shape)
        whole = [const_value(e) for e in op.src.extents] == list(src.shape)
        if whole and math.prod(shape) * int(src.shape[op.dim]) == math.prod(src.shape):  # type: ignore[arg-type,call-overload]
            found = None if self._has_views(dst) else reduced_vector(self.layouts[src], op)
            if found is None:
                found = derive_reduced_fragment(self.layouts[src], op.dim, shape)
            if found is not None and _is_usable(found, self.threads):
                self.layouts[dst] = found

    def _free(self, buffer: Buffer) -> DealtFragment:
        """Elements dealt out in the widest vectors that a nest can move to or from memory, and so
        that lines of a tile that is reduced stay together."""
        shape = static_shape(buffer.shape)
        limit = 0
        for nest in self.nests:
            if any(a.buffer is buffer and nest.is_led_by(a) for a in nest.accesses):
                limit = max(limit, nest.vector_limit)
        limit = limit or 4
        if len(shape) > 1 and not self._has_views(buffer):
            reductions = (s for s in self.sites if isinstance(s, Reduce))
            grid = reduced_tile(buffer, reductions, self.threads, limit)
            if grid is not None:
                return grid
        return BlockedFragment(shape, self.threads, widest_vector(shape, self.threads, limit))


def bytes_of(buffer: Buffer) -> int:
    """Size of a buffer of constant extents."""
    return math.prod(static_shape(buffer.shape)) * buffer.dtype.bits // 8


def _is_usable(fragment: Fragment, threads: int) -> bool:
    """Whether code can be made of the fragment's inverse."""
    t, s, lane = Var("t"), Var("s"), Var("l")
    try:
        held = Holding(fragment, threads)
        held.element(1, t, s, lane)
        held.first(1, t, s, lane)
        held.active(1, t, s, lane)
    except LayoutError:
        return False
    return True


def carried_fragment(partition: Partition, access: Access) -> Fragment | None:
    """The fragment in which the running threads hold what they access; replicas where several do.

    `None` when the nest does not touch every element, when the access depends on enclosing loops,
    or when the threads would not agree on a register.
    """
    import numpy as np

    from tilelang.layout.distinct import distinct
    from tilelang.layout.evaluate import evaluate

    shape = static_shape(access.buffer.shape)
    if partition.outer_variables(access) or partition.is_decided_at_run_time:
        return None
    env, runs = partition.iterations({})
    number = np.zeros(runs.shape, np.int64)
    for index, size in zip(access.indices, shape):
        try:
            value = np.broadcast_to(evaluate(index, env), runs.shape)
        except (KeyError, TypeError):
            return None
        if ((value < 0) | (value >= size))[runs].any():
            return None
        number = number * size + value
    thread, register = np.nonzero(runs)
    count = math.prod(shape)
    key = thread * count + number[runs]
    _, first = distinct(key)  # (thread, element), with its first register
    order = np.lexsort((register[first], thread[first]))
    thread, register, held = (a[first][order] for a in (thread, register, number[runs]))
    starts = np.searchsorted(thread, thread)
    rank = np.arange(len(thread)) - starts
    by_element = np.lexsort((thread, held))
    thread, rank, held = thread[by_element], rank[by_element], held[by_element]
    elements, begin = distinct(held)
    copies = np.diff(np.append(begin, len(held)))
    if len(elements) != count or (rank != np.repeat(rank[begin], copies)).any():
        return None
    replica = np.minimum(np.arange(int(copies.max())), copies[:, None] - 1)
    owners = thread[begin[:, None] + replica].reshape((*shape, -1))
    made = fragment_of_tables(shape, owners, rank[begin].reshape(shape))
    return made if made is not None and _is_usable(made, partition.threads) else None
