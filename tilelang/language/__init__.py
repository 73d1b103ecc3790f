"""What a user writes: `import tilelang.language as T`.

Names are gathered here from one module per subject; an unknown one is an error that names the
nearest. This folder builds tile IR and knows nothing of targets or of how operations are lowered.
"""

# pyright: reportUnusedImport=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilelang.errors import UnknownNameError
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr as PrimExpr
from tilelang.ir.expr import Var
from tilelang.ir.func import PrimFunc
from tilelang.language.allocate import (
    alloc_barrier,
    alloc_cluster_barrier,
    alloc_descriptor,
    alloc_fragment,
    alloc_global,
    alloc_local,
    alloc_shared,
    alloc_tcgen05_instr_desc,
    alloc_tcgen05_smem_desc,
    alloc_tmem,
    alloc_var,
    alloc_wgmma_desc,
    empty,
    make_tensor,
    make_tensor_from_addr,
)
from tilelang.language.annotations import (
    WarpSpecialize,
    annotate_consumer_reg_alloc,
    annotate_l2_hit_ratio,
    annotate_layout,
    annotate_min_blocks_per_sm,
    annotate_producer_reg_dealloc,
    annotate_restrict_buffers,
    annotate_safe_value,
    assume,
    attr,
    block_attr,
    comm_reducer,
    dec_max_nreg,
    disable_warp_group_reg_alloc,
    func_attr,
    inc_max_nreg,
    no_set_max_nreg,
    sblock_attr,
    set_max_nreg,
    tvm_thread_allreduce,
    use_swizzle,
    ws,
)
from tilelang.language.copy import (
    async_copy,
    copy,
    copy_cluster,
    tma_copy,
    tma_gather4,
    tma_gather4_bytes,
    tma_scatter4,
)
from tilelang.language.eager import (
    annotate_compile_flags,
    annotate_pass_configs,
    const,
    dynamic,
    symbolic,
)
from tilelang.language.fill import (
    clear,
    fill,
)
from tilelang.language.frames import (
    Else,
    If,
    LetStmt,
    Then,
    While,
    bind,
    block,
    env_thread,
    launch_thread,
    let,
    reads,
    sblock,
    writes,
)
from tilelang.language.gemm import (
    gemm,
    gemm_sp,
    gemm_sp_v2,
    gemm_v1,
    gemm_v2,
    make_blockscaled_gemm_layout,
    mma_gemm_blockscaled,
    tcgen05_gemm,
    tcgen05_gemm_blockscaled,
    tcgen05_gemm_sp,
    tcgen05_mma,
    tcgen05_mma_blockscaled,
    wgmma_gemm,
    wgmma_gemm_sp,
    wgmma_mma,
)
from tilelang.language.generic import (
    loop,
    tile_op,
)
from tilelang.language.im2col import (
    c2d_im2col,
    im2col,
)
from tilelang.language.kernel import (
    ClusterKernel,
    CUDASourceCodeKernel,
    Kernel,
    KernelLaunchFrame,
    get_block_binding,
    get_block_bindings,
    get_block_extent,
    get_block_extents,
    get_thread_binding,
    get_thread_bindings,
    get_thread_extent,
    get_thread_extents,
    import_source,
)
from tilelang.language.loops import (
    Parallel,
    Persistent,
    Pipelined,
    Serial,
    Unroll,
    Vectorized,
    grid,
    parallel,
    serial,
    thread_binding,
    unroll,
    vectorized,
)
from tilelang.language.low_level import (
    alloc_buffer,
    allocate,
    buffer_store,
    decl_buffer,
    handle_add_byte_offset,
    match_buffer,
    region,
    sblock_alloc_buffer,
    tvm_access_ptr,
    tvm_storage_sync,
    type_annotation,
)
from tilelang.language.math import (
    And,
    Broadcast,
    Cast,
    Not,
    Or,
    Ramp,
    Select,
    Shuffle,
    __cos,
    __exp,
    __exp10,
    __ffs,
    __fns,
    __log,
    __log2,
    __log10,
    __sin,
    __tan,
    abs,
    abs2,
    acos,
    acosh,
    add2,
    align_up,
    all,
    any,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    cast,
    cdiv,
    ceil,
    ceildiv,
    clamp,
    clz,
    copysign,
    cos,
    cosh,
    erf,
    exp,
    exp2,
    exp10,
    extract_lane,
    fast_rcp,
    floor,
    floordiv,
    floormod,
    fma2,
    fmod,
    hypot,
    ieee_add,
    ieee_fdiv,
    ieee_fmaf,
    ieee_frcp,
    ieee_frsqrt,
    ieee_fsqrt,
    ieee_mul,
    ieee_sub,
    if_then_else,
    index_to_coordinates,
    infinity,
    isfinite,
    isinf,
    isnan,
    ldexp,
    likely,
    log,
    log1p,
    log2,
    log10,
    max,
    max2,
    max_value,
    min,
    min2,
    min_value,
    mul2,
    nearbyint,
    nextafter,
    popcount,
    pow,
    power,
    reinterpret,
    round,
    rsqrt,
    shift_left,
    shift_right,
    sigmoid,
    sin,
    sinh,
    sqrt,
    sub2,
    tan,
    tanh,
    trunc,
    truncdiv,
    truncmod,
    undef,
)
from tilelang.language.meta_class import meta_class
from tilelang.language.persistent import PersistentTileScheduler
from tilelang.language.prim_func import (
    inline,
    macro,
    prim_func,
)
from tilelang.language.reduce import (
    all_of,
    any_of,
    reduce,
    reduce_absmax,
    reduce_abssum,
    reduce_bitand,
    reduce_bitor,
    reduce_bitxor,
    reduce_max,
    reduce_min,
    reduce_sum,
)
from tilelang.language.reducer import (
    alloc_reducer,
    finalize_reducer,
    reducer_init,
    reducer_update,
)
from tilelang.language.reference import (
    Ref,
)
from tilelang.language.scan import (
    cummax,
    cumsum,
)
from tilelang.language.threads import (
    Assert,
    __ldg,
    access_ptr,
    activemask,
    address_of,
    all_sync,
    any_sync,
    atomic_addx2,
    atomic_addx4,
    atomic_load,
    atomic_or,
    atomic_store,
    ballot,
    ballot_sync,
    call_extern,
    call_intrin,
    call_pure_extern,
    device_assert,
    dp4a,
    evaluate,
    get_lane_idx,
    get_warp_group_idx,
    get_warp_idx,
    get_warp_idx_sync,
    loop_break,
    match_all_sync,
    match_any_sync,
    named_barrier_arrive,
    print,
    rng_init,
    rng_rand,
    rng_rand_float,
    shfl_down,
    shfl_sync,
    shfl_up,
    shfl_xor,
    shuffle_elect,
    sync_global,
    sync_grid,
    sync_threads,
    sync_warp,
    syncthreads_and,
    syncthreads_count,
    syncthreads_or,
    thread_return,
    tvm_warp_shuffle,
    warp_reduce_bitand,
    warp_reduce_bitor,
    warp_reduce_max,
    warp_reduce_min,
    warp_reduce_sum,
)
from tilelang.language.tile_atomic import (
    atomic_add,
    atomic_max,
    atomic_min,
)
from tilelang.language.transpose import (
    transpose,
)
from tilelang.language.v2 import dtypes as _dtypes
from tilelang.language.v2.annot import (
    Buffer,
    FragmentBuffer,
    LocalBuffer,
    SharedBuffer,
    StridedTensor,
    Tensor,
    dyn,
    ptr,
)
from tilelang.language.v2.dtypes import *  # noqa: F403  the dtype names are many
from tilelang.language.vector_access import (
    ldg32,
    ldg64,
    ldg128,
    ldg256,
    lds32,
    lds64,
    lds128,
    stg32,
    stg64,
    stg128,
    stg256,
    sts32,
    sts64,
    sts128,
)
from tilelang.language.views import (
    reshape,
    view,
)
from tilelang.layout import Fragment, GemmWarpPolicy, Layout

