"""Targets under the reference's name."""

from tilelang.target import Target

__all__ = ["Target"]
