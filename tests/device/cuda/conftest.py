"""Compiles small CUDA texts against the headers of `tilelang/device/cuda` with NVRTC; no GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tilelang.engine import nvrtc
from tilelang.engine.nvrtc import CUDA_HEADERS, CompiledCubin, NvrtcToolchain
from tilelang.errors import ToolchainError

ARCHS = ("sm_75", "sm_80", "sm_89", "sm_90a")
HEADERS = tuple(sorted(file.name for file in CUDA_HEADERS.glob("*.h")))
_DEFINITION = re.compile(r"__device__ __forceinline__\s[^;{}()]*?\b(tl_\w+)\s*\(")
_TEMPLATE = re.compile(r"template <[^>]*>\s*__device__ __forceinline__\s[^;{}()]*?\b(tl_\w+)\s*\(")


def functions_of(header: str, arch: str) -> list[str]:
    """Names of the functions that a header, with what it includes, defines for `arch`."""
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        pytest.skip("no C preprocessor")
    number = re.sub(r"\D", "", arch) + "0"
    command = [compiler, "-E", "-P", "-x", "c++", f"-D__CUDA_ARCH__={number}", f"-I{CUDA_HEADERS}"]
    text = subprocess.run(
        [*command, str(CUDA_HEADERS / header)], capture_output=True, text=True, check=True
    ).stdout
    return sorted({*_DEFINITION.findall(text)} - {*_TEMPLATE.findall(text)})


@pytest.fixture(scope="session")
def compile_cuda() -> Callable[..., CompiledCubin]:
    """`compile_cuda(source, arch, *flags)`; skips where the NVRTC wheels are not installed."""
    try:
        nvrtc.nvrtc_version()
    except ToolchainError as error:
        pytest.skip(error.message)

    def compile_text(source: str, arch: str = "sm_90a", *flags: str) -> CompiledCubin:
        return NvrtcToolchain(arch).compile(source, flags)

    return compile_text
