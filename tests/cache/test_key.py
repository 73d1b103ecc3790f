"""The key: a function of its parts, and of each of them."""

from __future__ import annotations

import enum
import inspect
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilelang.cache import CacheKey, cache_key, package_digest, package_version
from tilelang.cache.key import clear, describe, stable_text
from tilelang.env import env
from tilelang.errors import ConfigError

MakeKey = Callable[..., CacheKey]

CHANGED = {
    "ir": "def other(A):\n    pass\n",
    "target": "c neon",
    "backend": "cython",
    "compiler": "clang 18",
    "headers": "0124",
    "version": "1.1",
    "package": "abce",
    "target_host": "c",
    "pass_configs": {"tl.Simplify": False},
    "out_idx": [1],
    "flags": ["-g"],
}


class Option(str, enum.Enum):
    SIMPLIFY = "tl.Simplify"


def test_equal_parts_equal_key(key: MakeKey) -> None:
    assert key().digest == key().digest
    assert len(key().digest) == 64


@pytest.mark.parametrize("part", CHANGED)
def test_every_part_counts(key: MakeKey, part: str) -> None:
    changed = key(**{part: CHANGED[part]})
    assert changed.digest != key().digest
    assert [n for n, text in changed.parts if key().as_dict()[n] != text] == [part]


def test_every_argument_is_a_part(key: MakeKey) -> None:
    assert set(inspect.signature(cache_key).parameters) == set(key().as_dict()) == set(CHANGED)


def test_order_of_configuration_does_not_count(key: MakeKey) -> None:
    a = key(pass_configs={"x": 1, "y": {"p": 2, "q": 3}})
    b = key(pass_configs={"y": {"q": 3, "p": 2}, "x": 1})
    assert a.digest == b.digest


def test_enum_members_and_their_values_are_one(key: MakeKey) -> None:
    a = key(pass_configs={Option.SIMPLIFY: True})
    b = key(pass_configs={"tl.Simplify": True})
    assert a.digest == b.digest


def test_integer_out_idx_is_a_list_of_one(key: MakeKey) -> None:
    assert key(out_idx=-1).digest == key(out_idx=[-1]).digest == key(out_idx=(-1,)).digest
    assert key(out_idx=None).digest != key(out_idx=[]).digest


def test_kinds_of_values_stay_apart() -> None:
    texts = [stable_text(v) for v in (1, True, "1", 1.0, None, [1], {"1": 1}, "", [])]
    assert len(set(texts)) == len(texts)


@given(st.lists(st.tuples(st.text(), st.text()), max_size=4), st.data())
def test_borders_between_parts_count(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.tuples(st.text(), st.text()), max_size=4))
    same = CacheKey.from_parts(parts).digest == CacheKey.from_parts(other).digest
    assert same == (parts == other)


def test_borders_between_name_and_text() -> None:
    assert CacheKey.from_parts([("a", "bc")]) != CacheKey.from_parts([("ab", "c")])


@pytest.mark.parametrize("value", [object(), lambda: 1, {"a": {1, object}}])
def test_values_without_a_text_of_their_own_are_refused(key: MakeKey, value: object) -> None:
    with pytest.raises(ConfigError, match="pass configuration holds"):
        key(pass_configs={"x": value})


def test_configuration_keys_are_text(key: MakeKey) -> None:
    with pytest.raises(ConfigError, match="has the key 3"):
        key(pass_configs={3: True})


def test_sets_do_not_depend_on_the_process() -> None:
    code = "from tilelang.cache.key import stable_text as s; print(s({'b', 'a', 'c', 'dd'}))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert texts == {'["a","b","c","dd"]\n'}


def test_debug_prints_the_parts(key: MakeKey, capsys: pytest.CaptureFixture[str]) -> None:
    with env.scope(TILELANG_DEBUG=True):
        made = key(target="c special")
    shown = capsys.readouterr().err
    assert made.digest in shown and "c special" in shown
    key()
    assert capsys.readouterr().err == ""


def test_describe_shortens_the_program(key: MakeKey) -> None:
    made = key(ir="def f():\n" + "    x\n" * 1000)
    assert len(describe(made).splitlines()) == 1 + len(made.parts)


def test_package_digest_follows_the_compiler_alone(tmp_path: Path) -> None:
    files = ("ir/a.py", "device/c/x.h", "tools/plot.py", "ir/__pycache__/a.pyc", "README.md")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    digests = []
    for name in (None, *files):
        if name is not None:
            (tmp_path / name).write_text("new")
        clear()
        digests.append(package_digest(tmp_path))
    changes = [a != b for a, b in itertools.pairwise(digests)]
    assert changes == [True, True, False, False, False]


def test_package_has_a_version() -> None:
    assert package_version()[0].isdigit()
