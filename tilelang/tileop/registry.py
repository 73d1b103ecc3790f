"""Name of a tile operation -> the class that knows it, loaded on first use."""

from __future__ import annotations

import importlib

from tilelang.errors import TargetError
from tilelang.ir.tile import TileOp
from tilelang.tileop.base import TileOperator

OPERATORS: dict[str, str] = {
    "copy": "tilelang.tileop.copy:Copy",
    "async_copy": "tilelang.tileop.copy:Copy",
    "fill": "tilelang.tileop.fill:Fill",
    "transpose": "tilelang.tileop.transpose:Transpose",
    "im2col": "tilelang.tileop.im2col:Im2Col",
    "gemm": "tilelang.tileop.gemm:Gemm",
    "wgmma_gemm": "tilelang.tileop.gemm:Gemm",
    "reduce": "tilelang.tileop.reduce:Reduce",
    "scan": "tilelang.tileop.scan:Scan",
    "atomic": "tilelang.tileop.atomic:Atomic",
    "reducer_init": "tilelang.tileop.reducer:ReducerInit",
    "finalize_reducer": "tilelang.tileop.reducer:FinalizeReducer",
    "tma_copy": "tilelang.tileop.device_only:DeviceOnly",
    "copy_cluster": "tilelang.tileop.device_only:DeviceOnly",
    "tma_gather4": "tilelang.tileop.device_only:DeviceOnly",
    "tma_scatter4": "tilelang.tileop.device_only:DeviceOnly",
    "gemm_sp": "tilelang.tileop.device_only:DeviceOnly",
    "tcgen05_gemm": "tilelang.tileop.device_only:DeviceOnly",
    "tcgen05_gemm_blockscaled": "tilelang.tileop.device_only:DeviceOnly",
    "mma_gemm_blockscaled": "tilelang.tileop.device_only:DeviceOnly",
}


def operator_for(node: TileOp) -> TileOperator:
    """The operator of `node`.

    Raises:
        TargetError: for a name that no operator has.
    """
    path = OPERATORS.get(node.op)
    if path is None:
        raise TargetError(f"there is no tile operation called `{node.op}`", node.span)
    module, _, attr = path.partition(":")
    return getattr(importlib.import_module(module), attr)(node)
