"""How the warps of a block share the tile of a matrix product.

The policy decides speed and who owns which accumulator, never values. `language` shows it as
`T.GemmWarpPolicy`; `tileop` asks `compute_warp_partition`.
"""

from __future__ import annotations

from enum import IntEnum

from tilelang.errors import ArgumentError

_STEP_M, _STEP_N = 16, 8  # the smallest tile one warp's instruction covers


class GemmWarpPolicy(IntEnum):
    """Warps along M and N: balanced, all along M, all along N."""

    Square = 0
    FullRow = 1
    FullCol = 2

    def is_square(self) -> bool:
        return self is GemmWarpPolicy.Square

    def is_full_row(self) -> bool:
        return self is GemmWarpPolicy.FullRow

    def is_full_col(self) -> bool:
        return self is GemmWarpPolicy.FullCol

    @staticmethod
    def to_prime_factors(num: int) -> list[int]:
        """Prime factors of `num`, ascending, with repeats."""
        factors: list[int] = []
        divisor = 2
        while divisor * divisor <= num:
            while num % divisor == 0:
                factors.append(divisor)
                num //= divisor
            divisor += 1
        return [*factors, num] if num > 1 else factors

    def compute_warp_partition(self, M: int, N: int, num_warps: int) -> tuple[int, int]:
        """Warps along M and along N of an `M` by `N` tile.

        Raises:
            ArgumentError: when the partition does not use exactly `num_warps` warps.
        """
        if num_warps < 1:
            raise ArgumentError(f"a matrix product needs at least one warp, got {num_warps}")
        m, n = self._partition(M, N, num_warps)
        if m * n != num_warps and (m, n) != (1, 1):
            raise ArgumentError(
                f"gemm: {num_warps} warps cannot share a {M} x {N} tile with policy {self.name}",
                hint="use fewer threads, a larger tile, or another policy",
            )
        return m, n

    def _partition(self, M: int, N: int, warps: int) -> tuple[int, int]:
        rows, columns = M // _STEP_M, N // _STEP_N
        if self.is_full_row():
            if M % (_STEP_M * warps) == 0:
                return warps, 1
            return max(1, rows), max(1, warps // max(1, rows))
        if self.is_full_col():
            if N % (_STEP_N * warps) == 0:
                return 1, warps
            return max(1, warps // max(1, columns)), max(1, columns)
        pairs = [(m, warps // m) for m in range(1, warps + 1) if warps % m == 0]
        feasible = [(m, n) for m, n in pairs if m <= rows and n <= columns]
        if not feasible:
            return 1, 1
        return min(
            feasible,
            key=lambda p: abs((M / (_STEP_M * p[0])) / (N / (_STEP_N * p[1])) - M / N),
        )

    @classmethod
    def from_warp_partition(cls, m: int, n: int) -> GemmWarpPolicy:
        """The policy that a partition of `m` by `n` warps expresses."""
        if n == 1 and m > 1:
            return cls.FullRow
        return cls.FullCol if m == 1 and n > 1 else cls.Square
