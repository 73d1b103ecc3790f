"""Every access gets one index: the distance, in elements, from the start of its storage.

In: thread IR with logical indices, from `plan_memory`. Out: the same function in which each buffer
that is accessed has one axis and one scalar element type, and each load and store one index made of
strides, `elem_offset` and the physical layout that the `Allocate` names. Buffers over one `data`
stay over one `data`: a view with another dtype is another flat buffer on the same pointer, and the
printer casts. Parameters keep their shapes, which the host side checks. Scalars (`local.var`) stay
as they are. It moves nothing and guards nothing.

Index width: int32 where the buffer has fewer than 2**31 elements for certain, otherwise int64.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import TYPE_CHECKING

from tilelang.arith import Analyzer
from tilelang.errors import LayoutError, Note
from tilelang.ir.annotation import LAYOUT
from tilelang.ir.buffer import LOCAL, Buffer, Extent
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    INT32,
    INT64,
    BufferLoad,
    Call,
    Expr,
    Ramp,
    StringImm,
    Var,
    as_expr,
    cast,
    const_value,
    constant,
    equal,
    logical_and,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import (
    Allocate,
    BufferStore,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Stmt,
    annotation,
)
from tilelang.ir.visitor import Mutator
from tilelang.layout.layout import Layout

if TYPE_CHECKING:
    from tilelang.transform.context import PassContext

_MAX_INT32 = (1 << 31) - 1


def flatten_buffers(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Replace logical indices by physical ones.

    Raises:
        LayoutError: for a view that the physical layout of its storage cannot serve.
    """
    analyzer = Analyzer()
    for var in dynamic_extents(func):
        analyzer.bind(var, 0, None)
    flattener = _Flattener(analyzer, is_one_thread=ctx.target.kind == "cuda")
    return replace(func, body=flattener.mutate(func.body))


def dynamic_extents(func: PrimFunc) -> list[Var]:
    """Variables that are extents of parameters."""
    extents = (extent for b in func.buffer_params for extent in b.shape)
    return [e for e in dict.fromkeys(extents) if isinstance(e, Var)]


def is_wide(buffer: Buffer) -> bool:
    """Whether an index into `buffer` may need more than 32 bits."""
    extents = [const_value(e) for e in (*buffer.shape, *buffer.strides, buffer.elem_offset)]
    if any(not isinstance(e, int) for e in extents):
        return True
    numbers = [int(e) for e in extents if e is not None]
    rank, lanes = buffer.ndim, buffer.dtype.lanes
    reach = sum((e - 1) * abs(s) for e, s in zip(numbers[:rank], numbers[rank : 2 * rank]))
    return (reach + numbers[-1] + 1) * lanes > _MAX_INT32


def flat_index(buffer: Buffer, indices: Sequence[Expr], layout: Layout | None = None) -> Expr:
    """Distance of the element at `indices` from the start of the storage, in scalar elements.

    The last index may be a vector; a buffer whose elements have lanes gives a vector too.
    """
    kind = INT64 if is_wide(buffer) else INT32
    if layout is not None:
        place = layout.map_forward_index(list(indices))
        strides: Sequence[Extent] = _row_major(layout.get_output_shape())
    else:
        place, strides = list(indices), buffer.strides
    index = _widened(buffer.elem_offset, kind)
    for i, stride in zip(place, strides):
        index = _plus(index, _times(_widened(i, kind), _widened(stride, kind)))
    lanes = buffer.dtype.lanes
    if lanes == 1:
        return index
    assert index.dtype.lanes == 1, "a vector of vector elements"
    return Ramp(index * lanes, constant(1, index.dtype), lanes)


def _row_major(shape: Sequence[int]) -> list[int]:
    return [prod(shape[d + 1 :]) for d in range(len(shape))]


def _widened(value: Extent, kind: dtype) -> Expr:
    """`value` as a signed index at least as wide as `kind`."""
    index = as_expr(value)
    if index.dtype.bits > kind.bits or index.dtype.element == "uint32":
        kind = INT64
    if isinstance(index, Ramp):
        return Ramp(cast(index.base, kind), cast(index.stride, kind), index.lanes)
    return cast(index, kind.with_lanes(index.dtype.lanes))


def _times(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Ramp) and b.dtype.lanes == 1:
        return Ramp(a.base * b, a.stride * b, a.lanes)
    return a * b


def _plus(a: Expr, b: Expr) -> Expr:
    if isinstance(b, Ramp) and a.dtype.lanes == 1:
        return Ramp(a + b.base, b.stride, b.lanes)
    return a + b


