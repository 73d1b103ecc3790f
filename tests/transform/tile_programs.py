"""Random tile programs for a GPU: copies, nests, reductions and products, as text.

`program(seed)` gives the text of a PrimFunc with one launch, and its inputs. All values are small
integers, so that every type and every order of summation gives the same numbers. Nests index their
buffers whole, projected, transposed, reversed, shifted and in part; every buffer is written before
it is read.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import tests.interpreter as interpreter
import tilelang
from tilelang.ir.func import PrimFunc
from tilelang.language.script import from_script

THREADS = (32, 64, 96, 128, 128, 160, 256)
KINDS = ("float32", "float32", "float16", "int32")
POLICIES = ("Square", "FullRow", "FullCol")


@dataclass(frozen=True)
class Program:
    """Text and inputs.

    Attributes:
        source: defines `kernel`; outputs are the parameters that `inputs` holds as zeros.
    """

    seed: int
    source: str
    inputs: dict[str, np.ndarray]

    def traced(self) -> PrimFunc:
        """The text, run through the front end."""
        func = from_script(self.source, f"<tile-program-{self.seed}>")
        assert isinstance(func, PrimFunc)
        return func


@dataclass(frozen=True)
class Tile:
    """A buffer of the program on chip."""

    name: str
    scope: str
    shape: tuple[int, ...]
    kind: str


@dataclass
class _Writer:
    rng: random.Random
    threads: int
    lines: list[str] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    params: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    inputs: set[str] = field(default_factory=set)
    depth: int = 2

    def write(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    # -- buffers -----------------------------------------------------------------------------------

    def size(self) -> int:
        choices = (1, 3, 7, 8, 13, 16, 17, 24, 31, 32, 40, 48, 64, 64, 97)
        return self.rng.choice(choices)

    def shape(self) -> tuple[int, ...]:
        rank = self.rng.choice((1, 2, 2, 2, 3))
        shape = tuple(self.size() for _ in range(rank))
        while np.prod(shape) > 4096:
            shape = tuple(max(1, n // 2) for n in shape)
        return shape

    def allocate(self, shape: tuple[int, ...], kind: str, scope: str | None = None) -> Tile:
        scope = scope or self.rng.choice(("fragment", "fragment", "shared"))
        tile = Tile(f"{scope[0]}{len(self.tiles)}", scope, shape, kind)
        self.write(f"{tile.name} = T.alloc_{scope}({shape}, '{kind}')")
        self.tiles.append(tile)
        return tile

    def loaded(self, shape: tuple[int, ...], kind: str, scope: str | None = None) -> Tile:
        """A tile that holds an input."""
        name = f"X{len(self.params)}"
        self.params[name] = (shape, kind)
        self.inputs.add(name)
        tile = self.allocate(shape, kind, scope)
        if self.rng.random() < 0.7:
            self.write(f"T.copy({name}, {tile.name})")
        else:
            names, around = self.loops(shape)
            self.write(around)
            self.write(f"    {tile.name}[{names}] = {name}[{names}]")
        return tile

    def stored(self, tile: Tile) -> None:
        """Show a tile to the outside."""
        name = f"Y{len(self.params)}"
        self.params[name] = (tile.shape, tile.kind)
        if self.rng.random() < 0.7:
            self.write(f"T.copy({tile.name}, {name})")
        else:
            names, around = self.loops(tile.shape)
            self.write(around)
            self.write(f"    {name}[{names}] = {tile.name}[{names}]")

    def loops(self, extents: tuple[int, ...]) -> tuple[str, str]:
        names = ", ".join("ijkl"[: len(extents)])
        return names, f"for {names} in T.Parallel({', '.join(map(str, extents))}):"

    # -- statements --------------------------------------------------------------------------------

    def some(self, accept: Callable[[Tile], bool] = lambda _: True) -> Tile | None:
        found = [t for t in self.tiles if accept(t)]
        return self.rng.choice(found) if found else None

    def copied(self) -> None:
        src = self.some()
        assert src is not None
        kind = src.kind if self.rng.random() < 0.6 else self.rng.choice(KINDS)
        dst = self.allocate(src.shape, kind)
        self.write(f"T.copy({src.name}, {dst.name})")

    def part_copied(self) -> None:
        """A box of one tile to a corner of another."""
        src = self.some()
        assert src is not None
        box = tuple(self.rng.randint(1, n) for n in src.shape)
        start = [self.rng.randint(0, n - b) for n, b in zip(src.shape, box)]
        shape = tuple(b + self.rng.choice((0, 0, 1, 5)) for b in box)
        dst = self.allocate(shape, src.kind)
        put = [self.rng.randint(0, n - b) for n, b in zip(shape, box)]
        self.write(f"T.fill({dst.name}, {self.rng.randint(-3, 3)})")
        ranges = [", ".join(f"{a}:{a + b}" for a, b in zip(s, box)) for s in (start, put)]
        self.write(f"T.copy({src.name}[{ranges[0]}], {dst.name}[{ranges[1]}])")

    def nest(self) -> None:
        """A new tile, or a part of one, from whatever can be indexed."""
        model = self.some()
        assert model is not None
        extents = model.shape if self.rng.random() < 0.8 else self.shape()
        if self.rng.random() < 0.3:
            extents = extents[::-1]
        if self.rng.random() < 0.25:
            dst, target = self.partial_target(extents)
        else:
            dst = self.allocate(extents, self.rng.choice(KINDS))
            target = list("ijkl"[: len(extents)])
        reads = [self.read(extents, dst) for _ in range(self.rng.choice((1, 1, 2, 3)))]
        value = f"T.cast({' + '.join(reads)} + {self.rng.randint(-2, 2)}, 'float32')"
        value = f"T.max(T.min({value}, 8.0), -8.0)"
        _, around = self.loops(extents)
        self.write(around)
        self.write(f"    {dst.name}[{', '.join(target)}] = T.cast({value}, '{dst.kind}')")

    def partial_target(self, extents: tuple[int, ...]) -> tuple[Tile, list[str]]:
        more = [self.rng.choice((0, 1, 3, 8)) for _ in extents]
        shape = tuple(n + m for n, m in zip(extents, more))
        dst = self.allocate(shape, self.rng.choice(KINDS))
        self.write(f"T.fill({dst.name}, 1)")
        target = []
        for name, extent, m in zip("ijkl", extents, more):
            offset = self.rng.randint(0, m)
            if self.rng.random() < 0.2:
                target.append(f"{extent - 1 + offset} - {name}")
            else:
                target.append(f"{name} + {offset}" if offset else name)
        return dst, target

    def read(self, extents: tuple[int, ...], dst: Tile) -> str:
        """A load of some tile with indices in range, cast to float32."""
        sources = [t for t in self.tiles if t is not dst]
        src = self.rng.choice(sources)
        names = list(zip("ijkl", extents))
        if self.rng.random() < 0.5:
            names = names[::-1]  # transposed, or the columns' projection
        indices = []
        for size in src.shape:
            fitting = [n for n in names if n[1] <= size]
            if not fitting or self.rng.random() < 0.1:
                indices.append(str(self.rng.randrange(size)))
                continue
            chosen = fitting[0]
            names.remove(chosen)
            offset = self.rng.randint(0, size - chosen[1]) if self.rng.random() < 0.5 else 0
            if self.rng.random() < 0.15:
                indices.append(f"{chosen[1] - 1 + offset} - {chosen[0]}")
            else:
                indices.append(f"{chosen[0]} + {offset}" if offset else chosen[0])
        return f"T.cast({src.name}[{', '.join(indices)}], 'float32')"

    def repeated(self) -> None:
        """A tile updated in a serial loop by rows of another."""
        src = self.some(lambda t: len(t.shape) == 2 and t.shape[0] <= 32)
        if src is None:
            return
        rows, columns = src.shape
        kind = self.rng.choice(("float32", "int32"))
        dst = self.allocate((columns,), kind)
        self.write(f"T.clear({dst.name})")
        start = self.rng.randint(0, rows - 1)
        self.write(f"for t in T.serial({start}, {rows}):")
        self.write(f"    for i in T.Parallel({columns}):")
        index = self.rng.choice(("t, i", f"t, {columns - 1} - i", f"{rows - 1} - t + {start}, i"))
        read = f"T.max(T.min(T.cast({src.name}[{index}], 'float32'), 8.0), -8.0)"
        self.write(f"        {dst.name}[i] = {dst.name}[i] + T.cast({read}, '{kind}')")

    def reduced(self) -> None:
        src = self.some(lambda t: len(t.shape) > 1 and t.kind != "float16")
        if src is None:
            return
        dim = self.rng.randrange(len(src.shape))
        shape = src.shape[:dim] + src.shape[dim + 1 :]
        scope = "shared" if src.scope == "shared" and self.rng.random() < 0.3 else "fragment"
        dst = self.allocate(shape, src.kind, scope)
        clear = self.rng.random() < 0.6
        if not clear:
            self.write(f"T.fill({dst.name}, 2)")
        kind = self.rng.choice(("sum", "max", "min"))
        self.write(f"T.reduce_{kind}({src.name}, {dst.name}, dim={dim}, clear={clear})")

    def product(self) -> None:
        """A product whose operands are new inputs, or what was computed."""
        rng = self.rng
        M, N, K = rng.choice((16, 32, 64)), rng.choice((16, 32, 64)), rng.choice((16, 32, 48))
        flip_a, flip_b = rng.random() < 0.3, rng.random() < 0.4
        a = self.operand((K, M) if flip_a else (M, K), ("shared", "shared", "fragment"))
        b = self.operand((N, K) if flip_b else (K, N), ("shared",))
        policy = rng.choice(POLICIES)
        out = self.allocate((M, N), "float32", "fragment")
        self.write(f"T.clear({out.name})")
        flags = f"transpose_A={flip_a}, transpose_B={flip_b}"
        self.write(
            f"T.gemm({a.name}, {b.name}, {out.name}, {flags}, policy=T.GemmWarpPolicy.{policy})"
        )

    def operand(self, shape: tuple[int, ...], scopes: tuple[str, ...]) -> Tile:
        scope = self.rng.choice(scopes)
        made = self.some(lambda t: t.shape == shape and t.kind == "float32")
        if made is None or self.rng.random() < 0.5:
            return self.loaded(shape, "float16", scope)
        tile = self.allocate(shape, "float16", scope)
        names, around = self.loops(shape)
        self.write(around)
        value = f"T.max(T.min({made.name}[{names}], 4.0), -4.0)"
        self.write(f"    {tile.name}[{names}] = T.cast({value}, 'float16')")
        return tile


def program(seed: int, products: bool = True) -> Program:
    """The program of that number; with `products`, some have matrix products."""
    rng = random.Random(seed)
    w = _Writer(rng, rng.choice(THREADS))
    for _ in range(rng.randint(1, 2)):
        w.loaded(w.shape(), rng.choice(KINDS))
    with_products = products and rng.random() < 0.4
    if with_products:
        w.threads = rng.choice((32, 64, 128))
        w.product()
    steps = [w.nest, w.nest, w.nest, w.copied, w.part_copied, w.repeated, w.reduced, w.reduced]
    if with_products:
        steps.append(w.product)
    for _ in range(rng.randint(2, 6)):
        rng.choice(steps)()
    for tile in rng.sample(w.tiles, min(len(w.tiles), 4)):
        w.stored(tile)
    if w.tiles[-1].name not in "".join(line for line in w.lines[-8:] if "Y" in line):
        w.stored(w.tiles[-1])
    lines = ["import tilelang.language as T", "", "", "@T.prim_func", "def kernel("]
    lines += [f"    {n}: T.Tensor({s}, '{k}')," for n, (s, k) in w.params.items()]
    lines += ["):", f"    with T.Kernel(1, threads={w.threads}) as _:", *w.lines, ""]
    numbers = np.random.default_rng(seed)
    inputs = {
        n: numbers.integers(-4, 5, s).astype(k) if n in w.inputs else np.zeros(s, k)
        for n, (s, k) in w.params.items()
    }
    return Program(seed, "\n".join(lines), inputs)


def interpreted(made: Program) -> dict[str, np.ndarray]:
    """The arrays after interpreting the tile form."""
    arrays = {n: x.copy() for n, x in made.inputs.items()}
    interpreter.run(made.traced(), arrays)
    return arrays


def emulated(made: Program, target: str) -> dict[str, np.ndarray]:
    """The arrays after all passes, the IR verified after each, and a run with all checks on: races,
    accesses out of bounds, and reads of what nothing wrote are faults."""
    import torch

    tensors = {n: torch.from_numpy(x.copy()) for n, x in made.inputs.items()}
    options = {"TILELANG_EMULATE": True, "TILELANG_VERIFY": True, "TILELANG_DISABLE_CACHE": True}
    with tilelang.env.scope(**options):
        kernel = tilelang.compile(made.traced(), target=target)
        kernel(*tensors.values())
    return {n: x.numpy() for n, x in tensors.items()}


def check(made: Program, target: str = "cuda -arch=sm_80") -> None:
    """Require that the compiled program computes what the tile program means."""
    want, got = interpreted(made), emulated(made, target)
    for name, array in want.items():
        message = f"seed {made.seed}, {name}, {target}"
        np.testing.assert_array_equal(got[name], array, err_msg=message)
