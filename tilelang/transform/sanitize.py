"""Kernels that check themselves: indices against extents, on-chip reads for a write before.

In: thread IR with logical indices. Out: the same program in which an access happens only when its
checks hold; a failed one ends the call with an error that names the access, the value and the
user's line. Runs under TILELANG_SANITIZE alone.

    x = A[i, j]   -->   x = if_then_else(tl_check_index(i, 64, ...) and ..., A[i, j], 0)
    S[i] = x      -->   if tl_check_index(i, 32, ...): S[i] = x; tl_mark_written(&S_written[i], 1)

Each on-chip allocation gets a shadow: one byte per element (of the narrowest view of it). Memory
whose address is taken counts as written from there on. The checks are functions of
`device/c/sanitize.h`. What external functions do to memory goes unchecked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilelang.errors import Span
from tilelang.ir.annotation import INIT
from tilelang.ir.buffer import FRAGMENT, GLOBAL, LOCAL, SHARED_SCOPES, VAR, Buffer
from tilelang.ir.expr import (
    BOOL,
    HANDLE,
    INT32,
    BufferLoad,
    Call,
    Expr,
    IntImm,
    Let,
    Ramp,
    StringImm,
    Var,
    as_expr,
    call,
    const_value,
    constant,
    if_then_else,
    logical_and,
)
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.ops import is_pure
from tilelang.ir.printer import to_text
from tilelang.ir.stmt import (
    Allocate,
    Bind,
    BufferStore,
    Evaluate,
    If,
    Launch,
    Stmt,
    annotation,
    seq,
)
from tilelang.ir.visitor import Mutator, walk
from tilelang.transform.flatten_buffers import print_elements
from tilelang.transform.liveness import POINTER_OPS

if TYPE_CHECKING:
    from tilelang.transform.context import PassContext

_ON_CHIP = (*SHARED_SCOPES, FRAGMENT, LOCAL, VAR)
_YES = IntImm(1, BOOL)


def sanitize(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Guard every access inside launches with checks."""
    del ctx  # the pipeline decides whether this runs
    return replace(func, body=_Launches().mutate(func.body))


class _Launches(Mutator):
    def mutate_Launch(self, node: Launch) -> Stmt:
        body = _Checker(_narrowest_views(node)).mutate(node.body)
        return node if body is None else replace(node, body=body)


def _bits(buffer: Buffer) -> int:
    return buffer.dtype.bits * buffer.dtype.lanes


def _narrowest_views(launch: Launch) -> dict[Var, int]:
    """Bits of the smallest element by which each storage is seen."""
    bits: dict[Var, int] = {}
    for node in walk(launch.body):
        buffer = getattr(node, "buffer", None)
        if isinstance(buffer, Buffer):
            bits[buffer.data] = min(bits.get(buffer.data, 1 << 20), _bits(buffer))
    return bits


@dataclass(frozen=True, slots=True)
class _Shadow:
    """`flags[k]` says whether `unit` bits of a storage have been written."""

    flags: Buffer
    unit: int

    @property
    def size(self) -> int:
        return int(const_value(self.flags.shape[0]) or 0)

    def address(self, index: Expr) -> Expr:
        return Call("address_of", (BufferLoad(self.flags, (index,)),), HANDLE)

    def call(self, function: str, index: Expr, count: int, *rest: Expr) -> Call:
        args = (self.address(index), constant(count, INT32), *rest)
        return Call(function, args, BOOL)


