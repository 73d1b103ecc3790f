"""The entry point's checks, run: the kernels are C functions that write down what they get."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
import torch

from tilelang.codegen.host_c import callee_declaration, emit_entry
from tilelang.codegen.host_symbols import dynamic_symbols, linear_form, plan_symbols
from tilelang.engine.runtime import Executable, build_module
from tilelang.errors import ArgumentError
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Add, Cast, IntImm, Mul, Sub, Var, as_expr, maximum, minimum
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Evaluate, Seq, Stmt
from tilelang.ir.visitor import substitute

OUT = 24  # numbers that a kernel can write down; the last says that it ran
RAN = 4711


def touch(*buffers: Buffer) -> Stmt:
    return Seq(tuple(Evaluate(b.load(*(0 for _ in b.shape))) for b in buffers))


def compiled(params: list[Buffer | Var], uses: list[Buffer] | None = None) -> Executable:
    """A kernel `k(*params, out)`: out[i] = i-th scalar argument, symbols after them, as int64."""
    out = Buffer("out", (OUT,), "float64")
    used = [p for p in params if isinstance(p, Buffer)] if uses is None else uses
    func = PrimFunc("k", (*params, out), touch(*used, out))
    numbers = [p for p in params if isinstance(p, Var) and p.dtype != "handle"]
    values = [v.name for v in (*numbers, *dynamic_symbols(func))]
    assert len(values) < OUT
    values += ["0"] * (OUT - 1 - len(values)) + [str(RAN)]
    body = "\n".join(f"  ((double *)out)[{i}] = (double){v};" for i, v in enumerate(values))
    source = (
        f"#include <stdint.h>\n{callee_declaration(func, 'body')} {{\n{body}\n  return 0;\n}}\n"
        + emit_entry(func, "body")
    )
    return build_module(source, "k")["k"]


def call(kernel: Executable, *args: object) -> list[float]:
    out = np.full(OUT, -1.0)
    kernel(*args, out)
    assert out[-1] == RAN
    return out.tolist()


def message(kind: type[Exception], kernel: Executable, *args: object) -> str:
    with pytest.raises(kind) as caught:
        call(kernel, *args)
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.fixture(scope="module")
def plain() -> Executable:
    A = Buffer("A", (4, 6), "float32")
    B = Buffer("B", (3,), "float16")
    return compiled([A, B])


class TestStaticTensors:
    def test_fitting_tensors_of_both_libraries(self, plain: Executable) -> None:
        call(plain, torch.zeros(4, 6), torch.zeros(3, dtype=torch.float16))
        call(plain, np.zeros((4, 6), np.float32), np.zeros(3, np.float16))

    def test_dtype(self, plain: Executable) -> None:
        text = message(ValueError, plain, torch.zeros(4, 6), torch.zeros(3))
        assert text == "k(): argument 2 `B`: expected float16[3] on cpu, got float32[3]"

    def test_shape(self, plain: Executable) -> None:
        text = message(ValueError, plain, torch.zeros(4, 5), torch.zeros(3, dtype=torch.float16))
        assert text == "k(): argument 1 `A`: expected float32[4, 6] on cpu, got float32[4, 5]"

    def test_rank(self, plain: Executable) -> None:
        text = message(ValueError, plain, torch.zeros(4, 6, 1), torch.zeros(3, dtype=torch.float16))
        assert "expected float32[4, 6] on cpu, got float32[4, 6, 1]" in text

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(None, "None"), (3, "int 3"), (2.5, "float 2.5"), (True, "bool True"), ("x", "a str"),
         ([1.0], "a list or tuple"), (object(), "an object that is neither a tensor nor a number")],
    )  # fmt: skip
    def test_other_kinds(self, plain: Executable, value: object, shown: str) -> None:
        text = message(TypeError, plain, value, torch.zeros(3, dtype=torch.float16))
        assert text == f"k(): argument 1 `A`: expected float32[4, 6] on cpu, got {shown}"

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_count(self, plain: Executable, count: int) -> None:
        text = message(ValueError, plain, *[torch.zeros(4, 6)] * count)
        assert text == f"k(): expected 3 arguments (A, B, out), got {count + 1}"

    def test_transposed_is_not_contiguous(self, plain: Executable) -> None:
        half = torch.zeros(3, dtype=torch.float16)
        text = message(ValueError, plain, torch.zeros(6, 4).t(), half)
        assert "expected float32[4, 6] on cpu with contiguous strides (6, 1)" in text
        assert "got strides (1, 4)" in text

    def test_sliced_is_not_contiguous(self, plain: Executable) -> None:
        text = message(
            ValueError, plain, torch.zeros(4, 6), torch.zeros(6, dtype=torch.float16)[::2]
        )
        assert "with contiguous strides (1,), got strides (2,)" in text

    def test_offset_view_is_fine(self, plain: Executable) -> None:
        call(plain, torch.zeros(5, 6)[1:], torch.zeros(8, dtype=torch.float16)[5:])

    def test_misaligned(self, plain: Executable) -> None:
        raw = np.zeros(4 * 6 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(4, 6)
        text = message(ValueError, plain, raw, np.zeros(3, np.float16))
        assert "at an address divisible by 4, got address 0x" in text

    def test_extent_one_and_zero_leave_strides_open(self) -> None:
        kernel = compiled([Buffer("A", (1, 5), "float32"), Buffer("E", (3, 0, 2), "float32")])
        one = torch.zeros(5, 7).t()[:1, :].as_strided((1, 5), (99, 1))
        call(kernel, one, torch.zeros(3, 0, 2).as_strided((3, 0, 2), (7, 7, 7)))
        text = message(ValueError, kernel, torch.zeros(1, 10)[:, ::2], torch.zeros(3, 0, 2))
        assert "got strides (10, 2)" in text

    def test_rank_zero(self) -> None:
        kernel = compiled([Buffer("A", (), "float64")])
        call(kernel, torch.tensor(1.0, dtype=torch.float64))
        assert "expected float64[] on cpu, got float64[1]" in message(
            ValueError, kernel, torch.zeros(1, dtype=torch.float64)
        )


class TestSymbols:
    def test_bound_once_and_compared(self) -> None:
        m, n = Var("m"), Var("n", "int64")
        kernel = compiled([Buffer("A", (m, 4), "float32"), Buffer("B", (n, m), "float32")])
        assert call(kernel, torch.zeros(5, 4), torch.zeros(7, 5))[:2] == [5, 7]
        text = message(ValueError, kernel, torch.zeros(5, 4), torch.zeros(7, 6))
        assert text == (
            "k(): argument 2 `B`: expected float32[n, m] on cpu, where m = 5 (argument 1 `A`),"
            " got float32[7, 6]"
        )
        assert "got float32[5, 3]" in message(
            ValueError, kernel, torch.zeros(5, 3), torch.zeros(7, 5)
        )

    def test_zero_is_a_size(self) -> None:
        m = Var("m")
        assert call(compiled([Buffer("A", (m, 4), "float32")]), torch.zeros(0, 4))[0] == 0

    def test_scalar_parameter_ties_a_dimension(self) -> None:
        n = Var("n")
        kernel = compiled([Buffer("A", (n,), "float32"), n])
        assert call(kernel, torch.zeros(6), 6)[0] == 6
        text = message(ValueError, kernel, torch.zeros(6), 7)
        assert "expected float32[n] on cpu, where n = 7 (argument 2 `n`), got float32[6]" in text

    def test_linear_form_is_solved_for_every_size(self) -> None:
        n, a, b = Var("n"), Var("a"), Var("b")
        kernel = compiled([Buffer("A", (n * a + b, 2), "float32"), a, b])
        rng = random.Random(7)
        for _ in range(60):
            factor, offset, size = rng.randint(0, 5), rng.randint(-3, 4), rng.randint(0, 25)
            solvable = (
                factor != 0 and (size - offset) % factor == 0 and (size - offset) // factor >= 0
            )
            if solvable:
                got = call(kernel, torch.zeros(size, 2), factor, offset)
                assert got[2] == (size - offset) // factor
            else:
                text = message(ValueError, kernel, torch.zeros(size, 2), factor, offset)
                assert "with axis 0 = n * a + b for some int32 n >= 0" in text

    def test_expressions_of_known_symbols(self) -> None:
        n, m = Var("n"), Var("m")
        shape = ((n + 7) // 8, n % 5 + 1, maximum(n, m), minimum(n - 1, 3))
        kernel = compiled([Buffer("A", (n, m), "float32"), Buffer("B", shape, "float32")])
        for rows, cols in ((9, 4), (16, 30), (1, 1), (5, 5)):
            fits = ((rows + 7) // 8, rows % 5 + 1, max(rows, cols), min(rows - 1, 3))
            call(kernel, torch.zeros(rows, cols), torch.zeros(fits))
            for axis in range(4):
                off = tuple(e + (i == axis) for i, e in enumerate(fits))
                assert "`B`" in message(
                    ValueError, kernel, torch.zeros(rows, cols), torch.zeros(off)
                )

    def test_plain_dimension_later_beats_linear_form_earlier(self) -> None:
        n = Var("n")
        kernel = compiled([Buffer("A", (n // 2,), "float32"), Buffer("B", (n,), "float32")])
        assert call(kernel, torch.zeros(3), torch.zeros(7))[0] == 7
        assert "argument 1 `A`" in message(ValueError, kernel, torch.zeros(4), torch.zeros(7))

    def test_int32_symbol_cannot_hold_a_larger_size(self) -> None:
        kernel = compiled([Buffer("A", (Var("n"),), "int8")])
        text = message(ValueError, kernel, torch.zeros(1, dtype=torch.int8).expand(1 << 31))
        assert "axis 0 = n for some int32 n >= 0, got int8[2147483648]" in text

    def test_undetermined(self) -> None:
        n, m = Var("n"), Var("m")
        for shape in ((n // 2,), (n * n,), (n + m,)):
            func = PrimFunc("k", (Buffer("A", shape, "float32"),), Seq(()))
            with pytest.raises(ArgumentError, match=r"k: no argument determines `n`.* of `A`"):
                plan_symbols(func)

    def test_order_is_shapes_then_strides(self) -> None:
        m, n, s, t = Var("m"), Var("n"), Var("s"), Var("t")
        A = Buffer("A", (m, 2), "float32", strides=(s, 1))
        B = Buffer("B", (n, m), "float32", strides=(t, s))
        func = PrimFunc("k", (A, t, B), touch(A, B))
        assert [v.name for v in dynamic_symbols(func)] == ["m", "n", "s"]


def test_linear_form_means_the_same() -> None:
    rng = random.Random(3)
    n, m = Var("n", "int64"), Var("m", "int64")

    def random_form(depth: int) -> object:
        if depth == 0:
            return rng.choice([n, m, as_expr(rng.randint(-4, 4)).astype("int64")])
        a, b = random_form(depth - 1), random_form(depth - 1)
        return rng.choice(
            [lambda: a + b, lambda: a - b, lambda: a * m, lambda: a * rng.randint(-3, 3)]
        )()

    def value(extent: object, at: dict[Var, int]) -> int:
        result = substitute(as_expr(extent), at)
        assert isinstance(result, IntImm)
        return result.value

    solved = 0
    for _ in range(200):
        form = random_form(rng.randint(0, 3))
        found = linear_form(form, n)
        if found is None:
            continue
        solved += 1
        at = {n: rng.randint(-9, 9), m: rng.randint(-9, 9)}
        a, b = (value(rebuild(part, at), {}) for part in found)
        assert a * at[n] + b == value(rebuild(form, at), {})
    assert solved > 100


def rebuild(extent: object, at: dict[Var, int]) -> object:
    """`extent` computed with numbers for variables, so that construction folds it."""
    match extent:
        case int() | IntImm():
            return as_expr(extent).astype("int64")
        case Var():
            return as_expr(at[extent]).astype("int64")
        case Cast(value=v):
            return rebuild(v, at)
        case Add(a=a, b=b):
            return rebuild(a, at) + rebuild(b, at)
        case Sub(a=a, b=b):
            return rebuild(a, at) - rebuild(b, at)
        case Mul(a=a, b=b):
            return rebuild(a, at) * rebuild(b, at)
        case _:
            raise AssertionError(extent)


class TestStrides:
    def test_declared_strides_hold_any_layout(self) -> None:
        m, n, s, t = (Var(c, "int64") for c in "mnst")
        kernel = compiled([Buffer("A", (m, n), "float32", strides=(s, t))])
        assert call(kernel, torch.zeros(3, 5))[:4] == [3, 5, 5, 1]
        assert call(kernel, torch.zeros(5, 3).t())[:4] == [3, 5, 1, 3]
        assert call(kernel, torch.zeros(6, 20)[::2, ::4])[:4] == [3, 5, 40, 4]
        assert call(kernel, np.zeros((3, 5), np.float32)[::-1])[:4] == [3, 5, -5, 1]

    def test_constant_strides(self) -> None:
        kernel = compiled([Buffer("A", (3, 4), "float32", strides=(8, 1))])
        call(kernel, torch.zeros(3, 8)[:, :4])
        text = message(ValueError, kernel, torch.zeros(3, 4))
        assert "float32[3, 4] on cpu with strides (8, 1), got strides (4, 1)" in text

    def test_linear_stride_and_shared_stride(self) -> None:
        s = Var("s", "int64")
        A = Buffer("A", (3, 4), "float32", strides=(s * 4, 1))
        B = Buffer("B", (2, 4), "float32", strides=(s, 1))
        kernel = compiled([A, B])
        assert call(kernel, torch.zeros(3, 20)[:, :4], torch.zeros(2, 5)[:, :4])[0] == 5
        text = message(ValueError, kernel, torch.zeros(3, 20)[:, :4], torch.zeros(2, 6)[:, :4])
        assert "argument 1 `A`" in text and "with strides (24, 1), got strides (20, 1)" in text

    def test_axis_of_extent_one_does_not_decide_a_stride(self) -> None:
        m, s = Var("m"), Var("s", "int64")
        A = Buffer("A", (m, 4), "float32", strides=(s, 1))
        B = Buffer("B", (3, 4), "float32", strides=(s, 1))
        kernel = compiled([A, B])
        one_row = torch.zeros(4).as_strided((1, 4), (4, 1))
        assert call(kernel, one_row, torch.zeros(3, 9)[:, :4])[:2] == [1, 9]


class TestDtypes:
    @pytest.mark.parametrize(
        "name",
        ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
         "float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2",
         "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"],
    )  # fmt: skip
    def test_same_name_in_torch_and_numpy(self, name: str) -> None:
        kernel = compiled([Buffer("A", (3,), name)])
        call(kernel, torch.zeros(3, dtype=torch.uint8).to(getattr(torch, name)))
        numpy_type = getattr(ml_dtypes, name, None) or np.dtype(name)
        call(kernel, np.zeros(3, numpy_type))
        wrong = torch.complex64
        assert f"expected {name}[3] on cpu, got complex64[3]" in message(
            ValueError, kernel, torch.zeros(3, dtype=wrong)
        )

    @pytest.mark.parametrize("name", ["float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"])
    def test_kinds_only_ml_dtypes_has(self, name: str) -> None:
        call(compiled([Buffer("A", (3, 2), name)]), np.zeros((3, 2), getattr(ml_dtypes, name)))

    def test_plain_float8_e4m3_takes_the_fn_kind(self) -> None:
        call(compiled([Buffer("A", (3,), "float8_e4m3")]), torch.zeros(3).to(torch.float8_e4m3fn))

    @pytest.mark.parametrize("name", ["int4", "uint4", "float4_e2m1fn"])
    def test_packed_pairs(self, name: str) -> None:
        n = Var("n")
        kernel = compiled([Buffer("A", (3, 8), name), Buffer("B", (2, n), name)])
        for kind in (torch.int8, torch.uint8):
            got = call(kernel, torch.zeros(3, 4, dtype=kind), torch.zeros(2, 5, dtype=kind))
            assert got[0] == 10
        text = message(
            ValueError,
            kernel,
            torch.zeros(3, 8, dtype=torch.int8),
            torch.zeros(2, 5, dtype=torch.int8),
        )
        assert f"expected {name}[3, 8] on cpu, stored with shape [3, 4], got int8[3, 8]" in text

    def test_torch_float4(self) -> None:
        kernel = compiled([Buffer("A", (3, 8), "float4_e2m1fn")])
        call(kernel, torch.empty(3, 4, dtype=torch.float4_e2m1fn_x2))

    def test_odd_packed_extent_rounds_up(self) -> None:
        n = Var("n")
        kernel = compiled([Buffer("A", (5,), "int4"), n, Buffer("B", (n,), "int4")])
        call(kernel, torch.zeros(3, dtype=torch.int8), 7, torch.zeros(4, dtype=torch.int8))
        assert "stored with shape [n // 2]" in message(
            ValueError,
            kernel,
            torch.zeros(3, dtype=torch.int8),
            9,
            torch.zeros(4, dtype=torch.int8),
        )

    def test_vector_elements(self) -> None:
        n = Var("n")
        kernel = compiled([Buffer("A", (2, n), "float32x4")])
        assert call(kernel, torch.zeros(2, 12))[0] == 3
        assert "float32x4[2, n]" in message(ValueError, kernel, torch.zeros(2, 13))

    def test_six_bit_and_unpacked_kinds_are_bytes(self) -> None:
        kernel = compiled(
            [Buffer("A", (4,), "float6_e2m3fn"), Buffer("B", (4,), "float4_e2m1_unpacked")]
        )
        call(kernel, np.zeros(4, ml_dtypes.float6_e2m3fn), torch.zeros(4, dtype=torch.uint8))

    def test_table_of_addresses(self) -> None:
        call(compiled([Buffer("A", (4,), "handle")]), torch.zeros(4, dtype=torch.int64))


class TestScalars:
    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [("int8", -128, 127), ("uint8", 0, 255), ("int16", -(1 << 15), (1 << 15) - 1),
         ("uint16", 0, (1 << 16) - 1), ("int32", -(1 << 31), (1 << 31) - 1),
         ("uint32", 0, (1 << 32) - 1)],
    )  # fmt: skip
    def test_integer_range(self, name: str, low: int, high: int) -> None:
        kernel = compiled([Var("x", name)])
        for value in (low, high, 0, 1):
            assert call(kernel, value)[0] == value
        for value in (low - 1, high + 1):
            text = message(ValueError, kernel, value)
            assert (
                text == f"k(): argument 1 `x`: expected {name} ({low} to {high}), got int {value}"
            )

    def test_64_bit_integers(self) -> None:
        kernel = compiled([Var("x", "int64"), Var("y", "uint64")])
        assert call(kernel, -(1 << 62), 1 << 62)[:2] == [-(2.0**62), 2.0**62]
        assert call(kernel, 0, (1 << 64) - 1)[1] == 2.0**64
        text = message(ValueError, kernel, 0, -1)
        assert text.endswith("expected uint64 (0 to 18446744073709551615), got int -1")
        for bad in (1 << 64, -(1 << 70)):
            assert "argument 2" in message(ValueError, kernel, 0, bad)

    @pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
    def test_floats_take_any_number(self, name: str) -> None:
        kernel = compiled([Var("x", name)])
        for value in (0.5, -3, True, np.float32(0.25), np.int64(4)):
            assert call(kernel, value)[0] == value
        assert "expected " + name in message(TypeError, kernel, "1.0")
        assert "got float64[1]" in message(TypeError, kernel, torch.zeros(1, dtype=torch.float64))

    def test_bool_and_int_do_not_take_floats(self) -> None:
        kernel = compiled([Var("x", "int32"), Var("c", "bool")])
        assert call(kernel, True, 5)[:2] == [1, 1]
        assert call(kernel, 3, False)[:2] == [3, 0]
        assert "expected int32, got float 1" in message(TypeError, kernel, 1.0, True)
        assert "expected bool, got None" in message(TypeError, kernel, 1, None)

    def test_pointer(self) -> None:
        p = Var("p", "handle")
        view = Buffer("view", (4,), "float32", data=p)
        kernel = compiled([p], uses=[view])
        tensor = torch.zeros(4)
        call(kernel, tensor)
        call(kernel, tensor.data_ptr())
        assert "expected a tensor or an address, got None" in message(TypeError, kernel, None)
        assert "got float 1" in message(TypeError, kernel, 1.0)
        call(compiled([p], uses=[]), None)


class TestNone:
    def test_only_where_untouched(self) -> None:
        A, B = Buffer("A", (4,), "float32"), Buffer("B", (4,), "float32")
        kernel = compiled([A, B], uses=[A])
        call(kernel, torch.zeros(4), None)
        call(kernel, torch.zeros(4), torch.zeros(4))
        assert "argument 2 `B`" in message(ValueError, kernel, torch.zeros(4), torch.zeros(5))
        assert "argument 1 `A`" in message(TypeError, kernel, None, torch.zeros(4))

    def test_view_counts_as_touch(self) -> None:
        A = Buffer("A", (4,), "float32")
        view = Buffer("V", (2, 2), "float32", data=A.data)
        assert "got None" in message(TypeError, compiled([A], uses=[view]), None)

    def test_sole_source_of_a_needed_symbol_is_required(self) -> None:
        n = Var("n")
        A, B = Buffer("A", (n,), "float32"), Buffer("B", (n * 2,), "float32")
        C = Buffer("C", (n // 2,), "float32")
        kernel = compiled([A, B], uses=[B])  # B alone determines n
        assert call(kernel, None, torch.zeros(6))[0] == 3
        assert "argument 1 `A`" in message(ValueError, kernel, torch.zeros(4), torch.zeros(6))
        kernel = compiled([A, C], uses=[C])  # C does not
        assert call(kernel, torch.zeros(7), torch.zeros(3))[0] == 7
        assert "argument 1 `A`" in message(TypeError, kernel, None, torch.zeros(3))

    def test_own_symbols_of_an_absent_tensor_are_zero(self) -> None:
        n = Var("n")
        kernel = compiled([Buffer("A", (n, n), "float32")], uses=[])
        assert call(kernel, None)[0] == 0
        assert call(kernel, torch.zeros(3, 3))[0] == 3
        assert "got float32[3, 4]" in message(ValueError, kernel, torch.zeros(3, 4))


def test_kernel_failure_is_an_exception() -> None:
    func = PrimFunc("f", (Var("code", "int32"),), Seq(()))
    source = "#include <stdint.h>\nint32_t body(int32_t code) { return code; }\n" + emit_entry(
        func, "body"
    )
    kernel = build_module(source, "f")["f"]
    kernel(0)
    with pytest.raises(MemoryError, match=r"f\(\): out of memory"):
        kernel(1)
    with pytest.raises(RuntimeError, match=r"f\(\): the kernel failed with code -7"):
        kernel(-7)


def test_kernel_gives_its_own_reason() -> None:
    func = PrimFunc("f", (Var("code", "int32"),), Seq(()))
    body = """
