"""Checks every function of `tilelang/device/cuda` on a GPU against a reference on the host.

    python bench/gpu_headers.py [--only mma] [--compile-only]

Needs a driver, `cuda-bindings`, `nvidia-cuda-nvrtc`, numpy and ml-dtypes; no PyTorch, no toolkit.
One line per check; exits with 1 when one fails. With `--compile-only` the kernels are compiled for
every architecture and not run. This file has matrices, copies, lanes, barriers and atomics;
`gpu_header_values.py` has conversions and arithmetic.
"""

from __future__ import annotations

import argparse
import sys

import gpu_header_values  # registers its checks
import ml_dtypes
import numpy as np
from gpu_harness import State, check, close, main, number, run, same

from tilelang.engine import cuda_driver
from tilelang.errors import ResourceError, TargetError

assert gpu_header_values.__doc__
LANE = np.arange(32)
G, T = LANE >> 2, LANE & 3
RNG = np.random.default_rng(0)

# -- matrix products ------------------------------------------------------------------------------

BITS = {"f16": 16, "bf16": 16, "tf32": 32, "f64": 64, "s8": 8, "u8": 8, "e4m3": 8, "e5m2": 8}
TYPES = {
    "f16": np.float16, "bf16": ml_dtypes.bfloat16, "tf32": np.float32, "f64": np.float64,
    "s8": np.int8, "u8": np.uint8, "e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2,
    "f32": np.float32, "s32": np.int32,
}  # fmt: skip
WORD = {"f64": np.float64}  # of a, b; otherwise 32 bits


def random_matrix(kind: str, shape: tuple[int, int]) -> np.ndarray:
    if kind in ("s8", "u8"):
        limits = np.iinfo(TYPES[kind])
        return RNG.integers(limits.min, limits.max + 1, shape).astype(TYPES[kind])
    values = RNG.standard_normal(shape).astype(np.float64 if kind == "f64" else np.float32)
    if kind == "tf32":
        values = (values.view(np.uint32) & 0xFFFFE000).view(np.float32)
    return values.astype(TYPES[kind])


def gather(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray, kind: str) -> np.ndarray:
    """[32 lanes, words, elements] of indices -> [32, words] registers."""
    elements = np.ascontiguousarray(matrix[rows, columns])
    word = np.float64 if kind == "f64" else np.uint32
    return elements.reshape(32, -1).view(word)


def indices(rows: int, k: int, kind: str, is_b: bool) -> tuple[np.ndarray, np.ndarray]:
    """Row (or column, of B) and k of element (lane, word, j)."""
    per = 1 if kind == "f64" else 32 // BITS[kind]
    words = (8 if is_b else rows) * k // (32 * per)
    lane_g, lane_t = G[:, None, None], T[:, None, None]
    r, j = np.arange(words)[None, :, None], np.arange(per)[None, None, :]
    split = rows == 16 and not is_b
    row = lane_g + (8 * (r & 1) if split else 0 * r) + 0 * j
    return row, per * lane_t + j + 4 * per * ((r >> 1) if split else r)


