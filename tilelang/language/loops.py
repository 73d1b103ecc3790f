"""Loops a user writes: each function describes one, and `for` runs it (`Builder.for_`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tilelang.errors import ArgumentError, LanguageError, Span, caller_span
from tilelang.ir import annotation as keys
from tilelang.ir.expr import (
    Expr,
    Var,
    as_expr,
    const_value,
    floordiv,
    floormod,
    less,
    minimum,
)
from tilelang.ir.expr import ceildiv as _ceildiv
from tilelang.ir.number import promote
from tilelang.ir.stmt import Annotations, Break, For, If, LoopKind, annotation, seq
from tilelang.language.builder import Builder, annotations_of, current
from tilelang.language.location import argument_span


class LoopFrame:
    """A nest of loops of one kind that has not run yet.

    Attributes:
        kind: how iterations run.
        ranges: (start, extent) of each loop, outermost first.
        steps: the loop variable is `start + step * counter`.
    """

    def __init__(
        self,
        kind: LoopKind,
        ranges: Sequence[tuple[Any, Any]],
        annotations: Annotations = (),
        *,
        step: Any = 1,
        label: str,
    ) -> None:
        current()  # outside a kernel a loop frame has no meaning
        self.kind = kind
        self.ranges = [(as_expr(a), as_expr(b)) for a, b in ranges]
        self.annotations = annotations
        self.step = step
        self.label = label
        self.span: Span | None = caller_span()

    def __iter__(self) -> Any:
        raise LanguageError(f"`{self.label}` outside a `for` statement of a kernel")

    def run(self, builder: Builder) -> Iterator[Any]:
        """Open the nest, hand out the variables, emit the loops."""
        loop_vars = []
        for start, extent in self.ranges:
            var = Var("i", promote(start.dtype, extent.dtype))
            builder.name_later(var)
            loop_vars.append(var)
        with builder.block(self.label) as scope:
            builder.loops.append("ir")
            values = [self._value(v, r) for v, r in zip(loop_vars, self.ranges)]
            yield values[0] if len(values) == 1 else tuple(values)
            builder.loops.pop()
        body = scope.body()
        for depth in reversed(range(len(loop_vars))):
            start, extent = (
                (as_expr(0), self.ranges[depth][1]) if self._is_stepped else self.ranges[depth]
            )
            annotations = self.annotations if depth == 0 else ()
            body = For(
                loop_vars[depth], start, extent, self.kind, body, annotations, span=self.span
            )
        builder.emit(body)

    @property
    def _is_stepped(self) -> bool:
        return const_value(self.step) != 1

    def _value(self, var: Var, bounds: tuple[Expr, Expr]) -> Any:
        return bounds[0] + var * self.step if self._is_stepped else var


def _bounds(start: Any, stop: Any) -> tuple[Any, Any]:
    return (0, start) if stop is None else (start, stop)


def _stepped(
    kind: LoopKind, start: Any, stop: Any, step: Any, annotations: Annotations, label: str
) -> LoopFrame:
    """Trip count of a loop with any constant or symbolic step, for both signs."""
    low, high = _bounds(start, stop)
    for position, bound in enumerate((low, high)):
        if not as_expr(bound).dtype.is_int:
            raise ArgumentError(
                f"{label}: a bound is {as_expr(bound).dtype}, expected an integer",
                argument_span(position),
            )
    if step is None or const_value(step) == 1:
        return LoopFrame(kind, [(low, as_expr(high) - low)], annotations, label=label)
    number = const_value(step)
    if number == 0:
        raise ArgumentError(f"{label}: the step is 0", argument_span(2))
    if number is not None:
        distance = as_expr(high) - low if number > 0 else as_expr(low) - high
        count = _ceildiv(distance, abs(int(number)))
    else:
        from tilelang.ir.expr import if_then_else

        up = _ceildiv(as_expr(high) - low, step)
        down = _ceildiv(as_expr(low) - high, -step)
        count = if_then_else(less(step, 0), down, up)
    return LoopFrame(kind, [(low, count)], annotations, step=step, label=label)


def serial(
    start: Any, stop: Any = None, step: Any = None, *, annotations: dict[str, Any] | None = None
) -> LoopFrame:
    """`for i in T.serial(n)` / `(start, stop, step)`: iterations one after the other."""
    return _stepped(LoopKind.SERIAL, start, stop, step, annotations_of(annotations), "for")


def unroll(
    start: Any,
    stop: Any = None,
    step: Any = None,
    *,
    explicit: bool = False,
    unroll_factor: int | None = None,
    annotations: dict[str, Any] | None = None,
) -> LoopFrame:
    """A serial loop that is expanded: by this compiler (`explicit`) or by the device compiler.

    Raises:
        ArgumentError: for `explicit=True` together with `unroll_factor`.
    """
    if explicit and unroll_factor is not None:
        raise ArgumentError(
            "unroll: `explicit=True` expands the loop whole, "
            "so `unroll_factor` cannot be given with it"
        )
    given: dict[str, Any] = {**(annotations or {})}
    if explicit:
        given[keys.UNROLL_EXPLICIT] = True
    if unroll_factor is not None:
        given[keys.UNROLL_FACTOR] = unroll_factor
    return _stepped(LoopKind.UNROLLED, start, stop, step, annotations_of(given), "for")


def vectorized(
    start: Any, stop: Any = None, *, annotations: dict[str, Any] | None = None
) -> LoopFrame:
    """A loop of constant extent whose body becomes vector code."""
    low, high = _bounds(start, stop)
    extent = as_expr(high) - low
    if const_value(extent) is None:
        raise ArgumentError(
            f"vectorized: the extent must be a constant, got `{extent}`", argument_span(0)
        )
    return LoopFrame(
        LoopKind.VECTORIZED, [(low, extent)], annotations_of(annotations), label="T.vectorized"
    )


def parallel(
    start: Any, stop: Any = None, *, annotations: dict[str, Any] | None = None
) -> LoopFrame:
    """A loop whose iterations are independent, each as serial code."""
    low, high = _bounds(start, stop)
    bounds = [(low, as_expr(high) - low)]
    return LoopFrame(LoopKind.CPU_PARALLEL, bounds, annotations_of(annotations), label="T.parallel")


def Parallel(
    *extents: Any,
    coalesced_width: int | None = None,
    loop_layout: Any = None,
    prefer_async: bool | None = None,
    annotations: dict[str, Any] | None = None,
) -> LoopFrame:
    """A nest of independent iterations spread over the threads of the block.

    Extents may be symbolic and of any size. Yields one variable, or a tuple of them.
    """
    if not extents:
        raise ArgumentError("Parallel: at least one extent is needed")
    given = {
        **(annotations or {}),
        keys.COALESCED_WIDTH: coalesced_width,
        keys.LOOP_LAYOUT: loop_layout,
        keys.PREFER_ASYNC: prefer_async,
    }
    if loop_layout is not None and len(loop_layout.get_input_shape()) != len(extents):
        raise ArgumentError(
            f"Parallel: loop_layout has {len(loop_layout.get_input_shape())} axes "
            f"for {len(extents)} loops",
            argument_span("loop_layout"),
        )
    return LoopFrame(
        LoopKind.PARALLEL, [(0, e) for e in extents], annotations_of(given), label="T.Parallel"
    )


def Pipelined(
    start: Any,
    stop: Any = None,
    num_stages: int = 0,
    order: Sequence[int] | None = None,
    stage: Sequence[int] | None = None,
    sync: Any = None,
    group: Sequence[Sequence[int]] | None = None,
    annotations: dict[str, Any] | None = None,
) -> LoopFrame:
    """As `T.serial`, but copies in it may run up to `num_stages` iterations ahead.

    Raises:
        ArgumentError: for a negative number of stages, or `order` and `stage` of different lengths.
    """
    if num_stages is None or num_stages < 0:
        raise ArgumentError(
            f"Pipelined: num_stages is {num_stages}, expected 0 or more",
            argument_span("num_stages"),
        )
    if order is not None and stage is not None and len(order) != len(stage):
        raise ArgumentError(f"Pipelined: order has {len(order)} entries, stage has {len(stage)}")
    given = {
        **(annotations or {}),
        keys.NUM_STAGES: num_stages,
        keys.PIPELINE_ORDER: _ints(order),
        keys.PIPELINE_STAGE: _ints(stage),
        keys.PIPELINE_SYNC: None if sync is None else _nested(sync),
        keys.PIPELINE_GROUP: None if group is None else _nested(group),
    }
    low, high = _bounds(start, stop)
    return LoopFrame(
        LoopKind.PIPELINED, [(low, as_expr(high) - low)], annotations_of(given), label="T.Pipelined"
    )


def _ints(values: Sequence[int] | None) -> tuple[int, ...] | None:
    return tuple(int(v) for v in values) if values else None


def _nested(values: Any) -> Any:
    return tuple(_nested(v) for v in values) if isinstance(values, (list, tuple)) else values


def grid(*extents: Any) -> LoopFrame:
    """Nested serial loops; yields a tuple (one variable for one extent)."""
    return LoopFrame(LoopKind.SERIAL, [(0, e) for e in extents], label="for")


def thread_binding(
    start: Any,
    stop: Any = None,
    thread: str = "threadIdx.x",
    *,
    annotations: dict[str, Any] | None = None,
) -> LoopFrame:
    """A loop whose variable is a hardware index such as `threadIdx.x`.

    Without a `for`, `tx = T.thread_binding(0, n, "threadIdx.x")` is that index of the kernel.
    """
    if isinstance(stop, str):
        stop, thread = None, stop
    low, high = _bounds(start, stop)
    given = {**(annotations or {}), keys.THREAD_TAG: thread}
    return _ThreadFrame(
        LoopKind.THREAD_BINDING, [(low, as_expr(high) - low)], annotations_of(given), label="for"
    )


class _ThreadFrame(LoopFrame):
    """Iterations that are the threads, or the blocks, along one axis."""

    def enter_for_rest_of_block(self) -> Var:
        """The index itself, where the kernel has as many as the loop would run.

        Raises:
            ArgumentError: for an axis that there is not, and for another number of indices.
        """
        from tilelang.language.kernel import hardware_axis

        tag, (start, extent) = str(annotation(self.annotations, keys.THREAD_TAG)), self.ranges[0]
        axis = hardware_axis(tag)
        if axis is None:
            raise ArgumentError(f"thread_binding: this kernel has no {tag}", self.span)
        var, count = axis
        known = const_value(start), const_value(extent), const_value(as_expr(count))
        if known[0] != 0 or (None not in known and known[1] != known[2]):
            raise ArgumentError(
                f"thread_binding: {tag} goes from 0 to {count} in this kernel, "
                f"not from {start} to {start + extent}",
                self.span,
            )
        return var


class _PersistentFrame(LoopFrame):
    """Tiles of a domain dealt out in waves (see `Persistent`)."""

    def __init__(self, domain: Sequence[Any], wave_size: Any, index: Any, group_size: Any) -> None:
        self.domain = [as_expr(d) for d in domain]
        self.wave_size, self.index = as_expr(wave_size), as_expr(index)
        last = self.domain[-1]
        self.group = minimum(as_expr(group_size), last)
        number = const_value(self.group)
        self.group = (
            as_expr(max(1, int(number))) if number is not None else -minimum(-self.group, -1)
        )
        self.grouped = [_ceildiv(last, self.group), *self.domain[:-1], self.group]
        total: Expr = as_expr(1)
        for extent in self.grouped:
            total = total * extent
        self.total = total
        waves = _ceildiv(total, self.wave_size)
        super().__init__(LoopKind.SERIAL, [(0, waves)], label="for")

    def run(self, builder: Builder) -> Iterator[Any]:
        wave = Var("wave", self.ranges[0][1].dtype)
        with builder.block("for") as scope:
            builder.loops.append("ir")
            linear = builder.bind("tile", wave * self.wave_size + self.index)
            builder.emit(If(linear >= self.total, Break(span=self.span), None, span=self.span))
            coordinates = self._coordinates(as_expr(linear))
            names = [builder.bind(f"tile_{k}", c) for k, c in enumerate(coordinates)]
            with builder.block("for") as inner:
                yield names[0] if len(names) == 1 else tuple(names)
            builder.loops.pop()
            inside = less(names[-1], self.domain[-1])
            builder.emit(If(inside, inner.body(), None, span=self.span))
        start, extent = self.ranges[0]
        builder.emit(For(wave, start, extent, self.kind, seq(scope.stmts), span=self.span))

    def _coordinates(self, linear: Expr) -> list[Expr]:
        digits: list[Expr] = []
        for extent in reversed(self.grouped):
            digits.append(floormod(linear, extent))
            linear = floordiv(linear, extent)
        outer, *middle, inner = reversed(digits)
        return [*middle, outer * self.group + inner]


def Persistent(domain: Sequence[Any], wave_size: Any, index: Any, group_size: Any = 8) -> LoopFrame:
    """Walk all tiles of `domain`, `wave_size` at a time, this block taking tile `index` of each.

    The last axis is cut into groups of `group_size` that are walked together, for cache reuse.
    Every tile is visited exactly once, whatever divides what. Yields one variable per axis of the
    domain.
    """
    return _PersistentFrame(domain, wave_size, index, group_size)


Serial = serial
Unroll = unroll
Vectorized = vectorized