class _Checker(Mutator):
    def __init__(self, narrowest: dict[Var, int]) -> None:
        self.narrowest = narrowest
        self.shadows: dict[Var, _Shadow] = {}
        self.span: Span | None = None
        self.escaped: dict[Var, None] = {}  # storage whose address the statement at hand takes
        self.number = 0

    # -- checks -----------------------------------------------------------------------------------

    def in_bounds(self, load: BufferLoad, indices: Sequence[Expr]) -> Expr:
        """Whether every index of the access (with `indices` already rewritten) is in its extent."""
        access, where = StringImm(to_text(load)), StringImm(self._where(load))
        result: Expr = _YES
        for axis, (index, extent) in enumerate(zip(indices, load.buffer.shape)):
            for lane in _ends(index):
                number, size = const_value(lane), const_value(extent)
                if number is not None and size is not None and 0 <= number < size:
                    continue
                args = (lane, as_expr(extent), constant(axis, INT32), access, where)
                result = logical_and(result, Call("tl_check_index", args, BOOL))
        return result

    def is_written(self, load: BufferLoad, indices: Sequence[Expr]) -> Expr:
        """Whether the element has been written; true for global memory."""
        shadow = self.shadows.get(load.buffer.data)
        result: Expr = _YES
        if shadow is None:
            return result
        access, where = StringImm(to_text(load)), StringImm(self._where(load))
        for index, count in self._flags_of(load.buffer, indices, shadow):
            check = shadow.call("tl_check_written", index, count, index // count, access, where)
            result = logical_and(result, check)
        return result

    def marks(self, buffer: Buffer, indices: Sequence[Expr]) -> list[Stmt]:
        """Statements that note a write."""
        shadow = self.shadows.get(buffer.data)
        if shadow is None:
            return []
        flags = self._flags_of(buffer, indices, shadow)
        return [Evaluate(shadow.call("tl_mark_written", *f), span=self.span) for f in flags]

    def _flags_of(
        self, buffer: Buffer, indices: Sequence[Expr], shadow: _Shadow
    ) -> list[tuple[Expr, int]]:
        """First flag and number of flags of each element that is accessed."""
        per_element = _bits(buffer) // shadow.unit
        places: list[tuple[Expr, int]] = []
        *outer, last = indices
        for lane in _lanes(last):
            index = as_expr(buffer.elem_offset)
            for i, stride in zip((*outer, lane), buffer.strides):
                index = index + i * as_expr(stride)
            places.append((index * per_element, per_element))
        return places

    def _where(self, load: BufferLoad) -> str:
        span = load.span or self.span
        return f"{span.file}:{span.line}" if span else "<unknown line>"

    # -- expressions ------------------------------------------------------------------------------

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        bindings, indices = self._indices(node.indices)
        inside = self.in_bounds(node, indices)
        load = BufferLoad(node.buffer, indices, span=node.span)
        condition = logical_and(inside, self.is_written(node, indices))
        value = if_then_else(condition, load, constant(0, load.dtype))
        for var, index in reversed(bindings):
            value = Let(var, index, value)
        return value

    def _indices(self, indices: Sequence[Expr]) -> tuple[list[tuple[Var, Expr]], tuple[Expr, ...]]:
        """Rewritten indices, which occur several times: named unless plain arithmetic."""
        bindings: list[tuple[Var, Expr]] = []
        made: list[Expr] = []
        for index in indices:
            new: Expr = self.mutate(index)
            if not is_pure(new):
                self.number += 1
                var = Var(f"at_{self.number}", new.dtype)
                bindings.append((var, new))
                new = var
            made.append(new)
        return bindings, tuple(made)

    def mutate_Call(self, node: Call) -> Expr:
        if node.op in POINTER_OPS and node.args and isinstance(node.args[0], BufferLoad):
            place = node.args[0]
            self.escaped.setdefault(place.buffer.data)
            indices = tuple(self.mutate(i) for i in place.indices)
            new_place = BufferLoad(place.buffer, indices, span=place.span)
            return replace(node, args=(new_place, *(self.mutate(a) for a in node.args[1:])))
        if node.op.startswith("atomic_") and isinstance(node.args[0], BufferLoad):
            condition, made, _ = self._atomic(node, node.args[0])
            return if_then_else(condition, made, constant(0, made.dtype))
        return self.mutate_children(node)

    def _atomic(self, node: Call, place: BufferLoad) -> tuple[Expr, Call, tuple[Expr, ...]]:
        """When the operation may happen, the operation, and its rewritten indices."""
        indices = tuple(self.mutate(i) for i in place.indices)
        condition = self.in_bounds(place, indices)
        if node.op != "atomic_store":
            condition = logical_and(condition, self.is_written(place, indices))
        new_place = BufferLoad(place.buffer, indices, span=place.span)
        args = (new_place, *(self.mutate(a) for a in node.args[1:]))
        return condition, replace(node, args=args), indices

    # -- statements -------------------------------------------------------------------------------

    def mutate(self, node: Any) -> Any:
        if not isinstance(node, Stmt):
            return super().mutate(node)
        before, self.escaped = self.escaped, {}
        self.span = node.span or self.span
        made = super().mutate(node)
        taken = [self.shadows[v] for v in self.escaped if v in self.shadows]
        self.escaped = before
        if not taken or made is None:
            return made
        marks = [
            Evaluate(s.call("tl_mark_written", as_expr(0), s.size), span=node.span) for s in taken
        ]
        assert isinstance(made, Stmt)
        return seq([*marks, made])

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        value = self.mutate(node.value)
        bindings, indices = self._indices(node.indices)
        place = BufferLoad(node.buffer, node.indices, span=node.span)
        inside = self.in_bounds(place, indices)
        store = replace(node, value=value, indices=indices)
        body = seq([store, *self.marks(node.buffer, indices)])
        whole = body if inside is _YES else If(inside, body, span=node.span)
        return seq([*(Bind(v, i, span=node.span) for v, i in bindings), whole])

    def mutate_Evaluate(self, node: Evaluate) -> Stmt:
        value = node.value
        if not isinstance(value, Call):
            return self.mutate_children(node)
        if value.op == "print_buffer":
            loops = self.mutate(print_elements(node, value))
            assert isinstance(loops, Stmt)
            return loops
        place = value.args[0] if value.args else None
        if not value.op.startswith("atomic_") or not isinstance(place, BufferLoad):
            return self.mutate_children(node)
        condition, made, indices = self._atomic(value, place)
        marks = self.marks(place.buffer, indices) if value.op == "atomic_store" else []
        body = seq([replace(node, value=made), *marks])
        return body if condition is _YES else If(condition, body, span=node.span)

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        buffer = node.buffer
        if buffer.scope() not in _ON_CHIP or buffer.scope() == GLOBAL:
            return node
        unit = self.narrowest.get(buffer.data, _bits(buffer))
        size = _extent(buffer) * _bits(buffer) // unit
        flags = Buffer(f"{buffer.name}_written", (size,), "uint8", "shared", span=buffer.span)
        shadow = self.shadows[buffer.data] = _Shadow(flags, unit)
        has_value = annotation(node.annotations, INIT) is not None
        mark = "tl_mark_written" if has_value else "tl_mark_unwritten"
        start = Evaluate(shadow.call(mark, as_expr(0), size), span=node.span)
        return seq([node, Allocate(flags, span=node.span), start])


def _extent(buffer: Buffer) -> int:
    """Elements from the start of the storage to the end of the buffer."""
    reach = int(const_value(buffer.elem_offset) or 0) + 1
    for extent, stride in zip(buffer.shape, buffer.strides):
        reach += (int(const_value(extent) or 1) - 1) * int(const_value(stride) or 0)
    return reach


def _ends(index: Expr) -> list[Expr]:
    """The index, or of a vector the lanes that may be smallest and largest."""
    if isinstance(index, Ramp):
        last = index.base + index.stride * (index.lanes - 1)
        return [index.base, last]
    return _lanes(index)


def _lanes(index: Expr) -> list[Expr]:
    """The index, or every lane of a vector."""
    if index.dtype.lanes == 1:
        return [index]
    if isinstance(index, Ramp):
        return [index.base + index.stride * i for i in range(index.lanes)]
    kind = index.dtype.element
    return [call("extract_lane", index, i, dtype=kind) for i in range(index.dtype.lanes)]