def check_mma(shape: str, acc: str, a_kind: str, b_kind: str, suffix: str = "") -> None:
    m, k = int(shape[1 : shape.index("n")]), int(shape[shape.index("k") + 1 :])
    name = a_kind if a_kind == b_kind else f"{a_kind}_{b_kind}"
    a, b = random_matrix(a_kind, (m, k)), random_matrix(b_kind, (k, 8))
    if acc == "s32":
        c = RNG.integers(-(2**31), 2**31, (m, 8)).astype(np.int32)
    else:
        c = RNG.standard_normal((m, 8)).astype(TYPES[acc])
    a_row, a_k = indices(m, k, a_kind, False)
    b_col, b_k = indices(m, k, b_kind, True)
    i = np.arange(m // 4)[None, :]
    c_row, c_col = G[:, None] + 8 * (i >> 1), 2 * T[:, None] + (i & 1)
    c_words = np.ascontiguousarray(c[c_row, c_col]).reshape(32, -1)
    c_words = c_words.view(np.uint32) if acc == "f16" else c_words
    a_words, b_words = gather(a, a_row, a_k, a_kind), gather(b, b_k, b_col, b_kind)
    word = "double" if a_kind == "f64" else "uint32_t"
    acc_word = {"f64": "double", "f32": "float", "f16": "uint32_t", "s32": "int32_t"}[acc]
    na, nb, nc = a_words.shape[1], b_words.shape[1], c_words.shape[1]
    got = run(
        "mma.h",
        f"""{word} x[{na}], y[{nb}]; {acc_word} z[{nc}];
        for (int i = 0; i < {na}; i++) x[i] = a[tid * {na} + i];
        for (int i = 0; i < {nb}; i++) y[i] = b[tid * {nb} + i];
        for (int i = 0; i < {nc}; i++) z[i] = c[tid * {nc} + i];
        tl_mma_{shape}_{acc}_{name}{suffix}(z, x, y, z);
        for (int i = 0; i < {nc}; i++) c[tid * {nc} + i] = z[i];""",
        a=a_words, b=b_words, c=c_words,
    ).c  # fmt: skip
    d = np.zeros((m, 8), TYPES[acc])
    d[c_row, c_col] = np.ascontiguousarray(got).view(TYPES[acc]).reshape(32, -1)
    what = f"{shape} {acc} {name}{suffix}"
    if acc == "s32":
        exact = a.astype(np.int64) @ b.astype(np.int64) + c
        exact = np.clip(exact, -(2**31), 2**31 - 1) if suffix else exact.astype(np.int32)
        same(d, exact.astype(np.int32), what)
        return
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    size = np.abs(wide_a) @ np.abs(wide_b) + np.abs(c.astype(np.float64))
    eps = {"f64": 2**-50, "f32": 2**-20, "f16": 2**-9}[acc]
    if BITS[a_kind] == 8:
        eps = max(eps, 2**-11)  # such products may be added with 14 bits
    close(d, wide_a @ wide_b + c.astype(np.float64), eps * size, what)


@check()
def mma_sm75() -> None:
    for acc in ("f32", "f16"):
        check_mma("m16n8k8", acc, "f16", "f16")
    for a in ("s8", "u8"):
        for b in ("s8", "u8"):
            check_mma("m8n8k16", "s32", a, b)
            check_mma("m8n8k16", "s32", a, b, "_satfinite")


@check(80)
def mma_floats() -> None:
    for _ in range(3):
        check_mma("m16n8k16", "f32", "f16", "f16")
        check_mma("m16n8k16", "f16", "f16", "f16")
        check_mma("m16n8k8", "f32", "bf16", "bf16")
        check_mma("m16n8k16", "f32", "bf16", "bf16")
        check_mma("m16n8k4", "f32", "tf32", "tf32")
        check_mma("m16n8k8", "f32", "tf32", "tf32")
        check_mma("m8n8k4", "f64", "f64", "f64")


@check(80)
def mma_integers() -> None:
    for shape in ("m16n8k16", "m16n8k32"):
        for a in ("s8", "u8"):
            for b in ("s8", "u8"):
                check_mma(shape, "s32", a, b)
                check_mma(shape, "s32", a, b, "_satfinite")


@check(89)
def mma_float8() -> None:
    for acc in ("f32", "f16"):
        for a in ("e4m3", "e5m2"):
            for b in ("e4m3", "e5m2"):
                check_mma("m16n8k32", acc, a, b)


@check(90)
def mma_f64_m16() -> None:
    for shape in ("m16n8k4", "m16n8k8", "m16n8k16"):
        check_mma(shape, "f64", "f64", "f64")


# -- ldmatrix, stmatrix ---------------------------------------------------------------------------


def fragment(tiles: np.ndarray, trans: bool) -> np.ndarray:
    """[tiles, 8, 8] of 16-bit elements -> [32 lanes, tiles] words."""
    x = tiles.transpose(0, 2, 1) if trans else tiles
    low, high = x[:, G, 2 * T].astype(np.uint32), x[:, G, 2 * T + 1].astype(np.uint32)
    return (low | high << 16).T.copy()


@check()
def ldmatrix() -> None:
    for n in (1, 2, 4):
        for suffix in ("", "_trans"):
            tiles = RNG.integers(0, 2**16, (n, 8, 8)).astype(np.uint16)
            got = run(
                "ldmatrix.h",
                f"""__shared__ __align__(16) uint16_t s[{n} * 64];
                for (int i = tid; i < {n} * 64; i += 32) s[i] = tiles[i];
                __syncthreads();
                uint32_t r[{n}];
                tl_ldmatrix_x{n}{suffix}(r, s + tid % {8 * n} * 8);
                for (int i = 0; i < {n}; i++) out[tid * {n} + i] = r[i];""",
                tiles=tiles, out=np.zeros((32, n), np.uint32),
            ).out  # fmt: skip
            same(got, fragment(tiles, bool(suffix)), f"x{n}{suffix}")


@check(90)
def stmatrix() -> None:
    for n in (1, 2, 4):
        for suffix in ("", "_trans"):
            tiles = RNG.integers(0, 2**16, (n, 8, 8)).astype(np.uint16)
            got = run(
                "ldmatrix.h",
                f"""__shared__ __align__(16) uint16_t s[{n} * 64];
                uint32_t r[{n}];
                for (int i = 0; i < {n}; i++) r[i] = words[tid * {n} + i];
                tl_stmatrix_x{n}{suffix}(s + tid % {8 * n} * 8, r);
                __syncthreads();
                for (int i = tid; i < {n} * 64; i += 32) out[i] = s[i];""",
                words=fragment(tiles, bool(suffix)), out=np.zeros_like(tiles),
            ).out  # fmt: skip
            same(got, tiles, f"x{n}{suffix}")


@check()
def movmatrix() -> None:
    tile = RNG.integers(0, 2**16, (1, 8, 8)).astype(np.uint16)
    got = run("ldmatrix.h", "x[tid] = tl_movmatrix_trans(x[tid]);", x=fragment(tile, False)).x
    same(got, fragment(tile, True))


# -- copies ---------------------------------------------------------------------------------------


@check()
def cp_async_zero_fill() -> None:
    for name, width in (("ca_4", 4), ("ca_8", 8), ("ca_16", 16), ("cg_16", 16)):
        source = RNG.integers(1, 256, (width + 1, width)).astype(np.uint8)
        got = run(
            "cp_async.h sync.h",
            f"""__shared__ __align__(16) uint8_t s[{width + 1} * {width} + 16];
            for (int i = tid; i < {width + 1} * {width} + 16; i += 32) s[i] = 0xee;
            tl_sync_threads();
            if (tid <= {width}) tl_cp_async_{name}_zfill(s + tid * {width}, x + tid * {width}, tid);
            tl_cp_async_commit_group();
            tl_cp_async_wait_group<0>();
            tl_sync_threads();
            for (int i = tid; i < {width + 1} * {width} + 16; i += 32) out[i] = s[i];""",
            x=source, out=np.zeros((width + 1) * width + 16, np.uint8),
        ).out  # fmt: skip
        rows = np.where(np.arange(width) < np.arange(width + 1)[:, None], source, 0)
        same(got, np.concatenate([rows.ravel(), np.full(16, 0xEE)]), name)


@check()
def cp_async_groups() -> None:
    x = RNG.integers(0, 2**32, (4, 32, 4), dtype=np.uint64).astype(np.uint32)
    got = run(
        "cp_async.h sync.h",
        """__shared__ uint4 s[4][32];
        for (int g = 0; g < 4; g++) {
          tl_cp_async_cg_16(&s[g][tid], x + (g * 32 + tid) * 4);
          tl_cp_async_commit_group();
        }
        tl_cp_async_wait_group<2>();  // the first two have landed, for this thread
        for (int g = 0; g < 2; g++) ((uint4 *)out)[g * 32 + tid] = s[g][tid];
        tl_cp_async_wait_all();
        tl_sync_threads();
        for (int g = 2; g < 4; g++) ((uint4 *)out)[g * 32 + 31 - tid] = s[g][31 - tid];""",
        x=x, out=np.zeros_like(x),
    ).out  # fmt: skip
    same(got, x)


@check()
def loads_and_stores() -> None:
    for bits in (8, 16, 32, 64, 128):
        size = bits // 8
        for load in ("ld", "ld_global_nc", "ld_global_cs", "ld_global_cg"):
            for store in ("st", "st_global_cs"):
                x = RNG.integers(0, 256, (32, size)).astype(np.uint8)
                got = run(
                    "memory.h",
                    f"""__align__(16) uint8_t r[{size}];
                    tl_{load}_b{bits}(r, x + tid * {size});
                    tl_{store}_b{bits}(out + (31 - tid) * {size}, r);""",
                    x=x, out=np.zeros_like(x),
                ).out  # fmt: skip
                same(got, x[::-1], f"{load} {store} b{bits}")


@check()
def flag_between_blocks() -> None:
    got = run(
        "memory.h",
        """if (blockIdx.x == 1) {
          if (threadIdx.x == 0) { *data = 7; tl_st_release_gpu(flag, 1); }
        } else if (threadIdx.x == 0) {
          tl_prefetch_global_L2(data);
          while (tl_ld_acquire_gpu(flag) == 0) {}
          *out = *(volatile uint32_t *)data;
        }""",
        blocks=2, data=np.zeros(1, np.uint32), flag=np.zeros(1, np.uint32),
        out=np.zeros(1, np.uint32),
    ).out  # fmt: skip
    same(got, 7)


# -- lanes, barriers ------------------------------------------------------------------------------

SCALARS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
           "float64")  # fmt: skip


