"""A cache of its own for each test, and keys to fill it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tilelang.cache import CacheKey, Store, cache_key, trust
from tilelang.env import env


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path) -> Iterator[Path]:
    """The cache folder of this test; warnings count anew."""
    trust.reset()
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "cache"), TILELANG_TMP_DIR=""):
        yield tmp_path / "cache"
    trust.reset()


@pytest.fixture
def store(cache_dir: Path) -> Store:
    return Store(cache_dir / "kernels", cache_dir)


def make_key(**changes: object) -> CacheKey:
    """A key that differs from `make_key()` in the given parts alone."""
    parts: dict[str, object] = {
        "ir": "def kernel(A):\n    A[0] = 1\n",
        "target": "c avx2",
        "backend": "tvm_ffi",
        "compiler": "cc 12 -O3",
        "headers": "0123",
        "version": "1.0",
        "package": "abcd",
    }
    return cache_key(**{**parts, **changes})  # type: ignore[arg-type]


@pytest.fixture
def key() -> Callable[..., CacheKey]:
    return make_key
