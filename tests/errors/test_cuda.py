"""What a GPU cannot run, and device text that a compiler does not take: at the user's line.

Everything here is found without a GPU: by the passes, by NVRTC, by the emulator's compiler, or by
the host code on a driver that is played.
"""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.codegen.cuda_host import FakeDriver, aligned, on_cuda
from tests.errors.location import assert_located
from tilelang import cache
from tilelang.engine import cuda_build, nvrtc
from tilelang.engine.lower import as_prim_func, lower
from tilelang.env import env
from tilelang.errors import (
    DTypeError,
    Error,
    LayoutError,
    ResourceError,
    ShapeError,
    TargetError,
    ToolchainError,
)
from tilelang.ir.expr import const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Launch
from tilelang.ir.visitor import walk
from tilelang.language.annotations import AnnotationError
from tilelang.layout import Fragment, Layout
from tilelang.transform.check_tile_program import ProgramError

F16, F32 = "float16", "float32"
ARCHS = ("sm_80", "sm_90a")
SHARED_LIMITS = {"sm_75": 65536, "sm_80": 166912, "sm_89": 101376, "sm_90a": 232448}

needs_nvrtc = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None
    or importlib.util.find_spec("cuda.bindings.nvrtc") is None,
    reason="needs cuda-bindings",
)


@pytest.fixture
def own_cache(tmp_path: Path) -> Iterator[None]:
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "cache")):
        cache.clear_cache()
        yield
        cache.clear_cache()


def shown(error: BaseException) -> list[str]:
    """The texts that an error's carets stand under, its own first."""
    assert isinstance(error, Error)
    spans = [error.span, *(note.span for note in error.notes)]
    return [span.text() for span in spans if span is not None]


def fails(
    make: Callable[[], PrimFunc],
    kind: type[Error],
    line: str,
    part: str | None,
    *mentions: str,
    archs: tuple[str, ...] = ARCHS,
) -> Error:
    """Tracing or lowering fails with a located error, the same for each architecture."""
    errors: list[Error] = []
    for arch in archs:
        with pytest.raises(kind) as caught:
            lower(make(), f"cuda -arch={arch}")
        assert_located(caught.value, line, part, *mentions)
        errors.append(caught.value)
    assert (
        {e.message.replace(a, "") for e, a in zip(errors, archs)}
        == {errors[0].message.replace(archs[0], "")}
        or len(archs) == 1
        or "allows" in errors[0].message
    )
    return errors[0]


def product(
    m: int = 64, n: int = 64, k: int = 32, *, threads: Any = 128, other_k: int | None = None,
    dtype: str = F16, total: str = F32, stages: int = 0,
) -> Callable[[], PrimFunc]:  # fmt: skip
    """One tile of a matrix product."""
    rows_b = other_k or k

    def make() -> PrimFunc:
        @T.prim_func
        def matmul(
            A: T.Tensor((m, k), dtype), B: T.Tensor((rows_b, n), dtype), C: T.Tensor((m, n), total)
        ):
            with T.Kernel(1, threads=threads):
                A_shared = T.alloc_shared((m, k), dtype)
                B_shared = T.alloc_shared((rows_b, n), dtype)
                C_local = T.alloc_fragment((m, n), total)
                T.clear(C_local)
                T.copy(A, A_shared)
                T.copy(B, B_shared)
                T.gemm(A_shared, B_shared, C_local)
                T.copy(C_local, C)

        return matmul

    del stages
    return make


def with_body(
    body: Any, *grid: Any, threads: Any = 128, dtype: str = F32
) -> Callable[[], PrimFunc]:
    """A kernel of A and B, both [64, 64], whose body is a macro."""

    def make() -> PrimFunc:
        @T.prim_func
        def main(A: T.Tensor((64, 64), dtype), B: T.Tensor((64, 64), dtype)):
            with T.Kernel(*(grid or (1,)), threads=threads):
                body(A, B)

        return main

    return make


@T.macro
def move(A, B):
    T.copy(A, B)


