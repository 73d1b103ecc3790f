"""The CPU: C text, compiled by the machine's C compiler, blocks spread over a thread pool."""

from __future__ import annotations

from tilelang.target.target import TargetRow

C_TARGET = TargetRow(
    kind="c",
    description="this machine's CPU, through its C compiler",
    printer="tilelang.codegen.c:print_c",
    toolchain="tilelang.engine.toolchain:CToolchain",
    backends=("tvm_ffi", "cython"),
    probe="tilelang.engine.toolchain:cpu_target_options",
    warp_size=32,
    max_shared_bytes=0,
    max_threads=0,
    builder="tilelang.engine.c_build:CBuilder",
)
