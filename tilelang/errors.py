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
    "<launcher of ",
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


class EmulatorError(Error, RuntimeError):
    """A fault that the emulator found in a kernel while it ran."""


def render(
    message: str, span: Span | None, notes: Sequence[Note] = (), hint: str | None = None
) -> str:
    """Draw an error: `file:line:column: message`, the lines with carets, the notes, the hint."""
    lines = [f"{span}: {message}" if span else message]
    for group in _lines_of([Note(span, ""), *notes] if span else list(notes)):
        lines += _drawn(group)
    if hint:
        lines.append(f"  try: {hint}")
    return "\n".join(lines)


def _lines_of(notes: Sequence[Note]) -> list[list[Note]]:
    """Notes grouped by the source line they stand on, in the order the lines are first named."""
    groups: dict[object, list[Note]] = {}
    for position, note in enumerate(notes):
        place = (note.span.file, note.span.line) if note.span else position
        groups.setdefault(place, []).append(note)
    return list(groups.values())


def _drawn(notes: list[Note]) -> list[str]:
    """One source line, its carets, and what is said of each, the rightmost first."""
    if notes[0].span is None:
        return [f"  {note.message}" for note in notes]
    source = notes[0].span.source_line()
    if not source:
        return [f"     {n.span}: {n.message}" for n in notes if n.message]
    markers, labels = _markers(notes, source)
    out = [f"  {notes[0].span.line:>4} | {source}"]
    if len(labels) == 1 and labels[0][0] == max(markers):
        return [*out, f"       | {_marker_line(markers)} {labels[0][1]}"]
    out.append(f"       | {_marker_line(markers)}")
    for k, (column, label) in enumerate(labels):
        bars = _marker_line({c: "|" for c, _ in labels[k + 1 :]})
        out.append(f"       | {bars:<{column - 1}}{label}")
    return out


def _markers(notes: list[Note], source: str) -> tuple[dict[int, str], list[tuple[int, str]]]:
    """Caret text by column, and the labels, the rightmost first."""
    markers: dict[int, str] = {}
    labels: dict[int, str] = {}
    for note in notes:
        span = note.span
        assert span is not None, "notes of one line have spans"
        on_one_line = span.end_line in (None, span.line) and span.end_column is not None
        end = span.end_column if on_one_line and span.end_column else len(source.rstrip()) + 1
        text = "^" + "~" * (max(1, end - span.column) - 1)
        markers[span.column] = max(text, markers.get(span.column, ""), key=len)
        if note.message:
            said = labels.get(span.column, "")
            if note.message not in said.split("; "):
                labels[span.column] = f"{said}; {note.message}" if said else note.message
    return markers, sorted(labels.items(), reverse=True)


def _marker_line(markers: dict[int, str]) -> str:
    line = ""
    for column, text in sorted(markers.items()):
        line = line[: column - 1].ljust(column - 1) + text
    return line


_positions: dict[CodeType, list[tuple[int | None, int | None, int | None, int | None]]] = {}


def frame_span(frame: FrameType) -> Span:
    """The stretch of source that `frame` is executing (from Python 3.11 on with columns)."""
    return _code_span(frame.f_code, frame.f_lasti, frame.f_lineno)


def raised_span(error: BaseException) -> Span | None:
    """Where `error` was raised, if that is no line of this package."""
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None or innermost.tb_frame.f_code.co_filename.startswith(_INTERNAL):
        return None
    return _code_span(innermost.tb_frame.f_code, innermost.tb_lasti, innermost.tb_lineno)


def _code_span(code: CodeType, instruction: int, code_line: int) -> Span:
    if sys.version_info >= (3, 11):
        table = _positions.get(code)
        if table is None:
            table = _positions[code] = list(code.co_positions())
        line, end_line, column, end_column = table[instruction // 2]
        if line is not None and column is not None:
            end = None if end_column is None else end_column + 1
            return Span(code.co_filename, line, column + 1, end_line, end)
    source = linecache.getline(code.co_filename, code_line)
    return Span(code.co_filename, code_line, len(source) - len(source.lstrip()) + 1)


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
