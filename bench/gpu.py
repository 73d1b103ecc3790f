"""Speed on a GPU, side by side with cuBLAS, FlashAttention-2 and a plain copy: `make bench-gpu`.

Every row runs ours and its peer in one process, each in a steady state of its own (warm-up, then at
least `--seconds` of calls), in turn, `--rounds` times; medians of all calls are compared. Prints a
table and writes bench/results/gpu-<date>.json with device and versions. The kernels
(`gpu_kernels.py`) are the plain ones a user would write, with tile sizes chosen by hand; results
are checked against PyTorch before anything is timed.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpu_kernels as kernels

import tilelang

HERE = Path(__file__).resolve().parent
FAST_MATH = {tilelang.PassConfigKey.TL_ENABLE_FAST_MATH: True}
ROWS, COLUMNS = 16384, 8192
Run = Callable[[], Any]


def calls(function: Run, seconds: float) -> list[float]:
    """Seconds of each call, measured by events on the device."""
    deadline = time.perf_counter() + seconds / 3
    while time.perf_counter() < deadline:
        function()
        torch.cuda.synchronize()
    events: list[tuple[Any, Any]] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        for _ in range(5):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize()
    return [a.elapsed_time(b) * 1e-3 for a, b in events]


class Table:
    """Rows of the report; a row that fails is reported as such and the others go on."""

    def __init__(self, seconds: float, rounds: int, only: str) -> None:
        self.seconds, self.rounds, self.only = seconds, rounds, only
        self.rows: list[dict[str, Any]] = []

    def medians(self, *functions: Run) -> list[float]:
        """Median seconds of each function, run in turn."""
        times: list[list[float]] = [[] for _ in functions]
        for _ in range(self.rounds):
            for function, record in zip(functions, times):
                record += calls(function, self.seconds)
        return [statistics.median(t) for t in times]

    def add(
        self, work: str, goal: float, better: str, measure: Callable[[], dict[str, Any]]
    ) -> None:
        """Measure a row; `measure` gives at least `value`."""
        if not any(part in work for part in self.only.split(",")):
            return
        try:
            found = measure()
        except Exception as error:  # one kernel's failure is a row, not the end of the report
            found = {"value": float("nan"), "error": f"{type(error).__name__}: {error}"[:500]}
        met = found["value"] >= goal if better == "higher" else found["value"] <= goal
        self.rows.append({"work": work, "goal": goal, "better": better, "met": met, **found})
        sign = ">=" if better == "higher" else "<="
        more = ", ".join(f"{k} {_shown(v)}" for k, v in found.items() if k != "value")
        verdict = "ok" if met else "MISSED"
        print(f"{work:44} {found['value']:7.3f}  ({sign} {goal}) {verdict:6} {more}", flush=True)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def relative_error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """Frobenius norm of the difference over that of the reference."""
    difference = out.double() - reference.double()
    return float(difference.norm() / reference.double().norm())


def checked(out: torch.Tensor, reference: torch.Tensor, limit: float) -> float:
    error = relative_error(out, reference)
    if not error <= limit:
        raise AssertionError(f"relative error {error:.2e}, allowed {limit:.0e}")
    return error


def random(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", dtype=dtype)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# -- rows ------------------------------------------------------------------------------------------


def gemm(
    table: Table, M: int, N: int, K: int, config: tuple[int, ...], dtype: torch.dtype
) -> dict[str, Any]:
    """Throughput over cuBLAS's."""
    A, B = random(M, K, dtype=dtype), random(K, N, dtype=dtype)
    C = torch.full((M, N), float("nan"), device="cuda", dtype=dtype)
    *tiles, panel = config
    kernel = kernels.gemm(M, N, K, *tiles, name_of(dtype), panel)
    kernel(A, B, C)
    reference = A @ B
    error = checked(C, reference, 5e-3)
    runs: list[Run] = [lambda: kernel(A, B, C), lambda: torch.matmul(A, B, out=reference)]
    if importlib.util.find_spec("triton") is not None:
        from gpu_triton import matmul  # Triton may be missing where PyTorch is there

        product = torch.empty_like(C)
        matmul(A, B, product)
        checked(product, reference, 5e-3)
        runs.append(lambda: matmul(A, B, product))
    rate = 2e-12 * M * N * K
    rates = [rate / seconds for seconds in table.medians(*runs)]
    found = dict(zip(("tflops", "cublas", "triton"), rates))
    return {"value": rates[0] / rates[1], **found, "error": error}


