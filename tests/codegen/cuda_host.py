"""Hand-made CUDA functions, a driver without a GPU, and tensors that say they are on one."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm_ffi

from tilelang.codegen.host_cuda import embed, library_text
from tilelang.codegen.host_table import launch_table
from tilelang.engine.cuda_build import CudaModule
from tilelang.engine.runtime import Module, build_module
from tilelang.engine.toolchain import C_HEADERS, find_compiler_command
from tilelang.errors import Span
from tilelang.ir import stmt as S
from tilelang.ir.annotation import ARENA_BYTES
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr, Var, as_expr
from tilelang.ir.func import PrimFunc

IMAGE = b"\x7fELF-image\x00\xff" + bytes(range(256))
SOURCE = Path(__file__).with_name("fake_driver.c")


class FakeDriver:
    """A library that stands in for libcuda, opened in this process."""

    def __init__(self, folder: Path, name: str = "fake", *options: str) -> None:
        self.path = folder / f"lib{name}.so"
        command = [
            *find_compiler_command(),
            "-Wall",
            "-Werror",
            "-shared",
            "-fPIC",
            "-pthread",
            *options,
        ]
        subprocess.run([*command, "-o", str(self.path), str(SOURCE)], check=True)
        self.library = ctypes.CDLL(str(self.path))
        self.library.fake_log.restype = ctypes.c_char_p
        self.library.fake_current.restype = ctypes.c_size_t
        self.library.fake_make_current.argtypes = [ctypes.c_size_t]
        self.library.fake_fail.argtypes = [ctypes.c_char_p, ctypes.c_int]

    def reset(self, num_parameters: int = 0) -> None:
        self.library.fake_reset()
        self.library.fake_parameters(num_parameters)

    def fail(self, name: str, code: int) -> None:
        self.library.fake_fail(name.encode(), code)

    def log(self, name: str = "") -> list[str]:
        """Lines of the calls whose function begins with `name`."""
        lines = self.library.fake_log().decode(errors="replace").splitlines()
        return [line for line in lines if line.startswith(name)]


def launch(
    body: S.Stmt, grid: Sequence[Expr | int], threads: int = 128, shared: int = 0, line: int = 7
) -> S.Launch:
    names = [Var(f"b{a}", "int32") for a, _ in zip("xyz", grid)]
    own = tuple(Var(f"t{a}", "int32") for a in "xyz")
    extents = tuple(as_expr(e) for e in (threads, 1, 1))
    annotations = ((ARENA_BYTES, shared),) if shared else ()
    return S.Launch(
        tuple(names), tuple(as_expr(g) for g in grid), own, extents, body, annotations,
        span=Span("/home/user/kernels.py", line),
    )  # fmt: skip


def store(to: Buffer, value: Any, index: Any = 0) -> S.BufferStore:
    return S.BufferStore(to, as_expr(value), (as_expr(index),))


def scale() -> PrimFunc:
    """B[i] = A[i] * alpha over a symbolic length."""
    m, alpha = Var("m", "int32"), Var("alpha", "float32")
    A, B = Buffer("A", (m,), "float32"), Buffer("B", (m,), "float32")
    body = store(B, A.load(0) * alpha)
    return PrimFunc("scale", (A, B, alpha), launch(body, [(m + 127) // 128]))


def build(func: PrimFunc, driver: str, embedded: bool = True) -> Module:
    """A library of `func` that opens `driver` instead of libcuda."""
    text = library_text(func, func, "sm_80")
    text = embed(text, IMAGE) if embedded else text
    flags = ["-O1", "-Wall", "-Werror", f'-DTL_CUDA_LIBRARY="{driver}"']
    return build_module(text, func.name, compile_flags=flags, has_blocks=False)


def build_table(func: PrimFunc, driver: str) -> Module:
    """As `build`, with the host side as a table where it can be one."""
    table = launch_table(func, func, "sm_80")
    if table is None:
        return build(func, driver)
    flags = ["-O1", "-Wall", "-Werror", f'-DTL_CUDA_LIBRARY="{driver}"']
    source = (C_HEADERS / "launcher.c").read_text(encoding="utf-8")
    library = build_module(source, "launcher", compile_flags=flags, has_blocks=False).library
    return CudaModule(library, "", IMAGE, None, table)


def on_cuda(array: np.ndarray[Any, Any], device: int = 0, kind: int = 2) -> Any:
    """An FFI tensor on the memory of `array` that says it is on a CUDA device."""
    capsule = array.__dlpack__()
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.argtypes, get_pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    address = get_pointer(capsule, b"dltensor")
    # Device type and number follow the data pointer (8 bytes) in a DLTensor.
    ctypes.c_int32.from_address(address + 8).value = kind
    ctypes.c_int32.from_address(address + 12).value = device
    return tvm_ffi.from_dlpack(capsule)


def aligned(count: int, dtype: str = "float32", offset: int = 0) -> np.ndarray[Any, Any]:
    """Zeros at an address that is `offset` bytes past a multiple of 64."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(count * itemsize + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    return raw[start : start + count * itemsize].view(dtype)
