"""Kernels with explicit threads to CUDA text and to cubins, without a GPU."""

from __future__ import annotations

from tilelang.codegen.cuda import print_cuda
from tilelang.engine.nvrtc import CompiledCubin, NvrtcToolchain
from tilelang.ir.func import PrimFunc
from tilelang.ir.verify import verify
from tilelang.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.flatten_buffers import flatten_buffers
from tilelang.transform.simplify import simplify
from tilelang.transform.split_lanes import split_lanes
from tilelang.transform.vectorize_accesses import vectorize_accesses

ARCHS = ("sm_75", "sm_80", "sm_89", "sm_90a")
TARGET = Target("cuda -arch=sm_80")


def thread_form(func: PrimFunc) -> PrimFunc:
    """The last passes, for a function that says what each thread does."""
    context = PassContext(TARGET)
    for step in (simplify, vectorize_accesses, simplify, flatten_buffers, split_lanes):
        func = step(func, context)
        verify(func, form="thread")
    return func


def cuda_text(func: PrimFunc) -> str:
    """What is printed for `func`."""
    return print_cuda(thread_form(func), TARGET)


def compile_everywhere(text: str, archs: tuple[str, ...] = ARCHS) -> list[CompiledCubin]:
    """Cubins for all supported architectures, of text that must give no warning and no spill."""
    cubins = [NvrtcToolchain(arch).compile(text) for arch in archs]
    for arch, cubin in zip(archs, cubins):
        assert "warning" not in cubin.log, f"{arch}: {cubin.log}"
        for name, usage in cubin.usage().items():
            spilled = usage.spill_store_bytes + usage.spill_load_bytes
            assert spilled == 0, f"{arch} {name}: {spilled} bytes spilled"
    return cubins
