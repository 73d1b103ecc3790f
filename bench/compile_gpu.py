"""Time that compiling for CUDA takes, part by part; needs NVRTC, but no GPU.

python bench/compile_gpu.py [--arch sm_90a] [--repeat 3] [--only gemm,add] [--json FILE]

Each kernel is compiled in a process of its own: first cold (modules of the compiler are imported
along the way; NumPy and NVRTC were before), then warm, `--repeat` times, of which the least counts.
Times are CPU milliseconds: other work on the machine changes them little. Parts are the trace, each
pass (those below 5 ms together), the printer and NVRTC; beside them what the assembler reports.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SMALL = 5.0  # milliseconds; passes below are shown as one
FP16 = "float16"
# name in the report -> function in gpu_kernels, its arguments
KERNELS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "gemm 128x256x32, 4 stages": ("gemm", (8192, 8192, 8192, 128, 256, 32, 4, 256, FP16)),
    "gemm 128x128x32, 4 stages": ("gemm", (8192, 8192, 8192, 128, 128, 32, 4, 128, FP16, 10)),
    "gemm 64x64x32, odd sizes": ("gemm", (1000, 1000, 1000, 64, 64, 32, 0, 128, FP16)),
    "attention 128": ("attention", (4, 32, 4096, 128, False, 128, 64, 2, 128, FP16)),
    "attention 128, causal": ("attention", (4, 32, 4096, 128, True, 128, 128, 2, 256, FP16)),
    "attention 64, causal": ("attention", (4, 32, 4096, 64, True, 128, 64, 2, 128, FP16)),
    "add": ("add", (16384, 8192, 4, 1024, 128, FP16)),
    "softmax": ("softmax", (16384, 8192, 1, 256, FP16)),
    "rms_norm": ("rms_norm", (16384, 8192, 1, 256, FP16)),
    "layer_norm": ("layer_norm", (16384, 8192, 1, 256, FP16)),
    "row_sum": ("row_sum", (16384, 8192, 1, 2048, 128, FP16)),
    "column_sum": ("column_sum", (16384, 8192, 16, 256, 128, FP16)),
    "gemv_w4a16": ("gemv_w4a16", (32768, 16384, 8, 16, 2, FP16)),
}


class Clock:
    """CPU milliseconds by part, in the order of the parts."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.last = time.process_time()

    def stop(self, part: str) -> None:
        """Give the time since the last stop to `part`."""
        now = time.process_time()
        self.parts[part] = self.parts.get(part, 0.0) + 1e3 * (now - self.last)
        self.last = now


def compiled(kernel: str, arch: str) -> tuple[dict[str, float], Any]:
    """Milliseconds of each part of one compilation, and the cubin with its report."""
    import gpu_kernels

    from tilelang.codegen.cuda import print_cuda
    from tilelang.engine.nvrtc import NvrtcToolchain
    from tilelang.ir.func import TARGET
    from tilelang.target.target import Target
    from tilelang.transform.context import PassContext
    from tilelang.transform.pipeline import passes_for

    name, arguments = KERNELS[kernel]
    clock = Clock()
    target = Target(f"cuda -arch={arch}")
    func = getattr(gpu_kernels, name).get_tir(*arguments).with_attribute(TARGET, target)
    clock.stop("trace")
    context = PassContext(target)
    for entry in passes_for(context):
        func = entry.load()(func, context)
        clock.stop(entry.name)
    source = print_cuda(func, target)
    clock.stop("print")
    cubin = NvrtcToolchain(arch).compile(source)
    clock.stop("nvrtc")
    return clock.parts, cubin


def measured(kernel: str, arch: str, repeat: int) -> dict[str, Any]:
    """One row of the report."""
    importlib.import_module("numpy")  # PyTorch, which callers have, imports it too
    from tilelang.engine.nvrtc import NvrtcToolchain

    NvrtcToolchain(arch).compile('extern "C" __global__ void nothing() {}')
    cold, cubin = compiled(kernel, arch)
    warm = dict(cold)
    for _ in range(repeat):
        for part, ms in compiled(kernel, arch)[0].items():
            warm[part] = min(warm[part], ms)
    use = next(iter(cubin.usage().values()))
    return {
        "kernel": kernel, "arch": arch, "cold_ms": cold, "warm_ms": warm,
        "cubin_bytes": len(cubin.cubin), "registers": use.registers,
        "spill_bytes": use.spill_store_bytes + use.spill_load_bytes,
    }  # fmt: skip


def in_own_process(kernel: str, arch: str, repeat: int) -> dict[str, Any]:
    """`measured` where nothing of the compiler has been imported yet."""
    call = [sys.executable, __file__, "--one", kernel, "--arch", arch, "--repeat", str(repeat)]
    run = subprocess.run(call, capture_output=True, text=True, check=False)
    if run.returncode:
        return {"kernel": kernel, "arch": arch, "error": run.stderr.strip().splitlines()[-1]}
    return json.loads(run.stdout.splitlines()[-1])


def shown(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['kernel']:28} {row['error']}"
    lines: list[str] = []
    for label in ("cold", "warm"):
        parts: dict[str, float] = row[f"{label}_ms"]
        nvrtc = parts["nvrtc"]
        ours = sum(parts.values()) - nvrtc
        large = {n: t for n, t in parts.items() if t >= SMALL and n != "nvrtc"}
        other = ours - sum(large.values())
        text = ", ".join(f"{name} {ms:.0f}" for name, ms in [*large.items(), ("other", other)])
        name = row["kernel"] if label == "cold" else ""
        lines.append(f"{name:28} {label}: compiler {ours:4.0f} ms, NVRTC {nvrtc:4.0f} ms ({text})")
    use = f"{row['registers']} registers, {row['spill_bytes']} bytes spilled"
    return "\n".join([*lines, f"{'':28} {row['cubin_bytes']} bytes, {use}"])


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of compiling for CUDA, by part.")
    parser.add_argument("--arch", default="sm_90a")
    parser.add_argument("--repeat", type=int, default=3, help="warm compilations; the least counts")
    parser.add_argument("--only", default="", help="parts of kernel names, separated by commas")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--one", choices=list(KERNELS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options.arch, options.repeat)))
        return
    rows: list[dict[str, Any]] = []
    for kernel in KERNELS:
        if any(part in kernel for part in options.only.split(",")):
            rows.append(in_own_process(kernel, options.arch, options.repeat))
            print(shown(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    main()
