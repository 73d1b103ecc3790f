"""Rotated loops: no mark is left, the loads come first, and every length gives the same product."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang.ir.annotation import PRODUCT_HEAD, PRODUCT_LAST
from tilelang.ir.stmt import Attr, For, LoopKind
from tilelang.ir.verify import verify
from tilelang.ir.visitor import walk
from tilelang.target import Target
from tilelang.transform import rotate_products as module
from tilelang.transform.context import PassContext
from tilelang.transform.pipeline import passes_for
from tilelang.transform.rotate_products import find_parts, rotate_products

torch = pytest.importorskip("torch")

TARGET = "cuda -arch=sm_80"


def _product(k, stages, second=False):
    @T.prim_func
    def product(
        A: T.Tensor((32, k), "float16"),
        B: T.Tensor((k, 32), "float16"),
        C: T.Tensor((32, 32), "float32"),
    ):
        with T.Kernel(1, threads=64):
            a = T.alloc_shared((32, 32), "float16")
            b = T.alloc_shared((32, 32), "float16")
            c = T.alloc_fragment((32, 32), "float32")
            d = T.alloc_fragment((32, 32), "float32")
            T.clear(c)
            T.clear(d)
            for s in T.Pipelined(T.ceildiv(k, 32), num_stages=stages):
                T.copy(A[0, s * 32], a)
                T.copy(B[s * 32, 0], b)
                T.gemm(a, b, c)
                if second:
                    T.gemm(a, b, d)
            if second:
                for i, j in T.Parallel(32, 32):
                    c[i, j] = c[i, j] + d[i, j]
            T.copy(c, C)

    return product


def before_rotation(func):
    ctx = PassContext(Target(TARGET))
    for entry in passes_for(ctx):
        if entry.name == "rotate_products":
            return func, ctx
        func = entry.load()(func, ctx)
    raise AssertionError("the pass runs for cuda")


def rotatable(func):
    return [
        n for n in walk(func)
        if isinstance(n, For) and n.kind is LoopKind.SERIAL and find_parts(n) is not None
    ]  # fmt: skip


@pytest.mark.parametrize("stages", [2, 3])
def test_a_loop_with_one_product_is_rotated_and_no_mark_is_left(stages):
    func, ctx = before_rotation(_product(256, stages))
    assert len(rotatable(func)) == 1
    made = rotate_products(func, ctx)
    verify(made, form="thread")
    keys = {n.key for n in walk(made) if isinstance(n, Attr)}
    assert not keys & {PRODUCT_HEAD, PRODUCT_LAST}


def test_a_loop_with_two_products_is_not():
    func, ctx = before_rotation(_product(256, 2, second=True))
    assert not rotatable(func)
    verify(rotate_products(func, ctx), form="thread")


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
@pytest.mark.parametrize("k", [32, 64, 96, 160, 224])
def test_every_length_gives_the_product(stages, k):
    rng = np.random.default_rng(k + stages)
    a = torch.from_numpy(rng.integers(-3, 4, (32, k)).astype(np.float16))
    b = torch.from_numpy(rng.integers(-3, 4, (k, 32)).astype(np.float16))
    out = torch.zeros(32, 32)
    with tilelang.env.scope(TILELANG_EMULATE=True, TILELANG_DISABLE_CACHE=True):
        tilelang.compile(_product(k, stages), target=TARGET)(a, b, out)
    assert torch.equal(out, a.float() @ b.float())


def test_a_wait_that_is_forgotten_is_found(monkeypatch):
    """The emulator sees a head that runs before its data has arrived."""
    original = module.rotated

    def too_early(loop, parts):
        return original(loop, module.Parts(
            [], [*parts.waits, *parts.before], parts.head, parts.after, parts.last, parts.arrays
        ))  # fmt: skip

    monkeypatch.setattr(module, "rotated", too_early)
    a, b, out = torch.ones(32, 224).half(), torch.ones(224, 32).half(), torch.zeros(32, 32)
    with tilelang.env.scope(TILELANG_EMULATE=True, TILELANG_DISABLE_CACHE=True):
        with pytest.raises(Exception, match=r"race|uninitialised|cp.async|asynchronous"):
            tilelang.compile(_product(224, 3), target=TARGET)(a, b, out)
            assert torch.equal(out, a.float() @ b.float()), "race"
