"""The host side of CUDA, run against a driver that writes down what it is asked to do.

Once as compiled text, and once as a table wherever a function's host side can be one.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import tvm_ffi

from tests.codegen.cuda_host import (
    FakeDriver,
    aligned,
    build,
    build_table,
    launch,
    on_cuda,
    scale,
    store,
)
from tilelang.codegen.host_cuda import plain_interface, print_host
from tilelang.engine.runtime import Executable, Module
from tilelang.ir import stmt as S
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Call, Var, as_expr
from tilelang.ir.func import PrimFunc


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    return FakeDriver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def driver(fake: FakeDriver) -> Iterator[FakeDriver]:
    fake.reset()
    fake.library.fake_make_current(0)
    yield fake
    fake.reset()
    fake.library.fake_make_current(0)


@pytest.fixture(autouse=True, params=["text", "table"])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which form of the host side `made` gives."""
    form: str = request.param
    monkeypatch.setattr(f"{__name__}.made", build if form == "text" else build_table)
    return form


def made(func: PrimFunc, driver: str) -> Module:
    raise AssertionError("the fixture replaces this")


def built(func: PrimFunc, driver: FakeDriver) -> Executable:
    return made(func, str(driver.path))[func.name]


def call_scale(kernel: Executable, count: int = 300, device: int = 0) -> None:
    A, B = aligned(count), aligned(count)
    kernel(on_cuda(A, device), on_cuda(B, device), 2.0)


def error(kind: type[Exception], kernel: Any, *args: Any) -> str:
    with pytest.raises(kind) as caught:
        kernel(*args)
    assert type(caught.value) is kind
    return str(caught.value)


