"""Reductions by simulated threads: every kind, every layout, every place of the results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tileop.cuda.fragments_for_tests import (
    Cuda,
    Execution,
    accumulator,
    blocked,
    node,
)
from tilelang.errors import TargetError
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Var
from tilelang.layout import Fragment, make_fully_replicated_layout_fragment
from tilelang.layout.reduced import derive_reduced_fragment
from tilelang.tileop.context import BlockThreads, LowerContext
from tilelang.tileop.registry import operator_for

KINDS = {
    "sum": np.add, "abssum": np.add, "max": np.maximum, "min": np.minimum, "absmax": np.maximum,
    "bitand": np.bitwise_and, "bitor": np.bitwise_or, "bitxor": np.bitwise_xor,
}  # fmt: skip
TYPES = ["float16", "bfloat16", "float64", "int8", "uint8", "int64", "bool"]
FRAGMENTS = {
    "mma": (128, accumulator(64, 48, 4, 1)),
    "mma over two warps of columns": (128, accumulator(32, 96, 2, 2)),
    "rows": (128, blocked((4, 1024), 128, 8)),
    "columns": (64, Fragment([40, 64], lambda i, j: (j, i))),
    "24 lanes": (32, Fragment([12, 24], lambda i, j: (j, i))),
    "three warps": (96, blocked((12, 24), 96, 3)),
    "a tail": (40, blocked((7, 11), 40)),
    "not even lines": (32, blocked((10, 10), 32)),
    "idle threads": (64, blocked((3, 4), 12)),
    "replicas": (
        64,
        Fragment([6, 5], lambda i, j, r: ((i * 5 + j) % 8 + r * 8, (i * 5 + j) // 8), replicate=5),
    ),
    "replicas that overlap": (
        32,
        Fragment([8, 4], lambda i, j, r: ((j + r) % 3 + r * 3, i * 4 + j), replicate=2),
    ),
}


def _values(shape: Any, kind: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    low = 0 if kind.startswith(("uint", "bool")) else -9
    values = rng.integers(low, 2 if kind == "bool" else 9, shape)
    return values.astype(dtype(kind).as_numpy())


def _expected(kind: str, x: Any, old: Any, dim: int, clear: bool) -> Any:
    y = np.abs(x) if kind.startswith("abs") else x
    made = KINDS[kind].reduce(y, axis=dim).reshape(old.shape)
    if clear:
        return made.astype(old.dtype)
    return KINDS[kind](np.abs(old) if kind.startswith("abs") else old, made).astype(old.dtype)


def _run(
    src: Buffer, dst: Buffer, threads: int, x: Any, old: Any, fragments: dict[Buffer, Fragment],
    **attributes: Any,
) -> Any:  # fmt: skip
    contents = {src: x, dst: old}
    clear = attributes.setdefault("clear", True)
    op = node("reduce", [("src", src, "r"), ("dst", dst, "w" if clear else "rw")], **attributes)
    return Execution(
        op, threads, {b: (f, contents[b]) for b, f in fragments.items()},
        {b: v for b, v in contents.items() if b not in fragments},
    )  # fmt: skip


def _targets(fragment: Fragment, dim: int, threads: int) -> dict[str, Fragment]:
    shape = [n for axis, n in enumerate(fragment.shape) if axis != dim]
    derived = derive_reduced_fragment(fragment, dim, shape)
    return {
        **({"derived": derived} if derived is not None else {}),
        "everywhere": make_fully_replicated_layout_fragment(shape, threads),
        "spread": blocked(tuple(shape), threads),
        "one thread": Fragment(shape, lambda i: (threads - 1, i)),
    }


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("name", FRAGMENTS)
def test_any_fragment_reduces_into_any_other(name: str, dim: int, clear: bool) -> None:
    threads, fragment = FRAGMENTS[name]
    for target in _targets(fragment, dim, threads).values():
        src = Buffer("x", fragment.shape, "float32", "local.fragment")
        dst = Buffer("y", target.shape, "float32", "local.fragment")
        x, old = _values(src.shape, "float32", 1), _values(dst.shape, "float32", 2)
        made = _run(
            src, dst, threads, x, old, {src: fragment, dst: target},
            kind="sum", dim=dim, clear=clear,
        )  # fmt: skip
        assert np.array_equal(made.result(dst), _expected("sum", x, old, dim, clear))


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("types", TYPES)
def test_every_kind_of_every_type(kind: str, types: str, clear: bool) -> None:
    if (kind.startswith("bit") and "float" in types) or (types == "bool" and "abs" in kind):
        pytest.skip("not an operation of this type")
    fragment = accumulator(32, 48, 2, 1)
    target = derive_reduced_fragment(fragment, 1, [32])
    assert target is not None
    src = Buffer("x", fragment.shape, types, "local.fragment")
    dst = Buffer("y", (32,), types, "local.fragment")
    x, old = _values(src.shape, types, 3), _values(dst.shape, types, 4)
    made = _run(src, dst, 64, x, old, {src: fragment, dst: target}, kind=kind, dim=1, clear=clear)
    want = _expected(kind, x.astype(np.float64) if "float" in types else x, old, 1, clear)
    assert np.array_equal(made.result(dst), want)


def test_rows_of_an_accumulator_need_two_shuffles_each_and_no_memory() -> None:
    fragment = accumulator(64, 128, 4, 1)
    target = derive_reduced_fragment(fragment, 1, [64])
    assert target is not None
    src = Buffer("x", fragment.shape, "float32", "local.fragment")
    dst = Buffer("y", (64,), "float32", "local.fragment")
    x = _values(src.shape, "float32", 5)
    made = _run(src, dst, 128, x, np.zeros(64), {src: fragment, dst: target}, kind="max", dim=1)
    assert np.array_equal(made.result(dst), x.max(1))
    assert (made.block.shuffles, len(made.ctx.scratch)) == (4, 0)  # two rows per thread


def test_a_row_over_the_block_needs_five_shuffles_and_one_value_per_warp() -> None:
    fragment = blocked((1, 8192), 256, 8)
    src = Buffer("x", fragment.shape, "float16", "local.fragment")
    dst = Buffer("y", (1,), "float32", "local.fragment")
    target = derive_reduced_fragment(fragment, 1, [1])
    assert target is not None
    x = _values(src.shape, "float16", 6)
    made = _run(src, dst, 256, x, np.zeros(1), {src: fragment, dst: target}, kind="sum", dim=1)
    assert made.result(dst)[0] == x.astype(np.float32).sum()
    assert made.block.shuffles == 5 and [b.shape for b in made.ctx.scratch] == [(8, 1)]


@pytest.mark.parametrize("nan_propagate", [True, False])
@pytest.mark.parametrize("kind", ["max", "min", "absmax"])
def test_nan_loses_or_wins(kind: str, nan_propagate: bool) -> None:
    fragment = accumulator(16, 32, 1, 1)
    target = make_fully_replicated_layout_fragment([16], 32)
    src = Buffer("x", fragment.shape, "float32", "local.fragment")
    dst = Buffer("y", (16,), "float32", "local.fragment")
    x = _values(src.shape, "float32", 7)
    x[3, 5], x[4, 0], x[15, 31], x[6, :] = np.nan, np.nan, np.nan, np.nan
    made = _run(
        src, dst, 32, x, np.zeros(16), {src: fragment, dst: target},
        kind=kind, dim=1, nan_propagate=nan_propagate,
    ).result(dst)  # fmt: skip
    has_nan = np.isnan(x).any(1)
    y = np.abs(x) if kind == "absmax" else x
    empty = {"max": -np.inf, "min": np.inf, "absmax": 0.0}[kind]
    want = KINDS[kind].reduce(np.where(np.isnan(y), empty, y), axis=1)
    assert np.array_equal(np.isnan(made), has_nan & nan_propagate)
    assert np.array_equal(made[~np.isnan(made)], want[~np.isnan(made)])


SHAPES = [((1, 500), 1), ((40, 33), 1), ((33, 70), 0), ((5, 6, 7), 1), ((3, 4), 1), ((130, 2), 0),
          ((2, 130), 0), ((200,), 0), ((9, 1), 0)]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 96])
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
@pytest.mark.parametrize("scopes", ["shared shared", "shared fragment", "fragment shared",
                                    "local local", "shared local", "fragment local"])  # fmt: skip
def test_memory_on_either_side(shape: Any, dim: int, threads: int, scopes: str) -> None:
    of_src, of_dst = ({"fragment": "local.fragment"}.get(s, s) for s in scopes.split())
    kept = tuple(n for axis, n in enumerate(shape) if axis != dim) or (1,)
    src, dst = Buffer("x", shape, "float32", of_src), Buffer("y", kept, "float32", of_dst)
    fragments = {b: blocked(b.shape, threads) for b in (src, dst) if b.is_fragment}
    x, old = _values(shape, "float32", 8), _values(kept, "float32", 9)
    for clear in (True, False):
        made = _run(
            src, dst, threads, x, old, fragments, kind="sum", dim=dim, clear=clear
        ).result(dst)  # fmt: skip
        want = _expected("sum", x, old, dim, clear)
        assert np.array_equal(made, np.broadcast_to(want, made.shape))


def test_a_kept_axis_and_part_of_a_fragment() -> None:
    fragment = accumulator(32, 32, 2, 1)
    src = Buffer("x", (32, 32), "float32", "local.fragment")
    dst = Buffer("y", (32, 1), "float32", "local.fragment")
    target = derive_reduced_fragment(fragment, 1, [32, 1])
    assert target is not None and target.shape == (32, 1)
    x = _values(src.shape, "float32", 10)
    made = _run(src, dst, 64, x, np.zeros((32, 1)), {src: fragment, dst: target}, kind="min", dim=1)
    assert np.array_equal(made.result(dst), x.min(1, keepdims=True))


def test_a_symbolic_region_of_a_fragment_is_refused() -> None:
    n, index = Var("n"), Var("thread")
    src = Buffer("x", (8, 8), "float32", "local.fragment")
    dst = Buffer("y", (8,), "float32", "shared")
    op = node("reduce", [("src", src, "r"), ("dst", dst, "w")], kind="sum", dim=1)
    fragment = blocked((8, 8), 32)
    ctx = LowerContext(
        Cuda(), threads=BlockThreads(32, index), fragments={src: fragment},
        registers={src: Buffer("x", (2,), "float32", "local")},
    )  # fmt: skip
    region = src[0:8, n : n + 1]
    operands = (type(op.operands[0])("src", region, "r"), op.operands[1])
    part = type(op)("reduce", operands, (), op.attributes)
    with pytest.raises(TargetError, match="not constant"):
        operator_for(part).lower(ctx)
