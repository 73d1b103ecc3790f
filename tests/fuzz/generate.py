"""Random legal tile programs from a seed.

`generate(seed)` gives the text of a kernel, what to pass to it, and how far each output may be from
the interpreter's. The text is traced like a user's, so the front end is tested with it. The same
seed gives the same program on every Python.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace

from tests.fuzz.control import output, statements
from tests.fuzz.expressions import Expressions, Index, Storage
from tests.fuzz.kernel import Content, Kernel, Output, State, merged
from tests.fuzz.tiles import COMMON_KINDS, RARE_KINDS
from tests.fuzz.values import INTEGERS, PRECISION, Value

BLOCK_VARIABLES = ("bx", "by", "bz")
LARGEST_GRID = 12


@dataclass(frozen=True)
class Argument:
    """One parameter of a program.

    Attributes:
        shape: `None` for a number.
        low, high, grid: values are drawn from low..high in steps of 2**-grid.
        role: "in", "inout" (random before the call) or "out" (poison before the call).
        tolerance: largest distance of an element from the interpreter's.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    low: float
    high: float
    grid: int
    role: str
    tolerance: float = 0.0


@dataclass(frozen=True)
class Program:
    """A kernel as text, and its parameters."""

    seed: int
    source: str
    arguments: tuple[Argument, ...]


