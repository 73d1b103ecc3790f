"""What operations may do."""

from __future__ import annotations

import pytest

from tilelang.ir import annotation
from tilelang.ir import expr as ir
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Var
from tilelang.ir.ops import EFFECTS, UNARY_FLOAT_OPS, Effect, effect_of, has_side_effect, is_pure

x = Var("x", "float32")
A = Buffer("A", (8,))


@pytest.mark.parametrize(
    ("op", "effect"),
    [("exp", Effect.PURE), ("if_then_else", Effect.PURE), ("any_of", Effect.READ),
     ("sync_threads", Effect.WRITE), ("call_extern", Effect.WRITE), ("nobody knows", Effect.WRITE)],
)  # fmt: skip
def test_effects(op: str, effect: Effect) -> None:
    assert effect_of(op) is effect


def test_effects_are_found_anywhere_in_an_expression() -> None:
    pure = ir.call("exp", x, dtype="float32") + 1
    load = ir.call("exp", A[0], dtype="float32")
    write = ir.call("exp", ir.call("atomic_add", x, dtype="float32"), dtype="float32")
    assert [is_pure(v) for v in (x, pure, load, write)] == [True, True, False, False]
    assert [has_side_effect(v) for v in (x, pure, load, write)] == [False, False, False, True]
    assert not is_pure(ir.call("any_of", x, dtype="bool"))


def test_float_functions_are_pure() -> None:
    assert EFFECTS.keys() >= UNARY_FLOAT_OPS
    assert {EFFECTS[op] for op in UNARY_FLOAT_OPS} == {Effect.PURE}


def test_annotation_keys_are_different_words() -> None:
    keys = [v for k, v in vars(annotation).items() if k.isupper()]
    assert len(keys) == len(set(keys)) > 10
