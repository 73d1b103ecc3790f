"""Options and fixtures of all tests.

Also makes the modules beside it (`interpreter`) importable from every test folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# The verifier runs between all passes, and the user's own kernel cache stays out of it.
os.environ.setdefault("TILELANG_VERIFY", "1")
os.environ.setdefault(
    "TILELANG_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"tilelang-tests-{Path.home().name}")
)

GOLDEN = Path(__file__).resolve().parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what is printed to tests/golden"
    )


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
