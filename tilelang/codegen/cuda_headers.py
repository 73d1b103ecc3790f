"""Which header of `device/cuda` defines a function: by the beginning of its name.

Asked by the CUDA printer. A new header gets its rows here.
"""

from __future__ import annotations

import re

_HEADERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("approx.h", ("tl_fast_", "tl_ex2_", "tl_lg2_", "tl_rcp_", "tl_rsqrt_approx", "tl_sqrt_approx",
                  "tl_sin_approx", "tl_cos_approx", "tl_tanh_approx", "tl_exp2_polynomial")),
    ("atomic.h", ("tl_atomic_", "tl_red_")),
    ("cp_async.h", ("tl_cp_async_",)),
    ("ldmatrix.h", ("tl_ldmatrix_", "tl_stmatrix_", "tl_movmatrix_")),
    ("memory.h", ("tl_ld_", "tl_st_", "tl_prefetch_", "tl_smem_address")),
    ("mma.h", ("tl_mma_",)),
    ("packed.h", ("tl_float32x2_to_", "tl_float16x2_to_", "tl_bfloat16x2_to_",
                  "tl_float8_e4m3x2_to_", "tl_float8_e4m3fnx2_to_", "tl_float8_e5m2x2_to_",
                  "tl_pack_b16", "tl_prmt", "tl_lop3", "tl_uint4x8_to_", "tl_int4x8_to_",
                  "tl_add2_", "tl_sub2_", "tl_mul2_", "tl_fma2_", "tl_max2_", "tl_min2_",
                  "tl_abs2_", "tl_neg2_")),
    ("grid.h", ("tl_sync_grid",)),
    ("rng.h", ("tl_rng_",)),
    ("sync.h", ("tl_sync_threads", "tl_bar_", "tl_syncthreads_", "tl_sync_warp", "tl_membar_",
                "tl_fence_sc_", "tl_fence_proxy_")),
    ("warp.h", ("tl_lane_id", "tl_warp_", "tl_shfl_", "tl_any_sync", "tl_all_sync",
                "tl_ballot_sync", "tl_activemask", "tl_match_", "tl_elect_sync")),
    ("integer.h", ("tl_min_", "tl_max_", "tl_abs_", "tl_ffs_", "tl_fns", "tl_dp4a_", "tl_wrap_",
                   "tl_nan_above", "tl_round_random")),
    ("wgmma.h", ("tl_wgmma_",)),
    ("types.h", ("tl_float", "tl_bfloat16_", "tl_bits_to_", "tl_nibble_", "tl_int4_",
                 "tl_uint4_")),
)  # fmt: skip
_ARITHMETIC = ("tl_max_num_", "tl_min_num_", "tl_max_nan_", "tl_min_nan_")  # not in integer.h

# Functions whose first arguments are template parameters, and how many.
TEMPLATE_ARGUMENTS = {
    "tl_cp_async_wait_group": 1, "tl_lop3": 1, "tl_wgmma_descriptor": 1, "tl_wgmma_pin": 1,
    "tl_wgmma_pin_words": 1, "tl_wgmma_wait": 1, **{
        f"tl_wgmma_m64n{n}k16_f32_{kind}_{form}": count
        for n in range(8, 257, 8) for kind in ("f16", "bf16")
        for form, count in (("ss", 2), ("ss_new", 2), ("rs", 1), ("rs_new", 1))
    },
}  # fmt: skip
_SIZED = re.compile(r"tl_wgmma_m64n(\d+)")


def definition_of(function: str) -> str | None:
    """The line after the `#include` that defines a function of one size among many; `None` for a
    function that its header defines by itself."""
    size = _SIZED.match(function)
    return None if size is None else f"TL_DEFINE_WGMMA({size[1]})"


def header_of(function: str) -> str | None:
    """`"sync.h"` for `tl_bar_sync`; `None` for a name that no header has."""
    if function.startswith(_ARITHMETIC):
        return "tl_arith.h"
    for header, prefixes in _HEADERS:
        if function.startswith(prefixes):
            return header
    return None
