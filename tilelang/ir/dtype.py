"""Element types.

One object, `dtype`, is used by every stage: it *is* its own name (a `str`), so it prints, hashes
and compares as text, and it knows bits, lanes and kind. Values come from users (strings, NumPy,
PyTorch, FFI and Python types) through `dtype(...)`; conversions go out to NumPy/ml_dtypes, PyTorch
and the FFI. PyTorch and ml_dtypes are looked at only when a type of theirs is asked for.
"""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import torch
    import tvm_ffi

# kind name -> (bits, DLPack type code)
_SMALL_FLOATS: dict[str, tuple[int, int]] = {
    "float8_e3m4": (8, 7),
    "float8_e4m3": (8, 8),
    "float8_e4m3b11fnuz": (8, 9),
    "float8_e4m3fn": (8, 10),
    "float8_e4m3fnuz": (8, 11),
    "float8_e5m2": (8, 12),
    "float8_e5m2fnuz": (8, 13),
    "float8_e8m0fnu": (8, 14),
    "float6_e2m3fn": (6, 15),
    "float6_e3m2fn": (6, 16),
    "float4_e2m1fn": (4, 17),
}
_SCALARS: dict[str, tuple[str, int, int]] = {  # name -> (kind, bits, DLPack type code)
    "bool": ("bool", 8, 6),
    **{f"int{n}": ("int", n, 0) for n in (4, 8, 16, 32, 64)},
    **{f"uint{n}": ("uint", n, 1) for n in (4, 8, 16, 32, 64)},
    **{f"float{n}": ("float", n, 2) for n in (16, 32, 64)},
    "bfloat16": ("float", 16, 4),
    "tfloat32": ("float", 32, 2),
    **{name: ("float", bits, code) for name, (bits, code) in _SMALL_FLOATS.items()},
    "float4_e2m1_unpacked": ("float", 8, 17),  # one value per byte, in its low nibble
    "handle": ("handle", 64, 3),
    "void": ("void", 0, 3),
}
_ALIASES = {
    "half": "float16", "float": "float32", "double": "float64", "short": "int16", "int": "int32",
    "uint": "uint32", "long": "int64", "tf32": "tfloat32", "bf16": "bfloat16", "boolean": "bool",
    "e4m3_float8": "float8_e4m3", "e5m2_float8": "float8_e5m2",
}  # fmt: skip
_WITH_LANES = re.compile(r"(.+?)x(\d+)")
_interned: dict[str, dtype] = {}

# Mantissa bits (without the hidden one) and largest finite value of the floating kinds.
_FLOAT_LIMITS: dict[str, tuple[int, float]] = {
    "float64": (52, sys.float_info.max),
    "float32": (23, 3.4028234663852886e38),
    "tfloat32": (10, 3.4011621342146535e38),
    "bfloat16": (7, 3.3895313892515355e38),
    "float16": (10, 65504.0),
    "float8_e3m4": (4, 15.5),
    "float8_e4m3": (3, 448.0),  # as NVIDIA's: the fn kind
    "float8_e4m3b11fnuz": (3, 30.0),
    "float8_e4m3fn": (3, 448.0),
    "float8_e4m3fnuz": (3, 240.0),
    "float8_e5m2": (2, 57344.0),
    "float8_e5m2fnuz": (2, 57344.0),
    "float8_e8m0fnu": (0, 2.0**127),
    "float6_e2m3fn": (3, 7.5),
    "float6_e3m2fn": (2, 28.0),
    "float4_e2m1fn": (1, 6.0),
    "float4_e2m1_unpacked": (1, 6.0),
}


