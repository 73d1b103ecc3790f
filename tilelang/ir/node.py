"""The one piece of machinery under every IR node.

`@node` turns an annotated class into a slotted dataclass with a `span` that comes last and is never
compared. Nodes are immutable by convention: build a new one with `replace`. Children are found from
the declared fields, so visitors, equality and printing need no code per class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tilelang.errors import Span

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        return lambda decorator: decorator


@dataclasses.dataclass(eq=False, repr=False, slots=True)
class Node:
    """Base of everything that has fields and a place in the user's source."""

    fields: ClassVar[tuple[str, ...]] = ()  # declared fields in order, without `span`
    parts: ClassVar[tuple[str, ...]] = ()  # those of them that may hold nodes or buffers
    # The values of those that may hold nodes, the last field first; `None` where there are none.
    below: ClassVar[Callable[[Any], tuple[Any, ...]] | None] = None
    span: Span | None = dataclasses.field(default=None, kw_only=True)

    def __repr__(self) -> str:
        from tilelang.ir.printer import to_text  # the printer is built on the nodes

        return to_text(self)


# Fields declared as one of these hold neither nodes nor buffers; walks pass them by.
_PLAIN = frozenset(("str", "int", "float", "bool", "dtype", "LoopKind", "Access"))
_LEAVES = _PLAIN | {"Buffer"}  # those that hold no nodes

T = TypeVar("T")
N = TypeVar("N", bound=Node)


@dataclass_transform(eq_default=False, field_specifiers=(dataclasses.field,))
def node(cls: type[T]) -> type[T]:
    """Make `cls` a node. As slots rebuild the class, `super()` needs its arguments in methods."""
    made: Any = dataclasses.dataclass(eq=False, repr=False, slots=True)(cls)
    declared = [f for f in dataclasses.fields(made) if f.name != "span"]
    made.fields = tuple(f.name for f in declared)
    made.parts = tuple(f.name for f in declared if f.type not in _PLAIN)
    made.below = _values_of([f.name for f in reversed(declared) if f.type not in _LEAVES])
    return made


def _values_of(names: list[str]) -> Callable[[Any], tuple[Any, ...]] | None:
    if not names:
        return None
    if len(names) > 1:
        return staticmethod(attrgetter(*names))
    (name,) = names
    return staticmethod(lambda node: (getattr(node, name),))


def replace(original: N, **changes: Any) -> N:
    """A copy of `original` with some fields changed; the span is kept unless given."""
    values = {name: changes.pop(name, getattr(original, name)) for name in original.fields}
    span = changes.pop("span", original.span)
    assert not changes, f"{type(original).__name__} has no fields {sorted(changes)}"
    return type(original)(**values, span=span)
