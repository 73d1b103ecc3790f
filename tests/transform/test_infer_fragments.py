"""Fragments that follow from a program: total, the same each time, and where threads agree."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import tilelang.language as T
from tests.transform.tile_programs import program
from tilelang.errors import LayoutError, ResourceError
from tilelang.ir.annotation import LAYOUT
from tilelang.ir.buffer import FRAGMENT
from tilelang.ir.stmt import Allocate, For, LoopKind, annotation
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import walk
from tilelang.layout.blocked import BlockedFragment
from tilelang.layout.fragment import Fragment
from tilelang.layout.warp_policy import GemmWarpPolicy
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.expand_tile_ops import expand_tile_ops
from tilelang.transform.fragment_exchange import strangers_of
from tilelang.transform.infer_fragments import infer_fragments
from tilelang.transform.nests import Nest

CHUNKS, CHUNK = 6, 20


def inferred(func, target="cuda -arch=sm_80", ctx=None):
    ctx = ctx or PassContext(Target(target))
    return infer_fragments(expand_tile_ops(func, ctx), ctx)


def layouts_of(func):
    """Name -> layout of every allocation, in program order."""
    return [
        (n.buffer, annotation(n.annotations, LAYOUT)) for n in walk(func) if isinstance(n, Allocate)
    ]


def layout_named(func, name):
    return next(layout for buffer, layout in layouts_of(func) if buffer.name == name)


def nests_of(func):
    inner, found = set(), []
    for node in walk(func):
        if isinstance(node, For) and node.kind is LoopKind.PARALLEL and node not in inner:
            found.append(Nest(node))
            inner.update(found[-1].loops)
    return found


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_fragment_has_a_layout_and_every_nest_can_run(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        made = program(seed)
        func = inferred(made.traced())
        threads = int(made.source.partition("threads=")[2].partition(")")[0])
        layouts = {b: f for b, f in layouts_of(func) if b.scope() == FRAGMENT}
        for buffer, fragment in layouts.items():
            assert isinstance(fragment, Fragment), (seed, buffer.name)
            assert fragment.shape == tuple(buffer.shape)
            assert fragment.get_thread_size() <= threads
            owned = fragment.thread_table.reshape(-1, fragment.num_replicas)
            places = np.broadcast_to(fragment.offsets.reshape(-1, 1), owned.shape)
            elements = np.broadcast_to(np.arange(len(owned))[:, None], owned.shape)
            held = {}
            for place, element in zip(zip(owned.flat, places.flat), elements.flat):
                assert held.setdefault(place, element) == element, (seed, buffer.name)
        ranges = {
            n.var: (n.start.value, n.extent.value)
            for n in walk(func)
            if isinstance(n, For) and n.kind is not LoopKind.PARALLEL
        }
        for nest in nests_of(func):
            assert not strangers_of(nest, layouts, threads, ranges), seed


def test_the_same_each_time():
    for seed in range(20):
        texts = {inferred(program(seed).traced()).script() for _ in range(2)}
        assert len(texts) == 1, seed


def test_the_same_in_every_process():
    code = (
        "import hashlib\n"
        "from tests.transform.test_infer_fragments import inferred\n"
        "from tests.transform.tile_programs import program\n"
        "texts = [inferred(program(s).traced()).script() for s in range(12)]\n"
        "print(hashlib.sha256(''.join(texts).encode()).hexdigest())\n"
    )
    results = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "4711")
    ]  # fmt: skip
    assert len(set(results)) == 1 and results[0]


def _product(policy, M, N, threads):
    @T.prim_func
    def product(A: T.Tensor((M, 32), "float16"), B: T.Tensor((32, N), "float16")):
        with T.Kernel(1, threads=threads):
            a = T.alloc_shared((M, 32), "float16")
            b = T.alloc_shared((32, N), "float16")
            c = T.alloc_fragment((M, N), "float32")
            T.gemm(a, b, c, policy=policy)

    return product


@pytest.mark.parametrize("threads", [32, 64, 128, 256])
@pytest.mark.parametrize("policy", list(GemmWarpPolicy))
@pytest.mark.parametrize("shape", [(64, 64), (128, 64), (64, 128), (128, 128)])
def test_the_policy_says_which_warp_has_which_part(policy, shape, threads):
    func = inferred(_product(policy, *shape, threads))
    warps = layout_named(func, "c").thread_table.reshape(*shape, -1)[..., 0] // 32
    along_m = len(set(map(tuple, warps.tolist())))
    along_n = len(set(map(tuple, warps.T.tolist())))
    assert (along_m, along_n) == policy.compute_warp_partition(*shape, threads // 32)
    assert along_m * along_n == threads // 32 == len(np.unique(warps))


def test_a_layout_of_the_user_stands():
    mine = BlockedFragment((64,), 32, 2)

    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=64):
            a = T.alloc_fragment((64,), "float32")
            T.annotate_layout({a: mine})
            T.copy(A, a)

    assert layout_named(inferred(kernel), "a") is mine


def test_a_layout_of_the_user_must_fit_the_block():
    @T.prim_func
    def kernel(A: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=32):
            a = T.alloc_fragment((64,), "float32")
            T.annotate_layout({a: BlockedFragment((64,), 64)})
            T.copy(A, a)

    with pytest.raises(LayoutError, match="names thread 63, but the block has 32"):
        inferred(kernel)


def test_threads_must_be_a_constant():
    n = T.dynamic("n")

    @T.prim_func
    def kernel(A: T.Tensor((n,), "float32")):
        with T.Kernel(1, threads=n):
            a = T.alloc_fragment((64,), "float32")
            T.copy(A, a)

    with pytest.raises(ResourceError, match="positive constant"):
        inferred(kernel)


def test_products_are_left_for_lower_threads():
    func = inferred(_product(GemmWarpPolicy.Square, 64, 64, 128))
    assert [n.op for n in walk(func) if isinstance(n, TileOp)] == ["gemm"]
