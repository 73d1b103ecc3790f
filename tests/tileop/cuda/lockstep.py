"""Thread IR of one block, run by NumPy: every value is an array over the threads.

Enough for the lowering of matrix products: straight-line code, counted loops, `If` on conditions of
the thread index, accesses by logical index, and the matrix instructions by the hardware's formulas.
Shared memory carries no layout here; alignment of 16-byte rows is checked.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    Add,
    BufferLoad,
    Call,
    Cast,
    Expr,
    FloatImm,
    IntImm,
    Mul,
    Select,
    Var,
)  # fmt: skip
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
)
from tilelang.ir.visitor import walk
from tilelang.layout.evaluate import evaluate

_MMA = re.compile(r"tl_mma_m(\d+)n8k(\d+)_(f16|f32|f64|s32)_(\w+)")


class Block:
    """`threads` threads with their memory: `memory[buffer]` is `[*shape]`, per thread if local."""

    def __init__(self, threads: int, thread: Var) -> None:
        self.threads, self.thread = threads, thread
        self.memory: dict[Buffer, np.ndarray] = {}
        self.env: dict[Var, Any] = {thread: np.arange(threads)}
        self.calls: list[str] = []
        self.active = np.ones(threads, bool)

    def put(self, buffer: Buffer, value: np.ndarray) -> None:
        self.memory[buffer] = np.ascontiguousarray(value)

    def local(self, buffer: Buffer) -> np.ndarray:
        """A fresh array (per thread, unless shared) of values that would spoil a result."""
        shape = tuple(map(int, buffer.shape))
        if not buffer.is_shared:
            shape = (self.threads, *shape)
        full = np.full(shape, 77, buffer.dtype.as_numpy())
        self.memory[buffer] = full
        return full

    # -- statements -------------------------------------------------------------------------------

    def run(self, stmt: Stmt, active: np.ndarray | None = None) -> None:
        active = np.ones(self.threads, bool) if active is None else active
        self.active = active
        match stmt:
            case Seq(stmts):
                for one in stmts:
                    self.run(one, active)
            case Allocate(buffer):
                self.local(buffer)
            case Attr(_, _, body):
                self.run(body, active)
            case Bind(var, value):
                self.env[var] = self.value(value)
            case For(var, start, extent, kind, body):
                assert kind in (LoopKind.SERIAL, LoopKind.UNROLLED), kind
                first, count = int(evaluate(start, self.env)), int(evaluate(extent, self.env))
                for i in range(first, first + count):
                    self.env[var] = i
                    self.run(body, active)
            case If(condition, then_body, else_body):
                holds = np.broadcast_to(self.value(condition), (self.threads,))
                self.run(then_body, active & holds)
                if else_body is not None:
                    self.run(else_body, active & ~holds)
                self.active = active
            case BufferStore(buffer, value, indices):
                data = np.broadcast_to(self.value(value), (self.threads,))
                place = self.place(buffer, indices)
                chosen = tuple(p[active] for p in place)
                self.memory[buffer][chosen] = data[active].astype(self.memory[buffer].dtype)
            case Evaluate(Call(op, args)):
                self.calls.append(op)
                if active.any():
                    self.instruction(op, args, active)
            case _:
                raise TypeError(f"{type(stmt).__name__} in a lowered product")

    def place(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[np.ndarray, ...]:
        at = [np.broadcast_to(evaluate(i, self.env), (self.threads,)) for i in indices]
        array = self.memory[buffer]
        if array.ndim > len(at):  # one array per thread
            at = [np.arange(self.threads), *at]
        for axis, values in enumerate(at):
            used = values[self.active]
            assert ((used >= 0) & (used < array.shape[axis])).all(), (buffer, indices)
        return tuple(np.clip(values, 0, size - 1) for values, size in zip(at, array.shape))

    def value(self, value: Expr) -> Any:
        match value:
            case BufferLoad(buffer, indices):
                return self.memory[buffer][self.place(buffer, indices)]
            case FloatImm():
                return value.value
            case Cast(inner, kind):
                return np.asarray(self.value(inner)).astype(kind.as_numpy())
            case Call("tl_float32_to_tfloat32", (inner,)):
                bits = np.asarray(self.value(inner), np.float32).view(np.uint32)
                return ((bits + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)
            case Call("if_then_else", (condition, x, y)) | Select(condition, x, y):
                return self.chosen(np.broadcast_to(self.value(condition), self.threads), x, y)
            case Add(a, b) if any(isinstance(n, BufferLoad) for n in walk(value)):
                return self.value(a) + self.value(b)
            case Mul(a, b) if any(isinstance(n, BufferLoad) for n in walk(value)):
                return self.value(a) * self.value(b)
            case IntImm() if not value.dtype.is_bool:
                return value.value
            case _:
                return evaluate(value, self.env)

    def chosen(self, condition: np.ndarray, x: Expr, y: Expr) -> Any:
        """Each thread evaluates the branch that it takes."""
        before = self.active
        self.active = before & condition
        first = self.value(x)
        self.active = before & ~condition
        second = self.value(y)
        self.active = before
        return np.where(condition, first, second)

    # -- instructions -----------------------------------------------------------------------------

    def instruction(self, op: str, args: tuple[Expr, ...], active: np.ndarray) -> None:
        assert (active.reshape(-1, 32).all(1) == active.reshape(-1, 32).any(1)).all(), "half a warp"
        if op.startswith("tl_ldmatrix_x"):
            self.ldmatrix(int(op[13]), op.endswith("_trans"), *args, active)
        else:
            found = _MMA.fullmatch(op)
            assert found is not None, op
            self.mma(int(found[1]), int(found[2]), args, active, found[4])

    def pointer(self, value: Expr) -> tuple[Buffer, tuple[np.ndarray, ...]]:
        assert isinstance(value, Call) and value.op == "address_of"
        load = value.args[0]
        assert isinstance(load, BufferLoad)
        return load.buffer, self.place(load.buffer, load.indices)

    def ldmatrix(self, count: int, trans: bool, to: Expr, row: Expr, active: np.ndarray) -> None:
        source, at = self.pointer(row)
        array = self.memory[source]
        flat = np.ravel_multi_index(at, array.shape) * array.itemsize
        needed = active & (np.arange(self.threads) % 32 < 8 * count)
        assert (flat[needed] % 16 == 0).all(), "a row that is not aligned to 16 bytes"
        data = array.reshape(-1).view(np.uint8)
        rows = data[(flat[:, None] + np.arange(16)) % len(data)]  # [threads, 16] bytes
        rows = rows.reshape(-1, 4, 8, 16)[:, :count].view(np.uint16)  # [warp, block, row, 8]
        lane = np.arange(32)
        g, t = lane // 4, lane % 4
        first = rows[:, :, 2 * t, g] if trans else rows[:, :, g, 2 * t]
        second = rows[:, :, 2 * t + 1, g] if trans else rows[:, :, g, 2 * t + 1]
        words = np.stack([first, second], -1).transpose(0, 2, 1, 3)  # [warp, lane, block, half]
        self.write(to, np.ascontiguousarray(words).reshape(self.threads, -1).view(np.uint8), active)

    def write(self, to: Expr, data: np.ndarray, active: np.ndarray) -> None:
        buffer, (_, first) = self.pointer(to)
        array = self.memory[buffer]
        view = array.view(np.uint8)
        start = int(first[0]) * array.itemsize
        assert start % 4 == 0 and start + data.shape[1] <= view.shape[1]
        view[active, start : start + data.shape[1]] = data[active]

    def registers(self, value: Expr, count: int) -> np.ndarray:
        buffer, (_, first) = self.pointer(value)
        assert (first == first[0]).all(), "register numbers are the same in all threads"
        part = self.memory[buffer][:, int(first[0]) : int(first[0]) + count]
        assert part.shape[1] == count
        return part.reshape(-1, 32, count)

    def mma(self, m: int, k: int, args: tuple[Expr, ...], active: np.ndarray, types: str) -> None:
        d, a, b, c = args
        A, B = self.registers(a, m * k // 32), self.registers(b, 8 * k // 32)
        if types == "tf32":
            assert not (A.copy().view(np.uint32) & 0x1FFF).any(), "an operand was not rounded"
            assert not (B.copy().view(np.uint32) & 0x1FFF).any(), "an operand was not rounded"
        P = {1: 4, 2: 2}.get(A.itemsize, 1)
        exact = np.int64 if types[0] in "su" else np.float64
        rows, depth = self.a_places(m, k, P)
        left = np.zeros((len(A), m, k), exact)
        left[:, rows, depth] = A.astype(exact)
        e, lane = np.arange(8 * k // 32), np.arange(32)[:, None]
        right = np.zeros((len(A), k, 8), exact)
        right[:, P * (lane % 4) + e % P + 4 * P * (e // P), lane // 4 + 0 * e] = B.astype(exact)
        product = left @ right
        i = np.arange(m * 8 // 32)
        row, column = lane // 4 + 8 * (i >> 1), 2 * (lane % 4) + (i & 1)
        sums = self.registers(c, len(i))
        total = (product[:, row, column] + sums.astype(exact)).astype(sums.dtype)
        buffer, (_, first) = self.pointer(d)
        at = int(first[0])
        self.memory[buffer][active, at : at + len(i)] = total.reshape(self.threads, -1)[active]

    @staticmethod
    def a_places(m: int, k: int, P: int) -> tuple[np.ndarray, np.ndarray]:
        e, lane = np.arange(m * k // 32), np.arange(32)[:, None]
        g, t, r, j = lane // 4, lane % 4, e // P, e % P
        if m == 16:
            return g + 8 * (r & 1), P * t + j + 4 * P * (r >> 1)
        return g + 0 * e, P * t + j + 4 * P * r
