"""Thread IR to one C translation unit for the CPU.

In: the flattened PrimFunc of the last pass, whose `Launch`es say how much scratch memory a block
needs. Out: text with, per launch, `<name>_kernel` (the program of one block) and
`<name>_kernel_blocks` (runs a range of blocks; what the thread pool calls), then the host function

    int32_t <host_function_name>(void *A, float alpha, ..., int32_t m, ...)

with the parameters in order and the symbols of shapes and strides after them. It returns 0; 1 when
memory ran out; TL_CODE_FAULT when a check failed (`device/c/fault.h`). `tl_set_runtime` must have
been called with the address of `tl_parallel_for`. Arguments are checked by `codegen.host_c`, not here.

Pointers are `restrict` unless the function's `tilelang_may_alias` lists them, or their memory is
shared with another buffer of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tilelang.codegen.c_expr import MUL, UNARY, quote
from tilelang.codegen.c_launch import KernelFacts, kernel_facts
from tilelang.codegen.c_names import identifier
from tilelang.codegen.c_ops import COperations
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.errors import Span
from tilelang.ir import stmt as S
from tilelang.ir.annotation import ARENA_BYTES, ARENA_OFFSET, INIT, PRELUDE, REDUCTION
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Call, Expr, Var, as_expr, const_value
from tilelang.ir.func import RESTRICT_DROPPED, SOURCE_PRELUDE, PrimFunc
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.visitor import walk

_UNIT_HEADERS = ('#include "runtime.h"',)
_RUNTIME_HOOK = """
static tl_parallel_for_fn tl_run_blocks;

