"""The pass over whole functions."""

from __future__ import annotations

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import INT32, IntImm, Var, as_expr, ceildiv
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import BufferStore, For, If, LoopKind, Seq
from tilelang.target import determine_target
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.simplify import simplify

n, i = Var("n"), Var("i")
A = Buffer("A", (n,), "int32")


def function(body) -> PrimFunc:
    return PrimFunc("kernel", (A,), body)


def context(**options) -> PassContext:
    config = {PassConfigKey[key]: value for key, value in options.items()}
    return PassContext(determine_target("c"), config)


def guarded_loop() -> For:
    body = If(i < n, BufferStore(A, IntImm(1), (i % n,)))
    return For(i, as_expr(0), n, LoopKind.SERIAL, body)


def test_guards_and_wrapping_go():
    made = simplify(function(guarded_loop()), context())
    assert isinstance(made, PrimFunc) and made.params == (A,)
    store = made.body.body
    assert isinstance(store, BufferStore) and store.indices == (i,)


def test_extents_of_parameters_are_not_negative():
    made = simplify(function(If(n >= 0, BufferStore(A, IntImm(1), (as_expr(0),)))), context())
    assert isinstance(made.body, BufferStore)
    m = Var("m", INT32)
    unknown = function(If(m >= 0, BufferStore(A, IntImm(1), (as_expr(0),))))
    assert simplify(unknown, context()) is unknown


def test_the_switch():
    func = function(guarded_loop())
    assert simplify(func, context(TL_SIMPLIFY=False)) is func
    assert simplify(func, context(TL_SIMPLIFY={})) is not func


def test_a_simple_function_stays_the_same_object():
    store = BufferStore(A, IntImm(1), (i * 4 + n // 4,))
    func = function(Seq((For(i, as_expr(0), ceildiv(n, 4), LoopKind.SERIAL, store), store)))
    once = simplify(func, context())
    assert simplify(once, context()) is once
