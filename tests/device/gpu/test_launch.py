"""Host side of CUDA on a device: streams, graphs, threads, several GPUs, errors, the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import tilelang
from tests.device.gpu.kernels import axpy, doubled, matmul

BACKENDS = ("tvm_ffi", "nvrtc")


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def kernel(backend: str) -> Any:
    return tilelang.compile(axpy(), target="cuda", execution_backend=backend)


def vectors(n: int = 1000, device: str = "cuda") -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, device=device), torch.randn(n, device=device)


@pytest.mark.parametrize("n", [1, 127, 256, 1000, 70001])
def test_values(kernel: Any, n: int) -> None:
    X, Y = vectors(n)
    expected = 0.5 * X + Y
    kernel(X, Y, 0.5)
    torch.testing.assert_close(Y, expected)


def test_empty_tensors(kernel: Any) -> None:
    nothing, X, Y = torch.empty(0, device="cuda"), *vectors(300)
    expected = X + Y
    kernel(nothing, nothing, 1.0)
    kernel(X, Y, 1.0)  # after a launch that failed, no other would run
    torch.testing.assert_close(Y, expected)


def test_outputs_are_allocated(backend: str) -> None:
    made = tilelang.compile(doubled(), out_idx=[1], target="cuda", execution_backend=backend)
    X = torch.randn(4096, device="cuda")
    Y = made(X)
    assert Y.device == X.device
    torch.testing.assert_close(Y, X * 2)


def test_matmul(backend: str) -> None:
    made = tilelang.compile(
        matmul(512, 384, 640), out_idx=[2], target="cuda", execution_backend=backend
    )
    A = torch.randn(512, 640, device="cuda", dtype=torch.float16)
    B = torch.randn(640, 384, device="cuda", dtype=torch.float16)
    torch.testing.assert_close(made(A, B).float(), A.float() @ B.float(), rtol=2e-2, atol=2e-2)


def test_current_stream(kernel: Any) -> None:
    """A kernel behind a long wait on its stream has not run when another stream has."""
    X, Y = vectors(1 << 20)
    start, side = Y.clone(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(400_000_000)
        kernel(X, Y, 2.0)
    seen = Y.clone()  # on the default stream, which does not wait
    torch.cuda.current_stream().synchronize()
    assert torch.equal(seen, start)
    side.synchronize()
    torch.testing.assert_close(Y, 2.0 * X + start)


def test_graph_capture(kernel: Any) -> None:
    X, Y = vectors()
    kernel(X, Y, 0.0)
    check_graph(kernel, X, Y)


def test_graph_capture_of_the_first_call(backend: str) -> None:
    """Loading happens inside the capture."""
    fresh = tilelang.compile(axpy(block=128), target="cuda", execution_backend=backend)
    check_graph(fresh, *vectors())


def check_graph(kernel: Any, X: torch.Tensor, Y: torch.Tensor) -> None:
    start = Y.clone()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kernel(X, Y, 1.0)
    torch.testing.assert_close(Y, start)
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    torch.testing.assert_close(Y, start + 3 * X)


def test_threads(kernel: Any) -> None:
    """Each thread on a stream of its own; the first calls of new threads have no context."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                X, Y = vectors(5000)
                expected = Y + 20 * X
                for _ in range(20):
                    kernel(X, Y, 1.0)
                torch.cuda.current_stream().synchronize()
                torch.testing.assert_close(Y, expected)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_new_thread_has_no_context(kernel: Any) -> None:
    X, Y = vectors()
    expected = X + Y
    torch.cuda.synchronize()
    thread = threading.Thread(target=lambda: kernel(X, Y, 1.0))
    thread.start()
    thread.join()
    torch.cuda.synchronize()
    torch.testing.assert_close(Y, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_several_gpus(kernel: Any) -> None:
    for device in ("cuda:1", "cuda:0", "cuda:1"):
        X, Y = vectors(device=device)
        expected = 2.0 * X + Y
        kernel(X, Y, 2.0)  # the current device is cuda:0
        torch.testing.assert_close(Y, expected)
        assert torch.cuda.current_device() == 0
    with pytest.raises(ValueError, match="cuda:1"):
        kernel(vectors()[0], vectors(device="cuda:1")[1], 1.0)


class TestArguments:
    def test_wrong_device(self, kernel: Any) -> None:
        X, Y = vectors()
        with pytest.raises(ValueError, match=r"`Y`: expected float32\[n\] on cuda, got .* on cpu"):
            kernel(X, Y.cpu(), 1.0)

    def test_wrong_dtype(self, kernel: Any) -> None:
        X, Y = vectors()
        with pytest.raises(ValueError, match=r"got float16\[1000\] on cuda:0"):
            kernel(X.half(), Y, 1.0)

    def test_wrong_shape(self, kernel: Any) -> None:
        with pytest.raises(ValueError, match=r"got float32\[999\] on cuda:0, where n = 1000|n = "):
            kernel(vectors()[0], vectors(999)[1], 1.0)

    def test_misaligned(self, kernel: Any) -> None:
        X, Y = vectors(1001)
        with pytest.raises(ValueError, match="divisible by 16"):
            kernel(X[1:], Y[:1000], 1.0)

    def test_not_contiguous(self, kernel: Any) -> None:
        X, Y = vectors(2000)
        with pytest.raises(ValueError, match="contiguous"):
            kernel(X[::2], Y[:1000], 1.0)


def test_cached_kernel_loads(backend: str, tmp_path: Path) -> None:
    """A second process finds the kernel on disk, and its result is the same."""
    script = (
        "import torch, tilelang\n"
        "from tests.device.gpu.kernels import axpy\n"
        f"k = tilelang.compile(axpy(), target='cuda', execution_backend={backend!r})\n"
        "X, Y = torch.ones(500, device='cuda'), torch.ones(500, device='cuda')\n"
        "k(X, Y, 2.0)\n"
        "print(int(Y.sum()), k.artifact is None)\n"
    )
    # What this process can import, its children can: the package need not be installed.
    path = [str(Path(__file__).resolve().parents[3]), *filter(None, sys.path)]
    environment = {
        **os.environ,
        "TILELANG_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
    }
    seen: list[list[str]] = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        seen.append(done.stdout.split())
    assert seen == [["1500", "False"], ["1500", "True"]]


def test_exported_library(tmp_path: Path) -> None:
    import tvm_ffi

    made = tilelang.compile(axpy(), target="cuda", execution_backend="tvm_ffi")
    made.export_library(str(tmp_path / "axpy.so"))
    X, Y = vectors()
    expected = X + Y
    tvm_ffi.load_module(str(tmp_path / "axpy.so"))["axpy"](X, Y, 1.0)
    torch.testing.assert_close(Y, expected)


def test_profiler(kernel: Any) -> None:
    X, Y = vectors(1 << 20)
    milliseconds = tilelang.profiler.do_bench(lambda: kernel(X, Y, 0.0))
    assert 0.001 < milliseconds < 5


def test_ptx_of_a_kernel(kernel: Any, tmp_path: Path) -> None:
    kernel.export_ptx(str(tmp_path / "axpy.ptx"))
    assert ".entry axpy_kernel" in (tmp_path / "axpy.ptx").read_text(encoding="utf-8")


def test_many_calls_in_a_row(backend: str) -> None:
    """Calls that the device has not caught up with do not disturb each other's arguments."""
    made = tilelang.compile(axpy(), target="cuda", execution_backend=backend)
    pairs = [vectors(100 + 37 * k) for k in range(50)]
    expected = [Y + 6.0 * X for X, Y in pairs]
    for factor in (1.0, 2.0, 3.0):
        for X, Y in pairs:
            made(X, Y, factor)
    for (_, Y), values in zip(pairs, expected):
        torch.testing.assert_close(Y, values)
