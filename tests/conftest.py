"""Options and fixtures of all tests.

Also makes the modules beside it (`interpreter`) importable from every test folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# The verifier runs between all passes. Each run of the suite has a kernel cache of its own, which
# its worker processes inherit: nothing that an earlier run compiled can stand in for what this one
# checks.
os.environ.setdefault("TILELANG_VERIFY", "1")
OWN_CACHE = None
if "TILELANG_CACHE_DIR" not in os.environ:
    OWN_CACHE = tempfile.mkdtemp(prefix="tilelang-tests-")
    os.environ["TILELANG_CACHE_DIR"] = OWN_CACHE

GOLDEN = Path(__file__).resolve().parent / "golden"


def pytest_unconfigure() -> None:
    if OWN_CACHE is not None:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what is printed to tests/golden"
    )
    parser.addoption(
        "--kernels", choices=["some", "all", "cuda", "device"], default="some",
        help="CUDA kernels on the emulator: some, all, or these alone; or all on a GPU",
    )  # fmt: skip
    parser.addoption(
        "--compile-for", default="",
        help="architectures, such as sm_80,sm_90a, for which NVRTC compiles kernels of tests/cpu",
    )  # fmt: skip


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Compares a text with tests/golden/<file>/<test>.txt, or writes it under --update-golden."""
    path = GOLDEN / request.path.stem / f"{request.node.name}.txt"

    def check(text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run with --update-golden and review it"
        assert text == path.read_text(encoding="utf-8")

    return check
