"""Pass configuration: every key, its value type, its default and what it does.

The only way options reach passes. Unknown keys are an error that names the nearest one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import Enum
from typing import Any

from tilelang.errors import ConfigError


class PassConfigKey(str, Enum):
    """Keys of `pass_configs`; members and their value strings are both accepted."""

    TL_SIMPLIFY = "tl.Simplify"
    TL_DISABLE_WARP_SPECIALIZED = "tl.disable_warp_specialized"
    TL_ENABLE_FAST_MATH = "tl.enable_fast_math"
    TL_PTXAS_REGISTER_USAGE_LEVEL = "tl.ptxas_register_usage_level"
    TL_ENABLE_PTXAS_VERBOSE_OUTPUT = "tl.enable_ptxas_verbose_output"
    TL_DEVICE_COMPILE_FLAGS = "tl.device_compile_flags"
    TL_CONFIG_INDEX_BITWIDTH = "tl.config_index_bitwidth"
    TL_DISABLE_TMA_LOWER = "tl.disable_tma_lower"
    TL_DISABLE_SAFE_MEMORY_ACCESS = "tl.disable_safe_memory_legalize"
    TL_DISABLE_VECTORIZE_256 = "tl.disable_vectorize_256"
    TL_DISABLE_WGMMA = "tl.disable_wgmma"
    TL_DEBUG_MERGE_SHARED_MEMORY_ALLOCATIONS = "tl.debug_merge_shared_memory_allocations"
    TL_ENABLE_AGGRESSIVE_SHARED_MEMORY_MERGE = "tl.enable_aggressive_shared_memory_merge"
    TL_DISABLE_SHUFFLE_ELECT = "tl.disable_shuffle_elect"
    TL_DISABLE_THREAD_STORAGE_SYNC = "tl.disable_thread_storage_sync"
    TL_FORCE_LET_INLINE = "tl.force_let_inline"
    TL_LAYOUT_VISUALIZATION_ENABLE = "tl.layout_visualization_enable"
    TL_LAYOUT_VISUALIZATION_FORMATS = "tl.layout_visualization_formats"
    TL_STORAGE_REWRITE_DETECT_INPLACE = "tl.storage_rewrite_detect_inplace"
    TIR_ENABLE_EQUIV_TERMS_IN_CSE = "tir.enable_equiv_terms_in_cse_tir"
    TIR_DISABLE_CSE = "tir.disable_cse_tir"
    TIR_SIMPLIFY = "tir.Simplify"
    TIR_DISABLE_STORAGE_REWRITE = "tir.disable_storage_rewrite"
    TIR_DISABLE_VECTORIZE = "tir.disable_vectorize"
    TIR_USE_ASYNC_COPY = "tir.use_async_copy"
    TIR_ENABLE_DEBUG = "tir.enable_debug"
    TIR_MERGE_STATIC_SMEM = "tir.merge_static_smem"
    TIR_ADD_LOWER_PASS = "tir.add_lower_pass"
    TIR_NOALIAS = "tir.noalias"
    CUDA_KERNELS_OUTPUT_DIR = "cuda.kernels_output_dir"
    TL_DISABLE_BUFFER_INIT_CHECK = "tl.disable_buffer_init_check"
    TL_DISABLE_DATA_RACE_CHECK = "tl.disable_data_race_check"
    TL_DISABLE_PRELOWER_SEMANTIC_CHECK = "tl.disable_prelower_semantic_check"
    TL_EMIT_LINE_DIRECTIVES = "tl.emit_line_directives"
    TL_ENABLE_REDUCER_PLAN_VERBOSE = "tl.enable_reducer_plan_verbose"
    TL_REDUCER_FORCE_BASELINE = "tl.reducer_force_baseline"
    TL_LAYOUT_COST_MODEL = "tl.layout_cost_model"
    TL_ENABLE_ASYNC_COPY = "tl.enable_async_copy"
    TL_ENABLE_LOWER_LDGSTG = "tl.enable_lower_ldgstg"
    TL_ENABLE_LOWER_LDGSTG_PREDICATED = "tl.enable_lower_ldgstg_predicated"
    TL_ENABLE_VECTORIZE_PLANNER_VERBOSE = "tl.enable_vectorize_planner_verbose"
    TL_DISABLE_SHARED_MEMORY_REUSE = "tl.disable_shared_memory_reuse"
    TL_DISABLE_LOOP_UNSWITCHING = "tl.disable_loop_unswitching"
    TL_LOOP_UNSWITCHING_ALLOW_NON_TRIVIAL_ELSE = "tl.loop_unswitching_allow_non_trivial_else"
    TL_IF_STMT_BINDING_INLINE_REPLAYABLE_BINDS = "tl.if_stmt_binding_inline_replayable_binds"
    TL_AST_PRINT_ENABLE = "tl.ast_print_enable"
    TL_ENABLE_DUMP_IR = "tl.enable_dump_ir"
    TL_DUMP_IR_DIR = "tl.dump_ir_path"
    TL_DISABLE_OUT_OF_BOUND_WARNING = "tl.disable_out_of_bound_warning"
    TL_PASS_PROFILE = "tl.pass_profile"
    TL_PASS_PROFILE_THRESHOLD_MS = "tl.pass_profile_threshold_ms"

    def __str__(self) -> str:
        return self.value


# Values that are not `False` by default.
DEFAULTS: dict[PassConfigKey, Any] = {
    PassConfigKey.TL_SIMPLIFY: True,
    PassConfigKey.TL_PTXAS_REGISTER_USAGE_LEVEL: None,
    PassConfigKey.TL_DEVICE_COMPILE_FLAGS: None,
    PassConfigKey.TL_CONFIG_INDEX_BITWIDTH: 32,
    PassConfigKey.TL_LAYOUT_VISUALIZATION_FORMATS: "png",
    PassConfigKey.TIR_ENABLE_EQUIV_TERMS_IN_CSE: True,
    PassConfigKey.TIR_SIMPLIFY: True,
    PassConfigKey.TIR_MERGE_STATIC_SMEM: True,
    PassConfigKey.TIR_ADD_LOWER_PASS: None,
    PassConfigKey.TIR_NOALIAS: True,
    PassConfigKey.CUDA_KERNELS_OUTPUT_DIR: "",
    PassConfigKey.TL_DISABLE_DATA_RACE_CHECK: True,
    PassConfigKey.TL_LAYOUT_COST_MODEL: "register-count",
    PassConfigKey.TL_ENABLE_ASYNC_COPY: True,
    PassConfigKey.TL_IF_STMT_BINDING_INLINE_REPLAYABLE_BINDS: True,
    PassConfigKey.TL_DUMP_IR_DIR: "./dump_ir/",
    PassConfigKey.TL_DISABLE_OUT_OF_BOUND_WARNING: True,
    PassConfigKey.TL_PASS_PROFILE_THRESHOLD_MS: 0,
}
_BY_VALUE = {key.value: key for key in PassConfigKey}


def normalize(configs: Mapping[Any, Any] | None) -> dict[PassConfigKey, Any]:
    """A user's `pass_configs` with members as keys, in the order of the keys' text.

    Raises:
        ConfigError: for an unknown key, and for a switch that is neither on nor off.
    """
    if configs is not None and not isinstance(configs, Mapping):
        raise ConfigError(f"pass_configs is a {type(configs).__name__}, expected a dict")
    out: dict[PassConfigKey, Any] = {}
    for key, value in (configs or {}).items():
        text = str(getattr(key, "value", key))
        text = "tir" + text.removeprefix("tirx") if text.startswith("tirx.") else text
        member = _BY_VALUE.get(text)
        if member is None:
            near = difflib.get_close_matches(text, _BY_VALUE, n=1)
            raise ConfigError(
                f"unknown pass configuration key {text!r}",
                hint=f"did you mean {near[0]!r}?" if near else None,
            )
        if member is PassConfigKey.TL_SIMPLIFY and isinstance(value, Mapping):
            value = True  # options of the reference's simplifier, which this one does not have
        if isinstance(option({}, member), bool) and not isinstance(value, (bool, int)):
            raise ConfigError(f"pass configuration {text!r} is {value!r}, expected True or False")
        out[member] = value
    return dict(sorted(out.items(), key=lambda item: item[0].value))


def option(configs: Mapping[PassConfigKey, Any], key: PassConfigKey) -> Any:
    """The value of `key`, or its default."""
    return configs[key] if key in configs else DEFAULTS.get(key, False)
