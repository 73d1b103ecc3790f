"""Fragments, operations on them and their execution, for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.tileop.cuda.simulated_threads import Block
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.layout import Fragment
from tilelang.tileop.base import TileOperator
from tilelang.tileop.context import BlockThreads, LowerContext
from tilelang.tileop.registry import operator_for

Array = Any


@dataclass(frozen=True)
class Cuda:
    """As much of a target row as operators ask for."""

    kind: str = "cuda"


def accumulator(m: int, n: int, warps_m: int, warps_n: int) -> Fragment:
    """The accumulator of 16 by 8 matrix instructions over a grid of warps."""
    rows, columns = m // warps_m, n // warps_n

    def place(i: Any, j: Any) -> tuple[Any, Any]:
        warp = i // rows + warps_m * (j // columns)
        a, b = i % rows, j % columns
        thread = warp * 32 + a % 8 * 4 + b % 8 // 2
        return thread, a // 16 * (columns // 8 * 4) + b // 8 * 4 + a % 16 // 8 * 2 + b % 2

    return Fragment([m, n], place)


def blocked(shape: tuple[int, ...], threads: int, width: int = 1) -> Fragment:
    """`width` neighbours to each thread in turn."""

    def place(*indices: Any) -> tuple[Any, Any]:
        flat: Any = 0
        for extent, i in zip(shape, indices):
            flat = flat * extent + i
        return flat // width % threads, flat // (width * threads) * width + flat % width

    return Fragment(shape, place)


class Execution:
    """One tile operation run by `threads` simulated threads.

    Args:
        held: fragment and contents of each fragment buffer.
        memory: contents of each other buffer.
    """

    def __init__(
        self,
        node: TileOp,
        threads: int,
        held: dict[Buffer, tuple[Fragment, Array]],
        memory: dict[Buffer, Array],
    ) -> None:
        index = Var("thread")
        self.block = Block(threads, index)
        self.fragments = {b: f for b, (f, _) in held.items()}
        self.registers = {
            b: Buffer(b.name, (int(f.offsets.max()) + 1,), b.dtype, "local")
            for b, f in self.fragments.items()
        }
        self.ctx = LowerContext(
            Cuda(), threads=BlockThreads(threads, index), fragments=self.fragments,
            registers=self.registers,
        )  # fmt: skip
        self.operator: TileOperator = operator_for(node)
        stmt = self.operator.lower(self.ctx)
        for buffer, (fragment, contents) in held.items():
            array = self.block.allocate(self.registers[buffer])
            array[fragment.thread_table, fragment.offsets[..., None]] = contents[..., None]
        for buffer, contents in memory.items():
            self.block.allocate(buffer)[...] = contents
        for buffer in self.ctx.scratch:
            self.block.allocate(buffer)
        self.prepare()
        self.block.run(stmt)

    def prepare(self) -> None:
        """What else has to hold before the operation."""

    def result(self, buffer: Buffer) -> Array:
        """What a buffer holds now; of a fragment, every replica has to agree."""
        if buffer not in self.fragments:
            return self.block.memory[buffer]
        fragment = self.fragments[buffer]
        array = self.block.memory[self.registers[buffer]]
        replicas = array[fragment.thread_table, fragment.offsets[..., None]]
        first = replicas[..., :1]
        assert np.ascontiguousarray(replicas).tobytes() == (
            np.ascontiguousarray(np.broadcast_to(first, replicas.shape)).tobytes()
        ), "replicas differ"
        return replicas[..., 0]


def node(name: str, operands: list[tuple[str, Buffer, Any]], **attributes: Any) -> TileOp:
    """A tile operation over whole buffers; `operands`: name, buffer, access."""
    tiles = tuple(TileOperand(n, b.region(), access) for n, b, access in operands)
    return TileOp(name, tiles, (), tuple(attributes.items()))
