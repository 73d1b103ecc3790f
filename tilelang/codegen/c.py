"""Thread IR to one C translation unit for the CPU.

In: the flattened PrimFunc of the last pass, whose `Launch`es say how much scratch memory a block
needs. Out: text with the kernels (`c_kernel`), then the host function

    int32_t <name>_host(void *A, float alpha, ..., int32_t m, ...)

with the parameters in order and the symbols of shapes and strides after them. It evaluates grid
extents, runs the launches in program order (an empty grid runs nothing), owns workspaces in global
memory, and returns 0; 1 when memory ran out; TL_CODE_FAULT when a check failed, with the reason in
`tl_fault_message()`. `tl_set_runtime` must have been called with the address of `tl_parallel_for`.
Arguments are checked by `codegen.host_c`, not here.

Pointers are `restrict` unless the function's `tilelang_may_alias` lists them, or their memory is
shared with another buffer of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilelang.codegen.c_expr import MUL
from tilelang.codegen.c_kernel import CKernelPrinter, Field
from tilelang.codegen.c_launch import CHECKS, KernelFacts, kernel_facts
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.ir import stmt as S
from tilelang.ir.annotation import ARENA_BYTES, PRELUDE
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Call, StringImm, as_expr, const_value
from tilelang.ir.func import RESTRICT_DROPPED, SOURCE_PRELUDE, PrimFunc
from tilelang.ir.visitor import walk

CALLEE_SUFFIX = "_host"  # the host function is called `<name>_host`
FAILURE_REASON = "tl_fault_message()"  # C expression: why the last call of this thread failed
_HEADERS = ('#include "runtime.h"', '#include "fault.h"')
_RUNTIME_HOOK = """static tl_parallel_for_fn tl_run_blocks;

