"""Nests that move tiles of a fragment to or from shared memory by `stmatrix` and `ldmatrix`.

In: a nest that only copies between a fragment and 16-bit elements of a shared buffer, its
partition, and the layouts. Out: the loop over instructions, or the reason why there is none. What
fits is found in the tables of the fragment: whether the four lanes of a quad hold the 16 bytes of a
row, or of a column for the transposing forms. So accumulators and both operands of every matrix
instruction are found without being named.

    lane 4g + t, registers 2m, 2m + 1        plain: row g of tile m, columns 2t and 2t + 1
                                             _trans: rows 2t and 2t + 1 of tile m, column g
    lane 8m + i gives the address of row i of tile m
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tilelang.errors import LayoutError
from tilelang.ir.buffer import FRAGMENT, LOCAL, Buffer
from tilelang.ir.expr import HANDLE, BufferLoad, Call, Cast, Expr, Var, as_expr, cast, const_value
from tilelang.ir.record import record
from tilelang.ir.stmt import Allocate, BufferStore, For, LoopKind, Stmt, seq
from tilelang.ir.visitor import substitute, used_vars
from tilelang.layout.evaluate import evaluate
from tilelang.layout.layout import Layout
from tilelang.tileop.context import LowerContext
from tilelang.tileop.cuda.mma_forms import architecture
from tilelang.tileop.loops import run
from tilelang.transform.nests import Access, Nest, Partition, RegisterTable

Table = npt.NDArray[np.int64]

_FIRST_WITH_STORES = 90
_CHUNK = 8  # elements of 16 bits whose address one lane gives
_LANES, _ROWS = 32, 8


@record
class MatrixCopy:
    """A nest as matrix instructions.

    Attributes:
        name: of the device function.
        count: tiles that one instruction moves.
        is_transposed: tiles stand across in shared memory.
    """

    nest: Nest
    partition: Partition
    store: BufferStore
    load: BufferLoad
    count: int
    is_transposed: bool

    @property
    def is_store(self) -> bool:
        """Whether it goes from the fragment to shared memory."""
        return self.store.buffer.is_shared

    @property
    def name(self) -> str:
        kind = "stmatrix" if self.is_store else "ldmatrix"
        return f"tl_{kind}_x{self.count}{'_trans' if self.is_transposed else ''}"

    def lower(self, context: LowerContext) -> Stmt:
        """The loop over instructions."""
        threads = context.threads
        assert threads is not None, "nests stand in launches"
        kind = self.nest.loops[0].var.dtype
        number, zero = Var("s", kind), cast(as_expr(0), kind)
        count = self.partition.holding.registers // (2 * self.count)
        at: Expr = number if count > 1 else zero
        memory = self.store.buffer if self.is_store else self.load.buffer
        indices = self.store.indices if self.is_store else self.load.indices
        row = cast(threads.lane, kind) % _ROWS
        tile = at * self.count + cast(threads.lane, kind) // _ROWS % self.count
        warp = cast(threads.warp, kind) * _LANES
        owner = warp + (row // 2 if self.is_transposed else row * 4)
        values = self.partition.values(2, owner, tile, row % 2 if self.is_transposed else zero)
        place = address(BufferLoad(memory, tuple(substitute(i, values) for i in indices)))
        body = self._store(context, at, place) if self.is_store else self._load(context, at, place)
        span = self.nest.node.span
        body.span = span
        extent = cast(as_expr(count), kind)
        return For(number, zero, extent, LoopKind.UNROLLED, body, span=span) if count > 1 else body

    def _load(self, context: LowerContext, at: Expr, place: Expr) -> Stmt:
        registers = context.registers[self.store.buffer]
        return run(self.name, address(BufferLoad(registers, (at * (2 * self.count),))), place)

    def _store(self, context: LowerContext, at: Expr, place: Expr) -> Stmt:
        registers, width = context.registers[self.load.buffer], 2 * self.count
        wanted = self.store.buffer.dtype
        if registers.dtype == wanted:
            return run(self.name, place, address(BufferLoad(registers, (at * width,))))
        packed = Buffer(f"{registers.name}_packed", (width,), wanted, LOCAL)
        lane, zero = Var("v", at.dtype), cast(as_expr(0), at.dtype)
        value = substitute_load(self.store.value, self.load, registers, at * width + lane)
        fill: Stmt = BufferStore(packed, value, (lane,))
        extent = cast(as_expr(width), at.dtype)
        fill = For(lane, zero, extent, LoopKind.VECTORIZED, fill, span=self.nest.node.span)
        first = address(BufferLoad(packed, (zero,)))
        return seq([Allocate(packed), fill, run(self.name, place, first)])


def substitute_load(value: Expr, load: BufferLoad, registers: Buffer, place: Expr) -> Expr:
    """`value`, a load or a cast of it, from a register."""
    if value is load:
        return BufferLoad(registers, (place,))
    assert isinstance(value, Cast), "asked by matrix_copy"
    return cast(substitute_load(value.value, load, registers, place), value.dtype)


def address(place: BufferLoad) -> Expr:
    """Pointer to an element."""
    return Call("address_of", (place,), HANDLE)


def matrix_copy(nest: Nest, partition: Partition, context: LowerContext) -> MatrixCopy | str | None:
    """The nest by matrix instructions, or why not; `None` for a nest that is no such copy."""
    store = nest.body
    if not isinstance(store, BufferStore):
        return None
    value = store.value
    while isinstance(value, Cast) and value.dtype.is_float and value.dtype.lanes == 1:
        value = value.value
    if not isinstance(value, BufferLoad):
        return None
    to_memory = store.buffer.is_shared and value.buffer.scope() == FRAGMENT
    from_memory = store.buffer.scope() == FRAGMENT and value.buffer.is_shared
    if not to_memory and not from_memory:
        return None
    memory, held = (store.buffer, value) if to_memory else (value.buffer, store)
    return _fitting(nest, partition, context, store, value, memory, held)


def _fitting(
    nest: Nest, partition: Partition, context: LowerContext,
    store: BufferStore, load: BufferLoad, memory: Buffer, held: BufferLoad | BufferStore,
) -> MatrixCopy | str:  # fmt: skip
    name, threads = memory.name, partition.threads
    if memory.dtype.bits != 16:
        return f"`{name}` has elements of {memory.dtype.bits} bits, not 16"
    if held is store and load is not store.value:
        return "ldmatrix changes no type"
    if held is load and architecture(context) < _FIRST_WITH_STORES:
        return f"stmatrix exists from sm_{_FIRST_WITH_STORES} on"
    if threads % _LANES or not partition.holding.is_full:
        return "some registers of some threads hold nothing"
    if partition.holding.registers % 2:
        return "the registers of a thread are no pairs"
    if held is load and partition.holding.has_replicas:
        return f"several threads hold an element of `{load.buffer.name}`"
    access = next(a for a in nest.accesses if a.node is held)
    if not _is_led_alone(nest, partition, access, context):
        return "the registers are not those of the loop in order"
    if not _has_chunks(memory, context.layouts.get(memory)):
        return f"rows of `{name}` are not made of 16-byte chunks"
    other = next(a for a in nest.accesses if a.node is not held)
    groups = partition.holding.registers // 2
    is_transposed = _orientation(partition, other)
    if is_transposed is None:
        return "the lanes of a quad do not hold 16 bytes of a row, nor of a column"
    count = next(n for n in (4, 2, 1) if groups % n == 0)
    try:
        partition.values(2, as_expr(0), as_expr(0), as_expr(0))
    except LayoutError as error:
        return str(error)
    return MatrixCopy(nest, partition, store, load, count, is_transposed)


def _is_led_alone(nest: Nest, partition: Partition, access: Access, context: LowerContext) -> bool:
    """Whether the access is to the partition's own registers, and all of them run."""
    if partition.buffer is not access.buffer or len(nest.accesses) != 2:
        return False
    table = partition.register(access, context.fragments[access.buffer], {})
    zero = as_expr(0)
    always = partition.condition(2, zero, zero, zero) is None
    return isinstance(table, RegisterTable) and table.table is None and always


