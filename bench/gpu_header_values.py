"""Checks of conversions and arithmetic, registered for `gpu_headers.py`.

References: ml-dtypes for small formats, exact fractions for directed rounding, Python integers for
integer operations, the C library in float64 for elementary functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import ml_dtypes
import numpy as np
from gpu_harness import check, close, run, same

RNG = np.random.default_rng(1)
FORMATS = {
    "float16": np.float16, "bfloat16": ml_dtypes.bfloat16,
    **{name: getattr(ml_dtypes, name) for name in (
        "float8_e3m4", "float8_e4m3", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz",
        "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn",
        "float4_e2m1fn")},
}  # fmt: skip
CODE_BITS = {"float16": 16, "bfloat16": 16, "float6_e2m3fn": 6, "float6_e3m2fn": 6,
             "float4_e2m1fn": 4}  # fmt: skip


def codes_of(name: str) -> np.ndarray:
    return np.arange(2 ** CODE_BITS.get(name, 8)).astype(
        np.uint16 if CODE_BITS.get(name) == 16 else np.uint8
    )


def each(headers: str, expression: str, out: np.ndarray, **arrays: np.ndarray) -> np.ndarray:
    """`out[i] = expression` for all i."""
    body = f"for (int i = tid; i < {out.size}; i += 4096) out[i] = {expression};"
    return run(headers, body, threads=256, blocks=16, out=out, **arrays).out


# -- small formats --------------------------------------------------------------------------------


@check()
def formats_decode() -> None:
    for name, kind in FORMATS.items():
        codes = codes_of(name)
        out = np.zeros(codes.size, np.float32)
        got = each("types.h", f"tl_{name}_to_float32(x[i])", out, x=codes)
        same(got, codes.view(kind).astype(np.float32), name)


@check()
def formats_encode() -> None:
    for name, kind in FORMATS.items():
        codes = codes_of(name)
        with np.errstate(invalid="ignore"):
            numbers = codes.view(kind).astype(np.float64)
        numbers = np.unique(numbers[np.isfinite(numbers)])
        middles = ((numbers[1:] + numbers[:-1]) / 2).astype(np.float32)
        beside = [np.nextafter(middles, np.float32(s)) for s in (-np.inf, np.inf)]
        spread = RNG.uniform(numbers[0], numbers[-1], 4000).astype(np.float32)
        values = np.concatenate([middles, *beside, spread, RNG.standard_normal(4000)])
        values = values.astype(np.float32)
        values = values[(values >= numbers[0]) & (values <= numbers[-1])]
        if name == "float8_e8m0fnu":  # ml_dtypes rounds 2^-127 < x < 2^-126 up, nearest or not
            values = values[(values <= 2.0**-127) | (values >= 2.0**-126)]
        expected = values.astype(kind).view(codes.dtype)
        out = np.zeros_like(expected)
        same(each("types.h", f"tl_float32_to_{name}(x[i])", out, x=values), expected, name)
        special = np.array([np.inf, np.nan], np.float32)
        text = f"tl_{name}_to_float32(tl_float32_to_{name}(x[i]))"
        got = each("types.h", text, np.zeros(2, np.float32), x=special)
        keeps, no_nan = name in ("float16", "bfloat16"), name[5] in "64"
        same(got, [np.inf if keeps else numbers[-1], numbers[-1] if no_nan else np.nan], name)


@check()
def tfloat32_rounds_ties_away() -> None:
    x = RNG.standard_normal(4000).astype(np.float32)
    x[:100] = (x[:100].view(np.uint32) & 0xFFFFE000 | 0x1000).view(np.float32)  # ties
    expected = ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    same(each("types.h", "tl_float32_to_tfloat32(x[i])", np.zeros_like(x), x=x), expected)


@check()
def nibbles() -> None:
    x = RNG.integers(-8, 8, 64).astype(np.int32)
    got = run(
        "types.h",
        """if (tid == 0) for (int i = 0; i < 64; i++) tl_int4_set(p, i, x[i]);
        __syncthreads();
        out[tid] = tl_int4_get(p, tid); out[tid + 32] = tl_int4_get(p, tid + 32);
        wide[tid] = tl_uint4_get(p, tid); wide[tid + 32] = tl_uint4_get(p, tid + 32);""",
        x=x, p=np.full(32, 0xAB, np.uint8), out=np.zeros(64, np.int32), wide=np.zeros(64, np.int32),
    )  # fmt: skip
    same(got.out, x)
    same(got.wide, x & 15)


# -- pairs ----------------------------------------------------------------------------------------


def pairs(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint32)


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """Nearest number with `bits` significant bits, ties to even; no exponent limits."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


