"""Random programs of the IR, for property tests.

`functions(form)` draws whole functions that the verifier of that form accepts: parameters with
dynamic, strided and shared storage, binds, allocations, views, all loop kinds, launches, tile
operations, annotations. Expressions come folded and unfolded, over all kinds of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from tilelang.errors import Error
from tilelang.ir import expr as ir
from tilelang.ir.buffer import FRAGMENT, GLOBAL, LOCAL, SHARED, SHARED_DYN, VAR, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, IntImm, Var, constant
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Attr,
    Bind,
    Break,
    BufferStore,
    Continue,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Stmt,
    While,
    seq,
)
from tilelang.ir.tile import TileOp, TileOperand

INT_KINDS = tuple(map(dtype, ("int32", "int64", "uint8", "int8", "uint32")))
FLOAT_KINDS = tuple(map(dtype, ("float32", "float16", "bfloat16", "float64", "float8_e4m3fn")))
KINDS = (*INT_KINDS, *FLOAT_KINDS, dtype("bool"))
ARITHMETIC = (ir.Add, ir.Sub, ir.Mul, ir.Min, ir.Max)
INTEGER = (
    ir.FloorDiv, ir.FloorMod, ir.TruncDiv, ir.TruncMod, ir.ShiftLeft, ir.ShiftRight, ir.BitAnd,
    ir.BitOr, ir.BitXor,
)  # fmt: skip
COMPARISONS = (ir.EQ, ir.NE, ir.LT, ir.LE, ir.GT, ir.GE)
NAMES = st.sampled_from(["x", "y", "i", "T", "G", "for", "k.1", "", "1a", "float", "match", "x_1"])


@dataclass
class Scope:
    """What may be used at one place of a program."""

    form: str = "tile"
    vars: list[Var] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    in_loop: bool = False  # `break` may stand here
    in_launch: bool = False
    in_parallel: bool = False

    def inner(self, **changes: Any) -> Scope:
        """A nested scope: what it adds is unknown outside."""
        return replace(self, vars=list(self.vars), buffers=list(self.buffers), **changes)


@st.composite
def constants(draw: st.DrawFn, kind: dtype) -> Expr:
    """A constant of one lane."""
    if kind.is_bool:
        return IntImm(draw(st.integers(0, 1)), kind)
    if kind.is_int:
        low, high = int(kind.min_value()), int(kind.max_value())
        small = st.integers(max(low, -3), min(high, 9))
        return IntImm(draw(small | st.integers(low, high)), kind)
    number = st.sampled_from([0.0, -0.0, 1.0, 0.5, -2.5, 0.1, float("inf"), float("-inf")])
    return constant(draw(number), kind)


@st.composite
def exprs(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int = 3) -> Expr:
    """An expression of `kind` over what is in `scope`."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(leaves(scope, kind))
    makers = [_cast, _select, _conditional, _let, _load, _call]
    makers += [_binary] * 4 + ([_logic] * 4 if kind.is_bool else [])
    return draw(st.sampled_from(makers))(draw, scope, kind, depth - 1)


@st.composite
def leaves(draw: st.DrawFn, scope: Scope, kind: dtype) -> Expr:
    found = [v for v in scope.vars if v.dtype == kind]
    if found and draw(st.booleans()):
        return draw(st.sampled_from(found))
    others = [v for v in scope.vars if v.dtype.kind not in ("handle", "void") and v.dtype != kind]
    if others and draw(st.integers(0, 3)) == 0:
        return ir.Cast(draw(st.sampled_from(others)), kind)
    return draw(constants(kind))


