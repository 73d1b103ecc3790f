"""What differs between two keys, and which entry is nearest to a miss."""

from __future__ import annotations

from collections.abc import Callable

from tilelang.cache import CacheKey, Store, differences, explain_miss, nearest
from tilelang.cache.explain import kernel_name

MakeKey = Callable[..., CacheKey]


def test_only_what_differs_is_named(key: MakeKey) -> None:
    found = differences(key().as_dict(), key(flags=["-g"], target="c neon").as_dict())
    assert [d.part for d in found] == ["target", "flags"]
    assert (found[0].first, found[0].second) == ("c avx2", "c neon")
    assert differences(key().as_dict(), key().as_dict()) == []


def test_a_part_that_one_side_lacks(key: MakeKey) -> None:
    (found,) = differences({}, {"stamp": "1"})
    assert (found.first, found.second) == (None, "1")


def test_programs_are_shown_line_by_line(key: MakeKey) -> None:
    (found,) = differences(key().as_dict(), key(ir="def kernel(A):\n    A[0] = 2\n").as_dict())
    shown = str(found).splitlines()
    assert "    -    A[0] = 1" in shown and "    +    A[0] = 2" in shown
    assert "     def kernel(A):" in shown


def test_nearest_by_number_of_parts_then_by_program(store: Store, key: MakeKey) -> None:
    far = store.save(key(target="x", flags=["-g"]), {}, [])
    other_program = store.save(key(ir="def g():\n    pass\n"), {}, [])
    near_program = store.save(key(ir="def kernel(A):\n    A[0] = 9\n"), {}, [])
    found = nearest(key().as_dict(), store.list())
    assert found is not None and found.key == near_program.key
    assert found.key not in (far.key, other_program.key)


def test_explain_miss(store: Store, key: MakeKey) -> None:
    assert "is empty" in explain_miss(key(), store)
    store.save(key(), {}, [])
    text = explain_miss(key(compiler="cc 13 -O3"), store)
    assert "compiler:" in text and "cc 12" in text and "cc 13" in text and "target" not in text


def test_kernel_name(key: MakeKey) -> None:
    assert kernel_name(key().as_dict()) == "kernel"
    assert kernel_name({}) == "?"
