"""Tile operations: copies between all scopes, fills, products, reductions, scans, tile atomics."""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.fuzz import values as v
from tests.fuzz.elements import accumulate, write_whole
from tests.fuzz.expressions import Storage
from tests.fuzz.kernel import Content, Kernel, Output
from tests.fuzz.values import INTEGERS, Rejected, Value

ON_CHIP = ("shared", "fragment", "local")
COMMON_KINDS = ("float32",) * 5 + ("float16", "bfloat16", "int32", "int32", "int8")
RARE_KINDS = ("float64", "uint8", "int64", "int16", "uint32", "bool")


def some_kind(k: Kernel) -> str:
    return k.rng.choice(COMMON_KINDS if k.rng.random() < 0.8 else RARE_KINDS)


def some_extent(k: Kernel) -> int:
    return k.rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 11, 12, 16, 17))


def some_shape(k: Kernel) -> tuple[int, ...]:
    rank = k.rng.choice((1, 2, 2, 2, 3))
    shape = tuple(some_extent(k) for _ in range(rank))
    return shape if math.prod(shape) <= 96 else shape[-1:]


def allocate(
    k: Kernel, kind: str, shape: tuple[int, ...], scopes: tuple[str, ...] = ("shared", "fragment")
) -> Storage:
    """A new buffer, not yet written."""
    scope = k.rng.choice(scopes)
    name = k.name({"shared": "s", "fragment": "f", "local": "l"}[scope])
    k.write(f"{name} = T.alloc_{scope}({shape!r}, '{kind}')")
    storage = Storage(name, kind, shape, scope, name, tuple(map(str, shape)))
    k.storages.append(storage)
    k.contents[name] = Content(Value(kind, 0, 0), is_readable=False)
    return storage


def new_buffer(k: Kernel) -> Storage:
    """Allocate a buffer and write all of it."""
    scopes = ("shared", "shared", "fragment", "fragment", "local")
    storage = allocate(k, some_kind(k), some_shape(k), scopes)
    overwrite(k, storage)
    return storage


def overwrite(k: Kernel, storage: Storage) -> None:
    """Write all of an on-chip buffer, somehow."""
    ways: list[Callable[[Kernel, Storage], bool]] = [
        _from_elements, _from_elements, _from_global, _from_global, _from_fill, _from_copy,
        _from_transpose,
    ]  # fmt: skip
    if storage.scope == "local":
        ways = [_from_elements, _from_global, _from_fill, _from_copy]
    k.rng.shuffle(ways)
    for way in ways:
        if way(k, storage):
            return


def _from_elements(k: Kernel, storage: Storage) -> bool:
    write_whole(k, storage)
    return True


def _from_fill(k: Kernel, storage: Storage) -> bool:
    if k.rng.random() < 0.5:
        k.write(f"T.clear({storage.name})")
        k.set_whole(storage, Value(storage.kind, 0, 0))
        return True
    place = k.place(storage)
    if k.rng.random() < 0.5:
        text, value = k.expressions.constant(storage.kind)
    else:
        text, value = k.expressions.typed(storage.kind, place, 1)
    k.write(f"T.fill({storage.name}, {text})")
    k.set_whole(storage, value)
    return True


def _convertible(k: Kernel, source: Storage, kind: str) -> Value | None:
    try:
        return v.converted(k.content(source).value, kind)
    except Rejected:
        return None


def _from_global(k: Kernel, storage: Storage) -> bool:
    """A tile of an input, perhaps over its edge."""
    sources = [s for s in k.readable("global") if len(s.shape) >= len(storage.shape)]
    k.rng.shuffle(sources)
    for source in sources:
        value = _convertible(k, source, storage.kind)
        if value is None:
            continue
        lead = len(source.shape) - len(storage.shape)
        starts = [_start(k, n) for n in source.shape]
        sizes = (1,) * lead + storage.shape
        k.write(f"T.copy({_region(k, source, starts, sizes, lead)}, {storage.name})")
        k.set_whole(storage, v.join(value, Value(storage.kind, 0, 0)))
        return True
    return False


