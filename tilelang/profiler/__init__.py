"""Time and check any callable whose parameters are described."""

from __future__ import annotations

from tilelang.profiler.bench import do_bench
from tilelang.profiler.compare import torch_assert_close
from tilelang.profiler.profiler import Profiler
from tilelang.profiler.supply import (
    TensorSupplyType,
    fp8_remove_negative_zeros_,
    get_tensor_supply,
    is_float8_dtype,
    map_torch_type,
)

__all__ = [
    "Profiler",
    "TensorSupplyType",
    "do_bench",
    "fp8_remove_negative_zeros_",
    "get_tensor_supply",
    "is_float8_dtype",
    "map_torch_type",
    "torch_assert_close",
]
