"""How many blocks of a kernel one multiprocessor holds at a time.

In: what the assembler says of a kernel, and its launch. Out: `Occupancy`. It measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

REGISTERS = 65536  # of a multiprocessor, of every supported device
_WARP = 32
_REGISTER_UNIT = 256  # a warp's registers are handed out in these
_SHARED_UNIT = 128  # bytes


@dataclass(frozen=True)
class Limits:
    """A multiprocessor, as "Technical Specifications per Compute Capability" has it."""

    warps: int
    blocks: int
    shared_bytes: int


LIMITS = {
    75: Limits(32, 16, 64 << 10), 80: Limits(64, 32, 164 << 10), 86: Limits(48, 16, 100 << 10),
    87: Limits(48, 16, 164 << 10), 89: Limits(48, 24, 100 << 10), 90: Limits(64, 32, 228 << 10),
    100: Limits(64, 32, 228 << 10), 103: Limits(64, 32, 228 << 10),
    120: Limits(48, 24, 100 << 10), 121: Limits(48, 24, 100 << 10),
}  # fmt: skip


@dataclass(frozen=True)
class Occupancy:
    """Blocks and warps of one kernel on one multiprocessor.

    Attributes:
        blocks, warps: at a time.
        most_warps: what the multiprocessor could hold.
        limited_by: what there is too little of for one more block.
    """

    blocks: int
    warps: int
    most_warps: int
    limited_by: str

    def __str__(self) -> str:
        plural = "" if self.blocks == 1 else "s"
        return (
            f"{self.blocks} block{plural} per multiprocessor, {self.warps} of {self.most_warps} "
            f"warps, limited by {self.limited_by}"
        )


def occupancy(capability: int, threads: int, registers: int, shared_bytes: int) -> Occupancy | None:
    """The occupancy of a kernel; `None` for a device whose limits are not in the table.

    Args:
        capability: 90 for `sm_90a`.
        threads: of a block.
        registers: of a thread.
        shared_bytes: of a block, static and dynamic.
    """
    limits = LIMITS.get(capability)
    if limits is None:
        return None
    warps = -(-threads // _WARP)
    of_warp = _up(registers * _WARP, _REGISTER_UNIT)
    system = 1024 if capability >= 80 else 0  # bytes of each block that the device itself takes
    shared = _up(shared_bytes + system, _SHARED_UNIT)
    fits = {
        "warps": limits.warps // warps,
        "registers": REGISTERS // of_warp // warps if of_warp else limits.blocks,
        "shared memory": limits.shared_bytes // shared if shared else limits.blocks,
        "blocks": limits.blocks,
    }
    reason = min(fits, key=lambda name: fits[name])
    blocks = fits[reason]
    return Occupancy(blocks, blocks * warps, limits.warps, reason)


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
