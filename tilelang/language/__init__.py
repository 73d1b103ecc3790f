"""What a user writes: `import tilelang.language as T`.

Names are gathered here from one module per subject; an unknown one is an error that names the
nearest. This folder builds tile IR and knows nothing of targets or of how operations are lowered.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from tilelang.errors import UnknownNameError
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr as PrimExpr
from tilelang.ir.expr import Var
from tilelang.ir.func import PrimFunc
from tilelang.language.v2 import dtypes as _dtypes
from tilelang.language.v2.dtypes import *  # noqa: F403  the dtype names are many

# module -> names it gives to `T`. Loaded on first use: most kernels need a few of them.
_MODULES: dict[str, str] = {
    "allocate": "alloc_shared alloc_fragment alloc_local alloc_var alloc_global alloc_barrier "
    "alloc_cluster_barrier alloc_tmem alloc_descriptor alloc_wgmma_desc alloc_tcgen05_smem_desc "
    "alloc_tcgen05_instr_desc empty make_tensor make_tensor_from_addr",
    "annotations": "use_swizzle annotate_layout annotate_safe_value annotate_l2_hit_ratio "
    "annotate_restrict_buffers annotate_min_blocks_per_sm assume attr ws WarpSpecialize func_attr "
    "block_attr sblock_attr set_max_nreg inc_max_nreg dec_max_nreg annotate_producer_reg_dealloc "
    "annotate_consumer_reg_alloc no_set_max_nreg disable_warp_group_reg_alloc comm_reducer "
    "tvm_thread_allreduce",
    "copy": "copy async_copy tma_copy copy_cluster tma_gather4 tma_scatter4 tma_gather4_bytes",
    "eager": "const dynamic symbolic annotate_compile_flags annotate_pass_configs",
    "fill": "fill clear",
    "gemm": "gemm gemm_v1 gemm_v2 wgmma_gemm wgmma_mma tcgen05_gemm tcgen05_mma tcgen05_gemm_blockscaled "
    "tcgen05_mma_blockscaled mma_gemm_blockscaled gemm_sp gemm_sp_v2 wgmma_gemm_sp tcgen05_gemm_sp "
    "make_blockscaled_gemm_layout",
    "im2col": "im2col c2d_im2col",
    "kernel": "Kernel ClusterKernel KernelLaunchFrame get_thread_binding get_thread_bindings "
    "get_block_binding get_block_bindings get_thread_extent get_thread_extents get_block_extent "
    "get_block_extents import_source",
    "loops": "serial Serial unroll Unroll vectorized Vectorized parallel Parallel Pipelined Persistent "
    "grid thread_binding",
    "math": "acos acosh asin asinh atan atanh cos cosh erf exp exp2 exp10 log log1p log2 log10 rsqrt "
    "sigmoid sin sinh sqrt tan tanh nearbyint __exp __exp10 __log __log2 __log10 __sin __cos __tan "
    "fast_rcp ceil floor trunc round abs atan2 copysign fmod hypot nextafter ldexp pow power max min "
    "clamp align_up Select isnan isinf isfinite popcount clz __ffs __fns infinity max_value min_value "
    "Cast cast reinterpret ieee_add ieee_sub ieee_mul ieee_fdiv ieee_fmaf ieee_frcp ieee_fsqrt "
    "ieee_frsqrt add2 sub2 mul2 fma2 max2 min2 abs2 likely any all And Or Not extract_lane Shuffle "
    "index_to_coordinates undef ceildiv cdiv bitwise_and bitwise_or bitwise_xor bitwise_not "
    "shift_left shift_right floordiv floormod truncdiv truncmod if_then_else Ramp Broadcast",
    "persistent": "PersistentTileScheduler",
    "prim_func": "prim_func macro inline",
    "low_level": "buffer_store decl_buffer match_buffer alloc_buffer sblock_alloc_buffer allocate bind let "
    "LetStmt block sblock reads writes launch_thread env_thread While If Then Else tvm_access_ptr "
    "tvm_storage_sync handle_add_byte_offset type_annotation region meta_class",
    "generic": "tile_op loop",
    "reduce": "reduce reduce_max reduce_min reduce_sum reduce_absmax reduce_abssum reduce_bitand "
    "reduce_bitor reduce_bitxor any_of all_of",
    "reducer": "alloc_reducer reducer_init reducer_update finalize_reducer",
    "reference": "Ref",
    "scan": "cumsum cummax",
    "threads": "sync_threads sync_warp sync_grid sync_global named_barrier_arrive syncthreads_count "
    "syncthreads_and syncthreads_or any_sync all_sync ballot_sync ballot activemask match_any_sync "
    "match_all_sync shfl_xor shfl_up shfl_down shfl_sync tvm_warp_shuffle get_lane_idx get_warp_idx "
    "get_warp_idx_sync get_warp_group_idx shuffle_elect warp_reduce_sum warp_reduce_max "
    "warp_reduce_min warp_reduce_bitand warp_reduce_bitor atomic_or atomic_addx2 atomic_addx4 "
    "atomic_load atomic_store call_extern call_pure_extern call_intrin address_of access_ptr evaluate "
    "print device_assert Assert rng_init rng_rand rng_rand_float loop_break thread_return __ldg dp4a",
    "tile_atomic": "atomic_add atomic_max atomic_min",
    "transpose": "transpose",
    "v2.annot": "Tensor StridedTensor Buffer FragmentBuffer SharedBuffer LocalBuffer dyn ptr",
    "views": "reshape view",
    "vector_access": "ldg32 ldg64 ldg128 ldg256 stg32 stg64 stg128 stg256 lds32 lds64 lds128 sts32 sts64 sts128",
}
_OWNER: dict[str, str] = {name: module for module, names in _MODULES.items() for name in names.split()}
_LAYOUT_NAMES = ("GemmWarpPolicy", "Layout", "Fragment")

bool = _dtypes.NAMED["bool"]
int = _dtypes.NAMED["int"]
float = _dtypes.NAMED["float"]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...

else:

    def __getattr__(name: str) -> Any:
        value = _find(name)
        globals()[name] = value
        return value


def _find(name: str) -> Any:
    module = _OWNER.get(name)
    if module is not None:
        return getattr(import_module(f"tilelang.language.{module}"), name)
    if name in _LAYOUT_NAMES:
        return getattr(import_module("tilelang.layout"), name)
    device = import_module("tilelang.language.device")
    if name in device.DEVICE_OPERATIONS:
        return device.make_operation(name)
    if name.startswith("__") or name == "_ipython_canary_method_should_not_exist_":
        raise AttributeError(f"module 'tilelang.language' has no attribute {name!r}")
    _unknown(name)


def _unknown(name: str) -> NoReturn:
    near = difflib.get_close_matches(name, __dir__(), n=1)
    hint = f"did you mean T.{near[0]}?" if near else None
    raise UnknownNameError(f"there is no `T.{name}`", hint=hint)


def __dir__() -> list[str]:
    device = import_module("tilelang.language.device")
    return sorted({*_OWNER, *_LAYOUT_NAMES, *device.DEVICE_OPERATIONS, *_dtypes.NAMED, *globals()})


__all__ = ["PrimExpr", "PrimFunc", "Var", "dtype"]
