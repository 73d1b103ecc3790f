"""`@tilelang.jit`: from calls of a user's function to compiled kernels.

A function in *factory* style returns a PrimFunc: calling it compiles, and returns the JITKernel. A
function in *eager* style is the kernel: calling it compiles at need, and runs. Which of the two a
function is, is seen from its source at first use.
"""

from __future__ import annotations

import ast
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, FunctionType
from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, NoBuilderError
from tilelang.ir.func import PrimFunc
from tilelang.jit import warm_up
from tilelang.jit.compile import compile, par_compile
from tilelang.jit.kernel import JITKernel
from tilelang.language.creator import PrimFuncCreator
from tilelang.language.eager import EagerFunction, Specialisation
from tilelang.language.prim_func import function_span
from tilelang.language.rewriter import SourceFunction
from tilelang.language.v2.arguments import freeze
from tilelang.tracebacks import entry, for_the_user

_LAUNCHES = ("Kernel", "ClusterKernel", "CUDASourceCodeKernel")


class CompileOptions:
    """The keywords of `jit`, as `compile` takes them."""

    def __init__(
        self,
        *,
        out_idx: list[int] | int | None = None,
        target: Any = None,
        target_host: Any = None,
        execution_backend: str | None = None,
        verbose: bool | None = None,
        pass_configs: Mapping[Any, Any] | None = None,
        compile_flags: Any = None,
    ) -> None:
        self.options: dict[str, Any] = {
            "out_idx": out_idx,
            "target": target,
            "target_host": target_host,
            "execution_backend": execution_backend,
            "verbose": verbose,
            "pass_configs": pass_configs,
            "compile_flags": compile_flags,
        }

    def compile(self, func: PrimFunc) -> JITKernel:
        return compile(func, **self.options)

    def par_compile(
        self, funcs: Iterable[PrimFunc], num_workers: int | None, ignore_error: bool
    ) -> Any:
        return par_compile(
            funcs, **self.options, num_workers=num_workers, ignore_error=ignore_error
        )


