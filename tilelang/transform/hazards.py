"""What each statement of thread code reads and writes in memory that threads share.

Comes in: statements of a launch in thread form. Goes out: a list of `Access`es per statement, in
the order a thread makes them. What an operation does with the pointers it is given stands in one
table here; an operation that is not in it may read and write the whole buffer. Pure functions: who
must wait for whom is decided in `hazards_flow`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from tilelang.errors import Span
from tilelang.ir.buffer import GLOBAL, SHARED_SCOPES, Buffer
from tilelang.ir.expr import BufferLoad, Call, Expr, StringImm, Var
from tilelang.ir.node import Node
from tilelang.ir.record import record
from tilelang.ir.stmt import BufferStore, For, Stmt, While
from tilelang.ir.visitor import children, substitute

Kind = Literal["read", "write", "atomic"]
POINTER_OPS = ("address_of", "access_ptr")


@record(eq=False)
class Place:
    """Where an access stands: the statements around it, outermost first, and itself last.

    `Seq`s are left out. `guards` are the conditions (and whether they hold) on the way.
    """

    path: tuple[Stmt, ...]
    guards: tuple[tuple[Expr, bool], ...]

    @property
    def loops(self) -> tuple[For | While, ...]:
        """The loops around, outermost first."""
        return tuple(s for s in self.path if isinstance(s, (For, While)))


@record(eq=False)
class Access:
    """One access by one thread.

    Attributes:
        buffer: what is accessed.
        indices: the first element, logical; `None` where any element of the storage may be meant.
        width: bytes from there on, 0: as many lanes as the last index has.
        kind: atomics read and write, but need no order among each other.
        is_async: a cp.async write: it lands at a wait, not where it stands.
        is_collective: all lanes of the warp take part, whichever gave the address.
        place: where it stands.
    """

    buffer: Buffer
    indices: tuple[Expr, ...] | None
    kind: Kind
    place: Place
    width: int = 0
    is_async: bool = False
    is_collective: bool = False

    @property
    def span(self) -> Span | None:
        return self.place.path[-1].span

    @property
    def writes(self) -> bool:
        return self.kind != "read"


@record
class Operand:
    """What an operation does at the pointer in argument `argument`.

    `bytes` counts from the pointer; 0 stands for the whole buffer.
    """

    argument: int
    kind: Kind
    bytes: int = 0
    is_async: bool = False
    is_collective: bool = False


def _matrix(name: re.Match[str]) -> tuple[Operand, ...]:
    """Each lane gives the address of one row of 16 bytes."""
    if name["what"] == "ld":
        return (Operand(0, "write"), Operand(1, "read", 16, is_collective=True))
    return (Operand(0, "write", 16, is_collective=True), Operand(1, "read"))


def _cp_async(name: re.Match[str]) -> tuple[Operand, ...]:
    width = int(name["width"])
    return (Operand(0, "write", width, is_async=True), Operand(1, "read", width))


def _move(name: re.Match[str]) -> tuple[Operand, ...]:
    width = int(name["bits"]) // 8
    return (Operand(0, "write", width), Operand(1, "read", width))


# Device functions by name: what each does with its pointers. The first row that matches holds.
DEVICE_FUNCTIONS: tuple[tuple[str, object], ...] = (
    (r"tl_(?P<what>ld|st)matrix_x\d\w*", _matrix),
    (r"tl_cp_async_c[ag]_(?P<width>\d+)(_zfill)?", _cp_async),
    (r"tl_(ld|st)(_global)?(_nc|_cs|_cg)?_b(?P<bits>\d+)", _move),
    (r"tl_red_add_float32x2", (Operand(0, "atomic", 8), Operand(1, "read"))),
    (r"tl_red_add_float32x4", (Operand(0, "atomic", 16), Operand(1, "read"))),
    (r"tl_red_add_\w+x2", (Operand(0, "atomic", 4), Operand(1, "read"))),
    (r"(tl_)?atomic_\w+", (Operand(0, "atomic"),)),
    (r"tl_ld_acquire_gpu", (Operand(0, "read", 4),)),
    (r"tl_st_release_gpu", (Operand(0, "write", 4),)),
    (r"tl_wgmma_descriptor", (Operand(1, "read"),)),
    (r"tl_wgmma_fence", (Operand(0, "read"), Operand(1, "read"))),
    (r"tl_wgmma_wait", (Operand(1, "read"), Operand(2, "read"))),  # until here
    (r"print_buffer", (Operand(0, "read"),)),
    (r"ptx_cp_async", (Operand(0, "write", 0, is_async=True), Operand(1, "read"))),
)
_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "r": ("read",), "w": ("write",), "rw": ("read", "write"),
}  # fmt: skip


def operands_of(op: str) -> dict[int, Operand]:
    """What operation `op` does with the pointers in its arguments; only those that are declared."""
    for pattern, row in DEVICE_FUNCTIONS:
        found = re.fullmatch(pattern, op)
        if found is not None:
            rows = row(found) if callable(row) else row
            assert isinstance(rows, tuple)
            return {operand.argument: operand for operand in rows}
    return {}


def is_tracked(buffer: Buffer) -> bool:
    """Whether other threads of the block can see `buffer`."""
    return buffer.scope() in (*SHARED_SCOPES, GLOBAL)


def accesses_of(node: Node, place: Place, storage: Mapping[Var, Buffer]) -> list[Access]:
    """Accesses in `node` (an expression or a leaf statement), reads before the write of a store.

    Args:
        node: what is looked at.
        place: where it stands; its guards and loops hold for all accesses.
        storage: pointer variable -> the buffer it belongs to, for bare pointers.
    """
    collector = _Collector(place, storage)
    collector.visit(node)
    return collector.found


class _Collector:
    def __init__(self, place: Place, storage: Mapping[Var, Buffer]) -> None:
        self.place = place
        self.storage = storage
        self.found: list[Access] = []

    def visit(self, node: Node) -> None:
        if isinstance(node, Call):
            self._call(node)
        elif isinstance(node, BufferLoad):
            self._children(node)
            self._add(node.buffer, node.indices, "read")
        elif isinstance(node, BufferStore):
            self._children(node)
            self._add(node.buffer, node.indices, "write")
        elif isinstance(node, Var):
            self._pointer(node)
        else:
            self._children(node)

    def _children(self, node: Node) -> None:
        for child in children(node):
            self.visit(child)

    def _call(self, node: Call) -> None:
        declared = operands_of(node.op)
        for number, argument in enumerate(node.args):
            operand = declared.get(number)
            target = _target(argument)
            if target is None and operand is not None:
                target = argument  # an atomic gets the element itself
            if not isinstance(target, BufferLoad):
                self.visit(argument)
                continue
            for index in target.indices:
                self.visit(index)
            if operand is not None:
                self._declared(target, operand, argument)
            else:
                for kind in _access_mode(argument):
                    self._add(target.buffer, None, kind)

    def _declared(self, target: BufferLoad, operand: Operand, argument: Expr) -> None:
        is_element = argument is target  # an element as such, not a pointer to it
        indices = target.indices if operand.bytes or is_element else None
        if not is_element and operand.kind == "atomic":
            indices = target.indices
        self._add(
            target.buffer, indices, operand.kind, operand.bytes,
            operand.is_async, operand.is_collective,
        )  # fmt: skip

    def _pointer(self, var: Var) -> None:
        """A bare pointer: whatever it is used for, it may read and write."""
        if var in self.storage:
            for kind in _KINDS["rw"]:
                self._add(self.storage[var], None, kind)

    def _add(
        self, buffer: Buffer, indices: tuple[Expr, ...] | None, kind: Kind, width: int = 0,
        is_async: bool = False, is_collective: bool = False,
    ) -> None:  # fmt: skip
        if is_tracked(buffer):
            in_flight = is_async and buffer.is_shared
            self.found.append(
                Access(buffer, indices, kind, self.place, width, in_flight, is_collective)
            )


def _target(argument: Expr) -> Expr | None:
    """The element that a pointer argument points to."""
    if isinstance(argument, Call) and argument.op in POINTER_OPS:
        return argument.args[0]
    return None


def _access_mode(argument: Expr) -> tuple[Kind, ...]:
    """What an undeclared operation may do with a pointer, as far as `access_ptr` says it."""
    if isinstance(argument, Call) and argument.op == "access_ptr" and len(argument.args) > 1:
        mode = argument.args[1]
        if isinstance(mode, StringImm):
            return _KINDS.get(mode.value, _KINDS["rw"])
    return _KINDS["rw"]


def inlined(value: Expr, names: Mapping[Var, Expr]) -> Expr:
    """`value` with names of pure integer values replaced by what they stand for."""
    return substitute(value, names) if names else value