TL_API void tl_set_runtime(void *parallel_for) {
  tl_run_blocks = (tl_parallel_for_fn)parallel_for;
}"""
_AXES = "xyz"
_OWN_NAMES = ("args", "code", "fault", "rng", "tl_run_blocks")


def print_c(func: PrimFunc, target: Any = None) -> str:
    """The C text of `func`.

    Raises:
        TargetError: at the user's line, for what a CPU does not have.
    """
    del target  # the headers choose by the compiler's own macros
    return CPrinter(func).unit()


def scalar_type(kind: dtype) -> str:
    """C type in which the host function takes a scalar; short floats come as `float`."""
    if kind.is_bool:
        return "_Bool"
    if kind.is_int:
        return f"{'u' if kind.kind == 'uint' else ''}int{max(kind.bits, 8)}_t"
    if kind.is_float:
        return "double" if kind.bits == 64 else "float"
    return "void *"


def define_parameters(printer: CKernelPrinter, func: PrimFunc) -> list[str]:
    """Declarations of what the host function of `func` takes: its parameters, then the symbols.

    From here on the printer knows their names, and that symbols are not negative.
    """
    found: list[str] = []
    for param in func.params:
        var = param.data if isinstance(param, Buffer) else param
        kind = "void *" if isinstance(param, Buffer) else scalar_type(param.dtype)
        found.append(printer.declaration(kind, printer.names.define(var)))
    for symbol in dynamic_symbols(func):
        found.append(printer.declaration(scalar_type(symbol.dtype), printer.names.define(symbol)))
        printer.signs.add(symbol)  # an extent or a stride
    return found


class CPrinter(CKernelPrinter):
    """Prints one function; `unit` gives the whole text."""

    def __init__(self, func: PrimFunc) -> None:
        CKernelPrinter.__init__(self, func.body)
        self.func = func
        self.preludes: list[str] = list(func.attribute(SOURCE_PRELUDE, ()))
        self.workspaces: list[str] = []
        nodes = list(walk(func.body))
        self.can_fault = any(isinstance(n, S.Assert) or _is_check(n) for n in nodes)
        self.has_exit_label = any(_is_workspace(n) for n in nodes)
        self.names.reserve(*_OWN_NAMES, *self.shared.names.values())
        self.names.reserve(*(n for n in map(extern_name, nodes) if n))

    def unit(self) -> str:
        """The translation unit."""
        self._print_host_function()
        headers = "\n".join((*_HEADERS, *self.headers))
        kernels = ["\n".join(kernel) for kernel in self.kernels]
        shared = self.shared.texts.values()
        host = "\n".join(self.lines)
        parts = (headers, *self.preludes, _RUNTIME_HOOK, *shared, *kernels, host)
        return "\n\n".join(parts) + "\n"

    # -- the host function ------------------------------------------------------------------------

    def _print_host_function(self) -> None:
        params = define_parameters(self, self.func)
        self.wrapped(f"int32_t {self.func.name}{CALLEE_SUFFIX}(", params or ["void"], ") {")
        self.depth = 1
        start = len(self.lines)
        with self.names.scope():
            self.stmt(self.func.body)
        self.lines[start:start] = self._host_declarations()
        if self.has_exit_label:
            self.lines.append("done:")
            for workspace in self.workspaces:
                self.line(f"free({workspace});")
        self.line("return code;" if self.has_exit_label else "return 0;")
        self.depth = 0
        self.line("}")

    def _host_declarations(self) -> list[str]:
        """Known only when the body has been printed."""
        lines = [f"  void *{w} = NULL;" for w in self.workspaces]
        if self.can_fault:
            lines += ["  tl_fault fault;", "  fault.raised = 0;"]
        return ["  int32_t code = 0;", *lines] if self.has_exit_label else lines

    def fail(self, condition: str, code: str) -> None:
        head = f"if ({condition}) " if condition else ""
        if self.has_exit_label:
            with self.block(head.rstrip()):
                self.line(f"code = {code};")
                self.line("goto done;")
        else:
            self.line(f"{head}return {code};")

    def allocate_workspace(self, node: S.Allocate) -> None:
        self.headers.setdefault("#include <stdlib.h>")
        buffer = node.buffer
        count = f"(size_t){self.expr(as_expr(buffer.num_elements), MUL + 1)}"
        name = self.names.fresh_forever(buffer.data)  # freed at the end of the call
        self.workspaces.append(name)
        bits = buffer.dtype.bits * buffer.dtype.lanes
        size = f"({count} + 1) / 2" if bits == 4 else f"{count} * {max(bits // 8, 1)}"
        self.line(f"free({name});")
        self.line(f"{name} = malloc({size} + 64);")  # never 0 bytes
        self.fail(f"!{name}", "1")

    # -- launches ---------------------------------------------------------------------------------

    def stmt_Launch(self, node: S.Launch) -> None:
        kernel = f"{self.func.name}_kernel" + (f"_{len(self.kernels)}" if self.kernels else "")
        prelude = S.annotation(node.annotations, PRELUDE)
        if isinstance(prelude, str) and prelude not in self.preludes:
            self.preludes.append(prelude)
        facts = kernel_facts(self.func, node)
        extents = self._print_grid(node)
        fields = [*self._fields(facts), *self._grid_fields(extents)]
        self.print_kernel(kernel, node, facts, fields, extents)
        if "0" in extents:
            self.line("// an empty grid")
            return
        positive = " && ".join(f"{e} > 0" for e in extents if not e.isdecimal())
        with self.block(f"if ({positive})" if positive else ""):
            self._run(kernel, node, fields, extents)

    def _print_grid(self, node: S.Launch) -> list[str]:
        """Grid extents: constants, or variables of the host function."""
        extents: list[str] = []
        for axis, extent in zip(_AXES, node.grid_extents):
            number = const_value(extent)
            if number is not None:
                extents.append(str(max(int(number), 0)))
                continue
            extents.append(self.names.fresh(f"grid_{axis}"))
            self.line(f"const int64_t {extents[-1]} = {self.expr(extent)};")
        return extents

    def _run(
        self, kernel: str, node: S.Launch, fields: Sequence[Field], extents: Sequence[str]
    ) -> None:
        if fields:
            values = [f".{f.name} = {f.value}" for f in fields]
            self.wrapped(f"struct {kernel}_args args = {{", values, "};")
        arena = S.annotation(node.annotations, ARENA_BYTES, 0)
        blocks = " * ".join(e for e in extents if e != "1") or "1"
        pointer = "&args" if fields else "NULL"
        self.fail(f"tl_run_blocks({kernel}_blocks, {pointer}, {blocks}, {arena}) != 0", "1")
        if self.can_fault:
            self.fail("fault.raised", "tl_fault_report(&fault)")

    def _fields(self, facts: KernelFacts) -> list[Field]:
        dropped = frozenset(self.func.attribute(RESTRICT_DROPPED, ()))
        fields: list[Field] = []
        for pointer in facts.pointers:
            name = self.names.of(pointer.data)
            if pointer.kind is None:
                fields.append(Field(name, "void *", f"void *{name}", name))
                continue
            const = "const " if pointer.is_read_only else ""
            kind = f"{const}{self.storage_type(pointer.kind)} *"
            is_alone = pointer.is_buffer and pointer.data.name not in dropped
            fields.append(Field(name, kind, f"{kind}{'restrict ' * is_alone}{name}", name))
        for var in facts.scalars:
            name, kind = self.names.of(var), self.value_type(var.dtype)
            fields.append(Field(name, kind, self.declaration(f"const {kind}", name), name))
        if facts.can_fault:
            fields.append(Field("fault", "tl_fault *", "tl_fault *fault", "&fault"))
        return fields

    def _grid_fields(self, extents: Sequence[str]) -> list[Field]:
        """Run-time grid extents that block numbers are decoded with."""
        return [Field(e, "int64_t", "", e) for e in extents[:-1] if not e.isdecimal()]


def _is_check(node: object) -> bool:
    return isinstance(node, Call) and node.op in CHECKS


def _is_workspace(node: object) -> bool:
    return isinstance(node, S.Allocate) and node.buffer.scope() == GLOBAL


def extern_name(node: object) -> str:
    """A function of imported source: no variable may hide it."""
    if isinstance(node, Call) and node.op in ("call_extern", "call_pure_extern"):
        name = node.args[0]
        return name.value if isinstance(name, StringImm) else ""
    return ""
