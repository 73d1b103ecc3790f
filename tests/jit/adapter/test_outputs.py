"""Outputs that a call allocates."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch

from tilelang.errors import ArgumentError, ArgumentTypeError, LanguageError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Seq
from tilelang.jit.adapter.outputs import OutputPlan, dynamic_symbol_map

m, n, s = Var("m", "int32"), Var("n", "int32"), Var("s", "int64")


def plan(params: list[Buffer | Var], positions: list[int] | None = None) -> OutputPlan:
    return OutputPlan(
        PrimFunc("k", tuple(params), Seq(())), [len(params) - 1] if positions is None else positions
    )


def shape_for(*args: Any, params: list[Buffer | Var]) -> list[int]:
    (output,) = plan(params).allocate(args)
    return list(output.shape)


class TestSymbolMap:
    def test_scalars_then_shapes_then_strides(self) -> None:
        a = Buffer("A", (m, n), "float32", strides=(s, 1))
        b = Buffer("B", (n, s), "float32")
        func = PrimFunc("k", (a, b, m), Seq(()))
        assert dynamic_symbol_map(func) == {m: (2, 2, -1), n: (0, 0, 1), s: (0, 1, 1)}

    def test_only_bare_variables(self) -> None:
        func = PrimFunc("k", (Buffer("A", (n * 2, m), "float32"),), Seq(()))
        assert dynamic_symbol_map(func) == {m: (0, 0, 1)}


class TestShapes:
    def test_constants(self) -> None:
        assert shape_for(params=[Buffer("C", (3, 4), "float32")]) == [3, 4]

    def test_from_extents_strides_and_scalars(self) -> None:
        a = Buffer("A", (m, 4), "float32", strides=(s, 1))
        params = [a, n, Buffer("C", (n, m + 1, s), "float32")]
        assert shape_for(torch.zeros(3, 9)[:, :4], 5, params=params) == [5, 4, 9]
        assert shape_for(np.zeros((3, 9), np.float32)[:, :4], 5, params=params) == [5, 4, 9]

    def test_a_scalar_behind_an_output(self) -> None:
        made = plan([Buffer("C", (n,), "float32"), Buffer("A", (m,), "float32"), n], [0])
        assert made.input_positions == [1, 2]
        (output,) = made.allocate([torch.zeros(2), 6])
        assert output.shape == (6,)

    def test_linear_forms_are_solved(self) -> None:
        a = Buffer("A", (m, n * 4 + m), "float32")
        chooser = random.Random(0)
        for _ in range(5):
            rows, columns = chooser.randint(1, 5), chooser.randint(1, 5)
            given = torch.zeros(rows, columns * 4 + rows)
            assert shape_for(given, params=[a, Buffer("C", (n, m), "int8")]) == [columns, rows]
        with pytest.raises(ArgumentError, match="no `n` gives it 7 elements along axis 1"):
            shape_for(torch.zeros(2, 7), params=[a, Buffer("C", (n,), "int8")])

    def test_packed_elements(self) -> None:
        a, packed = Buffer("A", (m, n), "int4"), Buffer("C", (n, m), "int4")
        assert shape_for(torch.zeros(6, 5, dtype=torch.int8), params=[a, packed]) == [10, 3]
        plain = Buffer("C", (m, n), "float32")
        assert shape_for(torch.zeros(6, 5, dtype=torch.int8), params=[a, plain]) == [6, 10]

    @pytest.mark.parametrize("rows", [0, -3])
    def test_every_dimension_is_positive(self, rows: int) -> None:
        with pytest.raises(ArgumentError, match=rf"output `C` would have shape \[{rows}, 2\]"):
            shape_for(rows, params=[m, Buffer("C", (m, 2), "float32")])
        with pytest.raises(ArgumentError, match="must be positive"):
            plan([Buffer("C", (2, rows), "float32")])

    def test_several_outputs_in_the_order_asked_for(self) -> None:
        params: list[Buffer | Var] = [Buffer(x, (k + 1, n), "int32") for k, x in enumerate("ABC")]
        for order in itertools.permutations([0, 2]):
            made = plan(params, list(order)).allocate([torch.zeros(2, 7, dtype=torch.int32)])
            assert [list(o.shape) for o in made] == [[k + 1, 7] for k in order]

    def test_no_rank(self) -> None:
        assert (
            shape_for(torch.zeros(1), params=[Buffer("A", (1,), "int8"), Buffer("C", (), "int8")])
            == []
        )


class TestLibraries:
    @pytest.mark.parametrize(
        "kind", ["float16", "bfloat16", "int8", "bool", "float8_e4m3fn", "uint8"]
    )
    def test_of_the_inputs(self, kind: str) -> None:
        made = plan([Buffer("A", (n,), "float32"), Buffer("C", (n,), kind)])
        (tensor,) = made.allocate([torch.zeros(3)])
        assert isinstance(tensor, torch.Tensor)
        assert str(tensor.dtype) == f"torch.{kind}"
        (array,) = made.allocate([np.zeros(3, np.float32)])
        assert isinstance(array, np.ndarray)
        assert array.dtype.name == kind

    def test_one_tensor_of_pytorch_decides(self) -> None:
        made = plan(
            [
                Buffer("A", (3,), "float32"),
                Buffer("B", (3,), "float32"),
                Buffer("C", (3,), "float32"),
            ]
        )
        (output,) = made.allocate([np.zeros(3, np.float32), torch.zeros(3, device="meta")])
        assert output.device.type == "meta"

    def test_without_tensors(self) -> None:
        (output,) = plan([n, Buffer("C", (n,), "float32")]).allocate([4])
        assert isinstance(output, torch.Tensor)

    def test_without_pytorch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "torch", None)
        (output,) = plan([n, Buffer("C", (n,), "float32")]).allocate([4])
        assert isinstance(output, np.ndarray)


class TestMistakes:
    def test_a_dimension_that_no_argument_gives(self) -> None:
        with pytest.raises(LanguageError, match="the shape of output `C` needs `n`"):
            plan([Buffer("A", (m,), "int8"), Buffer("C", (n,), "int8")])

    def test_an_output_that_is_no_tensor(self) -> None:
        with pytest.raises(ArgumentError, match="parameter 0 `n` of `k` is no tensor"):
            plan([n], [0])

    def test_inputs_of_the_wrong_kind(self) -> None:
        params: list[Buffer | Var] = [Buffer("A", (4, n), "int8"), m, Buffer("C", (n, m), "int8")]
        with pytest.raises(ArgumentTypeError, match="argument 1 `A`: expected a tensor, got list"):
            shape_for([1, 2], 3, params=params)
        with pytest.raises(ArgumentError, match="argument 1 `A`: rank 1, but axis 1 is needed"):
            shape_for(torch.zeros(4), 3, params=params)
        with pytest.raises(
            ArgumentTypeError, match="argument 2 `m`: expected an integer, got float"
        ):
            shape_for(torch.zeros(4, 4), 3.5, params=params)