class dtype(str):
    """An element type with a number of lanes; equal to, and usable as, its name.

    Accepts its own instances, names (`"half"` and kin too), NumPy and PyTorch types and the Python
    types `bool`, `int` (int32) and `float` (float32).

    Raises:
        TypeError: for anything else.
    """

    kind: str  # "int", "uint", "float", "bool", "handle" or "void"
    bits: int  # of one lane
    lanes: int
    type_code: int  # DLPack

    def __new__(cls, value: Any) -> dtype:
        if type(value) is cls:
            return value
        found = _interned.get(value) if isinstance(value, str) else None
        return found if found is not None else cls._make(_name_of(value))

    @classmethod
    def _make(cls, name: str) -> dtype:
        match = None if name in _SCALARS or name in _ALIASES else _WITH_LANES.fullmatch(name)
        element, lanes = (match.group(1), int(match.group(2))) if match else (name, 1)
        element = _ALIASES.get(element, element)
        if element not in _SCALARS or lanes < 1:
            raise TypeError(f"unknown dtype {name!r}")
        canonical = element if lanes == 1 else f"{element}x{lanes}"
        self = _interned.get(canonical)
        if self is None:
            self = str.__new__(cls, canonical)
            self.kind, self.bits, self.type_code = _SCALARS[element]
            self.lanes = lanes
            _interned[canonical] = self
        _interned[name] = self
        return self

    def __repr__(self) -> str:
        return f"dtype({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (dtype, (str(self),))

    def __call__(self, *values: Any) -> Any:
        """`T.int32(5)` a constant, `T.float16(expr)` a cast, `T.int32()` a new variable.

        Several values make a vector of as many lanes.

        Raises:
            ArgumentError: for a number outside the range of the type.
            DTypeError: when the number of values is not the number of lanes.
        """
        from tilelang.ir import expr  # expr is built on this module

        names_pointee = self.kind == "handle" and all(isinstance(v, str) for v in values)
        if not values or names_pointee:  # `T.handle("float16", "shared")`
            return expr.Var("v", self)
        first, *more = values
        if more:
            return self._vector(values)
        value = _python_number(first)
        if not isinstance(value, (bool, int, float)):
            return expr.cast(value, self)
        self._require_range(value)
        return expr.constant(value, self)

    def _vector(self, values: tuple[Any, ...]) -> Any:
        from tilelang.errors import DTypeError
        from tilelang.ir import expr  # expr is built on this module

        if self.lanes not in (1, len(values)):
            raise DTypeError(f"{self} has {self.lanes} lanes, got {len(values)} values")
        parts = [self.element(value) for value in values]
        return expr.call("make_vector", *parts, dtype=self.with_lanes(len(values)))

    def _require_range(self, value: int | float) -> None:
        if not self.holds(value):
            from tilelang.errors import ArgumentError

            low, high = self.min_value(), self.max_value()
            raise ArgumentError(f"{value} does not fit {self.element} ({low} to {high})")

    def holds(self, value: int | float) -> bool:
        """Whether the number `value` is in range; infinities and NaN are, for floats."""
        if self.kind == "bool" or value != value:
            return self.kind in ("bool", "float")
        if self.kind == "float":
            if abs(value) == math.inf:
                return True
            limit = float(self.max_value())
            rounds_down = 0.0 if self.bits == 64 else limit * 2.0 ** -(self.mantissa_bits + 2)
            if value < 0:  # a negative minimum is minus the maximum
                return self.min_value() < 0 and -value <= limit + rounds_down
            return value <= limit + rounds_down
        return abs(value) != math.inf and self.min_value() <= math.trunc(value) <= self.max_value()

    # -- what it is -------------------------------------------------------------------------------

    @property
    def element(self) -> dtype:
        """The type of one lane."""
        return dtype(str(self).partition("x")[0]) if self.lanes > 1 else self

    def with_lanes(self, lanes: int) -> dtype:
        """The same element type with `lanes` lanes."""
        name = str(self.element)
        return dtype(name if lanes == 1 else f"{name}x{lanes}")

    @property
    def is_int(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_bool(self) -> bool:
        return self.kind == "bool"

    @property
    def is_float8(self) -> bool:
        return self.startswith("float8")

    @property
    def is_float4(self) -> bool:
        return self.startswith("float4")

    @property
    def elements_per_byte(self) -> int:
        """Elements that share one byte of storage: 2 for the packed 4-bit types, otherwise 1."""
        return 2 if self.bits == 4 else 1

    @property
    def itemsize(self) -> int:
        """Bytes of one value with all its lanes, rounded up (6-bit types: one byte a lane)."""
        bits = 8 if self.bits == 6 else self.bits
        return -(-bits * self.lanes // 8)

    @property
    def bytes(self) -> int:
        return self.itemsize

    @property
    def mantissa_bits(self) -> int:
        """Stored mantissa bits of a floating type."""
        return _FLOAT_LIMITS[self.element][0]

    def min_value(self) -> int | float:
        """Smallest finite value."""
        if self.kind == "float":
            return 0.0 if self.element == "float8_e8m0fnu" else -_FLOAT_LIMITS[self.element][1]
        return -(1 << (self.bits - 1)) if self.kind == "int" else 0

    def max_value(self) -> int | float:
        """Largest finite value."""
        if self.kind == "float":
            return _FLOAT_LIMITS[self.element][1]
        if self.kind == "bool":
            return 1
        return (1 << (self.bits - (self.kind == "int"))) - 1

    # -- the same type elsewhere ------------------------------------------------------------------

    def as_numpy(self) -> numpy.dtype[Any]:
        """The NumPy (or ml_dtypes) type of one lane.

        Raises:
            TypeError: when NumPy has no such type.
        """
        import ml_dtypes  # deferred: registers its types with NumPy, which costs an import
        import numpy

        name = _NUMPY_NAMES.get(str(self.element), str(self.element))
        spelling = "bool_" if name == "bool" else name
        kind = getattr(ml_dtypes, name, None) or getattr(numpy, spelling, None)
        if kind is None or self.kind == "void":  # numpy.void is a record, not an absence
            raise TypeError(f"NumPy has no type for {self}")
        return numpy.dtype(kind)

    def as_torch(self) -> torch.dtype:
        """The PyTorch type that stores this one (packed types: their storage type).

        Raises:
            TypeError: when PyTorch has no such type.
        """
        import torch  # deferred: only a caller that handles tensors pays for it

        name = _TORCH_NAMES.get(str(self.element), str(self.element))
        if torch.version.hip is not None:  # the matrix units of that platform read the fnuz kinds
            name = _ROCM_NAMES.get(str(self.element), name)
        if name == "float4_e2m1fn_x2" and not hasattr(torch, name):
            name = "int8"
        found = getattr(torch, name, None)
        if not isinstance(found, torch.dtype):
            raise TypeError(f"PyTorch has no type for {self}")
        return found

    def as_ffi(self) -> tvm_ffi.dtype:
        """The type, lanes included, in the calling convention; a storage type where it has none."""
        import tvm_ffi  # deferred: needed only to launch and to pass types through the convention

        name = _NUMPY_NAMES.get(str(self.element), str(self.element))
        return tvm_ffi.dtype(name if self.lanes == 1 else f"{name}x{self.lanes}")


# Kinds that exist only here -> what stores them elsewhere.
_NUMPY_NAMES = {
    "tfloat32": "float32", "float8_e4m3": "float8_e4m3fn", "float4_e2m1_unpacked": "uint8",
}  # fmt: skip
_TORCH_NAMES = {
    "tfloat32": "float32", "float8_e4m3": "float8_e4m3fn", "int4": "int8", "uint4": "uint8",
    "float4_e2m1fn": "float4_e2m1fn_x2", "float4_e2m1_unpacked": "uint8",
}  # fmt: skip
_ROCM_NAMES = {"float8_e4m3": "float8_e4m3fnuz"}


def _python_number(value: Any) -> Any:
    """NumPy scalars as Python numbers; everything else as it is."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    return value


def _name_of(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if value is bool:
        return "bool"
    if value is int:
        return "int32"
    if value is float:
        return "float32"
    module = type(value).__module__
    if module == "torch":
        name = str(value).removeprefix("torch.")
        return "float4_e2m1fn" if name == "float4_e2m1fn_x2" else name
    origin = getattr(value, "__module__", "")
    if module.startswith("numpy") or str(origin).startswith(("numpy", "ml_dtypes")):
        import numpy  # only reached with a NumPy type in hand

        found = numpy.dtype(value)
        if not found.isnative:
            raise TypeError(f"{found!r} is not in this machine's byte order")
        return found.name
    raise TypeError(f"cannot interpret {value!r} as a dtype")
