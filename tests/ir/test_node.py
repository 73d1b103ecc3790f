"""The node machinery: fields, replacement, spans, pickling."""

from __future__ import annotations

import copy
import pickle

import pytest

from tilelang.errors import Span
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import Add, BufferLoad, Cast, FloatImm, IntImm, Select, Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node, node, replace
from tilelang.ir.stmt import Evaluate, For, If, LoopKind, Seq

x, y = Var("x"), Var("y")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Var, ("name", "dtype")),
        (IntImm, ("value", "dtype")),
        (Add, ("a", "b")),
        (Select, ("condition", "then_value", "else_value")),
        (Cast, ("value", "dtype")),
        (BufferLoad, ("buffer", "indices")),
        (Seq, ("stmts",)),
        (For, ("var", "start", "extent", "kind", "body", "annotations")),
        (If, ("condition", "then_body", "else_body")),
        (PrimFunc, ("name", "params", "body", "attributes")),
    ],
)
def test_fields_are_the_declared_ones_without_the_span(
    kind: type[Node], fields: tuple[str, ...]
) -> None:
    assert kind.fields == fields


def test_nodes_have_no_dictionary_and_take_no_new_attribute() -> None:
    value = x + y
    assert not hasattr(value, "__dict__")
    with pytest.raises(AttributeError):
        value.anything = 1  # type: ignore[attr-defined]


def test_replace_changes_what_it_is_told_and_keeps_the_span() -> None:
    span = Span("a.py", 1)
    loop = For(x, as_expr(0), as_expr(4), LoopKind.SERIAL, Seq(()), span=span)
    made = replace(loop, kind=LoopKind.UNROLLED)
    assert (made.kind, made.var, made.body, made.span) == (LoopKind.UNROLLED, x, loop.body, span)
    assert loop.kind is LoopKind.SERIAL, "the original stays"
    other = Span("b.py", 2)
    assert replace(loop, span=other).span == other
    with pytest.raises(AssertionError, match="no fields"):
        replace(loop, nothing=1)


def test_replace_derives_the_dtype_again() -> None:
    value = Add(FloatImm(1.0), FloatImm(2.0))
    made = replace(value, a=IntImm(1), b=IntImm(2))
    assert made.dtype == "int32"


def test_a_new_class_is_a_node_by_its_annotations() -> None:
    @node
    class Pair(Node):
        left: int
        right: int = 5

    pair = Pair(1, span=Span("a.py", 2))
    assert Pair.fields == ("left", "right")
    assert (pair.left, pair.right, str(pair.span)) == (1, 5, "a.py:2:1")
    assert repr(pair) == "<Pair>"


def test_nodes_travel_between_processes() -> None:
    program = For(x, as_expr(0), y, LoopKind.SERIAL, Evaluate(x * 2 + y), span=Span("a.py", 3))
    again = pickle.loads(pickle.dumps(program))
    assert structural_equal(program, again, map_free_vars=True)
    assert again.span == program.span
    assert structural_equal(copy.deepcopy(program), program, map_free_vars=True)
