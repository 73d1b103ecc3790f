"""CUDA text of kernels with explicit threads: what it says, and that NVRTC takes it everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tilelang.language as T
from tests.codegen.run_cuda import TARGET, compile_everywhere, cuda_text, thread_form
from tilelang.codegen.cuda import print_cuda
from tilelang.codegen.cuda_headers import header_of
from tilelang.codegen.cuda_ops import constant_bits
from tilelang.codegen.kernel_launch import kernel_launches
from tilelang.errors import TargetError
from tilelang.ir.annotation import ARENA_BYTES, ARENA_OFFSET
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.expr import BufferLoad, Call, FloatImm, Let, Var, as_expr, const_value, constant
from tilelang.ir.func import PASS_CONFIGS, RESTRICT_DROPPED, PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, BufferStore, Launch, Seq
from tilelang.ir.visitor import Mutator

rows = T.dynamic("rows")


@T.prim_func
def scale_rows(
    A: T.Tensor((rows, 1024), "float16"), s: T.Tensor((rows,), "float32"), bias: T.float32,
    B: T.Tensor((rows, 1024), "float16"),
):  # fmt: skip
    with T.Kernel(T.ceildiv(rows, 2), threads=256) as block:
        tx = T.get_thread_binding()
        row = block * 2 + tx // 128
        if row < rows:
            for v in T.vectorized(8):
                B[row, tx % 128 * 8 + v] = A[row, tx % 128 * 8 + v] * s[row] + bias


@T.prim_func
def block_sum(A: T.Tensor((64, 256), "float32"), S: T.Tensor((64,), "float32")):
    with T.Kernel(64, threads=256) as row:
        tx = T.get_thread_binding()
        partial = T.alloc_shared((8,), "float32")
        total = T.alloc_var("float32")
        total = T.warp_reduce_sum(A[row, tx])
        if tx % 32 == 0:
            partial[tx // 32] = total
        T.sync_threads()
        if tx == 0:
            total = 0.0
            for i in T.unroll(8):
                total += partial[i]
            S[row] = total


@pytest.mark.parametrize("func", [scale_rows, block_sum], ids=lambda f: f.name)
def test_text(func: PrimFunc, golden: Callable[[str], None]) -> None:
    text = cuda_text(func)
    golden(text)
    compile_everywhere(text)


def test_text_is_the_same_every_time() -> None:
    func = thread_form(scale_rows)
    assert print_cuda(func) == print_cuda(func, TARGET)


# -- every operation -------------------------------------------------------------------------------


def kernel_of(body: Callable[..., None], kind: str = "float32") -> PrimFunc:
    """A kernel of 64 threads that runs `body(x, y, u, i)` on its elements."""

    @T.prim_func
    def main(x: T.Tensor((64,), kind), y: T.Tensor((64,), kind), u: T.Tensor((64,), "int32")):
        with T.Kernel(1, threads=64):
            i = T.get_thread_binding()
            body(x, y, u, i)

    return main


UNARY = (
    "exp exp2 exp10 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh "
    "atanh erf sqrt rsqrt sigmoid floor ceil trunc round nearbyint abs"
).split()
FAST = "__exp __exp10 __log __log2 __log10 __sin __cos __tan fast_rcp".split()


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
def test_mathematics(kind: str) -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), kind), y: T.Tensor((64,), kind)):
        with T.Kernel(1, threads=64):
            i = T.get_thread_binding()
            for name in UNARY + FAST:
                y[i] += getattr(T, name)(x[i])
            for name in ("atan2", "copysign", "fmod", "hypot", "nextafter", "pow", "max", "min"):
                y[i] += getattr(T, name)(x[i], y[i])
            y[i] += T.ldexp(x[i], 3)
            y[i] = T.if_then_else(T.isnan(x[i]) | T.isinf(y[i]), T.infinity(kind), -y[i])

    text = cuda_text(main)
    fast = {
        n for n in FAST if f"tl_fast_{n.replace('__', '').replace('fast_', '')}_float32" in text
    }
    assert fast == (set() if kind == "float64" else set(FAST))
    compile_everywhere(text)


NARROW = (
    "float16 bfloat16 float8_e3m4 float8_e4m3 float8_e4m3fn float8_e4m3fnuz float8_e4m3b11fnuz "
    "float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float6_e2m3fn float6_e3m2fn float4_e2m1fn int4 "
    "uint4 int8 uint8 int16 uint16 int64 uint64 bool tfloat32"
).split()


@pytest.mark.parametrize("kind", NARROW)
def test_every_type_is_stored_loaded_and_converted(kind: str) -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32"), y: T.Tensor((64,), kind)):
        with T.Kernel(1, threads=64):
            i = T.get_thread_binding()
            y[i] = T.Cast(kind, x[i])
            L = T.alloc_local((4,), kind)
            L[0] = y[i]
            x[i] = T.Cast("float32", L[0]) + 1.0

    text = cuda_text(main)
    if "float" in kind and kind != "tfloat32":
        assert text.count(f"tl_{kind}_to_float32(") == 1
        assert text.count(f"tl_float32_to_{kind}(") == 1
    compile_everywhere(text, ("sm_75", "sm_90a"))


@pytest.mark.parametrize(
    "kind", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "int4"]
)
def test_integer_arithmetic(kind: str) -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), kind), y: T.Tensor((64,), kind)):
        with T.Kernel(1, threads=64):
            i = T.get_thread_binding()
            y[i] = x[i] // y[i] + x[i] % y[i] * T.truncdiv(x[i], y[i]) - T.truncmod(x[i], y[i])
            y[i] = T.max(x[i], y[i]) ^ T.min(x[i], y[i]) & ~x[i] | (x[i] << 1) >> 1
            y[i] += T.Cast(kind, T.popcount(x[i]) + T.clz(x[i])) + T.abs(x[i])

    compile_everywhere(cuda_text(main), ("sm_75", "sm_90a"))


def test_rounding_directions() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32"), y: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=64):
            i = T.get_thread_binding()
            for mode in ("rn", "rz", "ru", "rd"):
                for name in ("ieee_add", "ieee_sub", "ieee_mul", "ieee_fdiv"):
                    y[i] += getattr(T, name)(x[i], y[i], mode)
                y[i] += T.ieee_fmaf(x[i], y[i], x[i], mode) + T.ieee_frcp(x[i], mode)
                y[i] += T.ieee_fsqrt(x[i], mode) + T.ieee_frsqrt(x[i])

    compile_everywhere(cuda_text(main), ("sm_75", "sm_90a"))


def test_threads_meet() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32"), u: T.Tensor((64,), "int32")):
        with T.Kernel(1, threads=(32, 2)):
            i = T.get_thread_binding(0) + 32 * T.get_thread_binding(1)
            T.sync_threads()
            T.sync_threads(1, 64)
            T.named_barrier_arrive(2, 64)
            T.sync_threads(2, 64)
            T.sync_warp()
            T.sync_warp(3)
            p = x[i] > 0
            u[i] = T.syncthreads_count(p)
            u[i] += T.syncthreads_and(p) + T.syncthreads_or(p)
            u[i] += T.any_sync(p) + T.all_sync(p) + T.Cast("int32", T.ballot(p) + T.activemask())
            u[i] += T.Cast("int32", T.match_any_sync(u[i]) + T.match_all_sync(u[i]))
            for name in ("shfl_xor", "shfl_up", "shfl_down", "shfl_sync"):
                x[i] += getattr(T, name)(x[i], 1)
                u[i] += getattr(T, name)(u[i], 1, 16)
            for name in ("sum", "max", "min", "bitand", "bitor"):
                u[i] += getattr(T, f"warp_reduce_{name}")(u[i])
            x[i] += T.warp_reduce_max(T.Cast("float16", x[i]))

    text = cuda_text(main)
    for word in (
        "tl_sync_threads()",
        "tl_bar_sync(1, 64)",
        "tl_bar_arrive(2, 64)",
        "tl_sync_warp(3)",
    ):
        assert word in text
    compile_everywhere(text)


@pytest.mark.parametrize(
    "kind", ["int32", "uint64", "float32", "float64", "float16", "bfloat16", "int8"]
)
def test_atomics(kind: str) -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), kind), y: T.Tensor((64,), kind)):
        with T.Kernel(1, threads=64):
            i = T.get_thread_binding()
            S = T.alloc_shared((64,), kind)
            S[i] = x[i]
            T.atomic_add(y[0], x[i])
            T.atomic_add(S[1], x[i], memory_order="acq_rel")
            T.atomic_max(y[2], x[i])
            T.atomic_min(S[3], x[i])
            y[i] = T.atomic_add(y[4], x[i], return_prev=True)
            T.atomic_store(y[5], x[i])
            y[i] += T.atomic_load(S[6])

    text = cuda_text(main)
    has_short_form = kind in ("int32", "uint64", "float32", "float64")
    assert (f"tl_red_add_{kind}(&y[0]" in text) == has_short_form
    compile_everywhere(text)


def test_random_numbers_printing_and_assertions() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32"), L: T.Tensor((2, 3), "int8")):
        with T.Kernel(1, threads=64):
            i = T.get_thread_binding()
            T.rng_init(7)
            x[i] = T.rng_rand_float() + T.rng_rand_float(dist="normal")
            x[i] += T.Cast("float32", T.rng_rand() >> 8)
            T.print(x[i], msg="100% of")
            T.print(msg="hello %d")
            T.print(L, msg="all")
            T.device_assert(x[i] > 0, "x must be 5% positive")
            if x[i] > 3:
                T.thread_return()

    text = cuda_text(main)
    assert text.count("tl_rng rng;") == 1 and "__trap();" in text and "return;" in text
    assert "must be 5%% positive" in text and "hello %%d" in text
    assert "if (tx == 0)" in text  # one thread prints a buffer that all see
    compile_everywhere(text)


# -- memory, names, calls --------------------------------------------------------------------------


def test_cp_async_and_groups() -> None:
    @T.prim_func
    def main(x: T.Tensor((64, 8), "float16"), y: T.Tensor((64, 8), "float16"), n: T.int32):
        with T.Kernel(1, threads=64):
            i = T.get_thread_binding()
            S = T.alloc_shared((64, 8), "float16")
            T.ptx_cp_async(T.address_of(S[i, 0]), T.address_of(x[i, 0]), 16)
            T.ptx_cp_async(T.address_of(S[i, 4]), T.address_of(x[i, 4]), 8, i < n)
            T.ptx_commit_group()
            T.ptx_wait_group(0)
            T.sync_threads()
            for v in T.vectorized(8):
                y[i, v] = S[63 - i, v]

    text = cuda_text(main)
    for word in ("tl_cp_async_cg_16(", "tl_cp_async_ca_8_zfill(", "tl_cp_async_wait_group<0>()"):
        assert word in text
    compile_everywhere(text)


def test_a_barrier_of_the_grid_makes_the_launch_cooperative() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32"), y: T.Tensor((64,), "float32")):
        with T.Kernel(2, threads=32) as b:
            tx = T.get_thread_binding()
            x[b * 32 + tx] = 1.0
            T.sync_grid()
            y[b * 32 + tx] = x[63 - b * 32 - tx]

    func = thread_form(main)
    assert kernel_launches(func)[0].cooperative
    assert "tl_sync_grid();" in print_cuda(func)
    compile_everywhere(print_cuda(func))


def test_launch_bounds_and_unused_indices() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32")):
        with T.Kernel(2, 3, threads=(8, 4)) as (bx, by):
            T.annotate_min_blocks_per_sm(3)
            x[by] = 1.0

    text = cuda_text(main)
    assert "__launch_bounds__(32, 3)" in text
    assert "blockIdx.y" in text and "blockIdx.x" not in text and "threadIdx" not in text
    compile_everywhere(text)


def test_several_launches_share_a_workspace() -> None:
    n = T.dynamic("n")

    @T.prim_func
    def main(x: T.Tensor((n,), "float32"), y: T.Tensor((n,), "float32"), alpha: T.float32):
        W = T.alloc_global((n,), "float32")
        with T.Kernel(T.ceildiv(n, 64), threads=64) as b:
            tx = T.get_thread_binding()
            if b * 64 + tx < n:
                W[b * 64 + tx] = x[b * 64 + tx] * alpha
        with T.Kernel(T.ceildiv(n, 32), threads=32) as b:
            tx = T.get_thread_binding()
            if b * 32 + tx < n:
                y[b * 32 + tx] = W[b * 32 + tx]

    func = thread_form(main)
    first, second = kernel_launches(func)
    assert [first.name, second.name] == ["main_kernel", "main_kernel_1"]
    assert [p.var.name for p in first.params] == ["x", "W", "alpha", "n"]
    assert [p.c_type for p in first.params] == ["void *", "void *", "float", "int32_t"]
    assert [p.var.name for p in second.params] == ["y", "W", "n"]
    assert first.block == (64, 1, 1) and [const_value(e) for e in first.grid[1:]] == [1, 1]
    text = print_cuda(func)
    assert text.index("main_kernel(") < text.index("main_kernel_1(")
    compile_everywhere(text)


def with_arena(func: PrimFunc, offset: int) -> PrimFunc:
    """Shared buffers in the dynamic arena from `offset` on."""

    class Place(Mutator):
        def mutate_Allocate(self, node: Allocate) -> Any:
            if not node.buffer.is_shared:
                return node
            return replace(node, annotations=(*node.annotations, (ARENA_OFFSET, offset)))

        def mutate_Launch(self, node: Launch) -> Any:
            node = self.mutate_children(node)
            return replace(node, annotations=(*node.annotations, (ARENA_BYTES, offset + 32)))

    return Place().mutate(func)


@pytest.mark.parametrize("offset", [0, 2048])
def test_shared_buffers_lie_in_the_arena(offset: int) -> None:
    func = with_arena(thread_form(block_sum), offset)
    text = print_cuda(func)
    place = "(tl_arena + 2048)" if offset else "tl_arena"
    assert f"float *const partial = (float *){place};" in text
    assert "__shared__ __align__(1024) unsigned char tl_arena[]" in text
    assert kernel_launches(func)[0].shared_bytes == offset + 32
    compile_everywhere(text)


def test_names_never_hide_words_of_the_language() -> None:
    @T.prim_func
    def main(template: T.Tensor((64,), "float32"), operator: T.float32):
        with T.Kernel(64, threads=1) as this:
            printf = template[this] * operator
            threadIdx = T.alloc_local((2,), "float32")
            threadIdx[0] = printf
            template[this] = threadIdx[0]

    compile_everywhere(cuda_text(main), ("sm_80",))


def test_foreign_source_comes_before_the_kernels() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=64, prelude="#define FACTOR 2.0f"):
            T.import_source("__device__ float twice(float x) { return x + x; }")
            i = T.get_thread_binding()
            twice = T.call_extern("float32", "twice", x[i])
            x[i] = twice
            T.evaluate(T.call_extern("handle", "tl_prefetch_global_L2", T.address_of(x[i])))

    text = cuda_text(main).replace('#include "types.h"', '#include "types.h"\n#include "memory.h"')
    assert (
        text.index("__device__ float twice")
        < text.index("#define FACTOR")
        < text.index("__global__")
    )
    compile_everywhere(text, ("sm_80",))


def test_a_kernel_of_text_keeps_its_name_and_all_parameters() -> None:
    source = 'extern "C" __global__ void mine(float *x, int n) {\n  x[threadIdx.x] = n;\n}\n'

    @T.prim_func
    def main(x: T.Tensor((64,), "float32"), n: T.int32):
        T.CUDASourceCodeKernel(2, threads=64, source_code_or_path=source, entry_name="mine")

    func = thread_form(main)
    (launch,) = kernel_launches(func)
    assert launch.name == "mine" and [p.var.name for p in launch.params] == ["x", "n"]
    assert source in print_cuda(func)
    compile_everywhere(print_cuda(func), ("sm_80",))


def test_parameters_that_may_overlap_are_not_restrict() -> None:
    func = thread_form(block_sum).with_attribute(RESTRICT_DROPPED, ("A",))
    text = print_cuda(func)
    assert "const float *A," in text and "float *__restrict__ S" in text


def test_line_directives_name_the_users_lines() -> None:
    configs = (("tl.emit_line_directives", True),)
    func = thread_form(block_sum)
    plain, text = print_cuda(func), print_cuda(func.with_attribute(PASS_CONFIGS, configs))
    assert "#line" not in plain
    assert "#line" in text and __file__ in text
    compile_everywhere(text, ("sm_80",))


def test_a_value_that_is_named_in_an_expression_is_evaluated_once() -> None:
    out = Buffer("out", (4,), "float32", GLOBAL)
    tx, x = Var("tx"), Var("x", "float32")
    value = Let(x, Call("exp", (BufferLoad(out, (tx,)),), out.dtype), x * x)
    body = BufferStore(out, value, (tx,))
    threads = (tx, Var("ty"), Var("tz"))
    extents = (as_expr(4), as_expr(1), as_expr(1))
    launch = Launch((Var("bx"),), (as_expr(1),), threads, extents, body)
    text = print_cuda(PrimFunc("square", (out,), launch))
    assert text.count("tl_exp_float32(") == 1
    compile_everywhere(text)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "unit"),
    [
        ("wait_wgmma", (0,), "warp-group matrix unit"),
        ("tma_store_arrive", (), "tensor memory accelerator"),
        ("tcgen05_before_thread_sync", (), "tensor memory"),
        ("mfma", (), "matrix core"), ("cluster_sync", (), "block clusters"),
    ],
)  # fmt: skip
def test_units_of_other_hardware_are_refused_at_their_line(
    name: str, args: tuple[int, ...], unit: str
) -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=64):
            getattr(T, name)(*args)
            x[0] = 1.0

    with pytest.raises(TargetError, match=f"{name}: the target `cuda` has no {unit}") as caught:
        cuda_text(main)
    assert caught.value.span is not None and caught.value.span.file == __file__


def test_too_many_threads() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=(64, 32)):
            x[0] = 1.0

    with pytest.raises(TargetError, match="2048 threads; a block has at most 1024") as caught:
        cuda_text(main)
    assert caught.value.span is not None


def test_threads_must_be_constant() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32"), n: T.int32):
        with T.Kernel(1, threads=n):
            x[0] = 1.0

    with pytest.raises(TargetError, match="fixed when a kernel is compiled"):
        kernel_launches(main)


def test_another_generator_is_refused() -> None:
    @T.prim_func
    def main(x: T.Tensor((64,), "float32")):
        with T.Kernel(1, threads=64):
            T.rng_init(1, generator="curandStateXORWOW_t")
            x[0] = T.rng_rand_float()

    with pytest.raises(TargetError, match="no generator curandStateXORWOW_t"):
        cuda_text(main)


def test_memory_that_the_target_lacks() -> None:
    odd = Buffer("odd", (8,), "float32", "shared.tmem")
    out = Buffer("out", (4,), "float32", GLOBAL)
    body = Seq((Allocate(odd), BufferStore(out, as_expr(1.0), (as_expr(0),))))
    names = tuple(Var(n) for n in ("tx", "ty", "tz"))
    launch = Launch((Var("bx"),), (as_expr(1),), names, (as_expr(1),) * 3, body)
    with pytest.raises(TargetError, match=r"`odd`: the target `cuda` has no shared\.tmem memory"):
        print_cuda(PrimFunc("main", (out,), launch))


# -- tables ----------------------------------------------------------------------------------------


def test_every_header_has_functions_that_the_table_finds() -> None:
    from tilelang.engine.nvrtc import CUDA_HEADERS

    known = {
        "tl_mma_m16n8k16_f32_f16": "mma.h", "tl_ldmatrix_x4_trans": "ldmatrix.h",
        "tl_cp_async_ca_4": "cp_async.h", "tl_max_num_float32": "tl_arith.h",
        "tl_max_int32": "integer.h", "tl_float32_to_float16": "types.h",
        "tl_float32x2_to_float16x2": "packed.h", "tl_red_add_float32x4": "atomic.h",
        "tl_warp_uniform": "warp.h", "tl_syncthreads_or": "sync.h", "tl_st_b128": "memory.h",
        "tl_fast_exp_float32": "approx.h", "tl_rng_rand": "rng.h",
    }  # fmt: skip
    for name, header in known.items():
        assert header_of(name) == header
        assert (CUDA_HEADERS / header).exists()
    assert header_of("nothing") is None


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_constants_have_the_bits_of_their_type(kind: str) -> None:
    import ml_dtypes
    import numpy as np

    numpy_type = np.float16 if kind == "float16" else ml_dtypes.bfloat16
    for number in (0.0, -0.0, 1.0, -2.5, 0.1, 1e-7, 448.0, float("inf")):
        value = constant(number, kind)
        assert constant_bits(value) == int(np.array(number, numpy_type).view(np.uint16))
    assert constant_bits(FloatImm(float("nan"), value.dtype)) is None
