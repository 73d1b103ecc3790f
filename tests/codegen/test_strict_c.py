"""C compilers since 2024 reject pointer types that differ and calls of undeclared functions.

Older ones let them pass, and our own builds ask for no warnings: so each kind of text that is made
is checked here as the strict ones see it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import tilelang
import tilelang.language as T
from tilelang.engine.toolchain import C_HEADERS, find_compiler_command

STRICT = tuple(
    f"-Werror={name}"
    for name in (
        "incompatible-pointer-types",
        "int-conversion",
        "implicit-function-declaration",
        "implicit-int",
        "return-type",
    )
)


def kernel():
    n = T.dynamic("n")

    @T.prim_func
    def gemm(
        A: T.Tensor((n, 64), "float16"), B: T.Tensor((64, 64), "float16"),
        C: T.Tensor((n, 64), "float32"), scale: T.float32,
    ):  # fmt: skip
        with T.Kernel(T.ceildiv(n, 32), threads=128) as bx:
            a, b = T.alloc_shared((32, 64), "float16"), T.alloc_shared((64, 64), "float16")
            c = T.alloc_fragment((32, 64), "float32")
            T.copy(A[bx * 32, 0], a)
            T.copy(B, b)
            T.clear(c)
            T.gemm(a, b, c)
            for i, j in T.Parallel(32, 64):
                c[i, j] = T.max(c[i, j], 0) * scale
            T.print(scale)
            T.device_assert(scale > 0)
            T.copy(c, C[bx * 32, 0])

    return gemm


def rejected(text: str, folder: Path) -> str:
    """What a strict compiler says of C text; nothing if it takes it."""
    file = folder / "text.c"
    file.write_text(text, "utf-8")
    command = [*find_compiler_command(), "-std=gnu11", "-fsyntax-only", *STRICT]
    done = subprocess.run(
        [*command, f"-I{C_HEADERS}", str(file)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("place", ["c", "emulator", "cuda"])
def test_strict_compilers_take_the_text(place, tmp_path):
    if place == "cuda":
        pytest.importorskip("cuda.bindings.nvrtc")
    target = "c" if place == "c" else "cuda -arch=sm_80"
    with tilelang.env.scope(TILELANG_EMULATE=place == "emulator"):
        made = tilelang.compile(kernel(), target=target, execution_backend="tvm_ffi")
    host = made.get_host_source()
    assert host
    before = made.get_kernel_source() if place == "c" else ""  # one unit there
    assert rejected(before + host, tmp_path) == ""


@pytest.mark.parametrize("file", ["runtime.c", "launcher.c"])
def test_strict_compilers_take_the_libraries(file, tmp_path):
    assert rejected((C_HEADERS / file).read_text("utf-8"), tmp_path) == ""


def test_the_check_would_notice(tmp_path):
    wrong = "static int f(void **p) { return !p; } int g(const void **q) { return f(q); }"
    assert "incompatible pointer type" in rejected(wrong, tmp_path)
