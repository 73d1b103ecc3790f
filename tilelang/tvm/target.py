"""Targets under the reference's name; loaded on first use, as most programs never ask."""

from typing import Any

__all__ = ["Target"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import tilelang.target as home  # deferred: describes devices, which types do not need

    return getattr(home, name)
