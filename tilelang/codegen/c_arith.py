"""Values of the CPU target as C: types, conversions, arithmetic, mathematics.

Every function named here is defined in a header of `device/c`; `headers` collects which ones the
text needs. 16-bit floats and narrower ones are carried in `float` and rounded where they are kept.
Memory and everything with effects stand in `c_ops`.
"""

from __future__ import annotations

import math
from typing import ClassVar

from tilelang.codegen.c_expr import (
    ADD,
    ATOM,
    BIT_AND,
    MUL,
    POSTFIX,
    UNARY,
    Text,
    float_text,
)
from tilelang.codegen.c_family import CFamilyPrinter
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Call, Cast, Expr, FloatImm, IntImm, StringImm
from tilelang.ir.ops import UNARY_FLOAT_OPS

NARROW_FLOATS = (
    "float16", "bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn",
    "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn",
    "float6_e3m2fn", "float4_e2m1fn", "float4_e2m1_unpacked",
)  # fmt: skip
_FORMATS = {"float4_e2m1_unpacked": "float4_e2m1fn"}  # one format, two ways of lying in memory
_NAMES_IN_HEADERS = {"nearbyint": "nearbyint", "round": "nearbyint", "round_away": "round"}
_DIRECTED = {"rz": "FE_TOWARDZERO", "ru": "FE_UPWARD", "rd": "FE_DOWNWARD"}
_BINARY_FLOAT = ("atan2", "copysign", "fmod", "hypot", "ldexp", "nextafter", "pow", "fma")