def random_values(kind: str, count: int) -> np.ndarray:
    if kind.startswith("float"):
        return RNG.integers(-1000, 1000, count).astype(kind)  # sums are exact in any order
    limits = np.iinfo(kind)
    return RNG.integers(limits.min, limits.max, count, dtype=kind, endpoint=True)


@check()
def shuffles() -> None:
    for kind in SCALARS:
        for width in (8, 32):
            x = random_values(kind, 32)
            got = run(
                "warp.h",
                f"""auto v = x[tid];
                out[tid] = tl_shfl_{kind}(~0u, v, 3, {width});
                out[32 + tid] = tl_shfl_xor_{kind}(~0u, v, 5, {width});
                out[64 + tid] = tl_shfl_up_{kind}(~0u, v, 2, {width});
                out[96 + tid] = tl_shfl_down_{kind}(~0u, v, 2, {width});""",
                x=x, out=np.zeros((4, 32), x.dtype),
            ).out  # fmt: skip
            base, local = LANE // width * width, LANE % width
            up = np.where(local >= 2, LANE - 2, LANE)
            down = np.where(local + 2 < width, LANE + 2, LANE)
            expected = [x[base + 3], x[LANE ^ 5], x[up], x[down]]
            same(got, np.stack(expected), f"{kind} width {width}")


