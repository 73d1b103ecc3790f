"""What each operation name of a `Call` means to the compiler: has it effects, may it be moved.

Printers know how a name is written on their target; this table is what passes ask. An operation
that is not listed here is treated as having effects.
"""

from __future__ import annotations

from enum import Enum

from tilelang.ir.expr import BufferLoad, Call, Expr
from tilelang.ir.visitor import walk


class Effect(Enum):
    """What a call may do besides giving its value."""

    PURE = "pure"  # same arguments, same value; may be moved, copied or dropped
    READ = "read"  # reads memory or state
    WRITE = "write"  # changes memory or state, or synchronises


_UNARY_FLOAT = (
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "exp2",
    "exp10", "floor", "log", "log1p", "log2", "log10", "nearbyint", "round", "rsqrt", "sigmoid",
    "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "fast_exp", "fast_exp10", "fast_log",
    "fast_log2", "fast_log10", "fast_sin", "fast_cos", "fast_tan", "fast_rcp", "round_away",
)  # fmt: skip
_PURE = (
    "abs", "neg", "atan2", "copysign", "fmod", "hypot", "ldexp", "nextafter", "pow", "isnan",
    "isinf", "isfinite", "popcount", "clz", "ffs", "fns", "if_then_else", "reinterpret",
    "make_vector", "extract_lane", "shuffle", "likely", "max_nan", "min_nan", "fma", "ieee_add",
    "ieee_sub", "ieee_mul", "ieee_fdiv", "ieee_fmaf", "ieee_frcp", "ieee_fsqrt", "ieee_frsqrt",
    "add2", "sub2", "mul2", "fma2", "max2", "min2", "abs2", "call_pure_extern", "cast_saturate",
    "cast_stochastic", "undef", "dp4a", "address_of", "access_ptr", "handle_add_byte_offset",
    "tl_warp_uniform",  # its argument, which is the same in all lanes
)  # fmt: skip
_READ = (
    "any_of", "all_of", "atomic_load", "ldg", "lane_id", "warp_id", "thread_extent", "clock",
    "activemask",
)  # fmt: skip

EFFECTS: dict[str, Effect] = {
    **dict.fromkeys([*_UNARY_FLOAT, *_PURE], Effect.PURE),
    **dict.fromkeys(_READ, Effect.READ),
}
UNARY_FLOAT_OPS = frozenset(_UNARY_FLOAT)


def effect_of(op: str) -> Effect:
    """The effect of operation `op`; unlisted ones count as writing."""
    return EFFECTS.get(op, Effect.WRITE)


def has_side_effect(value: Expr) -> bool:
    """Whether evaluating `value` may change anything."""
    return any(isinstance(n, Call) and effect_of(n.op) is Effect.WRITE for n in walk(value))


def is_pure(value: Expr) -> bool:
    """Whether `value` depends on its variables alone: no memory, no state."""
    return not any(
        isinstance(n, BufferLoad) or (isinstance(n, Call) and effect_of(n.op) is not Effect.PURE)
        for n in walk(value)
    )