class TestArchitecture:
    @pytest.mark.parametrize("arch", ["sm_70", "sm_60", "sm_85", "sm_200", "hopper", "sm_90b"])
    def test_that_is_not_supported(self, arch: str) -> None:
        with pytest.raises(TargetError) as caught:
            lower(with_body(move)(), f"cuda -arch={arch}")
        line = 'lower(with_body(move)(), f"cuda -arch={arch}")'
        assert_located(caught.value, line, "lower", f"'{arch}'", "sm_80, sm_86", "sm_90")

    @needs_nvrtc
    def test_that_has_no_such_suffix(self) -> None:
        with pytest.raises(TargetError, match="sm_80a does not exist"):
            tilelang.compile(with_body(move)(), target="cuda -arch=sm_80a")

    @needs_nvrtc
    def test_newer_than_nvrtc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nvrtc, "supported_archs", lambda: (75, 80))
        with pytest.raises(TargetError) as caught:
            tilelang.compile(with_body(move)(), target="cuda -arch=sm_90a")
        text = str(caught.value)
        assert "does not compile for sm_90a; it knows sm_75, sm_80" in text
        assert "install a newer nvidia-cuda-nvrtc" in text


class TestGemm:
    def test_k_that_differs(self) -> None:
        line = "T.gemm(A_shared, B_shared, C_local)"
        error = fails(
            product(k=32, other_k=64), ShapeError, line, "A_shared",
            "gemm: K of A_shared is 32 but K of B_shared is 64",
            "[64, 32] float16", "K is axis 1", "[64, 64] float16", "K is axis 0", "try:",
        )  # fmt: skip
        assert "T.alloc_shared((rows_b, n), dtype)" in shown(error)

    def test_sums_of_another_kind(self) -> None:
        line = "T.gemm(A_shared, B_shared, C_local)"
        fails(
            product(dtype="int8"), DTypeError, line, "C_local",
            "products of int8 cannot be summed in C_local, which is float32",
            "allocate C_local as int32",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("shape", "threads"),
        [((24, 20, 20), 128), ((17, 13, 7), 128), ((64, 64, 32), 96), ((64, 64, 32), 1)],
    )
    def test_tiles_that_no_instruction_divides_run_otherwise(
        self, shape: tuple[int, int, int], threads: int
    ) -> None:
        for arch in ARCHS:
            source = lower(product(*shape, threads=threads)(), f"cuda -arch={arch}").kernel_source
            assert "__global__" in source

    def test_float8_where_the_tensor_cores_lack_it(self) -> None:
        make = product(dtype="float8_e4m3fn")
        older = lower(make(), "cuda -arch=sm_80").kernel_source
        assert "e4m3_e4m3" not in older and "tl_mma_m16n8k32_f32_e4m3" not in older


class TestThreadsAndBlocks:
    def test_too_many_threads(self) -> None:
        fails(
            with_body(move, threads=2048), ResourceError, "with T.Kernel(", "T.Kernel",
            "2048 threads per block", "at most 1024", "threads=1024 or fewer",
        )  # fmt: skip

    def test_too_many_along_z(self) -> None:
        fails(
            with_body(move, threads=(1, 1, 128)), ResourceError, "with T.Kernel(", "T.Kernel",
            "128 threads along axis z", "at most 64", "threads=(128, 1, 1)",
        )  # fmt: skip
        lower(with_body(move, threads=(1, 1, 64))(), "cuda -arch=sm_80")

    def test_a_number_known_only_at_run_time(self) -> None:
        def make() -> PrimFunc:
            n = T.dynamic("n")

            @T.prim_func
            def main(A: T.Tensor((n,), F32)):
                with T.Kernel(1, threads=n):
                    A[0] = 1.0

            return main

        fails(
            make, ResourceError, "with T.Kernel(1, threads=n)", "T.Kernel",
            "must be a positive constant, got (n, 1, 1)", "`threads` as an integer",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("grid", "axis", "count", "most"),
        [
            ((2**31,), "x", 2**31, 2**31 - 1),
            ((1, 65536), "y", 65536, 65535),
            ((1, 1, 70000), "z", 70000, 65535),
        ],
    )
    def test_too_many_blocks(self, grid: tuple[int, ...], axis: str, count: int, most: int) -> None:
        fails(
            with_body(move, *grid), ResourceError, "with T.Kernel(", "T.Kernel",
            f"{count} blocks along axis {axis}", f"at most {most}", "longest axis first",
        )  # fmt: skip

    def test_as_many_as_there_may_be(self) -> None:
        for grid in ((2**31 - 1,), (1, 65535), (1, 1, 65535)):
            made = lower(with_body(move, *grid)(), "cuda -arch=sm_80")
            (launch,) = (n for n in walk(as_prim_func(made.host_mod)) if isinstance(n, Launch))
            assert tuple(const_value(e) for e in launch.grid_extents) == grid


