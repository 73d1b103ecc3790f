"""Headers that generated kernels include: each compiles alone, without a warning."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HEADERS = ("atomic", "fault", "integer", "rng", "sanitize", "tl_ieee")


@pytest.mark.parametrize("name", HEADERS)
def test_header_compiles_alone(name: str, compile_command: list[str], tmp_path: Path) -> None:
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{name}.h"\n')
    command = [*compile_command, str(source), "-o", str(tmp_path / "alone.so")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
