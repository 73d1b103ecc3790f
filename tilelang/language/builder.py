"""The builder: executes a rewritten user function and records what it does as tile IR.

The rewriter turns each statement of the user's function into a call of a method here; the `T.*`
functions append through `emit`. Out comes the body of a PrimFunc. One builder traces one function;
the innermost one of a thread is `current()`. It decides nothing about layouts, threads or targets.
"""

from __future__ import annotations

import builtins
import contextlib
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    LanguageError,
    NoBuilderError,
    NotCompilableError,
    Note,
    ShapeError,
    caller_span,
)
from tilelang.ir import expr as ir_expr
from tilelang.ir.annotation import open_key
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import (
    BufferLoad,
    BufferRegion,
    Call,
    Expr,
    FloatImm,
    IntImm,
    Operand,
    Ramp,
    StringImm,
    Var,
    as_condition,
    as_expr,
    cast,
    const_value,
)
from tilelang.ir.func import Parameter
from tilelang.ir.stmt import (
    Annotations,
    Assert,
    Bind,
    Break,
    BufferStore,
    Continue,
    Evaluate,
    Stmt,
    While,
)
from tilelang.language.branch import Branch, is_symbolic
from tilelang.language.reference import Reference
from tilelang.language.scopes import Binding, Block, DeadName, Function, Scope


class TraceWarning(UserWarning):
    """Something in a kernel that is legal and probably not meant."""


class _Active(threading.local):
    def __init__(self) -> None:
        self.stack: list[Builder] = []


_active = _Active()


def current() -> Builder:
    """The builder that is tracing in this thread.

    Raises:
        NoBuilderError: when nothing is being traced.
    """
    if not _active.stack:
        raise NoBuilderError(
            "no kernel is being traced here",
            hint="call it inside a function under @T.prim_func or @tilelang.jit",
        )
    return _active.stack[-1]


def is_tracing() -> bool:
    """Whether a kernel is being traced in this thread."""
    return bool(_active.stack)


def emit(stmt: Stmt) -> None:
    """Append `stmt` to the innermost open block of the kernel being traced."""
    current().emit(stmt)


