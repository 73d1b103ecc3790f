"""Tile operations whose elements are independent become `T.Parallel` nests.

In: tile form for a GPU. Out: tile form in which copies, fills, atomics, transpositions and im2col
are nests over the elements they name; one mechanism (`infer_fragments`, `lower_threads`) then
spreads all nests over threads, vectorises and guards them. Products, reductions and scans stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tilelang.ir.annotation import COALESCED_WIDTH, LOOP_LAYOUT, PREFER_ASYNC, TILE_OP
from tilelang.ir.buffer import LOCAL, SHARED_DYN, VAR, Buffer
from tilelang.ir.expr import BufferLoad, BufferRegion, Call, Expr, Range, Var, as_expr, cast
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, Annotations, Bind, Evaluate, For, Launch, LoopKind, Stmt, seq
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.ir.visitor import Mutator, substitute, walk
from tilelang.tileop.atomic import Atomic
from tilelang.tileop.base import TileOperator
from tilelang.tileop.copy import Copy
from tilelang.tileop.fill import Fill
from tilelang.tileop.im2col import Im2Col
from tilelang.tileop.loops import element, nest, spread, store
from tilelang.tileop.registry import operator_for
from tilelang.tileop.transpose import Transpose
from tilelang.transform.context import PassContext
from tilelang.transform.fragment_views import Owners, owners_in, through_shared
from tilelang.transform.lower_tile_ops import located

_NAMES = "ijklmnpqr"
_ELEMENTWISE = ("copy", "transpose", "im2col")  # operations that may read a fragment
Indices = tuple[Expr, ...]


def expand_tile_ops(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Write element-wise tile operations as loops.

    Needs: tile form. Leaves: tile form whose tile operations are products, reductions and scans.

        copy(A[by * 64, 0], A_shared)
    --> for i, j in Parallel(64, 32): A_shared[i, j] = A[by * 64 + i, j]
    """
    del ctx  # the same for every device with threads
    return _Expand().mutate(func)


class _Expand(Mutator):
    def __init__(self) -> None:
        self.owners: Owners = {}

    def mutate_Launch(self, node: Launch) -> Stmt:
        self.owners = owners_in(node.body)
        return self.mutate_children(node)

    def mutate_For(self, node: For) -> Stmt:
        if node.kind is LoopKind.PARALLEL:
            moved = through_shared(node, self.owners)
            if moved is not node:
                return self.mutate(moved)
        return self.mutate_children(node)

    def mutate_TileOp(self, node: TileOp) -> Stmt:
        moved = through_shared(node, self.owners)
        if moved is not node:
            return self.mutate(moved)
        named, node = _evaluated_first(node)
        before, node = _through_shared(node)
        return seq([*named, *before, _expanded(operator_for(node))])

    def mutate_Evaluate(self, node: Evaluate) -> Stmt:
        """One thread prints all of a fragment, from shared memory."""
        value = node.value
        if not isinstance(value, Call) or value.op != "print_buffer":
            return node
        buffer = next(n.buffer for n in walk(value) if isinstance(n, BufferLoad))
        if not buffer.is_fragment:
            return node
        made = Buffer(buffer.name, buffer.shape, buffer.dtype, SHARED_DYN, span=node.span)
        printed = substitute(node, buffers={buffer: made})
        return seq([Allocate(made, span=node.span), copy_nest(buffer, made, node), printed])


def _expanded(operator: TileOperator) -> Stmt:
    match operator:
        case Copy():
            return expand_copy(operator)
        case Fill():
            return _expand_fill(operator)
        case Atomic():
            return _expand_atomic(operator)
        case Transpose():
            return _expand_transpose(operator)
        case Im2Col():
            return _expand_im2col(operator)
        case _:
            return operator.node


def _evaluated_first(node: TileOp) -> tuple[list[Stmt], TileOp]:
    """Names for what scalar arguments load from a buffer that `node` overwrites, and the operation
    that uses them: arguments are evaluated before it writes anything."""
    written = {o.region.buffer.data for o in node.operands if o.is_written}
    before: list[Stmt] = []

    def named(name: str, value: Expr) -> Expr:
        if not any(isinstance(n, BufferLoad) and n.buffer.data in written for n in walk(value)):
            return value
        var = Var(name, value.dtype)
        before.append(Bind(var, value, span=node.span))
        return var

    def operand(o: TileOperand) -> TileOperand:
        name = o.region.buffer.name
        ranges = tuple(
            Range(named(f"{name}_start", r.start), named(f"{name}_extent", r.extent))
            for r in o.region.ranges
        )
        return replace(o, region=BufferRegion(o.region.buffer, ranges))

    operands = tuple(operand(o) for o in node.operands)
    values = tuple((name, named(name, value)) for name, value in node.values)
    return before, replace(node, operands=operands, values=values) if before else node


