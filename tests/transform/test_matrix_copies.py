"""Copies by `stmatrix` and `ldmatrix`: where they are used, and bit for bit what they move."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tilelang.codegen.cuda import print_cuda
from tilelang.engine.nvrtc import NvrtcToolchain
from tilelang.target import Target
from tilelang.transform import lower_threads
from tilelang.transform.context import PassContext
from tilelang.transform.notes import NestNote
from tilelang.transform.pipeline import run

torch = pytest.importorskip("torch")

HOPPER, AMPERE = "cuda -arch=sm_90", "cuda -arch=sm_80"


def _staged(M, N, kind="float16", acc="float32", threads=128, transposed=False):
    """A product whose accumulator leaves through shared memory."""
    shape = (N, M) if transposed else (M, N)

    @T.prim_func
    def staged(A: T.Tensor((M, 32), kind), B: T.Tensor((32, N), kind), C: T.Tensor(shape, kind)):
        with T.Kernel(1, threads=threads):
            a = T.alloc_shared((M, 32), kind)
            b = T.alloc_shared((32, N), kind)
            c = T.alloc_fragment((M, N), acc)
            out = T.alloc_shared(shape, kind)
            T.copy(A, a)
            T.copy(B, b)
            T.clear(c)
            T.gemm(a, b, c)
            if transposed:
                for i, j in T.Parallel(M, N):
                    out[j, i] = c[i, j]
            else:
                T.copy(c, out)
            T.copy(out, C)

    return staged


def _loaded(M, N, flip, threads=128):
    """A product whose operand A stands in registers, and comes from shared memory."""
    shape = (32, M) if flip else (M, 32)

    @T.prim_func
    def loaded(
        A: T.Tensor(shape, "float16"),
        B: T.Tensor((32, N), "float16"),
        C: T.Tensor((M, N), "float32"),
    ):
        with T.Kernel(1, threads=threads):
            s = T.alloc_shared(shape, "float16")
            a = T.alloc_fragment((M, 32), "float16")
            b = T.alloc_shared((32, N), "float16")
            c = T.alloc_fragment((M, N), "float32")
            T.copy(A, s)
            T.copy(B, b)
            for i, k in T.Parallel(M, 32):
                a[i, k] = s[k, i] if flip else s[i, k]
            T.clear(c)
            T.gemm(a, b, c)
            T.copy(c, C)

    return loaded


def text_of(func, target):
    ctx = PassContext(Target(target))
    return print_cuda(run(func, ctx), Target(target))


def results(func, target, inputs, out):
    tensors = [torch.from_numpy(x) for x in inputs]
    with tilelang.env.scope(TILELANG_EMULATE=True, TILELANG_DISABLE_CACHE=True):
        tilelang.compile(func, target=target)(*tensors, out)
    return out


def both_ways(monkeypatch, func, target, inputs, out):
    """The results by matrix instructions, and without them."""
    by_matrix = results(func, target, inputs, out.clone())
    with monkeypatch.context() as patch:
        patch.setattr(lower_threads, "matrix_copy", lambda *_: None)
        plain = results(func, target, inputs, out.clone())
    return by_matrix, plain


@pytest.mark.parametrize(
    "kind, acc", [("float16", "float32"), ("bfloat16", "float32"), ("float16", "float16")]
)
@pytest.mark.parametrize("M, N", [(64, 64), (128, 32), (32, 48), (16, 8)])
def test_an_accumulator_is_stored_bit_for_bit(monkeypatch, kind, acc, M, N):
    func = _staged(M, N, kind, acc, threads=32 if M == 16 else 64)
    assert "tl_stmatrix_x" in text_of(func, HOPPER)
    assert "tl_stmatrix_x" not in text_of(func, AMPERE)
    rng = np.random.default_rng(M + N)
    element = getattr(torch, kind)
    a = torch.from_numpy(rng.standard_normal((M, 32)).astype(np.float32)).to(element)
    b = torch.from_numpy(rng.standard_normal((32, N)).astype(np.float32)).to(element)
    found = []
    for use in (True, False):
        with monkeypatch.context() as patch:
            if not use:
                patch.setattr(lower_threads, "matrix_copy", lambda *_: None)
            out = torch.zeros(M, N, dtype=element)
            with tilelang.env.scope(TILELANG_EMULATE=True, TILELANG_DISABLE_CACHE=True):
                tilelang.compile(func, target=HOPPER)(a, b, out)
            found.append(out)
    assert torch.equal(*found) and found[0].abs().max() > 1


def test_an_accumulator_is_stored_across(monkeypatch):
    func = _staged(64, 32, threads=64, transposed=True)
    assert "tl_stmatrix_x4_trans" in text_of(func, HOPPER)
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal(s).astype(np.float16) for s in ((64, 32), (32, 32)))
    got, want = both_ways(monkeypatch, func, HOPPER, (a, b), torch.zeros(32, 64).half())
    assert torch.equal(got, want) and got.abs().max() > 1


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("M, N, threads", [(64, 64, 128), (32, 32, 32), (64, 16, 64)])
@pytest.mark.parametrize("target", [AMPERE, HOPPER])
def test_an_operand_is_loaded_bit_for_bit(monkeypatch, target, flip, M, N, threads):
    func = _loaded(M, N, flip, threads)
    suffix = "_trans" if flip else ""
    with monkeypatch.context() as patch:
        patch.setattr(lower_threads, "matrix_copy", lambda *_: None)
        before = text_of(func, target).count(f"tl_ldmatrix_x4{suffix}(")
    assert text_of(func, target).count(f"tl_ldmatrix_x4{suffix}(") == before + 1
    rng = np.random.default_rng(M + N)
    a = rng.standard_normal((32, M) if flip else (M, 32)).astype(np.float16)
    b = rng.standard_normal((32, N)).astype(np.float16)
    got, want = both_ways(monkeypatch, func, target, (a, b), torch.zeros(M, N))
    assert torch.equal(got, want) and got.abs().max() > 1


def test_the_choice_is_told():
    def told(func, target):
        ctx = PassContext(Target(target), explains=True)
        run(func, ctx)
        return [n for n in ctx.notes if isinstance(n, NestNote)]

    assert "stmatrix_x4" in [n.chosen for n in told(_staged(64, 64), HOPPER)]
    reasons = [r for n in told(_staged(64, 64), AMPERE) for r in n.why_not]
    assert "ldmatrix or stmatrix: stmatrix exists from sm_90 on" in reasons


@pytest.mark.parametrize("rows, columns", [(64, 64), (64, 36), (15, 128)])
def test_rows_in_other_orders_move_element_by_element(rows, columns):
    @T.prim_func
    def kernel(A: T.Tensor((rows, columns), "float16"), B: T.Tensor((rows, columns), "float16")):
        with T.Kernel(1, threads=128):
            s = T.alloc_shared((rows, columns), "float16")
            f = T.alloc_fragment((rows, columns), "float16")
            T.copy(A, f)
            T.copy(f, s)
            T.copy(s, B)

    assert "matrix_x" not in text_of(kernel, HOPPER)


@pytest.mark.parametrize(
    "func, word", [(_staged(64, 64), "stmatrix"), (_staged(64, 64, transposed=True), "stmatrix"),
                   (_loaded(64, 64, True), "ldmatrix")],
)  # fmt: skip
def test_nvrtc_takes_the_text(func, word):
    pytest.importorskip("cuda.bindings.nvrtc")
    text = text_of(func, HOPPER)
    assert word in text
    cubin = NvrtcToolchain("sm_90").compile(text)
    assert all(u.spill_store_bytes == 0 for u in cubin.usage().values())


def test_the_loop_over_tiles_has_no_barrier_inside():
    text = text_of(_staged(64, 64), HOPPER)
    end = text.index("tl_stmatrix_x4")
    assert "tl_sync_threads" not in text[text.rindex("for (int32_t s ", 0, end) : end]
