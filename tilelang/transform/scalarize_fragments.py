"""The pass that turns fragments which only carry a value within an iteration into names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tilelang.ir.buffer import FRAGMENT, LOCAL, SHARED_SCOPES
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import Add, BufferLoad, Call, Expr, Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node, replace
from tilelang.ir.ops import Effect, effect_of, is_pure
from tilelang.ir.stmt import Allocate, Bind, BufferStore, For, LoopKind, Seq, Stmt, seq
from tilelang.ir.visitor import Mutator, used_buffers, walk
from tilelang.transform.context import PassContext
from tilelang.transform.liveness import POINTER_OPS
from tilelang.transform.loop_accesses import may_be_product, reduced_by


def scalarize_fragments(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Give a name to an element that one statement stores and only the rest of its iteration loads.

    Needs: thread form on a CPU, loops fused. Leaves: thread form, without the buffers that nobody
    needs any more. A product becomes a name only where it is added to the scalar of a reduction,
    which is rounded in any order: in other sums the C compiler would leave out its rounding.

        for j in vectorized(n): square[i, j] = x[i, j] * x[i, j]
                                total += square[i, j]
    --> for j in vectorized(n): square = x[i, j] * x[i, j]
                                total += square
    """
    if ctx.sanitize:
        return func
    named = _Named(func)
    body = named.mutate(func.body)
    return replace(func, body=_Without(named.done).mutate(body)) if named.done else func


class _Named(Mutator):
    def __init__(self, func: PrimFunc) -> None:
        self.done: set[Var] = set()
        self.own = {
            n.buffer.data for n in walk(func.body)
            if isinstance(n, Allocate) and n.buffer.scope() in (FRAGMENT, LOCAL, *SHARED_SCOPES)
        }  # fmt: skip
        self.loads, self.stores = Counter[Var](), Counter[Var]()
        for node in walk(func.body):
            if isinstance(node, BufferLoad):
                self.loads[node.buffer.data] += 1
            elif isinstance(node, BufferStore):
                self.stores[node.buffer.data] += 1
            elif not isinstance(node, Allocate):
                self.own -= _pointed_at(node)

    def mutate_For(self, node: For) -> Stmt:
        if node.kind is not LoopKind.VECTORIZED or not isinstance(node.body, Seq):
            return self.mutate_children(node)
        stmts, reduced, before = list(node.body.stmts), reduced_by(node), len(self.done)
        for at, stmt in enumerate(stmts):
            if isinstance(stmt, BufferStore) and self._is_carried(stmt, stmts[at + 1 :], reduced):
                buffer = stmt.buffer
                self.done.add(buffer.data)
                var = Var(buffer.name, buffer.dtype)
                stmts[at] = Bind(var, stmt.value, span=stmt.span)
                rest = _Loads(buffer.data, var)
                stmts[at + 1 :] = [rest.mutate(s) for s in stmts[at + 1 :]]
        return replace(node, body=seq(stmts)) if len(self.done) > before else node

    def _is_carried(self, store: BufferStore, rest: Sequence[Stmt], reduced: set[Var]) -> bool:
        """Whether all loads of what `store` stores to are in `rest`, at the same place."""
        data = store.buffer.data
        if data not in self.own or self.stores[data] != 1 or store.buffer.dtype.bits < 8:
            return False
        loads = [n for s in rest for n in walk(s)
                 if isinstance(n, BufferLoad) and n.buffer.data is data]  # fmt: skip
        if len(loads) != self.loads[data] or not all(map(is_pure, store.indices)):
            return False
        same = (
            n.buffer is store.buffer and structural_equal(n.indices, store.indices) for n in loads
        )
        return all(same) and (not may_be_product(store.value) or _only_summed(loads, rest, reduced))


def _only_summed(loads: Sequence[Expr], rest: Sequence[Stmt], reduced: set[Var]) -> bool:
    """Whether each of `loads` is what a reduction adds."""
    added = {
        id(n.b) for s in rest for n in walk(s)
        if isinstance(n, Add) and isinstance(n.a, BufferLoad) and n.a.buffer.data in reduced
    }  # fmt: skip
    return all(id(load) in added for load in loads)


def _pointed_at(node: Node) -> set[Var]:
    """Storage that is used otherwise than element by element."""
    if isinstance(node, For):
        return reduced_by(node)
    if isinstance(node, Call) and (effect_of(node.op) is not Effect.PURE or node.op in POINTER_OPS):
        return {b.data for b in used_buffers(node)}
    return set()


class _Loads(Mutator):
    """Loads of one storage as a name."""

    def __init__(self, data: Var, var: Var) -> None:
        self.data, self.var = data, var

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        return self.var if node.buffer.data is self.data else self.mutate_children(node)


class _Without(Mutator):
    """No allocation of these."""

    def __init__(self, gone: set[Var]) -> None:
        self.gone = gone

    def mutate_Allocate(self, node: Allocate) -> Stmt | None:
        return None if node.buffer.data in self.gone else node
