"""Environment switches: live, typed, overridable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilelang.env import SWITCHES, Environment, env


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, switch in SWITCHES.items():
        monkeypatch.delenv(switch.variable or name, raising=False)
    return monkeypatch


def test_defaults_have_the_declared_type(clean: pytest.MonkeyPatch) -> None:
    fresh = Environment()
    for name, switch in SWITCHES.items():
        assert getattr(fresh, name) == switch.default
        assert isinstance(switch.default, switch.kind), name
        assert switch.meaning and not switch.meaning.endswith("."), "one sentence for the table"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("ON", True), (" yes ", True), ("0", False), ("no", False)],
)
def test_switches_are_read_live(clean: pytest.MonkeyPatch, text: str, value: bool) -> None:
    fresh = Environment()
    clean.setenv("TILELANG_DEBUG", text)
    assert fresh.TILELANG_DEBUG is value
    clean.delenv("TILELANG_DEBUG")
    assert fresh.TILELANG_DEBUG is False
    clean.setenv("TILELANG_DEBUG", "")
    assert fresh.TILELANG_DEBUG is False, "empty is not set"


def test_numbers_and_texts(clean: pytest.MonkeyPatch) -> None:
    fresh = Environment()
    clean.setenv("TILELANG_NUM_THREADS", "3")
    clean.setenv("TILELANG_DUMP_IR", "/tmp/ir")
    assert (fresh.TILELANG_NUM_THREADS, fresh.TILELANG_DUMP_IR) == (3, "/tmp/ir")


def test_assignment_overrides_and_scopes_restore(clean: pytest.MonkeyPatch) -> None:
    fresh = Environment()
    fresh.TILELANG_VERBOSE = True
    with fresh.scope(TILELANG_VERBOSE=False, TILELANG_NUM_THREADS=7):
        assert (fresh.TILELANG_VERBOSE, fresh.TILELANG_NUM_THREADS) == (False, 7)
        with fresh.scope(TILELANG_NUM_THREADS=8):
            assert fresh.TILELANG_NUM_THREADS == 8
        assert fresh.TILELANG_NUM_THREADS == 7
    assert (fresh.TILELANG_VERBOSE, fresh.TILELANG_NUM_THREADS) == (True, 0)


def test_a_failing_scope_restores_too(clean: pytest.MonkeyPatch) -> None:
    fresh = Environment()
    with pytest.raises(KeyError), fresh.scope(TILELANG_DEBUG=True):
        raise KeyError
    assert fresh.TILELANG_DEBUG is False


def test_unknown_names(clean: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttributeError, match="TILELANG_NOTHING"):
        _ = env.TILELANG_NOTHING
    with pytest.raises(AttributeError, match="TILELANG_NOTHING"):
        env.TILELANG_NOTHING = 1
    with pytest.raises(AttributeError), env.scope(TILELANG_NOTHING=1):
        pass


def test_derived_settings(clean: pytest.MonkeyPatch) -> None:
    fresh = Environment()
    assert fresh.cache_dir == Path.home() / ".tilelang" / "cache"
    assert fresh.cache_enabled
    for name in ("TILELANG_DISABLE_CACHE", "TILELANG_NO_CACHE"):
        with fresh.scope(**{name: True}):
            assert not fresh.cache_enabled
    assert fresh.target == "auto"
    with fresh.scope(TILELANG_TARGET="cuda"):
        assert fresh.target == "cuda"
        with fresh.scope(TILELANG_DEFAULT_TARGET="c"):
            assert fresh.target == "c"


def test_the_readme_lists_every_switch() -> None:
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    for name, switch in SWITCHES.items():
        assert f"| `{name}` |" in text, name
        assert switch.meaning in text, name
