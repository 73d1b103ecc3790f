"""Correct kernels run without alarm, and each planted fault is found, with any seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.device.emulator.kernels import SAMPLES
from tilelang.engine.emulator import KernelCall, emulate
from tilelang.errors import EmulatorError

SEEDS = range(20)


@pytest.mark.parametrize("name", list(SAMPLES))
def test_correct_kernels_give_right_results_and_no_alarm(name: str) -> None:
    for seed in SEEDS:
        found, wanted = SAMPLES[name].run(seed)
        for key in wanted:
            np.testing.assert_array_equal(found[key], wanted[key])


@dataclass(frozen=True)
class Fault:
    """A change of a text, and words that the message must have."""

    kernel: str
    old: str
    new: str
    words: tuple[str, ...]


SYNC = "  tl_sync_threads();\n"
FAULTS = {
    "removed barrier": Fault("transpose", SYNC, "", ("`S[", "transpose.py:11")),
    "off by one bound": Fault(
        "add", "i < n", "i <= n", ("out of bounds", "read of `", "[201]`", "add.py:7")
    ),
    "index beyond shared memory": Fault(
        "transpose", "S[y * 16 + x] =", "S[y * 64 + x] =",
        ("out of bounds", "write of `R[", "transpose.py:9"),
    ),
    "negative index": Fault(
        "add", "A[i] + B[i];\n", "A[i - 1] + B[i];\n", ("out of bounds", "`A[-1]`", "add.py:7"),
    ),
    "wrong swizzle of a read": Fault(
        "transpose", "= S[x * 16 + y]", "= S[256 + (x * 16 + y ^ 1)]",
        ("uninitialised", "read of `R[", "transpose.py:11"),
    ),
    "half a tile is never written": Fault(
        "transpose", "  S[y * 16 + x] =", "  if (x < 15) S[y * 16 + x] =",
        ("uninitialised", "`S[", "transpose.py:11"),
    ),
    "removed wait": Fault(
        "gemm", "      tl_cp_async_wait_group<1>();\n", "",
        ("missing wait", "_shared[", "gemm.py:12", "copied asynchronously"),
    ),
    "wait for too few groups": Fault(
        "gemm", "wait_group<1>", "wait_group<2>", ("missing wait", "_shared[", "gemm.py:12"),
    ),
    "removed barrier after wait": Fault(
        "gemm", "wait_group<1>();\n      tl_sync_threads();\n", "wait_group<1>();\n",
        ("_shared[", "gemm.py:12"),
    ),
    "removed barrier before the next copy": Fault(
        "gemm", "      tl_sync_threads();  // before the next copy\n", "",
        ("data race", "_shared[", "gemm.py:12"),
    ),
    "wrong swizzle of a copy": Fault(
        "gemm", "tx / 2 * 16 + (tx % 2 ^ tx / 8 % 2) * 8],\n                        &A",
        "tx / 2 * 16 + (tx % 2 & tx / 8 % 2) * 8],\n                        &A",
        ("A_shared[",),
    ),
    "uninitialised accumulator": Fault(
        "gemm", "  for (int32_t i = 0; i < 8; ++i) acc[i] = 0.0f;\n", "",
        ("uninitialised", "local variable", "gemm.py:12"),
    ),
    "partly uninitialised accumulator": Fault(
        "gemm", "i < 8; ++i) acc[i] = 0.0f", "i < 7; ++i) acc[i] = 0.0f",
        ("uninitialised", "local variable", "gemm.py:12"),
    ),
    "misaligned row": Fault(
        "gemm", "(warp * 16 + lane % 16) * 16 +", "(warp * 16 + lane % 16) * 16 + 4 +",
        ("misaligned", "A_shared[", "gemm.py:12"),
    ),
    "divergent barrier": Fault(
        "transpose", SYNC, f"{SYNC}  if (y < 8) tl_sync_threads();\n", ("barrier", "transpose.py"),
    ),
    "threads leave before a barrier": Fault(
        "transpose", SYNC, "  if (y >= 8) return;\n  tl_sync_threads();\n",
        ("barrier", "thread", "transpose.py"),
    ),
    "two barriers instead of one": Fault(
        "transpose", SYNC, "  if (y < 8) tl_sync_threads(); else tl_sync_threads();\n",
        ("barrier", "two different", "transpose.py"),
    ),
    "missing lane": Fault(
        "sum", "    x += tl_shfl", "    if (tx != 37) x += tl_shfl",
        ("lane", "sum.py:5"),
    ),
    "lane not in the mask": Fault(
        "sum", "xor_float32(0xffffffffu", "xor_float32(0x7fffffffu", ("lane 31", "sum.py:5"),
    ),
    "lane that has left": Fault(
        "sum", "  float x = A", "  if (tx == 5) return;\n  float x = A", ("lane 5", "sum.py:5"),
    ),
    "plain change of what others change": Fault(
        "histogram", "tl_atomic_add_int32(&H[tx], bins[tx], __ATOMIC_RELAXED)",
        "H[tx] += bins[tx]", ("data race", "`H[", "histogram.py:7", "block (")
    ),
    "bins are cleared too late": Fault(
        "histogram", "bins[tx] = 0;\n  tl_sync_threads();\n", "bins[tx] = 0;\n",
        ("`bins[", "histogram.py:6"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_planted_fault_is_found_with_every_seed(name: str) -> None:
    fault = FAULTS[name]
    sample = SAMPLES[fault.kernel]
    assert sample.source.count(fault.old) == 1
    source = sample.source.replace(fault.old, fault.new)
    for seed in SEEDS:
        with pytest.raises(EmulatorError) as caught:
            sample.run(seed, source)
        for word in fault.words:
            assert word in caught.value.message, f"seed {seed}: {caught.value}"


def test_a_fault_leaves_the_callers_arrays_as_they_were() -> None:
    sample = SAMPLES["add"]
    arrays = sample.inputs(np.random.default_rng(0))
    source = sample.source.replace("i < n", "i <= n")
    with pytest.raises(EmulatorError):
        emulate(source, [sample.call], arrays)
    assert not arrays["C"].any()


def test_arrays_that_overlap_stay_overlapping() -> None:
    whole = np.arange(64, dtype=np.float32)
    source = """#include "types.h"
