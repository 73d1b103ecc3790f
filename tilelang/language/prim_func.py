"""`@T.prim_func` and `@T.macro`: a Python function becomes a PrimFunc, or code inlined at a call.

Comes in: the user's function. Goes out: a `PrimFunc` (tile form) made by running the rewritten
function under a `Builder`. `trace` is what the eager style (`eager.py`) uses too.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from types import FrameType, FunctionType
from typing import Any, overload

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArithmeticFault,
    Error,
    LanguageError,
    Note,
    Span,
    caller_span,
    raised_span,
)
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr, Operand, Var
from tilelang.ir.func import OUT_IDX, PrimFunc
from tilelang.language.builder import Builder, current, is_tracing
from tilelang.language.reference import Ref, Reference, make_reference
from tilelang.language.rewriter import SourceFunction, rewrite
from tilelang.tracebacks import entry


def function_span(function: FunctionType) -> Span:
    """Where the `def` of `function` stands."""
    code = function.__code__
    return Span(code.co_filename, code.co_firstlineno)


def evaluated_annotations(function: FunctionType, frame: FrameType | None) -> dict[str, Any]:
    """Annotations as objects; text (postponed evaluation) is evaluated where the function is."""
    raw = dict(inspect.get_annotations(function))
    raw.pop("return", None)
    if not any(type(v) is str for v in raw.values()):
        return raw
    scope: dict[str, Any] = dict(frame.f_locals) if frame is not None else {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            scope[name] = cell.cell_contents
        except ValueError:  # not assigned yet in the enclosing function
            continue
    out: dict[str, Any] = {}
    for name, value in raw.items():
        try:
            out[name] = eval(value, function.__globals__, scope) if type(value) is str else value
        except NameError as error:
            raise LanguageError(
                f"the annotation `{value}` of `{name}` cannot be evaluated: {error}",
                function_span(function),
                hint="remove `from __future__ import annotations` from this file",
            ) from None
    return out


def trace(
    function: FunctionType,
    builder: Builder,
    arguments: Mapping[str, Any],
    keyword: Mapping[str, Any] | None = None,
) -> PrimFunc:
    """Run the rewritten `function` under `builder` and assemble the PrimFunc.

    Args:
        arguments: value of each parameter by name: buffers, variables, or Python constants.
        keyword: values of `**kwargs`.

    The PrimFunc's parameters are those registered with `builder.add_parameter`, then the outputs.
    """
    rewritten = rewrite(function)
    with builder.active(), builder.function(function.__name__):
        for name, value in arguments.items():
            builder.bind_argument(name, value)
        result = _call(rewritten, function, builder, arguments, keyword or {})
    outputs = _outputs(result, builder, function)
    params = [*builder.params, *builder.outputs]
    attributes = dict(builder.attributes)
    if outputs:
        attributes[OUT_IDX] = tuple(_position(params, b) - len(params) for b in outputs)
    return PrimFunc(
        function.__name__, tuple(params), builder.scopes[0].body(), tuple(attributes.items()),
        span=function_span(function),
    )  # fmt: skip


def _call(
    rewritten: Callable[..., Any],
    function: FunctionType,
    builder: Builder,
    arguments: Mapping[str, Any],
    keyword: Mapping[str, Any],
) -> Any:
    positional: list[Any] = []
    keywords: dict[str, Any] = dict(keyword)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(arguments.get(parameter.name, ()))
        elif parameter.kind is parameter.VAR_KEYWORD:
            continue
        elif parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = arguments[parameter.name]
        else:
            positional.append(arguments[parameter.name])
    try:
        return rewritten(builder, *positional, **keywords)
    except (TypeError, ZeroDivisionError) as error:
        span = None if isinstance(error, Error) else raised_span(error)
        if span is None:
            raise
        kind = ArgumentTypeError if isinstance(error, TypeError) else ArithmeticFault
        stores = "'Buffer' object does not support item assignment" in str(error)
        hint = "decorate the function that stores with @T.macro" if stores else None
        raise kind(str(error), span, hint=hint) from None


def _position(params: list[Any], buffer: Buffer) -> int:
    return next(k for k, p in enumerate(params) if p is buffer)


def _outputs(result: Any, builder: Builder, function: FunctionType) -> list[Buffer]:
    values = (
        list(result) if isinstance(result, (tuple, list)) else [] if result is None else [result]
    )
    for value in values:
        if not any(value is b for b in builder.outputs):
            raise LanguageError(
                f"`{function.__name__}` returns {_described(value)}; "
                "only T.empty(...) tensors can be returned",
                function_span(function),
            )
    for buffer in builder.outputs:
        if not any(buffer is v for v in values):
            raise LanguageError(
                f"`{buffer.name}` is made by T.empty but not returned",
                buffer.span,
                hint=f"return {buffer.name}, or use T.alloc_global for a workspace",
            )
    return values


def _described(value: Any) -> str:
    return (
        f"the buffer `{value.name}`"
        if isinstance(value, Buffer)
        else f"{type(value).__name__} `{value}`"
    )


@overload
def prim_func(func: FunctionType, *, generator: bool = False) -> PrimFunc: ...
@overload
def prim_func(
    func: None = None, *, generator: bool = False
) -> Callable[[FunctionType], PrimFunc]: ...
@entry
def prim_func(func: Any = None, *, generator: bool = False) -> Any:
    """A PrimFunc of a Python function; with `generator=True`, something that makes one per call.

    Raises:
        ArgumentError: when an annotation does not fully describe its argument and `generator` is
            False.
    """
    frame = sys._getframe(2)  # the caller's, above that of `entry`
    if func is None:
        return entry(lambda f: _make(f, generator, frame))
    return _make(func, generator, frame)


def _make(function: Any, generator: bool, frame: FrameType) -> Any:
    if not isinstance(function, FunctionType):
        raise ArgumentTypeError(
            f"prim_func needs a function, got {type(function).__name__} {function!r}"
        )
    annotations = evaluated_annotations(function, frame)
    if generator:
        from tilelang.language.creator import PrimFuncCreator  # only this form needs it

        return PrimFuncCreator(function, annotations)
    builder = Builder(function.__name__)
    arguments = _declared_arguments(function, annotations)
    declared_in_body = _body_annotated(function)
    unknown = [n for n, v in arguments.items() if v is None and n not in declared_in_body]
    if unknown:
        names = ", ".join(f"`{n}`" for n in unknown)
        raise ArgumentError(
            f"`{function.__name__}`: the annotations of {names} do not say what to pass",
            function_span(function),
            hint="annotate with T.Tensor(shape, dtype) or a dtype, close over constants, "
            "or use generator=True",
        )
    for value in arguments.values():
        if value is not None:
            builder.add_parameter(value)
    builder.on_annotate = lambda name, annotation, _: _annotated_parameter(
        builder, name, annotation
    )
    with builder.active():
        made = trace(function, builder, arguments)
    order = {name: position for position, name in enumerate(arguments)}
    return _in_signature_order(made, order) if declared_in_body else made


def _in_signature_order(func: PrimFunc, order: Mapping[str, int]) -> PrimFunc:
    from tilelang.ir.node import replace

    return replace(
        func, params=tuple(sorted(func.params, key=lambda p: order.get(p.name, len(order))))
    )


def _body_annotated(function: FunctionType) -> set[str]:
    import ast

    definition = SourceFunction(function).definition
    return {
        n.target.id
        for n in ast.walk(definition)
        if isinstance(n, ast.AnnAssign) and n.value is None and isinstance(n.target, ast.Name)
    }


def _annotated_parameter(builder: Builder, name: str, annotation: Any) -> Any:
    value = parameter_for(name, annotation)
    if value is None:
        raise ArgumentError(f"the annotation of `{name}` does not say what to pass", caller_span())
    builder.add_parameter(value)
    return value


def _declared_arguments(function: FunctionType, annotations: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: parameter_for(name, annotations.get(name))
        for name in inspect.signature(function).parameters
    }


def parameter_for(name: str, annotation: Any) -> Buffer | Var | None:
    """The IR parameter `name` that a complete annotation means; `None` for an incomplete one."""
    from tilelang.language.v2.annot import TIRAnnot, interpret_annotation

    annot = interpret_annotation(name, annotation)
    if not isinstance(annot, TIRAnnot):
        return None
    data = annot.data
    if isinstance(data, Buffer):
        data.span = data.span or caller_span()
    return data


class Macro:
    """A function that is traced anew at every call, in the kernel that calls it."""

    def __init__(self, function: FunctionType, frame: FrameType | None) -> None:
        self.function = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self.signature = inspect.signature(function)
        annotations = inspect.get_annotations(function)
        self.references = {
            n
            for n, a in annotations.items()
            if a is Ref or (type(a) is str and a.split(".")[-1] in ("Ref", "Var")) or a is Var
        }
        del frame

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: the instance comes first."""
        return (
            self
            if instance is None
            else lambda *args, **keywords: self(instance, *args, **keywords)
        )

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Trace the body into the kernel that is being traced.

        Raises:
            NoBuilderError: outside a kernel.
        """
        builder = current()
        try:
            bound = self.signature.bind(*args, **keywords)
        except TypeError as error:
            raise ArgumentTypeError(
                f"{self.__name__}: {error}",
                notes=[Note(function_span(self.function), "defined here")],
            ) from None
        bound.apply_defaults()
        rewritten = rewrite(self.function)
        # what the body says of a parameter describes the argument; it declares none of the kernel
        declares, builder.on_annotate = builder.on_annotate, None
        try:
            with builder.function(self.__name__):
                positional, named = self._bind(builder, bound)
                return rewritten(builder, *positional, **named)
        finally:
            builder.on_annotate = declares

    def _bind(
        self, builder: Builder, bound: inspect.BoundArguments
    ) -> tuple[list[Any], dict[str, Any]]:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for name, parameter in self.signature.parameters.items():
            value = bound.arguments[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional.extend(_by_value(builder, name, v) for v in value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                named.update({k: _by_value(builder, k, v) for k, v in value.items()})
            else:
                made = (
                    make_reference(value, name)
                    if name in self.references
                    else _by_value(builder, name, value)
                )
                builder.bind_argument(name, made)
                if parameter.kind is parameter.KEYWORD_ONLY:
                    named[name] = made
                else:
                    positional.append(made)
        return positional, named


def _by_value(builder: Builder, name: str, value: Any) -> Any:
    """Expressions are evaluated once, at the call; everything else passes through."""
    if isinstance(value, Reference) or (isinstance(value, Buffer) and value.is_var):
        return builder.bind(name, value.as_load())
    if isinstance(value, Expr) and not isinstance(value, Var) and isinstance(value, Operand):
        return builder.bind(name, value)
    return value


def macro(func: Any = None) -> Any:
    """`@T.macro` / `@T.macro()`: inline the body wherever it is called."""
    frame = sys._getframe(1)
    if func is None:
        return lambda f: Macro(f, frame)
    if isinstance(func, Macro):
        return func
    if not isinstance(func, FunctionType):
        raise ArgumentTypeError(f"macro needs a function, got {type(func).__name__} {func!r}")
    return Macro(func, frame)


def inline(func: FunctionType) -> Any:
    """Like `macro`, for methods: traced in the context of its caller."""
    return macro(func)


__all__ = ["Macro", "evaluated_annotations", "inline", "is_tracing", "macro", "prim_func", "trace"]
