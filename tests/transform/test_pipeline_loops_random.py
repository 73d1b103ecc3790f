"""Random pipelined loops, with and without random schedules, against the serial loops."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.interpreter_async import run_async
from tests.lowering import PLAIN, results
from tilelang.ir import annotation as keys
from tilelang.ir.buffer import FRAGMENT, SHARED, Buffer
from tilelang.ir.expr import BufferLoad, BufferRegion, IntImm, Range, Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Allocate, Bind, BufferStore, For, If, Launch, LoopKind, seq
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.ir.verify import verify
from tilelang.ir.visitor import walk
from tilelang.transform.pipeline_loops import pipeline_loops

WIDTH = 4
ROWS = 24


def rows(buffer, first, count):
    bounds = (Range(as_expr(first), as_expr(count)), Range(as_expr(0), as_expr(WIDTH)))
    return BufferRegion(buffer, bounds)


def copy(src, dst):
    return TileOp("copy", (TileOperand("src", src, "r"), TileOperand("dst", dst, "w")))


class Program:
    """One random function: `for k in Pipelined(n)` over tiles, with reads around it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.n = Var("n")
        self.k = Var("k")
        self.A = Buffer("A", (ROWS, WIDTH), "float32")
        self.B = Buffer("B", (ROWS, WIDTH), "float32")
        self.mask = Buffer("mask", (ROWS,), "int32")
        self.out = Buffer("out", (8, WIDTH), "float32")
        self.shared = [Buffer(f"S{i}", (2, WIDTH), "float32", SHARED) for i in range(2)]
        self.near = [Buffer(f"F{i}", (2, WIDTH), "float32", FRAGMENT) for i in range(2)]
        self.row: Var | None = None

    def nest(self, target, function):
        i, j = Var("i"), Var("j")
        body = BufferStore(target, function(i, j), (i, j))
        for var, extent in ((j, WIDTH), (i, 2)):
            body = For(var, as_expr(0), as_expr(extent), LoopKind.PARALLEL, body)
        return body

    def index(self):
        choices = [self.k, self.k * 2, self.k + self.rng.randrange(3), self.n - self.k]
        if self.row is not None:
            choices += [self.row] * 3
        return self.rng.choice(choices)

    def fetch(self):
        S = self.rng.choice(self.shared)
        at, style = self.index(), self.rng.randrange(6)
        if style == 0:
            return self.nest(S, lambda i, j: BufferLoad(self.A, (at + i, j)))
        if style == 1:
            return copy(rows(self.A, at, 1), rows(S, self.rng.randrange(2), 1))
        if style == 2:
            halves = (copy(rows(self.A, at + r, 1), rows(S, r, 1)) for r in range(2))
            return seq(halves)
        source = self.B if style == 3 else self.A
        return copy(rows(source, at, 2), S.region())

    def work(self):
        S, F, G = self.rng.choice(self.shared), *self.rng.sample(self.near, 2)
        i_j = lambda b: lambda i, j: BufferLoad(b, (i, j))  # noqa: E731
        style = self.rng.randrange(7)
        if style == 0:
            return copy(S.region(), F.region())
        if style == 1:
            return self.nest(S, lambda i, j: i_j(S)(i, j) * 0.5 + i_j(F)(i, j))
        if style == 2:
            return self.nest(G, lambda i, j: i_j(F)(i, j) - i_j(S)(i, j))
        if style == 3 and self.rng.random() < 0.5:
            return copy(F.region(), rows(self.B, self.k, 2))
        if style == 4:
            return copy(F.region(), G.region())
        return self.nest(F, lambda i, j: i_j(F)(i, j) * 0.5 + i_j(S)(i, j))

    def statement(self):
        made = self.fetch() if self.rng.random() < 0.4 else self.work()
        if self.rng.random() < 0.25:
            made = seq([made, self.work()])
            test = self.rng.choice([BufferLoad(self.mask, (self.k,)), self.k % 3])
            other = self.work() if self.rng.random() < 0.3 else None
            return If(test < 1, made, other)
        return made

    def body(self):
        stmts = []
        if self.rng.random() < 0.5:
            row = Var("row")
            stmts.append(Bind(row, BufferLoad(self.mask, (self.k + 1,)) + self.k))
            self.row = row
        if self.rng.random() < 0.8:  # more often than not a program like those that people write
            stmts += [copy(rows(self.A, self.index(), 2), S.region()) for S in self.shared]
        stmts += [self.statement() for _ in range(self.rng.randrange(1, 5))]
        return stmts

    def annotations(self, body):
        given = [(keys.NUM_STAGES, self.rng.randrange(0, 5))]
        if self.rng.random() < 0.5:
            stmts = seq(s for s in body if not isinstance(s, Bind))
            count = len(getattr(stmts, "stmts", [stmts]))
            low = self.rng.choice([-1, 0])
            order = list(range(count))
            if self.rng.random() < 0.5:
                self.rng.shuffle(order)
            given.append((keys.PIPELINE_ORDER, tuple(order)))
            stage = [self.rng.randrange(low, 3) for _ in range(count)]
            if self.rng.random() < 0.6:
                stage = (
                    [low if isinstance(s, TileOp) else 1 for s in stmts.stmts] if count > 1 else [0]
                )
                for _ in range(self.rng.randrange(2)):
                    stage[self.rng.randrange(count)] += 1
            given.append((keys.PIPELINE_STAGE, tuple(stage)))
        return tuple(given)

    def function(self):
        body = self.body()
        trips = self.n if self.rng.random() < 0.6 else as_expr(self.rng.randrange(7))
        notes = self.annotations(body)
        loop = For(self.k, as_expr(0), trips, LoopKind.PIPELINED, seq(body), notes)
        start = [Allocate(b) for b in (*self.shared, *self.near)]
        start += [copy(rows(self.A, 1 + b, 2), x.region()) for b, x in enumerate(self.shared)]
        start += [copy(rows(self.A, 3 + b, 2), x.region()) for b, x in enumerate(self.near)]
        end = [copy(x.region(), rows(self.out, 2 * b, 2)) for b, x in enumerate(self.near)]
        if self.rng.random() < 0.2:
            end.append(copy(self.rng.choice(self.shared).region(), rows(self.out, 4, 2)))
        block, threads = Var("bx"), tuple(Var(f"t{a}") for a in "xyz")
        extents = (IntImm(32), IntImm(1), IntImm(1))
        launch = Launch((block,), (IntImm(1),), threads, extents, seq([*start, loop, *end]))
        return PrimFunc("kernel", (self.A, self.B, self.mask, self.out, self.n), launch)


def inputs(rng, trips):
    arrays = {n: rng.integers(-8, 9, (ROWS, WIDTH)).astype(np.float32) for n in "AB"}
    mask = rng.integers(0, 3, ROWS).astype(np.int32)
    return {**arrays, "mask": mask, "out": np.zeros((8, WIDTH), np.float32), "n": trips}


CHUNKS, PER_CHUNK = 8, 40


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_loops(chunk):
    pipelined = 0
    for seed in range(chunk * PER_CHUNK, (chunk + 1) * PER_CHUNK):
        func = Program(seed).function()
        made = pipeline_loops(func, PLAIN)
        verify(made)
        found = [n for n in walk(made) if isinstance(n, TileOp) and n.attribute("is_async")]
        pipelined += bool(found)
        for trips in (0, 1, 2, 3, 6):
            given = inputs(np.random.default_rng(seed), trips)
            got, want = run_async(made, given), results(func, given)
            for name in ("out", "B"):
                np.testing.assert_array_equal(
                    got[name], want[name], err_msg=f"seed {seed}, {trips} iterations"
                )
    assert pipelined >= PER_CHUNK // 8
