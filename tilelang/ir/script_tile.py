"""Tile operations as the calls a user writes, where such a call makes the very same node.

`tile_call` gives `T.copy(...)`, `T.clear(...)`, `T.fill(...)` or `T.gemm(...)`, or `None`: then
`script` writes the explicit form. A call is used only if the checks of the language pass on it; the
property tests hold this page and the language together.
"""

from __future__ import annotations

from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import BufferRegion, Expr, IntImm, const_value, constant, is_const
from tilelang.ir.printer import is_whole
from tilelang.ir.region import non_unit_axes, reconcile
from tilelang.ir.script_expr import ScriptExprs
from tilelang.ir.tile import TileOp

_POLICY = {0: "Square", 1: "FullRow", 2: "FullCol"}


def tile_call(exprs: ScriptExprs, op: TileOp) -> str | None:
    """The language's call for `op`, if it comes back as it is."""
    signature = tuple((o.name, o.access) for o in op.operands)
    names = tuple(name for name, _ in op.values)
    match op.op, signature, names:
        case "copy", (("src", "r"), ("dst", "w")), ():
            return _copy(exprs, op)
        case "fill", (("dst", "w"),), ("value",):
            return _fill(exprs, op)
        case "gemm", (("A", "r"), ("B", "r"), ("C", "rw")), ("clear_accum",):
            return _gemm(exprs, op)
        case _:
            return None


def _copy(exprs: ScriptExprs, op: TileOp) -> str | None:
    src, dst = (o.region for o in op.operands)
    made = reconcile(src.extents, dst.extents)
    if op.attributes or made is None or not structural_equal(made, (src.extents, dst.extents)):
        return None
    axes = (len(non_unit_axes(r.extents)) for r in (src, dst))
    if is_whole(src) and is_whole(dst) and len(set(axes)) > 1:
        return None
    return f"T.copy({exprs.region(src)}, {exprs.region(dst)})"


def _fill(exprs: ScriptExprs, op: TileOp) -> str | None:
    region, value = op.region("dst"), op.value("value")
    kind = region.buffer.dtype
    if op.attributes or value.dtype != kind or kind.kind in ("handle", "void") or kind.lanes > 1:
        return None
    if not is_whole(region) and not _is_inside(region):
        return None
    literal = exprs.literal(value, lambda number: constant(number, kind))
    if isinstance(value, IntImm) and literal is None:
        return None
    if structural_equal(value, constant(0, kind)):
        return f"T.clear({exprs.region(region)})"
    return f"T.fill({exprs.region(region)}, {literal[0] if literal else exprs.expr(value)})"


def _is_inside(region: BufferRegion) -> bool:
    """Whether no constant start of the region shows that it leaves its buffer."""
    for bounds, size in zip(region.ranges, region.buffer.shape):
        first, count = const_value(bounds.start), const_value(bounds.extent)
        if first is None or not isinstance(size, int):
            continue
        if first < 0 or first + (count or 0) > size:
            return False
    return True


def _gemm(exprs: ScriptExprs, op: TileOp) -> str | None:
    a, b, c = (o.region for o in op.operands)
    keys = tuple(key for key, _ in op.attributes)
    flags = op.attribute("transpose_A"), op.attribute("transpose_B"), op.attribute("policy")
    clear = op.value("clear_accum")
    if keys != ("transpose_A", "transpose_B", "policy") or not clear.dtype.is_bool:
        return None
    if type(flags[0]) is not bool or type(flags[1]) is not bool or flags[2] not in _POLICY:
        return None
    if not _fits(a, b, c, flags[0], flags[1]):
        return None
    texts = [exprs.region(r) for r in (a, b, c)]
    texts += [f"{name}=True" for name in keys[:2] if op.attribute(name)]
    if flags[2] != 0:
        texts.append(f"policy=T.GemmWarpPolicy.{_POLICY[flags[2]]}")
    if not is_const(clear, False):
        texts.append(f"clear_accum={exprs.plain(clear)}")
    return f"T.gemm({', '.join(texts)})"


def _fits(a: BufferRegion, b: BufferRegion, c: BufferRegion, ta: bool, tb: bool) -> bool:
    """Whether shapes and types are such as the language's `gemm` accepts."""
    shapes = [_matrix(r) for r in (a, b, c)]
    if any(s is None for s in shapes) or a.dtype != b.dtype:
        return False
    (m, k), (n, other_k), out = (
        shape[::-1] if is_swapped else shape
        for shape, is_swapped in zip(shapes, (ta, not tb, False))
        if shape is not None
    )
    is_summed = a.dtype.is_float and c.dtype == ("float64" if a.dtype == "float64" else "float32")
    return k == other_k and out == (m, n) and (is_summed or c.dtype == a.dtype == "float16")


def _matrix(region: BufferRegion) -> tuple[int, int] | None:
    """Rows and columns, with leading extents of 1."""
    if len(region.ranges) < 2 or not all(is_const(e, 1) for e in region.extents[:-2]):
        return None
    rows, columns = map(_constant, region.extents[-2:])
    return None if rows is None or columns is None else (rows, columns)


def _constant(extent: Expr) -> int | None:
    return extent.value if isinstance(extent, IntImm) else None
