"""What a device can do: one file and one row per target."""

from tilelang.target.registry import TARGETS, determine_target
from tilelang.target.target import Target, TargetRow

__all__ = ["TARGETS", "Target", "TargetRow", "determine_target"]
