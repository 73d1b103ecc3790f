"""Who holds what of the lines along one axis of a fragment, and the fragment of the results.

A *line* is the set of elements that differ in the reduced axis only. Each thread first combines the
registers that hold elements of one line into a *slot*; then lanes whose slots hold different pieces
of one line combine them over the lane bits in which they differ; what remains are the *parts* of a
line, which meet in shared memory. All of this is read off NumPy tables of a fragment; operators
(`tileop/cuda/reduce.py`) turn it into code, layout inference asks for `derive_reduced_fragment`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tilelang.ir.expr import Expr, Var
from tilelang.ir.record import record
from tilelang.layout.distinct import distinct
from tilelang.layout.fit import fit
from tilelang.layout.fragment import Fragment

Table = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_Weights = npt.NDArray[np.uint64]

WARP = 32
NOBODY = -1  # in tables of elements, lines and slots: there is none


def held_elements(
    fragment: Fragment, threads: int, box: Sequence[tuple[int, int]] | None = None
) -> Table | None:
    """Row-major number, in `box`, of the element in each register: `[threads, registers]`.

    Args:
        threads: size of the block; more than the fragment names are idle.
        box: start and extent per axis; the whole fragment when not given.

    Returns:
        `NOBODY` where a register holds no element of the box; `None` when two elements share one,
        or when the fragment names a thread that the block does not have.
    """
    window = tuple(slice(s, s + n) for s, n in (box or [(0, n) for n in fragment.shape]))
    owners, offsets = fragment.thread_table, fragment.offsets
    if int(owners.max()) >= threads:
        return None
    held = np.full((threads, int(offsets.max()) + 1), NOBODY, np.int64)
    owners, offsets = owners[window], offsets[window]
    each = np.arange(offsets.size).reshape(offsets.shape)[..., None]
    numbers = np.broadcast_to(each, owners.shape)
    places = np.broadcast_to(offsets[..., None], owners.shape)
    held[owners, places] = numbers
    return held if np.array_equal(held[owners, places], numbers) else None


def line_numbers(shape: Sequence[int], dim: int) -> Table:
    """Line of each element (row-major): the row-major number of its other indices."""
    kept = [n for axis, n in enumerate(shape) if axis != dim]
    lines = np.arange(math.prod(kept)).reshape(kept)
    return np.broadcast_to(np.expand_dims(lines, dim), tuple(shape)).ravel()


@record
class Slots:
    """Registers that one thread combines.

    Attributes:
        registers: per slot, the registers that hold elements of one line, in order.
        lines: `[threads, slots]` the line of each slot, or `NOBODY`.
    """

    registers: tuple[tuple[int, ...], ...]
    lines: Table


def find_slots(held: Table, line_of: Table) -> Slots:
    """Registers grouped so that in every thread a group holds elements of one line."""
    lines = np.where(held == NOBODY, NOBODY, line_of[held])
    columns = np.full(lines.shape, NOBODY, np.int64)
    groups: list[list[int]] = []
    for register in range(lines.shape[1]):
        column = lines[:, register]
        holders = np.flatnonzero(column != NOBODY)
        if not len(holders):
            continue
        slot = _slot_for(column, columns[:, : len(groups)], int(holders[0]))
        if slot == len(groups):
            groups.append([])
        groups[slot].append(register)
        columns[:, slot] = np.maximum(columns[:, slot], column)
    return Slots(tuple(tuple(g) for g in groups), columns[:, : len(groups)])


def _slot_for(column: Table, columns: Table, witness: int) -> int:
    """The first slot that nobody holds another line in, and someone this one; or a new one."""
    seen = columns[witness]
    for slot in np.flatnonzero((seen == column[witness]) | (seen == NOBODY)).tolist():
        both = (columns[:, slot] != NOBODY) & (column != NOBODY)
        if np.any(both) and np.all((columns[:, slot] == column) | ~both):
            return slot
    return columns.shape[1]


@record
class Partials:
    """How a fragment's elements become one value per line.

    Attributes:
        held: `[threads, registers]` element numbers, or `NOBODY`.
        slots: what each thread combines by itself.
        lane_bits: lanes `l` and `l ^ bit` then combine their slots, for each bit in turn; after
            that all lanes of such a group have the same values.
        parts: values per line that are left, at most.
        is_ragged: some lines have fewer.
        part: `[threads, slots]` which of them a slot is.
        writer: `[threads, slots]` the one thread that speaks for a part.
    """

    held: Table
    slots: Slots
    lane_bits: tuple[int, ...]
    parts: int
    is_ragged: bool
    part: Table
    writer: Mask

    @property
    def lines(self) -> Table:
        """`[threads, slots]` the line of each slot, or `NOBODY`."""
        return self.slots.lines


def find_partials(held: Table, line_of: Table) -> Partials:
    """The plan for elements `held`, each of which counts once however often it is replicated."""
    found = _partials(held, line_of)
    if found is None:  # replicas overlap without being equal: only the first of each counts
        found = _partials(np.where(first_holders(held), held, NOBODY), line_of)
    assert found is not None, "without replicas the slots of a line cover it once"
    return found


def first_holders(held: Table) -> Mask:
    """`[threads, registers]` the first thread that holds each element, and its register."""
    numbers, first = distinct(held)
    chosen = np.zeros(held.size, bool)
    chosen[first[numbers != NOBODY]] = True
    return chosen.reshape(held.shape)


def _partials(held: Table, line_of: Table) -> Partials | None:
    slots = find_slots(held, line_of)
    weights = _weights(line_of.size)
    prints = _fingerprints(held, slots, weights)
    bits: list[int] = []
    for bit in _lane_bits(held.shape[0]):
        if _differs(slots.lines, prints, bit):
            others = np.minimum(np.arange(len(prints)) ^ bit, len(prints) - 1)  # clipped: idle ones
            prints = prints + prints[others]
            bits.append(bit)
    found = _number_parts(slots.lines, prints, line_of, weights)
    return None if found is None else Partials(held, slots, tuple(bits), *found)


def _weights(count: int) -> _Weights:
    """A random number per element: sums modulo 2**64 identify multisets of elements."""
    generator = np.random.default_rng(0x7E11A)
    return generator.integers(0, 1 << 64, size=count, dtype=np.uint64, endpoint=False)


def _fingerprints(held: Table, slots: Slots, weights: _Weights) -> _Weights:
    """`[threads, slots]` sum of the weights of the elements in each slot."""
    each = np.where(held == NOBODY, np.uint64(0), weights[held])
    return np.stack([each[:, list(g)].sum(axis=1, dtype=np.uint64) for g in slots.registers], 1)


def _lane_bits(threads: int) -> list[int]:
    return [bit for bit in (1, 2, 4, 8, 16) if bit < min(threads, WARP)]


def _differs(lines: Table, prints: _Weights, bit: int) -> bool:
    """Whether everywhere lane `l ^ bit` has another piece of the same line in the same slot."""
    active = lines != NOBODY
    busy = np.nonzero(active.any(axis=1))[0]
    other = busy ^ bit
    if int(other.max()) >= len(lines):
        return False
    same_line = np.array_equal(lines[other], lines[busy])
    return same_line and bool(np.all((prints[other] != prints[busy]) | ~active[busy]))


def _number_parts(
    lines: Table, prints: _Weights, line_of: Table, weights: _Weights
) -> tuple[int, bool, Table, Mask] | None:
    """Parts of each line, in the order of the threads that hold them first."""
    thread, slot = np.nonzero(lines != NOBODY)
    line, mark = lines[thread, slot], prints[thread, slot]
    order = np.lexsort((thread, mark, line))
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(line[order]) != 0) | (mark[order][1:] != mark[order][:-1])
    group = np.cumsum(is_first) - 1  # of entries with one line and one content
    leader = order[is_first]
    # parts numbered within their line by the thread that leads them
    by_thread = np.lexsort((thread[leader], line[leader]))
    ordered = line[leader][by_thread]
    starts = np.searchsorted(ordered, ordered)
    number = np.empty(len(leader), np.int64)
    number[by_thread] = np.arange(len(leader)) - starts
    counts = np.bincount(line[leader], minlength=int(line_of.max()) + 1)
    if not _is_cover(line[leader], mark[leader], line_of, weights):
        return None
    part = np.zeros(lines.shape, np.int64)
    part[thread[order], slot[order]] = number[group]
    writer = np.zeros(lines.shape, bool)
    writer[thread[leader], slot[leader]] = True
    return int(counts.max()), bool(counts.min() < counts.max()), part, writer


def _is_cover(line: Table, mark: _Weights, line_of: Table, weights: _Weights) -> bool:
    """Whether the parts of every line together are the line, each element once."""
    have = np.zeros(int(line_of.max()) + 1, np.uint64)
    np.add.at(have, line, mark)
    want = np.zeros_like(have)
    np.add.at(want, line_of, weights)
    return np.array_equal(have, want)


# -- the fragment of the results -------------------------------------------------------------------


def derive_reduced_fragment(src: Fragment, dim: int, dst_shape: Sequence[int]) -> Fragment | None:
    """Where the results of reducing axis `dim` of `src` are without being moved.

    The result of a line lives in every thread that holds an element of it, in the register whose
    number is the line's slot: slots are numbered in the order of the registers of `src`.

    Args:
        dst_shape: the shape of `src` without axis `dim`, or with it 1 (`(1,)` for rank 1).

    Returns:
        `None` when some line would have to be in different registers of different threads, or when
        the layout has no closed form.
    """
    threads = src.get_thread_size()
    held = held_elements(src, threads)
    if held is None:
        return None
    line_of = line_numbers(src.shape, dim)
    slots = find_slots(held, line_of)
    lines = int(line_of.max()) + 1
    register = _only_slot(slots.lines, lines)
    if register is None:
        return None
    shape = tuple(int(n) for n in dst_shape)
    owners = _owners(slots.lines, lines)
    return fragment_of(owners.reshape(*shape, -1), register.reshape(shape))


def _only_slot(table: Table, lines: int) -> Table | None:
    """The slot of each line, when all threads have it in the same one."""
    thread, slot = np.nonzero(table != NOBODY)
    found = np.full(lines, NOBODY)
    found[table[thread, slot]] = slot
    return found if np.array_equal(found[table[thread, slot]], slot) else None


def _owners(table: Table, lines: int) -> Table:
    """`[lines, replicas]` threads that have each line, ascending; short rows repeat their last."""
    thread, slot = np.nonzero(table != NOBODY)
    pairs, _ = distinct(table[thread, slot] * len(table) + thread)
    line, owner = np.divmod(pairs, len(table))
    starts = np.searchsorted(line, np.arange(lines))
    counts = np.bincount(line, minlength=lines)
    steps = np.minimum(np.arange(counts.max())[None, :], counts[:, None] - 1)
    return owner[starts[:, None] + steps]


def fragment_of(owners: Table, registers: Table) -> Fragment | None:
    """The fragment with these tables; `None` when they have no closed form.

    Args:
        owners: int64 `[*shape, replicas]`, thread of each element and replica.
        registers: int64 `[*shape]`.
    """
    names = [Var("ijklmnpqr"[d] if d < 9 else f"i{d}") for d in range(registers.ndim)]
    replicas = owners.shape[-1]
    if replicas == 1:
        thread = fit(owners[..., 0], names)
    else:
        thread = fit(owners, [*names, rep := Var("rep")])
        names.append(rep)
    register = fit(registers, names[: registers.ndim])
    if thread is None or register is None:
        return None

    def place(*indices: Expr) -> tuple[Expr, Expr]:
        from tilelang.ir.visitor import substitute

        values = dict(zip(names, indices))
        return substitute(thread, values), substitute(register, values)

    return Fragment(registers.shape, place, replicate=replicas)
