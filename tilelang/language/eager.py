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
    LanguageError,
    NoBuilderError,
    Note,
    caller_span,
)
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import Operand, Var
from tilelang.ir.func import COMPILE_FLAGS, PASS_CONFIGS, PrimFunc
from tilelang.language.builder import Builder, current
from tilelang.language.prim_func import (
    evaluated_annotations,
    function_span,
    parameter_for,
    trace,
)
from tilelang.language.v2.annot import (
    Annot,
    BufferAnnot,
    FuncAnnot,
    StridedTensorAnnot,
    TIRAnnot,
    Value,
)


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
    found = [builder.constants.make(name, DType(dtype)) for name in _split(names)]
    return found[0] if len(found) == 1 else tuple(found)


def dynamic(names: str, dtype: Any = "int32") -> Any:
    """Sizes that stay run-time variables: one name -> a variable, several -> a tuple."""
    found = [Var(name, DType(dtype)) for name in _split(names)]
    return found[0] if len(found) == 1 else tuple(found)


def symbolic(names: str, dtype: Any = "int32") -> Any:
    """Older spelling of `dynamic`."""
    return dynamic(names, dtype)


def _split(names: str) -> list[str]:
    parts = [p for p in re.split(r"[,\s]+", names.strip()) if p]
    if not parts or any(not p.isidentifier() for p in parts):
        raise ArgumentError(f"{names!r} is no list of names", hint='write T.const("M, N")')
    return parts


@dataclass
class Constants:
    """What `T.const` gives: variables in phase 1, numbers in phase 2."""

    values: Mapping[str, int] | None = None
    declared: dict[str, Var] = field(default_factory=dict)

    def make(self, name: str, kind: DType) -> Any:
        if self.values is not None:
            return self.values[name]
        return self.declared.setdefault(name, Var(name, kind))


class _EndOfAnalysis(Exception):
    """Raised by the first launch in phase 1."""


@dataclass
class Specialisation:
    """What one set of compile-time arguments means: every annotation, the sizes, their sources."""

    annotations: FuncAnnot
    constants: dict[str, tuple[str, str, int]]  # name -> (argument, "shape" or "stride", axis)
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
            key = tuple((n, freeze(v, n)) for n, v in constants.items())
            found = self.specialisations.get(key)
            if found is not None:
                return found
            made = self._analyse(values)
            runtime = set(made.annotations.ker_arg_names)
            if not runtime - self.runtime_names:
                return self.specialisations.setdefault(key, made)
            with (
                self._lock
            ):  # body annotations made more arguments run-time ones: the key is shorter now
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
        annots: dict[str, Annot] = {}
        sources: dict[str, tuple[str, str, int]] = {}
        names = {id(v): n for n, v in constants.items()}
        for name in values:
            parameter = found.get(name)
            if isinstance(parameter, Buffer):
                annots[name] = _tensor_annotation(name, parameter, names, sources)
            elif isinstance(parameter, Var):
                annots[name] = TIRAnnot(parameter)
            elif isinstance(parameter, Annot):
                annots[name] = parameter
            else:
                annots[name] = Value(kind="static", name=name)
        for name in constants:
            if name not in sources:
                raise LanguageError(
                    f"`{name}` of T.const is not a dimension or stride "
                    "of any tensor argument by itself",
                    function_span(self.function),
                    hint="give some T.Tensor a dimension that is exactly this name, "
                    "or use T.dynamic",
                )
        return Specialisation(make_func_annot(list(values), annots), sources)

    # -- phase 2 ----------------------------------------------------------------------------------

    def constants_of(
        self, specialisation: Specialisation, values: Mapping[str, Any], given: Mapping[str, int]
    ) -> dict[str, int]:
        """The `T.const` sizes of a call: from the tensors, or from `given` by name.

        Raises:
            ArgumentError: when a size has no source.
        """
        out: dict[str, int] = {}
        for name, (argument, kind, axis) in specialisation.constants.items():
            value = values.get(argument)
            if name in given:
                out[name] = int(given[name])
            elif value is not None and (is_tensor(value) or isinstance(value, Buffer)):
                out[name] = dimension_of(value, kind, axis)
            else:
                raise ArgumentError(
                    f"{self.__name__}(): no value for the size `{name}`",
                    function_span(self.function),
                    hint=f"pass {name}=..., or a tensor (or T.Tensor placeholder) for `{argument}`",
                )
        return out

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
    from tilelang.language.v2.annot import ArgVarTable

    return annotation.with_name(name).create_prim_func_arg(name, value, ArgVarTable())


