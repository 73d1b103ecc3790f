"""Loops that run as one compute what they computed apart, and only where they may."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.interpreter import run
from tests.lowering import CHECKED, PLAIN, results, same
from tilelang.ir.annotation import REDUCTION
from tilelang.ir.buffer import FRAGMENT, GLOBAL, VAR, Buffer
from tilelang.ir.expr import BufferLoad, Expr, Var, as_expr, cast
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import (
    Allocate,
    Bind,
    BufferStore,
    For,
    If,
    Launch,
    LoopKind,
    Stmt,
    seq,
)
from tilelang.ir.visitor import Mutator, substitute, walk
from tilelang.transform.fuse_loops import fuse_loops
from tilelang.transform.pipeline import passes_for
from tilelang.transform.scalarize_fragments import scalarize_fragments

PAD = 3  # elements on each side of what loops run over, for shifted indices
ROWS = 4


def loops_in(func: PrimFunc) -> list[For]:
    return [n for n in walk(func.body) if isinstance(n, For)]


class Reversed(Mutator):
    """Vectorised loops from the last iteration to the first."""

    def mutate_For(self, node: For) -> Stmt:
        node = self.mutate_children(node)
        if node.kind is not LoopKind.VECTORIZED:
            return node
        var = Var(node.var.name, node.var.dtype)
        from_the_end = node.start * 2 + node.extent - 1 - var
        return replace(node, var=var, body=substitute(node.body, {node.var: from_the_end}))


# -- random programs -------------------------------------------------------------------------------


class Programs:
    """Neighbouring loops over the same and other ranges; each alone may run in any order.

    Integers throughout, so that sums do not depend on the order.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.extent = self.rng.choice((2, 3, 5, 8, 11))
        size = self.extent + 2 * PAD
        self.params = [Buffer(n, (ROWS, size), "int32", GLOBAL) for n in ("A", "B")]
        self.tiles = [Buffer(n, (ROWS, size), "int32", FRAGMENT) for n in ("s", "t", "u")]
        self.outs = [Buffer(f"{b.name}_out", b.shape, "int32", GLOBAL) for b in self.tiles]
        self.rows = [Buffer(n, (ROWS,), "int32", FRAGMENT) for n in ("p", "q")]
        self.totals = [Buffer(n, (1,), "int32", VAR) for n in ("total", "count")]

    def function(self) -> PrimFunc:
        rng = self.rng
        stmts: list[Stmt] = [Allocate(b) for b in (*self.tiles, *self.rows, *self.totals)]
        kept = [b for b in self.tiles if rng.random() < 0.6]  # the others live between the loops
        stmts += [self._clear(b) for b in kept]
        stmts += [self._row_loop(lambda r, b=b: BufferStore(b, as_expr(1), (r,)))
                  for b in self.rows]  # fmt: skip
        stmts += [BufferStore(t, as_expr(0), (as_expr(0),)) for t in self.totals]
        if rng.random() < 0.6:
            stmts += [self._nest() for _ in range(rng.randint(2, 4))]
        else:
            row = as_expr(rng.randrange(ROWS))
            stmts += [s for _ in range(rng.randint(2, 5)) for s in self._line(row)]
        stmts += [self._line_end(t, k) for k, t in enumerate(self.totals)]
        stmts += [self._show(b) for b in kept]
        one = as_expr(1)
        grid, threads = (Var("bx"),), tuple(Var(n) for n in "xyz")
        body = Launch(grid, (one,), threads, (one, one, one), seq(stmts))
        return PrimFunc("random", (*self.params, *self.outs), body)

    def _line_end(self, total: Buffer, row: int) -> Stmt:
        return BufferStore(
            self.params[0], BufferLoad(total, (as_expr(0),)), (as_expr(row), as_expr(0))
        )

    def _whole(self, store: Callable[[Expr, Expr], Stmt]) -> Stmt:
        r, c = Var("r"), Var("c")
        size = as_expr(self.extent + 2 * PAD)
        inner = For(c, as_expr(0), size, LoopKind.SERIAL, store(r, c))
        return For(r, as_expr(0), as_expr(ROWS), LoopKind.SERIAL, inner)

    def _clear(self, buffer: Buffer) -> Stmt:
        return self._whole(lambda r, c: BufferStore(buffer, r * 7 + c, (r, c)))

    def _show(self, buffer: Buffer) -> Stmt:
        out = self.outs[self.tiles.index(buffer)]
        return self._whole(lambda r, c: BufferStore(out, BufferLoad(buffer, (r, c)), (r, c)))

    def _row_loop(self, body: Callable[[Expr], Stmt]) -> For:
        r = Var("r")
        kind = self.rng.choice((LoopKind.SERIAL, LoopKind.VECTORIZED))
        return For(r, as_expr(0), as_expr(ROWS), kind, body(r))

    def _nest(self) -> Stmt:
        """A loop over rows: of lines, or of single elements."""
        rng = self.rng
        if rng.random() < 0.25:
            p, q = rng.sample(self.rows, 2)
            return self._row_loop(lambda r: BufferStore(p, BufferLoad(q, (r,)) * 3 + r, (r,)))
        r = Var("r")
        row: Expr = r if rng.random() < 0.8 else ROWS - 1 - r
        body = [s for _ in range(rng.randint(1, 2)) for s in self._line(row)]
        return For(r, as_expr(0), as_expr(ROWS), LoopKind.SERIAL, seq(body))

    def _line(self, row: Expr) -> list[Stmt]:
        """Now and then a statement that stands between loops, and a loop along `row`."""
        rng, j = self.rng, Var("j")
        between: list[Stmt] = []
        total = rng.choice(self.totals)
        if rng.random() < 0.3:
            between.append(BufferStore(total, as_expr(rng.randrange(5)), (as_expr(0),)))
        if rng.random() < 0.15:
            p = rng.choice(self.rows)
            between.append(BufferStore(p, BufferLoad(total, (as_expr(0),)), (row,)))
        value: Expr = cast(j, "int32")
        if rng.random() < 0.2:
            name = Var("offset")
            between.append(Bind(name, BufferLoad(rng.choice(self.rows), (row,))))
            value = value + name
        extent = self.extent + (1 if rng.random() < 0.15 else 0)
        target = rng.choice((*self.tiles, *self.params))
        for source in rng.sample((*self.tiles, *self.params), rng.randint(1, 2)):
            shift = 0 if source is target else rng.choice((0, 0, 0, 0, 1, -1, 2))
            value = value + BufferLoad(source, (row, j + (PAD + shift))) * rng.randint(1, 3)
        kind, notes = rng.choice((LoopKind.SERIAL, LoopKind.VECTORIZED, LoopKind.VECTORIZED)), ()
        if rng.random() < 0.3:
            here = BufferLoad(total, (as_expr(0),))
            body: Stmt = BufferStore(total, here + value, (as_expr(0),))
            if kind is LoopKind.VECTORIZED:
                notes = ((REDUCTION, (("+", total),)),)
        else:
            shift = rng.choice((0, 0, 0, 1, -1)) if target not in self._loaded(value) else 0
            body = BufferStore(target, value, (row, j + (PAD + shift)))
            if rng.random() < 0.2:
                body = If(j > 1, body)
        return [*between, For(j, as_expr(0), as_expr(extent), kind, body, notes)]

    def _loaded(self, value: Expr) -> set[Buffer]:
        return {n.buffer for n in walk(value) if isinstance(n, BufferLoad)}


