"""spread_threads on random programs: loops over threads give what threads in lockstep give."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.interpreter import run
from tilelang.ir.annotation import COLLECTIVE
from tilelang.ir.buffer import GLOBAL, LOCAL, SHARED, VAR, Buffer
from tilelang.ir.expr import (
    BufferLoad,
    Expr,
    IntImm,
    Var,
    as_expr,
    if_then_else,
    less,
    maximum,
    minimum,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    Break,
    BufferStore,
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
from tilelang.transform.spread_threads import spread_threads

ROWS = 4


class Programs:
    """Random thread code over an input, shared memory, private storage and an output.

    Threads meet other threads' elements of shared memory only where all threads run the same
    statements; under a condition on the thread they keep to their own.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.nx, self.ny = self.random.choice([(5, 1), (8, 1), (4, 3)])
        self.count = self.nx * self.ny
        self.A = Buffer("A", (self.count,), "int32", GLOBAL)
        self.B = Buffer("B", (ROWS, self.count), "int32", GLOBAL)
        self.S = Buffer("S", (self.count,), "int32", SHARED)
        self.x = Buffer("x", (2,), "int32", LOCAL)
        self.v = Buffer("v", (1,), "int32", VAR)
        self.tx, self.ty = Var("tx"), Var("ty")
        self.names: list[Expr] = []

    def func(self) -> PrimFunc:
        start = [Allocate(b) for b in (self.S, self.x, self.v)]
        init: list[Stmt] = [
            BufferStore(self.v, self.thread, (as_expr(0),)),
            BufferStore(self.x, as_expr(1), (as_expr(0),)),
            BufferStore(self.x, BufferLoad(self.A, (self.thread,)), (as_expr(1),)),
            BufferStore(self.S, self.thread * 3, (self.thread,)),
        ]
        body = self.block(3, alone=False, size=9)
        end = [
            BufferStore(self.B, self.value(False), (as_expr(r), self.thread)) for r in range(ROWS)
        ]
        one = as_expr(1)
        launch = Launch(
            (Var("bx"),),
            (one,),
            (self.tx, self.ty, Var("tz")),
            (as_expr(self.nx), as_expr(self.ny), one),
            seq([*start, *init, body, *end]),
        )
        return PrimFunc("k", (self.A, self.B), launch)

    @property
    def thread(self) -> Expr:
        return self.tx if self.ny == 1 else self.tx + self.ty * self.nx

    def place(self, alone: bool) -> Expr:
        """An index of shared memory: each thread another one."""
        t = self.thread
        if alone:
            return t
        shifted = (t + self.random.randrange(self.count)) % self.count
        return self.random.choice([t, t, as_expr(self.count - 1) - t, shifted])

    def value(self, alone: bool, depth: int = 2) -> Expr:
        """A small integer."""
        pick = self.random.randrange(9 if depth else 6)
        if pick == 0:
            return as_expr(self.random.randrange(-5, 20))
        if pick == 1:
            return BufferLoad(self.v, (as_expr(0),))
        if pick == 2:
            return BufferLoad(self.x, (as_expr(self.random.randrange(2)),))
        if pick == 3:
            return BufferLoad(self.A, (self.place(False),))
        if pick == 4:
            return BufferLoad(self.S, (self.place(alone),))
        if pick == 5:
            return self.random.choice([self.tx, self.thread, *self.names])
        a, b = self.value(alone, depth - 1), self.value(alone, depth - 1)
        if pick == 6:
            return (a + b) % 97
        if pick == 7:
            return if_then_else(less(a, b), a, b - a)
        return self.random.choice([minimum, maximum])(a, b)

    def block(self, depth: int, alone: bool, size: int = 4, leaves: bool = False) -> Stmt:
        known = len(self.names)
        stmts = [self.stmt(depth, alone, leaves) for _ in range(self.random.randint(1, size))]
        del self.names[known:]
        return seq(stmts)

    def stmt(self, depth: int, alone: bool, leaves: bool) -> Stmt:
        pick = self.random.randrange(12 if depth else 7)
        if pick <= 1:
            return BufferStore(self.v, self.value(alone), (as_expr(0),))
        if pick == 2:
            return BufferStore(self.x, self.value(alone), (as_expr(self.random.randrange(2)),))
        if pick == 3:
            return BufferStore(self.S, self.value(alone), (self.place(alone),))
        if pick == 4:
            at = (as_expr(self.random.randrange(ROWS)), self.thread)
            return BufferStore(self.B, self.value(alone), at)
        if pick == 5:
            var = Var(f"n{self.random.randrange(1000)}")
            made = Bind(var, self.value(alone))
            self.names.append(var)
            return made
        if pick == 6:
            return (
                self.collective()
                if not alone
                else BufferStore(self.v, self.value(True), (as_expr(0),))
            )
        if pick <= 8:
            condition = less(self.value(True), self.value(True))
            other = self.block(depth - 1, True, 3, leaves) if self.random.random() < 0.5 else None
            return If(condition, self.block(depth - 1, True, 3, leaves), other)
        if pick == 9:
            extent = (self.value(True, 1) % 3 + 3) % 3
            return self.loop(extent, depth, True)
        if pick == 10 and leaves and alone:
            return If(less(self.value(True), 3), Break())
        return self.loop(IntImm(self.random.randrange(4)), depth, alone)

    def loop(self, extent: Expr, depth: int, alone: bool) -> Stmt:
        var = Var("i")
        self.names.append(var)
        body = self.block(depth - 1, alone, 3, leaves=alone)
        self.names.remove(var)
        return For(var, as_expr(0), extent, LoopKind.SERIAL, body)

    def collective(self) -> Stmt:
        j = Var("j")
        element = BufferLoad(self.S, (as_expr(self.count - 1) - j,))
        body = BufferStore(self.S, (element + j) % 89, (j,))
        loop = For(j, as_expr(0), as_expr(self.count), LoopKind.SERIAL, body)
        return Attr(COLLECTIVE, True, loop)


@pytest.mark.parametrize("seed", range(120))
def test_random_thread_code(seed: int) -> None:
    programs = Programs(seed)
    func = programs.func()
    made = spread_threads(func, PassContext(Target("c")))
    verify(made, "thread")
    A = np.random.default_rng(seed).integers(-9, 50, programs.count).astype(np.int32)
    before, after = (np.zeros((ROWS, programs.count), np.int32) for _ in "ab")
    run(func, {"A": A, "B": before})
    run(made, {"A": A, "B": after})
    np.testing.assert_array_equal(after, before)
