"""`FuncAnnot`: the annotations of a function, the key of a call, what is launched."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
import torch

from tilelang.errors import ArgumentTypeError, Error, LanguageError, ShapeError
from tilelang.ir.buffer import Buffer as IRBuffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Var
from tilelang.language.builder import Builder
from tilelang.language.v2 import annot as T
from tilelang.language.v2.annot import ArgVarTable, FuncAnnot
from tilelang.language.v2.dtypes import NAMED, float16, float32, int32

X = torch.zeros(6, 8, dtype=torch.float16)
Y = torch.zeros(8, 4, dtype=torch.float16)


def of(function: Callable[..., Any], **annotations: Any) -> FuncAnnot:
    return FuncAnnot.from_sig_annots(inspect.signature(function), annotations)


def test_what_annotations_mean() -> None:
    buffer, n = T.Tensor((4,), float16), Var("n", int32)

    def kernel(a, b, c, d, e, f, g, h, i, j, k): ...

    found = of(
        kernel,
        a=T.Tensor[[int], float16], b=T.Tensor[[4], float16], c=T.Tensor, d=buffer, e=n,
        f=int32, g=T.ptr, h=dtype, i=int, k=lambda: T.Tensor((2,), float32),
    )  # fmt: skip
    kinds = {name: type(annot).__name__ for name, annot in found.annots.items()}
    assert kinds == {
        "a": "TensorAnnot", "b": "TIRAnnot", "c": "TensorAnnot", "d": "TIRAnnot", "e": "TIRAnnot",
        "f": "TIRAnnot", "g": "TIRAnnot", "h": "DTypeAnnot", "i": "Value", "j": "Value",
        "k": "TIRAnnot",
    }  # fmt: skip
    assert found.arg_names == list("abcdefghijk")
    assert found.ker_arg_names == list("abcdefgk")
    fixed = found.get_all_static_args()
    assert {name: data.name for name, data in fixed.items()} == {
        "b": "b", "d": "d", "e": "n", "f": "f", "g": "g", "k": "k",
    }  # fmt: skip
    assert (fixed["f"].dtype, fixed["g"].dtype) == ("int32", "handle")
    assert found.get_compile_time_unknown_args() == ["a", "c", "h", "i", "j"]
    assert not found.is_all_static() and of(lambda x: x, x=int32).is_all_static()


def test_one_buffer_on_two_parameters_gives_two() -> None:
    buffer = T.Tensor((4,), float16)
    fixed = of(lambda a, b: None, a=buffer, b=buffer).get_all_static_args()
    assert fixed["a"] is not fixed["b"] and fixed["b"].data is not fixed["a"].data
    assert (fixed["a"].name, fixed["b"].name) == ("a", "b")


def test_positional_only_parameters_are_refused() -> None:
    def kernel(a, /, b): ...

    with pytest.raises(TypeError, match="`a` is positional-only"):
        of(kernel)


def test_keys_are_sorted_by_name() -> None:
    def kernel(z, a, m): ...

    found = of(kernel, z=T.Tensor[[int, T.dyn], float16], m=int32)
    assert found.parse_key(X, "flag", 3) == (
        ("a", ("flag",)),
        ("m", (None,)),
        ("z", ((6,), (), "float16")),
    )


@pytest.mark.parametrize("seed", range(20))
def test_spelling_of_a_call_does_not_matter(seed: int) -> None:
    def kernel(a, b, n, flag=True, *, mode="fast", scale=1.5): ...

    found = of(kernel, a=T.Tensor[[int, int], float16], b=T.Tensor[[int, 4], float16], n=int32)
    values = {"a": X, "b": Y, "n": 3, "flag": True, "mode": "fast", "scale": 1.5}
    rng = random.Random(seed)
    by_position = rng.randint(0, 4)
    names = list(values)
    named = [n for n in names[by_position:] if n in "abn" or rng.random() < 0.5]
    rng.shuffle(named)
    args = [values[n] for n in names[:by_position]]
    kws = {n: values[n] for n in named}
    assert found.parse_key(*args, **kws) == found.parse_key(X, Y, 3)
    assert found.convert_to_kernel_args(*args, **kws) == (X, Y, 3)


def test_defaults_are_part_of_the_key() -> None:
    def one(n=1): ...

    def two(n=2): ...

    assert of(one).parse_key() == of(two).parse_key(1) != of(two).parse_key()


class Mode(Enum):
    A = 1
    B = 2


def first() -> None: ...


def second() -> None: ...


def test_constants_that_mean_different_things_have_different_keys() -> None:
    values = [
        0, 1, True, False, 1.0, 0.0, -0.0, "1", None, (1,), (True,), (1.0,), [1], {1}, {1: 2},
        {2: 1}, Mode.A, Mode.B, first, second, float16, "float16", torch.float16, (1, 2), [1, 2],
        ((1,), 2), float("inf"), b"1",
    ]  # fmt: skip
    found = of(lambda n: n)
    keys = [found.parse_key(v) for v in values]
    assert len(set(keys)) == len(values)


def test_constants_that_mean_the_same_have_one_key() -> None:
    found = of(lambda n: n)
    for make in (
        lambda: float("nan"), lambda: [1, [2.5, "x"]], lambda: {"a": {1, 2}, "b": (3,)},
        lambda: 10**20, lambda: -0.0, lambda: Mode.A,
    ):  # fmt: skip
        a, b = found.parse_key(make()), found.parse_key(make())
        assert a == b and hash(a) == hash(b)


@pytest.mark.parametrize(
    ("args", "kws", "kind", "words"),
    [
        ((X, 1, 2, 3), {}, TypeError, "expected at most 3 arguments, got 4"),
        ((X, 1), {"a": X}, TypeError, "argument `a` is given twice"),
        ((X, 1), {"cont": 2}, KeyError, "there is no argument `cont`"),
        ((X, 1), {"cont": 2}, TypeError, "did you mean `count`?"),
        ((X,), {}, KeyError, "argument `count` is missing"),
        ((), {"count": 3}, KeyError, "argument `a` is missing"),
        ((X, X), {}, TypeError, "argument `count` is a tensor"),
        ((X, bytearray(b"1")), {}, TypeError, "argument `count`: a bytearray cannot be"),
        ((5, 1), {}, TypeError, "argument `a`: expected a float16 tensor"),
    ],
)
def test_calls_that_do_not_fit(args: Any, kws: Any, kind: Any, words: str) -> None:
    def kernel(a, count, n=1): ...

    found = of(kernel, a=T.Tensor[[int, int], float16])
    with pytest.raises(kind) as caught:
        found.parse_key(*args, **kws)
    assert isinstance(caught.value, Error) and words in str(caught.value)
    assert caught.value.span is not None and caught.value.span.file == __file__


def test_launch_arguments_that_are_missing() -> None:
    found = of(lambda a, n, b: None, a=T.Tensor[[4], float16], b=int32)
    assert found.parse_key(n=1) == found.parse_key(X, 1, 2)  # complete ones may be left out
    assert found.convert_to_kernel_args(X, 1, 2) == (X, 2)
    for kws in ({"a": X, "n": 1}, {"n": 1, "b": 2}):
        with pytest.raises(KeyError, match="is missing") as caught:
            found.convert_to_kernel_args(**kws)
        assert caught.value.span.file == __file__  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="given twice"):
        found.convert_to_kernel_args(X, 1, 2, a=X)


def test_a_placeholder_default_builds_and_does_not_launch() -> None:
    def kernel(n=4, a=T.Tensor((6, 8), float16)): ...  # noqa: B008

    found = of(kernel, a=T.Tensor[[int, int], float16])
    assert found.parse_key() == found.parse_key(4, X)
    with pytest.raises(KeyError, match="argument `a` is missing"):
        found.convert_to_kernel_args(4)


def test_variadic_parameters_are_constants() -> None:
    def kernel(a, *rest, **options): ...

    found = of(kernel, a=int32, rest=T.Tensor, options=int32)
    assert found.ker_arg_names == ["a"]
    assert found.parse_key(1, 2, 3, x=4) != found.parse_key(1, 2, x=4)
    assert found.parse_key(1, x=4) != found.parse_key(1, y=4)


def test_parameters_named_like_generated_ones() -> None:
    names = ["_tl0", "_tl1", "name", "value", "parse_key", "MISSING"]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    sig = inspect.Signature([inspect.Parameter(n, kind) for n in names])
    found = FuncAnnot.from_sig_annots(sig, {"_tl0": int32})
    assert dict(found.parse_key(*range(6))) == {
        "_tl0": (None,), "_tl1": (1,), "name": (2,), "value": (3,), "parse_key": (4,),
        "MISSING": (5,),
    }  # fmt: skip


def test_placeholders_and_tensors_share_keys() -> None:
    found = of(lambda a, p: None, a=T.Tensor[[int, T.dyn], float16], p=T.ptr)
    assert found.parse_key(T.Tensor((6, 8), float16), T.ptr()) == found.parse_key(X, X)


def test_arguments_of_the_traced_function() -> None:
    found = of(
        lambda a, b, n, dt, k: None,
        a=T.Tensor[[T.dyn["m"], int], float16], b=T.Tensor[[T.dyn["m"]], float32], n=int32,
        dt=dtype,
    )  # fmt: skip
    builder, table = Builder("kernel"), ArgVarTable()
    values = {"a": X, "b": torch.zeros(6), "n": 3, "dt": "half", "k": 7}
    with builder.active():
        made = {name: found.create_argument(name, v, table) for name, v in values.items()}
    assert builder.params == [made["a"], made["b"], made["n"]]
    assert made["a"].shape[0] is made["b"].shape[0] and made["n"].name == "n"
    assert made["dt"] is float16 and made["k"] == 7


# -- dimensions that are read off tensors and specialised ----------------------------------------


def constants_example() -> tuple[FuncAnnot, FuncAnnot]:
    m, k, n, s = (Var(name, int32) for name in "mkns")
    found = of(
        lambda a, b, c, blk=32: None,
        a=T.Tensor((m, k), float16), b=T.StridedTensor((k, n), (s, 1), float16),
        c=T.Tensor((m * 2,), float16),
    )  # fmt: skip
    return found, found.specialise([m, k, s])


def test_constants_specialise_and_dynamic_extents_do_not() -> None:
    plain, special = constants_example()
    c = torch.zeros(12, dtype=torch.float16)
    wide = torch.zeros(8, 5, dtype=torch.float16)[:, :4]
    assert plain.parse_key(X, Y, c) == plain.parse_key(X[:3], Y, c)
    assert special.parse_key(X, Y, c) != special.parse_key(X[:3], Y, c)
    assert special.parse_key(X, Y, c) == special.parse_key(b=Y, a=X, c=c, blk=32)
    assert special.parse_key(X, Y, c) != special.parse_key(X, wide, c)
    same_stride = torch.zeros(8, 4, dtype=torch.float16)[:, :2]
    assert special.parse_key(X, Y, c) == special.parse_key(X, same_stride, c)
    assert special.ker_arg_names == plain.ker_arg_names == ["a", "b", "c"]


def test_values_of_constants() -> None:
    _, special = constants_example()
    c = torch.zeros(12, dtype=torch.float16)
    assert special.constant_values(X, Y, c) == {"m": 6, "k": 8, "s": 4}
    assert special.constant_values(X, b=Y) == {"m": 6, "k": 8, "s": 4}
    with pytest.raises(ShapeError, match="dimension `k` is 8 in `a` but 6 in `b`"):
        special.constant_values(X, Y[:6], c)
    assert special.constant_values(X) == {"m": 6, "k": 8}
    assert [special.owner_of(name) for name in "mks"] == ["a", "a", "b"]


def test_constants_must_stand_alone_somewhere() -> None:
    m, n = Var("m", int32), Var("n", int32)
    found = of(lambda a: None, a=T.Tensor((m * 2,), float16))
    with pytest.raises(LanguageError) as caught:
        found.specialise([m])
    assert "`m` stands only inside `m * 2` in the shape of `a`" in str(caught.value)
    with pytest.raises(RuntimeError, match="`n` is no extent or stride"):
        found.specialise([n])


def test_scalars_of_every_dtype_are_runtime_arguments() -> None:
    for name, kind in NAMED.items():
        fixed = of(lambda x: None, x=kind).get_all_static_args()["x"]
        assert not isinstance(fixed, IRBuffer) and fixed.dtype is kind, name


def test_errors_of_parsers_keep_their_class() -> None:
    found = of(lambda a: None, a=T.Tensor[[int], float16])
    with pytest.raises(ShapeError):
        found.parse_key(X)
    with pytest.raises(ArgumentTypeError):
        found.parse_key("text")
