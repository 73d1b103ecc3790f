"""Errors: the line, the caret, the other parties, and where a mistake is put by default."""

from __future__ import annotations

import inspect
import pickle
import sys
from pathlib import Path

import pytest

from tilelang import errors
from tilelang.errors import (
    ArithmeticFault,
    DTypeError,
    Error,
    IndexRangeError,
    LanguageError,
    NotCompilableError,
    Note,
    ShapeError,
    Span,
    UnknownNameError,
    caller_span,
    render,
)

HAS_COLUMNS = sys.version_info >= (3, 11)


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "matmul.py"
    path.write_text("import T\n\nA = T.alloc((2, 3))\n    T.gemm(A, B,\n           C)\n")
    return str(path)


def test_a_span_reads_its_text(source: str) -> None:
    span = Span(source, 3, 5, 3, 19)
    assert span.source_line() == "A = T.alloc((2, 3))"
    assert span.text() == "T.alloc((2, 3)"
    assert str(span) == f"{source}:3:5"
    assert Span(source, 4, 5, 5, 14).text() == "T.gemm(A, B,"
    assert Span(source, 3).text() == "A = T.alloc((2, 3))"
    assert Span(source, 99).source_line() == "" and Span("/nowhere.py", 1).text() == ""


def test_an_error_is_drawn_with_carets_notes_and_hint(source: str) -> None:
    error = ShapeError(
        "gemm: K of A is 3 but K of B is 4",
        Span(source, 4, 12, 4, 13),
        notes=[Note(Span(source, 3, 5, 3, 20), "allocated here"), Note(None, "B has 4")],
        hint="allocate A as (2, 4)",
    )
    assert str(error).splitlines() == [
        f"{source}:4:12: gemm: K of A is 3 but K of B is 4",
        "     4 |     T.gemm(A, B,",
        "       |            ^",
        "     3 | A = T.alloc((2, 3))",
        "       |     ^~~~~~~~~~~~~~~ allocated here",
        "  B has 4",
        "  try: allocate A as (2, 4)",
    ]
    assert error.message == "gemm: K of A is 3 but K of B is 4"


def test_spans_of_several_lines_underline_the_first(source: str) -> None:
    drawn = render("wrong", Span(source, 4, 5, 5, 14)).splitlines()
    assert drawn[2] == "       |     ^~~~~~~~~~~~"


def test_lines_that_cannot_be_read_are_left_out() -> None:
    assert render("wrong", Span("/nowhere.py", 3, 2)) == "/nowhere.py:3:2: wrong"
    with_note = render("wrong", None, [Note(Span("/nowhere.py", 3), "here")])
    assert with_note.splitlines() == ["wrong", "     /nowhere.py:3:1: here"]


def test_without_a_span_the_users_line_is_taken() -> None:
    error = LanguageError("wrong")
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    assert error.span is not None
    assert (error.span.file, error.span.line) == (__file__, line)
    assert error.span.source_line().strip() == 'error = LanguageError("wrong")'
    if HAS_COLUMNS:
        assert error.span.text() == 'LanguageError("wrong")'


def test_frames_of_the_package_are_skipped() -> None:
    from tilelang.ir.expr import Var

    with pytest.raises(ArithmeticFault) as caught:
        Var("x") // 0
    span = caught.value.span
    assert span is not None and span.file == __file__
    if HAS_COLUMNS:
        assert span.text() == 'Var("x") // 0'


def test_the_callers_span() -> None:
    span = caller_span()
    assert span is not None and span.file == __file__
    if HAS_COLUMNS:
        assert span.text() == "caller_span()"
    else:
        assert span.column == 5


def test_errors_survive_pickling(source: str) -> None:
    error = DTypeError("wrong", Span(source, 3, 5), notes=[Note(None, "n")], hint="h")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DTypeError and str(again) == str(error)
    assert (again.span, again.notes, again.hint) == (error.span, error.notes, error.hint)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(ShapeError, ValueError), (ShapeError, AssertionError), (DTypeError, TypeError),
     (IndexRangeError, IndexError), (NotCompilableError, NotImplementedError),
     (UnknownNameError, AttributeError), (LanguageError, RuntimeError),
     (ArithmeticFault, ZeroDivisionError)],
)  # fmt: skip
def test_errors_are_also_what_python_would_raise(kind: type[Error], builtin: type) -> None:
    with pytest.raises(builtin, match="wrong"):
        raise kind("wrong")


def test_every_error_class_has_a_docstring_and_one_root() -> None:
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(kinds) > 10
    for kind in kinds:
        assert issubclass(kind, Error) and kind.__doc__


def test_notes_on_one_line_share_it(tmp_path: Path) -> None:
    file = tmp_path / "kernel.py"
    file.write_text("T.gemm(A_shared, B_shared, C)\n")
    first, second = Span(str(file), 1, 8, 1, 16), Span(str(file), 1, 18, 1, 26)
    text = render("K differs", first, [Note(first, "K is 32"), Note(second, "K is 64")])
    assert text.splitlines()[1:] == [
        "     1 | T.gemm(A_shared, B_shared, C)",
        "       |        ^~~~~~~~  ^~~~~~~~",
        "       |        |         K is 64",
        "       |        K is 32",
    ]
