"""Speed on the CPU, side by side with PyTorch on two threads: `make bench-cpu`.

Every row runs ours and the peer alternately in one process and compares medians. Prints a table and
writes bench/results/cpu.json. The kernels are the plain ones a user would write, with tile sizes
chosen by hand; compilation is not part of any time but those of the "compile" rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import tilelang

sys.path.insert(0, str(Path(__file__).parent))
from kernels import (
    do_nothing,
    flash_attention,
    gemm,
    plain_copy,
    rms_norm,
    softmax,
)

THREADS = 2


def alternate(functions: list[Callable[[], Any]], seconds: float) -> list[float]:
    """Median seconds of each function, run in turn for about `seconds` altogether.

    A library's idle threads spin for a while after its last call and would take a core from the
    next function; so each measurement begins with a pause and one untimed call of its function.
    """
    times: list[list[float]] = [[] for _ in functions]
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times[0]) < 7:
        for function, record in zip(functions, times):
            time.sleep(0.02)
            function()
            start = time.perf_counter()
            function()
            record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in times]


class Table:
    """Rows of the report."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rows: list[dict[str, Any]] = []

    def add(
        self,
        work: str,
        measure: str,
        value: float,
        goal: float,
        better: str = "higher",
        **more: Any,
    ) -> None:
        met = value >= goal if better == "higher" else value <= goal
        self.rows.append(
            {"work": work, "measure": measure, "value": value, "goal": goal, "met": met, **more}
        )
        sign = ">=" if better == "higher" else "<="
        verdict = "ok" if met else "MISSED"
        print(f"{work:34} {measure:34} {value:9.3f}   goal {sign} {goal:<6g} {verdict}", flush=True)

    def ratio(
        self,
        work: str,
        ours: Callable[[], Any],
        peer: Callable[[], Any],
        goal: float,
        what: str = "x PyTorch",
    ) -> tuple[float, float]:
        mine, theirs = alternate([ours, peer], self.seconds)
        self.add(work, what, theirs / mine, goal, ours_ms=mine * 1e3, peer_ms=theirs * 1e3)
        return mine, theirs