@check()
def packed_arithmetic() -> None:
    functions: dict[str, Callable[..., np.ndarray]] = {
        "add": lambda a, b, c: a + b, "sub": lambda a, b, c: a - b, "mul": lambda a, b, c: a * b,
        "max": lambda a, b, c: np.maximum(a, b), "min": lambda a, b, c: np.minimum(a, b),
        "fma": lambda a, b, c: a * b + c, "abs": lambda a, b, c: np.abs(a),
        "neg": lambda a, b, c: -a,
    }  # fmt: skip
    for kind, bits in (("float16", 11), ("bfloat16", 8)):
        dtype = FORMATS[kind]
        a, b, c = (RNG.uniform(0.5, 2, (3, 512)) * RNG.choice([-1, 1], (3, 512))).astype(dtype)
        wide = [v.astype(np.float64) for v in (a, b, c)]
        for name, function in functions.items():
            count = {"fma": 3, "abs": 1, "neg": 1}.get(name, 2)
            args = ", ".join(f"{v}[i]" for v in "abc"[:count])
            arrays = dict(zip("abc"[:count], map(pairs, (a, b, c))))
            out = np.zeros(256, np.uint32)
            got = each("packed.h", f"tl_{name}2_{kind}({args})", out, **arrays)
            got = np.ascontiguousarray(got).view(dtype).astype(np.float64)
            exact = function(*wide)
            near_zero = np.abs(exact) < 2**-3  # cancellation: subnormal steps may be coarser
            close(got, rounded(exact, bits), np.where(near_zero, 2.0**-24, 0), f"{name} {kind}")


@check()
def packed_conversions() -> None:
    x = RNG.standard_normal(512).astype(np.float32)
    for kind in ("float16", "bfloat16"):
        dtype, out = FORMATS[kind], np.zeros(256, np.uint32)
        text = f"tl_float32x2_to_{kind}x2(x[2 * i], x[2 * i + 1])"
        same(each("packed.h", text, out, x=x), pairs(x.astype(dtype)), kind)
        body = f"for (int i = tid; i < 256; i += 32) tl_{kind}x2_to_float32x2(out + 2 * i, p[i]);"
        got = run("packed.h", body, p=pairs(x.astype(dtype)), out=np.zeros_like(x)).out
        same(got, x.astype(dtype).astype(np.float32), kind)
    for kind in ("float8_e4m3fn", "float8_e5m2"):
        dtype, out = FORMATS[kind], np.zeros(256, np.uint16)
        text = f"tl_float32x2_to_{kind}x2(x[2 * i], x[2 * i + 1])"
        small = np.ascontiguousarray(x.astype(dtype)).view(np.uint16)
        same(each("packed.h", text, out, x=x), small, kind)
        half = x.astype(np.float16)
        got = each("packed.h", f"tl_float16x2_to_{kind}x2(p[i])", out, p=pairs(half))
        same(got, np.ascontiguousarray(half.astype(np.float32).astype(dtype)).view(np.uint16), kind)
        got = each("packed.h", f"tl_{kind}x2_to_float16x2(p[i])", np.zeros(256, np.uint32), p=small)
        same(got, pairs(x.astype(dtype).astype(np.float16)), kind)


