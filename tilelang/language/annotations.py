"""Hints and attributes: how blocks are ordered, where buffers lie, what out-of-bounds reads give.

None of them changes the values a correct kernel computes, except `annotate_safe_value`, which says
what the world outside a global buffer looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    LayoutError,
    Note,
    ScopeError,
    ShapeError,
    caller_span,
)
from tilelang.ir import annotation as keys
from tilelang.ir.buffer import (
    FRAGMENT,
    GLOBAL,
    LOCAL,
    SHARED_SCOPES,
    VAR,
    Buffer,
    format_shape,
)
from tilelang.ir.expr import Expr, StringImm, as_condition, as_expr, call, cast, const_value
from tilelang.ir.func import FUNCTION_KEYS, RESTRICT_DROPPED
from tilelang.ir.stmt import Attr, Evaluate
from tilelang.language.builder import current, emit
from tilelang.language.location import argument_span
from tilelang.language.operand import scalar_of


def use_swizzle(panel_size: int, order: str = "row", enable: bool = True) -> None:
    """Order the blocks of the grid in panels of `panel_size`, for cache locality.

    Raises:
        ArgumentError: for an order other than `row`, `column` and `mlx`, or a panel size below 1.
    """
    if order not in ("row", "column", "mlx"):
        raise ArgumentError(
            f"use_swizzle: order is {order!r}, expected 'row', 'column' or 'mlx'",
            argument_span("order"),
        )
    if not isinstance(panel_size, int) or panel_size <= 0:
        raise ArgumentError(
            f"use_swizzle: panel_size is {panel_size!r}, expected a positive integer",
            argument_span(0),
        )
    if enable:
        current().attribute_rest(keys.SWIZZLE, (panel_size, order))


class AnnotationError(ArgumentTypeError, ValueError):
    """A key or a value of the wrong kind in an annotation."""


def _entries(function: str, given: Any) -> list[tuple[Buffer, Any]]:
    """The pairs of `{buffer: value}`."""
    if not isinstance(given, Mapping):
        raise AnnotationError(
            f"{function}: expected a dict with buffers as keys, got {type(given).__name__}",
            argument_span(0),
        )
    for key in given:
        if not isinstance(key, Buffer):
            raise AnnotationError(f"{function}: the key {key!r} is no buffer", argument_span(0))
    return list(given.items())


def _origin(buffer: Buffer) -> list[Note]:
    return [Note(buffer.span, f"`{buffer.name}` comes from here")] if buffer.span else []


def annotate_layout(layouts: Mapping[Any, Any]) -> None:
    """Fix the physical layout of buffers: `{buffer: Layout, Fragment or f(*indices) -> indices}`.

    A Fragment of a thread's own memory says nothing: every thread has all of it.

    Raises:
        AnnotationError: for a key that is no buffer, or a value that is no layout.
        ShapeError: for a layout of another shape than its buffer.
        LayoutError: for a map that puts two elements of a buffer on the chip in one place, or one
            where there is none.
    """
    from tilelang.layout import Fragment, Layout

    entries = []
    for buffer, layout in _entries("annotate_layout", layouts):
        if callable(layout) and not isinstance(layout, Layout):
            layout = Layout(list(buffer.shape), layout)
        if not isinstance(layout, Layout):
            raise AnnotationError(
                f"annotate_layout: `{buffer.name}` is given {layout!r}, "
                "expected a Layout, a Fragment or a function",
                argument_span(0),
            )
        if buffer.scope() == FRAGMENT and not isinstance(layout, Fragment):
            raise AnnotationError(
                f"annotate_layout: `{buffer.name}` is a fragment "
                "and needs a Fragment, got a Layout",
                argument_span(0),
            )
        if buffer.scope() in (LOCAL, VAR) and isinstance(layout, Fragment):
            continue
        if buffer.scope() != FRAGMENT and isinstance(layout, Fragment):
            raise AnnotationError(
                f"annotate_layout: `{buffer.name}` is in {buffer.scope()} memory "
                "and needs a Layout, got a Fragment, which spreads elements over threads",
                argument_span(0),
                notes=_origin(buffer),
            )
        _check_layout(buffer, layout)
        entries.append((buffer, layout))
    current().attribute_rest(keys.LAYOUTS, tuple(entries))


def _check_layout(buffer: Buffer, layout: Any) -> None:
    """A layout covers its buffer, and gives each element of shared memory a place of its own."""
    if [const_value(e) for e in buffer.shape] != layout.get_input_shape():
        raise ShapeError(
            f"annotate_layout: `{buffer.name}` is {format_shape(buffer.shape)}, "
            f"but its layout is of shape {format_shape(layout.get_input_shape())}",
            argument_span(0),
            notes=_origin(buffer),
        )
    reason = _no_storage(buffer, layout)
    if reason is not None:
        raise LayoutError(
            f"annotate_layout: the layout of `{buffer.name}` puts its {reason}",
            argument_span(0),
            notes=_origin(buffer),
        )


def _no_storage(buffer: Buffer, layout: Any) -> str | None:
    """Why a layout gives the elements of a buffer on the chip no places of their own."""
    if buffer.scope() not in (*SHARED_SCOPES, FRAGMENT):
        return None
    tables = [(layout.offsets, "place")]
    if buffer.scope() == FRAGMENT:
        tables.append((layout.thread_table, "thread"))
    for table, what in tables:
        if int(table.min()) < 0:
            index = (*map(int, _index_of_least(table)[: len(buffer.shape)]),)
            return f"element {index} in {what} {int(table.min())}; numbers begin at 0"
    if layout.is_injective:
        return None
    where = "register of a thread" if buffer.scope() == FRAGMENT else "place"
    pair = layout.collision()
    if pair is None:
        return f"elements in too few places: two share one {where}"
    one, other = ((*map(int, index),) for index in pair)
    return f"elements {one} and {other} in one {where}"


def _index_of_least(table: Any) -> tuple[Any, ...]:
    import numpy as np  # layouts are tables; loaded when the first one is asked for

    return np.unravel_index(int(table.argmin()), table.shape)


def annotate_safe_value(values: Mapping[Any, Any]) -> None:
    """What reads outside a global buffer deliver (0 otherwise), to the end of the enclosing block.

    Raises:
        AnnotationError: for a key that is no buffer, or a value that is no number.
        ScopeError: for a buffer that is not global.
        ArgumentError: for a constant that the element type cannot hold.
    """
    entries = []
    for buffer, value in _entries("annotate_safe_value", values):
        if buffer.scope() != GLOBAL:
            raise ScopeError(
                f"annotate_safe_value: `{buffer.name}` is {buffer.scope()}; "
                "only global buffers are read outside their bounds",
                argument_span(0),
                notes=_origin(buffer),
            )
        entries.append((buffer, scalar_of("annotate_safe_value", value, buffer.dtype, 0)))
    current().attribute_rest(keys.SAFE_VALUE, tuple(entries))


def annotate_l2_hit_ratio(ratios: Mapping[Any, float]) -> None:
    """Keep parts of global buffers in the L2 cache around the launch: `{buffer: ratio in 0..1}`."""
    for buffer, ratio in _entries("annotate_l2_hit_ratio", ratios):
        if buffer.scope() != GLOBAL:
            raise ScopeError(
                f"annotate_l2_hit_ratio: `{buffer.name}` is {buffer.scope()}, "
                "expected a global buffer",
                argument_span(0),
                notes=_origin(buffer),
            )
        if not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1:
            raise ArgumentError(
                f"annotate_l2_hit_ratio: the ratio of `{buffer.name}` is {ratio!r}, "
                "expected 0 to 1",
                argument_span(0),
            )
    current().attribute_rest(keys.L2_HIT_RATIO, tuple(ratios.items()))


def annotate_restrict_buffers(*buffers: Any) -> None:
    """These parameters may overlap others, so nothing is assumed about their order of access."""
    builder = current()
    for buffer in buffers:
        if not isinstance(buffer, Buffer):
            raise AnnotationError(f"annotate_restrict_buffers: {buffer!r} is no buffer")
    names = tuple(b.name for b in buffers)
    builder.attributes[RESTRICT_DROPPED] = (*builder.attributes.get(RESTRICT_DROPPED, ()), *names)


def annotate_min_blocks_per_sm(n: int) -> None:
    """Registers are limited so that `n` blocks fit on a multiprocessor."""
    if not isinstance(n, int) or n <= 0:
        raise ArgumentError(
            f"annotate_min_blocks_per_sm: {n!r}, expected a positive integer", argument_span(0)
        )
    current().attribute_rest(keys.MIN_BLOCKS_PER_SM, n)


def assume(condition: Any) -> None:
    """The condition holds from here on: bounds checks that follow from it are dropped."""
    emit(Evaluate(call("assume", as_condition(condition), dtype="handle"), span=caller_span()))


class AttributeFrame:
    """`with T.attr(...)`: for the body; as a statement: for the rest of the block."""

    def __init__(self, key: str, value: Any) -> None:
        self.key = key
        self.value = value
        self.builder = current()
        self.span = caller_span()
        self._context: Any = None
        self._scope: Any = None

    def __enter__(self) -> None:
        self._context = self.builder.block("with")
        self._scope = self._context.__enter__()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self._context.__exit__(kind, value, traceback)
        if kind is None:
            self.builder.emit(Attr(self.key, self.value, self._scope.body(), span=self.span))

    def enter_for_rest_of_block(self) -> None:
        self.builder.attribute_rest(self.key, self.value)


def attr(node: Any, key: str, value: Any) -> AttributeFrame:
    """A generic attribute `key` that says `value` of `node`."""
    if key == "reduce_scope":
        return _ReduceFrame(node)
    return AttributeFrame(keys.open_key(key), (node, value))


def ws(*ids: int) -> AttributeFrame:
    """`with T.ws(0):` only the 128-thread warp groups with these ids run the body."""
    if not ids or any(not isinstance(i, int) or i < 0 for i in ids):
        shown = ", ".join(map(repr, ids)) or "none"
        raise ArgumentError(f"ws: the warp group ids are {shown}, expected numbers from 0 on")
    return AttributeFrame(keys.WARP_GROUPS, tuple(sorted(set(ids))))


WarpSpecialize = ws


def func_attr(attributes: Mapping[str, Any]) -> None:
    """Attributes of the whole function."""
    named = {keys.open_key(str(k), FUNCTION_KEYS): v for k, v in attributes.items()}
    current().attributes.update(named)


def block_attr(attributes: Mapping[str, Any]) -> None:
    """Attributes of the rest of the block."""
    for key, value in attributes.items():
        current().attribute_rest(keys.open_key(str(key)), value)


sblock_attr = block_attr


def _register_hint(kind: str, count: int) -> None:
    emit(
        Evaluate(call("register_hint", StringImm(kind), count, dtype="handle"), span=caller_span())
    )


def set_max_nreg(n: int, is_inc: int) -> None:
    """Give registers to (1) or take them from (0) the warps that run this; no effect on values."""
    _register_hint("inc" if is_inc else "dec", n)


def inc_max_nreg(n: int) -> None:
    """Raise the registers of the warps that run this to `n`."""
    _register_hint("inc", n)


def dec_max_nreg(n: int) -> None:
    """Lower the registers of the warps that run this to `n`."""
    _register_hint("dec", n)


def annotate_producer_reg_dealloc(n: int = 24) -> None:
    """Producer warps keep `n` registers."""
    _register_hint("producer", n)


def annotate_consumer_reg_alloc(n: int = 240) -> None:
    """Consumer warps get `n` registers."""
    _register_hint("consumer", n)


def no_set_max_nreg() -> None:
    """No register redistribution."""
    _register_hint("none", 0)


def disable_warp_group_reg_alloc() -> None:
    """No register redistribution between warp groups."""
    _register_hint("none", 0)


# -- hand-written reductions over threads --------------------------------------------------------


class Reducer:
    """An associative combination and its identity (`comm_reducer`)."""

    def __init__(self, op: str, identity: Expr) -> None:
        self.op = op
        self.identity = identity


def comm_reducer(combine: Any, identity: Any) -> Reducer:
    """A reducer from a two-argument function and its identity element(s).

    Raises:
        ArgumentError: for a combination other than sum, max, min and the bitwise ones.
    """
    from tilelang.ir import expr as nodes

    values = identity if isinstance(identity, (list, tuple)) else [identity]
    start = as_expr(values[0])
    a, b = nodes.Var("a", start.dtype), nodes.Var("b", start.dtype)
    made = combine(a, b)
    names = {
        nodes.Add: "sum", nodes.Max: "max", nodes.Min: "min", nodes.BitAnd: "bitand",
        nodes.BitOr: "bitor", nodes.BitXor: "bitxor",
    }  # fmt: skip
    op = names.get(type(made))
    if op is None or {id(made.a), id(made.b)} != {id(a), id(b)}:
        raise ArgumentError(
            f"comm_reducer: `{made}` is no sum, max, min or bitwise combination of both arguments"
        )
    return Reducer(op, start)


class _ReduceFrame(AttributeFrame):
    """The scope in which `tvm_thread_allreduce` knows how to combine."""

    def __init__(self, reducer: Any) -> None:
        super().__init__("reduce_scope", reducer)
        if not isinstance(reducer, Reducer):
            raise ArgumentTypeError(
                f"attr 'reduce_scope' needs a T.comm_reducer, got {reducer!r}", argument_span(0)
            )
        self.reducer = reducer

    def __enter__(self) -> None:
        self.builder.reducers.append(self.reducer)

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self.builder.reducers.pop()

    def enter_for_rest_of_block(self) -> None:
        self.builder.reducers.append(self.reducer)


def tvm_thread_allreduce(
    count: Any, value: Any, predicate: Any, destination: Any, *threads: Any, dtype: Any = "handle"
) -> Expr:
    """Combine `value` over the thread indices `threads`; all threads get it in `destination`."""
    del count, dtype
    builder = current()
    if not builder.reducers:
        raise ArgumentError(
            "tvm_thread_allreduce outside a "
            "`with T.attr(T.comm_reducer(...), 'reduce_scope', ...)` block"
        )
    reducer: Reducer = builder.reducers[-1]
    target = as_expr(destination)
    return call(
        "thread_allreduce", StringImm(reducer.op), cast(value, target.dtype),
        as_condition(predicate), target,
        cast(reducer.identity, target.dtype), *threads, dtype="handle",
    )  # fmt: skip
