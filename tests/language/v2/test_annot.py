"""Annotations one by one: what they take, their key, the IR parameter they make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    Error,
    NoBuilderError,
    ShapeError,
)
from tilelang.ir.buffer import Buffer as IRBuffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Var
from tilelang.language.builder import Builder
from tilelang.language.v2 import annot as T
from tilelang.language.v2.annot import ArgVarTable, TIRAnnot, Value
from tilelang.language.v2.dtypes import float16, float32, int32, int64

M = TypeVar("M")


@pytest.fixture
def builder() -> Iterator[Builder]:
    made = Builder("kernel")
    with made.active():
        yield made


def key(annotation: T.Annot, value: Any) -> tuple[Any, ...]:
    return annotation.with_name("A").get_key_parser()("A", value)


# -- ArgVarTable ---------------------------------------------------------------------------------


def test_table_gives_one_variable_per_name_and_the_first_dtype_wins() -> None:
    table = ArgVarTable()
    m = table.get_or_create_var("m", int32)
    assert m is table.get_or_create_var("m", int64) and m.dtype == "int32" and m.name == "m"
    assert table.get_or_create_var("n", int64) is not m
    assert [table.create_tmp_name() for _ in range(2)] == ["varg_0", "varg_1"]
    unnamed = table.get_or_create_var("", int32), table.get_or_create_var(None, int32)
    assert [v.name for v in unnamed] == ["varg_2", "varg_3"]
    assert table.var_tab["m"] is m and table.tmp_name_idx == 4


def test_tables_share_nothing() -> None:
    assert ArgVarTable().get_or_create_var("m", int32) is not ArgVarTable().get_or_create_var(
        "m", int32
    )


# -- Value ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kind", "kind_of", "value"),
    [
        (5, "static", "int32", 5),
        (0, "static", "int32", 0),
        (True, "static", "int32", 1),
        (2.5, "static", "float32", 2.5),
        (np.int64(7), "static", "int32", 7),
        (int64, "dynamic", "int64", None),
        (M, "static", "int32", None),
        (Any, "static", "int32", None),
        (None, "static", "int32", None),
        (int, "static", "int32", None),
        (list[int], "static", "int32", None),
        (dtype, "static", "int32", None),
    ],
)
def test_meaning_of_a_value(written: Any, kind: str, kind_of: str, value: Any) -> None:
    found = Value.from_value(written)
    assert (found.kind, found.dtype, found.value) == (kind, kind_of, value)
    assert found.is_kernel_arg() == (kind == "dynamic")


def test_names_of_values() -> None:
    n = Var("n", int64)
    assert Value.from_value(M).name == "M"
    assert Value.from_value(n).name == "n" and Value.from_value(n).value is n
    assert Value.from_value(n * 2, "twice").name == "twice"
    assert Value.from_value(n * 2, "twice").kind == "dynamic"
    given = Value("static", "k")
    assert Value.from_value(given) is given


@pytest.mark.parametrize("written", ["m", object(), [3], {}])
def test_what_is_no_value(written: Any) -> None:
    with pytest.raises(TypeError, match="expected a number"):
        Value.from_value(written)


def test_with_name_keeps_name_and_creator_and_gives_a_plain_value() -> None:
    made = Value("dynamic", None, float32, None, lambda: Var("c", float32)).with_name("x")
    assert made.name == "x" and made.creator is not None and made.creator().name == "c"
    assert made.with_name("y").name == "x"
    assert type(T.dyn.with_name("d")) is Value


def test_keys_of_values() -> None:
    assert key(Value("static", None, int32, 5), 5) == (5,)
    assert key(Value("static"), 5) == (5,)
    assert key(Value("dynamic"), 5) == key(Value("dynamic"), 6) == (None,)
    assert Value("static", "n").parse_key(3) == (3,)


@pytest.mark.parametrize("expected", [0, 5])
def test_a_known_value_is_checked_and_zero_too(builder: Builder, expected: int) -> None:
    known = Value("static", "n", int32, expected)
    assert known.create_prim_func_arg("n", expected, ArgVarTable()) == expected
    for parse in (known.parse_key, lambda v: known.create_prim_func_arg("n", v, ArgVarTable())):
        with pytest.raises(AssertionError, match=f"argument `n`: expected {expected}, got 7"):
            parse(7)


def test_dynamic_values_become_parameters(builder: Builder) -> None:
    table = ArgVarTable()
    m = Value("dynamic", None, int64).create_prim_func_arg("m", 3, table)
    assert isinstance(m, Var) and m.name == "m" and m.dtype == "int64" and builder.params == [m]
    assert Value("dynamic", "m").create_prim_func_arg("other", 3, table, create_arg=False) is m
    n, c = Var("n", int32), Var("c", float32)
    assert Value.from_value(n).create_prim_func_arg("x", 1, table) is n
    assert Value("dynamic", creator=lambda: c).create_prim_func_arg("y", 1, table) is c
    assert builder.params == [m, n, c]
    with pytest.raises(ArgumentTypeError, match="is no variable"):
        Value.from_value(n * 2).create_prim_func_arg("z", 1, table)


def test_representation_of_values() -> None:
    shown = [Value("static", value=4), Value("static", "k"), Value("dynamic", "m"), Value("static")]
    assert [repr(v) for v in shown] == ["4", "k$", "m$dyn", "$unnamed$"]


# -- calling and subscripting --------------------------------------------------------------------


def test_calls_make_buffers_in_their_scope() -> None:
    scopes = {
        T.Buffer: "global", T.Tensor: "global", T.SharedBuffer: "shared.dyn",
        T.FragmentBuffer: "local.fragment", T.LocalBuffer: "local",
    }  # fmt: skip
    for annotation, scope in scopes.items():
        made = annotation((4, 8), float16)
        assert isinstance(made, IRBuffer) and made.scope() == annotation.scope == scope
        assert made.shape == (4, 8) and made.dtype == "float16" and made.strides == (8, 1)
    assert T.Tensor(16).shape == (16,) and T.Tensor(16).dtype == "float32"
    assert T.Tensor((4,), scope="shared").scope() == "shared"
    assert T.Tensor((2, 2), "float16", None, (4, 1)).strides == (4, 1)
    data = Var("p", "handle")
    assert T.Buffer((4,), data=data, elem_offset=2).data is data
    assert T.StridedTensor((4, 8), (16, 2), "int8").strides == (16, 2)


def test_a_buffer_knows_where_it_was_declared() -> None:
    made = T.Tensor((4,), float16)
    assert made.span is not None and made.span.file == __file__


def test_symbolic_extents_and_tables_of_addresses() -> None:
    n = Var("n", int32)
    made = T.Tensor((n * 4, n), T.ptr)
    assert made.shape[1] is n and made.dtype == "int64" and made.strides[0] is n


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: T.Tensor((4, -1)), "extent of axis 1 is negative: -1"),
        (lambda: T.Tensor[[4, -1], float16], "extent of axis 1 is negative: -1"),
        (lambda: T.Tensor[[4, 2.5], float16], "extent of axis 1: expected an integer"),
        (lambda: T.Tensor((T.dyn(),)), "extent of axis 0: expected an integer, got float32"),
        (lambda: T.Tensor[[T.dyn()], float16], "extent of axis 0: expected an integer"),
        (lambda: T.StridedTensor((4, 8), (1,)), "1 strides for a shape of rank 2"),
        (lambda: T.StridedTensor[[4, 8], [1], float16], "1 strides for a shape of rank 2"),
        (lambda: T.StridedTensor[8], "expected T.StridedTensor"),
        (lambda: T.Tensor[[4], float16, 3], "expected \\[shape, dtype\\]"),
        (lambda: T.Buffer((4,), buffer_type="auto_broadcast"), "buffer_type"),
        (lambda: T.Buffer((4,), axis_separators=[1]), "axis_separators"),
        (lambda: T.dyn[int32, 5], "expected T.dyn"),
        (lambda: T.ptr(storage_scope="shared"), "points to global memory"),
    ],
)
def test_mistakes_in_annotations_are_located(make: Any, words: str) -> None:
    with pytest.raises(Error, match=words) as caught:
        make()
    assert caught.value.span is not None and caught.value.span.file == __file__


def test_subscripts_make_annotations_of_the_same_class() -> None:
    for annotation in (T.Buffer, T.Tensor, T.SharedBuffer, T.FragmentBuffer, T.LocalBuffer):
        made = annotation[[4, int], float16]
        assert type(made) is type(annotation) and made.dtype == "float16"
        assert [d.value for d in made.shape] == [4, None]
    assert T.Tensor[(4, 8), float16] == T.Tensor[[4, 8], float16]
    assert T.Tensor[16, float16].shape[0].value == 16
    assert T.Tensor[[4, 8]].dtype == "float32"
    assert [T.Tensor[[4], open_].dtype for open_ in (Any, None, M)] == [None] * 3
    strided = T.StridedTensor[[4, int], [int, T.dyn], "int8"]
    assert [d.kind for d in strided.strides] == ["static", "dynamic"]


def test_dyn() -> None:
    assert (T.dyn["m"].name, T.dyn["m"].dtype, T.dyn["m"].kind) == ("m", "int32", "dynamic")
    assert (T.dyn[int, "m"].dtype, T.dyn[int64, "k"].dtype) == ("int32", "int64")
    assert (T.dyn[int64].name, T.dyn[int64].dtype) == (None, "int64")
    made = T.dyn(int64, "n")
    assert isinstance(made, Var) and (made.name, made.dtype) == ("n", "int64")
    assert T.dyn().dtype == "float32" and T.dyn.is_kernel_arg()


def test_with_name_fills_in_what_has_no_name() -> None:
    made = T.StridedTensor[[M, T.dyn], [int, T.dyn["s"]], float16].with_name("A")
    assert [d.name for d in made.shape] == ["M", "A_shape_1"]
    assert [d.name for d in made.strides] == ["A_stride_0", "s"]
    assert T.Tensor.with_name("A") == T.Tensor


# -- keys of tensors -----------------------------------------------------------------------------

X = torch.zeros(6, 8, dtype=torch.float16)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (T.Tensor, ((6, 8), (8, 1), "float16")),
        (T.Buffer, ((6, 8), (8, 1), "float16")),
        (T.Tensor[[int, int], float16], ((6, 8), (), "float16")),
        (T.Tensor[[int, int], Any], ((6, 8), (), "float16")),
        (T.Tensor[[int, 8], float16], ((6, 8), (), "float16")),
        (T.Tensor[[T.dyn, int], float16], ((8,), (), "float16")),
        (T.Tensor[[T.dyn, 8], float16], ((8,), (), "float16")),
        (T.Tensor[[T.dyn, T.dyn], float16], ((), (), "float16")),
        (T.Buffer[[int, int], float16], ((6, 8), (8, 1), "float16")),
        (T.Buffer[[T.dyn, int], float16], ((8,), (8, 1), "float16")),
        (T.Buffer[[int, T.dyn], float16], ((6,), (1,), "float16")),
        (T.StridedTensor[[int, int], [int, 1], float16], ((6, 8), (8, 1), "float16")),
        (T.StridedTensor[[int, int], [T.dyn, int], float16], ((6, 8), (1,), "float16")),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["torch", "numpy", "placeholder"])
def test_key_of_a_tensor(annotation: Any, expected: tuple[Any, ...], form: str) -> None:
    value = {"torch": X, "numpy": X.numpy(), "placeholder": T.Tensor((6, 8), float16)}[form]
    parse = annotation.with_name("A").get_key_parser()
    for _ in range(2):  # the second time a dtype is known already
        found = parse("A", value)
        assert found == expected and hash(found) == hash(expected)
    assert annotation.parse_key(value) == expected


@pytest.mark.parametrize("seed", range(5))
def test_static_extents_tell_keys_apart_and_dynamic_ones_do_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 5))
    is_static = rng.integers(0, 2, rank).astype(bool)
    annotation = T.Tensor[[int if s else T.dyn for s in is_static], "float32"]
    parse = annotation.with_name("A").get_key_parser()
    base = rng.integers(1, 6, rank)
    for axis in range(rank):
        other = base.copy()
        other[axis] += int(rng.integers(1, 4))
        a, b = (parse("A", torch.zeros(*(int(e) for e in s))) for s in (base, other))
        assert (a != b) == is_static[axis]


def test_strides_of_a_bare_annotation_are_part_of_the_key() -> None:
    assert key(T.Tensor, X) != key(T.Tensor, torch.zeros(8, 6, dtype=torch.float16).T)
    assert key(T.Buffer, X.numpy()[:, ::2]) == ((6, 4), (8, 2), "float16")


@pytest.mark.parametrize(
    ("annotation", "value", "error", "words"),
    [
        (T.Tensor[[int], float16], X, AssertionError, "expected rank 1, got rank 2"),
        (T.Tensor[[int, 9], float16], X, AssertionError, "expected extent 9 of axis 1, got 8"),
        (T.Tensor[[0, int], float16], X, AssertionError, "expected extent 0 of axis 0, got 6"),
        (T.Tensor[[T.dyn, 9], float16], X, AssertionError, "expected extent 9 of axis 1, got 8"),
        (T.StridedTensor[[int, int], [9, 1], float16], X, ShapeError, "expected stride 9"),
        (T.Tensor[[int, int], "int8"], X, TypeError, "expected dtype int8, got float16"),
        (T.Tensor[[int, int], float16], 5, TypeError, "expected a float16 tensor, got int 5"),
        (T.Tensor, None, TypeError, "expected a tensor, got NoneType"),
        (T.Tensor, torch.zeros(2, dtype=torch.complex64), DTypeError, "complex64"),
        (T.Tensor[[int], float16], T.Tensor(Var("m", int32), float16), TypeError, "specialised"),
        (T.Tensor[[int], float16], T.ptr(), TypeError, "expected a float16 tensor"),
    ],
)
def test_arguments_that_do_not_fit(annotation: Any, value: Any, error: Any, words: str) -> None:
    parse = annotation.with_name("A").get_key_parser()
    fitting = torch.zeros(6, 9, dtype=torch.float16)
    if annotation in (T.Tensor[[int, 9], float16], T.Tensor[[T.dyn, 9], float16]):
        parse("A", fitting)  # so that the mistake is found on the fast path
    with pytest.raises(error, match="argument `A`") as caught:
        parse("A", value)
    assert isinstance(caught.value, Error) and words in str(caught.value)


def test_packed_types_count_elements() -> None:
    packed = torch.zeros(6, 4, dtype=torch.int8)
    expected = ((6, 8), (), "int4")
    assert key(T.Tensor[[int, int], "int4"], packed) == expected
    assert key(T.Tensor[[int, int], "int4"], T.Tensor((6, 8), "int4")) == expected
    fp4 = packed.view(torch.float4_e2m1fn_x2)
    assert key(T.Tensor, fp4) == ((6, 8), (8, 1), "float4_e2m1fn")
    assert key(T.Tensor[[int, 8], "float4_e2m1fn"], packed.view(torch.uint8))[0] == (6, 8)
    with pytest.raises(AssertionError, match="expected extent 4"):
        key(T.Tensor[[int, 4], "int4"], packed)


def test_numpy_arrays_with_a_value_per_byte() -> None:
    import ml_dtypes

    array = np.zeros((4, 8), ml_dtypes.float4_e2m1fn)
    assert key(T.Tensor, array) == ((4, 8), (8, 1), "float4_e2m1_unpacked")
    with pytest.raises(DTypeError, match="one value per byte"):
        key(T.Tensor[[int, int], "int4"], np.zeros((4, 8), ml_dtypes.int4))


# -- parameters of tensors -----------------------------------------------------------------------


def test_buffers_are_made_and_registered(builder: Builder) -> None:
    table = ArgVarTable()
    a = T.Tensor[[T.dyn["m"], int], float16].with_name("A").create_prim_func_arg("A", X, table)
    b = T.Tensor[[T.dyn["m"], T.dyn], Any].with_name("B").create_prim_func_arg("B", X, table)
    assert builder.params == [a, b] and (a.name, a.data.name) == ("A", "A")
    assert a.shape[0] is b.shape[0] is table.var_tab["m"] and a.shape[1] == 8
    assert b.shape[1].name == "B_shape_1" and b.dtype == "float16"
    assert a.declared_strides is None and a.scope() == "global"


def test_a_bare_annotation_takes_shape_strides_and_dtype(builder: Builder) -> None:
    made = T.Tensor.create_prim_func_arg("A", X[:, ::2], ArgVarTable())
    assert (made.shape, made.strides, made.dtype) == ((6, 4), (8, 2), "float16")
    assert T.Tensor.create_prim_func_arg("A", X, ArgVarTable()).declared_strides is None


def test_strides_follow_the_annotation(builder: Builder) -> None:
    table = ArgVarTable()
    annotation = T.StridedTensor[[int, int], [T.dyn["s"], int], float16].with_name("A")
    made = annotation.create_prim_func_arg("A", X[:, ::2], table)
    assert made.strides[0] is table.var_tab["s"] and made.strides[1] == 2
    loose = T.Buffer[[int, T.dyn], float16].with_name("B").create_prim_func_arg("B", X, table)
    assert loose.strides[0].name == "B_stride_0" and loose.strides[1] == 1


def test_scopes_of_parameters(builder: Builder) -> None:
    made = (
        T.SharedBuffer[[4], float16]
        .with_name("S")
        .create_prim_func_arg("S", T.SharedBuffer((4,), float16), ArgVarTable())
    )
    assert made.scope() == "shared.dyn"


def test_arguments_without_a_value_where_nothing_is_open(builder: Builder) -> None:
    annotation = T.Tensor[[T.dyn["m"], 8], float16].with_name("A")
    assert key(annotation, T.ptr()) == key(annotation, X) == ((8,), (), "float16")
    made = annotation.create_prim_func_arg("A", T.ptr(), ArgVarTable())
    assert made.shape[1] == 8 and made.dtype == "float16"


def test_rank_and_agreement_are_checked_when_parameters_are_made(builder: Builder) -> None:
    table = ArgVarTable()
    with pytest.raises(AssertionError, match="argument `A`: expected rank 1, got rank 2"):
        T.Tensor[[int], float16].create_prim_func_arg("A", X, table)
    with pytest.raises(AssertionError, match="expected extent 0 of axis 0, got 6"):
        T.Tensor[[0, int], float16].create_prim_func_arg("A", X, table)
    T.Tensor[[M, int], float16].create_prim_func_arg("A", X, table)
    with pytest.raises(ShapeError, match="dimension `M` is 6 in `A` but 8 in `B`"):
        T.Tensor[[int, M], float16].create_prim_func_arg("B", X, table)


def test_match_shape() -> None:
    table = ArgVarTable()
    assert T.BufferAnnot.match_shape(None, (3, 4), table) == (3, 4)
    dims = (Value.from_value(3), Value.from_value(T.dyn["n"]))
    found = T.BufferAnnot.match_shape(dims, (3, 4), table)
    assert found[0] == 3 and found[1] is table.var_tab["n"]
    for wrong in ((4, 4), (3,), (3, 4, 5)):
        with pytest.raises(ShapeError):
            T.BufferAnnot.match_shape(dims, wrong, table)


def test_parameters_need_a_trace() -> None:
    with pytest.raises(NoBuilderError):
        T.Tensor.create_prim_func_arg("A", X, ArgVarTable())


# -- promotion, dtypes, complete parameters ------------------------------------------------------


def test_promotion() -> None:
    fixed = T.Tensor[[4, 8], float16].promote()
    assert isinstance(fixed, TIRAnnot) and isinstance(fixed.data, IRBuffer)
    assert fixed.data.shape == (4, 8) and fixed.data.dtype == "float16"
    n = Var("n", int32)
    symbolic = T.Tensor[[n, 8], float16].promote()
    assert symbolic is not None and symbolic.data.shape[0] is n
    assert T.StridedTensor[[4, 8], [16, 1], float16].promote() is not None
    for open_ in (
        T.Tensor, T.Tensor[[4, int], float16], T.Tensor[[4, T.dyn], float16],
        T.Tensor[[4, 8], Any], T.Buffer[[4, 8], float16],
        T.StridedTensor[[4, 8], [int, 1], float16], Value("static"), T.DTypeAnnot(),
    ):  # fmt: skip
        assert open_.promote() is None


@pytest.mark.parametrize("spelling", ["float16", "half", torch.float16, np.float16, float16])
def test_dtype_arguments_in_any_spelling(spelling: Any) -> None:
    annotation = T.DTypeAnnot().with_name("dt")
    assert not annotation.is_kernel_arg() and repr(annotation) == "dt$dtype"
    assert annotation.get_key_parser()("dt", spelling) == (float16,)
    assert annotation.create_prim_func_arg("dt", spelling, ArgVarTable()) is float16
    with pytest.raises(DTypeError, match="argument `dt`: unknown dtype 'float17'"):
        annotation.get_key_parser()("dt", "float17")


def test_complete_parameters(builder: Builder) -> None:
    buffer = T.Tensor((4,), float16)
    annotation = TIRAnnot(buffer)
    assert annotation.with_name("A") is annotation and (buffer.name, buffer.data.name) == ("A", "A")
    assert annotation.is_kernel_arg() and key(annotation, object()) == (None,)
    assert annotation.create_prim_func_arg("A", None, ArgVarTable()) is buffer
    assert builder.params == [buffer]
    n = Var("n", int32)
    assert TIRAnnot(n).with_name("count").data is n and n.name == "n"


def test_pointers() -> None:
    assert T.ptr().dtype == T.ptr(float16).dtype == "handle"
    with pytest.raises(TypeError):
        T.ptr("float17")


def test_annot_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        T.Annot()  # type: ignore[abstract]


def test_argument_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="buffer_type"):
        T.Buffer((4,), buffer_type="auto_broadcast")
    assert issubclass(ArgumentError, ValueError)
