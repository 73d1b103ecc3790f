"""Low-level names: what they make runs as it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.interpreter import run
from tilelang.errors import ArgumentError, ArgumentTypeError, LanguageError, ShapeError
from tilelang.ir.buffer import Buffer
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Bind, If, Launch, While
from tilelang.ir.verify import verify
from tilelang.ir.visitor import walk
from tilelang.language import frames as F
from tilelang.language import low_level as L
from tilelang.language.meta_class import meta_class


def nodes(func: PrimFunc, kind: type) -> list[Any]:
    return [n for n in walk(func.body) if isinstance(n, kind)]


def ran(func: PrimFunc, **arrays: Any) -> None:
    """Verify, interpret, compile and run; both runs must agree."""
    verify(func)
    copies = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in arrays.items()}
    run(func, copies)
    tilelang.compile(func, target="c")(*arrays.values())
    for name, value in arrays.items():
        assert np.array_equal(copies[name], value)


def fails(kind: type[Exception], body: Callable[[Any], Any]) -> str:
    with pytest.raises(kind) as caught:

        @T.prim_func
        def kernel(A: T.Tensor((8, 4), "float32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                body(A)

    return str(caught.value)


class TestStorage:
    def test_buffer_store(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((4, 8), "float32")):  # type: ignore[valid-type]
            with T.Kernel(4, threads=1) as b:
                L.buffer_store(A, 3, [b, 2])
                L.buffer_store(A, T.float32(1), [b, slice(4, 8)])
                L.buffer_store(A, 9, [b, 0], predicate=b >= 2)

        given = np.zeros((4, 8), np.float32)
        ran(kernel, A=given)
        assert given[:, 2].tolist() == [3] * 4
        assert given[:, 0].tolist() == [0, 0, 9, 9]
        assert given[:, 4:].min() == 1

    def test_views_share_memory(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((12,), "int32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                tail = L.decl_buffer((2, 3), "int32", data=A.data, elem_offset=6)
                column = L.decl_buffer((3,), "int32", data=A, strides=[2])
                with L.allocate([4], "int32", "local") as pointer:
                    own = L.decl_buffer((2, 2), "int32", data=pointer)
                    own[1, 1] = 7
                    tail[1, 0] = own[1, 1]
                    column[2] = 5

        given = np.zeros(12, np.int32)
        ran(kernel, A=given)
        assert given[9] == 7
        assert given[4] == 5

    def test_views_have_the_scope_of_their_memory(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((4,), "int32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                memory = L.allocate([4], "int32", "shared")
                view = L.decl_buffer((2, 2), "int32", data=memory)
                assert view.scope() == "shared"
                view[0, 1] = 3
                A[0] = view[0, 1]

        given = np.zeros(4, np.int32)
        ran(kernel, A=given)
        assert given[0] == 3

    def test_a_matched_parameter_is_a_tensor(self) -> None:
        n = T.dynamic("n")

        @T.prim_func
        def kernel(a: T.handle):  # type: ignore[valid-type]
            A = L.match_buffer(a, (n, 2), "float32")
            with T.Kernel(n, threads=1) as b:
                A[b, 1] = A[b, 0] + 1

        assert isinstance(kernel.params[0], Buffer)
        given = np.arange(6, dtype=np.float32).reshape(3, 2)
        ran(kernel, a=given)
        assert given[:, 1].tolist() == [1, 3, 5]

    def test_a_matched_region_is_a_buffer(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((4, 6), "int32")):  # type: ignore[valid-type]
            with T.Kernel(4, threads=1) as b:
                row = L.match_buffer(A[b, 2:5], (3,))
                row[1] = b

        given = np.full((4, 6), -1, np.int32)
        ran(kernel, A=given)
        assert given[:, 3].tolist() == [0, 1, 2, 3]
        assert (np.delete(given, 3, axis=1) == -1).all()

    def test_what_is_refused(self) -> None:
        assert "is no buffer" in fails(ArgumentTypeError, lambda A: L.buffer_store(3, 1, [0]))
        assert "is no pointer" in fails(ArgumentTypeError, lambda A: L.decl_buffer((1,), data=5))
        assert "is dense" in fails(
            ArgumentError, lambda A: L.alloc_buffer((4,), strides=[2], scope="local")
        )
        assert "not [" in fails(ShapeError, lambda A: L.match_buffer(A[0:2, 0:4], (4, 4)))
        assert "no pointer, buffer or region" in fails(TypeError, lambda A: L.match_buffer(3, (4,)))


class TestPointers:
    def test_access_pointers(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((8, 4), "float32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                T.call_extern(
                    "handle", "use", L.tvm_access_ptr(L.type_annotation("float32"), A.data, 4, 8, 3)
                )

        (call,) = [n for n in walk(kernel.body) if getattr(n, "op", "") == "access_ptr"]
        load, access = call.args
        assert access.value == "rw"
        assert load.buffer.data is kernel.params[0].data
        assert [int(i.value) for i in load.indices] == [4]

    def test_byte_offsets(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((8,), "float32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                tail = T.make_tensor(L.handle_add_byte_offset(A, 12), (2,), "float32")
                tail[1] = 6

        given = np.zeros(8, np.float32)
        tilelang.compile(kernel, target="c")(given)
        assert given.tolist() == [0, 0, 0, 0, 6, 0, 0, 0]

    def test_storage_sync(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((64,), "float32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=64):
                S = T.alloc_shared((64,), "float32")
                t = T.get_thread_binding()
                S[t] = A[t]
                L.tvm_storage_sync("shared")
                A[t] = S[63 - t]

        given = np.arange(64, dtype=np.float32)
        ran(kernel, A=given)
        assert given.tolist() == list(range(63, -1, -1))

    def test_regions(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((8, 4), "float32"), B: T.Tensor((2, 4), "float32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                T.copy(L.region(A[3, 0], "r", 2, 4), L.region(B, "w", 2, 4))

        a, b = np.arange(32, dtype=np.float32).reshape(8, 4), np.zeros((2, 4), np.float32)
        ran(kernel, A=a, B=b)
        assert np.array_equal(b, a[3:5])

    def test_what_is_refused(self) -> None:
        pointer = lambda A: L.tvm_access_ptr("float32", A, 0, 1, 4)  # noqa: E731
        assert "expected 1, 2 or 3" in fails(ArgumentError, pointer)
        assert "unknown scope" in fails(ArgumentError, lambda A: L.tvm_storage_sync("there"))
        assert "3 extents" in fails(ShapeError, lambda A: L.region(A[0, 0], "r", 1, 1, 1))
        assert "access_type" in fails(ArgumentError, lambda A: L.region(A[0, 0], "x"))
        assert "expected an element" in fails(TypeError, lambda A: L.region(3, "r"))


class TestFrames:
    def test_bindings_keep_their_value(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((4,), "int32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                first = F.bind(A[0])
                with F.LetStmt(A[1]) as second, F.let(A[2] + 1) as third:
                    A[0] = 10
                    A[1] = 20
                    A[3] = first + second + third

        assert len(nodes(kernel, Bind)) == 3
        given = np.array([1, 2, 3, 4], np.int32)
        ran(kernel, A=given)
        assert given.tolist() == [10, 20, 3, 1 + 2 + 4]

    def test_bindings_convert(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((2,), "float32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                whole = F.bind(A[0], "int32")
                A[1] = T.cast(whole, "float32")

        given = np.array([2.75, 0], np.float32)
        ran(kernel, A=given)
        assert given[1] == 2

    def test_blocks(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((4,), "int32")):  # type: ignore[valid-type]
            with T.Kernel(4, threads=1) as b:
                with F.block("update"):
                    F.reads(A[b])
                    F.writes(A[b], [A[0:4]])
                    x = A[b] + 1
                    A[b] = x
                with F.sblock("again"):
                    x = A[b] * 2
                    A[b] = x

        given = np.arange(4, dtype=np.int32)
        ran(kernel, A=given)
        assert given.tolist() == [2, 4, 6, 8]
        assert "is no region" in fails(TypeError, lambda A: F.reads(3))

    def test_while(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((4,), "int32")):  # type: ignore[valid-type]
            with T.Kernel(1, threads=1):
                with F.While(A[0] < 100):
                    A[0] = A[0] * 2
                    A[1] = A[1] + 1

        assert len(nodes(kernel, While)) == 1
        given = np.array([3, 0, 0, 0], np.int32)
        ran(kernel, A=given)
        assert given[:2].tolist() == [192, 6]
        assert "always true" in fails(LanguageError, lambda A: F.While(True))

    def test_branches(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((8,), "int32")):  # type: ignore[valid-type]
            with T.Kernel(8, threads=1) as b:
                with F.If(A[b] > 3):
                    with F.Then():
                        A[b] = 1
                    with F.Else():
                        with F.If(A[b] == 2):
                            with F.Then():
                                A[b] = -1

        assert [n.else_body is None for n in nodes(kernel, If)] == [False, True]
        given = np.arange(8, dtype=np.int32)
        ran(kernel, A=given)
        assert given.tolist() == [0, 1, -1, 3, 1, 1, 1, 1]

    def test_sides_stand_in_a_branch(self) -> None:
        def alone(A: Any) -> None:
            with F.Then():
                A[0, 0] = 1

        def empty(A: Any) -> None:
            with F.If(A[0, 0] > 0):
                pass

        def twice(A: Any) -> None:
            with F.If(A[0, 0] > 0):
                with F.Then():
                    pass
                with F.Then():
                    pass

        assert "directly in `with T.If" in fails(LanguageError, alone)
        assert "its body is" in fails(LanguageError, empty)
        assert "stands once" in fails(LanguageError, twice)


class TestLaunches:
    def test_axes_one_by_one(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((3, 4, 5), "int32")):  # type: ignore[valid-type]
            with F.launch_thread("blockIdx.x", 3) as bx, F.launch_thread("blockIdx.y", 4) as by:
                with F.launch_thread("threadIdx.x", 5) as tx:
                    A[bx, by, tx] = bx * 100 + by * 10 + tx

        (launch,) = nodes(kernel, Launch)
        assert len(launch.grid_vars) == 2
        given = np.zeros((3, 4, 5), np.int32)
        ran(kernel, A=given)
        i, j, k = np.indices((3, 4, 5))
        assert np.array_equal(given, i * 100 + j * 10 + k)

    def test_environment_variables_and_two_launches(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((6,), "int32")):  # type: ignore[valid-type]
            b = F.env_thread("blockIdx.x")
            with F.launch_thread(b, 6):
                A[b] = b
            with F.launch_thread("blockIdx.z", 6) as z:
                A[z] = A[z] * 3

        assert [len(n.grid_vars) for n in nodes(kernel, Launch)] == [1, 3]
        given = np.zeros(6, np.int32)
        ran(kernel, A=given)
        assert given.tolist() == [0, 3, 6, 9, 12, 15]

    def test_an_axis_bound_twice_is_one(self) -> None:
        n = T.dynamic("n")

        @T.prim_func
        def kernel(A: T.Tensor((n,), "int32")):  # type: ignore[valid-type]
            with F.launch_thread("blockIdx.x", n) as b:
                with F.launch_thread("blockIdx.x", n) as again:
                    A[b] = again + 1

        (launch,) = nodes(kernel, Launch)
        assert len(launch.grid_vars) == 1
        given = np.zeros(5, np.int32)
        ran(kernel, A=given)
        assert given.tolist() == [1, 2, 3, 4, 5]

    def test_what_is_refused(self) -> None:
        def different() -> None:
            with F.launch_thread("threadIdx.x", 4), F.launch_thread("threadIdx.x", 5):
                pass

        with pytest.raises(ArgumentError, match="is 5 here and 4 before"):

            @T.prim_func
            def kernel(A: T.Tensor((4,), "int32")):  # type: ignore[valid-type]
                different()

        def inside(A: Any) -> None:
            with F.launch_thread("threadIdx.x", 4):
                pass

        assert "inside T.Kernel" in fails(LanguageError, inside)
        assert "unknown axis" in fails(ArgumentError, lambda A: F.launch_thread("threadIdx.w", 4))
        assert "unknown axis" in fails(ArgumentError, lambda A: F.env_thread("x"))

        with pytest.raises(LanguageError, match="has no body"):

            @T.prim_func
            def statement(A: T.Tensor((4,), "int32")):  # type: ignore[valid-type]
                F.launch_thread("threadIdx.x", 4)


@meta_class
class Counter:
    """Counts in a variable of the kernel."""

    def __init__(self, start: int, name: str | None = None) -> None:
        self.value = T.alloc_local((1,), "int32")
        self.step = 2
        self.reset(start)

    def reset(self, start: Any) -> None:
        self.value[0] = start

    def advance(self, by: Any) -> None:
        if by > 0:
            self.value[0] += by * self.step

    def doubled(self) -> Any:
        return self.value[0] * 2


class TestMetaClass:
    def test_methods_that_store_are_traced(self) -> None:
        @T.prim_func
        def kernel(A: T.Tensor((4,), "int32")):  # type: ignore[valid-type]
            with T.Kernel(4, threads=1) as b:
                counter = Counter(10, name="mine")
                counter.advance(b - 1)
                A[b] = counter.doubled()

        assert len(nodes(kernel, If)) == 1
        assert "mine_value" in kernel.script()
        given = np.zeros(4, np.int32)
        ran(kernel, A=given)
        assert given.tolist() == [20, 20, 24, 28]

    def test_outside_a_kernel_it_is_plain_python(self) -> None:
        @meta_class
        class Table:
            def __init__(self) -> None:
                self.rows: dict[int, int] = {}

            def put(self, key: int, value: int) -> int:
                self.rows[key] = value
                return len(self.rows)

        table = Table()
        assert table.put(3, 4) == 1
        assert table.rows == {3: 4}

    def test_only_classes(self) -> None:
        with pytest.raises(ArgumentTypeError):
            meta_class(lambda: None)  # type: ignore[arg-type]
