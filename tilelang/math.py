"""Arithmetic of sizes, for Python code around kernels. Expressions of a kernel take `T.ceildiv`."""

from __future__ import annotations


def cdiv(a: int, b: int) -> int:
    """`a / b`, rounded up."""
    return -(a // -b)


def next_power_of_2(x: int) -> int:
    """The smallest power of two that is at least `x`; 1 where `x` is below that."""
    return 1 << max(x - 1, 0).bit_length()
