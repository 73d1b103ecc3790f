"""What an operator is told when it is asked for layouts or for its lowering.

`LayoutContext` collects what operators say of each buffer; `LowerContext` holds the facts that hold
where a tile operation stands. Both come from the passes in `transform`; they decide nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr, IntImm, as_condition, as_expr, cast
from tilelang.ir.record import record

if TYPE_CHECKING:
    from tilelang.ir.stmt import Stmt
    from tilelang.ir.tile import TileOp
    from tilelang.layout.fragment import Fragment
    from tilelang.layout.layout import Layout
    from tilelang.tileop.base import Decision


class Prover(Protocol):
    """What is asked of integer arithmetic."""

    def can_prove(self, condition: Expr) -> bool:
        """Whether `condition` holds for all values of its variables."""
        ...

    def simplify(self, value: Expr) -> Expr:
        """An equal, simpler expression."""
        ...


class ConstantProver:
    """Knows constants only: what construction has already folded."""

    def can_prove(self, condition: Expr) -> bool:
        return isinstance(condition, IntImm) and bool(condition.value)

    def simplify(self, value: Expr) -> Expr:
        return value


class TargetFacts(Protocol):
    """What operators ask of a target row."""

    @property
    def kind(self) -> str: ...


@dataclass
class LayoutContext:
    """Wishes for the physical form of shared buffers.

    A form takes effect where everyone who touches the buffer either prefers it or accepts it.
    """

    target: Any
    preferred: dict[Buffer, list[Any]] = field(default_factory=dict)
    accepted: dict[Buffer, int] = field(default_factory=dict)
    plain: set[Buffer] = field(default_factory=set)

    def prefers(self, buffer: Buffer, form: Any) -> None:
        """The operation is faster when `buffer` has `form`, and can read it."""
        self.preferred.setdefault(buffer, []).append(form)

    def accepts(self, buffer: Buffer) -> None:
        """The operation writes all of `buffer` in whatever form it has."""
        self.accepted[buffer] = self.accepted.get(buffer, 0) + 1

    def needs_plain(self, buffer: Buffer) -> None:
        """The operation addresses elements of `buffer`: it stays row-major."""
        self.plain.add(buffer)

    def decide(self, eligible: Collection[Buffer]) -> dict[Buffer, Any]:
        """The form of each buffer that gets one."""
        chosen: dict[Buffer, Any] = {}
        for buffer, forms in self.preferred.items():
            agreed = all(form == forms[0] for form in forms)
            if agreed and buffer in eligible and buffer not in self.plain:
                chosen[buffer] = forms[0]
        return chosen


@record
class BlockThreads:
    """The threads of a block that run a tile operation together.

    Attributes:
        count: how many there are; a constant.
        index: a thread's number among them, `0 <= index < count`.
        warp_size: threads in lockstep.
    """

    count: int
    index: Expr
    warp_size: int = 32

    @property
    def lane(self) -> Expr:
        """A thread's number in its warp."""
        return self.index % self.warp_size

    @property
    def warp(self) -> Expr:
        """The number of a thread's warp."""
        return self.index // self.warp_size


@dataclass
class LayoutNeeds:
    """What one instruction needs or would like of the buffers it touches.

    Attributes:
        fragments: where the elements of fragment buffers have to be.
        shared: layouts of shared buffers in which their accesses are free of bank conflicts.
    """

    fragments: dict[Buffer, Fragment] = field(default_factory=dict)
    shared: dict[Buffer, Layout] = field(default_factory=dict)


@dataclass
class LowerContext:
    """Facts where a tile operation stands.

    Attributes:
        target: the target row.
        prover: knows the ranges of enclosing loop variables and the conditions around.
        forms: physical form of the buffers that are not row-major.
        physical: the buffer that holds each of those.
        safe_values: what out-of-bounds reads of a global buffer deliver, where not 0.
        sanitize: lower to plain loops over logical elements, so that each access can be checked.
        decisions: which instruction each operation got.
        explains: decisions have their details.
        disables_wgmma: products do without the instruction of warp groups.
        threads: who runs it together; `None` on a CPU, where one thread runs a whole block.
        fragments: who holds which element of each fragment buffer.
        registers: per fragment buffer, the `local` array of one thread's elements.
        layouts: physical layouts of the shared buffers that are not row-major; accesses stay
            logical until the pass `flatten_buffers`.
        scratch: shared buffers that an operation asked for, allocated around it.
    """

    target: Any
    prover: Prover = field(default_factory=ConstantProver)
    forms: Mapping[Buffer, Any] = field(default_factory=dict)
    physical: Mapping[Buffer, Buffer] = field(default_factory=dict)
    safe_values: Mapping[Buffer, Expr] = field(default_factory=dict)
    sanitize: bool = False
    decisions: list[Decision] = field(default_factory=list)
    explains: bool = False
    disables_wgmma: bool = False
    threads: BlockThreads | None = None
    fragments: Mapping[Buffer, Fragment] = field(default_factory=dict)
    registers: Mapping[Buffer, Buffer] = field(default_factory=dict)
    layouts: Mapping[Buffer, Layout] = field(default_factory=dict)
    scratch: list[Buffer] = field(default_factory=list)

    def new_scratch(self, name: str, shape: tuple[int, ...], kind: Any) -> Buffer:
        """A shared buffer that lives as long as the operation's own statements."""
        made = Buffer(name, shape, kind, "shared.dyn")
        self.scratch.append(made)
        return made

    def proves(self, condition: Any) -> bool:
        """Whether `condition` always holds here."""
        return self.prover.can_prove(as_condition(condition))

    def simplify(self, value: Any) -> Expr:
        """`value`, simplified."""
        return self.prover.simplify(as_expr(value))

    def safe_value(self, source: Buffer, kind: Any) -> Expr:
        """What a read outside `source` delivers, as a `kind`."""
        return cast(self.safe_values.get(source, as_expr(0)), kind)

    def lower(self, node: TileOp) -> Stmt:
        """The lowering of another operation that this one is made of."""
        from tilelang.tileop.registry import operator_for  # the registry names the operators

        return operator_for(node).lower(self)
