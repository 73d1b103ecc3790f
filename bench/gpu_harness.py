"""Runs small CUDA kernels written against `tilelang/device/cuda` and compares their results.

Used by `gpu_headers.py`. A check is a function registered with `@check`; it calls `run`, which
compiles with NVRTC, launches through `tilelang.engine.cuda_driver` and gives the arrays back. With
`--compile-only` every kernel is compiled for all architectures instead: that needs no GPU.
"""

from __future__ import annotations

import ctypes
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from tilelang.engine import cuda_driver
from tilelang.engine.nvrtc import NvrtcToolchain
from tilelang.errors import TargetError

ARCHS = ("sm_75", "sm_80", "sm_89", "sm_90a")
# Errors after which nothing runs in this process any more.
_LOST = ("ILLEGAL_ADDRESS", "ILLEGAL_INSTRUCTION", "MISALIGNED_ADDRESS", "LAUNCH_FAILED", "ASSERT")
CHECKS: list[tuple[str, int, Callable[[], None]]] = []  # name, least architecture, what to do
C_TYPES = {"bool": "bool", "float32": "float", "float64": "double"} | {
    f"{u}int{n}": f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)
}


class State:
    """What the command line chose."""

    archs: Sequence[str] = ()  # not empty: compile for these, run nothing
    device_arch = "sm_90a"
    least = 75  # of the check at hand


def check(least_arch: int = 75) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a check, named after its function, that devices from `least_arch` on must pass."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        CHECKS.append((function.__name__, least_arch, function))
        return function

    return register


def number(arch: str) -> int:
    return int(re.sub(r"\D", "", arch))


def run(
    headers: str, body: str, threads: int = 32, blocks: int = 1, prelude: str = "",
    shared_bytes: int = 0, **arrays: np.ndarray,
) -> Any:  # fmt: skip
    """Launch a kernel whose parameters are pointers named as `arrays`; the arrays afterwards.

    In `body`, `tid` is the thread's number within the grid.
    """
    params = ", ".join(f"{C_TYPES[str(a.dtype)]} *{name}" for name, a in arrays.items())
    includes = "".join(f'#include "{h}"\n' for h in headers.split())
    source = (
        f'{includes}{prelude}\nextern "C" __global__ void k({params}) {{\n'
        f"  const int tid = (int)(blockIdx.x * blockDim.x + threadIdx.x);\n{body}\n}}\n"
    )
    if State.archs:
        for arch in State.archs:
            if number(arch) >= State.least:
                NvrtcToolchain(arch).compile(source)
        return SimpleNamespace(**arrays)
    cubin = NvrtcToolchain(State.device_arch).compile(source).cubin
    library = cuda_driver.Library(cubin)
    kernel = library.kernel("k")
    if shared_bytes:
        kernel.set_dynamic_shared_bytes(shared_bytes)
    memory = {name: cuda_driver.DeviceBytes(a.nbytes) for name, a in arrays.items()}
    for name, array in arrays.items():
        memory[name].write(np.ascontiguousarray(array).tobytes())
    args = [ctypes.c_void_p(m.address) for m in memory.values()]
    kernel.launch((blocks,), (threads,), args, shared_bytes=shared_bytes)
    cuda_driver.synchronize()
    out = {
        name: np.frombuffer(bytes(memory[name].read()), a.dtype).reshape(a.shape)
        for name, a in arrays.items()
    }
    for part in memory.values():
        part.free()
    library.unload()
    return SimpleNamespace(**out)


def same(got: np.ndarray, expected: Any, what: str = "") -> None:
    """Equal element by element (NaN equals NaN), or an error that shows the first difference."""
    if State.archs:
        return
    expected = np.broadcast_to(np.asarray(expected), got.shape)
    equal = got == expected
    if got.dtype.kind == "f":
        equal = equal | (np.isnan(got) & np.isnan(expected))
    if not equal.all():
        at = tuple(np.argwhere(~equal)[0])
        raise AssertionError(
            f"{what}: {np.count_nonzero(~equal)} of {equal.size} differ, first at "
            f"{tuple(map(int, at))}: got {got[at]!r}, expected {expected[at]!r}"
        )


def close(got: np.ndarray, expected: Any, tolerance: Any, what: str = "") -> None:
    """|got - expected| <= tolerance, or both NaN, or the same infinity."""
    if State.archs:
        return
    wide, exact = got.astype(np.float64), np.asarray(expected, np.float64)
    with np.errstate(invalid="ignore"):
        fine = (np.abs(wide - exact) <= tolerance) | (wide == exact)
        fine |= np.isnan(wide) & np.isnan(exact)
    if not fine.all():
        at = tuple(np.argwhere(~np.broadcast_to(fine, got.shape))[0])
        limit = np.broadcast_to(tolerance, got.shape)[at]
        raise AssertionError(
            f"{what}: {np.count_nonzero(~fine)} of {fine.size} too far off, first at "
            f"{tuple(map(int, at))}: got {got[at]!r}, "
            f"expected {np.broadcast_to(exact, got.shape)[at]!r} within {limit:.3g}"
        )


def main(only: str, compile_only: bool) -> int:
    """Run the registered checks whose name contains `only`; the number of failures."""
    if compile_only:
        State.archs = ARCHS
        print(f"compiling for {', '.join(ARCHS)}; nothing is run")
    else:
        try:
            device = cuda_driver.device_properties(0)
        except TargetError as error:
            print(error)
            return 1
        State.device_arch = device.arch
        version = ".".join(map(str, cuda_driver.driver_version()))
        print(f"{device.name}, {device.arch}, driver for CUDA {version}")
        print(NvrtcToolchain(device.arch).identity())
    failures = skipped = 0
    for name, least, function in CHECKS:
        if only not in name:
            continue
        State.least = least
        print(f"{name:40} ", end="", flush=True)  # in front: a kernel that hangs is named
        started = time.perf_counter()
        word, detail = "ok  ", ""
        if not compile_only and number(State.device_arch) < least:
            word, detail, skipped = "skip", f"needs sm_{least}", skipped + 1
        else:
            try:
                function()
                word = "built" if compile_only else word
            except AssertionError as error:
                word, detail, failures = "FAIL", str(error), failures + 1
            except Exception:
                word, detail, failures = "FAIL", traceback.format_exc(limit=3), failures + 1
        milliseconds = (time.perf_counter() - started) * 1e3
        print(f"{word:5} {milliseconds:7.0f} ms  {detail}".rstrip(), flush=True)
        if any(error in detail for error in _LOST):
            print("the device's context is lost; run the other checks with --only")
            return failures
    print(f"{failures} failed, {skipped} skipped" if failures or skipped else "all passed")
    return failures