@check()
def four_bit_weights() -> None:
    q = RNG.integers(0, 2**32, 64, dtype=np.uint64).astype(np.uint32)
    for kind in ("float16", "bfloat16"):
        for sign in ("uint4", "int4"):
            for i in range(4):
                text = f"tl_{sign}x8_to_{kind}x2(q[i], {i})"
                got = each("packed.h", text, np.zeros(64, np.uint32), q=q)
                low, high = q >> np.uint32(4 * i) & 15, q >> np.uint32(4 * i + 16) & 15
                values = np.stack([low, high], 1).astype(np.int32)
                values = np.where((sign == "int4") & (values > 7), values - 16, values)
                same(got, pairs(values.astype(FORMATS[kind])).ravel(), f"{sign} {kind} {i}")


@check()
def bit_selection() -> None:
    a, b = RNG.integers(0, 2**32, (2, 64), dtype=np.uint64).astype(np.uint32)
    got = each("packed.h", "tl_prmt(a[i], b[i], 0x7531)", np.zeros(64, np.uint32), a=a, b=b)
    data = np.stack([a, b], 1).view(np.uint8)
    same(got, np.ascontiguousarray(data[:, [1, 3, 5, 7]]).view(np.uint32).ravel(), "prmt")
    text = "tl_lop3<(0xf0 & 0xcc) ^ 0xaa>(a[i], b[i], a[i] >> 7)"
    same(each("packed.h", text, np.zeros(64, np.uint32), a=a, b=b), (a & b) ^ (a >> np.uint32(7)))


# -- integers -------------------------------------------------------------------------------------

INTEGERS = tuple(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64))


