"""Operations of particular accelerators, one row each: what they are called, and what they give.

They trace on every target; a target that has no such unit refuses them at their line. Rows name the
result dtype of those that are values; all others are statements.
"""

from __future__ import annotations

import inspect
from typing import Any

from tilelang.errors import ArgumentTypeError, caller_span
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import Call, Expr
from tilelang.ir.stmt import Evaluate
from tilelang.language.builder import emit
from tilelang.language.threads import external_argument

# name -> (parameters, dtype of the value or None for a statement, the unit it belongs to)
DEVICE_OPERATIONS: dict[str, tuple[str, str | None, str]] = {
    "cuda_source_kernel": ("source, entry", None, "CUDA source kernels"),
    "barrier_wait": ("barrier, parity=0", None, "memory barriers"),
    "mbarrier_wait_parity": ("barrier, parity", None, "memory barriers"),
    "barrier_arrive": ("barrier", None, "memory barriers"),
    "mbarrier_arrive": ("barrier, cta_id=None", None, "memory barriers"),
    "mbarrier_expect_tx": ("barrier, bytes", None, "memory barriers"),
    "mbarrier_arrive_expect_tx": ("barrier, bytes", None, "memory barriers"),
    "get_mbarrier": ("index", "handle", "memory barriers"),
    "ptx_arrive_barrier": ("barrier", None, "memory barriers"),
    "ptx_init_barrier_thread_count": ("barrier, count", None, "memory barriers"),
    "ptx_fence_barrier_init": ("", None, "memory barriers"),
    "ptx_arrive_cluster_barrier": ("barrier, cta", None, "block clusters"),
    "cluster_arrive_relaxed": ("", None, "block clusters"),
    "cluster_arrive": ("", None, "block clusters"),
    "cluster_wait": ("", None, "block clusters"),
    "cluster_sync": ("", None, "block clusters"),
    "block_rank_in_cluster": ("", "int32", "block clusters"),
    "clc_try_cancel": ("result, barrier", None, "cluster launch control"),
    "clc_try_cancel_multicast": ("result, barrier", None, "cluster launch control"),
    "clc_is_canceled": ("result", "int32", "cluster launch control"),
    "clc_get_first_ctaid_x": ("result", "int32", "cluster launch control"),
    "clc_get_first_ctaid_y": ("result", "int32", "cluster launch control"),
    "clc_get_first_ctaid_z": ("result", "int32", "cluster launch control"),
    "pdl_trigger": ("", None, "programmatic dependent launch"),
    "pdl_sync": ("", None, "programmatic dependent launch"),
    "fence_proxy_async": ("", None, "asynchronous copy engine"),
    "ptx_commit_group": ("", None, "asynchronous copies"),
    "ptx_wait_group": ("n", None, "asynchronous copies"),
    "cp_async_barrier_noinc": ("barrier", None, "asynchronous copies"),
    "ptx_cp_async": ("dst, src, num_elems, predicate=None, *rest", None, "asynchronous copies"),
    "tma_load": ("*operands", None, "tensor memory accelerator"),
    "tma_load_2sm": ("*operands", None, "tensor memory accelerator"),
    "create_tma_descriptor": ("*operands", "handle", "tensor memory accelerator"),
    "tma_store_arrive": ("", None, "tensor memory accelerator"),
    "tma_store_wait": ("count=0, read=True", None, "tensor memory accelerator"),
    "wait_wgmma": ("n", None, "warp-group matrix unit"),
    "warpgroup_arrive": ("", None, "warp-group matrix unit"),
    "warpgroup_commit_batch": ("", None, "warp-group matrix unit"),
    "warpgroup_wait": ("n", None, "warp-group matrix unit"),
    "warpgroup_fence_operand": (
        "buf, offset=0, num_regs=None, dtype=None", None, "warp-group matrix unit",
    ),
    "tcgen05_mma_arrive": ("mbar, arrive_2cta=False", None, "tensor memory"),
    "tcgen05_before_thread_sync": ("", None, "tensor memory"),
    "tcgen05_after_thread_sync": ("", None, "tensor memory"),
    "tcgen05_cp_warpx4": ("smem, tmem, col_offset=0, use_2cta=False", None, "tensor memory"),
    "tcgen05_sf_warp_transpose": ("smem", None, "tensor memory"),
    "deallocate_tmem": ("tmem", None, "tensor memory"),
    "ptx_ldmatrix": ("*operands", None, "warp matrix unit"),
    "ptx_mma": ("*operands", None, "warp matrix unit"),
    "ptx_mma_sp": ("*operands", None, "warp matrix unit"),
    "ptx_wgmma_ss": ("*operands", None, "warp-group matrix unit"),
    "ptx_wgmma_rs": ("*operands", None, "warp-group matrix unit"),
    "ptx_tcgen05_mma_ss": ("*operands", None, "tensor memory"),
    "ptx_tcgen05_mma_ts": ("*operands", None, "tensor memory"),
    "ptx_mma_sm70": ("*operands", None, "warp matrix unit"),
    "initialize_wgmma_descriptor": ("*operands", None, "warp-group matrix unit"),
    "initialize_tcgen05_descriptor": ("*operands", None, "tensor memory"),
    "increase_descriptor_offset": ("descriptor, offset", None, "warp-group matrix unit"),
    "mfma": ("*operands", None, "matrix core"),
    "mfma_store": ("*operands", None, "matrix core"),
    "ds_read_tr16_b64": ("*operands", "uint32x2", "matrix core"),
    "tvm_mfma": ("*operands", None, "matrix core"),
    "tvm_mfma_store": ("*operands", None, "matrix core"),
    "tvm_rdna_wmma": ("*operands", None, "matrix core"),
    "ptx_mma_block_scale": ("*operands", None, "block-scaled matrix unit"),
    "create_list_of_mbarrier": ("*counts", None, "memory barriers"),
    "call_packed": ("name, *operands", "int32", "host runtime"),
    "tvm_call_cpacked": ("name, *operands", "int32", "host runtime"),
    "ds_read_tr8_b64": ("*operands", "uint32x2", "matrix core"),
}  # fmt: skip


def unit_of(op: str) -> str | None:
    """The hardware unit that operation `op` belongs to; `None` for operations of every target."""
    row = DEVICE_OPERATIONS.get(op)
    return row[2] if row else None


def make_operation(name: str) -> Any:
    """The `T.` function of a row."""
    parameters, result, unit = DEVICE_OPERATIONS[name]
    scope: dict[str, Any] = {}
    exec(f"def {name}({parameters}): ...", scope)  # only its signature is used
    signature = inspect.signature(scope[name])

    def function(*args: Any, **keywords: Any) -> Expr | None:
        try:
            bound = signature.bind(*args, **keywords)
        except TypeError as error:
            raise ArgumentTypeError(f"{name}: {error}") from None
        values = [v for v in _flat(bound) if v is not None]
        made = Call(name, tuple(map(external_argument, values)), DType(result or "handle"))
        if result is not None:
            return made
        emit(Evaluate(made, span=caller_span()))
        return None

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"An operation of the {unit}; targets without one refuse it."
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _flat(bound: inspect.BoundArguments) -> list[Any]:
    out: list[Any] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        out.extend(value if kind is inspect.Parameter.VAR_POSITIONAL else (value,))
    return out
