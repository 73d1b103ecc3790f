"""Operations that every relative of C writes the same way: memory, atomics, calls of the user's
functions, random numbers, printing.

In: flattened statements and calls, through the printers of the targets, which subclass it. Out:
text. 4-bit values lie two to a byte. A subclass says how a line is printed (`printf`) and adds its
own operations.
"""

from __future__ import annotations

from tilelang.codegen.c_arith import CArithmetic
from tilelang.codegen.c_expr import ADD, ATOM, MUL, POSTFIX, UNARY, Text
from tilelang.codegen.c_family import CFamilyPrinter
from tilelang.ir import stmt as S
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import BufferLoad, Call, Cast, Expr, StringImm, Var, const_value


class CMemory(CArithmetic):
    """Loads, stores and calls; `pointer_types` knows the pointers in scope."""

    def __init__(self) -> None:
        CArithmetic.__init__(self)
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
            value = node.value
            text = self.stored_bits(value, kind) if kind.is_float else self.expr(value)
            name = "tl_nibble_set" if kind.is_float else f"tl_{kind}_set"
            self.line(f"{name}({self.pointer(buffer)}, {self.expr(index)}, {text});")
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

    # -- calls -----------------------------------------------------------------------------------

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
        return self._print_line(message.value, "", None)

    def call_print_value(self, value: Call) -> Text:
        what, message, text = value.args
        assert isinstance(message, StringImm) and isinstance(text, StringImm)
        return self._print_line(message.value, f"{text.value} = ", what)

    def call_print_element(self, value: Call) -> Text:
        what, message, name, *indices = value.args
        assert isinstance(message, StringImm) and isinstance(name, StringImm)
        place = f"{name.value}[{', '.join('%d' for _ in indices)}] = "
        return self._print_line(message.value, place, what, *indices)

    def _print_line(self, message: str, label: str, what: Expr | None, *indices: Expr) -> Text:
        """One line: message, place and value."""
        args = [f"(int){self.expr(i, UNARY)}" for i in indices]
        form = ""
        if what is not None:
            form, cast = _print_format(what.dtype)
            args.append(cast + self.expr(what, UNARY))
        start = f"{message}: " if message and label else message
        head = (start + label) if indices else (start + label).replace("%", "%%")
        return self.printf(f"{head}{form}\n", args)

    def printf(self, form: str, args: list[str]) -> Text:
        """Print one line: a C format, and the text of its arguments."""
        raise NotImplementedError(f"no way to print {form}")


def _print_format(kind: dtype) -> tuple[str, str]:
    if kind.is_float:
        return ("%.17g" if kind.bits == 64 else "%.9g"), "(double)"
    if kind.kind == "handle":
        return "%p", "(void *)"
    return ("%llu", "(unsigned long long)") if kind.kind == "uint" else ("%lld", "(long long)")
