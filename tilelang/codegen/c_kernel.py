"""One launch as C: the program of a block, and the loop that runs a range of blocks.

In: a flattened `Launch` whose buffers have their places (`transform.plan_memory`). Out: lines with

    struct <kernel>_args { ... };
    static void <kernel>(pointers, scalars, block indices, scratch buffers) { ... }
    static void <kernel>_blocks(void *args, int64_t begin, int64_t end, char *arena) { ... }

The last is what the thread pool calls. Buffers are parameters, not variables, because only of
parameters does GCC believe `restrict`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilelang.codegen.c_expr import ANY, UNARY, Text, quote
from tilelang.codegen.c_launch import KernelFacts
from tilelang.codegen.c_ops import COperations
from tilelang.errors import Span
from tilelang.ir import stmt as S
from tilelang.ir.annotation import ARENA_OFFSET, INIT, REDUCTION
from tilelang.ir.buffer import FRAGMENT, GLOBAL, LOCAL, SHARED_SCOPES, VAR, Buffer
from tilelang.ir.expr import Call, Expr, const_value
from tilelang.ir.node import Node
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.record import record
from tilelang.ir.visitor import used_vars, walk

_ON_CHIP = (*SHARED_SCOPES, LOCAL, FRAGMENT, VAR)


@record
class Field:
    """One argument of a launch: a pointer, a scalar, a grid extent or the fault of the call."""

    name: str
    kind: str  # C type in the struct
    parameter: str  # C declaration in the kernel's parameter list; empty: not passed on
    value: str  # text in the host function


class CKernelPrinter(COperations):
    """Device side; `kernels` is the finished text by launch."""

    def __init__(self, body: Node) -> None:
        COperations.__init__(self, body)
        self.kernels: list[list[str]] = []
        self.in_kernel = False

    def print_kernel(
        self, kernel: str, node: S.Launch, facts: KernelFacts, fields: Sequence[Field],
        extents: Sequence[str],
    ) -> None:  # fmt: skip
        """Print one launch into `kernels`; what the host function has so far is kept."""
        kept = (self.lines, self.depth, self.last_line, self.pointer_types)
        self.lines, self.depth, self.last_line, self.pointer_types = [], 0, None, {}
        self.in_kernel = True
        for pointer in facts.pointers:
            if pointer.kind is not None:
                self.pointer_types[pointer.data] = self.storage_type(pointer.kind)
        self._print_arguments(kernel, fields)
        with self.names.scope():
            self._print_block_program(kernel, node, facts, fields)
        self._print_block_loop(kernel, node, facts, fields, extents)
        self.kernels.append(self.lines)
        self.in_kernel = False
        self.lines, self.depth, self.last_line, self.pointer_types = kept

    def _print_arguments(self, kernel: str, fields: Sequence[Field]) -> None:
        if not fields:
            return
        with self.block(f"struct {kernel}_args", "};"):
            for field in fields:
                self.line(f"{self.declaration(field.kind, field.name)};")
        self.line()

    def _print_block_program(
        self, kernel: str, node: S.Launch, facts: KernelFacts, fields: Sequence[Field]
    ) -> None:
        params = [f.parameter for f in fields if f.parameter]
        for var in node.grid_vars:
            params.append(f"const {self.value_type(var.dtype)} {self.names.define(var)}")
            self.signs.add(var)
        for buffer in facts.arena:
            element = self.pointer_types[buffer.data] = self.storage_type(buffer.kind)
            restrict = "" if buffer.shares else "restrict "
            params.append(f"{element} *{restrict}{self.names.define(buffer.data)}")
        self.wrapped(f"static void {kernel}(", params, ") {")
        self.depth = 1
        if facts.uses_rng:
            self.include("rng.h")
            self.line("tl_rng rng;")
        with self.names.scope():
            self.stmt(node.body)
        self.depth = 0
        self.line("}")
        self.line()

    def _print_block_loop(
        self, kernel: str, node: S.Launch, facts: KernelFacts, fields: Sequence[Field],
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
                for b in facts.arena:
                    values.append(f"({self.storage_type(b.kind)} *)(arena + {b.offset})")
                self.wrapped(f"{kernel}(", values, ");")

    def _block_indices(self, node: S.Launch, extents: Sequence[str]) -> list[str]:
        """Each block index from the block's number, x fastest."""
        texts: list[str] = []
        rest = "block"
        looping = [e for e in extents if e != "1"]
        for var, extent in zip(node.grid_vars, extents):
            if extent == "1":
                texts.append("0")
                continue
            looping.pop(0)
            size = extent if extent.isdecimal() else f"a->{extent}"
            index = f"{rest} % {size}" if looping else rest
            kind = self.value_type(var.dtype)
            texts.append(f"({kind}){index}" if index == "block" else f"({kind})({index})")
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

    def allocate_workspace(self, node: S.Allocate) -> None:
        """Global memory for the rest of the call."""
        raise AssertionError("plan_memory has moved workspaces out of launches")

    def _declare_array(self, buffer: Buffer) -> None:
        count = const_value(buffer.num_elements)
        assert isinstance(count, int), "plan_memory has checked the extents"
        kind = self.storage_type(buffer.dtype)
        size = -(-count // 2) if buffer.dtype.bits == 4 else count
        self.pointer_types[buffer.data] = kind
        name = self.names.define(buffer.data)
        self.line(f"{kind} {name}[{max(size, 1)}] __attribute__((aligned(64)));")

    def stmt_Assert(self, node: S.Assert) -> None:
        message = node.message or "assertion failed"
        text = quote(f"{where(node.span)}: {message}")
        with self.block(f"if (!{self.expr(node.condition, UNARY)})"):
            if self.in_kernel:
                self.line(f'tl_fault_raise(fault, "%s", {text});')
                self.line("return;")
            else:
                self.line(f'tl_fault_raise(&fault, "%s", {text});')
                self.fail("", "tl_fault_report(&fault)")

    def fail(self, condition: str, code: str) -> None:
        """Leave the host function."""
        raise AssertionError(f"a kernel cannot return {code} when {condition}")

    def call_thread_return(self, value: Call) -> Text:
        return "return", ANY

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


def can_be_simd(loop: S.For) -> bool:
    """Whether the C compiler may run iterations side by side: nothing in them leaves, prints, calls
    what we do not know, changes half a byte, or stores where every iteration does."""
    reductions = S.annotation(loop.annotations, REDUCTION, ())
    assert isinstance(reductions, tuple)
    own = {buffer.data for _, buffer in reductions}  # storage of which each iteration has its own
    varying = {loop.var}
    for node in walk(loop.body):
        match node:
            case S.Assert() | S.Break() | S.Continue() | S.While():
                return False
            case Call() if not _is_inlined(node.op):
                return False
            case S.Allocate():
                own.add(node.buffer.data)
            case S.Bind() if not varying.isdisjoint(used_vars(node.value)):
                varying.add(node.var)
            case S.BufferStore():
                index = (v for i in node.indices for v in used_vars(i))
                if node.buffer.data not in own and varying.isdisjoint(index):
                    return False
                if node.buffer.dtype.bits == 4:
                    return False
            case _:
                pass
    return True


def _is_inlined(op: str) -> bool:
    return effect_of(op) is Effect.PURE and op != "call_pure_extern"
