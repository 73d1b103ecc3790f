from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from tilelang.codegen.host_c import emit_entry
from tilelang.engine import runtime
from tilelang.engine.runtime import Executable, Module, build_module, load_module
from tilelang.errors import ArgumentError, ToolchainError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Evaluate

# out[i] = 2 * x[i] + 1, in blocks of 16 elements that pass through their arena.
KERNEL = """
#include <stdint.h>
#include "runtime.h"
static tl_parallel_for_fn parallel_for;
TL_API void tl_set_runtime(void *f) { parallel_for = (tl_parallel_for_fn)f; }
typedef struct { float *x, *out; int64_t n; } task;
static void block(void *p, int64_t begin, int64_t end, char *arena) {
  task *t = p;
  for (int64_t b = begin; b < end; ++b) {
    float *scratch = (float *)arena;
    for (int64_t i = b * 16; i < t->n && i < b * 16 + 16; ++i) scratch[i % 16] = 2 * t->x[i];
    for (int64_t i = b * 16; i < t->n && i < b * 16 + 16; ++i) t->out[i] = scratch[i % 16] + 1;
  }
}
int32_t body(void *x, void *out, int32_t n) {
  task t = {x, out, n};
  return parallel_for(block, &t, (n + 15) / 16, 64);
}
"""


def source(name: str = "axpy") -> str:
    n = Var("n")
    x, out = Buffer("x", (n,), "float32"), Buffer("out", (n,), "float32")
    body = Evaluate(x.load(0) + out.load(0))
    return KERNEL + emit_entry(PrimFunc(name, (x, out), body), "body")


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Module:
    return build_module(source(), "axpy", directory=tmp_path_factory.mktemp("build"))


def check(kernel: Executable, size: int) -> None:
    x = torch.rand(size, generator=torch.Generator().manual_seed(size))
    out = torch.empty(size)
    kernel(x, out)
    assert torch.equal(out, 2 * x + 1)


def test_runs_on_the_shared_pool(module: Module) -> None:
    for size in (0, 1, 15, 16, 17, 1000, 100_003):
        check(module["axpy"], size)
    assert module["axpy"] is module["axpy"]


def test_unknown_kernel(module: Module) -> None:
    assert "axpy" in module and "nope" not in module
    with pytest.raises(KeyError, match="has no kernel called 'nope'"):
        module["nope"]


def test_arrays_of_numpy_are_written_in_place(module: Module) -> None:
    x, out = np.arange(5, dtype=np.float32), np.zeros(5, np.float32)
    module["axpy"](x, out)
    assert out.tolist() == [1, 3, 5, 7, 9]


def test_many_threads_call_one_kernel(module: Module) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda size: check(module["axpy"], size), range(1, 400, 7)))


def test_many_threads_load_one_library(tmp_path: Path) -> None:
    built = build_module(source(), "axpy", directory=tmp_path)
    start = threading.Barrier(8)

    def use(_: int) -> int:
        start.wait()
        return id(built["axpy"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(use, range(8)))) == 1


def test_threads_can_be_set(module: Module) -> None:
    before = runtime.get_num_threads()
    try:
        for count in (1, 3, 2):
            runtime.set_num_threads(count)
            assert runtime.get_num_threads() == count
            check(module["axpy"], 10_000)
        runtime.set_num_threads(None)
        assert runtime.get_num_threads() >= 1
    finally:
        runtime.set_num_threads(before)


@pytest.mark.parametrize("count", [-1, 2.0, "2", True])
def test_bad_thread_counts(count: object) -> None:
    with pytest.raises(ArgumentError, match="number of threads"):
        runtime.set_num_threads(count)  # type: ignore[arg-type]


def test_load_from_disk(tmp_path: Path) -> None:
    build_module(source(), "axpy", directory=tmp_path)
    loaded = load_module(tmp_path / "axpy.so")
    check(loaded["axpy"], 50)
    with pytest.raises(ArgumentError, match="loaded without its source"):
        loaded.export_library(tmp_path / "b.so")


def test_damaged_library(tmp_path: Path) -> None:
    (tmp_path / "bad.so").write_bytes(b"\x7fELF not a library")
    for path in (tmp_path / "bad.so", tmp_path / "absent.so"):
        with pytest.raises(ToolchainError, match="cannot be loaded"):
            load_module(path)["axpy"]


