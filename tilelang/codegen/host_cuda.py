"""The host side of a CUDA function as C: what a call does around its kernels.

In: the flattened PrimFunc of the last pass, from `engine.cuda_build`. Out: text with

    static const tl_kernel tl_kernels[] = {...};
    static int32_t <name>_run(int32_t device, void *stream, void *A, float alpha, ..., int32_t m)

with the parameters in order and the symbols of shapes and strides after them. It evaluates grid
extents, launches the kernels in program order on `stream` (an empty grid launches nothing), and
owns workspaces in global memory. What it calls is `device/c/cuda_driver.h`, or a header of the same
functions. Callers come in through `host_c`'s entry point (`library_text`) or through a plain C
interface (`plain_interface`). Kernels themselves are not printed here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tilelang.codegen.c import define_parameters, scalar_type
from tilelang.codegen.c_expr import MUL, quote
from tilelang.codegen.c_kernel import CKernelPrinter
from tilelang.codegen.host_c import CUDA, emit_entry
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.codegen.kernel_launch import KernelLaunch, kernel_launches
from tilelang.errors import Span
from tilelang.ir import stmt as S
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import Var, as_expr, const_value
from tilelang.ir.func import PrimFunc

RUN_SUFFIX = "_run"  # the host function is called `<name>_run`
CALLEE_SUFFIX = "_on_current_stream"
FAILURE_REASON = "tl_message()"  # C expression: why the last call of this thread failed
DRIVER_HEADER = '#include "cuda_driver.h"'
_OWN_NAMES = ("device", "stream", "call", "code", "args", "done")
_BYTES_PER_LINE = 4096


def print_host(func: PrimFunc, header: str = DRIVER_HEADER) -> str:
    """The kernel table and the host function of `func`.

    Args:
        func: after the last pass.
        header: defines what the text calls.

    Raises:
        TargetError: at the user's line, for what the host cannot compute.
    """
    return CudaHostPrinter(func).unit(header)


def library_text(func: PrimFunc, lowered: PrimFunc, arch: str) -> str:
    """A whole translation unit: kernel table, host function, FFI entry point.

    The kernels have to be handed over, or made part of it by `embed`.

    Args:
        func: as traced; its parameters are the arguments.
        lowered: after the last pass.
        arch: what the kernels are compiled for, for messages.
    """
    run, callee = func.name + RUN_SUFFIX, func.name + CALLEE_SUFFIX
    params = host_parameters(func)
    declared = ", ".join(["int32_t device", *(_declared(kind, name) for kind, name in params)])
    passed = ["device", f"TVMFFIEnvGetStream({CUDA.device_type}, device)"]
    passed += [name for _, name in params]
    glue = (
        "extern void *TVMFFIEnvGetStream(int32_t device_type, int32_t device_id);\n\n"
        f"static int32_t {callee}({declared}) {{\n"
        f"  if (device < 0) device = tl_current_device();\n"
        f"  return {run}({', '.join(passed)});\n}}\n"
    )
    entry = emit_entry(func, callee, residence=CUDA, failure_reason=FAILURE_REASON)
    return "\n".join((_arch_text(arch), print_host(lowered), glue, entry))


def embed(text: str, image: bytes) -> str:
    """`text` of a library with the cubin as a part of it.

    As a string literal: compilers read one ten times faster than a list of numbers.
    """
    chunks = (image[i : i + _BYTES_PER_LINE] for i in range(0, len(image), _BYTES_PER_LINE))
    lines = "\n".join('    "' + "".join(map(_escaped, chunk)) + '"' for chunk in chunks)
    return (
        f"static const char tl_embedded[] __attribute__((aligned(64))) =\n{lines};\n"
        f"#define TL_IMAGE tl_embedded\n{text}"
    )


def _escaped(byte: int) -> str:
    return f"\\{byte:03o}"  # three digits: a digit after them is no part of the escape


def _arch_text(arch: str) -> str:
    return f"#define TL_ARCH {quote(arch)}\n"


def plain_interface(func: PrimFunc, lowered: PrimFunc, arch: str) -> tuple[str, str]:
    """Text of a library that plain C programs call, and of its header; see `embed`.

        int init(void);                       0, or -1: no driver, no device
        const char *get_last_error(void);     why the last call of this thread failed
        int call(A, ..., symbols, stream);    0, or -1; arguments are device addresses and numbers

    The kernels run on the device of the current context.
    """
    names = [name for _, name in host_parameters(func)]
    declared = call_parameters(func, "void *stream")
    run = f"{func.name}{RUN_SUFFIX}"
    text = (
        "TL_EXPORT int init(void) {\n  int device = -1;\n  tl_text[0] = 0;\n"
        "  return tl_prepare(&device) ? -1 : 0;\n}\n\n"
        "TL_EXPORT const char *get_last_error(void) { return tl_text; }\n\n"
        f"TL_EXPORT int call({declared}) {{\n  int device = -1;\n  tl_text[0] = 0;\n"
        "  if (tl_prepare(&device) != 0) return -1;\n"
        f"  return {run}({', '.join(['device', 'stream', *names])}) != 0 ? -1 : 0;\n}}\n"
    )
    unit = "\n".join((_arch_text(arch), print_host(lowered), text))
    return unit, header_text(func, declared)


def call_parameters(func: PrimFunc, *more: str) -> str:
    """Parameter list of `call`: the function's own, the symbols, then `more`."""
    return ", ".join([*(_declared(*p) for p in host_parameters(func)), *more]) or "void"


