"""What a pass may ask besides the function it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from tilelang.ir.record import record
from tilelang.target.target import Target
from tilelang.transform.config import PassConfigKey, option


@record
class PassContext:
    """One compilation's target and options.

    Attributes:
        target: the row of the device.
        config: normalised pass configuration.
        sanitize: kernels check bounds and uninitialised reads while they run.
        timings: seconds per pass, filled in by the pipeline.
        notes: what passes decided and why, for `kernel.explain()`; each prints itself.
        explains: passes also note what takes time to find out.
    """

    target: Target
    config: Mapping[PassConfigKey, Any] = field(default_factory=dict)
    sanitize: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    notes: list[object] = field(default_factory=list)
    explains: bool = False

    def option(self, key: PassConfigKey) -> Any:
        """The value of a pass configuration key, or its default."""
        return option(self.config, key)
