"""The default adapter: outputs, order of arguments, sources, libraries from the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tilelang
import tilelang.language as T
from tilelang.codegen.host_c import callee_declaration
from tilelang.engine.lower import params_of
from tilelang.errors import ArgumentError, ArgumentTypeError, ToolchainError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.stmt import Evaluate, Seq
from tilelang.jit.adapter.base import legalize_result_idx
from tilelang.jit.adapter.tvm_ffi import COMPILE_ARGS, TVMFFIKernelAdapter

n = Var("n", "int32")


def scaling() -> tuple[PrimFunc, str]:
    """A kernel `B, A, x, C`: B = x * A, C = A + 1."""
    b, a, c = (Buffer(name, (n,), "float32") for name in "BAC")
    body = Seq(tuple(Evaluate(t.load(0)) for t in (b, a, c)))
    func = PrimFunc("k", (b, a, Var("x", "float32"), c), body)
    text = (
        "for (int i = 0; i < n; ++i) { ((float *)B)[i] = x * ((float *)A)[i];"
        " ((float *)C)[i] = ((float *)A)[i] + 1; } return 0;"
    )
    return func, f'#include "fault.h"\n{callee_declaration(func, "k_host")} {{ {text} }}\n'


def adapter_of(out_idx: Any, **options: Any) -> TVMFFIKernelAdapter:
    func, source = scaling()
    return TVMFFIKernelAdapter(
        params_of(func), out_idx, "c", func, device_kernel_source=source, **options
    )


class TestResultIndices:
    def test_forms(self) -> None:
        assert legalize_result_idx(None, 3) == []
        assert legalize_result_idx(-1, 3) == [2]
        assert legalize_result_idx(0, 3) == [0]
        given = [-1, 0]
        assert legalize_result_idx(given, 3) == [2, 0]
        assert given == [-1, 0]
        assert legalize_result_idx((1,), 3) == [1]

    @pytest.mark.parametrize("given", [3, -4, [0, 3], [0, 0], [0, -3]])
    def test_positions_outside_and_twice(self, given: Any) -> None:
        with pytest.raises(ArgumentError):
            legalize_result_idx(given, 3)

    @pytest.mark.parametrize("given", ["0", 1.0, [0, "1"], [True]])
    def test_other_types(self, given: Any) -> None:
        with pytest.raises(ValueError, match="out_idx"):
            legalize_result_idx(given, 3)
        with pytest.raises(ArgumentTypeError):
            legalize_result_idx(given, 3)


class TestCalls:
    def test_without_outputs_the_entry_point_is_what_users_call(self) -> None:
        adapter = adapter_of(None)
        assert adapter.func is adapter.executable
        a, b, c = torch.arange(3.0), torch.zeros(3), torch.zeros(3)
        assert adapter(b, a, 2.0, c) is None
        assert b.tolist() == [0, 2, 4]
        assert c.tolist() == [1, 2, 3]

    @pytest.mark.parametrize("make", [torch.arange, lambda k: np.arange(k, dtype=np.float32)])
    def test_outputs_come_in_the_order_of_out_idx(self, make: Any) -> None:
        c, b = adapter_of([-1, 0])(make(3.0), 2.0)
        assert b.tolist() == [0, 2, 4]
        assert c.tolist() == [1, 2, 3]
        assert type(c) is type(make(3.0))

    def test_one_output_is_no_list(self) -> None:
        b = torch.zeros(3)
        c = adapter_of(3)(b, torch.arange(3.0), 2.0)
        assert c.tolist() == [1, 2, 3]
        assert b.tolist() == [0, 2, 4]

    def test_count(self) -> None:
        with pytest.raises(ValueError, match=r"expected 2 arguments \(A, x\), got 3"):
            adapter_of([0, 3])(torch.zeros(3), 1.0, 1.0)
        with pytest.raises(ValueError, match="4"):
            adapter_of(None)(torch.zeros(3))

    def test_shapes_that_do_not_agree(self) -> None:
        with pytest.raises(ValueError, match="where n = 3"):
            adapter_of(3)(torch.zeros(3), torch.zeros(4), 1.0)

    def test_an_empty_output(self) -> None:
        with pytest.raises(ValueError, match="must be positive"):
            adapter_of([0, 3])(torch.zeros(0), 1.0)


class TestAttributes:
    def test_of_the_page(self) -> None:
        adapter = adapter_of([0, 3], pass_configs={}, verbose=True)
        func = adapter.prim_func
        assert adapter.ir_module is not None
        assert adapter.ir_module["k"] is func
        assert adapter.result_idx == [0, 3]
        assert adapter.dynamic_symbolic_map == {func.params[2]: (2, 2, -1), n: (0, 0, 0)}
        assert str(adapter.target).startswith("c")
        assert adapter.pass_configs == {}
        assert COMPILE_ARGS == {}

    def test_a_module_stays_as_it_is(self) -> None:
        func, source = scaling()
        module = IRModule(func)
        adapter = TVMFFIKernelAdapter(
            params_of(func), None, "c", module, device_kernel_source=source
        )
        assert adapter.ir_module is module

    def test_sources(self) -> None:
        adapter = adapter_of(None)
        device, host = adapter.get_device_source(), adapter.get_host_source()
        assert "k_host" in device
        assert "__tvm_ffi_k" in host
        assert "__tvm_ffi_k" not in device
        assert adapter.kernel_global_source == device == adapter.get_kernel_source(kernel_only=True)
        assert adapter.get_kernel_source() == f"{device}\n\n{host}"

    def test_neither_library_nor_source(self) -> None:
        func, _ = scaling()
        with pytest.raises(ArgumentError):
            TVMFFIKernelAdapter(params_of(func), None, "c", func)

    def test_source_that_does_not_compile(self) -> None:
        func, source = scaling()
        with pytest.raises(ToolchainError):
            TVMFFIKernelAdapter(
                params_of(func),
                None,
                "c",
                func,
                device_kernel_source=source.replace("k_host(", "k_host(int,"),
            )


def test_from_the_cache_nothing_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = adapter_of([0, 3])
    path = tmp_path / "kernel.so"
    path.write_bytes(first.library_path.read_bytes())
    monkeypatch.setenv("CC", "/nonexistent/cc")
    again = TVMFFIKernelAdapter.from_database(
        first.params,
        [0, 3],
        "c",
        first.prim_func,
        first.get_host_source(),
        first.get_device_source(),
        str(path),
    )
    b, _ = again(torch.arange(4.0), 3.0)
    assert b.tolist() == [0, 3, 6, 9]
    assert again.library_path == path
    assert again.get_kernel_source() == first.get_kernel_source()


def test_both_backends_say_the_same_of_wrong_arguments() -> None:
    @T.prim_func
    def add(A: T.Tensor((8, 4), "float32"), B: T.Tensor((8, 4), "float32")):  # type: ignore[valid-type]
        with T.Kernel(8, threads=4) as b:
            for i in T.Parallel(4):
                B[b, i] = A[b, i] + 1.0

    good = torch.zeros(8, 4)
    wrong = [torch.zeros(4, 4), torch.zeros(8, 4, dtype=torch.float64), torch.zeros(8, 4, 1)]
    for bad in wrong:
        texts = []
        for backend in ("tvm_ffi", "cython"):
            kernel = tilelang.compile(add, target="c", execution_backend=backend)
            with pytest.raises(ValueError) as caught:
                kernel(good, bad)
            texts.append(caught.value.args[0])
        assert texts[0] == texts[1]
        assert texts[0].startswith("add(): argument 2 `B`: expected float32[8, 4] on cpu, got ")
