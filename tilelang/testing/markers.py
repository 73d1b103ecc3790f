"""Conditions under which a test runs.

In: a test function or class, decorated in a user's test file. Out: the same, marked so that pytest
skips it where the condition does not hold, with the reason. Devices are looked for through PyTorch,
which such tests use anyway.
"""

from __future__ import annotations

import functools
import importlib.util
import operator
from collections.abc import Callable
from typing import Any, TypeVar, overload

from tilelang.errors import ArgumentError
from tilelang.target.registry import TARGETS

F = TypeVar("F", bound=Callable[..., Any])

_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "above"),
    "le": (operator.le, "at most"),
    "lt": (operator.lt, "below"),
    "eq": (operator.eq, "exactly"),
}


def _skip_unless(condition: bool, reason: str) -> Callable[[F], F]:
    import pytest

    return pytest.mark.skipif(not condition, reason=reason)


class _Condition:
    """A marker that is used bare, `@requires_cuda`, or called, `@requires_cuda()`."""

    def __init__(self, holds: Callable[[], bool], reason: str) -> None:
        self.holds = holds
        self.reason = reason
        self.__doc__ = f"Skip a test: {reason}."

    @overload
    def __call__(self, function: F) -> F: ...
    @overload
    def __call__(self) -> Callable[[F], F]: ...
    def __call__(self, function: Any = None) -> Any:
        mark: Callable[[Any], Any] = _skip_unless(self.holds(), self.reason)
        return mark if function is None else mark(function)


def has_package(name: str) -> bool:
    """Whether the package `name` can be imported; it is not."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent of a dotted name is missing
        return False


@functools.lru_cache(maxsize=1)
def cuda_version() -> tuple[int, int] | None:
    """Compute capability of PyTorch's current CUDA device; `None` without one."""
    if not has_package("torch"):
        return None
    import torch

    if torch.version.cuda is None or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_capability()


@functools.lru_cache(maxsize=1)
def rocm_architecture() -> str | None:
    """Architecture of PyTorch's current ROCm device, as `gfx942`; `None` without one."""
    if not has_package("torch"):
        return None
    import torch

    if torch.version.hip is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_properties().gcnArchName).partition(":")[0]


def _has_metal() -> bool:
    if not has_package("torch"):
        return False
    import torch

    return bool(torch.backends.mps.is_available())


def _has_cdna() -> bool:
    found = rocm_architecture() or ""
    return found == "gfx908" or found.startswith(("gfx90a", "gfx94", "gfx95"))


requires_cuda = _Condition(lambda: cuda_version() is not None, "needs a CUDA device")
requires_rocm = _Condition(lambda: rocm_architecture() is not None, "needs a ROCm device")
requires_metal = _Condition(_has_metal, "needs a Metal device")
requires_llvm = _Condition(lambda: "llvm" in TARGETS, "needs the target `llvm`")
requires_cdna = _Condition(_has_cdna, "needs a CDNA device")
requires_gfx950 = _Condition(lambda: rocm_architecture() == "gfx950", "needs a gfx950 device")
requires_cuda_or_cdna = _Condition(
    lambda: cuda_version() is not None or _has_cdna(), "needs a CUDA or CDNA device"
)


def requires_package(*names: str) -> Callable[[F], F]:
    """Skip a test unless all of these packages are installed."""
    missing = [name for name in names if not has_package(name)]
    return _skip_unless(not missing, f"needs the package {', '.join(missing or names)}")


def requires_cuda_compute_version(major: int, minor: int = 0, mode: str = "ge") -> Callable[[F], F]:
    """Skip a test unless the CUDA device's compute capability compares so with `major.minor`.

    Args:
        mode: `"ge"`, `"gt"`, `"le"`, `"lt"` or `"eq"`: device on the left.

    Raises:
        ArgumentError: for another mode.
    """
    if mode not in _COMPARISONS:
        raise ArgumentError(f"unknown mode {mode!r}; expected one of {', '.join(_COMPARISONS)}")
    compare, words = _COMPARISONS[mode]
    found = cuda_version()
    holds = found is not None and compare(found, (major, minor))
    return _skip_unless(holds, f"needs compute capability {words} {major}.{minor}; found {found}")


def requires_cuda_compute_version_ge(major: int, minor: int = 0) -> Callable[[F], F]:
    """Compute capability `major.minor` or higher."""
    return requires_cuda_compute_version(major, minor, "ge")


def requires_cuda_compute_version_gt(major: int, minor: int = 0) -> Callable[[F], F]:
    """Compute capability above `major.minor`."""
    return requires_cuda_compute_version(major, minor, "gt")


def requires_cuda_compute_version_le(major: int, minor: int = 0) -> Callable[[F], F]:
    """Compute capability `major.minor` or lower."""
    return requires_cuda_compute_version(major, minor, "le")


def requires_cuda_compute_version_lt(major: int, minor: int = 0) -> Callable[[F], F]:
    """Compute capability below `major.minor`."""
    return requires_cuda_compute_version(major, minor, "lt")


def requires_cuda_compute_version_eq(major: int, minor: int = 0) -> Callable[[F], F]:
    """Compute capability `major.minor` exactly."""
    return requires_cuda_compute_version(major, minor, "eq")
