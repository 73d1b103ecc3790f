"""`T.tvm_thread_allreduce` on targets with warps: each thread of a group gets the combination.

In: thread IR, in which the call names the thread indices that tell the members of a group apart.
Out: the same with shuffles where a group is 2, 4, ..., 32 neighbouring lanes, otherwise with one
element per thread in shared memory. Barriers are added by `insert_barriers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tilelang.errors import TargetError
from tilelang.ir.buffer import SHARED_DYN, VAR, Buffer
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    StringImm,
    Var,
    add,
    as_expr,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    const_value,
    constant,
    if_then_else,
    maximum,
    minimum,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Allocate, Bind, BufferStore, Evaluate, For, Launch, LoopKind, Stmt, seq
from tilelang.ir.visitor import Mutator

if TYPE_CHECKING:
    from tilelang.transform.context import PassContext

ALLREDUCE = "thread_allreduce"
_COMBINE: dict[str, Callable[[Expr, Expr], Expr]] = {
    "sum": add, "max": maximum, "min": minimum, "bitand": bitwise_and, "bitor": bitwise_or,
    "bitxor": bitwise_xor,
}  # fmt: skip
_ALL_LANES = 0xFFFFFFFF


def lower_allreduce(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Replace the calls.

    Raises:
        TargetError: where a name is no thread index of the launch.
    """
    return _Lower(ctx.target.row.warp_size).mutate(func)


class _Lower(Mutator):
    def __init__(self, warp_size: int) -> None:
        self.warp_size = warp_size
        self.threads: tuple[Var, ...] = ()
        self.extents: tuple[int, ...] = ()

    def mutate_Launch(self, node: Launch) -> Stmt:
        extents = [const_value(e) for e in node.thread_extents]
        self.threads = node.thread_vars
        self.extents = tuple(e for e in extents if isinstance(e, int))
        return self.mutate_children(node)

    def mutate_Evaluate(self, node: Evaluate) -> Stmt:
        call = node.value
        if not isinstance(call, Call) or call.op != ALLREDUCE:
            return node
        name, value, predicate, target, identity, *members = call.args
        assert isinstance(name, StringImm) and isinstance(target, BufferLoad)
        unknown = [m for m in members if m not in self.threads and const_value(m) is None]
        if unknown:
            raise TargetError(
                f"tvm_thread_allreduce: `{unknown[0]}` is no thread index of this launch", node.span
            )
        assert len(self.extents) == len(self.threads), "the number of threads is constant"
        axes = [a for a, v in enumerate(self.threads) if v in members and self.extents[a] > 1]
        own = if_then_else(predicate, value, identity)
        combine = _COMBINE[name.value]
        if self._is_in_warp(axes):
            stmts = self._by_shuffles(own, combine, self._group_size(axes))
        else:
            stmts = self._by_memory(own, identity, combine, axes)
        total = stmts.pop()
        assert isinstance(total, Evaluate)
        store = BufferStore(target.buffer, total.value, target.indices, span=node.span)
        return seq([*stmts, store])

    def _group_size(self, axes: list[int]) -> int:
        size = 1
        for axis in axes:
            size *= self.extents[axis]
        return size

    def _is_in_warp(self, axes: list[int]) -> bool:
        """Whether the members of a group are neighbouring lanes of one warp."""
        several = [a for a, e in enumerate(self.extents) if e > 1]
        size = self._group_size(axes)
        is_power = size & (size - 1) == 0
        threads = self._group_size(several)
        whole_warps = threads % self.warp_size == 0 or size == 1
        is_leading = axes == several[: len(axes)]
        return is_leading and is_power and size <= self.warp_size and whole_warps

    def _by_shuffles(
        self, own: Expr, combine: Callable[[Expr, Expr], Expr], size: int
    ) -> list[Stmt]:
        """A butterfly; the last statement has the total."""
        stmts: list[Stmt] = []
        part = Var("part", own.dtype)
        stmts.append(Bind(part, own))
        mask = constant(_ALL_LANES, "uint32")
        while size > 1:
            size //= 2
            args = (mask, part, as_expr(size), as_expr(self.warp_size))
            other = Var("other", own.dtype)
            stmts.append(Bind(other, Call("shfl_xor", args, own.dtype)))
            joined = Var("part", own.dtype)
            stmts.append(Bind(joined, combine(part, other)))
            part = joined
        return [*stmts, Evaluate(part)]

    def _by_memory(
        self, own: Expr, identity: Expr, combine: Callable[[Expr, Expr], Expr], axes: list[int]
    ) -> list[Stmt]:
        """Everyone writes, then everyone combines its group; the last statement has the total."""
        parts = Buffer("parts", self.extents[::-1], own.dtype, SHARED_DYN)
        total = Buffer("total", (1,), own.dtype, VAR)
        loops = {a: Var("xyz"[a], self.threads[a].dtype) for a in axes}
        member = [loops.get(a, v) for a, v in enumerate(self.threads)]
        joined = combine(total.as_load(), BufferLoad(parts, tuple(reversed(member))))
        body: Stmt = BufferStore(total, joined, (as_expr(0),))
        for axis, var in loops.items():
            count = as_expr(self.extents[axis])
            body = For(var, as_expr(0), count, LoopKind.SERIAL, body)
        return [
            Allocate(parts),
            BufferStore(parts, own, tuple(reversed(self.threads))),
            Allocate(total),
            BufferStore(total, identity, (as_expr(0),)),
            body,
            Evaluate(total.as_load()),
        ]
