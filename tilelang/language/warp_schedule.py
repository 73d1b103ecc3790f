"""Explicit warp-specialisation plans: which warps run which operations, and what they wait for.

A plan is data: it is recorded in the IR as an attribute of the launch, for targets that specialise
warps. It never changes what a kernel computes, so targets without warps ignore it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from tilelang.errors import ArgumentError
from tilelang.ir import annotation as keys
from tilelang.language.annotations import AttributeFrame
from tilelang.language.builder import current

WSID = keys.WS_ID


class WSSyncKind(Enum):
    """What a role does with a pipeline."""

    PRODUCER_ACQUIRE = "producer_acquire"
    PRODUCER_COMMIT = "producer_commit"
    CONSUMER_WAIT = "consumer_wait"
    CONSUMER_RELEASE = "consumer_release"


@dataclass(frozen=True)
class WSRole:
    """Warps `warps_lo` to `warps_hi` (exclusive), `max_nreg` registers at most (0: as compiled)."""

    name: str
    warps_lo: int
    warps_hi: int
    max_nreg: int = 0

    def __init__(self, name: str, *, warps_lo: int, warps_hi: int, max_nreg: int = 0) -> None:
        if not 0 <= warps_lo < warps_hi:
            raise ArgumentError(f"WSRole {name!r}: warps {warps_lo} to {warps_hi} are no range")
        for field, value in (
            ("name", name),
            ("warps_lo", warps_lo),
            ("warps_hi", warps_hi),
            ("max_nreg", max_nreg),
        ):
            object.__setattr__(self, field, value)


@dataclass(frozen=True)
class WSPipeline:
    """A ring of `depth` slots of the named buffers."""

    name: str
    buffers: tuple[Any, ...]
    depth: int

    def __init__(self, name: str, buffers: Any, depth: int) -> None:
        if depth < 1:
            raise ArgumentError(f"WSPipeline {name!r}: depth is {depth}, expected 1 or more")
        given = tuple(buffers) if isinstance(buffers, (list, tuple)) else (buffers,)
        for field, value in (("name", name), ("buffers", given), ("depth", depth)):
            object.__setattr__(self, field, value)


@dataclass(frozen=True)
class WSSync:
    """One synchronisation step of a role."""

    kind: WSSyncKind
    pipeline: WSPipeline
    stage: int = 0

    @classmethod
    def producer_acquire(cls, pipeline: WSPipeline, stage: int = 0) -> WSSync:
        """Wait until the slot is free."""
        return cls(WSSyncKind.PRODUCER_ACQUIRE, pipeline, stage)

    @classmethod
    def producer_commit(cls, pipeline: WSPipeline, stage: int = 0) -> WSSync:
        """The slot is filled."""
        return cls(WSSyncKind.PRODUCER_COMMIT, pipeline, stage)

    @classmethod
    def consumer_wait(cls, pipeline: WSPipeline, stage: int = 0) -> WSSync:
        """Wait until the slot is filled."""
        return cls(WSSyncKind.CONSUMER_WAIT, pipeline, stage)

    @classmethod
    def consumer_release(cls, pipeline: WSPipeline, stage: int = 0) -> WSSync:
        """The slot is free."""
        return cls(WSSyncKind.CONSUMER_RELEASE, pipeline, stage)


@dataclass(frozen=True)
class WSScope:
    """What each role does in the loop or block `id`: operation ids and WSSync steps, in order."""

    ROOT: ClassVar[str] = "root"

    id: str
    bodies: dict[str, list[Any]]


@dataclass(frozen=True)
class WSSchedule:
    """The whole plan; `num_warps` is a multiple of 4 and the roles' warps lie inside it."""

    num_warps: int
    roles: list[WSRole]
    pipelines: list[WSPipeline]
    scopes: list[WSScope]

    def __post_init__(self) -> None:
        if self.num_warps <= 0 or self.num_warps % 4:
            raise ArgumentError(
                f"WSSchedule: num_warps is {self.num_warps}, expected a multiple of 4"
            )
        for role in self.roles:
            if role.warps_hi > self.num_warps:
                raise ArgumentError(
                    f"WSSchedule: role {role.name!r} ends at warp {role.warps_hi} "
                    f"of {self.num_warps}"
                )
        names = {role.name for role in self.roles}
        for scope in self.scopes:
            unknown = [name for name in scope.bodies if name not in names]
            if unknown:
                raise ArgumentError(
                    f"WSSchedule: scope {scope.id!r} speaks of role {unknown[0]!r}, "
                    "which does not exist"
                )


def annotate_ws_schedule(schedule: WSSchedule) -> None:
    """Follow this plan in the rest of the launch, on targets that specialise warps."""
    current().attribute_rest(keys.WS_SCHEDULE, schedule)


def ws_op(id: str) -> AttributeFrame:
    """`with T.ws_op("x"):` the statements of the block are operation `x` of the plan."""
    assert isinstance(id, str) and id, "T.ws_op needs a non-empty id"
    return AttributeFrame(keys.WS_ID, id)
