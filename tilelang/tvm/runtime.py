"""Compiled modules under the reference's names; loaded on first use, as they open libraries."""

from typing import TYPE_CHECKING, Any

from tilelang.ir.dtype import dtype as DataType

if TYPE_CHECKING:
    from tilelang.engine.runtime import Executable, Module

__all__ = ["DataType", "Executable", "Module"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import tilelang.engine.runtime as home  # deferred: loads compilers and shared libraries

    return getattr(home, name)