def _has_chunks(memory: Buffer, layout: Layout | None) -> bool:
    if layout is not None:
        return layout.vector_width(_CHUNK) == _CHUNK
    numbers = [const_value(n) for n in (*memory.strides, memory.elem_offset)]
    *outer, last, offset = [n if isinstance(n, int) else 1 for n in numbers]
    return last == 1 and all(n % _CHUNK == 0 for n in (*outer, offset))


def _orientation(partition: Partition, access: Access) -> bool | None:
    """Whether tiles stand across in shared memory; `None` where quads hold no rows of 16 bytes."""
    inside = partition.nest.variables
    if any(v not in inside for v in used_vars(access.indices[-1])):
        return None
    outer: Mapping[Var, int] = dict.fromkeys(partition.outer_variables(access), 0)
    env, runs = partition.iterations(outer)
    if not runs.all() or runs.shape[1] % 2:
        return None
    try:
        tables = [np.broadcast_to(evaluate(i, env), runs.shape) for i in access.indices]
    except (KeyError, TypeError):
        return None
    shape = (runs.shape[0] // _LANES, _ROWS, 4, runs.shape[1] // 2, 2)
    *rows, columns = (t.reshape(shape) for t in tables)
    if _are_rows(rows, columns):
        return False
    turned = [t.reshape(shape).transpose(0, 2, 4, 3, 1).reshape(shape[0], 8, -1, 8)
              for t in tables]  # fmt: skip
    *rows, columns = turned  # warp, row 2t + e, tile, column g
    base = columns[..., :1]
    is_chunk = (columns == base + np.arange(_CHUNK)).all() and (base % _CHUNK == 0).all()
    return True if is_chunk and all((r == r[..., :1]).all() for r in rows) else None


def _are_rows(rows: list[Table], columns: Table) -> bool:
    base = columns[:, :, :1, :, :1]
    along = 2 * np.arange(4)[:, None, None] + np.arange(2)
    same = all((r == r[:, :, :1, :, :1]).all() for r in rows)
    return bool(same and (columns == base + along).all() and (base % _CHUNK == 0).all())
