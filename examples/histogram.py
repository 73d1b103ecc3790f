"""Histogram: each block counts in shared memory, then adds its counts to the result.

Most of the contended additions stay on chip. The length is a runtime size: one kernel for all.
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


@tilelang.jit
def histogram(bins, block=4096, dtype="int32"):
    """Adds to `counts`, which the caller has zeroed; values lie in [0, bins)."""
    n = T.dynamic("n")

    @T.prim_func
    def kernel(values: T.Tensor((n,), dtype), counts: T.Tensor((bins,), "int32")):
        with T.Kernel(T.ceildiv(n, block), threads=128) as bx:
            block_counts = T.alloc_shared((bins,), "int32")
            T.clear(block_counts)
            for i in T.Parallel(block):
                if bx * block + i < n:
                    T.atomic_add(block_counts[values[bx * block + i]], 1)
            for i in T.Parallel(bins):
                if block_counts[i] > 0:
                    T.atomic_add(counts[i], block_counts[i])

    return kernel


def main():
    cases = Cases(__doc__)
    bins = 200
    kernel, byte_kernel = histogram(bins), histogram(bins, dtype="uint8")
    for n in cases.size((1, 5000, 50000), (1 << 24, (1 << 24) + 1)):
        values = (cases.randn(n).abs() * 40).clamp(max=bins - 1).to(torch.int32)
        expected = torch.bincount(values.cpu(), minlength=bins)
        for label, function, data in (
            ("histogram_int32", kernel, values),
            ("histogram_uint8", byte_kernel, values.to(torch.uint8)),
        ):
            counts = torch.zeros(bins, dtype=torch.int32, device=cases.device)
            function(data, counts)
            cases.check(f"{label} of {n} values in", counts, expected, 0)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