def test_exported_library_needs_nothing_of_ours(module: Module, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "exported.so"
    module.export_library(target)
    code = (
        "import sys, numpy as np, tvm_ffi\n"
        f"f = tvm_ffi.load_module({str(target)!r}).get_function('axpy')\n"
        "x = np.arange(100, dtype='float32'); out = np.zeros_like(x)\n"
        "f(x, out)\n"
        "assert (out == 2 * x + 1).all() and 'tilelang' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    check(load_module(target)["axpy"], 333)


def test_libraries_do_not_see_each_other(tmp_path: Path) -> None:
    one = "int32_t value(void) { return 1; }\nint32_t body(void) { return value() - 1; }\n"
    two = "int32_t value(void) { return 2; }\nint32_t body(void) { return value() - 2; }\n"
    entry = "#include <stdint.h>\n{}" + emit_entry(PrimFunc("k", (), Evaluate(Var("x"))), "body")
    wrong = two.replace("value() - 2", "value() - 1")  # what `one` would be with the other's value
    first, second, third = (
        build_module(entry.replace("{}", t, 1), "k")["k"] for t in (one, two, wrong)
    )
    for _ in range(2):
        assert first() is None
        assert second() is None
        with pytest.raises(MemoryError):  # what 1 means
            third()


@pytest.fixture(scope="module")
def negate() -> Executable:
    x = Buffer("x", (3, 2), "bfloat16", strides=(Var("s", "int64"), Var("t", "int64")))
    text = """
#include <stdint.h>
int32_t body(void *x, int64_t s, int64_t t) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 2; ++j) ((uint16_t *)x)[i * s + j * t] ^= 0x8000;
  return 0;
}
"""
    func = PrimFunc("neg", (x,), Evaluate(x.load(0, 0)))
    return build_module(text + emit_entry(func, "body"), "neg")["neg"]


class TestArraysOutsideNumpysOwnTypes:
    def test_without_a_copy(self, negate: Executable) -> None:
        x = np.arange(6).reshape(3, 2).astype(ml_dtypes.bfloat16)
        negate(x)
        assert (x.astype(float) == -np.arange(6).reshape(3, 2)).all()
        negate(x.reshape(2, 3).T)
        assert (x.astype(float) == np.arange(6).reshape(3, 2)).all()

    def test_memory_is_released(self, negate: Executable) -> None:
        x = np.zeros((3, 2), ml_dtypes.bfloat16)
        before = sys.getrefcount(x)
        for _ in range(10):
            negate(x)
        assert sys.getrefcount(x) == before

    def test_read_only(self, negate: Executable) -> None:
        x = np.zeros((3, 2), ml_dtypes.bfloat16)
        x.flags.writeable = False
        with pytest.raises(ValueError, match=r"neg\(\): argument 1: a read-only NumPy array"):
            negate(x)

    def test_foreign_byte_order(self, negate: Executable) -> None:
        with pytest.raises(ValueError, match="foreign byte order"):
            negate(np.zeros((3, 2), ">f4"))

    def test_unpacked_sub_byte(self, negate: Executable) -> None:
        with pytest.raises(TypeError, match="pack two per byte"):
            negate(np.zeros((3, 2), ml_dtypes.int4))

    def test_records(self, negate: Executable) -> None:
        with pytest.raises(TypeError, match="argument 1"):
            negate(np.zeros((3, 2), [("a", "f4")]))


def test_pool_is_rebuilt_when_its_file_is_damaged_or_cannot_be_kept(tmp_path: Path) -> None:
    code = """
import numpy as np, sys
from tilelang.engine.runtime import get_num_threads
assert get_num_threads() == 3
"""

    def run(folder: Path) -> None:
        environment = {"TILELANG_CACHE_DIR": str(folder), "TILELANG_NUM_THREADS": "3"}
        subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})

    run(tmp_path / "cache")
    (pool,) = (tmp_path / "cache" / "runtime").iterdir()
    whole = pool.read_bytes()
    pool.write_bytes(whole[:100])
    run(tmp_path / "cache")
    assert len(pool.read_bytes()) > 1000
    (tmp_path / "file").write_text("not a directory")
    run(tmp_path / "file")
