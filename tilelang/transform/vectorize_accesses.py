"""Vectorised loops become wide accesses and unrolled scalar code.

In: thread IR with logical indices, whose `VECTORIZED` loops have bodies that run side by side. Out:
the same without such loops. Of each global or shared access whose neighbours are neighbours in
memory, the elements travel through a small local array,

    for v in vectorized(8): B[tx, v] = f(A[tx, v])
    -->  A_lanes[0:8] = A[tx, 0:8];  for v in unroll(8): B_lanes[v] = f(A_lanes[v]);
         B[tx, 0:8] = B_lanes[0:8]

in pieces as wide as `vector_moves` allows. Everything else is scalar code in an unrolled loop.
A load that a condition guards is guarded as a whole where the condition is the same for the whole
loop. Vector accesses that are in the program already stay where they are legal as they are, and
become loops where not. Neighbouring conversions to 16 bits are made in pairs (`packed_casts`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tilelang.errors import Span
from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import And, BufferLoad, Call, Expr, Or, Var, as_expr, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node, replace
from tilelang.ir.ops import is_pure
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
    seq,
)
from tilelang.ir.visitor import Mutator, children, substitute, used_vars, walk
from tilelang.transform.packed_casts import in_pairs
from tilelang.transform.scoped import ScopedMutator, is_stable, written_storage
from tilelang.transform.vector_moves import VectorMoves, piece
from tilelang.transform.vector_values import keep_moves
from tilelang.transform.wide_atomics import addition, relaxed_addition, together_at_once

if TYPE_CHECKING:
    from tilelang.transform.context import PassContext


def vectorize_accesses(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Replace vectorised loops by moves of up to 16 bytes and unrolled loops."""
    func = keep_moves(func, ctx)
    return _Vectorizer(func).mutate(func)


class _Vectorizer(ScopedMutator):
    def __init__(self, func: PrimFunc) -> None:
        ScopedMutator.__init__(self)
        self.moves = VectorMoves(func, self.facts)

    def mutate_For(self, node: For) -> Stmt:
        count = const_value(node.extent)
        if node.kind is LoopKind.VECTORIZED and isinstance(count, int):
            return self._loop(node, count)
        new = ScopedMutator.mutate_For(self, node)
        return in_pairs(new, self.facts) if isinstance(new, For) else new

    def _loop(self, node: For, count: int) -> Stmt:
        var, body = node.var, node.body
        if const_value(node.start) != 0:
            var = Var(node.var.name, node.var.dtype)
            body = substitute(body, {node.var: node.start + var})
        with self.facts.scope():
            self.facts.add_range(var, as_expr(0), as_expr(count))
            return _Body(self, var, count, node.span).lowered(body)


