"""Operations of particular devices: they have regions, and no lowering anywhere else."""

from __future__ import annotations

from tilelang.errors import TargetError
from tilelang.ir.stmt import Stmt
from tilelang.tileop.base import TileOperator
from tilelang.tileop.context import LowerContext

_UNITS = {
    "tma_copy": "tensor memory accelerator",
    "tma_gather4": "tensor memory accelerator",
    "tma_scatter4": "tensor memory accelerator",
    "copy_cluster": "block clusters",
    "gemm_sp": "sparse matrix unit",
    "tcgen05_gemm": "tensor memory",
    "tcgen05_gemm_blockscaled": "tensor memory",
    "mma_gemm_blockscaled": "block-scaled matrix unit",
}
_INSTEAD = {"tma_copy": "T.copy", "copy_cluster": "T.copy", "tcgen05_gemm": "T.gemm"}


class DeviceOnly(TileOperator):
    """Lowers on the targets that list instructions for it; on others it is a located error."""

    def lower(self, ctx: LowerContext) -> Stmt:
        if ctx.target.kind in self.instructions:
            return super().lower(ctx)
        op = self.node.op
        instead = _INSTEAD.get(op)
        raise TargetError(
            f"{op}: the target `{ctx.target.kind}` has no {_UNITS[op]}",
            self.node.span,
            hint=f"use {instead}, which runs on every target" if instead else None,
        )
