"""What a compilation is for: a target kind with its options, and the row that describes the kind.

`Target("cuda -arch=sm_90")` is what users write and what cache keys print. The row (`TargetRow`)
names the kind's printer, toolchain and adapters as text, so this folder stays low in the import
order.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tilelang.errors import TargetError
from tilelang.ir.record import record


@record
class TargetRow:
    """One kind of target. Paths are `"module:attribute"`, loaded on first use.

    Attributes:
        kind: the name users write.
        description: one line for people.
        printer: function (PrimFunc, Target) -> source text.
        toolchain: class that turns text into a binary.
        builder: gives the `engine.builder.Builder` that makes a library of text.
        source_suffix: of files with the printed text.
        backends: execution backends, the automatic choice first.
        probe: function () -> dict of options that describe this machine's device, or `None`.
        warp_size: threads in lockstep.
        max_shared_bytes: shared memory of a block; 0: not limited by the target.
        max_threads: threads of a block; 0: any number.
    """

    kind: str
    description: str
    printer: str | None
    toolchain: str | None
    backends: tuple[str, ...]
    probe: str | None = None
    warp_size: int = 32
    max_shared_bytes: int = 0
    max_threads: int = 1024
    builder: str | None = None
    source_suffix: str = ".c"


def load(path: str) -> Any:
    """The object that `"module:attribute"` names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


class Target:
    """A target kind with options: `Target("c")`, `Target("cuda -arch=sm_90")` or a dict of them.

    Raises:
        TargetError: for an unknown kind or malformed options.
    """

    __slots__ = ("kind", "options")
    _contexts = threading.local()

    def __init__(self, spec: str | Mapping[str, Any] | Target, host: Any = None) -> None:
        del host  # accepted: host code is always C
        if isinstance(spec, Target):
            self.kind, self.options = spec.kind, spec.options
            return
        kind, options = _parse(spec)
        from tilelang.target.registry import (  # rows are built on this module
            TARGETS,
            unknown_target,
        )

        if kind not in TARGETS:
            raise unknown_target(kind)
        self.kind: str = kind
        self.options: tuple[tuple[str, str], ...] = tuple(sorted(options.items()))

    @property
    def row(self) -> TargetRow:
        """The description of the kind."""
        from tilelang.target.registry import TARGETS

        return TARGETS[self.kind]

    def option(self, name: str, default: str | None = None) -> str | None:
        """An option such as `arch`."""
        return dict(self.options).get(name, default)

    def with_options(self, **options: Any) -> Target:
        """A copy with more options."""
        return Target(
            {"kind": self.kind, **dict(self.options), **{k: str(v) for k, v in options.items()}}
        )

    @property
    def arch(self) -> str | None:
        return self.option("arch")

    @property
    def isa(self) -> str:
        """Instruction set of a CPU target: `avx512`, `avx2`, `neon` or `portable`."""
        return self.option("isa") or "portable"

    def has(self, feature: str) -> bool:
        """Whether a CPU target has a feature such as `avx512_bf16`, `avx512_vnni` or `fma`."""
        return feature in (self.option("features") or "").split(",")

    @property
    def vector_bytes(self) -> int:
        """Width of a vector register of a CPU target."""
        return {"avx512": 64, "avx2": 32}.get(self.isa, 16)

    def __str__(self) -> str:
        return " ".join([self.kind, *(f"-{k}={v}" for k, v in self.options)])

    def __repr__(self) -> str:
        return f"Target({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Target, ({"kind": self.kind, **dict(self.options)},))

    def __enter__(self) -> Target:
        stack = getattr(Target._contexts, "stack", None)
        if stack is None:
            stack = Target._contexts.stack = []
        stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        Target._contexts.stack.pop()

    @staticmethod
    def current(allow_none: bool = True) -> Target | None:
        """The innermost target that was entered as a context in this thread."""
        stack = getattr(Target._contexts, "stack", None)
        if stack:
            return stack[-1]
        if allow_none:
            return None
        raise TargetError("no target is set here", hint='use `with Target("c"):`')


def _parse(spec: Any) -> tuple[str, dict[str, str]]:
    if isinstance(spec, Mapping):
        options = {str(k): _option_text(v) for k, v in spec.items()}
        return options.pop("kind", ""), options
    if not isinstance(spec, str):
        raise TargetError(
            f"a target is a string, a dict or a Target, got {type(spec).__name__} {spec!r}"
        )
    if spec.lstrip().startswith("{"):
        import json

        try:
            return _parse(json.loads(spec))
        except json.JSONDecodeError as error:
            raise TargetError(f"target {spec!r} is no JSON: {error}") from None
    kind, *words = spec.split() or [""]
    options = {}
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not equals:
            raise TargetError(
                f"target {spec!r}: {word!r} is no option", hint="options are written -name=value"
            )
        options[name] = value
    return kind, options


def _option_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
