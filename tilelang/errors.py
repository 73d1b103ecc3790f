"""Where a user's line is, and how a mistake on it is shown.

Every stage raises the classes below with a `Span`; `Error.__str__` draws the line, the caret, the
other parties and one thing to try. The module imports nothing of ours, so each folder may use it.
It decides nothing about programs.
"""

from __future__ import annotations

import contextlib
import functools
import linecache
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType

# Frames that are never the user's: this package, and what stands between it and its caller.
_INTERNAL = (
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    contextlib.__file__,
    functools.__file__,
    "<frozen",
    "<string>",
    "<parse_",  # generated key functions
    "<convert_",
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the user's source. Lines and columns count from 1; `end_column` is exclusive."""

    file: str
    line: int
    column: int = 1
    end_line: int | None = None
    end_column: int | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def source_line(self) -> str:
        """Text of the first line, without its newline; empty when the file cannot be read."""
        return linecache.getline(self.file, self.line).rstrip("\n")

    def text(self) -> str:
        """The characters covered, if they stand on one line, or the rest of the first line."""
        line = self.source_line()
        end = self.end_column if self.end_line in (None, self.line) else None
        return line[self.column - 1 : None if end is None else end - 1]


@dataclass(frozen=True, slots=True)
class Note:
    """The other party of an error: where it stands, and what it says."""

    span: Span | None
    message: str


class Error(Exception):
    """A mistake in the user's program.

    Args:
        message: what is wrong, in the words of the user's program; expected first, then what came.
        span: the part at fault. Without one, the innermost line outside this package is used.
        notes: the other parties, each with its own line.
        hint: one thing to try.
    """

    def __init__(
        self,
        message: str,
        span: Span | None = None,
        *,
        notes: Iterable[Note] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.span = span if span is not None else caller_span()
        self.notes: tuple[Note, ...] = tuple(notes)
        self.hint = hint

    def __str__(self) -> str:
        return render(self.message, self.span, self.notes, self.hint)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.span, self.notes, self.hint))


def _rebuild(
    kind: type[Error], message: str, span: Span | None, notes: tuple[Note, ...], hint: str | None
) -> Error:
    return kind(message, span, notes=notes, hint=hint)


# The second base is what a program written for the reference implementation catches.
class LanguageError(Error, RuntimeError):
    """A construct the kernel language does not have, or that means something else in Python."""


class NotCompilableError(LanguageError, NotImplementedError):
    """A Python statement or expression that cannot become part of a kernel."""


class UnknownNameError(Error, AttributeError):
    """A `T.` name that does not exist."""


class NoBuilderError(Error, RuntimeError):
    """A kernel statement was used outside a function that is being traced."""


class ShapeError(Error, ValueError, AssertionError):
    """Ranks or extents that do not fit together."""


class DTypeError(Error, TypeError, ValueError):
    """An element type that does not fit."""


class ScopeError(Error, ValueError):
    """A buffer in a memory scope where the operation cannot use it."""


class ArgumentError(Error, ValueError):
    """A value outside what a function accepts."""


class ArgumentTypeError(Error, TypeError):
    """An argument of a kind that a function does not take."""


class IndexRangeError(Error, IndexError, ValueError):
    """A constant index outside its buffer."""


class ArithmeticFault(Error, ZeroDivisionError, ValueError):
    """A constant expression without a value, such as a division by zero."""


class LayoutError(Error, ValueError):
    """Layouts that cannot hold together."""


class ResourceError(Error, ValueError):
    """More of a device's resource than it has."""


class TargetError(Error, ValueError, AssertionError):
    """A target, backend or architecture that is unknown, or a feature that a target has not."""


class ConfigError(Error, ValueError):
    """An unknown or ill-typed pass configuration or environment switch."""


class ToolchainError(Error, RuntimeError):
    """A compiler that is missing, or that failed on generated source."""


def render(
    message: str, span: Span | None, notes: Sequence[Note] = (), hint: str | None = None
) -> str:
    """Draw an error: `file:line:column: message`, the lines with carets, the notes, the hint."""
    lines = [f"{span}: {message}" if span else message]
    if span:
        lines += _caret_lines(span, None)
    for note in notes:
        if note.span:
            lines += _caret_lines(note.span, note.message)
        else:
            lines.append(f"  {note.message}")
    if hint:
        lines.append(f"  try: {hint}")
    return "\n".join(lines)


def _caret_lines(span: Span, label: str | None) -> list[str]:
    source = span.source_line()
    if not source:
        return [f"     {span}: {label}"] if label else []
    on_one_line = span.end_line in (None, span.line) and span.end_column is not None
    end = span.end_column if on_one_line and span.end_column else len(source.rstrip()) + 1
    width = max(1, end - span.column)
    marker = " " * (span.column - 1) + "^" + "~" * (width - 1)
    suffix = f" {label}" if label else ""
    return [f"  {span.line:>4} | {source}", f"       | {marker}{suffix}"]


_positions: dict[CodeType, list[tuple[int | None, int | None, int | None, int | None]]] = {}


def frame_span(frame: FrameType) -> Span:
    """The stretch of source that `frame` is executing (from Python 3.11 on with columns)."""
    code = frame.f_code
    if sys.version_info >= (3, 11):
        table = _positions.get(code)
        if table is None:
            table = _positions[code] = list(code.co_positions())
        line, end_line, column, end_column = table[frame.f_lasti // 2]
        if line is not None and column is not None:
            end = None if end_column is None else end_column + 1
            return Span(code.co_filename, line, column + 1, end_line, end)
    source = linecache.getline(code.co_filename, frame.f_lineno)
    return Span(code.co_filename, frame.f_lineno, len(source) - len(source.lstrip()) + 1)


def caller_frame() -> FrameType | None:
    """Innermost frame whose code is not part of this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(_INTERNAL):
            return frame
        frame = frame.f_back
    return None


def caller_span() -> Span | None:
    """Span of the innermost line outside this package; `None` where there is no such line."""
    frame = caller_frame()
    return frame_span(frame) if frame is not None else None