class TestSharedMemory:
    @pytest.mark.parametrize(("arch", "limit"), SHARED_LIMITS.items())
    def test_too_much(self, arch: str, limit: int) -> None:
        error = fails(
            product(512, 512, 256), ResourceError, "A_shared = T.alloc_shared(", "T.alloc_shared",
            f"shared memory: 524288 bytes needed, {arch} allows {limit} per block",
            "A_shared [512, 256] float16   262144", "B_shared [256, 512] float16   262144",
            archs=(arch,),
        )  # fmt: skip
        assert error.hint is not None and "262144" in error.hint

    def test_too_many_stages(self) -> None:
        def make() -> PrimFunc:
            @T.prim_func
            def matmul(
                A: T.Tensor((512, 512), F16),
                B: T.Tensor((512, 512), F16),
                C: T.Tensor((512, 512), F32),
            ):
                with T.Kernel(2, 4, threads=128) as (bx, by):
                    A_shared = T.alloc_shared((128, 64), F16)
                    B_shared = T.alloc_shared((64, 256), F16)
                    C_local = T.alloc_fragment((128, 256), F32)
                    T.clear(C_local)
                    for k in T.Pipelined(8, num_stages=5):
                        T.copy(A[by * 128, k * 64], A_shared)
                        T.copy(B[k * 64, bx * 256], B_shared)
                        T.gemm(A_shared, B_shared, C_local)
                    T.copy(C_local, C[by * 128, bx * 256])

            return matmul

        error = fails(
            make, ResourceError, "for k in T.Pipelined(8, num_stages=5)", "5):",
            "shared memory: 245760 bytes needed, sm_90a allows 232448 per block",
            "^ keeps 5 slots of each buffer",
            "A_shared [128, 64] float16  16384 x 5 =  81920",
            "B_shared [64, 256] float16  32768 x 5 = 163840",
            archs=("sm_90a",),
        )  # fmt: skip
        assert error.hint == "num_stages=4 (196608 bytes)"


def annotated(make_layout: Callable[[], Any], scope: str = "fragment", threads: int = 128) -> Any:
    def make() -> PrimFunc:
        @T.prim_func
        def main(A: T.Tensor((64, 64), F32), B: T.Tensor((64, 64), F32)):
            with T.Kernel(1, threads=threads):
                if scope == "fragment":
                    tile = T.alloc_fragment((64, 64), F32)
                    T.annotate_layout({tile: make_layout()})
                    T.copy(A, tile)
                    T.copy(tile, B)
                else:
                    tile = T.alloc_shared((64, 64), F32)
                    T.annotate_layout({tile: make_layout()})
                    T.copy(A, tile)
                    T.copy(tile, B)

        return main

    return make


def rows(function: Callable[..., Any], shape: tuple[int, ...] = (64, 64)) -> Callable[[], Fragment]:
    return lambda: Fragment(list(shape), forward_fn=function)


