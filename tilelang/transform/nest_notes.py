"""How a nest runs, told to people: instructions, vector widths, bank conflicts, and the reasons.

In: a nest and its partition, from `lower_threads` where somebody asked for explanations. Out: a
`NestNote`. It decides nothing; it asks the same questions as the code that did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilelang.ir.annotation import LAYOUT, TILE_OP
from tilelang.ir.buffer import FRAGMENT, GLOBAL, SHARED_SCOPES, Buffer
from tilelang.ir.stmt import Allocate, Stmt, annotation
from tilelang.ir.visitor import walk
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout
from tilelang.transform.matrix_copies import MatrixCopy
from tilelang.transform.nests import VECTOR_BYTES, Access, Nest, Partition
from tilelang.transform.notes import AccessNote, LayoutNote, NestNote
from tilelang.transform.shared_layouts import bank_conflicts


@dataclass
class Way:
    """What was decided for a nest.

    Attributes:
        vector: elements in one step.
        why_not_async: `None` where the copy is asynchronous.
        is_guarded: the accesses to global memory have a condition.
        has_async: the device has `cp.async`; elsewhere its place is taken by a load and a store.
        matrix: matrix instructions that run the nest, or why none does.
    """

    launch: int
    vector: int
    why_not_async: str | None
    is_guarded: bool
    has_async: bool = True
    matrix: MatrixCopy | str | None = None


def nest_note(
    nest: Nest, partition: Partition, way: Way, layouts: Mapping[Buffer, Layout]
) -> NestNote:
    """The note of a nest of constant extents."""
    accesses = [_access(a, nest, partition, way, layouts) for a in _in_memory(nest)]
    leader = partition.buffer.name if partition.buffer is not None else None
    if nest.loop_layout is not None:
        leader = "its loop_layout"
    return NestNote(
        way.launch,
        nest.node.span,
        str(annotation(nest.node.annotations, TILE_OP) or "parallel"),
        _chosen(nest, way),
        tuple(_reasons(nest, partition, way)),
        partition.holding.registers // way.vector,
        way.vector,
        leader,
        way.is_guarded,
        tuple(dict.fromkeys(accesses)),
    )


def run_time_note(nest: Nest, launch: int) -> NestNote:
    """The note of a nest whose extents are known only at run time."""
    accesses = tuple(
        AccessNote(a.buffer.name, a.buffer.scope(), a.is_store, a.buffer.dtype.itemsize)
        for a in _in_memory(nest)
    )
    return NestNote(
        launch,
        nest.node.span,
        str(annotation(nest.node.annotations, TILE_OP) or "parallel"),
        "element by element",
        ("vectors: its extents are known only at run time",),
        None,
        1,
        None,
        True,
        tuple(dict.fromkeys(accesses)),
    )


def _in_memory(nest: Nest) -> list[Access]:
    return [a for a in nest.accesses if a.buffer.scope() in (GLOBAL, *SHARED_SCOPES)]


def _chosen(nest: Nest, way: Way) -> str:
    if isinstance(way.matrix, MatrixCopy):
        return way.matrix.name.removeprefix("tl_")
    if way.why_not_async is None:
        size = max(a.buffer.dtype.bits for a in _in_memory(nest)) * way.vector // 8
        return f"cp.async of {size} bytes" if way.has_async else f"vectors of {way.vector}"
    if not _in_memory(nest):
        return "registers"
    return f"vectors of {way.vector}" if way.vector > 1 else "element by element"


def _reasons(nest: Nest, partition: Partition, way: Way) -> list[str]:
    accesses = _in_memory(nest)
    scopes = {a.buffer.scope() == GLOBAL: a.is_store for a in accesses}
    if isinstance(way.matrix, MatrixCopy):
        return []
    found = [f"ldmatrix or stmatrix: {way.matrix}"] if way.matrix is not None else []
    if way.why_not_async is None and not way.has_async:
        found.append("cp.async: it exists from sm_80 on")
    if way.why_not_async is not None and scopes == {True: False, False: True}:
        found.append(f"cp.async: {way.why_not_async}")
    wider = _why_not_wider(nest, partition, way.vector)
    return [*found, f"wider vectors: {wider}"] if wider is not None else found


def _why_not_wider(nest: Nest, partition: Partition, vector: int) -> str | None:
    widths = {a.buffer.name: a.buffer.dtype.bits * vector // 8 for a in _in_memory(nest)}
    if max(widths.values(), default=VECTOR_BYTES) >= VECTOR_BYTES:
        return None
    limit = nest.vector_limit
    if limit <= vector:
        names = ", ".join(dict.fromkeys(f"`{name}`" for name in widths))
        if limit <= 1:
            return f"iterations next to each other do not access neighbours in {names}"
        return f"only groups of {limit} neighbours are adjacent and aligned in {names}"
    held = partition.vector(limit)
    if held > vector:
        return "a wider group could lie partly outside a buffer"
    if partition.buffer is not None:
        if held <= 1:
            return f"threads do not hold neighbours of `{partition.buffer.name}`"
        return f"a thread holds groups of {held} neighbours of `{partition.buffer.name}`"
    return f"the loops divide into groups of {held}"


def _access(
    access: Access, nest: Nest, partition: Partition, way: Way, layouts: Mapping[Buffer, Layout]
) -> AccessNote:
    buffer = access.buffer
    width = min(way.vector, nest.vector_of(access))
    layout = layouts.get(buffer)
    if layout is not None:
        width = min(width, layout.vector_width(width))
    size = max(1, width * buffer.dtype.bits // 8)
    conflicts = None
    if buffer.scope() in SHARED_SCOPES:
        conflicts = bank_conflicts(access, partition, width, layout, layouts)
    return AccessNote(buffer.name, buffer.scope(), access.is_store, size, conflicts)


def layout_notes(body: Stmt, launch: int) -> list[LayoutNote]:
    """Where the elements of all fragments and shared buffers of a launch are."""
    found: list[LayoutNote] = []
    for node in walk(body):
        if not isinstance(node, Allocate):
            continue
        buffer = node.buffer
        if buffer.scope() != FRAGMENT and not buffer.is_shared:
            continue
        layout = annotation(node.annotations, LAYOUT)
        shown = layout if isinstance(layout, Layout) else None
        registers, replicas = None, None
        if isinstance(layout, Fragment):
            registers, replicas = int(layout.offsets.max()) + 1, layout.num_replicas
        what = (buffer.name, buffer.scope(), str(buffer.dtype), shown and str(shown))
        found.append(LayoutNote(launch, node.span, *what, registers, replicas))
    return found