@check()
def integer_division_and_extrema() -> None:
    for kind in INTEGERS:
        limits = np.iinfo(kind)
        edges = np.array([limits.min, limits.max, 0, 1, 2, 7, limits.max - 1], kind)
        spread = RNG.integers(limits.min, limits.max, 500, dtype=kind, endpoint=True)
        a = np.concatenate([np.repeat(edges, 7), spread])
        b = np.concatenate([np.tile(edges, 7), RNG.permutation(spread)])
        b = np.where((b == 0) | ((limits.min < 0) & (b == np.array(-1).astype(kind))), 3, b)
        b = b.astype(kind)
        out = np.zeros_like(a)
        with np.errstate(over="ignore"):
            same(each("tl_arith.h", f"tl_floordiv_{kind}(a[i], b[i])", out, a=a, b=b), a // b, kind)
            same(each("tl_arith.h", f"tl_floormod_{kind}(a[i], b[i])", out, a=a, b=b), a % b, kind)
        for name, function in (("min", np.minimum), ("max", np.maximum)):
            got = each("integer.h", f"tl_{name}_{kind}(a[i], b[i])", out, a=a, b=b)
            same(got, function(a, b), f"{name} {kind}")
        if limits.min < 0:
            same(each("integer.h", f"tl_abs_{kind}(a[i])", out, a=a), np.abs(a), f"abs {kind}")


@check()
def bit_counts() -> None:
    for bits in (32, 64):
        x = RNG.integers(0, 2**63, 500, dtype=np.uint64)
        x = x >> RNG.integers(0, 64, 500).astype(np.uint64)
        x = np.concatenate([x, np.array([0, 1, 2**63], np.uint64)]).astype(f"uint{bits}")
        numbers = [int(v) for v in x]
        out = np.zeros(x.size, np.int32)
        for header, name, reference in (
            ("tl_arith.h", "clz", lambda v, n=bits: n - v.bit_length()),
            ("tl_arith.h", "popcount", lambda v: bin(v).count("1")),
            ("integer.h", "ffs", lambda v: (v & -v).bit_length()),
        ):
            got = each(header, f"tl_{name}_uint{bits}(x[i])", out, x=x)
            same(got, [reference(v) for v in numbers], f"{name} {bits}")
    base, offset = np.array([0, 4, 31, 5], np.uint32), np.array([2, 0, -1, 0], np.int32)
    text = "tl_fns(0x90u, x[i], y[i])"
    got = each("integer.h", text, np.zeros(4, np.uint32), x=base, y=offset)
    same(got, [7, 4, 7, 2**32 - 1], "fns")
    a, b, c = RNG.integers(-(2**31), 2**31, (3, 200)).astype(np.int32)
    bytes_a, bytes_b = (np.ascontiguousarray(v).view(np.int8).reshape(-1, 4) for v in (a, b))
    exact = (bytes_a.astype(np.int64) * bytes_b).sum(1) + c
    got = each("integer.h", "tl_dp4a_int32(a[i], b[i], c[i])", np.zeros_like(a), a=a, b=b, c=c)
    same(got, exact.astype(np.int32), "dp4a")


@check()
def float_to_integer() -> None:
    for source in ("float32", "float64"):
        powers = [s * 2.0**e for e in (7, 8, 15, 16, 31, 32, 63, 64) for s in (1, -1)]
        x = np.array([0, 0.5, -0.5, 1.99, -1.99, 1e30, -1e30, np.inf, -np.inf, np.nan, *powers])
        x = np.concatenate([x, RNG.standard_normal(200) * 1e5, RNG.standard_normal(200)])
        x = x.astype(source)
        for kind in INTEGERS:
            limits = np.iinfo(kind)
            expected = [
                0 if math.isnan(v) else int(limits.max) if v == math.inf
                else int(limits.min) if v == -math.inf
                else max(int(limits.min), min(int(limits.max), int(v))) for v in map(float, x)
            ]  # fmt: skip
            got = each("tl_arith.h", f"tl_{source}_to_{kind}(x[i])", np.zeros(x.size, kind), x=x)
            same(got, np.array(expected, kind), f"{source} to {kind}")


# -- floats ---------------------------------------------------------------------------------------


@check()
def extrema_and_classes() -> None:
    special = np.array([0, 1, -1, np.inf, -np.inf, np.nan, 1e-40, 3e38])
    for kind in ("float32", "float64"):
        a, b = (v.ravel().astype(kind) for v in np.meshgrid(special, special))
        out = np.zeros_like(a)
        for name, function in (("max_num", np.fmax), ("min_num", np.fmin),
                               ("max_nan", np.maximum), ("min_nan", np.minimum)):  # fmt: skip
            got = each("tl_arith.h", f"tl_{name}_{kind}(a[i], b[i])", out, a=a, b=b)
            same(got, function(a, b), f"{name} {kind}")
        for function in (np.isnan, np.isinf, np.isfinite):
            name = function.__name__
            got = each("tl_arith.h", f"tl_{name}_{kind}(a[i])", np.zeros(a.size, np.int32), a=a)
            same(got, function(a), f"{name} {kind}")
        x, y = (RNG.standard_normal((2, 300)) * 10).astype(kind)
        got = each("tl_arith.h", f"tl_floormod_{kind}(x[i], y[i])", np.zeros_like(x), x=x, y=y)
        close(got, np.mod(x, y), 4 * np.finfo(kind).eps * np.abs(y), f"floormod {kind}")
        got = each("tl_arith.h", f"tl_floordiv_{kind}(x[i], y[i])", np.zeros_like(x), x=x, y=y)
        same(got, np.floor(x / y), f"floordiv {kind}")


def is_rounded(got: float, below: Callable[[Fraction], int], mode: str, step: type) -> bool:
    """Whether `got` is an exact value, told by its order against candidates, rounded by `mode`.

    `below(q)` is -1, 0 or 1 as q is below, equal to or above the exact value.
    """
    order = below(Fraction(got))
    if order == 0:
        return True
    down = float(np.nextafter(step(got), step(-np.inf)))
    up = float(np.nextafter(step(got), step(np.inf)))
    is_low = order < 0 and below(Fraction(up)) > 0  # the exact value lies just above
    is_high = order > 0 and below(Fraction(down)) < 0
    if mode == "FE_UPWARD":
        return is_high
    if mode == "FE_DOWNWARD":
        return is_low
    if mode == "FE_TOWARDZERO":
        return is_low if got > 0 else is_high
    middle = (Fraction(got) + Fraction(up if order < 0 else down)) / 2
    return below(middle) * order <= 0 and (is_low or is_high)


@check()
def directed_rounding() -> None:
    def order(exact: Fraction) -> Callable[[Fraction], int]:
        return lambda q: (q > exact) - (q < exact)

    def root_order(x: Fraction) -> Callable[[Fraction], int]:
        return lambda q: (q * q > x) - (q * q < x)

    cases: dict[str, tuple[int, Callable[..., Callable[[Fraction], int]]]] = {
        "add": (2, lambda x, y, z: order(x + y)), "sub": (2, lambda x, y, z: order(x - y)),
        "mul": (2, lambda x, y, z: order(x * y)), "fdiv": (2, lambda x, y, z: order(x / y)),
        "fmaf": (3, lambda x, y, z: order(x * y + z)), "frcp": (1, lambda x, y, z: order(1 / x)),
        "fsqrt": (1, lambda x, y, z: root_order(x)),
    }  # fmt: skip
    for kind in ("float32", "float64"):
        step = np.dtype(kind).type
        x, y, z = RNG.uniform(0.1, 10, (3, 128)).astype(kind)
        exact = [[Fraction(float(v)) for v in row] for row in (x, y, z)]
        for name, (count, reference) in cases.items():
            for mode in ("FE_TONEAREST", "FE_UPWARD", "FE_DOWNWARD", "FE_TOWARDZERO"):
                args = ", ".join(f"{v}[i]" for v in "xyz"[:count])
                got = each("tl_ieee.h", f"tl_ieee_{name}_{kind}({args}, {mode})", np.zeros_like(x),
                           x=x, y=y, z=z)  # fmt: skip
                fine = [
                    is_rounded(float(g), reference(*parts), mode, step)
                    for g, *parts in zip(got, *exact)
                ]
                same(np.array(fine), True, f"{name} {kind} {mode}")
        for mode in ("FE_TONEAREST", "FE_UPWARD", "FE_DOWNWARD", "FE_TOWARDZERO"):
            got = each("tl_ieee.h", f"tl_ieee_frsqrt_{kind}(x[i], {mode})", np.zeros_like(x), x=x)
            root = 1 / np.sqrt(x.astype(np.float64))
            close(got, root, 3 * np.finfo(kind).eps * root, f"frsqrt {kind} {mode}")


ELEMENTARY: dict[str, tuple[Callable[..., float], float, float]] = {  # reference, range
    "exp": (math.exp, -80, 80), "exp2": (lambda x: 2.0**x, -120, 120),
    "exp10": (lambda x: 10.0**x, -37, 37), "expm1": (math.expm1, -5, 5),
    "log": (math.log, 1e-3, 1e3), "log2": (math.log2, 1e-3, 1e3),
    "log10": (math.log10, 1e-3, 1e3), "log1p": (math.log1p, -0.9, 10), "sin": (math.sin, -50, 50),
    "cos": (math.cos, -50, 50), "tan": (math.tan, -1.5, 1.5), "asin": (math.asin, -1, 1),
    "acos": (math.acos, -1, 1), "atan": (math.atan, -9, 9), "sinh": (math.sinh, -9, 9),
    "cosh": (math.cosh, -9, 9), "tanh": (math.tanh, -9, 9), "asinh": (math.asinh, -9, 9),
    "acosh": (math.acosh, 1, 9), "atanh": (math.atanh, -0.99, 0.99), "erf": (math.erf, -3, 3),
    "erfc": (math.erfc, -3, 3), "lgamma": (math.lgamma, 3, 30), "tgamma": (math.gamma, 0.5, 20),
    "cbrt": (lambda x: math.copysign(abs(x) ** (1 / 3), x), -9, 9), "sqrt": (math.sqrt, 0, 9),
    "rsqrt": (lambda x: 1 / math.sqrt(x), 0.1, 9), "fabs": (abs, -9, 9),
    "floor": (math.floor, -9, 9), "ceil": (math.ceil, -9, 9), "trunc": (math.trunc, -9, 9),
    "nearbyint": (round, -9, 9),
    "round": (lambda x: math.copysign(math.floor(abs(x) + 0.5), x), -9, 9),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), -80, 80),
}  # fmt: skip
TWO = {
    "pow": math.pow,
    "atan2": math.atan2,
    "fmod": math.fmod,
    "hypot": math.hypot,
    "copysign": math.copysign,
}


