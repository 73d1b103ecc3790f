"""Host statements of a function -> the body of `call`, in C++ or in Python.

The wrappers give a language; `HostPrinter` walks the statements around the launches (bindings,
loops, conditions, workspaces) and asks the wrapper for the text of each launch. Expressions of the
host are integer arithmetic over parameters and symbols; `/` is what C has for floor division of
extents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tilelang.errors import TargetError
from tilelang.ir import expr as E
from tilelang.ir import stmt as S
from tilelang.ir.buffer import GLOBAL, Extent
from tilelang.ir.expr import BinaryOp, Expr, Var, as_expr, const_value
from tilelang.jit.adapter.wrapper_facts import TENSOR_MAP_CREATORS, buffer_bytes


@dataclass(frozen=True)
class HostLanguage:
    """How host code is written. Statement texts have the slots that `HostPrinter` names."""

    floordiv: str
    conjunction: str
    disjunction: str
    negation: str
    choice: str  # {condition}, {then}, {other}
    smaller: str  # {a}, {b}
    larger: str
    bind: str  # {type}, {name}, {value}
    loop: str  # {name}, {start}, {stop}
    branch: str  # {condition}
    otherwise: str
    close: str  # ends a block; empty where indentation does
    empty: str  # a block without statements
    check: str  # {condition}, {message}
    allocate: str  # {name}, {bytes}
    free: str  # {name}
    types: Mapping[str, str] | None  # of bindings and casts; `None`: not written


CPP = HostLanguage(
    floordiv="/", conjunction="&&", disjunction="||", negation="!",
    choice="({condition} ? {then} : {other})",
    smaller="({a} < {b} ? {a} : {b})", larger="({a} > {b} ? {a} : {b})",
    bind="const {type} {name} = {value};",
    loop="for (int64_t {name} = {start}; {name} < {stop}; ++{name}) {{",
    branch="if ({condition}) {{", otherwise="}} else {{", close="}", empty=";",
    check="if (!({condition})) {{ "
    'snprintf(error_buf, ERROR_BUF_SIZE, "%s", {message}); return -1; }}',
    allocate="void* {name} = nullptr; TL_HOST_CHECK(cudaMallocAsync(&{name}, {bytes}, stream));",
    free="cudaFreeAsync({name}, stream);",
    types={"bool": "bool", "int32": "int", "uint32": "unsigned int"},
)  # fmt: skip
PYTHON = HostLanguage(
    floordiv="//", conjunction="and", disjunction="or", negation="not ",
    choice="({then} if {condition} else {other})",
    smaller="min({a}, {b})", larger="max({a}, {b})",
    bind="{name} = {value}",
    loop="for {name} in range({start}, {stop}):",
    branch="if {condition}:", otherwise="else:", close="", empty="pass",
    check="if not ({condition}): raise RuntimeError({message})",
    allocate="{name} = _check(cuda.bindings.driver.cuMemAllocAsync({bytes}, stream))",
    free="_check(cuda.bindings.driver.cuMemFreeAsync({name}, stream))",
    types=None,
)  # fmt: skip
_CALL_PRECEDENCE = 100
_PRECEDENCE = {"*": 6, "/": 6, "//": 6, "%": 6, "+": 5, "-": 5, "<<": 4, ">>": 4}


class HostExpressions:
    """Prints integer expressions of the host, with the parentheses that are needed."""

    def __init__(self, language: HostLanguage, names: Mapping[Var, str] | None = None) -> None:
        self.language = language
        self.names: dict[Var, str] = dict(names or {})

    def text(self, value: Extent | Expr) -> str:
        """`value` as text.

        Raises:
            TargetError: for an expression that the host cannot evaluate, such as a load.
        """
        return self._text(as_expr(value))[0]

    def _text(self, value: Expr) -> tuple[str, int]:
        language = self.language
        match value:
            case Var():
                return self.names.get(value, value.name), _CALL_PRECEDENCE
            case E.IntImm() | E.FloatImm():
                return self._number(value), _CALL_PRECEDENCE if value.value >= 0 else 0
            case E.Cast():
                return self._cast(value)
            case E.Select():
                parts = (value.condition, value.then_value, value.else_value)
                return self._choice(*parts), _CALL_PRECEDENCE
            case E.Call(op="if_then_else", args=(condition, then, other)):
                return self._choice(condition, then, other), _CALL_PRECEDENCE
            case E.Not():
                return f"{language.negation}({self.text(value.a)})", 0
            case BinaryOp():
                return self._binary(value)
            case _:
                raise TargetError(f"`{value}` cannot be computed on the host", value.span)

    def _number(self, value: E.IntImm | E.FloatImm) -> str:
        if value.dtype.is_bool and self.language.types is None:
            return str(bool(value.value))
        return str(value.value)

    def _cast(self, value: E.Cast) -> tuple[str, int]:
        types = self.language.types
        if types is None:
            return self._text(value.value)
        kind = types.get(value.dtype, f"{value.dtype}_t" if value.dtype.is_int else "double")
        return f"({kind})({self.text(value.value)})", _CALL_PRECEDENCE

    def _choice(self, condition: Expr, then: Expr, other: Expr) -> str:
        return self.language.choice.format(
            condition=self.text(condition), then=self.text(then), other=self.text(other)
        )

    def _binary(self, value: BinaryOp) -> tuple[str, int]:
        language = self.language
        if isinstance(value, (E.Min, E.Max)):
            form = language.smaller if isinstance(value, E.Min) else language.larger
            return form.format(a=self.text(value.a), b=self.text(value.b)), _CALL_PRECEDENCE
        symbol = {"and": language.conjunction, "or": language.disjunction}.get(
            value.symbol, value.symbol
        )
        if isinstance(value, (E.FloorDiv, E.TruncDiv)):
            symbol = language.floordiv
        elif isinstance(value, (E.FloorMod, E.TruncMod)):
            symbol = "%"
        precedence = _PRECEDENCE.get(symbol, 0)
        left = self._operand(value.a, precedence)
        right = self._operand(value.b, precedence + 1)
        return f"{left} {symbol} {right}", precedence

    def _operand(self, value: Expr, least: int) -> str:
        text, precedence = self._text(value)
        return f"({text})" if precedence < max(least, 1) else text


class HostPrinter:
    """Prints the statements around the launches of one function; indentation is tabs.

    Args:
        launch_text: gives the lines of one launch.
    """

    def __init__(
        self,
        language: HostLanguage,
        expressions: HostExpressions,
        launch_text: Callable[[S.Launch], str],
    ) -> None:
        self.language = language
        self.expressions = expressions
        self.launch_text = launch_text
        self.lines: list[str] = []
        self.workspaces: list[str] = []
        self.depth = 1

    def body(self, stmt: S.Stmt) -> str:
        """Lines of `stmt`, and of freeing its workspaces."""
        self._visit_and_free(stmt)
        return "\n".join(self.lines)

    def _visit_and_free(self, stmt: S.Stmt) -> None:
        """A block; the workspaces allocated in it end with it."""
        kept, self.workspaces = self.workspaces, []
        self.visit(stmt)
        for name in reversed(self.workspaces):
            self.line(self.language.free.format(name=name))
        self.workspaces = kept

    def line(self, text: str) -> None:
        self.lines.append("\t" * self.depth + text)

    def visit(self, stmt: S.Stmt) -> None:
        text, language = self.expressions.text, self.language
        match stmt:
            case S.Seq():
                for child in stmt.stmts:
                    self.visit(child)
            case S.Attr():
                self.visit(stmt.body)
            case S.Launch():
                self._paste(self.launch_text(stmt))
            case S.Bind():
                self._bind(stmt)
            case S.For():
                stop = text(stmt.start + stmt.extent)
                self.line(
                    language.loop.format(name=stmt.var.name, start=text(stmt.start), stop=stop)
                )
                self._block(stmt.body)
                self._close()
            case S.If():
                self.line(language.branch.format(condition=text(stmt.condition)))
                self._block(stmt.then_body)
                if stmt.else_body is not None:
                    self.line(language.otherwise.format())
                    self._block(stmt.else_body)
                self._close()
            case S.Assert():
                message = '"' + stmt.message.replace("\\", "\\\\").replace('"', '\\"') + '"'
                self.line(language.check.format(condition=text(stmt.condition), message=message))
            case S.Allocate():
                self._allocate(stmt)
            case S.Evaluate(value=E.Call(op="call_packed" | "assume")):
                return  # tensor maps are made before anything else; an assumption does nothing
            case _:
                raise TargetError(
                    f"{type(stmt).__name__} outside a kernel has no host code", stmt.span
                )

    def _bind(self, stmt: S.Bind) -> None:
        value = stmt.value
        if isinstance(value, E.Call) and value.op in TENSOR_MAP_CREATORS:
            return
        types, kind = self.language.types, stmt.var.dtype
        written = "" if types is None else types.get(kind, f"{kind}_t" if kind.is_int else "double")
        text = self.expressions.text(value)
        self.line(self.language.bind.format(type=written, name=stmt.var.name, value=text))

    def _allocate(self, stmt: S.Allocate) -> None:
        buffer = stmt.buffer
        assert buffer.scope() == GLOBAL, "only workspaces are allocated outside kernels"
        size = self.expressions.text(buffer_bytes(buffer))
        self.line(self.language.allocate.format(name=buffer.data.name, bytes=size))
        self.workspaces.append(buffer.data.name)

    def _block(self, stmt: S.Stmt) -> None:
        self.depth += 1
        start = len(self.lines)
        self._visit_and_free(stmt)
        if len(self.lines) == start:
            self.line(self.language.empty)
        self.depth -= 1

    def _close(self) -> None:
        if self.language.close:
            self.line(self.language.close)

    def _paste(self, text: str) -> None:
        extra = "\t" * (self.depth - 1)
        self.lines += [extra + line if line else line for line in text.strip("\n").split("\n")]


def constant_or_text(value: Extent, expressions: HostExpressions) -> str:
    """An extent as text."""
    number = const_value(value)
    return str(int(number)) if number is not None else expressions.text(value)
