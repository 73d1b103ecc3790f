"""What an argument of a kernel is: shape, strides and element type, and its part of a call key.

Reads PyTorch tensors, NumPy arrays, other array objects and IR buffers (placeholders) by their
attributes, without importing the libraries they come from. `annot` builds its key parsers and its
IR parameters on this; every user mistake about one argument is worded here.

Shapes and strides are *logical*: counted in elements. 4-bit types travel packed, two to a byte, so
the last axis of such a tensor counts twice.
"""

from __future__ import annotations

import enum
from typing import Any

from tilelang.errors import ArgumentTypeError, DTypeError, Span
from tilelang.ir.buffer import Buffer, Extent, row_major_strides
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Var
from tilelang.ir.record import record


class UnknownArgumentError(ArgumentTypeError, KeyError):
    """A keyword that is no parameter of the function."""


class MissingArgumentError(ArgumentTypeError, KeyError):
    """A parameter for which the call gives no value."""


class Missing(enum.Enum):
    """Stands for an argument that a call leaves out."""

    MISSING = enum.auto()

    def __repr__(self) -> str:
        return "<missing>"


MISSING = Missing.MISSING

# What else may hold the elements of a type. A 4-bit type in a storage type of 8 bits is packed.
_STORED_AS: dict[str, tuple[str, ...]] = {
    "int4": ("int8", "uint8"),
    "uint4": ("uint8", "int8"),
    "float4_e2m1fn": ("uint8", "int8"),
    "float4_e2m1_unpacked": ("uint8", "int8"),
    "tfloat32": ("float32",),
    "float8_e4m3": ("float8_e4m3fn", "float8_e4m3fnuz"),
    "float8_e3m4": ("uint8",),
    "float8_e4m3b11fnuz": ("uint8",),
    "float6_e2m3fn": ("uint8",),
    "float6_e3m2fn": ("uint8",),
}


@record
class TensorFacts:
    """Logical shape and strides, in elements, and the element type of one argument."""

    shape: tuple[Extent, ...]
    strides: tuple[Extent, ...]
    dtype: dtype
    is_placeholder: bool = False


def is_pointer(value: object) -> bool:
    """Whether `value` is a pointer placeholder, as `T.ptr()` gives."""
    return isinstance(value, Var) and value.dtype.kind == "handle"


def read_tensor(name: str, value: Any, expected: dtype | None = None) -> TensorFacts:
    """Shape, strides and type of the argument `name`.

    Args:
        expected: the annotated element type; without it the argument's own type is taken.

    Raises:
        MissingArgumentError: when there is no value.
        ArgumentTypeError: when `value` is no tensor.
        DTypeError: when its elements are not of type `expected`.
    """
    if value is MISSING:
        raise MissingArgumentError(f"argument `{name}` is missing")
    if isinstance(value, Buffer):
        kind = _match_dtype(name, value.dtype, expected, value.span)
        return TensorFacts(value.shape, value.strides, kind, is_placeholder=True)
    shape, foreign = getattr(value, "shape", None), getattr(value, "dtype", None)
    if foreign is None or not isinstance(shape, tuple):
        wanted = "a tensor" if expected is None else f"a {expected} tensor"
        raise ArgumentTypeError(
            f"argument `{name}`: expected {wanted}, got {type(value).__name__} {_shorten(value)}"
        )
    try:
        stored = dtype(foreign)
    except TypeError as error:
        raise DTypeError(f"argument `{name}`: {error}") from None
    stored = _unpacked_kind(name, value, stored)
    kind = _match_dtype(name, stored, expected)
    extents = tuple(int(extent) for extent in shape)  # type: ignore[reportUnknownArgumentType]
    strides = _element_strides(value, extents)
    if kind.elements_per_byte > 1:
        extents, strides = _unpack(name, extents, strides, kind.elements_per_byte)
    return TensorFacts(extents, strides, kind)


