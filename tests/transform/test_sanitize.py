"""Checked kernels: wrong accesses are reported with their line, right programs run unchanged."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import tilelang.language as T
from tests.codegen.run_c import CompiledC
from tilelang.ir.func import PrimFunc

RNG = np.random.default_rng(3)


def line_of(text: str) -> int:
    """The number of the one line of this file that contains `text` (and is not this call's)."""
    lines = inspect.getsource(inspect.getmodule(line_of) or line_of).splitlines()
    found = [i for i, line in enumerate(lines, 1) if text in line and "line_of(" not in line]
    assert len(found) == 1, found
    return found[0]


def failure(func: PrimFunc, folder: Path, *args: object) -> str:
    unit = CompiledC(func, folder, checked=True)
    with pytest.raises(RuntimeError) as caught:
        unit(*args)
    return str(caught.value)


def test_an_index_outside_an_on_chip_buffer(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((64,), "int32"), y: T.Tensor((8,), "float32")):
        with T.Kernel(1, threads=1):
            tile = T.alloc_shared((4, 8), "float32")
            T.clear(tile)
            for i in T.serial(8):
                y[i] = tile[x[i], i]  # outside

    x, y = np.zeros(64, np.int32), np.zeros(8, np.float32)
    CompiledC(f, tmp_path, checked=True)(x, y)
    x[5] = 70
    message = failure(f, tmp_path, x, y)
    here = line_of("tile[x[i], i]  # outside")
    assert f"test_sanitize.py:{here}: tile[x[i], i]: index 70 is outside axis 0" in message
    assert "which has 4 elements" in message
    x[5] = -1
    assert "index -1 is outside axis 0" in failure(f, tmp_path, x, y)


def test_a_store_outside_changes_nothing(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((8,), "int32"), n: T.int32):
        with T.Kernel(1, threads=1):
            tile = T.alloc_local((4,), "int32")
            guard = T.alloc_local((4,), "int32")
            for i in T.serial(4):
                guard[i] = 7
                tile[i] = 1
            tile[n] = 99
            for i in T.serial(4):
                x[i] = tile[i]
                x[i + 4] = guard[i]

    x = np.zeros(8, np.int32)
    CompiledC(f, tmp_path, checked=True)(x, 2)
    assert x.tolist() == [1, 1, 99, 1, 7, 7, 7, 7]
    assert "tile[n]: index 4 is outside axis 0, which has 4 elements" in failure(f, tmp_path, x, 4)
    assert x.tolist() == [1, 1, 1, 1, 7, 7, 7, 7]


@pytest.mark.parametrize("allocate", [T.alloc_shared, T.alloc_fragment, T.alloc_local])
def test_reading_what_nothing_has_written(allocate: object, tmp_path: Path) -> None:
    @T.prim_func
    def f(y: T.Tensor((8,), "float32")):
        with T.Kernel(1, threads=1):
            tile = allocate((8,), "float32")
            for i in T.serial(7):
                tile[i] = 1.0
            for i in T.serial(8):
                y[i] = tile[i] + 1.0  # the last one is unwritten

    y = np.zeros(8, np.float32)
    message = failure(f, tmp_path, y)
    here = line_of("# the last one is unwritten")
    assert f":{here}: tile[i] is read before anything has been written there" in message
    assert y[:7].tolist() == [2.0] * 7


def test_each_iteration_starts_unwritten(tmp_path: Path) -> None:
    @T.prim_func
    def f(y: T.Tensor((2,), "float32")):
        with T.Kernel(1, threads=1):
            for i in T.serial(2):
                fresh = T.alloc_local((1,), "float32")
                if i == 0:
                    fresh[0] = 1.0
                y[i] = fresh[0]

    assert "fresh[0] is read before" in failure(f, tmp_path, np.zeros(2, np.float32))


def test_guarded_accesses_are_no_alarm(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((10,), "float32"), y: T.Tensor((16,), "float32")):
        with T.Kernel(1, threads=16):
            for i in T.Parallel(16):
                y[i] = T.if_then_else(i >= 3 and i < 13, x[i - 3], -1.0)

    x, y = RNG.standard_normal(10, np.float32), np.zeros(16, np.float32)
    CompiledC(f, tmp_path, checked=True)(x, y)
    np.testing.assert_array_equal(y, [-1, -1, -1, *x, -1, -1, -1])


def test_views_vectors_and_packed_elements_are_no_alarm(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((16,), "float32"), y: T.Tensor((16,), "float32"), z: T.Tensor((8,), "int4")):
        with T.Kernel(1, threads=1):
            tile = T.alloc_shared((4, 4), "float32")
            half = T.view(tile, (32,), "uint16")
            words = T.alloc_local((16,), "uint16")
            nibbles = T.alloc_shared((8,), "int4")
            for i in T.serial(4):
                tile[i, 0:4] = x[4 * i : 4 * i + 4]
            for i in T.serial(16):
                words[i] = half[2 * i + 1]
            for i in T.serial(16):
                half[2 * i] = T.Cast("uint16", 0)
                half[2 * i + 1] = words[i]
            for i in T.serial(16):
                y[i] = tile[i // 4, i % 4]
            for i in T.serial(8):
                nibbles[i] = z[7 - i]
            for i in T.serial(8):
                z[i] = nibbles[i]

    x, y = RNG.standard_normal(16, np.float32), np.zeros(16, np.float32)
    z = np.array([0x10, 0x32, 0x54, 0x76], np.uint8)
    CompiledC(f, tmp_path, checked=True)(x, y, z)
    np.testing.assert_array_equal(y.view(np.uint32), x.view(np.uint32) & 0xFFFF0000)
    assert z.tolist() == [0x67, 0x45, 0x23, 0x01]


def test_half_written_elements_of_a_wider_view_are_reported(tmp_path: Path) -> None:
    @T.prim_func
    def f(y: T.Tensor((2,), "float32")):
        with T.Kernel(1, threads=1):
            tile = T.alloc_shared((2,), "float32")
            half = T.view(tile, (4,), "uint16")
            for i in T.serial(3):
                half[i] = T.Cast("uint16", i)
            y[0] = tile[0]
            y[1] = tile[1]

    assert "tile[1] is read before" in failure(f, tmp_path, np.zeros(2, np.float32))


def test_a_tiled_matmul_runs_checked(tmp_path: Path) -> None:
    @T.prim_func
    def f(
        A: T.Tensor((50, 40), "float16"), B: T.Tensor((40, 30), "float16"),
        C: T.Tensor((50, 30), "float32"),
    ):  # fmt: skip
        with T.Kernel(2, 4, threads=32) as (bx, by):
            A_shared = T.alloc_shared((16, 16), "float16")
            B_shared = T.alloc_shared((16, 16), "float16")
            C_local = T.alloc_fragment((16, 16), "float32")
            T.clear(C_local)
            for k in T.Pipelined(3, num_stages=2):
                T.copy(A[by * 16, k * 16], A_shared)
                T.copy(B[k * 16, bx * 16], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.copy(C_local, C[by * 16, bx * 16])

    A, B = (RNG.standard_normal(s).astype(np.float16) for s in ((50, 40), (40, 30)))
    C = np.zeros((50, 30), np.float32)
    CompiledC(f, tmp_path, checked=True)(A, B, C)
    wanted = A.astype(np.float32) @ B.astype(np.float32)
    np.testing.assert_allclose(C, wanted, rtol=1e-3, atol=1e-3)


def test_atomics_are_checked(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((4,), "int32"), n: T.int32):
        with T.Kernel(8, threads=1):
            T.atomic_add(x[n + 0], 1)

    x = np.zeros(4, np.int32)
    CompiledC(f, tmp_path, checked=True)(x, 3)
    assert x.tolist() == [0, 0, 0, 8]
    CompiledC(f, tmp_path, checked=True)(x, 5)  # outside global memory: the language skips it
    assert x.tolist() == [0, 0, 0, 8]
