"""What the body of a launch needs from outside, and what memory it has: facts for printing it.

In: a function and one of its launches, flattened. Out: `KernelFacts`. It prints nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tilelang.ir.annotation import ARENA_OFFSET, SHARES_ARENA
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import BufferLoad, Call, Let, Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.record import record
from tilelang.ir.stmt import Allocate, Assert, Bind, BufferStore, For, Launch, annotation
from tilelang.ir.visitor import walk

CHECKS = ("tl_check_index", "tl_check_written")
_WRITING = ("address_of", "access_ptr")  # whoever has the address may write


@record(eq=False)
class Pointer:
    """Memory from outside: `kind` is the element type most natural for it; `None`: several."""

    data: Var
    kind: dtype | None
    is_buffer: bool  # a buffer parameter or a workspace, as opposed to a bare address
    is_read_only: bool


@record(eq=False)
class ArenaBuffer:
    """A buffer in the block's scratch memory."""

    data: Var
    kind: dtype
    offset: int  # bytes
    shares: bool  # other buffers use the same bytes at other times


@dataclass(slots=True)
class KernelFacts:
    """Arguments and memory of one launch."""

    pointers: list[Pointer] = field(default_factory=list)
    scalars: list[Var] = field(default_factory=list)
    arena: list[ArenaBuffer] = field(default_factory=list)
    can_fault: bool = False
    uses_rng: bool = False  # with the one state of a block that is one thread


@dataclass(slots=True)
class _Uses:
    """What a walk over the body has seen."""

    bound: set[Var] = field(default_factory=set)
    variables: dict[Var, None] = field(default_factory=dict)
    element_types: dict[Var, dict[dtype, None]] = field(default_factory=dict)
    written: set[Var] = field(default_factory=set)
    hints: set[int] = field(default_factory=set)  # ids of addresses that are only prefetched


def kernel_facts(func: PrimFunc, launch: Launch) -> KernelFacts:
    """What `launch` needs. Parameters come first, in their order, then the rest as they occur."""
    facts, uses = KernelFacts(), _Uses()
    uses.bound.update((*launch.grid_vars, *launch.thread_vars))
    for node in walk(launch.body):
        _look_at(node, uses, facts)
    declared = {b.data: b.dtype for b in func.buffer_params}
    workspaces = {
        n.buffer.data: n.buffer.dtype
        for n in walk(func.body)
        if isinstance(n, Allocate) and n.buffer.scope() == GLOBAL
    }
    order = [p.data if isinstance(p, Buffer) else p for p in func.params]
    rank = {var: i for i, var in enumerate(order)}
    free = [v for v in uses.variables if v not in uses.bound]
    for var in sorted(free, key=lambda v: rank.get(v, len(rank))):
        if var.dtype.kind != "handle":
            facts.scalars.append(var)
            continue
        types = list(uses.element_types.get(var, ()))
        owner = declared.get(var) or workspaces.get(var)
        kind = owner.element if owner else (types[0] if len(types) == 1 else None)
        is_buffer = owner is not None
        facts.pointers.append(Pointer(var, kind, is_buffer, var not in uses.written))
    return facts


def _look_at(node: object, uses: _Uses, facts: KernelFacts) -> None:
    if isinstance(node, (For, Bind, Let)):
        uses.bound.add(node.var)
    elif isinstance(node, Allocate):
        _allocate(node, uses, facts)
    elif isinstance(node, Assert) or (isinstance(node, Call) and node.op in CHECKS):
        facts.can_fault = True
    if isinstance(node, Call) and node.op.startswith("rng_") and not _has_state(node):
        facts.uses_rng = True
    if isinstance(node, Call) and node.op == "tl_stream_prefetch":
        uses.hints.add(id(node.args[0]))
    if isinstance(node, Call) and (node.op in _WRITING or node.op.startswith("atomic_")):
        place = node.args[0]
        if isinstance(place, BufferLoad) and id(node) not in uses.hints:
            uses.written.add(place.buffer.data)
    if isinstance(node, BufferStore):
        uses.written.add(node.buffer.data)
    buffer = getattr(node, "buffer", None)
    if isinstance(buffer, Buffer):
        uses.variables.setdefault(buffer.data)
        uses.element_types.setdefault(buffer.data, {}).setdefault(buffer.dtype)
    if isinstance(node, Var):
        uses.variables.setdefault(node)


def _has_state(node: Call) -> bool:
    return bool(node.args) and node.args[0].dtype.kind == "handle"


def _allocate(node: Allocate, uses: _Uses, facts: KernelFacts) -> None:
    buffer = node.buffer
    uses.bound.add(buffer.data)
    offset = annotation(node.annotations, ARENA_OFFSET)
    if isinstance(offset, int):
        shares = bool(annotation(node.annotations, SHARES_ARENA, False))
        facts.arena.append(ArenaBuffer(buffer.data, buffer.dtype, offset, shares))
