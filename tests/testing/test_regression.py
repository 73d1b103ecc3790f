"""Performance records: who runs, what is recorded, how it is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tilelang.env import env
from tilelang.errors import ArgumentTypeError, ConfigError
from tilelang.testing import PerfResult, process_func, regression, regression_all


def double(ms: float = 1.5) -> float:
    return 2 * ms


def regression_records_two() -> None:
    process_func(double)
    process_func(double, "larger", ms=4)


def regression_returns() -> float:
    return 0.25


def speed_of_another_kind() -> float:
    return 7.0


ALL = [PerfResult("double", 3.0), PerfResult("larger", 8.0), PerfResult("regression_returns", 0.25)]


def test_functions_of_the_calling_file_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert regression() == ALL
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["double", "3.0000", "ms"]
    assert len({line.index(" ms") for line in lines}) == 1
    assert regression(("speed_",)) == [PerfResult("speed_of_another_kind", 7.0)]


def test_a_record_outside_a_run_is_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert process_func(double, "mine", ms=2) == PerfResult("mine", 4.0)
    assert capsys.readouterr().out == "mine  4.0000 ms\n"


def test_some_can_be_chosen() -> None:
    with env.scope(TL_PERF_REGRESSION_ONLY="larger, regression_returns"):
        assert regression() == ALL[1:]
        assert process_func(double) is None
    with env.scope(TL_PERF_REGRESSION_ONLY="nothing"):
        assert regression() == []


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    with env.scope(TL_PERF_REGRESSION_FORMAT="json"):
        regression()
    found = json.loads(capsys.readouterr().out)
    assert found[0] == {"name": "double", "latency": 3.0} and len(found) == 3


def test_an_unknown_format() -> None:
    with env.scope(TL_PERF_REGRESSION_FORMAT="xml"), pytest.raises(ConfigError, match="'xml'"):
        process_func(double)


@pytest.mark.parametrize("value", [None, "fast", True])
def test_only_numbers_are_records(value: object) -> None:
    with pytest.raises(ArgumentTypeError, match="must return milliseconds"):
        process_func(lambda: value, "mine")


def test_a_folder_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "regression_a.py").write_text("def regression_a(): return 1.0\n")
    (tmp_path / "regression_b.py").write_text("def regression_b(): return 2.0\n")
    (tmp_path / "other.py").write_text("raise RuntimeError('not looked at')\n")
    names = [result.name for result in regression_all(tmp_path)]
    assert sorted(names) == ["regression_a", "regression_b"]
    (tmp_path / "regression_0.py").write_text("1 / 0\n")
    capsys.readouterr()
    with pytest.raises(RuntimeError, match=r"regression_0\.py: ZeroDivisionError"):
        regression_all(tmp_path)
    assert len(capsys.readouterr().out.splitlines()) == 2  # the others are shown all the same
