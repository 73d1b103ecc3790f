"""legalize_memory on random programs: every access in range, the same results."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.interpreter import Interpreter, run
from tilelang.ir.annotation import SAFE_VALUE
from tilelang.ir.buffer import GLOBAL, SHARED, VAR, Buffer
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    Ramp,
    Var,
    as_expr,
    if_then_else,
    less,
    logical_and,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Stmt,
    seq,
)
from tilelang.ir.verify import verify
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.legalize_memory import legalize_memory

SHARED_SIZE = 64
KINDS = (LoopKind.SERIAL, LoopKind.VECTORIZED, LoopKind.VECTORIZED, LoopKind.UNROLLED)


class Programs:
    """Random loop nests over two global arrays with a dynamic and a constant extent."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.n, self.m = Var("n"), self.random.randrange(1, 12)
        self.A = Buffer("A", (self.n, self.m), "int32", GLOBAL)
        self.C = Buffer("C", (self.n, self.m), "int32", GLOBAL)
        self.I = Buffer("I", (self.n,), "int32", GLOBAL)
        self.S = Buffer("S", (SHARED_SIZE,), "int32", SHARED)
        self.v = Buffer("v", (1,), "int32", VAR)
        self.names: list[Expr] = []
        self.loops: list[Var] = []

    def func(self) -> PrimFunc:
        j, bx = Var("j"), Var("bx")
        clear = BufferStore(self.S, as_expr(3), (j,))
        size = as_expr(SHARED_SIZE)
        start = [
            Allocate(self.S),
            For(j, as_expr(0), size, LoopKind.SERIAL, clear),
            Allocate(self.v),
        ]
        self.names.append(bx)
        body = self.block(3)
        one = as_expr(1)
        threads = (Var("tx"), Var("ty"), Var("tz"))
        launch = Launch((bx,), (as_expr(2),), threads, (one, one, one), seq([*start, body]))
        return PrimFunc("k", (self.A, self.C, self.I), launch)

    def index(self) -> Expr:
        """A sum of names with small factors; rarely an element of memory."""
        if self.random.random() < 0.1:
            return BufferLoad(self.I, (self.index(),))
        result: Expr = as_expr(self.random.randrange(-3, 6))
        for name in self.random.sample(self.names, min(len(self.names), self.random.randrange(3))):
            result = result + name * self.random.choice([1, 1, 1, 2, 4, -1, -2])
        return result

    def load(self) -> Expr:
        if self.random.random() < 0.2:
            return BufferLoad(self.S, ((self.index() % SHARED_SIZE + SHARED_SIZE) % SHARED_SIZE,))
        return BufferLoad(self.A, (self.index(), self.index()))

    def value(self) -> Expr:
        pick = self.random.randrange(5)
        if pick == 0:
            return self.load() + self.load()
        if pick == 1:
            return if_then_else(self.condition(), self.load(), self.load())
        return self.load() * 2 + BufferLoad(self.v, (as_expr(0),)) if pick == 2 else self.load()

    def condition(self) -> Expr:
        test = less(self.index(), self.random.choice([self.n, as_expr(self.m), as_expr(4)]))
        return (
            logical_and(test, less(as_expr(-2), self.index()))
            if self.random.random() < 0.4
            else test
        )

    def block(self, depth: int) -> Stmt:
        known = len(self.names)
        stmts = [self.stmt(depth) for _ in range(self.random.randint(1, 3))]
        del self.names[known:]
        body = seq(stmts)
        if self.random.random() < 0.15:
            safe = as_expr(self.random.randrange(100))
            return Attr(SAFE_VALUE, ((self.A, safe),), body)
        return body

    def stmt(self, depth: int) -> Stmt:
        pick = self.random.randrange(12 if depth else 6)
        if pick <= 1:
            return BufferStore(self.C, self.value(), (self.index(), self.index()))
        if pick == 2:
            place = (self.index() % SHARED_SIZE + SHARED_SIZE) % SHARED_SIZE
            return BufferStore(self.S, self.value(), (place,))
        if pick == 3:
            return self.other()
        if pick == 4:
            var = Var("b")
            made = Bind(var, self.random.choice([self.index, self.load])())
            self.names.append(var)
            return made
        if pick == 5:
            last = Ramp(self.index(), as_expr(self.random.choice([1, 1, 2])), 4)
            value = BufferLoad(self.A, (self.index(), Ramp(self.index(), as_expr(1), 4)))
            return BufferStore(self.C, value, (self.index(), last))
        if pick <= 7:
            other = self.block(depth - 1) if self.random.random() < 0.4 else None
            return If(self.condition(), self.block(depth - 1), other)
        var = Var("i")
        extent = self.random.choice([as_expr(self.random.randrange(7)), self.n])
        start = as_expr(self.random.choice([0, 0, 2, -1]))
        self.names.append(var)
        body = self.block(depth - 1)
        self.names.remove(var)
        return For(var, start, extent, self.random.choice(KINDS), body)

    def other(self) -> Stmt:
        if self.random.random() < 0.5:
            return BufferStore(self.v, self.value() % 50, (as_expr(0),))
        place = BufferLoad(self.C, (self.index(), self.index()))
        return Evaluate(Call("atomic_add", (place, self.load(), as_expr(0)), self.C.dtype))


@pytest.mark.parametrize("seed", range(120))
def test_random_accesses(seed: int) -> None:
    programs = Programs(seed)
    func = programs.func()
    made = legalize_memory(func, PassContext(Target("c")))
    verify(made, "thread")
    for n in (1, 5):
        rng = np.random.default_rng(seed)
        A = rng.integers(-9, 50, (n, programs.m)).astype(np.int32)
        index = rng.integers(-2, 7, n).astype(np.int32)
        before, after = (np.zeros((n, programs.m), np.int32) for _ in "ab")
        run(func, {"A": A, "C": before, "I": index})
        strict = Interpreter(made)
        strict.must_be_in_range = True
        strict.run({"A": A, "C": after, "I": index})
        np.testing.assert_array_equal(after, before)
