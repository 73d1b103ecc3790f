"""Expressions of the IR.

    Expr := Var(name, dtype) | IntImm(value, dtype) | FloatImm(value, dtype) | StringImm(value)
          | BinaryOp(a, b) | Not(a) | BitNot(a) | Select(condition, then_value, else_value)
          | Cast(value, dtype) | BufferLoad(buffer, indices) | Ramp(base, stride, lanes)
          | Broadcast(value, lanes) | Let(var, value, body) | Call(op, args, dtype)
    BinaryOp := Add | Sub | Mul | Div | FloorDiv | FloorMod | TruncDiv | TruncMod | Min | Max
          | EQ | NE | LT | LE | GT | GE | And | Or
          | ShiftLeft | ShiftRight | BitAnd | BitOr | BitXor
    BufferRegion(buffer, ranges)    a buffer with a Range per axis; no Expr, but usable as a vector
    Range(start, extent)

Users and passes build expressions with Python operators and with the functions of this module. They
convert operands to one type, fold constants and apply trivial integer identities; `arith` knows the
rest.

`Div` is real division of floats. `FloorDiv`/`FloorMod` round towards minus infinity, `TruncDiv`/
`TruncMod` towards zero. Integer arithmetic does not overflow by contract. `Select` evaluates both
sides; the call `if_then_else` only the chosen one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArithmeticFault,
    DTypeError,
    LanguageError,
)
from tilelang.ir.dtype import dtype
from tilelang.ir.node import Node, node, replace
from tilelang.ir.number import promote, round_float, trunc_div, wrap

if TYPE_CHECKING:
    from tilelang.ir.buffer import Buffer

BOOL = dtype("bool")
INT32 = dtype("int32")
INT64 = dtype("int64")
FLOAT32 = dtype("float32")
HANDLE = dtype("handle")
STRING = dtype("void")

Number: TypeAlias = "bool | int | float"
ExprLike: TypeAlias = "Expr | Operand | bool | int | float"


class Operand:
    """Python's operators for whatever can stand for an expression.

    A subclass is an `Expr`, or gives one through `as_load()`.
    """

    __slots__ = ()

    def as_load(self) -> Expr:
        raise NotImplementedError(f"{type(self).__name__} has no value")

    def __add__(self, other: ExprLike) -> Expr:
        return add(self, other)

    def __radd__(self, other: ExprLike) -> Expr:
        return add(other, self)

    def __sub__(self, other: ExprLike) -> Expr:
        return sub(self, other)

    def __rsub__(self, other: ExprLike) -> Expr:
        return sub(other, self)

    def __mul__(self, other: ExprLike) -> Expr:
        return mul(self, other)

    def __rmul__(self, other: ExprLike) -> Expr:
        return mul(other, self)

    def __truediv__(self, other: ExprLike) -> Expr:
        return div(self, other)

    def __rtruediv__(self, other: ExprLike) -> Expr:
        return div(other, self)

    def __floordiv__(self, other: ExprLike) -> Expr:
        return floordiv(self, other)

    def __rfloordiv__(self, other: ExprLike) -> Expr:
        return floordiv(other, self)

    def __mod__(self, other: ExprLike) -> Expr:
        return floormod(self, other)

    def __rmod__(self, other: ExprLike) -> Expr:
        return floormod(other, self)

    def __pow__(self, other: ExprLike) -> Expr:
        raise LanguageError("`**` works on Python numbers only", hint="use T.pow(x, n)")

    def __rpow__(self, other: ExprLike) -> Expr:
        raise LanguageError("`**` works on Python numbers only", hint="use T.pow(x, n)")

    def __lshift__(self, other: ExprLike) -> Expr:
        return shift_left(self, other)

    def __rlshift__(self, other: ExprLike) -> Expr:
        return shift_left(other, self)

    def __rshift__(self, other: ExprLike) -> Expr:
        return shift_right(self, other)

    def __rrshift__(self, other: ExprLike) -> Expr:
        return shift_right(other, self)

    def __and__(self, other: ExprLike) -> Expr:
        return bitwise_and(self, other)

    def __rand__(self, other: ExprLike) -> Expr:
        return bitwise_and(other, self)

    def __or__(self, other: ExprLike) -> Expr:
        return bitwise_or(self, other)

    def __ror__(self, other: ExprLike) -> Expr:
        return bitwise_or(other, self)

    def __xor__(self, other: ExprLike) -> Expr:
        return bitwise_xor(self, other)

    def __rxor__(self, other: ExprLike) -> Expr:
        return bitwise_xor(other, self)

    def __neg__(self) -> Expr:
        return negate(self)

    def __pos__(self) -> Expr:
        return as_expr(self)

    def __invert__(self) -> Expr:
        return bitwise_not(self)

    def __abs__(self) -> Expr:
        value = as_expr(self)
        return call("abs", value, dtype=value.dtype)

    def __lt__(self, other: ExprLike) -> Expr:
        return less(self, other)

    def __le__(self, other: ExprLike) -> Expr:
        return less_equal(self, other)

    def __gt__(self, other: ExprLike) -> Expr:
        return greater(self, other)

    def __ge__(self, other: ExprLike) -> Expr:
        return greater_equal(self, other)

    def __eq__(self, other: object) -> Any:
        return equal(self, other) if _is_expr_like(other) else NotImplemented

    def __ne__(self, other: object) -> Any:
        return not_equal(self, other) if _is_expr_like(other) else NotImplemented

    __hash__ = object.__hash__

    def astype(self, kind: Any) -> Expr:
        """This value converted to dtype `kind`."""
        return cast(self, dtype(kind))


class Expr(Operand, Node):
    """A value. `dtype` is its element type with lanes: a declared field, or derived when built."""

    __slots__ = ("dtype",)
    dtype: dtype

    def as_load(self) -> Expr:
        return self

    def __bool__(self) -> bool:
        raise LanguageError(
            f"the value of `{self}` is known only when the kernel runs, but Python needs it now",
            self.span,
            hint="write `if`/`while` directly in the kernel body, or use T.if_then_else(c, a, b)",
        )

    def __index__(self) -> int:
        raise ArgumentTypeError(
            f"`{self}` is not a constant, so Python cannot use it as an integer"
        )

    def __int__(self) -> int:
        return self.__index__()

    def __getitem__(self, index: Any) -> Expr:
        if self.dtype.lanes > 1 and isinstance(index, int):
            return call("extract_lane", self, index, dtype=self.dtype.element)
        raise ArgumentTypeError(f"`{self}` is a {self.dtype} value and cannot be indexed")

    def __iter__(self) -> Any:
        raise ArgumentTypeError(f"`{self}` is one {self.dtype} value and cannot be unpacked")


@node
class Var(Expr):
    """A named value; two variables are the same only if they are the same object."""

    name: str
    dtype: dtype = INT32

    def __post_init__(self) -> None:
        self.dtype = dtype(self.dtype)


@node
class IntImm(Expr):
    value: int
    dtype: dtype = INT32

    def __bool__(self) -> bool:
        return self.value != 0

    def __index__(self) -> int:
        return self.value

    def __float__(self) -> float:
        return float(self.value)


@node
class FloatImm(Expr):
    value: float
    dtype: dtype = FLOAT32

    def __bool__(self) -> bool:
        return self.value != 0.0

    def __float__(self) -> float:
        return self.value

    def __int__(self) -> int:
        return int(self.value)


@node
class StringImm(Expr):
    value: str
    dtype: dtype = STRING


@node
class BinaryOp(Expr):
    """Two operands of one dtype; comparisons and logic give `bool`, everything else that dtype."""

    symbol: ClassVar[str] = "?"
    is_predicate: ClassVar[bool] = False

    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        assert self.a.dtype == self.b.dtype, (
            f"{type(self).__name__}: {self.a.dtype} and {self.b.dtype}"
        )
        self.dtype = BOOL.with_lanes(self.a.dtype.lanes) if self.is_predicate else self.a.dtype


class Add(BinaryOp):
    __slots__ = ()
    symbol = "+"


class Sub(BinaryOp):
    __slots__ = ()
    symbol = "-"


class Mul(BinaryOp):
    __slots__ = ()
    symbol = "*"


class Div(BinaryOp):
    __slots__ = ()
    symbol = "/"


class FloorDiv(BinaryOp):
    __slots__ = ()
    symbol = "//"


class FloorMod(BinaryOp):
    __slots__ = ()
    symbol = "%"


class TruncDiv(BinaryOp):
    __slots__ = ()
    symbol = "truncdiv"


class TruncMod(BinaryOp):
    __slots__ = ()
    symbol = "truncmod"


class Min(BinaryOp):
    __slots__ = ()
    symbol = "min"


class Max(BinaryOp):
    __slots__ = ()
    symbol = "max"


class ShiftLeft(BinaryOp):
    __slots__ = ()
    symbol = "<<"


class ShiftRight(BinaryOp):
    __slots__ = ()
    symbol = ">>"


class BitAnd(BinaryOp):
    __slots__ = ()
    symbol = "&"


class BitOr(BinaryOp):
    __slots__ = ()
    symbol = "|"


class BitXor(BinaryOp):
    __slots__ = ()
    symbol = "^"


class Comparison(BinaryOp):
    __slots__ = ()
    is_predicate = True


class EQ(Comparison):
    __slots__ = ()
    symbol = "=="

    def __bool__(
        self,
    ) -> bool:  # Python asks for the truth of `a == b` in `in`, list comparison, assert
        return _same(self.a, self.b)


class NE(Comparison):
    __slots__ = ()
    symbol = "!="

    def __bool__(self) -> bool:
        return not _same(self.a, self.b)


class LT(Comparison):
    __slots__ = ()
    symbol = "<"


class LE(Comparison):
    __slots__ = ()
    symbol = "<="


class GT(Comparison):
    __slots__ = ()
    symbol = ">"


class GE(Comparison):
    __slots__ = ()
    symbol = ">="


class And(BinaryOp):
    __slots__ = ()
    symbol = "and"
    is_predicate = True


class Or(BinaryOp):
    __slots__ = ()
    symbol = "or"
    is_predicate = True


@node
class Not(Expr):
    a: Expr

    def __post_init__(self) -> None:
        self.dtype = self.a.dtype


@node
class BitNot(Expr):
    a: Expr

    def __post_init__(self) -> None:
        self.dtype = self.a.dtype


@node
class Select(Expr):
    """Both values are evaluated."""

    condition: Expr
    then_value: Expr
    else_value: Expr

    def __post_init__(self) -> None:
        self.dtype = self.then_value.dtype


@node
class Cast(Expr):
    value: Expr
    dtype: dtype


@node
class BufferLoad(Expr):
    """One element, or as many as the last index has lanes. `len(indices) == len(buffer.shape)`."""

    buffer: Buffer
    indices: tuple[Expr, ...]

    def __post_init__(self) -> None:
        lanes = self.indices[-1].dtype.lanes if self.indices else 1
        self.dtype = self.buffer.dtype if lanes == 1 else self.buffer.dtype.with_lanes(lanes)


@node
class Ramp(Expr):
    """`base, base + stride, ...`, `lanes` values."""

    base: Expr
    stride: Expr
    lanes: int

    def __post_init__(self) -> None:
        self.dtype = self.base.dtype.with_lanes(self.lanes)


@node
class Broadcast(Expr):
    value: Expr
    lanes: int

    def __post_init__(self) -> None:
        self.dtype = self.value.dtype.element.with_lanes(self.lanes * self.value.dtype.lanes)


@node
class Let(Expr):
    """`body` with `var` standing for `value`, which is evaluated once."""

    var: Var
    value: Expr
    body: Expr

    def __post_init__(self) -> None:
        self.dtype = self.body.dtype


@node
class Call(Expr):
    """An operation by name; `ir.ops` says what each name means and whether it has effects."""

    op: str
    args: tuple[Expr, ...]
    dtype: dtype


@node
class Range(Node):
    """`extent` integers from `start` on."""

    start: Expr
    extent: Expr


@node
class BufferRegion(Operand, Node):
    """A box of a buffer: one Range per axis. As a value it is the vector along its last axis."""

    buffer: Buffer
    ranges: tuple[Range, ...]

    @property
    def dtype(self) -> dtype:
        return self.buffer.dtype

    @property
    def extents(self) -> tuple[Expr, ...]:
        return tuple(r.extent for r in self.ranges)

    @property
    def starts(self) -> tuple[Expr, ...]:
        return tuple(r.start for r in self.ranges)

    @property
    def shape(self) -> tuple[Expr | int, ...]:
        return tuple(e.value if isinstance(e, IntImm) else e for e in self.extents)

    def as_load(self) -> Expr:
        """The region as a vector value: all extents but the last must be 1, the last a constant."""
        *outer, last = self.ranges
        if any(not is_const(r.extent, 1) for r in outer) or not isinstance(last.extent, IntImm):
            raise LanguageError(
                f"`{self}` is a region; only a constant slice of the last axis is a (vector) value",
                hint="use T.copy, or T.Parallel over its elements",
            )
        lanes = last.extent.value
        index = last.start if lanes == 1 else Ramp(last.start, constant(1, last.start.dtype), lanes)
        return BufferLoad(self.buffer, (*(r.start for r in outer), index))


# -- building ------------------------------------------------------------------------------------


def _is_expr_like(value: object) -> bool:
    return isinstance(value, (Operand, bool, int, float))


def as_expr(value: Any) -> Expr:
    """`value` as an expression: numbers become int32 (int64 when too large), float32 or bool.

    Raises:
        ArgumentTypeError: for anything that is neither a number nor stands for an expression.
    """
    if isinstance(value, Expr):
        return value
    if isinstance(value, Operand):
        return value.as_load()
    if isinstance(value, bool):
        return IntImm(int(value), BOOL)
    if isinstance(value, int):
        return IntImm(value, INT32 if -(1 << 31) <= value < (1 << 31) else INT64)
    if isinstance(value, float):
        return FloatImm(value)
    if isinstance(value, str):
        return StringImm(str(value))
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # NumPy scalars
        return as_expr(value.item())
    raise ArgumentTypeError(
        f"expected a number or an expression, got {type(value).__name__} {value!r}"
    )


def constant(value: Number, kind: dtype | str) -> Expr:
    """The constant `value` of dtype `kind` (broadcast when `kind` has lanes).

    Floats narrower than float32 are rounded here, so that reading one back in a wider type gives
    what a variable of `kind` would hold; wider ones keep the decimal that the user wrote.

    Raises:
        ArgumentError: when an integer `kind` cannot hold `value`.
    """
    kind = dtype(kind)
    element = kind.element
    imm: Expr
    if element.is_float:
        number = float(value)
        imm = FloatImm(round_float(number, element) if element.bits < 32 else number, element)
    elif element.is_bool:
        imm = IntImm(int(bool(value)), element)
    else:
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ArgumentError(f"{value} cannot become a constant of type {element}")
            value = math.trunc(value)
        if element.is_int and not element.min_value() <= value <= element.max_value():
            raise ArgumentError(
                f"{value} does not fit {element} ({element.min_value()} to {element.max_value()})"
            )
        imm = IntImm(int(value), element)
    return imm if kind.lanes == 1 else Broadcast(imm, kind.lanes)


def is_const(value: Expr | int, expected: Number | None = None) -> bool:
    """Whether `value` is a constant, and equal to `expected` when that is given."""
    if isinstance(value, (IntImm, FloatImm)):
        return expected is None or value.value == expected
    return isinstance(value, int) and (expected is None or value == expected)


def const_value(value: Any) -> Number | None:
    """The Python number that `value` is, or `None`."""
    if isinstance(value, IntImm):
        return bool(value.value) if value.dtype.is_bool else value.value
    if isinstance(value, FloatImm):
        return value.value
    return value if isinstance(value, (bool, int, float)) else None


def _common(a: ExprLike, b: ExprLike) -> tuple[Expr, Expr]:
    """Both operands in one dtype; a Python number takes the type of the other side."""
    if isinstance(a, (bool, int, float)) != isinstance(b, (bool, int, float)):
        if isinstance(a, (bool, int, float)):
            y = as_expr(b)
            return _literal(a, y.dtype), y if not _needs_float(a, y.dtype) else cast(
                y, FLOAT32.with_lanes(y.dtype.lanes)
            )
        x = as_expr(a)
        assert isinstance(b, (bool, int, float))
        return x if not _needs_float(b, x.dtype) else cast(
            x, FLOAT32.with_lanes(x.dtype.lanes)
        ), _literal(b, x.dtype)
    x, y = as_expr(a), as_expr(b)
    if x.dtype == y.dtype:
        return x, y
    _require_arithmetic(x)
    _require_arithmetic(y)
    kind = promote(x.dtype, y.dtype)
    return cast(x, kind), cast(y, kind)


def _needs_float(value: Number, kind: dtype) -> bool:
    return isinstance(value, float) and not kind.is_float


def _literal(value: Number, kind: dtype) -> Expr:
    if _needs_float(value, kind):
        return constant(value, FLOAT32.with_lanes(kind.lanes))
    if kind.is_bool and not isinstance(value, bool):
        return (
            constant(value, INT32.with_lanes(kind.lanes))
            if value not in (0, 1)
            else constant(value, kind)
        )
    if kind.kind in ("handle", "void"):
        raise DTypeError(f"a {kind} value takes no part in arithmetic")
    return constant(value, kind)


def _require_arithmetic(value: Expr) -> None:
    if value.dtype.kind in ("handle", "void"):
        raise DTypeError(f"`{value}` is a {value.dtype} and takes no part in arithmetic")


def _binary(
    kind: type[BinaryOp], a: ExprLike, b: ExprLike, fold: Callable[[Any, Any], Any] | None
) -> Expr:
    x, y = _common(a, b)
    if fold is not None and isinstance(x, (IntImm, FloatImm)) and isinstance(y, (IntImm, FloatImm)):
        value = fold(x.value, y.value)
        if kind.is_predicate:
            return IntImm(int(value), BOOL)
        if isinstance(x, FloatImm):
            return FloatImm(round_float(value, x.dtype), x.dtype)
        if x.dtype.is_bool:
            return IntImm(int(value), INT32) if value not in (0, 1) else IntImm(int(value), BOOL)
        return IntImm(wrap(int(value), x.dtype), x.dtype)
    if x.dtype.is_bool and kind in (Add, Sub, Mul, FloorDiv, FloorMod, ShiftLeft, ShiftRight):
        lanes = x.dtype.lanes
        x, y = cast(x, INT32.with_lanes(lanes)), cast(y, INT32.with_lanes(lanes))
    return kind(x, y)


def add(a: ExprLike, b: ExprLike) -> Expr:
    if _is_zero_int(b) and _keeps_type(a, b):
        return as_expr(a)
    if _is_zero_int(a) and _keeps_type(b, a):
        return as_expr(b)
    return _binary(Add, a, b, lambda x, y: x + y)


def sub(a: ExprLike, b: ExprLike) -> Expr:
    if _is_zero_int(b) and _keeps_type(a, b):
        return as_expr(a)
    return _binary(Sub, a, b, lambda x, y: x - y)


def mul(a: ExprLike, b: ExprLike) -> Expr:
    for x, y in ((a, b), (b, a)):
        if _is_int_const(y) and _keeps_type(x, y):
            if const_value(y) == 1:
                return as_expr(x)
            if const_value(y) == 0:
                return constant(0, as_expr(x).dtype)
    return _binary(Mul, a, b, lambda x, y: x * y)


def _is_int_const(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, IntImm) and not value.dtype.is_bool
    )


def _is_zero_int(value: Any) -> bool:
    return _is_int_const(value) and const_value(value) == 0


def _keeps_type(value: Any, other: Any) -> bool:
    """Whether an integer expression `value` keeps its type beside the constant `other`."""
    if not isinstance(value, Operand):
        return False
    kind = as_expr(value).dtype
    return kind.is_int and (not isinstance(other, IntImm) or promote(kind, other.dtype) == kind)


def div(a: ExprLike, b: ExprLike) -> Expr:
    """Real division.

    Raises:
        DTypeError: when both operands are integers, one of them symbolic.
    """
    x, y = _common(a, b)
    if not x.dtype.is_float:
        raise DTypeError(
            f"`/` of two integers ({x.dtype}) is ambiguous",
            hint="use `//` for floor division, or cast an operand to a float type",
        )
    if isinstance(x, FloatImm) and isinstance(y, FloatImm):
        if y.value == 0.0:
            raise ArithmeticFault(f"division of {x.value} by constant zero")
        return FloatImm(round_float(x.value / y.value, x.dtype), x.dtype)
    return Div(x, y)


def _integer_division(
    kind: type[BinaryOp], a: ExprLike, b: ExprLike, fold: Callable[[Any, Any], Any], by_one: str
) -> Expr:
    x, y = _common(a, b)
    if not (x.dtype.is_int or x.dtype.is_bool):
        if kind is FloorDiv:
            return call("floor", div(x, y), dtype=x.dtype)
        if kind is FloorMod:
            return x - y * call("floor", div(x, y), dtype=x.dtype)
        return (
            call("fmod", x, y, dtype=x.dtype)
            if kind is TruncMod
            else call("trunc", div(x, y), dtype=x.dtype)
        )
    if is_const(y, 0):
        raise ArithmeticFault(f"`{x}` is divided by constant zero")
    if is_const(y, 1) and not is_const(x):
        return x if by_one == "self" else constant(0, x.dtype)
    return _binary(kind, x, y, fold)


def floordiv(a: ExprLike, b: ExprLike) -> Expr:
    return _integer_division(FloorDiv, a, b, lambda x, y: x // y, "self")


def floormod(a: ExprLike, b: ExprLike) -> Expr:
    return _integer_division(FloorMod, a, b, lambda x, y: x % y, "zero")


def truncdiv(a: ExprLike, b: ExprLike) -> Expr:
    return _integer_division(TruncDiv, a, b, trunc_div, "self")


def truncmod(a: ExprLike, b: ExprLike) -> Expr:
    return _integer_division(TruncMod, a, b, lambda x, y: x - y * trunc_div(x, y), "zero")


def minimum(a: ExprLike, b: ExprLike) -> Expr:
    return _binary(Min, a, b, min)


def maximum(a: ExprLike, b: ExprLike) -> Expr:
    return _binary(Max, a, b, max)


def equal(a: Any, b: Any) -> Expr:
    return _binary(EQ, a, b, lambda x, y: x == y)


def not_equal(a: Any, b: Any) -> Expr:
    return _binary(NE, a, b, lambda x, y: x != y)


def less(a: ExprLike, b: ExprLike) -> Expr:
    return _binary(LT, a, b, lambda x, y: x < y)


def less_equal(a: ExprLike, b: ExprLike) -> Expr:
    return _binary(LE, a, b, lambda x, y: x <= y)


def greater(a: ExprLike, b: ExprLike) -> Expr:
    return _binary(GT, a, b, lambda x, y: x > y)


def greater_equal(a: ExprLike, b: ExprLike) -> Expr:
    return _binary(GE, a, b, lambda x, y: x >= y)


def as_condition(value: ExprLike) -> Expr:
    """`value` as a bool expression; numbers compare with zero."""
    x = as_expr(value)
    if x.dtype.is_bool:
        return x
    _require_arithmetic(x)
    return not_equal(x, constant(0, x.dtype))


def logical_and(a: ExprLike, b: ExprLike) -> Expr:
    x, y = as_condition(a), as_condition(b)
    if isinstance(x, IntImm):
        return y if x.value else x
    if isinstance(y, IntImm):
        return x if y.value else y
    return And(x, y)


def logical_or(a: ExprLike, b: ExprLike) -> Expr:
    x, y = as_condition(a), as_condition(b)
    if isinstance(x, IntImm):
        return x if x.value else y
    if isinstance(y, IntImm):
        return y if y.value else x
    return Or(x, y)


def logical_not(a: ExprLike) -> Expr:
    x = as_condition(a)
    if isinstance(x, IntImm):
        return IntImm(int(not x.value), BOOL)
    return x.a if isinstance(x, Not) else Not(x)


def _require_bits(*values: Expr) -> None:
    for value in values:
        if not (value.dtype.is_int or value.dtype.is_bool):
            raise DTypeError(
                f"bit operations need integers, got {value.dtype} `{value}`",
                hint="use T.reinterpret",
            )


def _bits(kind: type[BinaryOp], a: ExprLike, b: ExprLike, fold: Callable[[Any, Any], Any]) -> Expr:
    x, y = _common(a, b)
    _require_bits(x, y)
    return _binary(kind, x, y, fold)


def shift_left(a: ExprLike, b: ExprLike) -> Expr:
    _require_bits(as_expr(a), as_expr(b))
    if _is_zero_int(b) and isinstance(a, Operand):
        return as_expr(a)
    return _binary(ShiftLeft, a, b, (lambda x, y: x << y) if _is_shift_count(a, b) else None)


def shift_right(a: ExprLike, b: ExprLike) -> Expr:
    _require_bits(as_expr(a), as_expr(b))
    if _is_zero_int(b) and isinstance(a, Operand):
        return as_expr(a)
    return _binary(ShiftRight, a, b, (lambda x, y: x >> y) if _is_shift_count(a, b) else None)


def _is_shift_count(a: ExprLike, b: ExprLike) -> bool:
    """Whether the constant `b` is a count by which `a` can be shifted; otherwise nothing folds."""
    number = const_value(b)
    bits = as_expr(a).dtype.bits
    return number is not None and 0 <= number < bits


def bitwise_and(a: ExprLike, b: ExprLike) -> Expr:
    return _bits(BitAnd, a, b, lambda x, y: x & y)


def bitwise_or(a: ExprLike, b: ExprLike) -> Expr:
    return _bits(BitOr, a, b, lambda x, y: x | y)


def bitwise_xor(a: ExprLike, b: ExprLike) -> Expr:
    return _bits(BitXor, a, b, lambda x, y: x ^ y)


def bitwise_not(a: ExprLike) -> Expr:
    x = as_expr(a)
    _require_bits(x)
    if x.dtype.is_bool:
        return logical_not(x)
    return IntImm(wrap(~x.value, x.dtype), x.dtype) if isinstance(x, IntImm) else BitNot(x)


def negate(a: ExprLike) -> Expr:
    x = as_expr(a)
    if isinstance(x, FloatImm):
        return FloatImm(-x.value, x.dtype)
    if x.dtype.is_float:
        return (
            Mul(x, constant(-1.0, x.dtype)) if x.dtype.lanes > 1 else call("neg", x, dtype=x.dtype)
        )
    return sub(constant(0, x.dtype), x)


def cast(value: ExprLike, kind: dtype | str) -> Expr:
    """`value` converted to `kind`; constants convert now, scalars broadcast to vector kinds."""
    kind = dtype(kind)
    x = as_expr(value)
    if x.dtype == kind:
        return x
    if isinstance(x, StringImm) or x.dtype.kind == "void":
        raise DTypeError(f"`{x}` cannot be converted to {kind}")
    if x.dtype.lanes == 1 and kind.lanes > 1:
        return Broadcast(cast(x, kind.element), kind.lanes)
    if isinstance(x, Broadcast) and x.value.dtype.lanes == 1:
        return Broadcast(cast(x.value, kind.element), kind.lanes)
    if isinstance(x, IntImm) and kind.kind in ("int", "uint", "bool", "float"):
        if kind.is_float:
            return FloatImm(round_float(float(x.value), kind), kind)
        return constant(bool(x.value), kind) if kind.is_bool else IntImm(wrap(x.value, kind), kind)
    if (
        isinstance(x, FloatImm)
        and kind.is_float
        and (kind.bits >= x.dtype.bits or kind in _ROUNDABLE)
    ):
        return FloatImm(round_float(x.value, kind), kind)
    return Cast(x, kind)


_ROUNDABLE = ("float32", "float16", "bfloat16")


# How each operator is built, with folding.
FOLDING: dict[type[BinaryOp], Callable[[Any, Any], Expr]] = {
    Add: add, Sub: sub, Mul: mul, Div: div, FloorDiv: floordiv, FloorMod: floormod,
    TruncDiv: truncdiv, TruncMod: truncmod, Min: minimum, Max: maximum, EQ: equal, NE: not_equal,
    LT: less, LE: less_equal,
    GT: greater, GE: greater_equal, And: logical_and, Or: logical_or, ShiftLeft: shift_left,
    ShiftRight: shift_right, BitAnd: bitwise_and, BitOr: bitwise_or, BitXor: bitwise_xor,
}  # fmt: skip


def rebuild(node: Expr, changes: dict[str, Any]) -> Expr:
    """`node` with some fields changed, folded as its building function does; the span is kept."""
    if isinstance(node, BinaryOp):
        made = FOLDING[type(node)](changes.get("a", node.a), changes.get("b", node.b))
    elif isinstance(node, Cast):
        made = cast(changes.get("value", node.value), node.dtype)
    elif isinstance(node, BitNot):
        made = bitwise_not(changes.get("a", node.a))
    elif isinstance(node, Not):
        made = logical_not(changes.get("a", node.a))
    elif isinstance(node, Select):
        values = {name: changes.get(name, getattr(node, name)) for name in node.fields}
        made = select(values["condition"], values["then_value"], values["else_value"])
    elif isinstance(node, Call) and node.op == "if_then_else":
        made = if_then_else(*changes.get("args", node.args))
    else:
        return replace(node, **changes)
    if made.span is None and type(made) is type(node):
        made.span = node.span
    return made


def select(condition: ExprLike, then_value: ExprLike, else_value: ExprLike) -> Expr:
    """Both sides evaluated; the condition chooses."""
    c = as_condition(condition)
    x, y = _common(then_value, else_value)
    if isinstance(c, IntImm):
        return x if c.value else y
    return Select(c, x, y)


def if_then_else(condition: ExprLike, then_value: ExprLike, else_value: ExprLike) -> Expr:
    """Only the chosen side is evaluated, so a guarded load on it is safe."""
    c = as_condition(condition)
    x, y = _common(then_value, else_value)
    if isinstance(c, IntImm):
        return x if c.value else y
    return Call("if_then_else", (c, x, y), x.dtype)


def call(op: str, *args: Any, dtype: Any) -> Call:
    """A call of the operation `op`; arguments become expressions."""
    return Call(op, tuple(as_expr(a) for a in args), _as_dtype(dtype))


_as_dtype = dtype  # the parameter of `call` hides the name


def ceildiv(a: Any, b: Any) -> Any:
    """`a / b` rounded up; Python integers give a Python integer."""
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            raise ArithmeticFault(f"ceildiv({a}, 0) divides by zero")
        return -(-a // b)
    return floordiv(add(a, sub(b, 1)), b)


def _same(a: Expr, b: Expr) -> bool:
    from tilelang.ir.equality import structural_equal  # built on the nodes of this module

    return structural_equal(a, b)
