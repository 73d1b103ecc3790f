"""Whole functions as Python text: `to_script`.

The text is in the language a user writes (`tilelang.language`, called `T`); what has no surface
syntax, or would come back different, is written with `tilelang.language.generic` (called `G`).
Executed (`tilelang.language.script.from_script`), it rebuilds a structurally equal function, in the
tile form and in the thread form: exactness first, readability second.

A buffer that no parameter or `Allocate` declares is a view: it is declared just before the first
statement that uses it, in the innermost block that holds all its uses.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilelang.ir.buffer import FRAGMENT, GLOBAL, LOCAL, SHARED, SHARED_DYN, Buffer
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    HANDLE,
    INT32,
    BufferLoad,
    FloatImm,
    IntImm,
    Ramp,
    StringImm,
    Var,
    add,
    as_expr,
    cast,
    constant,
    is_const,
    sub,
)
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.number import promote
from tilelang.ir.script_expr import Names, ScriptExprs
from tilelang.ir.script_scope import Path, all_vars, outer_vars, view_positions
from tilelang.ir.script_surface import (
    LOOP_FUNCTIONS,
    can_allocate,
    is_dense,
    is_plain_global,
    is_run_time_bool,
    loop_keywords,
    makes_kernel,
    makes_swizzle,
)
from tilelang.ir.script_tile import tile_call
from tilelang.ir.stmt import (
    Allocate,
    Annotations,
    Assert,
    Attr,
    Bind,
    Break,
    BufferStore,
    Continue,
    Evaluate,
    For,
    If,
    Launch,
    LoopKind,
    Seq,
    Stmt,
    While,
)
from tilelang.ir.tile import TileOp, TileOperand

_ALLOCATORS = {
    SHARED: "alloc_shared",
    SHARED_DYN: "alloc_shared",
    FRAGMENT: "alloc_fragment",
    LOCAL: "alloc_local",
    GLOBAL: "alloc_global",
}
_HEADER = "import tilelang.language as T\n"
_GENERIC_HEADER = "import tilelang.language.generic as G\n"

_THREADS = "T.get_thread_bindings()"


def to_script(program: PrimFunc | IRModule) -> str:
    """Python text that, executed, rebuilds a function or module structurally equal to `program`."""
    names = Names()
    parts: list[str] = []
    if isinstance(program, PrimFunc):
        parts.append(_FunctionScript(program, names).text)
    else:
        scripts = {key: _FunctionScript(f, names) for key, f in program.items()}
        parts += [s.text for s in scripts.values()]
        entries = ", ".join(f"{key!r}: {s.name}" for key, s in scripts.items())
        attributes = ScriptExprs(names).value(program.attributes)
        parts.append(f"module = G.module({{{entries}}}, {attributes})\n")
    body = "\n\n".join(parts)
    return _HEADER + (_GENERIC_HEADER if "G." in body else "") + "\n\n" + body


class _FunctionScript:
    """Writes one function; the text is ready when the constructor returns."""

    def __init__(self, function: PrimFunc, names: Names) -> None:
        self.names = names
        self.exprs = ScriptExprs(names)
        self.lines: list[str] = []
        self.depth = 0
        self.loops: list[bool] = []  # is the loop one that `break` may leave; innermost last
        self.launch_depth = 0
        self.views = view_positions(function)
        self.name = names.fresh(function.name)
        self.text = self._function(function)

    # -- functions --------------------------------------------------------------------------------

    def _function(self, function: PrimFunc) -> str:
        symbols = list(self._symbols(function))
        params = [self._parameter(p) for p in function.params]
        self._line("@T.prim_func")
        self._line(f"def {self.name}({', '.join(params)}):")
        self.depth += 1
        if function.attributes:
            self._line(f"G.attributes({self.exprs.value(function.attributes)})")
        self._block(function.body, ())
        self.depth -= 1
        if self.name != function.name:
            self._line(f"{self.name} = G.renamed({self.name}, {function.name!r})")
        head = [*symbols, "", ""] if symbols else []
        return "\n".join([*head, *self.lines]) + "\n"

    def _symbols(self, function: PrimFunc) -> Iterator[str]:
        """Declarations of everything that no parameter, statement or allocation brings."""
        for var in outer_vars(function):
            if var.dtype.is_int and var.dtype.lanes == 1:
                kind = "" if var.dtype == INT32 else f", {str(var.dtype)!r}"
                yield f"{self.names.declare(var)} = T.dynamic({var.name!r}{kind})"
            else:
                name = self.names.declare(var, f"{var.name}_data" if var.dtype == HANDLE else None)
                yield f"{name} = G.variable({var.name!r}, {str(var.dtype)!r})"

    def _parameter(self, param: Buffer | Var) -> str:
        value = self.exprs.value
        if isinstance(param, Var):
            if param in self.names.given:  # also a symbol of a shape, hence declared outside
                name = self.names.given[param]
                return f"{name}: {name}"
            kind = "T.handle" if param.dtype == HANDLE else self.exprs.dtype(param.dtype)
            return f"{self.names.declare(param)}: {kind}"
        kind = repr(str(param.dtype))
        if param.data in self.names.given or not is_plain_global(param):
            annotation = self._buffer(param)
        elif param.declared_strides is not None:
            strides = value(param.declared_strides)
            annotation = f"T.StridedTensor({value(param.shape)}, {strides}, {kind})"
        else:
            annotation = f"T.Tensor({value(param.shape)}, {kind})"
        return f"{self.names.declare(param)}: {annotation}"

    def _buffer(self, buffer: Buffer) -> str:
        """A call that makes a buffer from all its parts."""
        value = self.exprs.value
        parts = [value(buffer.shape), repr(str(buffer.dtype))]
        if buffer.scope() != GLOBAL:
            parts.append(f"scope={buffer.scope()!r}")
        if self.names.has(buffer.data):
            parts.append(f"data={self.names.of(buffer.data)}")
        if buffer.declared_strides is not None:
            parts.append(f"strides={value(buffer.declared_strides)}")
        if not is_const(buffer.elem_offset, 0):
            parts.append(f"elem_offset={value(buffer.elem_offset)}")
        return f"G.buffer({', '.join(parts)})"

    # -- blocks -----------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def _block(self, body: Stmt, path: Path) -> None:
        """The statements of a block; `path` says which block it is."""
        stmts = body.stmts if isinstance(body, Seq) else (body,)
        if not stmts:
            self._line("pass")
        skip = False
        for position, stmt in enumerate(stmts):
            for view in self.views.get((path, position), ()):
                text = self._buffer(view)
                self._line(f"{self.names.declare(view)} = {text}")
            following = stmts[position + 1] if position + 1 < len(stmts) else None
            if not skip:
                skip = self._statement(stmt, following, path, position)
            else:
                skip = False

    def _nested(self, body: Stmt, path: Path) -> None:
        self.depth += 1
        self._block(body, path)
        self.depth -= 1

    def _statement(self, stmt: Stmt, following: Stmt | None, path: Path, position: int) -> bool:
        """Write one statement; true when that covers the following one as well."""
        e = self.exprs
        match stmt:
            case Bind():
                self._bind(stmt)
            case Allocate():
                return self._allocate(stmt, following)
            case For():
                self._for(stmt, path, position)
            case While():
                self._while(stmt, path, position)
            case If():
                self._if(stmt, path, position)
            case Break() | Continue():
                self._jump(type(stmt).__name__.lower(), following)
            case BufferStore():
                self._store(stmt)
            case Evaluate():
                self._line(f"G.evaluate({e.plain(stmt.value)})")
            case Assert():
                self._assert(stmt)
            case Attr():
                self._attribute(stmt, following is None, (*path, (position, "body")))
            case Launch():
                self._launch(stmt, path, position)
            case TileOp():
                self._tile_op(stmt)
            case _:
                raise AssertionError(f"{type(stmt).__name__} is not canonical inside a block")
        return False

    # -- statements -------------------------------------------------------------------------------

    def _bind(self, stmt: Bind) -> None:
        value = self.exprs.expr(stmt.value)
        is_special = isinstance(stmt.value, (Var, IntImm, FloatImm, StringImm, Ramp))
        if stmt.var.dtype != stmt.value.dtype:
            value = f"G.bind({value}, {str(stmt.var.dtype)!r})"
        elif is_special or stmt.value.dtype.kind == "void":
            value = f"G.bind({value})"
        self._line(f"{self.names.declare(stmt.var)} = {value}")

    def _allocate(self, stmt: Allocate, following: Stmt | None) -> bool:
        buffer = stmt.buffer
        is_plain = not stmt.annotations and not self.names.has(buffer.data) and is_dense(buffer)
        kind = str(buffer.dtype)
        init = self._initial_value(buffer, following) if is_plain else None
        if init is not None:
            self._line(f"{self.names.declare(buffer)} = T.alloc_var({kind!r}, init={init})")
            return True
        maker = _ALLOCATORS.get(buffer.scope())
        if maker is not None and is_plain and can_allocate(buffer):
            extra = f", scope={SHARED!r}" if buffer.scope() == SHARED else ""
            call = f"T.{maker}({self.exprs.value(buffer.shape)}, {kind!r}{extra})"
        else:
            call = f"G.allocate({self._buffer(buffer)}{self._annotations(stmt.annotations)})"
        self._line(f"{self.names.declare(buffer)} = {call}")
        return False

    def _initial_value(self, buffer: Buffer, following: Stmt | None) -> str | None:
        """The constant that the statement after an allocation puts into a scalar variable."""
        if not buffer.is_var or buffer.shape != (1,) or not isinstance(following, BufferStore):
            return None
        if following.buffer is not buffer or not structural_equal(following.indices, (as_expr(0),)):
            return None
        literal = self.exprs.literal(following.value, lambda v: constant(v, buffer.dtype))
        return literal[0] if literal else None

    def _annotations(self, annotations: Annotations) -> str:
        return f", annotations={self.exprs.value(annotations)}" if annotations else ""

    def _while(self, stmt: While, path: Path, position: int) -> None:
        condition = self.exprs.expr(stmt.condition)
        is_python = is_run_time_bool(stmt.condition)
        self._line(f"while {condition}:" if is_python else f"with G.while_({condition}):")
        self.loops.append(is_python)
        self._nested(stmt.body, (*path, (position, "body")))
        self.loops.pop()

    def _if(self, stmt: If, path: Path, position: int) -> None:
        condition = self.exprs.expr(stmt.condition)
        has_empty_else = isinstance(stmt.else_body, Seq) and not stmt.else_body.stmts
        is_python = is_run_time_bool(stmt.condition) and not has_empty_else
        self._line(f"if {condition}:" if is_python else f"with G.branch({condition}):")
        self._nested(stmt.then_body, (*path, (position, "then_body")))
        if stmt.else_body is not None:
            self._line("else:" if is_python else "with G.otherwise():")
            self._nested(stmt.else_body, (*path, (position, "else_body")))

    def _jump(self, word: str, following: Stmt | None) -> None:
        is_python = following is None and bool(self.loops) and self.loops[-1]
        self._line(word if is_python else f"G.jump({word!r})")

    def _store(self, stmt: BufferStore) -> None:
        lanes = stmt.indices[-1].dtype.lanes if stmt.indices else 1
        kind = stmt.buffer.dtype.with_lanes(lanes)
        place = self.exprs.expr(BufferLoad(stmt.buffer, stmt.indices))
        if stmt.value.dtype == kind and kind.kind != "void" and place.endswith("]"):
            literal = self.exprs.literal(stmt.value, lambda v: cast(as_expr(v), kind))
            self._line(f"{place} = {literal[0] if literal else self.exprs.expr(stmt.value)}")
            return
        indices = ", ".join(map(self.exprs.plain, stmt.indices))
        name = self.names.of(stmt.buffer)
        self._line(f"G.store({name}, {self.exprs.expr(stmt.value)}, [{indices}])")

    def _assert(self, stmt: Assert) -> None:
        condition = self.exprs.expr(stmt.condition)
        if is_run_time_bool(stmt.condition):
            self._line(f"assert {condition}, {stmt.message!r}")
        else:
            self._line(f"G.assert_({condition}, {stmt.message!r})")

    def _attribute(self, stmt: Attr, is_last: bool, path: Path) -> None:
        value = self.exprs.value(stmt.value)
        if not is_last:
            self._line(f"with G.attribute({stmt.key!r}, {value}):")
            self._nested(stmt.body, path)
            return
        if makes_swizzle(stmt):
            panel, order = stmt.value  # type: ignore[misc]
            self._line(f"T.use_swizzle({panel!r}, {order!r})")
        else:
            self._line(f"T.block_attr({{{stmt.key!r}: {value}}})")
        self._block(stmt.body, path)  # the statement form covers the rest of the block

    def _tile_op(self, stmt: TileOp) -> None:
        call = tile_call(self.exprs, stmt)
        if call is not None:
            self._line(call)
            return
        operands = "".join(f"{self._operand(o)}, " for o in stmt.operands)
        values = "".join(f"({n!r}, {self.exprs.plain(v)}), " for n, v in stmt.values)
        parts = [repr(stmt.op), f"operands=({operands.rstrip(' ')})"]
        if stmt.values:
            parts.append(f"values=({values.rstrip(' ')})")
        if stmt.attributes:
            parts.append(f"attributes={self.exprs.value(stmt.attributes)}")
        self._line(f"G.tile_op({', '.join(parts)})")

    def _operand(self, operand: TileOperand) -> str:
        return f"({operand.name!r}, {self.exprs.region(operand.region)}, {operand.access!r})"

    # -- loops and launches -----------------------------------------------------------------------

    def _for(self, stmt: For, path: Path, position: int) -> None:
        inner: Path = (*path, (position, "body"))
        nest = [stmt]
        if stmt.kind is LoopKind.PARALLEL:
            nest = self._parallel_nest(stmt, inner)
        call = self._loop_call(nest)
        if call is None:
            nest = [stmt]
            call = self._generic_loop(stmt)
        targets = ", ".join(self.names.declare(loop.var) for loop in nest)
        self._line(f"for {targets} in {call}:")
        self.loops.append(stmt.kind in (LoopKind.SERIAL, LoopKind.UNROLLED))
        self._nested(nest[-1].body, inner + ((0, "body"),) * (len(nest) - 1))
        self.loops.pop()

    def _parallel_nest(self, stmt: For, inner: Path) -> list[For]:
        """Loops that one `T.Parallel` can stand for, outermost first."""
        nest = [stmt]
        loop_vars: set[Var] = {stmt.var}
        while isinstance(body := nest[-1].body, For) and body.kind is LoopKind.PARALLEL:
            depends = any(v in loop_vars for v in all_vars(body.extent))
            if body.annotations or depends or self.views.get((inner, 0)):
                break
            if self._bounds(body) is None or not structural_equal(body.start, as_expr(0)):
                break
            nest.append(body)
            loop_vars.add(body.var)
            inner = (*inner, (0, "body"))
        return nest

    def _bounds(self, stmt: For) -> str | None:
        """Arguments that give these bounds to a loop function, if there are any."""
        if stmt.var.dtype != promote(stmt.start.dtype, stmt.extent.dtype):
            return None
        if not stmt.start.dtype.is_int or not stmt.extent.dtype.is_int:
            return None
        if structural_equal(stmt.start, as_expr(0)) and structural_equal(
            sub(stmt.extent, 0), stmt.extent
        ):
            return self.exprs.plain(stmt.extent)
        stop = add(stmt.start, stmt.extent)
        if structural_equal(sub(stop, stmt.start), stmt.extent):
            return f"{self.exprs.plain(stmt.start)}, {self.exprs.plain(stop)}"
        return None

    def _loop_call(self, nest: list[For]) -> str | None:
        """The loop function of the language, if it makes these very loops."""
        stmt = nest[0]
        bounds = self._bounds(stmt)
        keywords = loop_keywords(stmt, len(nest))
        if bounds is None or keywords is None:
            return None
        if stmt.kind is LoopKind.VECTORIZED and not is_const(stmt.extent):
            return None
        if stmt.kind is LoopKind.PARALLEL:
            if not structural_equal(stmt.start, as_expr(0)):
                return None
            bounds = ", ".join(self.exprs.plain(loop.extent) for loop in nest)
        texts = [bounds]
        for name, value in keywords:
            if name == "annotations":
                pairs = ", ".join(f"{k!r}: {self.exprs.value(v)}" for k, v in value)
                texts.append(f"annotations={{{pairs}}}")
            else:
                texts.append(f"{name}={self.exprs.value(value)}")
        return f"T.{LOOP_FUNCTIONS[stmt.kind]}({', '.join(texts)})"

    def _generic_loop(self, stmt: For) -> str:
        bounds = f"{self.exprs.plain(stmt.start)}, {self.exprs.plain(stmt.extent)}"
        kind = repr(stmt.kind.value)
        if stmt.var.dtype != INT32:
            kind += f", dtype={str(stmt.var.dtype)!r}"
        return f"G.loop({bounds}, {kind}{self._annotations(stmt.annotations)})"

    def _launch(self, stmt: Launch, path: Path, position: int) -> None:
        grid = [self.exprs.plain(x) for x in stmt.grid_extents]
        threads = [self.exprs.plain(x) for x in stmt.thread_extents]
        annotations = self._annotations(stmt.annotations)
        blocks = [self.names.declare(v) for v in stmt.grid_vars]
        names = [self.names.declare(v) for v in stmt.thread_vars]
        is_kernel = self.launch_depth == 0 and makes_kernel(stmt)
        if is_kernel:
            count = threads[0] if threads[1:] == ["1", "1"] else f"({', '.join(threads)})"
            targets = blocks[0] if len(blocks) == 1 else f"({', '.join(blocks)})"
            self._line(f"with T.Kernel({', '.join(grid)}, threads={count}) as {targets}:")
        else:
            kinds = tuple(str(v.dtype) for v in (*stmt.grid_vars, *stmt.thread_vars))
            extra = "" if set(kinds) == {"int32"} else f", dtypes={kinds!r}"
            call = f"G.launch([{', '.join(grid)}], [{', '.join(threads)}]{extra}{annotations})"
            self._line(f"with {call} as ({_targets(blocks)}, {_targets(names)}):")
        if is_kernel and not set(stmt.thread_vars).isdisjoint(all_vars(stmt.body)):
            self.lines.append("    " * (self.depth + 1) + f"{', '.join(names)} = {_THREADS}")
        loops, self.loops = self.loops, []
        self.launch_depth += 1
        self._nested(stmt.body, (*path, (position, "body")))
        self.launch_depth -= 1
        self.loops = loops


def _targets(names: list[str]) -> str:
    return f"({names[0]},)" if len(names) == 1 else f"({', '.join(names)})"
