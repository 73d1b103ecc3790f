"""Makes a failing program smaller while it still fails in the same way.

`shrink(program, fails)` removes statements, then replaces expressions by their parts. A candidate
counts only if `fails` accepts it; whoever calls it also asks `run.is_defined`, since dropping the
statement that fills a buffer would show a difference that is nobody's fault.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fuzz.generate import Argument, Program

Fails = Callable[[Program], bool]
Edit = Callable[[Program, int], "Program | None"]  # at one place; None: there is no such place
_BLOCKS = (ast.FunctionDef, ast.For, ast.If, ast.While, ast.With)


def shrink(program: Program, fails: Fails, rounds: int = 6) -> Program:
    """The smallest program found that `fails`."""
    program = replace(program, source=ast.unparse(ast.parse(program.source)) + "\n")
    for _ in range(rounds):
        smaller = _pass(_pass(program, fails, _without_statement), fails, _without_operator)
        smaller = _pass(smaller, fails, _without_parameter)
        if smaller == program:
            break
        program = smaller
    return program


def _pass(program: Program, fails: Fails, edit: Edit) -> Program:
    """Apply `edit` at each place in turn, keeping what still fails."""
    at = 0
    while (candidate := edit(program, at)) is not None:
        if candidate != program and fails(candidate):
            program = candidate
        else:
            at += 1
    return program


def _with_tree(program: Program, tree: ast.Module) -> Program:
    return replace(program, source=ast.unparse(ast.fix_missing_locations(tree)) + "\n")


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Lists of statements inside the kernel, the innermost first."""
    found = [
        body for node in ast.walk(tree) if isinstance(node, _BLOCKS)
        for body in (node.body, getattr(node, "orelse", []))
    ]  # fmt: skip
    return reversed(found)


def _without_statement(program: Program, at: int) -> Program | None:
    """Statement number `at` dropped; a lone one becomes `pass`."""
    tree = ast.parse(program.source)
    places = [(body, i) for body in _bodies(tree) for i in reversed(range(len(body)))]
    if at >= len(places):
        return None
    body, i = places[at]
    if isinstance(body[i], ast.Pass):
        return program
    body[i : i + 1] = [] if len(body) > 1 else [ast.Pass()]
    return _with_tree(program, tree)


_PARTS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.IfExp, ast.Compare, ast.Call)


class _Replacer(ast.NodeTransformer):
    """Replaces operator number `at` by one of its parts."""

    def __init__(self, at: int) -> None:
        self.at, self.seen, self.done = at, 0, False

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.FunctionDef):
            node.body = [self.visit(s) for s in node.body]  # annotations stay
            return node
        if isinstance(node, _PARTS) and not self.done:
            parts = _parts(node)
            if self.at < self.seen + len(parts):
                self.done = True
                return parts[self.at - self.seen]
            self.seen += len(parts)
        return super().visit(node)


def _parts(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.BinOp():
            return [node.left, node.right]
        case ast.UnaryOp():
            return [node.operand]
        case ast.BoolOp():
            return list(node.values)
        case ast.IfExp():
            return [node.body, node.orelse]
        case ast.Call(func=ast.Attribute(attr=name)) if name not in _KEPT:
            return [a for a in node.args if not isinstance(getattr(a, "value", None), str)]
        case _:
            return []


_KEPT = (
    "Kernel", "Parallel", "serial", "unroll", "Pipelined", "vectorized", "grid", "copy", "gemm",
    "fill", "clear", "alloc_shared", "alloc_fragment", "alloc_local", "alloc_var", "dynamic",
)  # fmt: skip


def _without_operator(program: Program, at: int) -> Program | None:
    tree = ast.parse(program.source)
    replacer = _Replacer(at)
    replacer.visit(tree)
    return _with_tree(program, tree) if replacer.done else None


def _without_parameter(program: Program, at: int) -> Program | None:
    """Parameter number `at` dropped."""
    tree = ast.parse(program.source)
    kernel = next(n for n in tree.body if isinstance(n, ast.FunctionDef))
    if at >= len(kernel.args.args):
        return None
    name = kernel.args.args.pop(at).arg
    kept: tuple[Argument, ...] = tuple(a for a in program.arguments if a.name != name)
    return replace(_with_tree(program, tree), arguments=kept)