extern "C" __global__ void shift_kernel(const float *A, float *B) {
  B[threadIdx.x] = A[threadIdx.x] + 1.0f;
}
"""
    call = KernelCall("shift_kernel", (1,), (8,), ("A", "B"))
    emulate(source, [call], {"A": whole[:8], "B": whole[:8]})
    assert whole[:8].tolist() == [float(i + 1) for i in range(8)]


def test_blocks_may_wait_for_each_other() -> None:
    """Block i adds to what block i - 1 released; later blocks run while earlier ones are there."""
    source = """#include "types.h"
#include "sync.h"
#include "memory.h"
extern "C" __global__ void chain_kernel(uint32_t *flag, float *sum) {
  if (threadIdx.x == 0) {
    while (tl_ld_acquire_gpu(flag) != gridDim.x - 1 - blockIdx.x) {
    }
    // chain.py:3: sum[0] = sum[0] * 2 + bx
    sum[0] = sum[0] * 2.0f + (float)blockIdx.x;
    tl_st_release_gpu(flag, gridDim.x - blockIdx.x);
  }
}
"""
    call = KernelCall("chain_kernel", (6,), (32,), ("flag", "sum"))
    for seed in range(5):
        total = np.zeros(1, np.float32)
        emulate(source, [call], {"flag": np.zeros(1, np.uint32), "sum": total}, seed=seed)
        wanted = 0.0
        for block in range(5, -1, -1):
            wanted = wanted * 2 + block
        assert total[0] == wanted
    relaxed = source.replace("tl_st_release_gpu(flag,", "*(volatile uint32_t *)(flag) = (")
    with pytest.raises(EmulatorError, match="race"):
        emulate(relaxed, [call], {"flag": np.zeros(1, np.uint32), "sum": np.zeros(1, np.float32)})


def test_all_blocks_meet_at_a_grid_barrier() -> None:
    source = """#include "types.h"
#include "grid.h"
extern "C" __global__ void meet_kernel(float *a, float *b) {
  a[blockIdx.x] = (float)blockIdx.x;
  tl_sync_grid();
  // meet.py:4: b[bx] = a[bx + 1]
  b[blockIdx.x] = a[(blockIdx.x + 1) % gridDim.x];
}
"""
    call = KernelCall("meet_kernel", (9,), (1,), ("a", "b"))
    for seed in range(5):
        out = np.zeros(9, np.float32)
        arrays = {"a": np.zeros(9, np.float32), "b": out}
        emulate(source, [call], arrays, uninitialised=("a",), seed=seed)
        assert out.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 0]
        with pytest.raises(EmulatorError, match=r"race|uninitialised"):
            emulate(source.replace("  tl_sync_grid();\n", ""), [call], arrays,
                    uninitialised=("a",), seed=seed)  # fmt: skip


def test_text_of_users_may_call_cuda_by_its_own_names() -> None:
    source = """#include "types.h"
extern "C" __global__ void own_kernel(const float *a, float *b, int *count) {
  __shared__ float s[64];
  s[threadIdx.x] = a[threadIdx.x];
  __syncthreads();
  float x = s[63 - threadIdx.x];
  for (int n = 16; n > 0; n >>= 1) x += __shfl_down_sync(0xffffffff, x, n);
  if (threadIdx.x % 32 == 0) {
    b[threadIdx.x / 32] = x;
    atomicAdd(count, 1);
  }
}
"""
    a, b, count = np.arange(64, dtype=np.float32), np.zeros(2, np.float32), np.zeros(1, np.int32)
    call = KernelCall("own_kernel", (1,), (64,), ("a", "b", "count"))
    for seed in range(5):
        emulate(source, [call], {"a": a, "b": b, "count": count}, seed=seed)
        assert b.tolist() == [a[32:].sum(), a[:32].sum()]
    assert count[0] == 10
    with pytest.raises(EmulatorError, match=r"uninitialised|race"):
        emulate(source.replace("__syncthreads();", ""), [call], {"a": a, "b": b, "count": count})


def test_unchecked_runs_give_the_same_results() -> None:
    for name, sample in SAMPLES.items():
        arrays = sample.inputs(np.random.default_rng(3))
        wanted = sample.expected(arrays)
        emulate(sample.source, [sample.call], arrays, checks=False)
        for key in wanted:
            np.testing.assert_array_equal(arrays[key], wanted[key], err_msg=name)
