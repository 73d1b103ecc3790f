"""What may stand in a program: one table of checks for the tile form and for the thread form.

A scoped walk visits every statement and expression in program order with what is known there (the
`Site`: names and storage in scope, loops and launch around it); each row of `CHECKS` looks at the
node classes it names and reports what is wrong. `verify` raises one error with all problems. Runs
between passes in tests and under TILELANG_VERIFY; repairs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from tilelang.errors import Error, Note, Span
from tilelang.ir import annotation
from tilelang.ir.buffer import GLOBAL, Buffer, describe
from tilelang.ir.equality import BINDERS, OPENS_SCOPE, shape_symbols
from tilelang.ir.expr import (
    And,
    BufferLoad,
    BufferRegion,
    Expr,
    Let,
    Not,
    Or,
    Select,
    Var,
)
from tilelang.ir.func import FUNCTION_KEYS, PrimFunc
from tilelang.ir.node import Node
from tilelang.ir.printer import to_text
from tilelang.ir.stmt import (
    Allocate,
    Assert,
    Attr,
    Bind,
    Break,
    BufferStore,
    Continue,
    For,
    If,
    Launch,
    LoopKind,
    Stmt,
    While,
)
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import nodes_in

Form = Literal["tile", "thread"]
BOTH: tuple[Form, ...] = ("tile", "thread")
_TILE_LOOPS = (LoopKind.PARALLEL, LoopKind.PIPELINED)
_LEAVABLE_LOOPS = (LoopKind.SERIAL, LoopKind.UNROLLED)


class VerificationError(Error, ValueError):
    """A program that breaks the rules of its form; `notes` holds every problem."""


@dataclass(frozen=True)
class Problem:
    """One broken rule, with the node that breaks it."""

    check: str
    message: str
    node: Node
    span: Span | None

    def __str__(self) -> str:
        return f"{self.check}: {self.message}: `{to_text(self.node)}`"


class Site:
    """What is known at the node being checked."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.in_scope: dict[Var, int] = {}  # variables and storage pointers -> bindings now open
        self.bound: set[Var] = set()  # everything bound so far, in scope or not
        self.loops: list[For | While] = []
        self.launches: list[Launch] = []

    def knows(self, var: Var) -> bool:
        return self.in_scope.get(var, 0) > 0


Check = Callable[[Any, Site], Iterator[str]]


def _variable_in_scope(node: Var, site: Site) -> Iterator[str]:
    if not site.knows(node):
        place = "outside its scope" if node in site.bound else "but never bound"
        yield f"the variable is used {place}"


def _bound_once(node: Node, site: Site) -> Iterator[str]:
    for var in _bound_vars(node):
        if var in site.bound:
            yield f"`{var.name}` is bound a second time"


def _storage_in_scope(node: BufferLoad | BufferStore | BufferRegion, site: Site) -> Iterator[str]:
    if not site.knows(node.buffer.data):
        place = "outside its scope" if node.buffer.data in site.bound else "but never allocated"
        yield f"`{node.buffer.name}` is used {place}"
    for var in shape_symbols(node.buffer):
        if not site.knows(var):
            yield f"the shape of `{node.buffer.name}` needs `{var.name}`, which is not in scope"


def _rank(node: BufferLoad | BufferStore | BufferRegion, site: Site) -> Iterator[str]:
    count = len(node.ranges if isinstance(node, BufferRegion) else node.indices)
    if count != node.buffer.ndim:
        yield f"{count} indices for `{node.buffer.name}`, {describe(node.buffer)}"


def _index_dtype(node: BufferLoad | BufferStore | BufferRegion, site: Site) -> Iterator[str]:
    if isinstance(node, BufferRegion):
        indices: tuple[Expr, ...] = tuple(e for r in node.ranges for e in (r.start, r.extent))
    else:
        indices = node.indices
    scalars = indices if isinstance(node, BufferRegion) else indices[:-1]
    for index in indices:
        if not index.dtype.is_int:
            yield f"the index `{index}` is {index.dtype}, expected an integer"
    for index in scalars:
        if index.dtype.lanes > 1:
            yield f"the index `{index}` has {index.dtype.lanes} lanes; only the last one may"


def _store_dtype(node: BufferStore, site: Site) -> Iterator[str]:
    lanes = node.indices[-1].dtype.lanes if node.indices else 1
    expected = node.buffer.dtype.with_lanes(node.buffer.dtype.lanes * lanes)
    if node.value.dtype != expected:
        yield f"a {node.value.dtype} value is stored, expected {expected}"


