"""The platform's 8-bit floating types."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tilelang.errors import ArgumentError
from tilelang.language.fp8 import determine_fp8_type, determine_torch_fp8_type


@pytest.mark.parametrize(
    ("hip", "arch", "e4m3", "e5m2"),
    [
        (None, "", "float8_e4m3fn", "float8_e5m2"),
        ("6.2", "gfx942:sramecc+", "float8_e4m3fnuz", "float8_e5m2fnuz"),
        ("6.4", "gfx950:sramecc+", "float8_e4m3fn", "float8_e5m2"),
        ("6.2", None, "float8_e4m3fnuz", "float8_e5m2fnuz"),
    ],
)
def test_flavour_follows_the_platform(
    monkeypatch: pytest.MonkeyPatch, hip: str | None, arch: str | None, e4m3: str, e5m2: str
) -> None:
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: arch is not None)
    properties = SimpleNamespace(gcnArchName=arch)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert determine_fp8_type() == e4m3
    assert determine_fp8_type("e5m2") == e5m2
    assert determine_torch_fp8_type("e4m3") is getattr(torch, e4m3)


def test_other_formats_are_refused() -> None:
    with pytest.raises(ArgumentError, match="expected 'e4m3' or 'e5m2', got 'e3m4'"):
        determine_fp8_type("e3m4")
