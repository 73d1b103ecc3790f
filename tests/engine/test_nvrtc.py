"""Compiling CUDA text, its failures, and what the driver layer says on a machine without a GPU."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tilelang.engine import cuda_driver, nvrtc
from tilelang.engine.nvrtc import NvrtcToolchain, parse_usage, source_place
from tilelang.errors import TargetError, ToolchainError

KERNEL = """#include "sync.h"
extern "C" __global__ void twice(float *a) {
  __shared__ float s[64];
  // user.py:2: s[i] = A[i]
  s[threadIdx.x] = a[threadIdx.x];
  // user.py:3: A[i] = 2 * s[i]
  tl_sync_threads();
  a[threadIdx.x] = 2 * s[63 - threadIdx.x];
}
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    nvrtc.clear()
    cuda_driver.clear()
    yield
    nvrtc.clear()
    cuda_driver.clear()


@pytest.fixture
def wheels() -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    try:
        nvrtc.nvrtc_version()
    except ToolchainError as error:
        pytest.skip(error.message)


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "user.py"
    path.write_text("for i in T.Parallel(64):\n    s[i] = A[i]\n    A[i] = 2 * s[i]\n")
    return path


@pytest.mark.usefixtures("wheels")
def test_compiles_to_a_cubin_and_reports_what_it_uses() -> None:
    made = NvrtcToolchain("sm_80").compile(KERNEL)
    assert made.cubin[:4] == b"\x7fELF"
    assert ".target sm_80" in made.ptx
    usage = made.usage()["twice"]
    assert usage.shared_bytes == 256
    assert usage.barriers == 1
    assert 0 < usage.registers < 64
    assert usage.spill_store_bytes == usage.spill_load_bytes == 0


@pytest.mark.usefixtures("wheels")
def test_build_writes_the_file_at_once(tmp_path: Path) -> None:
    output = tmp_path / "made" / "k.cubin"
    NvrtcToolchain("sm_90a").build([KERNEL], output)
    assert output.read_bytes()[:4] == b"\x7fELF"
    assert list(output.parent.iterdir()) == [output]
    with pytest.raises(ToolchainError):
        NvrtcToolchain("sm_90a").build(["nonsense"], tmp_path / "bad.cubin")
    assert not (tmp_path / "bad.cubin").exists()


@pytest.mark.usefixtures("wheels")
def test_user_flags_come_last() -> None:
    text = 'extern "C" __global__ void k(float *a) { a[0] = N; }'
    made = NvrtcToolchain("sm_75").compile(text, ["-DN=1", "-UN", "-DN=7.0f"])
    assert "1088421888" in made.ptx or "0f40E00000" in made.ptx  # 7.0f


@pytest.mark.usefixtures("wheels")
def test_identity_names_version_architecture_and_headers() -> None:
    first, second = NvrtcToolchain("sm_80").identity(), NvrtcToolchain("sm_90a").identity()
    assert first != second
    assert "nvrtc 1" in first
    assert "sm_80" in first


@pytest.mark.usefixtures("wheels")
def test_source_error_is_shown_at_the_users_line(user_file: Path) -> None:
    text = KERNEL.replace("2 * s[63 - threadIdx.x]", "2 * undefined_name")
    with pytest.raises(ToolchainError) as caught:
        NvrtcToolchain("sm_80").compile(text, source_files={"user.py": str(user_file)})
    error = caught.value
    assert error.span is not None
    assert (error.span.file, error.span.line) == (str(user_file), 3)
    message = str(error)
    assert 'identifier "undefined_name" is undefined' in message
    assert "A[i] = 2 * s[i]" in message
    kept = Path(message.split("failed on ")[1].split(":8\n")[0])
    assert kept.read_text() == text


@pytest.mark.usefixtures("wheels")
def test_without_the_users_file_the_line_is_still_named() -> None:
    text = KERNEL.replace("a[threadIdx.x];", "missing[threadIdx.x];", 1)
    with pytest.raises(ToolchainError, match=r"user\.py:2: the CUDA compiler failed"):
        NvrtcToolchain("sm_80").compile(text)


@pytest.mark.usefixtures("wheels")
def test_assembler_error_is_shown_at_the_users_line(user_file: Path) -> None:
    text = KERNEL.replace("tl_sync_threads();", 'asm volatile("no.such.instruction;");')
    with pytest.raises(ToolchainError) as caught:
        NvrtcToolchain("sm_80").compile(text, source_files={"user.py": str(user_file)})
    assert caught.value.span is not None
    assert caught.value.span.line == 3
    assert "no.such.instruction;" in caught.value.message


@pytest.mark.usefixtures("wheels")
def test_instruction_that_the_architecture_lacks_is_found_through_a_header(user_file: Path) -> None:
    text = KERNEL.replace(
        "tl_sync_threads();", 'asm volatile("cp.async.commit_group;" ::: "memory");'
    )
    assert NvrtcToolchain("sm_80").compile(text).cubin
    with pytest.raises(ToolchainError, match="sm_80") as caught:
        NvrtcToolchain("sm_75").compile(text, source_files={"user.py": str(user_file)})
    assert caught.value.span is not None
    assert caught.value.span.line == 3


