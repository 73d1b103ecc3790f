"""Operands that a tile operation cannot take: both sides are shown, at the user's argument."""

from __future__ import annotations

import pytest

import tilelang.language as T
from tests.errors.location import assert_located, tracing_fails
from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    IndexRangeError,
    LayoutError,
    NotCompilableError,
    ScopeError,
    ShapeError,
    TargetError,
)

F = "float32"


class TestCopy:
    @pytest.mark.parametrize(
        ("value", "shown"), [(3, "int 3"), ("S", "str 'S'"), (None, "NoneType None")]
    )
    def test_something_that_is_no_tile(self, value, shown):
        def body(A):
            with T.Kernel(1):
                T.copy(A, value)

        tracing_fails(
            body, ArgumentTypeError, "T.copy(A, value)", "value", f"argument 2 is {shown}", "slice"
        )

    def test_extents_that_differ(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((16, 16), F)
                T.copy(A[0:16, 0:8], S)

        error = tracing_fails(
            body, ShapeError, "T.copy(A[0:16, 0:8], S)", "S)", "[16, 8] of `A`", "[16, 16] of `S`"
        )
        places = [note.span.text() for note in error.notes if note.span]
        assert places == ["A[0:16, 0:8]", "S", "T.alloc_shared((16, 16), F)"]

    def test_ranks_of_whole_buffers(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((64,), F)
                T.copy(A, S)

        tracing_fails(body, ShapeError, "T.copy(A, S)", "S)", "[64, 32]", "[64]", "A[0:64, 0:32]")

    def test_arguments_by_name(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((64,), F)
                T.copy(src=A, dst=S)

        tracing_fails(body, ShapeError, "T.copy(src=A, dst=S)", "S)", "[64, 32] float32, global")

    @pytest.mark.parametrize(
        ("hint", "value", "expected"),
        [
            ("coalesced_width", 0, "positive"),
            ("coalesced_width", "4", "positive"),
            ("eviction_policy", "evict_some", "evict_first"),
            ("prefer_instruction", "dma", "cp_async"),
        ],
    )
    def test_hints(self, hint, value, expected):
        def body(A, B):
            with T.Kernel(1):
                T.copy(A, B, **{hint: value})

        tracing_fails(
            body, ArgumentError, "T.copy(A, B, **", "T.copy", f"{hint} is {value!r}", expected
        )

    def test_memory_of_an_asynchronous_copy(self):
        def body(A):
            with T.Kernel(1):
                L = T.alloc_fragment((64, 32), F)
                T.async_copy(A, L)

        error = tracing_fails(
            body, ScopeError, "T.async_copy(A, L)", "L)", "`L` is in fragment memory", "shared"
        )
        assert error.notes[0].span is not None and "alloc_fragment" in error.notes[0].span.text()

    def test_a_bulk_load_without_barrier(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((64, 32), F)
                T.tma_copy(A, S)

        tracing_fails(body, ArgumentError, "T.tma_copy(A, S)", "T.tma_copy", "barrier=")


class TestFill:
    def test_a_slice_outside(self):
        def body(A):
            with T.Kernel(1):
                T.fill(A[60:70, 0:32], 0)

        tracing_fails(
            body, IndexRangeError, "T.fill(A[60:70", "A[60:70", "60:70", "axis 0 of `A`", "[64, 32]"
        )

    def test_a_constant_that_does_not_fit(self):
        def body(N):
            with T.Kernel(1):
                T.fill(N, 3000000000)

        tracing_fails(
            body, ArgumentError, "T.fill(N, 3000000000)", "3000000000", "3000000000", "int32"
        )

    @pytest.mark.parametrize(("value", "shown"), [("x", "str 'x'"), (None, "NoneType")])
    def test_a_value_that_is_no_number(self, value, shown):
        def body(A):
            with T.Kernel(1):
                T.fill(A, value)

        tracing_fails(
            body, ArgumentTypeError, "T.fill(A, value)", "value", "one float32 value", shown
        )

    def test_a_buffer_as_the_value(self):
        def body(A, V):
            with T.Kernel(1):
                T.fill(A, V)

        tracing_fails(
            body, ArgumentTypeError, "T.fill(A, V)", "V)", "the buffer `V` ([64] float32, global)"
        )

    def test_clear_of_something_else(self):
        def body(A):
            with T.Kernel(1):
                T.clear(3)

        tracing_fails(body, ArgumentTypeError, "T.clear(3)", "3", "clear: argument 1 is int 3")


def product(first, second, result, kinds=(F, F, F), **options):
    """A body that multiplies tiles of those shapes and dtypes."""

    def body(A):
        with T.Kernel(1):
            X = T.alloc_shared(first, kinds[0])
            Y = T.alloc_shared(second, kinds[1])
            Z = T.alloc_fragment(result, kinds[2])
            T.gemm(X, Y, Z, **options)

    return body


LINE = "T.gemm(X, Y, Z, **options)"


class TestGemm:
    def test_k(self):
        body = product((16, 32), (64, 16), (16, 16))
        error = tracing_fails(
            body, ShapeError, LINE, "X,", "K of X is 32 but K of Y is 64", "K is axis 1",
            "K is axis 0", "make K of Y 32",
        )  # fmt: skip
        assert error.notes[-1].span is not None
        assert error.notes[-1].span.text() == "T.alloc_shared(second, kinds[1])"

    @pytest.mark.parametrize(
        ("second", "options", "hint"),
        [
            ((16, 32), {}, "pass transpose_B=True if Y is stored [N, K]"),
            ((32, 16), {"transpose_B": True}, "pass transpose_B=False if Y is stored [N, K]"),
        ],
    )
    def test_k_that_a_transpose_would_mend(self, second, options, hint):
        tracing_fails(product((16, 32), second, (16, 16), **options), ShapeError, LINE, "X", hint)

    def test_m_and_n(self):
        m = product((16, 32), (32, 16), (8, 16))
        tracing_fails(m, ShapeError, LINE, "X", "M of X is 16 but M of Z is 8", "[8, 16] float32")
        n = product((16, 32), (32, 16), (16, 8))
        tracing_fails(n, ShapeError, LINE, "Y", "N of Y is 16 but N of Z is 8", "[16, 8] float32")

    def test_rank(self):
        body = product((16, 32), (32,), (16, 16))
        tracing_fails(body, ShapeError, LINE, "Y", "`Y` is of rank 1, expected a matrix")

    def test_leading_extents(self):
        body = product((2, 16, 32), (32, 16), (16, 16))
        tracing_fails(body, ShapeError, LINE, "X", "leading extents", "X[i, :, :]")

    def test_different_types(self):
        body = product((16, 32), (32, 16), (16, 16), ("float16", "bfloat16", F))
        tracing_fails(body, DTypeError, LINE, "Y", "X is float16 but Y is bfloat16")

    @pytest.mark.parametrize(
        ("kind", "result", "usual"),
        [("float16", "int32", F), ("float64", F, "float64"), ("int8", "int16", "int32")],
    )
    def test_accumulator_type(self, kind, result, usual):
        body = product((16, 32), (32, 16), (16, 16), (kind, kind, result))
        tracing_fails(
            body, DTypeError, LINE, "Z", f"products of {kind}", f"Z, which is {result}",
            f"allocate Z as {usual}",
        )  # fmt: skip

    def test_bool(self):
        body = product((16, 32), (32, 16), (16, 16), ("bool", "bool", "int32"))
        tracing_fails(body, DTypeError, LINE, "X", "X is bool, expected floats or integers")

    @pytest.mark.parametrize(
        ("option", "value", "expected"),
        [
            ("policy", 7, "GemmWarpPolicy"),
            ("k_pack", 3, "expected 1 or 2"),
            ("clear_accum", 1.5, "expected a condition"),
        ],
    )
    def test_options(self, option, value, expected):
        body = product((16, 32), (32, 16), (16, 16), **{option: value})
        tracing_fails(body, ArgumentError, LINE, "T.gemm", option, expected)

    def test_an_option_by_position(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((32, 32), F)
                L = T.alloc_fragment((32, 32), F)
                T.gemm(S, S, L, False, False, "square")

        tracing_fails(body, ArgumentError, "T.gemm(S, S, L", '"square"', "policy is 'square'")

    def test_a_run_time_extent(self):
        def body(A):
            with T.Kernel(4) as bx:
                S = T.alloc_shared((16, 32), F)
                L = T.alloc_fragment((16, 16), F)
                T.gemm(S, A[0:bx, 0:16], L)

        tracing_fails(body, ShapeError, "T.gemm(S, A[0:bx", "A[0:bx", "axis 0 of `A`", "`bx`")

    def test_k_of_a_sparse_operand(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((32, 32), "float16")
                E = T.alloc_shared((32, 4), "uint8")
                L = T.alloc_fragment((32, 32), F)
                T.gemm_sp(S, E, S, L)

        tracing_fails(
            body, ShapeError, "T.gemm_sp(S, E, S, L)", "S", "expected 2 x 32", "make K of S 64"
        )

    def test_products_of_other_devices_check_the_same(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((32, 16), "float16")
                L = T.alloc_fragment((32, 16), F)
                T.wgmma_gemm(S, S, L)

        tracing_fails(body, ShapeError, "T.wgmma_gemm(S, S, L)", "S", "wgmma_gemm: K of S is 16")

    def test_a_layout_that_only_another_target_has(self):
        def body(A):
            with T.Kernel(1):
                T.make_blockscaled_gemm_layout(A, A)

        tracing_fails(body, TargetError, "T.make_blockscaled", "A, A", "block-scaled matrix unit")


class TestReductions:
    def test_shape_of_the_output(self):
        def body(A):
            with T.Kernel(1):
                R = T.alloc_fragment((32,), F)
                T.reduce_max(A, R, dim=1)

        error = tracing_fails(
            body, ShapeError, "T.reduce_max(A, R, dim=1)", "R", "`A` [64, 32]", "[64] or [64, 1]",
            "`R` is [32]",
        )  # fmt: skip
        assert len(error.notes) == 3

    @pytest.mark.parametrize("dim", [2, -3, 0.5])
    def test_axis(self, dim):
        def body(A):
            with T.Kernel(1):
                R = T.alloc_fragment((64,), F)
                T.reduce_sum(A, R, dim)

        tracing_fails(
            body, ArgumentError, "T.reduce_sum(A, R, dim)", "dim", f"dim is {dim}", "`A` has rank 2"
        )

    @pytest.mark.parametrize("name", ["reduce_bitand", "reduce_bitor", "reduce_bitxor"])
    def test_bits_of_floats(self, name):
        reduce = getattr(T, name)

        def body(A, V):
            with T.Kernel(1):
                reduce(A, V, dim=1)

        tracing_fails(body, DTypeError, "reduce(A, V, dim=1)", "A", name, "`A` is float32")

    def test_bits_into_floats(self):
        def body(N, V):
            with T.Kernel(1):
                T.reduce_bitor(N, V, dim=1)

        tracing_fails(body, DTypeError, "T.reduce_bitor(N, V", "V", "`V` is float32", "integers")

    def test_unknown_operation(self):
        def body(A, V):
            with T.Kernel(1):
                T.reduce(A, V, "prod", dim=1)

        tracing_fails(body, ArgumentError, 'T.reduce(A, V, "prod"', '"prod"', "'prod'", "absmax")

    def test_batch(self):
        def body(A, V):
            with T.Kernel(1):
                T.reduce_sum(A, V, dim=1, batch=0)

        tracing_fails(body, ArgumentError, "T.reduce_sum(A, V, dim=1", "0)", "batch is 0")

    @pytest.mark.parametrize("name", ["any_of", "all_of"])
    def test_quantifiers(self, name):
        test = getattr(T, name)

        def floats(A, B):
            with T.Kernel(1):
                B[0, 0] = test(A[0, 0:4])

        def block(N, B):
            with T.Kernel(1):
                B[0, 0] = test(N[0:2, 0:4])

        def number(B):
            with T.Kernel(1):
                B[0, 0] = test(3)

        tracing_fails(floats, ArgumentError, "test(A[0, 0:4])", "A[0, 0:4]", name, "float32")
        tracing_fails(block, ArgumentError, "test(N[0:2, 0:4])", "N[0:2", "[2, 4] of `N`", name)
        tracing_fails(number, ArgumentError, "test(3)", "3", "int 3", name)


class TestScans:
    def test_rank(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((4, 4, 4), F)
                T.cumsum(S)

        tracing_fails(body, ShapeError, "T.cumsum(S)", "S", "`S` has rank 3, expected rank 1 or 2")

    def test_shape_of_the_output(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((32, 32), F)
                T.cummax(A, S, dim=1)

        tracing_fails(
            body, ShapeError, "T.cummax(A, S, dim=1)", "S", "`A` is [64, 32] but `S` is [32, 32]"
        )

    def test_axis(self):
        def body(A, B):
            with T.Kernel(1):
                T.cumsum(A, B, dim=-3)

        tracing_fails(body, ArgumentError, "T.cumsum(A, B, dim=-3)", "-3", "dim is -3", "rank 2")


class TestRearrangement:
    def test_transpose(self):
        def body(A, B):
            with T.Kernel(1):
                T.transpose(A, B)

        def vector(V):
            with T.Kernel(1):
                T.transpose(V, V)

        tracing_fails(
            body, ShapeError, "T.transpose(A, B)", "B", "`A` [64, 32] transposed is not `B`"
        )
        tracing_fails(vector, ShapeError, "T.transpose(V, V)", "V)", "`V` [64] transposed")

    def test_im2col_operands(self):
        def rank(A, B):
            with T.Kernel(1):
                T.im2col(A, B, 0, 0, 3, 1, 1, 1)

        def column(V):
            with T.Kernel(1):
                S = T.alloc_shared((1, 8, 8, 4), F)
                T.im2col(S, V, 0, 0, 3, 1, 1, 1)

        def types(A):
            with T.Kernel(1):
                S = T.alloc_shared((1, 8, 8, 4), F)
                H = T.alloc_shared((32, 64), "float16")
                T.im2col(S, H, 0, 0, 3, 1, 1, 1)

        tracing_fails(rank, ShapeError, "T.im2col(A, B", "A", "`A` must be", "rank 4", "[64, 32]")
        tracing_fails(column, ShapeError, "T.im2col(S, V", "V", "`V` must be", "rank 2", "[64]")
        tracing_fails(types, DTypeError, "T.im2col(S, H", "H", "`S` is float32 but `H` is float16")

    def test_im2col_sizes(self):
        def body(B):
            with T.Kernel(1):
                S = T.alloc_shared((1, 8, 8, 4), F)
                T.im2col(S, B, 0, 0, 3, 0, 1, 1)

        tracing_fails(body, ArgumentError, "T.im2col(S, B", "0, 1, 1)", "stride is 0", "1 on")

    def test_reshape(self):
        def count(A):
            with T.Kernel(1):
                T.reshape(A, (63, 32))

        def part(A):
            with T.Kernel(1):
                T.reshape(A[0:2, 0:3], (6,))

        tracing_fails(
            count, ShapeError, "T.reshape(A, (63, 32))", "(63, 32)", "[64, 32]", "[63, 32]", "bits"
        )
        tracing_fails(part, ArgumentTypeError, "T.reshape(A[0:2", "A[0:2", "a whole buffer")

    def test_view(self):
        def bits(A):
            with T.Kernel(1):
                T.view(A, (64, 32), "float16")

        def unknown(A):
            with T.Kernel(1):
                T.view(A, dtype="float17")

        def last(A):
            with T.Kernel(1):
                S = T.alloc_shared((4, 3), "int8")
                T.view(S, dtype="float16")

        tracing_fails(
            bits, ShapeError, "T.view(A, (64, 32)", "(64, 32)", "65536 bits are not 32768"
        )
        tracing_fails(unknown, TypeError, "T.view(A, dtype=", '"float17"', "'float17'")
        error = tracing_fails(
            last, ShapeError, "T.view(S, dtype=", '"float16"', "`S`", "24 bits", "float16"
        )
        assert error.notes[0].span is not None
        assert error.notes[0].span.text() == 'T.alloc_shared((4, 3), "int8")'


class TestAtomics:
    def test_fragments(self):
        def tile(A):
            with T.Kernel(1):
                L = T.alloc_fragment((64, 32), F)
                T.atomic_add(L, A)

        def element(A):
            with T.Kernel(1):
                L = T.alloc_fragment((64, 32), F)
                for i in T.Parallel(64):
                    T.atomic_max(L[i, 0], 1.0)

        def variable(A):
            with T.Kernel(1):
                x = T.alloc_var(F, 0.0)
                T.atomic_add(x, 1.0)

        for body, line, part, name in (
            (tile, "T.atomic_add(L, A)", "L", "`L` is a fragment"),
            (element, "T.atomic_max(L[i, 0]", "L[i, 0]", "`L` is a fragment"),
            (variable, "T.atomic_add(x, 1.0)", "x", "`x` is a var"),
        ):
            error = tracing_fails(body, ScopeError, line, part, name, "global and shared memory")
            assert error.notes[0].span is not None and "alloc_" in error.notes[0].span.text()

    def test_extents_that_differ(self):
        def body(A):
            with T.Kernel(1):
                S = T.alloc_shared((64, 16), F)
                T.atomic_min(A, S)

        tracing_fails(body, ShapeError, "T.atomic_min(A, S)", "A", "[64, 16] of `S`", "[64, 32]")

    def test_the_old_value_of_a_tile(self):
        def body(A, B):
            with T.Kernel(1):
                T.atomic_add(A, B, return_prev=True)

        tracing_fails(body, NotCompilableError, "T.atomic_add(A, B", "True", "return_prev")

    def test_memory_order(self):
        def body(A):
            with T.Kernel(1):
                T.atomic_add(A[0, 0], 1.0, "weird")

        tracing_fails(
            body, ArgumentError, 'T.atomic_add(A[0, 0], 1.0, "weird")', '"weird"', "relaxed"
        )

    def test_something_that_is_no_element(self):
        def body(A):
            with T.Kernel(1):
                T.atomic_add(3, 1.0)

        tracing_fails(body, ArgumentTypeError, "T.atomic_add(3, 1.0)", "3", "C[i, j]")

    def test_bits_of_floats(self):
        def body(A):
            with T.Kernel(1):
                T.atomic_or(A[0, 0], 1)

        tracing_fails(body, DTypeError, "T.atomic_or(A[0, 0], 1)", "A[0, 0]", "integer")


class TestReducers:
    def test_operation_and_replication(self):
        def operation(A):
            with T.Kernel(1):
                T.alloc_reducer((4,), F, "prod")

        def replication(A):
            with T.Kernel(1):
                T.alloc_reducer((4,), F, replication="some")

        def bits(A):
            with T.Kernel(1):
                T.alloc_reducer((4,), F, op="bitand")

        tracing_fails(operation, ArgumentError, '"prod")', '"prod"', "op is 'prod'", "bitxor")
        tracing_fails(replication, ArgumentError, '"some")', '"some"', "'some'", "'none' or 'all'")
        tracing_fails(bits, DTypeError, 'op="bitand")', 'F, op="bitand"', "'bitand'", "float32")

    def test_a_fragment_that_is_no_reducer(self):
        def start(A):
            with T.Kernel(1):
                L = T.alloc_fragment((4,), F)
                T.reducer_init(L)

        def end(A):
            with T.Kernel(1):
                L = T.alloc_fragment((4,), F)
                T.finalize_reducer(L)

        def update(A):
            with T.Kernel(1):
                for i in T.Parallel(4):
                    T.reducer_update(A[i, 0], 1.0)

        tracing_fails(start, ArgumentTypeError, "T.reducer_init(L)", "L", "`L`", "T.alloc_reducer")
        tracing_fails(end, ArgumentTypeError, "T.finalize_reducer(L)", "L", "`L` is no reducer")
        tracing_fails(update, ArgumentTypeError, "T.reducer_update(A[i", "A[i", "`A` is no reducer")

    def test_update_of_the_whole(self):
        def body(A):
            with T.Kernel(1):
                r = T.alloc_reducer((4,), F)
                T.reducer_update(r, 1.0)

        tracing_fails(body, ArgumentTypeError, "T.reducer_update(r, 1.0)", "r", "`r`", "`r[i]`")

    def test_where_the_result_goes(self):
        def scope(V):
            with T.Kernel(1):
                r = T.alloc_reducer((64,), F)
                T.finalize_reducer(r, V)

        def shape(A):
            with T.Kernel(1):
                r = T.alloc_reducer((64,), F)
                L = T.alloc_fragment((32,), F)
                T.finalize_reducer(r, L)

        tracing_fails(
            scope, ScopeError, "T.finalize_reducer(r, V)", "V", "`V`", "global", "fragment"
        )
        tracing_fails(shape, ShapeError, "T.finalize_reducer(r, L)", "L", "[64] of `r`", "[32] of")


class TestAnnotations:
    def test_keys(self):
        def layout(A):
            with T.Kernel(1):
                T.annotate_layout({"A": T.Layout((4,), lambda i: i)})

        def safe(A):
            with T.Kernel(1):
                T.annotate_safe_value({"A": 0})

        def cached(A):
            with T.Kernel(1):
                T.annotate_l2_hit_ratio({3: 0.5})

        def listed(A):
            with T.Kernel(1):
                T.annotate_layout([A])

        for body, line, name in (
            (layout, "T.annotate_layout({", "'A'"),
            (safe, "T.annotate_safe_value({", "'A'"),
            (cached, "T.annotate_l2_hit_ratio({", "3"),
        ):
            error = tracing_fails(body, ValueError, line, "{", f"the key {name} is no buffer")
            assert isinstance(error, TypeError)
        tracing_fails(listed, TypeError, "T.annotate_layout([A])", "[A]", "got list")

    def test_layouts(self):
        def value(A):
            with T.Kernel(1):
                S = T.alloc_shared((4, 4), F)
                T.annotate_layout({S: 3})

        def fragment(A):
            with T.Kernel(1):
                L = T.alloc_fragment((4, 4), F)
                T.annotate_layout({L: T.Layout((4, 4), lambda i, j: (i, j))})

        def shape(A):
            with T.Kernel(1):
                S = T.alloc_shared((4, 4), F)
                T.annotate_layout({S: T.Layout((8, 4), lambda i, j: (i, j))})

        def collision(A):
            with T.Kernel(1):
                S = T.alloc_shared((4, 4), F)
                T.annotate_layout({S: lambda i, j: i})

        line = "T.annotate_layout({"
        tracing_fails(value, ValueError, line, "{S", "`S` is given 3", "a Layout")
        tracing_fails(fragment, ValueError, line, "{L", "`L` is a fragment", "needs a Fragment")
        tracing_fails(shape, ShapeError, line, "{S", "`S` is [4, 4]", "of shape [8, 4]")
        tracing_fails(collision, LayoutError, line, "{S", "`S`", "(0, 0)", "(0, 1)", "alloc_shared")

    def test_safe_values(self):
        def scope(A):
            with T.Kernel(1):
                S = T.alloc_shared((4, 4), F)
                T.annotate_safe_value({S: 0})

        def large(N):
            with T.Kernel(1):
                T.annotate_safe_value({N: 3000000000})

        def whole(A, N):
            with T.Kernel(1):
                T.annotate_safe_value({N: A})

        line = "T.annotate_safe_value({"
        tracing_fails(scope, ScopeError, line, "{S", "`S` is shared", "only global buffers")
        tracing_fails(large, ArgumentError, line, "{N", "3000000000", "int32")
        tracing_fails(whole, ArgumentTypeError, line, "{N", "one int32 value", "the buffer `A`")

    def test_hit_ratio(self):
        def body(A):
            with T.Kernel(1):
                T.annotate_l2_hit_ratio({A: 1.5})

        tracing_fails(
            body, ArgumentError, "T.annotate_l2_hit_ratio({", "{A", "`A` is 1.5", "0 to 1"
        )

    def test_swizzle(self):
        def order(A):
            with T.Kernel(1):
                T.use_swizzle(10, "diagonal")

        def size(A):
            with T.Kernel(1):
                T.use_swizzle(panel_size=-1)

        tracing_fails(order, ArgumentError, "T.use_swizzle(10", '"diagonal"', "'diagonal'", "'row'")
        tracing_fails(size, ArgumentError, "T.use_swizzle(panel_size", "-1", "panel_size is -1")

    def test_other_hints(self):
        def restrict(A):
            with T.Kernel(1):
                T.annotate_restrict_buffers("A")

        def blocks(A):
            with T.Kernel(1):
                T.annotate_min_blocks_per_sm(0)

        def groups(A):
            with T.Kernel(1):
                with T.ws():
                    A[0, 0] = 1.0

        tracing_fails(restrict, ValueError, "T.annotate_restrict", "T.ann", "'A' is no buffer")
        tracing_fails(blocks, ArgumentError, "T.annotate_min_blocks", "0", "positive")
        tracing_fails(groups, ArgumentError, "with T.ws():", "T.ws()", "warp group ids are none")


class TestCalls:
    """A `T.` function called with arguments it does not have."""

    def test_missing(self):
        def body(A):
            with T.Kernel(1):
                T.copy(A)

        tracing_fails(body, TypeError, "T.copy(A)", "T.copy(A)", "copy()", "'dst'")

    def test_unknown(self):
        def body(A, B):
            with T.Kernel(1):
                T.copy(A, B, colesced_width=4)

        tracing_fails(body, TypeError, "T.copy(A, B, col", "T.copy", "'colesced_width'")

    def test_names_of_sizes(self):
        with pytest.raises(ArgumentError) as caught:
            T.dynamic("2n")
        assert_located(caught.value, 'T.dynamic("2n")', '"2n"', "'2n'", "T.dynamic")
        with pytest.raises(TypeError) as unknown:
            T.dynamic("n", "int33")
        assert_located(unknown.value, 'T.dynamic("n", "int33")', '"int33"', "int33")
