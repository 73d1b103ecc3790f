"""A Triton matrix product, for the peer column of bench/gpu.py."""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(
    a, b, c, M, N, K,
    block_m: tl.constexpr, block_n: tl.constexpr, block_k: tl.constexpr, group: tl.constexpr,
):  # fmt: skip
    """One block of `c = a @ b`, all row-major; blocks in groups of `group` rows for L2 reuse."""
    number = tl.program_id(0)
    rows, columns = tl.cdiv(M, block_m), tl.cdiv(N, block_n)
    first = number // (group * columns) * group
    height = min(rows - first, group)
    row = first + number % (group * columns) % height
    column = number % (group * columns) // height
    m = row * block_m + tl.arange(0, block_m)
    n = column * block_n + tl.arange(0, block_n)
    k = tl.arange(0, block_k)
    a_at = a + m[:, None] * K + k[None, :]
    b_at = b + k[:, None] * N + n[None, :]
    total = tl.zeros((block_m, block_n), tl.float32)
    for _ in range(tl.cdiv(K, block_k)):
        total = tl.dot(tl.load(a_at), tl.load(b_at), total)
        a_at += block_k
        b_at += block_k * N
    tl.store(c + m[:, None] * N + n[None, :], total.to(c.dtype.element_ty))


def matmul(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> None:
    """`c = a @ b`; sizes are multiples of the tiles."""
    (M, K), N = a.shape, b.shape[1]
    block_m, block_n = 128, 256 if M > 128 else 64
    grid = (triton.cdiv(M, block_m) * triton.cdiv(N, block_n),)
    warps = 8 if block_n == 256 else 4
    matmul_kernel[grid](a, b, c, M, N, K, block_m, block_n, 64, 8, num_warps=warps, num_stages=3)
