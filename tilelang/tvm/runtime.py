"""Compiled modules under the reference's names; loaded on first use, as they open libraries."""

from typing import Any

from tilelang.ir.dtype import dtype as DataType

_LAZY = ("Executable", "Module")
__all__ = ["DataType", "Executable", "Module"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import tilelang.engine.runtime as home  # deferred: loads compilers and shared libraries

    return getattr(home, name)
