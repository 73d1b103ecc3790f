"""Arguments that a compiled kernel does not take: which one, what was expected, what came.

Each message is the same sentence on both backends up to how the value is described; nothing of the
package is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tilelang
import tilelang.language as T

torch = pytest.importorskip("torch")
BACKENDS = ("tvm_ffi", "cython")
F = "float32"


def make_kernel():
    n = T.dynamic("n")

    @T.prim_func
    def k(
        A: T.Tensor((n, 4), F),
        B: T.Tensor((n,), F),
        C: T.Tensor((8,), "int32"),
        x: T.int32,
        f: T.float32,
        u: T.uint8,
        b: T.bool,
    ):
        with T.Kernel(n) as i:
            offset = T.cast(C[0] + x + T.cast(u, "int32"), F)
            B[i] = T.if_then_else(b, A[i, 0] * f + offset, 0.0)

    return k


def make_strided():
    @T.prim_func
    def s(A: T.StridedTensor((4, 4), (8, 1), F)):
        with T.Kernel(1):
            A[0, 0] = 1.0

    return s


@pytest.fixture(scope="module", params=BACKENDS)
def kernels(request) -> tuple[Any, Any]:
    """The kernel with dynamic extents and scalars, and the one with strides."""
    options = {"target": "c", "execution_backend": request.param}
    return tilelang.compile(make_kernel(), **options), tilelang.compile(make_strided(), **options)


def arguments(**changes: Any) -> list[Any]:
    """Arguments that fit, with some replaced."""
    good = {
        "A": torch.ones(6, 4), "B": torch.zeros(6), "C": torch.ones(8, dtype=torch.int32),
        "x": 1, "f": 2.0, "u": 3, "b": True,
    }  # fmt: skip
    assert changes.keys() <= good.keys()
    return list({**good, **changes}.values())


def fails(kind: type[Exception], call: Callable[..., Any], args: list[Any], *mentions: str) -> str:
    """The call is refused with a message of that kind that mentions these and nothing internal."""
    with pytest.raises(kind) as caught:
        call(*args)
    text = str(caught.value)
    for mention in mentions:
        assert mention in text, f"{mention!r} is not in:\n{text}"
    first = text.splitlines()[0]
    for internal in ("tilelang/", "frame #", ".cpp", "DLPack", "ctypes"):
        assert internal not in first.replace(__file__, ""), text
    return text


A_TEXT = "k(): argument 1 `A`: expected float32[n, 4] on cpu"
B_TEXT = "k(): argument 2 `B`: expected float32[n] on cpu"
C_TEXT = "k(): argument 3 `C`: expected int32[8] on cpu"


def test_what_fits_runs(kernels):
    args = arguments()
    kernels[0](*args)
    assert args[1].tolist() == [2.0 + 1 + 1 + 3] * 6


@pytest.mark.parametrize(
    ("changes", "expected", "came"),
    [
        ({"A": torch.ones(6, 5)}, A_TEXT, "float32[6, 5]"),
        ({"A": torch.ones(6)}, A_TEXT, "float32[6]"),
        ({"A": torch.ones(6, 4, 1)}, A_TEXT, "float32[6, 4, 1]"),
        ({"B": torch.zeros(5)}, B_TEXT, "float32[5]"),
        ({"C": torch.ones(7, dtype=torch.int32)}, C_TEXT, "int32[7]"),
        ({"C": np.ones(9, np.int32)}, C_TEXT, "int32[9]"),
    ],
)
def test_shape(kernels, changes, expected, came):
    text = fails(ValueError, kernels[0], arguments(**changes), expected, f"got {came}")
    if "B" in changes:
        assert "n = 6" in text


@pytest.mark.parametrize(
    ("changes", "expected", "came"),
    [
        ({"A": torch.ones(6, 4).half()}, A_TEXT, "float16[6, 4]"),
        ({"A": torch.ones(6, 4, dtype=torch.bfloat16)}, A_TEXT, "bfloat16[6, 4]"),
        ({"B": np.zeros(6)}, B_TEXT, "float64[6]"),
        ({"B": torch.zeros(6, dtype=torch.complex64)}, B_TEXT, "complex64[6]"),
        ({"C": torch.ones(8, dtype=torch.int64)}, C_TEXT, "int64[8]"),
    ],
)
def test_dtype(kernels, changes, expected, came):
    fails(ValueError, kernels[0], arguments(**changes), expected, f"got {came}")


def test_device(kernels):
    args = arguments(B=torch.zeros(6, device="meta"))
    fails(ValueError, kernels[0], args, B_TEXT, "got float32[6] on meta")


def test_layout_without_dense_memory(kernels):
    args = arguments(B=torch.zeros(6).to_sparse())
    fails(ValueError, kernels[0], args, B_TEXT, "got float32[6]", "torch.sparse_coo")


@pytest.mark.parametrize(
    ("changes", "expected", "strides"),
    [
        ({"A": torch.ones(4, 6).T}, A_TEXT, "1, 6"),
        ({"B": torch.zeros(12)[::2]}, B_TEXT, "2"),
        ({"B": np.zeros(6, np.float32)[::-1]}, B_TEXT, "-1"),
    ],
)
def test_contiguity(kernels, changes, expected, strides):
    args = arguments(**changes)
    text = fails(ValueError, kernels[0], args, expected, "contiguous", "strides")
    assert f"({strides},)" in text or f"({strides})" in text or f"[{strides}]" in text


def test_declared_strides(kernels):
    kernels[1](torch.zeros(4, 8)[:, :4])
    text = fails(
        ValueError, kernels[1], [torch.zeros(4, 4)],
        "s(): argument 1 `A`: expected float32[4, 4] on cpu", "8, 1", "4, 1",
    )  # fmt: skip
    assert "strides" in text


def test_alignment(kernels):
    bytes_ = np.frombuffer(bytearray(64), np.uint8)
    start = (1 - bytes_.ctypes.data) % 4
    shifted = bytes_[start : start + 24].view(np.float32)
    assert shifted.ctypes.data % 4 == 1
    text = fails(ValueError, kernels[0], arguments(B=shifted), "k(): argument 2 `B`:")
    assert "divisible by 4" in text or "not aligned" in text


def test_read_only_arrays(kernels):
    frozen = np.zeros(6, np.float32)
    frozen.flags.writeable = False
    fails(ValueError, kernels[0], arguments(B=frozen), "k(): argument 2 `B`:", "read-only", "copy")


def test_arrays_that_no_kernel_can_read(kernels):
    swapped = np.zeros(6, np.dtype(F).newbyteorder())
    fails(ValueError, kernels[0], arguments(B=swapped), B_TEXT, swapped.dtype.str)
    objects = np.array([object()] * 6)
    fails((TypeError, ValueError), kernels[0], arguments(B=objects), B_TEXT, "object")


def test_count(kernels):
    for args in (arguments()[:3], [], [*arguments(), 1]):
        fails(ValueError, kernels[0], args, "k(): expected 7 arguments", f"got {len(args)}")


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "None"), ([1.0], "list"), (3, "int"), ({}, "dict"), ("B", "str")]
)
def test_something_that_is_no_tensor(kernels, value, shown):
    fails(TypeError, kernels[0], arguments(B=value), B_TEXT, "got", shown)


@pytest.mark.parametrize(
    ("name", "position", "kind", "value"),
    [
        ("x", 4, "int32", None), ("x", 4, "int32", 1.5), ("x", 4, "int32", "1"),
        ("x", 4, "int32", torch.ones(1)), ("f", 5, F, None), ("f", 5, F, "1"),
        ("b", 7, "bool", None), ("b", 7, "bool", "yes"),
    ],
)  # fmt: skip
def test_scalars_of_another_kind(kernels, name, position, kind, value):
    args = arguments(**{name: value})
    fails(TypeError, kernels[0], args, f"argument {position} `{name}`: expected {kind}, got")


@pytest.mark.parametrize(
    ("name", "position", "kind", "value", "limits"),
    [
        ("x", 4, "int32", 1 << 31, "-2147483648 to 2147483647"),
        ("x", 4, "int32", -(1 << 31) - 1, "-2147483648 to 2147483647"),
        ("u", 6, "uint8", 256, "0 to 255"),
        ("u", 6, "uint8", -1, "0 to 255"),
    ],
)
def test_scalars_out_of_range(kernels, name, position, kind, value, limits):
    args = arguments(**{name: value})
    where = f"k(): argument {position} `{name}`: expected {kind}"
    text = fails(ValueError, kernels[0], args, where, limits)
    assert text.splitlines()[0].endswith(str(value))


def test_an_integer_of_more_than_64_bits(kernels):
    fails(
        (TypeError, ValueError), kernels[0], arguments(x=1 << 70), "argument 4 `x`: expected int32"
    )


def test_names(kernels):
    *rest, last = arguments()
    with pytest.raises(ValueError, match="`bb` is no argument; they are A, B, C, x, f, u, b"):
        kernels[0](*rest, bb=last)
    with pytest.raises(ValueError, match="`A` is given twice"):
        kernels[0](*arguments(), A=rest[0])
    with pytest.raises(ValueError, match="no value for `b`"):
        kernels[0](*rest[:-1], u=rest[-1])
    args = arguments()
    kernels[0](*args[:6], b=True)
    assert args[1][0] == 7.0


def test_nothing_is_written_when_an_argument_is_refused(kernels):
    args = arguments(b=None)
    with pytest.raises(TypeError):
        kernels[0](*args)
    assert not args[1].any()
