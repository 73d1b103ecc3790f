"""Patterns: what an expression may look like, and the expression made from what was found.

Patterns are written with Python's operators on pattern variables, so the algebra is what one reads;
they never fold. A variable that occurs twice must match equal expressions; a `Const` matches
constants; commutative operators match both ways round. `rule` makes rows of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import copysign
from typing import TYPE_CHECKING, Any

from tilelang.arith.terms import same
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    EQ,
    FOLDING,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    And,
    BinaryOp,
    BitAnd,
    BitNot,
    BitOr,
    BitXor,
    Call,
    Cast,
    Div,
    Expr,
    FloatImm,
    FloorDiv,
    FloorMod,
    IntImm,
    Max,
    Min,
    Mul,
    Not,
    Or,
    Select,
    ShiftLeft,
    ShiftRight,
    Sub,
    TruncDiv,
    TruncMod,
    cast,
    is_const,
    logical_not,
    select,
)

if TYPE_CHECKING:
    pass

Bindings = dict[str, Expr]
_COMMUTATIVE = (Add, Mul, Min, Max, EQ, NE, And, Or, BitAnd, BitOr, BitXor)
_OPERANDS: dict[type, tuple[str, ...]] = {
    Not: ("a",), BitNot: ("a",), Cast: ("value",),
    Select: ("condition", "then_value", "else_value"),
}  # fmt: skip


class Pattern:
    """Something an expression may look like."""

    def __add__(self, other: Any) -> Pattern:
        return Form(Add, self, other)

    def __sub__(self, other: Any) -> Pattern:
        return Form(Sub, self, other)

    def __mul__(self, other: Any) -> Pattern:
        return Form(Mul, self, other)

    def __rmul__(self, other: Any) -> Pattern:
        return Form(Mul, other, self)

    def __truediv__(self, other: Any) -> Pattern:
        return Form(Div, self, other)

    def __floordiv__(self, other: Any) -> Pattern:
        return Form(FloorDiv, self, other)

    def __mod__(self, other: Any) -> Pattern:
        return Form(FloorMod, self, other)

    def __and__(self, other: Any) -> Pattern:
        return Form(BitAnd, self, other)

    def __or__(self, other: Any) -> Pattern:
        return Form(BitOr, self, other)

    def __xor__(self, other: Any) -> Pattern:
        return Form(BitXor, self, other)

    def __lshift__(self, other: Any) -> Pattern:
        return Form(ShiftLeft, self, other)

    def __rshift__(self, other: Any) -> Pattern:
        return Form(ShiftRight, self, other)

    def match(self, expr: Expr, found: Bindings) -> bool:
        """Whether `expr` looks like this; fills `found` (with garbage where it does not)."""
        raise NotImplementedError

    def make(self, found: Bindings) -> Any:
        """The expression that this stands for, or a Python number for a literal."""
        raise NotImplementedError

    def variants(self) -> list[Pattern]:
        """This pattern with the operands of commutative operators both ways round."""
        return [self]

    def names(self) -> Iterator[str]:
        """Pattern variables, in order, with repetitions."""
        return iter(())


class Anything(Pattern):
    """A pattern variable."""

    def __init__(self, name: str) -> None:
        self.name = name

    def match(self, expr: Expr, found: Bindings) -> bool:
        before = found.get(self.name)
        if before is None:
            found[self.name] = expr
            return True
        return same(before, expr)

    def make(self, found: Bindings) -> Expr:
        return found[self.name]

    def names(self) -> Iterator[str]:
        yield self.name

    def __repr__(self) -> str:
        return self.name


class Const(Anything):
    """A pattern variable for constants."""

    def match(self, expr: Expr, found: Bindings) -> bool:
        return isinstance(expr, (IntImm, FloatImm)) and super().match(expr, found)


class Typed(Anything):
    """A pattern variable for values of one type."""

    def __init__(self, name: str, kind: dtype) -> None:
        super().__init__(name)
        self.kind = kind

    def match(self, expr: Expr, found: Bindings) -> bool:
        return expr.dtype == self.kind and super().match(expr, found)

    def __repr__(self) -> str:
        return f"{self.name}: {self.kind!s}"


class Literal(Pattern):
    """One number; 0.0 and -0.0 are two."""

    def __init__(self, value: float) -> None:
        self.value = value

    def match(self, expr: Expr, found: Bindings) -> bool:
        if isinstance(expr, FloatImm):
            return expr.value == self.value and copysign(1, expr.value) == copysign(1, self.value)
        return is_const(expr, self.value) and isinstance(self.value, int)

    def make(self, found: Bindings) -> Any:
        return self.value

    def __repr__(self) -> str:
        return repr(self.value)


class Form(Pattern):
    """A node of class `kind` over operand patterns.

    `detail` is the operation of a `Call`, the type of a `Cast`, and `None` otherwise.
    """

    def __init__(self, kind: type[Expr], *operands: Any, detail: Any = None) -> None:
        self.kind = kind
        self.operands = tuple(o if isinstance(o, Pattern) else Literal(o) for o in operands)
        self.detail = detail

    def match(self, expr: Expr, found: Bindings) -> bool:
        if type(expr) is not self.kind:
            return False
        if self.detail is not None and getattr(expr, "op", expr.dtype) != self.detail:
            return False
        parts = operands_of(expr)
        return len(parts) == len(self.operands) and all(
            p.match(e, found) for p, e in zip(self.operands, parts)
        )

    def make(self, found: Bindings) -> Expr:
        parts = [operand.make(found) for operand in self.operands]
        if issubclass(self.kind, BinaryOp):
            return FOLDING[self.kind](*parts)
        if self.kind is Not:
            return logical_not(parts[0])
        if self.kind is Select:
            return select(*parts)
        if self.kind is Cast:
            return cast(parts[0], self.detail)
        assert self.kind is Call, f"no rule makes a {self.kind.__name__}"
        return Call(self.detail, tuple(parts), parts[0].dtype)

    def variants(self) -> list[Pattern]:
        made: list[Pattern] = []
        for operands in product(*(o.variants() for o in self.operands)):
            made.append(Form(self.kind, *operands, detail=self.detail))
            if self.kind in _COMMUTATIVE:
                made.append(Form(self.kind, *operands[::-1], detail=self.detail))
        unique = {repr(form): form for form in made}
        return list(unique.values())

    def names(self) -> Iterator[str]:
        for operand in self.operands:
            yield from operand.names()

    def __repr__(self) -> str:
        name = self.detail if self.kind is Call else self.kind.__name__
        if issubclass(self.kind, BinaryOp) and not self.kind.symbol.isalpha():
            return f"({self.operands[0]} {self.kind.symbol} {self.operands[1]})"
        detail = [repr(str(self.detail))] if self.kind is Cast and self.detail else []
        return f"{name}({', '.join([*map(repr, self.operands), *detail])})"


def operands_of(expr: Any) -> Sequence[Expr]:
    """The sub-expressions that patterns speak of."""
    if isinstance(expr, BinaryOp):
        return (expr.a, expr.b)
    if isinstance(expr, Call):
        return expr.args
    return [getattr(expr, name) for name in _OPERANDS.get(type(expr), ())]


def minimum(a: Any, b: Any) -> Pattern:
    return Form(Min, a, b)


def maximum(a: Any, b: Any) -> Pattern:
    return Form(Max, a, b)


def truncdiv(a: Any, b: Any) -> Pattern:
    return Form(TruncDiv, a, b)


def truncmod(a: Any, b: Any) -> Pattern:
    return Form(TruncMod, a, b)


def compare(kind: type[BinaryOp], a: Any, b: Any) -> Pattern:
    """`kind` is `EQ`, `NE`, `LT`, `LE`, `GT` or `GE`."""
    assert kind in (EQ, NE, LT, LE, GT, GE), kind
    return Form(kind, a, b)


def both(a: Any, b: Any) -> Pattern:
    return Form(And, a, b)


def either(a: Any, b: Any) -> Pattern:
    return Form(Or, a, b)


def negated(a: Any) -> Pattern:
    return Form(Not, a)


def flipped(a: Any) -> Pattern:
    return Form(BitNot, a)


def chosen(condition: Any, a: Any, b: Any) -> Pattern:
    return Form(Select, condition, a, b)


def converted(a: Any, kind: str) -> Pattern:
    """A cast to `kind`."""
    return Form(Cast, a, detail=dtype(kind))


def typed(name: str, kind: str) -> Pattern:
    """A pattern variable for values of type `kind`."""
    return Typed(name, dtype(kind))


def called(op: str, *args: Any) -> Pattern:
    return Form(Call, *args, detail=op)
