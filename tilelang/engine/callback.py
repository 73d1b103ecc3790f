"""Hooks that rewrite generated source before it is compiled; one per target kind, process-wide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from tilelang.errors import ArgumentError

PostProcess: TypeAlias = "Callable[[str, Any], str]"
_hooks: dict[str, PostProcess] = {}


def register(kind: str, function: PostProcess, override: bool = True) -> PostProcess:
    """Have `function(code, target) -> code` rewrite the source of `kind`.

    Raises:
        ArgumentError: when there is a hook already and `override` is False.
    """
    if not override and kind in _hooks:
        raise ArgumentError(
            f"there is a post-processing hook for `{kind}` already", hint="pass override=True"
        )
    _hooks[kind] = function
    return function


def clear() -> None:
    """Forget all hooks."""
    _hooks.clear()


def hook_identity(kind: str) -> str:
    """What of the hook belongs into a cache key: its code."""
    function = _hooks.get(kind)
    if function is None:
        return ""
    code = getattr(function, "__code__", None)
    return f"{function!r}" if code is None else f"{code.co_code.hex()}{code.co_consts!r}"


def postprocess(kind: str, source: str, target: Any) -> str:
    """`source` as the hook of `kind` leaves it."""
    function = _hooks.get(kind)
    return source if function is None else function(source, target)


def _decorator(kind: str) -> Callable[..., Any]:
    def register_callback(func: PostProcess | None = None, override: bool = True) -> Any:
        if func is None:
            return lambda f: register(kind, f, override)
        return register(kind, func, override)

    return register_callback


register_cuda_postproc_callback = _decorator("cuda")
register_hip_postproc_callback = _decorator("hip")
register_c_postproc_callback = _decorator("c")
register_metal_postproc_callback = _decorator("metal")


def register_cuda_postproc(func: PostProcess, override: bool = True) -> PostProcess:
    return register("cuda", func, override)


def register_hip_postproc(func: PostProcess, override: bool = True) -> PostProcess:
    return register("hip", func, override)


def register_c_postproc(func: PostProcess, override: bool = True) -> PostProcess:
    return register("c", func, override)


def register_metal_postproc(func: PostProcess, override: bool = True) -> PostProcess:
    return register("metal", func, override)
