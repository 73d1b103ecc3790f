"""A direct NumPy interpreter of the IR, tile form and thread form: the reference of the tests.

    run(func, {"A": array, ...})        # by parameter name; buffers are changed in place

It follows the language's definition, not the compiler: tile operations are computed on whole tiles
(interpreter_tiles), a launch runs its blocks one after the other. A launch whose body looks at
thread indices runs all threads in lockstep, statement by statement; any other runs one. Accesses to
global buffers outside their bounds read the safe value and write nothing; any other access out of
bounds, and every one under `Attr("in_range")`, is an error. Buffers start with NaN (or a fixed odd
integer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tilelang.ir import annotation as keys
from tilelang.ir import expr as ir
from tilelang.ir import stmt as st
from tilelang.ir.buffer import GLOBAL, LOCAL, VAR, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.func import PrimFunc
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import used_vars, walk


class InterpreterError(Exception):
    """The program did something that has no meaning, such as an access out of bounds."""


def storage_dtype(kind: dtype) -> np.dtype:
    """The NumPy type of one stored element."""
    return kind.as_numpy()


# -- values ----------------------------------------------------------------------------------------
# bool: Python bool. Integers: Python int, wrapped. Floats: NumPy scalars of their type (ml_dtypes
# below 32 bits). Vectors: lists of lanes. Pointers: `Pointer`.


@dataclass
class Pointer:
    """Address of one element: the storage, its element type, and an offset in elements."""

    memory: Memory
    kind: dtype
    offset: int

    def view(self) -> np.ndarray:
        """The storage from the element on."""
        return self.memory.view(self.kind)[self.offset :]


class Memory:
    """The bytes behind one `data` pointer. Elements of 4 and 6 bits take one byte each."""

    def __init__(self, array: np.ndarray) -> None:
        flat = array.reshape(-1)
        assert np.shares_memory(flat, array) or array.size == 0, "arguments must be contiguous"
        self.flat = flat

    @staticmethod
    def fresh(kind: dtype, count: int) -> Memory:
        """New storage, full of poison."""
        store = storage_dtype(kind)
        poison: Any = np.nan if kind.is_float and kind.bits >= 16 else 0x55 % 7
        return Memory(np.full(count, poison, dtype=store))

    def view(self, kind: dtype) -> np.ndarray:
        wanted = storage_dtype(kind)
        return self.flat if self.flat.dtype == wanted else self.flat.view(wanted)


def convert(value: Any, kind: dtype) -> Any:
    """`value` (of any type) as an element of type `kind`, as a C cast does."""
    if isinstance(value, list):
        return [convert(v, kind.element) for v in value]
    if kind.kind == "handle":
        return value
    if kind.is_bool:
        return bool(value != 0)
    if kind.is_int:
        if isinstance(value, (bool, int)):
            return wrap(int(value), kind)
        number = float(value)
        if math.isnan(number):
            return 0
        low, high = int(kind.min_value()), int(kind.max_value())
        if not math.isfinite(number):
            return high if number > 0 else low
        return min(max(math.trunc(number), low), high)
    return round_float(value, kind)


def round_float(value: Any, kind: dtype) -> Any:
    """A number rounded to a floating type; the types below 16 bits saturate."""
    if kind == "float64":
        return np.float64(value)
    single = np.float32(value)
    if kind in ("float32", "tfloat32"):
        return single
    if kind.bits < 16 and not np.isnan(single):
        limit = np.float32(kind.max_value())
        single = np.clip(single, -limit if kind.min_value() < 0 else np.float32(0), limit)
    return single.astype(storage_dtype(kind))


def wrap(value: int, kind: dtype) -> int:
    """Two's complement."""
    if kind.kind == "uint":
        return value & ((1 << kind.bits) - 1)
    half = 1 << (kind.bits - 1)
    return (value + half) % (1 << kind.bits) - half


def _wide(value: Any) -> Any:
    """A float in the type in which it is computed with."""
    return value if isinstance(value, (np.float64, np.float32)) else np.float32(value)


def _trunc_div(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a >= 0) == (b >= 0) else -quotient


