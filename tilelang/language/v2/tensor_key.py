"""The part of a call key that a tensor argument contributes.

`annot` states in a `TensorPlan` which extents and strides specialise a kernel; `make_parser` turns
the plan into a function that is called for every launch. It reads the tensor's attributes and looks
its dtype up by identity: no `isinstance`, no import. Everything unusual (a first dtype, a packed
type, a placeholder, a mistake) takes the slow path once more through `read_tensor`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilelang.errors import ArgumentTypeError, ShapeError
from tilelang.ir.buffer import Extent, format_shape
from tilelang.ir.dtype import dtype
from tilelang.ir.record import record
from tilelang.language.v2.arguments import MISSING, TensorFacts, is_pointer, read_tensor

KeyParser = Callable[[str, Any], tuple[Any, ...]]


@record
class AxesPlan:
    """Which entries of a shape, or of the strides, belong to the key.

    Attributes:
        rank: how many entries there must be; `None` allows any number, and all belong to the key.
        static: axes whose entries belong to the key, ascending.
        known: entry that an axis must have, for the static axes where it is given.
    """

    rank: int | None = None
    static: tuple[int, ...] = ()
    known: tuple[tuple[int, int], ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the key entries do not depend on the argument."""
        return self.rank is not None and len(self.known) == len(self.static)

    @property
    def is_whole(self) -> bool:
        """Whether every entry belongs to the key."""
        return self.rank is None or len(self.static) == self.rank

    def pick(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        """The entries that belong to the key."""
        return entries if self.is_whole else tuple(entries[axis] for axis in self.static)

    def known_entries(self) -> tuple[int, ...]:
        """The entries of the key, where they do not depend on the argument."""
        assert self.is_known, "the argument decides some of the entries"
        return tuple(extent for _, extent in self.known)

    def picking_text(self, entries: str) -> str:
        """Python text of `pick`, given the name that holds the entries."""
        if self.is_known:
            return repr(self.known_entries())
        if self.is_whole:
            return entries
        return f"({''.join(f'{entries}[{axis}], ' for axis in self.static)})"

    def mismatch_text(self, entries: str) -> list[str]:
        """Conditions, as Python text, under which an argument is looked at again."""
        rank = [] if self.rank is None else [f"len({entries}) != {self.rank}"]
        return rank + [f"{entries}[{axis}] != {extent}" for axis, extent in self.known]

    def check(self, name: str, what: str, entries: tuple[Extent, ...]) -> None:
        """Raise `ShapeError` unless `entries` fit; symbolic ones fit no static axis."""
        if self.rank is None:
            axes: tuple[int, ...] = tuple(range(len(entries)))
        else:
            check_rank(name, self.rank, entries)
            axes = self.static
        for axis, expected in self.known:
            check_extent(name, what, axis, expected, entries)
        for axis in axes:
            if not isinstance(entries[axis], int):
                raise ArgumentTypeError(
                    f"argument `{name}`: {what} of axis {axis} is `{entries[axis]}`, but the "
                    "kernel is specialised for it: expected an integer"
                )


def check_rank(name: str, rank: int, entries: tuple[Any, ...]) -> None:
    """Raise `ShapeError` unless there are `rank` entries."""
    if len(entries) != rank:
        raise ShapeError(
            f"argument `{name}`: expected rank {rank}, got rank {len(entries)} "
            f"{format_shape(entries)}"
        )


def check_extent(
    name: str, what: str, axis: int, expected: Extent, entries: tuple[Any, ...]
) -> None:
    """Raise `ShapeError` unless entry `axis` is `expected`."""
    if entries[axis] != expected:
        raise ShapeError(
            f"argument `{name}`: expected {what} {expected} of axis {axis}, got {entries[axis]} in "
            f"{format_shape(entries)}"
        )


@record
class TensorPlan:
    """What of a tensor argument belongs to the key; `kind` is `None` where any dtype will do."""

    shape: AxesPlan
    strides: AxesPlan
    kind: dtype | None

    @property
    def is_known(self) -> bool:
        """Whether every argument that fits has the same key."""
        return self.shape.is_known and self.strides.is_known and self.kind is not None


def make_parser(plan: TensorPlan) -> KeyParser:
    """A function `(argument name, value) -> (extents, strides, dtype)` that checks the value.

    It is written for the plan, as this, which belongs to `T.Tensor[[int, 64], "float16"]`:

        def parse_tensor(name, value):
            try:
                kind, shape = accepted[value.dtype], value.shape
            except (AttributeError, KeyError, TypeError):
                return parse_slowly(name, value)
            if len(shape) != 2 or shape[1] != 64:
                return parse_slowly(name, value)
            return ((shape[0], 64), (), kind)
    """
    accepted: dict[Any, dtype] = {}  # dtype objects of tensors whose `.shape` counts elements

    def parse_slowly(name: str, value: Any) -> tuple[Any, ...]:
        if plan.is_known and (value is MISSING or is_pointer(value)):
            return (plan.shape.known_entries(), plan.strides.known_entries(), plan.kind)
        facts = read_tensor(name, value, plan.kind)
        plan.shape.check(name, "extent", facts.shape)
        plan.strides.check(name, "stride", facts.strides)
        if not facts.is_placeholder and facts.dtype.elements_per_byte == 1:
            _remember(accepted, value, facts)
        return (plan.shape.pick(facts.shape), plan.strides.pick(facts.strides), facts.dtype)

    scope: dict[str, Any] = {"accepted": accepted, "parse_slowly": parse_slowly}
    exec(compile(_parser_text(plan), "<parse_tensor>", "exec"), scope)
    return scope["parse_tensor"]


def _parser_text(plan: TensorPlan) -> str:
    reads, mismatches = "", plan.shape.mismatch_text("shape")
    if not plan.strides.is_known or plan.strides.known:
        reads = "; strides = value.stride()"  # NumPy has no such method and is read slowly
        mismatches += plan.strides.mismatch_text("strides")
    extents, strides = plan.shape.picking_text("shape"), plan.strides.picking_text("strides")
    lines = [
        "def parse_tensor(name, value):",
        f"    try: kind, shape = accepted[value.dtype], value.shape{reads}",
        "    except (AttributeError, KeyError, TypeError): return parse_slowly(name, value)",
        f"    if {' or '.join(mismatches)}: return parse_slowly(name, value)" if mismatches else "",
        f"    return ({extents}, {strides}, kind)",
    ]
    return "\n".join(lines)


def _remember(accepted: dict[Any, dtype], value: Any, facts: TensorFacts) -> None:
    # A tensor may have a dtype of its own that has no hash; it is then read slowly every time.
    if type(value.dtype).__hash__ is not None:
        accepted[value.dtype] = facts.dtype
