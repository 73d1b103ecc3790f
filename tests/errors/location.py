"""What every user-facing error must satisfy."""

from __future__ import annotations

import sys

from tilelang.errors import Error, Span


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
