"""Printed functions, executed, are the functions they were printed from."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilelang.language as T
from tests.ir.strategies import functions
from tilelang.errors import ArgumentError, IndexRangeError
from tilelang.ir.equality import structural_equal, structural_hash
from tilelang.ir.expr import Var
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.stmt import Evaluate
from tilelang.ir.verify import problems
from tilelang.language.script import from_script

n = T.dynamic("n")


@T.prim_func
def matmul(A: T.Tensor((n, 64), "float16"), B: T.Tensor((64, 64), "float16"), C: T.Tensor((n, 64))):
    with T.Kernel(T.ceildiv(n, 32), threads=128) as bx:
        A_shared = T.alloc_shared((32, 16), "float16")
        B_shared = T.alloc_shared((16, 64), "float16")
        total = T.alloc_fragment((32, 64), "float32")
        T.use_swizzle(8)
        T.annotate_layout({A_shared: T.Layout([32, 16], lambda i, j: [i, j ^ (i % 2)])})
        T.clear(total)
        for k in T.Pipelined(4, num_stages=2):
            T.copy(A[bx * 32, k * 16], A_shared)
            T.copy(B[k * 16 : (k + 1) * 16, :], B_shared)
            T.gemm(A_shared, B_shared, total, policy=T.GemmWarpPolicy.FullRow)
        for i, j in T.Parallel(32, 64):
            total[i, j] = T.max(total[i, j] * 0.5, 0)
        T.copy(total, C[bx * 32, 0])


@T.prim_func
def softmax(A: T.StridedTensor((16, n), (n, 1), "float32"), scale: T.float32, p: T.handle):
    view = T.make_tensor(p, (16,), "float32")
    with T.Kernel(4, 2, threads=(32, 4)) as (bx, by):
        tx = T.get_thread_binding(0)
        row = T.alloc_local((8,), "float32")
        best = T.alloc_var("float32", init=-1.0)
        for i in T.serial(0, 8):
            row[i] = A[bx * 4 + by, i] * scale
            if row[i] > best and i < 7:
                best = row[i]
            elif i == 3:
                continue
        while best > 0.0:
            best -= 1.0
        x = T.exp(best) if tx < 3 else best
        for i in T.unroll(8):
            view[T.min(i, 15)] = T.cast(row[i], "float16") + T.float16(x)


SLOW = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_round_trip(program: PrimFunc | IRModule) -> None:
    text = program.script()
    again = from_script(text)
    assert structural_equal(program, again), text
    assert structural_hash(program) == structural_hash(again)
    settled = again.script()
    assert from_script(settled).script() == settled, "the second round changes no name"


@pytest.mark.parametrize("function", [matmul, softmax])
def test_traced_functions_come_back(function: PrimFunc) -> None:
    assert_round_trip(function)
    again = from_script(function.script())
    assert isinstance(again, PrimFunc)
    assert [p.name for p in again.params] == [p.name for p in function.params]


def test_scripts_read_like_programs() -> None:
    text = matmul.script()
    for line in (
        "n = T.dynamic('n')",
        "with T.Kernel((n + 31) // 32, threads=128) as bx:",
        "A_shared = T.alloc_shared((32, 16), 'float16')",
        "T.use_swizzle(8, 'row')",
        "T.clear(total)",
        "for k in T.Pipelined(4, num_stages=2):",
        "T.copy(A[bx * 32:bx * 32 + 32, k * 16:k * 16 + 16], A_shared)",
        "T.gemm(A_shared, B_shared, total, policy=T.GemmWarpPolicy.FullRow)",
        "for i, j in T.Parallel(32, 64):",
        "total[i, j] = T.max(total[i, j] * 0.5, 0.0)",
    ):
        assert line in text, text


def test_modules_come_back() -> None:
    module = IRModule({"first": matmul, "second": softmax}, (("target", "c"),))
    assert_round_trip(module)
    again = from_script(module.script())
    assert isinstance(again, IRModule)
    assert [name for name, _ in again.items()] == ["first", "second"]


def test_mistakes_in_a_script_are_located_in_its_text() -> None:
    text = matmul.script().replace("T.clear(total)", "T.clear(total[0:99, 0:64])")
    with pytest.raises(IndexRangeError) as caught:
        from_script(text, name="edited.py")
    span = caught.value.span
    assert span is not None and span.file == "edited.py"
    assert "T.clear(total[0:99, 0:64])" in span.source_line()
    with pytest.raises(ArgumentError, match="one function, found none"):
        from_script("x = 1")


def test_free_variables_are_declared() -> None:
    function = PrimFunc("f", (), Evaluate(Var("a") + Var("b", "int64")))
    again = from_script(function.script())
    assert structural_equal(function, again, map_free_vars=True)
    assert not structural_equal(function, again)


@pytest.mark.parametrize("form", ["tile", "thread"])
@SLOW
@given(data=st.data())
def test_round_trip(form: str, data: st.DataObject) -> None:
    function = data.draw(functions(form))
    assert [str(p) for p in problems(function, form)] == []
    assert_round_trip(function)
