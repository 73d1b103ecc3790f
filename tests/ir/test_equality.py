"""Structural equality: bound names never count, everything else does."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ir.strategies import Scope, exprs, functions
from tilelang.errors import Span
from tilelang.ir import expr as ir
from tilelang.ir.buffer import SHARED, Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.equality import structural_equal, structural_hash
from tilelang.ir.expr import Expr, FloatImm, IntImm, Let, Var, as_expr
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.node import Node, replace
from tilelang.ir.stmt import (
    Allocate,
    Attr,
    Bind,
    BufferStore,
    Evaluate,
    For,
    Launch,
    LoopKind,
    Seq,
    Stmt,
)
from tilelang.ir.visitor import Mutator
from tilelang.language.script import from_script

SLOW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
X, Y = Var("x"), Var("y")


class Unfolded(Mutator):
    """Rebuilds without folding."""

    def mutate_children(self, node: Any) -> Any:
        return replace(node, **{f: self._mutate_value(getattr(node, f)) for f in node.fields})


class Renaming(Unfolded):
    """Everything that the tree mentions, made anew under other names."""

    def __init__(self) -> None:
        self.vars: dict[Var, Var] = {}
        self.buffers: dict[Buffer, Buffer] = {}

    def fresh(self, var: Var) -> Var:
        if var not in self.vars:
            self.vars[var] = Var(var.name + "_renamed", var.dtype)
        return self.vars[var]

    mutate_Var = fresh

    def map_buffer(self, buffer: Buffer) -> Buffer:
        strides = buffer.declared_strides
        if buffer not in self.buffers:
            self.buffers[buffer] = Buffer(
                buffer.name + "_renamed",
                tuple(self.extent(e) for e in buffer.shape),
                buffer.dtype,
                buffer.scope(),
                strides=None if strides is None else tuple(map(self.extent, strides)),
                data=self.fresh(buffer.data),
                elem_offset=self.extent(buffer.elem_offset),
            )
        return self.buffers[buffer]

    def extent(self, value: Any) -> Any:
        return self.mutate(value) if isinstance(value, Node) else value


def assert_equal(a: Any, b: Any, **options: bool) -> None:
    assert structural_equal(a, b, **options)
    assert structural_equal(b, a, **options)
    assert structural_hash(a, **options) == structural_hash(b, **options)


def assert_different(a: Any, b: Any, **options: bool) -> None:
    assert not structural_equal(a, b, **options)
    assert not structural_equal(b, a, **options)


def loop(var: Var, body: Stmt, extent: Expr | int = 4) -> For:
    return For(var, as_expr(0), as_expr(extent), LoopKind.SERIAL, body)


def test_free_variables_are_themselves() -> None:
    assert_equal(X + Y, X + Y)
    assert_different(X + Y, Y + X)
    assert_different(X, Var("x"))


def test_free_variables_may_correspond_one_to_one() -> None:
    assert_equal(X + Y, Y + X, map_free_vars=True)
    assert_equal(X, Var("z"), map_free_vars=True)
    assert_different(X + X, X + Y, map_free_vars=True)
    assert_different(X + Y, X + X, map_free_vars=True)
    assert_different(X, Var("x", "int64"), map_free_vars=True)


def test_loop_variables_correspond() -> None:
    assert_equal(loop(X, Evaluate(X + 1)), loop(Y, Evaluate(Y + 1)))
    assert_different(loop(X, Evaluate(X + 1)), loop(Y, Evaluate(X + 1)))
    wide = Var("x", "int64")
    assert_different(loop(X, Seq(())), loop(wide, Seq(())))


def test_a_variable_out_of_its_scope_is_free() -> None:
    a = Seq((loop(X, Evaluate(X)), Evaluate(X)))
    b = Seq((loop(Y, Evaluate(Y)), Evaluate(Y)))
    assert_different(a, b)
    assert_equal(a, Seq((loop(Y, Evaluate(Y)), Evaluate(X))))


def test_nested_loops_do_not_exchange_their_variables() -> None:
    a = loop(X, loop(Y, Evaluate(X - Y)))
    assert_equal(a, loop(Y, loop(X, Evaluate(Y - X))))
    assert_different(a, loop(X, loop(Y, Evaluate(Y - X))))


def test_the_same_variable_bound_again_shadows() -> None:
    a = loop(X, Seq((loop(X, Evaluate(X)), Evaluate(X))))
    b = loop(X, Seq((loop(Y, Evaluate(Y)), Evaluate(X))))
    assert_equal(a, b)
    assert_different(a, loop(X, Seq((loop(Y, Evaluate(X)), Evaluate(X)))))


def test_binds_hold_for_the_rest_of_their_block() -> None:
    def program(v: Var) -> Stmt:
        return Seq((Bind(v, as_expr(1)), Evaluate(v + 1)))

    assert_equal(program(X), program(Y))
    assert_different(program(X), Seq((Bind(X, as_expr(1)), Evaluate(Y + 1))))
    # the value of a bind does not see the name
    assert_different(Seq((Bind(X, X + 1),)), Seq((Bind(Y, Y + 1),)))


def test_let_binds_in_its_body_only() -> None:
    assert_equal(Let(X, as_expr(1), X + 2), Let(Y, as_expr(1), Y + 2))
    assert_different(Let(X, X, X + 2), Let(Y, Y, Y + 2))


def test_launch_variables_correspond() -> None:
    def launch(block: Var, used: Var) -> Launch:
        threads = tuple(Var(n) for n in ("tx", "ty", "tz"))
        one = as_expr(1)
        return Launch((block,), (as_expr(8),), threads, (one, one, one), Evaluate(used))

    assert_equal(launch(X, X), launch(Y, Y))
    assert_different(launch(X, X), launch(Y, X))


def buffer_program(**changes: Any) -> Stmt:
    parts: dict[str, Any] = {"shape": (4, 8), "dtype": "float32", "scope": SHARED, **changes}
    buffer = Buffer("A", parts.pop("shape"), parts.pop("dtype"), parts.pop("scope"), **parts)
    zero = (as_expr(0),) * buffer.ndim
    return Seq((Allocate(buffer), BufferStore(buffer, ir.constant(0, buffer.dtype), zero)))


def test_allocated_buffers_are_their_facts() -> None:
    assert_equal(buffer_program(), buffer_program())
    assert_equal(buffer_program(), buffer_program(strides=(8, 1)))
    changed = (
        {"shape": (8, 4)}, {"dtype": "float16"}, {"scope": "local"}, {"strides": (9, 1)},
        {"elem_offset": 1},
    )  # fmt: skip
    for change in changed:
        assert_different(buffer_program(), buffer_program(**change))


def test_sharing_of_storage_counts() -> None:
    def program(is_shared: bool) -> PrimFunc:
        a = Buffer("A", (4,))
        b = Buffer("B", (4,), data=a.data if is_shared else None)
        return PrimFunc("f", (a, b), BufferStore(a, b[0], (as_expr(0),)))

    assert_equal(program(True), program(True))
    assert_equal(program(False), program(False))
    assert_different(program(True), program(False))


def test_views_of_one_storage_are_one_buffer() -> None:
    def program(is_one_view: bool) -> Stmt:
        base = Buffer("A", (4, 8), scope=SHARED)
        views = [Buffer("V", (32,), scope=SHARED, data=base.data) for _ in range(2)]
        second = views[0 if is_one_view else 1]
        zero = ir.constant(0, "float32")
        stores = (BufferStore(v, zero, (as_expr(1),)) for v in (views[0], second))
        return Seq((Allocate(base), *stores))

    assert_equal(program(True), program(False))


def test_shape_symbols_are_bound_by_the_parameters() -> None:
    def program(n: Var, m: Var, used: Var) -> PrimFunc:
        return PrimFunc("f", (Buffer("A", (n, m)), n), Evaluate(used))

    n, m = Var("n"), Var("m")
    assert_equal(program(n, m, n), program(m, n, m))
    assert_different(program(n, m, n), program(n, m, m))
    assert_different(program(n, m, m), program(n, n, n))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True), (0, False), (1, 1.0), ("1", 1), ((1,), (1, 1)), (0.0, -0.0), (None, 0),
        ("float32", dtype("float32")), ((), None),
    ],
)  # fmt: skip
def test_annotation_values_differ(a: Any, b: Any) -> None:
    assert_different(Attr("use_swizzle", a, Seq(())), Attr("use_swizzle", b, Seq(())))
    assert_equal(Attr("use_swizzle", a, Seq(())), Attr("use_swizzle", a, Seq(())))


class Thing:
    """An annotation object with an equality of its own."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def test_annotation_objects_compare_themselves() -> None:
    assert_equal(Attr("layouts", Thing(1), Seq(())), Attr("layouts", Thing(1), Seq(())))
    assert_different(Attr("layouts", Thing(1), Seq(())), Attr("layouts", Thing(2), Seq(())))


