"""What tile operations mean, on NumPy arrays: the interpreter's half of the language reference.

Each operation reads its tiles as float64 or integer arrays, computes, and writes back converted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.interpreter import Interpreter, Thread, convert, from_storage
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import BufferRegion
from tilelang.ir.tile import TileOp


class Tile:
    """A region with its run-time numbers."""

    def __init__(self, it: Interpreter, region: BufferRegion, thread: Thread) -> None:
        self.it, self.thread = it, thread
        self.buffer: Buffer = region.buffer
        self.starts = [it.value(r.start, thread) for r in region.ranges]
        self.extents = [max(0, it.value(r.extent, thread)) for r in region.ranges]
        self.is_unit = [getattr(r.extent, "value", None) == 1 for r in region.ranges]

    @property
    def loops(self) -> list[int]:
        """Axes that the program does not say to be of extent 1."""
        return [axis for axis, unit in enumerate(self.is_unit) if not unit]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.extents)

    def _places(self, extents: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Element numbers of the box, and which of them exist."""
        _, offset, strides = self.it.layout(self.buffer, self.thread)
        sizes = self.it.extents(self.buffer, self.thread)
        grids = np.indices(tuple(extents), dtype=np.int64)
        where = np.full(tuple(extents), offset, np.int64)
        exists = np.ones(tuple(extents), bool)
        for grid, start, stride, size in zip(grids, self.starts, strides, sizes):
            index = grid + start
            exists &= (index >= 0) & (index < size)
            where += index * stride
        return where, exists

    def read(self, extents: Sequence[int] | None = None) -> np.ndarray:
        """The elements; those outside the buffer are its safe value."""
        where, exists = self._places(self.extents if extents is None else extents)
        flat, _, _ = self.it.layout(self.buffer, self.thread)
        out = np.empty(where.shape, flat.dtype)
        if not exists.all():
            out[...] = self.it.safe_value(self.buffer, self.thread)
        out[exists] = flat[where[exists]]
        return out

    def write(self, values: np.ndarray) -> None:
        """Store `values`, converted; those outside the buffer are dropped."""
        where, exists = self._places(values.shape)
        flat, _, _ = self.it.layout(self.buffer, self.thread)
        flat[where[exists]] = convert_array(values, self.buffer.dtype)[exists]


def convert_array(values: np.ndarray, kind: dtype) -> np.ndarray:
    """An array converted element by element, as a C cast does."""
    wanted = kind.as_numpy()
    if values.dtype == wanted:
        return values
    if kind.is_float and kind.bits >= 16 and values.dtype.kind == "f":
        return values.astype(np.float32 if kind.bits < 64 else np.float64).astype(wanted)
    plain = [convert(_python(v), kind) for v in values.reshape(-1)]
    return np.array(plain, dtype=wanted).reshape(values.shape)


def _python(value: Any) -> Any:
    if isinstance(value, np.bool_):
        return bool(value)
    return (
        int(value)
        if np.issubdtype(np.asarray(value).dtype, np.integer) or _is_small_int(value)
        else value
    )


def _is_small_int(value: Any) -> bool:
    return np.asarray(value).dtype.name in ("int4", "uint4")


def compute(values: np.ndarray, kind: dtype) -> np.ndarray:
    """An array in the type in which the reference computes: float64, int64 (or object), bool."""
    if kind.is_float:
        return (
            values.astype(np.float32).astype(np.float64)
            if kind.bits < 64
            else values.astype(np.float64)
        )
    if kind.is_bool:
        return values.astype(bool)
    return values.astype(object) if kind.bits == 64 else values.astype(np.int64)


