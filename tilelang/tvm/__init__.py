"""Our own types under the names that programs written for the reference implementation use.

`tilelang.tvm.DataType` is `tilelang.ir.dtype.dtype`, `tilelang.tvm.tir.Var` is
`tilelang.ir.expr.Var`, and so on: the very classes, no copies and no logic. Imported by nothing
inside the package.
"""

from tilelang.ir.dtype import dtype as DataType
from tilelang.ir.func import IRModule
from tilelang.tvm import ir, runtime, target, tir

__all__ = ["DataType", "IRModule", "ir", "runtime", "target", "tir"]