def _condition(node: If | While | Assert | Select | And | Or | Not, site: Site) -> Iterator[str]:
    if isinstance(node, (And, Or)):
        conditions: tuple[Expr, ...] = (node.a, node.b)
    else:
        conditions = (node.a,) if isinstance(node, Not) else (node.condition,)
    may_be_vector = isinstance(node, (Select, And, Or, Not))
    for value in conditions:
        if not value.dtype.is_bool or (value.dtype.lanes > 1 and not may_be_vector):
            yield f"the condition `{value}` is {value.dtype}, expected bool"


def _loop_bounds(node: For, site: Site) -> Iterator[str]:
    for what, value in (("variable", node.var), ("start", node.start), ("extent", node.extent)):
        if not value.dtype.is_int or value.dtype.lanes > 1:
            yield f"the {what} of a loop is {value.dtype}, expected an integer"


def _loop_kind(node: For, site: Site) -> Iterator[str]:
    if node.kind in _TILE_LOOPS:
        yield f"a {node.kind.value} loop in the thread form"


def _no_tile_op(node: TileOp, site: Site) -> Iterator[str]:
    yield "a tile operation in the thread form"


def _tile_op_place(node: TileOp, site: Site) -> Iterator[str]:
    for loop in site.loops:
        if isinstance(loop, For) and loop.kind is LoopKind.PARALLEL:
            yield f"a tile operation inside the Parallel loop over `{loop.var.name}`"


def _leavable(node: Break | Continue, site: Site) -> Iterator[str]:
    if not site.loops:
        yield "outside a loop"
    elif isinstance(loop := site.loops[-1], For) and loop.kind not in _LEAVABLE_LOOPS:
        yield f"inside a {loop.kind.value} loop, whose iterations do not run one after the other"


def _launch_not_nested(node: Launch, site: Site) -> Iterator[str]:
    if site.launches:
        yield "a launch inside a launch"


def _launch_shape(node: Launch, site: Site) -> Iterator[str]:
    if not 1 <= len(node.grid_vars) <= 3 or len(node.grid_vars) != len(node.grid_extents):
        yield f"{len(node.grid_vars)} grid variables, {len(node.grid_extents)} grid extents"
    if len(node.thread_vars) != 3 or len(node.thread_extents) != 3:
        yield f"{len(node.thread_vars)} thread variables, {len(node.thread_extents)} extents, not 3"
    for value in (*node.grid_extents, *node.thread_extents):
        if not value.dtype.is_int or value.dtype.lanes > 1:
            yield f"the extent `{value}` is {value.dtype}, expected an integer"


def _allocation(node: Allocate, site: Site) -> Iterator[str]:
    if node.buffer.scope() == GLOBAL:
        return
    for extent in node.buffer.shape:
        if not isinstance(extent, int):
            yield f"the extent `{extent}` of `{node.buffer.name}` is not a constant"
        elif extent <= 0:
            yield f"`{node.buffer.name}` has an extent of {extent}"


def _keys(node: For | Launch | Allocate | Attr | PrimFunc, site: Site) -> Iterator[str]:
    if isinstance(node, PrimFunc):
        names, known = [k for k, _ in node.attributes], FUNCTION_KEYS
    else:
        pairs = ((node.key, None),) if isinstance(node, Attr) else node.annotations
        names, known = [k for k, _ in pairs], annotation.KNOWN
    for name in names:
        if name not in known and "." not in name:  # a dotted name belongs to somebody else
            yield f"unknown annotation key {name!r}"
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f"annotation key {name!r} is given twice"


_ACCESSES = (BufferLoad, BufferStore, BufferRegion)
_BINDING_NODES = (Bind, For, Let, Launch, Allocate)
CHECKS: tuple[tuple[str, tuple[Form, ...], tuple[type[Node], ...], Check], ...] = (
    ("variables", BOTH, (Var,), _variable_in_scope),
    ("variables", BOTH, _BINDING_NODES, _bound_once),
    ("buffers", BOTH, _ACCESSES, _storage_in_scope),
    ("index count", BOTH, _ACCESSES, _rank),
    ("index dtype", BOTH, _ACCESSES, _index_dtype),
    ("store dtype", BOTH, (BufferStore,), _store_dtype),
    ("condition", BOTH, (If, While, Assert, Select, And, Or, Not), _condition),
    ("loop bounds", BOTH, (For,), _loop_bounds),
    ("loop kind", ("thread",), (For,), _loop_kind),
    ("tile operation", ("thread",), (TileOp,), _no_tile_op),
    ("tile operation", ("tile",), (TileOp,), _tile_op_place),
    ("jump", BOTH, (Break, Continue), _leavable),
    ("launch", BOTH, (Launch,), _launch_not_nested),
    ("launch", BOTH, (Launch,), _launch_shape),
    ("allocation", BOTH, (Allocate,), _allocation),
    ("annotation", BOTH, (For, Launch, Allocate, Attr, PrimFunc), _keys),
)