def header_text(func: PrimFunc, declared: str) -> str:
    """The C header of a library with `init`, `call` and `get_last_error`."""
    guard = f"TILELANG_{func.name.upper()}_H"
    return (
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdbool.h>\n#include <stdint.h>\n\n"
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        "/* 0 when the library can be used; otherwise get_last_error() says why. */\n"
        "int init(void);\n\n"
        "/* Why this thread's last call failed; empty if it did not. */\n"
        "const char *get_last_error(void);\n\n"
        f"/* {func.name}: 0 when all went well. */\nint call({declared});\n\n"
        "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
    )


def host_parameters(func: PrimFunc) -> list[tuple[str, str]]:
    """(C type, name) of each parameter, then of each symbol."""
    params: list[tuple[str, str]] = []
    for p in func.params:
        kind = "void *" if isinstance(p, Buffer) else scalar_type(p.dtype)
        params.append((kind, f"arg_{p.name}" if p.name in _OWN_NAMES else p.name))
    return params + [(scalar_type(v.dtype), v.name) for v in dynamic_symbols(func)]


def _declared(kind: str, name: str) -> str:
    return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}"


def where(span: Span | None) -> str:
    """`matmul.py:22`, for messages about a kernel."""
    return f"{os.path.basename(span.file)}:{span.line}" if span else "generated"


