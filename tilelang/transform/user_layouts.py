"""Whether threads can work by the fragments that a user gives: found out before anything follows.

In: a user's fragment for a buffer (`T.annotate_layout`) or for a nest (`loop_layout`), from
`infer_fragments`. Out: nothing, or a `LayoutError` at the user's line, in the words of the line.
What a layout shows by itself (shape, two elements in one register) is checked when it is traced.
"""

from __future__ import annotations

from tilelang.errors import LayoutError, Note, Span
from tilelang.ir.buffer import Buffer, format_shape
from tilelang.ir.expr import Var
from tilelang.layout.fragment import Fragment
from tilelang.layout.holding import Holding
from tilelang.transform.nests import Nest

_HINT = "make thread and register sums of digits ((i // a) % b) with constant strides, or of XORs"


def check_buffer_layout(buffer: Buffer, layout: Fragment, threads: int, span: Span | None) -> None:
    """That a block of `threads` can hold `buffer` as its annotated `layout` says.

    Raises:
        LayoutError: when it names a thread that is not there, or cannot be inverted.
    """
    reason = why_not(layout, threads)
    if reason is not None:
        notes = [Note(buffer.span, f"`{buffer.name}` comes from here")] if buffer.span else []
        raise LayoutError(
            f"annotate_layout: the layout of `{buffer.name}`, {layout}, {reason[0]}",
            span, notes=notes, hint=reason[1],
        )  # fmt: skip


def check_loop_layout(nest: Nest, threads: int) -> None:
    """That a block of `threads` can run `nest` as its `loop_layout`, if it has one, says.

    Raises:
        LayoutError: when its shape is not the nest's, when two iterations have one place, and as
            `check_buffer_layout`.
    """
    layout, span = nest.loop_layout, nest.node.span
    if layout is None:
        return
    if nest.extents is None:
        raise LayoutError(
            "Parallel: a loop_layout needs loops of constant extents", span,
            hint="leave it out: the iterations are then dealt out one by one",
        )  # fmt: skip
    if list(layout.shape) != nest.extents:
        raise LayoutError(
            f"Parallel: the loops are {format_shape(nest.extents)}, "
            f"but loop_layout is of shape {format_shape(layout.shape)}",
            span,
            hint=f"a Fragment({nest.extents}, ...)",
        )
    if not layout.is_injective:
        pair = layout.collision()
        which = "two iterations" if pair is None else f"iterations {pair[0]} and {pair[1]}"
        message = f"Parallel: loop_layout {layout} gives {which} one step of one thread"
        raise LayoutError(
            message, span, hint="give each iteration of a thread a register of its own"
        )
    reason = why_not(layout, threads)
    if reason is not None:
        raise LayoutError(f"Parallel: loop_layout {layout} {reason[0]}", span, hint=reason[1])


def why_not(layout: Fragment, threads: int) -> tuple[str, str] | None:
    """Why a block of `threads` cannot work by `layout`, as (reason, hint); `None`: it can."""
    if int(layout.thread_table.min()) < 0 or int(layout.offsets.min()) < 0:
        return "has negative numbers", "let threads and registers begin at 0"
    most = layout.get_thread_size()
    if most > threads:
        return (
            f"names thread {most - 1}, but the block has {threads} threads",
            f"threads={most}, or a layout of {threads} threads",
        )
    holding = Holding(layout, threads)
    used = int(holding.is_held.any(axis=1).sum())
    if not holding.is_held[:used].all():
        return (
            "leaves some registers of some threads empty",
            "let threads 0 to n - 1 hold the same number of elements each",
        )
    thread, step, lane = Var("t"), Var("s"), Var("l")
    try:
        holding.element(1, thread, step, lane)
        holding.first(1, thread, step, lane)
        holding.active(1, thread, step, lane)
    except LayoutError:
        return "cannot be inverted: which element a register holds has no closed form", _HINT
    return None
