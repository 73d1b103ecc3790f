"""What every user-facing error must satisfy."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable

import pytest

from tilelang.engine.lower import lower
from tilelang.errors import Error, Span
from tilelang.ir.buffer import Buffer
from tilelang.ir.func import PrimFunc
from tilelang.language.builder import Builder
from tilelang.language.prim_func import trace


def assert_located(
    error: BaseException, line: str, part: str | None = None, *mentions: str
) -> None:
    """`error` points at `part` (its first characters) on a source line that contains `line`.

    Its text names all `mentions` and no file of the package.
    """
    assert isinstance(error, Error), f"{type(error).__name__}: {error}"
    assert isinstance(error.span, Span), str(error)
    source = error.span.source_line()
    assert line in source, f"points at {source!r}:\n{error}"
    if part is not None and sys.version_info >= (3, 11):  # columns are known from 3.11 on
        found = source[error.span.column - 1 :]
        assert found.startswith(part), f"points at {found!r}, expected {part!r}:\n{error}"
    text = str(error)
    for mention in mentions:
        assert mention in text, f"{mention!r} is not in:\n{text}"
    assert "tilelang/" not in text.replace(error.span.file, ""), text


def tracing_fails(
    body: Callable[..., object],
    kind: type[BaseException],
    line: str,
    part: str | None = None,
    *mentions: str,
) -> Error:
    """Trace `body(A, B, V, N)`; it must fail with a located error of that kind.

    A and B are [64, 32] float32, V is [64] float32, N is [64, 32] int32; a body names what it uses.
    """
    tensors = {
        "A": ((64, 32), "float32"), "B": ((64, 32), "float32"),
        "V": ((64,), "float32"), "N": ((64, 32), "int32"),
    }  # fmt: skip
    builder = Builder(body.__name__)
    arguments = {name: Buffer(name, *tensors[name]) for name in inspect.signature(body).parameters}
    for buffer in arguments.values():
        builder.add_parameter(buffer)
    with pytest.raises(kind) as caught:
        trace(body, builder, arguments)
    assert_located(caught.value, line, part, *mentions)
    assert isinstance(caught.value, Error)
    return caught.value


def lowering_fails(
    func: PrimFunc,
    kind: type[BaseException],
    line: str,
    part: str | None = None,
    *mentions: str,
) -> Error:
    """Lower `func` for the CPU; it must fail with a located error of that kind."""
    with warnings.catch_warnings(), pytest.raises(kind) as caught:
        warnings.simplefilter("ignore")
        lower(func, "c")
    assert_located(caught.value, line, part, *mentions)
    assert isinstance(caught.value, Error)
    return caught.value
