"""Whole units for the CPU: their text, and what they compute once compiled."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import tilelang.language as T
from tests.codegen.run_c import CompiledC, launch, lowered
from tilelang.codegen.c import print_c
from tilelang.errors import TargetError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var, as_expr, cast
from tilelang.ir.func import RESTRICT_DROPPED, PrimFunc
from tilelang.ir.stmt import BufferStore, For, LoopKind, Seq

RNG = np.random.default_rng(7)


def unit_text(func: PrimFunc) -> str:
    return print_c(lowered(func))


# -- text ------------------------------------------------------------------------------------------


@T.prim_func
def axpy(x: T.Tensor((1000,), "float32"), a: T.float32, y: T.Tensor((1000,), "float32")):
    with T.Kernel(T.ceildiv(1000, 256), threads=128) as block:
        for i in T.Parallel(256):
            y[block * 256 + i] = a * x[block * 256 + i] + y[block * 256 + i]


rows, columns = T.dynamic("rows"), T.dynamic("columns")


@T.prim_func
def row_sums(A: T.Tensor((rows, columns), "float16"), S: T.Tensor((rows,), "float32")):
    with T.Kernel(rows, threads=64) as row:
        total = T.alloc_var("float32", 0.0)
        for j in T.serial(columns):
            total += T.Cast("float32", A[row, j])
        S[row] = total


@T.prim_func
def matmul(
    A: T.Tensor((96, 80), "float32"), B: T.Tensor((80, 64), "float32"),
    C: T.Tensor((96, 64), "float32"),
):  # fmt: skip
    with T.Kernel(2, 3, threads=128) as (bx, by):
        A_shared = T.alloc_shared((32, 16), "float32")
        B_shared = T.alloc_shared((16, 32), "float32")
        C_local = T.alloc_fragment((32, 32), "float32")
        T.clear(C_local)
        for k in T.Pipelined(5, num_stages=2):
            T.copy(A[by * 32, k * 16], A_shared)
            T.copy(B[k * 16, bx * 32], B_shared)
            T.gemm(A_shared, B_shared, C_local)
        T.copy(C_local, C[by * 32, bx * 32])


@pytest.mark.parametrize("func", [axpy, row_sums, matmul], ids=lambda f: f.name)
def test_text(func: PrimFunc, golden: Callable[[str], None]) -> None:
    golden(unit_text(func))


def test_text_is_the_same_every_time() -> None:
    assert unit_text(matmul) == unit_text(matmul)


def test_printing_takes_milliseconds() -> None:
    func = lowered(matmul)
    print_c(func)
    started = time.perf_counter()
    print_c(func)
    assert time.perf_counter() - started < 0.05


# -- whole kernels ---------------------------------------------------------------------------------


def test_axpy(tmp_path: Path) -> None:
    x, y = (RNG.standard_normal(1000, np.float32) for _ in range(2))
    wanted = np.float32(2.5) * x + y
    CompiledC(axpy, tmp_path)(x, 2.5, y)
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (7, 33), (0, 5), (3, 0)])
def test_dynamic_shapes_and_empty_grids(shape: tuple[int, int], tmp_path: Path) -> None:
    A = RNG.standard_normal(shape).astype(np.float16)
    S = np.full(shape[0], -1, np.float32)
    CompiledC(row_sums, tmp_path)(A, S, *shape)
    np.testing.assert_allclose(S, A.astype(np.float32).sum(1), rtol=1e-4, atol=1e-4)


def test_matmul(tmp_path: Path) -> None:
    A, B = RNG.standard_normal((96, 80), np.float32), RNG.standard_normal((80, 64), np.float32)
    C = np.zeros((96, 64), np.float32)
    CompiledC(matmul, tmp_path)(A, B, C)
    np.testing.assert_allclose(C, A @ B, rtol=1e-4, atol=1e-4)


FLOATS = (
    "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e3m4",
    "float64", "float32",
)  # fmt: skip


def conversion(source: str, target: str, count: int) -> PrimFunc:
    @T.prim_func
    def convert(x: T.Tensor((count,), source), y: T.Tensor((count,), target)):
        with T.Kernel(1, threads=32):
            for i in T.Parallel(count):
                y[i] = T.Cast(target, x[i])

    return convert


def numpy_kind(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, None) or getattr(np, name))


@pytest.mark.parametrize("source", ["float32", "float16", "bfloat16", "int8", "float8_e4m3fn"])
def test_casts(source: str, tmp_path: Path) -> None:
    targets = [*FLOATS, "int8", "uint16", "int64", "bool"]
    x, results = Buffer("x", (64,), source), [Buffer(f"y_{t}", (64,), t) for t in targets]
    i = Var("i")
    stores = [BufferStore(y, cast(x.load(i), y.dtype), (i,)) for y in results]
    loop = For(i, as_expr(0), as_expr(64), LoopKind.SERIAL, Seq(tuple(stores)))
    func = PrimFunc("casts", (x, *results), launch([loop]))
    numbers = RNG.integers(0, 12, 64) + (0 if source == "int8" else 0.5)
    values = numbers.astype(numpy_kind(source))
    kinds = [np.dtype(bool) if t == "bool" else numpy_kind(t) for t in targets]
    arrays = [np.zeros(64, kind) for kind in kinds]
    CompiledC(func, tmp_path)(values, *arrays)
    exact = values.astype(np.float64)
    for kind, got in zip(kinds, arrays):
        wanted = exact.astype(np.float32).astype(kind).astype(np.float64)
        np.testing.assert_array_equal(got.astype(np.float64), wanted, err_msg=str(kind))


def test_float_to_integer_saturates(tmp_path: Path) -> None:
    x = np.array([1e9, -1e9, np.nan, 3.99, -3.99, 127.5], np.float32)
    y = np.zeros(6, np.int8)
    CompiledC(conversion("float32", "int8", 6), tmp_path)(x, y)
    assert y.tolist() == [127, -128, 0, 3, -3, 127]


def test_narrow_values_are_rounded_where_they_are_kept(tmp_path: Path) -> None:
    """One expression is computed in float32; a binding and a store round to float16."""

    @T.prim_func
    def f(x: T.Tensor((2,), "float16"), y: T.Tensor((2,), "float32")):
        with T.Kernel(1, threads=1):
            y[0] = T.Cast("float32", x[0] * x[1] + x[0] * x[1])
            kept = x[0] * x[1]
            y[1] = T.Cast("float32", kept + kept)

    x = np.array([1.001, 1.003], np.float16)
    y = np.zeros(2, np.float32)
    CompiledC(f, tmp_path)(x, y)
    product = x[0].astype(np.float32) * x[1].astype(np.float32)
    assert y[0] == product + product
    assert y[1] == 2 * product.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("kind", ["int4", "uint4", "float4_e2m1fn"])
def test_packed_elements(kind: str, tmp_path: Path) -> None:
    """Two per byte, the even index in the low half; neighbours stay as they are."""

    @T.prim_func
    def f(x: T.Tensor((16,), kind), y: T.Tensor((16,), kind), z: T.Tensor((16,), "float32")):
        with T.Kernel(1, threads=1):
            tile = T.alloc_shared((16,), kind)
            for i in T.serial(16):
                tile[i] = x[15 - i]
            for i in T.serial(15):
                y[i + 1] = tile[i + 1]
            for i in T.serial(16):
                z[i] = T.Cast("float32", x[i])

    codes = RNG.integers(0, 16, 16).astype(np.uint8)
    packed = codes[0::2] | codes[1::2] << 4
    y, z = np.zeros(8, np.uint8), np.zeros(16, np.float32)
    y[0] = 9
    CompiledC(f, tmp_path)(packed, y, z)
    got = np.stack([y & 15, y >> 4], 1).ravel()
    np.testing.assert_array_equal(got, [9, *codes[::-1][1:]])
    assert z.tolist() == [value_of(kind, int(c)) for c in codes]


def value_of(kind: str, code: int) -> float:
    if kind == "uint4":
        return float(code)
    if kind == "int4":
        return float(code - 16 if code > 7 else code)
    magnitudes = (0, 0.5, 1, 1.5, 2, 3, 4, 6)
    return -magnitudes[code & 7] if code & 8 else magnitudes[code & 7]


UNARY = {
    "exp": np.exp, "exp2": np.exp2, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "tanh": np.tanh,
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.round, "abs": np.abs,
    "nearbyint": np.rint, "rsqrt": lambda x: 1 / np.sqrt(x), "atan": np.arctan,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "log1p": np.log1p, "cosh": np.cosh,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_mathematics(kind: str, tmp_path: Path) -> None:
    names = list(UNARY)

    @T.prim_func
    def f(x: T.Tensor((32,), kind), y: T.Tensor((len(names), 32), kind)):
        with T.Kernel(1, threads=32):
            for i in T.Parallel(32):
                for n, name in enumerate(names):
                    y[n, i] = getattr(T, name)(x[i])

    x = RNG.uniform(0.1, 4, 32).astype(kind)
    y = np.zeros((len(names), 32), kind)
    CompiledC(f, tmp_path)(x, y)
    tolerance = {"float32": 1e-5, "float64": 1e-12, "float16": 2e-3}[kind]
    for name, got in zip(names, y):
        wanted = UNARY[name](x.astype(np.float64))
        np.testing.assert_allclose(got.astype(np.float64), wanted, rtol=tolerance, err_msg=name)


def test_bits(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((8,), "int32"), y: T.Tensor((6, 8), "int32"), z: T.Tensor((8,), "float32")):
        with T.Kernel(1, threads=1):
            for i in T.serial(8):
                y[0, i] = T.popcount(x[i])
                y[1, i] = T.clz(x[i])
                y[2, i] = T.__ffs(x[i])
                y[3, i] = T.clz(T.Cast("int8", x[i]))
                y[4, i] = T.reinterpret(T.Cast("float32", x[i]), "int32")
                y[5, i] = T.Cast("int32", T.__fns(T.Cast("uint32", x[i]), 0, 2))
                z[i] = T.reinterpret(x[i], "float32")

    x = np.array([0, 1, -1, 2, 1 << 30, -(1 << 31), 12345, -7], np.int32)
    y, z = np.zeros((6, 8), np.int32), np.zeros(8, np.float32)
    CompiledC(f, tmp_path)(x, y, z)
    bits = [f"{int(v) & 0xFFFFFFFF:032b}" for v in x]
    bytes_ = [f"{int(v) & 0xFF:08b}" for v in x]
    ones = [[i for i, c in enumerate(reversed(b)) if c == "1"] for b in bits]
    assert y[0].tolist() == [b.count("1") for b in bits]
    assert y[1].tolist() == [len(b) - len(b.lstrip("0")) for b in bits]
    assert y[2].tolist() == [o[0] + 1 if o else 0 for o in ones]
    assert y[3].tolist() == [len(b) - len(b.lstrip("0")) for b in bytes_]
    assert y[4].tolist() == x.astype(np.float32).view(np.int32).tolist()
    assert y[5].tolist() == [o[1] if len(o) > 1 else -1 for o in ones]
    np.testing.assert_array_equal(z.view(np.int32), x)


def test_vectors(tmp_path: Path) -> None:
    """Slices as values: overlapping stores read everything first; bit casts regroup lanes."""

    @T.prim_func
    def f(
        x: T.Tensor((8,), "float32"), h: T.Tensor((8,), "float16"), w: T.Tensor((4,), "uint32"),
        back: T.Tensor((8,), "float16"),
    ):  # fmt: skip
        with T.Kernel(1, threads=1):
            x[1:5] = x[0:4]
            x[4:8] = x[4:8] * 2.0
            for i in T.serial(4):
                w[i] = T.reinterpret(h[2 * i : 2 * i + 2], "uint32")
                back[2 * i : 2 * i + 2] = T.reinterpret(w[i], "float16x2")

    x, h = np.arange(8, dtype=np.float32), RNG.standard_normal(8).astype(np.float16)
    w, back = np.zeros(4, np.uint32), np.zeros(8, np.float16)
    CompiledC(f, tmp_path)(x, h, w, back)
    assert x.tolist() == [0, 0, 1, 2, 6, 10, 12, 14]
    np.testing.assert_array_equal(w, h.view(np.uint32))
    np.testing.assert_array_equal(back, h)


def test_views_share_storage(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((64,), "float32"), y: T.Tensor((64,), "uint32")):
        with T.Kernel(1, threads=32):
            tile = T.alloc_shared((8, 8), "float32")
            flat = T.view(tile, (64,), "uint32")
            for i in T.Parallel(64):
                tile[i // 8, i % 8] = x[i]
            for i in T.Parallel(64):
                y[i] = flat[i]

    x, y = RNG.standard_normal(64, np.float32), np.zeros(64, np.uint32)
    CompiledC(f, tmp_path)(x, y)
    np.testing.assert_array_equal(y, x.view(np.uint32))


@pytest.mark.parametrize("kind", ["float32", "float64", "int32", "float16", "bfloat16"])
def test_atomics_between_concurrent_blocks(kind: str, tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((4096,), kind), out: T.Tensor((3,), kind)):
        with T.Kernel(4096, threads=1) as b:
            T.atomic_add(out[0], x[b])
            T.atomic_max(out[1], x[b])
            T.atomic_min(out[2], x[b])

    values = RNG.integers(0, 2, 4096)
    values[:200] = 0
    if kind in ("float16", "bfloat16"):
        values[128:] = 0
        values[:100] = 1
    x = values.astype(numpy_kind(kind))
    out = np.array([0, -5, 5], numpy_kind(kind))
    CompiledC(f, tmp_path)(x, out)
    assert out.astype(np.float64).tolist() == [values.sum(), values.max(), values.min()]


def test_several_launches_with_host_code_and_a_workspace(tmp_path: Path) -> None:
    n = T.dynamic("n")

    @T.prim_func
    def f(x: T.Tensor((n,), "float32"), y: T.Tensor((n,), "float32"), times: T.int32):
        partial = T.alloc_global((n, 2), "float32")
        for step in T.serial(times):
            with T.Kernel(n, threads=1) as i:
                partial[i, 0] = x[i] + T.Cast("float32", step)
                partial[i, 1] = 2.0
            if step % 2 == 0:
                with T.Kernel(n, threads=1) as i:
                    y[i] += partial[i, 0] * partial[i, 1]

    x, y = RNG.standard_normal(37, np.float32), np.zeros(37, np.float32)
    unit = CompiledC(f, tmp_path)
    unit(x, y, 3, 37)
    np.testing.assert_allclose(y, 2 * x + 2 * (x + 2), rtol=1e-5, atol=1e-5)
    assert "f_kernel_1(" in unit.source and "free(partial);" in unit.source


def test_device_assert_fails_the_call_and_nothing_else(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((64,), "int32")):
        with T.Kernel(64, threads=1) as b:
            T.device_assert(x[b] >= 0, "x must not be negative: 100%")
            x[b] = x[b] + 1

    unit = CompiledC(f, tmp_path)
    x = np.zeros(64, np.int32)
    unit(x)
    assert x.tolist() == [1] * 64
    x[40] = -3
    with pytest.raises(RuntimeError, match=r"test_c\.py:\d+: x must not be negative: 100%"):
        unit(x)
    assert x[40] == -3
    x[40] = 0
    unit(x)


def test_host_assertions(tmp_path: Path) -> None:
    @T.prim_func
    def f(x: T.Tensor((4,), "int32"), n: T.int32):
        assert n < 4, "n is too large"
        with T.Kernel(1, threads=1):
            x[n] = 1

    unit = CompiledC(f, tmp_path)
    x = np.zeros(4, np.int32)
    unit(x, 2)
    with pytest.raises(RuntimeError, match="n is too large"):
        unit(x, 4)
    assert x.tolist() == [0, 0, 1, 0]


def test_imported_source_and_name_clashes(tmp_path: Path) -> None:
    """A variable called as the function it stands beside does not hide it."""

    @T.prim_func
    def f(x: T.Tensor((8,), "float32"), twice: T.float32):
        T.import_source("static float twice(float v) { return 2 * v; }")
        with T.Kernel(1, threads=1):
            for i in T.serial(8):
                x[i] = T.call_extern("float32", "twice", x[i]) + twice

    x = np.arange(8, dtype=np.float32)
    CompiledC(f, tmp_path)(x, 1.0)
    np.testing.assert_array_equal(x, 2 * np.arange(8) + 1)


def test_printing_from_a_kernel(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    @T.prim_func
    def f(x: T.Tensor((2, 2), "float32")):
        with T.Kernel(1, threads=1):
            T.print(x[0, 1], msg="50% of")
            T.print(x)

    CompiledC(f, tmp_path)(np.array([[1, 2.5], [3, 4]], np.float32))
    out = capfd.readouterr().out.splitlines()
    assert out == ["50% of: x[0, 1] = 2.5", *(f"x[{i}, {j}] = {v}" for i, j, v in (
        (0, 0, "1"), (0, 1, "2.5"), (1, 0, "3"), (1, 1, "4")))]  # fmt: skip


def test_random_numbers_are_philox(tmp_path: Path) -> None:
    @T.prim_func
    def f(out: T.Tensor((3, 8), "uint32"), u: T.Tensor((4000,), "float32")):
        with T.Kernel(3, threads=1) as b:
            T.rng_init(1234, b, 2)
            for i in T.serial(8):
                out[b, i] = T.rng_rand()
            if b == 0:
                for i in T.serial(4000):
                    u[i] = T.rng_rand_float(dist="normal")

    out, u = np.zeros((3, 8), np.uint32), np.zeros(4000, np.float32)
    CompiledC(f, tmp_path)(out, u)
    for sequence in range(3):
        # NumPy's Philox is the 64-bit one, so the rounds are written out here.
        words = [w for c in range(3) for w in philox((c, 0, sequence, 0), (1234, 0))]
        assert out[sequence].tolist() == words[2:10]
    assert abs(u.mean()) < 0.06 and abs(u.std() - 1) < 0.05


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ k, q & 0xFFFFFFFF, (p >> 32) ^ d ^ m, p & 0xFFFFFFFF
        k, m = (k + 0x9E3779B9) & 0xFFFFFFFF, (m + 0xBB67AE85) & 0xFFFFFFFF
    return [a, b, c, d]


def test_restrict_is_dropped_where_asked() -> None:
    text = unit_text(axpy.with_attribute(RESTRICT_DROPPED, ("y",)))
    assert re.search(r"const float \*restrict x", text)
    assert re.search(r"float \*y\b", text) and "restrict y" not in text


def test_device_only_operations_are_errors_at_their_line() -> None:
    @T.prim_func
    def f(x: T.Tensor((8,), "float32")):
        with T.Kernel(1, threads=32):
            T.cluster_sync()
            x[0] = 1.0

    with pytest.raises(TargetError, match="cluster_sync") as caught:
        unit_text(f)
    assert caught.value.span is not None
    assert "T.cluster_sync()" in caught.value.span.source_line()


def test_iterations_that_depend_on_each_other_are_not_run_side_by_side(tmp_path: Path) -> None:
    @T.prim_func
    def f(
        x: T.Tensor((64,), "float32"), y: T.Tensor((64,), "float32"), s: T.Tensor((1,), "float32")
    ):  # fmt: skip
        with T.Kernel(1, threads=1):
            total = T.alloc_var("float32", 0.0)
            for j in T.vectorized(64):
                s[0] += x[j]
            for j in T.vectorized(64):
                total += x[j]
            for j in T.vectorized(64):
                y[j] = x[j] + total

    unit = CompiledC(f, tmp_path)
    assert unit.source.count("#pragma omp simd") == 1
    x = RNG.integers(0, 9, 64).astype(np.float32)
    y, s = np.zeros(64, np.float32), np.zeros(1, np.float32)
    unit(x, y, s)
    assert s[0] == x.sum()
    np.testing.assert_array_equal(y, x + x.sum())


def test_equal_micro_kernels_are_compiled_once(tmp_path: Path) -> None:
    @T.prim_func
    def f(
        A: T.Tensor((32, 32), "float32"), B: T.Tensor((32, 32), "float32"),
        C: T.Tensor((32, 32), "float32"),
    ):  # fmt: skip
        with T.Kernel(1, threads=32):
            a, b, c = (T.alloc_shared((32, 32), "float32") for _ in "abc")
            first, second = (T.alloc_fragment((32, 32), "float32") for _ in "ab")
            T.copy(A, a)
            T.copy(B, b)
            T.clear(first)
            T.gemm(a, b, first)
            T.copy(first, c)
            T.clear(second)
            T.gemm(c, b, second)
            T.copy(second, C)

    unit = CompiledC(f, tmp_path)
    assert unit.source.count("  tl_gemm_f32(") == 1
    assert unit.source.count("  gemm_f32_shared(") == 2
    A, B = (RNG.standard_normal((32, 32), np.float32) for _ in "ab")
    C = np.zeros((32, 32), np.float32)
    unit(A, B, C)
    np.testing.assert_allclose(C, A @ B @ B, rtol=1e-3, atol=1e-3)


def test_rounding_directions(tmp_path: Path) -> None:
    @T.prim_func
    def f(y: T.Tensor((4,), "float32"), one: T.float32, three: T.float32):
        with T.Kernel(1, threads=1):
            for n, mode in enumerate(("rn", "rz", "ru", "rd")):
                y[n] = T.ieee_fdiv(one, three, mode)

    y = np.zeros(4, np.float32)
    CompiledC(f, tmp_path)(y, 1.0, 3.0)
    below, above = np.nextafter(np.float32(1 / 3), np.float32(0)), np.float32(1 / 3)
    assert y.tolist() == [above, below, above, below]