class _Flattener(Mutator):
    def __init__(self, analyzer: Analyzer, is_one_thread: bool) -> None:
        self.analyzer = analyzer
        # Whether a launch is what one thread does; vectors are then moves by vectorize_accesses,
        # contiguous also in the physical layout.
        self.is_one_thread = is_one_thread
        self.flat: dict[Buffer, Buffer] = {}
        self.layouts: dict[Var, tuple[Buffer, Layout]] = {}
        self.view_layouts: dict[Buffer, Layout] = {}
        self.first_thread: Expr | None = None  # a condition; `None` where a block is one thread

    def flat_buffer(self, buffer: Buffer) -> Buffer:
        """The one-axis buffer that stands for `buffer` in accesses."""
        found = self.flat.get(buffer)
        if found is None:
            found = self.flat[buffer] = Buffer(
                buffer.name, (self.extent(buffer),), buffer.dtype.element, buffer.scope(),
                data=buffer.data, span=buffer.span,
            )  # fmt: skip
        return found

    def extent(self, buffer: Buffer) -> Extent:
        """Scalar elements from the start of the storage to the end of the buffer."""
        layout = self.layout_of(buffer)
        if layout is not None:
            return prod(layout.get_output_shape()) * buffer.dtype.lanes
        total: Extent = buffer.elem_offset
        total = _extent(as_expr(total) + 1)
        for extent, stride in zip(buffer.shape, buffer.strides):
            if const_value(extent) == 0:
                return 0
            total = _extent(as_expr(total) + _times(as_expr(extent) - 1, as_expr(stride)))
        return _extent(as_expr(total) * buffer.dtype.lanes)

    def layout_of(self, buffer: Buffer) -> Layout | None:
        """The physical layout behind `buffer`, seen through the shape and dtype of a view."""
        if buffer.data not in self.layouts:
            return None
        owner, layout = self.layouts[buffer.data]
        if buffer is owner:
            return layout
        if buffer not in self.view_layouts:
            self.view_layouts[buffer] = seen_through(buffer, owner, layout)
        return self.view_layouts[buffer]

    def index(self, buffer: Buffer, indices: tuple[Expr, ...]) -> Expr:
        layout, last = self.layout_of(buffer), indices[-1]
        if layout is not None and self.is_one_thread and isinstance(last, Ramp):
            first = self.index(buffer, (*indices[:-1], last.base))
            return Ramp(first, constant(1, first.dtype), last.lanes)
        index = flat_index(buffer, [self.mutate(i) for i in indices], layout)
        if isinstance(index, Ramp):
            return Ramp(self.analyzer.simplify(index.base), index.stride, index.lanes)
        return index if index.dtype.lanes > 1 else self.analyzer.simplify(index)

    def mutate_For(self, node: For) -> Stmt:
        with self.analyzer.scope():
            self.analyzer.bind_range(node.var, node.start, node.extent)
            return self.mutate_children(node)

    def mutate_Launch(self, node: Launch) -> Stmt:
        if self.is_one_thread:
            pairs = zip(node.thread_vars, node.thread_extents)
            several = [v for v, extent in pairs if const_value(extent) != 1]
            tests = [equal(v, 0) for v in several]
            self.first_thread = reduce(logical_and, tests) if tests else None
        with self.analyzer.scope():
            for var, extent in zip(node.grid_vars, node.grid_extents):
                self.analyzer.bind_range(var, 0, extent)
            return self.mutate_children(node)

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        if node.buffer.is_var:
            return node
        index = self.index(node.buffer, node.indices)
        return BufferLoad(self.flat_buffer(node.buffer), (index,), span=node.span)

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        value = self.mutate(node.value)
        if node.buffer.is_var:
            return replace(node, value=value)
        index = self.index(node.buffer, node.indices)
        return replace(node, buffer=self.flat_buffer(node.buffer), value=value, indices=(index,))

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        layout = annotation(node.annotations, LAYOUT)
        if isinstance(layout, Layout):
            self.layouts[node.buffer.data] = (node.buffer, layout)
        if node.buffer.is_var:
            return node
        kept = tuple((k, v) for k, v in node.annotations if k != LAYOUT)
        return replace(node, buffer=self.flat_buffer(node.buffer), annotations=kept)

    def mutate_Evaluate(self, node: Evaluate) -> Stmt:
        value = node.value
        if isinstance(value, Call) and value.op == "print_buffer":
            printed = self.mutate(print_elements(node, value))
            if self.first_thread is None or printed_buffer(value).scope() == LOCAL:
                return printed
            return If(self.first_thread, printed, span=node.span)
        return self.mutate_children(node)


def _extent(value: Expr) -> Extent:
    number = const_value(value)
    return int(number) if number is not None else value


def seen_through(view: Buffer, owner: Buffer, layout: Layout) -> Layout:
    """`layout`, which is that of `owner`, for the shape and dtype of `view`.

    Raises:
        LayoutError: for a view with strides or an offset.
    """
    if view.declared_strides is not None or const_value(view.elem_offset) != 0:
        raise LayoutError(
            f"`{view.name}` is a strided window on `{owner.name}`, which has a physical layout",
            view.span,
            notes=[Note(owner.span, f"`{owner.name}` is allocated here")],
        )
    shape = [int(e) for e in map(const_value, view.shape) if e is not None]
    bits = (view.dtype.bits * view.dtype.lanes, owner.dtype.bits * owner.dtype.lanes)
    return layout.reshape(shape, *bits) if bits[0] != bits[1] else layout.reshape(shape)


def printed_buffer(value: Call) -> Buffer:
    """The buffer whose address a `print_buffer` call has."""
    pointer = value.args[0]
    assert isinstance(pointer, Call) and isinstance(pointer.args[0], BufferLoad)
    return pointer.args[0].buffer


def print_elements(node: Evaluate, value: Call) -> Stmt:
    """Loops that print each element of the buffer whose address a `print_buffer` call has."""
    buffer, message = printed_buffer(value), value.args[1]
    loops = [Var("ijkl"[d % 4], INT32) for d in range(buffer.ndim)]
    element = BufferLoad(buffer, tuple(loops))
    name = StringImm(buffer.name)
    body: Stmt = replace(
        node, value=Call("print_element", (element, message, name, *loops), value.dtype)
    )
    for var, extent in reversed(list(zip(loops, buffer.shape))):
        count = cast(as_expr(extent), INT32)
        body = For(var, as_expr(0), count, LoopKind.SERIAL, body, span=node.span)
    return body