def _tensor_annotation(
    name: str,
    buffer: Buffer,
    constants: Mapping[int, str],
    sources: dict[str, tuple[str, str, int]],
) -> BufferAnnot:
    """How the tensor enters the key: const sizes by value; the others, checked at launch, not."""

    def part(extent: Any, kind: str, axis: int) -> Value:
        if isinstance(extent, Var) and id(extent) in constants:
            sources.setdefault(constants[id(extent)], (name, kind, axis))
            return Value(kind="static", name=extent.name)
        return Value(
            kind="dynamic",
            name=f"{name}_{kind}_{axis}",
            value=extent if isinstance(extent, Operand) else None,
        )

    shape = tuple(part(e, "shape", k) for k, e in enumerate(buffer.shape))
    if buffer.declared_strides is None or not any(
        isinstance(s, Var) and id(s) in constants for s in buffer.declared_strides
    ):
        strides = tuple(
            Value(kind="dynamic", name=f"{name}_stride_{k}") for k in range(buffer.ndim)
        )
        return BufferAnnot(shape=shape, strides=strides, dtype=buffer.dtype)
    strides = tuple(part(s, "stride", k) for k, s in enumerate(buffer.declared_strides))
    return StridedTensorAnnot(shape=shape, strides=strides, dtype=buffer.dtype)


def make_func_annot(names: list[str], annots: dict[str, Annot]) -> FuncAnnot:
    """A FuncAnnot over arguments that are all passed by keyword."""
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    return FuncAnnot.from_sig_annots(inspect.Signature(parameters), dict(annots))


def is_tensor(value: Any) -> bool:
    """Whether `value` is passed at launch: a tensor or array, or a placeholder for one."""
    return hasattr(value, "__dlpack__") or isinstance(value, (Buffer, Var))


def dimension_of(value: Any, kind: str, axis: int) -> int:
    """One extent or stride, in elements, of a tensor, array or placeholder."""
    if isinstance(value, Buffer):
        extent = (value.shape if kind == "shape" else value.strides)[axis]
        if not isinstance(extent, int):
            raise ArgumentError(
                f"`{value.name}`: {kind} {axis} of the placeholder is `{extent}`, "
                "expected an integer"
            )
        return extent
    if kind == "shape":
        return int(value.shape[axis]) * (packing_of(value) if axis == len(value.shape) - 1 else 1)
    if callable(getattr(value, "stride", None)):
        return int(value.stride(axis))
    return int(value.strides[axis]) // int(value.itemsize)


def packing_of(value: Any) -> int:
    """Elements per stored element of a tensor's dtype (2 for PyTorch's packed float4)."""
    return 2 if str(value.dtype).endswith("fn_x2") else 1


def freeze(value: Any, name: str = "argument") -> Any:
    """`value` in hashable form, for cache keys.

    Raises:
        ArgumentTypeError: when it has none.
    """
    if isinstance(value, dict):
        return ("dict", tuple((freeze(k, name), freeze(v, name)) for k, v in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(freeze(v, name) for v in value))
    if isinstance(value, (set, frozenset)):
        return ("set", frozenset(freeze(v, name) for v in value))
    if isinstance(value, (bool, float, int)):
        return (type(value).__name__, value)  # 1, 1.0 and True are different programs
    try:
        hash(value)
    except TypeError:
        raise ArgumentTypeError(
            f"`{name}` is a {type(value).__name__}, which cannot select a kernel: it has no hash",
            hint="pass numbers, strings, dtypes, tuples, or a hashable object",
        ) from None
    return value


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