@check()
def elementary_functions() -> None:
    for kind in ("float32", "float64"):
        ulp = float(np.finfo(kind).eps)
        for name, (reference, low, high) in ELEMENTARY.items():
            x = RNG.uniform(low, high, 500).astype(kind)
            exact = np.array([float(reference(float(v))) for v in x])
            got = each("tl_math.h", f"tl_{name}_{kind}(x[i])", np.zeros_like(x), x=x)
            close(got, exact, 16 * ulp * np.maximum(np.abs(exact), ulp), f"{name} {kind}")
        x, y = RNG.uniform(0.1, 5, (2, 300)).astype(kind)
        for name, reference in TWO.items():
            exact = np.array([reference(float(a), float(b)) for a, b in zip(x, y)])
            got = each("tl_math.h", f"tl_{name}_{kind}(x[i], y[i])", np.zeros_like(x), x=x, y=y)
            close(got, exact, 16 * ulp * np.maximum(np.abs(exact), ulp), f"{name} {kind}")
        got = each("tl_math.h", f"tl_nextafter_{kind}(x[i], y[i])", np.zeros_like(x), x=x, y=y)
        same(got, np.nextafter(x, y), f"nextafter {kind}")
        got = each("tl_math.h", f"tl_ldexp_{kind}(x[i], -3)", np.zeros_like(x), x=x)
        same(got, np.ldexp(x, -3), f"ldexp {kind}")
        got = each("tl_math.h", f"tl_fma_{kind}(x[i], y[i], x[i])", np.zeros_like(x), x=x, y=y)
        close(got, x.astype(np.float64) * y + x, ulp * np.abs(x * y + x), f"fma {kind}")