def test_layouts_compare_by_what_they_map() -> None:
    from tilelang.layout import Layout

    def program(stride: int) -> Stmt:
        return Attr("layouts", Layout([4, 8], lambda i, j: i * stride + j), Seq(()))

    assert_equal(program(8), program(8))
    assert_different(program(8), program(9))


def test_constants() -> None:
    assert_equal(FloatImm(float("nan")), FloatImm(float("nan")))
    assert_different(FloatImm(0.0), FloatImm(-0.0))
    assert_different(IntImm(1), IntImm(1, dtype("int64")))
    assert_equal(IntImm(True, dtype("bool")), IntImm(1, dtype("bool")))  # type: ignore[arg-type]


def test_spans_never_count() -> None:
    a = ir.Add(X, Y, span=Span("a.py", 1))
    assert_equal(a, ir.Add(X, Y, span=Span("b.py", 2)))


def test_modules() -> None:
    f = PrimFunc("f", (X,), Evaluate(X + 1))
    g = PrimFunc("f", (Y,), Evaluate(Y + 1))
    h = PrimFunc("f", (Y,), Evaluate(Y + 2))
    assert_equal(IRModule(f), IRModule(g))
    assert_equal(IRModule({"a": f, "b": h}), IRModule({"b": h, "a": g}))
    assert_different(IRModule(f), IRModule(h))
    assert_different(IRModule(f), IRModule({"other": g}))
    assert_different(IRModule(f), IRModule(g, (("target", "c"),)))
    assert_different(IRModule(f), f)


