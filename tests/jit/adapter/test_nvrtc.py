"""The `nvrtc` backend against bindings that write down what they are asked to do."""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.codegen.cuda_host import launch, scale, store
from tilelang.engine import cuda_driver
from tilelang.errors import ArgumentError, ArgumentTypeError, ResourceError
from tilelang.ir import stmt as S
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Call, Var
from tilelang.ir.func import PrimFunc
from tilelang.jit.adapter.nvrtc import Launcher
from tilelang.jit.adapter.nvrtc_launch import LauncherPrinter, kernel_row


class Names:
    """Every attribute is its own name."""

    def __getattr__(self, name: str) -> str:
        return name


@dataclass
class FakeBindings:
    """What `cuda.bindings.driver` is, with two devices and no GPU."""

    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    values: list[tuple[Any, ...]] = field(default_factory=list)
    current: threading.local = field(default_factory=threading.local)
    functions: dict[int, str] = field(default_factory=dict)
    CUresult: Any = int
    CUstreamCaptureMode: Any = field(default_factory=Names)
    CUfunction_attribute: Any = field(default_factory=Names)
    CUdevice_attribute: Any = field(default_factory=Names)

    def stack(self) -> list[int]:
        if not hasattr(self.current, "stack"):
            self.current.stack = []
        return self.current.stack

    def note(self, name: str, *args: Any, gives: Any = None) -> tuple[Any, ...]:
        self.calls.append((name, args))
        code = self.failing.get(name, 0)
        return (code,) if gives is None else (code, gives)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [args for called, args in self.calls if called == name]

    def cuDeviceGetCount(self) -> tuple[int, int]:
        return 0, 2

    def cuDeviceGet(self, ordinal: int) -> tuple[int, int]:
        return 0, ordinal

    def cuDeviceGetName(self, size: int, device: int) -> tuple[int, bytes]:
        return 0, b"pretended\0"

    def cuDeviceTotalMem(self, device: int) -> tuple[int, int]:
        return 0, 1 << 34

    def cuDeviceGetAttribute(self, kind: str, device: int) -> tuple[int, int]:
        return 0, 166912 if "SHARED" in kind else 8

    def cuDriverGetVersion(self) -> tuple[int, int]:
        return 0, 12040

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[Any, ...]:
        return self.note("cuDevicePrimaryCtxRetain", device, gives=100 + device)

    def cuCtxPushCurrent(self, context: int) -> tuple[int]:
        self.stack().append(context)
        return (0,)

    def cuCtxPopCurrent(self) -> tuple[int, int]:
        return 0, self.stack().pop()

    def cuCtxGetCurrent(self) -> tuple[int, int]:
        return 0, self.stack()[-1] if self.stack() else 0

    def cuCtxSetCurrent(self, context: int) -> tuple[int]:
        self.stack()[-1:] = [context]
        return (0,)

    def cuCtxGetDevice(self) -> tuple[int, int]:
        return 0, self.stack()[-1] - 100

    def cuThreadExchangeStreamCaptureMode(self, mode: Any) -> tuple[Any, ...]:
        return self.note("cuThreadExchangeStreamCaptureMode", mode, gives="before")

    def cuLibraryLoadData(self, cubin: bytes, *rest: Any) -> tuple[Any, ...]:
        return self.note("cuLibraryLoadData", cubin, gives=7)

    def cuLibraryGetKernel(self, library: int, name: bytes) -> tuple[Any, ...]:
        return self.note("cuLibraryGetKernel", name.decode(), gives=name.decode())

    def cuKernelGetFunction(self, kernel: str) -> tuple[int, int]:
        name = f"{kernel}@{self.stack()[-1] - 100}"
        handle = next((h for h, n in self.functions.items() if n == name), None)
        if handle is None:
            handle = 1000 + len(self.functions)
            self.functions[handle] = name
        return 0, handle

    def cuFuncGetAttribute(self, key: str, function: int) -> tuple[int, int]:
        return 0, 0

    def cuFuncSetAttribute(self, function: int, key: str, value: int) -> tuple[Any, ...]:
        return self.note("cuFuncSetAttribute", self.functions[function], value)

    def launch(self, config: Any, function: Any, parameters: Any, extra: None) -> int:
        """`cuLaunchKernelEx`: the launch configuration is read as the driver's C type says."""
        raw = ctypes.string_at(config.value, 56)
        *shape, stream, attributes, count = struct.unpack("@7I4xPPI4x", raw)
        name = "cuLaunchKernel"
        if count:
            identifier, _, value = (ctypes.c_uint32 * 3).from_address(attributes)
            assert (count, identifier, value) == (1, 2, 1)
            name = "cuLaunchCooperativeKernel"
        self.read(parameters.value)
        (code,) = self.note(name, self.functions[function.value], *shape, stream, self.stack()[-1])
        return code

    def read(self, address: int) -> None:
        """Follow the list of parameters, as the driver does."""
        out: list[Any] = []
        for k, kind in enumerate(self.formats):
            place = ctypes.c_void_p.from_address(address + 8 * k).value or 0
            raw = ctypes.string_at(place, struct.calcsize(kind))
            out.append(struct.unpack(kind, raw)[0])
        self.values.append(tuple(out))

    def cuMemAllocAsync(self, size: int, stream: int) -> tuple[Any, ...]:
        return self.note("cuMemAllocAsync", size, stream, gives=0xABC000)

    def cuMemFreeAsync(self, address: int, stream: int) -> tuple[Any, ...]:
        return self.note("cuMemFreeAsync", address, stream)

    def cuGetErrorString(self, code: int) -> tuple[int, bytes]:
        return 0, b"a sentence about it"


