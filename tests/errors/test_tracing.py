"""Errors of the traced language: one test per message, with line, column and names."""

from __future__ import annotations

import pytest

import tilelang.language as T
from tests.errors.location import assert_located
from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArithmeticFault,
    DTypeError,
    Error,
    IndexRangeError,
    LanguageError,
    NoBuilderError,
    NotCompilableError,
    ShapeError,
    UnknownNameError,
)


def trace(body):
    """Trace `body(A, B)` over two 64x32 float32 tensors."""
    from tilelang.ir.buffer import Buffer
    from tilelang.language.builder import Builder
    from tilelang.language.prim_func import trace as run

    builder = Builder(body.__name__)
    a, b = Buffer("A", (64, 32), "float32"), Buffer("B", (64, 32), "float32")
    builder.add_parameter(a)
    builder.add_parameter(b)
    return run(body, builder, {"A": a, "B": b})


def fails(body, kind, line, part=None, *mentions):
    with pytest.raises(kind) as caught:
        trace(body)
    assert_located(caught.value, line, part, *mentions)
    return caught.value


def test_unknown_name_suggests_the_nearest():
    def body(A, B):
        with T.Kernel(1):
            T.alloc_fragmnt((4,), "float32")

    fails(body, UnknownNameError, "T.alloc_fragmnt", "T.alloc_fragmnt", "alloc_fragment")


def test_wrong_number_of_indices():
    def body(A, B):
        with T.Kernel(1):
            B[0, 0] = A[3]

    fails(body, ShapeError, "B[0, 0] = A[3]", "A[3]", "rank 2", "[64, 32]")


@pytest.mark.parametrize("index", [64, -65])
def test_constant_index_out_of_range(index):
    def body(A, B):
        with T.Kernel(1):
            B[0, 0] = A[index, 0]

    fails(body, IndexRangeError, "A[index, 0]", "A[index, 0]", str(index), "axis 0", "64")


def test_constant_store_index_out_of_range():
    def body(A, B):
        with T.Kernel(1):
            B[0, 32] = 1.0

    fails(body, IndexRangeError, "B[0, 32] = 1.0", "B[0, 32]", "axis 1", "32")


def test_slice_with_a_step():
    def body(A, B):
        with T.Kernel(1):
            B[0, 0:4] = A[0, 0:8:2]

    fails(body, LanguageError, "A[0, 0:8:2]", "A[0, 0:8:2]", "step")


def test_name_used_outside_the_branch_that_bound_it():
    def body(A, B):
        with T.Kernel(1) as bx:
            if bx > 3:
                x = A[0, 0]
            B[0, 0] = x

    fails(body, LanguageError, "B[0, 0] = x", "x", "`x`", "if", "T.alloc_var")


def test_name_used_outside_the_loop_that_bound_it():
    def body(A, B):
        with T.Kernel(1):
            for i in T.serial(4):
                y = A[i, 0] + 1.0
            B[0, 0] = y * 2.0

    error = fails(body, LanguageError, "B[0, 0] = y * 2.0", "y", "`y`", "T.alloc_var")
    assert error.notes and "y = A[i, 0] + 1.0" in error.notes[0].span.source_line()


def test_value_that_does_not_leave_a_loop():
    def body(A, B):
        with T.Kernel(1):
            m = A[0, 0]
            for i in T.serial(4):
                m = T.max(m, A[i, 0])
            B[0, 0] = m

    fails(body, LanguageError, "B[0, 0] = m", "m", "`m`", "T.alloc_var")


