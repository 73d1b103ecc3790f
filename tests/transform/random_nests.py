"""Random `T.Parallel` nests with the fragments that their buffers have, and what runs them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tilelang.ir.buffer import FRAGMENT, Buffer
from tilelang.ir.expr import BufferLoad, Expr, Var, as_expr
from tilelang.ir.stmt import BufferStore, For, LoopKind, Stmt
from tilelang.layout.blocked import BlockedFragment, widest_vector
from tilelang.layout.evaluate import evaluate
from tilelang.layout.fragment import Fragment, make_fully_replicated_layout_fragment
from tilelang.transform.nests import Nest, Partition

THREADS = (32, 48, 64, 96, 100, 128, 160, 224, 256)
SIZES = (1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 37, 64, 96, 101, 128, 199, 200)
THREAD, STEP, LANE = Var("t"), Var("s"), Var("v")


@dataclass
class Case:
    """A nest, the fragments of its buffers, and the ranges of the loops around it."""

    nest: Nest
    threads: int
    layouts: dict[Buffer, Fragment]
    outer: dict[Var, tuple[int, int]]
    stored: Buffer


def loops_of(rng: random.Random) -> list[tuple[Var, int, int]]:
    """Variable, start and extent of one to three loops."""
    extents: list[int] = []
    for _ in range(rng.randint(1, 3)):
        fitting = [n for n in SIZES if n * int(np.prod(extents or [1])) <= 6000]
        extents.append(rng.choice(fitting))
    starts = [rng.choice((0, 0, 0, 1, 4, 7)) for _ in extents]
    return [(Var("ijk"[d]), s, n) for d, (s, n) in enumerate(zip(starts, extents))]


def index_of(rng: random.Random, loop: tuple[Var, int, int]) -> tuple[Expr, int]:
    """An index that runs over the loop's range, forwards or backwards, and an extent around it."""
    var, start, extent = loop
    offset, more = rng.choice((0, 0, 0, 1, 8)), rng.choice((0, 0, 0, 3, 8))
    if rng.random() < 0.15:
        return (start + extent - 1 + offset) - var, extent + offset + more
    shift = offset - start
    return (var + shift if shift else var), extent + offset + more


def fragment_for(rng: random.Random, shape: Sequence[int], threads: int) -> Fragment:
    """Dealt out, held by everybody, or the accumulator of a matrix instruction."""
    rows, columns = shape[-2:] if len(shape) > 1 else (0, 0)
    if len(shape) == 2 and rows % 16 == 0 and columns % 8 == 0 and rows // 16 * 32 <= threads:
        atom = Fragment([16, 8], lambda i, j: ((i % 8) * 4 + j // 2, (i // 8) * 2 + j % 2))
        return atom.repeat([rows // 16, 1], True).repeat([1, columns // 8])
    if rng.random() < 0.1 and np.prod(shape) <= 64:
        return make_fully_replicated_layout_fragment(list(shape), threads)
    vector = widest_vector(shape, threads, rng.choice((1, 2, 4, 8)))
    return BlockedFragment(tuple(shape), threads, vector)


def case(seed: int) -> Case:
    """A nest that stores to one fragment, at a place of its own per iteration, from others."""
    rng = random.Random(seed)
    threads = rng.choice(THREADS)
    loops = loops_of(rng)
    outer = {Var("o"): (rng.choice((0, 2)), rng.randint(1, 4))} if rng.random() < 0.3 else {}
    layouts: dict[Buffer, Fragment] = {}

    def place(count: int, name: str) -> tuple[Buffer, tuple[Expr, ...]]:
        chosen = rng.sample(loops, len(loops)) if rng.random() < 0.3 else list(loops)
        found = [index_of(rng, loop) for loop in chosen[:count]]
        if rng.random() < 0.2:
            found.insert(rng.randint(0, len(found)), (as_expr(2), 3))
        for var, (start, extent) in outer.items():
            if rng.random() < 0.6:
                found.insert(0, (var + 0, start + extent))
        buffer = Buffer(name, tuple(n for _, n in found), "float32", FRAGMENT)
        layouts[buffer] = fragment_for(rng, [n for _, n in found], threads)
        return buffer, tuple(i for i, _ in found)

    stored, target = place(len(loops), "d")
    value: Expr = BufferLoad(stored, target)
    for number in range(rng.randint(0, 2)):
        buffer, indices = place(rng.randint(1, len(loops)), f"e{number}")
        value = value + BufferLoad(buffer, indices)
    body: Stmt = BufferStore(stored, value, target)
    for var, start, extent in reversed(loops):
        body = For(var, as_expr(start), as_expr(extent), LoopKind.PARALLEL, body)
    assert isinstance(body, For)
    return Case(Nest(body), threads, layouts, outer, stored)


def outer_values(made: Case) -> list[dict[Var, int]]:
    """All iterations of the loops around."""
    values: list[dict[Var, int]] = [{}]
    for var, (start, extent) in made.outer.items():
        values = [{**v, var: start + n} for v in values for n in range(extent)]
    return values


@dataclass
class Runs:
    """What all threads run: arrays `[threads, steps, lanes]`."""

    env: dict[Var, np.ndarray]  # of all variables, the loops' among them
    active: np.ndarray
    first: np.ndarray

    def iterations(self, nest: Nest) -> np.ndarray:
        """`[runs, loops]`, in no particular order."""
        return np.stack([self.env[v][self.active] for v in nest.variables], -1)


def runs_of(partition: Partition, vector: int, outer: Mapping[Var, int]) -> Runs:
    """The partition's expressions on every thread, step and lane, used as code uses them: one
    condition for all lanes of a group."""
    steps = partition.holding.registers // vector
    grid = np.indices((partition.threads, steps, vector))
    env = {THREAD: grid[0], STEP: grid[1], LANE: grid[2], **outer}

    def table(value: Expr | None) -> np.ndarray:
        if value is None:
            return np.ones(grid[0].shape, bool)
        return np.broadcast_to(evaluate(value, env), grid[0].shape)

    active = table(partition.condition(vector, THREAD, STEP, as_expr(0)))
    first = table(partition.first(vector, THREAD, STEP, LANE))
    values = partition.values(vector, THREAD, STEP, LANE)
    found = {v: table(values[v]) for v in partition.nest.variables}
    return Runs({**env, **found}, active, first)
