"""NVIDIA GPUs: CUDA text, compiled by NVRTC, launched through the driver."""

from __future__ import annotations

import ctypes
import functools
import re
import sys
from typing import TYPE_CHECKING

from tilelang.errors import TargetError
from tilelang.target.target import TargetRow, load

if TYPE_CHECKING:
    from tilelang.target.target import Target

# Bytes of shared memory that a block may ask for, by compute capability (CUDA C++ programming
# guide, "Technical Specifications per Compute Capability"; 1 KiB of each block is the system's
# from 8.0 on).
MAX_SHARED_BYTES = {
    75: 65536, 80: 166912, 86: 101376, 87: 166912, 88: 101376, 89: 101376, 90: 232448,
    100: 232448, 103: 232448, 110: 232448, 120: 101376, 121: 101376,
}  # fmt: skip
# Without a device and without an `arch` option. Code for 8.0 has asynchronous copies and all
# `mma.sync` types but float8, and its text is right for every later device too.
DEFAULT_ARCH = "sm_80"
WITH_SUFFIX_A = (90, 100, 103, 110, 120, 121)  # have instructions of one architecture alone
_ARCH = re.compile(r"(?:sm_|compute_)?(\d+)\.?(\d*)([af]?)")
_PROPERTIES = "tilelang.engine.cuda_driver:device_properties"
_IS_AVAILABLE = "tilelang.engine.cuda_driver:is_available"

CUDA_TARGET = TargetRow(
    kind="cuda",
    description="an NVIDIA GPU of compute capability 7.5 or newer, through NVRTC",
    printer="tilelang.codegen.cuda:print_cuda",
    toolchain="tilelang.engine.nvrtc:NvrtcToolchain",
    backends=("tvm_ffi", "nvrtc"),
    probe="tilelang.target.cuda:device_options",
    warp_size=32,
    max_shared_bytes=max(MAX_SHARED_BYTES.values()),
    max_threads=1024,
    builder="tilelang.engine.cuda_build:cuda_builder",
    source_suffix=".cu",
)


def device_options() -> dict[str, str] | None:
    """`{"arch": "sm_90a"}` of this machine's first device; `None` where there is none.

    Asks the driver; where its library cannot even be opened, no bindings are imported.
    """
    if not has_driver_library() or not load(_IS_AVAILABLE)():
        return None
    return {"arch": str(load(_PROPERTIES)(0).arch)}


@functools.lru_cache(maxsize=1)
def has_driver_library() -> bool:
    """Whether the driver's library can be opened; it is not initialised."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def capability(arch: str) -> int:
    """90 for `sm_90a`.

    Raises:
        TargetError: for an architecture that is not supported, with those that are.
    """
    match = _ARCH.fullmatch(arch)
    number = int(match[1] + match[2]) if match else 0
    if number not in MAX_SHARED_BYTES:
        known = ", ".join(f"sm_{n}" for n in MAX_SHARED_BYTES)
        hint = "use target='c' there" if match and number < 75 else "write -arch=sm_80"
        raise TargetError(
            f"the target `cuda` does not support the architecture {arch!r}; it supports {known}",
            hint=hint,
        )
    return number


def compile_arch(target: Target) -> str:
    """The architecture that NVRTC is told: `sm_90a` for `-arch=sm_90`.

    Where an architecture has instructions of its own, `sm_90` means `sm_90a`: the binary runs on
    that architecture only, as cubins do anyway. Without the option it is `DEFAULT_ARCH`.

    Raises:
        TargetError: for an architecture that is not supported.
    """
    arch = target.option("arch") or DEFAULT_ARCH
    number = capability(arch)
    suffix = arch[-1] if arch[-1] in "af" else "a" if number in WITH_SUFFIX_A else ""
    return f"sm_{number}{suffix}"


def max_shared_bytes(target: Target) -> int:
    """Shared memory that one block may have, in bytes.

    Raises:
        TargetError: for an architecture that is not supported.
    """
    return MAX_SHARED_BYTES[capability(target.option("arch") or DEFAULT_ARCH)]
