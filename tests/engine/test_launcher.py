"""The library that serves every plain CUDA function: built once, wherever that can be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.codegen.cuda_host import IMAGE, FakeDriver, aligned, on_cuda, scale
from tilelang.codegen.host_table import launch_table
from tilelang.engine import launcher
from tilelang.engine.toolchain import CToolchain
from tilelang.env import env
from tilelang.errors import ToolchainError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path) -> Iterator[Path]:
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "cache")):
        yield tmp_path / "cache"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were built."""
    seen: list[Path] = []
    build = CToolchain.build

    def counted(self: CToolchain, sources: Any, output: Path, flags: Any = ()) -> None:
        build(self, sources, output, flags)
        seen.append(output)

    monkeypatch.setattr(CToolchain, "build", counted)
    return seen


def test_it_is_built_once_however_many_ask(builds: list[Path], own_cache: Path) -> None:
    launcher.prepare_in_background(["-O0"])
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: launcher.prepare_launcher(["-O0"]), range(4)))
    assert found == {launcher.prepare_launcher(["-O0"])} == set(builds)
    assert len(builds) == 1
    assert builds[0].parent == own_cache / "runtime"


def test_other_flags_are_another_library(builds: list[Path]) -> None:
    assert launcher.prepare_launcher(["-O0"]) != launcher.prepare_launcher(["-O0", "-DOTHER"])
    assert len(builds) == 2


def test_a_cache_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, builds: list[Path], own_cache: Path
) -> None:
    own_cache.write_text("a file where the folder would be")
    first = launcher.prepare_launcher(["-O0", "-DUNWRITABLE"])
    assert first.is_file()
    assert launcher.prepare_launcher(["-O0", "-DUNWRITABLE"]) == first
    assert len(builds) == 1


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the background that says nothing; who needs the library hears of it."""

    def none() -> Any:
        raise ToolchainError("no C compiler found")

    monkeypatch.setattr("tilelang.engine.toolchain.find_compiler_command", none)
    launcher.prepare_in_background()
    with pytest.raises(ToolchainError, match="no C compiler found"):
        launcher.prepare_launcher()


def test_functions_of_one_library_are_independent(tmp_path: Path) -> None:
    """Each has its own kernels; a function outlives the table that it was made from."""
    driver = FakeDriver(tmp_path)
    path = launcher.open_launcher(["-O0", f'-DTL_CUDA_LIBRARY="{driver.path}"'])
    func = scale()
    made = []
    for arch in ("sm_80", "sm_90a"):
        table = launch_table(func, func, arch)
        assert table is not None
        made.append(launcher.make_function(path, bytes(bytearray(table)), IMAGE))
    for kernel in (*made, made[0]):
        kernel(on_cuda(aligned(5)), on_cuda(aligned(5)), 1.0)
    assert len(driver.log("cuModuleLoadData")) == 2
    assert len(driver.log("cuLaunchKernel")) == 3
    del kernel
    made.pop()  # frees what the library keeps for it
    made[0](on_cuda(aligned(5)), on_cuda(aligned(5)), 1.0)
    assert len(driver.log("cuLaunchKernel")) == 4


def test_it_is_begun_once_for_each_cache_and_over_when_the_process_forks(
    builds: list[Path], own_cache: Path
) -> None:
    for _ in range(3):
        launcher.prepare_in_background(["-O0"])
    launcher.finish()
    assert [b.parent for b in builds] == [own_cache / "runtime"]
    with env.scope(TILELANG_CACHE_DIR=str(own_cache / "other")):
        launcher.prepare_in_background(["-O0"])
        child = os.fork() if hasattr(os, "fork") else None
        if child == 0:  # its lock is free, and the library is there
            os._exit(0 if launcher.prepare_launcher(["-O0"]).is_file() else 1)
    assert child is None or os.waitpid(child, 0)[1] == 0
    assert len(builds) == 2