@check()
def approximations() -> None:
    cases: list[tuple[str, Callable[[np.ndarray], np.ndarray], float, float, float, float]] = [
        # expression, reference, range, relative and absolute tolerance
        ("tl_ex2_approx_ftz_f32", np.exp2, -120, 120, 2**-21, 0),
        ("tl_ex2_approx_f32", np.exp2, -140, 120, 2**-21, 2**-149),
        ("tl_exp2_polynomial_f32", np.exp2, -125, 120, 2**-13.5, 0),
        ("tl_lg2_approx_ftz_f32", np.log2, 1e-3, 1e3, 2**-20, 2**-21),
        ("tl_rcp_approx_ftz_f32", np.reciprocal, 0.01, 100, 2**-22, 0),
        ("tl_rsqrt_approx_ftz_f32", lambda x: 1 / np.sqrt(x), 0.01, 100, 2**-22, 0),
        ("tl_sqrt_approx_ftz_f32", np.sqrt, 0.01, 100, 2**-22, 0),
        ("tl_sin_approx_ftz_f32", np.sin, -3.14, 3.14, 0, 2**-20),
        ("tl_cos_approx_ftz_f32", np.cos, -3.14, 3.14, 0, 2**-20),
        ("tl_tanh_approx_f32", np.tanh, -5, 5, 2**-10.5, 2**-16),
        ("tl_fast_exp_float32", np.exp, -10, 10, 2**-18, 0),
        ("tl_fast_exp10_float32", lambda x: 10.0**x, -5, 5, 2**-18, 0),
        ("tl_fast_log_float32", np.log, 1e-3, 1e3, 2**-20, 2**-20),
        ("tl_fast_log2_float32", np.log2, 1e-3, 1e3, 2**-20, 2**-20),
        ("tl_fast_log10_float32", np.log10, 1e-3, 1e3, 2**-20, 2**-20),
        ("tl_fast_sin_float32", np.sin, -3, 3, 0, 2**-19),
        ("tl_fast_cos_float32", np.cos, -3, 3, 0, 2**-19),
        ("tl_fast_tan_float32", np.tan, -1, 1, 2**-16, 2**-18),
        ("tl_fast_rcp_float32", np.reciprocal, 0.01, 100, 2**-22, 0),
    ]
    for name, reference, low, high, relative, absolute in cases:
        x = RNG.uniform(low, high, 4000).astype(np.float32)
        exact = reference(x.astype(np.float64))
        got = each("approx.h", f"{name}(x[i])", np.zeros_like(x), x=x)
        close(got, exact, relative * np.abs(exact) + absolute, name)
    x = RNG.uniform(-4, 4, 512).astype(np.float16)
    for name, reference in (("ex2", np.exp2), ("tanh", np.tanh)):
        text = f"tl_{name}_approx_f16x2(x[i])"
        got = each("approx.h", text, np.zeros(256, np.uint32), x=pairs(x))
        exact = reference(x.astype(np.float64))
        got = np.ascontiguousarray(got).view(np.float16)
        close(got, exact, 2**-8.5 * np.maximum(np.abs(exact), 0.25), f"{name} f16x2")