TL_API void tl_set_runtime(void *parallel_for) {
  tl_run_blocks = (tl_parallel_for_fn)parallel_for;
}
"""
_AXES = "xyz"
_ON_CHIP = ("shared", "shared.dyn", "local", "local.fragment", "local.var")
_IN_ORDER = (S.Assert, S.Break, S.Continue, S.While)


def print_c(func: PrimFunc, target: Any = None) -> str:
    """The C text of `func`.

    Raises:
        TargetError: at the user's line, for what a CPU does not have.
    """
    del target  # the headers choose by the compiler's own macros
    return CPrinter(func).unit()


def host_function_name(func: PrimFunc) -> str:
    """Name of the C function that runs `func`; never one that C or its library has."""
    return f"{identifier(func.name)}_host"


def scalar_type(kind: dtype) -> str:
    """C type in which the host function takes a scalar; short floats come as `float`."""
    if kind.is_bool:
        return "_Bool"
    if kind.is_int:
        return f"{'u' if kind.kind == 'uint' else ''}int{max(kind.bits, 8)}_t"
    if kind.is_float:
        return "double" if kind.bits == 64 else "float"
    return "void *"


@dataclass(frozen=True, slots=True)
class _Field:
    """One argument of a launch: a pointer, a scalar, a grid extent or the fault of the call."""

    name: str
    kind: str  # C type in the struct
    parameter: str  # C declaration in the kernel's parameter list
    value: str  # text in the host function


class CPrinter(COperations):
    """Prints one function; `unit` gives the whole text."""

    def __init__(self, func: PrimFunc) -> None:
        COperations.__init__(self)
        self.func = func
        self.name = identifier(func.name)
        self.kernels: list[list[str]] = []  # text of the device side, by launch
        self.preludes: list[str] = list(func.attribute(SOURCE_PRELUDE, ()))
        self.workspaces: list[str] = []
        self.in_kernel = False
        self.has_exit_label = any(
            isinstance(n, S.Allocate) and n.buffer.scope() == GLOBAL for n in walk(func.body)
        )
        self.names.reserve(*_extern_names(func), "args", "code", "fault", "rng", "block", "arena")
        self.names.reserve("begin", "end", "tl_run_blocks")

    def unit(self) -> str:
        """The translation unit."""
        host = self.host_function()
        parts = ["\n".join((*_UNIT_HEADERS, *self.headers)), *self.preludes, _RUNTIME_HOOK.strip()]
        parts += ["\n".join(kernel) for kernel in self.kernels]
        return "\n\n".join((*parts, "\n".join(host))) + "\n"

    # -- host side --------------------------------------------------------------------------------

    def host_function(self) -> list[str]:
        """Lines of the host function; the kernels are printed on the way."""
        symbols = dynamic_symbols(self.func)
        params: list[str] = []
        for param in (*self.func.params, *symbols):
            is_buffer = isinstance(param, Buffer)
            var = param.data if is_buffer else param
            kind = "void *" if is_buffer else scalar_type(param.dtype)
            params.append(self.declaration(kind, self.names.define(var)))
            if var in symbols:
                self.signs.add(var)
        head = f"int32_t {host_function_name(self.func)}("
        self.wrapped(head, params or ["void"], ") {")
        self.depth = 1
        self.can_fault = any(kernel_can_fault(n) for n in walk(self.func.body))
        body_start = len(self.lines)
        with self.names.scope():
            self.stmt(self.func.body)
        self.lines[body_start:body_start] = self._host_declarations()
        self._host_exit()
        self.depth = 0
        self.line("}")
        return self.lines

    def _host_declarations(self) -> list[str]:
        lines = [f"  void *{w} = NULL;" for w in self.workspaces]
        if self.can_fault:
            self.include("fault.h")
            lines += ["  tl_fault fault;", "  fault.raised = 0;"]
        return ["  int32_t code = 0;", *lines] if self.has_exit_label else lines

    def _host_exit(self) -> None:
        if not self.has_exit_label:
            self.line("return 0;")
            return
        self.lines.append("done:")
        for workspace in self.workspaces:
            self.line(f"free({workspace});")
        self.line("return code;")

    def fail(self, condition: str, code: str) -> None:
        """Leave the host function with `code` when `condition` holds."""
        if self.has_exit_label:
            with self.block(f"if ({condition})"):
                self.line(f"code = {code};")
                self.line("goto done;")
        else:
            self.line(f"if ({condition}) return {code};")

    def allocate_workspace(self, node: S.Allocate) -> None:
        """Global memory for the rest of the call."""
        self.headers.setdefault("#include <stdlib.h>")
        buffer = node.buffer
        count = self.expr(as_expr(buffer.num_elements), MUL)
        name = self.names.define(buffer.data)
        self.names.reserve(name)  # freed at the end, so no other may have it
        self.workspaces.append(name)
        bits = buffer.dtype.bits * buffer.dtype.lanes
        size = f"((size_t){count} + 1) / 2" if bits == 4 else f"(size_t){count} * {bits // 8 or 1}"
        self.line(f"free({name});")
        self.line(f"{name} = malloc({size} + 64);")
        self.fail(f"!{name}", "1")

    def stmt_Launch(self, node: S.Launch) -> None:
        kernel = f"{self.name}_kernel" + (f"_{len(self.kernels)}" if self.kernels else "")
        facts = kernel_facts(self.func, node)
        with self.block(""):
            extents = self._print_grid(node)
            fields = [*self._fields(facts), *self._grid_fields(node, extents)]
            self.print_kernel(kernel, node, facts, fields, extents)
            positive = " && ".join(f"{e} > 0" for e in extents if not e.isdecimal())
            if positive:
                with self.block(f"if ({positive})"):
                    self._run(kernel, node, fields, extents)
            elif "0" not in extents:
                self._run(kernel, node, fields, extents)

    def _print_grid(self, node: S.Launch) -> list[str]:
        """Grid extents as constants or as variables of the host function."""
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
        self, kernel: str, node: S.Launch, fields: Sequence[_Field], extents: Sequence[str]
    ) -> None:
        if fields:
            values = [f".{f.name} = {f.value}" for f in fields]
            self.wrapped(f"struct {kernel}_args args = {{", values, "};")
        arena = S.annotation(node.annotations, ARENA_BYTES, 0)
        blocks = " * ".join(e for e in extents if e != "1") or "1"
        pointer = "&args" if fields else "NULL"
        call = f"tl_run_blocks({kernel}_blocks, {pointer}, {blocks}, {arena})"
        self.fail(f"{call} != 0", "1")
        if self.can_fault:
            self.fail("fault.raised", "tl_fault_report(&fault)")

    # -- what a kernel is given -------------------------------------------------------------------

    def _fields(self, facts: KernelFacts) -> list[_Field]:
        dropped = frozenset(self.func.attribute(RESTRICT_DROPPED, ()))
        fields: list[_Field] = []
        for pointer in facts.pointers:
            name = self.names.of(pointer.data)
            element = "void" if pointer.kind is None else self.storage_type(pointer.kind)
            const = "const " if pointer.is_read_only and pointer.kind is not None else ""
            kind = f"{const}{element} *"
            restrict = pointer.is_buffer and pointer.data.name not in dropped
            fields.append(_Field(name, kind, kind + ("restrict " * restrict) + name, name))
        for var in facts.scalars:
            name = self.names.of(var)
            kind = self.value_type(var.dtype)
            fields.append(_Field(name, kind, self.declaration(f"const {kind}", name), name))
        if facts.can_fault:
            fields.append(_Field("fault", "tl_fault *", "tl_fault *fault", "&fault"))
        return fields

    def _grid_fields(self, node: S.Launch, extents: Sequence[str]) -> list[_Field]:
        """Run-time grid extents, which `<kernel>_blocks` decodes block numbers with."""
        needed = extents[:-1] if len(extents) > 1 else []
        return [_Field(e, "int64_t", "", e) for e in needed if not e.isdecimal()]

    # -- device side ------------------------------------------------------------------------------

    def print_kernel(
        self, kernel: str, node: S.Launch, facts: KernelFacts, fields: Sequence[_Field],
        extents: Sequence[str],
    ) -> None:  # fmt: skip
        """The struct of arguments, the program of one block, and the loop over blocks."""
        host_lines, self.lines = self.lines, []
        host_depth, self.depth, host_line = self.depth, 0, self.last_line
        host_types, self.pointer_types = self.pointer_types, {}
        self.in_kernel, self.uses_rng, self.last_line = True, False, None
        self._add_prelude(node)
        self._print_arguments(kernel, fields)
        for pointer in facts.pointers:
            if pointer.kind is not None:
                self.pointer_types[pointer.data] = self.storage_type(pointer.kind)
        with self.names.scope():
            self._print_block_program(kernel, node, facts, fields)
            self._print_block_loop(kernel, node, facts, fields, extents)
        self.kernels.append(self.lines)
        self.lines, self.depth, self.last_line = host_lines, host_depth, host_line
        self.pointer_types, self.in_kernel = host_types, False

    def _add_prelude(self, node: S.Launch) -> None:
        prelude = S.annotation(node.annotations, PRELUDE)
        if isinstance(prelude, str) and prelude not in self.preludes:
            self.preludes.append(prelude)

    def _print_arguments(self, kernel: str, fields: Sequence[_Field]) -> None:
        if not fields:
            return
        with self.block(f"struct {kernel}_args", "};"):
            for field in fields:
                self.line(f"{self.declaration(field.kind, field.name)};")
        self.line()

    def _print_block_program(
        self, kernel: str, node: S.Launch, facts: KernelFacts, fields: Sequence[_Field]
    ) -> None:
        params = [f.parameter for f in fields if f.parameter]
        for var in node.grid_vars:
            kind = self.value_type(var.dtype)
            params.append(f"const {kind} {self.names.define(var)}")
            self.signs.add(var)
        for data, kind, shares in facts.arena:
            element = self.pointer_types[data] = self.storage_type(kind)
            restrict = "" if shares else "restrict "
            params.append(f"{element} *{restrict}{self.names.define(data)}")
        start = len(self.lines)
        self.depth = 1
        with self.names.scope():
            self.stmt(node.body)
        body, self.lines = self.lines[start:], self.lines[:start]
        self.depth = 0
        self.wrapped(f"static void {kernel}(", params, ") {")
        if self.uses_rng_state(body):
            self.lines.append("  tl_rng rng;")
        self.lines += [*body, "}", ""]

    def uses_rng_state(self, body: Sequence[str]) -> bool:
        """Whether the text at hand draws random numbers (set while its expressions are printed)."""
        return self.uses_rng and bool(body)

    def _print_block_loop(
        self, kernel: str, node: S.Launch, facts: KernelFacts, fields: Sequence[_Field],
        extents: Sequence[str],
    ) -> None:  # fmt: skip
        head = f"static void {kernel}_blocks(void *args, int64_t begin, int64_t end, char *arena)"
        with self.block(head):
            if fields:
                self.line(f"const struct {kernel}_args *a = args;")
            with self.block("for (int64_t block = begin; block < end; ++block)"):
                if facts.can_fault:
                    self.line("if (tl_fault_raised(a->fault)) return;")
                values = [f"a->{f.name}" for f in fields if f.parameter]
                values += self._block_indices(node, extents)
                for data, kind, offset in facts.arena_offsets:
                    values.append(f"({self.storage_type(kind)} *)(arena + {offset})")
                    del data
                self.wrapped(f"{kernel}(", values, ");")

    def _block_indices(self, node: S.Launch, extents: Sequence[str]) -> list[str]:
        """Each block index from the block's number, x fastest."""
        texts: list[str] = []
        rest = "block"
        for i, (var, extent) in enumerate(zip(node.grid_vars, extents)):
            is_last = i + 1 == len(extents)
            size = extent if extent.isdecimal() else f"a->{extent}"
            index = rest if is_last else f"{rest} % {size}"
            simple = index == "block"
            kind = self.value_type(var.dtype)
            if extent == "1":
                texts.append("0")
            else:
                texts.append(f"({kind}){index}" if simple else f"({kind})({index})")
                rest = f"{rest} / {size}"
        return texts

    # -- statements -------------------------------------------------------------------------------

    def stmt_Allocate(self, node: S.Allocate) -> None:
        buffer = node.buffer
        if buffer.scope() == GLOBAL:
            self.allocate_workspace(node)
        elif buffer.scope() not in _ON_CHIP:
            raise self.error(f"`{buffer.name}`: the target `c` has no {buffer.scope()} memory")
        elif buffer.is_var:
            init = S.annotation(node.annotations, INIT)
            self.declare_variable(node, init if isinstance(init, Expr) else None)
        elif S.annotation(node.annotations, ARENA_OFFSET) is None:
            self._declare_array(buffer)

    def _declare_array(self, buffer: Buffer) -> None:
        count = const_value(buffer.num_elements)
        assert isinstance(count, int), "plan_memory has checked the extents"
        kind = self.storage_type(buffer.dtype)
        size = -(-count // 2) if buffer.dtype.bits == 4 else count
        self.pointer_types[buffer.data] = kind
        name = self.names.define(buffer.data)
        self.line(f"{kind} {name}[{max(size, 1)}] __attribute__((aligned(64)));")

    def stmt_Assert(self, node: S.Assert) -> None:
        text = f"{where(node.span)}: {node.message or 'assertion failed'}"
        condition = self.expr(node.condition, UNARY)
        fault = "fault" if self.in_kernel else "&fault"
        raise_ = f'tl_fault_raise({fault}, "%s", {quote(text)});'
        with self.block(f"if (__builtin_expect(!{condition}, 0))"):
            self.line(raise_)
            if self.in_kernel:
                self.line("return;")
            else:
                self.fail("1", "tl_fault_report(&fault)")

    def call_thread_return(self, value: Call) -> tuple[str, int]:
        return "return", 0

    def loop_pragmas(self, node: S.For) -> list[str]:
        if node.kind is not S.LoopKind.VECTORIZED or not can_be_simd(node):
            return COperations.loop_pragmas(self, node)
        clauses = ""
        reductions = S.annotation(node.annotations, REDUCTION, ())
        assert isinstance(reductions, tuple)
        for operator, buffer in reductions:
            clauses += f" reduction({operator}:{self.names.of(buffer.data)})"
        return [f"#pragma omp simd{clauses}"]


def where(span: Span | None) -> str:
    """`matmul.py:22`, for messages."""
    return f"{span.file}:{span.line}" if span else "<unknown line>"


def kernel_can_fault(node: object) -> bool:
    """Whether the statement or call may end the kernel with a message."""
    checks = ("tl_check_index", "tl_check_written")
    return isinstance(node, S.Assert) or (isinstance(node, Call) and node.op in checks)


def can_be_simd(loop: S.For) -> bool:
    """Whether the C compiler may run iterations side by side: nothing in them leaves, prints, or
    changes half a byte."""
    for node in walk(loop.body):
        if isinstance(node, _IN_ORDER):
            return False
        if isinstance(node, Call) and effect_of(node.op) is not Effect.PURE:
            return False
        if isinstance(node, S.BufferStore) and node.buffer.dtype.bits == 4:
            return False
        if isinstance(node, Call) and node.op == "call_pure_extern":
            return False
    return True


def _extern_names(func: PrimFunc) -> list[str]:
    """Functions of imported source: no variable may hide them."""
    names: list[str] = []
    for node in walk(func.body):
        if isinstance(node, Call) and node.op in ("call_extern", "call_pure_extern"):
            name: Any = node.args[0]
            names.append(name.value)
    return names


def is_free(var: Var, bound: set[Var]) -> bool:
    """Whether `var` comes from outside."""
    return var not in bound
