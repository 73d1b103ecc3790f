"""Ahead of time: Python writes a shared library and a header, a C program calls them.

The C program knows nothing of Python. The kernel is Y = a * X + Y over rows of any number; the
library has `init`, `call` and `get_last_error`. With an NVIDIA GPU the kernel runs there, and the
program takes its memory from the CUDA driver; else it runs on the CPU.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import tilelang
import tilelang.language as T
from tilelang.engine.toolchain import find_compiler_command
from tilelang.target.registry import determine_target

N = 1000

# What differs between the two programs: where the arrays are, and the last argument of `call`.
ON_CPU = """
static void start(void) {}
static float *to_kernel(const float *from, size_t bytes) {
  return memcpy(malloc(bytes), from, bytes);
}
static void from_kernel(float *to, const float *from, size_t bytes) { memcpy(to, from, bytes); }
#define LAST_ARGUMENTS m
"""
ON_CUDA = """
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuMemAlloc_v2(unsigned long long *, size_t);
int cuMemcpyHtoD_v2(unsigned long long, const void *, size_t);
int cuMemcpyDtoH_v2(void *, unsigned long long, size_t);
static void must(int code) { if (code != 0) { printf("CUDA error %d\\n", code); exit(1); } }
static void start(void) {
  void *context;
  must(cuInit(0));
  must(cuDevicePrimaryCtxRetain(&context, 0));
  must(cuCtxSetCurrent(context));
}
static float *to_kernel(const float *from, size_t bytes) {
  unsigned long long address;
  must(cuMemAlloc_v2(&address, bytes));
  must(cuMemcpyHtoD_v2(address, from, bytes));
  return (float *)address;
}
static void from_kernel(float *to, const float *from, size_t bytes) {
  must(cuMemcpyDtoH_v2(to, (unsigned long long)from, bytes)); /* waits for the kernel */
}
#define LAST_ARGUMENTS m, NULL
"""
PROGRAM = """
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "axpy.h"
{device}
enum {{ N = {n} }};

int main(int argc, char **argv) {{
  const int m = argc > 1 ? atoi(argv[1]) : 17;
  const size_t count = (size_t)m * N, bytes = count * sizeof(float);
  float *x = malloc(bytes), *y = malloc(bytes), *result = malloc(bytes);
  for (size_t i = 0; i < count; ++i) x[i] = (float)(i % 101), y[i] = (float)(i % 7);
  if (init() != 0) return printf("init: %s\\n", get_last_error()), 1;
  start();
  float *X = to_kernel(x, bytes), *Y = to_kernel(y, bytes);
  if (call(X, Y, 0.5f, LAST_ARGUMENTS) != 0) return printf("call: %s\\n", get_last_error()), 1;
  from_kernel(result, Y, bytes);
  double worst = 0;
  for (size_t i = 0; i < count; ++i) worst = fmax(worst, fabs(result[i] - (0.5 * x[i] + y[i])));
  printf("axpy %dx%d from C: largest error %g %s\\n", m, N, worst, worst == 0 ? "ok" : "WRONG");
  return worst != 0;
}}
"""


@tilelang.jit
def axpy_factory():
    m = T.dynamic("m")

    @T.prim_func
    def axpy(X: T.Tensor((m, N), "float32"), Y: T.Tensor((m, N), "float32"), a: T.float32):
        with T.Kernel(m, threads=128) as row:
            for j in T.Parallel(N):
                Y[row, j] = a * X[row, j] + Y[row, j]

    return axpy


def build(folder: Path) -> Path:
    """Write library, header and program into `folder`, and compile the program."""
    is_cuda = determine_target("auto").kind == "cuda"
    library = folder / "libaxpy.so"
    axpy_factory().export_c_library(str(library), str(folder / "axpy.h"))
    source = folder / "main.c"
    source.write_text(PROGRAM.format(device=ON_CUDA if is_cuda else ON_CPU, n=N), encoding="utf-8")
    libraries = [str(library), f"-Wl,-rpath,{folder}", "-lm", *["-l:libcuda.so.1"] * is_cuda]
    program = folder / "main"
    command = [
        *find_compiler_command(),
        "-O2",
        "-Wall",
        str(source),
        *libraries,
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True)
    return program


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=["small", "large"], default="small")
    rows = "17" if parser.parse_args().size == "small" else "5000"
    with tempfile.TemporaryDirectory(prefix="tilelang-aot-") as name:
        sys.exit(subprocess.run([str(build(Path(name))), rows], check=False).returncode)
