"""Python's own argument binding, put to work for call keys.

For a signature, `make_key_function` and `make_launch_function` write a small function with the same
parameters, so that positional and keyword spellings, defaults and duplicates are sorted out by the
interpreter at its own speed. `explain_binding` words the mistake when that fails. Called by
`annot.FuncAnnot`; decides nothing about keys.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from tilelang.errors import ArgumentTypeError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr
from tilelang.language.v2.arguments import MISSING, MissingArgumentError, UnknownArgumentError
from tilelang.language.v2.tensor_key import KeyParser

CallKey = tuple[tuple[str, tuple[Any, ...]], ...]  # (argument name, key), sorted by name

RUNTIME_KEY = (None,)  # of an argument that does not specialise the kernel

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def runtime_key(name: str, value: Any) -> tuple[Any, ...]:
    """The key parser of arguments whose value does not matter."""
    return RUNTIME_KEY


def make_key_function(
    sig: inspect.Signature, parsers: Mapping[str, KeyParser]
) -> Callable[..., CallKey]:
    """A function with the parameters of `sig` that returns `((name, key), ...)` sorted by name.

    Omitted arguments have their default's key; an argument without default reaches its parser as
    `MISSING`.
    """
    scope = _Scope(sig)
    entries: list[str] = []
    for name in sorted(parsers):
        if parsers[name] is runtime_key:
            entries.append(f"({name!r}, {scope.name_of(RUNTIME_KEY)}), ")
        else:
            entries.append(f"({name!r}, {scope.name_of(parsers[name])}({name!r}, {name})), ")
    skipped = frozenset(name for name, parser in parsers.items() if parser is runtime_key)
    return scope.function("parse_key", f"return ({''.join(entries)})", without_default=skipped)


def make_launch_function(
    sig: inspect.Signature, names: Iterable[str]
) -> Callable[..., tuple[Any, ...]]:
    """A function with the parameters of `sig` that returns the arguments `names`, in that order.

    A default that is a placeholder (an IR object) is no value to launch with.
    """
    wanted = list(names)
    scope = _Scope(sig)
    missing, report = scope.name_of(MISSING), scope.name_of(_report_missing)
    checks = [f"if {name} is {missing}: {report}({name!r})" for name in wanted]
    body = f"return ({''.join(f'{name}, ' for name in wanted)})"
    placeholders = frozenset(
        p.name for p in sig.parameters.values() if isinstance(p.default, (Buffer, Expr))
    )
    return scope.function("convert_to_kernel_args", *checks, body, without_default=placeholders)


def explain_binding(
    sig: inspect.Signature, args: tuple[Any, ...], kws: Mapping[str, Any]
) -> ArgumentTypeError | None:
    """The error of a call that does not fit `sig`; `None` when it does (omissions aside)."""
    kinds = [p.kind for p in sig.parameters.values()]
    positional = [p.name for p in sig.parameters.values() if _is_positional(p)]
    if len(args) > len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        return ArgumentTypeError(f"expected at most {len(positional)} arguments, got {len(args)}")
    twice = next((name for name in positional[: len(args)] if name in kws), None)
    if twice is not None:
        return ArgumentTypeError(f"argument `{twice}` is given twice, by position and by name")
    unknown = next((name for name in kws if name not in sig.parameters), None)
    if unknown is None or inspect.Parameter.VAR_KEYWORD in kinds:
        return None
    import difflib  # a mistake may take its time, an import of the package may not

    near = difflib.get_close_matches(unknown, list(sig.parameters), 1)
    hint = f"did you mean `{near[0]}`?" if near else f"expected one of {', '.join(sig.parameters)}"
    return UnknownArgumentError(f"there is no argument `{unknown}`", hint=hint)


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )


def _report_missing(name: str) -> NoReturn:
    raise MissingArgumentError(f"argument `{name}` is missing: the kernel needs its value to run")


class _Scope:
    """The globals of a generated function, under names that no parameter has."""

    def __init__(self, sig: inspect.Signature) -> None:
        self.sig = sig
        self.prefix = "_tl"
        while any(name.startswith(self.prefix) for name in sig.parameters):
            self.prefix += "_"
        self.values: dict[str, Any] = {}

    def name_of(self, value: Any) -> str:
        name = f"{self.prefix}{len(self.values)}"
        self.values[name] = value
        return name

    def function(
        self, name: str, *lines: str, without_default: frozenset[str] = frozenset()
    ) -> Callable[..., Any]:
        # Every parameter gets a default, so that an omitted one is reported by name and not by us
        # having to take Python's sentence apart.
        parameters: list[inspect.Parameter] = []
        for parameter in self.sig.parameters.values():
            parameter = parameter.replace(annotation=inspect.Parameter.empty)
            if parameter.kind not in _VARIADIC:
                has_default = parameter.default is not inspect.Parameter.empty
                value = parameter.default if has_default else MISSING
                if parameter.name in without_default:
                    value = MISSING
                parameter = parameter.replace(default=_Named(self.name_of(value)))
            parameters.append(parameter)
        header = str(inspect.Signature(parameters))
        text = f"def {name}{header}:\n" + "".join(f"    {line}\n" for line in lines)
        namespace = dict(self.values)
        exec(compile(text, f"<{name}>", "exec"), namespace)
        return namespace[name]


class _Named:
    """Prints as a global's name where a signature shows a default."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name
