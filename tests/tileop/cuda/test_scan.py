"""Scans and reducers by simulated threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tileop.cuda.fragments_for_tests import Execution, accumulator, blocked, node
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import as_expr
from tilelang.ir.tile import TileOp
from tilelang.layout import Fragment, make_fully_replicated_layout_fragment

SHAPES = [(100,), (1, 130), (7, 45), (40, 3)]
SCOPES = ["shared shared", "fragment fragment", "fragment shared", "shared fragment"]


@pytest.mark.parametrize("threads", [32, 96])
@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("scopes", SCOPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_scan(shape: Any, scopes: str, is_reversed: bool, threads: int) -> None:
    of_src, of_dst = ({"fragment": "local.fragment"}.get(s, s) for s in scopes.split())
    rng = np.random.default_rng(1)
    x = rng.integers(-9, 9, shape).astype(np.float32)
    for dim in range(len(shape)):
        for kind, ufunc in (("sum", np.add), ("max", np.maximum)):
            src, dst = Buffer("x", shape, "float32", of_src), Buffer("y", shape, "float32", of_dst)
            op = node(
                "scan", [("src", src, "r"), ("dst", dst, "w")],
                kind=kind, dim=dim, reverse=is_reversed,
            )  # fmt: skip
            held = {b: (blocked(shape, threads, 2), x) for b in (src, dst) if b.is_fragment}
            memory = {b: x for b in (src, dst) if not b.is_fragment}
            y = np.flip(x, dim) if is_reversed else x
            want = ufunc.accumulate(y, axis=dim)
            want = np.flip(want, dim) if is_reversed else want
            assert np.array_equal(Execution(op, threads, held, memory).result(dst), want)


@pytest.mark.parametrize("scope", ["shared", "local.fragment"])
def test_scan_in_place(scope: str) -> None:
    x = np.arange(48 * 16).reshape(48, 16).astype(np.int32) % 7
    buffer = Buffer("x", (48, 16), "int32", scope)
    op = node("scan", [("src", buffer, "r"), ("dst", buffer, "w")], kind="sum", dim=1)
    held = {buffer: (accumulator(48, 16, 3, 1), x)} if buffer.is_fragment else {}
    made = Execution(op, 96, held, {} if held else {buffer: x})
    assert np.array_equal(made.result(buffer), np.cumsum(x, 1))


def test_float16_sums_run_in_float32() -> None:
    x = np.full(3000, 1, np.float16)
    buffer = Buffer("x", (3000,), "float16", "shared")
    op = node("scan", [("src", buffer, "r"), ("dst", buffer, "w")], kind="sum", dim=0)
    made = Execution(op, 64, {}, {buffer: x}).result(buffer)
    assert np.array_equal(made, np.arange(1, 3001).astype(np.float16))


# -- reducers --------------------------------------------------------------------------------------

REDUCERS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "bitxor": np.bitwise_xor}


@pytest.mark.parametrize("threads", [1, 32, 48, 128])
@pytest.mark.parametrize("has_dst", [True, False])
@pytest.mark.parametrize("kind", REDUCERS)
def test_finalize_combines_every_thread_once(kind: str, has_dst: bool, threads: int) -> None:
    shape = (5, 3)
    rng = np.random.default_rng(2)
    mine = rng.integers(-99, 99, (threads, 15)).astype(np.int32)
    r = Buffer("r", shape, "int32", "local.fragment")
    dst = Buffer("y", shape, "int32", "local.fragment")
    full = make_fully_replicated_layout_fragment(shape, threads)
    operands = [("src", r, "rw"), *([("dst", dst, "w")] if has_dst else [])]
    op = node("finalize_reducer", operands, reducer=kind)
    zeros = np.zeros(shape, np.int32)
    made = _Finalized(op, threads, {r: (full, zeros), dst: (blocked(shape, threads), zeros)}, mine)
    want = REDUCERS[kind].reduce(mine, axis=0).reshape(shape)
    assert np.array_equal(made.result(dst if has_dst else r), want)


class _Finalized(Execution):
    """Threads start from contributions of their own, which no contents of a fragment can say."""

    def __init__(self, op: TileOp, threads: int, held: Any, mine: Any) -> None:
        self.mine = mine
        super().__init__(op, threads, held, {})

    def prepare(self) -> None:
        """The reducer's registers are the first buffer's."""
        reducer = next(iter(self.registers.values()))
        self.block.memory[reducer][...] = self.mine


def test_the_initial_value_counts_once() -> None:
    r = Buffer("r", (4,), "float32", "local.fragment")
    full = make_fully_replicated_layout_fragment((4,), 64)
    start = node("reducer_init", [("dst", r, "w")], reducer="sum")
    start = TileOp("reducer_init", start.operands, (("value", as_expr(2.5)),), start.attributes)
    made = Execution(start, 64, {r: (full, np.zeros(4))}, {})
    array = made.block.memory[made.registers[r]]
    assert np.array_equal(array.sum(axis=0), np.full(4, 2.5, np.float32))


def test_a_reducer_whose_elements_few_threads_hold() -> None:
    rng = np.random.default_rng(3)
    fragment = Fragment([6], lambda i, rep: (i * 8 + rep, 0), replicate=8)
    mine = rng.integers(-9, 9, (64, 1)).astype(np.int32)
    r = Buffer("r", (6,), "int32", "local.fragment")
    op = node("finalize_reducer", [("src", r, "rw")], reducer="sum")
    made = _Finalized(op, 64, {r: (fragment, np.zeros(6, np.int32))}, mine)
    assert np.array_equal(made.result(r), mine[:48, 0].reshape(6, 8).sum(1))
    assert (made.block.shuffles, len(made.ctx.scratch)) == (3, 0)
    start = TileOp("reducer_init", (node("x", [("dst", r, "w")]).operands[0],),
                   (("value", as_expr(5)),), (("reducer", "sum"),))  # fmt: skip
    first = Execution(start, 64, {r: (fragment, np.zeros(6, np.int32))}, {})
    array = first.block.memory[first.registers[r]]
    assert np.array_equal(array[fragment.thread_table, 0].sum(1), np.full(6, 5))