@check()
def warp_reductions() -> None:
    for kind in SCALARS:
        x = random_values(kind, 32)
        bits = () if kind.startswith("float") else ("bitand", "bitor", "bitxor")
        names = ("sum", "max", "min", *bits)
        lines = (f"out[{i * 32} + tid] = tl_warp_reduce_{n}_{kind}(x[tid]);"
                 for i, n in enumerate(names))  # fmt: skip
        got = run("warp.h", "\n".join(lines), x=x, out=np.zeros((len(names), 32), x.dtype)).out
        with np.errstate(over="ignore"):
            expected = [np.add.reduce(x, dtype=x.dtype), x.max(), x.min()]
        if bits:
            expected += [f.reduce(x) for f in (np.bitwise_and, np.bitwise_or, np.bitwise_xor)]
        for name, row, value in zip(names, got, expected):
            same(row, value, f"{name} {kind}")


@check()
def votes_and_matches() -> None:
    x = RNG.integers(0, 4, 32).astype(np.int32)
    got = run(
        "warp.h",
        """out[tid] = tl_ballot_sync(~0u, x[tid] == 1);
        out[32 + tid] = tl_any_sync(~0u, tid == 7);
        out[64 + tid] = tl_all_sync(~0u, tid == 7);
        out[96 + tid] = tl_match_any_sync_int32(~0u, x[tid]);
        out[128 + tid] = tl_match_all_sync_float64(~0u, 1.5);
        out[160 + tid] = tl_match_all_sync_int64(~0u, (int64_t)x[tid] << 32);
        out[192 + tid] = tl_activemask();
        out[224 + tid] = tl_lane_id() + 100 * tl_warp_id();
        out[256 + tid] = __popc(__ballot_sync(~0u, tl_elect_sync(~0u)));
        out[288 + tid] = tl_warp_uniform(tid + 5);""",
        x=x, out=np.zeros((10, 32), np.uint32),
    ).out  # fmt: skip
    bit = np.uint64(1) << LANE.astype(np.uint64)
    ballot = int(bit[x == 1].sum())
    matches = [int(bit[x == v].sum()) for v in x]
    full = 2**32 - 1
    rows = [ballot, 1, 0, matches, full, 0, full, LANE, 1, 5]
    for i, row in enumerate(rows):
        same(got[i], row, f"row {i}")
    warps = run("warp.h", "out[tid] = tl_lane_id() + 100 * tl_warp_id();", threads=128,
                out=np.zeros(128, np.int32)).out  # fmt: skip
    same(warps, np.arange(128) % 32 + np.arange(128) // 32 * 100, "lane and warp")


@check()
def barriers() -> None:
    got = run(
        "sync.h",
        """__shared__ int box;
        if (threadIdx.x < 32) {  // wait for the producer, which does not wait for us
          tl_bar_sync(3, 64);
          out[tid] = box;
        } else if (threadIdx.x < 64) {
          box = 42;
          tl_membar_cta();
          tl_bar_arrive(3, 64);
          out[tid] = 1;
        }
        tl_sync_threads();
        tl_bar_sync(5);
        tl_sync_warp();
        tl_membar_gl();
        tl_membar_sys();
        tl_fence_sc_gpu();
        const int count = tl_syncthreads_count(tid % 3 == 0);
        const int all = tl_syncthreads_and(tid < 96), any = tl_syncthreads_or(tid == 95);
        if (tid >= 64) out[tid] = count * 100 + all * 10 + any;""",
        threads=96, out=np.zeros(96, np.int32),
    ).out  # fmt: skip
    same(got, [42] * 32 + [1] * 32 + [3211] * 32)


# -- atomics --------------------------------------------------------------------------------------

FLOATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32,
          "float64": np.float64}  # fmt: skip


