"""Functions and modules."""

from __future__ import annotations

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.func import GLOBAL_SYMBOL, OUT_IDX, IRModule, PrimFunc
from tilelang.ir.stmt import Seq

A = Buffer("A", (8,))
n = Var("n")


def function(name: str = "f") -> PrimFunc:
    return PrimFunc(name, (A, n), Seq(()))


def test_parameters() -> None:
    f = function()
    assert f.buffer_params == (A,)
    assert f.buffer_map == {A.data: A}


def test_attributes() -> None:
    f = function().with_attribute(OUT_IDX, (-1,)).with_attribute("target", "c")
    assert f.attribute(OUT_IDX) == (-1,)
    assert f.attribute("missing", 0) == 0
    assert f.attrs == {GLOBAL_SYMBOL: "f", OUT_IDX: (-1,), "target": "c"}
    again = f.with_attribute(OUT_IDX, (-2,))
    assert again.attribute(OUT_IDX) == (-2,) and len(again.attributes) == 2
    assert f.attribute(OUT_IDX) == (-1,), "the original stays"
    assert again.params is f.params


def test_modules_keep_their_order() -> None:
    f, g = function("f"), function("g")
    module = IRModule({"b": g, "a": f})
    assert [name for name, _ in module.items()] == ["b", "a"]
    assert module["a"] is f and "b" in module and "c" not in module and len(module) == 2
    assert IRModule(f)["f"] is f
    assert len(IRModule()) == 0
