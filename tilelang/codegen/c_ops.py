"""Operations of the CPU target as C: conversions, mathematics, memory, atomics, random numbers.

Every function named here is defined in a header of `device/c`; `headers` collects which ones the
text needs. 16-bit floats and narrower ones are carried in `float` and rounded where they are kept.
4-bit values lie two to a byte. Operations that only other devices have are errors at their line.
"""

from __future__ import annotations

from typing import ClassVar

from tilelang.codegen.c_expr import ADD, ATOM, BIT_AND, MUL, POSTFIX, UNARY, Text, quote
from tilelang.codegen.c_family import CFamilyPrinter
from tilelang.ir import stmt as S
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Cast,
    Expr,
    FloatImm,
    IntImm,
    StringImm,
    Var,
    const_value,
)
from tilelang.ir.ops import UNARY_FLOAT_OPS

NARROW_FLOATS = (
    "float16", "bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn",
    "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn",
    "float6_e3m2fn", "float4_e2m1fn", "float4_e2m1_unpacked",
)  # fmt: skip
_FORMATS = {"float4_e2m1_unpacked": "float4_e2m1fn"}  # one format, two ways of lying in memory
_NAMES_IN_HEADERS = {"nearbyint": "nearbyint", "round": "nearbyint", "round_away": "round"}
# A call of one of these does nothing where a block is one thread and copies are complete at once.
NO_EFFECT = frozenset(
    "sync_threads sync_warp named_barrier_arrive fence_proxy_async pdl_trigger pdl_sync "
    "ptx_commit_group ptx_wait_group set_max_nreg assume".split()
)
_POINTERS = ("address_of", "access_ptr")
_DIRECTED = {"rz": "FE_TOWARDZERO", "ru": "FE_UPWARD", "rd": "FE_DOWNWARD"}


