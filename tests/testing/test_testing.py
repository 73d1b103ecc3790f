"""Running a test file, and seeds."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

import tilelang.testing
from tilelang.profiler import torch_assert_close


@pytest.mark.parametrize(("body", "status"), [("assert 1", 0), ("assert 0", 1)])
def test_main_runs_the_callers_file(tmp_path: Path, body: str, status: int) -> None:
    file = tmp_path / "test_mine.py"
    file.write_text(
        f"import tilelang.testing\ndef test_it():\n    {body}\ndef test_other():\n    assert 1\n"
        "if __name__ == '__main__':\n    tilelang.testing.main()\n"
    )
    command = [sys.executable, str(file), "-k", "test_it", "-p", "no:cacheprovider"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == status, run.stdout + run.stderr
    assert "1 deselected" in run.stdout


def draw() -> tuple[object, ...]:
    return random.random(), numpy.random.rand(), torch.rand(3).tolist()


def test_seeds_reach_every_generator() -> None:
    tilelang.testing.set_random_seed()
    first = draw()
    assert all(a != b for a, b in zip(first, draw()))
    tilelang.testing.set_random_seed(42)
    assert draw() == first
    tilelang.testing.set_random_seed(43)
    assert all(a != b for a, b in zip(first, draw()))


def test_comparison_is_that_of_the_profiler() -> None:
    assert tilelang.testing.torch_assert_close is torch_assert_close


def test_neither_pytest_nor_pytorch_is_imported() -> None:
    code = "import sys, tilelang.testing; sys.exit(not {'pytest', 'torch'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_exported_name_exists() -> None:
    assert all(hasattr(tilelang.testing, name) for name in tilelang.testing.__all__)
