"""How long a call takes.

In: a callable without arguments, from users, `Profiler` and the autotuner. Out: milliseconds. Every
run, of the warm-up too, starts with caches that hold nothing of the last one. The CPU is timed with
the performance counter; a CUDA device with events, a replayed graph or the profiling interface. It
checks no results.
"""

from __future__ import annotations

import functools
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from tilelang.errors import ArgumentError, TargetError

BACKENDS = ("event", "cupti", "cudagraph")
RETURN_MODES: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min, "max": max, "mean": statistics.fmean, "median": statistics.median,
}  # fmt: skip

_CUDA_FLUSH_BYTES = 256 << 20  # several times the last-level cache of any device so far
_CPU_FLUSH_LIMITS = (32 << 20, 512 << 20)  # bytes
_ESTIMATING_RUNS = 5
_MARK = "tilelang.run."


class BenchmarkError(ArgumentError, AssertionError):
    """A way to time, or to summarise times, that does not exist."""


class Clock(Protocol):
    """Times single runs of a callable."""

    def sample(self, fn: Callable[[], Any], runs: int) -> list[float]:
        """Milliseconds of each of `runs` runs, caches cleared before each."""
        ...


def do_bench(
    fn: Callable[[], Any],
    warmup: float = 25,
    rep: float = 100,
    _n_warmup: int = 0,
    _n_repeat: int = 0,
    quantiles: Sequence[float] | float | None = None,
    fast_flush: bool = True,
    backend: str = "event",
    return_mode: str = "mean",
    *,
    device: object = None,
    early_stop_baseline: float | None = None,
) -> float | list[float]:
    """Milliseconds that `fn()` takes.

    The first call is not timed; five runs then say how many fit into `warmup` and `rep`.

    Args:
        warmup, rep: milliseconds to spend before and while timing; clearing the caches counts.
        _n_warmup, _n_repeat: numbers of runs; when positive, they replace the two.
        quantiles: return these (a list; one alone as a number) instead of `return_mode`.
        fast_flush: element type of the buffer that clears the caches: int32, else int8.
        backend: on a CUDA device `"event"`, `"cudagraph"` (a replayed graph: no launch overhead) or
            `"cupti"` (time inside kernels only). On the CPU `"event"`: the performance counter.
        return_mode: `"min"`, `"max"`, `"mean"` or `"median"`.
        device: `"cpu"` or `"cuda"`; by default CUDA when PyTorch is in use and sees a device.
        early_stop_baseline: milliseconds; when the five runs already take longer on average, their
            result is returned and nothing else is run.

    Raises:
        BenchmarkError: for an unknown backend (as `ValueError`) or return mode (`AssertionError`).
        TargetError: for a CUDA backend without a CUDA device.
    """
    summarise = _summary(quantiles, return_mode)
    if backend not in BACKENDS:
        raise BenchmarkError(f"unknown backend {backend!r}; expected one of {', '.join(BACKENDS)}")
    fn, clock, estimator = _clocks(fn, backend, device, fast_flush)
    fn()
    begin = time.perf_counter()
    first = estimator.sample(fn, _ESTIMATING_RUNS)
    run_ms = (time.perf_counter() - begin) * 1e3 / _ESTIMATING_RUNS
    if early_stop_baseline is not None and statistics.fmean(first) > early_stop_baseline:
        return summarise(first)
    estimator.sample(fn, _runs(_n_warmup, warmup, run_ms))
    return summarise(clock.sample(fn, _runs(_n_repeat, rep, run_ms)))


def _runs(given: int, budget_ms: float, run_ms: float) -> int:
    return given if given > 0 else max(1, int(budget_ms / max(run_ms, 1e-6)))


def _summary(
    quantiles: Sequence[float] | float | None, return_mode: str
) -> Callable[[Sequence[float]], float | list[float]]:
    if return_mode not in RETURN_MODES:
        expected = ", ".join(RETURN_MODES)
        raise BenchmarkError(f"unknown return_mode {return_mode!r}; expected one of {expected}")
    if quantiles is None:
        return RETURN_MODES[return_mode]
    wanted = [quantiles] if isinstance(quantiles, (int, float)) else list(quantiles)
    if not wanted or not all(0 <= q <= 1 for q in wanted):
        raise BenchmarkError(f"quantiles are numbers from 0 to 1; got {wanted}")
    return functools.partial(_quantiles, wanted)


def _quantiles(wanted: Sequence[float], times: Sequence[float]) -> float | list[float]:
    import numpy  # deferred: importing the package must not pay for it

    found = [float(value) for value in numpy.quantile(times, wanted)]
    return found[0] if len(found) == 1 else found


def _clocks(
    fn: Callable[[], Any], backend: str, device: object, fast_flush: bool
) -> tuple[Callable[[], Any], Clock, Clock]:
    """What to run, the clock of the result, and the one of the estimate and the warm-up."""
    if not _on_cuda(device):
        if backend != "event":
            raise TargetError(
                f"backend {backend!r} times a CUDA device, and there is none here",
                hint='backend="event", which times the CPU too',
            )
        cpu = CpuClock(fast_flush)
        return fn, cpu, cpu
    events = EventClock(fast_flush)
    if backend == "cudagraph":
        return _captured(fn), events, events
    return fn, CuptiClock(events.flush) if backend == "cupti" else events, events