def atomic_result(
    kind: str, op: str, start: np.ndarray, x: np.ndarray, order: int, shared: bool
) -> np.ndarray:
    """1024 threads change 7 neighbouring elements of type `kind`."""
    stored = start.view("u2") if kind in ("float16", "bfloat16") else start
    name = "s" if shared else "p"
    element = {"float16": "uint16_t", "bfloat16": "uint16_t", "float32": "float",
               "float64": "double"}.get(kind, f"{kind}_t")  # fmt: skip
    before = (
        f"__shared__ {element} s[8]; if (threadIdx.x < 7) s[threadIdx.x] = p[threadIdx.x];"
        " __syncthreads();" if shared else ""
    )  # fmt: skip
    write_back = "__syncthreads(); if (threadIdx.x < 7) p[threadIdx.x] = s[threadIdx.x];"
    after = write_back if shared else ""
    out = run(
        "atomic.h",
        f"{before} tl_atomic_{op}_{kind}({name} + tid % 7, x[tid], {order}); {after}",
        threads=256 if not shared else 1024, blocks=1 if shared else 4, p=stored, x=x,
    ).p  # fmt: skip
    return np.ascontiguousarray(out).view(start.dtype)


@check()
def atomics() -> None:
    groups = [np.arange(1024) % 7 == i for i in range(7)]
    for kind in (*SCALARS, "float16", "bfloat16"):
        is_float = kind in FLOATS
        numpy_kind = np.dtype(FLOATS.get(kind, kind))
        x = RNG.integers(0, 2, 1024) if is_float else random_values(kind, 1024)
        x = x.astype(np.float64 if kind == "float64" else np.float32 if is_float else kind)
        start = np.arange(7).astype(numpy_kind)
        functions = {"add": np.add, "max": np.maximum, "min": np.minimum}
        if not is_float:
            functions |= {"or": np.bitwise_or, "and": np.bitwise_and, "xor": np.bitwise_xor}
        for op, function in functions.items():
            for order, shared in ((0, False), (5, False), (0, True)):
                got = atomic_result(kind, op, start, x, order, shared)
                for i, group in enumerate(groups):
                    wide = [start[i].astype(x.dtype), *x[group]]
                    with np.errstate(over="ignore"):
                        expected = function.reduce(np.array(wide, x.dtype), dtype=x.dtype)
                    same(got[i : i + 1], expected.astype(numpy_kind), f"{op} {kind} {order}")


@check()
def atomic_orders_give_old_values() -> None:
    for order in range(6):
        got = run(
            "atomic.h", f"out[tid] = tl_atomic_add_int32(p, 1, {order});", threads=256,
            p=np.zeros(1, np.int32), out=np.zeros(256, np.int32),
        )  # fmt: skip
        same(np.sort(got.out), np.arange(256), f"order {order}")
    got = run(
        "atomic.h",
        """out[0] = tl_atomic_exch_uint32(p, 5, 0);
        out[1] = tl_atomic_cas_uint32(p, 4, 9, 0);
        out[2] = tl_atomic_cas_uint32(p, 5, 9, 4);
        out[3] = tl_atomic_load_uint32(p, 2);
        tl_atomic_store_uint32(p, 11, 3);
        out[4] = tl_atomic_load_uint32(p, 5);
        tl_atomic_store_float16(p + 1, 1.5f, 0);
        tl_atomic_store_int8((int8_t *)(p + 1) + 2, -3, 0);
        out[5] = (uint32_t)(tl_atomic_load_float16(p + 1, 0) * 2.0f);
        out[6] = (uint32_t)tl_atomic_load_int8((int8_t *)(p + 1) + 2, 0);
        out[7] = tl_atomic_cas_uint8((uint8_t *)(p + 1) + 2, 0xfd, 0x11, 0);
        out[8] = p[1];""",
        threads=1, p=np.array([3, 0xFFFFFFFF], np.uint32), out=np.zeros(9, np.uint32),
    ).out  # fmt: skip
    same(got, [3, 5, 5, 9, 11, 3, 2**32 - 3, 0xFD, 0xFF113E00])