def verify(function: PrimFunc, form: Form = "tile", *, after_pass: str | None = None) -> None:
    """Check `function` against the rules of `form`.

    Args:
        after_pass: the pass that made it; then a problem is a fault of the compiler, and the error
            says so. Without it the program is taken as the user's.

    Raises:
        VerificationError: names every problem, each with its node and line.
    """
    found = problems(function, form)
    if not found:
        return
    count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
    message = f"`{function.name}` is not a program of the {form} form: {count}"
    if after_pass is not None:
        message = f"internal compiler error: after the pass `{after_pass}`, {message}"
    notes = [Note(p.span, str(p)) for p in found]
    span = next((p.span for p in found if p.span is not None), function.span)
    raise VerificationError(message, span, notes=notes)


def problems(function: PrimFunc, form: Form = "tile") -> list[Problem]:
    """Every broken rule, in program order."""
    return _Walk(form).run(function)


def _bound_vars(node: Node) -> list[Var]:
    found: list[Var] = []
    for name in BINDERS.get(type(node), ((), (), ()))[1]:
        value = getattr(node, name)
        for target in value if isinstance(value, tuple) else (value,):
            found.append(target.data if isinstance(target, Buffer) else target)
    return found


def _parameter_vars(function: PrimFunc) -> list[Var]:
    """Parameters, and the symbols that the shapes of buffer parameters bind."""
    found = _bound_vars(function)
    for buffer in function.buffer_params:
        found += shape_symbols(buffer)
    return list(dict.fromkeys(found))


class _Visit(NamedTuple):
    node: Node
    span: Span | None  # of the nearest statement around


class _Walk:
    """Visits nodes in program order; the stack holds nodes to visit and pending actions."""

    def __init__(self, form: Form) -> None:
        self.site = Site(form)
        self.problems: list[Problem] = []
        self.trail: list[Var] = []  # bound and in scope, in order
        self.stack: list[_Visit | Callable[[], None]] = []
        self.rules: dict[type, list[tuple[str, Check]]] = {}
        for title, forms, kinds, check in CHECKS:
            for kind in kinds if form in forms else ():
                self.rules.setdefault(kind, []).append((title, check))

    def run(self, function: PrimFunc) -> list[Problem]:
        self.stack.append(_Visit(function, function.span))
        while self.stack:
            item = self.stack.pop()
            if isinstance(item, _Visit):
                self._check(item.node, item.span)
                self._open(item.node, item.span)
            else:
                item()
        return self.problems

    def _check(self, node: Node, inherited: Span | None) -> None:
        for title, check in self.rules.get(type(node), ()):
            for message in check(node, self.site):
                self.problems.append(Problem(title, message, node, node.span or inherited))

    def _open(self, node: Node, inherited: Span | None) -> None:
        """Plan the visit of what is below `node`: outside its scope, then inside it."""
        outside, _, inside = BINDERS.get(type(node), (node.fields, (), ()))
        span = node.span if isinstance(node, Stmt) and node.span else inherited
        below: list[_Visit | Callable[[], None]] = []
        below += [_Visit(child, span) for child in _nodes(node, outside)]
        new = _parameter_vars(node) if isinstance(node, PrimFunc) else _bound_vars(node)
        if new:
            below.append(lambda: self._bind(new))
        around = self._around(node)
        if around is not None:
            below.append(lambda: around.append(node))
        below += [_Visit(child, span) for child in _nodes(node, inside)]
        if around is not None:
            below.append(lambda: _drop_last(around))
        if isinstance(node, OPENS_SCOPE):
            depth = len(self.trail)
            below.append(lambda: self._close(depth))
        self.stack.extend(reversed(below))

    def _around(self, node: Node) -> list[Any] | None:
        if isinstance(node, (For, While)):
            return self.site.loops
        return self.site.launches if isinstance(node, Launch) else None

    def _bind(self, new: list[Var]) -> None:
        for var in new:
            self.site.bound.add(var)
            self.site.in_scope[var] = self.site.in_scope.get(var, 0) + 1
            self.trail.append(var)

    def _close(self, depth: int) -> None:
        while len(self.trail) > depth:
            self.site.in_scope[self.trail.pop()] -= 1


def _drop_last(items: list[Any]) -> None:
    items.pop()


def _nodes(node: Node, names: tuple[str, ...]) -> Iterator[Node]:
    for name in names:
        yield from nodes_in(getattr(node, name))
