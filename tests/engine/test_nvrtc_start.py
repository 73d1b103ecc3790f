"""NVRTC is started once, in the background, and whatever becomes of that harms nobody."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tilelang.engine import nvrtc_start
from tilelang.engine.nvrtc import NvrtcToolchain
from tilelang.errors import ToolchainError

pytest.importorskip("cuda.bindings.nvrtc")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    nvrtc_start.clear()
    yield
    nvrtc_start.clear()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Architecture and thread of each compilation."""
    seen: list[tuple[str, str]] = []
    compile = NvrtcToolchain.compile

    def counted(self: NvrtcToolchain, *args: Any, **keywords: Any) -> Any:
        seen.append((self.arch, threading.current_thread().name))
        return compile(self, *args, **keywords)

    monkeypatch.setattr(NvrtcToolchain, "compile", counted)
    return seen


def test_it_begins_once(compiled: list[tuple[str, str]]) -> None:
    for arch in ("sm_90a", "sm_90a", "sm_80"):
        nvrtc_start.begin(arch)
    nvrtc_start.finish()
    assert compiled == [("sm_90a", "tilelang-nvrtc")]


@pytest.mark.parametrize("error", [ToolchainError("no NVRTC"), OSError("no file"), ImportError()])
def test_a_failure_says_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Nothing is raised, here or in the thread; who compiles next succeeds, or is told."""
    raised: list[Any] = []

    def fail() -> None:
        raise error

    monkeypatch.setattr(threading, "excepthook", raised.append)
    monkeypatch.setattr(nvrtc_start, "_open_library", fail)
    nvrtc_start.begin("sm_80")
    nvrtc_start.finish()
    assert raised == []
    assert NvrtcToolchain("sm_80").compile('extern "C" __global__ void f() {}').cubin


def test_an_architecture_that_nvrtc_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    nvrtc_start.begin("sm_20")
    nvrtc_start.finish()
    assert raised == []


def test_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        nvrtc_start.begin("sm_80")
        nvrtc_start.finish()
    assert NvrtcToolchain("sm_80").compile('extern "C" __global__ void f() {}').cubin


_FORK = """
import os
from tilelang.engine.nvrtc import NvrtcToolchain
child = os.fork()
NvrtcToolchain("sm_80").compile('extern "C" __global__ void f() {}')
assert child == 0 or os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("rest", ["", "raise SystemExit(0)", _FORK], ids=["end", "exit", "fork"])
def test_the_process_may_end_or_fork_at_once(rest: str) -> None:
    program = f"from tilelang.engine import nvrtc_start as n; n.begin('sm_80')\n{rest}"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
