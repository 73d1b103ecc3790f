"""Where a thread's loads and stores go, while tile form becomes thread form.

The lower half of `lower_threads`: in a nest, elements of fragments are registers, accesses to
global memory that cannot be shown to be in range get predicates, what several threads would write
is written by one, and moves from global to shared memory may be asynchronous.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilelang.ir import annotation as keys
from tilelang.ir.buffer import GLOBAL, SHARED_SCOPES, Buffer
from tilelang.ir.expr import (
    HANDLE,
    BufferLoad,
    Call,
    Expr,
    Select,
    Var,
    as_expr,
    equal,
    if_then_else,
    is_const,
    logical_and,
)
from tilelang.ir.node import replace
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.stmt import BufferStore, Evaluate, If, Stmt, annotation
from tilelang.ir.visitor import substitute, used_vars
from tilelang.layout.layout import Layout
from tilelang.tileop.context import BlockThreads
from tilelang.tileop.loops import run
from tilelang.transform.affine import split_linear
from tilelang.transform.context import PassContext
from tilelang.transform.lower_tile_ops import TileLowering
from tilelang.transform.nests import Nest, Partition

_COPY_FUNCTIONS = {4: "tl_cp_async_ca_4", 8: "tl_cp_async_ca_8", 16: "tl_cp_async_cg_16"}


class NestState:
    """The nest that is being lowered: where its accesses to registers and memory go."""

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.registers: dict[int, Expr] = {}  # id of a load or store -> register
        self.first: Expr | None = None  # only these threads write memory
        self.lane_zero: dict[Var, Expr] = {}  # the vector loop's variable -> its group's first
        self.is_guarded = False  # an access to global memory got a predicate


class ThreadAccesses(TileLowering):
    """Lowers loads, stores and calls; `nest` is the nest around them, if any."""

    def __init__(self, ctx: PassContext) -> None:
        super().__init__(ctx)
        self.nest: NestState | None = None

    @property
    def threads(self) -> BlockThreads:
        """The threads of the launch around."""
        found = self.context.threads
        assert found is not None, "tile operations stand in launches"
        return found

    # -- vectors and predicates --------------------------------------------------------------------

    def _vector_width(self, nest: Nest, partition: Partition) -> int:
        """Steps taken together: what memory can move at once, as long as the group has one
        predicate for all of it."""
        width = partition.vector(nest.vector_limit or 8)
        var = nest.variables[nest.vector_loop]
        for access in nest.accesses:
            if access.buffer.scope() != GLOBAL:
                continue
            for index, size in zip(access.indices, access.buffer.shape):
                while width > 1 and not self._in_groups(index, as_expr(size), var, width):
                    width //= 2
        return width

    def _in_groups(self, index: Expr, size: Expr, var: Var, width: int) -> bool:
        """Whether a group of `width` values of `var` is inside `size` or outside as a whole."""
        if all(v is not var for v in used_vars(index)):
            return True
        if self.facts.can_prove(index >= 0) and self.facts.can_prove(index < size):
            return True
        parts = split_linear(index, var)
        if parts is None or parts[0] != 1:
            return False
        return self.facts.can_prove(equal(parts[1] % width, 0)) and self.facts.can_prove(
            equal(size % width, 0)
        )

    def _in_buffer(self, buffer: Buffer, indices: tuple[Expr, ...]) -> Expr:
        """Condition: the element exists; what is known is left out."""
        condition: Expr = as_expr(True)
        lanes = self._group_start()
        for index, size in zip(indices, buffer.shape):
            first = substitute(index, lanes) if lanes else index
            for part, seen in (
                (index >= 0, first >= 0),
                (index < as_expr(size), first < as_expr(size)),
            ):
                if not self.facts.can_prove(part):
                    condition = logical_and(condition, seen)
        if self.nest is not None and not is_const(condition, 1):
            self.nest.is_guarded = True
        return condition

    def _group_start(self) -> dict[Var, Expr]:
        """The vector loop's variable -> its value in the first lane of the group."""
        if self.nest is None or not self.nest.lane_zero:
            return {}
        var = self.nest.nest.variables[self.nest.nest.vector_loop]
        return {var: self.nest.lane_zero[var]}

    # -- accesses ----------------------------------------------------------------------------------

    def mutate_BufferLoad(self, node: BufferLoad) -> Expr:
        indices = tuple(self.mutate(i) for i in node.indices)
        place = self._register_of(node)
        if place is not None:
            return BufferLoad(self.context.registers[node.buffer], (place,))
        made = node if indices == node.indices else BufferLoad(node.buffer, indices)
        if self.nest is None or node.buffer.scope() != GLOBAL:
            return made
        condition = self._in_buffer(node.buffer, indices)
        if is_const(condition, 1):
            return made
        return if_then_else(condition, made, self.context.safe_value(node.buffer, node.dtype))

    def mutate_BufferStore(self, node: BufferStore) -> Stmt:
        made = super().mutate_BufferStore(node)
        if not isinstance(made, BufferStore):
            return self.mutate(made)  # a quantifier went in front
        place = self._register_of(node)
        value = self.mutate(node.value)
        if place is not None:
            return replace(
                made, buffer=self.context.registers[node.buffer], value=value, indices=(place,)
            )
        indices = tuple(self.mutate(i) for i in node.indices)
        made = replace(made, value=value, indices=indices)
        if node.buffer.scope() not in (GLOBAL, *SHARED_SCOPES):
            return made
        condition: Expr = as_expr(True)
        if self.nest is not None and node.buffer.scope() == GLOBAL:
            condition = self._in_buffer(node.buffer, indices)
        return self._once(made, condition)

    def _register_of(self, node: BufferLoad | BufferStore) -> Expr | None:
        if node.buffer not in self.context.registers:
            return None
        if self.nest is not None and id(node) in self.nest.registers:
            return self.mutate(self.nest.registers[id(node)])
        return row_major(node.buffer, node.indices)

    def _once(self, stmt: Stmt, condition: Expr) -> Stmt:
        """`stmt`, which others see, done by one thread where several would do the same."""
        if self.nest is not None:
            if self.nest.first is not None:
                condition = logical_and(condition, self.nest.first)
        elif not self.has_thread_code:
            condition = logical_and(condition, equal(self.threads.index, 0))
        return stmt if is_const(condition, 1) else If(condition, stmt, span=stmt.span)

    def mutate_Evaluate(self, node: Evaluate) -> Stmt:
        call = node.value
        if isinstance(call, Call) and call.op == "reducer_update":
            return self.mutate(super().mutate_Evaluate(node))
        made = super().mutate_Evaluate(node)
        if not isinstance(made, Evaluate):
            return self.mutate(made)
        value = self.mutate(made.value)
        made = made if value is made.value else replace(made, value=value)
        if not isinstance(call, Call) or effect_of(call.op) is not Effect.WRITE:
            return made
        if call.op.startswith("print_"):
            return self._once(made, as_expr(True))
        target = call.args[0] if call.args else None
        if not isinstance(target, BufferLoad):
            return made
        if target.buffer.scope() not in (GLOBAL, *SHARED_SCOPES):
            return made
        condition: Expr = as_expr(True)
        if self.nest is not None and target.buffer.scope() == GLOBAL:
            condition = self._in_buffer(target.buffer, target.indices)
        return self._once(made, condition)

    def mutate_Call(self, node: Call) -> Expr:
        if node.op == "if_then_else":
            return self._guarded(node, *node.args)
        if node.op.startswith("atomic_") or node.op in ("address_of", "access_ptr"):
            return self._on_place(node)
        return self.mutate_children(node)

    def mutate_Select(self, node: Select) -> Expr:
        return self.mutate_children(node)

    def _guarded(self, node: Call, condition: Expr, value: Expr, other: Expr) -> Expr:
        """A condition is known where its value is evaluated."""
        test = self.mutate(condition)
        with self.facts.scope():
            self.facts.add_condition(condition, holds=True)
            value = self.mutate(value)
        with self.facts.scope():
            self.facts.add_condition(condition, holds=False)
            other = self.mutate(other)
        return Call(node.op, (test, value, other), node.dtype)

    def _on_place(self, node: Call) -> Expr:
        """The first argument is a place, not a value: it gets no predicate here."""
        place, *rest = node.args
        if isinstance(place, BufferLoad) and self._register_of(place) is None:
            place = replace_indices(place, tuple(self.mutate(i) for i in place.indices))
        else:
            place = self.mutate(place)
        return Call(node.op, (place, *(self.mutate(a) for a in rest)), node.dtype)

    # -- asynchronous copies -----------------------------------------------------------------------

    def _as_async_copy(
        self, state: NestState, vector: int, values: Mapping[Var, Expr]
    ) -> Stmt | None:
        """A step of a nest that only moves elements from global to shared memory, by `cp.async`.

        `None` where the nest does not want it or the instruction cannot do it.
        """
        nest, store = state.nest, state.nest.body
        if self._why_not_async(nest, vector) is not None:
            return None
        assert isinstance(store, BufferStore) and isinstance(store.value, BufferLoad), "a move"
        load = store.value
        dst, src = store.buffer, load.buffer
        size = vector * dst.dtype.bits // 8
        before, self.nest = self.nest, state
        condition = self._in_buffer(src, load.indices)
        self.nest = before
        target, source = _address(dst, store.indices), _address(src, load.indices)
        name = _COPY_FUNCTIONS[size]
        if is_const(condition, 1):
            made = run(name, target, source)
        else:
            nowhere = _address(src, tuple(as_expr(0) for _ in src.shape))
            source = if_then_else(condition, source, nowhere)
            count = if_then_else(condition, as_expr(size), as_expr(0))
            made = run(f"{name}_zfill", target, source, count)
        made.span = nest.node.span
        return substitute(made, values)

    def _why_not_async(self, nest: Nest, vector: int) -> str | None:
        """`None` where `cp.async` runs the nest, otherwise the reason why not."""
        if annotation(nest.node.annotations, keys.PREFER_ASYNC) is not True:
            return "the copy is not in a pipeline, so its data is needed at once"
        store = nest.body
        if not isinstance(store, BufferStore) or not isinstance(store.value, BufferLoad):
            return "it does more than move elements"
        dst, src = store.buffer, store.value.buffer
        if not dst.is_shared or src.scope() != GLOBAL:
            return "it goes from global to shared memory only"
        if dst.dtype != src.dtype:
            return f"elements change from {src.dtype} to {dst.dtype}"
        size = vector * dst.dtype.bits // 8
        if size not in _COPY_FUNCTIONS:
            return f"a thread moves {size} bytes at once, not 4, 8 or 16"
        if min(nest.vector_of(a) for a in nest.accesses) < vector:
            return "neighbours are not adjacent and aligned on both sides"
        layout = self.context.layouts.get(dst)
        if layout is not None and not moves_in_groups(layout, vector):
            return f"the layout of `{dst.name}` takes neighbours apart"
        if not is_const(self.context.safe_values.get(src, as_expr(0)), 0):
            return f"elements outside `{src.name}` are not 0"
        return None


def replace_indices(load: BufferLoad, indices: tuple[Expr, ...]) -> BufferLoad:
    """The same load elsewhere."""
    return load if indices == load.indices else BufferLoad(load.buffer, indices)


def moves_in_groups(layout: Layout, width: int) -> bool:
    """Whether aligned groups of `width` neighbours along the last axis stay neighbours."""
    import numpy as np

    if width == 1:
        return True
    if layout.shape[-1] % width:
        return False
    groups = layout.offsets.reshape(-1, width)
    return bool(
        (groups == groups[:, :1] + np.arange(width)).all() and (groups[:, 0] % width == 0).all()
    )


def _address(buffer: Buffer, indices: tuple[Expr, ...]) -> Expr:
    return Call("address_of", (BufferLoad(buffer, indices),), HANDLE)


def row_major(buffer: Buffer, indices: tuple[Expr, ...]) -> Expr:
    place: Expr = as_expr(0)
    for extent, index in zip(buffer.shape, indices):
        place = place * extent + index
    return place