class _Body:
    """One vectorised loop: `lowered` gives what stands in its place."""

    def __init__(self, scope: _Vectorizer, var: Var, count: int, span: Span | None) -> None:
        self.scope, self.var, self.count, self.span = scope, var, count, span
        self.arrays: dict[Var, Buffer] = {}  # names that have a value per iteration

    def lowered(self, body: Stmt) -> Stmt:
        """The statements of all iterations."""
        known = dict(self.arrays)
        parts = self._parts(self._named(body))
        if len(parts) > 1 and self._carries(body):  # iterations cannot run side by side
            self.arrays = known
            return self._unrolled([body])
        return seq([stmt for part in parts for stmt in self._part(part)])

    def _parts(self, body: Stmt) -> list[list[Stmt]]:
        """Runs of plain statements; whatever else there is stands alone."""
        parts: list[list[Stmt]] = []
        is_open = False
        for stmt in body.stmts if isinstance(body, Seq) else (body,):
            is_plain = isinstance(stmt, (BufferStore, Evaluate))
            if is_plain and is_open:
                parts[-1].append(stmt)
            else:
                parts.append([stmt])
            is_open = is_plain
        return parts

    def _part(self, stmts: list[Stmt]) -> list[Stmt]:
        first = stmts[0]
        match first:
            case BufferStore() | Evaluate():
                return self._plain(stmts)
            case If() if self.is_uniform(first.condition, [first]):
                return [self.branches(first)]
            case Attr():
                return [replace(first, body=self.lowered(first.body))]
            case Bind() | Allocate():
                return stmts
            case _:
                return [self._unrolled(stmts)]

    def branches(self, node: If) -> Stmt:
        with self.scope.holding(node.condition, True, [node.then_body]):
            then_body = self.lowered(node.then_body)
        other = node.else_body
        if other is not None:
            with self.scope.holding(node.condition, False, [other]):
                other = self.lowered(other)
        return replace(node, then_body=then_body, else_body=other)

    def is_uniform(self, condition: Expr, where: Iterable[Stmt]) -> bool:
        return self.var not in used_vars(condition) and is_stable(condition, where)

    def _carries(self, body: Stmt) -> bool:
        """Whether an iteration leaves a scalar, or has memory of its own."""
        return any(
            isinstance(n, Allocate)
            or (isinstance(n, BufferStore) and self.var not in _index_vars(n))
            for n in walk(body)
        )

    def _unrolled(self, stmts: list[Stmt]) -> Stmt:
        var = Var(self.var.name, self.var.dtype)  # there may be several such loops
        body = substitute(seq(stmts), {self.var: var})
        loop = For(var, as_expr(0), as_expr(self.count), LoopKind.UNROLLED, body, span=self.span)
        return in_pairs(loop, self.scope.facts, is_parallel=True)

    # -- names ------------------------------------------------------------------------------------

    def _named(self, body: Stmt) -> Stmt:
        """Names whose value depends on the iteration: inlined, or arrays where they read memory."""
        if not isinstance(body, Seq):
            return body
        out: list[Stmt] = []
        values: dict[Var, Expr] = {}
        varying = {self.var}
        for stmt in body.stmts:
            stmt = substitute(stmt, values)
            if not isinstance(stmt, Bind) or varying.isdisjoint(used_vars(stmt.value)):
                out.append(stmt)
            elif is_pure(stmt.value):
                values[stmt.var] = stmt.value
            else:
                array = Buffer(stmt.var.name, (self.count,), stmt.var.dtype, LOCAL, span=stmt.span)
                self.scope.moves.aligned.add(array.data)
                self.arrays[stmt.var] = array
                values[stmt.var] = BufferLoad(array, (self.var,))
                out.append(BufferStore(array, stmt.value, (self.var,), span=stmt.span))
        return seq(out)

    # -- plain statements -------------------------------------------------------------------------

    def _plain(self, stmts: list[Stmt]) -> list[Stmt]:
        self.span = stmts[0].span or self.span
        before: list[Stmt] = []
        for array in self._arrays_stored(stmts):
            before.append(Allocate(array, span=array.span))
        stmts = [self._without_choices(s, before) for s in stmts]
        fixed = _fixed_storage(stmts)
        loads = _Staged(self, fixed)
        if len(stmts) == 1:
            direct = self._direct(stmts[0], fixed)
            if direct is not None:
                return [*before, *direct]
        inner: list[Stmt] = []
        after: list[Stmt] = []
        for stmt in stmts:
            new = loads.mutate(stmt)
            if isinstance(new, BufferStore):
                new = self._staged_store(new, fixed, before, after)
            elif isinstance(new, Evaluate):
                new = self._wide_atomic(new, before, after)
            inner.append(new)
        return [*before, *loads.before, self._unrolled(inner), *after]

    def _arrays_stored(self, stmts: list[Stmt]) -> list[Buffer]:
        stored = [s.buffer for s in stmts if isinstance(s, BufferStore)]
        names = [v for v, array in self.arrays.items() if array in stored]
        return [self.arrays.pop(v) for v in names]

    def _direct(self, stmt: Stmt, fixed: set[Var]) -> list[Stmt] | None:
        """A copy between two places that are both contiguous."""
        if not isinstance(stmt, BufferStore) or not isinstance(stmt.value, BufferLoad):
            return None
        source = stmt.value
        if stmt.buffer.dtype != source.dtype or source.buffer.data in fixed:
            return None
        width = min(
            self.width(stmt.buffer, stmt.indices), self.width(source.buffer, source.indices)
        )
        if width == 1:
            return None
        return self.pieces(stmt.buffer, stmt.indices, source.buffer, source.indices, width)

    def _staged_store(
        self, node: BufferStore, fixed: set[Var], before: list[Stmt], after: list[Stmt]
    ) -> Stmt:
        width = self.width(node.buffer, node.indices)
        if width == 1 or node.buffer.data in fixed or node.buffer.scope() == LOCAL:
            return node
        stage = self.new_stage(node.buffer, before)
        index = (self.var,)
        after += self.pieces(node.buffer, node.indices, stage, index, width)
        return replace(node, buffer=stage, indices=index)

    def _wide_atomic(self, node: Evaluate, before: list[Stmt], after: list[Stmt]) -> Stmt:
        """Additions to neighbours, as many at once as there is an instruction for."""
        parts = relaxed_addition(node)
        if parts is None:
            return node
        place, added = parts
        width = self.width(place.buffer, place.indices)
        width = next((w for w in together_at_once(place.buffer) if width % w == 0), 1)
        if width == 1:
            return node
        stage = self.new_stage(place.buffer, before)
        for start in range(0, self.count, width):
            indices = piece(place.indices, self.var, start, 1)
            target = replace(place, indices=indices)
            after.append(addition(target, stage, start, width, node.span))
        return BufferStore(stage, added, (self.var,), span=node.span)

    def _without_choices(self, stmt: Stmt, before: list[Stmt]) -> Stmt:
        """Guarded loads, where all iterations have one guard, made in front under an `If`."""
        if not isinstance(stmt, BufferStore):
            return stmt
        return replace(stmt, value=_Choices(self, stmt, before).mutate(stmt.value))

    # -- what the parts ask -----------------------------------------------------------------------

    def width(self, buffer: Buffer, indices: tuple[Expr, ...]) -> int:
        """Elements of the widest legal access."""
        return self.scope.moves.width(buffer, indices, self.var, self.count)

    def new_stage(self, like: Buffer, before: list[Stmt]) -> Buffer:
        """A local array with an element per iteration."""
        stage = Buffer(f"{like.name}_lanes", (self.count,), like.dtype, LOCAL)
        self.scope.moves.aligned.add(stage.data)
        before.append(Allocate(stage, span=self.span))
        return stage

    def pieces(
        self, dst: Buffer, dst_indices: tuple[Expr, ...], src: Buffer,
        src_indices: tuple[Expr, ...], width: int,
    ) -> list[Stmt]:  # fmt: skip
        """Moves of `width` elements that cover all iterations."""
        out: list[Stmt] = []
        for start in range(0, self.count, width):
            source = BufferLoad(src, piece(src_indices, self.var, start, width))
            place = piece(dst_indices, self.var, start, width)
            out.append(BufferStore(dst, source, place, span=self.span))
        return out


