"""Vector values become scalars: one lane at a time, in short loops that a C compiler vectorises.

In: flattened thread IR with vectors (`Ramp`, `Broadcast`, loads and stores with several lanes, bit
casts between vectors and scalars). Out: the same program without them, for printers of languages
without vector types. A vector store is a loop over lanes, through a temporary where the value reads
what is being stored; a bound vector is a local array. Values with effects are evaluated once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tilelang.errors import Span, TargetError
from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    INT32,
    BinaryOp,
    BitNot,
    Broadcast,
    BufferLoad,
    Call,
    Cast,
    Expr,
    Let,
    Not,
    Ramp,
    Select,
    StringImm,
    Var,
    as_expr,
    bitwise_or,
    cast,
    const_value,
    constant,
    if_then_else,
    logical_and,
    logical_or,
    not_equal,
    rebuild,
    shift_left,
    shift_right,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.ops import EFFECTS, Effect, has_side_effect
from tilelang.ir.stmt import Allocate, Bind, BufferStore, Evaluate, For, LoopKind, Stmt, seq
from tilelang.ir.visitor import Mutator, substitute, walk

if TYPE_CHECKING:
    from tilelang.transform.context import PassContext

_NOT_BY_LANE = frozenset(("call_extern", "call_pure_extern", "address_of", "access_ptr"))
_REGROUPING = frozenset(("make_vector", "reinterpret"))  # a lane is found by its number


def split_lanes(
    func: PrimFunc, ctx: PassContext, is_kept: Callable[[BufferStore], bool] | None = None
) -> PrimFunc:
    """Rewrite vector values lane by lane.

    Args:
        is_kept: vector stores that stay. By default, of the target `cuda`, moves from one place
            to another, which are left by `vectorize_accesses`; of others, none.

    Raises:
        TargetError: for an operation that takes vectors as a whole.
    """
    if not any(isinstance(n, Expr) and n.dtype.lanes > 1 for n in walk(func.body)):
        return func
    chosen = is_kept or (_is_move if ctx.target.kind == "cuda" else _never)
    return replace(func, body=_Splitter(ctx.target.kind, chosen).mutate(func.body))


def _never(node: BufferStore) -> bool:
    del node
    return False


def _is_move(node: BufferStore) -> bool:
    return isinstance(node.value, BufferLoad) and isinstance(node.indices[-1], Ramp)


class _Splitter(Mutator):
    def __init__(self, target: str, is_kept: Callable[[BufferStore], bool]) -> None:
        self.target = target
        self.is_kept = is_kept
        self.arrays: dict[Var, Buffer] = {}  # bound vectors
        self.before: list[Stmt] = []  # what must run ahead of the statement at hand
        self.span: Span | None = None

    # -- statements -------------------------------------------------------------------------------

    def mutate(self, node: object) -> object:
        if isinstance(node, Stmt):
            self.span = node.span or self.span
        return super().mutate(node)

    def _with_preparation(self, stmt: Stmt) -> Stmt:
        before, self.before = self.before, []
        return seq([*before, stmt])

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        index = node.indices[-1]
        if self.is_kept(node):
            return node
        if index.dtype.lanes == 1:
            return self._with_preparation(self.mutate_children(node))
        value, lanes = self._once(node.value), index.dtype.lanes
        if not self._reads_other_lanes(node):
            stores = self._store_lanes(node.buffer, node.indices, value, lanes)
            return self._with_preparation(stores)
        kept = Buffer(f"{node.buffer.name}_lanes", (lanes,), value.dtype.element, LOCAL)
        place = Ramp(as_expr(0), as_expr(1), lanes)
        loads = BufferLoad(kept, (place,))
        fill = self._store_lanes(kept, (place,), value, lanes)
        return self._with_preparation(
            seq([Allocate(kept), fill, self._store_lanes(node.buffer, node.indices, loads, lanes)])
        )

    def _reads_other_lanes(self, node: BufferStore) -> bool:
        loads = (n for n in walk(node.value) if isinstance(n, BufferLoad))
        return any(
            n.buffer.data is node.buffer.data
            and not (isinstance(n.indices[-1], Ramp) and structural_equal(n.indices, node.indices))
            for n in loads
        )

    def _store_lanes(
        self, buffer: Buffer, indices: tuple[Expr, ...], value: Expr, lanes: int
    ) -> Stmt:
        def store(lane: Expr) -> Stmt:
            at = tuple(self.lane(index, lane) for index in indices)
            return BufferStore(buffer, self.lane(value, lane), at, span=self.span)

        by_number = any(isinstance(n, Call) and n.op in _REGROUPING for n in walk(value))
        if (by_number and lanes <= 16) or has_side_effect(value):
            return seq([store(as_expr(lane)) for lane in range(lanes)])
        var = Var("lane", INT32)
        kind = LoopKind.SERIAL if buffer.dtype.elements_per_byte > 1 else LoopKind.VECTORIZED
        return For(var, as_expr(0), as_expr(lanes), kind, store(var), span=self.span)

    def mutate_Bind(self, node: Bind) -> Stmt:
        lanes = node.var.dtype.lanes
        if lanes == 1:
            return self._with_preparation(self.mutate_children(node))
        array = Buffer(node.var.name, (lanes,), node.var.dtype.element, LOCAL, span=node.span)
        self.arrays[node.var] = array
        place = Ramp(as_expr(0), as_expr(1), lanes)
        fill = self._store_lanes(array, (place,), self._once(node.value), lanes)
        return self._with_preparation(seq([Allocate(array, span=node.span), fill]))

    def mutate_Evaluate(self, node: Evaluate) -> Stmt | None:
        value = node.value
        if isinstance(value, Call) and value.op == "print_value" and value.args[0].dtype.lanes > 1:
            vector, *rest = value.args
            calls = (
                Call("print_value", (self.lane(vector, as_expr(i)), *rest), value.dtype)
                for i in range(vector.dtype.lanes)
            )
            return seq([replace(node, value=c) for c in calls])
        if value.dtype.lanes == 1:
            return self._with_preparation(self.mutate_children(node))
        lanes = (self.lane(value, as_expr(i)) for i in range(value.dtype.lanes))
        return seq([replace(node, value=v) for v in lanes])

    def _once(self, value: Expr) -> Expr:
        """`value`, where scalars with effects that several lanes use are bound first."""
        if not has_side_effect(value):
            return value
        if isinstance(value, Broadcast):
            var = Var("value", value.value.dtype)
            scalar = self.mutate(value.value)
            assert isinstance(scalar, Expr)
            self.before.append(Bind(var, scalar, span=self.span))
            return Broadcast(var, value.lanes)
        if isinstance(value, Call) and value.op == "make_vector":
            return value
        changes = {
            name: self._once(child)
            for name in value.fields
            if isinstance(child := getattr(value, name), Expr)
        }
        return rebuild(value, changes) if changes else value

    # -- scalar expressions that contain vectors --------------------------------------------------

    def mutate_Call(self, node: Call) -> Expr:
        vectors = [a for a in node.args if a.dtype.lanes > 1]
        if not vectors:
            return self.mutate_children(node)
        if node.op == "extract_lane":
            return self.lane(node.args[0], node.args[1])
        if node.op == "reinterpret":
            return self._bits(node, as_expr(0))
        if node.op in ("any_of", "all_of"):
            return self._combined(node)
        raise self._no_vectors(node)

    def _combined(self, node: Call) -> Expr:
        join = logical_or if node.op == "any_of" else logical_and
        vector = node.args[0]
        tests = [self.lane(vector, as_expr(i)) for i in range(vector.dtype.lanes)]
        result = not_equal(tests[0], constant(0, tests[0].dtype))
        for test in tests[1:]:
            result = join(result, not_equal(test, constant(0, test.dtype)))
        return cast(result, node.dtype)

    def _no_vectors(self, node: Call) -> TargetError:
        return TargetError(
            f"{node.op}: the target `{self.target}` has no vector arguments",
            node.span or self.span,
            hint="pass the elements one by one, or the address of the first",
        )

    # -- one lane of a vector expression ----------------------------------------------------------

    def lane(self, value: Expr, lane: Expr) -> Expr:
        """Scalar number `lane` of `value`."""
        if value.dtype.lanes == 1:
            result = self.mutate(value)
            assert isinstance(result, Expr)
            return result
        match value:
            case Var():
                return BufferLoad(self.arrays[value], (lane,))
            case Ramp(base=base, stride=stride):
                step = self.lane(stride, lane)
                return self.lane(base, lane) + cast(lane, step.dtype) * step
            case Broadcast(value=inner):
                inside = lane if inner.dtype.lanes == 1 else lane % inner.dtype.lanes
                return self.lane(inner, inside)
            case BufferLoad(buffer=buffer, indices=indices):
                place = tuple(self.lane(i, lane) for i in indices)
                return BufferLoad(buffer, place, span=value.span)
            case Let(var=var, value=inner, body=body):
                return self._lane_of_let(var, inner, body, lane)
            case Cast():
                return cast(self.lane(value.value, lane), value.dtype.element)
            case Call():
                return self._lane_of_call(value, lane)
            case BinaryOp() | Not() | BitNot() | Select():
                parts = {n: self.lane(getattr(value, n), lane) for n in value.fields}
                return rebuild(value, parts)
            case _:
                raise AssertionError(f"a {type(value).__name__} has no lanes")

    def _lane_of_let(self, var: Var, inner: Expr, body: Expr, lane: Expr) -> Expr:
        if var.dtype.lanes > 1:
            return self.lane(substitute(body, {var: inner}), lane)
        return Let(var, self.lane(inner, lane), self.lane(body, lane))

    def _lane_of_call(self, value: Call, lane: Expr) -> Expr:
        if value.op == "make_vector":
            return self._chosen(value.args, lane)
        if value.op == "reinterpret":
            return self._bits(value, lane)
        is_known = EFFECTS.get(value.op) is Effect.PURE or value.op.startswith("cast_")
        if value.op in _NOT_BY_LANE or not is_known:
            raise self._no_vectors(value)
        args = tuple(a if isinstance(a, StringImm) else self.lane(a, lane) for a in value.args)
        return Call(value.op, args, value.dtype.element, span=value.span)

    def _chosen(self, values: tuple[Expr, ...], lane: Expr) -> Expr:
        number = const_value(lane)
        if number is not None:
            return self.lane(values[int(number)], lane)
        result = self.lane(values[-1], lane)
        for i in range(len(values) - 2, -1, -1):
            result = if_then_else(lane.__eq__(i), self.lane(values[i], lane), result)
        return result

    def _bits(self, value: Call, lane: Expr) -> Expr:
        """A lane of `reinterpret`: part of a wider source lane, or several narrower ones joined."""
        source, kind = value.args[0], value.dtype.element
        wide, narrow = source.dtype.bits, kind.bits
        if narrow <= wide:
            bit = lane * narrow
            word = _as_bits(self.lane(source, bit // wide))
            if narrow == wide:
                return _reinterpret(word, kind)
            part = shift_right(word, cast(bit % wide, word.dtype))
            return _reinterpret(cast(part, f"uint{narrow}"), kind)
        count = narrow // wide
        result = constant(0, f"uint{narrow}")
        for k in range(count):
            part = cast(_as_bits(self.lane(source, lane * count + k)), result.dtype)
            result = bitwise_or(result, shift_left(part, constant(k * wide, result.dtype)))
        return _reinterpret(result, kind)


def _as_bits(value: Expr) -> Expr:
    return _reinterpret(value, dtype(f"uint{value.dtype.bits}"))


def _reinterpret(value: Expr, kind: dtype) -> Expr:
    return value if value.dtype == kind else Call("reinterpret", (value,), kind)
