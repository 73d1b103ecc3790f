"""User function -> the same function with its control flow, assignments and boolean operators
turned into calls on the builder.

Comes in: a Python function with source. Goes out: a function of the same parameters whose first
parameter is the builder; executing it *is* tracing (`builder.py`). Line and column numbers are
kept, so frames, tracebacks and spans speak of the user's text. What the language does not have is
an error at its place, here.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from tilelang.errors import LanguageError, NotCompilableError, Span

BUILDER = "__tl"  # the builder's name inside the rewritten function

_REJECTED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Try: ("`try`", "kernels have no exceptions; check conditions with `if` or T.device_assert"),
    ast.Delete: ("`del`", "names end with the block that binds them"),
    ast.Global: ("`global`", "pass values as arguments, or read the global without declaring it"),
    ast.Nonlocal: ("`nonlocal`", "use T.alloc_var and, in macros, a T.Ref parameter"),
    ast.ClassDef: ("`class`", "define the class outside the kernel"),
    ast.AsyncFunctionDef: ("`async def`", "kernels have no coroutines"),
    ast.AsyncFor: ("`async for`", "use a plain `for`"),
    ast.AsyncWith: ("`async with`", "use a plain `with`"),
    ast.Match: ("`match`", "use `if`/`elif`"),
    ast.Yield: ("`yield`", "kernels are no generators"),
    ast.YieldFrom: ("`yield from`", "kernels are no generators"),
    ast.Await: ("`await`", "kernels have no coroutines"),
    ast.NamedExpr: ("`:=`", "assign in a statement of its own"),
}
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.Pow: "**", ast.MatMult: "@",
}  # fmt: skip


class SourceFunction:
    """The parsed definition of a Python function, with true line and column numbers.

    Raises:
        LanguageError: when there is no source text (interactive input without history, `exec`).
    """

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.file = function.__code__.co_filename
        try:
            lines, first = inspect.getsourcelines(function)
        except (OSError, TypeError):
            raise LanguageError(
                f"no source text for `{function.__name__}`: kernels are read from their source",
                Span(self.file, function.__code__.co_firstlineno),
                hint="put the kernel in a file (or a notebook cell); "
                "`exec` and a bare prompt keep no text",
            ) from None
        text = "".join(lines)
        indented = text[:1] in (" ", "\t")
        try:
            tree = ast.parse("if 1:\n" + text if indented else text)
        except SyntaxError as error:
            raise LanguageError(
                f"`{function.__name__}` cannot be read on its own: {error.msg}",
                Span(self.file, first),
                hint="a kernel is a `def`, not a lambda",
            ) from None
        statement: ast.AST = tree.body[0]
        if indented:
            assert isinstance(statement, ast.If)
            statement = statement.body[0]
        if not isinstance(statement, ast.FunctionDef):
            raise NotCompilableError(
                f"`{function.__name__}` is not a plain `def`",
                Span(self.file, first),
                hint="write the kernel as a function definition",
            )
        ast.increment_lineno(statement, first - (2 if indented else 1))
        self.definition = statement

    def span(self, node: ast.AST) -> Span:
        """Where `node` stands."""
        end = getattr(node, "end_col_offset", None)
        return Span(
            self.file,
            getattr(node, "lineno", 1),
            getattr(node, "col_offset", 0) + 1,
            getattr(node, "end_lineno", None),
            None if end is None else end + 1,
        )


_rewritten: dict[CodeType, tuple[CodeType, tuple[str, ...]]] = {}


def rewrite(function: FunctionType) -> Callable[..., Any]:
    """`function(args...)` as `f(builder, args...)`. Compiled once per code object."""
    entry = _rewritten.get(function.__code__)
    if entry is None:
        entry = _rewritten[function.__code__] = _compile(function)
    code, free_names = entry
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # not assigned yet in the enclosing function: an unknown name when used
            continue
    scope: dict[str, Any] = {}
    exec(code, function.__globals__, scope)  # defines the maker; the globals stay untouched
    made = scope["__make"](**{name: cells.get(name, _Unassigned(name)) for name in free_names})
    made.__defaults__ = function.__defaults__
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class _Unassigned:
    """Stands for a variable of the enclosing function that has no value yet."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> Any:
        raise NameError(f"name {self.name!r} is not assigned yet in the enclosing function")