def _is_private(buffer: Buffer) -> bool:
    return buffer.scope() in (LOCAL, VAR)


def _through_shared(node: TileOp) -> tuple[list[Stmt], TileOp]:
    """What goes before `node`, and `node`: a thread that fills an array of its own needs all
    elements of a fragment, which others hold, so it takes them from a copy in shared memory."""
    written = [o.region.buffer for o in node.operands if o.is_written]
    if node.op not in _ELEMENTWISE or not any(_is_private(b) for b in written):
        return [], node
    before: list[Stmt] = []
    copies: dict[Buffer, Buffer] = {}
    for buffer in (o.region.buffer for o in node.operands if o.is_read):
        if buffer.is_fragment and buffer not in copies:
            made = Buffer(f"{buffer.name}_shared", buffer.shape, buffer.dtype, SHARED_DYN)
            copies[buffer] = made
            before += [Allocate(made, span=node.span), copy_nest(buffer, made, node)]
    return before, substitute(node, buffers=copies) if copies else node


def copy_nest(src: Buffer, dst: Buffer, place: Stmt) -> Stmt:
    """`dst = src`, as a nest that belongs to the line of `place`."""
    operands = (TileOperand("src", src.region(), "r"), TileOperand("dst", dst.region(), "w"))
    return expand_copy(Copy(TileOp("copy", operands, span=place.span)))


def fill_nest(dst: Buffer, value: Expr, place: Stmt) -> Stmt:
    """`dst = value` everywhere, as a nest that belongs to the line of `place`."""
    operands = (TileOperand("dst", dst.region(), "w"),)
    return _expand_fill(Fill(TileOp("fill", operands, (("value", value),), span=place.span)))


def parallel(node: TileOp, extents: Sequence[Expr], body: Callable[[Indices], Stmt]) -> Stmt:
    """A nest over `extents` that stands for `node`."""
    if any(_is_private(o.region.buffer) for o in node.operands if o.is_written):
        return located(nest(extents, body), node.span)  # each thread fills all of its own array
    sizes = list(extents) or [as_expr(1)]
    variables = [
        Var(_NAMES[d] if d < len(_NAMES) else f"i{d}", e.dtype) for d, e in enumerate(sizes)
    ]
    made = body(tuple(variables[: len(extents)]))
    notes: Annotations = ((TILE_OP, node.op),)
    for key in (COALESCED_WIDTH, LOOP_LAYOUT):
        value = node.attribute(key)
        notes = notes if value is None else (*notes, (key, value))
    if node.attribute("is_async", False):
        notes = (*notes, (PREFER_ASYNC, True))
    for number in range(len(variables) - 1, -1, -1):
        var, extent = variables[number], sizes[number]
        made = For(
            var, cast(as_expr(0), var.dtype), extent, LoopKind.PARALLEL, made,
            notes if number == 0 else (), span=node.span,
        )  # fmt: skip
    return made


def expand_copy(op: Copy) -> Stmt:
    """One iteration per element of the side that is nearer to the registers."""

    def body(indices: Indices) -> Stmt:
        value = element(op.src, spread(op.src, op.src_axes, indices))
        made = store(op.dst, spread(op.dst, op.dst_axes, indices), value)
        made.span = op.node.span
        return made

    return parallel(op.node, op.extents, body)


def _expand_fill(op: Fill) -> Stmt:
    def body(indices: Indices) -> Stmt:
        return store(op.dst, spread(op.dst, op.axes, indices), op.value)

    return parallel(op.node, [op.dst.extents[a] for a in op.axes], body)


def _expand_atomic(op: Atomic) -> Stmt:
    return parallel(op.node, op.extents, lambda indices: op.update(indices, op.node.span))


def _expand_transpose(op: Transpose) -> Stmt:
    rank = len(op.dst.ranges)
    swapped = [*range(rank - 2), rank - 1, rank - 2]

    def body(indices: Indices) -> Stmt:
        return store(op.dst, indices, element(op.src, spread(op.src, swapped, indices)))

    return parallel(op.node, op.dst.extents, body)


def _expand_im2col(op: Im2Col) -> Stmt:
    axes = [len(op.col.ranges) - 2, len(op.col.ranges) - 1]

    def body(indices: Indices) -> Stmt:
        before: list[Stmt] = []

        def bind(name: str, value: Expr) -> Expr:
            var = Var(name, value.dtype)
            before.append(Bind(var, value))
            return var

        value = op.value_at(*indices, bind=bind)
        return seq([*before, store(op.col, spread(op.col, axes, indices), value)])

    return parallel(op.node, [op.col.extents[a] for a in axes], body)
