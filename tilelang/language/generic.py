"""Explicit forms of IR nodes, for printed programs (`func.script()` imports this module as `G`).

The functions of `tilelang.language` convert, fold, check and shorten what a user writes. Those here
make the node they are given and nothing else, so that a printed function comes back as it was, in
the tile form and in the thread form. People who edit a dump meet them; kernels do without.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tilelang.errors import ArgumentError, LanguageError
from tilelang.ir import expr as ir_expr
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import BufferRegion, Call, Expr, Let, Range, Var, as_expr
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import (
    Allocate,
    Annotations,
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
)
from tilelang.ir.tile import Access, TileOp, TileOperand
from tilelang.language.builder import Builder, current, emit, is_tracing
from tilelang.language.loops import LoopFrame
from tilelang.language.scopes import Scope
from tilelang.language.v2.scalar_annot import UNNAMED

# -- expressions ----------------------------------------------------------------------------------


def node(kind: str, *fields: Any) -> Any:
    """The expression class `kind` (or `Range`) with these fields, unfolded.

    Raises:
        ArgumentError: for a name that is no expression class.
    """
    found = getattr(ir_expr, kind, None)
    if not (isinstance(found, type) and issubclass(found, (Expr, Range))):
        raise ArgumentError(f"node: {kind!r} is no expression class")
    make: Any = found
    named = zip(found.fields, fields)
    return make(*(DType(value) if name == "dtype" else value for name, value in named))


def call(op: str, *args: Any, dtype: Any) -> Expr:
    """The call of the operation `op`; numbers and strings become constants."""
    return Call(op, tuple(as_expr(a) for a in args), DType(dtype))


def let(value: Expr, body: Callable[[Var], Any], dtype: Any = None) -> Expr:
    """`body(x)` where `x` stands for `value`, evaluated once."""
    var = Var("x", value.dtype if dtype is None else DType(dtype))
    return Let(var, value, body(var))


def variable(name: str, dtype: Any) -> Var:
    """A free variable."""
    return Var(name, DType(dtype))


def region(buffer: Buffer, *ranges: tuple[Any, Any]) -> BufferRegion:
    """The box with a (start, extent) per axis."""
    return BufferRegion(buffer, tuple(Range(as_expr(s), as_expr(e)) for s, e in ranges))


# -- storage --------------------------------------------------------------------------------------


def buffer(
    shape: Sequence[Any],
    dtype: Any,
    *,
    scope: str = GLOBAL,
    data: Var | None = None,
    strides: Sequence[Any] | None = None,
    elem_offset: Any = 0,
) -> Buffer:
    """A buffer without a statement: a view of `data`, or a parameter when used as an annotation."""
    made = Buffer(UNNAMED, shape, dtype, scope, strides=strides, data=data, elem_offset=elem_offset)
    if is_tracing():
        current().name_later(made)
    return made


def allocate(made: Buffer, *, annotations: Annotations = ()) -> Buffer:
    """The buffer exists from here to the end of the block."""
    emit(Allocate(made, annotations))
    return made


# -- statements -----------------------------------------------------------------------------------


def bind(value: Expr, dtype: Any = None) -> Var:
    """A name for `value`, even where `x = value` would be no statement."""
    var = Var("x", value.dtype if dtype is None else DType(dtype))
    current().name_later(var)
    emit(Bind(var, value))
    return var


def store(target: Buffer, value: Expr, indices: Sequence[Any]) -> None:
    """A store without conversion or checks."""
    emit(BufferStore(target, value, tuple(as_expr(i) for i in indices)))


def evaluate(value: Any) -> None:
    """An expression as a statement, kept even when it has no effect."""
    emit(Evaluate(as_expr(value)))


def assert_(condition: Expr, message: str) -> None:
    """An assertion, kept even when its condition is a constant."""
    emit(Assert(condition, message))


def jump(word: str) -> None:
    """`break` or `continue` as a plain statement: what follows in the block is kept."""
    emit(Break() if word == "break" else Continue())


def tile_op(
    op: str,
    operands: Sequence[tuple[str, Any, Access]],
    values: Sequence[tuple[str, Any]] = (),
    attributes: Annotations = (),
) -> None:
    """A tile operation by name; an operand is (name, buffer or region, "r", "w" or "rw")."""
    made = tuple(TileOperand(n, _region_of(place), access) for n, place, access in operands)
    scalars = tuple((n, as_expr(v)) for n, v in values)
    emit(TileOp(op, made, scalars, attributes))


def _region_of(place: Any) -> BufferRegion:
    return place.region() if isinstance(place, Buffer) else place


# -- blocks ---------------------------------------------------------------------------------------


@contextmanager
def _block(kind: str, make: Callable[[Scope], Stmt | None]) -> Generator[None]:
    """A nested block; the statement that `make` gives for it is emitted."""
    builder = current()
    with builder.block(kind) as scope:
        yield
    made = make(scope)
    if made is not None:
        builder.emit(made)


def attribute(key: str, value: Any) -> Any:
    """`with G.attribute(key, value):` an attribute of the body."""
    return _block("with", lambda scope: Attr(key, value, scope.body()))


def while_(condition: Expr) -> Any:
    """`with G.while_(c):` a loop whose condition may be a constant."""
    return _block("while", lambda scope: While(condition, scope.body()))


def branch(condition: Expr) -> Any:
    """`with G.branch(c):` an `if` whose condition may be a constant; see `otherwise`."""
    return _block("if", lambda scope: If(condition, scope.body()))


def otherwise() -> Any:
    """`with G.otherwise():` the other side of the branch just before.

    Raises:
        LanguageError: where no branch without another side comes before.
    """
    statements = current().scopes[-1].stmts
    last = statements[-1] if statements else None
    if not isinstance(last, If) or last.else_body is not None:
        raise LanguageError("otherwise: there is no branch before it")

    def make(scope: Scope) -> None:
        statements[-1] = replace(last, else_body=scope.body())

    return _block("else", make)


class _ExactLoop(LoopFrame):
    """A loop whose variable has a dtype of its own."""

    def __init__(
        self, start: Any, extent: Any, kind: str, dtype: DType, annotations: Annotations
    ) -> None:
        super().__init__(LoopKind(kind), [(start, extent)], annotations, label="for")
        self.dtype = dtype

    def run(self, builder: Builder) -> Iterator[Any]:
        var = Var("i", self.dtype)
        builder.name_later(var)
        with builder.block("for") as scope:
            builder.loops.append("ir")
            yield var
            builder.loops.pop()
        start, extent = self.ranges[0]
        made = For(var, start, extent, self.kind, scope.body(), self.annotations, span=self.span)
        builder.emit(made)


def loop(
    start: Any, extent: Any, kind: str, *, dtype: Any = "int32", annotations: Annotations = ()
) -> LoopFrame:
    """`for i in G.loop(start, extent, "serial"):` one loop of any kind, as given."""
    return _ExactLoop(start, extent, kind, DType(dtype), annotations)


@contextmanager
def launch(
    grid: Sequence[Any],
    threads: Sequence[Any],
    *,
    dtypes: Sequence[str] | None = None,
    annotations: Annotations = (),
) -> Generator[tuple[tuple[Var, ...], tuple[Var, ...]]]:
    """`with G.launch([...], [...]) as ((bx, by), (tx, ty, tz)):` a launch as given."""
    builder = current()
    kinds = ["int32"] * (len(grid) + len(threads)) if dtypes is None else list(dtypes)
    made = tuple(Var("i", DType(kind)) for kind in kinds)
    for var in made:
        builder.name_later(var)
    blocks, lanes = made[: len(grid)], made[len(grid) :]
    with builder.block("with") as scope:
        yield blocks, lanes
    extents = tuple(map(as_expr, grid)), tuple(map(as_expr, threads))
    builder.emit(Launch(blocks, extents[0], lanes, extents[1], scope.body(), annotations))


# -- functions ------------------------------------------------------------------------------------


def attributes(pairs: Annotations) -> None:
    """Attributes of the function being traced."""
    current().attributes.update(pairs)


def renamed(function: PrimFunc, name: str) -> PrimFunc:
    """The same function under a name that Python could not give it."""
    return replace(function, name=name)


def module(functions: Mapping[str, PrimFunc], pairs: Annotations = ()) -> IRModule:
    """A module of functions."""
    return IRModule(functions, pairs)


def unpacked(text: str) -> Any:
    """An annotation object without a textual form, from its pickled bytes (base64)."""
    import base64  # 2 ms of every program's start, for what few printed texts contain
    import pickle

    return pickle.loads(base64.b64decode(text))


__all__ = [
    "allocate", "assert_", "attribute", "attributes", "bind", "branch", "buffer", "call",
    "evaluate", "jump", "launch", "let", "loop", "module", "node", "otherwise", "region", "renamed",
    "store", "tile_op", "unpacked", "variable", "while_",
]  # fmt: skip
