"""The library of a CPU function: kernel text and FFI entry point, one translation unit.

In: a `BuildRequest`. Out: a `Module`. The compiler is `toolchain.CToolchain`.
"""

from __future__ import annotations

from pathlib import Path

from tilelang.codegen.c import CALLEE_SUFFIX, FAILURE_REASON
from tilelang.codegen.host_c import emit_entry
from tilelang.codegen.host_cuda import call_parameters, header_text, host_parameters
from tilelang.engine.builder import BuildRequest, PlainLibrary
from tilelang.engine.runtime import (
    Module,
    build_module,
    prepare_thread_pool,
    self_contained_runtime,
)
from tilelang.engine.toolchain import CToolchain
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Assert, Stmt
from tilelang.target.target import Target

_PLAIN = """
static _Thread_local int32_t tl_last_code; /* of `call`, in this thread */

TL_API int init(void) {{
  tl_last_code = 0;
  return 0;
}}

TL_API const char *get_last_error(void) {{
  if (tl_last_code == 0) return "";
  if (tl_last_code == 1) return "out of memory for the buffers of its blocks";
  return tl_last_code == TL_CODE_FAULT ? tl_fault_message() : "the kernel failed";
}}

TL_API int call({parameters}) {{
  tl_last_code = {callee}({values});
  return tl_last_code == 0 ? 0 : -1;
}}
"""


def entry_source(func: PrimFunc) -> str:
    """The FFI entry point, to stand after the kernel's text."""
    return emit_entry(func, func.name + CALLEE_SUFFIX, failure_reason=FAILURE_REASON)


class CBuilder:
    """C text to a library of this machine."""

    place = "cpu"
    # Infinities stay, as they do in CUDA's fast math (masks are made of them), and sums keep their
    # order: the functions of tl_math.h round by adding and subtracting a large number.
    fast_math = ("-freciprocal-math", "-fno-signed-zeros")
    line_info: tuple[str, ...] = ()  # this target's text has no `#line`
    hosted_only = False
    located: tuple[type[Stmt], ...] = (Assert,)

    def identity(self, target: Target, hosted: bool = True) -> str:
        """Compiler, version, processor, default flags."""
        del target, hosted
        return CToolchain().identity()

    def prepare(self, target: Target) -> None:
        """The thread pool, where this machine does not have it yet."""
        del target
        prepare_thread_pool()

    def build(self, request: BuildRequest) -> Module:
        """Compile kernel and entry point together.

        Raises:
            ToolchainError: when there is no compiler, or it fails.
        """
        entry = entry_source(request.func)
        text = f"{request.source}\n{entry}"
        module = build_module(text, request.func.name, compile_flags=request.flags)
        module.host_source = entry
        return module

    def plain_library(self, request: BuildRequest) -> PlainLibrary:
        """The kernel with a plain C interface, and the thread pool that runs its blocks."""
        func = request.func
        declared = call_parameters(func)
        names = ", ".join(name for _, name in host_parameters(func))
        text = _PLAIN.format(parameters=declared, callee=func.name + CALLEE_SUFFIX, values=names)
        sources = (f"{request.source}\n{text}", self_contained_runtime())
        return PlainLibrary(sources, header_text(func, declared), request.flags)

    def device_code(self, request: BuildRequest, module: Module) -> None:
        """There is no device."""
        del request, module

    def load(self, library: Path, device_source: str, host_source: str, target: Target) -> Module:
        """A library that was built before."""
        del target
        module = Module(library, f"{device_source}\n{host_source}")
        module.host_source = host_source
        return module