def _unpacked_kind(name: str, value: Any, kind: dtype) -> dtype:
    """The type of arrays that hold one 4-bit value per byte, as NumPy's do."""
    if kind.bits != 4 or not hasattr(value, "__array_interface__"):
        return kind
    if kind == "float4_e2m1fn":
        return dtype("float4_e2m1_unpacked")
    raise DTypeError(
        f"argument `{name}`: a NumPy array of {kind} holds one value per byte, kernels read two",
        hint=f"pass an int8 array of packed pairs, its last axis half as long, annotated {kind}",
    )


def _match_dtype(name: str, kind: dtype, expected: dtype | None, span: Span | None = None) -> dtype:
    if expected is None or kind == expected or kind in _STORED_AS.get(str(expected), ()):
        return kind if expected is None else expected
    raise DTypeError(f"argument `{name}`: expected dtype {expected}, got {kind}", span)


def _element_strides(value: Any, shape: tuple[int, ...]) -> tuple[Extent, ...]:
    stride = getattr(value, "stride", None)
    if callable(stride):
        return tuple(stride())  # type: ignore[reportUnknownArgumentType]
    strides = getattr(value, "strides", None)
    if strides is None:
        return row_major_strides(shape)
    if not hasattr(value, "__array_interface__"):  # arrays of the FFI count elements already
        return tuple(strides)
    if any(step % value.itemsize for step in strides):
        raise ArgumentTypeError(f"strides of {tuple(strides)} bytes split elements")
    return tuple(step // value.itemsize for step in strides)


def _unpack(
    name: str, shape: tuple[int, ...], strides: tuple[Extent, ...], factor: int
) -> tuple[tuple[int, ...], tuple[Extent, ...]]:
    if not shape:
        raise ArgumentTypeError(f"argument `{name}`: a packed tensor has at least one axis")
    logical = tuple(step * factor for step in strides[:-1])
    return (*shape[:-1], shape[-1] * factor), (*logical, strides[-1])


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_KEYED_BY_VALUE = frozenset((int, str, type(None)))


def constant_key(name: str, value: Any) -> tuple[Any, ...]:
    """The key of a compile-time constant: equal exactly for values that mean the same.

    `1`, `1.0` and `True` are equal in Python and different in a kernel, so everything but an
    integer, a string and `None` carries its type. Dictionaries in another order are other keys: a
    kernel may loop over them.

    Raises:
        MissingArgumentError: when there is no value.
        ArgumentTypeError: for a tensor, or a value that cannot be part of a key.
    """
    kind = type(value)
    if kind in _KEYED_BY_VALUE:
        return (value,)
    if value is MISSING:
        raise MissingArgumentError(f"argument `{name}` is missing")
    if hasattr(value, "data_ptr"):
        raise ArgumentTypeError(
            f"argument `{name}` is a tensor, but the function does not declare it as one",
            hint=f"annotate it: {name}: T.Tensor((...), dtype)",
        )
    if isinstance(value, _CONTAINERS):
        return (freeze(name, value),)
    return (_atom_key(name, value), kind)


_CONTAINERS = (tuple, list, dict, set, frozenset)


def freeze(name: str, value: Any) -> Any:
    """The value of a compile-time argument in hashable form; what differs in a kernel, differs.

    Raises:
        ArgumentTypeError: when it, or something it contains, has no hash.
    """
    kind = type(value)
    if kind in _KEYED_BY_VALUE:
        return value
    if isinstance(value, (tuple, list)):
        return (kind, *(freeze(name, item) for item in value))
    if isinstance(value, (set, frozenset)):
        return (kind, frozenset(freeze(name, item) for item in value))
    if isinstance(value, dict):
        return (kind, *((freeze(name, k), freeze(name, v)) for k, v in value.items()))
    return (kind, _atom_key(name, value))


def _atom_key(name: str, value: Any) -> Any:
    if isinstance(value, float) and (value == 0.0 or value != value):
        return repr(value)  # -0.0 equals 0.0, and no NaN equals itself
    try:
        hash(value)
    except TypeError:
        raise ArgumentTypeError(
            f"argument `{name}`: a {type(value).__name__} cannot be a compile-time constant"
            " (it has no hash)",
            hint="pass a number, a string, a dtype or a container of those",
        ) from None
    return value