#include <stdint.h>
static _Thread_local const char *why;
int32_t body(int32_t code) { why = code == 5 ? "x[3] is 100% wrong" : 0; return code; }
"""
    text = body + emit_entry(func, "body", failure_reason="why")
    kernel = build_module(text, "f")["f"]
    with pytest.raises(RuntimeError, match=r"f\(\): x\[3\] is 100% wrong"):
        kernel(5)
    with pytest.raises(RuntimeError, match="failed with code 6"):
        kernel(6)


def test_names_that_are_not_c_identifiers_and_long_messages() -> None:
    α = Buffer("α", (2,), "float32")
    self_ = Buffer("self", (2,) * 8, "float32")
    out = Buffer("out", (OUT,), "float64")
    func = PrimFunc("k", (α, self_, out), touch(α, self_, out))
    body = f"((double *)c)[{OUT - 1}] = {RAN}; return 0;"
    text = f"#include <stdint.h>\nint32_t body(void *a, void *b, void *c) {{ {body} }}\n"
    kernel = build_module(text + emit_entry(func, "body"), "k")["k"]
    call(kernel, torch.zeros(2), torch.zeros((2,) * 8))
    assert "argument 1 `α`" in message(ValueError, kernel, torch.zeros(3), torch.zeros((2,) * 8))


def test_generated_text_is_stable() -> None:
    def text() -> str:  # fresh objects each time
        m, n = Var("m"), Var("n")
        A, B = Buffer("A", (m, n * 2), "float16"), Buffer("B", (n, 7), "int4")
        return emit_entry(PrimFunc("k", (A, B), touch(A, B)), "body")

    assert text() == text()


def test_calls_from_many_threads() -> None:
    m = Var("m")
    kernel = compiled([Buffer("A", (m,), "float32")])

    def work(size: int) -> bool:
        if size % 5 == 0:
            return "got int64" in message(ValueError, kernel, torch.zeros(size, dtype=torch.int64))
        return call(kernel, torch.zeros(size))[0] == size

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(1, 200)))
