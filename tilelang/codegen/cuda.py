"""Thread IR to CUDA text.

In: the flattened PrimFunc of the last pass for the target `cuda`: what one thread does. Out: one
translation unit with a kernel per launch,

    extern "C" __global__ void __launch_bounds__(128) <name>_kernel(const tl_float16 *A, ...)

whose parameters are those of `kernel_launch.kernel_launches`. The text names only functions of
`device/cuda` and CUDA's own words, so NVRTC and the emulator take it as it is. The host side is
printed elsewhere. Nothing is decided here.

Pointers are `__restrict__` unless the function's `tilelang_may_alias` lists them or they are bare
addresses; shared memory is one dynamic array, in which each buffer has its offset.
"""

from __future__ import annotations

from typing import Any

from tilelang.codegen.c import extern_name
from tilelang.codegen.c_expr import UNARY, quote
from tilelang.codegen.c_kernel import where
from tilelang.codegen.c_launch import KernelFacts, Pointer
from tilelang.codegen.cuda_ops import CudaOperations
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.codegen.kernel_launch import KernelLaunch, kernel_launches, source_kernel
from tilelang.errors import TargetError
from tilelang.ir import stmt as S
from tilelang.ir.annotation import (
    ARENA_OFFSET,
    INIT,
    MIN_BLOCKS_PER_SM,
    PRELUDE,
    UNROLL_FACTOR,
)
from tilelang.ir.buffer import LOCAL, SHARED_SCOPES, Buffer
from tilelang.ir.expr import Expr, Var, const_value
from tilelang.ir.func import (
    PASS_CONFIGS,
    RESTRICT_DROPPED,
    SOURCE_PRELUDE,
    PrimFunc,
    imported_text,
)
from tilelang.ir.visitor import walk
from tilelang.transform.config import PassConfigKey, normalize, option

ARENA = "tl_arena"
_ARENA_ALIGNMENT = 1024  # bytes; what a 128-byte swizzle needs
_LOCAL_ALIGNMENT = 16  # bytes; the widest access
_AXES = "xyz"
_QUIET = "#pragma nv_diag_suppress 177, 550  // names that the user's program does not use"
_MAX_THREADS = 1024
_CPP_WORDS = """
    alignas alignof and and_eq asm bitand bitor catch char16_t char32_t class compl concept
    const_cast constexpr decltype delete dynamic_cast explicit export friend mutable namespace new
    noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast requires
    static_assert static_cast template this thread_local throw try typeid typename using virtual
    wchar_t xor xor_eq threadIdx blockIdx blockDim gridDim warpSize printf min max abs rng
""".split()  # noqa: SIM905 - a list of that many quoted words is hard to read


def print_cuda(func: PrimFunc, target: Any = None) -> str:
    """The CUDA text of `func`.

    Raises:
        TargetError: at the user's line, for what the target does not have.
    """
    del target  # the headers choose by the compiler's own macros
    return CudaPrinter(func).unit()


