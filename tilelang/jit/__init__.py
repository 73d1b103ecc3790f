"""Make kernels callable: `jit`, `lazy_jit`, `compile`, `par_compile`, `JITKernel`.

`tilelang.jit` is this package and the decorator of the same name: the module is callable, so that
it can be loaded on first use and the two names can never get in each other's way.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from tilelang.jit.compile import compile, par_compile
from tilelang.jit.function import JITImpl, LazyJITImpl, make_jit
from tilelang.jit.kernel import JITKernel
from tilelang.target.target import Target

__all__ = ["JITImpl", "JITKernel", "LazyJITImpl", "compile", "jit", "lazy_jit", "par_compile"]


def jit(
    func: Any = None,
    *,
    out_idx: list[int] | int | None = None,
    target: str | Target | None = None,
    target_host: str | Target | None = None,
    execution_backend: str | None = None,
    verbose: bool | None = None,
    pass_configs: Mapping[Any, Any] | None = None,
    debug_root_path: str | None = None,
    compile_flags: Sequence[str] | str | None = None,
) -> Any:
    """Compile the kernels of a function: a factory that returns a PrimFunc, or a kernel itself.

    Args:
        out_idx: (factories) parameters that a call of the kernel allocates and returns.
        target, execution_backend, verbose: `None`: the environment's default.
        pass_configs: `PassConfigKey` members or their value strings -> values.
        debug_root_path: folder that receives the source and the printed IR after each compilation.
        compile_flags: appended to the device compiler's command.

    Returns a `JITImpl`, or a decorator when `func` is left out.
    """
    return make_jit(
        func, JITImpl, sys._getframe(1), debug_root_path, out_idx=out_idx, target=target,
        target_host=target_host, execution_backend=execution_backend, verbose=verbose,
        pass_configs=pass_configs, compile_flags=compile_flags,
    )  # fmt: skip


def lazy_jit(
    func: Any = None,
    *,
    target: str | Target | None = None,
    target_host: str | Target | None = None,
    execution_backend: str | None = None,
    verbose: bool | None = None,
    pass_configs: Mapping[Any, Any] | None = None,
    debug_root_path: str | None = None,
    compile_flags: Sequence[str] | str | None = None,
) -> Any:
    """The first generation of the eager style: the signature's annotations say what specialises."""
    return make_jit(
        func, LazyJITImpl, sys._getframe(1), debug_root_path,
        target=target, target_host=target_host,
        execution_backend=execution_backend, verbose=verbose, pass_configs=pass_configs,
        compile_flags=compile_flags,
    )  # fmt: skip


class _DecoratorModule(types.ModuleType):
    """This package, called as the decorator `jit`."""

    def __call__(self, func: Any = None, **options: Any) -> Any:
        root = options.pop("debug_root_path", None)
        return make_jit(func, JITImpl, sys._getframe(1), root, **options)


_DecoratorModule.__call__.__doc__ = jit.__doc__
sys.modules[__name__].__class__ = _DecoratorModule
