"""Statements of a block and the control flow around them."""

from __future__ import annotations

from tests.fuzz import elements, tiles
from tests.fuzz.expressions import Index, Storage
from tests.fuzz.kernel import Content, Kernel, merged
from tests.fuzz.values import Value


def statements(k: Kernel, count: int, leavable: bool = False) -> None:
    """`count` random statements; `leavable`: directly in a loop that `break` may leave."""
    for _ in range(count):
        statement(k)
        if leavable and k.rng.random() < 0.12:
            leave_loop(k)


def statement(k: Kernel) -> None:
    rng = k.rng
    roll = rng.random()
    if k.nesting < 2 and roll < 0.13:
        loop(k)
    elif k.nesting < 3 and roll < 0.18:
        branch(k)
    elif roll < 0.30:
        tiles.new_buffer(k)
    elif roll < 0.38 and (found := k.writable(*tiles.ON_CHIP)):
        tiles.overwrite(k, rng.choice(found))
    elif roll < 0.46 and (found := k.changeable(*tiles.ON_CHIP)):
        elements.update(k, rng.choice(found))
    elif roll < 0.51:
        tiles.accumulate_somewhere(k)
    elif roll < 0.53 and (found := k.changeable("shared", "local")):
        elements.store_vector(k, rng.choice(found))
    elif roll < 0.57:
        tiles.gemm(k)
    elif roll < 0.66:
        tiles.reduce(k)
    elif roll < 0.69:
        tiles.scan(k)
    elif roll < 0.74:
        tiles.copy_part(k)
    elif roll < 0.77:
        variable(k)
    elif roll < 0.79:
        tiles.view(k)
    elif roll < 0.84:
        atomic(k)
    else:
        output(k)


def variable(k: Kernel) -> None:
    """A new scalar variable, or a value for an old one."""
    old = k.writable("var")
    if old and k.rng.random() < 0.5:
        storage = k.rng.choice(old)
        text, value = k.expressions.typed(storage.kind, k.place(), 2)
        k.write(f"{storage.name} = {text}")
        k.set_whole(storage, value)
        return
    kind = k.rng.choice(("int32", "float32", "int32", "float16", "bool", "int64"))
    text, value = k.expressions.typed(kind, k.place(), 1)
    name = k.name("v")
    if k.rng.random() < 0.7:
        k.write(f"{name} = T.alloc_var('{kind}', {text})")
    else:
        k.write(f"{name} = T.alloc_var('{kind}')")
        value = Value(kind, 0, 0)
    k.storages.append(Storage(name, kind, (), "var", name))
    k.contents[name] = Content(value)


def output(k: Kernel) -> None:
    """Write something to a global buffer."""
    found = [
        o for o in k.outputs
        if k.content(o.storage).is_writable and not k.content(o.storage).is_accumulator
    ]  # fmt: skip
    if not found:
        return
    chosen = k.rng.choice(found)
    write = k.rng.choice((elements.store_output, tiles.copy_output))
    if not chosen.guard:
        write(k, chosen)
        return
    with k.branch(f"if {chosen.guard}:"):
        write(k, chosen)


def atomic(k: Kernel) -> None:
    """Combine atomically into a global or a shared buffer."""
    if k.targets and k.rng.random() < 0.7:
        target = k.rng.choice(k.targets)
        if k.content(target).combines in (None, "+") and k.rng.random() < 0.35:
            tiles.tile_atomic(k, target)
        else:
            elements.atomics(k, target)
        return
    shared = [s for s in k.accumulators("shared") if s.kind in ("int32", "float32", "int64")]
    if shared:
        elements.atomics(k, k.rng.choice(shared))


def branch(k: Kernel) -> None:
    """`if`, and perhaps `else`, on a condition that all threads share."""
    condition = quantified(k) or k.expressions.condition(k.place())
    before = dict(k.contents)
    with k.branch(f"if {condition}:"):
        statements(k, k.rng.randint(1, 3))
    if k.rng.random() < 0.5:
        after, k.contents = k.contents, before
        with k.branch("else:"):
            statements(k, k.rng.randint(1, 2))
        k.contents = merged(after, k.contents)


def quantified(k: Kernel) -> str | None:
    """Sometimes: whether any or all elements of a row hold."""
    found = [s for s in k.readable("shared") if s.kind in ("int32", "bool", "uint8", "int8")]
    if not found or k.rng.random() < 0.7:
        return None
    storage = k.rng.choice(found)
    *outer, last = storage.shape
    start = k.rng.randrange(last)
    row = "".join(f"{k.rng.randrange(n)}, " for n in outer)
    part = f"{storage.name}[{row}{start}:{k.rng.randint(start + 1, last)}]"
    return f"T.{k.rng.choice(('any_of', 'all_of'))}({part})"


def leave_loop(k: Kernel) -> None:
    condition = k.expressions.condition(k.place(), 1)
    k.write(f"if {condition}:")
    k.write(f"    {k.rng.choice(('break', 'continue'))}")
    k.leave()


def loop(k: Kernel) -> None:
    """A loop of any kind around a few statements."""
    name, trips = k.name("k"), k.rng.choice((0, 1, 2, 2, 3, 4, 5))
    rng, index = k.rng, Index(name, 0, max(trips - 1, 0))
    count = rng.randint(1, 4)
    match rng.randrange(6):
        case 0:
            header = f"for {name} in T.unroll({trips}):"
        case 1 | 2:
            header = f"for {name} in T.Pipelined({trips}, num_stages={rng.randint(0, 3)}):"
        case 3:
            _while(k, name, max(trips, 1), count)
            return
        case 4:
            start, step = rng.randint(0, 3), rng.choice((1, 2, 3))
            header = f"for {name} in T.serial({start}, {start + trips * step}, {step}):"
            if rng.random() < 0.3:
                header = f"for {name} in range({start + trips * step - 1}, {start - 1}, -{step}):"
            index = Index(name, start, max(start + trips * step - 1, start))
        case _:
            header = f"for {name} in T.serial({trips}):"
    leavable = "serial" in header or "range" in header
    with k.loop(header, index, trips):
        statements(k, count, leavable)


def _while(k: Kernel, name: str, trips: int, count: int) -> None:
    k.write(f"{name} = T.alloc_var('int32', 0)")
    index = Index(f"({name} - 1)", 0, trips - 1)  # it is counted before it is used
    with k.loop(f"while {name} < {trips}:", index, trips):
        k.write(f"{name} += 1")
        statements(k, count, leavable=True)