class CudaHostPrinter(CKernelPrinter):
    """Prints the host function; `unit` gives the text."""

    def __init__(self, func: PrimFunc) -> None:
        CKernelPrinter.__init__(self, func.body)
        self.func = func
        self.launches: list[KernelLaunch] = kernel_launches(func)
        self.index_of = {id(k.node): i for i, k in enumerate(self.launches)}
        self.workspaces: list[str] = []
        self.names.reserve(*_OWN_NAMES, *self.shared.names.values())

    def unit(self, header: str) -> str:
        """The table, and the function."""
        self._print_function()
        table = self._table()
        shared = list(self.shared.texts.values())
        includes = "\n".join((*table[:1], header, "#include <stdbool.h>", *self.headers))
        return "\n\n".join((includes, *table[1:], *shared, "\n".join(self.lines))) + "\n"

    def _table(self) -> list[str]:
        rows = [self._row(k) for k in self.launches] or ["{0}"]
        listed = ",\n  ".join(rows)
        return [
            f"#define TL_NUM_KERNELS {len(rows)}",
            f"static const tl_kernel tl_kernels[TL_NUM_KERNELS] = {{\n  {listed}}};",
        ]

    def _row(self, kernel: KernelLaunch) -> str:
        block = ", ".join(map(str, kernel.block))
        return (
            f"{{{quote(kernel.name)}, {quote(where(kernel.span))}, {{{block}}}, "
            f"{kernel.shared_bytes}, {int(kernel.cooperative)}}}"
        )

    def _print_function(self) -> None:
        params = ["int32_t device", "void *stream", *define_parameters(self, self.func)]
        self.wrapped(f"static int32_t {self.func.name}{RUN_SUFFIX}(", params, ") {")
        self.depth = 1
        start = len(self.lines)
        with self.names.scope():
            self.stmt(self.func.body)
        self.lines[start:start] = [
            *(f"  void *{w} = NULL;" for w in self.workspaces),
            "  tl_call call;",
            "  int32_t code = tl_begin(&call, device, stream);",
            "  if (code != 0) return code;",
        ]
        self.lines.append("done: __attribute__((unused));")
        for workspace in self.workspaces:
            self.line(f"tl_free(&call, {workspace});")
        self.line("tl_end(&call);")
        self.line("return code;")
        self.depth = 0
        self.line("}")

    # -- statements -------------------------------------------------------------------------------

    def fail(self, condition: str, code: str) -> None:
        with self.block(f"if ({condition})" if condition else ""):
            self.line(f"code = {code};")
            self.line("goto done;")

    def leave_on_failure(self, call: str) -> None:
        """Do `call`; its code, when not 0, is the function's."""
        self.line(f"code = {call};")
        self.line("if (code != 0) goto done;")

    def stmt_Assert(self, node: S.Assert) -> None:
        text = quote(f"{where(node.span)}: {node.message or 'assertion failed'}")
        self.fail(f"!({self.expr(node.condition)})", f'tl_fail("%s", {text})')

    def stmt_Allocate(self, node: S.Allocate) -> None:
        if node.buffer.scope() == GLOBAL or node.buffer.is_var:
            CKernelPrinter.stmt_Allocate(self, node)
            return
        raise self.error(f"`{node.buffer.name}` is allocated outside a kernel")

    def allocate_workspace(self, node: S.Allocate) -> None:
        buffer = node.buffer
        count = f"(size_t){self.expr(as_expr(buffer.num_elements), MUL + 1)}"
        name = self.names.fresh_forever(buffer.data)  # freed at the end of the call
        self.workspaces.append(name)
        bits = buffer.dtype.bits * buffer.dtype.lanes
        size = f"({count} + 1) / 2" if bits == 4 else f"{count} * {max(bits // 8, 1)}"
        self.line(f"tl_free(&call, {name});")  # of the turn before, where this is in a loop
        self.line(f"{name} = NULL;")
        self.leave_on_failure(f"tl_allocate(&call, &{name}, {size}, {quote(buffer.name)})")

    def stmt_Launch(self, node: S.Launch) -> None:
        index = self.index_of[id(node)]
        kernel = self.launches[index]
        extents = self._grid(kernel)
        if "0" in extents:
            self.line("// an empty grid")
            return
        positive = " && ".join(f"{e} > 0" for e in extents if not e.isdecimal())
        with self.block(f"if ({positive})" if positive else ""):
            passed = [self._address(p.var) for p in kernel.params]
            if passed:
                self.wrapped("const void *args[] = {", passed, "};")
            arguments = ", ".join([str(index), *extents, "args" if passed else "NULL"])
            self.leave_on_failure(f"tl_launch(&call, {arguments})")

    def _address(self, var: Var) -> str:
        return f"&{self.names.of(var)}"

    def _grid(self, kernel: KernelLaunch) -> Sequence[str]:
        """Grid extents: constants, or variables of the host function."""
        extents: list[str] = []
        for axis, extent in zip("xyz", kernel.grid):
            number = const_value(extent)
            if number is not None:
                extents.append(str(max(int(number), 0)))
                continue
            extents.append(self.names.fresh(f"grid_{axis}"))
            self.line(f"const int64_t {extents[-1]} = {self.expr(extent)};")
        return extents
