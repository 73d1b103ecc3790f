"""The interpreter with asynchronous copies that land as late as they may.

A copy marked `is_async` (or a nest marked `prefer_async`) leaves poison where it writes, and brings
its values only when `ptx_wait_group` lets its group no longer be on its way. So a missing wait, a
wait for too few groups, and a slot that is filled while it is still read all show as poison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.interpreter import Interpreter, Thread
from tests.interpreter_tiles import Tile, run_tile_op
from tilelang.ir import annotation as keys
from tilelang.ir import expr as ir
from tilelang.ir import stmt as st
from tilelang.ir.buffer import Buffer
from tilelang.ir.func import PrimFunc
from tilelang.ir.tile import TileOp


class AsyncInterpreter(Interpreter):
    """Runs one function whose copies land at the wait."""

    def __init__(self, func: PrimFunc) -> None:
        super().__init__(func)
        self.landings: list[Callable[[], None]] = []  # of the group being formed
        self.groups: list[list[Callable[[], None]]] = []
        self.defers = False

    def _TileOp(self, stmt: TileOp, threads: list[Thread]) -> None:
        if not stmt.attribute("is_async"):
            super()._TileOp(stmt, threads)
            return
        thread = threads[0]
        run_tile_op(self, stmt, thread)
        target = Tile(self, stmt.region("dst"), thread)
        values = target.read()
        target.write(np.full(values.shape, _poison(target.buffer)))
        self.landings.append(lambda: target.write(values))

    def _For(self, stmt: st.For, threads: list[Thread]) -> None:
        before = self.defers
        self.defers |= bool(st.annotation(stmt.annotations, keys.PREFER_ASYNC))
        super()._For(stmt, threads)
        self.defers = before

    def store(self, buffer: Buffer, indices: Any, value: Any, thread: Thread) -> None:
        if not self.defers:
            super().store(buffer, indices, value, thread)
            return
        super().store(buffer, indices, _poison(buffer), thread)
        place = self.place(buffer, indices, thread)
        flat = self.layout(buffer, thread)[0]
        self.landings.append(lambda: flat.__setitem__(place, value))

    def call(self, node: ir.Call, thread: Thread) -> Any:
        if node.op == "ptx_commit_group":
            self.groups.append(self.landings)
            self.landings = []
            return None
        if node.op == "ptx_wait_group":
            count = self.value(node.args[0], thread)
            while len(self.groups) > count:
                for land in self.groups.pop(0):
                    land()
            return None
        if node.op == "assume":
            assert self.value(node.args[0], thread), f"assumed, but false: {node.args[0]}"
            return None
        return super().call(node, thread)


def _poison(buffer: Buffer) -> Any:
    return np.nan if buffer.dtype.is_float else 0x55


def run_async(func: PrimFunc, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays after running `func` on copies of `inputs`."""
    copies = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in inputs.items()}
    AsyncInterpreter(func).run(copies)
    return {n: v for n, v in copies.items() if isinstance(v, np.ndarray)}