class _Generator:
    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, random.Random(seed)
        self.names = itertools.count()
        self.expressions = Expressions(self.rng)
        self.arguments: dict[str, Argument] = {}
        self.storages: dict[str, Storage] = {}
        self.contents: State = {}
        self.dynamic: dict[str, int] = {}

    # -- parameters --------------------------------------------------------------------------------

    def _extent(self) -> tuple[str, int]:
        """An extent of a global buffer, as text and number."""
        roll = self.rng.random()
        if roll < 0.15 and self.dynamic:
            return self.rng.choice(list(self.dynamic.items()))
        number = self.rng.choice((1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 16, 17, 20, 24, 31, 33))
        if roll < 0.35 and len(self.dynamic) < 2:
            name = f"n{len(self.dynamic)}"
            self.dynamic[name] = number
            return name, number
        return str(number), number

    def _parameter(self, prefix: str, kind: str, role: str, rank: int) -> Storage:
        dims, shape = zip(*(self._extent() for _ in range(rank)))
        while _count(shape) > 600:
            dims, shape = (*dims[:-1], "3"), (*shape[:-1], 3)
            if _count(shape) > 600:
                dims, shape = ("2", *dims[1:]), (2, *shape[1:])
        name = f"{prefix}{len(self.arguments)}"
        storage = Storage(name, kind, shape, "global", name, dims)
        value = self._value(kind)
        known = role != "out"
        self.contents[name] = Content(
            value if known else Value(kind, 0, 0), is_readable=known, is_writable=role != "in"
        )
        self.arguments[name] = Argument(
            name, kind, shape, value.low, value.high, value.grid or 0, role
        )
        self.storages[name] = storage
        return storage

    def _value(self, kind: str) -> Value:
        """What an argument may hold."""
        if kind == "bool":
            return Value(kind, 0, 1)
        if kind in INTEGERS:
            low = 0 if kind.startswith("u") else self.rng.choice((-9, -4, 0, 0))
            return Value(kind, low, self.rng.choice((3, 7, 11)))
        return Value(kind, -4, 4, self.rng.choice((0, 0, 1, 2, 8)))

    def _kind(self) -> str:
        return self.rng.choice(COMMON_KINDS if self.rng.random() < 0.8 else RARE_KINDS)

    def _scalar(self) -> tuple[str, Value]:
        kind = self.rng.choice(("int32", "float32", "int64"))
        name, value = f"p{len(self.arguments)}", self._value(kind)
        self.arguments[name] = Argument(
            name, kind, None, value.low, value.high, value.grid or 0, "in"
        )
        return name, value

    # -- launches ----------------------------------------------------------------------------------

    def program(self) -> Program:
        for _ in range(self.rng.randint(1, 3)):
            self._parameter("A", self._kind(), "in", self.rng.choice((1, 2, 2, 3)))
        if self.rng.random() < 0.5:
            self._parameter("I", self.rng.choice(("int32", "int32", "int64")), "in", 1)
        scalars = [self._scalar()] if self.rng.random() < 0.3 else []
        body: list[str] = []
        for _ in range(self.rng.choice((1, 1, 1, 2, 2, 3))):
            body += self._launch(scalars)
        return Program(self.seed, self._text(body), tuple(self._finished()))

    def _text(self, body: list[str]) -> str:
        lines = ["import tilelang.language as T", ""]
        lines += [f"{name} = T.dynamic('{name}')" for name in self.dynamic]
        lines += ["", "", "@T.prim_func", "def kernel("]
        for argument in self.arguments.values():
            kind = f"T.{argument.kind}"
            if argument.shape is not None:
                dims = ", ".join(self.storages[argument.name].dims)
                kind = f"T.Tensor(({dims},), '{argument.kind}')"
            lines.append(f"    {argument.name}: {kind},")
        return "\n".join([*lines, "):", *body, ""])

    def _finished(self) -> list[Argument]:
        made = []
        for name, argument in self.arguments.items():
            if argument.role != "in":
                value = self.contents[name].value
                slack = 0.0 if value.is_exact else 2 * value.error + 1e-6
                argument = replace(argument, tolerance=slack)
            made.append(argument)
        return made

    def _launch(self, scalars: list[tuple[str, Value]]) -> list[str]:
        rng = self.rng
        main = self._output_storage()
        others = [self._output_storage() for _ in range(rng.choice((0, 0, 1)))]
        outputs, grid = self._spread(main)
        outputs += [self._tiled(o, grid) for o in others if o is not main]
        k = Kernel(rng, self.expressions, self.names, depth=1, scalars=scalars)
        k.outputs = [self._guarded(o, grid) for o in outputs]
        k.grid, k.new_output = tuple(n for _, n in grid), self._shown
        k.indices = [Index(b, 0, n - 1) for b, (_, n) in zip(BLOCK_VARIABLES, grid)]
        written = {o.storage.name for o in k.outputs}
        k.contents = {
            name: replace(c, is_writable=name in written, combines=None, is_accumulator=False)
            for name, c in self.contents.items()
        }
        if rng.random() < 0.4:
            k.targets = [self._atomic_target(k)]
        held = written | {s.name for s in k.targets}
        k.storages = [
            s for s in self.storages.values() if s.name not in held and k.content(s).is_readable
        ]
        self._write_launch(k, grid)
        self.contents = {
            name: replace(merged({name: k.contents[name]}, {})[name], is_accumulator=False)
            for name in self.arguments
            if name in k.contents
        }
        return k.lines

    def _write_launch(self, k: Kernel, grid: list[tuple[str, int]]) -> None:
        names = ", ".join(BLOCK_VARIABLES[: len(grid)])
        target = f"({names})" if len(grid) > 1 else names
        threads = self.rng.choice(("", ", threads=128", ", threads=32", ", threads=(16, 4)"))
        extents = ", ".join(text for text, _ in grid)
        with k.block(f"with T.Kernel({extents}{threads}) as {target}:"):
            if self.rng.random() < 0.1:
                k.write(f"T.use_swizzle({self.rng.randint(2, 6)})")
            self._safe_value(k)
            statements(k, self.rng.randint(3, 9))
            for _ in k.outputs:
                output(k)

    def _safe_value(self, k: Kernel) -> None:
        found = [s for s in k.storages if s.kind in PRECISION or s.kind == "int32"]
        if not found or self.rng.random() > 0.15:
            return
        storage = self.rng.choice(found)
        content = k.contents[storage.root]
        number = self.rng.randint(0, 3)
        k.write(f"T.annotate_safe_value({{{storage.name}: {number}}})")
        value = content.value
        low, high = min(value.low, number), max(value.high, number)
        k.contents[storage.root] = replace(content, value=replace(value, low=low, high=high))

    def _atomic_target(self, k: Kernel) -> Storage:
        kind = self.rng.choice(("int32", "float32", "int32", "float64", "int64"))
        storage = self._parameter("R", kind, "inout", self.rng.choice((1, 2)))
        # Blocks combine into it all along: it is the accumulator of the whole launch.
        k.contents[storage.root] = replace(
            self.contents[storage.root], is_accumulator=True, is_readable=False
        )
        return storage

    def _shown(self, kind: str, shape: tuple[int, ...]) -> Storage:
        name = f"D{len(self.arguments)}"
        self.arguments[name] = Argument(name, kind, shape, 0, 0, 0, "out")
        self.storages[name] = Storage(name, kind, shape, "global", name, tuple(map(str, shape)))
        return self.storages[name]

    def _output_storage(self) -> Storage:
        old = [
            s for s in self.storages.values()
            if self.arguments[s.name].role != "in" and not s.name.startswith("D")
        ]  # fmt: skip
        if old and self.rng.random() < 0.3:
            return self.rng.choice(old)
        role = self.rng.choice(("out", "out", "inout"))
        return self._parameter("C", self._kind(), role, self.rng.choice((1, 2, 2, 3)))

    def _spread(self, storage: Storage) -> tuple[list[Output], list[tuple[str, int]]]:
        """A buffer cut into tiles, and the grid that covers it."""
        axes: list[str | None] = [None] * len(storage.shape)
        tile, grid = list(storage.shape), []
        for axis in self.rng.sample(range(len(axes)), len(axes)):
            text, extent = storage.dims[axis], storage.shape[axis]
            size = self.rng.choice((1, 2, 3, 4, 5, 8, 16))
            count = -(-extent // size)
            if len(grid) < 3 and _count(tuple(n for _, n in grid)) * count <= LARGEST_GRID:
                axes[axis], tile[axis] = BLOCK_VARIABLES[len(grid)], size
                written = f"T.ceildiv({text}, {size})"
                grid.append((str(count) if self.rng.random() < 0.2 else written, count))
        if not grid or (len(grid) < 3 and self.rng.random() < 0.1):
            extra = self.rng.randint(1, 2)
            grid.append((str(extra), extra))
        return [Output(storage, tuple(axes), tuple(tile))], grid

    def _tiled(self, storage: Storage, grid: list[tuple[str, int]]) -> Output:
        """A buffer whose tiles go to the blocks of a grid that is already there."""
        free = list(range(len(grid)))
        axes: list[str | None] = []
        tile: list[int] = []
        for extent in storage.shape:
            number = self.rng.choice(free) if free and self.rng.random() < 0.8 else None
            if number is not None:
                free.remove(number)
            axes.append(None if number is None else BLOCK_VARIABLES[number])
            tile.append(extent if number is None else self.rng.choice((1, 2, 4, 5)))
        return Output(storage, tuple(axes), tuple(tile))

    def _guarded(self, output: Output, grid: list[tuple[str, int]]) -> Output:
        """Only one of the blocks that share a tile may write it."""
        others = [
            f"{name} == {self.rng.randrange(n)}"
            for name, (_, n) in zip(BLOCK_VARIABLES, grid)
            if name not in output.axes and n > 1
        ]
        return replace(output, guard=" and ".join(others))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def generate(seed: int) -> Program:
    """The program of that number."""
    return _Generator(seed).program()
