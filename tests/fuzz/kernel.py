"""The kernel being generated: its text so far, the buffers in scope, and what they may hold.

Everything that adds statements works on one `Kernel`. It keeps a program legal: an on-chip buffer
is read only after it was written whole; in a loop an outer buffer is constant, or only accumulated
into, or written again before it is read, so that bounds hold for every iteration; a global buffer
belongs to one block tile by tile, or is combined into by atomics alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.fuzz import values as v
from tests.fuzz.expressions import Expressions, Index, Place, Storage
from tests.fuzz.values import Rejected, Value


@dataclass(frozen=True)
class Content:
    """What is known of one memory.

    Attributes:
        is_readable: it was written whole.
        is_writable: it is neither an input nor constant in the loop around.
        is_accumulator: the loops around only combine into it.
        combines: how they do: "+" or "max" or "min"; `None` before the first time.
        times: how often a statement here runs, at most, while nothing else writes it.
    """

    value: Value
    is_readable: bool = True
    is_writable: bool = True
    is_accumulator: bool = False
    combines: str | None = None
    times: int = 1


@dataclass(frozen=True)
class Output:
    """A global buffer that the launch writes: per axis the block index and the tile's extent."""

    storage: Storage
    axes: tuple[str | None, ...]  # block variable, or None for an axis that a block has whole
    tile: tuple[int, ...]
    guard: str = ""  # where a block variable numbers no axis: which block writes

    def origin(self, axis: int) -> str:
        """The first index of the block's tile."""
        name = self.axes[axis]
        return "0" if name is None else f"{name} * {self.tile[axis]}"


State = dict[str, Content]