def test_long_programs_take_linear_time_and_no_stack() -> None:
    def program(count: int) -> PrimFunc:
        total: Expr = X
        for k in range(count):
            total = ir.Add(total, IntImm(k))
        statements = tuple(Evaluate(X + k) for k in range(count))
        return PrimFunc("f", (X,), Seq((*statements, Evaluate(total))))

    def seconds(count: int) -> float:
        a, b = program(count), program(count)
        start = time.perf_counter()
        assert structural_equal(a, b)
        assert structural_hash(a) == structural_hash(b)
        return time.perf_counter() - start

    small = min(seconds(2000) for _ in range(3))
    assert seconds(20000) < 40 * small, "ten times the program takes about ten times as long"


@SLOW
@given(st.data())
def test_equality_is_reflexive_and_renaming_keeps_it(data: st.DataObject) -> None:
    function = data.draw(functions(data.draw(st.sampled_from(["tile", "thread"]))))
    again = Renaming().mutate(function)
    assert_equal(function, function)
    assert_equal(function, again)


@SLOW
@given(functions(), functions())
def test_equality_is_symmetric_and_agrees_with_the_hash(a: PrimFunc, b: PrimFunc) -> None:
    assert structural_equal(a, b) == structural_equal(b, a)
    if structural_equal(a, b):
        assert structural_hash(a) == structural_hash(b)
        assert structural_equal(from_script(a.script()), b), "names of bound things do not count"


class Change(Unfolded):
    """Changes one scalar field of the node with number `position`."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.happened = False

    def mutate(self, node: Any) -> Any:
        self.position -= 1
        if self.position < 0 and not self.happened:
            changed = _with_other_field(node)
            if changed is not None:
                self.happened = True
                return changed
        return super().mutate(node)


def _with_other_field(node: Node) -> Node | None:
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(node, Var) or name == "dtype":
            continue
        if isinstance(value, LoopKind):
            other = LoopKind.SERIAL if value is not LoopKind.SERIAL else LoopKind.UNROLLED
            return replace(node, **{name: other})
        if isinstance(value, (bool, int)):
            return replace(node, **{name: int(value) ^ 1})
        if isinstance(value, str):
            return replace(node, **{name: value + "_"})
    return None


@SLOW
@given(st.data())
def test_a_changed_field_breaks_equality(data: st.DataObject) -> None:
    function = data.draw(functions())
    change = Change(data.draw(st.integers(0, 40)))
    other = change.mutate(function)
    if change.happened:
        assert_different(function, other)


@SLOW
@given(st.data())
def test_free_expressions_correspond_under_renaming(data: st.DataObject) -> None:
    scope = Scope(vars=[Var("a"), Var("b", "float32"), Var("c", "bool")])
    value = data.draw(exprs(scope, data.draw(st.sampled_from(list(map(dtype, ("int32", "bool")))))))
    again = Renaming().mutate(value)
    assert_equal(value, again, map_free_vars=True)
