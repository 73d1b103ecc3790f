"""Getting ready for the first kernel: begun by a declaration, harmless, silent when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tilelang.jit import warm_up

pytest.importorskip("cuda.bindings.nvrtc")

PROGRAM = """
import os, sys, threading
import tilelang
import tilelang.language as T
import tilelang.target.cuda
{before}

@tilelang.jit{options}
def nothing():
    with T.Kernel(1, threads=32):
        T.sync_threads()

from tilelang.jit import warm_up
began = bool(warm_up._threads)
{after}
warm_up.finish()
loaded = set(sys.modules)
print(began, "tilelang.transform.insert_barriers" in loaded, "torch" in loaded)
"""
A_DRIVER = "tilelang.target.cuda.has_driver_library = lambda: True"


def outcome(
    tmp_path: Path, before: str = A_DRIVER, options: str = "", after: str = "", **settings: str
) -> str:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(before=before, options=options, after=after), "utf-8")
    environment = {**os.environ, "TILELANG_CACHE_DIR": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    for name in ("TILELANG_TARGET", "TILELANG_EMULATE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_declaration_loads_the_compiler_and_no_torch(tmp_path):
    assert outcome(tmp_path) == "True True False"


def test_a_declaration_builds_the_library_that_starts_kernels(tmp_path):
    runtime = tmp_path / "cache" / "runtime"
    wait = f"""
import pathlib, time
for _ in range(600):
    if list(pathlib.Path({str(runtime)!r}).glob("launcher-*.so")): break
    time.sleep(0.1)"""
    outcome(tmp_path, after=wait)
    assert list(runtime.glob("launcher-*.so"))


def test_a_target_that_is_cuda_and_one_that_is_not(tmp_path):
    assert outcome(tmp_path, options='(target="cuda -arch=sm_80")') == "True True False"
    assert outcome(tmp_path, options='(target="c")') == "False False False"
    assert outcome(tmp_path, TILELANG_TARGET="c") == "False False False"


def test_nothing_happens_without_a_driver_or_when_switched_off(tmp_path):
    no_driver = "tilelang.target.cuda.has_driver_library = lambda: False"
    assert outcome(tmp_path, before=no_driver) == "True False False"
    assert outcome(tmp_path, TILELANG_WARM_UP="0") == "False False False"
    assert outcome(tmp_path, TILELANG_EMULATE="1") == "False False False"
    assert not (tmp_path / "cache" / "runtime").exists()


def test_a_failure_harms_nothing(tmp_path):
    failing = f"""{A_DRIVER}
import tilelang.engine.cuda_build as build
def fail(self, target): raise RuntimeError("no")
build.DeviceBuilder.prepare = fail"""
    assert outcome(tmp_path, before=failing) == "True False False"


def test_nothing_runs_on_after_it_was_waited_for(tmp_path):
    check = """
warm_up.finish()
assert [t.name for t in threading.enumerate()] == ["MainThread"], threading.enumerate()"""
    assert outcome(tmp_path, after=check) == "True True False"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_finds_no_import_under_way(tmp_path):
    fork = """
child = os.fork()
if child == 0:
    import tilelang.transform.insert_barriers
    import tilelang.transform.pipeline
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7"""
    assert outcome(tmp_path, after=fork) == "True True False"


def test_a_program_that_ends_at_once_ends(tmp_path):
    assert outcome(tmp_path, after='print("over", flush=True); sys.exit()') == "over"


def test_every_module_that_is_named_exists():
    paths = list(warm_up.modules())
    assert len(paths) > 20
    for path in paths:
        module, _, name = path.partition(":")
        assert hasattr(import_module(module), name)