_INT = {
    ir.Add: lambda a, b: a + b, ir.Sub: lambda a, b: a - b, ir.Mul: lambda a, b: a * b,
    ir.FloorDiv: lambda a, b: a // b, ir.FloorMod: lambda a, b: a % b, ir.TruncDiv: _trunc_div,
    ir.TruncMod: lambda a, b: a - b * _trunc_div(a, b), ir.Min: min, ir.Max: max,
    ir.ShiftLeft: lambda a, b: a << b, ir.ShiftRight: lambda a, b: a >> b,
    ir.BitAnd: lambda a, b: a & b, ir.BitOr: lambda a, b: a | b, ir.BitXor: lambda a, b: a ^ b,
}  # fmt: skip
_FLOAT = {
    ir.Add: lambda a, b: a + b, ir.Sub: lambda a, b: a - b, ir.Mul: lambda a, b: a * b,
    ir.Div: lambda a, b: np.divide(a, b), ir.Min: np.fmin, ir.Max: np.fmax,
}  # fmt: skip
_COMPARE = {
    ir.EQ: lambda a, b: a == b, ir.NE: lambda a, b: a != b, ir.LT: lambda a, b: a < b,
    ir.LE: lambda a, b: a <= b, ir.GT: lambda a, b: a > b, ir.GE: lambda a, b: a >= b,
    ir.And: lambda a, b: bool(a) and bool(b), ir.Or: lambda a, b: bool(a) or bool(b),
}  # fmt: skip


def binary(op: type, kind: dtype, a: Any, b: Any) -> Any:
    """One binary operation; `kind` is the operands' type."""
    if isinstance(a, list) or isinstance(b, list):
        left = a if isinstance(a, list) else [a] * len(b)
        right = b if isinstance(b, list) else [b] * len(a)
        return [binary(op, kind.element, x, y) for x, y in zip(left, right)]
    if op in _COMPARE:
        return bool(_COMPARE[op](a, b))
    if kind.is_float:
        return round_float(_FLOAT[op](_wide(a), _wide(b)), kind)
    if kind.is_bool:
        return bool(_INT[op](int(a), int(b)))
    return wrap(_INT[op](int(a), int(b)), kind)


def _erf(x: Any) -> float:
    return math.erf(float(x))


_UNARY = {
    "exp": np.exp, "exp2": np.exp2, "exp10": lambda x: np.power(10.0, x), "log": np.log,
    "log1p": np.log1p, "log2": np.log2, "log10": np.log10, "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x), "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "nearbyint": np.rint, "round": np.rint,
    "round_away": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x), "erf": _erf,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)), "neg": lambda x: -x,
    "fast_exp": np.exp, "fast_exp10": lambda x: np.power(10.0, x), "fast_log": np.log,
    "fast_log2": np.log2, "fast_log10": np.log10, "fast_sin": np.sin, "fast_cos": np.cos,
    "fast_tan": np.tan, "fast_rcp": lambda x: 1.0 / x,
}  # fmt: skip
_BINARY_FLOAT = {
    "pow": np.power, "atan2": np.arctan2, "copysign": np.copysign, "fmod": np.fmod,
    "hypot": np.hypot, "nextafter": np.nextafter, "max_nan": np.maximum, "min_nan": np.minimum,
    "ldexp": lambda x, n: np.ldexp(x, int(n)), "ieee_add": np.add, "ieee_sub": np.subtract,
    "ieee_mul": np.multiply, "ieee_fdiv": np.divide,
}  # fmt: skip
_TESTS = {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite}


def call_pure(op: str, kind: dtype, args: Sequence[Any]) -> Any:
    """A call without memory; `kind` is the result's type."""
    if any(isinstance(a, list) for a in args):
        lanes = next(len(a) for a in args if isinstance(a, list))
        spread = [a if isinstance(a, list) else [a] * lanes for a in args]
        return [call_pure(op, kind.element, lane) for lane in zip(*spread)]
    if op == "abs":
        return (
            round_float(np.abs(_wide(args[0])), kind) if kind.is_float else wrap(abs(args[0]), kind)
        )
    if op in _TESTS:
        return bool(_TESTS[op](_wide(args[0])))
    if op in _UNARY:
        return round_float(_UNARY[op](np.float64(args[0])), kind)
    if op in _BINARY_FLOAT:
        x = [_wide(a) if isinstance(a, np.generic) else a for a in args]
        return round_float(_BINARY_FLOAT[op](*x), kind)
    if op in ("fma", "ieee_fmaf"):
        return round_float(np.float64(args[0]) * np.float64(args[1]) + np.float64(args[2]), kind)
    if op == "popcount":
        return bin(args[0] & 0xFFFFFFFFFFFFFFFF).count("1")
    if op == "clz":
        return kind.bits - (args[0] & ((1 << kind.bits) - 1)).bit_length()
    if op == "likely":
        return args[0]
    raise InterpreterError(f"the interpreter does not know the operation `{op}`")