class TestAnnotatedLayouts:
    @pytest.mark.parametrize(
        ("layout", "kind", "mentions"),
        [
            (rows(lambda i, j: (i, j), (64, 32)), ShapeError, ("[64, 64]", "[64, 32]")),
            (lambda: Layout([64, 64], lambda i, j: [j, i]), AnnotationError, ("needs a Fragment",)),
            (
                rows(lambda i, j: (i, j // 2)), LayoutError,
                ("elements (0, 0) and (0, 1) in one register of a thread",),
            ),
            (rows(lambda i, j: (i - 1, j)), LayoutError, ("element (0, 0) in thread -1",)),
            (rows(lambda i, j: (i, j - 1)), LayoutError, ("element (0, 0) in place -1",)),
            (
                rows(lambda i, j: (i * 4 + j // 16, j % 16)), LayoutError,
                ("names thread 255", "has 128 threads", "threads=256"),
            ),
            (
                rows(lambda i, j: ((i * 37 + 11) % 64, j)), LayoutError,
                ("cannot be inverted", "digits"),
            ),
            (
                rows(lambda i, j: (i, j * 2)), LayoutError,
                ("leaves some registers of some threads empty", "the same number of elements"),
            ),
            (rows(lambda i, j: (i * 2, j)), LayoutError, ("leaves some registers",)),
        ],
    )  # fmt: skip
    def test_of_a_fragment(
        self, layout: Callable[[], Any], kind: type[Error], mentions: tuple[str, ...]
    ) -> None:
        fails(
            annotated(layout), kind, "T.annotate_layout({tile: make_layout()})", None,
            "annotate_layout: ", "`tile`", *mentions,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("layout", "kind", "mention"),
        [
            (rows(lambda i, j: (i, j)), AnnotationError, "needs a Layout, got a Fragment"),
            (lambda: Layout([64, 32], lambda i, j: [j, i]), ShapeError, "[64, 32]"),
            (lambda: Layout([64, 64], lambda i, j: [i]), LayoutError, "(0, 0) and (0, 1)"),
            (lambda: Layout([64, 64], lambda i, j: [i * 64 + j - 5]), LayoutError, "place -5"),
        ],
    )
    def test_of_shared_memory(
        self, layout: Callable[[], Any], kind: type[Error], mention: str
    ) -> None:
        error = fails(
            annotated(layout, "shared"), kind, "T.annotate_layout({tile: make_layout()})",
            "{tile", "annotate_layout: `tile`" if kind is not LayoutError else "of `tile`", mention,
        )  # fmt: skip
        assert "T.alloc_shared((64, 64), F32)" in shown(error)

    @pytest.mark.parametrize(
        ("layout", "mentions"),
        [
            (rows(lambda i, j: (i, j), (64, 32)), ("the loops are [64, 64]", "[64, 32]")),
            (rows(lambda i, j: (i * 4 + j // 16, j % 16)), ("thread 255", "128 threads")),
            (rows(lambda i, j: ((i * 37 + 11) % 64, j)), ("cannot be inverted",)),
            (rows(lambda i, j: (i, j // 2)), ("iterations (0, 0) and (0, 1)", "one step")),
        ],
    )
    def test_of_a_loop(self, layout: Callable[[], Any], mentions: tuple[str, ...]) -> None:
        def make() -> PrimFunc:
            @T.prim_func
            def main(A: T.Tensor((64, 64), F32), B: T.Tensor((64, 64), F32)):
                with T.Kernel(1, threads=128):
                    for i, j in T.Parallel(64, 64, loop_layout=layout()):
                        B[i, j] = A[i, j]

            return main

        fails(
            make, LayoutError, "for i, j in T.Parallel(64, 64, loop_layout=layout())",
            "T.Parallel", "Parallel: ", *mentions, "try:",
        )  # fmt: skip

    def test_of_a_loop_of_unknown_length(self) -> None:
        def make() -> PrimFunc:
            n = T.dynamic("n")

            @T.prim_func
            def main(A: T.Tensor((n,), F32)):
                with T.Kernel(1, threads=64):
                    for i in T.Parallel(n, loop_layout=Fragment([64], lambda i: (i, 0))):
                        A[i] = 1.0

            return main

        fails(make, LayoutError, "for i in T.Parallel(n,", "T.Parallel", "constant extents")


class TestFragments:
    def test_in_a_loop_of_unknown_length(self) -> None:
        @T.macro
        def body(A, B):
            L = T.alloc_fragment((64,), F32)
            n = T.cast(A[0, 0], "int32")
            for i in T.Parallel(n):
                L[i] = A[0, i]
            T.copy(L, B[0, :])

        fails(
            with_body(body), ProgramError, "L[i] = A[0, i]", "L[i]",
            "the fragment `L` is indexed by `i`", "extent is symbolic", "shared buffer",
        )  # fmt: skip

    def test_an_element_outside_a_loop(self) -> None:
        @T.macro
        def body(A, B):
            L = T.alloc_fragment((64,), F32)
            T.clear(L)
            B[0, 0] = L[3]

        fails(
            with_body(body), ProgramError, "B[0, 0] = L[3]", None,
            "an element of the fragment `L`", "outside T.Parallel", "T.reduce_sum",
        )  # fmt: skip

    def test_allocated_inside_a_loop(self) -> None:
        @T.macro
        def body(A, B):
            for i in T.Parallel(64):
                L = T.alloc_fragment((4,), F32)
                L[0] = A[i, 0]
                B[i, 0] = L[0]

        error = fails(
            with_body(body), ProgramError, "L = T.alloc_fragment((4,), F32)", None,
            "the fragment `L` is allocated inside T.Parallel", "T.alloc_local",
        )  # fmt: skip
        assert any("T.Parallel(64)" in text for text in shown(error))


class TestWhatTheUnitLacks:
    @pytest.mark.parametrize(
        ("call", "unit"),
        [
            (lambda: T.cluster_sync(), "block clusters"),
            (lambda: T.tma_store_arrive(), "tensor memory accelerator"),
            (lambda: T.warpgroup_arrive(), "warp-group matrix unit"),
            (lambda: T.ptx_mma("float32"), "warp matrix unit"),
        ],
    )
    def test_operations(self, call: Callable[[], Any], unit: str) -> None:
        @T.macro
        def body(A, B):
            call()
            T.copy(A, B)

        fails(with_body(body), TargetError, "", None, f"the target `cuda` has no {unit}")

    def test_tile_operations(self) -> None:
        @T.macro
        def body(A, B):
            S = T.alloc_shared((64, 64), F16)
            C = T.alloc_tmem((64, 64), F32)
            T.copy(A, S)
            T.tcgen05_gemm(S, S, C)

        fails(
            with_body(body, dtype=F16), TargetError, "T.tcgen05_gemm(S, S, C)", "T.tcgen05_gemm",
            "has no tensor memory", "use T.gemm",
        )  # fmt: skip

    def test_memory(self) -> None:
        @T.macro
        def body(A, B):
            C = T.alloc_tmem((64, 64), F32)
            T.copy(A, B)

        fails(
            with_body(body), TargetError, "C = T.alloc_tmem(", "T.alloc_tmem", "`C`", "shared.tmem"
        )

    def test_intrinsics(self) -> None:
        @T.macro
        def body(A, B):
            for i, j in T.Parallel(64, 64):
                B[i, j] = T.call_intrin(F32, "tir.no_such", A[i, j])

        fails(with_body(body), TargetError, "T.call_intrin(", None, "no_such", "no such operation")

    def test_atomics_of_a_type(self) -> None:
        @T.macro
        def body(A, B):
            T.atomic_add(B[0, 0], 1)

        fails(
            with_body(body, dtype="float8_e4m3fn"), TargetError, "T.atomic_add(B[0, 0], 1)",
            "T.atomic_add", "float8_e4m3fn",
        )  # fmt: skip

    def test_generators(self) -> None:
        @T.macro
        def body(A, B):
            T.rng_init(1, generator="curandStateMRG32k3a_t")
            B[0, 0] = T.rng_rand_float()

        fails(with_body(body), TargetError, "T.rng_init(", "T.rng_init", "curandStateMRG32k3a_t")

    @pytest.mark.parametrize("size", [3, 32])
    def test_sizes_of_asynchronous_copies(self, size: int) -> None:
        @T.macro
        def body(A, B):
            S = T.alloc_shared((64,), F32)
            T.ptx_cp_async(T.address_of(S[0]), T.address_of(A[0, 0]), size)

        fails(
            with_body(body), TargetError, "T.ptx_cp_async(", "T.ptx_cp_async", f"{size} bytes",
            "4, 8 or 16",
        )  # fmt: skip


@T.macro
def calls_undefined(A, B):
    for i, j in T.Parallel(64, 64):
        B[i, j] = T.call_extern("float32", "no_such_function", A[i, j])


@T.macro
def imports_broken_text(A, B):
    T.import_source("__device__ float once(float x) {\n  return x;\n}\n"
                    "__device__ float twice(float x) { return 2 * x }")  # fmt: skip
    for i, j in T.Parallel(64, 64):
        B[i, j] = T.call_extern("float32", "twice", A[i, j])


def compiles(make: Callable[[], PrimFunc], place: str) -> ToolchainError:
    """The error of compiling for a device, by either backend, or for the emulator."""
    backend = "nvrtc" if place == "nvrtc" else "tvm_ffi"
    with env.scope(TILELANG_EMULATE=place == "emulator"), pytest.raises(ToolchainError) as caught:
        tilelang.compile(make(), target="cuda -arch=sm_80", execution_backend=backend)
    return caught.value


PLACES = [
    pytest.param("tvm_ffi", marks=needs_nvrtc), pytest.param("nvrtc", marks=needs_nvrtc), "emulator"
]  # fmt: skip


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("place", PLACES)
class TestDeviceText:
    def test_a_function_that_is_not_defined(self, place: str) -> None:
        error = compiles(with_body(calls_undefined), place)
        assert_located(
            error, 'T.call_extern("float32", "no_such_function", A[i, j])', "no_such_function",
            "compiler failed", "define `no_such_function` in the text of a T.import_source",
        )  # fmt: skip

    def test_a_mistake_in_imported_text(self, place: str) -> None:
        error = compiles(with_body(imports_broken_text), place)
        assert_located(
            error, 'T.import_source("__device__ float once', "T.import_source",
            "compiler failed: expected", "return 2 * x }", "correct the source text",
        )  # fmt: skip

    def test_a_mistake_in_the_prelude_of_a_kernel(self, place: str) -> None:
        def make() -> PrimFunc:
            @T.prim_func
            def main(A: T.Tensor((64,), F32)):
                with T.Kernel(1, prelude="static int 5;"):
                    A[0] = 1.0

            return main

        error = compiles(make, place)
        assert_located(error, 'with T.Kernel(1, prelude="static int 5;")', None, "correct")


@needs_nvrtc
@pytest.mark.usefixtures("own_cache")
def test_flags_that_nvrtc_does_not_know() -> None:
    with pytest.raises(ToolchainError) as caught:
        tilelang.compile(
            with_body(move)(), target="cuda -arch=sm_80", compile_flags=["--no-such-flag"]
        )
    text = str(caught.value)
    assert "--no-such-flag" in text and "remove compile_flags ['--no-such-flag']" in text


def add_one() -> PrimFunc:
    m = T.dynamic("m")

    @T.prim_func
    def add(A: T.Tensor((m, 64), F32), B: T.Tensor((m, 64), F32)):
        with T.Kernel(1, m, threads=32) as (_, row):
            for j in T.Parallel(64):
                B[row, j] = A[row, j] + 1

    return add


A_TEXT = "add(): argument 1 `A`: expected float32[m, 64] on cuda"
B_TEXT = "add(): argument 2 `B`: expected float32[m, 64] on cuda"


def refused(kernel: Any, *args: Any) -> str:
    """The text of the error with which a call is refused."""
    with pytest.raises((ValueError, TypeError)) as caught:
        kernel(*args)
    text = str(caught.value)
    assert "tilelang/" not in text.replace(__file__, ""), text
    assert "<launcher" not in text, text
    return text


@needs_nvrtc
@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("backend", ["tvm_ffi", "nvrtc"])
def test_arguments_that_are_refused_without_a_driver(backend: str) -> None:
    torch = pytest.importorskip("torch")
    kernel = tilelang.compile(add_one(), target="cuda -arch=sm_80", execution_backend=backend)
    x = torch.zeros(4, 64)
    assert f"{A_TEXT}, got float32[4, 64] on cpu" in refused(kernel, x, x)
    assert f"{A_TEXT}, got None" in refused(kernel, None, x)
    assert "add(): expected 2 arguments (A, B), got 1" in refused(kernel, x)


@needs_nvrtc
@pytest.mark.usefixtures("own_cache")
class TestCallsOnADriverThatIsPlayed:
    @pytest.fixture
    def driver(self, tmp_path: Path) -> FakeDriver:
        return FakeDriver(tmp_path)

    @pytest.fixture
    def kernel(self, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Its library opens the played driver instead of libcuda."""
        driver.reset(2)  # A and B: the grid alone knows m
        flags = (*cuda_build._HOST_FLAGS, f'-DTL_CUDA_LIBRARY="{driver.path}"')
        monkeypatch.setattr(cuda_build, "_HOST_FLAGS", flags)
        return tilelang.compile(add_one(), target="cuda -arch=sm_80")

    def tensor(self, rows: int = 4, device: int = 0, offset: int = 0, dtype: str = F32) -> Any:
        return on_cuda(aligned(rows * 64, dtype, offset).reshape(rows, 64), device)

    def test_what_fits_is_launched(self, kernel: Any, driver: FakeDriver) -> None:
        kernel(self.tensor(), self.tensor())
        assert any("(1 4 1) (32 1 1)" in line for line in driver.log("cuLaunchKernel"))

    def test_a_pointer_that_is_not_aligned(self, kernel: Any) -> None:
        text = refused(kernel, self.tensor(), self.tensor(offset=4))
        assert f"{B_TEXT} at an address divisible by 16" in text

    def test_a_tensor_of_the_host(self, kernel: Any) -> None:
        host = aligned(256).reshape(4, 64)
        assert f"{B_TEXT}, got float32[4, 64] on cpu" in refused(kernel, self.tensor(), host)

    def test_a_tensor_of_another_device(self, kernel: Any) -> None:
        text = refused(kernel, self.tensor(), self.tensor(device=1))
        assert f"{B_TEXT}:0 as the tensors before it, got float32[4, 64] on cuda:1" in text

    def test_a_tensor_that_is_not_contiguous(self, kernel: Any) -> None:
        turned = on_cuda(aligned(256).reshape(64, 4).T)
        text = refused(kernel, turned, self.tensor())
        assert A_TEXT in text and "contiguous strides (64, 1), got strides (1, 4)" in text

    def test_another_element_type(self, kernel: Any) -> None:
        text = refused(kernel, self.tensor(), self.tensor(dtype="float16"))
        assert f"{B_TEXT}, got float16[4, 64]" in text

    def test_too_many_blocks(self, kernel: Any, driver: FakeDriver) -> None:
        many = self.tensor(rows=65536)
        with pytest.raises(
            RuntimeError, match=r"at most \(2147483647, 65535, 65535\) blocks"
        ) as got:
            kernel(many, many)
        text = str(got.value)
        assert text.startswith("add(): kernel add_kernel (test_cuda.py:") and "65536" in text
        assert not driver.log("cuLaunchKernel")

    def test_a_driver_that_refuses(self, kernel: Any, driver: FakeDriver) -> None:
        driver.fail("cuLaunchKernel", 2)
        with pytest.raises(MemoryError) as caught:
            kernel(self.tensor(), self.tensor())
        text = str(caught.value)
        assert "kernel add_kernel (test_cuda.py:" in text and "OUT_OF_MEMORY" in text


@needs_nvrtc
@pytest.mark.usefixtures("own_cache")
def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (*cuda_build._HOST_FLAGS, '-DTL_CUDA_LIBRARY="libno_such_driver.so"')
    monkeypatch.setattr(cuda_build, "_HOST_FLAGS", flags)
    kernel = tilelang.compile(add_one(), target="cuda -arch=sm_80")
    x = on_cuda(aligned(256).reshape(4, 64))
    with pytest.raises(RuntimeError) as caught:
        kernel(x, x)
    text = str(caught.value)
    assert text.startswith("add(): this machine has no CUDA driver (")
    assert "install NVIDIA's driver, or compile for target='c'" in text


@pytest.mark.usefixtures("own_cache")
def test_too_many_blocks_on_the_emulator() -> None:
    with env.scope(TILELANG_EMULATE=True):
        kernel = tilelang.compile(add_one(), target="cuda -arch=sm_80")
        x = np.zeros((65536, 64), np.float32)
        with pytest.raises(RuntimeError, match="at most 2147483647 x 65535 x 65535") as caught:
            kernel(x, x)
        assert "add_kernel" in str(caught.value)
