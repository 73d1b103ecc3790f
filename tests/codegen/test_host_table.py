"""The host side as a table does and says what the compiled text does and says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

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
from tilelang.codegen.host_table import launch_table
from tilelang.engine.cuda_build import CudaModule
from tilelang.engine.launcher import table_name
from tilelang.ir import stmt as S
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import FloorDiv, Max, Min, Var, as_expr
from tilelang.ir.func import PrimFunc


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    return FakeDriver(tmp_path_factory.mktemp("driver"))


def pair() -> PrimFunc:
    """C[m, n] from A[m, k] and B[k, n], with scalars."""
    m, n, k = (Var(name, "int32") for name in "mnk")
    A = Buffer("A", (m, k), "float16")
    B = Buffer("B", (k, n), "float16")
    C = Buffer("C", (m, n), "float8_e4m3")
    alpha, count, flag = Var("alpha", "float64"), Var("count", "int16"), Var("flag", "bool")
    grid = [FloorDiv(m + 63, as_expr(64)), Max(Min(n, count.astype("int32")) - 2, as_expr(1)) * 3]
    a, b, c = (Buffer(t.name, (m * n * k,), t.dtype, data=t.data) for t in (A, B, C))
    body = store(c, (a.load(0) * b.load(0)).astype("float8_e4m3"))
    return PrimFunc("pair", (A, B, C, alpha, count, flag), launch(body, grid))


def halves(*shape: int, device: int = 0, dtype: str = "float16") -> Any:
    return on_cuda(aligned(int(np.prod(shape)), dtype).reshape(shape), device)


def bytes_(*shape: int) -> Any:
    return on_cuda(aligned(int(np.prod(shape)), "uint8").reshape(shape))


GOOD: tuple[Callable[[], Any], ...] = (
    lambda: halves(65, 8), lambda: halves(8, 5), lambda: float8(65, 5), lambda: 1.5, lambda: 4,
    lambda: True,
)  # fmt: skip


def float8(*shape: int) -> Any:
    """As tvm-ffi carries it: bytes that say they are float8."""
    import ctypes

    import tvm_ffi

    array = aligned(int(np.prod(shape)), "uint8").reshape(shape)
    capsule = array.__dlpack__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    address = pointer(capsule, b"dltensor")
    ctypes.c_int32.from_address(address + 8).value = 2  # on a CUDA device
    ctypes.c_uint8.from_address(address + 20).value = 10  # float8_e4m3fn
    return tvm_ffi.from_dlpack(capsule)


WRONG: dict[str, tuple[int, Callable[[], Any]]] = {
    "number for a tensor": (0, lambda: 3),
    "None for a tensor": (1, lambda: None),
    "on the host": (1, lambda: aligned(40, "float16").reshape(8, 5)),
    "another device": (1, lambda: halves(8, 5, device=1)),
    "another rank": (0, lambda: halves(65)),
    "another dtype": (0, lambda: halves(65, 8, dtype="float32")),
    "bytes for float8": (2, lambda: bytes_(65, 5)),
    "an extent that others decide": (1, lambda: halves(9, 5)),
    "two extents that others decide": (2, lambda: float8(64, 6)),
    "not dense": (0, lambda: on_cuda(aligned(65 * 16, "float16").reshape(65, 16)[:, ::2])),
    "not aligned": (0, lambda: on_cuda(aligned(65 * 8, "float16", 2).reshape(65, 8))),
    "text for a number": (3, lambda: "x"),
    "float for an integer": (4, lambda: 2.5),
    "out of range": (4, lambda: 1 << 20),
    "tensor for a bool": (5, lambda: halves(4)),
}


@pytest.fixture(scope="module")
def both(driver: FakeDriver) -> tuple[Any, Any]:
    text, table = (make(pair(), str(driver.path)) for make in (build, build_table))
    assert isinstance(table, CudaModule)
    return text["pair"], table["pair"]


@pytest.mark.parametrize("what", WRONG)
def test_messages_are_the_same(both: tuple[Any, Any], what: str) -> None:
    position, value = WRONG[what]
    args = [make() for make in GOOD]
    args[position] = value()
    seen = []
    for kernel in both:
        with pytest.raises((TypeError, ValueError)) as caught:
            kernel(*args)
        seen.append((type(caught.value), str(caught.value)))
    assert seen[0] == seen[1]
    assert f"argument {position + 1} " in seen[0][1]


def test_wrong_count(both: tuple[Any, Any]) -> None:
    for kernel in both:
        with pytest.raises(ValueError, match="expected 6 arguments") as caught:
            kernel(1, 2)
        assert "A, B, C, alpha, count, flag" in str(caught.value)


def test_extents_of_one_may_have_any_stride(both: tuple[Any, Any], driver: FakeDriver) -> None:
    driver.reset()
    for kernel in both:
        wide = aligned(128, "float16").reshape(8, 16)
        kernel(on_cuda(wide[:1, :8]), halves(8, 5), float8(1, 5), 1.0, 2, False)
    assert len(driver.log("cuLaunchKernel")) == 2


@pytest.mark.parametrize(("m", "n", "count"), [(1, 5, 4), (64, 5, 3), (65, 7, 100), (300, 1, 0)])
def test_launches_are_the_same(
    both: tuple[Any, Any], driver: FakeDriver, m: int, n: int, count: int
) -> None:
    args = [halves(m, 3), halves(3, n), float8(m, n), 0.25, count, True]
    lines = []
    for kernel in both:
        driver.reset(1)
        kernel(*args)
        lines += driver.log("cuLaunchKernel")
    assert lines[0] == lines[1]
    assert f"({(m + 63) // 64} {max(min(n, count) - 2, 1) * 3} 1)" in lines[0]


def test_several_kernels_run_in_order(driver: FakeDriver) -> None:
    n = Var("n", "int32")
    A = Buffer("A", (n,), "float32")
    body = S.Seq(tuple(launch(store(A, 1.0), [grid]) for grid in (n, n - 4, 2)))
    func = PrimFunc("three", (A,), body)
    kernel = build_table(func, str(driver.path))["three"]
    driver.reset()
    kernel(on_cuda(aligned(7)))
    kernel(on_cuda(aligned(4)))  # the second grid is empty
    grids = [line.split("(")[1].split()[0] for line in driver.log("cuLaunchKernel")]
    assert grids == ["7", "3", "2", "4", "2"]


def without_table() -> dict[str, PrimFunc]:
    n, p, wide = Var("n", "int32"), Var("p", "handle"), Var("wide", "uint64")
    A, W = Buffer("A", (n,), "float32"), Buffer("W", (n,), "float32")
    strided = Buffer("A", (n, 4), "float32", strides=(8, 1))
    flat = Buffer("A", (n * 8,), "float32", data=strided.data)
    packed, unused = Buffer("A", (n,), "int4"), Buffer("U", (n,), "float32")
    kernel = launch(store(A, 1.0), [n])
    return {
        "a workspace": PrimFunc("k", (A,), S.Seq((S.Allocate(W), launch(store(W, 1.0), [n])))),
        "a branch": PrimFunc("k", (A,), S.If(n > 4, kernel)),
        "an assertion": PrimFunc("k", (A,), S.Seq((S.Assert(n > 2, "small"), kernel))),
        "strides": PrimFunc("k", (strided,), launch(store(flat, 1.0), [n])),
        "packed elements": PrimFunc("k", (packed, A), kernel),
        "an optional tensor": PrimFunc("k", (A, unused), kernel),
        "an address": PrimFunc("k", (p, A), kernel),
        "64 unsigned bits": PrimFunc("k", (A, wide), kernel),
        "extents with factors": PrimFunc(
            "k", (Buffer("A", (n * 2,), "float32", data=A.data),), kernel
        ),
    }


@pytest.mark.parametrize("what", without_table())
def test_what_needs_compiled_text_has_no_table(what: str) -> None:
    func = without_table()[what]
    assert launch_table(func, func, "sm_80") is None


def test_a_table_knows_its_name_and_is_stable() -> None:
    func = scale()
    table = launch_table(func, func, "sm_80")
    assert table is not None
    assert table_name(table) == "scale"
    assert table == launch_table(func, func, "sm_80")


def test_a_table_of_another_version_is_refused(driver: FakeDriver) -> None:
    module = build_table(scale(), str(driver.path))
    assert isinstance(module, CudaModule) and module.table is not None
    other = CudaModule(module.library, "", b"image", None, b"\x63" + module.table[1:])
    with pytest.raises(RuntimeError, match="made for another version"):
        other["scale"]