class CudaTensor:
    """A PyTorch tensor that says it is on a CUDA device."""

    def __init__(self, tensor: torch.Tensor, device: int = 0, address: int | None = None) -> None:
        self.tensor = tensor
        self.dtype, self.shape, self.layout = tensor.dtype, tensor.shape, tensor.layout
        self.device = torch.device("cuda", device)
        self.address = address

    def get_device(self) -> int:
        return int(self.device.index)

    def data_ptr(self) -> int:
        return self.tensor.data_ptr() if self.address is None else self.address

    def stride(self) -> tuple[int, ...]:
        return self.tensor.stride()

    def is_contiguous(self) -> bool:
        return self.tensor.is_contiguous()


def on_cuda(*shape: int, dtype: Any = torch.float32, device: int = 0) -> CudaTensor:
    return CudaTensor(torch.zeros(*shape, dtype=dtype), device)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBindings]:
    cuda_driver.clear()
    found = FakeBindings()
    real = cuda_driver.driver, cuda_driver.launch_function
    monkeypatch.setattr(cuda_driver, "driver", lambda: found)
    monkeypatch.setattr(cuda_driver, "launch_function", lambda: found.launch)
    yield found
    monkeypatch.setattr(cuda_driver, "driver", real[0])
    monkeypatch.setattr(cuda_driver, "launch_function", real[1])
    cuda_driver.clear()


def launcher(func: PrimFunc) -> Launcher:
    return Launcher(func, LauncherPrinter(func, func).text(), b"a cubin")


