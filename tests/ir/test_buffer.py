"""Buffers: shapes, strides, indexing, regions, and the errors of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilelang.errors import (
    ArgumentTypeError,
    IndexRangeError,
    LanguageError,
    ShapeError,
    Span,
)
from tilelang.ir import expr as ir
from tilelang.ir.buffer import (
    FRAGMENT,
    SCOPES,
    SHARED,
    SHARED_DYN,
    VAR,
    Buffer,
    describe,
    row_major_strides,
    slice_length,
)
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import BufferLoad, BufferRegion, Var, as_expr, const_value
from tilelang.ir.visitor import substitute

i, n = Var("i"), Var("n")
A = Buffer("A", (64, n), "float16", span=Span("user.py", 7))
S = Buffer("S", (8, 16), "float32", SHARED)
V = Buffer("v", (1,), "int32", VAR)


def indices(value: Any) -> list[str]:
    assert isinstance(value, BufferLoad)
    return [str(k) for k in value.indices]


def ranges(value: Any) -> list[tuple[str, str]]:
    assert isinstance(value, BufferRegion)
    return [(str(r.start), str(r.extent)) for r in value.ranges]


def test_what_a_buffer_knows() -> None:
    assert (A.shape[0], A.shape[1], A.dtype, A.scope(), A.ndim) == (64, n, "float16", "global", 2)
    assert Buffer("B", 5).shape == (5,)
    assert Buffer("B", (as_expr(5), np.int64(6))).shape == (5, 6)  # type: ignore[arg-type]
    assert Buffer("B", (4, 5)).num_elements == 20
    assert str(A.num_elements) == "64 * n"
    assert (S.is_shared, S.is_fragment, V.is_var) == (True, False, True)
    assert Buffer("F", (4,), scope=FRAGMENT).is_fragment
    assert Buffer("D", (4,), scope=SHARED_DYN).is_shared
    assert describe(A) == "[64, n] float16, global"
    assert describe(V) == "[1] int32, var"
    assert set(SCOPES) >= {"global", "shared", "local", "local.fragment"}


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_row_major_strides_are_numpys(shape: list[int]) -> None:
    array = np.zeros(shape, dtype=np.int8)
    assert row_major_strides(shape) == array.strides
    assert Buffer("B", tuple(shape)).strides == array.strides


def test_strides() -> None:
    assert [str(s) for s in A.strides] == ["n", "1"]
    assert A.declared_strides is None
    strided = Buffer("B", (4, 4), strides=(n, 1))
    assert strided.strides == (n, 1) == strided.declared_strides
    with pytest.raises(ShapeError, match="1 strides for a shape of rank 2"):
        Buffer("B", (4, 4), strides=(1,))


@pytest.mark.parametrize("extent", ["4", 1.5, None])
def test_extents_are_integers(extent: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="B: an extent must be an integer"):
        Buffer("B", (4, extent))


def test_elements() -> None:
    assert indices(A[i, 3]) == ["i", "3"]
    assert indices(A[-1, i]) == ["63", "i"]
    assert indices(A[i, -1]) == ["i", "-1 + n"]
    assert A[i, 0].dtype == "float16"
    vector = S[i, ir.Ramp(i, as_expr(1), 4)]
    assert vector.dtype == "float32x4"
    assert indices(A.load(-1, i)) == ["-1", "i"], "load takes indices as they are"
    assert indices(S[True, i]) == ["True", "i"]


@pytest.mark.parametrize("position", [-17, 16, 100])
def test_constant_indices_stay_inside(position: int) -> None:
    with pytest.raises(IndexRangeError, match=rf"index {position} is outside axis 1 of `S`.*16"):
        S[0, position]


def test_wrong_indices() -> None:
    with pytest.raises(ShapeError, match=r"`A` has rank 2 \(shape \[64, n\]\).*with 1 index") as e:
        A[i]
    assert e.value.notes[0].span == Span("user.py", 7)
    with pytest.raises(ShapeError, match="3 indices"):
        A[i, i, i]
    with pytest.raises(ArgumentTypeError, match="a float32, expected an integer"):
        A[as_expr(1.0), 0]
    for index in (1.5, "1", None):
        with pytest.raises(ArgumentTypeError, match="`A` is indexed with"):
            A[index, 0]


def test_regions() -> None:
    assert ranges(A[i, 0:8]) == [("i", "1"), ("0", "8")]
    assert ranges(S[:]) == [("0", "8"), ("0", "16")], "missing axes are whole"
    assert ranges(S[..., 2:4]) == [("0", "8"), ("2", "2")]
    assert ranges(S[-4:, :-1]) == [("4", "4"), ("0", "15")]
    assert ranges(A[i * 8 : i * 8 + 8, :]) == [("i * 8", "8"), ("0", "n")]
    assert ranges(A[i * 8 : (i + 1) * 8, 0:n]) == [("i * 8", "8"), ("0", "n")]
    assert structural_equal(A.region(), A[:, :])
    assert S[2:4, :].shape == (2, 16)
    assert str(S[2:4, i]) == "S[2:4, i]"


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-9, 9), st.integers(0, 9))
def test_slice_lengths_cancel(a: int, b: int, start: int, length: int) -> None:
    low = i * a + n * b + start
    high = n * b + (length + start) + i * a
    assert const_value(slice_length(low, high)) == length
    other = slice_length(low, high + i)
    values = {i: 3, n: 5}
    expected = const_value(substitute(high + i, values)) - const_value(substitute(low, values))
    assert const_value(substitute(other, values)) == expected


def test_wrong_slices() -> None:
    with pytest.raises(LanguageError, match="step 2"):
        S[0, ::2]
    with pytest.raises(IndexRangeError, match="negative length"):
        S[0, 8:4]
    with pytest.raises(IndexRangeError, match="outside axis 1 of `S`"):
        S[0, 8:20]
    assert ranges(A[60:70, 0:4]) == [("60", "10"), ("0", "4")], "global edges are masked later"


def test_a_region_is_a_vector_along_its_last_axis() -> None:
    load = S[i, 4:8].as_load()  # type: ignore[union-attr]
    assert load.dtype == "float32x4"
    assert str(load) == "S[i, Ramp(4, 1, 4)]"
    assert str(S[i, 4:5].as_load()) == "S[i, 4]"  # type: ignore[union-attr]
    assert (S[i, 0:4] + S[i, 4:8]).dtype == "float32x4"
    for tile in (S[0:2, 0:4], A[i, 0:n]):
        with pytest.raises(LanguageError, match="is a region"):
            tile.as_load()  # type: ignore[union-attr]


def test_a_whole_buffer_is_no_value() -> None:
    with pytest.raises(LanguageError, match="whole buffer") as caught:
        S + 1
    assert caught.value.hint == "index it: S[i, j]"
    with pytest.raises(ArgumentTypeError, match="cannot be a condition"):
        bool(S)
    with pytest.raises(LanguageError, match="is a buffer; iterate"):
        list(S)


def test_a_variable_is_its_element() -> None:
    assert str(V + 1) == "v + 1"
    assert indices(V.as_load()) == ["0"]
    assert type(V == 3).__name__ == "EQ" and type(V != 3).__name__ == "NE"
    with pytest.raises(LanguageError, match="known only when the kernel runs"):
        bool(V)


def test_buffers_are_identities() -> None:
    twin = Buffer("S", (8, 16), "float32", SHARED)
    assert twin != S and S == S and len({S, twin, S}) == 2
    view = Buffer("view", (128,), "float32", SHARED, data=S.data)
    assert view.data is S.data and view != S
    assert repr(S) == "S: [8, 16] float32, shared"
