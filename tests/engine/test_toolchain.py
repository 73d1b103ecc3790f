from __future__ import annotations

import ctypes
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tilelang.engine import toolchain
from tilelang.engine.toolchain import CpuFeatures, CToolchain, find_compiler
from tilelang.env import env
from tilelang.errors import ToolchainError

X86_V4 = [
    "__AVX512F__",
    "__AVX512BW__",
    "__AVX512DQ__",
    "__AVX512VL__",
    "__AVX2__",
    "__AVX__",
    "__FMA__",
]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Iterator[None]:
    toolchain.clear()
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "cache")):
        yield
    toolchain.clear()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_build_makes_a_library_that_runs(tmp_path: Path) -> None:
    sources = [
        "int twice(int x) { return 2 * x; }",
        "int twice(int); int four(int x) { return twice(twice(x)); }",
    ]
    CToolchain().build(sources, tmp_path / "a.so")
    assert ctypes.CDLL(str(tmp_path / "a.so")).four(5) == 20
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["a.so"]


def test_user_flags_come_last(tmp_path: Path) -> None:
    CToolchain().build(["int f(void) { return N; }"], tmp_path / "a.so", ["-DN=1", "-UN", "-DN=7"])
    assert ctypes.CDLL(str(tmp_path / "a.so")).f() == 7


def test_failure_shows_output_command_and_kept_source(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError) as caught:
        CToolchain().build(["int f(void) { return missing_name; }"], tmp_path / "a.so", ["-DX"])
    text = caught.value.message
    assert "missing_name" in text and "command: " in text and "-DX" in text
    kept = Path(next(word.rstrip(":") for word in text.split() if word.endswith("a.c")))
    assert kept.read_text() == "int f(void) { return missing_name; }"
    assert not (tmp_path / "a.so").exists()
    shutil.rmtree(kept.parent)


def test_failure_leaves_an_earlier_library_alone(tmp_path: Path) -> None:
    CToolchain().build(["int f(void) { return 1; }"], tmp_path / "a.so")
    before = (tmp_path / "a.so").read_bytes()
    with pytest.raises(ToolchainError):
        CToolchain().build(["syntax error"], tmp_path / "a.so")
    assert (tmp_path / "a.so").read_bytes() == before


def test_no_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "_zig_executable", lambda: None)
    with pytest.raises(ToolchainError) as caught:
        find_compiler()
    assert caught.value.message == (
        "no C compiler found: install gcc or clang, or `pip install ziglang`, or set $CC to one"
    )


def test_cc_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    with pytest.raises(ToolchainError, match=r"named by \$CC, `no-such-compiler`, was not found"):
        find_compiler()


def test_cc_that_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", script(tmp_path / "bad", "echo no licence >&2; exit 3"))
    with pytest.raises(ToolchainError, match="does not run: no licence"):
        find_compiler()


def test_cc_wins_and_keeps_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    wrapper = script(tmp_path / "my cc", f'exec {real} "$@"')
    monkeypatch.setenv("CC", f"'{wrapper}' -DTWO=2")
    assert find_compiler().command == (wrapper, "-DTWO=2")
    CToolchain().build(["int f(void) { return TWO; }"], tmp_path / "a.so")
    assert ctypes.CDLL(str(tmp_path / "a.so")).f() == 2


def test_search_order_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("clang", "gcc", "cc"):
        path = script(tmp_path / name, "exit 1")
        assert toolchain.find_compiler_command() == (path,)


def test_probe_is_asked_once_per_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = find_compiler()
    toolchain.clear()

    def refuse(command: object) -> object:
        raise AssertionError(f"started {command}")

    monkeypatch.setattr(toolchain, "_run", refuse)
    start = time.perf_counter()
    assert find_compiler() == first
    assert time.perf_counter() - start < 0.05


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"features": {}}', '{"version": 1}'])
def test_damaged_probe_file_is_asked_again(damage: str) -> None:
    first = find_compiler()
    (file,) = (env.cache_dir / "toolchain").iterdir()
    file.write_text(damage)
    toolchain.clear()
    assert find_compiler() == first
    toolchain.clear()
    assert find_compiler() == first


def test_unwritable_cache_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "file")):
        assert find_compiler().features.vector_bytes >= 16


def test_identity_names_what_decides_the_binary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain = CToolchain().identity()
    assert find_compiler().version in plain and "-O3" in plain
    assert CToolchain().identity() == plain
    real = shutil.which("cc") or "cc"
    monkeypatch.setenv("CC", f"{real} -fno-builtin")
    assert CToolchain().identity() != plain


def test_compiler_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", script(tmp_path / "slow", "exec sleep 20"))
    with (
        env.scope(TILELANG_COMPILE_TIMEOUT_SECONDS=1),
        pytest.raises(ToolchainError, match="took more than 1 seconds"),
    ):
        find_compiler()


@pytest.mark.parametrize(
    ("macros", "isa", "vector_bytes", "fma"),
    [
        ([], "portable", 16, False),
        (["__AVX__"], "portable", 32, False),
        (["__AVX__", "__AVX2__", "__FMA__", "__F16C__"], "avx2", 32, True),
        (X86_V4, "avx512", 64, True),
        (X86_V4[1:], "avx2", 32, True),
        (["__ARM_NEON", "__aarch64__", "__ARM_FEATURE_FMA"], "neon", 16, True),
    ],
)
def test_features_from_macros(macros: list[str], isa: str, vector_bytes: int, fma: bool) -> None:
    features = CpuFeatures.from_macros(macros)
    assert (features.isa, features.vector_bytes, features.has_fma) == (isa, vector_bytes, fma)


def test_matrix_extensions_need_their_base() -> None:
    extras = ["__AVX512BF16__", "__AVX512VNNI__", "__AVX512FP16__"]
    full, bare = CpuFeatures.from_macros([*X86_V4, *extras]), CpuFeatures.from_macros(extras)
    assert full.avx512_bf16 and full.avx512_vnni and full.avx512_fp16
    assert not (bare.avx512_bf16 or bare.avx512_vnni or bare.avx512_fp16)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not os.path.exists("/proc/cpuinfo"),
    reason="reads x86 flags",
)
def test_features_agree_with_the_processor() -> None:
    flags = next(
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
    ).split()
    features = find_compiler().features
    assert (features.isa == "avx512") <= ("avx512vl" in flags)
    assert (features.isa in ("avx512", "avx2")) == ("avx2" in flags and "fma" in flags)
    assert features.avx512_vnni <= ("avx512_vnni" in flags)


def test_headers_digest_follows_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text("1")
    first = toolchain.headers_digest(tmp_path)
    toolchain.clear()
    assert toolchain.headers_digest(tmp_path) == first
    (tmp_path / "a.h").write_text("2")
    toolchain.clear()
    assert toolchain.headers_digest(tmp_path) != first


def test_headers_digest_follows_what_all_targets_include(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "scalar").mkdir()
    monkeypatch.setattr(toolchain, "SCALAR_HEADERS", tmp_path / "scalar")
    seen: list[str] = []
    for text in ("1", "2", "1"):
        (tmp_path / "scalar" / "a.h").write_text(text)
        toolchain.clear()
        seen.append(toolchain.headers_digest(tmp_path / "c"))
    toolchain.clear()
    assert seen[0] == seen[2] != seen[1]


def test_import_is_light() -> None:
    modules = ("codegen.host_c", "engine.toolchain", "engine.runtime", "engine.param")
    imports = ", ".join(f"tilelang.{m}" for m in modules)
    code = f"import sys, {imports}; print(*{{'torch', 'tvm_ffi', 'numpy'}} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""
