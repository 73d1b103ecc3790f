"""Which `mma.sync` instructions exist: by element types, architecture and shape.

In: the types and the tile of a product, the architecture. Out: the forms that can run it, the
deepest first, or the reason why there is none, in words for the user.
"""

from __future__ import annotations

from typing import Any

from tilelang.ir.dtype import dtype
from tilelang.ir.record import record
from tilelang.layout.mma import MmaAtom
from tilelang.target.cuda import DEFAULT_ARCH, capability

_F16, _F32, _BF16 = "float16", "float32", "bfloat16"
_FLOAT8 = {"float8_e4m3": "e4m3", "float8_e4m3fn": "e4m3", "float8_e5m2": "e5m2"}
_BYTES = {"int8": "s8", "uint8": "u8"}


@record
class MmaForm:
    """One instruction with its types.

    Attributes:
        atom: shape and words.
        types: `<C type>_<A and B type>` as in the function's name.
        min_arch: compute capability from which it exists, such as 80.
    """

    atom: MmaAtom
    types: str
    min_arch: int

    @property
    def function(self) -> str:
        """The device function (device/cuda/mma.h)."""
        return f"tl_mma_{self.atom.shape}_{self.types}"

    @property
    def rounds_operands(self) -> bool:
        """Whether float32 operands have to be rounded first: the instruction cuts bits off."""
        return self.types == "f32_tf32"


def architecture(ctx: Any) -> int:
    """Compute capability of the target, such as 80."""
    return capability(ctx.target.option("arch") or DEFAULT_ARCH)


def forms_of(a: dtype, b: dtype, c: dtype) -> tuple[MmaForm, ...]:
    """All instructions for these element types, the deepest first."""
    if a == b and a in (_F16, _BF16):
        return _half_forms(a, c)
    if a == b and a in (_F32, "tfloat32") and c == _F32:
        return tuple(MmaForm(MmaAtom(16, 8, k, 1, 32), "f32_tf32", 80) for k in (8, 4))
    if (a, b, c) == ("float64",) * 3:
        wide = tuple(MmaForm(MmaAtom(16, 8, k, 1, 64), "f64_f64", 90) for k in (16, 8, 4))
        return (*wide, MmaForm(MmaAtom(8, 8, 4, 1, 64), "f64_f64", 80))
    if a in _BYTES and b in _BYTES and c in ("int32", "uint32"):
        types = "s32_" + _pair(_BYTES[a], _BYTES[b])
        shapes = ((16, 32, 80), (16, 16, 80), (8, 16, 75))
        return tuple(MmaForm(MmaAtom(m, 8, k, 4, 8), types, arch) for m, k, arch in shapes)
    if a in _FLOAT8 and b in _FLOAT8 and c in (_F32, _F16):
        types = f"{_short(c)}_{_pair(_FLOAT8[a], _FLOAT8[b])}"
        return (MmaForm(MmaAtom(16, 8, 32, 4, 8), types, 89),)
    return ()


def sum_dtype(a: dtype, b: dtype, c: dtype) -> dtype:
    """The type in which an instruction forms the sums of C: C's own, or float32 for a smaller
    float without an instruction; the sums are rounded once."""
    if c.is_float and c.bits < 32 and not forms_of(a, b, c):
        return dtype(_F32)
    return c


def _half_forms(a: dtype, c: dtype) -> tuple[MmaForm, ...]:
    if c != _F32 and not (a == _F16 and c == _F16):
        return ()
    types = f"{_short(c)}_{'f16' if a == _F16 else 'bf16'}"
    shallow = 75 if a == _F16 else 80
    return tuple(MmaForm(MmaAtom(16, 8, k, 2, 16), types, m) for k, m in ((16, 80), (8, shallow)))


def _pair(a: str, b: str) -> str:
    return a if a == b else f"{a}_{b}"


def _short(c: dtype) -> str:
    return "f16" if c == _F16 else "f32"


def choose_form(a: dtype, b: dtype, c: dtype, M: int, N: int, K: int, arch: int) -> MmaForm | str:
    """The deepest instruction that cuts the product into whole atoms, or why there is none."""
    forms = forms_of(a, b, c)
    kinds = f"{a} x {b} into {c}" if a != b else f"{a} into {c}"
    if not forms:
        return f"mma.sync has no form for {kinds}"
    there = [f for f in forms if f.min_arch <= arch]
    if not there:
        oldest = min(f.min_arch for f in forms)
        return f"mma.sync for {kinds} exists from sm_{oldest} on; the target is sm_{arch}"
    for form in there:
        if not (M % form.atom.m or N % form.atom.n or K % form.atom.k):
            return form
    steps = {
        "M": (M, min(f.atom.m for f in there)),
        "N": (N, min(f.atom.n for f in there)),
        "K": (K, min(f.atom.k for f in there)),
    }
    wrong = [
        f"{name} is {size}, not a multiple of {step}: {-(-size // step) * step} would do"
        for name, (size, step) in steps.items()
        if size % step
    ]
    return "; ".join(wrong)
