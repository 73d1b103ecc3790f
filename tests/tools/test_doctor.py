"""The report about the machine: what is there, what is missing, and whether that matters."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy
import pytest

from tilelang.engine import cuda_driver, toolchain
from tilelang.engine.cuda_driver import DeviceProperties
from tilelang.env import env
from tilelang.tools import doctor
from tilelang.tools.doctor import Finding, Status


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path) -> Iterator[Path]:
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "cache"), TILELANG_NO_CACHE=False):
        yield tmp_path / "cache"
    toolchain.clear()


def found(name: str) -> Finding:
    (finding,) = [f for f in doctor.examine() if f.name == name]
    return finding


def use_compiler(monkeypatch: pytest.MonkeyPatch, path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", str(path))


def test_this_machine_works() -> None:
    findings = doctor.examine()
    assert doctor.works(findings)
    assert found("numpy").found == numpy.__version__
    assert found("compiles and runs").found.startswith("yes")
    assert found("interpreter").found.startswith(sys.version.split()[0])


def test_examining_writes_no_entries(cache_dir: Path) -> None:
    doctor.examine()
    assert not list(cache_dir.rglob("kernels"))


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    findings = doctor.examine()
    assert not doctor.works(findings)
    assert "/nowhere/cc" in found("command").advice
    assert "To be mended: command." in doctor.as_text(findings)


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It answers the questions about itself and fails on any program."""
    script = '#!/bin/sh\ncase "$*" in *-shared*) echo no libraries today >&2; exit 1;; esac\n'
    use_compiler(monkeypatch, tmp_path / "cc", script + 'exec cc "$@"\n')
    finding = doctor.compile_and_run()
    assert finding.status is Status.MISSING and "no libraries today" in finding.advice


def test_a_compiler_whose_libraries_do_not_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = """#!/bin/sh
    case "$*" in *-shared*)
        while [ "$1" != -o ]; do shift; done
        echo "not a library" > "$2"; exit 0;;
    esac
    exec cc "$@"
    """
    use_compiler(monkeypatch, tmp_path / "cc", script)
    finding = doctor.compile_and_run()
    assert finding.status is Status.MISSING and finding.found == "it compiles, but does not run"


def test_a_compiler_with_wrong_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROGRAM", "int tl_doctor(int n, const float *x) { return n; }")
    finding = doctor.compile_and_run()
    assert finding.status is Status.MISSING and "the result was '100'" in finding.advice


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    original = metadata.version

    def version(name: str) -> str:
        if name in ("apache-tvm-ffi", "torch"):
            raise metadata.PackageNotFoundError(name)
        return original(name)

    monkeypatch.setattr(metadata, "version", version)
    needed, optional = found("apache-tvm-ffi"), found("torch")
    assert needed.status is Status.MISSING and "pip install apache-tvm-ffi" in needed.advice
    assert optional.status is Status.OPTIONAL and "optional: pip install torch" in optional.advice
    assert not doctor.works([needed]) and doctor.works([optional])


def test_cuda_parts_are_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cuda_driver", lambda: None)
    monkeypatch.setattr(doctor, "_NVRTC", ())
    for name in ("driver", "NVRTC"):
        assert found(name).status is Status.OPTIONAL
        assert found(name).found == "not found" and found(name).advice.startswith("optional: ")


def test_nvrtc_compiles_without_a_gpu() -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    assert found("compiles kernels").found.startswith("yes, for sm_")


def test_devices_and_a_driver_older_than_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    gpu = DeviceProperties(0, "A GPU", (9, 0), 132, 32, 1024, 232448, 1, 1, 1, 1, 141 * 10**9)
    monkeypatch.setattr(doctor, "cuda_driver", lambda: "CUDA 12.4, 1 device")
    monkeypatch.setattr(cuda_driver, "device_count", lambda: 1)
    monkeypatch.setattr(cuda_driver, "device_properties", lambda ordinal: gpu)
    monkeypatch.setattr(cuda_driver, "driver_version", lambda: (12, 4))
    monkeypatch.setattr("tilelang.engine.nvrtc.nvrtc_version", lambda: (13, 0))
    assert found("device 0").found == (
        "A GPU, sm_90a, 132 multiprocessors, 141 GB, 232448 bytes of shared memory per block"
    )
    both = found("driver and NVRTC")
    assert both.status is Status.WARNING
    assert both.found == "CUDA 12.4 driver, NVRTC 13.0"


def test_a_cache_that_cannot_be_used() -> None:
    assert found("usable").found == "yes"
    with env.scope(TILELANG_CACHE_DIR=str(Path(__file__))):
        toolchain.clear()
        usable = found("usable")
    assert usable.status is Status.WARNING and "set TILELANG_CACHE_DIR" in usable.advice
    assert doctor.works([usable])


def test_a_cache_that_is_off() -> None:
    with env.scope(TILELANG_NO_CACHE=True):
        assert found("folder").found.endswith(", switched off")


def test_threads_follow_the_switch() -> None:
    with env.scope(TILELANG_NUM_THREADS=3):
        assert found("threads of a kernel").found == "3 (TILELANG_NUM_THREADS)"


def test_switches_in_use_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELANG_VERBOSE", "1")
    assert found("TILELANG_VERBOSE").found == "1"


def test_text_is_aligned() -> None:
    findings = doctor.examine()
    lines = doctor.as_text(findings).splitlines()
    rows = [line for line in lines if line.startswith("  ")]
    assert len(rows) == len(findings)
    column = 4 + max(len(f.name) for f in findings) + 2
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in rows)
    assert lines[-1] == "CPU kernels can be compiled and run."


def test_json_has_the_same_findings() -> None:
    findings = doctor.examine()
    report = json.loads(doctor.as_json(findings))
    assert report["works"] is True
    assert [row["name"] for row in report["findings"]] == [f.name for f in findings]
