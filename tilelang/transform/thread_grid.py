"""The threads of one block as loops, and hardware-index loops as the threads of a launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tilelang.errors import TargetError
from tilelang.ir.annotation import THREAD_TAG
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import INT32, Expr, Var, as_expr, cast, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.record import record
from tilelang.ir.stmt import For, Launch, LoopKind, Stmt, annotation
from tilelang.ir.visitor import Mutator, substitute, walk
from tilelang.transform.context import PassContext

WARP = 32  # lanes of a warp
WARP_GROUP = 128  # threads of a warp group


@record(eq=False)
class ThreadGrid:
    """Thread index variables of a launch (x, y, z) and their extents."""

    vars: tuple[Var, ...]
    extents: tuple[int, ...]

    @property
    def count(self) -> int:
        """Threads of a block."""
        x, y, z = self.extents
        return x * y * z

    def linear(self, indices: Sequence[Expr] | None = None) -> Expr:
        """Number of the thread at `indices` (by default: of the thread that runs), x fastest."""
        x, y, z = self.vars if indices is None else indices
        nx, ny, nz = self.extents
        number: Expr = x if nx > 1 else as_expr(0)
        if ny > 1:
            number = number + cast(y, INT32) * nx
        if nz > 1:
            number = number + cast(z, INT32) * (nx * ny)
        return number

    def running(self) -> list[Var]:
        """The variables that take more than one value."""
        return [v for v, n in zip(self.vars, self.extents) if n > 1]

    def loops(self, body: Callable[[tuple[Expr, ...]], Stmt]) -> Stmt:
        """`body(indices)` for every thread, one after the other."""
        fresh = [Var(v.name, v.dtype) if n > 1 else v for v, n in zip(self.vars, self.extents)]
        indices = tuple(v if n > 1 else as_expr(0) for v, n in zip(fresh, self.extents))
        made = body(indices)
        for var, extent in zip(fresh, self.extents):
            if extent > 1:
                made = serial(var, extent, made)
        return made


def serial(var: Var, extent: Any, body: Stmt) -> Stmt:
    """`for var in 0 .. extent: body`."""
    count = cast(as_expr(extent), var.dtype)
    return For(var, cast(as_expr(0), var.dtype), count, LoopKind.SERIAL, body, span=body.span)


def each(name: str, extent: Any, body: Callable[[Var], Stmt]) -> Stmt:
    """As `serial`, with a variable made here."""
    var = Var(name, INT32)
    return serial(var, extent, body(var))


def thread_grid(launch: Launch) -> ThreadGrid:
    """The threads of `launch`.

    Raises:
        TargetError: when their number is not a constant.
    """
    extents: list[int] = []
    for extent in launch.thread_extents:
        number = const_value(extent)
        if number is None:
            raise TargetError(
                f"thread indices are used, but the number of threads `{extent}` is no constant",
                launch.span,
                hint="give `threads` as an integer",
            )
        extents.append(int(number))
    return ThreadGrid(launch.thread_vars, tuple(extents))


# -- T.thread_binding loops ------------------------------------------------------------------------

_AXES = {"x": 0, "y": 1, "z": 2}


def bind_threads(func: PrimFunc, ctx: PassContext | None = None) -> PrimFunc:
    """Give hardware-index loops the indices of the launch around them, made where there is none.

    Raises:
        TargetError: for an extent that differs from the launch's, or an unknown hardware index.
    """
    del ctx  # the same for every target
    if not any(isinstance(n, For) and n.kind is LoopKind.THREAD_BINDING for n in walk(func)):
        return func
    return _BindThreads().mutate(func)


class _BindThreads(Mutator):
    def __init__(self) -> None:
        self.launch: Launch | None = None
        self.wider: dict[int, tuple[Var, Expr]] = {}  # grid axis -> variable and extent to add

    def mutate_Launch(self, node: Launch) -> Stmt:
        self.launch, self.wider = node, {}
        made = self.mutate_children(node)
        self.launch = None
        return _with_grid(made, self.wider) if self.wider else made

    def mutate_For(self, node: For) -> Any:
        if node.kind is not LoopKind.THREAD_BINDING:
            return self.mutate_children(node)
        if self.launch is None:
            return self.mutate(_launch_of(node))
        index = self._index(node)
        return self.mutate(
            substitute(node.body, {node.var: cast(index, node.var.dtype) + node.start})
        )

    def _index(self, node: For) -> Expr:
        assert self.launch is not None
        kind, axis = _tag(node)
        if kind == "threadIdx":
            index, extent = self.launch.thread_vars[axis], self.launch.thread_extents[axis]
            given: Expr = node.extent
        elif axis < len(self.launch.grid_vars) and axis not in self.wider:
            index, extent = self.launch.grid_vars[axis], self.launch.grid_extents[axis]
            if const_value(extent) == 1:
                return self._widen(axis, node)
            given = node.extent
        else:
            return self._widen(axis, node)
        if not structural_equal(cast(given, "int64"), cast(extent, "int64")):
            raise TargetError(
                f"a loop of {given} over {kind}.{'xyz'[axis]}, but the launch has {extent}",
                node.span,
                hint="give T.Kernel the same extent",
            )
        return index

    def _widen(self, axis: int, node: For) -> Expr:
        if axis not in self.wider:
            self.wider[axis] = (Var(node.var.name, node.extent.dtype), node.extent)
        return self.wider[axis][0]


def _tag(node: For) -> tuple[str, int]:
    tag = str(annotation(node.annotations, THREAD_TAG))
    kind, _, axis = tag.partition(".")
    if kind not in ("threadIdx", "blockIdx") or axis not in _AXES:
        raise TargetError(f"{tag!r} is no hardware index", node.span)
    return kind, _AXES[axis]


def _with_grid(launch: Launch, wider: dict[int, tuple[Var, Expr]]) -> Launch:
    names, extents = list(launch.grid_vars), list(launch.grid_extents)
    values: dict[Var, Expr] = {}
    for axis in sorted(wider):
        while len(names) <= axis:
            names.append(Var("b" + "xyz"[len(names)], INT32))
            extents.append(as_expr(1))
        values[names[axis]] = as_expr(0)  # it had one value
        names[axis], extents[axis] = wider[axis]
    body = substitute(launch.body, {v: cast(0, v.dtype) for v in values})
    return replace(launch, grid_vars=tuple(names), grid_extents=tuple(extents), body=body)


def _launch_of(node: For) -> Launch:
    """A launch around a hardware-index loop outside any; inner ones give its threads."""
    extents: list[Expr] = [as_expr(1)] * 3
    for loop in walk(node):
        if isinstance(loop, For) and loop.kind is LoopKind.THREAD_BINDING:
            kind, axis = _tag(loop)
            if kind == "threadIdx":
                extents[axis] = loop.extent
    threads = tuple(Var(name, INT32) for name in ("tx", "ty", "tz"))
    return Launch((Var("bx", INT32),), (as_expr(1),), threads, tuple(extents), node, span=node.span)