@check()
def extrema_ignore_nan() -> None:
    got = run(
        "atomic.h",
        """tl_atomic_max_float32(p, __builtin_nanf(""), 0); tl_atomic_max_float32(p + 1, 2.0f, 0);
        tl_atomic_min_float32(p + 2, -1.0f, 0); tl_atomic_min_float32(p + 3, -0.5f, 0);""",
        threads=1, p=np.array([1, np.nan, 0.5, -2], np.float32),
    ).p  # fmt: skip
    same(got, np.array([1, 2, -1, -2], np.float32))


@check()
def reductions_without_result() -> None:
    for kind in ("int32", "uint32", "uint64", "float32", "float64"):
        got = run("atomic.h", f"tl_red_add_{kind}(p + tid % 3, 2);", threads=96,
                  p=np.zeros(3, kind)).p  # fmt: skip
        same(got, 64, kind)
    for kind in ("float16", "bfloat16"):
        pair = np.array([1, 2], FLOATS[kind]).view(np.uint32)
        got = run("atomic.h", f"tl_red_add_{kind}x2(p, {int(pair[0])}u);", threads=64,
                  p=np.zeros(1, np.uint32)).p  # fmt: skip
        same(np.ascontiguousarray(got).view(FLOATS[kind]).astype(np.float32), [64, 128], kind)
    for n in (2, 4):
        got = run("atomic.h", f"float x[4] = {{1, 2, 3, 4}}; tl_red_add_float32x{n}(p, x);",
                  threads=64, blocks=2, p=np.zeros(n, np.float32)).p  # fmt: skip
        same(got, 128 * np.arange(1, n + 1), f"x{n}")


# -- the driver layer -----------------------------------------------------------------------------


@check()
def dynamic_shared_memory_to_the_limit() -> None:
    limit = 49152 if State.archs else cuda_driver.device_properties(0).max_shared_bytes_per_block
    last = limit // 4 - 1
    body = f"extern __shared__ int32_t s[]; s[tid ? {last} : 0] = tid; __syncthreads();"
    text = f"{body} out[tid] = s[tid ? {last} : 0];"
    same(run("types.h", text, threads=2, shared_bytes=limit, out=np.zeros(2, np.int32)).out, [0, 1])
    if State.archs:
        return
    try:
        run("types.h", text, threads=2, shared_bytes=limit + 4, out=np.zeros(2, np.int32))
    except ResourceError as error:
        assert str(limit) in error.message, error.message
    else:
        raise AssertionError("more shared memory than there is was accepted")


@check()
def driver_errors_are_named() -> None:
    if State.archs:
        return
    device = cuda_driver.device_properties(0)
    assert number(device.arch) == 10 * device.compute_capability[0] + device.compute_capability[1]
    for make, kind, words in (
        (lambda: cuda_driver.Library(b".version 0.0\0").kernel("k"), TargetError, "CUDA_ERROR"),
        (lambda: run("types.h", "out[0] = 1;", threads=4096, out=np.zeros(1, np.int32)),
         TargetError, "block (4096,)"),
        (lambda: cuda_driver.DeviceBytes(1 << 50), ResourceError, "OUT_OF_MEMORY"),
        (lambda: cuda_driver.device_properties(999), TargetError, "no CUDA device 999"),
    ):  # fmt: skip
        try:
            make()
        except kind as error:
            assert words in str(error), str(error)
        else:
            raise AssertionError(f"expected {kind.__name__}: {words}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="checks whose name contains this")
    parser.add_argument("--compile-only", action="store_true", help="compile for all, run nothing")
    options = parser.parse_args()
    sys.exit(1 if main(options.only, options.compile_only) else 0)
