"""Where an element lives: layouts, fragments, swizzles, and the partition of warps."""

from tilelang.layout.fragment import (
    Fragment,
    make_fully_replicated_layout_fragment,
    make_gemm_fragment_8x8,
    make_gemm_fragment_8x8_transposed,
)
from tilelang.layout.layout import Layout
from tilelang.layout.sparse import make_cutlass_metadata_layout
from tilelang.layout.swizzle import (
    SwizzleMode,
    make_full_bank_swizzled_layout,
    make_half_bank_swizzled_layout,
    make_linear_layout,
    make_padded_layout,
    make_quarter_bank_swizzled_layout,
    make_swizzled_layout,
    make_wgmma_swizzled_layout,
)
from tilelang.layout.tcgen05 import make_tcgen05mma_swizzled_layout
from tilelang.layout.volta import make_volta_swizzled_layout
from tilelang.layout.warp_policy import GemmWarpPolicy

__all__ = [
    "Fragment",
    "GemmWarpPolicy",
    "Layout",
    "SwizzleMode",
    "make_cutlass_metadata_layout",
    "make_full_bank_swizzled_layout",
    "make_fully_replicated_layout_fragment",
    "make_gemm_fragment_8x8",
    "make_gemm_fragment_8x8_transposed",
    "make_half_bank_swizzled_layout",
    "make_linear_layout",
    "make_padded_layout",
    "make_quarter_bank_swizzled_layout",
    "make_swizzled_layout",
    "make_tcgen05mma_swizzled_layout",
    "make_volta_swizzled_layout",
    "make_wgmma_swizzled_layout",
]
