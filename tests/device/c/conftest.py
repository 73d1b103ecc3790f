"""Compiles small C programs against the headers of `tilelang/device/c` for the tests beside it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HEADERS = Path(__file__).parents[3] / "tilelang" / "device" / "c"
FLAGS = [
    *("-std=gnu11", "-O3", "-march=native", "-fopenmp-simd", "-ffp-contract=fast"),
    *("-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"),
]


@pytest.fixture(scope="session")
def headers() -> Path:
    """The folder of the C headers and of runtime.c."""
    return HEADERS


@pytest.fixture(scope="session")
def compiler() -> str:
    """The C compiler the tests use; the test is skipped when there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    pytest.skip("no C compiler")


@pytest.fixture(scope="session")
def compile_command(compiler: str) -> list[str]:
    """Compiler and flags as for generated kernels, every warning an error."""
    return [compiler, *FLAGS, f"-I{HEADERS}"]


@pytest.fixture(scope="module")
def compile_c(
    compile_command: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., ctypes.CDLL]:
    """`compile_c(source, *extra_flags)` builds `source` into a shared library and loads it."""

    def compile_and_load(source: str, *extra_flags: str) -> ctypes.CDLL:
        folder = tmp_path_factory.mktemp("c")
        path = folder / "test.c"
        path.write_text(source)
        library = folder / "test.so"
        command = [*compile_command, *extra_flags, str(path), "-o", str(library), "-lm"]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return ctypes.CDLL(str(library))

    return compile_and_load