def arrays(func: PrimFunc, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {b.name: rng.integers(-9, 9, b.shape).astype(np.int32) for b in func.buffer_params}


def test_random_loops_compute_the_same_in_any_order_of_lanes() -> None:
    fused = named = 0
    for seed in range(300):
        func = Programs(seed).function()
        made = fuse_loops(func, PLAIN)
        fused += len(loops_in(made)) < len(loops_in(func))
        scalars = scalarize_fragments(made, PLAIN)
        named += scalars is not made
        inputs = arrays(func, seed)
        expected = results(func, inputs)
        for program in (made, replace(made, body=Reversed().mutate(made.body)), scalars):
            for name, got in results(program, inputs).items():
                same(got, expected[name], 0.0, f"{name}, seed {seed}")
    assert fused > 60
    assert named > 5


def test_one_tensor_may_be_passed_for_two_parameters() -> None:
    changed = 0
    for seed in range(300, 450):
        func = Programs(seed).function()
        made = fuse_loops(func, PLAIN)
        changed += made is not func
        shared = arrays(func, seed)
        outcomes = []
        for program in (func, made):
            copies = {name: value.copy() for name, value in shared.items()}
            copies["B"] = copies["A"]
            run(program, copies)
            outcomes.append(copies)
        for name in shared:
            same(outcomes[1][name], outcomes[0][name], 0.0, f"{name}, seed {seed}")
    assert changed > 30


# -- one pair at a time ----------------------------------------------------------------------------

N = 8
Body = Callable[[Expr], Stmt]


class Pair:
    """Buffers for two loops, and how many loops are left of them."""

    def __init__(self) -> None:
        self.X, self.Y = (Buffer(n, (64,), "float32", GLOBAL) for n in "XY")
        self.s, self.t = (Buffer(n, (4096,), "float32", FRAGMENT) for n in "st")
        self.small = Buffer("small", (64,), "float32", FRAGMENT)
        self.bits = Buffer("bits", (64,), "int4", FRAGMENT)
        self.total = Buffer("total", (1,), "float32", VAR)
        self.k = Buffer("k", (1,), "int32", VAR)
        self.bx = Var("bx")

    def count(
        self, first: Body, second: Body, between: Sequence[Stmt] = (), n: int = N,
        kinds: Sequence[LoopKind] = (LoopKind.VECTORIZED, LoopKind.VECTORIZED),
        notes: Sequence[tuple[str, object]] = (), attributes: Sequence[tuple[str, object]] = (),
        after: Sequence[Stmt] = (),
    ) -> int:  # fmt: skip
        i, j = Var("i"), Var("j")
        loops = (
            For(i, as_expr(0), as_expr(n), kinds[0], first(i)),
            For(j, as_expr(0), as_expr(n), kinds[1], second(j), tuple(notes)),
        )
        made = [Allocate(b) for b in (self.s, self.t, self.small, self.bits, self.total, self.k)]
        one, threads = as_expr(1), tuple(Var(n) for n in "xyz")
        body = seq([*made, loops[0], *between, loops[1], *after])
        launch = Launch((self.bx,), (as_expr(4),), threads, (one, one, one), body)
        func = PrimFunc("pair", (self.X, self.Y), launch, tuple(attributes))
        return len(loops_in(fuse_loops(func, PLAIN)))


def put(buffer: Buffer, index: Expr, value: Expr) -> Stmt:
    return BufferStore(buffer, value, (index,))


def get(buffer: Buffer, index: Expr | int = 0) -> Expr:
    return BufferLoad(buffer, (as_expr(index),))


@pytest.fixture
def p() -> Pair:
    return Pair()


def copied(p: Pair) -> Body:
    return lambda i: put(p.s, i, get(p.X, i))


def doubled(p: Pair) -> Body:
    return lambda j: put(p.t, j, get(p.s, j) * 2.0)


def test_equal_indices_fuse_and_shifted_ones_do_not(p: Pair) -> None:
    assert p.count(copied(p), doubled(p)) == 1
    for at in (lambda j: j + 1, lambda j: N - 1 - j, lambda j: j * 2, lambda j: j * 0 + 3):
        assert p.count(copied(p), lambda j, at=at: put(p.t, j, get(p.s, at(j)))) == 2
        assert p.count(lambda i, at=at: put(p.s, at(i), get(p.X, i)), doubled(p)) == 2
        assert (
            p.count(
                lambda i, at=at: put(p.t, i, get(p.s, at(i))), lambda j: put(p.s, j, get(p.X, j))
            )
            == 2
        )
    both = p.count(
        lambda i: put(p.s, i * 2 + 1, get(p.X, i)), lambda j: put(p.t, j, get(p.s, j * 2))
    )
    assert both == 1  # odd places, even places


def test_rows_of_blocks_fuse_where_all_is_at_one_offset(p: Pair) -> None:
    offset = p.bx * N

    def second(j):
        return put(p.t, j, get(p.s, j + offset))

    assert p.count(lambda i: put(p.s, i + offset, get(p.X, i)), second) == 1
    assert p.count(copied(p), second) == 2
    assert p.count(copied(p), lambda j: put(p.t, j, get(p.s, j + get(p.k)))) == 2


def test_loops_that_share_nothing_stay_apart(p: Pair) -> None:
    assert p.count(copied(p), lambda j: put(p.Y, j, get(p.t, j))) == 2


def summed(p: Pair) -> Body:
    return lambda j: put(p.total, as_expr(0), get(p.total) + get(p.s, j))


def test_sums_fuse_with_what_they_add_and_not_with_who_uses_them(p: Pair) -> None:
    notes = ((REDUCTION, (("+", p.total),)),)
    clear = put(p.total, as_expr(0), as_expr(0.0))
    assert p.count(copied(p), summed(p), [clear], notes=notes) == 1

    def use(j):
        return put(p.s, j, get(p.s, j) / get(p.total))

    assert p.count(summed(p), use, kinds=(LoopKind.SERIAL,) * 2) == 2
    assert p.count(use, summed(p), kinds=(LoopKind.SERIAL,) * 2) == 2


def test_what_stands_between_must_not_need_the_first_loop(p: Pair) -> None:
    for value, left in ((get(p.t), 1), (get(p.s), 2), (get(p.X), 2)):
        name = Var("offset", "float32")

        def use(j, name=name):
            return put(p.t, j + 100, get(p.s, j) + name)

        assert p.count(copied(p), use, [Bind(name, value)]) == left
        start = put(p.total, as_expr(0), value)
        assert p.count(copied(p), doubled(p), [start]) == left
    assert p.count(copied(p), doubled(p), [put(p.t, as_expr(9), as_expr(1.0))]) == 2


def test_ranges_and_kinds(p: Pair) -> None:
    serial, lanes = LoopKind.SERIAL, LoopKind.VECTORIZED
    assert p.count(copied(p), doubled(p), kinds=(serial, serial)) == 1
    assert p.count(copied(p), doubled(p), kinds=(serial, lanes)) == 1  # of a few iterations
    assert p.count(copied(p), doubled(p), kinds=(serial, lanes), n=32) == 2
    assert p.count(copied(p), doubled(p), kinds=(LoopKind.UNROLLED, lanes)) == 2


def test_loops_keep_their_vectors(p: Pair) -> None:
    def last(j):
        return put(p.t, as_expr(0), get(p.s, j))

    assert p.count(copied(p), last) == 2

    def packed(j):
        return put(p.bits, j, cast(get(p.s, j), "int4"))

    assert p.count(copied(p), packed) == 2


def test_parameters_that_may_be_one_tensor_or_overlap(p: Pair) -> None:
    def in_place(j):
        return put(p.Y, j, get(p.s, j))

    assert p.count(copied(p), in_place) == 1
    assert p.count(copied(p), lambda j: put(p.Y, j + 1, get(p.s, j))) == 2
    assert p.count(copied(p), in_place, attributes=(("tilelang_may_alias", ("Y",)),)) == 2


def test_no_sum_is_contracted_with_a_product_that_was_rounded(p: Pair) -> None:
    def product(b):
        return lambda i: put(b, i, get(p.X, i) * get(p.X, i))

    def more(b):
        return lambda j: put(p.t, j, get(b, j) + 1.0)

    assert p.count(product(p.s), more(p.s)) == 1  # in memory that the compiler cannot do without
    assert p.count(product(p.small), more(p.small)) == 2
    kept = [put(p.Y, as_expr(0), get(p.small, 5))]
    assert p.count(product(p.small), more(p.small), after=kept) == 1
    assert p.count(product(p.s), lambda j: put(p.s, j, get(p.s, j) + 1.0)) == 2


# -- compiled --------------------------------------------------------------------------------------


def test_roundings_of_compiled_kernels_stay() -> None:
    n = 700  # more than the C compiler unrolls

    @T.prim_func
    def kernel(A: T.Tensor((n,), "float32"), B: T.Tensor((n,), "float32"),
               C: T.Tensor((n,), "float32")):  # fmt: skip
        with T.Kernel(1):
            product = T.alloc_fragment((n,), "float32")
            total = T.alloc_fragment((n,), "float32")
            for i in T.Parallel(n):
                product[i] = A[i] * B[i]
            for i in T.Parallel(n):
                total[i] = product[i] - 1.0
            for i in T.Parallel(n):
                C[i] = total[i]

    rng = np.random.default_rng(0)
    a, b = (1 + 0.001 * rng.standard_normal((2, n))).astype(np.float32)
    c = np.empty_like(a)
    tilelang.compile(kernel, target="c")(a, b, c)
    np.testing.assert_array_equal(c, a * b - np.float32(1))


@pytest.mark.parametrize("rows, columns", [(4, 300), (5, 257)])
def test_row_kernels(rows: int, columns: int) -> None:
    block = 2

    @T.prim_func
    def kernel(X: T.Tensor((rows, columns), "float32"), Y: T.Tensor((rows, columns), "float32")):
        with T.Kernel(T.ceildiv(rows, block)) as bx:
            x = T.alloc_fragment((block, columns), "float32")
            centred = T.alloc_fragment((block, columns), "float32")
            mean = T.alloc_fragment((block,), "float32")
            largest = T.alloc_fragment((block,), "float32")
            T.copy(X[bx * block, 0], x)
            T.reduce_sum(x, mean, dim=1)
            for i in T.Parallel(block):
                mean[i] = mean[i] / columns
            for i, j in T.Parallel(block, columns):
                centred[i, j] = x[i, j] - mean[i]
            T.reduce_absmax(centred, largest, dim=1)
            for i, j in T.Parallel(block, columns):
                Y[bx * block + i, j] = centred[i, j] / largest[i]

    made = tilelang.compile(kernel, target="c")
    x = np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32)
    y, in_place = np.empty_like(x), x.copy()
    made(x, y)
    centred = x - x.astype(np.float64).mean(axis=1, keepdims=True)
    expected = centred / np.abs(centred).max(axis=1, keepdims=True)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    made(in_place, in_place)
    np.testing.assert_array_equal(in_place, y)
    if rows % block == 0:
        assert made.get_kernel_source().count("for (int32_t i") == 1


def test_the_sanitizer_sees_the_loops_as_they_are_written() -> None:
    names = [entry.name for entry in passes_for(PLAIN)]
    assert names.index("stream_stores") < names.index("fuse_loops") < names.index("plan_memory")
    func = Programs(3).function()
    assert fuse_loops(func, CHECKED) is func
