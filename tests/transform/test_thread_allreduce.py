"""Combining over thread indices: in registers where a group is part of a warp, else in memory."""

from __future__ import annotations

import pytest

import tilelang.language as T
from tests.codegen.run_cuda import TARGET, compile_everywhere
from tilelang.codegen.cuda import print_cuda
from tilelang.errors import TargetError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Call
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Allocate
from tilelang.ir.visitor import walk
from tilelang.transform.context import PassContext
from tilelang.transform.flatten_buffers import flatten_buffers
from tilelang.transform.simplify import simplify
from tilelang.transform.thread_allreduce import lower_allreduce

CONTEXT = PassContext(TARGET)


def kernel(threads: tuple[int, ...], axes: tuple[int, ...], op: str = "sum") -> PrimFunc:
    combine = {"sum": lambda a, b: a + b, "max": T.max}[op]

    @T.prim_func
    def main(x: T.Tensor(threads[::-1], "float32"), y: T.Tensor(threads[::-1], "float32")):
        with T.Kernel(1, threads=threads):
            place = T.get_thread_bindings()[: len(threads)][::-1]
            total = T.alloc_local((1,), "float32")
            add = T.comm_reducer(combine, [T.float32(0)])
            with T.attr(add, "reduce_scope", T.reinterpret(T.uint64(0), dtype="handle")):
                members = [T.get_thread_binding(a) for a in axes]
                T.evaluate(
                    T.tvm_thread_allreduce(
                        T.uint32(1), x[tuple(place)], True, total[0], *members, dtype="handle"
                    )
                )
            y[tuple(place)] = total[0]

    return main


@pytest.mark.parametrize(
    ("threads", "axes", "shuffles"),
    [
        ((32, 4), (0,), 5), ((8, 16), (0,), 3), ((4, 8, 4), (0, 1), 5), ((32,), (0,), 5),
        ((128,), (0,), 0), ((32, 4), (1,), 0), ((12, 8), (0,), 0), ((32, 4), (0, 1), 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("op", ["sum", "max"])
def test_groups(threads: tuple[int, ...], axes: tuple[int, ...], shuffles: int, op: str) -> None:
    out = lower_allreduce(simplify(kernel(threads, axes, op), CONTEXT), CONTEXT)
    nodes = list(walk(out.body))
    assert sum(isinstance(n, Call) and n.op == "shfl_xor" for n in nodes) == shuffles
    shared = [n.buffer for n in nodes if isinstance(n, Allocate) and n.buffer.is_shared]
    assert [b.shape for b in shared] == ([] if shuffles else [_padded(threads)[::-1]])
    compile_everywhere(print_cuda(flatten_buffers(out, CONTEXT)), ("sm_75", "sm_90a"))


def _padded(threads: tuple[int, ...]) -> tuple[int, ...]:
    return (*threads, 1, 1)[:3]


def test_a_name_that_is_no_thread_is_refused() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32"), n: T.int32):
        with T.Kernel(1, threads=64):
            total: Buffer = T.alloc_local((1,), "float32")
            add = T.comm_reducer(lambda a, b: a + b, [T.float32(0)])
            with T.attr(add, "reduce_scope", T.reinterpret(T.uint64(0), dtype="handle")):
                T.evaluate(
                    T.tvm_thread_allreduce(T.uint32(1), x[0], True, total[0], n, dtype="handle")
                )
            x[0] = total[0]

    with pytest.raises(TargetError, match="`n` is no thread index"):
        lower_allreduce(main, CONTEXT)
