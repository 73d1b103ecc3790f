"""Kernels called through a library with a plain C interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import tilelang
import tilelang.language as T
from tilelang.codegen.host_c import callee_declaration
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.engine.lower import params_of
from tilelang.errors import ArgumentError, ArgumentTypeError, ToolchainError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Evaluate, Seq, Stmt
from tilelang.jit.adapter.cython import CythonKernelAdapter
from tilelang.jit.adapter.library import LibraryGenerator
from tilelang.target.target import Target

OUT = 16  # numbers that a kernel can write down; the last says that it ran
RAN = 4711


def touch(*buffers: Buffer) -> Stmt:
    return Seq(tuple(Evaluate(b.load(*(0 for _ in b.shape))) for b in buffers))


def adapter_of(func: PrimFunc, body: str, out_idx: Any = None) -> CythonKernelAdapter:
    """An adapter around a host function with the C text `body`."""
    source = (
        f"#include <stdint.h>\n{callee_declaration(func, func.name + '_host')} {{\n{body}\n}}\n"
    )
    return CythonKernelAdapter(params_of(func), out_idx, "c", func, device_kernel_source=source)


def recorder(
    params: list[Buffer | Var], uses: list[Buffer] | None = None
) -> Callable[..., list[float]]:
    """Calls a kernel `k` that writes its scalars and symbols down; gives what it wrote."""
    out = Buffer("out", (OUT,), "float64")
    used = [p for p in params if isinstance(p, Buffer)] if uses is None else uses
    func = PrimFunc("k", (*params, out), touch(*used, out))
    numbers = [p for p in params if isinstance(p, Var) and p.dtype != "handle"]
    values = [v.name for v in (*numbers, *dynamic_symbols(func))]
    lines = [f"  ((double *)out)[{i}] = (double){v};" for i, v in enumerate(values)]
    lines.append(f"  ((double *)out)[{OUT - 1}] = {RAN};")
    adapter = adapter_of(func, "\n".join([*lines, "  return 0;"]))

    def call(*args: Any, **keywords: Any) -> list[float]:
        written = np.full(OUT, -1.0)
        adapter(*args, written, **keywords)
        assert written[-1] == RAN
        return written[: len(values)].tolist()

    return call


def message(kind: type[Exception], call: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(kind) as caught:
        call(*args)
    return caught.value.args[0]


@pytest.fixture(scope="module")
def call() -> Callable[..., list[float]]:
    return recorder([Buffer("A", (4, 6), "float32"), Buffer("B", (3,), "bfloat16")])


class TestTensors:
    def test_both_libraries_are_taken(self, call: Callable[..., list[float]]) -> None:
        call(torch.zeros(4, 6), torch.zeros(3, dtype=torch.bfloat16))
        call(np.zeros((4, 6), np.float32), np.zeros(3, ml_dtypes.bfloat16))

    def test_device_comes_first(self, call: Callable[..., list[float]]) -> None:
        text = message(ValueError, call, torch.zeros(4, 5), torch.zeros(9, device="meta"))
        assert text == "k(): argument 2 `B`: expected bfloat16[3] on cpu, got float32[9] on meta"

    def test_dtype_comes_before_shape(self, call: Callable[..., list[float]]) -> None:
        text = message(ValueError, call, torch.zeros(4, 5), torch.zeros(3))
        assert text == "k(): argument 2 `B`: expected bfloat16[3] on cpu, got float32[3]"

    def test_shape_comes_before_contiguity(self, call: Callable[..., list[float]]) -> None:
        b = torch.zeros(4, dtype=torch.bfloat16)
        transposed = torch.zeros(6, 4).T
        assert "`B`" in message(ArgumentError, call, transposed, b)
        text = message(ArgumentError, call, transposed, b[:3])
        assert text.endswith("got float32[4, 6] with strides [1, 4], which is not contiguous")

    def test_rank(self, call: Callable[..., list[float]]) -> None:
        b = torch.zeros(3, dtype=torch.bfloat16)
        assert "got float32[4, 6, 1]" in message(ArgumentError, call, torch.zeros(4, 6, 1), b)

    def test_an_axis_of_extent_one_may_have_any_stride(self) -> None:
        call = recorder([Buffer("A", (1, 6), "float32")])
        call(torch.zeros(2, 12)[:1, :6])
        call(np.zeros((2, 12), np.float32)[:1, :6])

    def test_other_objects(self, call: Callable[..., list[float]]) -> None:
        text = message(TypeError, call, 3, torch.zeros(3, dtype=torch.bfloat16))
        assert text == "k(): argument 1 `A`: expected float32[4, 6] on cpu, got int"
        assert "got None" in message(TypeError, call, None, None)

    def test_none_for_what_the_kernel_does_not_touch(self) -> None:
        a, b = Buffer("A", (4,), "float32"), Buffer("B", (4,), "float32")
        call = recorder([a, b], [b])
        call(None, np.zeros(4, np.float32))
        assert "`B`" in message(TypeError, call, np.zeros(4, np.float32), None)

    def test_arrays_that_cannot_be_used(self) -> None:
        call = recorder([Buffer("A", (4,), "float32")])
        frozen = np.zeros(4, np.float32)
        frozen.flags.writeable = False
        assert "read-only" in message(ArgumentError, call, frozen)
        assert "got >f4[4]" in message(ArgumentError, call, np.zeros(4, ">f4"))
        odd = np.zeros(17, np.uint8)[1:].view(np.float32)
        assert "not aligned" in message(ArgumentError, call, odd)

    def test_validation_can_be_left_out(self) -> None:
        call = recorder([Buffer("A", (4,), "float32")])
        assert call(np.zeros(9, np.int8), skip_tensor_validation=True, stream=-1) == []

    def test_packed_values(self) -> None:
        m, n = Var("m", "int32"), Var("n", "int32")
        call = recorder([Buffer("A", (m, n), "int4")])
        assert call(torch.zeros(3, 5, dtype=torch.int8)) == [3, 10]


class TestStrides:
    def test_symbols_of_strides(self) -> None:
        m, s = Var("m", "int32"), Var("s", "int64")
        call = recorder([Buffer("A", (m, 4), "float32", strides=(s, 1))])
        assert call(torch.zeros(3, 9)[:, :4]) == [3, 9]
        assert call(np.zeros((3, 9), np.float32)[:, :4]) == [3, 9]

    def test_static_strides_are_checked(self) -> None:
        call = recorder([Buffer("A", (2, 4), "float32", strides=(8, 1))])
        call(torch.zeros(2, 8)[:, :4])
        assert "with strides [4, 1], not [8, 1]" in message(ArgumentError, call, torch.zeros(2, 4))

    def test_one_stride_of_two_tensors(self) -> None:
        s = Var("s", "int32")
        a = Buffer("A", (2, 4), "float32", strides=(s, 1))
        b = Buffer("B", (1, 4), "float32", strides=(s, 1))
        call = recorder([b, a])
        assert call(torch.zeros(1, 4), torch.zeros(2, 7)[:, :4]) == [7]


class TestSymbols:
    def test_one_symbol_of_two_tensors(self) -> None:
        m, n = Var("m", "int32"), Var("n", "int32")
        call = recorder([Buffer("A", (m, n), "float32"), Buffer("B", (n, m), "float32")])
        assert call(torch.zeros(2, 3), torch.zeros(3, 2)) == [2, 3]
        text = message(ArgumentError, call, torch.zeros(2, 3), torch.zeros(4, 2))
        assert text.endswith("expected float32[n, m] on cpu, got float32[4, 2], where n = 3")

    def test_linear_forms_are_solved(self) -> None:
        n = Var("n", "int32")
        call = recorder([Buffer("A", (n * 4 + 2,), "float32")])
        assert call(torch.zeros(14)) == [3]
        assert "for some int32 n >= 0" in message(ArgumentError, call, torch.zeros(15))

    def test_a_scalar_decides_an_extent(self) -> None:
        n = Var("n", "int32")
        call = recorder([n, Buffer("A", (n, 2), "float32")])
        assert call(3, torch.zeros(3, 2)) == [3]
        assert "where n = 4" in message(ArgumentError, call, 4, torch.zeros(3, 2))

    def test_each_symbol_has_its_own_c_type(self) -> None:
        small, wide = Var("small", "int16"), Var("wide", "int64")
        call = recorder([Buffer("A", (small, wide), "float32")])
        assert call(torch.zeros(0, 1 << 40)) == [0, 1 << 40]
        assert "`A`" in message(ArgumentError, call, torch.zeros(40000, 0))


class TestScalars:
    @pytest.mark.parametrize("bits", [8, 16, 32, 64])
    @pytest.mark.parametrize("prefix", ["int", "uint"])
    def test_integers_and_their_ranges(self, prefix: str, bits: int) -> None:
        x = Var("x", f"{prefix}{bits}")
        low, high = x.dtype.min_value(), x.dtype.max_value()
        func = PrimFunc("k", (x, Buffer("out", (1,), x.dtype)), touch())
        adapter = adapter_of(func, f"*({prefix}{bits}_t *)out = x; return 0;")
        out = np.zeros(1, x.dtype.as_numpy())
        for value in (low, high, 7, np.int8(5), torch.tensor(3)):
            adapter(value, out, skip_tensor_validation=True)
            assert out[0] == int(value)
        for value in (low - 1, high + 1):
            assert f"got {value}" in message(ArgumentError, adapter, value, out)

    @pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16"])
    def test_floats(self, kind: str) -> None:
        call = recorder([Var("x", kind)])
        assert call(1.5) == [1.5]
        assert call(np.float32(-2)) == [-2]
        assert call(3) == [3]
        assert "expected" in message(TypeError, call, "1.5")

    def test_bool(self) -> None:
        call = recorder([Var("x", "bool")])
        assert [call(v)[0] for v in (True, False, 2)] == [1, 0, 1]

    def test_wrong_kinds(self) -> None:
        call = recorder([Var("x", "int32")])
        for value in (1.5, "1", None, torch.zeros(2), torch.tensor(1.5)):
            assert "`x`: expected int32, got" in message(ArgumentTypeError, call, value)

    def test_pointers_are_tensors_or_addresses(self) -> None:
        p = Var("p", "handle")
        func = PrimFunc("k", (p,), Evaluate(as_expr(p)))
        adapter = adapter_of(func, "*(float *)p = 5; return 0;")
        array, tensor = np.zeros(1, np.float32), torch.zeros(1)
        adapter(array)
        adapter(tensor.data_ptr())
        assert array[0] == tensor[0] == 5
        with pytest.raises(ArgumentTypeError):
            adapter(None)


class TestCalls:
    def test_arguments_are_checked_before_anything_is_written(self) -> None:
        func = PrimFunc("k", (Buffer("A", (1,), "float32"), Var("x", "int8")), Seq(()))
        adapter = adapter_of(func, "*(float *)A = x; return 0;")
        array = np.zeros(1, np.float32)
        with pytest.raises(ArgumentError):
            adapter(array, 300)
        assert array[0] == 0

    def test_count(self) -> None:
        call = recorder([Var("x", "int32")])
        assert message(ValueError, call) == "k(): expected 2 arguments (x, out), got 1"

    def test_failures_of_the_kernel(self) -> None:
        func = PrimFunc("k", (Var("x", "int32"),), Seq(()))
        body = (
            "if (x != 2) return x;\n  tl_fault fault = {0};\n"
            '  tl_fault_raise(&fault, "no %s", "luck");\n'
            "  return tl_fault_report(&fault);"
        )
        source = f'#include "fault.h"\n{callee_declaration(func, "k_host")} {{\n{body}\n}}\n'
        adapter = CythonKernelAdapter(params_of(func), None, "c", func, device_kernel_source=source)
        assert adapter(0) is None
        assert "out of memory" in message(RuntimeError, adapter, 1)
        assert message(RuntimeError, adapter, 2) == "k(): no luck"
        assert message(RuntimeError, adapter, 7) == "k(): the kernel failed"
        adapter(0)
        assert adapter.lib.get_last_error() == b""

    def test_outputs(self) -> None:
        n = Var("n", "int32")
        a, b, c = (Buffer(name, (n,), "float32") for name in "ABC")
        func = PrimFunc("k", (b, a, c), touch(a, b, c))
        body = (
            "float *a = A, *b = B, *c = C;\n"
            "for (int i = 0; i < n; ++i) b[i] = 2 * (c[i] = a[i]);\nreturn 0;"
        )
        adapter = adapter_of(func, body, [0, -1])
        b_out, c_out = adapter(torch.arange(5.0))
        assert torch.equal(b_out, 2 * torch.arange(5.0))
        assert torch.equal(c_out, torch.arange(5.0))
        b_out, c_out = adapter(np.arange(5, dtype=np.float32))
        assert isinstance(b_out, np.ndarray)
        assert b_out.tolist() == [0, 2, 4, 6, 8]

    def test_attributes(self) -> None:
        m, n = Var("m", "int32"), Var("n", "int32")
        a = Buffer("A", (m, n), "float32")
        func = PrimFunc("k", (n, a), touch(a))
        adapter = adapter_of(func, "return 0;")
        assert adapter.dynamic_symbolic_map == {m: (0, 1, 0)}
        assert adapter.prim_func is func
        assert "k_host" in adapter.get_device_source()
        assert "get_last_error" in adapter.get_host_source()
        assert adapter.get_kernel_source(True) == adapter.get_device_source()
        assert adapter.get_host_source() in adapter.get_kernel_source()
        assert adapter.library_path.exists()


def test_a_library_from_the_cache_is_not_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = Buffer("A", (3,), "float32")
    func = PrimFunc("k", (a,), touch(a))
    first = adapter_of(func, "*(float *)A = 4; return 0;")
    path = tmp_path / "kernel.so"
    path.write_bytes(first.library_path.read_bytes())
    monkeypatch.setenv("CC", "/nonexistent/cc")
    again = CythonKernelAdapter.from_database(
        params_of(func),
        None,
        "c",
        func,
        first.get_host_source(),
        first.get_device_source(),
        str(path),
    )
    array = np.zeros(3, np.float32)
    again(array)
    assert array[0] == 4
    assert again.library_path == path
    assert again.get_kernel_source() == first.get_kernel_source()


class TestLibraries:
    def test_a_damaged_file(self, tmp_path: Path) -> None:
        path = tmp_path / "kernel.so"
        path.write_bytes(b"nothing")
        with pytest.raises(ToolchainError, match="cannot be loaded"):
            LibraryGenerator(Target("c")).load_lib(path)

    def test_nothing_to_compile_or_load(self) -> None:
        generator = LibraryGenerator(Target("c"))
        with pytest.raises(ArgumentError):
            generator.compile_lib()
        with pytest.raises(ArgumentError):
            generator.load_lib()

    def test_text_without_the_functions(self) -> None:
        generator = LibraryGenerator(Target("c"))
        generator.update_lib_code("int init(void) { return 0; }")
        path = generator.compile_lib()
        with pytest.raises(ToolchainError):
            generator.load_lib()
        generator.remove_lib()
        assert not path.exists()

    def test_init_that_fails(self) -> None:
        generator = LibraryGenerator(Target("c"))
        generator.update_lib_code(
            'const char *get_last_error(void) { return "no"; }\n'
            "int init(void) { return -1; }\nint call(void) { return 0; }"
        )
        generator.compile_lib()
        with pytest.raises(ToolchainError, match="no"):
            generator.load_lib()


def test_from_a_traced_kernel_to_a_result() -> None:
    @T.prim_func
    def axpy(x: T.Tensor((1000,), "float32"), a: T.float32, y: T.Tensor((1000,), "float32")):  # type: ignore[valid-type]
        with T.Kernel(T.ceildiv(1000, 256), threads=128) as b:
            for i in T.Parallel(256):
                y[b * 256 + i] = a * x[b * 256 + i]

    kernel = tilelang.compile(axpy, out_idx=-1, target="c", execution_backend="cython")
    x = np.arange(1000, dtype=np.float32)
    assert np.array_equal(kernel(x, 3.0), 3 * x)
