"""Compiled kernels, kept on disk and found again.

`cache_key` lists what decides a kernel, `default_store()` is where entries are, `clear_cache`
removes them. `jit` keeps its own table in memory and asks to be told of a clear with `on_clear`.
"""

from __future__ import annotations

from collections.abc import Callable

from tilelang.cache.entry import (
    DEVICE_SOURCE,
    EXECUTABLE,
    HOST_SOURCE,
    Entry,
    Listing,
)
from tilelang.cache.explain import Difference, differences, explain_miss, nearest
from tilelang.cache.key import CacheKey, cache_key, package_digest, package_version
from tilelang.cache.store import Store, clear_private, default_store
from tilelang.cache.trust import CacheWarning

__all__ = [
    "DEVICE_SOURCE",
    "EXECUTABLE",
    "HOST_SOURCE",
    "CacheKey",
    "CacheWarning",
    "Difference",
    "Entry",
    "Listing",
    "Store",
    "cache_key",
    "clear_cache",
    "default_store",
    "differences",
    "explain_miss",
    "nearest",
    "on_clear",
    "package_digest",
    "package_version",
]

_on_clear: list[Callable[[], object]] = []


def on_clear(forget: Callable[[], object]) -> None:
    """Have `forget` called by every `clear_cache`; once, however often it is given."""
    if forget not in _on_clear:
        _on_clear.append(forget)


def clear_cache(older_than: float | None = None) -> int:
    """Remove the kernels of this version from disk, and all from memory.

    Args:
        older_than: seconds; keep the entries on disk that were used since.

    Returns:
        Number of entries removed from the cache folder.

    Raises:
        OSError: when some could not be removed; the others are.
    """
    for forget in _on_clear:
        forget()
    clear_private()
    return default_store().clear(older_than)
