"""Programs and pictures for people: the report about the machine, drawings of layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilelang.tools.plot import plot_layout as plot_layout

__all__ = ["plot_layout"]


def __getattr__(name: str) -> Any:
    """`plot_layout`, loaded when it is asked for: `doctor` needs no arrays."""
    if name == "plot_layout":
        from tilelang.tools.plot import plot_layout

        return plot_layout
    raise AttributeError(f"module 'tilelang.tools' has no attribute {name!r}")
