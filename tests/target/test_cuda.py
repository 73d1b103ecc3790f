"""The row of the target `cuda`: architectures, limits, and what is asked of the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tilelang.errors import TargetError
from tilelang.target import TARGETS, Target, cuda, determine_target
from tilelang.target.target import load


def test_the_row_names_things_that_exist() -> None:
    row = TARGETS["cuda"]
    for path in (row.printer, row.toolchain, row.builder, row.probe):
        assert path is not None and callable(load(path))
    assert row.backends == ("tvm_ffi", "nvrtc") and row.warp_size == 32


@pytest.mark.parametrize(
    ("spec", "arch", "shared_bytes"),
    [
        ("cuda -arch=sm_75", "sm_75", 65536), ("cuda -arch=sm_80", "sm_80", 166912),
        ("cuda -arch=sm_86", "sm_86", 101376), ("cuda -arch=sm_89", "sm_89", 101376),
        ("cuda -arch=sm_90", "sm_90a", 232448), ("cuda -arch=sm_90a", "sm_90a", 232448),
        ("cuda -arch=sm_100f", "sm_100f", 232448), ("cuda -arch=9.0", "sm_90a", 232448),
        ("cuda -arch=compute_89", "sm_89", 101376), ("cuda", cuda.DEFAULT_ARCH, 166912),
    ],
)  # fmt: skip
def test_architectures(spec: str, arch: str, shared_bytes: int) -> None:
    target = Target(spec)
    assert cuda.compile_arch(target) == arch
    assert cuda.max_shared_bytes(target) == shared_bytes


@pytest.mark.parametrize("arch", ["sm_70", "sm_999", "ampere", "", "sm_", "sm_90b"])
def test_an_unsupported_architecture_lists_the_supported_ones(arch: str) -> None:
    with pytest.raises(TargetError, match="sm_75, sm_80") as caught:
        cuda.compile_arch(Target({"kind": "cuda", "arch": arch or "none"}))
    assert arch in str(caught.value)


def test_the_limit_that_a_driver_reports_is_in_the_table() -> None:
    assert max(cuda.MAX_SHARED_BYTES.values()) == TARGETS["cuda"].max_shared_bytes
    assert all(n % 1024 == 0 for n in cuda.MAX_SHARED_BYTES.values())


def test_a_device_decides_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "has_driver_library", lambda: True)
    monkeypatch.setattr("tilelang.engine.cuda_driver.is_available", lambda: True)

    class Hopper:
        arch = "sm_90a"

    monkeypatch.setattr("tilelang.engine.cuda_driver.device_properties", lambda ordinal: Hopper)
    assert str(determine_target("cuda")) == "cuda -arch=sm_90a"
    assert determine_target("cuda -arch=sm_80").arch == "sm_80"
    assert determine_target("auto").kind == "cuda"


def test_without_a_driver_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "has_driver_library", lambda: False)
    assert cuda.device_options() is None
    assert determine_target("auto").kind == "c"
    assert determine_target("cuda").option("arch") is None


def test_asking_for_a_device_imports_no_torch() -> None:
    code = (
        "import sys; from tilelang.target.cuda import device_options; device_options();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
