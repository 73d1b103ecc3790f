"""CUDA texts for the emulator's tests, as the printer would write them, and how to launch them.

Each has places that tests change to plant a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilelang.engine.emulator import KernelCall, emulate

Arrays = dict[str, NDArray[Any]]

VECTOR_ADD = """#include "types.h"
extern "C" __global__ void __launch_bounds__(64) add_kernel(const float *__restrict__ A,
    const float *__restrict__ B, float *__restrict__ C, const int32_t n) {
  const int32_t i = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x);
  // add.py:7: C[i] = A[i] + B[i]
  if (i < n) {
    C[i] = A[i] + B[i];
  }
}
"""

TRANSPOSE = """#include "types.h"
#include "sync.h"
extern "C" __global__ void __launch_bounds__(256) transpose_kernel(const float *__restrict__ A,
    float *__restrict__ B) {
  extern __shared__ __align__(1024) unsigned char tl_arena[];
  float *const S = (float *)tl_arena;
  float *const R = (float *)(tl_arena + 1024);
  const int32_t x = (int32_t)threadIdx.x % 16, y = (int32_t)threadIdx.x / 16;
  const int32_t bx = (int32_t)blockIdx.x, by = (int32_t)blockIdx.y;
  // transpose.py:9: T.copy(A[by * 16, bx * 16], S)
  S[y * 16 + x] = A[(by * 16 + y) * 48 + bx * 16 + x];
  tl_sync_threads();
  // transpose.py:11: B[bx * 16 + i, by * 16 + j] = S[j, i]
  B[(bx * 16 + y) * 32 + by * 16 + x] = S[x * 16 + y];
}
"""

WARP_SUM = """#include "types.h"
#include "warp.h"
#include "sync.h"
extern "C" __global__ void __launch_bounds__(96) sum_kernel(const float *__restrict__ A,
    float *__restrict__ B) {
  extern __shared__ __align__(1024) unsigned char tl_arena[];
  float *const parts = (float *)tl_arena;
  const int32_t tx = (int32_t)threadIdx.x;
  float x = A[blockIdx.x * 96 + tx];
  // sum.py:5: T.reduce_sum(A, B)
  for (int32_t n = 16; n > 0; n /= 2) {
    x += tl_shfl_xor_float32(0xffffffffu, x, n, 32);
  }
  if (tx % 32 == 0) parts[tx / 32] = x;
  tl_sync_threads();
  // sum.py:8: B[bx] = parts[0] + parts[1] + parts[2]
  if (tx == 0) B[blockIdx.x] = parts[0] + parts[1] + parts[2];
}
"""

HISTOGRAM = """#include "types.h"
#include "sync.h"
#include "atomic.h"
extern "C" __global__ void __launch_bounds__(64) histogram_kernel(const int32_t *__restrict__ A,
    int32_t *__restrict__ H) {
  extern __shared__ __align__(1024) unsigned char tl_arena[];
  int32_t *const bins = (int32_t *)tl_arena;
  const int32_t tx = (int32_t)threadIdx.x;
  // histogram.py:5: T.clear(bins)
  if (tx < 16) bins[tx] = 0;
  tl_sync_threads();
  // histogram.py:6: T.atomic_add(bins[A[i]], 1)
  for (int32_t i = 0; i < 4; ++i) {
    tl_atomic_add_int32(&bins[A[blockIdx.x * 256 + i * 64 + tx]], 1, __ATOMIC_RELAXED);
  }
  tl_sync_threads();
  // histogram.py:7: T.atomic_add(H[tx], bins[tx])
  if (tx < 16) tl_atomic_add_int32(&H[tx], bins[tx], __ATOMIC_RELAXED);
}
"""

# C = A B, 32x64 by 64x16, one block of two warps (16 rows each); K in steps of 16, two slots.
GEMM = """#include "types.h"
#include "cp_async.h"
#include "sync.h"
#include "ldmatrix.h"
#include "mma.h"
extern "C" __global__ void __launch_bounds__(64) gemm_kernel(const tl_float16 *__restrict__ A,
    const tl_float16 *__restrict__ B, float *__restrict__ C) {
  extern __shared__ __align__(1024) unsigned char tl_arena[];
  tl_float16 *const A_shared = (tl_float16 *)tl_arena;
  tl_float16 *const B_shared = (tl_float16 *)(tl_arena + 2048);
  const int32_t tx = (int32_t)threadIdx.x, warp = tx / 32, lane = tx % 32;
  alignas(16) float acc[8];
  // gemm.py:8: T.clear(acc)
  for (int32_t i = 0; i < 8; ++i) acc[i] = 0.0f;
  for (int32_t step = 0; step <= 4; ++step) {
    const int32_t slot = step % 2, before = (step + 1) % 2;
    // gemm.py:10: T.copy(A, A_shared)
    if (step < 4) {
      tl_cp_async_cg_16(&A_shared[slot * 512 + tx / 2 * 16 + (tx % 2 ^ tx / 8 % 2) * 8],
                        &A[tx / 2 * 64 + step * 16 + tx % 2 * 8]);
    }
    // gemm.py:11: T.copy(B, B_shared)
    if (step < 4 && tx < 32) {
      tl_cp_async_cg_16(&B_shared[slot * 256 + tx / 2 * 16 + (tx % 2 ^ tx / 8 % 2) * 8],
                        &B[(step * 16 + tx / 2) * 16 + tx % 2 * 8]);
    }
    tl_cp_async_commit_group();
    if (step > 0) {
      tl_cp_async_wait_group<1>();
      tl_sync_threads();
      alignas(16) tl_float16 a[8];
      alignas(16) tl_float16 b[8];
      // gemm.py:12: T.gemm(A_shared, B_shared, acc)
      tl_ldmatrix_x4(a, &A_shared[before * 512 + (warp * 16 + lane % 16) * 16 +
                                  (lane / 16 ^ lane % 16 / 4 % 2) * 8]);
      tl_ldmatrix_x4_trans(b, &B_shared[before * 256 + lane % 16 * 16 +
                                        (lane / 16 ^ lane % 16 / 4 % 2) * 8]);
      tl_mma_m16n8k16_f32_f16(&acc[0], a, &b[0], &acc[0]);
      tl_mma_m16n8k16_f32_f16(&acc[4], a, &b[4], &acc[4]);
      tl_sync_threads();  // before the next copy
    }
  }
  // gemm.py:13: T.copy(acc, C)
  for (int32_t i = 0; i < 8; ++i) {
    C[(warp * 16 + lane / 4 + i / 2 % 2 * 8) * 16 + lane % 4 * 2 + i % 2 + i / 4 * 8] = acc[i];
  }
}
"""


@dataclass(frozen=True)
class Sample:
    """A text, its launch, random inputs, and what comes out."""

    source: str
    call: KernelCall
    inputs: Callable[[np.random.Generator], Arrays]
    expected: Callable[[Arrays], Arrays]
    outputs: tuple[str, ...] = ()  # without values before the launch

    def run(self, seed: int, source: str | None = None) -> tuple[Arrays, Arrays]:
        """What came out and what should have."""
        arrays = self.inputs(np.random.default_rng(seed))
        wanted = self.expected(arrays)
        emulate(source or self.source, [self.call], arrays, uninitialised=self.outputs, seed=seed)
        return {name: arrays[name] for name in wanted}, wanted


def _floats(rng: np.random.Generator, *shape: int) -> NDArray[Any]:
    return rng.standard_normal(shape).astype(np.float32)


def _halves(rng: np.random.Generator, *shape: int) -> NDArray[Any]:
    """Small integers: sums of products are exact."""
    return rng.integers(-4, 5, shape).astype(np.float16)


SAMPLES: dict[str, Sample] = {
    "add": Sample(
        VECTOR_ADD,
        KernelCall("add_kernel", (4,), (64,), ("A", "B", "C", np.int32(201))),
        lambda r: {"A": _floats(r, 201), "B": _floats(r, 201), "C": np.zeros(201, np.float32)},
        lambda a: {"C": a["A"] + a["B"]},
        ("C",),
    ),
    "transpose": Sample(
        TRANSPOSE,
        KernelCall("transpose_kernel", (3, 2), (256,), ("A", "B"), 2048),
        lambda r: {"A": _floats(r, 32, 48), "B": np.zeros((48, 32), np.float32)},
        lambda a: {"B": a["A"].T.copy()},
        ("B",),
    ),
    "sum": Sample(
        WARP_SUM,
        KernelCall("sum_kernel", (5,), (96,), ("A", "B"), 16),
        lambda r: {
            "A": r.integers(-99, 99, (5, 96)).astype(np.float32),
            "B": np.zeros(5, np.float32),
        },
        lambda a: {"B": np.asarray(np.sum(a["A"], axis=1), np.float32)},
        ("B",),
    ),
    "histogram": Sample(
        HISTOGRAM,
        KernelCall("histogram_kernel", (3,), (64,), ("A", "H"), 64),
        lambda r: {
            "A": r.integers(0, 16, 768).astype(np.int32),
            "H": np.zeros(16, np.int32),
        },
        lambda a: {"H": np.bincount(np.asarray(a["A"], np.int64), minlength=16).astype(np.int32)},
    ),
    "gemm": Sample(
        GEMM,
        KernelCall("gemm_kernel", (1,), (64,), ("A", "B", "C"), 3072),
        lambda r: {
            "A": _halves(r, 32, 64),
            "B": _halves(r, 64, 16),
            "C": np.zeros((32, 16), np.float32),
        },
        lambda a: {"C": a["A"].astype(np.float32) @ a["B"].astype(np.float32)},
        ("C",),
    ),
}
