"""Kernels for CUDA, compiled and kept on a machine without a GPU."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.codegen.cuda_host import FakeDriver, aligned, on_cuda
from tilelang import cache
from tilelang.engine import cuda_build, cuda_driver
from tilelang.engine.cuda_build import CudaModule
from tilelang.env import env
from tilelang.errors import TargetError, ToolchainError
from tilelang.jit.compile import clear_memory
from tilelang.jit.kernel import resolve_backend
from tilelang.target.target import Target

pytest.importorskip("cuda.bindings.nvrtc")

SM_80 = "cuda -arch=sm_80"


def axpy(block: int = 256) -> Any:
    n = T.dynamic("n")

    @T.prim_func
    def axpy(X: T.Tensor((n,), "float32"), Y: T.Tensor((n,), "float32"), a: T.float32):
        with T.Kernel(T.ceildiv(n, block), threads=128) as b:
            for i in T.Parallel(block):
                Y[b * block + i] = a * X[b * block + i] + Y[b * block + i]

    return axpy


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path) -> Iterator[None]:
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "cache")):
        cache.clear_cache()
        yield
        cache.clear_cache()


def made(backend: str = "tvm_ffi", **options: Any) -> Any:
    return tilelang.compile(axpy(), target=SM_80, execution_backend=backend, **options)


def test_sources() -> None:
    ffi, python = made("tvm_ffi"), made("nvrtc")
    assert ffi.get_kernel_source() == python.get_kernel_source()
    assert 'extern "C" __global__' in ffi.get_kernel_source()
    assert "static int32_t axpy_run(" in ffi.get_host_source()
    assert "def launch(" in python.get_host_source()
    assert ".cu" in ffi.target.row.source_suffix


@pytest.mark.parametrize("backend", ["tvm_ffi", "nvrtc"])
class TestCache:
    def test_a_kernel_is_found_again(self, backend: str) -> None:
        first = made(backend)
        clear_memory()
        second = made(backend)
        assert first.artifact is not None
        assert second.artifact is None
        assert first.get_kernel_source(False) == second.get_kernel_source(False)
        assert first.adapter.binaries().keys() == second.adapter.binaries().keys()

    def test_the_cubin_lies_beside_the_text(self, backend: str) -> None:
        made(backend)
        (entry,) = cache.default_store().list()
        names = {file.name for file in entry.path.iterdir()}
        assert {"kernel.cubin", "device_kernel.cu"} <= names
        assert ("executable.so" in names) == (backend == "tvm_ffi")
        assert (entry.path / "kernel.cubin").read_bytes().startswith(b"\x7fELF")

    def test_a_damaged_cubin_is_compiled_again(self, backend: str) -> None:
        made(backend)
        (entry,) = cache.default_store().list()
        (entry.path / "kernel.cubin").write_bytes(b"rubbish")
        clear_memory()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cache.CacheWarning)  # once per process
            again = made(backend)
        assert again.artifact is not None
        assert again.adapter.binaries()["kernel.cubin"].startswith(b"\x7fELF")


def test_backends_do_not_share_entries() -> None:
    made("tvm_ffi")
    assert made("nvrtc").artifact is not None


def test_a_cached_kernel_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library of the entry is handed its kernels from beside it."""
    driver = FakeDriver(tmp_path)
    flags = (*cuda_build._HOST_FLAGS, f'-DTL_CUDA_LIBRARY="{driver.path}"')
    monkeypatch.setattr(cuda_build, "_HOST_FLAGS", flags)
    for _ in range(2):
        kernel = made()
        kernel(on_cuda(aligned(1000)), on_cuda(aligned(1000)), 1.0)
        clear_memory()
    assert len(driver.log("cuModuleLoadData")) == 2
    assert all("(4 1 1) (128 1 1)" in line for line in driver.log("cuLaunchKernel"))


def test_an_exported_library_carries_its_kernels(tmp_path: Path) -> None:
    import tvm_ffi

    path = tmp_path / "lib" / "axpy.so"
    kernel = made()
    kernel.export_library(str(path))
    module = kernel.adapter.rt_mod
    assert isinstance(module, CudaModule)
    assert module.cubin is not None
    assert module.cubin in path.read_bytes()
    assert not hasattr(ctypes.CDLL(str(path)), "tl_set_image")
    assert tvm_ffi.load_module(str(path)).get_function("axpy") is not None
    reopened = type(kernel.adapter).from_database(
        kernel.params, None, SM_80, kernel.prim_func, kernel.get_host_source(),
        kernel.get_kernel_source(), str(path),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"expected float32\[n\] on cuda, got float32\[4\] on cpu"):
        reopened.func(np.zeros(4, np.float32), np.zeros(4, np.float32), 1.0)


