"""What the language functions accept and make, as far as `script` must know to use them.

Each predicate says whether a surface form rebuilds a node exactly; the property tests, which trace
the printed text, hold this page and the language together.
"""

from __future__ import annotations

from typing import Any

from tilelang.ir.annotation import SWIZZLE
from tilelang.ir.buffer import GLOBAL, SHARED_DYN, Buffer
from tilelang.ir.expr import INT32, Expr, IntImm, const_value, is_const
from tilelang.ir.stmt import Attr, For, Launch, LoopKind

LOOP_FUNCTIONS = {
    LoopKind.SERIAL: "serial",
    LoopKind.UNROLLED: "unroll",
    LoopKind.VECTORIZED: "vectorized",
    LoopKind.PARALLEL: "Parallel",
    LoopKind.PIPELINED: "Pipelined",
    LoopKind.CPU_PARALLEL: "parallel",
    LoopKind.THREAD_BINDING: "thread_binding",
}
# Keywords of the loop functions, in the order in which they become annotations.
_KEYWORDS = {
    LoopKind.PARALLEL: ("coalesced_width", "loop_layout", "prefer_async"),
    LoopKind.PIPELINED: ("num_stages", "order", "stage", "sync", "group"),
    LoopKind.THREAD_BINDING: ("thread",),
}


def is_run_time_bool(condition: Expr) -> bool:
    """Whether the language takes `condition` as it is, and decides at run time."""
    return condition.dtype == "bool" and const_value(condition) is None


def is_dense(buffer: Buffer) -> bool:
    return buffer.declared_strides is None and is_const(buffer.elem_offset, 0)


def is_plain_global(buffer: Buffer) -> bool:
    return buffer.scope() == GLOBAL and is_const(buffer.elem_offset, 0)


def can_allocate(buffer: Buffer) -> bool:
    """Whether the allocation functions accept this shape and dtype as they are."""
    if buffer.scope() == SHARED_DYN and buffer.dtype == "bool":  # they would move it to `shared`
        return False
    is_fixed = buffer.scope() == GLOBAL or all(isinstance(e, int) for e in buffer.shape)
    return is_fixed and all(not isinstance(e, int) or e > 0 for e in buffer.shape)


def makes_kernel(stmt: Launch) -> bool:
    """Whether `T.Kernel` makes such a launch."""
    if stmt.annotations or not 1 <= len(stmt.grid_vars) <= 3 or len(stmt.thread_vars) != 3:
        return False
    if len(stmt.grid_extents) != len(stmt.grid_vars) or len(stmt.thread_extents) != 3:
        return False
    grid = zip(stmt.grid_vars, stmt.grid_extents)
    return (
        all(v.dtype == e.dtype and e.dtype.is_int for v, e in grid)
        and all(not isinstance(e, IntImm) or e.value >= 0 for e in stmt.grid_extents)
        and all(v.dtype == INT32 for v in stmt.thread_vars)
        and all(_is_thread_count(e) for e in stmt.thread_extents)
    )


def _is_thread_count(extent: Expr) -> bool:
    number = const_value(extent)
    return number is None or (extent.dtype == INT32 and number > 0)


def makes_swizzle(stmt: Attr) -> bool:
    """Whether `T.use_swizzle` gives such an attribute."""
    match stmt.value:
        case (int(panel), "row" | "column" | "mlx") if type(panel) is int and panel > 0:
            return stmt.key == SWIZZLE and type(stmt.value) is tuple
        case _:
            return False


def loop_keywords(stmt: For, depth: int) -> list[tuple[str, Any]] | None:
    """Keywords of the loop function that become these annotations; `None` where none would."""
    pairs = stmt.annotations
    names = [k for k, _ in pairs]
    if any(v is None for _, v in pairs) or len(set(names)) != len(names):
        return None
    if stmt.kind not in _KEYWORDS:
        return [("annotations", pairs)] if pairs else []
    order = _KEYWORDS[stmt.kind]
    if not set(names) <= set(order) or names != sorted(names, key=order.index):
        return None
    return list(pairs) if _fits_keywords(stmt, dict(pairs), depth) else None


def _fits_keywords(stmt: For, given: dict[str, Any], depth: int) -> bool:
    if stmt.kind is LoopKind.THREAD_BINDING:
        return isinstance(given.get("thread"), str)
    if stmt.kind is LoopKind.PARALLEL:
        width, layout = given.get("coalesced_width"), given.get("loop_layout")
        fits = layout is None or len(layout.get_input_shape()) == depth
        return fits and (width is None or (type(width) is int and width > 0))
    stages = given.get("num_stages")
    lists = [given[name] for name in ("order", "stage") if name in given]
    if type(stages) is not int or stages < 0 or len({len(x) for x in lists}) > 1:
        return False
    return all(x and all(type(i) is int for i in x) for x in lists) and all(
        isinstance(given.get(name, ()), tuple) for name in ("sync", "group")
    )