def _compile(function: FunctionType) -> tuple[CodeType, tuple[str, ...]]:
    source = SourceFunction(function)
    definition = _Rewriter(source).rewrite_function(source.definition)
    free = tuple(n for n in function.__code__.co_freevars if n != "__class__")
    maker = ast.FunctionDef(
        name="__make",
        args=ast.arguments(
            posonlyargs=[],
            args=[ast.arg(arg=n) for n in free],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[],
        ),
        body=[definition, ast.Return(ast.Name(definition.name, ast.Load()))],
        decorator_list=[],
    )
    _without_type_params(maker)
    module = ast.Module(body=[maker], type_ignores=[])
    ast.copy_location(maker, source.definition)
    ast.fix_missing_locations(module)
    return compile(module, source.file, "exec"), free


def _without_type_params(node: ast.FunctionDef) -> None:
    """Python 3.12 and later want the field."""
    if sys.version_info >= (3, 12):
        node.type_params = []


def _assigned_names(nodes: list[ast.stmt]) -> list[str]:
    """Names that `nodes` bind in their own function, in order."""
    found: dict[str, None] = {}
    stack: list[ast.AST] = list(reversed(nodes))
    while stack:
        node = stack.pop()
        if isinstance(
            node,
            (
                ast.FunctionDef,
                ast.Lambda,
                ast.ListComp,
                ast.SetComp,
                ast.DictComp,
                ast.GeneratorExp,
            ),
        ):
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id)
        stack.extend(reversed(list(ast.iter_child_nodes(node))))
    return list(found)


