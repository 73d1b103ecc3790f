"""Loop nests that store elements: T.Parallel, serial and vectorised, and all they may hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.fuzz import values as v
from tests.fuzz.expressions import Index, Place, Storage
from tests.fuzz.kernel import Kernel, Output
from tests.fuzz.values import INTEGERS, PRECISION, Rejected, Value

LETTERS = "ijkl"


@contextmanager
def nest(
    k: Kernel, extents: tuple[int, ...], texts: tuple[str, ...], parallel: bool
) -> Iterator[list[Index]]:
    """Loops over `extents`, written as `texts`."""
    number = next(k.names)
    indices = [
        Index(f"{LETTERS[a]}{number}", 0, max(n - 1, 0), parallel) for a, n in enumerate(extents)
    ]
    names = ", ".join(i.text for i in indices)
    depth, known = k.depth, len(k.storages)
    if parallel:
        k.write(f"for {names} in T.Parallel({', '.join(texts)}):")
        k.depth += 1
    elif len(extents) > 1 and k.rng.random() < 0.3:
        k.write(f"for {names} in T.grid({', '.join(texts)}):")
        k.depth += 1
    else:
        for index, text, extent in zip(indices, texts, extents):
            kinds = ["T.serial", "range"]
            if index is indices[-1] and text == str(extent):
                kinds += ["T.vectorized", "T.unroll"]
            k.write(f"for {index.text} in {k.rng.choice(kinds)}({text}):")
            k.depth += 1
    yield indices
    k.depth = depth
    del k.storages[known:]


def numbers(shape: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(str(n) for n in shape)


def write_whole(k: Kernel, storage: Storage) -> None:
    """Store to every element of an on-chip buffer."""
    parallel = storage.scope != "local"
    place = k.place(storage, parallel=parallel)
    with nest(k, storage.shape, numbers(storage.shape), parallel) as indices:
        place.indices += indices
        target = f"{storage.name}[{', '.join(_somehow_ordered(k, storage.shape, indices))}]"
        value = store(k, target, storage.kind, place)
    k.set_whole(storage, value)


def _somehow_ordered(k: Kernel, shape: tuple[int, ...], indices: list[Index]) -> list[str]:
    """One index per axis, each element once: some run backwards."""
    return [
        f"{n - 1} - {i.text}" if k.rng.random() < 0.08 else i.text for n, i in zip(shape, indices)
    ]


def store(k: Kernel, target: str, kind: str, place: Place) -> Value:
    """One store, perhaps through a name or in two branches; gives what it stores."""
    roll = k.rng.random()
    if roll < 0.15:
        name = k.name("t")
        text, value = k.expressions.typed(k.rng.choice((kind, "float32", "int32")), place, 2)
        k.write(f"{name} = {text}")
        place.exact_loads.append((name, value))
    if roll > 0.85:
        k.write(f"if {k.expressions.condition(place)}:")
        k.depth += 1
        first = _plain_store(k, target, kind, place.within(is_conditional=True))
        k.depth -= 1
        k.write("else:")
        k.depth += 1
        second = _plain_store(k, target, kind, place.within(is_conditional=True))
        k.depth -= 1
        return v.join(first, second)
    return _plain_store(k, target, kind, place)


def _plain_store(k: Kernel, target: str, kind: str, place: Place) -> Value:
    if k.rng.random() < 0.15:  # the store converts
        other = k.rng.choice([*PRECISION, *INTEGERS])
        text, value = k.expressions.typed(other, place)
        try:
            stored = v.converted(value, kind)
            k.write(f"{target} = {text}")
            return stored
        except Rejected:
            pass
    text, value = k.expressions.typed(kind, place)
    k.write(f"{target} = {text}")
    return value


def update(k: Kernel, storage: Storage) -> None:
    """Change elements in place, each from its own value (not an accumulator)."""
    parallel = storage.scope != "local"
    place = k.place(storage, parallel=parallel)
    shape = tuple(k.rng.randint(1, n) if k.rng.random() < 0.2 else n for n in storage.shape)
    with nest(k, shape, numbers(shape), parallel) as indices:
        place.indices += indices
        target = f"{storage.name}[{', '.join(i.text for i in indices)}]"
        place.exact_loads += [(target, k.content(storage).value)] * 3
        if k.rng.random() < 0.25:
            k.write(f"if {k.expressions.condition(place)}:")
            k.depth += 1
            place = place.within(is_conditional=True)
        value = store(k, target, storage.kind, place)
    k.set_part(storage, value)


def store_vector(k: Kernel, storage: Storage) -> None:
    """A slice of a row, from a slice as long of another buffer or from one value."""
    *outer, last = storage.shape
    width = k.rng.randint(1, last)
    sources = [
        s for s in k.readable("shared", "local")
        if s.root != storage.root and s.kind == storage.kind and s.shape[-1] >= width
    ]  # fmt: skip
    target = _row_slice(k, storage, width)
    if not sources:
        text, value = k.expressions.constant(storage.kind)
    else:
        source = k.rng.choice(sources)
        text, value = _row_slice(k, source, width), k.content(source).value
        other, factor = k.expressions.constant(storage.kind)
        with suppress(Rejected):
            value, text = v.add(value, factor), f"{text} + {other}"
    k.write(f"{target} = {text}")
    k.set_part(storage, value)


def _row_slice(k: Kernel, storage: Storage, width: int) -> str:
    *outer, last = storage.shape
    start = k.rng.randint(0, last - width)
    row = "".join(f"{k.rng.randrange(n)}, " for n in outer)
    return f"{storage.name}[{row}{start}:{start + width}]"


def accumulate(k: Kernel, storage: Storage) -> None:
    """Combine something into elements, perhaps several times each."""
    parallel = storage.scope not in ("local", "var")
    place = k.place(storage, parallel=parallel)
    if storage.scope == "var":
        k.combine(storage, *_accumulate_once(k, storage, storage.name, place, 1))
        return
    with nest(k, storage.shape, numbers(storage.shape), parallel) as indices:
        place.indices += indices
        target = f"{storage.name}[{', '.join(i.text for i in indices)}]"
        times, depth = 1, k.depth
        if k.rng.random() < 0.35:
            times = k.rng.randint(1, 6)
            inner = Index(k.name("r"), 0, times - 1)
            place.indices.append(inner)
            k.write(f"for {inner.text} in {k.rng.choice(('T.serial', 'T.unroll'))}({times}):")
            k.depth += 1
        made = _accumulate_once(k, storage, target, place, times)
        k.depth = depth
    k.combine(storage, *made)


def _accumulate_once(
    k: Kernel, storage: Storage, target: str, place: Place, times: int
) -> tuple[str, Value]:
    for _ in range(8):
        how = k.rng.choice(("+", "+", "max", "min"))
        if storage.kind == "bool":
            how = "max"
        try:
            text, step = k.expressions.typed(storage.kind, place, 2)
            value = k.combined(storage, how, step, times)
        except Rejected:
            continue
        break
    else:
        k.write(f"{target} = {target}")  # every way of combining was refused
        return k.content(storage).combines or "+", k.content(storage).value
    if storage.kind == "bool":
        k.write(f"{target} = {target} or {text}")
    elif how == "+":
        k.write(k.rng.choice((f"{target} += {text}", f"{target} = {target} + {text}")))
    else:
        k.write(f"{target} = T.{how}({target}, {text})")
    return how, value


def store_output(k: Kernel, output: Output) -> None:
    """Store to the block's tile of a global buffer, element by element."""
    storage = output.storage
    place = k.place(storage, parallel=True)
    texts = tuple(
        dim if axis is None and k.rng.random() < 0.6 else str(n)
        for dim, axis, n in zip(storage.dims, output.axes, output.tile)
    )
    parallel = k.rng.random() < 0.85
    if not parallel:
        place = k.place(storage)
    symbolic = any(not t.isdigit() for t in texts)
    if symbolic:  # a fragment cannot be indexed by a variable of symbolic extent
        place.loads = [p for p in place.loads if p[0].scope != "fragment"]
    with nest(k, output.tile, texts, parallel) as indices:
        place.indices += indices
        where = [
            i.text if output.axes[a] is None else f"{output.origin(a)} + {i.text}"
            for a, i in enumerate(indices)
        ]
        target = f"{storage.name}[{', '.join(where)}]"
        content = k.content(storage)
        if content.is_readable and content.is_writable:
            place.exact_loads.append((target, content.value))
        if k.rng.random() < 0.2:
            k.write(f"if {k.expressions.condition(place)}:")
            k.depth += 1
            place = place.within(is_conditional=True)
        value = store(k, target, storage.kind, place)
    k.set_part(storage, value)


def atomics(k: Kernel, target: Storage) -> None:
    """Combine into a buffer from all iterations (in global memory: of all blocks), in no order."""
    extents = tuple(k.rng.randint(1, 5) for _ in range(k.rng.randint(1, 2)))
    place = k.place(target, parallel=True)
    is_global = target.scope == "global"
    times = math.prod(extents) * (k.blocks if is_global else 1)
    with nest(k, extents, numbers(extents), True) as indices:
        place.indices += indices
        parts = [k.expressions.position(n, target, place, is_global)[0] for n in target.shape]
        how = k.content(target).combines or k.rng.choice(("+", "+", "max", "min"))
        text, step = k.expressions.typed(target.kind, place, 2)
        try:
            value = k.combined(target, how, step, times)
            if how == "+" and not value.is_exact:
                raise Rejected("the order of the sum would show")
        except Rejected:
            text, zero = "0", Value(target.kind, 0, 0)
            value = k.combined(target, how, zero, times)
        name = {"+": "add"}.get(how, how)
        k.write(f"T.atomic_{name}({target.name}[{', '.join(parts)}], {text})")
    k.combine(target, how, value)
