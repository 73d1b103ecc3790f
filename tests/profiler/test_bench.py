"""Timing: what is run how often, what is returned, and that caches are cold."""

from __future__ import annotations

import math
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

from tilelang.errors import TargetError
from tilelang.profiler import bench, do_bench
from tilelang.profiler.bench import CpuClock, _kernel_times, last_level_cache_bytes


class Counter:
    """Counts its calls and takes the given times, one after the other."""

    def __init__(self, *milliseconds: float) -> None:
        self.calls = 0
        self.milliseconds = milliseconds

    def __call__(self) -> None:
        if self.milliseconds:
            time.sleep(self.milliseconds[self.calls % len(self.milliseconds)] / 1e3)
        self.calls += 1


def test_counts_are_obeyed() -> None:
    fn = Counter()
    do_bench(fn, _n_warmup=3, _n_repeat=7, device="cpu")
    assert fn.calls == 1 + 5 + 3 + 7


def test_a_run_longer_than_the_budget_is_timed_once() -> None:
    fn = Counter(20)
    result = do_bench(fn, warmup=1, rep=1, device="cpu")
    assert fn.calls == 1 + 5 + 1 + 1
    assert isinstance(result, float) and 20 <= result < 200


def test_budgets_count_the_clearing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuClock, "flush", lambda self: time.sleep(0.01))
    fn = Counter()
    do_bench(fn, warmup=50, rep=100, device="cpu")
    assert 1 + 5 + 1 + 2 <= fn.calls <= 1 + 5 + 5 + 10


def test_caches_are_cleared_before_each_run_and_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(CpuClock, "flush", lambda self: events.append("flush"))
    do_bench(lambda: events.append("run"), _n_warmup=2, _n_repeat=3, device="cpu")
    assert events == ["run"] + ["flush", "run"] * (5 + 2 + 3)


def test_flushing_evicts() -> None:
    clock = CpuClock()
    data = numpy.ones(64 << 10, numpy.float32)  # 256 KiB, in every second-level cache

    def warm() -> float:
        begin = time.perf_counter_ns()
        data.sum()
        return (time.perf_counter_ns() - begin) / 1e6

    cold = statistics.median(clock.sample(lambda: data.sum(), 15))
    assert cold > 1.1 * statistics.median([warm() for _ in range(50)][10:])


@pytest.mark.parametrize("fast", [True, False])
def test_the_buffer_exceeds_the_caches(fast: bool) -> None:
    buffer = CpuClock(fast).buffer
    assert buffer.nbytes >= min(2 * last_level_cache_bytes(), 512 << 20)
    assert buffer.itemsize == (4 if fast else 1)
    before = buffer[[0, -1]].copy()
    CpuClock(fast).flush()
    assert (buffer[[0, -1]] == before + before.dtype.type(1)).all()


def test_modes_and_quantiles(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [4.0, 1.0, 3.0, 2.0, 10.0]
    monkeypatch.setattr(CpuClock, "sample", lambda self, fn, runs: times)
    run = lambda **kw: do_bench(lambda: None, device="cpu", **kw)  # noqa: E731
    assert run() == run(return_mode="mean") == 4.0
    assert (run(return_mode="min"), run(return_mode="max")) == (1.0, 10.0)
    assert run(return_mode="median") == 3.0
    assert run(quantiles=[0.0, 0.5, 1.0]) == [1.0, 3.0, 10.0]
    assert run(quantiles=[0.25]) == run(quantiles=0.25) == 2.0


def test_stops_early_when_already_slower() -> None:
    fn = Counter(2)
    slow = do_bench(fn, early_stop_baseline=0.5, _n_repeat=50, device="cpu")
    assert fn.calls == 1 + 5 and isinstance(slow, float) and slow >= 2
    fn = Counter()
    do_bench(fn, early_stop_baseline=1e6, _n_warmup=1, _n_repeat=2, device="cpu")
    assert fn.calls == 1 + 5 + 1 + 2


def test_unknown_backend_is_a_value_error() -> None:
    fn = Counter()
    with pytest.raises(ValueError, match="unknown backend 'rocket'; expected one of event, cupti"):
        do_bench(fn, backend="rocket", device="cpu")
    assert fn.calls == 0


def test_unknown_mode_is_an_assertion_error() -> None:
    fn = Counter()
    with pytest.raises(AssertionError, match="unknown return_mode 'best'; expected one of min"):
        do_bench(fn, return_mode="best", device="cpu")
    assert fn.calls == 0


@pytest.mark.parametrize("quantiles", [[], [1.5], -0.1, [math.nan]])
def test_impossible_quantiles(quantiles: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        do_bench(lambda: None, quantiles=quantiles, device="cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["cupti", "cudagraph"])
def test_cuda_backends_need_cuda(backend: str) -> None:
    with pytest.raises(TargetError, match=f"{backend}.*there is none here") as caught:
        do_bench(lambda: None, backend=backend, device="cpu")
    assert 'backend="event"' in str(caught.value)


def test_a_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(TargetError, match="cuda:1 was asked for"):
        do_bench(lambda: None, device="cuda:1")
    assert not bench._on_cuda(None)
    torch.cuda.is_available = lambda: True
    assert bench._on_cuda(None) and bench._on_cuda("cuda") and not bench._on_cuda("cpu")


def test_errors_of_the_function_pass_through() -> None:
    def broken() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        do_bench(broken, device="cpu")


def test_sizes_of_caches_are_read(tmp_path: Path) -> None:
    assert last_level_cache_bytes(tmp_path) == 64 << 20
    for i, size in enumerate(("48K", "2048K", "36M\n")):
        (tmp_path / f"index{i}").mkdir()
        (tmp_path / f"index{i}" / "size").write_text(size)
    assert last_level_cache_bytes(tmp_path) == 36 << 20


def event(name: str, device: str, start: float, end: float) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        device_type=SimpleNamespace(name=device),
        time_range=SimpleNamespace(start=start, end=end),
    )


def test_kernel_times_count_what_ran_inside_each_mark() -> None:
    events = [
        event("memset", "CUDA", 0, 90),  # clears the caches
        event("tilelang.run.0", "CPU", 100, 200),
        event("tilelang.run.0", "CUDA", 110, 190),  # the mark as the device shows it
        event("launch", "CPU", 101, 105),
        event("kernel", "CUDA", 110, 150),
        event("memset", "CUDA", 160, 190),  # the function's own
        event("memset", "CUDA", 210, 290),
        event("tilelang.run.1", "CPU", 300, 400),
        event("kernel", "CUDA", 310, 330),
    ]
    assert _kernel_times(events, 2) == [0.07, 0.02]
    with pytest.raises(TargetError, match="recorded 2 of 3 runs"):
        _kernel_times(events, 3)