class CArithmetic(CFamilyPrinter):
    """Values of the CPU target."""

    target: ClassVar[str] = "c"
    type_names: ClassVar[dict[str, str]] = {
        **CFamilyPrinter.type_names,
        "float4_e2m1_unpacked": "uint8_t",
        **{name: f"tl_{name}" for name in NARROW_FLOATS if name not in _FORMATS},
    }
    carried_types: ClassVar[dict[str, str]] = dict.fromkeys(NARROW_FLOATS, "float32")

    def __init__(self) -> None:
        CFamilyPrinter.__init__(self)
        self.headers: dict[str, None] = {}  # lines of text, in order of need

    def include(self, header: str) -> None:
        """The text needs `header`."""
        self.headers.setdefault(f'#include "{header}"')

    # -- types and conversions --------------------------------------------------------------------

    def storage_type(self, kind: dtype) -> str:
        if kind.bits == 4:
            return "uint8_t"
        if kind in self.carried_types:
            self.include("types.h")
            return self.type_names[kind]
        return self.value_type(kind)

    def value_type(self, kind: dtype) -> str:
        if kind.is_bool:
            self.headers.setdefault("#include <stdbool.h>")
        return CFamilyPrinter.value_type(self, kind)

    def expr_IntImm(self, value: IntImm) -> Text:
        if value.dtype.is_bool:
            self.headers.setdefault("#include <stdbool.h>")
        return CFamilyPrinter.expr_IntImm(self, value)

    def carrier(self, kind: dtype) -> str:
        """Name, in the functions of the headers, of the type in which `kind` is computed."""
        if kind in self.carried_types or kind == "tfloat32":
            return "float32"
        if kind.is_bool:
            return "uint8"
        return str(kind).replace("int4", "int8")

    def decode(self, kind: dtype, stored: str) -> Text:
        """The value of a narrow float from its bits."""
        self.include("types.h")
        return self.function(f"tl_{_FORMATS.get(kind, kind)}_to_float32", stored)

    def encode(self, kind: dtype, text: str) -> str:
        """The bits of a narrow float from its carried value."""
        self.include("types.h")
        return f"tl_float32_to_{_FORMATS.get(kind, kind)}({text})"

    def round_to(self, kind: dtype, text: str) -> str:
        return self.decode(kind, self.encode(kind, text))[0]

    def wrap_to(self, kind: dtype, text: str) -> Text:
        if kind.bits == 4:
            self.include("integer.h")
            return self.function(f"tl_wrap_{kind}", text)
        return CFamilyPrinter.wrap_to(self, kind, text)

    def convert(self, value: Expr, kind: dtype) -> Text:
        source = value.dtype
        if "handle" in (source, kind):
            return self._convert_pointer(value, kind)
        if kind.is_float:
            return self._convert_to_float(value, source, kind)
        if kind.is_bool:
            return CFamilyPrinter.convert(self, value, kind)
        if source.is_float:
            self.include("tl_arith.h")
            name = f"tl_{self.carrier(source)}_to_{self.carrier(kind)}"
            text = self.function(name, self.expr(value))
            return self.wrap_to(kind, text[0]) if kind.bits == 4 else text
        if kind.bits == 4:
            return self.wrap_to(kind, self.expr(value))
        return CFamilyPrinter.convert(self, value, kind)

    def _convert_to_float(self, value: Expr, source: dtype, kind: dtype) -> Text:
        if kind.bits == 64:
            return f"(double){self.expr(value, UNARY)}", UNARY
        if source.is_float and source.bits < 64:
            text: Text = (self.expr(value, POSTFIX), POSTFIX)
        else:
            text = (f"(float){self.expr(value, UNARY)}", UNARY)
        if kind not in self.carried_types or _is_exact_in(source, kind):
            return text
        plain = self.expr(value) if text[1] == POSTFIX else text[0]
        return self.decode(kind, self.encode(kind, plain))

    def _convert_pointer(self, value: Expr, kind: dtype) -> Text:
        if value.dtype == kind:
            return self.expr(value, UNARY), UNARY
        if kind.kind == "handle":
            return f"(void *)(uintptr_t){self.expr(value, UNARY)}", UNARY
        return f"({self.value_type(kind)})(uintptr_t){self.expr(value, UNARY)}", UNARY

    def call_reinterpret(self, value: Call) -> Text:
        inner, kind = value.args[0], value.dtype
        source = inner.dtype
        if "handle" in (source, kind):
            return self._convert_pointer(inner, kind)
        bits = self.bits_of(inner, source)
        if kind.bits == 4 and not kind.is_float:
            return self.wrap_to(kind, bits[0])
        if kind in self.carried_types:
            return self.decode(kind, bits[0])
        if kind.is_float:
            self.include("types.h" if kind.bits == 32 else "tl_math.h")
            return self.function(f"tl_bits_to_{self.carrier(kind)}", bits[0])
        if source.kind == kind.kind == "uint":
            return bits
        text = f"({bits[0]})" if bits[1] < UNARY else bits[0]
        return f"({self.value_type(kind)}){text}", UNARY

    def bits_of(self, value: Expr, kind: dtype) -> Text:
        """The bits of `value` as an unsigned integer of its width."""
        if kind in self.carried_types:
            return self.stored_bits(value, kind), POSTFIX
        if kind.is_float:
            self.include("types.h" if kind.bits == 32 else "tl_math.h")
            return self.function(f"tl_{self.carrier(kind)}_to_bits", self.expr(value))
        if kind.kind == "uint":
            return self.expr(value, POSTFIX), POSTFIX
        return f"(uint{max(kind.bits, 8)}_t){self.expr(value, UNARY)}", UNARY

    def stored_bits(self, value: Expr, kind: dtype) -> str:
        """The bits of a narrow float, wherever they come from cheapest."""
        return self.encode(kind, self.expr(value))

    def call_cast_no_saturation(self, value: Call) -> Text:
        """As a cast, but what is too large becomes NaN."""
        x, kind = value.args[0], value.dtype
        if not kind.startswith(("float8_e4m3", "float8_e5m2fnuz")):
            raise self.error(f"cast: sat=False to {kind} is not available", value.span)
        self.include("integer.h")
        largest = float(kind.max_value())
        half_step = 2.0 ** (math.frexp(largest)[1] - 2 - kind.mantissa_bits)
        limit = float_text(largest + half_step, False)
        wide = self.expr(Cast(x, dtype("float32")))
        return self.decode(kind, self.encode(kind, f"tl_nan_above({wide}, {limit}f)"))

    def call_cast_stochastic(self, value: Call) -> Text:
        x, bits = value.args
        kind = value.dtype
        if kind not in self.carried_types:
            raise self.error(f"cast: round='rs' to {kind} is not available", value.span)
        self.include("integer.h")
        drop = 23 - kind.mantissa_bits
        wide = self.expr(Cast(x, dtype("float32")))
        rounded = f"tl_round_random({wide}, {self.expr(bits)}, {drop})"
        return self.decode(kind, self.encode(kind, rounded))

    # -- arithmetic -------------------------------------------------------------------------------

    def integer_function(self, name: str, kind: dtype, *args: Expr) -> Text:
        self.include("integer.h" if name in ("min", "max", "abs") else "tl_arith.h")
        return self.function(f"tl_{name}_{self.carrier(kind)}", *map(self.expr, args))

    def extremum(self, name: str, kind: dtype, a: Expr, b: Expr) -> Text:
        if kind.is_float:
            return self.integer_function(f"{name}_num", kind, a, b)
        return self.integer_function(name, kind, a, b)

    def call_other(self, value: Call) -> Text:
        op = value.op
        if op in UNARY_FLOAT_OPS or op in _BINARY_FLOAT:
            return self._math(op.removeprefix("fast_"), value)
        return self._directed(value) if op.startswith("ieee_") else self.call_device(value)

    def call_device(self, value: Call) -> Text:
        """An operation that is not arithmetic."""
        return CFamilyPrinter.call_other(self, value)

    def _math(self, name: str, value: Call) -> Text:
        """A function of `tl_math.h`, or an operator."""
        if name == "rcp":
            one = "1.0" if value.dtype.bits == 64 else "1.0f"
            return f"{one} / {self.expr(value.args[0], MUL + 1)}", MUL
        self.include("tl_math.h")
        name = _NAMES_IN_HEADERS.get(name, name)
        return self.function(f"tl_{name}_{self.carrier(value.dtype)}", *map(self.expr, value.args))

    def call_abs(self, value: Call) -> Text:
        if value.dtype.is_float:
            self.include("tl_math.h")
            return self.function(f"tl_fabs_{self.carrier(value.dtype)}", self.expr(value.args[0]))
        return self.integer_function("abs", value.dtype, value.args[0])

    def call_neg(self, value: Call) -> Text:
        return f"-{self.expr(value.args[0], POSTFIX)}", UNARY

    def call_isnan(self, value: Call) -> Text:
        return self.integer_function(value.op, value.args[0].dtype, value.args[0])

    call_isinf = call_isnan
    call_isfinite = call_isnan

    def call_max_nan(self, value: Call) -> Text:
        if value.dtype.is_int:
            return self.integer_function(value.op[:3], value.dtype, *value.args)
        return self.integer_function(value.op, value.dtype, *value.args)

    call_min_nan = call_max_nan

    def _bit_count(self, value: Call) -> Text:
        """popcount, clz, ffs: of the unsigned value of the operand's width."""
        x = value.args[0]
        bits = x.dtype.bits
        width = 64 if bits == 64 else 32
        self.include("integer.h" if value.op == "ffs" else "tl_arith.h")
        text = self.expr(x)
        if bits == 4:
            text = f"{self.expr(x, BIT_AND + 1)} & 15"
        elif x.dtype.kind == "int":
            text = f"(uint{bits}_t){self.expr(x, UNARY)}"
        counted = self.function(f"tl_{value.op}_uint{width}", text)
        if value.op == "clz" and bits < 32:
            return f"{counted[0]} - {32 - bits}", ADD
        return counted

    call_popcount = _bit_count
    call_clz = _bit_count
    call_ffs = _bit_count

    def call_fns(self, value: Call) -> Text:
        self.include("integer.h")
        return self.function("tl_fns", *map(self.expr, value.args))

    def call_if_then_else(self, value: Call) -> Text:
        return self.choice(*value.args)

    def call_likely(self, value: Call) -> Text:
        return self.function("__builtin_expect", f"!!{self.expr(value.args[0], UNARY)}", "1")

    def call_undef(self, value: Call) -> Text:
        return self.expr(_zero(value.dtype)), ATOM

    def _directed(self, value: Call) -> Text:
        """IEEE arithmetic that rounds as told; `rn` is what operators do."""
        *args, mode = value.args
        assert isinstance(mode, StringImm)
        name = value.op.removeprefix("ieee_")
        self.include("tl_ieee.h")
        rounding = _DIRECTED.get(mode.value, "FE_TONEAREST")
        kind = self.carrier(value.dtype)
        return self.function(f"tl_ieee_{name}_{kind}", *map(self.expr, args), rounding)


def _is_exact_in(source: dtype, kind: dtype) -> bool:
    """Whether every value of `source` is one of the 16-bit float type `kind`."""
    if kind.bits != 16 or source == "float8_e8m0fnu":
        return False
    return source.bits <= 8


def _zero(kind: dtype) -> Expr:
    return FloatImm(0.0, kind) if kind.is_float else IntImm(0, kind)
