"""PrimFunc -> JITKernel, through memory and disk.

`compile` looks in memory, then in the disk cache, then compiles and keeps the result. Each kernel
is compiled once however many threads ask for it at a time.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tilelang import cache
from tilelang.engine.builder import builder_of
from tilelang.engine.callback import hook_identity
from tilelang.engine.lower import as_prim_func, compile_flags, merged_configs
from tilelang.engine.toolchain import headers_digest
from tilelang.env import env
from tilelang.errors import ArgumentTypeError
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Stmt
from tilelang.ir.visitor import walk
from tilelang.jit.adapter.base import BaseKernelAdapter, legalize_result_idx
from tilelang.jit.kernel import (
    ADAPTERS,
    JITKernel,
    log_compilation,
    resolve_backend,
    resolve_out_idx,
)
from tilelang.target.registry import determine_target
from tilelang.target.target import Target, load
from tilelang.tracebacks import entry
from tilelang.transform.config import PassConfigKey, option

_memory: dict[str, JITKernel] = {}
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def clear_memory() -> None:
    """Forget the kernels kept in memory."""
    _memory.clear()


cache.on_clear(clear_memory)


@entry
def compile(
    func: PrimFunc,
    out_idx: list[int] | int | None = None,
    execution_backend: str | None = None,
    target: str | Target | None = None,
    target_host: Any = None,
    verbose: bool | None = None,
    pass_configs: Mapping[Any, Any] | None = None,
    compile_flags: Sequence[str] | str | None = None,
) -> JITKernel:
    """Compile a PrimFunc, or find it compiled.

    Args:
        out_idx: parameters that a call allocates and returns (an index or a list; negative too).
        execution_backend: `"tvm_ffi"`, `"cython"` (CPU), `"nvrtc"` (CUDA); `None` or `"auto"`: the
            target's first that works on this machine.
        target: such as `"c"`; `None` or `"auto"`: what this machine has.
        pass_configs: `PassConfigKey` members or their value strings -> values.
        compile_flags: appended to the device compiler's command.

    Raises:
        AssertionError: when `func` is no PrimFunc.
        Error: for whatever is wrong in the user's program, at its line.
    """
    if not isinstance(func, PrimFunc):
        raise _NotAPrimFunc(
            f"compile needs a PrimFunc, got {type(func).__name__}",
            hint="decorate the kernel with @T.prim_func",
        )
    return cached(
        func, out_idx, target=target, target_host=target_host, execution_backend=execution_backend,
        verbose=verbose, pass_configs=pass_configs, compile_flags=compile_flags,
    )  # fmt: skip


class _NotAPrimFunc(ArgumentTypeError, AssertionError):
    """`compile` was given something else."""


def cached(
    func: PrimFunc,
    out_idx: list[int] | int | None = None,
    *args: Any,
    target: str | Target | None = None,
    target_host: Any = None,
    execution_backend: str | None = None,
    verbose: bool | None = None,
    pass_configs: Mapping[Any, Any] | None = None,
    compile_flags: Sequence[str] | str | None = None,
) -> JITKernel:
    """The kernel of one compilation: from memory, from disk, or compiled now."""
    del args
    chosen: Target = determine_target(target)
    builder_of(chosen).prepare(chosen)
    backend = resolve_backend(execution_backend, chosen)
    wanted = _Request(
        func,
        out_idx,
        chosen,
        target_host,
        backend,
        bool(verbose or env.TILELANG_VERBOSE),
        pass_configs,
        compile_flags,
    )
    if not env.cache_enabled:
        return wanted.compile()
    key = wanted.key()
    found = _memory.get(key.digest)
    if found is not None:
        return found
    with _lock_of(key.digest):
        found = _memory.get(key.digest)
        if found is None:
            found = _memory[key.digest] = wanted.load(key) or wanted.compile_and_keep(key)
    return found


def _lock_of(digest: str) -> threading.Lock:
    with _guard:
        return _locks.setdefault(digest, threading.Lock())


class _Request:
    """One compilation: everything that decides it."""

    def __init__(
        self,
        func: PrimFunc,
        out_idx: Any,
        target: Target,
        target_host: Any,
        backend: str,
        verbose: bool,
        pass_configs: Mapping[Any, Any] | None,
        flags: Sequence[str] | str | None,
    ) -> None:
        self.func, self.target, self.target_host = as_prim_func(func), target, target_host
        self.backend, self.verbose = backend, verbose
        self.out_idx = out_idx
        self.configs = merged_configs(func, pass_configs)
        self.flags = compile_flags(func, self.configs, flags, target)
        self.adapter: type[BaseKernelAdapter] = load(ADAPTERS[backend])
        positions = resolve_out_idx(func, out_idx)
        self.positions = legalize_result_idx(positions, len(func.params))

    def key(self) -> cache.CacheKey:
        """What decides the result, and nothing else."""
        builder = builder_of(self.target)
        return cache.cache_key(
            ir=self.func.script() + source_lines(self.func, self._located(builder.located)),
            target=str(self.target),
            target_host=None if self.target_host is None else str(self.target_host),
            pass_configs={
                **self.configs,
                "sanitize": env.TILELANG_SANITIZE,
                "place": builder.place,
                "postproc": hook_identity(self.target.kind),
            },
            out_idx=self.positions,
            backend=self.backend,
            compiler=builder.identity(self.target, self.adapter.needs_host_compiler),
            flags=self.flags,
            headers=headers_digest(),
            version=cache.package_version(),
            package=cache.package_digest(),
        )

    def _located(self, always: tuple[type[Stmt], ...]) -> tuple[type[Stmt], ...]:
        """Statements whose lines are in the binary: all, for the sanitizer and for profilers."""
        has_lines = option(self.configs, PassConfigKey.TL_EMIT_LINE_DIRECTIVES)
        return (Stmt,) if env.TILELANG_SANITIZE or has_lines else always

    def compile(self) -> JITKernel:
        log_compilation(f"tilelang: compiling `{self.func.name}` for {self.target}")
        return JITKernel(
            self.func, self.out_idx, self.backend, self.target, self.target_host, self.verbose,
            self.configs, False, self.flags,
        )  # fmt: skip

    def load(self, key: cache.CacheKey) -> JITKernel | None:
        entry = cache.default_store().load(key)
        if entry is None:
            return None
        try:
            return JITKernel.from_database(
                self.func, entry.host_source or "", entry.device_source or "",
                str(entry.file(self.adapter.library_file)), entry.params, self.target,
                self.target_host, self.out_idx, self.backend, self.configs, self.flags,
            )  # fmt: skip
        except (
            OSError,
            RuntimeError,
            KeyError,
        ) as error:  # a library that this machine cannot load
            cache.default_store().discard(key)
            warnings.warn(
                f"recompiling `{self.func.name}`: its cached library does not load ({error})",
                cache.CacheWarning,
                2,
            )
            return None

    def compile_and_keep(self, key: cache.CacheKey) -> JITKernel:
        kernel = self.compile()
        device_file = f"device_kernel{self.target.row.source_suffix}"
        host_file = f"host_kernel{self.adapter.host_suffix}"
        cache.default_store().save(
            key,
            {
                **kernel.adapter.binaries(),
                device_file: kernel.get_kernel_source().encode(),
                host_file: kernel.get_host_source().encode(),
            },
            kernel.params,
        )
        return kernel


def source_lines(func: PrimFunc, located: tuple[type[Stmt], ...]) -> str:
    """Lines of the statements whose lines are in the binary."""
    places = [str(n.span) for n in walk(func.body) if isinstance(n, located)]
    return "\n# " + " ".join(places) if places else ""


@entry
def par_compile(
    funcs: Iterable[PrimFunc],
    out_idx: list[int] | int | None = None,
    execution_backend: str | None = None,
    target: str | Target | None = None,
    target_host: Any = None,
    verbose: bool | None = None,
    pass_configs: Mapping[Any, Any] | None = None,
    compile_flags: Sequence[str] | str | None = None,
    num_workers: int | None = None,
    ignore_error: bool = False,
) -> list[JITKernel | None]:
    """Compile several PrimFuncs at a time, in order.

    Args:
        num_workers: threads; `None`: by the number of cores.
        ignore_error: a failure is a warning and gives `None` in its place.
    """

    def one(func: PrimFunc) -> JITKernel | None:
        try:
            return compile(
                func,
                out_idx,
                execution_backend,
                target,
                target_host,
                verbose,
                pass_configs,
                compile_flags,
            )
        except Exception as error:
            if not ignore_error:
                raise
            warnings.warn(
                f"compilation of `{getattr(func, 'name', func)}` failed: {error}", RuntimeWarning, 2
            )
            return None

    workers = num_workers or max(1, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, list(funcs)))