def combine_arrays(kind: str, a: np.ndarray, b: np.ndarray, nan: bool = False) -> np.ndarray:
    """Two arrays combined as reductions of `kind` do."""
    a, b = np.asarray(a), np.asarray(b)  # one element of an object array is a plain int
    is_float = a.dtype.kind == "f" or a.dtype.name not in np.sctypeDict
    operations: dict[str, Callable[..., Any]] = {
        "sum": np.logical_or if a.dtype == bool else np.add,
        "abssum": np.logical_or if a.dtype == bool else np.add,
        "max": (np.maximum if nan else np.fmax) if is_float else np.maximum,
        "min": (np.minimum if nan else np.fmin) if is_float else np.minimum,
        "absmax": (np.maximum if nan else np.fmax) if is_float else np.maximum,
        "bitand": np.bitwise_and,
        "bitor": np.bitwise_or,
        "bitxor": np.bitwise_xor,
    }
    if is_float and a.dtype.kind != "f":
        a, b = a.astype(np.float32), b.astype(np.float32)
    return np.asarray(operations[kind](a, b))


def _identity(kind: str, element: dtype) -> Any:
    low: Any = -np.inf if element.is_float else int(element.min_value())
    high: Any = np.inf if element.is_float else int(element.max_value())
    ones = True if element.is_bool else -1 if element.kind == "int" else int(element.max_value())
    return {"max": low, "min": high, "bitand": ones}.get(kind, 0)


def _near(buffer: Buffer) -> int:
    return {GLOBAL: 2, "shared": 1, "shared.dyn": 1}.get(buffer.scope(), 0)


def _copy(it: Interpreter, op: TileOp, thread: Thread) -> None:
    src, dst = Tile(it, op.region("src"), thread), Tile(it, op.region("dst"), thread)
    leader = dst if _near(dst.buffer) < _near(src.buffer) else src
    counts = [leader.extents[a] for a in leader.loops]
    values = src.read(_on_axes(src, counts)).reshape(counts)
    dst.write(values.reshape(_on_axes(dst, counts)))


def _on_axes(tile: Tile, counts: Sequence[int]) -> list[int]:
    """The box of `tile` that loops of `counts` iterations run over."""
    assert len(tile.loops) == len(counts)
    box = [1] * len(tile.extents)
    for axis, count in zip(tile.loops, counts):
        box[axis] = count
    return box


def _fill(it: Interpreter, op: TileOp, thread: Thread) -> None:
    dst = Tile(it, op.region("dst"), thread)
    dst.write(np.full(dst.shape, it.value(op.value("value"), thread)))


def _transpose(it: Interpreter, op: TileOp, thread: Thread) -> None:
    src, dst = Tile(it, op.region("src"), thread), Tile(it, op.region("dst"), thread)
    dst.write(np.swapaxes(src.read(), -1, -2))


