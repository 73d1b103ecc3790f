"""What a traceback shows of this package.

The functions that a program calls (`compile`, a jitted function, a kernel, ...) are entries: an
error of the user's program that passes one keeps the user's own frames and loses ours, and what is
printed last is the message with the user's line. `TILELANG_DEBUG=1` keeps all frames. Faults of
the compiler itself, which no user can mend, keep theirs always.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from tilelang.env import env
from tilelang.errors import Error

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Frames between the user's and the fault: ours, the calling convention's, generated functions'.
_HIDDEN = (
    _PACKAGE,
    "<unknown>",
    "python/tvm_ffi/",
    "<parse_",
    "<convert_",
    "<launcher of ",
)
# Set on what has passed an entry, whose own frame is the innermost from then on.
_SEEN = "_tilelang_concerns_the_user"


def entry(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that programs call: its errors show the user's frames alone."""

    @functools.wraps(function)
    def call(*args: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*args, **keywords)
        except Exception as error:
            __tracebackhide__ = True  # for pytest and IPython: this frame neither
            for_the_user(error)
            raise error

    return call


def for_the_user(error: BaseException) -> BaseException:
    """`error`, without the frames of this package if it is a mistake in the user's program.

    An exception that arose in this package and is none of `tilelang.errors` is our own fault: it
    stays as it is. So does everything under `TILELANG_DEBUG=1`.
    """
    if env.TILELANG_DEBUG or not _concerns_the_user(error):
        return error
    error.__traceback__ = _without_ours(error.__traceback__)
    _shorten_context(error)
    setattr(error, _SEEN, True)
    return error


def install() -> None:
    """Let uncaught errors pass through `for_the_user` before the interpreter's hooks show them.

    Entries cannot take their own frame out of a traceback; here it goes too, as do the frames of a
    `T.` function called on its own.
    """
    shown, shown_of_thread = sys.excepthook, threading.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        for_the_user(error)
        shown(kind, error, trace if env.TILELANG_DEBUG else error.__traceback__)

    def show_of_thread(failed: threading.ExceptHookArgs) -> None:
        error = failed.exc_value
        if error is not None:
            for_the_user(error)
            details = (failed.exc_type, error, error.__traceback__, failed.thread)
            failed = threading.ExceptHookArgs(details)
        shown_of_thread(failed)

    sys.excepthook, threading.excepthook = show, show_of_thread


def _concerns_the_user(error: BaseException) -> bool:
    if isinstance(error, Error) or hasattr(error, _SEEN):
        return True
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    return innermost is not None and not _file_of(innermost).startswith(_PACKAGE)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """The same chain of frames, but for the hidden ones."""
    kept = []
    while trace is not None:
        if not _file_of(trace).startswith(_HIDDEN):
            kept.append(trace)
        trace = trace.tb_next
    rest = None
    for one in reversed(kept):
        rest = TracebackType(rest, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return rest


def _shorten_context(error: BaseException) -> None:
    """Cuts the exceptions that led to this one inside the package; the user's own stay."""
    context = error.__context__
    if context is None or error.__suppress_context__:
        return
    if context.__traceback__ is not None and _without_ours(context.__traceback__) is None:
        error.__suppress_context__ = True


def _file_of(trace: TracebackType) -> str:
    return trace.tb_frame.f_code.co_filename