def test_c_library(tmp_path: Path) -> None:
    made().export_c_library(str(tmp_path / "axpy.so"), str(tmp_path / "axpy.h"))
    header = (tmp_path / "axpy.h").read_text(encoding="utf-8")
    assert "int call(void *X, void *Y, float a, int32_t n, void *stream);" in header
    library = ctypes.CDLL(str(tmp_path / "axpy.so"))
    library.get_last_error.restype = ctypes.c_char_p
    if not cuda_driver.is_available():
        assert library.init() == -1
        assert library.get_last_error().startswith(b"this machine has no CUDA driver")


def test_the_backend_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_backend("auto", Target(SM_80)) == "tvm_ffi"

    def no_compiler() -> Any:
        raise ToolchainError("no C compiler found")

    monkeypatch.setattr("tilelang.jit.adapter.base.find_compiler_command", no_compiler)
    assert resolve_backend("auto", Target(SM_80)) == "nvrtc"
    with pytest.raises(TargetError, match="'cython' does not run target `cuda`"):
        resolve_backend("cython", Target(SM_80))


def test_no_host_compiler_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler() -> Any:
        raise ToolchainError("no C compiler found")

    monkeypatch.setattr("tilelang.jit.adapter.base.find_compiler_command", no_compiler)
    monkeypatch.setattr("tilelang.engine.toolchain.find_compiler_command", no_compiler)
    kernel = tilelang.compile(axpy(), target=SM_80)
    assert kernel.execution_backend == "nvrtc"


def test_failure_of_nvrtc_is_at_the_users_line() -> None:
    @T.prim_func
    def broken(A: T.Tensor((128,), "float32")):
        with T.Kernel(1, threads=128):
            T.import_source("__device__ float undefined_here(float x) { return nothing(x); }")
            for i in T.Parallel(128):
                A[i] = T.call_extern("float32", "undefined_here", A[i])

    for backend in ("tvm_ffi", "nvrtc"):
        with pytest.raises(ToolchainError) as caught:
            tilelang.compile(broken, target=SM_80, execution_backend=backend)
        assert 'identifier "nothing" is undefined' in str(caught.value)


def test_imported_source_with_short_names_of_types() -> None:
    text = """template <typename T> __device__ void halve(T *x) {
        uint *words = reinterpret_cast<uint *>(x);
        words[0] >>= 1;
    }"""

    @T.prim_func
    def halves(A: T.Tensor((32,), "uint32")):
        with T.Kernel(1, threads=32):
            tx, word = T.get_thread_binding(), T.alloc_local((1,), "uint32")
            T.import_source(text)
            word[0] = A[tx]
            T.call_extern("halve", T.address_of(word[0]), dtype="handle")
            A[tx] = word[0]

    assert "halve(word)" in tilelang.compile(halves, target=SM_80).get_kernel_source()


def test_flags_reach_nvrtc() -> None:
    fast = made(pass_configs={"tl.enable_fast_math": True}, compile_flags=["-DSOMETHING=1"])
    assert {"--use_fast_math", "-DSOMETHING=1"} <= set(fast.adapter.rt_mod.compiled.options)


@pytest.mark.parametrize("backend", ["tvm_ffi", "nvrtc"])
def test_ptx_is_shown_also_of_a_kernel_from_the_cache(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        made(backend).show_ptx()
        assert ".entry axpy_kernel" in capsys.readouterr().out
        clear_memory()


def test_par_compile() -> None:
    kernels = tilelang.par_compile([axpy(b) for b in (128, 256, 512)], target=SM_80)
    assert [k.prim_func.name for k in kernels if k is not None] == ["axpy"] * 3
    assert len({k.get_kernel_source() for k in kernels if k is not None}) == 3


def test_architecture_that_is_not_supported() -> None:
    with pytest.raises(TargetError, match="sm_60"):
        tilelang.compile(axpy(), target="cuda -arch=sm_60")


@pytest.mark.parametrize("backend", ["tvm_ffi", "nvrtc"])
def test_lines_for_profilers(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = made(backend, pass_configs={"tl.emit_line_directives": True})
    text = Path(__file__).read_text("utf-8").splitlines()
    users = next(n for n, line in enumerate(text, 1) if "Y[b * block + i] = a *" in line)
    assert f'#line {users} "{__file__}"' in kernel.get_kernel_source()
    if backend == "tvm_ffi":  # whose module keeps what NVRTC was told
        assert "-lineinfo" in kernel.adapter.rt_mod.compiled.options
    kernel.show_ptx()
    listing = capsys.readouterr().out
    files = [line.split() for line in listing.splitlines() if line.lstrip().startswith(".file")]
    number = next(words[1] for words in files if words[2].strip('",') == __file__)
    assert f".loc\t{number} {users} " in listing
    plain = made(backend)
    assert "#line" not in plain.get_kernel_source()
