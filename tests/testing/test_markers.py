"""Conditions on tests: skipped where they do not hold, and run where they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tilelang.testing import markers


def is_skipped(marked: Any) -> tuple[bool, str]:
    (mark,) = marked.pytestmark
    assert mark.name == "skipif"
    return bool(mark.args[0]), str(mark.kwargs["reason"])


def sample() -> None:
    """Stands for a test."""


def fresh() -> Callable[[], None]:
    def test() -> None:
        sample()

    return test


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, object], None]:
    def use(cuda: object, rocm: object) -> None:
        monkeypatch.setattr(markers, "cuda_version", lambda: cuda)
        monkeypatch.setattr(markers, "rocm_architecture", lambda: rocm)

    return use


@pytest.mark.parametrize(
    ("name", "cuda", "rocm", "runs"),
    [
        ("requires_cuda", (9, 0), None, True),
        ("requires_cuda", None, "gfx942", False),
        ("requires_rocm", None, "gfx1100", True),
        ("requires_rocm", (9, 0), None, False),
        ("requires_cdna", None, "gfx942", True),
        ("requires_cdna", None, "gfx1100", False),
        ("requires_gfx950", None, "gfx950", True),
        ("requires_gfx950", None, "gfx942", False),
        ("requires_cuda_or_cdna", (8, 0), None, True),
        ("requires_cuda_or_cdna", None, "gfx90a", True),
        ("requires_cuda_or_cdna", None, "gfx1100", False),
    ],
)
def test_devices(
    device: Callable[[object, object], None], name: str, cuda: object, rocm: object, runs: bool
) -> None:
    device(cuda, rocm)
    condition = getattr(markers, name)
    for marked in (condition(fresh()), condition()(fresh())):
        skipped, reason = is_skipped(marked)
        assert skipped is not runs and reason.startswith("needs a")


@pytest.mark.parametrize(
    ("mode", "below", "same", "above"),
    [
        ("ge", False, True, True), ("gt", False, False, True), ("le", True, True, False),
        ("lt", True, False, False), ("eq", False, True, False),
    ],
)  # fmt: skip
def test_compute_versions(
    device: Callable[[object, object], None], mode: str, below: bool, same: bool, above: bool
) -> None:
    for found, runs in (((8, 9), below), ((9, 0), same), ((10, 0), above), (None, False)):
        device(found, None)
        for made in (
            markers.requires_cuda_compute_version(9, 0, mode),
            getattr(markers, f"requires_cuda_compute_version_{mode}")(9),
        ):
            skipped, reason = is_skipped(made(fresh()))
            assert skipped is not runs and "9.0" in reason


def test_an_unknown_mode() -> None:
    with pytest.raises(ValueError, match="unknown mode 'about'"):
        markers.requires_cuda_compute_version(9, 0, "about")


def test_packages() -> None:
    assert not is_skipped(markers.requires_package("numpy", "pytest")(fresh()))[0]
    skipped, reason = is_skipped(markers.requires_package("numpy", "nowhere.at_all")(fresh()))
    assert skipped and reason == "needs the package nowhere.at_all"


def test_llvm_follows_the_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(iter(markers.TARGETS.values()))
    monkeypatch.setattr(markers, "TARGETS", {"c": row})
    assert is_skipped(markers.requires_llvm(fresh()))[0]
    monkeypatch.setattr(markers, "TARGETS", {"c": row, "llvm": row})
    assert not is_skipped(markers.requires_llvm(fresh()))[0]


def test_the_probes_agree_with_pytorch() -> None:
    import torch

    on_cuda = torch.version.cuda is not None and torch.cuda.is_available()
    assert (markers.cuda_version() is not None) == on_cuda
    assert is_skipped(markers.requires_metal(fresh()))[0] != torch.backends.mps.is_available()


@markers.requires_package("nowhere")
class TestConditionsOnClasses:
    def test_is_skipped(self) -> None:
        raise AssertionError("this must not run")
