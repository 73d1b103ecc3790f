"""Blocks, bindings, branches, loops and launches as frames of `with`: `with T.If(condition):`.

The low-level counterparts of what Python statements say in a kernel. A frame collects the
statements of its body and leaves one node (or, for blocks and bindings, its statements) in the
block around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilelang.errors import ArgumentError, ArgumentTypeError, LanguageError, caller_span
from tilelang.ir import stmt as S
from tilelang.ir.buffer import Buffer
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Expr,
    Var,
    as_condition,
    as_expr,
    cast,
    const_value,
)
from tilelang.language.builder import current, emit
from tilelang.language.kernel import KernelLaunchFrame
from tilelang.language.location import argument_span
from tilelang.language.scopes import Block, Scope


class Frame:
    """A nested block; subclasses say what it leaves behind."""

    def __init__(self, kind: str = "with", scope: Scope | None = None) -> None:
        self.builder = current()
        self.scope = scope if scope is not None else Scope(kind, caller_span())
        self._block = Block(self.builder.scopes, self.scope)

    def __enter__(self) -> Any:
        self._block.__enter__()
        return self.opened()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self.closing()
        self._block.__exit__(kind, value, traceback)
        if kind is None:
            self.closed()

    def opened(self) -> Any:
        """What the frame yields."""
        return None

    def closing(self) -> None:
        """Undo what `opened` did, also after an error."""

    def closed(self) -> None:
        """Emit what the body becomes: here, its statements."""
        self.builder.emit(self.scope.body())


# -- blocks --------------------------------------------------------------------------------------


def block(name: str = "", no_realize: bool = False, exec_scope: str = "") -> Frame:
    """`with T.block("name"):` names and attributes in it end with it; the name is for readers."""
    del name, no_realize, exec_scope
    return Frame()


sblock = block


def reads(*regions: Any) -> None:
    """What the block reads: looked at and dropped, since the compiler finds out by itself."""
    _require_regions("reads", regions)


def writes(*regions: Any) -> None:
    """What the block writes; as `reads`."""
    _require_regions("writes", regions)


def _require_regions(function: str, regions: Sequence[Any]) -> None:
    for position, given in enumerate(regions):
        for item in given if isinstance(given, (list, tuple)) else [given]:
            if not isinstance(item, (Buffer, BufferRegion, BufferLoad)):
                raise ArgumentTypeError(
                    f"{function}: {item!r} is no region", argument_span(position)
                )


# -- bindings ------------------------------------------------------------------------------------


def bind(value: Any, type_annotation: Any = None, *, var: Var | None = None) -> Var:
    """A name for `value` in the rest of the block; evaluated once, here."""
    converted = as_expr(value)
    if type_annotation is not None:
        kind = (
            type_annotation.dtype if isinstance(type_annotation, Expr) else DType(type_annotation)
        )
        converted = cast(converted, kind)
    made = var
    if made is None:
        made = Var("x", converted.dtype)
        current().name_later(made)
    emit(S.Bind(made, cast(converted, made.dtype), span=caller_span()))
    return made


class LetFrame(Frame):
    """A name that holds in the body; as a statement: in the rest of the block."""

    def __init__(self, value: Any, type_annotation: Any, var: Var | None) -> None:
        super().__init__()
        self.arguments = value, type_annotation, var

    def opened(self) -> Var:
        value, type_annotation, var = self.arguments
        return bind(value, type_annotation, var=var)

    def enter_for_rest_of_block(self) -> Var:
        """Bind in the block that is open."""
        return self.opened()


def LetStmt(value: Any, type_annotation: Any = None, *, var: Var | None = None) -> LetFrame:
    """`with T.LetStmt(value) as x:` a name for `value`, evaluated once, in the body."""
    return LetFrame(value, type_annotation, var)


def let(var: Any, value: Any = None) -> LetFrame:
    """`with T.let(value) as x:`, or `with T.let(x, value):` for a variable that exists.

    Raises:
        ArgumentTypeError: when the first of two arguments is no variable.
    """
    if value is None:
        return LetFrame(var, None, None)
    if not isinstance(var, Var):
        raise ArgumentTypeError(f"let: {var!r} is no variable", argument_span(0))
    return LetFrame(value, None, var)


# -- loops and branches --------------------------------------------------------------------------


class WhileFrame(Frame):
    """A loop on a condition."""

    def __init__(self, condition: Any) -> None:
        super().__init__("while")
        self.condition = as_condition(condition)

    def opened(self) -> None:
        self.builder.loops.append("ir")

    def closing(self) -> None:
        self.builder.loops.pop()

    def closed(self) -> None:
        self.builder.emit(S.While(self.condition, self.scope.body(), span=self.scope.span))


def While(condition: Any) -> WhileFrame:
    """`with T.While(condition):` the body runs while the condition holds, looked at anew each time.

    Raises:
        LanguageError: for a condition that is always true.
    """
    known = const_value(as_condition(condition))
    if known:
        raise LanguageError("While: the condition is always true", argument_span(0))
    return WhileFrame(condition)


class _IfScope(Scope):
    """The block between `with T.If(...)` and its sides, which holds nothing else."""

    __slots__ = ("sides",)

    def __init__(self) -> None:
        super().__init__("if", caller_span())
        self.sides: dict[str, Scope] = {}


class IfFrame(Frame):
    """Holds the sides of a branch."""

    def __init__(self, condition: Any) -> None:
        self.sides: dict[str, Scope] = {}
        scope = _IfScope()
        super().__init__(scope=scope)
        self.sides = scope.sides
        self.condition = as_condition(condition)

    def closed(self) -> None:
        if "Then" not in self.sides or self.scope.stmts:
            raise LanguageError(
                "If: its body is `with T.Then():`, and `with T.Else():` if needed", self.scope.span
            )
        other = self.sides["Else"].body() if "Else" in self.sides else None
        is_empty = isinstance(other, S.Seq) and not other.stmts
        made = S.If(
            self.condition,
            self.sides["Then"].body(),
            None if is_empty else other,
            span=self.scope.span,
        )
        self.builder.emit(made)


class SideFrame(Frame):
    """One side of `T.If`."""

    def __init__(self, side: str) -> None:
        super().__init__("if" if side == "Then" else "else")
        self.side = side

    def __enter__(self) -> None:
        around = self.builder.scopes[-1]
        if not isinstance(around, _IfScope) or self.side in around.sides:
            raise LanguageError(f"{self.side}: stands once, directly in `with T.If(condition):`")
        around.sides[self.side] = self.scope
        super().__enter__()

    def closed(self) -> None:
        """The branch around it takes the statements."""


def If(condition: Any) -> IfFrame:
    """`with T.If(condition):` around `with T.Then():` and `with T.Else():`."""
    return IfFrame(condition)


def Then() -> SideFrame:
    """What runs when the condition of the `T.If` around it holds."""
    return SideFrame("Then")


def Else() -> SideFrame:
    """What runs when the condition of the `T.If` around it does not hold."""
    return SideFrame("Else")


# -- launches ------------------------------------------------------------------------------------

_AXES = tuple(f"{kind}.{axis}" for kind in ("blockIdx", "threadIdx") for axis in "xyz")


class _ManualLaunch(KernelLaunchFrame):
    """A launch whose axes are given one by one."""

    def __init__(self) -> None:
        super().__init__((), 1, None)
        self.given: dict[str, Expr] = {}

    def add(self, tag: str, extent: Any, var: Var | None) -> Var:
        """The index variable of the axis `tag` with that extent."""
        size = as_expr(extent)
        kind, axis = tag.split(".")[0], "xyz".index(tag[-1])
        known = self.given.get(tag)
        if known is not None:
            if not structural_equal(known, size):
                raise ArgumentError(
                    f"launch_thread: {tag} is {size} here and {known} before", argument_span(1)
                )
            return self.threads[axis] if kind == "threadIdx" else self.blocks[axis]
        self.given[tag] = size
        made = var if var is not None else Var(tag.replace("Idx.", "_"), size.dtype)
        if var is None:
            self.builder.name_later(made)
        if kind == "threadIdx":
            self.threads[axis], self.thread_extents[axis] = made, size
            return made
        while len(self.blocks) <= axis:
            self.blocks.append(Var("b" + "xyz"[len(self.blocks)], size.dtype))
            self.grid_extents.append(as_expr(1))
        self.blocks[axis], self.grid_extents[axis] = made, size
        return made


class ThreadFrame:
    """`with T.launch_thread("blockIdx.x", n) as bx:` one axis of a launch.

    The outermost one opens the launch and closes it; those inside add their axes to it.
    """

    def __init__(self, tag: str, extent: Any, var: Var | None) -> None:
        self.tag, self.extent, self.var = tag, extent, var
        self.builder = current()
        self.opened: _ManualLaunch | None = None

    def __enter__(self) -> Var:
        launch = self.builder.launches[-1] if self.builder.launches else None
        if launch is None:
            launch = self.opened = _ManualLaunch()
            launch.__enter__()
        elif not isinstance(launch, _ManualLaunch):
            raise LanguageError(
                f"launch_thread: {self.tag} inside T.Kernel, which has its axes already"
            )
        return launch.add(self.tag, self.extent, self.var)

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if self.opened is not None:
            self.opened.__exit__(kind, value, traceback)

    def enter_for_rest_of_block(self) -> None:
        raise LanguageError(
            "launch_thread: as a statement it has no body",
            hint=f'with T.launch_thread("{self.tag}", {self.extent}) as index:',
        )


def launch_thread(thread: str | Var, extent: Any) -> ThreadFrame:
    """`with T.launch_thread("threadIdx.x", 128) as tx:` binds a block or thread index.

    Args:
        thread: `blockIdx.x` to `threadIdx.z`, or a variable of `env_thread`.
        extent: how many; an axis that is bound again in the same launch has the same extent.

    Raises:
        ArgumentError: for an unknown axis, or another extent than before.
        LanguageError: inside `T.Kernel`.
    """
    tag = thread.name if isinstance(thread, Var) else thread
    if tag not in _AXES:
        raise ArgumentError(
            f"launch_thread: unknown axis {tag!r}",
            argument_span(0),
            hint=f"one of {', '.join(_AXES)}",
        )
    return ThreadFrame(tag, extent, thread if isinstance(thread, Var) else None)


def env_thread(thread_tag: str, dtype: Any = "int32") -> Var:
    """A variable for a hardware index, to be given its extent by `launch_thread`.

    Raises:
        ArgumentError: for an unknown axis.
    """
    if thread_tag not in _AXES:
        raise ArgumentError(
            f"env_thread: unknown axis {thread_tag!r}",
            argument_span(0),
            hint=f"one of {', '.join(_AXES)}",
        )
    return Var(thread_tag, DType(dtype))
