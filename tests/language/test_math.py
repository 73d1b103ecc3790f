"""Scalar functions on the CPU, against NumPy and SciPy-free references in double precision."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

import tilelang
import tilelang.language as T

SIZE = 203  # prime-ish: no vector width divides it


def storage(dtype: str) -> np.dtype:
    return T.dtype(dtype).as_numpy()


def apply(function, dtype, *arrays, out=None):
    """`function(*elements)` over arrays of SIZE elements, in a parallel loop."""
    return apply_all([function], dtype, *arrays, out=out)[0]


def apply_all(functions, dtype, *arrays, out=None):
    """A row per function: one kernel for all of them."""
    out = out or dtype
    rows = len(arrays)

    @T.prim_func
    def kernel(A: T.Tensor((rows, SIZE), dtype), Z: T.Tensor((len(functions), SIZE), out)):
        with T.Kernel(1):
            for row, function in enumerate(functions):
                for i in T.Parallel(SIZE):
                    Z[row, i] = function(*[A[k, i] for k in range(rows)])

    result = np.zeros((len(functions), SIZE), storage(out))
    tilelang.compile(kernel, target="c")(np.stack(arrays), result)
    return result


def uniform(low, high, dtype, seed=0):
    return np.random.default_rng(seed).uniform(low, high, SIZE).astype(storage(dtype))


def assert_close(actual, expected, dtype, ulps=4):
    """Within a few units in the last place of `dtype`, plus its smallest normal number."""
    eps = EPSILON[dtype]
    actual, expected = actual.astype(np.float64), np.asarray(expected, np.float64)
    tiny = {"float64": 1e-300, "float32": 1.2e-38, "float16": 6.2e-5, "bfloat16": 1.2e-38}[dtype]
    limit = (
        ulps * eps * np.abs(expected) + tiny * (dtype != "float16") + 6e-8 * (dtype == "float16")
    )
    wrong = np.abs(actual - expected) > limit
    assert not wrong.any(), (actual[wrong][:5], expected[wrong][:5])


UNARY = {  # name -> (reference, low, high)
    "acos": (np.arccos, -1, 1), "acosh": (np.arccosh, 1, 50), "asin": (np.arcsin, -1, 1),
    "asinh": (np.arcsinh, -30, 30), "atan": (np.arctan, -30, 30),
    "atanh": (np.arctanh, -0.99, 0.99), "ceil": (np.ceil, -30, 30), "cos": (np.cos, -10, 10),
    "cosh": (np.cosh, -5, 5),
    "erf": (np.vectorize(math.erf), -4, 4), "exp": (np.exp, -10, 10), "exp2": (np.exp2, -14, 14),
    "exp10": (lambda x: 10.0**x, -4, 4), "floor": (np.floor, -30, 30), "log": (np.log, 0.01, 100),
    "log1p": (np.log1p, -0.9, 100), "log2": (np.log2, 0.01, 100), "log10": (np.log10, 0.01, 100),
    "nearbyint": (np.rint, -30, 30), "round": (np.rint, -30, 30), "trunc": (np.trunc, -30, 30),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 0.01, 100), "sqrt": (np.sqrt, 0, 100),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -10, 10), "sin": (np.sin, -10, 10),
    "sinh": (np.sinh, -5, 5), "tan": (np.tan, -1.5, 1.5), "tanh": (np.tanh, -5, 5),
    "abs": (np.abs, -30, 30), "__exp": (np.exp, -10, 10), "__exp10": (lambda x: 10.0**x, -4, 4),
    "__log": (np.log, 0.01, 100), "__log2": (np.log2, 0.01, 100), "__log10": (np.log10, 0.01, 100),
    "__sin": (np.sin, -3, 3), "__cos": (np.cos, -3, 3), "__tan": (np.tan, -1, 1),
    "fast_rcp": (lambda x: 1 / x, 0.1, 30),
}  # fmt: skip


EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
HAS_ZEROS = ("cos", "sin", "__sin", "__cos", "log", "log2", "log10", "__log", "__log2", "__log10")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_unary(dtype):
    @T.prim_func
    def kernel(A: T.Tensor((len(UNARY), SIZE), dtype), Z: T.Tensor((len(UNARY), SIZE), dtype)):
        with T.Kernel(1):
            for row, name in enumerate(UNARY):
                for i in T.Parallel(SIZE):
                    Z[row, i] = getattr(T, name)(A[row, i])

    inputs = np.stack([uniform(low, high, dtype) for _, low, high in UNARY.values()])
    results = np.zeros_like(inputs)
    tilelang.compile(kernel, target="c")(inputs, results)
    for (name, (reference, _, _)), x, result in zip(UNARY.items(), inputs, results):
        expected = reference(x.astype(np.float64))
        if name in HAS_ZEROS:  # near a zero of the function the absolute error counts
            error = np.abs(result.astype(np.float64) - expected).max()
            assert error < 6 * EPSILON[dtype] * max(1, np.abs(expected).max()), name
        else:
            wide = name in ("tan", "sinh", "acosh", "atanh", "log1p") or name.startswith("__")
            assert_close(result, expected, dtype, 16 if wide else 6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("atan2", np.arctan2), ("copysign", np.copysign), ("fmod", np.fmod), ("hypot", np.hypot),
        ("nextafter", np.nextafter), ("max", np.fmax), ("min", np.fmin),
    ],
)  # fmt: skip
def test_binary(name, reference, dtype):
    x, y = uniform(-20, 20, dtype), uniform(-20, 20, dtype, 1)
    result = apply(getattr(T, name), dtype, x, y)
    expected = (
        reference(x, y)
        if name == "nextafter"
        else reference(x.astype(np.float64), y.astype(np.float64))
    )
    assert_close(result, expected, dtype)


def test_maximum_and_minimum_let_nan_lose():
    x, y = uniform(-5, 5, "float32"), uniform(-5, 5, "float32", 1)
    x[::3], y[1::3] = np.nan, np.nan
    np.testing.assert_array_equal(apply(T.max, "float32", x, y), np.fmax(x, y))
    np.testing.assert_array_equal(apply(T.min, "float32", x, y), np.fmin(x, y))


SPECIAL = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40, -1e-40, 3e38]


def test_special_values():
    names = ["exp", "exp2", "log", "log2", "tanh", "sigmoid", "sqrt", "rsqrt", "erf", "sin"]
    x = np.resize(np.array(SPECIAL, np.float32), SIZE)
    results = apply_all([getattr(T, name) for name in names], "float32", x)
    for name, row in zip(names, results):
        for special, result in zip(SPECIAL, row.astype(float)):
            if name == "sin" and abs(special) > 1e6:
                continue  # argument reduction of huge numbers is not promised
            with np.errstate(all="ignore"):
                expected = float(np.float32(UNARY[name][0](np.float64(np.float32(special)))))
            if math.isnan(expected):
                assert math.isnan(result), (name, special)
            elif math.isinf(expected):
                assert result == expected, (name, special)
            else:
                assert result == pytest.approx(expected, rel=1e-6, abs=1.2e-38), (name, special)


def test_powers():
    x = uniform(0.1, 4, "float32")
    exact = x.astype(np.float64)
    for n in (0, 1, 2, 3, 7, -2):
        assert_close(apply(lambda a, n=n: T.pow(a, n), "float32", x), exact**n, "float32", 12)
    y = uniform(-3, 3, "float32", 1)
    assert_close(apply(T.pow, "float32", x, y), exact ** y.astype(np.float64), "float32", 16)


def test_rounding_modes():
    x = (np.arange(SIZE) - 100).astype(np.float32) / 2
    np.testing.assert_array_equal(apply(T.round, "float32", x), np.rint(x))
    away = apply(lambda a: T.round(a, "ties-away-from-zero"), "float32", x)
    np.testing.assert_array_equal(away, np.copysign(np.floor(np.abs(x) + 0.5), x))
    with pytest.raises(ValueError, match="rounding_mode"):
        T.round(1.5, "up")


def test_predicates():
    x = uniform(-5, 5, "float32")
    x[::4], x[1::4], x[2::4] = np.nan, np.inf, -np.inf
    for name in ("isnan", "isinf", "isfinite"):
        result = apply(getattr(T, name), "float32", x, out="bool")
        np.testing.assert_array_equal(result, getattr(np, name)(x))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_integers_and_bits(dtype):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    x, y = (rng.integers(info.min, info.max, SIZE, dtype=dtype, endpoint=True) for _ in range(2))
    x[:3] = [0, info.max, info.min]
    for name, reference in (
        ("bitwise_and", np.bitwise_and),
        ("bitwise_or", np.bitwise_or),
        ("bitwise_xor", np.bitwise_xor),
    ):
        np.testing.assert_array_equal(apply(getattr(T, name), dtype, x, y), reference(x, y))
    np.testing.assert_array_equal(apply(T.bitwise_not, dtype, x), ~x)
    bits = [np.binary_repr(int(v), info.bits)[-info.bits :] for v in x]
    assert list(apply(T.popcount, dtype, x, out="int32")) == [b.count("1") for b in bits]
    assert list(apply(T.clz, dtype, x, out="int32")) == [len(b) - len(b.lstrip("0")) for b in bits]
    shift = (np.arange(SIZE) % info.bits).astype(dtype)
    np.testing.assert_array_equal(apply(T.shift_right, dtype, x, shift), x >> shift)
    np.testing.assert_array_equal(apply(T.shift_left, dtype, x, shift), x << shift)
    divisor = np.where(y == 0, 3, y).astype(dtype)
    safe = np.where((x == info.min) & (divisor.astype(np.int64) == -1), 5, x).astype(dtype)
    np.testing.assert_array_equal(apply(T.floordiv, dtype, safe, divisor), safe // divisor)
    np.testing.assert_array_equal(apply(T.floormod, dtype, safe, divisor), safe % divisor)


FLOATS = [
    "float16", "bfloat16", "float32", "float64",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
    "float6_e2m3fn", "float6_e3m2fn",
]  # fmt: skip


@pytest.mark.parametrize("to", FLOATS)
def test_casts_between_floats_round_to_nearest_even_and_saturate(to):
    x = (
        np.random.default_rng(0).standard_normal(SIZE) * np.exp2(np.arange(SIZE) % 20 - 10)
    ).astype(np.float32)
    result = apply(lambda a: T.Cast(to, a), "float32", x, out=to).astype(np.float64)
    kind = storage(to)
    largest = float(T.dtype(to).max_value())
    small = T.dtype(to).bits <= 8
    expected = (np.clip(x, -largest, largest) if small else x).astype(kind).astype(np.float64)
    np.testing.assert_array_equal(result, expected)


def test_casts_between_integers_and_floats():
    x = uniform(-100, 100, "float32")
    np.testing.assert_array_equal(
        apply(lambda a: T.Cast("int32", a), "float32", x, out="int32"), x.astype(np.int32)
    )
    n = np.random.default_rng(0).integers(-1000, 1000, SIZE).astype(np.int32)
    for to in ("float32", "float16", "bfloat16", "int8", "int64", "bool"):
        result = apply(lambda a, to=to: T.Cast(to, a), "int32", n, out=to)
        np.testing.assert_array_equal(result, n.astype(storage(to)))


def test_bit_casts():
    x = uniform(-100, 100, "float32")
    np.testing.assert_array_equal(
        apply(lambda a: T.reinterpret(a, "uint32"), "float32", x, out="uint32"), x.view(np.uint32)
    )
    np.testing.assert_array_equal(
        apply(lambda a: T.reinterpret("uint32", a), "float32", x, out="uint32"), x.view(np.uint32)
    )
    h = uniform(-3, 3, "float16")
    np.testing.assert_array_equal(
        apply(lambda a: T.reinterpret(a, "uint16"), "float16", h, out="uint16"), h.view(np.uint16)
    )
    with pytest.raises(TypeError, match="bits"):
        T.reinterpret(T.float32(1.0), "uint16")


def test_choices_and_clamps():
    x = uniform(-5, 5, "float32")
    np.testing.assert_array_equal(
        apply(lambda a: T.clamp(a, -1.0, 2.0), "float32", x), np.clip(x, -1, 2)
    )
    expected = np.where(x > 0, x, x * 2)
    np.testing.assert_array_equal(
        apply(lambda a: T.Select(a > 0, a, a * 2), "float32", x), expected
    )
    np.testing.assert_array_equal(
        apply(lambda a: T.if_then_else(a > 0, a, a * 2), "float32", x), expected
    )
    both = apply(lambda a: T.all(a > -1, a < 1), "float32", x, out="bool")
    np.testing.assert_array_equal(both, (x > -1) & (x < 1))
    either = apply(lambda a: T.any(a < -1, a > 1), "float32", x, out="bool")
    np.testing.assert_array_equal(either, (x < -1) | (x > 1))


@pytest.mark.parametrize("name", ["ieee_add", "ieee_sub", "ieee_mul", "ieee_fdiv"])
def test_directed_rounding_brackets_the_exact_value(name):
    operation = {
        "ieee_add": np.add,
        "ieee_sub": np.subtract,
        "ieee_mul": np.multiply,
        "ieee_fdiv": np.divide,
    }[name]
    x, y = uniform(0.5, 4, "float32"), uniform(0.5, 4, "float32", 1)
    exact = operation(x.astype(np.float64), y.astype(np.float64))
    down, up, near, zero = (
        apply(lambda a, b, m=m: getattr(T, name)(a, b, m), "float32", x, y).astype(np.float64)
        for m in ("rd", "ru", "rn", "rz")
    )
    assert (down <= exact).all() and (up >= exact).all()
    assert (np.abs(near - exact) <= np.minimum(exact - down, up - exact) * (1 + 1e-9) + 1e-30).all()
    np.testing.assert_array_equal(zero, np.where(exact >= 0, down, up))
    with pytest.raises(ValueError, match="rounding_mode"):
        getattr(T, name)(T.float32(1), T.float32(2), "up")


def test_constants():
    assert float(T.infinity("float32")) == math.inf
    assert float(T.max_value("float16")) == 65504
    assert int(T.min_value("int8")) == -128
    assert int(T.max_value("uint64")) == 2**64 - 1
    with pytest.raises(TypeError, match="infinity"):
        T.infinity("float8_e4m3fn")
    assert T.ceildiv(7, 2) == 4 and T.cdiv(8, 2) == 4
    assert T.index_to_coordinates(17, (3, 4, 5)) == [0, 3, 2]
    assert float(np.float32(ml_dtypes.bfloat16(float(T.max_value("bfloat16"))))) == float(
        T.max_value("bfloat16")
    )