def _im2col(it: Interpreter, op: TileOp, thread: Thread) -> None:
    image = Tile(it, op.region("img"), thread).read()
    col = Tile(it, op.region("col"), thread)
    kernel, stride, dilation, pad = (
        op.attribute(k) for k in ("kernel", "stride", "dilation", "pad")
    )
    batches, height, width, channels = image.shape
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    span = dilation * (kernel - 1) + 1
    out_h, out_w = ((n + 2 * pad - span) // stride + 1 for n in (height, width))
    rows = []
    for n in range(batches):
        for y in range(out_h):
            for x in range(out_w):
                y0, x0 = y * stride, x * stride
                patch = padded[n, y0 : y0 + span : dilation, x0 : x0 + span : dilation]
                rows.append(patch.reshape(-1))
    matrix = np.stack(rows)
    p, c = col.extents
    row0, col0 = (
        it.value(op.value("nhw_step"), thread) * p,
        it.value(op.value("c_step"), thread) * c,
    )
    out = np.zeros((p, c), image.dtype)
    part = matrix[row0 : row0 + p, col0 : col0 + c]
    out[: part.shape[0], : part.shape[1]] = part
    col.write(out)


def _gemm(it: Interpreter, op: TileOp, thread: Thread) -> None:
    def matrix(name: str, flipped: bool) -> np.ndarray:
        tile = Tile(it, op.region(name), thread)
        values = compute(tile.read(), tile.buffer.dtype)
        flat = values.reshape(values.shape[-2:])
        return flat.T if flipped else flat

    C = Tile(it, op.region("C"), thread)
    product = matrix("A", op.attribute("transpose_A")) @ matrix("B", op.attribute("transpose_B"))
    if not it.value(op.value("clear_accum"), thread):
        product = product + matrix("C", False)
    C.write(product.reshape(C.shape))


def _reduce(it: Interpreter, op: TileOp, thread: Thread) -> None:
    src, dst = Tile(it, op.region("src"), thread), Tile(it, op.region("dst"), thread)
    kind, dim = op.attribute("kind"), op.attribute("dim")
    element, nan = dst.buffer.dtype, bool(op.attribute("nan_propagate"))
    values = compute(convert_array(src.read(), element), element)
    prepared = np.abs(values) if kind in ("absmax", "abssum") and not element.is_bool else values
    shape = [n for axis, n in enumerate(values.shape) if axis != dim]
    result = np.full(shape, _identity(kind, element), dtype=values.dtype)
    for k in range(values.shape[dim]):
        result = combine_arrays(kind, result, prepared.take(k, dim), nan)
    if not op.attribute("clear", True):
        old = compute(dst.read(), element).reshape(shape)
        old = np.abs(old) if kind == "absmax" and not element.is_bool else old
        result = combine_arrays(kind, old, result, nan)
    dst.write(result.reshape(dst.shape))


def _scan(it: Interpreter, op: TileOp, thread: Thread) -> None:
    src, dst = Tile(it, op.region("src"), thread), Tile(it, op.region("dst"), thread)
    dim, element = op.attribute("dim"), dst.buffer.dtype
    values = compute(convert_array(src.read(), element), element)
    flipped = np.flip(values, dim) if op.attribute("reverse") else values
    function = (
        np.add if op.attribute("kind") == "sum" else np.fmax if element.is_float else np.maximum
    )
    result = np.empty_like(flipped)
    running = np.take(flipped, 0, dim)
    for k in range(flipped.shape[dim]):
        running = running if k == 0 else function(running, np.take(flipped, k, dim))
        result[(slice(None),) * dim + (k,)] = running
    dst.write(np.flip(result, dim) if op.attribute("reverse") else result)


def _atomic(it: Interpreter, op: TileOp, thread: Thread) -> None:
    dst = Tile(it, op.region("dst"), thread)
    element = dst.buffer.dtype
    if any(o.name == "src" for o in op.operands):
        src = Tile(it, op.region("src"), thread)
        counts = [src.extents[a] for a in src.loops]
        values = src.read(_on_axes(src, counts)).reshape(_on_axes(dst, counts))
    else:
        values = np.full(dst.shape, it.value(op.value("value"), thread))
    where, exists = dst._places(values.shape)
    if any(o.name == "src" for o in op.operands):
        exists &= src._places(_on_axes(src, counts))[1].reshape(exists.shape)
    flat, _, _ = it.layout(dst.buffer, thread)
    new = convert_array(values, element)
    kind = {"add": "sum"}.get(op.attribute("kind"), op.attribute("kind"))
    for at, value in zip(where[exists], new[exists]):
        old = compute(np.asarray(flat[at]), element)
        joined = combine_arrays(kind, old, compute(np.asarray(value), element))
        flat[at] = convert(from_storage(joined.item(), element), element)


def _finalize(it: Interpreter, op: TileOp, thread: Thread) -> None:
    if any(o.name == "dst" for o in op.operands):
        _copy(it, op, thread)


_OPERATIONS: dict[str, Callable[[Interpreter, TileOp, Thread], None]] = {
    "copy": _copy,
    "async_copy": _copy,
    "fill": _fill,
    "reducer_init": _fill,
    "finalize_reducer": _finalize,
    "transpose": _transpose,
    "im2col": _im2col,
    "gemm": _gemm,
    "wgmma_gemm": _gemm,
    "reduce": _reduce,
    "scan": _scan,
    "atomic": _atomic,
}


def run_tile_op(it: Interpreter, op: TileOp, thread: Thread) -> None:
    """Run one tile operation for a block."""
    _OPERATIONS[op.op](it, op, thread)
