"""TileLang in Python: tile kernels, compiled by readable Python.

The public names. Heavy parts are loaded when first used, so that importing this costs little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tilelang.env import env
from tilelang.errors import Error
from tilelang.tracebacks import install as _show_the_users_frames
from tilelang.tvm_finder import install as _find_tvm

__version__ = "0.1.0"

_show_the_users_frames()
_find_tvm()

if TYPE_CHECKING:
    from tilelang.engine.lower import lower
    from tilelang.ir.func import PrimFunc
    from tilelang.jit import JITKernel, compile, jit, lazy_jit, par_compile
    from tilelang.layout import Fragment, Layout
    from tilelang.profiler import Profiler, TensorSupplyType
    from tilelang.transform.config import PassConfigKey

# name -> "module:attribute", or a module
_LAZY: dict[str, str] = {
    "jit": "tilelang.jit",  # the package is the decorator
    "lazy_jit": "tilelang.jit:lazy_jit",
    "compile": "tilelang.jit:compile",
    "par_compile": "tilelang.jit:par_compile",
    "JITKernel": "tilelang.jit:JITKernel",
    "lower": "tilelang.engine.lower:lower",
    "PassConfigKey": "tilelang.transform.config:PassConfigKey",
    "TensorSupplyType": "tilelang.profiler:TensorSupplyType",
    "Profiler": "tilelang.profiler:Profiler",
    "Layout": "tilelang.layout:Layout",
    "Fragment": "tilelang.layout:Fragment",
    "DataType": "tilelang.ir.dtype:dtype",
    "PrimFunc": "tilelang.ir.func:PrimFunc",
    "clear_cache": "tilelang.cache:clear_cache",
    "register_cuda_postproc": "tilelang.engine.callback:register_cuda_postproc",
    "register_hip_postproc": "tilelang.engine.callback:register_hip_postproc",
    "register_c_postproc": "tilelang.engine.callback:register_c_postproc",
    "set_num_threads": "tilelang.engine.runtime:set_num_threads",
    "get_num_threads": "tilelang.engine.runtime:get_num_threads",
    "dtypes": "tilelang.language.v2.dtypes",
    "cdiv": "tilelang.math:cdiv",
    "next_power_of_2": "tilelang.math:next_power_of_2",
}
_PUBLIC_MODULES = (
    "arith", "cache", "engine", "ir", "language", "layout", "math",
    "profiler", "target", "testing",
    "tileop", "tools", "transform", "tvm",
)  # fmt: skip


def enable_cache() -> None:
    """Keep compiled kernels on disk and in memory (the default)."""
    env.TILELANG_DISABLE_CACHE = False


def disable_cache() -> None:
    """Compile every time."""
    env.TILELANG_DISABLE_CACHE = True


def is_cache_enabled() -> bool:
    """Whether compiled kernels are kept."""
    return env.cache_enabled


def set_log_level(level: int | str) -> None:
    """What the package logs from now on: a level of `logging`, or its name in any case."""
    import logging

    logging.getLogger("tilelang").setLevel(level.upper() if isinstance(level, str) else level)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, _, attribute = _LAZY[name].partition(":")
        value = import_module(module)
        value = getattr(value, attribute) if attribute else value
    elif name in _PUBLIC_MODULES:
        value = import_module(f"tilelang.{name}")
    else:
        raise AttributeError(f"module 'tilelang' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_PUBLIC_MODULES})


__all__ = [
    "Error",
    "Fragment",
    "JITKernel",
    "Layout",
    "PassConfigKey",
    "PrimFunc",
    "Profiler",
    "TensorSupplyType",
    "compile",
    "disable_cache",
    "enable_cache",
    "env",
    "is_cache_enabled",
    "jit",
    "lazy_jit",
    "lower",
    "par_compile",
    "set_log_level",
]
