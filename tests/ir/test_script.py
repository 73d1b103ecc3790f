"""Printed functions, executed, are the functions they were printed from."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ir.strategies import functions
from tilelang.ir.equality import structural_equal, structural_hash
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.verify import problems
from tilelang.language.script import from_script

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
    assert from_script(again.script()).script() == again.script(), "printing settles after one round"


@pytest.mark.parametrize("form", ["tile", "thread"])
@SLOW
@given(data=st.data())
def test_round_trip(form: str, data: st.DataObject) -> None:
    function = data.draw(functions(form))
    assert [str(p) for p in problems(function, form)] == []
    assert_round_trip(function)