class _Rewriter(ast.NodeTransformer):
    def __init__(self, source: SourceFunction) -> None:
        self.source = source
        self.scoped_names: set[str] = (
            set()
        )  # bound in some block, so perhaps dead where they are read
        self.parameters: set[str] = set()
        self.counter = 0

    # -- construction -----------------------------------------------------------------------------

    def rewrite_function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.scoped_names = set(_block_names(node.body))
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a]
        self.parameters = {a.arg for a in every}
        body = self._block(node.body, is_function=True) or [ast.Pass()]
        bare = ast.arguments(
            posonlyargs=[
                ast.arg(arg=BUILDER),
                *(ast.arg(arg=a.arg) for a in arguments.posonlyargs),
            ],
            args=[ast.arg(arg=a.arg) for a in arguments.args],
            vararg=ast.arg(arg=arguments.vararg.arg) if arguments.vararg else None,
            kwonlyargs=[ast.arg(arg=a.arg) for a in arguments.kwonlyargs],
            kw_defaults=[None for _ in arguments.kwonlyargs],
            kwarg=ast.arg(arg=arguments.kwarg.arg) if arguments.kwarg else None,
            defaults=[],
        )
        made = ast.FunctionDef(name=node.name, args=bare, body=body, decorator_list=[])
        _without_type_params(made)
        return ast.copy_location(made, node)

    def _call(self, method: str, *args: ast.expr, at: ast.AST) -> ast.Call:
        function = ast.Attribute(ast.Name(BUILDER, ast.Load()), method, ast.Load())
        return _located(ast.Call(function, list(args), []), at)

    def _lambda(self, body: ast.expr) -> ast.Lambda:
        empty = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        return _located(ast.Lambda(empty, body), body)

    def _temporary(self) -> str:
        self.counter += 1
        return f"__tl_{self.counter}"

    def _block(self, body: list[ast.stmt], is_function: bool = False) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for position, statement in enumerate(body):
            if is_function and position == 0 and _is_docstring(statement):
                continue
            result = self.visit(statement)
            out.extend(result if isinstance(result, list) else [result])
        return out

    def _end_of_block(self, names: list[str], at: ast.AST) -> list[ast.stmt]:
        """`x, y = __tl.after_block(("x", "y"))`: what the block bound is dead from here on."""
        if not names:
            return []
        keys = ast.Tuple([ast.Constant(n) for n in names], ast.Load())
        targets = ast.Tuple([ast.Name(n, ast.Store()) for n in names], ast.Store())
        return [_located(ast.Assign([targets], self._call("after_block", keys, at=at)), at)]

    # -- statements -------------------------------------------------------------------------------

    def generic_visit(self, node: ast.AST) -> ast.AST:
        rejected = _REJECTED.get(type(node))
        if rejected or type(node).__name__ == "TryStar":
            what, instead = rejected or _REJECTED[ast.Try]
            raise NotCompilableError(
                f"{what} cannot be part of a kernel", self.source.span(node), hint=instead
            )
        return super().generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """A nested function stays Python; `@T.macro` reads its source by itself."""
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        record = self._call(
            "define", ast.Constant(node.name), ast.Name(node.name, ast.Load()), at=node
        )
        return [node, _located(ast.Expr(record), node)]

    def visit_Assign(self, node: ast.Assign) -> Any:
        value = self.visit(node.value)
        if len(node.targets) == 1 and not isinstance(node.targets[0], (ast.Tuple, ast.List)):
            return self._assign(node.targets[0], value, node)
        name = self._temporary()
        once = self._call("once", value, at=node.value)
        out: list[ast.stmt] = [_located(ast.Assign([ast.Name(name, ast.Store())], once), node)]
        for target in node.targets:
            out += self._assign(target, _located(ast.Name(name, ast.Load()), node), node)
        return out

    def _assign(self, target: ast.expr, value: ast.expr, at: ast.AST) -> list[ast.stmt]:
        match target:
            case ast.Name():
                bound = self._call("bind", ast.Constant(target.id), value, at=at)
                return [_located(ast.Assign([ast.Name(target.id, ast.Store())], bound), at)]
            case ast.Subscript():
                base, index = self.visit(target.value), self._index(target.slice)
                return [_located(ast.Expr(self._call("store", base, index, value, at=target)), at)]
            case ast.Tuple() | ast.List():
                return self._unpack(target, value, at)
            case ast.Attribute():
                raise NotCompilableError(
                    f"assigning the attribute `{ast.unparse(target)}` cannot be part of a kernel",
                    self.source.span(target),
                    hint="keep run-time state in T.alloc_var or a buffer",
                )
            case _:
                raise NotCompilableError(
                    f"`{ast.unparse(target)}` cannot be assigned in a kernel",
                    self.source.span(target),
                )

    def _unpack(self, target: ast.Tuple | ast.List, value: ast.expr, at: ast.AST) -> list[ast.stmt]:
        names = [self._temporary() for _ in target.elts]
        parts: list[ast.expr] = []
        for name, element in zip(names, target.elts):
            store = ast.Name(name, ast.Store())
            parts.append(
                ast.Starred(store, ast.Store()) if isinstance(element, ast.Starred) else store
            )
        unpacked = self._call("unpack", value, at=at)
        out = [_located(ast.Assign([ast.Tuple(parts, ast.Store())], unpacked), at)]
        for name, element in zip(names, target.elts):
            inner = element.value if isinstance(element, ast.Starred) else element
            out += self._assign(inner, _located(ast.Name(name, ast.Load()), at), at)
        return out

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is not None:
            return self._assign(node.target, self.visit(node.value), node)
        if isinstance(node.target, ast.Name) and node.target.id in self.parameters:
            name = node.target.id
            value = self._call("annotate", ast.Constant(name), self.visit(node.annotation), at=node)
            return _located(ast.Assign([ast.Name(name, ast.Store())], value), node)
        return []

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        symbol = ast.Constant(_OPERATORS[type(node.op)])
        value = self.visit(node.value)
        match node.target:
            case ast.Name(id=name):
                old = self._read(_located(ast.Name(name, ast.Load()), node.target))
                made = self._call("augment", ast.Constant(name), old, symbol, value, at=node)
                return _located(ast.Assign([ast.Name(name, ast.Store())], made), node)
            case ast.Subscript() as target:
                base, index = self.visit(target.value), self._index(target.slice)
                call = self._call("augment_store", base, index, symbol, value, at=target)
                return _located(ast.Expr(call), node)
            case _:
                return self._assign(
                    node.target, value, node
                )  # raises: attributes are not assignable

    def visit_If(self, node: ast.If) -> Any:
        name = self._temporary()
        branch = _located(ast.Name(name, ast.Load()), node)
        begin = self._call("if_", self.visit(node.test), at=node.test)
        out: list[ast.stmt] = [_located(ast.Assign([ast.Name(name, ast.Store())], begin), node)]
        names = _assigned_names([*node.body, *node.orelse])
        for method, body in (("then", node.body), ("otherwise", node.orelse)):
            test = _located(ast.Call(ast.Attribute(branch, method, ast.Load()), [], []), node)
            if body:
                out.append(_located(ast.If(test, self._block(body), []), node))
            else:
                out.append(_located(ast.Expr(test), node))
        end = ast.Call(ast.Attribute(branch, "end", ast.Load()), [], [])
        out.append(_located(ast.Expr(_located(end, node)), node))
        return out + self._end_of_block(names, node)

    def _no_else(self, node: ast.For | ast.While, what: str) -> None:
        if node.orelse:
            raise NotCompilableError(
                f"`{what}` with `else` cannot be part of a kernel",
                self.source.span(node.orelse[0]),
                hint="use a flag in T.alloc_var",
            )

    def visit_While(self, node: ast.While) -> Any:
        self._no_else(node, "while")
        names = _assigned_names(node.body)
        loop = self._call("while_", self._lambda(self.visit(node.test)), at=node.test)
        target = ast.Name(self._temporary(), ast.Store())
        made = ast.For(target, loop, self._block(node.body), [])
        return [_located(made, node), *self._end_of_block(names, node)]

    def visit_For(self, node: ast.For) -> Any:
        self._no_else(node, "for")
        names = _assigned_names([ast.Assign([node.target], ast.Constant(None)), *node.body])
        iterable = self._iterable(node.iter)
        name = self._temporary()
        loop = self._call("for_", iterable, at=node.iter)
        first = self._assign(
            node.target, _located(ast.Name(name, ast.Load()), node.target), node.target
        )
        first = [*first, *self._mark_loop_variables(node.target)]
        made = ast.For(ast.Name(name, ast.Store()), loop, first + self._block(node.body), [])
        return [_located(made, node), *self._end_of_block(names, node)]

    def _mark_loop_variables(self, target: ast.expr) -> list[ast.stmt]:
        names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
        keys = ast.Tuple([ast.Constant(n) for n in names], ast.Load())
        return [_located(ast.Expr(self._call("loop_variables", keys, at=target)), target)]

    def _iterable(self, node: ast.expr) -> ast.expr:
        """`range(...)` in a `for` is a serial loop whose bounds may be symbolic."""
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "range"
        ):
            made = self._call(
                "range_", self.visit(node.func), *(self.visit(a) for a in node.args), at=node
            )
            made.keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
            return made
        return self.visit(node)

    def visit_With(self, node: ast.With) -> Any:
        names = _assigned_names(node.body)
        items: list[ast.withitem] = []
        first: list[ast.stmt] = []
        for item in node.items:
            context = self._call("with_", self.visit(item.context_expr), at=item.context_expr)
            if item.optional_vars is None:
                items.append(ast.withitem(context, None))
                continue
            name = self._temporary()
            items.append(ast.withitem(context, ast.Name(name, ast.Store())))
            value = _located(ast.Name(name, ast.Load()), item.optional_vars)
            first += self._assign(item.optional_vars, value, item.optional_vars)
            names += _assigned_names([ast.Assign([item.optional_vars], ast.Constant(None))])
        made = ast.With(items, first + self._block(node.body))
        return [_located(made, node), *self._end_of_block(list(dict.fromkeys(names)), node)]

    def visit_Break(self, node: ast.Break) -> Any:
        return self._leave("break_", ast.Break(), node)

    def visit_Continue(self, node: ast.Continue) -> Any:
        return self._leave("continue_", ast.Continue(), node)

    def _leave(self, method: str, python: ast.stmt, at: ast.AST) -> ast.stmt:
        """True from the builder means: the loop is unrolled by Python, so Python leaves it."""
        return _located(ast.If(self._call(method, at=at), [_located(python, at)], []), at)

    def visit_Return(self, node: ast.Return) -> Any:
        value = (
            self.visit(node.value) if node.value is not None else _located(ast.Constant(None), node)
        )
        return _located(ast.Return(self._call("return_", value, at=node)), node)

    def visit_Expr(self, node: ast.Expr) -> Any:
        if isinstance(node.value, ast.Constant):
            return []
        return _located(
            ast.Expr(self._call("expression", self.visit(node.value), at=node.value)), node
        )

    def visit_Assert(self, node: ast.Assert) -> Any:
        message = self.visit(node.msg) if node.msg is not None else ast.Constant("")
        call = self._call(
            "assert_", self.visit(node.test), self._lambda(_located(message, node)), at=node.test
        )
        return _located(ast.Expr(call), node)

    # -- expressions ------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._read(node) if isinstance(node.ctx, ast.Load) else node

    def _read(self, node: ast.Name) -> ast.expr:
        if node.id not in self.scoped_names:
            return node
        return self._call("live", _located(ast.Name(node.id, ast.Load()), node), at=node)

    def _index(self, node: ast.expr) -> ast.expr:
        return self.visit(node)

    def visit_Slice(self, node: ast.Slice) -> ast.expr:
        """`a:b` outside a subscript's own position must be spelled `slice(a, b)`."""
        parts = [
            self.visit(p) if p is not None else ast.Constant(None)
            for p in (node.lower, node.upper, node.step)
        ]
        return self._call("slice_", *parts, at=node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        method = "and_" if isinstance(node.op, ast.And) else "or_"
        values = [self.visit(v) for v in node.values]
        made = values[-1]
        for value in reversed(values[:-1]):
            made = self._call(method, value, self._lambda(made), at=node)
        return made

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        operand = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return self._call("not_", operand, at=node)
        return _located(ast.UnaryOp(node.op, operand), node)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        operands = [self.visit(v) for v in (node.left, *node.comparators)]
        if len(node.ops) == 1:
            return _located(ast.Compare(operands[0], node.ops, [operands[1]]), node)
        return self._chain(operands[0], node.ops, operands[1:], node)

    def _chain(
        self, left: ast.expr, ops: list[ast.cmpop], rest: list[ast.expr], at: ast.AST
    ) -> ast.expr:
        """`a < b < c`, `b` evaluated once: `(lambda m: and_(a < m, lambda: m < c))(once(b))`."""
        if len(ops) == 1:
            return _located(ast.Compare(left, ops, rest), at)
        name = self._temporary()
        middle = ast.Name(name, ast.Load())
        first = _located(ast.Compare(left, [ops[0]], [middle]), at)
        more = self._chain(_located(ast.Name(name, ast.Load()), at), ops[1:], rest[1:], at)
        body = self._call("and_", first, self._lambda(more), at=at)
        one = ast.arguments(
            posonlyargs=[], args=[ast.arg(arg=name)], kwonlyargs=[], kw_defaults=[], defaults=[]
        )
        function = _located(ast.Lambda(one, body), at)
        return _located(ast.Call(function, [self._call("once", rest[0], at=at)], []), at)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        parts = (
            self.visit(node.test),
            self._lambda(self.visit(node.body)),
            self._lambda(self.visit(node.orelse)),
        )
        return self._call("if_expression", *parts, at=node)


def _block_names(body: list[ast.stmt]) -> list[str]:
    """Names that some nested block of `body` binds."""
    names: list[str] = []
    for statement in body:
        if isinstance(statement, (ast.For, ast.While, ast.If, ast.With)):
            names += _assigned_names([statement])
    return names


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _located(node: Any, at: ast.AST) -> Any:
    return ast.copy_location(node, at)
