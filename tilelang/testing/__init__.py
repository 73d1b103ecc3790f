"""For tests of kernels: running a file, seeds, comparison, conditions, and performance records.

Nothing of pytest or PyTorch is imported before it is used.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from tilelang.errors import ArgumentError
from tilelang.profiler.compare import torch_assert_close
from tilelang.testing.markers import (
    requires_cdna,
    requires_cuda,
    requires_cuda_compute_version,
    requires_cuda_compute_version_eq,
    requires_cuda_compute_version_ge,
    requires_cuda_compute_version_gt,
    requires_cuda_compute_version_le,
    requires_cuda_compute_version_lt,
    requires_cuda_or_cdna,
    requires_gfx950,
    requires_llvm,
    requires_metal,
    requires_package,
    requires_rocm,
)
from tilelang.testing.regression import PerfResult, process_func, regression, regression_all

__all__ = [
    "PerfResult",
    "main",
    "process_func",
    "regression",
    "regression_all",
    "requires_cdna",
    "requires_cuda",
    "requires_cuda_compute_version",
    "requires_cuda_compute_version_eq",
    "requires_cuda_compute_version_ge",
    "requires_cuda_compute_version_gt",
    "requires_cuda_compute_version_le",
    "requires_cuda_compute_version_lt",
    "requires_cuda_or_cdna",
    "requires_gfx950",
    "requires_llvm",
    "requires_metal",
    "requires_package",
    "requires_rocm",
    "set_random_seed",
    "torch_assert_close",
]


def main() -> NoReturn:
    """Run pytest on the file this is called from, with the command line's options, and exit.

    Raises:
        SystemExit: with pytest's status.
    """
    import pytest

    file = sys._getframe(1).f_globals.get("__file__")
    if file is None:
        raise ArgumentError("tilelang.testing.main() runs the tests of a file; this is not one")
    sys.exit(pytest.main([str(file), *sys.argv[1:]]))


def set_random_seed(seed: int = 42) -> None:
    """Seed the generators of Python, NumPy and, where it is installed, PyTorch on all devices."""
    import importlib.util
    import random

    import numpy

    random.seed(seed)
    numpy.random.seed(seed)
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.manual_seed(seed)