def _binary(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> Expr:
    if kind.is_bool:
        other = draw(st.sampled_from(KINDS))
        operator: type[ir.BinaryOp] = draw(st.sampled_from(COMPARISONS))
    else:
        other = kind
        more = (*INTEGER, ir.Add) if kind.is_int else (ir.Div,)
        operator = draw(st.sampled_from((*ARITHMETIC, *more)))
    a, b = draw(exprs(scope, other, depth)), draw(exprs(scope, other, depth))
    return draw(built(operator, a, b))


@st.composite
def built(draw: st.DrawFn, operator: type[ir.BinaryOp], a: Expr, b: Expr) -> Expr:
    """`operator` over the operands: as users build it, or as a bare node."""
    raw = operator(a, b)
    if draw(st.booleans()):
        try:
            made = ir.FOLDING[operator](a, b)
        except Error:
            return raw
        return made if made.dtype == raw.dtype else raw
    return raw


def _logic(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> Expr:
    a, b = draw(exprs(scope, kind, depth)), draw(exprs(scope, kind, depth))
    if draw(st.integers(0, 2)) == 0:
        return ir.Not(a) if draw(st.booleans()) else ir.logical_not(a)
    return draw(built(draw(st.sampled_from((ir.And, ir.Or))), a, b))


def _cast(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> Expr:
    value = draw(exprs(scope, draw(st.sampled_from(KINDS)), depth))
    return ir.cast(value, kind) if draw(st.booleans()) else ir.Cast(value, kind)


def _choice(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> tuple[Expr, Expr, Expr]:
    condition = draw(exprs(scope, dtype("bool"), depth))
    return condition, draw(exprs(scope, kind, depth)), draw(exprs(scope, kind, depth))


def _select(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> Expr:
    parts = _choice(draw, scope, kind, depth)
    return ir.select(*parts) if draw(st.booleans()) else ir.Select(*parts)


def _conditional(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> Expr:
    parts = _choice(draw, scope, kind, depth)
    if draw(st.booleans()):
        return ir.if_then_else(*parts)
    return ir.Call("if_then_else", parts, kind)


def _let(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> Expr:
    value = draw(exprs(scope, draw(st.sampled_from(KINDS)), depth))
    inner = scope.inner()
    var = Var(draw(NAMES), value.dtype)
    inner.vars.append(var)
    return ir.Let(var, value, draw(exprs(inner, kind, depth)))


def _call(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> Expr:
    value = draw(exprs(scope, kind, depth))
    match draw(st.integers(0, 4)):
        case 0:
            return ir.negate(value) if not kind.is_bool else ir.Call("neg", (value,), kind)
        case 1:
            return ir.BitNot(value) if kind.is_int else ir.Call("exp", (value,), kind)
        case 2:
            vector = ir.Broadcast(value, draw(st.integers(2, 4)))
            return ir.Call("extract_lane", (vector, ir.as_expr(1)), kind)
        case 3:
            ramp = ir.Ramp(ir.as_expr(1), draw(exprs(scope, dtype("int32"), depth)), 4)
            return ir.Call("lane_sum", (ramp, ir.as_expr("a'\"\n"), value), kind)
        case _:
            return ir.Call("no_argument", (), kind)


def _load(draw: st.DrawFn, scope: Scope, kind: dtype, depth: int) -> Expr:
    found = [b for b in scope.buffers if b.dtype == kind]
    if not found:
        return draw(leaves(scope, kind))
    buffer = draw(st.sampled_from(found))
    return ir.BufferLoad(buffer, draw(indices(scope, buffer, depth)))


@st.composite
def indices(draw: st.DrawFn, scope: Scope, buffer: Buffer, depth: int = 1) -> tuple[Expr, ...]:
    """One scalar index per axis; constants stay inside."""
    made: list[Expr] = []
    for extent in buffer.shape:
        index = draw(exprs(scope, draw(st.sampled_from(INT_KINDS[:2])), depth))
        if isinstance(index, IntImm):
            limit = extent if isinstance(extent, int) else 4
            index = IntImm(index.value % limit, index.dtype)
        made.append(index)
    return tuple(made)


@st.composite
def regions(draw: st.DrawFn, scope: Scope) -> ir.BufferRegion:
    """A box of a buffer, sometimes the whole of it."""
    buffer = draw(st.sampled_from(scope.buffers))
    if draw(st.booleans()):
        return buffer.region()
    ranges: list[ir.Range] = []
    for _ in buffer.shape:
        start = draw(exprs(scope, dtype("int32"), 1))
        ranges.append(ir.Range(start, draw(st.sampled_from([1, 2, 16]).map(ir.as_expr))))
    return ir.BufferRegion(buffer, tuple(ranges))


# -- statements -----------------------------------------------------------------------------------


@st.composite
def blocks(draw: st.DrawFn, scope: Scope, depth: int = 2) -> Stmt:
    """Up to four statements in a scope of their own; `scope` is used up."""
    made: list[Stmt] = []
    for _ in range(draw(st.integers(0, 4))):
        made.extend(draw(statements(scope, depth)))
    return seq(made)


@st.composite
def statements(draw: st.DrawFn, scope: Scope, depth: int) -> list[Stmt]:
    makers = [_bind, _allocate, _store, _store, _evaluate, _assert]
    if scope.in_loop:
        makers.append(_jump)
    if depth > 0:
        makers += [_loop, _loop, _while, _if, _attr]
        if not scope.in_launch:
            makers += [_launch, _launch]
    if scope.form == "tile" and not scope.in_parallel and scope.buffers:
        makers += [_tile_op, _tile_op]
    made = draw(st.sampled_from(makers))(draw, scope, depth - 1)
    return made if isinstance(made, list) else [made]


def _bind(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    value = draw(exprs(scope, draw(st.sampled_from(KINDS))))
    var = Var(draw(NAMES), value.dtype)
    scope.vars.append(var)
    return Bind(var, value)


def _allocate(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt | list[Stmt]:
    kind = draw(st.sampled_from(KINDS))
    place = draw(st.sampled_from((SHARED, SHARED_DYN, FRAGMENT, LOCAL, VAR, GLOBAL)))
    shape = (1,) if place == VAR else draw(st.sampled_from([(4,), (16, 8), (2, 3, 4)]))
    strides = (8, 1) if len(shape) == 2 and draw(st.integers(0, 5)) == 0 else None
    buffer = Buffer(draw(NAMES), shape, kind, place, strides=strides)
    scope.buffers.append(buffer)
    annotations = draw(annotation_pairs(("init", "user.hint")))
    made: list[Stmt] = [Allocate(buffer, annotations)]
    if place == VAR and draw(st.booleans()):
        made.append(BufferStore(buffer, draw(constants(kind)), (ir.as_expr(0),)))
    if place != VAR and draw(st.integers(0, 3)) == 0:
        view = Buffer(
            draw(NAMES), (8,), kind, place, data=buffer.data, elem_offset=draw(st.integers(0, 2))
        )
        scope.buffers.append(view)
    return made


def _store(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    if not scope.buffers:
        return _evaluate(draw, scope, depth)
    buffer = draw(st.sampled_from(scope.buffers))
    value = draw(exprs(scope, buffer.dtype))
    place = draw(indices(scope, buffer))
    if draw(st.integers(0, 5)) == 0:
        place = (*place[:-1], ir.Ramp(place[-1], ir.constant(1, place[-1].dtype), 2))
        value = ir.Broadcast(value, 2)
    return BufferStore(buffer, value, place)


def _evaluate(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    if draw(st.booleans()):
        return Evaluate(ir.call("sync", draw(constants(dtype("int32"))), dtype="handle"))
    return Evaluate(draw(exprs(scope, draw(st.sampled_from(KINDS)))))


def _assert(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    message = draw(st.text(max_size=6))
    return Assert(draw(exprs(scope, dtype("bool"))), message)


def _jump(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    return draw(st.sampled_from([Break, Continue]))()


def _loop(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    kinds = list(LoopKind)
    if scope.form == "thread":
        kinds = [k for k in kinds if k not in (LoopKind.PARALLEL, LoopKind.PIPELINED)]
    kind = draw(st.sampled_from(kinds))
    number = draw(st.sampled_from(INT_KINDS[:2]))
    start = draw(st.just(ir.as_expr(0)) | exprs(scope, number, 1))
    extent = draw(exprs(scope, number, 1))
    var = Var(draw(NAMES), draw(st.sampled_from([number, number, dtype("int64")])))
    is_leavable = kind in (LoopKind.SERIAL, LoopKind.UNROLLED)
    is_parallel = scope.in_parallel or kind is LoopKind.PARALLEL
    inner = scope.inner(in_loop=is_leavable, in_parallel=is_parallel)
    inner.vars.append(var)
    annotations = draw(annotation_pairs(("num_stages", "order", "coalesced_width", "user.key")))
    body = draw(blocks(inner, depth))
    return For(var, start, extent, kind, body, annotations)


def _while(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    condition = draw(exprs(scope, dtype("bool")))
    return While(condition, draw(blocks(scope.inner(in_loop=True), depth)))


def _if(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    condition = draw(exprs(scope, dtype("bool")))
    then_body = draw(blocks(scope.inner(), depth))
    else_body = draw(st.none() | blocks(scope.inner(), depth))
    return If(condition, then_body, else_body)


def _attr(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    key = draw(st.sampled_from(["use_swizzle", "safe_value", "warp_groups", "user.key"]))
    value = draw(annotation_values(scope))
    return Attr(key, value, draw(blocks(scope.inner(), depth)))


def _launch(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    count = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(INT_KINDS[:2]))
    grid = tuple(draw(exprs(scope, kind, 1)) for _ in range(count))
    threads = tuple(ir.as_expr(draw(st.sampled_from([1, 32, 128]))) for _ in range(3))
    grid_vars = tuple(Var(draw(NAMES), kind) for _ in grid)
    thread_vars = tuple(Var(draw(NAMES)) for _ in threads)
    inner = scope.inner(in_launch=True, in_loop=False)
    inner.vars += [*grid_vars, *thread_vars]
    annotations = draw(annotation_pairs(("prelude",)))
    body = draw(blocks(inner, depth))
    return Launch(grid_vars, grid, thread_vars, threads, body, annotations)


@st.composite
def known_tile_ops(draw: st.DrawFn, scope: Scope) -> TileOp:
    """Operations of the language: their operand names, over regions that may or may not fit."""

    def operands(**accesses: Any) -> tuple[TileOperand, ...]:
        return tuple(TileOperand(n, draw(regions(scope)), a) for n, a in accesses.items())

    match draw(st.integers(0, 2)):
        case 0:
            return TileOp("copy", operands(src="r", dst="w"))
        case 1:
            (target,) = operands(dst="w")
            kind = target.region.buffer.dtype
            value = draw(constants(kind) | exprs(scope, kind, 1))
            return TileOp("fill", (target,), (("value", value),))
        case _:
            clear = draw(exprs(scope, dtype("bool"), 1))
            flags = tuple((f"transpose_{x}", draw(st.booleans())) for x in "AB")
            policy = (("policy", draw(st.integers(0, 3))),)
            three = operands(A="r", B="r", C="rw")
            return TileOp("gemm", three, (("clear_accum", clear),), (*flags, *policy))


def _tile_op(draw: st.DrawFn, scope: Scope, depth: int) -> Stmt:
    if draw(st.booleans()):
        return draw(known_tile_ops(scope))
    operands = tuple(
        TileOperand(f"operand{k}", draw(regions(scope)), draw(st.sampled_from(["r", "w", "rw"])))
        for k in range(draw(st.integers(1, 3)))
    )
    values = (("clear", draw(exprs(scope, dtype("bool")))),) if draw(st.booleans()) else ()
    attributes = draw(annotation_pairs(("policy", "k_pack")))
    return TileOp(draw(st.sampled_from(["copy", "gemm", "odd op"])), operands, values, attributes)


# -- annotations and functions --------------------------------------------------------------------

PLAIN_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(KINDS)
    | st.floats(allow_nan=True),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)  # fmt: skip


@st.composite
def annotation_pairs(draw: st.DrawFn, names: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """Usually none; each key at most once."""
    if draw(st.integers(0, 3)):
        return ()
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=2))
    return tuple((name, draw(PLAIN_VALUES)) for name in chosen)


@st.composite
def annotation_values(draw: st.DrawFn, scope: Scope) -> Any:
    """A plain value, or a tuple with buffers and expressions of the scope."""
    if not scope.buffers or draw(st.booleans()):
        return draw(PLAIN_VALUES)
    buffer = draw(st.sampled_from(scope.buffers))
    return ((buffer, draw(exprs(scope, buffer.dtype, 1))),)


@st.composite
def functions(draw: st.DrawFn, form: str = "tile") -> PrimFunc:
    """A function that is right for `form`."""
    n = Var("n", draw(st.sampled_from(["int32", "int64"])))
    scope = Scope(form)
    params: list[Any] = []
    for name in ("A", "B", "C")[: draw(st.integers(0, 3))]:
        shape = draw(st.sampled_from([(16, 8), (n, 4), (ir.add(ir.mul(n, 2), 1),), (7,)]))
        strides = draw(st.sampled_from([None, None, (*(3,) * (len(shape) - 1), 1)]))
        data = params[0].data if params and draw(st.integers(0, 5)) == 0 else None
        offset = draw(st.sampled_from([0, 0, 0, 5]))
        kind = draw(st.sampled_from(KINDS))
        params.append(Buffer(name, shape, kind, strides=strides, data=data, elem_offset=offset))
    scope.buffers += params
    uses_n = any(isinstance(e, Expr) for b in params for e in b.shape)
    if uses_n:
        scope.vars.append(n)
        if draw(st.integers(0, 2)) == 0:
            params.append(n)
    for _ in range(draw(st.integers(0, 2))):
        scalar = Var(draw(NAMES), draw(st.sampled_from((*KINDS, dtype("handle")))))
        params.append(scalar)
        scope.vars.append(scalar)
    attributes = draw(annotation_pairs(("global_symbol", "tilelang_out_idx", "target")))
    name = draw(st.sampled_from(["kernel", "main", "odd name", "T"]))
    return PrimFunc(name, tuple(params), draw(blocks(scope, 2)), attributes)