class TestLaunching:
    def test_grid_block_stream_and_parameters(self, driver: FakeBindings) -> None:
        A, B = on_cuda(300), on_cuda(300)
        driver.formats = ["P", "P", "f"]
        made = launcher(scale())
        for _ in range(2):  # the slow look at the arguments, then the quick one
            made.call(A, B, 2.5, stream=0x40)
        one, two = driver.named("cuLaunchKernel")
        assert one == two == ("scale_kernel@0", 3, 1, 1, 128, 1, 1, 0, 0x40, 100)
        assert driver.values == [(A.data_ptr(), B.data_ptr(), 2.5)] * 2

    def test_kernels_are_loaded_once_per_device(self, driver: FakeBindings) -> None:
        made = launcher(scale())
        for device in (0, 1, 1, 0):
            made.call(on_cuda(5, device=device), on_cuda(5, device=device), 1.0)
        assert [args[0] for args in driver.named("cuLaunchKernel")] == [
            "scale_kernel@0", "scale_kernel@1", "scale_kernel@1", "scale_kernel@0"
        ]  # fmt: skip
        assert len(driver.named("cuLibraryLoadData")) == 1
        assert driver.stack() == [100]

    def test_an_empty_grid_launches_nothing(self, driver: FakeBindings) -> None:
        launcher(scale()).call(on_cuda(0), on_cuda(0), 1.0)
        assert driver.named("cuLaunchKernel") == []

    def test_shared_memory_is_asked_for(self, driver: FakeBindings) -> None:
        A = Buffer("A", (4,), "float32")
        launcher(PrimFunc("k", (A,), launch(store(A, 1.0), [1], 64, 100_000))).call(on_cuda(4))
        assert driver.named("cuFuncSetAttribute") == [("k_kernel@0", 100_000)]

    def test_loading_leaves_a_capture_alone(self, driver: FakeBindings) -> None:
        launcher(scale()).call(on_cuda(4), on_cuda(4), 1.0)
        names = [name for name, _ in driver.calls]
        assert names.count("cuThreadExchangeStreamCaptureMode") == 2
        assert names.index("cuThreadExchangeStreamCaptureMode") < names.index("cuLibraryLoadData")

    def test_statements_around_launches(self, driver: FakeBindings) -> None:
        n, i, twice = Var("n", "int32"), Var("i", "int32"), Var("twice", "int32")
        A, W = Buffer("A", (n,), "float32"), Buffer("W", (n,), "float32")
        kernels = S.Seq((
            S.Bind(twice, n * 2),
            S.Allocate(W),
            S.For(i, n * 0, n * 0 + 2, S.LoopKind.SERIAL, launch(store(W, 1.0), [twice + i])),
            S.If(n > 4, launch(store(A, 1.0), [n])),
        ))  # fmt: skip
        made = launcher(PrimFunc("k", (A,), kernels))
        made.call(on_cuda(5))
        assert [args[1] for args in driver.named("cuLaunchKernel")] == [10, 11, 5]
        assert driver.named("cuMemAllocAsync") == [(20, 0)]
        assert driver.named("cuMemFreeAsync") == [(0xABC000, 0)]
        made.call(on_cuda(3))
        assert len(driver.named("cuLaunchKernel")) == 5

    def test_blocks_that_wait_for_each_other(self, driver: FakeBindings) -> None:
        A = Buffer("A", (4,), "float32")
        body = S.Seq((store(A, 1.0), S.Evaluate(Call("sync_grid", (), "int32"))))
        launcher(PrimFunc("k", (A,), launch(body, [5]))).call(on_cuda(4))
        assert len(driver.named("cuLaunchCooperativeKernel")) == 1

    def test_scalars_of_every_width(self, driver: FakeBindings) -> None:
        kinds = ["int8", "uint8", "bool", "int64", "float64", "float16", "uint64", "int16"]
        values = [-3, 200, True, -(1 << 40), 1.5, 0.5, (1 << 64) - 1, -300]
        params = [Var(f"p{k}", kind) for k, kind in enumerate(kinds)]
        A = Buffer("A", (8,), "float64")
        body = S.Seq(tuple(store(A, p.astype("float64"), k) for k, p in enumerate(params)))
        func = PrimFunc("k", (A, *params), launch(body, [1]))
        driver.formats = ["P", "b", "B", "?", "q", "d", "f", "Q", "h"]
        made = launcher(func)
        tensor = on_cuda(8, dtype=torch.float64)
        for _ in range(2):
            made.call(tensor, *values)
        assert driver.values == [(tensor.data_ptr(), *values)] * 2

    def test_each_thread_has_its_own_parameters(self, driver: FakeBindings) -> None:
        made = launcher(scale())
        tensors = on_cuda(4), on_cuda(4)
        memories: list[int] = []
        both = threading.Barrier(2)  # a thread that has ended may leave its memory to the next

        def work() -> None:
            made.call(*tensors, 1.0)
            memories.append(made.memory.kernels[0].parameters.value)
            both.wait()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(memories)) == 2