def _start(k: Kernel, extent: int) -> str:
    """Where a tile starts along an axis of a global buffer: inside, beyond, or (loaded) before."""
    usable = [i for i in k.indices if i.low >= 0]
    roll = k.rng.random()
    if roll > 0.93:
        place = k.place()
        place.loads = [p for p in place.loads if p[1].kind in ("int32", "int64")]
        if place.loads:
            source, value = k.rng.choice(place.loads)
            if value.magnitude < 2**20:
                return k.expressions.load(source, value, place)[0]
    if usable and roll < 0.6:
        index = k.rng.choice(usable)
        factor = k.rng.choice((1, 2, 4, 5, max(1, extent // (index.high + 1))))
        return f"{index.text} * {factor}" if factor > 1 else index.text
    return str(k.rng.randrange(extent)) if roll < 0.7 else "0"


def _region(
    k: Kernel, storage: Storage, starts: list[str], sizes: tuple[int, ...], lead: int
) -> str:
    """A tile as the user may write it: a corner, or slices (with a number on the leading axes)."""
    if k.rng.random() < 0.5:
        return f"{storage.name}[{', '.join(starts)}]"
    parts = []
    for axis, (start, size) in enumerate(zip(starts, sizes)):
        whole = start == "0" and size == storage.shape[axis]
        if axis < lead:
            parts.append(start)
        elif whole and k.rng.random() < 0.5:
            parts.append(":")
        elif start.isdigit():
            parts.append(f"{start}:{int(start) + size}")
        else:
            parts.append(f"{start} : {start} + {size}")
    return f"{storage.name}[{', '.join(parts)}]"


def _from_copy(k: Kernel, storage: Storage) -> bool:
    """All of another on-chip buffer, or a part of a larger one."""
    for source in k.rng.sample(k.storages, len(k.storages)):
        if source.scope not in ON_CHIP or source.root == storage.root:
            continue
        value = _convertible(k, source, storage.kind) if k.content(source).is_readable else None
        if value is None or len(source.shape) != len(storage.shape):
            continue
        if source.shape == storage.shape:
            k.write(f"T.copy({source.name}, {storage.name})")
        elif all(a >= b for a, b in zip(source.shape, storage.shape)):
            starts = [str(k.rng.randint(0, a - b)) for a, b in zip(source.shape, storage.shape)]
            k.write(f"T.copy({_region(k, source, starts, storage.shape, 0)}, {storage.name})")
        else:
            continue
        k.set_whole(storage, value)
        return True
    return False


def _from_transpose(k: Kernel, storage: Storage) -> bool:
    if len(storage.shape) != 2:
        return False
    sources = [
        s for s in k.readable("shared", "fragment")
        if s.shape == storage.shape[::-1] and s.kind == storage.kind and s.root != storage.root
    ]  # fmt: skip
    if not sources:
        return False
    source = k.rng.choice(sources)
    k.write(f"T.transpose({source.name}, {storage.name})")
    k.set_whole(storage, k.content(source).value)
    return True


def copy_part(k: Kernel) -> None:
    """A box of one on-chip buffer into a box of another, or a fill of a box."""
    found = k.changeable(*ON_CHIP)
    if not found:
        return
    target = k.rng.choice(found)
    sizes = tuple(k.rng.randint(1, n) for n in target.shape)
    starts = [str(k.rng.randint(0, n - s)) for n, s in zip(target.shape, sizes)]
    box = ", ".join(f"{a}:{int(a) + s}" for a, s in zip(starts, sizes))
    sources = [
        s for s in k.readable(*ON_CHIP)
        if s.root != target.root and len(s.shape) == len(sizes)
        and all(a >= b for a, b in zip(s.shape, sizes))
    ]  # fmt: skip
    for source in k.rng.sample(sources, len(sources)):
        value = _convertible(k, source, target.kind)
        if value is None:
            continue
        corner = [k.rng.randint(0, a - b) for a, b in zip(source.shape, sizes)]
        other = ", ".join(f"{a}:{a + b}" for a, b in zip(corner, sizes))
        k.write(f"T.copy({source.name}[{other}], {target.name}[{box}])")
        k.set_part(target, value)
        return
    text, value = k.expressions.constant(target.kind)
    k.write(f"T.fill({target.name}[{box}], {text})")
    k.set_part(target, value)


def copy_output(k: Kernel, output: Output) -> None:
    """An on-chip tile to the block's tile of a global buffer, cut off at its edge."""
    storage = output.storage
    fitting = [
        s for s in k.readable(*ON_CHIP)
        if len(s.shape) == len(output.tile) and all(a <= b for a, b in zip(s.shape, output.tile))
    ]  # fmt: skip
    source = k.rng.choice(fitting) if fitting and k.rng.random() < 0.7 else None
    value = None if source is None else _convertible(k, source, storage.kind)
    if source is None or value is None:
        kind = storage.kind if k.rng.random() < 0.6 else some_kind(k)
        source = allocate(k, kind, _small(output.tile), ON_CHIP)
        overwrite(k, source)
        value = _convertible(k, source, storage.kind)
        if value is None:
            return
    starts = [output.origin(a) for a in range(len(output.tile))]
    k.write(f"T.copy({source.name}, {_region(k, storage, starts, source.shape, 0)})")
    k.set_part(storage, value)


def _small(tile: tuple[int, ...]) -> tuple[int, ...]:
    """At most that many elements on chip: the last axes are kept."""
    out, count = [], 1
    for n in reversed(tile):
        n = n if count * n <= 400 else 1
        count *= n
        out.append(n)
    return tuple(reversed(out))


def reduce(k: Kernel) -> None:
    """A reduction along any axis, into a new buffer or one that holds something."""
    sources = [s for s in k.readable("shared", "fragment") if s.kind != "bool"]
    if not sources:
        return
    source = k.rng.choice(sources)
    dim = k.rng.randrange(len(source.shape))
    value, n = k.content(source).value, source.shape[dim]
    without = source.shape[:dim] + source.shape[dim + 1 :] or (1,)
    kept = source.shape[:dim] + (1,) + source.shape[dim + 1 :]
    kinds = ["sum", "sum", "max", "min", "absmax", "abssum"]
    if source.kind in INTEGERS:
        kinds += ["bitand", "bitor", "bitxor"]
    for _ in range(6):
        kind = k.rng.choice(kinds)
        target_kind = source.kind if k.rng.random() < 0.6 else k.rng.choice(("float32", "int32"))
        if kind.startswith("bit"):
            target_kind = source.kind
        try:
            made = _reduced(kind, v.converted(value, target_kind), n)
        except Rejected:
            continue
        combine = [
            s for s in k.accumulators() if s.shape in (without, kept) and s.kind == target_kind
            and s.root != source.root
        ]  # fmt: skip
        axis = str(dim if k.rng.random() < 0.5 else dim - len(source.shape))
        if combine and kind in ("sum", "max", "min") and k.rng.random() < 0.6:
            target = k.rng.choice(combine)
            how = "+" if kind == "sum" else kind
            try:
                after = k.combined(target, how, made, 1)
            except Rejected:
                continue
            k.write(f"T.reduce_{kind}({source.name}, {target.name}, dim={axis}, clear=False)")
            k.combine(target, how, after)
            return
        old = [s for s in k.writable() if s.shape in (without, kept) and s.kind == target_kind]
        old = [s for s in old if s.root != source.root]
        if old and k.rng.random() < 0.5:
            target = k.rng.choice(old)
        else:
            target = allocate(k, target_kind, k.rng.choice((without, kept)))
        k.write(f"T.reduce_{kind}({source.name}, {target.name}, dim={axis})")
        k.set_whole(target, made)
        return


def _reduced(kind: str, value: Value, n: int) -> Value:
    zero = Value(value.kind, 0, 0)
    match kind:
        case "sum":
            return v.repeated(zero, value, n)
        case "abssum" | "absmax" if value.low <= INTEGERS.get(value.kind, (-math.inf,))[0]:
            raise Rejected("the smallest integer has no absolute value")
        case "abssum":
            return v.repeated(zero, v.absolute(value), n)
        case "absmax":
            return v.join(zero, v.absolute(value))
        case "max" | "min":
            return value
        case _:
            limit = 1
            while limit <= value.magnitude:
                limit *= 2
            low = 0 if value.kind.startswith("u") else -limit
            return v.fitted(Value(value.kind, low, limit - 1))


def scan(k: Kernel) -> None:
    """A running sum or maximum, in place or into another buffer."""
    sources = [
        s for s in k.readable("shared", "fragment") if len(s.shape) <= 2 and s.kind != "bool"
    ]
    if not sources:
        return
    source = k.rng.choice(sources)
    dim = k.rng.randrange(len(source.shape))
    name = k.rng.choice(("cumsum", "cummax"))
    value = k.content(source).value
    try:
        made = _reduced("sum" if name == "cumsum" else "max", value, source.shape[dim])
    except Rejected:
        return
    options = f"dim={dim}" + (", reverse=True" if k.rng.random() < 0.4 else "")
    in_place = source in k.writable()
    if in_place and k.rng.random() < 0.4:
        k.write(f"T.{name}({source.name}, {options})")
        k.set_whole(source, made)
        return
    target = allocate(k, source.kind, source.shape)
    k.write(f"T.{name}({source.name}, {target.name}, {options})")
    k.set_whole(target, made)


GEMM_KINDS = (
    ("float32", "float32"), ("float32", "float32"), ("float16", "float32"), ("bfloat16", "float32"),
    ("int8", "int32"), ("uint8", "int32"), ("float16", "float16"), ("float64", "float64"),
)  # fmt: skip


def gemm(k: Kernel) -> None:
    """A matrix product into a new buffer or onto one that is accumulated into."""
    kind, out = k.rng.choice(GEMM_KINDS)
    sizes = (1, 2, 3, 5, 7, 8, 13, 16, 17, 32, 33, 40)
    targets = [s for s in k.accumulators() if len(s.shape) == 2 and s.kind in ("float32", "int32")]
    old = k.rng.choice(targets) if targets and k.rng.random() < 0.7 else None
    if old is not None:
        kind, out = k.rng.choice([p for p in GEMM_KINDS if p[1] == old.kind])
    m, n = old.shape if old is not None else (k.rng.choice(sizes), k.rng.choice(sizes))
    depth = k.rng.choice(sizes)
    flips = k.rng.random() < 0.3, k.rng.random() < 0.3
    A = _operand(k, kind, (depth, m) if flips[0] else (m, depth), old)
    B = _operand(k, kind, (n, depth) if flips[1] else (depth, n), old)
    x, y = (v.converted(k.content(s).value, out) for s in (A, B))
    try:
        product = v.multiply(x, y)
        made = v.repeated(Value(out, 0, 0), product, depth)
        after = made if old is None else k.combined(old, "+", product, depth)
    except Rejected:
        return
    options = "".join(f", transpose_{c}=True" for c, flipped in zip("AB", flips) if flipped)
    if old is not None:
        k.write(f"T.gemm({A.name}, {B.name}, {old.name}{options})")
        k.combine(old, "+", after)
        return
    C = allocate(k, out, (m, n))
    if k.rng.random() < 0.5:
        k.write(f"T.clear({C.name})")
    else:
        options += ", clear_accum=True"
    k.write(f"T.gemm({A.name}, {B.name}, {C.name}{options})")
    k.set_whole(C, made)


def _operand(k: Kernel, kind: str, shape: tuple[int, int], out: Storage | None) -> Storage:
    found = [s for s in k.readable("shared", "fragment") if s.shape == shape and s.kind == kind]
    found = [s for s in found if out is None or s.root != out.root]
    if found and k.rng.random() < 0.7:
        return k.rng.choice(found)
    storage = allocate(k, kind, shape, ("shared", "shared", "fragment"))
    ways = (_from_global, _from_copy) if math.prod(shape) > 150 else (_from_global, _from_elements)
    for way in ways:
        if way(k, storage) and k.content(storage).value.magnitude <= 64:
            return storage
    _from_fill(k, storage)
    if k.content(storage).value.magnitude > 64:
        k.write(f"T.clear({storage.name})")
        k.set_whole(storage, Value(kind, 0, 0))
    return storage


def tile_atomic(k: Kernel, target: Storage) -> None:
    """Add an on-chip tile to a tile of a global buffer, cut off at its edge."""
    fitting = [s for s in k.readable("shared", "fragment") if len(s.shape) == len(target.shape)]
    for source in k.rng.sample(fitting, len(fitting)):
        value = _convertible(k, source, target.kind)
        if value is None:
            continue
        try:
            after = k.combined(target, "+", value, k.blocks)
        except Rejected:
            continue
        if not after.is_exact:
            continue
        starts = [_start(k, n) for n in target.shape]
        k.write(f"T.atomic_add({target.name}[{', '.join(starts)}], {source.name})")
        k.combine(target, "+", after)
        return


def view(k: Kernel) -> None:
    """Another shape of a buffer's memory."""
    found = [s for s in k.readable("shared") if s.name == s.root and math.prod(s.shape) > 1]
    if not found:
        return
    source = k.rng.choice(found)
    count = math.prod(source.shape)
    first = k.rng.choice([d for d in range(1, count + 1) if count % d == 0])
    shape = k.rng.choice(((count,), (first, count // first)))
    name = k.name("w")
    k.write(f"{name} = T.reshape({source.name}, {shape!r})")
    dims = tuple(map(str, shape))
    k.storages.append(Storage(name, source.kind, shape, source.scope, source.root, dims))


def accumulate_somewhere(k: Kernel) -> None:
    found = k.accumulators("shared", "fragment", "local", "var")
    if found:
        accumulate(k, k.rng.choice(found))
