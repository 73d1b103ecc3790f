"""The command line: `python -m tilelang`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tilelang.__main__ import main
from tilelang.cache import CacheKey, Entry, default_store
from tilelang.env import env


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path) -> Iterator[Path]:
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "cache"), TILELANG_TMP_DIR=""):
        yield tmp_path / "cache"


def save(name: str = "matmul", target: str = "c avx2", age: float = 0) -> Entry:
    parts = [("ir", f"def {name}(A):\n    pass\n"), ("target", target), ("backend", "tvm_ffi")]
    entry = default_store().save(CacheKey.from_parts(parts), {"executable.so": b"x" * 3000}, [])
    moment = time.time() - age
    os.utime(entry.path / "manifest.json", (moment, moment))
    return entry


def test_list_shows_each_entry(capsys: pytest.CaptureFixture[str], cache_dir: Path) -> None:
    older, newer = save("softmax", age=7300), save("matmul")
    assert main(["cache", "list"]) == 0
    first, second, total = capsys.readouterr().out.splitlines()
    assert first.startswith(newer.key[:12]) and "matmul" in first and "c avx2" in first
    assert second.startswith(older.key[:12]) and "2h ago" in second
    assert total.startswith("2 entries") and str(cache_dir) in total


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    entry = save()
    assert main(["cache", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["key"] == entry.key and row["kernel"] == "matmul" and row["complete"] is True


def test_list_names_damage(capsys: pytest.CaptureFixture[str]) -> None:
    entry = save()
    entry.executable.unlink()
    main(["cache", "list"])
    assert "damaged" in capsys.readouterr().out


def test_explain_two_entries(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = save(), save(target="c neon")
    assert main(["cache", "explain", a.key[:10], b.key[:10]]) == 0
    out = capsys.readouterr().out
    assert "differ in target\n" in out and "    - c avx2\n    + c neon" in out
    assert main(["cache", "explain", a.key, a.key]) == 0
    assert "the same parts" in capsys.readouterr().out


def test_explain_the_last_against_its_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    save("other", target="z")
    near = save(target="c neon")
    time.sleep(0.01)
    last = save(target="c avx2")
    assert main(["cache", "explain"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"- {near.key[:12]}") and second.startswith(f"+ {last.key[:12]}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain"], "the cache is empty"),
        (["explain", "0123"], "no entry begins with '0123'"),
        (["explain", "1", "2", "3"], "explain compares two entries"),
        (["clear", "0123"], "no entry begins with '0123'"),
        (["clear", "0123", "--older-than", "1d"], "not both"),
    ],
)
def test_commands_that_cannot_be_done(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_one_entry_has_nothing_to_compare_with(capsys: pytest.CaptureFixture[str]) -> None:
    save()
    assert main(["cache", "explain"]) == 1
    assert "no other entry" in capsys.readouterr().err


def test_an_ambiguous_key(capsys: pytest.CaptureFixture[str]) -> None:
    save("a"), save("b")
    assert main(["cache", "clear", ""]) == 1
    assert "2 entries begin with ''" in capsys.readouterr().err


def test_clear_by_key_by_age_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = save("a"), save("b", age=3 * 86400), save("c")
    assert main(["cache", "clear", a.key[:20]]) == 0 and not a.path.exists()
    assert main(["cache", "clear", "--older-than", "2d"]) == 0 and not b.path.exists()
    assert c.path.exists()
    assert main(["cache", "clear"]) == 0 and not c.path.exists()
    assert capsys.readouterr().out == "removed 1 entries\n" * 3


def test_all_versions(capsys: pytest.CaptureFixture[str], cache_dir: Path) -> None:
    entry = save()
    other = cache_dir / "0.0.1" / "aix-power" / "kernels" / entry.key
    other.parent.mkdir(parents=True)
    entry.path.rename(other)
    main(["cache", "list"])
    main(["cache", "list", "--all"])
    none, _, one = capsys.readouterr().out.splitlines()
    assert none.startswith("0 entries") and one.startswith("1 entries")
    assert main(["cache", "clear", "--all"]) == 0 and not other.exists()


@pytest.mark.parametrize(
    "arguments", [[], ["cache"], ["fly"], ["cache", "clear", "--older-than", "2y"]]
)
def test_senseless_command_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m tilelang" in capsys.readouterr().err


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tilelang", *arguments], env={**os.environ, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_doctor_as_a_program(tmp_path: Path) -> None:
    healthy = run("doctor", TILELANG_CACHE_DIR=str(tmp_path))
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert healthy.stdout.rstrip().endswith("CPU kernels can be compiled and run.")
    sick = run("doctor", "--json", CC="/nowhere/cc", TILELANG_CACHE_DIR=str(tmp_path))
    assert sick.returncode == 1 and json.loads(sick.stdout)["works"] is False


def test_pytorch_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys, tilelang.__main__ as m; m.main(['doctor']); sys.exit('torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TILELANG_CACHE_DIR": str(tmp_path)},
        capture_output=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0
