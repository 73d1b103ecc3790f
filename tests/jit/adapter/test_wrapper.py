"""Library texts: what they contain, and what they do.

CPU libraries are compiled and called. Host code for CUDA and HIP is compiled against a stand-in for
the run-time API that writes calls down; host code in Python runs on a stand-in for the driver
package.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilelang.language as T
from tilelang.codegen.host_c import callee_declaration
from tilelang.engine.toolchain import find_compiler_command
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Call, StringImm, Var, as_expr
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Bind, Evaluate, Seq, seq
from tilelang.jit.adapter import wrapper
from tilelang.jit.adapter.library import LibraryGenerator
from tilelang.jit.adapter.wrapper_facts import (
    TENSOR_MAP_IM2COL,
    TENSOR_MAP_TILED,
    kernel_parameter_names,
)
from tilelang.target.target import Target

PAGES = Path(__file__).parents[4] / "shared" / "seeds"


@pytest.mark.skipif(not PAGES.exists(), reason="the reference pages are not beside the repository")
def test_templates_are_those_of_the_reference_page() -> None:
    (page,) = PAGES.glob("004_*.txt")
    found = re.findall(
        r'^\.\. py:data:: (\w+)\n   :value: Multiline-String\n.*?"""\n(.*?)\n      """',
        page.read_text(), re.S | re.M,
    )  # fmt: skip
    assert len(found) == 12
    for name, text in found:
        lines = [line[6:] for line in text.split("\n")]
        assert getattr(wrapper, name) == "\n" + "\n".join(lines) + "\n", name


class TestBase:
    def test_wrap_is_abstract(self) -> None:
        with pytest.raises(TypeError):
            wrapper.BaseWrapper()  # type: ignore[abstract]
        assert issubclass(wrapper.TLWrapper, wrapper.BaseWrapper)
        assert wrapper.logger.name == "tilelang.jit.adapter.wrapper"

    def test_without_a_module(self) -> None:
        with pytest.raises(AssertionError, match="assign_optimized_module"):
            wrapper.TLWrapper(Target("c")).wrap("")

    def test_other_targets(self) -> None:
        made = wrapper.TLWrapper("llvm")
        made.assign_optimized_module(IRModule(PrimFunc("f", (), Seq(()))))
        with pytest.raises(ValueError, match="no library can be made for the target llvm"):
            made.wrap("")
        launcher = wrapper.TLPyWrapper("c")
        launcher.assign_optimized_module(IRModule(PrimFunc("f", (), Seq(()))))
        with pytest.raises(ValueError, match="cuda"):
            launcher.wrap("")

    def test_metal_text_stays(self) -> None:
        made = wrapper.TLWrapper("metal")
        made.assign_optimized_module(IRModule(PrimFunc("f", (), Seq(()))))
        assert made.wrap("kernel void f() {}") == "kernel void f() {}"


class TestKernelDeclarations:
    def test_names(self) -> None:
        code = """
        static void other(int a);
        extern "C" __global__ void __launch_bounds__(128, 1) k(
            const float* __restrict__ A, __grid_constant__ const CUtensorMap A_desc,
            std::pair<int, int> p, int (&x)[3], half_t *B, unsigned int n) {"""
        assert kernel_parameter_names(code, "other") == ["a"]
        names = kernel_parameter_names(code.replace("int (&x)[3], ", ""), "k")
        assert names == ["A", "A_desc", "p", "B", "n"]

    def test_none(self) -> None:
        assert kernel_parameter_names("void k(void) {}", "k") == []
        assert kernel_parameter_names("void k() {}", "k") == []
        with pytest.raises(AssertionError, match="declares no kernel `k`"):
            kernel_parameter_names("void kk(int a) {}", "k")


# -- CPU -----------------------------------------------------------------------------------------


def cpu_library(functions: dict[str, tuple[PrimFunc, str]]) -> tuple[str, Any]:
    """lib_code, and the open library, of host functions with the given C bodies."""
    module = IRModule({name: func for name, (func, _) in functions.items()})
    source = '#include "fault.h"\n' + "\n".join(
        f"{callee_declaration(func, name + '_host')} {{ {body} }}"
        for name, (func, body) in functions.items()
    )
    made = wrapper.TLCPUSourceWrapper(module, source, Target("c"))
    generator = LibraryGenerator(Target("c"))
    assert made.lib_code is not None
    assert made.lib_code.startswith(source)
    generator.update_lib_code(made.lib_code)
    generator.compile_lib()
    return made.lib_code, generator.load_lib()


class TestCPU:
    def test_arguments_then_symbols_of_shapes_then_of_strides(self) -> None:
        s, m, n = Var("s", "int64"), Var("m", "int16"), Var("n", "int32")
        a = Buffer("A", (m, n), "float16", strides=(s, 1))
        func = PrimFunc("k", (a, Var("x", "float64"), Buffer("out", (n,), "int64")), Seq(()))
        module = IRModule(func)
        made = wrapper.TLCPUSourceWrapper(
            module, f"{callee_declaration(func, 'k')} {{ return 0; }}", "c"
        )
        assert made.get_dynamic_symbolic_set(func) == [
            ("m", "int16"),
            ("n", "int32"),
            ("s", "int64"),
        ]
        assert made.lib_code is not None
        head = re.search(r"int32_t call\((.*)\)", made.lib_code)
        assert head is not None
        assert head.group(1) == (
            "tl_float16 *A, double x, int64_t *out, int16_t m, int32_t n, int64_t s"
        )
        assert made.prim_func is func
        assert made.function_names == ["k"]

    def test_calls_pass_values_through(self) -> None:
        n = Var("n", "int32")
        func = PrimFunc(
            "k", (Buffer("out", (n,), "float64"), Var("x", "float32"), Var("b", "bool")), Seq(())
        )
        _, library = cpu_library({"k": (func, "((double *)out)[n - 1] = b ? x : -x; return 0;")})
        out = np.zeros(3)
        code = library.call(
            ctypes.c_void_p(out.ctypes.data),
            ctypes.c_float(1.5),
            ctypes.c_bool(False),
            ctypes.c_int32(3),
        )
        assert code == 0
        assert out.tolist() == [0, 0, -1.5]
        assert library.get_last_error() == b""

    def test_several_functions_run_until_one_fails(self) -> None:
        x = Var("x", "int32")
        out = Buffer("out", (2,), "int32")
        first = PrimFunc("main", (out, x), Seq(()))
        second = PrimFunc("second", (Buffer("out", (2,), "int32"),), Seq(()))
        code, library = cpu_library(
            {
                "main": (first, "((int32_t *)out)[0] = 1; return x;"),
                "second": (second, "((int32_t *)out)[1] = 1; return 0;"),
            }
        )
        for value, wanted in ((0, [1, 1]), (1, [1, 0])):
            given = np.zeros(2, np.int32)
            assert library.call(ctypes.c_void_p(given.ctypes.data), ctypes.c_int32(value)) == value
            assert given.tolist() == wanted
        assert b"out of memory" in library.get_last_error()
        assert code.count("int32_t call(") == 1

    def test_names_that_c_or_the_library_has(self) -> None:
        names = ("register", "call", "k_host", "int32_t", "tl_last_code")
        func = PrimFunc("k", tuple(Var(n, "int32") for n in names), Seq(()))
        module = IRModule(func)
        parameters = ", ".join(f"int32_t p{i}" for i in range(len(names)))
        body = "return 100 * p0 + 10 * p2 + p4;"
        source = f"#include <stdint.h>\nint32_t k_host({parameters}) {{ {body} }}\n"
        made = wrapper.TLCPUSourceWrapper(module, source, "c")
        generator = LibraryGenerator(Target("c"))
        assert made.lib_code is not None
        generator.update_lib_code(made.lib_code)
        generator.compile_lib()
        assert generator.load_lib().call(*map(ctypes.c_int32, range(1, 6))) == 135

    def test_every_element_type_has_a_name_in_c(self) -> None:
        kinds = (
            "bool", "int4", "int8", "uint16", "int64", "uint64", "float16", "bfloat16",
            "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "float64",
        )  # fmt: skip
        func = PrimFunc("k", tuple(Buffer(f"p_{k}", (4,), k) for k in kinds), Seq(()))
        code, library = cpu_library({"k": (func, "return 0;")})
        assert "_Bool *p_bool, uint8_t *p_int4" in code
        assert library.call(*[None] * len(func.params)) == 0

    def test_sources_that_do_not_fit(self) -> None:
        module = IRModule(PrimFunc("k", (Var("x", "int32"),), Seq(())))
        with pytest.raises(AssertionError, match="declares no kernel"):
            wrapper.TLCPUSourceWrapper(module, "int other(int x);", "c")
        with pytest.raises(AssertionError, match="2 parameters"):
            wrapper.TLCPUSourceWrapper(module, "int k_host(int x, int y);", "c")
        with pytest.raises(AssertionError, match="no function"):
            wrapper.TLCPUSourceWrapper(IRModule({}), "", "c")

    def test_one_name_with_two_dtypes(self) -> None:
        func = PrimFunc(
            "k", (Buffer("A", (Var("n", "int32"), Var("n", "int64")), "int8"),), Seq(())
        )
        made = wrapper.TLCPUSourceWrapper.__new__(wrapper.TLCPUSourceWrapper)
        with pytest.raises(AssertionError, match="both int32 and int64"):
            made.get_dynamic_symbolic_set(func)


# -- CUDA and HIP --------------------------------------------------------------------------------


def two_launches() -> PrimFunc:
    n = T.dynamic("n")

    @T.prim_func
    def main(A: T.Tensor((n, 64), "float16"), s: T.float32, B: T.Tensor((n,), "float32")):  # type: ignore[valid-type]
        with T.Kernel(T.ceildiv(n, 32), 2, threads=(64, 2)) as (bx, by):
            S = T.alloc_shared((32, 64), "float16")
            S[0, 0] = A[bx, by]
            B[bx] = s
        with T.Kernel(4, threads=128) as bx:
            T.annotate_l2_hit_ratio({B: 0.5})
            B[bx] = B[bx] + 1.0

    return main


DEVICE = textwrap.dedent("""
    typedef short half_t;
    void main_kernel(half_t* A, float* B, int n, float s) {}
    void main_kernel_1(float *B, int n) {}
    """)
# Types and functions of the run-time API; each call appends a line to a log.
STAND_IN = Path(__file__).with_name("runtime_stand_in.h").read_text()


def run_host_code(text: str, folder: Path, runtime: str = "cuda") -> Any:
    """The library that `text` becomes with the stand-in; `<<<...>>>` becomes a logged call."""
    stand_in = STAND_IN.replace("@rt@", runtime)
    (folder / "hip").mkdir(exist_ok=True)
    for name in ("cuda.h", "cuda_runtime.h", "hip/hip_runtime.h"):
        (folder / name).write_text(stand_in)
    text = re.sub(r"(\w+)<<<(.*)>>>\(", r'launch("\1", \2), \1(', text)
    (folder / "host.cpp").write_text(
        "#include <cuda.h>\n" + text
        if runtime == "cuda"
        else "#include <hip/hip_runtime.h>\n" + text
    )
    path = folder / "host.so"
    compiler = shutil.which("g++") or shutil.which("clang++") or find_compiler_command()[0]
    subprocess.run(
        [
            compiler,
            "-std=c++17",
            "-w",
            "-shared",
            "-fPIC",
            f"-I{folder}",
            str(folder / "host.cpp"),
            "-o",
            str(path),
            "-lstdc++",
        ],
        check=True,
    )
    library = ctypes.CDLL(str(path))
    library.log_text.restype = library.get_last_error.restype = ctypes.c_char_p
    return library


def log_of(library: Any) -> list[str]:
    lines = library.log_text().decode().splitlines()
    library.log_clear()
    return lines


def wrapped(
    func: PrimFunc, source: str, cls: Callable[..., Any] = wrapper.TLCUDASourceWrapper
) -> Any:
    module = IRModule(func)
    return cls(module, source, "cuda", module, module, None)


@pytest.fixture(scope="module")
def made() -> Any:
    return wrapped(two_launches(), DEVICE)


class TestCUDA:
    def test_facts(self, made: Any) -> None:
        assert made.function_names == ["main_kernel", "main_kernel_1"]
        assert made.block_info == {"main_kernel": [64, 2, 1], "main_kernel_1": [128, 1, 1]}
        assert made.grid_info["main_kernel_1"] == [4, 1, 1]
        assert made.dynamic_smem_buf == {"main_kernel": 4096, "main_kernel_1": None}
        assert made.use_cooperative_groups == {"main_kernel": False, "main_kernel_1": False}
        assert made.l2_persistent_map == {"main_kernel_1": {"B": (0.5, None)}}
        assert made.tma_descriptor_args == {}
        assert made.prim_func is made.host_func is made.device_func
        assert made.is_tma_descriptor_arg("A")
        assert not made.is_tma_descriptor_arg("s")
        assert made.get_stream_type() == {
            "name": "stream=cudaStreamDefault",
            "type": "cudaStream_t",
        }

    def test_the_library_does_what_it_says(self, made: Any, tmp_path: Path) -> None:
        library = run_host_code(made.lib_code, tmp_path)
        assert library.init() == 0
        assert log_of(library) == ["attribute 4096"]
        arguments = [
            ctypes.c_void_p(8),
            ctypes.c_float(2),
            ctypes.c_void_p(16),
            ctypes.c_int(65),
            None,
        ]
        assert library.call(*arguments) == 0
        assert log_of(library) == [
            "main_kernel 3,2,1 64,2,1 4096",  # its launch has no window
            "limit 32", "window 32 0.5",  # 260 bytes, at most what the device has
            "main_kernel_1 4,1,1 128,1,1 0",
            "window 0 0.5", "reset", "limit 77",
        ]  # fmt: skip
        library.fail_with(9)
        assert library.call(*arguments) == -1
        assert library.get_last_error() == b"main_kernel: nine"

    def test_text_of_call(self, made: Any) -> None:
        head = re.search(r'extern "C" int call\((.*)\) \{', made.lib_code)
        assert head is not None
        assert head.group(1) == (
            "half_t* __restrict__ A, float s, float* __restrict__ B, int n, "
            "cudaStream_t stream=cudaStreamDefault"
        )
        assert (
            "main_kernel<<<dim3((n + 31) / 32, 2, 1), dim3(64, 2, 1), 4096, stream>>>(A, B, n, s);"
            in made.lib_code
        )

    def test_types_of_our_headers_get_the_names_of_the_call(self, tmp_path: Path) -> None:
        (tmp_path / "types.h").write_text("using tl_float16 = unsigned short;\n")
        ours = '#include "types.h"\n' + "\n".join(
            line.replace("half_t", "tl_float16")
            for line in DEVICE.splitlines()
            if "typedef" not in line
        )
        text = wrapped(two_launches(), ours).lib_code
        assert text.count("using half_t = tl_float16;") == 1
        assert "bfloat16_t" not in text
        assert run_host_code(text, tmp_path).init() == 0  # it compiles
        assert "using" not in wrapped(two_launches(), DEVICE).lib_code

    def test_parameters_that_may_alias(self) -> None:
        func = two_launches().with_attribute("tilelang_may_alias", ("A",))
        assert "half_t* A, float s, float* __restrict__ B" in wrapped(func, DEVICE).lib_code

    def test_a_declaration_that_does_not_fit(self) -> None:
        with pytest.raises(AssertionError, match="`main_kernel_1` is declared with"):
            wrapped(two_launches(), DEVICE.replace("float *B, int n", "int n"))
        with pytest.raises(AssertionError, match=r"\['C'\] is unknown"):
            wrapped(two_launches(), DEVICE.replace("float *B, int n", "float *B, int C"))
        with pytest.raises(AssertionError, match="declares no kernel `main_kernel_1`"):
            wrapped(two_launches(), DEVICE.replace("_1", "_2"))

    def test_modules_without_what_is_needed(self) -> None:
        empty = PrimFunc("f", (), Seq(()))
        with pytest.raises(AssertionError, match="launches no kernel"):
            wrapped(empty, "")
        two = IRModule({"f": empty, "g": replace(empty, name="g")})
        with pytest.raises(AssertionError, match="2 functions, expected one"):
            wrapper.TLCUDASourceWrapper(two, "", "cuda", two, two)
        with pytest.raises(ValueError, match="none is called `main`"):
            wrapper.TLCPUSourceWrapper(two, "int f() {} int g() {}", "c")

    def test_init_that_fails(self, tmp_path: Path) -> None:
        @T.prim_func
        def main(A: T.Tensor((4,), "float32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                S = T.alloc_shared((60000,), "float32")
                A[0] = S[0]

        library = run_host_code(wrapped(main, "void main_kernel(float* A) {}\n").lib_code, tmp_path)
        assert library.init() == -1
        assert library.get_last_error().endswith(b"240000 with error: nine")

    def test_host_statements_and_cooperative_launches(self, tmp_path: Path) -> None:
        @T.prim_func
        def main(A: T.Tensor((64,), "int32"), n: T.int32):  # type: ignore[valid-type]
            W = T.alloc_global((n, 2), "float32")
            for i in T.serial(1, n):
                if i % 2 == 1:
                    with T.Kernel(i, threads=32) as b:
                        W[b, 0] = 1.0
                        T.sync_grid()
                        A[b] = T.cast(W[b, 0], "int32") + n

        source = "void main_kernel(int* A, int n, float* W) {}"
        made = wrapped(main, source.replace("W", "W"))
        assert made.use_cooperative_groups == {"main_kernel": True}
        names = [p.name for p in made.informations()["main_kernel"]["function_params"]]
        order = ", ".join({"A": "int* A", "W": "void* W", "n": "int n"}[name] for name in names)
        library = run_host_code(wrapped(main, f"void main_kernel({order}) {{}}").lib_code, tmp_path)
        assert library.call(ctypes.c_void_p(8), ctypes.c_int(4), None) == 0
        lines = log_of(library)
        assert lines[0] == "malloc 32"
        assert [line.rpartition(" ")[0] for line in lines[1:3]] == [
            "cooperative 1,1,1 32,1,1 0",
            "cooperative 3,1,1 32,1,1 0",
        ]
        assert lines[3:] == ["free"]

    def test_sharedmemory_of_hip(self, tmp_path: Path) -> None:
        func = two_launches()
        body = func.body.stmts  # without the window, which HIP has not
        first = replace(func, body=seq([body[0], body[0]]))
        source = DEVICE.replace("float *B, int n", "half_t* A, float* B, int n, float s")
        made = wrapped(first, source, wrapper.TLHIPSourceWrapper)
        library = run_host_code(made.lib_code, tmp_path, "hip")
        assert made.get_stream_type() == {"name": "stream=hipStreamDefault", "type": "hipStream_t"}
        assert library.init() == 0
        made.dynamic_smem_buf = {"main_kernel": 4096, "main_kernel_1": 70000}
        folder = tmp_path / "more"
        folder.mkdir()
        library = run_host_code(DEVICE + made._prelude() + made.get_init_func(), folder, "hip")
        assert library.init() == -1  # the second kernel is looked at as well
        assert b"main_kernel_1 to 70000" in library.get_last_error()
        with pytest.raises(ValueError, match="L2"):
            wrapped(func, DEVICE, wrapper.TLHIPSourceWrapper)


def with_tensor_maps(records: list[tuple[str, str, list[Any]]], packed: bool = False) -> PrimFunc:
    """A kernel that is given tensor maps, made by the host from (creator, handle, values)."""
    A = Buffer("A", (64, 32), "float16")
    handles = [Var(name, "handle") for _, name, _ in records]

    @T.prim_func
    def inner(n: T.int32):  # type: ignore[valid-type]
        with T.Kernel(2, threads=128):
            T.call_extern("handle", "use", *handles, n)

    makers = []
    for (creator, _, values), handle in zip(records, handles):
        args = tuple(as_expr(A.data if v == "A" else v) for v in values)
        if packed:
            makers.append(
                Evaluate(Call("call_packed", (StringImm(creator), handle, *args), handle.dtype))
            )
        else:
            makers.append(Bind(handle, Call(creator, args, handle.dtype)))
    return PrimFunc("main", (A, *inner.params), seq([*makers, inner.body]))


TILED = [6, 2, "A", 32, 64, 2, 64, 16, 8, 1, 1, 0, 3, 2, 0]
IM2COL = [6, 4, "A", 8, 9, 10, 11, 2, 3, 4, 5, 1, 1, 1, 1, -1, -2, 5, 6, 99, 64, 0, 3, 2, 0]


def tma_source(*handles: str) -> str:
    params = ", ".join([*(f"CUtensorMap {h}" for h in handles), "int n"])
    return f"typedef short half_t;\nvoid main_kernel({params}) {{}}\n"


class TestTensorMaps:
    @pytest.mark.parametrize("packed", [False, True])
    def test_both_kinds(self, tmp_path: Path, packed: bool) -> None:
        records = [(TENSOR_MAP_TILED, "A_desc", TILED), (TENSOR_MAP_IM2COL, "A_desc_1", IM2COL)]
        made = wrapped(with_tensor_maps(records, packed), tma_source("A_desc", "A_desc_1"))
        assert made.tma_descriptor_args is not None
        creator, handle, *values = made.tma_descriptor_args["A_desc"]
        assert (creator, handle.name, len(values)) == (TENSOR_MAP_TILED, "A_desc", len(TILED))
        library = run_host_code(made.lib_code, tmp_path)
        assert library.call(ctypes.c_void_p(8), ctypes.c_int(1), None) == 0
        assert log_of(library) == [
            "tiled 6 2 64 64 16 1 0320",  # the first stride is left out
            "im2col 6 4 8 -16 64 99",
            "main_kernel 2,1,1 128,1,1 0",
        ]
        assert library.call(None, ctypes.c_int(1), None) == -1
        assert b"A_desc" in library.get_last_error()

    def test_each_descriptor_is_made_once_and_asked_for_by_name(self) -> None:
        made = wrapped(
            with_tensor_maps([(TENSOR_MAP_TILED, "A_desc", TILED)]), tma_source("A_desc")
        )
        handle = made.tma_descriptor_args["A_desc"][1]
        text = made.generate_tma_descriptor_args({"A_desc": "A"}, {"A_desc": handle})
        assert text.count("CUtensorMap A_desc;") == 1
        assert made.generate_tma_descriptor_args({}, {}) == ""
        with pytest.raises(ValueError, match="no tensor map `B_desc`"):
            made.generate_tma_descriptor_args({"B_desc": "B"}, {"B_desc": Var("B_desc", "handle")})

    @pytest.mark.parametrize(
        "values", [TILED[:2], TILED[:-1], [6, 0, "A"], [6, Var("r", "int32"), "A"], [6, -1, "A"]]
    )
    def test_records_with_too_little(self, values: list[Any]) -> None:
        with pytest.raises(ValueError, match="A_desc"):
            wrapped(with_tensor_maps([(TENSOR_MAP_TILED, "A_desc", values)]), tma_source("A_desc"))


# -- nvrtc ---------------------------------------------------------------------------------------


class Recorder:
    """Stands in for `cuda.bindings.driver`: functions write down their calls and succeed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.status = 0
        self.module = types.ModuleType("cuda.bindings.driver")
        self.module.__getattr__ = self.attribute  # type: ignore[method-assign]

    def attribute(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.startswith("cu"):
            return lambda *args: self.call(name, args)
        if name == "CUresult":
            return types.SimpleNamespace(CUDA_SUCCESS=0)
        if name in ("CUlaunchConfig", "CUlaunchAttribute", "CUstreamAttrValue"):
            return lambda: types.SimpleNamespace(
                value=types.SimpleNamespace(), accessPolicyWindow=types.SimpleNamespace()
            )
        return _Constants(name)

    def call(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if name == "cuLaunchKernelEx":
            config, kernel, (values, kinds), _ = args
            grid = (config.gridDimX, config.gridDimY, config.gridDimZ)
            args = (
                kernel,
                grid,
                config.blockDimX,
                config.sharedMemBytes,
                values,
                kinds,
                hasattr(config, "attrs"),
            )
        if name == "cuStreamSetAttribute":
            args = (args[2].accessPolicyWindow.num_bytes,)
        self.calls.append((name, args))
        results = {"cuDeviceGetAttribute": 32, "cuCtxGetLimit": 77, "cuMemAllocAsync": 4096}
        return (self.status, results.get(name, "made"))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [args for called, args in self.calls if called == name]


class _Constants:
    """An enumeration, or its conversion: gives back what it is called with."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> str:
        return name

    def __call__(self, value: Any) -> Any:
        return value


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    package, bindings = types.ModuleType("cuda"), types.ModuleType("cuda.bindings")
    package.bindings, bindings.driver = bindings, recorder.module  # type: ignore[attr-defined]
    for name, module in (
        ("cuda", package),
        ("cuda.bindings", bindings),
        ("cuda.bindings.driver", recorder.module),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return recorder


class FakeTensor:
    """A tensor on device 3."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.device = types.SimpleNamespace(index=3)

    def data_ptr(self) -> int:
        return self.address


def launcher_of(func: PrimFunc, source: str) -> tuple[Any, list[str], str]:
    """The function `call` of the Python text, the names of the kernels, and the text."""
    made = wrapper.TLPyWrapper("cuda")
    module = IRModule(func)
    made.assign_optimized_module(module)
    made.assign_host_module(module)
    made.assign_device_module(module)
    made.assign_pass_configs({})
    text, names = made.wrap(source)
    scope: dict[str, Any] = {}
    exec(compile(text, "<launcher>", "exec"), scope)
    assert scope["_function_names"] == names
    return scope["call"], names, text


class TestNVRTC:
    def test_launches(self, driver: Recorder) -> None:
        call, names, _ = launcher_of(two_launches(), DEVICE)
        call({n: n for n in names}, FakeTensor(8), 2.0, FakeTensor(16), 65, stream=5)
        first, second = driver.named("cuLaunchKernelEx")
        pointer = ctypes.c_void_p
        assert first == (
            "main_kernel", (3, 2, 1), 64, 4096, (8, 16, 65, 2.0),
            (pointer, pointer, ctypes.c_int32, ctypes.c_float), False,
        )  # fmt: skip
        assert second[:2] == ("main_kernel_1", (4, 1, 1))
        assert [a[1:2] + a[3:] for a in driver.named("cuKernelSetAttribute")] == [(4096, 3), (0, 3)]

    def test_windows_are_closed_after_their_kernel_and_reset_at_the_end(
        self, driver: Recorder
    ) -> None:
        call, names, text = launcher_of(two_launches(), DEVICE)
        call({n: n for n in names}, FakeTensor(8), 2.0, FakeTensor(16), 65)
        order = [
            n
            for n, _ in driver.calls
            if n in ("cuLaunchKernelEx", "cuStreamSetAttribute", "cuCtxResetPersistingL2Cache")
        ]
        assert order == [
            "cuLaunchKernelEx", "cuStreamSetAttribute", "cuLaunchKernelEx", "cuStreamSetAttribute",
            "cuCtxResetPersistingL2Cache",
        ]  # fmt: skip
        assert driver.named("cuStreamSetAttribute") == [(32,), (0,)]
        assert [a[1] for a in driver.named("cuCtxSetLimit")] == [32, 77]
        assert text.count("cuCtxResetPersistingL2Cache") == 1

    def test_failures(self, driver: Recorder) -> None:
        call, names, _ = launcher_of(two_launches(), DEVICE)
        driver.status = 1
        with pytest.raises(RuntimeError):
            call({n: n for n in names}, FakeTensor(8), 2.0, FakeTensor(16), 65)

    def test_tensor_maps_come_first_and_once(self, driver: Recorder) -> None:
        records = [(TENSOR_MAP_TILED, "A_desc", TILED), (TENSOR_MAP_IM2COL, "A_desc_1", IM2COL)]
        func = with_tensor_maps(records)
        launch = func.body.stmts[-1]
        func = replace(func, body=seq([*func.body.stmts, launch]))
        source = tma_source("A_desc", "A_desc_1")
        call, names, text = launcher_of(
            func, source + source.replace("main_kernel", "main_kernel_1")
        )
        call({n: n for n in names}, FakeTensor(8), 7)
        assert [n for n, _ in driver.calls[:2]] == [
            "cuTensorMapEncodeTiled",
            "cuTensorMapEncodeIm2col",
        ]
        assert driver.calls[0][1] == (6, 2, 8, [32, 64], [64], [16, 8], [1, 1], 0, 3, 2, 0)
        assert driver.calls[1][1] == (
            6,
            4,
            8,
            [8, 9, 10, 11],
            [3, 4, 5],
            [-1, -2],
            [5, 6],
            64,
            99,
            [1, 1, 1, 1],
            0,
            3,
            2,
            0,
        )
        assert len(driver.named("cuLaunchKernelEx")) == 2
        assert driver.named("cuLaunchKernelEx")[0][4:6] == (
            ("made", "made", 7),
            (None, None, ctypes.c_int32),
        )
        assert text.count("cuTensorMapEncodeTiled") == 1

    def test_host_statements(self, driver: Recorder) -> None:
        @T.prim_func
        def main(A: T.Tensor((64,), "int32"), n: T.int32):  # type: ignore[valid-type]
            W = T.alloc_global((n, 2), "float32")
            for i in T.serial(1, n):
                if i % 2 == 1:
                    with T.Kernel(i, threads=32) as b:
                        W[b, 0] = 1.0
                        T.sync_grid()
                        A[b] = n

        call, names, _ = launcher_of(main, "void main_kernel(int* A, void* W, int n) {}")
        call({n: n for n in names}, FakeTensor(8), 4)
        launches = driver.named("cuLaunchKernelEx")
        assert [a[1] for a in launches] == [(1, 1, 1), (3, 1, 1)]
        assert all(a[-1] for a in launches)  # cooperative
        assert launches[0][4] == (8, 4096, 4)
        assert driver.named("cuMemAllocAsync") == [(32, 0)]
        assert driver.named("cuMemFreeAsync") == [(4096, 0)]

    def test_the_device_text_stays(self) -> None:
        made = wrapped(two_launches(), DEVICE, wrapper.TLNVRTCSourceWrapper)
        assert made.lib_code == DEVICE
        assert made.get_stream_type() == {"name": "stream=0", "type": "int"}
        assert made.host_func.startswith("\nimport cuda.bindings.driver")
