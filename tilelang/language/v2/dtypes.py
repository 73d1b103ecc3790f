"""The element types by name: `float16`, `int8x4`, `float8_e4m3fn`, and the short forms of C.

`NAMED` holds every one, scalar and with 2 to 64 lanes; each is an attribute of this module too.
`T` takes its dtype names from here; the type itself is `ir.dtype.dtype`. Decides nothing.

The module's attributes hide the built-in `bool`, `int` and `float`: no function may stand here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilelang.ir.dtype import dtype

AnyDType = Any  # what `dtype(...)` accepts: a name, a NumPy, PyTorch, FFI or Python type

LANES = (2, 4, 8, 16, 32, 64)
SHORT_NAMES = ("bool", "short", "int", "uint", "long", "half", "float", "double")
SCALAR_NAMES = (
    "bool", "int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16", "uint32",
    "uint64", "float16", "float32", "float64", "bfloat16", "tfloat32", "float8_e3m4",
    "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn",
    "float4_e2m1_unpacked",
)  # fmt: skip
NAMED: dict[str, dtype] = {
    **{name: dtype(name) for name in (*SCALAR_NAMES, *SHORT_NAMES, "handle", "void")},
    **{f"{name}x{lanes}": dtype(f"{name}x{lanes}") for name in SCALAR_NAMES for lanes in LANES},
}
globals().update(NAMED)

# A star import must not take Python's own `bool`, `int` and `float` away from a user's file.
__all__ = ["AnyDType", "dtype", *(n for n in NAMED if n not in ("bool", "int", "float"))]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:

    def __getattr__(name: str) -> dtype: ...