def attention(
    table: Table, batch: int, heads: int, length: int, dim: int, causal: bool,
    config: tuple[int, ...], dtype: torch.dtype,
) -> dict[str, Any]:  # fmt: skip
    """Throughput over that of PyTorch's FlashAttention-2."""
    q, k, v = (random(batch, heads, length, dim, dtype=dtype) for _ in range(3))
    out = torch.full_like(q, float("nan"))
    kernel = tilelang.compile(
        kernels.attention.get_tir(batch, heads, length, dim, causal, *config, name_of(dtype)),
        target="cuda", pass_configs=FAST_MATH,
    )  # fmt: skip
    kernel(q, k, v, out)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        peer_run = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal)  # noqa: E731
        error = checked(out, peer_run(), 5e-3)
        ours, peer = table.medians(lambda: kernel(q, k, v, out), peer_run)
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        (cudnn,) = table.medians(peer_run)
    rate = 4e-12 * batch * heads * length * length * dim * (0.5 if causal else 1)
    return {
        "value": peer / ours, "tflops": rate / ours, "fa2": rate / peer, "cudnn": rate / cudnn,
        "error": error,
    }  # fmt: skip


def streaming(table: Table, run: Run, num_bytes: int, error: float) -> dict[str, Any]:
    """Bandwidth over that of a plain copy."""
    source = random(ROWS, COLUMNS, dtype=torch.float16)
    target = torch.empty_like(source)
    ours, copy = table.medians(run, lambda: target.copy_(source))
    peak = 2 * source.numel() * 2 / copy
    return {
        "value": num_bytes / ours / peak, "tb_per_s": num_bytes / ours * 1e-12,
        "copy": peak * 1e-12, "error": error,
    }  # fmt: skip


def row_kernel(
    table: Table, build: Callable[[], Any], reference: Callable[..., torch.Tensor],
    extra: tuple[tuple[int, ...], ...] = (), dtype: torch.dtype = torch.float16,
) -> dict[str, Any]:  # fmt: skip
    """A kernel that reads and writes [ROWS, COLUMNS]; `extra`: shapes of further inputs."""
    x = random(ROWS, COLUMNS, dtype=dtype)
    others = [random(*shape, dtype=dtype) for shape in extra]
    out = torch.full_like(x, float("nan"))
    kernel = build()
    kernel(x, *others, out)
    error = checked(out, reference(x.float(), *(o.float() for o in others)), 5e-3)
    num_bytes = sum(t.numel() * t.element_size() for t in (x, *others, out))
    return streaming(table, lambda: kernel(x, *others, out), num_bytes, error)


def reduction(table: Table, build: Callable[[], Any], axis: int) -> dict[str, Any]:
    x = random(ROWS, COLUMNS, dtype=torch.float16)
    out = torch.zeros(x.shape[1 - axis], device="cuda")
    kernel = build()
    kernel(x, out)
    error = checked(out, x.double().sum(axis), 1e-3)
    return streaming(table, lambda: kernel(x, out), x.numel() * 2, error)


