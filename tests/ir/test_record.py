"""`@record`: what a frozen dataclass gives, cheaper."""

from __future__ import annotations

import dataclasses
from dataclasses import field

import pytest

from tilelang.ir.record import record


@record
class Point:
    x: int
    y: int = 0
    label: str = field(default="", compare=False, repr=False)

    def moved(self, by: int) -> Point:
        return dataclasses.replace(self, x=self.x + by)


@record
class Named(Point):
    name: str = "origin"


@record(eq=False)
class Place:
    x: int


@record
class Nothing:
    """No fields."""


@record
class Shown:
    x: int

    def __repr__(self) -> str:
        return f"<{self.x}>"


def test_equal_values_are_equal_and_have_one_hash() -> None:
    assert Point(1, 2) == Point(1, 2, "other label")
    assert hash(Point(1, 2)) == hash(Point(1, 2, "other label"))
    assert Point(1, 2) != Point(2, 1)
    assert len({Point(1), Point(1, 0), Point(0, 1)}) == 2


def test_other_classes_are_different() -> None:
    assert Point(1) != Named(1)
    assert Point(1) != (1, 0)
    assert Named(1) == Named(1) != Named(1, name="end")


def test_without_comparison_each_equals_itself_alone() -> None:
    place = Place(1)
    assert place == place
    assert place != Place(1)
    assert len({place, Place(1), place}) == 2


def test_no_fields() -> None:
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())
    assert repr(Nothing()) == "Nothing()"


def test_text() -> None:
    assert repr(Point(1, 2, "hidden")) == "Point(x=1, y=2)"
    assert repr(Named(1)) == "Named(x=1, y=0, name='origin')"
    assert repr(Shown(3)) == "<3>"


def test_functions_of_dataclasses() -> None:
    assert [f.name for f in dataclasses.fields(Named)] == ["x", "y", "label", "name"]
    assert Point(1, 2).moved(3) == Point(4, 2)
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 0, "label": ""}
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
