"""Between which statements of thread code a barrier is needed.

Threads of a block share memory; where one statement writes what another thread's statement touches,
all threads finish the first before any starts the second. Two accesses need no barrier when every
thread touches elements of its own. Pure functions; the cutting is `thread_regions`' matter.
"""

from __future__ import annotations

from collections.abc import Iterable

from tilelang.ir.buffer import FRAGMENT, SHARED_SCOPES, Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, Var, const_value
from tilelang.ir.node import Node
from tilelang.ir.record import record
from tilelang.ir.stmt import BufferStore, For
from tilelang.ir.visitor import children, walk
from tilelang.transform.affine import affine
from tilelang.transform.thread_grid import ThreadGrid

_SHARED = (*SHARED_SCOPES, FRAGMENT)


@record(eq=False)
class Access:
    """One access to memory that threads share; `indices` is `None` where any element is meant."""

    buffer: Buffer
    indices: tuple[Expr, ...] | None
    writes: bool
    is_atomic: bool = False


def shared_accesses(node: Node) -> list[Access]:
    """Accesses of `node` to shared memory and fragments."""
    found: list[Access] = []
    _collect(node, found)
    return found


def _collect(node: Node, found: list[Access]) -> None:
    if isinstance(node, Call) and node.args and isinstance(node.args[0], BufferLoad):
        place = node.args[0]
        is_atomic = node.op.startswith("atomic_")
        if is_atomic or node.op in ("address_of", "access_ptr"):
            if place.buffer.scope() in _SHARED:
                indices = place.indices if is_atomic else None
                found.append(Access(place.buffer, indices, True, is_atomic))
            for child in (*place.indices, *node.args[1:]):
                _collect(child, found)
            return
    if isinstance(node, (BufferLoad, BufferStore)) and node.buffer.scope() in _SHARED:
        found.append(Access(node.buffer, node.indices, isinstance(node, BufferStore)))
    for child in children(node):
        _collect(child, found)


class Ranges:
    """Smallest and largest value of the loop variables inside a region."""

    def __init__(self) -> None:
        self.values: dict[Var, tuple[int, int]] = {}

    def add(self, node: Node) -> None:
        """The loops of `node` with constant bounds."""
        for loop in walk(node):
            if isinstance(loop, For):
                self.add_loop(loop)

    def add_loop(self, loop: For) -> None:
        start, extent = const_value(loop.start), const_value(loop.extent)
        if start is not None and extent is not None:
            self.values[loop.var] = (int(start), int(start) + max(int(extent), 1) - 1)


def conflict(
    before: Iterable[Access], after: Iterable[Access], grid: ThreadGrid, ranges: Ranges
) -> bool:
    """Whether threads may touch one element in `before` and in `after`, one of them writing."""
    return any(_meets(a, b, grid, ranges) for a in before for b in after)


def _meets(a: Access, b: Access, grid: ThreadGrid, ranges: Ranges) -> bool:
    if a.buffer.data is not b.buffer.data or not (a.writes or b.writes):
        return False
    if a.is_atomic and b.is_atomic:
        return False
    if a.buffer is not b.buffer or a.indices is None or b.indices is None:
        return True
    pairs = list(zip(a.indices, b.indices))
    return not all(any(_apart(x, y, var, grid, ranges) for x, y in pairs) for var in grid.running())


def _apart(x: Expr, y: Expr, var: Var, grid: ThreadGrid, ranges: Ranges) -> bool:
    """Whether threads with different `var` always have different values of these indices.

    Both are `c * var + rest`, and the rests differ by less than `c`: variables of loops inside the
    region count with their whole range, everything else must be the same in both.
    """
    first, second = affine(x), affine(y)
    if first is None or second is None:
        return False
    factor = first.terms.get(var, 0)
    if factor == 0 or second.terms.get(var, 0) != factor:
        return False
    threads = set(grid.running())
    spread = [first.constant - second.constant] * 2
    fixed: dict[Var, int] = {}
    for form, sign in ((first, 1), (second, -1)):
        for name, coefficient in form.terms.items():
            if name in threads:
                if name is not var:
                    return False
            elif name in ranges.values:
                ends = sorted(sign * coefficient * end for end in ranges.values[name])
                spread = [spread[0] + ends[0], spread[1] + ends[1]]
            else:
                fixed[name] = fixed.get(name, 0) + sign * coefficient
    if any(fixed.values()):
        return False
    return max(abs(spread[0]), abs(spread[1])) < abs(factor)
