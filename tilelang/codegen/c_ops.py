"""Operations of the CPU target as C: device functions, and what one thread per block simplifies.

Operations that only other devices have are errors at their line.
"""

from __future__ import annotations

from tilelang.codegen.c_expr import ANY, ATOM, POSTFIX, Text, quote
from tilelang.codegen.c_family import CFamilyPrinter
from tilelang.codegen.c_memory import CMemory
from tilelang.codegen.c_shared import SharedFunctions
from tilelang.ir import stmt as S
from tilelang.ir.buffer import GLOBAL
from tilelang.ir.expr import BufferLoad, Call, Expr
from tilelang.ir.node import Node

# A call of one of these does nothing where a block is one thread and copies are complete at once.
NO_EFFECT = (
    "sync_threads", "sync_warp", "named_barrier_arrive", "fence_proxy_async", "pdl_trigger",
    "pdl_sync", "ptx_commit_group", "ptx_wait_group", "register_hint", "set_max_nreg", "assume",
)  # fmt: skip


class COperations(CMemory):
    """Expressions and stores of the CPU target."""

    def __init__(self, body: Node) -> None:
        CMemory.__init__(self)
        self.shared = SharedFunctions(body)

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

    def call_device(self, value: Call) -> Text:
        if value.op in NO_EFFECT:
            return "", ATOM
        if value.op.startswith("tl_"):
            return self._header_function(value)
        if value.op.startswith("atomic_"):
            return self._atomic(value)
        return CMemory.call_device(self, value)

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

    def printf(self, form: str, args: list[str]) -> Text:
        self.headers.setdefault("#include <stdio.h>")
        text = self.function("printf", quote(form), *args)
        return f"{text[0]}, fflush(stdout)", ANY


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
