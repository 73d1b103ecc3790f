"""One physical index per access: strides, offsets, layouts, views, vectors, long buffers."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from tilelang.arith import evaluate
from tilelang.errors import LayoutError
from tilelang.ir.annotation import LAYOUT
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BufferLoad, Call, IntImm, Ramp, StringImm, Var, as_expr, call
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Allocate, BufferStore, Evaluate, For, LoopKind, Seq, Stmt
from tilelang.ir.visitor import walk
from tilelang.layout import Layout, make_padded_layout, make_swizzled_layout
from tilelang.target.target import Target
from tilelang.transform.context import PassContext
from tilelang.transform.flatten_buffers import flat_index, flatten_buffers, is_wide

CONTEXT = PassContext(Target("c"))


def flat(*body: Stmt, params: tuple = ()) -> PrimFunc:
    return flatten_buffers(PrimFunc("f", params, Seq(tuple(body))), CONTEXT)


def constant_index(buffer: Buffer, indices: tuple[int, ...], layout: Layout | None = None) -> int:
    return int(evaluate(flat_index(buffer, [as_expr(i) for i in indices], layout)))


@pytest.mark.parametrize("seed", range(20))
def test_strides_and_offsets(seed: int) -> None:
    rng = random.Random(seed)
    shape = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 4)))
    strides = tuple(rng.randint(0, 40) for _ in shape) if seed % 2 else None
    buffer = Buffer("A", shape, "float32", strides=strides, elem_offset=rng.randint(0, 9))
    for indices in itertools.product(*map(range, shape)):
        wanted = buffer.elem_offset + sum(i * s for i, s in zip(indices, buffer.strides))  # type: ignore[operator]
        assert constant_index(buffer, indices) == wanted


@pytest.mark.parametrize("make", [make_swizzled_layout, make_padded_layout])
def test_layouts(make: object) -> None:
    buffer = Buffer("S", (16, 64), "float16", "shared")
    layout = make(buffer)  # type: ignore[operator]
    for i, j in itertools.product(range(16), range(64)):
        assert constant_index(buffer, (i, j), layout) == layout.offsets[i, j]


def test_accesses_through_a_layout_and_through_a_view_of_it() -> None:
    buffer = Buffer("S", (8, 64), "float16", "shared")
    layout = make_swizzled_layout(buffer)
    view = Buffer("V", (512,), "float16", "shared", data=buffer.data)
    i, k = Var("i"), Var("k")
    body = BufferStore(buffer, view.load(i * 64 + k), (i, k))
    for var, extent in ((k, 64), (i, 8)):
        body = For(var, as_expr(0), as_expr(extent), LoopKind.SERIAL, body)
    func = flat(Allocate(buffer, ((LAYOUT, layout),)), body)
    store = next(n for n in walk(func) if isinstance(n, BufferStore))
    load = next(n for n in walk(func) if isinstance(n, BufferLoad))
    assert store.buffer.data is load.buffer.data is buffer.data
    for place in itertools.product(range(8), range(64)):
        values = dict(zip((i, k), place))
        assert evaluate(store.indices[0], values) == layout.offsets[place]
        assert evaluate(load.indices[0], values) == layout.offsets[place]


def test_a_strided_view_of_a_physical_layout_is_an_error() -> None:
    buffer = Buffer("S", (8, 64), "float16", "shared")
    view = Buffer("V", (8, 32), "float16", "shared", strides=(64, 2), data=buffer.data)
    allocate = Allocate(buffer, ((LAYOUT, make_swizzled_layout(buffer)),))
    with pytest.raises(LayoutError, match="`V` is a strided window on `S`"):
        flat(allocate, BufferStore(view, as_expr(0.0).astype("float16"), (as_expr(0),) * 2))


def test_a_view_with_another_dtype_is_another_buffer_on_the_same_pointer() -> None:
    owner = Buffer("S", (8,), "float32", "shared")
    view = Buffer("V", (2, 8), "uint16", "shared", data=owner.data)
    func = flat(Allocate(owner), BufferStore(owner, as_expr(1.0), (view.load(1, 3),)))
    load = next(n for n in walk(func) if isinstance(n, BufferLoad))
    assert load.buffer.data is owner.data and load.buffer.dtype == "uint16"
    assert load.buffer.ndim == 1 and evaluate(load.indices[0]) == 11


def test_width_of_indices() -> None:
    n = Var("n")
    assert not is_wide(Buffer("A", (1 << 15, 1 << 15), "float32"))
    assert is_wide(Buffer("A", (1 << 16, 1 << 15), "float32"))
    assert is_wide(Buffer("A", (n, 4), "float32"))
    assert is_wide(Buffer("A", (4, 4), "float32", strides=(n, 1)))
    i = Var("i")
    assert flat_index(Buffer("A", (n, 4), "int8"), [i, i]).dtype == "int64"
    assert flat_index(Buffer("A", (9, 4), "int8"), [i, i]).dtype == "int32"
    assert flat_index(Buffer("A", (9,), "int8"), [Var("u", "uint32")]).dtype == "int64"


def test_vectors_and_vector_elements() -> None:
    i = Var("i")
    ramp = Ramp(i, as_expr(1), 4)
    index = flat_index(Buffer("A", (4, 8), "float32"), [as_expr(2), ramp])
    assert isinstance(index, Ramp) and index.lanes == 4
    assert evaluate(index.base, {i: 3}) == 19
    index = flat_index(Buffer("A", (4, 8), "float16x4"), [as_expr(1), as_expr(2)])
    assert isinstance(index, Ramp) and evaluate(index.base) == 40 and index.lanes == 4
    func = flat(BufferStore(Buffer("B", (8,), "float16x4"), Var("v", "float16x4"), (i,)))
    store = next(n for n in walk(func) if isinstance(n, BufferStore))
    assert store.buffer.dtype == "float16" and store.indices[0].dtype.lanes == 4


def test_indices_are_simplified_under_loop_ranges() -> None:
    i, j = Var("i"), Var("j")
    buffer = Buffer("A", (8, 16), "float32")
    store = BufferStore(buffer, as_expr(0.0), ((i * 16 + j) // 16, (i * 16 + j) % 16))
    inner = For(j, as_expr(0), as_expr(16), LoopKind.SERIAL, store)
    func = flat(For(i, as_expr(0), as_expr(8), LoopKind.SERIAL, inner))
    made = next(n for n in walk(func) if isinstance(n, BufferStore))
    assert str(made.indices[0]) == "i * 16 + j"


def test_scalars_and_parameters_stay() -> None:
    A = Buffer("A", (4, 4), "float32")
    var = Buffer("v", (1,), "float32", "local.var")
    zero = as_expr(0)
    func = flat(
        Allocate(var), BufferStore(var, A.load(1, 2), (zero,)),
        BufferStore(A, var.as_load(), (zero, zero)), params=(A,),
    )  # fmt: skip
    assert func.params == (A,)
    stores = [n for n in walk(func) if isinstance(n, BufferStore)]
    assert stores[0].buffer is var and stores[1].buffer.data is A.data


def test_printing_a_buffer_becomes_a_loop_over_its_elements() -> None:
    A = Buffer("A", (2, 3), "int32")
    address = call("address_of", A.load(0, 0), dtype="handle")
    func = flat(Evaluate(Call("print_buffer", (address, StringImm("m")), A.dtype)), params=(A,))
    loops = [n for n in walk(func) if isinstance(n, For)]
    calls = [n for n in walk(func) if isinstance(n, Call)]
    assert [n.extent.value for n in loops if isinstance(n.extent, IntImm)] == [2, 3]
    assert [c.op for c in calls] == ["print_element"]
    load = next(n for n in walk(func) if isinstance(n, BufferLoad))
    table = [
        evaluate(load.indices[0], dict(zip([loop.var for loop in loops], place)))
        for place in itertools.product(range(2), range(3))
    ]
    np.testing.assert_array_equal(table, range(6))
