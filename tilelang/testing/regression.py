"""Performance records: functions that return milliseconds, run and listed.

In: functions of a user's files. Out: `PerfResult`s, printed as text or JSON as
`TL_PERF_REGRESSION_FORMAT` says; `TL_PERF_REGRESSION_ONLY` names those to run. It compares no runs:
what was measured elsewhere or earlier is a matter of whoever reads the output.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tilelang.env import env
from tilelang.errors import ArgumentTypeError, ConfigError

_FORMATS = ("text", "json")
_collected: ContextVar[list[PerfResult] | None] = ContextVar("collected", default=None)


@dataclass(frozen=True, slots=True)
class PerfResult:
    """How long one function's kernel took.

    Attributes:
        name: what was timed.
        latency: milliseconds.
    """

    name: str
    latency: float


def process_func(
    func: Callable[..., Any], name: str | None = None, /, **kwargs: Any
) -> PerfResult | None:
    """Call `func(**kwargs)` and record the milliseconds it returns, as `name` (its own name).

    Inside `regression` the record is collected; elsewhere it is printed at once.

    Returns:
        The record; `None` when `TL_PERF_REGRESSION_ONLY` leaves it out.

    Raises:
        ArgumentTypeError: when `func` does not return a number.
    """
    label = name or getattr(func, "__name__", type(func).__name__)
    if not _is_wanted(label):
        return None
    return _record(label, func(**kwargs))


def _is_wanted(name: str) -> bool:
    only = [item.strip() for item in env.TL_PERF_REGRESSION_ONLY.split(",")]
    return "all" in only or name in only


def _record(name: str, value: Any) -> PerfResult:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentTypeError(f"{name} must return milliseconds; it returned {value!r}")
    result = PerfResult(name, float(value))
    collected = _collected.get()
    if collected is None:
        _print([result])
    else:
        collected.append(result)
    return result


def regression(prefixes: Sequence[str] = ("regression_",)) -> list[PerfResult]:
    """Run the functions of the calling module whose names begin so, and print what they recorded.

    A function records through `process_func`, or by returning milliseconds.
    """
    caller = sys._getframe(1).f_globals
    return _printed(lambda: _run_functions(dict(caller), tuple(prefixes)))


def regression_all(root: str | Path) -> list[PerfResult]:
    """Run the `regression_` functions of every `regression_*.py` under `root`.

    Raises:
        RuntimeError: at the end, when some of the files failed; it names them.
    """
    failures: list[str] = []

    def run_files() -> None:
        for file in sorted(Path(root).rglob("regression_*.py")):
            try:
                _run_functions(_load(file), ("regression_",))
            except Exception as error:  # one broken file must not hide the others' records
                failures.append(f"{file}: {type(error).__name__}: {error}")

    results = _printed(run_files)
    if failures:
        raise RuntimeError("\n".join(["some performance tests failed", *failures]))
    return results


def _load(file: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None, f"{file} is a Python file"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def _run_functions(names: dict[str, Any], prefixes: tuple[str, ...]) -> None:
    for name, function in names.items():
        own = inspect.isfunction(function) and function.__module__ == names["__name__"]
        if own and name.startswith(prefixes):
            value = function()
            if value is not None and _is_wanted(name):
                _record(name, value)


def _printed(run: Callable[[], None]) -> list[PerfResult]:
    results: list[PerfResult] = []
    token = _collected.set(results)
    try:
        run()
    finally:
        _collected.reset(token)
        _print(results)
    return results


def _print(results: Sequence[PerfResult]) -> None:
    form = env.TL_PERF_REGRESSION_FORMAT
    if form not in _FORMATS:
        raise ConfigError(f"TL_PERF_REGRESSION_FORMAT is {form!r}; expected text or json")
    if form == "json":
        print(json.dumps([asdict(result) for result in results]))
        return
    width = max((len(result.name) for result in results), default=0)
    for result in results:
        print(f"{result.name:<{width}}  {result.latency:.4f} ms")
