"""Vectors lane by lane: which program comes out (what it computes: tests/codegen/test_c.py)."""

from __future__ import annotations

import pytest

from tilelang.errors import TargetError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Broadcast, BufferLoad, Call, Expr, Ramp, StringImm, Var, as_expr, call
from tilelang.ir.func import PrimFunc
from tilelang.ir.ops import has_side_effect
from tilelang.ir.stmt import Allocate, Bind, BufferStore, Evaluate, For, LoopKind, Seq, Stmt
from tilelang.ir.visitor import walk
from tilelang.target.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.split_lanes import split_lanes

CONTEXT = PassContext(Target("c"))
A = Buffer("A", (64,), "float32")
B = Buffer("B", (64,), "float32")


def ramp(start: int, lanes: int = 4) -> Expr:
    return Ramp(as_expr(start), as_expr(1), lanes)


def split(*body: Stmt) -> PrimFunc:
    func = split_lanes(PrimFunc("f", (A, B), Seq(tuple(body))), CONTEXT)
    assert not any(isinstance(n, Expr) and n.dtype.lanes > 1 for n in walk(func.body))
    return func


def test_a_vector_store_is_one_vectorised_loop() -> None:
    func = split(BufferStore(A, B.load(ramp(8)) * 2.0, (ramp(0),)))
    (loop,) = (n for n in walk(func) if isinstance(n, For))
    assert loop.kind is LoopKind.VECTORIZED
    assert not any(isinstance(n, Allocate) for n in walk(func))


def test_a_store_that_reads_its_own_buffer_elsewhere_goes_through_a_temporary() -> None:
    shifted = split(BufferStore(A, A.load(ramp(1)), (ramp(0),)))
    assert sum(isinstance(n, For) for n in walk(shifted)) == 2
    assert any(isinstance(n, Allocate) for n in walk(shifted))
    in_place = split(BufferStore(A, A.load(ramp(0)) + 1.0, (ramp(0),)))
    assert sum(isinstance(n, For) for n in walk(in_place)) == 1


def test_a_bound_vector_is_evaluated_once() -> None:
    v = Var("v", "float32x4")
    func = split(Bind(v, A.load(ramp(0))), BufferStore(B, v * v, (ramp(4),)))
    loads = [n for n in walk(func) if isinstance(n, BufferLoad) and n.buffer is A]
    assert len(loads) == 1


def test_values_with_effects_happen_once() -> None:
    random = call("rng_rand_float", StringImm("uniform"), dtype="float32")
    func = split(BufferStore(A, Broadcast(random, 4), (ramp(0),)))
    assert sum(isinstance(n, Call) and has_side_effect(n) for n in walk(func)) == 1
    assert any(isinstance(n, Bind) for n in walk(func))


def test_scalar_programs_are_left_alone() -> None:
    func = PrimFunc("f", (A,), Seq((BufferStore(A, as_expr(1.0), (as_expr(0),)),)))
    assert split_lanes(func, CONTEXT) is func


def test_a_vector_for_an_external_function_is_an_error() -> None:
    value = Call("call_extern", (StringImm("f"), A.load(ramp(0))), A.dtype)
    with pytest.raises(TargetError, match="has no vector arguments"):
        split(Evaluate(value))
