"""Products without tensor cores: any type, scope and size, run by NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tileop.cuda.block_product import Product, check, compiled
from tilelang.ir.expr import Var, as_expr, equal, if_then_else
from tilelang.layout.blocked import BlockedFragment
from tilelang.layout.fragment import Fragment
from tilelang.layout.holding import Holding
from tilelang.layout.mma import MmaAtom, WarpTiles, accumulator_fragment
from tilelang.tileop.cuda.gemm_fma import FmaLoops, grid_fragment

FMA = FmaLoops()
FRAGMENT = "local.fragment"


@pytest.mark.parametrize("tA", [False, True])
@pytest.mark.parametrize("tB", [False, True])
@pytest.mark.parametrize("scope", [FRAGMENT, "shared", "global", "local"])
@pytest.mark.parametrize("M,N,K,threads", [(16, 32, 5, 64), (7, 9, 3, 32), (1, 8, 4, 32)])
def test_sizes_and_scopes_of_c(M, N, K, threads, scope, tA, tB):
    scopes = ("shared", "shared", scope)
    product = Product(M, N, K, "float32", tA=tA, tB=tB, scopes=scopes)
    check(product, FMA, threads=threads, arch="sm_75", tolerance=1e-5)


@pytest.mark.parametrize(
    "a,c,tolerance",
    [
        ("float16", "float16", 2e-3), ("bfloat16", "bfloat16", 1e-2), ("float64", "float64", 1e-12),
        ("int8", "int32", 0), ("int16", "int64", 0), ("float8_e4m3fn", "float32", 1e-5),
        ("float16", "float32", 1e-5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("clear", [False, True])
def test_types(a, c, tolerance, clear):
    for N in (16, 13):
        check(Product(16, N, 6, a, c, clear=clear), FMA, threads=32, tolerance=tolerance)


@pytest.mark.parametrize("a", ["shared", "global", "local", FRAGMENT])
@pytest.mark.parametrize("b", ["shared", "global", "local"])
def test_scopes_of_operands(a, b):
    held = {"A": BlockedFragment((6, 8), 32, 2)}
    product = Product(6, 8, 8, "float32", scopes=(a, b, FRAGMENT))
    check(product, FMA, threads=32, tolerance=1e-5, fragments=held)


@pytest.mark.parametrize("scope", [FRAGMENT, "shared", "global"])
def test_clear_is_decided_at_run_time(scope):
    first = Var("first")
    for value in (0, 1):
        product = Product(5, 6, 7, "float32", clear=first == 0, scopes=("shared", "shared", scope))
        check(product, FMA, threads=32, tolerance=1e-5, values={first: value})


def test_parts_of_fragments():
    row = Var("row")
    wider = (None, None, ((2, 12, 20), (1, row, 3)))
    for value in (0, 4, 8):
        product = Product(4, 10, 6, "float32", wider=wider)
        check(product, FMA, threads=32, tolerance=1e-5, values={row: value})


def test_accumulators_that_an_instruction_left():
    held = {"C": accumulator_fragment(WarpTiles(32, 16, 2, 1, MmaAtom(16, 8, 16, 2, 16)))}
    check(Product(32, 16, 5), FMA, threads=64, tolerance=1e-5, fragments=held)
    check(Product(32, 16, 5), FMA, threads=96, tolerance=1e-5, fragments=held)  # an idle warp


@pytest.mark.parametrize("shape,threads", [((16, 32), 64), ((48, 80), 96), ((3, 64, 64), 128)])
def test_a_grid_uses_all_threads_and_registers(shape, threads):
    fragment = grid_fragment(shape, threads)
    held = Holding(fragment, threads)
    assert held.is_held.all() and not held.has_replicas
    assert held.registers == np.prod(shape) // threads


def test_registers_stay_in_registers():
    for product in (Product(64, 64, 16, "float32"), Product(64, 64, 20, "float16", "float16")):
        usage = compiled(product, FMA, 128, "sm_75")
        assert usage.stack_bytes == usage.spill_store_bytes == 0


def test_a_fragment_without_a_closed_inverse_is_found_element_by_element():
    shape, rng = (4, 8), np.random.default_rng(0)
    order = rng.permutation(32)  # which thread has which element

    def thread(i, j):
        found = as_expr(0)
        for number, owner in enumerate(order):
            found = if_then_else(equal(i * 8 + j, number), as_expr(int(owner)), found)
        return found

    held = {"C": Fragment(shape, lambda i, j: (thread(i, j), 0))}
    check(Product(4, 8, 3, "float32"), FMA, threads=32, tolerance=1e-5, fragments=held)
