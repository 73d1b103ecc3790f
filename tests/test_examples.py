"""Every script of examples/ runs, at its small size, and finds its own results right.

A script is a file with a `__main__` part; a new one is found by itself. That the scripts would
notice a wrong result is tested with copies that have a fault planted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(p for p in EXAMPLES.glob("*.py") if "__main__" in p.read_text("utf-8"))

ONLY_WITHOUT_THE_EMULATOR = {"aot_library.py": "its kernel is called by a C program"}

COMPILED = ("quickstart.py", "dequantize_gemm.py", "topk.py")  # by NVRTC, for sm_80 and sm_90a

# script -> (text of it, what a slip would make of it)
FAULTS = {
    "elementwise.py": ("0.5 * x * (1.0", "0.5 * x * (1.01"),
    "topk.py": ("best[i], j, N)", "best[i], j + 1, N)"),
    "cumsum.py": ("end = 0 if reverse else block_N - 1", "end = 0"),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A kernel cache of the module's own, so that every script compiles."""
    cache = tmp_path_factory.mktemp("cache")
    return {**os.environ, "TILELANG_CACHE_DIR": str(cache)}


def run(script, environment):
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=script.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_scripts_are_found():
    assert {"quickstart.py", "gemm.py", "flash_attention.py"} <= {p.name for p in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_example(script, environment):
    done = run(script, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok" in done.stdout
    assert "WRONG" not in done.stdout


@pytest.mark.parametrize(
    "script", [s for s in SCRIPTS if s.name not in ONLY_WITHOUT_THE_EMULATOR], ids=lambda p: p.stem
)
def test_example_for_cuda_on_the_emulator(script, environment):
    settings = {"TILELANG_TARGET": "cuda", "TILELANG_EMULATE": "1"}
    done = run(script, {**environment, **settings})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok" in done.stdout
    assert "WRONG" not in done.stdout


def test_kernels_of_examples_compile_for_every_architecture():
    pytest.importorskip("cuda.bindings.nvrtc")
    scripts = [str(EXAMPLES / name) for name in COMPILED]
    command = [sys.executable, "-m", "tests.compile_for", "sm_80,sm_90a", *scripts]
    done = subprocess.run(
        command, cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_noticed(name, environment, tmp_path):
    right, wrong = FAULTS[name]
    text = (EXAMPLES / name).read_text("utf-8")
    assert right in text, "the planted fault has lost its place"
    (tmp_path / name).write_text(text.replace(right, wrong), "utf-8")
    (tmp_path / "check.py").write_text((EXAMPLES / "check.py").read_text("utf-8"), "utf-8")
    done = run(tmp_path / name, environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "WRONG" in done.stdout
    assert "Traceback" not in done.stderr