@pytest.mark.usefixtures("wheels")
def test_unknown_option_names_it_and_blames_the_flags() -> None:
    with pytest.raises(ToolchainError, match="no-such-option") as caught:
        NvrtcToolchain("sm_80").compile(KERNEL, ["--no-such-option"])
    assert caught.value.hint is not None
    assert "--no-such-option" in caught.value.hint


@pytest.mark.usefixtures("wheels")
@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("sm_70", "does not compile for sm_70; it knows sm_75"),
        ("sm_85", "does not compile for sm_85"),
        ("sm_80a", "suffix `a` begins with sm_90"),
        ("sm_90f", "suffix `f` begins with sm_100"),
    ],
)
def test_unsupported_architecture(arch: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        NvrtcToolchain(arch).compile(KERNEL)


@pytest.mark.parametrize("arch", ["hopper", "90a", "sm_", "compute_80"])
def test_word_that_is_no_architecture(arch: str) -> None:
    with pytest.raises(TargetError, match="is no CUDA architecture"):
        NvrtcToolchain(arch)


@pytest.mark.usefixtures("wheels")
def test_threads_compile_at_the_same_time() -> None:
    cubins: dict[int, bytes] = {}

    def work(number: int) -> None:
        text = KERNEL.replace("2 *", f"{number} *")
        cubins[number] = NvrtcToolchain("sm_80").compile(text).cubin

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(cubins.values())) == 4


def _without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name.startswith(missing):
            raise ImportError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_missing_bindings_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "cuda.bindings")
    with pytest.raises(ToolchainError, match="bindings are not installed") as caught:
        NvrtcToolchain("sm_80").compile(KERNEL)
    assert "pip install cuda-bindings nvidia-cuda-nvrtc" in str(caught.value)
    with pytest.raises(TargetError, match="needs the driver's Python bindings") as caught_too:
        cuda_driver.driver()
    assert "pip install cuda-bindings" in str(caught_too.value)


class _NoLibrary:
    """Bindings that find no library when something is called."""

    def __getattr__(self, name: str) -> Any:
        def call(*_args: Any) -> Any:
            raise RuntimeError("library not found")

        return call


def test_missing_libraries_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda *_: _NoLibrary())
    with pytest.raises(ToolchainError, match="NVRTC library, which was not found"):
        nvrtc.nvrtc_version()
    with pytest.raises(TargetError, match="this machine has no CUDA driver"):
        cuda_driver.device_properties()
    assert not cuda_driver.is_available()


class _Code(int):
    name = "CUDA_ERROR_NO_DEVICE"


def test_driver_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bindings:
        @staticmethod
        def cuInit(_flags: int) -> tuple[int]:
            return (_Code(100),)

    monkeypatch.setattr(importlib, "import_module", lambda *_: Bindings)
    with pytest.raises(TargetError, match="does not start: CUDA_ERROR_NO_DEVICE"):
        cuda_driver.device_count()


def test_importing_opens_no_cuda_library() -> None:
    text = (
        "import sys, tilelang.engine.nvrtc, tilelang.engine.cuda_driver\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('cuda', 'torch')])"
    )
    made = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


def test_usage_is_read_from_the_log() -> None:
    log = (
        "ptxas info    : Compiling entry function 'k2' for 'sm_90a'\n"
        "ptxas         .    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n"
        "ptxas info    : Used 168 registers, used 2 barriers, 400 bytes smem\n"
        "ptxas info    : Compiling entry function 'k' for 'sm_90a'\n"
        "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used 8 registers, used 0 barriers\n"
    )
    usage = parse_usage(log)
    assert list(usage) == ["k2", "k"]
    assert usage["k2"] == nvrtc.KernelUsage(168, 8, 12, 16, 400, 2)
    assert usage["k"] == nvrtc.KernelUsage(8, 0, 0, 0, 0, 0)


def test_place_in_the_users_source_is_the_nearest_comment_of_the_same_function() -> None:
    body = "  // a.py:2: y\n  g();\n  // note: other\n  h();\n"
    text = f"// a.py:1: x\nvoid f() {{\n{body}}}\nvoid g() {{\n"
    assert source_place(text, 6) == ("a.py", 2)
    assert source_place(text, 2) == ("a.py", 1)
    assert source_place(text, 8) is None


def test_flags_of_nvcc_are_understood() -> None:
    flags = ["-O3", "--expt-relaxed-constexpr", "-lineinfo", "-DN=4"]
    assert nvrtc.from_nvcc(flags) == ("-Xptxas=-O3", "-lineinfo", "-DN=4")
    text = 'extern "C" __global__ void k(float *x) { x[0] = N; }'
    assert NvrtcToolchain("sm_80").compile(text, flags).cubin
