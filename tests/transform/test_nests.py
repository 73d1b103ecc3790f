"""Who runs the iterations of a nest: enumerated over all threads, steps and lanes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.transform.random_nests import LANE, STEP, case, outer_values, runs_of
from tilelang.errors import LayoutError
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import BufferLoad, Var, as_expr
from tilelang.ir.stmt import Bind, BufferStore, For, LoopKind, Seq
from tilelang.layout.blocked import BlockedFragment
from tilelang.layout.evaluate import evaluate
from tilelang.transform.nests import Nest, RegisterTable, leading_access, partition_of

CHUNKS, CHUNK = 10, 25


def parallel(body, **extents):
    """The nest of `body(i, ...)` over the extents."""
    variables = {name: Var(name) for name in extents}
    made = body(*variables.values())
    for name, extent in reversed(extents.items()):
        made = For(variables[name], as_expr(0), as_expr(extent), LoopKind.PARALLEL, made)
    return Nest(made)


def all_iterations(nest):
    grids = np.indices([loop.extent.value for loop in nest.loops])
    starts = [loop.start.value for loop in nest.loops]
    return np.stack([g.reshape(-1) + s for g, s in zip(grids, starts)], -1)


def as_numbers(rows):
    return {tuple(row) for row in rows.tolist()}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_iteration_runs_and_one_thread_is_the_first(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        made = case(seed)
        partition = partition_of(made.nest, made.layouts, made.threads)
        wanted = all_iterations(made.nest)
        for limit in (1, 4, 8):
            vector = partition.vector(limit)
            for outer in outer_values(made):
                runs = runs_of(partition, vector, outer)
                got = runs.iterations(made.nest)
                assert as_numbers(got) == as_numbers(wanted), (seed, vector)
                runs.active = runs.active & runs.first
                once = runs.iterations(made.nest)
                assert len(once) == len(wanted), (seed, vector)
                assert as_numbers(once) == as_numbers(wanted), (seed, vector)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_nest_without_fragments_runs_each_iteration_once(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        made = case(seed)
        partition = partition_of(made.nest, {}, made.threads)
        assert partition.buffer is None
        for limit in (1, 4, 8):
            runs = runs_of(partition, partition.vector(limit), {})
            got = runs.iterations(made.nest)
            assert len(got) == len(all_iterations(made.nest)), seed
            assert as_numbers(got) == as_numbers(all_iterations(made.nest)), seed


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_registers_are_those_of_the_fragment(chunk):
    """A table gives the register of every access; a refusal means that there is none."""
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        made = case(seed)
        partition = partition_of(made.nest, made.layouts, made.threads)
        vector = partition.vector(8)
        for access in made.nest.accesses:
            fragment = made.layouts[access.buffer]
            table = partition.register(access, fragment, made.outer)
            is_held, per_step = True, {}
            for number, outer in enumerate(outer_values(made)):
                runs = runs_of(partition, 1, outer)
                owners, places = owners_of(access, fragment, runs)
                threads = np.broadcast_to(np.arange(made.threads)[:, None, None], places.shape)
                is_held &= bool((owners == threads[..., None]).any(-1)[runs.active].all())
                for step, place in zip(runs.env[STEP][runs.active], places[runs.active]):
                    per_step.setdefault((number, int(step)), set()).add(int(place))
            is_uniform = all(len(places) == 1 for places in per_step.values())
            assert isinstance(table, RegisterTable) == (is_held and is_uniform), (seed, table)
            if isinstance(table, RegisterTable):
                check_registers(made, partition, access, fragment, table, vector)


def owners_of(access, fragment, runs):
    """Threads `[..., replicas]` that hold the element that each run accesses, and its register."""
    shape = runs.active.shape
    index = [np.broadcast_to(evaluate(i, runs.env), shape) for i in access.indices]
    inside = tuple(np.clip(i, 0, n - 1) for i, n in zip(index, fragment.shape))
    tables = fragment.thread_table.reshape((*fragment.shape, -1))
    return tables[inside], fragment.offsets.reshape(fragment.shape)[inside]


def check_registers(made, partition, access, fragment, table, vector):
    try:
        register = table.expr(vector, STEP, LANE)
    except LayoutError:
        return  # it goes through shared memory
    for outer in outer_values(made):
        runs = runs_of(partition, vector, outer)
        _, places = owners_of(access, fragment, runs)
        got = np.broadcast_to(evaluate(register, runs.env), places.shape)
        np.testing.assert_array_equal(got[runs.active], places[runs.active])


def test_a_store_leads_before_a_load():
    a = Buffer("a", (16, 8), "float32", "local.fragment")
    b = Buffer("b", (16, 8), "float32", "local.fragment")
    nest = parallel(lambda i, j: BufferStore(b, BufferLoad(a, (i, j)), (i, j)), i=16, j=8)
    layouts = {x: BlockedFragment((16, 8), 32, v) for x, v in ((a, 4), (b, 1))}
    assert leading_access(nest, layouts).buffer is b
    assert leading_access(nest, {a: layouts[a]}).buffer is a
    assert leading_access(nest, {}) is None


def test_a_projection_does_not_lead():
    r = Buffer("r", (16,), "float32", "local.fragment")
    shown = Buffer("G", (16, 8), "float32", GLOBAL)
    nest = parallel(lambda i, j: BufferStore(shown, BufferLoad(r, (i,)), (i, j)), i=16, j=8)
    assert leading_access(nest, {r: BlockedFragment((16,), 32)}) is None


@pytest.mark.parametrize(
    "columns, offset, kind, width",
    [(64, 0, "float32", 4), (64, 0, "float16", 8), (64, 2, "float32", 2), (63, 0, "float32", 1),
     (62, 0, "float32", 2), (64, 1, "float16", 1), (64, 4, "float16", 4), (64, 0, "int8", 16)],
)  # fmt: skip
def test_vectors_are_aligned(columns, offset, kind, width):
    shown = Buffer("G", (8, columns), kind, GLOBAL)
    nest = parallel(lambda i, j: BufferStore(shown, as_expr(0), (i, j + offset)), i=8, j=16)
    assert nest.vector_of(nest.accesses[0]) == width


def test_names_in_the_body_do_not_hide_strides():
    shown = Buffer("G", (64, 64), "float32", GLOBAL)
    block, row = Var("by"), Var("row")

    def body(i, j):
        store = BufferStore(shown, as_expr(0), (row, j))
        return Seq((Bind(row, block * 8 + i), store))

    nest = parallel(body, i=8, j=64)
    assert nest.vector_of(nest.accesses[0]) == 4