bool = _dtypes.NAMED["bool"]
int = _dtypes.NAMED["int"]
float = _dtypes.NAMED["float"]

_WARP_SCHEDULE = (
    "WSID", "WSPipeline", "WSRole", "WSSchedule", "WSScope", "WSSync", "WSSyncKind",
    "annotate_ws_schedule", "ws_op",
)  # fmt: skip

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...

else:

    def __getattr__(name: str) -> Any:
        """Operations and plans of particular devices, loaded on first use; all else is unknown."""
        from importlib import import_module

        device = import_module("tilelang.language.device")
        if name in device.DEVICE_OPERATIONS:
            globals()[name] = made = device.make_operation(name)
            return made
        if name in _WARP_SCHEDULE:
            return getattr(import_module("tilelang.language.warp_schedule"), name)
        if name.startswith(("__", "_ipython")):
            raise AttributeError(f"module 'tilelang.language' has no attribute {name!r}")
        import difflib

        near = difflib.get_close_matches(name, __dir__(), n=1)
        raise UnknownNameError(
            f"there is no `T.{name}`", hint=f"did you mean T.{near[0]}?" if near else None
        )


def __dir__() -> list[str]:
    from importlib import import_module

    device = import_module("tilelang.language.device")
    return sorted({*device.DEVICE_OPERATIONS, *_WARP_SCHEDULE, *_dtypes.NAMED, *globals()})


# A star import must not take Python's own names away from a user's file.
_KEPT_FROM_STARS = {
    "annotations",
    "bool",
    "int",
    "float",
    "TYPE_CHECKING",
    "Any",
    "UnknownNameError",
}
__all__ = [n for n in globals() if not n.startswith("_") and n not in _KEPT_FROM_STARS]  # pyright: ignore[reportUnsupportedDunderAll]
