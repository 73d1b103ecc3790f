"""Convolution of NHWC images with HWCF filters, as a matrix product and directly.

`convolution` gathers image patches with `T.im2col`, so that pixels x (taps, channels) times
(taps, channels) x filters is a `T.gemm`. `direct_convolution` adds tap after tap; where a tap lies
outside the image the guarded load gives zero, so the padding needs no code.
"""

import sys

import torch
from check import Cases

import tilelang
import tilelang.language as T


def output_extent(extent, taps, stride, dilation, padding):
    return (extent + 2 * padding - dilation * (taps - 1) - 1) // stride + 1


@tilelang.jit(out_idx=[-1])
def convolution(
    N, H, W, C, F, taps, stride=1, dilation=1, padding=0,
    block_M=64, block_N=64, block_K=32, dtype="float32",
):  # fmt: skip
    OH = output_extent(H, taps, stride, dilation, padding)
    OW = output_extent(W, taps, stride, dilation, padding)
    pixels, depth = N * OH * OW, taps * taps * C

    @T.prim_func
    def kernel(
        images: T.Tensor((N, H, W, C), dtype),
        filters: T.Tensor((taps, taps, C, F), dtype),
        output: T.Tensor((N, OH, OW, F), dtype),
    ):
        with T.Kernel(T.ceildiv(F, block_N), T.ceildiv(pixels, block_M), threads=128) as (bx, by):
            patches = T.alloc_shared((block_M, block_K), dtype)
            filters_shared = T.alloc_shared((block_K, block_N), dtype)
            sums = T.alloc_fragment((block_M, block_N), "float32")
            filters_flat = T.reshape(filters, (depth, F))
            output_flat = T.reshape(output, (pixels, F))
            T.clear(sums)
            for k in T.Pipelined(T.ceildiv(depth, block_K), num_stages=3):
                T.im2col(images, patches, by, k, taps, stride, dilation, padding)
                T.copy(filters_flat[k * block_K, bx * block_N], filters_shared)
                T.gemm(patches, filters_shared, sums)
            T.copy(sums, output_flat[by * block_M, bx * block_N])

    return kernel


@tilelang.jit(out_idx=[-1])
def direct_convolution(
    N, H, W, C, F, taps, stride=1, dilation=1, padding=0, block_W=8, block_F=64, dtype="float32"
):
    """A block makes `block_W` neighbours of one image row."""
    OH = output_extent(H, taps, stride, dilation, padding)
    OW = output_extent(W, taps, stride, dilation, padding)

    @T.prim_func
    def kernel(
        images: T.Tensor((N, H, W, C), dtype),
        filters: T.Tensor((taps, taps, C, F), dtype),
        output: T.Tensor((N, OH, OW, F), dtype),
    ):
        blocks = (T.ceildiv(F, block_F), T.ceildiv(OW, block_W), N * OH)
        with T.Kernel(*blocks, threads=128) as (bf, bw, row):
            sums = T.alloc_fragment((block_W, block_F), "float32")
            n, y = row // OH, row % OH
            T.clear(sums)
            for ky, kx, c in T.grid(taps, taps, C):
                for i, f in T.Parallel(block_W, block_F):
                    h = y * stride + ky * dilation - padding
                    w = (bw * block_W + i) * stride + kx * dilation - padding
                    pixel = T.cast(images[n, h, w, c], "float32")
                    sums[i, f] += pixel * T.cast(filters[ky, kx, c, bf * block_F + f], "float32")
            T.copy(sums, output[n, y, bw * block_W, bf * block_F])

    return kernel


def main():
    cases = Cases(__doc__)
    shapes = cases.size(
        [
            (2, 14, 14, 16, 32, 3, 1, 1, 1),
            (1, 13, 11, 5, 70, 3, 2, 2, 2),
            (1, 9, 9, 8, 8, 1, 1, 1, 0),
        ],
        [
            (8, 56, 56, 64, 128, 3, 1, 1, 1),
            (8, 57, 55, 64, 100, 5, 2, 1, 2),
        ],
    )
    for N, H, W, C, F, taps, stride, dilation, padding in shapes:
        images, filters = cases.randn(N, H, W, C), cases.randn(taps, taps, C, F)
        expected = torch.nn.functional.conv2d(
            images.double().permute(0, 3, 1, 2), filters.double().permute(3, 2, 0, 1),
            stride=stride, padding=padding, dilation=dilation,
        ).permute(0, 2, 3, 1)  # fmt: skip
        arguments = (N, H, W, C, F, taps, stride, dilation, padding)
        result = convolution(*arguments)(images, filters)
        cases.check("convolution", result, expected, cases.matmul_tolerance)
        result = direct_convolution(*arguments)(images, filters)
        cases.check("direct_convolution", result, expected, 1e-5)
    return cases.status


if __name__ == "__main__":
    sys.exit(main())
