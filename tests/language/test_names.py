"""Every name that kernels written for the reference implementation use exists on `T`."""

from __future__ import annotations

import pytest

import tilelang.language as T
from tilelang.errors import UnknownNameError

# Names used by the reference's examples, then those used by its tests alone.
IN_EXAMPLES = """
    Buffer Cast ClusterKernel Else Fragment FragmentBuffer GemmWarpPolicy If Kernel Layout
    Persistent PersistentTileScheduler Pipelined Serial SharedBuffer Tensor Then WSID WSPipeline
    WSRole WSSchedule WSScope WSSync While access_ptr address_of alloc_barrier alloc_buffer
    alloc_cluster_barrier alloc_fragment alloc_global alloc_local alloc_reducer alloc_shared
    alloc_tmem annotate_consumer_reg_alloc annotate_layout annotate_producer_reg_dealloc
    annotate_ws_schedule any_sync assume atomic_add atomic_addx4 atomic_load atomic_store attr
    barrier_arrive barrier_wait bfloat16 block_rank_in_cluster bool c2d_im2col cast ceil ceildiv
    clamp clc_get_first_ctaid_x clc_is_canceled clc_try_cancel_multicast clear comm_reducer
    const copy cp_async_barrier_noinc create_list_of_mbarrier cumsum device_assert
    disable_warp_group_reg_alloc dp4a dtype dynamic empty evaluate exp exp2 fence_proxy_async
    fill finalize_reducer float float16 float32 float4_e2m1fn float8_e4m3 float8_e4m3fn
    float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz floordiv floormod gemm gemm_sp gemm_v2
    get_block_binding get_thread_binding if_then_else im2col import_source index_to_coordinates
    infinity int int16 int32 int4 int64 int8 log log2 loop_break macro make_tensor max
    mbarrier_arrive_expect_tx mbarrier_wait_parity min mma_gemm_blockscaled no_set_max_nreg
    parallel prim_func ptr ptx_commit_group ptx_wait_group reduce_absmax reduce_max reduce_sum
    reinterpret reshape rng_init rng_rand rsqrt serial set_max_nreg shift_left sigmoid symbolic
    sync_grid sync_threads tcgen05_cp_warpx4 tcgen05_gemm tcgen05_gemm_blockscaled
    tcgen05_mma_arrive tcgen05_sf_warp_transpose tfloat32 thread_binding tma_copy
    tvm_thread_allreduce tvm_warp_shuffle uint uint16 uint32 uint8 unroll use_swizzle vectorized
    wait_wgmma wgmma_gemm ws ws_op
""".split()
IN_TESTS = """
    Assert Broadcast CUDASourceCodeKernel PrimExpr Ramp Ref Select Shuffle StridedTensor Var
    WSSyncKind __cos __exp __exp10 __ffs __fns __ldg __log __log10 __log2 __sin __tan abs abs2
    activemask add2 all_of all_sync alloc_tcgen05_smem_desc alloc_wgmma_desc
    annotate_compile_flags annotate_l2_hit_ratio annotate_min_blocks_per_sm
    annotate_pass_configs annotate_restrict_buffers annotate_safe_value any_of async_copy atan
    atomic_addx2 atomic_max atomic_min atomic_or ballot ballot_sync bfloat16x2 bind bitwise_xor
    buffer_store call_intrin call_packed cluster_arrive cluster_sync cluster_wait copy_cluster
    cos cosh create_tma_descriptor cummax deallocate_tmem decl_buffer ds_read_tr16_b64
    ds_read_tr8_b64 env_thread erf exp10 fast_rcp float16x2 float32x2 float32x4 float32x8
    float4_e2m1fnx2 float64 float8_e4m3fnx8 float8_e8m0fnu floor fma2 fmod func_attr
    get_lane_idx get_warp_group_idx get_warp_idx get_warp_idx_sync grid half handle
    handle_add_byte_offset ieee_add ieee_fdiv ieee_fmaf ieee_frcp ieee_frsqrt ieee_fsqrt
    ieee_mul ieee_sub initialize_wgmma_descriptor isfinite launch_thread ldg128 ldg256 ldg32
    ldg64 lds128 lds32 lds64 let log10 long match_all_sync match_any_sync match_buffer max2
    mbarrier_expect_tx mfma mfma_store min2 mul2 named_barrier_arrive nearbyint pdl_sync
    pdl_trigger pow print ptx_arrive_barrier ptx_fence_barrier_init
    ptx_init_barrier_thread_count ptx_mma_block_scale ptx_wgmma_ss reads reduce_abssum
    reduce_bitand reduce_bitor reduce_bitxor reduce_min reducer_init reducer_update region
    rng_rand_float round sblock sblock_alloc_buffer sblock_attr shfl_sync shift_right short
    shuffle_elect sin sinh sqrt stg128 stg256 stg32 stg64 sts128 sts32 sts64 sub2 sync_warp
    syncthreads_and syncthreads_count syncthreads_or tan tanh tcgen05_after_thread_sync
    tcgen05_before_thread_sync tcgen05_mma tcgen05_mma_blockscaled thread_return tma_gather4
    tma_gather4_bytes tma_load tma_scatter4 tma_store_arrive tma_store_wait transpose trunc
    tvm_access_ptr tvm_call_cpacked tvm_mfma tvm_mfma_store tvm_rdna_wmma tvm_storage_sync
    type_annotation warp_reduce_bitand warp_reduce_bitor warp_reduce_max warp_reduce_min
    warp_reduce_sum warpgroup_arrive warpgroup_commit_batch warpgroup_fence_operand
    warpgroup_wait wgmma_mma writes
""".split()


@pytest.mark.parametrize("name", IN_EXAMPLES)
def test_name_of_the_examples(name):
    assert getattr(T, name) is not None


@pytest.mark.parametrize("name", IN_TESTS)
def test_name_of_the_tests(name):
    assert getattr(T, name) is not None


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("alloc_sharde", "alloc_shared"), ("Paralell", "Parallel"), ("reduce_summ", "reduce_sum")],
)
def test_unknown_name_names_the_nearest(wrong, right):
    with pytest.raises(UnknownNameError, match=right):
        getattr(T, wrong)


def test_names_are_listed():
    assert {"Kernel", "copy", "gemm", "float16x8", "tma_load"} <= set(dir(T))
