"""Structural equality and hashing of IR.

Two trees are equal when they are written by the same *tokens*: `_tokens` walks a tree in program
order and numbers what the tree binds (parameters and the symbols of their shapes, `Bind`, `For`,
`Launch`, `Let`, `Allocate`) in order of appearance, so names of bound things never count. Equality
compares two token streams, the hash hashes one; they agree by construction.

* A free variable is equal to itself alone (with `map_free_vars`: to whatever stands in its place).
* A buffer is its shape, dtype, scope, strides, offset and storage (`data`): two views that agree in
  all of these are the same buffer.
* Spans never count; -0.0 differs from 0.0; NaN equals NaN.

Called by passes, folding and tests. Decides nothing about meaning: `a + b` differs from `b + a`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import zip_longest
from typing import Any

from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, FloatImm, IntImm, Let, Var
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.node import Node
from tilelang.ir.stmt import Allocate, Attr, Bind, For, If, Launch, Seq, While

# Node class -> (fields outside the scope that it opens, fields that bind, fields inside).
# `Bind` and `Allocate` bind for the rest of the enclosing scope; the others open one of their own.
BINDERS: dict[type, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    Bind: (("value",), ("var",), ()),
    Allocate: ((), ("buffer",), ("annotations",)),
    Let: (("value",), ("var",), ("body",)),
    While: (("condition",), (), ("body",)),
    For: (("start", "extent", "kind"), ("var",), ("annotations", "body")),
    Launch: (
        ("grid_extents", "thread_extents"),
        ("grid_vars", "thread_vars"),
        ("annotations", "body"),
    ),
    PrimFunc: (("name",), ("params",), ("attributes", "body")),
}
OPENS_SCOPE = (Seq, Let, For, While, If, Attr, Launch, PrimFunc)


def structural_equal(a: Any, b: Any, *, map_free_vars: bool = False) -> bool:
    """Whether two nodes (or modules) mean the same, up to the names of what they bind.

    Args:
        a, b: nodes, modules, buffers, or tuples of such.
        map_free_vars: let free variables (and the storage of free buffers) correspond one to one
            instead of being the same objects.
    """
    if a is b:
        return True
    if isinstance(a, IRModule) or isinstance(b, IRModule):
        return type(a) is type(b) and _equal_modules(a, b, map_free_vars)
    if type(a) is not type(b):
        return False
    if isinstance(a, Var) and not map_free_vars:
        return False
    streams = zip_longest(_tokens(a, map_free_vars), _tokens(b, map_free_vars), fillvalue=_END)
    return all(x == y for x, y in streams)


def structural_hash(node: Any, *, map_free_vars: bool = False) -> int:
    """A hash that equal trees share. Valid within one process and while free variables live."""
    if isinstance(node, IRModule):
        parts = sorted((name, structural_hash(f)) for name, f in node.items())
        return hash((IRModule, tuple(parts), structural_hash(node.attributes)))
    return hash(tuple(_tokens(node, map_free_vars)))


def _equal_modules(a: IRModule, b: IRModule, map_free_vars: bool) -> bool:
    if a.functions.keys() != b.functions.keys():
        return False
    pairs: list[tuple[Any, Any]] = [(f, b[name]) for name, f in a.items()]
    pairs.append((a.attributes, b.attributes))
    return all(structural_equal(x, y, map_free_vars=map_free_vars) for x, y in pairs)


class _Opaque:
    """A value that is no IR, such as a layout: compared by its own `is_equal`, or `==`."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Opaque) or type(self.value) is not type(other.value):
            return False
        if self.value is other.value:
            return True
        is_equal = getattr(self.value, "is_equal", None)
        return bool(is_equal(other.value) if is_equal else self.value == other.value)

    def __hash__(self) -> int:
        return hash(type(self.value))


class _Bound:
    """Work item: from here on, `targets` are bound."""

    __slots__ = ("is_params", "targets")

    def __init__(self, targets: Any, is_params: bool) -> None:
        self.targets = targets if isinstance(targets, tuple) else (targets,)
        self.is_params = is_params


