"""Foreign source in kernels on the CPU, hooks on the generated text, flags and pass options."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tilelang
import tilelang.language as T
from tests.cpu.arrays import random, run
from tilelang.engine import callback

SOURCE = """
static float plus_square(float a, float b) { return a + b * b; }
static void add_row(const float *from, float *to, int n, float scale) {
  for (int i = 0; i < n; i++) to[i] += from[i] * scale;
}
static int counted(int *calls) { return ++*calls; }
"""


def test_imported_source_and_pointers():
    @T.prim_func
    def kernel(
        A: T.Tensor((4, 9), "float32"), calls: T.Tensor((1,), "int32"),
        Z: T.Tensor((4, 9), "float32"), N: T.Tensor((3,), "int32"),
    ):  # fmt: skip
        with T.Kernel(1):
            T.import_source(SOURCE)
            T.import_source(None)
            s, f = T.alloc_shared((4, 9), "float32"), T.alloc_fragment((9,), "float32")
            for i, j in T.Parallel(4, 9):
                s[i, j] = T.call_pure_extern("float32", "plus_square", A[i, j], 2.0)
            T.fill(f, 1.0)
            T.call_extern("handle", "add_row", T.address_of(s[1, 0]), T.address_of(f), 9, 3.0)
            T.evaluate(
                T.call_extern(
                    "void",
                    "add_row",
                    T.access_ptr(s[2, 4], "r"),
                    T.access_ptr(f, "rw", offset=1),
                    3,
                    1.0,
                )
            )
            T.call_extern("handle", "add_row", A[3, 0:9], f[0:9], 9, T.float32(0.5))
            T.call_extern("handle", "add_row", s, Z, 36, 1.0)
            for i in T.serial(3):
                N[i] = T.call_extern("int32", "counted", T.address_of(calls[0]))
            for j in T.Parallel(9):
                Z[0, j] = f[j]

    a, calls = random((4, 9)), np.array([5], np.int32)
    z, n = np.zeros((4, 9), np.float32), np.zeros(3, np.int32)
    run(kernel, a, calls, z, n)
    s = a + np.float32(4)
    f = 1 + 3 * s[1].astype(np.float64) + 0.5 * a[3]
    f[1:4] += s[2, 4:7]
    np.testing.assert_allclose(z[0], f, rtol=1e-5)
    np.testing.assert_array_equal(z[1:], s[1:])
    assert list(n) == [6, 7, 8] and calls[0] == 8


def test_prelude_in_front_of_the_kernel():
    @T.prim_func
    def kernel(Z: T.Tensor((3,), "int32")):
        with T.Kernel(
            3, prelude="#define ANSWER 42\nstatic int answer(void) { return ANSWER; }"
        ) as bx:
            Z[bx] = T.call_pure_extern("int32", "answer")

    z = np.zeros(3, np.int32)
    run(kernel, z)
    assert list(z) == [42, 42, 42]


def constant_kernel(value):
    @T.prim_func
    def kernel(Z: T.Tensor((5,), "int32")):
        with T.Kernel(1):
            for i in T.Parallel(5):
                Z[i] = value

    return kernel


def test_hooks_rewrite_the_source():
    """The hook is part of what a kernel is: with it, without it, and with another are three."""
    before, after, other = (np.zeros(5, np.int32) for _ in range(3))
    seen = []

    def rewrite(code, target):
        seen.append(str(target))
        return code.replace("12345", "54321")

    run(constant_kernel(12345), before)
    try:
        tilelang.register_c_postproc(rewrite)
        kernel = tilelang.compile(constant_kernel(12345), target="c")
        kernel(after)
        assert "54321" in kernel.get_kernel_source()

        @callback.register_c_postproc_callback
        def again(code, target):
            return code.replace("12345", "777")

        run(constant_kernel(12345), other)
    finally:
        callback.clear()
    assert seen and seen[0].startswith("c")
    assert (before == 12345).all() and (after == 54321).all() and (other == 777).all()


MACRO = """
#ifdef FROM_FLAG
static int given(void) { return FROM_FLAG; }
#else
static int given(void) { return -1; }
#endif
"""


def flagged():
    @T.prim_func
    def kernel(Z: T.Tensor((1,), "int32")):
        with T.Kernel(1):
            T.import_source(MACRO)
            Z[0] = T.call_pure_extern("int32", "given")

    return kernel


@pytest.mark.parametrize(
    ("flags", "value"), [(None, -1), ("-DFROM_FLAG=3", 3), (["-O1", "-DFROM_FLAG=4"], 4)]
)
def test_compile_flags(flags, value):
    z = np.zeros(1, np.int32)
    run(flagged(), z, compile_flags=flags)
    assert z[0] == value

    @tilelang.jit(target="c", compile_flags=flags)
    def factory():
        return flagged()

    z[:] = 0
    factory()(z)
    assert z[0] == value


def test_flags_and_options_named_in_the_kernel():
    @tilelang.jit(target="c", pass_configs={tilelang.PassConfigKey.TL_SIMPLIFY: True})
    def kernel(A):
        n = T.dynamic("n")
        A: T.Tensor((n,), "int32")
        Z = T.empty((n,), "int32")
        T.annotate_compile_flags("-DFROM_FLAG=6")
        T.annotate_compile_flags(["-DUNUSED", "-O1"])
        T.annotate_pass_configs({tilelang.PassConfigKey.TL_SIMPLIFY: False})
        with T.Kernel(T.ceildiv(n, 8)) as bx:
            T.import_source(MACRO)
            for i in T.Parallel(8):
                Z[bx * 8 + i] = A[bx * 8 + i] + T.call_pure_extern("int32", "given")
        return Z

    a = torch.arange(21, dtype=torch.int32)
    assert torch.equal(kernel(a), a + 6)


def test_a_function_that_does_not_exist_is_a_compiler_error():
    @T.prim_func
    def kernel(Z: T.Tensor((1,), "int32")):
        with T.Kernel(1):
            T.import_source("static int broken(void) { return 1 }")
            Z[0] = T.call_pure_extern("int32", "broken")

    with pytest.raises(tilelang.Error, match="expected"):
        tilelang.compile(kernel, target="c")
