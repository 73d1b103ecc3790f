"""Uncaught errors of a program show its own frames; faults of the compiler show all."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import tilelang
import tilelang.language as T
from tilelang.env import env
from tilelang.errors import ShapeError
from tilelang.tracebacks import entry, for_the_user

PACKAGE = str(Path(tilelang.__file__).parent) + os.sep

PROGRAM = """
import sys, threading
import torch
import tilelang
import tilelang.language as T


@tilelang.jit
def scale(N, mistake):
    kind = "flaot32" if mistake == "dtype" else "float32"

    @T.prim_func
    def kernel(X: T.Tensor((N,), kind), Y: T.Tensor((N,), "float32")):
        with T.Kernel(1, threads=32) as bx:
            x = T.alloc_fragment((N,), "float32")
            if mistake == "rank":
                T.copy(X[0, 0], x)
            if mistake == "users":
                half = {}["half"]
            T.copy(X, x)
            T.copy(x, Y)

    return kernel


@tilelang.jit
def eager(X):
    N = T.const("N")
    X: T.Tensor[[N], T.float32]
    with T.Kernel(1, threads=32) as bx:
        T.copy(X[0, 0], X)


def compile_for_an_unknown_target():
    tilelang.compile(scale.get_tir(8, ""), target="cdua")


x = torch.zeros(8)
{
    "rank": lambda: scale(8, "rank"),
    "dtype": lambda: scale(8, "dtype"),
    "users": lambda: scale(8, "users"),
    "eager": lambda: eager(x),
    "target": compile_for_an_unknown_target,
    "outside": lambda: T.sync_threads(),
    "shape": lambda: scale(8, "")(x, x[:4]),
    "count": lambda: scale(8, "")(x),
    "factory": lambda: scale(8),
    "name": lambda: scale(8, "")(x, Z=x),
    "compiler": lambda: scale(8, ""),
    "thread": lambda: threading.Thread(target=scale, args=(8, "rank")).start(),
}[sys.argv[1]]()
"""

# mistake -> what the last lines say, and lines of the program that the traceback has
EXPECTED = {
    "rank": ("rank 1", ["T.copy(X[0, 0], x)", 'lambda: scale(8, "rank")']),
    "dtype": ("unknown dtype 'flaot32'", ["X: T.Tensor((N,), kind)", 'lambda: scale(8, "dtype")']),
    "users": ("KeyError: 'half'", ['half = {}["half"]', 'lambda: scale(8, "users")']),
    "eager": ("rank 1", ["T.copy(X[0, 0], X)", "lambda: eager(x)"]),
    "target": ("unknown target 'cdua'", ["tilelang.compile("]),
    "outside": ("NoBuilderError", ["T.sync_threads()"]),
    "shape": ("argument 2 `Y`: expected float32[8]", ["(x, x[:4])"]),
    "count": ("expected 2 arguments", ['"")(x)']),
    "factory": ("scale(): missing a required argument: 'mistake'", ["lambda: scale(8)"]),
    "name": ("`Z` is no argument", ["Z=x"]),
    "compiler": ("unset CC", ['lambda: scale(8, "")']),
    "thread": ("rank 1", ["T.copy(X[0, 0], x)"]),
}


def stderr_of(tmp_path: Path, mistake: str, **settings: str) -> str:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, "utf-8")
    if mistake == "compiler":
        settings |= {"PATH": str(tmp_path), "CC": str(tmp_path / "cc")}
    surroundings = {k: v for k, v in os.environ.items() if k != "TILELANG_DEBUG"}
    surroundings |= {"TILELANG_TARGET": "c", "TILELANG_CACHE_DIR": str(tmp_path / "cache")}
    surroundings["PYTHONPATH"] = str(Path(PACKAGE).parent)
    command = [sys.executable, str(script), mistake]
    done = subprocess.run(
        command, env=surroundings | settings, capture_output=True, text=True, check=False
    )
    return done.stderr


@pytest.mark.parametrize("mistake", EXPECTED)
def test_an_uncaught_error_shows_the_programs_frames_alone(mistake, tmp_path):
    message, lines = EXPECTED[mistake]
    shown = stderr_of(tmp_path, mistake)
    assert message in shown
    for line in lines:
        assert line in shown
    assert PACKAGE not in shown, shown
    assert "tvm_ffi" not in shown, shown
    assert "<unknown>" not in shown, shown


def test_debug_shows_every_frame(tmp_path):
    shown = stderr_of(tmp_path, "rank", TILELANG_DEBUG="1")
    assert "rank 1" in shown
    assert PACKAGE + "jit" in shown


def frames(error: BaseException) -> list[str]:
    return [f.filename for f in traceback.extract_tb(error.__traceback__)]


def test_a_caught_error_keeps_the_users_frames_and_one_entry():
    def kernel(X: T.Tensor((8,), "float32")):
        with T.Kernel(1, threads=32):
            T.fill(X[0:2, 0:2], 0)

    with pytest.raises(ShapeError) as caught:
        T.prim_func(kernel)
    ours = [f for f in frames(caught.value) if f.startswith(PACKAGE)]
    assert len(ours) == 1
    assert ours[0].endswith("tracebacks.py")
    assert frames(caught.value)[-1] == __file__


def test_a_fault_of_the_compiler_keeps_its_frames():
    code = compile("def fail():\n    assert False, 'impossible'", PACKAGE + "made_up.py", "exec")
    scope: dict[str, object] = {}
    exec(code, scope)
    with pytest.raises(AssertionError, match="impossible") as caught:
        entry(scope["fail"])()  # type: ignore[arg-type]
    assert PACKAGE + "made_up.py" in frames(caught.value)


def test_what_led_to_an_error_inside_is_cut():
    code = "def fail(error):\n    try:\n        {}[0]\n    except KeyError:\n        raise error\n"
    scope: dict[str, object] = {}
    exec(compile(code, PACKAGE + "made_up.py", "exec"), scope)
    with pytest.raises(ShapeError) as caught:
        entry(scope["fail"])(ShapeError("wrong"))  # type: ignore[operator]
    assert caught.value.__suppress_context__


def test_the_users_own_context_stays():
    try:
        try:
            raise KeyError("the user's")
        except KeyError:
            raise ShapeError("later")  # noqa: B904
    except ShapeError as error:
        assert for_the_user(error) is error
        assert not error.__suppress_context__
        assert isinstance(error.__context__, KeyError)


def test_debug_leaves_the_traceback_as_it_is():
    try:
        raise ShapeError("wrong")
    except ShapeError as error:
        before = error.__traceback__
        with env.scope(TILELANG_DEBUG=True):
            assert for_the_user(error).__traceback__ is before