class COperations(CFamilyPrinter):
    """Expressions of the CPU target."""

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
        self.pointer_types: dict[Var, str] = {}  # storage -> element type of its C pointer
        self.uses_rng = False
        self.can_fault = False

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
        return self.decode(kind, self.encode(kind, self.expr(value) if text[1] == POSTFIX else text[0]))

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
        bits = self._bits(inner, source)
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

    def _bits(self, value: Expr, kind: dtype) -> Text:
        """The bits of `value` as an unsigned integer of its width."""
        if kind in self.carried_types:
            if isinstance(value, BufferLoad) and not value.buffer.is_var:
                return self.stored_element(value.buffer, value.indices[0])
            return self.encode(kind, self.expr(value)), POSTFIX
        if kind.is_float:
            self.include("types.h" if kind.bits == 32 else "tl_math.h")
            return self.function(f"tl_{self.carrier(kind)}_to_bits", self.expr(value))
        if kind.kind == "uint":
            return self.expr(value, POSTFIX), POSTFIX
        return f"(uint{max(kind.bits, 8)}_t){self.expr(value, UNARY)}", UNARY

    def call_cast_stochastic(self, value: Call) -> Text:
        x, bits = value.args
        kind = value.dtype
        if kind not in self.carried_types:
            raise self.error(f"cast: round='rs' to {kind} is not available", value.span)
        self.include("integer.h")
        drop = 23 - kind.mantissa_bits
        rounded = f"tl_round_random({self.expr(Cast(x, dtype('float32')))}, {self.expr(bits)}, {drop})"
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
        if op in NO_EFFECT:
            return "", ATOM
        if op in UNARY_FLOAT_OPS or op in _BINARY_FLOAT:
            return self._math(op.removeprefix("fast_"), value)
        if op.startswith("tl_"):
            return self._header_function(value)
        if op.startswith("atomic_"):
            return self._atomic(value)
        if op.startswith("ieee_"):
            return self._directed(value)
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

    # -- memory -----------------------------------------------------------------------------------

    def pointer(self, buffer: Buffer) -> str:
        wanted = self.storage_type(buffer.dtype)
        name = self.names.of(buffer.data)
        return name if self.pointer_types.get(buffer.data) == wanted else f"(({wanted} *){name})"

    def load(self, buffer: Buffer, index: Expr) -> Text:
        kind = buffer.dtype
        stored = self.stored_element(buffer, index)
        return self.decode(kind, stored[0]) if kind in self.carried_types else stored

    def stored_element(self, buffer: Buffer, index: Expr) -> Text:
        """The bits of an element."""
        kind = buffer.dtype
        if kind.bits != 4:
            return self.element(buffer, index), POSTFIX
        self.include("types.h")
        name = "tl_nibble_get" if kind.is_float else f"tl_{kind}_get"
        return self.function(name, self.pointer(buffer), self.expr(index))

    def store(self, node: S.BufferStore) -> None:
        kind, buffer, index = node.buffer.dtype, node.buffer, node.indices[0]
        if kind.bits == 4:
            self.include("types.h")
            value = self.encode(kind, self.expr(node.value)) if kind.is_float else self.expr(node.value)
            name = "tl_nibble_set" if kind.is_float else f"tl_{kind}_set"
            self.line(f"{name}({self.pointer(buffer)}, {self.expr(index)}, {value});")
        elif kind in self.carried_types:
            self.line(f"{self.element(buffer, index)} = {self._encoded(node.value, kind)};")
        else:
            CFamilyPrinter.store(self, node)

    def _encoded(self, value: Expr, kind: dtype) -> str:
        """The bits to store: a conversion to the stored type needs to be done only once."""
        if isinstance(value, Cast) and value.dtype == kind:
            inner = value.value
            plain = inner.dtype.is_float and inner.dtype.bits < 64
            return self.encode(kind, self.expr(inner) if plain else f"(float){self.expr(inner, UNARY)}")
        if isinstance(value, BufferLoad) and not value.buffer.is_var and value.dtype == kind:
            return self.stored_element(value.buffer, value.indices[0])[0]
        if isinstance(value, Call) and value.op == "reinterpret":
            return self._bits(value.args[0], value.args[0].dtype)[0]
        return self.encode(kind, self.expr(value))

    def call_address_of(self, value: Call) -> Text:
        place = value.args[0]
        assert isinstance(place, BufferLoad), "only elements have addresses"
        buffer = place.buffer
        if buffer.is_var:
            return f"&{self.names.of(buffer.data)}", UNARY
        index = place.indices[0]
        if const_value(index) == 0:
            return self.pointer(buffer), POSTFIX
        if buffer.dtype.bits == 4:
            return f"{self.pointer(buffer)} + {self.expr(index, MUL + 1)} / 2", ADD
        return f"&{self.element(buffer, index)}", UNARY

    call_access_ptr = call_address_of

    def call_handle_add_byte_offset(self, value: Call) -> Text:
        pointer, offset = value.args
        return f"(void *)((char *){self.expr(pointer, UNARY)} + {self.expr(offset, ADD)})", UNARY

    def _atomic(self, value: Call) -> Text:
        """`atomic_<op>(place, [value], order)`: the value before."""
        place, *args = value.args
        assert isinstance(place, BufferLoad)
        kind = place.buffer.dtype
        if kind.bits < 8 or (kind in self.carried_types and kind.bits < 16):
            raise self.error(f"{value.op}: {kind} elements cannot be changed in one step", value.span)
        self.include("atomic.h")
        address = f"&{self.element(place.buffer, place.indices[0])}"
        name = f"tl_{value.op}_{'uint8' if kind.is_bool else self._atomic_kind(kind)}"
        return self.function(name, address, *map(self.expr, args))

    def _atomic_kind(self, kind: dtype) -> str:
        return "float32" if kind == "tfloat32" else str(kind)

    def stmt_Evaluate(self, node: S.Evaluate) -> None:
        value = node.value
        is_plain_atomic = isinstance(value, Call) and value.op in ("atomic_add", "atomic_store")
        if is_plain_atomic and isinstance(place := value.args[0], BufferLoad):
            if place.buffer.scope() != GLOBAL:  # seen by this block alone, which one thread runs
                new = value.args[1] if value.op == "atomic_store" else place + value.args[1]
                self.store(S.BufferStore(place.buffer, new, place.indices))
                return
        CFamilyPrinter.stmt_Evaluate(self, node)

    # -- calls ------------------------------------------------------------------------------------

    def _header_function(self, value: Call) -> Text:
        for header in headers_of(value.op):
            self.headers.setdefault(header)
        if value.op in ("tl_check_index", "tl_check_written"):
            return self.function(value.op, "fault", *map(self.expr, value.args))
        return self.function(value.op, *map(self.expr, value.args))

    def call_symbol(self, value: Call) -> Text:
        name = value.args[0]
        assert isinstance(name, StringImm)
        return name.value, ATOM

    def call_call_extern(self, value: Call) -> Text:
        name, *args = value.args
        assert isinstance(name, StringImm)
        return self.function(name.value, *map(self.expr, args))

    call_call_pure_extern = call_call_extern

    def call_rng_init(self, value: Call) -> Text:
        self.include("rng.h")
        generator = value.args[3] if len(value.args) > 3 else None
        if isinstance(generator, StringImm) and "Philox" not in generator.value:
            raise self.error(
                f"rng_init: the target `c` has no generator {generator.value}", value.span,
                hint="leave out `generator`",
            )
        return self.function("tl_rng_init", "&rng", *map(self.expr, value.args[:3]))

    def call_rng_rand(self, value: Call) -> Text:
        self.include("rng.h")
        return self.function("tl_rng_rand", "&rng")

    def call_rng_rand_float(self, value: Call) -> Text:
        self.include("rng.h")
        distribution = value.args[0]
        assert isinstance(distribution, StringImm)
        return self.function(f"tl_rng_{distribution.value}_{value.dtype}", "&rng")

    def call_print_message(self, value: Call) -> Text:
        message = value.args[0]
        assert isinstance(message, StringImm)
        return self._printf(message.value, "", None)

    def call_print_value(self, value: Call) -> Text:
        what, message, text = value.args
        assert isinstance(message, StringImm) and isinstance(text, StringImm)
        return self._printf(message.value, f"{text.value} = ", what)

    def call_print_element(self, value: Call) -> Text:
        what, message, name, *indices = value.args
        assert isinstance(message, StringImm) and isinstance(name, StringImm)
        place = f"{name.value}[{', '.join('%d' for _ in indices)}] = "
        return self._printf(message.value, place, what, *indices)

    def _printf(self, message: str, label: str, what: Expr | None, *indices: Expr) -> Text:
        """One line on the standard output: message, place and value."""
        self.headers.setdefault("#include <stdio.h>")
        args = [f"(int){self.expr(i, UNARY)}" for i in indices]
        form = ""
        if what is not None:
            form, cast = _print_format(what.dtype)
            args.append(cast + self.expr(what, UNARY))
        start = f"{message}: " if message and label else message
        head = (start + label) if indices else (start + label).replace("%", "%%")
        text = self.function("printf", quote(f"{head}{form}\n"), *args)
        return f"{text[0]}, fflush(stdout)", 1


