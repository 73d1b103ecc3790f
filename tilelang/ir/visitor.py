"""Walking and rewriting IR.

`children` finds sub-nodes from the declared fields; `walk` yields them all; `Visitor` dispatches by
class name; `Mutator` rebuilds, and returns the *same object* where nothing changed. Buffers are not
nodes: a mutator that replaces them overrides `map_buffer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Expr, Var, as_expr, rebuild
from tilelang.ir.node import Node, replace
from tilelang.ir.stmt import Seq, Stmt, seq

N = TypeVar("N", bound=Node)


def children(node: Node) -> Iterator[Node]:
    """Direct sub-nodes in field order (annotation values included where they are nodes)."""
    for name in node.parts:
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from nodes_in(value)


def nodes_in(value: Any) -> Iterator[Node]:
    """The nodes that the field value `value` holds directly or in tuples."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from nodes_in(item)


def walk(node: Node) -> Iterator[Node]:
    """`node` and everything below it, parents first, in program order."""
    stack: list[Node] = [node]
    while stack:
        current = stack.pop()
        yield current
        below = current.below
        if below is None:
            continue
        for value in below(current):
            if isinstance(value, Node):
                stack.append(value)
            elif isinstance(value, tuple):
                _push(stack, value)


def _push(stack: list[Node], values: tuple[Any, ...]) -> None:
    """Put the nodes in `values` on the stack, the first on top."""
    for value in reversed(values):
        if isinstance(value, Node):
            stack.append(value)
        elif isinstance(value, tuple):
            _push(stack, value)


class Visitor:
    """Calls `visit_<Class>` for each node that has such a method, otherwise visits its children."""

    def visit(self, node: Node) -> None:
        method = getattr(self, f"visit_{type(node).__name__}", None)
        if method is not None:
            method(node)
        else:
            self.visit_children(node)

    def visit_children(self, node: Node) -> None:
        for child in children(node):
            self.visit(child)


def _same(_: Mutator, node: Any) -> Any:
    return node


class Mutator:
    """Calls `mutate_<Class>` for each node with such a method, otherwise rebuilds it.

    A statement may become `None` (dropped) or a `Seq` (spliced) inside a `Seq`.
    """

    _methods: ClassVar[dict[type, Callable[[Any, Any], Any] | None]] = {}  # node class -> method

    def __init_subclass__(cls) -> None:
        cls._methods = {}

    def mutate(self, node: Any) -> Any:
        kind = type(node)
        try:
            method = self._methods[kind]
        except KeyError:
            method = self._methods[kind] = self._method_for(kind)
        return self.mutate_children(node) if method is None else method(self, node)

    def _method_for(self, kind: type[Node]) -> Callable[[Any, Any], Any] | None:
        """What rebuilds nodes of class `kind`; `None`: `mutate_children`."""
        cls = type(self)
        method = getattr(cls, f"mutate_{kind.__name__}", None)
        if method is None and not kind.parts and cls.mutate_children is Mutator.mutate_children:
            return _same
        return method

    def mutate_children(self, node: N) -> N:
        if isinstance(node, Seq):
            return self._mutate_seq(node)
        changes: dict[str, Any] = {}
        for name in node.parts:
            old = getattr(node, name)
            new = self.mutate(old) if isinstance(old, Expr) else self._mutate_value(old)
            if new is not old:
                changes[name] = new
        if not changes:
            return node
        return rebuild(node, changes) if isinstance(node, Expr) else replace(node, **changes)

    def map_buffer(self, buffer: Buffer) -> Buffer:
        """The buffer to use in place of `buffer`."""
        return buffer

    def _mutate_value(self, value: Any) -> Any:
        if isinstance(value, tuple):
            if not value:
                return value
            items = [
                self.mutate(item) if isinstance(item, Expr) else self._mutate_value(item)
                for item in value
            ]
            for new, old in zip(items, value):
                if new is not old:
                    return tuple(items)
            return value
        if isinstance(value, Stmt):
            new = self.mutate(value)
            return Seq(()) if new is None else new
        if isinstance(value, Node):
            return self.mutate(value)
        if isinstance(value, Buffer):
            return self.map_buffer(value)
        return value

    def _mutate_seq(self, node: Seq) -> Any:
        out: list[Stmt] = []
        changed = False
        for stmt in node.stmts:
            new = self.mutate(stmt)
            changed |= new is not stmt
            if new is not None:
                out.append(new)
        return seq(out) if changed else node


class _Substitution(Mutator):
    def __init__(self, values: Mapping[Var, Expr], buffers: Mapping[Buffer, Buffer]) -> None:
        self.values = values
        self.buffers = buffers

    def mutate_Var(self, node: Var) -> Expr:
        return self.values.get(node, node)

    def map_buffer(self, buffer: Buffer) -> Buffer:
        return self.buffers.get(buffer, buffer)


def substitute(
    node: N,
    values: Mapping[Var, Any] | None = None,
    buffers: Mapping[Buffer, Buffer] | None = None,
) -> N:
    """`node` with variables and buffers replaced by values of the same dtype (or plain numbers)."""
    exprs = {var: as_expr(value) for var, value in (values or {}).items()}
    return _Substitution(exprs, buffers or {}).mutate(node)


def used_vars(node: Node) -> list[Var]:
    """Variables that occur in `node`, each once, in order of first occurrence."""
    found: dict[Var, None] = {}
    for item in walk(node):
        if isinstance(item, Var):
            found.setdefault(item)
    return list(found)


def used_buffers(node: Node) -> list[Buffer]:
    """Buffers that `node` refers to, each once, in order of first occurrence."""
    found: dict[Buffer, None] = {}
    for item in walk(node):
        buffer = getattr(item, "buffer", None)
        if isinstance(buffer, Buffer):
            found.setdefault(buffer)
    return list(found)


def transform_exprs(node: N, function: Callable[[Expr], Expr]) -> N:
    """Rebuild `node` with `function` applied to every expression, innermost first."""
    return _ExprTransform(function).mutate(node)


class _ExprTransform(Mutator):
    def __init__(self, function: Callable[[Expr], Expr]) -> None:
        self.function = function

    def mutate(self, node: Any) -> Any:
        new = self.mutate_children(node)
        return self.function(new) if isinstance(new, Expr) else new
