"""`T.copy` and its relatives: tiles from one buffer to another.

Operands are checked and their extents reconciled here; how a copy runs is decided by `tileop`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from tilelang.errors import ArgumentError, ShapeError
from tilelang.ir.buffer import GLOBAL, format_shape
from tilelang.ir.dtype import dtype as _dtype
from tilelang.ir.expr import Expr, as_expr, cast, ceildiv
from tilelang.ir.region import non_unit_axes, reconcile, take_extents
from tilelang.ir.stmt import Annotations
from tilelang.ir.tile import TileOperand
from tilelang.language.location import argument_span
from tilelang.language.operand import (
    Tile,
    attributes,
    emit_tile_op,
    require_scope,
    tile,
    user_annotations,
)

EVICTION_POLICIES = ("evict_normal", "evict_first", "evict_last")
INSTRUCTIONS = ("tma", "cp_async", "sync")


def matched(function: str, src: Tile, dst: Tile) -> tuple[TileOperand, TileOperand]:
    """Both operands with extents that run together (`src` read, `dst` written).

    Raises:
        ShapeError: where an extent other than 1 differs; both sides are shown.
    """
    extents = _extents(src, dst)
    if extents is None:
        _reject(function, src, dst)
    return src.operand("src", "r", extents[0]), dst.operand("dst", "w", extents[1])


def _extents(src: Tile, dst: Tile) -> tuple[tuple[Expr, ...], tuple[Expr, ...]] | None:
    if src.is_element and dst.is_element:
        return src.box, dst.box
    if src.is_element:
        taken = take_extents(len(src.starts), dst.box)
        return None if taken is None else (taken, dst.box)
    if dst.is_element:
        taken = take_extents(len(dst.starts), src.box)
        return None if taken is None else (src.box, taken)
    if src.is_whole and dst.is_whole and len(_sizes(src)) != len(_sizes(dst)):
        return None  # whole buffers have to agree; nothing tells which part would be meant
    return reconcile(src.box, dst.box)


def _sizes(operand: Tile) -> list[Expr]:
    return [operand.box[axis] for axis in non_unit_axes(operand.box)]


def _reject(function: str, src: Tile, dst: Tile) -> NoReturn:
    def shown(operand: Tile) -> str:
        kind = "an element" if operand.is_element else format_shape(operand.region().shape)
        return f"{kind} of `{operand.name}`"

    hint = "slice both sides to one shape"
    if src.is_whole and dst.is_whole:
        hint = f"slice the larger one, for example {_slice(src, dst)}"
    raise ShapeError(
        f"{function}: extents differ: {shown(src)} and {shown(dst)}",
        argument_span(dst.argument),
        notes=[*src.notes(), *dst.notes()],
        hint=hint,
    )


def _slice(src: Tile, dst: Tile) -> str:
    larger = src if len(src.starts) >= len(dst.starts) else dst
    return f"{larger.name}[{', '.join(f'0:{e}' for e in larger.box)}]"


def _notes(
    coalesced_width: int | None,
    disable_tma: bool,
    eviction_policy: str | None,
    prefer_instruction: str | None,
    loop_layout: Any,
    annotations: dict[str, Any] | None,
) -> Annotations:
    if eviction_policy is not None and eviction_policy not in EVICTION_POLICIES:
        raise ArgumentError(
            f"copy: eviction_policy is {eviction_policy!r}, expected one of "
            f"{', '.join(EVICTION_POLICIES)}",
            argument_span("eviction_policy"),
        )
    if prefer_instruction is not None and prefer_instruction not in INSTRUCTIONS:
        raise ArgumentError(
            f"copy: prefer_instruction is {prefer_instruction!r}, expected one of "
            f"{', '.join(INSTRUCTIONS)}",
            argument_span("prefer_instruction"),
        )
    width = 1 if coalesced_width is None else coalesced_width
    if not isinstance(width, int) or width <= 0:
        raise ArgumentError(
            f"copy: coalesced_width is {coalesced_width!r}, expected a positive number of elements",
            argument_span("coalesced_width"),
        )
    known = attributes(
        coalesced_width=coalesced_width,
        disable_tma=disable_tma or None,
        eviction_policy=eviction_policy,
        prefer_instruction=prefer_instruction,
        loop_layout=loop_layout,
    )
    return known + user_annotations(annotations)


def copy(
    src: Any,
    dst: Any,
    coalesced_width: int | None = None,
    disable_tma: bool = False,
    eviction_policy: str | None = None,
    *,
    prefer_instruction: str | None = None,
    annotations: dict[str, Any] | None = None,
    loop_layout: Any = None,
) -> None:
    """Copy a tile, converting elements to the type of `dst`.

    Reads outside the source buffer give 0 (or its `T.annotate_safe_value`), writes outside the
    destination buffer are skipped. An element such as `A[i, j]` names the corner of a tile with the
    shape of the other side. The other arguments are hints and never change the result.

    Raises:
        ShapeError: where extents differ.
        ArgumentTypeError: for an argument that is no tile.
    """
    from_tile, to_tile = tile("copy", 0, src), tile("copy", 1, dst)
    notes = _notes(
        coalesced_width, disable_tma, eviction_policy, prefer_instruction, loop_layout, annotations
    )
    emit_tile_op("copy", matched("copy", from_tile, to_tile), notes)


def async_copy(
    src: Any,
    dst: Any,
    *,
    coalesced_width: int | None = None,
    annotations: dict[str, Any] | None = None,
    loop_layout: Any = None,
) -> None:
    """Start a copy from global to shared memory; `T.ptx_wait_group(n)` waits for it."""
    from_tile, to_tile = tile("async_copy", 0, src), tile("async_copy", 1, dst)
    require_scope("async_copy", from_tile, (GLOBAL,))
    require_scope("async_copy", to_tile, ("shared.dyn", "shared"))
    notes = _notes(coalesced_width, False, None, None, loop_layout, annotations)
    emit_tile_op("async_copy", matched("async_copy", from_tile, to_tile), notes)


def tma_copy(
    src: Any,
    dst: Any,
    *,
    barrier: Any = None,
    cluster_mask: int | None = None,
    leader_scope_threads: int | None = None,
    eviction_policy: str | None = None,
    annotations: dict[str, Any] | None = None,
) -> None:
    """A bulk copy by the tensor memory accelerator; a load completes `barrier`."""
    from_tile, to_tile = tile("tma_copy", 0, src), tile("tma_copy", 1, dst)
    _check_mask("tma_copy", cluster_mask)
    if leader_scope_threads is not None and (
        leader_scope_threads <= 0 or leader_scope_threads % 32
    ):
        raise ArgumentError(
            f"tma_copy: leader_scope_threads is {leader_scope_threads}, expected a multiple of 32",
            argument_span("leader_scope_threads"),
        )
    if from_tile.buffer.scope() == GLOBAL and barrier is None:
        raise ArgumentError(
            "tma_copy: a load needs `barrier=`, which its arrival completes",
            hint="bar = T.alloc_barrier(1); T.tma_copy(src, dst, barrier=bar)",
        )
    notes = _notes(None, False, eviction_policy, None, None, annotations)
    extra = attributes(cluster_mask=cluster_mask, leader_scope_threads=leader_scope_threads)
    operands = [*matched("tma_copy", from_tile, to_tile)]
    if barrier is not None:
        operands.append(tile("tma_copy", 2, barrier).operand("barrier", "rw"))
    emit_tile_op("tma_copy", operands, notes + extra)


def _check_mask(function: str, mask: int | None) -> None:
    if mask is not None and (not isinstance(mask, int) or mask <= 0):
        raise ArgumentError(
            f"{function}: cluster_mask is {mask!r}, expected a positive integer",
            argument_span("cluster_mask"),
        )


def copy_cluster(
    src: Any,
    dst: Any,
    *,
    dst_block: Any = None,
    cluster_mask: int | None = None,
    remote_barrier: Any = None,
    eviction_policy: str | None = None,
    coalesced_width: int | None = None,
    annotations: dict[str, Any] | None = None,
    loop_layout: Any = None,
) -> None:
    """A copy into the shared memory of another block of the cluster, or to several of them."""
    from_tile, to_tile = tile("copy_cluster", 0, src), tile("copy_cluster", 1, dst)
    _check_mask("copy_cluster", cluster_mask)
    notes = _notes(coalesced_width, False, eviction_policy, None, loop_layout, annotations)
    operands = [*matched("copy_cluster", from_tile, to_tile)]
    if remote_barrier is not None:
        operands.append(tile("copy_cluster", 2, remote_barrier).operand("barrier", "rw"))
    values = [("dst_block", as_expr(dst_block))] if dst_block is not None else []
    emit_tile_op("copy_cluster", operands, notes + attributes(cluster_mask=cluster_mask), values)


def _rows_of(function: str, rows: Any) -> list[tuple[str, Expr]]:
    numbers = list(rows)
    if len(numbers) != 4:
        raise ArgumentError(f"{function}: {len(numbers)} rows, expected 4", argument_span(3))
    return [(f"row{k}", cast(as_expr(r), "int32")) for k, r in enumerate(numbers)]


def tma_gather4(
    src: Any,
    dst: Any,
    col: Any,
    rows: Any,
    *,
    barrier: Any,
    swizzle: Any = None,
    eviction_policy: str | None = None,
    annotations: dict[str, Any] | None = None,
) -> None:
    """Bring four rows of a matrix, from column `col` on, into shared memory."""
    operands = [
        tile("tma_gather4", 0, src).operand("src", "r"),
        tile("tma_gather4", 1, dst).operand("dst", "w"),
        tile("tma_gather4", 2, barrier).operand("barrier", "rw"),
    ]
    values = [("col", as_expr(col)), *_rows_of("tma_gather4", rows)]
    notes = _notes(None, False, eviction_policy, None, None, annotations)
    emit_tile_op("tma_gather4", operands, notes + attributes(swizzle=swizzle), values)


def tma_scatter4(
    src: Any,
    dst: Any,
    col: Any,
    rows: Any,
    *,
    swizzle: Any = None,
    eviction_policy: str | None = None,
    annotations: dict[str, Any] | None = None,
) -> None:
    """Store four rows in shared memory to four rows of a matrix, from column `col` on."""
    operands = [
        tile("tma_scatter4", 0, src).operand("src", "r"),
        tile("tma_scatter4", 1, dst).operand("dst", "w"),
    ]
    values = [("col", as_expr(col)), *_rows_of("tma_scatter4", rows)]
    notes = _notes(None, False, eviction_policy, None, None, annotations)
    emit_tile_op("tma_scatter4", operands, notes + attributes(swizzle=swizzle), values)


def tma_gather4_bytes(K_box: int, dtype: Any) -> int:
    """Bytes that one `tma_gather4` of `K_box` columns brings: what its barrier expects."""
    return ceildiv(4 * K_box * _dtype(dtype).bits, 8)