class JITImpl:
    """A function under `@tilelang.jit`."""

    def __init__(
        self,
        func: Any,
        options: CompileOptions,
        debug_root_path: str | None,
        frame: FrameType | None,
    ) -> None:
        self.func = func
        self.options = options
        self.debug_root_path = debug_root_path
        self.__name__ = getattr(func, "__name__", getattr(func, "name", "kernel"))
        self.__doc__ = getattr(func, "__doc__", None)
        self.__wrapped__ = func
        self.signature = (
            inspect.signature(func) if isinstance(func, FunctionType) else inspect.Signature()
        )
        self._frame_locals = frame
        self._kernels: dict[Any, JITKernel] = {}
        self._lock = threading.RLock()
        self._lazy: bool | None = None
        self._eager: EagerFunction | None = None
        self._recent: list[Specialisation] = []

    # -- which style ------------------------------------------------------------------------------

    def initialize_jit_mode(self, *args: Any, **keywords: Any) -> str:
        """`"lazy"` (factory) or `"eager"`; the arguments serve only if the source does not tell."""
        if self._lazy is None:
            self._lazy = self._find_mode(args, keywords)
            if not self._lazy:
                self._require_eager_options()
                self._eager = EagerFunction(self.func, self._frame_locals)
            self._frame_locals = None
        return "lazy" if self._lazy else "eager"

    def is_lazy_mode(self) -> bool:
        """Whether this is a factory."""
        self.initialize_jit_mode()
        return bool(self._lazy)

    def _find_mode(self, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> bool:
        if not isinstance(self.func, FunctionType):
            return True
        definition = SourceFunction(self.func).definition
        inner = (
            n
            for n in ast.walk(definition)
            if isinstance(n, ast.FunctionDef) and n is not definition
        )
        if any("prim_func" in ast.unparse(d) for n in inner for d in n.decorator_list):
            return True
        called = {
            n.func.attr
            for n in ast.walk(definition)
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
        }
        if called & set(_LAUNCHES):
            return False
        try:
            return isinstance(self.func(*args, **keywords), PrimFunc)
        except (NoBuilderError, TypeError):
            return False

    def _require_eager_options(self) -> None:
        if self.options.options.get("out_idx") is not None:
            raise ArgumentError(
                f"`{self.__name__}` is an eager kernel; out_idx belongs to factories",
                function_span(self.func),
                hint="make the outputs with T.empty and return them",
            )

    # -- calling ----------------------------------------------------------------------------------

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Factory: the JITKernel for these arguments. Eager: run on these arguments."""
        try:
            for specialisation in self._recent:
                annotations = specialisation.annotations
                try:
                    kernel = specialisation.kernels.get(annotations.key_function(*args, **keywords))
                    if kernel is not None:
                        values = annotations.launch_function(*args, **keywords)
                        return kernel.torch_function(*values)
                except TypeError:
                    break  # an argument that does not fit: the slow path says which
            if self._lazy is None:
                self.initialize_jit_mode(*args, **keywords)
            if self._lazy:
                return self._factory_kernel(args, keywords)
            return self._run(args, keywords)
        except Exception as error:  # as `entry` does, without a call more
            __tracebackhide__ = True
            for_the_user(error)
            raise error

    def _factory_key(self, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
        tuned = keywords.get("__tune_params") or {}
        given = {k: v for k, v in keywords.items() if k != "__tune_params"}
        try:
            bound = self.signature.bind_partial(*args, **{**given, **tuned})
        except TypeError as error:
            raise ArgumentTypeError(f"{self.__name__}(): {error}") from None
        bound.apply_defaults()
        return tuple((name, freeze(name, value)) for name, value in bound.arguments.items())

    def parse_cache_key(self, *args: Any, **keywords: Any) -> Any:
        """What selects the kernel of a call: equal keys, one kernel."""
        self.initialize_jit_mode(*args, **keywords)
        if self._lazy:
            return self._factory_key(args, keywords)
        assert self._eager is not None
        values = self._eager.bind(args, keywords)
        return self._eager.key(self._eager.specialise(values), values)

    def _factory_kernel(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> JITKernel:
        key = self._factory_key(args, keywords)
        found = self._kernels.get(key)
        if found is None:
            with self._lock:
                found = self._kernels.get(key)
                if found is None:
                    found = self._kernels[key] = self._compiled(self.get_tir(*args, **keywords))
        return found

    def _run(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        assert self._eager is not None
        values = self._eager.bind(args, keywords)
        specialisation = self._eager.specialise(values)
        key = self._eager.key(specialisation, values)
        kernel = specialisation.kernels.get(key)
        if kernel is None:
            with self._lock:
                kernel = specialisation.kernels.get(key)
                if kernel is None:
                    constants = self._eager.constants_of(specialisation, values, {})
                    kernel = self._compiled(self._eager.trace(values, constants))
                    specialisation.kernels[key] = kernel
        self._recent = [specialisation, *(s for s in self._recent if s is not specialisation)][:8]
        return kernel(*specialisation.annotations.convert_to_kernel_args(**values))

    # -- compiling --------------------------------------------------------------------------------

    @entry
    def get_tir(self, *args: Any, **keywords: Any) -> PrimFunc:
        """The PrimFunc for these arguments (eager: tensors or placeholders, or sizes by name)."""
        self.initialize_jit_mode(*args, **keywords)
        if self._lazy:
            return self._elaborate(args, keywords)
        assert self._eager is not None
        eager = self._eager
        sizes = {k: v for k, v in keywords.items() if k not in eager.signature.parameters}
        own = {k: v for k, v in keywords.items() if k not in sizes}
        if any(p.kind is p.VAR_KEYWORD for p in eager.signature.parameters.values()):
            own, sizes = {**own, **sizes}, {}
        bound = eager.signature.bind_partial(*args, **own)
        bound.apply_defaults()
        values = {n: bound.arguments.get(n) for n in eager.signature.parameters}
        specialisation = eager.specialise(dict(values))
        return eager.trace(values, eager.constants_of(specialisation, values, sizes))

    def _elaborate(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> PrimFunc:
        if isinstance(self.func, PrimFunc):
            return self.func
        if isinstance(self.func, PrimFuncCreator):
            return self.func(*args, **keywords)
        tuned = keywords.pop("__tune_params", None) or {}
        given = {**keywords, **tuned}
        try:
            self.signature.bind(*args, **given)
        except TypeError as error:
            raise ArgumentTypeError(f"{self.__name__}(): {error}") from None
        made = self.func(*args, **given)
        if isinstance(made, PrimFuncCreator):
            made = made()
        if not isinstance(made, PrimFunc):
            raise ArgumentTypeError(
                f"`{self.__name__}` returns {type(made).__name__}, expected a PrimFunc",
                function_span(self.func) if isinstance(self.func, FunctionType) else None,
                hint="return the function decorated with @T.prim_func",
            )
        return made

    @entry
    def compile(self, *args: Any, **keywords: Any) -> JITKernel:
        """The JITKernel for these arguments, without running it and without the call cache."""
        return self._compiled(self.get_tir(*args, **keywords))

    def _compiled(self, func: PrimFunc) -> JITKernel:
        kernel = self.options.compile(func)
        if self.debug_root_path is not None:
            self._write_debug_files(kernel)
        return kernel

    def _write_debug_files(self, kernel: JITKernel) -> None:
        from pathlib import Path

        folder = Path(str(self.debug_root_path))
        folder.mkdir(parents=True, exist_ok=True)
        name = self.__name__
        (folder / f"tilelang_jit_kernel_{name}.c").write_text(
            kernel.get_kernel_source(), encoding="utf-8"
        )
        (folder / f"tilelang_jit_program_{name}.py").write_text(
            kernel.prim_func.script(), encoding="utf-8"
        )

    @entry
    def par_compile(
        self,
        configs: Iterable[Mapping[str, Any] | tuple[Any, ...]],
        num_workers: int | None = None,
        ignore_error: bool = False,
    ) -> list[JITKernel | None]:
        """Compile for several argument sets at a time: keywords as dicts, positional as tuples.

        Raises:
            ArgumentError: for an element that is neither.
        """
        funcs = []
        for config in configs:
            if isinstance(config, Mapping):
                funcs.append(self.get_tir(**config))
            elif isinstance(config, tuple):
                funcs.append(self.get_tir(*config))
            else:
                raise ArgumentError(
                    f"par_compile: {config!r} is neither a dict of keywords nor a tuple"
                )
        return self.options.par_compile(funcs, num_workers, ignore_error)

    def get_kernel_source(self, *args: Any, **keywords: Any) -> str:
        """Text of the kernel for these arguments."""
        return self.compile(*args, **keywords).get_kernel_source()


class LazyJITImpl:
    """A function under `tilelang.lazy_jit`: its signature's annotations say what specialises."""

    def __init__(
        self,
        func: FunctionType,
        options: CompileOptions,
        debug_root_path: str | None,
        frame: FrameType | None,
    ) -> None:
        from tilelang.language.prim_func import evaluated_annotations

        self.func = func
        self.__name__ = func.__name__
        self.__wrapped__ = func
        self.options = options
        self.debug_root_path = debug_root_path
        self.creator = PrimFuncCreator(func, evaluated_annotations(func, frame))
        self._kernels: dict[Any, JITKernel] = {}
        self._lock = threading.RLock()

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Compile for these arguments if need be, run, and return the outputs."""
        try:
            annotations = self.creator.func_annot
            key = annotations.parse_key(*args, **keywords)
            kernel = self._kernels.get(key)
            if kernel is None:
                with self._lock:
                    kernel = self._kernels.get(key)
                    if kernel is None:
                        kernel = self._kernels[key] = self.compile(*args, **keywords)
            return kernel.torch_function(*annotations.convert_to_kernel_args(*args, **keywords))
        except Exception as error:  # as `entry` does, without a call more
            __tracebackhide__ = True
            for_the_user(error)
            raise error

    @entry
    def get_tir(self, *args: Any, **keywords: Any) -> PrimFunc:
        """The PrimFunc for these arguments or placeholders."""
        return self.creator(*args, **keywords)

    def parse_cache_key(self, *args: Any, **keywords: Any) -> Any:
        """What selects the kernel of a call."""
        return self.creator.func_annot.parse_key(*args, **keywords)

    @entry
    def compile(self, *args: Any, **keywords: Any) -> JITKernel:
        """The JITKernel for these arguments or placeholders."""
        return self.options.compile(self.get_tir(*args, **keywords))

    @entry
    def par_compile(
        self, configs: Iterable[Any], num_workers: int | None = None, ignore_error: bool = False
    ) -> list[JITKernel | None]:
        """Compile for several argument sets at a time: keywords as dicts, positional as tuples."""
        funcs = [self.get_tir(**c) if isinstance(c, Mapping) else self.get_tir(*c) for c in configs]
        return self.options.par_compile(funcs, num_workers, ignore_error)


def make_jit(
    func: Any,
    implementation: Callable[..., Any],
    frame: FrameType,
    debug_root_path: str | None,
    **options: Any,
) -> Any:
    """What `jit` and `lazy_jit` return, bare or with keywords."""
    chosen = CompileOptions(**options)
    warm_up.begin(options.get("target"))
    if func is None:
        return lambda f: implementation(f, chosen, debug_root_path, frame)
    if not isinstance(func, (FunctionType, PrimFunc, PrimFuncCreator)):
        raise ArgumentTypeError(f"jit needs a function, got {type(func).__name__} {func!r}")
    return implementation(func, chosen, debug_root_path, frame)
