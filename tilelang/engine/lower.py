"""One compilation from end to end: the page that names every step from a PrimFunc to an artifact.

    PrimFunc (tile form) ─passes─▶ PrimFunc (thread form) ─printer─▶ text ─toolchain─▶ Module

Called by `jit`; asks the target's row for printer and toolchain. Keeps nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tilelang.engine.builder import BuildRequest, builder_of
from tilelang.engine.callback import postprocess
from tilelang.engine.param import CompiledArtifact, KernelParam
from tilelang.env import env
from tilelang.errors import ArgumentTypeError
from tilelang.ir.buffer import Buffer
from tilelang.ir.func import COMPILE_FLAGS, PASS_CONFIGS, TARGET, IRModule, PrimFunc
from tilelang.target.registry import determine_target
from tilelang.target.target import Target, load
from tilelang.tracebacks import entry
from tilelang.transform.config import PassConfigKey, normalize, option
from tilelang.transform.context import PassContext
from tilelang.transform.pipeline import run


def params_of(func: PrimFunc) -> list[KernelParam]:
    """A `KernelParam` per parameter, outputs included."""
    return [
        KernelParam.from_buffer(p) if isinstance(p, Buffer) else KernelParam.from_var(p)
        for p in func.params
    ]


def merged_configs(func: PrimFunc, given: Mapping[Any, Any] | None) -> dict[PassConfigKey, Any]:
    """Pass configuration of one compilation; what the caller gives wins over the kernel's own."""
    return normalize({**dict(func.attribute(PASS_CONFIGS, ())), **normalize(given)})


def compile_flags(
    func: PrimFunc,
    configs: Mapping[PassConfigKey, Any],
    given: str | Sequence[str] | None,
    target: Target,
) -> tuple[str, ...]:
    """Flags appended to the device compiler's command: the caller's, the kernel's, the options'."""
    import shlex

    def words(flags: Any) -> list[str]:
        if isinstance(flags, str):
            return shlex.split(flags)
        if flags is not None and not isinstance(flags, (list, tuple)):
            raise ArgumentTypeError(
                f"compile_flags is {flags!r}, expected a string or a list of strings"
            )
        return [str(f) for f in flags or ()]

    builder = builder_of(target)
    fast = builder.fast_math if option(configs, PassConfigKey.TL_ENABLE_FAST_MATH) else ()
    has_lines = option(configs, PassConfigKey.TL_EMIT_LINE_DIRECTIVES)
    lines = builder.line_info if has_lines else ()
    configured = words(option(configs, PassConfigKey.TL_DEVICE_COMPILE_FLAGS))
    own = func.attribute(COMPILE_FLAGS, ())
    return tuple(dict.fromkeys([*fast, *lines, *words(given), *own, *configured]))


def as_prim_func(func_or_mod: Any) -> PrimFunc:
    """The one function that is to be compiled.

    Raises:
        ArgumentTypeError: for anything but a PrimFunc or a module of one.
    """
    if isinstance(func_or_mod, IRModule) and len(func_or_mod) == 1:
        return next(iter(func_or_mod.functions.values()))
    if isinstance(func_or_mod, PrimFunc):
        return func_or_mod
    raise ArgumentTypeError(
        f"expected a PrimFunc, got {type(func_or_mod).__name__}",
        hint="decorate the kernel with @T.prim_func",
    )


@entry
def lower(
    func_or_mod: PrimFunc | IRModule,
    target: Any = "auto",
    target_host: Any = None,
    runtime_only: bool = False,
    enable_host_codegen: bool = False,
    enable_device_compile: bool = False,
    *,
    pass_configs: Mapping[Any, Any] | None = None,
    flags: str | Sequence[str] | None = None,
    timings: dict[str, float] | None = None,
    notes: list[object] | None = None,
) -> CompiledArtifact:
    """Lower one function to source text, and with `enable_device_compile` to a loaded library.

    Args:
        runtime_only, enable_host_codegen: accepted; host code is printed with the library.
        timings: receives seconds per step.
        notes: receives what passes decided and why.

    Raises:
        Error: for whatever is wrong in the user's program, at its line.
    """
    del runtime_only, enable_host_codegen
    func = as_prim_func(func_or_mod)
    chosen: Target = determine_target(target)
    configs = merged_configs(func, pass_configs)
    context = PassContext(
        chosen,
        configs,
        env.TILELANG_SANITIZE,
        timings if timings is not None else {},
        notes if notes is not None else [],
        explains=notes is not None,
    )
    if enable_device_compile:
        builder_of(chosen).prepare(chosen)
    func = func.with_attribute(TARGET, chosen)
    if configs:
        func = func.with_attribute(PASS_CONFIGS, tuple((k.value, v) for k, v in configs.items()))
    lowered = run(func, context)
    started = time.perf_counter()
    assert chosen.row.printer is not None, f"target {chosen.kind} has no printer"
    source = postprocess(chosen.kind, load(chosen.row.printer)(lowered, chosen), chosen)
    context.timings["print"] = time.perf_counter() - started
    module = IRModule({func.name: lowered})
    artifact = CompiledArtifact(module, module, params_of(func), source, None, chosen, target_host)
    if enable_device_compile:
        started = time.perf_counter()
        given = compile_flags(func, configs, flags, chosen)
        artifact.rt_mod = builder_of(chosen).build(
            BuildRequest(func, lowered, source, chosen, given)
        )
        context.timings["compile"] = time.perf_counter() - started
    return artifact
