"""All threads of a block at once: statements of one thread, run on NumPy arrays `[threads]`.

Threads advance statement by statement together, so shuffles and shared memory need no scheduling,
and barriers are not needed: that is what `Block` does not check. It does check that no two threads
write different values to one place in one statement, that all lanes reach a shuffle, and that
indices are in range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np

from tilelang.ir import expr as e
from tilelang.ir import stmt as s
from tilelang.ir.buffer import Buffer

Array = Any

_BINARY: dict[type, Callable[[Array, Array], Array]] = {
    e.Add: np.add, e.Sub: np.subtract, e.Mul: np.multiply, e.Div: np.divide,
    e.FloorDiv: np.floor_divide, e.FloorMod: np.mod, e.Min: np.fmin, e.Max: np.fmax,
    e.EQ: np.equal, e.NE: np.not_equal, e.LT: np.less, e.LE: np.less_equal, e.GT: np.greater,
    e.GE: np.greater_equal, e.And: np.logical_and, e.Or: np.logical_or,
    e.BitAnd: np.bitwise_and, e.BitOr: np.bitwise_or, e.BitXor: np.bitwise_xor,
    e.ShiftLeft: np.left_shift, e.ShiftRight: np.right_shift,
}  # fmt: skip
_WARP_REDUCE = {
    "sum": np.add, "max": np.maximum, "min": np.minimum, "bitand": np.bitwise_and,
    "bitor": np.bitwise_or, "bitxor": np.bitwise_xor,
}  # fmt: skip


def garbage(shape: tuple[int, ...], kind: Any) -> Array:
    """What uninitialised memory holds: something that shows in any result."""
    array = np.zeros(shape, kind.as_numpy())
    array[...] = np.nan if kind.is_float else 1 if kind.is_bool else 77
    return array


class Block:
    """`threads` threads; `index` is the variable that is a thread's number."""

    def __init__(self, threads: int, index: e.Var) -> None:
        self.threads = threads
        self.values: dict[e.Var, Array] = {index: np.arange(threads)}
        self.memory: dict[Buffer, Array] = {}
        self.active = np.ones(threads, bool)
        self.shuffles = 0

    def allocate(self, buffer: Buffer) -> Array:
        """`[threads, *shape]` for what each thread has by itself, else `[*shape]`."""
        shape = tuple(int(n) for n in buffer.shape)
        is_private = buffer.scope().startswith("local")
        made = garbage((self.threads, *shape) if is_private else shape, buffer.dtype)
        self.memory[buffer] = made
        return made

    # -- expressions -----------------------------------------------------------------------------

    def value(self, x: e.Expr) -> Array:
        with np.errstate(all="ignore"):
            return np.broadcast_to(self._value(x), (self.threads,))

    def _value(self, x: e.Expr) -> Array:
        match x:
            case e.Var():
                return self.values[x]
            case e.IntImm(value=number) | e.FloatImm(value=number):
                return np.asarray(number).astype(x.dtype.as_numpy())
            case e.BinaryOp(a, b):
                made = _BINARY[type(x)](self.value(a), self.value(b))
                return made if x.dtype.is_bool else made.astype(x.dtype.as_numpy())
            case e.Not(a):
                return np.logical_not(self.value(a))
            case e.Select(c, a, b) | e.Call(op="if_then_else", args=(c, a, b)):
                return np.where(self.value(c), self.value(a), self.value(b))
            case e.Cast(value=inner, dtype=kind):
                return self.value(inner).astype(kind.as_numpy())
            case e.BufferLoad(buffer, indices):
                return self.memory[buffer][self._place(buffer, indices, clip=True)]
            case e.Call():
                return self._call(x)
            case _:
                raise TypeError(f"{type(x).__name__} {x}")

    def _call(self, x: e.Call) -> Array:
        if x.op == "abs":
            return np.abs(self.value(x.args[0]))
        if x.op in ("max_nan", "min_nan"):
            f = np.maximum if x.op == "max_nan" else np.minimum
            return f(self.value(x.args[0]), self.value(x.args[1]))
        if x.op.startswith("warp_reduce_"):
            assert self.active.all(), "all lanes of a warp take part"
            warps = self.value(x.args[0]).reshape(-1, 32)
            made = _WARP_REDUCE[x.op.removeprefix("warp_reduce_")].reduce(warps, axis=1)
            return np.repeat(made.astype(warps.dtype), 32)
        assert x.op in ("shfl", "shfl_xor", "shfl_up", "shfl_down"), x.op
        return self._shuffle(x)

    def _shuffle(self, x: e.Call) -> Array:
        assert self.active.all(), "a shuffle is reached by all lanes"
        self.shuffles += 1
        value, lane, width = (self.value(a) for a in x.args[1:])
        assert str(value.dtype) not in ("bool", "float16", "bfloat16"), "shuffles move words"
        me = np.arange(self.threads)
        place, base = me % width, me - me % width
        other = {
            "shfl": lane % width, "shfl_xor": place ^ lane, "shfl_up": place - lane,
            "shfl_down": place + lane,
        }[x.op]  # fmt: skip
        inside = (other >= 0) & (other < width) & (base + other < self.threads)
        return value[np.where(inside, base + other, me)]

    def _place(self, buffer: Buffer, indices: tuple[e.Expr, ...], clip: bool) -> Array:
        places = [np.array(self.value(i)) for i in indices]
        for extent, place in zip(buffer.shape, places):
            inside = (place >= 0) & (place < int(extent))
            # The side of a choice that is not taken may read anywhere: then it must not matter.
            assert clip or inside[self.active].all(), f"{buffer.name}: {place}"
            np.clip(place, 0, int(extent) - 1, out=place)
        is_private = buffer.scope().startswith("local")
        return (np.arange(self.threads), *places) if is_private else tuple(places)

    # -- statements ------------------------------------------------------------------------------

    def run(self, x: s.Stmt) -> None:
        match x:
            case s.Seq(stmts):
                for stmt in stmts:
                    self.run(stmt)
            case s.Bind(var, value):
                self.values[var] = self.value(value)
            case s.Allocate(buffer):
                self.allocate(buffer)
            case s.For(var, start, extent, _, body):
                self._for(var, self.value(start), self.value(extent), body)
            case s.If(condition, then_body, else_body):
                self._if(self.value(condition), then_body, else_body)
            case s.BufferStore(buffer, value, indices):
                self._store(buffer, self.value(value), indices)
            case s.Attr(_, _, body):
                self.run(body)
            case s.Evaluate(e.Call(op="sync_threads")):
                assert self.active.all(), "a barrier is reached by all threads"
            case _:
                raise TypeError(f"{type(x).__name__} {x}")

    def _for(self, var: e.Var, start: Array, extent: Array, body: s.Stmt) -> None:
        counts = np.unique(extent[self.active])
        assert len(counts) <= 1, "loops of these tests run equally often in all threads"
        for i in range(int(counts[0]) if len(counts) else 0):
            self.values[var] = start + i
            self.run(body)

    def _if(self, condition: Array, then_body: s.Stmt, else_body: s.Stmt | None) -> None:
        outer = self.active
        self.active = outer & condition
        self.run(then_body)
        if else_body is not None:
            self.active = outer & ~condition
            self.run(else_body)
        self.active = outer

    def _store(self, buffer: Buffer, value: Array, indices: tuple[e.Expr, ...]) -> None:
        place = tuple(p[self.active] for p in self._place(buffer, indices, clip=False))
        memory = self.memory[buffer]
        meant = value[self.active].astype(memory.dtype)
        memory[place] = meant
        now = np.ascontiguousarray(memory[place])
        assert now.tobytes() == meant.tobytes(), f"threads race for {buffer.name}"
