"""What this machine has, what is missing, and what to install.

In: nothing but the machine and the environment switches; called by `python -m tilelang doctor`.
Out: `Finding`s, and text or JSON of them. One check compiles and runs a C program, in a process of
its own, so that a bad compiler cannot take the report down. It changes nothing but the compiler
probe's own cache file.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum
from importlib import metadata
from pathlib import Path

from tilelang.cache import default_store, package_version
from tilelang.engine.toolchain import CToolchain, find_compiler
from tilelang.env import SWITCHES, env
from tilelang.errors import Error

PACKAGES = {  # distribution -> why it is needed; these five come with the package
    "numpy": "array arguments, layout tables",
    "ml-dtypes": "bfloat16 and the small floating types",
    "apache-tvm-ffi": "calling compiled kernels",
    "cloudpickle": "the kernel cache",
    "tqdm": "progress of the autotuner",
}
OPTIONAL = {  # distribution -> what to install for it, what it gives
    "torch": ("pip install torch", "tensors as arguments, the profiler's inputs"),
    "ziglang": ("pip install ziglang", "a C compiler as a Python package"),
    "matplotlib": ("pip install matplotlib", "pictures of layouts"),
}
_NVRTC = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13", "nvidia-cuda-nvrtc-cu12")
_PROGRAM = """
#include <math.h>
int tl_doctor(int n, const float *x) {
  float sum = 0;
  for (int i = 0; i < n; i++) sum += sqrtf(x[i]);
  return (int)sum;
}
"""
_KERNEL = 'extern "C" __global__ void tl_doctor(float *x) { x[threadIdx.x] *= 2; }'
_RUN = """
import ctypes, sys
fn = ctypes.CDLL(sys.argv[1]).tl_doctor
values = [float(i * i) for i in range(100)]
print(fn(100, (ctypes.c_float * 100)(*values)))
"""
_EXPECTED = str(sum(range(100)))  # of the roots of the squares


class Status(Enum):
    """`MISSING` keeps kernels from running; `OPTIONAL` is absent, and that is fine."""

    OK = "ok"
    OPTIONAL = "optional"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, what was found, and what to do about it."""

    section: str
    name: str
    found: str
    status: Status = Status.OK
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything."""
    sections: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python, _packages, _compiler, _processor, _cache, _cuda, _switches,
    )  # fmt: skip
    return [finding for section in sections for finding in section()]


def works(findings: Sequence[Finding]) -> bool:
    """Whether CPU kernels can be compiled and run."""
    return all(f.status is not Status.MISSING for f in findings)


def as_text(findings: Sequence[Finding]) -> str:
    """The report for people: aligned columns, one section after the other, a verdict at the end."""
    width = max(len(f.name) for f in findings)
    marks = {Status.OK: "+", Status.OPTIONAL: "-", Status.WARNING: "!", Status.MISSING: "X"}
    lines: list[str] = []
    section = ""
    for f in findings:
        if f.section != section:
            lines += ([""] if lines else []) + [f.section]
            section = f.section
        advice = f" ({f.advice})" if f.advice else ""
        lines.append(f"  {marks[f.status]} {f.name:<{width}}  {f.found}{advice}")
    verdict = "CPU kernels can be compiled and run."
    if not works(findings):
        missing = ", ".join(f.name for f in findings if f.status is Status.MISSING)
        verdict = f"CPU kernels cannot be compiled and run. To be mended: {missing}."
    return "\n".join([*lines, "", verdict])


def as_json(findings: Sequence[Finding]) -> str:
    """The report for programs."""
    rows = [{**asdict(f), "status": f.status.value} for f in findings]
    return json.dumps({"works": works(findings), "findings": rows}, indent=2)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _python() -> Iterator[Finding]:
    section = "Python"
    enough = sys.version_info >= (3, 10)
    yield Finding(
        section, "interpreter", f"{platform.python_version()} at {sys.executable}",
        Status.OK if enough else Status.MISSING, "" if enough else "3.10 or later is needed",
    )  # fmt: skip
    yield Finding(section, "system", f"{platform.system()} {platform.machine()}")
    yield Finding(section, "tilelang", f"{package_version()} at {Path(__file__).parents[1]}")


def _packages() -> Iterator[Finding]:
    section = "Packages"
    for name, purpose in PACKAGES.items():
        version = _version(name)
        if version is not None:
            yield Finding(section, name, version)
        else:
            advice = f"pip install {name}: {purpose}"
            yield Finding(section, name, "not found", Status.MISSING, advice)
    for name, (command, purpose) in OPTIONAL.items():
        version = _version(name)
        if version is not None:
            yield Finding(section, name, version)
        else:
            advice = f"optional: {command}; {purpose}"
            yield Finding(section, name, "not found", Status.OPTIONAL, advice)


def _compiler() -> Iterator[Finding]:
    section = "C compiler"
    try:
        compiler = find_compiler()
    except (Error, OSError) as error:
        what = error.message if isinstance(error, Error) else str(error)
        yield Finding(section, "command", "not found", Status.MISSING, what)
        return
    yield Finding(section, "command", " ".join(compiler.command))
    yield Finding(section, "version", compiler.version)
    yield Finding(section, "flags", " ".join(compiler.native_flags) or "none for this processor")
    features = compiler.features
    extra = [f.name for f in fields(features) if getattr(features, f.name) is True]
    found = f"{features.isa}, {features.vector_bytes}-byte vectors"
    yield Finding(section, "instructions", ", ".join([found, *extra]))
    yield compile_and_run()


def compile_and_run() -> Finding:
    """Whether the compiler makes a library that loads and gives the right number."""
    name = "compiles and runs"
    with tempfile.TemporaryDirectory(prefix="tilelang-doctor-") as folder:
        library = Path(folder) / f"doctor{CToolchain.suffix}"
        begin = time.perf_counter()
        try:
            CToolchain().build([_PROGRAM], library)
        except (Error, OSError) as error:
            what = error.message if isinstance(error, Error) else str(error)
            return Finding("C compiler", name, "no", Status.MISSING, what)
        milliseconds = (time.perf_counter() - begin) * 1e3
        command = [sys.executable, "-c", _RUN, str(library)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except subprocess.TimeoutExpired:
            return Finding("C compiler", name, "it compiles, but does not end", Status.MISSING)
    if run.returncode == 0 and run.stdout.strip() == _EXPECTED:
        return Finding("C compiler", name, f"yes, {milliseconds:.0f} ms to compile")
    said = run.stderr.strip().splitlines()[-1:] or [f"exit status {run.returncode}"]
    what = f"the result was {run.stdout.strip()!r}" if run.returncode == 0 else said[0]
    return Finding("C compiler", name, "it compiles, but does not run", Status.MISSING, what)


def _processor() -> Iterator[Finding]:
    section = "Processor"
    usable = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    yield Finding(section, "cores", f"{os.cpu_count()}, of which this process may use {usable}")
    chosen = env.TILELANG_NUM_THREADS
    reason = "TILELANG_NUM_THREADS" if chosen > 0 else "one per usable core"
    yield Finding(section, "threads of a kernel", f"{chosen if chosen > 0 else usable} ({reason})")


def _cache() -> Iterator[Finding]:
    section = "Kernel cache"
    store = default_store()
    enabled = "" if env.cache_enabled else ", switched off"
    yield Finding(section, "folder", f"{store.root}{enabled}")
    trouble = store.trouble()
    if trouble is None:
        yield Finding(section, "usable", "yes")
    else:
        advice = "kernels are compiled anew in each process; set TILELANG_CACHE_DIR"
        yield Finding(section, "usable", f"no: {trouble}", Status.WARNING, advice)
    entries = store.list()
    damaged = sum(not item.complete for item in entries)
    note = f", {damaged} damaged" if damaged else ""
    size = sum(item.size for item in entries) / 1e6
    yield Finding(section, "entries", f"{len(entries)}{note}, {size:.1f} MB")


def _cuda() -> Iterator[Finding]:
    section = "CUDA"
    driver = cuda_driver()
    if driver is not None:
        yield Finding(section, "driver", driver)
    else:
        advice = "optional: the NVIDIA driver, to run on an NVIDIA GPU"
        yield Finding(section, "driver", "not found", Status.OPTIONAL, advice)
    nvrtc = next((f"{n} {v}" for n in _NVRTC if (v := _version(n)) is not None), None)
    bindings = _version("cuda-bindings")
    for name, found, command in (
        ("NVRTC", nvrtc, "pip install nvidia-cuda-nvrtc"),
        ("cuda-bindings", bindings, "pip install cuda-bindings"),
    ):
        if found is not None:
            yield Finding(section, name, found)
        else:
            yield Finding(section, name, "not found", Status.OPTIONAL, f"optional: {command}")
    if bindings is None:
        return
    devices = list(_devices(section)) if driver is not None else []
    yield from devices
    if nvrtc is not None:
        yield compile_cuda()


def _devices(section: str) -> Iterator[Finding]:
    """Each device, and whether the driver runs what this NVRTC makes."""
    from tilelang.engine import cuda_driver as cuda  # only where there is a driver
    from tilelang.engine.nvrtc import nvrtc_version

    try:
        for ordinal in range(cuda.device_count()):
            p = cuda.device_properties(ordinal)
            found = (
                f"{p.name}, {p.arch}, {p.num_multiprocessors} multiprocessors, "
                f"{p.memory_bytes / 1e9:.0f} GB, {p.max_shared_bytes_per_block} bytes of shared "
                "memory per block"
            )
            yield Finding(section, f"device {ordinal}", found)
        known, made = cuda.driver_version(), nvrtc_version()
    except Error as error:
        yield Finding(section, "devices", "cannot be used", Status.WARNING, error.message)
        return
    if known[0] < made[0]:
        advice = "update the driver, or install an older nvidia-cuda-nvrtc"
        versions = f"CUDA {known[0]}.{known[1]} driver, NVRTC {made[0]}.{made[1]}"
        yield Finding(section, "driver and NVRTC", versions, Status.WARNING, advice)


def compile_cuda() -> Finding:
    """Whether NVRTC compiles a kernel; no GPU is needed for that."""
    from tilelang.engine import cuda_driver as cuda
    from tilelang.engine.nvrtc import NvrtcToolchain

    arch = cuda.device_properties(0).arch if cuda.is_available() else "sm_80"
    begin = time.perf_counter()
    try:
        NvrtcToolchain(arch).compile(_KERNEL, name="doctor")
    except Error as error:
        return Finding("CUDA", "compiles kernels", "no", Status.WARNING, error.message)
    milliseconds = (time.perf_counter() - begin) * 1e3
    return Finding("CUDA", "compiles kernels", f"yes, for {arch}, in {milliseconds:.0f} ms")


def cuda_driver() -> str | None:
    """Version of the CUDA driver and its number of devices; `None` without a driver."""
    names = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
    for name in names:
        with contextlib.suppress(OSError, AttributeError):  # absent, or not the library it seems
            library = ctypes.CDLL(name)
            version, count = ctypes.c_int(), ctypes.c_int()
            if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
                continue
            if library.cuInit(0) == 0:
                library.cuDeviceGetCount(ctypes.byref(count))
            major, minor = version.value // 1000, version.value % 1000 // 10
            devices = "1 device" if count.value == 1 else f"{count.value} devices"
            return f"CUDA {major}.{minor}, {devices}"
    return None


def _switches() -> Iterator[Finding]:
    for name, switch in SWITCHES.items():
        variable = switch.variable or name
        if os.environ.get(variable):
            yield Finding("Switches", variable, os.environ[variable])