# -- random numbers -------------------------------------------------------------------------------


def philox(seed: int, sequence: int, counter: int) -> list[int]:
    mask = 2**32 - 1
    c = [counter & mask, counter >> 32 & mask, sequence & mask, sequence >> 32]
    k = [seed & mask, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [q >> 32 ^ c[1] ^ k[0], q & mask, p >> 32 ^ c[3] ^ k[1], p & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c


@check()
def random_numbers() -> None:
    for seed, sequence, offset in ((0, 0, 0), (7, 3, 5), (2**63 + 1, 2**64 - 1, 2**34 + 2)):
        start = f"tl_rng r; tl_rng_init(&r, {seed}ULL, {sequence}ULL, {offset}ULL);"
        got = run("rng.h", f"{start} for (int i = 0; i < 40; i++) out[i] = tl_rng_rand(&r);",
                  threads=1, out=np.zeros(40, np.uint32)).out  # fmt: skip
        first = offset // 4
        words = [w for n in range(12) for w in philox(seed, sequence, first + n)]
        same(got, words[offset % 4 : offset % 4 + 40], f"{seed} {sequence} {offset}")
    got = run(
        "rng.h",
        """tl_rng r; tl_rng_init(&r, 5, tid, 0);
        for (int i = 0; i < 256; i++) {
          uniform[tid * 256 + i] = tl_rng_uniform_float32(&r);
          normal[tid * 256 + i] = tl_rng_normal_float32(&r);
        }""",
        threads=128, uniform=np.full(2**15, 0.5, np.float32), normal=np.zeros(2**15, np.float32),
    )  # fmt: skip
    same(np.array([(got.uniform > 0).all(), (got.uniform <= 1).all()]), True, "in (0, 1]")
    close(np.array([got.uniform.mean()]), 0.5, 0.01, "mean of uniform")
    close(np.array([got.normal.std(), got.normal.mean() + 1]), 1, 0.03, "normal")


@check()
def bits_of_integer_header() -> None:
    x = RNG.standard_normal(200).astype(np.float32)
    got = each("integer.h", "tl_round_random(x[i], 0xffffffffu, 13)", np.zeros_like(x), x=x)
    bits = ((x.view(np.uint32) + np.uint32(0x1FFF)) & np.uint32(0xFFFFE000)).view(np.float32)
    same(got, bits, "round_random")
    got = each("integer.h", "tl_nan_above(x[i], 0.5f)", np.zeros_like(x), x=x)
    same(got, np.where(np.abs(x) > 0.5, np.float32(np.nan), x), "nan_above")
    y = np.arange(-40, 40, dtype=np.int32)
    got = each("integer.h", "tl_wrap_int4(y[i]) * 100 + tl_wrap_uint4(y[i])", np.zeros_like(y), y=y)
    same(got, ((y + 8) % 16 - 8) * 100 + y % 16, "wrap")
