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

if TYPE_CHECKING:
    from tilelang.ir.stmt import Stmt
    from tilelang.ir.tile import TileOp
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
    """

    target: Any
    prover: Prover = field(default_factory=ConstantProver)
    forms: Mapping[Buffer, Any] = field(default_factory=dict)
    physical: Mapping[Buffer, Buffer] = field(default_factory=dict)
    safe_values: Mapping[Buffer, Expr] = field(default_factory=dict)
    sanitize: bool = False
    decisions: list[Decision] = field(default_factory=list)

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
