"""Operations of a CUDA thread as text: functions of the headers in `device/cuda`.

In: calls under the language's names (`sync_threads`, `shfl_xor`, `exp`) or, from lowerings, under
the names of the header functions themselves. Out: text, and in `headers` what it needs. Operations
of units that this printer does not serve are errors at their line.
"""

from __future__ import annotations

import math
import struct
from typing import ClassVar

from tilelang.codegen.c_arith import CArithmetic
from tilelang.codegen.c_expr import ATOM, UNARY, CExpressions, Text, quote
from tilelang.codegen.c_family import CFamilyPrinter
from tilelang.codegen.c_memory import CMemory
from tilelang.codegen.cuda_headers import TEMPLATE_ARGUMENTS, definition_of, header_of
from tilelang.ir import stmt as S
from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    BufferLoad,
    Call,
    Expr,
    FloatImm,
    IntImm,
    Let,
    Ramp,
    StringImm,
    const_value,
)

# A call of one of these changes nothing in a launch that has no asynchronous proxy, no programmatic
# launch and one register budget for all its warps.
NO_EFFECT = (
    "fence_proxy_async", "pdl_trigger", "pdl_sync", "register_hint", "set_max_nreg", "assume",
)  # fmt: skip
_RENAMED = {  # language name -> header function with the same arguments
    "sync_warp": "tl_sync_warp", "sync_grid": "tl_sync_grid",
    "named_barrier_arrive": "tl_bar_arrive",
    "syncthreads_count": "tl_syncthreads_count", "syncthreads_and": "tl_syncthreads_and",
    "syncthreads_or": "tl_syncthreads_or", "any_sync": "tl_any_sync", "all_sync": "tl_all_sync",
    "ballot_sync": "tl_ballot_sync", "activemask": "tl_activemask", "lane_id": "tl_lane_id",
    "warp_id": "tl_warp_id", "ptx_commit_group": "tl_cp_async_commit_group",
    "ptx_wait_group": "tl_cp_async_wait_group", "dp4a": "tl_dp4a_int32",
}  # fmt: skip
_TYPED = {  # language name -> position of the argument whose dtype ends the header function's name
    "shfl": 1, "shfl_xor": 1, "shfl_up": 1, "shfl_down": 1, "match_any_sync": 1,
    "match_all_sync": 1, "warp_reduce_sum": 0, "warp_reduce_max": 0, "warp_reduce_min": 0,
    "warp_reduce_bitand": 0, "warp_reduce_bitor": 0, "warp_reduce_bitxor": 0,
}  # fmt: skip
_APPROXIMATE = frozenset(f"fast_{n}" for n in (
    "exp", "exp10", "log", "log2", "log10", "sin", "cos", "tan", "rcp",
))  # fmt: skip
_ADDED_WITHOUT_RESULT = ("int32", "uint32", "uint64", "float32", "float64")


