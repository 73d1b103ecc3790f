"""Argument annotations and element types: what `T` says of the values that a kernel takes."""

from tilelang.language.v2.annot import (
    Annot,
    ArgVarTable,
    Buffer,
    FragmentBuffer,
    FuncAnnot,
    LocalBuffer,
    SharedBuffer,
    StridedTensor,
    Tensor,
    dyn,
    ptr,
)
from tilelang.language.v2.dtypes import dtype

__all__ = [
    "Annot", "ArgVarTable", "Buffer", "FragmentBuffer", "FuncAnnot", "LocalBuffer",
    "SharedBuffer", "StridedTensor", "Tensor", "dtype", "dyn", "ptr",
]  # fmt: skip