class _Close:
    """Work item: the scope opened when the trail had `length` entries ends."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


_END = object()


class _Numbering:
    """Which number each bound thing has now, and how to go back at the end of a scope."""

    def __init__(self, map_free_vars: bool) -> None:
        self.map_free_vars = map_free_vars
        self.count = 0
        self.numbers: dict[Any, object] = {}  # Var -> number, Buffer -> its finished token
        self.trail: list[tuple[Any, object]] = []  # (key, value before)

    def set(self, key: Any, value: object) -> None:
        self.trail.append((key, self.numbers.get(key)))
        self.numbers[key] = value

    def close(self, length: int) -> None:
        while len(self.trail) > length:
            key, before = self.trail.pop()
            if before is None:
                del self.numbers[key]
            else:
                self.numbers[key] = before

    def bind(self, var: Var) -> object:
        self.count += 1
        self.set(var, self.count)
        return ("binds", var.dtype)

    def use(self, var: Var) -> object:
        number = self.numbers.get(var)
        if number is None and self.map_free_vars:
            self.count += 1
            number = self.numbers[var] = self.count
            return ("first use", var.dtype)
        return ("free", id(var)) if number is None else ("bound", number)

    def buffer(self, buffer: Buffer) -> object:
        """Token of a buffer in use."""
        token = self.numbers.get(buffer)
        if token is None:
            token = self._describe(buffer)
            self.set(buffer, token)
        return token

    def _describe(self, buffer: Buffer) -> object:
        parts = (buffer.shape, buffer.strides, buffer.elem_offset)
        extents = tuple(_tokens(parts, numbering=self))
        return (Buffer, buffer.dtype, buffer.scope(), self.use(buffer.data), extents)

    def bind_all(self, targets: tuple[Var | Buffer, ...]) -> Iterator[object]:
        """Binds variables, and the storage of buffers."""
        yield len(targets)
        for target in targets:
            if isinstance(target, Buffer):
                yield self.bind(target.data)
                self.numbers.pop(target, None)
                yield self.buffer(target)
            else:
                yield self.bind(target)

    def bind_parameters(self, params: tuple[Any, ...]) -> Iterator[object]:
        """Parameters bind themselves, and the variables of their shapes."""
        seen: set[Var] = set()

        def bind(var: Var) -> Iterator[object]:
            if var not in seen:
                seen.add(var)
                yield self.bind(var)

        yield len(params)
        for param in params:
            yield type(param)
            if isinstance(param, Buffer):
                for var in shape_symbols(param):
                    yield from bind(var)
                yield from bind(param.data)
                self.numbers.pop(param, None)
                yield self.buffer(param)
            else:
                yield from bind(param)
                yield self.use(param)


def shape_symbols(buffer: Buffer) -> list[Var]:
    """Variables in the shape, strides and offset of `buffer`, in order, with repetitions."""
    stack: list[Any] = [buffer.elem_offset, buffer.declared_strides or (), buffer.shape]
    found: list[Var] = []
    while stack:
        item = stack.pop()
        if isinstance(item, Var):
            found.append(item)
        elif isinstance(item, Node):
            stack.extend(getattr(item, name) for name in reversed(item.fields))
        elif isinstance(item, tuple):
            stack.extend(reversed(item))
    return found


def _tokens(
    root: Any, map_free_vars: bool = False, *, numbering: _Numbering | None = None
) -> Iterator[object]:
    state = numbering if numbering is not None else _Numbering(map_free_vars)
    stack: list[Any] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, Var):
            yield state.use(item)
        elif isinstance(item, Node):
            yield type(item)
            if isinstance(item, OPENS_SCOPE):
                stack.append(_Close(len(state.trail)))
            _push_fields(item, stack)
        elif isinstance(item, tuple):
            yield len(item)
            stack.extend(reversed(item))
        elif isinstance(item, Buffer):
            yield state.buffer(item)
        elif isinstance(item, _Close):
            state.close(item.length)
        elif isinstance(item, _Bound):
            bind = state.bind_parameters if item.is_params else state.bind_all
            yield from bind(item.targets)
        else:
            yield _scalar(item)


def _push_fields(node: Node, stack: list[Any]) -> None:
    if isinstance(node, (IntImm, FloatImm)):  # `True` and 1 are one value of a bool constant
        kind = int if isinstance(node, IntImm) else float
        stack.extend((node.dtype, kind(node.value)))
        return
    outside, binds, inside = BINDERS.get(type(node), (node.fields, (), ()))
    stack.extend(getattr(node, name) for name in reversed(inside))
    is_params = isinstance(node, PrimFunc)
    stack.extend(_Bound(getattr(node, name), is_params) for name in reversed(binds))
    stack.extend(getattr(node, name) for name in reversed(outside))


def _scalar(value: Any) -> object:
    if value is None or isinstance(value, (type, dtype)):
        return value
    if isinstance(value, float):
        return (type(value), value.hex())
    if isinstance(value, (bool, int, str, Enum)):
        return (type(value), value)
    assert not isinstance(value, Expr)
    return _Opaque(value)