def _on_cuda(device: object) -> bool:
    torch = sys.modules.get("torch")  # without PyTorch no one can have given us a CUDA tensor
    if device is None:
        return torch is not None and torch.cuda.is_available()
    if not str(device).startswith("cuda"):
        return False
    if torch is None or not torch.cuda.is_available():
        raise TargetError(f"device {device} was asked for, and PyTorch sees no CUDA device")
    return True


class CpuClock:
    """The performance counter, with a buffer larger than the caches rewritten before each run."""

    def __init__(self, fast_flush: bool = True) -> None:
        self.buffer = _flush_buffer("int32" if fast_flush else "int8")

    def flush(self) -> None:
        """Push everything else out of the caches, those of the other cores included."""
        import numpy

        # Read and write: stores alone may pass the caches by.
        def rewrite(part: Any) -> None:
            numpy.add(part, 1, out=part)

        list(_flush_threads().map(rewrite, numpy.array_split(self.buffer, _num_cores())))

    def sample(self, fn: Callable[[], Any], runs: int) -> list[float]:
        times: list[float] = []
        for _ in range(runs):
            self.flush()
            begin = time.perf_counter_ns()
            fn()
            times.append((time.perf_counter_ns() - begin) / 1e6)
        return times


@functools.lru_cache(maxsize=1)
def _flush_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_num_cores(), thread_name_prefix="tilelang-flush")


@functools.lru_cache(maxsize=2)
def _flush_buffer(element: str) -> Any:
    import numpy

    low, high = _CPU_FLUSH_LIMITS
    size = min(max(2 * last_level_cache_bytes(), low), high)
    return numpy.ones(size // numpy.dtype(element).itemsize, element)  # written: pages are there


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_level_cache_bytes(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Size of the largest cache of the first core; 64 MiB where the system does not say."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes: list[int] = []
    for file in folder.glob("index*/size"):
        text = file.read_text().strip()
        if text[:-1].isdigit():
            sizes.append(int(text[:-1]) * units.get(text[-1], 1))
    return max(sizes, default=64 << 20)


class EventClock:
    """CUDA events around each run, on the current stream."""

    def __init__(self, fast_flush: bool = True) -> None:
        import torch

        element = torch.int32 if fast_flush else torch.int8
        self.torch = torch
        self.buffer = torch.zeros(
            _CUDA_FLUSH_BYTES // element.itemsize, dtype=element, device="cuda"
        )

    def flush(self) -> None:
        """Push everything else out of the device's caches."""
        self.buffer.zero_()

    def sample(self, fn: Callable[[], Any], runs: int) -> list[float]:
        event = functools.partial(self.torch.cuda.Event, enable_timing=True)
        pairs = [(event(), event()) for _ in range(runs)]
        for begin, end in pairs:
            self.flush()
            begin.record()
            fn()
            end.record()
        self.torch.cuda.synchronize()
        return [begin.elapsed_time(end) for begin, end in pairs]


def _captured(fn: Callable[[], Any]) -> Callable[[], Any]:
    """`fn` recorded as a graph; calling the result replays it."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        fn()  # what is set up on first use cannot be recorded
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fn()
    return graph.replay


class CuptiClock:
    """Time spent inside a run's kernels, as the profiling interface records it."""

    def __init__(self, flush: Callable[[], None]) -> None:
        import torch

        self.torch = torch
        self.flush = flush

    def sample(self, fn: Callable[[], Any], runs: int) -> list[float]:
        torch = self.torch
        kinds = torch.profiler.ProfilerActivity
        with (
            warnings.catch_warnings(),
            torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as trace,
        ):
            warnings.simplefilter("ignore", UserWarning)  # that events end with this one cycle
            for i in range(runs):
                # A run's kernels are those that ran while its mark was open, whatever their names.
                self.flush()
                torch.cuda.synchronize()
                with torch.profiler.record_function(f"{_MARK}{i}"):
                    fn()
                    torch.cuda.synchronize()
        return _kernel_times(list(trace.events() or ()), runs)


def _kernel_times(events: Sequence[Any], runs: int) -> list[float]:
    """Milliseconds of the device activities inside each mark; events give microseconds."""
    marks: dict[int, tuple[float, float]] = {}
    activities: list[tuple[float, float]] = []
    for event in events:
        span = (float(event.time_range.start), float(event.time_range.end))
        on_device = event.device_type.name != "CPU"
        if event.name.startswith(_MARK):
            if not on_device:
                marks[int(event.name.removeprefix(_MARK))] = span
        elif on_device:
            activities.append(span)
    if len(marks) != runs:
        raise TargetError(f"the profiling interface recorded {len(marks)} of {runs} runs")
    return [
        sum(end - begin for begin, end in activities if low <= begin <= high) / 1e3
        for low, high in (marks[i] for i in range(runs))
    ]
