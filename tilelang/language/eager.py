"""The eager style: a function whose body is the kernel and whose call runs it.

`EagerFunction` learns from the body which arguments are tensors and which sizes are constants
(phase 1: the body runs with symbolic sizes up to the first launch), gives the specialisation key
of a call, and traces the PrimFunc of one specialisation (phase 2: the body runs whole). `jit`
keeps the compiled kernels; nothing is compiled here.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType, FunctionType
from typing import Any

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    NoBuilderError,
    Note,
    caller_span,
)
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import Var
from tilelang.ir.func import COMPILE_FLAGS, PASS_CONFIGS, PrimFunc
from tilelang.language.allocate import dtype_of
from tilelang.language.builder import Builder, current
from tilelang.language.location import argument_span
from tilelang.language.prim_func import (
    evaluated_annotations,
    function_span,
    parameter_for,
    trace,
)
from tilelang.language.v2.annot import Annot, ArgVarTable, FuncAnnot
from tilelang.language.v2.arguments import freeze


def const(names: str, dtype: Any = "int32") -> Any:
    """Sizes read off the actual tensors and specialised: `M, N = T.const("M, N")`.

    Each must stand alone as a dimension or stride of some tensor argument.

    Raises:
        NoBuilderError: outside an eager kernel.
    """
    builder = current()
    if builder.constants is None:
        raise NoBuilderError(
            "T.const has a meaning only in an eager kernel (@tilelang.jit on the kernel itself)"
        )
    kind = dtype_of(dtype, "const")
    found = [builder.constants.make(name, kind) for name in _split("const", names)]
    return found[0] if len(found) == 1 else tuple(found)


def dynamic(names: str, dtype: Any = "int32") -> Any:
    """Sizes that stay run-time variables: one name -> a variable, several -> a tuple."""
    kind, span = dtype_of(dtype, "dynamic"), caller_span()
    found = [Var(name, kind, span=span) for name in _split("dynamic", names)]
    return found[0] if len(found) == 1 else tuple(found)


def symbolic(names: str, dtype: Any = "int32") -> Any:
    """Older spelling of `dynamic`."""
    return dynamic(names, dtype)


def _split(function: str, names: str) -> list[str]:
    parts = re.split(r"[,\s]+", names.strip()) if isinstance(names, str) else []
    parts = [p for p in parts if p]
    if not parts or any(not p.isidentifier() for p in parts):
        raise ArgumentError(
            f"{function}: {names!r} is no list of names",
            argument_span(0),
            hint=f'write T.{function}("M, N")',
        )
    return parts


@dataclass
class Constants:
    """What `T.const` gives: variables in phase 1, numbers in phase 2."""

    values: Mapping[str, int] | None = None
    declared: dict[str, Var] = field(default_factory=dict)

    def make(self, name: str, kind: DType) -> Any:
        if self.values is not None:
            return self.values[name]
        return self.declared.setdefault(name, Var(name, kind, span=caller_span()))


class _EndOfAnalysis(Exception):
    """Raised by the first launch in phase 1."""


@dataclass
class Specialisation:
    """What one set of compile-time arguments means: every annotation, and which sizes are read."""

    annotations: FuncAnnot
    constants: tuple[str, ...]  # the names of `T.const`
    kernels: dict[Any, Any] = field(default_factory=dict)  # key -> what jit keeps


class EagerFunction:
    """One eager kernel function.

    Raises:
        ArgumentTypeError: for positional-only parameters.
    """

    def __init__(self, function: FunctionType, frame: FrameType | None) -> None:
        self.function = function
        self.__name__ = function.__name__
        self.signature = inspect.signature(function)
        for parameter in self.signature.parameters.values():
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise ArgumentTypeError(
                    f"{self.__name__}: `{parameter.name}` is positional-only",
                    function_span(function),
                    hint="remove the `/` from the signature",
                )
        self.declared = self._declared(evaluated_annotations(function, frame))
        self.runtime_names = set(self.declared)  # arguments known to be passed at launch
        self.specialisations: dict[Any, Specialisation] = {}
        self._lock = threading.Lock()

    def _declared(self, annotations: Mapping[str, Any]) -> dict[str, Any]:
        """Signature annotations that make an argument a run-time one."""
        out: dict[str, Any] = {}
        for name, annotation in annotations.items():
            if annotation in (int, float, bool, str, Any) or annotation is DType:
                continue
            if isinstance(annotation, Annot) or parameter_for(name, annotation) is not None:
                out[name] = annotation
        return out

    # -- the key of a call ------------------------------------------------------------------------

    def bind(self, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, defaults filled in."""
        try:
            bound = self.signature.bind(*args, **keywords)
        except TypeError as error:
            raise ArgumentTypeError(
                f"{self.__name__}(): {error}",
                notes=[Note(function_span(self.function), "defined here")],
            ) from None
        bound.apply_defaults()
        return self._flat(bound.arguments)

    def _flat(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in arguments.items():
            if self.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                out.update(value)
            else:
                out[name] = value
        return out

    def specialise(self, values: Mapping[str, Any]) -> Specialisation:
        """The specialisation that the compile-time arguments among `values` select."""
        while True:
            constants = {
                n: v for n, v in values.items() if n not in self.runtime_names and not is_tensor(v)
            }
            key = tuple((n, freeze(n, v)) for n, v in constants.items())
            found = self.specialisations.get(key)
            if found is not None:
                return found
            made = self._analyse(values)
            runtime = set(made.annotations.ker_arg_names)
            if not runtime - self.runtime_names:
                return self.specialisations.setdefault(key, made)
            with self._lock:  # body annotations made more arguments run-time ones: a shorter key
                self.runtime_names |= runtime

    def key(self, specialisation: Specialisation, values: Mapping[str, Any]) -> Any:
        """What decides which kernel a call needs, given the specialisation."""
        return specialisation.annotations.parse_key(**values)

    # -- phase 1 ----------------------------------------------------------------------------------

    def _analyse(self, values: Mapping[str, Any]) -> Specialisation:
        builder = Builder(self.__name__)
        builder.constants = Constants()
        found: dict[str, Any] = {n: parameter_or_annotation(n, a) for n, a in self.declared.items()}
        arguments = {n: found.get(n, v) for n, v in values.items()}

        def stop() -> None:
            raise _EndOfAnalysis

        def annotate(name: str, annotation: Any, _: Any) -> Any:
            found[name] = parameter_or_annotation(name, annotation)
            return found[name]

        builder.on_launch, builder.on_annotate = stop, annotate
        try:
            trace(self.function, builder, *self._split_keywords(arguments))
        except _EndOfAnalysis:
            builder.on_launch = None
        for name, value in values.items():
            if is_tensor(value) and name not in found:
                raise ArgumentTypeError(
                    f"{self.__name__}(): argument `{name}` is a tensor, "
                    "but nothing says of what shape and dtype",
                    function_span(self.function),
                    hint="annotate it in the signature or the body: "
                    f"{name}: T.Tensor((M, N), T.float32)",
                )
        return self._specialisation(values, found, builder.constants.declared)

    def _split_keywords(
        self, arguments: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        own = {n: v for n, v in arguments.items() if n in self.signature.parameters}
        return own, {n: v for n, v in arguments.items() if n not in own}

    def _specialisation(
        self, values: Mapping[str, Any], found: Mapping[str, Any], constants: Mapping[str, Var]
    ) -> Specialisation:
        declared = {name: found[name] for name in values if name in found}
        annotations = keyword_annotations(list(values), declared)
        return Specialisation(annotations.specialise(constants.values()), tuple(constants))

    # -- phase 2 ----------------------------------------------------------------------------------

    def constants_of(
        self, specialisation: Specialisation, values: Mapping[str, Any], given: Mapping[str, int]
    ) -> dict[str, int]:
        """The `T.const` sizes of a call: from the tensors, or from `given` by name.

        Raises:
            ArgumentError: when a size has no source.
            ShapeError: when two tensors disagree.
        """
        if all(name in given for name in specialisation.constants):
            return {name: int(given[name]) for name in specialisation.constants}
        annotations = specialisation.annotations
        tensors = {n: v for n, v in values.items() if is_tensor(v)}
        found = {**annotations.constant_values(**tensors), **given}
        for name in specialisation.constants:
            if name not in found:
                raise ArgumentError(
                    f"{self.__name__}(): no value for the size `{name}`",
                    function_span(self.function),
                    hint=f"pass {name}=..., or a tensor (or T.Tensor placeholder) "
                    f"for `{annotations.owner_of(name)}`",
                )
        return {name: int(found[name]) for name in specialisation.constants}

    def trace(self, values: Mapping[str, Any], constants: Mapping[str, int]) -> PrimFunc:
        """The PrimFunc for these compile-time arguments and sizes."""
        builder = Builder(self.__name__)
        builder.constants = Constants(dict(constants))
        parameters: dict[str, Any] = {}

        def register(name: str, annotation: Any) -> Any:
            made = parameter_or_annotation(name, annotation)
            if not isinstance(made, (Buffer, Var)):
                made = _complete(name, made, values.get(name))
            parameters[name] = made
            return made

        arguments = {
            n: register(n, self.declared[n]) if n in self.declared else v for n, v in values.items()
        }
        builder.on_annotate = lambda name, annotation, _: register(name, annotation)
        made = trace(self.function, builder, *self._split_keywords(arguments))
        ordered = [parameters[n] for n in values if n in parameters]
        return _with_parameters(made, ordered)


def _with_parameters(func: PrimFunc, ordered: list[Any]) -> PrimFunc:
    from tilelang.ir.node import replace

    return replace(func, params=(*ordered, *func.params))


def parameter_or_annotation(name: str, annotation: Any) -> Any:
    """The IR parameter of a complete annotation; the annotation object itself otherwise."""
    made = parameter_for(name, annotation)
    if made is None and not isinstance(annotation, Annot):
        raise ArgumentTypeError(
            f"`{name}`: the annotation {annotation!r} does not describe an argument", caller_span()
        )
    return made if made is not None else annotation


def _complete(name: str, annotation: Any, value: Any) -> Any:
    return annotation.with_name(name).create_prim_func_arg(name, value, ArgVarTable())


def keyword_annotations(names: list[str], annotations: Mapping[str, Any]) -> FuncAnnot:
    """The annotations of arguments that are all passed by keyword; the others are constants."""
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    return FuncAnnot.from_sig_annots(inspect.Signature(parameters), annotations)


def is_tensor(value: Any) -> bool:
    """Whether `value` is passed at launch: a tensor or array, or a placeholder for one."""
    return hasattr(value, "__dlpack__") or isinstance(value, (Buffer, Var))


def annotate_compile_flags(flags: str | list[str]) -> None:
    """Flags appended to the device compiler's command for this kernel."""
    given = flags.split() if isinstance(flags, str) else list(flags)
    builder = current()
    builder.attributes[COMPILE_FLAGS] = (*builder.attributes.get(COMPILE_FLAGS, ()), *given)


def annotate_pass_configs(configs: Mapping[Any, Any]) -> None:
    """Pass configuration of this kernel; what the caller passes from outside wins."""
    builder = current()
    before = dict(builder.attributes.get(PASS_CONFIGS, ()))
    before.update({str(getattr(k, "value", k)): v for k, v in configs.items()})
    builder.attributes[PASS_CONFIGS] = tuple(before.items())
