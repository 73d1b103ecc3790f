"""The part of a call key that a tensor argument contributes.

`annot` states in a `TensorPlan` which extents and strides specialise a kernel; `make_parser` turns
the plan into a function that is called for every launch. It reads the tensor's attributes and looks
its dtype up by identity: no `isinstance`, no import. Everything unusual (a first dtype, a packed
type, a placeholder, a mistake) takes the slow path once more through `read_tensor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from tilelang.errors import ArgumentTypeError, ShapeError
from tilelang.ir.buffer import Extent, format_shape
from tilelang.ir.dtype import dtype
from tilelang.language.v2.arguments import MISSING, TensorFacts, is_pointer, read_tensor

KeyParser = Callable[[str, Any], tuple[Any, ...]]


@dataclass(frozen=True)
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

    def pick(self) -> Callable[[Any], Any]:
        """Function from all entries to those of the key."""
        if self.is_known:
            entries = tuple(extent for _, extent in self.known)
            return lambda _: entries
        if self.rank is None or len(self.static) == self.rank:
            return lambda entries: entries
        if len(self.static) == 1:
            (axis,) = self.static
            return lambda entries: (entries[axis],)
        return itemgetter(*self.static)

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
                    f"argument `{name}`: {what} of axis {axis} is `{entries[axis]}`, but the kernel is "
                    "specialised for it: expected an integer"
                )


def check_rank(name: str, rank: int, entries: tuple[Any, ...]) -> None:
    """Raise `ShapeError` unless there are `rank` entries."""
    if len(entries) != rank:
        raise ShapeError(
            f"argument `{name}`: expected rank {rank}, got rank {len(entries)} {format_shape(entries)}"
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


@dataclass(frozen=True)
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
    """A function `(argument name, value) -> (extents, strides, dtype)`; it raises what does not fit."""
    accepted: dict[Any, dtype] = {}  # dtype objects of tensors whose `.shape` counts elements

    def parse_slowly(name: str, value: Any) -> tuple[Any, ...]:
        if plan.is_known and (value is MISSING or is_pointer(value)):
            return (_known(plan.shape), _known(plan.strides), plan.kind)
        facts = read_tensor(name, value, plan.kind)
        plan.shape.check(name, "extent", facts.shape)
        plan.strides.check(name, "stride", facts.strides)
        if not facts.is_placeholder and facts.dtype.elements_per_byte == 1:
            _remember(accepted, value, facts)
        return (pick_extents(facts.shape), pick_strides(facts.strides), facts.dtype)

    pick_extents, pick_strides = plan.shape.pick(), plan.strides.pick()
    if plan.strides.is_known and not plan.strides.known:
        return _shape_parser(plan.shape, accepted, pick_extents, parse_slowly)
    return _strided_parser(plan, accepted, pick_extents, pick_strides, parse_slowly)


def _known(axes: AxesPlan) -> tuple[int, ...]:
    return tuple(extent for _, extent in axes.known)


def _remember(accepted: dict[Any, dtype], value: Any, facts: TensorFacts) -> None:
    # A tensor may have a dtype of its own that has no hash; it is then read slowly every time.
    if type(value.dtype).__hash__ is not None:
        accepted[value.dtype] = facts.dtype


def _shape_parser(
    plan: AxesPlan,
    accepted: dict[Any, dtype],
    pick: Callable[[Any], Any],
    parse_slowly: KeyParser,
) -> KeyParser:
    """The common case: strides say nothing that the shape does not."""
    rank, known = plan.rank, plan.known

    def parse(name: str, value: Any) -> tuple[Any, ...]:
        try:
            kind = accepted[value.dtype]
            shape = value.shape
        except (AttributeError, KeyError, TypeError):
            return parse_slowly(name, value)
        if rank is not None and len(shape) != rank:
            return parse_slowly(name, value)
        for axis, extent in known:
            if shape[axis] != extent:
                return parse_slowly(name, value)
        return (pick(shape), (), kind)

    return parse


def _strided_parser(
    plan: TensorPlan,
    accepted: dict[Any, dtype],
    pick_extents: Callable[[Any], Any],
    pick_strides: Callable[[Any], Any],
    parse_slowly: KeyParser,
) -> KeyParser:
    rank, known, known_strides = plan.shape.rank, plan.shape.known, plan.strides.known

    def parse(name: str, value: Any) -> tuple[Any, ...]:
        try:
            kind = accepted[value.dtype]
            shape, strides = value.shape, value.stride()  # NumPy counts bytes and has no `stride`
        except (AttributeError, KeyError, TypeError):
            return parse_slowly(name, value)
        if rank is not None and len(shape) != rank:
            return parse_slowly(name, value)
        for axis, extent in known:
            if shape[axis] != extent:
                return parse_slowly(name, value)
        for axis, step in known_strides:
            if strides[axis] != step:
                return parse_slowly(name, value)
        return (pick_extents(shape), pick_strides(strides), kind)

    return parse