def reinterpret(value: Any, source: dtype, kind: dtype) -> Any:
    """The bits of `value` as another type of as many bits."""
    if isinstance(value, list):
        return [reinterpret(v, source.element, kind.element) for v in value]
    array = np.array([value]).astype(storage_dtype(source)).view(storage_dtype(kind))
    return from_storage(array[0], kind)


def from_storage(value: Any, kind: dtype) -> Any:
    """A stored element as a value."""
    if kind.is_bool:
        return bool(value)
    return int(value) if kind.is_int else value


# -- running ---------------------------------------------------------------------------------------


@dataclass
class Thread:
    """What one thread knows: its variables, its private memory, and whether it left a loop."""

    number: int
    vars: dict[ir.Var, Any] = field(default_factory=dict)
    private: dict[ir.Var, Memory] = field(default_factory=dict)
    signal: str | None = None  # "break" or "continue"


class Interpreter:
    """Runs one function."""

    def __init__(self, func: PrimFunc) -> None:
        self.func = func
        self.memory: dict[ir.Var, Memory] = {}
        self.safe_values: dict[Buffer, ir.Expr] = {}
        self.must_be_in_range = False

    def run(self, arguments: Mapping[str, Any]) -> None:
        """Run with arguments by parameter name: arrays and numbers. Shapes bind dynamic extents."""
        main = Thread(0)
        for param in self.func.params:
            value = arguments[param.name]
            if isinstance(param, Buffer):
                self.memory[param.data] = Memory(value)
                self._bind_shape(main, param, value)
            elif param.dtype.kind == "handle":
                main.vars[param] = value
                self.memory[param] = Memory(value)
            else:
                main.vars[param] = convert(value, param.dtype)
        with np.errstate(all="ignore"):
            self.exec(self.func.body, [main])

    def _bind_shape(self, main: Thread, param: Buffer, value: np.ndarray) -> None:
        if value.ndim != param.ndim:
            raise InterpreterError(f"{param.name}: rank {value.ndim}, expected {param.ndim}")
        for extent, size in zip(param.shape, value.shape):
            if isinstance(extent, ir.Var):
                main.vars.setdefault(extent, size)
            elif isinstance(extent, int) and extent != size:
                raise InterpreterError(f"{param.name}: shape {value.shape}, expected {param.shape}")

    # -- statements --------------------------------------------------------------------------------

    def exec(self, stmt: st.Stmt, threads: list[Thread]) -> None:
        """Run `stmt` in all `threads` (which have not left the enclosing loop)."""
        if threads:
            getattr(self, f"_{type(stmt).__name__}")(stmt, threads)

    def _Seq(self, stmt: st.Seq, threads: list[Thread]) -> None:
        for child in stmt.stmts:
            self.exec(child, [t for t in threads if t.signal is None])

    def _Bind(self, stmt: st.Bind, threads: list[Thread]) -> None:
        for thread in threads:
            thread.vars[stmt.var] = self.value(stmt.value, thread)

    def _Allocate(self, stmt: st.Allocate, threads: list[Thread]) -> None:
        buffer = stmt.buffer
        count = math.prod(self.extents(buffer, threads[0]))
        if buffer.scope() not in (LOCAL, VAR):
            self.memory[buffer.data] = Memory.fresh(buffer.dtype, count)
            return
        for thread in threads:
            memory = thread.private[buffer.data] = Memory.fresh(buffer.dtype, count)
            if buffer.scope() == VAR:
                initial = st.annotation(stmt.annotations, keys.INIT, ir.constant(0, buffer.dtype))
                memory.view(buffer.dtype)[0] = self.value(initial, thread)  # type: ignore[arg-type]

    def _BufferStore(self, stmt: st.BufferStore, threads: list[Thread]) -> None:
        for thread in threads:
            value = self.value(stmt.value, thread)
            self.store(stmt.buffer, [self.value(i, thread) for i in stmt.indices], value, thread)

    def _Evaluate(self, stmt: st.Evaluate, threads: list[Thread]) -> None:
        for thread in threads:
            self.value(stmt.value, thread)

    def _Assert(self, stmt: st.Assert, threads: list[Thread]) -> None:
        for thread in threads:
            if not self.value(stmt.condition, thread):
                raise AssertionError(stmt.message)

    def _If(self, stmt: st.If, threads: list[Thread]) -> None:
        taken = [bool(self.value(stmt.condition, t)) for t in threads]
        self.exec(stmt.then_body, [t for t, yes in zip(threads, taken) if yes])
        if stmt.else_body is not None:
            self.exec(stmt.else_body, [t for t, yes in zip(threads, taken) if not yes])

    def _While(self, stmt: st.While, threads: list[Thread]) -> None:
        active = threads
        while True:
            active = [t for t in active if self.value(stmt.condition, t)]
            if not active:
                return
            self.exec(stmt.body, active)
            active = self._after_iteration(active)

    def _after_iteration(self, threads: list[Thread]) -> list[Thread]:
        """Those that go on; the others have left the loop and are free again."""
        staying = [t for t in threads if t.signal != "break"]
        for thread in threads:
            thread.signal = None
        return staying

    def _Break(self, stmt: st.Break, threads: list[Thread]) -> None:
        for thread in threads:
            thread.signal = "break"

    def _Continue(self, stmt: st.Continue, threads: list[Thread]) -> None:
        for thread in threads:
            thread.signal = "continue"

    def _For(self, stmt: st.For, threads: list[Thread]) -> None:
        if stmt.kind is st.LoopKind.PARALLEL:
            threads = threads[:1]  # the block runs the iterations once, whoever takes which
        bounds = [(self.value(stmt.start, t), self.value(stmt.extent, t)) for t in threads]
        active = list(zip(threads, bounds))
        iteration = 0
        while active:
            active = [(t, b) for t, b in active if iteration < b[1]]
            for thread, (start, _) in active:
                thread.vars[stmt.var] = start + iteration
            self.exec(stmt.body, [t for t, _ in active])
            staying = self._after_iteration([t for t, _ in active])
            active = [(t, b) for t, b in active if any(t is s for s in staying)]
            iteration += 1

    def _Attr(self, stmt: st.Attr, threads: list[Thread]) -> None:
        before = (self.safe_values, self.must_be_in_range)
        if stmt.key == keys.SAFE_VALUE:
            self.safe_values = {**self.safe_values, **dict(stmt.value)}  # type: ignore[call-overload]
        if stmt.key == keys.IN_RANGE:
            self.must_be_in_range = True
        if stmt.key == keys.COLLECTIVE:
            threads = threads[:1]
        self.exec(stmt.body, threads)
        self.safe_values, self.must_be_in_range = before

    def _Launch(self, stmt: st.Launch, threads: list[Thread]) -> None:
        main = threads[0]
        grid = [self.value(e, main) for e in stmt.grid_extents]
        counts = [self.value(e, main) for e in stmt.thread_extents]
        looks = {v for n in walk(stmt.body) if isinstance(n, ir.Expr) for v in used_vars(n)}
        if not looks & set(stmt.thread_vars):
            counts = [1, 1, 1]
        for block in np.ndindex(*grid[::-1]):
            made = []
            for number, (z, y, x) in enumerate(np.ndindex(*counts[::-1])):
                thread = Thread(number, dict(main.vars), dict(main.private))
                thread.vars.update(zip(stmt.grid_vars, (int(b) for b in block[::-1])))
                thread.vars.update(zip(stmt.thread_vars, (int(x), int(y), int(z))))
                made.append(thread)
            self.exec(stmt.body, made)

    def _TileOp(self, stmt: TileOp, threads: list[Thread]) -> None:
        from tests.interpreter_tiles import run_tile_op

        private = any(o.region.buffer.scope() in (LOCAL, VAR) for o in stmt.operands)
        for thread in threads if private else threads[:1]:
            run_tile_op(self, stmt, thread)

    # -- memory ------------------------------------------------------------------------------------

    def extents(self, buffer: Buffer, thread: Thread) -> list[int]:
        """The shape of `buffer` as integers."""
        return [e if isinstance(e, int) else self.value(e, thread) for e in buffer.shape]

    def layout(self, buffer: Buffer, thread: Thread) -> tuple[np.ndarray, int, list[int]]:
        """Storage as elements, offset of element 0, strides."""
        memory = thread.private.get(buffer.data) or self.memory.get(buffer.data)
        if memory is None:
            raise InterpreterError(f"`{buffer.name}` is used before it is allocated")
        strides = [self.value(ir.as_expr(s), thread) for s in buffer.strides]
        return (
            memory.view(buffer.dtype),
            self.value(ir.as_expr(buffer.elem_offset), thread),
            strides,
        )

    def place(self, buffer: Buffer, indices: Sequence[int], thread: Thread) -> int | None:
        """Element number in the storage; `None` for a global element that does not exist."""
        shape = self.extents(buffer, thread)
        for axis, (index, size) in enumerate(zip(indices, shape)):
            if not 0 <= index < size:
                if buffer.scope() == GLOBAL and not self.must_be_in_range:
                    return None
                raise InterpreterError(
                    f"`{buffer.name}`{list(indices)}: axis {axis} has {size} elements"
                )
        _, offset, strides = self.layout(buffer, thread)
        return offset + sum(i * s for i, s in zip(indices, strides))

    def safe_value(self, buffer: Buffer, thread: Thread) -> Any:
        """What a read outside `buffer` gives."""
        return convert(
            self.value(self.safe_values.get(buffer, ir.as_expr(0)), thread), buffer.dtype
        )

    def load(self, buffer: Buffer, indices: Sequence[Any], thread: Thread) -> Any:
        """One element, or a list of them for a vector index."""
        if isinstance(indices[-1], list):
            return [self.load(buffer, [*indices[:-1], i], thread) for i in indices[-1]]
        at = self.place(buffer, indices, thread)
        if at is None:
            return self.safe_value(buffer, thread)
        return from_storage(self.layout(buffer, thread)[0][at], buffer.dtype)

    def store(self, buffer: Buffer, indices: Sequence[Any], value: Any, thread: Thread) -> None:
        """Store one element, or a vector."""
        if isinstance(indices[-1], list):
            values = value if isinstance(value, list) else [value] * len(indices[-1])
            for index, lane in zip(indices[-1], values):
                self.store(buffer, [*indices[:-1], index], lane, thread)
            return
        at = self.place(buffer, indices, thread)
        if at is not None:
            self.layout(buffer, thread)[0][at] = value

    # -- expressions -------------------------------------------------------------------------------

    def value(self, node: ir.Expr, thread: Thread) -> Any:
        """The value of an expression in one thread."""
        match node:
            case ir.Var():
                return thread.vars[node]
            case ir.IntImm():
                return bool(node.value) if node.dtype.is_bool else node.value
            case ir.FloatImm():
                return round_float(node.value, node.dtype)
            case ir.BufferLoad():
                return self.load(node.buffer, [self.value(i, thread) for i in node.indices], thread)
            case ir.And() | ir.Or() if node.dtype.lanes == 1:
                a = bool(self.value(node.a, thread))
                return a if a is isinstance(node, ir.Or) else bool(self.value(node.b, thread))
            case ir.BinaryOp():
                a, b = self.value(node.a, thread), self.value(node.b, thread)
                return binary(type(node), node.a.dtype, a, b)
            case ir.Cast():
                return convert(self.value(node.value, thread), node.dtype)
            case ir.Select():
                return self._select(node, thread)
            case ir.Not():
                x = self.value(node.a, thread)
                return [not v for v in x] if isinstance(x, list) else not x
            case ir.BitNot():
                x = self.value(node.a, thread)
                kind = node.dtype.element
                return [wrap(~v, kind) for v in x] if isinstance(x, list) else wrap(~x, kind)
            case ir.Ramp():
                base, stride = self.value(node.base, thread), self.value(node.stride, thread)
                return [base + k * stride for k in range(node.lanes)]
            case ir.Broadcast():
                x = self.value(node.value, thread)
                return (x if isinstance(x, list) else [x]) * node.lanes
            case ir.Let():
                thread.vars[node.var] = self.value(node.value, thread)
                return self.value(node.body, thread)
            case ir.Call():
                return self.call(node, thread)
            case ir.StringImm():
                return node.value
            case _:
                raise InterpreterError(f"the interpreter does not know {type(node).__name__}")

    def _select(self, node: ir.Select, thread: Thread) -> Any:
        condition = self.value(node.condition, thread)
        x, y = self.value(node.then_value, thread), self.value(node.else_value, thread)
        if not isinstance(condition, list):
            return x if condition else y
        lanes = zip(
            condition, *(v if isinstance(v, list) else [v] * len(condition) for v in (x, y))
        )
        return [a if c else b for c, a, b in lanes]

    def call(self, node: ir.Call, thread: Thread) -> Any:
        """A call: lazily evaluated ones first, then those that touch memory, then pure ones."""
        op = node.op
        if op == "if_then_else":
            condition = self.value(node.args[0], thread)
            return self.value(node.args[1 if condition else 2], thread)
        if op in ("any_of", "all_of"):
            return self._quantify(node, thread)
        if op == "address_of":
            return self._address(node, thread)
        if op.startswith("atomic_"):
            return self._atomic(node, thread)
        if op == "reducer_update":
            return self._update_reducer(node, thread)
        if op == "symbol":
            return node.args[0].value  # type: ignore[attr-defined]
        args = [self.value(a, thread) for a in node.args]
        if op.startswith("tl_"):
            from tests.interpreter_device import device_function

            return device_function(op)(*args)
        if op == "reinterpret":
            return reinterpret(args[0], node.args[0].dtype, node.dtype)
        if op == "make_vector":
            return args
        if op == "extract_lane":
            return args[0][args[1]]
        if op in ("sync_threads", "sync_warp"):
            return None
        return call_pure(op, node.dtype, args)

    def _quantify(self, node: ir.Call, thread: Thread) -> bool:
        first, extent = node.args
        assert isinstance(first, ir.BufferLoad)
        *outer, last = [self.value(i, thread) for i in first.indices]
        count = self.value(extent, thread)
        found = [self.load(first.buffer, [*outer, last + k], thread) != 0 for k in range(count)]
        return any(found) if node.op == "any_of" else all(found)

    def _address(self, node: ir.Call, thread: Thread) -> Pointer:
        load = node.args[0]
        assert isinstance(load, ir.BufferLoad)
        memory = thread.private.get(load.buffer.data) or self.memory[load.buffer.data]
        _, offset, strides = self.layout(load.buffer, thread)
        indices = [self.value(i, thread) for i in load.indices]
        return Pointer(
            memory, load.buffer.dtype, offset + sum(i * s for i, s in zip(indices, strides))
        )

    def _atomic(self, node: ir.Call, thread: Thread) -> Any:
        target = node.args[0]
        assert isinstance(target, ir.BufferLoad)
        indices = [self.value(i, thread) for i in target.indices]
        old = self.load(target.buffer, indices, thread)
        if node.op == "atomic_load":
            return old
        value = self.value(node.args[1], thread)
        operations = {"add": ir.Add, "max": ir.Max, "min": ir.Min, "or": ir.BitOr}
        name = node.op.removeprefix("atomic_")
        new = (
            value if name == "store" else binary(operations[name], target.buffer.dtype, old, value)
        )
        self.store(target.buffer, indices, new, thread)
        return old

    def _update_reducer(self, node: ir.Call, thread: Thread) -> None:
        from tests.interpreter_tiles import combine_arrays

        target, value, operation = node.args
        assert isinstance(target, ir.BufferLoad)
        indices = [self.value(i, thread) for i in target.indices]
        old = self.load(target.buffer, indices, thread)
        kind = target.buffer.dtype
        assert isinstance(operation, ir.StringImm)
        new_value = np.asarray(self.value(value, thread))
        new = combine_arrays(operation.value, np.asarray(old), new_value)
        self.store(target.buffer, indices, convert(new.item(), kind), thread)


def run(func: PrimFunc, arguments: Mapping[str, Any]) -> None:
    """Run `func`; its buffers are changed in place."""
    Interpreter(func).run(arguments)