class _Staged(Mutator):
    """Replaces loads that always happen by elements of arrays; `before` fills them."""

    def __init__(self, body: _Body, fixed: set[Var]) -> None:
        self.body, self.fixed = body, fixed
        self.before: list[Stmt] = []
        self.found: list[tuple[BufferLoad, Buffer]] = []

    def mutate_Call(self, node: Call) -> Expr:
        if _is_address(node):
            return node
        if node.op.startswith("atomic_"):
            return replace(node, args=(node.args[0], *map(self.mutate, node.args[1:])))
        if node.op == "if_then_else":
            return replace(node, args=(self.mutate(node.args[0]), *node.args[1:]))
        return self.mutate_children(node)

    def mutate_And(self, node: And) -> Expr:
        return replace(node, a=self.mutate(node.a))

    def mutate_Or(self, node: Or) -> Expr:
        return replace(node, a=self.mutate(node.a))

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        buffer = node.buffer
        for load, stage in self.found:
            if load.buffer is buffer and structural_equal(load.indices, node.indices):
                return BufferLoad(stage, (self.body.var,), span=node.span)
        if buffer.scope() == LOCAL or buffer.data in self.fixed:
            return self.mutate_children(node)
        width = self.body.width(buffer, node.indices)
        if width == 1:
            return self.mutate_children(node)
        stage = self.body.new_stage(buffer, self.before)
        index = (self.body.var,)
        self.before += self.body.pieces(stage, index, buffer, node.indices, width)
        self.found.append((node, stage))
        return BufferLoad(stage, index, span=node.span)


class _Choices(Mutator):
    """Takes `if_then_else` with a uniform condition and wide loads out of a value."""

    def __init__(self, body: _Body, stmt: BufferStore, before: list[Stmt]) -> None:
        self.body, self.stmt, self.before = body, stmt, before

    def mutate_Call(self, node: Call) -> Expr:
        if node.op != "if_then_else":
            return self.mutate_children(node)
        condition, then_value, else_value = node.args
        if not self.body.is_uniform(condition, [self.stmt]) or not self._has_wide_load(node):
            return node
        like = Buffer(_name_of(node), (1,), node.dtype, LOCAL)
        array = self.body.new_stage(like, self.before)
        index = (self.body.var,)
        stores = [
            BufferStore(array, v, index, span=self.stmt.span) for v in (then_value, else_value)
        ]
        self.before.append(self.body.branches(If(condition, stores[0], stores[1])))
        return BufferLoad(array, index)

    def _has_wide_load(self, node: Call) -> bool:
        with self.body.scope.holding(node.args[0], True, ()):
            return any(
                isinstance(n, BufferLoad)
                and n.buffer.scope() != LOCAL
                and self.body.width(n.buffer, n.indices) > 1
                for n in walk(node)
            )


def _name_of(node: Node) -> str:
    """The name of the first buffer in `node`."""
    loads = (n.buffer.name for n in walk(node) if isinstance(n, BufferLoad))
    return next(loads, "value")


def _index_vars(node: BufferStore) -> set[Var]:
    return {v for i in node.indices for v in used_vars(i)}


def _fixed_storage(stmts: list[Stmt]) -> set[Var]:
    """Storage whose accesses keep their order: read after it was written, or written by a call."""
    written: set[Var] = set()
    fixed: set[Var] = set()
    for stmt in stmts:
        inside = [n for part in children(stmt) for n in walk(part)]
        fixed |= {n.buffer.data for n in inside if isinstance(n, BufferLoad)} & written
        for node in inside:
            if isinstance(node, Call):
                fixed |= _written_by(node)
        if isinstance(stmt, BufferStore):
            written.add(stmt.buffer.data)
    return fixed


def _written_by(node: Call) -> set[Var]:
    """Storage that a call may change; it has no other way than an address."""
    place = node.args[0] if node.args else None
    if node.op.startswith("atomic_") and isinstance(place, BufferLoad):
        return {place.buffer.data}
    return written_storage(node) if _is_address(node) else set()


def _is_address(node: Call) -> bool:
    return node.op in ("address_of", "access_ptr")
