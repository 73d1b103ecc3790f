"""Expressions as text of C and its relatives.

Comes in: scalar expressions of the thread form, one index per load. Goes out: text with only the
parentheses that are needed. A subclass adds its target's operations as `call_<op>` methods; what
has none is an error at the user's line.

Values of types the language cannot compute in are *carried* in a wider type (`carried_types`): an
expression is computed in the carrier throughout, and rounded to its own type where it is bound,
converted or stored, not after each operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from tilelang.codegen.c_names import Names
from tilelang.codegen.c_sign import Signs, is_positive, power_of_two
from tilelang.errors import Error, Span, TargetError
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    Add,
    BinaryOp,
    BitNot,
    BufferLoad,
    Call,
    Cast,
    Expr,
    FloatImm,
    FloorDiv,
    FloorMod,
    IntImm,
    Let,
    Max,
    Min,
    Mul,
    Not,
    Select,
    StringImm,
    Sub,
    Var,
    const_value,
)
from tilelang.language.device import unit_of

# Binding strength of an expression's outermost operator.
ATOM, POSTFIX, UNARY, MUL, ADD, SHIFT, ORDER, EQUAL = 16, 15, 14, 13, 12, 11, 10, 9
BIT_AND, BIT_XOR, BIT_OR, AND, OR, CHOICE, ANY = 8, 7, 6, 5, 4, 3, 0

Text: TypeAlias = "tuple[str, int]"  # an expression and its binding strength

_OPERATORS: dict[str, Text] = {
    "Add": ("+", ADD), "Sub": ("-", ADD), "Mul": ("*", MUL), "Div": ("/", MUL),
    "TruncDiv": ("/", MUL), "TruncMod": ("%", MUL), "ShiftLeft": ("<<", SHIFT),
    "ShiftRight": (">>", SHIFT), "LT": ("<", ORDER), "LE": ("<=", ORDER), "GT": (">", ORDER),
    "GE": (">=", ORDER), "EQ": ("==", EQUAL), "NE": ("!=", EQUAL), "And": ("&&", AND),
    "Or": ("||", OR), "BitAnd": ("&", BIT_AND), "BitOr": ("|", BIT_OR), "BitXor": ("^", BIT_XOR),
}  # fmt: skip
_OVERFLOWING = ("Add", "Sub", "Mul", "ShiftLeft")


class CExpressions:
    """Prints expressions; `names` knows every variable in scope."""

    target: ClassVar[str] = ""
    type_names: ClassVar[dict[str, str]] = {  # value types, by dtype name
        "bool": "bool",
        **{f"{u}int{n}": f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)},
        "int4": "int8_t", "uint4": "uint8_t", "float32": "float", "tfloat32": "float",
        "float64": "double", "handle": "void *",
    }  # fmt: skip
    carried_types: ClassVar[dict[str, str]] = {}  # dtype name -> dtype in which it is computed

    def __init__(self) -> None:
        self.names = Names()
        self.signs = Signs()
        self.span: Span | None = None  # of the statement at hand
        self._expr_methods: dict[type, Callable[[Any], Text]] = {}

    def error(self, message: str, span: Span | None = None, hint: str | None = None) -> Error:
        """What is raised for a program that the target cannot run."""
        return TargetError(message, span or self.span, hint=hint)

    # -- types ------------------------------------------------------------------------------------

    def value_type(self, kind: dtype) -> str:
        """Type of a variable that holds a value of `kind`."""
        name = self.type_names.get(self.carried_types.get(kind, kind))
        if name is None:
            raise self.error(f"the target `{self.target}` has no values of type {kind}")
        return name

    def storage_type(self, kind: dtype) -> str:
        """Type of one element of `kind` in memory."""
        return self.value_type(kind)

    def declaration(self, kind: str, name: str) -> str:
        """`float x`, `void *p`."""
        return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}"

    # -- expressions ------------------------------------------------------------------------------

    def expr(self, value: Expr, strength: int = ANY) -> str:
        """`value` as text, in parentheses where its operator binds weaker than `strength`."""
        method = self._expr_methods.get(type(value))
        if method is None:
            method = self._find("expr_", type(value), BinaryOp)
            self._expr_methods[type(value)] = method
        text, own = method(value)
        return f"({text})" if own < strength else text

    def _find(self, prefix: str, kind: type, base: type | None = None) -> Callable[[Any], Any]:
        method = getattr(self, prefix + kind.__name__, None)
        if method is None and base is not None and issubclass(kind, base):
            method = getattr(self, prefix + base.__name__)
        assert method is not None, f"{kind.__name__} has no place in the thread form"
        return method

    def rounded(self, value: Expr, strength: int = ANY) -> str:
        """`value` with the precision of its type: for everything that keeps it."""
        if value.dtype not in self.carried_types or self.is_exact(value):
            return self.expr(value, strength)
        return self.round_to(value.dtype, self.expr(value))

    def is_exact(self, value: Expr) -> bool:
        """Whether a carried value is known to be one of its own type."""
        match value:
            case BufferLoad() | Var() | IntImm() | FloatImm() | Cast():
                return True
            case Select():
                return self.is_exact(value.then_value) and self.is_exact(value.else_value)
            case Call(op="neg" | "abs" | "reinterpret" | "cast_stochastic" | "cast_no_saturation"):
                return True
            case Call(op="if_then_else"):
                return self.is_exact(value.args[1]) and self.is_exact(value.args[2])
            case BinaryOp(symbol="min" | "max"):
                return self.is_exact(value.a) and self.is_exact(value.b)
            case _:
                return False

    def round_to(self, kind: dtype, text: str) -> str:
        """The carried value `text` rounded to `kind`."""
        raise NotImplementedError(f"no rounding to {kind} from {text}")

    def expr_Var(self, value: Var) -> Text:
        return self.names.of(value), ATOM

    def expr_IntImm(self, value: IntImm) -> Text:
        number, kind = value.value, value.dtype
        if kind.is_bool:
            return ("true" if number else "false"), ATOM
        if number == -(1 << 63):
            return f"(-{(1 << 63) - 1}LL - 1)", ATOM
        suffix = ""
        if kind.bits == 64:
            suffix = "ULL" if kind.kind == "uint" else "LL"
        elif kind == "uint32":
            suffix = "u"
        elif number == -(1 << 31):
            return "(-2147483647 - 1)", ATOM
        return f"{number}{suffix}", ATOM if number >= 0 else UNARY

    def expr_FloatImm(self, value: FloatImm) -> Text:
        number, suffix = value.value, "" if value.dtype.bits == 64 else "f"
        if number != number:
            return f'__builtin_nan{suffix}("")', POSTFIX
        if number in (float("inf"), float("-inf")):
            text = f"__builtin_inf{suffix}()"
            return (text, POSTFIX) if number > 0 else ("-" + text, UNARY)
        text = float_text(number, value.dtype.bits == 64) + suffix
        return text, UNARY if text.startswith("-") else ATOM

    def expr_StringImm(self, value: StringImm) -> Text:
        return quote(value.value), ATOM

    def expr_BinaryOp(self, value: BinaryOp) -> Text:
        name = type(value).__name__
        symbol, strength = _OPERATORS[name]
        a, b = self._operands(value)
        if name == "Add" and isinstance(b, IntImm) and -(1 << 31) < b.value < 0:
            symbol, right = "-", str(-b.value)
        elif isinstance(b, IntImm) and self._is_plain(a, b):
            right = str(b.value)
        else:
            is_chain = name == "Add" and isinstance(b, Add) and value.dtype.is_int
            right = self.expr(b, strength if is_chain else strength + 1)
        left = self.expr(a, strength)
        if isinstance(a, IntImm) and name != "ShiftLeft" and self._is_plain(b, a):
            left = str(a.value)
        text = f"{left} {symbol} {right}"
        if value.dtype.is_int and value.dtype.bits < 32 and name in _OVERFLOWING:
            return self.wrap_to(value.dtype, text)
        return text, strength

    def _operands(self, value: BinaryOp) -> tuple[Expr, Expr]:
        """The operands, one of them without a widening that C does by itself."""
        a, b = value.a, value.b
        if value.dtype != "int64" or not isinstance(value, (Add, Sub, Mul)):
            return a, b
        if isinstance(a, IntImm) or isinstance(b, IntImm):
            return a, b
        return (a, narrow_index(b)) if narrow_index(b) is not b else (narrow_index(a), b)

    def _is_plain(self, other: Expr, number: IntImm) -> bool:
        """Whether the constant may stand without suffix: the other operand decides the type."""
        if number.dtype.is_bool or isinstance(other, IntImm):
            return False
        return 0 <= number.value < 1 << 31

    def wrap_to(self, kind: dtype, text: str) -> Text:
        """`text`, computed in `int`, reduced to a narrower integer type."""
        return f"({self.value_type(kind)})({text})", UNARY

    def expr_FloorDiv(self, value: FloorDiv) -> Text:
        a, b = value.a, value.b
        if self.signs.is_nonnegative(a) and (is_positive(b) or value.dtype.kind == "uint"):
            return self._operation("/", MUL, a, b)
        shift = power_of_two(b)
        if shift is not None:  # a shift to the right rounds down
            return f"{self.expr(a, SHIFT)} >> {shift}", SHIFT
        return self.integer_function("floordiv", value.dtype, a, b)

    def expr_FloorMod(self, value: FloorMod) -> Text:
        a, b = value.a, value.b
        if self.signs.is_nonnegative(a) and (is_positive(b) or value.dtype.kind == "uint"):
            return self._operation("%", MUL, a, b)
        if power_of_two(b) is not None:
            return f"{self.expr(a, BIT_AND)} & {int(const_value(b) or 0) - 1}", BIT_AND
        return self.integer_function("floormod", value.dtype, a, b)

    def _operation(self, symbol: str, strength: int, a: Expr, b: Expr) -> Text:
        plain = isinstance(b, IntImm) and self._is_plain(a, b)
        right = str(const_value(b)) if plain else self.expr(b, strength + 1)
        return f"{self.expr(a, strength)} {symbol} {right}", strength

    def integer_function(self, name: str, kind: dtype, *args: Expr) -> Text:
        """An operation of `kind` that C has no operator for."""
        return self.function(f"tl_{name}_{kind}", *map(self.expr, args))

    def expr_Min(self, value: Min) -> Text:
        return self.extremum("min", value.dtype, value.a, value.b)

    def expr_Max(self, value: Max) -> Text:
        return self.extremum("max", value.dtype, value.a, value.b)

    def extremum(self, name: str, kind: dtype, a: Expr, b: Expr) -> Text:
        """The smaller or larger of two values; of floats, a NaN loses."""
        return self.integer_function(name, kind, a, b)

    def expr_Not(self, value: Not) -> Text:
        return "!" + self.expr(value.a, UNARY), UNARY

    def expr_BitNot(self, value: BitNot) -> Text:
        text = "~" + self.expr(value.a, UNARY)
        return self.wrap_to(value.dtype, text) if value.dtype.bits < 32 else (text, UNARY)

    def expr_Select(self, value: Select) -> Text:
        return self.choice(value.condition, value.then_value, value.else_value)

    def choice(self, condition: Expr, a: Expr, b: Expr) -> Text:
        """`condition ? a : b`."""
        parts = (self.expr(condition, CHOICE + 1), self.expr(a, CHOICE + 1), self.expr(b, CHOICE))
        return "{} ? {} : {}".format(*parts), CHOICE

    def expr_Cast(self, value: Cast) -> Text:
        return self.convert(value.value, value.dtype)

    def convert(self, value: Expr, kind: dtype) -> Text:
        """`value` as a `kind`."""
        if kind.is_bool:
            return f"{self.expr(value, EQUAL + 1)} != 0", EQUAL
        return f"({self.value_type(kind).rstrip()}){self.expr(value, UNARY)}", UNARY

    def expr_BufferLoad(self, value: BufferLoad) -> Text:
        if value.buffer.is_var:
            return self.names.of(value.buffer.data), ATOM
        return self.load(value.buffer, value.indices[0])

    def load(self, buffer: Buffer, index: Expr) -> Text:
        """The element `index`."""
        return self.element(buffer, index), POSTFIX

    def element(self, buffer: Buffer, index: Expr) -> str:
        """The place of an element in memory."""
        return f"{self.pointer(buffer)}[{self.expr(narrow_index(index))}]"

    def pointer(self, buffer: Buffer) -> str:
        """A pointer to the start of the storage, of the buffer's element type."""
        return self.names.of(buffer.data)

    def expr_Let(self, value: Let) -> Text:
        """A GNU statement expression, which evaluates the value where it stands and once."""
        with self.names.scope():
            inner = self.rounded(value.value)
            name = self.names.define(value.var)
            self.signs.define(value.var, value.value)
            kind = self.declaration(self.value_type(value.var.dtype), name)
            return f"({{ const {kind} = {inner}; {self.rounded(value.body)}; }})", ATOM

    def expr_Call(self, value: Call) -> Text:
        method = getattr(self, f"call_{value.op}", None)
        return method(value) if method is not None else self.call_other(value)

    def call_other(self, value: Call) -> Text:
        """An operation without a method of its own."""
        message = (
            f"{value.op}: the target `{self.target}` has no {unit_of(value.op) or 'such operation'}"
        )
        raise self.error(message, value.span)

    def function(self, name: str, *args: str) -> Text:
        """`name(args)`."""
        return f"{name}({', '.join(args)})", POSTFIX


def narrow_index(value: Expr) -> Expr:
    """What a widening to int64 widens, where the value stays the same; otherwise `value`."""
    if isinstance(value, Cast) and value.dtype == "int64":
        inner = value.value
        if inner.dtype.kind == "int" and 8 <= inner.dtype.bits < 64:
            return inner
    return value


def float_text(number: float, is_double: bool) -> str:
    """Shortest decimal that gives back `number` (as float32 unless `is_double`)."""
    text = repr(number)
    if not is_double:
        import numpy  # float32 shortest forms; already loaded by whoever folded the constant

        text = str(numpy.float32(number))
    return text if any(c in text for c in ".en") else text + ".0"


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "?": "\\?"}


def quote(text: str) -> str:
    """A C string literal of the UTF-8 bytes of `text`."""
    out: list[str] = []
    for c in text:
        if c in _ESCAPES:
            out.append(_ESCAPES[c])
        elif c.isprintable() and c.isascii():
            out.append(c)
        else:
            out.extend(f"\\{b:03o}" for b in c.encode())
    return '"' + "".join(out) + '"'
