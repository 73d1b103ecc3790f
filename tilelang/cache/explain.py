"""Why one compilation did not find the entry of another.

In: the parts of two keys, or of one key and a store. Out: the parts that differ, and text about
them for people. It reads entries from outside and changes none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tilelang.cache.entry import Listing
from tilelang.cache.key import CacheKey
from tilelang.cache.store import Store

_FUNCTION = re.compile(r"^\s*def\s+(\w+)\s*\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of the key that two compilations do not share; `None` where one has no such part."""

    part: str
    first: str | None
    second: str | None

    def __str__(self) -> str:
        first, second = self.first or "", self.second or ""
        if "\n" in first or "\n" in second:
            lines = difflib.unified_diff(
                first.splitlines(), second.splitlines(), "first", "second", lineterm="", n=1
            )
            return "\n".join([f"{self.part}:", *(f"    {line}" for line in lines)])
        return f"{self.part}:\n    - {self.first}\n    + {self.second}"


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[Difference]:
    """The parts that differ, in the order of the key."""
    names = dict.fromkeys((*first, *second))
    return [
        Difference(name, first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    ]


def nearest(parts: Mapping[str, str], entries: Iterable[Listing]) -> Listing | None:
    """The entry whose key shares most with `parts`; among equals the one whose IR is most alike."""
    candidates = [(item, item.parts()) for item in entries]
    known = [(item, found) for item, found in candidates if found]
    return min(known, key=lambda pair: _distance(parts, pair[1]), default=(None, {}))[0]


def _distance(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[int, float]:
    a = frozenset(first.get("ir", "").splitlines())
    b = frozenset(second.get("ir", "").splitlines())
    return len(differences(first, second)), len(a ^ b) / max(1, len(a | b))


def explain_miss(key: CacheKey, store: Store) -> str:
    """Why `store` has no entry for `key`: what differs from the nearest one."""
    found = nearest(key.as_dict(), (item for item in store.list() if item.key != key.digest))
    if found is None:
        return f"no entry for {key.digest[:12]}: the cache {store.root} is empty"
    shown = "\n".join(str(item) for item in differences(found.parts(), key.as_dict()))
    miss, near = key.digest[:12], found.key[:12]
    return f"no entry for {miss}; the nearest is {near}, which differs in\n{shown}"


def kernel_name(parts: Mapping[str, str]) -> str:
    """Name of the function in the printed IR; `?` when there is none."""
    match = _FUNCTION.search(parts.get("ir", ""))
    return match.group(1) if match else "?"
