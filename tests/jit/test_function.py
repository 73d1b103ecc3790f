"""`@tilelang.jit` in both styles, `lazy_jit`, caching, outputs, errors at the call."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import tilelang
import tilelang.language as T
from tilelang.errors import ArgumentError, ArgumentTypeError, LanguageError


@tilelang.jit(out_idx=[-1], target="c")
def axpy_factory(n, blk=64, dt="float32"):
    @T.prim_func
    def axpy(x: T.Tensor((n,), dt), a: T.float32, y: T.Tensor((n,), dt)):
        with T.Kernel(T.ceildiv(n, blk), threads=128) as b:
            for i in T.Parallel(blk):
                y[b * blk + i] = a * x[b * blk + i]

    return axpy


@tilelang.jit(target="c")
def axpy_eager(x, a: T.float32, blk: int = 64):
    n = T.const("n")
    x: T.Tensor((n,), T.float32)
    y = T.empty((n,), T.float32)
    with T.Kernel(T.ceildiv(n, blk), threads=128) as b:
        for i in T.Parallel(blk):
            y[b * blk + i] = a * x[b * blk + i]
    return y


@tilelang.jit(target="c")
def row_sums(A, dtype="float32"):
    M = T.dynamic("M")
    N = T.const("N")
    A: T.Tensor((M, N), dtype)
    total = T.empty((M,), dtype)
    doubled = T.empty((M * 2 + 1,), dtype)
    with T.Kernel(M) as bx:
        acc = T.alloc_var(dtype)
        for j in T.serial(N):
            acc += A[bx, j]
        total[bx] = acc
        doubled[bx] = acc * 2
    return total, doubled


@tilelang.lazy_jit(target="c")
def scale_lazy(A: T.Tensor[[int, T.dyn["n"]], T.float32], factor: T.float32, offset: int = 1):  # noqa: F821, UP037
    m, n = A.shape
    B = T.empty((m, n), T.float32)
    with T.Kernel(m) as bx:
        for j in T.Parallel(n):
            B[bx, j] = A[bx, j] * factor + offset
    return B


@pytest.mark.parametrize("n", [1, 63, 64, 1000])
def test_factory_and_eager_give_the_same(n):
    x = torch.randn(n)
    kernel = axpy_factory(n)
    assert isinstance(kernel, tilelang.JITKernel)
    torch.testing.assert_close(kernel(x, 2.5), x * 2.5)
    torch.testing.assert_close(axpy_eager(x, 2.5), x * 2.5)
    torch.testing.assert_close(axpy_eager(x, a=2.5, blk=32), x * 2.5)


def test_factory_keeps_one_kernel_per_arguments():
    assert axpy_factory(100) is axpy_factory(100, 64)
    assert axpy_factory(100) is axpy_factory(n=100, dt="float32")
    assert axpy_factory(100) is not axpy_factory(101)


def test_eager_specialises_on_constants_and_not_on_dynamic_sizes():
    for m, n in ((3, 5), (4, 5), (3, 6)):
        a = torch.randn(m, n)
        total, doubled = row_sums(a)
        torch.testing.assert_close(total, a.sum(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(doubled[:m], a.sum(1) * 2, rtol=1e-4, atol=1e-5)
        assert doubled.shape == (m * 2 + 1,)
    keys = {row_sums.parse_cache_key(torch.randn(m, n)) for m, n in ((3, 5), (4, 5), (9, 5))}
    assert len(keys) == 1
    assert row_sums.parse_cache_key(torch.randn(3, 6)) not in keys


def test_lazy_jit():
    for m, n in ((2, 7), (2, 9), (3, 7)):
        a = torch.randn(m, n)
        torch.testing.assert_close(scale_lazy(a, 3.0), a * 3 + 1)
    torch.testing.assert_close(scale_lazy(a, 3.0, offset=4), a * 3 + 4)
    assert len(scale_lazy._kernels) == 3


def test_numpy_in_numpy_out():
    x = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    y = axpy_factory(100)(x, 2.0)
    assert isinstance(y, np.ndarray)
    np.testing.assert_array_equal(y, x * 2)


def test_compile_from_sizes_and_placeholders():
    by_size = axpy_eager.compile(n=256)
    by_placeholder = axpy_eager.compile(T.Tensor((256,), "float32"))
    x = torch.randn(256)
    torch.testing.assert_close(by_size(x, 2.0), x * 2)
    torch.testing.assert_close(by_placeholder(x, 2.0), x * 2)
    with pytest.raises(ArgumentError, match="`n`"):
        axpy_eager.compile()


def test_par_compile_keeps_order_and_reports_failures():
    kernels = axpy_factory.par_compile([{"n": 10}, {"n": 20}, (30,)], num_workers=2)
    assert [k.params[0].shape for k in kernels] == [[10], [20], [30]]
    with pytest.raises(ArgumentError):
        axpy_factory.par_compile([5])


def test_prim_func_under_jit():
    @T.prim_func
    def twice(A: T.Tensor((16,), "float32"), B: T.Tensor((16,), "float32")):
        with T.Kernel(1):
            for i in T.Parallel(16):
                B[i] = A[i] * 2.0

    kernel = tilelang.jit(twice, out_idx=-1, target="c")()
    x = torch.randn(16)
    torch.testing.assert_close(kernel(x), x * 2)
    torch.testing.assert_close(kernel(A=x), x * 2)


def test_generator_prim_func():
    @T.prim_func(generator=True)
    def fill(A: T.Tensor[[int], T.float32], value: float = 2.0):
        with T.Kernel(1):
            for i in T.Parallel(A.shape[0]):
                A[i] = value

    kernel = tilelang.compile(fill(T.Tensor((9,), "float32")), target="c")
    a = torch.zeros(9)
    kernel(a)
    assert (a == 2).all()


def test_tensor_without_a_description():
    @tilelang.jit(target="c")
    def kernel(x):
        with T.Kernel(1):
            pass

    with pytest.raises(ArgumentTypeError, match="`x`"):
        kernel(torch.zeros(3))


def test_const_only_inside_an_expression():
    @tilelang.jit(target="c")
    def kernel(x):
        n = T.const("n")
        x: T.Tensor((n * 2,), "float32")
        with T.Kernel(1):
            pass

    with pytest.raises(LanguageError, match="`n`"):
        kernel(torch.zeros(4))


def test_out_idx_on_an_eager_kernel():
    @tilelang.jit(out_idx=[0], target="c")
    def kernel(x):
        with T.Kernel(1):
            pass

    with pytest.raises(ValueError, match="out_idx"):
        kernel(torch.zeros(4))


@pytest.mark.parametrize("out_idx", [3, -4, [0, 3]])
def test_out_idx_outside_the_parameters(out_idx):
    @T.prim_func
    def kernel(A: T.Tensor((4,), "float32"), a: T.float32, B: T.Tensor((4,), "float32")):
        with T.Kernel(1):
            B[0] = A[0] * a

    with pytest.raises(ValueError, match="out_idx"):
        tilelang.compile(kernel, out_idx=out_idx, target="c")


def test_calls_from_many_threads():
    x = torch.randn(5000)
    wrong = []

    def work(seed):
        for k in range(30):
            if not torch.equal(axpy_eager(x, float(seed + k)), x * float(seed + k)):
                wrong.append((seed, k))

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_compiling_from_many_threads():
    kernels = [None] * 8

    def work(k):
        kernels[k] = axpy_factory(300 + k % 2)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({id(k) for k in kernels}) == 2