def check(name: str, value: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    error = ((value.double() - expected.double()).norm() / expected.double().norm()).item()
    if not error < tolerance:
        raise SystemExit(f"{name}: relative error {error:.2e}, expected below {tolerance:.0e}")


GEMM_TILES = {512: (128, 256, 256), 1024: (128, 512, 256), 2048: (256, 512, 256)}
PIPELINE = (3, 128)  # stages, threads: a CPU takes both as hints


def bench_gemm(table: Table) -> None:
    ours_fp32 = 0.0
    for size in (512, 1024, 2048):
        a, b, c = (torch.randn(size, size) for _ in range(3))
        kernel = gemm(size, size, size, *GEMM_TILES[size], *PIPELINE, "float32")
        kernel(a, b, c)
        check(f"gemm {size}", c, a.double() @ b.double(), 1e-5)
        out = torch.empty_like(c)
        mine, _ = table.ratio(
            f"GEMM fp32 {size}^3", partial(kernel, a, b, c), partial(torch.mm, a, b, out=out), 0.90
        )
        ours_fp32 = mine if size == 1024 else ours_fp32
    size = 1024
    a, b, c = (torch.randn(size, size).bfloat16() for _ in range(3))
    kernel = gemm(size, size, size, *GEMM_TILES[size], *PIPELINE, "bfloat16")
    kernel(a, b, c)
    check("gemm bf16", c, a.double() @ b.double(), 1e-2)
    out = torch.empty_like(c)
    table.ratio("GEMM bf16 1024^3", lambda: kernel(a, b, c), lambda: torch.mm(a, b, out=out), 0.80)
    x, y, z = (torch.randn(size, size) for _ in range(3))
    full = gemm(size, size, size, *GEMM_TILES[size], *PIPELINE, "float32")
    h, k, c16 = x.half(), y.half(), z.half()
    half = gemm(size, size, size, *GEMM_TILES[size], *PIPELINE, "float16")
    half(h, k, c16)
    check("gemm fp16", c16, h.double() @ k.double(), 1e-2)
    table.ratio(
        "GEMM fp16 1024^3", lambda: half(h, k, c16), lambda: full(x, y, z), 0.70, "x our fp32 GEMM"
    )


def bench_rows(table: Table) -> None:
    rows, columns = 4096, 4096
    x, y = torch.randn(rows, columns), torch.empty(rows, columns)
    weight = torch.randn(columns)
    copy = plain_copy(rows, columns)
    copy(x, y)
    assert torch.equal(x, y)
    block_M, threads = 2, 128
    softmax_kernel = softmax(rows, columns, block_M, threads, "float32")
    norm_kernel = rms_norm(rows, columns, block_M, threads, "float32")
    softmax_kernel(x, y)
    check("softmax", y, torch.softmax(x.double(), -1), 1e-5)
    norm_kernel(x, weight, y)
    norm = torch.nn.functional.rms_norm
    check("RMSNorm", y, norm(x.double(), (columns,), weight.double(), 1e-6), 1e-5)
    for name, ours, peer, least in (
        ("softmax 4096x4096 fp32", lambda: softmax_kernel(x, y), lambda: torch.softmax(x, -1), 0.6),
        (
            "RMSNorm 4096x4096 fp32",
            lambda: norm_kernel(x, weight, y),
            lambda: norm(x, (columns,), weight, 1e-6),
            0.8,
        ),
    ):
        mine, theirs, copied = alternate([ours, peer, lambda: y.copy_(x)], table.seconds)
        table.add(name, "x PyTorch", theirs / mine, 3.0, ours_ms=mine * 1e3, peer_ms=theirs * 1e3)
        table.add(
            name,
            "of a plain copy's bandwidth",
            copied / mine,
            least,
            ours_ms=mine * 1e3,
            copy_ms=copied * 1e3,
        )


def bench_attention(table: Table) -> None:
    batch, heads, seq_len, dim = 1, 8, 1024, 64
    q, k, v, o = (torch.randn(batch, heads, seq_len, dim) for _ in range(4))
    attention = torch.nn.functional.scaled_dot_product_attention
    for causal, goal in ((False, 1.0), (True, 1.1)):
        kernel = flash_attention(batch, heads, seq_len, dim, causal, 64, 128)
        kernel(q, k, v, o)
        check("attention", o, attention(q.double(), k.double(), v.double(), is_causal=causal), 1e-5)
        name = "attention b1 h8 s1024 d64 " + ("causal" if causal else "full")
        table.ratio(
            name, partial(kernel, q, k, v, o), partial(attention, q, k, v, is_causal=causal),
            goal, "x scaled_dot_product_attention",
        )  # fmt: skip


def bench_compile(table: Table) -> None:
    bare, ours = (
        statistics.median(_python_seconds(code) for _ in range(9))
        for code in (
            "pass",
            "import tilelang, tilelang.language, sys; assert 'torch' not in sys.modules",
        )
    )
    table.add(
        "import tilelang, tilelang.language",
        "s over a bare interpreter",
        ours - bare,
        0.15,
        "lower",
    )
    for name, make, goal in (
        (
            "GEMM",
            lambda: gemm.get_tir(1024, 1024, 1024, 128, 256, 256, *PIPELINE, "float32"),
            0.040,
        ),
        ("FlashAttention", lambda: flash_attention.get_tir(1, 8, 1024, 64, True, 64, 128), 0.100),
    ):

        def trace_and_lower(make: Callable[[], Any] = make) -> None:
            tilelang.lower(make(), target="c")

        (seconds,) = alternate([trace_and_lower], 2.0)
        table.add(f"trace + lower {name}, warm", "s", seconds, goal, "lower")
    cold = statistics.median(_cold_compile_seconds() for _ in range(3))
    table.add("compile of the GEMM, cold", "s, C compiler included", cold, 0.5, "lower")


def _python_seconds(code: str) -> float:
    """A fresh interpreter, with bytecode as every installation has it."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start


def _cold_compile_seconds() -> float:
    """A fresh process and an empty cache: from the call of the factory to the kernel."""
    code = (
        "import torch, sys, time; sys.path.insert(0, sys.argv[1]);"
        "import tilelang, tvm_ffi; from kernels import gemm;"
        "t = time.perf_counter(); gemm(1024, 1024, 1024, 128, 256, 256, 3, 128, 'float32');"
        "print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TILELANG_CACHE_DIR": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        result = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)], env=environment, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
    return float(result.stdout)


def bench_launch(table: Table) -> None:
    kernel = do_nothing(1)
    args = [torch.randn(1) for _ in range(3)]
    calls = 2000

    def many() -> None:
        for _ in range(calls):
            kernel(*args)

    (seconds,) = alternate([many], 1.0)
    table.add(
        "call of a kernel that does nothing",
        "us, 3 PyTorch tensors",
        seconds / calls * 1e6,
        2.0,
        "lower",
    )


SECTIONS = {
    "gemm": bench_gemm,
    "rows": bench_rows,
    "attention": bench_attention,
    "compile": bench_compile,
    "launch": bench_launch,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], help="which rows; all without any"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="time per row")
    parser.add_argument("--output", default=str(Path(__file__).parent / "results" / "cpu.json"))
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    tilelang.set_num_threads(THREADS)
    table = Table(options.seconds)
    for name in options.sections or SECTIONS:
        SECTIONS[name](table)
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.machine(),
        "processor": _processor(),
        "threads": THREADS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "tilelang": tilelang.__version__,
        "rows": table.rows,
    }
    if not options.sections:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)
        Path(options.output).write_text(json.dumps(record, indent=1) + "\n")
        print(f"written to {options.output}")


def _processor() -> str:
    from tilelang.target import determine_target

    return str(determine_target("c"))


if __name__ == "__main__":
    main()
