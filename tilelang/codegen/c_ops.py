"""Operations of the CPU target as C: memory, atomics, calls, printing, random numbers.

4-bit values lie two to a byte. Operations that only other devices have are errors at their line.
"""

from __future__ import annotations

from tilelang.codegen.c_arith import CArithmetic
from tilelang.codegen.c_expr import ADD, ANY, ATOM, MUL, POSTFIX, UNARY, Text, quote
from tilelang.codegen.c_family import CFamilyPrinter
from tilelang.codegen.c_shared import SharedFunctions
from tilelang.ir import stmt as S
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import BufferLoad, Call, Cast, Expr, StringImm, Var, const_value
from tilelang.ir.node import Node

# A call of one of these does nothing where a block is one thread and copies are complete at once.
NO_EFFECT = (
    "sync_threads", "sync_warp", "named_barrier_arrive", "fence_proxy_async", "pdl_trigger",
    "pdl_sync", "ptx_commit_group", "ptx_wait_group", "register_hint", "set_max_nreg", "assume",
)  # fmt: skip


class COperations(CArithmetic):
    """Expressions and stores of the CPU target."""

    def __init__(self, body: Node) -> None:
        CArithmetic.__init__(self)
        self.shared = SharedFunctions(body)
        self.pointer_types: dict[Var, str] = {}  # storage -> element type of its C pointer

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
            value = self.expr(node.value)
            value = self.encode(kind, value) if kind.is_float else value
            name = "tl_nibble_set" if kind.is_float else f"tl_{kind}_set"
            self.line(f"{name}({self.pointer(buffer)}, {self.expr(index)}, {value});")
        elif kind in self.carried_types:
            self.line(f"{self.element(buffer, index)} = {self.stored_bits(node.value, kind)};")
        else:
            CFamilyPrinter.store(self, node)

    def stored_bits(self, value: Expr, kind: dtype) -> str:
        if isinstance(value, Cast) and value.dtype == kind:
            inner = value.value
            plain = inner.dtype.is_float and inner.dtype.bits < 64
            text = self.expr(inner) if plain else f"(float){self.expr(inner, UNARY)}"
            return self.encode(kind, text)
        if isinstance(value, BufferLoad) and not value.buffer.is_var and value.dtype == kind:
            return self.stored_element(value.buffer, value.indices[0])[0]
        if isinstance(value, Call) and value.op == "reinterpret":
            return self.bits_of(value.args[0], value.args[0].dtype)[0]
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
            message = f"{value.op}: {kind} elements cannot be changed in one step"
            raise self.error(message, value.span)
        self.include("atomic.h")
        address = f"&{self.element(place.buffer, place.indices[0])}"
        name = f"tl_{value.op}_{'uint8' if kind.is_bool else self._atomic_kind(kind)}"
        return self.function(name, address, *map(self.expr, args))

    def _atomic_kind(self, kind: dtype) -> str:
        return "float32" if kind == "tfloat32" else str(kind)

    def stmt_Evaluate(self, node: S.Evaluate) -> None:
        value = node.value
        if isinstance(value, Call) and value.op in ("atomic_add", "atomic_store"):
            place, new = value.args[:2]
            assert isinstance(place, BufferLoad)
            if place.buffer.scope() != GLOBAL:  # seen by this block alone, which one thread runs
                total = new if value.op == "atomic_store" else place + new
                self.store(S.BufferStore(place.buffer, total, place.indices))
                return
        CFamilyPrinter.stmt_Evaluate(self, node)

    # -- calls ------------------------------------------------------------------------------------

    def call_device(self, value: Call) -> Text:
        if value.op in NO_EFFECT:
            return "", ATOM
        if value.op.startswith("tl_"):
            return self._header_function(value)
        if value.op.startswith("atomic_"):
            return self._atomic(value)
        return CArithmetic.call_device(self, value)

    def _header_function(self, value: Call) -> Text:
        for header in headers_of(value.op):
            self.headers.setdefault(header)
        if value.op in ("tl_check_index", "tl_check_written"):
            return self.function(value.op, "fault", *map(self.expr, value.args))
        shared = self.shared.call(value, self.expr, self._passed_type)
        if shared:
            return shared, POSTFIX
        return self.function(value.op, *map(self.expr, value.args))

    def _passed_type(self, value: Expr) -> str:
        kind = self.value_type(value.dtype)
        return kind if kind.endswith("*") else kind + " "

    def call_symbol(self, value: Call) -> Text:
        name = value.args[0]
        assert isinstance(name, StringImm)
        return name.value, ATOM

    def call_call_extern(self, value: Call) -> Text:
        name, *args = value.args
        assert isinstance(name, StringImm)
        return self.function(name.value, *map(self.expr, args))

    call_call_pure_extern = call_call_extern

    def _random_state(self, value: Call) -> tuple[str, list[Expr]]:
        """The state that the operation uses, and its other arguments.

        Where threads were told apart, each has a state in memory of its own.
        """
        self.include("rng.h")
        first = value.args[0] if value.args else None
        if first is not None and first.dtype.kind == "handle":
            return f"(tl_rng *){self.expr(first, UNARY)}", list(value.args[1:])
        return "&rng", list(value.args)

    def call_rng_init(self, value: Call) -> Text:
        state, args = self._random_state(value)
        generator = args[3] if len(args) > 3 else None
        if isinstance(generator, StringImm) and "Philox" not in generator.value:
            raise self.error(
                f"rng_init: the target `c` has no generator {generator.value}", value.span,
                hint="leave out `generator`",
            )  # fmt: skip
        return self.function("tl_rng_init", state, *map(self.expr, args[:3]))

    def call_rng_rand(self, value: Call) -> Text:
        return self.function("tl_rng_rand", self._random_state(value)[0])

    def call_rng_rand_float(self, value: Call) -> Text:
        state, (distribution,) = self._random_state(value)
        assert isinstance(distribution, StringImm)
        return self.function(f"tl_rng_{distribution.value}_{value.dtype}", state)

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
        return f"{text[0]}, fflush(stdout)", ANY


def _print_format(kind: dtype) -> tuple[str, str]:
    if kind.is_float:
        return ("%.17g" if kind.bits == 64 else "%.9g"), "(double)"
    if kind.kind == "handle":
        return "%p", "(void *)"
    return ("%llu", "(unsigned long long)") if kind.kind == "uint" else ("%lld", "(long long)")


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
    if function.startswith("tl_stream_"):
        return ['#include "stream.h"']
    if function.startswith("tl_copy"):
        return ['#include "copy.h"']
    return ['#include "types.h"', '#include "tl_arith.h"', '#include "tl_math.h"']