_BINARY_FLOAT = frozenset("atan2 copysign fmod hypot ldexp nextafter pow fma".split())


def _print_format(kind: dtype) -> tuple[str, str]:
    if kind.is_float:
        return ("%.17g" if kind.bits == 64 else "%.9g"), "(double)"
    if kind.kind == "handle":
        return "%p", "(void *)"
    return ("%llu", "(unsigned long long)") if kind.kind == "uint" else ("%lld", "(long long)")


def _is_exact_in(source: dtype, kind: dtype) -> bool:
    """Whether every value of `source` is one of the 16-bit float type `kind`."""
    if kind.bits != 16 or source == "float8_e8m0fnu":
        return False
    return source.bits <= 8


def _zero(kind: dtype) -> Expr:
    return FloatImm(0.0, kind) if kind.is_float else IntImm(0, kind)


_CHECKS = ("tl_check_", "tl_mark_")


def headers_of(function: str) -> list[str]:
    """What text that calls the header function `function` begins with.

    The templates take their parameters from the name: `tl_pack_b_rows_bf16_float16` is form `bf16`,
    kind `float16`.
    """
    if function.startswith(_CHECKS):
        return ['#include "sanitize.h"']
    words = function.split("_")
    if function.startswith("tl_gemm_"):
        return [f'#define TL_FORM {words[2]}\n#include "gemm.h"']
    if function.startswith("tl_accumulate_"):
        return ['#define TL_FORM f32\n#include "gemm.h"']
    if function.startswith("tl_pack_"):
        form, kind = words[4], "_".join(words[5:])
        return [f'#define TL_FORM {form}\n#define TL_KIND {kind}\n#include "gemm_pack.h"']
    if function.startswith("tl_copy"):
        return ['#include "copy.h"']
    return ['#include "types.h"', '#include "tl_arith.h"', '#include "tl_math.h"']
