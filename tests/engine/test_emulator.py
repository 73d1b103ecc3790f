"""Kernels for `cuda` run on CPU tensors under TILELANG_EMULATE=1; faults are at users' lines."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang.engine.emulator import KernelCall, emulate
from tilelang.engine.emulator_build import build_library
from tilelang.errors import ArgumentError, EmulatorError, ToolchainError

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _emulated() -> Generator[None, None, None]:
    with tilelang.env.scope(TILELANG_EMULATE=True):
        yield


def _scale(rows: int, columns: int) -> Any:
    @T.prim_func
    def scale(A: T.Tensor((rows, columns), "float32"), B: T.Tensor((rows, columns), "float32")):
        with T.Kernel(T.ceildiv(rows, 8), threads=64) as bx:
            for i, j in T.Parallel(8, columns):
                B[bx * 8 + i, j] = A[bx * 8 + i, j] * 2.0

    return scale


def _product(m: int, n: int, k: int, stages: int) -> Any:
    @T.prim_func
    def product(
        A: T.Tensor((m, k), "float16"),
        B: T.Tensor((k, n), "float16"),
        C: T.Tensor((m, n), "float32"),
    ):
        with T.Kernel(T.ceildiv(n, 32), T.ceildiv(m, 32), threads=64) as (bx, by):
            A_shared = T.alloc_shared((32, 32), "float16")
            B_shared = T.alloc_shared((32, 32), "float16")
            acc = T.alloc_fragment((32, 32), "float32")
            T.clear(acc)
            for s in T.Pipelined(T.ceildiv(k, 32), num_stages=stages):
                T.copy(A[by * 32, s * 32], A_shared)
                T.copy(B[s * 32, bx * 32], B_shared)
                T.gemm(A_shared, B_shared, acc)
            T.copy(acc, C[by * 32, bx * 32])

    return product


def test_an_elementwise_kernel_runs_on_cpu_tensors() -> None:
    kernel = tilelang.compile(_scale(37, 48), target="cuda", out_idx=[-1])
    a = torch.randn(37, 48)
    assert torch.equal(kernel(a), a * 2)


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_a_pipelined_product_is_right_with_every_seed(stages: int) -> None:
    kernel = tilelang.compile(_product(64, 32, 96, stages), target="cuda", out_idx=[-1])
    rng = np.random.default_rng(stages)
    a = torch.from_numpy(rng.integers(-4, 5, (64, 96)).astype(np.float16))
    b = torch.from_numpy(rng.integers(-4, 5, (96, 32)).astype(np.float16))
    for seed in range(5):
        with tilelang.env.scope(TILELANG_EMULATE_SEED=seed):
            assert torch.equal(kernel(a, b), a.float() @ b.float())


def test_wrong_arguments_are_reported_as_on_a_device() -> None:
    kernel = tilelang.compile(_scale(16, 16), target="cuda")
    with pytest.raises(ValueError, match="A"):
        kernel(torch.zeros(16, 15), torch.zeros(16, 16))


def test_an_emulated_kernel_cannot_be_exported(tmp_path: Any) -> None:
    kernel = tilelang.compile(_scale(16, 16), target="cuda")
    with pytest.raises(ArgumentError, match="TILELANG_EMULATE"):
        kernel.export_library(str(tmp_path / "k.so"))


def test_a_fault_stands_at_the_users_line() -> None:
    source = """#include "types.h"
extern "C" __global__ void bad_kernel(float *A) {
  // test_emulator.py:3: from __future__ import annotations
  A[threadIdx.x] = 1.0f;
}
"""
    call = KernelCall("bad_kernel", (1,), (32,), ("A",))
    files = {"test_emulator.py": __file__}
    with pytest.raises(EmulatorError) as caught:
        emulate(source, [call], {"A": np.zeros(31, np.float32)}, source_files=files)
    assert caught.value.span is not None
    assert (caught.value.span.file, caught.value.span.line) == (__file__, 3)
    assert "write of `A[31]` (4 bytes): thread (31, 0, 0) of block (0, 0, 0)" in str(caught.value)


@pytest.mark.parametrize("value,races", [("7.0f", False), ("(float)threadIdx.x", True)])
def test_threads_may_write_one_value_to_one_place(value: str, races: bool) -> None:
    source = f'extern "C" __global__ void k(float *A) {{ A[blockIdx.x] = {value}; }}\n'
    call, arrays = KernelCall("k", (2,), (64,), ("A",)), {"A": np.zeros(2, np.float32)}
    if races:
        with pytest.raises(EmulatorError, match="data race: write of `A"):
            emulate(source, [call], arrays)
    else:
        emulate(source, [call], arrays)
        np.testing.assert_array_equal(arrays["A"], [7, 7])


def test_text_that_does_not_compile_is_shown() -> None:
    with pytest.raises(ToolchainError, match="no_such_name"):
        build_library(
            '#include "types.h"\nextern "C" __global__ void k(float *A) { no_such_name; }\n'
        )


def test_text_without_a_kernel_is_refused() -> None:
    with pytest.raises(ToolchainError, match="__global__"):
        build_library("int x;\n")


def test_an_argument_of_unknown_width_is_refused() -> None:
    source = 'extern "C" __global__ void k(int n) {}\n'
    with pytest.raises(ArgumentError, match="fixed size"):
        emulate(source, [KernelCall("k", (1,), (1,), (5,))], {})


def test_too_many_threads_are_reported() -> None:
    source = 'extern "C" __global__ void k() {}\n'
    with pytest.raises(EmulatorError, match="1 to 1024"):
        emulate(source, [KernelCall("k", (1,), (2048,), ())], {})