def gemv_w4a16(table: Table, N: int, K: int, config: tuple[int, ...]) -> dict[str, Any]:
    packed = torch.randint(0, 256, (N, K // 2), device="cuda", dtype=torch.uint8)
    words = packed.view(torch.uint32)
    x = random(K, dtype=torch.float16)
    out = torch.full((N,), float("nan"), device="cuda", dtype=torch.float16)
    kernel = kernels.gemv_w4a16(N, K, *config, "float16")
    kernel(words, x, out)
    weights = torch.stack([packed & 15, packed >> 4], dim=-1).reshape(N, K).double() - 8
    error = checked(out, weights @ x.double(), 5e-3)
    return streaming(table, lambda: kernel(words, x, out), packed.numel(), error)


COLD = """
import json, os, sys, time
sys.path[:0] = {path!r}
import torch, tilelang
import gpu_kernels as kernels
torch.zeros(1, device="cuda"); torch.cuda.synchronize()
{setup}
start = time.perf_counter()
kernel = {build}
kernel(*tensors); torch.cuda.synchronize()
seconds = time.perf_counter() - start
steps = dict(kernel.timings)
parts = {{name: steps.pop(name) for name in ("print", "compile")}}
parts["lower"] = sum(steps.values())
parts["trace, load, run"] = seconds - sum(parts.values())
print(json.dumps([seconds, parts]))
"""


@functools.lru_cache(maxsize=1)
def byte_compile() -> None:
    """As an installed package is: Python does not compile our sources in what is measured."""
    folders = [str(HERE.parent / "tilelang"), str(HERE)]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *folders], check=True)


def cold(build: str, setup: str) -> dict[str, Any]:
    """Seconds from the first call to its result, in a fresh process with an empty cache.

    `prepared`: the same on a machine that has compiled some kernel before: the library that starts
    kernels is kept, and the kernel is new.
    """
    byte_compile()
    script = COLD.format(path=sys.path[:2], build=build, setup=setup)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    fresh: list[tuple[float, dict[str, float]]] = []
    prepared: list[float] = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            fresh.append(run_cold(script, {**env, "TILELANG_CACHE_DIR": first}))
            shutil.copytree(Path(first) / "runtime", Path(second) / "runtime", dirs_exist_ok=True)
            prepared.append(run_cold(script, {**env, "TILELANG_CACHE_DIR": second})[0])
    seconds, parts = sorted(fresh, key=lambda run: run[0])[1]  # the median run
    rounded = {name: round(value, 3) for name, value in parts.items()}
    return {"value": seconds, "prepared": statistics.median(prepared), "parts": rounded}