class CudaPrinter(CudaOperations):
    """Prints one function; `unit` gives the whole text."""

    max_unroll = 1 << 30  # register arrays are indexed by variables of unrolled loops

    def __init__(self, func: PrimFunc) -> None:
        CudaOperations.__init__(self)
        self.func = func
        self.preludes: list[str] = list(func.attribute(SOURCE_PRELUDE, ()))
        self.names.reserve(*_CPP_WORDS)
        self.names.reserve(*(n for n in map(extern_name, walk(func.body)) if n))
        configs = normalize(dict(func.attribute(PASS_CONFIGS, ())))
        self.has_line_directives = bool(option(configs, PassConfigKey.TL_EMIT_LINE_DIRECTIVES))
        self.include("types.h")

    def unit(self) -> str:
        """The translation unit."""
        kernels: list[str] = []
        preludes = {text: text for text in self.preludes}  # each once
        for launch in kernel_launches(self.func):
            prelude = S.annotation(launch.node.annotations, PRELUDE)
            if isinstance(prelude, str):
                preludes.setdefault(prelude, imported_text(prelude, launch.span))
            source = source_kernel(launch.node)
            kernels.append(
                imported_text(source[0], launch.span) if source else self._kernel(launch)
            )
        headers = "\n".join((_QUIET, *self.headers))
        return "\n\n".join((headers, *preludes.values(), *kernels)) + "\n"

    # -- one kernel -------------------------------------------------------------------------------

    def _kernel(self, launch: KernelLaunch) -> str:
        self.lines, self.depth, self.last_line, self.pointer_types = [], 0, None, {}
        self.span = launch.span
        if launch.num_threads > _MAX_THREADS:
            raise TargetError(
                f"Kernel: {launch.num_threads} threads; a block has at most {_MAX_THREADS}",
                launch.span,
            )
        with self.names.scope():
            params = self._parameters(launch.facts)
            head = f'extern "C" __global__ void __launch_bounds__({self._bounds(launch)})'
            self.wrapped(f"{head} {launch.name}(", params, ") {")
            self.depth = 1
            self._declare_arena(launch)
            self._declare_indices(launch)
            if launch.facts.uses_rng:
                self.include("rng.h")
                self.line("tl_rng rng;")
            with self.names.scope():
                self.stmt(launch.node.body)
            self.depth = 0
            self.line("}")
        return "\n".join(self.lines)

    def _bounds(self, launch: KernelLaunch) -> str:
        wanted = [
            n.value
            for n in walk(launch.node)
            if isinstance(n, S.Attr) and n.key == MIN_BLOCKS_PER_SM
        ]
        return ", ".join(map(str, [launch.num_threads, *wanted[:1]]))

    def _parameters(self, facts: KernelFacts) -> list[str]:
        symbols = set(dynamic_symbols(self.func))
        params = [self._pointer_parameter(p) for p in facts.pointers]
        for var in facts.scalars:
            if var in symbols:
                self.signs.add(var)  # an extent or a stride
            kind = self.declaration(self.value_type(var.dtype), self.names.define(var))
            params.append(f"const {kind}")
        return params

    def _pointer_parameter(self, pointer: Pointer) -> str:
        name = self.names.define(pointer.data)
        if pointer.kind is None:
            return f"void *{name}"
        kind = self.pointer_types[pointer.data] = self.storage_type(pointer.kind)
        const = "const " if pointer.is_read_only else ""
        dropped = self.func.attribute(RESTRICT_DROPPED, ())
        is_alone = pointer.is_buffer and pointer.data.name not in dropped
        return f"{const}{kind} *{'__restrict__ ' * is_alone}{name}"

    def _declare_arena(self, launch: KernelLaunch) -> None:
        if not launch.facts.arena:
            return
        words = f"__align__({_ARENA_ALIGNMENT}) unsigned char {ARENA}[]"
        self.line(f"extern __shared__ {words};")
        for buffer in launch.facts.arena:
            kind = self.pointer_types[buffer.data] = self.storage_type(buffer.kind)
            place = f"({ARENA} + {buffer.offset})" if buffer.offset else ARENA
            self.line(f"{kind} *const {self.names.define(buffer.data)} = ({kind} *){place};")

    def _declare_indices(self, launch: KernelLaunch) -> None:
        node = launch.node
        used = {n for n in walk(node.body) if isinstance(n, Var)}
        groups = (("blockIdx", node.grid_vars), ("threadIdx", node.thread_vars))
        for index, variables in groups:
            for axis, var in zip(_AXES, variables):
                if var in used:
                    self._declare_index(var, f"{index}.{axis}")

    def _declare_index(self, var: Var, place: str) -> None:
        self.signs.add(var)
        kind = self.value_type(var.dtype)
        name = self.names.define(var)
        self.line(f"const {kind} {name} = ({kind}){place};")

    # -- statements -------------------------------------------------------------------------------

    def line(self, text: str = "") -> None:
        if self.has_line_directives and self.last_line and text and not text.startswith("//"):
            file, number = self.last_line  # of the user; said anew for each line, or it would count
            self.lines.append(f"#line {number} {quote(file)}")
        CudaOperations.line(self, text)

    def stmt_Allocate(self, node: S.Allocate) -> None:
        buffer = node.buffer
        if buffer.is_var:
            init = S.annotation(node.annotations, INIT)
            self.declare_variable(node, init if isinstance(init, Expr) else None)
        elif buffer.scope() == LOCAL:
            self._declare_array(buffer, f"alignas({_LOCAL_ALIGNMENT}) ")
        elif buffer.scope() not in SHARED_SCOPES:
            raise self.error(f"`{buffer.name}`: the target `cuda` has no {buffer.scope()} memory")
        elif S.annotation(node.annotations, ARENA_OFFSET) is None:
            self._declare_array(buffer, "__shared__ __align__(16) ")

    def _declare_array(self, buffer: Buffer, words: str) -> None:
        count = const_value(buffer.num_elements)
        if not isinstance(count, int):
            message = f"`{buffer.name}` has {buffer.num_elements} elements; the number of elements"
            raise self.error(f"{message} on the chip is fixed when a kernel is compiled")
        kind = self.storage_type(buffer.dtype)
        size = -(-count // 2) if buffer.dtype.bits == 4 else count
        self.pointer_types[buffer.data] = kind
        self.line(f"{words}{kind} {self.names.define(buffer.data)}[{max(size, 1)}];")

    def stmt_Assert(self, node: S.Assert) -> None:
        text = f"{where(node.span)}: {node.message or 'assertion failed'}\n".replace("%", "%%")
        with self.block(f"if (!{self.expr(node.condition, UNARY)})"):
            self.line(f"{self.printf(text, [])[0]};")
            self.line("__trap();")

    def loop_pragmas(self, node: S.For) -> list[str]:
        if node.kind not in (S.LoopKind.UNROLLED, S.LoopKind.VECTORIZED):
            return []
        factor = S.annotation(node.annotations, UNROLL_FACTOR)
        if isinstance(factor, int):
            return [f"#pragma unroll {factor}"]
        return ["#pragma unroll"] if const_value(node.extent) is not None else []
