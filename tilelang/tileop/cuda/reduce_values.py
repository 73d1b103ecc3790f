"""Values on their way through a reduction: converted, combined, exchanged between lanes.

A `Combiner` says what one kind of reduction (`ir/reduction.py`) does to values of one type on a
device with warps. Reductions, scans and reducers share it.
"""

from __future__ import annotations

from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    Call,
    Expr,
    as_expr,
    cast,
    constant,
    maximum,
    minimum,
    not_equal,
)
from tilelang.ir.record import record
from tilelang.ir.reduction import NAN_KINDS, combine, identity, prepare

_FULL = 0xFFFFFFFF
_WARP_REDUCE = {"abssum": "sum", "absmax": "max"}
_OF_BOOL = {"bitand": "bitand", "min": "bitand", "bitxor": "bitxor"}  # the others are `or`


def combiner_for(kind: str, stored: dtype, carried: dtype, nan_propagate: bool = False) -> Combiner:
    """The combiner of reduction `kind`.

    Truth values are carried as integers: the logical operators of the target language do not always
    evaluate their second operand, which may be a shuffle.
    """
    if stored.is_bool:
        return Combiner(_OF_BOOL.get(kind, "bitor"), stored, dtype("int32"))
    return Combiner(kind, stored, carried, nan_propagate)


@record
class Combiner:
    """One kind of reduction.

    Attributes:
        kind: a row of `ir.reduction`.
        stored: type of the result; elements are converted to it first.
        carried: type in which values are combined.
        nan_propagate: max, min and absmax give NaN where any operand is.
    """

    kind: str
    stored: dtype
    carried: dtype
    nan_propagate: bool = False

    @property
    def identity(self) -> Expr:
        """The value that changes nothing."""
        return identity(self.kind, self.carried)

    def enter(self, value: Expr) -> Expr:
        """An element as it enters the combination."""
        return cast(prepare(self.kind, cast(value, self.stored)), self.carried)

    def begin(self, value: Expr) -> Expr:
        """The first value of several: where NaN loses it also loses against nothing at all."""
        loses = self.kind in NAN_KINDS and self.carried.is_float and not self.nan_propagate
        return self.join(self.identity, value) if loses else value

    def join(self, a: Expr, b: Expr) -> Expr:
        """Two values that have entered, combined; either may be NaN, each is evaluated once.

        That, and that both always are, lets `b` be a shuffle.
        """
        if self.kind not in NAN_KINDS:
            return combine(self.kind, a, b)
        if self.nan_propagate and self.carried.is_float:
            return combine(self.kind, a, b, True)
        return minimum(a, b) if self.kind == "min" else maximum(a, b)  # of floats, a NaN loses

    @property
    def has_warp_operation(self) -> bool:
        """Whether the device combines the 32 lanes' values by one operation."""
        return self.carried.kind in ("int", "uint") and self.carried.bits == 32

    def across_warp(self, value: Expr) -> Expr:
        """All 32 lanes' values combined, where `has_warp_operation`."""
        name = _WARP_REDUCE.get(self.kind, self.kind)
        return Call(f"warp_reduce_{name}", (value,), self.carried)


def shuffle(op: str, value: Expr, lane: Expr | int, width: int = 32) -> Expr:
    """`shfl`, `shfl_xor`, `shfl_up` or `shfl_down` of `value`, of any type of up to 64 bits.

    All lanes of the warp have to be there.
    """
    kind = value.dtype
    carrier = _carrier(kind)
    mask = constant(_FULL, "uint32")
    args = (mask, cast(value, carrier), cast(as_expr(lane), "int32"), as_expr(width))
    moved = Call(op, args, carrier)
    if kind.is_bool:
        return not_equal(moved, constant(0, carrier))
    return cast(moved, kind)


def _carrier(kind: dtype) -> dtype:
    """The type in which a shuffle moves values of `kind`."""
    if kind.is_float:
        return kind if kind.bits == 64 else dtype("float32")
    if kind.is_bool or kind.bits < 8:
        return dtype("uint32" if kind.kind == "uint" else "int32")
    return kind