@dataclass
class Kernel:
    """One launch."""

    rng: random.Random
    expressions: Expressions
    names: Iterator[int]
    contents: State = field(default_factory=dict)
    storages: list[Storage] = field(default_factory=list)  # in scope
    indices: list[Index] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    targets: list[Storage] = field(default_factory=list)  # of atomics
    scalars: list[tuple[str, Value]] = field(default_factory=list)  # arguments that are numbers
    lines: list[str] = field(default_factory=list)
    depth: int = 0
    nesting: int = 0  # loops and branches around
    is_conditional: bool = False
    grid: tuple[int, ...] = ()
    new_output: Callable[[str, tuple[int, ...]], Storage] | None = None  # a poisoned parameter
    left: list[State] = field(default_factory=list)  # states at the exits of the innermost loop

    # -- text --------------------------------------------------------------------------------------

    def write(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Lines below `header`; what they allocate ends with them."""
        self.write(header)
        self.depth += 1
        known, start = len(self.storages), len(self.lines)
        yield
        for storage in self.storages[known:]:
            self.show(storage)
        if len(self.lines) == start:
            self.write("pass")
        del self.storages[known:]
        self.depth -= 1

    def show(self, storage: Storage) -> None:
        """Copy what an on-chip buffer holds at the end of its life to a parameter of its own."""
        content = self.content(storage)
        if not content.is_readable or storage.name != storage.root or self.rng.random() < 0.3:
            return
        assert self.new_output is not None, "a launch has a program around it"
        blocks = [f"b{c}" for c in "xyz"[: len(self.grid)]]
        shape = (*self.grid, *storage.shape)
        if math.prod(shape) > 6000:
            return
        shown = self.new_output(storage.kind, shape)
        self.contents[shown.root] = Content(content.value, is_readable=False, is_writable=False)
        if storage.scope == "var":
            self.write(f"{shown.name}[{', '.join(blocks)}] = {storage.name}")
        else:
            corner = ", ".join([*blocks, *("0" for _ in storage.shape)])
            self.write(f"T.copy({storage.name}, {shown.name}[{corner}])")

    @property
    def blocks(self) -> int:
        """How many there are."""
        return math.prod(self.grid)

    def name(self, prefix: str) -> str:
        return f"{prefix}{next(self.names)}"

    # -- what may be used --------------------------------------------------------------------------

    def content(self, storage: Storage) -> Content:
        return self.contents[storage.root]

    def readable(self, *scopes: str) -> list[Storage]:
        return [
            s for s in self.storages
            if self.content(s).is_readable and (not scopes or s.scope in scopes)
        ]  # fmt: skip

    def writable(self, *scopes: str) -> list[Storage]:
        """On-chip buffers that may be written whole."""
        scopes = scopes or ("shared", "fragment")
        return [
            s for s in self.storages
            if s.scope in scopes and self.content(s).is_writable
            and not self.content(s).is_accumulator
        ]  # fmt: skip

    def changeable(self, *scopes: str) -> list[Storage]:
        """On-chip buffers of which any part may be read and written."""
        return [s for s in self.writable(*scopes) if self.content(s).is_readable]

    def accumulators(self, *scopes: str) -> list[Storage]:
        """Buffers that may be combined into: readable and writable, or accumulators of a loop."""
        scopes = scopes or ("shared", "fragment")
        return [
            s for s in self.storages
            if s.scope in scopes and self.content(s).is_writable
            and (self.content(s).is_readable or self.content(s).is_accumulator)
        ]  # fmt: skip

    def place(self, *written: Storage, parallel: bool = False) -> Place:
        """What an expression here may use, while the buffers `written` are being written."""
        roots = {w.root for w in written}
        loads = [
            (s, self.content(s).value) for s in self.readable()
            if s.root not in roots and s.scope != ("none" if parallel else "fragment")
        ]  # fmt: skip
        return Place(list(self.indices), loads, list(self.scalars), parallel, self.is_conditional)

    # -- what statements do ------------------------------------------------------------------------

    def set_whole(self, storage: Storage, value: Value) -> None:
        """All elements were written."""
        content = self.content(storage)
        self.contents[storage.root] = replace(content, value=value, is_readable=True)

    def set_part(self, storage: Storage, value: Value) -> None:
        """Some elements were written."""
        content = self.content(storage)
        self.contents[storage.root] = replace(content, value=v.join(content.value, value))

    def combined(self, storage: Storage, how: str, step: Value, times: int = 1) -> Value:
        """The content after combining `step` into it, up to `times` times in each iteration.

        Raises:
            Rejected: where the order or a bound would be lost.
        """
        content = self.content(storage)
        if content.is_accumulator and content.combines not in (None, how):
            raise Rejected("one way of combining per loop")
        if how in ("max", "min"):
            return v.join(content.value, step)
        return v.repeated(content.value, step, times * content.times)

    def combine(self, storage: Storage, how: str, value: Value) -> None:
        """Record what `combined` gave."""
        content = self.content(storage)
        kept = how if content.is_accumulator else None
        self.contents[storage.root] = replace(content, value=value, combines=kept)

    # -- control flow ------------------------------------------------------------------------------

    @contextmanager
    def branch(self, header: str) -> Iterator[None]:
        before, conditional = dict(self.contents), self.is_conditional
        self.is_conditional = True
        self.nesting += 1
        with self.block(header):
            yield
        self.nesting -= 1
        self.is_conditional = conditional
        self.contents = merged(before, self.contents)

    @contextmanager
    def loop(self, header: str, index: Index | None, trips: int) -> Iterator[None]:
        """A loop of up to `trips` iterations; outer buffers get a role in it each."""
        before, exits, conditional = dict(self.contents), self.left, self.is_conditional
        self.left = []
        self.is_conditional |= trips == 0
        for root in self.contents:
            self._give_role(root, trips)
        self.nesting += 1
        with self.block(header):
            if index is not None:
                self.indices.append(index)
            yield
            if index is not None:
                self.indices.remove(index)
        self.nesting -= 1
        for state in self.left:
            self.contents = merged(self.contents, state)
        self.left, self.is_conditional = exits, conditional
        ended = {root: _after_loop(before[root], self.contents[root]) for root in before}
        self.contents = {**self.contents, **ended}

    def _give_role(self, root: str, trips: int) -> None:
        content = self.contents[root]
        if content.is_accumulator:
            content = replace(content, times=content.times * max(trips, 1))
        elif content.is_writable:
            roles = ["stale"]
            if content.is_readable:
                roles += ["constant", "constant", "accumulator", "accumulator"]
            match self.rng.choice(roles):
                case "constant":
                    content = replace(content, is_writable=False)
                case "accumulator":
                    content = replace(
                        content, is_accumulator=True, is_readable=False, combines=None,
                        times=max(trips, 1),
                    )  # fmt: skip
                case _:
                    content = replace(content, is_readable=False)
        self.contents[root] = content

    def leave(self) -> None:
        """A `break` or `continue` stands here."""
        self.left.append(dict(self.contents))


def _after_loop(before: Content, after: Content) -> Content:
    value = after.value
    if not before.is_accumulator:
        value = v.join(before.value, value)
    combines = after.combines if before.is_accumulator else None
    return replace(before, value=value, combines=combines)


def merged(a: State, b: State) -> State:
    """What holds after either of two ways."""
    out = {**b}
    for root in a:
        x, y = a[root], b.get(root, a[root])
        out[root] = replace(
            x,
            value=v.join(x.value, y.value),
            is_readable=x.is_readable and y.is_readable,
            combines=x.combines or y.combines,
        )
    return out