def test_assigning_a_loop_variable():
    def body(A, B):
        with T.Kernel(1):
            for i in T.serial(4):
                i = i + 1
                B[i, 0] = 0.0

    fails(body, LanguageError, "i = i + 1", None, "`i`", "loop variable", "while")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("try:\n        pass\n    except ValueError:\n        pass", "`try`"),
        ("del A", "`del`"),
        ("global xyz", "`global`"),
        ("class Z: pass", "`class`"),
        ("match 1:\n        case 1: pass", "`match`"),
        ("x = (y := 3)", "`:=`"),
        ("for i in range(3):\n        pass\n    else:\n        pass", "`for` with `else`"),
        ("while A[0, 0] > 0:\n        pass\n    else:\n        pass", "`while` with `else`"),
        ("A.name = 3", "attribute"),
    ],
)
def test_python_that_cannot_be_compiled(source, what, tmp_path):
    import importlib.util

    file = tmp_path / "kernel_module.py"
    file.write_text(f"import tilelang.language as T\n\ndef body(A, B):\n    {source}\n")
    spec = importlib.util.spec_from_file_location("kernel_module", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(NotCompilableError) as caught:
        trace(module.body)
    assert caught.value.span.file == str(file)
    assert what in caught.value.message
    assert caught.value.span.line >= 4


def test_symbolic_condition_in_plain_python():
    def helper(x):
        return 1 if x > 3 else 2

    def body(A, B):
        with T.Kernel(4) as bx:
            B[0, 0] = helper(bx)

    with pytest.raises(LanguageError) as caught:
        trace(body)
    assert "T.if_then_else" in str(caught.value)


def test_integer_division_with_a_slash():
    def body(A, B):
        with T.Kernel(4) as bx:
            B[bx / 2, 0] = 1.0

    fails(body, DTypeError, "B[bx / 2, 0]", "bx / 2", "//")


def test_division_by_constant_zero():
    def body(A, B):
        with T.Kernel(4) as bx:
            B[bx // 0, 0] = 1.0

    fails(body, ArithmeticFault, "bx // 0", "bx // 0", "zero")


def test_bit_operation_on_floats():
    def body(A, B):
        with T.Kernel(1):
            B[0, 0] = A[0, 0] & 3

    fails(body, DTypeError, "A[0, 0] & 3", "A[0, 0] & 3", "float32")


def test_math_on_integers():
    def body(A, B):
        with T.Kernel(4) as bx:
            B[0, 0] = T.exp2(bx)

    fails(body, DTypeError, "T.exp2(bx)", "bx", "int32", "cast")


def test_whole_buffer_as_a_value():
    def body(A, B):
        with T.Kernel(1):
            B[0, 0] = A + 1.0

    fails(body, LanguageError, "A + 1.0", "A + 1.0", "`A`", "index it")


def test_buffer_as_a_condition():
    def body(A, B):
        with T.Kernel(1):
            if A:
                B[0, 0] = 1.0

    fails(body, TypeError, "if A:", "A", "condition")


def test_augmented_assignment_of_a_whole_buffer():
    def body(A, B):
        with T.Kernel(1):
            A += 1.0

    fails(body, LanguageError, "A += 1.0", None, "index it")


def test_loop_over_something_else():
    def body(A, B):
        with T.Kernel(1):
            for i in 5:
                B[i, 0] = 0.0

    fails(body, ArgumentTypeError, "for i in 5:", "5", "T.serial")


def test_while_that_never_ends():
    def body(A, B):
        with T.Kernel(1):
            while True:
                B[0, 0] = 0.0

    fails(body, LanguageError, "while True:", "True", "always true")


def test_break_in_a_parallel_loop():
    def body(A, B):
        with T.Kernel(1):
            for i in T.Parallel(4):
                if A[i, 0] > 0:
                    break
                B[i, 0] = 1.0

    fails(body, LanguageError, "break", "break", "T.serial")


def test_return_inside_a_symbolic_branch():
    def body(A, B):
        with T.Kernel(4) as bx:
            if bx > 2:
                return
            B[0, 0] = 1.0

    fails(body, NotCompilableError, "return", "return", "guard")


@pytest.mark.parametrize("threads", [0, -4, (32, 0)])
def test_non_positive_threads(threads):
    def body(A, B):
        with T.Kernel(1, threads=threads):
            B[0, 0] = 1.0

    fails(body, ArgumentError, "T.Kernel(1, threads=threads)", "threads", "positive")


def test_negative_grid():
    def body(A, B):
        with T.Kernel(4, -1):
            B[0, 0] = 1.0

    fails(body, ArgumentError, "T.Kernel(4, -1)", "-1", "grid extent 1")


@pytest.mark.parametrize("extent", [0, -3])
def test_non_positive_tile(extent):
    def body(A, B):
        with T.Kernel(1):
            T.alloc_shared((16, extent), "float16")

    fails(body, ShapeError, "T.alloc_shared((16, extent)", "(16, extent)", str(extent))


def test_symbolic_tile():
    def body(A, B):
        with T.Kernel(4) as bx:
            T.alloc_fragment((bx, 4), "float16")

    fails(body, ShapeError, "T.alloc_fragment((bx, 4)", "(bx, 4)", "bx", "constant")


def test_unknown_dtype():
    def body(A, B):
        with T.Kernel(1):
            T.alloc_shared((16,), "float15")

    fails(body, TypeError, 'T.alloc_shared((16,), "float15")', '"float15"', "float15")


def test_variable_that_cannot_hold_its_initial_value():
    def body(A, B):
        with T.Kernel(1):
            T.alloc_var("int8", 300)

    fails(body, ArgumentError, 'T.alloc_var("int8", 300)', "T.alloc_var", "300", "int8")


def test_vectorized_loop_of_symbolic_extent():
    def body(A, B):
        with T.Kernel(4) as bx:
            for i in T.vectorized(bx):
                B[i, 0] = 1.0

    fails(body, ArgumentError, "T.vectorized(bx)", "bx", "constant")


def test_loop_step_of_zero():
    def body(A, B):
        with T.Kernel(1):
            for i in range(0, 4, 0):
                B[i, 0] = 1.0

    fails(body, ArgumentError, "range(0, 4, 0)", "0", "step")


def test_negative_number_of_stages():
    def body(A, B):
        with T.Kernel(1):
            for i in T.Pipelined(4, num_stages=-1):
                B[i, 0] = 1.0

    fails(body, ArgumentError, "num_stages=-1", "-1", "num_stages")


def test_statement_outside_a_kernel():
    with pytest.raises(NoBuilderError) as caught:
        T.alloc_shared((4,), "float32")
    assert_located(caught.value, 'T.alloc_shared((4,), "float32")', "T.alloc_shared", "prim_func")


def test_launch_inside_a_launch():
    def body(A, B):
        with T.Kernel(1):
            with T.Kernel(2):
                B[0, 0] = 1.0

    fails(body, LanguageError, "with T.Kernel(2):", "T.Kernel(2)", "nested")


def test_output_that_is_not_returned():
    def body(A, B):
        C = T.empty((4,), "float32")
        with T.Kernel(1):
            C[0] = 1.0

    fails(body, LanguageError, "C = T.empty", "T.empty", "`C`", "return C")


def test_incomplete_annotation():
    def kernel(A, n: int):
        with T.Kernel(1):
            pass

    with pytest.raises(ArgumentError) as caught:
        T.prim_func(kernel)
    assert "`A`" in str(caught.value) and "`n`" in str(caught.value)
    assert "def kernel(A, n: int)" in caught.value.span.source_line()


def test_no_source_text():
    scope: dict = {"T": T}
    exec("def kernel(A: T.Tensor((4,), 'float32')):\n    pass\n", scope)
    with pytest.raises(LanguageError) as caught:
        T.prim_func(scope["kernel"])
    assert "no source text" in str(caught.value)


def test_macro_called_with_wrong_arguments():
    @T.macro
    def add_one(p: T.Ref, q):
        p = p + q

    def body(A, B):
        with T.Kernel(1):
            add_one(A[0, 0])

    fails(body, ArgumentTypeError, "add_one(A[0, 0])", "add_one(A[0, 0])", "'q'")


def test_reference_to_something_else():
    @T.macro
    def increase(p: T.Ref):
        p = p + 1.0

    def body(A, B):
        with T.Kernel(1):
            increase(3)

    fails(body, ArgumentError, "increase(3)", "increase(3)", "`p`", "T.alloc_var")


def test_statement_in_a_conditional_expression():
    @T.macro
    def store_and_give(B):
        B[0, 0] = 1.0
        return 3.0

    def body(A, B):
        with T.Kernel(4) as bx:
            B[1, 1] = store_and_give(B) if bx > 2 else 0.0

    with pytest.raises(Error) as caught:
        trace(body)
    assert "conditional expression" in str(caught.value)