class CudaOperations(CMemory):
    """Expressions and stores of one thread."""

    target: ClassVar[str] = "cuda"

    # -- what differs from C ----------------------------------------------------------------------

    def value_type(self, kind: dtype) -> str:
        return CFamilyPrinter.value_type(self, kind)  # C++ has `bool`

    def expr_IntImm(self, value: IntImm) -> Text:
        return CFamilyPrinter.expr_IntImm(self, value)

    def expr_Let(self, value: Let) -> Text:
        """A lambda that is called where it stands: evaluates the value once."""
        with self.names.scope():
            inner = self.rounded(value.value)
            name = self.names.define(value.var)
            self.signs.define(value.var, value.value)
            kind = self.declaration(self.value_type(value.var.dtype), name)
            body = f"return {self.rounded(value.body)};"
            return f"[&] {{ const {kind} = {inner}; {body} }}()", ATOM

    def printf(self, form: str, args: list[str]) -> Text:
        """Threads of a block print in any order, so each line says who prints it."""
        place = "[block %d,%d,%d thread %d,%d,%d] "
        who = [f"(int){index}.{axis}" for index in ("blockIdx", "threadIdx") for axis in "xyz"]
        return self.function("printf", quote(place + form), *who, *args)

    # -- calls ------------------------------------------------------------------------------------

    def call_device(self, value: Call) -> Text:
        op = value.op
        if op in NO_EFFECT:
            return "", ATOM
        if op in _RENAMED:
            return self.header_function(_RENAMED[op], *value.args)
        if op in _TYPED:
            kind = self.carrier(value.args[_TYPED[op]].dtype)
            return self.header_function(f"tl_{op}_{kind}", *value.args)
        if op.startswith("tl_"):
            return self.header_function(op, *value.args)
        if op.startswith("atomic_"):
            return self._atomic(value)
        return CExpressions.call_other(self, value)

    def call_other(self, value: Call) -> Text:
        if value.op in _APPROXIMATE and self.carrier(value.dtype) == "float32":
            return self.header_function(f"tl_{value.op}_float32", *value.args)
        return CArithmetic.call_other(self, value)

    def header_function(self, name: str, *args: Expr) -> Text:
        """A call of a header function; leading template arguments are constants."""
        header = header_of(name)
        assert header is not None, f"no header of device/cuda defines {name}"
        self.include(header)
        definition = definition_of(name)
        if definition is not None:
            self.headers.setdefault(definition)
        count = TEMPLATE_ARGUMENTS.get(name, 0)
        numbers = [const_value(a) for a in args[:count]]
        if any(n is None for n in numbers):
            raise self.error(f"{name}: `{args[0]}` must be a constant")
        suffix = f"<{', '.join(map(str, numbers))}>" if count else ""
        return self.function(name + suffix, *map(self.rounded, args[count:]))

    def call_sync_threads(self, value: Call) -> Text:
        """All threads, or those that meet at a named barrier."""
        return self.header_function("tl_bar_sync" if value.args else "tl_sync_threads", *value.args)

    def call_likely(self, value: Call) -> Text:
        return self.function("__builtin_expect", f"!!{self.expr(value.args[0], UNARY)}", "1")

    def call_thread_return(self, value: Call) -> Text:
        del value
        return "return", ATOM

    def call_ptx_cp_async(self, value: Call) -> Text:
        """`(dst, src, bytes[, predicate])`: zeros where the predicate is false."""
        dst, src, size, *predicate = value.args
        number = const_value(size)
        if number not in (4, 8, 16):
            message = f"ptx_cp_async: {size} bytes; a copy has 4, 8 or 16"
            raise self.error(message, value.span)
        name = f"tl_cp_async_{'cg' if number == 16 else 'ca'}_{number}"
        if not predicate:
            return self.header_function(name, dst, src)
        self.include("cp_async.h")
        count = f"{self.expr(predicate[0], UNARY)} ? {number} : 0"
        return self.function(f"{name}_zfill", self.expr(dst), self.expr(src), count)

    def call_rng_init(self, value: Call) -> Text:
        generator = value.args[-1]
        if isinstance(generator, StringImm) and "Philox" not in generator.value:
            raise self.error(
                f"rng_init: the target `cuda` has no generator {generator.value}", value.span,
                hint="leave out `generator`",
            )  # fmt: skip
        return CMemory.call_rng_init(self, value)

    # -- statements -------------------------------------------------------------------------------

    def stmt_Evaluate(self, node: S.Evaluate) -> None:
        value = node.value
        if isinstance(value, Call) and value.op == "atomic_add":
            place, added, order = value.args
            assert isinstance(place, BufferLoad)
            if const_value(order) == 0 and place.buffer.dtype in _ADDED_WITHOUT_RESULT:
                self.include("atomic.h")
                address = f"&{self.element(place.buffer, place.indices[0])}"
                self.line(f"tl_red_add_{place.buffer.dtype}({address}, {self.expr(added)});")
                return
        CMemory.stmt_Evaluate(self, node)

    def stored_bits(self, value: Expr, kind: dtype) -> str:
        bits = constant_bits(value)
        if bits is None:
            return CMemory.stored_bits(self, value, kind)
        return "0" if bits == 0 else f"0x{bits:04x} /* {value} */"

    def store(self, node: S.BufferStore) -> None:
        if node.indices[0].dtype.lanes > 1:
            self.move(node)
        elif node.buffer.dtype.bits == 4 and node.buffer.scope() != LOCAL:
            self.put_half_byte(node)
        else:
            CMemory.store(self, node)

    def put_half_byte(self, node: S.BufferStore) -> None:
        """A 4-bit element that several threads see: another one may write the byte's other half."""
        kind = node.buffer.dtype
        text = self.stored_bits(node.value, kind) if kind.is_float else self.expr(node.value)
        self.include("atomic.h")
        index = self.expr(node.indices[0])
        self.line(f"tl_atomic_put_b4({self.pointer(node.buffer)}, {index}, {text});")

    def move(self, node: S.BufferStore) -> None:
        """Consecutive elements in one access, as `vectorize_accesses` has made it."""
        source = node.value
        assert isinstance(source, BufferLoad), "a vector store is a move between two buffers"
        bits = node.buffer.dtype.bits * node.indices[0].dtype.lanes
        assert bits in (8, 16, 32, 64, 128), f"no access has {bits} bits"
        self.include("memory.h")
        way = "st" if node.buffer.scope() != LOCAL else "ld"
        dst, src = self._first_of(node.buffer, node), self._first_of(source.buffer, source)
        self.line(f"tl_{way}_b{bits}({dst}, {src});")

    def _first_of(self, buffer: Buffer, access: BufferLoad | S.BufferStore) -> str:
        ramp = access.indices[0]
        assert isinstance(ramp, Ramp) and const_value(ramp.stride) == 1
        place = BufferLoad(buffer, (ramp.base,))
        return self.expr(Call("address_of", (place,), dtype("handle")))


def constant_bits(value: Expr) -> int | None:
    """The bits of a constant of a 16-bit float type; a conversion instruction would not be folded.

    Also of zeros of narrower types.
    """
    if not isinstance(value, FloatImm) or value.value != value.value:
        return None
    kind, number = value.dtype, value.value
    try:
        if kind == "float16":
            return int.from_bytes(struct.pack("<e", number), "little")
        if kind == "bfloat16":
            return int.from_bytes(struct.pack("<f", number), "little") >> 16
    except OverflowError:  # beyond the largest finite number: left to the conversion
        return None
    is_zero = number == 0.0 and math.copysign(1.0, number) > 0
    return 0 if is_zero and kind != "float8_e8m0fnu" else None
