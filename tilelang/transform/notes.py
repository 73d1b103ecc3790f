"""What passes tell of their decisions, for people: one small dataclass per kind of decision.

In: `PassContext.notes`, filled by the passes that decide (`infer_fragments`, `lower_tile_ops`,
`lower_threads`; `insert_barriers` and the memory planners have notes of their own). Out: rows that
print themselves, for `kernel.explain()`. Nothing here is read by another pass. `launch` counts the
launches of the function from 0.
"""

from __future__ import annotations

from tilelang.errors import Span
from tilelang.ir.record import record


@record
class LaunchNote:
    """One launch: its sizes."""

    launch: int
    span: Span | None
    grid: tuple[str, ...]
    threads: int | None  # of a block; `None`: not a constant


@record
class AccessNote:
    """How the iterations of a nest access memory.

    Attributes:
        bytes: that one thread moves at once.
        conflicts: degree of the bank conflicts in shared memory, 1 without any; `None`: the
            buffer is not in shared memory, or its addresses are computed at run time.
    """

    buffer: str
    scope: str
    is_store: bool
    bytes: int
    conflicts: int | None = None

    def __str__(self) -> str:
        what = "writes" if self.is_store else "reads"
        text = f"{what} {self.buffer} ({self.scope}) by {_bytes(self.bytes)}"
        if self.conflicts is None:
            return text
        return f"{text}, {conflict_text(self.conflicts)}"


@record
class NestNote:
    """How a nest (a copy, a fill, the user's own `T.Parallel`) runs.

    Attributes:
        operation: the tile operation that it was written for, or `"parallel"`.
        chosen: the kind of instructions.
        why_not: what would be better, and why it is not so, in words.
        steps: of each thread; `None`: known at run time.
        elements: in one step.
        leader: the fragment that says who runs which iteration; `None`: dealt out in order.
        is_guarded: the accesses to global memory have a condition.
    """

    launch: int
    span: Span | None
    operation: str
    chosen: str
    why_not: tuple[str, ...]
    steps: int | None
    elements: int
    leader: str | None
    is_guarded: bool
    accesses: tuple[AccessNote, ...] = ()

    def __str__(self) -> str:
        plural = "" if self.elements == 1 else "s"
        steps = "steps by run time" if self.steps is None else f"{self.steps} steps"
        head = f"{self.operation}: {self.chosen}, {steps} of {self.elements} element{plural}"
        rows = [head if self.steps != 1 else head.replace("1 steps", "1 step")]
        if self.leader is not None:
            rows.append(f"runs where {self.leader} has its elements")
        if self.is_guarded:
            rows.append("guarded: indices may be out of range")
        rows += [str(a) for a in self.accesses]
        return "\n  ".join([*rows, *(f"not {reason}" for reason in self.why_not)])


@record
class InstructionNote:
    """Which instruction a tile operation got, and why not the ones before it in its list."""

    launch: int
    span: Span | None
    operation: str
    chosen: str
    rejected: tuple[tuple[str, str], ...] = ()
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        rejected = [f"not {name}: {reason}" for name, reason in self.rejected]
        return "\n  ".join([f"{self.operation}: {self.chosen}", *self.details, *rejected])


@record
class ExchangeNote:
    """A fragment that passes through shared memory, where two layouts of it meet.

    Attributes:
        span: of the loop or operation that needs it elsewhere; made: of the buffer.
        bytes: shared memory that it takes in a block.
        moves: times that all of it is written to and read from there.
    """

    launch: int
    span: Span | None
    made: Span | None
    buffer: str
    reason: str
    bytes: int
    moves: int

    def __str__(self) -> str:
        lines = [str(s.line) if s else "?" for s in (self.made, self.span)]
        return (
            f"{self.buffer} (line {lines[0]}) passes through shared memory for line {lines[1]}: "
            f"{self.reason}; price: {_bytes(self.bytes)} of shared memory, "
            f"{_bytes(self.bytes * self.moves)} moved, a barrier between the two"
        )


@record
class LayoutNote:
    """Where the elements of a buffer are.

    Attributes:
        layout: as it prints; `None`: row-major.
        registers: of each thread, for a fragment.
        replicas: threads that hold each element, for a fragment.
    """

    launch: int
    span: Span | None
    buffer: str
    scope: str
    dtype: str
    layout: str | None
    registers: int | None = None
    replicas: int | None = None

    def __str__(self) -> str:
        head = f"{self.buffer} {self.dtype} ({self.scope}): {self.layout or 'row-major'}"
        if self.registers is None:
            return head
        shared = f", each element in {self.replicas} threads" if self.replicas != 1 else ""
        return f"{head}; {self.registers} per thread{shared}"


def conflict_text(degree: int) -> str:
    """`2-way bank conflicts`."""
    return "no bank conflicts" if degree <= 1 else f"{degree}-way bank conflicts"


def _bytes(count: int) -> str:
    return f"{count} byte" if count == 1 else f"{count} bytes"