class TestLaunching:
    def test_grid_block_and_parameters(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        driver.reset(2)
        A, B = aligned(300), aligned(300)
        kernel(on_cuda(A), on_cuda(B), 2.0)
        (line,) = driver.log("cuLaunchKernel")
        assert "(3 1 1) (128 1 1) 0 on 0 in 0x1000" in line
        assert line.endswith(f": {A.ctypes.data} {B.ctypes.data}")

    def test_the_image_is_loaded_once_per_device(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        for device in (0, 1, 0, 1, 1):
            call_scale(kernel, device=device)
        loads = driver.log("cuModuleLoadData")
        assert [line.split(" on ")[1] for line in loads] == ["0x1000", "0x1001"]
        assert "ELF" in loads[0]
        assert len(driver.log("cuLaunchKernel")) == 5

    def test_the_tensors_device_decides(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        driver.library.fake_make_current(0x1000)
        call_scale(kernel, device=1)
        assert "in 0x1001" in driver.log("cuLaunchKernel")[0]
        assert driver.library.fake_current() == 0x1000

    def test_a_current_context_is_used_as_it_is(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        call_scale(kernel)
        driver.reset()
        driver.library.fake_make_current(0x1000)
        call_scale(kernel)
        assert driver.log("cuCtx") == []

    def test_an_empty_grid_launches_nothing(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        call_scale(kernel, count=0)
        assert driver.log("cuLaunchKernel") == []

    def test_the_stream_is_read_at_each_call(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        with tvm_ffi.use_raw_stream(tvm_ffi.device("cuda", 0), 0x5550):
            call_scale(kernel)
        call_scale(kernel)
        streams = [line.split(" on ")[1].split()[0] for line in driver.log("cuLaunchKernel")]
        assert streams == ["0x5550", "0"]

    def test_loading_leaves_a_capture_alone(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        call_scale(kernel)
        names = [line.split()[0] for line in driver.log()]
        first, load, last = (
            names.index("cuThreadExchangeStreamCaptureMode"),
            names.index("cuModuleLoadData"),
            len(names) - 1 - names[::-1].index("cuThreadExchangeStreamCaptureMode"),
        )
        assert first < load < last
        modes = driver.log("cuThreadExchangeStreamCaptureMode")
        assert [m.split()[1] for m in modes] == ["2", "0"]

    def test_dynamic_shared_memory_is_asked_for(self, driver: FakeDriver) -> None:
        A = Buffer("A", (4,), "float32")
        func = PrimFunc("k", (A,), launch(store(A, 1.0), [5, 6], 64, 100_000))
        built(func, driver)(on_cuda(aligned(4)))
        assert driver.log("cuFuncSetAttribute") == ["cuFuncSetAttribute 8 = 100000"]
        assert "(5 6 1) (64 1 1) 100000" in driver.log("cuLaunchKernel")[0]

    def test_blocks_that_wait_for_each_other(self, driver: FakeDriver) -> None:
        A = Buffer("A", (4,), "float32")
        body = S.Seq((store(A, 1.0), S.Evaluate(Call("sync_grid", (), "int32"))))
        built(PrimFunc("k", (A,), launch(body, [5])), driver)(on_cuda(aligned(4)))
        assert len(driver.log("cuLaunchCooperativeKernel")) == 1

    def test_several_launches_with_statements_around_them(self, driver: FakeDriver) -> None:
        A, n = Buffer("A", (8,), "float32"), Var("n", "int32")
        i, twice = Var("i", "int32"), Var("twice", "int32")
        body = S.Seq((
            S.Bind(twice, n * 2),
            S.For(i, as_expr(0), as_expr(3), S.LoopKind.SERIAL, launch(store(A, 1.0), [twice + i])),
            S.If(n > 4, launch(store(A, n.astype("float32")), [n])),
        ))  # fmt: skip
        kernel = built(PrimFunc("k", (A, n), body), driver)
        kernel(on_cuda(aligned(8)), 5)
        grids = [line.split("(")[1].split()[0] for line in driver.log("cuLaunchKernel")]
        assert grids == ["10", "11", "12", "5"]
        driver.reset()
        kernel(on_cuda(aligned(8)), 3)
        assert len(driver.log("cuLaunchKernel")) == 3

    def test_a_workspace_lives_for_the_call(self, driver: FakeDriver) -> None:
        n = Var("n", "int32")
        A, W = Buffer("A", (n,), "float32"), Buffer("W", (n, 3), "float16")
        flat = Buffer("W", (n * 3,), "float16", data=W.data)
        body = S.Seq((S.Allocate(W), launch(store(flat, as_expr(1.0).astype("float16")), [n])))
        built(PrimFunc("k", (A,), body), driver)(on_cuda(aligned(10)))
        names = [line.split()[0] for line in driver.log("cuMem") + driver.log("cuLaunchKernel")]
        assert sorted(names) == ["cuLaunchKernel", "cuMemAllocAsync", "cuMemFreeAsync"]
        assert driver.log("cuMemAllocAsync") == ["cuMemAllocAsync 60 on 0"]
        assert driver.log("cuMemFreeAsync") == ["cuMemFreeAsync 0xabc000 on 0"]

    def test_scalars_of_every_width(self, driver: FakeDriver) -> None:
        kinds = ["int8", "uint8", "int16", "int64", "float64", "float16", "bool"]
        values = [-3, 200, -300, -(1 << 40), 1.5, 0.5, True]
        params = [Var(f"p{k}", kind) for k, kind in enumerate(kinds)]
        A = Buffer("A", (8,), "float64")
        body = S.Seq(tuple(store(A, p.astype("float64"), k) for k, p in enumerate(params)))
        kernel = built(PrimFunc("k", (A, *params), launch(body, [1])), driver)
        driver.reset(6)
        kernel(on_cuda(aligned(8, "float64")), *values)
        words = driver.log("cuLaunchKernel")[0].split(":")[1].split()
        assert np.int64(int(words[1])).astype(np.int8) == -3
        assert np.int64(int(words[2])).astype(np.uint8) == 200
        assert np.int64(int(words[3])).astype(np.int16) == -300
        assert int(words[4]) == -(1 << 40)
        assert np.int64(int(words[5])).view(np.float64) == 1.5


def test_many_threads_and_devices(driver: FakeDriver) -> None:
    kernel = built(scale(), driver)
    together = Barrier(8)

    def work(k: int) -> None:
        together.wait()
        for _ in range(20):
            call_scale(kernel, device=k % 2)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(driver.log("cuModuleLoadData")) == 2
    lines = driver.log("cuLaunchKernel")
    assert len(lines) == 160
    assert sum("in 0x1001" in line for line in lines) == 80


def test_kernels_that_are_handed_over(driver: FakeDriver) -> None:
    module = build(scale(), str(driver.path), embedded=False)
    kernel = module["scale"]
    text = error(RuntimeError, call_scale, kernel)
    assert "has not been given its kernels" in text


class TestErrors:
    def test_no_driver(self, tmp_path: Path) -> None:
        kernel = made(scale(), str(tmp_path / "libmissing.so.1"))["scale"]
        text = error(RuntimeError, call_scale, kernel)
        assert text.startswith("scale(): this machine has no CUDA driver (")
        assert text.endswith("install NVIDIA's driver, or compile for target='c'")

    def test_driver_too_old(self, tmp_path: Path) -> None:
        old = FakeDriver(tmp_path, "old", "-DFAKE_IS_OLD")
        text = error(RuntimeError, call_scale, built(scale(), old))
        assert "the CUDA driver is too old: it has no cuMemAllocAsync" in text

    def test_driver_that_does_not_start(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        driver.fail("cuInit", 999)
        text = error(RuntimeError, call_scale, kernel)
        assert "does not start: cuInit: CUDA_ERROR_OTHER: a sentence about it" in text
        driver.fail("cuInit", 0)
        call_scale(kernel)  # a failure is no state

    def test_image_for_another_architecture(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        driver.fail("cuModuleLoadData", 209)
        text = error(RuntimeError, call_scale, kernel)
        assert text == (
            "scale(): the driver (CUDA 12.4) does not load a kernel compiled for sm_80 on cuda:0, "
            "an sm_80: CUDA_ERROR_NO_BINARY_FOR_GPU: a sentence about it"
        )
        assert driver.library.fake_current() == 0

    def test_missing_kernel(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        driver.fail("cuModuleGetFunction", 500)
        text = error(RuntimeError, call_scale, kernel)
        assert "kernel scale_kernel (kernels.py:7): cuModuleGetFunction: CUDA_ERROR_OTHER" in text
        assert len(driver.log("cuModuleUnload")) == 1

    def test_refused_launch(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        driver.fail("cuLaunchKernel", 1)
        text = error(RuntimeError, call_scale, kernel)
        assert text == (
            "scale(): kernel scale_kernel (kernels.py:7) on cuda:0, grid (3, 1, 1), block "
            "(128, 1, 1), 0 bytes of dynamic shared memory: CUDA_ERROR_OTHER: a sentence about it"
        )

    def test_failure_of_an_earlier_kernel(self, driver: FakeDriver) -> None:
        kernel = built(scale(), driver)
        driver.fail("cuLaunchKernel", 700)
        text = error(RuntimeError, call_scale, kernel)
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in text
        assert "a kernel that ran before on this device failed" in text

    def test_out_of_memory(self, driver: FakeDriver) -> None:
        A, W = Buffer("A", (4,), "float32"), Buffer("W", (1000,), "float32")
        body = S.Seq((S.Allocate(W), launch(store(W, 1.0), [1])))
        kernel = built(PrimFunc("k", (A,), body), driver)
        driver.fail("cuMemAllocAsync", 2)
        text = error(MemoryError, kernel, on_cuda(aligned(4)))
        assert text == (
            "k(): workspace `W` of 4000 bytes on cuda:0: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
        )
        assert driver.log("cuLaunchKernel") == []

    def test_too_much_shared_memory(self, driver: FakeDriver) -> None:
        A = Buffer("A", (4,), "float32")
        kernel = built(PrimFunc("k", (A,), launch(store(A, 1.0), [1], 64, 200_000)), driver)
        text = error(RuntimeError, kernel, on_cuda(aligned(4)))
        assert "200000 bytes of shared memory per block, cuda:0 allows 166912" in text

    def test_grid_too_large(self, driver: FakeDriver) -> None:
        A, n = Buffer("A", (4,), "float32"), Var("n", "int32")
        kernel = built(PrimFunc("k", (A, n), launch(store(A, 1.0), [1, n])), driver)
        text = error(RuntimeError, kernel, on_cuda(aligned(4)), 65536)
        assert "grid (1, 65536, 1)" in text
        assert "at most (2147483647, 65535, 65535) blocks" in text
        assert driver.log("cuLaunchKernel") == []

    def test_a_check_outside_kernels(self, driver: FakeDriver) -> None:
        A, n = Buffer("A", (4,), "float32"), Var("n", "int32")
        body = S.Seq((S.Assert(n > 2, "n is too small"), launch(store(A, 1.0), [n])))
        kernel = built(PrimFunc("k", (A, n), body), driver)
        kernel(on_cuda(aligned(4)), 3)
        assert "n is too small" in error(RuntimeError, kernel, on_cuda(aligned(4)), 2)
        assert driver.library.fake_current() == 0


class TestArguments:
    @pytest.fixture
    def kernel(self, driver: FakeDriver) -> Executable:
        return built(scale(), driver)

    def test_tensor_on_the_host(self, kernel: Executable) -> None:
        text = error(ValueError, kernel, on_cuda(aligned(4)), aligned(4), 1.0)
        assert text == (
            "scale(): argument 2 `B`: expected float32[m] on cuda, got float32[4] on cpu"
        )

    def test_two_devices(self, kernel: Executable) -> None:
        text = error(ValueError, kernel, on_cuda(aligned(4), 1), on_cuda(aligned(4), 0), 1.0)
        assert text == (
            "scale(): argument 2 `B`: expected float32[m] on cuda:1 as the tensors before it, "
            "got float32[4] on cuda:0"
        )

    def test_alignment(self, kernel: Executable) -> None:
        shifted = on_cuda(aligned(4, offset=4))
        text = error(ValueError, kernel, shifted, on_cuda(aligned(4)), 1.0)
        assert "argument 1 `A`: expected float32[m] on cuda at an address divisible by 16" in text

    def test_managed_memory(self, kernel: Executable, driver: FakeDriver) -> None:
        kernel(on_cuda(aligned(4), kind=13), on_cuda(aligned(4)), 1.0)
        assert len(driver.log("cuLaunchKernel")) == 1

    def test_addresses(self, driver: FakeDriver) -> None:
        p = Var("p", "handle")
        A = Buffer("A", (4,), "float32", data=p)
        kernel = built(PrimFunc("k", (p,), launch(store(A, 1.0), [1])), driver)
        driver.reset(1)
        kernel(0x1230)
        assert driver.log("cuLaunchKernel")[0].endswith(f": {0x1230}")
        kernel(on_cuda(aligned(4)))
        text = error(TypeError, kernel, aligned(4))
        assert "expected a tensor on cuda or an address, got float32[4] on cpu" in text


def test_text_is_stable_and_names_the_users_line() -> None:
    text = print_host(scale())
    assert text == print_host(scale())
    assert '{"scale_kernel", "kernels.py:7", {128, 1, 1}, 0, 0}' in text


def test_plain_interface_names_its_arguments() -> None:
    text, header = plain_interface(scale(), scale(), "sm_80")
    declaration = "int call(void *A, void *B, float alpha, int32_t m, void *stream)"
    assert declaration in text
    assert f"{declaration};" in header


def test_module_type(driver: FakeDriver) -> None:
    module = made(scale(), str(driver.path))
    assert isinstance(module, Module)
    assert "scale" in module
    assert "other" not in module