def run_cold(script: str, env: dict[str, str]) -> tuple[float, dict[str, float]]:
    """Seconds and their parts, as `script` prints them last, in a process of its own."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-400:])
    seconds, parts = json.loads(done.stdout.splitlines()[-1])
    return seconds, parts


def host_time(backend: str) -> dict[str, Any]:
    """Host seconds per launch over those of `torch.add(out=)`."""
    a, b, c = (torch.zeros(64, 128, device="cuda", dtype=torch.float16) for _ in range(3))
    kernel = tilelang.compile(
        kernels.add.get_tir(64, 128, 4, 128, 128, "float16"),
        target="cuda",
        execution_backend=backend,
    )

    def per_call(function: Run) -> float:
        best = []
        for _ in range(20):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(200):
                function()
            best.append((time.perf_counter() - start) / 200)
        return statistics.median(best)

    kernel(a, b, c)
    ours, peer = per_call(lambda: kernel(a, b, c)), per_call(lambda: torch.add(a, b, out=c))
    return {"value": ours / peer, "us": ours * 1e6, "torch_us": peer * 1e6}


# -- the report ------------------------------------------------------------------------------------

HALF, BRAIN = torch.float16, torch.bfloat16
GEMMS = {
    (8192, 8192, 8192): ((128, 256, 64, 4, 256, 16), 0.68),
    (4096, 4096, 4096): ((128, 256, 64, 4, 256, 8), 0.68),
    (2048, 2048, 2048): ((128, 256, 64, 4, 256, 0), 0.68),
    (128, 8192, 8192): ((128, 64, 128, 4, 128, 0), 0.75),
}
ADD = (1, 2048, 256)
COLD_STARTS = {
    "elementwise": (
        "kernels.add(1024, 1024, 8, 512, 128, 'float16')", [(1024, 1024)] * 3, 0.10,
    ),
    "gemm": (
        "kernels.gemm(4096, 4096, 4096, 128, 256, 64, 3, 256, 'float16', 4)",
        [(4096, 4096)] * 3, 0.35,
    ),
    "attention": (
        "tilelang.compile(kernels.attention.get_tir(4, 32, 4096, 128, True, 128, 64, 2, 128, "
        "'float16'), target='cuda', pass_configs={'tl.enable_fast_math': True})",
        [(4, 32, 4096, 128)] * 4, 0.8,
    ),
}  # fmt: skip
ATTENTIONS = {
    (128, False): (128, 64, 2, 128),
    (128, True): (128, 64, 2, 128),
    (64, False): (128, 128, 2, 256),
    (64, True): (128, 128, 2, 256),
}


def fill(table: Table) -> None:
    for dtype, (shape, (config, goal)) in product((HALF, BRAIN), GEMMS.items()):
        work = f"gemm {name_of(dtype)} {'x'.join(map(str, shape))}"
        table.add(work, goal, "higher", partial(gemm, table, *shape, config, dtype))
    for dtype, ((dim, causal), config) in product((HALF, BRAIN), ATTENTIONS.items()):
        work = f"attention {name_of(dtype)} d{dim}{' causal' if causal else ''}"
        run = partial(attention, table, 4, 32, 4096, dim, causal, config, dtype)
        table.add(work, 1.0, "higher", run)
    for work, arguments in row_kernels(ROWS, COLUMNS).items():
        table.add(work, 0.93, "higher", partial(row_kernel, table, *arguments))
    for work, (kernel, config, axis) in {
        "row sums": (kernels.row_sum, (1, 2048, 128), 1),
        "column sums": (kernels.column_sum, (4, 512, 256), 0),
    }.items():
        build = partial(kernel, ROWS, COLUMNS, *config, "float16")
        table.add(work, 0.85, "higher", partial(reduction, table, build, axis))
    run = partial(gemv_w4a16, table, 32768, 16384, (8, 16, 2))
    table.add("w4a16 gemv 32768x16384", 0.85, "higher", run)
    for work, (build, shapes, goal) in COLD_STARTS.items():
        setup = f"tensors = [torch.randn(*s, device='cuda', dtype=torch.float16) for s in {shapes}]"
        table.add(f"cold {work}, s", goal, "lower", partial(cold, build, setup))
    for backend, goal in (("tvm_ffi", 0.35), ("nvrtc", 1.2)):
        work = f"host time per launch, {backend}"
        table.add(work, goal, "lower", partial(host_time, backend))


def row_kernels(M: int, N: int) -> dict[str, tuple[Any, Any, Any]]:
    """Name -> how to build the kernel, PyTorch's result, shapes of the inputs after the first."""

    def rms(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w

    def layer(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (N,), w, b)

    softmax = partial(kernels.softmax, M, N, 1, 256, "float16")
    return {
        "elementwise add": (partial(kernels.add, M, N, *ADD, "float16"), torch.add, ((M, N),)),
        "softmax": (softmax, partial(torch.softmax, dim=-1), ()),
        "rms norm": (partial(kernels.rms_norm, M, N, 1, 512, "float16"), rms, ((N,),)),
        "layer norm": (partial(kernels.layer_norm, M, N, 1, 128, "float16"), layer, ((N,), (N,))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each function and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--only", default="", help="rows whose name contains one of these, comma-separated"
    )
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    options = parser.parse_args()
    device = torch.cuda.get_device_properties(0)
    print(f"{device.name}, PyTorch {torch.__version__}, tilelang {tilelang.__version__}")
    table = Table(options.seconds, options.rounds, options.only)
    fill(table)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    path = options.out or HERE / "results" / f"gpu-{today}.json"
    report = {
        "date": today, "device": device.name, "multiprocessors": device.multi_processor_count,
        "torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version(),
        "tilelang": tilelang.__version__, "rows": table.rows,
    }  # fmt: skip
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    missed = [row["work"] for row in table.rows if not row["met"]]
    print(f"{len(table.rows) - len(missed)} of {len(table.rows)} rows met; wrote {path.name}")


if __name__ == "__main__":
    main()
