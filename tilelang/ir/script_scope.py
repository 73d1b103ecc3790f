"""What a printed function needs declared, and where: outer variables and views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tilelang.ir.buffer import Buffer
from tilelang.ir.equality import BINDERS, shape_symbols
from tilelang.ir.expr import Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node
from tilelang.ir.stmt import Allocate, Seq, Stmt
from tilelang.ir.visitor import walk

Path = tuple[tuple[int, str], ...]  # (position in a block, field that holds the next block), ...


def all_vars(value: Any) -> set[Var]:
    """Every variable that `value` mentions, in buffers too."""
    found: set[Var] = set()
    seen: set[Buffer] = set()
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Var):
            found.add(item)
        elif isinstance(item, Node):
            stack.extend(getattr(item, name) for name in item.fields)
        elif isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, Buffer) and item not in seen:
            seen.add(item)
            stack += [item.shape, item.declared_strides, item.elem_offset, item.data]
    return found


def outer_vars(function: PrimFunc) -> list[Var]:
    """Variables to declare before the function: symbols of shapes, shared pointers, free ones."""
    buffers = function.buffer_params
    found = dict.fromkeys(v for b in buffers for v in shape_symbols(b))
    pointers = Counter(p.data if isinstance(p, Buffer) else p for p in function.params)
    found.update(dict.fromkeys(b.data for b in buffers if pointers[b.data] > 1))
    bound: set[Var] = set()
    for node in walk(function):
        for name in BINDERS.get(type(node), ((), (), ()))[1]:
            target = getattr(node, name)
            targets = target if isinstance(target, tuple) else (target,)
            bound.update(t.data if isinstance(t, Buffer) else t for t in targets)
    free = all_vars((function.body, function.attributes)) - bound
    found.update(dict.fromkeys(sorted(free - found.keys(), key=lambda v: v.name)))
    return list(found)


def view_positions(function: PrimFunc) -> dict[tuple[Path, int], list[Buffer]]:
    """(block, position of a statement) -> views to declare before that statement."""
    declared: set[Buffer] = set(function.buffer_params)
    declared.update(n.buffer for n in walk(function.body) if isinstance(n, Allocate))
    uses: dict[Buffer, list[list[tuple[Path, int]]]] = {}

    def visit(body: Stmt, path: Path, chain: list[tuple[Path, int]]) -> None:
        for position, stmt in enumerate(body.stmts if isinstance(body, Seq) else (body,)):
            here = [*chain, (path, position)]
            for name in stmt.fields:
                value = getattr(stmt, name)
                if isinstance(value, Stmt):
                    visit(value, (*path, (position, name)), here)
                    continue
                for buffer in _buffers_in(value):
                    if buffer not in declared:
                        uses.setdefault(buffer, []).append(here)

    visit(function.body, (), [])
    places: dict[tuple[Path, int], list[Buffer]] = {}
    for buffer, chains in uses.items():
        level = max(k for k in range(len(chains[0])) if _is_common(chains, k))
        first = min(chain[level][1] for chain in chains)
        places.setdefault((chains[0][level][0], first), []).append(buffer)
    return places


def _is_common(chains: list[list[tuple[Path, int]]], level: int) -> bool:
    return all(len(c) > level and c[level][0] == chains[0][level][0] for c in chains)


def _buffers_in(value: Any) -> Iterator[Buffer]:
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Buffer):
            yield item
        elif isinstance(item, Node):
            stack.extend(getattr(item, name) for name in reversed(item.fields))
        elif isinstance(item, tuple):
            stack.extend(reversed(item))