class Builder:
    """Records one function. The rewritten function calls the methods whose names end in `_`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.params: list[Parameter] = []
        self.attributes: dict[str, Any] = {}
        self.scopes: list[Scope] = [Scope("function")]
        self.functions: list[Function] = []
        self.loops: list[str] = []  # "ir" or "python", innermost last
        self.outputs: list[Buffer] = []  # T.empty results in order of creation
        self.launches: list[Any] = []  # open KernelLaunchFrame objects
        self.on_launch: Callable[[], None] | None = None  # called when the first launch opens
        self.on_annotate: Callable[[str, Any, Any], Any] | None = (
            None  # body annotations of arguments
        )
        self.unnamed: dict[int, Operand] = {}  # objects that take the first name they are bound to
        self.named: dict[str, int] = {}
        self.reducers: list[Any] = []  # open reduce scopes, innermost last
        self.constants: Any = None  # what T.const gives in an eager trace
        self.no_statements: str | None = None  # where statements cannot be emitted, if so

    # -- being current ----------------------------------------------------------------------------

    @staticmethod
    def current() -> Builder:
        """The builder that is tracing in this thread."""
        return current()

    @contextlib.contextmanager
    def active(self) -> Generator[Builder, None, None]:
        """Make this builder the current one."""
        _active.stack.append(self)
        try:
            yield self
        finally:
            _active.stack.pop()

    @contextlib.contextmanager
    def function(self, name: str) -> Generator[Function, None, None]:
        """Names bound inside belong to this function or macro call."""
        frame = Function(name, len(self.scopes))
        self.functions.append(frame)
        loops, self.loops = self.loops, []
        try:
            yield frame
        finally:
            self.loops = loops
            self.functions.pop()

    # -- statements -------------------------------------------------------------------------------

    def emit(self, stmt: Stmt) -> None:
        if self.no_statements is not None:
            raise LanguageError(
                f"a statement cannot be part of {self.no_statements}",
                hint="call the macro in a statement of its own, and use its result here",
            )
        scope = self.scopes[-1]
        if scope.is_unreachable:
            return
        if stmt.span is None:
            stmt.span = caller_span()
        scope.stmts.append(stmt)

    def attribute_rest(self, key: str, value: Any) -> None:
        """An attribute of everything that follows in the innermost block."""
        scope = self.scopes[-1]
        scope.attributes.append((len(scope.stmts), key, value, caller_span()))

    def block(self, kind: str) -> Block:
        """Collect statements of a nested block; the caller emits the statement that owns it."""
        return Block(self.scopes, Scope(kind, caller_span()))

    def add_parameter(self, parameter: Parameter) -> None:
        """Append a buffer, scalar or pointer to the function's parameters."""
        self.params.append(parameter)

    def fresh_name(self, wanted: str) -> str:
        """`wanted`, or with a number behind it when that name is taken."""
        count = self.named.get(wanted, 0)
        self.named[wanted] = count + 1
        return wanted if count == 0 else f"{wanted}_{count}"

    def name_later(self, value: Operand) -> None:
        """`value` takes the name of the first variable it is bound to."""
        self.unnamed[id(value)] = value

    def _take_name(self, value: Any, name: str) -> None:
        if self.unnamed.pop(id(value), None) is None:
            return
        if isinstance(value, Buffer):
            if value.data.name == value.name:
                value.data.name = name
            value.name = name
        elif isinstance(value, Var):
            value.name = name

    # -- names ------------------------------------------------------------------------------------

    @property
    def names(self) -> dict[str, Binding]:
        return self.functions[-1].names

    def bind_argument(self, name: str, value: Any) -> None:
        """A parameter of the traced function has `value`."""
        self.names[name] = Binding(value, self.scopes[-1], None)

    def define(self, name: str, value: Any) -> None:
        self.names[name] = Binding(value, self.scopes[-1], None)

    def bind(self, name: str, value: Any) -> Any:
        """`name = value` (spec 1.8). Returns what Python's variable shall hold."""
        if isinstance(value, DeadName):
            value.fail()
        old = self.names.get(name)
        if old is not None and not old.scope.closed:
            if _is_assignable(old.value) and _is_scalar(value):
                self._assign(old.value, value)
                return old.value
            if old.is_loop_variable:
                self._reject_loop_assignment(name, old)
        made = self._bound_value(name, value)
        if (
            old is not None
            and old.value is not made
            and isinstance(old.value, Var)
            and not old.scope.closed
        ):
            self._warn_rebinding(name, old)
        self.names[name] = Binding(made, self.scopes[-1], caller_span())
        return made

    def _reject_loop_assignment(self, name: str, old: Binding) -> NoReturn:
        raise LanguageError(
            f"`{name}` is a loop variable and cannot be assigned",
            notes=[Note(old.span, "the loop")],
            hint="use another name, or a `while` loop over a T.alloc_var",
        )

    def _warn_rebinding(self, name: str, old: Binding) -> None:
        here = caller_span()
        if old.scope is not self.scopes[-1]:
            return  # a use after the block is an error of its own
        if here is not None and here == old.span:
            return  # the same statement again: a Python loop that unrolls
        warnings.warn(
            f"{here}: `{name}` is bound again; it does not carry over iterations",
            TraceWarning,
            4,
        )

    def _bound_value(self, name: str, value: Any) -> Any:
        if isinstance(value, Buffer) and value.is_var and id(value) not in self.unnamed:
            return self._let(name, value.as_load())  # `b = a` copies the current value
        if isinstance(value, (Buffer, Var)):
            self._take_name(value, name)
            return value
        if isinstance(value, Reference):
            return self._let(name, value.as_load())
        if isinstance(value, Expr):
            return self._let(name, value)
        if hasattr(value, "enter_for_rest_of_block"):  # a context frame gives what it yields
            return value.enter_for_rest_of_block()
        return value

    def _let(self, name: str, value: Expr) -> Any:
        number = const_value(value)
        if number is not None:
            return number if value.dtype in ("int32", "bool") else value
        if isinstance(value, StringImm):
            return value.value
        if isinstance(value, Ramp) or value.dtype.kind == "void":
            return value
        var = Var(self.fresh_name(name), value.dtype)
        self.emit(Bind(var, value))
        return var

    def once(self, value: Any) -> Any:
        """`value`, evaluated at this point and only once however often it is used."""
        if isinstance(value, Reference) or (isinstance(value, Buffer) and value.is_var):
            value = value.as_load()
        if isinstance(value, BufferRegion):
            return value.as_load() if _is_vector(value) else value
        if isinstance(value, Expr) and not isinstance(
            value, (Var, IntImm, FloatImm, StringImm, Ramp)
        ):
            return self._let("value", value)
        return value

    def unpack(self, value: Any) -> tuple[Any, ...]:
        """The parts of a tuple-like right side, each read before anything is stored."""
        if isinstance(value, (Expr, Buffer, BufferRegion)) and not isinstance(value, (tuple, list)):
            if isinstance(value, Var) and id(value) in self.unnamed:
                return (value,)  # `as (bx,)` on a one-dimensional launch
            raise ArgumentTypeError(f"`{value}` is one value and cannot be unpacked")
        return tuple(self.once(v) if _is_scalar(v) and not self._is_new(v) else v for v in value)

    def _is_new(self, value: Any) -> bool:
        return id(value) in self.unnamed

    def after_block(self, names: tuple[str, ...]) -> tuple[Any, ...]:
        """Values of `names` after a block: what the block itself bound is dead."""
        return self._one_or_many([self._after(name) for name in names])

    @staticmethod
    def _one_or_many(values: list[Any]) -> tuple[Any, ...]:
        return tuple(values)

    def _after(self, name: str) -> Any:
        binding = self.names.get(name)
        if binding is None:
            return DeadName(name, None)
        return DeadName(name, binding) if binding.scope.closed else binding.value

    def live(self, value: Any) -> Any:
        """The value of a name that some block binds."""
        if isinstance(value, DeadName):
            value.fail()
        return value

    def loop_variables(self, names: tuple[str, ...]) -> None:
        """The names just bound are loop variables, if the loop is one of the kernel."""
        if self.loops and self.loops[-1] == "ir":
            for name in names:
                self.names[name].is_loop_variable = True

    def annotate(self, name: str, annotation: Any) -> Any:
        """`A: T.Tensor(...)` in the body declares the argument `A`."""
        if self.on_annotate is None:
            return self.names[name].value
        value = self.on_annotate(name, annotation, self.names[name].value)
        self.bind_argument(name, value)
        return value

    # -- assignment -------------------------------------------------------------------------------

    def _assign(self, target: Any, value: Any) -> None:
        if isinstance(target, Reference):
            target.store(value)
        else:
            self.emit_store(target, (as_expr(0),), as_expr(value))

    def emit_store(self, buffer: Buffer, indices: Sequence[Expr], value: Expr) -> None:
        """Store with conversion to the buffer's dtype and the index's lanes."""
        lanes = indices[-1].dtype.lanes if indices else 1
        if value.dtype.kind in ("void",) or (value.dtype.kind == "handle") != (
            buffer.dtype.kind == "handle"
        ):
            raise DTypeError(
                f"a {value.dtype} value cannot be stored in `{buffer.name}`, "
                f"which holds {buffer.dtype}"
            )
        if value.dtype.lanes not in (1, lanes):
            raise ShapeError(
                f"{value.dtype.lanes} lanes are stored in {lanes} elements of `{buffer.name}`"
            )
        converted = cast(value, buffer.dtype.with_lanes(lanes))
        self.emit(BufferStore(buffer, converted, tuple(indices)))

    def store(self, base: Any, index: Any, value: Any) -> None:
        """`base[index] = value`."""
        if isinstance(base, DeadName):
            base.fail()
        if isinstance(base, Reference):
            base.store_at(index, value)
            return
        if not isinstance(base, Buffer):
            if isinstance(base, Operand):
                raise ArgumentTypeError(
                    f"`{base}` is a value; only elements of buffers can be assigned"
                )
            base[index] = value  # a Python container of the user's
            return
        target = base[index]
        if isinstance(target, BufferLoad):
            self.emit_store(base, target.indices, as_expr(value))
            return
        assert isinstance(target, BufferRegion)
        self._store_region(target, value)

    def _store_region(self, target: BufferRegion, value: Any) -> None:
        if isinstance(value, (Buffer, BufferRegion)) and not (
            isinstance(value, Buffer) and value.is_var
        ):
            region = value.region() if isinstance(value, Buffer) else value
            if _is_vector(target) and _is_vector(region):
                load = region.as_load()
            else:
                raise LanguageError(
                    f"`{region}` is a tile; assignment moves single elements and vectors",
                    hint=f"T.copy({region}, {target})",
                )
        else:
            load = as_expr(value)
        if not _is_vector(target):
            raise LanguageError(
                f"`{target}` is a tile; assignment moves single elements and vectors",
                hint=f"T.fill({target}, value), or T.Parallel over its elements",
            )
        vector = target.as_load()
        assert isinstance(vector, BufferLoad)
        self.emit_store(target.buffer, vector.indices, load)

    def augment(self, name: str, old: Any, symbol: str, value: Any) -> Any:
        """`name op= value`."""
        if isinstance(old, Buffer) and not old.is_var:
            raise LanguageError(
                f"`{name} {symbol}= ...` on a whole buffer",
                hint=f"index it: {name}[i] {symbol}= ..., in a T.Parallel loop",
            )
        return self.bind(name, _apply(symbol, old, value))

    def augment_store(self, base: Any, index: Any, symbol: str, value: Any) -> None:
        """`base[index] op= value`, with the index evaluated once."""
        if isinstance(base, (Buffer, Reference)):
            self.store(base, index, _apply(symbol, base[index], value))
        else:
            base[index] = _apply(symbol, base[index], value)

    # -- control flow -----------------------------------------------------------------------------

    def if_(self, condition: Any) -> Branch:
        return Branch(self, condition)

    def while_(self, condition: Callable[[], Any]) -> Iterator[None]:
        value = condition()
        number = const_value(value)
        if number is not None or not isinstance(value, Operand):
            if number if number is not None else value:
                raise LanguageError(
                    "the condition of this `while` is always true",
                    hint="test a T.alloc_var or an element",
                )
            warnings.warn(f"{caller_span()}: the body of this `while` never runs", TraceWarning, 3)
            return iter(())
        return self._while_loop(value)

    def _while_loop(self, value: Any) -> Iterator[None]:
        with self.block("while") as scope:
            self.loops.append("ir")
            yield None
            self.loops.pop()
        self.emit(While(as_condition(value), scope.body(), span=scope.span))

    def for_(self, iterable: Any) -> Iterator[Any]:
        """A loop frame opens a loop of the kernel; a Python sequence is unrolled here and now."""
        from tilelang.language.loops import LoopFrame  # loops are built on this module

        if isinstance(iterable, range):
            iterable = self.range_(range, iterable.start, iterable.stop, iterable.step)
        if isinstance(iterable, LoopFrame):
            return iterable.run(self)
        if not isinstance(
            iterable, (list, tuple, dict, set, frozenset, enumerate, zip, map, filter, reversed)
        ) and (
            isinstance(iterable, (Operand, int, float, str)) or not hasattr(iterable, "__iter__")
        ):
            raise ArgumentTypeError(
                f"cannot loop over {_kind_of(iterable)}",
                hint="use range, T.serial, T.Parallel, T.Pipelined, ... "
                "or a Python sequence, which is unrolled",
            )
        return self._unrolled(iterable)

    def _unrolled(self, iterable: Any) -> Iterator[Any]:
        for item in iterable:
            self.loops.append("python")
            yield item
            self.loops.pop()

    def range_(self, function: Any, *args: Any, **keywords: Any) -> Any:
        from tilelang.language.loops import serial  # loops are built on this module

        if function is builtins.range:
            return serial(*args, **keywords)
        return function(*args, **keywords)

    def _innermost_loop_is_python(self, what: str) -> bool:
        if not self.loops:
            raise LanguageError(f"`{what}` outside a loop")
        return self.loops[-1] == "python"

    def break_(self) -> bool:
        if self._innermost_loop_is_python("break"):
            self._require_unconditional("break")
            return True
        self._require_leavable("break")
        self.emit(Break())
        self.scopes[-1].is_unreachable = True
        return False

    def continue_(self) -> bool:
        if self._innermost_loop_is_python("continue"):
            self._require_unconditional("continue")
            return True
        self._require_leavable("continue")
        self.emit(Continue())
        self.scopes[-1].is_unreachable = True
        return False

    def _require_leavable(self, what: str) -> None:
        for scope in reversed(self.scopes):
            if scope.kind in ("for", "while"):
                return
            if scope.kind.startswith("T."):
                raise LanguageError(
                    f"`{what}` in a `{scope.kind}` loop, "
                    "whose iterations do not run one after the other",
                    hint="guard the rest of the body with `if`, or use T.serial",
                )

    def _require_unconditional(self, what: str) -> None:
        if self.scopes[-1].kind in ("if", "else"):
            raise LanguageError(
                f"`{what}` under a condition known only at run time, "
                "in a loop that is unrolled by Python",
                hint="use T.serial for a loop that the kernel may leave",
            )

    def with_(self, context: Any) -> AbstractContextManager[Any]:
        if not hasattr(context, "__enter__"):
            raise ArgumentTypeError(f"`with` needs a context frame, got {_kind_of(context)}")
        return context

    def return_(self, value: Any) -> Any:
        if len(self.scopes) > self.functions[-1].base_depth and any(
            scope.kind != "with" for scope in self.scopes[self.functions[-1].base_depth :]
        ):
            raise NotCompilableError(
                "`return` inside a block that is decided at run time",
                hint="return at the end of the function; guard the rest of the body with `if`",
            )
        if isinstance(value, DeadName):
            value.fail()
        if len(self.functions) > 1 and (
            (isinstance(value, Buffer) and value.is_var) or isinstance(value, Reference)
        ):
            return self.once(value)
        return value

    def expression(self, value: Any) -> None:
        """A statement that is an expression: effects are kept, everything else is dropped."""
        from tilelang.ir.ops import Effect, effect_of, has_side_effect
        from tilelang.language.loops import LoopFrame

        if isinstance(value, Stmt):
            self.emit(value)
        elif isinstance(value, LoopFrame):
            warnings.warn(
                f"{caller_span()}: a loop that is not iterated does nothing", TraceWarning, 3
            )
        elif (isinstance(value, Call) and effect_of(value.op) is not Effect.PURE) or (
            isinstance(value, Expr) and has_side_effect(value)
        ):
            self.emit(Evaluate(value))
        elif isinstance(value, AbstractContextManager) and hasattr(
            value, "enter_for_rest_of_block"
        ):
            value.enter_for_rest_of_block()  # type: ignore[attr-defined]

    def assert_(self, condition: Any, message: Callable[[], Any]) -> None:
        if isinstance(condition, Operand) and const_value(condition) is None:
            self.emit(Assert(as_condition(condition), str(message())))
        else:
            number = const_value(condition)
            assert number if number is not None else condition, message()

    # -- expressions ------------------------------------------------------------------------------

    def slice_(self, start: Any, stop: Any, step: Any) -> slice:
        return slice(start, stop, step)

    def _lazily(self, what: str, side: Callable[[], Any]) -> Any:
        before, self.no_statements = self.no_statements, what
        try:
            return side()
        finally:
            self.no_statements = before

    def and_(self, a: Any, b: Callable[[], Any]) -> Any:
        if not is_symbolic(a):
            return a and b()
        return ir_expr.logical_and(
            as_condition(a), as_condition(self._lazily("the right side of `and`", b))
        )

    def or_(self, a: Any, b: Callable[[], Any]) -> Any:
        if not is_symbolic(a):
            return a or b()
        return ir_expr.logical_or(
            as_condition(a), as_condition(self._lazily("the right side of `or`", b))
        )

    def not_(self, a: Any) -> Any:
        return ir_expr.logical_not(as_condition(a)) if is_symbolic(a) else not a

    def if_expression(self, condition: Any, a: Callable[[], Any], b: Callable[[], Any]) -> Any:
        if not is_symbolic(condition):
            return a() if condition else b()
        what = "a conditional expression"
        return ir_expr.if_then_else(
            as_condition(condition), self._lazily(what, a), self._lazily(what, b)
        )


def _is_assignable(value: Any) -> bool:
    return isinstance(value, Reference) or (isinstance(value, Buffer) and value.is_var)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Buffer):
        return value.is_var
    return isinstance(value, (bool, int, float, Expr, Reference)) and not isinstance(
        value, StringImm
    )


def _is_vector(region: BufferRegion) -> bool:
    *outer, last = region.ranges
    return all(ir_expr.is_const(r.extent, 1) for r in outer) and isinstance(last.extent, IntImm)


def _kind_of(value: Any) -> str:
    return f"{type(value).__name__} `{value}`"


_PYTHON_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "**": lambda a, b: a**b,
}


def _apply(symbol: str, old: Any, value: Any) -> Any:
    operator = _PYTHON_OPERATORS.get(symbol)
    if operator is None:
        raise ArgumentError(
            f"`{symbol}=` has no meaning in a kernel", hint="use T.gemm for matrix products"
        )
    return operator(old, value)


def annotations_of(values: dict[str, Any] | None) -> Annotations:
    """A user's annotation dictionary in the IR's form."""
    return tuple((open_key(str(k)), v) for k, v in (values or {}).items() if v is not None)