class TestErrors:
    @pytest.mark.parametrize("is_known", [False, True])
    def test_arguments(self, driver: FakeBindings, is_known: bool) -> None:
        made = launcher(scale())
        good = on_cuda(4)
        if is_known:
            made.call(good, good, 1.0)
        start = len(driver.named("cuLaunchKernel"))
        cases: list[tuple[tuple[Any, ...], type[Exception], str]] = [
            ((good,), ArgumentError, "scale(): expected 3 arguments (A, B, alpha), got 1"),
            ((good, torch.zeros(4), 1.0), ArgumentError,
             "argument 2 `B`: expected float32[m] on cuda, got float32[4] on cpu"),
            ((good, on_cuda(4, device=1), 1.0), ArgumentError,
             "got float32[4] on cuda:1; the tensors before it are on cuda:0"),
            ((good, on_cuda(5), 1.0), ArgumentError, "got float32[5] on cuda:0, where m = 4"),
            ((good, on_cuda(4, dtype=torch.float16), 1.0), ArgumentError, "got float16[4] on cuda"),
            ((good, CudaTensor(torch.zeros(8)[::2]), 1.0), ArgumentError, "not contiguous"),
            ((good, CudaTensor(torch.zeros(4), address=1028), 1.0), ArgumentError,
             "at an address divisible by 16, got address 0x404"),
            ((good, good, "x"), ArgumentTypeError, "argument 3 `alpha`: expected float32, got str"),
            ((good, None, 1.0), ArgumentTypeError, "expected float32[m] on cuda, got None"),
        ]  # fmt: skip
        for args, kind, words in cases:
            with pytest.raises(kind) as caught:
                made.call(*args)
            assert words in str(caught.value)
        assert len(driver.named("cuLaunchKernel")) == start

    def test_refused_launch(self, driver: FakeBindings) -> None:
        driver.failing["cuLaunchKernel"] = 1
        with pytest.raises(RuntimeError) as caught:
            launcher(scale()).call(on_cuda(300), on_cuda(300), 1.0)
        assert str(caught.value) == (
            "scale(): kernel scale_kernel (kernels.py:7) on cuda:0, grid (3, 1, 1), block "
            "(128, 1, 1), 0 bytes of dynamic shared memory: 1: a sentence about it"
        )

    def test_too_many_blocks(self, driver: FakeBindings) -> None:
        A, n = Buffer("A", (4,), "float32"), Var("n", "int32")
        func = PrimFunc("k", (A, n), launch(store(A, 1.0), [1, n]))
        made = launcher(func)
        made.call(on_cuda(4), 65535)
        driver.failing["cuLaunchKernel"] = 1
        with pytest.raises(ResourceError) as caught:
            made.call(on_cuda(4), 65536)
        assert "a grid of (1, 65536, 1) blocks; at most (2147483647, 65535, 65535)" in str(
            caught.value
        )

    def test_out_of_memory(self, driver: FakeBindings) -> None:
        W, A = Buffer("W", (1000,), "float32"), Buffer("A", (4,), "float32")
        body = S.Seq((S.Allocate(W), launch(store(W, 1.0), [1])))
        driver.failing["cuMemAllocAsync"] = 2
        with pytest.raises(MemoryError) as caught:
            launcher(PrimFunc("k", (A,), body)).call(on_cuda(4))
        assert "k(): workspace of 4000 bytes on cuda:0" in str(caught.value)


def test_parameters_lie_at_multiples_of_their_size() -> None:
    params = [Var("a", "int8"), Var("b", "float64"), Var("c", "int16"), Var("d", "int32")]
    A = Buffer("A", (4,), "float64")
    body = S.Seq(tuple(store(A, p.astype("float64"), k) for k, p in enumerate(params)))
    func = PrimFunc("k", (A, *params), launch(body, [1]))
    row = kernel_row(LauncherPrinter(func, func).kernels[0])
    assert row.offsets == (56, 64, 72, 80, 84)
    assert row.format == "@7I4xPPI4xPbdhi"


def test_text_alone_makes_a_launcher(driver: FakeBindings, tmp_path: Path) -> None:
    """As a kernel found in the cache does."""
    file, func = tmp_path / "host_kernel.py", scale()
    file.write_text(LauncherPrinter(func, func).text(), encoding="utf-8")
    made = Launcher(scale(), file.read_text(encoding="utf-8"), b"a cubin")
    assert made.kernels[0].place == "kernels.py:7"
    made.call(on_cuda(4), on_cuda(4), 1.0)
    assert driver.named("cuLibraryLoadData") == [(b"a cubin",)]
